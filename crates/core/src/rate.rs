//! Rate limits: at most `count` starts in any window of length `per`.
//!
//! The Generic Cell Rate Algorithm (ITU-T I.371) in its virtual-scheduling form: the whole state is
//! one instant, `tat`, the theoretical arrival time. A bucket with burst `b` and one token every
//! `T` lets at most `b - 1 + per / T` starts into any half-open window, so `T = per / (count - b +
//! 1)` makes the promise exact rather than approximate; `b` is a twentieth of `count` (at least 1),
//! which costs at most 5 % of the nominal rate and saves a wake-up per token.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `count` starts per `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Starts allowed in any window; 1 to 1,000,000.
    pub count: u32,
    /// The window; 1 ms to 366 days.
    #[serde(with = "crate::duration::human")]
    pub per: Duration,
}

impl Rate {
    /// What is wrong with it, if anything.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=1_000_000).contains(&self.count) {
            return Err("a rate's count is 1 to 1000000, for example 100/1m".into());
        }
        if self.per < Duration::from_millis(1) || self.per > Duration::from_secs(366 * 86_400) {
            return Err("a rate's window is 1ms to 366d, for example 100/1m".into());
        }
        Ok(())
    }

    /// Reads `100/1m` or `5/s`.
    pub fn parse(text: &str) -> Result<Rate, String> {
        let bad = || format!("{text:?} is not a rate; write for example 100/1m or 5/s");
        let (count, per) = text.split_once('/').ok_or_else(bad)?;
        let per = per.trim();
        let per = if per.starts_with(|c: char| c.is_ascii_digit()) { per.into() } else { format!("1{per}") };
        let rate = Rate {
            count: count.trim().parse().map_err(|_| bad())?,
            per: crate::duration::parse(&per).map_err(|_| bad())?,
        };
        rate.check()?;
        Ok(rate)
    }

    fn burst(&self) -> i64 {
        (i64::from(self.count) / 20).max(1)
    }

    /// Microseconds between tokens, rounded up so that the promise holds.
    fn interval(&self) -> i64 {
        let per = self.per.as_micros() as i64;
        let tokens = i64::from(self.count) - self.burst() + 1;
        ((per + tokens - 1) / tokens).max(1)
    }

    /// How many may start at `now` given `tat` (both in microseconds).
    pub fn available(&self, tat: i64, now: i64) -> u32 {
        if tat <= now {
            return self.burst() as u32;
        }
        let free = (now - tat).div_euclid(self.interval()) + self.burst();
        free.clamp(0, self.burst()) as u32
    }

    /// The state after `n` starts at `now`.
    pub fn take(&self, tat: i64, now: i64, n: u32) -> i64 {
        tat.max(now).saturating_add(i64::from(n).saturating_mul(self.interval()))
    }

    /// The instant of [`Rate::when`] for the next start.
    pub fn next(&self, tat: i64) -> jiff::Timestamp {
        crate::time::from_micros(self.when(tat, 1))
    }

    /// The first instant at which `nth` more starts (from 1) will have been allowed, if none is
    /// taken by others.
    pub fn when(&self, tat: i64, nth: u32) -> i64 {
        tat.saturating_sub((self.burst() - 1) * self.interval())
            .saturating_add(i64::from(nth - 1).saturating_mul(self.interval()))
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.count, crate::duration::format(self.per))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_short_and_long_forms() {
        assert_eq!(Rate::parse("5/s").unwrap().to_string(), "5/1s");
        assert_eq!(Rate::parse("100 / 1m").unwrap().to_string(), "100/1m");
        for bad in ["", "5", "5/", "x/s", "0/s", "5/0s", "5/fortnight"] {
            assert!(Rate::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_than_count(
            count in 1u32..200,
            per_ms in 1u64..5_000,
            steps in prop::collection::vec((0i64..400_000, 1u32..50), 1..200),
        ) {
            let rate = Rate { count, per: Duration::from_millis(per_ms) };
            let (mut now, mut tat, mut starts) = (1_000_000i64, 0i64, Vec::new());
            for (wait, want) in steps {
                now += wait;
                let n = rate.available(tat, now).min(want);
                if n > 0 { tat = rate.take(tat, now, n); }
                starts.extend(std::iter::repeat_n(now, n as usize));
                if n == 0 {
                    // The promised instant is the first at which one more may start.
                    let at = rate.when(tat, 1);
                    prop_assert!(at > now);
                    prop_assert!(rate.available(tat, at) >= 1);
                    prop_assert_eq!(rate.available(tat, at - 1), 0);
                }
            }
            let window = per_ms as i64 * 1000;
            for (i, first) in starts.iter().enumerate() {
                let inside = starts[i..].iter().take_while(|t| **t < first + window).count();
                prop_assert!(inside <= count as usize, "{} in one window of {}", inside, rate);
            }
        }
    }
}
