//! Kind `http`: one request, and what its answer means.
//!
//! ```json
//! {"method": "POST", "url": "https://example.com/hook", "headers": {"x-from": "nightly"},
//!  "json": {"n": 1}, "expect": ["2xx", 404], "timeout": "20s", "sign": {"secret": "billing"}}
//! ```
//!
//! Only `url` must be there. `method` is GET, or POST when there is a `body` (text) or `json`;
//! `expect` is 200-299: a status, a range `200-204`, a class `2xx`, or a list of them; `timeout`
//! (30 s) is for the whole exchange. `sign` names one or two secrets of the node (`"billing"`) or of
//! the project (`{"$secret": "billing"}`), never holds them: see
//! [`sign`]. What an answer means is in [`answer`]. With `"callback": "2h"` the request carries an address
//! and a token in [`CALLBACK`]'s headers, and an answer 202 means that the end is told there, at most
//! that long after the attempt's start: see [`crate::remote::callback`]. Redirects are not followed, nothing is decoded,
//! and where a request may go is the guard's to say: see [`mainspring_outbound`].

pub mod answer;
pub mod sign;

use super::Attempt;
use crate::context::{Context, StopReason};
use crate::job::JobError;
use crate::registry::Handler;
use crate::remote::callback::{self, Invitation, Office};
use crate::secrets::refs;
use ::http::{HeaderName, HeaderValue, Method};
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use mainspring_core::code::Code;
use mainspring_core::job::LogLevel;
use mainspring_core::store::Finished;
use mainspring_core::{Json, duration};
use mainspring_outbound::{Client, Error, Request, Response, Target};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use sign::{Secrets, Signer};
use std::collections::BTreeMap;
use std::time::Duration;

/// The headers that invite to a call-back: its address and its token.
pub const CALLBACK: [&str; 2] = ["mainspring-callback", "mainspring-callback-token"];
/// The kind's name.
pub const KIND: &str = "http";
/// The time for the whole exchange when the payload does not say.
pub const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    url: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    json: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "expectation")]
    expect: Vec<(u16, u16)>,
    #[serde(default, with = "duration::human_option")]
    timeout: Option<Duration>,
    #[serde(default)]
    sign: Option<Sign>,
    #[serde(default, with = "duration::human_option")]
    callback: Option<Duration>,
}

#[derive(Deserialize)]
struct CallBack {
    #[serde(default, with = "duration::human_option")]
    callback: Option<Duration>,
}

/// How long a call-back is waited for, counted from the attempt's start, if the payload asks for one.
pub(crate) fn callback_of(payload: &Json) -> Option<Duration> {
    payload.to::<CallBack>().ok().and_then(|p| p.callback)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sign {
    /// The name of the secret, or of two while one takes over from the other.
    #[serde(deserialize_with = "one_or_two")]
    secret: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    More(Vec<String>),
}

fn one_or_two<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    let names = match Names::deserialize(d) {
        Ok(Names::One(name)) => vec![name],
        Ok(Names::More(names)) => names,
        Err(_) => {
            return Err(serde::de::Error::custom(
                "sign.secret is the name of a secret or {\"$secret\": \"NAME\"}, or a list of two",
            ));
        }
    };
    if names.is_empty() || names.len() > 2 {
        return Err(serde::de::Error::custom("sign.secret takes one name, or two while rotating"));
    }
    Ok(names)
}

fn expectation<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<(u16, u16)>, D::Error> {
    let bad = || {
        serde::de::Error::custom(
            "expect: write a status (204), a range (\"200-204\"), a class (\"2xx\") or a list of them",
        )
    };
    match serde_json::Value::deserialize(d)? {
        serde_json::Value::Array(list) => list.iter().map(|v| statuses(v).ok_or_else(bad)).collect(),
        one => Ok(vec![statuses(&one).ok_or_else(bad)?]),
    }
}

fn statuses(value: &serde_json::Value) -> Option<(u16, u16)> {
    let range = match value {
        serde_json::Value::Number(n) => (n.as_u64()?.try_into().ok()?, n.as_u64()?.try_into().ok()?),
        serde_json::Value::String(s) => match (s.strip_suffix("xx"), s.split_once('-')) {
            (Some(class), _) if class.len() == 1 => {
                let hundreds: u16 = class.parse().ok()?;
                (hundreds * 100, hundreds * 100 + 99)
            }
            (_, Some((from, to))) => (from.trim().parse().ok()?, to.trim().parse().ok()?),
            _ => (s.parse().ok()?, s.parse().ok()?),
        },
        _ => return None,
    };
    (100 <= range.0 && range.0 <= range.1 && range.1 <= 599).then_some(range)
}

/// The handler of kind `http`.
pub struct Http {
    client: Client,
    secrets: Secrets,
    office: Option<Office>,
}

/// A payload that was found good.
struct Checked {
    request: Request,
    expect: Vec<(u16, u16)>,
    signers: Vec<Signer>,
    callback: bool,
}

impl Http {
    /// A handler that sends by `client` and signs with `secrets`.
    pub fn new(client: Client, secrets: Secrets) -> Http {
        Http { client, secrets, office: None }
    }

    /// The same, able to invite to call-backs.
    pub fn with_office(mut self, office: Option<Office>) -> Http {
        self.office = office;
        self
    }

    /// What it would send where, and what the guard says to that, without connecting: for previews.
    /// Secrets do not appear; names and values of headers do.
    pub async fn describe(&self, payload: &Json) -> Result<serde_json::Value, (String, String)> {
        // Secrets that the payload names are not fetched for a look.
        let stood = refs::stand_in(payload)?;
        let checked = check(stood.as_ref().unwrap_or(payload), Some(payload))?;
        let request = &checked.request;
        let found = self.client.verdict(&request.target, Duration::from_secs(5)).await;
        let addresses: Vec<serde_json::Value> = match &found {
            Ok(verdict) => verdict
                .addresses
                .iter()
                .map(|(a, refused)| {
                    serde_json::json!({"address": a, "refused": refused.as_ref().map(ToString::to_string)})
                })
                .collect(),
            Err(_) => vec![],
        };
        let told = |signer: &Signer| match signer {
            Signer::Node(name) => {
                serde_json::json!({"secret": name, "problem": self.secrets.keys(name).err()})
            }
            Signer::Project(name, _) => serde_json::json!({"secret": {"$secret": name}, "problem": null}),
        };
        let signed: Vec<serde_json::Value> = checked.signers.iter().map(told).collect();
        let headers: BTreeMap<&str, String> = request
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        Ok(serde_json::json!({
            "kind": KIND,
            "method": request.method.as_str(),
            "url": request.target.as_str(),
            "headers": headers,
            "body_bytes": request.body.len(),
            "timeout": duration::format(request.timeout),
            "signed_with": signed,
            "addresses": addresses,
            "problem": found.err().map(|e| e.to_string()),
        }))
    }

    /// Sends the request of `payload` once and says what its answer means. Invites to no call-back.
    pub async fn deliver(&self, payload: &Json, attempt: &dyn Attempt) -> Result<Option<Json>, JobError> {
        let (what, response, expect) = self.exchange(payload, attempt, None).await?;
        answer::judge(&what, &response, &expect, attempt.now())
    }

    async fn exchange(
        &self,
        payload: &Json,
        attempt: &dyn Attempt,
        invitation: Option<Invitation>,
    ) -> Result<(String, Response, Vec<(u16, u16)>), JobError> {
        let checked = check(payload, attempt.written()).map_err(super::bad_payload)?;
        let Checked { mut request, expect, signers, .. } = checked;
        if let Some(Invitation { url, token }) = invitation {
            for (name, value) in CALLBACK.into_iter().zip([url, token]) {
                let value = HeaderValue::from_str(&value).map_err(JobError::fatal)?;
                request.headers.insert(HeaderName::from_static(name), value);
            }
        }
        if !signers.is_empty() {
            self.sign(&mut request, &signers, &attempt.delivery_id(), attempt.now())?;
        }
        // Who gives one of their own has their own trace in mind.
        if let Some(place) = attempt.traceparent().and_then(|place| HeaderValue::from_str(&place).ok()) {
            request.headers.entry("traceparent").or_insert(place);
        }
        let what = format!("{} {}", request.method, request.target.shown());
        match self.client.send(request).await {
            Ok(response) => {
                let size = response.body.len();
                let text = format!("{what}: {}, {size} bytes from {}", response.status, response.address);
                attempt.line(LogLevel::Info, &text);
                Ok((what, response, expect))
            }
            Err(error) => Err(failed(&what, &error)),
        }
    }

    /// The same, and a 202 may mean that the end comes later: then the attempt leaves this node.
    async fn deliver_or_wait(&self, cx: &Context) -> Result<Option<Json>, JobError> {
        if !check(cx.payload(), cx.written()).map_err(super::bad_payload)?.callback {
            return self.deliver(cx.payload(), cx).await;
        }
        let office = self.office.as_ref().ok_or_else(|| {
            let text = "the payload asks for a call-back, but nobody knows under which address this server is \
                        reached; set public_url in the configuration";
            JobError::fatal(text).class("no_public_url")
        })?;
        let invitation = office.invite(cx).await?;
        let (what, response, expect) = self.exchange(cx.payload(), cx, Some(invitation)).await?;
        if response.status.as_u16() != 202 || !expect.iter().any(|(from, to)| (*from..=*to).contains(&202)) {
            return answer::judge(&what, &response, &expect, cx.now());
        }
        match callback::hand_over(cx).await? {
            // The call-back was quicker, or somebody else has the job: there is nothing to hand over.
            Finished::Applied | Finished::Stale => cx.stop().ask(StopReason::HandedOver),
        }
        match cx.stop_reason() {
            Some(StopReason::HandedOver) => Ok(None),
            // Its end was asked for before: that is what happens to it.
            _ => Err(JobError::retry("stopped while waiting for the answer")),
        }
    }

    fn sign(
        &self,
        request: &mut Request,
        signers: &[Signer],
        id: &str,
        now: Timestamp,
    ) -> Result<(), JobError> {
        let unusable = |why: String| JobError::fatal(why).class("secret");
        let mut keys = Vec::new();
        for signer in signers {
            keys.extend(signer.keys(&self.secrets).map_err(unusable)?);
        }
        for (name, value) in sign::headers(&keys, id, now.as_second(), &request.body) {
            let value = HeaderValue::from_str(&value).map_err(|e| unusable(e.to_string()))?;
            request.headers.insert(HeaderName::from_static(name), value);
        }
        Ok(())
    }
}

#[async_trait]
impl Handler for Http {
    fn check(&self, payload: &Json) -> Result<(), (String, String)> {
        check(payload, None).map(drop)
    }

    async fn run(&self, cx: Context) -> Result<Option<Json>, JobError> {
        tokio::select! {
            answer = self.deliver_or_wait(&cx) => answer,
            reason = cx.cancelled() => Err(JobError::retry(format!("stopped while waiting for the answer: {reason:?}"))),
        }
    }
}

/// What a payload asks for. `written` is what was enqueued, if secrets were put in since.
fn check(payload: &Json, written: Option<&Json>) -> Result<Checked, (String, String)> {
    let p: Payload = super::read(payload)?;
    let err = |field: &str, text: String| (field.to_owned(), text);
    let target = Target::parse(&p.url).map_err(|e| match e {
        Error::Invalid { field, text } => err(field, text),
        other => err("url", other.to_string()),
    })?;
    let (body, is_json) = match (p.body, p.json) {
        (Some(_), Some(_)) => return Err(err("body", "give either body or json, not both".into())),
        (Some(body), None) => (Bytes::from(body), false),
        (None, Some(json)) => (Bytes::from(json.get().to_owned()), true),
        (None, None) => (Bytes::new(), false),
    };
    let method = match p.method.as_deref() {
        None if body.is_empty() => Method::GET,
        None => Method::POST,
        Some(m) => {
            let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
            let upper = m.to_ascii_uppercase();
            if !known.contains(&upper.as_str()) {
                return Err(err("method", format!("{m:?} is none of: {}", known.join(", "))));
            }
            Method::from_bytes(upper.as_bytes()).map_err(|e| err("method", e.to_string()))?
        }
    };
    let mut request = Request::new(method, target);
    for (name, value) in &p.headers {
        let bad = |text: String| err("headers", format!("{name:?}: {text}"));
        let key: HeaderName = name.parse().map_err(|_| bad("is not the name of a header".into()))?;
        if p.sign.is_some() && sign::NAMES.contains(&key.as_str()) {
            return Err(bad("is made by the signature and cannot be given".into()));
        }
        let value = HeaderValue::from_str(value)
            .map_err(|_| bad("its value holds a control character or a line break".into()))?;
        request.headers.insert(key, value);
    }
    if is_json && !request.headers.contains_key(::http::header::CONTENT_TYPE) {
        request.headers.insert(::http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    request.timeout = p.timeout.unwrap_or(TIMEOUT);
    if request.timeout.is_zero() {
        return Err(err("timeout", "must be longer than zero".into()));
    }
    request.body = body;
    request.check().map_err(|e| match e {
        Error::Invalid { field, text } => err(field, text),
        other => err("headers", other.to_string()),
    })?;
    if p.callback.is_some_and(|wait| wait.is_zero() || wait > callback::LONGEST) {
        let longest = duration::format(callback::LONGEST);
        return Err(err("callback", format!("must be longer than zero and at most {longest}")));
    }
    if p.callback.is_some() && CALLBACK.iter().any(|name| request.headers.contains_key(*name)) {
        return Err(err("headers", "the headers of a call-back are made here and cannot be given".into()));
    }
    let expect = if p.expect.is_empty() { vec![(200, 299)] } else { p.expect };
    let signers = match p.sign {
        Some(sign) => {
            let written = written.unwrap_or(payload).value();
            Signer::told(sign.secret, &written["sign"]["secret"]).map_err(|e| err("sign", e))?
        }
        None => vec![],
    };
    Ok(Checked { request, expect, signers, callback: p.callback.is_some() })
}

fn failed(what: &str, error: &Error) -> JobError {
    let text = format!("{what}: {error}");
    let failed = match error {
        Error::Refused(_) => JobError::fatal(format!("{}: {text}", Code::TARGET_REFUSED)),
        Error::Timeout { .. } => match JobError::retry(text) {
            JobError::Retry { error, .. } => JobError::TimedOut(error),
            other => other,
        },
        e if e.is_transient() => JobError::retry(text),
        _ => JobError::fatal(text),
    };
    failed.class(error.class())
}
