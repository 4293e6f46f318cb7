//! Jobs come in.

use super::bench::*;
use mainspring_core::ids::{BatchId, ScheduleId};
use mainspring_core::job::{JobState, NewJob, Origin, Unique, UniqueStates};
use mainspring_core::json::Json;
use mainspring_core::retry::{Backoff, RetryPolicy};
use mainspring_core::{StoreError, limits, time};
use std::time::Duration;

fn unique(key: &str, period: Option<Duration>, states: UniqueStates) -> NewJob {
    NewJob { unique: Some(Unique { key: key.into(), period, states }), ..job() }
}

/// Every field of a new job, the defaults of the rest.
pub async fn a_job_comes_back_as_it_was_enqueued(b: &Bench) {
    let schedule = ScheduleId(77);
    let backoffs = [
        Backoff::Steps(vec![secs(5), secs(10)]),
        Backoff::Fixed(secs(7)),
        Backoff::Linear { step: secs(1), max: secs(60) },
        Backoff::Exponential { base: Duration::from_millis(250), max: secs(3600) },
    ];
    for (n, backoff) in backoffs.into_iter().enumerate() {
        let new = NewJob {
            queue: "letters".into(),
            payload: Json::parse(r#"{"to": ["a", 1, null]}"#).unwrap(),
            priority: 2,
            run_at: Some(at(60)),
            expires_at: Some(at(3600)),
            timeout: Some(Duration::from_micros(1_500_001)),
            retry: RetryPolicy { max_attempts: 9, backoff, retry_timeouts: false },
            key: Some("customer 7".into()),
            key_limit: Some(3),
            unique: Some(Unique { key: format!("u{n}"), period: Some(secs(9)), states: UniqueStates::ANY }),
            schedule: Some((schedule, Some(at(n as i64)))),
            origin: Origin::Manual,
            ..NewJob::new("mail", Json::null())
        };
        let id = b.put(1, new.clone()).await;
        let r = b.record(id).await;
        assert_eq!((r.id, r.project, r.state, r.attempt), (id, P, JobState::Scheduled, 0));
        assert_eq!((&*r.kind, &*r.queue, r.priority), ("mail", "letters", 2));
        assert_eq!((r.payload, r.origin, r.retry), (new.payload, new.origin, new.retry));
        assert_eq!((r.created_at, r.run_at, r.expires_at), (at(1), at(60), Some(at(3600))));
        assert_eq!((r.timeout, r.key, r.unique), (new.timeout, new.key, Some(format!("u{n}"))));
        assert_eq!((r.schedule, r.scheduled_for), (Some(schedule), Some(at(n as i64))));
        assert_eq!((r.max_attempts, r.raised, r.deaths, r.outcome), (9, 0, 0, None));
        assert_eq!((r.reason, r.error, r.output, r.node), (None, None, None, None));
        assert_eq!((r.started_at, r.finished_at, r.batch), (None, None, None));
        assert!(!r.held && !r.cancel_requested);
    }
}

/// What is written is what is read back, on every store.
pub async fn instants_are_cut_to_microseconds(b: &Bench) {
    let nanos = |s: i64| at(s).checked_add(jiff::SignedDuration::from_nanos(123_456_789)).unwrap();
    let micros = |s| time::plus(at(s), Duration::from_micros(123_456));
    let new = NewJob { run_at: Some(nanos(5)), expires_at: Some(nanos(9)), ..job() };
    let made = b.store.enqueue(nanos(0), P, vec![new, job()]).await.unwrap();
    let r = b.record(made[0].id).await;
    assert_eq!((r.created_at, r.run_at, r.expires_at), (micros(0), micros(5), Some(micros(9))));
    assert_eq!(b.record(made[1].id).await.run_at, micros(0));
}

/// `run_at` now or before is due; the given instant stays.
pub async fn due_jobs_are_available_and_later_ones_scheduled(b: &Bench) {
    for (run_at, state) in [
        (None, JobState::Available),
        (Some(at(-60)), JobState::Available),
        (Some(at(0)), JobState::Available),
        (Some(time::plus(at(0), Duration::from_micros(1))), JobState::Scheduled),
    ] {
        let id = b.put(0, NewJob { run_at, ..job() }).await;
        let r = b.record(id).await;
        assert_eq!((r.state, r.run_at), (state, run_at.unwrap_or(at(0))));
    }
}

/// The nth answer is that of the nth job.
pub async fn answers_follow_the_input_and_numbers_rise(b: &Bench) {
    let jobs = (0..100).map(|n| NewJob { payload: Json::of(&n).unwrap(), ..job() }).collect();
    let made = b.put_all(0, jobs).await;
    assert!(made.is_sorted_by(|a, b| a < b));
    for (n, id) in made.iter().enumerate() {
        assert_eq!(b.record(*id).await.payload.as_str(), n.to_string());
    }
    let later = b.put(0, job()).await;
    assert!(later > made[99]);
    assert!(b.store.enqueue(at(0), P, vec![]).await.unwrap().is_empty());
}

/// The limit itself is allowed; over it nothing at all is written.
pub async fn a_thousand_jobs_fit_into_a_call_and_one_more_is_refused(b: &Bench) {
    let many = |n| (0..n).map(|_| job()).collect::<Vec<_>>();
    assert_eq!(b.put_all(0, many(limits::BATCH)).await.len(), limits::BATCH);
    let refused = b.store.enqueue(at(0), P, many(limits::BATCH + 1)).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    assert_eq!(b.how_many().await, limits::BATCH as u64);
}

/// Emoji, right-to-left, combining marks, quotes, and text that looks like SQL.
pub async fn texts_of_any_script_come_back_unchanged(b: &Bench) {
    let odd =
        ["naïve café", "日本語 🦀👩‍👩‍👧", "עברית\u{200f}", "o'); DROP TABLE jobs;--", "%_\\\"'`$1?1", "e\u{301}"];
    for text in odd {
        let new = NewJob {
            kind: text.into(),
            queue: text.into(),
            key: Some(text.into()),
            unique: Some(Unique { key: text.into(), period: None, states: UniqueStates::LIVE }),
            payload: Json::of(text).unwrap(),
            ..job()
        };
        let id = b.put(0, new).await;
        let r = b.record(id).await;
        assert_eq!((&*r.kind, &*r.queue, r.key.as_deref()), (text, text, Some(text)));
        assert_eq!((r.unique.as_deref(), r.payload.to::<String>().unwrap().as_str()), (Some(text), text));
        let again = unique(text, None, UniqueStates::LIVE);
        assert_eq!(b.store.enqueue(at(0), P, vec![again]).await.unwrap()[0].id, id);
    }
    let long = "ß".repeat(limits::NAME);
    let id = b.put(0, NewJob { kind: long.as_str().into(), ..job_in(&long) }).await;
    assert_eq!(*b.record(id).await.queue, *long);
}

/// A store does not look into a payload: blanks, order, doubled names, digits all stay.
pub async fn odd_json_is_kept_verbatim(b: &Bench) {
    for text in [
        r#"{ "b":1,  "a":2, "a":3 }"#,
        "123456789012345678901234567890.000000000000000000001e-400",
        r#""nul \u0000 and \ud83e\udd80""#,
        "[[[[]]],{},\"\",0.10,-0,1E5]",
        " \n\ttrue ",
    ] {
        let id = b.put(0, NewJob { payload: Json::parse(text).unwrap(), ..job() }).await;
        assert_eq!(b.record(id).await.payload.as_str(), text);
        let node = b.join(0).await;
        assert_eq!(b.claim_one(0, node).await.payload.as_str(), text);
    }
}

/// One bad row must not keep the others from running; the handler will say what is wrong with it.
pub async fn a_poisoned_payload_is_handed_out_as_it_is(b: &Bench) {
    let bad = "{\"a\": ; not json";
    let jobs = vec![job(), NewJob { payload: Json::trusted(bad), ..job() }, job()];
    let made = b.put_all(0, jobs).await;
    let node = b.join(0).await;
    let claimed = b.claim(0, node, 10).await;
    assert_eq!(ids(&claimed), made);
    assert_eq!(claimed[1].payload.as_str(), bad);
    for c in &claimed {
        b.ended(1, c, fatal()).await;
    }
    assert_eq!(b.record(made[1]).await.payload.as_str(), bad);
}

/// A payload of exactly the limit.
pub async fn the_largest_payload_fits(b: &Bench) {
    let text = format!("\"{}\"", "x".repeat(limits::PAYLOAD - 2));
    let id = b.put(0, NewJob { payload: Json::parse(text.as_str()).unwrap(), ..job() }).await;
    assert!(b.record(id).await.payload.as_str() == text);
}

/// Whatever the position of the refused one, nothing is written and no figure moves.
pub async fn one_refused_entry_refuses_the_call(b: &Bench) {
    let nowhere = NewJob { batch: Some(BatchId(999)), ..job() };
    for position in 0..3 {
        let mut jobs = vec![unique("u", None, UniqueStates::LIVE), job()];
        jobs.insert(position, nowhere.clone());
        let refused = b.store.enqueue(at(0), P, jobs).await;
        assert!(matches!(refused, Err(StoreError::NotFound { what: "batch", .. })), "{refused:?}");
    }
    assert_eq!(b.how_many().await, 0);
    // Nor is the unique key taken.
    b.put(0, unique("u", None, UniqueStates::LIVE)).await;
}

/// While the holder lives; after its end the key is free.
pub async fn a_held_unique_key_gives_its_holder(b: &Bench) {
    let new = || unique("report", None, UniqueStates::LIVE);
    let first = b.put(0, new()).await;
    let node = b.join(0).await;
    let again = b.store.enqueue(at(1), P, vec![new(), job(), new()]).await.unwrap();
    assert_eq!(again.iter().map(|e| e.duplicate).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!((again[0].id, again[2].id), (first, first));
    let claimed = b.claim(1, node, 1).await;
    assert_eq!(ids(&claimed), [first]);
    assert!(b.store.enqueue(at(2), P, vec![new()]).await.unwrap()[0].duplicate, "it runs");
    b.ended(2, &claimed[0], failed()).await;
    assert!(b.store.enqueue(at(3), P, vec![new()]).await.unwrap()[0].duplicate, "it waits for its retry");
    b.promote(7).await;
    let claimed = b.claim(7, node, 10).await;
    for c in &claimed {
        b.ended(8, c, succeeded()).await;
    }
    let next = b.put(9, new()).await;
    assert_ne!(next, first);
    assert_eq!(b.how_many().await, 3);
}

/// "States" are those of the holder, as the new job asks for them.
pub async fn a_unique_key_holds_in_the_states_the_newcomer_names(b: &Bench) {
    let first = b.put(0, unique("u", None, UniqueStates::ANY)).await;
    let node = b.join(0).await;
    let c = b.claim_one(0, node).await;
    b.ended(1, &c, succeeded()).await;
    let done = UniqueStates::of(&[JobState::Completed]);
    let duplicate = b.store.enqueue(at(2), P, vec![unique("u", None, done)]).await.unwrap()[0];
    assert_eq!((duplicate.id, duplicate.duplicate), (first, true));
    let duplicate = b.store.enqueue(at(2), P, vec![unique("u", None, UniqueStates::ANY)]).await.unwrap()[0];
    assert!(duplicate.duplicate);
    let not_failed = UniqueStates::of(&[JobState::Failed, JobState::Scheduled]);
    b.put(2, unique("u", None, not_failed)).await;
}

/// The period counts from the holder's enqueue, and it is the holder's own.
pub async fn a_unique_key_holds_for_the_holders_period(b: &Bench) {
    let new = |period| unique("hourly", period, UniqueStates::ANY);
    let first = b.put(0, new(Some(secs(3600)))).await;
    let at_the_end = b.store.enqueue(at(3599), P, vec![new(Some(secs(1)))]).await.unwrap()[0];
    assert_eq!((at_the_end.id, at_the_end.duplicate), (first, true));
    let second = b.put(3600, new(None)).await;
    let for_ever = b.store.enqueue(at(10_000_000), P, vec![new(Some(secs(1)))]).await.unwrap()[0];
    assert_eq!((for_ever.id, for_ever.duplicate), (second, true));
}

/// An earlier holder that comes back to life does not matter.
pub async fn the_last_job_written_holds_the_key(b: &Bench) {
    let new = || unique("u", None, UniqueStates::LIVE);
    let node = b.join(0).await;
    let first = b.put(0, new()).await;
    let c = b.claim_one(0, node).await;
    b.ended(0, &c, succeeded()).await;
    let second = b.put(1, new()).await;
    b.store.retry_jobs(at(2), P, bulk(&these(&[first])), "ann").await.unwrap();
    assert_eq!(b.store.enqueue(at(3), P, vec![new()]).await.unwrap()[0].id, second);
}

/// Earlier entries of the same call count.
pub async fn a_unique_key_counts_within_one_call(b: &Bench) {
    let new = |key| unique(key, None, UniqueStates::LIVE);
    let made = b.store.enqueue(at(0), P, vec![new("a"), new("b"), new("a"), new("a")]).await.unwrap();
    assert_eq!(made.iter().map(|e| e.duplicate).collect::<Vec<_>>(), [false, false, true, true]);
    assert!(made[2].id == made[0].id && made[3].id == made[0].id);
    assert_eq!(b.how_many().await, 2);
}

/// However the calls overlap.
pub async fn two_handles_with_one_unique_key_make_one_job(b: &Bench) {
    let other = b.second().await;
    for round in 0..20 {
        let key = format!("u{round}");
        let call = |store: std::sync::Arc<dyn mainspring_core::store::Store>| {
            let jobs = vec![job(), unique(&key, None, UniqueStates::LIVE)];
            tokio::spawn(async move { store.enqueue(at(0), P, jobs).await.unwrap()[1] })
        };
        let calls = [call(b.store.clone()), call(other.clone()), call(b.store.clone()), call(other.clone())];
        let mut made = Vec::new();
        for call in calls {
            made.push(call.await.unwrap());
        }
        assert_eq!(made.iter().filter(|e| !e.duplicate).count(), 1, "{made:?}");
        assert!(made.iter().all(|e| e.id == made[0].id), "{made:?}");
    }
    assert_eq!(b.how_many().await, 20 * 5);
}

/// By (schedule, origin, nominal fire); other origins are free.
pub async fn a_fire_makes_one_job_and_its_backfill_another(b: &Bench) {
    let of =
        |origin, schedule, fire| NewJob { origin, schedule: Some((ScheduleId(schedule), fire)), ..job() };
    let fire = |s| of(Origin::Fire, s, Some(at(60)));
    let first = b.put(60, fire(1)).await;
    let again = b.store.enqueue(at(61), P, vec![fire(1), fire(2)]).await.unwrap();
    assert_eq!((again[0].id, again[0].duplicate, again[1].duplicate), (first, true, false));
    let backfill = b.put(62, of(Origin::Backfill, 1, Some(at(60)))).await;
    let again = b.store.enqueue(at(63), P, vec![of(Origin::Backfill, 1, Some(at(60)))]).await.unwrap()[0];
    assert_eq!((again.id, again.duplicate), (backfill, true));
    b.put(64, of(Origin::Fire, 1, Some(at(120)))).await;
    b.put_all(65, vec![of(Origin::Manual, 1, None), of(Origin::Manual, 1, None)]).await;
}

/// From two handles at once too.
pub async fn a_project_is_made_once(b: &Bench) {
    assert_eq!(b.store.ensure_project(at(0), "default").await.unwrap(), P);
    let other = b.second().await;
    let (x, y) = tokio::join!(b.store.ensure_project(at(0), "péché"), other.ensure_project(at(0), "péché"));
    let id = x.unwrap();
    assert_eq!(id, y.unwrap());
    assert_ne!(id, P);
    let all = b.store.projects().await.unwrap();
    assert_eq!(all, [(P, "default".to_owned()), (id, "péché".to_owned())]);
    for bad in ["", " a", "*", "a\nb", &"x".repeat(limits::NAME + 1)] {
        assert!(
            matches!(b.store.ensure_project(at(0), bad).await, Err(StoreError::Invalid { .. })),
            "{bad:?}"
        );
    }
}
