//! Writes how attempts ended: takes what has gathered, asks `decide` what follows, and hands it to
//! the store in one transaction. The previous commit is the timer: while one batch is written the
//! next gathers. Much that has gathered becomes two calls side by side, parted so that a store that
//! keeps neighbours together never has one of them wait for the other.
//!
//! An outcome is never given up while the store may come back: handlers' results outlive an outage.
//! A result that the store refuses (a value it cannot keep) becomes a failure with that reason, so
//! that one bad row neither blocks the others nor leaves its job running for ever.

use super::{Step, Wake};
use crate::engine::{Done, Ended, Engine, NodeEvent};
use futures_util::future::join;
use jiff::Timestamp;
use mainspring_core::StoreError;
use mainspring_core::decide::{Next, Outcome, Transition, decide};
use mainspring_core::error::Result;
use mainspring_core::job::ErrorRecord;
use mainspring_core::store::Finished;
use mainspring_core::{limits, time};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// From how many outcomes on two transactions are better than one: below, the second costs more than
/// the first one's waits leave unused.
const MANY: usize = 400;

/// See the module's text.
pub struct Finisher {
    engine: Arc<Engine>,
    /// Taken from the outbox and not written yet. Behind a lock of its own so that two calls of
    /// `step` never write the same outcome.
    held: tokio::sync::Mutex<VecDeque<(Done, Transition)>>,
    last_error: Mutex<Option<StoreError>>,
}

impl Finisher {
    /// The finisher of a node.
    pub fn new(engine: Arc<Engine>) -> Finisher {
        Finisher { engine, held: tokio::sync::Mutex::default(), last_error: Mutex::default() }
    }

    /// Why the last write failed, if it did: shown when a shutdown cannot write everything.
    pub fn last_error(&self) -> Option<StoreError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn decided(&self, done: Done) -> (Done, Transition) {
        let chance = match &done.outcome {
            Outcome::Failed { .. } | Outcome::TimedOut { .. } => self.engine.entropy.chance(),
            _ => 0.0,
        };
        // The outcome moves into the transition; what is kept is who it was about.
        let Done { attempt, outcome, at } = done;
        let transition = decide(&attempt.facts(), outcome, at, chance);
        let outcome = Outcome::LeaseExpired;
        (Done { attempt, outcome, at }, transition)
    }

    /// Writes one batch. A refusal of the whole is looked into row by row.
    async fn write(&self, now: Timestamp, batch: &mut [(Done, Transition)]) -> Result<Vec<Finished>> {
        if batch.is_empty() {
            return Ok(vec![]);
        }
        let all = batch.iter().map(|(_, t)| t.clone()).collect();
        match self.engine.store().finish(now, all).await {
            Err(e) if !e.is_transient() => {
                tracing::warn!(error = %e, rows = batch.len(), "the store refused outcomes; writing them one by one");
            }
            answer => return answer,
        }
        let mut answers = Vec::with_capacity(batch.len());
        for (done, transition) in batch {
            answers.push(self.write_one(now, done, transition).await?);
        }
        Ok(answers)
    }

    async fn write_one(&self, now: Timestamp, done: &Done, transition: &mut Transition) -> Result<Finished> {
        let first = |answers: Vec<Finished>| answers.into_iter().next().unwrap_or(Finished::Stale);
        match self.engine.store().finish(now, vec![transition.clone()]).await {
            Err(e) if !e.is_transient() => {
                let error =
                    ErrorRecord::new("store_refused", "its outcome could not be stored", vec![e.to_string()]);
                let outcome = Outcome::Failed { error, retryable: false, after: None };
                *transition = decide(&done.attempt.facts(), outcome, done.at, 0.0);
                let again = self.engine.store().finish(now, vec![transition.clone()]).await?;
                Ok(first(again))
            }
            answer => answer.map(first),
        }
    }

    /// Lets go of outcomes that are written. Tells whether some job is to wait.
    fn settle(&self, written: Vec<((Done, Transition), Finished)>) -> bool {
        self.engine.let_go(written.iter().map(|((_, t), _)| (t.job, t.attempt)));
        let n = written.len();
        let mut waits = false;
        for ((done, transition), finished) in written {
            waits |= matches!(transition.next, Next::Wait { .. });
            self.tell(&done, &transition, finished);
            if let Ended::Ran(cx) = &done.attempt {
                self.engine.services.inbox.forget_progress(cx.job_id(), cx.attempt());
            }
        }
        self.engine.outbox.settled(n);
        waits
    }

    fn tell(&self, done: &Done, t: &Transition, finished: Finished) {
        let (job, attempt) = (t.job, t.attempt);
        if finished == Finished::Stale {
            self.engine.events.tell(|| NodeEvent::Stale { job, attempt });
            return;
        }
        self.engine.events.tell(|| {
            let claimed = done.attempt.claimed();
            let (again, reason) = match &t.next {
                Next::Wait { run_at, .. } => (Some(*run_at), None),
                Next::Final { reason, .. } => (None, reason.clone()),
            };
            let took = match &done.attempt {
                Ended::Ran(cx) => time::since(cx.started_at(), done.at),
                Ended::Waited(_) => std::time::Duration::ZERO,
            };
            NodeEvent::Finished {
                job,
                attempt,
                kind: claimed.kind.clone(),
                schedule: claimed.schedule.map(|(id, _)| id),
                outcome: t.outcome,
                again,
                reason: reason.or_else(|| t.error.as_ref().map(|e| e.message.clone())),
                took,
            }
        });
    }
}

/// How many outcomes are written now, and how many of those by the first of two calls. They are put in
/// that order; within each call they stay in the order in which they ended.
fn part(held: &mut VecDeque<(Done, Transition)>) -> (usize, usize) {
    if held.len() < MANY {
        return (held.len(), held.len());
    }
    let odd = |t: &Transition| t.job.0.div_euclid(limits::NEIGHBOURS) % 2 != 0;
    let mut calls = [0, 0];
    let n = held.iter().take_while(|(_, t)| {
        let call = &mut calls[usize::from(odd(t))];
        *call += 1;
        *call <= limits::BATCH
    });
    let n = n.count();
    let list = &mut held.make_contiguous()[..n];
    list.sort_by_key(|(_, t)| odd(t));
    (n, list.partition_point(|(_, t)| !odd(t)))
}

impl Step for Finisher {
    const NAME: &'static str = "finisher";

    async fn step(&self, now: Timestamp) -> Result<Wake> {
        let mut held = self.held.lock().await;
        held.extend(self.engine.outbox.take().into_iter().map(|done| self.decided(done)));
        if held.is_empty() {
            return Ok(Wake::Idle);
        }
        let (n, first) = part(&mut held);
        // They stay held while they are written: this step may be abandoned.
        let (one, two) = held.make_contiguous()[..n].split_at_mut(first);
        let (one, two) = join(self.write(now, one), self.write(now, two)).await;
        let mut failed = None;
        let mut waits = false;
        // From behind, so that the places before stay what they are.
        for (range, answers) in [(first..n, two), (0..first, one)] {
            match answers {
                Ok(answers) => waits |= self.settle(held.drain(range).zip(answers).collect()),
                Err(e) => failed = Some(e),
            }
        }
        // An end may have freed a limit or a key; a retry may be due before the promoter looks.
        self.engine.signals.dispatch.notify_one();
        if waits {
            self.engine.signals.promote.notify_one();
        }
        if let Some(e) = failed {
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(e.clone());
            return Err(e);
        }
        // Another batch may have gathered whose ring fell into this step.
        Ok(Wake::Again)
    }
}
