//! Rules as pages: all of them, one with what it would have done, the form.

use super::fields::{self, COMMON, Field, SORTS, Sort, Values, Wrong};
use super::{BacktestView, NewRule, RuleView};
use crate::access::{Caller, Right};
use crate::alerts::Snooze;
use crate::frame::{self, Frame, segment};
use crate::problem::{Problem, Result};
use crate::state::Web;
use crate::views::mark::{Mark, mark};
use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::HeaderMap;
use mainspring::alerts;
use mainspring::notify::Severity;
use serde::Deserialize;
use std::time::Duration;

/// What a page looks back on.
const PERIOD: Duration = Duration::from_secs(30 * 86_400);

/// Their routes.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/p/{project}/alert-rules", get(list))
        .route("/p/{project}/alert-rules/{rule}", get(show))
        .route("/p/{project}/alert-rules/{rule}/{deed}", post(act))
        .route("/p/{project}/alert-rule-form", get(form).post(save))
}

/// Where a rule stands.
pub fn state(rule: &RuleView) -> Mark {
    match rule {
        r if !r.enabled => mark("is-idle", "pause", "Off"),
        r if r.firing > 0 => mark("is-bad", "bad", "Firing"),
        r if r.snoozed_until.is_some() => mark("is-idle", "moon", "Snoozed"),
        _ => mark("is-ok", "ok", "Quiet"),
    }
}

struct Row {
    mark: Mark,
    r: RuleView,
    channels: String,
}

#[derive(Template)]
#[template(path = "alert_rules.html")]
struct ListPage {
    frame: Frame,
    rows: Vec<Row>,
}

/// Channels by number.
async fn channels(caller: &Caller) -> Result<Vec<(i64, String)>> {
    Ok(alerts::channels(caller.client()).await?)
}

fn named(channels: &[(i64, String)], wanted: &[i64]) -> String {
    let name = |id: &i64| channels.iter().find(|(known, _)| known == id).map(|(_, name)| name.as_str());
    let names: Vec<&str> = wanted.iter().filter_map(name).collect();
    if names.is_empty() { "dashboard".into() } else { format!("dashboard, {}", names.join(", ")) }
}

async fn list(State(web): State<Web>, caller: Caller, headers: HeaderMap) -> Result<Response> {
    caller.may(Right::Read)?;
    let frame = Frame::of(&web, &headers, "Alert rules", "alerts", &caller)?;
    let known = channels(&caller).await?;
    let row = |r: RuleView| Row { mark: state(&r), channels: named(&known, &r.rule.channels), r };
    let rows = super::list(&caller).await?.into_iter().map(row).collect();
    frame::page(&ListPage { frame, rows })
}

#[derive(Template)]
#[template(path = "alert_rule.html")]
struct Page {
    frame: Frame,
    mark: Mark,
    r: RuleView,
    channels: String,
    past: Option<BacktestView>,
    sent: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Seen {
    sent: String,
}

async fn show(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Path((_, rule)): Path<(String, String)>,
    Query(seen): Query<Seen>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let r = super::one(&caller, number(&rule)?).await?;
    let frame = Frame::of(&web, &headers, &r.name, "alerts", &caller)?;
    let past = Some(super::backtest(&caller, &r.rule.rule, PERIOD).await?);
    let channels = named(&channels(&caller).await?, &r.rule.channels);
    frame::page(&Page { frame, mark: state(&r), channels, r, past, sent: seen.sent == "yes" })
}

fn number(text: &str) -> Result<i64> {
    text.parse().map_err(|_| Problem::not_found("alert rule", text))
}

async fn act(
    State(web): State<Web>,
    caller: Caller,
    Path((project, rule, deed)): Path<(String, String, String)>,
    Form(how): Form<Snooze>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    let (client, id) = (caller.client(), number(&rule)?);
    let list = format!("/p/{}/alert-rules", segment(&project));
    let mut to = format!("{list}/{id}");
    match deed.as_str() {
        "test" => {
            alerts::send_test(client, id).await?;
            to.push_str("?sent=yes");
        }
        "on" => alerts::enable_rule(client, id, true).await?,
        "off" => alerts::enable_rule(client, id, false).await?,
        "snooze" => {
            let until = how.until(client.now())?;
            let until = until.ok_or_else(|| Problem::invalid("for", "say for how long; for example 2h"))?;
            alerts::snooze_rule(client, id, Some(until)).await?;
        }
        "wake" => alerts::snooze_rule(client, id, None).await?,
        "delete" => {
            alerts::delete_rule(client, id).await?;
            to = list;
        }
        other => return Err(Problem::not_found("page", other)),
    }
    Ok(frame::redirect(&web, &to))
}

struct Channel {
    id: i64,
    name: String,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "alert_rule_form.html")]
struct FormPage {
    frame: Frame,
    title: String,
    sort: &'static Sort,
    values: Values,
    channels: Vec<Channel>,
    wrong: Vec<Wrong>,
    words: Option<String>,
    past: Option<BacktestView>,
}

impl FormPage {
    fn sorts(&self) -> &'static [Sort] {
        SORTS
    }

    fn fields(&self) -> &'static [Field] {
        self.sort.fields
    }

    fn common(&self) -> &'static [Field] {
        COMMON
    }

    fn severities(&self) -> [&'static str; 3] {
        [Severity::Info, Severity::Warning, Severity::Critical].map(|s| s.as_str())
    }

    fn value(&self, key: &str) -> &str {
        self.values.get(key).map_or("", String::as_str)
    }

    fn error(&self, key: &str) -> Option<&str> {
        self.wrong.iter().find(|(field, _)| field == key).map(|(_, text)| text.as_str())
    }

    /// What is wrong beside the fields.
    fn other(&self) -> Option<&str> {
        let known =
            |field: &str| field == "name" || self.sort.fields.iter().chain(COMMON).any(|f| f.key == field);
        self.wrong.iter().find(|(field, _)| !known(field)).map(|(_, text)| text.as_str())
    }
}

/// Which rule is changed, or which sort is made.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    id: String,
    when: String,
}

async fn draw(
    web: &Web,
    caller: &Caller,
    headers: &HeaderMap,
    values: Values,
    chosen: &[i64],
    wrong: Vec<Wrong>,
) -> Result<Response> {
    let id = values.get("id").cloned().unwrap_or_default();
    let title = if id.is_empty() { "New alert rule".to_owned() } else { "Change alert rule".to_owned() };
    let frame = Frame::of(web, headers, &title, "alerts", caller)?;
    let sort = fields::sort(values.get("when").map_or("", String::as_str));
    let channel = |(id, name)| Channel { id, name, chosen: chosen.contains(&id) };
    let channels = channels(caller).await?.into_iter().map(channel).collect();
    let (mut words, mut past) = (None, None);
    if let Ok(spec) = fields::to_spec(&values, chosen) {
        words = Some(spec.rule.words());
        past = Some(super::backtest(caller, &spec.rule, PERIOD).await?);
    }
    let refused = !wrong.is_empty();
    frame::form(&FormPage { frame, title, sort, values, channels, wrong, words, past }, refused)
}

async fn form(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    if asked.id.is_empty() {
        let sort = fields::sort(&asked.when);
        let mut values = fields::first(sort);
        values.insert("when".into(), sort.when.into());
        return draw(&web, &caller, &headers, values, &[], vec![]).await;
    }
    let r = super::one(&caller, number(&asked.id)?).await?;
    let mut values = fields::of_spec(&r.rule);
    values.extend([("id".to_owned(), asked.id), ("name".to_owned(), r.name)]);
    draw(&web, &caller, &headers, values, &r.rule.channels, vec![]).await
}

async fn save(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    let chosen: Vec<i64> =
        pairs.iter().filter(|(key, _)| key == "channel").filter_map(|(_, id)| id.parse().ok()).collect();
    let values: Values = pairs.into_iter().filter(|(key, _)| key != "channel").collect();
    let typed = |key: &str| values.get(key).map_or("", |text| text.trim()).to_owned();
    let spec = match fields::to_spec(&values, &chosen) {
        Ok(spec) => spec,
        Err(wrong) => return draw(&web, &caller, &headers, values, &chosen, wrong).await,
    };
    if typed("act") != "save" {
        return draw(&web, &caller, &headers, values, &chosen, vec![]).await;
    }
    let id = Some(typed("id")).filter(|id| !id.is_empty());
    let id = id.as_deref().map(number).transpose()?;
    let enabled = match id {
        Some(id) => super::one(&caller, id).await?.enabled,
        None => true,
    };
    match super::save(&caller, id, &NewRule { name: typed("name"), enabled, rule: spec }).await {
        Ok(id) => {
            let to = format!("/p/{}/alert-rules/{id}", segment(&caller.project));
            Ok(frame::redirect(&web, &to))
        }
        Err(problem) => {
            let wrong = fields::wrong_of(problem)?;
            draw(&web, &caller, &headers, values, &chosen, vec![wrong]).await
        }
    }
}
