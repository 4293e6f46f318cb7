//! The traits, by delegation: which method is written in which file.

use crate::actor::{EnqueueCall, FinishCall};
use crate::{PostgresStore, bundles, finish};
use async_trait::async_trait;
use jiff::Timestamp;
use mainspring_core::batch::{BatchRecord, NewBatch};
use mainspring_core::decide::Transition;
use mainspring_core::error::Result;
use mainspring_core::event::{Event, NewEvent};
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
use mainspring_core::{BatchId, JobId, NodeId, ProjectId, ScheduleId, time};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// From how many jobs on a call is a long list.
const LIST: usize = 250;
/// From how many ends on a call is a long list.
const ENDS: usize = 100;

#[async_trait]
impl Store for PostgresStore {
    async fn ensure_project(&self, now: Timestamp, name: &str) -> Result<ProjectId> {
        self.inner.ensure_project(now, name).await
    }

    async fn enqueue(&self, now: Timestamp, project: ProjectId, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.inner.prepare_jobs(project, &jobs).await?;
        if jobs.is_empty() {
            return Ok(vec![]);
        }
        let beside = jobs.len() >= LIST && self.lists.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        let desk = if beside { &self.beside } else { &self.enqueues };
        desk.call(EnqueueCall { now: time::micros(now), project, jobs, beside }).await
    }

    async fn open_batch(
        &self,
        now: Timestamp,
        project: ProjectId,
        batch: NewBatch,
        jobs: Vec<NewJob>,
    ) -> Result<(BatchId, Vec<Enqueued>)> {
        self.inner.open_batch(now, project, batch, jobs).await
    }

    async fn seal_batch(&self, now: Timestamp, project: ProjectId, batch: BatchId) -> Result<()> {
        self.inner.seal_batch(now, project, batch).await
    }

    async fn promote(&self, now: Timestamp, limit: u32) -> Result<Promoted> {
        self.inner.promote(now, limit).await
    }

    async fn claim(&self, now: Timestamp, request: ClaimRequest) -> Result<ClaimBatch> {
        self.inner.claim(now, &request).await
    }

    async fn finish(&self, now: Timestamp, transitions: Vec<Transition>) -> Result<Vec<Finished>> {
        finish::check_transitions(&transitions)?;
        if transitions.is_empty() {
            return Ok(vec![]);
        }
        let beside = transitions.len() >= ENDS && bundles::beside(transitions[0].job.0);
        let desk = if beside { &self.finishes_beside } else { &self.finishes };
        desk.call(FinishCall { now: time::micros(now), transitions, beside }).await
    }

    async fn save_step(
        &self,
        now: Timestamp,
        job: JobId,
        attempt: u32,
        name: &str,
        result: Json,
    ) -> Result<Finished> {
        self.inner.save_step(now, job, attempt, name, result).await
    }

    async fn append_logs(&self, _: Timestamp, lines: Vec<LogLine>) -> Result<()> {
        self.inner.append_logs(&lines).await
    }

    async fn set_progress(
        &self,
        _: Timestamp,
        job: JobId,
        attempt: u32,
        progress: Progress,
    ) -> Result<Finished> {
        self.inner.set_progress(job, attempt, &progress).await
    }

    async fn hand_over(&self, _: Timestamp, job: JobId, attempt: u32, to: NodeId) -> Result<Finished> {
        self.inner.hand_over(job, attempt, to).await
    }

    async fn join(&self, now: Timestamp, node: NodeInfo) -> Result<()> {
        self.inner.join(now, node).await
    }

    async fn heartbeat(&self, now: Timestamp, node: NodeId, lease: Duration) -> Result<(Beat, Survey)> {
        self.inner.heartbeat(now, node, lease).await
    }

    async fn leave(&self, now: Timestamp, node: NodeId) -> Result<()> {
        self.inner.leave(now, node).await
    }

    async fn orphans(
        &self,
        now: Timestamp,
        lease: Duration,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<Orphan>> {
        self.inner.orphans(now, lease, after, limit).await
    }

    async fn put_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        put: PutSchedule,
        actor: &str,
    ) -> Result<ScheduleId> {
        self.inner.put_schedule(now, project, put, actor).await
    }

    async fn delete_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        actor: &str,
    ) -> Result<()> {
        self.inner.delete_schedule(now, project, name, actor).await
    }

    async fn pause_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        pause: Option<Pause>,
        actor: &str,
    ) -> Result<()> {
        self.inner.pause_schedule(now, project, name, pause, actor).await
    }

    async fn due_schedules(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<(Vec<DueSchedule>, Option<Timestamp>)> {
        self.inner.due_schedules(now, limit).await
    }

    async fn fire(&self, now: Timestamp, writes: Vec<FireWrite>) -> Result<Vec<Fired>> {
        self.inner.fire(now, writes).await
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
        self.inner.reschedule(now, schedule, version, from, to, event).await
    }

    async fn cancel_jobs(
        &self,
        now: Timestamp,
        project: ProjectId,
        bulk: Bulk<'_>,
        reason: &str,
        actor: &str,
    ) -> Result<Affected> {
        self.inner.cancel_jobs(now, project, bulk, reason, actor).await
    }

    async fn retry_jobs(
        &self,
        now: Timestamp,
        project: ProjectId,
        bulk: Bulk<'_>,
        actor: &str,
    ) -> Result<Affected> {
        self.inner.retry_jobs(now, project, bulk, actor).await
    }

    async fn set_queue(
        &self,
        now: Timestamp,
        project: ProjectId,
        queue: &str,
        settings: QueueSettings,
        actor: &str,
    ) -> Result<()> {
        self.inner.set_queue(now, project, queue, settings, actor).await
    }

    async fn record(&self, now: Timestamp, project: ProjectId, event: NewEvent) -> Result<()> {
        self.inner.record(now, project, event).await
    }

    async fn sweep(&self, now: Timestamp, policy: &SweepPolicy, limit: u32) -> Result<Swept> {
        self.inner.sweep(now, policy, limit).await
    }

    async fn set_meta(&self, _: Timestamp, name: &str, value: Option<&str>) -> Result<()> {
        self.inner.set_meta(name, value).await
    }

    fn on_hint(&self, sink: HintSink) {
        self.inner.hints.set_sink(sink);
    }

    fn hints_alive(&self) -> bool {
        self.inner.hints.alive()
    }

    fn tables(self: Arc<Self>) -> Option<Arc<dyn Tables>> {
        Some(self)
    }

    async fn server_time(&self) -> Result<Option<Timestamp>> {
        self.inner.server_time().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl Reader for PostgresStore {
    async fn projects(&self) -> Result<Vec<(ProjectId, String)>> {
        self.inner.projects().await
    }

    async fn jobs(
        &self,
        project: ProjectId,
        filter: &JobFilter,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Page<JobRecord, JobId>> {
        self.inner.job_page(project, filter, before, limit).await
    }

    async fn job(&self, project: ProjectId, id: JobId) -> Result<Option<JobDetail>> {
        self.inner.detail(project, id).await
    }

    async fn steps(&self, job: JobId) -> Result<Vec<(String, Json)>> {
        self.inner.steps(job).await
    }

    async fn logs(
        &self,
        project: ProjectId,
        job: JobId,
        after: Option<(u32, u32)>,
        limit: u32,
    ) -> Result<Vec<LogLine>> {
        self.inner.logs(project, job, after, limit).await
    }

    async fn schedules(
        &self,
        project: ProjectId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<ScheduleRecord, String>> {
        self.inner.schedule_page(project, after, limit).await
    }

    async fn all_schedules(&self, after: Option<ScheduleId>, limit: u32) -> Result<Vec<ScheduleRecord>> {
        self.inner.all_schedules(after, limit).await
    }

    async fn schedule(&self, project: ProjectId, name: &str) -> Result<Option<ScheduleRecord>> {
        self.inner.schedule(project, name).await
    }

    async fn ledger(
        &self,
        project: ProjectId,
        schedule: ScheduleId,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<LedgerRow>> {
        self.inner.ledger(project, schedule, from, until, limit).await
    }

    async fn fires(
        &self,
        project: ProjectId,
        schedule: ScheduleId,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Timestamp, JobId, JobState, bool)>> {
        self.inner.fires(project, schedule, from, until, limit).await
    }

    async fn queues(&self, project: ProjectId) -> Result<Vec<QueueRecord>> {
        self.inner.queue_records(project).await
    }

    async fn nodes(&self) -> Result<Vec<NodeRecord>> {
        self.inner.node_records().await
    }

    async fn batches(
        &self,
        project: ProjectId,
        before: Option<BatchId>,
        limit: u32,
    ) -> Result<Page<BatchRecord, BatchId>> {
        self.inner.batch_page(project, before, limit).await
    }

    async fn batch(&self, project: ProjectId, id: BatchId) -> Result<Option<BatchRecord>> {
        self.inner.batch(project, id).await
    }

    async fn counts(&self, project: ProjectId) -> Result<Vec<(String, String, JobState, u64)>> {
        self.inner.counts(project).await
    }

    async fn rollups(
        &self,
        project: ProjectId,
        from: i64,
        until: i64,
        group: GroupBy,
        by_time: bool,
    ) -> Result<Vec<RollupRow>> {
        self.inner.rollups(project, from, until, group, by_time).await
    }

    async fn recents(&self, project: ProjectId) -> Result<Vec<(Scope, Recent)>> {
        self.inner.recents(project).await
    }

    async fn running(&self, project: ProjectId, limit: u32) -> Result<Vec<JobRecord>> {
        self.inner.running(project, limit).await
    }

    async fn events(&self, project: ProjectId, after: i64, limit: u32) -> Result<Vec<Event>> {
        self.inner.events_after(project, after, limit).await
    }

    async fn last_event(&self, project: ProjectId) -> Result<i64> {
        self.inner.last_event(project).await
    }

    async fn meta(&self, name: &str) -> Result<Option<String>> {
        self.inner.meta(name).await
    }

    async fn facts(&self, now: Timestamp) -> Result<Vec<Fact>> {
        self.inner.facts(now).await
    }

    async fn audit(&self) -> Result<Vec<String>> {
        self.inner.audit().await
    }
}
