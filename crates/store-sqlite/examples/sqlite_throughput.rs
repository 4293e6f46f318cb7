//! How fast the store alone is, with everything on: enqueue in batches, single enqueues of many
//! callers, drain (claim and finish in batches) and the way from an enqueue to its claim.
//!
//! ```text
//! cargo run --release -p mainspring-store-sqlite --example sqlite_throughput -- [FILE] [JOBS] [normal] [history=N]
//! ```
//!
//! `history=N` fills the store with N finished jobs first. Afterwards figures and rows are compared:
//! a rate counts only when nothing is missing. For profiles and for comparing two changes in the same
//! minute; the published figures come from `mainspring bench`.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use jiff::Timestamp;
use mainspring_core::decide::{Outcome, decide};
use mainspring_core::ids::{NodeId, ProjectId};
use mainspring_core::job::{JobState, NewJob};
use mainspring_core::json::Json;
use mainspring_core::node::NodeInfo;
use mainspring_core::reader::Reader;
use mainspring_core::store::{ClaimRequest, Finished, Store};
use mainspring_store_sqlite::{Options, SqliteStore, Synchronous};
use std::sync::Arc;
use std::time::Instant;

const P: ProjectId = ProjectId::DEFAULT;
const BATCH: usize = 1000;

fn jobs(from: usize, n: usize) -> Vec<NewJob> {
    let kind: Arc<str> = "noop".into();
    let queue: Arc<str> = "default".into();
    (from..from + n)
        .map(|i| {
            let mut job = NewJob::new(kind.clone(), Json::trusted(format!("{{\"id\":{i}}}")));
            job.queue = queue.clone();
            job
        })
        .collect()
}

/// When a phase began, by the clock and by the processor time of this process.
struct Start(Instant, f64);

impl Start {
    fn now() -> Start {
        Start(Instant::now(), processor_seconds())
    }

    fn rate(&self, name: &str, n: usize) {
        let (seconds, busy) = (self.0.elapsed().as_secs_f64(), processor_seconds() - self.1);
        let (rate, cost) = (n as f64 / seconds, busy * 1e6 / n as f64);
        println!("{name:<28} {rate:>10.0} jobs/s   ({n} in {seconds:.3} s, {cost:.2} us of processor each)");
    }
}

/// User and system time of this process, in steps of 10 ms: what does not depend on who else is at
/// the machine.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

async fn enqueue_batches(store: &SqliteStore, n: usize) {
    let since = Start::now();
    for from in (0..n).step_by(BATCH) {
        store.enqueue(Timestamp::now(), P, jobs(from, BATCH.min(n - from))).await.expect("an enqueue");
    }
    since.rate("enqueue, batches of 1000", n);
}

async fn enqueue_singles(store: &Arc<SqliteStore>, callers: usize, n: usize) {
    let since = Start::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for i in 0..n / callers {
                    store.enqueue(Timestamp::now(), P, jobs(i, 1)).await.expect("an enqueue");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a caller");
    }
    since.rate(&format!("enqueue single, {callers} callers"), n / callers * callers);
}

fn request(limit: usize) -> ClaimRequest {
    ClaimRequest {
        node: NodeId(1),
        limit: limit as u32,
        kinds: vec!["noop".into()],
        queues: vec![],
        project: None,
    }
}

/// Claims and finishes until nothing is left, one batch being finished while the next is claimed.
async fn drain(store: &SqliteStore, name: &str) {
    let since = Start::now();
    let mut n = 0;
    let mut claimed = store.claim(Timestamp::now(), request(BATCH)).await.expect("a claim").jobs;
    while !claimed.is_empty() {
        n += claimed.len();
        let now = Timestamp::now();
        let ends = claimed.iter().map(|c| decide(&c.facts, Outcome::Succeeded { output: None }, now, 0.5));
        let (finished, next) =
            tokio::join!(store.finish(now, ends.collect()), store.claim(now, request(BATCH)));
        assert!(finished.expect("a finish").iter().all(|f| *f == Finished::Applied));
        claimed = next.expect("a claim").jobs;
    }
    since.rate(name, n);
}

async fn latency(store: &SqliteStore, n: usize) {
    let mut took = Vec::with_capacity(n);
    for i in 0..n {
        let since = Instant::now();
        store.enqueue(Timestamp::now(), P, jobs(i, 1)).await.expect("an enqueue");
        let claimed = store.claim(Timestamp::now(), request(1)).await.expect("a claim").jobs;
        took.push(since.elapsed());
        let now = Timestamp::now();
        let ends = claimed.iter().map(|c| decide(&c.facts, Outcome::Succeeded { output: None }, now, 0.5));
        store.finish(now, ends.collect()).await.expect("a finish");
    }
    took.sort_unstable();
    println!("enqueue to claim             p50 {:?}, p99 {:?}", took[n / 2], took[n * 99 / 100]);
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0");
    let kib: f64 = peak.trim().trim_end_matches(" kB").parse().unwrap_or(0.0);
    kib / 1024.0
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |a: &String| a.parse::<usize>().ok();
    let n = args.iter().find_map(number).unwrap_or(100_000);
    let history = args.iter().find_map(|a| a.strip_prefix("history=")?.parse().ok()).unwrap_or(0usize);
    let normal = args.iter().any(|a| a == "normal");
    let dir = std::env::temp_dir().join(format!("mainspring-throughput-{}", std::process::id()));
    let named = args.iter().find(|a| a.contains('/'));
    let path = named.map_or_else(|| dir.join("bench.db"), std::path::PathBuf::from);
    std::fs::create_dir_all(&dir).expect("a directory");
    let synchronous = if normal { Synchronous::Normal } else { Synchronous::Full };
    let options = Options { synchronous, ..Options::default() };
    let store = Arc::new(SqliteStore::open(&path, options).expect("a store"));
    let node = NodeInfo {
        id: NodeId(1),
        name: "throughput".into(),
        pid: std::process::id(),
        version: "0".into(),
        slots: BATCH as u32,
        queues: vec![],
        kinds: vec![],
        tz_version: String::new(),
    };
    store.join(Timestamp::now(), node).await.expect("a node");
    println!("{synchronous:?}, {n} jobs, {history} finished before");
    if history > 0 {
        enqueue_batches(&store, history).await;
        drain(&store, "drain of the history").await;
    }
    enqueue_batches(&store, n).await;
    drain(&store, "drain").await;
    enqueue_singles(&store, 16, n / 2).await;
    enqueue_singles(&store, 1, 2000).await;
    drain(&store, "drain of singles").await;
    latency(&store, 1000).await;
    println!("peak resident                {:>10.1} MiB", resident_mib());
    let counts = store.counts(P).await.expect("counts");
    let done: u64 = counts.iter().filter(|c| c.2 == JobState::Completed).map(|c| c.3).sum();
    println!("completed by the counters    {done:>10}");
    let since = Instant::now();
    let differences = store.audit().await.expect("an audit");
    assert!(differences.is_empty(), "{differences:?}");
    println!("audit: no difference         ({:?})", since.elapsed());
    store.close().await;
    let since = Instant::now();
    let again = SqliteStore::open(&path, Options::default()).expect("a store");
    println!("open again                   {:?}", since.elapsed());
    again.close().await;
    std::fs::remove_dir_all(&dir).expect("our own directory");
}
