//! Kind `bulk`: retries or cancels everything that matches, as a job like any other. So it has progress,
//! a history and a log, goes on after a restart, and is aborted by cancelling it.
//!
//! ```json
//! {"action": "retry", "filter": {"states": ["failed"], "queue": "mail"}, "limit": 5000, "reason": "…"}
//! ```
//!
//! It goes by number through the jobs that were enqueued before it, [`CHUNK`] at a time, and remembers
//! where it is as a durable step: an attempt that dies repeats at most one chunk. What a chunk changes
//! is one transaction of the store, signed `job/<number>`. Its output counts what was done, and what
//! matched and needed nothing.

use super::Attempt as _;
use crate::context::Context;
use crate::job::JobError;
use crate::registry::Handler;
use async_trait::async_trait;
use jiff::Timestamp;
use mainspring_core::ids::{BatchId, JobId};
use mainspring_core::job::{JobState, LogLevel, check_name};
use mainspring_core::store::{Bulk, JobFilter};
use mainspring_core::{Json, limits};
use serde::{Deserialize, Serialize};

/// The kind's name.
pub const KIND: &str = "bulk";
/// The queue it goes to, so that a full or paused one does not hold it up.
pub const QUEUE: &str = "bulk";
/// Jobs of one transaction.
pub const CHUNK: u32 = 500;
/// Jobs one bulk action may change.
pub const MOST: u64 = 200_000;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Run them again.
    Retry,
    /// End them.
    Cancel,
}

/// Which jobs: all given conditions hold together, and at least one must be given or `all` be true.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Which {
    /// In one of these states.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<JobState>,
    /// Of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// In this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Of the schedule of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Of this batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<i64>,
    /// With this concurrency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whose last error is of this class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Enqueued at or after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_from: Option<Timestamp>,
    /// Enqueued before this; in any case before the bulk action itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_until: Option<Timestamp>,
    /// Every job of the project is meant.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// The payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What is to be done.
    pub action: Action,
    /// To which jobs.
    #[serde(default)]
    pub filter: Which,
    /// To at most so many; [`MOST`] if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Why; for a cancellation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How far it is: remembered after every chunk, and its output in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Jobs that were changed, or marked when they run.
    pub done: u64,
    /// Jobs that matched and were passed over: they stand already where they were to be brought.
    pub failed: u64,
    /// Jobs that matched, as counted at the start.
    pub total: u64,
    /// The last job looked at.
    after: Option<JobId>,
    /// Nothing is left.
    through: bool,
}

impl Order {
    /// What is wrong with it, as (field, text).
    pub fn check(&self) -> Result<(), (String, String)> {
        let err = |field: &str, text: String| Err((field.to_owned(), text));
        if self.limit.is_some_and(|n| n == 0 || n > MOST) {
            return err("limit", format!("must be 1 to {MOST}"));
        }
        for (field, name) in
            [("kind", &self.filter.kind), ("queue", &self.filter.queue), ("schedule", &self.filter.schedule)]
        {
            if let Some(Err(text)) = name.as_deref().map(check_name) {
                return err(&format!("filter.{field}"), text);
            }
        }
        if self.filter == Which::default() {
            let text =
                "no condition is given, so every job of the project is meant; write \"all\": true if so";
            return err("filter.all", text.into());
        }
        Ok(())
    }
}

/// The handler.
pub struct BulkActions;

#[async_trait]
impl Handler for BulkActions {
    fn check(&self, payload: &Json) -> Result<(), (String, String)> {
        let order: Order = super::read(payload)?;
        order.check()
    }

    async fn run(&self, cx: Context) -> Result<Option<Json>, JobError> {
        let order: Order = super::read(cx.payload()).map_err(super::bad_payload)?;
        order.check().map_err(super::bad_payload)?;
        let filter = filter(&cx, &order).await?;
        let most = order.limit.unwrap_or(MOST);
        let total: u64 = cx.step("total", count(&cx, &filter, most)).await?;
        let mut counts = Counts { total, ..Counts::default() };
        for nth in 0..limits::STEPS - 1 {
            cx.progress(counts.done + counts.failed, Some(total), None);
            if counts.through || counts.done >= most {
                break;
            }
            if cx.stop_reason().is_some() {
                return Err(JobError::retry("stopped between two chunks"));
            }
            counts = cx.step(&format!("chunk {nth}"), chunk(&cx, &order, &filter, counts, most)).await?;
        }
        counts.failed = counts.failed.max(total.saturating_sub(counts.done));
        cx.progress(total.max(counts.done), Some(total.max(counts.done)), None);
        cx.line(LogLevel::Info, &format!("{} changed, {} passed over", counts.done, counts.failed));
        let output = serde_json::json!({
            "done": counts.done, "failed": counts.failed, "total": total.max(counts.done),
        });
        Ok(Some(Json::trusted(output.to_string())))
    }
}

/// The store's filter: what was enqueued after the order is not meant, the order itself included.
async fn filter(cx: &Context, order: &Order) -> Result<JobFilter, JobError> {
    let (which, client) = (&order.filter, cx.client());
    let schedule = match &which.schedule {
        Some(name) => {
            let found = client.store().schedule(cx.project(), name).await?;
            let gone = || JobError::fatal(format!("there is no schedule {name}")).class("not_found");
            Some(found.ok_or_else(gone)?.id)
        }
        None => None,
    };
    let ours = cx.attempt_inner().claimed.created_at;
    Ok(JobFilter {
        ids: vec![],
        states: which.states.clone(),
        kind: which.kind.clone(),
        queue: which.queue.clone(),
        schedule,
        batch: which.batch.map(BatchId),
        key: which.key.clone(),
        error_class: which.error.clone(),
        created_from: which.created_from,
        created_until: Some(which.created_until.map_or(ours, |until| until.min(ours))),
    })
}

async fn count(cx: &Context, filter: &JobFilter, most: u64) -> Result<u64, JobError> {
    let (client, mut before, mut total) = (cx.client(), None, 0);
    loop {
        let page = client.store().jobs(cx.project(), filter, before, limits::PAGE as u32).await?;
        total += page.rows.len() as u64;
        before = page.next;
        if before.is_none() || total >= most || cx.stop_reason().is_some() {
            return Ok(total.min(most));
        }
    }
}

async fn chunk(
    cx: &Context,
    order: &Order,
    filter: &JobFilter,
    mut counts: Counts,
    most: u64,
) -> Result<Counts, JobError> {
    let client = cx.client();
    let limit = u64::from(CHUNK).min(most - counts.done) as u32;
    let bulk = Bulk { filter, after: counts.after, limit };
    let did = match order.action {
        Action::Retry => client.store().retry_jobs(cx.now(), cx.project(), bulk, client.actor()).await?,
        Action::Cancel => {
            let reason = order.reason.as_deref().unwrap_or("cancelled with all that match");
            let reason = limits::cut(&reason.replace('\0', "\u{fffd}"), limits::NOTE);
            client.store().cancel_jobs(cx.now(), cx.project(), bulk, &reason, client.actor()).await?
        }
    };
    counts.done += did.jobs.len() as u64;
    counts.after = did.next;
    counts.through = did.next.is_none();
    Ok(counts)
}
