//! The text form of a trigger, both ways: what configuration, flags and pages show and read.

use super::{CronText, DayName, ShortMonth, Trigger};
use crate::duration;
use jiff::Timestamp;
use std::fmt;
use std::time::Duration;

/// Refuses texts that no form needs.
const MAX_BYTES: usize = 300;

pub(super) fn parse(text: &str) -> Result<Trigger, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("a trigger of {} bytes; at most {MAX_BYTES} are read", text.len()));
    }
    let trimmed = text.trim();
    let mut words = trimmed.split_whitespace();
    let first = words.next().unwrap_or_default().to_ascii_lowercase();
    let rest: Vec<&str> = words.collect();
    let trigger = match (first.as_str(), rest.as_slice()) {
        ("every" | "@every", rest) => every(rest)?,
        ("reboot" | "@reboot", []) => Trigger::Reboot,
        ("reboot" | "@reboot", _) => return Err("@reboot stands alone; remove what follows it".into()),
        ("once", ["at", at]) => Trigger::Once { at: instant(at)? },
        ("daily", ["at", at]) => Trigger::Daily { at: at.parse()? },
        ("weekly", ["on", days @ .., "at", at]) => {
            let days = days.join("");
            let mut on: Vec<DayName> = Vec::new();
            for day in days.split(',') {
                let day = day.parse()?;
                if !on.contains(&day) {
                    on.push(day);
                }
            }
            Trigger::Weekly { on, at: at.parse()? }
        }
        ("monthly", ["on", on, "at", at, rest @ ..]) => {
            let short_month = match rest {
                [] => ShortMonth::LastDay,
                ["or", "skip"] => ShortMonth::Skip,
                _ => {
                    return Err(form(
                        "monthly on 31 at 09:00, with or skip after it to leave out short months",
                    ));
                }
            };
            let on = on
                .parse()
                .map_err(|_| format!("monthly: {on:?} is not a day of 1-31; write monthly on 31 at 09:00"))?;
            Trigger::Monthly { on, at: at.parse()?, short_month }
        }
        ("once", _) => return Err(form("once at 2026-12-01T09:00:00+01:00")),
        ("daily", _) => return Err(form("daily at 09:30")),
        ("weekly", _) => return Err(form("weekly on mon,fri at 09:00")),
        ("monthly", _) => return Err(form("monthly on 31 at 09:00")),
        (delay, ["after", "completion"]) => Trigger::AfterCompletion { delay: positive(delay)? },
        _ => Trigger::Cron { expr: CronText::parse(text).map_err(|e| e.to_string())? },
    };
    trigger.check()?;
    Ok(trigger)
}

fn every(rest: &[&str]) -> Result<Trigger, String> {
    match rest {
        [interval] => Ok(Trigger::Every { interval: positive(interval)?, from: None }),
        [interval, "from", at] => {
            Ok(Trigger::Every { interval: positive(interval)?, from: Some(instant(at)?) })
        }
        _ => Err(form("every 5m, or every 36h from 2026-01-01T00:00:00Z")),
    }
}

fn form(example: &str) -> String {
    format!("this trigger is not complete; write {example}")
}

fn positive(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err(format!("{text:?} is no time at all; write for example 5m")),
        some => Ok(some),
    }
}

fn instant(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| format!("{text:?} is not an instant; write 2026-12-01T09:00:00+01:00"))
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trigger::Cron { expr } => expr.fmt(f),
            Trigger::Every { interval, from } => {
                write!(f, "every {}", duration::format(*interval))?;
                from.map_or(Ok(()), |from| write!(f, " from {from}"))
            }
            Trigger::AfterCompletion { delay } => write!(f, "{} after completion", duration::format(*delay)),
            Trigger::Once { at } => write!(f, "once at {at}"),
            Trigger::Daily { at } => write!(f, "daily at {at}"),
            Trigger::Weekly { on, at } => {
                let days: Vec<String> = on.iter().map(|d| d.to_string()).collect();
                write!(f, "weekly on {} at {at}", days.join(","))
            }
            Trigger::Monthly { on, at, short_month } => {
                write!(f, "monthly on {on} at {at}")?;
                if *short_month == ShortMonth::Skip { f.write_str(" or skip") } else { Ok(()) }
            }
            Trigger::Reboot => f.write_str("@reboot"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cron::ClockChange;
    use crate::zone::Zone;

    fn next(text: &str, zone: &str, from: &str, n: usize) -> Vec<String> {
        let moments = Trigger::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).resolve(
            "name",
            &Zone::get(zone).unwrap(),
            ClockChange::Vixie,
        );
        let mut after: Timestamp = from.parse().unwrap();
        let mut out = Vec::new();
        while let Some(fire) = moments.next_after(after).filter(|_| out.len() < n) {
            assert!(fire.at > after, "{text}");
            out.push(fire.at.to_string());
            after = fire.at;
        }
        out
    }

    #[test]
    fn forms_are_printed_and_read_back_and_said_in_words() {
        for (text, printed, words) in [
            ("*/5 * * * *", "*/5 * * * *", "every 5 minutes"),
            ("every 5m", "every 5m", "every 5m, counted from midnight of each day"),
            ("@every 90s", "every 1m30s", "every 1m30s, counted from midnight of each day"),
            ("every 2d", "every 2d", "at midnight every 2 days"),
            (
                "every 36h from 2026-01-01T00:00:00Z",
                "every 1d12h from 2026-01-01T00:00:00Z",
                "every 1d12h, counted from 2026-01-01T00:00:00Z",
            ),
            ("@reboot", "@reboot", "once at every start of a node"),
            ("daily at 9:30", "daily at 09:30", "at 09:30 every day"),
            (
                "weekly on mon,fri at 9:00",
                "weekly on mon,fri at 09:00",
                "at 09:00 every week on Monday and Friday",
            ),
            (
                "monthly on 31 at 00:00",
                "monthly on 31 at 00:00",
                "at 00:00 on day 31 of every month, on the last day of a shorter month",
            ),
            (
                "monthly on 30 at 00:00:05 or skip",
                "monthly on 30 at 00:00:05 or skip",
                "at 00:00:05 on day 30 of every month, not in a month without that day",
            ),
            (
                "once at 2026-12-01T09:00:00+01:00",
                "once at 2026-12-01T08:00:00Z",
                "once at 2026-12-01T08:00:00Z",
            ),
            ("5m after completion", "5m after completion", "5m after the last job has ended"),
            ("H 2 * * *", "H 2 * * *", "at 02:51 every day (picked by the schedule's name: 51 2 * * *)"),
        ] {
            let trigger = Trigger::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(trigger.to_string(), printed);
            assert_eq!(Trigger::parse(printed).unwrap(), trigger);
            assert_eq!(trigger.explain("name"), words, "{text}");
            let json = serde_json::to_string(&trigger).unwrap();
            assert_eq!(serde_json::from_str::<Trigger>(&json).unwrap(), trigger, "{json}");
        }
    }

    #[test]
    fn broken_forms_are_refused_with_what_to_write() {
        for (text, why) in [
            ("", "cron expression, position 1: it is empty"),
            ("every", "write every 5m"),
            ("every 5", "the unit is missing"),
            ("every 0s", "no time at all"),
            ("every 500ms", "whole seconds"),
            ("every 25h", "write every 1d1h from 2026-01-01T00:00:00Z"),
            ("every 5m from noon", "write 2026-12-01T09:00:00+01:00"),
            ("@reboot now", "stands alone"),
            ("daily at 24:00", "write 09:30"),
            ("daily at 9", "write 09:30"),
            ("daily at 9:5", "write 09:30"),
            ("daily", "write daily at 09:30"),
            ("weekly on at 9:00", "not a weekday"),
            ("weekly on mon,funday at 9:00", "\"funday\" is not a weekday"),
            ("monthly on 0 at 9:00", "day 0 is not in 1-31"),
            ("monthly on 32 at 9:00", "day 32 is not in 1-31"),
            ("monthly on last at 9:00", "write monthly on 31"),
            ("once at tomorrow", "write 2026-12-01T09:00:00+01:00"),
            ("0s after completion", "no time at all"),
            ("5/15 * * * *", "write 5-59/15"),
            ("H/99 * * * *", "minute field, position 1: H/99 has no step of 1 to 60"),
        ] {
            let error = Trigger::parse(text).unwrap_err();
            assert!(error.contains(why) && !error.contains('\n'), "{text}: {error}");
        }
        let typo = r#"{"type":"every","interval":"5m","form":"2026-01-01T00:00:00Z"}"#;
        assert!(
            serde_json::from_str::<Trigger>(typo).unwrap_err().to_string().contains("unknown field `form`")
        );
    }

    #[test]
    fn words_and_cron_give_the_same_moments() {
        for (words, cron) in [
            ("daily at 02:30", "30 2 * * *"),
            ("weekly on sun,wed at 01:30", "30 1 * * 0,3"),
            ("monthly on 13 at 12:00:30", "30 0 12 13 * *"),
            ("monthly on 31 at 09:00", "0 9 L * *"),
            ("monthly on 31 at 09:00 or skip", "0 9 31 * *"),
        ] {
            let zone = "America/New_York";
            assert_eq!(
                next(words, zone, "2026-01-01T00:00:00Z", 400),
                next(cron, zone, "2026-01-01T00:00:00Z", 400)
            );
        }
        assert_eq!(
            next("monthly on 30 at 00:00", "UTC", "2027-12-31T00:00:00Z", 4),
            ["2028-01-30T00:00:00Z", "2028-02-29T00:00:00Z", "2028-03-30T00:00:00Z", "2028-04-30T00:00:00Z"]
        );
    }

    #[test]
    fn intervals_align_to_the_day_of_the_zone() {
        // 7h does not divide a day: each day begins anew. The day of the change has 23 hours.
        assert_eq!(
            next("every 7h", "America/New_York", "2026-03-08T04:59:59.5Z", 6),
            [
                "2026-03-08T05:00:00Z",
                "2026-03-08T12:00:00Z",
                "2026-03-08T19:00:00Z",
                "2026-03-09T02:00:00Z",
                "2026-03-09T04:00:00Z",
                "2026-03-09T11:00:00Z",
            ]
        );
        // Midnight does not exist on 2018-11-04 in Sao Paulo: the day begins at 01:00.
        assert_eq!(
            next("every 1d", "America/Sao_Paulo", "2018-11-03T12:00:00Z", 2),
            ["2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"]
        );
        assert_eq!(
            next("every 7d", "Europe/Berlin", "2026-03-25T00:00:00Z", 2),
            ["2026-03-29T22:00:00Z", "2026-04-05T22:00:00Z"]
        );
        assert_eq!(
            next("every 36h from 2026-01-01T00:00:00Z", "UTC", "2020-01-01T00:00:00Z", 3),
            ["2026-01-01T00:00:00Z", "2026-01-02T12:00:00Z", "2026-01-04T00:00:00Z"]
        );
        assert_eq!(
            next("once at 2026-01-01T00:00:00Z", "UTC", "2025-01-01T00:00:00Z", 3),
            ["2026-01-01T00:00:00Z"]
        );
        assert_eq!(next("every 1d", "Pacific/Apia", "2011-12-29T12:00:00Z", 2).len(), 2);
    }
}
