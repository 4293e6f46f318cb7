//! The five keys of DORA, by the definitions of Apache DevLake (its `dora` plugin and the pages of its
//! metrics), so that the same history gives the same figures there and here.
//!
//! - **Deployment frequency**: the median number of days of a week with a successful production
//!   deployment. Ten deployments in one day are one day.
//! - **Change lead time**: the median over the changes deployed in the window, each coding + (merge - open) +
//!   deploy. Spans are whole minutes, rounded up; a span that would be negative (a rebase dated a commit
//!   after its pull request) is unknown, and an unknown span adds nothing.
//! - **Change fail rate**: the share of the deployments that an incident belongs to.
//! - **Failed deployment recovery time**: the median from a deployment to the resolution of its incident.
//! - **Rework rate**, the fifth since 2024 (dora.dev): the share of deployments that nobody had planned,
//!   made to mend an incident.
//!
//! An incident belongs to the latest successful deployment that was finished when it began, looked up
//! among **all** deployments: where the window begins changes no incident's deployment. Medians are a
//! value that occurred, the lower of the two in the middle. Bands are those of DevLake for the 2023
//! report; for the rework rate none are published, so there is none. Only teams are rated, never people.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// What a pull request went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// When its earliest commit was authored.
    pub first_commit: Option<Timestamp>,
    /// When it was opened.
    pub opened: Timestamp,
    /// When somebody else than its author first said something to it.
    pub first_review: Option<Timestamp>,
    /// When it was merged.
    pub merged: Timestamp,
    /// When the first successful production deployment that holds it was finished.
    pub deployed: Option<Timestamp>,
}

/// How long each step of a change took, in minutes, rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spans {
    /// From its first commit to its opening.
    pub coding: Option<i64>,
    /// From its opening to the first review.
    pub pickup: Option<i64>,
    /// From the first review to the merge.
    pub review: Option<i64>,
    /// From its opening to the merge: a change without review has this and neither of the two above.
    pub to_merge: Option<i64>,
    /// From the merge to the deployment.
    pub deploy: Option<i64>,
    /// Coding, to the merge, and deploying together.
    pub cycle: i64,
}

impl Change {
    /// The steps of this change.
    ///
    /// ```
    /// use mainspring_analytics::dora::Change;
    ///
    /// let at = |time: &str| format!("2026-03-02T{time}Z").parse().unwrap();
    /// let change = Change {
    ///     first_commit: Some(at("08:00:00")),
    ///     opened: at("10:00:30"), // 120.5 minutes: 121
    ///     first_review: Some(at("10:30:30")),
    ///     merged: at("12:00:30"),
    ///     deployed: Some(at("12:10:30")),
    /// };
    /// let spans = change.spans();
    /// assert_eq!((spans.coding, spans.pickup, spans.review), (Some(121), Some(30), Some(90)));
    /// assert_eq!((spans.to_merge, spans.deploy, spans.cycle), (Some(120), Some(10), 251));
    /// ```
    pub fn spans(&self) -> Spans {
        let coding = minutes(self.first_commit, Some(self.opened));
        let to_merge = minutes(Some(self.opened), Some(self.merged));
        let deploy = minutes(Some(self.merged), self.deployed);
        Spans {
            coding,
            pickup: minutes(Some(self.opened), self.first_review),
            review: minutes(self.first_review, Some(self.merged)),
            to_merge,
            deploy,
            cycle: coding.unwrap_or(0) + to_merge.unwrap_or(0) + deploy.unwrap_or(0),
        }
    }
}

/// Whole minutes, rounded up. What is less than a whole minute below zero rounds up to 0, as it does in
/// DevLake; what is more is unknown.
fn minutes(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<i64> {
    const MINUTE: i128 = 60_000_000_000;
    let nanos = to?.duration_since(from?).as_nanos();
    let up = nanos.div_euclid(MINUTE) + i128::from(nanos.rem_euclid(MINUTE) > 0);
    i64::try_from(up).ok().filter(|minutes| *minutes >= 0)
}

/// A production deployment that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deployment {
    /// When it was finished; of several that one pipeline made, the last.
    pub finished: Timestamp,
    /// It succeeded.
    pub succeeded: bool,
    /// Nobody had planned it: it was made to mend an incident.
    pub rework: bool,
}

/// Something that users felt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incident {
    /// When it began.
    pub began: Timestamp,
    /// When it was over.
    pub resolved: Option<Timestamp>,
}

/// The time that is looked at: from `from` to just before `until`.
#[derive(Debug, Clone)]
pub struct Window {
    /// The first moment.
    pub from: Timestamp,
    /// The moment after the last.
    pub until: Timestamp,
    /// Whose days and weeks are counted.
    pub zone: TimeZone,
}

impl Window {
    fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }
}

/// How a figure compares with others', by the bands of the 2023 report as DevLake draws them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    /// Few do better.
    Elite,
    /// Good.
    High,
    /// As most.
    Medium,
    /// Most do better.
    Low,
}

/// The five keys of a window. What cannot be known from the data is nothing, never 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Keys {
    /// The median number of deployment days a week (Monday to Sunday), and its band; nothing where the
    /// window is empty.
    pub frequency: Option<(u32, Band)>,
    /// The median lead time in minutes, over the changes deployed in the window.
    pub lead_time: Option<(i64, Band)>,
    /// The share of deployments that an incident belongs to, 0 to 1.
    pub fail_rate: Option<(f64, Band)>,
    /// The median time from a deployment to the resolution of its incident, in minutes.
    pub recovery: Option<(i64, Band)>,
    /// The share of deployments that were rework, 0 to 1; no bands are published.
    pub rework: Option<f64>,
    /// Successful deployments in the window: what the shares are of.
    pub deployments: u32,
    /// Changes deployed in the window.
    pub changes: u32,
}

/// The deployment that an incident belongs to, as its place in `deployments`: the latest successful
/// one that was finished when it began.
pub fn deployment_of(incident: &Incident, deployments: &[Deployment]) -> Option<usize> {
    let before = deployments.iter().enumerate().filter(|(_, d)| d.succeeded && d.finished <= incident.began);
    before.max_by_key(|(_, d)| d.finished).map(|(place, _)| place)
}

/// The five keys of a window. `deployments` and `incidents` are all that are known, not only those of
/// the window: the lookup of an incident's deployment must not depend on it.
pub fn keys(changes: &[Change], deployments: &[Deployment], incidents: &[Incident], window: &Window) -> Keys {
    let counts = |d: &Deployment| d.succeeded && window.holds(d.finished);
    let within: Vec<&Deployment> = deployments.iter().filter(|d| counts(d)).collect();
    let deployed = changes.iter().filter(|change| change.deployed.is_some_and(|at| window.holds(at)));
    let cycles: Vec<i64> = deployed.map(|change| change.spans().cycle).collect();
    let owned: Vec<(usize, &Incident)> = incidents
        .iter()
        .filter_map(|incident| Some((deployment_of(incident, deployments)?, incident)))
        .filter(|(place, _)| counts(&deployments[*place]))
        .collect();
    let mut failed: Vec<usize> = owned.iter().map(|(place, _)| *place).collect();
    failed.sort_unstable();
    failed.dedup();
    let recoveries = owned.iter().filter_map(|(place, incident)| {
        minutes(Some(deployments[*place].finished), incident.resolved.filter(|at| window.holds(*at)))
    });
    let share = |part: usize| (!within.is_empty()).then(|| part as f64 / within.len() as f64);
    let days: Vec<Date> = within.iter().map(|d| d.finished.to_zoned(window.zone.clone()).date()).collect();
    Keys {
        frequency: frequency(days, window),
        lead_time: median(cycles.clone()).map(|m| (m, lead_band(m))),
        fail_rate: share(failed.len()).map(|rate| (rate, fail_band(failed.len(), within.len()))),
        recovery: median(recoveries.collect()).map(|m| (m, recovery_band(m))),
        rework: share(within.iter().filter(|d| d.rework).count()),
        deployments: within.len() as u32,
        changes: cycles.len() as u32,
    }
}

/// The lower of the values in the middle.
fn median<T: Ord + Copy>(mut values: Vec<T>) -> Option<T> {
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

/// How many periods a window is looked through for: about sixty years of weeks.
const MOST_PERIODS: usize = 3_200;

/// Deployment days of the median week, and by them and those of the median month the band.
fn frequency(mut days: Vec<Date>, window: &Window) -> Option<(u32, Band)> {
    days.sort_unstable();
    days.dedup();
    let day_of = |at: Timestamp| at.to_zoned(window.zone.clone()).date();
    let last = window.until.checked_sub(jiff::SignedDuration::from_nanos(1)).ok()?;
    if last < window.from {
        return None;
    }
    let (first, last) = (day_of(window.from), day_of(last));
    let monday = first.checked_sub(Span::new().days(first.weekday().to_monday_zero_offset())).ok()?;
    let a_week = median(counts(&days, monday, Span::new().weeks(1), last))?;
    let a_month = median(counts(&days, first.first_of_month(), Span::new().months(1), last))?;
    let band = match (a_week, a_month) {
        (7.., _) => Band::Elite,
        (1.., _) => Band::High,
        (_, 1..) => Band::Medium,
        _ => Band::Low,
    };
    Some((a_week, band))
}

/// How many of the days fall into each period from `first` on.
fn counts(days: &[Date], first: Date, period: Span, last: Date) -> Vec<u32> {
    let starts: Vec<Date> =
        first.series(period).take(MOST_PERIODS).take_while(|start| *start <= last).collect();
    let until =
        |i: usize| starts.get(i + 1).map_or(days.len(), |next| days.partition_point(|day| day < next));
    let from = |start: &Date| days.partition_point(|day| day < start);
    starts.iter().enumerate().map(|(i, start)| (until(i) - from(start)) as u32).collect()
}

const DAY: i64 = 24 * 60;

fn lead_band(minutes: i64) -> Band {
    match minutes {
        ..DAY => Band::Elite,
        DAY..10_080 => Band::High,
        10_080..43_200 => Band::Medium,
        _ => Band::Low,
    }
}

fn recovery_band(minutes: i64) -> Band {
    match minutes {
        ..60 => Band::Elite,
        60..DAY => Band::High,
        DAY..10_080 => Band::Medium,
        _ => Band::Low,
    }
}

/// At most 5, 10 and 15 in a hundred, in whole numbers: 3 of 20 are 15 % and no rounding makes them more.
fn fail_band(failed: usize, of: usize) -> Band {
    match failed * 100 {
        hundredfold if hundredfold <= of * 5 => Band::Elite,
        hundredfold if hundredfold <= of * 10 => Band::High,
        hundredfold if hundredfold <= of * 15 => Band::Medium,
        _ => Band::Low,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn deployed(finished: &str) -> Deployment {
        Deployment { finished: at(finished), succeeded: true, rework: false }
    }

    fn march() -> Window {
        Window { from: at("2026-03-02T00:00:00Z"), until: at("2026-03-30T00:00:00Z"), zone: TimeZone::UTC }
    }

    #[test]
    fn spans_are_whole_minutes_rounded_up_and_never_negative() {
        let change = Change {
            first_commit: Some(at("2026-03-02T12:00:00Z")), // rebased: after it was opened
            opened: at("2026-03-02T10:00:00Z"),
            first_review: None,
            merged: at("2026-03-02T10:00:00.001Z"),
            deployed: None,
        };
        let spans = change.spans();
        let nothing = (None, None, None, None);
        assert_eq!((spans.coding, spans.pickup, spans.review, spans.deploy), nothing);
        assert_eq!((spans.to_merge, spans.cycle), (Some(1), 1));
        // Half a minute below zero rounds up to zero, a minute is negative.
        let late = |second: &str| Some(at(&format!("2026-03-02T10:{second}Z")));
        assert_eq!(minutes(late("01:00"), late("00:30")), Some(0));
        assert_eq!(minutes(late("01:00"), late("00:00")), None);
    }

    /// A month, worked out by hand.
    #[test]
    fn the_five_keys_of_a_month() {
        let mut deployments = vec![
            deployed("2026-02-27T10:00:00Z"), // before the window; an incident in it belongs here
            deployed("2026-03-03T10:00:00Z"),
            deployed("2026-03-03T15:00:00Z"), // the same day: one deployment day
            deployed("2026-03-05T10:00:00Z"),
            deployed("2026-03-12T10:00:00Z"),
            deployed("2026-03-13T10:00:00Z"),
            deployed("2026-03-19T10:00:00Z"),
        ];
        deployments[4].rework = true;
        deployments.push(Deployment { succeeded: false, ..deployed("2026-03-12T09:00:00Z") });
        let incident =
            |began: &str, resolved: Option<&str>| Incident { began: at(began), resolved: resolved.map(at) };
        let incidents = [
            incident("2026-03-02T08:00:00Z", Some("2026-03-02T09:00:00Z")), // of the deployment of February
            incident("2026-03-12T09:30:00Z", Some("2026-03-12T10:00:00Z")), // of 5 March, not of the failed one
            incident("2026-03-12T10:20:00Z", Some("2026-03-12T11:00:00Z")), // of 12 March: an hour from it
            incident("2026-03-12T12:00:00Z", None),                         // of the same one
            incident("2025-01-01T00:00:00Z", None),                         // before everything
        ];
        let change = |hours: i64, deployed: Option<&str>| Change {
            first_commit: None,
            opened: at("2026-03-01T00:00:00Z"),
            first_review: None,
            merged: at("2026-03-01T00:00:00Z"),
            deployed: deployed.map(|text| at(text) + SignedDuration::from_hours(hours)),
        };
        let changes = [
            change(0, Some("2026-03-03T10:00:00Z")), // 58 h
            change(0, Some("2026-03-05T10:00:00Z")), // 106 h
            change(0, Some("2026-03-12T10:00:00Z")), // 274 h
            change(0, Some("2026-03-13T10:00:00Z")), // 298 h
            change(0, None),
            change(0, Some("2026-04-02T00:00:00Z")), // after the window
        ];
        let found = keys(&changes, &deployments, &incidents, &march());
        // Days of the four weeks: 2, 2, 1, 0. In order 0 1 2 2, the lower middle is 1.
        assert_eq!(found.frequency, Some((1, Band::High)));
        // 58, 106, 274, 298 hours: the lower middle is 106, less than a week.
        assert_eq!(found.lead_time, Some((106 * 60, Band::High)));
        // Of six deployments two have incidents.
        assert_eq!(found.fail_rate, Some((2.0 / 6.0, Band::Low)));
        // From 5 March 10:00 to 12 March 10:00 is a week, from 12 March 10:00 to 11:00 an hour.
        assert_eq!(found.recovery, Some((60, Band::High)));
        assert_eq!(found.rework, Some(1.0 / 6.0));
        assert_eq!((found.deployments, found.changes), (6, 4));
    }

    #[test]
    fn nothing_known_is_nothing_and_no_deployments_are_a_frequency_of_none() {
        let found = keys(&[], &[], &[], &march());
        assert_eq!(found.frequency, Some((0, Band::Low)));
        assert_eq!(
            (found.lead_time, found.fail_rate, found.recovery, found.rework),
            (None, None, None, None)
        );
        let empty = Window { until: march().from, ..march() };
        assert_eq!(keys(&[], &[], &[], &empty).frequency, None);
    }

    #[test]
    fn bands_are_those_of_the_table() {
        use Band::*;
        assert_eq!(
            [0, 1_439, 1_440, 10_079, 10_080, 43_199, 43_200].map(lead_band),
            [Elite, Elite, High, High, Medium, Medium, Low]
        );
        assert_eq!(
            [59, 60, 1_439, 1_440, 10_079, 10_080].map(recovery_band),
            [Elite, High, High, Medium, Medium, Low]
        );
        let fails = [(0, 20), (1, 20), (2, 20), (3, 20), (4, 20), (1, 7)];
        assert_eq!(
            fails.map(|(failed, of)| fail_band(failed, of)),
            [Elite, Elite, High, Medium, Low, Medium]
        );
        let daily: Vec<Deployment> = (0..28)
            .map(|day| Deployment {
                finished: march().from + SignedDuration::from_hours(24 * day + 1),
                succeeded: true,
                rework: false,
            })
            .collect();
        let band = |deployments: &[Deployment]| keys(&[], deployments, &[], &march()).frequency;
        assert_eq!(band(&daily), Some((7, Elite)));
        assert_eq!(band(&daily[..27]), Some((7, Elite)));
        assert_eq!(band(&daily[3..4]), Some((0, Medium)));
    }

    #[test]
    fn days_are_those_of_the_teams_zone() {
        // 23:30 and 00:30 of Tokyo are one day in UTC and two there.
        let deployments = [deployed("2026-03-03T14:30:00Z"), deployed("2026-03-03T15:30:00Z")];
        let week = |zone: TimeZone| Window { until: at("2026-03-08T15:00:00Z"), zone, ..march() };
        let days = |zone: TimeZone| keys(&[], &deployments, &[], &week(zone)).frequency.unwrap().0;
        assert_eq!((days(TimeZone::UTC), days(TimeZone::get("Asia/Tokyo").unwrap())), (1, 2));
    }

    proptest! {
        #[test]
        fn where_the_window_begins_moves_no_incident(
            deployments in prop::collection::vec((0i64..2_000_000, any::<bool>()), 0..12),
            began in 0i64..2_000_000, cut in 0i64..2_000_000,
        ) {
            let after = |s: i64| march().from + SignedDuration::from_secs(s);
            let deployments: Vec<Deployment> = deployments.into_iter()
                .map(|(s, succeeded)| Deployment { finished: after(s), succeeded, rework: false }).collect();
            let incident = Incident { began: after(began), resolved: Some(after(began + 60)) };
            let whole = keys(&[], &deployments, &[incident], &march());
            let part = keys(&[], &deployments, &[incident], &Window { from: after(cut), ..march() });
            let owner = deployment_of(&incident, &deployments).map(|place| deployments[place].finished);
            prop_assert!(owner.is_none_or(|at| at <= incident.began));
            let failed = |keys: &Keys| keys.fail_rate.map_or(0.0, |(rate, _)| rate) * f64::from(keys.deployments);
            prop_assert_eq!(failed(&whole).round() as u32, u32::from(owner.is_some()));
            prop_assert_eq!(failed(&part).round() as u32, u32::from(owner.is_some_and(|at| at >= after(cut))));
        }
    }
}
