//! How fast and how many at a time a host is asked, and until when it wants to be left alone.
//!
//! A gate belongs to a host and an account: one token's spent quota closes nobody else's way. Its bucket
//! is [`Rate`], as in the domain. Waits are by the door's [`Time`] and never longer than the patience
//! that was set; beyond it the caller is told until when, and snoozes its job.

use super::time::Time;
use crate::error::Error;
use jiff::Timestamp;
use mainspring_core::rate::Rate;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Gates kept; idle ones go beyond it.
const MOST: usize = 2_000;

/// What a host is asked at most.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Requests in any window.
    pub rate: Rate,
    /// Requests under way at a time.
    pub at_once: usize,
    /// The longest wait in here; longer ones are told to the caller.
    pub patience: Duration,
}

impl Default for Pace {
    /// Five a second, two at a time, 20 s.
    fn default() -> Pace {
        let rate = Rate { count: 5, per: Duration::from_secs(1) };
        Pace { rate, at_once: 2, patience: Duration::from_secs(20) }
    }
}

#[derive(Debug)]
pub(crate) struct Gates {
    /// By host; others get `usual`.
    paces: HashMap<String, Pace>,
    usual: Pace,
    gates: Mutex<HashMap<(String, String), Arc<Gate>>>,
}

#[derive(Debug)]
pub(crate) struct Gate {
    host: String,
    pace: Pace,
    slots: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The bucket: see [`Rate`].
    tat: i64,
    closed: Option<Timestamp>,
}

impl Gates {
    pub(crate) fn new(paces: HashMap<String, Pace>, usual: Pace) -> Gates {
        Gates { paces, usual, gates: Mutex::default() }
    }

    pub(crate) fn of(&self, host: &str, authority: &str, account: &str) -> Arc<Gate> {
        let mut gates = lock(&self.gates);
        if gates.len() >= MOST {
            // What is in use or closed has something to remember; if all have, forgetting is the lesser harm.
            gates.retain(|_, gate| Arc::strong_count(gate) > 1 || lock(&gate.state).closed.is_some());
            if gates.len() >= MOST {
                gates.clear();
            }
        }
        let made = || {
            let pace = self.paces.get(host).unwrap_or(&self.usual).clone();
            let slots = Arc::new(Semaphore::new(pace.at_once.clamp(1, 1_000)));
            Arc::new(Gate { host: host.to_owned(), pace, slots, state: Mutex::default() })
        };
        gates.entry((authority.to_owned(), account.to_owned())).or_insert_with(made).clone()
    }
}

impl Gate {
    /// Waits for a turn, for as long as the answer's permit is held.
    pub(crate) async fn enter(&self, time: &dyn Time) -> Result<OwnedSemaphorePermit, Error> {
        let last = time.now() + self.pace.patience;
        let limited = |until: Timestamp| Error::Limited { host: self.host.clone(), until };
        let permit = tokio::select! {
            biased;
            // The semaphore is never closed.
            permit = self.slots.clone().acquire_owned() => permit.map_err(|_| limited(last))?,
            () = time.sleep(self.pace.patience) => return Err(limited(last)),
        };
        loop {
            let now = time.now();
            let Some(until) = self.turn(now) else { return Ok(permit) };
            if until > last {
                return Err(limited(until));
            }
            time.sleep(Duration::try_from(until.duration_since(now)).unwrap_or_default()).await;
        }
    }

    /// Takes a turn, or says when to ask again.
    fn turn(&self, now: Timestamp) -> Option<Timestamp> {
        let mut state = lock(&self.state);
        match state.closed {
            Some(until) if until > now => return Some(until),
            _ => state.closed = None,
        }
        let micros = mainspring_core::time::micros(now);
        if self.pace.rate.available(state.tat, micros) == 0 {
            return Some(self.pace.rate.next(state.tat));
        }
        state.tat = self.pace.rate.take(state.tat, micros, 1);
        None
    }

    /// Nobody passes before `until`.
    pub(crate) fn close(&self, until: Timestamp) {
        let mut state = lock(&self.state);
        state.closed = state.closed.max(Some(until));
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
