//! Backtest: the same reading and the same judge, look by look, over history.

use super::judge::{Change, RuleState, judge};
use super::reading::{Past, Point, Window, read};
use super::rule::Rule;
use super::target::Over;
use crate::job::AttemptOutcome;
use crate::reader::RollupRow;
use crate::tally::RollupSum;
use crate::time;
use jiff::Timestamp;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// One stretch in which an alert would have fired.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Whom it is about; empty when it stands for all.
    pub subject: String,
    /// The look at which it fired.
    pub from: Timestamp,
    /// The look at which it was over; None while it still fires at the end.
    pub until: Option<Timestamp>,
    /// What was seen when it fired, the worst first.
    pub breached: Vec<(String, f64)>,
}

/// All of history that a rule may ask for.
#[derive(Debug, Default)]
pub struct History {
    /// Of one grouping, ordered by minute.
    rows: Vec<RollupRow>,
    over: Option<Over>,
    /// By family, then by what stands after the colon, ordered by time.
    series: BTreeMap<String, BTreeMap<String, Vec<Point>>>,
    /// The last windows that were summed: a baseline is asked for sixty times.
    summed: RefCell<Vec<(Window, Vec<RollupRow>)>>,
}

impl History {
    /// Attempts grouped by `over` with their minutes (or hours, where only those are left).
    pub fn attempts_of(mut self, over: Over, mut rows: Vec<RollupRow>) -> History {
        rows.sort_by_key(|r| r.minute);
        (self.rows, self.over) = (rows, Some(over));
        self
    }

    /// Points of a series of a family.
    pub fn series_of(mut self, family: &str, name: &str, mut points: Vec<Point>) -> History {
        points.sort_by_key(|p| p.at);
        self.series.entry(family.to_owned()).or_default().insert(name.to_owned(), points);
        self
    }

    fn sum(&self, window: Window) -> Vec<RollupRow> {
        let begin = self.rows.partition_point(|r| r.minute < window.from);
        let end = self.rows.partition_point(|r| r.minute < window.until);
        let rows = self.rows.get(begin..end).unwrap_or_default();
        let mut sums: BTreeMap<(&str, i64, AttemptOutcome, i16), RollupSum> = BTreeMap::new();
        for row in rows {
            let minute = if window.by_minute { row.minute } else { 0 };
            let sum = sums.entry((&row.name, minute, row.outcome, row.bucket)).or_default();
            sum.count += row.sum.count;
            sum.total_us += row.sum.total_us;
        }
        let row = |((name, minute, outcome, bucket), sum): ((&str, _, _, _), _)| RollupRow {
            name: name.to_owned(),
            minute,
            outcome,
            bucket,
            sum,
        };
        sums.into_iter().map(row).collect()
    }
}

impl Past for History {
    fn attempts(&self, window: Window) -> Vec<RollupRow> {
        if self.over != Some(window.over) {
            return vec![];
        }
        // Short windows move on with every look; only long ones are asked for again.
        if window.until - window.from < 60 {
            return self.sum(window);
        }
        let mut summed = self.summed.borrow_mut();
        if let Some((_, rows)) = summed.iter().find(|(known, _)| *known == window) {
            return rows.clone();
        }
        let rows = self.sum(window);
        if summed.len() >= 2 {
            summed.remove(0);
        }
        summed.push((window, rows.clone()));
        rows
    }

    fn points(&self, family: &str, at: Timestamp) -> Vec<(String, Point)> {
        let newest = |(name, points): (&String, &Vec<Point>)| {
            let n = points.partition_point(|p| p.at <= at);
            Some((name.clone(), *points.get(n.checked_sub(1)?)?))
        };
        self.series.get(family).into_iter().flatten().filter_map(newest).collect()
    }
}

/// What a rule that had begun to look after `from` would have done until `until`, both looks (whole
/// minutes since the epoch), in the order in which it fired.
pub fn replay(rule: &Rule, past: &impl Past, from: i64, until: i64) -> Vec<Episode> {
    let step = rule.step();
    let mut state = RuleState::default();
    let mut episodes: Vec<Episode> = Vec::new();
    let mut look = (from.div_euclid(step) + 1) * step;
    while look <= until {
        let readings = read(rule, past, &state, look);
        let at = time::from_micros(look * time::MINUTE);
        for change in judge(rule, &mut state, &readings, look) {
            match change {
                Change::Fired { subject, mut breached } => {
                    breached.sort_by(|a, b| b.1.total_cmp(&a.1));
                    episodes.push(Episode { subject, from: at, until: None, breached });
                }
                Change::Recovered { subject } => {
                    let open = episodes.iter_mut().rev().find(|e| e.until.is_none() && e.subject == subject);
                    if let Some(open) = open {
                        open.until = Some(at);
                    }
                }
            }
        }
        look += step;
    }
    episodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Condition, Target};
    use crate::tally::bucket;
    use proptest::prelude::*;
    use std::time::Duration;

    const M: u64 = 60;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn row(name: &str, minute: i64, outcome: AttemptOutcome, ms: u64, count: u64) -> RollupRow {
        let sum = RollupSum { count, total_us: count * ms * 1000 };
        RollupRow { name: name.into(), minute, outcome, bucket: bucket(Duration::from_millis(ms)), sum }
    }

    fn good(name: &str, minute: i64, count: u64) -> RollupRow {
        row(name, minute, AttemptOutcome::Succeeded, 100, count)
    }

    fn bad(name: &str, minute: i64, count: u64) -> RollupRow {
        row(name, minute, AttemptOutcome::Failed, 100, count)
    }

    fn kinds() -> Target {
        Target::each(Over::Kinds)
    }

    /// (subject, look at which it fired, look at which it was over).
    fn found(rule: &Rule, past: &History, until: i64) -> Vec<(String, i64, Option<i64>)> {
        let minute = |at: Timestamp| time::micros(at) / time::MINUTE;
        let told = |e: Episode| (e.subject, minute(e.from), e.until.map(minute));
        replay(rule, past, 0, until).into_iter().map(told).collect()
    }

    fn one(subject: &str, from: i64, until: Option<i64>) -> Vec<(String, i64, Option<i64>)> {
        vec![(subject.to_owned(), from, until)]
    }

    #[test]
    fn failures_in_a_row_are_counted_until_a_success() {
        let rule = Rule::new(Condition::Failures { of: kinds(), in_a_row: 3 });
        let rows = vec![
            bad("mail", 1, 2),
            good("mail", 2, 1),
            bad("mail", 3, 1),
            bad("mail", 7, 2),
            good("other", 8, 1),
            row("mail", 9, AttemptOutcome::Cancelled, 1, 1),
            row("mail", 11, AttemptOutcome::Partial, 1, 1),
            // In one minute with a success: nobody can say in which order.
            bad("mail", 20, 5),
            good("mail", 20, 1),
        ];
        let past = History::default().attempts_of(Over::Kinds, rows);
        assert_eq!(found(&rule, &past, 30), one("mail", 8, Some(12)));
        let other = Target::parse("kind/other").unwrap();
        let rule = Rule::new(Condition::Failures { of: other, in_a_row: 1 });
        assert_eq!(found(&rule, &past, 30), []);
    }

    #[test]
    fn a_rate_needs_enough_attempts_in_its_window() {
        let condition = Condition::FailureRate { of: kinds(), above: 20.0, over: secs(5 * M), at_least: 10 };
        let rows = vec![bad("a", 1, 9), good("b", 1, 8), bad("b", 3, 2), bad("b", 4, 1)];
        let past = History::default().attempts_of(Over::Kinds, rows);
        // At 4 it is 2 of 10, not more than 20 %; at 5 it is 3 of 11; at 7 the good ones have left.
        assert_eq!(found(&Rule::new(condition), &past, 20), one("b", 5, Some(7)));
    }

    #[test]
    fn an_attempt_that_is_slower_than_the_limit_is_told_until_one_is_not() {
        let rule = Rule::new(Condition::Slow { of: kinds(), longer_than: secs(10) });
        let slow = |minute, s: u64| row("a", minute, AttemptOutcome::TimedOut, s * 1000, 1);
        let past =
            History::default().attempts_of(Over::Kinds, vec![slow(1, 9), slow(2, 20), good("a", 5, 1)]);
        assert_eq!(found(&rule, &past, 20), one("a", 3, Some(6)));
    }

    #[test]
    fn unusual_is_judged_by_its_own_past() {
        let condition = Condition::Unusual {
            of: kinds(),
            deviations: 3.5,
            against: secs(3600),
            at_least: 20,
            ignore_below: secs(1),
        };
        let rule = Rule::new(condition);
        let usual =
            |name: &str, ms: u64| (0..60).map(|m| row(name, m, AttemptOutcome::Succeeded, ms, 1)).collect();
        let mut rows: Vec<RollupRow> = usual("a", 2000);
        rows.extend::<Vec<RollupRow>>(usual("quick", 5));
        // Twice as long is still usual, four times is not; what is shorter than a second never is.
        rows.push(row("a", 61, AttemptOutcome::Succeeded, 4000, 1));
        rows.push(row("a", 63, AttemptOutcome::Succeeded, 8000, 1));
        rows.push(row("a", 65, AttemptOutcome::Succeeded, 2000, 1));
        rows.push(row("quick", 66, AttemptOutcome::Succeeded, 500, 1));
        rows.push(row("new", 66, AttemptOutcome::Succeeded, 90_000, 1));
        let past = History::default().attempts_of(Over::Kinds, rows);
        assert_eq!(found(&rule, &past, 90), one("a", 64, Some(66)));
    }

    #[test]
    fn unusual_adapts_to_how_much_durations_spread() {
        let condition = |deviations| Condition::Unusual {
            of: kinds(),
            deviations,
            against: secs(3600),
            at_least: 20,
            ignore_below: secs(1),
        };
        // From 1 s to 32 s evenly on the scale: 8 times the median is within what is usual.
        let spread = (0..60).map(|m| row("a", m, AttemptOutcome::Succeeded, 1000 << (m % 6), 1));
        let mut rows: Vec<RollupRow> = spread.collect();
        rows.push(row("a", 62, AttemptOutcome::Succeeded, 40_000, 1));
        let past = History::default().attempts_of(Over::Kinds, rows);
        assert_eq!(found(&Rule::new(condition(3.5)), &past, 90), []);
        assert_eq!(found(&Rule::new(condition(1.0)), &past, 90).len(), 1);
    }

    fn points(list: &[(i64, f64)]) -> Vec<Point> {
        let point = |(minute, value): &(i64, f64)| Point {
            at: time::from_micros(minute * time::MINUTE),
            value: *value,
        };
        list.iter().map(point).collect()
    }

    #[test]
    fn series_are_judged_by_their_newest_point() {
        let minutes = |n: i64| (n * 60) as f64;
        let past = History::default()
            .series_of("schedule.late", "nightly", points(&[(10, minutes(8)), (30, 0.0)]))
            .series_of("queue.oldest", "mail", points(&[(5, minutes(5)), (20, minutes(18)), (25, 0.0)]))
            .series_of("queue.waiting", "mail", points(&[(5, 90.0), (6, 101.0), (9, 100.0)]))
            .series_of("node.lost", "web-1", points(&[(7, 1.0), (12, 0.0)]))
            .series_of("heartbeat.due", "backup", points(&[(1, minutes(10)), (14, minutes(24)), (30, 0.0)]))
            .series_of("metric", "leads", points(&[(3, 4.0), (8, 2.0), (40, 9.0)]));
        let late = Rule::new(Condition::Late { schedule: None, by: secs(10 * M) });
        assert_eq!(found(&late, &past, 60), one("nightly", 18, Some(30)));
        let other = Rule::new(Condition::Late { schedule: Some("other".into()), by: secs(M) });
        assert_eq!(found(&other, &past, 60), []);
        let waiting = Rule::new(Condition::Waiting { queue: None, longer_than: secs(10 * M) });
        assert_eq!(found(&waiting, &past, 60), one("mail", 16, Some(20)));
        let backlog = Rule::new(Condition::Backlog { queue: Some("mail".into()), more_than: 100 });
        assert_eq!(found(&backlog, &past, 60), one("mail", 6, Some(9)));
        assert_eq!(
            found(&Rule::new(Condition::NodeLost { node: None }), &past, 60),
            one("web-1", 7, Some(12))
        );
        let silent = Rule::new(Condition::Silent { heartbeat: None });
        let twice = vec![("backup".to_owned(), 11, Some(14)), ("backup".to_owned(), 25, Some(30))];
        assert_eq!(found(&silent, &past, 60), twice);
        let metric = |no_older_than| {
            let condition =
                Condition::Metric { series: "leads".into(), above: None, below: Some(3.0), no_older_than };
            Rule { breaches: 3, of_looks: 3, ..Rule::new(condition) }
        };
        assert_eq!(found(&metric(secs(86_400)), &past, 60), one("leads", 10, Some(40)));
        assert_eq!(
            found(&metric(secs(M)), &past, 60),
            one("leads", 10, Some(40)),
            "an old value changes nothing"
        );
    }

    proptest! {
        /// A look sees no more of the future than the look itself: history that goes on changes
        /// nothing before, and looking in two halves is looking once.
        #[test]
        fn what_comes_later_changes_nothing_before(
            rows in prop::collection::vec((0i64..200, 0u8..3, any::<bool>(), 1u64..4, 10u64..100_000), 0..120),
            cut in 1i64..199, which in 0usize..4,
        ) {
            let outcome = |bad| if bad { AttemptOutcome::Failed } else { AttemptOutcome::Succeeded };
            let rows: Vec<RollupRow> = rows
                .iter()
                .map(|(m, name, bad, n, ms)| row(&name.to_string(), *m, outcome(*bad), *ms, *n))
                .collect();
            let condition = [
                Condition::Failures { of: kinds(), in_a_row: 3 },
                Condition::FailureRate { of: kinds(), above: 40.0, over: secs(20 * M), at_least: 3 },
                Condition::Slow { of: kinds(), longer_than: secs(50) },
                Condition::Unusual { of: kinds(), deviations: 2.0, against: secs(3600), at_least: 5, ignore_below: secs(0) },
            ][which].clone();
            let rule = Rule::new(condition);
            let whole = History::default().attempts_of(Over::Kinds, rows.clone());
            let early: Vec<RollupRow> = rows.into_iter().filter(|r| r.minute < cut).collect();
            let half = History::default().attempts_of(Over::Kinds, early);
            let begun = |found: Vec<(String, i64, Option<i64>)>| {
                found.into_iter().filter(|f| f.1 <= cut).map(|(s, f, u)| (s, f, u.filter(|u| *u <= cut))).collect::<Vec<_>>()
            };
            prop_assert_eq!(begun(found(&rule, &whole, 200)), begun(found(&rule, &half, cut)));
        }
    }
}
