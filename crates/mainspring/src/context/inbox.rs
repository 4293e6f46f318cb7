//! Log lines and progress on their way to the store: gathered here by handlers, taken from here in
//! batches by `step::scribe`. Handlers never wait for it, and it never grows without bound.

use mainspring_core::JobId;
use mainspring_core::job::{LogLine, Progress};
use mainspring_core::limits;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Lines kept while the store cannot be reached; further ones are dropped.
pub const LINES: usize = 50_000;

/// See the module's text.
#[derive(Default)]
pub struct Inbox {
    held: Mutex<Held>,
    /// Wakes who writes it down.
    pub(crate) notify: Notify,
}

#[derive(Default)]
struct Held {
    lines: VecDeque<LogLine>,
    dropped: u64,
    progress: HashMap<(JobId, u32), Progress>,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line; false when there is no room.
    pub(crate) fn line(&self, line: LogLine) -> bool {
        let mut held = self.lock();
        if held.lines.len() >= LINES {
            held.dropped += 1;
            return false;
        }
        held.lines.push_back(line);
        drop(held);
        self.notify.notify_one();
        true
    }

    /// Keeps the latest progress of an attempt.
    pub(crate) fn progress(&self, job: JobId, attempt: u32, progress: Progress) {
        self.lock().progress.insert((job, attempt), progress);
        self.notify.notify_one();
    }

    /// Up to one store call's worth of lines, oldest first.
    pub fn take_lines(&self) -> Vec<LogLine> {
        let mut held = self.lock();
        let n = held.lines.len().min(limits::BATCH);
        held.lines.drain(..n).collect()
    }

    /// Puts lines back that could not be written.
    pub fn put_back(&self, lines: Vec<LogLine>) {
        let mut held = self.lock();
        for line in lines.into_iter().rev() {
            held.lines.push_front(line);
        }
    }

    /// The progress told since the last call.
    pub fn take_progress(&self) -> Vec<(JobId, u32, Progress)> {
        self.lock().progress.drain().map(|((job, attempt), p)| (job, attempt, p)).collect()
    }

    /// Forgets what a finished attempt told of its progress.
    pub(crate) fn forget_progress(&self, job: JobId, attempt: u32) {
        let mut held = self.lock();
        if !held.progress.is_empty() {
            held.progress.remove(&(job, attempt));
        }
    }

    /// Whether nothing waits to be written.
    pub fn is_empty(&self) -> bool {
        let held = self.lock();
        held.lines.is_empty() && held.progress.is_empty()
    }

    /// Lines dropped so far because the store could not be reached for long.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }
}
