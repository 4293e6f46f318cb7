//! Workers outside as JSON: register, claim and wait, heartbeat, log, progress, finish, fail, leave.

use super::bound;
use crate::access::MayWork;
use crate::extract::{Json, MaybeJson, Path};
use crate::problem::{Problem, Result};
use crate::state::Web;
use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use mainspring::remote::attempts::Holder;
use mainspring::remote::{Ending, Hello, Leased, Line, PROTOCOL, Settled, poll};
use mainspring_core::job::{ErrorRecord, JobState, LogLevel};
use mainspring_core::{Json as Text, duration};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(leave))
        .routes(routes!(claim))
        .routes(routes!(heartbeat))
        .routes(routes!(log))
        .routes(routes!(progress))
        .routes(routes!(finish))
        .routes(routes!(fail))
}

/// What a worker says of itself.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewWorker {
    /// The version of the protocol it speaks: 1.
    protocol: u32,
    /// For people.
    name: String,
    /// The program and its version: `python/0.1.0`.
    #[serde(default)]
    client: String,
    /// The kinds it knows, at least one.
    kinds: Vec<String>,
    /// The queues it serves; all that its key is bound to when empty.
    #[serde(default)]
    queues: Vec<String>,
    /// Attempts it runs at once, 1 to 1,000; 1 if absent.
    slots: Option<u32>,
}

/// What a worker is told.
#[derive(Serialize, utoipa::ToSchema)]
struct WorkerView {
    /// What it calls itself from now on, in the addresses below `workers/`.
    worker: String,
    /// Its number among the nodes.
    node: String,
    /// The version of the protocol spoken here.
    protocol: u32,
    /// How long it may be silent, in milliseconds; then its attempts are others'.
    lease_ms: u64,
    /// How often its heartbeat should come, in milliseconds.
    heartbeat_ms: u64,
    /// How long a claim may wait, in seconds.
    wait_most: u64,
}

/// Registers a worker. It must send a heartbeat within every lease, whatever else it does.
#[utoipa::path(post, path = "/projects/{project}/workers", tag = "workers", operation_id = "register_worker",
    security(("key" = ["work"])), responses((status = 201, body = WorkerView)))]
async fn register(
    State(web): State<Web>,
    caller: MayWork,
    Json(new): Json<NewWorker>,
) -> Result<(StatusCode, Json<WorkerView>)> {
    let own = bound(&caller);
    if let Some(queue) = new.queues.iter().find(|queue| !own.is_empty() && !own.contains(queue)) {
        let text = format!("this key may not claim from {queue}: it is bound to {}", own.join(", "));
        return Err(Problem::forbidden(text));
    }
    let hello = Hello {
        protocol: new.protocol,
        name: new.name,
        client: new.client,
        kinds: new.kinds,
        queues: new.queues,
        slots: new.slots.unwrap_or(1),
    };
    let welcome = web.desk().register(caller.project_id(), &hello).await?;
    let view = WorkerView {
        worker: welcome.worker,
        node: welcome.node.to_string(),
        protocol: PROTOCOL,
        lease_ms: welcome.lease.as_millis() as u64,
        heartbeat_ms: (welcome.lease / 3).as_millis() as u64,
        wait_most: poll::WAIT.as_secs(),
    };
    Ok((StatusCode::CREATED, Json(view)))
}

/// A worker ends in good order. What it still holds is taken from it at once.
#[utoipa::path(delete, path = "/projects/{project}/workers/{worker}", tag = "workers", operation_id = "leave_worker",
    security(("key" = ["work"])), responses((status = 204, description = "it is gone")))]
async fn leave(
    State(web): State<Web>,
    caller: MayWork,
    Path((_project, worker)): Path<(String, String)>,
) -> Result<StatusCode> {
    web.desk().leave(caller.project_id(), &worker).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How many, and how long to wait.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
struct ClaimBody {
    /// At most this many, 1 to 100; 1 if absent.
    limit: Option<u32>,
    /// Seconds to wait for the first, 0 to 30; 0 if absent.
    wait: Option<u64>,
}

/// One attempt in a worker's hands.
#[derive(Serialize, utoipa::ToSchema)]
struct LeasedView {
    /// What every further call about it must carry.
    lease: String,
    /// The job.
    job: i64,
    /// The attempt, from 1.
    attempt: u32,
    /// Attempts in all, those given back included.
    max_attempts: u32,
    /// The handler's name.
    kind: String,
    /// Its lane.
    queue: String,
    /// The handler's input.
    #[schema(value_type = serde_json::Value)]
    payload: Text,
    /// The same for every attempt of the job: hand it to services that must not do a thing twice.
    delivery_id: String,
    /// Its concurrency key.
    key: Option<String>,
    /// Its batch.
    batch: Option<i64>,
    /// The nominal fire that made the job.
    #[schema(value_type = Option<String>, format = DateTime)]
    scheduled_for: Option<Timestamp>,
    /// When it was enqueued.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When its time is over: then it counts as timed out, whatever is said of it later.
    #[schema(value_type = String, format = DateTime)]
    deadline: Timestamp,
}

impl From<Leased> for LeasedView {
    fn from(leased: Leased) -> LeasedView {
        let c = leased.claimed;
        LeasedView {
            lease: leased.lease,
            job: c.facts.job.0,
            attempt: c.facts.attempt,
            max_attempts: c.facts.max_attempts.saturating_add(c.facts.raised),
            kind: c.kind.to_string(),
            queue: c.queue.to_string(),
            payload: c.payload,
            delivery_id: c.facts.job.delivery_id(),
            key: c.key.as_deref().map(str::to_owned),
            batch: c.batch.map(|id| id.0),
            scheduled_for: c.schedule.and_then(|(_, at)| at),
            created_at: c.created_at,
            deadline: leased.deadline,
        }
    }
}

/// Attempts.
#[derive(Serialize, utoipa::ToSchema)]
struct LeasedMany {
    /// In the order in which they should start; none when the wait was over.
    items: Vec<LeasedView>,
}

/// Claims attempts of the worker's kinds and queues, and waits for the first. It is a sign of life, too,
/// when it begins; the heartbeat must go on while it waits.
#[utoipa::path(post, path = "/projects/{project}/workers/{worker}/claim", tag = "workers", operation_id = "claim_attempts",
    security(("key" = ["work"])), request_body = Option<ClaimBody>, responses((status = 200, body = LeasedMany)))]
async fn claim(
    State(web): State<Web>,
    caller: MayWork,
    Path((_project, worker)): Path<(String, String)>,
    MaybeJson(body): MaybeJson<ClaimBody>,
) -> Result<Json<LeasedMany>> {
    let wait = body.wait.unwrap_or(0);
    if wait > poll::WAIT.as_secs() {
        let text = format!("{wait} is more than {} seconds; ask again after that", poll::WAIT.as_secs());
        return Err(Problem::invalid("wait", text));
    }
    let mut closing = web.closing();
    let wait = if *closing.borrow_and_update() { 0 } else { wait };
    let (limit, wait) = (body.limit.unwrap_or(1), Duration::from_secs(wait));
    let (project, queues) = (caller.project_id(), bound(&caller).to_vec());
    // A claim that waits is no request under way: it takes nothing from its project's share.
    drop(caller);
    let leased = tokio::select! {
        leased = web.desk().claim(project, &worker, limit, wait, &queues) => leased?,
        _ = closing.changed() => vec![],
    };
    Ok(Json(LeasedMany { items: leased.into_iter().map(LeasedView::from).collect() }))
}

/// What a worker believes to hold.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
struct BeatBody {
    /// Its leases. One that is left out a whole lease after its claim goes back to the queue.
    holds: Vec<String>,
}

/// What a heartbeat brings back.
#[derive(Serialize, utoipa::ToSchema)]
struct BeatView {
    /// Leases whose end somebody asked for.
    cancel: Vec<String>,
    /// Leases that do not hold any more: drop them.
    lost: Vec<String>,
}

/// A sign of life: the leases hold on.
#[utoipa::path(post, path = "/projects/{project}/workers/{worker}/heartbeat", tag = "workers", operation_id = "beat_worker",
    security(("key" = ["work"])), request_body = Option<BeatBody>, responses((status = 200, body = BeatView)))]
async fn heartbeat(
    State(web): State<Web>,
    caller: MayWork,
    Path((_project, worker)): Path<(String, String)>,
    MaybeJson(body): MaybeJson<BeatBody>,
) -> Result<Json<BeatView>> {
    let beaten = web.desk().heartbeat(caller.project_id(), &worker, &body.holds).await?;
    Ok(Json(BeatView { cancel: beaten.cancel, lost: beaten.lost }))
}

/// One line of a log.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct LineBody {
    /// From 0 within the attempt; the same number twice is written once.
    seq: u32,
    /// When; now if absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// `debug`, `info`, `warn`, `error`; `info` if absent.
    #[schema(value_type = Option<String>)]
    level: Option<LogLevel>,
    /// The text; what is beyond 4 KiB is cut.
    message: String,
    /// Structured fields.
    #[schema(value_type = Option<Object>)]
    fields: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Lines of a log.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogBody {
    /// The lease; not for a call-back.
    #[serde(default)]
    lease: String,
    /// At most 500.
    lines: Vec<LineBody>,
}

impl LogBody {
    pub(super) fn lines(self) -> Vec<Line> {
        let line = |line: LineBody| Line {
            seq: line.seq,
            at: line.at,
            level: line.level.unwrap_or(LogLevel::Info),
            message: line.message,
            fields: line.fields.map(|f| Text::trusted(serde_json::Value::Object(f).to_string())),
        };
        self.lines.into_iter().map(line).collect()
    }
}

/// Adds lines to an attempt's log.
#[utoipa::path(post, path = "/projects/{project}/workers/{worker}/log", tag = "workers", operation_id = "log_attempt",
    security(("key" = ["work"])), responses((status = 204, description = "written")))]
async fn log(
    State(web): State<Web>,
    caller: MayWork,
    Path((_project, worker)): Path<(String, String)>,
    Json(body): Json<LogBody>,
) -> Result<StatusCode> {
    let lease = body.lease.clone();
    let holder = Holder::Worker { worker: &worker, lease: &lease };
    web.desk().log(caller.project_id(), holder, body.lines()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How far an attempt is.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProgressBody {
    /// The lease; not for a call-back.
    #[serde(default)]
    lease: String,
    /// Units done.
    pub(super) done: u64,
    /// Units in all, when known.
    pub(super) total: Option<u64>,
    /// What it is doing now.
    pub(super) note: Option<String>,
}

/// What progress brings back.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct ProgressView {
    /// Somebody asked for its end.
    pub(super) cancel: bool,
}

/// Tells how far an attempt is.
#[utoipa::path(post, path = "/projects/{project}/workers/{worker}/progress", tag = "workers", operation_id = "progress_attempt",
    security(("key" = ["work"])), responses((status = 200, body = ProgressView)))]
async fn progress(
    State(web): State<Web>,
    caller: MayWork,
    Path((_project, worker)): Path<(String, String)>,
    Json(body): Json<ProgressBody>,
) -> Result<Json<ProgressView>> {
    let holder = Holder::Worker { worker: &worker, lease: &body.lease };
    let cancel = web.desk().progress(caller.project_id(), holder, body.done, body.total, body.note).await?;
    Ok(Json(ProgressView { cancel }))
}

/// How an attempt that did not fail ended.
#[derive(Clone, Copy, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum EndingWord {
    /// Done.
    #[default]
    Succeeded,
    /// Done in part, and not to be tried again.
    Partial,
    /// There was nothing to do.
    Skipped,
    /// Not now: again after `after`. Costs no attempt.
    Snoozed,
    /// It ended itself, or heeded a cancellation.
    Cancelled,
    /// The worker goes away and gives it back. Costs no attempt.
    Interrupted,
}

/// How an attempt ended.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FinishBody {
    /// The lease; not for a call-back.
    #[serde(default)]
    lease: String,
    /// How; `succeeded` if absent.
    #[serde(default)]
    outcome: EndingWord,
    /// What it gave; with `succeeded` and `partial`.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    output: Option<Box<serde_json::value::RawValue>>,
    /// How many parts failed; with `partial`.
    failed: Option<u64>,
    /// Why; with `skipped`, `cancelled` and `interrupted`.
    reason: Option<String>,
    /// After how long, as `30s`; with `snoozed`.
    #[serde(default, with = "duration::human_option")]
    #[schema(value_type = Option<String>)]
    after: Option<Duration>,
}

impl FinishBody {
    pub(super) fn ending(self) -> Result<Ending> {
        let output = match &self.output {
            Some(raw) if raw.get() != "null" => {
                Some(Text::parse(raw.get()).map_err(|e| Problem::invalid("output", e))?)
            }
            _ => None,
        };
        let reason = |text: &str| self.reason.as_deref().unwrap_or(text).replace('\0', "\u{fffd}");
        Ok(match self.outcome {
            EndingWord::Succeeded => Ending::Succeeded(output),
            EndingWord::Partial => Ending::Partial(output, self.failed.unwrap_or(1)),
            EndingWord::Skipped => Ending::Skipped(reason("there was nothing to do")),
            EndingWord::Cancelled => Ending::Cancelled(reason("the worker ended it")),
            EndingWord::Interrupted => Ending::Interrupted(reason("the worker is shutting down")),
            EndingWord::Snoozed => {
                let text = "say after how long it is to be called again, as \"30s\"";
                Ending::Snoozed(self.after.ok_or_else(|| Problem::invalid("after", text))?)
            }
        })
    }
}

/// How an attempt failed.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FailBody {
    /// The lease; not for a call-back.
    #[serde(default)]
    lease: String,
    /// What went wrong, in one line.
    message: String,
    /// The word people filter by; `retryable` or `fatal` if absent.
    class: Option<String>,
    /// Its causes, the outermost first.
    #[serde(default)]
    chain: Vec<String>,
    /// Whether another attempt may help; true if absent.
    retry: Option<bool>,
    /// Not before this much later, as `30s`, instead of the policy's wait.
    #[serde(default, with = "duration::human_option")]
    #[schema(value_type = Option<String>)]
    after: Option<Duration>,
}

impl FailBody {
    pub(super) fn ending(self) -> Ending {
        let retry = self.retry.unwrap_or(true);
        let class = self.class.as_deref().unwrap_or(if retry { "retryable" } else { "fatal" });
        let error = ErrorRecord::new(class, &self.message, self.chain);
        Ending::Failed { error, retry, after: self.after }
    }
}

/// What became of the job.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct SettledView {
    /// Where it stands now.
    #[schema(value_type = String)]
    state: JobState,
    /// When it runs again, if it does.
    #[schema(value_type = Option<String>, format = DateTime)]
    again: Option<Timestamp>,
}

impl From<Settled> for SettledView {
    fn from(settled: Settled) -> SettledView {
        SettledView { state: settled.state, again: settled.again }
    }
}

/// Ends an attempt that did not fail. It can be said once: a second call is refused with 409.
#[utoipa::path(post, path = "/projects/{project}/workers/{worker}/finish", tag = "workers", operation_id = "finish_attempt",
    security(("key" = ["work"])), responses((status = 200, body = SettledView)))]
async fn finish(
    State(web): State<Web>,
    caller: MayWork,
    Path((_project, worker)): Path<(String, String)>,
    Json(body): Json<FinishBody>,
) -> Result<Json<SettledView>> {
    let lease = body.lease.clone();
    let holder = Holder::Worker { worker: &worker, lease: &lease };
    Ok(Json(web.desk().finish(caller.project_id(), holder, body.ending()?).await?.into()))
}

/// Ends an attempt that failed; whether and when another follows is told back.
#[utoipa::path(post, path = "/projects/{project}/workers/{worker}/fail", tag = "workers", operation_id = "fail_attempt",
    security(("key" = ["work"])), responses((status = 200, body = SettledView)))]
async fn fail(
    State(web): State<Web>,
    caller: MayWork,
    Path((_project, worker)): Path<(String, String)>,
    Json(body): Json<FailBody>,
) -> Result<Json<SettledView>> {
    let lease = body.lease.clone();
    let holder = Holder::Worker { worker: &worker, lease: &lease };
    Ok(Json(web.desk().finish(caller.project_id(), holder, body.ending()).await?.into()))
}
