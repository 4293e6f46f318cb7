//! Work for the nodes: jobs of every sort through the library's client and through the command line,
//! with a memory of what was tried and what was acknowledged.
//!
//! Each job has a token, which is its unique key and stands in its URL. An enqueue without a clear
//! answer is repeated under the same token, as a careful caller does: the checker then knows that
//! an acknowledged token is one job, and that a job without a token that was tried has no cause.

use crate::machine::{program, wait};
use mainspring::{Backoff, Client, NewJob, RetryPolicy};
use mainspring_core::Json;
use mainspring_core::ids::{JobId, ProjectId};
use mainspring_core::job::{Unique, UniqueStates};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// The queue that runs no more than [`NARROW_MAX`] at once, over all nodes.
pub const NARROW: &str = "narrow";
/// See [`NARROW`].
pub const NARROW_MAX: usize = 2;
/// The queue that runs one job of each key at once.
pub const KEYED: &str = "keyed";

/// Jobs that may wait: beyond, the callers pause, or a long run would only heap up work that its
/// few nodes, killed all the time, can never do.
const BACKLOG: u64 = 150;

/// Between two jobs of a caller, in milliseconds.
const QUICK_MS: u64 = 60;
/// The same while too much waits.
const SLOW_MS: u64 = 1_000;

/// What was tried and acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Every token that an enqueue was tried with.
    pub tried: BTreeSet<String>,
    /// Every token that was acknowledged, with its job.
    pub acknowledged: BTreeMap<String, JobId>,
    /// Answers that were no answer: the enqueue was repeated.
    pub repeated: u64,
    /// Answers that should never come.
    pub wrong: Vec<String>,
}

/// Callers that enqueue until they are told to stop.
pub struct Load {
    memory: Arc<Mutex<Memory>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
    next: Arc<AtomicU64>,
    pause_ms: Arc<AtomicU64>,
}

/// How one caller reaches the engine.
struct Caller {
    memory: Arc<Mutex<Memory>>,
    stop: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    pause_ms: Arc<AtomicU64>,
    url: String,
}

impl Load {
    /// A load that has not begun.
    pub fn new() -> Load {
        Load {
            memory: Arc::default(),
            stop: Arc::default(),
            tasks: Vec::new(),
            next: Arc::default(),
            pause_ms: Arc::new(AtomicU64::new(QUICK_MS)),
        }
    }

    fn caller(&self, url: &str) -> Caller {
        Caller {
            memory: self.memory.clone(),
            stop: self.stop.clone(),
            next: self.next.clone(),
            pause_ms: self.pause_ms.clone(),
            url: url.to_owned(),
        }
    }

    /// Begins: a few callers through the client, one through the command line. `url` is the
    /// receiver's.
    pub fn begin(&mut self, client: &Client, url: &str, dir: PathBuf, store: &str) {
        self.tasks.push(tokio::spawn(govern(self.stop.clone(), self.pause_ms.clone(), client.clone())));
        for _ in 0..3 {
            self.tasks.push(tokio::spawn(self.caller(url).through_client(client.clone())));
        }
        self.tasks.push(tokio::spawn(self.caller(url).through_command_line(dir, store.to_owned())));
    }

    /// Enqueues one job of a sort of its own and waits for the acknowledgement.
    pub async fn one(&self, client: &Client, url: &str, path: &str) -> JobId {
        let caller = self.caller(url);
        let token = caller.token();
        let mut job = NewJob::new("http", http(&format!("{url}{path}/{token}")));
        caller.name(&mut job, &token);
        caller.insist(client, job, &token).await.expect("the load goes on")
    }

    /// Its memory, for others that enqueue too.
    pub fn shared(&self) -> Arc<Mutex<Memory>> {
        self.memory.clone()
    }

    /// Ends it; what was being tried is tried to its end.
    pub async fn end(&mut self) -> Memory {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks.drain(..) {
            task.await.expect("a caller does not panic");
        }
        self.memory()
    }

    /// What has been so far.
    pub fn memory(&self) -> Memory {
        self.memory.lock().expect("no panic").clone()
    }

    /// How many were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.memory.lock().expect("no panic").acknowledged.len()
    }
}

/// Slows the callers down while much waits.
async fn govern(stop: Arc<AtomicBool>, pause_ms: Arc<AtomicU64>, client: Client) {
    while !stop.load(Ordering::SeqCst) {
        // A database that is away is the scenario's affair: the pace stays.
        if let Ok(counts) = client.store().counts(ProjectId::DEFAULT).await {
            let waits =
                counts.iter().filter(|(_, _, state, _)| !state.is_final()).map(|(.., n)| n).sum::<u64>();
            pause_ms.store(if waits > BACKLOG { SLOW_MS } else { QUICK_MS }, Ordering::SeqCst);
        }
        wait(Duration::from_millis(250)).await;
    }
}

fn http(url: &str) -> Json {
    let payload = serde_json::json!({ "url": url, "timeout": "8s", "sign": { "secret": "faults" } });
    Json::trusted(payload.to_string())
}

impl Caller {
    fn token(&self) -> String {
        format!("t{}", self.next.fetch_add(1, Ordering::SeqCst))
    }

    fn name(&self, job: &mut NewJob, token: &str) {
        job.unique = Some(Unique { key: token.into(), period: None, states: UniqueStates::ANY });
        job.retry = RetryPolicy {
            max_attempts: 10,
            backoff: Backoff::Fixed(Duration::from_millis(300)),
            ..RetryPolicy::default()
        };
    }

    /// The n-th job: of ten, five are quick, the others slow, limited, failing once, or a program.
    fn job(&self, token: &str) -> NewJob {
        let n: u64 = token[1..].parse().unwrap_or(0);
        let url = |path: &str| http(&format!("{}{path}/{token}", self.url));
        let mut job = match n % 10 {
            0 => NewJob::new("command", Json::trusted(r#"{"argv":["true"]}"#.to_owned())),
            1 => NewJob::new("http", url("/wait/1500")),
            2 => NewJob::new("http", url("/wait/400")),
            3 => NewJob::new("http", url("/wait/200")),
            4 => NewJob::new("http", url("/once")),
            _ => NewJob::new("http", url("/ok")),
        };
        match n % 10 {
            2 => job.queue = NARROW.into(),
            3 => {
                job.queue = KEYED.into();
                job.key = Some(format!("key {}", n / 10 % 3).into());
            }
            _ => {}
        }
        self.name(&mut job, token);
        job
    }

    async fn through_client(self, client: Client) {
        while !self.stop.load(Ordering::SeqCst) {
            let token = self.token();
            let job = self.job(&token);
            if self.insist(&client, job, &token).await.is_none() {
                return;
            }
            wait(Duration::from_millis(self.pause_ms.load(Ordering::SeqCst))).await;
        }
    }

    /// Enqueues until it is acknowledged; None when the load ends before.
    async fn insist(&self, client: &Client, job: NewJob, token: &str) -> Option<JobId> {
        self.memory.lock().expect("no panic").tried.insert(token.to_owned());
        loop {
            match client.enqueue_raw(job.clone()).await {
                Ok(made) => {
                    self.acknowledge(token, made.id);
                    return Some(made.id);
                }
                Err(mainspring::ClientError::Store(e)) if e.is_transient() => {
                    self.memory.lock().expect("no panic").repeated += 1;
                }
                Err(e) => {
                    self.memory.lock().expect("no panic").wrong.push(format!("enqueue of {token}: {e}"));
                    return None;
                }
            }
            if self.stop.load(Ordering::SeqCst) {
                return None;
            }
            wait(Duration::from_millis(100)).await;
        }
    }

    fn acknowledge(&self, token: &str, id: JobId) {
        let mut memory = self.memory.lock().expect("no panic");
        if let Some(before) = memory.acknowledged.insert(token.to_owned(), id)
            && before != id
        {
            memory.wrong.push(format!("{token} was acknowledged as job {before} and as job {id}"));
        }
    }

    async fn through_command_line(self, dir: PathBuf, store: String) {
        while !self.stop.load(Ordering::SeqCst) {
            let token = self.token();
            self.memory.lock().expect("no panic").tried.insert(token.clone());
            let payload = http(&format!("{}/ok/{token}", self.url));
            let (dir, store, to) = (dir.clone(), store.clone(), token.clone());
            let called = tokio::task::spawn_blocking(move || {
                // A key that holds whatever became of the job, as the client's does.
                let unique = ["--unique", &to, "--unique-for", "1h"];
                let call = ["job", "enqueue", "http", payload.as_str(), "--store", &store, "--json"];
                program(&dir, &[call.as_slice(), unique.as_slice()].concat()).output()
            });
            let output = called.await.expect("no panic").expect("the program starts");
            if output.status.success() {
                let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
                match said["id"].as_i64().or(said[0]["id"].as_i64()) {
                    Some(id) => self.acknowledge(&token, JobId(id)),
                    None => {
                        let text = format!("job enqueue said {}", String::from_utf8_lossy(&output.stdout));
                        self.memory.lock().expect("no panic").wrong.push(text);
                    }
                }
            }
            wait(Duration::from_millis(500)).await;
        }
    }
}
