//! How a running attempt is told that its end is wanted.

use std::sync::atomic::{AtomicU8, Ordering};
use tokio::sync::Notify;

/// Why an attempt should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody asked for its end.
    Cancelled,
    /// The node goes away; the attempt is given back.
    Shutdown,
    /// Its time is over.
    TimedOut,
    /// The node lost its lease: another may be running this job already.
    LeaseLost,
    /// The attempt goes on in other hands; this node has nothing to write of it.
    HandedOver,
}

/// A flag that can be waited for. The first reason given stays.
#[derive(Debug, Default)]
pub struct Stop {
    reason: AtomicU8,
    notify: Notify,
}

impl Stop {
    /// Asks for the end.
    pub fn ask(&self, reason: StopReason) {
        let code = match reason {
            StopReason::Cancelled => 1,
            StopReason::Shutdown => 2,
            StopReason::TimedOut => 3,
            StopReason::LeaseLost => 4,
            StopReason::HandedOver => 5,
        };
        if self.reason.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.notify.notify_waiters();
        }
    }

    /// Why the end was asked for, if it was.
    pub fn reason(&self) -> Option<StopReason> {
        match self.reason.load(Ordering::Acquire) {
            1 => Some(StopReason::Cancelled),
            2 => Some(StopReason::Shutdown),
            3 => Some(StopReason::TimedOut),
            4 => Some(StopReason::LeaseLost),
            5 => Some(StopReason::HandedOver),
            _ => None,
        }
    }

    /// Waits until the end is asked for.
    pub async fn asked(&self) -> StopReason {
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            // Listen before looking, so that an ask in between is not missed.
            notified.as_mut().enable();
            if let Some(reason) = self.reason() {
                return reason;
            }
            notified.await;
        }
    }
}
