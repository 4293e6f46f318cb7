//! Channels as JSON.

use super::{ChannelBody, ChannelView};
use crate::access::{MayChange, MayRead};
use crate::deliveries::DeliveryView;
use crate::extract::{Json, Path};
use crate::problem::Result;
use crate::state::Web;
use axum::extract::State;
use http::StatusCode;
use mainspring::notify;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(list, make))
        .routes(routes!(one, change, delete))
        .routes(routes!(test))
}

/// Channels.
#[derive(Serialize, utoipa::ToSchema)]
struct Channels {
    /// By name.
    items: Vec<ChannelView>,
}

/// The channels of the project, without their secrets.
#[utoipa::path(get, path = "/projects/{project}/channels", tag = "notifications", operation_id = "list_channels",
    security(("key" = ["read"])), responses((status = 200, body = Channels)))]
async fn list(caller: MayRead) -> Result<Json<Channels>> {
    Ok(Json(Channels { items: super::list(&caller).await? }))
}

/// A channel that was just made.
#[derive(Serialize, utoipa::ToSchema)]
struct MadeChannel {
    /// The channel.
    channel: ChannelView,
    /// The signing secret that was made for it: shown this once.
    secret: Option<String>,
}

/// Makes a channel. For a webhook without a secret one is made, which is in this answer and nowhere else.
#[utoipa::path(post, path = "/projects/{project}/channels", tag = "notifications", operation_id = "make_channel",
    security(("key" = ["change"])), responses((status = 201, body = MadeChannel)))]
async fn make(
    State(web): State<Web>,
    caller: MayChange,
    Json(new): Json<ChannelBody>,
) -> Result<(StatusCode, Json<MadeChannel>)> {
    let vault = web.vault();
    let (channel, secret) = notify::make(caller.client(), vault, new.into()).await?;
    let secret = secret.map(|secret| secret.expose().to_owned());
    Ok((StatusCode::CREATED, Json(MadeChannel { channel: channel.into(), secret })))
}

/// One channel.
#[utoipa::path(get, path = "/projects/{project}/channels/{channel}", tag = "notifications",
    operation_id = "show_channel", security(("key" = ["read"])), responses((status = 200, body = ChannelView)))]
async fn one(caller: MayRead, Path((_project, channel)): Path<(String, i64)>) -> Result<Json<ChannelView>> {
    Ok(Json(notify::channel(caller.client(), channel).await?.into()))
}

/// Changes a channel. Its kind stays; without a secret the one there is stays. A channel that was stopped
/// or failing begins anew.
#[utoipa::path(put, path = "/projects/{project}/channels/{channel}", tag = "notifications",
    operation_id = "change_channel", security(("key" = ["change"])), responses((status = 200, body = ChannelView)))]
async fn change(
    State(web): State<Web>,
    caller: MayChange,
    Path((_project, channel)): Path<(String, i64)>,
    Json(new): Json<ChannelBody>,
) -> Result<Json<ChannelView>> {
    let vault = web.vault();
    Ok(Json(notify::change(caller.client(), vault, channel, new.into()).await?.into()))
}

/// Deletes a channel and its secret. What was still to be sent by it fails.
#[utoipa::path(delete, path = "/projects/{project}/channels/{channel}", tag = "notifications",
    operation_id = "delete_channel", security(("key" = ["change"])), responses((status = 204, description = "deleted")))]
async fn delete(caller: MayChange, Path((_project, channel)): Path<(String, i64)>) -> Result<StatusCode> {
    notify::delete(caller.client(), channel).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test by a channel, also by one that is off or stopped. The delivery in the answer tells, when
/// it is asked for again, what the service said.
#[utoipa::path(post, path = "/projects/{project}/channels/{channel}/test", tag = "notifications",
    operation_id = "test_channel", security(("key" = ["change"])), responses((status = 202, body = DeliveryView)))]
async fn test(
    caller: MayChange,
    Path((_project, channel)): Path<(String, i64)>,
) -> Result<(StatusCode, Json<DeliveryView>)> {
    let id = notify::test(caller.client(), channel).await?;
    Ok((StatusCode::ACCEPTED, Json(crate::deliveries::one(&caller, id).await?)))
}
