//! Services outside, as real servers on loopback: a mail server ([`MailServer`]) and an HTTP server
//! that gives the answers of a script ([`Stub`]).

mod http;
mod mail;

pub use http::{Answer, Got, Stub};
pub use mail::{CA, MailServer, Received};

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long something awaited may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A list that others wait for.
#[derive(Default)]
struct Log<T> {
    list: Mutex<Vec<T>>,
    more: Condvar,
}

impl<T: Clone> Log<T> {
    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, item: T) {
        self.lock().push(item);
        self.more.notify_all();
    }

    fn all(&self) -> Vec<T> {
        self.lock().clone()
    }

    /// The list once it has so many. Panics when it takes too long.
    fn wait_for(&self, n: usize, what: &str) -> Vec<T> {
        let done = self.more.wait_timeout_while(self.lock(), PATIENCE, |list| list.len() < n);
        let (list, timeout) = done.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "{} of {n} {what} within {PATIENCE:?}", list.len());
        list.clone()
    }
}
