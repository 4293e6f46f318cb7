//! One simulated process: the shipped engine and the shipped steps, with the simulator in the place
//! of the sleeping node. A step in the middle of a store call is a future that stopped; whoever is
//! polled next is drawn, so calls of different steps and nodes interleave, and a crash may fall
//! between a commit and its reply.

use super::faulty::{FaultyStore, Queues, Weather};
use super::handlers;
use super::scenario::{LEASE, Scenario};
use super::world::{TrueClock, WallClock, World};
use jiff::Timestamp;
use mainspring::context::Services;
use mainspring::engine::{Engine, Settings};
use mainspring::run::slot_task;
use mainspring::step::{
    Cleaner, Dispatcher, Finisher, Heartbeat, Promoter, Reaper, Scheduler, Scribe, Step, Wake, Warden,
    ZoneCheck,
};
use mainspring_core::clock::Seeded;
use mainspring_core::error::Result;
use mainspring_core::store::Store;
use mainspring_core::time;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Notify;

type Flight<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The zone data of every node.
pub const TZ: &str = "simulated";
/// The first wait after an error, doubled up to the second, as a node does it (microseconds).
const BACKOFF: (i64, i64) = (100_000, 5_000_000);
/// How often one that waits by a timer is looked at (microseconds).
const TIMER: i64 = 20_000;
/// Never.
pub const NEVER: i64 = i64::MAX;

/// Polls a future until it is done, or has stopped where the simulator may go on with another: then
/// gives the instant from which it may go on. Waits for a real database meanwhile.
pub async fn advance<T>(world: &World, flight: &mut Flight<T>) -> Result<T, i64> {
    poll_fn(|cx| match flight.as_mut().poll(cx) {
        Poll::Ready(done) => {
            world.take_stop();
            Poll::Ready(Ok(done))
        }
        Poll::Pending => match world.take_stop() {
            Some(until) => Poll::Ready(Err(until)),
            None if world.in_database() => Poll::Pending,
            // It waits by the runtime's timer, which the simulator moves.
            None => Poll::Ready(Err(world.micros() + TIMER)),
        },
    })
    .await
}

/// A loop of a node.
struct Loop {
    name: &'static str,
    step: Box<dyn Fn(Timestamp) -> Flight<Result<Wake>> + Send>,
    bell: Option<fn(&Engine) -> &Notify>,
    steady: bool,
    flight: Option<Flight<Result<Wake>>>,
    /// When it is called next, by the true time.
    due: i64,
    failures: u32,
}

impl Loop {
    fn new<S: Step>(step: S, bell: Option<fn(&Engine) -> &Notify>) -> Loop {
        let step = Arc::new(step);
        Loop {
            name: S::NAME,
            step: Box::new(move |now| {
                let step = step.clone();
                Box::pin(async move { step.step(now).await })
            }),
            bell,
            steady: false,
            flight: None,
            due: 0,
            failures: 0,
        }
    }
}

/// The task of a slot; asleep until `due`.
struct Task {
    flight: Flight<()>,
    due: i64,
}

/// See the module's text.
pub struct SimNode {
    world: Arc<World>,
    engine: Arc<Engine>,
    store: Arc<FaultyStore>,
    clock: Arc<WallClock>,
    loops: Vec<Loop>,
    tasks: Vec<Task>,
    started: Arc<AtomicBool>,
    /// Nothing of it moves before this: SIGSTOP, or a machine that swaps.
    pub frozen_until: i64,
    /// Set by a shutdown: when the grace ends.
    draining: Option<i64>,
    interrupted: bool,
    away: bool,
}

/// Something of a node that can go on now.
#[derive(Clone, Copy, Debug)]
pub enum Actor {
    /// A loop.
    Loop(usize),
    /// The task of a slot.
    Task(usize),
}

impl SimNode {
    /// A process that has just started.
    pub fn start(scenario: &Scenario, world: &Arc<World>, base: &Arc<dyn Store>, seed: u64) -> SimNode {
        let queues: Queues = scenario.queues.clone();
        let store = Arc::new(FaultyStore::new(base.clone(), Weather::new(world.clone(), queues)));
        let skew = scenario.skew_ms * 1000;
        let offset = if skew == 0 { 0 } else { seed as i64 % skew };
        let clock = WallClock::new(world.clone(), offset);
        let registry = Arc::new(handlers::registry(world));
        let services = Services::new(store.clone(), registry, clock.clone());
        let settings = Settings {
            slots: scenario.slots,
            lease: LEASE,
            grace: Duration::from_secs(5),
            sweep_every: Duration::from_secs(60),
            tz_version: TZ.into(),
            ..Settings::default()
        };
        let engine =
            Engine::new(services, Arc::new(TrueClock(world.clone())), Arc::new(Seeded::new(seed)), settings);
        let started = Arc::new(AtomicBool::new(false));
        let flag = started.clone();
        engine.set_starter(Some(Arc::new(move || flag.store(true, Ordering::Relaxed))));
        let mut warden = Loop::new(Warden(engine.clone()), Some(|e| &e.signals.warden));
        warden.steady = true;
        let loops = vec![
            Loop::new(Heartbeat::new(engine.clone()), Some(|e| &e.signals.heartbeat)),
            Loop::new(Finisher::new(engine.clone()), Some(|e| &e.signals.finish)),
            warden,
            Loop::new(Scribe(engine.clone()), None),
            Loop::new(Dispatcher::new(engine.clone()), Some(|e| &e.signals.dispatch)),
            Loop::new(Promoter(engine.clone()), Some(|e| &e.signals.promote)),
            Loop::new(Scheduler(engine.clone()), Some(|e| &e.signals.schedule)),
            Loop::new(Reaper::new(engine.clone()), Some(|e| &e.signals.reap)),
            Loop::new(Cleaner(engine.clone()), None),
            Loop::new(ZoneCheck::new(engine.clone()), None),
        ];
        SimNode {
            world: world.clone(),
            engine,
            store,
            clock,
            loops,
            tasks: Vec::new(),
            started,
            frozen_until: 0,
            draining: None,
            interrupted: false,
            away: false,
        }
    }

    /// What its steps share.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Its wall clock is wrong by so many microseconds from now on.
    pub fn jump(&self, offset: i64) {
        self.clock.set_offset(offset);
        self.engine.ring_all();
    }

    /// It is told to shut down.
    pub fn drain(&mut self) {
        self.engine.drain();
        self.draining = Some(self.world.micros() + self.engine.settings.grace.as_micros() as i64);
        // The loops that bring new work end first, with whatever call they are in.
        self.loops.truncate(4);
    }

    /// What can go on now, added to `into` as (node, actor); and when something can next.
    pub fn due(&self, nth: usize, into: &mut Vec<(usize, Actor)>) -> i64 {
        let now = self.world.micros();
        if self.frozen_until > now {
            return self.frozen_until;
        }
        let mut next = NEVER;
        for (n, it) in self.loops.iter().enumerate() {
            if it.due <= now {
                into.push((nth, Actor::Loop(n)));
            } else {
                next = next.min(it.due);
            }
        }
        for (n, task) in self.tasks.iter().enumerate() {
            if task.due <= now {
                into.push((nth, Actor::Task(n)));
            } else {
                next = next.min(task.due);
            }
        }
        next
    }

    /// Lets one of them go on until it stops. True when the process has ended.
    pub async fn go(&mut self, actor: Actor) -> bool {
        match actor {
            Actor::Loop(n) => self.go_loop(n).await,
            Actor::Task(n) => self.go_task(n).await,
        }
        self.listen();
        self.end_of_drain().await
    }

    async fn go_loop(&mut self, n: usize) {
        let now = if self.loops[n].steady { self.world.now() } else { self.engine.now() };
        let it = &mut self.loops[n];
        let mut flight = it.flight.take().unwrap_or_else(|| (it.step)(now));
        let done = match advance(&self.world, &mut flight).await {
            Ok(done) => done,
            Err(until) => {
                it.flight = Some(flight);
                it.due = until;
                return;
            }
        };
        let (true_now, own_now) = (self.world.micros(), self.engine.now());
        it.due = match done {
            Ok(wake) => {
                it.failures = 0;
                match wake {
                    Wake::Again => true_now,
                    // A wait is a length of time: a clock that jumps meanwhile does not change it.
                    Wake::At(at) => {
                        let own_now = if it.steady { self.world.now() } else { own_now };
                        true_now + time::since(own_now, at).as_micros() as i64
                    }
                    Wake::Idle if it.name == Scribe::NAME => true_now + 1_000_000,
                    Wake::Idle => NEVER,
                }
            }
            Err(error) => {
                assert!(error.is_transient(), "step {} failed for good: {error}", it.name);
                it.failures += 1;
                let bound = (BACKOFF.0 << (it.failures - 1).min(6)).min(BACKOFF.1);
                true_now + bound
            }
        };
        let (failed, is_heartbeat) = (it.failures > 0, n == 0);
        if failed {
            self.away = true;
        } else if is_heartbeat && std::mem::take(&mut self.away) {
            self.engine.ring_all();
        }
        // What it ended or asked to end is looked at by those concerned.
        let now = self.world.micros();
        if matches!(n, 0 | 2) {
            self.tasks.iter_mut().for_each(|task| task.due = task.due.min(now));
        }
    }

    async fn go_task(&mut self, n: usize) {
        match advance(&self.world, &mut self.tasks[n].flight).await {
            Ok(()) => drop(self.tasks.swap_remove(n)),
            Err(until) => self.tasks[n].due = until,
        }
    }

    /// Hears the bells that were rung, and starts what waits on the board.
    pub fn listen(&mut self) {
        let now = self.world.micros();
        for it in &mut self.loops {
            if let Some(bell) = it.bell
                && (it.failures, it.flight.is_none()) == (0, true)
                && pin!(bell(&self.engine).notified()).as_mut().enable()
            {
                it.due = it.due.min(now);
            }
        }
        if self.started.swap(false, Ordering::Relaxed) {
            let (slots, generation) = self.engine.board.assign();
            for slot in slots {
                let flight = Box::pin(slot_task(self.engine.clone(), slot, generation));
                self.tasks.push(Task { flight, due: 0 });
            }
        }
    }

    /// The end of a shutdown: what still runs after the grace is interrupted; when all is written
    /// the node leaves.
    async fn end_of_drain(&mut self) -> bool {
        let Some(grace_ends) = self.draining else { return false };
        let now = self.world.micros();
        if now >= grace_ends && !std::mem::replace(&mut self.interrupted, true) {
            self.engine.interrupt();
            self.listen();
        }
        let quiet = self.engine.board.running() == 0
            && self.engine.outbox.open() == 0
            && self.loops.iter().all(|it| it.flight.is_none());
        if !quiet && now < grace_ends + 10_000_000 {
            return false;
        }
        if let (Some(node), true) = (self.engine.node(), quiet) {
            let (store, at) = (self.store.clone(), self.engine.now());
            let mut leaving: Flight<Result<()>> = Box::pin(async move { store.leave(at, node).await });
            while advance(&self.world, &mut leaving).await.is_err() {}
        }
        true
    }

    /// Whether a shutdown was asked for; then it must be looked at again at this instant.
    pub fn drain_ends(&self) -> Option<i64> {
        self.draining.map(|at| if self.interrupted { at + 10_000_000 } else { at })
    }
}
