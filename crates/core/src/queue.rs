//! Queues: named lanes with limits, and what may be set on them while nodes run.

use crate::rate::Rate;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The name under which a project's limits over all its queues are kept.
pub const ALL_QUEUES: &str = "*";

/// Who paused what, until when and why. Shared by queues and schedules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it was paused.
    pub at: Timestamp,
    /// Who paused it.
    pub by: String,
    /// When it ends by itself; never when absent.
    pub until: Option<Timestamp>,
    /// Why.
    pub note: Option<String>,
}

impl Pause {
    /// Whether it still holds at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// How long finished jobs are kept. A job goes when any of the limits says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Completed and cancelled jobs go when older than this.
    #[serde(with = "crate::duration::human")]
    pub completed: Duration,
    /// Failed jobs go when older than this.
    #[serde(with = "crate::duration::human")]
    pub failed: Duration,
    /// Finished jobs beyond this many go, oldest first.
    pub count: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Retention {
            completed: Duration::from_secs(30 * 86_400),
            failed: Duration::from_secs(90 * 86_400),
            count: 10_000_000,
        }
    }
}

/// What may be set on a queue. On [`ALL_QUEUES`] only `paused` and `max_running` have a meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSettings {
    /// Nothing new is claimed while it holds.
    pub paused: Option<Pause>,
    /// Jobs of this queue that may run at once, on all nodes together.
    pub max_running: Option<u32>,
    /// Jobs of one key that may run at once.
    pub max_running_per_key: Option<u32>,
    /// Starts per time, all keys together.
    pub rate: Option<Rate>,
    /// Starts per time of one key.
    pub rate_per_key: Option<Rate>,
    /// Keys take turns, however many jobs each has waiting.
    pub fair: bool,
    /// How long its finished jobs are kept; the engine's default when absent.
    pub retention: Option<Retention>,
}

impl QueueSettings {
    /// What is wrong with them, as (field, text).
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        for (field, limit) in
            [("max_running", self.max_running), ("max_running_per_key", self.max_running_per_key)]
        {
            if limit == Some(0) {
                return Err((field, "must be at least 1; to stop a queue, pause it".into()));
            }
        }
        for (field, rate) in [("rate", &self.rate), ("rate_per_key", &self.rate_per_key)] {
            if let Some(rate) = rate {
                rate.check().map_err(|e| (field, e))?;
            }
        }
        Ok(())
    }
}
