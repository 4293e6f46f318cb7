//! Counters, roll-ups and recent outcomes: written with the change they tell of.

use super::bench::*;
use mainspring_core::decide::Outcome;
use mainspring_core::job::{AttemptOutcome, ErrorRecord, JobState, NewJob};
use mainspring_core::reader::GroupBy;
use mainspring_core::tally::{RollupSum, Scope, bucket};
use mainspring_core::{ScheduleId, limits, time};
use std::collections::BTreeMap;
use std::time::Duration;

/// By queue, kind and state, whatever the way.
pub async fn counts_follow_every_change(b: &Bench) {
    let node = b.join(0).await;
    let counts = async || {
        let rows = b.store.counts(P).await.unwrap();
        rows.into_iter().map(|(q, k, s, n)| ((q, k, s), n)).collect::<BTreeMap<_, _>>()
    };
    let key = |queue: &str, kind: &str, state| (queue.to_owned(), kind.to_owned(), state);
    let later = NewJob { run_at: Some(at(50)), ..job() };
    b.put_all(0, vec![job(), job(), job(), later, NewJob { kind: "else".into(), ..job_in("q") }]).await;
    use JobState::*;
    let expected = BTreeMap::from([
        (key("default", KIND, Scheduled), 1),
        (key("default", KIND, Available), 3),
        (key("q", "else", Available), 1),
    ]);
    assert_eq!(counts().await, expected);
    let c = b.claim(0, node, 2).await;
    b.ended(1, &c[0], succeeded()).await;
    b.ended(1, &c[1], failed()).await;
    let expected = BTreeMap::from([
        (key("default", KIND, Scheduled), 2),
        (key("default", KIND, Available), 1),
        (key("default", KIND, Completed), 1),
        (key("q", "else", Available), 1),
    ]);
    assert_eq!(counts().await, expected);
    let queues = b.store.queues(P).await.unwrap();
    assert_eq!(queues.iter().map(|q| q.name.as_str()).collect::<Vec<_>>(), ["default", "q"]);
    let of_default: BTreeMap<_, _> = queues[0].counts.iter().filter(|(_, n)| **n > 0).collect();
    assert_eq!(of_default, BTreeMap::from([(&Scheduled, &2), (&Available, &1), (&Completed, &1)]));
    assert_eq!((queues[0].oldest_waiting, queues[1].oldest_waiting), (Some(at(0)), Some(at(0))));
    b.claim(1, node, 10).await;
    let queues = b.store.queues(P).await.unwrap();
    assert_eq!(queues[0].oldest_waiting, None);
}

/// By minute of the end, outcome and bucket of the duration; summed as asked.
pub async fn rollups_sum_what_attempts_took(b: &Bench) {
    let node = b.join(0).await;
    let schedule = Some((ScheduleId(7), None));
    let jobs =
        vec![job(), job_in("q"), NewJob { schedule, ..job() }, NewJob { kind: "else".into(), ..job() }];
    b.put_all(0, jobs).await;
    let mut kinds = request(node, 10);
    kinds.kinds.push("else".into());
    let c = b.store.claim(at(0), kinds).await.unwrap().jobs;
    let find = |queue: &str, kind: &str, schedule: bool| {
        let found =
            c.iter().find(|c| *c.queue == *queue && *c.kind == *kind && c.schedule.is_some() == schedule);
        found.unwrap().clone()
    };
    b.ended(10, &find("default", KIND, false), succeeded()).await;
    b.ended(10, &find("q", KIND, false), succeeded()).await;
    b.ended(59, &find("default", KIND, true), fatal()).await;
    b.ended(61, &find("default", "else", false), succeeded()).await;
    let minute = time::minute(at(0));
    let rows = async |from, until, group, by_time| {
        let rows = b.store.rollups(P, minute + from, minute + until, group, by_time).await.unwrap();
        let row = |r: mainspring_core::reader::RollupRow| {
            let minute = if by_time { r.minute - minute } else { r.minute };
            (r.name, minute, r.outcome, r.bucket, r.sum.count, r.sum.total_us / 1_000_000)
        };
        rows.into_iter().map(row).collect::<Vec<_>>()
    };
    use AttemptOutcome::{Failed, Succeeded};
    let of = |s| bucket(secs(s));
    let name = |n: &str| n.to_owned();
    assert_eq!(
        rows(0, 9, GroupBy::Nothing, false).await,
        [
            (name(""), 0, Succeeded, of(10), 2, 20),
            (name(""), 0, Succeeded, of(61), 1, 61),
            (name(""), 0, Failed, of(59), 1, 59)
        ]
    );
    assert_eq!(
        rows(0, 9, GroupBy::Kind, true).await,
        [
            (name("else"), 1, Succeeded, of(61), 1, 61),
            (name(KIND), 0, Succeeded, of(10), 2, 20),
            (name(KIND), 0, Failed, of(59), 1, 59)
        ]
    );
    assert_eq!(rows(0, 1, GroupBy::Queue, false).await.len(), 3);
    assert_eq!(rows(1, 9, GroupBy::Queue, false).await, [(name("default"), 0, Succeeded, of(61), 1, 61)]);
    assert_eq!(rows(0, 9, GroupBy::Schedule, false).await, [(name("7"), 0, Failed, of(59), 1, 59)]);
    assert!(rows(2, 9, GroupBy::Nothing, false).await.is_empty());
}

/// The durations of every attempt, to the microsecond in the sum.
pub async fn rollups_lose_nothing(b: &Bench) {
    let node = b.join(0).await;
    let mut expected = RollupSum::default();
    for n in 0..20u64 {
        b.put(0, job()).await;
        let c = b.claim_one(0, node).await;
        let took = Duration::from_micros(n * n * n * 1_001 + 1);
        let end = time::plus(at(0), took);
        let t = mainspring_core::decide::decide(&c.facts, succeeded(), end, 0.0);
        b.store.finish(end, vec![t]).await.unwrap();
        expected.count += 1;
        expected.total_us += took.as_micros() as u64;
    }
    let rows = b.store.rollups(P, 0, i64::MAX / 2, GroupBy::Nothing, false).await.unwrap();
    let sum = rows.iter().fold(RollupSum::default(), |sum, row| RollupSum {
        count: sum.count + row.sum.count,
        total_us: sum.total_us + row.sum.total_us,
    });
    assert_eq!(sum, expected);
}

/// Of kind, queue and schedule; what says nothing about health is left out; at most fifty.
pub async fn recent_outcomes_are_kept_by_scope(b: &Bench) {
    let node = b.join(0).await;
    let outcomes = [
        succeeded(),
        Outcome::Skipped { reason: "x".into() },
        fatal(),
        Outcome::Cancelled { reason: "x".into() },
        Outcome::Partial { output: None, failures: 1 },
        Outcome::Snoozed { until: at(9999) },
        Outcome::TimedOut { error: ErrorRecord::new("timeout", "x", vec![]) },
        Outcome::Interrupted { reason: "x".into() },
    ];
    for (n, outcome) in outcomes.into_iter().enumerate() {
        let schedule = (n == 0).then_some((ScheduleId(7), None));
        b.put(n as i64, NewJob { schedule, ..job() }).await;
        let c = b.claim_one(n as i64, node).await;
        b.ended(n as i64, &c, outcome).await;
    }
    use AttemptOutcome::{Failed, Partial, Succeeded, TimedOut};
    let kept =
        [(0, Succeeded), (2, Failed), (4, Partial), (6, TimedOut)].map(|(s, o)| (time::micros(at(s)), o));
    let recents = b.store.recents(P).await.unwrap();
    let scopes: Vec<Scope> = recents.iter().map(|(s, _)| s.clone()).collect();
    assert_eq!(
        scopes,
        [Scope::Kind(KIND.into()), Scope::Queue("default".into()), Scope::Schedule(ScheduleId(7))]
    );
    assert_eq!(
        (&recents[0].1.0[..], &recents[1].1.0[..], &recents[2].1.0[..]),
        (&kept[..], &kept[..], &kept[..1])
    );
    for n in 0..60 {
        b.put(100 + n, job_in("many")).await;
        let only = mainspring_core::store::ClaimRequest { queues: vec!["many".into()], ..request(node, 1) };
        let c = b.store.claim(at(100 + n), only).await.unwrap().jobs.remove(0);
        b.ended(100 + n, &c, if n == 59 { fatal() } else { succeeded() }).await;
    }
    let recents = b.store.recents(P).await.unwrap();
    let many = &recents.iter().find(|(s, _)| *s == Scope::Queue("many".into())).unwrap().1.0;
    assert_eq!((many.len(), many[0].0), (limits::RECENT, time::micros(at(110))));
    assert_eq!(many.last(), Some(&(time::micros(at(159)), Failed)));
}

/// However calls of two handles overlap, nothing is lost or counted twice.
pub async fn figures_stay_right_under_concurrent_writers(b: &Bench) {
    let other = b.second().await;
    let mut tasks = Vec::new();
    for (n, store) in [b.store.clone(), other.clone(), b.store.clone(), other].into_iter().enumerate() {
        let node = b.join(0).await;
        tasks.push(tokio::spawn(async move {
            let mut done = 0u64;
            for round in 0..10 {
                store.enqueue(at(round), P, vec![job(); 5 + n]).await.unwrap();
                let claimed = store.claim(at(round), request(node, 7)).await.unwrap().jobs;
                let pick = |i: usize| if i.is_multiple_of(3) { fatal() } else { succeeded() };
                let all =
                    claimed.iter().enumerate().map(|(i, c)| decided(&c.facts, pick(i), round)).collect();
                done += store.finish(at(round), all).await.unwrap().len() as u64;
            }
            done
        }));
    }
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    assert_eq!(b.how_many().await, 10 * (5 + 6 + 7 + 8));
    let rows = b.store.rollups(P, 0, i64::MAX / 2, GroupBy::Nothing, false).await.unwrap();
    assert_eq!(rows.iter().map(|r| r.sum.count).sum::<u64>(), done);
}
