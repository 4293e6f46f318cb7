//! What a job is to the person who writes one: a serialisable value with a `run`, and the words it
//! can answer with.
//!
//! A handler never touches the store's state of its job: it returns, and what follows is for
//! `decide` to choose. See [`crate::Context`] for what it may use while it runs.

use crate::context::Context;
use jiff::Timestamp;
use mainspring_core::Json;
use mainspring_core::decide::Outcome;
use mainspring_core::job::{DEFAULT_PRIORITY, DEFAULT_QUEUE, ErrorRecord, Unique};
use mainspring_core::retry::RetryPolicy;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::time::Duration;

/// A typed job: its fields are the payload, its `run` is the handler.
///
/// ```
/// use mainspring::{Context, Job, JobError};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Greet { name: String }
///
/// impl Job for Greet {
///     const KIND: &'static str = "greet";
///     type Output = String;
///     async fn run(self, cx: Context) -> Result<String, JobError> {
///         cx.info(format!("greeting {}", self.name));
///         Ok(format!("hello, {}", self.name))
///     }
/// }
/// ```
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The handler's name, kept in the store with every job: do not change it while jobs wait.
    const KIND: &'static str;
    /// The lane it goes to unless the caller says otherwise.
    const QUEUE: &'static str = DEFAULT_QUEUE;
    /// 0 (first) to 9 (last).
    const PRIORITY: u8 = DEFAULT_PRIORITY;
    /// How long one attempt may take; [`crate::registry::TIMEOUT`] when None.
    const TIMEOUT: Option<Duration> = None;
    /// What a successful attempt gives; at most [`mainspring_core::limits::OUTPUT`] bytes of JSON.
    type Output: Serialize + Send;

    /// How often it is tried, and with which waits.
    fn retry() -> RetryPolicy {
        RetryPolicy::default()
    }

    /// "At most one of these": see [`Unique`].
    fn unique(&self) -> Option<Unique> {
        None
    }

    /// Jobs with the same key share a queue's limits per key and take turns in a fair queue.
    fn key(&self) -> Option<String> {
        None
    }

    /// Does the work. May be dropped at any `await` (time-out, cancellation, shutdown), and may run
    /// again after a crash: what must not happen twice belongs in [`Context::step`] or carries
    /// [`Context::delivery_id`].
    fn run(self, cx: Context) -> impl Future<Output = Result<Self::Output, JobError>> + Send;
}

/// What a handler answers when it did not simply succeed.
///
/// `?` on any error gives [`JobError::Retry`] with the error's chain of causes. It is not itself a
/// `std::error::Error`, so that this conversion can exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobError {
    /// Failed; another attempt may help.
    Retry {
        /// What went wrong.
        error: ErrorRecord,
        /// Not before this much later, instead of the policy's wait.
        after: Option<Duration>,
    },
    /// Failed, and another attempt cannot help.
    Fatal(ErrorRecord),
    /// Ran out of time by its own count (an outside call that did not answer): outcome `timed_out`.
    TimedOut(ErrorRecord),
    /// Not now: call again at this instant. Costs no attempt.
    Snooze(Timestamp),
    /// Ends the job as cancelled, for this reason.
    Cancel(String),
    /// There was nothing to do, for this reason: the job is complete.
    Skip(String),
    /// Part of the work failed and shall not be tried again: the job is complete, as `partial`.
    Partial {
        /// What it gave.
        output: Option<Json>,
        /// How many parts failed.
        failures: u64,
    },
}

type Source = Box<dyn std::error::Error + Send + Sync>;

impl JobError {
    /// Failed; another attempt may help. Takes an error or a text.
    pub fn retry(error: impl Into<Source>) -> JobError {
        JobError::Retry { error: record("retryable", error.into().as_ref()), after: None }
    }

    /// Failed; try again not before `after`.
    pub fn retry_after(error: impl Into<Source>, after: Duration) -> JobError {
        JobError::Retry { error: record("retryable", error.into().as_ref()), after: Some(after) }
    }

    /// Failed for good. Takes an error or a text: `.map_err(JobError::fatal)?`.
    pub fn fatal(error: impl Into<Source>) -> JobError {
        JobError::Fatal(record("fatal", error.into().as_ref()))
    }

    /// Complete but for `failures` parts.
    pub fn partial(output: &impl Serialize, failures: u64) -> JobError {
        JobError::Partial { output: Json::of(output).ok(), failures }
    }

    /// The same error under another class, the word people filter by (`http_status`, `connect`, …).
    pub fn class(mut self, class: &str) -> JobError {
        match &mut self {
            JobError::Retry { error, .. } | JobError::Fatal(error) | JobError::TimedOut(error) => {
                error.class = mainspring_core::limits::cut(class, mainspring_core::limits::NAME);
            }
            _ => {}
        }
        self
    }

    /// What the engine makes of it.
    pub fn into_outcome(self) -> Outcome {
        match self {
            JobError::Retry { error, after } => Outcome::Failed { error, retryable: true, after },
            JobError::Fatal(error) => Outcome::Failed { error, retryable: false, after: None },
            JobError::TimedOut(error) => Outcome::TimedOut { error },
            JobError::Snooze(until) => Outcome::Snoozed { until },
            JobError::Cancel(reason) => Outcome::Cancelled { reason },
            JobError::Skip(reason) => Outcome::Skipped { reason },
            JobError::Partial { output, failures } => Outcome::Partial { output, failures },
        }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for JobError {
    fn from(error: E) -> Self {
        JobError::Retry { error: record("retryable", &error), after: None }
    }
}

/// An error with its causes, outermost first.
pub(crate) fn record(class: &str, error: &(dyn std::error::Error + 'static)) -> ErrorRecord {
    let causes = std::iter::successors(error.source(), |e| e.source());
    let chain = causes.take(mainspring_core::limits::ERROR_CHAIN).map(ToString::to_string).collect();
    ErrorRecord::new(class, &error.to_string(), chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot load the price list")]
    struct Outer(#[source] std::num::ParseIntError);

    fn fails() -> Result<(), JobError> {
        let text = "x1";
        let _: i32 = text.parse().map_err(Outer)?;
        Ok(())
    }

    #[test]
    fn the_question_mark_keeps_the_chain_and_may_retry() {
        let Err(JobError::Retry { error, after: None }) = fails() else { panic!("expected a retry") };
        assert_eq!(error.class, "retryable");
        assert_eq!(error.message, "cannot load the price list");
        assert_eq!(error.chain, ["invalid digit found in string"]);
    }

    #[test]
    fn every_answer_has_its_outcome() {
        let fatal = JobError::fatal("no such customer").class("not_found").into_outcome();
        let Outcome::Failed { error, retryable: false, .. } = fatal else { panic!("{fatal:?}") };
        assert_eq!((error.class.as_str(), error.message.as_str()), ("not_found", "no such customer"));
        let later = JobError::retry_after("busy", Duration::from_secs(9)).into_outcome();
        assert!(matches!(later, Outcome::Failed { retryable: true, after: Some(d), .. } if d.as_secs() == 9));
        let partial = JobError::partial(&[1, 2], 3).into_outcome();
        assert_eq!(partial, Outcome::Partial { output: Some(Json::trusted("[1,2]")), failures: 3 });
        assert!(matches!(JobError::Skip("none".into()).into_outcome(), Outcome::Skipped { .. }));
        assert!(matches!(JobError::Cancel("asked".into()).into_outcome(), Outcome::Cancelled { .. }));
        let until = mainspring_core::time::from_micros(5);
        assert_eq!(JobError::Snooze(until).into_outcome(), Outcome::Snoozed { until });
    }
}
