//! The nouns of the queue: a job, its states, its attempts, a claimed attempt.
//!
//! Long because it is the one list of the words that everything else is written in.

use crate::ids::{BatchId, JobId, NodeId, ProjectId, ScheduleId};
use crate::json::Json;
use crate::limits;
use crate::retry::{Backoff, RetryPolicy};
use crate::words::coded;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

coded! {
    /// Where a job stands. "Retrying" is `Scheduled` with an attempt behind it: derived, so it
    /// cannot disagree.
    JobState {
        /// Waits for its time: enqueued for later, or for its next attempt.
        Scheduled = 0 "scheduled",
        /// May be claimed.
        Available = 1 "available",
        /// A node holds its lease.
        Running = 2 "running",
        /// Final: succeeded, partly succeeded or skipped.
        Completed = 3 "completed",
        /// Final: cancelled by someone, or expired.
        Cancelled = 4 "cancelled",
        /// Final: out of attempts, not retryable, or poison.
        Failed = 5 "failed",
    }
}

impl JobState {
    /// Whether nothing but a person's retry can change it any more.
    pub const fn is_final(self) -> bool {
        matches!(self, JobState::Completed | JobState::Cancelled | JobState::Failed)
    }
}

coded! {
    /// How one attempt ended.
    AttemptOutcome {
        /// Done.
        Succeeded = 0 "succeeded",
        /// Done in part; the engine does not retry it.
        Partial = 1 "partial",
        /// The handler failed.
        Failed = 2 "failed",
        /// The handler ran out of time.
        TimedOut = 3 "timed_out",
        /// Somebody cancelled it, or the handler asked for it.
        Cancelled = 4 "cancelled",
        /// The node went away: a deploy or a lost lease. Not the job's fault.
        Interrupted = 5 "interrupted",
        /// The handler asked to be called later.
        Snoozed = 6 "snoozed",
        /// The handler found nothing to do.
        Skipped = 7 "skipped",
    }
}

coded! {
    /// What made a job.
    Origin {
        /// A client's call.
        Enqueue = 0 "enqueue",
        /// A fire of a schedule.
        Fire = 1 "fire",
        /// A person's "run now": never counts as a fire.
        Manual = 2 "manual",
        /// A backfill of past fires.
        Backfill = 3 "backfill",
        /// The end of a batch.
        FollowUp = 4 "follow_up",
    }
}

/// The states in which a holder of a unique key keeps others out: a set of [`JobState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UniqueStates(pub u8);

impl UniqueStates {
    /// While the holder is scheduled, available or running: the default.
    pub const LIVE: UniqueStates = UniqueStates(0b000_111);
    /// In every state: with a period, "at most once an hour, however it ended".
    pub const ANY: UniqueStates = UniqueStates(0b111_111);

    /// The set of `states`.
    pub fn of(states: &[JobState]) -> Self {
        UniqueStates(states.iter().fold(0, |set, s| set | 1 << s.code()))
    }

    /// Whether `state` is in the set.
    pub fn has(self, state: JobState) -> bool {
        self.0 & (1 << state.code()) != 0
    }
}

/// "At most one of these": an enqueue that finds a holder returns the holder instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unique {
    /// The key, unique within the project. [`crate::limits::KEY`] characters at most.
    pub key: String,
    /// For how long after the holder's enqueue the key holds; without it, for ever.
    #[serde(default, with = "crate::duration::human_option")]
    pub period: Option<Duration>,
    /// The holder's states in which the key holds.
    pub states: UniqueStates,
}

/// The default queue.
pub const DEFAULT_QUEUE: &str = "default";
/// The default priority. 0 is served first, 9 last.
pub const DEFAULT_PRIORITY: u8 = 5;

/// A job to be. Build one with [`NewJob::new`] and set what differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// The handler's name.
    pub kind: Arc<str>,
    /// The named lane with limits.
    pub queue: Arc<str>,
    /// The handler's input.
    pub payload: Json,
    /// 0 (first) to 9 (last); a level weighs [`limits::PRIORITY_AGE`] of waiting, so nothing starves.
    pub priority: u8,
    /// Not before; at once when absent or past.
    pub run_at: Option<Timestamp>,
    /// Not started at or after this: cancelled with reason `expired` instead.
    pub expires_at: Option<Timestamp>,
    /// An attempt that takes longer ends as `timed_out`. None: the kind's own limit.
    pub timeout: Option<Duration>,
    /// How often, and with which waits.
    pub retry: RetryPolicy,
    /// Jobs with the same key share the queue's per-key limits and take turns in a fair queue.
    pub key: Option<Arc<str>>,
    /// At most this many jobs of the key run at once, whatever the queue says (the smaller wins).
    pub key_limit: Option<u32>,
    /// At most one of these.
    pub unique: Option<Unique>,
    /// The batch it belongs to.
    pub batch: Option<BatchId>,
    /// The schedule that made it, and the nominal fire when `origin` is a fire or a backfill.
    pub schedule: Option<(ScheduleId, Option<Timestamp>)>,
    /// What made it.
    pub origin: Origin,
}

impl NewJob {
    /// A job of `kind` in the default queue, due at once, with the default policy.
    pub fn new(kind: impl Into<Arc<str>>, payload: Json) -> NewJob {
        NewJob {
            kind: kind.into(),
            queue: DEFAULT_QUEUE.into(),
            payload,
            priority: DEFAULT_PRIORITY,
            run_at: None,
            expires_at: None,
            timeout: None,
            retry: RetryPolicy::default(),
            key: None,
            key_limit: None,
            unique: None,
            batch: None,
            schedule: None,
            origin: Origin::Enqueue,
        }
    }

    /// What is wrong with it, as (field, text); stores may rely on it having been called.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        check_name(&self.kind).map_err(|e| ("kind", e))?;
        check_name(&self.queue).map_err(|e| ("queue", e))?;
        if self.payload.as_str().len() > limits::PAYLOAD {
            return Err((
                "payload",
                format!(
                    "{} bytes, at most {} are allowed; store the data elsewhere and pass a reference",
                    self.payload.as_str().len(),
                    limits::PAYLOAD
                ),
            ));
        }
        if self.priority > 9 {
            return Err(("priority", format!("{} is not in 0 (first) to 9 (last)", self.priority)));
        }
        if self.retry.max_attempts == 0 || self.retry.max_attempts > limits::ATTEMPTS {
            return Err(("max_attempts", format!("must be 1 to {}", limits::ATTEMPTS)));
        }
        self.retry.backoff.check().map_err(|e| ("backoff", e))?;
        if self.timeout.is_some_and(|t| t.is_zero()) {
            return Err(("timeout", "must be longer than zero".into()));
        }
        if self.key_limit == Some(0) {
            return Err(("key_limit", "must be at least 1".into()));
        }
        for (field, key) in
            [("key", self.key.as_deref()), ("unique", self.unique.as_ref().map(|u| u.key.as_str()))]
        {
            if let Some(key) = key {
                check_key(key).map_err(|e| (field, e))?;
            }
        }
        Ok(())
    }
}

/// A name of a project, queue, kind, schedule, step: 1 to 200 characters, no blanks at the ends,
/// no control characters, and not `*` (which means "all").
pub fn check_name(name: &str) -> Result<(), String> {
    let shown = limits::cut(name, 60);
    if name.is_empty() {
        Err("is empty; a name has 1 to 200 characters".into())
    } else if name.chars().count() > limits::NAME {
        Err(format!("{shown:?} has more than {} characters", limits::NAME))
    } else if name != name.trim() {
        Err(format!("{shown:?} begins or ends with a blank"))
    } else if name.chars().any(char::is_control) {
        Err(format!("{shown:?} contains a control character"))
    } else if name == "*" {
        Err("\"*\" means all and is not a name".into())
    } else {
        Ok(())
    }
}

fn check_key(key: &str) -> Result<(), String> {
    if key.is_empty() {
        Err("is empty".into())
    } else if key.chars().count() > limits::KEY {
        Err(format!("has more than {} characters; use a hash of it", limits::KEY))
    } else if key.chars().any(char::is_control) {
        Err("contains a control character".into())
    } else {
        Ok(())
    }
}

/// What an enqueue made or found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Enqueued {
    /// The job: new, or the holder of its unique key or fire.
    pub id: JobId,
    /// True when it was there already and nothing was written.
    pub duplicate: bool,
}

/// What the engine must know to decide what follows an attempt: see [`crate::decide`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The job and the attempt: together the fencing token.
    pub job: JobId,
    /// Numbered from 1.
    pub attempt: u32,
    /// Attempts in all, before restored ones.
    pub max_attempts: u32,
    /// Attempts given back (interrupted, snoozed, retried by a person): the budget is
    /// `max_attempts + raised`, failures so far are `attempt - raised`.
    pub raised: u32,
    /// How many workers died with it.
    pub deaths: u32,
    /// The wait before the next attempt.
    pub backoff: Backoff,
    /// Whether running out of time is retried.
    pub retry_timeouts: bool,
    /// Somebody asked for its end.
    pub cancel_requested: bool,
}

/// One attempt handed to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Token and policy.
    pub facts: Facts,
    /// Its tenant.
    pub project: ProjectId,
    /// The handler's name.
    pub kind: Arc<str>,
    /// Its lane.
    pub queue: Arc<str>,
    /// The handler's input.
    pub payload: Json,
    /// Its own time limit.
    pub timeout: Option<Duration>,
    /// Its concurrency key.
    pub key: Option<Arc<str>>,
    /// Its batch.
    pub batch: Option<BatchId>,
    /// Its schedule and nominal fire.
    pub schedule: Option<(ScheduleId, Option<Timestamp>)>,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When it became due the last time.
    pub run_at: Timestamp,
}

/// What went wrong, for people and for filters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRecord {
    /// One word: `retryable`, `fatal`, `panic`, `timeout`, `lease_expired`, `poison`, `exit_code`,
    /// `http_status`, `connect`, `output_too_large`, `bad_payload`, …
    pub class: String,
    /// The first line people see.
    pub message: String,
    /// Its causes, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
}

impl ErrorRecord {
    /// An error cut to [`limits::ERROR_TEXT`]; NUL characters, which PostgreSQL cannot keep,
    /// become U+FFFD.
    pub fn new(class: &str, message: &str, chain: Vec<String>) -> ErrorRecord {
        let clean = |t: &str, max| limits::cut(&t.replace('\0', "\u{fffd}"), max);
        ErrorRecord {
            class: clean(class, limits::NAME),
            message: clean(message, limits::ERROR_TEXT / 2),
            chain: chain
                .iter()
                .take(limits::ERROR_CHAIN)
                .map(|c| clean(c, limits::ERROR_TEXT / 2 / limits::ERROR_CHAIN))
                .collect(),
        }
    }
}

/// How far a running job has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all, when known.
    pub total: Option<u64>,
    /// What it is doing now.
    pub note: Option<String>,
}

/// A job as it stands: every column, for readers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobRecord {
    /// Its number.
    pub id: JobId,
    /// Its tenant.
    pub project: ProjectId,
    /// The handler's name.
    pub kind: Arc<str>,
    /// Its lane.
    pub queue: Arc<str>,
    /// Where it stands.
    pub state: JobState,
    /// Why it stands there, when there is more to say: `expired`, `out of attempts`, `poison: …`.
    pub reason: Option<String>,
    /// 0 first, 9 last.
    pub priority: u8,
    /// The handler's input.
    pub payload: Json,
    /// What made it.
    pub origin: Origin,
    /// The last attempt's number; 0 before the first.
    pub attempt: u32,
    /// Attempts in all, before restored ones.
    pub max_attempts: u32,
    /// Attempts given back.
    pub raised: u32,
    /// Workers that died with it.
    pub deaths: u32,
    /// How the last finished attempt ended.
    pub outcome: Option<AttemptOutcome>,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When it is or was due.
    pub run_at: Timestamp,
    /// When its last attempt was claimed.
    pub started_at: Option<Timestamp>,
    /// When it became final.
    pub finished_at: Option<Timestamp>,
    /// Who holds or held its last attempt.
    pub node: Option<NodeId>,
    /// Not started at or after this.
    pub expires_at: Option<Timestamp>,
    /// Its own time limit.
    #[serde(with = "crate::duration::human_option")]
    pub timeout: Option<Duration>,
    /// Its policy as enqueued.
    pub retry: RetryPolicy,
    /// Its concurrency key.
    pub key: Option<Arc<str>>,
    /// Held back because its key is at its limit.
    pub held: bool,
    /// Its unique key.
    pub unique: Option<String>,
    /// Its batch.
    pub batch: Option<BatchId>,
    /// Its schedule.
    pub schedule: Option<ScheduleId>,
    /// Its nominal fire.
    pub scheduled_for: Option<Timestamp>,
    /// Somebody asked for its end while it ran.
    pub cancel_requested: bool,
    /// The last error.
    pub error: Option<ErrorRecord>,
    /// What it gave.
    pub output: Option<Json>,
}

/// One attempt as history shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// Who ran it.
    pub node: Option<NodeId>,
    /// When it was claimed.
    pub started_at: Timestamp,
    /// When it ended; absent while it runs.
    pub finished_at: Option<Timestamp>,
    /// How it ended; absent while it runs.
    pub outcome: Option<AttemptOutcome>,
    /// What went wrong.
    pub error: Option<ErrorRecord>,
}

coded! {
    /// How much a log line matters.
    LogLevel {
        /// For the author.
        Debug = 0 "debug",
        /// For the record.
        Info = 1 "info",
        /// Somebody should look some day.
        Warn = 2 "warn",
        /// Something failed.
        Error = 3 "error",
    }
}

/// One line of an attempt's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: u32,
    /// From 0 within the attempt; the same (job, attempt, seq) twice is written once.
    pub seq: u32,
    /// When.
    pub at: Timestamp,
    /// How much it matters.
    pub level: LogLevel,
    /// The text, cut to [`limits::LOG_LINE`].
    pub message: String,
    /// Structured fields: a JSON object.
    pub fields: Option<Json>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_words_go_both_ways() {
        for s in JobState::ALL {
            assert_eq!(JobState::from_code(s.code().into()), Some(*s));
            assert_eq!(s.as_str().parse::<JobState>(), Ok(*s));
        }
        assert!("done".parse::<JobState>().unwrap_err().contains("completed"));
        assert!(UniqueStates::LIVE.has(JobState::Running) && !UniqueStates::LIVE.has(JobState::Failed));
    }

    #[test]
    fn a_new_job_is_checked_field_by_field() {
        let ok = NewJob::new("mail", Json::null());
        assert_eq!(ok.check(), Ok(()));
        let field = |change: fn(&mut NewJob)| {
            let mut job = NewJob::new("mail", Json::null());
            change(&mut job);
            job.check().unwrap_err().0
        };
        assert_eq!(field(|j| j.kind = "".into()), "kind");
        assert_eq!(field(|j| j.queue = "*".into()), "queue");
        assert_eq!(field(|j| j.priority = 10), "priority");
        assert_eq!(field(|j| j.retry.max_attempts = 0), "max_attempts");
        assert_eq!(field(|j| j.retry.backoff = Backoff::Steps(vec![])), "backoff");
        assert_eq!(field(|j| j.timeout = Some(Duration::ZERO)), "timeout");
        assert_eq!(field(|j| j.key = Some("k".repeat(501).into())), "key");
        assert_eq!(field(|j| j.payload = Json::of(&"x".repeat(limits::PAYLOAD)).unwrap()), "payload");
    }
}
