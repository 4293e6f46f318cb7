//! What people do: cancel, retry, change a queue.

use crate::batch::count_of;
use crate::enqueue::at_most;
use crate::filter::{self, Way};
use crate::names::us;
use crate::rows::Row;
use crate::schema;
use crate::tx::{Done, Fault, Tx, invalid};
use jiff::Timestamp;
use mainspring_core::StoreError;
use mainspring_core::batch::{BatchCounts, BatchState};
use mainspring_core::event::NewEvent;
use mainspring_core::ids::{JobId, ProjectId};
use mainspring_core::job::{AttemptOutcome, JobState, check_name};
use mainspring_core::queue::{ALL_QUEUES, QueueSettings};
use mainspring_core::store::{Affected, Hint, JobFilter};
use rusqlite::params;
use std::sync::Arc;

/// One step of a bulk call, owned.
pub(crate) struct Step {
    pub filter: JobFilter,
    pub after: Option<JobId>,
    pub limit: u32,
}

impl Tx<'_> {
    pub fn cancel_jobs(
        &mut self,
        now: Timestamp,
        project: ProjectId,
        step: &Step,
        reason: &str,
        actor: &str,
    ) -> Done<Affected> {
        self.each(now, project, step, |tx, row, state| {
            match state {
                JobState::Running => tx.ask_to_end(row)?,
                state if state.is_final() => return Ok(false),
                _ => tx.cancel_waiting(now, row, reason, Some(actor))?,
            }
            Ok(true)
        })
    }

    pub fn retry_jobs(
        &mut self,
        now: Timestamp,
        project: ProjectId,
        step: &Step,
        actor: &str,
    ) -> Done<Affected> {
        self.each(now, project, step, |tx, row, state| {
            let waits_for_a_retry = state == JobState::Scheduled && row.attempt > 0;
            if !state.is_final() && !waits_for_a_retry {
                return Ok(false);
            }
            tx.retry(now, row, state)?;
            let event = NewEvent::new("job.retried", format!("job/{}", row.id), serde_json::json!({}));
            tx.event(now, project, &event.by(actor))?;
            Ok(true)
        })
    }

    fn retry(&mut self, now: Timestamp, row: &mut Row, state: JobState) -> Done<()> {
        let succeeded = row.outcome == Some(AttemptOutcome::Succeeded.code().into());
        if row.attempt == 1 && state == JobState::Completed && succeeded {
            // The job's own columns will tell of the next attempt from now on.
            self.conn
                .prepare_cached(
                    "INSERT OR REPLACE INTO attempts (job, number, node, started_at, finished_at, outcome)
                     VALUES (?1, 1, ?2, ?3, ?4, 0)",
                )?
                .execute([row.id, row.node, row.started_at, row.finished_at])?;
        }
        if state.is_final() {
            self.conn
                .prepare_cached("UPDATE results SET reason = NULL, output = NULL WHERE job = ?1")?
                .execute([row.id])?;
            row.raised = row.attempt;
            row.deaths = 0;
            row.finished_at = schema::ABSENT;
            if let Some(batch) = row.counted_in() {
                self.reopen(batch, state, row.outcome.and_then(AttemptOutcome::from_code))?;
            }
            self.reopen_batches(row.id)?;
        }
        row.run_at = us(now);
        row.flags &= !(schema::CANCEL | schema::PUT_OFF);
        row.st = schema::READY;
        row.ord = self.place(row.route_ix(), row.key.as_ref(), row.priority, row.run_at)?;
        row.save(self.conn)?;
        self.conn.prepare_cached("DELETE FROM cancels WHERE job = ?1")?.execute([row.id])?;
        self.names.moved(row.route_ix(), state, JobState::Available);
        self.hint(Hint::Jobs);
        Ok(())
    }

    /// A job of a batch is pending again.
    fn reopen(&mut self, batch: i64, state: JobState, outcome: Option<AttemptOutcome>) -> Done<()> {
        let mut less = BatchCounts::default();
        *count_of(&mut less, state, outcome) = 1;
        self.conn
            .prepare_cached(
                "UPDATE batches SET state = ?2, finished_at = NULL, succeeded = max(succeeded - ?3, 0),
                    partial = max(partial - ?4, 0), failed = max(failed - ?5, 0),
                    cancelled = max(cancelled - ?6, 0)
                 WHERE id = ?1",
            )?
            .execute(params![
                batch,
                BatchState::Open.code(),
                less.succeeded as i64,
                less.partial as i64,
                less.failed as i64,
                less.cancelled as i64
            ])?;
        Ok(())
    }

    /// Marks a running job; its node finds the mark with its next heartbeat.
    pub fn ask_to_end(&mut self, row: &Row) -> Done<()> {
        self.conn.prepare_cached("UPDATE jobs SET flags = flags | 1 WHERE id = ?1")?.execute([row.id])?;
        self.conn.prepare_cached("INSERT OR IGNORE INTO cancels (job) VALUES (?1)")?.execute([row.id])?;
        // From now on its finish must look at the row.
        self.names.running.remove(&row.id);
        self.hint(Hint::Cancel);
        Ok(())
    }

    /// One step of a bulk call: `act` says whether it did something.
    fn each(
        &mut self,
        now: Timestamp,
        project: ProjectId,
        step: &Step,
        mut act: impl FnMut(&mut Self, &mut Row, JobState) -> Done<bool>,
    ) -> Done<Affected> {
        let found = filter::walk(self.conn, project, &step.filter, Way::Up, step.after, at_most(step.limit))?;
        let mut jobs = Vec::new();
        for job in found.jobs {
            if let Some(mut row) = Row::load(self.conn, job.id.0)?
                && act(self, &mut row, job.state)?
            {
                jobs.push(job.id);
            }
        }
        self.settle(now)?;
        Ok(Affected { jobs, next: found.next })
    }

    pub fn set_queue(
        &mut self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        settings: &QueueSettings,
        actor: &str,
    ) -> Done<()> {
        if name != ALL_QUEUES {
            check_name(name).or_else(|text| invalid("queue", text))?;
        }
        settings.check().map_err(|(field, text)| Fault::Refused(StoreError::Invalid { field, text }))?;
        let data = serde_json::to_value(settings)
            .map_err(|e| StoreError::Internal(format!("a queue's settings cannot be told: {e}")))?;
        let ix = self.names.queue(self.conn, project, name)?;
        let old = std::mem::replace(&mut self.names.queues[ix].settings, Arc::new(settings.clone()));
        self.conn
            .prepare_cached("UPDATE queues SET settings = ?2 WHERE id = ?1")?
            .execute(params![ix as i64 + 1, data.to_string()])?;
        let what = match (&old.paused, &settings.paused) {
            (Some(_), None) => "queue.resumed",
            (before, Some(pause)) if before.as_ref() != Some(pause) => "queue.paused",
            _ => "queue.changed",
        };
        let raised = match (old.max_running_per_key, settings.max_running_per_key) {
            (Some(old), Some(new)) => new > old,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if raised {
            self.release_all(ix)?;
        }
        let event = NewEvent::new(what, format!("queue/{name}"), data);
        self.event(now, project, &event.by(actor))?;
        self.hint(Hint::Jobs);
        Ok(())
    }

    /// Releases every held job of a queue.
    fn release_all(&mut self, queue: usize) -> Done<()> {
        for route in self.names.queues[queue].routes.clone() {
            let released = self
                .conn
                .prepare_cached(
                    "UPDATE jobs SET st = 11 WHERE id IN
                        (SELECT id FROM jobs INDEXED BY jobs_held WHERE st = 16 AND route = ?1)",
                )?
                .execute([route as i64 + 1])?;
            self.names.routes[route].ready |= released > 0;
        }
        Ok(())
    }
}
