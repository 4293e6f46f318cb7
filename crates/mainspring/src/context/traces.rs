//! An attempt as a span: see [`crate::trace`].

use super::Context;
use crate::trace::{Place, Role, Span, Tracer};
use jiff::Timestamp;
use mainspring_core::decide::Outcome;

impl Context {
    /// Where this attempt stands in its job's trace, as the header `traceparent` says it: hand it to
    /// whom the handler calls. None unless traces are on.
    pub fn traceparent(&self) -> Option<String> {
        self.place().map(|place| place.to_string())
    }

    fn tracer(&self) -> &Tracer {
        self.inner.services.registry.tracer()
    }

    fn place(&self) -> Option<Place> {
        self.tracer().attempt(self.job_id(), self.attempt())
    }

    /// Hands the attempt over as a span; with the first one, the making of the job.
    pub(crate) fn trace(&self, outcome: &Outcome, at: Timestamp) {
        let tracer = self.tracer();
        let (Some(head), Some(place)) = (tracer.attempt(self.job_id(), 0), self.place()) else { return };
        let claimed = &self.inner.claimed;
        let span = |what: &str, role, place, parent, start, end| {
            Span {
                name: format!("{what} {}", claimed.queue),
                role,
                place,
                parent,
                start,
                end,
                attributes: vec![],
                links: vec![],
                error: None,
            }
            .with("messaging.system", "mainspring")
            .with("messaging.operation.name", what)
            .with("messaging.operation.type", what)
            .with("messaging.destination.name", &*claimed.queue)
            .with("messaging.message.id", self.job_id().to_string().as_str())
            .with("mainspring.job.kind", &*claimed.kind)
            .with("mainspring.project.id", claimed.project.0)
        };
        let made = claimed.created_at;
        if self.attempt() == 1 {
            tracer.take(span("create", Role::Producer, head, 0, made, made));
        }
        let (word, error) = told(outcome);
        let mut attempt = span("process", Role::Consumer, place, head.span, self.inner.started_at, at)
            .with("mainspring.job.attempt", i64::from(self.attempt()))
            .with("mainspring.attempt.outcome", word);
        if let Some((class, message)) = error {
            attempt = attempt.with("error.type", class);
            attempt.error = Some(mainspring_core::limits::cut(message, 1_000));
        }
        tracer.take(attempt);
    }
}

/// An outcome in a word, and what went wrong: class and text, which hold no known secret any more.
fn told(outcome: &Outcome) -> (&'static str, Option<(&str, &str)>) {
    match outcome {
        Outcome::Succeeded { .. } => ("succeeded", None),
        Outcome::Partial { .. } => ("partial", None),
        Outcome::Skipped { .. } => ("skipped", None),
        Outcome::Snoozed { .. } => ("snoozed", None),
        Outcome::Failed { error, .. } => ("failed", Some((&error.class, &error.message))),
        Outcome::TimedOut { error } => ("timed_out", Some((&error.class, &error.message))),
        Outcome::Cancelled { reason } => ("cancelled", Some(("cancelled", reason))),
        Outcome::Interrupted { reason } => ("interrupted", Some(("interrupted", reason))),
        _ => ("interrupted", Some(("lease_expired", "the lease was lost"))),
    }
}
