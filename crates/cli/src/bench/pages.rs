//! How long the server takes for each page and list with many finished jobs in the store.
//!
//! The jobs are made as all are: enqueued, run by a node, finished; some of them failed, in several
//! queues, kinds, batches and schedules. Then every page is asked for many times, through the same
//! limits, rights and routes as from outside but without a socket, one after the other. The target is
//! 50 ms; what is above it is named, and the phase then counts as missed.

use super::machine;
use super::phases::{Running, failed, open_jobs, since, stopwatch, wait};
use crate::error::Result;
use async_trait::async_trait;
use mainspring::{Client, Context, Handler, JobError, KindSpec, Node, Registry, RetryPolicy};
use mainspring_core::Json;
use mainspring_core::batch::NewBatch;
use mainspring_core::job::NewJob;
use mainspring_core::schedule_record::PutSchedule;
use mainspring_core::trigger::Trigger;
use mainspring_web::access::Share;
use mainspring_web::{Config, Inside, Web, accounts};
use serde::Serialize;
use std::time::Duration;

/// What a page may take on the server, in milliseconds.
const TARGET: f64 = 50.0;
/// How often each is asked for.
const TIMES: usize = 40;
/// Jobs in one enqueue.
const LIST: u64 = 10_000;
/// Kinds and queues.
const KINDS: [&str; 4] = ["mail", "report", "sync", "import"];
const QUEUES: [&str; 5] = ["default", "mail", "reports", "slow", "nightly"];
/// One job in so many fails.
const FAILS: u64 = 100;
/// Schedules that are there.
const SCHEDULES: u64 = 200;
/// Requests a second in the phase that looks at memory, and for how long.
const RATE: (u64, Duration) = (200, Duration::from_secs(10));

/// What one page took.
#[derive(Clone, Debug, Serialize)]
pub struct Timed {
    /// Its address.
    pub path: String,
    /// Half of all answers came within.
    pub p50_ms: f64,
    /// 95 of 100 came within.
    pub p95_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// Bytes of the answer.
    pub bytes: usize,
}

/// What the phase gave.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Finished jobs in the store.
    pub jobs: u64,
    /// Seconds it took to make them.
    pub made_secs: f64,
    /// Page by page.
    pub pages: Vec<Timed>,
    /// Resident memory with the server idle, in MiB.
    pub idle_mb: u64,
    /// Resident memory after ten seconds of 200 requests a second.
    pub busy_mb: u64,
    /// Requests a second that were answered then.
    pub rate: f64,
}

impl Report {
    /// Pages above the target.
    pub fn slow(&self) -> Vec<&Timed> {
        self.pages.iter().filter(|page| page.p95_ms > TARGET).collect()
    }
}

/// Runs, and fails where its payload says so.
struct Worker;

#[async_trait]
impl Handler for Worker {
    async fn run(&self, cx: Context) -> Result<Option<Json>, JobError> {
        match cx.payload().as_str().contains("\"bad\":true") {
            true => Err(JobError::fatal("the address does not exist").class("refused")),
            false => Ok(None),
        }
    }
}

/// The kinds of the node that makes the history.
pub fn registry() -> Registry {
    let once = || KindSpec::default().retry(RetryPolicy::never());
    KINDS.iter().fold(Registry::new(), |registry, kind| registry.handler(kind, once(), Worker))
}

fn job(i: u64) -> NewJob {
    let payload = format!("{{\"id\":{i},\"bad\":{}}}", i.is_multiple_of(FAILS));
    let mut job = NewJob::new(KINDS[(i % 4) as usize], Json::trusted(payload));
    job.queue = QUEUES[(i / 7 % 5) as usize].into();
    job.retry = RetryPolicy::never();
    job
}

/// Makes `n` finished jobs, and what else a store in use holds.
async fn fill(client: &Client, node: Node, n: u64) -> Result<Duration> {
    let (begun, now) = (stopwatch(), client.now());
    for i in 0..SCHEDULES {
        let name = format!("schedule {i:03}");
        let at = mainspring_core::time::plus(now, Duration::from_secs(3_600 + i));
        let spec = serde_json::json!({
            "name": name, "trigger": Trigger::Once { at }, "job": { "kind": KINDS[(i % 4) as usize] },
        });
        let put = PutSchedule {
            name: name.clone(),
            spec: Json::of(&spec).map_err(failed)?,
            zone: "UTC".into(),
            next_fire: Some(at),
            after_completion: None,
            source: "bench".into(),
        };
        client.store().put_schedule(now, client.project(), put, "bench").await?;
        if i < 20 {
            for _ in 0..20 {
                client.run_now(&name).await?;
            }
        }
    }
    let running = Running::start(node);
    for b in 0..40 {
        let batch = NewBatch { name: format!("batch {b}"), follow_up: None, parent: None, sealed: true };
        client.open_batch(batch, (0..50).map(|i| job(b * 50 + i)).collect()).await?;
    }
    let mut next = 0;
    while next < n {
        let end = (next + LIST).min(n);
        client.enqueue_many((next..end).map(job).collect()).await?;
        next = end;
        // The node works beside it; what waits is kept small, as it would be.
        while open_jobs(client).await? > 5 * LIST {
            wait(Duration::from_millis(20)).await;
        }
    }
    let limit = Duration::from_secs(3_600);
    while open_jobs(client).await? > 0 && since(begun) < limit {
        wait(Duration::from_millis(50)).await;
    }
    running.end().await?;
    Ok(since(begun))
}

/// Pages of a project.
const PAGES: [&str; 22] = [
    "",
    "/jobs",
    "/jobs?state=failed",
    "/jobs?state=running",
    "/jobs?state=completed",
    "/jobs?kind=mail",
    "/jobs?queue=reports",
    "/jobs?queue=reports&state=failed",
    "/jobs?kind=sync&state=completed",
    "/jobs?schedule=schedule%20003",
    "/schedules",
    "/schedules?show=look",
    "/schedules/schedule%20003",
    "/schedule-form",
    "/queues",
    "/queues/default",
    "/batches",
    "/batches/1",
    "/nodes",
    "/audit",
    "/settings",
    "/reference",
];
/// Lists of its API.
const LISTS: [&str; 18] = [
    "/jobs",
    "/jobs?limit=200",
    "/jobs?state=failed",
    "/jobs?state=completed&kind=mail",
    "/jobs?error=refused",
    "/jobs?batch=1",
    "/schedules",
    "/queues",
    "/batches",
    "/nodes",
    "/stats",
    "/stats?by=queue",
    "/throughput",
    "/health",
    "/events",
    "/audit",
    "/members",
    "/keys",
];

/// Every page and list, with the numbers and names of things that are there.
async fn paths(client: &Client, inside: &Inside, cookie: &str) -> Result<Vec<String>> {
    let api = "/api/v1/projects/default";
    let list = get(inside, &format!("{api}/jobs?limit=1"), cookie).await?;
    let list: serde_json::Value = serde_json::from_str(&list).map_err(|e| failed(e.to_string()))?;
    let (job, next) = (list["items"][0]["id"].clone(), list["next"].as_str().unwrap_or_default().to_owned());
    let failed_job = get(inside, &format!("{api}/jobs?state=failed&limit=1"), cookie).await?;
    let failed_job: serde_json::Value =
        serde_json::from_str(&failed_job).map_err(|e| failed(e.to_string()))?;
    let failed_job = failed_job["items"][0]["id"].clone();
    let since = mainspring_core::time::minus(client.now(), Duration::from_secs(3_600));
    let mut all: Vec<String> = PAGES.iter().map(|path| format!("/p/default{path}")).collect();
    all.extend([format!("/p/default/jobs/{job}"), format!("/p/default/jobs/{failed_job}")]);
    all.extend(LISTS.iter().map(|path| format!("{api}{path}")));
    all.extend([
        format!("{api}/jobs?cursor={next}"),
        format!("{api}/jobs?created_from={since}&state=failed"),
        format!("{api}/jobs/{job}"),
        format!("{api}/jobs/{failed_job}/logs"),
        "/account".to_owned(),
        "/api/v1/projects".to_owned(),
        "/health/ready".to_owned(),
    ]);
    Ok(all)
}

async fn get(inside: &Inside, path: &str, cookie: &str) -> Result<String> {
    let asked = inside.ask(path, cookie, None).await;
    let asked = asked.ok_or_else(|| failed(format!("{path} cannot be asked for")))?;
    match asked.status {
        200 => Ok(asked.body),
        status => Err(failed(format!("{path} answered {status}: {}", asked.body))),
    }
}

/// The first account, made as a person makes it.
pub(super) async fn sign_in(web: &Web, inside: &Inside) -> Result<String> {
    let link = accounts::setup_link(web).await.map_err(|e| failed(e.detail))?;
    let link =
        link.ok_or_else(|| failed("this store has accounts; a benchmark takes an empty one".into()))?;
    let form = "email=bench%40example.com&name=Bench&password=a+long+enough+password";
    let made = inside.ask(&format!("/setup/{}", link.reveal()), "", Some(form)).await;
    made.and_then(|asked| asked.cookie).ok_or_else(|| failed("no session was begun".into()))
}

async fn time(inside: &Inside, path: &str, cookie: &str) -> Result<Timed> {
    // Once for what is read from the disk the first time.
    let bytes = get(inside, path, cookie).await?.len();
    let mut took = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let begun = stopwatch();
        get(inside, path, cookie).await?;
        took.push(since(begun).as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took[((took.len() as f64 * share) as usize).min(took.len() - 1)];
    Ok(Timed { path: path.to_owned(), p50_ms: at(0.5), p95_ms: at(0.95), max_ms: at(1.0), bytes })
}

/// Fills the store of `client` with `n` finished jobs and times every page over it.
pub async fn measure(client: &Client, node: Node, n: u64) -> Result<Report> {
    let made = fill(client, node, n).await?;
    super::phases::audit(client).await?;
    // One after the other as fast as they come is more than one project usually may.
    let share = Share { per_second: 1_000_000, at_once: 10_000 };
    let web = Web::open(client.clone(), Config { share, ..Config::default() }).await?;
    let inside = Inside::new(web.clone());
    let cookie = sign_in(&web, &inside).await?;
    wait(Duration::from_secs(1)).await;
    let idle_mb = machine::rss_mib();
    let paths = paths(client, &inside, &cookie).await?;
    let mut pages = Vec::new();
    for path in &paths {
        pages.push(time(&inside, path, &cookie).await?);
    }
    let begun = stopwatch();
    let mut asked = tokio::task::JoinSet::new();
    let (per_second, length) = RATE;
    for i in 0..per_second * length.as_secs() {
        wait(Duration::from_micros(i * 1_000_000 / per_second).saturating_sub(since(begun))).await;
        let (inside, cookie, path) =
            (inside.clone(), cookie.clone(), paths[i as usize % paths.len()].clone());
        asked.spawn(async move { get(&inside, &path, &cookie).await.map(drop) });
        while let Some(done) = asked.try_join_next() {
            done.map_err(|e| failed(e.to_string()))??;
        }
    }
    while let Some(done) = asked.join_next().await {
        done.map_err(|e| failed(e.to_string()))??;
    }
    let rate = (per_second * length.as_secs()) as f64 / since(begun).as_secs_f64();
    let jobs = client.store().counts(client.project()).await?.iter().map(|c| c.3).sum();
    Ok(Report { jobs, made_secs: made.as_secs_f64(), pages, idle_mb, busy_mb: machine::rss_mib(), rate })
}
