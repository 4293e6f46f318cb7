//! Ends attempts whose time is over: a time limit, a cancellation or shutdown that the handler did
//! not heed. One look at all slots serves every attempt; there is no timer per job. It also gives back
//! jobs that were claimed ahead and wait for a slot too long: another node may have one.
//!
//! It goes by the clock that never jumps, which is also the one its caller must pass as `now`.

use super::{Step, Wake};
use crate::context::StopReason;
use crate::engine::{Done, Ended, Engine};
use crate::run::ended_outcome;
use jiff::Timestamp;
use mainspring_core::error::Result;
use mainspring_core::time;
use std::sync::Arc;
use std::time::Duration;

/// How long a job that was claimed ahead waits for a slot before it is given back.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// See the module's text.
pub struct Warden(pub Arc<Engine>);

impl Step for Warden {
    const NAME: &'static str = "warden";

    async fn step(&self, steady_now: Timestamp) -> Result<Wake> {
        let engine = &self.0;
        // From here on everybody rings again; what is seen below is accounted for in `next`.
        engine.watched(i64::MAX);
        let mut next: Option<Timestamp> = None;
        let ended = engine.board.judge(|running| {
            if let Some((by, reason)) = running.stop_by {
                if by <= steady_now {
                    return Some(reason);
                }
                next = Some(next.map_or(by, |n| n.min(by)));
            }
            if running.deadline <= steady_now {
                running.cx.stop().ask(StopReason::TimedOut);
                return Some(StopReason::TimedOut);
            }
            next = Some(next.map_or(running.deadline, |n| n.min(running.deadline)));
            None
        });
        for (cx, reason) in ended {
            let outcome = ended_outcome(&cx, reason);
            engine.outbox.push(Done { attempt: Ended::Ran(cx), outcome, at: engine.now() });
        }
        let (late, oldest) = engine.board.take_since(time::minus(steady_now, PATIENCE));
        engine.give_back(late, "no slot came free for it");
        let patience = oldest.map(|at| time::plus(at, PATIENCE));
        next = match (next, patience) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        match next {
            None => Ok(Wake::Idle),
            Some(at) => {
                engine.watched(time::micros(at));
                Ok(Wake::At(at))
            }
        }
    }
}
