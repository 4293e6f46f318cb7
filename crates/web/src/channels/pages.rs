//! Channels as pages: all of them, one with what it did last, the form, a test and its result.

use super::ChannelView;
use super::fields::{self, Field, SORTS, Sort, TIMING, Values, Wrong};
use crate::access::{Caller, Right};
use crate::deliveries::{self, DeliveryView, pages as sent};
use crate::frame::{self, Frame, segment};
use crate::listing;
use crate::problem::{Problem, Result};
use crate::state::Web;
use crate::views::mark::{Mark, mark};
use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::HeaderMap;
use mainspring::{alerts, notify};
use serde::Deserialize;

/// Deliveries that the page of a channel shows.
const LAST: u32 = 10;

/// Their routes.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/p/{project}/channels", get(list))
        .route("/p/{project}/channels/{channel}", get(show))
        .route("/p/{project}/channels/{channel}/{deed}", post(act))
        .route("/p/{project}/channel-form", get(form).post(save))
        .merge(super::mail::routes())
}

/// Where a channel stands.
pub fn state(c: &ChannelView) -> Mark {
    match (c.state, c.last_sent) {
        ("off", _) => mark("is-idle", "pause", "Off"),
        ("stopped", _) => mark("is-bad", "cancel", "Stopped"),
        ("failing", _) => mark("is-bad", "bad", "Failing"),
        (_, None) => mark("is-idle", "wait", "Nothing sent yet"),
        _ => mark("is-ok", "ok", "Delivers"),
    }
}

fn kind(word: &str) -> &'static str {
    fields::sort(word).name
}

struct Row {
    mark: Mark,
    kind: &'static str,
    c: ChannelView,
}

impl Row {
    fn of(c: ChannelView) -> Row {
        Row { mark: state(&c), kind: kind(c.kind), c }
    }

    /// Whether nobody hears by it although it is switched on.
    fn silent(&self) -> bool {
        matches!(self.c.state, "failing" | "stopped")
    }
}

#[derive(Template)]
#[template(path = "channels.html")]
struct ListPage {
    frame: Frame,
    rows: Vec<Row>,
}

async fn list(State(web): State<Web>, caller: Caller, headers: HeaderMap) -> Result<Response> {
    caller.may(Right::Read)?;
    let frame = Frame::of(&web, &headers, "Channels", "channels", &caller)?;
    let rows = super::list(&caller).await?.into_iter().map(Row::of).collect();
    frame::page(&ListPage { frame, rows })
}

#[derive(Template)]
#[template(path = "channel.html")]
struct Page {
    frame: Frame,
    row: Row,
    /// What is set on it, in words.
    set: Vec<(&'static str, String)>,
    /// Rules that tell it.
    rules: Vec<(i64, String)>,
    last: Vec<sent::Row>,
    /// A test that was asked for on this page.
    test: Option<sent::Row>,
    /// A signing secret that was made for it, shown this once.
    secret: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Seen {
    test: String,
}

fn number(text: &str) -> Result<i64> {
    text.parse().map_err(|_| Problem::not_found("channel", text))
}

async fn show(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Path((_, channel)): Path<(String, String)>,
    Query(seen): Query<Seen>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let id = number(&channel)?;
    let test = match listing::read::<i64>("test", &Some(seen.test))? {
        Some(test) => Some(deliveries::one(&caller, test).await?).filter(|d| d.channel == id),
        None => None,
    };
    draw(&web, &caller, &headers, id, test, None).await
}

async fn draw(
    web: &Web,
    caller: &Caller,
    headers: &HeaderMap,
    id: i64,
    test: Option<DeliveryView>,
    secret: Option<String>,
) -> Result<Response> {
    let channel = notify::channel(caller.client(), id).await?;
    let frame = Frame::of(web, headers, &channel.name, "channels", caller)?;
    let values = fields::of_channel(&channel);
    let row = Row::of(channel.into());
    let last = deliveries::list(caller, Some(id), None, None, LAST).await?;
    let last = last.items.into_iter().map(sent::Row::of).collect();
    let rules = alerts::rules(caller.client()).await?.into_iter();
    let rules = rules.filter(|r| r.spec.channels.contains(&id)).map(|r| (r.id, r.name)).collect();
    let set = shown(&row, &values);
    let page = Page { frame, set, rules, last, test: test.map(sent::Row::of), secret, row };
    frame::page(&page)
}

/// What is set, without what is empty.
fn shown(row: &Row, values: &Values) -> Vec<(&'static str, String)> {
    let value = |key: &str| values.get(key).map_or("", String::as_str);
    let mut set: Vec<(&'static str, String)> = vec![];
    for f in fields::sort(row.c.kind).fields {
        match f.key {
            "secret" if row.c.has_secret => set.push((f.label, "kept sealed".into())),
            key if !value(key).is_empty() => {
                let choice = f.choices().iter().find(|(word, _)| *word == value(key));
                let text = choice.map_or_else(|| value(key).replace('\n', ", "), |(_, text)| (*text).into());
                set.push((f.label, text));
            }
            _ => {}
        }
    }
    let zone = value("zone");
    if !value("quiet_from").is_empty() {
        set.push(("Quiet", format!("{} to {}, {zone}", value("quiet_from"), value("quiet_to"))));
    }
    match value("digest") {
        "hourly" => set.push(("Sends", "one message at every full hour".into())),
        "daily" => set.push(("Sends", format!("one message a day, at {}, {zone}", value("digest_at")))),
        _ if row.c.timing.gather > 0 => {
            set.push(("Sends", format!("what comes within {} in one message", value("gather"))));
        }
        _ => set.push(("Sends", "at once".into())),
    }
    set
}

async fn act(
    State(web): State<Web>,
    caller: Caller,
    Path((project, channel, deed)): Path<(String, String, String)>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    let (client, id) = (caller.client(), number(&channel)?);
    let list = format!("/p/{}/channels", segment(&project));
    let to = match deed.as_str() {
        "test" => format!("{list}/{id}?test={}", notify::test(client, id).await?),
        "on" | "off" => {
            let old = notify::channel(client, id).await?;
            let new = notify::NewChannel {
                name: old.name,
                settings: old.settings.0,
                timing: old.timing.0,
                enabled: deed == "on",
                secret: None,
            };
            notify::change(client, web.vault(), id, new).await?;
            format!("{list}/{id}")
        }
        "delete" => {
            notify::delete(client, id).await?;
            list
        }
        other => return Err(Problem::not_found("page", other)),
    };
    Ok(frame::redirect(&web, &to))
}

#[derive(Template)]
#[template(path = "channel_form.html")]
struct FormPage {
    frame: Frame,
    title: String,
    sort: &'static Sort,
    values: Values,
    wrong: Vec<Wrong>,
}

impl FormPage {
    fn sorts(&self) -> &'static [Sort] {
        SORTS
    }

    fn timing(&self) -> &'static [Field] {
        TIMING
    }

    fn value(&self, key: &str) -> &str {
        self.values.get(key).map_or("", String::as_str)
    }

    fn error(&self, key: &str) -> Option<&str> {
        self.wrong.iter().find(|(field, _)| field == key).map(|(_, text)| text.as_str())
    }

    /// Whether the times are worth a look before they are asked for.
    fn timed(&self) -> bool {
        let set = |key| !self.value(key).is_empty();
        TIMING.iter().any(|f| self.error(f.key).is_some())
            || set("quiet_from")
            || self.value("digest") != "none"
            || self.value("gather") != "0s"
    }

    /// What is wrong beside the fields.
    fn other(&self) -> Option<&str> {
        let known =
            |field: &str| field == "name" || self.sort.fields.iter().chain(TIMING).any(|f| f.key == field);
        self.wrong.iter().find(|(field, _)| !known(field)).map(|(_, text)| text.as_str())
    }
}

/// Which channel is changed, or which kind is made.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    id: String,
    kind: String,
}

fn draw_form(
    web: &Web,
    caller: &Caller,
    headers: &HeaderMap,
    mut values: Values,
    wrong: Vec<Wrong>,
) -> Result<Response> {
    let new = values.get("id").is_none_or(|id| id.is_empty());
    let title = if new { "New channel" } else { "Change channel" }.to_owned();
    let frame = Frame::of(web, headers, &title, "channels", caller)?;
    let sort = fields::sort(values.get("kind").map_or("", String::as_str));
    // What was typed as a secret does not travel back.
    values.remove("secret");
    let refused = !wrong.is_empty();
    frame::form(&FormPage { frame, title, sort, values, wrong }, refused)
}

async fn form(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    let values = match asked.id.as_str() {
        "" => fields::first(fields::sort(&asked.kind).kind),
        id => fields::of_channel(&notify::channel(caller.client(), number(id)?).await?),
    };
    draw_form(&web, &caller, &headers, values, vec![])
}

async fn save(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Form(values): Form<Values>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    let new = match fields::to_channel(&values) {
        Ok(new) => new,
        Err(wrong) => return draw_form(&web, &caller, &headers, values, wrong),
    };
    let id = values.get("id").map_or("", String::as_str);
    let saved = match id {
        "" => notify::make(caller.client(), web.vault(), new).await,
        id => notify::change(caller.client(), web.vault(), number(id)?, new).await.map(|c| (c, None)),
    };
    match saved {
        // The secret is in this answer and nowhere else, so there is no redirect.
        Ok((channel, Some(secret))) => {
            draw(&web, &caller, &headers, channel.id, None, Some(secret.expose().to_owned())).await
        }
        Ok((channel, None)) => {
            let to = format!("/p/{}/channels/{}", segment(&caller.project), channel.id);
            Ok(frame::redirect(&web, &to))
        }
        Err(e) => {
            let wrong = fields::wrong_of(e.into())?;
            draw_form(&web, &caller, &headers, values, vec![wrong])
        }
    }
}
