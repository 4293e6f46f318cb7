//! What follows an outcome. [`decide`] is the only place that chooses (invariant 8): worker, reaper
//! and drain all come through here, and a store only writes the [`Transition`] it is given.
//!
//! ```text
//! available ─claim▶ running ─┬ succeeded, partial, skipped ─────────▶ completed
//!     ▲                      ├ cancelled, or cancel was asked for ──▶ cancelled
//!     │                      ├ failed for good, budget used up,
//!     │                      │ third dead worker, too many attempts ▶ failed
//!     └── scheduled ◀────────┴ failed or timed out with budget left,
//!                              snoozed, interrupted, lease expired
//! ```

use crate::job::{AttemptOutcome, ErrorRecord, Facts, JobState};
use crate::json::Json;
use crate::{JobId, limits, time};
use jiff::Timestamp;
use std::time::Duration;

/// What happened to an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The handler returned.
    Succeeded {
        /// What it gave.
        output: Option<Json>,
    },
    /// The handler did a part; the rest will not be retried by the engine.
    Partial {
        /// What it gave.
        output: Option<Json>,
        /// How many parts failed.
        failures: u64,
    },
    /// The handler found nothing to do.
    Skipped {
        /// Why.
        reason: String,
    },
    /// The handler failed.
    Failed {
        /// How.
        error: ErrorRecord,
        /// Whether another attempt may help.
        retryable: bool,
        /// Not before this much later, instead of the policy's wait.
        after: Option<Duration>,
    },
    /// The attempt ran out of time.
    TimedOut {
        /// What it was doing, how long it had.
        error: ErrorRecord,
    },
    /// The handler asked to be called at a later time; costs no attempt.
    Snoozed {
        /// When.
        until: Timestamp,
    },
    /// The attempt was ended on somebody's request, or by the handler's own.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// The node is going away in good order; costs no attempt.
    Interrupted {
        /// Why.
        reason: String,
    },
    /// The node died: its heartbeat is older than the lease. Costs no attempt, but counts deaths.
    LeaseExpired,
}

/// What must be written for one finished attempt. Only [`decide`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// The job: with `attempt` the fencing token. A store writes nothing if they do not match a
    /// running attempt.
    pub job: JobId,
    /// The attempt.
    pub attempt: u32,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Where the job goes.
    pub next: Next,
    /// The error, if any.
    pub error: Option<ErrorRecord>,
    /// The output, if any.
    pub output: Option<Json>,
}

/// Where a job goes after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is over.
    Final {
        /// Completed, cancelled or failed.
        state: JobState,
        /// Why, when there is more to say.
        reason: Option<String>,
    },
    /// It runs again.
    Wait {
        /// Not before; it is available at once when this is not after `finished_at`.
        run_at: Timestamp,
        /// The budget given back: see [`Facts::raised`].
        raised: u32,
        /// Workers that died with it, this one included.
        deaths: u32,
    },
}

/// Decides what follows `outcome` of the attempt in `facts`. `chance` in `[0, 1)` feeds the jitter.
pub fn decide(facts: &Facts, outcome: Outcome, now: Timestamp, chance: f64) -> Transition {
    use AttemptOutcome as A;
    let done = |state, reason| Next::Final { state, reason };
    let again = |run_at, restore: bool, death: bool| Next::Wait {
        run_at: time::trunc(run_at),
        raised: facts.raised + u32::from(restore),
        deaths: facts.deaths + u32::from(death),
    };
    let (attempt_outcome, next, error, output) = match outcome {
        Outcome::Succeeded { output } => (A::Succeeded, done(JobState::Completed, None), None, output),
        Outcome::Partial { output, failures } => {
            let reason = format!("partial: {failures} failed");
            (A::Partial, done(JobState::Completed, Some(reason)), None, output)
        }
        Outcome::Skipped { reason } => {
            let reason = format!("skipped: {reason}");
            (A::Skipped, done(JobState::Completed, Some(reason)), None, None)
        }
        Outcome::Cancelled { reason } => (A::Cancelled, done(JobState::Cancelled, Some(reason)), None, None),
        Outcome::Failed { error, retryable, after } => {
            let next = if retryable {
                retry(facts, now, after, chance)
            } else {
                done(JobState::Failed, Some("not retryable".into()))
            };
            (A::Failed, next, Some(error), None)
        }
        Outcome::TimedOut { error } => {
            let next = if facts.retry_timeouts {
                retry(facts, now, None, chance)
            } else {
                done(JobState::Failed, Some("timed out, and time-outs are not retried".into()))
            };
            (A::TimedOut, next, Some(error), None)
        }
        Outcome::Snoozed { until } => (A::Snoozed, again(until, true, false), None, None),
        Outcome::Interrupted { reason } => {
            let error = ErrorRecord::new("interrupted", &reason, vec![]);
            (A::Interrupted, again(now, true, false), Some(error), None)
        }
        Outcome::LeaseExpired => lease_expired(facts, again(now, true, true)),
    };
    let next = match next {
        // Somebody asked for its end while it ran, or it would go on for ever.
        Next::Wait { .. } if facts.cancel_requested => {
            done(JobState::Cancelled, Some("cancelled while it ran".into()))
        }
        Next::Wait { .. } if facts.attempt >= limits::ATTEMPTS => {
            done(JobState::Failed, Some(format!("more than {} attempts", limits::ATTEMPTS)))
        }
        next => next,
    };
    let next = match next {
        Next::Final { state, reason } => {
            Next::Final { state, reason: reason.map(|r| limits::cut(&r, limits::NOTE)) }
        }
        wait => wait,
    };
    Transition {
        job: facts.job,
        attempt: facts.attempt,
        outcome: attempt_outcome,
        finished_at: time::trunc(now),
        next,
        error,
        output,
    }
}

type Parts = (AttemptOutcome, Next, Option<ErrorRecord>, Option<Json>);

fn lease_expired(facts: &Facts, again: Next) -> Parts {
    let deaths = facts.deaths + 1;
    let error = ErrorRecord::new("lease_expired", "the node that ran it stopped sending heartbeats", vec![]);
    let next = if deaths >= limits::DEATHS {
        Next::Final {
            state: JobState::Failed,
            reason: Some(format!("poison: {deaths} workers died while running it")),
        }
    } else {
        again
    };
    (AttemptOutcome::Interrupted, next, Some(error), None)
}

fn retry(facts: &Facts, now: Timestamp, after: Option<Duration>, chance: f64) -> Next {
    let failures = facts.attempt.saturating_sub(facts.raised);
    if failures >= facts.max_attempts {
        let reason = if facts.max_attempts == 1 {
            "failed; one attempt was allowed".to_owned()
        } else {
            format!("out of attempts: {failures} of {} failed", facts.max_attempts)
        };
        return Next::Final { state: JobState::Failed, reason: Some(reason) };
    }
    let wait = after.unwrap_or_else(|| facts.backoff.delay(failures, chance)).min(limits::DURATION);
    Next::Wait { run_at: time::plus(time::trunc(now), wait), raised: facts.raised, deaths: facts.deaths }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::Backoff;

    fn facts(attempt: u32) -> Facts {
        Facts {
            job: JobId(7),
            attempt,
            max_attempts: 3,
            raised: 0,
            deaths: 0,
            backoff: Backoff::Steps(vec![Duration::from_secs(5), Duration::from_secs(10)]),
            retry_timeouts: true,
            cancel_requested: false,
        }
    }
    fn now() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().unwrap()
    }
    fn boom() -> Outcome {
        let error = ErrorRecord::new("retryable", "boom", vec![]);
        Outcome::Failed { error, retryable: true, after: None }
    }
    fn wait(t: &Transition) -> (i64, u32, u32) {
        match &t.next {
            Next::Wait { run_at, raised, deaths } => {
                ((time::micros(*run_at) - time::micros(now())) / time::SECOND, *raised, *deaths)
            }
            other => panic!("expected to wait, got {other:?}"),
        }
    }
    fn end(t: &Transition) -> (JobState, String) {
        match &t.next {
            Next::Final { state, reason } => (*state, reason.clone().unwrap_or_default()),
            other => panic!("expected the end, got {other:?}"),
        }
    }

    #[test]
    fn failures_wait_by_the_policy_and_end_with_the_budget() {
        assert_eq!(wait(&decide(&facts(1), boom(), now(), 0.0)), (5, 0, 0));
        assert_eq!(wait(&decide(&facts(2), boom(), now(), 0.0)), (10, 0, 0));
        let (state, reason) = end(&decide(&facts(3), boom(), now(), 0.0));
        assert_eq!((state, reason.as_str()), (JobState::Failed, "out of attempts: 3 of 3 failed"));
    }

    #[test]
    fn restored_attempts_do_not_use_up_the_budget_nor_lengthen_the_wait() {
        let f = Facts { raised: 2, ..facts(3) };
        assert_eq!(wait(&decide(&f, boom(), now(), 0.0)), (5, 2, 0));
    }

    #[test]
    fn a_deploy_gives_the_attempt_back() {
        let t = decide(&facts(3), Outcome::Interrupted { reason: "drain".into() }, now(), 0.0);
        assert_eq!((wait(&t), t.outcome), ((0, 1, 0), AttemptOutcome::Interrupted));
    }

    #[test]
    fn the_third_dead_worker_parks_the_job_as_poison() {
        assert_eq!(wait(&decide(&facts(1), Outcome::LeaseExpired, now(), 0.0)), (0, 1, 1));
        let f = Facts { deaths: 2, raised: 2, ..facts(3) };
        let (state, reason) = end(&decide(&f, Outcome::LeaseExpired, now(), 0.0));
        assert!(state == JobState::Failed && reason.starts_with("poison"), "{reason}");
    }

    #[test]
    fn a_cancel_request_ends_what_would_run_again_but_not_a_success() {
        let f = Facts { cancel_requested: true, ..facts(1) };
        assert_eq!(end(&decide(&f, boom(), now(), 0.0)).0, JobState::Cancelled);
        assert_eq!(end(&decide(&f, Outcome::LeaseExpired, now(), 0.0)).0, JobState::Cancelled);
        let ok = decide(&f, Outcome::Succeeded { output: None }, now(), 0.0);
        assert_eq!(end(&ok).0, JobState::Completed);
    }

    #[test]
    fn the_handler_may_name_the_wait_or_give_up() {
        let error = ErrorRecord::new("http_status", "429", vec![]);
        let later =
            Outcome::Failed { error: error.clone(), retryable: true, after: Some(Duration::from_secs(90)) };
        assert_eq!(wait(&decide(&facts(1), later, now(), 0.9)), (90, 0, 0));
        let never = Outcome::Failed { error, retryable: false, after: None };
        assert_eq!(end(&decide(&facts(1), never, now(), 0.9)), (JobState::Failed, "not retryable".into()));
    }

    #[test]
    fn a_snooze_costs_nothing_but_cannot_go_on_for_ever() {
        let until = time::plus(now(), Duration::from_secs(60));
        assert_eq!(wait(&decide(&facts(1), Outcome::Snoozed { until }, now(), 0.0)), (60, 1, 0));
        let f = facts(limits::ATTEMPTS);
        assert_eq!(end(&decide(&f, Outcome::Snoozed { until }, now(), 0.0)).0, JobState::Failed);
    }

    #[test]
    fn a_time_out_is_its_own_outcome_and_may_be_final() {
        let out = || Outcome::TimedOut { error: ErrorRecord::new("timeout", "9m", vec![]) };
        let t = decide(&facts(1), out(), now(), 0.0);
        assert_eq!((t.outcome, wait(&t).0), (AttemptOutcome::TimedOut, 5));
        let f = Facts { retry_timeouts: false, ..facts(1) };
        assert_eq!(end(&decide(&f, out(), now(), 0.0)).0, JobState::Failed);
    }
}
