//! Schedules as a store keeps them. The rule itself (trigger, policies, job template) is JSON to
//! the store: only the planner reads it.

use crate::ids::{JobId, ProjectId, ScheduleId};
use crate::job::NewJob;
use crate::json::Json;
use crate::queue::Pause;
use crate::words::coded;
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;

coded! {
    /// How a nominal fire that made no job ended (one that made a job is told by that job).
    FireOutcome {
        /// Several fires became one late run; these are the others.
        Coalesced = 0 "coalesced",
        /// A rule kept it from running: overlap, pause, blackout, excluded day, limit, clock change.
        Skipped = 1 "skipped",
        /// Noticed too late, and the misfire policy lets it go.
        Missed = 2 "missed",
    }
}

/// One or more nominal fires in a row that ended alike without a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerRow {
    /// The first nominal fire.
    pub first: Timestamp,
    /// The last nominal fire; equal to `first` for one.
    pub last: Timestamp,
    /// How many.
    pub count: u64,
    /// How they ended.
    pub outcome: FireOutcome,
    /// Why: one short text, the same for all.
    pub reason: String,
}

/// A schedule to write: made or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutSchedule {
    /// Unique in the project.
    pub name: String,
    /// The rule.
    pub spec: Json,
    /// Its IANA zone, for the check after a zone data change.
    pub zone: String,
    /// Its next nominal fire; None when it will not fire by itself.
    pub next_fire: Option<Timestamp>,
    /// For a fixed delay after completion: the delay.
    pub after_completion: Option<Duration>,
    /// Who brought it: `config`, `cli`, `import`, `code`, `api`, `tour`.
    pub source: String,
}

/// A schedule as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScheduleRecord {
    /// Its number.
    pub id: ScheduleId,
    /// Its tenant.
    pub project: ProjectId,
    /// Its name.
    pub name: String,
    /// The rule.
    pub spec: Json,
    /// Its zone.
    pub zone: String,
    /// Its next nominal fire.
    pub next_fire: Option<Timestamp>,
    /// For a fixed delay after completion: the delay.
    #[serde(with = "crate::duration::human_option")]
    pub after_completion: Option<Duration>,
    /// Fires that made a job.
    pub fires: u64,
    /// The last nominal fire that made a job.
    pub last_fire: Option<Timestamp>,
    /// Its pause, if any (it may have ended: ask [`Pause::holds`]).
    pub paused: Option<Pause>,
    /// Rises with every change of the rule or the pause, not with a fire.
    pub version: i64,
    /// Who brought it.
    pub source: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A schedule that is due, with what the overlap policy must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueSchedule {
    /// The schedule.
    pub record: ScheduleRecord,
    /// Its jobs that are not final and were made by fires, oldest first, at most 100.
    pub live: Vec<(JobId, crate::job::JobState)>,
}

/// What one look at a due schedule writes, in one transaction: see `Store::fire`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FireWrite {
    /// The schedule.
    pub schedule: ScheduleId,
    /// Its version and next fire as read: if either has changed, nothing is written.
    pub version: i64,
    /// See `version`.
    pub expected_fire: Timestamp,
    /// The next fire from now on.
    pub next_fire: Option<Timestamp>,
    /// Jobs to enqueue; each with this schedule, its nominal fire and origin `Fire`.
    pub jobs: Vec<NewJob>,
    /// Fires that made no job.
    pub ledger: Vec<LedgerRow>,
    /// Jobs to cancel (overlap policy `replace`).
    pub replace: Vec<JobId>,
}

/// What became of a [`FireWrite`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fired {
    /// Written; the jobs in order. A duplicate is one that another had made already.
    Written(Vec<crate::job::Enqueued>),
    /// Another node was first, or the schedule was changed: nothing was written.
    Lost,
}
