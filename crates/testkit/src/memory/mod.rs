//! `MemoryStore`: what the traits [`Store`] and [`Reader`] mean, as a program that can be read in
//! one sitting. The real stores are held to it by the conformance suite's differential cases.
//!
//! Plain maps behind one lock. A call is a transaction ([`Tx`]): it refuses before it writes, then
//! changes the maps, and [`Tx::settle`] does what belongs to every transaction's end: batches that
//! ended, held jobs whose key has room again, figures. The files are named like those of the other
//! stores.
//!
//! It deliberately does nothing clever: no index where a scan will do, no clock, no background work.
//! Nothing outlives the process.

mod claim;
mod control;
mod enqueue;
mod events;
mod finish;
mod nodes;
mod read;
mod schedule;
mod store;
mod sweep;

use jiff::Timestamp;
use mainspring_core::batch::{BatchRecord, BatchState, NewBatch};
use mainspring_core::claim::{self as rules, KeyState, QueueState};
use mainspring_core::error::Result;
use mainspring_core::event::{self, Event, NewEvent};
use mainspring_core::ids::{BatchId, JobId, NodeId, ProjectId, ScheduleId};
use mainspring_core::job::{Attempt, AttemptOutcome, JobRecord, JobState, LogLine, Origin, Progress};
use mainspring_core::json::Json;
use mainspring_core::node::NodeRecord;
use mainspring_core::queue::{ALL_QUEUES, QueueSettings};
use mainspring_core::schedule_record::{LedgerRow, ScheduleRecord};
use mainspring_core::store::{Hint, HintSink};
use mainspring_core::tally::{Recent, RollupKey, RollupSum, Route, Scope, Tally};
use mainspring_core::{StoreError, limits, time};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(doc)]
use mainspring_core::{reader::Reader, store::Store};

/// The executable specification of a store. Cheap to clone: a clone is another handle on the same
/// data, as another process would have it.
#[derive(Clone, Default)]
pub struct MemoryStore {
    data: Arc<Mutex<Data>>,
    sinks: Arc<Mutex<Vec<HintSink>>>,
}

impl MemoryStore {
    /// An empty store: project 1, `default`, and nothing else.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One transaction at `now`.
    fn write<T>(&self, now: Timestamp, change: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> Result<T> {
        let (answer, hints) = {
            let mut data = self.lock();
            let mut tx = Tx {
                db: &mut data,
                now: time::trunc(now),
                tally: Tally::default(),
                freed: BTreeSet::new(),
                batches: BTreeSet::new(),
                hints: Vec::new(),
            };
            let answer = change(&mut tx)?;
            tx.settle();
            (answer, tx.hints)
        };
        // After the lock is gone: a sink may call back.
        let sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (sink, hint) in sinks.iter().flat_map(|sink| hints.iter().map(move |hint| (sink, hint))) {
            sink(*hint);
        }
        Ok(answer)
    }
}

/// A concurrency key: project, queue, key. The empty key is that of jobs without one, whose turns
/// a fair queue counts together.
type KeyId = (ProjectId, Arc<str>, Arc<str>);

/// Everything the store knows.
struct Data {
    projects: BTreeMap<String, ProjectId>,
    jobs: BTreeMap<JobId, Job>,
    /// Jobs that are not final: nothing else is ever claimed, promoted, rescued or held.
    live: BTreeSet<JobId>,
    /// Finished attempts, but for first ones that succeeded: the job's own columns tell those.
    attempts: BTreeMap<(JobId, u32), Attempt>,
    steps: BTreeMap<JobId, Vec<(String, Json, Timestamp)>>,
    logs: BTreeMap<(JobId, u32, u32), LogLine>,
    /// The last job written with each unique key.
    uniques: BTreeMap<(ProjectId, String), JobId>,
    /// The job of each nominal fire; true: of its backfill.
    fires: BTreeMap<(ScheduleId, bool, Timestamp), JobId>,
    queues: BTreeMap<(ProjectId, Arc<str>), Queue>,
    keys: BTreeMap<KeyId, KeyState>,
    batches: BTreeMap<BatchId, Batch>,
    schedules: BTreeMap<ScheduleId, ScheduleRecord>,
    ledger: BTreeMap<ScheduleId, Vec<LedgerRow>>,
    nodes: BTreeMap<NodeId, Node>,
    events: BTreeMap<i64, Event>,
    counters: BTreeMap<(Route, JobState), i64>,
    rollups: BTreeMap<RollupKey, RollupSum>,
    recents: BTreeMap<(ProjectId, Scope), Recent>,
    meta: BTreeMap<String, String>,
    /// The last number given out of each sequence.
    last_job: i64,
    last_batch: i64,
    last_schedule: i64,
    last_event: i64,
}

impl Default for Data {
    fn default() -> Self {
        Data {
            projects: BTreeMap::from([("default".to_owned(), ProjectId::DEFAULT)]),
            jobs: BTreeMap::new(),
            live: BTreeSet::new(),
            attempts: BTreeMap::new(),
            steps: BTreeMap::new(),
            logs: BTreeMap::new(),
            uniques: BTreeMap::new(),
            fires: BTreeMap::new(),
            queues: BTreeMap::new(),
            keys: BTreeMap::new(),
            batches: BTreeMap::new(),
            schedules: BTreeMap::new(),
            ledger: BTreeMap::new(),
            nodes: BTreeMap::new(),
            events: BTreeMap::new(),
            counters: BTreeMap::new(),
            rollups: BTreeMap::new(),
            recents: BTreeMap::new(),
            meta: BTreeMap::new(),
            last_job: 0,
            last_batch: 0,
            last_schedule: 0,
            last_event: 0,
        }
    }
}

/// A job with what readers are not shown.
struct Job {
    record: JobRecord,
    /// Its place among those that wait: see [`mainspring_core::claim`]. None while it is scheduled,
    /// unless a rate put it off: then it keeps the place it had.
    ord: Option<i64>,
    key_limit: Option<u32>,
    /// Until when its unique key holds; for ever when absent.
    unique_until: Option<Timestamp>,
    /// How far it is, and which attempt said so.
    progress: Option<(u32, Progress)>,
}

impl Job {
    fn route(&self) -> Route {
        let r = &self.record;
        Route { project: r.project, queue: r.queue.clone(), kind: r.kind.clone() }
    }

    /// Its concurrency key, if it has one.
    fn key_id(&self) -> Option<KeyId> {
        let r = &self.record;
        r.key.as_ref().map(|key| (r.project, r.queue.clone(), key.clone()))
    }

    /// The batch that counts it. A batch's follow-up belongs to it but is not counted.
    fn counted_in(&self) -> Option<BatchId> {
        self.record.batch.filter(|_| self.record.origin != Origin::FollowUp)
    }

    /// Whether a claim may look at it.
    fn is_waiting(&self) -> bool {
        self.record.state == JobState::Available && !self.record.held
    }

    /// Its first attempt, when that succeeded and so has no row.
    fn first_success(&self) -> Option<Attempt> {
        let r = &self.record;
        let told =
            r.attempt == 1 && r.state == JobState::Completed && r.outcome == Some(AttemptOutcome::Succeeded);
        told.then(|| Attempt {
            number: 1,
            node: r.node,
            started_at: r.started_at.unwrap_or(r.created_at),
            finished_at: r.finished_at,
            outcome: r.outcome,
            error: None,
        })
    }
}

#[derive(Default)]
struct Queue {
    settings: QueueSettings,
    state: QueueState,
}

struct Batch {
    record: BatchRecord,
    follow_up: Option<mainspring_core::job::NewJob>,
}

struct Node {
    record: NodeRecord,
    /// It left, or was seen dead: it gets nothing more, and its heartbeat does not bring it back.
    ended: bool,
}

impl Data {
    fn queue(&mut self, project: ProjectId, queue: &Arc<str>) -> &mut Queue {
        self.queues.entry((project, queue.clone())).or_default()
    }

    fn settings(&self, project: ProjectId, queue: &str) -> QueueSettings {
        self.queues.get(&(project, Arc::from(queue))).map(|q| q.settings.clone()).unwrap_or_default()
    }

    fn running_jobs(&self) -> impl Iterator<Item = &Job> {
        self.live.iter().map(|id| &self.jobs[id]).filter(|job| job.record.state == JobState::Running)
    }
}

/// One call's transaction.
struct Tx<'a> {
    db: &'a mut Data,
    now: Timestamp,
    tally: Tally,
    /// Keys of which a job ended: held jobs may have room.
    freed: BTreeSet<KeyId>,
    /// Batches of which a job ended, or that were sealed: they may be over.
    batches: BTreeSet<BatchId>,
    hints: Vec<Hint>,
}

impl Tx<'_> {
    fn hint(&mut self, hint: Hint) {
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
    }

    fn event(&mut self, project: ProjectId, event: NewEvent) {
        self.db.last_event += 1;
        let id = self.db.last_event;
        self.db.events.insert(id, Event { id, project, at: self.now, event });
    }

    /// Puts a job into `state` and the counters with it.
    fn move_to(&mut self, id: JobId, state: JobState) {
        let Some(job) = self.db.jobs.get_mut(&id) else { return };
        let from = std::mem::replace(&mut job.record.state, state);
        if from != state {
            self.tally.moved(&job.route(), from, state);
        }
        if state.is_final() {
            self.db.live.remove(&id);
        } else {
            self.db.live.insert(id);
        }
        if matches!(state, JobState::Available | JobState::Scheduled) {
            self.hint(Hint::Jobs);
        }
    }

    /// Gives a job that becomes available its place: by the time it became due, or by its key's
    /// turn where the queue is fair. One that has a place (a rate had put it off) keeps it.
    fn place(&mut self, id: JobId) {
        let Some(job) = self.db.jobs.get_mut(&id) else { return };
        if job.ord.is_some() {
            return;
        }
        let r = &job.record;
        let queue = self.db.queues.entry((r.project, r.queue.clone())).or_default();
        job.ord = Some(if queue.settings.fair {
            let key = (r.project, r.queue.clone(), r.key.clone().unwrap_or_default());
            rules::fair_ord(&queue.state, self.db.keys.entry(key).or_default(), r.priority)
        } else {
            rules::ord(r.run_at, r.priority)
        });
    }

    /// Cancels a job that waits: by a person, by expiry, or in favour of a later fire.
    fn cancel_waiting(&mut self, id: JobId, reason: &str, actor: Option<&str>) {
        let Some(job) = self.db.jobs.get_mut(&id) else { return };
        let reason = limits::cut(reason, limits::NOTE);
        let r = &mut job.record;
        r.reason = Some(reason.clone());
        r.finished_at = Some(self.now);
        r.held = false;
        job.ord = None;
        let event = event::of_cancelled(id, &r.kind, &r.queue, &reason);
        let project = r.project;
        self.move_to(id, JobState::Cancelled);
        self.event(
            project,
            match actor {
                Some(actor) => event.by(actor),
                None => event,
            },
        );
        self.ended(id);
    }

    /// What the end of a job means to others: its key, its batch, its schedule. The job is final
    /// and bears its outcome already.
    fn ended(&mut self, id: JobId) {
        let job = &self.db.jobs[&id];
        self.freed.extend(job.key_id());
        if let Some(batch) = job.counted_in() {
            let (state, outcome) = (job.record.state, job.record.outcome);
            if let Some(batch) = self.db.batches.get_mut(&batch) {
                *count_of(&mut batch.record, state, outcome) += 1;
            }
            self.batches.insert(batch);
        }
        let job = &self.db.jobs[&id];
        if matches!(job.record.state, JobState::Failed | JobState::Cancelled) {
            // What it opened and left unsealed is given up.
            let left =
                self.db.batches.values().map(|b| &b.record).filter(|b| b.parent == Some(id) && !b.sealed);
            self.batches.extend(left.map(|b| b.id));
        }
        let at = job.record.finished_at.unwrap_or(self.now);
        if let Some(schedule) = job.record.schedule.and_then(|id| self.db.schedules.get_mut(&id))
            && let Some(delay) = schedule.after_completion
        {
            schedule.next_fire = Some(time::plus(at, delay));
            self.hint(Hint::Schedules);
        }
    }

    /// The end of every transaction, in this order: batches by number, keys by name, figures.
    fn settle(&mut self) {
        for batch in std::mem::take(&mut self.batches) {
            self.close_batch(batch);
        }
        for key in std::mem::take(&mut self.freed) {
            self.release(&key);
        }
        self.tally.settle();
        let tally = std::mem::take(&mut self.tally);
        for (key, n) in tally.counters {
            *self.db.counters.entry(key).or_default() += n;
        }
        for (key, sum) in tally.rollups {
            let row = self.db.rollups.entry(key).or_default();
            row.count += sum.count;
            row.total_us += sum.total_us;
        }
        for (key, recent) in tally.recents {
            self.db.recents.entry(key).or_default().merge(&recent);
        }
    }

    /// Ends a batch that is sealed or given up and has no pending job: once, with its event and, if
    /// it is sealed, its follow-up.
    fn close_batch(&mut self, id: BatchId) {
        let Some(batch) = self.db.batches.get_mut(&id) else { return };
        let parent = batch.record.parent.and_then(|id| self.db.jobs.get(&id)).map(|job| job.record.state);
        let given_up = matches!(parent, Some(JobState::Failed | JobState::Cancelled));
        let sealed = batch.record.sealed;
        let counts = batch.record.counts;
        let state = if given_up && !sealed { counts.state_given_up() } else { counts.state(sealed) };
        if state == BatchState::Open || batch.record.state != BatchState::Open {
            return;
        }
        batch.record.state = state;
        batch.record.finished_at = Some(self.now);
        let project = batch.record.project;
        let follow_up = batch.follow_up.clone().filter(|_| sealed && batch.record.follow_up.is_none());
        let event = event::of_batch(id, &batch.record.name, state);
        self.event(project, event);
        if let Some(mut job) = follow_up {
            job.batch = Some(id);
            job.origin = Origin::FollowUp;
            let made = self.write_job(project, job);
            if let Some(batch) = self.db.batches.get_mut(&id) {
                batch.record.follow_up = Some(made.id);
            }
        }
    }

    /// Releases held jobs of a key, in claim order, as many as may run beside those that do. They
    /// are judged again when they are claimed.
    fn release(&mut self, key: &KeyId) {
        let per_key = self.db.settings(key.0, &key.1).max_running_per_key;
        let running = self.db.keys.get(key).map_or(0, |state| state.running);
        let mut held: Vec<_> = self
            .db
            .live
            .iter()
            .map(|id| &self.db.jobs[id])
            .filter(|job| job.record.held && job.key_id().as_ref() == Some(key))
            .map(|job| (job.ord, job.record.id, job.key_limit))
            .collect();
        held.sort_unstable();
        for (running, (_, id, own)) in (running..).zip(held) {
            let limit = per_key.into_iter().chain(own).min();
            if limit.is_some_and(|limit| running >= u64::from(limit)) {
                break;
            }
            if let Some(job) = self.db.jobs.get_mut(&id) {
                job.record.held = false;
            }
            self.hint(Hint::Jobs);
        }
    }

    /// One more (or one fewer) running job of a queue, of all queues together, and of a key.
    fn count_running(&mut self, id: JobId, more: bool) {
        let job = &self.db.jobs[&id];
        let (project, queue, key) = (job.record.project, job.record.queue.clone(), job.key_id());
        let step = |n: &mut u64| *n = if more { *n + 1 } else { n.saturating_sub(1) };
        step(&mut self.db.queue(project, &queue).state.running);
        step(&mut self.db.queue(project, &ALL_QUEUES.into()).state.running);
        if let Some(key) = key {
            step(&mut self.db.keys.entry(key).or_default().running);
        }
    }
}

/// The count of a batch that a job belongs to, by how it ended.
fn count_of(batch: &mut BatchRecord, state: JobState, outcome: Option<AttemptOutcome>) -> &mut u64 {
    let counts = &mut batch.counts;
    match (state, outcome) {
        (JobState::Completed, Some(AttemptOutcome::Partial)) => &mut counts.partial,
        (JobState::Completed, _) => &mut counts.succeeded,
        (JobState::Cancelled, _) => &mut counts.cancelled,
        _ => &mut counts.failed,
    }
}

/// Refuses a list that is too long.
fn check_len(field: &'static str, len: usize) -> Result<()> {
    if len > limits::BATCH {
        let text = format!("{len} entries, at most {} are allowed in one call", limits::BATCH);
        return Err(StoreError::Invalid { field, text });
    }
    Ok(())
}

/// Refuses a name that is none.
fn check_name(field: &'static str, name: &str) -> Result<()> {
    mainspring_core::job::check_name(name).map_err(|text| StoreError::Invalid { field, text })
}

fn not_found(what: &'static str, name: impl ToString) -> StoreError {
    StoreError::NotFound { what, name: name.to_string() }
}

/// `limit` of a call that writes.
fn at_most(limit: u32) -> usize {
    (limit as usize).min(limits::BATCH)
}
