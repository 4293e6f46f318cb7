//! Jobs as JSON.

use super::{Act, BULK, BULK_MOST, BulkView, JobDetailView, JobQuery, JobView, LogView};
use crate::access::{Caller, MayRead, MayRun, MaySee, Via};
use crate::extract::{Json, MaybeJson, Path, Query};
use crate::listing::{self, Page};
use crate::problem::{Problem, Result};
use crate::state::Web;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use mainspring::Client;
use mainspring_core::ids::{BatchId, JobId};
use mainspring_core::job::{Enqueued, JobState, NewJob, Unique, UniqueStates};
use mainspring_core::limits;
use mainspring_core::retry::RetryPolicy;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::Duration;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The header under which a repeated enqueue finds the first.
const IDEMPOTENCY: &str = "idempotency-key";
/// For how long it does.
const IDEMPOTENT: Duration = Duration::from_secs(86_400);

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(list, enqueue))
        .routes(routes!(enqueue_many))
        .routes(routes!(cancel_many))
        .routes(routes!(retry_many))
        .routes(routes!(one))
        .routes(routes!(logs))
        .routes(routes!(cancel))
        .routes(routes!(retry))
}

/// "At most one of these": an enqueue that finds a holder of the key answers with the holder.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct UniqueBody {
    /// The key, unique within the project.
    key: String,
    /// For how long after the holder's enqueue the key holds: `1h`; without it, for ever.
    #[serde(default, rename = "for", with = "mainspring_core::duration::human_option")]
    #[schema(value_type = Option<String>)]
    period: Option<Duration>,
    /// The holder's states in which the key holds; scheduled, available and running if absent, all
    /// with `for`.
    #[schema(value_type = Option<Vec<String>>)]
    states: Option<Vec<JobState>>,
}

/// A job to be. What is absent is the kind's own default.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct JobBody {
    /// The handler's name.
    kind: String,
    /// The lane.
    queue: Option<String>,
    /// The handler's input: any JSON, kept as it was sent.
    #[schema(value_type = Option<serde_json::Value>)]
    payload: Option<Box<RawValue>>,
    /// 0 (first) to 9 (last).
    priority: Option<u8>,
    /// Not before this.
    #[schema(value_type = Option<String>, format = DateTime)]
    run_at: Option<Timestamp>,
    /// Not started at or after this.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// The longest an attempt may take: `30s`.
    #[serde(default, with = "mainspring_core::duration::human_option")]
    #[schema(value_type = Option<String>)]
    timeout: Option<Duration>,
    /// How often, and with which waits: `{"max_attempts": 4, "backoff": {"steps": ["5s", "1m"]}}`.
    #[schema(value_type = Option<Object>)]
    retry: Option<RetryPolicy>,
    /// Attempts in all; wins over `retry`.
    max_attempts: Option<u32>,
    /// Jobs with the same key share the queue's per-key limits.
    key: Option<String>,
    /// At most this many jobs of the key run at once.
    key_limit: Option<u32>,
    /// At most one of these.
    unique: Option<UniqueBody>,
    /// The batch it belongs to.
    batch: Option<i64>,
}

impl JobBody {
    fn job(self, client: &Client, place: &str) -> Result<NewJob> {
        let payload = self.payload.map_or("null".into(), |raw| raw.get().to_owned());
        let field = format!("{place}payload");
        let payload = mainspring_core::Json::parse(payload).map_err(|e| Problem::invalid(&field, e))?;
        let mut job = client.new_job_of(&self.kind, payload);
        if let Some(queue) = self.queue {
            job.queue = queue.into();
        }
        job.priority = self.priority.unwrap_or(job.priority);
        job.run_at = self.run_at;
        job.expires_at = self.expires_at;
        job.timeout = self.timeout.or(job.timeout);
        job.retry = self.retry.unwrap_or(job.retry);
        job.retry.max_attempts = self.max_attempts.unwrap_or(job.retry.max_attempts);
        job.key = self.key.map(Into::into);
        job.key_limit = self.key_limit;
        job.batch = self.batch.map(BatchId);
        if let Some(unique) = self.unique {
            let usual = if unique.period.is_some() { UniqueStates::ANY } else { UniqueStates::LIVE };
            let states = unique.states.map_or(usual, |states| UniqueStates::of(&states));
            job.unique = Some(Unique { key: unique.key, period: unique.period, states });
        }
        Ok(job)
    }
}

/// What an enqueue made or found.
#[derive(Serialize, utoipa::ToSchema)]
struct EnqueuedView {
    /// The job: new, or the holder of the unique key.
    id: i64,
    /// True when it was there already and nothing was written.
    duplicate: bool,
}

impl From<Enqueued> for EnqueuedView {
    fn from(e: Enqueued) -> EnqueuedView {
        EnqueuedView { id: e.id.0, duplicate: e.duplicate }
    }
}

/// Jobs of the filter, the newest first.
#[utoipa::path(get, path = "/projects/{project}/jobs", tag = "jobs", operation_id = "list_jobs",
    security(("key" = ["read"])), responses((status = 200, body = Page<JobView>)))]
async fn list(caller: MayRead, Query(query): Query<JobQuery>) -> Result<Json<Page<JobView>>> {
    Ok(Json(super::asked(&caller, &query).await?))
}

/// Enqueues a job. The answer is given once it is durable. With the header `Idempotency-Key` (or with
/// `unique`) a repeated call answers 200 with the first one's job instead of making another.
#[utoipa::path(post, path = "/projects/{project}/jobs", tag = "jobs", operation_id = "enqueue_job",
    security(("key" = ["run"])),
    params(("idempotency-key" = Option<String>, Header, description = "the same for every repetition; kept for a day")),
    responses((status = 201, body = EnqueuedView), (status = 200, body = EnqueuedView, description = "it was there already")))]
async fn enqueue(
    caller: MayRun,
    headers: HeaderMap,
    Json(body): Json<JobBody>,
) -> Result<(StatusCode, Json<EnqueuedView>)> {
    let mut job = body.job(caller.client(), "")?;
    if let Some(key) = headers.get(IDEMPOTENCY) {
        let key =
            key.to_str().map_err(|_| Problem::invalid(IDEMPOTENCY, "holds more than printable ASCII"))?;
        if job.unique.is_some() {
            return Err(Problem::invalid(
                "unique",
                "cannot be given together with the header Idempotency-Key",
            ));
        }
        let key = format!("idempotency/{key}");
        job.unique = Some(Unique { key, period: Some(IDEMPOTENT), states: UniqueStates::ANY });
    }
    let made = caller.client().enqueue_raw(job).await?;
    if !made.duplicate {
        told(&caller, &[made.id]).await?;
    }
    let status = if made.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(made.into())))
}

/// Jobs to be.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct ManyBody {
    /// At most 1,000; all or none are written.
    jobs: Vec<JobBody>,
}

/// What became of them.
#[derive(Serialize, utoipa::ToSchema)]
struct ManyView {
    /// In order.
    items: Vec<EnqueuedView>,
}

/// Enqueues up to 1,000 jobs in one transaction: all of them or none.
#[utoipa::path(post, path = "/projects/{project}/jobs/many", tag = "jobs", operation_id = "enqueue_jobs",
    security(("key" = ["run"])), responses((status = 201, body = ManyView)))]
async fn enqueue_many(caller: MayRun, Json(body): Json<ManyBody>) -> Result<(StatusCode, Json<ManyView>)> {
    if body.jobs.is_empty() || body.jobs.len() > limits::BATCH {
        let text = format!("{} jobs; 1 to {} go in one call", body.jobs.len(), limits::BATCH);
        return Err(Problem::invalid("jobs", text));
    }
    let read = |(i, job): (usize, JobBody)| job.job(caller.client(), &format!("jobs[{i}]."));
    let jobs = body.jobs.into_iter().enumerate().map(read).collect::<Result<Vec<_>>>()?;
    let made = caller.client().enqueue_many(jobs).await?;
    let new: Vec<JobId> = made.iter().filter(|e| !e.duplicate).map(|e| e.id).collect();
    told(&caller, &new).await?;
    Ok((StatusCode::CREATED, Json(ManyView { items: made.into_iter().map(Into::into).collect() })))
}

/// What a person enqueues by hand is told. A program's key may enqueue thousands a second: there the
/// jobs tell of themselves.
async fn told(caller: &Caller, jobs: &[JobId]) -> Result<()> {
    let (Some(first), Via::Session(_)) = (jobs.first(), &caller.via) else { return Ok(()) };
    let data = serde_json::json!({ "jobs": jobs.len() });
    Ok(caller.client().tell("job.enqueued", format!("job/{first}"), data).await?)
}

/// One job with its attempts, steps, progress, and why it stands where it stands. Payload, output and
/// step results are left out without the right `payloads`.
#[utoipa::path(get, path = "/projects/{project}/jobs/{job}", tag = "jobs", operation_id = "show_job",
    security(("key" = ["read"])), responses((status = 200, body = JobDetailView)))]
async fn one(caller: MayRead, Path((_project, job)): Path<(String, i64)>) -> Result<Json<JobDetailView>> {
    Ok(Json(super::one(&caller, JobId(job)).await?))
}

/// Where a log is read on.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
struct LogQuery {
    /// Lines after this one: `attempt.seq`, such as `1.17`.
    after: Option<String>,
    /// Lines, 1 to 1,000; 50 if absent.
    limit: Option<String>,
}

/// Log lines of a job, the oldest first. Whoever follows a log passes attempt and number of the last
/// line as `after`.
#[utoipa::path(get, path = "/projects/{project}/jobs/{job}/logs", tag = "jobs", operation_id = "list_job_logs",
    security(("key" = ["payloads"])), responses((status = 200, body = Page<LogView>)))]
async fn logs(
    caller: MaySee,
    Path((_project, job)): Path<(String, i64)>,
    Query(query): Query<LogQuery>,
) -> Result<Json<Page<LogView>>> {
    let after = match listing::given("after", &query.after)? {
        None => None,
        Some(text) => {
            let wrong = || Problem::invalid("after", "is not attempt.seq of a line, such as 1.17");
            let (attempt, seq) = text.split_once('.').ok_or_else(wrong)?;
            // What stores keep as 32 bits with a sign.
            let small = |t: &str| t.parse::<i32>().ok().and_then(|n| u32::try_from(n).ok()).ok_or_else(wrong);
            Some((small(attempt)?, small(seq)?))
        }
    };
    let limit = listing::rows("limit", &query.limit)?;
    Ok(Json(super::logs(&caller, JobId(job), after, limit).await?))
}

/// Why.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
struct CancelBody {
    /// Shown as the job's reason.
    reason: Option<String>,
}

/// Whether something changed.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ChangedView {
    /// False when its state left nothing to do.
    pub changed: bool,
}

/// Cancels a job: one that waits at once, one that runs is asked to end.
#[utoipa::path(post, path = "/projects/{project}/jobs/{job}/cancel", tag = "jobs", operation_id = "cancel_job",
    security(("key" = ["run"])), request_body = Option<CancelBody>, responses((status = 200, body = ChangedView)))]
async fn cancel(
    caller: MayRun,
    Path((_project, job)): Path<(String, i64)>,
    MaybeJson(body): MaybeJson<CancelBody>,
) -> Result<Json<ChangedView>> {
    let reason = body.reason.unwrap_or_else(|| "cancelled through the API".into()).replace('\0', "\u{fffd}");
    let changed = caller.client().cancel(JobId(job), &reason).await?;
    Ok(Json(ChangedView { changed }))
}

/// Runs a job again: a finished one from the beginning of its budget, one that waits for its retry at
/// once.
#[utoipa::path(post, path = "/projects/{project}/jobs/{job}/retry", tag = "jobs", operation_id = "retry_job",
    security(("key" = ["run"])), responses((status = 200, body = ChangedView)))]
async fn retry(caller: MayRun, Path((_project, job)): Path<(String, i64)>) -> Result<Json<ChangedView>> {
    Ok(Json(ChangedView { changed: caller.client().retry(JobId(job)).await? }))
}

/// Which jobs, and how many at most. All given conditions hold together.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct BulkBody {
    /// These very jobs, at most 1,000.
    #[serde(default)]
    ids: Vec<i64>,
    /// In one of these states.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    states: Vec<JobState>,
    /// Of this kind.
    kind: Option<String>,
    /// In this queue.
    queue: Option<String>,
    /// Of the schedule of this name.
    schedule: Option<String>,
    /// Of this batch.
    batch: Option<i64>,
    /// With this concurrency key.
    key: Option<String>,
    /// Whose last error is of this class.
    error: Option<String>,
    /// Enqueued at or after this.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_from: Option<Timestamp>,
    /// Enqueued before this.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_until: Option<Timestamp>,
    /// Must be true when no condition is given: all jobs of the project are meant.
    #[serde(default)]
    all: bool,
    /// At most this many, 1 to 10,000; 1,000 if absent.
    limit: Option<u32>,
    /// Where to go on: `next` of the call before.
    cursor: Option<String>,
    /// Why; only for a cancellation.
    reason: Option<String>,
}

async fn bulk(caller: &MayRun, body: BulkBody, cancel: bool) -> Result<Json<BulkView>> {
    if body.ids.len() > limits::BATCH {
        return Err(Problem::invalid(
            "ids",
            format!("{} ids; at most {} go in one call", body.ids.len(), limits::BATCH),
        ));
    }
    let most = body.limit.unwrap_or(BULK);
    if !(1..=BULK_MOST).contains(&most) {
        return Err(Problem::invalid("limit", format!("{most} is not in 1 to {BULK_MOST}")));
    }
    let query = JobQuery {
        kind: body.kind,
        queue: body.queue,
        schedule: body.schedule,
        key: body.key,
        error: body.error,
        ..JobQuery::default()
    };
    let mut filter = query.filter(caller).await?;
    filter.states = body.states;
    filter.ids = body.ids.into_iter().map(JobId).collect();
    filter.batch = body.batch.map(BatchId);
    filter.created_from = body.created_from;
    filter.created_until = body.created_until;
    if filter == mainspring_core::store::JobFilter::default() && !body.all {
        let text = "no condition is given, so every job of the project is meant; send \"all\": true if so";
        return Err(Problem::invalid("all", text));
    }
    let after = listing::read("cursor", &body.cursor)?;
    let reason = body.reason.as_deref().unwrap_or("cancelled through the API");
    let act = if cancel { Act::Cancel(reason) } else { Act::Retry };
    Ok(Json(super::bulk(caller, &filter, act, after, most).await?))
}

/// Cancels the jobs of a filter and says how many; those that run are asked to end.
#[utoipa::path(post, path = "/projects/{project}/jobs/cancel", tag = "jobs", operation_id = "cancel_jobs",
    security(("key" = ["run"])), responses((status = 200, body = BulkView)))]
async fn cancel_many(caller: MayRun, Json(body): Json<BulkBody>) -> Result<Json<BulkView>> {
    bulk(&caller, body, true).await
}

/// Runs the jobs of a filter again and says how many.
#[utoipa::path(post, path = "/projects/{project}/jobs/retry", tag = "jobs", operation_id = "retry_jobs",
    security(("key" = ["run"])), responses((status = 200, body = BulkView)))]
async fn retry_many(caller: MayRun, Json(body): Json<BulkBody>) -> Result<Json<BulkView>> {
    bulk(&caller, body, false).await
}
