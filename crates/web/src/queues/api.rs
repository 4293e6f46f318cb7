//! Queues as JSON.

use super::QueueView;
use crate::access::{MayChange, MayRead};
use crate::extract::{Json, MaybeJson, Path};
use crate::problem::Result;
use crate::state::Web;
use jiff::Timestamp;
use mainspring_core::queue::QueueSettings;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one, set))
        .routes(routes!(pause))
        .routes(routes!(resume))
}

/// Queues.
#[derive(Serialize, utoipa::ToSchema)]
struct Queues {
    /// By name.
    items: Vec<QueueView>,
}

/// What waits, runs and is set on every queue.
#[utoipa::path(get, path = "/projects/{project}/queues", tag = "queues", operation_id = "list_queues",
    security(("key" = ["read"])), responses((status = 200, body = Queues)))]
async fn list(caller: MayRead) -> Result<Json<Queues>> {
    Ok(Json(Queues { items: super::list(&caller).await? }))
}

/// One queue.
#[utoipa::path(get, path = "/projects/{project}/queues/{queue}", tag = "queues", operation_id = "show_queue",
    security(("key" = ["read"])), responses((status = 200, body = QueueView)))]
async fn one(caller: MayRead, Path((_project, queue)): Path<(String, String)>) -> Result<Json<QueueView>> {
    Ok(Json(super::one(&caller, &queue).await?))
}

/// Replaces what is set on a queue (`*`: on all queues together), its pause included.
#[utoipa::path(put, path = "/projects/{project}/queues/{queue}", tag = "queues", operation_id = "set_queue",
    security(("key" = ["change"])), request_body = Object, responses((status = 200, body = Object)))]
async fn set(
    caller: MayChange,
    Path((_project, queue)): Path<(String, String)>,
    Json(settings): Json<QueueSettings>,
) -> Result<Json<QueueSettings>> {
    caller.client().set_queue(&queue, settings.clone()).await?;
    Ok(Json(settings))
}

/// How a pause is to be.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewPause {
    /// When it ends by itself; never when absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Why.
    pub note: Option<String>,
}

impl NewPause {
    /// Why, as every store can keep it.
    pub fn note(&self) -> Option<String> {
        self.note.as_deref().map(|note| note.replace('\0', "\u{fffd}"))
    }
}

/// Nothing new of this queue starts from now on.
#[utoipa::path(post, path = "/projects/{project}/queues/{queue}/pause", tag = "queues", operation_id = "pause_queue",
    security(("key" = ["change"])), request_body = Option<NewPause>, responses((status = 200, body = QueueView)))]
async fn pause(
    caller: MayChange,
    Path((_project, queue)): Path<(String, String)>,
    MaybeJson(pause): MaybeJson<NewPause>,
) -> Result<Json<QueueView>> {
    super::one(&caller, &queue).await?;
    caller.client().pause_queue(&queue, pause.until, pause.note().as_deref()).await?;
    Ok(Json(super::one(&caller, &queue).await?))
}

/// Ends a queue's pause.
#[utoipa::path(post, path = "/projects/{project}/queues/{queue}/resume", tag = "queues", operation_id = "resume_queue",
    security(("key" = ["change"])), responses((status = 200, body = QueueView)))]
async fn resume(
    caller: MayChange,
    Path((_project, queue)): Path<(String, String)>,
) -> Result<Json<QueueView>> {
    super::one(&caller, &queue).await?;
    caller.client().resume_queue(&queue).await?;
    Ok(Json(super::one(&caller, &queue).await?))
}
