//! A parsed expression: bit masks, and the search for the next matching *local* time.
//!
//! Zones are not known here; [`super::search`] maps local times to instants. A month's matching
//! days are one `u32` computed from the masks, so that a day that never comes is found out by
//! looking at months, not at days.

use super::days::{DAY, civil, from_civil, month_length, weekday};
use super::field::{CronError, Field};
use super::parse;
use std::fmt;

/// A checked cron expression. Equal expressions print alike; see [`CronExpr::parse`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CronExpr {
    /// The canonical text: what `Display` prints.
    pub(super) text: Box<str>,
    /// Bits 0-59.
    pub(super) seconds: u64,
    /// Bits 0-59.
    pub(super) minutes: u64,
    /// Bits 0-23.
    pub(super) hours: u32,
    /// Bits 1-12.
    pub(super) months: u16,
    /// Days of the month.
    pub(super) dom: DaysOfMonth,
    /// Days of the week.
    pub(super) dow: DaysOfWeek,
    /// How the two day fields meet.
    pub(super) day_rule: DayRule,
    /// Bits from 1970; None: every year. [`CronExpr::settle`] leaves only years with a match.
    pub(super) years: Option<[u64; 4]>,
    /// No date matches in any year.
    pub(super) never: bool,
    /// The class: second, minute or hour field begins with `*`.
    pub(super) interval: bool,
    /// The day field that begins with `*` and a step while the other one is given too, if any.
    pub(super) star_step_day: Option<Field>,
}

/// The day-of-month field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct DaysOfMonth {
    /// Bits 1-31.
    pub mask: u32,
    /// `L`: the last day.
    pub last: bool,
    /// `LW`: the last Monday to Friday.
    pub last_workday: bool,
    /// `nW`: the Monday to Friday nearest to day n.
    pub nearest: Option<u8>,
}

/// The day-of-week field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct DaysOfWeek {
    /// Bits 0 (Sunday) to 6.
    pub mask: u8,
    /// `d#n`: for each n (index n-1) the weekdays as bits.
    pub nth: [u8; 5],
    /// `dL`: weekdays whose last one in the month matches.
    pub last: u8,
}

/// Which of the day fields decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum DayRule {
    /// Neither is given.
    #[default]
    Every,
    /// Only the day of month is given.
    Month,
    /// Only the weekday is given.
    Week,
    /// Both are given: one is enough.
    Either,
    /// Both are given, with `+`: both must match.
    Both,
}

/// Bits 0, 7, 14, 21, 28: one weekday in a month that begins with it.
const WEEKS: u32 = 1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28;

impl CronExpr {
    /// Reads an expression of 5, 6 or 7 fields or a nickname such as `@daily`.
    ///
    /// ```
    /// use mainspring_core::cron::CronExpr;
    /// let e = CronExpr::parse("*/15 9-17 * * mon-fri").unwrap();
    /// assert_eq!(e.to_string(), "*/15 9-17 * * 1-5");
    /// assert!(CronExpr::parse("5/15 * * * *").unwrap_err().to_string().contains("write 5-59/15"));
    /// ```
    pub fn parse(text: &str) -> Result<CronExpr, CronError> {
        parse::parse(text)
    }

    /// Whether it is of the interval class (second, minute or hour begins with `*`): see the
    /// module's rules for clock changes.
    pub fn is_interval(&self) -> bool {
        self.interval
    }

    /// What is allowed but read differently elsewhere, as whole sentences.
    pub fn warnings(&self) -> Vec<String> {
        self.star_step_day
            .map(|field| {
                format!(
                    "both day fields are given and the {} field is a step after `*`: a day that matches either \
                     of them runs (Vixie, Debian and cronie want both here); put `+` before the weekday field \
                     if both must match",
                    field.name()
                )
            })
            .into_iter()
            .collect()
    }

    /// Finds out once which years have a matching day at all, so that no search has to.
    pub(super) fn settle(mut self) -> CronExpr {
        let matches = |e: &CronExpr, year| {
            e.day_rule == DayRule::Every
                || (1..=12).any(|month| e.months >> month & 1 == 1 && e.days(year, month) != 0)
        };
        match self.years {
            // These 28 years begin on every weekday, leap years and others.
            None => self.never = !(2000..2028).any(|year| matches(&self, year)),
            Some(mut bits) => {
                for i in 0..230 {
                    if bits[i / 64] >> (i % 64) & 1 == 1 && !matches(&self, 1970 + i as i64) {
                        bits[i / 64] &= !(1 << (i % 64));
                    }
                }
                self.never = bits == [0; 4];
                self.years = Some(bits);
            }
        }
        self
    }

    /// The matching days of a month as bits 1-31.
    pub(super) fn days(&self, year: i64, month: u32) -> u32 {
        let length = month_length(year, month);
        let all = (!0u32 >> (31 - length)) & !1;
        if self.day_rule == DayRule::Every {
            return all;
        }
        let first = weekday(from_civil(year, month, 1));
        match self.day_rule {
            DayRule::Every => all,
            DayRule::Month => all & self.dom.days(length, first),
            DayRule::Week => all & self.dow.days(length, first),
            DayRule::Either => all & (self.dom.days(length, first) | self.dow.days(length, first)),
            DayRule::Both => all & self.dom.days(length, first) & self.dow.days(length, first),
        }
    }

    /// The first matching local time (seconds since 1970-01-01T00:00 local) at or after `from`, if
    /// there is one in or before `last_year`.
    pub(super) fn next_local(&self, from: i64, last_year: i64) -> Option<i64> {
        if self.never {
            return None;
        }
        let day = from.div_euclid(DAY);
        let (mut year, mut month, date) = civil(day);
        let mut days = 0;
        if self.has_year(year) && self.months >> month & 1 == 1 {
            days = self.days(year, month);
            if days >> date & 1 == 1
                && let Some(time) = self.next_time(from.rem_euclid(DAY) as u32)
            {
                return Some(day * DAY + i64::from(time));
            }
            // Shifting by 32 when the date is 31 must give zero.
            days &= (!0u32).checked_shl(date + 1).unwrap_or(0);
        }
        while days == 0 {
            (year, month) = self.next_month(year, month, last_year)?;
            days = self.days(year, month);
        }
        let day = from_civil(year, month, days.trailing_zeros());
        Some(day * DAY + i64::from(self.first_time()))
    }

    /// The first month after this one that the month and year fields allow.
    fn next_month(&self, year: i64, month: u32, last_year: i64) -> Option<(i64, u32)> {
        let later = u32::from(self.months) & (!0u32 << (month + 1));
        let (year, month) = if later != 0 && self.has_year(year) {
            (year, later.trailing_zeros())
        } else {
            (self.next_year(year + 1)?, self.months.trailing_zeros())
        };
        (year <= last_year).then_some((year, month))
    }

    fn has_year(&self, year: i64) -> bool {
        match &self.years {
            None => true,
            Some(bits) => {
                (1970..=2199).contains(&year) && {
                    let i = (year - 1970) as usize;
                    bits[i / 64] >> (i % 64) & 1 == 1
                }
            }
        }
    }

    fn next_year(&self, from: i64) -> Option<i64> {
        if self.years.is_none() {
            return Some(from);
        }
        (from.max(1970)..=2199).find(|year| self.has_year(*year))
    }

    /// The first matching second of the day at or after `from`.
    fn next_time(&self, from: u32) -> Option<u32> {
        let (hour, minute, second) = (from / 3600, from / 60 % 60, from % 60);
        if self.hours >> hour & 1 == 1 {
            if self.minutes >> minute & 1 == 1 {
                let later = self.seconds & (!0u64 << second);
                if later != 0 {
                    return Some(hour * 3600 + minute * 60 + later.trailing_zeros());
                }
            }
            let later = self.minutes & (!0u64 << (minute + 1));
            if later != 0 {
                return Some(hour * 3600 + later.trailing_zeros() * 60 + self.seconds.trailing_zeros());
            }
        }
        let later = self.hours & (!0u32 << (hour + 1));
        (later != 0).then(|| {
            later.trailing_zeros() * 3600 + self.minutes.trailing_zeros() * 60 + self.seconds.trailing_zeros()
        })
    }

    fn first_time(&self) -> u32 {
        self.hours.trailing_zeros() * 3600
            + self.minutes.trailing_zeros() * 60
            + self.seconds.trailing_zeros()
    }
}

impl DaysOfMonth {
    /// Bits 1-31 in a month of this length whose day 1 is weekday `first`.
    fn days(&self, length: u32, first: u32) -> u32 {
        let mut days = self.mask;
        let weekday = |day: u32| (first + day - 1) % 7;
        if self.last {
            days |= 1 << length;
        }
        if self.last_workday {
            days |= match weekday(length) {
                0 => 1 << (length - 2),
                6 => 1 << (length - 1),
                _ => 1 << length,
            };
        }
        if let Some(n) = self.nearest.map(u32::from).filter(|n| *n <= length) {
            days |= match weekday(n) {
                6 if n == 1 => 1 << 3,
                6 => 1 << (n - 1),
                0 if n == length => 1 << (n - 2),
                0 => 1 << (n + 1),
                _ => 1 << n,
            };
        }
        days
    }
}

impl DaysOfWeek {
    /// Bits 1-31 in a month of this length whose day 1 is weekday `first`.
    fn days(&self, length: u32, first: u32) -> u32 {
        // Rotated so that bit 0 is the weekday of day 1, then repeated for each week.
        let rotate = |mask: u8| (u32::from(mask) | u32::from(mask) << 7) >> first & 0x7f;
        let mut days = rotate(self.mask).wrapping_mul(WEEKS);
        for (week, mask) in self.nth.iter().enumerate().filter(|(_, mask)| **mask != 0) {
            days |= rotate(*mask) << (7 * week);
        }
        if self.last != 0 {
            let every = rotate(self.last).wrapping_mul(WEEKS);
            days |= every & (0x7f << (length - 7));
        }
        days << 1
    }
}

impl fmt::Display for CronExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl std::str::FromStr for CronExpr {
    type Err = CronError;
    fn from_str(text: &str) -> Result<CronExpr, CronError> {
        CronExpr::parse(text)
    }
}

impl serde::Serialize for CronExpr {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for CronExpr {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<CronExpr, D::Error> {
        let text = String::deserialize(d)?;
        CronExpr::parse(&text).map_err(serde::de::Error::custom)
    }
}
