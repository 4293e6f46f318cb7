//! Webhooks that come in, as JSON; and the address they come to.

use super::receive::{self, Taken};
use super::{DeliveryView, HookView, NewHook};
use crate::access::{MayManage, MayRead};
use crate::extract::{Json, MaybeJson, Path};
use crate::problem::{Problem, Result};
use crate::state::Web;
use axum::body::Bytes;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use mainspring_core::code::Code;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(list, make))
        .routes(routes!(show, delete))
        .routes(routes!(rotate))
        .routes(routes!(deliveries))
        .routes(routes!(deliver))
}

/// Hooks.
#[derive(Serialize, utoipa::ToSchema)]
struct Hooks {
    /// By name.
    items: Vec<HookView>,
}

/// The hooks of the project, without their secrets.
#[utoipa::path(get, path = "/projects/{project}/hooks", tag = "hooks", operation_id = "list_hooks",
    security(("key" = ["manage"])), responses((status = 200, body = Hooks)))]
async fn list(State(web): State<Web>, caller: MayManage) -> Result<Json<Hooks>> {
    Ok(Json(Hooks { items: super::list(&web, &caller).await? }))
}

/// A hook that was just made.
#[derive(Serialize, utoipa::ToSchema)]
struct MadeHook {
    /// The hook.
    #[serde(flatten)]
    hook: HookView,
    /// Its secret: shown this once, kept sealed.
    secret: String,
}

/// Makes a hook. Its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/projects/{project}/hooks", tag = "hooks", operation_id = "make_hook",
    security(("key" = ["manage"])), responses((status = 201, body = MadeHook)))]
async fn make(
    State(web): State<Web>,
    caller: MayManage,
    Json(new): Json<NewHook>,
) -> Result<(StatusCode, Json<MadeHook>)> {
    let (hook, secret) = super::make(&web, &caller, &new).await?;
    Ok((StatusCode::CREATED, Json(MadeHook { hook, secret })))
}

/// One hook.
#[utoipa::path(get, path = "/projects/{project}/hooks/{hook}", tag = "hooks", operation_id = "show_hook",
    security(("key" = ["manage"])), responses((status = 200, body = HookView)))]
async fn show(
    State(web): State<Web>,
    caller: MayManage,
    Path((_project, hook)): Path<(String, String)>,
) -> Result<Json<HookView>> {
    Ok(Json(super::one(&web, &caller, &hook).await?))
}

/// Ends a hook at once. The jobs it made stay.
#[utoipa::path(delete, path = "/projects/{project}/hooks/{hook}", tag = "hooks", operation_id = "delete_hook",
    security(("key" = ["manage"])), responses((status = 204, description = "deleted")))]
async fn delete(
    State(web): State<Web>,
    caller: MayManage,
    Path((_project, hook)): Path<(String, String)>,
) -> Result<StatusCode> {
    super::delete(&web, &caller, &hook).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A new secret.
#[derive(Serialize, utoipa::ToSchema)]
struct NewSecret {
    /// The secret: shown this once, kept sealed.
    secret: String,
}

/// How a secret is changed.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
struct Rotate {
    /// For how long the secret before holds, too: `24h`, at most `30d`; not at all if absent.
    #[serde(with = "mainspring_core::duration::human_option")]
    #[schema(value_type = Option<String>)]
    overlap: Option<Duration>,
}

/// Gives a hook a new secret. The one before holds for `overlap` more, so that senders can change over.
#[utoipa::path(post, path = "/projects/{project}/hooks/{hook}/rotate", tag = "hooks", operation_id = "rotate_hook",
    security(("key" = ["manage"])), request_body = Option<Rotate>, responses((status = 200, body = NewSecret)))]
async fn rotate(
    State(web): State<Web>,
    caller: MayManage,
    Path((_project, hook)): Path<(String, String)>,
    MaybeJson(how): MaybeJson<Rotate>,
) -> Result<Json<NewSecret>> {
    let overlap = how.overlap.unwrap_or_default();
    Ok(Json(NewSecret { secret: super::rotate(&web, &caller, &hook, overlap).await? }))
}

/// Deliveries.
#[derive(Serialize, utoipa::ToSchema)]
struct Deliveries {
    /// The newest first.
    items: Vec<DeliveryView>,
}

/// The 50 deliveries that a hook took last.
#[utoipa::path(get, path = "/projects/{project}/hooks/{hook}/deliveries", tag = "hooks", operation_id = "list_deliveries_of_hook",
    security(("key" = ["read"])), responses((status = 200, body = Deliveries)))]
async fn deliveries(
    State(web): State<Web>,
    caller: MayRead,
    Path((_project, hook)): Path<(String, String)>,
) -> Result<Json<Deliveries>> {
    Ok(Json(Deliveries { items: super::deliveries(&web, &caller, &hook).await? }))
}

/// Where a service sends its deliveries, signed as the hook says. 201 once its job is durable; 200 when
/// the same delivery had come before.
#[utoipa::path(post, path = "/hooks/{address}", tag = "hooks", operation_id = "deliver_to_hook", request_body = Object,
    responses((status = 201, body = Taken), (status = 200, body = Taken)))]
async fn deliver(
    State(web): State<Web>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: std::result::Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<(StatusCode, Json<Taken>)> {
    let body = body.map_err(|e| {
        let mut problem = Problem::new(e.status(), Code::INVALID_VALUE, e.body_text());
        problem.field = Some("body".into());
        problem
    })?;
    let taken = receive::receive(&web, &token, &headers, &body).await?;
    let status = if taken.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(taken)))
}
