//! What is worth telling, by itself, and values kept by name.

use super::{Data, Tx};
use mainspring_core::event::{Event, NewEvent};
use mainspring_core::ids::ProjectId;
use mainspring_core::limits;

impl Tx<'_> {
    pub(super) fn record_event(&mut self, project: ProjectId, event: NewEvent) {
        self.event(project, event);
    }

    pub(super) fn set_meta(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.db.meta.insert(name.to_owned(), value.to_owned()),
            None => self.db.meta.remove(name),
        };
    }
}

impl Data {
    pub(super) fn events_after(&self, project: ProjectId, after: i64, limit: u32) -> Vec<Event> {
        let later = self.events.range(after.saturating_add(1)..).map(|(_, event)| event);
        let limit = (limit as usize).min(limits::PAGE);
        later.filter(|event| event.project == project).take(limit).cloned().collect()
    }

    pub(super) fn last_event_of(&self, project: ProjectId) -> i64 {
        self.events.values().rev().find(|event| event.project == project).map_or(0, |event| event.id)
    }
}
