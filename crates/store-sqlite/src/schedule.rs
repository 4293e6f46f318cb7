//! Schedules are written, paused, looked at and fired.

use crate::enqueue::{at_most, check_len};
use crate::names::us;
use crate::rows::{self, Row};
use crate::schema;
use crate::tx::{Done, Tx, invalid, not_found};
use jiff::Timestamp;
use mainspring_core::event::{self, NewEvent};
use mainspring_core::ids::{JobId, ProjectId, ScheduleId};
use mainspring_core::job::{JobState, Origin, check_name};
use mainspring_core::queue::Pause;
use mainspring_core::schedule_record::{
    DueSchedule, FireWrite, Fired, LedgerRow, PutSchedule, ScheduleRecord,
};
use mainspring_core::store::Hint;
use mainspring_core::{StoreError, limits, time};
use rusqlite::{Connection, OptionalExtension, params};
use std::time::Duration;

/// Live jobs that are shown of a due schedule.
const LIVE: i64 = 100;

/// A schedule's columns, in the order of [`schedule_record`].
macro_rules! schedule_columns {
    () => {
        "id, project, name, spec, zone, next_fire, after_completion, fires, last_fire, paused, version, \
         source, created_at, updated_at"
    };
}
pub(crate) use schedule_columns;

impl Tx<'_> {
    pub fn put_schedule(
        &mut self,
        now: Timestamp,
        project: ProjectId,
        put: &PutSchedule,
        actor: &str,
    ) -> Done<ScheduleId> {
        check_name(&put.name).or_else(|text| invalid("schedule", text))?;
        let known = self
            .conn
            .prepare_cached(concat!(
                "SELECT ",
                schedule_columns!(),
                " FROM schedules WHERE project = ?1 AND name = ?2"
            ))?
            .query_and_then(params![project.0, put.name], schedule_record)?
            .next()
            .transpose()?;
        let delay = put.after_completion.map(|d| d.as_micros().min(i64::MAX as u128) as i64);
        let next_fire = put.next_fire.map(us);
        let (id, what) = match known {
            Some(s) => {
                let same = s.spec == put.spec
                    && s.zone == put.zone
                    && s.after_completion == put.after_completion
                    && s.source == put.source;
                if same {
                    return Ok(s.id);
                }
                self.conn
                    .prepare_cached(
                        "UPDATE schedules SET spec = ?2, zone = ?3, next_fire = ?4, after_completion = ?5,
                            source = ?6, version = version + 1, updated_at = ?7
                         WHERE id = ?1",
                    )?
                    .execute(params![
                        s.id.0,
                        put.spec.as_str(),
                        put.zone,
                        next_fire,
                        delay,
                        put.source,
                        us(now)
                    ])?;
                (s.id, "schedule.changed")
            }
            None => {
                let id: i64 = self
                    .conn
                    .prepare_cached(
                        "INSERT INTO schedules (project, name, spec, zone, next_fire, after_completion,
                            version, source, created_at, updated_at)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?8, ?8) RETURNING id",
                    )?
                    .query_row(
                        params![
                            project.0,
                            put.name,
                            put.spec.as_str(),
                            put.zone,
                            next_fire,
                            delay,
                            put.source,
                            us(now)
                        ],
                        |r| r.get(0),
                    )?;
                (ScheduleId(id), "schedule.created")
            }
        };
        self.schedule_event(now, project, what, &put.name, actor)?;
        Ok(id)
    }

    pub fn delete_schedule(
        &mut self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        actor: &str,
    ) -> Done<()> {
        let gone = self
            .conn
            .prepare_cached("DELETE FROM schedules WHERE project = ?1 AND name = ?2")?
            .execute(params![project.0, name])?;
        if gone == 0 {
            return not_found("schedule", name);
        }
        self.schedule_event(now, project, "schedule.deleted", name, actor)
    }

    pub fn pause_schedule(
        &mut self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        pause: Option<&Pause>,
        actor: &str,
    ) -> Done<()> {
        let text = match pause {
            None => None,
            Some(pause) => Some(
                serde_json::to_string(pause)
                    .map_err(|e| StoreError::Internal(format!("a pause cannot be told: {e}")))?,
            ),
        };
        let done = self
            .conn
            .prepare_cached(
                "UPDATE schedules SET paused = ?3, version = version + 1, updated_at = ?4
                 WHERE project = ?1 AND name = ?2",
            )?
            .execute(params![project.0, name, text, us(now)])?;
        if done == 0 {
            return not_found("schedule", name);
        }
        let what = if pause.is_some() { "schedule.paused" } else { "schedule.resumed" };
        self.schedule_event(now, project, what, name, actor)
    }

    fn schedule_event(
        &mut self,
        now: Timestamp,
        project: ProjectId,
        what: &str,
        name: &str,
        actor: &str,
    ) -> Done<()> {
        self.hint(Hint::Schedules);
        let event = NewEvent::new(what, format!("schedule/{name}"), serde_json::json!({}));
        self.event(now, project, &event.by(actor))
    }

    pub fn fire(&mut self, now: Timestamp, writes: &[FireWrite]) -> Done<Vec<Fired>> {
        check_len("writes", writes.len())?;
        for write in writes {
            if let Some((project, _)) = self.owner(write.schedule)? {
                self.check_jobs(project, &write.jobs)?;
            }
            check_len("ledger", write.ledger.len())?;
            check_len("replace", write.replace.len())?;
        }
        let mut fired = Vec::with_capacity(writes.len());
        for write in writes {
            fired.push(self.fire_one(now, write)?);
        }
        self.settle(now)?;
        Ok(fired)
    }

    fn owner(&mut self, schedule: ScheduleId) -> Done<Option<(ProjectId, String)>> {
        Ok(self
            .conn
            .prepare_cached("SELECT project, name FROM schedules WHERE id = ?1")?
            .query_row([schedule.0], |r| Ok((ProjectId(r.get(0)?), r.get(1)?)))
            .optional()?)
    }

    fn fire_one(&mut self, now: Timestamp, write: &FireWrite) -> Done<Fired> {
        // The swap of the next fire is the fence: who moves it writes the rest.
        let swapped = self
            .conn
            .prepare_cached(
                "UPDATE schedules SET next_fire = ?4 WHERE id = ?1 AND version = ?2 AND next_fire = ?3",
            )?
            .execute(params![
                write.schedule.0,
                write.version,
                us(write.expected_fire),
                write.next_fire.map(us)
            ])?;
        let owner = if swapped == 0 { None } else { self.owner(write.schedule)? };
        let Some((project, name)) = owner else { return Ok(Fired::Lost) };
        let made = self.write_jobs(now, project, &write.jobs, None)?;
        let fresh = || write.jobs.iter().zip(&made).filter(|(_, e)| !e.duplicate).map(|(job, _)| job);
        let last = fresh().filter_map(|job| job.schedule?.1).map(us).max();
        self.conn
            .prepare_cached(
                "UPDATE schedules SET fires = fires + ?2, last_fire = nullif(max(coalesce(last_fire, ?3),
                    coalesce(?4, last_fire, ?3)), ?3) WHERE id = ?1",
            )?
            .execute(params![write.schedule.0, fresh().count() as i64, schema::ABSENT, last])?;
        for row in &write.ledger {
            self.event(now, project, &event::of_ledger(&name, row))?;
            self.enter(write.schedule, row)?;
        }
        for job in &write.replace {
            self.replace(now, project, *job)?;
        }
        if !write.replace.is_empty() {
            // The end of a replaced job does not say when a schedule fires next: this fire does.
            self.conn
                .prepare_cached("UPDATE schedules SET next_fire = ?2 WHERE id = ?1")?
                .execute(params![write.schedule.0, write.next_fire.map(us)])?;
        }
        Ok(Fired::Written(made))
    }

    fn replace(&mut self, now: Timestamp, project: ProjectId, job: JobId) -> Done<()> {
        let Some(mut row) = Row::load(self.conn, job.0)? else { return Ok(()) };
        let state = crate::names::state_of(row.st)?;
        if self.names.routes[row.route_ix()].project != project || state.is_final() {
            return Ok(());
        }
        if state == JobState::Running {
            self.ask_to_end(&row)
        } else {
            self.cancel_waiting(now, &mut row, "replaced by a later fire", None)
        }
    }

    /// Enters a row into the ledger; it continues the last one when both tell the same and no fire
    /// between them made a job.
    fn enter(&mut self, schedule: ScheduleId, row: &LedgerRow) -> Done<()> {
        let reason = limits::cut(&row.reason, limits::NOTE);
        let last = self
            .conn
            .prepare_cached(
                "SELECT id, last, outcome, reason FROM ledger WHERE id =
                    (SELECT max(id) FROM ledger WHERE schedule = ?1)",
            )?
            .query_row([schedule.0], |r| {
                let same =
                    r.get::<_, i64>(2)? == i64::from(row.outcome.code()) && r.get_ref(3)?.as_str()? == reason;
                Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?, same))
            })
            .optional()?;
        if let Some((id, last, true)) = last {
            let between = self
                .conn
                .prepare_cached(
                    "SELECT 1 FROM jobs INDEXED BY jobs_fire
                     WHERE schedule = ?1 AND scheduled_for >= ?2 AND scheduled_for < ?3 AND origin = ?4
                       AND schedule IS NOT NULL AND scheduled_for IS NOT NULL AND origin IN (1, 3)",
                )?
                .exists(params![schedule.0, last, us(row.first), Origin::Fire.code()])?;
            if !between {
                self.conn
                    .prepare_cached("UPDATE ledger SET last = ?2, count = count + ?3 WHERE id = ?1")?
                    .execute(params![id, us(row.last), row.count as i64])?;
                return Ok(());
            }
        }
        self.conn
            .prepare_cached(
                "INSERT INTO ledger (schedule, first, last, count, outcome, reason)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                schedule.0,
                us(row.first),
                us(row.last),
                row.count as i64,
                row.outcome.code(),
                reason
            ])?;
        Ok(())
    }

    pub fn reschedule(
        &mut self,
        now: Timestamp,
        schedule: ScheduleId,
        version: i64,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        event: Option<&NewEvent>,
    ) -> Done<bool> {
        let moved: Option<i64> = self
            .conn
            .prepare_cached(
                "UPDATE schedules SET next_fire = ?4 WHERE id = ?1 AND version = ?2 AND next_fire IS ?3
                 RETURNING project",
            )?
            .query_row(params![schedule.0, version, from.map(us), to.map(us)], |r| r.get(0))
            .optional()?;
        let Some(project) = moved else { return Ok(false) };
        if let Some(event) = event {
            self.event(now, ProjectId(project), event)?;
        }
        self.hint(Hint::Schedules);
        Ok(true)
    }
}

/// Schedules that are due, with their live jobs; and when the next one is.
pub(crate) fn due_schedules(
    conn: &Connection,
    now: Timestamp,
    limit: u32,
) -> Done<(Vec<DueSchedule>, Option<Timestamp>)> {
    let limit = at_most(limit);
    let mut due = Vec::new();
    let mut next = None;
    // One more than asked for tells when to look again.
    let mut rows = conn.prepare_cached(concat!(
        "SELECT ",
        schedule_columns!(),
        " FROM schedules INDEXED BY schedules_due
          WHERE next_fire IS NOT NULL ORDER BY next_fire, id LIMIT ?1"
    ))?;
    for record in rows.query_and_then([limit as i64 + 1], schedule_record)? {
        let record = record?;
        let at = record.next_fire.unwrap_or(now);
        if due.len() == limit || us(at) > us(now) {
            next = Some(at);
            break;
        }
        due.push(DueSchedule { live: live_jobs(conn, record.id)?, record });
    }
    Ok((due, next))
}

fn live_jobs(conn: &Connection, schedule: ScheduleId) -> Done<Vec<(JobId, JobState)>> {
    // Live jobs are few and young, and finished ones many: from the newest back would be wrong
    // for an old one that still runs, so each live state is asked for through its own index.
    let mut rows = conn.prepare_cached(
        "SELECT id, st FROM jobs INDEXED BY jobs_live
         WHERE schedule = ?1 AND schedule IS NOT NULL AND origin = 1 AND st NOT IN (13, 14, 15)
         ORDER BY schedule, id LIMIT ?2",
    )?;
    let rows = rows.query_and_then([schedule.0, LIVE], |r| -> Done<_> {
        Ok((JobId(r.get(0)?), crate::names::state_of(r.get(1)?)?))
    })?;
    rows.collect()
}

/// A schedule as readers see it.
pub(crate) fn schedule_record(r: &rusqlite::Row<'_>) -> Done<ScheduleRecord> {
    let at = |n: usize| -> rusqlite::Result<_> { Ok(r.get::<_, Option<i64>>(n)?.map(time::from_micros)) };
    let paused: Option<String> = r.get(9)?;
    Ok(ScheduleRecord {
        id: ScheduleId(r.get(0)?),
        project: ProjectId(r.get(1)?),
        name: r.get(2)?,
        spec: rows::json(r.get(3)?),
        zone: r.get(4)?,
        next_fire: at(5)?,
        after_completion: r.get::<_, Option<i64>>(6)?.map(|us| Duration::from_micros(us.max(0) as u64)),
        fires: r.get::<_, i64>(7)?.max(0) as u64,
        last_fire: at(8)?,
        paused: paused.map(|p| rows::parse("a schedule's pause", &p)).transpose()?,
        version: r.get(10)?,
        source: r.get(11)?,
        created_at: time::from_micros(r.get(12)?),
        updated_at: time::from_micros(r.get(13)?),
    })
}
