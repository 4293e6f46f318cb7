//! Ends attempts whose time is over: a time limit, a cancellation or shutdown that the handler did
//! not heed. One look at all slots serves every attempt; there is no timer per job.
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
        match next {
            None => Ok(Wake::Idle),
            Some(at) => {
                engine.watched(time::micros(at));
                Ok(Wake::At(at))
            }
        }
    }
}
