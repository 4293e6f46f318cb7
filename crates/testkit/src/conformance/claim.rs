//! Who is served next.

use super::bench::*;
use mainspring_core::ids::{JobId, NodeId};
use mainspring_core::job::{JobState, NewJob};
use mainspring_core::json::Json;
use mainspring_core::store::{ClaimBatch, ClaimRequest};
use std::collections::BTreeSet;

/// `run_at`, then number; retries stand where they became due.
pub async fn jobs_are_claimed_in_the_order_they_became_due(b: &Bench) {
    let node = b.join(0).await;
    let due = |s| NewJob { run_at: Some(at(s)), ..job() };
    let made = b.put_all(10, vec![due(5), due(3), due(3), job(), due(-100), due(9)]).await;
    let first = b.claim(10, node, 2).await;
    assert_eq!(ids(&first), [made[4], made[1]]);
    // Becomes due at 16: after those enqueued before, before one enqueued later.
    b.ended(11, &first[0], failed()).await;
    let later = b.put(17, job()).await;
    b.promote(17).await;
    let rest = b.claim(17, node, 100).await;
    assert_eq!(ids(&rest), [made[2], made[0], made[5], made[3], made[4], later]);
}

/// Urgent work goes first, and nothing starves.
pub async fn a_level_of_priority_is_worth_a_minute(b: &Bench) {
    let node = b.join(0).await;
    let prio = |priority| NewJob { priority, ..job() };
    let low = b.put(0, prio(9)).await;
    let normal = b.put(10, prio(5)).await;
    let urgent = b.put(20, prio(0)).await;
    // Nine minutes make up for nine levels: this one comes a second too late.
    let too_late = b.put(541, prio(0)).await;
    let in_time = b.put(539, prio(0)).await;
    let claimed = b.claim(541, node, 10).await;
    assert_eq!(ids(&claimed), [urgent, normal, in_time, low, too_late]);
}

/// Token, policy, payload, times.
pub async fn a_claim_tells_everything_the_handler_needs(b: &Bench) {
    let node = b.join(0).await;
    let new = NewJob {
        queue: "letters".into(),
        payload: Json::parse("[1]").unwrap(),
        timeout: Some(secs(9)),
        key: Some("k".into()),
        schedule: Some((mainspring_core::ScheduleId(5), Some(at(-7)))),
        ..job()
    };
    let id = b.put(0, new.clone()).await;
    let c = b.claim_one(3, node).await;
    assert_eq!((c.facts.job, c.facts.attempt, c.facts.max_attempts), (id, 1, 3));
    assert_eq!((c.facts.raised, c.facts.deaths, c.facts.cancel_requested), (0, 0, false));
    assert_eq!((&c.facts.backoff, c.facts.retry_timeouts), (&new.retry.backoff, true));
    assert_eq!((c.project, &c.kind, &c.queue, &c.payload), (P, &new.kind, &new.queue, &new.payload));
    assert_eq!((c.timeout, &c.key, c.batch, c.schedule), (new.timeout, &new.key, None, new.schedule));
    assert_eq!((c.created_at, c.run_at), (at(0), at(0)));
    let r = b.record(id).await;
    assert_eq!((r.state, r.attempt, r.node, r.started_at), (JobState::Running, 1, Some(node), Some(at(3))));
    b.ended(4, &c, failed()).await;
    b.promote(9).await;
    let c = b.claim_one(9, node).await;
    assert_eq!((c.facts.attempt, c.run_at, c.created_at), (2, at(9), at(0)));
}

/// At most one open attempt per job.
pub async fn a_running_job_is_not_claimed_again(b: &Bench) {
    let (one, two) = (b.join(0).await, b.join(0).await);
    b.put(0, job()).await;
    assert_eq!(b.claim(0, one, 10).await.len(), 1);
    for node in [one, two] {
        assert_eq!(b.claim_batch(1, node, 10).await, ClaimBatch::default());
    }
}

/// None for zero, all that fit a call for more than that.
pub async fn a_claim_takes_no_more_than_its_limit(b: &Bench) {
    let node = b.join(0).await;
    b.put_all(0, vec![job(); 1000]).await;
    b.put_all(0, vec![job(); 7]).await;
    assert!(b.claim(0, node, 0).await.is_empty());
    assert_eq!(b.claim(0, node, 3).await.len(), 3);
    assert_eq!(b.claim(0, node, u32::MAX).await.len(), 1000);
    assert_eq!(b.claim(0, node, u32::MAX).await.len(), 4);
    let none = ClaimRequest { kinds: vec![], ..request(node, 10) };
    b.put(0, job()).await;
    assert!(b.store.claim(at(0), none).await.unwrap().jobs.is_empty());
}

/// Ten thousand of them, all before the one that is known.
pub async fn kinds_nobody_knows_are_left_alone_and_not_in_the_way(b: &Bench) {
    let node = b.join(0).await;
    for _ in 0..10 {
        b.put_all(0, vec![NewJob { kind: "stranger".into(), priority: 0, ..job() }; 1000]).await;
    }
    let known = b.put(1, NewJob { priority: 9, ..job() }).await;
    let batch = b.claim_batch(2, node, 10).await;
    assert_eq!(ids(&batch.jobs), [known]);
    assert!(!batch.more);
    let counts = b.store.counts(P).await.unwrap();
    assert!(counts.contains(&("default".into(), "stranger".into(), JobState::Available, 10_000)));
    let request = ClaimRequest { kinds: vec!["a".into(), "stranger".into()], ..request(node, 1) };
    assert_eq!(b.store.claim(at(2), request).await.unwrap().jobs.len(), 1);
}

/// Empty means all.
pub async fn only_the_queues_asked_for_are_served(b: &Bench) {
    let node = b.join(0).await;
    let made = b.put_all(0, vec![job_in("a"), job_in("b"), job_in("c"), job_in("b")]).await;
    let of = |queues: &[&str]| ClaimRequest {
        queues: queues.iter().map(|q| (*q).into()).collect(),
        ..request(node, 10)
    };
    assert!(b.store.claim(at(0), of(&["z"])).await.unwrap().jobs.is_empty());
    let got = b.store.claim(at(0), of(&["b", "c", "b"])).await.unwrap().jobs;
    assert_eq!(ids(&got), [made[1], made[2], made[3]]);
    assert_eq!(ids(&b.claim(0, node, 10).await), [made[0]]);
}

/// A worker outside is bound to one project, whatever waits in others.
pub async fn only_the_project_asked_for_is_served(b: &Bench) {
    let node = b.join(0).await;
    let other = b.ensure("other").await;
    b.put(0, job()).await;
    let theirs = b.store.enqueue(at(0), other, vec![job()]).await.unwrap()[0].id;
    let third = b.ensure("third").await;
    let of = |project| ClaimRequest { project: Some(project), ..request(node, 10) };
    assert!(b.store.claim(at(0), of(third)).await.unwrap().jobs.is_empty());
    let got = b.store.claim(at(0), of(other)).await.unwrap().jobs;
    assert_eq!((ids(&got), got[0].project), (vec![theirs], other));
    assert_eq!(b.claim(0, node, 10).await.len(), 1);
}

/// A backlog in one queue does not keep another waiting.
pub async fn queues_take_turns(b: &Bench) {
    let node = b.join(0).await;
    let big = b.put_all(0, vec![job_in("big"); 50]).await;
    let other = b.ensure("second").await;
    let small = b.put_all(1, vec![job_in("small"), job_in("small")]).await;
    let foreign = b.store.enqueue(at(2), other, vec![job_in("big")]).await.unwrap()[0].id;
    let got = ids(&b.claim(3, node, 7).await);
    assert_eq!(got, [big[0], small[0], foreign, big[1], small[1], big[2], big[3]]);
}

/// Unknown, left, or lost.
pub async fn a_node_that_did_not_join_gets_nothing(b: &Bench) {
    b.put(0, job()).await;
    assert!(b.claim(0, NodeId(4242), 10).await.is_empty());
    let left = b.join(0).await;
    b.store.leave(at(1), left).await.unwrap();
    assert!(b.claim(1, left, 10).await.is_empty());
    let lost = b.join(1).await;
    b.store.orphans(at(100), LEASE, None, 10).await.unwrap();
    assert!(b.claim(100, lost, 10).await.is_empty());
    let good = b.join(100).await;
    assert_eq!(b.claim(100, good, 10).await.len(), 1);
}

/// Due ones only; what comes next is told.
pub async fn promote_goes_by_time_then_number_up_to_its_limit(b: &Bench) {
    let due = |s| NewJob { run_at: Some(at(s)), ..job() };
    let made = b.put_all(0, vec![due(30), due(10), due(20), due(10), due(50)]).await;
    let done = b.store.promote(at(9), 10).await.unwrap();
    assert_eq!((done.promoted, done.expired, done.next_at), (0, 0, Some(at(10))));
    let done = b.store.promote(at(30), 3).await.unwrap();
    assert_eq!((done.promoted, done.next_at), (3, Some(at(30))));
    use JobState::{Available, Scheduled};
    assert_eq!(b.states(&made).await, [Scheduled, Available, Available, Available, Scheduled]);
    let done = b.store.promote(at(30), 3).await.unwrap();
    assert_eq!((done.promoted, done.next_at), (1, Some(at(50))));
    let done = b.store.promote(at(50), 3).await.unwrap();
    assert_eq!((done.promoted, done.next_at), (1, None));
    // Their place counts from when they were due, not from when that was noticed.
    let node = b.join(50).await;
    let enqueued = b.put(29, job()).await;
    let got = ids(&b.claim(50, node, 10).await);
    assert_eq!(got, [made[1], made[3], made[2], enqueued, made[0], made[4]]);
}

/// Instead of becoming available.
pub async fn an_expired_job_is_cancelled_when_it_is_promoted(b: &Bench) {
    let new = NewJob { run_at: Some(at(10)), expires_at: Some(at(20)), ..job() };
    let made = b.put_all(0, vec![new.clone(), new]).await;
    let done = b.store.promote(at(19), 1).await.unwrap();
    assert_eq!((done.promoted, done.expired), (1, 0));
    let done = b.store.promote(at(20), 10).await.unwrap();
    assert_eq!((done.promoted, done.expired, done.next_at), (0, 1, None));
    let r = b.record(made[1]).await;
    assert_eq!((r.state, r.reason.as_deref()), (JobState::Cancelled, Some("expired")));
    assert_eq!((r.finished_at, r.outcome, r.attempt), (Some(at(20)), None, 0));
    assert_eq!(b.told().await, [format!("job.cancelled job/{}", made[1])]);
}

/// And is told as something that may have kept others from being seen.
pub async fn an_expired_job_is_cancelled_when_it_is_claimed(b: &Bench) {
    let node = b.join(0).await;
    let expired = b.put(0, NewJob { expires_at: Some(at(5)), ..job() }).await;
    let good = b.put(1, NewJob { expires_at: Some(at(6)), ..job() }).await;
    let batch = b.claim_batch(5, node, 1).await;
    assert!(batch.jobs.is_empty() && batch.more);
    let r = b.record(expired).await;
    assert_eq!((r.state, r.reason.as_deref()), (JobState::Cancelled, Some("expired")));
    assert_eq!(b.told().await, [format!("job.cancelled job/{expired}")]);
    assert_eq!(ids(&b.claim(5, node, 1).await), [good]);
}

/// Two processes, many claims at once: every job exactly once.
pub async fn two_handles_never_claim_the_same_job(b: &Bench) {
    let other = b.second().await;
    let nodes = [b.join(0).await, b.join(0).await];
    let made: BTreeSet<JobId> = b.put_all(0, vec![job(); 300]).await.into_iter().collect();
    let mut tasks = Vec::new();
    for (store, node) in [(b.store.clone(), nodes[0]), (other, nodes[1])] {
        for _ in 0..3 {
            let store = store.clone();
            tasks.push(tokio::spawn(async move {
                let mut got = Vec::new();
                loop {
                    let batch = store.claim(at(1), request(node, 7)).await.unwrap();
                    if batch.jobs.is_empty() && !batch.more {
                        return got;
                    }
                    got.extend(ids(&batch.jobs));
                }
            }));
        }
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    // A claim that met another may come back empty: what is left is still there.
    all.extend(ids(&b.claim(2, nodes[0], 1000).await));
    assert_eq!(all.len(), made.len(), "a job was claimed twice or not at all");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), made);
}
