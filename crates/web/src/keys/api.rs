//! API keys as JSON.

use super::KeyView;
use crate::access::MayManage;
use crate::accounts::NewKey;
use crate::extract::{Json, Path};
use crate::problem::Result;
use crate::state::Web;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(list, make)).routes(routes!(revoke))
}

/// Keys.
#[derive(Serialize, utoipa::ToSchema)]
struct Keys {
    /// By name.
    items: Vec<KeyView>,
}

/// The keys of the project that have not been revoked, without their secrets.
#[utoipa::path(get, path = "/projects/{project}/keys", tag = "keys", operation_id = "list_keys",
    security(("key" = ["manage"])), responses((status = 200, body = Keys)))]
async fn list(State(web): State<Web>, caller: MayManage) -> Result<Json<Keys>> {
    Ok(Json(Keys { items: super::list(&web, &caller).await? }))
}

/// A key that was just made.
#[derive(Serialize, utoipa::ToSchema)]
struct MadeKey {
    /// Its number.
    id: i64,
    /// Its text: shown this once, kept as a hash.
    key: String,
}

/// Makes a key. Its text is in this answer and nowhere else. No right can be given that the caller
/// lacks, but `work`.
#[utoipa::path(post, path = "/projects/{project}/keys", tag = "keys", operation_id = "make_key",
    security(("key" = ["manage"])), responses((status = 201, body = MadeKey)))]
async fn make(
    State(web): State<Web>,
    caller: MayManage,
    Json(new): Json<NewKey>,
) -> Result<(StatusCode, Json<MadeKey>)> {
    let (id, key) = super::make(&web, &caller, &new).await?;
    Ok((StatusCode::CREATED, Json(MadeKey { id, key })))
}

/// Ends a key at once.
#[utoipa::path(delete, path = "/projects/{project}/keys/{key}", tag = "keys", operation_id = "revoke_key",
    security(("key" = ["manage"])), responses((status = 204, description = "revoked")))]
async fn revoke(
    State(web): State<Web>,
    caller: MayManage,
    Path((_project, key)): Path<(String, i64)>,
) -> Result<StatusCode> {
    super::revoke(&web, &caller, key).await?;
    Ok(StatusCode::NO_CONTENT)
}
