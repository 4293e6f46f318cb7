//! The audit log as a page, and beside it all events.

use crate::access::{Caller, Right};
use crate::events::newest;
use crate::frame::{self, Frame};
use crate::listing;
use crate::problem::Result;
use crate::state::Web;
use crate::views::feed::{self, Line};
use askama::Template;
use axum::Router;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;
use serde::Deserialize;

/// Its routes.
pub fn routes() -> Router<Web> {
    Router::new().route("/p/{project}/audit", get(list))
}

#[derive(Template)]
#[template(path = "audit.html")]
struct Page {
    frame: Frame,
    lines: Vec<Line>,
    all: bool,
    older: Option<i64>,
    first: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    show: String,
    before: String,
}

async fn list(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let frame = Frame::of(&web, &headers, "Audit log", "audit", &caller)?;
    let all = asked.show == "all";
    let before = listing::before(&asked.before)?;
    let (events, older) = newest(&caller, before, 100, |e| all || e.actor.is_some()).await?;
    let lines = events.iter().map(|e| feed::line(e, frame.may_manage)).collect();
    frame::page(&Page { frame, lines, all, older, first: before.is_none() })
}
