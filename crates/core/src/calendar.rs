//! Which days and hours a schedule may run: named sets of days, included or excluded, and daily
//! blackout windows.
//!
//! A calendar answers one question (is this day in it?), a [`DayRules`] puts several together and
//! says what becomes of a fire on a day that is not allowed. Sets are written out where they are
//! used: looking a name up in configuration is the caller's. Holidays of countries are not known.

use crate::trigger::{DayName, TimeOfDay};
use jiff::civil::{Date, DateTime};
use serde::{Deserialize, Serialize};

/// How many days ahead or back an allowed day is looked for.
const FAR: u32 = 366;
/// Ranges and rules of one schedule (refused above).
const MOST: usize = 1_000;

/// A named set of days: those in a range, and those on a weekday of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calendar {
    /// For reasons and pages: `weekends`, `company holidays`.
    pub name: String,
    /// Days and ranges of days.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<DayRange>,
    /// Weekdays, whatever the date.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weekdays: Vec<DayName>,
}

/// Days from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DayRange {
    /// The first day.
    pub first: Date,
    /// The last day; the same as `first` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Date>,
}

impl Calendar {
    /// Whether a day is in it.
    pub fn contains(&self, day: Date) -> bool {
        self.weekdays.iter().any(|name| name.0 == day.weekday())
            || self.ranges.iter().any(|r| r.first <= day && day <= r.last.unwrap_or(r.first))
    }
}

/// A daily time in which nothing fires: from `from` to just before `to`, over midnight if `to` is
/// earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blackout {
    /// Its first moment.
    pub from: TimeOfDay,
    /// The first moment after it.
    pub to: TimeOfDay,
}

impl Blackout {
    /// Whether a time of day lies in it.
    pub fn contains(&self, wall: DateTime) -> bool {
        let time = wall.time();
        if self.from <= self.to {
            self.from.0 <= time && time < self.to.0
        } else {
            self.from.0 <= time || time < self.to.0
        }
    }
}

/// What becomes of a fire on a day that is not allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExcluded {
    /// It does not run.
    #[default]
    Skip,
    /// It runs at the same time of the next allowed day.
    Next,
    /// It runs at the same time of the last allowed day before.
    Previous,
}

/// The days and hours of a schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DayRules {
    /// When there are any: only days in one of these are allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<Calendar>,
    /// Days in one of these are not allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Calendar>,
    /// What becomes of a fire on a day that is not allowed.
    pub on_excluded: OnExcluded,
    /// Daily windows in which nothing fires.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blackouts: Vec<Blackout>,
}

impl DayRules {
    /// Why a day is not allowed, or None when it is.
    pub fn excluded(&self, day: Date) -> Option<String> {
        if let Some(set) = self.exclude.iter().find(|set| set.contains(day)) {
            return Some(format!("excluded day: in {}", set.name));
        }
        if self.include.is_empty() || self.include.iter().any(|set| set.contains(day)) {
            return None;
        }
        let names: Vec<&str> = self.include.iter().map(|set| set.name.as_str()).collect();
        Some(format!("excluded day: not in {}", names.join(" or ")))
    }

    /// Whether every day is allowed.
    pub fn allow_every_day(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Why a time is blacked out, or None when it is not.
    pub fn blacked_out(&self, wall: DateTime) -> Option<String> {
        let window = self.blackouts.iter().find(|window| window.contains(wall))?;
        Some(format!("blackout {}-{}", window.from, window.to))
    }

    /// The allowed day that a fire on an excluded `day` moves to, within a year.
    pub fn moved(&self, day: Date) -> Option<Date> {
        let mut at = day;
        for _ in 0..FAR {
            at = match self.on_excluded {
                OnExcluded::Skip => return None,
                OnExcluded::Next => at.tomorrow().ok()?,
                OnExcluded::Previous => at.yesterday().ok()?,
            };
            if self.excluded(at).is_none() {
                return Some(at);
            }
        }
        None
    }

    /// The first day of the excluded days around `day` without a break, at most a year back.
    pub fn run_start(&self, day: Date) -> Date {
        let mut at = day;
        for _ in 0..FAR {
            match at.yesterday() {
                Ok(before) if self.excluded(before).is_some() => at = before,
                _ => break,
            }
        }
        at
    }

    /// What is wrong with it, if anything.
    pub fn check(&self) -> Result<(), String> {
        let sets = || self.include.iter().chain(&self.exclude);
        for set in sets() {
            if let Err(e) = crate::job::check_name(&set.name) {
                return Err(format!("calendar {:?}: the name {e}", crate::limits::cut(&set.name, 60)));
            }
            if let Some(r) = set.ranges.iter().find(|r| r.last.is_some_and(|last| last < r.first)) {
                let last = r.last.unwrap_or(r.first);
                return Err(format!(
                    "calendar {:?}: {} to {last} runs backwards; write {last} to {}",
                    set.name, r.first, r.first
                ));
            }
        }
        let ranges: usize = sets().map(|set| set.ranges.len() + 1).sum();
        if ranges + self.blackouts.len() > MOST {
            return Err(format!("calendars: {ranges} sets and ranges; at most {MOST} are allowed"));
        }
        match self.blackouts.iter().find(|window| window.from == window.to) {
            Some(w) => Err(format!(
                "blackout {}-{} is empty; pause the schedule to keep it from running at all",
                w.from, w.to
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> DayRules {
        serde_json::from_str(json).unwrap()
    }

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    const BUSINESS: &str = r#"{"exclude":[{"name":"weekends","weekdays":["sat","sun"]},
        {"name":"holidays","ranges":[{"first":"2026-12-24","last":"2026-12-26"},{"first":"2027-01-01"}]}],
        "on_excluded":"next","blackouts":[{"from":"22:00","to":"06:00"},{"from":"12:00","to":"13:00"}]}"#;

    #[test]
    fn days_are_allowed_or_not_with_a_reason() {
        let r = rules(BUSINESS);
        assert_eq!(r.excluded(day("2026-12-23")), None);
        assert_eq!(r.excluded(day("2026-12-24")).unwrap(), "excluded day: in holidays");
        assert_eq!(r.excluded(day("2026-12-27")).unwrap(), "excluded day: in weekends");
        assert_eq!(r.moved(day("2026-12-24")), Some(day("2026-12-28")));
        assert_eq!(r.run_start(day("2026-12-27")), day("2026-12-24"));
        let back = DayRules { on_excluded: OnExcluded::Previous, ..r };
        assert_eq!(back.moved(day("2026-12-27")), Some(day("2026-12-23")));
        let only = rules(r#"{"include":[{"name":"fridays","weekdays":["fri"]}]}"#);
        assert_eq!(only.excluded(day("2026-12-24")).unwrap(), "excluded day: not in fridays");
        assert_eq!(only.excluded(day("2026-12-25")), None);
    }

    #[test]
    fn a_blackout_may_run_over_midnight() {
        let r = rules(BUSINESS);
        let at = |time: &str| r.blacked_out(format!("2026-12-23T{time}").parse().unwrap());
        assert_eq!(at("23:59:59").unwrap(), "blackout 22:00-06:00");
        assert_eq!(at("05:59:59").unwrap(), "blackout 22:00-06:00");
        assert_eq!(at("06:00:00"), None);
        assert_eq!(at("12:00:00").unwrap(), "blackout 12:00-13:00");
        assert_eq!(at("13:00:00"), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, why) in [
            (
                r#"{"exclude":[{"name":"x","ranges":[{"first":"2026-12-26","last":"2026-12-24"}]}]}"#,
                "runs backwards",
            ),
            (r#"{"exclude":[{"name":"","weekdays":["sat"]}]}"#, "is empty"),
            (r#"{"blackouts":[{"from":"12:00","to":"12:00"}]}"#, "is empty"),
        ] {
            let error = rules(json).check().unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
        assert!(serde_json::from_str::<DayRules>(r#"{"exclued":[]}"#).is_err());
        let none = rules(r#"{"include":[{"name":"nothing"}],"on_excluded":"next"}"#);
        assert_eq!(none.moved(day("2026-12-24")), None);
    }
}
