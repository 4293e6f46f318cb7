//! The week and the day by the minute of all schedules, drawn.

use super::super::calendar::{self, Calendar, shade};
use crate::access::{Caller, Right};
use crate::frame::{self, Frame};
use crate::problem::{Problem, Result};
use crate::state::Web;
use crate::views::brief;
use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use http::HeaderMap;
use mainspring_core::zone::{self, Zone};
use serde::Deserialize;

/// Where the columns begin, how wide one is, where the hours begin, how high one is.
const LEFT: usize = 44;
const WIDE: usize = 130;
const TOP: usize = 28;
const HIGH: usize = 22;

/// What the address says.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// The schedule that is marked.
    name: String,
    zone: String,
}

/// A box with words.
struct Box {
    x: usize,
    y: usize,
    wide: usize,
    class: &'static str,
    ink: &'static str,
    text: String,
    title: String,
}

/// A minute of the day in which something fires.
struct Cell {
    x: usize,
    y: usize,
    fill: &'static str,
}

#[derive(Template)]
#[template(path = "calendar.html")]
struct Page {
    frame: Frame,
    asked: Asked,
    c: Calendar,
    zones: Vec<&'static str>,
    boxes: Vec<Box>,
    crowds: Vec<(usize, usize, usize)>,
    columns: Vec<(usize, String, bool)>,
    hours: Vec<(usize, String)>,
    now: usize,
    cells: Vec<Cell>,
    legend: Vec<(&'static str, String)>,
    week_words: String,
    busy: Vec<(String, u32)>,
    left: String,
}

const FILLS: [&str; 6] = ["f-h0", "f-h1", "f-h2", "f-h3", "f-h4", "f-h5"];

/// The calendar.
pub async fn show(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let frame = Frame::of(&web, &headers, "Calendar", "schedules", &caller)?;
    let wanted = if asked.zone.trim().is_empty() { "UTC" } else { asked.zone.trim() };
    let zone = Zone::get(wanted).map_err(|e| Problem::invalid("zone", e.to_string()))?;
    let own = Some(asked.name.as_str()).filter(|n| !n.is_empty());
    let c = calendar::of(&caller, &zone, own).await?;
    let y = |minute: usize| TOP + minute * HIGH / 60;
    let boxes = c.entries.iter().map(|e| {
        let wide = (WIDE - 6) / 3;
        let rest = c.entries.iter().filter(|o| o.day == e.day && o.minute.abs_diff(e.minute) < 75);
        let lanes = rest.map(|o| o.lane + 1).max().unwrap_or(1);
        let wide = if lanes == 1 {
            WIDE - 6
        } else if lanes == 2 {
            (WIDE - 6) / 2
        } else {
            wide
        };
        Box {
            x: LEFT + e.day * WIDE + 3 + e.lane * wide,
            y: y(e.minute),
            wide: wide - 2,
            class: if e.own { "ev ev--own" } else { "ev" },
            ink: if e.own { "on" } else { "in" },
            text: brief(&format!("{} {}", e.clock, e.name), wide / 8),
            title: format!("{} {}", e.clock, e.name),
        }
    });
    let most = c.heat.iter().flatten().copied().max().unwrap_or(0);
    let cells = c.heat.iter().enumerate().flat_map(|(hour, row)| {
        row.iter().enumerate().filter(|(_, n)| **n > 0).map(move |(minute, n)| Cell {
            x: minute * 10,
            y: hour * 10,
            fill: FILLS[shade(*n, most).min(5)],
        })
    });
    let mut busy: Vec<(String, u32)> = Vec::new();
    for (hour, row) in c.heat.iter().enumerate() {
        let minutes = row.iter().enumerate().filter(|(_, n)| **n > 1);
        busy.extend(minutes.map(|(minute, n)| (format!("{hour:02}:{minute:02}"), *n)));
    }
    busy.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    busy.truncate(20);
    let steps = (0..=most.min(5)).map(|n| {
        let upto = if most <= 5 { n } else { n * most / 5 };
        (FILLS[n as usize], if most <= 5 { n.to_string() } else { format!("up to {upto}") })
    });
    let page = Page {
        boxes: boxes.collect(),
        crowds: c.crowds.iter().map(|(d, m, n)| (LEFT + (d + 1) * WIDE - 4, y(*m) + 12, *n)).collect(),
        columns: c.days.iter().enumerate().map(|(n, d)| (LEFT + n * WIDE, d.text.clone(), n == 0)).collect(),
        hours: (0..=24).step_by(3).map(|h| (TOP + h * HIGH, format!("{h:02}"))).collect(),
        now: y(c.now),
        cells: cells.collect(),
        legend: steps.collect(),
        week_words: format!(
            "{} in the next seven days",
            crate::views::counted(c.entries.len() as u64, "entry", "entries")
        ),
        zones: zone::names().collect(),
        busy,
        left: crate::views::counted(c.left as u64, "schedule is", "schedules are"),
        c,
        asked,
        frame,
    };
    frame::page(&page)
}
