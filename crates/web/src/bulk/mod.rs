//! Bulk actions: retry or cancel everything that matches, in the background. Each is a job of the kind
//! [`bulk::KIND`], so that what is shown here is what is known of that job.

pub mod api;
pub mod pages;

use crate::access::Caller;
use crate::listing::Page;
use crate::problem::{Problem, Result};
use jiff::Timestamp;
use mainspring::kinds::bulk::{self, Action, Order, Which};
use mainspring_core::job::{JobRecord, JobState, Progress};
use mainspring_core::store::JobFilter;
use mainspring_core::{JobId, Json};
use serde::{Deserialize, Serialize};

/// A bulk action as both faces show it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct BulkAction {
    /// Its number: that of the job which does it.
    pub id: i64,
    /// `retry` or `cancel`.
    #[schema(value_type = String)]
    pub action: Action,
    /// Which jobs are meant.
    #[schema(value_type = Object)]
    pub filter: Which,
    /// To at most so many.
    pub limit: Option<u64>,
    /// Where it stands, as every job: `available`, `running`, `completed`, `cancelled` when it was
    /// aborted, `failed`.
    #[schema(value_type = String)]
    pub state: JobState,
    /// Jobs that were changed, or marked when they run.
    pub done: u64,
    /// Jobs that matched and were passed over, known at the end.
    pub failed: u64,
    /// Jobs that matched; null until they are counted.
    pub total: Option<u64>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
}

/// What it says in the end.
#[derive(Default, Deserialize)]
struct Output {
    done: u64,
    failed: u64,
    total: u64,
}

impl BulkAction {
    /// None when the job's payload is no order: it was enqueued by hand.
    fn of(job: &JobRecord, progress: Option<Progress>) -> Option<BulkAction> {
        let order: Order = job.payload.to().ok()?;
        let output: Option<Output> = job.output.as_ref().and_then(|o| o.to().ok());
        let (done, failed, total) = match (output, progress) {
            (Some(o), _) => (o.done, o.failed, Some(o.total)),
            (None, Some(p)) => (p.done, 0, p.total),
            (None, None) => (0, 0, None),
        };
        Some(BulkAction {
            id: job.id.0,
            action: order.action,
            filter: order.filter,
            limit: order.limit,
            state: job.state,
            done,
            failed,
            total,
            created_at: job.created_at,
            finished_at: job.finished_at,
        })
    }
}

/// Those of the project, the newest first. How far one is that still runs is told by [`one`].
pub async fn list(caller: &Caller, cursor: Option<JobId>, limit: u32) -> Result<Page<BulkAction>> {
    let filter = JobFilter { kind: Some(bulk::KIND.into()), ..JobFilter::default() };
    let page = caller.client().store().jobs(caller.project_id(), &filter, cursor, limit).await?;
    Ok(Page::new(page.rows.iter().filter_map(|job| BulkAction::of(job, None)).collect(), page.next))
}

/// One.
pub async fn one(caller: &Caller, id: JobId) -> Result<BulkAction> {
    let found = caller.client().store().job(caller.project_id(), id).await?;
    let found = found.filter(|detail| &*detail.job.kind == bulk::KIND);
    let action = found.and_then(|detail| BulkAction::of(&detail.job, detail.progress));
    action.ok_or_else(|| Problem::not_found("bulk action", id))
}

/// Asks for one: its number.
pub async fn start(caller: &Caller, order: &Order) -> Result<JobId> {
    order.check().map_err(|(field, text)| Problem::invalid(&field, text))?;
    if let Some(name) = &order.filter.schedule {
        let found = caller.client().store().schedule(caller.project_id(), name).await?;
        found.ok_or_else(|| Problem::not_found("schedule", name))?;
    }
    let payload = Json::of(order).map_err(|e| Problem::invalid("filter", e))?;
    let client = caller.client();
    let mut job = client.new_job_of(bulk::KIND, payload);
    job.queue = bulk::QUEUE.into();
    let made = client.enqueue_raw(job).await?.id;
    let data = serde_json::json!({ "action": order.action, "filter": order.filter });
    let event = caller.act("bulk.started", format!("job/{made}"), data);
    client.store().record(client.now(), client.project(), event).await?;
    Ok(made)
}
