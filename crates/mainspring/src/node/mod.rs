//! The process that sleeps between steps.
//!
//! A node keeps house with two sorts of threads. Its own single thread runs the steps and their
//! timers: nothing a handler does can keep a heartbeat from being sent. Handlers run on a runtime of
//! their own; should they block every thread of it, further threads are started ([`threads`]).
//!
//! A node never exits because the database went away: it backs off, keeps what handlers gave, and
//! goes on. It exits when it is told to: it stops claiming, waits for what runs, interrupts and
//! gives back what is left after the grace time, and leaves.

mod control;
mod drive;
mod threads;

use crate::client::Client;
use crate::clock::{Clock, Entropy, SteadyClock, SystemClock, machine_entropy};
use crate::context::Services;
use crate::engine::{Engine, NodeEvents, Settings};
use crate::registry::Registry;
use mainspring_core::StoreError;
use mainspring_core::store::{Store, SweepPolicy};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// How long an interrupted handler may take to end by itself.
pub(crate) const INTERRUPT: Duration = Duration::from_millis(200);

/// Waits: the one place where the library sleeps.
#[allow(clippy::disallowed_methods, reason = "only the node sleeps")]
pub(crate) async fn pause(wait: Duration) {
    tokio::time::sleep(wait).await;
}

/// Why a node could not start or end as it should.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The registry has mistakes in it.
    #[error("the list of kinds cannot be used: {0}")]
    Registry(String),
    /// A setting cannot be used.
    #[error("{field}: {text}")]
    Setting {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        text: String,
    },
    /// The store refuses to work with this program: waiting would not help.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The machine gave no threads.
    #[error("the machine gave no thread: {0}")]
    Threads(#[from] std::io::Error),
    /// The node's own thread died: a mistake of ours.
    #[error("the node's own thread died; this is a mistake in Mainspring, please report it")]
    Died,
}

/// How a node ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Attempts that ended on this node.
    pub finished: u64,
    /// Attempts that were interrupted by the shutdown and given back.
    pub interrupted: usize,
    /// Outcomes that could not be written because the database was away; their attempts will be
    /// taken for interrupted.
    pub unwritten: usize,
}

/// Makes a [`Node`].
pub struct NodeBuilder {
    store: Arc<dyn Store>,
    registry: Arc<Registry>,
    settings: Settings,
    threads: usize,
    clock: Option<Arc<dyn Clock>>,
    entropy: Option<Arc<dyn Entropy>>,
}

impl NodeBuilder {
    /// How many attempts run at once.
    pub fn slots(mut self, slots: usize) -> Self {
        self.settings.slots = slots;
        self
    }

    /// The queues it serves; none given means all.
    pub fn queues<S: AsRef<str>>(mut self, queues: impl IntoIterator<Item = S>) -> Self {
        self.settings.queues = queues.into_iter().map(|q| q.as_ref().into()).collect();
        self
    }

    /// Its name for people; the host's unless given.
    pub fn name(mut self, name: &str) -> Self {
        self.settings.name = name.into();
        self
    }

    /// How long it may be silent before its attempts are taken; at least 300 ms.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// How long running attempts may go on after a shutdown was asked for.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// How long an attempt may go on after its cancellation was asked for.
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.settings.cancel_grace = grace;
        self
    }

    /// How long things are kept.
    pub fn keep(mut self, policy: SweepPolicy) -> Self {
        self.settings.sweep = policy;
        self
    }

    /// How far the machine's clock may be from the database's.
    pub fn max_skew(mut self, skew: Duration) -> Self {
        self.settings.max_skew = skew;
        self
    }

    /// How many threads run handlers; two for each processor, at least four, unless given.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Changes any other setting.
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Another clock than the machine's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Another source of chance than the machine's.
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = Some(entropy);
        self
    }

    /// Checks everything and makes the node; nothing starts before [`Node::run`].
    pub fn build(self) -> Result<Node, NodeError> {
        self.registry.check().map_err(NodeError::Registry)?;
        let setting = |field, text: &str| Err(NodeError::Setting { field, text: text.into() });
        if self.settings.slots == 0 || self.settings.slots > 100_000 {
            return setting("slots", "must be 1 to 100000");
        }
        if self.settings.lease < Duration::from_millis(300) {
            return setting("lease", "must be at least 300ms");
        }
        for queue in &self.settings.queues {
            mainspring_core::job::check_name(queue)
                .map_err(|text| NodeError::Setting { field: "queues", text })?;
        }
        let system = Arc::new(SystemClock::new());
        // Only the machine's own clock can be corrected by what the database says.
        let corrected = self.clock.is_none().then(|| system.clone());
        let clock = self.clock.unwrap_or(system);
        let entropy = self.entropy.unwrap_or_else(|| Arc::new(machine_entropy()));
        let services = Services::new(self.store, self.registry, clock);
        let engine = Engine::new(services, Arc::new(SteadyClock::new()), entropy, self.settings);
        Ok(Node { engine, corrected, threads: self.threads })
    }
}

/// A process that runs jobs.
pub struct Node {
    engine: Arc<Engine>,
    corrected: Option<Arc<SystemClock>>,
    threads: usize,
}

impl Node {
    /// Begins a node over a store, with what exists.
    pub fn builder(store: Arc<dyn Store>, registry: impl Into<Arc<Registry>>) -> NodeBuilder {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        let settings = Settings {
            name: host_name(),
            tz_version: mainspring_core::zone::tz_version().into(),
            ..Settings::default()
        };
        NodeBuilder {
            store,
            registry: registry.into(),
            settings,
            threads: (2 * processors).max(4),
            clock: None,
            entropy: None,
        }
    }

    /// What happens here, as it happens.
    pub fn events(&self) -> NodeEvents {
        self.engine.events.clone()
    }

    /// A client of the default project by this node's clock.
    pub fn client(&self) -> Client {
        let services = &self.engine.services;
        Client::new(services.store.clone())
            .with_registry(services.registry.clone())
            .with_clock(services.clock.clone())
    }

    /// What its steps share.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Runs until `shutdown` is ready, then drains: at most the grace time and a second.
    ///
    /// An error comes only when waiting would not help, and before it has joined, but for one: a newer
    /// program has changed the schema in a way that this one cannot work with. Then the node drains as
    /// it does otherwise and ends with that error. A database that cannot be reached is waited for.
    /// Dropping the future asks for the shutdown, too.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Summary, NodeError> {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (tell, mut told) = tokio::sync::oneshot::channel();
        let Node { engine, corrected, threads } = self;
        std::thread::Builder::new().name("mainspring-node".into()).spawn(move || {
            let result = control::run(engine, corrected, threads, stopped);
            // Nobody listens when the future was dropped.
            let _ = tell.send(result);
        })?;
        tokio::pin!(shutdown);
        tokio::select! {
            result = &mut told => return result.unwrap_or(Err(NodeError::Died)),
            () = &mut shutdown => drop(stop.send(())),
        }
        told.await.unwrap_or(Err(NodeError::Died))
    }
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().trim().to_owned();
    if mainspring_core::job::check_name(&name).is_ok() { name } else { "node".into() }
}
