//! Durations as people write them: `500ms`, `5s`, `1h30m`, `7d`.
//!
//! One form for configuration, flags, JSON and output, so that what is shown can be typed back.
//! Units: `ms`, `s`, `m`, `h`, `d` (24 h), `w` (7 d), largest first, each at most once.

use std::time::Duration;

const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads `1h30m`. The error says what was wrong and shows a form that works.
pub fn parse(text: &str) -> Result<Duration, String> {
    let bad =
        |why: &str| format!("{text:?} is not a duration: {why}; write for example 500ms, 30s, 1h30m or 7d");
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(bad("it is empty"));
    }
    let mut total: u64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if digits == 0 {
            return Err(bad("a number must come before each unit"));
        }
        let number: u64 = rest[..digits].parse().map_err(|_| bad("a number is too large"))?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = &rest[..letters];
        rest = &rest[letters..];
        if unit.is_empty() {
            return Err(bad("the unit is missing"));
        }
        let Some(at) = UNITS.iter().position(|(name, _)| *name == unit) else {
            return Err(bad(&format!("unknown unit {unit:?}, known are ms s m h d w")));
        };
        if at < next_unit {
            return Err(bad("units go from large to small, each once"));
        }
        next_unit = at + 1;
        total = number
            .checked_mul(UNITS[at].1)
            .and_then(|ms| total.checked_add(ms))
            .filter(|ms| *ms <= crate::limits::DURATION.as_millis() as u64)
            .ok_or_else(|| bad("longer than 100 years"))?;
    }
    Ok(Duration::from_millis(total))
}

/// Writes the shortest form that [`parse`] reads back; what is finer than a millisecond is cut.
pub fn format(d: Duration) -> String {
    let mut ms = u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".into();
    }
    let mut out = String::new();
    // Weeks are read but not written: "14d" is what people expect to see again.
    for (name, size) in &UNITS[1..] {
        if ms >= *size {
            out.push_str(&format!("{}{name}", ms / size));
            ms %= size;
        }
    }
    out
}

/// For `#[serde(with = "mainspring_core::duration::human")]`.
pub mod human {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    /// Writes the human form.
    pub fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&super::format(*d))
    }

    /// Reads the human form.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(d)?;
        super::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// For `#[serde(default, with = "mainspring_core::duration::human_option")]`.
pub mod human_option {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    /// Writes the human form or null.
    pub fn serialize<S: Serializer>(d: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        match d {
            Some(d) => s.serialize_str(&super::format(*d)),
            None => s.serialize_none(),
        }
    }

    /// Reads the human form or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
        match Option::<String>::deserialize(d)? {
            Some(text) => super::parse(&text).map(Some).map_err(serde::de::Error::custom),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["500ms", "5s", "1h30m", "7d", "2d3h4m5s6ms"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(format(parse("2w").unwrap()), "14d");
        assert_eq!(format(parse("90m").unwrap()), "1h30m");
    }

    #[test]
    fn refuses_with_the_reason_and_a_form_that_works() {
        for (text, why) in [
            ("", "empty"),
            ("5", "unit is missing"),
            ("s", "number must come before"),
            ("5 s", "unit is missing"),
            ("5y", "unknown unit"),
            ("5s5h", "large to small"),
            ("99999999999999999999s", "too large"),
            ("999999w", "100 years"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why) && error.contains("1h30m"), "{text}: {error}");
        }
    }
}
