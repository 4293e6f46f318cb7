//! Workers outside: programs in any language that claim jobs from a server and tell it how they
//! ended.
//!
//! They take the path that everything takes. A worker is a node: it joins, its heartbeat is its
//! lease, the reaper takes from it what it leaves behind when it falls silent. A claim is
//! [`Store::claim`] bound to one project; an end goes through `decide` and the fenced
//! [`Store::finish`]. What is added here:
//!
//! - [`Desk`], what a server puts its routes on: register, claim (and wait), heartbeat, log,
//!   progress, finish ([`poll`], [`attempts`]);
//! - [`token`]: a lease is `job.attempt` and a seal over it that only this installation can make, so a
//!   call that is late, repeated or made up is refused and changes nothing;
//! - [`callback`]: a request that was answered 202 and finishes later through the same calls;
//! - `step::overseer` ends what is held outside and has had its time.
//!
//! Every seal can be checked by every server of the installation: nothing of a worker is kept in the
//! memory of one of them but what saves a question to the store.
//!
//! Deliberately not here: HTTP (the web crate mounts this), rights and keys (the server's).

pub mod attempts;
pub mod callback;
mod outside;
pub mod poll;
mod token;

pub use attempts::{Ending, Line, Settled};
pub use outside::Outside;
pub use poll::Leased;

use crate::client::Client;
use crate::clock::{Entropy, machine_entropy};
use crate::engine::Engine;
use crate::secrets::Vault;
use jiff::Timestamp;
use mainspring_core::code::Code;
use mainspring_core::ids::{JobId, NodeId, ProjectId};
use mainspring_core::job::{JobState, check_name};
use mainspring_core::node::{LEASE, NodeInfo};
use mainspring_core::store::{JobFilter, Store};
use mainspring_core::tables::TablesError;
use mainspring_core::{StoreError, limits};
use outside::Seat;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use token::Seals;
use tokio::sync::OnceCell;

/// The version of the protocol that is spoken here.
pub const PROTOCOL: u32 = 1;
/// Slots one worker may have.
pub const SLOTS: u32 = 1_000;
/// Kinds, and queues, one worker may name.
pub const NAMES: usize = 200;
/// Workers outside that may be registered at once.
pub const WORKERS: usize = 2_000;

/// Why a call of a worker was refused.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such worker in this project: its id was not given here.
    #[error("there is no worker {0}")]
    NoWorker(String),
    /// No call-back is waited for that this token would prove.
    #[error("there is no call-back that this token is for")]
    NoCallBack,
    /// The worker was silent for longer than its lease, or has left; what it held is others' now.
    #[error("this worker is not known any more: it was silent for too long, or it left; register again")]
    WorkerGone,
    /// The attempt is not this caller's: ended, taken after a lost lease, or never its own.
    #[error("this lease does not hold: its attempt has ended or was given to another; nothing was changed")]
    LeaseGone,
    /// Another version of the protocol.
    #[error("version {0} of the protocol is not spoken here, only {PROTOCOL}; take a client of this version")]
    Protocol(u32),
    /// A value that cannot be used.
    #[error("{field}: {text}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        text: String,
    },
    /// Too many at once.
    #[error("{0}")]
    TooMany(String),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Refusal {
    fn invalid(field: &'static str, text: impl Into<String>) -> Refusal {
        Refusal::Invalid { field, text: text.into() }
    }

    /// Its code.
    pub fn code(&self) -> Code {
        match self {
            Refusal::NoWorker(_) | Refusal::NoCallBack => Code::NOT_FOUND,
            Refusal::WorkerGone => Code::WORKER_GONE,
            Refusal::LeaseGone => Code::LEASE_GONE,
            Refusal::Protocol(_) => Code::PROTOCOL,
            Refusal::Invalid { .. } => Code::INVALID_VALUE,
            Refusal::TooMany(_) => Code::TOO_MANY,
            Refusal::Store(e) => e.code(),
        }
    }
}

impl From<TablesError> for Refusal {
    fn from(e: TablesError) -> Refusal {
        match e {
            TablesError::Store(e) => e.into(),
            other => StoreError::Internal(other.to_string()).into(),
        }
    }
}

/// The result of every call of a worker.
pub type Result<T, E = Refusal> = std::result::Result<T, E>;

/// What a worker says of itself when it registers.
#[derive(Clone, Debug, Default)]
pub struct Hello {
    /// The version of the protocol it speaks.
    pub protocol: u32,
    /// For people.
    pub name: String,
    /// The program and its version: `python/0.1.0`.
    pub client: String,
    /// The kinds it knows.
    pub kinds: Vec<String>,
    /// The queues it serves; empty means all that it may.
    pub queues: Vec<String>,
    /// Attempts it runs at once.
    pub slots: u32,
}

/// What it is told.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// What it calls itself from now on.
    pub worker: String,
    /// The number under which people see it among the nodes.
    pub node: NodeId,
    /// How long it may be silent.
    pub lease: Duration,
}

/// What a heartbeat brings back, as leases.
#[derive(Clone, Debug, Default)]
pub struct Beaten {
    /// Somebody asked for their end.
    pub cancel: Vec<String>,
    /// They are not the worker's any more: it may drop them, their end will not count.
    pub lost: Vec<String>,
}

/// Where workers outside come to: see the module's text. Cheap to clone.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    client: Client,
    engine: Option<Arc<Engine>>,
    outside: Arc<Outside>,
    entropy: Arc<dyn Entropy>,
    vault: Vault,
    lease: Duration,
    seals: OnceCell<Seals>,
    lanes: Mutex<HashMap<poll::Lane, Arc<poll::Turns>>>,
    polls: AtomicUsize,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("lease", &self.0.lease).finish_non_exhaustive()
    }
}

impl Desk {
    /// A desk over the store of `client`, without a node in this process: waiting claims look every
    /// second, and it is for other processes to end what has had its time.
    pub fn new(client: Client) -> Desk {
        let vault = client.vault();
        Desk::over(client, None, (Arc::default(), vault), Arc::new(machine_entropy()), LEASE)
    }

    /// A desk beside a node, whose hints wake waiting claims.
    pub fn beside(engine: &Arc<Engine>, client: Client) -> Desk {
        let shared = (engine.outside.clone(), engine.services.vault.clone());
        let lease = engine.settings.lease;
        Desk::over(client, Some(engine.clone()), shared, engine.entropy.clone(), lease)
    }

    fn over(
        client: Client,
        engine: Option<Arc<Engine>>,
        (outside, vault): (Arc<Outside>, Vault),
        entropy: Arc<dyn Entropy>,
        lease: Duration,
    ) -> Desk {
        Desk(Arc::new(Inner {
            client,
            engine,
            outside,
            entropy,
            vault,
            lease,
            seals: OnceCell::new(),
            lanes: Mutex::default(),
            polls: AtomicUsize::new(0),
        }))
    }

    fn store(&self) -> &Arc<dyn Store> {
        self.0.client.store()
    }

    /// Where the project's secrets are.
    pub fn vault(&self) -> &Vault {
        &self.0.vault
    }

    fn now(&self) -> Timestamp {
        self.0.client.now()
    }

    async fn seals(&self) -> Result<&Seals> {
        Ok(self.0.seals.get_or_try_init(|| token::of_store(self.store())).await?)
    }

    /// A worker comes.
    pub async fn register(&self, project: ProjectId, hello: &Hello) -> Result<Welcome> {
        check(hello)?;
        let outside =
            self.store().nodes().await?.into_iter().filter(|n| n.info.is_outside() && !n.has_left()).count();
        if outside >= WORKERS {
            return Err(Refusal::TooMany(format!("{outside} workers are registered already")));
        }
        let seals = self.seals().await?;
        loop {
            // 53 bits: every reader of JSON keeps them exactly.
            let id = NodeId((self.0.entropy.bits() >> 11) as i64);
            let info = NodeInfo {
                id,
                name: hello.name.clone(),
                pid: 0,
                version: limits::cut(&hello.client, 60),
                slots: hello.slots,
                queues: hello.queues.clone(),
                kinds: hello.kinds.clone(),
                tz_version: String::new(),
            };
            match self.store().join(self.now(), info.clone()).await {
                Err(StoreError::Conflict(_)) => {}
                Err(e) => return Err(e.into()),
                Ok(()) => {
                    self.0.outside.sit(id, Seat::of(&info), self.now());
                    // The overseer looks more often from now on.
                    self.0.outside.arrived();
                    let worker = seals.worker(project, id);
                    return Ok(Welcome { worker, node: id, lease: self.0.lease });
                }
            }
        }
    }

    /// A worker goes, holding nothing; what it still holds is taken from it at once.
    pub async fn leave(&self, project: ProjectId, worker: &str) -> Result<()> {
        let node = self.node_of(project, worker).await?;
        self.store().leave(self.now(), node).await?;
        self.0.outside.gone(node);
        if let Some(engine) = &self.0.engine {
            engine.signals.reap.notify_one();
        }
        Ok(())
    }

    /// A sign of life, with the leases that the worker believes to hold.
    pub async fn heartbeat(&self, project: ProjectId, worker: &str, holds: &[String]) -> Result<Beaten> {
        if holds.len() > SLOTS as usize {
            return Err(Refusal::invalid("holds", format!("{} leases, at most {SLOTS}", holds.len())));
        }
        let node = self.node_of(project, worker).await?;
        let seals = self.seals().await?;
        let cancel = self.beat(node).await?;
        let held: Vec<(&String, Option<(JobId, u32)>)> =
            holds.iter().map(|lease| (lease, seals.opened(project, node, lease))).collect();
        let own: BTreeSet<(JobId, u32)> = held.iter().filter_map(|(_, held)| *held).collect();
        let theirs = self.still_held(project, node, &own).await?;
        let lost = held.iter().filter(|(_, held)| held.is_none_or(|held| !theirs.contains(&held)));
        let lost = lost.map(|(lease, _)| (*lease).clone()).collect();
        self.0.outside.holds(node, own, self.now());
        let cancel = cancel.into_iter().map(|(job, attempt)| seals.lease(project, node, job, attempt));
        Ok(Beaten { cancel: cancel.collect(), lost })
    }

    /// Writes the sign of life; what of the worker's somebody wants ended.
    async fn beat(&self, node: NodeId) -> Result<Vec<(JobId, u32)>> {
        let (beat, _) = self.store().heartbeat(self.now(), node, self.0.lease).await?;
        if !beat.known {
            self.0.outside.gone(node);
            return Err(Refusal::WorkerGone);
        }
        Ok(beat.cancel)
    }

    /// Those of the attempts that run in this node's hands.
    async fn still_held(
        &self,
        project: ProjectId,
        node: NodeId,
        held: &BTreeSet<(JobId, u32)>,
    ) -> Result<BTreeSet<(JobId, u32)>> {
        if held.is_empty() {
            return Ok(BTreeSet::new());
        }
        let ids = held.iter().map(|(job, _)| *job).collect();
        let filter = JobFilter { ids, states: vec![JobState::Running], ..JobFilter::default() };
        let page = self.store().jobs(project, &filter, None, limits::PAGE as u32).await?;
        let own = page.rows.into_iter().filter(|job| job.node == Some(node));
        Ok(own.map(|job| (job.id, job.attempt)).filter(|pair| held.contains(pair)).collect())
    }

    /// The node behind a worker's name, if it was given in this project.
    async fn node_of(&self, project: ProjectId, worker: &str) -> Result<NodeId> {
        let seals = self.seals().await?;
        let known = seals.worker_of(project, worker);
        known.ok_or_else(|| Refusal::NoWorker(limits::cut(worker, 100)))
    }

    /// Whether `worker` was registered in this project, alive or not.
    pub async fn knows(&self, project: ProjectId, worker: &str) -> Result<()> {
        self.node_of(project, worker).await.map(drop)
    }
}

fn check(hello: &Hello) -> Result<()> {
    if hello.protocol != PROTOCOL {
        return Err(Refusal::Protocol(hello.protocol));
    }
    check_name(&hello.name).map_err(|text| Refusal::invalid("name", text))?;
    if hello.client.contains(char::is_control) {
        return Err(Refusal::invalid("client", "contains a control character"));
    }
    for (field, names) in [("kinds", &hello.kinds), ("queues", &hello.queues)] {
        if names.len() > NAMES {
            return Err(Refusal::invalid(field, format!("{} names, at most {NAMES}", names.len())));
        }
        for name in names {
            check_name(name).map_err(|text| Refusal::invalid(field, text))?;
        }
    }
    if hello.kinds.is_empty() {
        return Err(Refusal::invalid("kinds", "a worker that knows no kind gets no job; name at least one"));
    }
    if !(1..=SLOTS).contains(&hello.slots) {
        return Err(Refusal::invalid("slots", format!("{} is not in 1 to {SLOTS}", hello.slots)));
    }
    Ok(())
}
