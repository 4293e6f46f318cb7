//! Jobs that belong together.

use super::bench::*;
use mainspring_core::batch::{BatchCounts, BatchState, NewBatch};
use mainspring_core::decide::Outcome;
use mainspring_core::ids::{BatchId, JobId};
use mainspring_core::job::{Claimed, JobState, NewJob, Origin, Unique, UniqueStates};
use mainspring_core::json::Json;
use mainspring_core::store::{Bulk, JobFilter};
use mainspring_core::{StoreError, limits};

fn batch(sealed: bool) -> NewBatch {
    NewBatch { name: "import".into(), follow_up: None, parent: None, sealed }
}

fn with_follow_up(sealed: bool) -> NewBatch {
    let follow_up = NewJob { payload: Json::parse("[\"sum\"]").unwrap(), ..job_in("after") };
    NewBatch { follow_up: Some(follow_up), ..batch(sealed) }
}

async fn open(b: &Bench, new: NewBatch, jobs: usize) -> (BatchId, Vec<JobId>) {
    let (id, made) = b.store.open_batch(at(0), P, new, vec![job(); jobs]).await.unwrap();
    (id, made.into_iter().map(|e| e.id).collect())
}

async fn record(b: &Bench, id: BatchId) -> mainspring_core::batch::BatchRecord {
    b.store.batch(P, id).await.unwrap().unwrap()
}

fn counts(total: u64, succeeded: u64, partial: u64, failed: u64, cancelled: u64) -> BatchCounts {
    BatchCounts { total, succeeded, partial, failed, cancelled }
}

async fn end_all(b: &Bench, seconds: i64, claimed: &[Claimed], outcome: Outcome) {
    for c in claimed {
        b.ended(seconds, c, outcome.clone()).await;
    }
}

/// With its jobs, its parent, its counts; newest first.
pub async fn a_batch_comes_back_as_it_was_opened(b: &Bench) {
    let parent = b.put(0, job_in("p")).await;
    let new = NewBatch { parent: Some(parent), name: "päckchen 📦".into(), ..batch(true) };
    let (id, made) = open(b, new, 3).await;
    let r = record(b, id).await;
    assert_eq!((r.id, r.project, r.name.as_str()), (id, P, "päckchen 📦"));
    assert_eq!((r.state, r.sealed, r.counts), (BatchState::Open, true, counts(3, 0, 0, 0, 0)));
    assert_eq!((r.parent, r.follow_up, r.created_at, r.finished_at), (Some(parent), None, at(0), None));
    for job in &made {
        assert_eq!(b.record(*job).await.batch, Some(id));
    }
    let of_batch = JobFilter { batch: Some(id), ..JobFilter::default() };
    assert_eq!(b.store.jobs(P, &of_batch, None, 10).await.unwrap().rows.len(), 3);
    let (second, _) = open(b, batch(false), 1).await;
    let page = b.store.batches(P, None, 1).await.unwrap();
    assert_eq!((page.rows[0].id, page.next), (second, Some(second)));
    let page = b.store.batches(P, page.next, 1).await.unwrap();
    assert_eq!((page.rows[0].id, page.next), (id, None));
    let node = b.join(0).await;
    assert!(b.claim(0, node, 10).await.iter().any(|c| c.batch == Some(id)));
}

/// The batch ends with its last job; then, and only then, the follow-up is there.
pub async fn the_last_end_ends_the_batch_and_starts_its_follow_up(b: &Bench) {
    let node = b.join(0).await;
    let (id, made) = open(b, with_follow_up(true), 3).await;
    let c = b.claim(0, node, 10).await;
    b.ended(1, &c[0], succeeded()).await;
    b.ended(1, &c[1], failed()).await;
    assert_eq!(record(b, id).await.counts, counts(3, 1, 0, 0, 0), "a retry is pending");
    b.ended(2, &c[2], Outcome::Partial { output: None, failures: 1 }).await;
    assert!(record(b, id).await.follow_up.is_none());
    b.promote(6).await;
    let again = b.claim_one(6, node).await;
    assert_eq!(again.facts.job, made[1]);
    b.ended(7, &again, fatal()).await;
    let r = record(b, id).await;
    assert_eq!((r.state, r.counts, r.finished_at), (BatchState::Partial, counts(3, 1, 1, 1, 0), Some(at(7))));
    let follow_up = b.record(r.follow_up.unwrap()).await;
    assert_eq!((follow_up.origin, follow_up.batch, &*follow_up.queue), (Origin::FollowUp, Some(id), "after"));
    assert_eq!((follow_up.payload.as_str(), follow_up.run_at), ("[\"sum\"]", at(7)));
    assert_eq!(follow_up.state, JobState::Available);
    assert!(b.told().await.contains(&format!("batch.partial batch/{id}")));
    // It belongs to the batch but does not count in it.
    let c = b.claim_one(8, node).await;
    b.ended(8, &c, fatal()).await;
    assert_eq!(record(b, id).await.counts, counts(3, 1, 1, 1, 0));
}

/// All well, some well, none well; cancelled ones count as not well.
pub async fn the_outcome_of_a_batch_follows_its_counts(b: &Bench) {
    let node = b.join(0).await;
    let skip = || Outcome::Skipped { reason: "x".into() };
    let cancel = || Outcome::Cancelled { reason: "x".into() };
    for (outcomes, state) in [
        (vec![succeeded(), skip()], BatchState::Complete),
        (vec![succeeded(), fatal()], BatchState::Partial),
        (vec![cancel(), fatal()], BatchState::Failed),
        (vec![cancel(), succeeded()], BatchState::Partial),
    ] {
        let (id, _) = open(b, batch(true), outcomes.len()).await;
        let c = b.claim(0, node, 10).await;
        let transitions = c.iter().zip(outcomes).map(|(c, o)| decided(&c.facts, o, 1)).collect();
        b.store.finish(at(1), transitions).await.unwrap();
        assert_eq!(record(b, id).await.state, state);
        assert!(b.told().await.contains(&format!("batch.{state} batch/{id}")));
    }
}

/// More may come until it is sealed; then none.
pub async fn an_unsealed_batch_stays_open(b: &Bench) {
    let node = b.join(0).await;
    let (id, _) = open(b, with_follow_up(false), 1).await;
    let c = b.claim(0, node, 10).await;
    end_all(b, 1, &c, succeeded()).await;
    let r = record(b, id).await;
    assert_eq!((r.state, r.counts, r.finished_at), (BatchState::Open, counts(1, 1, 0, 0, 0), None));
    b.put(2, NewJob { batch: Some(id), ..job() }).await;
    assert_eq!(record(b, id).await.counts.total, 2);
    b.store.seal_batch(at(3), P, id).await.unwrap();
    assert_eq!((record(b, id).await.state, record(b, id).await.sealed), (BatchState::Open, true));
    let refused = b.store.enqueue(at(3), P, vec![NewJob { batch: Some(id), ..job() }]).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    let c = b.claim(4, node, 10).await;
    end_all(b, 5, &c, succeeded()).await;
    assert_eq!(record(b, id).await.state, BatchState::Complete);
    b.store.seal_batch(at(6), P, id).await.unwrap();
    let told = b.told().await;
    assert_eq!(told.iter().filter(|t| t.starts_with("batch.")).count(), 1, "{told:?}");
}

/// At once, whether it was sealed when it was opened or later.
pub async fn a_sealed_batch_without_jobs_ends_at_once(b: &Bench) {
    let (opened_sealed, _) = open(b, with_follow_up(true), 0).await;
    let r = record(b, opened_sealed).await;
    assert_eq!((r.state, r.finished_at), (BatchState::Complete, Some(at(0))));
    assert!(r.follow_up.is_some());
    let (sealed_later, _) = open(b, with_follow_up(false), 0).await;
    assert_eq!(record(b, sealed_later).await.follow_up, None);
    b.store.seal_batch(at(1), P, sealed_later).await.unwrap();
    let r = record(b, sealed_later).await;
    assert_eq!((r.state, r.finished_at), (BatchState::Complete, Some(at(1))));
    assert_ne!(r.follow_up, record(b, opened_sealed).await.follow_up);
}

/// Cancelled while waiting, expired: they count.
pub async fn jobs_cancelled_while_they_wait_end_a_batch_too(b: &Bench) {
    let (id, made) = open(b, with_follow_up(true), 2).await;
    b.store.cancel_jobs(at(1), P, bulk(&these(&made)), "no need", "ann").await.unwrap();
    let r = record(b, id).await;
    assert_eq!((r.state, r.counts), (BatchState::Failed, counts(2, 0, 0, 0, 2)));
    assert!(r.follow_up.is_some());
    let expiring = vec![NewJob { run_at: Some(at(5)), expires_at: Some(at(6)), ..job() }];
    let (id, _) = b.store.open_batch(at(1), P, batch(true), expiring).await.unwrap();
    b.store.promote(at(7), 10).await.unwrap();
    assert_eq!(record(b, id).await.state, BatchState::Failed);
}

/// It is open again, and ends again; its follow-up was done.
pub async fn a_retry_inside_an_ended_batch_opens_it_again(b: &Bench) {
    let node = b.join(0).await;
    let (id, _) = open(b, with_follow_up(true), 3).await;
    let c = b.claim(0, node, 10).await;
    b.ended(1, &c[0], succeeded()).await;
    b.ended(1, &c[1], fatal()).await;
    b.ended(1, &c[2], Outcome::Partial { output: None, failures: 1 }).await;
    let first = record(b, id).await;
    assert_eq!(first.state, BatchState::Partial);
    let retry = |c: &Claimed| these(&[c.facts.job]);
    for c in &c[1..] {
        let bulk = Bulk { filter: &retry(c), after: None, limit: 10 };
        b.store.retry_jobs(at(2), P, bulk, "ann").await.unwrap();
    }
    let r = record(b, id).await;
    assert_eq!((r.state, r.counts, r.finished_at), (BatchState::Open, counts(3, 1, 0, 0, 0), None));
    let only = mainspring_core::store::ClaimRequest { queues: vec!["default".into()], ..request(node, 10) };
    let again = b.store.claim(at(3), only).await.unwrap().jobs;
    end_all(b, 4, &again, succeeded()).await;
    let r = record(b, id).await;
    assert_eq!(
        (r.state, r.counts, r.finished_at),
        (BatchState::Complete, counts(3, 3, 0, 0, 0), Some(at(4)))
    );
    assert_eq!(r.follow_up, first.follow_up);
    let told = b.told().await;
    assert!(told.contains(&format!("batch.complete batch/{id}")), "{told:?}");
    assert_eq!(b.how_many().await, 4);
}

/// Only what was written counts.
pub async fn duplicates_are_not_counted(b: &Bench) {
    let unique = Unique { key: "u".into(), period: None, states: UniqueStates::LIVE };
    let new = NewJob { unique: Some(unique), ..job() };
    let (id, made) = b.store.open_batch(at(0), P, batch(true), vec![new.clone(), new, job()]).await.unwrap();
    assert!(made[1].duplicate);
    assert_eq!(record(b, id).await.counts.total, 2);
}

/// As one transaction; jobs for a batch that is not there are refused.
pub async fn what_cannot_be_opened_leaves_nothing_behind(b: &Bench) {
    let refused = b.store.open_batch(at(0), P, batch(true), vec![job(); limits::BATCH + 1]).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    assert!(b.store.batches(P, None, 10).await.unwrap().rows.is_empty());
    assert_eq!(b.how_many().await, 0);
    let (id, made) = open(b, batch(true), limits::BATCH).await;
    assert_eq!((made.len(), record(b, id).await.counts.total), (limits::BATCH, limits::BATCH as u64));
    let missing = b.store.seal_batch(at(0), P, BatchId(id.0 + 1000)).await;
    assert!(matches!(missing, Err(StoreError::NotFound { what: "batch", .. })), "{missing:?}");
}

/// Two nodes end the last two jobs at the same time: one end, one follow-up.
pub async fn a_batch_ends_once_however_its_jobs_end(b: &Bench) {
    let other = b.second().await;
    let node = b.join(0).await;
    for _ in 0..10 {
        let (id, _) = open(b, with_follow_up(true), 4).await;
        let only =
            mainspring_core::store::ClaimRequest { queues: vec!["default".into()], ..request(node, 10) };
        let claimed = b.store.claim(at(0), only).await.unwrap().jobs;
        let mut tasks = Vec::new();
        for (n, c) in claimed.iter().enumerate() {
            let store = if n % 2 == 0 { b.store.clone() } else { other.clone() };
            let t = decided(&c.facts, succeeded(), 1);
            tasks.push(tokio::spawn(async move { store.finish(at(1), vec![t]).await.unwrap() }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(record(b, id).await.state, BatchState::Complete);
        let of_batch = JobFilter { batch: Some(id), queue: Some("after".into()), ..JobFilter::default() };
        assert_eq!(b.store.jobs(P, &of_batch, None, 10).await.unwrap().rows.len(), 1);
    }
    let told = b.told().await;
    assert_eq!(told.iter().filter(|t| t.starts_with("batch.")).count(), 10);
}

/// A parent that lost the answer opens again what it has: no empty batch is left behind.
pub async fn a_repeated_opening_finds_its_batch(b: &Bench) {
    let (parent, other) = (b.put(0, job_in("p")).await, b.put(0, job_in("p")).await);
    let new = NewBatch { parent: Some(parent), ..with_follow_up(false) };
    let (first, _) = open(b, new.clone(), 0).await;
    let (again, made) = open(b, new.clone(), 2).await;
    assert_eq!((again, record(b, first).await.counts), (first, counts(2, 0, 0, 0, 0)));
    assert_eq!(b.record(made[0]).await.batch, Some(first));
    assert_eq!(b.store.batches(P, None, 10).await.unwrap().rows.len(), 1);
    // Another parent, another name, no parent, or a batch that is sealed: another batch.
    let (of_other, _) = open(b, NewBatch { parent: Some(other), ..new.clone() }, 0).await;
    let (named, _) = open(b, NewBatch { name: "second".into(), ..new.clone() }, 0).await;
    let (nobodys, _) = open(b, batch(false), 0).await;
    let (nobodys_too, _) = open(b, batch(false), 0).await;
    b.store.seal_batch(at(1), P, first).await.unwrap();
    let (after, _) = open(b, new.clone(), 1).await;
    let all = [first, of_other, named, nobodys, nobodys_too, after];
    assert_eq!(std::collections::BTreeSet::from(all).len(), 6);
    // Opened again and sealed by it.
    let (sealed, _) = open(b, NewBatch { sealed: true, ..new }, 1).await;
    let r = record(b, sealed).await;
    assert_eq!((sealed, r.sealed, r.counts.total), (after, true, 2));
}

/// When none of its jobs is pending, without its follow-up; a retry of the parent opens it again.
pub async fn a_batch_whose_parent_fails_is_given_up_and_ends(b: &Bench) {
    let node = b.join(0).await;
    let retry = |id: JobId| these(&[id]);
    let told = async |what: String| b.told().await.iter().filter(|t| **t == what).count();
    // Fails before its jobs end, after them, and is cancelled before it runs.
    let parent = b.put(0, job_in("p")).await;
    let of_parent = NewBatch { parent: Some(parent), ..with_follow_up(false) };
    let p = b.claim_one(0, node).await;
    let (left, _) = open(b, of_parent.clone(), 2).await;
    let (empty, _) = open(b, NewBatch { name: "none".into(), ..of_parent.clone() }, 0).await;
    let (sealed, _) = open(b, NewBatch { name: "all".into(), sealed: true, ..of_parent.clone() }, 1).await;
    let c = b.claim(1, node, 10).await;
    b.ended(1, c.iter().find(|c| c.batch == Some(left)).unwrap(), succeeded()).await;
    assert_eq!(record(b, left).await.state, BatchState::Open);
    b.ended(2, &p, fatal()).await;
    assert_eq!(
        (record(b, left).await.state, record(b, sealed).await.state),
        (BatchState::Open, BatchState::Open)
    );
    let r = record(b, empty).await;
    assert_eq!(
        (r.state, r.sealed, r.finished_at),
        (BatchState::Failed, false, Some(at(2))),
        "nothing is pending"
    );
    for c in c.iter().skip(1) {
        b.ended(3, c, fatal()).await;
    }
    let r = record(b, left).await;
    let ended = (BatchState::Partial, false, counts(2, 1, 0, 1, 0), Some(at(3)));
    assert_eq!((r.state, r.sealed, r.counts, r.finished_at), ended);
    assert_eq!((r.follow_up, told(format!("batch.partial batch/{left}")).await), (None, 1));
    let late = b.store.enqueue(at(3), P, vec![NewJob { batch: Some(left), ..job() }]).await;
    assert!(matches!(late, Err(StoreError::Conflict(_))), "{late:?}");
    // The follow-up of the one that was sealed is there; it is out of the way.
    b.ended(4, &b.claim_one(4, node).await, succeeded()).await;
    // Its parent lives again, adds what was missing, and seals: now its follow-up comes.
    let bulk_of = retry(parent);
    b.store.retry_jobs(at(5), P, bulk(&bulk_of), "ann").await.unwrap();
    assert_eq!((record(b, left).await.state, record(b, left).await.finished_at), (BatchState::Open, None));
    let p = b.claim_one(5, node).await;
    let (again, made) = open(b, of_parent, 1).await;
    assert_eq!((again, made.len()), (left, 1));
    b.ended(6, &b.claim_one(5, node).await, succeeded()).await;
    assert_eq!(record(b, left).await.state, BatchState::Open);
    b.store.seal_batch(at(7), P, left).await.unwrap();
    let r = record(b, left).await;
    assert_eq!((r.state, r.counts), (BatchState::Partial, counts(3, 2, 0, 1, 0)));
    assert!(r.follow_up.is_some());
    b.ended(8, &p, succeeded()).await;
    // Cancelled while it waits.
    let parent = b.put(9, job_in("p")).await;
    let (left, _) = open(b, NewBatch { parent: Some(parent), ..batch(false) }, 0).await;
    b.store.cancel_jobs(at(9), P, bulk(&these(&[parent])), "no need", "ann").await.unwrap();
    assert_eq!(record(b, left).await.state, BatchState::Failed);
    // Opened for a parent that is over: it ends at once.
    let (late, _) = open(b, NewBatch { parent: Some(parent), name: "late".into(), ..batch(false) }, 0).await;
    assert_eq!(record(b, late).await.state, BatchState::Failed);
}
