//! From a filter to jobs, by number: which index to follow, and what to look at one by one.
//!
//! Numbers come from the narrowest source that the filter allows (given numbers, a batch, a
//! schedule, an ended state, routes, the whole table) in slices. What a job's own row can tell is
//! asked in the same statement; only what passes is loaded and held against the whole filter. After [`limits::SCAN`] jobs looked at, the caller gets what was
//! found and a place to go on from, so that no call takes long however little the filter lets
//! through.

use crate::enqueue::check_len;
use crate::names::us;
use crate::rows::{job_record, record_sql};
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
        for (id, fits) in slice {
            looked_at += 1;
            if fits {
                let job = load.query_and_then([id], job_record)?.next().transpose()?;
                jobs.extend(job.filter(|job| job.project == project && matches(filter, job)));
            }
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

/// Numbers of jobs in order, each with whether its row passes, from one of several sources.
enum Numbers {
    /// Known beforehand: given, or few by their nature.
    Listed(std::vec::IntoIter<i64>),
    /// Asked for in slices.
    Asked(Asked),
}

struct Asked {
    /// SQL of one source and its value; several are joined.
    branches: Vec<(&'static str, Option<i64>)>,
    /// What a row must be, and the values of that.
    fits: (String, Vec<Value>),
    way: Way,
    from: i64,
}

/// What a condition may look at.
macro_rules! columns {
    () => {
        "SELECT id, st, route, attempt, outcome, key, created_at, schedule, batch FROM jobs "
    };
}
const ALL: &str = concat!(columns!(), "WHERE ");
const BATCH: &str = concat!(columns!(), "INDEXED BY jobs_batch WHERE batch IS NOT NULL AND batch = ? AND ");
const SCHEDULE: &str =
    concat!(columns!(), "INDEXED BY jobs_schedule WHERE schedule IS NOT NULL AND schedule = ? AND ");
const ROUTE: &str = concat!(columns!(), "INDEXED BY jobs_route WHERE route = ? AND ");
const ENDED: &str = concat!(columns!(), "INDEXED BY jobs_ended WHERE st >= 14 AND st <= 15 AND st = ? AND ");

impl Numbers {
    fn new(
        conn: &Connection,
        project: ProjectId,
        filter: &JobFilter,
        way: Way,
        from: Option<JobId>,
    ) -> Done<Numbers> {
        let from = from.map_or(if way == Way::Up { i64::MIN } else { i64::MAX }, |id| id.0);
        let listed = |mut ids: Vec<i64>| {
            ids.sort_unstable();
            ids.dedup();
            ids.retain(|id| if way == Way::Up { *id > from } else { *id < from });
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
        let routes = routes(conn, project, filter)?;
        if routes.is_empty() {
            return Ok(listed(Vec::new()));
        }
        let narrow = filter.kind.is_some() || filter.queue.is_some();
        let mut branches = Vec::new();
        if let Some(batch) = filter.batch {
            branches.push((BATCH, Some(batch.0)));
        } else if let Some(schedule) = filter.schedule {
            branches.push((SCHEDULE, Some(schedule.0)));
        } else if only(&[JobState::Failed, JobState::Cancelled]) {
            branches.extend(filter.states.iter().map(|s| (ENDED, Some(crate::schema::st(*s)))));
            branches.dedup();
        } else if narrow && routes.len() <= ROUTES {
            branches.extend(routes.iter().map(|id| (ROUTE, Some(*id))));
        } else {
            branches.push((ALL, None));
        }
        Ok(Numbers::Asked(Asked { branches, fits: fits(filter, &routes), way, from }))
    }

    fn slice(&mut self, conn: &Connection, n: usize) -> Done<Vec<(i64, bool)>> {
        match self {
            Numbers::Listed(ids) => Ok(ids.by_ref().take(n).map(|id| (id, true)).collect()),
            Numbers::Asked(asked) => asked.slice(conn, n),
        }
    }
}

impl Asked {
    fn slice(&mut self, conn: &Connection, n: usize) -> Done<Vec<(i64, bool)>> {
        let (place, order) = match self.way {
            Way::Up => ("id > ?", "ORDER BY id"),
            Way::Down => ("id < ?", "ORDER BY id DESC"),
        };
        let mut sql = format!("SELECT id, {} FROM (", self.fits.0);
        let mut values = self.fits.1.clone();
        for (at, (branch, own)) in self.branches.iter().enumerate() {
            if at > 0 {
                sql.push_str(" UNION ALL ");
            }
            sql.push_str(&format!("SELECT * FROM ({branch}{place} {order} LIMIT {n})"));
            values.extend(own.map(Value::Integer));
            values.push(Value::Integer(self.from));
        }
        sql.push_str(&format!(") {order} LIMIT {n}"));
        let found: Vec<(i64, bool)> = conn
            .prepare_cached(&sql)?
            .query_map(params_from_iter(values), |r| Ok((r.get(0)?, r.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        if let Some((last, _)) = found.last() {
            self.from = *last;
        }
        Ok(found)
    }
}

/// What a job's own row can tell of a filter, as a condition. Never lets through less than the
/// filter does.
fn fits(filter: &JobFilter, routes: &[i64]) -> (String, Vec<Value>) {
    let numbers = |list: &[i64]| list.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    let (mut sql, mut values) = (String::from("1"), Vec::new());
    if !filter.states.is_empty() {
        let mut states: Vec<i64> = filter.states.iter().map(|s| crate::schema::st(*s)).collect();
        if filter.states.contains(&JobState::Available) {
            states.push(crate::schema::HELD);
        }
        sql.push_str(&format!(" AND st IN ({})", numbers(&states)));
    }
    if routes.len() <= limits::BATCH {
        sql.push_str(&format!(" AND route IN ({})", numbers(routes)));
    }
    if filter.error_class.is_some() {
        // Most jobs succeed at their first attempt: their own row says that they have no error.
        sql.push_str(" AND NOT (st = 13 AND attempt = 1 AND outcome IS 0)");
    }
    for (condition, value) in [
        (" AND key IS ?", filter.key.clone().map(Value::Text)),
        (" AND schedule IS ?", filter.schedule.map(|s| Value::Integer(s.0))),
        (" AND batch IS ?", filter.batch.map(|b| Value::Integer(b.0))),
        (" AND created_at >= ?", filter.created_from.map(|at| Value::Integer(us(at)))),
        (" AND created_at <= ?", filter.created_until.map(|at| Value::Integer(us(at)))),
    ] {
        if let Some(value) = value {
            sql.push_str(condition);
            values.push(value);
        }
    }
    (sql, values)
}

/// The routes of a project, of a filter's queue and kind where it names them.
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
