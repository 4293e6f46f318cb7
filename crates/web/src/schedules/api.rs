//! Schedules as JSON.

use super::{HistoryView, PreviewView, ScheduleView};
use crate::access::{MayChange, MayRead, MayRun};
use crate::extract::{Json, MaybeJson, Path, Query};
use crate::listing::{self, ListQuery, Page};
use crate::problem::{Problem, Result};
use crate::queues::api::NewPause;
use crate::state::Web;
use http::StatusCode;
use jiff::Timestamp;
use mainspring_core::job::JobState;
use mainspring_core::time;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What a history shows when nobody says from when.
const LOOK_BACK: Duration = Duration::from_secs(7 * 86_400);
/// Fires of a preview when nobody says how many, and at most.
const FIRES: u32 = 10;
const FIRES_MOST: u32 = 1_000;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one, put, delete))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(run))
        .routes(routes!(next))
        .routes(routes!(history))
        .routes(routes!(backfill_preview))
        .routes(routes!(backfill))
        .routes(routes!(preview))
}

/// Schedules by name.
#[utoipa::path(get, path = "/projects/{project}/schedules", tag = "schedules", operation_id = "list_schedules",
    security(("key" = ["read"])), responses((status = 200, body = Page<ScheduleView>)))]
async fn list(caller: MayRead, Query(query): Query<ListQuery>) -> Result<Json<Page<ScheduleView>>> {
    let after = listing::given("cursor", &query.cursor)?;
    Ok(Json(super::list(&caller, after, listing::rows("limit", &query.limit)?).await?))
}

/// One schedule.
#[utoipa::path(get, path = "/projects/{project}/schedules/{schedule}", tag = "schedules", operation_id = "show_schedule",
    security(("key" = ["read"])), responses((status = 200, body = ScheduleView)))]
async fn one(
    caller: MayRead,
    Path((_project, schedule)): Path<(String, String)>,
) -> Result<Json<ScheduleView>> {
    Ok(Json(super::one(&caller, &schedule).await?))
}

/// Makes a schedule or replaces its rule; writing the same again changes nothing. `trigger` is an
/// object or text as on the command line: `"daily at 09:30"`, `"*/5 * * * *"`. What is absent has its
/// default.
#[utoipa::path(put, path = "/projects/{project}/schedules/{schedule}", tag = "schedules", operation_id = "put_schedule",
    security(("key" = ["change"])), request_body = Object,
    responses((status = 200, body = ScheduleView, description = "changed"), (status = 201, body = ScheduleView)))]
async fn put(
    caller: MayChange,
    Path((_project, schedule)): Path<(String, String)>,
    Json(rule): Json<Value>,
) -> Result<(StatusCode, Json<ScheduleView>)> {
    let spec = super::read_spec(&schedule, rule)?;
    let known = caller.client().store().schedule(caller.project_id(), &schedule).await?.is_some();
    caller.client().put_schedule(&spec, "api").await?;
    let status = if known { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(super::one(&caller, &schedule).await?)))
}

/// Deletes a schedule; its jobs stay.
#[utoipa::path(delete, path = "/projects/{project}/schedules/{schedule}", tag = "schedules", operation_id = "delete_schedule",
    security(("key" = ["change"])), responses((status = 204, description = "deleted")))]
async fn delete(caller: MayChange, Path((_project, schedule)): Path<(String, String)>) -> Result<StatusCode> {
    caller.client().delete_schedule(&schedule).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// From now on its fires are skipped, and recorded so.
#[utoipa::path(post, path = "/projects/{project}/schedules/{schedule}/pause", tag = "schedules", operation_id = "pause_schedule",
    security(("key" = ["change"])), request_body = Option<NewPause>, responses((status = 200, body = ScheduleView)))]
async fn pause(
    caller: MayChange,
    Path((_project, schedule)): Path<(String, String)>,
    MaybeJson(pause): MaybeJson<NewPause>,
) -> Result<Json<ScheduleView>> {
    caller.client().pause_schedule(&schedule, pause.until, pause.note().as_deref()).await?;
    Ok(Json(super::one(&caller, &schedule).await?))
}

/// Ends a schedule's pause.
#[utoipa::path(post, path = "/projects/{project}/schedules/{schedule}/resume", tag = "schedules", operation_id = "resume_schedule",
    security(("key" = ["change"])), responses((status = 200, body = ScheduleView)))]
async fn resume(
    caller: MayChange,
    Path((_project, schedule)): Path<(String, String)>,
) -> Result<Json<ScheduleView>> {
    caller.client().resume_schedule(&schedule).await?;
    Ok(Json(super::one(&caller, &schedule).await?))
}

/// A job that was made by hand.
#[derive(Serialize, utoipa::ToSchema)]
struct RunView {
    /// The job.
    job: i64,
}

/// Enqueues the schedule's job now. It never counts as a fire, and the next fire stays where it is.
#[utoipa::path(post, path = "/projects/{project}/schedules/{schedule}/run", tag = "schedules", operation_id = "run_schedule",
    security(("key" = ["run"])), responses((status = 201, body = RunView)))]
async fn run(
    caller: MayRun,
    Path((_project, schedule)): Path<(String, String)>,
) -> Result<(StatusCode, Json<RunView>)> {
    let made = caller.client().run_now(&schedule).await?;
    Ok((StatusCode::CREATED, Json(RunView { job: made.id.0 })))
}

/// How many fires.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
struct NextQuery {
    /// 1 to 1,000; 10 if absent.
    n: Option<String>,
}

fn fires(n: Option<u32>) -> Result<usize> {
    match n.unwrap_or(FIRES) {
        n if (1..=FIRES_MOST).contains(&n) => Ok(n as usize),
        n => Err(Problem::invalid("n", format!("{n} is not in 1 to {FIRES_MOST}"))),
    }
}

/// The next fires of a schedule, with what clock changes do to them.
#[utoipa::path(get, path = "/projects/{project}/schedules/{schedule}/next", tag = "schedules", operation_id = "next_fires",
    security(("key" = ["read"])), responses((status = 200, body = PreviewView)))]
async fn next(
    caller: MayRead,
    Path((_project, schedule)): Path<(String, String)>,
    Query(query): Query<NextQuery>,
) -> Result<Json<PreviewView>> {
    let n = fires(listing::read("n", &query.n)?)?;
    Ok(Json(super::next(&caller, &schedule, n).await?))
}

/// A rule to look at.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct PreviewBody {
    /// The rule, as for a schedule.
    #[schema(value_type = Object)]
    spec: Value,
    /// How many fires, 1 to 1,000; 10 if absent.
    n: Option<u32>,
}

/// The next fires of a rule that is not saved.
#[utoipa::path(post, path = "/projects/{project}/preview", tag = "schedules", operation_id = "preview_schedule",
    security(("key" = ["read"])), responses((status = 200, body = PreviewView)))]
async fn preview(caller: MayRead, Json(body): Json<PreviewBody>) -> Result<Json<PreviewView>> {
    let n = fires(body.n)?;
    let name = body.spec.get("name").and_then(Value::as_str).unwrap_or("preview").to_owned();
    let spec = super::read_spec(&name, body.spec)?;
    Ok(Json(super::preview_of(&spec, caller.client().now(), n)))
}

/// Which stretch of time.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
struct HistoryQuery {
    /// Fires at or after this instant; seven days ago if absent.
    from: Option<String>,
    /// Fires before this instant; now if absent.
    until: Option<String>,
    /// At most so many of each sort, 1 to 1,000; 50 if absent.
    limit: Option<String>,
}

/// What became of the fires of a stretch of time: those that made a job, and the ledger of those that
/// made none.
#[utoipa::path(get, path = "/projects/{project}/schedules/{schedule}/history", tag = "schedules", operation_id = "schedule_history",
    security(("key" = ["read"])), responses((status = 200, body = HistoryView)))]
async fn history(
    caller: MayRead,
    Path((_project, schedule)): Path<(String, String)>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<HistoryView>> {
    let now = caller.client().now();
    let from = listing::instant("from", &query.from)?.unwrap_or(time::minus(now, LOOK_BACK));
    let until = listing::instant("until", &query.until)?.unwrap_or(time::plus(now, Duration::from_secs(1)));
    let limit = listing::rows("limit", &query.limit)?;
    Ok(Json(super::history(&caller, &schedule, from, until, limit).await?))
}

/// Which past fires.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct BackfillBody {
    /// Fires at or after this.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// Fires before this; now at the latest.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    /// States in which a fire's job does not count as having run, such as `failed`.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    again: Vec<JobState>,
}

/// One past fire.
#[derive(Serialize, utoipa::ToSchema)]
struct BackfillFireView {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The job that has run for it: then it is passed over.
    job: Option<i64>,
    /// Why the rule itself lets it go: then it is passed over, too.
    skipped: Option<String>,
    /// Whether a backfill makes a job of it.
    runs: bool,
}

/// What a backfill would do.
#[derive(Serialize, utoipa::ToSchema)]
struct BackfillPlan {
    /// Every fire of the range, the oldest first.
    items: Vec<BackfillFireView>,
    /// How many would run.
    to_run: u64,
}

/// What a backfill of past fires would do; writes nothing.
#[utoipa::path(post, path = "/projects/{project}/schedules/{schedule}/backfill/preview", tag = "schedules",
    operation_id = "preview_backfill", security(("key" = ["read"])), responses((status = 200, body = BackfillPlan)))]
async fn backfill_preview(
    caller: MayRead,
    Path((_project, schedule)): Path<(String, String)>,
    Json(body): Json<BackfillBody>,
) -> Result<Json<BackfillPlan>> {
    let seen = caller.client().backfill_preview(&schedule, body.from, body.until, &body.again).await?;
    let view = |f: &mainspring::client::BackfillFire| BackfillFireView {
        at: f.at,
        job: f.ran.map(|(job, _)| job.0),
        skipped: f.skipped.clone(),
        runs: f.runs(),
    };
    Ok(Json(BackfillPlan { items: seen.fires.iter().map(view).collect(), to_run: seen.to_run as u64 }))
}

/// What a backfill made.
#[derive(Serialize, utoipa::ToSchema)]
struct BackfillView {
    /// The batch its jobs are in; null when there was nothing to do.
    batch: Option<i64>,
    /// How many jobs it made.
    jobs: u64,
}

/// Enqueues a job for every fire of the range that has none, as one batch. Asked for again, it makes
/// no job twice.
#[utoipa::path(post, path = "/projects/{project}/schedules/{schedule}/backfill", tag = "schedules",
    operation_id = "backfill_schedule", security(("key" = ["run"])), responses((status = 200, body = BackfillView)))]
async fn backfill(
    caller: MayRun,
    Path((_project, schedule)): Path<(String, String)>,
    Json(body): Json<BackfillBody>,
) -> Result<Json<BackfillView>> {
    let made = caller.client().backfill(&schedule, body.from, body.until, &body.again).await?;
    Ok(Json(match made {
        None => BackfillView { batch: None, jobs: 0 },
        Some((batch, jobs)) => {
            BackfillView { batch: Some(batch.0), jobs: jobs.iter().filter(|j| !j.duplicate).count() as u64 }
        }
    }))
}
