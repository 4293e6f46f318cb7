//! The two traits, method by method: each is one call into the file that says what it means.

use super::*;
use async_trait::async_trait;
use mainspring_core::decide::Transition;
use mainspring_core::job::{Enqueued, NewJob};
use mainspring_core::node::{Beat, NodeInfo};
use mainspring_core::queue::Pause;
use mainspring_core::reader::{Fact, GroupBy, JobDetail, Page, QueueRecord, Reader, RollupRow};
use mainspring_core::schedule_record::{DueSchedule, FireWrite, Fired, PutSchedule};
use mainspring_core::store::{
    Affected, Bulk, ClaimBatch, ClaimRequest, Finished, JobFilter, Orphan, Promoted, Store, Survey,
    SweepPolicy, Swept,
};
use std::time::Duration;

#[async_trait]
impl Store for MemoryStore {
    async fn ensure_project(&self, now: Timestamp, name: &str) -> Result<ProjectId> {
        self.write(now, |tx| tx.ensure_project(name))
    }

    async fn enqueue(&self, now: Timestamp, project: ProjectId, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.write(now, |tx| tx.enqueue(project, jobs))
    }

    async fn open_batch(
        &self,
        now: Timestamp,
        project: ProjectId,
        batch: NewBatch,
        jobs: Vec<NewJob>,
    ) -> Result<(BatchId, Vec<Enqueued>)> {
        self.write(now, |tx| tx.open_batch(project, batch, jobs))
    }

    async fn seal_batch(&self, now: Timestamp, project: ProjectId, batch: BatchId) -> Result<()> {
        self.write(now, |tx| tx.seal_batch(project, batch))
    }

    async fn promote(&self, now: Timestamp, limit: u32) -> Result<Promoted> {
        self.write(now, |tx| Ok(tx.promote(limit)))
    }

    async fn claim(&self, now: Timestamp, request: ClaimRequest) -> Result<ClaimBatch> {
        self.write(now, |tx| tx.claim(&request))
    }

    async fn finish(&self, now: Timestamp, transitions: Vec<Transition>) -> Result<Vec<Finished>> {
        self.write(now, |tx| tx.finish(transitions))
    }

    async fn save_step(
        &self,
        now: Timestamp,
        job: JobId,
        attempt: u32,
        name: &str,
        result: Json,
    ) -> Result<Finished> {
        self.write(now, |tx| tx.save_step(job, attempt, name, result))
    }

    async fn append_logs(&self, now: Timestamp, lines: Vec<LogLine>) -> Result<()> {
        self.write(now, |tx| tx.append_logs(lines))
    }

    async fn set_progress(
        &self,
        now: Timestamp,
        job: JobId,
        attempt: u32,
        progress: Progress,
    ) -> Result<Finished> {
        self.write(now, |tx| Ok(tx.set_progress(job, attempt, progress)))
    }

    async fn hand_over(&self, now: Timestamp, job: JobId, attempt: u32, to: NodeId) -> Result<Finished> {
        self.write(now, |tx| Ok(tx.hand_over(job, attempt, to)))
    }

    async fn join(&self, now: Timestamp, node: NodeInfo) -> Result<()> {
        self.write(now, |tx| tx.join(node))
    }

    async fn heartbeat(&self, now: Timestamp, node: NodeId, lease: Duration) -> Result<(Beat, Survey)> {
        self.write(now, |tx| Ok(tx.heartbeat(node, lease)))
    }

    async fn leave(&self, now: Timestamp, node: NodeId) -> Result<()> {
        self.write(now, |tx| {
            tx.leave(node);
            Ok(())
        })
    }

    async fn orphans(
        &self,
        now: Timestamp,
        lease: Duration,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<Orphan>> {
        self.write(now, |tx| Ok(tx.orphans(lease, after, limit)))
    }

    async fn put_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        put: PutSchedule,
        actor: &str,
    ) -> Result<ScheduleId> {
        self.write(now, |tx| tx.put_schedule(project, put, actor))
    }

    async fn delete_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        actor: &str,
    ) -> Result<()> {
        self.write(now, |tx| tx.delete_schedule(project, name, actor))
    }

    async fn pause_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        pause: Option<Pause>,
        actor: &str,
    ) -> Result<()> {
        self.write(now, |tx| tx.pause_schedule(project, name, pause, actor))
    }

    async fn due_schedules(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<(Vec<DueSchedule>, Option<Timestamp>)> {
        self.write(now, |tx| Ok(tx.due_schedules(limit)))
    }

    async fn fire(&self, now: Timestamp, writes: Vec<FireWrite>) -> Result<Vec<Fired>> {
        self.write(now, |tx| tx.fire(writes))
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
        self.write(now, |tx| Ok(tx.reschedule(schedule, version, from, to, event)))
    }

    async fn cancel_jobs(
        &self,
        now: Timestamp,
        project: ProjectId,
        bulk: Bulk<'_>,
        reason: &str,
        actor: &str,
    ) -> Result<Affected> {
        self.write(now, |tx| tx.cancel_jobs(project, bulk, reason, actor))
    }

    async fn retry_jobs(
        &self,
        now: Timestamp,
        project: ProjectId,
        bulk: Bulk<'_>,
        actor: &str,
    ) -> Result<Affected> {
        self.write(now, |tx| tx.retry_jobs(project, bulk, actor))
    }

    async fn set_queue(
        &self,
        now: Timestamp,
        project: ProjectId,
        queue: &str,
        settings: QueueSettings,
        actor: &str,
    ) -> Result<()> {
        self.write(now, |tx| tx.set_queue(project, queue, settings, actor))
    }

    async fn record(&self, now: Timestamp, project: ProjectId, event: NewEvent) -> Result<()> {
        self.write(now, |tx| {
            tx.record_event(project, event);
            Ok(())
        })
    }

    async fn sweep(&self, now: Timestamp, policy: &SweepPolicy, limit: u32) -> Result<Swept> {
        self.write(now, |tx| Ok(tx.sweep(policy, limit)))
    }

    async fn set_meta(&self, now: Timestamp, name: &str, value: Option<&str>) -> Result<()> {
        self.write(now, |tx| {
            tx.set_meta(name, value);
            Ok(())
        })
    }

    fn on_hint(&self, sink: HintSink) {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner).push(sink);
    }

    fn hints_alive(&self) -> bool {
        true
    }

    async fn server_time(&self) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    async fn close(&self) {}
}

#[async_trait]
impl Reader for MemoryStore {
    async fn projects(&self) -> Result<Vec<(ProjectId, String)>> {
        Ok(self.lock().projects.iter().map(|(name, id)| (*id, name.clone())).collect())
    }

    async fn jobs(
        &self,
        project: ProjectId,
        filter: &JobFilter,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Page<JobRecord, JobId>> {
        self.lock().job_page(project, filter, before, limit)
    }

    async fn job(&self, project: ProjectId, id: JobId) -> Result<Option<JobDetail>> {
        Ok(self.lock().detail(project, id))
    }

    async fn steps(&self, job: JobId) -> Result<Vec<(String, Json)>> {
        let steps = self.lock().steps.get(&job).cloned().unwrap_or_default();
        Ok(steps.into_iter().map(|(name, result, _)| (name, result)).collect())
    }

    async fn logs(
        &self,
        project: ProjectId,
        job: JobId,
        after: Option<(u32, u32)>,
        limit: u32,
    ) -> Result<Vec<LogLine>> {
        Ok(self.lock().logs_of(project, job, after, limit))
    }

    async fn schedules(
        &self,
        project: ProjectId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<ScheduleRecord, String>> {
        Ok(self.lock().schedule_page(project, after, limit))
    }

    async fn all_schedules(&self, after: Option<ScheduleId>, limit: u32) -> Result<Vec<ScheduleRecord>> {
        Ok(self.lock().schedules_after(after, limit))
    }

    async fn schedule(&self, project: ProjectId, name: &str) -> Result<Option<ScheduleRecord>> {
        Ok(self.lock().schedule_by_name(project, name))
    }

    async fn ledger(
        &self,
        project: ProjectId,
        schedule: ScheduleId,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<LedgerRow>> {
        Ok(self.lock().ledger_of(project, schedule, from, until, limit))
    }

    async fn fires(
        &self,
        project: ProjectId,
        schedule: ScheduleId,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Timestamp, JobId, JobState, bool)>> {
        Ok(self.lock().fires_of(project, schedule, from, until, limit))
    }

    async fn queues(&self, project: ProjectId) -> Result<Vec<QueueRecord>> {
        Ok(self.lock().queue_records(project))
    }

    async fn nodes(&self) -> Result<Vec<NodeRecord>> {
        Ok(self.lock().node_records())
    }

    async fn batches(
        &self,
        project: ProjectId,
        before: Option<BatchId>,
        limit: u32,
    ) -> Result<Page<BatchRecord, BatchId>> {
        Ok(self.lock().batch_page(project, before, limit))
    }

    async fn batch(&self, project: ProjectId, id: BatchId) -> Result<Option<BatchRecord>> {
        Ok(self.lock().batch_by_id(project, id))
    }

    async fn counts(&self, project: ProjectId) -> Result<Vec<(String, String, JobState, u64)>> {
        Ok(self.lock().job_counts(project))
    }

    async fn rollups(
        &self,
        project: ProjectId,
        from: i64,
        until: i64,
        group: GroupBy,
        by_time: bool,
    ) -> Result<Vec<RollupRow>> {
        Ok(self.lock().rollup_rows(project, from, until, group, by_time))
    }

    async fn recents(&self, project: ProjectId) -> Result<Vec<(Scope, Recent)>> {
        Ok(self.lock().recents_of(project))
    }

    async fn running(&self, project: ProjectId, limit: u32) -> Result<Vec<JobRecord>> {
        Ok(self.lock().running_of(project, limit))
    }

    async fn events(&self, project: ProjectId, after: i64, limit: u32) -> Result<Vec<Event>> {
        Ok(self.lock().events_after(project, after, limit))
    }

    async fn last_event(&self, project: ProjectId) -> Result<i64> {
        Ok(self.lock().last_event_of(project))
    }

    async fn meta(&self, name: &str) -> Result<Option<String>> {
        Ok(self.lock().meta.get(name).cloned())
    }

    async fn facts(&self, _now: Timestamp) -> Result<Vec<Fact>> {
        Ok(self.lock().facts())
    }

    async fn audit(&self) -> Result<Vec<String>> {
        Ok(self.lock().audit())
    }
}
