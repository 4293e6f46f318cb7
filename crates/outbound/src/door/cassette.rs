//! Recordings of exchanges: a line of JSON each, readable, secrets gone, played back without a network.
//!
//! Of a request its method, address, body and whether it was conditional are written, none of its
//! headers. In addresses, and in bodies that are JSON or a form, values whose name says that they are
//! secret become `[scrubbed]`; so does whatever was sent as authorization, wherever it appears. The same
//! scrubbing is applied to what is asked in a replay, so the two meet.

use super::gate::lock;
use crate::client::{Request, Response};
use crate::error::Error;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::sync::Mutex;

const GONE: &str = "[scrubbed]";
/// Names of values that are secret, without their punctuation.
const SECRET: [&str; 17] = [
    "accesskey",
    "accessjwt",
    "accesstoken",
    "apikey",
    "auth",
    "authorization",
    "clientsecret",
    "code",
    "jwt",
    "password",
    "privatekey",
    "refreshjwt",
    "refreshtoken",
    "secret",
    "sig",
    "signature",
    "token",
];
/// Headers of an answer that may hold a secret.
const SECRET_HEADERS: [&str; 5] =
    ["set-cookie", "authorization", "www-authenticate", "proxy-authenticate", "x-amz-security-token"];
/// The longest line that is read.
const LINE: u64 = 32 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Asked {
    method: String,
    url: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    body: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    conditional: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Answered {
    status: u16,
    headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// A body that is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Exchange {
    request: Asked,
    response: Answered,
}

/// Writes a cassette.
#[derive(Debug)]
pub struct Recorder(Mutex<File>);

impl Recorder {
    /// One that adds to the file at `path`.
    pub fn open(path: &Path) -> Result<Recorder, Error> {
        let file = File::options().create(true).append(true).open(path);
        Ok(Recorder(Mutex::new(file.map_err(|e| Error::Cassette(format!("{}: {e}", path.display())))?)))
    }

    pub(crate) fn write(&self, request: &Request, answer: &Response) -> Result<(), Error> {
        let words = credentials(request);
        let clean = |text: String| words.iter().fold(text, |text, word| text.replace(word.as_str(), GONE));
        let headers = answer.headers.iter().filter(|(name, _)| !SECRET_HEADERS.contains(&name.as_str()));
        let headers = headers.map(|(n, v)| (n.to_string(), clean(scrub_header(n, v)))).collect();
        let (text, base64) = match std::str::from_utf8(&answer.body) {
            Ok(text) => (Some(clean(scrub_body(text))), None),
            Err(_) => (None, Some(STANDARD.encode(&answer.body))),
        };
        let response = Answered { status: answer.status.as_u16(), headers, text, base64, cut: answer.cut };
        let mut line = serde_json::to_string(&Exchange { request: asked(request), response })
            .map_err(|e| Error::Cassette(e.to_string()))?;
        line.push('\n');
        // Small, to a file, and only where somebody records: not worth a thread of its own.
        lock(&self.0).write_all(line.as_bytes()).map_err(|e| Error::Cassette(e.to_string()))
    }
}

/// Plays a cassette: answers to the same request come in the order they were recorded, the last again.
#[derive(Debug)]
pub struct Player(Mutex<HashMap<Asked, (usize, Vec<Answered>)>>);

impl Player {
    /// Reads the file at `path`.
    pub fn open(path: &Path) -> Result<Player, Error> {
        let wrong = |text: String| Error::Cassette(format!("{}: {text}", path.display()));
        let mut reader = BufReader::new(File::open(path).map_err(|e| wrong(e.to_string()))?);
        let mut all: HashMap<Asked, (usize, Vec<Answered>)> = HashMap::new();
        for n in 1.. {
            let mut line = String::new();
            let read = std::io::Read::take(&mut reader, LINE).read_line(&mut line);
            if read.map_err(|e| wrong(format!("line {n}: {e}")))? == 0 {
                break;
            }
            let exchange: Exchange =
                serde_json::from_str(&line).map_err(|e| wrong(format!("line {n}: {e}")))?;
            all.entry(exchange.request).or_default().1.push(exchange.response);
        }
        Ok(Player(Mutex::new(all)))
    }

    pub(crate) fn answer(&self, request: &Request) -> Result<Response, Error> {
        let asked = asked(request);
        let mut all = lock(&self.0);
        let Some((next, answers)) = all.get_mut(&asked) else {
            let request = format!(
                "{} {}{}",
                asked.method,
                asked.url,
                if asked.conditional { " (conditional)" } else { "" }
            );
            return Err(Error::Missing { what: "recorded answer", request });
        };
        let answer = answers[(*next).min(answers.len() - 1)].clone();
        *next += 1;
        drop(all);
        let wrong = |what: &str| Error::Cassette(format!("{} {}: {what}", asked.method, asked.url));
        let mut headers = HeaderMap::new();
        for (name, value) in &answer.headers {
            let name: HeaderName = name.parse().map_err(|_| wrong("a header's name"))?;
            headers.append(name, HeaderValue::from_str(value).map_err(|_| wrong("a header's value"))?);
        }
        let body = match (answer.text, answer.base64) {
            (Some(text), _) => Bytes::from(text),
            (None, Some(text)) => STANDARD.decode(text).map_err(|_| wrong("its base64"))?.into(),
            (None, None) => Bytes::new(),
        };
        let status = StatusCode::from_u16(answer.status).map_err(|_| wrong("its status"))?;
        let cut = answer.cut || body.len() > request.keep;
        let body = body.slice(..body.len().min(request.keep));
        Ok(Response { status, headers, body, cut, address: ([127, 0, 0, 1], 0).into() })
    }
}

fn asked(request: &Request) -> Asked {
    let words = credentials(request);
    let clean = |text: String| words.iter().fold(text, |text, word| text.replace(word.as_str(), GONE));
    let body = match std::str::from_utf8(&request.body) {
        Ok(text) => clean(scrub_body(text)),
        Err(_) => format!("{} bytes", request.body.len()),
    };
    let conditional = request.headers.contains_key(header::IF_NONE_MATCH)
        || request.headers.contains_key(header::IF_MODIFIED_SINCE);
    let url = clean(scrub_url(request.target.as_str()));
    Asked { method: request.method.to_string(), url, body, conditional }
}

/// What was sent as authorization: the whole values and their words.
fn credentials(request: &Request) -> Vec<String> {
    let held = |name: &HeaderName| {
        *name == header::AUTHORIZATION
            || *name == header::COOKIE
            || is_secret(name.as_str().trim_start_matches("x-"))
    };
    let values = request.headers.iter().filter(|(name, _)| held(name)).filter_map(|(_, v)| v.to_str().ok());
    let words = values.flat_map(|value| value.split([' ', ';', '=', ',']));
    words.filter(|word| word.len() >= 8).map(str::to_owned).collect()
}

fn is_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    SECRET.contains(&plain.to_ascii_lowercase().as_str())
}

fn scrub_url(url: &str) -> String {
    let Some((path, query)) = url.split_once('?') else { return url.to_owned() };
    format!("{path}?{}", scrub_form(query))
}

fn scrub_form(form: &str) -> String {
    let part = |part: &str| match part.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}={GONE}"),
        _ => part.to_owned(),
    };
    form.split('&').map(part).collect::<Vec<_>>().join("&")
}

/// `Location` and `Link` hold addresses.
fn scrub_header(name: &HeaderName, value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    if *name != header::LOCATION && *name != header::LINK {
        return text;
    }
    text.split('>').map(scrub_url).collect::<Vec<_>>().join(">")
}

fn scrub_body(text: &str) -> String {
    if let Ok(mut value) = serde_json::from_str::<Value>(text) {
        return if scrub_json(&mut value) { value.to_string() } else { text.to_owned() };
    }
    let form = text.contains('=') && !text.contains(['\n', '<', ' ']);
    if form { scrub_form(text) } else { text.to_owned() }
}

/// Whether something was there to scrub.
fn scrub_json(value: &mut Value) -> bool {
    match value {
        Value::Array(list) => {
            let mut found = false;
            for item in list {
                found |= scrub_json(item);
            }
            found
        }
        Value::Object(map) => {
            let mut found = false;
            for (name, item) in map {
                if item.is_string() && is_secret(name) {
                    *item = GONE.into();
                    found = true;
                } else {
                    found |= scrub_json(item);
                }
            }
            found
        }
        _ => false,
    }
}
