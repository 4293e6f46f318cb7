//! The machine's clock and its chance: what a shipped node uses where tests bring their own.
//!
//! [`SystemClock`] is the one place of the library that reads the wall clock. Where a database has
//! a time of its own (PostgreSQL), the clock follows it by a measured offset, so that nodes whose
//! machines disagree still agree with one another. The waits of a node never come from here: they
//! are monotonic, and whoever wakes up asks again what time it is.

pub use mainspring_core::clock::{Clock, Entropy, ManualClock, Scripted, Seeded};

use jiff::Timestamp;
use mainspring_core::time;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicI64, Ordering};

/// The machine's wall clock, corrected by what the database said.
#[derive(Debug, Default)]
pub struct SystemClock {
    /// Microseconds to add.
    offset: AtomicI64,
}

impl SystemClock {
    /// The machine's clock as it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// The machine's own time, without the correction.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn machine_time() -> Timestamp {
        time::trunc(Timestamp::now())
    }

    /// From now on shows the machine's time plus `micros`.
    pub fn set_offset(&self, micros: i64) {
        self.offset.store(micros, Ordering::Relaxed);
    }

    /// The correction in microseconds.
    pub fn offset(&self) -> i64 {
        self.offset.load(Ordering::Relaxed)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let machine = time::micros(Self::machine_time());
        time::from_micros(machine.saturating_add(self.offset.load(Ordering::Relaxed)))
    }
}

/// A clock that never jumps: the wall clock as it was at the start, moved on by the monotonic one.
/// Time-outs and waits are counted by it, so that setting the machine's clock ends no attempt.
#[derive(Debug)]
pub struct SteadyClock {
    start: Timestamp,
    since: std::time::Instant,
}

impl SteadyClock {
    /// Starts at the machine's present time.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn new() -> Self {
        SteadyClock { start: SystemClock::machine_time(), since: std::time::Instant::now() }
    }
}

impl Default for SteadyClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SteadyClock {
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        time::plus(self.start, self.since.elapsed())
    }
}

/// Chance of this process: a seed from the operating system, by way of the standard library's
/// randomly keyed hasher (which spares a dependency). Good for jitter and ids, not for secrets.
pub fn machine_entropy() -> Seeded {
    let keyed = std::hash::RandomState::new();
    let mut hasher = keyed.build_hasher();
    hasher.write_i64(time::micros(SystemClock::machine_time()));
    hasher.write_u32(std::process::id());
    Seeded::new(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_moves_the_clock_and_not_the_machine() {
        let clock = SystemClock::new();
        clock.set_offset(3_600 * time::SECOND);
        let ahead = time::micros(clock.now()) - time::micros(SystemClock::machine_time());
        assert!((3_590 * time::SECOND..3_610 * time::SECOND).contains(&ahead), "{ahead}");
    }

    #[test]
    fn two_processes_do_not_share_their_chance() {
        assert_ne!(machine_entropy().bits(), machine_entropy().bits());
    }
}
