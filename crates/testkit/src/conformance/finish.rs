//! Attempts end.

use super::bench::*;
use mainspring_core::decide::Outcome;
use mainspring_core::ids::JobId;
use mainspring_core::job::{AttemptOutcome, ErrorRecord, JobState, NewJob};
use mainspring_core::json::Json;
use mainspring_core::retry::RetryPolicy;
use mainspring_core::store::Finished;
use mainspring_core::{StoreError, limits};

/// And with it everything about its end.
pub async fn a_success_is_kept_with_its_output(b: &Bench) {
    let node = b.join(0).await;
    let id = b.put(0, job()).await;
    let c = b.claim_one(1, node).await;
    let output = Json::parse(format!("{{ \"n\":\"{}\" }}", "ü".repeat(1000))).unwrap();
    b.ended(3, &c, Outcome::Succeeded { output: Some(output.clone()) }).await;
    let r = b.record(id).await;
    assert_eq!((r.state, r.outcome), (JobState::Completed, Some(AttemptOutcome::Succeeded)));
    assert_eq!((r.started_at, r.finished_at, r.node), (Some(at(1)), Some(at(3)), Some(node)));
    assert_eq!((r.output, r.error, r.reason, r.attempt), (Some(output), None, None, 1));
}

/// First successes too, wherever they are kept; the open attempt comes last.
pub async fn history_shows_every_attempt(b: &Bench) {
    let node = b.join(0).await;
    let first_try = b.put(0, job()).await;
    let c = b.claim_one(1, node).await;
    b.ended(2, &c, succeeded()).await;
    let attempts = b.detail(first_try).await.attempts;
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].number, attempts[0].node), (1, Some(node)));
    assert_eq!((attempts[0].started_at, attempts[0].finished_at), (at(1), Some(at(2))));
    assert_eq!(attempts[0].outcome, Some(AttemptOutcome::Succeeded));

    let id = b.put(10, job()).await;
    let c = b.claim_one(10, node).await;
    b.ended(11, &c, failed()).await;
    b.promote(16).await;
    let other = b.join(16).await;
    let c = b.claim_one(16, other).await;
    let attempts = b.detail(id).await.attempts;
    let open = attempts.last().unwrap();
    assert_eq!((attempts.len(), open.number, open.node), (2, 2, Some(other)));
    assert_eq!((open.started_at, open.finished_at, open.outcome), (at(16), None, None));
    b.ended(18, &c, succeeded()).await;
    let attempts = b.detail(id).await.attempts;
    assert_eq!(attempts.iter().map(|a| a.number).collect::<Vec<_>>(), [1, 2]);
    let error = ErrorRecord::new("retryable", "it broke", vec!["because".into()]);
    assert_eq!((attempts[0].outcome, &attempts[0].error), (Some(AttemptOutcome::Failed), &Some(error)));
    assert_eq!((attempts[0].started_at, attempts[0].finished_at), (at(10), Some(at(11))));
    assert_eq!((attempts[1].outcome, &attempts[1].error), (Some(AttemptOutcome::Succeeded), &None));
    // A person's retry of a first success: its columns will tell of the next attempt.
    b.store.retry_jobs(at(20), P, bulk(&these(&[first_try])), "ann").await.unwrap();
    let c = b.claim_one(21, node).await;
    b.ended(22, &c, fatal()).await;
    let outcomes: Vec<_> = b.detail(first_try).await.attempts.iter().map(|a| a.outcome).collect();
    assert_eq!(outcomes, [Some(AttemptOutcome::Succeeded), Some(AttemptOutcome::Failed)]);
}

/// Scheduled, promoted, claimed with the next number, until the budget is used up.
pub async fn a_failure_waits_and_comes_back(b: &Bench) {
    let node = b.join(0).await;
    let id = b.put(0, job()).await;
    for attempt in 1..=3 {
        let now = i64::from(attempt) * 10;
        b.promote(now).await;
        let c = b.claim_one(now, node).await;
        assert_eq!(c.facts.attempt, attempt);
        b.ended(now, &c, failed()).await;
        let r = b.record(id).await;
        assert_eq!((r.outcome, r.attempt), (Some(AttemptOutcome::Failed), attempt));
        assert_eq!(r.error.as_ref().map(|e| e.message.as_str()), Some("it broke"));
        if attempt < 3 {
            assert_eq!((r.state, r.run_at, r.finished_at), (JobState::Scheduled, at(now + 5), None));
            assert!(b.claim(now + 4, node, 10).await.is_empty());
        } else {
            assert_eq!((r.state, r.finished_at), (JobState::Failed, Some(at(now))));
            assert_eq!(r.reason.as_deref(), Some("out of attempts: 3 of 3 failed"));
        }
    }
    b.promote(1000).await;
    assert!(b.claim(1000, node, 10).await.is_empty());
}

/// Without a detour over `scheduled`.
pub async fn a_retry_without_a_wait_is_available_at_once(b: &Bench) {
    let node = b.join(0).await;
    let id = b.put(0, job()).await;
    let c = b.claim_one(0, node).await;
    b.ended(1, &c, Outcome::Interrupted { reason: "drain".into() }).await;
    let r = b.record(id).await;
    assert_eq!((r.state, r.run_at, r.raised), (JobState::Available, at(1), 1));
    assert_eq!(r.outcome, Some(AttemptOutcome::Interrupted));
    let c = b.claim_one(1, node).await;
    assert_eq!((c.facts.attempt, c.facts.raised), (2, 1));
    b.ended(2, &c, succeeded()).await;
}

/// By whoever, with whatever outcome: nothing is written.
pub async fn a_second_finish_is_refused(b: &Bench) {
    let node = b.join(0).await;
    let id = b.put(0, job()).await;
    let c = b.claim_one(0, node).await;
    b.ended(1, &c, succeeded()).await;
    let before = b.detail(id).await;
    for outcome in [succeeded(), failed(), fatal(), Outcome::LeaseExpired] {
        assert_eq!(b.end(2, &c, outcome).await, Finished::Stale);
    }
    assert_eq!(b.detail(id).await, before);
    assert!(b.told().await.is_empty());
}

/// A job that never was, an attempt that is not yet or no longer, a job that waits.
pub async fn a_finish_of_what_does_not_exist_is_stale(b: &Bench) {
    let node = b.join(0).await;
    let waiting = b.put(0, NewJob { run_at: Some(at(100)), ..job() }).await;
    b.put(0, job()).await;
    let c = b.claim_one(0, node).await;
    for (job, attempt) in
        [(JobId(987_654), 1), (c.facts.job, 0), (c.facts.job, 2), (waiting, 0), (waiting, 1)]
    {
        let facts = mainspring_core::job::Facts { job, attempt, ..c.facts.clone() };
        let t = decided(&facts, succeeded(), 1);
        assert_eq!(b.store.finish(at(1), vec![t]).await.unwrap(), [Finished::Stale]);
    }
    assert_eq!(b.state(c.facts.job).await, JobState::Running);
    assert_eq!(b.state(waiting).await, JobState::Scheduled);
}

/// A stale one among good ones harms nobody.
pub async fn answers_follow_the_input_and_a_call_takes_each_attempt_once(b: &Bench) {
    let node = b.join(0).await;
    let made = b.put_all(0, vec![job(); 5]).await;
    let c = b.claim(0, node, 5).await;
    b.ended(1, &c[3], succeeded()).await;
    let order = [4, 3, 0, 4, 2, 0, 1];
    let transitions =
        order.iter().map(|i| decided(&c[*i].facts, if *i == 0 { fatal() } else { succeeded() }, 2)).collect();
    let told = b.store.finish(at(2), transitions).await.unwrap();
    use Finished::{Applied, Stale};
    assert_eq!(told, [Applied, Stale, Applied, Stale, Applied, Stale, Applied]);
    use JobState::{Completed, Failed};
    assert_eq!(b.states(&made).await, [Failed, Completed, Completed, Completed, Completed]);
}

/// The zombie's answer comes after the reaper gave the job to another.
pub async fn a_stale_finish_after_a_rescue_changes_nothing(b: &Bench) {
    let zombie = b.join(0).await;
    let id = b.put(0, job()).await;
    let old = b.claim_one(0, zombie).await;
    let orphans = b.store.orphans(at(30), LEASE, None, 10).await.unwrap();
    assert_eq!(orphans.len(), 1);
    assert_eq!((orphans[0].node, &orphans[0].facts), (zombie, &old.facts));
    let t = decided(&orphans[0].facts, Outcome::LeaseExpired, 30);
    assert_eq!(b.store.finish(at(30), vec![t.clone()]).await.unwrap(), [Finished::Applied]);
    // Another reaper saw it too.
    assert_eq!(b.store.finish(at(30), vec![t]).await.unwrap(), [Finished::Stale]);
    assert_eq!(b.end(31, &old, succeeded()).await, Finished::Stale);
    let other = b.join(31).await;
    let new = b.claim_one(31, other).await;
    assert_eq!((new.facts.attempt, new.facts.deaths, new.facts.raised), (2, 1, 1));
    assert_eq!(b.end(32, &old, succeeded()).await, Finished::Stale);
    assert_eq!(b.state(id).await, JobState::Running);
    b.ended(33, &new, succeeded()).await;
    assert_eq!(b.end(34, &old, fatal()).await, Finished::Stale);
    let outcomes: Vec<_> = b.detail(id).await.attempts.iter().map(|a| a.outcome.unwrap()).collect();
    assert_eq!(outcomes, [AttemptOutcome::Interrupted, AttemptOutcome::Succeeded]);
}

/// The reply to a finish was lost, so it is sent again; meanwhile the same node runs the next attempt.
pub async fn a_finish_sent_again_leaves_a_later_attempt_of_the_same_node_alone(b: &Bench) {
    let node = b.join(0).await;
    let id = b.put(0, job()).await;
    let first = b.claim_one(0, node).await;
    b.ended(1, &first, failed()).await;
    b.promote(100).await;
    let second = b.claim_one(100, node).await;
    assert_eq!((second.facts.job, second.facts.attempt), (id, 2));
    let before = b.detail(id).await;
    for outcome in [failed(), succeeded(), Outcome::LeaseExpired] {
        assert_eq!(b.end(101, &first, outcome).await, Finished::Stale);
    }
    assert_eq!(b.detail(id).await, before);
    b.ended(102, &second, succeeded()).await;
    assert_eq!(b.state(id).await, JobState::Completed);
}

/// Snoozes and deploys leave the budget whole; the third dead worker parks the job.
pub async fn attempts_given_back_do_not_count(b: &Bench) {
    let node = b.join(0).await;
    let once = NewJob { retry: RetryPolicy::never(), ..job() };
    let id = b.put(0, once.clone()).await;
    let c = b.claim_one(0, node).await;
    b.ended(1, &c, Outcome::Snoozed { until: at(60) }).await;
    let r = b.record(id).await;
    assert_eq!((r.state, r.run_at, r.raised, r.error), (JobState::Scheduled, at(60), 1, None));
    b.promote(60).await;
    let c = b.claim_one(60, node).await;
    b.ended(61, &c, Outcome::Interrupted { reason: "deploy".into() }).await;
    let c = b.claim_one(62, node).await;
    assert_eq!((c.facts.attempt, c.facts.raised), (3, 2));
    b.ended(63, &c, failed()).await;
    assert_eq!(b.record(id).await.reason.as_deref(), Some("failed; one attempt was allowed"));

    let id = b.put(100, once).await;
    for death in 1..=3 {
        let c = b.claim_one(100, node).await;
        assert_eq!(c.facts.deaths, death - 1);
        b.ended(100, &c, Outcome::LeaseExpired).await;
    }
    let r = b.record(id).await;
    assert_eq!((r.state, r.attempt), (JobState::Failed, 3));
    assert!(r.reason.unwrap().starts_with("poison"));
}

/// They end the job; the engine does not retry them.
pub async fn partial_and_skipped_are_completed_with_their_reason(b: &Bench) {
    let node = b.join(0).await;
    let made = b.put_all(0, vec![job(), job()]).await;
    let c = b.claim(0, node, 2).await;
    let output = Some(Json::parse("{\"done\":9}").unwrap());
    b.ended(1, &c[0], Outcome::Partial { output: output.clone(), failures: 2 }).await;
    b.ended(1, &c[1], Outcome::Skipped { reason: "nothing new".into() }).await;
    let r = b.record(made[0]).await;
    assert_eq!((r.state, r.outcome, r.output), (JobState::Completed, Some(AttemptOutcome::Partial), output));
    assert_eq!(r.reason.as_deref(), Some("partial: 2 failed"));
    let r = b.record(made[1]).await;
    assert_eq!((r.state, r.outcome), (JobState::Completed, Some(AttemptOutcome::Skipped)));
    assert_eq!(r.reason.as_deref(), Some("skipped: nothing new"));
    for id in made {
        assert_eq!(b.detail(id).await.attempts.len(), 1);
    }
}

/// By the handler's own wish, or because somebody asked while it ran.
pub async fn a_cancelled_attempt_ends_the_job(b: &Bench) {
    let node = b.join(0).await;
    let id = b.put(0, job()).await;
    let c = b.claim_one(0, node).await;
    b.ended(1, &c, Outcome::Cancelled { reason: "the order is gone".into() }).await;
    let r = b.record(id).await;
    assert_eq!((r.state, r.outcome), (JobState::Cancelled, Some(AttemptOutcome::Cancelled)));
    assert_eq!((r.reason.as_deref(), r.finished_at), (Some("the order is gone"), Some(at(1))));
}

/// One event per failure, none for what went well.
pub async fn failures_are_told_and_successes_are_not(b: &Bench) {
    let node = b.join(0).await;
    let made = b.put_all(0, vec![job(); 7]).await;
    let c = b.claim(0, node, 7).await;
    let outcomes = [
        succeeded(),
        failed(),
        fatal(),
        Outcome::Partial { output: None, failures: 1 },
        Outcome::Snoozed { until: at(50) },
        Outcome::Cancelled { reason: "x".into() },
        Outcome::LeaseExpired,
    ];
    let transitions = c.iter().zip(outcomes).map(|(c, o)| decided(&c.facts, o, 1)).collect();
    b.store.finish(at(1), transitions).await.unwrap();
    let mut told = b.told().await;
    told.sort();
    let mut expected = vec![
        format!("job.retrying job/{}", made[1]),
        format!("job.failed job/{}", made[2]),
        format!("job.partial job/{}", made[3]),
        format!("job.cancelled job/{}", made[5]),
        format!("job.interrupted job/{}", made[6]),
    ];
    expected.sort();
    assert_eq!(told, expected);
    let failure = b.events().await.into_iter().find(|e| e.event.name == "job.failed").unwrap();
    let data = failure.event.data.value();
    assert_eq!((failure.at, &data["error"], &data["kind"]), (at(1), &"no use".into(), &KIND.into()));
    assert_eq!((&data["attempt"], &data["queue"]), (&1.into(), &"default".into()));
}

/// A thousand transitions fit, an output of the largest size fits; more of either is refused whole.
pub async fn too_much_is_refused(b: &Bench) {
    let node = b.join(0).await;
    b.put_all(0, vec![job(); 1000]).await;
    b.put(0, job()).await;
    let mut c = b.claim(0, node, 1000).await;
    c.extend(b.claim(0, node, 1000).await);
    let all: Vec<_> = c.iter().map(|c| decided(&c.facts, succeeded(), 1)).collect();
    let refused = b.store.finish(at(1), all.clone()).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    let output = |n: usize| Outcome::Succeeded { output: Some(Json::of(&"x".repeat(n - 2)).unwrap()) };
    let too_large = vec![all[1].clone(), decided(&c[0].facts, output(limits::OUTPUT + 1), 1)];
    let refused = b.store.finish(at(1), too_large).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    assert_eq!(b.store.running(P, 1000).await.unwrap().len(), 1000);
    let done = b.store.finish(at(1), all[1..].to_vec()).await.unwrap();
    assert!(done.iter().all(|f| *f == Finished::Applied));
    b.ended(1, &c[0], output(limits::OUTPUT)).await;
    assert_eq!(b.record(c[0].facts.job).await.output.unwrap().as_str().len(), limits::OUTPUT);
}
