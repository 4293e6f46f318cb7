//! From a filter to jobs, by number: which index to follow, and what to look at one by one.
//!
//! Numbers come from the narrowest source that the filter allows (given numbers, a batch, a
//! schedule, a key's state, routes, the whole table) in slices; each job is then loaded by its number
//! and held against the whole filter. After [`limits::SCAN`] jobs looked at, the caller gets what was
//! found and a place to go on from, so that no call takes long however little the filter lets
//! through.

use crate::enqueue::check_len;
use crate::row::{job_record, record_sql};
use crate::tx::Done;
use mainspring_core::ids::{JobId, ProjectId};
use mainspring_core::job::{JobRecord, JobState};
use mainspring_core::limits;
use mainspring_core::store::JobFilter;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

/// Which way a walk goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Newest first, below the place.
    Down,
    /// Oldest first, above the place.
    Up,
}

/// Jobs that a walk found, and where to go on when it is not through.
pub(crate) struct Found {
    pub jobs: Vec<JobRecord>,
    pub next: Option<JobId>,
}

/// Routes up to this many are followed one by one; more of them are most of the table.
const ROUTES: usize = 16;

/// Walks the jobs of a filter.
pub(crate) fn walk(
    conn: &Connection,
    project: ProjectId,
    filter: &JobFilter,
    way: Way,
    from: Option<JobId>,
    limit: usize,
) -> Done<Found> {
    check_len("ids", filter.ids.len())?;
    let mut numbers = Numbers::new(conn, project, filter, way, from)?;
    let mut load = conn.prepare_cached(record_sql!("WHERE j.id = ?1"))?;
    let mut jobs = Vec::new();
    let mut looked_at = 0;
    loop {
        let slice = numbers.slice(conn, (2 * limit).clamp(64, 1024))?;
        if slice.is_empty() {
            return Ok(Found { jobs, next: None });
        }
        for id in slice {
            looked_at += 1;
            let job = load.query_and_then([id], job_record)?.next().transpose()?;
            jobs.extend(job.filter(|job| job.project == project && matches(filter, job)));
            if jobs.len() > limit {
                // One too many: there is more after the last one.
                jobs.truncate(limit);
                let next = jobs.last().map(|job| job.id);
                return Ok(Found { jobs, next });
            }
            if looked_at >= limits::SCAN {
                return Ok(Found { jobs, next: Some(JobId(id)) });
            }
        }
    }
}

/// Whether a filter lets a job through.
fn matches(filter: &JobFilter, r: &JobRecord) -> bool {
    let is = |want: &Option<String>, have: Option<&str>| want.as_deref().is_none_or(|w| have == Some(w));
    (filter.ids.is_empty() || filter.ids.contains(&r.id))
        && (filter.states.is_empty() || filter.states.contains(&r.state))
        && is(&filter.kind, Some(&r.kind))
        && is(&filter.queue, Some(&r.queue))
        && filter.schedule.is_none_or(|s| r.schedule == Some(s))
        && filter.batch.is_none_or(|b| r.batch == Some(b))
        && is(&filter.key, r.key.as_deref())
        && is(&filter.error_class, r.error.as_ref().map(|e| e.class.as_str()))
        && filter.created_from.is_none_or(|from| r.created_at >= from)
        && filter.created_until.is_none_or(|until| r.created_at < until)
}

/// Numbers of jobs in order, from one of several sources.
enum Numbers {
    /// Known beforehand: given, or few by their nature.
    Listed(std::vec::IntoIter<i64>),
    /// Asked for in slices: (SQL of one branch, its values) each, joined.
    Asked { branches: Vec<(&'static str, Vec<Value>)>, way: Way, from: i64 },
}

const ALL: &str = "SELECT id FROM jobs WHERE ";
const BATCH: &str = "SELECT id FROM jobs INDEXED BY jobs_batch WHERE batch IS NOT NULL AND batch = ? AND ";
const SCHEDULE: &str =
    "SELECT id FROM jobs INDEXED BY jobs_schedule WHERE schedule IS NOT NULL AND schedule = ? AND ";
const ROUTE: &str = "SELECT id FROM jobs INDEXED BY jobs_route WHERE route = ? AND ";
const ENDED: &str = "SELECT id FROM jobs INDEXED BY jobs_ended WHERE st >= 14 AND st <= 15 AND st = ? AND ";

impl Numbers {
    fn new(
        conn: &Connection,
        project: ProjectId,
        filter: &JobFilter,
        way: Way,
        from: Option<JobId>,
    ) -> Done<Numbers> {
        let start = from.map_or(if way == Way::Up { i64::MIN } else { i64::MAX }, |id| id.0);
        let listed = |mut ids: Vec<i64>| {
            ids.sort_unstable();
            ids.dedup();
            ids.retain(|id| if way == Way::Up { *id > start } else { *id < start });
            if way == Way::Down {
                ids.reverse();
            }
            Numbers::Listed(ids.into_iter())
        };
        if !filter.ids.is_empty() {
            return Ok(listed(filter.ids.iter().map(|id| id.0).collect()));
        }
        let only = |states: &[JobState]| {
            !filter.states.is_empty() && filter.states.iter().all(|s| states.contains(s))
        };
        if only(&[JobState::Running]) {
            // As many as there are slots.
            let mut running =
                conn.prepare_cached("SELECT id FROM jobs INDEXED BY jobs_running WHERE st = 12")?;
            let ids = running.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
            return Ok(listed(ids));
        }
        let mut branches = Vec::new();
        if let Some(batch) = filter.batch {
            branches.push((BATCH, vec![Value::Integer(batch.0)]));
        } else if let Some(schedule) = filter.schedule {
            branches.push((SCHEDULE, vec![Value::Integer(schedule.0)]));
        } else if only(&[JobState::Failed, JobState::Cancelled]) {
            for st in filter.states.iter().map(|s| crate::schema::st(*s)) {
                branches.push((ENDED, vec![Value::Integer(st)]));
            }
            branches.dedup();
        } else if filter.kind.is_some() || filter.queue.is_some() {
            let routes = routes(conn, project, filter)?;
            if routes.is_empty() {
                return Ok(listed(Vec::new()));
            }
            if routes.len() <= ROUTES {
                branches.extend(routes.into_iter().map(|id| (ROUTE, vec![Value::Integer(id)])));
            }
        }
        if branches.is_empty() {
            branches.push((ALL, Vec::new()));
        }
        Ok(Numbers::Asked { branches, way, from: start })
    }

    fn slice(&mut self, conn: &Connection, n: usize) -> Done<Vec<i64>> {
        let (branches, way, from) = match self {
            Numbers::Listed(ids) => return Ok(ids.by_ref().take(n).collect()),
            Numbers::Asked { branches, way, from } => (branches, *way, from),
        };
        let (place, order) =
            if way == Way::Up { ("id > ?", "ORDER BY id") } else { ("id < ?", "ORDER BY id DESC") };
        let mut sql = String::from("SELECT id FROM (");
        let mut values = Vec::new();
        for (at, (branch, own)) in branches.iter().enumerate() {
            if at > 0 {
                sql.push_str(" UNION ALL ");
            }
            sql.push_str(&format!("SELECT id FROM ({branch}{place} {order} LIMIT {n})"));
            values.extend(own.iter().cloned());
            values.push(Value::Integer(*from));
        }
        sql.push_str(&format!(") {order} LIMIT {n}"));
        let ids: Vec<i64> = conn
            .prepare_cached(&sql)?
            .query_map(params_from_iter(values), |r| r.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        if let Some(last) = ids.last() {
            *from = *last;
        }
        Ok(ids)
    }
}

/// The routes of a filter's queue and kind.
fn routes(conn: &Connection, project: ProjectId, filter: &JobFilter) -> Done<Vec<i64>> {
    let mut rows = conn.prepare_cached(
        "SELECT r.id FROM queues q CROSS JOIN routes r ON r.queue = q.id
         WHERE q.project = ?1 AND (?2 IS NULL OR q.name = ?2) AND (?3 IS NULL OR r.kind = ?3)",
    )?;
    let ids = rows
        .query_map(rusqlite::params![project.0, filter.queue, filter.kind], |r| r.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(ids)
}

/// Whether a project has this job.
pub(crate) fn owns(conn: &Connection, project: ProjectId, job: JobId) -> Done<bool> {
    let owner: Option<i64> = conn
        .prepare_cached(
            "SELECT q.project FROM jobs j CROSS JOIN routes r ON r.id = j.route
             CROSS JOIN queues q ON q.id = r.queue WHERE j.id = ?1",
        )?
        .query_row([job.0], |r| r.get(0))
        .optional()?;
    Ok(owner == Some(project.0))
}
