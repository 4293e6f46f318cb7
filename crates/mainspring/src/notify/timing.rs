//! When a delivery may go out: quiet hours, a digest instead of single messages, and gathering what
//! comes within a short while. Pure: given the moment, it says until when to wait.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};
use mainspring_core::time;
use mainspring_core::zone::Zone;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest time that messages are gathered for.
const GATHER: u32 = 3600;

/// When a channel sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timing {
    /// The zone of the times below: `Europe/Berlin`.
    pub zone: String,
    /// Nothing is sent from this time of day, `22:00`, …
    pub quiet_from: Option<String>,
    /// … to this one, `07:00`, but what is urgent.
    pub quiet_to: Option<String>,
    /// One message an hour or a day instead of single ones.
    pub digest: Digest,
    /// When the day's digest is sent: `09:00`.
    pub digest_at: Option<String>,
    /// Seconds for which further notices are waited for, to be sent as one message.
    pub gather: u32,
}

mainspring_core::words! {
    /// One message instead of many.
    #[derive(Default)]
    Digest {
        /// Each by itself.
        #[default]
        None = "none",
        /// One at the full hour.
        Hourly = "hourly",
        /// One a day.
        Daily = "daily",
    }
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            zone: "UTC".into(),
            quiet_from: None,
            quiet_to: None,
            digest: Digest::None,
            digest_at: None,
            gather: 0,
        }
    }
}

/// The same, read.
struct Read {
    zone: TimeZone,
    quiet: Option<(Time, Time)>,
    digest: Digest,
    digest_at: Time,
    gather: Duration,
}

fn clock(field: &'static str, text: &str) -> Result<Time, (&'static str, String)> {
    let read = text.split_once(':').and_then(|(h, m)| {
        let two = |t: &str| (t.len() <= 2 && t.bytes().all(|b| b.is_ascii_digit())).then(|| t.parse().ok());
        Time::new(two(h)??, two(m)??, 0, 0).ok()
    });
    read.ok_or_else(|| (field, format!("{text:?} is not a time of day; write for example 22:00")))
}

impl Timing {
    /// What is wrong with it, as (field, text).
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        self.read().map(drop)
    }

    fn read(&self) -> Result<Read, (&'static str, String)> {
        let zone = Zone::get(&self.zone).map_err(|e| ("zone", e.to_string()))?.tz().clone();
        let quiet = match (&self.quiet_from, &self.quiet_to) {
            (None, None) => None,
            (Some(from), Some(to)) => {
                let quiet = (clock("quiet_from", from)?, clock("quiet_to", to)?);
                if quiet.0 == quiet.1 {
                    return Err(("quiet_to", "quiet hours must end at another time than they begin".into()));
                }
                Some(quiet)
            }
            (Some(_), None) => return Err(("quiet_to", "quiet hours need an end, for example 07:00".into())),
            (None, Some(_)) => {
                return Err(("quiet_from", "quiet hours need a begin, for example 22:00".into()));
            }
        };
        let digest_at = match (self.digest, &self.digest_at) {
            (Digest::Daily, None) => return Err(("digest_at", "when is it sent? for example 09:00".into())),
            (_, Some(at)) => clock("digest_at", at)?,
            (_, None) => Time::midnight(),
        };
        if self.gather > GATHER {
            return Err(("gather", format!("{} s is more than an hour; use a digest", self.gather)));
        }
        let gather = Duration::from_secs(self.gather.into());
        Ok(Read { zone, quiet, digest: self.digest, digest_at, gather })
    }

    /// Whether several notices may go out as one message.
    pub fn gathers(&self) -> bool {
        self.gather > 0 || self.digest != Digest::None
    }

    /// Until when something that was said at `created` must wait; None when it may go now. What was
    /// kept and cannot be read holds nothing up.
    pub fn hold(&self, created: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let read = self.read().ok()?;
        let due = match read.digest {
            Digest::None => time::plus(created, read.gather),
            Digest::Hourly => next_hour(created, &read.zone),
            Digest::Daily => next_day(created, read.digest_at, &read.zone),
        };
        let due = due.max(now);
        let until = read.quiet.and_then(|quiet| quiet_end(due, quiet, &read.zone)).unwrap_or(due);
        (until > now).then_some(until)
    }
}

/// The next full hour after an instant.
fn next_hour(at: Timestamp, zone: &TimeZone) -> Timestamp {
    let local = at.to_zoned(zone.clone());
    let past = i64::from(local.minute()) * 60 + i64::from(local.second());
    let whole = time::from_micros(time::micros(at) - time::micros(at).rem_euclid(1_000_000));
    whole.checked_add(SignedDuration::from_secs(3600 - past)).unwrap_or(at)
}

/// The next time the clock shows `when`, after `at`.
fn next_day(at: Timestamp, when: Time, zone: &TimeZone) -> Timestamp {
    let local = at.to_zoned(zone.clone());
    let today = on_day(&local, 0, when, zone);
    if today > at { today } else { on_day(&local, 1, when, zone) }
}

fn on_day(local: &Zoned, days: i32, when: Time, zone: &TimeZone) -> Timestamp {
    let date = local.date().checked_add(days.days()).unwrap_or(local.date());
    let there = zone.to_ambiguous_zoned(date.to_datetime(when)).compatible();
    there.map_or(local.timestamp(), |zoned| zoned.timestamp())
}

/// The end of the quiet hours that `at` lies in.
fn quiet_end(at: Timestamp, (from, to): (Time, Time), zone: &TimeZone) -> Option<Timestamp> {
    let local = at.to_zoned(zone.clone());
    let clock = local.time();
    let inside = if from < to { from <= clock && clock < to } else { clock >= from || clock < to };
    if !inside {
        return None;
    }
    let days = i32::from(from > to && clock >= from);
    let end = on_day(&local, days, to, zone);
    // Where clocks change, the time may have passed already: then they are over.
    (end > at).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn held(timing: &Timing, created: &str, now: &str) -> String {
        timing.hold(at(created), at(now)).map_or_else(String::new, |t| t.to_string())
    }

    #[test]
    fn quiet_hours_hold_until_they_end() {
        let night = Timing {
            zone: "Europe/Berlin".into(),
            quiet_from: Some("22:00".into()),
            quiet_to: Some("7:00".into()),
            ..Timing::default()
        };
        for (now, until) in [
            ("2026-07-01T19:59:59Z", ""),
            ("2026-07-01T20:00:00Z", "2026-07-02T05:00:00Z"),
            ("2026-07-02T04:59:59Z", "2026-07-02T05:00:00Z"),
            ("2026-07-02T05:00:00Z", ""),
            // The night in which clocks go forward is an hour shorter.
            ("2026-03-28T23:00:00Z", "2026-03-29T05:00:00Z"),
        ] {
            assert_eq!(held(&night, now, now), until, "{now}");
        }
        let noon =
            Timing { quiet_from: Some("12:00".into()), quiet_to: Some("13:00".into()), ..Timing::default() };
        assert_eq!(held(&noon, "2026-07-01T12:30:00Z", "2026-07-01T12:30:00Z"), "2026-07-01T13:00:00Z");
        assert_eq!(held(&noon, "2026-07-01T13:30:00Z", "2026-07-01T13:30:00Z"), "");
    }

    #[test]
    fn digests_and_gathering_wait_from_when_it_was_said() {
        let hourly = Timing { digest: Digest::Hourly, ..Timing::default() };
        assert_eq!(held(&hourly, "2026-07-01T12:10:05.5Z", "2026-07-01T12:11:00Z"), "2026-07-01T13:00:00Z");
        assert_eq!(held(&hourly, "2026-07-01T12:10:00Z", "2026-07-01T13:00:00Z"), "");
        let daily = Timing {
            zone: "Asia/Kolkata".into(),
            digest: Digest::Daily,
            digest_at: Some("09:00".into()),
            ..Timing::default()
        };
        assert_eq!(held(&daily, "2026-07-01T03:30:00Z", "2026-07-01T03:30:00Z"), "2026-07-02T03:30:00Z");
        assert_eq!(held(&daily, "2026-07-01T03:29:00Z", "2026-07-01T03:29:30Z"), "2026-07-01T03:30:00Z");
        let gather = Timing { gather: 30, ..Timing::default() };
        assert_eq!(held(&gather, "2026-07-01T12:00:00Z", "2026-07-01T12:00:10Z"), "2026-07-01T12:00:30Z");
        assert_eq!(held(&gather, "2026-07-01T12:00:00Z", "2026-07-01T12:00:30Z"), "");
        let both = Timing { quiet_from: Some("13:00".into()), quiet_to: Some("14:00".into()), ..hourly };
        assert_eq!(held(&both, "2026-07-01T12:10:00Z", "2026-07-01T12:10:00Z"), "2026-07-01T14:00:00Z");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let t = Timing::default;
        for (timing, field) in [
            (Timing { zone: "Mars/Olympus".into(), ..t() }, "zone"),
            (Timing { quiet_from: Some("22:00".into()), ..t() }, "quiet_to"),
            (Timing { quiet_to: Some("22:00".into()), ..t() }, "quiet_from"),
            (Timing { quiet_from: Some("25:00".into()), quiet_to: Some("7:00".into()), ..t() }, "quiet_from"),
            (Timing { quiet_from: Some("7:00".into()), quiet_to: Some("7:00".into()), ..t() }, "quiet_to"),
            (Timing { digest: Digest::Daily, ..t() }, "digest_at"),
            (Timing { digest_at: Some("nine".into()), ..t() }, "digest_at"),
            (Timing { gather: 3601, ..t() }, "gather"),
        ] {
            assert_eq!(timing.check().unwrap_err().0, field, "{timing:?}");
            assert_eq!(
                timing.hold(Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH),
                None,
                "a bad row holds nothing up"
            );
        }
    }
}
