//! What people do: cancel, retry, change a queue.

use super::{Tx, at_most, check_len, check_name, count_of};
use mainspring_core::StoreError;
use mainspring_core::batch::BatchState;
use mainspring_core::error::Result;
use mainspring_core::event::NewEvent;
use mainspring_core::ids::{JobId, ProjectId};
use mainspring_core::job::{JobRecord, JobState};
use mainspring_core::queue::{ALL_QUEUES, QueueSettings};
use mainspring_core::store::{Affected, Bulk, Hint, JobFilter};
use std::sync::Arc;

impl Tx<'_> {
    pub(super) fn cancel_jobs(
        &mut self,
        project: ProjectId,
        bulk: Bulk<'_>,
        reason: &str,
        actor: &str,
    ) -> Result<Affected> {
        self.each(project, bulk, |tx, id, state| {
            match state {
                JobState::Running => tx.ask_to_end(id),
                state if state.is_final() => return false,
                _ => tx.cancel_waiting(id, reason, Some(actor)),
            }
            true
        })
    }

    pub(super) fn retry_jobs(&mut self, project: ProjectId, bulk: Bulk<'_>, actor: &str) -> Result<Affected> {
        self.each(project, bulk, |tx, id, state| {
            let waits_for_a_retry = state == JobState::Scheduled && tx.db.jobs[&id].record.attempt > 0;
            if !state.is_final() && !waits_for_a_retry {
                return false;
            }
            tx.retry(id);
            let subject = format!("job/{id}");
            tx.event(project, NewEvent::new("job.retried", subject, serde_json::json!({})).by(actor));
            true
        })
    }

    fn retry(&mut self, id: JobId) {
        let Some(job) = self.db.jobs.get_mut(&id) else { return };
        if let Some(attempt) = job.first_success() {
            // The job's own columns will tell of the next attempt from now on.
            self.db.attempts.insert((id, 1), attempt);
        }
        let counted_in = job.counted_in();
        let r = &mut job.record;
        let (state, outcome) = (r.state, r.outcome);
        r.run_at = self.now;
        r.cancel_requested = false;
        job.ord = None;
        if state.is_final() {
            r.raised = r.attempt;
            r.deaths = 0;
            r.reason = None;
            r.finished_at = None;
            r.output = None;
            if let Some(batch) = counted_in.and_then(|id| self.db.batches.get_mut(&id)) {
                let ended = count_of(&mut batch.record, state, outcome);
                *ended = ended.saturating_sub(1);
                batch.record.state = BatchState::Open;
                batch.record.finished_at = None;
            }
            for batch in self.db.batches.values_mut() {
                if batch.record.parent == Some(id) && !batch.record.sealed {
                    (batch.record.state, batch.record.finished_at) = (BatchState::Open, None);
                }
            }
        }
        self.move_to(id, JobState::Available);
        self.place(id);
    }

    /// Marks a running job; its node finds the mark with its next heartbeat.
    pub(super) fn ask_to_end(&mut self, id: JobId) {
        if let Some(job) = self.db.jobs.get_mut(&id) {
            job.record.cancel_requested = true;
            self.hint(Hint::Cancel);
        }
    }

    /// One step of a bulk call: `act` says whether it did something.
    fn each(
        &mut self,
        project: ProjectId,
        bulk: Bulk<'_>,
        mut act: impl FnMut(&mut Self, JobId, JobState) -> bool,
    ) -> Result<Affected> {
        check_filter(bulk.filter)?;
        let mut found = self
            .db
            .jobs
            .values()
            .map(|job| &job.record)
            .filter(|r| r.project == project && Some(r.id) > bulk.after && matches(bulk.filter, r))
            .map(|r| (r.id, r.state));
        let step: Vec<_> = found.by_ref().take(at_most(bulk.limit)).collect();
        let next = found.next().and(step.last()).map(|(id, _)| *id);
        let jobs = step.into_iter().filter(|(id, state)| act(self, *id, *state)).map(|(id, _)| id).collect();
        Ok(Affected { jobs, next })
    }

    pub(super) fn set_queue(
        &mut self,
        project: ProjectId,
        name: &str,
        settings: QueueSettings,
        actor: &str,
    ) -> Result<()> {
        if name != ALL_QUEUES {
            check_name("queue", name)?;
        }
        settings.check().map_err(|(field, text)| StoreError::Invalid { field, text })?;
        let queue = self.db.queue(project, &Arc::from(name));
        let old = std::mem::replace(&mut queue.settings, settings.clone());
        let what = match (&old.paused, &settings.paused) {
            (Some(_), None) => "queue.resumed",
            (before, Some(now)) if before.as_ref() != Some(now) => "queue.paused",
            _ => "queue.changed",
        };
        let raised = match (old.max_running_per_key, settings.max_running_per_key) {
            (Some(old), Some(new)) => new > old,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if raised {
            for id in &self.db.live {
                if let Some(job) = self.db.jobs.get_mut(id)
                    && (job.record.project, &*job.record.queue) == (project, name)
                {
                    job.record.held = false;
                }
            }
        }
        let data = serde_json::to_value(&settings).unwrap_or_default();
        self.event(project, NewEvent::new(what, format!("queue/{name}"), data).by(actor));
        self.hint(Hint::Jobs);
        Ok(())
    }
}

pub(super) fn check_filter(filter: &JobFilter) -> Result<()> {
    check_len("ids", filter.ids.len())
}

/// Whether a filter lets a job through.
pub(super) fn matches(filter: &JobFilter, r: &JobRecord) -> bool {
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
