//! The steps one by one, over the executable specification of a store: promotion, claims, leases,
//! rescue, drain.

mod common;

use common::hand::{Hand, P, at, secs};
use mainspring::clock::ManualClock;
use mainspring::core::decide::Outcome;
use mainspring::core::job::{AttemptOutcome, JobState as S};
use mainspring::core::reader::Reader;
use mainspring::step::{Promoter, Wake, Warden};
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
