//! Outside services, one module each: a typed request in, a parsed answer out, an error with a class.
//!
//! | module | service |
//! |---|---|
//! | [`smtp`] | a mail server |
//! | [`resend`] | the Resend API for mail |
//! | [`slack`] | an incoming webhook of Slack |
//! | [`discord`] | a webhook of Discord |
//! | [`webhook`] | any address, signed by Standard Webhooks |
//! | [`github`] | GitHub's REST interface: what has happened in repositories |
//! | [`ping`] | an outside watcher that wants to hear from us |
//!
//! Everything goes through [`mainspring_outbound`], which judges addresses and ends what takes too
//! long. What is deliberately not here: a database, retries (the caller's queue has them; an [`Error`]
//! says whether they may help), and what the messages are about.

pub mod discord;
mod error;
pub mod github;
mod mail;
pub mod ping;
pub mod resend;
pub mod slack;
pub mod smtp;
pub mod webhook;

pub use error::{Class, Error, Result};
pub use mail::{Mail, check_address, escape_html};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use mainspring_outbound::{Client, Request, Response, Target};
use std::time::Duration;

/// The time for a whole exchange.
pub const TIMEOUT: Duration = Duration::from_secs(20);
/// The longest wait that a service may ask for.
pub const AFTER: Duration = mainspring_outbound::LONGEST;
/// Bytes of an answer that are read.
const KEEP: usize = 16 << 10;
/// Bytes of an answer that are shown.
const SHOWN: usize = 300;

/// What a service answered when it took the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The service's own name for the message, where it gives one.
    pub id: Option<String>,
    /// Its answer in a line: `250 2.0.0 queued as 4F1`, `200 OK: ok`.
    pub text: String,
}

/// A secret given to a service: no `Debug`, so that it does not end up in a log.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps `value`.
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

/// An address that is itself a secret, or not: the error never holds it.
fn target(url: &str) -> Result<Target> {
    Target::parse(url).map_err(|e| Error::fatal(e.to_string()))
}

/// Sends JSON by POST.
async fn post(client: &Client, target: Target, headers: HeaderMap, body: Vec<u8>) -> Result<Response> {
    let mut request = Request::new(Method::POST, target);
    request.headers = headers;
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request.body = Bytes::from(body);
    request.timeout = TIMEOUT;
    request.keep = KEEP;
    Ok(client.send(request).await?)
}

/// The answer's body as a line of text, control characters gone, cut.
fn shown(response: &Response) -> String {
    let text = String::from_utf8_lossy(&response.body);
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut end = clean.len().min(SHOWN);
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    clean[..end].trim().to_owned()
}

/// How long to wait: `retry-after` in seconds (whole or not) or as a date, at most [`AFTER`].
fn retry_after(response: &Response, now: Timestamp) -> Option<Duration> {
    mainspring_outbound::retry_after(response.headers.get(RETRY_AFTER)?.to_str().ok()?, now)
}

/// What a status means when the service says nothing better: below 300 taken, 410 gone, 408, 409,
/// 425, 429, 5xx and redirects (which are not followed) worth another try, the rest refused.
fn judge(service: &str, response: &Response, now: Timestamp) -> Result<Receipt> {
    let status = response.status;
    let said = shown(response);
    let text = if said.is_empty() { status.to_string() } else { format!("{status}: {said}") };
    match status.as_u16() {
        200..=299 => Ok(Receipt { id: None, text }),
        410 => Err(Error::new(Class::Gone, format!("{service} wants no more: {text}"))),
        300..=399 | 408 | 409 | 425 | 429 | 500.. => {
            Err(Error::new(Class::Retry(retry_after(response, now)), format!("{service} answered {text}")))
        }
        _ => Err(Error::fatal(format!("{service} refused it: {text}"))),
    }
}
