//! The door's time: what it is now, and waiting. The shipped one waits by the runtime; a simulator
//! brings its own, and then a minute's wait costs nothing.

use jiff::Timestamp;
use mainspring_core::clock::Clock;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A wait to come.
pub type Waiting<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// What time it is, and waiting by it.
pub trait Time: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
    /// Over after so long.
    fn sleep(&self, wait: Duration) -> Waiting<'_>;
}

/// The time of a clock; waits by the runtime's.
pub struct Running(pub Arc<dyn Clock>);

impl Time for Running {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the one wait of the door; whoever simulates gives another Time"
    )]
    fn sleep(&self, wait: Duration) -> Waiting<'_> {
        Box::pin(tokio::time::sleep(wait))
    }
}
