//! The read models: jobs, schedules, batches, nodes, events, and the figures that no reader counts.
//! The store's own facts and the recount are in `doctor.rs`.

use crate::effects::unpack_recent;
use crate::filter::{self, Way};
use crate::names::{settings_from, us};
use crate::nodes::{NODE_COLUMNS, node_record};
use crate::rows::{self, BATCH_COLUMNS, batch_record, job_record, record_sql};
use crate::schedule::{schedule_columns, schedule_record};
use crate::schema;
use crate::tx::Done;
use jiff::Timestamp;
use mainspring_core::batch::BatchRecord;
use mainspring_core::event::{Event, NewEvent};
use mainspring_core::ids::{BatchId, JobId, NodeId, ProjectId, ScheduleId};
use mainspring_core::job::{
    Attempt, AttemptOutcome, JobRecord, JobState, LogLevel, LogLine, Origin, Progress,
};
use mainspring_core::json::Json;
use mainspring_core::node::NodeRecord;
use mainspring_core::queue::{ALL_QUEUES, QueueSettings};
use mainspring_core::reader::{GroupBy, JobDetail, Page, QueueRecord, RollupRow};
use mainspring_core::schedule_record::{FireOutcome, LedgerRow, ScheduleRecord};
use mainspring_core::store::JobFilter;
use mainspring_core::tally::{Recent, RollupSum, Scope};
use mainspring_core::{limits, time};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;

/// `limit` of a listing.
fn cap(limit: u32) -> usize {
    (limit as usize).min(limits::PAGE)
}

/// One row more was asked for than is shown: it tells whether there is a next page.
fn page<T, K>(mut rows: Vec<T>, limit: u32, key: impl Fn(&T) -> K) -> Page<T, K> {
    let more = rows.len() > cap(limit);
    rows.truncate(cap(limit));
    let next = if more { rows.last().map(key) } else { None };
    Page { rows, next }
}

pub(crate) fn projects(conn: &Connection) -> Done<Vec<(ProjectId, String)>> {
    let mut rows = conn.prepare_cached("SELECT id, name FROM projects ORDER BY name")?;
    let rows = rows.query_map([], |r| Ok((ProjectId(r.get(0)?), r.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn jobs(
    conn: &Connection,
    project: ProjectId,
    filter: &JobFilter,
    before: Option<JobId>,
    limit: u32,
) -> Done<Page<JobRecord, JobId>> {
    let found = filter::walk(conn, project, filter, Way::Down, before, cap(limit))?;
    Ok(Page { rows: found.jobs, next: found.next })
}

pub(crate) fn job(conn: &Connection, project: ProjectId, id: JobId) -> Done<Option<JobDetail>> {
    let job = conn
        .prepare_cached(record_sql!("WHERE j.id = ?1"))?
        .query_and_then([id.0], job_record)?
        .next()
        .transpose()?;
    let Some(job) = job.filter(|job| job.project == project) else { return Ok(None) };
    let mut attempts = attempts(conn, id)?;
    let mut add = |finished_at, outcome| {
        attempts.push(Attempt {
            number: job.attempt,
            node: job.node,
            started_at: job.started_at.unwrap_or(job.created_at),
            finished_at,
            outcome,
            error: None,
        });
    };
    let succeeded = job.state == JobState::Completed && job.outcome == Some(AttemptOutcome::Succeeded);
    if job.attempt == 1 && succeeded {
        add(job.finished_at, job.outcome);
    } else if job.state == JobState::Running {
        add(None, None);
    }
    let mut steps = conn.prepare_cached("SELECT name, result, at FROM steps WHERE job = ?1 ORDER BY id")?;
    let steps = steps
        .query_map([id.0], |r| Ok((r.get(0)?, rows::json(r.get(1)?), time::from_micros(r.get(2)?))))?
        .collect::<rusqlite::Result<_>>()?;
    // What an earlier attempt had done tells nothing about this one.
    let progress = conn
        .prepare_cached("SELECT done, total, note FROM progress WHERE job = ?1 AND attempt = ?2")?
        .query_row(params![id.0, job.attempt], |r| {
            Ok(Progress {
                done: r.get::<_, i64>(0)? as u64,
                total: r.get::<_, Option<i64>>(1)?.map(|n| n as u64),
                note: r.get(2)?,
            })
        })
        .optional()?;
    Ok(Some(JobDetail { job, attempts, steps, progress }))
}

fn attempts(conn: &Connection, job: JobId) -> Done<Vec<Attempt>> {
    let mut rows = conn.prepare_cached(
        "SELECT number, node, started_at, finished_at, outcome, error FROM attempts
         WHERE job = ?1 ORDER BY number",
    )?;
    let rows = rows.query_and_then([job.0], |r| -> Done<_> {
        let error: Option<String> = r.get(5)?;
        Ok(Attempt {
            number: r.get(0)?,
            node: r.get::<_, Option<i64>>(1)?.filter(|n| *n != schema::ABSENT).map(NodeId),
            started_at: time::from_micros(r.get(2)?),
            finished_at: Some(time::from_micros(r.get(3)?)),
            outcome: Some(rows::code("an attempt's outcome", r.get(4)?, AttemptOutcome::from_code)?),
            error: error.map(|e| rows::parse("an attempt's error", &e)).transpose()?,
        })
    })?;
    rows.collect()
}

pub(crate) fn steps(conn: &Connection, job: JobId) -> Done<Vec<(String, Json)>> {
    let mut rows = conn.prepare_cached("SELECT name, result FROM steps WHERE job = ?1 ORDER BY id")?;
    let rows = rows.query_map([job.0], |r| Ok((r.get(0)?, rows::json(r.get(1)?))))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn logs(
    conn: &Connection,
    project: ProjectId,
    job: JobId,
    after: Option<(u32, u32)>,
    limit: u32,
) -> Done<Vec<LogLine>> {
    if !filter::owns(conn, project, job)? {
        return Ok(Vec::new());
    }
    let (attempt, seq) = after.map_or((-1, -1), |(a, s)| (i64::from(a), i64::from(s)));
    let mut rows = conn.prepare_cached(
        "SELECT attempt, seq, at, level, message, fields FROM logs
         WHERE job = ?1 AND (attempt, seq) > (?2, ?3) ORDER BY attempt, seq LIMIT ?4",
    )?;
    let rows = rows.query_and_then(params![job.0, attempt, seq, cap(limit) as i64], |r| -> Done<_> {
        Ok(LogLine {
            job,
            attempt: r.get(0)?,
            seq: r.get(1)?,
            at: time::from_micros(r.get(2)?),
            level: rows::code("a log line's level", r.get(3)?, LogLevel::from_code)?,
            message: r.get(4)?,
            fields: r.get::<_, Option<String>>(5)?.map(rows::json),
        })
    })?;
    rows.collect()
}

pub(crate) fn schedules(
    conn: &Connection,
    project: ProjectId,
    after: Option<&str>,
    limit: u32,
) -> Done<Page<ScheduleRecord, String>> {
    let mut rows = conn.prepare_cached(concat!(
        "SELECT ",
        schedule_columns!(),
        " FROM schedules WHERE project = ?1 AND name > ?2 ORDER BY name LIMIT ?3"
    ))?;
    let rows = rows
        .query_and_then(params![project.0, after.unwrap_or(""), cap(limit) as i64 + 1], schedule_record)?
        .collect::<Done<Vec<_>>>()?;
    Ok(page(rows, limit, |s| s.name.clone()))
}

pub(crate) fn all_schedules(
    conn: &Connection,
    after: Option<ScheduleId>,
    limit: u32,
) -> Done<Vec<ScheduleRecord>> {
    let mut rows = conn.prepare_cached(concat!(
        "SELECT ",
        schedule_columns!(),
        " FROM schedules WHERE id > ?1 ORDER BY id LIMIT ?2"
    ))?;
    rows.query_and_then([after.map_or(i64::MIN, |a| a.0), cap(limit) as i64], schedule_record)?.collect()
}

pub(crate) fn schedule(conn: &Connection, project: ProjectId, name: &str) -> Done<Option<ScheduleRecord>> {
    conn.prepare_cached(concat!(
        "SELECT ",
        schedule_columns!(),
        " FROM schedules WHERE project = ?1 AND name = ?2"
    ))?
    .query_and_then(params![project.0, name], schedule_record)?
    .next()
    .transpose()
}

pub(crate) fn ledger(
    conn: &Connection,
    project: ProjectId,
    schedule: ScheduleId,
    from: Timestamp,
    until: Timestamp,
    limit: u32,
) -> Done<Vec<LedgerRow>> {
    let mut rows = conn.prepare_cached(
        "SELECT l.first, l.last, l.count, l.outcome, l.reason
         FROM schedules s CROSS JOIN ledger l ON l.schedule = s.id
         WHERE s.id = ?1 AND s.project = ?2 AND l.last >= ?3 AND l.first < ?4
         ORDER BY l.first, l.id LIMIT ?5",
    )?;
    let values = params![schedule.0, project.0, us(from), us(until), cap(limit) as i64];
    let rows = rows.query_and_then(values, |r| -> Done<_> {
        Ok(LedgerRow {
            first: time::from_micros(r.get(0)?),
            last: time::from_micros(r.get(1)?),
            count: r.get::<_, i64>(2)?.max(0) as u64,
            outcome: rows::code("a fire's outcome", r.get(3)?, FireOutcome::from_code)?,
            reason: r.get(4)?,
        })
    })?;
    rows.collect()
}

/// Fires of a schedule with what became of them: (nominal fire, job, state, origin is backfill).
type Fires = Vec<(Timestamp, JobId, JobState, bool)>;

pub(crate) fn fires(
    conn: &Connection,
    project: ProjectId,
    schedule: ScheduleId,
    from: Timestamp,
    until: Timestamp,
    limit: u32,
) -> Done<Fires> {
    let mut rows = conn.prepare_cached(
        "SELECT j.scheduled_for, j.id, j.st, j.origin FROM jobs j INDEXED BY jobs_times
         CROSS JOIN routes r ON r.id = j.route CROSS JOIN queues q ON q.id = r.queue
         WHERE j.schedule IS NOT NULL AND j.scheduled_for IS NOT NULL AND j.schedule = ?1
           AND j.scheduled_for >= ?2 AND j.scheduled_for < ?3 AND q.project = ?4
         ORDER BY j.scheduled_for, j.id LIMIT ?5",
    )?;
    let values = params![schedule.0, us(from), us(until), project.0, cap(limit) as i64];
    let rows = rows.query_and_then(values, |r| -> Done<_> {
        let state = crate::names::state_of(r.get(2)?)?;
        let backfill = r.get::<_, i64>(3)? == i64::from(Origin::Backfill.code());
        Ok((time::from_micros(r.get(0)?), JobId(r.get(1)?), state, backfill))
    })?;
    rows.collect()
}

pub(crate) fn nodes(conn: &Connection) -> Done<Vec<NodeRecord>> {
    let sql = format!("SELECT {NODE_COLUMNS} FROM nodes ORDER BY joined_at, id");
    let mut rows = conn.prepare_cached(&sql)?;
    rows.query_and_then([], |r| node_record(conn, r))?.collect()
}

pub(crate) fn batches(
    conn: &Connection,
    project: ProjectId,
    before: Option<BatchId>,
    limit: u32,
) -> Done<Page<BatchRecord, BatchId>> {
    let sql = format!(
        "SELECT {BATCH_COLUMNS} FROM batches INDEXED BY batches_project
         WHERE project = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3"
    );
    let rows = conn
        .prepare_cached(&sql)?
        .query_and_then([project.0, before.map_or(i64::MAX, |b| b.0), cap(limit) as i64 + 1], batch_record)?
        .collect::<Done<Vec<_>>>()?;
    Ok(page(rows, limit, |b| b.id))
}

pub(crate) fn batch(conn: &Connection, project: ProjectId, id: BatchId) -> Done<Option<BatchRecord>> {
    let sql = format!("SELECT {BATCH_COLUMNS} FROM batches WHERE id = ?1 AND project = ?2");
    conn.prepare_cached(&sql)?.query_and_then([id.0, project.0], batch_record)?.next().transpose()
}

pub(crate) fn running(conn: &Connection, project: ProjectId, limit: u32) -> Done<Vec<JobRecord>> {
    // As many as there are slots: sorting them is cheap.
    let mut rows = conn.prepare_cached(
        "SELECT j.id FROM jobs j INDEXED BY jobs_running CROSS JOIN routes r ON r.id = j.route
         CROSS JOIN queues q ON q.id = r.queue
         WHERE j.st = 12 AND q.project = ?1 ORDER BY j.started_at, j.id LIMIT ?2",
    )?;
    let ids: Vec<i64> =
        rows.query_map([project.0, cap(limit) as i64], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut load = conn.prepare_cached(record_sql!("WHERE j.id = ?1"))?;
    let mut jobs = Vec::with_capacity(ids.len());
    for id in ids {
        jobs.extend(load.query_and_then([id], job_record)?.next().transpose()?);
    }
    Ok(jobs)
}

pub(crate) fn events(conn: &Connection, project: ProjectId, after: i64, limit: u32) -> Done<Vec<Event>> {
    let mut rows = conn.prepare_cached(
        "SELECT id, at, name, subject, actor, data FROM events
         WHERE project = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
    )?;
    let rows = rows.query_map(params![project.0, after, cap(limit) as i64], |r| {
        Ok(Event {
            id: r.get(0)?,
            project,
            at: time::from_micros(r.get(1)?),
            event: NewEvent {
                name: r.get(2)?,
                subject: r.get(3)?,
                actor: r.get(4)?,
                data: rows::json(r.get(5)?),
            },
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn last_event(conn: &Connection, project: ProjectId) -> Done<i64> {
    let id = conn
        .prepare_cached("SELECT id FROM events WHERE project = ?1 ORDER BY id DESC LIMIT 1")?
        .query_row([project.0], |r| r.get(0))
        .optional()?;
    Ok(id.unwrap_or(0))
}

pub(crate) fn meta(conn: &Connection, name: &str) -> Done<Option<String>> {
    Ok(conn
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |r| r.get(0))
        .optional()?)
}

/// A route's counters by state, from column `first` on.
pub(crate) fn counters(r: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<[i64; 6]> {
    let mut counts = [0; 6];
    for (at, n) in counts.iter_mut().enumerate() {
        *n = r.get(first + at)?;
    }
    Ok(counts)
}

pub(crate) fn counts(conn: &Connection, project: ProjectId) -> Done<Vec<(String, String, JobState, u64)>> {
    let mut rows = conn.prepare_cached(
        "SELECT q.name, r.kind, r.scheduled, r.available, r.running, r.completed, r.cancelled, r.failed
         FROM queues q CROSS JOIN routes r ON r.queue = q.id WHERE q.project = ?1 ORDER BY q.name, r.kind",
    )?;
    let mut rows = rows.query([project.0])?;
    let mut out = Vec::new();
    while let Some(r) = rows.next()? {
        let (queue, kind): (String, String) = (r.get(0)?, r.get(1)?);
        for (state, n) in JobState::ALL.iter().zip(counters(r, 2)?) {
            if n > 0 {
                out.push((queue.clone(), kind.clone(), *state, n as u64));
            }
        }
    }
    Ok(out)
}

pub(crate) fn queues(conn: &Connection, project: ProjectId) -> Done<Vec<QueueRecord>> {
    let mut rows =
        conn.prepare_cached("SELECT id, name, settings, tat FROM queues WHERE project = ?1 ORDER BY name")?;
    let mut rows = rows.query([project.0])?;
    let mut out = Vec::new();
    while let Some(r) = rows.next()? {
        let (id, name): (i64, String) = (r.get(0)?, r.get(1)?);
        let settings = settings_from(r.get::<_, Option<String>>(2)?.as_deref())?;
        if name == ALL_QUEUES && settings == QueueSettings::default() {
            continue;
        }
        let mut routes = conn.prepare_cached(
            "SELECT scheduled, available, running, completed, cancelled, failed, id
             FROM routes WHERE queue = ?1",
        )?;
        let mut routes = routes.query([id])?;
        let mut counts = BTreeMap::new();
        let mut oldest = None;
        while let Some(r) = routes.next()? {
            for (state, n) in JobState::ALL.iter().zip(counters(r, 0)?) {
                if n > 0 {
                    *counts.entry(*state).or_default() += n as u64;
                }
            }
            if r.get::<_, i64>(1)? > 0 {
                oldest = [oldest, oldest_waiting(conn, r.get(6)?)?].into_iter().flatten().min();
            }
        }
        let oldest_waiting = oldest.map(time::from_micros);
        let tat = r.get(3)?;
        let next_start = settings.rate.map(|rate| rate.next(tat));
        out.push(QueueRecord { project, name, settings, counts, oldest_waiting, next_start });
    }
    Ok(out)
}

/// When the job of a route that has waited longest became due. Jobs are kept in claim order, in
/// which a more urgent one may stand before one that has waited longer: as far as that can reach,
/// and at most a page, is looked at.
fn oldest_waiting(conn: &Connection, route: i64) -> Done<Option<i64>> {
    let reach = mainspring_core::claim::priority_offset(9);
    let mut oldest: Option<i64> = None;
    let mut ready = conn.prepare_cached(
        "SELECT run_at, ord FROM jobs INDEXED BY jobs_ready WHERE st = 11 AND route = ?1
         ORDER BY ord, id LIMIT ?2",
    )?;
    let mut rows = ready.query([route, limits::PAGE as i64])?;
    while let Some(r) = rows.next()? {
        let (run_at, ord): (i64, i64) = (r.get(0)?, r.get(1)?);
        if oldest.is_some_and(|oldest| ord.saturating_sub(reach) > oldest) {
            break;
        }
        oldest = oldest.into_iter().chain([run_at]).min();
    }
    let held: Option<i64> = conn
        .prepare_cached(
            "SELECT min(run_at) FROM (SELECT run_at FROM jobs INDEXED BY jobs_held
             WHERE st = 16 AND route = ?1 LIMIT ?2)",
        )?
        .query_row([route, limits::PAGE as i64], |r| r.get(0))?;
    Ok([oldest, held].into_iter().flatten().min())
}

pub(crate) fn rollups(
    conn: &Connection,
    project: ProjectId,
    from: i64,
    until: i64,
    group: GroupBy,
    by_time: bool,
) -> Done<Vec<RollupRow>> {
    let name = match group {
        GroupBy::Kind => "r.kind",
        GroupBy::Queue => "q.name",
        GroupBy::Schedule => "CAST(u.schedule AS TEXT)",
        GroupBy::Nothing => "''",
    };
    let minute = if by_time { "u.minute" } else { "0" };
    // Jobs without a schedule are no schedule's.
    let only = if group == GroupBy::Schedule { "AND u.schedule <> 0" } else { "" };
    let sql = format!(
        "SELECT {name}, {minute}, u.outcome, u.bucket, sum(u.count), sum(u.total_us)
         FROM rollups u CROSS JOIN routes r ON r.id = u.route CROSS JOIN queues q ON q.id = r.queue
         WHERE u.minute >= ?1 AND u.minute < ?2 AND q.project = ?3 {only}
         GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
    );
    let mut rows = conn.prepare_cached(&sql)?;
    let rows = rows.query_and_then([from, until, project.0], |r| -> Done<_> {
        Ok(RollupRow {
            name: r.get(0)?,
            minute: r.get(1)?,
            outcome: rows::code("a roll-up's outcome", r.get(2)?, AttemptOutcome::from_code)?,
            bucket: r.get(3)?,
            sum: RollupSum {
                count: r.get::<_, i64>(4)?.max(0) as u64,
                total_us: r.get::<_, i64>(5)?.max(0) as u64,
            },
        })
    })?;
    rows.collect()
}

pub(crate) fn recents(conn: &Connection, project: ProjectId) -> Done<Vec<(Scope, Recent)>> {
    let mut rows = conn.prepare_cached("SELECT scope, name, list FROM recents WHERE project = ?1")?;
    let rows = rows.query_and_then([project.0], |r| -> Done<_> {
        let name: String = r.get(1)?;
        let scope = match r.get::<_, i64>(0)? {
            0 => Scope::Kind(name.into()),
            1 => Scope::Queue(name.into()),
            _ => Scope::Schedule(ScheduleId(name.parse().unwrap_or_default())),
        };
        Ok((scope, unpack_recent(&r.get::<_, Vec<u8>>(2)?)))
    })?;
    let mut all = rows.collect::<Done<Vec<_>>>()?;
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(all)
}
