//! The reference as a page.

use super::{Group, Operation, reference};
use crate::access::{Caller, Right};
use crate::frame::{self, Frame, segment};
use crate::problem::Result;
use crate::state::Web;
use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;

/// Its route.
pub fn routes() -> Router<Web> {
    Router::new().route("/p/{project}/reference", get(show))
}

#[derive(Template)]
#[template(path = "reference.html")]
struct Page {
    frame: Frame,
    groups: &'static [Group],
    root: String,
}

impl Page {
    /// The call as one would type it, in this project.
    fn curl(&self, operation: &Operation) -> String {
        let project = segment(self.frame.project.as_deref().unwrap_or_default());
        let path = operation.path.replace("{project}", &project);
        let method =
            if operation.method == "GET" { String::new() } else { format!(" -X {}", operation.method) };
        let body = match operation.body.is_empty() {
            true => "",
            false => " -H 'Content-Type: application/json' -d @body.json",
        };
        format!("curl{method} -H \"Authorization: Bearer $KEY\"{body} '{}{path}'", self.root)
    }
}

async fn show(State(web): State<Web>, headers: HeaderMap, caller: Caller) -> Result<Response> {
    caller.may(Right::Read)?;
    let frame = Frame::of(&web, &headers, "API", "reference", &caller)?;
    let config = web.config();
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let root = config.public_url.clone().unwrap_or_else(|| format!("{scheme}://{}", config.listen));
    frame::page(&Page { frame, groups: reference(), root })
}
