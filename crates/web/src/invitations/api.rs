//! Invitations as JSON.

use super::{InvitationBody, InvitationView};
use crate::access::MayManage;
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
    OpenApiRouter::new().routes(routes!(list, make)).routes(routes!(withdraw))
}

/// Invitations.
#[derive(Serialize, utoipa::ToSchema)]
struct Invitations {
    /// The newest first.
    items: Vec<InvitationView>,
}

/// The invitations that are open, without their links.
#[utoipa::path(get, path = "/projects/{project}/invitations", tag = "members", operation_id = "list_invitations",
    security(("key" = ["manage"])), responses((status = 200, body = Invitations)))]
async fn list(State(web): State<Web>, caller: MayManage) -> Result<Json<Invitations>> {
    Ok(Json(Invitations { items: super::list(&web, &caller).await? }))
}

/// An invitation that was just made.
#[derive(Serialize, utoipa::ToSchema)]
struct MadeInvitation {
    /// Its number.
    id: i64,
    /// The link: shown this once, kept as a hash. It works once.
    link: String,
}

/// Makes a link that lets one person in. It is in this answer and nowhere else: hand it over yourself.
#[utoipa::path(post, path = "/projects/{project}/invitations", tag = "members", operation_id = "make_invitation",
    security(("key" = ["manage"])), responses((status = 201, body = MadeInvitation)))]
async fn make(
    State(web): State<Web>,
    caller: MayManage,
    Json(body): Json<InvitationBody>,
) -> Result<(StatusCode, Json<MadeInvitation>)> {
    let (id, link) = super::make(&web, &caller, &body).await?;
    Ok((StatusCode::CREATED, Json(MadeInvitation { id, link })))
}

/// Takes an invitation back: its link works no more.
#[utoipa::path(delete, path = "/projects/{project}/invitations/{invitation}", tag = "members",
    operation_id = "withdraw_invitation", security(("key" = ["manage"])),
    responses((status = 204, description = "withdrawn")))]
async fn withdraw(
    State(web): State<Web>,
    caller: MayManage,
    Path((_project, invitation)): Path<(String, i64)>,
) -> Result<StatusCode> {
    super::withdraw(&web, &caller, invitation).await?;
    Ok(StatusCode::NO_CONTENT)
}
