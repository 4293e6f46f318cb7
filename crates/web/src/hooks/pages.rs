//! Webhooks that come in, as a page: all of them with what came last, and the way to make one.

use super::{DeliveryView, HookView, NewHook, Signature};
use crate::access::{Caller, Right};
use crate::frame::{self, Frame, segment};
use crate::problem::{Problem, Result};
use crate::state::Web;
use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode};
use mainspring_core::duration;
use serde::Deserialize;
use std::time::Duration;

/// Their routes.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/p/{project}/hooks", get(list).post(make))
        .route("/p/{project}/hooks/{hook}/rotate", post(rotate))
        .route("/p/{project}/hooks/{hook}/delete", post(delete))
}

/// What the form holds, as typed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Typed {
    name: String,
    signature: String,
    kind: String,
    queue: String,
    template: String,
}

struct Shown {
    hook: HookView,
    path: String,
    deliveries: Vec<DeliveryView>,
}

#[derive(Template)]
#[template(path = "hooks.html")]
struct Page {
    frame: Frame,
    hooks: Vec<Shown>,
    typed: Typed,
    problem: Option<Problem>,
    /// A hook's name and its secret, shown this once.
    secret: Option<(String, String)>,
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
    (typed, problem, secret): (Typed, Option<Problem>, Option<(String, String)>),
) -> Result<Response> {
    caller.may(Right::Manage)?;
    let frame = Frame::of(web, headers, "Webhooks", "hooks", caller)?;
    let mut hooks = Vec::new();
    for hook in super::list(web, caller).await? {
        let mut deliveries = super::deliveries(web, caller, &hook.name).await?;
        deliveries.truncate(5);
        hooks.push(Shown { path: segment(&hook.name), hook, deliveries });
    }
    frame::page(&Page { frame, hooks, typed, problem, secret })
}

async fn list(State(web): State<Web>, caller: Caller, headers: HeaderMap) -> Result<Response> {
    draw(&web, &caller, &headers, (Typed::default(), None, None)).await
}

impl Typed {
    fn hook(&self) -> Result<NewHook> {
        let template = match self.template.trim() {
            "" => None,
            text => {
                Some(serde_json::from_str(text).map_err(|e| Problem::invalid("template", e.to_string()))?)
            }
        };
        Ok(NewHook {
            name: self.name.trim().to_owned(),
            signature: if self.signature == "standard" { Signature::Standard } else { Signature::Github },
            kind: self.kind.trim().to_owned(),
            queue: Some(self.queue.trim().to_owned()).filter(|q| !q.is_empty()),
            template,
        })
    }
}

/// The secret is in this answer and nowhere else, so there is no redirect.
async fn make(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Form(typed): Form<Typed>,
) -> Result<Response> {
    caller.may(Right::Manage)?;
    let made = match typed.hook() {
        Ok(new) => super::make(&web, &caller, &new).await,
        Err(problem) => Err(problem),
    };
    match made {
        Ok((hook, secret)) => {
            draw(&web, &caller, &headers, (Typed::default(), None, Some((hook.name, secret)))).await
        }
        Err(problem) if problem.status() != StatusCode::FORBIDDEN && problem.status < 500 => {
            let status = problem.status();
            let mut page = draw(&web, &caller, &headers, (typed, Some(problem), None)).await?;
            *page.status_mut() = status;
            Ok(page)
        }
        Err(problem) => Err(problem),
    }
}

/// For how long the secret before holds, as typed.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Overlap {
    overlap: String,
}

async fn rotate(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Path((_project, hook)): Path<(String, String)>,
    Form(typed): Form<Overlap>,
) -> Result<Response> {
    let overlap = match typed.overlap.trim() {
        "" => Duration::ZERO,
        text => duration::parse(text).map_err(|e| Problem::invalid("overlap", e))?,
    };
    let secret = super::rotate(&web, &caller, &hook, overlap).await?;
    draw(&web, &caller, &headers, (Typed::default(), None, Some((hook, secret)))).await
}

async fn delete(
    State(web): State<Web>,
    caller: Caller,
    Path((project, hook)): Path<(String, String)>,
) -> Result<Response> {
    super::delete(&web, &caller, &hook).await?;
    Ok(frame::redirect(&web, &format!("/p/{}/hooks", segment(&project))))
}
