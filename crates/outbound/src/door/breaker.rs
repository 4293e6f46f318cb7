//! Leaving a host alone that fails again and again: open after [`FAILURES`] in a row, and after
//! [`REST`] one request may try; it closes the breaker or opens it anew.

use super::gate::lock;
use jiff::Timestamp;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Failures in a row that open it.
pub const FAILURES: u32 = 5;
/// How long it stays open.
pub const REST: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
    open: Option<Timestamp>,
    trying: bool,
}

/// A request under way. Dropped without a word (the caller gave up), it counts for nothing.
pub(crate) struct Pass {
    breaker: Arc<Mutex<Breaker>>,
    tries: bool,
}

impl Breaker {
    /// A pass, or until when there is none.
    pub(crate) fn enter(breaker: &Arc<Mutex<Breaker>>, now: Timestamp) -> Result<Pass, Timestamp> {
        let mut state = lock(breaker);
        let tries = match state.open {
            Some(until) if until > now => return Err(until),
            Some(_) if state.trying => return Err(now + Duration::from_secs(1)),
            Some(_) => true,
            None => false,
        };
        state.trying |= tries;
        drop(state);
        Ok(Pass { breaker: breaker.clone(), tries })
    }

    /// Nothing to remember.
    pub(crate) fn is_idle(&self) -> bool {
        self.failures == 0 && !self.trying
    }
}

impl Pass {
    /// How it went.
    pub(crate) fn tell(self, went_well: bool, now: Timestamp) {
        let mut state = lock(&self.breaker);
        if went_well {
            (state.failures, state.open) = (0, None);
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if self.tries || state.failures >= FAILURES {
            state.open = now.checked_add(REST).ok();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.tries {
            lock(&self.breaker).trying = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_in_a_row_open_it_and_one_try_decides() {
        let (breaker, start) = (Arc::new(Mutex::default()), Timestamp::UNIX_EPOCH);
        let at = |s: u64| start + Duration::from_secs(s);
        let go = |s: u64, well: bool| Breaker::enter(&breaker, at(s)).map(|pass| pass.tell(well, at(s)));
        for s in 0..4 {
            go(s, false).unwrap();
        }
        go(4, true).unwrap();
        for s in 5..10 {
            go(s, false).unwrap();
        }
        assert_eq!(go(68, true).unwrap_err(), at(69), "open for a minute after the fifth");
        let trying = Breaker::enter(&breaker, at(69)).ok().unwrap();
        assert!(go(69, true).is_err(), "one at a time");
        drop(trying);
        go(70, false).unwrap();
        assert_eq!(go(71, true).unwrap_err(), at(130), "the try failed");
        go(130, true).unwrap();
        go(130, false).unwrap();
        go(131, true).unwrap();
        assert!(lock(&breaker).is_idle());
    }
}
