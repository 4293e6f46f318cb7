//! What a rule sees at one look: for each subject a value, and whether it is beyond what the rule
//! allows.

use super::judge::RuleState;
use super::rule::{Condition, Rule};
use super::target::{Over, Target};
use crate::job::AttemptOutcome;
use crate::reader::RollupRow;
use crate::tally::{bucket, bucket_top, counts_for_health};
use crate::{limits, time};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// The series the engine keeps, by what stands before the colon:
///
/// | Family | Value |
/// |---|---|
/// | `queue.waiting` | jobs of the queue that could start |
/// | `queue.oldest` | since when the oldest of them could, in seconds since the epoch; 0 without one |
/// | `schedule.late` | since when the schedule is late, in seconds since the epoch; 0 when it is not |
/// | `node.lost` | 1 while a node of this name is lost, else 0 |
/// | `heartbeat.due` | until when the next ping must come, in seconds since the epoch |
/// | `running.schedule`, `.kind`, `.queue`, `.all` | since when the longest open attempt runs, in seconds since the epoch; 0 when none runs for long |
/// | `metric` | what a pack measured |
pub const FAMILIES: &[&str] = &[
    "queue.waiting",
    "queue.oldest",
    "schedule.late",
    "node.lost",
    "heartbeat.due",
    "running.schedule",
    "running.kind",
    "running.queue",
    "running.all",
    "metric",
];

/// Attempts of a stretch of whole minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// What they are grouped by.
    pub over: Over,
    /// First minute since the epoch.
    pub from: i64,
    /// The minute after the last.
    pub until: i64,
    /// Whether minutes are kept apart.
    pub by_minute: bool,
}

/// A value of a series and since when it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Since when.
    pub at: Timestamp,
    /// The value.
    pub value: f64,
}

/// What a look can see of the past. Live it is what was read for this look, in a backtest all of
/// history.
pub trait Past {
    /// The attempts of a window ([`windows`] names those that a rule needs), in any order; schedules
    /// by their names.
    fn attempts(&self, window: Window) -> Vec<RollupRow>;

    /// Of every series of a family: what stands after the colon, and its newest point at or before
    /// `at`.
    fn points(&self, family: &str, at: Timestamp) -> Vec<(String, Point)>;
}

/// What a look saw of one subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Whom it is about; empty when it is everything together.
    pub subject: String,
    /// What was seen: failures in a row, per cent, seconds, deviations, jobs, the metric.
    pub value: f64,
    /// Whether it is beyond what the rule allows.
    pub breached: bool,
}

/// The windows of attempts that a rule needs for a look.
pub fn windows(rule: &Rule, look: i64) -> Vec<Window> {
    let new = |of: &Target| Window { over: of.over, from: look - rule.step(), until: look, by_minute: false };
    match &rule.condition {
        Condition::Failures { of, .. } => vec![Window { by_minute: true, ..new(of) }],
        Condition::FailureRate { of, over, .. } => {
            vec![Window { from: look - (over.as_secs() / 60) as i64, ..new(of) }]
        }
        Condition::Slow { of, .. } => vec![new(of)],
        Condition::Unusual { of, against, .. } => {
            let hour = look.div_euclid(60) * 60;
            let usual = Window { from: hour - (against.as_secs() / 60) as i64, until: hour, ..new(of) };
            vec![new(of), usual]
        }
        _ => vec![],
    }
}

/// The family of series that a rule looks at, if it looks at one.
pub fn family(condition: &Condition) -> Option<&'static str> {
    Some(match condition {
        Condition::Late { .. } => "schedule.late",
        Condition::Silent { .. } => "heartbeat.due",
        Condition::Waiting { .. } => "queue.oldest",
        Condition::Backlog { .. } => "queue.waiting",
        Condition::NodeLost { .. } => "node.lost",
        Condition::Metric { .. } => "metric",
        Condition::Slow { of, .. } | Condition::Unusual { of, .. } => running_family(of.over),
        _ => return None,
    })
}

/// The family of the open attempts of each.
pub fn running_family(over: Over) -> &'static str {
    match over {
        Over::Schedules => "running.schedule",
        Over::Kinds => "running.kind",
        Over::Queues => "running.queue",
        Over::Everything => "running.all",
    }
}

/// What the rule sees at `look`, a minute since the epoch: all that was complete by its beginning.
/// At most [`limits::ALERT_SUBJECTS`] subjects.
pub fn read(rule: &Rule, past: &impl Past, state: &RuleState, look: i64) -> Vec<Reading> {
    let windows = windows(rule, look);
    let mut found = match (&rule.condition, windows.as_slice()) {
        (Condition::Failures { of, in_a_row }, [now]) => {
            failures(of, past.attempts(*now), state, f64::from(*in_a_row))
        }
        (Condition::FailureRate { of, above, at_least, .. }, [now]) => {
            rates(of, past.attempts(*now), *above, *at_least)
        }
        (Condition::Slow { of, longer_than }, [now]) => {
            let limit = bucket(*longer_than);
            let ended = slowest(of, &past.attempts(*now)).into_iter().map(|(subject, b)| Reading {
                subject,
                value: bucket_top(b).as_secs_f64(),
                breached: b > limit,
            });
            let open = running(of, past, look).into_iter().filter(|(_, runs)| runs > longer_than);
            let open =
                open.map(|(subject, runs)| Reading { subject, value: runs.as_secs_f64(), breached: true });
            worst(ended, open)
        }
        (Condition::Unusual { of, deviations, at_least, ignore_below, .. }, [now, usual]) => {
            // A baseline is only worth its price when something ended, or runs for long.
            let slowest = slowest(of, &past.attempts(*now));
            let open = running(of, past, look);
            match slowest.is_empty() && open.is_empty() {
                true => vec![],
                false => {
                    let before = baselines(&past.attempts(*usual), *at_least);
                    let short = bucket(*ignore_below);
                    let open = open.into_iter().map(|(subject, runs)| (subject, bucket(runs))).collect();
                    let open = unusual(open, &before, *deviations, short).into_iter().filter(|r| r.breached);
                    worst(unusual(slowest, &before, *deviations, short).into_iter(), open)
                }
            }
        }
        (condition, _) => series(condition, past, look),
    };
    found.truncate(limits::ALERT_SUBJECTS);
    found
}

fn meant<'a>(of: &'a Target, rows: &'a [RollupRow]) -> impl Iterator<Item = &'a RollupRow> {
    rows.iter().filter(|r| of.is(&r.name) && counts_for_health(r.outcome))
}

fn is_bad(outcome: AttemptOutcome) -> bool {
    matches!(outcome, AttemptOutcome::Failed | AttemptOutcome::TimedOut)
}

fn failures(of: &Target, rows: Vec<RollupRow>, state: &RuleState, limit: f64) -> Vec<Reading> {
    // By subject and minute: (succeeded, failed).
    let mut minutes: BTreeMap<&str, BTreeMap<i64, (u64, u64)>> = BTreeMap::new();
    for row in meant(of, &rows) {
        let sum = minutes.entry(&row.name).or_default().entry(row.minute).or_default();
        if is_bad(row.outcome) { sum.1 += row.sum.count } else { sum.0 += row.sum.count }
    }
    let reading = |(subject, minutes): (&str, BTreeMap<i64, (u64, u64)>)| {
        let mut value = state.subjects.get(subject).map_or(0.0, |s| s.value);
        for (good, bad) in minutes.into_values() {
            value = if good > 0 { 0.0 } else { value + bad as f64 };
        }
        Reading { subject: subject.to_owned(), value, breached: value >= limit }
    };
    minutes.into_iter().map(reading).collect()
}

fn rates(of: &Target, rows: Vec<RollupRow>, above: f64, at_least: u64) -> Vec<Reading> {
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for row in meant(of, &rows) {
        let sum = sums.entry(&row.name).or_default();
        sum.0 += row.sum.count;
        sum.1 += if is_bad(row.outcome) { row.sum.count } else { 0 };
    }
    let reading = |(subject, (all, bad)): (&str, (u64, u64))| {
        let value = bad as f64 * 100.0 / all as f64;
        Reading { subject: subject.to_owned(), value, breached: all >= at_least && value > above }
    };
    sums.into_iter().map(reading).collect()
}

/// How long the longest open attempt of each runs. That one is not slow yet says nothing: it may become
/// so, and nobody is well because of it.
fn running(of: &Target, past: &impl Past, look: i64) -> BTreeMap<String, Duration> {
    let at = time::from_micros(look * time::MINUTE);
    let points = past.points(running_family(of.over), at).into_iter();
    let open = points.filter(|(name, point)| point.value > 0.0 && of.is(name));
    let runs = |since: f64| time::since(time::from_micros(since as i64 * time::SECOND), at);
    open.map(|(name, point)| (name, runs(point.value))).collect()
}

/// What ended and what is open, the worse of each subject.
fn worst(ended: impl Iterator<Item = Reading>, open: impl Iterator<Item = Reading>) -> Vec<Reading> {
    let mut found: BTreeMap<String, Reading> = ended.map(|r| (r.subject.clone(), r)).collect();
    for reading in open {
        match found.get(&reading.subject) {
            Some(known) if known.breached && known.value >= reading.value => {}
            _ => drop(found.insert(reading.subject.clone(), reading)),
        }
    }
    found.into_values().collect()
}

/// The bucket of the slowest attempt of each.
fn slowest(of: &Target, rows: &[RollupRow]) -> BTreeMap<String, i16> {
    let mut found: BTreeMap<String, i16> = BTreeMap::new();
    for row in meant(of, rows) {
        let most = found.entry(row.name.clone()).or_insert(row.bucket);
        *most = row.bucket.max(*most);
    }
    found
}

/// Median and median absolute deviation of the buckets of what succeeded, where that is enough.
/// Buckets are a logarithm, four to the octave; durations spread evenly on that scale.
fn baselines(rows: &[RollupRow], at_least: u64) -> BTreeMap<String, (f64, f64)> {
    let mut counts: BTreeMap<&str, BTreeMap<i64, u64>> = BTreeMap::new();
    for row in rows.iter().filter(|r| r.outcome == AttemptOutcome::Succeeded) {
        *counts.entry(&row.name).or_default().entry(i64::from(row.bucket)).or_default() += row.sum.count;
    }
    let enough = counts.into_iter().filter(|(_, c)| c.values().sum::<u64>() >= at_least);
    let described = enough.map(|(name, counts)| {
        let median = median(&counts);
        let mut apart: BTreeMap<i64, u64> = BTreeMap::new();
        for (bucket, n) in &counts {
            *apart.entry((bucket - median).abs()).or_default() += n;
        }
        (name.to_owned(), (median as f64, self::median(&apart) as f64))
    });
    described.collect()
}

/// The value that half of all do not exceed (nearest rank).
fn median(counts: &BTreeMap<i64, u64>) -> i64 {
    let rank = counts.values().sum::<u64>().div_ceil(2).max(1);
    let mut seen = 0;
    for (value, n) in counts {
        seen += n;
        if seen >= rank {
            return *value;
        }
    }
    0
}

fn unusual(
    slowest: BTreeMap<String, i16>,
    before: &BTreeMap<String, (f64, f64)>,
    deviations: f64,
    short: i16,
) -> Vec<Reading> {
    let reading = |(subject, b): (String, i16)| {
        let (median, mad) = before.get(&subject)?;
        // 0.6745 makes the median absolute deviation of a normal distribution its standard deviation
        // (Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993). Where nearly all take the
        // same time the width of a bucket is all that can be told apart.
        let value = 0.6745 * (f64::from(b) - median) / mad.max(1.0);
        Some(Reading { subject, value, breached: value > deviations && b > short })
    };
    slowest.into_iter().filter_map(reading).collect()
}

fn series(condition: &Condition, past: &impl Past, look: i64) -> Vec<Reading> {
    let Some(family) = family(condition) else { return vec![] };
    let at = time::from_micros(look * time::MINUTE);
    let now = time::micros(at) as f64 / time::SECOND as f64;
    let one = match condition {
        Condition::Late { schedule: name, .. }
        | Condition::Silent { heartbeat: name }
        | Condition::Waiting { queue: name, .. }
        | Condition::Backlog { queue: name, .. }
        | Condition::NodeLost { node: name } => name.as_deref(),
        Condition::Metric { series, .. } => Some(series.as_str()),
        _ => None,
    };
    // Seconds since an instant that is 0 when there is none.
    let age = |since: f64| if since > 0.0 { (now - since).max(0.0) } else { 0.0 };
    let reading = |(subject, point): (String, Point)| {
        let (value, breached) = match condition {
            Condition::Late { by, .. } => {
                let late = age(point.value);
                (late, point.value > 0.0 && late >= by.as_secs_f64())
            }
            Condition::Waiting { longer_than, .. } => {
                let waits = age(point.value);
                (waits, waits > longer_than.as_secs_f64())
            }
            // Due at 0: it is not watched (paused, deleted).
            Condition::Silent { .. } => (age(point.value), point.value > 0.0 && now > point.value),
            Condition::Backlog { more_than, .. } => (point.value, point.value > *more_than as f64),
            Condition::Metric { above, below, no_older_than, .. } => {
                if time::since(point.at, at) > *no_older_than {
                    return None;
                }
                let beyond = above.is_some_and(|a| point.value > a) || below.is_some_and(|b| point.value < b);
                (point.value, beyond)
            }
            _ => (point.value, point.value > 0.0),
        };
        Some(Reading { subject, value, breached })
    };
    past.points(family, at)
        .into_iter()
        .filter(|(subject, _)| one.is_none_or(|name| name == subject))
        .filter_map(reading)
        .collect()
}
