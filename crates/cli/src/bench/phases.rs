//! What is measured, one function a phase. Each works on an opened store, through the same client
//! and the same node that `up` uses; the handler does nothing but count.

use super::machine;
use crate::error::{CliError, Result};
use async_trait::async_trait;
use jiff::Timestamp;
use mainspring::node::{NodeError, Summary};
use mainspring::{Client, Context, Handler, JobError, KindSpec, Node, Registry};
use mainspring_core::Json;
use mainspring_core::code::Code;
use mainspring_core::ids::JobId;
use mainspring_core::job::{JobState, NewJob};
use mainspring_core::schedule_record::PutSchedule;
use mainspring_core::store::JobFilter;
use mainspring_core::trigger::Trigger;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The kind of every job here.
pub const NOOP: &str = "bench.noop";

/// What one phase gave.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figure {
    /// `batch`, `single`, `drain`, `latency`, `storm`, `idle`, `start`, `lists`, `idle-schedules`.
    pub phase: String,
    /// Jobs, schedules or samples.
    pub n: u64,
    /// Seconds it took.
    pub secs: f64,
    /// `n` a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Milliseconds from before the enqueue to the handler's first line, or (in `server`) from when a
    /// request was due to its answer: half of all are below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// 99 of 100 are below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// This process's largest resident memory so far, in MiB; the server's in `server`.
    pub rss_mb: u64,
    /// Processor seconds of this process.
    pub cpu_s: f64,
    /// Page by page, in `pages`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pages: Option<super::pages::Report>,
    /// Tenth by tenth, in `day`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<super::day::Day>,
    /// More, by phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The current instant of the benchmark's stopwatch.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub fn stopwatch() -> Instant {
    Instant::now()
}

/// The time since an instant of the stopwatch.
pub fn since(begun: Instant) -> Duration {
    stopwatch() - begun
}

#[allow(clippy::disallowed_methods, reason = "a benchmark runs in real time")]
pub async fn wait(d: Duration) {
    tokio::time::sleep(d).await;
}

/// Counts, and notes when each job's handler began.
#[derive(Clone, Default)]
pub struct Noop {
    count: Arc<AtomicU64>,
    /// By job number of the run: when it was sent, and how long it took to begin.
    pub(super) sent: Arc<Mutex<Vec<Option<Instant>>>>,
    pub(super) took: Arc<Mutex<Vec<f64>>>,
    timed: bool,
}

#[async_trait]
impl Handler for Noop {
    async fn run(&self, cx: Context) -> Result<Option<Json>, JobError> {
        if self.timed {
            let now = stopwatch();
            #[derive(serde::Deserialize)]
            struct Payload {
                id: usize,
            }
            let id = cx.payload().to::<Payload>().map(|p| p.id).unwrap_or(usize::MAX);
            let sent = self.sent.lock().expect("bench lock").get(id).copied().flatten();
            if let Some(sent) = sent {
                self.took.lock().expect("bench lock").push((now - sent).as_secs_f64() * 1e3);
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(None)
    }
}

/// The kinds of a benchmark's node: ours alone.
pub fn registry(noop: Noop) -> Registry {
    Registry::new().handler(NOOP, KindSpec::default(), noop)
}

/// A job of the kind that counts.
pub fn job(id: u64) -> NewJob {
    NewJob::new(NOOP, Json::trusted(format!("{{\"id\":{id}}}")))
}

/// A figure of `n` jobs.
pub fn done(phase: &str, n: u64, took: Duration) -> Figure {
    let secs = took.as_secs_f64();
    Figure {
        phase: phase.into(),
        n,
        secs,
        rate: Some(n as f64 / secs),
        rss_mb: machine::peak_rss_mib(),
        cpu_s: machine::cpu_seconds(),
        ..Figure::default()
    }
}

/// Enqueues `n` jobs in bulk.
pub async fn batch(client: &Client, n: u64) -> Result<Figure> {
    batch_of(client, n, job).await
}

/// Enqueues `n` jobs in bulk, each with one of a hundred keys.
pub async fn batch_keyed(client: &Client, n: u64) -> Result<Figure> {
    batch_of(client, n, |id| NewJob { key: Some(format!("key-{}", id % 100).into()), ..job(id) }).await
}

/// Enqueues `n` jobs in bulk, each as `job` makes it.
pub async fn batch_of(client: &Client, n: u64, job: impl Fn(u64) -> NewJob) -> Result<Figure> {
    let begun = stopwatch();
    let mut next = 0;
    while next < n {
        let end = (next + 10_000).min(n);
        client.enqueue_many((next..end).map(&job).collect()).await?;
        next = end;
    }
    Ok(done("batch", n, since(begun)))
}

/// Enqueues single jobs for a while from `callers` tasks, each waiting for its own to be durable.
pub async fn single(client: &Client, length: Duration, callers: u64) -> Result<Figure> {
    let begun = stopwatch();
    let mut tasks = Vec::new();
    for caller in 0..callers {
        let client = client.clone();
        tasks.push(tokio::spawn(async move {
            let mut n = 0;
            while since(begun) < length {
                client.enqueue_raw(job(caller * 10_000_000 + n)).await?;
                n += 1;
            }
            Ok::<u64, mainspring::ClientError>(n)
        }));
    }
    let mut n = 0;
    for task in tasks {
        n += task.await.map_err(|e| failed(format!("a caller died: {e}")))??;
    }
    Ok(done("single", n, since(begun)))
}

/// The benchmark cannot go on.
pub fn failed(text: String) -> CliError {
    CliError::new(Code::STORE_INTERNAL, text)
}

/// Jobs that are not final.
pub async fn open_jobs(client: &Client) -> Result<u64> {
    let counts = client.store().counts(client.project()).await?;
    Ok(counts.iter().filter(|(_, _, state, _)| !state.is_final()).map(|c| c.3).sum())
}

/// A node at work.
pub struct Running {
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<Summary, NodeError>>,
}

impl Running {
    /// Starts it.
    pub fn start(node: Node) -> Running {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(node.run(async move {
            let _ = stopped.await;
        }));
        Running { stop, task }
    }

    /// Whether it has ended, which it should not.
    pub fn ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends it.
    pub async fn end(self) -> Result<()> {
        // A node that is gone already tells why below.
        let _ = self.stop.send(());
        let ended = self.task.await.map_err(|e| failed(format!("the node died: {e}")))?;
        ended.map(drop).map_err(crate::up::node_error)
    }
}

/// Runs a node until `n` jobs that wait are claimed, run and finished in the store, from before the
/// node starts. Afterwards the store is recounted: a figure that hides a lost job is refused.
pub async fn drain(client: &Client, noop: Noop, nodes: Vec<Node>, n: u64) -> Result<Figure> {
    let begun = stopwatch();
    let running: Vec<Running> = nodes.into_iter().map(Running::start).collect();
    let limit = Duration::from_secs((n / 1_000).max(600));
    let works = || since(begun) < limit && !running.iter().any(|r| r.task.is_finished());
    while noop.count.load(Ordering::Relaxed) < n && works() {
        wait(Duration::from_millis(2)).await;
    }
    while open_jobs(client).await? > 0 && works() {
        wait(Duration::from_millis(2)).await;
    }
    let took = since(begun);
    let figure = done("drain", noop.count.load(Ordering::Relaxed), took);
    for node in running {
        node.end().await?;
    }
    if figure.n != n {
        return Err(failed(format!("{} of {n} jobs ran within {limit:?}", figure.n)));
    }
    Ok(figure)
}

/// Jobs that are completed, by the counters.
pub async fn completed(client: &Client) -> Result<u64> {
    let counts = client.store().counts(client.project()).await?;
    Ok(counts.iter().filter(|c| c.2 == JobState::Completed).map(|c| c.3).sum())
}

/// Recounts the store: what counters tell must be there.
pub async fn audit(client: &Client) -> Result<()> {
    match client.store().audit().await?.as_slice() {
        [] => Ok(()),
        wrong => Err(failed(format!("the recount does not agree: {}", wrong.join("; ")))),
    }
}

/// Recounts the store: jobs, attempts, counters and history must tell of exactly `n` completed jobs.
pub async fn recount(client: &Client, n: u64) -> Result<()> {
    let store = client.store();
    let mut wrong = store.audit().await?;
    let completed = completed(client).await?;
    if completed != n {
        wrong.push(format!("{completed} jobs are completed, {n} were enqueued"));
    }
    let sums = store
        .rollups(
            client.project(),
            i64::MIN / 2,
            i64::MAX / 2,
            mainspring_core::reader::GroupBy::Nothing,
            false,
        )
        .await?;
    let attempts: u64 = sums.iter().map(|row| row.sum.count).sum();
    if attempts != n {
        wrong.push(format!("the roll-ups tell of {attempts} attempts, {n} were made"));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(failed(format!("the recount after the run does not agree: {}", wrong.join("; "))))
    }
}

/// Enqueues `n` jobs one by one, `per_second`, to an idle node, and looks how soon each begins.
pub async fn latency(client: &Client, noop: Noop, node: Node, n: u64, per_second: u64) -> Result<Figure> {
    *noop.sent.lock().expect("bench lock") = vec![None; n as usize];
    let client = client.clone();
    let running = Running::start(node);
    wait(Duration::from_millis(1500)).await;
    let begun = stopwatch();
    for i in 0..n {
        let due = Duration::from_micros(i * 1_000_000 / per_second.max(1));
        wait(due.saturating_sub(since(begun))).await;
        noop.sent.lock().expect("bench lock")[i as usize] = Some(stopwatch());
        client.enqueue_raw(job(i)).await?;
    }
    let limit = since(begun) + Duration::from_secs(8);
    while noop.count.load(Ordering::Relaxed) < n && since(begun) < limit {
        wait(Duration::from_millis(20)).await;
    }
    let took = since(begun);
    running.end().await?;
    let mut all = noop.took.lock().expect("bench lock").clone();
    all.sort_by(f64::total_cmp);
    if all.len() as u64 != n {
        return Err(failed(format!("{} of {n} jobs began in time", all.len())));
    }
    let at = |share: f64| Some(all[((all.len() as f64 * share) as usize).min(all.len() - 1)]);
    Ok(Figure { p50_ms: at(0.5), p99_ms: at(0.99), rate: None, ..done("latency", n, took) })
}

impl Noop {
    /// How many handlers have begun.
    pub fn ran(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// One that notes when each job began.
    pub fn timed() -> Noop {
        Noop { timed: true, ..Noop::default() }
    }
}

/// Makes `n` schedules that fire once, all at `due`, from several callers at once.
async fn schedules(client: &Client, n: u64, now: Timestamp, due: Timestamp) -> Result<()> {
    const CALLERS: u64 = 16;
    let mut tasks = Vec::new();
    for caller in 0..CALLERS {
        let (store, project) = (client.store().clone(), client.project());
        tasks.push(tokio::spawn(async move {
            for i in (caller..n).step_by(CALLERS as usize) {
                let name = format!("bench-{i:06}");
                let spec = serde_json::json!({
                    "name": name, "trigger": Trigger::Once { at: due },
                    "job": { "kind": NOOP, "payload": { "id": i } },
                });
                let put = PutSchedule {
                    name,
                    spec: Json::of(&spec).map_err(failed)?,
                    zone: "UTC".into(),
                    next_fire: Some(due),
                    after_completion: None,
                    source: "bench".into(),
                };
                store.put_schedule(now, project, put, "bench").await?;
            }
            Ok::<(), CliError>(())
        }));
    }
    for task in tasks {
        task.await.map_err(|e| failed(format!("a caller died: {e}")))??;
    }
    Ok(())
}

/// Schedules that do not fire while anybody looks.
pub async fn far_schedules(client: &Client, n: u64, now: Timestamp) -> Result<()> {
    let due = mainspring_core::time::plus(now, Duration::from_secs(300 * 86_400));
    schedules(client, n, now, due).await
}

/// Makes `n` schedules due in the same second and looks how long a node takes to turn them into
/// jobs, and to have begun them all.
pub async fn storm(client: &Client, noop: Noop, node: Node, n: u64, now: Timestamp) -> Result<Figure> {
    let due = mainspring_core::time::plus(now, Duration::from_secs(2 + n / 2_000));
    let store = client.store().clone();
    schedules(client, n, now, due).await?;
    let running = Running::start(node);
    let remaining = mainspring_core::time::since(crate::clock::now(), due);
    wait(remaining).await;
    let begun = stopwatch();
    let limit = Duration::from_secs(60);
    let mut rows = None;
    while noop.count.load(Ordering::Relaxed) < n && since(begun) < limit {
        if rows.is_none() {
            let made: u64 = store.counts(client.project()).await?.iter().map(|c| c.3).sum();
            rows = (made >= n).then(|| since(begun));
        }
        wait(Duration::from_millis(5)).await;
    }
    let took = since(begun);
    running.end().await?;
    let begun = noop.count.load(Ordering::Relaxed);
    if begun != n {
        return Err(failed(format!("{begun} of {n} schedules had their jobs begun within {limit:?}")));
    }
    let rows = rows.unwrap_or(took).as_secs_f64();
    let note = format!("rows after {rows:.2} s, all begun after {:.2} s", took.as_secs_f64());
    Ok(Figure { note: Some(note), ..done("storm", begun, took) })
}

/// Lets a node sit idle and looks at its processor time and memory, and how often it asks a server.
pub async fn idle(client: &Client, node: Node, seconds: u64) -> Result<Figure> {
    let running = Running::start(node);
    wait(Duration::from_secs(2)).await;
    let asked = transactions(client).await;
    let before = machine::cpu_seconds();
    let begun = stopwatch();
    wait(Duration::from_secs(seconds)).await;
    let took = since(begun);
    let used = machine::cpu_seconds() - before;
    let mut note = format!(
        "{:.2} % of one processor, {} MiB resident",
        100.0 * used / took.as_secs_f64(),
        machine::rss_mib()
    );
    if let (Some(before), Some(after)) = (asked, transactions(client).await) {
        let per_minute = after.saturating_sub(before) as f64 * 60.0 / took.as_secs_f64();
        note.push_str(&format!(", {per_minute:.0} transactions a minute"));
    }
    running.end().await?;
    Ok(Figure { note: Some(note), rate: None, ..done("idle", 0, took) })
}

/// Transactions in this database so far, as PostgreSQL counts them; None on another store.
async fn transactions(client: &Client) -> Option<u64> {
    let sql = "SELECT CAST(xact_commit + xact_rollback AS INTEGER) FROM pg_stat_database
               WHERE datname = current_database()";
    let tables = client.store().clone().tables()?;
    let counted = tables.read(mainspring_core::tables::Statement::new(sql)).await.ok()?;
    u64::try_from(counted.one::<i64>().ok()?).ok()
}

/// How soon the first job of a process begins that was started at `begun` and has its store open.
pub async fn start(client: &Client, noop: Noop, node: Node, begun: Instant) -> Result<Figure> {
    let opened = since(begun);
    let running = Running::start(node);
    client.enqueue_raw(job(0)).await?;
    let limit = Duration::from_secs(120);
    while noop.count.load(Ordering::Relaxed) == 0 && since(begun) < limit {
        wait(Duration::from_millis(1)).await;
    }
    let took = since(begun);
    running.end().await?;
    if noop.count.load(Ordering::Relaxed) == 0 {
        return Err(failed(format!("the first job did not begin within {limit:?}")));
    }
    let (opened, all) = (opened.as_secs_f64(), took.as_secs_f64());
    let note = format!("open after {opened:.3} s, the first job begun after {all:.3} s");
    Ok(Figure { note: Some(note), rate: None, ..done("start", 0, took) })
}

/// Calls of each listing.
const CALLS: u32 = 50;

/// What people and programs list, in a store with `n` finished jobs and some schedules: milliseconds
/// that half of all calls stay below, and all.
pub async fn lists(client: &Client, n: u64, now: Timestamp) -> Result<Figure> {
    far_schedules(client, 1_000, now).await?;
    let (store, project, page) = (client.store(), client.project(), 50);
    let all = JobFilter::default();
    let of = |state| JobFilter { states: vec![state], kind: Some(NOOP.into()), ..JobFilter::default() };
    let (failed, completed) = (of(JobState::Failed), of(JobState::Completed));
    let newest = store.jobs(project, &all, None, 1).await?.rows;
    let middle = newest.first().map(|job| JobId(job.id.0 / 2));
    let kinds = registry(Noop::default());
    let begun = stopwatch();
    let told = [
        timed("jobs", async || store.jobs(project, &all, None, page).await).await?,
        timed("completed of a kind", async || store.jobs(project, &completed, None, page).await).await?,
        timed("failed of a kind", async || store.jobs(project, &failed, None, page).await).await?,
        timed("jobs in the middle", async || store.jobs(project, &all, middle, page).await).await?,
        timed("queues", async || store.queues(project).await).await?,
        timed("schedules", async || store.schedules(project, None, page).await).await?,
        timed("stats", async || mainspring::stats::gather(&**store, Some(&kinds), project, now).await)
            .await?,
    ];
    let took = since(begun);
    Ok(Figure { note: Some(told.join("; ")), rate: None, ..done("lists", n, took) })
}

async fn timed<T>(
    what: &str,
    call: impl AsyncFn() -> std::result::Result<T, mainspring_core::StoreError>,
) -> Result<String> {
    let mut all = Vec::new();
    for _ in 0..CALLS {
        let begun = stopwatch();
        call().await?;
        all.push(since(begun).as_secs_f64() * 1e3);
    }
    all.sort_by(f64::total_cmp);
    let most = all.last().copied().unwrap_or_default();
    Ok(format!("{what} {:.2} ms, at most {most:.2} ms", all[all.len() / 2]))
}
