//! Hints: telling sleeping nodes, here and elsewhere, that something may be worth a look.
//!
//! A commit that notifies holds a lock over the whole database while it flushes, so no transaction
//! of the engine notifies. Nodes of this process are called directly. For others a task looks, after
//! the commit and at most every few milliseconds, whether any node has said that it sleeps, and
//! only then sends a notification, by a statement of its own on the session that also listens.
//!
//! That session proves itself: every ten seconds it notifies itself, and while its own voice comes
//! back in time [`Hints::alive`] is true. When it is lost it is made again for ever, and what was
//! missed meanwhile is made good by one hint of each sort.

use crate::Inner;
use crate::link::{Conn, Lane, Reach, transact};
use mainspring_core::NodeId;
use mainspring_core::error::Result;
use mainspring_core::store::{Hint, HintSink};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How often the session proves itself.
const PROOF: Duration = Duration::from_secs(10);
/// How soon the proof must come back.
const PROVED_WITHIN: Duration = Duration::from_secs(2);
/// The least time between two looks for sleepers.
const PAUSE: Duration = Duration::from_millis(4);
/// Full claims in a row after which a node is no longer said to sleep.
const BUSY: u32 = 8;

/// What is to be told to other processes, as bits.
const JOBS: u8 = 1;
const SCHEDULES: u8 = 2;
const CANCEL: u8 = 4;
const QUEUES: u8 = 8;

/// The state of hinting.
#[derive(Default)]
pub(crate) struct Hints {
    sink: RwLock<Option<HintSink>>,
    pending: AtomicU8,
    wake: Notify,
    alive: AtomicBool,
    /// Nodes of this process that are said to sleep (None), or how many full claims they had.
    nodes: Mutex<HashMap<NodeId, (bool, u32)>>,
}

fn bit(hint: Hint) -> u8 {
    match hint {
        Hint::Jobs => JOBS,
        Hint::Schedules => SCHEDULES,
        Hint::Cancel => CANCEL,
    }
}

impl Hints {
    pub fn set_sink(&self, sink: HintSink) {
        *self.sink.write().unwrap_or_else(PoisonError::into_inner) = Some(sink);
    }

    pub fn alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    fn call(&self, hint: Hint) {
        let sink = self.sink.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(sink) = sink {
            sink(hint);
        }
    }

    fn post(&self, bits: u8) {
        if self.pending.fetch_or(bits, Ordering::AcqRel) | bits != 0 {
            self.wake.notify_one();
        }
    }

    /// Wakes the task, which then sees that the store was closed.
    pub fn close(&self) {
        self.wake.notify_one();
    }

    /// Notes how a node's claim went. True when the node has just been written down as sleeping, so
    /// that it must look once more before it does.
    pub async fn falls_asleep_or_wakes(
        &self,
        reach: &Reach,
        lane: &Lane,
        node: NodeId,
        full: bool,
    ) -> Result<bool> {
        let sleeps = {
            let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            let known = nodes.entry(node).or_default();
            known.1 = if full { known.1.saturating_add(1) } else { 0 };
            match (known.0, full) {
                (false, false) => true,
                (true, true) if known.1 >= BUSY => false,
                _ => return Ok(false),
            }
        };
        transact!(reach, lane, |conn| {
            conn.execute("UPDATE nodes SET sleeping = $2 WHERE id = $1", &[&node.0, &sleeps]).await
        })?;
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.entry(node).or_default().0 = sleeps;
        Ok(sleeps)
    }

    /// A node of this process is gone.
    pub fn forget(&self, node: NodeId) {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
    }
}

impl Inner {
    /// Tells everybody, after the commit.
    pub(crate) fn hint(&self, hint: Hint) {
        self.hints.call(hint);
        self.hints.post(bit(hint));
    }

    /// Tells other processes that settings of queues have changed.
    pub(crate) fn queues_changed(&self) {
        self.hints.post(QUEUES);
    }

    fn channel(&self) -> &str {
        &self.reach.address.schema
    }

    /// The task that listens and notifies, until the store is closed.
    #[allow(
        clippy::disallowed_methods,
        reason = "back-off after a lost session is monotonic time, not the engine's"
    )]
    pub(crate) async fn listen(self: Arc<Self>) {
        while !self.reach.closed.load(Ordering::Relaxed) {
            let (send, notes) = tokio::sync::mpsc::unbounded_channel();
            if let Ok(conn) = self.reach.connect(Some(send)).await {
                let ended = self.serve(&conn, notes).await;
                tracing::debug!(?ended, "the session for notifications has ended");
            }
            self.hints.alive.store(false, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// One session's life.
    #[allow(clippy::disallowed_methods, reason = "the proof of life is monotonic time, not the engine's")]
    async fn serve(
        &self,
        conn: &Conn,
        mut notes: tokio::sync::mpsc::UnboundedReceiver<tokio_postgres::Notification>,
    ) -> crate::link::Step<()> {
        let limit = self.reach.limit;
        let me: i32 = crate::link::limited(limit, conn.one("SELECT pg_backend_pid()", &[])).await?.get(0);
        crate::link::limited(limit, conn.batch(&format!("LISTEN \"{}\"", self.channel()))).await?;
        self.prove(conn).await?;
        let (mut proved, mut asked) = (false, Instant::now());
        loop {
            if self.reach.closed.load(Ordering::Relaxed) {
                return Ok(());
            }
            let patience = if proved { PROOF } else { PROVED_WITHIN }.saturating_sub(asked.elapsed());
            tokio::select! {
                note = notes.recv() => match note {
                    None => return Err(crate::link::Fault::Late),
                    Some(note) if note.process_id() == me => {
                        if !proved && !self.hints.alive.swap(true, Ordering::Relaxed) {
                            self.catch_up().await;
                        }
                        proved = true;
                    }
                    Some(note) => self.heard(note.payload()).await,
                },
                () = self.hints.wake.notified() => {
                    self.tell(conn).await?;
                    tokio::time::sleep(PAUSE).await;
                }
                () = tokio::time::sleep(patience) => {
                    if !proved {
                        return Err(crate::link::Fault::Late);
                    }
                    self.prove(conn).await?;
                    (proved, asked) = (false, Instant::now());
                }
            }
        }
    }

    async fn prove(&self, conn: &Conn) -> crate::link::Step<()> {
        let channel = self.channel();
        let sent = async { conn.execute("SELECT pg_notify($1, '')", &[&channel]).await };
        crate::link::limited(self.reach.limit, sent).await.map(drop)
    }

    /// Sends what is pending, if anybody sleeps who must hear it.
    async fn tell(&self, conn: &Conn) -> crate::link::Step<()> {
        let bits = self.hints.pending.swap(0, Ordering::AcqRel);
        if bits == 0 {
            return Ok(());
        }
        let mine: Vec<i64> = {
            let nodes = self.hints.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            nodes.keys().map(|node| node.0).collect()
        };
        // Jobs concern sleepers only; the rest concerns every node.
        let any = bits & !JOBS != 0;
        let (channel, text) = (self.channel(), bits.to_string());
        let sent = async {
            let sql = "SELECT pg_notify($1, $2) WHERE EXISTS (
                SELECT FROM nodes WHERE NOT ended AND (sleeping OR $3) AND id <> ALL($4))";
            conn.execute(sql, &[&channel, &text, &any, &mine]).await
        };
        let result = crate::link::limited(self.reach.limit, sent).await.map(drop);
        if result.is_err() {
            self.hints.pending.fetch_or(bits, Ordering::AcqRel);
        }
        result
    }

    async fn heard(&self, payload: &str) {
        let bits: u8 = payload.parse().unwrap_or(0);
        if bits & QUEUES != 0 {
            let _ = self.reload_names().await;
        }
        for hint in [Hint::Jobs, Hint::Schedules, Hint::Cancel] {
            if bits & bit(hint) != 0 {
                self.hints.call(hint);
            }
        }
    }

    /// After a time without a session anything may have been missed.
    async fn catch_up(&self) {
        let _ = self.reload_names().await;
        for hint in [Hint::Jobs, Hint::Schedules, Hint::Cancel] {
            self.hints.call(hint);
        }
    }
}
