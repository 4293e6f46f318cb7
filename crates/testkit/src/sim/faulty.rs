//! A store behind bad weather: each call may fail before it reaches the store (nothing is written)
//! or after (it is written, and the reply is lost). Every call stops twice, before and after, so
//! that the simulator can let others go on in between, or let the caller die.
//!
//! It also writes down what the store really did, and looks at the limits at every claim: the
//! checkers must not depend on what callers believe.

use super::world::{Entry, Mishap, World};
use async_trait::async_trait;
use jiff::Timestamp;
use mainspring_core::batch::{BatchRecord, NewBatch};
use mainspring_core::decide::{Next, Transition};
use mainspring_core::error::Result;
use mainspring_core::event::{Event, NewEvent};
use mainspring_core::ids::{BatchId, JobId, NodeId, ProjectId, ScheduleId};
use mainspring_core::job::{Enqueued, JobRecord, JobState, LogLine, NewJob, Progress};
use mainspring_core::json::Json;
use mainspring_core::node::{Beat, NodeInfo, NodeRecord};
use mainspring_core::queue::{ALL_QUEUES, Pause, QueueSettings};
use mainspring_core::reader::{Fact, GroupBy, JobDetail, Page, QueueRecord, Reader, RollupRow};
use mainspring_core::schedule_record::{
    DueSchedule, FireWrite, Fired, LedgerRow, PutSchedule, ScheduleRecord,
};
use mainspring_core::store::{
    Affected, Bulk, ClaimBatch, ClaimRequest, Finished, HintSink, JobFilter, Orphan, Promoted, Store, Survey,
    SweepPolicy, Swept,
};
use mainspring_core::tally::{Recent, Scope};
use mainspring_core::{StoreError, limits};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The settings of queues that do not change during a run.
pub type Queues = Arc<BTreeMap<String, QueueSettings>>;

/// See the module's text.
pub struct FaultyStore {
    base: Arc<dyn Store>,
    world: Arc<World>,
    queues: Queues,
}

impl FaultyStore {
    /// `base` in this world.
    pub fn new(base: Arc<dyn Store>, world: Arc<World>, queues: Queues) -> FaultyStore {
        FaultyStore { base, world, queues }
    }

    async fn before(&self) -> Result<()> {
        self.world.stop_here().await;
        if self.world.is_away() || self.world.strikes() {
            self.world.count(Mishap::CallRefused);
            return Err(StoreError::Unavailable("simulated".into()));
        }
        Ok(())
    }

    async fn inside<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let _inside = self.world.enter_database();
        call.await
    }

    /// A read: nothing is written, so a lost reply is only a failure.
    async fn read<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.before().await?;
        let answer = self.inside(call).await?;
        self.world.stop_here().await;
        if self.world.strikes() {
            return Err(StoreError::Timeout("simulated: the answer was lost".into()));
        }
        Ok(answer)
    }

    /// One call, and what is to be written down of it before anyone else goes on.
    async fn call_and_note<T>(
        &self,
        call: impl Future<Output = Result<T>> + Send,
        note: impl FnOnce(&T) + Send,
    ) -> Result<T> {
        self.before().await?;
        let answer = self.inside(call).await?;
        note(&answer);
        let mut reply = Reply { world: &self.world, arrived: false };
        self.world.stop_here().await;
        reply.arrived = true;
        if self.world.strikes() {
            self.world.count(Mishap::ReplyLost);
            return Err(StoreError::Timeout("simulated: the reply was lost".into()));
        }
        Ok(answer)
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.call_and_note(call, |_| {}).await
    }

    /// What runs must be within the limits, counted from the jobs themselves.
    async fn look_at_limits(&self, project: ProjectId) -> Result<()> {
        let running = self.base.running(project, limits::PAGE as u32).await?;
        let mut queues = BTreeMap::<&str, u32>::new();
        let mut keys = BTreeMap::<(&str, &str), u32>::new();
        for r in &running {
            *queues.entry(&r.queue).or_default() += 1;
            *queues.entry(ALL_QUEUES).or_default() += 1;
            if let Some(key) = &r.key {
                *keys.entry((&r.queue, key)).or_default() += 1;
            }
        }
        let max = |queue: &str| self.queues.get(queue).and_then(|q| q.max_running);
        for (queue, n) in queues {
            if max(queue).is_some_and(|max| n > max) {
                self.world.accuse(format!("{n} jobs run in queue {queue}, more than its limit"));
            }
        }
        let per_key = |queue: &str| self.queues.get(queue).and_then(|q| q.max_running_per_key);
        for ((queue, key), n) in keys {
            if per_key(queue).is_some_and(|max| n > max) {
                self.world.accuse(format!("{n} jobs of key {key} run in queue {queue}, more than its limit"));
            }
        }
        Ok(())
    }
}

/// Between a commit and its caller. Dropped there, the caller died and never learns of it.
struct Reply<'a> {
    world: &'a World,
    arrived: bool,
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        if !self.arrived {
            self.world.count(Mishap::CallerCutOff);
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn ensure_project(&self, now: Timestamp, name: &str) -> Result<ProjectId> {
        self.call(self.base.ensure_project(now, name)).await
    }
    async fn enqueue(&self, now: Timestamp, project: ProjectId, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.call(self.base.enqueue(now, project, jobs)).await
    }
    async fn open_batch(
        &self,
        now: Timestamp,
        project: ProjectId,
        batch: NewBatch,
        jobs: Vec<NewJob>,
    ) -> Result<(BatchId, Vec<Enqueued>)> {
        self.call(self.base.open_batch(now, project, batch, jobs)).await
    }
    async fn seal_batch(&self, now: Timestamp, project: ProjectId, batch: BatchId) -> Result<()> {
        self.call(self.base.seal_batch(now, project, batch)).await
    }
    async fn promote(&self, now: Timestamp, limit: u32) -> Result<Promoted> {
        self.call(self.base.promote(now, limit)).await
    }
    async fn claim(&self, now: Timestamp, request: ClaimRequest) -> Result<ClaimBatch> {
        let node = request.node;
        let claim = async {
            let batch = self.base.claim(now, request).await?;
            for c in &batch.jobs {
                let rated = self.queues.get(&*c.queue).is_some_and(|q| q.rate.is_some());
                let (job, attempt) = (c.facts.job, c.facts.attempt);
                self.world.note(Entry::Claimed { job, attempt, node, at: now, rated });
            }
            if let Some(c) = batch.jobs.first() {
                self.look_at_limits(c.project).await?;
            }
            Ok(batch)
        };
        self.call(claim).await
    }
    async fn finish(&self, now: Timestamp, transitions: Vec<Transition>) -> Result<Vec<Finished>> {
        let end = |t: &Transition| match &t.next {
            Next::Final { state, .. } => (t.job, t.attempt, Some(*state)),
            Next::Wait { .. } => (t.job, t.attempt, None),
        };
        let ends: Vec<_> = transitions.iter().map(end).collect();
        let note = |answers: &Vec<Finished>| {
            for ((job, attempt, state), answer) in ends.into_iter().zip(answers) {
                match answer {
                    Finished::Applied => self.world.note(Entry::Ended(job, attempt, state)),
                    // Whoever is late is refused by the fence.
                    _ => self.world.count(Mishap::FinishRefused),
                }
            }
        };
        self.call_and_note(self.base.finish(now, transitions), note).await
    }
    async fn save_step(
        &self,
        now: Timestamp,
        job: JobId,
        attempt: u32,
        name: &str,
        result: Json,
    ) -> Result<Finished> {
        self.call(self.base.save_step(now, job, attempt, name, result)).await
    }
    async fn append_logs(&self, now: Timestamp, lines: Vec<LogLine>) -> Result<()> {
        self.call(self.base.append_logs(now, lines)).await
    }
    async fn set_progress(
        &self,
        now: Timestamp,
        job: JobId,
        attempt: u32,
        progress: Progress,
    ) -> Result<Finished> {
        self.call(self.base.set_progress(now, job, attempt, progress)).await
    }
    async fn join(&self, now: Timestamp, node: NodeInfo) -> Result<()> {
        self.call(self.base.join(now, node)).await
    }
    async fn heartbeat(&self, now: Timestamp, node: NodeId, lease: Duration) -> Result<(Beat, Survey)> {
        self.call(self.base.heartbeat(now, node, lease)).await
    }
    async fn leave(&self, now: Timestamp, node: NodeId) -> Result<()> {
        self.call(self.base.leave(now, node)).await
    }
    async fn orphans(
        &self,
        now: Timestamp,
        lease: Duration,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<Orphan>> {
        self.call(self.base.orphans(now, lease, after, limit)).await
    }
    async fn put_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        put: PutSchedule,
        actor: &str,
    ) -> Result<ScheduleId> {
        self.call(self.base.put_schedule(now, project, put, actor)).await
    }
    async fn delete_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        actor: &str,
    ) -> Result<()> {
        self.call(self.base.delete_schedule(now, project, name, actor)).await
    }
    async fn pause_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        pause: Option<Pause>,
        actor: &str,
    ) -> Result<()> {
        self.call(self.base.pause_schedule(now, project, name, pause, actor)).await
    }
    async fn due_schedules(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<(Vec<DueSchedule>, Option<Timestamp>)> {
        self.call(self.base.due_schedules(now, limit)).await
    }
    async fn fire(&self, now: Timestamp, writes: Vec<FireWrite>) -> Result<Vec<Fired>> {
        self.call(self.base.fire(now, writes)).await
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
        self.call(self.base.reschedule(now, schedule, version, from, to, event)).await
    }
    async fn cancel_jobs(
        &self,
        now: Timestamp,
        project: ProjectId,
        bulk: Bulk<'_>,
        reason: &str,
        actor: &str,
    ) -> Result<Affected> {
        self.call(self.base.cancel_jobs(now, project, bulk, reason, actor)).await
    }
    async fn retry_jobs(
        &self,
        now: Timestamp,
        project: ProjectId,
        bulk: Bulk<'_>,
        actor: &str,
    ) -> Result<Affected> {
        let note = |done: &Affected| done.jobs.iter().for_each(|job| self.world.note(Entry::Retried(*job)));
        self.call_and_note(self.base.retry_jobs(now, project, bulk, actor), note).await
    }
    async fn set_queue(
        &self,
        now: Timestamp,
        project: ProjectId,
        queue: &str,
        settings: QueueSettings,
        actor: &str,
    ) -> Result<()> {
        self.call(self.base.set_queue(now, project, queue, settings, actor)).await
    }
    async fn record(&self, now: Timestamp, project: ProjectId, event: NewEvent) -> Result<()> {
        self.call(self.base.record(now, project, event)).await
    }
    async fn sweep(&self, now: Timestamp, policy: &SweepPolicy, limit: u32) -> Result<Swept> {
        self.call(self.base.sweep(now, policy, limit)).await
    }
    async fn set_meta(&self, now: Timestamp, name: &str, value: Option<&str>) -> Result<()> {
        self.call(self.base.set_meta(now, name, value)).await
    }
    fn on_hint(&self, sink: HintSink) {
        self.base.on_hint(sink);
    }
    fn hints_alive(&self) -> bool {
        self.base.hints_alive()
    }
    async fn server_time(&self) -> Result<Option<Timestamp>> {
        Ok(None)
    }
    async fn close(&self) {}
}

#[async_trait]
impl Reader for FaultyStore {
    async fn projects(&self) -> Result<Vec<(ProjectId, String)>> {
        self.read(self.base.projects()).await
    }
    async fn jobs(
        &self,
        project: ProjectId,
        filter: &JobFilter,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Page<JobRecord, JobId>> {
        self.read(self.base.jobs(project, filter, before, limit)).await
    }
    async fn job(&self, project: ProjectId, id: JobId) -> Result<Option<JobDetail>> {
        self.read(self.base.job(project, id)).await
    }
    async fn steps(&self, job: JobId) -> Result<Vec<(String, Json)>> {
        self.read(self.base.steps(job)).await
    }
    async fn logs(
        &self,
        project: ProjectId,
        job: JobId,
        after: Option<(u32, u32)>,
        limit: u32,
    ) -> Result<Vec<LogLine>> {
        self.read(self.base.logs(project, job, after, limit)).await
    }
    async fn schedules(
        &self,
        project: ProjectId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<ScheduleRecord, String>> {
        self.read(self.base.schedules(project, after, limit)).await
    }
    async fn all_schedules(&self, after: Option<ScheduleId>, limit: u32) -> Result<Vec<ScheduleRecord>> {
        self.read(self.base.all_schedules(after, limit)).await
    }
    async fn schedule(&self, project: ProjectId, name: &str) -> Result<Option<ScheduleRecord>> {
        self.read(self.base.schedule(project, name)).await
    }
    async fn ledger(
        &self,
        project: ProjectId,
        schedule: ScheduleId,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<LedgerRow>> {
        self.read(self.base.ledger(project, schedule, from, until, limit)).await
    }
    async fn fires(
        &self,
        project: ProjectId,
        schedule: ScheduleId,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Timestamp, JobId, JobState, bool)>> {
        self.read(self.base.fires(project, schedule, from, until, limit)).await
    }
    async fn queues(&self, project: ProjectId) -> Result<Vec<QueueRecord>> {
        self.read(self.base.queues(project)).await
    }
    async fn nodes(&self) -> Result<Vec<NodeRecord>> {
        self.read(self.base.nodes()).await
    }
    async fn batches(
        &self,
        project: ProjectId,
        before: Option<BatchId>,
        limit: u32,
    ) -> Result<Page<BatchRecord, BatchId>> {
        self.read(self.base.batches(project, before, limit)).await
    }
    async fn batch(&self, project: ProjectId, id: BatchId) -> Result<Option<BatchRecord>> {
        self.read(self.base.batch(project, id)).await
    }
    async fn counts(&self, project: ProjectId) -> Result<Vec<(String, String, JobState, u64)>> {
        self.read(self.base.counts(project)).await
    }
    async fn rollups(
        &self,
        project: ProjectId,
        from: i64,
        until: i64,
        group: GroupBy,
        by_time: bool,
    ) -> Result<Vec<RollupRow>> {
        self.read(self.base.rollups(project, from, until, group, by_time)).await
    }
    async fn recents(&self, project: ProjectId) -> Result<Vec<(Scope, Recent)>> {
        self.read(self.base.recents(project)).await
    }
    async fn running(&self, project: ProjectId, limit: u32) -> Result<Vec<JobRecord>> {
        self.read(self.base.running(project, limit)).await
    }
    async fn events(&self, project: ProjectId, after: i64, limit: u32) -> Result<Vec<Event>> {
        self.read(self.base.events(project, after, limit)).await
    }
    async fn last_event(&self, project: ProjectId) -> Result<i64> {
        self.read(self.base.last_event(project)).await
    }
    async fn meta(&self, name: &str) -> Result<Option<String>> {
        self.read(self.base.meta(name)).await
    }
    async fn facts(&self, now: Timestamp) -> Result<Vec<Fact>> {
        self.read(self.base.facts(now)).await
    }
    async fn audit(&self) -> Result<Vec<String>> {
        self.read(self.base.audit()).await
    }
}
