//! Notifications as a page: what is new, what was said before, what is counted.

use super::{NotificationView, account};
use crate::access::{Caller, Right};
use crate::frame::{self, Frame, segment};
use crate::listing::Page;
use crate::problem::Result;
use crate::state::Web;
use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::HeaderMap;
use mainspring::notify::{self, Topic};
use serde::Deserialize;

/// Their routes.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/p/{project}/notifications", get(list))
        .route("/p/{project}/notifications/read-all", post(read_all))
        .route("/p/{project}/notifications/preferences", post(prefer))
        .route("/p/{project}/notifications/{notification}/read", post(read))
}

#[derive(Template)]
#[template(path = "notifications.html")]
struct ListPage {
    frame: Frame,
    page: Page<NotificationView>,
    unread: bool,
    first: bool,
    muted: Vec<Topic>,
}

impl ListPage {
    fn topics(&self) -> &'static [Topic] {
        Topic::ALL
    }

    fn wanted(&self, topic: &Topic) -> bool {
        !self.muted.contains(topic)
    }
}

impl NotificationView {
    /// Colour of its mark.
    fn tone(&self) -> &'static str {
        match (self.state, self.severity) {
            ("recovered", _) => "is-ok",
            ("firing", "critical") => "is-bad",
            ("firing", "warning") => "is-warn",
            _ => "is-run",
        }
    }

    /// Its mark.
    fn icon(&self) -> &'static str {
        match (self.state, self.severity) {
            ("recovered", _) => "ok",
            ("firing", "critical") => "bad",
            ("firing", "warning") => "warn",
            _ => "bell",
        }
    }

    /// The mark in words.
    fn word(&self) -> &'static str {
        match self.state {
            "firing" => self.severity,
            state => state,
        }
    }
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
    let frame = Frame::of(&web, &headers, "Notifications", "notifications", &caller)?;
    let (unread, before) = (asked.show == "unread", asked.before.parse().ok());
    let page = super::list(&caller, unread, before, 50).await?;
    let muted = notify::muted(caller.client(), account(&caller)).await?;
    frame::page(&ListPage { frame, page, unread, first: before.is_none(), muted })
}

fn back(web: &Web, caller: &Caller) -> Response {
    frame::redirect(web, &format!("/p/{}/notifications", segment(&caller.project)))
}

async fn read_all(State(web): State<Web>, caller: Caller) -> Result<Response> {
    caller.may(Right::Read)?;
    notify::mark_all_read(caller.client(), account(&caller)).await?;
    Ok(back(&web, &caller))
}

async fn read(
    State(web): State<Web>,
    caller: Caller,
    Path((_, notification)): Path<(String, i64)>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    notify::mark_read(caller.client(), account(&caller), notification).await?;
    Ok(back(&web, &caller))
}

async fn prefer(
    State(web): State<Web>,
    caller: Caller,
    Form(wanted): Form<Vec<(String, String)>>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let wants = |topic: &Topic| wanted.iter().any(|(name, _)| name == topic.as_str());
    let muted: Vec<Topic> = Topic::ALL.iter().copied().filter(|topic| !wants(topic)).collect();
    notify::mute(caller.client(), account(&caller), &muted).await?;
    Ok(back(&web, &caller))
}
