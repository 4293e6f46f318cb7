//! Instants and lengths of time as people read them: the local time with its zone, and how far away.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainspring_core::time;
use std::time::Duration;

/// `2026-11-22 14:30:05 CET`.
pub fn full(at: Timestamp, tz: &TimeZone) -> String {
    at.to_zoned(tz.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// `2026-11-22 14:30:05 CET (3m ago)`.
pub fn both(at: Timestamp, now: Timestamp, tz: &TimeZone) -> String {
    format!("{} ({})", full(at, tz), relative(at, now))
}

/// `3m ago`, `in 2h`, `now`.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        match time::since(now, at) {
            d if d < Duration::from_secs(1) => "now".into(),
            d => format!("in {}", short(d)),
        }
    } else {
        match time::since(at, now) {
            d if d < Duration::from_secs(1) => "now".into(),
            d => format!("{} ago", short(d)),
        }
    }
}

/// The two largest units: `1d3h`, `4m12s`, `38s`; below ten seconds with tenths, below one in
/// milliseconds.
pub fn short(d: Duration) -> String {
    let s = d.as_secs();
    let two = |a: u64, au: &str, b: u64, bu: &str| {
        if b == 0 { format!("{a}{au}") } else { format!("{a}{au}{b}{bu}") }
    };
    match s {
        0 if d.is_zero() => "0s".into(),
        0 if d < Duration::from_millis(1) => format!("{}µs", d.as_micros()),
        0 => format!("{}ms", d.as_millis()),
        1..10 => format!("{}.{}s", s, d.subsec_millis() / 100),
        10..60 => format!("{s}s"),
        60..3600 => two(s / 60, "m", s % 60, "s"),
        3600..86_400 => two(s / 3600, "h", s % 3600 / 60, "m"),
        _ => two(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}

/// `12.3 MiB`.
pub fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", n as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", n as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_shown_with_its_zone_and_its_distance() {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let tz = TimeZone::get("Europe/Berlin").unwrap();
        let at = time::minus(now, Duration::from_secs(190));
        assert_eq!(both(at, now, &tz), "2026-11-22 10:56:50 CET (3m10s ago)");
        assert_eq!(relative(time::plus(now, Duration::from_secs(7200)), now), "in 2h");
        assert_eq!(relative(now, now), "now");
    }

    #[test]
    fn lengths_keep_two_units() {
        let s = |ms| short(Duration::from_millis(ms));
        assert_eq!([s(0), s(38), s(1_250), s(59_000)], ["0s", "38ms", "1.2s", "59s"]);
        assert_eq!([s(252_000), s(3_600_000), s(97_200_000)], ["4m12s", "1h", "1d3h"]);
    }
}
