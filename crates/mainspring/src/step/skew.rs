//! Follows the database's clock where it has one of its own, so that all nodes agree on what time it
//! is whatever their machines say.
//!
//! A machine whose clock is too far off claims nothing until it is put right, and says so: its
//! offset is known and would be corrected for, but such a clock tends to be corrected by someone
//! else in one jump, in the middle of the work.

use super::{Step, Wake};
use crate::clock::SystemClock;
use crate::engine::{Engine, NodeEvent};
use jiff::Timestamp;
use mainspring_core::clock::Clock;
use mainspring_core::error::Result;
use mainspring_core::time;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often the offset is measured while all is well.
const EVERY: Duration = Duration::from_secs(60);
/// How often it is while it is not.
const SOON: Duration = Duration::from_secs(5);

/// See the module's text.
pub struct Skew {
    engine: Arc<Engine>,
    clock: Arc<SystemClock>,
    off: AtomicBool,
    best: Mutex<Option<Duration>>,
}

impl Skew {
    /// Keeps `clock` right.
    pub fn new(engine: Arc<Engine>, clock: Arc<SystemClock>) -> Skew {
        Skew { engine, clock, off: AtomicBool::new(false), best: Mutex::default() }
    }

    /// The offset in microseconds that the database's answer `server` means, when the question was
    /// asked at `before` (by the machine) and took `round`: the answer is taken to be from its middle.
    pub fn offset(before: Timestamp, round: Duration, server: Timestamp) -> i64 {
        time::micros(server) - time::micros(time::plus(before, round / 2))
    }
}

impl Step for Skew {
    const NAME: &'static str = "skew";

    async fn step(&self, _now: Timestamp) -> Result<Wake> {
        let before = SystemClock::machine_time();
        let start = self.engine.steady.now();
        let Some(server) = self.engine.store().server_time().await? else { return Ok(Wake::Idle) };
        let round = time::since(start, self.engine.steady.now());
        let offset = Self::offset(before, round, server);
        let far = Duration::from_micros(offset.unsigned_abs());
        // A slow answer tells little: keep the known offset unless it is wrong beyond the doubt.
        let doubt = (round / 2).as_micros() as i64;
        let known = self.clock.offset();
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        if best.is_none_or(|b| round <= b * 2) || (offset - known).abs() > doubt {
            self.clock.set_offset(offset);
            *best = Some(best.map_or(round, |b| b.min(round)));
        }
        drop(best);
        let off = far > self.engine.settings.max_skew;
        self.engine.set_skewed(off);
        if self.off.swap(off, Ordering::SeqCst) != off {
            if off {
                tracing::error!(
                    offset_ms = offset / 1000,
                    "this machine's clock is too far from the database's: nothing is claimed until it is put right"
                );
            } else {
                self.engine.signals.dispatch.notify_one();
            }
            self.engine.events.tell(|| NodeEvent::Skewed(off.then_some(far)));
        }
        Ok(Wake::At(time::plus(self.clock.now(), if off { SOON } else { EVERY })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_taken_from_the_middle_of_the_round() {
        let at = |s: i64| time::from_micros(s * time::SECOND);
        assert_eq!(Skew::offset(at(100), Duration::from_secs(2), at(111)), 10 * time::SECOND);
        assert_eq!(Skew::offset(at(100), Duration::ZERO, at(40)), -60 * time::SECOND);
    }
}
