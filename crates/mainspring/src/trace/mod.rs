//! Traces in OpenTelemetry's form: requests to the server, and the attempts of jobs.
//!
//! ```text
//! caller ─traceparent▶ request (server span) ──link──▶ create (the job's own trace)
//!                                                        ├ process, attempt 1 ─traceparent▶ whom an http job calls
//!                                                        └ process, attempt 2
//! ```
//!
//! A job may run hours later, on another node, several times: it has a trace of its own, whose numbers
//! follow from the job's. So nothing is stored for it and every node knows them; the request that
//! enqueued it links there. Off unless an endpoint is set, and then bounded: what cannot be sent in time
//! is dropped and counted, a job never waits for it.
//!
//! Deliberately not here: what jobs do inside (a handler passes [`crate::Context::traceparent`] on),
//! metrics (the server's `/metrics`) and logs (kept with the job). Addresses are told by their route, not
//! as they were typed: they may hold secrets.

mod export;
mod otlp;

pub use export::{Endpoint, export};

use crate::clock::{Clock, machine_entropy};
use jiff::Timestamp;
use mainspring_core::clock::{Entropy, Seeded};
use mainspring_core::ids::JobId;
use mainspring_core::job::Enqueued;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Spans that wait to be sent; one more drops the oldest.
const WAITING: usize = 4_096;
/// Spans in one message.
pub(crate) const MESSAGE: usize = 512;
/// Links of one span.
const LINKS: usize = 64;

/// Where a span stands: W3C Trace Context, version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The trace.
    pub trace: u128,
    /// The span.
    pub span: u64,
    /// Whether it is recorded.
    pub sampled: bool,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

impl FromStr for Place {
    type Err = ();

    /// Strict: what is not the header's form counts as not sent, as the standard says.
    fn from_str(text: &str) -> Result<Place, ()> {
        let mut parts = text.split('-');
        let mut part = |width: usize| {
            let part = parts.next().filter(|p| p.len() == width)?;
            let hex = part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            hex.then_some(part)
        };
        let (version, trace, span, flags) = (part(2), part(32), part(16), part(2));
        let more = parts.next().is_some();
        let read = || {
            let version = u8::from_str_radix(version?, 16).ok()?;
            let trace = u128::from_str_radix(trace?, 16).ok().filter(|n| *n != 0)?;
            let span = u64::from_str_radix(span?, 16).ok().filter(|n| *n != 0)?;
            let flags = u8::from_str_radix(flags?, 16).ok()?;
            // A later version may have more to say; this one has not.
            let whole = version != 0xff && (version != 0 || !more);
            whole.then_some(Place { trace, span, sampled: flags & 1 == 1 })
        };
        read().ok_or(())
    }
}

/// What a span is to its neighbours; the numbers are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Answers a request.
    Server = 2,
    /// Makes what is done later.
    Producer = 4,
    /// Does it.
    Consumer = 5,
}

/// A value of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(mainspring_core::limits::cut(text, 1_000))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Number(number)
    }
}

/// Something that took time.
#[derive(Clone, Debug)]
pub struct Span {
    /// What, with few different values.
    pub name: String,
    /// See [`Role`].
    pub role: Role,
    /// Where it stands.
    pub place: Place,
    /// The span it is a part of, 0 for none.
    pub parent: u64,
    /// From.
    pub start: Timestamp,
    /// Until.
    pub end: Timestamp,
    /// What more there is to say, by the names of the semantic conventions.
    pub attributes: Vec<(&'static str, Value)>,
    /// Spans of other traces that have to do with it.
    pub links: Vec<Place>,
    /// What went wrong.
    pub error: Option<String>,
}

impl Span {
    /// Adds a value.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Span {
        self.attributes.push((name, value.into()));
        self
    }
}

/// Takes spans. Cheap to clone; clones are one.
#[derive(Clone, Default)]
pub struct Tracer(Arc<Inner>);

#[derive(Default)]
struct Inner {
    on: std::sync::OnceLock<On>,
    waiting: Mutex<VecDeque<Span>>,
    dropped: AtomicU64,
    bell: Notify,
}

struct On {
    salt: String,
    share: u64,
    chance: Seeded,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("on", &self.is_on()).finish()
    }
}

impl Tracer {
    /// From now on spans are taken: `share` of 100 traces that nobody else decided about. `salt` tells
    /// stores apart, whose jobs have the same numbers; all nodes of one use the same.
    pub fn begin(&self, salt: &str, share: u64, clock: Arc<dyn Clock>) {
        // Whoever began it before has the same to say.
        let _ = self.0.on.set(On { salt: salt.to_owned(), share, chance: machine_entropy(), clock });
    }

    /// Whether anything is taken.
    pub fn is_on(&self) -> bool {
        self.0.on.get().is_some()
    }

    /// What time it is, for the end of a span.
    pub fn now(&self) -> Option<Timestamp> {
        Some(self.0.on.get()?.clock.now())
    }

    /// A new place below `parent`, or at the head of a trace of its own.
    pub fn below(&self, parent: Option<Place>) -> Option<Place> {
        let on = self.0.on.get()?;
        let span = on.chance.bits() | 1;
        Some(match parent {
            Some(parent) => Place { span, ..parent },
            None => {
                let trace = u128::from(on.chance.bits()) << 64 | u128::from(on.chance.bits() | 1);
                Place { trace, span, sampled: trace as u64 / 2 % 100 < on.share }
            }
        })
    }

    /// Where an attempt of a job stands; attempt 0 is its making, at the head of its trace.
    pub fn attempt(&self, job: JobId, attempt: u32) -> Option<Place> {
        let on = self.0.on.get()?;
        let number = |what: &str, n: u32| {
            let hash = Sha256::digest(format!("{} {} {what} {n}", on.salt, job.0));
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&hash[..16]);
            u128::from_be_bytes(bytes) | 1
        };
        let trace = number("trace", 0);
        Some(Place {
            trace,
            span: number("attempt", attempt) as u64,
            sampled: trace as u64 / 2 % 100 < on.share,
        })
    }

    /// Takes a span that is over.
    pub fn take(&self, span: Span) {
        if !span.place.sampled || !self.is_on() {
            return;
        }
        let ring = {
            let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() == WAITING {
                waiting.pop_front();
                self.0.dropped.fetch_add(1, Ordering::Relaxed);
            }
            waiting.push_back(span);
            waiting.len() == MESSAGE
        };
        if ring {
            self.0.bell.notify_one();
        }
    }

    /// Spans that were dropped because nobody took them in time.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    fn some(&self) -> Vec<Span> {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let n = waiting.len().min(MESSAGE);
        waiting.drain(..n).collect()
    }
}

tokio::task_local! {
    /// The request under way: what it enqueues is linked to it.
    static REQUEST: (Tracer, Arc<Mutex<Vec<Place>>>);
}

/// Does `work` and gives with its result the jobs that it made, as places in their traces.
pub async fn linking<T>(tracer: &Tracer, work: impl Future<Output = T>) -> (T, Vec<Place>) {
    let links = Arc::new(Mutex::new(Vec::new()));
    let done = REQUEST.scope((tracer.clone(), links.clone()), work).await;
    let links = std::mem::take(&mut *links.lock().unwrap_or_else(PoisonError::into_inner));
    (done, links)
}

/// Notes that the request under way, if there is one, made these jobs.
pub(crate) fn enqueued(made: &[Enqueued]) {
    // Outside of a request there is nobody to tell.
    let _ = REQUEST.try_with(|(tracer, links)| {
        let mut links = links.lock().unwrap_or_else(PoisonError::into_inner);
        let room = LINKS.saturating_sub(links.len());
        links.extend(made.iter().take(room).filter_map(|job| tracer.attempt(job.id, 0)));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn the_header_is_read_strictly_and_written_as_it_was() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let place: Place = text.parse().unwrap();
        assert!(place.sampled && place.to_string() == text);
        assert!(!text.replace("-01", "-00").parse::<Place>().unwrap().sampled);
        // A later version is read as far as it is known.
        assert_eq!(format!("01{}-more", &text[2..]).parse(), Ok(place));
        for wrong in [
            "",
            "00",
            &text[..54],
            &format!("{text}-more"),
            &text.to_uppercase(),
            &text.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &text.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &format!("ff{}", &text[2..]),
            &text.replace('-', "_"),
            &text.replace("4b", "+b"),
        ] {
            assert_eq!(wrong.parse::<Place>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn every_node_knows_a_jobs_trace_and_other_stores_have_others() {
        let tracer = |salt: &str, share| {
            let tracer = Tracer::default();
            tracer.begin(salt, share, Arc::new(SystemClock::new()));
            tracer
        };
        let (a, b, other) = (tracer("s", 100), tracer("s", 100), tracer("t", 100));
        let first = a.attempt(JobId(7), 1).unwrap();
        assert_eq!(Some(first), b.attempt(JobId(7), 1));
        let second = a.attempt(JobId(7), 2).unwrap();
        assert!(first.trace == second.trace && first.span != second.span && first.sampled);
        assert_ne!(other.attempt(JobId(7), 1).unwrap().trace, first.trace);
        let half = tracer("s", 50);
        let taken = (0..1_000).filter(|n| half.attempt(JobId(*n), 1).unwrap().sampled).count();
        assert!((400..600).contains(&taken), "{taken}");
        assert!((0..100).all(|_| !tracer("s", 0).below(None).unwrap().sampled));
        assert_eq!(Tracer::default().attempt(JobId(7), 1), None, "off");
    }
}
