//! Heartbeats as a page: what pings, its address to copy, a form for a new one.

use super::HeartbeatView;
use crate::access::{Caller, Right};
use crate::frame::{self, Frame, segment};
use crate::problem::{Problem, Result};
use crate::state::Web;
use crate::views::mark::{Mark, mark};
use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::HeaderMap;
use mainspring::alerts::{self, HeartbeatSpec};
use mainspring_core::duration;
use serde::Deserialize;
use std::time::Duration;

/// Their routes.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/p/{project}/heartbeats", get(list).post(make))
        .route("/p/{project}/heartbeats/{heartbeat}/{deed}", post(act))
}

struct Row {
    mark: Mark,
    h: HeartbeatView,
}

fn state(h: &HeartbeatView) -> Mark {
    match h {
        h if h.paused => mark("is-idle", "pause", "Not watched"),
        h if h.late && h.last_failed => mark("is-bad", "bad", "Failed"),
        h if h.late => mark("is-bad", "bad", "Silent"),
        h if h.last_ping.is_none() => mark("is-idle", "wait", "Waits for its first ping"),
        _ => mark("is-ok", "ok", "In time"),
    }
}

/// What the form holds, as typed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Fields {
    name: String,
    period: String,
    grace: String,
}

#[derive(Template)]
#[template(path = "heartbeats.html")]
struct Page {
    frame: Frame,
    rows: Vec<Row>,
    fields: Fields,
    problem: Option<Problem>,
}

impl Page {
    fn error(&self, field: &str) -> Option<&str> {
        self.problem.as_ref().filter(|p| p.field.as_deref() == Some(field)).map(|p| p.detail.as_str())
    }
}

async fn draw(
    web: &Web,
    caller: &Caller,
    headers: &HeaderMap,
    fields: Fields,
    problem: Option<Problem>,
) -> Result<Response> {
    let frame = Frame::of(web, headers, "Heartbeats", "alerts", caller)?;
    let rows = super::list(web, caller).await?.into_iter().map(|h| Row { mark: state(&h), h }).collect();
    let refused = problem.is_some();
    frame::form(&Page { frame, rows, fields, problem }, refused)
}

async fn list(State(web): State<Web>, caller: Caller, headers: HeaderMap) -> Result<Response> {
    caller.may(Right::Read)?;
    let fields = Fields { period: "1d".into(), grace: "1h".into(), ..Fields::default() };
    draw(&web, &caller, &headers, fields, None).await
}

fn length(field: &str, text: &str) -> Result<Duration> {
    duration::parse(text.trim()).map_err(|e| Problem::invalid(field, e))
}

async fn make(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Form(fields): Form<Fields>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    let made = async {
        let (period, grace) = (length("period", &fields.period)?, length("grace", &fields.grace)?);
        let spec = HeartbeatSpec { period, grace, paused: false };
        super::make(&web, &caller, fields.name.trim(), &spec).await
    };
    match made.await {
        Ok(_) => Ok(frame::redirect(&web, &format!("/p/{}/heartbeats", segment(&caller.project)))),
        Err(mut problem) if problem.status < 500 => {
            problem.field.get_or_insert_with(|| "name".into());
            draw(&web, &caller, &headers, fields, Some(problem)).await
        }
        Err(problem) => Err(problem),
    }
}

async fn act(
    State(web): State<Web>,
    caller: Caller,
    Path((project, name, deed)): Path<(String, String, String)>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    let client = caller.client();
    let set = async |paused| {
        let spec = alerts::heartbeat(client, &name).await?.spec;
        alerts::set_heartbeat(client, &name, &HeartbeatSpec { paused, ..spec }).await.map(drop)
    };
    match deed.as_str() {
        "pause" => set(true).await?,
        "resume" => set(false).await?,
        "delete" => alerts::delete_heartbeat(client, &name).await?,
        other => return Err(Problem::not_found("page", other)),
    }
    Ok(frame::redirect(&web, &format!("/p/{}/heartbeats", segment(&project))))
}
