//! The nouns that packs share, with one meaning each.
//!
//! A pack's day is one loop: a schedule fans out over [`subject`]s, [`source`]s bring [`item`]s, what is
//! computed of them becomes [`metric`]s and [`score`]s, rules turn those into [`signal`]s, signals and
//! [`report`]s go out as [`delivery`]s; [`usage`] and [`budget`]s count what it cost, the [`cache`] keeps
//! what need not be asked again, and [`cooldown`] says who is due. A person acts, and that is written down
//! too.
//!
//! Everything goes through the portable door of the store (`mainspring_core::tables`), so it runs on both
//! and joins the transactions of the pack's own statements: most verbs here give a [`Statement`] or take
//! part in a `Write`. Every row belongs to a project and a pack; [`Kit`] carries both, and no call reads
//! another's rows.
//!
//! What is deliberately not here: anything that only one pack needs (it stays in the pack), the network,
//! a clock (instants come from the client), and arithmetic (`mainspring-analytics`).
//!
//! [`Statement`]: mainspring_core::tables::Statement

pub mod budget;
pub mod cache;
pub mod cooldown;
pub mod delivery;
mod error;
pub mod item;
pub mod metric;
pub mod report;
pub mod score;
pub mod signal;
pub mod source;
pub mod subject;
pub mod usage;

pub use error::{KitError, Result};

use jiff::Timestamp;
use mainspring::Client;
use mainspring_core::StoreError;
use mainspring_core::ids::ProjectId;
use mainspring_core::tables::{Migration, Rows, Statement, Tables, TablesError, Write, Written};
use mainspring_core::time;
use sha2::{Digest, Sha256};
use std::sync::Arc;

const MIGRATIONS: &[Migration] = &[Migration::new("0001_kit", include_str!("0001_kit.sql"))];

/// Brings the tables up to date. Called at every start, before any pack's.
pub async fn migrate(tables: &dyn Tables) -> Result<(), TablesError> {
    tables.migrate("kit", MIGRATIONS).await.map(drop)
}

/// The kit as one pack of one project sees it. Cheap to clone.
#[derive(Clone)]
pub struct Kit {
    client: Client,
    tables: Arc<dyn Tables>,
    pack: Arc<str>,
}

impl Kit {
    /// The kit of `pack` in the client's project.
    ///
    /// # Errors
    ///
    /// A store without tables.
    pub fn of(client: &Client, pack: &str) -> Result<Kit> {
        let none = || StoreError::Invalid { field: "store", text: "this store keeps no tables".into() };
        let tables = client.tables().ok_or_else(|| TablesError::from(none()))?;
        Ok(Kit { client: client.clone(), tables, pack: pack.into() })
    }

    /// The client it writes for.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The pack.
    pub fn pack(&self) -> &str {
        &self.pack
    }

    /// The project.
    pub fn project(&self) -> ProjectId {
        self.client.project()
    }

    /// The client's clock, in whole microseconds as the tables keep instants.
    pub fn now(&self) -> Timestamp {
        time::trunc(self.client.now())
    }

    /// Writes, all or nothing.
    pub async fn write(&self, write: impl Into<Write>) -> Result<Written> {
        Ok(self.tables.write(write.into()).await?)
    }

    /// Reads.
    pub async fn read(&self, statement: Statement) -> Result<Rows> {
        Ok(self.tables.read(statement).await?)
    }

    /// A statement whose first two parameters are the project and the pack.
    fn own(&self, sql: &'static str) -> Statement {
        Statement::new(sql).bind(self.project()).bind(&*self.pack)
    }

    /// The same of a text that was put together.
    fn own_built(&self, sql: String) -> Statement {
        Statement::built(sql).bind(self.project()).bind(&*self.pack)
    }
}

/// The hash that tells whether content changed: SHA-256, in hexadecimal digits, of the JSON with sorted
/// keys, so that the same content has one hash however it was put together.
pub fn hash(value: &serde_json::Value) -> String {
    let digest = Sha256::digest(value.to_string().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
