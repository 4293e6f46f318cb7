//! Instants as people type them on a command line.
//!
//! `2026-12-01T10:00:00Z` and other forms with an offset; `2026-12-01 10:00` and `2026-12-01` in the
//! zone of the settings; `2h` for "from now" or "ago", whichever the option means; `now`.

use crate::error::{CliError, Result};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use mainspring_core::code::Code;
use mainspring_core::zone::Zone;
use mainspring_core::{duration, time};

/// What a length of time means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// `2h`: two hours from now.
    Ahead,
    /// `2h`: two hours ago.
    Back,
}

/// Reads an instant given for `option`.
pub fn parse(option: &str, text: &str, now: Timestamp, tz: &TimeZone, sense: Sense) -> Result<Timestamp> {
    let text = text.trim();
    if text == "now" {
        return Ok(now);
    }
    if let Ok(length) = duration::parse(text) {
        return Ok(match sense {
            Sense::Ahead => time::plus(now, length),
            Sense::Back => time::minus(now, length),
        });
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(time::trunc(at));
    }
    let wrong = |message: String| {
        CliError::new(Code::BAD_TIME, message)
            .at(option.to_owned())
            .hint("2026-12-01T10:00:00Z, \"2026-12-01 10:00\" or 2h")
    };
    // `…[Europe/Berlin]` names its zone itself.
    let (named, text) = match text.strip_suffix(']').and_then(|t| t.split_once('[')) {
        Some((time, name)) => {
            let zone =
                Zone::get(name).map_err(|e| CliError::new(Code::BAD_ZONE, e.to_string()).at(option))?;
            (Some(zone), time)
        }
        None => (None, text),
    };
    let tz = named.as_ref().map_or(tz, Zone::tz);
    let local: DateTime = match text.parse() {
        Ok(local) => local,
        Err(e) => {
            let impossible = text.len() >= 8 && text.as_bytes()[4] == b'-';
            let why = if impossible { format!(": {e}") } else { String::new() };
            return Err(wrong(format!("{text:?} is not a time{why}")));
        }
    };
    let zone = tz.iana_name().unwrap_or("this zone");
    let instant = tz.to_ambiguous_zoned(local);
    match instant.offset() {
        AmbiguousOffset::Unambiguous { .. } => {}
        AmbiguousOffset::Gap { .. } => {
            let later = instant.later().map(|z| z.strftime("%H:%M:%S").to_string()).unwrap_or_default();
            return Err(wrong(format!(
                "{text} does not exist in {zone}: clocks are set forward over it (to {later})"
            )));
        }
        AmbiguousOffset::Fold { before, after } => {
            let twice = format!("{text} is there twice in {zone}, when clocks are set back");
            return Err(CliError::new(Code::BAD_TIME, twice)
                .at(option.to_owned())
                .hint(format!("{text}{before} for the first, {text}{after} for the second")));
        }
    }
    let zoned = instant.unambiguous().map_err(|e| wrong(format!("{text:?} cannot be used: {e}")))?;
    Ok(time::trunc(zoned.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, zone: &str) -> Result<String> {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        parse("--at", text, now, &TimeZone::get(zone).unwrap(), Sense::Ahead).map(|t| t.to_string())
    }

    #[test]
    fn instants_lengths_and_local_times_are_read() {
        assert_eq!(read("2026-12-01T10:00:00+02:00", "UTC").unwrap(), "2026-12-01T08:00:00Z");
        assert_eq!(read("2026-12-01 10:00", "Europe/Berlin").unwrap(), "2026-12-01T09:00:00Z");
        assert_eq!(read("2026-07-01", "Europe/Berlin").unwrap(), "2026-06-30T22:00:00Z");
        assert_eq!(read("2026-12-01T10:00[Asia/Tokyo]", "UTC").unwrap(), "2026-12-01T01:00:00Z");
        assert_eq!(read("2h", "UTC").unwrap(), "2026-11-22T12:00:00Z");
        assert_eq!(read("now", "UTC").unwrap(), "2026-11-22T10:00:00Z");
    }

    #[test]
    fn what_is_no_instant_is_refused_with_the_reason() {
        let text = |t, z| read(t, z).unwrap_err().to_string();
        assert!(
            text("tomorrow", "UTC").starts_with("error[MS0012]: \"tomorrow\" is not a time\n  where: --at")
        );
        assert!(text("2026-02-30", "UTC").contains("is not a time:"), "{}", text("2026-02-30", "UTC"));
        let gap = text("2027-03-14 02:30", "America/New_York");
        assert!(gap.contains("does not exist in America/New_York") && gap.contains("03:30:00"), "{gap}");
        let twice = text("2027-11-07 01:30", "America/New_York");
        assert!(twice.contains("there twice") && twice.contains("01:30-04"), "{twice}");
    }
}
