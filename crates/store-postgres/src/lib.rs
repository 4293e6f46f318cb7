//! Mainspring's store on PostgreSQL (13 or later): any number of nodes on one database.
//!
//! [`PostgresStore`] implements [`Store`], [`Reader`] and [`Tables`]. Read
//! `migrations/0001_engine.sql` first: where a job stands is told by the narrow table its row is in.
//! Then the verbs, one file each: `enqueue`, `claim` (with `judge` for queues with limits), `finish`,
//! `schedule`, `control`, `sweep`, `read`; `tables` for what is not the engine's. Beneath them: `link`
//! (connections, retries, time limits), `actor` (group commit), `effects` (what every change of state
//! brings with it, and the order in which it is written), `names` (the dictionary), `hints` (LISTEN
//! and NOTIFY). Beside all of this: `backup`, a copy of the schema and the way back.
//!
//! The hot path writes batches with a handful of statements, in few transactions at once: one that
//! claims, two that finish, two that enqueue. Locks are taken in one order everywhere: rows of
//! queues, narrow rows by job, keys, batches, schedules, figures, events; what the server refuses
//! all the same (40001, 40P01) is run again inside.
//!
//! What this crate deliberately does not do: it knows no handler, no registry and no clock, and it
//! elects no leader. Every fence is a row.

mod actor;
mod backup;
mod batch;
mod bundles;
mod claim;
mod control;
mod doctor;
mod effects;
mod enqueue;
mod events;
mod filter;
mod finish;
mod floors;
mod hints;
mod judge;
mod keys;
mod link;
mod names;
mod nodes;
mod open;
mod read;
mod rows;
mod schedule;
mod schema;
mod store;
mod sweep;
mod tables;
mod uniques;

pub use crate::backup::{backup, restore};

use crate::actor::{Desk, EnqueueCall, FinishCall};
use crate::link::{Args, Lane, Reach, transact};
use mainspring_core::error::Result;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[cfg(doc)]
use mainspring_core::{reader::Reader, store::Store, tables::Tables};

/// What may be set beside the address.
#[derive(Clone, Debug)]
pub struct Options {
    /// The longest a call may take; then it ends with [`mainspring_core::StoreError::Timeout`].
    pub limit: Duration,
    /// Connections for reads.
    pub readers: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { limit: Duration::from_secs(5), readers: 2 }
    }
}

/// The store. One per process; share it by [`Arc`].
pub struct PostgresStore {
    inner: Arc<Inner>,
    enqueues: Desk<EnqueueCall>,
    /// Every second long list of jobs: two are written side by side.
    beside: Desk<EnqueueCall>,
    lists: AtomicUsize,
    finishes: Desk<FinishCall>,
    /// Long lists of ends of every second block of jobs.
    finishes_beside: Desk<FinishCall>,
}

/// Connections by what they are for.
#[derive(Default)]
pub(crate) struct Lanes {
    pub enqueue: Lane,
    /// See [`PostgresStore::beside`].
    pub beside: Lane,
    pub finish: Lane,
    /// See [`PostgresStore::finishes_beside`].
    pub finish_beside: Lane,
    pub claim: Lane,
    /// People, schedules, nodes, steps, logs.
    pub control: Lane,
    /// The dictionary and heartbeats: never waits for a long transaction of this process.
    pub aside: Lane,
    /// Writes to tables that are not the engine's.
    pub tables: Lane,
    /// Reads of those.
    pub tables_read: [Lane; 2],
}

impl Lanes {
    /// Shards of figures by lane, so that lanes of one process do not wait for each other.
    pub const ENQUEUE: i16 = 0;
    pub const FINISH: i16 = 1;
    pub const CLAIM: i16 = 2;
    pub const CONTROL: i16 = 3;
    pub const BESIDE: i16 = 4;
    pub const FINISH_BESIDE: i16 = 5;
    /// Shards a process has.
    const COUNT: i16 = 6;
    /// Numbers given to processes; more processes than that share them.
    const PROCESSES: i64 = 16;
}

/// Advisory locks: see [`Inner::lock_key`].
pub(crate) const MIGRATE: u8 = 1;
pub(crate) const EVENT_ORDER: u8 = 2;
pub(crate) const SETTINGS: u8 = 3;
pub(crate) const FIRST_CLAIM: u8 = 4;

/// What all calls share.
pub(crate) struct Inner {
    pub reach: Reach,
    pub lanes: Lanes,
    pub names: names::Names,
    pub hints: hints::Hints,
    pub floors: floors::Floors,
    /// Where the next walk of the cleaner begins.
    pub sweep_from: Mutex<i64>,
    readers: Vec<Lane>,
    turn: AtomicUsize,
    process: i16,
}

impl PostgresStore {
    /// Connects, brings the schema up to date and starts the store's tasks on the runtime this is
    /// called on, which must live as long as the store.
    ///
    /// # Errors
    ///
    /// [`mainspring_core::StoreError::Address`] for an address that cannot be used, `Unavailable`
    /// when nobody answers, `Schema` and `Foreign` when the database is not one for this program.
    pub async fn connect(url: &str, options: Options) -> Result<PostgresStore> {
        let address = open::Address::parse(url, options.limit)?;
        let reach = Reach::new(address, tokio::runtime::Handle::current(), options.limit);
        let mut inner = Inner {
            reach,
            lanes: Lanes::default(),
            names: names::Names::default(),
            hints: hints::Hints::default(),
            floors: floors::Floors::default(),
            sweep_from: Mutex::default(),
            readers: (0..options.readers.max(1)).map(|_| Lane::default()).collect(),
            turn: AtomicUsize::new(0),
            process: 0,
        };
        inner.migrate().await?;
        let row = transact!(&inner.reach, inner.lanes.aside, |conn| {
            conn.one("SELECT nextval('process_numbers')", &[]).await
        })?;
        inner.process = (row.get::<_, i64>(0) % Lanes::PROCESSES) as i16;
        inner.reload_names().await?;
        let inner = Arc::new(inner);
        inner.reach.runtime.spawn(inner.clone().listen());
        let (enqueues, beside) = (Desk::open(inner.clone()), Desk::open(inner.clone()));
        let (finishes, finishes_beside) = (Desk::open(inner.clone()), Desk::open(inner.clone()));
        let lists = AtomicUsize::new(0);
        Ok(PostgresStore { inner, enqueues, beside, lists, finishes, finishes_beside })
    }

    /// The address for people, without its password.
    pub fn shown(&self) -> &str {
        &self.inner.reach.address.shown
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.inner.reach.closed.store(true, Ordering::Relaxed);
        self.inner.hints.close();
    }
}

impl Inner {
    /// The shard of figures that a lane of this process adds to.
    pub(crate) fn shard(&self, lane: i16) -> i16 {
        self.process * Lanes::COUNT + lane
    }

    /// The number of an advisory lock of this schema.
    pub(crate) fn lock_key(&self, which: u8) -> i64 {
        (schema::checksum(&self.reach.address.schema) & !0xff) | i64::from(which)
    }

    /// A lane for reading, by turns.
    pub(crate) fn reader(&self) -> &Lane {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        &self.readers[turn % self.readers.len()]
    }

    /// A lane for reading what is not the engine's, by turns.
    pub(crate) fn tables_reader(&self) -> &Lane {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        &self.lanes.tables_read[turn % self.lanes.tables_read.len()]
    }

    /// Rows of one statement.
    pub(crate) async fn read(&self, sql: &'static str, args: Args<'_>) -> Result<Vec<tokio_postgres::Row>> {
        let lane = self.reader();
        transact!(&self.reach, lane, |conn| { conn.query(sql, args).await })
    }

    /// Rows of a statement that was put together.
    pub(crate) async fn read_built(&self, query: &filter::Query) -> Result<Vec<tokio_postgres::Row>> {
        let lane = self.reader();
        let args: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
            query.args.iter().map(|a| &**a as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
        transact!(&self.reach, lane, |conn| { conn.query_text(&query.sql, &args).await })
    }

    /// Ends background work and closes connections.
    pub(crate) async fn close(&self) {
        self.reach.closed.store(true, Ordering::Relaxed);
        self.hints.close();
        let lanes = &self.lanes;
        for lane in [
            &lanes.enqueue,
            &lanes.beside,
            &lanes.finish,
            &lanes.finish_beside,
            &lanes.claim,
            &lanes.control,
            &lanes.aside,
            &lanes.tables,
        ] {
            lane.close().await;
        }
        for lane in self.readers.iter().chain(&lanes.tables_read) {
            lane.close().await;
        }
    }
}
