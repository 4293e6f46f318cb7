//! The process that sleeps between steps.

use std::time::Duration;

/// Waits: the one place outside tests where the library sleeps.
#[allow(clippy::disallowed_methods, reason = "only the node sleeps")]
pub(crate) async fn pause(wait: Duration) {
    tokio::time::sleep(wait).await;
}
