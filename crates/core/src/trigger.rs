//! What makes a schedule fire: cron, an interval, the end of the last job, a date, a clock time in
//! words, or the start of a node.
//!
//! A trigger is data ([`Trigger`], in JSON tagged by `type`) and a line of text
//! ([`Trigger::parse`], for configuration and flags). [`Trigger::resolve`] makes it a [`Moments`]
//! that gives nominal fires one after the other: `H` in cron is picked by the schedule's name
//! there, and the forms in words become cron, so that clock changes have one implementation.
//!
//! It deliberately knows nothing of calendars, limits, pauses or misfires: see [`crate::plan`].

use crate::cron::{self, ClockChange, CronExpr, CronFire};
use crate::duration;
use crate::time;
use crate::zone::{WallTime, Zone, instant};
use jiff::Timestamp;
use jiff::civil::{Date, Time, Weekday};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

mod text;

const DAY: u64 = 86_400;

/// A rule that gives moments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Trigger {
    /// A cron expression, `H` allowed.
    Cron {
        /// The expression.
        expr: CronText,
    },
    /// Every so often: aligned to the day of the schedule's zone, or counted from an instant.
    Every {
        /// Whole seconds. Without `from`: at most a day (each day begins anew at its first
        /// instant), or a multiple of one (whole days of the zone, counted from a Monday).
        #[serde(with = "duration::human")]
        interval: Duration,
        /// The first fire.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Timestamp>,
    },
    /// So long after the last job ended, however it ended; the first one at once.
    AfterCompletion {
        /// The wait.
        #[serde(with = "duration::human")]
        delay: Duration,
    },
    /// Once.
    Once {
        /// When.
        at: Timestamp,
    },
    /// Every day.
    Daily {
        /// At this time of the zone.
        at: TimeOfDay,
    },
    /// On some days of every week.
    Weekly {
        /// The days: `mon` to `sun`.
        on: Vec<DayName>,
        /// At this time of the zone.
        at: TimeOfDay,
    },
    /// On one day of every month.
    Monthly {
        /// 1 to 31.
        on: u8,
        /// At this time of the zone.
        at: TimeOfDay,
        /// What happens in a month without that day.
        #[serde(default)]
        short_month: ShortMonth,
    },
    /// Once at every start of a node.
    Reboot,
}

/// What a monthly trigger does in a month that lacks its day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShortMonth {
    /// It fires on the last day.
    #[default]
    LastDay,
    /// It does not fire.
    Skip,
}

/// Cron text that is known to be right; with `H` it becomes an expression once a name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CronText {
    /// Without `H`.
    Plain(CronExpr),
    /// With `H`.
    Spread(Box<str>),
}

/// A time of day in whole seconds: `09:30` or `09:30:15`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay(pub Time);

/// A weekday by its three letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DayName(pub Weekday);

impl Trigger {
    /// Reads the text form. What is none of the forms in words is read as cron.
    ///
    /// ```
    /// use mainspring_core::trigger::Trigger;
    /// for text in ["*/5 * * * *", "every 5m", "@every 5m", "@reboot", "daily at 09:30", "weekly on mon,fri at 9:00",
    ///     "monthly on 31 at 00:00", "once at 2026-12-01T09:00:00+01:00", "5m after completion"]
    /// {
    ///     let trigger = Trigger::parse(text).unwrap();
    ///     assert_eq!(Trigger::parse(&trigger.to_string()).unwrap(), trigger);
    /// }
    /// ```
    pub fn parse(text: &str) -> Result<Trigger, String> {
        text::parse(text)
    }

    /// What is wrong with it, if anything; [`Trigger::parse`] has asked already.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Trigger::Every { interval, from } => {
                let seconds = interval.as_secs();
                let shown = duration::format(*interval);
                if seconds == 0 || interval.subsec_nanos() != 0 {
                    return Err(format!("every {shown}: an interval is whole seconds, at least 1s"));
                }
                if from.is_none() && seconds > DAY && !seconds.is_multiple_of(DAY) {
                    return Err(format!(
                        "every {shown}: above a day an interval is whole days, or has a start; write every {shown} \
                         from 2026-01-01T00:00:00Z"
                    ));
                }
                Ok(())
            }
            Trigger::Weekly { on, .. } if on.is_empty() => {
                Err("weekly: no day is given; write for example weekly on mon,fri at 09:00".into())
            }
            Trigger::Monthly { on, .. } if !(1..=31).contains(on) => {
                Err(format!("monthly: day {on} is not in 1-31; write for example monthly on 31 at 09:00"))
            }
            _ => Ok(()),
        }
    }

    /// Its moments in a zone, for the schedule of this name (which decides what `H` is).
    pub fn resolve(&self, name: &str, zone: &Zone, policy: ClockChange) -> Moments {
        let crons = |list: Vec<CronExpr>| Kind::Crons(list, policy);
        let kind = match self {
            Trigger::Cron { expr } => crons(expr.resolve(name).into_iter().collect()),
            Trigger::Daily { at } => crons(at_time(*at, "* * *")),
            Trigger::Weekly { on, at } => {
                let days: Vec<String> = on.iter().map(|d| d.0.to_sunday_zero_offset().to_string()).collect();
                crons(at_time(*at, &format!("* * {}", days.join(","))))
            }
            Trigger::Monthly { on: 31, at, short_month: ShortMonth::LastDay } => crons(at_time(*at, "L * *")),
            Trigger::Monthly { on: on @ (29 | 30), at, short_month: ShortMonth::LastDay } => {
                let mut list = at_time(*at, &format!("{on} 1,3-12 *"));
                list.extend(at_time(*at, "L 2 *"));
                crons(list)
            }
            Trigger::Monthly { on, at, .. } => crons(at_time(*at, &format!("{on} * *"))),
            Trigger::Every { interval, from: Some(from) } => {
                Kind::Anchored { first: time::trunc(*from), seconds: interval.as_secs().max(1) }
            }
            Trigger::Every { interval, from: None } => Kind::Aligned { seconds: interval.as_secs().max(1) },
            Trigger::Once { at } => Kind::Once(time::trunc(*at)),
            Trigger::AfterCompletion { .. } | Trigger::Reboot => Kind::Outside,
        };
        Moments { zone: zone.clone(), kind }
    }

    /// The first moment strictly after `after`; for one question. Ask [`Trigger::resolve`] for many.
    /// None for what depends on something else than time: [`Trigger::AfterCompletion`] and
    /// [`Trigger::Reboot`].
    pub fn next_after(
        &self,
        name: &str,
        zone: &Zone,
        after: Timestamp,
        policy: ClockChange,
    ) -> Option<CronFire> {
        self.resolve(name, zone, policy).next_after(after)
    }

    /// The cron expression behind it, where there is exactly one.
    pub fn cron(&self, name: &str) -> Option<CronExpr> {
        match self.resolve(name, &Zone::utc(), ClockChange::Vixie).kind {
            Kind::Crons(list, _) if list.len() == 1 => list.into_iter().next(),
            _ => None,
        }
    }

    /// The delay of [`Trigger::AfterCompletion`].
    pub fn delay(&self) -> Option<Duration> {
        match self {
            Trigger::AfterCompletion { delay } => Some(*delay),
            _ => None,
        }
    }

    /// What it does in plain words, for the schedule of this name.
    pub fn explain(&self, name: &str) -> String {
        match self {
            Trigger::Cron { expr } => match (expr.resolve(name), expr) {
                (Some(e), CronText::Plain(_)) => e.explain(),
                (Some(e), CronText::Spread(_)) => {
                    format!("{} (picked by the schedule's name: {e})", e.explain())
                }
                (None, _) => "never".into(),
            },
            Trigger::Every { interval, from: Some(from) } => {
                format!("every {}, counted from {from}", duration::format(*interval))
            }
            Trigger::Every { interval, from: None } if interval.as_secs() > DAY => {
                format!("at midnight every {} days", interval.as_secs() / DAY)
            }
            Trigger::Every { interval, from: None } => {
                format!("every {}, counted from midnight of each day", duration::format(*interval))
            }
            Trigger::AfterCompletion { delay } => {
                format!("{} after the last job has ended", duration::format(*delay))
            }
            Trigger::Once { at } => format!("once at {at}"),
            Trigger::Daily { at } => format!("at {at} every day"),
            Trigger::Weekly { on, at } => {
                let days = on.iter().map(|d| d.long().to_owned()).collect();
                format!("at {at} every week on {}", cron::join(days, "and"))
            }
            Trigger::Monthly { on, at, short_month } => {
                let rest = match (on, short_month) {
                    (1..=28, _) => "",
                    (_, ShortMonth::LastDay) => ", on the last day of a shorter month",
                    (_, ShortMonth::Skip) => ", not in a month without that day",
                };
                format!("at {at} on day {on} of every month{rest}")
            }
            Trigger::Reboot => "once at every start of a node".into(),
        }
    }
}

/// Cron at a time of day; `rest` are the day, month and weekday fields. Never empty for the texts
/// written here.
fn at_time(at: TimeOfDay, rest: &str) -> Vec<CronExpr> {
    let text = format!("{} {} {} {rest}", at.0.second(), at.0.minute(), at.0.hour());
    CronExpr::parse(&text).into_iter().collect()
}

/// Nominal fires one after the other.
#[derive(Clone, Debug)]
pub struct Moments {
    zone: Zone,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Any of these.
    Crons(Vec<CronExpr>, ClockChange),
    /// From the first instant of each local day, or whole local days.
    Aligned {
        seconds: u64,
    },
    /// From an instant on.
    Anchored {
        first: Timestamp,
        seconds: u64,
    },
    Once(Timestamp),
    /// Not by time alone.
    Outside,
}

impl Moments {
    /// The first one strictly after `after`.
    pub fn next_after(&self, after: Timestamp) -> Option<CronFire> {
        let plain = |at| CronFire { at, note: None };
        match &self.kind {
            Kind::Crons(list, policy) => list
                .iter()
                .filter_map(|e| e.next_after(&self.zone, after, *policy))
                .min_by_key(|fire| fire.at),
            Kind::Aligned { seconds } if *seconds > DAY => {
                self.whole_days(after, (seconds / DAY) as i64).map(plain)
            }
            Kind::Aligned { seconds } => self.within_day(after, *seconds as i64).map(plain),
            Kind::Anchored { first, .. } if after < *first => Some(plain(*first)),
            Kind::Anchored { first, seconds } => {
                let step = i128::from(*seconds) * 1_000_000_000;
                let (first, after) = (first.as_nanosecond(), after.as_nanosecond());
                let next = first + ((after - first) / step + 1) * step;
                Timestamp::from_nanosecond(next).ok().map(plain)
            }
            Kind::Once(at) => (*at > after).then(|| plain(*at)),
            Kind::Outside => None,
        }
    }

    fn within_day(&self, after: Timestamp, seconds: i64) -> Option<Timestamp> {
        let today = self.zone.wall(after).date();
        let start = first_instant(&self.zone, today).as_second();
        // Rounded down, so that "strictly after" holds for the whole second that comes next.
        let floor = after.as_second() - i64::from(after.subsec_nanosecond() < 0);
        let next = start + ((floor - start).div_euclid(seconds) + 1) * seconds;
        let next = instant(next);
        let tomorrow = first_instant(&self.zone, today.tomorrow().ok()?);
        // Where clocks go back over midnight, tomorrow has begun once before.
        Some(if tomorrow > after { next.min(tomorrow) } else { next })
    }

    fn whole_days(&self, after: Timestamp, days: i64) -> Option<Timestamp> {
        // 1970-01-05 was a Monday: every 7d fires on Mondays.
        let monday = jiff::civil::date(1970, 1, 5);
        let today = self.zone.wall(after).date();
        let since = i64::from(monday.until(today).ok()?.get_days());
        let mut ahead = -since.rem_euclid(days);
        // Twice at most, unless a whole day is missing where clocks crossed the date line.
        for _ in 0..4 {
            let date = today.checked_add(jiff::Span::new().try_days(ahead).ok()?).ok()?;
            let at = first_instant(&self.zone, date);
            if at > after {
                return Some(at);
            }
            ahead += days;
        }
        None
    }
}

/// The first instant of a day (or the first one after it, where the day was left out).
pub(crate) fn first_instant(zone: &Zone, date: Date) -> Timestamp {
    instant_of(zone, date, Time::midnight())
}

/// The instant of a time on a day: the first of two; the end of the gap for a missing one.
pub(crate) fn instant_of(zone: &Zone, date: Date, time: Time) -> Timestamp {
    match zone.wall_time(date.to_datetime(time)) {
        WallTime::Once(at) | WallTime::Gap(at) | WallTime::Overlap { first: at, .. } => at,
    }
}

impl CronText {
    /// Reads cron text, with or without `H`.
    pub fn parse(text: &str) -> Result<CronText, cron::CronError> {
        if cron::has_spread(text) {
            CronExpr::parse(&cron::resolve_spread(text, "")?)?;
            Ok(CronText::Spread(text.trim_matches([' ', '\t']).into()))
        } else {
            CronExpr::parse(text).map(CronText::Plain)
        }
    }

    /// The expression for a schedule of this name. There always is one for text that was parsed.
    pub fn resolve(&self, name: &str) -> Option<CronExpr> {
        match self {
            CronText::Plain(expr) => Some(expr.clone()),
            CronText::Spread(text) => CronExpr::parse(&cron::resolve_spread(text, name).ok()?).ok(),
        }
    }
}

impl fmt::Display for CronText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CronText::Plain(expr) => expr.fmt(f),
            CronText::Spread(text) => f.pad(text),
        }
    }
}

impl DayName {
    const ALL: [(&'static str, &'static str, Weekday); 7] = [
        ("mon", "Monday", Weekday::Monday),
        ("tue", "Tuesday", Weekday::Tuesday),
        ("wed", "Wednesday", Weekday::Wednesday),
        ("thu", "Thursday", Weekday::Thursday),
        ("fri", "Friday", Weekday::Friday),
        ("sat", "Saturday", Weekday::Saturday),
        ("sun", "Sunday", Weekday::Sunday),
    ];

    fn entry(self) -> (&'static str, &'static str, Weekday) {
        DayName::ALL[self.0.to_monday_zero_offset() as usize]
    }

    /// The whole name.
    pub fn long(self) -> &'static str {
        self.entry().1
    }
}

impl fmt::Display for DayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.entry().0)
    }
}

impl FromStr for DayName {
    type Err = String;
    fn from_str(text: &str) -> Result<DayName, String> {
        let lower = text.trim().to_ascii_lowercase();
        let found = DayName::ALL
            .iter()
            .find(|(short, long, _)| *short == lower || long.to_ascii_lowercase() == lower);
        found
            .map(|e| DayName(e.2))
            .ok_or_else(|| format!("{text:?} is not a weekday; write mon tue wed thu fri sat sun"))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0.hour(), self.0.minute())?;
        if self.0.second() != 0 { write!(f, ":{:02}", self.0.second()) } else { Ok(()) }
    }
}

impl FromStr for TimeOfDay {
    type Err = String;
    fn from_str(text: &str) -> Result<TimeOfDay, String> {
        let bad = || format!("{text:?} is not a time of day; write 09:30 or 09:30:15, 00:00 to 23:59:59");
        let parts: Vec<&str> = text.trim().split(':').collect();
        let number = |i: usize, digits: std::ops::RangeInclusive<usize>| -> Result<i8, String> {
            let part = parts.get(i).copied().unwrap_or("00");
            let plain = digits.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            if plain { part.parse().map_err(|_| bad()) } else { Err(bad()) }
        };
        if !(2..=3).contains(&parts.len()) {
            return Err(bad());
        }
        Time::new(number(0, 1..=2)?, number(1, 2..=2)?, number(2, 2..=2)?, 0)
            .map(TimeOfDay)
            .map_err(|_| bad())
    }
}

/// Serde by the text form.
macro_rules! by_text {
    ($($name:ident),+) => { $(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<$name, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )+ };
}
by_text!(CronText, DayName, TimeOfDay);

impl FromStr for CronText {
    type Err = cron::CronError;
    fn from_str(text: &str) -> Result<CronText, cron::CronError> {
        CronText::parse(text)
    }
}
