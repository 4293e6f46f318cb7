//! What each request cost: told to a sink, so that usage and budgets can be kept elsewhere.

use jiff::Timestamp;
use std::time::Duration;

/// One request that was sent (or, offline and in replays, would have been).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// When it began.
    pub at: Timestamp,
    /// Whom it asked.
    pub host: String,
    /// Which connector asked: `github`.
    pub connector: String,
    /// On whose account; see [`crate::Call`].
    pub account: String,
    /// The answer's status, if there was one.
    pub status: Option<u16>,
    /// Why there was none: see [`crate::Error::class`].
    pub class: Option<&'static str>,
    /// Bytes of body received, unpacked.
    pub bytes: usize,
    /// How long it took.
    pub took: Duration,
    /// Whether it counts against a quota: everything that was sent but what was answered 304.
    pub counted: bool,
}

/// Is told of every request. It must not block.
pub trait Meter: Send + Sync {
    /// A request ended.
    fn told(&self, usage: Usage);
}
