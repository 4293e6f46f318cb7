//! What the steps of one node share: its settings, its place among the nodes, the jobs in its hands,
//! the outcomes on their way, and the signals by which one step wakes another.
//!
//! Nothing here sleeps or spawns; a simulator builds an `Engine` and calls the steps in whatever
//! order it likes, a [`crate::Node`] builds one and sleeps between them.

mod board;
mod events;
mod outbox;

pub use board::{Board, NextJob};
pub use events::{BACKLOG, NodeEvent, NodeEvents};
pub use outbox::{Done, Ended, Outbox};

pub(crate) use board::Slot;

use crate::context::{Services, StopReason};
use crate::remote::Outside;
use jiff::Timestamp;
use mainspring_core::clock::{Clock, Entropy};
use mainspring_core::decide::Outcome;
use mainspring_core::ids::{JobId, NodeId};
use mainspring_core::job::Claimed;
use mainspring_core::node::{LEASE, NodeInfo};
use mainspring_core::store::{Hint, Store, SweepPolicy};
use mainspring_core::{limits, time};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// What may be set on a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// For people.
    pub name: String,
    /// Attempts at once.
    pub slots: usize,
    /// The queues it serves; empty means all.
    pub queues: Vec<Arc<str>>,
    /// How long a node may be silent before its attempts are taken.
    pub lease: Duration,
    /// How long running attempts may go on after a shutdown was asked for.
    pub grace: Duration,
    /// How long an attempt may go on after its cancellation was asked for.
    pub cancel_grace: Duration,
    /// Polling while hints are proved to arrive; every heartbeat is one.
    pub poll: Duration,
    /// Polling while they are not.
    pub poll_blind: Duration,
    /// Housekeeping every so often.
    pub sweep_every: Duration,
    /// How long things are kept.
    pub sweep: SweepPolicy,
    /// How far the machine's clock may be from the database's.
    pub max_skew: Duration,
    /// The version of the time zone data in use.
    pub tz_version: String,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            name: "node".into(),
            slots: 50,
            queues: Vec::new(),
            lease: LEASE,
            grace: Duration::from_secs(30),
            cancel_grace: Duration::from_secs(5),
            poll: Duration::from_secs(5),
            poll_blind: Duration::from_secs(1),
            sweep_every: Duration::from_secs(300),
            sweep: SweepPolicy::default(),
            max_skew: Duration::from_secs(60),
            tz_version: String::new(),
        }
    }
}

impl Settings {
    /// How often a sign of life is given: a third of the lease, or as often as polling must be.
    pub fn heartbeat_every(&self, hints_alive: bool) -> Duration {
        (self.lease / 3).min(if hints_alive { self.poll } else { self.poll_blind })
    }
}

/// One bell per loop.
#[derive(Default)]
pub struct Signals {
    /// Claim.
    pub dispatch: Notify,
    /// Promote.
    pub promote: Notify,
    /// Look at schedules.
    pub schedule: Notify,
    /// Write outcomes.
    pub finish: Arc<Notify>,
    /// End: the store is for newer programs.
    pub outgrown: Notify,
    /// Heartbeat now: a cancellation was asked for.
    pub heartbeat: Notify,
    /// Look for orphans.
    pub reap: Notify,
    /// A time-out is nearer than the one waited for.
    pub warden: Notify,
    /// Measure the clock.
    pub skew: Notify,
    /// Look at alert rules: the clock jumped.
    pub watch: Notify,
}

/// See the module's text.
pub struct Engine {
    /// Store, registry, clock.
    pub services: Arc<Services>,
    /// A clock that never jumps, for time-outs.
    pub steady: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Settings.
    pub settings: Settings,
    /// Slots and the jobs in hand.
    pub board: Board,
    /// Outcomes on their way.
    pub outbox: Outbox,
    /// Bells.
    pub signals: Signals,
    /// What happens, for who listens.
    pub events: NodeEvents,
    /// Workers outside that come to this process.
    pub outside: Arc<Outside>,
    /// Every attempt that was claimed and whose end is not written.
    hand: Mutex<HashSet<(JobId, u32)>>,
    kinds: Vec<Arc<str>>,
    node: Mutex<Option<NodeId>>,
    draining: AtomicBool,
    skewed: AtomicBool,
    /// Why this program must not go on with the store.
    outgrown: OnceLock<String>,
    /// Reapers judge nobody before this, in microseconds.
    judge_after: AtomicI64,
    /// The last heartbeat that was answered, in microseconds of the steady clock.
    heard: AtomicI64,
    /// The earliest deadline the warden waits for, in microseconds of the steady clock.
    watched: AtomicI64,
    starter: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

impl Engine {
    /// An engine that has not joined yet.
    pub fn new(
        services: Arc<Services>,
        steady: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        settings: Settings,
    ) -> Arc<Engine> {
        let signals = Signals::default();
        Arc::new(Engine {
            kinds: services.registry.kinds().map(|(kind, _)| kind.clone()).collect(),
            services,
            steady,
            entropy,
            board: Board::new(settings.slots),
            outbox: Outbox::new(signals.finish.clone()),
            settings,
            signals,
            events: NodeEvents::default(),
            outside: Arc::default(),
            hand: Mutex::default(),
            node: Mutex::default(),
            draining: AtomicBool::new(false),
            skewed: AtomicBool::new(false),
            outgrown: OnceLock::new(),
            judge_after: AtomicI64::new(i64::MIN),
            heard: AtomicI64::new(i64::MIN),
            watched: AtomicI64::new(i64::MAX),
            starter: Mutex::default(),
        })
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.services.store
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.services.clock.now()
    }

    /// The kinds this node knows.
    pub fn kinds(&self) -> &[Arc<str>] {
        &self.kinds
    }

    /// Who this node is, once it has joined.
    pub fn node(&self) -> Option<NodeId> {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_node(&self, node: Option<NodeId>) {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner) = node;
    }

    /// What it tells of itself when it joins as `id`.
    pub(crate) fn info(&self, id: NodeId) -> NodeInfo {
        NodeInfo {
            id,
            name: limits::cut(&self.settings.name, limits::NAME),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            slots: self.settings.slots as u32,
            queues: self.settings.queues.iter().map(ToString::to_string).collect(),
            kinds: self.services.registry.kinds().map(|(kind, _)| kind.to_string()).collect(),
            tz_version: self.settings.tz_version.clone(),
        }
    }

    /// Nothing new is taken from now on. What was claimed and not started is given back.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.give_back(self.board.close(), "the node is shutting down");
    }

    /// Whether [`Engine::drain`] was called.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// A newer program has changed the store in a way that this one cannot work with: nothing is
    /// claimed from now on, and the node that runs this ends.
    pub(crate) fn outgrow(&self, why: String) {
        if self.outgrown.set(why).is_ok() {
            self.signals.outgrown.notify_one();
        }
    }

    /// Why this program must not go on with the store; None while it may.
    pub fn outgrown(&self) -> Option<&str> {
        self.outgrown.get().map(String::as_str)
    }

    /// Sets whether the clock is too far off to claim.
    pub fn set_skewed(&self, skewed: bool) {
        self.skewed.store(skewed, Ordering::SeqCst);
    }

    /// Whether jobs may be claimed now.
    pub(crate) fn may_claim(&self) -> bool {
        !self.draining() && self.outgrown().is_none() && !self.skewed.load(Ordering::SeqCst)
    }

    /// The database was lost: after it is back, every node must have had the time to show that it
    /// lives before anyone is judged.
    pub(crate) fn postpone_judgement(&self, now: Timestamp) {
        let at = time::micros(time::plus(now, self.settings.lease));
        self.judge_after.fetch_max(at, Ordering::SeqCst);
    }

    /// A heartbeat of this node was answered just now.
    pub(crate) fn heard(&self) {
        self.heard.store(time::micros(self.steady.now()), Ordering::SeqCst);
    }

    /// Whether this node itself was not heard lately. It must judge nobody then: if the database was
    /// away, everyone looks dead to whoever reaches it first.
    pub(crate) fn unheard(&self) -> bool {
        let silent = time::micros(self.steady.now()).saturating_sub(self.heard.load(Ordering::SeqCst));
        silent > (self.settings.lease * 2 / 3).as_micros() as i64
    }

    pub(crate) fn judge_after(&self) -> Timestamp {
        time::from_micros(self.judge_after.load(Ordering::SeqCst))
    }

    /// These are in this node's hand from now on.
    pub(crate) fn hold(&self, jobs: &[Claimed]) {
        let mut hand = self.hand.lock().unwrap_or_else(PoisonError::into_inner);
        hand.extend(jobs.iter().map(|c| (c.facts.job, c.facts.attempt)));
    }

    /// The ends of these are written.
    pub(crate) fn let_go(&self, ended: impl Iterator<Item = (JobId, u32)>) {
        let mut hand = self.hand.lock().unwrap_or_else(PoisonError::into_inner);
        for attempt in ended {
            hand.remove(&attempt);
        }
    }

    /// Whether the attempt is in this node's hand.
    pub(crate) fn holds(&self, job: JobId, attempt: u32) -> bool {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner).contains(&(job, attempt))
    }

    /// Gives claimed jobs that were not started back to the queue; costs them no attempt.
    pub(crate) fn give_back(&self, jobs: Vec<Claimed>, reason: &str) {
        let at = self.now();
        for claimed in jobs {
            let outcome = Outcome::Interrupted { reason: reason.into() };
            self.outbox.push(Done { attempt: Ended::Waited(Box::new(claimed)), outcome, at });
        }
    }

    /// Forgets everything in hand: it belongs to others now. Outcomes that are still on their way
    /// will be found stale.
    pub(crate) fn drop_everything(&self) {
        drop(self.board.take_waiting());
        let dropped = self.board.judge(|running| {
            running.cx.stop().ask(StopReason::LeaseLost);
            Some(StopReason::LeaseLost)
        });
        drop(dropped);
        self.hand.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Asks a running or waiting attempt to end.
    pub(crate) fn cancel(&self, job: JobId, attempt: u32) {
        if let Some(claimed) = self.board.take_one(job, attempt) {
            let outcome = Outcome::Cancelled { reason: "cancelled before it started".into() };
            let attempt = Ended::Waited(Box::new(claimed));
            self.outbox.push(Done { attempt, outcome, at: self.now() });
            return;
        }
        let by = time::plus(self.steady.now(), self.settings.cancel_grace);
        self.ask_to_stop(StopReason::Cancelled, by, |cx| cx.job_id() == job && cx.attempt() == attempt);
    }

    /// Asks attempts to end, and ends them at `by` if they have not.
    pub(crate) fn ask_to_stop(
        &self,
        reason: StopReason,
        by: Timestamp,
        which: impl Fn(&crate::Context) -> bool,
    ) {
        drop(self.board.judge(|running| {
            if which(&running.cx) && running.cx.stop_reason().is_none() {
                running.cx.stop().ask(reason);
                running.stop_by = Some((by, reason));
            }
            None
        }));
        self.watch(by);
    }

    /// Ends the grace time of a drain: what still runs is asked to end, and given back at once when
    /// it does not.
    pub fn interrupt(&self) {
        let by = time::plus(self.steady.now(), crate::node::INTERRUPT);
        self.ask_to_stop(StopReason::Shutdown, by, |_| true);
    }

    /// The warden must look no later than `at` (by the steady clock).
    pub(crate) fn watch(&self, at: Timestamp) {
        let at = time::micros(at);
        if at < self.watched.load(Ordering::Acquire) {
            self.watched.fetch_min(at, Ordering::AcqRel);
            self.signals.warden.notify_one();
        }
    }

    /// The warden looks now, and will look again at `next` whatever happens.
    pub(crate) fn watched(&self, next: i64) {
        self.watched.store(next, Ordering::Release);
    }

    /// Jobs wait on the board: start them.
    pub(crate) fn start(&self) {
        let starter = self.starter.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(start) = starter {
            start();
        }
    }

    /// Who starts what waits on the board.
    pub fn set_starter(&self, start: Option<Arc<dyn Fn() + Send + Sync>>) {
        *self.starter.lock().unwrap_or_else(PoisonError::into_inner) = start;
    }

    /// Rings the bells a hint of the store is about.
    pub fn hint(&self, hint: Hint) {
        match hint {
            Hint::Jobs => {
                self.signals.dispatch.notify_one();
                self.signals.promote.notify_one();
                self.outside.ring();
            }
            Hint::Schedules => self.signals.schedule.notify_one(),
            Hint::Cancel => self.signals.heartbeat.notify_one(),
        }
    }

    /// Rings all bells: the clock jumped, or the database is back.
    pub fn ring_all(&self) {
        self.outside.ring();
        self.outside.arrived();
        let s = &self.signals;
        for bell in [
            &s.dispatch,
            &s.promote,
            &s.schedule,
            &*s.finish,
            &s.heartbeat,
            &s.reap,
            &s.warden,
            &s.skew,
            &s.watch,
        ] {
            bell.notify_one();
        }
    }
}
