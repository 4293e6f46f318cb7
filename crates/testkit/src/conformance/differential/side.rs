//! One of the two stores: does what an operation says, with its own numbers, and says what came of
//! it with the numbers of the order of creation.
//!
//! Long because it has one arm for each operation of the contract.

use super::super::bench::node_info;
use super::ops::{Call, OPS_LEASE, Op, node_id};
use jiff::Timestamp;
use mainspring_core::batch::{BatchRecord, NewBatch};
use mainspring_core::error::Result;
use mainspring_core::event::{Event, NewEvent};
use mainspring_core::ids::{BatchId, JobId, ProjectId, ScheduleId};
use mainspring_core::job::{Claimed, Enqueued, Facts, JobRecord, LogLevel, LogLine, NewJob, Progress};
use mainspring_core::json::Json;
use mainspring_core::queue::{ALL_QUEUES, QueueSettings, Retention};
use mainspring_core::reader::GroupBy;
use mainspring_core::schedule_record::{DueSchedule, FireWrite, Fired, ScheduleRecord};
use mainspring_core::store::{Affected, Bulk, ClaimRequest, JobFilter, Store, SweepPolicy};
use mainspring_core::{StoreError, limits, time};
use std::fmt::{Debug, Write};
use std::sync::Arc;

/// A number that names nothing.
const NOTHING: i64 = i64::MAX / 4;

pub struct Side {
    pub store: Arc<dyn Store>,
    seed: u64,
    projects: [ProjectId; 2],
    jobs: Vec<JobId>,
    batches: Vec<BatchId>,
    schedules: Vec<ScheduleId>,
    /// Numbers at or below these belong to earlier seeds.
    before: (JobId, BatchId, ScheduleId),
    told: [i64; 2],
    /// Attempts that the last operation claimed or found orphaned.
    pub claimed: Vec<Facts>,
    /// The node that the last operation found not to be known.
    pub unknown: Option<usize>,
    /// What the last operation saw due, if it looked.
    pub due: Option<Vec<DueSchedule>>,
}

impl Side {
    pub async fn open(store: Arc<dyn Store>, seed: u64) -> Side {
        let start = super::super::bench::at(0);
        let mut projects = [ProjectId::DEFAULT; 2];
        for (n, project) in projects.iter_mut().enumerate() {
            *project = store.ensure_project(start, &format!("seed {seed} {n}")).await.expect("a project");
        }
        let mut side = Side {
            store,
            seed,
            projects,
            jobs: vec![],
            batches: vec![],
            schedules: vec![],
            before: (JobId(0), BatchId(0), ScheduleId(0)),
            told: [0; 2],
            claimed: vec![],
            unknown: None,
            due: None,
        };
        side.before.2 = side.all_schedules().await.last().map_or(ScheduleId(0), |s| s.id);
        side
    }

    /// How many jobs, batches and schedules there are.
    pub fn known(&self) -> (usize, usize, usize) {
        (self.jobs.len(), self.batches.len(), self.schedules.len())
    }

    // ---- numbers ------------------------------------------------------------------------------

    fn own_job(&self, nth: JobId) -> JobId {
        self.jobs.get(nth.0 as usize).copied().unwrap_or(JobId(NOTHING))
    }
    fn own_batch(&self, nth: BatchId) -> BatchId {
        self.batches.get(nth.0 as usize).copied().unwrap_or(BatchId(NOTHING))
    }
    fn own_schedule(&self, nth: ScheduleId) -> ScheduleId {
        self.schedules.get(nth.0 as usize).copied().unwrap_or(ScheduleId(NOTHING))
    }
    fn nth_job(&self, id: JobId) -> JobId {
        JobId(self.jobs.iter().position(|j| *j == id).map_or(-1, |n| n as i64))
    }
    fn nth_batch(&self, id: BatchId) -> BatchId {
        BatchId(self.batches.iter().position(|b| *b == id).map_or(-1, |n| n as i64))
    }
    fn nth_schedule(&self, id: ScheduleId) -> ScheduleId {
        ScheduleId(self.schedules.iter().position(|s| *s == id).map_or(-1, |n| n as i64))
    }
    fn nth_project(&self, id: ProjectId) -> ProjectId {
        ProjectId(self.projects.iter().position(|p| *p == id).map_or(-1, |n| n as i64))
    }

    fn own_jobs(&self, jobs: &[NewJob]) -> Vec<NewJob> {
        let own = |job: &NewJob| NewJob {
            batch: job.batch.map(|id| self.own_batch(id)),
            schedule: job.schedule.map(|(id, at)| (self.own_schedule(id), at)),
            ..job.clone()
        };
        jobs.iter().map(own).collect()
    }

    fn own_filter(&self, filter: &JobFilter) -> JobFilter {
        JobFilter {
            ids: filter.ids.iter().map(|id| self.own_job(*id)).collect(),
            batch: filter.batch.map(|id| self.own_batch(id)),
            schedule: filter.schedule.map(|id| self.own_schedule(id)),
            ..filter.clone()
        }
    }

    fn record(&self, r: JobRecord) -> JobRecord {
        JobRecord {
            id: self.nth_job(r.id),
            project: self.nth_project(r.project),
            batch: r.batch.map(|id| self.nth_batch(id)),
            schedule: r.schedule.map(|id| self.nth_schedule(id)),
            ..r
        }
    }

    fn claim(&self, c: Claimed) -> Claimed {
        Claimed {
            facts: Facts { job: self.nth_job(c.facts.job), ..c.facts },
            project: self.nth_project(c.project),
            batch: c.batch.map(|id| self.nth_batch(id)),
            schedule: c.schedule.map(|(id, at)| (self.nth_schedule(id), at)),
            ..c
        }
    }

    fn schedule(&self, s: ScheduleRecord) -> ScheduleRecord {
        ScheduleRecord { id: self.nth_schedule(s.id), project: self.nth_project(s.project), ..s }
    }

    fn batch(&self, b: BatchRecord) -> BatchRecord {
        BatchRecord {
            id: self.nth_batch(b.id),
            project: self.nth_project(b.project),
            parent: b.parent.map(|id| self.nth_job(id)),
            follow_up: b.follow_up.map(|id| self.nth_job(id)),
            ..b
        }
    }

    fn enqueued(&self, made: &[Enqueued]) -> Vec<(JobId, bool)> {
        made.iter().map(|e| (self.nth_job(e.id), e.duplicate)).collect()
    }

    // ---- what came into being -----------------------------------------------------------------

    async fn all_schedules(&self) -> Vec<ScheduleRecord> {
        let mut all = Vec::<ScheduleRecord>::new();
        loop {
            let page = self.store.all_schedules(all.last().map(|s| s.id), 1000).await.expect("schedules");
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// Jobs, batches and schedules that the last operation made, in order of their numbers.
    async fn look(&mut self) {
        let (mut jobs, mut batches) = (Vec::new(), Vec::new());
        let last_job = self.jobs.last().copied().unwrap_or(self.before.0);
        let last_batch = self.batches.last().copied().unwrap_or(self.before.1);
        for project in self.projects {
            let mut before = None;
            loop {
                let page = self.store.jobs(project, &JobFilter::default(), before, 20).await.expect("jobs");
                let fresh: Vec<_> = page.rows.iter().map(|r| r.id).filter(|id| *id > last_job).collect();
                let all_fresh = fresh.len() == page.rows.len();
                jobs.extend(fresh);
                before = page.next;
                if !all_fresh || before.is_none() {
                    break;
                }
            }
            let page = self.store.batches(project, None, 20).await.expect("batches");
            batches.extend(page.rows.iter().map(|b| b.id).filter(|id| *id > last_batch));
        }
        jobs.sort_unstable();
        batches.sort_unstable();
        self.jobs.extend(jobs);
        self.batches.extend(batches);
        let last = self.schedules.last().copied().unwrap_or(self.before.2);
        let fresh = self.store.all_schedules(Some(last), 1000).await.expect("schedules");
        self.schedules.extend(fresh.into_iter().map(|s| s.id));
    }

    // ---- operations ---------------------------------------------------------------------------

    /// Does it, and says what came of it.
    pub async fn apply(&mut self, op: &Op) -> String {
        self.claimed.clear();
        self.due = None;
        self.unknown = None;
        let said = match &op.call {
            Call::Join(_) | Call::Heartbeat(_) | Call::Leave(_) | Call::Orphans(..) => self.node(op).await,
            Call::Put(_)
            | Call::PauseSchedule(..)
            | Call::DeleteSchedule(_)
            | Call::Due(_)
            | Call::Fire(_)
            | Call::Reschedule(..) => self.schedules(op).await,
            Call::Cancel(..)
            | Call::Retry(..)
            | Call::SetQueue(..)
            | Call::Record(_)
            | Call::Meta(..)
            | Call::Sweep { .. } => self.people(op).await,
            _ => self.work(op).await,
        };
        // Those that make what they tell of have looked already.
        if matches!(
            op.call,
            Call::Seal(_) | Call::Promote(_) | Call::Claim { .. } | Call::Finish(_) | Call::Cancel(..)
        ) {
            self.look().await;
        }
        said
    }

    async fn work(&mut self, op: &Op) -> String {
        let (s, now, project) = (self.store.clone(), op.now, self.projects[op.project]);
        match &op.call {
            Call::Enqueue(jobs) => {
                let made = s.enqueue(now, project, self.own_jobs(jobs)).await;
                self.look().await;
                say(made.map(|made| self.enqueued(&made)))
            }
            Call::OpenBatch { sealed, follow_up, jobs } => {
                let follow_up =
                    follow_up.as_ref().map(|job| self.own_jobs(std::slice::from_ref(job)).remove(0));
                let batch = NewBatch { name: "batch".into(), follow_up, parent: None, sealed: *sealed };
                let made = s.open_batch(now, project, batch, self.own_jobs(jobs)).await;
                self.look().await;
                say(made.map(|(id, made)| (self.nth_batch(id), self.enqueued(&made))))
            }
            Call::Seal(batch) => say(s.seal_batch(now, project, self.own_batch(*batch)).await),
            Call::Promote(limit) => say(s.promote(now, *limit).await),
            Call::Claim { node, limit, kinds, queues } => {
                let names = |list: &[&str]| list.iter().map(|name| (*name).into()).collect();
                let node = node_id(self.seed, *node);
                let request = ClaimRequest {
                    node,
                    limit: *limit,
                    kinds: names(kinds),
                    queues: names(queues),
                    project: None,
                };
                let got = s.claim(now, request).await.map(|batch| {
                    let jobs: Vec<_> = batch.jobs.into_iter().map(|c| self.claim(c)).collect();
                    (jobs, batch.more, batch.wake_at)
                });
                if let Ok((jobs, ..)) = &got {
                    self.claimed = jobs.iter().map(|c| c.facts.clone()).collect();
                }
                say(got)
            }
            Call::Finish(transitions) => {
                let mut own = transitions.clone();
                own.iter_mut().for_each(|t| t.job = self.own_job(t.job));
                say(s.finish(now, own).await)
            }
            Call::SaveStep(job, attempt, name, n) => {
                let result = Json::trusted(n.to_string());
                say(s.save_step(now, self.own_job(*job), *attempt, name, result).await)
            }
            Call::Log(job, attempt, seqs) => {
                let line = |seq: &u32| LogLine {
                    job: self.own_job(*job),
                    attempt: *attempt,
                    seq: *seq,
                    at: now,
                    level: LogLevel::Warn,
                    message: format!("line {seq}"),
                    fields: None,
                };
                say(s.append_logs(now, seqs.iter().map(line).collect()).await)
            }
            Call::Progress(job, attempt, done) => {
                let progress = Progress { done: *done, total: None, note: None };
                say(s.set_progress(now, self.own_job(*job), *attempt, progress).await)
            }
            other => unreachable!("{other:?} belongs elsewhere"),
        }
    }

    async fn node(&mut self, op: &Op) -> String {
        let (s, now) = (self.store.clone(), op.now);
        match &op.call {
            Call::Join(nth) => say(s.join(now, node_info(node_id(self.seed, *nth))).await),
            Call::Leave(nth) => say(s.leave(now, node_id(self.seed, *nth)).await),
            Call::Heartbeat(nth) => {
                let told =
                    s.heartbeat(now, node_id(self.seed, *nth), OPS_LEASE).await.map(|(beat, survey)| {
                        let cancel = beat.cancel.iter().map(|(id, attempt)| (self.nth_job(*id), *attempt));
                        let mut cancel: Vec<_> = cancel.collect();
                        cancel.sort_unstable();
                        (beat.known, cancel, survey.waiting, survey.next_run_at, survey.next_fire)
                    });
                if told.as_ref().is_ok_and(|(known, ..)| !known) {
                    self.unknown = Some(*nth);
                }
                say(told)
            }
            Call::Orphans(after, limit) => {
                let after = after.map(|nth| self.own_job(nth));
                let found = s.orphans(now, OPS_LEASE, after, *limit).await.map(|found| {
                    let facts =
                        found.into_iter().map(|o| Facts { job: self.nth_job(o.facts.job), ..o.facts });
                    facts.collect::<Vec<_>>()
                });
                self.claimed = found.clone().unwrap_or_default();
                say(found)
            }
            other => unreachable!("{other:?} belongs elsewhere"),
        }
    }

    async fn schedules(&mut self, op: &Op) -> String {
        let (s, now, project) = (self.store.clone(), op.now, self.projects[op.project]);
        match &op.call {
            Call::Put(put) => {
                let put = s.put_schedule(now, project, put.clone(), "ann").await;
                self.look().await;
                say(put.map(|id| self.nth_schedule(id)))
            }
            Call::PauseSchedule(name, pause) => {
                say(s.pause_schedule(now, project, name, pause.clone(), "ann").await)
            }
            Call::DeleteSchedule(name) => say(s.delete_schedule(now, project, name, "ann").await),
            Call::Due(limit) => {
                let due = s.due_schedules(now, *limit).await.map(|(due, next)| {
                    let due = due.into_iter().map(|d| DueSchedule {
                        record: self.schedule(d.record),
                        live: d.live.iter().map(|(id, state)| (self.nth_job(*id), *state)).collect(),
                    });
                    (due.collect::<Vec<_>>(), next)
                });
                self.due = due.as_ref().ok().map(|(due, _)| due.clone());
                say(due)
            }
            Call::Fire(writes) => {
                let own = |w: &FireWrite| FireWrite {
                    schedule: self.own_schedule(w.schedule),
                    jobs: self.own_jobs(&w.jobs),
                    replace: w.replace.iter().map(|id| self.own_job(*id)).collect(),
                    ..w.clone()
                };
                let fired = s.fire(now, writes.iter().map(own).collect()).await;
                self.look().await;
                let told = |f: Fired| match f {
                    Fired::Written(made) => Some(self.enqueued(&made)),
                    Fired::Lost => None,
                };
                say(fired.map(|fired| fired.into_iter().map(told).collect::<Vec<_>>()))
            }
            Call::Reschedule(id, version, from, to) => {
                say(s.reschedule(now, self.own_schedule(*id), *version, *from, *to, Some(moved())).await)
            }
            other => unreachable!("{other:?} belongs elsewhere"),
        }
    }

    async fn people(&mut self, op: &Op) -> String {
        let (s, now, project) = (self.store.clone(), op.now, self.projects[op.project]);
        match &op.call {
            Call::Cancel(filter, limit) | Call::Retry(filter, limit) => {
                let filter = self.own_filter(filter);
                let (mut all, mut after) = (Vec::new(), None);
                loop {
                    let bulk = Bulk { filter: &filter, after, limit: *limit };
                    let done = match &op.call {
                        Call::Cancel(..) => s.cancel_jobs(now, project, bulk, "no need", "ann").await,
                        _ => s.retry_jobs(now, project, bulk, "ann").await,
                    };
                    let Affected { jobs, next } = match done {
                        Ok(affected) => affected,
                        Err(e) => return say::<()>(Err(e)),
                    };
                    all.extend(jobs.into_iter().map(|id| self.nth_job(id)));
                    after = next;
                    if after.is_none() {
                        return say(Ok(all));
                    }
                }
            }
            Call::SetQueue(name, settings) => {
                say(s.set_queue(now, project, name, settings.clone(), "ann").await)
            }
            Call::Record(name) => {
                let event = mainspring_core::event::NewEvent::new(name, "s".into(), serde_json::json!({}));
                say(s.record(now, project, event).await)
            }
            Call::Meta(name, value) => {
                let name = format!("{name} {}", self.seed);
                let set = s.set_meta(now, &name, value.map(|n| n.to_string()).as_deref()).await;
                say(match set {
                    Ok(()) => s.meta(&name).await,
                    Err(e) => Err(e),
                })
            }
            Call::Sweep { completed, count } => {
                let jobs = Retention { completed: *completed, failed: 2 * *completed, count: *count };
                let policy = SweepPolicy { jobs, ..SweepPolicy::default() };
                // How much one step takes is the store's own affair.
                for _ in 0..100 {
                    match s.sweep(now, &policy, 50).await {
                        Ok(swept) if swept.more => {}
                        Ok(_) => return "swept".into(),
                        Err(e) => return say::<()>(Err(e)),
                    }
                }
                "a sweep without end".into()
            }
            other => unreachable!("{other:?} belongs elsewhere"),
        }
    }

    // ---- what it tells ------------------------------------------------------------------------

    /// Events since the last call, sorted: their order within a transaction is the store's own.
    pub async fn news(&mut self) -> String {
        let mut lines = Vec::new();
        for n in 0..2 {
            loop {
                let page = self.store.events(self.projects[n], self.told[n], 1000).await.expect("events");
                let Some(last) = page.last() else { break };
                self.told[n] = last.id;
                lines.extend(page.iter().map(|event| self.event(n, event)));
            }
        }
        lines.sort_unstable();
        lines.join("\n")
    }

    fn event(&self, project: usize, e: &Event) -> String {
        let number = |prefix: &str| e.event.subject.strip_prefix(prefix).and_then(|n| n.parse::<i64>().ok());
        let subject = match (number("job/"), number("batch/")) {
            (Some(id), _) => format!("job/{}", self.nth_job(JobId(id))),
            (_, Some(id)) => format!("batch/{}", self.nth_batch(BatchId(id))),
            _ => e.event.subject.clone(),
        };
        // The data of these come from the domain; those of others are the store's own words.
        let told = ["job.", "batch.", "schedule.coalesced", "schedule.skipped", "schedule.missed"];
        let from_core = told.iter().any(|p| e.event.name.starts_with(p)) && e.event.name != "job.retried";
        let data = if from_core { e.event.data.value() } else { serde_json::Value::Null };
        format!("{project} {} {} {subject} {:?} {data}", e.at, e.event.name, e.event.actor)
    }

    /// Everything readers are shown.
    pub async fn dump(&self, now: Timestamp) -> String {
        let mut out = String::new();
        let s = &self.store;
        for project in self.projects {
            self.dump_jobs(&mut out, project).await;
            let mut after = None;
            loop {
                let page = s.schedules(project, after.as_deref(), 7).await.expect("schedules");
                for r in page.rows {
                    let (from, until) =
                        (time::minus(now, limits::DURATION / 8), time::plus(now, limits::DURATION / 8));
                    line(
                        &mut out,
                        "ledger",
                        s.ledger(project, r.id, from, until, 1000).await.expect("a ledger"),
                    );
                    let fires = s.fires(project, r.id, from, until, 1000).await.expect("fires");
                    let fires =
                        fires.into_iter().map(|(at, id, state, back)| (at, self.nth_job(id), state, back));
                    let mut fires: Vec<_> = fires.collect();
                    fires.sort_unstable();
                    line(&mut out, "fires", fires);
                    line(&mut out, "schedule", self.schedule(r));
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            for b in s.batches(project, None, 1000).await.expect("batches").rows {
                line(&mut out, "batch", self.batch(b));
            }
            self.dump_figures(&mut out, project).await;
        }
        for n in s.nodes().await.expect("nodes") {
            // What a store shows of nodes that are gone is its own affair.
            if n.heartbeat_at >= time::minus(now, OPS_LEASE) {
                line(&mut out, "node", n);
            }
        }
        out
    }

    async fn dump_jobs(&self, out: &mut String, project: ProjectId) {
        let s = &self.store;
        let mut before = None;
        loop {
            let page = s.jobs(project, &JobFilter::default(), before, 50).await.expect("jobs");
            for r in page.rows {
                let id = r.id;
                let detail = s.job(project, id).await.expect("a job").expect("the job of a listing");
                assert_eq!(detail.job, r, "a listing and a detail differ");
                line(out, "job", self.record(r));
                line(out, "  of it", (detail.attempts, detail.steps, detail.progress));
                for mut l in s.logs(project, id, None, 1000).await.expect("logs") {
                    l.job = self.nth_job(l.job);
                    line(out, "  log", l);
                }
            }
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        let running = s.running(project, 1000).await.expect("running");
        line(out, "running", running.into_iter().map(|r| self.nth_job(r.id)).collect::<Vec<_>>());
    }

    async fn dump_figures(&self, out: &mut String, project: ProjectId) {
        let s = &self.store;
        let mut counts = s.counts(project).await.expect("counts");
        counts.retain(|(.., n)| *n > 0);
        counts.sort();
        line(out, "counts", counts);
        for mut q in s.queues(project).await.expect("queues") {
            q.project = self.nth_project(q.project);
            q.counts.retain(|_, n| *n > 0);
            if q.name == ALL_QUEUES {
                q.counts.clear();
                q.oldest_waiting = None;
            }
            if !q.counts.is_empty() || q.settings != QueueSettings::default() {
                line(out, "queue", q);
            }
        }
        for group in [GroupBy::Kind, GroupBy::Queue, GroupBy::Nothing] {
            for row in s.rollups(project, 0, i64::MAX / 2, group, false).await.expect("roll-ups") {
                line(out, "rollup", row);
            }
        }
        for (scope, recent) in s.recents(project).await.expect("recents") {
            let mut entries = recent.0;
            if entries.len() == limits::RECENT {
                // Of those that ended at the instant of the cut any may have been kept.
                let cut = entries[0].0;
                entries.retain(|(at, _)| *at > cut);
            }
            entries.sort_unstable();
            let scope = match scope {
                mainspring_core::tally::Scope::Schedule(id) => format!("schedule {}", self.nth_schedule(id)),
                other => format!("{other:?}"),
            };
            line(out, "recent", (scope, entries));
        }
    }
}

fn line(out: &mut String, what: &str, it: impl Debug) {
    let _ = writeln!(out, "{what} {it:?}");
}

/// An answer as a text; of a refusal, which.
fn say<T: Debug>(answer: Result<T>) -> String {
    match answer {
        Ok(it) => format!("{it:?}"),
        Err(StoreError::NotFound { what, .. }) => format!("no such {what}"),
        Err(StoreError::Conflict(_)) => "a conflict".into(),
        Err(StoreError::Invalid { .. }) => "invalid".into(),
        Err(other) => format!("an error: {other}"),
    }
}

/// What tells of a schedule that was moved.
fn moved() -> NewEvent {
    NewEvent::new("schedule.moved", "schedule/x".into(), serde_json::json!({}))
}
