//! Rescues the attempts of dead nodes: the same `decide` and the same fenced `finish` as for any
//! other end, so that a rescuer and a node that was only slow may race and exactly one wins.

use super::{Step, Wake};
use crate::engine::Engine;
use jiff::Timestamp;
use mainspring_core::decide::{Outcome, decide};
use mainspring_core::error::Result;
use mainspring_core::ids::JobId;
use mainspring_core::{limits, time};
use std::sync::{Arc, Mutex, PoisonError};

/// See the module's text.
pub struct Reaper {
    engine: Arc<Engine>,
    /// Where the last look ended: rows that cannot be rescued must not be in the way of the others.
    after: Mutex<Option<JobId>>,
}

impl Reaper {
    /// The reaper of a node.
    pub fn new(engine: Arc<Engine>) -> Reaper {
        Reaper { engine, after: Mutex::default() }
    }

    fn set_after(&self, to: Option<JobId>) {
        *self.after.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

impl Step for Reaper {
    const NAME: &'static str = "reaper";

    async fn step(&self, now: Timestamp) -> Result<Wake> {
        let engine = &self.engine;
        if engine.draining() || engine.node().is_none() {
            return Ok(Wake::Idle);
        }
        if engine.unheard() {
            return Ok(Wake::At(time::plus(now, engine.settings.lease / 5)));
        }
        let judge_after = engine.judge_after();
        if now < judge_after {
            return Ok(Wake::At(judge_after));
        }
        let after = *self.after.lock().unwrap_or_else(PoisonError::into_inner);
        let orphans = engine.store().orphans(now, engine.settings.lease, after, limits::BATCH as u32).await?;
        let last = orphans.last().map(|o| o.facts.job);
        let full = orphans.len() >= limits::BATCH;
        let transitions: Vec<_> = orphans
            .into_iter()
            .map(|o| decide(&o.facts, Outcome::LeaseExpired, now, engine.entropy.chance()))
            .collect();
        if !transitions.is_empty() {
            match engine.store().finish(now, transitions.clone()).await {
                Err(e) if !e.is_transient() => {
                    tracing::warn!(error = %e, "the store refused a rescue; trying row by row");
                    for one in transitions {
                        if let Err(e) = engine.store().finish(now, vec![one]).await {
                            if e.is_transient() {
                                return Err(e);
                            }
                            tracing::warn!(error = %e, "one orphan cannot be rescued");
                        }
                    }
                }
                answer => drop(answer?),
            }
            engine.signals.dispatch.notify_one();
            engine.signals.promote.notify_one();
            engine.outside.ring();
        }
        self.set_after(if full { last } else { None });
        Ok(if full { Wake::Again } else { Wake::Idle })
    }
}
