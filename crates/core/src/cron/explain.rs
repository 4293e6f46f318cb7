//! An expression in plain words: `every 15 minutes from 09:00 to 17:59, on Monday to Friday`.
//!
//! The words follow the masks and the canonical text; they are for reading, not for parsing back.

use super::expr::{CronExpr, DayRule};
use std::fmt::Write;

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// At most this many clock times are listed one by one.
const LISTED: u32 = 6;

impl CronExpr {
    /// What it does, as one sentence without a full stop, beginning in lower case.
    pub fn explain(&self) -> String {
        let mut out = self.explain_time();
        if let Some(days) = self.explain_days() {
            let _ = write!(out, ", {days}");
        } else if self.is_once_a_day() {
            out.push_str(" every day");
        }
        if self.months != 0x1ffe {
            let names = runs(u64::from(self.months), |m| MONTHS[m as usize - 1].to_owned());
            let _ = write!(out, ", in {names}");
        }
        if self.never {
            out.push_str(": never, no such day comes");
        } else if let Some(bits) = self.years {
            let years = (0..256u32).filter(|i| bits[*i as usize / 64] >> (i % 64) & 1 == 1).map(|i| i + 1970);
            let _ = write!(out, ", in {}", ranges(years.collect(), |y| y.to_string()));
        }
        out
    }

    /// The times of day are few enough to be listed.
    fn is_once_a_day(&self) -> bool {
        self.seconds.count_ones() * self.minutes.count_ones() * self.hours.count_ones() <= LISTED
    }

    fn explain_time(&self) -> String {
        if self.is_once_a_day() {
            return format!("at {}", join(self.clock_times(), "and"));
        }
        let second = unit(self.seconds, "second", "minute");
        let minute = unit(self.minutes, "minute", "hour");
        let every_hour = self.hours == 0xff_ffff;
        let mut parts = Vec::new();
        let plain_second = self.seconds == 1;
        if !plain_second {
            parts.push(second);
        }
        // "every second of every minute" says no more than "every second".
        if !(self.seconds == ALL_60 && self.minutes == ALL_60) {
            parts.push(minute);
        }
        let mut out = parts.join(" of ");
        if !every_hour {
            let hours = spaced(u64::from(self.hours), 24);
            let _ = match hours {
                Some(n) => write!(out, " of every {n}{} hour from 00:00", ordinal(n)),
                None => write!(out, ", {}", hours_of(self.hours)),
            };
        }
        out
    }

    fn clock_times(&self) -> Vec<String> {
        let mut times = Vec::new();
        for h in bits(u64::from(self.hours)) {
            for m in bits(self.minutes) {
                for s in bits(self.seconds) {
                    times.push(if self.seconds == 1 {
                        format!("{h:02}:{m:02}")
                    } else {
                        format!("{h:02}:{m:02}:{s:02}")
                    });
                }
            }
        }
        times
    }

    fn explain_days(&self) -> Option<String> {
        match self.day_rule {
            DayRule::Every => None,
            DayRule::Month => Some(self.explain_dom()),
            DayRule::Week => Some(self.explain_dow()),
            DayRule::Either => Some(format!("{} or {}", self.explain_dom(), self.explain_dow())),
            DayRule::Both => Some(format!("{} if that is {}", self.explain_dom(), self.explain_dow())),
        }
    }

    fn explain_dom(&self) -> String {
        let mut parts = Vec::new();
        if self.dom.mask != 0 {
            let count = self.dom.mask.count_ones();
            let days = runs(u64::from(self.dom.mask), |d| d.to_string());
            parts.push(format!("on {} {days} of the month", if count == 1 { "day" } else { "days" }));
        }
        if self.dom.last {
            parts.push("on the last day of the month".into());
        }
        if self.dom.last_workday {
            parts.push("on the last Monday to Friday day of the month".into());
        }
        if let Some(n) = self.dom.nearest {
            parts.push(format!("on the Monday to Friday day nearest to day {n} of the month"));
        }
        join(parts, "and")
    }

    fn explain_dow(&self) -> String {
        let mut parts = Vec::new();
        // Monday first, Sunday last: that is how weeks are read.
        let week = |mask: u8| u64::from(mask >> 1 | (mask & 1) << 6);
        let name = |d: u32| WEEKDAYS[(d as usize + 1) % 7].to_owned();
        if self.dow.mask != 0 {
            parts.push(format!("on {}", runs(week(self.dow.mask), name)));
        }
        for (i, mask) in self.dow.nth.iter().enumerate().filter(|(_, mask)| **mask != 0) {
            let n = i as u32 + 1;
            parts.push(format!("on the {n}{} {} of the month", ordinal(n), runs(week(*mask), name)));
        }
        if self.dow.last != 0 {
            parts.push(format!("on the last {} of the month", runs(week(self.dow.last), name)));
        }
        join(parts, "and")
    }
}

const ALL_60: u64 = (1 << 60) - 1;

/// `every minute`, `every 15 minutes`, `at minute 5`, `at minutes 1 to 9 and 30`.
fn unit(mask: u64, name: &str, of: &str) -> String {
    if mask == ALL_60 {
        return format!("every {name}");
    }
    if let Some(n) = spaced(mask, 60) {
        return format!("every {n} {name}s");
    }
    let values = runs(mask, |v| v.to_string());
    let s = if mask.count_ones() == 1 { "" } else { "s" };
    format!("at {name}{s} {values} of each {of}")
}

/// The step n >= 2 when the mask is 0, n, 2n, … and n divides the size.
fn spaced(mask: u64, size: u32) -> Option<u32> {
    let n = (mask & !1).trailing_zeros();
    let even = mask & 1 == 1 && n >= 2 && n < size && size.is_multiple_of(n);
    (even && bits(mask).eq((0..size).step_by(n as usize))).then_some(n)
}

/// `from 09:00 to 17:59`, `at 03:00 to 03:59 and 05:00 to 05:59`.
fn hours_of(hours: u32) -> String {
    let list: Vec<String> = stretches(bits(u64::from(hours)).collect())
        .into_iter()
        .map(|(a, b)| format!("from {a:02}:00 to {b:02}:59"))
        .collect();
    join(list, "and")
}

fn bits(mask: u64) -> impl Iterator<Item = u32> {
    (0..64).filter(move |i| mask >> i & 1 == 1)
}

/// `1, 3 to 5 and 9`.
fn runs(mask: u64, show: impl Fn(u32) -> String) -> String {
    ranges(bits(mask).collect(), show)
}

fn ranges(values: Vec<u32>, show: impl Fn(u32) -> String) -> String {
    let parts = stretches(values)
        .into_iter()
        .flat_map(|(a, b)| match b - a {
            0 => vec![show(a)],
            1 => vec![show(a), show(b)],
            _ => vec![format!("{} to {}", show(a), show(b))],
        })
        .collect();
    join(parts, "and")
}

/// Rising values as stretches without a hole.
fn stretches(values: Vec<u32>) -> Vec<(u32, u32)> {
    let mut out: Vec<(u32, u32)> = Vec::new();
    for value in values {
        match out.last_mut() {
            Some(last) if last.1 + 1 == value => last.1 = value,
            _ => out.push((value, value)),
        }
    }
    out
}

pub(crate) fn join(parts: Vec<String>, word: &str) -> String {
    match parts.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} {word} {last}", most.join(", ")),
    }
}

pub(crate) fn ordinal(n: u32) -> &'static str {
    match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    }
}

#[cfg(test)]
mod tests {
    use crate::cron::CronExpr;

    #[test]
    fn expressions_in_words() {
        for (text, words) in [
            ("* * * * *", "every minute"),
            ("* * * * * *", "every second"),
            ("*/15 * * * *", "every 15 minutes"),
            ("*/10 * * * * *", "every 10 seconds of every minute"),
            ("5 * * * *", "at minute 5 of each hour"),
            ("@hourly", "at minute 0 of each hour"),
            ("@daily", "at 00:00 every day"),
            ("0,30 2 * * *", "at 02:00 and 02:30 every day"),
            ("15 30 2 * * *", "at 02:30:15 every day"),
            ("*/15 9-17 * * mon-fri", "every 15 minutes, from 09:00 to 17:59, on Monday to Friday"),
            ("0 */2 * * *", "at minute 0 of each hour of every 2nd hour from 00:00"),
            ("30 2 1,15 * *", "at 02:30, on days 1 and 15 of the month"),
            ("0 0 31 12 *", "at 00:00, on day 31 of the month, in December"),
            ("0 12 1 * mon", "at 12:00, on day 1 of the month or on Monday"),
            ("0 12 13 * +fri", "at 12:00, on day 13 of the month if that is on Friday"),
            ("0 18 L * *", "at 18:00, on the last day of the month"),
            ("0 18 LW * *", "at 18:00, on the last Monday to Friday day of the month"),
            ("0 18 15W * *", "at 18:00, on the Monday to Friday day nearest to day 15 of the month"),
            ("0 18 * * 5L", "at 18:00, on the last Friday of the month"),
            ("0 18 * * mon#2,sun", "at 18:00, on Sunday and on the 2nd Monday of the month"),
            ("0 0 30 2 *", "at 00:00, on day 30 of the month, in February: never, no such day comes"),
            ("0 0 0 1 1 * 2027-2030", "at 00:00, on day 1 of the month, in January, in 2027 to 2030"),
        ] {
            assert_eq!(CronExpr::parse(text).unwrap().explain(), words, "{text}");
        }
    }
}
