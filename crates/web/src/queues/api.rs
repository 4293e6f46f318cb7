//! Queues as JSON.

use super::QueueView;
use crate::access::{Caller, Right};
use crate::problem::{Problem, Result};
use crate::state::Web;
use axum::Json;
use axum::extract::Path;
use jiff::Timestamp;
use mainspring_core::queue::QueueSettings;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one, set)).routes(routes!(pause)).routes(routes!(resume))
}

/// Queues.
#[derive(Serialize, utoipa::ToSchema)]
struct Queues {
    /// By name.
    items: Vec<QueueView>,
}

/// What waits, runs and is set on every queue.
#[utoipa::path(get, path = "/projects/{project}/queues", tag = "queues",
    params(("project" = String, Path, description = "the project's name")),
    responses((status = 200, body = Queues), (status = "4XX", body = Problem), (status = "5XX", body = Problem)))]
async fn list(caller: Caller) -> Result<Json<Queues>> {
    caller.may(Right::Read)?;
    Ok(Json(Queues { items: super::list(&caller).await? }))
}

/// One queue.
#[utoipa::path(get, path = "/projects/{project}/queues/{queue}", tag = "queues",
    params(("project" = String, Path), ("queue" = String, Path)),
    responses((status = 200, body = QueueView), (status = "4XX", body = Problem), (status = "5XX", body = Problem)))]
async fn one(caller: Caller, path: Path<(String, String)>) -> Result<Json<QueueView>> {
    caller.may(Right::Read)?;
    Ok(Json(super::one(&caller, &path.1).await?))
}

/// Replaces what is set on a queue (`*`: on all queues together), its pause included.
#[utoipa::path(put, path = "/projects/{project}/queues/{queue}", tag = "queues",
    params(("project" = String, Path), ("queue" = String, Path)),
    request_body = Object,
    responses((status = 200, body = Object), (status = "4XX", body = Problem), (status = "5XX", body = Problem)))]
async fn set(
    caller: Caller,
    path: Path<(String, String)>,
    settings: Json<QueueSettings>,
) -> Result<Json<QueueSettings>> {
    caller.may(Right::Change)?;
    caller.client().set_queue(&path.1, settings.0.clone()).await?;
    Ok(settings)
}

/// How a pause is to be.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
struct NewPause {
    /// When it ends by itself; never when absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Why.
    note: Option<String>,
}

/// Nothing new of this queue starts from now on.
#[utoipa::path(post, path = "/projects/{project}/queues/{queue}/pause", tag = "queues",
    params(("project" = String, Path), ("queue" = String, Path)), request_body = NewPause,
    responses((status = 200, body = QueueView), (status = "4XX", body = Problem), (status = "5XX", body = Problem)))]
async fn pause(
    caller: Caller,
    path: Path<(String, String)>,
    pause: Json<NewPause>,
) -> Result<Json<QueueView>> {
    caller.may(Right::Change)?;
    super::one(&caller, &path.1).await?;
    caller.client().pause_queue(&path.1, pause.until, pause.note.as_deref()).await?;
    Ok(Json(super::one(&caller, &path.1).await?))
}

/// Ends a queue's pause.
#[utoipa::path(post, path = "/projects/{project}/queues/{queue}/resume", tag = "queues",
    params(("project" = String, Path), ("queue" = String, Path)),
    responses((status = 200, body = QueueView), (status = "4XX", body = Problem), (status = "5XX", body = Problem)))]
async fn resume(caller: Caller, path: Path<(String, String)>) -> Result<Json<QueueView>> {
    caller.may(Right::Change)?;
    super::one(&caller, &path.1).await?;
    caller.client().resume_queue(&path.1).await?;
    Ok(Json(super::one(&caller, &path.1).await?))
}
