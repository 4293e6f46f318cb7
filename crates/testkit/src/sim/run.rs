//! One run: trouble for a while, then calm until everything is final.
//!
//! In every turn one of those who can go on is drawn and goes on until it stops again. Time moves
//! when nobody can go on, and a little now and then. Between turns the outside world acts: clients
//! enqueue, people cancel and retry, processes crash, freeze, shut down and come back, clocks jump,
//! the database goes away.

use super::Kind;
use super::check;
use super::faulty::{FaultyStore, Weather};
use super::node::{Actor, NEVER, SimNode, TZ};
use super::scenario::{LEASE, NODES, Scenario, new_job};
use super::world::{Entry, Mishap, Mishaps, World};
use crate::dice::Dice;
use jiff::Timestamp;
use mainspring_core::batch::NewBatch;
use mainspring_core::error::Result;
use mainspring_core::ids::{JobId, ProjectId, ScheduleId};
use mainspring_core::job::{JobState, NewJob};
use mainspring_core::json::Json;
use mainspring_core::queue::Pause;
use mainspring_core::schedule::ScheduleSpec;
use mainspring_core::schedule_record::PutSchedule;
use mainspring_core::store::{Bulk, Hint, JobFilter, Store};
use mainspring_core::time;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const SECOND: i64 = time::SECOND;
/// Turns after which a run that does not come to rest is stopped.
const TURNS: u64 = 400_000;
/// The calm must bring everything to its end within this.
const CALM: i64 = 3_600 * SECOND;
const P: ProjectId = ProjectId::DEFAULT;

/// A schedule as it was put first.
pub struct Planned {
    /// Its rule.
    pub spec: ScheduleSpec,
    /// Its first nominal fire.
    pub first: Option<Timestamp>,
    /// Whether it was changed later, so that its fires do not follow from one rule.
    pub changed: bool,
}

/// What a run gives to the checkers.
pub struct Finished {
    /// What it was.
    pub scenario: Scenario,
    /// The world, with its log.
    pub world: Arc<World>,
    /// The store, without the weather.
    pub base: Arc<dyn Store>,
    /// The schedules.
    pub schedules: BTreeMap<ScheduleId, Planned>,
    /// Turns it took.
    pub turns: u64,
}

/// Where a node is.
enum Place {
    Up(Box<SimNode>),
    Down { until: i64 },
}

/// See the module's text.
pub struct Run {
    scenario: Scenario,
    world: Arc<World>,
    base: Arc<dyn Store>,
    dice: Dice,
    client: Arc<FaultyStore>,
    places: Vec<Place>,
    hints: Arc<Mutex<Vec<Hint>>>,
    schedules: BTreeMap<ScheduleId, Planned>,
    known: Vec<JobId>,
    retried: BTreeSet<JobId>,
    next_event: i64,
    turns: u64,
}

impl Run {
    /// The run of a seed over a fresh store.
    pub async fn of(seed: u64, base: Arc<dyn Store>, kind: Kind) -> Finished {
        let scenario = Scenario::of(seed);
        let start = time::from_micros(1_795_341_600 * SECOND);
        let world = World::new(start, seed ^ 0x5EED, scenario.fault_once_in);
        let hints = Arc::new(Mutex::new(Vec::new()));
        let sink = hints.clone();
        if kind != Kind::Server {
            base.on_hint(Arc::new(move |hint| {
                sink.lock().unwrap_or_else(PoisonError::into_inner).push(hint)
            }));
        }
        let client =
            Arc::new(FaultyStore::new(base.clone(), Weather::new(world.clone(), scenario.queues.clone())));
        let mut run = Run {
            places: (0..NODES).map(|_| Place::Down { until: 0 }).collect(),
            dice: Dice::new(seed.wrapping_add(1) << 20),
            client,
            world,
            base,
            hints,
            schedules: BTreeMap::new(),
            known: Vec::new(),
            retried: BTreeSet::new(),
            next_event: 0,
            turns: 0,
            scenario,
        };
        run.begin().await;
        run.trouble().await;
        run.calm().await;
        let Run { scenario, world, base, schedules, turns, .. } = run;
        Finished { scenario, world, base, schedules, turns }
    }

    /// Queues and schedules, in good weather.
    async fn begin(&mut self) {
        let now = self.world.now();
        // The zone data are those of every node: no next fire is computed anew.
        self.base.set_meta(now, "tz_version", Some(TZ)).await.expect("a value");
        for (name, settings) in self.scenario.queues.iter() {
            self.base.set_queue(now, P, name, settings.clone(), "sim").await.expect("a queue");
        }
        for spec in self.scenario.schedules.clone() {
            let first = spec.first_fire(now).map(time::trunc);
            let id = self.base.put_schedule(now, P, put(&spec, first), "sim").await.expect("a schedule");
            self.schedules.insert(id, Planned { spec, first, changed: false });
        }
    }

    async fn trouble(&mut self) {
        let end = self.world.micros() + self.scenario.trouble.as_micros() as i64;
        while self.world.micros() < end {
            if self.world.micros() >= self.next_event {
                self.next_event = self.world.micros() + self.dice.between(50, 1_200) * 1_000;
                self.event().await;
            }
            let next = self.next_event.min(end);
            self.turn(next).await;
        }
    }

    /// Nothing fails any more, everyone is there, nothing new comes in.
    async fn calm(&mut self) {
        self.world.calm_down();
        let now = self.world.micros();
        for place in &mut self.places {
            match place {
                Place::Up(node) => {
                    node.frozen_until = 0;
                    node.jump(0);
                }
                Place::Down { until } => *until = now,
            }
        }
        for planned in self.schedules.values() {
            let pause = Pause { at: self.world.now(), by: "sim".into(), until: None, note: None };
            let paused =
                self.base.pause_schedule(self.world.now(), P, &planned.spec.name, Some(pause), "sim");
            paused.await.expect("a pause");
        }
        let end = now + CALM;
        loop {
            for _ in 0..100 {
                self.turn(end).await;
            }
            if self.live().await == 0 && self.in_flight() == 0 {
                return;
            }
            if self.world.micros() >= end || self.turns > TURNS {
                self.world.accuse(format!(
                    "after {} of calm and {} turns {} jobs are not final",
                    mainspring_core::duration::format(Duration::from_micros(
                        (self.world.micros() - now) as u64
                    )),
                    self.turns,
                    self.live().await,
                ));
                return;
            }
        }
    }

    async fn live(&self) -> u64 {
        let counts = self.base.counts(P).await.expect("counts");
        counts.iter().filter(|(_, _, state, _)| !state.is_final()).map(|(.., n)| n).sum()
    }

    /// Outcomes that nodes have not written yet.
    fn in_flight(&self) -> usize {
        let of = |place: &Place| match place {
            Place::Up(node) => node.engine().outbox.open(),
            Place::Down { .. } => 0,
        };
        self.places.iter().map(of).sum()
    }

    /// Lets one go on, or moves the time to when somebody can, `until` at the latest.
    async fn turn(&mut self, until: i64) {
        self.turns += 1;
        let now = self.world.micros();
        let mut due: Vec<(usize, Actor)> = Vec::new();
        let mut next = until;
        for nth in 0..self.places.len() {
            match &self.places[nth] {
                Place::Up(node) => {
                    next = next.min(node.due(nth, &mut due));
                    next = next.min(node.drain_ends().filter(|at| *at > now).unwrap_or(NEVER));
                }
                Place::Down { until } if *until <= now => {
                    let seed = self.dice.bits();
                    let node = SimNode::start(&self.scenario, &self.world, &self.base, seed);
                    self.places[nth] = Place::Up(Box::new(node));
                    next = now;
                }
                Place::Down { until } => next = next.min(*until),
            }
        }
        if due.is_empty() {
            self.world.advance_to(next.max(now + 1)).await;
            // A drain may have become due with nobody else to look at it.
            due.extend((0..self.places.len()).map(|nth| (nth, Actor::Loop(0))).filter(
                |(nth, _)| matches!(&self.places[*nth], Place::Up(node) if node.drain_ends().is_some()),
            ));
            if due.is_empty() {
                return;
            }
        } else if self.dice.once_in(8) {
            self.world.advance_to((now + self.dice.between(100, 20_000)).min(until)).await;
        }
        let (nth, actor) = *self.dice.pick(&due);
        let Place::Up(node) = &mut self.places[nth] else { return };
        if node.go(actor).await {
            self.places[nth] = Place::Down { until: self.world.micros() + self.dice.between(0, 5) * SECOND };
        }
        self.pass_hints();
        if self.turns.is_multiple_of(500) {
            self.audit().await;
        }
    }

    /// Hints get lost now and then: they only shorten sleeps.
    fn pass_hints(&mut self) {
        let hints = std::mem::take(&mut *self.hints.lock().unwrap_or_else(PoisonError::into_inner));
        for hint in hints {
            for place in &mut self.places {
                if let Place::Up(node) = place
                    && !self.dice.once_in(6)
                {
                    node.engine().hint(hint);
                    node.listen();
                }
            }
        }
    }

    /// What must hold at any time.
    async fn audit(&mut self) {
        for difference in recount(&*self.base).await {
            self.world.accuse(format!("figures and rows differ: {difference}"));
        }
        let states = vec![JobState::Scheduled, JobState::Available, JobState::Running];
        let live = JobFilter { states, ..JobFilter::default() };
        let mut holders = BTreeMap::new();
        for r in self.base.jobs(P, &live, None, 1000).await.expect("jobs").rows {
            // A person's retry may bring back one whose key another has taken since.
            let Some(key) = r.unique.filter(|key| key.starts_with("unique") && !self.retried.contains(&r.id))
            else {
                continue;
            };
            if let Some(other) = holders.insert(key.clone(), r.id) {
                self.world.accuse(format!("jobs {other} and {} live under one unique key {key:?}", r.id));
            }
        }
    }

    // ---- the outside world --------------------------------------------------------------------

    async fn event(&mut self) {
        let now = self.world.now();
        match self.dice.below(100) {
            0..60 => self.enqueue(now).await,
            60..66 => self.open_batch(now).await,
            66..71 => self.cancel(now).await,
            71..77 => self.retry(now).await,
            77..82 => self.pause_or_change(now).await,
            82..86 => self.on_some_node(|run, nth| {
                let until = run.world.micros() + run.dice.between(0, 25) * SECOND;
                run.world.count(Mishap::Crash);
                run.places[nth] = Place::Down { until };
            }),
            86..91 => self.on_some_node(|run, nth| {
                let length = run.dice.between(1, 40) * SECOND;
                let beyond = length > LEASE.as_micros() as i64;
                run.world.count(if beyond { Mishap::FreezeBeyondLease } else { Mishap::ShortFreeze });
                if let Place::Up(node) = &mut run.places[nth] {
                    node.frozen_until = run.world.micros() + length;
                }
            }),
            91..94 => self.on_some_node(|run, nth| {
                if let Place::Up(node) = &mut run.places[nth]
                    && node.drain_ends().is_none()
                {
                    run.world.count(Mishap::Drain);
                    node.drain();
                }
            }),
            94..97 if self.scenario.jumps => self.on_some_node(|run, nth| {
                let far = run.dice.between(-600, 600) * SECOND;
                run.world.count(Mishap::ClockJump);
                if let Place::Up(node) = &mut run.places[nth] {
                    node.jump(far);
                    node.listen();
                }
            }),
            97.. if self.scenario.fault_once_in > 0 => {
                let until = self.world.micros() + self.dice.between(1, 25) * SECOND;
                self.world.count(Mishap::DatabaseAway);
                self.world.lose_the_database(until);
            }
            _ => {}
        }
    }

    fn on_some_node(&mut self, act: impl FnOnce(&mut Run, usize)) {
        let up: Vec<usize> =
            (0..self.places.len()).filter(|nth| matches!(self.places[*nth], Place::Up(_))).collect();
        if !up.is_empty() {
            let nth = *self.dice.pick(&up);
            act(self, nth);
        }
    }

    /// A call of a client, from end to end.
    async fn ask<T: Send>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        // It borrows what it is about, so it cannot outlive this function as the nodes' steps do.
        let mut flight: Pin<Box<dyn Future<Output = Result<T>> + Send + '_>> = Box::pin(call);
        loop {
            let polled = std::future::poll_fn(|cx| match flight.as_mut().poll(cx) {
                std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
                std::task::Poll::Pending if self.world.take_stop().is_some() => std::task::Poll::Ready(None),
                std::task::Poll::Pending => std::task::Poll::Pending,
            });
            if let Some(done) = polled.await {
                return done;
            }
        }
    }

    async fn enqueue(&mut self, now: Timestamp) {
        let jobs: Vec<NewJob> = (0..self.dice.between(1, 3)).map(|_| new_job(&self.dice, now)).collect();
        let repeatable = jobs.iter().all(|job| job.unique.is_some());
        for _ in 0..3 {
            match self.ask(self.client.enqueue(now, P, jobs.clone())).await {
                Ok(made) => {
                    for job in made {
                        self.world.note(Entry::Promised(job.id));
                        self.known.push(job.id);
                    }
                    return;
                }
                // Whether it was written is unknown: only under a unique key may it be repeated.
                Err(_) if repeatable => {}
                Err(_) => return,
            }
        }
    }

    async fn open_batch(&mut self, now: Timestamp) {
        let follow_up = Some(new_job(&self.dice, now)).map(|job| NewJob { unique: None, ..job });
        let batch = NewBatch { name: "batch".into(), follow_up, parent: None, sealed: true };
        let jobs: Vec<NewJob> = (0..self.dice.between(0, 4)).map(|_| new_job(&self.dice, now)).collect();
        if let Ok((_, made)) = self.ask(self.client.open_batch(now, P, batch, jobs)).await {
            for job in made {
                self.world.note(Entry::Promised(job.id));
                self.known.push(job.id);
            }
        }
    }

    async fn cancel(&mut self, now: Timestamp) {
        let Some(job) = self.dice.pick_or_none(&self.known).copied() else { return };
        let filter = match self.dice.below(4) {
            0 => JobFilter { states: vec![JobState::Running], ..JobFilter::default() },
            1 => JobFilter { queue: Some("narrow".into()), ..JobFilter::default() },
            _ => JobFilter { ids: vec![job], ..JobFilter::default() },
        };
        let bulk = Bulk { filter: &filter, after: None, limit: 5 };
        // A lost reply is nothing to the person: they look and click again.
        let _ = self.ask(self.client.cancel_jobs(now, P, bulk, "no need", "ann")).await;
    }

    async fn retry(&mut self, now: Timestamp) {
        let Some(job) = self.dice.pick_or_none(&self.known).copied() else { return };
        let states = vec![*self.dice.pick(&[JobState::Failed, JobState::Cancelled, JobState::Scheduled])];
        let filter = match self.dice.below(2) {
            0 => JobFilter { states, ..JobFilter::default() },
            _ => JobFilter { ids: vec![job], ..JobFilter::default() },
        };
        let bulk = Bulk { filter: &filter, after: Some(job), limit: 3 };
        let _ = self.ask(self.client.retry_jobs(now, P, bulk, "ann")).await;
        let retried = self.world.log().into_iter().filter_map(|entry| match entry {
            Entry::Retried(job) => Some(job),
            _ => None,
        });
        self.retried = retried.collect();
    }

    async fn pause_or_change(&mut self, now: Timestamp) {
        let ids: Vec<ScheduleId> = self.schedules.keys().copied().collect();
        let id = *self.dice.pick(&ids);
        let Some(planned) = self.schedules.get_mut(&id) else { return };
        let name = planned.spec.name.clone();
        if self.dice.once_in(5) {
            // What its fires were then is not known from the rule alone any more.
            planned.changed = true;
            let mut spec = planned.spec.clone();
            spec.job.payload = serde_json::json!(self.dice.below(1_000_000));
            let first = spec.first_fire(now).map(time::trunc);
            let _ = self.ask(self.client.put_schedule(now, P, put(&spec, first), "ann")).await;
            return;
        }
        let until = time::plus(now, Duration::from_secs(self.dice.below(30)));
        let pause = Pause { at: now, by: "ann".into(), until: Some(until), note: None };
        let pause = self.dice.once_in(2).then_some(pause);
        let _ = self.ask(self.client.pause_schedule(now, P, &name, pause, "ann")).await;
    }
}

fn put(spec: &ScheduleSpec, next_fire: Option<Timestamp>) -> PutSchedule {
    PutSchedule {
        name: spec.name.clone(),
        spec: Json::of(spec).expect("a rule is JSON"),
        zone: "UTC".into(),
        next_fire,
        after_completion: spec.trigger.delay(),
        source: "code".into(),
    }
}

/// What a seed came to.
pub struct Verdict {
    /// What is wrong, in words.
    pub wrong: Vec<String>,
    /// Turns it took.
    pub turns: u64,
    /// Everything that happened, in its order.
    pub log: Vec<Entry>,
    /// What went wrong on purpose.
    pub mishaps: Mishaps,
}

/// Runs a seed over a fresh store and judges it.
pub async fn judge(seed: u64, base: Arc<dyn Store>, kind: Kind) -> Verdict {
    let finished = Run::of(seed, base, kind).await;
    let wrong = check::check(&finished).await;
    let world = &finished.world;
    Verdict { wrong, turns: finished.turns, log: world.log(), mishaps: world.mishaps() }
}

/// Where figures and rows differ. A recount opens a connection of its own, for which a busy machine may
/// take its time.
pub(super) async fn recount(store: &dyn Store) -> Vec<String> {
    let mut audit = store.audit().await;
    for _ in 0..20 {
        if !audit.as_ref().is_err_and(mainspring_core::StoreError::is_transient) {
            break;
        }
        audit = store.audit().await;
    }
    audit.expect("an audit")
}
