//! Requests as spans, where traces are on: see [`mainspring::trace`].
//!
//! Told are the route and never the address as it was typed: links for setting up and inviting hold
//! secrets. A caller's `traceparent` is taken over on the API alone; a page begins a trace of its own.

use crate::openapi::PREFIX;
use crate::state::Web;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use mainspring::trace::{Place, Role, Span, linking};
use std::net::SocketAddr;

/// Takes the time of a request.
pub async fn trace(State(web): State<Web>, request: Request, next: Next) -> Response {
    let tracer = &web.config().tracer;
    let Some(start) = tracer.now() else { return next.run(request).await };
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
    let of_api = route.as_deref().is_some_and(|route| route.contains(PREFIX));
    let parent = parent(request.headers()).filter(|_| of_api);
    let Some(place) = tracer.below(parent) else { return next.run(request).await };
    let method = request.method().to_string();
    let client = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_string());
    let agent =
        request.headers().get(http::header::USER_AGENT).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let (response, links) = linking(tracer, next.run(request)).await;
    let status = response.status();
    let mut span = Span {
        name: route.as_ref().map_or_else(|| method.clone(), |route| format!("{method} {route}")),
        role: Role::Server,
        place,
        parent: parent.map_or(0, |parent| parent.span),
        start,
        end: tracer.now().unwrap_or(start),
        attributes: vec![],
        links,
        error: None,
    }
    .with("http.request.method", method.as_str())
    .with("http.response.status_code", i64::from(status.as_u16()))
    .with("url.scheme", if web.secure() { "https" } else { "http" })
    .with("network.protocol.version", "1.1");
    for (name, value) in [("http.route", route), ("client.address", client), ("user_agent.original", agent)] {
        if let Some(value) = value {
            span = span.with(name, value.as_str());
        }
    }
    // The conventions count a server's own failures only.
    if status.is_server_error() {
        span = span.with("error.type", status.as_str());
        span.error = Some(status.to_string());
    }
    tracer.take(span);
    response
}

fn parent(headers: &HeaderMap) -> Option<Place> {
    let mut all = headers.get_all("traceparent").iter();
    match (all.next(), all.next()) {
        (Some(only), None) => only.to_str().ok()?.trim().parse().ok(),
        _ => None,
    }
}
