//! Queues as a page.

use super::QueueView;
use crate::access::{Caller, Right};
use crate::frame::{self, Frame};
use crate::problem::Result;
use crate::state::Web;
use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::HeaderMap;

/// Their routes.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/p/{project}/queues", get(list))
        .route("/p/{project}/queues/{queue}/pause", post(pause))
        .route("/p/{project}/queues/{queue}/resume", post(resume))
}

#[derive(Template)]
#[template(path = "queues.html")]
struct ListPage {
    frame: Frame,
    queues: Vec<QueueView>,
}

async fn list(State(web): State<Web>, caller: Caller, headers: HeaderMap) -> Result<Response> {
    caller.may(Right::Read)?;
    let frame = Frame::of(&web, &headers, "Queues", "queues", &caller)?;
    frame::page(&ListPage { queues: super::list(&caller).await?, frame })
}

async fn pause(
    State(web): State<Web>,
    caller: Caller,
    Path((project, queue)): Path<(String, String)>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    super::one(&caller, &queue).await?;
    caller.client().pause_queue(&queue, None, None).await?;
    Ok(frame::redirect(&web, &format!("/p/{}/queues", frame::percent(&project))))
}

async fn resume(
    State(web): State<Web>,
    caller: Caller,
    Path((project, queue)): Path<(String, String)>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    super::one(&caller, &queue).await?;
    caller.client().resume_queue(&queue).await?;
    Ok(frame::redirect(&web, &format!("/p/{}/queues", frame::percent(&project))))
}
