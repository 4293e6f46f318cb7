//! Batches: jobs that belong together, with counts and an outcome of their own.

use crate::ids::{BatchId, JobId, ProjectId};
use crate::job::NewJob;
use crate::words::coded;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

coded! {
    /// Where a batch stands.
    BatchState {
        /// Jobs are waiting or running, or more may be added.
        Open = 0 "open",
        /// Every job succeeded (or had nothing to do).
        Complete = 1 "complete",
        /// Some succeeded, some did not.
        Partial = 2 "partial",
        /// None succeeded.
        Failed = 3 "failed",
    }
}

/// A batch to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBatch {
    /// For people.
    pub name: String,
    /// Enqueued in the transaction in which the batch ends, whatever its outcome. Its payload is
    /// given as is; the follow-up finds the counts through its own `batch` field.
    pub follow_up: Option<NewJob>,
    /// The job that opened it. It has at most one unsealed batch of a name.
    pub parent: Option<JobId>,
    /// Whether all jobs are in it; an unsealed batch stays open when its jobs are done, unless its
    /// parent fails (see [`crate::store::Store::open_batch`]).
    pub sealed: bool,
}

/// Counts of a batch's jobs by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchCounts {
    /// Jobs in it.
    pub total: u64,
    /// Completed: succeeded or skipped.
    pub succeeded: u64,
    /// Completed with failures inside.
    pub partial: u64,
    /// Failed.
    pub failed: u64,
    /// Cancelled or expired.
    pub cancelled: u64,
}

impl BatchCounts {
    /// Jobs that are not final.
    pub fn pending(&self) -> u64 {
        self.total.saturating_sub(self.succeeded + self.partial + self.failed + self.cancelled)
    }

    /// Where a batch with these counts stands. An empty sealed batch is complete.
    pub fn state(&self, sealed: bool) -> BatchState {
        if !sealed || self.pending() > 0 {
            BatchState::Open
        } else if self.succeeded == self.total {
            BatchState::Complete
        } else if self.succeeded + self.partial > 0 {
            BatchState::Partial
        } else {
            BatchState::Failed
        }
    }
}

impl BatchCounts {
    /// Where a batch with these counts stands that gets no more jobs though not all were added:
    /// never complete.
    pub fn state_given_up(&self) -> BatchState {
        match self.state(true) {
            BatchState::Complete if self.total > 0 => BatchState::Partial,
            BatchState::Complete => BatchState::Failed,
            state => state,
        }
    }
}

/// A batch as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BatchRecord {
    /// Its number.
    pub id: BatchId,
    /// Its tenant.
    pub project: ProjectId,
    /// For people.
    pub name: String,
    /// Where it stands.
    pub state: BatchState,
    /// Whether all jobs are in it.
    pub sealed: bool,
    /// Its counts.
    pub counts: BatchCounts,
    /// The job that opened it.
    pub parent: Option<JobId>,
    /// The follow-up, once enqueued.
    pub follow_up: Option<JobId>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_follows_the_counts() {
        let c = |succeeded, partial, failed, cancelled, total| BatchCounts {
            total,
            succeeded,
            partial,
            failed,
            cancelled,
        };
        assert_eq!(c(3, 0, 0, 0, 3).state(true), BatchState::Complete);
        assert_eq!(c(3, 0, 0, 0, 3).state(false), BatchState::Open);
        assert_eq!(c(2, 0, 0, 0, 3).state(true), BatchState::Open);
        assert_eq!(c(2, 0, 1, 0, 3).state(true), BatchState::Partial);
        assert_eq!(c(0, 1, 2, 0, 3).state(true), BatchState::Partial);
        assert_eq!(c(0, 0, 2, 1, 3).state(true), BatchState::Failed);
        assert_eq!(c(0, 0, 0, 0, 0).state(true), BatchState::Complete);
        assert_eq!(c(0, 0, 0, 0, 0).state_given_up(), BatchState::Failed);
        assert_eq!(c(3, 0, 0, 0, 3).state_given_up(), BatchState::Partial);
        assert_eq!(c(1, 0, 2, 0, 3).state_given_up(), BatchState::Partial);
        assert_eq!(c(0, 0, 2, 1, 3).state_given_up(), BatchState::Failed);
        assert_eq!(c(2, 0, 0, 0, 3).state_given_up(), BatchState::Open);
    }
}
