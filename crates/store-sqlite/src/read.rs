//! What readers see of jobs, schedules, batches, nodes and events. Figures are in `read_stats.rs`.

use crate::cache::us;
use crate::filter::{self, Way};
use crate::nodes::{NODE_COLUMNS, node_record};
use crate::row::{self, BATCH_COLUMNS, batch_record, job_record, record_sql};
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
use mainspring_core::reader::{JobDetail, Page};
use mainspring_core::schedule_record::{FireOutcome, LedgerRow, ScheduleRecord};
use mainspring_core::store::JobFilter;
use mainspring_core::{limits, time};
use rusqlite::{Connection, OptionalExtension, params};

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
        .query_map([id.0], |r| Ok((r.get(0)?, row::json(r.get(1)?), time::from_micros(r.get(2)?))))?
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
            outcome: Some(row::code("an attempt's outcome", r.get(4)?, AttemptOutcome::from_code)?),
            error: error.map(|e| row::parse("an attempt's error", &e)).transpose()?,
        })
    })?;
    rows.collect()
}

pub(crate) fn steps(conn: &Connection, job: JobId) -> Done<Vec<(String, Json)>> {
    let mut rows = conn.prepare_cached("SELECT name, result FROM steps WHERE job = ?1 ORDER BY id")?;
    let rows = rows.query_map([job.0], |r| Ok((r.get(0)?, row::json(r.get(1)?))))?;
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
            level: row::code("a log line's level", r.get(3)?, LogLevel::from_code)?,
            message: r.get(4)?,
            fields: r.get::<_, Option<String>>(5)?.map(row::json),
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
            outcome: row::code("a fire's outcome", r.get(3)?, FireOutcome::from_code)?,
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
        let state = crate::cache::state_of(r.get(2)?)?;
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
                data: row::json(r.get(5)?),
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
