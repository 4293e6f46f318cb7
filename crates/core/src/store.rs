//! What a store must do: every change of state the engine knows, one method = one transaction.
//!
//! The rules below are the meaning; `MemoryStore` in the testkit is the same text as a program, and
//! the conformance suite holds every store to it.
//!
//! **Time.** No method reads a clock: `now` is given. Instants are whole microseconds.
//!
//! **Durability.** What a method has acknowledged survives `kill -9` and power loss. An error with
//! [`StoreError::is_transient`] says that nothing is *known* to be written; the caller may repeat
//! the call, and repeating is harmless: enqueues are repeated under the same unique key or fire,
//! finishes are fenced, fires compare and swap.
//!
//! **Atomicity.** A change of state, its event, its counters, roll-ups and recent outcomes
//! ([`crate::tally`]), its batch's counts and its schedule's next fire commit together. Concurrent
//! calls may share one transaction (group commit), but each call is all or nothing.
//!
//! **The end of a transaction** does what several changes of it may ask for, in this order: batches
//! that are over end, by number; held jobs of keys of which a job ended (however) are released, in
//! claim order, until the first that may not run beside those that do; figures are added.
//!
//! **Scope.** Whatever names a project sees that project's rows only.
//!
//! **Sizes.** Lists handed in hold at most [`limits::BATCH`] entries; `limit` is capped by it. What
//! is too large or malformed is refused with [`StoreError::Invalid`] before anything is written.

use crate::batch::NewBatch;
use crate::decide::Transition;
use crate::error::Result;
use crate::event::NewEvent;
use crate::ids::{BatchId, JobId, NodeId, ProjectId, ScheduleId};
use crate::job::{Claimed, Enqueued, Facts, JobState, LogLine, NewJob, Progress};
use crate::json::Json;
use crate::node::{Beat, NodeInfo};
use crate::queue::{Pause, QueueSettings, Retention};
use crate::reader::Reader;
use crate::schedule_record::{DueSchedule, FireWrite, Fired, PutSchedule};
use crate::tables::Tables;
use async_trait::async_trait;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use crate::{StoreError, limits};

/// Something may be worth a look. Hints only shorten sleeps; polling is always the net (invariant 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hint {
    /// Jobs became available or were scheduled, or a limit was lifted.
    Jobs,
    /// A schedule was written, paused or resumed.
    Schedules,
    /// The end of a running attempt was asked for.
    Cancel,
}

/// Called by a store, from any thread, when it has a [`Hint`]. Must return at once.
pub type HintSink = Arc<dyn Fn(Hint) + Send + Sync>;

/// What a node asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Who asks. Must have joined.
    pub node: NodeId,
    /// At most this many.
    pub limit: u32,
    /// The kinds it knows. Jobs of other kinds stay where they are, untouched and not in the way.
    pub kinds: Vec<Arc<str>>,
    /// The queues it serves; empty means all.
    pub queues: Vec<Arc<str>>,
    /// Of this project alone; of all when None. A worker outside is bound to one.
    pub project: Option<ProjectId>,
}

/// What a claim gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimBatch {
    /// Claimed attempts, in the order in which they should start.
    pub jobs: Vec<Claimed>,
    /// Candidates were held, put off or expired in this call, so that another call at once may
    /// find more although fewer than `limit` came back.
    pub more: bool,
    /// A queue waits for its rate limit: it may give more at this instant.
    pub wake_at: Option<Timestamp>,
}

/// What became of a finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// Written.
    Applied,
    /// The attempt is no longer this caller's (finished already, taken after its lease, deleted):
    /// nothing was written.
    Stale,
}

/// What a promote did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promoted {
    /// Jobs that became available.
    pub promoted: u32,
    /// Jobs that had expired and were cancelled.
    pub expired: u32,
    /// When the next scheduled job is due; in the past when `limit` was reached.
    pub next_at: Option<Timestamp>,
}

/// A running attempt whose node is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its node.
    pub node: NodeId,
    /// What [`crate::decide::decide`] needs.
    pub facts: Facts,
}

/// Which jobs a bulk call means. All given conditions hold together; none means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// These very jobs.
    pub ids: Vec<JobId>,
    /// In one of these states.
    pub states: Vec<JobState>,
    /// Of this kind.
    pub kind: Option<String>,
    /// In this queue.
    pub queue: Option<String>,
    /// Of this schedule.
    pub schedule: Option<ScheduleId>,
    /// Of this batch.
    pub batch: Option<BatchId>,
    /// With this key.
    pub key: Option<String>,
    /// Whose last error is of this class.
    pub error_class: Option<String>,
    /// Enqueued at or after this.
    pub created_from: Option<Timestamp>,
    /// Enqueued before this.
    pub created_until: Option<Timestamp>,
}

/// One step of a bulk call: jobs of the filter with id > `after`, by id, at most `limit`.
#[derive(Clone, Copy, Debug)]
pub struct Bulk<'a> {
    /// Which jobs.
    pub filter: &'a JobFilter,
    /// Where the last step ended.
    pub after: Option<JobId>,
    /// How many at most.
    pub limit: u32,
}

/// What a bulk call did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// The jobs it changed (or, for running jobs that were asked to end, marked).
    pub jobs: Vec<JobId>,
    /// Where to go on: pass as `after` to the next call; None when through.
    pub next: Option<JobId>,
}

/// What one step of the cleaner deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Finished jobs with all that belongs to them.
    pub jobs: u64,
    /// Rows of roll-ups, events, ledger, unique keys, dead nodes.
    pub rows: u64,
    /// Whether another step at once would delete more.
    pub more: bool,
}

/// How long things other than jobs are kept, and the default for queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepPolicy {
    /// For queues without their own.
    pub jobs: Retention,
    /// Roll-ups by the minute become roll-ups by the hour after this.
    pub minutes: Duration,
    /// Hourly roll-ups go after this.
    pub hours: Duration,
    /// Events and ledger rows go after this.
    pub events: Duration,
    /// The store's size in bytes above which the oldest finished jobs go, whatever their age.
    pub max_bytes: Option<u64>,
}

impl Default for SweepPolicy {
    fn default() -> Self {
        let days = |n: u64| Duration::from_secs(n * 86_400);
        SweepPolicy {
            jobs: Retention::default(),
            minutes: days(2),
            hours: days(90),
            events: days(90),
            max_bytes: None,
        }
    }
}

/// The engine's store: see the module's text for the rules that hold for all methods.
#[async_trait]
pub trait Store: Reader + Send + Sync + 'static {
    // ---- enqueue ------------------------------------------------------------------------------

    /// The project of this name, made if it does not exist.
    async fn ensure_project(&self, now: Timestamp, name: &str) -> Result<ProjectId>;

    /// Writes jobs; answers in order. Each has passed [`NewJob::check`].
    ///
    /// A job due at or before `now` (or without `run_at`) is `available`, with `run_at = now` when
    /// absent; others are `scheduled`. `ord` counts from `run_at` (see [`crate::claim`]). A job whose
    /// unique key is held (same project and key; the holder is the last job written with it; its
    /// period has not ended and its state is in the *new* job's set; earlier entries of the same
    /// call count) is not written: the holder is returned as a duplicate. A fire or backfill whose
    /// (schedule, origin, nominal fire) exists is a duplicate of that job. Jobs with a batch raise
    /// its `total`; a batch that is sealed or given up, or a missing one, is [`StoreError::Conflict`] /
    /// `NotFound`.
    async fn enqueue(&self, now: Timestamp, project: ProjectId, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>>;

    /// Opens a batch with its first jobs (their `batch` field is set by this call), in one
    /// transaction. A sealed batch without pending jobs ends at once. Where the same parent has a
    /// batch of this name that is not sealed yet, the jobs join that one: a parent that comes back
    /// after losing the answer finds what it opened, and leaves no empty batch behind.
    ///
    /// A batch is **given up** when the job that opened it has ended failed or cancelled without
    /// sealing it: no more jobs will come, so it ends as a sealed one does once none is pending, but
    /// without its follow-up, which was meant for all of its jobs, and never complete
    /// ([`crate::batch::BatchCounts::state_given_up`]). When a person retries that job
    /// (or its parent opens it again) it is open once more, and goes on from there.
    async fn open_batch(
        &self,
        now: Timestamp,
        project: ProjectId,
        batch: NewBatch,
        jobs: Vec<NewJob>,
    ) -> Result<(BatchId, Vec<Enqueued>)>;

    /// No more jobs will be added. When none is pending the batch ends now: state by
    /// [`crate::batch::BatchCounts::state`], event `batch.<state>`, its follow-up enqueued (origin
    /// `FollowUp`, `batch` = this batch, not counted in it) unless that was done before.
    async fn seal_batch(&self, now: Timestamp, project: ProjectId, batch: BatchId) -> Result<()>;

    // ---- promote, claim, finish -----------------------------------------------------------------

    /// Makes at most `limit` scheduled jobs with `run_at <= now` available, by `run_at` then id;
    /// `ord` counts from their `run_at`. (A job that a rate put off keeps its `ord`.) Those with
    /// `expires_at <= now` are cancelled instead, reason `expired`, with an event.
    async fn promote(&self, now: Timestamp, limit: u32) -> Result<Promoted>;

    /// Claims attempts for a node, by the rules of [`crate::claim`]:
    /// for each queue served (all projects), in which no pause holds, up to
    /// `allowance(queue).min(limit)` available, not held jobs of known kinds in claim order; then
    /// `interleave` over the queues (ordered by project, then name) to at most
    /// `min(limit, allowance of "*")`, where `"*"` is per project; then, in that order: a candidate
    /// with `expires_at <= now` is cancelled (reason `expired`, event); one with a key is judged by
    /// `admit`; what runs becomes `running`: attempt + 1, `started_at = now`, `node`. The queue's
    /// `running`, `tat` and `vclock` and the key's state move on by what really runs.
    ///
    /// A node that has not joined, or was removed, gets nothing.
    async fn claim(&self, now: Timestamp, request: ClaimRequest) -> Result<ClaimBatch>;

    /// Writes transitions, each fenced: only if the job is `running` with that attempt. Order of
    /// the answers is that of the input; a second transition for the same attempt is `Stale`.
    ///
    /// `Next::Wait` with `run_at <= finished_at` makes the job available (`ord` from `run_at`),
    /// else scheduled; `raised` and `deaths` are stored. A final state stores `reason` and
    /// `finished_at`. Both store `outcome`, `output` and `error` as given, also when they are none. An attempt gets a history row unless it is a first attempt
    /// that succeeded (the job's own columns tell that). Steps are kept until the job goes. Also in
    /// this transaction: counters, roll-up and recents; `event::of_transition`; queue and key
    /// `running - 1`, and held jobs of that key released in claim order, as many as may run; the
    /// batch's counts and, at its end, what `seal_batch` says; for a final job of a schedule with
    /// `after_completion`: `next_fire = finished_at + delay`.
    async fn finish(&self, now: Timestamp, transitions: Vec<Transition>) -> Result<Vec<Finished>>;

    /// Remembers a step's result, fenced by `(job, attempt)`: `Stale` when it is not running. A
    /// name that is remembered already keeps its first result.
    async fn save_step(
        &self,
        now: Timestamp,
        job: JobId,
        attempt: u32,
        name: &str,
        result: Json,
    ) -> Result<Finished>;

    /// Appends log lines. Not fenced: what an attempt said before it lost its lease is worth
    /// keeping. Lines of jobs that are gone, and lines seen before, are dropped.
    async fn append_logs(&self, now: Timestamp, lines: Vec<LogLine>) -> Result<()>;

    /// Stores how far an attempt is, fenced. Readers show the last attempt's only.
    async fn set_progress(
        &self,
        now: Timestamp,
        job: JobId,
        attempt: u32,
        progress: Progress,
    ) -> Result<Finished>;

    /// Puts a running attempt into the hands of another node, fenced by `(job, attempt)`: from now on
    /// it is that node's heartbeat that it lives by. Nothing else changes. `Stale` when the attempt is
    /// not running; the other node need not have joined.
    async fn hand_over(&self, now: Timestamp, job: JobId, attempt: u32, to: NodeId) -> Result<Finished>;

    // ---- nodes ----------------------------------------------------------------------------------

    /// A node begins. Its id is new; an id seen before is `Conflict`. Event `node.joined`.
    async fn join(&self, now: Timestamp, node: NodeInfo) -> Result<()>;

    /// A sign of life and the poll that is always the net: one statement where possible. A node that
    /// left, or whose loss was told (`node.lost`), is not known any more and not brought back.
    async fn heartbeat(&self, now: Timestamp, node: NodeId, lease: Duration) -> Result<(Beat, Survey)>;

    /// A node ends in good order, holding nothing. Event `node.left`. Attempts it still holds are
    /// left to the reaper: its heartbeat is set so old that they are due at once.
    async fn leave(&self, now: Timestamp, node: NodeId) -> Result<()>;

    /// Running attempts of nodes whose heartbeat is older than `lease` (or that are gone), by job
    /// id, beginning after `after`, at most `limit`. Reads only; the caller decides and finishes.
    /// A dead node's first sight writes the event `node.lost` once.
    async fn orphans(
        &self,
        now: Timestamp,
        lease: Duration,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<Orphan>>;

    // ---- schedules ------------------------------------------------------------------------------

    /// Makes or replaces the schedule of this name; a replaced one keeps its id, fires and pause,
    /// its version rises. Event `schedule.created` / `schedule.changed` unless nothing differs (then
    /// nothing is written, not even `next_fire`).
    async fn put_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        put: PutSchedule,
        actor: &str,
    ) -> Result<ScheduleId>;

    /// Deletes it; its jobs stay. Event `schedule.deleted`.
    async fn delete_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        actor: &str,
    ) -> Result<()>;

    /// Pauses (`Some`) or resumes (`None`) it; its version rises, `next_fire` stays. Event
    /// `schedule.paused` / `schedule.resumed`.
    async fn pause_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        pause: Option<Pause>,
        actor: &str,
    ) -> Result<()>;

    /// Schedules with `next_fire <= now`, by `next_fire` then id, at most `limit`, all projects;
    /// and the earliest `next_fire` of those not returned.
    async fn due_schedules(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<(Vec<DueSchedule>, Option<Timestamp>)>;

    /// Writes what a look at due schedules decided, each compare-and-swap on (version,
    /// `expected_fire`), each all or nothing: jobs as `enqueue` does (origin `Fire`), ledger rows
    /// (the last row is extended when outcome and reason are the same and no job was made since)
    /// with `event::of_ledger` each, jobs to replace cancelled (reason `replaced by a later fire`;
    /// running ones marked), `next_fire` (which stands, also when a fixed delay would
    /// count from a replaced job), `fires`, `last_fire`.
    async fn fire(&self, now: Timestamp, writes: Vec<FireWrite>) -> Result<Vec<Fired>>;

    /// Moves the next fire of an unchanged schedule (version and old value as given): after a zone
    /// data change. `event`, which tells of it, is written with it. False when the schedule was
    /// changed meanwhile: then nothing is written.
    async fn reschedule(
        &self,
        now: Timestamp,
        schedule: ScheduleId,
        version: i64,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        event: Option<NewEvent>,
    ) -> Result<bool>;

    // ---- people ---------------------------------------------------------------------------------

    /// Cancels the jobs of `bulk`: waiting ones become
    /// `cancelled` with `reason` (event, batch counts, released keys, fixed-delay schedules as in
    /// `finish`), running ones are marked and their node is hinted. Final ones are passed over.
    async fn cancel_jobs(
        &self,
        now: Timestamp,
        project: ProjectId,
        bulk: Bulk<'_>,
        reason: &str,
        actor: &str,
    ) -> Result<Affected>;

    /// Makes final jobs of `bulk` available again, in the same manner: the budget is restored
    /// (`raised = attempt`, `deaths = 0`), reason, `finished_at` and output are cleared, `run_at =
    /// now`, the batch counts one pending again (and is open again), event `job.retried`. Live ones
    /// that wait for a retry become available at once, with the event. Both forget a mark to end and
    /// are placed anew. Others are passed over. A first attempt that succeeded gets its history row
    /// here: the job's own columns will tell of the next one.
    async fn retry_jobs(
        &self,
        now: Timestamp,
        project: ProjectId,
        bulk: Bulk<'_>,
        actor: &str,
    ) -> Result<Affected>;

    /// Changes a queue's settings (made if it does not exist) by replacing them. Held jobs whose
    /// limit was lifted or raised are released (they are judged again when claimed). Event
    /// `queue.paused`, `queue.resumed` or `queue.changed`.
    async fn set_queue(
        &self,
        now: Timestamp,
        project: ProjectId,
        queue: &str,
        settings: QueueSettings,
        actor: &str,
    ) -> Result<()>;

    /// Writes an event by itself: what no other method tells.
    async fn record(&self, now: Timestamp, project: ProjectId, event: NewEvent) -> Result<()>;

    // ---- housekeeping ---------------------------------------------------------------------------

    /// Deletes what the policy lets go, at most about `limit` rows, oldest first: a bounded step.
    /// A batch that a deleted job opened and left unsealed is resolved with it, for nobody else
    /// completes it: deleted when it has no jobs, otherwise sealed, without its follow-up.
    async fn sweep(&self, now: Timestamp, policy: &SweepPolicy, limit: u32) -> Result<Swept>;

    /// A small value kept by name: `tz_version`, `tour_done`, … None deletes it.
    async fn set_meta(&self, now: Timestamp, name: &str, value: Option<&str>) -> Result<()>;

    /// Where hints go from now on; one sink per store.
    fn on_hint(&self, sink: HintSink);

    /// Whether hints from other processes are proved to arrive. While false, the caller polls every
    /// second instead of every few.
    fn hints_alive(&self) -> bool;

    /// The door to tables that are not the engine's, on the same database. None only for stores
    /// that are no database (see [`crate::tables`]).
    fn tables(self: Arc<Self>) -> Option<Arc<dyn Tables>> {
        None
    }

    /// The database's own time, where it may differ from this machine's (PostgreSQL).
    async fn server_time(&self) -> Result<Option<Timestamp>>;

    /// Ends background work and closes connections; what was acknowledged is durable already.
    async fn close(&self);
}

/// What a heartbeat saw of the whole: when to look next, without looking more often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Some job is available and not held.
    pub waiting: bool,
    /// When the next scheduled job is due.
    pub next_run_at: Option<Timestamp>,
    /// When the next schedule is due.
    pub next_fire: Option<Timestamp>,
    /// Some node's heartbeat is older than the lease and attempts may be orphaned.
    pub lost_nodes: bool,
}
