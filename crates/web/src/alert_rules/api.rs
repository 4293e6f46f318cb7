//! Alert rules as JSON.

use super::{BacktestView, NewRule, RuleView};
use crate::access::{MayChange, MayRead};
use crate::alerts::Snooze;
use crate::extract::{Json, Path, Query};
use crate::listing;
use crate::problem::{Problem, Result};
use crate::state::Web;
use http::StatusCode;
use mainspring::alerts;
use mainspring_core::alert::Rule;
use mainspring_core::duration;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(list, make))
        .routes(routes!(one, put, delete))
        .routes(routes!(past))
        .routes(routes!(snooze))
        .routes(routes!(test))
        .routes(routes!(try_out))
}

/// Rules.
#[derive(Serialize, utoipa::ToSchema)]
struct Rules {
    /// By name.
    items: Vec<RuleView>,
}

/// The alert rules of the project.
#[utoipa::path(get, path = "/projects/{project}/alert-rules", tag = "alerts", operation_id = "list_alert_rules",
    security(("key" = ["read"])), responses((status = 200, body = Rules)))]
async fn list(caller: MayRead) -> Result<Json<Rules>> {
    Ok(Json(Rules { items: super::list(&caller).await? }))
}

/// Makes a rule: `{"name": "…", "rule": {"when": "failures", "of": "schedules", "in_a_row": 3}}`. It
/// looks from the next minute on.
#[utoipa::path(post, path = "/projects/{project}/alert-rules", tag = "alerts", operation_id = "make_alert_rule",
    request_body = Object, security(("key" = ["change"])), responses((status = 201, body = RuleView)))]
async fn make(caller: MayChange, Json(new): Json<NewRule>) -> Result<(StatusCode, Json<RuleView>)> {
    let id = super::save(&caller, None, &new).await?;
    Ok((StatusCode::CREATED, Json(super::one(&caller, id).await?)))
}

/// One rule.
#[utoipa::path(get, path = "/projects/{project}/alert-rules/{rule}", tag = "alerts", operation_id = "show_alert_rule",
    security(("key" = ["read"])), responses((status = 200, body = RuleView)))]
async fn one(caller: MayRead, Path((_project, rule)): Path<(String, i64)>) -> Result<Json<RuleView>> {
    Ok(Json(super::one(&caller, rule).await?))
}

/// Changes a rule. Its open alerts end when it is to look for something else.
#[utoipa::path(put, path = "/projects/{project}/alert-rules/{rule}", tag = "alerts", operation_id = "set_alert_rule",
    request_body = Object, security(("key" = ["change"])), responses((status = 200, body = RuleView)))]
async fn put(
    caller: MayChange,
    Path((_project, rule)): Path<(String, i64)>,
    Json(new): Json<NewRule>,
) -> Result<Json<RuleView>> {
    super::save(&caller, Some(rule), &new).await?;
    Ok(Json(super::one(&caller, rule).await?))
}

/// Deletes a rule; its open alerts end, what is past stays.
#[utoipa::path(delete, path = "/projects/{project}/alert-rules/{rule}", tag = "alerts",
    operation_id = "delete_alert_rule", security(("key" = ["change"])),
    responses((status = 204, description = "deleted")))]
async fn delete(caller: MayChange, Path((_project, rule)): Path<(String, i64)>) -> Result<StatusCode> {
    alerts::delete_rule(caller.client(), rule).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How far back.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
struct PastQuery {
    /// Such as `24h`; 30d if absent.
    period: Option<String>,
}

fn period(text: &Option<String>) -> Result<Duration> {
    match listing::given("period", text)? {
        Some(text) => duration::parse(text).map_err(|e| Problem::invalid("period", e)),
        None => Ok(Duration::from_secs(30 * 86_400)),
    }
}

/// Each time a rule, as it is now, would have fired.
#[utoipa::path(get, path = "/projects/{project}/alert-rules/{rule}/backtest", tag = "alerts",
    operation_id = "backtest_alert_rule", security(("key" = ["read"])),
    responses((status = 200, body = BacktestView)))]
async fn past(
    caller: MayRead,
    Path((_project, rule)): Path<(String, i64)>,
    Query(query): Query<PastQuery>,
) -> Result<Json<BacktestView>> {
    let found = super::one(&caller, rule).await?;
    Ok(Json(super::backtest(&caller, &found.rule.rule, period(&query.period)?).await?))
}

/// A rule that is not saved yet.
#[derive(Deserialize)]
struct TryOut {
    rule: Rule,
    #[serde(default)]
    period: Option<String>,
}

/// Each time a rule that is not saved would have fired: `{"rule": {"when": …}, "period": "30d"}`.
#[utoipa::path(post, path = "/projects/{project}/backtest", tag = "alerts", operation_id = "backtest_rule",
    request_body = Object, security(("key" = ["read"])), responses((status = 200, body = BacktestView)))]
async fn try_out(caller: MayRead, Json(body): Json<TryOut>) -> Result<Json<BacktestView>> {
    Ok(Json(super::backtest(&caller, &body.rule, period(&body.period)?).await?))
}

/// Silences a rule for a while: it looks on, alerts are kept, nobody is told.
#[utoipa::path(post, path = "/projects/{project}/alert-rules/{rule}/snooze", tag = "alerts",
    operation_id = "snooze_alert_rule", request_body = Snooze, security(("key" = ["change"])),
    responses((status = 200, body = RuleView)))]
async fn snooze(
    caller: MayChange,
    Path((_project, rule)): Path<(String, i64)>,
    Json(body): Json<Snooze>,
) -> Result<Json<RuleView>> {
    let until = body.until(caller.client().now())?;
    alerts::snooze_rule(caller.client(), rule, until).await?;
    Ok(Json(super::one(&caller, rule).await?))
}

/// What was sent.
#[derive(Serialize, utoipa::ToSchema)]
struct Sent {
    /// Its title.
    title: String,
    /// Channels that are told; the dashboard is too.
    channels: usize,
}

/// Sends what the rule would say, marked as a test, to its channels and the dashboard.
#[utoipa::path(post, path = "/projects/{project}/alert-rules/{rule}/test", tag = "alerts",
    operation_id = "test_alert_rule", security(("key" = ["change"])), responses((status = 200, body = Sent)))]
async fn test(caller: MayChange, Path((_project, rule)): Path<(String, i64)>) -> Result<Json<Sent>> {
    let title = alerts::send_test(caller.client(), rule).await?;
    let channels = super::one(&caller, rule).await?.rule.channels.len();
    Ok(Json(Sent { title, channels }))
}
