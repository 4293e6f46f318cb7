//! Mainspring's store on an embedded SQLite file.
//!
//! ```text
//! callers ──calls──▶ actor.rs: one writer thread ──one transaction for all that gathered──▶ file
//!                      │ tx.rs, effects.rs: what a verb sees, what every change brings with it
//!                      │ names.rs: queues, routes and counters in memory
//!                      ├ checkpoint.rs: a thread that keeps the log short beside it
//!                      ├ enqueue claim finish schedule nodes control sweep events: the verbs, with batch and keys
//!                      └ tables: what is not the engine's, in the same transactions
//! backup.rs: a copy of the file while all of this goes on, and the way back
//! readers ──reads──▶ readers.rs: a few read-only connections ──▶ read.rs, doctor.rs
//! ```
//!
//! The writer owns the only writing connection of the process, so SQLite's single writer is never
//! fought over, and callers that come at the same time share a commit. The verbs' files have the same
//! names in the store on PostgreSQL. The tables are explained at the head of the first migration.
//!
//! One process at a time runs jobs on a file; others may enqueue, look and change settings beside it
//! (the writer looks a few times a second whether somebody else wrote). Whoever needs several nodes
//! uses PostgreSQL.

mod actor;
mod backup;
mod batch;
mod checkpoint;
mod claim;
mod control;
mod doctor;
mod effects;
mod enqueue;
mod events;
mod fault;
mod filter;
mod finish;
mod keys;
mod names;
mod nodes;
mod open;
mod read;
mod readers;
mod rows;
mod schedule;
mod schema;
mod store;
mod sweep;
mod tables;
mod tx;

pub use backup::{backup, restore};
pub use open::{Options, Synchronous};

use actor::Actor;
use mainspring_core::error::Result;
use readers::Readers;
use std::path::{Path, PathBuf};

/// The engine's store on one SQLite file. Opened once per process; share it by reference.
pub struct SqliteStore {
    // Readers go first: the last connection to close copies the log back, and they cannot.
    readers: Readers,
    actor: Actor,
    path: PathBuf,
    options: Options,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).field("options", &self.options).finish()
    }
}

impl SqliteStore {
    /// Opens the store, makes the file if there is none (or an empty one), and brings its schema up
    /// to date. Refuses, with the reason and what to do, a file that is not ours, newer than this
    /// program or damaged, and, with [`Options::run_jobs`], one on which another process runs jobs.
    ///
    /// Blocks for as long as that takes: milliseconds, unless the file was not closed in good order
    /// and is checked.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<SqliteStore> {
        let path = path.as_ref().to_path_buf();
        let (conn, lock) = open::open(&path, &options)?;
        // Who runs no jobs comes and goes: for a few writes SQLite's own way is good enough.
        let log = if lock.is_some() {
            Some(checkpoint::Checkpointer::start(&path, options.busy_timeout)?)
        } else {
            None
        };
        let actor = Actor::start(conn, path.display().to_string(), log, lock)?;
        let readers = Readers::start(path.clone(), options.busy_timeout, options.readers)?;
        Ok(SqliteStore { readers, actor, path, options })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
