//! The only sources of time and chance. The shipped node brings the machine's clock, tests and the
//! simulator bring their own: whoever holds a `Clock` and an `Entropy` can replay a run exactly.

use crate::time;
use jiff::Timestamp;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// What time it is.
pub trait Clock: Send + Sync + 'static {
    /// The present instant, in whole microseconds.
    fn now(&self) -> Timestamp;
}

/// Where chance comes from.
pub trait Entropy: Send + Sync + 'static {
    /// 64 evenly distributed bits.
    fn bits(&self) -> u64;

    /// A number drawn evenly from `[0, 1)`.
    fn chance(&self) -> f64 {
        // The 53 high bits fill the mantissa of a double exactly.
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A clock that stands still until it is moved: for tests and the simulator.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `at`.
    pub fn new(at: Timestamp) -> Self {
        ManualClock(AtomicI64::new(time::micros(at)))
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Sets it, backwards too: clocks do jump.
    pub fn set(&self, at: Timestamp) {
        self.0.store(time::micros(at), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        time::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Chance that follows from a seed: SplitMix64 (Steele, Lea, Flood 2014). Not for secrets.
#[derive(Debug)]
pub struct Seeded(AtomicU64);

impl Seeded {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Seeded(AtomicU64::new(seed))
    }
}

impl Entropy for Seeded {
    fn bits(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// A fixed list of numbers, then its last for ever: for tests that must name the chance.
#[derive(Debug)]
pub struct Scripted(Mutex<Vec<f64>>);

impl Scripted {
    /// Gives `chances` in order; an empty list gives 0.
    pub fn new(chances: &[f64]) -> Self {
        Scripted(Mutex::new(chances.iter().rev().copied().collect()))
    }
}

impl Entropy for Scripted {
    fn bits(&self) -> u64 {
        (self.chance() * (1u64 << 53) as f64) as u64 * (1 << 11)
    }

    fn chance(&self) -> f64 {
        let mut list = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if list.len() > 1 { list.pop().unwrap_or(0.0) } else { list.last().copied().unwrap_or(0.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_sequence_and_chance_stays_below_one() {
        let (a, b) = (Seeded::new(7), Seeded::new(7));
        let draw = |s: &Seeded| (0..1000).map(|_| s.chance()).collect::<Vec<_>>();
        let drawn = draw(&a);
        assert_eq!(drawn, draw(&b));
        assert!(drawn.iter().all(|c| (0.0..1.0).contains(c)));
        let mean = drawn.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
        // The published first value of SplitMix64 for seed 0.
        assert_eq!(Seeded::new(0).bits(), 0xE220_A839_7B1D_CDAF);
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(time::from_micros(5));
        clock.advance(Duration::from_micros(7));
        assert_eq!(time::micros(clock.now()), 12);
        clock.set(time::from_micros(3));
        assert_eq!(time::micros(clock.now()), 3);
    }
}
