//! Alerts as JSON.

use super::{AlertDetail, AlertView, Snooze, note};
use crate::access::{MayRead, MayRun};
use crate::extract::{Json, MaybeJson, Path, Query};
use crate::listing::{self, Page};
use crate::problem::{Problem, Result};
use crate::state::Web;
use http::StatusCode;
use mainspring::alerts::{self, AlertFilter};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one, close))
        .routes(routes!(acknowledge))
        .routes(routes!(snooze))
}

/// Which alerts, and where the listing begins.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
struct ListQuery {
    /// `open` (firing or snoozed) or `over`.
    state: Option<String>,
    /// Of the rule with this number.
    rule: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Rows of the page, 1 to 1,000; 50 if absent.
    limit: Option<String>,
}

/// Alerts, the newest first.
#[utoipa::path(get, path = "/projects/{project}/alerts", tag = "alerts", operation_id = "list_alerts",
    security(("key" = ["read"])), responses((status = 200, body = Page<AlertView>)))]
async fn list(caller: MayRead, Query(query): Query<ListQuery>) -> Result<Json<Page<AlertView>>> {
    let open = match listing::given("state", &query.state)? {
        None => None,
        Some("open") => Some(true),
        Some("over") => Some(false),
        Some(other) => return Err(Problem::invalid("state", format!("{other:?} is neither open nor over"))),
    };
    let rule = listing::read("rule", &query.rule)?;
    let before = listing::given("cursor", &query.cursor)?.map(str::to_owned);
    let filter = AlertFilter { rule, open, before };
    Ok(Json(super::list(&caller, &filter, listing::rows("limit", &query.limit)?).await?))
}

/// One alert with all that happened to it.
#[utoipa::path(get, path = "/projects/{project}/alerts/{alert}", tag = "alerts", operation_id = "show_alert",
    security(("key" = ["read"])), responses((status = 200, body = AlertDetail)))]
async fn one(caller: MayRead, Path((_project, alert)): Path<(String, String)>) -> Result<Json<AlertDetail>> {
    Ok(Json(super::detail(&caller, &alert).await?))
}

/// What is said along with a deed.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
struct Note {
    /// Why, or what is being done.
    note: Option<String>,
}

/// The caller takes an open alert on.
#[utoipa::path(post, path = "/projects/{project}/alerts/{alert}/acknowledge", tag = "alerts",
    operation_id = "acknowledge_alert", request_body = Option<Note>, security(("key" = ["run"])),
    responses((status = 200, body = AlertDetail)))]
async fn acknowledge(
    caller: MayRun,
    Path((_project, alert)): Path<(String, String)>,
    MaybeJson(body): MaybeJson<Note>,
) -> Result<Json<AlertDetail>> {
    alerts::acknowledge(caller.client(), &alert, note(&body.note)).await?;
    Ok(Json(super::detail(&caller, &alert).await?))
}

/// Nobody is told of an open alert for a while; if it still fires then, it is told anew.
#[utoipa::path(post, path = "/projects/{project}/alerts/{alert}/snooze", tag = "alerts",
    operation_id = "snooze_alert", request_body = Snooze, security(("key" = ["run"])),
    responses((status = 200, body = AlertDetail)))]
async fn snooze(
    caller: MayRun,
    Path((_project, alert)): Path<(String, String)>,
    Json(body): Json<Snooze>,
) -> Result<Json<AlertDetail>> {
    let until = body.until(caller.client().now())?;
    alerts::snooze(caller.client(), &alert, until, note(&body.note)).await?;
    Ok(Json(super::detail(&caller, &alert).await?))
}

/// Ends an open alert by hand: what it was about is not coming back. It stays in the list.
#[utoipa::path(delete, path = "/projects/{project}/alerts/{alert}", tag = "alerts", operation_id = "close_alert",
    security(("key" = ["run"])), responses((status = 204, description = "closed")))]
async fn close(caller: MayRun, Path((_project, alert)): Path<(String, String)>) -> Result<StatusCode> {
    alerts::close(caller.client(), &alert, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
