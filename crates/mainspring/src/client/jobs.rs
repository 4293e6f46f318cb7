//! Jobs and batches: enqueue, cancel, retry.

use super::{Client, ClientError, Result};
use crate::job::Job;
use crate::registry::KindSpec;
use futures_util::stream::{self, StreamExt};
use mainspring_core::batch::{BatchRecord, BatchState, NewBatch};
use mainspring_core::ids::{BatchId, JobId};
use mainspring_core::job::{Enqueued, NewJob};
use mainspring_core::reader::JobDetail;
use mainspring_core::store::{Affected, Bulk, JobFilter};
use mainspring_core::{Json, limits};
use std::time::Duration;

/// How soon a waiting caller looks again, at first and at last.
const LOOK: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_millis(250);

/// How far a bulk call is: told after each step, so that long work can show its progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkProgress {
    /// Jobs changed so far.
    pub changed: usize,
    /// The last job looked at.
    pub up_to: Option<JobId>,
}

impl Client {
    /// The job as it would be enqueued: set what differs, then hand it to [`Client::enqueue_raw`].
    pub fn new_job<J: Job>(&self, job: &J) -> Result<NewJob> {
        let payload = Json::of(job).map_err(|e| ClientError::invalid("payload", e))?;
        let mut new = NewJob::new(J::KIND, payload);
        let known = self.registry.as_ref().and_then(|r| r.get(J::KIND)).map(|e| e.spec.clone());
        let spec = known.unwrap_or_else(KindSpec::of::<J>);
        new.queue = spec.queue;
        new.priority = spec.priority;
        new.retry = spec.retry;
        new.unique = job.unique();
        new.key = job.key().map(Into::into);
        Ok(new)
    }

    /// A job of a kind known by name, with that kind's defaults.
    pub fn new_job_of(&self, kind: &str, payload: Json) -> NewJob {
        match &self.registry {
            Some(registry) => registry.new_job(kind, payload),
            None => NewJob::new(kind, payload),
        }
    }

    /// Enqueues a typed job. Acknowledged means durable.
    pub async fn enqueue<J: Job>(&self, job: &J) -> Result<Enqueued> {
        let new = self.new_job(job)?;
        self.enqueue_raw(new).await
    }

    /// Enqueues one job.
    pub async fn enqueue_raw(&self, job: NewJob) -> Result<Enqueued> {
        self.check_job(&job).map_err(|(field, text)| ClientError::invalid(field, text))?;
        let made = self.store.enqueue(self.now(), self.project, vec![job]).await?;
        crate::trace::enqueued(&made);
        made.into_iter().next().ok_or_else(|| internal("an enqueue gave no answer"))
    }

    /// Enqueues many jobs, answers in order. All are checked before the first is written; each
    /// [`limits::BATCH`] of them are one transaction, and two of those are under way at a time. After an
    /// error whole transactions may have been written or not: give jobs unique keys to repeat safely.
    pub async fn enqueue_many(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.check_jobs(&jobs)?;
        let mut made = Vec::with_capacity(jobs.len());
        let mut jobs = jobs.into_iter();
        let chunks = std::iter::from_fn(|| {
            let chunk: Vec<_> = jobs.by_ref().take(limits::BATCH).collect();
            (!chunk.is_empty()).then_some(chunk)
        });
        let writes = chunks.map(|chunk| self.store.enqueue(self.now(), self.project, chunk));
        let mut answers = stream::iter(writes).buffered(2);
        while let Some(answer) = answers.next().await {
            made.extend(answer?);
        }
        crate::trace::enqueued(&made);
        Ok(made)
    }

    /// Opens a batch with jobs. Up to [`limits::BATCH`] jobs are one transaction with it; of more,
    /// the batch stays unsealed until the last is in.
    pub async fn open_batch(
        &self,
        mut batch: NewBatch,
        jobs: Vec<NewJob>,
    ) -> Result<(BatchId, Vec<Enqueued>)> {
        mainspring_core::job::check_name(&batch.name).map_err(|e| ClientError::invalid("batch", e))?;
        self.check_jobs(&jobs)?;
        if let Some(job) = &batch.follow_up {
            let named = |(field, text)| ClientError::invalid(format!("follow_up.{field}"), text);
            self.check_job(job).map_err(named)?;
        }
        let seal = batch.sealed;
        let mut jobs = jobs;
        let rest = if jobs.len() > limits::BATCH { jobs.split_off(limits::BATCH) } else { Vec::new() };
        batch.sealed = seal && rest.is_empty();
        let (id, mut made) = self.store.open_batch(self.now(), self.project, batch, jobs).await?;
        if !rest.is_empty() {
            let rest = rest.into_iter().map(|job| NewJob { batch: Some(id), ..job }).collect();
            made.extend(self.enqueue_many(rest).await?);
            if seal {
                self.seal_batch(id).await?;
            }
        }
        Ok((id, made))
    }

    /// No more jobs will be added to the batch.
    pub async fn seal_batch(&self, batch: BatchId) -> Result<()> {
        Ok(self.store.seal_batch(self.now(), self.project, batch).await?)
    }

    /// A batch as it stands.
    pub async fn batch(&self, batch: BatchId) -> Result<BatchRecord> {
        let found = self.store.batch(self.project, batch).await?;
        found.ok_or_else(|| ClientError::not_found("batch", batch))
    }

    /// A job as it stands, with its attempts, steps and progress.
    pub async fn job(&self, job: JobId) -> Result<JobDetail> {
        let found = self.store.job(self.project, job).await?;
        found.ok_or_else(|| ClientError::not_found("job", job))
    }

    /// Waits until a job is final and gives it as it stands. Looks a few times a second at most; who
    /// wants a limit puts a time-out around it.
    pub async fn wait(&self, job: JobId) -> Result<JobDetail> {
        let mut between = LOOK;
        loop {
            let detail = self.job(job).await?;
            if detail.job.state.is_final() {
                return Ok(detail);
            }
            crate::node::pause(between).await;
            between = (between * 2).min(LOOK_MAX);
        }
    }

    /// Waits until a batch has ended, in the same manner; its follow-up has been enqueued then.
    pub async fn wait_batch(&self, batch: BatchId) -> Result<BatchRecord> {
        let mut between = LOOK;
        loop {
            let record = self.batch(batch).await?;
            if record.state != BatchState::Open {
                return Ok(record);
            }
            crate::node::pause(between).await;
            between = (between * 2).min(LOOK_MAX);
        }
    }

    /// Cancels one job; true when it was waiting or running. A job that is not there is an error.
    pub async fn cancel(&self, job: JobId, reason: &str) -> Result<bool> {
        self.job(job).await?;
        let filter = JobFilter { ids: vec![job], ..JobFilter::default() };
        Ok(!self.cancel_where(&filter, reason, |_| ()).await?.is_empty())
    }

    /// Cancels the jobs of the filter; returns those it changed. Running ones are asked to end.
    pub async fn cancel_where(
        &self,
        filter: &JobFilter,
        reason: &str,
        told: impl FnMut(BulkProgress),
    ) -> Result<Vec<JobId>> {
        let reason = limits::cut(reason, limits::NOTE);
        let mut steps = Steps::new(filter, told);
        while let Some(bulk) = steps.next() {
            steps.did(
                self.store.cancel_jobs(self.now(), self.project, bulk, &reason, &self.signature()).await?,
            );
        }
        Ok(steps.changed)
    }

    /// Runs one job again: a finished one from the beginning of its budget, one that waits for its
    /// retry at once; true when something changed. A job that is not there is an error.
    pub async fn retry(&self, job: JobId) -> Result<bool> {
        self.job(job).await?;
        let filter = JobFilter { ids: vec![job], ..JobFilter::default() };
        Ok(!self.retry_where(&filter, |_| ()).await?.is_empty())
    }

    /// Runs the jobs of the filter again; returns those it changed.
    pub async fn retry_where(
        &self,
        filter: &JobFilter,
        told: impl FnMut(BulkProgress),
    ) -> Result<Vec<JobId>> {
        let mut steps = Steps::new(filter, told);
        while let Some(bulk) = steps.next() {
            steps.did(self.store.retry_jobs(self.now(), self.project, bulk, &self.signature()).await?);
        }
        Ok(steps.changed)
    }

    fn check_jobs(&self, jobs: &[NewJob]) -> Result<()> {
        for (i, job) in jobs.iter().enumerate() {
            let named = |(field, text)| ClientError::invalid(format!("jobs[{i}].{field}"), text);
            self.check_job(job).map_err(named)?;
        }
        Ok(())
    }

    /// What is wrong with a job, as (field, text): its own limits, and its payload as its kind's handler
    /// sees it. Enqueues through this client do it by themselves.
    pub fn check_job(&self, job: &NewJob) -> Result<(), (String, String)> {
        job.check().map_err(|(field, text)| (field.to_owned(), text))?;
        match self.registry.as_ref().and_then(|r| r.get(&job.kind)) {
            Some(entry) => entry.check(&job.payload),
            None => Ok(()),
        }
    }
}

/// A bulk call, step by step.
struct Steps<'a, F> {
    filter: &'a JobFilter,
    told: F,
    changed: Vec<JobId>,
    after: Option<JobId>,
    through: bool,
}

impl<'a, F: FnMut(BulkProgress)> Steps<'a, F> {
    fn new(filter: &'a JobFilter, told: F) -> Self {
        Steps { filter, told, changed: Vec::new(), after: None, through: false }
    }

    /// The next step, until it is through.
    fn next(&self) -> Option<Bulk<'a>> {
        let bulk = Bulk { filter: self.filter, after: self.after, limit: limits::BATCH as u32 };
        (!self.through).then_some(bulk)
    }

    fn did(&mut self, Affected { jobs, next }: Affected) {
        self.changed.extend(jobs);
        (self.told)(BulkProgress { changed: self.changed.len(), up_to: next });
        self.after = next;
        self.through = next.is_none();
    }
}

fn internal(text: &str) -> ClientError {
    mainspring_core::StoreError::Internal(text.into()).into()
}
