//! Events as JSON and as a stream that goes on.

use super::EventView;
use crate::access::{Caller, MayRead};
use crate::extract::{Json, Query};
use crate::listing::{self, Page};
use crate::problem::{Problem, Result};
use crate::state::Web;
use axum::extract::{FromRequestParts, Request, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::Stream;
use futures_util::stream::unfold;
use http::request::Parts;
use serde::Deserialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// How often a stream looks for more.
const LOOK: Duration = Duration::from_millis(500);
/// After so many looks it asks anew whether its reader may still read.
const LOOKS_PER_CHECK: u32 = 4;
/// Events read at once.
const CHUNK: u32 = 100;
/// Streams open at the same time.
const STREAMS: usize = 256;

static OPEN: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(STREAMS)));

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(live))
}

/// Where the listing begins.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
struct ListQuery {
    /// Events with a larger number; 0 if absent: from the oldest that is kept.
    after: Option<String>,
    /// Rows of the page, 1 to 1,000; 50 if absent.
    limit: Option<String>,
}

/// Events, the oldest first. `next` is the last one's number when the page is full: pass it as `after`.
#[utoipa::path(get, path = "/projects/{project}/events", tag = "events", operation_id = "list_events",
    security(("key" = ["read"])), responses((status = 200, body = Page<EventView>)))]
async fn list(caller: MayRead, Query(query): Query<ListQuery>) -> Result<Json<Page<EventView>>> {
    let limit = listing::rows("limit", &query.limit)?;
    let items = super::list(&caller, listing::read("after", &query.after)?.unwrap_or(0), limit).await?;
    let next = items.last().filter(|_| items.len() >= limit as usize).map(|e| e.id);
    Ok(Json(Page::new(items, next)))
}

/// Where the stream begins.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
struct LiveQuery {
    /// Events with a larger number; only new ones if absent. The header `Last-Event-ID`, which
    /// browsers send when they come back, wins.
    after: Option<String>,
}

/// Events as they happen, as server-sent events: `id` is the event's number, `event` its name, `data`
/// the event as JSON. A client that comes back with `Last-Event-ID` misses none. The stream ends when
/// the session or key does, and when the server shuts down.
#[utoipa::path(get, path = "/projects/{project}/events/live", tag = "events", operation_id = "follow_events",
    security(("key" = ["read"])), params(("last-event-id" = Option<String>, Header)),
    responses((status = 200, content_type = "text/event-stream", body = String)))]
async fn live(
    State(web): State<Web>,
    caller: MayRead,
    Query(query): Query<LiveQuery>,
    request: Request,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>> {
    let (parts, _) = request.into_parts();
    let resumed = parts.headers.get("last-event-id").map(|v| v.to_str().unwrap_or("?").to_owned());
    let after = match listing::read("last-event-id", &resumed)? {
        Some(id) => id,
        None => match listing::read("after", &query.after)? {
            Some(id) => id,
            None => caller.client().store().last_event(caller.project_id()).await?,
        },
    };
    let permit = OPEN.clone().try_acquire_owned().map_err(|_| {
        Problem::too_many(format!("{STREAMS} streams are open already"), Duration::from_secs(10))
    })?;
    let closing = web.closing();
    let tail = Tail {
        web,
        parts,
        caller: caller.0,
        after,
        ready: VecDeque::new(),
        looks: 0,
        closing,
        _permit: permit,
    };
    Ok(Sse::new(unfold(tail, Tail::step)).keep_alive(KeepAlive::default()))
}

/// One open stream.
struct Tail {
    web: Web,
    /// The request, by which its reader is judged again from time to time.
    parts: Parts,
    caller: Caller,
    after: i64,
    ready: VecDeque<EventView>,
    looks: u32,
    closing: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Tail {
    /// The next event; None when the stream is over.
    async fn step(mut self) -> Option<(Result<Event, Infallible>, Tail)> {
        loop {
            if let Some(view) = self.ready.pop_front() {
                self.after = view.id;
                let event = Event::default().id(view.id.to_string()).event(view.name.as_str());
                // What cannot be written as JSON cannot have been kept: see `Json`.
                let event = event.json_data(&view).unwrap_or_default();
                return Some((Ok(event), self));
            }
            if *self.closing.borrow() || !self.still_allowed().await {
                return None;
            }
            // A database that is away for a moment is no reason to end: the client would only return.
            if let Ok(more) = super::list(&self.caller, self.after, CHUNK).await {
                self.ready.extend(more);
            }
            if self.ready.is_empty() {
                // Waits for the shutdown, at most until the next look.
                let _ = tokio::time::timeout(LOOK, self.closing.changed()).await;
            }
        }
    }

    async fn still_allowed(&mut self) -> bool {
        self.looks += 1;
        if !self.looks.is_multiple_of(LOOKS_PER_CHECK) {
            return true;
        }
        match MayRead::from_request_parts(&mut self.parts, &self.web).await {
            Ok(caller) => {
                self.caller = caller.0;
                true
            }
            Err(problem) => problem.status >= 500,
        }
    }
}
