//! Service levels of bugs: until when one must be answered and resolved, and how that stands now.
//!
//! Nothing is stored here and nothing ticks: [`Policy::judge`] reads a case (when it was opened, how
//! severe it is, while what it waited) and an instant, and says how both clocks stand. So a change of
//! severity keeps every pause by itself, a calendar that is mended mends every open case, and whoever
//! asks twice gets one answer. A clock is breached once its deadline has passed, not before: what is
//! resolved on the deadline is in time.
//!
//! Time is working time of [`Hours`]: all of it, or that of a [`Calendar`]. Spans are the same in both: a
//! policy of 24 hours is one day around the clock and three days of eight working hours.

mod calendar;

pub use calendar::{Calendar, CalendarError, Hours, Window};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How bad a bug is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing works, or money is lost.
    Critical,
    /// Something important does not work.
    High,
    /// Something does not work and there is a way around it.
    Medium,
    /// It is ugly.
    Low,
}

/// Labels that say how bad a bug is, in small letters; a prefix such as `severity:` or `priority/` may
/// stand before them.
pub const SEVERITY_LABELS: &[(&str, Severity)] = &[
    ("critical", Severity::Critical),
    ("blocker", Severity::Critical),
    ("p0", Severity::Critical),
    ("sev1", Severity::Critical),
    ("high", Severity::High),
    ("major", Severity::High),
    ("p1", Severity::High),
    ("sev2", Severity::High),
    ("medium", Severity::Medium),
    ("p2", Severity::Medium),
    ("sev3", Severity::Medium),
    ("low", Severity::Low),
    ("minor", Severity::Low),
    ("p3", Severity::Low),
    ("sev4", Severity::Low),
];

impl Severity {
    /// The worst severity that the labels name, by a map such as [`SEVERITY_LABELS`].
    ///
    /// ```
    /// use mainspring_analytics::sla::{SEVERITY_LABELS, Severity};
    ///
    /// let of = |labels: &[&str]| Severity::from_labels(labels, SEVERITY_LABELS);
    /// assert_eq!(of(&["bug", "Priority/High", "severity: P0"]), Some(Severity::Critical));
    /// assert_eq!(of(&["bug", "highlight"]), None);
    /// ```
    pub fn from_labels(labels: &[&str], map: &[(&str, Severity)]) -> Option<Severity> {
        let named = |label: &&str| {
            let label = label.trim().to_lowercase();
            let last = label.rsplit([':', '/', '=']).next().unwrap_or(&label).trim();
            map.iter().find(|(name, _)| *name == label || *name == last).map(|(_, severity)| *severity)
        };
        labels.iter().filter_map(named).min()
    }
}

/// How long is granted, in working time.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Until resolved: critical, high, medium, low.
    pub resolve: [SignedDuration; 4],
    /// Until first answered, where that is asked for at all.
    pub first_response: [Option<SignedDuration>; 4],
    /// The share of the time, in percent, from which it gets close.
    pub warn_percent: u8,
}

impl Default for Policy {
    /// Resolved: 24 h, 72 h, 14 d, 30 d. Answered: 1 h, 8 h. Warned at 80 %.
    fn default() -> Policy {
        let hours = SignedDuration::from_hours;
        Policy {
            resolve: [hours(24), hours(72), hours(14 * 24), hours(30 * 24)],
            first_response: [Some(hours(1)), Some(hours(8)), None, None],
            warn_percent: 80,
        }
    }
}

/// A time in which a case waited for somebody else: both clocks stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it began.
    pub from: Timestamp,
    /// When it ended; nothing while it lasts.
    pub until: Option<Timestamp>,
}

/// A bug, as its clocks see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// When it was opened.
    pub opened: Timestamp,
    /// How bad it is, as of now.
    pub severity: Severity,
    /// While what it waited, in any order; where pauses overlap they count once.
    pub pauses: Vec<Pause>,
    /// When it was first answered.
    pub answered: Option<Timestamp>,
    /// When it was resolved.
    pub resolved: Option<Timestamp>,
}

/// How both clocks of a case stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Until resolved.
    pub resolve: Clock,
    /// Until first answered, where that is asked for.
    pub first_response: Option<Clock>,
}

/// How one clock stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Clock {
    /// What was granted.
    pub granted: SignedDuration,
    /// What of it is used, in working time without pauses.
    pub used: SignedDuration,
    /// When it runs out; nothing while the case waits, for nobody knows for how long.
    pub deadline: Option<Timestamp>,
    /// What that means.
    pub state: ClockState,
}

/// What a clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockState {
    /// It runs, and there is time.
    Running,
    /// It runs, and little is left.
    Warning,
    /// It has run out and nothing came.
    Breached,
    /// It stands still, not run out.
    Paused,
    /// What was asked for came in time.
    Kept,
    /// What was asked for came too late.
    Missed,
}

impl Clock {
    /// What is left, in working time; below zero by as much as it is over.
    pub fn remaining(&self) -> SignedDuration {
        self.granted.saturating_sub(self.used)
    }

    /// The time granted was not enough, whether it still runs or not.
    pub fn is_late(&self) -> bool {
        matches!(self.state, ClockState::Breached | ClockState::Missed)
    }
}

impl Policy {
    /// How a case stands as of `now`. What lies after `now` has not happened.
    pub fn judge(&self, case: &Case, hours: &Hours, now: Timestamp) -> Standing {
        let at = case.severity as usize;
        let clock = |granted, done| self.clock(case, hours, granted, done, now);
        Standing {
            resolve: clock(self.resolve[at], case.resolved),
            // What was resolved was answered, at the latest then.
            first_response: self.first_response[at]
                .map(|granted| clock(granted, case.answered.into_iter().chain(case.resolved).min())),
        }
    }

    fn clock(
        &self,
        case: &Case,
        hours: &Hours,
        granted: SignedDuration,
        done: Option<Timestamp>,
        now: Timestamp,
    ) -> Clock {
        let done = done.filter(|done| *done <= now);
        let end = done.unwrap_or(now);
        let (mut used, mut deadline, mut paused) = (SignedDuration::ZERO, None, false);
        let mut from = case.opened;
        // Stretches in which it runs: up to each pause, and after the last one.
        for (pause, until) in merged(case, end) {
            let stretch = hours.between(from, pause);
            if deadline.is_none() && used + stretch >= granted {
                deadline = hours.after(from, granted - used);
            }
            used += stretch;
            from = until.unwrap_or(end).min(end);
            paused = until.is_none_or(|until| until > end);
        }
        if !paused {
            if deadline.is_none() {
                deadline = hours.after(from, granted - used);
            }
            used += hours.between(from, end);
        }
        // By the deadline, not by what is used: on the Saturday after a Friday's close it has passed,
        // though no working time has.
        let state = match (done, deadline.is_some_and(|deadline| deadline < end)) {
            (Some(_), true) => ClockState::Missed,
            (Some(_), false) => ClockState::Kept,
            (None, true) => ClockState::Breached,
            (None, false) if paused => ClockState::Paused,
            (None, false) if self.warns(used, granted) => ClockState::Warning,
            (None, false) => ClockState::Running,
        };
        Clock { granted, used, deadline, state }
    }

    fn warns(&self, used: SignedDuration, granted: SignedDuration) -> bool {
        used.as_millis() * 100 >= granted.as_millis() * i128::from(self.warn_percent)
    }
}

/// The pauses that began between opening and `end`, in order, each moment once; the last one may last.
fn merged(case: &Case, end: Timestamp) -> Vec<(Timestamp, Option<Timestamp>)> {
    let mut pauses: Vec<Pause> = case.pauses.clone();
    pauses.sort_by_key(|pause| pause.from);
    let mut merged: Vec<(Timestamp, Option<Timestamp>)> = Vec::new();
    for Pause { from, until } in pauses {
        let from = from.max(case.opened);
        if from > end || until.is_some_and(|until| until <= from) {
            continue;
        }
        match merged.last_mut() {
            Some((_, None)) => {}
            Some((_, Some(last))) if from <= *last => match until {
                Some(until) => *last = until.max(*last),
                None => merged.last_mut().expect("there is a last one").1 = None,
            },
            _ => merged.push((from, until)),
        }
    }
    merged
}

#[cfg(test)]
mod tests;
