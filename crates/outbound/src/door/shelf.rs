//! Answers kept with their validators (`ETag`, `Last-Modified`), so that asking again may be answered
//! 304 and cost nothing.

use super::gate::lock;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;

/// An answer that was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Its `ETag`, as sent.
    pub etag: Option<String>,
    /// Its `Last-Modified`, as sent.
    pub last_modified: Option<String>,
    /// Its `Content-Type` and `Link`, which a 304 may leave out.
    pub headers: Vec<(String, String)>,
    /// Its body, unpacked.
    pub body: Bytes,
}

/// Something to come from a [`Shelf`].
pub type Fetching<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where answers are kept. It may forget at any time; what it cannot read it does not have.
pub trait Shelf: Send + Sync {
    /// What is kept under `key`.
    fn get<'a>(&'a self, key: &'a str) -> Fetching<'a, Option<Kept>>;
    /// Keeps it, in place of what was there.
    fn put<'a>(&'a self, key: &'a str, kept: Kept) -> Fetching<'a, ()>;
}

/// A shelf in memory; beyond its bytes the oldest goes.
#[derive(Debug)]
pub struct MemoryShelf {
    most: usize,
    state: Mutex<Stock>,
}

#[derive(Debug, Default)]
struct Stock {
    kept: HashMap<String, Kept>,
    order: VecDeque<String>,
    bytes: usize,
}

impl MemoryShelf {
    /// One for so many bytes of bodies.
    pub fn new(most: usize) -> MemoryShelf {
        MemoryShelf { most, state: Mutex::default() }
    }
}

impl Stock {
    fn remove(&mut self, key: &str) {
        if let Some(old) = self.kept.remove(key) {
            self.bytes -= old.body.len() + key.len();
            self.order.retain(|k| k != key);
        }
    }
}

impl Shelf for MemoryShelf {
    fn get<'a>(&'a self, key: &'a str) -> Fetching<'a, Option<Kept>> {
        let found = lock(&self.state).kept.get(key).cloned();
        Box::pin(async move { found })
    }

    fn put<'a>(&'a self, key: &'a str, kept: Kept) -> Fetching<'a, ()> {
        let mut state = lock(&self.state);
        state.remove(key);
        state.bytes += kept.body.len() + key.len();
        state.kept.insert(key.to_owned(), kept);
        state.order.push_back(key.to_owned());
        while state.bytes > self.most {
            let Some(oldest) = state.order.front().cloned() else { break };
            state.remove(&oldest);
        }
        Box::pin(async {})
    }
}
