//! Events: immutable rows saying what is worth telling (failures, outcomes of schedules, acts of
//! people), written in the transaction that changes what they tell of. Not one per successful job.

use crate::batch::BatchState;
use crate::decide::{Next, Transition};
use crate::ids::{BatchId, JobId, ProjectId};
use crate::job::{AttemptOutcome, JobState};
use crate::json::Json;
use crate::schedule_record::{FireOutcome, LedgerRow};
use jiff::Timestamp;
use serde::Serialize;

/// An event to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewEvent {
    /// What happened: `job.failed`, `schedule.skipped`, `queue.paused`, `node.lost`, …
    pub name: String,
    /// What it happened to: `job/17`, `schedule/nightly`, `queue/mail`, `node/ab12`, `batch/3`.
    pub subject: String,
    /// Who did it, when a person or a program asked for it.
    pub actor: Option<String>,
    /// More, as a JSON object.
    pub data: Json,
}

/// Stands between an actor and the address they act from; no name holds it.
const FROM: char = '\u{1f}';

/// An actor with the network address they act from, for [`NewEvent::by`]: so every call that takes an
/// actor can tell both.
pub fn signed(actor: &str, from: &str) -> String {
    format!("{}{FROM}{from}", crate::limits::cut(actor, crate::limits::NAME))
}

/// An event as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Rises; a reader that tails never misses one behind its cursor.
    pub id: i64,
    /// Its tenant.
    pub project: ProjectId,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub event: NewEvent,
}

impl NewEvent {
    /// An event without an actor.
    pub fn new(name: &str, subject: String, data: serde_json::Value) -> NewEvent {
        NewEvent { name: name.into(), subject, actor: None, data: Json::trusted(data.to_string()) }
    }

    /// The same event, done by `actor`, as [`signed`] writes them: an address goes to the data, under
    /// `from`.
    pub fn by(mut self, actor: &str) -> NewEvent {
        let (actor, from) = actor.split_once(FROM).map_or((actor, None), |(who, from)| (who, Some(from)));
        self.actor = Some(crate::limits::cut(actor, crate::limits::NAME));
        if let (Some(from), serde_json::Value::Object(mut data)) = (from, self.data.value()) {
            data.insert("from".into(), from.into());
            self.data = Json::trusted(serde_json::Value::Object(data).to_string());
        }
        self
    }
}

/// The event of a finished attempt, if it is worth one: failures, time-outs, lost leases, final
/// cancellations, partial successes. `kind` and `queue` are the job's.
pub fn of_transition(t: &Transition, kind: &str, queue: &str) -> Option<NewEvent> {
    let name = match (&t.next, t.outcome) {
        (Next::Final { state: JobState::Failed, .. }, _) => "job.failed",
        (Next::Final { state: JobState::Cancelled, .. }, _) => "job.cancelled",
        (Next::Final { .. }, AttemptOutcome::Partial) => "job.partial",
        (Next::Final { .. }, _) => return None,
        (Next::Wait { .. }, AttemptOutcome::Snoozed) => return None,
        (Next::Wait { .. }, AttemptOutcome::Interrupted) => "job.interrupted",
        (Next::Wait { .. }, _) => "job.retrying",
    };
    let reason = match &t.next {
        Next::Final { reason, .. } => reason.clone(),
        Next::Wait { .. } => None,
    };
    Some(NewEvent::new(
        name,
        format!("job/{}", t.job),
        serde_json::json!({
            "kind": kind, "queue": queue, "attempt": t.attempt, "outcome": t.outcome,
            "reason": reason, "error": t.error.as_ref().map(|e| &e.message),
        }),
    ))
}

/// The event of a job that was cancelled while it waited (by a person, by `replace`, by expiry).
pub fn of_cancelled(job: JobId, kind: &str, queue: &str, reason: &str) -> NewEvent {
    NewEvent::new(
        "job.cancelled",
        format!("job/{job}"),
        serde_json::json!({ "kind": kind, "queue": queue, "reason": reason }),
    )
}

/// The event of a ledger row.
pub fn of_ledger(schedule: &str, row: &LedgerRow) -> NewEvent {
    let name = match row.outcome {
        FireOutcome::Coalesced => "schedule.coalesced",
        FireOutcome::Skipped => "schedule.skipped",
        FireOutcome::Missed => "schedule.missed",
    };
    NewEvent::new(
        name,
        format!("schedule/{schedule}"),
        serde_json::json!({
            "first": row.first, "last": row.last, "count": row.count, "reason": row.reason,
        }),
    )
}

/// The event of a batch that ended.
pub fn of_batch(id: BatchId, name: &str, state: BatchState) -> NewEvent {
    NewEvent::new(&format!("batch.{state}"), format!("batch/{id}"), serde_json::json!({ "name": name }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_tells_who_did_it_and_from_where() {
        let event = || NewEvent::new("queue.paused", "queue/mail".into(), serde_json::json!({ "note": "x" }));
        let from = event().by(&signed("ada", "192.0.2.7"));
        assert_eq!(from.actor.as_deref(), Some("ada"));
        assert_eq!(from.data.value(), serde_json::json!({ "note": "x", "from": "192.0.2.7" }));
        let plain = event().by("cli/ada");
        assert_eq!((plain.actor.as_deref(), plain.data), (Some("cli/ada"), event().data));
        let long = event().by(&signed(&"x".repeat(300), "::1"));
        assert_eq!(long.data.value()["from"], "::1", "a long name takes no address away");
    }
}
