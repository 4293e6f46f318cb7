//! Projects as JSON.

use super::ProjectView;
use crate::access::Anyone;
use crate::extract::Json;
use crate::problem::Result;
use crate::state::Web;
use axum::extract::State;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Their route, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Projects.
#[derive(Serialize, utoipa::ToSchema)]
struct Projects {
    /// In the order in which they were made.
    items: Vec<ProjectView>,
}

/// The projects that the caller belongs to; of a key, the one it is bound to.
#[utoipa::path(get, path = "/projects", tag = "projects", operation_id = "list_projects",
    security(("key" = [])), responses((status = 200, body = Projects)))]
async fn list(State(web): State<Web>, who: Anyone) -> Result<Json<Projects>> {
    Ok(Json(Projects { items: super::list(&web, &who).await? }))
}
