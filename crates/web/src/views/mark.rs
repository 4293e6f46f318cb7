//! States as they are shown: always an icon and a word, and a tone that repeats it.

use crate::jobs::JobView;
use mainspring_core::batch::BatchState;
use mainspring_core::job::{AttemptOutcome, JobState};

/// A state as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// A class of the stylesheet.
    pub tone: &'static str,
    /// An icon of the sprite.
    pub icon: &'static str,
    /// What it is called.
    pub word: &'static str,
}

/// A mark of these three.
pub const fn mark(tone: &'static str, icon: &'static str, word: &'static str) -> Mark {
    Mark { tone, icon, word }
}

/// Where a job stands.
pub fn job(job: &JobView) -> Mark {
    use AttemptOutcome as A;
    match (job.state, job.outcome) {
        (JobState::Scheduled, _) if job.retrying => mark("is-warn", "retry", "Waits to retry"),
        (JobState::Available, _) if job.held => mark("is-idle", "lock", "Held by its key"),
        (JobState::Running, _) if job.cancel_requested => mark("is-warn", "cancel", "Ending"),
        (JobState::Completed, Some(A::Partial)) => outcome(A::Partial),
        (JobState::Completed, Some(A::Skipped)) => outcome(A::Skipped),
        (JobState::Failed, Some(A::TimedOut)) => outcome(A::TimedOut),
        (state, _) => of_state(state),
    }
}

/// A job's state by itself.
pub fn of_state(state: JobState) -> Mark {
    match state {
        JobState::Scheduled => mark("is-idle", "wait", "Scheduled"),
        JobState::Available => mark("is-idle", "queue", "Waiting"),
        JobState::Running => mark("is-run", "run", "Running"),
        JobState::Completed => mark("is-ok", "ok", "Succeeded"),
        JobState::Cancelled => mark("is-idle", "cancel", "Cancelled"),
        JobState::Failed => mark("is-bad", "bad", "Failed"),
    }
}

/// How an attempt ended.
pub fn outcome(outcome: AttemptOutcome) -> Mark {
    use AttemptOutcome as A;
    match outcome {
        A::Succeeded => mark("is-ok", "ok", "Succeeded"),
        A::Partial => mark("is-warn", "part", "Partial"),
        A::Failed => mark("is-bad", "bad", "Failed"),
        A::TimedOut => mark("is-bad", "timeout", "Timed out"),
        A::Cancelled => mark("is-idle", "cancel", "Cancelled"),
        A::Interrupted => mark("is-warn", "warn", "Interrupted"),
        A::Snoozed => mark("is-idle", "schedule", "Snoozed"),
        A::Skipped => mark("is-idle", "skip", "Skipped"),
    }
}

/// Where a batch stands.
pub fn batch(state: BatchState) -> Mark {
    match state {
        BatchState::Open => mark("is-run", "run", "Open"),
        BatchState::Complete => mark("is-ok", "ok", "Complete"),
        BatchState::Partial => mark("is-warn", "part", "Partial"),
        BatchState::Failed => mark("is-bad", "bad", "Failed"),
    }
}
