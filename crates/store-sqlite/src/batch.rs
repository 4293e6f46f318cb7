//! Batches: totals rise with enqueues, counts with ends; the last end closes the batch and enqueues
//! its follow-up, once.

use crate::enqueue::check_each;
use crate::names::us;
use crate::rows;
use crate::schema;
use crate::tx::{Done, Fault, Tx, not_found};
use jiff::Timestamp;
use mainspring_core::batch::{BatchCounts, BatchState, NewBatch};
use mainspring_core::event;
use mainspring_core::ids::{BatchId, ProjectId, ScheduleId};
use mainspring_core::job::{AttemptOutcome, Enqueued, JobState, NewJob, Origin, Unique};
use mainspring_core::retry::RetryPolicy;
use mainspring_core::{StoreError, limits, time};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::time::Duration;

impl Tx<'_> {
    pub fn open_batch(
        &mut self,
        now: Timestamp,
        project: ProjectId,
        batch: &NewBatch,
        jobs: &[NewJob],
    ) -> Done<(BatchId, Vec<Enqueued>)> {
        check_each(jobs)?;
        let template = match &batch.follow_up {
            None => None,
            Some(job) => {
                check_each(std::slice::from_ref(job))?;
                Some(template(job)?)
            }
        };
        let name = limits::cut(&batch.name, limits::NAME);
        let opened: Option<i64> = self
            .conn
            .prepare_cached(
                "SELECT id FROM batches WHERE sealed = 0 AND parent = ?1 AND name = ?2 AND project = ?3",
            )?
            .query_row(params![batch.parent.map(|p| p.0), name, project.0], |r| r.get(0))
            .optional()?;
        let id = match opened {
            Some(id) => {
                self.conn
                    .prepare_cached("UPDATE batches SET state = ?2, finished_at = NULL WHERE id = ?1")?
                    .execute([id, i64::from(BatchState::Open.code())])?;
                id
            }
            None => self.new_batch(now, project, batch, &name, template)?,
        };
        // The batch of the jobs is this one, whatever they say.
        let made = self.write_jobs(now, project, jobs, Some(BatchId(id)))?;
        if batch.sealed {
            self.conn.prepare_cached("UPDATE batches SET sealed = 1 WHERE id = ?1")?.execute([id])?;
        }
        self.batches.entry(id).or_default();
        self.settle(now)?;
        Ok((BatchId(id), made))
    }

    fn new_batch(
        &mut self,
        now: Timestamp,
        project: ProjectId,
        batch: &NewBatch,
        name: &str,
        template: Option<String>,
    ) -> Done<i64> {
        let id = self
            .conn
            .prepare_cached(
                "INSERT INTO batches (project, name, state, sealed, parent, template, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING id",
            )?
            .query_row(
                params![
                    project.0,
                    name,
                    BatchState::Open.code(),
                    batch.sealed,
                    batch.parent.map(|p| p.0),
                    template,
                    us(now)
                ],
                |r| r.get(0),
            )?;
        Ok(id)
    }

    /// What a job that failed or was cancelled opened and left unsealed: the end of the call looks
    /// whether it is over.
    pub fn give_up_batches(&mut self, parent: i64) -> Done<()> {
        let mut left = self.conn.prepare_cached(
            "SELECT id FROM batches INDEXED BY batches_left WHERE sealed = 0 AND parent = ?1",
        )?;
        for id in left.query_map([parent], |r| r.get(0))? {
            self.batches.entry(id?).or_default();
        }
        Ok(())
    }

    /// The job that had given them up lives again: its batches are open.
    pub fn reopen_batches(&mut self, parent: i64) -> Done<()> {
        self.conn
            .prepare_cached(
                "UPDATE batches SET state = ?2, finished_at = NULL WHERE sealed = 0 AND parent = ?1",
            )?
            .execute([parent, i64::from(BatchState::Open.code())])?;
        Ok(())
    }

    /// Batches that deleted jobs opened and left unsealed: nobody completes them any more.
    pub fn resolve_batches(&mut self, low: i64, high: i64, gone: impl Fn(i64) -> bool) -> Done<()> {
        let left: Vec<(i64, i64, bool)> = self
            .conn
            .prepare_cached(
                "SELECT id, parent, total = 0 FROM batches INDEXED BY batches_left
                 WHERE sealed = 0 AND parent BETWEEN ?1 AND ?2",
            )?
            .query_map([low, high], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (id, _, empty) in left.into_iter().filter(|(_, parent, _)| gone(*parent)) {
            if empty {
                self.conn.prepare_cached("DELETE FROM batches WHERE id = ?1")?.execute([id])?;
            } else {
                self.conn
                    .prepare_cached("UPDATE batches SET sealed = 1, template = NULL WHERE id = ?1")?
                    .execute([id])?;
                self.batches.entry(id).or_default();
            }
        }
        Ok(())
    }

    pub fn seal_batch(&mut self, now: Timestamp, project: ProjectId, batch: BatchId) -> Done<()> {
        let done = self
            .conn
            .prepare_cached("UPDATE batches SET sealed = 1 WHERE id = ?1 AND project = ?2")?
            .execute([batch.0, project.0])?;
        if done == 0 {
            return not_found("batch", batch);
        }
        self.batches.entry(batch.0).or_default();
        self.settle(now)
    }

    /// Adds a call's counts to a batch, and ends it when it is over.
    pub fn add_to_batch(&mut self, now: Timestamp, id: i64, add: BatchCounts) -> Done<()> {
        let found = self
            .conn
            .prepare_cached(
                "UPDATE batches SET total = total + ?2, succeeded = succeeded + ?3, partial = partial + ?4,
                    failed = failed + ?5, cancelled = cancelled + ?6
                 WHERE id = ?1
                 RETURNING project, name, state, sealed, total, succeeded, partial, failed, cancelled,
                    follow_up IS NULL AND sealed, template,
                    (SELECT st FROM jobs WHERE jobs.id = parent AND NOT sealed)",
            )?
            .query_row(
                params![
                    id,
                    add.total as i64,
                    add.succeeded as i64,
                    add.partial as i64,
                    add.failed as i64,
                    add.cancelled as i64
                ],
                |r| {
                    let n = |at| r.get::<_, i64>(at).map(|n| n.max(0) as u64);
                    let counts = BatchCounts {
                        total: n(4)?,
                        succeeded: n(5)?,
                        partial: n(6)?,
                        failed: n(7)?,
                        cancelled: n(8)?,
                    };
                    let given_up =
                        matches!(r.get::<_, Option<i64>>(11)?, Some(schema::FAILED | schema::CANCELLED));
                    let open = r.get::<_, i64>(2)? == i64::from(BatchState::Open.code());
                    let template = if r.get(9)? { r.get::<_, Option<String>>(10)? } else { None };
                    Ok((
                        ProjectId(r.get(0)?),
                        r.get::<_, String>(1)?,
                        open,
                        if given_up { counts.state_given_up() } else { counts.state(r.get(3)?) },
                        template,
                    ))
                },
            )
            .optional()?;
        let Some((project, name, true, state, template)) = found else { return Ok(()) };
        if state == BatchState::Open {
            return Ok(());
        }
        self.event(now, project, &event::of_batch(BatchId(id), &name, state))?;
        let mut follow_up = None;
        if let Some(template) = template {
            let job = rows::parse::<Template>("a batch's follow-up", &template)?.into_job();
            let made = self.write_jobs(now, project, std::slice::from_ref(&job), Some(BatchId(id)))?;
            follow_up = made.first().map(|e| e.id.0);
        }
        self.conn
            .prepare_cached(
                "UPDATE batches SET state = ?2, finished_at = ?3, follow_up = coalesce(?4, follow_up)
                 WHERE id = ?1",
            )?
            .execute(params![id, state.code(), us(now), follow_up])?;
        Ok(())
    }
}

/// The count of a batch that a job belongs to, by how it ended.
pub(crate) fn count_of(
    counts: &mut BatchCounts,
    state: JobState,
    outcome: Option<AttemptOutcome>,
) -> &mut u64 {
    match (state, outcome) {
        (JobState::Completed, Some(AttemptOutcome::Partial)) => &mut counts.partial,
        (JobState::Completed, _) => &mut counts.succeeded,
        (JobState::Cancelled, _) => &mut counts.cancelled,
        _ => &mut counts.failed,
    }
}

/// A follow-up as stored until its batch ends.
#[derive(Serialize, Deserialize)]
struct Template {
    kind: String,
    queue: String,
    payload: String,
    priority: u8,
    run_at: Option<i64>,
    expires_at: Option<i64>,
    timeout_us: Option<u64>,
    retry: RetryPolicy,
    key: Option<String>,
    key_limit: Option<u32>,
    unique: Option<Unique>,
    schedule: Option<(i64, Option<i64>)>,
}

/// A job to be, as text.
pub(crate) fn template(job: &NewJob) -> Done<String> {
    let template = Template {
        kind: job.kind.to_string(),
        queue: job.queue.to_string(),
        payload: job.payload.as_str().into(),
        priority: job.priority,
        run_at: job.run_at.map(us),
        expires_at: job.expires_at.map(us),
        timeout_us: job.timeout.map(|t| u64::try_from(t.as_micros()).unwrap_or(u64::MAX)),
        retry: job.retry.clone(),
        key: job.key.as_deref().map(Into::into),
        key_limit: job.key_limit,
        unique: job.unique.clone(),
        schedule: job.schedule.map(|(id, at)| (id.0, at.map(us))),
    };
    serde_json::to_string(&template).map_err(|e| Fault::Refused(StoreError::Internal(e.to_string())))
}

impl Template {
    fn into_job(self) -> NewJob {
        NewJob {
            kind: self.kind.into(),
            queue: self.queue.into(),
            payload: rows::json(self.payload),
            priority: self.priority,
            run_at: self.run_at.map(time::from_micros),
            expires_at: self.expires_at.map(time::from_micros),
            timeout: self.timeout_us.map(Duration::from_micros),
            retry: self.retry,
            key: self.key.map(Into::into),
            key_limit: self.key_limit,
            unique: self.unique,
            batch: None,
            schedule: self.schedule.map(|(id, at)| (ScheduleId(id), at.map(time::from_micros))),
            origin: Origin::FollowUp,
        }
    }
}
