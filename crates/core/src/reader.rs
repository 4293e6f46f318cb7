//! What a store can tell: read models for the CLI, the API and the dashboard.
//!
//! Reads go beside the writer and see committed state. Listings are paged by key (never by offset)
//! and never count rows: figures come from [`crate::tally`]'s tables.

use crate::batch::BatchRecord;
use crate::error::Result;
use crate::event::Event;
use crate::ids::{BatchId, JobId, ProjectId, ScheduleId};
use crate::job::{Attempt, AttemptOutcome, JobRecord, JobState, LogLine, Progress};
use crate::json::Json;
use crate::node::NodeRecord;
use crate::queue::QueueSettings;
use crate::schedule_record::{LedgerRow, ScheduleRecord};
use crate::store::JobFilter;
use crate::tally::{Recent, RollupSum, Scope};
use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// One page of a listing, and where the next begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page<T, K> {
    /// The rows.
    pub rows: Vec<T>,
    /// Pass this to get the next page; None on the last. May be present with few or no rows when a
    /// filter let little through within [`crate::limits::SCAN`] rows.
    pub next: Option<K>,
}

/// Everything about one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobDetail {
    /// The job.
    pub job: JobRecord,
    /// Its attempts, from the first; the open one last.
    pub attempts: Vec<Attempt>,
    /// Its remembered steps in the order in which they were done: name, result, when.
    pub steps: Vec<(String, Json, Timestamp)>,
    /// How far it is.
    pub progress: Option<Progress>,
}

/// A queue as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueRecord {
    /// Its tenant.
    pub project: ProjectId,
    /// Its name.
    pub name: String,
    /// What is set on it.
    pub settings: QueueSettings,
    /// Jobs by state.
    pub counts: BTreeMap<JobState, u64>,
    /// When the job that has waited longest became due.
    pub oldest_waiting: Option<Timestamp>,
    /// With a rate: when it lets the next job start, in the past when it would let one start now.
    pub next_start: Option<Timestamp>,
}

/// What roll-ups are summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// Kind's name.
    Kind,
    /// Queue's name.
    Queue,
    /// Schedule's number, as text; jobs without a schedule are left out.
    Schedule,
    /// All together; the name is empty.
    Nothing,
}

/// One sum of roll-ups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RollupRow {
    /// Kind, queue or schedule number, by [`GroupBy`].
    pub name: String,
    /// Start of the minute or hour in minutes since the epoch; 0 when not asked by time.
    pub minute: i64,
    /// How the attempts ended.
    pub outcome: AttemptOutcome,
    /// [`crate::tally::bucket`] of their durations.
    pub bucket: i16,
    /// Count and sum.
    #[serde(flatten)]
    pub sum: RollupSum,
}

/// A fact `doctor` reports: a name, a value, and what is wrong with it if anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// `schema`, `size`, `oldest transaction`, …
    pub name: String,
    /// For people.
    pub value: String,
    /// What is wrong and what to do; None when all is well.
    pub problem: Option<String>,
}

/// The read side of a store. All listings: newest first unless said otherwise, `limit` capped by
/// [`crate::limits::PAGE`].
#[async_trait]
pub trait Reader: Send + Sync {
    /// Projects by name: (id, name).
    async fn projects(&self) -> Result<Vec<(ProjectId, String)>>;

    /// Jobs of the filter with id < `before`.
    async fn jobs(
        &self,
        project: ProjectId,
        filter: &JobFilter,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Page<JobRecord, JobId>>;

    /// One job with all that belongs to it.
    async fn job(&self, project: ProjectId, id: JobId) -> Result<Option<JobDetail>>;

    /// Remembered steps of a running job, for the node that runs it (no project needed: it holds
    /// the lease).
    async fn steps(&self, job: JobId) -> Result<Vec<(String, Json)>>;

    /// Log lines of a job, oldest first, with (attempt, seq) > `after`.
    async fn logs(
        &self,
        project: ProjectId,
        job: JobId,
        after: Option<(u32, u32)>,
        limit: u32,
    ) -> Result<Vec<LogLine>>;

    /// Schedules by name, oldest name first, name > `after`.
    async fn schedules(
        &self,
        project: ProjectId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<ScheduleRecord, String>>;

    /// Schedules of all projects by id, id > `after`: for the check after a zone data change.
    async fn all_schedules(&self, after: Option<ScheduleId>, limit: u32) -> Result<Vec<ScheduleRecord>>;

    /// One schedule by name.
    async fn schedule(&self, project: ProjectId, name: &str) -> Result<Option<ScheduleRecord>>;

    /// Ledger rows of a schedule whose `last` is >= `from` and `first` < `until`, oldest first.
    async fn ledger(
        &self,
        project: ProjectId,
        schedule: ScheduleId,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<LedgerRow>>;

    /// Jobs of a schedule with a nominal fire in `[from, until)`, oldest fire first: (nominal fire,
    /// job, state, origin is backfill).
    async fn fires(
        &self,
        project: ProjectId,
        schedule: ScheduleId,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Timestamp, JobId, JobState, bool)>>;

    /// Queues by name: those with settings and those that jobs have used. The settings of all
    /// queues together come under the name `*` when any are set.
    async fn queues(&self, project: ProjectId) -> Result<Vec<QueueRecord>>;

    /// Nodes, oldest first.
    async fn nodes(&self) -> Result<Vec<NodeRecord>>;

    /// Batches, id < `before`.
    async fn batches(
        &self,
        project: ProjectId,
        before: Option<BatchId>,
        limit: u32,
    ) -> Result<Page<BatchRecord, BatchId>>;

    /// One batch.
    async fn batch(&self, project: ProjectId, id: BatchId) -> Result<Option<BatchRecord>>;

    /// Jobs by (queue, kind, state), from the counters.
    async fn counts(&self, project: ProjectId) -> Result<Vec<(String, String, JobState, u64)>>;

    /// Roll-ups with `from <= minute < until`, summed; `by_time` keeps minutes (or hours, where only
    /// those are left) apart. Ordered by name, minute, outcome, bucket.
    async fn rollups(
        &self,
        project: ProjectId,
        from: i64,
        until: i64,
        group: GroupBy,
        by_time: bool,
    ) -> Result<Vec<RollupRow>>;

    /// Recent outcomes of every scope of a project, ordered by scope.
    async fn recents(&self, project: ProjectId) -> Result<Vec<(Scope, Recent)>>;

    /// Running jobs, longest first.
    async fn running(&self, project: ProjectId, limit: u32) -> Result<Vec<JobRecord>>;

    /// Events with id > `after`, oldest first; never skips one that commits later with a smaller id.
    async fn events(&self, project: ProjectId, after: i64, limit: u32) -> Result<Vec<Event>>;

    /// The newest event's id; 0 when there is none.
    async fn last_event(&self, project: ProjectId) -> Result<i64>;

    /// A value kept by name.
    async fn meta(&self, name: &str) -> Result<Option<String>>;

    /// The store's own facts: schema version, size, settings, oldest transaction, …
    async fn facts(&self, now: Timestamp) -> Result<Vec<Fact>>;

    /// Recounts from the rows what counters tell and returns every difference, in words. For
    /// `doctor`, tests and benchmarks; reads everything, may take long.
    async fn audit(&self) -> Result<Vec<String>>;
}
