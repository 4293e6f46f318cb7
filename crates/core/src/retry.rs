//! When a failed job is tried again. Pure: the caller brings the chance.
//!
//! Full jitter (a delay drawn evenly from zero to the exponential bound) follows the AWS
//! architecture note "Exponential Backoff And Jitter": it spreads a herd better than any fixed
//! share of jitter and finishes the work sooner.

use crate::duration;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How often a job is tried and how long it waits in between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; at least 1.
    pub max_attempts: u32,
    /// The wait before each further attempt.
    pub backoff: Backoff,
    /// Whether an attempt that ran out of time is tried again like any other failure.
    pub retry_timeouts: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy { max_attempts: 5, backoff: Backoff::default(), retry_timeouts: true }
    }
}

impl RetryPolicy {
    /// One attempt, no retry.
    pub fn never() -> Self {
        RetryPolicy { max_attempts: 1, ..Self::default() }
    }
}

/// The wait before the next attempt, by the number of failures so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Backoff {
    /// A literal list; its last entry repeats. Shown as "steps".
    Steps(#[serde(with = "steps")] Vec<Duration>),
    /// The same wait every time.
    Fixed(#[serde(with = "duration::human")] Duration),
    /// `step`, `2 * step`, `3 * step`, … up to `max`.
    Linear {
        /// The first wait, and by how much each further one is longer.
        #[serde(with = "duration::human")]
        step: Duration,
        /// The longest wait.
        #[serde(with = "duration::human")]
        max: Duration,
    },
    /// Drawn evenly from zero to `base * 2^(failures - 1)`, that bound at most `max`.
    Exponential {
        /// The bound of the first wait.
        #[serde(with = "duration::human")]
        base: Duration,
        /// The largest bound.
        #[serde(with = "duration::human")]
        max: Duration,
    },
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::Exponential { base: Duration::from_secs(10), max: Duration::from_secs(3600) }
    }
}

impl Backoff {
    /// The wait after the `failures`-th failure (from 1). `chance` is in `[0, 1)` and only used by
    /// [`Backoff::Exponential`].
    pub fn delay(&self, failures: u32, chance: f64) -> Duration {
        let nth = failures.max(1);
        match self {
            Backoff::Steps(list) => {
                list.get(nth as usize - 1).or(list.last()).copied().unwrap_or(Duration::ZERO)
            }
            Backoff::Fixed(d) => *d,
            Backoff::Linear { step, max } => step.saturating_mul(nth).min(*max),
            Backoff::Exponential { base, max } => {
                let bound = base.saturating_mul(1u32.checked_shl(nth - 1).unwrap_or(u32::MAX)).min(*max);
                bound.mul_f64(chance.clamp(0.0, 1.0))
            }
        }
    }

    /// What is wrong with this back-off, if anything.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Backoff::Steps(list) if list.is_empty() => {
                Err("steps needs at least one duration, for example [\"5s\", \"10s\", \"15s\"]".into())
            }
            Backoff::Steps(list) if list.len() > 100 => Err("steps takes at most 100 durations".into()),
            Backoff::Linear { step, max } if step > max => Err("linear: step is longer than max".into()),
            Backoff::Exponential { base, max } if base > max => {
                Err("exponential: base is longer than max".into())
            }
            _ => Ok(()),
        }
    }
}

mod steps {
    use crate::duration;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub fn serialize<S: Serializer>(list: &[Duration], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(list.iter().map(|d| duration::format(*d)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Duration>, D::Error> {
        let list = Vec::<String>::deserialize(d)?;
        list.iter().map(|t| duration::parse(t).map_err(serde::de::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn each_kind_gives_its_delays() {
        let steps = Backoff::Steps(vec![s(5), s(10), s(15)]);
        assert_eq!([1, 2, 3, 9].map(|n| steps.delay(n, 0.5)), [s(5), s(10), s(15), s(15)]);
        assert_eq!(Backoff::Fixed(s(7)).delay(40, 0.1), s(7));
        let linear = Backoff::Linear { step: s(5), max: s(12) };
        assert_eq!([1, 2, 3].map(|n| linear.delay(n, 0.5)), [s(5), s(10), s(12)]);
        let exp = Backoff::Exponential { base: s(10), max: s(60) };
        assert_eq!([1, 2, 3, 4, 400].map(|n| exp.delay(n, 0.5)), [s(5), s(10), s(20), s(30), s(30)]);
        assert_eq!(exp.delay(3, 0.0), Duration::ZERO);
    }

    #[test]
    fn reads_and_writes_the_human_form() {
        let policy: RetryPolicy =
            serde_json::from_str(r#"{"max_attempts":4,"backoff":{"steps":["5s","10s","15s"]}}"#).unwrap();
        assert_eq!(policy.backoff, Backoff::Steps(vec![s(5), s(10), s(15)]));
        assert_eq!(serde_json::to_string(&policy.backoff).unwrap(), r#"{"steps":["5s","10s","15s"]}"#);
        assert!(serde_json::from_str::<RetryPolicy>(r#"{"max_atempts":4}"#).is_err());
    }
}
