//! How many bugs a team resolves in a week, and how sure that number is.
//!
//! Weeks are the last seven days and the seven before, back from now: not weeks of a calendar, which
//! would make every Monday look bad. The interval is that of a count of rare events
//! ([`crate::intervals::poisson`]), so that nobody makes a story of 3 after 5. Never by person.

use jiff::{SignedDuration, Timestamp};

use crate::intervals::{self, Interval};
use crate::robust;

/// How many weeks stand beside the last one.
pub const WEEKS: usize = 4;

/// What was resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Velocity {
    /// In the last seven days.
    pub resolved: u64,
    /// Where the team's rate a week may lie, by the last seven days alone, at 95 %.
    pub interval: Interval,
    /// In each of the last weeks of which all is known, the newest first, the last seven days among
    /// them; at most [`WEEKS`].
    pub weeks: Vec<u64>,
    /// The median of those weeks; nothing where not even one is known.
    pub median: Option<f64>,
}

/// Counts what was resolved, as of `now`. A resolution on the first moment of a week belongs to the week
/// before; what lies after `now` does not count. `known_since` is where the data begins: weeks that
/// began before it are no zeros, they are left out.
pub fn velocity(resolved: &[Timestamp], known_since: Timestamp, now: Timestamp) -> Velocity {
    let back = |weeks: usize| {
        let week = SignedDuration::from_hours(7 * 24);
        now.checked_sub(week * i32::try_from(weeks).unwrap_or(i32::MAX)).unwrap_or(Timestamp::MIN)
    };
    let within =
        |week: usize| resolved.iter().filter(|at| back(week + 1) < **at && **at <= back(week)).count() as u64;
    let weeks: Vec<u64> = (0..WEEKS).filter(|week| back(week + 1) >= known_since).map(within).collect();
    let figures: Vec<f64> = weeks.iter().map(|n| *n as f64).collect();
    let last = within(0);
    Velocity {
        resolved: last,
        interval: intervals::poisson(last, intervals::LEVEL),
        median: robust::median(&figures),
        weeks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn weeks_are_counted_back_from_now() {
        let now = at("2026-03-16T09:00:00Z");
        let resolved = [
            "2026-03-16T09:00:01Z", // after now
            "2026-03-16T09:00:00Z", // week 0, last moment
            "2026-03-09T09:00:01Z", // week 0, first moment
            "2026-03-09T09:00:00Z", // week 1
            "2026-03-01T00:00:00Z", // week 2
            "2026-03-01T00:00:00Z",
            "2026-02-28T00:00:00Z",
            "2026-02-17T00:00:00Z", // week 3
            "2025-01-01T00:00:00Z", // long ago
        ]
        .map(at);
        let found = velocity(&resolved, at("2025-01-01T00:00:00Z"), now);
        assert_eq!((found.resolved, &*found.weeks), (2, &[2, 1, 3, 1][..]));
        assert_eq!(found.median, Some(1.5));
        assert!((found.interval.low - 0.2422).abs() < 5e-5 && (found.interval.high - 7.2247).abs() < 5e-5);
    }

    #[test]
    fn weeks_of_which_nothing_is_known_are_no_zeros() {
        let now = at("2026-03-16T09:00:00Z");
        let known = velocity(&[], at("2026-02-27T00:00:00Z"), now);
        assert_eq!((&*known.weeks, known.median), (&[0, 0][..], Some(0.0)));
        let new = velocity(&[now], now, now);
        assert_eq!((new.resolved, &*new.weeks, new.median), (1, &[][..], None));
    }

    proptest! {
        #[test]
        fn each_resolution_of_the_four_weeks_counts_once(ages in prop::collection::vec(0i64..5_000_000, 0..60)) {
            let now = at("2026-03-16T09:00:00Z");
            let resolved: Vec<Timestamp> = ages.iter().map(|s| now - SignedDuration::from_secs(*s)).collect();
            let found = velocity(&resolved, Timestamp::MIN, now);
            let within = ages.iter().filter(|s| **s < 28 * 86_400).count() as u64;
            prop_assert_eq!(found.weeks.iter().sum::<u64>(), within);
            prop_assert_eq!(found.weeks[0], found.resolved);
        }
    }
}
