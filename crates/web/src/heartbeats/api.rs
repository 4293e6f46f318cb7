//! Heartbeats as JSON, and the address that they ping.

use super::HeartbeatView;
use crate::access::{MayChange, MayRead};
use crate::extract::{Json, Path};
use crate::problem::{Problem, Result};
use crate::state::Web;
use axum::extract::State;
use http::StatusCode;
use mainspring::alerts::{self, HeartbeatSpec};
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(list, make))
        .routes(routes!(one, put, delete))
        .routes(routes!(ping, ping_by_post))
        .routes(routes!(ping_failed, ping_failed_by_post))
}

/// Heartbeats.
#[derive(Serialize, utoipa::ToSchema)]
struct Heartbeats {
    /// By name.
    items: Vec<HeartbeatView>,
}

/// The heartbeats of the project: jobs that run elsewhere and ping.
#[utoipa::path(get, path = "/projects/{project}/heartbeats", tag = "heartbeats", operation_id = "list_heartbeats",
    security(("key" = ["read"])), responses((status = 200, body = Heartbeats)))]
async fn list(State(web): State<Web>, caller: MayRead) -> Result<Json<Heartbeats>> {
    Ok(Json(Heartbeats { items: super::list(&web, &caller).await? }))
}

/// A heartbeat to be.
#[derive(Deserialize)]
struct NewHeartbeat {
    name: String,
    #[serde(flatten)]
    spec: HeartbeatSpec,
}

/// Makes a heartbeat: `{"name": "backup", "period": "1d", "grace": "1h"}`. The answer holds its address.
#[utoipa::path(post, path = "/projects/{project}/heartbeats", tag = "heartbeats", operation_id = "make_heartbeat",
    request_body = Object, security(("key" = ["change"])), responses((status = 201, body = HeartbeatView)))]
async fn make(
    State(web): State<Web>,
    caller: MayChange,
    Json(new): Json<NewHeartbeat>,
) -> Result<(StatusCode, Json<HeartbeatView>)> {
    Ok((StatusCode::CREATED, Json(super::make(&web, &caller, &new.name, &new.spec).await?)))
}

/// One heartbeat.
#[utoipa::path(get, path = "/projects/{project}/heartbeats/{heartbeat}", tag = "heartbeats",
    operation_id = "show_heartbeat", security(("key" = ["read"])), responses((status = 200, body = HeartbeatView)))]
async fn one(
    State(web): State<Web>,
    caller: MayRead,
    Path((_project, name)): Path<(String, String)>,
) -> Result<Json<HeartbeatView>> {
    Ok(Json(super::one(&web, &caller, &name).await?))
}

/// Changes a heartbeat: `{"period": "1d", "grace": "1h", "paused": false}`. Its address stays.
#[utoipa::path(put, path = "/projects/{project}/heartbeats/{heartbeat}", tag = "heartbeats",
    operation_id = "set_heartbeat", request_body = Object, security(("key" = ["change"])),
    responses((status = 200, body = HeartbeatView)))]
async fn put(
    State(web): State<Web>,
    caller: MayChange,
    Path((_project, name)): Path<(String, String)>,
    Json(spec): Json<HeartbeatSpec>,
) -> Result<Json<HeartbeatView>> {
    alerts::set_heartbeat(caller.client(), &name, &spec).await?;
    Ok(Json(super::one(&web, &caller, &name).await?))
}

/// Deletes a heartbeat; its address is nobody's from then on.
#[utoipa::path(delete, path = "/projects/{project}/heartbeats/{heartbeat}", tag = "heartbeats",
    operation_id = "delete_heartbeat", security(("key" = ["change"])),
    responses((status = 204, description = "deleted")))]
async fn delete(caller: MayChange, Path((_project, name)): Path<(String, String)>) -> Result<StatusCode> {
    alerts::delete_heartbeat(caller.client(), &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn pinged(web: &Web, token: &str, failed: bool) -> Result<StatusCode> {
    match alerts::ping(web.tables(), web.now(), token, failed).await? {
        true => Ok(StatusCode::NO_CONTENT),
        // What was sent is a secret to whoever mistyped it: it is not repeated.
        false => Err(Problem::not_found("heartbeat", "of this address")),
    }
}

/// Says that a job which runs elsewhere did its work. The address is the right: nobody signs in.
#[utoipa::path(get, path = "/ping/{token}", tag = "heartbeats", operation_id = "ping",
    responses((status = 204, description = "noted")))]
async fn ping(State(web): State<Web>, Path(token): Path<String>) -> Result<StatusCode> {
    pinged(&web, &token, false).await
}

/// The same, for who sends POST.
#[utoipa::path(post, path = "/ping/{token}", tag = "heartbeats", operation_id = "ping_by_post",
    responses((status = 204, description = "noted")))]
async fn ping_by_post(State(web): State<Web>, Path(token): Path<String>) -> Result<StatusCode> {
    pinged(&web, &token, false).await
}

/// Says that a job which runs elsewhere failed: the next look tells it.
#[utoipa::path(get, path = "/ping/{token}/fail", tag = "heartbeats", operation_id = "ping_failed",
    responses((status = 204, description = "noted")))]
async fn ping_failed(State(web): State<Web>, Path(token): Path<String>) -> Result<StatusCode> {
    pinged(&web, &token, true).await
}

/// The same, for who sends POST.
#[utoipa::path(post, path = "/ping/{token}/fail", tag = "heartbeats", operation_id = "ping_failed_by_post",
    responses((status = 204, description = "noted")))]
async fn ping_failed_by_post(State(web): State<Web>, Path(token): Path<String>) -> Result<StatusCode> {
    pinged(&web, &token, true).await
}
