//! Deliveries as JSON.

use super::DeliveryView;
use crate::access::{MayChange, MayRead};
use crate::extract::{Json, Path, Query};
use crate::listing::{self, Page};
use crate::problem::Result;
use crate::state::Web;
use http::StatusCode;
use mainspring::notify;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one)).routes(routes!(redeliver))
}

/// Which deliveries.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
struct ListQuery {
    /// Only of this channel.
    channel: Option<String>,
    /// Only in this state: `queued`, `sent`, `failed` or `unknown`.
    state: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Rows of the page, 1 to 1,000; 50 if absent.
    limit: Option<String>,
}

/// What was sent by the channels of the project, the newest first.
#[utoipa::path(get, path = "/projects/{project}/deliveries", tag = "notifications", operation_id = "list_deliveries",
    params(ListQuery), security(("key" = ["read"])), responses((status = 200, body = Page<DeliveryView>)))]
async fn list(caller: MayRead, Query(query): Query<ListQuery>) -> Result<Json<Page<DeliveryView>>> {
    let (channel, state) = (listing::read("channel", &query.channel)?, listing::read("state", &query.state)?);
    let (before, rows) = (listing::read("cursor", &query.cursor)?, listing::rows("limit", &query.limit)?);
    Ok(Json(super::list(&caller, channel, state, before, rows).await?))
}

/// One delivery.
#[utoipa::path(get, path = "/projects/{project}/deliveries/{delivery}", tag = "notifications",
    operation_id = "show_delivery", security(("key" = ["read"])), responses((status = 200, body = DeliveryView)))]
async fn one(caller: MayRead, Path((_project, delivery)): Path<(String, i64)>) -> Result<Json<DeliveryView>> {
    Ok(Json(super::one(&caller, delivery).await?))
}

/// Sends the same notice by the same channel once more, as a delivery of its own.
#[utoipa::path(post, path = "/projects/{project}/deliveries/{delivery}/redeliver", tag = "notifications",
    operation_id = "redeliver", security(("key" = ["change"])), responses((status = 202, body = DeliveryView)))]
async fn redeliver(
    caller: MayChange,
    Path((_project, delivery)): Path<(String, i64)>,
) -> Result<(StatusCode, Json<DeliveryView>)> {
    let id = notify::redeliver(caller.client(), delivery).await?;
    Ok((StatusCode::ACCEPTED, Json(super::one(&caller, id).await?)))
}
