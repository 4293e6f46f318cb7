//! Batches as JSON.

use super::BatchView;
use crate::access::MayRead;
use crate::extract::{Json, Path, Query};
use crate::listing::{self, ListQuery, Page};
use crate::problem::Result;
use crate::state::Web;
use mainspring_core::ids::BatchId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one))
}

/// Batches, the newest first. Their jobs are listed by `GET …/jobs?batch=`.
#[utoipa::path(get, path = "/projects/{project}/batches", tag = "batches", operation_id = "list_batches",
    security(("key" = ["read"])), responses((status = 200, body = Page<BatchView>)))]
async fn list(caller: MayRead, Query(query): Query<ListQuery>) -> Result<Json<Page<BatchView>>> {
    let cursor = listing::read::<BatchId>("cursor", &query.cursor)?;
    Ok(Json(super::list(&caller, cursor, listing::rows("limit", &query.limit)?).await?))
}

/// One batch.
#[utoipa::path(get, path = "/projects/{project}/batches/{batch}", tag = "batches", operation_id = "show_batch",
    security(("key" = ["read"])), responses((status = 200, body = BatchView)))]
async fn one(caller: MayRead, Path((_project, batch)): Path<(String, i64)>) -> Result<Json<BatchView>> {
    Ok(Json(super::one(&caller, BatchId(batch)).await?))
}
