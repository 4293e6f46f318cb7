//! Looks after what is to be told: deliveries whose job was given up, old notices, and the sign of life
//! for a watcher outside, who notices when the whole engine is gone.
//!
//! The sign of life is given only while this node really works: its own heartbeat was answered by the
//! store a moment ago. A watcher that cannot be reached is told of in the log and tried again; nothing
//! else waits for it. Nodes whose registry delivers nothing and knows no watcher have nothing to do here.

use super::{Step, Wake};
use crate::engine::Engine;
use crate::notify;
use jiff::Timestamp;
use mainspring_connect::ping;
use mainspring_core::StoreError;
use mainspring_core::error::Result;
use mainspring_core::tables::TablesError;
use mainspring_core::time;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// How often deliveries are looked after.
const UPKEEP: Duration = Duration::from_secs(600);

/// Who outside wants to hear from the engine. Given to the node as [`crate::Registry::state`].
pub struct SignOfLife {
    /// The way out.
    pub outbound: mainspring_outbound::Client,
    /// Its address.
    pub url: String,
    /// How often.
    pub every: Duration,
}

/// See the module's text.
pub struct Herald {
    engine: Arc<Engine>,
    /// When to look after deliveries again, in microseconds.
    upkeep: AtomicI64,
}

impl Herald {
    /// The herald of a node.
    pub fn new(engine: Arc<Engine>) -> Herald {
        Herald { engine, upkeep: AtomicI64::new(0) }
    }

    async fn look_after(&self, now: Timestamp) -> Result<Timestamp> {
        let due = time::from_micros(self.upkeep.load(Ordering::Relaxed));
        if now < due {
            return Ok(due);
        }
        if let Some(tables) = self.engine.store().clone().tables() {
            let done = async {
                notify::migrate(&*tables).await?;
                notify::upkeep(&**self.engine.store(), &*tables, now).await
            };
            match done.await {
                Ok(()) => {}
                Err(TablesError::Store(e)) => return Err(e),
                Err(e) => return Err(StoreError::Internal(e.to_string())),
            }
        }
        // Nodes that started together should not look together.
        let next = time::plus(now, UPKEEP.mul_f64(0.75 + self.engine.entropy.chance() / 2.0));
        self.upkeep.store(time::micros(next), Ordering::Relaxed);
        Ok(next)
    }

    async fn sign_of_life(&self, watcher: &SignOfLife, now: Timestamp) {
        if self.engine.node().is_none() || self.engine.unheard() {
            return;
        }
        if let Err(error) = ping::send(&watcher.outbound, &watcher.url, now).await {
            tracing::warn!(%error, "the watcher at heartbeat_url did not take the sign of life");
        }
    }
}

impl Step for Herald {
    const NAME: &'static str = "herald";

    async fn step(&self, now: Timestamp) -> Result<Wake> {
        let registry = &self.engine.services.registry;
        let delivers = registry.get(notify::KIND).is_some();
        let watcher = registry.get_state::<SignOfLife>();
        if self.engine.draining() || (!delivers && watcher.is_none()) {
            return Ok(Wake::Idle);
        }
        if let Some(watcher) = watcher {
            self.sign_of_life(watcher, now).await;
        }
        let mut next = watcher.map(|watcher| time::plus(now, watcher.every));
        if delivers {
            let upkeep = self.look_after(now).await?;
            next = Some(next.map_or(upkeep, |at| at.min(upkeep)));
        }
        Ok(next.map_or(Wake::Idle, Wake::At))
    }
}
