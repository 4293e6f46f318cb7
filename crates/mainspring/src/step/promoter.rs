//! Makes scheduled jobs available when they are due, and cancels those that expired meanwhile.

use super::{Step, Wake};
use crate::engine::Engine;
use jiff::Timestamp;
use mainspring_core::error::Result;
use mainspring_core::limits;
use std::sync::Arc;

/// See the module's text.
pub struct Promoter(pub Arc<Engine>);

impl Step for Promoter {
    const NAME: &'static str = "promoter";

    async fn step(&self, now: Timestamp) -> Result<Wake> {
        if self.0.draining() {
            return Ok(Wake::Idle);
        }
        let done = self.0.store().promote(now, limits::BATCH as u32).await?;
        if done.promoted > 0 {
            self.0.signals.dispatch.notify_one();
        }
        Ok(match done.next_at {
            Some(at) if at <= now => Wake::Again,
            Some(at) => Wake::At(at),
            None => Wake::Idle,
        })
    }
}
