//! The audit log as JSON.

use super::AuditQuery;
use crate::access::MayRead;
use crate::events::EventView;
use crate::extract::{Json, Query};
use crate::listing::{self, Page};
use crate::problem::Result;
use crate::state::Web;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Its route, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(list))
}

/// What people and programs did, the newest first: events with an actor; `data.from` is the network
/// address. A page may hold few rows or none and still have a `next`, where much happened by itself or
/// a filter lets little through.
#[utoipa::path(get, path = "/projects/{project}/audit", tag = "audit", operation_id = "list_audit",
    params(AuditQuery), security(("key" = ["read"])), responses((status = 200, body = Page<EventView>)))]
async fn list(caller: MayRead, Query(query): Query<AuditQuery>) -> Result<Json<Page<EventView>>> {
    let cursor = listing::read("cursor", &query.cursor)?;
    let filter = query.filter()?;
    Ok(Json(super::list(&caller, &filter, cursor, listing::rows("limit", &query.limit)?).await?))
}
