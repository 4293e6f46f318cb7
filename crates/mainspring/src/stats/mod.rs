//! How things go: totals, rates, durations and health, from the figures the stores keep beside every
//! change. The arithmetic is pure; [`gather`] reads the figures and names the things they are about.

mod gather;

pub use gather::{ScopeStats, Slow, Stats, Stuck, StuckWhy, gather};

use mainspring_core::job::AttemptOutcome;
use mainspring_core::reader::RollupRow;
use mainspring_core::tally::{Recent, bucket_top, counts_for_health};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Attempts summed up. Durations are of those that say something about what ran: succeeded, partial,
/// failed, timed out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Attempts, however they ended.
    pub total: u64,
    /// Attempts by how they ended.
    pub outcomes: BTreeMap<AttemptOutcome, u64>,
    /// Of those that count for health, the share that succeeded (partly counts); None without any.
    pub success_rate: Option<f64>,
    /// The mean duration.
    #[serde(serialize_with = "millis")]
    pub mean: Option<Duration>,
    /// Half were not slower; read from a histogram, at most 25 % too high. The same for the others.
    #[serde(serialize_with = "millis")]
    pub p50: Option<Duration>,
    /// 95 in 100 were not slower.
    #[serde(serialize_with = "millis")]
    pub p95: Option<Duration>,
    /// 99 in 100 were not slower.
    #[serde(serialize_with = "millis")]
    pub p99: Option<Duration>,
}

/// A duration as milliseconds with fractions, or null: what charts and scripts want.
fn millis<S: serde::Serializer>(d: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
    match d {
        Some(d) => s.serialize_some(&(d.as_secs_f64() * 1000.0)),
        None => s.serialize_none(),
    }
}

impl Figures {
    /// Sums up roll-ups, whatever their names and times.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a RollupRow>) -> Figures {
        let mut figures = Figures::default();
        let mut histogram: BTreeMap<i16, u64> = BTreeMap::new();
        let (mut timed, mut total_us) = (0u64, 0u64);
        for row in rows {
            figures.total += row.sum.count;
            *figures.outcomes.entry(row.outcome).or_default() += row.sum.count;
            if counts_for_health(row.outcome) {
                timed += row.sum.count;
                total_us += row.sum.total_us;
                *histogram.entry(row.bucket).or_default() += row.sum.count;
            }
        }
        if let Some(mean) = total_us.checked_div(timed) {
            let (good, bad) = figures.good_and_bad();
            figures.success_rate = Some(good as f64 / (good + bad) as f64);
            figures.mean = Some(Duration::from_micros(mean));
            figures.p50 = percentile(&histogram, timed, 50);
            figures.p95 = percentile(&histogram, timed, 95);
            figures.p99 = percentile(&histogram, timed, 99);
        }
        figures
    }

    /// Sums up roll-ups by their name.
    pub fn by_name(rows: &[RollupRow]) -> BTreeMap<String, Figures> {
        let mut names: BTreeMap<&str, Vec<&RollupRow>> = BTreeMap::new();
        for row in rows {
            names.entry(&row.name).or_default().push(row);
        }
        names.into_iter().map(|(name, rows)| (name.to_owned(), Figures::of(rows))).collect()
    }

    /// (succeeded or partial, failed or timed out).
    pub fn good_and_bad(&self) -> (u64, u64) {
        let n = |outcome| self.outcomes.get(&outcome).copied().unwrap_or(0);
        use AttemptOutcome as A;
        (n(A::Succeeded) + n(A::Partial), n(A::Failed) + n(A::TimedOut))
    }
}

/// The duration that `percent` in 100 of `total` did not exceed (nearest rank).
fn percentile(histogram: &BTreeMap<i16, u64>, total: u64, percent: u64) -> Option<Duration> {
    let rank = (total * percent).div_ceil(100).max(1);
    let mut seen = 0;
    for (bucket, count) in histogram {
        seen += count;
        if seen >= rank {
            return Some(bucket_top(*bucket));
        }
    }
    None
}

/// How something does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// Nothing finished yet.
    Unknown,
    /// All is well.
    Healthy,
    /// Somebody should look.
    Degraded,
    /// It does not work.
    Unhealthy,
}

impl std::fmt::Display for HealthState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            HealthState::Unknown => "unknown",
            HealthState::Healthy => "healthy",
            HealthState::Degraded => "degraded",
            HealthState::Unhealthy => "unhealthy",
        })
    }
}

/// How something does, and why one thinks so.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Health {
    /// In one word.
    pub state: HealthState,
    /// What speaks against it, worst first; empty when healthy.
    pub reasons: Vec<String>,
    /// The success rate that was judged.
    pub rate: Option<f64>,
}

/// Judges by the last outcomes and by the (good, bad) of the last seven days.
///
/// Unhealthy: fewer than 70 % succeeded, or the last three all failed. Degraded: 90 % or fewer, or
/// any of the last five failed. The rate is over the last 50 or seven days, whichever holds more.
pub fn health(recent: &Recent, week: (u64, u64)) -> Health {
    let failed = |o: &AttemptOutcome| matches!(o, AttemptOutcome::Failed | AttemptOutcome::TimedOut);
    let last: Vec<bool> =
        recent.0.iter().filter(|(_, o)| counts_for_health(*o)).map(|(_, o)| failed(o)).collect();
    let n = last.len() as u64;
    let bad = last.iter().filter(|f| **f).count() as u64;
    let (good, bad, over) = if week.0 + week.1 > n {
        (week.0, week.1, "in 7 days".to_owned())
    } else {
        (n - bad, bad, format!("of the last {n}"))
    };
    if good + bad == 0 {
        return Health {
            state: HealthState::Unknown,
            reasons: vec!["nothing has finished yet".into()],
            rate: None,
        };
    }
    let rate = good as f64 / (good + bad) as f64;
    let newest: Vec<bool> = last.iter().rev().copied().take(5).collect();
    let mut state = HealthState::Healthy;
    let mut reasons = Vec::new();
    let mut found = |worse: HealthState, why: String| {
        state = state.max(worse);
        reasons.push(why);
    };
    // Compared as integers: 9 of 10 is exactly 90 %.
    let share = |percent: u64| 100 * good < percent * (good + bad);
    if newest.len() >= 3 && newest[..3].iter().all(|f| *f) {
        found(HealthState::Unhealthy, "the last 3 all failed".into());
    } else if newest.iter().any(|f| *f) {
        let failures = newest.iter().filter(|f| **f).count();
        let latest = if newest[0] { ", the latest too" } else { "" };
        found(HealthState::Degraded, format!("{failures} of the last {} failed{latest}", newest.len()));
    }
    if share(70) {
        found(HealthState::Unhealthy, format!("{:.1} % succeeded {over}, less than 70 %", rate * 100.0));
    } else if 100 * good <= 90 * (good + bad) {
        found(HealthState::Degraded, format!("{:.1} % succeeded {over}, not more than 90 %", rate * 100.0));
    }
    Health { state, reasons, rate: Some(rate) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainspring_core::tally::{RollupSum, bucket};

    fn recent(marks: &str) -> Recent {
        let outcome = |c| match c {
            's' => AttemptOutcome::Succeeded,
            'p' => AttemptOutcome::Partial,
            'f' => AttemptOutcome::Failed,
            't' => AttemptOutcome::TimedOut,
            other => panic!("{other}"),
        };
        Recent(marks.chars().enumerate().map(|(i, c)| (i as i64, outcome(c))).collect())
    }

    fn judged(marks: &str, week: (u64, u64)) -> HealthState {
        health(&recent(marks), week).state
    }

    #[test]
    fn health_follows_the_rule_at_its_edges() {
        use HealthState as H;
        let ok = "s".repeat(50);
        for (marks, week, want) in [
            ("", (0, 0), H::Unknown),
            ("s", (1, 0), H::Healthy),
            ("f", (0, 1), H::Unhealthy),
            ("sf", (1, 1), H::Unhealthy),
            ("pppps", (5, 0), H::Healthy),
            // One failure of eleven is 90.9 %: it counts while it is among the last five.
            ("ssssssfssss", (10, 1), H::Degraded),
            ("sssssfsssss", (10, 1), H::Healthy),
            // 9 of 10 is not more than 90 %.
            ("sfssssssss", (9, 1), H::Degraded),
            // 7 of 10 is not less than 70 %.
            ("fffsssssss", (7, 3), H::Degraded),
            ("ffffssssss", (6, 4), H::Unhealthy),
            ("ssssssssssssssssssssttt", (20, 3), H::Unhealthy),
            // A week that holds more than the last 50 decides the rate.
            (&ok, (69, 31), H::Unhealthy),
            (&ok, (950, 50), H::Healthy),
        ] {
            assert_eq!(judged(marks, week), want, "{marks} {week:?}: {:?}", health(&recent(marks), week));
        }
    }

    #[test]
    fn reasons_say_what_was_seen() {
        let h = health(&recent("ssssssssf"), (8, 1));
        assert_eq!(h.reasons[0], "1 of the last 5 failed, the latest too");
        assert_eq!(h.reasons[1], "88.9 % succeeded of the last 9, not more than 90 %");
        assert!(health(&recent("ssssss"), (6, 0)).reasons.is_empty());
    }

    #[test]
    fn figures_add_up_and_percentiles_are_near() {
        let row = |name: &str, outcome, ms: u64, count| RollupRow {
            name: name.into(),
            minute: 0,
            outcome,
            bucket: bucket(Duration::from_millis(ms)),
            sum: RollupSum { count, total_us: ms * 1000 * count },
        };
        use AttemptOutcome as A;
        let rows = [
            row("a", A::Succeeded, 10, 98),
            row("a", A::Failed, 1000, 2),
            row("a", A::Skipped, 1, 5),
            row("b", A::Skipped, 1, 5),
        ];
        let by_name = Figures::by_name(&rows);
        let a = &by_name["a"];
        assert_eq!((a.total, a.success_rate), (105, Some(0.98)));
        assert_eq!(a.mean, Some(Duration::from_micros((98 * 10_000 + 2 * 1_000_000) / 100)));
        let near = |d: Option<Duration>, ms: u64| {
            let d = d.expect("there is one").as_secs_f64() * 1000.0;
            assert!(d >= ms as f64 && d <= ms as f64 * 1.25, "{d} is not near {ms}");
        };
        near(a.p50, 10);
        near(a.p95, 10);
        near(a.p99, 1000);
        assert_eq!((by_name["b"].total, by_name["b"].success_rate, by_name["b"].p50), (5, None, None));
    }
}
