//! Schedules are written, paused, looked at and fired.
//!
//! A look at due schedules locks their rows in order of their numbers and compares version and next
//! fire: that is what makes a fire happen once however many nodes look. Thousands of fires that are
//! due in one second are a few statements, not thousands.

use crate::effects::Effects;
use crate::enqueue::Entry;
use crate::link::{Args, Conn, Step, transact};
use crate::{Inner, Lanes, rows};
use jiff::Timestamp;
use mainspring_core::error::Result;
use mainspring_core::event::{self, NewEvent};
use mainspring_core::job::{Enqueued, JobState, NewJob};
use mainspring_core::json::Json;
use mainspring_core::queue::Pause;
use mainspring_core::schedule_record::{
    DueSchedule, FireWrite, Fired, LedgerRow, PutSchedule, ScheduleRecord,
};
use mainspring_core::store::Hint;
use mainspring_core::{JobId, ProjectId, ScheduleId, StoreError, limits, time};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio_postgres::Row;

/// What [`record`] reads.
macro_rules! schedule_columns {
    () => {
        "id, project, name, spec, zone, next_fire, after_us, fires, last_fire, paused, version, source,
         created_at, updated_at"
    };
}
pub(crate) use schedule_columns;

/// A schedule as [`schedule_columns`] gives it.
pub(crate) fn record(row: &Row) -> Result<ScheduleRecord> {
    let at = |i: usize| row.get::<_, Option<i64>>(i).map(time::from_micros);
    let paused: Option<&str> = row.get(9);
    Ok(ScheduleRecord {
        id: ScheduleId(row.get(0)),
        project: ProjectId(row.get(1)),
        name: row.get(2),
        spec: Json::trusted(row.get::<_, String>(3)),
        zone: row.get(4),
        next_fire: at(5),
        after_completion: row.get::<_, Option<i64>>(6).map(|us| Duration::from_micros(us.max(0) as u64)),
        fires: row.get::<_, i64>(7).max(0) as u64,
        last_fire: at(8),
        paused: paused
            .map(serde_json::from_str)
            .transpose()
            .map_err(|e| rows::json_text("a schedule's pause", e))?,
        version: row.get(10),
        source: row.get(11),
        created_at: time::from_micros(row.get(12)),
        updated_at: time::from_micros(row.get(13)),
    })
}

const DUE: &str = concat!(
    "SELECT ",
    schedule_columns!(),
    " FROM schedules WHERE next_fire <= $1 ORDER BY next_fire, id LIMIT $2"
);

const LIVE: &str = concat!(
    "SELECT u.schedule, j.id, CASE WHEN d.job IS NOT NULL THEN d.state WHEN r.job IS NOT NULL THEN 2::smallint
         WHEN s.job IS NOT NULL THEN 0::smallint ELSE 1::smallint END
     FROM unnest($1::bigint[]) u(schedule)
     CROSS JOIN LATERAL (
         SELECT job FROM live_fires WHERE schedule = u.schedule ORDER BY job LIMIT 100) l
     CROSS JOIN LATERAL (SELECT * FROM jobs WHERE id = l.job OFFSET 0) j ",
    rows::places_of_jobs!(),
    "ORDER BY 1, 2"
);

const NEXT: &str = "
    SELECT next_fire FROM schedules WHERE next_fire IS NOT NULL ORDER BY next_fire, id LIMIT 1 OFFSET $1";

const LOCK: &str = "
    SELECT id, project, name, version, next_fire, last_fire, last_ledger FROM schedules WHERE id = ANY($1)
    ORDER BY id FOR NO KEY UPDATE";

const MOVE: &str = "
    UPDATE schedules s SET next_fire = u.next_fire, fires = s.fires + u.fires, last_fire = u.last_fire,
        last_ledger = u.last_ledger
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
         u(id, next_fire, fires, last_fire, last_ledger) WHERE s.id = u.id";

const LAST_ROWS: &str = "SELECT id, last_at, outcome, reason FROM ledger WHERE id = ANY($1)";

const EXTEND: &str = "UPDATE ledger SET last_at = $2, n = n + $3 WHERE id = $1";

const ENTER: &str = "
    INSERT INTO ledger (schedule, first_at, last_at, n, outcome, reason) VALUES ($1, $2, $3, $4, $5, $6)
    RETURNING id";

/// A schedule's row under its lock, and what the writes make of it.
struct Locked {
    project: ProjectId,
    name: String,
    version: i64,
    next_fire: Option<i64>,
    fires: i64,
    last_fire: Option<i64>,
    last_ledger: Option<i64>,
}

/// The last ledger row of a schedule: number, end, outcome, reason.
type LastRow = (i64, i64, i16, String);

impl Inner {
    pub(crate) async fn put_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        put: PutSchedule,
        actor: &str,
    ) -> Result<ScheduleId> {
        mainspring_core::job::check_name(&put.name)
            .map_err(|text| StoreError::Invalid { field: "schedule", text })?;
        let now = time::micros(now);
        let next = put.next_fire.map(time::micros);
        let after = put.after_completion.map(|d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX));
        let spec = put.spec.as_str();
        let (id, changed) = transact!(&self.reach, self.lanes.control, |conn| {
            conn.begin().await?;
            let args: Args<'_> = &[&project.0, &put.name, &spec, &put.zone, &next, &after, &put.source, &now];
            let made = conn
                .opt(
                    "INSERT INTO schedules (project, name, spec, zone, next_fire, after_us, source, created_at,
                                            updated_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
                     ON CONFLICT (project, name) DO UPDATE SET spec = $3, zone = $4, next_fire = $5, after_us = $6,
                         source = $7, updated_at = $8, version = schedules.version + 1
                     WHERE (schedules.spec, schedules.zone, schedules.after_us, schedules.source)
                         IS DISTINCT FROM ($3::text, $4::text, $6::bigint, $7::text)
                     RETURNING id, version",
                    args,
                )
                .await?;
            let mut fx = Effects::default();
            let id = match made {
                Some(row) => {
                    let first = row.get::<_, i64>(1) == 1;
                    let what = if first { "schedule.created" } else { "schedule.changed" };
                    fx.events.push(schedule_event(project, what, &put.name, actor));
                    row.get(0)
                }
                None => conn
                    .one(
                        "SELECT id FROM schedules WHERE project = $1 AND name = $2",
                        &[&project.0, &put.name],
                    )
                    .await?
                    .get(0),
            };
            let changed = !fx.events.is_empty();
            self.seal(conn, now, self.shard(Lanes::CONTROL), &mut fx).await?;
            Ok((ScheduleId(id), changed))
        })?;
        if changed {
            self.hint(Hint::Schedules);
        }
        Ok(id)
    }

    pub(crate) async fn delete_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        actor: &str,
    ) -> Result<()> {
        let now = time::micros(now);
        transact!(&self.reach, self.lanes.control, |conn| {
            conn.begin().await?;
            let gone = conn
                .opt(
                    "DELETE FROM schedules WHERE project = $1 AND name = $2 RETURNING id",
                    &[&project.0, &name],
                )
                .await?;
            let Some(gone) = gone else { return Err(no_schedule(name).into()) };
            let id: i64 = gone.get(0);
            conn.execute("DELETE FROM live_fires WHERE schedule = $1", &[&id]).await?;
            let mut fx = Effects::default();
            fx.events.push(schedule_event(project, "schedule.deleted", name, actor));
            self.seal(conn, now, self.shard(Lanes::CONTROL), &mut fx).await
        })?;
        self.hint(Hint::Schedules);
        Ok(())
    }

    pub(crate) async fn pause_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        pause: Option<Pause>,
        actor: &str,
    ) -> Result<()> {
        let now = time::micros(now);
        let what = if pause.is_some() { "schedule.paused" } else { "schedule.resumed" };
        let pause = pause.map(|p| serde_json::to_string(&p).unwrap_or_default());
        transact!(&self.reach, self.lanes.control, |conn| {
            conn.begin().await?;
            let n = conn
                .execute(
                    "UPDATE schedules SET paused = $3, version = version + 1, updated_at = $4
                     WHERE project = $1 AND name = $2",
                    &[&project.0, &name, &pause, &now],
                )
                .await?;
            if n == 0 {
                return Err(no_schedule(name).into());
            }
            let mut fx = Effects::default();
            fx.events.push(schedule_event(project, what, name, actor));
            self.seal(conn, now, self.shard(Lanes::CONTROL), &mut fx).await
        })?;
        self.hint(Hint::Schedules);
        Ok(())
    }

    pub(crate) async fn due_schedules(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<(Vec<DueSchedule>, Option<Timestamp>)> {
        let (now, limit) = (time::micros(now), i64::from(limit.min(limits::BATCH as u32)));
        let (due, live, next) = transact!(&self.reach, self.lanes.control, |conn| {
            let due = conn.query(DUE, &[&now, &limit]).await?;
            let next = conn.opt(NEXT, &[&(due.len() as i64)]).await?;
            let ids: Vec<i64> = due.iter().map(|row| row.get(0)).collect();
            let live = if ids.is_empty() { vec![] } else { conn.query(LIVE, &[&ids]).await? };
            Ok((due, live, next))
        })?;
        let mut by_schedule: HashMap<i64, Vec<(JobId, JobState)>> = HashMap::new();
        for row in &live {
            let state: JobState = rows::code(row.get(2), JobState::from_code)?;
            if !state.is_final() {
                by_schedule.entry(row.get(0)).or_default().push((JobId(row.get(1)), state));
            }
        }
        let mut list = Vec::with_capacity(due.len());
        for row in &due {
            let record = record(row)?;
            let live = by_schedule.remove(&record.id.0).unwrap_or_default();
            list.push(DueSchedule { record, live });
        }
        Ok((list, next.map(|row| time::from_micros(row.get(0)))))
    }

    pub(crate) async fn fire(&self, now: Timestamp, writes: Vec<FireWrite>) -> Result<Vec<Fired>> {
        if writes.len() > limits::BATCH {
            let text = format!("{} entries, at most {} are allowed in one call", writes.len(), limits::BATCH);
            return Err(StoreError::Invalid { field: "writes", text });
        }
        let projects = self.projects_of(&writes).await?;
        for write in &writes {
            if let Some(project) = projects.get(&write.schedule.0) {
                self.prepare_jobs(*project, &write.jobs).await?;
            }
        }
        let now = time::micros(now);
        let (fired, hints) = transact!(&self.reach, self.lanes.enqueue, |conn| {
            conn.begin().await?;
            let mut fx = Effects::default();
            let fired = self.fire_all(conn, now, &writes, &mut fx).await?;
            self.seal(conn, now, self.shard(Lanes::ENQUEUE), &mut fx).await?;
            Ok((fired, [(fx.hint_jobs, Hint::Jobs), (fx.hint_cancel, Hint::Cancel)]))
        })?;
        for (wanted, hint) in hints {
            if wanted {
                self.hint(hint);
            }
        }
        Ok(fired)
    }

    async fn projects_of(&self, writes: &[FireWrite]) -> Result<HashMap<i64, ProjectId>> {
        let ids: Vec<i64> = writes.iter().map(|w| w.schedule.0).collect();
        let rows = self.read("SELECT id, project FROM schedules WHERE id = ANY($1)", &[&ids]).await?;
        Ok(rows.iter().map(|row| (row.get(0), ProjectId(row.get(1)))).collect())
    }

    async fn fire_all(
        &self,
        conn: &Conn,
        now: i64,
        writes: &[FireWrite],
        fx: &mut Effects,
    ) -> Step<Vec<Fired>> {
        let ids: Vec<i64> = writes.iter().map(|w| w.schedule.0).collect();
        let mut locked = lock(conn, &ids).await?;
        // Compare and swap, write by write: a second write for the same schedule finds it moved.
        let mut won: Vec<bool> = Vec::with_capacity(writes.len());
        for write in writes {
            let schedule = locked.get_mut(&write.schedule.0).filter(|s| {
                s.version == write.version && s.next_fire == Some(time::micros(write.expected_fire))
            });
            won.push(schedule.is_some());
            if let Some(schedule) = schedule {
                schedule.next_fire = write.next_fire.map(time::micros);
            }
        }
        let winners = || writes.iter().zip(&won).filter(|(_, won)| **won).map(|(w, _)| w);
        let entries: Vec<Entry<'_>> = winners()
            .flat_map(|write| {
                let project = locked.get(&write.schedule.0).map_or(ProjectId::DEFAULT, |s| s.project);
                let entry = move |job| Entry { now, project, job, batch: None, counted: true };
                write.jobs.iter().map(entry)
            })
            .collect();
        let mut made = self.insert(conn, &entries, fx).await?.into_iter();
        drop(entries);
        let mut last_rows = last_rows(conn, &locked).await?;
        let mut fired = Vec::with_capacity(writes.len());
        for (write, won) in writes.iter().zip(&won) {
            let Some(schedule) = locked.get_mut(&write.schedule.0).filter(|_| *won) else {
                fired.push(Fired::Lost);
                continue;
            };
            let jobs: Vec<Enqueued> = made.by_ref().take(write.jobs.len()).collect();
            let ran = told_fires(schedule, &write.jobs, &jobs);
            for row in &write.ledger {
                fx.events.push((schedule.project, event::of_ledger(&schedule.name, row)));
                enter(conn, write.schedule.0, schedule, row, &ran, &mut last_rows).await?;
            }
            if !write.replace.is_empty() {
                self.replace(conn, now, schedule.project, &write.replace, fx).await?;
                // What this write says of its own schedule's next fire stands.
                fx.finished.remove(&write.schedule.0);
            }
            fired.push(Fired::Written(jobs));
        }
        move_on(conn, &locked).await?;
        Ok(fired)
    }

    pub(crate) async fn reschedule(
        &self,
        now: Timestamp,
        schedule: ScheduleId,
        version: i64,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        event: Option<NewEvent>,
    ) -> Result<bool> {
        let now = time::micros(now);
        let (from, to) = (from.map(time::micros), to.map(time::micros));
        let moved = transact!(&self.reach, self.lanes.control, |conn| {
            conn.begin().await?;
            let row = conn
                .opt(
                    "UPDATE schedules SET next_fire = $4
                     WHERE id = $1 AND version = $2 AND next_fire IS NOT DISTINCT FROM $3 RETURNING project",
                    &[&schedule.0, &version, &from, &to],
                )
                .await?;
            let mut fx = Effects::default();
            if let (Some(row), Some(event)) = (&row, &event) {
                fx.events.push((ProjectId(row.get(0)), event.clone()));
            }
            self.seal(conn, now, self.shard(Lanes::CONTROL), &mut fx).await?;
            Ok(row.is_some())
        })?;
        if moved {
            self.hint(Hint::Schedules);
        }
        Ok(moved)
    }
}

fn no_schedule(name: &str) -> StoreError {
    StoreError::NotFound { what: "schedule", name: name.to_owned() }
}

fn schedule_event(project: ProjectId, what: &str, name: &str, actor: &str) -> (ProjectId, NewEvent) {
    (project, NewEvent::new(what, format!("schedule/{name}"), serde_json::json!({})).by(actor))
}

async fn lock(conn: &Conn, ids: &[i64]) -> Step<BTreeMap<i64, Locked>> {
    let rows = conn.query(LOCK, &[&ids]).await?;
    let locked = |row: &Row| Locked {
        project: ProjectId(row.get(1)),
        name: row.get(2),
        version: row.get(3),
        next_fire: row.get(4),
        fires: 0,
        last_fire: row.get(5),
        last_ledger: row.get(6),
    };
    Ok(rows.iter().map(|row| (row.get(0), locked(row))).collect())
}

async fn last_rows(conn: &Conn, locked: &BTreeMap<i64, Locked>) -> Step<HashMap<i64, LastRow>> {
    let ids: Vec<i64> = locked.values().filter_map(|s| s.last_ledger).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = conn.query(LAST_ROWS, &[&ids]).await?;
    Ok(rows.iter().map(|row| (row.get(0), (row.get(0), row.get(1), row.get(2), row.get(3)))).collect())
}

/// Counts the fires that made a job; gives all fires with a job, the last one before included.
fn told_fires(schedule: &mut Locked, jobs: &[NewJob], made: &[Enqueued]) -> Vec<i64> {
    let mut ran: Vec<i64> = schedule.last_fire.into_iter().collect();
    for (job, made) in jobs.iter().zip(made) {
        let nominal = job.schedule.and_then(|(_, at)| at).map(time::micros);
        if !made.duplicate {
            schedule.fires += 1;
            schedule.last_fire = schedule.last_fire.max(nominal);
        }
        ran.extend(nominal);
    }
    ran
}

/// Enters a row into the ledger; it continues the last one when both tell the same and no fire
/// between them made a job.
async fn enter(
    conn: &Conn,
    id: i64,
    schedule: &mut Locked,
    row: &LedgerRow,
    ran: &[i64],
    last_rows: &mut HashMap<i64, LastRow>,
) -> Step<()> {
    let (first, last) = (time::micros(row.first), time::micros(row.last));
    let reason = rows::clean(&limits::cut(&row.reason, limits::NOTE));
    let count = i64::try_from(row.count).unwrap_or(i64::MAX);
    let outcome = row.outcome.code();
    let before = schedule.last_ledger.and_then(|nth| last_rows.get_mut(&nth));
    if let Some(before) = before
        && (before.2, &before.3) == (outcome, &reason)
        && before.1 < first
        && !ran.iter().any(|at| (before.1..first).contains(at))
    {
        conn.execute(EXTEND, &[&before.0, &last, &count]).await?;
        before.1 = last;
        return Ok(());
    }
    let nth: i64 = conn.one(ENTER, &[&id, &first, &last, &count, &outcome, &reason]).await?.get(0);
    last_rows.insert(nth, (nth, last, outcome, reason));
    schedule.last_ledger = Some(nth);
    Ok(())
}

async fn move_on(conn: &Conn, locked: &BTreeMap<i64, Locked>) -> Step<()> {
    let ids: Vec<i64> = locked.keys().copied().collect();
    let next: Vec<Option<i64>> = locked.values().map(|s| s.next_fire).collect();
    let fires: Vec<i64> = locked.values().map(|s| s.fires).collect();
    let last: Vec<Option<i64>> = locked.values().map(|s| s.last_fire).collect();
    let rows: Vec<Option<i64>> = locked.values().map(|s| s.last_ledger).collect();
    conn.execute(MOVE, &[&ids, &next, &fires, &last, &rows]).await.map(drop)
}
