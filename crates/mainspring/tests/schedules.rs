//! Schedules, step by step over the executable specification of a store: when they fire, what becomes
//! of fires that were late or overlap, backfills, manual runs, changed zone data.

mod common;

use common::hand::{Hand, P, at, secs};
use mainspring::Json;
use mainspring::clock::{Clock, ManualClock};
use mainspring::core::decide::Outcome;
use mainspring::core::job::{JobState as S, Origin};
use mainspring::core::reader::Reader;
use mainspring::core::schedule::{Misfire, Overlap, ScheduleSpec};
use mainspring::core::schedule_record::{FireOutcome, PutSchedule};
use mainspring::core::store::{JobFilter, Store};
use mainspring::core::trigger::Trigger;
use mainspring::step::{Wake, ZoneCheck};
use mainspring_testkit::MemoryStore;
use std::sync::Arc;

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
    hand.store.reschedule(now, record.id, record.version, record.next_fire, Some(wrong), None).await.unwrap();
    hand.settle(&ZoneCheck::new(hand.engine.clone())).await;
    assert_eq!(hand.client.schedule("tick").await.unwrap().0.next_fire, Some(at("2026-11-22T10:01:00Z")));
    assert_eq!(hand.events("schedule.moved").await, 1);
    // The same version again: nothing is looked at.
    hand.store.reschedule(now, record.id, record.version, record.next_fire, Some(wrong), None).await.unwrap();
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
