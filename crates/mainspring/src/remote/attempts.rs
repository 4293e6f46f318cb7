//! What a worker says of an attempt it holds, and how it ended: through the same `decide` and the same
//! fenced `finish` as for any other.

use super::{Desk, Inner, Refusal, Result, callback};
use crate::context::StopReason;
use crate::engine::NodeEvent;
use crate::job::JobError;
use crate::registry::check_output;
use crate::run::outcome_of;
use jiff::Timestamp;
use mainspring_core::decide::{Next, Outcome, decide};
use mainspring_core::ids::{JobId, NodeId, ProjectId};
use mainspring_core::job::{ErrorRecord, Facts, JobRecord, JobState, LogLevel, LogLine, Progress};
use mainspring_core::store::{Finished, JobFilter};
use mainspring_core::{Json, limits, time};
use std::time::Duration;

/// Lines one call may bring.
pub const LINES: usize = 500;
/// The longest wait that a worker may ask for.
pub const AFTER: Duration = Duration::from_secs(30 * 86_400);

/// One line of a log.
#[derive(Clone, Debug)]
pub struct Line {
    /// From 0 within the attempt; the same number twice is written once.
    pub seq: u32,
    /// When; now if absent.
    pub at: Option<Timestamp>,
    /// How much it matters.
    pub level: LogLevel,
    /// The text.
    pub message: String,
    /// Structured fields: a JSON object.
    pub fields: Option<Json>,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// It is done.
    Succeeded(Option<Json>),
    /// It is done in part: what it gave, and how many parts failed.
    Partial(Option<Json>, u64),
    /// There was nothing to do, for this reason.
    Skipped(String),
    /// Not now: again after this. Costs no attempt.
    Snoozed(Duration),
    /// It ended itself, or heeded a cancellation.
    Cancelled(String),
    /// The worker goes away and gives it back. Costs no attempt.
    Interrupted(String),
    /// It failed.
    Failed {
        /// How.
        error: ErrorRecord,
        /// Whether another attempt may help.
        retry: bool,
        /// Not before this much later, instead of the policy's wait.
        after: Option<Duration>,
    },
}

/// What became of an attempt that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Where the job stands now.
    pub state: JobState,
    /// When it runs again, if it does.
    pub again: Option<Timestamp>,
}

/// Whose words are to be believed.
#[derive(Clone, Copy, Debug)]
pub enum Holder<'a> {
    /// A worker and one of its leases.
    Worker {
        /// What it calls itself.
        worker: &'a str,
        /// The lease.
        lease: &'a str,
    },
    /// Whoever was told a call-back's token.
    CallBack {
        /// The job.
        job: JobId,
        /// The token.
        token: &'a str,
    },
}

/// An attempt that runs in somebody's hands.
struct Held {
    record: JobRecord,
    /// Where its lines are numbered from.
    first_line: u32,
}

impl Desk {
    /// The attempt that is meant, if it still runs and is the holder's.
    async fn held(&self, project: ProjectId, holder: Holder<'_>) -> Result<Held> {
        let (job, attempt, node) = match holder {
            Holder::Worker { worker, lease } => {
                let node = self.node_of(project, worker).await?;
                let opened = self.seals().await?.opened(project, node, lease);
                let (job, attempt) = opened.ok_or(Refusal::LeaseGone)?;
                (job, attempt, Some(node))
            }
            Holder::CallBack { job, token } => {
                let attempt = self.seals().await?.called_back(project, job, token);
                (job, attempt.ok_or(Refusal::NoCallBack)?, None)
            }
        };
        let filter = JobFilter { ids: vec![job], ..JobFilter::default() };
        let found = self.store().jobs(project, &filter, None, 1).await?.rows.pop();
        let record = found.ok_or(Refusal::LeaseGone)?;
        let its = record.state == JobState::Running && record.attempt == attempt;
        if !its || node.is_some_and(|node| record.node != Some(node)) {
            return Err(Refusal::LeaseGone);
        }
        let first_line = if node.is_some() { 0 } else { callback::FIRST_LINE };
        Ok(Held { record, first_line })
    }

    /// Refuses a token that was not made for this job, before what was sent is looked at.
    pub async fn invited(&self, project: ProjectId, job: JobId, token: &str) -> Result<()> {
        let attempt = self.seals().await?.called_back(project, job, token);
        attempt.map(drop).ok_or(Refusal::NoCallBack)
    }

    /// Writes log lines. Those beyond [`limits::LOG_LINES`] are dropped, which one more line says.
    pub async fn log(&self, project: ProjectId, holder: Holder<'_>, lines: Vec<Line>) -> Result<()> {
        if lines.len() > LINES {
            return Err(Refusal::invalid(
                "lines",
                format!("{} lines, at most {LINES} in one call", lines.len()),
            ));
        }
        let Held { record, first_line } = self.held(project, holder).await?;
        let cap = limits::LOG_LINES as u32;
        let line = |line: Line| {
            let seq = line.seq.saturating_add(first_line).min(cap);
            let at = time::trunc(line.at.unwrap_or_else(|| self.now()));
            let plain = LogLine {
                job: record.id,
                attempt: record.attempt,
                seq,
                at,
                level: LogLevel::Warn,
                message: format!("more than {cap} lines: the rest of this attempt's log was dropped"),
                fields: None,
            };
            match seq < cap {
                true => LogLine {
                    level: line.level,
                    message: limits::cut(&self.clean(project, &line.message), limits::LOG_LINE),
                    fields: line.fields.map(|fields| self.fields(project, fields)),
                    ..plain
                },
                false => plain,
            }
        };
        let lines: Vec<LogLine> = lines.into_iter().map(line).collect();
        Ok(self.store().append_logs(self.now(), lines).await?)
    }

    /// Tells how far an attempt is; true when somebody asked for its end.
    pub async fn progress(
        &self,
        project: ProjectId,
        holder: Holder<'_>,
        done: u64,
        total: Option<u64>,
        note: Option<String>,
    ) -> Result<bool> {
        let Held { record, .. } = self.held(project, holder).await?;
        let note = note.map(|note| limits::cut(&self.clean(project, &note), limits::NOTE));
        let progress = Progress { done, total, note };
        match self.store().set_progress(self.now(), record.id, record.attempt, progress).await? {
            Finished::Applied => Ok(record.cancel_requested),
            Finished::Stale => Err(Refusal::LeaseGone),
        }
    }

    /// An attempt has ended. What follows is for `decide` to say.
    pub async fn finish(&self, project: ProjectId, holder: Holder<'_>, ending: Ending) -> Result<Settled> {
        let Held { record, .. } = self.held(project, holder).await?;
        let asked = record.cancel_requested.then_some(StopReason::Cancelled);
        let outcome = match ending {
            Ending::Interrupted(reason) => Outcome::Interrupted { reason },
            other => outcome_of(answer(other, self.now()), asked),
        };
        settle(&self.0, project, &facts(&record), outcome, Some(&record)).await
    }

    fn clean(&self, project: ProjectId, text: &str) -> String {
        self.0.vault.redactor(project).text(text).replace('\0', "\u{fffd}")
    }

    fn fields(&self, project: ProjectId, fields: Json) -> Json {
        let fields = self.0.vault.redactor(project).json(fields);
        if fields.as_str().len() <= limits::LOG_LINE {
            return fields;
        }
        Json::trusted(format!("{{\"dropped\":\"{} bytes of fields\"}}", fields.as_str().len()))
    }
}

/// What a handler would have answered.
fn answer(ending: Ending, now: Timestamp) -> Result<Option<Json>, JobError> {
    let later = |after: Duration| after.min(AFTER);
    Err(match ending {
        Ending::Succeeded(output) => return check_output(output),
        Ending::Partial(output, failures) => JobError::Partial { output, failures },
        Ending::Skipped(reason) => JobError::Skip(reason),
        Ending::Snoozed(after) => JobError::Snooze(time::plus(now, later(after))),
        Ending::Cancelled(reason) | Ending::Interrupted(reason) => JobError::Cancel(reason),
        Ending::Failed { error, retry: true, after } => JobError::Retry { error, after: after.map(later) },
        Ending::Failed { error, retry: false, .. } => JobError::Fatal(error),
    })
}

/// What `decide` must know of a job that runs.
pub(crate) fn facts(job: &JobRecord) -> Facts {
    Facts {
        job: job.id,
        attempt: job.attempt,
        max_attempts: job.max_attempts,
        raised: job.raised,
        deaths: job.deaths,
        backoff: job.retry.backoff.clone(),
        retry_timeouts: job.retry.retry_timeouts,
        cancel_requested: job.cancel_requested,
    }
}

/// Decides, writes, and wakes who may have something to do now.
pub(super) async fn settle(
    desk: &Inner,
    project: ProjectId,
    facts: &Facts,
    outcome: Outcome,
    told: Option<&JobRecord>,
) -> Result<Settled> {
    let now = desk.client.now();
    let outcome = desk.vault.redactor(project).outcome(outcome);
    let transition = decide(facts, outcome, now, desk.entropy.chance());
    let settled = match &transition.next {
        Next::Final { state, .. } => Settled { state: *state, again: None },
        Next::Wait { run_at, .. } if *run_at <= transition.finished_at => {
            Settled { state: JobState::Available, again: Some(*run_at) }
        }
        Next::Wait { run_at, .. } => Settled { state: JobState::Scheduled, again: Some(*run_at) },
    };
    let reason = transition.error.as_ref().map(|e| e.message.clone());
    let ended = transition.outcome;
    let finished = desk.client.store().finish(now, vec![transition]).await?;
    if finished.first() != Some(&Finished::Applied) {
        return Err(Refusal::LeaseGone);
    }
    desk.outside.ring();
    if let Some(engine) = &desk.engine {
        engine.signals.dispatch.notify_one();
        engine.signals.promote.notify_one();
        engine.events.tell(|| NodeEvent::Finished {
            job: facts.job,
            attempt: facts.attempt,
            kind: told.map_or_else(|| "".into(), |job| job.kind.clone()),
            schedule: told.and_then(|job| job.schedule),
            outcome: ended,
            again: settled.again,
            reason,
            took: told.and_then(|job| job.started_at).map_or(Duration::ZERO, |at| time::since(at, now)),
        });
    }
    Ok(settled)
}

/// The node that people see as the holder of what waits for its call-back.
pub(crate) fn is_call_back(node: Option<NodeId>) -> bool {
    node == Some(callback::NODE)
}
