//! Nodes as JSON.

use super::NodeView;
use crate::access::MayManage;
use crate::extract::Json;
use crate::problem::Result;
use crate::state::Web;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Nodes.
#[derive(Serialize, utoipa::ToSchema)]
struct Nodes {
    /// The oldest first.
    items: Vec<NodeView>,
}

/// All nodes of the installation, which serve every project.
#[utoipa::path(get, path = "/projects/{project}/nodes", tag = "nodes", operation_id = "list_nodes",
    security(("key" = ["manage"])), responses((status = 200, body = Nodes)))]
async fn list(caller: MayManage) -> Result<Json<Nodes>> {
    Ok(Json(Nodes { items: super::list(&caller).await? }))
}
