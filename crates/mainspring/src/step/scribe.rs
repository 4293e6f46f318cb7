//! Writes what running attempts say of themselves: log lines and progress, in batches.

use super::{Step, Wake};
use crate::engine::Engine;
use jiff::Timestamp;
use mainspring_core::StoreError;
use mainspring_core::error::Result;
use mainspring_core::time;
use std::sync::Arc;
use std::time::Duration;

/// How long lines gather before they are written.
pub const GATHER: Duration = Duration::from_millis(200);

/// See the module's text.
pub struct Scribe(pub Arc<Engine>);

impl Step for Scribe {
    const NAME: &'static str = "scribe";

    async fn step(&self, now: Timestamp) -> Result<Wake> {
        let (inbox, store) = (&self.0.services.inbox, self.0.store());
        loop {
            let lines = inbox.take_lines();
            if lines.is_empty() {
                break;
            }
            match store.append_logs(now, lines.clone()).await {
                Err(e) if e.is_transient() => {
                    inbox.put_back(lines);
                    return Err(e);
                }
                Err(e) => tracing::warn!(error = %e, lines = lines.len(), "the store refused log lines"),
                Ok(()) => {}
            }
        }
        for (job, attempt, progress) in inbox.take_progress() {
            match store.set_progress(now, job, attempt, progress).await {
                // The next value is worth more than this one: it is not kept.
                Err(e) if e.is_transient() => return Err(e),
                Err(StoreError::NotFound { .. }) | Ok(_) => {}
                Err(e) => tracing::warn!(error = %e, "the store refused a progress"),
            }
        }
        Ok(if inbox.is_empty() { Wake::Idle } else { Wake::At(time::plus(now, GATHER)) })
    }
}
