//! The sign of life, and the poll that is always the net under the hints: what a heartbeat sees of
//! the whole wakes the steps that have something to do.
//!
//! A node that the store no longer knows was taken for dead and its attempts are others': it drops
//! everything it holds and joins anew under a new id. It never guesses; the store's word decides.
//! So it does when a newer program has changed the schema in a way that this one cannot work with: the
//! node drains and ends.

use super::{Step, Wake};
use crate::engine::{Engine, NodeEvent};
use jiff::Timestamp;
use mainspring_core::StoreError;
use mainspring_core::error::Result;
use mainspring_core::ids::NodeId;
use mainspring_core::time;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// See the module's text.
pub struct Heartbeat {
    engine: Arc<Engine>,
    /// The last heartbeat that was answered, by the steady clock.
    last: Mutex<Option<Timestamp>>,
    /// A heartbeat since then was not answered: the database was away, perhaps for others too.
    missed: AtomicBool,
}

impl Heartbeat {
    /// The heartbeat of a node.
    pub fn new(engine: Arc<Engine>) -> Heartbeat {
        Heartbeat { engine, last: Mutex::default(), missed: AtomicBool::new(false) }
    }

    async fn join(&self, now: Timestamp) -> Result<NodeId> {
        loop {
            // 53 bits: every reader of JSON keeps them exactly.
            let id = NodeId((self.engine.entropy.bits() >> 11) as i64);
            match self.engine.store().join(now, self.engine.info(id)).await {
                Err(StoreError::Conflict(_)) => {}
                Err(e) => return Err(e),
                Ok(()) => {
                    self.engine.set_node(Some(id));
                    self.engine.events.tell(|| NodeEvent::Joined(id));
                    self.engine.signals.dispatch.notify_one();
                    self.engine.signals.reap.notify_one();
                    return Ok(id);
                }
            }
        }
    }

    /// After a silence, nobody is judged before everyone had the time to be heard: a full lease from
    /// now, not from when this heartbeat was sent, for it may have waited for the database itself.
    fn note_silence(&self) {
        let steady = self.engine.steady.now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = last.replace(steady).map(|at| time::since(at, steady));
        let missed = self.missed.swap(false, Ordering::Relaxed);
        if missed || silent.is_some_and(|d| d > self.engine.settings.lease * 2 / 3) {
            self.engine.postpone_judgement(self.engine.now());
        }
        self.engine.heard();
    }
}

impl Step for Heartbeat {
    const NAME: &'static str = "heartbeat";

    async fn step(&self, now: Timestamp) -> Result<Wake> {
        let engine = &self.engine;
        let node = match engine.node() {
            Some(node) => node,
            None if engine.draining() => return Ok(Wake::Idle),
            None => self.join(now).await?,
        };
        let lease = engine.settings.lease;
        let answer = engine.store().heartbeat(now, node, lease).await;
        if answer.is_err() {
            self.missed.store(true, Ordering::Relaxed);
        }
        let (beat, survey) = answer?;
        self.note_silence();
        if !beat.known {
            engine.set_node(None);
            engine.drop_everything();
            engine.events.tell(|| NodeEvent::Forgotten(node));
            return Ok(Wake::Again);
        }
        if let Some(why) = beat.outgrown {
            engine.outgrow(why);
        }
        for (job, attempt) in beat.cancel {
            engine.cancel(job, attempt);
        }
        let signals = &engine.signals;
        if survey.waiting {
            signals.dispatch.notify_one();
            engine.outside.ring();
        }
        let next = time::plus(now, engine.settings.heartbeat_every(engine.store().hints_alive()));
        if survey.next_run_at.is_some_and(|at| at <= next) {
            signals.promote.notify_one();
        }
        if survey.next_fire.is_some_and(|at| at <= next) {
            signals.schedule.notify_one();
        }
        if survey.lost_nodes {
            signals.reap.notify_one();
        }
        Ok(Wake::At(next))
    }
}
