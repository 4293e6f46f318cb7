//! Nothing of a project may be read or changed from another: method by method.

use super::bench::*;
use mainspring_core::StoreError;
use mainspring_core::batch::NewBatch;
use mainspring_core::event::NewEvent;
use mainspring_core::job::{JobState, LogLevel, LogLine, NewJob, Origin, Unique, UniqueStates};
use mainspring_core::queue::{Pause, QueueSettings};
use mainspring_core::reader::GroupBy;
use mainspring_core::schedule_record::{FireOutcome, FireWrite, LedgerRow};
use mainspring_core::store::JobFilter;

/// Every read, with everything there is in the first project.
pub async fn another_project_reads_nothing(b: &Bench) {
    let other = b.ensure("other").await;
    let node = b.join(0).await;
    let batch = NewBatch { name: "b".into(), follow_up: None, parent: None, sealed: false };
    let (batch, made) = b.store.open_batch(at(0), P, batch, vec![job(), job(), job()]).await.unwrap();
    let id = made[0].id;
    let c = b.claim(0, node, 2).await;
    let line = LogLine {
        job: id,
        attempt: 1,
        seq: 0,
        at: at(0),
        level: LogLevel::Info,
        message: "x".into(),
        fields: None,
    };
    b.store.append_logs(at(0), vec![line]).await.unwrap();
    b.ended(1, &c[0], fatal()).await;
    let schedule = b.store.put_schedule(at(0), P, put_schedule("s", Some(10)), "ann").await.unwrap();
    let write = FireWrite {
        schedule,
        version: 1,
        expected_fire: at(10),
        next_fire: None,
        jobs: vec![NewJob { origin: Origin::Fire, schedule: Some((schedule, Some(at(10)))), ..job() }],
        ledger: vec![LedgerRow {
            first: at(5),
            last: at(5),
            count: 1,
            outcome: FireOutcome::Missed,
            reason: "r".into(),
        }],
        replace: vec![],
    };
    b.store.fire(at(10), vec![write]).await.unwrap();
    b.store.set_queue(at(0), P, "q", QueueSettings::default(), "ann").await.unwrap();

    let s = &b.store;
    let (from, until) = (at(-1000), at(1000));
    assert!(s.jobs(other, &JobFilter::default(), None, 10).await.unwrap().rows.is_empty());
    assert!(s.jobs(other, &these(&[id]), None, 10).await.unwrap().rows.is_empty());
    assert!(s.job(other, id).await.unwrap().is_none());
    assert!(s.logs(other, id, None, 10).await.unwrap().is_empty());
    assert!(s.schedules(other, None, 10).await.unwrap().rows.is_empty());
    assert!(s.schedule(other, "s").await.unwrap().is_none());
    assert!(s.ledger(other, schedule, from, until, 10).await.unwrap().is_empty());
    assert!(s.fires(other, schedule, from, until, 10).await.unwrap().is_empty());
    assert!(s.queues(other).await.unwrap().is_empty());
    assert!(s.batches(other, None, 10).await.unwrap().rows.is_empty());
    assert!(s.batch(other, batch).await.unwrap().is_none());
    assert!(s.counts(other).await.unwrap().is_empty());
    assert!(s.rollups(other, 0, i64::MAX / 2, GroupBy::Kind, false).await.unwrap().is_empty());
    assert!(s.recents(other).await.unwrap().is_empty());
    assert!(s.running(other, 10).await.unwrap().is_empty());
    assert!(s.events(other, 0, 10).await.unwrap().is_empty());
    assert_eq!(s.last_event(other).await.unwrap(), 0);

    // And the first project has all of it.
    assert_eq!(s.logs(P, id, None, 10).await.unwrap().len(), 1);
    assert_eq!(s.ledger(P, schedule, from, until, 10).await.unwrap().len(), 1);
    assert_eq!(s.fires(P, schedule, from, until, 10).await.unwrap().len(), 1);
    assert_eq!(s.running(P, 10).await.unwrap().len(), 1);
    assert!(!s.recents(P).await.unwrap().is_empty());
    assert!(!s.rollups(P, 0, i64::MAX / 2, GroupBy::Kind, false).await.unwrap().is_empty());
}

/// Every write that names a project, aimed at what is not its own.
pub async fn another_project_changes_nothing(b: &Bench) {
    let other = b.ensure("other").await;
    let node = b.join(0).await;
    let batch = NewBatch { name: "b".into(), follow_up: None, parent: None, sealed: false };
    let (batch, _) = b.store.open_batch(at(0), P, batch, vec![job()]).await.unwrap();
    let schedule = b.store.put_schedule(at(0), P, put_schedule("s", Some(10)), "ann").await.unwrap();
    let made = b.put_all(0, vec![job(), job(), NewJob { run_at: Some(at(99)), ..job() }]).await;
    let c = b.claim(0, node, 2).await;
    let done = c.iter().find(|c| c.facts.job == made[0]).unwrap();
    b.ended(1, done, fatal()).await;
    let before = b.states(&made).await;

    let s = &b.store;
    let into_batch = NewJob { batch: Some(batch), ..job() };
    let refused = s.enqueue(at(2), other, vec![into_batch]).await;
    assert!(matches!(refused, Err(StoreError::NotFound { what: "batch", .. })), "{refused:?}");
    let refused = s.seal_batch(at(2), other, batch).await;
    assert!(matches!(refused, Err(StoreError::NotFound { what: "batch", .. })), "{refused:?}");
    let refused = s.delete_schedule(at(2), other, "s", "eve").await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    let pause = Pause { at: at(2), by: "eve".into(), until: None, note: None };
    let refused = s.pause_schedule(at(2), other, "s", Some(pause), "eve").await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    for filter in [JobFilter::default(), these(&made)] {
        assert!(s.cancel_jobs(at(2), other, bulk(&filter), "x", "eve").await.unwrap().jobs.is_empty());
        assert!(s.retry_jobs(at(2), other, bulk(&filter), "eve").await.unwrap().jobs.is_empty());
    }
    // A schedule and a queue of the same name are others.
    let own = s.put_schedule(at(2), other, put_schedule("s", Some(77)), "eve").await.unwrap();
    assert_ne!(own, schedule);
    let stop = Pause { at: at(2), by: "eve".into(), until: None, note: None };
    let paused = QueueSettings { paused: Some(stop), ..Default::default() };
    s.set_queue(at(2), other, "default", paused, "eve").await.unwrap();
    s.record(at(2), other, NewEvent::new("x", "y".into(), serde_json::json!({}))).await.unwrap();

    assert_eq!(b.states(&made).await, before);
    let r = s.schedule(P, "s").await.unwrap().unwrap();
    assert_eq!((r.version, r.next_fire), (1, Some(at(10))));
    assert!(!s.batch(P, batch).await.unwrap().unwrap().sealed);
    b.promote(99).await;
    assert!(!b.claim(99, node, 10).await.is_empty(), "the queue of the first project is not paused");
    assert!(b.events().await.iter().all(|e| e.event.actor.as_deref() != Some("eve")));
}

/// The same unique key, queue and key in two projects do not meet.
pub async fn names_of_two_projects_do_not_meet(b: &Bench) {
    let other = b.ensure("other").await;
    let node = b.join(0).await;
    let unique = Some(Unique { key: "u".into(), period: None, states: UniqueStates::LIVE });
    let new = || NewJob { unique: unique.clone(), key_limit: Some(1), ..keyed("k") };
    let mine = b.put(0, new()).await;
    let theirs = b.store.enqueue(at(0), other, vec![new()]).await.unwrap()[0];
    assert!(!theirs.duplicate && theirs.id != mine);
    let got = b.claim(0, node, 10).await;
    assert_eq!((ids(&got), got[1].project), (vec![mine, theirs.id], other));
    b.ended(1, &got[1], fatal()).await;
    assert_eq!(b.state(mine).await, JobState::Running);
    let counts = b.store.counts(other).await.unwrap();
    assert_eq!(counts, [("default".to_owned(), KIND.to_owned(), JobState::Failed, 1)]);
    // A fire cannot replace a job of another project.
    let schedule = b.store.put_schedule(at(0), other, put_schedule("s", Some(10)), "ann").await.unwrap();
    let waiting = b.put(2, job_in("w")).await;
    let write = FireWrite {
        schedule,
        version: 1,
        expected_fire: at(10),
        next_fire: None,
        jobs: vec![],
        ledger: vec![],
        replace: vec![waiting, mine],
    };
    b.store.fire(at(10), vec![write]).await.unwrap();
    assert_eq!(b.state(waiting).await, JobState::Available);
    assert!(!b.record(mine).await.cancel_requested);
}
