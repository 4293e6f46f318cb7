//! What the policy lets go.

use super::bench::*;
use mainspring_core::batch::{BatchState, NewBatch};
use mainspring_core::ids::JobId;
use mainspring_core::job::{JobState, LogLevel, LogLine, NewJob, Origin, Unique, UniqueStates};
use mainspring_core::queue::{QueueSettings, Retention};
use mainspring_core::reader::GroupBy;
use mainspring_core::store::{Bulk, JobFilter, SweepPolicy, Swept};
use mainspring_core::{ScheduleId, time};
use std::collections::BTreeSet;
use std::time::Duration;

const DAY: i64 = 86_400;

fn days(n: u64) -> Duration {
    Duration::from_secs(n * 86_400)
}

fn keep(completed: u64, failed: u64, count: u64) -> Retention {
    Retention { completed: days(completed), failed: days(failed), count }
}

fn policy(jobs: Retention) -> SweepPolicy {
    SweepPolicy { jobs, ..SweepPolicy::default() }
}

/// Sweeps until nothing more goes; the jobs that went.
async fn sweep(b: &Bench, seconds: i64, policy: &SweepPolicy) -> u64 {
    let mut jobs = 0;
    for _ in 0..1000 {
        let swept: Swept = b.store.sweep(at(seconds), policy, 100).await.unwrap();
        jobs += swept.jobs;
        if !swept.more {
            return jobs;
        }
    }
    panic!("the sweep does not end");
}

/// Jobs that ended one second after another, in this manner.
async fn ended(b: &Bench, queue: &str, outcomes: &[JobState]) -> Vec<JobId> {
    let node = b.join(0).await;
    let made = b.put_all(0, vec![job_in(queue); outcomes.len()]).await;
    let only = mainspring_core::store::ClaimRequest {
        queues: vec![queue.into()],
        ..request(node, outcomes.len() as u32)
    };
    let claimed = b.store.claim(at(0), only).await.unwrap().jobs;
    for (n, (c, state)) in claimed.iter().zip(outcomes).enumerate() {
        let outcome = match state {
            JobState::Completed => succeeded(),
            JobState::Failed => fatal(),
            _ => mainspring_core::decide::Outcome::Cancelled { reason: "x".into() },
        };
        b.ended(n as i64, c, outcome).await;
    }
    made
}

async fn left(b: &Bench, made: &[JobId]) -> Vec<JobId> {
    let mut left = Vec::new();
    for id in made {
        if b.store.job(P, *id).await.unwrap().is_some() {
            left.push(*id);
        }
    }
    left
}

/// Completed and cancelled sooner than failed; what lives stays however old it is.
pub async fn finished_jobs_go_by_age(b: &Bench) {
    use JobState::{Cancelled, Completed, Failed};
    let made = ended(b, "default", &[Completed, Cancelled, Failed]).await;
    let live = b.put_all(0, vec![job(), NewJob { run_at: Some(at(90 * DAY)), ..job() }]).await;
    let policy = policy(keep(1, 7, u64::MAX));
    assert_eq!(sweep(b, DAY, &policy).await, 0);
    assert_eq!(sweep(b, DAY + 1, &policy).await, 1);
    assert_eq!(left(b, &made).await, made[1..]);
    assert_eq!(sweep(b, 3 * DAY, &policy).await, 1);
    assert_eq!(left(b, &made).await, made[2..]);
    assert_eq!(sweep(b, 8 * DAY, &policy).await, 1);
    assert_eq!(left(b, &live).await, live);
    assert_eq!(b.how_many().await, 2);
}

/// The newest stay, in each queue for itself, by the queue's own settings if it has some.
pub async fn finished_jobs_go_by_count(b: &Bench) {
    let a = ended(b, "a", &[JobState::Completed; 5]).await;
    let c = ended(b, "c", &[JobState::Failed; 5]).await;
    let own = QueueSettings { retention: Some(keep(9, 9, 4)), ..Default::default() };
    b.store.set_queue(at(9), P, "c", own, "ann").await.unwrap();
    assert_eq!(sweep(b, 10, &policy(keep(9, 9, 2))).await, 4);
    assert_eq!(left(b, &a).await, a[3..]);
    assert_eq!(left(b, &c).await, c[1..]);
}

/// The oldest finished ones, whatever their age; never what lives.
pub async fn finished_jobs_go_by_size(b: &Bench) {
    let made = ended(b, "default", &[JobState::Completed; 20]).await;
    let live = b.put_all(0, vec![job(); 3]).await;
    let roomy = SweepPolicy { max_bytes: Some(u64::MAX), ..policy(keep(9, 9, u64::MAX)) };
    assert_eq!(sweep(b, 30, &roomy).await, 0);
    let tight = SweepPolicy { max_bytes: Some(1), ..roomy };
    for _ in 0..50 {
        if sweep(b, 30, &tight).await == 0 {
            break;
        }
    }
    assert!(left(b, &made).await.len() < made.len());
    assert_eq!(left(b, &live).await, live);
}

/// A step deletes no more than it may, oldest first, and says that more is left.
pub async fn a_sweep_goes_in_bounded_steps(b: &Bench) {
    let made = ended(b, "default", &[JobState::Completed; 30]).await;
    let policy = policy(keep(1, 1, u64::MAX));
    let swept = b.store.sweep(at(2 * DAY), &policy, 10).await.unwrap();
    assert!(swept.jobs <= 12 && swept.jobs > 0 && swept.more, "{swept:?}");
    assert_eq!(left(b, &made).await, made[swept.jobs as usize..]);
    sweep(b, 2 * DAY, &policy).await;
    assert!(left(b, &made).await.is_empty());
}

/// History, log, steps, unique key, fire, figures: nothing is left, nothing else is touched.
pub async fn a_job_goes_with_all_that_belongs_to_it(b: &Bench) {
    let node = b.join(0).await;
    let schedule = Some((ScheduleId(7), Some(at(5))));
    let unique = Some(Unique { key: "u".into(), period: None, states: UniqueStates::ANY });
    let new = || NewJob { schedule, origin: Origin::Fire, unique: unique.clone(), ..job() };
    let id = b.put(0, new()).await;
    let c = b.claim_one(0, node).await;
    b.store.save_step(at(0), id, 1, "s", mainspring_core::Json::null()).await.unwrap();
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
    b.ended(1, &c, fatal()).await;
    assert!(b.store.enqueue(at(2), P, vec![new()]).await.unwrap()[0].duplicate);
    assert_eq!(sweep(b, 2 * DAY, &policy(keep(1, 1, 9))).await, 1);
    assert!(b.store.job(P, id).await.unwrap().is_none());
    assert!(b.store.logs(P, id, None, 10).await.unwrap().is_empty());
    assert!(b.store.steps(id).await.unwrap().is_empty());
    assert!(b.store.fires(P, ScheduleId(7), at(0), at(9), 9).await.unwrap().is_empty());
    assert!(b.store.counts(P).await.unwrap().is_empty());
    let rollups = b.store.rollups(P, 0, i64::MAX / 2, GroupBy::Nothing, false).await.unwrap();
    assert_eq!(rollups.len(), 1, "what happened stays in the figures");
    let next = b.put(2 * DAY, new()).await;
    assert!(next > id, "numbers are not used again");
}

/// Minutes become hours, hours go; sums stay while they are there.
pub async fn rollups_fold_into_hours_and_go(b: &Bench) {
    let node = b.join(0).await;
    for minute in 0..90 {
        b.put(minute * 60, job()).await;
        let c = b.claim_one(minute * 60, node).await;
        b.ended(minute * 60, &c, succeeded()).await;
    }
    let by_time = async || b.store.rollups(P, 0, i64::MAX / 2, GroupBy::Nothing, true).await.unwrap();
    assert_eq!(by_time().await.len(), 90);
    let policy = policy(keep(900, 900, u64::MAX));
    sweep(b, DAY, &policy).await;
    assert_eq!(by_time().await.len(), 90, "two days are kept by the minute");
    sweep(b, 3 * DAY, &policy).await;
    let rows = by_time().await;
    let hour = time::minute(at(0));
    assert_eq!(
        rows.iter().map(|r| (r.minute, r.sum.count)).collect::<Vec<_>>(),
        [(hour, 60), (hour + 60, 30)]
    );
    sweep(b, 3 * DAY + 1, &policy).await;
    assert_eq!(by_time().await, rows, "folding twice changes nothing");
    sweep(b, 92 * DAY, &policy).await;
    assert!(by_time().await.is_empty());
}

/// After ninety days, those of the last days stay.
pub async fn old_events_and_dead_nodes_go(b: &Bench) {
    let dead = b.join(0).await;
    let event = |n: i64| mainspring_core::event::NewEvent::new("x", format!("s/{n}"), serde_json::json!({}));
    for n in 0..3 {
        b.store.record(at(n * 40 * DAY), P, event(n)).await.unwrap();
    }
    b.store.orphans(at(DAY), LEASE, None, 10).await.unwrap();
    let alive = b.join(80 * DAY).await;
    let policy = policy(keep(900, 900, u64::MAX));
    sweep(b, 100 * DAY, &policy).await;
    let told: BTreeSet<String> = b.told().await.into_iter().collect();
    assert_eq!(told, BTreeSet::from(["x s/1".to_owned(), "x s/2".to_owned()]));
    let nodes: Vec<_> = b.store.nodes().await.unwrap().into_iter().map(|n| n.info.id).collect();
    assert!(nodes.contains(&alive) && !nodes.contains(&dead), "{nodes:?}");
    let newest = b.store.last_event(P).await.unwrap();
    b.store.record(at(100 * DAY), P, event(9)).await.unwrap();
    assert!(b.store.last_event(P).await.unwrap() > newest);
}

/// Nobody else completes what a job that succeeded forgot to seal: empty it goes, otherwise it ends
/// with its jobs, without a follow-up. (What a failed one left ends at once.)
pub async fn a_batch_left_open_goes_with_the_job_that_opened_it(b: &Bench) {
    let parents = ended(b, "default", &[JobState::Completed, JobState::Completed]).await;
    let open = async |parent, name: &str, jobs: usize| {
        let new = NewBatch {
            name: name.into(),
            follow_up: Some(job_in("after")),
            parent: Some(parent),
            sealed: false,
        };
        b.store.open_batch(at(1), P, new, vec![job_in("part"); jobs]).await.unwrap()
    };
    let (empty, _) = open(parents[0], "empty", 0).await;
    let (begun, _) = open(parents[0], "begun", 1).await;
    let (done, parts) = open(parents[1], "done", 1).await;
    let all = |ids: &[JobId]| JobFilter { ids: ids.to_vec(), ..JobFilter::default() };
    let bulk = all(&[parts[0].id]);
    let one = Bulk { filter: &bulk, after: None, limit: 10 };
    b.store.cancel_jobs(at(2), P, one, "no", "ann").await.unwrap();
    let state = async |id| b.store.batch(P, id).await.unwrap().map(|r| (r.sealed, r.state, r.follow_up));
    let open = Some((false, BatchState::Open, None));
    assert_eq!(sweep(b, DAY, &policy(keep(7, 90, u64::MAX))).await, 0);
    assert_eq!((state(empty).await, state(begun).await, state(done).await), (open, open, open));
    // And the one that was cancelled, by itself.
    assert_eq!(sweep(b, 8 * DAY, &policy(keep(7, 90, u64::MAX))).await, 3);
    assert_eq!(left(b, &parents).await, []);
    assert_eq!(state(empty).await, None);
    assert_eq!(state(begun).await, Some((true, BatchState::Open, None)));
    assert_eq!(state(done).await, Some((true, BatchState::Failed, None)));
    let after = JobFilter { queue: Some("after".into()), ..JobFilter::default() };
    assert!(b.store.jobs(P, &after, None, 10).await.unwrap().rows.is_empty(), "not all jobs were in it");
}
