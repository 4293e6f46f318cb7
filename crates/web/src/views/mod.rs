//! Numbers, times and lengths as people read them; states, charts and events as pages show them.

pub mod chart;
pub mod feed;
pub mod mark;

use jiff::Timestamp;
use mainspring_core::Json;
use std::time::Duration;

/// `18,402`.
pub fn number(n: &u64) -> String {
    mainspring_core::text::grouped(*n)
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
        s => {
            let far = if s < 10 { format!("{s} s") } else { length(&d) };
            if span.is_positive() { format!("in {far}") } else { format!("{far} ago") }
        }
    }
}

/// `2026-11-22 18:04:06 UTC`.
pub fn instant(at: &Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `Sun 22 Nov 18:04:06`, in UTC.
pub fn wall(at: &Timestamp) -> String {
    at.strftime("%a %d %b %H:%M:%S").to_string()
}

/// One of few, of which one is current.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What an address or a form says.
    pub value: String,
    /// What people read.
    pub text: String,
    /// Whether it is the chosen one.
    pub current: bool,
}

impl Choice {
    /// A choice.
    pub fn new(value: impl Into<String>, text: impl Into<String>, current: bool) -> Choice {
        Choice { value: value.into(), text: text.into(), current }
    }
}

/// `4 jobs`, `1 job`.
pub fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(&n), if n == 1 { one } else { many })
}

/// Text cut to its first line and `max` characters, for a row.
pub fn brief(text: &str, max: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= max && line.len() == text.trim_end().len() {
        return line.to_owned();
    }
    let cut: String = line.chars().take(max).collect();
    format!("{}…", cut.trim_end())
}

/// JSON over several lines. Works on the text, so that no number loses a digit.
pub fn pretty(json: &Json) -> String {
    let (mut out, mut depth, mut quoted, mut escaped) = (String::new(), 0usize, false, false);
    let mut chars = json.as_str().chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = chars.next() {
        if quoted {
            out.push(c);
            (quoted, escaped) = (escaped || c != '"', !escaped && c == '\\');
            continue;
        }
        match c {
            '"' => {
                quoted = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while chars.next_if(|c| c.is_whitespace()).is_some() {}
                match chars.next_if(|c| matches!(c, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_whitespace() => {}
            c => out.push(c),
        }
    }
    out
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
        assert_eq!(relative(&at(-9), &now), "9 s ago");
        assert_eq!(relative(&now, &now), "now");
        assert_eq!(instant(&now), "2026-11-22 10:00:00 UTC");
    }

    #[test]
    fn json_is_laid_out_without_losing_a_digit() {
        let shown = |text: &str| pretty(&Json::parse(text).unwrap());
        assert_eq!(
            shown(r#"{"a":[1,{"b":"x,\"{:"}],"n":900719925474099312.10,"e":{ },"f":[]}"#),
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x,\\\"{:\"\n    }\n  ],\n  \"n\": 900719925474099312.10,\n  \"e\": {},\n  \"f\": []\n}"
        );
        assert_eq!(shown("null"), "null");
        assert_eq!(brief("first\nsecond", 20), "first…");
        assert_eq!(brief("short", 20), "short");
        assert_eq!(brief("0123456789", 4), "0123…");
        assert_eq!([counted(1, "job", "jobs"), counted(1200, "job", "jobs")], ["1 job", "1,200 jobs"]);
    }
}
