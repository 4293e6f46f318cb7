//! The loops of a node, one body per file, each `async fn step(&self, now) -> Result<Wake>`.
//!
//! A step looks, acts and says when it wants to be called again; it never sleeps and never asks a
//! clock for the time, so that tests and the simulator can call it in any order at any time. An
//! error means that nothing is lost: the same step, called again, goes on.

pub mod cleaner;
pub mod dispatcher;
pub mod finisher;
pub mod heartbeat;
pub mod herald;
pub mod overseer;
pub mod promoter;
pub mod reaper;
pub mod scheduler;
pub mod scribe;
pub mod skew;
pub mod warden;
pub mod watcher;
pub mod zone_check;

pub use cleaner::Cleaner;
pub use dispatcher::Dispatcher;
pub use finisher::Finisher;
pub use heartbeat::Heartbeat;
pub use herald::{Herald, SignOfLife};
pub use overseer::Overseer;
pub use promoter::Promoter;
pub use reaper::Reaper;
pub use scheduler::Scheduler;
pub use scribe::Scribe;
pub use skew::Skew;
pub use warden::Warden;
pub use watcher::Watcher;
pub use zone_check::ZoneCheck;

use jiff::Timestamp;
use mainspring_core::error::Result;

/// When a step wants to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// At once: there is more to do.
    Again,
    /// At this instant, or earlier when its bell rings.
    At(Timestamp),
    /// When its bell rings.
    Idle,
}

/// A loop body.
pub trait Step: Send + Sync + 'static {
    /// For logs.
    const NAME: &'static str;
    /// Looks and acts once.
    fn step(&self, now: Timestamp) -> impl Future<Output = Result<Wake>> + Send;
}
