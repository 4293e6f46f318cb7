//! Makes or changes a schedule: says in words what the rule would do before anything is saved.

use super::super::{PreviewView, preview_of};
use super::detail::{Fire, fires};
use crate::access::{Caller, Right};
use crate::frame::{self, Frame, segment};
use crate::problem::{Problem, Result};
use crate::state::Web;
use crate::views::pretty;
use askama::Template;
use axum::extract::{Form, Query, State};
use axum::response::Response;
use http::HeaderMap;
use mainspring_core::Json;
use mainspring_core::job::check_name;
use mainspring_core::schedule::ScheduleSpec;
use mainspring_core::trigger::Trigger;
use mainspring_core::zone::{self, Zone};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What the form holds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    /// The schedule that is changed; empty for a new one.
    was: String,
    name: String,
    when: String,
    zone: String,
    /// `http` or `kind`.
    what: String,
    url: String,
    kind: String,
    queue: String,
    payload: String,
    act: String,
}

/// Which field is wrong, and what to type instead.
#[derive(Clone, Debug)]
struct Wrong {
    field: String,
    text: String,
}

#[derive(Template)]
#[template(path = "schedule_form.html")]
struct FormPage {
    frame: Frame,
    fields: Fields,
    title: String,
    wrong: Vec<Wrong>,
    preview: Option<PreviewView>,
    fires: Vec<Fire>,
    zones: Vec<&'static str>,
    kinds: BTreeSet<String>,
}

impl FormPage {
    /// What is wrong with a field.
    fn error(&self, field: &str) -> Option<&str> {
        self.wrong.iter().find(|w| w.field == field).map(|w| w.text.as_str())
    }

    /// What is wrong beside the fields.
    fn other(&self) -> Option<&str> {
        let fields = ["name", "when", "zone", "url", "kind", "queue", "payload"];
        self.wrong.iter().find(|w| !fields.contains(&w.field.as_str())).map(|w| w.text.as_str())
    }
}

async fn draw(
    web: &Web,
    caller: &Caller,
    headers: &HeaderMap,
    fields: Fields,
    wrong: Vec<Wrong>,
    preview: Option<PreviewView>,
) -> Result<Response> {
    let title =
        if fields.was.is_empty() { "New schedule".to_owned() } else { format!("Change {}", fields.was) };
    let frame = Frame::of(web, headers, &title, "schedules", caller)?;
    let nodes = caller.client().store().nodes().await?;
    let kinds = nodes.into_iter().flat_map(|n| n.info.kinds).filter(|k| k != "http").collect();
    let refused = !wrong.is_empty();
    let fires = preview.as_ref().map(|p| fires(p.fires.clone())).unwrap_or_default();
    let page =
        FormPage { frame, fields, title, wrong, preview, fires, zones: zone::names().collect(), kinds };
    frame::form(&page, refused)
}

/// Which schedule is changed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    name: String,
}

/// The form: empty, or as a schedule is.
pub async fn show(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    if asked.name.is_empty() {
        let fields = Fields { zone: "UTC".into(), what: "http".into(), ..Fields::default() };
        return draw(&web, &caller, &headers, fields, vec![], None).await;
    }
    // A rule holds its payload: who changes one sees it.
    caller.may(Right::Payloads)?;
    let (_, spec) = caller.client().schedule(&asked.name).await?;
    let preview = preview_of(&spec, web.now(), 5);
    draw(&web, &caller, &headers, of_spec(&spec), vec![], Some(preview)).await
}

fn of_spec(spec: &ScheduleSpec) -> Fields {
    let payload = &spec.job.payload;
    let url = payload.get("url").and_then(Value::as_str);
    let plain = payload.as_object().is_some_and(|o| o.len() == 1);
    let simple = url.filter(|_| spec.job.kind == "http" && plain);
    Fields {
        was: spec.name.clone(),
        name: spec.name.clone(),
        when: spec.trigger.to_string(),
        zone: spec.zone.name().to_owned(),
        what: if simple.is_some() { "http".into() } else { "kind".into() },
        url: simple.unwrap_or_default().to_owned(),
        kind: spec.job.kind.clone(),
        queue: spec.job.queue.clone().unwrap_or_default(),
        payload: Json::of(payload).map(|j| pretty(&j)).unwrap_or_default(),
        act: String::new(),
    }
}

/// The rule the fields make: of a schedule that is changed everything the form does not show stays.
fn to_spec(fields: &Fields, before: Option<ScheduleSpec>) -> Result<ScheduleSpec, Vec<Wrong>> {
    let mut wrong = vec![];
    let mut say = |field: &str, text: String| wrong.push(Wrong { field: field.into(), text });
    let name = fields.name.trim();
    if let Err(e) = check_name(name) {
        say("name", format!("The name {e}"));
    }
    let trigger = Trigger::parse(fields.when.trim()).map_err(|e| {
        let hint = "Type cron (30 2 * * *) or words (daily at 02:30, every 5m, weekly on mon,fri at 9:00).";
        say("when", format!("{e}. {hint}"));
    });
    let zone = Zone::get(fields.zone.trim()).map_err(|e| say("zone", e.to_string()));
    let (kind, payload) = match fields.what.as_str() {
        "http" => {
            let url = fields.url.trim();
            if !(url.starts_with("http://") || url.starts_with("https://")) {
                say(
                    "url",
                    "A web address begins with https:// or http://; type https://example.com/hook".into(),
                );
            }
            ("http", Ok(json!({ "url": url })))
        }
        _ => {
            let text = if fields.payload.trim().is_empty() { "{}" } else { fields.payload.trim() };
            let parsed = serde_json::from_str(text).map_err(|e| {
                say("payload", format!("This is not JSON: {e}. Type {{\"key\": \"value\"}}"));
            });
            if let Err(e) = check_name(fields.kind.trim()) {
                say("kind", format!("The kind {e}"));
            }
            (fields.kind.trim(), parsed)
        }
    };
    let (Ok(trigger), Ok(zone), Ok(payload), true) = (trigger, zone, payload, wrong.is_empty()) else {
        return Err(wrong);
    };
    let mut spec = before.unwrap_or_else(|| ScheduleSpec::new(name, trigger.clone(), kind));
    spec.name = name.to_owned();
    (spec.trigger, spec.zone) = (trigger, zone);
    (spec.job.kind, spec.job.payload) = (kind.to_owned(), payload);
    spec.job.queue = Some(fields.queue.trim().to_owned()).filter(|q| !q.is_empty());
    spec.check().map_err(|(field, text)| vec![Wrong { field: field_of(field), text }])?;
    Ok(spec)
}

/// The form's field for a rule's.
fn field_of(field: &str) -> String {
    match field {
        "trigger" => "when",
        f if f.starts_with("job.payload") || f == "payload" || f == "url" => "payload",
        "job.kind" => "kind",
        "job.queue" => "queue",
        other => other,
    }
    .to_owned()
}

/// Previews or saves.
pub async fn send(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Form(mut fields): Form<Fields>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    let mut before = None;
    if !fields.was.is_empty() {
        caller.may(Right::Payloads)?;
        fields.name = fields.was.clone();
        before = Some(caller.client().schedule(&fields.was).await?.1);
    }
    let spec = match to_spec(&fields, before) {
        Ok(spec) => spec,
        Err(wrong) => return draw(&web, &caller, &headers, fields, wrong, None).await,
    };
    let preview = preview_of(&spec, web.now(), 5);
    if fields.act != "save" {
        return draw(&web, &caller, &headers, fields, vec![], Some(preview)).await;
    }
    if fields.was.is_empty()
        && caller.client().store().schedule(caller.project_id(), &spec.name).await?.is_some()
    {
        let text =
            format!("There is a schedule {:?} already; choose another name, or change that one.", spec.name);
        return draw(
            &web,
            &caller,
            &headers,
            fields,
            vec![Wrong { field: "name".into(), text }],
            Some(preview),
        )
        .await;
    }
    match caller.client().put_schedule(&spec, "api").await.map_err(Problem::from) {
        Ok(_) => {
            let to = format!("/p/{}/schedules/{}", segment(&caller.project), segment(&spec.name));
            Ok(frame::redirect(&web, &to))
        }
        Err(p) if p.status < 500 => {
            let mut field = field_of(p.field.as_deref().unwrap_or("rule"));
            if field == "payload" && fields.what == "http" {
                field = "url".into();
            }
            draw(&web, &caller, &headers, fields, vec![Wrong { field, text: p.detail }], Some(preview)).await
        }
        Err(p) => Err(p),
    }
}
