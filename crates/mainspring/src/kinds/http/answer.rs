//! What an answer means.
//!
//! | answer | outcome |
//! |---|---|
//! | an expected status | succeeded; the output holds status, some headers and the body |
//! | 429 or 503 with `retry-after` | failed, tried again after that time (seconds or a date, at most a day) |
//! | 408, 409, 425, 429, 5xx, and any other status below 400 | failed, tried again |
//! | 410 and every other 4xx | failed for good |
//!
//! 202 means done, unless the payload asks for a call-back: then the end is told later (see
//! [`crate::remote::callback`]). A body of type JSON may say more in an object `mainspring`:
//!
//! ```json
//! {"mainspring": {"outcome": "retry", "after": "30s", "reason": "still importing"}}
//! ```
//!
//! | `outcome` | with | |
//! |---|---|---|
//! | `done` | `output` | succeeded; the output is this one |
//! | `partial` | `done`, `failed`, `output` | partly done, not tried again |
//! | `skip` | `reason` | there was nothing to do |
//! | `snooze` | `after` | called again after that; costs no attempt |
//! | `retry` | `after`, `reason` | failed, tried again |
//! | `fatal` | `reason` | failed for good |
//!
//! An unexpected status may only be steered to `retry` or `fatal`: a server in trouble does not
//! decide that the work is done. A `mainspring` object that is not understood is a failure, too.

use super::super::{object, text};
use crate::job::JobError;
use ::http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use jiff::Timestamp;
use mainspring_core::{Json, duration, limits, time};
use mainspring_outbound::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;

/// The longest wait that an answer may ask for.
pub const AFTER: Duration = Duration::from_secs(86_400);
/// Headers that are kept in the output.
const KEPT: [&str; 9] = [
    "content-type",
    "content-length",
    "date",
    "etag",
    "last-modified",
    "location",
    "retry-after",
    "x-request-id",
    "request-id",
];

#[derive(Deserialize)]
struct Envelope {
    mainspring: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Steer {
    outcome: Wanted,
    #[serde(default, with = "duration::human_option")]
    after: Option<Duration>,
    #[serde(default)]
    done: Option<u64>,
    #[serde(default)]
    failed: Option<u64>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    output: Option<Box<RawValue>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    Done,
    Retry,
    Fatal,
    Partial,
    Snooze,
    Skip,
}

/// Says what `response` to `what` means.
pub(super) fn judge(
    what: &str,
    response: &Response,
    expect: &[(u16, u16)],
    now: Timestamp,
) -> Result<Option<Json>, JobError> {
    let status = response.status.as_u16();
    let expected = expect.iter().any(|(from, to)| (*from..=*to).contains(&status));
    match steering(response) {
        Err(why) => Err(JobError::retry(format!("{what}: {why}")).class("bad_answer")),
        Ok(Some(steer)) if expected || matches!(steer.outcome, Wanted::Retry | Wanted::Fatal) => {
            steered(what, steer, response, now)
        }
        Ok(_) if expected => Ok(Some(output(response))),
        Ok(_) => Err(unexpected(what, response, now)),
    }
}

/// The `mainspring` object of a JSON body, if there is one.
fn steering(response: &Response) -> Result<Option<Steer>, String> {
    if !is_json(response) || response.cut {
        return Ok(None);
    }
    let body = std::str::from_utf8(&response.body).unwrap_or_default();
    let Ok(Envelope { mainspring: Some(raw) }) = object(body) else {
        return Ok(None);
    };
    object(raw.get())
        .map(Some)
        .map_err(|e| format!("the answer's \"mainspring\" object is not understood: {e}"))
}

fn is_json(response: &Response) -> bool {
    let kind = response.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn steered(what: &str, steer: Steer, response: &Response, now: Timestamp) -> Result<Option<Json>, JobError> {
    let given = steer.output.map(|raw| Json::parse(raw.get())).transpose();
    let given = given
        .map_err(|e| JobError::fatal(format!("{what}: the answer's output: {e}")).class("bad_answer"))?;
    let reason = text::clean(steer.reason.unwrap_or_default().as_bytes());
    let told = |word: &str| match reason.as_str() {
        "" => format!("{what}: the answer asks for {word}"),
        reason => reason.to_owned(),
    };
    let after = steer.after.map(|a| a.min(AFTER));
    match steer.outcome {
        Wanted::Done => Ok(Some(given.unwrap_or_else(|| output(response)))),
        Wanted::Retry => {
            let failed = match after {
                Some(after) => JobError::retry_after(told("another attempt"), after),
                None => JobError::retry(told("another attempt")),
            };
            Err(failed.class("answer"))
        }
        Wanted::Fatal => Err(JobError::fatal(told("no further attempt")).class("answer")),
        Wanted::Skip => Err(JobError::Skip(told("nothing to do"))),
        Wanted::Snooze => Err(JobError::Snooze(time::plus(now, after.unwrap_or(Duration::from_secs(60))))),
        Wanted::Partial => {
            let counts = serde_json::json!({"done": steer.done, "failed": steer.failed});
            let output = given.unwrap_or_else(|| Json::trusted(counts.to_string()));
            Err(JobError::Partial { output: Some(output), failures: steer.failed.unwrap_or(1) })
        }
    }
}

fn unexpected(what: &str, response: &Response, now: Timestamp) -> JobError {
    let status = response.status;
    let mut text = format!("{what}: the answer is {status}");
    if status.is_redirection() {
        let to = response.headers.get(LOCATION).map(|v| text::clean(v.as_bytes()));
        match to {
            Some(to) => {
                text.push_str(&format!(", a redirect to {to}; redirects are not followed, write that URL"))
            }
            None => text.push_str("; redirects are not followed"),
        }
    }
    let wait = matches!(status.as_u16(), 429 | 503).then(|| retry_after(response, now)).flatten();
    let failed = match (status.as_u16(), wait) {
        (_, Some(wait)) => JobError::retry_after(text, wait),
        (408 | 409 | 425 | 429, _) => JobError::retry(text),
        (400..=499, _) => JobError::fatal(text),
        _ => JobError::retry(text),
    };
    with_cause(failed.class("http_status"), response)
}

/// Adds the beginning of the body: it often says why.
fn with_cause(mut failed: JobError, response: &Response) -> JobError {
    if let JobError::Retry { error, .. } | JobError::Fatal(error) = &mut failed {
        let body = text::clean(&response.body[..response.body.len().min(4 * SHOWN)]);
        let body = body.trim();
        if !body.is_empty() {
            error.chain.push(limits::cut(body, SHOWN));
        }
    }
    failed
}

/// Bytes of a failed answer's body that are kept with the error.
const SHOWN: usize = 1_000;

fn retry_after(response: &Response, now: Timestamp) -> Option<Duration> {
    let value = response.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
            time::since(now, at)
        }
    };
    Some(wait.min(AFTER))
}

/// Status, some headers, and the body: as JSON when it is, else as text; a body that is no text is
/// only counted.
fn output(response: &Response) -> Json {
    let header = |name: &&str| {
        let value = response.headers.get(*name)?;
        Some(((*name).to_owned(), text::clean(value.as_bytes()).into()))
    };
    let headers: serde_json::Map<_, serde_json::Value> = KEPT.iter().filter_map(header).collect();
    let mut fields = vec![
        ("status", response.status.as_u16().to_string()),
        ("headers", serde_json::Value::Object(headers).to_string()),
        ("bytes", response.body.len().to_string()),
    ];
    fields.extend(body(response).map(|body| ("body", body)));
    if response.cut {
        fields.push(("cut", "true".into()));
    }
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    Json::trusted(format!("{{{}}}", fields.join(",")))
}

/// The body as JSON text. JSON is passed on as it was sent: large numbers and the order stay.
fn body(response: &Response) -> Option<String> {
    if response.body.is_empty() {
        return None;
    }
    let whole = std::str::from_utf8(&response.body);
    if let Ok(text) = whole
        && is_json(response)
        && !response.cut
        // Its NUL characters could not be kept, and inside the output it is one level deeper.
        && !text.contains("\\u0000")
        && Json::parse(format!("[{text}]")).is_ok()
    {
        return Some(text.trim().to_owned());
    }
    let is_text = match whole {
        Ok(_) => true,
        // A cut may fall into the middle of a character; anything else is not text.
        Err(e) => response.cut && e.error_len().is_none(),
    };
    is_text.then(|| serde_json::Value::String(text::clean(&response.body)).to_string())
}
