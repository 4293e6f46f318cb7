//! What one project may ask of this server: so many requests a second (with a burst), so many at a
//! time. Beyond that a request is refused with 429 and told when to come again, before anything is
//! read for it. Streams count while they are opened, not while they are open.
//!
//! A project's share is kept per process, in memory: the limit protects this process from one of its
//! projects; it is no price list.

use crate::problem::{Problem, Result};
use jiff::Timestamp;
use mainspring_core::{ProjectId, time};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How much one project may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Requests a second; twice as many may come at once.
    pub per_second: u32,
    /// Requests at a time.
    pub at_once: u32,
}

impl Default for Share {
    fn default() -> Self {
        Share { per_second: 1_000, at_once: 200 }
    }
}

/// Who may come in now.
#[derive(Default)]
pub struct Gate {
    share: Share,
    lanes: Mutex<HashMap<ProjectId, Lane>>,
}

struct Lane {
    /// Millionths of requests that may come at once.
    left: u64,
    /// When that was counted, in microseconds.
    at: i64,
    running: Arc<AtomicU32>,
}

/// A request under way; it counts until this is dropped.
#[derive(Debug)]
pub struct Permit(Arc<AtomicU32>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

const ONE: u64 = 1_000_000;

impl Gate {
    /// A gate with this share for each project.
    pub fn new(share: Share) -> Gate {
        Gate { share, lanes: Mutex::default() }
    }

    /// Lets a request of a project in, or says when to come again.
    pub fn enter(&self, now: Timestamp, project: ProjectId) -> Result<Permit> {
        let (now, rate) = (time::micros(now), u64::from(self.share.per_second.max(1)));
        let full = 2 * rate * ONE;
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane =
            lanes.entry(project).or_insert_with(|| Lane { left: full, at: now, running: Arc::default() });
        // A clock that was set back gives nothing and takes nothing.
        let passed = u64::try_from(now.saturating_sub(lane.at)).unwrap_or(0);
        // A millionth of a request for each request a second and microsecond.
        lane.left = lane.left.saturating_add(passed.saturating_mul(rate)).min(full);
        lane.at = now;
        if lane.left < ONE {
            let wait = Duration::from_micros((ONE - lane.left).div_ceil(rate));
            let text = format!("this project asks more than {rate} times a second; wait a moment");
            return Err(Problem::too_many(text, wait.max(Duration::from_secs(1))));
        }
        if lane.running.load(Ordering::Acquire) >= self.share.at_once {
            let text =
                format!("{} requests of this project are under way, which is the most", self.share.at_once);
            return Err(Problem::too_many(text, Duration::from_secs(1)));
        }
        lane.left -= ONE;
        lane.running.fetch_add(1, Ordering::AcqRel);
        Ok(Permit(lane.running.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_gets_its_share_and_no_other_pays_for_it() {
        let gate = Gate::new(Share { per_second: 5, at_once: 100 });
        let at = |ms: i64| time::from_micros(ms * 1_000);
        let came = |project, ms| gate.enter(at(ms), ProjectId(project)).map(drop);
        let many = |project, ms| (0..50).filter(|_| came(project, ms).is_ok()).count();
        assert_eq!(many(1, 0), 10, "twice the rate at once");
        assert_eq!((many(2, 0), many(1, 0)), (10, 0));
        assert_eq!(came(1, 0).unwrap_err().retry_after, Some(1));
        assert_eq!(many(1, 1_000), 5);
        assert_eq!(many(1, 1_200), 1);
        assert_eq!(many(1, -90_000), 0, "a clock that is set back gives nothing");
        assert_eq!(many(1, 3_600_000), 10);
    }

    #[test]
    fn requests_at_a_time_have_a_limit() {
        let gate = Gate::new(Share { per_second: 100, at_once: 2 });
        let now = time::from_micros(0);
        let enter = || gate.enter(now, ProjectId(1));
        let (a, b) = (enter().unwrap(), enter().unwrap());
        let refused = enter().unwrap_err();
        assert_eq!((refused.status, refused.retry_after), (429, Some(1)));
        assert!(gate.enter(now, ProjectId(2)).is_ok());
        drop(a);
        let c = enter().unwrap();
        assert!(enter().is_err());
        drop((b, c));
        assert!(enter().is_ok());
    }
}
