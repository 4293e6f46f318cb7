//! Batches as pages.

use super::BatchView;
use crate::access::{Caller, Right};
use crate::frame::{self, Frame};
use crate::listing;
use crate::problem::{Problem, Result};
use crate::state::Web;
use crate::views::mark::{self, Mark};
use crate::views::{length, number};
use askama::Template;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;
use mainspring_core::ids::BatchId;
use mainspring_core::time;
use serde::Deserialize;

/// Their routes.
pub fn routes() -> Router<Web> {
    Router::new().route("/p/{project}/batches", get(list)).route("/p/{project}/batches/{batch}", get(show))
}

/// A batch with what is read off it.
struct Row {
    b: BatchView,
    mark: Mark,
    done: u64,
    text: String,
}

impl Row {
    fn of(b: BatchView) -> Row {
        let done = b.total - b.pending.min(b.total);
        let mut parts = vec![format!("{} of {} done", number(&done), number(&b.total))];
        let named = [(b.failed, "failed"), (b.partial, "in part"), (b.cancelled, "cancelled")];
        parts.extend(named.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{} {word}", number(n))));
        if !b.sealed {
            parts.push("more may be added".into());
        }
        Row { mark: mark::batch(b.state), done, text: parts.join(", "), b }
    }
}

#[derive(Template)]
#[template(path = "batches.html")]
struct ListPage {
    frame: Frame,
    rows: Vec<Row>,
    older: Option<String>,
    first: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    before: String,
}

async fn list(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let frame = Frame::of(&web, &headers, "Batches", "batches", &caller)?;
    let before = listing::before::<BatchId>(&asked.before)?;
    let page = super::list(&caller, before, 50).await?;
    let rows = page.items.into_iter().map(Row::of).collect();
    frame::page(&ListPage { frame, rows, older: page.next, first: before.is_none() })
}

#[derive(Template)]
#[template(path = "batch.html")]
struct Page {
    frame: Frame,
    row: Row,
    took: String,
    parts: Vec<(&'static str, u64, &'static str)>,
}

async fn show(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Path((_, batch)): Path<(String, String)>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let id = batch.parse().map(BatchId).map_err(|_| Problem::not_found("batch", &batch))?;
    let b = super::one(&caller, id).await?;
    let frame = Frame::of(&web, &headers, &b.name, "batches", &caller)?;
    let took = length(&time::since(b.created_at, b.finished_at.unwrap_or(web.now())));
    let parts = vec![
        ("Open", b.pending, ""),
        ("Succeeded", b.succeeded, "&state=completed"),
        ("In part", b.partial, "&state=completed"),
        ("Failed", b.failed, "&state=failed"),
        ("Cancelled", b.cancelled, "&state=cancelled"),
    ];
    frame::page(&Page { frame, took, parts, row: Row::of(b) })
}
