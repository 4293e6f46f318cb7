//! Numbers, times and lengths as people read them.

use jiff::Timestamp;
use std::time::Duration;

/// `18,402`.
pub fn number(n: &u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The two largest units of a length: `3 d 4 h`, `8 s`, `120 ms`.
pub fn length(d: &Duration) -> String {
    let ms = d.as_millis() as u64;
    let s = d.as_secs();
    match s {
        0 if ms == 0 => "0 s".into(),
        0 => format!("{ms} ms"),
        1..=9 => format!("{}.{} s", s, (ms % 1000) / 100),
        10..=59 => format!("{s} s"),
        60..=3599 => two(s / 60, "min", s % 60, "s"),
        3600..=86_399 => two(s / 3600, "h", s % 3600 / 60, "min"),
        _ => two(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}

fn two(large: u64, unit: &str, small: u64, smaller: &str) -> String {
    if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {smaller}") }
}

/// `6 min ago`, `in 4 min 3 s`, `now`.
pub fn relative(at: &Timestamp, now: &Timestamp) -> String {
    let span = at.duration_since(*now);
    let d = Duration::try_from(span.abs()).unwrap_or_default();
    match d.as_secs() {
        0 => "now".into(),
        _ if span.is_positive() => format!("in {}", length(&d)),
        _ => format!("{} ago", length(&d)),
    }
}

/// `2026-11-22 18:04:06 UTC`.
pub fn instant(at: &Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lengths_and_times_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(|n| number(&n)), ["0", "999", "1,000", "1,234,567"]);
        let said = |ms| length(&Duration::from_millis(ms));
        assert_eq!(
            [0, 7, 1250, 45_000, 60_000, 243_000, 3_660_000, 180_000_000].map(said),
            ["0 s", "7 ms", "1.2 s", "45 s", "1 min", "4 min 3 s", "1 h 1 min", "2 d 2 h"]
        );
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let at = |s| now + jiff::SignedDuration::from_secs(s);
        assert_eq!(relative(&at(243), &now), "in 4 min 3 s");
        assert_eq!(relative(&at(-60), &now), "1 min ago");
        assert_eq!(relative(&now, &now), "now");
        assert_eq!(instant(&now), "2026-11-22 10:00:00 UTC");
    }
}
