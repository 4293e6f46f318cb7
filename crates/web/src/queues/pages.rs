//! Queues as pages: all of them, one with its limits and its pause.

use super::QueueView;
use crate::access::{Caller, Right};
use crate::frame::{self, Frame, segment};
use crate::problem::{Problem, Result};
use crate::schedules::pages::ends;
use crate::state::Web;
use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::HeaderMap;
use mainspring_core::queue::{ALL_QUEUES, QueueSettings};
use mainspring_core::rate::Rate;
use serde::Deserialize;

/// Their routes.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/p/{project}/queues", get(list))
        .route("/p/{project}/queues/{queue}", get(show))
        .route("/p/{project}/queues/{queue}/limits", post(limits))
        .route("/p/{project}/queues/{queue}/pause", post(pause))
        .route("/p/{project}/queues/{queue}/resume", post(resume))
}

#[derive(Template)]
#[template(path = "queues.html")]
struct ListPage {
    frame: Frame,
    queues: Vec<QueueView>,
    all: Option<QueueView>,
}

async fn list(State(web): State<Web>, caller: Caller, headers: HeaderMap) -> Result<Response> {
    caller.may(Right::Read)?;
    let frame = Frame::of(&web, &headers, "Queues", "queues", &caller)?;
    let (all, queues) =
        super::list(&caller).await?.into_iter().partition::<Vec<_>, _>(|q| q.name == ALL_QUEUES);
    frame::page(&ListPage { frame, queues, all: all.into_iter().next() })
}

/// What the form of the limits holds, as typed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Limits {
    max_running: String,
    max_running_per_key: String,
    rate: String,
    rate_per_key: String,
    fair: Option<String>,
}

impl Limits {
    fn of(s: &QueueSettings) -> Limits {
        let text = |n: Option<u32>| n.map(|n| n.to_string()).unwrap_or_default();
        let rate = |r: &Option<Rate>| r.as_ref().map(ToString::to_string).unwrap_or_default();
        Limits {
            max_running: text(s.max_running),
            max_running_per_key: text(s.max_running_per_key),
            rate: rate(&s.rate),
            rate_per_key: rate(&s.rate_per_key),
            fair: s.fair.then(|| "on".to_owned()),
        }
    }

    /// The settings with what was typed; pause and retention stay.
    fn apply(&self, mut s: QueueSettings) -> Result<QueueSettings> {
        let number = |field: &str, text: &str| match text.trim() {
            "" => Ok(None),
            text => text.parse::<u32>().map(Some).map_err(|_| {
                Problem::invalid(field, format!("{text:?} is not a number; type 10, or nothing for no limit"))
            }),
        };
        let rate = |field: &str, text: &str| match text.trim() {
            "" => Ok(None),
            text => Rate::parse(text).map(Some).map_err(|e| Problem::invalid(field, e)),
        };
        s.max_running = number("max_running", &self.max_running)?;
        s.max_running_per_key = number("max_running_per_key", &self.max_running_per_key)?;
        s.rate = rate("rate", &self.rate)?;
        s.rate_per_key = rate("rate_per_key", &self.rate_per_key)?;
        s.fair = self.fair.is_some();
        Ok(s)
    }
}

#[derive(Template)]
#[template(path = "queue.html")]
struct Page {
    frame: Frame,
    q: QueueView,
    path: String,
    limits: Limits,
    problem: Option<Problem>,
}

impl Page {
    fn error(&self, field: &str) -> Option<&str> {
        self.problem.as_ref().filter(|p| p.field.as_deref() == Some(field)).map(|p| p.detail.as_str())
    }
}

async fn show(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Path((_, queue)): Path<(String, String)>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let q = super::one(&caller, &queue).await?;
    let frame = Frame::of(&web, &headers, &queue, "queues", &caller)?;
    let limits = Limits::of(&q.settings);
    frame::page(&Page { frame, path: segment(&queue), limits, q, problem: None })
}

async fn limits(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Path((project, queue)): Path<(String, String)>,
    Form(limits): Form<Limits>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    let q = super::one(&caller, &queue).await?;
    let done = match limits.apply(q.settings.clone()) {
        Ok(settings) => caller.client().set_queue(&queue, settings).await.map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    match done {
        Ok(()) => Ok(to(&web, &project, &format!("/{}", segment(&queue)))),
        Err(problem) if problem.field.is_some() => {
            let frame = Frame::of(&web, &headers, &queue, "queues", &caller)?;
            let page = Page { frame, path: segment(&queue), limits, q, problem: Some(problem) };
            frame::form(&page, true)
        }
        Err(problem) => Err(problem),
    }
}

fn to(web: &Web, project: &str, rest: &str) -> Response {
    frame::redirect(web, &format!("/p/{}/queues{rest}", segment(project)))
}

/// How a pause is to be, and where its form was.
#[derive(Default, Deserialize)]
#[serde(default)]
struct PauseForm {
    note: String,
    length: String,
    back: String,
}

fn after(web: &Web, project: &str, queue: &str, form: &PauseForm) -> Response {
    match form.back.as_str() {
        "list" => to(web, project, ""),
        _ => to(web, project, &format!("/{}", segment(queue))),
    }
}

async fn pause(
    State(web): State<Web>,
    caller: Caller,
    Path((project, queue)): Path<(String, String)>,
    Form(form): Form<PauseForm>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    if queue != ALL_QUEUES {
        super::one(&caller, &queue).await?;
    }
    let note = Some(form.note.trim()).filter(|n| !n.is_empty());
    caller.client().pause_queue(&queue, ends(&form.length, web.now())?, note).await?;
    Ok(after(&web, &project, &queue, &form))
}

async fn resume(
    State(web): State<Web>,
    caller: Caller,
    Path((project, queue)): Path<(String, String)>,
    Form(form): Form<PauseForm>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    super::one(&caller, &queue).await?;
    caller.client().resume_queue(&queue).await?;
    Ok(after(&web, &project, &queue, &form))
}

impl ListPage {
    fn all_paused(&self) -> bool {
        self.all.as_ref().is_some_and(|q| q.paused.is_some())
    }
}
