//! A store that can be taken away, made to lose its answers, and counted.

use async_trait::async_trait;
use jiff::Timestamp;
use mainspring::core::batch::{BatchRecord, NewBatch};
use mainspring::core::decide::Transition;
use mainspring::core::error::Result;
use mainspring::core::event::{Event, NewEvent};
use mainspring::core::ids::{BatchId, JobId, NodeId, ProjectId, ScheduleId};
use mainspring::core::job::{Enqueued, JobRecord, JobState, LogLine, NewJob, Progress};
use mainspring::core::node::{Beat, NodeInfo, NodeRecord};
use mainspring::core::queue::{Pause, QueueSettings};
use mainspring::core::reader::{Fact, GroupBy, JobDetail, Page, QueueRecord, Reader, RollupRow};
use mainspring::core::schedule_record::{
    DueSchedule, FireWrite, Fired, LedgerRow, PutSchedule, ScheduleRecord,
};
use mainspring::core::store::{
    Affected, Bulk, ClaimBatch, ClaimRequest, Finished, HintSink, JobFilter, Orphan, Promoted, Store, Survey,
    SweepPolicy, Swept,
};
use mainspring::core::tally::{Recent, Scope};
use mainspring::core::{Json, StoreError};
use mainspring_testkit::MemoryStore;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens to calls.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Every call fails.
    pub down: bool,
    /// Calls of this name fail.
    pub fail: Option<(&'static str, StoreErrorKind)>,
    /// The next so many calls of this name are done, and then say that they were not.
    pub lose_reply: Option<(&'static str, u32)>,
    /// The database's clock is ahead of this machine's.
    pub server_ahead: Option<Duration>,
    /// It cannot be proved that hints of others arrive.
    pub blind: bool,
    /// Calls by name.
    pub calls: BTreeMap<&'static str, u32>,
}

#[derive(Clone, Copy, Debug)]
pub enum StoreErrorKind {
    Transient,
    Refusal,
}

/// See the module's text.
#[derive(Clone)]
pub struct Faulty {
    pub inner: MemoryStore,
    faults: Arc<Mutex<Faults>>,
}

impl Faulty {
    pub fn new(inner: MemoryStore) -> Faulty {
        Faulty { inner, faults: Arc::default() }
    }

    pub fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.faults.lock().unwrap());
    }

    pub fn calls(&self, name: &str) -> u32 {
        self.faults.lock().unwrap().calls.get(name).copied().unwrap_or(0)
    }

    async fn pass<T>(&self, name: &'static str, call: impl AsyncFnOnce() -> Result<T>) -> Result<T> {
        let away = || StoreError::Unavailable("the test took it away".into());
        let lose = {
            let mut faults = self.faults.lock().unwrap();
            *faults.calls.entry(name).or_default() += 1;
            if faults.down {
                return Err(away());
            }
            match faults.fail {
                Some((failing, StoreErrorKind::Transient)) if failing == name => return Err(away()),
                Some((failing, StoreErrorKind::Refusal)) if failing == name => {
                    return Err(StoreError::Internal("the test refuses it".into()));
                }
                _ => {}
            }
            match &mut faults.lose_reply {
                Some((losing, n)) if *losing == name && *n > 0 => {
                    *n -= 1;
                    true
                }
                _ => false,
            }
        };
        let answer = call().await;
        if lose { Err(StoreError::Timeout("the test lost the answer".into())) } else { answer }
    }
}

#[async_trait]
impl Reader for Faulty {
    async fn projects(&self) -> Result<Vec<(ProjectId, String)>> {
        self.pass("projects", async || self.inner.projects().await).await
    }
    async fn jobs(
        &self,
        project: ProjectId,
        filter: &JobFilter,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Page<JobRecord, JobId>> {
        self.pass("jobs", async || self.inner.jobs(project, filter, before, limit).await).await
    }
    async fn job(&self, project: ProjectId, id: JobId) -> Result<Option<JobDetail>> {
        self.pass("job", async || self.inner.job(project, id).await).await
    }
    async fn steps(&self, job: JobId) -> Result<Vec<(String, Json)>> {
        self.pass("steps", async || self.inner.steps(job).await).await
    }
    async fn logs(
        &self,
        project: ProjectId,
        job: JobId,
        after: Option<(u32, u32)>,
        limit: u32,
    ) -> Result<Vec<LogLine>> {
        self.pass("logs", async || self.inner.logs(project, job, after, limit).await).await
    }
    async fn schedules(
        &self,
        project: ProjectId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<ScheduleRecord, String>> {
        self.pass("schedules", async || self.inner.schedules(project, after, limit).await).await
    }
    async fn all_schedules(&self, after: Option<ScheduleId>, limit: u32) -> Result<Vec<ScheduleRecord>> {
        self.pass("all_schedules", async || self.inner.all_schedules(after, limit).await).await
    }
    async fn schedule(&self, project: ProjectId, name: &str) -> Result<Option<ScheduleRecord>> {
        self.pass("schedule", async || self.inner.schedule(project, name).await).await
    }
    async fn ledger(
        &self,
        project: ProjectId,
        schedule: ScheduleId,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<LedgerRow>> {
        self.pass("ledger", async || self.inner.ledger(project, schedule, from, until, limit).await).await
    }
    async fn fires(
        &self,
        project: ProjectId,
        schedule: ScheduleId,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Timestamp, JobId, JobState, bool)>> {
        self.pass("fires", async || self.inner.fires(project, schedule, from, until, limit).await).await
    }
    async fn queues(&self, project: ProjectId) -> Result<Vec<QueueRecord>> {
        self.pass("queues", async || self.inner.queues(project).await).await
    }
    async fn nodes(&self) -> Result<Vec<NodeRecord>> {
        self.pass("nodes", async || self.inner.nodes().await).await
    }
    async fn batches(
        &self,
        project: ProjectId,
        before: Option<BatchId>,
        limit: u32,
    ) -> Result<Page<BatchRecord, BatchId>> {
        self.pass("batches", async || self.inner.batches(project, before, limit).await).await
    }
    async fn batch(&self, project: ProjectId, id: BatchId) -> Result<Option<BatchRecord>> {
        self.pass("batch", async || self.inner.batch(project, id).await).await
    }
    async fn counts(&self, project: ProjectId) -> Result<Vec<(String, String, JobState, u64)>> {
        self.pass("counts", async || self.inner.counts(project).await).await
    }
    async fn rollups(
        &self,
        project: ProjectId,
        from: i64,
        until: i64,
        group: GroupBy,
        by_time: bool,
    ) -> Result<Vec<RollupRow>> {
        self.pass("rollups", async || self.inner.rollups(project, from, until, group, by_time).await).await
    }
    async fn recents(&self, project: ProjectId) -> Result<Vec<(Scope, Recent)>> {
        self.pass("recents", async || self.inner.recents(project).await).await
    }
    async fn running(&self, project: ProjectId, limit: u32) -> Result<Vec<JobRecord>> {
        self.pass("running", async || self.inner.running(project, limit).await).await
    }
    async fn events(&self, project: ProjectId, after: i64, limit: u32) -> Result<Vec<Event>> {
        self.pass("events", async || self.inner.events(project, after, limit).await).await
    }
    async fn last_event(&self, project: ProjectId) -> Result<i64> {
        self.pass("last_event", async || self.inner.last_event(project).await).await
    }
    async fn meta(&self, name: &str) -> Result<Option<String>> {
        self.pass("meta", async || self.inner.meta(name).await).await
    }
    async fn facts(&self, now: Timestamp) -> Result<Vec<Fact>> {
        self.pass("facts", async || self.inner.facts(now).await).await
    }
    async fn audit(&self) -> Result<Vec<String>> {
        self.pass("audit", async || self.inner.audit().await).await
    }
}

#[async_trait]
impl Store for Faulty {
    async fn ensure_project(&self, now: Timestamp, name: &str) -> Result<ProjectId> {
        self.pass("ensure_project", async || self.inner.ensure_project(now, name).await).await
    }
    async fn enqueue(&self, now: Timestamp, project: ProjectId, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.pass("enqueue", async || self.inner.enqueue(now, project, jobs).await).await
    }
    async fn open_batch(
        &self,
        now: Timestamp,
        project: ProjectId,
        batch: NewBatch,
        jobs: Vec<NewJob>,
    ) -> Result<(BatchId, Vec<Enqueued>)> {
        self.pass("open_batch", async || self.inner.open_batch(now, project, batch, jobs).await).await
    }
    async fn seal_batch(&self, now: Timestamp, project: ProjectId, batch: BatchId) -> Result<()> {
        self.pass("seal_batch", async || self.inner.seal_batch(now, project, batch).await).await
    }
    async fn promote(&self, now: Timestamp, limit: u32) -> Result<Promoted> {
        self.pass("promote", async || self.inner.promote(now, limit).await).await
    }
    async fn claim(&self, now: Timestamp, request: ClaimRequest) -> Result<ClaimBatch> {
        // Which claim finds the jobs is chance: an empty answer is not worth losing.
        let losing = self.faults.lock().unwrap().lose_reply.take_if(|(name, _)| *name == "claim");
        let answer = self.pass("claim", async || self.inner.claim(now, request).await).await?;
        match losing {
            Some(_) if !answer.jobs.is_empty() => Err(StoreError::Timeout("the test lost the answer".into())),
            losing => {
                if losing.is_some() {
                    self.faults.lock().unwrap().lose_reply = losing;
                }
                Ok(answer)
            }
        }
    }
    async fn finish(&self, now: Timestamp, transitions: Vec<Transition>) -> Result<Vec<Finished>> {
        self.pass("finish", async || self.inner.finish(now, transitions).await).await
    }
    async fn save_step(
        &self,
        now: Timestamp,
        job: JobId,
        attempt: u32,
        name: &str,
        result: Json,
    ) -> Result<Finished> {
        self.pass("save_step", async || self.inner.save_step(now, job, attempt, name, result).await).await
    }
    async fn append_logs(&self, now: Timestamp, lines: Vec<LogLine>) -> Result<()> {
        self.pass("append_logs", async || self.inner.append_logs(now, lines).await).await
    }
    async fn set_progress(
        &self,
        now: Timestamp,
        job: JobId,
        attempt: u32,
        progress: Progress,
    ) -> Result<Finished> {
        self.pass("set_progress", async || self.inner.set_progress(now, job, attempt, progress).await).await
    }
    async fn join(&self, now: Timestamp, node: NodeInfo) -> Result<()> {
        self.pass("join", async || self.inner.join(now, node).await).await
    }
    async fn heartbeat(&self, now: Timestamp, node: NodeId, lease: Duration) -> Result<(Beat, Survey)> {
        self.pass("heartbeat", async || self.inner.heartbeat(now, node, lease).await).await
    }
    async fn leave(&self, now: Timestamp, node: NodeId) -> Result<()> {
        self.pass("leave", async || self.inner.leave(now, node).await).await
    }
    async fn orphans(
        &self,
        now: Timestamp,
        lease: Duration,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<Orphan>> {
        self.pass("orphans", async || self.inner.orphans(now, lease, after, limit).await).await
    }
    async fn put_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        put: PutSchedule,
        actor: &str,
    ) -> Result<ScheduleId> {
        self.pass("put_schedule", async || self.inner.put_schedule(now, project, put, actor).await).await
    }
    async fn delete_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        actor: &str,
    ) -> Result<()> {
        self.pass("delete_schedule", async || self.inner.delete_schedule(now, project, name, actor).await)
            .await
    }
    async fn pause_schedule(
        &self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        pause: Option<Pause>,
        actor: &str,
    ) -> Result<()> {
        self.pass("pause_schedule", async || {
            self.inner.pause_schedule(now, project, name, pause, actor).await
        })
        .await
    }
    async fn due_schedules(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<(Vec<DueSchedule>, Option<Timestamp>)> {
        self.pass("due_schedules", async || self.inner.due_schedules(now, limit).await).await
    }
    async fn fire(&self, now: Timestamp, writes: Vec<FireWrite>) -> Result<Vec<Fired>> {
        self.pass("fire", async || self.inner.fire(now, writes).await).await
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
        self.pass("reschedule", async || {
            self.inner.reschedule(now, schedule, version, from, to, event.clone()).await
        })
        .await
    }
    async fn cancel_jobs(
        &self,
        now: Timestamp,
        project: ProjectId,
        bulk: Bulk<'_>,
        reason: &str,
        actor: &str,
    ) -> Result<Affected> {
        self.pass("cancel_jobs", async || self.inner.cancel_jobs(now, project, bulk, reason, actor).await)
            .await
    }
    async fn retry_jobs(
        &self,
        now: Timestamp,
        project: ProjectId,
        bulk: Bulk<'_>,
        actor: &str,
    ) -> Result<Affected> {
        self.pass("retry_jobs", async || self.inner.retry_jobs(now, project, bulk, actor).await).await
    }
    async fn set_queue(
        &self,
        now: Timestamp,
        project: ProjectId,
        queue: &str,
        settings: QueueSettings,
        actor: &str,
    ) -> Result<()> {
        self.pass("set_queue", async || self.inner.set_queue(now, project, queue, settings, actor).await)
            .await
    }
    async fn record(&self, now: Timestamp, project: ProjectId, event: NewEvent) -> Result<()> {
        self.pass("record", async || self.inner.record(now, project, event).await).await
    }
    async fn sweep(&self, now: Timestamp, policy: &SweepPolicy, limit: u32) -> Result<Swept> {
        self.pass("sweep", async || self.inner.sweep(now, policy, limit).await).await
    }
    async fn set_meta(&self, now: Timestamp, name: &str, value: Option<&str>) -> Result<()> {
        self.pass("set_meta", async || self.inner.set_meta(now, name, value).await).await
    }
    fn on_hint(&self, sink: HintSink) {
        self.inner.on_hint(sink)
    }
    fn hints_alive(&self) -> bool {
        !self.faults.lock().unwrap().blind && self.inner.hints_alive()
    }
    async fn server_time(&self) -> Result<Option<Timestamp>> {
        let ahead = self.faults.lock().unwrap().server_ahead;
        let now = mainspring::clock::SystemClock::machine_time();
        Ok(ahead.map(|ahead| mainspring::core::time::plus(now, ahead)))
    }
    async fn close(&self) {
        self.inner.close().await
    }
}
