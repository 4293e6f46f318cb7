//! What mails look like: for each kind of notice a made-up one, as the very code that sends draws it.
//!
//! The HTML of a mail brings styles of its own, which no page of ours may: it is a document by itself,
//! shown in a frame in which nothing runs ([`crate::server::Sandboxed`]).

use crate::access::{Caller, Right};
use crate::frame::{self, Frame, segment};
use crate::problem::{Problem, Result};
use crate::server::Sandboxed;
use crate::state::Web;
use askama::Template;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use http::HeaderMap;
use mainspring::notify::{self, NoticeRecord, NoticeState, Severity};
use mainspring_core::tables::{AsJson, At};
use serde::Deserialize;

/// Their routes.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/p/{project}/mail-preview", get(show))
        .route("/p/{project}/mail-preview/{notice}", get(mail))
}

/// Word, name, severity, state, title and text of each.
type Sample = (&'static str, &'static str, Severity, NoticeState, &'static str, &'static str);

const SAMPLES: [Sample; 6] = [
    (
        "critical",
        "Critical",
        Severity::Critical,
        NoticeState::Firing,
        "Schedule nightly backup failed 3 times in a row",
        "Ask the storage team first.\nThe last error: exit status 2, checksum of segment 41 differs.",
    ),
    (
        "warning",
        "Warning",
        Severity::Warning,
        NoticeState::Firing,
        "5.2 % of kind mail.send failed within 30 minutes",
        "",
    ),
    ("info", "Info", Severity::Info, NoticeState::Firing, "Queue documents holds more than 1,000 jobs", ""),
    (
        "recovered",
        "Recovered",
        Severity::Critical,
        NoticeState::Recovered,
        "Schedule nightly backup is well again",
        "It had failed for 2 hours.",
    ),
    (
        "test",
        "Test",
        Severity::Info,
        NoticeState::Test,
        "Test of the channel operations",
        "If you can read this, notifications of this project arrive here. There is nothing to do.",
    ),
    (
        "message",
        "Message",
        Severity::Info,
        NoticeState::Message,
        "The weekly report is ready",
        "Eleven pages, of which two need a decision.",
    ),
];

/// Subject, plain text and HTML of a made-up mail.
fn drawn(web: &Web, caller: &Caller, word: &str) -> Result<(String, String, String)> {
    let found = SAMPLES.iter().find(|sample| sample.0 == word);
    let (_, _, severity, state, title, text) = *found.ok_or_else(|| Problem::not_found("mail", word))?;
    let facts = [("schedule", "nightly backup"), ("attempt", "3 of 3"), ("node", "mill-1")];
    let notice = NoticeRecord {
        id: 0,
        uid: "ntc_sample".into(),
        key: "sample".into(),
        severity,
        state,
        title: title.into(),
        text: text.into(),
        facts: AsJson(facts.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
        path: "/notifications".into(),
        at: At(web.now()),
        urgent: false,
    };
    let home = format!("{}/p/{}", web.address(), segment(&caller.project));
    Ok(notify::preview(&notice, &caller.project, &home))
}

#[derive(Template)]
#[template(path = "mail_preview.html")]
struct Page {
    frame: Frame,
    word: String,
    name: &'static str,
    subject: String,
    text: String,
}

impl Page {
    fn samples(&self) -> &'static [Sample] {
        &SAMPLES
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    notice: String,
}

async fn show(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let word = if asked.notice.is_empty() { SAMPLES[0].0.to_owned() } else { asked.notice };
    let (subject, text, _) = drawn(&web, &caller, &word)?;
    let frame = Frame::of(&web, &headers, "Mail preview", "channels", &caller)?;
    let name = SAMPLES.iter().find(|sample| sample.0 == word).map_or("", |sample| sample.1);
    frame::page(&Page { frame, word, name, subject, text })
}

async fn mail(
    State(web): State<Web>,
    caller: Caller,
    Path((_, notice)): Path<(String, String)>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let (_, _, html) = drawn(&web, &caller, &notice)?;
    let mut response = Html(html).into_response();
    response.extensions_mut().insert(Sandboxed);
    Ok(response)
}
