//! Deletes what need not be kept any longer, in small steps that never hold anything up.

use super::{Step, Wake};
use crate::engine::Engine;
use jiff::Timestamp;
use mainspring_core::error::Result;
use mainspring_core::{limits, time};
use std::sync::Arc;
use std::time::Duration;

/// A breath between two steps that both deleted, so that work goes first.
const BREATH: Duration = Duration::from_millis(200);

/// See the module's text.
pub struct Cleaner(pub Arc<Engine>);

impl Step for Cleaner {
    const NAME: &'static str = "cleaner";

    async fn step(&self, now: Timestamp) -> Result<Wake> {
        let engine = &self.0;
        if engine.draining() {
            return Ok(Wake::Idle);
        }
        let swept = engine.store().sweep(now, &engine.settings.sweep, limits::BATCH as u32).await?;
        let every = engine.settings.sweep_every;
        // Nodes that started together should not clean together.
        let wait = if swept.more { BREATH } else { every.mul_f64(0.75 + engine.entropy.chance() / 2.0) };
        Ok(Wake::At(time::plus(now, wait)))
    }
}
