//! Outcomes on their way to the store. The finisher takes whatever has gathered while it was
//! writing: the previous commit is the timer.

use crate::context::Context;
use jiff::Timestamp;
use mainspring_core::decide::Outcome;
use mainspring_core::job::{Claimed, Facts};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// How one attempt ended.
pub struct Done {
    /// Which.
    pub attempt: Ended,
    /// How.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
}

/// An attempt that ended: one that ran, or one that was claimed and never started.
pub enum Ended {
    /// It ran.
    Ran(Context),
    /// It did not.
    Waited(Box<Claimed>),
}

impl Ended {
    /// The claim.
    pub fn claimed(&self) -> &Claimed {
        match self {
            Ended::Ran(cx) => &cx.attempt_inner().claimed,
            Ended::Waited(claimed) => claimed,
        }
    }

    /// What `decide` must know, with what was asked for while it ran.
    pub(crate) fn facts(&self) -> std::borrow::Cow<'_, Facts> {
        use crate::context::StopReason;
        let facts = &self.claimed().facts;
        match self {
            Ended::Ran(cx) if cx.stop_reason() == Some(StopReason::Cancelled) => {
                std::borrow::Cow::Owned(Facts { cancel_requested: true, ..facts.clone() })
            }
            _ => std::borrow::Cow::Borrowed(facts),
        }
    }
}

/// See the module's text.
pub struct Outbox {
    held: Mutex<Vec<Done>>,
    /// Outcomes here and in the finisher's hands.
    open: AtomicUsize,
    /// Outcomes written since the start.
    written: AtomicU64,
    notify: Arc<Notify>,
}

impl Outbox {
    /// An empty one that wakes through `notify`.
    pub fn new(notify: Arc<Notify>) -> Outbox {
        Outbox { held: Mutex::default(), open: AtomicUsize::new(0), written: AtomicU64::new(0), notify }
    }

    /// Adds an outcome.
    pub fn push(&self, done: Done) {
        if let Ended::Ran(cx) = &done.attempt {
            cx.trace(&done.outcome, done.at);
        }
        self.open.fetch_add(1, Ordering::AcqRel);
        let first = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.push(done);
            held.len() == 1
        };
        // Whoever takes, takes all: only the first needs to ring.
        if first {
            self.notify.notify_one();
        }
    }

    /// Takes everything.
    pub fn take(&self) -> Vec<Done> {
        std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `n` outcomes are written (or dropped for good).
    pub fn settled(&self, n: usize) {
        // First this one: who sees nothing open sees all that was written.
        self.written.fetch_add(n as u64, Ordering::AcqRel);
        self.open.fetch_sub(n, Ordering::AcqRel);
    }

    /// Outcomes written since the start.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Outcomes that are not written yet.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }
}
