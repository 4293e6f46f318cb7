//! The door as connectors use it: the [`Client`] with manners.
//!
//! A call takes one path, each redirect again from the top:
//!
//! ```text
//! robots.txt (where it applies) ─▶ what is kept: validators ─▶ gate: pace, closed until ─▶ breaker
//!     ─▶ transport: live | record | replay | simulated ─▶ meter ─▶ what the answer says: limits, 304
//! ```
//!
//! What it deliberately does not: retry (the queue does; an [`Error`] says until when it is useless),
//! sleep longer than the pace's patience, or know what an answer means.

mod breaker;
mod cassette;
mod gate;
mod meter;
mod robots;
mod said;
mod shelf;
mod time;
mod transport;

pub use breaker::{FAILURES, REST};
pub use cassette::{Player, Recorder};
pub use gate::Pace;
pub use meter::{Meter, Usage};
pub use robots::{READ, Robots};
pub use said::{LONGEST, retry_after};
pub use shelf::{Fetching, Kept, MemoryShelf, Shelf};
pub use time::{Running, Time, Waiting};
pub use transport::Transport;

use crate::client::{Client, Request, Response};
use crate::error::Error;
use crate::redirect;
use crate::target::Target;
use breaker::Breaker;
use bytes::Bytes;
use gate::{Gates, lock};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What we are called in robots.txt.
pub const TOKEN: &str = "mainspring";
/// How long a robots.txt is kept.
const ROBOTS_KEPT: Duration = Duration::from_secs(86_400);
/// How long it is believed that a site cannot give one.
const ROBOTS_FAILED: Duration = Duration::from_secs(600);
/// Hosts of which something is remembered.
const HOSTS: usize = 2_000;

/// What a [`Door`] is made of.
pub struct Manners {
    /// The time it waits by.
    pub time: Arc<dyn Time>,
    /// Which way requests go.
    pub transport: Transport,
    /// Where answers with validators are kept.
    pub shelf: Arc<dyn Shelf>,
    /// Who is told of every request.
    pub meter: Option<Arc<dyn Meter>>,
    /// How to reach the people behind this, in the `User-Agent`: an address of a page or of mail.
    pub contact: Option<String>,
    /// What hosts are asked at most, by host; others get `usual`.
    pub paces: HashMap<String, Pace>,
    /// The pace of hosts that are not named.
    pub usual: Pace,
}

impl Manners {
    /// Live, at the usual pace, 32 MiB kept in memory.
    pub fn new(time: Arc<dyn Time>) -> Manners {
        Manners {
            time,
            transport: Transport::Live,
            shelf: Arc::new(MemoryShelf::new(32 << 20)),
            meter: None,
            contact: None,
            paces: HashMap::new(),
            usual: Pace::default(),
        }
    }
}

/// A request, and who asks it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The request; its answer comes unpacked.
    pub request: Request,
    /// Which connector asks, for the meter.
    pub connector: String,
    /// On whose account: limits and kept answers belong to it. A name, never a secret.
    pub account: String,
    /// Whether the answer is kept and asked for conditionally; for GET.
    pub keep: bool,
    /// Whether the site's robots.txt is to be followed: for pages, not for documented interfaces.
    pub robots: bool,
}

impl Call {
    /// A call for `connector` on no account, neither kept nor asking robots.txt.
    pub fn new(connector: &str, request: Request) -> Call {
        Call { request, connector: connector.into(), account: String::new(), keep: false, robots: false }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status; 200 for what is unchanged.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, unpacked.
    pub body: Bytes,
    /// The body was longer than was to be kept.
    pub cut: bool,
    /// The host answered 304: this is what was kept.
    pub unchanged: bool,
    /// Who was asked last.
    pub target: Target,
    /// The redirects on the way: status, and where to.
    pub hops: Vec<(StatusCode, Target)>,
}

/// The client with manners. Cheap to clone; clones share what they know of hosts.
#[derive(Clone)]
pub struct Door {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    time: Arc<dyn Time>,
    transport: Transport,
    shelf: Arc<dyn Shelf>,
    meter: Option<Arc<dyn Meter>>,
    agent: HeaderValue,
    gates: Gates,
    breakers: Mutex<HashMap<String, Arc<Mutex<Breaker>>>>,
    robots: Mutex<HashMap<String, (Timestamp, Arc<Robots>)>>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("transport", &self.inner.transport).finish_non_exhaustive()
    }
}

impl Door {
    /// A door over `client`. Fails when the contact cannot stand in a header, or a pace is none.
    pub fn new(client: Client, manners: Manners) -> Result<Door, Error> {
        let Manners { time, transport, shelf, meter, contact, paces, usual } = manners;
        let wrong = |text: String| Error::Invalid { field: "manners", text };
        for pace in paces.values().chain([&usual]) {
            pace.rate.check().map_err(wrong)?;
        }
        let version = env!("CARGO_PKG_VERSION");
        let agent = match contact {
            Some(contact) => format!("{TOKEN}/{version} (+{contact})"),
            None => format!("{TOKEN}/{version}"),
        };
        let agent = HeaderValue::from_str(&agent)
            .map_err(|_| wrong("the contact holds signs that no header can; use plain ones".into()))?;
        let gates = Gates::new(paces, usual);
        let (breakers, robots) = (Mutex::default(), Mutex::default());
        let inner = Inner { client, time, transport, shelf, meter, agent, gates, breakers, robots };
        Ok(Door { inner: Arc::new(inner) })
    }

    /// What time it is behind this door.
    pub fn now(&self) -> Timestamp {
        self.inner.time.now()
    }

    /// Asks, and follows redirects as the request says.
    pub async fn call(&self, call: Call) -> Result<Answer, Error> {
        let mut request = call.request.clone();
        request.unpack = true;
        request.headers.entry(header::USER_AGENT).or_insert_with(|| self.inner.agent.clone());
        let follow = std::mem::take(&mut request.follow).min(crate::REDIRECTS);
        let mut hops = Vec::new();
        for left in (0..=follow).rev() {
            if call.robots
                && !self.robots(&call, &request.target).await?.allows(&request.target.path_and_query())
            {
                return Err(Error::Robots { url: request.target.shown() });
            }
            let (answer, unchanged) = self.ask(&call, &request).await?;
            let next = match follow {
                0 => None,
                _ if left == 0 && redirect::location(&answer).is_some() => {
                    return Err(Error::Redirects(follow));
                }
                _ => redirect::next(request.clone(), &answer)?,
            };
            let Some(next) = next else {
                let Response { status, headers, body, cut, .. } = answer;
                return Ok(Answer { status, headers, body, cut, unchanged, target: request.target, hops });
            };
            hops.push((answer.status, next.target.clone()));
            request = next;
            request.headers.entry(header::USER_AGENT).or_insert_with(|| self.inner.agent.clone());
        }
        Err(Error::Redirects(follow))
    }

    /// Lets nobody of this account to the target's host before `until`: for limits that only a body tells of.
    pub fn close(&self, target: &Target, account: &str, until: Timestamp) {
        self.inner.gates.of(target.host(), &target.authority(), account).close(until);
    }

    /// One request, no redirects; the answer, and whether it is what was kept.
    async fn ask(&self, call: &Call, request: &Request) -> Result<(Response, bool), Error> {
        let keeps = call.keep && request.method == Method::GET;
        let key = key(call, request);
        let kept = if keeps { self.inner.shelf.get(&key).await } else { None };
        let mut sent = request.clone();
        if let Some(kept) = &kept {
            let validators =
                [(header::IF_NONE_MATCH, &kept.etag), (header::IF_MODIFIED_SINCE, &kept.last_modified)];
            for (name, value) in validators {
                if let Some(value) = value.as_deref().and_then(|v| HeaderValue::from_str(v).ok()) {
                    sent.headers.insert(name, value);
                }
            }
        }
        let answer = self.send(call, sent).await?;
        if let (StatusCode::NOT_MODIFIED, Some(kept)) = (answer.status, kept) {
            return Ok((from_kept(answer, kept), true));
        }
        if keeps && let Some(kept) = to_keep(&answer) {
            self.inner.shelf.put(&key, kept).await;
        }
        Ok((answer, false))
    }

    /// Through gate, breaker and transport; tells the meter, and heeds what the answer says of limits.
    async fn send(&self, call: &Call, request: Request) -> Result<Response, Error> {
        let (target, time) = (request.target.clone(), &*self.inner.time);
        let host = || target.host().to_owned();
        let gate = self.inner.gates.of(target.host(), &target.authority(), &call.account);
        let _turn = gate.enter(time).await?;
        let pass = Breaker::enter(&self.breaker(&target), time.now())
            .map_err(|until| Error::Resting { host: host(), until })?;
        let at = time.now();
        let result = self.inner.transport.send(&self.inner.client, request).await;
        let now = time.now();
        self.meter(call, &target, at, now, &result);
        match result {
            Err(error) => {
                if error.is_hosts() {
                    pass.tell(false, now);
                }
                Err(error)
            }
            Ok(answer) => {
                let until = said::closed_until(answer.status, &answer.headers, now);
                pass.tell(!answer.status.is_server_error() || until.is_some(), now);
                let Some(until) = until else { return Ok(answer) };
                gate.close(until);
                match answer.status.as_u16() {
                    403 | 429 | 503 => Err(Error::Limited { host: host(), until }),
                    _ => Ok(answer),
                }
            }
        }
    }

    fn breaker(&self, target: &Target) -> Arc<Mutex<Breaker>> {
        let mut breakers = lock(&self.inner.breakers);
        if breakers.len() >= HOSTS {
            breakers.retain(|_, b| Arc::strong_count(b) > 1 || !lock(b).is_idle());
            if breakers.len() >= HOSTS {
                breakers.clear();
            }
        }
        breakers.entry(target.authority()).or_default().clone()
    }

    fn meter(
        &self,
        call: &Call,
        target: &Target,
        at: Timestamp,
        now: Timestamp,
        result: &Result<Response, Error>,
    ) {
        let Some(meter) = &self.inner.meter else { return };
        let answer = result.as_ref().ok();
        let status = answer.map(|a| a.status.as_u16());
        meter.told(Usage {
            at,
            host: target.host().to_owned(),
            connector: call.connector.clone(),
            account: call.account.clone(),
            status,
            class: result.as_ref().err().map(Error::class),
            bytes: answer.map_or(0, |a| a.body.len()),
            took: Duration::try_from(now.duration_since(at)).unwrap_or_default(),
            counted: status.is_some_and(|s| s != 304) || result.as_ref().is_err_and(Error::is_hosts),
        });
    }

    /// The rules of a site, kept for a day.
    async fn robots(&self, call: &Call, target: &Target) -> Result<Arc<Robots>, Error> {
        let url =
            format!("{}://{}/robots.txt", if target.is_tls() { "https" } else { "http" }, target.authority());
        let known = lock(&self.inner.robots).get(&url).filter(|(until, _)| *until > self.now()).cloned();
        if let Some((_, robots)) = known {
            return Ok(robots);
        }
        let mut request = Request::new(Method::GET, Target::parse(&url)?);
        (request.keep, request.follow) = (READ, crate::REDIRECTS);
        let asked = Call { request, keep: false, robots: false, ..call.clone() };
        let (robots, kept) = match Box::pin(self.call(asked)).await {
            Ok(a) if a.status.is_success() => (Robots::read(&a.body, TOKEN), ROBOTS_KEPT),
            Ok(a) if a.status.is_server_error() => (Robots::closed(), ROBOTS_FAILED),
            Ok(_) | Err(Error::Redirects(_)) => (Robots::default(), ROBOTS_KEPT),
            Err(e) if e.is_hosts() => (Robots::closed(), ROBOTS_FAILED),
            Err(e) => return Err(e),
        };
        let robots = Arc::new(robots);
        let mut all = lock(&self.inner.robots);
        if all.len() >= HOSTS {
            all.clear();
        }
        all.insert(url, (self.now() + kept, robots.clone()));
        Ok(robots)
    }
}

/// What is kept belongs to an account and to what was accepted.
fn key(call: &Call, request: &Request) -> String {
    let accept = request.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    format!("{}\n{}\n{accept}\n{}", call.connector, call.account, request.target.as_str())
}

fn to_keep(answer: &Response) -> Option<Kept> {
    let text = |name| Some(answer.headers.get(name)?.to_str().ok()?.to_owned());
    let (etag, last_modified) = (text(header::ETAG), text(header::LAST_MODIFIED));
    if answer.status != StatusCode::OK || answer.cut || (etag.is_none() && last_modified.is_none()) {
        return None;
    }
    let named = [header::CONTENT_TYPE, header::LINK];
    let headers = named.into_iter().filter_map(|name| Some((name.to_string(), text(name)?))).collect();
    Some(Kept { etag, last_modified, headers, body: answer.body.clone() })
}

fn from_kept(mut answer: Response, kept: Kept) -> Response {
    for (name, value) in kept.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<header::HeaderName>(), HeaderValue::from_str(&value)) {
            answer.headers.entry(name).or_insert(value);
        }
    }
    Response { status: StatusCode::OK, body: kept.body, cut: false, ..answer }
}
