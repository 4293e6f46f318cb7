//! Bulk actions as JSON.

use super::BulkAction;
use crate::access::{MayRead, MayRun};
use crate::extract::{Json, Path, Query};
use crate::jobs::api::ChangedView;
use crate::listing::{self, Page};
use crate::problem::Result;
use http::StatusCode;
use mainspring::kinds::bulk::{Action, Order, Which};
use mainspring_core::JobId;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::Web;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(start, list)).routes(routes!(show)).routes(routes!(abort))
}

/// What is to be done, and to which jobs.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewBulk {
    /// `retry` or `cancel`.
    #[schema(value_type = String)]
    action: Action,
    /// Which: `states`, `kind`, `queue`, `schedule`, `batch`, `key`, `error`, `created_from`,
    /// `created_until`, all of which hold together; or `all`, which must be true when none is given.
    #[schema(value_type = Object)]
    filter: Which,
    /// To at most so many, 1 to 200,000.
    limit: Option<u64>,
    /// Why; for a cancellation.
    reason: Option<String>,
}

/// Retries or cancels every job that matches and was enqueued before now, in the background.
#[utoipa::path(post, path = "/projects/{project}/bulk", tag = "bulk", operation_id = "start_bulk",
    security(("key" = ["run"])), responses((status = 201, body = BulkAction)))]
async fn start(caller: MayRun, Json(new): Json<NewBulk>) -> Result<(StatusCode, Json<BulkAction>)> {
    let order = Order { action: new.action, filter: new.filter, limit: new.limit, reason: new.reason };
    let id = super::start(&caller, &order).await?;
    Ok((StatusCode::CREATED, Json(super::one(&caller, id).await?)))
}

/// Where the listing begins.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
struct ListQuery {
    /// `next` of the page before.
    cursor: Option<String>,
    /// Rows of the page, 1 to 1,000; 50 if absent.
    limit: Option<String>,
}

/// Bulk actions, the newest first.
#[utoipa::path(get, path = "/projects/{project}/bulk", tag = "bulk", operation_id = "list_bulk",
    params(ListQuery), security(("key" = ["read"])), responses((status = 200, body = Page<BulkAction>)))]
async fn list(caller: MayRead, Query(query): Query<ListQuery>) -> Result<Json<Page<BulkAction>>> {
    let cursor = listing::read("cursor", &query.cursor)?;
    Ok(Json(super::list(&caller, cursor, listing::rows("limit", &query.limit)?).await?))
}

/// How far a bulk action is.
#[utoipa::path(get, path = "/projects/{project}/bulk/{bulk}", tag = "bulk", operation_id = "show_bulk",
    security(("key" = ["read"])), responses((status = 200, body = BulkAction)))]
async fn show(caller: MayRead, Path((_project, bulk)): Path<(String, i64)>) -> Result<Json<BulkAction>> {
    Ok(Json(super::one(&caller, JobId(bulk)).await?))
}

/// Ends a bulk action. What it has done stays done.
#[utoipa::path(post, path = "/projects/{project}/bulk/{bulk}/abort", tag = "bulk", operation_id = "abort_bulk",
    security(("key" = ["run"])), responses((status = 200, body = ChangedView)))]
async fn abort(caller: MayRun, Path((_project, bulk)): Path<(String, i64)>) -> Result<Json<ChangedView>> {
    super::one(&caller, JobId(bulk)).await?;
    let changed = caller.client().cancel(JobId(bulk), "aborted").await?;
    Ok(Json(ChangedView { changed }))
}
