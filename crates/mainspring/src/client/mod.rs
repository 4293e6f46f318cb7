//! The front door: what API, command line, packs and handlers may ask of the engine. Checks what it
//! is given, fills in what the kinds say of themselves, cuts long lists to what one transaction
//! takes, and signs every act with who did it.
//!
//! It starts nothing itself: a job is written, and a node that knows its kind will find it.

mod error;
mod jobs;
mod queues;
mod schedules;

pub use error::{ClientError, Result};
pub use jobs::BulkProgress;
pub use schedules::{BackfillFire, BackfillPreview};

use crate::clock::{Clock, SystemClock};
use crate::registry::Registry;
use jiff::Timestamp;
use mainspring_core::event::{NewEvent, signed};
use mainspring_core::ids::ProjectId;
use mainspring_core::store::Store;
use mainspring_core::tables::Tables;
use std::sync::Arc;

/// A client of one project. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    store: Arc<dyn Store>,
    registry: Option<Arc<Registry>>,
    clock: Arc<dyn Clock>,
    project: ProjectId,
    actor: Arc<str>,
    from: Option<Arc<str>>,
}

impl Client {
    /// A client of the default project, by the machine's clock, acting as `client`.
    pub fn new(store: Arc<dyn Store>) -> Client {
        Client {
            store,
            registry: None,
            clock: Arc::new(SystemClock::new()),
            project: ProjectId::DEFAULT,
            actor: "client".into(),
            from: None,
        }
    }

    /// The same, knowing what exists: payloads are checked by their handlers and kinds bring their
    /// defaults.
    pub fn with_registry(mut self, registry: Arc<Registry>) -> Client {
        self.registry = Some(registry);
        self
    }

    /// The same by another clock.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Client {
        self.clock = clock;
        self
    }

    /// The same in another project.
    pub fn in_project(mut self, project: ProjectId) -> Client {
        self.project = project;
        self
    }

    /// The same in the project of this name, which is made if it does not exist.
    pub async fn in_project_named(self, name: &str) -> Result<Client> {
        mainspring_core::job::check_name(name).map_err(|e| ClientError::invalid("project", e))?;
        let project = self.store.ensure_project(self.now(), name).await?;
        Ok(self.in_project(project))
    }

    /// The same, its acts signed by `actor`: a person, `cli`, `job/17`.
    pub fn acting_as(mut self, actor: &str) -> Client {
        self.actor = mainspring_core::limits::cut(actor, mainspring_core::limits::NAME).into();
        self
    }

    /// The same, acting from this network address: events of its acts tell it.
    pub fn acting_from(mut self, address: &str) -> Client {
        self.from = Some(mainspring_core::limits::cut(address, mainspring_core::limits::NAME).into());
        self
    }

    /// Who signs, and from where, as [`mainspring_core::event::NewEvent::by`] takes it.
    pub fn signature(&self) -> String {
        match &self.from {
            Some(from) => signed(&self.actor, from),
            None => self.actor.to_string(),
        }
    }

    /// Tells of an act that no other call tells of, after it: what it made stands by itself, and an
    /// act is told once however often it is looked at.
    pub async fn tell(&self, name: &str, subject: String, data: serde_json::Value) -> Result<()> {
        let event = NewEvent::new(name, subject, data).by(&self.signature());
        Ok(self.store.record(self.now(), self.project, event).await?)
    }

    /// The project.
    pub fn project(&self) -> ProjectId {
        self.project
    }

    /// Who signs.
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// The store, for its read side.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The door to tables that are not the engine's, in the same database; None only on a store that
    /// is none (tests in memory). Jobs for [`mainspring_core::tables::Write::enqueue`] are made with
    /// [`Client::new_job`].
    pub fn tables(&self) -> Option<Arc<dyn Tables>> {
        self.store.clone().tables()
    }

    /// The sealed secrets of projects, with the keys of the registry. Keep it: what it opens it
    /// remembers for the redactor.
    pub fn vault(&self) -> crate::secrets::Vault {
        static NONE: std::sync::LazyLock<Registry> = std::sync::LazyLock::new(Registry::new);
        crate::secrets::Vault::new(self.store.clone(), self.registry.as_deref().unwrap_or(&NONE))
    }

    /// The registry, if one was given.
    pub fn registry(&self) -> Option<&Arc<Registry>> {
        self.registry.as_ref()
    }

    /// What time it is for this client.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
