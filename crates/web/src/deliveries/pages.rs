//! Deliveries as pages: what was sent, by what, what became of it; one with its attempts.

use super::DeliveryView;
use crate::access::{Caller, Right};
use crate::frame::{self, Frame, segment};
use crate::jobs;
use crate::jobs::pages::detail::AttemptRow;
use crate::listing;
use crate::problem::{Problem, Result};
use crate::state::Web;
use crate::views::Choice;
use crate::views::mark::{Mark, mark};
use askama::Template;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::HeaderMap;
use mainspring::notify::{self, DeliveryState, NoticeRecord};
use serde::Deserialize;

/// Their routes.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/p/{project}/deliveries", get(list))
        .route("/p/{project}/deliveries/{delivery}", get(show))
        .route("/p/{project}/deliveries/{delivery}/redeliver", post(redeliver))
}

/// Where a delivery stands.
fn state(d: &DeliveryView) -> Mark {
    match d.state {
        "sent" => mark("is-ok", "ok", "Sent"),
        "failed" => mark("is-bad", "bad", "Failed"),
        "unknown" => mark("is-warn", "warn", "Unknown"),
        _ if d.held_until.is_some() => mark("is-idle", "moon", "Held"),
        _ if d.error.is_some() => mark("is-warn", "retry", "Is tried again"),
        _ => mark("is-idle", "wait", "Waits"),
    }
}

/// A delivery in a list.
pub struct Row {
    /// Where it stands.
    pub mark: Mark,
    /// What it says.
    pub title: String,
    /// What the service answered, or why it failed.
    pub note: String,
    /// The rest.
    pub d: DeliveryView,
}

impl Row {
    /// The row of a view.
    pub fn of(d: DeliveryView) -> Row {
        let title = d.title.clone().unwrap_or_else(|| "a notice that is gone".into());
        let note = d.error.clone().or(d.receipt.clone()).unwrap_or_default();
        Row { mark: state(&d), title, note, d }
    }
}

/// A view of the list.
struct Tab {
    name: &'static str,
    query: String,
    current: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    state: String,
    channel: String,
    before: String,
}

impl Asked {
    /// What follows the question mark.
    fn query(&self, state: &str) -> String {
        let fields = [("state", state), ("channel", self.channel.trim())];
        let given: Vec<String> = fields
            .iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| format!("{name}={}", segment(text)))
            .collect();
        given.join("&")
    }
}

#[derive(Template)]
#[template(path = "deliveries.html")]
struct ListPage {
    frame: Frame,
    tabs: Vec<Tab>,
    channels: Vec<Choice>,
    rows: Vec<Row>,
    asked: Asked,
    older: Option<String>,
}

const TABS: [(&str, &str); 5] =
    [("", "All"), ("queued", "Waiting"), ("sent", "Sent"), ("failed", "Failed"), ("unknown", "Unknown")];

async fn list(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let frame = Frame::of(&web, &headers, "Deliveries", "deliveries", &caller)?;
    let given = |text: &str| Some(text.to_owned());
    let state: Option<DeliveryState> = match listing::given("state", &given(&asked.state))? {
        Some(word) => Some(word.parse().map_err(|e: String| Problem::invalid("state", e))?),
        None => None,
    };
    let channel: Option<i64> = listing::read("channel", &given(&asked.channel))?;
    let before = listing::before(&asked.before)?;
    let page = super::list(&caller, channel, state, before, listing::ROWS).await?;
    let mut channels = vec![Choice::new("", "all channels", channel.is_none())];
    for c in notify::channels(caller.client()).await? {
        channels.push(Choice::new(c.id.to_string(), c.name, channel == Some(c.id)));
    }
    if let Some(gone) = channel.filter(|id| channels.iter().all(|c| c.value != id.to_string())) {
        channels.push(Choice::new(gone.to_string(), format!("channel {gone}"), true));
    }
    let tab = |(word, name)| Tab { name, query: asked.query(word), current: word == asked.state.trim() };
    let tabs = TABS.map(tab).into();
    let older = page.next.map(|next| {
        let rest = asked.query(asked.state.trim());
        format!("before={next}{}{rest}", if rest.is_empty() { "" } else { "&" })
    });
    let rows = page.items.into_iter().map(Row::of).collect();
    frame::page(&ListPage { frame, tabs, channels, rows, asked, older })
}

#[derive(Template)]
#[template(path = "delivery.html")]
struct Page {
    frame: Frame,
    row: Row,
    notice: Option<NoticeRecord>,
    /// Whether its channel is still there.
    channel: bool,
    attempts: Vec<AttemptRow>,
}

fn number(text: &str) -> Result<i64> {
    text.parse().map_err(|_| Problem::not_found("delivery", text))
}

async fn show(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Path((_, delivery)): Path<(String, String)>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let (found, notice) = notify::delivery(caller.client(), number(&delivery)?).await?;
    let row = Row::of(found.into());
    let frame = Frame::of(&web, &headers, &row.title, "deliveries", &caller)?;
    let channel = notify::channels(caller.client()).await?.iter().any(|c| c.id == row.d.channel);
    let attempts = match row.d.job {
        Some(job) => attempts(&caller, job).await?,
        None => vec![],
    };
    frame::page(&Page { frame, row, notice, channel, attempts })
}

/// The attempts of its job, as long as that is kept.
async fn attempts(caller: &Caller, job: mainspring_core::JobId) -> Result<Vec<AttemptRow>> {
    let now = caller.client().now();
    match jobs::one(caller, job).await {
        Ok(detail) => Ok(detail.attempts.iter().map(|a| AttemptRow::of(a, None, now)).collect()),
        Err(gone) if gone.status == 404 => Ok(vec![]),
        Err(problem) => Err(problem),
    }
}

async fn redeliver(
    State(web): State<Web>,
    caller: Caller,
    Path((project, delivery)): Path<(String, String)>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    let id = notify::redeliver(caller.client(), number(&delivery)?).await?;
    Ok(frame::redirect(&web, &format!("/p/{}/deliveries/{id}", segment(&project))))
}
