//! Claims that wait. A worker asks for jobs and is answered when there are some, or with none when
//! its patience is over.
//!
//! While nothing comes in, a claim that waits asks the store nothing: it sleeps until the bell of
//! [`Outside`] rings (an enqueue of this process, a hint from another, what the node's own heartbeat
//! saw). All claims for the same queues and kinds of a project take turns: when one finds nothing,
//! none of the others looks before the bell rings again, so a thousand idle workers cost one look
//! and not a thousand.

use super::{Desk, Refusal, Result, attempts, token};
use crate::registry::{Registry, TIMEOUT};
use jiff::Timestamp;
use mainspring_core::decide::Outcome;
use mainspring_core::ids::{NodeId, ProjectId};
use mainspring_core::job::{Claimed, ErrorRecord};
use mainspring_core::store::{ClaimBatch, ClaimRequest};
use mainspring_core::{StoreError, time};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Attempts one claim may take.
pub const MOST: u32 = 100;
/// How long a claim may wait.
pub const WAIT: Duration = Duration::from_secs(30);
/// Claims that may wait at once in one process.
const POLLS: usize = 2_000;
/// Lanes remembered; beyond it those go that nobody waits in.
const LANES: usize = 256;
/// After the bell, so long more may come before anyone looks.
const GATHER: Duration = Duration::from_millis(5);
/// How often a desk without a node looks by itself.
const NET: Duration = Duration::from_secs(1);
/// Looks in a row at what the store says there may be more of.
const MORE: usize = 10;

/// What a claim is about: those of one lane take turns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    project: ProjectId,
    queues: Vec<Arc<str>>,
    kinds: Vec<Arc<str>>,
}

/// Whose turn it is in a lane.
#[derive(Default)]
pub(super) struct Turns {
    turn: tokio::sync::Mutex<Option<Timestamp>>,
    /// The bell's count at which nothing was found, plus one.
    dry: AtomicU64,
}

/// One attempt in a worker's hands.
#[derive(Clone, Debug)]
pub struct Leased {
    /// What the worker proves its right with.
    pub lease: String,
    /// The attempt.
    pub claimed: Claimed,
    /// When its time is over.
    pub deadline: Timestamp,
}

/// How long an attempt of this kind may take.
pub(crate) fn time_limit(registry: Option<&Registry>, kind: &str, own: Option<Duration>) -> Duration {
    own.or_else(|| registry.and_then(|r| r.get(kind)).map(|entry| entry.spec.timeout)).unwrap_or(TIMEOUT)
}

impl Desk {
    /// At most `limit` attempts of the queues that the worker serves and `allowed` holds (all, when it
    /// is empty). Waits up to `wait` for the first; dropping the future while it waits costs nothing.
    pub async fn claim(
        &self,
        project: ProjectId,
        worker: &str,
        limit: u32,
        wait: Duration,
        allowed: &[String],
    ) -> Result<Vec<Leased>> {
        if !(1..=MOST).contains(&limit) {
            return Err(Refusal::invalid("limit", format!("{limit} is not in 1 to {MOST}")));
        }
        let node = self.node_of(project, worker).await?;
        self.beat(node).await?;
        let seat = self.seat_of(node).await?;
        let queues = served(&seat.queues, allowed)?;
        let request = ClaimRequest { node, limit, kinds: seat.kinds.clone(), queues, project: Some(project) };
        let _waiting = self.may_wait()?;
        let jobs = self.wait_for(request, wait.min(WAIT)).await?;
        let (now, seals) = (self.now(), self.seals().await?);
        let mut leased = Vec::with_capacity(jobs.len());
        for claimed in jobs {
            if let Some(claimed) = self.with_secrets(claimed).await? {
                leased.push(self.leased(seals, node, claimed, now));
            }
        }
        Ok(leased)
    }

    /// The attempt with the secrets that its payload names; None when they cannot be had: then it has
    /// failed, as it would have on a node.
    async fn with_secrets(&self, claimed: Claimed) -> Result<Option<Claimed>> {
        match self.0.vault.resolve(self.now(), claimed.project, &claimed.payload).await {
            Ok(None) => Ok(Some(claimed)),
            Ok(Some(payload)) => Ok(Some(Claimed { payload, ..claimed })),
            Err(e) => {
                let error = ErrorRecord::new("secret", &format!("{}: {e}", e.code()), vec![]);
                let outcome = Outcome::Failed { error, retryable: e.is_transient(), after: None };
                attempts::settle(&self.0, claimed.project, &claimed.facts, outcome, None).await?;
                Ok(None)
            }
        }
    }

    fn leased(&self, seals: &token::Seals, node: NodeId, claimed: Claimed, now: Timestamp) -> Leased {
        let lease = seals.lease(claimed.project, node, claimed.facts.job, claimed.facts.attempt);
        let registry = self.0.client.registry().map(|r| &**r);
        let deadline = time::plus(now, time_limit(registry, &claimed.kind, claimed.timeout));
        Leased { lease, claimed, deadline }
    }

    /// What this process knows of a worker, or the store does: it may have registered elsewhere.
    async fn seat_of(&self, node: NodeId) -> Result<super::outside::Seat> {
        if let Some(seat) = self.0.outside.seat(node, self.now()) {
            return Ok(seat);
        }
        let nodes = self.store().nodes().await?;
        let found = nodes.into_iter().find(|n| n.info.id == node).ok_or(Refusal::WorkerGone)?;
        let seat = super::outside::Seat::of(&found.info);
        self.0.outside.sit(node, seat.clone(), self.now());
        self.0.outside.arrived();
        Ok(seat)
    }

    async fn wait_for(&self, request: ClaimRequest, wait: Duration) -> Result<Vec<Claimed>> {
        let turns = self.turns(&request);
        if self.0.engine.is_none() {
            // Nobody rings here.
            turns.dry.store(0, Ordering::Release);
        }
        let mut bell = self.0.outside.listen();
        let mut left = wait;
        loop {
            let seen = *bell.borrow_and_update();
            let mut again = None;
            if turns.dry.load(Ordering::Acquire) <= seen {
                let mut turn = turns.turn.lock().await;
                // Whoever had the turn before may have found nothing.
                let seen = *bell.borrow_and_update();
                if turns.dry.load(Ordering::Acquire) <= seen {
                    let (jobs, wake_at) = self.look(&request).await?;
                    if !jobs.is_empty() {
                        return Ok(jobs);
                    }
                    turns.dry.store(seen + 1, Ordering::Release);
                    *turn = wake_at;
                }
                again = *turn;
            }
            if left.is_zero() {
                return Ok(Vec::new());
            }
            let net = if self.0.engine.is_some() { left } else { NET };
            let rate = again.map_or(left, |at| time::since(self.now(), at).max(GATHER));
            let nap = left.min(net).min(rate);
            let since = self.steady();
            tokio::select! {
                _ = bell.changed() => crate::node::pause(GATHER).await,
                () = crate::node::pause(nap) => turns.dry.store(0, Ordering::Release),
            }
            left = left.saturating_sub(time::since(since, self.steady()).max(Duration::from_millis(1)));
        }
    }

    /// A clock that does not jump, where there is one.
    fn steady(&self) -> Timestamp {
        self.0.engine.as_ref().map_or_else(|| self.now(), |engine| engine.steady.now())
    }

    /// Asks the store, until it gives something or has nothing.
    async fn look(&self, request: &ClaimRequest) -> Result<(Vec<Claimed>, Option<Timestamp>)> {
        let mut wake_at = None;
        for _ in 0..MORE {
            let batch = self.claim_safely(request.clone()).await?;
            wake_at = batch.wake_at;
            if !batch.jobs.is_empty() || !batch.more {
                return Ok((batch.jobs, wake_at));
            }
        }
        Ok((Vec::new(), wake_at))
    }

    /// Whoever asked may be gone when the answer comes: then what was claimed goes back at once.
    async fn claim_safely(&self, request: ClaimRequest) -> Result<ClaimBatch> {
        let (tell, told) = oneshot::channel();
        let desk = self.clone();
        tokio::spawn(async move {
            let answer = desk.store().claim(desk.now(), request).await;
            if let Err(Ok(unheard)) = tell.send(answer) {
                desk.give_back(unheard.jobs).await;
            }
        });
        let gone = |_| StoreError::Internal("a claim ended without an answer".into());
        Ok(told.await.map_err(gone)??)
    }

    async fn give_back(&self, jobs: Vec<Claimed>) {
        for claimed in jobs {
            let reason = "the worker had gone when its jobs were claimed".to_owned();
            let outcome = Outcome::Interrupted { reason };
            if let Err(error) =
                attempts::settle(&self.0, claimed.project, &claimed.facts, outcome, None).await
            {
                tracing::warn!(%error, job = %claimed.facts.job, "what nobody waits for could not be given back");
            }
        }
    }

    fn turns(&self, request: &ClaimRequest) -> Arc<Turns> {
        let lane = Lane {
            project: request.project.unwrap_or(ProjectId::DEFAULT),
            queues: request.queues.clone(),
            kinds: request.kinds.clone(),
        };
        let mut lanes = self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.len() >= LANES {
            lanes.retain(|_, turns| Arc::strong_count(turns) > 1);
        }
        lanes.entry(lane).or_default().clone()
    }

    fn may_wait(&self) -> Result<Waiting> {
        let waiting = Waiting(self.0.clone());
        if self.0.polls.fetch_add(1, Ordering::AcqRel) >= POLLS {
            return Err(Refusal::TooMany(format!("{POLLS} claims wait already; ask again in a moment")));
        }
        Ok(waiting)
    }
}

/// One of the claims that wait.
struct Waiting(Arc<super::Inner>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.polls.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The queues that are asked for and allowed; empty means all.
fn served(asked: &[Arc<str>], allowed: &[String]) -> Result<Vec<Arc<str>>> {
    if allowed.is_empty() {
        return Ok(asked.to_vec());
    }
    if asked.is_empty() {
        return Ok(allowed.iter().map(|queue| queue.as_str().into()).collect());
    }
    let both: Vec<_> = asked.iter().filter(|q| allowed.iter().any(|a| **a == ***q)).cloned().collect();
    if both.is_empty() {
        let text = format!("this key is bound to {}, and the worker serves none of them", allowed.join(", "));
        return Err(Refusal::invalid("queues", text));
    }
    Ok(both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_serves_what_it_asked_for_and_may() {
        let names = |list: &[&str]| list.iter().map(|q| Arc::from(*q)).collect::<Vec<Arc<str>>>();
        let may = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(served(&names(&["a"]), &[]).unwrap(), names(&["a"]));
        assert_eq!(served(&[], &may(&["a", "b"])).unwrap(), names(&["a", "b"]));
        assert_eq!(served(&names(&["b", "c"]), &may(&["a", "b"])).unwrap(), names(&["b"]));
        assert!(served(&names(&["c"]), &may(&["a", "b"])).is_err());
    }
}
