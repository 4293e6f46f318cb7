//! Queues: how much waits and runs, what is set on them, pause and resume.

pub mod api;
pub mod pages;

use crate::access::Caller;
use crate::problem::{Problem, Result};
use jiff::Timestamp;
use mainspring_core::job::JobState;
use mainspring_core::queue::{Pause, QueueSettings};
use mainspring_core::reader::QueueRecord;
use serde::Serialize;

/// A queue as both faces show it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct QueueView {
    /// Its name.
    pub name: String,
    /// Jobs that could start now.
    pub available: u64,
    /// Jobs that are due later.
    pub scheduled: u64,
    /// Jobs under way.
    pub running: u64,
    /// Jobs that failed for good and are kept.
    pub failed: u64,
    /// Since when the oldest waiting job could have started.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub oldest_waiting: Option<Timestamp>,
    /// Who paused it, until when and why.
    #[schema(value_type = Option<Object>)]
    pub paused: Option<Pause>,
    /// What else is set on it.
    #[schema(value_type = Object)]
    pub settings: QueueSettings,
}

impl QueueView {
    /// The view of a record at `now`.
    pub fn of(record: QueueRecord, now: Timestamp) -> QueueView {
        let count = |state| record.counts.get(&state).copied().unwrap_or(0);
        QueueView {
            available: count(JobState::Available),
            scheduled: count(JobState::Scheduled),
            running: count(JobState::Running),
            failed: count(JobState::Failed),
            oldest_waiting: record.oldest_waiting,
            paused: record.settings.paused.clone().filter(|p| p.holds(now)),
            settings: record.settings,
            name: record.name,
        }
    }
}

/// All queues of the caller's project.
pub async fn list(caller: &Caller) -> Result<Vec<QueueView>> {
    let client = caller.client();
    let records = client.store().queues(client.project()).await?;
    Ok(records.into_iter().map(|record| QueueView::of(record, client.now())).collect())
}

/// One queue.
pub async fn one(caller: &Caller, name: &str) -> Result<QueueView> {
    list(caller).await?.into_iter().find(|q| q.name == name).ok_or_else(|| Problem::not_found("queue", name))
}
