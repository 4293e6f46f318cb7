//! The two traits, method by method: each is one call into the file that says what it means.

use crate::actor::Class;
use crate::control::Step;
use crate::open::Synchronous;
use crate::tx::Tx;
use crate::{SqliteStore, doctor, read, schedule};
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
use mainspring_core::tables::Tables;
use mainspring_core::tally::{Recent, Scope};
use std::sync::Arc;
use std::time::Duration;

#[async_trait]
impl Store for SqliteStore {
    async fn ensure_project(&self, now: Timestamp, name: &str) -> Result<ProjectId> {
        let name = name.to_owned();
        self.actor.call(Class::Other, 1, move |tx| tx.ensure_project(now, &name)).await
    }

    async fn enqueue(&self, now: Timestamp, project: ProjectId, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        let verb = Class::Enqueue;
        self.actor.call(verb, jobs.len(), move |tx| tx.enqueue(now, project, &jobs)).await
    }

    async fn open_batch(
        &self,
        now: Timestamp,
        project: ProjectId,
        batch: NewBatch,
        jobs: Vec<NewJob>,
    ) -> Result<(BatchId, Vec<Enqueued>)> {
        let verb = Class::Enqueue;
        self.actor.call(verb, jobs.len(), move |tx| tx.open_batch(now, project, &batch, &jobs)).await
    }

    async fn seal_batch(&self, now: Timestamp, project: ProjectId, batch: BatchId) -> Result<()> {
        self.actor.call(Class::Other, 1, move |tx| tx.seal_batch(now, project, batch)).await
    }

    async fn promote(&self, now: Timestamp, limit: u32) -> Result<Promoted> {
        self.actor.call(Class::Other, limit as usize, move |tx| tx.promote(now, limit)).await
    }

    async fn claim(&self, now: Timestamp, request: ClaimRequest) -> Result<ClaimBatch> {
        let rows = request.limit as usize;
        self.actor.call(Class::Claim, rows, move |tx| tx.claim(now, &request)).await
    }

    async fn finish(&self, now: Timestamp, transitions: Vec<Transition>) -> Result<Vec<Finished>> {
        let rows = transitions.len();
        self.actor.call(Class::Finish, rows, move |tx| tx.finish(now, &transitions)).await
    }

    async fn save_step(
        &self,
        now: Timestamp,
        job: JobId,
        attempt: u32,
        name: &str,
        result: Json,
    ) -> Result<Finished> {
        let name = name.to_owned();
        let verb = Class::Other;
        self.actor.call(verb, 1, move |tx| tx.save_step(now, job, attempt, &name, &result)).await
    }

    async fn append_logs(&self, _now: Timestamp, lines: Vec<LogLine>) -> Result<()> {
        self.actor.call(Class::Other, lines.len(), move |tx| tx.append_logs(&lines)).await
    }

    async fn set_progress(
        &self,
        _now: Timestamp,
        job: JobId,
        attempt: u32,
        progress: Progress,
    ) -> Result<Finished> {
        self.actor.call(Class::Other, 1, move |tx| tx.set_progress(job, attempt, &progress)).await
    }

    async fn hand_over(&self, _now: Timestamp, job: JobId, attempt: u32, to: NodeId) -> Result<Finished> {
        self.actor.call(Class::Other, 1, move |tx| tx.hand_over(job, attempt, to)).await
    }

    async fn join(&self, now: Timestamp, node: NodeInfo) -> Result<()> {
        self.actor.call(Class::Other, 1, move |tx| tx.join(now, &node)).await
    }

    async fn heartbeat(&self, now: Timestamp, node: NodeId, lease: Duration) -> Result<(Beat, Survey)> {
        self.actor.call(Class::Other, 1, move |tx| tx.heartbeat(now, node, lease)).await
    }

    async fn leave(&self, now: Timestamp, node: NodeId) -> Result<()> {
        self.actor.call(Class::Other, 1, move |tx| tx.leave(now, node)).await
    }

    async fn orphans(
        &self,
        now: Timestamp,
        lease: Duration,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<Orphan>> {
        self.actor.call(Class::Other, 1, move |tx| tx.orphans(now, lease, after, limit)).await
    }

    async fn put_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        put: PutSchedule,
        actor: &str,
    ) -> Result<ScheduleId> {
        let actor = actor.to_owned();
        self.actor.call(Class::Other, 1, move |tx| tx.put_schedule(now, project, &put, &actor)).await
    }

    async fn delete_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        actor: &str,
    ) -> Result<()> {
        let (name, actor) = (name.to_owned(), actor.to_owned());
        self.actor.call(Class::Other, 1, move |tx| tx.delete_schedule(now, project, &name, &actor)).await
    }

    async fn pause_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        pause: Option<Pause>,
        actor: &str,
    ) -> Result<()> {
        let (name, actor) = (name.to_owned(), actor.to_owned());
        self.actor
            .call(Class::Other, 1, move |tx| tx.pause_schedule(now, project, &name, pause.as_ref(), &actor))
            .await
    }

    async fn due_schedules(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<(Vec<DueSchedule>, Option<Timestamp>)> {
        self.readers.read(move |conn| schedule::due_schedules(conn, now, limit)).await
    }

    async fn fire(&self, now: Timestamp, writes: Vec<FireWrite>) -> Result<Vec<Fired>> {
        self.actor.call(Class::Enqueue, writes.len(), move |tx| tx.fire(now, &writes)).await
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
        let call = move |tx: &mut Tx<'_>| tx.reschedule(now, schedule, version, from, to, event.as_ref());
        self.actor.call(Class::Other, 1, call).await
    }

    async fn cancel_jobs(
        &self,
        now: Timestamp,
        project: ProjectId,
        bulk: Bulk<'_>,
        reason: &str,
        actor: &str,
    ) -> Result<Affected> {
        let (step, rows) = (Step::of(bulk), bulk.limit as usize);
        let (reason, actor) = (reason.to_owned(), actor.to_owned());
        self.actor
            .call(Class::Other, rows, move |tx| tx.cancel_jobs(now, project, &step, &reason, &actor))
            .await
    }

    async fn retry_jobs(
        &self,
        now: Timestamp,
        project: ProjectId,
        bulk: Bulk<'_>,
        actor: &str,
    ) -> Result<Affected> {
        let (step, rows) = (Step::of(bulk), bulk.limit as usize);
        let actor = actor.to_owned();
        self.actor.call(Class::Other, rows, move |tx| tx.retry_jobs(now, project, &step, &actor)).await
    }

    async fn set_queue(
        &self,
        now: Timestamp,
        project: ProjectId,
        queue: &str,
        settings: QueueSettings,
        actor: &str,
    ) -> Result<()> {
        let (queue, actor) = (queue.to_owned(), actor.to_owned());
        self.actor
            .call(Class::Other, 1, move |tx| tx.set_queue(now, project, &queue, &settings, &actor))
            .await
    }

    async fn record(&self, now: Timestamp, project: ProjectId, event: NewEvent) -> Result<()> {
        self.actor.call(Class::Other, 1, move |tx| tx.event(now, project, &event)).await
    }

    async fn sweep(&self, now: Timestamp, policy: &SweepPolicy, limit: u32) -> Result<Swept> {
        let policy = *policy;
        self.actor.call(Class::Other, limit as usize, move |tx| tx.sweep(now, &policy, limit)).await
    }

    async fn set_meta(&self, _now: Timestamp, name: &str, value: Option<&str>) -> Result<()> {
        let (name, value) = (name.to_owned(), value.map(str::to_owned));
        self.actor.call(Class::Other, 1, move |tx| tx.set_meta(&name, value.as_deref())).await
    }

    fn on_hint(&self, sink: HintSink) {
        self.actor.on_hint(sink);
    }

    fn hints_alive(&self) -> bool {
        // The writer looks for other processes' changes by itself, several times a second.
        true
    }

    fn tables(self: Arc<Self>) -> Option<Arc<dyn Tables>> {
        Some(self)
    }

    async fn server_time(&self) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    async fn close(&self) {
        // Readers first: the last connection to close copies the log back, and they cannot.
        self.readers.close();
        self.actor.close().await;
    }
}

impl Step {
    fn of(bulk: Bulk<'_>) -> Step {
        Step { filter: bulk.filter.clone(), after: bulk.after, limit: bulk.limit }
    }
}

#[async_trait]
impl Reader for SqliteStore {
    async fn projects(&self) -> Result<Vec<(ProjectId, String)>> {
        self.readers.read(read::projects).await
    }

    async fn jobs(
        &self,
        project: ProjectId,
        filter: &JobFilter,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Page<JobRecord, JobId>> {
        let filter = filter.clone();
        self.readers.read(move |conn| read::jobs(conn, project, &filter, before, limit)).await
    }

    async fn job(&self, project: ProjectId, id: JobId) -> Result<Option<JobDetail>> {
        self.readers.read(move |conn| read::job(conn, project, id)).await
    }

    async fn steps(&self, job: JobId) -> Result<Vec<(String, Json)>> {
        self.readers.read(move |conn| read::steps(conn, job)).await
    }

    async fn logs(
        &self,
        project: ProjectId,
        job: JobId,
        after: Option<(u32, u32)>,
        limit: u32,
    ) -> Result<Vec<LogLine>> {
        self.readers.read(move |conn| read::logs(conn, project, job, after, limit)).await
    }

    async fn schedules(
        &self,
        project: ProjectId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<ScheduleRecord, String>> {
        let after = after.map(str::to_owned);
        self.readers.read(move |conn| read::schedules(conn, project, after.as_deref(), limit)).await
    }

    async fn all_schedules(&self, after: Option<ScheduleId>, limit: u32) -> Result<Vec<ScheduleRecord>> {
        self.readers.read(move |conn| read::all_schedules(conn, after, limit)).await
    }

    async fn schedule(&self, project: ProjectId, name: &str) -> Result<Option<ScheduleRecord>> {
        let name = name.to_owned();
        self.readers.read(move |conn| read::schedule(conn, project, &name)).await
    }

    async fn ledger(
        &self,
        project: ProjectId,
        schedule: ScheduleId,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<LedgerRow>> {
        self.readers.read(move |conn| read::ledger(conn, project, schedule, from, until, limit)).await
    }

    async fn fires(
        &self,
        project: ProjectId,
        schedule: ScheduleId,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Timestamp, JobId, JobState, bool)>> {
        self.readers.read(move |conn| read::fires(conn, project, schedule, from, until, limit)).await
    }

    async fn queues(&self, project: ProjectId) -> Result<Vec<QueueRecord>> {
        self.readers.read(move |conn| read::queues(conn, project)).await
    }

    async fn nodes(&self) -> Result<Vec<NodeRecord>> {
        self.readers.read(read::nodes).await
    }

    async fn batches(
        &self,
        project: ProjectId,
        before: Option<BatchId>,
        limit: u32,
    ) -> Result<Page<BatchRecord, BatchId>> {
        self.readers.read(move |conn| read::batches(conn, project, before, limit)).await
    }

    async fn batch(&self, project: ProjectId, id: BatchId) -> Result<Option<BatchRecord>> {
        self.readers.read(move |conn| read::batch(conn, project, id)).await
    }

    async fn counts(&self, project: ProjectId) -> Result<Vec<(String, String, JobState, u64)>> {
        self.readers.read(move |conn| read::counts(conn, project)).await
    }

    async fn rollups(
        &self,
        project: ProjectId,
        from: i64,
        until: i64,
        group: GroupBy,
        by_time: bool,
    ) -> Result<Vec<RollupRow>> {
        self.readers.read(move |conn| read::rollups(conn, project, from, until, group, by_time)).await
    }

    async fn recents(&self, project: ProjectId) -> Result<Vec<(Scope, Recent)>> {
        self.readers.read(move |conn| read::recents(conn, project)).await
    }

    async fn running(&self, project: ProjectId, limit: u32) -> Result<Vec<JobRecord>> {
        self.readers.read(move |conn| read::running(conn, project, limit)).await
    }

    async fn events(&self, project: ProjectId, after: i64, limit: u32) -> Result<Vec<Event>> {
        self.readers.read(move |conn| read::events(conn, project, after, limit)).await
    }

    async fn last_event(&self, project: ProjectId) -> Result<i64> {
        self.readers.read(move |conn| read::last_event(conn, project)).await
    }

    async fn meta(&self, name: &str) -> Result<Option<String>> {
        let name = name.to_owned();
        self.readers.read(move |conn| read::meta(conn, &name)).await
    }

    async fn facts(&self, _now: Timestamp) -> Result<Vec<Fact>> {
        let path = self.path.clone();
        let synchronous = match self.options.synchronous {
            Synchronous::Full => "full",
            Synchronous::Normal => "normal",
        };
        self.readers.read(move |conn| doctor::facts(conn, &path, synchronous)).await
    }

    async fn audit(&self) -> Result<Vec<String>> {
        self.readers.read(doctor::audit).await
    }
}
