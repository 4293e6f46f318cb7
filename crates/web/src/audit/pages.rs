//! The audit log as a page, and beside it all events.

use super::{AuditQuery, Filter};
use crate::access::{Caller, Right};
use crate::events::{EventView, newest};
use crate::frame::{self, Frame, segment};
use crate::listing;
use crate::problem::{Problem, Result};
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
    asked: Asked,
    filtered: bool,
    problem: Option<Problem>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    show: String,
    before: String,
    actor: String,
    name: String,
    subject: String,
    address: String,
    from: String,
    until: String,
}

impl Asked {
    /// The filter, as the API reads it. A day means its beginning.
    fn filter(&self) -> Result<Filter> {
        let text = |text: &str| Some(text.trim().to_owned()).filter(|t| !t.is_empty());
        let instant = |t: &str| text(t).map(|t| if t.len() == 10 { format!("{t}T00:00:00Z") } else { t });
        let query = AuditQuery {
            actor: text(&self.actor),
            name: text(&self.name),
            subject: text(&self.subject),
            address: text(&self.address),
            from: instant(&self.from),
            until: instant(&self.until),
            ..AuditQuery::default()
        };
        query.filter()
    }

    /// What follows the question mark of the next page.
    fn rest(&self) -> String {
        let fields = [
            ("show", &self.show),
            ("actor", &self.actor),
            ("name", &self.name),
            ("subject", &self.subject),
            ("address", &self.address),
            ("from", &self.from),
            ("until", &self.until),
        ];
        let given = fields.iter().filter(|(_, text)| !text.trim().is_empty());
        given.map(|(name, text)| format!("&{name}={}", segment(text.trim()))).collect()
    }
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
    let (filter, problem) = match asked.filter() {
        Ok(filter) => (filter, None),
        Err(problem) => (Filter::default(), Some(problem)),
    };
    let pick = |e: &EventView| (all || e.actor.is_some()) && filter.takes(e);
    let (events, older) = newest(&caller, before, 100, pick).await?;
    let lines = events.iter().map(|e| feed::line(e, frame.may_manage)).collect();
    let status = problem.as_ref().map(Problem::status);
    let (first, filtered) = (before.is_none(), filter.is_some());
    let mut response = frame::page(&Page { frame, lines, all, older, first, asked, filtered, problem })?;
    if let Some(status) = status {
        *response.status_mut() = status;
    }
    Ok(response)
}
