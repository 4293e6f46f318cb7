//! The list: how each does, when it fires next, the commonest deeds.

use super::super::ScheduleView;
use crate::access::{Caller, Right};
use crate::frame::{self, Frame, segment};
use crate::overview::LATE;
use crate::problem::Result;
use crate::state::Web;
use crate::views::chart::{self, Tick};
use crate::views::mark::{self, Mark, mark};
use crate::views::number;
use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use http::HeaderMap;
use jiff::Timestamp;
use mainspring::stats::HealthState;
use mainspring_core::zone::Zone;
use mainspring_core::{limits, time};
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    show: String,
    name: String,
    after: String,
}

struct Row {
    name: String,
    path: String,
    mark: Mark,
    words: String,
    zone: String,
    kind: String,
    queue: String,
    strip: Vec<Tick>,
    strip_words: String,
    last: Option<(Mark, Timestamp)>,
    next: Option<Timestamp>,
    wall: String,
    note: Option<String>,
    paused: bool,
}

struct Tab {
    name: &'static str,
    path: String,
    current: bool,
    count: String,
}

#[derive(Template)]
#[template(path = "schedules.html")]
struct ListPage {
    frame: Frame,
    asked: Asked,
    tabs: Vec<Tab>,
    rows: Vec<Row>,
    any: bool,
    more: Option<String>,
}

/// How a schedule does, at one glance.
pub fn state(s: &ScheduleView, now: Timestamp) -> Mark {
    if s.paused.is_some() {
        return mark("is-warn", "pause", "Paused");
    }
    match s.next_fire {
        None => mark("is-idle", "skip", "Does not fire"),
        Some(at) if time::since(at, now) > LATE => mark("is-warn", "late", "Late"),
        Some(_) => match s.health.state {
            HealthState::Unknown => mark("is-idle", "wait", "Has not run"),
            HealthState::Healthy => mark("is-ok", "ok", "Healthy"),
            HealthState::Degraded => mark("is-warn", "warn", "Degraded"),
            HealthState::Unhealthy => mark("is-bad", "bad", "Failing"),
        },
    }
}

/// An instant as the schedule's zone reads it.
pub fn wall(zone: &str, at: Timestamp) -> String {
    match Zone::get(zone) {
        Ok(zone) => zone.wall(at).strftime("%a %d %b %H:%M:%S").to_string(),
        Err(_) => at.strftime("%a %d %b %H:%M:%S UTC").to_string(),
    }
}

fn row(s: &ScheduleView, now: Timestamp) -> Row {
    let outcomes: Vec<_> = s.recent.iter().map(|r| r.outcome).collect();
    let (strip, strip_words) = chart::strip(&outcomes);
    Row {
        path: segment(&s.name),
        mark: state(s, now),
        words: s.words.clone(),
        zone: s.zone.clone(),
        kind: s.kind.clone(),
        queue: s.queue.clone().unwrap_or_default(),
        strip,
        strip_words,
        last: s.recent.last().map(|r| (mark::outcome(r.outcome), r.at)),
        next: s.next_fire.filter(|_| s.paused.is_none()),
        wall: s.next_fire.map(|at| wall(&s.zone, at)).unwrap_or_default(),
        note: s.paused.as_ref().map(|p| match &p.note {
            Some(note) => format!("by {}: “{note}”", p.by),
            None => format!("by {}", p.by),
        }),
        paused: s.paused.is_some(),
        name: s.name.clone(),
    }
}

/// The list.
pub async fn show(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let frame = Frame::of(&web, &headers, "Schedules", "schedules", &caller)?;
    let after = Some(asked.after.as_str()).filter(|a| !a.is_empty());
    let page = super::super::list(&caller, after, limits::PAGE as u32).await?;
    let all: Vec<Row> = page.items.iter().map(|s| row(s, web.now())).collect();
    let of = |show: &str| -> fn(&Row) -> bool {
        match show {
            "look" => |r| matches!(r.mark.word, "Failing" | "Degraded" | "Late"),
            "paused" => |r| r.paused,
            "quiet" => |r| r.mark.word == "Does not fire",
            _ => |_| true,
        }
    };
    let tab = |name, show: &str| Tab {
        name,
        path: if show.is_empty() { "schedules".into() } else { format!("schedules?show={show}") },
        current: asked.show == show,
        count: number(&(all.iter().filter(|r| of(show)(r)).count() as u64)),
    };
    let tabs = vec![
        tab("All", ""),
        tab("Need a look", "look"),
        tab("Paused", "paused"),
        tab("Do not fire", "quiet"),
    ];
    let any = !all.is_empty();
    let (pick, part) = (of(&asked.show), asked.name.to_lowercase());
    let rows = all.into_iter().filter(|r| pick(r) && r.name.to_lowercase().contains(&part)).collect();
    let more = page.next.map(|name| format!("schedules?after={}", segment(&name)));
    frame::page(&ListPage { frame, tabs, rows, any, more, asked })
}
