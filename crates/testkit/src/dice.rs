//! Choices that follow from a seed: for the differential cases and the simulator.

use mainspring_core::clock::{Entropy, Seeded};

/// A sequence of choices. The same seed gives the same ones, on every machine.
#[derive(Debug)]
pub struct Dice(Seeded);

impl Dice {
    /// The choices of `seed`.
    pub fn new(seed: u64) -> Dice {
        // Neighbouring seeds must not give neighbouring sequences.
        let scattered = Seeded::new(seed).bits();
        Dice(Seeded::new(scattered))
    }

    /// A number from 0 to `n - 1`.
    pub fn below(&self, n: u64) -> u64 {
        // The high half of the product: even enough for any small `n` (Lemire 2019).
        ((u128::from(self.0.bits()) * u128::from(n)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as u64) as i64
    }

    /// True once in `n` times.
    pub fn once_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `list`.
    pub fn pick<'a, T>(&self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }

    /// One of some words.
    pub fn word(&self, list: &[&'static str]) -> &'static str {
        list[self.below(list.len() as u64) as usize]
    }

    /// One of `list`, or nothing, each as likely as an entry.
    pub fn pick_or_none<'a, T>(&self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len() as u64 + 1) as usize)
    }

    /// A number drawn evenly from `[0, 1)`.
    pub fn chance(&self) -> f64 {
        self.0.chance()
    }

    /// 64 random bits, for the seed of another.
    pub fn bits(&self) -> u64 {
        self.0.bits()
    }
}

/// The seed given by `MAINSPRING_SEED`, to replay one failure.
pub fn seed_from_environment() -> Option<u64> {
    let text = std::env::var("MAINSPRING_SEED").ok()?;
    let seed = text.parse();
    Some(seed.unwrap_or_else(|_| panic!("MAINSPRING_SEED is {text:?}; give a whole number")))
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn choices_are_even_and_follow_the_seed() {
        let (a, b) = (Dice::new(7), Dice::new(7));
        let mut counts = [0u32; 6];
        for _ in 0..6000 {
            let n = a.below(6);
            assert_eq!(n, b.below(6));
            counts[n as usize] += 1;
        }
        assert!(counts.iter().all(|n| (850..1150).contains(n)), "{counts:?}");
        assert!((0..100).all(|_| (-3..=3).contains(&a.between(-3, 3))));
    }
}
