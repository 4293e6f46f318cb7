//! The node's own thread: starts the loops, and ends them in the right order.

use super::drive::{Driver, Weather};
use super::threads::Threads;
use super::{INTERRUPT, NodeError, Summary, pause};
use crate::client::{Client, ClientError};
use crate::clock::SystemClock;
use crate::context::StopReason;
use crate::engine::{Engine, NodeEvent};
use crate::step::{
    Cleaner, Dispatcher, Finisher, Heartbeat, Herald, Overseer, Promoter, Reaper, Scheduler, Scribe, Skew,
    Step, Warden, Watcher, ZoneCheck, scribe,
};
use mainspring_core::{StoreError, time};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;

/// How long the last outcomes may take to be written, after the grace time.
const FLUSH: Duration = Duration::from_millis(400);
/// How long each last call (what is still being claimed, the loops' ends, leaving) may take.
const LAST: Duration = Duration::from_millis(100);
/// A promoter that is rung with every enqueue looks at most this often.
const PROMOTE_GAP: Duration = Duration::from_millis(20);
/// A jump of the machine's clock worth waking everyone for.
const JUMP: Duration = Duration::from_secs(1);

/// Runs the node on the calling thread until `stopped` is ready or its sender is gone.
pub(super) fn run(
    engine: Arc<Engine>,
    corrected: Option<Arc<SystemClock>>,
    threads: usize,
    stopped: oneshot::Receiver<()>,
) -> Result<Summary, NodeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let threads = Threads::new(engine.clone(), threads)?;
        let summary = Control { engine, threads: threads.clone() }.run(corrected, stopped).await;
        threads.end();
        summary
    })
}

struct Control {
    engine: Arc<Engine>,
    threads: Arc<Threads>,
}

impl Control {
    async fn run(
        self,
        corrected: Option<Arc<SystemClock>>,
        stopped: oneshot::Receiver<()>,
    ) -> Result<Summary, NodeError> {
        let engine = self.engine.clone();
        let threads: Weak<Threads> = Arc::downgrade(&self.threads);
        engine.set_starter(Some(Arc::new(move || {
            if let Some(threads) = threads.upgrade() {
                threads.start();
            }
        })));
        let hinted = Arc::downgrade(&engine);
        engine.store().on_hint(Arc::new(move |hint| {
            if let Some(engine) = hinted.upgrade() {
                engine.hint(hint);
            }
        }));
        let (stop_taking, taking) = watch::channel(false);
        let (stop_writing, writing) = watch::channel(false);
        let heartbeat = Heartbeat::new(engine.clone());
        let skew = corrected.map(|clock| Skew::new(engine.clone(), clock));
        let stopped = match first_contact(&engine, &heartbeat, skew.as_ref(), stopped).await? {
            Some(stopped) => stopped,
            None => return Ok(Summary::default()),
        };
        let weather = Arc::new(Weather::default());
        let mut takers = self.start_takers(self.driver(taking, &weather), skew);
        let mut writers = self.start_writers(self.driver(writing, &weather), heartbeat);
        tokio::select! {
            // An error says that whoever ran the node has gone, which means the same.
            _ = stopped => {}
            () = engine.signals.outgrown.notified() => {
                tracing::error!(why = engine.outgrown().unwrap_or_default(), "the node ends");
            }
        }
        let _ = stop_taking.send(true);
        let interrupted = self.drain().await;
        // What a claim brings after this is left to the reaper: leaving makes it due at once.
        end(&mut takers).await;
        let unwritten = self.flush().await;
        let _ = stop_writing.send(true);
        end(&mut writers).await;
        if let Some(node) = engine.node().filter(|_| unwritten == 0) {
            tokio::select! {
                left = engine.store().leave(engine.now(), node) => if let Err(error) = left {
                    tracing::warn!(%error, "the node could not say that it left; its lease will run out");
                },
                () = pause(LAST) => {}
            }
        }
        engine.set_starter(None);
        match engine.outgrown() {
            Some(why) => Err(StoreError::Schema(why.to_owned()).into()),
            None => Ok(Summary { finished: engine.board.finished(), interrupted, unwritten }),
        }
    }

    /// The loops that bring new work: they end first.
    fn start_takers(&self, driver: Driver, skew: Option<Skew>) -> JoinSet<()> {
        let mut set = JoinSet::new();
        let engine = &self.engine;
        set.spawn(driver.clone().drive(Dispatcher::new(engine.clone()), |e| &e.signals.dispatch));
        let promoter = Driver { gap: PROMOTE_GAP, ..driver.clone() };
        set.spawn(promoter.drive(Promoter(engine.clone()), |e| &e.signals.promote));
        let scheduler = Driver { gap: PROMOTE_GAP, ..driver.clone() };
        set.spawn(scheduler.drive(Scheduler(engine.clone()), |e| &e.signals.schedule));
        set.spawn(driver.clone().drive(Reaper::new(engine.clone()), |e| &e.signals.reap));
        set.spawn(driver.clone().drive(Overseer::new(engine.clone()), |e| &e.outside.arrived));
        let quiet: &'static Notify = quiet();
        set.spawn(driver.clone().drive(Cleaner(engine.clone()), move |_| quiet));
        set.spawn(driver.clone().drive(ZoneCheck::new(engine.clone()), move |_| quiet));
        set.spawn(driver.clone().drive(Watcher::new(engine.clone()), |e| &e.signals.watch));
        set.spawn(driver.clone().drive(Herald::new(engine.clone()), move |_| quiet));
        if let Some(skew) = skew {
            set.spawn(driver.clone().drive(skew, |e| &e.signals.skew));
        }
        set.spawn(look_after(self.engine.clone(), self.threads.clone(), driver.stop));
        set
    }

    /// The loops that keep the lease and write what happened: they end last.
    fn start_writers(&self, driver: Driver, heartbeat: Heartbeat) -> JoinSet<()> {
        let mut set = JoinSet::new();
        let engine = &self.engine;
        set.spawn(driver.clone().drive(Finisher::new(engine.clone()), |e| &e.signals.finish));
        let probe = Driver { probe: true, ..driver.clone() };
        set.spawn(probe.drive(heartbeat, |e| &e.signals.heartbeat));
        let steady = Driver { steady: true, ..driver.clone() };
        set.spawn(steady.drive(Warden(engine.clone()), |e| &e.signals.warden));
        let gathering = Driver { gap: scribe::GATHER, ..driver };
        set.spawn(gathering.drive(Scribe(engine.clone()), |e| &e.services.inbox.notify));
        set
    }

    fn driver(&self, stop: watch::Receiver<bool>, weather: &Arc<Weather>) -> Driver {
        Driver {
            engine: self.engine.clone(),
            weather: weather.clone(),
            stop,
            gap: Duration::ZERO,
            steady: false,
            probe: false,
        }
    }

    /// Takes nothing new, waits for what runs, then interrupts it. Gives how many were interrupted.
    async fn drain(&self) -> usize {
        let engine = &self.engine;
        engine.drain();
        let running = engine.board.running();
        engine.events.tell(|| NodeEvent::Draining { running });
        let end = time::plus(engine.steady.now(), engine.settings.grace);
        while engine.board.running() > 0 && engine.steady.now() < end {
            pause(Duration::from_millis(10)).await;
        }
        let left = engine.board.running();
        if left > 0 {
            let by = time::plus(engine.steady.now(), INTERRUPT);
            engine.ask_to_stop(StopReason::Shutdown, by, |_| true);
            while engine.board.running() > 0 && engine.steady.now() < time::plus(by, INTERRUPT / 3) {
                pause(Duration::from_millis(5)).await;
            }
        }
        left
    }

    /// Waits until the last outcomes and log lines are written; gives how many outcomes are not.
    async fn flush(&self) -> usize {
        let engine = &self.engine;
        let end = time::plus(engine.steady.now(), FLUSH);
        let open = || engine.outbox.open() > 0 || !engine.services.inbox.is_empty();
        while open() && engine.steady.now() < end {
            pause(Duration::from_millis(5)).await;
        }
        engine.outbox.open()
    }
}

/// Sets the clock right, joins and writes the registry's schedules, waiting for a database that is
/// away. None when the shutdown came
/// first.
async fn first_contact(
    engine: &Engine,
    heartbeat: &Heartbeat,
    skew: Option<&Skew>,
    mut stopped: oneshot::Receiver<()>,
) -> Result<Option<oneshot::Receiver<()>>, NodeError> {
    let services = &engine.services;
    let client = Client::new(services.store.clone())
        .with_registry(services.registry.clone())
        .with_clock(services.clock.clone())
        .acting_as("code");
    let mut wait = Duration::from_millis(100);
    loop {
        let contact = async {
            if let Some(skew) = skew {
                skew.step(engine.now()).await?;
            }
            heartbeat.step(engine.now()).await?;
            for spec in engine.services.registry.schedules() {
                client.put_schedule(spec, "code").await?;
            }
            Ok::<(), ClientError>(())
        };
        match contact.await {
            Ok(()) => return Ok(Some(stopped)),
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "the database cannot be reached; waiting for it");
                engine.events.tell(|| NodeEvent::StoreLost(error.to_string()));
            }
            Err(ClientError::Store(error)) => return Err(error.into()),
            Err(error) => return Err(NodeError::Registry(error.to_string())),
        }
        tokio::select! {
            () = pause(wait) => wait = (wait * 2).min(Duration::from_secs(5)),
            _ = &mut stopped => return Ok(None),
        }
    }
}

/// Looks after what no bell tells: blocked threads, and a machine clock that jumped.
async fn look_after(engine: Arc<Engine>, threads: Arc<Threads>, mut stop: watch::Receiver<bool>) {
    let apart = |engine: &Engine| time::micros(engine.now()) - time::micros(engine.steady.now());
    let mut before = apart(&engine);
    loop {
        tokio::select! {
            () = pause(Duration::from_secs(1)) => {}
            _ = stop.changed() => return,
        }
        threads.look_after().await;
        let now = apart(&engine);
        if (now - before).unsigned_abs() > JUMP.as_micros() as u64 {
            tracing::warn!(by_ms = (now - before) / 1000, "the clock jumped; looking at everything again");
            engine.ring_all();
        }
        before = now;
    }
}

/// Waits a little for loops that were told to end, then ends them.
async fn end(loops: &mut JoinSet<()>) {
    let ended = async { while loops.join_next().await.is_some() {} };
    tokio::select! { () = ended => {}, () = pause(LAST) => {} }
    loops.abort_all();
}

/// A bell nobody rings.
fn quiet() -> &'static Notify {
    static QUIET: Notify = Notify::const_new();
    &QUIET
}
