//! What machines ask: whether the process lives, whether it can work, and figures for Prometheus.
//!
//! `/health/live` and `/health/ready` answer anybody and say no more than yes or why not. `/metrics`
//! takes a key with the right to read, like everything else about a project: whoever comes from this
//! very machine may be a proxy that speaks for the whole world, so the address proves nothing.

mod metrics;

use crate::access::{Anyone, Right};
use crate::problem::{Problem, Result};
use crate::state::Web;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use mainspring_core::code::Code;
use serde_json::json;
use std::time::Duration;

/// How long the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Their routes.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(figures))
}

async fn live() -> Response {
    axum::Json(json!({ "status": "live" })).into_response()
}

/// Whether the store answers. Its own words may name hosts and paths, so only the code is told.
async fn ready(State(web): State<Web>) -> Result<Response> {
    let asked = tokio::time::timeout(PATIENCE, web.client().store().projects()).await;
    let code = match asked {
        Ok(Ok(_)) if *web.closing().borrow() => {
            return Err(unready(Code::CONFLICT, "the server is shutting down".into()));
        }
        Ok(Ok(_)) => return Ok(axum::Json(well(&web).await).into_response()),
        Ok(Err(e)) => {
            tracing::warn!(error = %e, "not ready");
            e.code()
        }
        Err(_) => Code::STORE_TIMEOUT,
    };
    let title = Code::ALL.iter().find(|(c, _)| *c == code).map_or("", |(_, title)| *title);
    Err(unready(code, format!("the store does not answer: {title}")))
}

/// Ready, and how well: channels that cannot deliver are no reason to send requests elsewhere, but an
/// outside watcher may want to know. Anybody may ask, so no names are told: the pages have them.
async fn well(web: &Web) -> serde_json::Value {
    let asked = tokio::time::timeout(PATIENCE, mainspring::notify::trouble(web.tables())).await;
    let silent = match asked {
        Ok(Ok(silent)) => silent.len(),
        Ok(Err(e)) => {
            tracing::warn!(error = %e, "channels cannot be looked at");
            0
        }
        Err(_) => 0,
    };
    match silent {
        0 => json!({ "status": "ready" }),
        n => {
            let many = if n == 1 { "channel does" } else { "channels do" };
            let detail = format!("{n} {many} not deliver: see the page of channels, or mainspring health");
            json!({ "status": "ready", "degraded": true, "silent_channels": n, "detail": detail })
        }
    }
}

fn unready(code: Code, why: String) -> Problem {
    let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, why);
    problem.retry_after = Some(2);
    problem
}

/// Figures of the project that the key is bound to.
async fn figures(State(web): State<Web>, who: Anyone) -> Result<Response> {
    let Anyone::Key(key) = who else {
        return Err(Problem::forbidden("figures are for programs: send an API key with the right read"));
    };
    if !key.rights.contains(&Right::Read) {
        return Err(Problem::forbidden("this key may not do this: it takes the right read"));
    }
    let text = metrics::text(&web, key.project, key.rights.contains(&Right::Manage)).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
