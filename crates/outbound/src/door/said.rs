//! What an answer says about when to come back: `Retry-After`, `X-RateLimit-*`, `RateLimit-*`.
//!
//! Pure. Sources: RFC 9110 section 10.2.3 and 5.6.7 (dates in three forms); GitHub's headers, whose
//! reset is a second of the epoch; the drafts of `RateLimit` (draft-ietf-httpapi-ratelimit-headers),
//! whose reset is seconds from now, in one header or in three.

use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use jiff::fmt::strtime;
use std::time::Duration;

/// The longest wait that is believed.
pub const LONGEST: Duration = Duration::from_secs(86_400);
/// The wait after a 429 that does not say how long.
const UNSAID: Duration = Duration::from_secs(60);
/// Numbers from here on are seconds of the epoch, below it seconds from now.
const EPOCH: f64 = 1e9;

/// How long `Retry-After` asks to wait: seconds, whole or not, or a date; at most [`LONGEST`].
/// Nothing when it says neither.
pub fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<f64>() {
        Ok(seconds) => seconds_of(seconds)?,
        Err(_) => Duration::try_from(date(text)?.duration_since(now)).unwrap_or_default(),
    };
    Some(wait.min(LONGEST))
}

fn seconds_of(seconds: f64) -> Option<Duration> {
    (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(1e6)))
}

/// A date of HTTP in any of its three forms.
fn date(text: &str) -> Option<Timestamp> {
    if let Ok(at) = jiff::fmt::rfc2822::parse(text) {
        return Some(at.timestamp());
    }
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"].iter().find_map(|form| {
        let at = strtime::parse(form, text).ok()?.to_datetime().ok()?;
        Some(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })
}

/// Until when the host wants no more requests, if the answer says so.
pub(crate) fn closed_until(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let after = |wait: Duration| now.checked_add(wait.min(LONGEST)).ok();
    let busy = matches!(status.as_u16(), 403 | 429 | 503);
    if busy && let Some(wait) = text(header::RETRY_AFTER.as_str()).and_then(|t| retry_after(t, now)) {
        return after(wait);
    }
    let spent = spent(&text, now);
    match spent {
        Some(wait) => after(wait),
        None if status == StatusCode::TOO_MANY_REQUESTS => after(UNSAID),
        None => None,
    }
}

/// How long until there is something left, when the headers say that nothing is.
fn spent<'a>(text: &impl Fn(&str) -> Option<&'a str>, now: Timestamp) -> Option<Duration> {
    let number = |t: &str| t.trim().parse::<f64>().ok();
    let wait = |reset: f64| {
        let from_now = if reset >= EPOCH { (reset - now.as_second() as f64).max(0.0) } else { reset };
        seconds_of(from_now)
    };
    for prefix in ["x-ratelimit", "ratelimit", "x-rate-limit"] {
        let remaining = text(&format!("{prefix}-remaining")).and_then(number);
        if remaining.is_some_and(|left| left < 1.0) {
            return text(&format!("{prefix}-reset")).and_then(number).and_then(wait);
        }
    }
    // `"default";r=0;t=30`, or `limit=100, remaining=0, reset=30`.
    let together = text("ratelimit")?;
    let part = |names: [&str; 2]| {
        let mut parts = together.split([';', ',']).filter_map(|p| p.trim().split_once('='));
        parts.find(|(name, _)| names.contains(name)).and_then(|(_, value)| number(value))
    };
    if part(["r", "remaining"])? >= 1.0 {
        return None;
    }
    part(["t", "reset"]).and_then(wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> Timestamp {
        "1994-11-06T08:49:07Z".parse().unwrap()
    }

    fn until(status: u16, headers: &[(&'static str, &str)]) -> Option<i64> {
        let headers = headers.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
        let at = closed_until(StatusCode::from_u16(status).unwrap(), &headers, now())?;
        Some(at.as_second() - now().as_second())
    }

    #[test]
    fn all_spellings_of_the_same_half_minute() {
        for text in [
            "30",
            " 30 ",
            "30.0",
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(retry_after(text, now()), Some(Duration::from_secs(30)), "{text}");
        }
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now()), Some(Duration::ZERO), "past");
        assert_eq!(retry_after("99999999999", now()), Some(LONGEST));
        for text in ["", "soon", "-1", "NaN", "inf", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(retry_after(text, now()), None, "{text}");
        }
        let reset = (now().as_second() + 30).to_string();
        let future = "1287360000"; // A reset of the epoch's kind, years ahead: at most a day is believed.
        assert_eq!(
            until(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", future)]),
            Some(86_400)
        );
        assert!(
            reset.len() < 10
                && until(200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "30")]) == Some(30)
        );
        assert_eq!(until(429, &[("ratelimit", "\"default\";r=0;t=30")]), Some(30));
        assert_eq!(until(200, &[("ratelimit", "limit=100, remaining=0, reset=30")]), Some(30));
    }

    #[test]
    fn only_what_was_said_closes() {
        assert_eq!(until(403, &[]), None, "a plain 403 is about rights");
        assert_eq!(until(429, &[]), Some(60));
        assert_eq!(until(503, &[("retry-after", "7")]), Some(7));
        assert_eq!(until(200, &[("retry-after", "7")]), None);
        assert_eq!(until(200, &[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "30")]), None);
        assert_eq!(until(200, &[("ratelimit", "\"default\";r=5;t=30")]), None);
        // Retry-After is nearer to the matter than the quota's end.
        assert_eq!(
            until(403, &[("retry-after", "5"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "30")]),
            Some(5)
        );
    }

    proptest! {
        #[test]
        fn whatever_it_says_the_wait_is_bounded(text in "\\PC{0,40}", status in 100u16..600) {
            if let Some(wait) = retry_after(&text, now()) {
                prop_assert!(wait <= LONGEST);
            }
            let header = text.parse::<http::HeaderValue>();
            if let Ok(value) = header {
                let headers = ["retry-after", "ratelimit", "x-ratelimit-remaining", "x-ratelimit-reset"];
                let headers = headers.iter().map(|n| (n.parse().unwrap(), value.clone())).collect();
                if let Some(at) = closed_until(StatusCode::from_u16(status).unwrap(), &headers, now()) {
                    let wait = at.duration_since(now());
                    prop_assert!(!wait.is_negative() && wait.as_secs() <= 86_400);
                }
            }
        }

        #[test]
        fn seconds_and_the_date_of_them_agree(seconds in 0i64..86_400) {
            let at = now() + jiff::SignedDuration::from_secs(seconds);
            let date = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            prop_assert_eq!(retry_after(&date, now()), retry_after(&seconds.to_string(), now()));
        }
    }
}
