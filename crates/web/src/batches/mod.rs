//! Batches: jobs that belong together, with counts and an outcome of their own.

pub mod api;
pub mod pages;

use crate::access::Caller;
use crate::listing::Page;
use crate::problem::{Problem, Result};
use jiff::Timestamp;
use mainspring_core::batch::{BatchRecord, BatchState};
use mainspring_core::ids::BatchId;
use serde::Serialize;

/// A batch as both faces show it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct BatchView {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// `open`, `complete`, `partial`, `failed`.
    #[schema(value_type = String)]
    pub state: BatchState,
    /// Whether all jobs are in it.
    pub sealed: bool,
    /// Jobs in it.
    pub total: u64,
    /// Jobs that are not final.
    pub pending: u64,
    /// Jobs that succeeded or were skipped.
    pub succeeded: u64,
    /// Jobs that succeeded in part.
    pub partial: u64,
    /// Jobs that failed.
    pub failed: u64,
    /// Jobs that were cancelled or expired.
    pub cancelled: u64,
    /// The job that opened it.
    pub parent: Option<i64>,
    /// Its follow-up, once enqueued.
    pub follow_up: Option<i64>,
    /// When it was opened.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
}

impl From<BatchRecord> for BatchView {
    fn from(b: BatchRecord) -> BatchView {
        BatchView {
            id: b.id.0,
            name: b.name,
            state: b.state,
            sealed: b.sealed,
            total: b.counts.total,
            pending: b.counts.pending(),
            succeeded: b.counts.succeeded,
            partial: b.counts.partial,
            failed: b.counts.failed,
            cancelled: b.counts.cancelled,
            parent: b.parent.map(|id| id.0),
            follow_up: b.follow_up.map(|id| id.0),
            created_at: b.created_at,
            finished_at: b.finished_at,
        }
    }
}

/// Batches, the newest first.
pub async fn list(caller: &Caller, cursor: Option<BatchId>, limit: u32) -> Result<Page<BatchView>> {
    let page = caller.client().store().batches(caller.project_id(), cursor, limit).await?;
    Ok(Page::new(page.rows.into_iter().map(BatchView::from).collect(), page.next))
}

/// One batch.
pub async fn one(caller: &Caller, id: BatchId) -> Result<BatchView> {
    let found = caller.client().store().batch(caller.project_id(), id).await?;
    found.map(BatchView::from).ok_or_else(|| Problem::not_found("batch", id))
}
