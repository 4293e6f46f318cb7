//! Durable steps: work of a job that is done once, however often the job is attempted.

use super::Context;
use crate::job::JobError;
use mainspring_core::job::check_name;
use mainspring_core::store::Finished;
use mainspring_core::{Json, StoreError, limits};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The first wait for a store that is away; the next ones are longer.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// What this job remembers.
pub(super) type Memory = Mutex<HashMap<String, Json>>;

impl Context {
    /// Runs `work` once and remembers what it gave: a later attempt gets the remembered value and
    /// does not run it again. Names are unique within the job; the result is small JSON.
    ///
    /// "Once" means: until its result is remembered. A crash between the work and the remembering
    /// repeats it, so what acts outside should carry [`Context::delivery_id`] with the step's name.
    /// The future is not polled when the result is known.
    pub async fn step<T, F>(&self, name: &str, work: F) -> Result<T, JobError>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, JobError>>,
    {
        check_name(name).map_err(|e| JobError::fatal(format!("step name {e}")))?;
        let memory = self.memory().await?;
        let known = lock(memory).get(name).cloned();
        if let Some(json) = known {
            return json.to().map_err(|e| {
                JobError::fatal(format!("step {name:?} remembers another type of result: {e}"))
                    .class("step_type")
            });
        }
        let value = work.await?;
        let json = Json::of(&value)
            .map_err(|e| JobError::fatal(format!("step {name:?}: its result is not JSON: {e}")))?;
        self.remember(name, json).await?;
        Ok(value)
    }

    /// Whether a step is remembered already.
    pub async fn step_done(&self, name: &str) -> Result<bool, JobError> {
        Ok(lock(self.memory().await?).contains_key(name))
    }

    async fn memory(&self) -> Result<&Memory, JobError> {
        self.inner.steps.get_or_try_init(|| self.load()).await
    }

    async fn load(&self) -> Result<Memory, JobError> {
        let mut steps = Vec::new();
        // A first attempt has nothing to remember: spare the read.
        if self.attempt() > 1 {
            let mut wait = FIRST_WAIT;
            steps = loop {
                match self.inner.services.store.steps(self.job_id()).await {
                    Ok(steps) => break steps,
                    Err(error) => self.wait_out(error, &mut wait).await?,
                }
            };
        }
        Ok(Mutex::new(steps.into_iter().collect()))
    }

    async fn remember(&self, name: &str, json: Json) -> Result<(), JobError> {
        if json.as_str().len() > limits::STEP_RESULT {
            return Err(JobError::fatal(format!(
                "step {name:?}: its result has {} bytes, at most {} are allowed",
                json.as_str().len(),
                limits::STEP_RESULT
            )));
        }
        let memory = self.memory().await?;
        if lock(memory).len() >= limits::STEPS {
            let text = format!("step {name:?}: a job remembers at most {} steps", limits::STEPS);
            return Err(JobError::fatal(text));
        }
        let (job, attempt, store) = (self.job_id(), self.attempt(), &self.inner.services.store);
        let mut wait = FIRST_WAIT;
        let saved = loop {
            match store.save_step(self.now(), job, attempt, name, json.clone()).await {
                Ok(saved) => break saved,
                Err(error) => self.wait_out(error, &mut wait).await?,
            }
        };
        if saved == Finished::Stale {
            self.inner.stop.ask(super::StopReason::LeaseLost);
            return Err(JobError::Cancel("another node has taken this job".into()));
        }
        lock(memory).insert(name.to_owned(), json);
        Ok(())
    }

    /// Waits before a store call is repeated while the store cannot be reached, as long as the
    /// attempt lives: work that is done should not be lost to a short outage. Any other error comes
    /// back.
    ///
    /// (Not a function that takes the call: the compiler cannot show that a handler's future is
    /// `Send` through an async closure.)
    pub(super) async fn wait_out(&self, error: StoreError, wait: &mut Duration) -> Result<(), JobError> {
        if !error.is_transient() || self.stop_reason().is_some() {
            return Err(error.into());
        }
        tokio::select! {
            () = crate::node::pause(*wait) => *wait = (*wait * 2).min(Duration::from_secs(5)),
            _ = self.cancelled() => return Err(error.into()),
        }
        Ok(())
    }
}

fn lock(memory: &Memory) -> std::sync::MutexGuard<'_, HashMap<String, Json>> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}
