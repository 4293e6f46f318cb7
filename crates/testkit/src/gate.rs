//! A store behind a gate: every call passes it, and the gate says whether it is made, whether its
//! answer arrives, and what is noted of it. So that whoever wants a store with bad luck writes the
//! bad luck alone and not fifty methods.
//!
//! What a test does with it: [`crate::sim::faulty`] throws dice, the library's own tests follow a
//! script. A gate changes no argument and no row; the tables of others ([`Store::tables`]) do not
//! pass through one.

use async_trait::async_trait;
use jiff::Timestamp;
use mainspring_core::batch::{BatchRecord, NewBatch};
use mainspring_core::decide::Transition;
use mainspring_core::error::Result;
use mainspring_core::event::{Event, NewEvent};
use mainspring_core::ids::{BatchId, JobId, NodeId, ProjectId, ScheduleId};
use mainspring_core::job::{Enqueued, JobRecord, JobState, LogLine, NewJob, Progress};
use mainspring_core::json::Json;
use mainspring_core::node::{Beat, NodeInfo, NodeRecord};
use mainspring_core::queue::{Pause, QueueSettings};
use mainspring_core::reader::{Fact, GroupBy, JobDetail, Page, QueueRecord, Reader, RollupRow};
use mainspring_core::schedule_record::{
    DueSchedule, FireWrite, Fired, LedgerRow, PutSchedule, ScheduleRecord,
};
use mainspring_core::store::{
    Affected, Bulk, ClaimBatch, ClaimRequest, Finished, HintSink, JobFilter, Orphan, Promoted, Store, Survey,
    SweepPolicy, Swept,
};
use mainspring_core::tally::{Recent, Scope};
use std::sync::Arc;
use std::time::Duration;

/// What every call of a store passes. A call is a future that has done nothing yet: a gate that
/// drops it has kept it from the store.
///
/// The methods that are given the store itself are those where a gate may want to look at what is
/// asked or answered; left alone, they pass as any other call.
pub trait Gate: Send + Sync + 'static {
    /// A call that only reads. `name` is the method's.
    fn read<T: Send>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> impl Future<Output = Result<T>> + Send;

    /// A call that may write. `name` is the method's.
    fn write<T: Send>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> impl Future<Output = Result<T>> + Send;

    /// [`Store::claim`].
    fn claim(
        &self,
        base: &dyn Store,
        now: Timestamp,
        request: ClaimRequest,
    ) -> impl Future<Output = Result<ClaimBatch>> + Send {
        self.write("claim", base.claim(now, request))
    }

    /// [`Store::finish`].
    fn finish(
        &self,
        base: &dyn Store,
        now: Timestamp,
        transitions: Vec<Transition>,
    ) -> impl Future<Output = Result<Vec<Finished>>> + Send {
        self.write("finish", base.finish(now, transitions))
    }

    /// [`Store::retry_jobs`].
    fn retry_jobs(
        &self,
        base: &dyn Store,
        now: Timestamp,
        project: ProjectId,
        bulk: Bulk<'_>,
        actor: &str,
    ) -> impl Future<Output = Result<Affected>> + Send {
        async move { self.write("retry_jobs", base.retry_jobs(now, project, bulk, actor)).await }
    }

    /// [`Store::hints_alive`].
    fn hints_alive(&self, base: &dyn Store) -> bool {
        base.hints_alive()
    }

    /// [`Store::server_time`].
    fn server_time(&self, base: &dyn Store) -> impl Future<Output = Result<Option<Timestamp>>> + Send {
        base.server_time()
    }

    /// [`Store::close`].
    fn close(&self, base: &dyn Store) -> impl Future<Output = ()> + Send {
        base.close()
    }
}

/// A store behind `G`.
pub struct Gated<G> {
    base: Arc<dyn Store>,
    gate: G,
}

impl<G: Gate> Gated<G> {
    /// `base` behind `gate`.
    pub fn new(base: Arc<dyn Store>, gate: G) -> Gated<G> {
        Gated { base, gate }
    }
}

#[async_trait]
impl<G: Gate> Store for Gated<G> {
    async fn ensure_project(&self, now: Timestamp, name: &str) -> Result<ProjectId> {
        self.gate.write("ensure_project", self.base.ensure_project(now, name)).await
    }
    async fn enqueue(&self, now: Timestamp, project: ProjectId, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.gate.write("enqueue", self.base.enqueue(now, project, jobs)).await
    }
    async fn open_batch(
        &self,
        now: Timestamp,
        project: ProjectId,
        batch: NewBatch,
        jobs: Vec<NewJob>,
    ) -> Result<(BatchId, Vec<Enqueued>)> {
        self.gate.write("open_batch", self.base.open_batch(now, project, batch, jobs)).await
    }
    async fn seal_batch(&self, now: Timestamp, project: ProjectId, batch: BatchId) -> Result<()> {
        self.gate.write("seal_batch", self.base.seal_batch(now, project, batch)).await
    }
    async fn promote(&self, now: Timestamp, limit: u32) -> Result<Promoted> {
        self.gate.write("promote", self.base.promote(now, limit)).await
    }
    async fn claim(&self, now: Timestamp, request: ClaimRequest) -> Result<ClaimBatch> {
        self.gate.claim(&*self.base, now, request).await
    }
    async fn finish(&self, now: Timestamp, transitions: Vec<Transition>) -> Result<Vec<Finished>> {
        self.gate.finish(&*self.base, now, transitions).await
    }
    async fn save_step(
        &self,
        now: Timestamp,
        job: JobId,
        attempt: u32,
        name: &str,
        result: Json,
    ) -> Result<Finished> {
        self.gate.write("save_step", self.base.save_step(now, job, attempt, name, result)).await
    }
    async fn append_logs(&self, now: Timestamp, lines: Vec<LogLine>) -> Result<()> {
        self.gate.write("append_logs", self.base.append_logs(now, lines)).await
    }
    async fn set_progress(
        &self,
        now: Timestamp,
        job: JobId,
        attempt: u32,
        progress: Progress,
    ) -> Result<Finished> {
        self.gate.write("set_progress", self.base.set_progress(now, job, attempt, progress)).await
    }
    async fn hand_over(&self, now: Timestamp, job: JobId, attempt: u32, to: NodeId) -> Result<Finished> {
        self.gate.write("hand_over", self.base.hand_over(now, job, attempt, to)).await
    }
    async fn join(&self, now: Timestamp, node: NodeInfo) -> Result<()> {
        self.gate.write("join", self.base.join(now, node)).await
    }
    async fn heartbeat(&self, now: Timestamp, node: NodeId, lease: Duration) -> Result<(Beat, Survey)> {
        self.gate.write("heartbeat", self.base.heartbeat(now, node, lease)).await
    }
    async fn leave(&self, now: Timestamp, node: NodeId) -> Result<()> {
        self.gate.write("leave", self.base.leave(now, node)).await
    }
    async fn orphans(
        &self,
        now: Timestamp,
        lease: Duration,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<Orphan>> {
        self.gate.write("orphans", self.base.orphans(now, lease, after, limit)).await
    }
    async fn put_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        put: PutSchedule,
        actor: &str,
    ) -> Result<ScheduleId> {
        self.gate.write("put_schedule", self.base.put_schedule(now, project, put, actor)).await
    }
    async fn delete_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        actor: &str,
    ) -> Result<()> {
        self.gate.write("delete_schedule", self.base.delete_schedule(now, project, name, actor)).await
    }
    async fn pause_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        pause: Option<Pause>,
        actor: &str,
    ) -> Result<()> {
        self.gate.write("pause_schedule", self.base.pause_schedule(now, project, name, pause, actor)).await
    }
    async fn due_schedules(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<(Vec<DueSchedule>, Option<Timestamp>)> {
        self.gate.write("due_schedules", self.base.due_schedules(now, limit)).await
    }
    async fn fire(&self, now: Timestamp, writes: Vec<FireWrite>) -> Result<Vec<Fired>> {
        self.gate.write("fire", self.base.fire(now, writes)).await
    }
    async fn reschedule(
        &self,
        now: Timestamp,
        schedule: ScheduleId,
        version: i64,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        event: Option<NewEvent>,
    ) -> Result<bool> {
        self.gate.write("reschedule", self.base.reschedule(now, schedule, version, from, to, event)).await
    }
    async fn cancel_jobs(
        &self,
        now: Timestamp,
        project: ProjectId,
        bulk: Bulk<'_>,
        reason: &str,
        actor: &str,
    ) -> Result<Affected> {
        self.gate.write("cancel_jobs", self.base.cancel_jobs(now, project, bulk, reason, actor)).await
    }
    async fn retry_jobs(
        &self,
        now: Timestamp,
        project: ProjectId,
        bulk: Bulk<'_>,
        actor: &str,
    ) -> Result<Affected> {
        self.gate.retry_jobs(&*self.base, now, project, bulk, actor).await
    }
    async fn set_queue(
        &self,
        now: Timestamp,
        project: ProjectId,
        queue: &str,
        settings: QueueSettings,
        actor: &str,
    ) -> Result<()> {
        self.gate.write("set_queue", self.base.set_queue(now, project, queue, settings, actor)).await
    }
    async fn record(&self, now: Timestamp, project: ProjectId, event: NewEvent) -> Result<()> {
        self.gate.write("record", self.base.record(now, project, event)).await
    }
    async fn sweep(&self, now: Timestamp, policy: &SweepPolicy, limit: u32) -> Result<Swept> {
        self.gate.write("sweep", self.base.sweep(now, policy, limit)).await
    }
    async fn set_meta(&self, now: Timestamp, name: &str, value: Option<&str>) -> Result<()> {
        self.gate.write("set_meta", self.base.set_meta(now, name, value)).await
    }
    fn on_hint(&self, sink: HintSink) {
        self.base.on_hint(sink);
    }
    fn hints_alive(&self) -> bool {
        self.gate.hints_alive(&*self.base)
    }
    async fn server_time(&self) -> Result<Option<Timestamp>> {
        self.gate.server_time(&*self.base).await
    }
    async fn close(&self) {
        self.gate.close(&*self.base).await
    }
}

#[async_trait]
impl<G: Gate> Reader for Gated<G> {
    async fn projects(&self) -> Result<Vec<(ProjectId, String)>> {
        self.gate.read("projects", self.base.projects()).await
    }
    async fn jobs(
        &self,
        project: ProjectId,
        filter: &JobFilter,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Page<JobRecord, JobId>> {
        self.gate.read("jobs", self.base.jobs(project, filter, before, limit)).await
    }
    async fn job(&self, project: ProjectId, id: JobId) -> Result<Option<JobDetail>> {
        self.gate.read("job", self.base.job(project, id)).await
    }
    async fn steps(&self, job: JobId) -> Result<Vec<(String, Json)>> {
        self.gate.read("steps", self.base.steps(job)).await
    }
    async fn logs(
        &self,
        project: ProjectId,
        job: JobId,
        after: Option<(u32, u32)>,
        limit: u32,
    ) -> Result<Vec<LogLine>> {
        self.gate.read("logs", self.base.logs(project, job, after, limit)).await
    }
    async fn schedules(
        &self,
        project: ProjectId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<ScheduleRecord, String>> {
        self.gate.read("schedules", self.base.schedules(project, after, limit)).await
    }
    async fn all_schedules(&self, after: Option<ScheduleId>, limit: u32) -> Result<Vec<ScheduleRecord>> {
        self.gate.read("all_schedules", self.base.all_schedules(after, limit)).await
    }
    async fn schedule(&self, project: ProjectId, name: &str) -> Result<Option<ScheduleRecord>> {
        self.gate.read("schedule", self.base.schedule(project, name)).await
    }
    async fn ledger(
        &self,
        project: ProjectId,
        schedule: ScheduleId,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<LedgerRow>> {
        self.gate.read("ledger", self.base.ledger(project, schedule, from, until, limit)).await
    }
    async fn fires(
        &self,
        project: ProjectId,
        schedule: ScheduleId,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Timestamp, JobId, JobState, bool)>> {
        self.gate.read("fires", self.base.fires(project, schedule, from, until, limit)).await
    }
    async fn queues(&self, project: ProjectId) -> Result<Vec<QueueRecord>> {
        self.gate.read("queues", self.base.queues(project)).await
    }
    async fn nodes(&self) -> Result<Vec<NodeRecord>> {
        self.gate.read("nodes", self.base.nodes()).await
    }
    async fn batches(
        &self,
        project: ProjectId,
        before: Option<BatchId>,
        limit: u32,
    ) -> Result<Page<BatchRecord, BatchId>> {
        self.gate.read("batches", self.base.batches(project, before, limit)).await
    }
    async fn batch(&self, project: ProjectId, id: BatchId) -> Result<Option<BatchRecord>> {
        self.gate.read("batch", self.base.batch(project, id)).await
    }
    async fn counts(&self, project: ProjectId) -> Result<Vec<(String, String, JobState, u64)>> {
        self.gate.read("counts", self.base.counts(project)).await
    }
    async fn rollups(
        &self,
        project: ProjectId,
        from: i64,
        until: i64,
        group: GroupBy,
        by_time: bool,
    ) -> Result<Vec<RollupRow>> {
        self.gate.read("rollups", self.base.rollups(project, from, until, group, by_time)).await
    }
    async fn recents(&self, project: ProjectId) -> Result<Vec<(Scope, Recent)>> {
        self.gate.read("recents", self.base.recents(project)).await
    }
    async fn running(&self, project: ProjectId, limit: u32) -> Result<Vec<JobRecord>> {
        self.gate.read("running", self.base.running(project, limit)).await
    }
    async fn events(&self, project: ProjectId, after: i64, limit: u32) -> Result<Vec<Event>> {
        self.gate.read("events", self.base.events(project, after, limit)).await
    }
    async fn last_event(&self, project: ProjectId) -> Result<i64> {
        self.gate.read("last_event", self.base.last_event(project)).await
    }
    async fn meta(&self, name: &str) -> Result<Option<String>> {
        self.gate.read("meta", self.base.meta(name)).await
    }
    async fn facts(&self, now: Timestamp) -> Result<Vec<Fact>> {
        self.gate.read("facts", self.base.facts(now)).await
    }
    async fn audit(&self) -> Result<Vec<String>> {
        self.gate.read("audit", self.base.audit()).await
    }
}
