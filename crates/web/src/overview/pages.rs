//! The overview as a page.

use super::Overview;
use crate::access::{Caller, Right};
use crate::frame::{self, Frame};
use crate::problem::Result;
use crate::state::Web;
use crate::stats::{self, SilentChannel};
use crate::views::chart::Period;
use askama::Template;
use axum::Router;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;
use serde::Deserialize;

/// Its routes.
pub fn routes() -> Router<Web> {
    Router::new().route("/p/{project}", get(show))
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Page {
    frame: Frame,
    o: Overview,
    silent: Vec<SilentChannel>,
}

#[derive(Deserialize)]
struct Asked {
    period: Option<String>,
}

async fn show(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let frame = Frame::of(&web, &headers, "Overview", "", &caller)?;
    let period = asked.period.as_deref().and_then(Period::parse);
    let silent = stats::silent_channels(&caller).await?;
    frame::page(&Page { o: super::look(&caller, period).await?, frame, silent })
}
