//! Notifications as JSON.

use super::{NotificationView, account};
use crate::access::MayRead;
use crate::extract::{Json, Path, Query};
use crate::listing::{self, Page};
use crate::problem::{Problem, Result};
use crate::state::Web;
use axum::extract::State;
use http::StatusCode;
use mainspring::notify::{self, Topic};
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(unread))
        .routes(routes!(read_all))
        .routes(routes!(read))
        .routes(routes!(preferences, prefer))
}

/// Which notifications.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
struct ListQuery {
    /// `true`: only what the caller has not seen.
    unread: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Rows of the page, 1 to 1,000; 50 if absent.
    limit: Option<String>,
}

/// What people of the project were told, the newest first.
#[utoipa::path(get, path = "/projects/{project}/notifications", tag = "notifications",
    operation_id = "list_notifications", params(ListQuery), security(("key" = ["read"])),
    responses((status = 200, body = Page<NotificationView>)))]
async fn list(caller: MayRead, Query(query): Query<ListQuery>) -> Result<Json<Page<NotificationView>>> {
    let unread = listing::read("unread", &query.unread)?.unwrap_or(false);
    let (before, rows) = (listing::read("cursor", &query.cursor)?, listing::rows("limit", &query.limit)?);
    Ok(Json(super::list(&caller, unread, before, rows).await?))
}

/// How much is new.
#[derive(Serialize, utoipa::ToSchema)]
struct Unread {
    /// How many the caller has not seen, of what they want to be told; 100 means 100 or more.
    unread: u32,
}

/// How many notifications the caller has not seen.
#[utoipa::path(get, path = "/projects/{project}/notifications/unread", tag = "notifications",
    operation_id = "count_unread", security(("key" = ["read"])), responses((status = 200, body = Unread)))]
async fn unread(State(web): State<Web>, caller: MayRead) -> Result<Json<Unread>> {
    let unread = notify::unread(web.tables(), caller.project_id(), account(&caller)).await?;
    Ok(Json(Unread { unread }))
}

/// Marks all notifications as seen by the caller.
#[utoipa::path(post, path = "/projects/{project}/notifications/read-all", tag = "notifications",
    operation_id = "read_all_notifications", security(("key" = ["read"])), responses((status = 204, description = "done")))]
async fn read_all(caller: MayRead) -> Result<StatusCode> {
    notify::mark_all_read(caller.client(), account(&caller)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Marks a notification as seen by the caller.
#[utoipa::path(post, path = "/projects/{project}/notifications/{notification}/read", tag = "notifications",
    operation_id = "read_notification", security(("key" = ["read"])), responses((status = 204, description = "done")))]
async fn read(caller: MayRead, Path((_project, notification)): Path<(String, i64)>) -> Result<StatusCode> {
    notify::mark_read(caller.client(), account(&caller), notification).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What somebody wants to be told.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Preferences {
    /// What is not counted as new: of `critical`, `warning`, `info`, `recovered`, `message`.
    muted: Vec<String>,
}

/// What the caller does not want to be counted as new.
#[utoipa::path(get, path = "/projects/{project}/notification-preferences", tag = "notifications",
    operation_id = "show_preferences", security(("key" = ["read"])), responses((status = 200, body = Preferences)))]
async fn preferences(caller: MayRead) -> Result<Json<Preferences>> {
    let muted = notify::muted(caller.client(), account(&caller)).await?;
    Ok(Json(Preferences { muted: muted.iter().map(ToString::to_string).collect() }))
}

/// Sets what the caller does not want to be counted as new.
#[utoipa::path(put, path = "/projects/{project}/notification-preferences", tag = "notifications",
    operation_id = "set_preferences", security(("key" = ["read"])), responses((status = 200, body = Preferences)))]
async fn prefer(caller: MayRead, Json(wanted): Json<Preferences>) -> Result<Json<Preferences>> {
    let read = |word: &String| word.parse::<Topic>().map_err(|e| Problem::invalid("muted", e));
    let topics: Vec<Topic> = wanted.muted.iter().take(50).map(read).collect::<Result<_>>()?;
    notify::mute(caller.client(), account(&caller), &topics).await?;
    preferences(caller).await
}
