//! What a handler may use while it runs. Everything else (the wall clock, chance of its own, the
//! store's methods) is left out on purpose: what a handler did can be told, repeated and stopped
//! because it went through here.

mod batch;
mod inbox;
mod log;
mod steps;
mod stop;
mod traces;

pub use inbox::Inbox;
pub use log::Log;
pub use stop::{Stop, StopReason};

use crate::client::Client;
use crate::job::JobError;
use crate::redact::Redactor;
use crate::registry::Registry;
use crate::secrets::{Vault, refs};
use jiff::Timestamp;
use mainspring_core::clock::{Clock, Entropy, Seeded};
use mainspring_core::ids::{BatchId, JobId, ProjectId, ScheduleId};
use mainspring_core::job::{Claimed, Progress};
use mainspring_core::store::Store;
use mainspring_core::{Json, time};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What the attempts of one node share.
pub struct Services {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What exists.
    pub registry: Arc<Registry>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Log lines and progress on their way to the store.
    pub inbox: Inbox,
    /// The secrets of projects.
    pub vault: Vault,
}

impl Services {
    /// The services over a store.
    pub fn new(store: Arc<dyn Store>, registry: Arc<Registry>, clock: Arc<dyn Clock>) -> Arc<Services> {
        let vault = Vault::new(store.clone(), &registry);
        Arc::new(Services { store, registry, clock, inbox: Inbox::default(), vault })
    }
}

/// One attempt, as its handler sees it. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Attempt>,
}

/// What the engine keeps of a running attempt.
pub(crate) struct Attempt {
    pub(crate) claimed: Claimed,
    pub(crate) started_at: Timestamp,
    pub(crate) timeout: Duration,
    pub(crate) stop: Stop,
    /// The payload with secrets in it, where it names some. Never written anywhere.
    resolved: OnceLock<Json>,
    services: Arc<Services>,
    log: log::State,
    steps: tokio::sync::OnceCell<steps::Memory>,
    random: Seeded,
}

impl Context {
    /// A context for one attempt. A node makes its own; tests of handlers may make one too.
    pub fn new(services: Arc<Services>, claimed: Claimed, started_at: Timestamp) -> Context {
        let spec = services.registry.get(&claimed.kind).map(|e| e.spec.timeout);
        let timeout = claimed.timeout.or(spec).unwrap_or(crate::registry::TIMEOUT);
        let seed = (claimed.facts.job.0 as u64).rotate_left(20) ^ u64::from(claimed.facts.attempt);
        Context {
            inner: Arc::new(Attempt {
                claimed,
                started_at,
                timeout,
                stop: Stop::default(),
                resolved: OnceLock::new(),
                services,
                log: log::State::default(),
                steps: tokio::sync::OnceCell::new(),
                random: Seeded::new(seed),
            }),
        }
    }

    pub(crate) fn attempt_inner(&self) -> &Arc<Attempt> {
        &self.inner
    }

    /// The job's number.
    pub fn job_id(&self) -> JobId {
        self.inner.claimed.facts.job
    }

    /// This attempt's number, from 1.
    pub fn attempt(&self) -> u32 {
        self.inner.claimed.facts.attempt
    }

    /// Whether no further attempt follows if this one fails.
    pub fn is_last_attempt(&self) -> bool {
        let facts = &self.inner.claimed.facts;
        facts.attempt.saturating_sub(facts.raised) >= facts.max_attempts
    }

    /// The same for every attempt of the job: hand it to outside services so that they can tell a
    /// repeated delivery from a new one.
    pub fn delivery_id(&self) -> String {
        self.job_id().delivery_id()
    }

    /// The job's project.
    pub fn project(&self) -> ProjectId {
        self.inner.claimed.project
    }

    /// The job's kind.
    pub fn kind(&self) -> &str {
        &self.inner.claimed.kind
    }

    /// The job's queue.
    pub fn queue(&self) -> &str {
        &self.inner.claimed.queue
    }

    /// The job's concurrency key.
    pub fn key(&self) -> Option<&str> {
        self.inner.claimed.key.as_deref()
    }

    /// The job's batch; for a follow-up the batch that ended.
    pub fn batch(&self) -> Option<BatchId> {
        self.inner.claimed.batch
    }

    /// The schedule that made the job.
    pub fn schedule(&self) -> Option<ScheduleId> {
        self.inner.claimed.schedule.map(|(id, _)| id)
    }

    /// The nominal fire that made the job: the moment it stands for, however late it runs.
    pub fn scheduled_for(&self) -> Option<Timestamp> {
        self.inner.claimed.schedule.and_then(|(_, at)| at)
    }

    /// The job's input, with the values of the secrets that it names. What an attempt leaves behind is
    /// searched for them; a value that a handler hands on by other ways (a further job's payload, a
    /// step's result) is kept as it stands: name the secret there, too.
    pub fn payload(&self) -> &Json {
        self.inner.resolved.get().unwrap_or(&self.inner.claimed.payload)
    }

    /// The payload as it was enqueued, if secrets were put into what [`Context::payload`] gives.
    pub(crate) fn written(&self) -> Option<&Json> {
        self.inner.resolved.get().map(|_| &self.inner.claimed.payload)
    }

    /// Whether the payload may name secrets, so that [`Context::resolve`] must come before the handler.
    pub(crate) fn names_secrets(&self) -> bool {
        refs::mentions(&self.inner.claimed.payload) && self.inner.resolved.get().is_none()
    }

    /// Puts secrets into the payload. One that is not there fails the job; a key or a database that
    /// cannot be reached is tried again like every other failure.
    pub(crate) async fn resolve(&self) -> Result<(), JobError> {
        let (vault, claimed) = (&self.inner.services.vault, &self.inner.claimed);
        match vault.resolve(self.now(), claimed.project, &claimed.payload).await {
            Ok(Some(payload)) => {
                // Another call was quicker: it has put the same.
                drop(self.inner.resolved.set(payload));
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(e) => {
                let text = format!("{}: {e}", e.code());
                let error = if e.is_transient() { JobError::retry(text) } else { JobError::fatal(text) };
                Err(error.class("secret"))
            }
        }
    }

    /// The sealed secrets, for kinds of the engine that keep some of their own.
    pub(crate) fn vault(&self) -> &Vault {
        &self.inner.services.vault
    }

    /// What keeps secrets out of what this attempt leaves behind.
    pub(crate) fn redactor(&self) -> Arc<Redactor> {
        self.inner.services.vault.redactor(self.project())
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.inner.services.clock.now()
    }

    /// When this attempt began.
    pub fn started_at(&self) -> Timestamp {
        self.inner.started_at
    }

    /// When its time is over.
    pub fn deadline(&self) -> Timestamp {
        time::plus(self.inner.started_at, self.inner.timeout)
    }

    /// How much of its time is left.
    pub fn time_left(&self) -> Duration {
        time::since(self.now(), self.deadline())
    }

    /// Chance that is the same when the same attempt is replayed.
    pub fn random(&self) -> &dyn Entropy {
        &self.inner.random
    }

    /// The shared value of this type, as given to [`Registry::state`]; a fatal error names the type
    /// when there is none.
    pub fn state<T: Send + Sync + 'static>(&self) -> Result<&T, JobError> {
        self.inner.services.registry.get_state().ok_or_else(|| {
            let name = std::any::type_name::<T>();
            JobError::fatal(format!("no state of type {name}; add it with Registry::state")).class("no_state")
        })
    }

    /// A client of the job's project, to enqueue further work; its acts are signed `job/<number>`.
    pub fn client(&self) -> Client {
        let services = &self.inner.services;
        Client::new(services.store.clone())
            .with_registry(services.registry.clone())
            .with_clock(services.clock.clone())
            .in_project(self.project())
            .acting_as(&format!("job/{}", self.job_id()))
    }

    /// Waits until this attempt's end is asked for: a person's cancel, a shutdown. A handler that
    /// does not look is stopped at its next `await` a little later.
    pub async fn cancelled(&self) -> StopReason {
        self.inner.stop.asked().await
    }

    /// Whether this attempt's end was asked for, and why.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.inner.stop.reason()
    }

    /// The flag behind [`Context::cancelled`], for whoever runs handlers without a node.
    pub fn stop(&self) -> &Stop {
        &self.inner.stop
    }

    /// Tells how far it is. May be called as often as one likes: the store sees the latest value a
    /// few times a second at most.
    pub fn progress(&self, done: u64, total: impl Into<Option<u64>>, note: impl Into<Option<String>>) {
        let facts = &self.inner.claimed.facts;
        let redactor = self.redactor();
        let note = note.into().map(|n: String| {
            let n = redactor.text(&n);
            mainspring_core::limits::cut(&n.replace('\0', "\u{fffd}"), mainspring_core::limits::NOTE)
        });
        let progress = Progress { done, total: total.into(), note };
        self.inner.services.inbox.progress(facts.job, facts.attempt, progress);
    }

    /// Runs code that blocks on a thread of its own and waits for it.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JobError> {
        tokio::task::spawn_blocking(work).await.map_err(|e| match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(e) => JobError::retry(e),
        })
    }
}
