//! Secrets as JSON.

use super::SecretView;
use crate::access::{MayChange, MayManage};
use crate::extract::{Json, Path};
use crate::problem::Result;
use crate::state::Web;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(set, delete))
}

/// Secrets.
#[derive(Serialize, utoipa::ToSchema)]
struct Secrets {
    /// By name.
    items: Vec<SecretView>,
}

/// The project's secrets, without their values.
#[utoipa::path(get, path = "/projects/{project}/secrets", tag = "secrets", operation_id = "list_secrets",
    security(("key" = ["change"])), responses((status = 200, body = Secrets)))]
async fn list(State(web): State<Web>, caller: MayChange) -> Result<Json<Secrets>> {
    Ok(Json(Secrets { items: super::list(&web, &caller).await? }))
}

/// A value to be kept.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct SecretBody {
    /// The value: 8 bytes to 32 KiB. No answer holds it.
    value: String,
}

/// Keeps a value under a name, sealed; the one before is gone. Jobs name it anywhere in their payload:
/// `{"$secret": "NAME"}`.
#[utoipa::path(put, path = "/projects/{project}/secrets/{secret}", tag = "secrets", operation_id = "set_secret",
    security(("key" = ["manage"])), responses((status = 200, body = SecretView)))]
async fn set(
    State(web): State<Web>,
    caller: MayManage,
    Path((_project, secret)): Path<(String, String)>,
    Json(body): Json<SecretBody>,
) -> Result<Json<SecretView>> {
    Ok(Json(super::set(&web, &caller, &secret, &body.value).await?))
}

/// Takes a secret away: jobs that name it fail from now on.
#[utoipa::path(delete, path = "/projects/{project}/secrets/{secret}", tag = "secrets", operation_id = "delete_secret",
    security(("key" = ["manage"])), responses((status = 204, description = "deleted")))]
async fn delete(
    State(web): State<Web>,
    caller: MayManage,
    Path((_project, secret)): Path<(String, String)>,
) -> Result<StatusCode> {
    super::delete(&web, &caller, &secret).await?;
    Ok(StatusCode::NO_CONTENT)
}
