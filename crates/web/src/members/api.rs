//! Members as JSON.

use super::MemberView;
use crate::access::{MayManage, MayRead, Role};
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
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(set, remove))
}

/// Members.
#[derive(Serialize, utoipa::ToSchema)]
struct Members {
    /// By address.
    items: Vec<MemberView>,
}

/// Who belongs to the project.
#[utoipa::path(get, path = "/projects/{project}/members", tag = "members", operation_id = "list_members",
    security(("key" = ["read"])), responses((status = 200, body = Members)))]
async fn list(State(web): State<Web>, caller: MayRead) -> Result<Json<Members>> {
    Ok(Json(Members { items: super::list(&web, &caller).await? }))
}

/// What a member is to be.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct MemberBody {
    /// Their role.
    role: Role,
    /// Whether they may see payloads although their role does not say so.
    #[serde(default)]
    payloads: bool,
}

/// Changes a member's role. Owners are made and unmade by owners alone, and the last one stays.
#[utoipa::path(put, path = "/projects/{project}/members/{member}", tag = "members", operation_id = "set_member",
    security(("key" = ["manage"])), responses((status = 200, body = MemberView)))]
async fn set(
    State(web): State<Web>,
    caller: MayManage,
    Path((_project, member)): Path<(String, i64)>,
    Json(body): Json<MemberBody>,
) -> Result<Json<MemberView>> {
    Ok(Json(super::set(&web, &caller, member, body.role, body.payloads).await?))
}

/// Takes a member out of the project.
#[utoipa::path(delete, path = "/projects/{project}/members/{member}", tag = "members", operation_id = "remove_member",
    security(("key" = ["manage"])), responses((status = 204, description = "removed")))]
async fn remove(
    State(web): State<Web>,
    caller: MayManage,
    Path((_project, member)): Path<(String, i64)>,
) -> Result<StatusCode> {
    super::remove(&web, &caller, member).await?;
    Ok(StatusCode::NO_CONTENT)
}
