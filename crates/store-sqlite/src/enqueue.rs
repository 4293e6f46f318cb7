//! Jobs come in: by a client's call, with a batch, as a fire, as a batch's follow-up. All of them
//! through [`Tx::write_job`].

use crate::names::{RouteIx, us};
use crate::rows::JobOptions;
use crate::schema;
use crate::tx::{Done, Fault, Tx, conflict, invalid, not_found};
use jiff::Timestamp;
use mainspring_core::batch::BatchState;
use mainspring_core::claim as rules;
use mainspring_core::ids::{BatchId, JobId, ProjectId};
use mainspring_core::job::{Enqueued, JobState, NewJob, Origin, check_name};
use mainspring_core::retry::RetryPolicy;
use mainspring_core::store::Hint;
use mainspring_core::{StoreError, limits, time};
use rusqlite::types::Value;
use rusqlite::{CachedStatement, OptionalExtension, params};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

const INSERT: &str = "INSERT INTO jobs (id, st, route, priority, flags, attempt, raised, deaths, origin, ord,
        run_at, created_at, started_at, finished_at, node, expires_at, batch, schedule, scheduled_for,
        key, options, payload)
    VALUES (?1, ?2, ?3, ?4, 0, 0, 0, 0, ?5, ?6, ?7, ?8, -9223372036854775808, -9223372036854775808,
        -9223372036854775808, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";

/// Jobs that differ in nothing but their payload: one statement for all, because opening a dozen
/// indexes costs more than an entry in two of them.
pub(crate) const INSERT_ALIKE: &str =
    "INSERT INTO jobs (id, st, route, priority, flags, attempt, raised, deaths, origin,
        ord, run_at, created_at, started_at, finished_at, node, expires_at, batch, payload)
    SELECT ?1 + rowid, ?2, ?3, ?4, 0, 0, 0, 0, ?5, ?6, ?7, ?8, -9223372036854775808,
        -9223372036854775808, -9223372036854775808, ?9, ?10, value
    FROM rarray(?11)";

/// From how many jobs on [`INSERT_ALIKE`] is worth its preparation.
const ALIKE: usize = 4;

/// Longer payloads go one by one: those of a whole call are in memory twice otherwise.
const SHORT: usize = 4 << 10;

/// What is the same for all jobs of a call.
struct Writing<'c> {
    insert: CachedStatement<'c>,
    now: i64,
    policy: RetryPolicy,
    /// The route of the job before: most jobs of a call go the same way.
    last: Option<(Arc<str>, Arc<str>, RouteIx)>,
}

impl Tx<'_> {
    pub fn ensure_project(&mut self, now: Timestamp, name: &str) -> Done<ProjectId> {
        check_name(name).or_else(|text| invalid("project", text))?;
        let known = self
            .conn
            .prepare_cached("SELECT id FROM projects WHERE name = ?1")?
            .query_row([name], |r| r.get(0))
            .optional()?;
        if let Some(id) = known {
            return Ok(ProjectId(id));
        }
        let id: i64 = self
            .conn
            .prepare_cached("INSERT INTO projects (name, created_at) VALUES (?1, ?2) RETURNING id")?
            .query_row(params![name, us(now)], |r| r.get(0))?;
        Ok(ProjectId(id))
    }

    pub fn enqueue(&mut self, now: Timestamp, project: ProjectId, jobs: &[NewJob]) -> Done<Vec<Enqueued>> {
        self.check_jobs(project, jobs)?;
        let made = self.write_jobs(now, project, jobs, None)?;
        self.settle(now)?;
        Ok(made)
    }

    /// Everything that may refuse jobs, before any of them is written.
    pub fn check_jobs(&mut self, project: ProjectId, jobs: &[NewJob]) -> Done<()> {
        check_each(jobs)?;
        let mut added = BTreeMap::<BatchId, u64>::new();
        for id in jobs.iter().filter_map(|job| job.batch) {
            *added.entry(id).or_default() += 1;
        }
        for (id, more) in added {
            let known = self
                .conn
                .prepare_cached("SELECT sealed, state, total FROM batches WHERE id = ?1 AND project = ?2")?
                .query_row([id.0, project.0], |r| {
                    Ok((r.get::<_, bool>(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?))
                })
                .optional()?;
            match known {
                None => return not_found("batch", id),
                Some((true, ..)) => {
                    return conflict(format!("batch {id} is sealed: no more jobs can be added"));
                }
                Some((_, state, _)) if state != i64::from(BatchState::Open.code()) => {
                    let text = "is over, because the job that opened it is: retry that job";
                    return conflict(format!("batch {id} {text}"));
                }
                Some((_, _, total)) if total as u64 + more > limits::BATCH_JOBS => {
                    let text = format!("batch {id} would have more than {} jobs", limits::BATCH_JOBS);
                    return invalid("batch", text);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Writes jobs that were checked; with `batch` all of them into that one.
    pub fn write_jobs(
        &mut self,
        now: Timestamp,
        project: ProjectId,
        jobs: &[NewJob],
        batch: Option<BatchId>,
    ) -> Done<Vec<Enqueued>> {
        let conn = self.conn;
        let insert = conn.prepare_cached(INSERT)?;
        let mut w = Writing { insert, now: us(now), policy: RetryPolicy::default(), last: None };
        let mut made = Vec::with_capacity(jobs.len());
        let mut rest = jobs;
        while let [job, ..] = rest {
            let alike = alike(rest, &w.policy);
            if alike >= ALIKE && self.write_alike(&w, project, &rest[..alike], batch, &mut made)? {
                rest = &rest[alike..];
            } else {
                made.push(self.write_job(&mut w, project, job, batch.or(job.batch))?);
                rest = &rest[1..];
            }
        }
        if made.iter().any(|e| !e.duplicate) {
            self.hint(Hint::Jobs);
        }
        Ok(made)
    }

    /// Writes jobs that differ in nothing but their payload. False, and nothing is written, when their
    /// queue is fair: there each has a place of its own.
    fn write_alike(
        &mut self,
        w: &Writing<'_>,
        project: ProjectId,
        jobs: &[NewJob],
        batch: Option<BatchId>,
        made: &mut Vec<Enqueued>,
    ) -> Done<bool> {
        let Some(job) = jobs.first() else { return Ok(true) };
        let route = self.names.route(self.conn, project, &job.queue, &job.kind)?;
        if self.names.queues[self.names.routes[route].queue].settings.fair {
            return Ok(false);
        }
        let (first, n) = (self.names.next_job, jobs.len() as i64);
        self.names.next_job += n;
        let run_at = job.run_at.map_or(w.now, us);
        let state = if run_at <= w.now { JobState::Available } else { JobState::Scheduled };
        let ord = match state {
            JobState::Available => self.place(route, None, job.priority, run_at)?,
            _ => ABSENT_ORD,
        };
        let batch = batch.or(job.batch);
        let payloads: Vec<Value> =
            jobs.iter().map(|job| Value::Text(job.payload.as_str().to_owned())).collect();
        let written = self.conn.prepare_cached(INSERT_ALIKE)?.execute(params![
            first - 1,
            schema::st(state),
            route as i64 + 1,
            job.priority,
            job.origin.code(),
            ord,
            run_at,
            w.now,
            job.expires_at.map(us),
            batch.map(|b| b.0),
            Rc::new(payloads)
        ])?;
        if written != jobs.len() {
            let text = format!("{written} of {n} jobs were written");
            return Err(Fault::Refused(StoreError::Internal(text)));
        }
        self.names.count(route, state, n);
        if let Some(batch) = batch.filter(|_| job.origin != Origin::FollowUp) {
            self.batches.entry(batch.0).or_default().total += n as u64;
        }
        made.extend((first..first + n).map(|id| Enqueued { id: JobId(id), duplicate: false }));
        Ok(true)
    }

    fn write_job(
        &mut self,
        w: &mut Writing<'_>,
        project: ProjectId,
        job: &NewJob,
        batch: Option<BatchId>,
    ) -> Done<Enqueued> {
        let (schedule, scheduled_for) = match job.schedule {
            None => (None, None),
            Some((id, at)) => (Some(id.0), at.map(us)),
        };
        if let Some(id) = self.existing(w.now, project, job)? {
            return Ok(Enqueued { id, duplicate: true });
        }
        let route = match &w.last {
            Some((queue, kind, route)) if *queue == job.queue && *kind == job.kind => *route,
            _ => {
                let route = self.names.route(self.conn, project, &job.queue, &job.kind)?;
                w.last = Some((job.queue.clone(), job.kind.clone(), route));
                route
            }
        };
        let id = self.names.next_job;
        self.names.next_job += 1;
        let run_at = job.run_at.map_or(w.now, us);
        let state = if run_at <= w.now { JobState::Available } else { JobState::Scheduled };
        let ord = match state {
            JobState::Available => self.place(route, job.key.as_ref(), job.priority, run_at)?,
            _ => ABSENT_ORD,
        };
        let insert = &mut w.insert;
        insert.raw_bind_parameter(1, id)?;
        insert.raw_bind_parameter(2, schema::st(state))?;
        insert.raw_bind_parameter(3, route as i64 + 1)?;
        insert.raw_bind_parameter(4, job.priority)?;
        insert.raw_bind_parameter(5, job.origin.code())?;
        insert.raw_bind_parameter(6, ord)?;
        insert.raw_bind_parameter(7, run_at)?;
        insert.raw_bind_parameter(8, w.now)?;
        insert.raw_bind_parameter(9, job.expires_at.map(us))?;
        insert.raw_bind_parameter(10, batch.map(|b| b.0))?;
        insert.raw_bind_parameter(11, schedule)?;
        insert.raw_bind_parameter(12, scheduled_for)?;
        insert.raw_bind_parameter(13, job.key.as_deref())?;
        insert.raw_bind_parameter(14, JobOptions::of(job, &w.policy))?;
        insert.raw_bind_parameter(15, job.payload.as_str())?;
        insert.raw_execute()?;
        self.names.count(route, state, 1);
        if let Some(unique) = &job.unique {
            let until = unique.period.map(|p| us(time::plus(time::from_micros(w.now), p)));
            self.conn
                .prepare_cached(
                    "INSERT INTO uniques (project, key, job, until) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO UPDATE SET job = excluded.job, until = excluded.until",
                )?
                .execute(params![project.0, unique.key, id, until])?;
        }
        if let Some(batch) = batch.filter(|_| job.origin != Origin::FollowUp) {
            self.batches.entry(batch.0).or_default().total += 1;
        }
        Ok(Enqueued { id: JobId(id), duplicate: false })
    }

    /// The job that keeps a new one out: the same fire, or the holder of its unique key.
    fn existing(&mut self, now: i64, project: ProjectId, job: &NewJob) -> Done<Option<JobId>> {
        if let (Origin::Fire | Origin::Backfill, Some((schedule, Some(at)))) = (job.origin, job.schedule) {
            let made = self
                .conn
                .prepare_cached(
                    "SELECT id FROM jobs INDEXED BY jobs_fire
                     WHERE schedule = ?1 AND scheduled_for = ?2 AND origin = ?3
                       AND schedule IS NOT NULL AND scheduled_for IS NOT NULL AND origin IN (1, 3)",
                )?
                .query_row(params![schedule.0, us(at), job.origin.code()], |r| r.get(0))
                .optional()?;
            if let Some(id) = made {
                return Ok(Some(JobId(id)));
            }
        }
        let Some(unique) = &job.unique else { return Ok(None) };
        let holder = self
            .conn
            .prepare_cached(
                "SELECT u.job, u.until, j.st FROM uniques u CROSS JOIN jobs j ON j.id = u.job
                 WHERE u.project = ?1 AND u.key = ?2",
            )?
            .query_row(params![project.0, unique.key], |r| {
                Ok((r.get::<_, i64>(0)?, r.get::<_, Option<i64>>(1)?, r.get::<_, i64>(2)?))
            })
            .optional()?;
        let Some((id, until, st)) = holder else { return Ok(None) };
        let holds = until.is_none_or(|until| now < until) && unique.states.has(crate::names::state_of(st)?);
        Ok(holds.then_some(JobId(id)))
    }

    /// The place of a job that becomes available: by the time it became due, or by its key's turn
    /// where the queue is fair.
    pub fn place(&mut self, route: RouteIx, key: Option<&Arc<str>>, priority: u8, run_at: i64) -> Done<i64> {
        let queue = self.names.routes[route].queue;
        if !self.names.queues[queue].settings.fair {
            return Ok(run_at.saturating_add(rules::priority_offset(priority)));
        }
        let state = self.queue_state(queue);
        let key = self.key_state(queue, key.cloned().unwrap_or_default())?;
        Ok(rules::fair_ord(&state, key, priority))
    }
}

/// `ord` of a job that is scheduled: it gets its place when it becomes available.
const ABSENT_ORD: i64 = schema::ABSENT;

/// How many jobs from the first on differ from it in nothing but their payload. 0 when it has
/// something that must be looked at by itself.
fn alike(jobs: &[NewJob], policy: &RetryPolicy) -> usize {
    let plain = |job: &NewJob| {
        job.key.is_none()
            && job.unique.is_none()
            && job.schedule.is_none()
            && job.timeout.is_none()
            && job.key_limit.is_none()
            && job.payload.as_str().len() <= SHORT
            && job.retry == *policy
    };
    let Some(first) = jobs.first() else { return 0 };
    let same = |job: &NewJob| {
        (&job.kind, &job.queue) == (&first.kind, &first.queue)
            && (job.priority, job.run_at, job.expires_at) == (first.priority, first.run_at, first.expires_at)
            && (job.batch, job.origin) == (first.batch, first.origin)
    };
    jobs.iter().take_while(|job| plain(job) && same(job)).count()
}

/// Refuses jobs that are malformed.
pub(crate) fn check_each(jobs: &[NewJob]) -> Done<()> {
    check_len("jobs", jobs.len())?;
    for job in jobs {
        job.check().map_err(|(field, text)| Fault::Refused(StoreError::Invalid { field, text }))?;
    }
    Ok(())
}

/// Refuses a list that is too long.
pub(crate) fn check_len(field: &'static str, len: usize) -> Done<()> {
    if len > limits::BATCH {
        let text = format!("{len} entries, at most {} are allowed in one call", limits::BATCH);
        return invalid(field, text);
    }
    Ok(())
}

/// `limit` of a call that writes.
pub(crate) fn at_most(limit: u32) -> usize {
    (limit as usize).min(limits::BATCH)
}
