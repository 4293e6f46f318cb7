//! The steps one by one, by a clock that moves only when told, over the executable specification of
//! a store: schedules, promotion, claims, leases.
//!
//! Long because all of them share one hand-driven node, which is half of what there is to read.

mod common;

use jiff::Timestamp;
use mainspring::clock::{Clock, ManualClock, Seeded};
use mainspring::context::Services;
use mainspring::core::decide::Outcome;
use mainspring::core::ids::ProjectId;
use mainspring::core::job::{AttemptOutcome, Claimed, JobState as S, Origin};
use mainspring::core::reader::Reader;
use mainspring::core::schedule::{Misfire, Overlap, ScheduleSpec};
use mainspring::core::schedule_record::{FireOutcome, PutSchedule};
use mainspring::core::store::{JobFilter, Store};
use mainspring::core::trigger::Trigger;
use mainspring::engine::{Done, Ended, Engine, NextJob, Settings};
use mainspring::step::{Dispatcher, Finisher, Heartbeat, Promoter, Reaper, Scheduler, Step, Wake, ZoneCheck};
use mainspring::{Client, Json, KindSpec, NewJob, Registry};
use mainspring_testkit::MemoryStore;
use std::sync::Arc;
use std::time::Duration;

const P: ProjectId = ProjectId::DEFAULT;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A node without threads: its steps, called by hand.
struct Hand {
    store: MemoryStore,
    clock: Arc<ManualClock>,
    engine: Arc<Engine>,
    client: Client,
    heartbeat: Heartbeat,
    dispatcher: Dispatcher,
    finisher: Finisher,
    reaper: Reaper,
}

impl Hand {
    async fn new(store: &MemoryStore, clock: &Arc<ManualClock>, seed: u64) -> Hand {
        let registry = Arc::new(
            Registry::new()
                .function("work", KindSpec::default().queue("lane"), |_| async { Ok(None) })
                .function("other", KindSpec::default(), |_| async { Ok(None) }),
        );
        let services = Services::new(Arc::new(store.clone()), registry.clone(), clock.clone());
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

    async fn fresh(start: &str) -> Hand {
        Hand::new(&MemoryStore::new(), &Arc::new(ManualClock::new(at(start))), 1).await
    }

    async fn step(&self, step: &impl Step) -> Wake {
        step.step(self.clock.now()).await.expect("the step works")
    }

    /// Calls a step until it has nothing more to do at once.
    async fn settle(&self, step: &impl Step) -> Wake {
        for _ in 0..1000 {
            match self.step(step).await {
                Wake::Again => {}
                wake => return wake,
            }
        }
        panic!("a step never comes to rest")
    }

    async fn fire(&self) -> Wake {
        self.settle(&Scheduler(self.engine.clone())).await
    }

    /// Promotes, claims, and gives what waits on the board.
    async fn claim(&self) -> Vec<Claimed> {
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

    async fn finish(&self, jobs: Vec<Claimed>, outcome: impl Fn() -> Outcome) {
        for claimed in jobs {
            let attempt = Ended::Waited(Box::new(claimed));
            self.engine.outbox.push(Done { attempt, outcome: outcome(), at: self.clock.now() });
        }
        self.settle(&self.finisher).await;
    }

    /// Runs all that can run until nothing is left, successfully.
    async fn work(&self) -> usize {
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

    async fn ledger(&self, name: &str) -> Vec<(u64, FireOutcome, String)> {
        let id = self.client.schedule(name).await.unwrap().0.id;
        let rows = self.store.ledger(P, id, Timestamp::MIN, Timestamp::MAX, 1000).await.unwrap();
        rows.into_iter().map(|r| (r.count, r.outcome, r.reason)).collect()
    }

    /// The nominal fires that made a job, in order, with the state of the job.
    async fn fires(&self, name: &str) -> Vec<(String, S)> {
        let id = self.client.schedule(name).await.unwrap().0.id;
        let rows = self.store.fires(P, id, Timestamp::MIN, Timestamp::MAX, 1000).await.unwrap();
        rows.into_iter().map(|(at, _, state, _)| (at.to_string(), state)).collect()
    }

    async fn events(&self, name: &str) -> usize {
        let all = self.store.events(P, 0, 1000).await.unwrap();
        all.iter().filter(|e| e.event.name == name).count()
    }
}

fn minutely(overlap: Overlap, misfire: Misfire) -> ScheduleSpec {
    let trigger = Trigger::parse("* * * * *").expect("a trigger");
    ScheduleSpec { overlap, misfire, ..ScheduleSpec::new("tick", trigger, "work") }
}

#[tokio::test]
async fn a_schedule_fires_once_at_its_time_however_many_nodes_look() {
    let store = MemoryStore::new();
    let clock = Arc::new(ManualClock::new(at("2026-11-22T10:00:30Z")));
    let (a, b) = (Hand::new(&store, &clock, 1).await, Hand::new(&store, &clock, 2).await);
    a.client.put_schedule(&minutely(Overlap::Allow, Misfire::Once), "code").await.unwrap();
    assert_eq!(a.fire().await, Wake::At(at("2026-11-22T10:01:00Z")), "nothing is due yet");
    clock.set(at("2026-11-22T10:01:00Z"));
    assert_eq!(a.fire().await, Wake::At(at("2026-11-22T10:02:00Z")));
    b.fire().await;
    assert_eq!(a.fires("tick").await, [("2026-11-22T10:01:00Z".into(), S::Available)]);
    let jobs = b.claim().await;
    assert_eq!((jobs.len(), &*jobs[0].queue), (1, "lane"), "the kind's queue is used");
    assert_eq!(jobs[0].schedule.unwrap().1, Some(at("2026-11-22T10:01:00Z")));
    b.finish(jobs, || Outcome::Succeeded { output: None }).await;
    assert_eq!(a.fires("tick").await, [("2026-11-22T10:01:00Z".into(), S::Completed)]);
    assert_eq!(a.client.schedule("tick").await.unwrap().0.fires, 1);
}

#[tokio::test]
async fn after_downtime_the_misfire_policy_decides_and_every_fire_is_accounted_for() {
    let cases = [
        (Misfire::Once, 1, vec![(9, FireOutcome::Coalesced)]),
        (Misfire::Skip, 1, vec![(9, FireOutcome::Missed)]),
        (Misfire::All { cap: 3, window: secs(86_400) }, 4, vec![(6, FireOutcome::Missed)]),
    ];
    for (misfire, jobs, ledger) in cases {
        let hand = Hand::fresh("2026-11-22T10:00:30Z").await;
        hand.client.put_schedule(&minutely(Overlap::Allow, misfire.clone()), "code").await.unwrap();
        // Ten fires later; the last of them is on time.
        hand.clock.set(at("2026-11-22T10:10:05Z"));
        hand.fire().await;
        assert_eq!(hand.fires("tick").await.len(), jobs, "{misfire:?}");
        let rows: Vec<_> = hand.ledger("tick").await.into_iter().map(|(n, o, _)| (n, o)).collect();
        assert_eq!(rows, ledger, "{misfire:?}");
        assert_eq!(hand.client.schedule("tick").await.unwrap().0.next_fire, Some(at("2026-11-22T10:11:00Z")));
    }
}

#[tokio::test]
async fn the_overlap_policy_decides_while_a_job_is_not_final() {
    for (overlap, states, why) in [
        (Overlap::Allow, vec![S::Running, S::Available, S::Available], None),
        (Overlap::Skip, vec![S::Running], Some("overlap: the job of an earlier fire is running")),
        (Overlap::QueueOne, vec![S::Running, S::Available], Some("overlap")),
        (Overlap::Replace, vec![S::Running, S::Cancelled, S::Available], None),
    ] {
        let hand = Hand::fresh("2026-11-22T10:00:30Z").await;
        hand.client.put_schedule(&minutely(overlap, Misfire::Once), "code").await.unwrap();
        hand.clock.set(at("2026-11-22T10:01:00Z"));
        hand.fire().await;
        let first = hand.claim().await;
        assert_eq!(first.len(), 1);
        for next in ["2026-11-22T10:02:00Z", "2026-11-22T10:03:00Z"] {
            hand.clock.set(at(next));
            hand.fire().await;
        }
        let got: Vec<_> = hand.fires("tick").await.into_iter().map(|(_, s)| s).collect();
        assert_eq!(got, states, "{overlap:?}");
        match (why, hand.ledger("tick").await.first()) {
            (Some(why), Some((_, FireOutcome::Skipped, reason))) => {
                assert!(reason.starts_with(why), "{reason}")
            }
            (None, None) => {}
            other => panic!("{overlap:?}: {other:?}"),
        }
        match overlap {
            // What waits its turn does not start beside the one that runs.
            Overlap::QueueOne => {
                assert!(hand.claim().await.is_empty());
                hand.finish(first, || Outcome::Succeeded { output: None }).await;
                assert_eq!(hand.claim().await.len(), 1);
            }
            Overlap::Replace => {
                hand.step(&hand.heartbeat).await;
                let filter = JobFilter { states: vec![S::Running], ..JobFilter::default() };
                let running = hand.store.jobs(P, &filter, None, 10).await.unwrap().rows;
                assert!(running[0].cancel_requested, "the one that runs is asked to end");
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_pause_skips_with_its_author_and_ends_by_itself() {
    let hand = Hand::fresh("2026-11-22T10:00:30Z").await;
    hand.client.put_schedule(&minutely(Overlap::Allow, Misfire::Once), "code").await.unwrap();
    let client = hand.client.clone().acting_as("ann");
    client.pause_schedule("tick", Some(at("2026-11-22T10:02:30Z")), Some("stock-taking")).await.unwrap();
    for minute in 1..=3 {
        hand.clock.set(at(&format!("2026-11-22T10:0{minute}:00Z")));
        hand.fire().await;
    }
    assert_eq!(hand.ledger("tick").await, [(2, FireOutcome::Skipped, "paused by ann: stock-taking".into())]);
    assert_eq!(hand.fires("tick").await.len(), 1);
    let past = client.pause_schedule("tick", Some(at("2026-11-22T09:00:00Z")), None).await.unwrap_err();
    assert_eq!(past.field(), Some("until"));
}

#[tokio::test]
async fn a_fixed_delay_counts_from_the_end_of_its_job() {
    let hand = Hand::fresh("2026-11-22T10:00:00Z").await;
    let spec = ScheduleSpec::new("again", Trigger::AfterCompletion { delay: secs(60) }, "work");
    hand.client.put_schedule(&spec, "code").await.unwrap();
    hand.fire().await;
    let jobs = hand.claim().await;
    assert_eq!(jobs.len(), 1);
    hand.clock.advance(secs(500));
    assert_eq!(hand.fire().await, Wake::Idle, "nothing is due while it runs");
    hand.finish(jobs, || Outcome::Succeeded { output: None }).await;
    assert_eq!(hand.fire().await, Wake::At(at("2026-11-22T10:09:20Z")));
}

#[tokio::test]
async fn a_manual_run_is_not_a_fire() {
    let hand = Hand::fresh("2026-11-22T10:00:30Z").await;
    hand.client.put_schedule(&minutely(Overlap::Skip, Misfire::Once), "code").await.unwrap();
    let before = hand.client.schedule("tick").await.unwrap().0;
    let id = hand.client.run_now("tick").await.unwrap().id;
    let job = hand.client.job(id).await.unwrap().job;
    assert_eq!((job.origin, job.schedule, job.scheduled_for), (Origin::Manual, Some(before.id), None));
    assert_eq!(&*job.queue, "lane");
    let after = hand.client.schedule("tick").await.unwrap().0;
    assert_eq!((after.fires, after.next_fire, after.last_fire), (0, before.next_fire, None));
    assert!(hand.fires("tick").await.is_empty());
    // It does not count for the overlap policy either.
    hand.clock.set(at("2026-11-22T10:01:00Z"));
    hand.fire().await;
    assert_eq!(hand.fires("tick").await.len(), 1);
    assert!(hand.client.run_now("tock").await.unwrap_err().to_string().contains("no schedule tock"));
}

#[tokio::test]
async fn a_backfill_is_previewed_and_passes_over_what_ran() {
    let hand = Hand::fresh("2026-11-22T10:00:30Z").await;
    hand.client.put_schedule(&minutely(Overlap::Allow, Misfire::Skip), "code").await.unwrap();
    hand.clock.set(at("2026-11-22T10:01:00Z"));
    hand.fire().await;
    let ran = hand.claim().await;
    let error = mainspring::core::job::ErrorRecord::new("fatal", "boom", vec![]);
    hand.finish(ran, || Outcome::Failed { error: error.clone(), retryable: false, after: None }).await;
    hand.clock.set(at("2026-11-22T10:06:10Z"));
    hand.fire().await;
    // 10:01 ran (and failed), 10:02 to 10:05 were missed, 10:06 was on time.
    let (from, until) = (at("2026-11-22T10:00:00Z"), at("2026-11-22T11:00:00Z"));
    let preview = hand.client.backfill_preview("tick", from, until, &[]).await.unwrap();
    let runs: Vec<_> = preview.fires.iter().map(|f| f.runs()).collect();
    assert_eq!((runs, preview.to_run), (vec![true, false, true, true, true, true, false], 5));
    let again = hand.client.backfill_preview("tick", from, until, &[S::Failed]).await.unwrap();
    assert_eq!(again.to_run, 6);
    let (batch, made) =
        hand.client.backfill("tick", from, until, &[]).await.unwrap().expect("something to do");
    assert_eq!(made.len(), 5);
    assert!(hand.client.backfill("tick", from, until, &[]).await.unwrap().is_none(), "not twice");
    assert_eq!(hand.work().await, 6);
    let batch = hand.client.batch(batch).await.unwrap();
    assert_eq!((batch.counts.succeeded, batch.counts.total), (5, 5));
    assert_eq!(hand.client.schedule("tick").await.unwrap().0.fires, 2, "a backfill is not a fire");
    let wrong = hand.client.backfill("tick", until, from, &[]).await.unwrap_err();
    assert_eq!(wrong.field(), Some("from"));
}

#[tokio::test]
async fn thousands_of_schedules_due_at_once_become_rows_each_once() {
    let hand = Hand::fresh("2026-11-22T10:00:30Z").await;
    let (now, base) = (hand.clock.now(), minutely(Overlap::Allow, Misfire::Once));
    for i in 0..2_500 {
        let spec = ScheduleSpec { name: format!("s{i}"), ..base.clone() };
        let put = PutSchedule {
            name: spec.name.clone(),
            spec: Json::of(&spec).unwrap(),
            zone: "UTC".into(),
            next_fire: Some(at("2026-11-22T10:01:00Z")),
            after_completion: None,
            source: "code".into(),
        };
        hand.store.put_schedule(now, P, put, "test").await.unwrap();
    }
    hand.clock.set(at("2026-11-22T10:01:00Z"));
    assert_eq!(hand.fire().await, Wake::At(at("2026-11-22T10:02:00Z")));
    let counts = hand.store.counts(P).await.unwrap();
    assert_eq!(counts.iter().map(|c| c.3).sum::<u64>(), 2_500);
}

#[tokio::test]
async fn a_rule_that_cannot_be_read_is_set_aside_and_told() {
    let hand = Hand::fresh("2026-11-22T10:00:30Z").await;
    hand.client.put_schedule(&minutely(Overlap::Allow, Misfire::Once), "code").await.unwrap();
    let put = PutSchedule {
        name: "alien".into(),
        spec: Json::trusted("{\"from\":\"the future\"}"),
        zone: "UTC".into(),
        next_fire: Some(at("2026-11-22T10:00:40Z")),
        after_completion: None,
        source: "code".into(),
    };
    hand.store.put_schedule(hand.clock.now(), P, put, "test").await.unwrap();
    hand.clock.set(at("2026-11-22T10:01:00Z"));
    hand.fire().await;
    assert_eq!(hand.fires("tick").await.len(), 1, "the others are not held up");
    assert_eq!(hand.events("schedule.broken").await, 1);
    assert!(hand.client.schedule("alien").await.unwrap_err().to_string().contains("cannot be read"));
}

#[tokio::test]
async fn a_new_version_of_the_zone_data_moves_next_fires_and_says_so() {
    let hand = Hand::fresh("2026-11-22T10:00:30Z").await;
    let spec = minutely(Overlap::Allow, Misfire::Once);
    hand.client.put_schedule(&spec, "code").await.unwrap();
    // As if older data had given another next fire.
    let record = hand.client.schedule("tick").await.unwrap().0;
    let wrong = at("2026-11-22T10:30:00Z");
    let now = hand.clock.now();
    hand.store.reschedule(now, record.id, record.version, record.next_fire, Some(wrong)).await.unwrap();
    hand.settle(&ZoneCheck::new(hand.engine.clone())).await;
    assert_eq!(hand.client.schedule("tick").await.unwrap().0.next_fire, Some(at("2026-11-22T10:01:00Z")));
    assert_eq!(hand.events("schedule.moved").await, 1);
    // The same version again: nothing is looked at.
    hand.store.reschedule(now, record.id, record.version, record.next_fire, Some(wrong)).await.unwrap();
    hand.settle(&ZoneCheck::new(hand.engine.clone())).await;
    assert_eq!(hand.client.schedule("tick").await.unwrap().0.next_fire, Some(wrong));
}

#[tokio::test]
async fn a_start_of_a_node_fires_what_fires_at_a_start() {
    let hand = Hand::fresh("2026-11-22T10:00:30Z").await;
    let spec = ScheduleSpec::new("boot", Trigger::Reboot, "work");
    hand.client.put_schedule(&spec, "code").await.unwrap();
    hand.fire().await;
    assert!(hand.fires("boot").await.is_empty());
    hand.settle(&ZoneCheck::new(hand.engine.clone())).await;
    hand.fire().await;
    assert_eq!(hand.fires("boot").await.len(), 1);
    hand.fire().await;
    assert_eq!(hand.fires("boot").await.len(), 1, "once for each start");
}

#[tokio::test]
async fn scheduled_jobs_are_promoted_when_due_and_cancelled_when_expired() {
    let hand = Hand::fresh("2026-11-22T10:00:00Z").await;
    let due = at("2026-11-22T10:05:00Z");
    let mut job = hand.client.new_job_of("work", Json::null());
    job.run_at = Some(due);
    let id = hand.client.enqueue_raw(job.clone()).await.unwrap().id;
    job.expires_at = Some(at("2026-11-22T10:04:00Z"));
    job.run_at = Some(at("2026-11-22T10:03:00Z"));
    let expired = hand.client.enqueue_raw(job).await.unwrap().id;
    let promoter = Promoter(hand.engine.clone());
    assert_eq!(hand.settle(&promoter).await, Wake::At(at("2026-11-22T10:03:00Z")));
    assert!(hand.claim().await.is_empty());
    hand.clock.set(due);
    let jobs = hand.claim().await;
    assert_eq!(jobs.iter().map(|c| c.facts.job).collect::<Vec<_>>(), [id]);
    let expired = hand.client.job(expired).await.unwrap().job;
    assert_eq!((expired.state, expired.reason.as_deref()), (S::Cancelled, Some("expired")));
}

#[tokio::test]
async fn a_dead_nodes_attempts_are_rescued_and_its_late_results_do_not_count() {
    let store = MemoryStore::new();
    let clock = Arc::new(ManualClock::new(at("2026-11-22T10:00:00Z")));
    let (dead, alive) = (Hand::new(&store, &clock, 1).await, Hand::new(&store, &clock, 2).await);
    let id = dead.client.enqueue_raw(NewJob::new("work", Json::null())).await.unwrap().id;
    let held = dead.claim().await;
    assert_eq!(held.len(), 1);
    // Within the lease nothing happens.
    for _ in 0..3 {
        clock.advance(secs(5));
        alive.step(&alive.heartbeat).await;
        alive.settle(&alive.reaper).await;
        assert!(alive.claim().await.is_empty());
    }
    clock.advance(secs(1));
    alive.settle(&alive.reaper).await;
    let job = alive.client.job(id).await.unwrap().job;
    assert_eq!((job.state, job.deaths, job.raised), (S::Available, 1, 1));
    let taken = alive.claim().await;
    assert_eq!(taken[0].facts.attempt, 2);
    // The dead one comes back with its result: the fence holds.
    let mut events = dead.engine.events.listen();
    dead.finish(held, || Outcome::Succeeded { output: Some(Json::trusted("1")) }).await;
    let stale = mainspring::NodeEvent::Stale { job: id, attempt: 1 };
    assert_eq!(events.try_recv().unwrap(), stale);
    alive.finish(taken, || Outcome::Succeeded { output: Some(Json::trusted("2")) }).await;
    let job = alive.client.job(id).await.unwrap().job;
    assert_eq!((job.outcome, job.output), (Some(AttemptOutcome::Succeeded), Some(Json::trusted("2"))));
    // Its heartbeat finds it forgotten: it comes back as another node.
    let before = dead.engine.node();
    assert_eq!(dead.step(&dead.heartbeat).await, Wake::Again);
    assert_eq!(dead.engine.node(), None);
    dead.step(&dead.heartbeat).await;
    assert!(dead.engine.node().is_some() && dead.engine.node() != before);
}

#[tokio::test]
async fn after_a_silence_everyone_gets_a_lease_to_be_heard() {
    let store = MemoryStore::new();
    let clock = Arc::new(ManualClock::new(at("2026-11-22T10:00:00Z")));
    let (a, b) = (Hand::new(&store, &clock, 1).await, Hand::new(&store, &clock, 2).await);
    a.client.enqueue_raw(NewJob::new("work", Json::null())).await.unwrap();
    let held = a.claim().await;
    // The database was away for all: nobody could give a sign of life.
    clock.advance(secs(60));
    b.step(&b.heartbeat).await;
    assert_eq!(b.step(&b.reaper).await, Wake::At(at("2026-11-22T10:01:15Z")), "no judgement yet");
    a.step(&a.heartbeat).await;
    clock.advance(secs(14));
    for hand in [&a, &b] {
        hand.step(&hand.heartbeat).await;
    }
    clock.advance(secs(1));
    b.settle(&b.reaper).await;
    a.finish(held, || Outcome::Succeeded { output: None }).await;
    let counts = store.counts(P).await.unwrap();
    assert_eq!(counts.iter().map(|c| (c.2, c.3)).collect::<Vec<_>>(), [(S::Completed, 1)]);
}

#[tokio::test]
async fn poison_is_parked_after_three_dead_workers() {
    let store = MemoryStore::new();
    let clock = Arc::new(ManualClock::new(at("2026-11-22T10:00:00Z")));
    let keeper = Hand::new(&store, &clock, 99).await;
    let id = keeper.client.enqueue_raw(NewJob::new("work", Json::null())).await.unwrap().id;
    for seed in 1..=3 {
        let victim = Hand::new(&store, &clock, seed).await;
        assert_eq!(victim.claim().await.len(), 1);
        for _ in 0..4 {
            clock.advance(secs(5));
            keeper.step(&keeper.heartbeat).await;
        }
        keeper.settle(&keeper.reaper).await;
    }
    let job = keeper.client.job(id).await.unwrap().job;
    assert_eq!(job.state, S::Failed);
    assert!(job.reason.unwrap().starts_with("poison"), "it says why");
}

#[tokio::test]
async fn a_cancelled_job_that_waits_on_the_board_never_starts() {
    let hand = Hand::fresh("2026-11-22T10:00:00Z").await;
    let id = hand.client.enqueue_raw(NewJob::new("work", Json::null())).await.unwrap().id;
    hand.settle(&hand.dispatcher).await;
    assert!(hand.client.cancel(id, "changed my mind").await.unwrap());
    hand.step(&hand.heartbeat).await;
    hand.settle(&hand.finisher).await;
    assert_eq!(hand.client.job(id).await.unwrap().job.state, S::Cancelled);
    assert_eq!(hand.engine.board.room(), (4, 0));
}

#[tokio::test]
async fn draining_gives_back_what_has_not_started() {
    let hand = Hand::fresh("2026-11-22T10:00:00Z").await;
    let id = hand.client.enqueue_raw(NewJob::new("work", Json::null())).await.unwrap().id;
    hand.settle(&hand.dispatcher).await;
    hand.engine.drain();
    hand.settle(&hand.finisher).await;
    let job = hand.client.job(id).await.unwrap().job;
    assert_eq!((job.state, job.raised, job.outcome), (S::Available, 1, Some(AttemptOutcome::Interrupted)));
    assert_eq!(hand.step(&hand.dispatcher).await, Wake::Idle);
    assert_eq!(hand.client.job(id).await.unwrap().job.state, S::Available, "and claims nothing more");
}
