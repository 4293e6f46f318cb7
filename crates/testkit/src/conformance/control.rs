//! What people do to many jobs at once: cancel, retry, look.

use super::bench::*;
use mainspring_core::decide::Outcome;
use mainspring_core::ids::{JobId, ScheduleId};
use mainspring_core::job::{AttemptOutcome, ErrorRecord, JobState, NewJob};
use mainspring_core::json::Json;
use mainspring_core::store::{Affected, Bulk, Finished, Hint, JobFilter};
use mainspring_core::{StoreError, limits};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

async fn cancel(b: &Bench, seconds: i64, filter: &JobFilter) -> Affected {
    b.store.cancel_jobs(at(seconds), P, bulk(filter), "not needed", "ann").await.unwrap()
}

async fn retry(b: &Bench, seconds: i64, filter: &JobFilter) -> Affected {
    b.store.retry_jobs(at(seconds), P, bulk(filter), "ann").await.unwrap()
}

/// Waiting ones end, running ones are marked, final ones are passed over.
pub async fn a_cancel_ends_what_waits_and_marks_what_runs(b: &Bench) {
    let node = b.join(0).await;
    let done = b.put(0, job()).await;
    let c = b.claim_one(0, node).await;
    b.ended(0, &c, succeeded()).await;
    let running = b.put(1, job()).await;
    let c = b.claim_one(1, node).await;
    let available = b.put(1, job()).await;
    let scheduled = b.put(1, NewJob { run_at: Some(at(99)), ..job() }).await;
    let affected = cancel(b, 2, &JobFilter::default()).await;
    assert_eq!((affected.jobs, affected.next), (vec![running, available, scheduled], None));
    use JobState::{Cancelled, Completed, Running};
    assert_eq!(
        b.states(&[done, running, available, scheduled]).await,
        [Completed, Running, Cancelled, Cancelled]
    );
    let r = b.record(available).await;
    assert_eq!((r.reason.as_deref(), r.finished_at), (Some("not needed"), Some(at(2))));
    assert_eq!((r.outcome, r.attempt), (None, 0));
    assert!(b.record(running).await.cancel_requested && !b.record(available).await.cancel_requested);
    let events = b.events().await;
    let told: BTreeSet<_> = events.iter().filter(|e| e.event.name == "job.cancelled").collect_subjects();
    assert_eq!(told, BTreeSet::from([format!("job/{available}"), format!("job/{scheduled}")]));
    assert!(
        events
            .iter()
            .filter(|e| e.event.name == "job.cancelled")
            .all(|e| e.event.actor.as_deref() == Some("ann"))
    );
    assert_eq!(b.end(3, &c, succeeded()).await, Finished::Applied);
    assert!(cancel(b, 4, &JobFilter::default()).await.jobs.is_empty());
}

trait Subjects {
    fn collect_subjects(self) -> BTreeSet<String>;
}

impl<'a, I: Iterator<Item = &'a mainspring_core::event::Event>> Subjects for I {
    fn collect_subjects(self) -> BTreeSet<String> {
        self.map(|e| e.event.subject.clone()).collect()
    }
}

/// With a whole budget, whatever the end was.
pub async fn a_retry_restores_the_whole_budget(b: &Bench) {
    let node = b.join(0).await;
    let id = b.put(0, job()).await;
    for now in [0, 10, 20] {
        b.promote(now).await;
        let c = b.claim_one(now, node).await;
        b.ended(now, &c, failed()).await;
    }
    assert_eq!(b.state(id).await, JobState::Failed);
    let affected = retry(b, 30, &these(&[id])).await;
    assert_eq!((affected.jobs, affected.next), (vec![id], None));
    let r = b.record(id).await;
    assert_eq!((r.state, r.run_at, r.attempt, r.raised), (JobState::Available, at(30), 3, 3));
    assert_eq!((r.deaths, r.reason, r.finished_at, r.output), (0, None, None, None));
    let c = b.claim_one(30, node).await;
    assert_eq!((c.facts.attempt, c.facts.raised), (4, 3));
    b.ended(31, &c, failed()).await;
    assert_eq!(b.record(id).await.run_at, at(36), "the first wait again");
    assert_eq!(b.detail(id).await.attempts.len(), 4);
    let last = b.events().await.into_iter().find(|e| e.event.name == "job.retried").unwrap().event;
    assert_eq!((last.subject, last.actor.as_deref()), (format!("job/{id}"), Some("ann")));
}

/// A poisoned job gets three more chances, a completed one runs again, a mark to end is forgotten.
pub async fn every_final_state_can_be_retried(b: &Bench) {
    let node = b.join(0).await;
    let made = b.put_all(0, vec![job(), job(), job()]).await;
    let c = b.claim(0, node, 3).await;
    let output = Some(Json::parse("1").unwrap());
    b.ended(1, &c[0], Outcome::Succeeded { output }).await;
    cancel(b, 1, &these(&[made[1]])).await;
    let facts = mainspring_core::job::Facts { cancel_requested: true, ..c[1].facts.clone() };
    b.store.finish(at(1), vec![decided(&facts, failed(), 1)]).await.unwrap();
    b.ended(1, &c[2], Outcome::LeaseExpired).await;
    for now in [2, 3] {
        let c = b.claim_one(now, node).await;
        b.ended(now, &c, Outcome::LeaseExpired).await;
    }
    use JobState::{Available, Cancelled, Completed, Failed};
    assert_eq!(b.states(&made).await, [Completed, Cancelled, Failed]);
    assert_eq!(retry(b, 5, &JobFilter::default()).await.jobs, made);
    for id in &made {
        let r = b.record(*id).await;
        assert_eq!((r.state, r.raised, r.deaths, r.output), (Available, r.attempt, 0, None));
        assert!(!r.cancel_requested);
    }
    let claimed = b.claim(5, node, 10).await;
    assert_eq!(claimed.iter().map(|c| c.facts.attempt).collect::<Vec<_>>(), [2, 2, 4]);
    assert!(claimed.iter().all(|c| !c.facts.cancel_requested && c.facts.deaths == 0));
}

/// One that waits for its next attempt goes at once; others that live are passed over.
pub async fn a_retry_shortens_a_wait(b: &Bench) {
    let node = b.join(0).await;
    let retrying = b.put(0, job()).await;
    let c = b.claim_one(0, node).await;
    b.ended(0, &c, failed()).await;
    let later = b.put(0, NewJob { run_at: Some(at(99)), ..job() }).await;
    let available = b.put(0, job()).await;
    let affected = retry(b, 2, &these(&[retrying, later, available])).await;
    assert_eq!(affected.jobs, [retrying]);
    let r = b.record(retrying).await;
    assert_eq!((r.state, r.run_at, r.attempt, r.raised), (JobState::Available, at(2), 1, 0));
    assert_eq!((b.state(later).await, b.record(available).await.run_at), (JobState::Scheduled, at(0)));
    assert_eq!(ids(&b.claim(2, node, 10).await), [available, retrying]);
    assert_eq!(b.told().await.last().unwrap(), &format!("job.retried job/{retrying}"));
}

/// Step by step, each job once, however many are passed over.
pub async fn bulk_calls_go_in_steps(b: &Bench) {
    let made = b.put_all(0, vec![job(); 100]).await;
    cancel(b, 1, &these(&made[20..40])).await;
    let filter = JobFilter::default();
    let (mut seen, mut after, mut steps) = (Vec::new(), None, 0);
    loop {
        let step = Bulk { filter: &filter, after, limit: 7 };
        let affected = b.store.cancel_jobs(at(2), P, step, "x", "ann").await.unwrap();
        assert!(affected.jobs.len() <= 7);
        seen.extend(affected.jobs);
        steps += 1;
        after = affected.next;
        if after.is_none() {
            break;
        }
        assert!(steps < 100, "the steps do not end");
    }
    assert_eq!(seen, [&made[..20], &made[40..]].concat());
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let step = Bulk { filter: &filter, after, limit: 9 };
        let affected = b.store.retry_jobs(at(3), P, step, "ann").await.unwrap();
        all.extend(affected.jobs);
        after = affected.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(all, made);
}

/// Each condition for itself, and all together.
pub async fn a_filter_means_what_it_says(b: &Bench) {
    let node = b.join(0).await;
    let batch =
        mainspring_core::batch::NewBatch { name: "b".into(), follow_up: None, parent: None, sealed: true };
    let (batch, in_batch) = b.store.open_batch(at(0), P, batch, vec![job_in("w")]).await.unwrap();
    let (first, other_kind) = (in_batch[0].id, NewJob { kind: "else".into(), ..job_in("w") });
    let kind = b.put(10, other_kind).await;
    let queue = b.put(20, job_in("letters")).await;
    let schedule = b.put(30, NewJob { schedule: Some((ScheduleId(7), None)), ..job_in("w") }).await;
    let key = b.put(40, NewJob { queue: "w".into(), ..keyed("k") }).await;
    let broken = b.put(50, job()).await;
    let only = mainspring_core::store::ClaimRequest { queues: vec!["default".into()], ..request(node, 10) };
    let c = b.store.claim(at(50), only).await.unwrap().jobs.remove(0);
    b.ended(51, &c, Outcome::TimedOut { error: ErrorRecord::new("timeout", "9s", vec![]) }).await;
    let all = || JobFilter::default();
    let cases = [
        (all(), vec![first, kind, queue, schedule, key, broken]),
        (these(&[key, first]), vec![first, key]),
        (JobFilter { states: vec![JobState::Scheduled, JobState::Failed], ..all() }, vec![broken]),
        (JobFilter { kind: Some("else".into()), ..all() }, vec![kind]),
        (JobFilter { queue: Some("letters".into()), ..all() }, vec![queue]),
        (JobFilter { schedule: Some(ScheduleId(7)), ..all() }, vec![schedule]),
        (JobFilter { batch: Some(batch), ..all() }, vec![first]),
        (JobFilter { key: Some("k".into()), ..all() }, vec![key]),
        (JobFilter { error_class: Some("timeout".into()), ..all() }, vec![broken]),
        (
            JobFilter { created_from: Some(at(20)), created_until: Some(at(40)), ..all() },
            vec![queue, schedule],
        ),
        (
            JobFilter { queue: Some("w".into()), kind: Some(KIND.into()), key: Some("k".into()), ..all() },
            vec![key],
        ),
        (JobFilter { queue: Some("w".into()), kind: Some("none".into()), ..all() }, vec![]),
    ];
    for (filter, expected) in &cases {
        let page = b.store.jobs(P, filter, None, 100).await.unwrap();
        let found: Vec<JobId> = page.rows.iter().rev().map(|r| r.id).collect();
        assert_eq!(&found, expected, "{filter:?}");
    }
    for (filter, expected) in &cases[1..] {
        let done = cancel(b, 60, filter).await;
        assert_eq!(&done.jobs, expected, "{filter:?}");
        if !expected.is_empty() {
            retry(b, 61, &these(expected)).await;
        }
    }
    let too_many = JobFilter { ids: (0..=limits::BATCH as i64).map(JobId).collect(), ..all() };
    let refused = b.store.cancel_jobs(at(63), P, bulk(&too_many), "x", "ann").await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
}

/// Newest first, page by page, without a gap.
pub async fn listings_are_paged_by_number(b: &Bench) {
    let made = b.put_all(0, vec![job(); 25]).await;
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = b.store.jobs(P, &JobFilter::default(), before, 10).await.unwrap();
        assert!(page.rows.len() <= 10);
        seen.extend(page.rows.iter().map(|r| r.id));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    seen.reverse();
    assert_eq!(seen, made);
    b.put_all(0, vec![job(); 1000]).await;
    let page = b.store.jobs(P, &JobFilter::default(), None, u32::MAX).await.unwrap();
    assert_eq!(page.rows.len(), limits::PAGE);
    assert!(page.next.is_some());
}

/// Longest first.
pub async fn running_jobs_are_listed_longest_first(b: &Bench) {
    let node = b.join(0).await;
    let made = b.put_all(0, vec![job(); 3]).await;
    for (n, now) in [(0, 5), (1, 6), (2, 6)] {
        assert_eq!(ids(&b.claim(now, node, 1).await), [made[n]]);
    }
    let running = b.store.running(P, 10).await.unwrap();
    assert_eq!(running.iter().map(|r| r.id).collect::<Vec<_>>(), made);
    assert_eq!(b.store.running(P, 1).await.unwrap().len(), 1);
}

/// From any handle, so that a node need not wait for its next poll.
pub async fn what_may_be_worth_a_look_is_hinted(b: &Bench) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    b.store.on_hint(Arc::new(move |hint| sink.lock().unwrap().push(hint)));
    let hinted = |hint: Hint| {
        let mut seen = seen.lock().unwrap();
        let found = seen.contains(&hint);
        seen.clear();
        found
    };
    b.put(0, job()).await;
    assert!(hinted(Hint::Jobs));
    b.store.put_schedule(at(0), P, put_schedule("s", Some(1)), "ann").await.unwrap();
    assert!(hinted(Hint::Schedules));
    let node = b.join(0).await;
    let c = b.claim_one(0, node).await;
    cancel(b, 1, &these(&[c.facts.job])).await;
    assert!(hinted(Hint::Cancel));
    b.ended(2, &c, Outcome::Interrupted { reason: "x".into() }).await;
    let r = b.record(c.facts.job).await;
    assert_eq!(r.outcome, Some(AttemptOutcome::Interrupted));
}
