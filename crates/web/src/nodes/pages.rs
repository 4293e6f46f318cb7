//! Nodes as a page.

use super::NodeView;
use crate::access::Caller;
use crate::frame::{self, Frame};
use crate::problem::Result;
use crate::state::Web;
use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;

/// Their routes.
pub fn routes() -> Router<Web> {
    Router::new().route("/p/{project}/nodes", get(list))
}

#[derive(Template)]
#[template(path = "nodes.html")]
struct Page {
    frame: Frame,
    nodes: Vec<NodeView>,
}

async fn list(State(web): State<Web>, caller: Caller, headers: HeaderMap) -> Result<Response> {
    let mut nodes = super::list(&caller).await?;
    nodes.reverse();
    let frame = Frame::of(&web, &headers, "Nodes", "nodes", &caller)?;
    frame::page(&Page { frame, nodes })
}
