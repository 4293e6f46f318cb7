//! A node without threads: its steps, called by hand, by a clock that moves only when told.

use jiff::Timestamp;
use mainspring::clock::{Clock, ManualClock, Seeded};
use mainspring::context::Services;
use mainspring::core::decide::Outcome;
use mainspring::core::ids::ProjectId;
use mainspring::core::job::{Claimed, JobState};
use mainspring::core::reader::Reader;
use mainspring::core::schedule_record::FireOutcome;
use mainspring::core::store::Store;
use mainspring::engine::{Done, Ended, Engine, NextJob, Settings};
use mainspring::step::{Dispatcher, Finisher, Heartbeat, Promoter, Reaper, Scheduler, Step, Wake};
use mainspring::{Client, KindSpec, Registry};
use mainspring_testkit::MemoryStore;
use std::sync::Arc;
use std::time::Duration;

pub const P: ProjectId = ProjectId::DEFAULT;

pub fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A node without threads: its steps, called by hand.
pub struct Hand {
    pub store: MemoryStore,
    pub clock: Arc<ManualClock>,
    pub engine: Arc<Engine>,
    pub client: Client,
    pub heartbeat: Heartbeat,
    pub dispatcher: Dispatcher,
    pub finisher: Finisher,
    pub reaper: Reaper,
}

impl Hand {
    pub async fn new(store: &MemoryStore, clock: &Arc<ManualClock>, seed: u64) -> Hand {
        Hand::over(store, Arc::new(store.clone()), clock, seed).await
    }

    /// A node that sees the store through `door`.
    pub async fn over(
        store: &MemoryStore,
        door: Arc<dyn Store>,
        clock: &Arc<ManualClock>,
        seed: u64,
    ) -> Hand {
        let registry = Arc::new(
            Registry::new()
                .function("work", KindSpec::default().queue("lane"), |_| async { Ok(None) })
                .function("other", KindSpec::default(), |_| async { Ok(None) }),
        );
        let services = Services::new(door, registry.clone(), clock.clone());
        let settings = Settings { slots: 4, tz_version: "2026b".into(), ..Settings::default() };
        let engine = Engine::new(services, clock.clone(), Arc::new(Seeded::new(seed)), settings);
        let client = Client::new(Arc::new(store.clone())).with_registry(registry).with_clock(clock.clone());
        let hand = Hand {
            store: store.clone(),
            clock: clock.clone(),
            client,
            heartbeat: Heartbeat::new(engine.clone()),
            dispatcher: Dispatcher::new(engine.clone()),
            finisher: Finisher::new(engine.clone()),
            reaper: Reaper::new(engine.clone()),
            engine,
        };
        hand.step(&hand.heartbeat).await;
        hand
    }

    pub async fn fresh(start: &str) -> Hand {
        Hand::new(&MemoryStore::new(), &Arc::new(ManualClock::new(at(start))), 1).await
    }

    pub async fn step(&self, step: &impl Step) -> Wake {
        step.step(self.clock.now()).await.expect("the step works")
    }

    /// Calls a step until it has nothing more to do at once.
    pub async fn settle(&self, step: &impl Step) -> Wake {
        for _ in 0..1000 {
            match self.step(step).await {
                Wake::Again => {}
                wake => return wake,
            }
        }
        panic!("a step never comes to rest")
    }

    pub async fn fire(&self) -> Wake {
        self.settle(&Scheduler(self.engine.clone())).await
    }

    /// Promotes, claims, and gives what waits on the board.
    pub async fn claim(&self) -> Vec<Claimed> {
        self.settle(&Promoter(self.engine.clone())).await;
        self.settle(&self.dispatcher).await;
        let mut jobs = Vec::new();
        let (slots, generation) = self.engine.board.assign();
        for slot in slots {
            let mut first = true;
            while let (NextJob::Run(claimed), _) = self.engine.board.next(slot, generation, first) {
                first = false;
                jobs.push(*claimed);
            }
        }
        jobs
    }

    pub async fn finish(&self, jobs: Vec<Claimed>, outcome: impl Fn() -> Outcome) {
        for claimed in jobs {
            let attempt = Ended::Waited(Box::new(claimed));
            self.engine.outbox.push(Done { attempt, outcome: outcome(), at: self.clock.now() });
        }
        self.settle(&self.finisher).await;
    }

    /// Runs all that can run until nothing is left, successfully.
    pub async fn work(&self) -> usize {
        let mut n = 0;
        loop {
            let jobs = self.claim().await;
            if jobs.is_empty() {
                return n;
            }
            n += jobs.len();
            self.finish(jobs, || Outcome::Succeeded { output: None }).await;
        }
    }

    pub async fn ledger(&self, name: &str) -> Vec<(u64, FireOutcome, String)> {
        let id = self.client.schedule(name).await.unwrap().0.id;
        let rows = self.store.ledger(P, id, Timestamp::MIN, Timestamp::MAX, 1000).await.unwrap();
        rows.into_iter().map(|r| (r.count, r.outcome, r.reason)).collect()
    }

    /// The nominal fires that made a job, in order, with the state of the job.
    pub async fn fires(&self, name: &str) -> Vec<(String, JobState)> {
        let id = self.client.schedule(name).await.unwrap().0.id;
        let rows = self.store.fires(P, id, Timestamp::MIN, Timestamp::MAX, 1000).await.unwrap();
        rows.into_iter().map(|(at, _, state, _)| (at.to_string(), state)).collect()
    }

    pub async fn events(&self, name: &str) -> usize {
        let all = self.store.events(P, 0, 1000).await.unwrap();
        all.iter().filter(|e| e.event.name == name).count()
    }
}
