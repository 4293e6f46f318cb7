//! Claims jobs for the free slots, and a little ahead of them while jobs are short and many.
//!
//! How far ahead follows from what this node has just finished: at most twice what ended within the
//! last window. On an idle queue that is nothing, so a crash strands few jobs; on a busy one it
//! turns a thousand claims into one transaction.

use super::{Step, Wake};
use crate::engine::{Board, Engine};
use jiff::Timestamp;
use mainspring_core::error::Result;
use mainspring_core::store::ClaimRequest;
use mainspring_core::{limits, time};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Over how much of the past the pace is taken.
const WINDOW: Duration = Duration::from_millis(75);
/// Outcomes waiting for the store beyond which nothing more is claimed: it must catch up first.
const BACKLOG: usize = 4 * limits::BATCH;

/// See the module's text.
pub struct Dispatcher {
    engine: Arc<Engine>,
    pace: Mutex<Pace>,
}

/// How fast attempts end here.
#[derive(Clone, Copy, Debug)]
struct Pace {
    since: Timestamp,
    finished: u64,
    ahead: usize,
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
            self.ahead = self.ahead.min(limits::BATCH);
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
        Dispatcher { engine, pace: Mutex::new(pace) }
    }

    /// How many to claim now, and below how many waiting ones to look again.
    fn want(&self) -> (usize, usize) {
        let (free, waiting) = self.engine.board.room();
        let ahead = {
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            pace.ahead(self.engine.steady.now(), self.engine.board.finished())
        };
        let want = (free + ahead).saturating_sub(waiting);
        // Half the stock is enough to go on with: small claims would cost more than they bring.
        let want = if waiting > ahead / 2 && free == 0 { 0 } else { want };
        (want.min(limits::BATCH), ahead / 2)
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
        let (want, low_water) = self.want();
        if want == 0 {
            engine.board.set_low_water(low_water);
            return Ok(Wake::Idle);
        }
        engine.board.set_low_water(Board::QUIET);
        let request = ClaimRequest {
            node,
            limit: want as u32,
            kinds: engine.kinds().to_vec(),
            queues: engine.settings.queues.clone(),
        };
        let batch = engine.store().claim(now, request).await?;
        let got = batch.jobs.len();
        if engine.node() != Some(node) {
            // The store forgot this node while it asked; what it was given belongs to a dead one.
            return Ok(Wake::Again);
        }
        let refused = engine.board.put(batch.jobs);
        engine.give_back(refused, "the node is shutting down");
        if got > 0 {
            engine.start();
        }
        if got >= want || batch.more {
            let (want, low_water) = self.want();
            engine.board.set_low_water(low_water);
            // Slots may have emptied the board while this was written.
            return Ok(if want > 0 { Wake::Again } else { Wake::Idle });
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
        assert_eq!(pace.ahead(at(150), 9_000), limits::BATCH, "never more than a batch");
        assert_eq!(pace.ahead(at(225), 9_001), 2, "slow jobs: hardly anything");
        assert_eq!(pace.ahead(at(60_000), 9_101), 0, "an old pace says nothing of now");
    }
}
