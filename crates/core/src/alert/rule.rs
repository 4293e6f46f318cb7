//! The rule: what it looks for, in whom, how often, and how sure it wants to be.

use super::target::Target;
use crate::job::check_name;
use crate::{duration, limits};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a rule looks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "when", rename_all = "snake_case", deny_unknown_fields)]
pub enum Condition {
    /// Attempts failed with no success in between. Counted by whole minutes: a minute in which
    /// anything succeeded begins the count anew.
    Failures {
        /// Of whom.
        of: Target,
        /// How many.
        in_a_row: u32,
    },
    /// More than this share of the attempts of a stretch of time failed.
    FailureRate {
        /// Of whom.
        of: Target,
        /// Per cent.
        above: f64,
        /// The stretch: whole minutes.
        #[serde(with = "duration::human")]
        over: Duration,
        /// Attempts that must have ended for the share to say anything.
        #[serde(default = "twenty")]
        at_least: u64,
    },
    /// An attempt took longer than a limit (read from a histogram, at most a quarter off), or runs for
    /// longer already.
    Slow {
        /// Of whom.
        of: Target,
        /// The limit.
        #[serde(with = "duration::human")]
        longer_than: Duration,
    },
    /// An attempt took longer than what is usual for its like: so many robust deviations (median and
    /// median absolute deviation of the logarithm) above the median of what succeeded before; also while
    /// it runs.
    Unusual {
        /// Of whom.
        of: Target,
        /// Robust deviations; 3.5 is the textbook's.
        #[serde(default = "three_and_a_half")]
        deviations: f64,
        /// How far back "usual" reaches, up to the last full hour.
        #[serde(default = "week", with = "duration::human")]
        against: Duration,
        /// Attempts that make something usual.
        #[serde(default = "twenty")]
        at_least: u64,
        /// Shorter attempts are never unusual.
        #[serde(default = "second", with = "duration::human")]
        ignore_below: Duration,
    },
    /// A schedule did not start by then: its fire was missed, was not noticed, or its job waits.
    Late {
        /// The schedule; each one if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schedule: Option<String>,
        /// How late it may be.
        #[serde(with = "duration::human")]
        by: Duration,
    },
    /// A job outside did not ping in time (its heartbeat's period and grace say when that is).
    Silent {
        /// The heartbeat; each one if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        heartbeat: Option<String>,
    },
    /// The oldest job of a queue that could start has waited longer than this.
    Waiting {
        /// The queue; each one if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<String>,
        /// The limit.
        #[serde(with = "duration::human")]
        longer_than: Duration,
    },
    /// More jobs of a queue could start than this.
    Backlog {
        /// The queue; each one if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<String>,
        /// The limit.
        more_than: u64,
    },
    /// A node went silent without saying goodbye.
    NodeLost {
        /// The node's name; each one if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
    /// A metric is beyond a threshold.
    Metric {
        /// The series, as its pack names it.
        series: String,
        /// Breached above this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        above: Option<f64>,
        /// Breached below this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        below: Option<f64>,
        /// An older value says nothing.
        #[serde(default = "day", with = "duration::human")]
        no_older_than: Duration,
    },
}

fn twenty() -> u64 {
    20
}
fn three_and_a_half() -> f64 {
    3.5
}
fn second() -> Duration {
    Duration::from_secs(1)
}
fn minute() -> Duration {
    Duration::from_secs(60)
}
fn day() -> Duration {
    Duration::from_secs(86_400)
}
fn week() -> Duration {
    7 * day()
}
fn one() -> u32 {
    1
}

/// A rule as it is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// What it looks for.
    #[serde(flatten)]
    pub condition: Condition,
    /// Fires when so many …
    #[serde(default = "one")]
    pub breaches: u32,
    /// … of the last so many looks were breached; at most [`limits::ALERT_LOOKS`].
    #[serde(default = "one")]
    pub of_looks: u32,
    /// Looks this often: whole minutes.
    #[serde(default = "minute", with = "duration::human")]
    pub every: Duration,
    /// After it fired, the same does not fire again before this has passed.
    #[serde(default, with = "duration::human")]
    pub cool_down: Duration,
    /// One alert for all it is about, not one for each.
    #[serde(default)]
    pub together: bool,
}

type Wrong = (&'static str, String);

impl Rule {
    /// A rule with every default.
    pub fn new(condition: Condition) -> Rule {
        Rule {
            condition,
            breaches: 1,
            of_looks: 1,
            every: minute(),
            cool_down: Duration::ZERO,
            together: false,
        }
    }

    /// Whole minutes between two looks.
    pub fn step(&self) -> i64 {
        (self.every.as_secs() / 60).max(1) as i64
    }

    /// Whether it looks at this minute.
    pub fn looks_at(&self, look: i64) -> bool {
        look.rem_euclid(self.step()) == 0
    }

    /// What is wrong with it, as (field, text).
    pub fn check(&self) -> Result<(), Wrong> {
        minutes("every", self.every, day())?;
        if !(1..=limits::ALERT_LOOKS).contains(&self.of_looks) {
            return Err(("of_looks", format!("{} is not in 1 to {}", self.of_looks, limits::ALERT_LOOKS)));
        }
        if !(1..=self.of_looks).contains(&self.breaches) {
            let text = format!("{} is not in 1 to of_looks, which is {}", self.breaches, self.of_looks);
            return Err(("breaches", text));
        }
        if self.cool_down > 30 * day() {
            return Err(("cool_down", "is longer than 30d".into()));
        }
        self.condition.check()
    }

    /// The rule in words: `each schedule failed 3 times in a row, in 2 of 3 looks`.
    pub fn words(&self) -> String {
        let mut text = self.condition.words();
        if self.of_looks > 1 {
            let every = if self.every == minute() {
                String::new()
            } else {
                format!(", one every {}", duration::format(self.every))
            };
            text.push_str(&match self.breaches == self.of_looks {
                true => format!(", for {} looks{every}", self.of_looks),
                false => format!(", in {} of {} looks{every}", self.breaches, self.of_looks),
            });
        }
        text
    }
}

fn minutes(field: &'static str, d: Duration, most: Duration) -> Result<(), Wrong> {
    if d.is_zero() || d.subsec_nanos() != 0 || !d.as_secs().is_multiple_of(60) {
        return Err((field, format!("{} is not whole minutes; write for example 5m", duration::format(d))));
    }
    if d > most {
        return Err((field, format!("{} is longer than {}", duration::format(d), duration::format(most))));
    }
    Ok(())
}

fn named(field: &'static str, name: &Option<String>) -> Result<(), Wrong> {
    name.as_deref().map_or(Ok(()), check_name).map_err(|text| (field, text))
}

fn positive(field: &'static str, d: Duration) -> Result<(), Wrong> {
    match d.is_zero() || d > 366 * day() {
        true => Err((field, "must be longer than nothing and at most 366d".into())),
        false => Ok(()),
    }
}

fn between(field: &'static str, x: f64, low: f64, high: f64) -> Result<(), Wrong> {
    // What is no number is in no range.
    match x >= low && x <= high {
        true => Ok(()),
        false => Err((field, format!("{x} is not in {low} to {high}"))),
    }
}

impl Condition {
    /// The word its JSON says after `when`.
    pub fn word(&self) -> &'static str {
        match self {
            Condition::Failures { .. } => "failures",
            Condition::FailureRate { .. } => "failure_rate",
            Condition::Slow { .. } => "slow",
            Condition::Unusual { .. } => "unusual",
            Condition::Late { .. } => "late",
            Condition::Silent { .. } => "silent",
            Condition::Waiting { .. } => "waiting",
            Condition::Backlog { .. } => "backlog",
            Condition::NodeLost { .. } => "node_lost",
            Condition::Metric { .. } => "metric",
        }
    }

    /// Whether nothing seen means that nothing changed (a failure stays one until a success), not
    /// that all is well.
    pub fn holds_while_unseen(&self) -> bool {
        !matches!(self, Condition::FailureRate { .. })
    }

    fn check(&self) -> Result<(), Wrong> {
        match self {
            Condition::Failures { in_a_row, .. } => match in_a_row {
                1..=1000 => Ok(()),
                n => Err(("in_a_row", format!("{n} is not in 1 to 1000"))),
            },
            Condition::FailureRate { above, over, at_least, .. } => {
                between("above", *above, 0.0, 100.0)?;
                minutes("over", *over, week())?;
                between("at_least", *at_least as f64, 1.0, 1e9)
            }
            Condition::Slow { longer_than, .. } => positive("longer_than", *longer_than),
            Condition::Unusual { deviations, against, at_least, ignore_below, .. } => {
                between("deviations", *deviations, 1.0, 1000.0)?;
                between("at_least", *at_least as f64, 5.0, 1e9)?;
                if *ignore_below > day() {
                    return Err(("ignore_below", "is longer than 1d".into()));
                }
                let hours = against.as_secs().is_multiple_of(3600) && *against <= 90 * day();
                match hours && !against.is_zero() {
                    true => Ok(()),
                    false => Err(("against", "must be whole hours, at most 90d".into())),
                }
            }
            Condition::Late { schedule, by } => {
                named("schedule", schedule)?;
                if *by < minute() {
                    return Err(("by", "must be at least 1m: rules look once a minute".into()));
                }
                positive("by", *by)
            }
            Condition::Silent { heartbeat } => named("heartbeat", heartbeat),
            Condition::Waiting { queue, longer_than } => {
                named("queue", queue)?;
                positive("longer_than", *longer_than)
            }
            Condition::Backlog { queue, .. } => named("queue", queue),
            Condition::NodeLost { node } => named("node", node),
            Condition::Metric { series, above, below, no_older_than } => {
                check_name(series).map_err(|text| ("series", text))?;
                positive("no_older_than", *no_older_than)?;
                for (field, bound) in [("above", above), ("below", below)] {
                    if bound.is_some_and(|x| !x.is_finite()) {
                        return Err((field, "is not a number".into()));
                    }
                }
                match (above, below) {
                    (None, None) => Err(("above", "say above what or below what".into())),
                    _ => Ok(()),
                }
            }
        }
    }

    /// In words, without a full stop.
    pub fn words(&self) -> String {
        let one = |what: &str, name: &Option<String>| match name {
            Some(name) => format!("the {what} {name}"),
            None => format!("any {what}"),
        };
        let d = |d: &Duration| duration::format(*d);
        match self {
            Condition::Failures { of, in_a_row: 1 } => format!("{} failed", of.words()),
            Condition::Failures { of, in_a_row } => {
                format!("{} failed {in_a_row} times in a row", of.words())
            }
            Condition::FailureRate { of, above, over, at_least } => format!(
                "more than {above} % of at least {at_least} attempts of {} failed within {}",
                of.words(),
                d(over)
            ),
            Condition::Slow { of, longer_than } => {
                format!("an attempt of {} took longer than {}", of.words(), d(longer_than))
            }
            Condition::Unusual { of, deviations, against, ignore_below, .. } => format!(
                "an attempt of {} took unusually long: {deviations} deviations above the last {}, and more than {}",
                of.words(),
                d(against),
                d(ignore_below)
            ),
            Condition::Late { schedule, by } => {
                format!("{} did not start within {} of its time", one("schedule", schedule), d(by))
            }
            Condition::Silent { heartbeat } => {
                format!("{} did not ping in time", one("heartbeat", heartbeat))
            }
            Condition::Waiting { queue, longer_than } => {
                format!("a job waits longer than {} in {}", d(longer_than), one("queue", queue))
            }
            Condition::Backlog { queue, more_than } => {
                format!("more than {more_than} jobs wait in {}", one("queue", queue))
            }
            Condition::NodeLost { node } => format!("{} went silent", one("node", node)),
            Condition::Metric { series, above, below, .. } => match (above, below) {
                (Some(a), Some(b)) => format!("{series} is above {a} or below {b}"),
                (Some(a), None) => format!("{series} is above {a}"),
                (_, b) => format!("{series} is below {}", b.unwrap_or_default()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Over;

    fn rule(json: serde_json::Value) -> Rule {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_rule_reads_as_it_is_written_and_speaks_in_words() {
        let rows = [
            (
                serde_json::json!({"when": "failures", "of": "schedules", "in_a_row": 3}),
                "each schedule failed 3 times in a row",
            ),
            (
                serde_json::json!({"when": "failure_rate", "of": "kind/mail", "above": 5.0, "over": "30m",
                    "breaches": 2, "of_looks": 3}),
                "more than 5 % of at least 20 attempts of the kind mail failed within 30m, in 2 of 3 looks",
            ),
            (
                serde_json::json!({"when": "late", "by": "10m"}),
                "any schedule did not start within 10m of its time",
            ),
            (
                serde_json::json!({"when": "metric", "series": "leads.new", "below": 3.0, "of_looks": 5,
                    "breaches": 5, "every": "1h"}),
                "leads.new is below 3, for 5 looks, one every 1h",
            ),
        ];
        for (json, words) in rows {
            let read = rule(json);
            read.check().unwrap();
            assert_eq!(read.words(), words);
            assert_eq!(rule(serde_json::to_value(&read).unwrap()), read);
        }
    }

    #[test]
    fn what_cannot_be_judged_is_refused_by_name() {
        let base = || Rule::new(Condition::Late { schedule: None, by: minute() });
        let field = |r: &Rule| r.check().unwrap_err().0;
        assert_eq!(field(&Rule { every: Duration::from_secs(90), ..base() }), "every");
        assert_eq!(field(&Rule { breaches: 2, ..base() }), "breaches");
        assert_eq!(field(&Rule { of_looks: 61, ..base() }), "of_looks");
        assert_eq!(field(&Rule::new(Condition::Late { schedule: None, by: second() })), "by");
        let metric = |above, below| {
            Rule::new(Condition::Metric { series: "x".into(), above, below, no_older_than: day() })
        };
        assert_eq!(field(&metric(None, None)), "above");
        assert_eq!(field(&metric(None, Some(f64::NAN))), "below");
        let of = Target::each(Over::Kinds);
        let rate = Condition::FailureRate { of, above: 101.0, over: minute(), at_least: 1 };
        assert_eq!(field(&Rule::new(rate)), "above");
        for wrong in ["", "schedule", "schedule/", "pack/x", "kinds/x", "queue/*"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
        let unknown = serde_json::json!({"when": "late", "by": "10m", "until": "x"});
        assert!(serde_json::from_value::<Rule>(unknown).is_err());
    }
}
