//! How fast the store is, through its trait and with everything on: history, counters, roll-ups.
//!
//! `cargo run --release -p mainspring-store-postgres --example postgres_throughput -- postgres://…/empty_db [jobs] [phases]`
//!
//! Enqueues in batches of 1,000, then drains with one claiming and one finishing task as a node
//! has them, then enqueues one by one from 16 callers, then measures from an enqueue to the claim
//! of an idle node. Further phases: `keyed` (500 concurrency keys), `nodes` (four stores of their own
//! drain together), `limited` (a queue with a limit). At the end the store recounts itself; a
//! difference is a failure.

use mainspring_core::decide::{Outcome, decide};
use mainspring_core::job::{Claimed, NewJob};
use mainspring_core::node::NodeInfo;
use mainspring_core::queue::QueueSettings;
use mainspring_core::reader::Reader;
use mainspring_core::store::{ClaimRequest, Store};
use mainspring_core::{Json, NodeId, ProjectId};
use mainspring_store_postgres::{Options, PostgresStore};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Outcomes<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const BATCH: usize = 1_000;

#[allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

#[allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn start() -> Instant {
    Instant::now()
}

fn rate(n: usize, since: Instant) -> f64 {
    #[allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    let took = since.elapsed().as_secs_f64();
    n as f64 / took
}

fn job(i: usize) -> NewJob {
    NewJob::new("noop", Json::trusted(format!("{{\"id\":{i}}}")))
}

fn main() -> Outcomes {
    let mut args = std::env::args().skip(1);
    let url = args.next().ok_or("an address is missing: throughput postgres://…/empty_db [jobs]")?;
    let jobs = args.next().map_or(Ok(100_000), |n| n.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let phases = args.next().unwrap_or_else(|| "batch,drain,single,latency".to_owned());
    runtime.block_on(measure(&url, jobs, &phases))
}

async fn measure(url: &str, jobs: usize, phases: &str) -> Outcomes {
    let store = Arc::new(PostgresStore::connect(url, Options::default()).await?);
    let node = join(&store, 1).await?;
    for phase in phases.split(',') {
        match phase {
            "batch" => batches(&store, jobs, "enqueue-batch", job).await?,
            "drain" => drained(&store, node, "drain").await?,
            "keyed" => {
                let keyed = |i: usize| NewJob { key: Some(format!("key {}", i % 500).into()), ..job(i) };
                batches(&store, jobs, "enqueue-keyed", keyed).await?;
                drained(&store, node, "drain-keyed").await?;
            }
            "limited" => {
                let queue: Arc<str> = "limited".into();
                let settings = QueueSettings { max_running: Some(5_000), ..QueueSettings::default() };
                store.set_queue(now(), ProjectId::DEFAULT, &queue, settings, "throughput").await?;
                batches(&store, jobs, "enqueue-limited", |i| NewJob { queue: queue.clone(), ..job(i) })
                    .await?;
                drained(&store, node, "drain-limited").await?;
            }
            "nodes" => {
                batches(&store, jobs, "enqueue-batch", job).await?;
                four_nodes(url).await?;
            }
            "single" => singles(&store, jobs / 4).await?,
            "latency" => {
                drain(&store, node).await?;
                latency(&store, node).await?;
            }
            other => return Err(format!("unknown phase {other:?}").into()),
        }
    }
    let wrong = store.audit().await?;
    for line in &wrong {
        println!("WRONG: {line}");
    }
    println!("{:?}", store.counts(ProjectId::DEFAULT).await?);
    store.close().await;
    if wrong.is_empty() { Ok(()) } else { Err("the store disagrees with itself".into()) }
}

async fn batches(store: &PostgresStore, jobs: usize, what: &str, job: impl Fn(usize) -> NewJob) -> Outcomes {
    let began = start();
    for first in (0..jobs).step_by(BATCH) {
        let list = (first..(first + BATCH).min(jobs)).map(&job).collect();
        store.enqueue(now(), ProjectId::DEFAULT, list).await?;
    }
    println!("{what:<15} {:>9.0} jobs/s", rate(jobs, began));
    Ok(())
}

async fn drained(store: &Arc<PostgresStore>, node: NodeId, what: &str) -> Outcomes {
    let began = start();
    let n = drain(store, node).await?;
    println!("{what:<15} {:>9.0} jobs/s ({n} jobs)", rate(n, began));
    Ok(())
}

/// Four nodes with connections of their own drain together.
async fn four_nodes(url: &str) -> Outcomes {
    let mut nodes = Vec::new();
    for id in 1..=4 {
        let store = Arc::new(PostgresStore::connect(url, Options::default()).await?);
        let node = join(&store, 10 * id).await?;
        nodes.push((store, node));
    }
    let began = start();
    let drains: Vec<_> = nodes
        .into_iter()
        .map(|(store, node)| {
            tokio::spawn(async move {
                let n = drain(&store, node).await?;
                store.close().await;
                Outcomes::Ok(n)
            })
        })
        .collect();
    let mut n = 0;
    for drain in drains {
        n += drain.await??;
    }
    println!("drain, 4 nodes  {:>9.0} jobs/s ({n} jobs)", rate(n, began));
    Ok(())
}

async fn singles(store: &Arc<PostgresStore>, singles: usize) -> Outcomes {
    let began = start();
    let callers: Vec<_> = (0..16)
        .map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                for i in (caller..singles).step_by(16) {
                    store.enqueue(now(), ProjectId::DEFAULT, vec![job(i)]).await?;
                }
                Ok::<_, mainspring_core::StoreError>(())
            })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    println!("enqueue-single  {:>9.0} jobs/s (16 callers)", rate(singles, began));
    Ok(())
}

async fn join(store: &PostgresStore, id: i64) -> Outcomes<NodeId> {
    let node = NodeInfo {
        // Random enough for a measurement: a node is new each time.
        id: NodeId(now().as_microsecond() + id),
        name: "throughput".into(),
        pid: std::process::id(),
        version: "0".into(),
        slots: 1000,
        queues: vec![],
        kinds: vec![],
        tz_version: "none".into(),
    };
    let id = node.id;
    store.join(now(), node).await?;
    Ok(id)
}

fn request(node: NodeId) -> ClaimRequest {
    ClaimRequest { node, limit: BATCH as u32, kinds: vec!["noop".into()], queues: vec![], project: None }
}

/// Claims and finishes side by side, as a node does.
async fn drain(store: &Arc<PostgresStore>, node: NodeId) -> Outcomes<usize> {
    let (send, mut receive) = tokio::sync::mpsc::channel::<Vec<Claimed>>(2);
    let claimer = {
        let store = store.clone();
        tokio::spawn(async move {
            loop {
                let got = store.claim(now(), request(node)).await?;
                if got.jobs.is_empty() && got.more {
                    continue;
                }
                if got.jobs.is_empty() || send.send(got.jobs).await.is_err() {
                    return Ok::<_, mainspring_core::StoreError>(());
                }
            }
        })
    };
    let mut drained = 0;
    while let Some(claimed) = receive.recv().await {
        let at = now();
        let done = Outcome::Succeeded { output: None };
        let transitions = claimed.iter().map(|c| decide(&c.facts, done.clone(), at, 0.0)).collect();
        drained += store.finish(at, transitions).await?.len();
    }
    claimer.await??;
    Ok(drained)
}

/// From before the enqueue to the claim, the node being idle and woken by the store's hint.
async fn latency(store: &Arc<PostgresStore>, node: NodeId) -> Outcomes {
    let wake = Arc::new(tokio::sync::Notify::new());
    let bell = wake.clone();
    store.on_hint(Arc::new(move |_| bell.notify_one()));
    let mut took = Vec::new();
    for i in 0..200 {
        tokio::time::timeout(Duration::from_millis(10), std::future::pending::<()>()).await.ok();
        let began = start();
        let made = {
            let store = store.clone();
            tokio::spawn(async move { store.enqueue(now(), ProjectId::DEFAULT, vec![job(i)]).await })
        };
        let claimed = loop {
            wake.notified().await;
            let got = store.claim(now(), request(node)).await?;
            if !got.jobs.is_empty() {
                break got.jobs;
            }
        };
        #[allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
        took.push(began.elapsed());
        made.await??;
        let at = now();
        let done = Outcome::Succeeded { output: None };
        let transitions = claimed.iter().map(|c| decide(&c.facts, done.clone(), at, 0.0)).collect();
        store.finish(at, transitions).await?;
    }
    took.sort_unstable();
    println!("latency         p50 {:?}  p99 {:?}", took[100], took[198]);
    Ok(())
}
