//! Looks at alert rules once a minute. Every node looks; what a look decided is written once, by
//! compare and swap ([`crate::alerts::Looker`]), so there is nobody to elect and nobody to lose.
//!
//! Nodes do not come at the same instant: the first one to come does the work, the others find it
//! done and have asked one question.

use super::{Step, Wake};
use crate::alerts::{LAG, Looker};
use crate::client::{Client, ClientError};
use crate::engine::Engine;
use jiff::Timestamp;
use mainspring_core::error::Result;
use mainspring_core::{StoreError, time};
use std::sync::Arc;
use std::time::Duration;

/// Nodes come to a look within this of each other.
const SPREAD: Duration = Duration::from_secs(4);

/// See the module's text.
pub struct Watcher {
    engine: Arc<Engine>,
    looker: Option<Looker>,
}

impl Watcher {
    /// The watcher of a node.
    pub fn new(engine: Arc<Engine>) -> Watcher {
        let services = &engine.services;
        let client = Client::new(services.store.clone())
            .with_registry(services.registry.clone())
            .with_clock(services.clock.clone());
        Watcher { looker: Looker::new(&client), engine }
    }
}

impl Step for Watcher {
    const NAME: &'static str = "watcher";

    async fn step(&self, now: Timestamp) -> Result<Wake> {
        let Some(looker) = self.looker.as_ref().filter(|_| !self.engine.draining()) else {
            return Ok(Wake::Idle);
        };
        let more = looker.look(now).await.map_err(|e| match e {
            ClientError::Store(e) => e,
            ClientError::Invalid { text, .. } => StoreError::Internal(text),
        })?;
        if more {
            return Ok(Wake::Again);
        }
        let minute = time::from_micros((time::minute(time::minus(now, LAG)) + 1) * time::MINUTE);
        Ok(Wake::At(time::plus(time::plus(minute, LAG), SPREAD.mul_f64(self.engine.entropy.chance()))))
    }
}
