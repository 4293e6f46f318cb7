//! Queues, keys and rates: who must wait, until when, and who goes on.

use super::bench::*;
use mainspring_core::decide::Outcome;
use mainspring_core::job::{JobState, NewJob};
use mainspring_core::queue::{ALL_QUEUES, Pause, QueueSettings};
use mainspring_core::rate::Rate;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

async fn set(b: &Bench, seconds: i64, queue: &str, settings: QueueSettings) {
    b.store.set_queue(at(seconds), P, queue, settings, "ann").await.unwrap();
}

fn pause(until: Option<i64>) -> QueueSettings {
    let pause = Pause { at: at(0), by: "ann".into(), until: until.map(at), note: Some("why".into()) };
    QueueSettings { paused: Some(pause), ..QueueSettings::default() }
}

fn per_key(n: u32) -> QueueSettings {
    QueueSettings { max_running_per_key: Some(n), ..QueueSettings::default() }
}

/// On all nodes together; an end makes room.
pub async fn a_queue_runs_no_more_than_its_limit(b: &Bench) {
    set(b, 0, "q", QueueSettings { max_running: Some(3), ..Default::default() }).await;
    let (one, two) = (b.join(0).await, b.join(0).await);
    let made = b.put_all(0, vec![job_in("q"); 6]).await;
    let free = b.put(0, job_in("free")).await;
    let first = b.claim(0, one, 2).await;
    assert_eq!(ids(&first), [made[0], free]);
    let second = b.claim(0, two, 10).await;
    assert_eq!(ids(&second), made[1..3]);
    let batch = b.claim_batch(1, two, 10).await;
    assert!(batch.jobs.is_empty() && !batch.more && batch.wake_at.is_none());
    b.ended(1, &second[0], failed()).await;
    assert_eq!(ids(&b.claim(1, one, 10).await), made[3..4]);
}

/// Its own settings under the name `*`: other projects do not feel them.
pub async fn all_queues_of_a_project_have_a_limit_together(b: &Bench) {
    set(b, 0, ALL_QUEUES, QueueSettings { max_running: Some(3), ..Default::default() }).await;
    let node = b.join(0).await;
    let other = b.ensure("other").await;
    let a = b.put_all(0, vec![job_in("a"); 5]).await;
    let z = b.put_all(0, vec![job_in("z"); 5]).await;
    let foreign = b.store.enqueue(at(0), other, vec![job_in("a"); 3]).await.unwrap();
    let got = b.claim(1, node, 10).await;
    let of_p: Vec<_> = got.iter().filter(|c| c.project == P).cloned().collect();
    assert_eq!(ids(&of_p), [a[0], z[0], a[1]]);
    assert_eq!(got.len(), 3 + foreign.len());
    assert!(b.claim(1, node, 10).await.is_empty());
    b.ended(2, &of_p[1], succeeded()).await;
    assert_eq!(b.claim(2, node, 10).await.len(), 1);
}

/// Two handles cannot overshoot it together.
pub async fn a_limit_holds_for_handles_that_claim_at_once(b: &Bench) {
    set(b, 0, "q", QueueSettings { max_running: Some(5), ..Default::default() }).await;
    set(b, 0, "k", per_key(2)).await;
    let other = b.second().await;
    let nodes = [b.join(0).await, b.join(0).await];
    let k = |key: &str| NewJob { queue: "k".into(), ..keyed(key) };
    b.put_all(0, vec![job_in("q"); 40]).await;
    b.put_all(0, (0..40).map(|n| k(["x", "y"][n % 2])).collect()).await;
    for round in 0..5 {
        let mut tasks = Vec::new();
        for (store, node) in [(b.store.clone(), nodes[0]), (other.clone(), nodes[1])] {
            for _ in 0..2 {
                let store = store.clone();
                tasks.push(tokio::spawn(async move {
                    store.claim(at(1 + round), request(node, 20)).await.unwrap().jobs
                }));
            }
        }
        let mut claimed = Vec::new();
        for task in tasks {
            claimed.extend(task.await.unwrap());
        }
        let running = b.store.running(P, 1000).await.unwrap();
        let of = |queue: &str| running.iter().filter(|r| *r.queue == *queue).count();
        assert!(of("q") <= 5, "{} run in a queue of 5", of("q"));
        let mut keys = BTreeMap::<Option<Arc<str>>, u32>::new();
        running
            .iter()
            .filter(|r| *r.queue == *"k")
            .for_each(|r| *keys.entry(r.key.clone()).or_default() += 1);
        assert!(keys.values().all(|n| *n <= 2), "{keys:?}");
        for c in &claimed {
            b.ended(1 + round, c, succeeded()).await;
        }
    }
}

/// Held ones are out of the way of others, and go on in their order.
pub async fn a_full_key_holds_its_jobs_and_no_others(b: &Bench) {
    set(b, 0, "default", per_key(2)).await;
    let node = b.join(0).await;
    let x = b.put_all(0, vec![keyed("x"); 5]).await;
    let y = b.put(1, keyed("y")).await;
    let none = b.put(2, job()).await;
    let batch = b.claim_batch(3, node, 4).await;
    assert_eq!(ids(&batch.jobs), x[..2]);
    assert!(batch.more, "two were held in this call");
    assert!(b.record(x[2]).await.held && b.record(x[3]).await.held && !b.record(x[4]).await.held);
    let next = b.claim(3, node, 10).await;
    assert_eq!(ids(&next), [y, none]);
    assert!(b.record(x[4]).await.held);
    assert!(!b.claim_batch(3, node, 10).await.more);
    assert_eq!(b.state(x[2]).await, JobState::Available);

    b.ended(4, &batch.jobs[1], succeeded()).await;
    assert!(!b.record(x[2]).await.held && b.record(x[3]).await.held);
    assert_eq!(ids(&b.claim(4, node, 10).await), [x[2]]);
    // An attempt that will be repeated makes room too.
    b.ended(5, &batch.jobs[0], Outcome::Snoozed { until: at(1000) }).await;
    assert_eq!(ids(&b.claim(5, node, 10).await), [x[3]]);
}

/// The smaller of the job's and the queue's.
pub async fn a_job_may_bring_a_limit_for_its_key(b: &Bench) {
    let node = b.join(0).await;
    let own = |n| NewJob { key_limit: Some(n), ..keyed("x") };
    let made = b.put_all(0, vec![own(2); 4]).await;
    let got = b.claim(0, node, 10).await;
    assert_eq!(ids(&got), made[..2]);
    set(b, 0, "default", per_key(1)).await;
    b.ended(1, &got[0], succeeded()).await;
    assert!(b.claim(1, node, 10).await.is_empty(), "the queue allows one, and one runs");
    b.ended(2, &got[1], succeeded()).await;
    assert_eq!(ids(&b.claim(2, node, 10).await), [made[2]]);
}

/// Whatever ends it: nobody must wait for a job that will never end.
pub async fn a_released_job_that_does_not_run_releases_the_next(b: &Bench) {
    set(b, 0, "default", per_key(1)).await;
    let node = b.join(0).await;
    let expiring = NewJob { expires_at: Some(at(50)), ..keyed("x") };
    let made = b.put_all(0, vec![keyed("x"), keyed("x"), expiring, keyed("x")]).await;
    let first = b.claim(0, node, 10).await;
    assert_eq!(ids(&first), [made[0]]);
    b.ended(1, &first[0], succeeded()).await;
    assert!(!b.record(made[1]).await.held && b.record(made[2]).await.held);
    b.store.cancel_jobs(at(2), P, bulk(&these(&[made[1]])), "no", "ann").await.unwrap();
    assert!(!b.record(made[2]).await.held, "the cancelled one gave its turn on");
    assert!(b.record(made[3]).await.held);
    let batch = b.claim_batch(50, node, 10).await;
    assert!(batch.jobs.is_empty() && batch.more);
    assert_eq!(ids(&b.claim(50, node, 10).await), [made[3]]);
}

/// Raised or lifted: judged again. Lowered: what runs goes on.
pub async fn a_raised_limit_releases_held_jobs(b: &Bench) {
    set(b, 0, "default", per_key(1)).await;
    let node = b.join(0).await;
    let made = b.put_all(0, vec![keyed("x"); 6]).await;
    assert_eq!(ids(&b.claim(0, node, 10).await), made[..1]);
    set(b, 1, "default", per_key(3)).await;
    assert_eq!(ids(&b.claim(1, node, 10).await), made[1..3]);
    set(b, 2, "default", per_key(2)).await;
    assert!(b.claim(2, node, 10).await.is_empty());
    set(b, 3, "default", QueueSettings::default()).await;
    assert_eq!(ids(&b.claim(3, node, 10).await), made[3..]);
}

/// Keys are counted also while nothing limits them.
pub async fn a_limit_set_later_counts_what_runs_already(b: &Bench) {
    let node = b.join(0).await;
    let made = b.put_all(0, vec![keyed("x"); 3]).await;
    assert_eq!(b.claim(0, node, 2).await.len(), 2);
    set(b, 1, "default", per_key(2)).await;
    assert!(b.claim(1, node, 10).await.is_empty());
    assert!(b.record(made[2]).await.held);
}

/// Exactly as many starts as allowed, and the instant of the next one.
pub async fn a_queues_rate_says_when_it_gives_more(b: &Bench) {
    let rate = Rate { count: 2, per: secs(60) };
    set(b, 0, "q", QueueSettings { rate: Some(rate), ..Default::default() }).await;
    let node = b.join(0).await;
    let made = b.put_all(0, vec![job_in("q"); 4]).await;
    let batch = b.claim_batch(0, node, 10).await;
    assert_eq!((ids(&batch.jobs), batch.wake_at), (made[..1].to_vec(), Some(at(30))));
    let batch = b.claim_batch(29, node, 10).await;
    assert_eq!((batch.jobs.len(), batch.wake_at, batch.more), (0, Some(at(30)), false));
    let batch = b.claim_batch(30, node, 10).await;
    assert_eq!((ids(&batch.jobs), batch.wake_at), (made[1..2].to_vec(), Some(at(60))));
    b.ended(31, &batch.jobs[0], succeeded()).await;
    assert!(b.claim(31, node, 10).await.is_empty(), "an end is not a start: nothing comes back");
    assert_eq!(b.claim(60, node, 10).await.len(), 1);
    // The last one: nobody waits, so there is nothing to wake for.
    let batch = b.claim_batch(600, node, 10).await;
    assert_eq!((ids(&batch.jobs), batch.wake_at), (made[3..].to_vec(), None));
    assert_eq!(b.claim_batch(600, node, 10).await.wake_at, None);
}

/// A burst of a twentieth, then one interval each; what could not start takes no token.
pub async fn a_rate_counts_starts_and_not_candidates(b: &Bench) {
    let rate = Rate { count: 40, per: secs(39) };
    let settings = QueueSettings { rate: Some(rate), max_running_per_key: Some(1), ..Default::default() };
    set(b, 0, "q", settings).await;
    let node = b.join(0).await;
    let x = |key: &str| NewJob { queue: "q".into(), ..keyed(key) };
    let made = b.put_all(0, vec![x("a"), x("a"), x("b")]).await;
    let batch = b.claim_batch(0, node, 10).await;
    assert_eq!((ids(&batch.jobs), batch.more), (made[..1].to_vec(), true));
    assert_eq!(ids(&b.claim_batch(0, node, 10).await.jobs), made[2..]);
}

/// Held until a token may be there, one after the other, in their old place.
pub async fn a_key_without_a_token_is_put_off(b: &Bench) {
    let rate = Rate { count: 1, per: secs(10) };
    set(b, 0, "default", QueueSettings { rate_per_key: Some(rate), ..Default::default() }).await;
    let node = b.join(0).await;
    let x = b.put_all(0, vec![keyed("x"); 4]).await;
    let y = b.put(5, keyed("y")).await;
    let batch = b.claim_batch(5, node, 10).await;
    assert_eq!((ids(&batch.jobs), batch.more), (vec![x[0], y], true));
    for (id, run_at) in [(x[1], 15), (x[2], 25), (x[3], 35)] {
        let r = b.record(id).await;
        assert_eq!((r.state, r.run_at, r.attempt), (JobState::Scheduled, at(run_at), 0));
    }
    assert!(b.claim(14, node, 10).await.is_empty());
    let later = b.put(14, keyed("z")).await;
    b.promote(15).await;
    // It kept its place: before one that was enqueued while it was put off.
    assert_eq!(ids(&b.claim(15, node, 10).await), [x[1], later]);
    b.promote(35).await;
    let batch = b.claim_batch(35, node, 10).await;
    assert_eq!(ids(&batch.jobs), [x[2]]);
    assert_eq!(b.record(x[3]).await.run_at, at(45));
}

/// Until it ends by itself, or is resumed.
pub async fn a_paused_queue_gives_nothing(b: &Bench) {
    let node = b.join(0).await;
    let made = b.put_all(0, vec![job_in("q"); 3]).await;
    set(b, 0, "q", pause(Some(100))).await;
    let batch = b.claim_batch(99, node, 1).await;
    assert!(batch.jobs.is_empty() && !batch.more && batch.wake_at.is_none());
    assert_eq!(ids(&b.claim(100, node, 1).await), [made[0]]);
    set(b, 101, "q", pause(None)).await;
    assert!(b.claim(1_000_000, node, 1).await.is_empty());
    let other = b.put(101, job_in("other")).await;
    assert_eq!(ids(&b.claim(101, node, 1).await), [other]);
    set(b, 102, "q", QueueSettings::default()).await;
    assert_eq!(ids(&b.claim(102, node, 1).await), [made[1]]);
}

/// The whole project stands still; another does not.
pub async fn a_pause_of_all_queues_holds_them_all(b: &Bench) {
    let node = b.join(0).await;
    let other = b.ensure("other").await;
    b.put_all(0, vec![job_in("a"), job_in("b")]).await;
    let foreign = b.store.enqueue(at(0), other, vec![job_in("a")]).await.unwrap()[0].id;
    set(b, 0, ALL_QUEUES, pause(Some(50))).await;
    assert_eq!(ids(&b.claim(1, node, 10).await), [foreign]);
    assert_eq!(b.claim(50, node, 10).await.len(), 2);
}

/// A key with hundreds and a key with one take turns; priority still counts.
pub async fn keys_of_a_fair_queue_take_turns(b: &Bench) {
    set(b, 0, "default", QueueSettings { fair: true, ..Default::default() }).await;
    let node = b.join(0).await;
    let big = b.put_all(0, vec![keyed("big"); 300]).await;
    let small = b.put_all(1, vec![keyed("small"); 2]).await;
    let none = b.put_all(2, vec![job(), job()]).await;
    let got = ids(&b.claim(3, node, 7).await);
    assert_eq!(got, [big[0], small[0], none[0], big[1], small[1], none[1], big[2]]);
    // A newcomer gets no credit for the time it was not there, and does not wait for the backlog.
    let newcomer = b.put_all(4, vec![keyed("new"); 2]).await;
    let got = ids(&b.claim(4, node, 4).await);
    assert!(got.contains(&newcomer[0]) && got.contains(&newcomer[1]), "{got:?}");
    let urgent = b.put(5, NewJob { priority: 0, ..keyed("big") }).await;
    // Five levels are worth five minutes, here of virtual time: 300 turns.
    assert_eq!(ids(&b.claim(5, node, 1).await), [urgent]);
}

/// Each in its order, those of one key too, over retries and promotions.
pub async fn a_fair_queue_keeps_the_order_within_a_key(b: &Bench) {
    set(b, 0, "default", QueueSettings { fair: true, ..Default::default() }).await;
    let node = b.join(0).await;
    let late = b.put(0, NewJob { run_at: Some(at(10)), ..keyed("x") }).await;
    let x = b.put_all(1, vec![keyed("x"); 3]).await;
    b.promote(10).await;
    let got = b.claim(10, node, 2).await;
    assert_eq!(ids(&got), x[..2]);
    b.ended(11, &got[0], Outcome::Interrupted { reason: "drain".into() }).await;
    assert_eq!(ids(&b.claim(11, node, 10).await), [x[2], late, x[0]]);
}

/// What must be refused, and the whole settings back as they were set.
pub async fn settings_come_back_as_they_were_set(b: &Bench) {
    let all = QueueSettings {
        paused: pause(Some(9)).paused,
        max_running: Some(7),
        max_running_per_key: Some(3),
        rate: Some(Rate { count: 100, per: Duration::from_millis(1500) }),
        rate_per_key: Some(Rate { count: 1, per: secs(1) }),
        fair: true,
        retention: Some(mainspring_core::queue::Retention { completed: secs(1), failed: secs(2), count: 3 }),
    };
    set(b, 0, "letters", all.clone()).await;
    b.put(0, job_in("used")).await;
    let queues = b.store.queues(P).await.unwrap();
    assert_eq!(queues.iter().map(|q| q.name.as_str()).collect::<Vec<_>>(), ["letters", "used"]);
    assert_eq!((&queues[0].settings, queues[0].project), (&all, P));
    assert_eq!(queues[1].settings, QueueSettings::default());
    set(b, 1, "letters", QueueSettings { max_running: Some(1), ..Default::default() }).await;
    assert_eq!(b.store.queues(P).await.unwrap()[0].settings.rate, None, "settings are replaced");
    set(b, 1, ALL_QUEUES, QueueSettings { max_running: Some(9), ..Default::default() }).await;
    assert_eq!(b.store.queues(P).await.unwrap()[0].name, ALL_QUEUES);
    let zero = QueueSettings { max_running: Some(0), ..Default::default() };
    for (name, settings) in [("letters", zero), (" x", QueueSettings::default())] {
        let refused = b.store.set_queue(at(2), P, name, settings, "ann").await;
        assert!(matches!(refused, Err(mainspring_core::StoreError::Invalid { .. })), "{refused:?}");
    }
}

/// One event for each change, by whom.
pub async fn changes_of_a_queue_are_told(b: &Bench) {
    set(b, 0, "q", QueueSettings { max_running: Some(1), ..Default::default() }).await;
    set(b, 1, "q", pause(None)).await;
    set(b, 2, "q", QueueSettings::default()).await;
    assert_eq!(b.told().await, ["queue.changed queue/q", "queue.paused queue/q", "queue.resumed queue/q"]);
    let events = b.events().await;
    assert!(events.iter().all(|e| e.event.actor.as_deref() == Some("ann")));
    assert_eq!(events.last().map(|e| e.at), Some(at(2)));
}
