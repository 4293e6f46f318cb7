//! The steps one by one, over the executable specification of a store: promotion, claims, leases,
//! rescue, drain.

mod common;

use common::faulty::Faulty;
use common::hand::{Hand, P, at, secs};
use mainspring::clock::{Clock, ManualClock};
use mainspring::core::decide::Outcome;
use mainspring::core::job::{AttemptOutcome, JobState as S};
use mainspring::core::reader::Reader;
use mainspring::core::store::{ClaimRequest, Store};
use mainspring::engine::{Done, Ended};
use mainspring::step::{Promoter, Step, Wake, Warden};
use mainspring::{Json, NewJob};
use mainspring_testkit::MemoryStore;
use std::sync::Arc;

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

#[tokio::test]
async fn a_job_claimed_ahead_does_not_grow_old_behind_a_long_one() {
    let hand = Hand::fresh("2026-11-22T10:00:00Z").await;
    let warden = Warden(hand.engine.clone());
    let id = hand.client.enqueue_raw(NewJob::new("work", Json::null())).await.unwrap().id;
    hand.settle(&hand.dispatcher).await;
    // No slot takes it.
    assert_eq!(hand.step(&warden).await, Wake::At(at("2026-11-22T10:00:00.5Z")));
    hand.clock.set(at("2026-11-22T10:00:00.4Z"));
    hand.step(&warden).await;
    assert_eq!(hand.engine.board.room(), (4, 1));
    hand.clock.set(at("2026-11-22T10:00:00.5Z"));
    assert_eq!(hand.step(&warden).await, Wake::Idle);
    hand.settle(&hand.finisher).await;
    let job = hand.client.job(id).await.unwrap().job;
    assert_eq!((job.state, job.attempt, job.raised, job.deaths), (S::Available, 1, 1, 0));
}

/// Two calls side by side write what has gathered; the one whose answer was lost is said again, and
/// the other is not.
#[tokio::test]
async fn much_that_ended_is_written_by_two_calls_and_only_a_lost_one_is_repeated() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let clock = Arc::new(ManualClock::new(at("2026-11-22T10:00:00Z")));
    let hand = Hand::over(&store, faulty.store(), &clock, 1).await;
    let jobs = vec![NewJob::new("work", Json::null()); 1000];
    hand.client.enqueue_many(jobs).await.unwrap();
    let node = hand.engine.node().unwrap();
    let request =
        ClaimRequest { node, limit: 1000, kinds: vec!["work".into()], queues: vec![], project: None };
    for claimed in store.claim(clock.now(), request).await.unwrap().jobs {
        let outcome = Outcome::Succeeded { output: None };
        hand.engine.outbox.push(Done { attempt: Ended::Waited(Box::new(claimed)), outcome, at: clock.now() });
    }
    faulty.set(|f| f.lose_reply = Some(("finish", 1)));
    assert!(hand.finisher.step(clock.now()).await.is_err(), "one answer was lost");
    let left = hand.engine.outbox.open();
    assert!((300..700).contains(&left), "{left} of a thousand are to be written again");
    hand.settle(&hand.finisher).await;
    assert_eq!((hand.engine.outbox.open(), faulty.calls("finish")), (0, 3));
    let counts = store.counts(P).await.unwrap();
    assert_eq!(counts.iter().map(|c| (c.2, c.3)).collect::<Vec<_>>(), [(S::Completed, 1000)]);
    assert!(store.audit().await.unwrap().is_empty());
}

/// What a full key keeps back is not looked through while ends of this node are about to free it.
#[tokio::test]
async fn where_limits_keep_most_back_no_more_is_asked_for_than_has_ended() {
    let hand = Hand::fresh("2026-11-22T10:00:00Z").await;
    hand.client.change_queue("lane", |s| s.max_running_per_key = Some(1)).await.unwrap();
    let keyed = NewJob { key: Some("one".into()), ..hand.client.new_job_of("work", Json::null()) };
    hand.client.enqueue_many(vec![keyed; 30]).await.unwrap();
    let end = |claimed| {
        let (outcome, at) = (Outcome::Succeeded { output: None }, hand.clock.now());
        hand.engine.outbox.push(Done { attempt: Ended::Waited(Box::new(claimed)), outcome, at });
    };
    let take = || {
        let (slots, generation) = hand.engine.board.assign();
        let mut jobs = vec![];
        for slot in slots {
            let mut first = true;
            while let (mainspring::engine::NextJob::Run(job), _) =
                hand.engine.board.next(slot, generation, first)
            {
                first = false;
                jobs.push(*job);
            }
        }
        jobs
    };
    // One of four ran: the rest is left alone while that one has not begun, and while its end is not
    // written.
    assert_eq!(hand.step(&hand.dispatcher).await, Wake::Again);
    assert_eq!((hand.step(&hand.dispatcher).await, hand.engine.board.room()), (Wake::Idle, (4, 1)));
    let first = take().remove(0);
    end(first.clone());
    assert_eq!((hand.step(&hand.dispatcher).await, hand.engine.board.room()), (Wake::Idle, (4, 0)));
    hand.step(&hand.finisher).await;
    // Another end is on its way: as many as were written go on, and a claim for more would have been
    // told that there are more.
    end(first);
    assert_eq!(hand.settle(&hand.dispatcher).await, Wake::Idle);
    assert_eq!(hand.engine.board.room(), (4, 1));
    // Nothing is on its way: it looks as far as ever.
    end(take().remove(0));
    hand.settle(&hand.finisher).await;
    assert_eq!(hand.engine.outbox.open(), 0);
    let mut ran = 2;
    loop {
        hand.settle(&hand.dispatcher).await;
        let jobs = take();
        if jobs.is_empty() {
            break;
        }
        assert_eq!(jobs.len(), 1, "one of a key at once");
        ran += 1;
        jobs.into_iter().for_each(end);
        hand.settle(&hand.finisher).await;
    }
    assert_eq!(ran, 30);
    assert!(hand.store.audit().await.unwrap().is_empty());
}
