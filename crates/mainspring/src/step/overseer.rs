//! Ends what is held outside and has had its time: a worker that goes on beyond the time limit or does
//! not heed a cancellation, a call-back that never came, an attempt whose claim was answered to nobody.
//!
//! What nodes of the program hold is the warden's business; whoever falls silent is the reaper's. The
//! fence makes it harmless that every node oversees: the first to write an end wins.

use super::{Step, Wake};
use crate::engine::Engine;
use crate::kinds::http;
use crate::remote::attempts::{facts, is_call_back};
use crate::remote::poll::time_limit;
use jiff::Timestamp;
use mainspring_core::decide::{Outcome, Transition, decide};
use mainspring_core::error::Result;
use mainspring_core::ids::{JobId, NodeId};
use mainspring_core::job::{ErrorRecord, JobRecord};
use mainspring_core::{duration, limits, time};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often it looks while workers outside are known.
const LOOK: Duration = Duration::from_secs(5);
/// How often while none is: one that came to another process must be noticed some time.
const IDLE: Duration = Duration::from_secs(30);
/// How long a worker may take to heed a cancellation, beyond the time to its next heartbeat.
pub const HEED: Duration = Duration::from_secs(30);

/// See the module's text.
pub struct Overseer {
    engine: Arc<Engine>,
    /// Since when attempts are seen whose end was asked for.
    asked: Mutex<BTreeMap<(JobId, u32), Timestamp>>,
}

impl Overseer {
    /// The overseer of a node.
    pub fn new(engine: Arc<Engine>) -> Overseer {
        Overseer { engine, asked: Mutex::default() }
    }

    /// When the time of an attempt is over.
    fn deadline(&self, job: &JobRecord) -> Timestamp {
        let began = job.started_at.unwrap_or(job.run_at);
        let own = if is_call_back(job.node) {
            http::callback_of(&job.payload).or(job.timeout)
        } else {
            job.timeout
        };
        time::plus(began, time_limit(Some(&self.engine.services.registry), &job.kind, own))
    }

    /// How an attempt must end now, if it must; else when to look at it again.
    fn judge(&self, job: &JobRecord, asked: Option<Timestamp>, now: Timestamp) -> Result<Outcome, Timestamp> {
        let (engine, deadline) = (&self.engine, self.deadline(job));
        let cancelled = || Outcome::Cancelled { reason: "cancelled while it ran".into() };
        if deadline <= now {
            let limit = duration::format(time::since(job.started_at.unwrap_or(job.run_at), deadline));
            let text = match is_call_back(job.node) {
                true => format!("no call-back came within {limit}"),
                false => format!("it ran longer than its time limit of {limit}"),
            };
            return Ok(Outcome::TimedOut { error: ErrorRecord::new("timeout", &text, vec![]) });
        }
        if is_call_back(job.node) {
            return if job.cancel_requested { Ok(cancelled()) } else { Err(deadline) };
        }
        if let Some(since) = asked {
            let patience = time::plus(since, engine.settings.lease + HEED);
            return if patience <= now { Ok(cancelled()) } else { Err(patience.min(deadline)) };
        }
        let (node, claimed) = (job.node.unwrap_or(NodeId(0)), job.started_at.unwrap_or(now));
        if engine.outside.never_arrived(node, (job.id, job.attempt), claimed, engine.settings.lease) {
            return Ok(Outcome::Interrupted { reason: "the answer to its claim was lost".into() });
        }
        Err(deadline)
    }

    /// Since when the end of these was asked for, as far as is seen here; what is over is forgotten.
    fn asked(&self, held: &[JobRecord], now: Timestamp) -> BTreeMap<(JobId, u32), Timestamp> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let marked: BTreeSet<(JobId, u32)> =
            held.iter().filter(|job| job.cancel_requested).map(|job| (job.id, job.attempt)).collect();
        asked.retain(|attempt, _| marked.contains(attempt));
        for attempt in marked {
            asked.entry(attempt).or_insert(now);
        }
        asked.clone()
    }

    /// What runs in the hands of these nodes, those that run longest first.
    async fn held_by(&self, outside: &BTreeSet<NodeId>) -> Result<Vec<JobRecord>> {
        let (store, mut held) = (self.engine.store(), Vec::new());
        for (project, _) in store.projects().await? {
            let running = store.running(project, limits::PAGE as u32).await?;
            held.extend(running.into_iter().filter(|job| job.node.is_some_and(|n| outside.contains(&n))));
        }
        Ok(held)
    }
}

impl Step for Overseer {
    const NAME: &'static str = "overseer";

    async fn step(&self, now: Timestamp) -> Result<Wake> {
        let engine = &self.engine;
        if engine.draining() || engine.node().is_none() {
            return Ok(Wake::Idle);
        }
        let mut nodes = engine.store().nodes().await?;
        nodes.retain(|node| node.info.is_outside());
        if nodes.is_empty() {
            return Ok(Wake::At(time::plus(now, IDLE)));
        }
        let busy: BTreeSet<NodeId> =
            nodes.iter().filter(|node| node.running > 0).map(|node| node.info.id).collect();
        let mut next = time::plus(now, LOOK);
        if busy.is_empty() {
            return Ok(Wake::At(next));
        }
        let held = self.held_by(&busy).await?;
        let asked = self.asked(&held, now);
        let mut ends: Vec<Transition> = Vec::new();
        for job in &held {
            match self.judge(job, asked.get(&(job.id, job.attempt)).copied(), now) {
                Ok(outcome) => ends.push(decide(&facts(job), outcome, now, engine.entropy.chance())),
                Err(at) => next = next.min(at),
            }
        }
        if !ends.is_empty() {
            ends.truncate(limits::BATCH);
            engine.store().finish(now, ends).await?;
            engine.signals.dispatch.notify_one();
            engine.signals.promote.notify_one();
            engine.outside.ring();
        }
        Ok(Wake::At(next))
    }
}
