//! Working hours: windows of each weekday in a time zone, less holidays.
//!
//! Lengths are real: where the clocks are set forward inside of a window it is an hour shorter, where
//! they are set back an hour longer. A wall-clock time that does not exist is the moment of the change,
//! one that exists twice is the first of the two; so windows that do not meet on paper never overlap.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// When work is done.
#[derive(Debug, Clone, Default)]
pub enum Hours {
    /// Around the clock.
    #[default]
    Always,
    /// By a calendar.
    Calendar(Calendar),
}

/// A stretch of a day, in minutes since midnight: 540 to 1,020 is 09:00 to 17:00, 1,440 is midnight at
/// the day's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// The first minute.
    pub from: u16,
    /// The minute after the last.
    pub to: u16,
}

impl Window {
    /// A window of whole hours: `Window::hours(9, 17)`.
    pub const fn hours(from: u16, to: u16) -> Window {
        Window { from: from * 60, to: to * 60 }
    }
}

/// Working hours in a time zone.
#[derive(Debug, Clone)]
pub struct Calendar {
    zone: TimeZone,
    /// Monday first, each in order.
    week: [Vec<Window>; 7],
    holidays: BTreeSet<Date>,
}

/// Why a calendar was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CalendarError {
    /// No day has a window: nothing would ever be due.
    #[error("the week has no working hours: give at least one window")]
    Empty,
    /// A window is none.
    #[error("{0:?}: a window {from}-{to} minutes past midnight is none: it begins before it ends, and ends at 1440 at the latest", from = .1.from, to = .1.to)]
    Window(Weekday, Window),
    /// Two windows overlap.
    #[error("{0:?}: the windows from {first} and from {second} minutes past midnight overlap", first = .1.from, second = .2.from)]
    Overlap(Weekday, Window, Window),
}

/// How many days are looked through for working time: about thirty years.
const MOST_DAYS: usize = 11_000;

const WEEK: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

impl Calendar {
    /// Working hours of the days of a week, Monday first, without the holidays.
    pub fn new(
        zone: TimeZone,
        mut week: [Vec<Window>; 7],
        holidays: impl IntoIterator<Item = Date>,
    ) -> Result<Calendar, CalendarError> {
        for (day, windows) in WEEK.into_iter().zip(&mut week) {
            windows.sort();
            if let Some(window) = windows.iter().find(|w| w.from >= w.to || w.to > 1_440) {
                return Err(CalendarError::Window(day, *window));
            }
            if let Some(pair) = windows.windows(2).find(|pair| pair[1].from < pair[0].to) {
                return Err(CalendarError::Overlap(day, pair[0], pair[1]));
            }
        }
        if week.iter().all(Vec::is_empty) {
            return Err(CalendarError::Empty);
        }
        Ok(Calendar { zone, week, holidays: holidays.into_iter().collect() })
    }

    /// The same windows from Monday to Friday.
    pub fn weekdays(
        zone: TimeZone,
        windows: &[Window],
        holidays: impl IntoIterator<Item = Date>,
    ) -> Result<Calendar, CalendarError> {
        let on = |day: usize| if day < 5 { windows.to_vec() } else { vec![] };
        Calendar::new(zone, std::array::from_fn(on), holidays)
    }

    /// The working stretches of a day, in order.
    fn open(&self, day: Date) -> Vec<(Timestamp, Timestamp)> {
        if self.holidays.contains(&day) {
            return vec![];
        }
        let windows = &self.week[day.weekday().to_monday_zero_offset() as usize];
        let stretch = |w: &Window| Some((self.instant(day, w.from)?, self.instant(day, w.to)?));
        windows.iter().filter_map(stretch).filter(|(from, to)| from < to).collect()
    }

    fn instant(&self, day: Date, minute: u16) -> Option<Timestamp> {
        let wall = if minute >= 1_440 {
            day.tomorrow().ok()?.to_datetime(Time::midnight())
        } else {
            let (hour, minute) = ((minute / 60) as i8, (minute % 60) as i8);
            DateTime::from_parts(day, Time::new(hour, minute, 0, 0).ok()?)
        };
        let found = self.zone.to_ambiguous_timestamp(wall);
        if let AmbiguousOffset::Gap { .. } = found.offset() {
            let before = found.earlier().ok()?;
            return self.zone.following(before).next().map(|change| change.timestamp());
        }
        found.compatible().ok()
    }

    /// The working stretches from an instant on, the first one cut at it.
    fn stretches(&self, at: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> + '_ {
        let today = at.to_zoned(self.zone.clone()).date();
        // The change of clocks at midnight can put a moment of yesterday's windows after this one.
        let days = today.yesterday().unwrap_or(today).series(jiff::Span::new().days(1)).take(MOST_DAYS);
        days.flat_map(|day| self.open(day))
            .filter(move |(_, to)| *to > at)
            .map(move |(from, to)| (from.max(at), to))
    }
}

impl Hours {
    /// The working time between two instants; zero where the second is not after the first.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> SignedDuration {
        if to <= from {
            return SignedDuration::ZERO;
        }
        match self {
            Hours::Always => to.duration_since(from),
            Hours::Calendar(calendar) => calendar
                .stretches(from)
                .take_while(|(open, _)| *open < to)
                .map(|(open, close)| close.min(to).duration_since(open))
                .sum(),
        }
    }

    /// The first instant by which so much working time has passed; the instant itself where none is
    /// asked for. Nothing where that is more than about thirty years away.
    pub fn after(&self, from: Timestamp, span: SignedDuration) -> Option<Timestamp> {
        if span <= SignedDuration::ZERO {
            return Some(from);
        }
        let Hours::Calendar(calendar) = self else { return from.checked_add(span).ok() };
        let mut left = span;
        for (open, close) in calendar.stretches(from) {
            let stretch = close.duration_since(open);
            if stretch >= left {
                return open.checked_add(left).ok();
            }
            left -= stretch;
        }
        None
    }
}
