//! Instants as the stores keep them: whole microseconds since 1970-01-01T00:00:00Z.
//!
//! [`jiff::Timestamp`] is the type everywhere in the code; its nanoseconds are cut to microseconds
//! on the way in, so that an instant read back equals the one written, on every store.

use jiff::Timestamp;

/// Microseconds in one second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds in one minute.
pub const MINUTE: i64 = 60 * SECOND;

/// Whole microseconds since the epoch, rounded towards the past.
pub fn micros(at: Timestamp) -> i64 {
    at.as_nanosecond().div_euclid(1000) as i64
}

/// The instant `us` microseconds after the epoch; what lies outside jiff's range is clamped to it.
pub fn from_micros(us: i64) -> Timestamp {
    Timestamp::from_microsecond(us).unwrap_or(if us < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// `at` cut to whole microseconds.
pub fn trunc(at: Timestamp) -> Timestamp {
    from_micros(micros(at))
}

/// `at + d`, clamped to the last representable instant.
pub fn plus(at: Timestamp, d: std::time::Duration) -> Timestamp {
    from_micros(micros(at).saturating_add(i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
}

/// `at - d`, clamped to the first representable instant.
pub fn minus(at: Timestamp, d: std::time::Duration) -> Timestamp {
    from_micros(micros(at).saturating_sub(i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
}

/// The time from `from` to `to`; zero when `to` is not later.
pub fn since(from: Timestamp, to: Timestamp) -> std::time::Duration {
    std::time::Duration::from_micros(micros(to).saturating_sub(micros(from)).max(0) as u64)
}

/// Whole minutes since the epoch: the key of a roll-up.
pub fn minute(at: Timestamp) -> i64 {
    micros(at).div_euclid(MINUTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_survive_the_round_trip_and_nanoseconds_are_cut() {
        let at: Timestamp = "2026-11-22T10:00:00.123456789Z".parse().unwrap();
        assert_eq!(trunc(at).to_string(), "2026-11-22T10:00:00.123456Z");
        assert_eq!(from_micros(micros(at)), trunc(at));
        let before: Timestamp = "1969-12-31T23:59:59.9999999Z".parse().unwrap();
        assert_eq!(micros(before), -1);
        assert_eq!(minute(before), -1);
    }

    #[test]
    fn arithmetic_clamps_instead_of_panicking() {
        let end = plus(Timestamp::MAX, std::time::Duration::from_secs(u64::MAX));
        assert!(end <= Timestamp::MAX);
        assert_eq!(since(Timestamp::MAX, Timestamp::MIN), std::time::Duration::ZERO);
    }
}
