//! Claims jobs for the free slots, and a little ahead of them while jobs are short and many.
//!
//! How far ahead follows from what this node has just finished: at most twice what ended within the
//! last window. On an idle queue that is nothing, so a crash strands few jobs; on a busy one it
//! turns a thousand claims into one transaction.
//!
//! Where limits keep back most of what a claim looks at, looking further ahead only makes the store
//! move jobs aside and back. Then, for a while, what is in stock is begun first, and no more is asked
//! for than has ended meanwhile: that much the limits let go on. Nothing waits long for this: once no
//! end of this node is on its way, the next claim looks as far as ever.
//!
//! When the answer to a claim is lost, jobs may be running in this living node's name that it knows
//! nothing of, and nobody would ever take them from it. So before it claims again it looks for them
//! and gives them back.

use super::{Step, Wake, warden};
use crate::engine::{Board, Engine};
use jiff::Timestamp;
use mainspring_core::error::Result;
use mainspring_core::ids::NodeId;
use mainspring_core::job::{Claimed, Facts, JobRecord, JobState};
use mainspring_core::store::{ClaimBatch, ClaimRequest, JobFilter};
use mainspring_core::{limits, time};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Over how much of the past the pace is taken.
const WINDOW: Duration = Duration::from_millis(75);
/// Jobs in stock at most: one claim's worth runs while the next is fetched.
const AHEAD: usize = 2 * limits::BATCH;
/// Outcomes waiting for the store beyond which nothing more is claimed: it must catch up first.
const BACKLOG: usize = 4 * limits::BATCH;

/// How long a claim that was mostly kept back is remembered.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// See the module's text.
pub struct Dispatcher {
    engine: Arc<Engine>,
    pace: Mutex<Pace>,
    kept: Mutex<Option<Kept>>,
    /// The answer to a claim was lost.
    doubt: AtomicBool,
}

/// How fast attempts end here.
#[derive(Clone, Copy, Debug)]
struct Pace {
    since: Timestamp,
    finished: u64,
    ahead: usize,
}

/// A claim was mostly kept back by limits.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// Until when that is remembered, by the steady clock.
    until: Timestamp,
    /// Outcomes that were written when the last claim began.
    written: u64,
}

/// What to do about jobs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// Claim so many.
    For(usize),
    /// Look again when no more than this many wait, or when the finisher has written.
    Later(usize),
}

impl Pace {
    /// How many jobs to claim ahead, given how many have finished by now.
    fn ahead(&mut self, now: Timestamp, finished: u64) -> usize {
        let past = time::since(self.since, now);
        let done = finished.saturating_sub(self.finished);
        // The window is over; or much was done already, and waiting for its end would idle the slots.
        if past >= WINDOW || 2 * done as usize > self.ahead {
            let share = WINDOW.as_secs_f64() / past.max(WINDOW).as_secs_f64();
            self.ahead = ((2 * done) as f64 * share) as usize;
            self.ahead = self.ahead.min(AHEAD);
        }
        if past >= WINDOW || now < self.since {
            (self.since, self.finished) = (now, finished);
        }
        self.ahead
    }
}

impl Dispatcher {
    /// The dispatcher of a node.
    pub fn new(engine: Arc<Engine>) -> Dispatcher {
        let pace = Pace { since: Timestamp::UNIX_EPOCH, finished: 0, ahead: 0 };
        let (pace, kept) = (Mutex::new(pace), Mutex::new(None));
        Dispatcher { engine, pace, kept, doubt: AtomicBool::new(false) }
    }

    /// How many to claim now, or when to look again.
    fn ask(&self) -> Ask {
        let (free, waiting) = self.engine.board.room();
        let now = self.engine.steady.now();
        let ahead = {
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            pace.ahead(now, self.engine.board.finished())
        };
        let want = (free + ahead).saturating_sub(waiting).min(limits::BATCH);
        // Half the stock is enough to go on with: small claims would cost more than they bring.
        if want == 0 || (waiting > ahead / 2 && free == 0) {
            return Ask::Later(ahead / 2);
        }
        let kept = *self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.filter(|kept| now < kept.until) {
            Some(_) if waiting > 0 => Ask::Later(0),
            Some(kept) if self.engine.outbox.open() > 0 => {
                match (self.engine.outbox.written() - kept.written) as usize {
                    // The finisher rings when it has written some.
                    0 => Ask::Later(Board::QUIET),
                    ended => Ask::For(want.min(ended)),
                }
            }
            _ => Ask::For(want),
        }
    }

    /// Remembers what a claim that began with `written` outcomes written brought.
    fn came(&self, written: u64, wanted: usize, batch: &ClaimBatch) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if batch.more && 2 * batch.jobs.len() < wanted {
            *kept = Some(Kept { until: time::plus(self.engine.steady.now(), KEPT_FOR), written });
        } else if let Some(kept) = &mut *kept {
            kept.written = written;
        }
    }
}

impl Dispatcher {
    /// Gives back what runs in this node's name and is not in its hand.
    async fn give_back_unknown(&self, node: NodeId) -> Result<()> {
        let store = self.engine.store();
        let mut unknown = Vec::new();
        let mut sift = |rows: Vec<JobRecord>| {
            let ours = |job: &JobRecord| job.node == Some(node) && !self.engine.holds(job.id, job.attempt);
            unknown.extend(rows.into_iter().filter(ours).map(claimed));
        };
        for (project, _) in store.projects().await? {
            let rows = store.running(project, limits::PAGE as u32).await?;
            if rows.len() < limits::PAGE {
                sift(rows);
                continue;
            }
            // More run than fit on that page: go through all of them.
            let filter = JobFilter { states: vec![JobState::Running], ..JobFilter::default() };
            let mut before = None;
            loop {
                let page = store.jobs(project, &filter, before, limits::PAGE as u32).await?;
                sift(page.rows);
                match page.next {
                    Some(next) => before = Some(next),
                    None => break,
                }
            }
        }
        if !unknown.is_empty() {
            tracing::warn!(jobs = unknown.len(), "the answer to a claim was lost; its jobs are given back");
            self.engine.hold(&unknown);
            self.engine.give_back(unknown, "the answer to its claim was lost");
        }
        Ok(())
    }
}

/// A running job as its lost claim would have shown it.
fn claimed(job: JobRecord) -> Claimed {
    Claimed {
        facts: Facts {
            job: job.id,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            raised: job.raised,
            deaths: job.deaths,
            backoff: job.retry.backoff,
            retry_timeouts: job.retry.retry_timeouts,
            cancel_requested: job.cancel_requested,
        },
        project: job.project,
        kind: job.kind,
        queue: job.queue,
        payload: job.payload,
        timeout: job.timeout,
        key: job.key,
        batch: job.batch,
        schedule: job.schedule.map(|id| (id, job.scheduled_for)),
        created_at: job.created_at,
        run_at: job.run_at,
    }
}

impl Step for Dispatcher {
    const NAME: &'static str = "dispatcher";

    async fn step(&self, now: Timestamp) -> Result<Wake> {
        let engine = &self.engine;
        let Some(node) = engine.node() else { return Ok(Wake::Idle) };
        if !engine.may_claim() || engine.kinds().is_empty() {
            engine.board.set_low_water(Board::QUIET);
            return Ok(Wake::Idle);
        }
        if engine.outbox.open() > BACKLOG {
            // The finisher rings when it has written some.
            return Ok(Wake::Idle);
        }
        let want = match self.ask() {
            Ask::For(want) => want,
            Ask::Later(low_water) => {
                engine.board.set_low_water(low_water);
                // Slots may have emptied the board while this was written.
                return Ok(if matches!(self.ask(), Ask::For(_)) { Wake::Again } else { Wake::Idle });
            }
        };
        engine.board.set_low_water(Board::QUIET);
        if self.doubt.load(Ordering::SeqCst) {
            self.give_back_unknown(node).await?;
            self.doubt.store(false, Ordering::SeqCst);
        }
        let request = ClaimRequest {
            node,
            limit: want as u32,
            kinds: engine.kinds().to_vec(),
            queues: engine.settings.queues.clone(),
            project: None,
        };
        let written = engine.outbox.written();
        // Set before the answer is known: the call may end here (an abort) as well as fail.
        self.doubt.store(true, Ordering::SeqCst);
        let batch = engine.store().claim(now, request).await?;
        self.doubt.store(false, Ordering::SeqCst);
        let got = batch.jobs.len();
        self.came(written, want, &batch);
        if engine.node() != Some(node) {
            // The store forgot this node while it asked; what it was given belongs to a dead one.
            return Ok(Wake::Again);
        }
        engine.hold(&batch.jobs);
        let steady = engine.steady.now();
        let refused = engine.board.put(batch.jobs, steady);
        engine.give_back(refused, "the node is shutting down");
        if got > 0 {
            engine.start();
            // What no slot comes free for goes back, before it grows old behind a long job.
            engine.watch(time::plus(steady, warden::PATIENCE));
        }
        if got >= want || batch.more {
            return Ok(Wake::Again);
        }
        Ok(batch.wake_at.filter(|at| *at > now).map_or(Wake::Idle, Wake::At))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_ahead_follow_what_was_finished_and_fall_back_to_nothing() {
        let at = |ms: i64| time::from_micros(ms * 1000);
        let mut pace = Pace { since: at(0), finished: 0, ahead: 0 };
        assert_eq!(pace.ahead(at(10), 0), 0, "nothing finished, nothing ahead");
        assert_eq!(pace.ahead(at(20), 30), 60, "twice what was finished");
        assert_eq!(pace.ahead(at(75), 400), 800);
        assert_eq!(pace.ahead(at(150), 9_000), AHEAD, "never more than two claims");
        assert_eq!(pace.ahead(at(225), 9_001), 2, "slow jobs: hardly anything");
        assert_eq!(pace.ahead(at(60_000), 9_101), 0, "an old pace says nothing of now");
    }
}
