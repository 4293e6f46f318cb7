//! The next fire in a zone: local matches mapped to instants, clock changes included.
//!
//! Time is walked in [`Segment`]s of constant offset. Within one, local and universal time run
//! alike, so a fire is a local match shifted by the offset. At the start of a segment two things
//! can have happened: local time jumped ahead (a *gap*: fixed-time expressions catch up there) or
//! back (an *overlap*: fixed-time expressions have run these times already).
//!
//! The search ends: each step either answers, moves on to the next segment, or jumps to the first
//! segment near the next local match; the Gregorian calendar repeats every 400 years, so what has
//! not come within that never comes.

use super::days::{DAY, civil, datetime};
use super::expr::CronExpr;
use crate::zone::{Segment, Zone, instant};
use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

/// A gap of this length or more is a change of the calendar, not of the clock: nothing is caught
/// up after it (Vixie's limit).
const LONGEST_GAP: i64 = 3 * 3600;
/// No two offsets from UTC differ by more than this.
const OFFSETS: i64 = 52 * 3600;
/// The calendar repeats after this many years.
const CYCLE: i64 = 400;

/// What happens to a fixed-time fire whose local time does not exist or exists twice. An interval
/// expression runs at every instant whose local time matches, under every policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockChange {
    /// Missing times run once, together, at the first instant after a gap of under three hours;
    /// doubled times run on the first pass only. As Vixie, cronie and Debian cron do.
    #[default]
    Vixie,
    /// Missing times do not run; doubled times run on the first pass only.
    Skip,
    /// Missing times run later by the length of the gap (of under three hours), each for itself;
    /// doubled times run on the first pass only.
    Shift,
    /// Missing times as `Vixie`; doubled times run on both passes.
    Both,
}

impl ClockChange {
    /// The word used in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            ClockChange::Vixie => "vixie",
            ClockChange::Skip => "skip",
            ClockChange::Shift => "shift",
            ClockChange::Both => "both",
        }
    }
}

/// One fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CronFire {
    /// When.
    pub at: Timestamp,
    /// What a clock change has to do with it.
    pub note: Option<FireNote>,
}

/// What a clock change has to do with a fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FireNote {
    /// It makes up for a local time that does not exist.
    Moved {
        /// The missing local time (the first, when several became one fire).
        wall: DateTime,
        /// Whether a regular fire was due at the same instant.
        folded: bool,
    },
    /// Its local time comes twice; this is the first.
    FirstOfTwo,
    /// Its local time comes twice; this is the second.
    SecondOfTwo,
}

impl FireNote {
    /// The short mark for tables and machine-readable output.
    pub const fn mark(&self) -> &'static str {
        match self {
            FireNote::Moved { .. } => "moved: clock change",
            FireNote::FirstOfTwo => "first of two",
            FireNote::SecondOfTwo => "second of two",
        }
    }

    /// A sentence about the fire at `at`, such as
    /// `2027-03-14 02:30 does not exist in America/New_York: runs 03:00`.
    pub fn sentence(&self, zone: &Zone, at: Timestamp) -> String {
        let runs = zone.wall(at);
        match self {
            FireNote::Moved { wall, .. } => {
                let mut when = clock(runs);
                if wall.date() != runs.date() {
                    when = format!("{} {when}", runs.date());
                }
                format!("{} {} does not exist in {zone}: runs {when}", wall.date(), clock(*wall))
            }
            FireNote::FirstOfTwo => {
                format!("{} {} comes twice in {zone}: runs the first time", runs.date(), clock(runs))
            }
            FireNote::SecondOfTwo => {
                format!("{} {} comes twice in {zone}: runs the second time too", runs.date(), clock(runs))
            }
        }
    }
}

/// `02:30`, or `02:30:15` where there are seconds.
pub(crate) fn clock(wall: DateTime) -> String {
    wall.strftime(if wall.second() == 0 { "%H:%M" } else { "%H:%M:%S" }).to_string()
}

impl CronExpr {
    /// The first fire strictly after `after`, or None when there will never be one.
    pub fn next_after(&self, zone: &Zone, after: Timestamp, policy: ClockChange) -> Option<CronFire> {
        // Whole seconds, rounded down: the first candidate is the next whole second.
        let floor = after.as_second() - i64::from(after.subsec_nanosecond() < 0);
        let (at, note) = self.search(zone, floor + 1, policy)?;
        Some(CronFire { at: instant(at), note })
    }

    /// All fires strictly after `after`, rising.
    pub fn iter<'a>(&'a self, zone: &'a Zone, after: Timestamp, policy: ClockChange) -> CronIter<'a> {
        CronIter { expr: self, zone, after: Some(after), policy }
    }

    fn search(&self, zone: &Zone, from: i64, policy: ClockChange) -> Option<(i64, Option<FireNote>)> {
        let max = Timestamp::MAX.as_second();
        let mut segment = zone.segment(from);
        let last_year = civil((from + segment.offset).div_euclid(DAY)).0 + CYCLE + 1;
        let mut at = from;
        loop {
            if let Some(found) = self.in_segment(&segment, at, policy, last_year) {
                return (found.0 <= max).then_some(found);
            }
            // Nothing until the segment's end. After it, a match has a local time that either lies
            // in an overlap soon after `at`, or is not before the next local match seen from here.
            let next = self.next_local(at + segment.offset, last_year);
            let near = segment.end <= at.saturating_add(OFFSETS);
            at = match next {
                _ if near => segment.end,
                Some(local) => segment.end.max(local - OFFSETS),
                None => return None,
            };
            if at > max || civil((at + segment.offset).div_euclid(DAY)).0 > last_year {
                return None;
            }
            segment = zone.segment(at);
        }
    }

    /// The first fire in `segment` at or after `at`.
    fn in_segment(
        &self,
        segment: &Segment,
        at: i64,
        policy: ClockChange,
        last_year: i64,
    ) -> Option<(i64, Option<FireNote>)> {
        let mut local = at + segment.offset;
        if !self.interval && segment.before != segment.offset && segment.start != i64::MIN {
            if segment.before > segment.offset {
                if policy != ClockChange::Both {
                    local = local.max(segment.start + segment.before);
                }
            } else if at < segment.start + segment.gap()
                && segment.gap() < LONGEST_GAP
                && let Some(found) = self.after_gap(segment, at, policy, last_year)
            {
                return Some(found);
            }
        }
        let found = self.next_local(local, last_year)? - segment.offset;
        (found < segment.end).then(|| {
            let note = if segment.is_second_pass(found) {
                Some(FireNote::SecondOfTwo)
            } else if segment.is_first_pass(found) {
                Some(FireNote::FirstOfTwo)
            } else {
                None
            };
            (found, note)
        })
    }

    /// The first fire at or after `at` that makes up for a time missing in the gap at the start of
    /// `segment`, unless a regular one comes before it.
    fn after_gap(
        &self,
        segment: &Segment,
        at: i64,
        policy: ClockChange,
        last_year: i64,
    ) -> Option<(i64, Option<FireNote>)> {
        let missing = |from: i64| {
            self.next_local(from, last_year).filter(|local| *local < segment.start + segment.offset)
        };
        let (run, wall) = match policy {
            ClockChange::Skip => return None,
            ClockChange::Vixie | ClockChange::Both if at > segment.start => return None,
            ClockChange::Vixie | ClockChange::Both => {
                (segment.start, missing(segment.start + segment.before)?)
            }
            // By the old offset a missing time still has an instant: later by the gap's length.
            ClockChange::Shift => {
                let wall = missing(at + segment.before)?;
                (wall - segment.before, wall)
            }
        };
        let regular = self.next_local(at + segment.offset, last_year).map(|local| local - segment.offset);
        if run >= segment.end || regular.is_some_and(|regular| regular < run) {
            return None;
        }
        let note = FireNote::Moved { wall: datetime(wall), folded: regular == Some(run) };
        Some((run, Some(note)))
    }
}

/// Fires of an expression one after the other; see [`CronExpr::iter`].
#[derive(Clone, Debug)]
pub struct CronIter<'a> {
    expr: &'a CronExpr,
    zone: &'a Zone,
    after: Option<Timestamp>,
    policy: ClockChange,
}

impl Iterator for CronIter<'_> {
    type Item = CronFire;

    fn next(&mut self) -> Option<CronFire> {
        let fire = self.expr.next_after(self.zone, self.after?, self.policy);
        self.after = fire.map(|fire| fire.at);
        fire
    }
}

impl std::iter::FusedIterator for CronIter<'_> {}
