//! Events: what happened and is worth telling, in order, and live.

pub mod api;

use crate::access::Caller;
use crate::problem::Result;
use jiff::Timestamp;
use mainspring_core::event::Event;
use mainspring_core::{Json, limits};
use serde::Serialize;

/// An event as both faces show it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct EventView {
    /// Rises; a reader that tails never misses one behind its cursor.
    pub id: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What happened: `job.failed`, `schedule.skipped`, `queue.paused`, …
    pub name: String,
    /// What it happened to: `job/17`, `schedule/nightly`, `queue/mail`.
    pub subject: String,
    /// Who did it, when a person or a program asked for it.
    pub actor: Option<String>,
    /// More.
    #[schema(value_type = Object)]
    pub data: Json,
}

impl From<Event> for EventView {
    fn from(e: Event) -> EventView {
        let new = e.event;
        EventView {
            id: e.id,
            at: e.at,
            name: new.name,
            subject: new.subject,
            actor: new.actor,
            data: new.data,
        }
    }
}

/// Events with id > `after`, the oldest first.
pub async fn list(caller: &Caller, after: i64, limit: u32) -> Result<Vec<EventView>> {
    let events = caller.client().store().events(caller.project_id(), after, limit).await?;
    Ok(events.into_iter().map(EventView::from).collect())
}

/// The newest events for which `pick` says yes, the newest first, with id < `before`; and where to go
/// on, when there may be more. Looks at [`limits::SCAN`] numbers at most.
pub async fn newest(
    caller: &Caller,
    before: Option<i64>,
    limit: usize,
    pick: impl Fn(&EventView) -> bool,
) -> Result<(Vec<EventView>, Option<i64>)> {
    let last = caller.client().store().last_event(caller.project_id()).await?;
    let mut end = before.unwrap_or(i64::MAX).min(last.saturating_add(1));
    let (mut found, mut seen) = (Vec::new(), 0);
    while end > 1 && found.len() < limit && seen < limits::SCAN {
        // Numbers are shared by all projects: a window of them holds at most so many of this one.
        let begin = (end - limits::PAGE as i64).max(1);
        let window = list(caller, begin - 1, limits::PAGE as u32).await?;
        let room = limit - found.len();
        let own = window.into_iter().rev().filter(|e| e.id < end && pick(e));
        found.extend(own.take(room));
        end = if found.len() >= limit { found.last().map_or(begin, |e: &EventView| e.id) } else { begin };
        seen += limits::PAGE;
    }
    Ok((found, (end > 1).then_some(end)))
}
