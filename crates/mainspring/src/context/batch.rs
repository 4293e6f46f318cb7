//! Fan-out: a running job hands its work to many, which form a batch.

use super::Context;
use crate::job::JobError;
use mainspring_core::batch::NewBatch;
use mainspring_core::ids::BatchId;
use mainspring_core::job::{NewJob, Unique, UniqueStates};
use mainspring_core::limits;

impl Context {
    /// Enqueues `jobs` as a batch named `name`, with an optional job that runs when all have ended
    /// (it finds the counts through [`Context::batch`]). Safe to repeat: a later attempt of this job
    /// completes what an earlier one began and gives the same batch, each job exactly once.
    ///
    /// The batch is opened empty and remembered as a step (an attempt that dies between the two
    /// leaves it to the next one, which opens the same: it has the same parent and name); then the
    /// jobs go in, each under a unique key made of this job, the name and its place; then the batch
    /// is sealed.
    pub async fn fan_out(
        &self,
        name: &str,
        jobs: Vec<NewJob>,
        follow_up: Option<NewJob>,
    ) -> Result<BatchId, JobError> {
        if jobs.len() as u64 > limits::BATCH_JOBS {
            let text = format!("{} jobs, a batch takes at most {}", jobs.len(), limits::BATCH_JOBS);
            return Err(JobError::fatal(text).class("batch_too_large"));
        }
        let client = self.client();
        let parent = self.job_id();
        let opening = async {
            let batch = NewBatch { name: name.to_owned(), follow_up, parent: Some(parent), sealed: false };
            let (id, _) = client.open_batch(batch, Vec::new()).await?;
            Ok(id)
        };
        let batch: BatchId = self.step(&format!("fan_out/{name}"), opening).await?;
        let mut jobs = jobs;
        for (place, job) in jobs.iter_mut().enumerate() {
            job.batch = Some(batch);
            if job.unique.is_none() {
                let key = format!("fan_out/{parent}/{batch}/{place}");
                job.unique = Some(Unique { key, period: None, states: UniqueStates::ANY });
            }
        }
        let sealed = format!("fan_out/{name}/sealed");
        self.step(&sealed, async {
            // It is sealed only after every job was acknowledged: then an earlier attempt got this
            // far and died before it could remember so.
            if !client.batch(batch).await?.sealed {
                client.enqueue_many(jobs).await?;
                client.seal_batch(batch).await?;
            }
            Ok(())
        })
        .await?;
        Ok(batch)
    }
}
