//! Alerts as pages: what fires first, then what was; one alert with all that happened to it.

use super::{AlertDetail, AlertView, Snooze, note};
use crate::access::{Caller, Right};
use crate::frame::{self, Frame, segment};
use crate::listing::{self, Page as Listing};
use crate::problem::{Problem, Result};
use crate::state::Web;
use crate::views::mark::{Mark, mark};
use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::HeaderMap;
use mainspring::alerts::{self, AlertFilter, AlertState};
use mainspring::notify::Severity;
use mainspring_core::limits;
use serde::Deserialize;

/// Their routes.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/p/{project}/alerts", get(list))
        .route("/p/{project}/alerts/{alert}", get(show))
        .route("/p/{project}/alerts/{alert}/{deed}", post(act))
}

/// Where an alert stands.
pub fn state(a: &AlertView) -> Mark {
    match (a.state, a.severity) {
        (AlertState::Recovered, _) => mark("is-ok", "ok", "Recovered"),
        (AlertState::Snoozed, _) => mark("is-idle", "moon", "Snoozed"),
        (AlertState::Firing, Severity::Critical) => mark("is-bad", "bad", "Firing"),
        (AlertState::Firing, _) => mark("is-warn", "warn", "Firing"),
    }
}

/// How bad it is.
pub fn severity(a: &AlertView) -> Mark {
    match a.severity {
        Severity::Critical => mark("is-bad", "bad", "critical"),
        Severity::Warning => mark("is-warn", "warn", "warning"),
        Severity::Info => mark("is-idle", "bell", "info"),
    }
}

struct Row {
    mark: Mark,
    severity: Mark,
    a: AlertView,
}

fn row(a: AlertView) -> Row {
    Row { mark: state(&a), severity: severity(&a), a }
}

#[derive(Template)]
#[template(path = "alerts.html")]
struct ListPage {
    frame: Frame,
    title: String,
    open: Vec<Row>,
    over: Vec<Row>,
    rules: usize,
    /// Only alerts of this rule are shown.
    rule: Option<i64>,
    older: Option<String>,
    first: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    rule: Option<String>,
    before: Option<String>,
}

/// `No alert fires`, `Two alerts fire`.
fn headline(open: usize) -> String {
    match open {
        0 => "No alert fires".into(),
        1 => "One alert fires".into(),
        n => format!("{n} alerts fire"),
    }
}

async fn list(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let frame = Frame::of(&web, &headers, "Alerts", "alerts", &caller)?;
    let rule = listing::read("rule", &asked.rule)?;
    let before = listing::given("before", &asked.before)?.map(str::to_owned);
    let first = before.is_none();
    let of = |open, before| AlertFilter { rule, open: Some(open), before };
    let open = match first {
        true => super::list(&caller, &of(true, None), limits::PAGE as u32).await?.items,
        false => vec![],
    };
    let Listing { items: over, next: older } =
        super::list(&caller, &of(false, before), listing::ROWS).await?;
    let rules = alerts::rules(caller.client()).await?.iter().filter(|r| r.enabled).count();
    let title = headline(open.len());
    let rows = |list: Vec<AlertView>| list.into_iter().map(row).collect();
    frame::page(&ListPage { frame, title, open: rows(open), over: rows(over), rules, rule, older, first })
}

#[derive(Template)]
#[template(path = "alert.html")]
struct Page {
    frame: Frame,
    mark: Mark,
    severity: Mark,
    open: bool,
    /// What is known of the rule, unless it is gone.
    rule: Option<crate::alert_rules::RuleView>,
    /// Who was beyond the limit, in words.
    seen: Vec<(String, String)>,
    d: AlertDetail,
}

async fn show(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Path((_, alert)): Path<(String, String)>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let d = super::detail(&caller, &alert).await?;
    let frame = Frame::of(&web, &headers, &d.alert.title, "alerts", &caller)?;
    let rule = crate::alert_rules::one(&caller, d.alert.rule).await.ok();
    let said = |value: f64| match &rule {
        Some(r) => alerts::value(&r.rule.rule.condition, value),
        None => value.to_string(),
    };
    let seen = d.alert.breached.iter().map(|b| (b.subject.clone(), said(b.value))).collect();
    let open = d.alert.ended_at.is_none();
    frame::page(&Page { frame, mark: state(&d.alert), severity: severity(&d.alert), open, rule, seen, d })
}

async fn act(
    State(web): State<Web>,
    caller: Caller,
    Path((project, alert, deed)): Path<(String, String, String)>,
    Form(how): Form<Snooze>,
) -> Result<Response> {
    caller.may(Right::Run)?;
    let client = caller.client();
    let why = note(&how.note);
    match deed.as_str() {
        "acknowledge" => alerts::acknowledge(client, &alert, why).await?,
        "snooze" => {
            let until = how.until(client.now())?;
            let until = until.ok_or_else(|| Problem::invalid("for", "say for how long; for example 2h"))?;
            alerts::snooze(client, &alert, Some(until), why).await?;
        }
        "wake" => alerts::snooze(client, &alert, None, why).await?,
        "close" => alerts::close(client, &alert, why).await?,
        other => return Err(Problem::not_found("page", other)),
    }
    Ok(frame::redirect(&web, &format!("/p/{}/alerts/{}", segment(&project), segment(&alert))))
}
