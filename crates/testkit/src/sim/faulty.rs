//! A store behind bad weather: each call may fail before it reaches the store (nothing is written)
//! or after (it is written, and the reply is lost). Every call stops twice, before and after, so
//! that the simulator can let others go on in between, or let the caller die.
//!
//! It also writes down what the store really did, and looks at the limits at every claim: the
//! checkers must not depend on what callers believe.

use super::world::{Entry, Mishap, World};
use crate::gate::{Gate, Gated};
use jiff::Timestamp;
use mainspring_core::decide::{Next, Transition};
use mainspring_core::error::Result;
use mainspring_core::ids::ProjectId;
use mainspring_core::queue::{ALL_QUEUES, QueueSettings};
use mainspring_core::store::{Affected, Bulk, ClaimBatch, ClaimRequest, Finished, Store};
use mainspring_core::{StoreError, limits};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The settings of queues that do not change during a run.
pub type Queues = Arc<BTreeMap<String, QueueSettings>>;

/// A store in this weather.
pub type FaultyStore = Gated<Weather>;

/// See the module's text.
pub struct Weather {
    world: Arc<World>,
    queues: Queues,
}

impl Weather {
    /// The weather of this world, over queues with these settings.
    pub fn new(world: Arc<World>, queues: Queues) -> Weather {
        Weather { world, queues }
    }

    async fn before(&self) -> Result<()> {
        self.world.stop_here().await;
        if self.world.is_away() || self.world.strikes() {
            self.world.count(Mishap::CallRefused);
            return Err(StoreError::Unavailable("simulated".into()));
        }
        Ok(())
    }

    async fn inside<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let _inside = self.world.enter_database();
        call.await
    }

    /// One call, and what is to be written down of it before anyone else goes on.
    async fn call_and_note<T>(
        &self,
        call: impl Future<Output = Result<T>> + Send,
        note: impl FnOnce(&T) + Send,
    ) -> Result<T> {
        self.before().await?;
        let answer = self.inside(call).await?;
        note(&answer);
        let mut reply = Reply { world: &self.world, arrived: false };
        self.world.stop_here().await;
        reply.arrived = true;
        if self.world.strikes() {
            self.world.count(Mishap::ReplyLost);
            return Err(StoreError::Timeout("simulated: the reply was lost".into()));
        }
        Ok(answer)
    }

    /// What runs must be within the limits, counted from the jobs themselves.
    async fn look_at_limits(&self, base: &dyn Store, project: ProjectId) -> Result<()> {
        let running = base.running(project, limits::PAGE as u32).await?;
        let mut queues = BTreeMap::<&str, u32>::new();
        let mut keys = BTreeMap::<(&str, &str), u32>::new();
        for r in &running {
            *queues.entry(&r.queue).or_default() += 1;
            *queues.entry(ALL_QUEUES).or_default() += 1;
            if let Some(key) = &r.key {
                *keys.entry((&r.queue, key)).or_default() += 1;
            }
        }
        let max = |queue: &str| self.queues.get(queue).and_then(|q| q.max_running);
        for (queue, n) in queues {
            if max(queue).is_some_and(|max| n > max) {
                self.world.accuse(format!("{n} jobs run in queue {queue}, more than its limit"));
            }
        }
        let per_key = |queue: &str| self.queues.get(queue).and_then(|q| q.max_running_per_key);
        for ((queue, key), n) in keys {
            if per_key(queue).is_some_and(|max| n > max) {
                self.world.accuse(format!("{n} jobs of key {key} run in queue {queue}, more than its limit"));
            }
        }
        Ok(())
    }
}

/// Between a commit and its caller. Dropped there, the caller died and never learns of it.
struct Reply<'a> {
    world: &'a World,
    arrived: bool,
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        if !self.arrived {
            self.world.count(Mishap::CallerCutOff);
        }
    }
}

impl Gate for Weather {
    /// Nothing is written, so a lost reply is only a failure.
    async fn read<T: Send>(
        &self,
        _: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.before().await?;
        let answer = self.inside(call).await?;
        self.world.stop_here().await;
        if self.world.strikes() {
            return Err(StoreError::Timeout("simulated: the answer was lost".into()));
        }
        Ok(answer)
    }

    async fn write<T: Send>(
        &self,
        _: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.call_and_note(call, |_| {}).await
    }

    async fn claim(&self, base: &dyn Store, now: Timestamp, request: ClaimRequest) -> Result<ClaimBatch> {
        let node = request.node;
        let claim = async {
            let batch = base.claim(now, request).await?;
            for c in &batch.jobs {
                let rated = self.queues.get(&*c.queue).is_some_and(|q| q.rate.is_some());
                let (job, attempt) = (c.facts.job, c.facts.attempt);
                self.world.note(Entry::Claimed { job, attempt, node, at: now, rated });
            }
            if let Some(c) = batch.jobs.first() {
                self.look_at_limits(base, c.project).await?;
            }
            Ok(batch)
        };
        self.write("claim", claim).await
    }

    async fn finish(
        &self,
        base: &dyn Store,
        now: Timestamp,
        transitions: Vec<Transition>,
    ) -> Result<Vec<Finished>> {
        let end = |t: &Transition| match &t.next {
            Next::Final { state, .. } => (t.job, t.attempt, Some(*state)),
            Next::Wait { .. } => (t.job, t.attempt, None),
        };
        let ends: Vec<_> = transitions.iter().map(end).collect();
        let note = |answers: &Vec<Finished>| {
            for ((job, attempt, state), answer) in ends.into_iter().zip(answers) {
                match answer {
                    Finished::Applied => self.world.note(Entry::Ended(job, attempt, state)),
                    // Whoever is late is refused by the fence.
                    _ => self.world.count(Mishap::FinishRefused),
                }
            }
        };
        self.call_and_note(base.finish(now, transitions), note).await
    }

    async fn retry_jobs(
        &self,
        base: &dyn Store,
        now: Timestamp,
        project: ProjectId,
        bulk: Bulk<'_>,
        actor: &str,
    ) -> Result<Affected> {
        let note = |done: &Affected| done.jobs.iter().for_each(|job| self.world.note(Entry::Retried(*job)));
        self.call_and_note(base.retry_jobs(now, project, bulk, actor), note).await
    }

    /// The simulator owns the clocks.
    async fn server_time(&self, _: &dyn Store) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    /// A process that ends does not end the store of the others.
    async fn close(&self, _: &dyn Store) {}
}
