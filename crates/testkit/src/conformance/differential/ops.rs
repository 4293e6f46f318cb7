//! Random operations. Jobs, batches and schedules are named by the order in which they came into
//! being (from 0); a few numbers name nothing at all.

use super::super::bench::{LEASE, at, secs};
use super::side::Side;
use crate::dice::Dice;
use jiff::Timestamp;
use mainspring_core::decide::{Outcome, Transition, decide};
use mainspring_core::ids::{BatchId, JobId, NodeId, ScheduleId};
use mainspring_core::job::{ErrorRecord, Facts, JobState, NewJob, Origin, Unique, UniqueStates};
use mainspring_core::json::Json;
use mainspring_core::queue::{ALL_QUEUES, Pause, QueueSettings, Retention};
use mainspring_core::rate::Rate;
use mainspring_core::retry::{Backoff, RetryPolicy};
use mainspring_core::schedule_record::{DueSchedule, FireOutcome, FireWrite, LedgerRow, PutSchedule};
use mainspring_core::store::JobFilter;
use mainspring_core::time;
use std::collections::VecDeque;
use std::time::Duration;

pub const KINDS: [&str; 3] = ["work", "else", "stranger"];
pub const QUEUES: [&str; 3] = ["default", "fair", "slow"];
const KEYS: [&str; 3] = ["a", "b", "c"];
const SCHEDULES: [&str; 3] = ["daily", "hourly", "often"];

/// One call of a store, at an instant.
#[derive(Clone, Debug)]
pub struct Op {
    pub now: Timestamp,
    /// 0 or 1.
    pub project: usize,
    pub call: Call,
}

#[derive(Clone, Debug)]
pub enum Call {
    Enqueue(Vec<NewJob>),
    OpenBatch { sealed: bool, follow_up: Option<NewJob>, jobs: Vec<NewJob> },
    Seal(BatchId),
    Promote(u32),
    Claim { node: usize, limit: u32, kinds: Vec<&'static str>, queues: Vec<&'static str> },
    Finish(Vec<Transition>),
    SaveStep(JobId, u32, &'static str, i64),
    Log(JobId, u32, Vec<u32>),
    Progress(JobId, u32, u64),
    Join(usize),
    Heartbeat(usize),
    Leave(usize),
    Orphans(Option<JobId>, u32),
    Put(PutSchedule),
    PauseSchedule(&'static str, Option<Pause>),
    DeleteSchedule(&'static str),
    Due(u32),
    Fire(Vec<FireWrite>),
    Reschedule(ScheduleId, i64, Option<Timestamp>, Option<Timestamp>),
    Cancel(JobFilter, u32),
    Retry(JobFilter, u32),
    SetQueue(&'static str, QueueSettings),
    Record(&'static str),
    Meta(&'static str, Option<i64>),
    Sweep { completed: Duration, count: u64 },
}

/// Makes operations that make sense half of the time: it knows what the specification answered.
pub struct Script {
    dice: Dice,
    now: i64,
    /// Nodes that ever joined, and those that were alive when last heard of.
    nodes: usize,
    alive: Vec<usize>,
    jobs: usize,
    batches: usize,
    schedules: usize,
    /// Attempts that were claimed once, and those that no operation has ended yet.
    held: Vec<Facts>,
    open: Vec<Facts>,
    due: Vec<DueSchedule>,
    /// What comes next, whatever the dice say.
    pending: VecDeque<Call>,
}

impl Script {
    pub fn new(seed: u64) -> Script {
        let dice = Dice::new(seed);
        Script {
            dice,
            now: 0,
            nodes: 0,
            alive: vec![],
            jobs: 0,
            batches: 0,
            schedules: 0,
            held: vec![],
            open: vec![],
            due: vec![],
            pending: VecDeque::new(),
        }
    }

    pub fn now(&self) -> Timestamp {
        time::plus(at(0), Duration::from_millis(self.now as u64))
    }

    /// What the last operation brought.
    pub fn learn(&mut self, spec: &Side) {
        (self.jobs, self.batches, self.schedules) = spec.known();
        self.held.extend(spec.claimed.iter().cloned());
        self.open.extend(spec.claimed.iter().cloned());
        if let Some(node) = spec.unknown {
            self.alive.retain(|n| *n != node);
        }
        if let Some(due) = &spec.due {
            self.due = due.clone();
            if !due.is_empty() && !self.dice.once_in(4) {
                let fire = self.fire(self.now());
                self.pending.push_back(fire);
            }
        }
    }

    pub fn next(&mut self) -> Op {
        let wait = *self.dice.pick(&[0, 0, 1, 40, 700, 1_000, 2_500, 9_000, 61_000]);
        self.now += wait;
        if self.dice.once_in(150) {
            self.now += 26 * 3_600_000;
        }
        if wait > 5_000 && !self.dice.once_in(4) {
            self.pending.extend(self.alive.iter().rev().take(3).map(|node| Call::Heartbeat(*node)));
        }
        // Clocks of two nodes differ a little.
        let skew = if self.dice.once_in(10) { self.dice.below(1_500) as i64 } else { 0 };
        let now = time::minus(self.now(), Duration::from_millis(skew.min(self.now) as u64));
        let project = usize::from(self.dice.once_in(5));
        let call = self.pending.pop_front().unwrap_or_else(|| self.call(now));
        Op { now, project, call }
    }

    fn join(&mut self) -> Call {
        self.alive.push(self.nodes);
        self.nodes += 1;
        Call::Join(self.nodes - 1)
    }

    fn node(&self) -> usize {
        match self.dice.once_in(15) {
            true => self.dice.below(self.nodes as u64 + 1) as usize,
            false => *self.dice.pick(&self.alive),
        }
    }

    fn call(&mut self, now: Timestamp) -> Call {
        if self.alive.len() < 2 {
            return self.join();
        }
        match self.dice.below(100) {
            0..18 => Call::Enqueue(self.new_jobs(now, 6)),
            18..22 => Call::OpenBatch {
                sealed: !self.dice.once_in(3),
                follow_up: self.dice.once_in(2).then(|| self.new_job(now)),
                jobs: self.new_jobs(now, 4),
            },
            22..24 => Call::Seal(self.batch()),
            24..32 => Call::Promote(*self.dice.pick(&[1, 3, 100])),
            32..50 => self.claim(),
            50..66 => self.finish(now),
            66..68 => self.trace(),
            68..77 => self.node_call(),
            77..87 => self.schedule_call(now),
            87..90 => Call::Cancel(self.filter(), *self.dice.pick(&[2, 50])),
            90..94 => Call::Retry(self.filter(), *self.dice.pick(&[2, 50])),
            94..97 => self.set_queue(now),
            97 => Call::Record(self.dice.word(&["alert.matched", "config.changed"])),
            98 => Call::Meta(self.dice.word(&["x", "y"]), self.dice.once_in(2).then_some(self.now)),
            _ => Call::Sweep {
                completed: *self.dice.pick(&[secs(3600), secs(86_400)]),
                count: *self.dice.pick(&[5, 1000]),
            },
        }
    }

    /// Everything that lives is cancelled, so that the next seed finds a quiet store.
    pub fn wind_up(&mut self) -> Vec<Op> {
        let mut ops = Vec::new();
        for project in 0..2 {
            for name in SCHEDULES {
                ops.push(Op { now: self.now(), project, call: Call::DeleteSchedule(name) });
            }
            ops.push(Op { now: self.now(), project, call: Call::Cancel(JobFilter::default(), 100) });
        }
        let ends =
            self.held.clone().into_iter().map(|facts| {
                decide(&facts, Outcome::Cancelled { reason: "the end".into() }, self.now(), 0.0)
            });
        let ends: Vec<Transition> = ends.collect();
        for part in ends.chunks(500) {
            ops.push(Op { now: self.now(), project: 0, call: Call::Finish(part.to_vec()) });
        }
        // Follow-ups that came of it.
        for project in 0..2 {
            ops.push(Op { now: self.now(), project, call: Call::Cancel(JobFilter::default(), 100) });
        }
        for node in 0..self.nodes {
            ops.push(Op { now: self.now(), project: 0, call: Call::Leave(node) });
        }
        ops
    }

    fn job(&self) -> JobId {
        JobId(self.dice.below(self.jobs as u64 + 2) as i64)
    }

    fn batch(&self) -> BatchId {
        BatchId(self.dice.below(self.batches as u64 + 1) as i64)
    }

    fn new_jobs(&self, now: Timestamp, most: i64) -> Vec<NewJob> {
        (0..self.dice.between(0, most)).map(|_| self.new_job(now)).collect()
    }

    fn new_job(&self, now: Timestamp) -> NewJob {
        let d = &self.dice;
        let later = |most: i64| time::plus(now, Duration::from_millis(d.between(0, most) as u64));
        let payload = Json::of(&d.below(1000)).unwrap_or_else(|_| Json::null());
        let mut job = NewJob { queue: (*d.pick(&QUEUES)).into(), ..NewJob::new(*d.pick(&KINDS), payload) };
        job.priority = d.between(3, 7) as u8;
        job.retry = RetryPolicy {
            max_attempts: d.between(1, 3) as u32,
            backoff: Backoff::Fixed(*d.pick(&[secs(0), secs(2), secs(30)])),
            retry_timeouts: !d.once_in(3),
        };
        job.run_at = match d.below(5) {
            0 => Some(later(60_000)),
            1 => Some(time::minus(now, Duration::from_millis(d.below(9_000)))),
            _ => None,
        };
        job.expires_at = d.once_in(6).then(|| later(90_000));
        job.timeout = d.once_in(4).then(|| secs(9));
        job.key = d.pick_or_none(&KEYS).map(|key| (*key).into());
        job.key_limit = d.once_in(5).then(|| d.between(1, 2) as u32);
        job.unique = d.once_in(4).then(|| Unique {
            key: (*d.pick(&KEYS)).into(),
            period: d.pick_or_none(&[secs(5), secs(600)]).copied(),
            states: *d.pick(&[UniqueStates::LIVE, UniqueStates::ANY, UniqueStates::of(&[JobState::Failed])]),
        });
        job.batch = d.once_in(40).then(|| self.batch());
        if d.once_in(8) && self.schedules > 0 {
            let schedule = ScheduleId(d.below(self.schedules as u64) as i64);
            let fire = at(d.between(0, 5) * 60);
            (job.origin, job.schedule) = *d.pick(&[
                (Origin::Manual, Some((schedule, None))),
                (Origin::Backfill, Some((schedule, Some(fire)))),
            ]);
        }
        job
    }

    fn claim(&self) -> Call {
        let d = &self.dice;
        let kinds = if d.once_in(4) { vec![*d.pick(&KINDS)] } else { vec!["work", "else"] };
        let queues = if d.once_in(4) { vec![*d.pick(&QUEUES), "none"] } else { vec![] };
        Call::Claim { node: self.node(), limit: d.between(1, 8) as u32, kinds, queues }
    }

    fn finish(&mut self, now: Timestamp) -> Call {
        let mut ends = Vec::new();
        for _ in 0..self.dice.between(1, 5) {
            let nth = self.dice.below(self.open.len() as u64 + 1) as usize;
            let facts = match self.dice.below(15) {
                // One that has ended already, most likely.
                0 if !self.held.is_empty() => self.dice.pick(&self.held).clone(),
                // One that never was.
                1 if !self.held.is_empty() => {
                    let attempt = self.dice.below(3) as u32;
                    Facts { job: self.job(), attempt, ..self.held[0].clone() }
                }
                _ if nth < self.open.len() => self.open.remove(nth),
                _ => continue,
            };
            ends.push(decide(&facts, self.outcome(now), now, self.dice.chance()));
        }
        Call::Finish(ends)
    }

    fn outcome(&self, now: Timestamp) -> Outcome {
        let output = || Some(Json::trusted("{\"n\": 1}"));
        let error = |class: &str| ErrorRecord::new(class, "it broke", vec!["because".into()]);
        match self.dice.below(12) {
            0..5 => Outcome::Succeeded { output: output() },
            5 => Outcome::Partial { output: output(), failures: 2 },
            6 => Outcome::Skipped { reason: "nothing new".into() },
            7 => Outcome::Failed { error: error("fatal"), retryable: false, after: None },
            8 => Outcome::Failed { error: error("retryable"), retryable: true, after: None },
            9 => Outcome::TimedOut { error: error("timeout") },
            10 => Outcome::Snoozed { until: time::plus(now, secs(self.dice.below(20))) },
            _ => match self.dice.below(3) {
                0 => Outcome::Cancelled { reason: "no need".into() },
                1 => Outcome::Interrupted { reason: "deploy".into() },
                _ => Outcome::LeaseExpired,
            },
        }
    }

    fn trace(&self) -> Call {
        let (job, attempt) = match self.open.last() {
            Some(facts) if !self.dice.once_in(4) => (facts.job, facts.attempt),
            _ => (self.job(), 1),
        };
        match self.dice.below(3) {
            0 => Call::SaveStep(job, attempt, self.dice.word(&["one", "two"]), self.now),
            1 => Call::Log(job, attempt, (0..3).map(|_| self.dice.below(9) as u32).collect()),
            _ => Call::Progress(job, attempt, self.dice.below(100)),
        }
    }

    fn node_call(&mut self) -> Call {
        let node = self.node();
        match self.dice.below(12) {
            0 => self.join(),
            1 => Call::Join(node.min(self.nodes - 1)),
            2 => {
                self.alive.retain(|n| *n != node);
                Call::Leave(node)
            }
            3..6 => Call::Orphans(self.dice.once_in(3).then(|| self.job()), self.dice.between(1, 9) as u32),
            _ => Call::Heartbeat(node),
        }
    }

    fn schedule_call(&self, now: Timestamp) -> Call {
        let d = &self.dice;
        let name = *d.pick(&SCHEDULES);
        let next = || time::plus(now, Duration::from_millis(d.below(20_000)));
        match d.below(10) {
            0..3 => Call::Put(PutSchedule {
                name: name.into(),
                spec: Json::of(&d.below(2)).unwrap_or_else(|_| Json::null()),
                zone: (*d.pick(&["UTC", "Asia/Kathmandu"])).into(),
                next_fire: Some(next()),
                after_completion: d.once_in(3).then(|| secs(d.below(20))),
                source: "config".into(),
            }),
            3 => {
                let pause = Pause { at: now, by: "ann".into(), until: Some(next()), note: None };
                Call::PauseSchedule(name, d.once_in(2).then_some(pause))
            }
            4 if d.once_in(3) => Call::DeleteSchedule(name),
            4..7 => Call::Due(d.between(1, 4) as u32),
            7 => match self.due.first() {
                Some(due) => {
                    let r = &due.record;
                    Call::Reschedule(r.id, r.version, r.next_fire, Some(next()))
                }
                None => Call::Due(3),
            },
            _ => self.fire(now),
        }
    }

    fn fire(&self, now: Timestamp) -> Call {
        Call::Fire(self.due.iter().filter_map(|due| self.write(due, now)).collect())
    }

    /// What a look at a due schedule may decide; stale looks too.
    fn write(&self, due: &DueSchedule, now: Timestamp) -> Option<FireWrite> {
        let d = &self.dice;
        let r = &due.record;
        let fire = r.next_fire?;
        let jobs = (0..d.below(3)).map(|n| NewJob {
            origin: Origin::Fire,
            schedule: Some((r.id, Some(time::plus(fire, secs(n))))),
            batch: None,
            ..self.new_job(now)
        });
        let row = LedgerRow {
            first: time::plus(fire, secs(5)),
            last: time::plus(fire, secs(6)),
            count: 2,
            outcome: *d.pick(&[FireOutcome::Skipped, FireOutcome::Missed]),
            reason: (*d.pick(&["overlap", "late"])).into(),
        };
        Some(FireWrite {
            schedule: r.id,
            version: r.version,
            expected_fire: fire,
            next_fire: (!d.once_in(5)).then(|| time::plus(fire, secs(10))),
            jobs: jobs.collect(),
            ledger: if d.once_in(2) { vec![row] } else { vec![] },
            replace: if d.once_in(4) { due.live.iter().map(|(id, _)| *id).collect() } else { vec![] },
        })
    }

    fn filter(&self) -> JobFilter {
        let d = &self.dice;
        let some = JobFilter::default();
        match d.below(8) {
            0 => JobFilter { states: vec![*d.pick(JobState::ALL)], ..some },
            1 => JobFilter {
                queue: Some((*d.pick(&QUEUES)).into()),
                kind: Some((*d.pick(&KINDS)).into()),
                ..some
            },
            2 => JobFilter { key: Some((*d.pick(&KEYS)).into()), ..some },
            3 => JobFilter { error_class: Some("timeout".into()), ..some },
            4 => JobFilter { batch: Some(self.batch()), ..some },
            _ => JobFilter { ids: (0..d.between(1, 4)).map(|_| self.job()).collect(), ..some },
        }
    }

    fn set_queue(&self, now: Timestamp) -> Call {
        let d = &self.dice;
        let rate = || Rate { count: d.between(1, 30) as u32, per: secs(30) };
        let queue = *d.pick(&["default", "fair", "slow", ALL_QUEUES]);
        let until = Some(time::plus(now, secs(d.below(30))));
        let settings = QueueSettings {
            paused: d.once_in(5).then(|| Pause { at: now, by: "ann".into(), until, note: None }),
            max_running: d.once_in(3).then(|| d.between(1, 9) as u32),
            max_running_per_key: d.once_in(2).then(|| d.between(1, 3) as u32),
            rate: (queue == "slow").then(rate),
            rate_per_key: d.once_in(4).then(rate),
            fair: queue == "fair",
            retention: d.once_in(9).then(|| Retention { count: 3, ..Retention::default() }),
        };
        Call::SetQueue(queue, settings)
    }
}

/// The node of a place in the order of joins.
pub fn node_id(seed: u64, nth: usize) -> NodeId {
    NodeId(1_000_000 * seed as i64 + nth as i64 + 1)
}

/// The lease of every call.
pub const OPS_LEASE: Duration = LEASE;
