//! The built-in kinds: jobs for people who write no Rust. They are ordinary handlers in the
//! registry ([`crate::Handler`]); the engine knows nothing of them.
//!
//! - [`bulk`]: retry or cancel everything that matches.
//! - [`http`]: one request to the outside, through the guarded door, signed if asked for.
//! - [`command`]: one program of this host, off unless the configuration allows it, run by way of
//!   the [`launcher`].
//!
//! Both refuse a bad payload at the door (`Handler::check`), tell in advance what they would do
//! (`describe`, for previews), and give every failure a class people can filter by.

pub mod bulk;
pub mod command;
pub mod http;
pub mod launcher;
mod text;

use crate::context::{Context, Stop};
use crate::job::JobError;
use jiff::Timestamp;
use mainspring_core::Json;
use mainspring_core::job::LogLevel;
use serde::de::DeserializeOwned;

/// What a built-in kind sees of the attempt it runs for. [`Context`] is one; so is whatever tries a
/// payload out without a job.
pub trait Attempt: Sync {
    /// The same for every attempt of the job.
    fn delivery_id(&self) -> String;
    /// What a command finds in its environment: name without the prefix, value.
    fn facts(&self) -> Vec<(&'static str, String)>;
    /// What time it is.
    fn now(&self) -> Timestamp;
    /// How its end is asked for.
    fn stop(&self) -> &Stop;
    /// Where it stands in a trace, for whom it calls.
    fn traceparent(&self) -> Option<String> {
        None
    }
    /// The payload as it was enqueued, if secrets of the project were put into the one at hand.
    fn written(&self) -> Option<&Json> {
        None
    }
    /// Writes a line of its log.
    fn line(&self, level: LogLevel, text: &str);
}

impl Attempt for Context {
    fn written(&self) -> Option<&Json> {
        Context::written(self)
    }

    fn delivery_id(&self) -> String {
        Context::delivery_id(self)
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("JOB_ID", self.job_id().to_string()),
            ("ATTEMPT", self.attempt().to_string()),
            ("QUEUE", self.queue().to_owned()),
            ("DELIVERY_ID", Context::delivery_id(self)),
        ];
        facts.extend(self.scheduled_for().map(|at| ("SCHEDULED_FOR", at.to_string())));
        facts
    }

    fn now(&self) -> Timestamp {
        Context::now(self)
    }

    fn stop(&self) -> &Stop {
        Context::stop(self)
    }

    fn traceparent(&self) -> Option<String> {
        Context::traceparent(self)
    }

    fn line(&self, level: LogLevel, text: &str) {
        drop(self.log(level, text));
    }
}

/// Reads a payload; the error is fit for [`crate::Handler::check`].
fn read<T: DeserializeOwned>(payload: &Json) -> Result<T, (String, String)> {
    object(payload.as_str()).map_err(|e| ("payload".into(), e))
}

/// Reads a JSON object into a struct. A list is refused: serde would take its parts for the fields.
fn object<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    if !text.trim_start().starts_with('{') {
        return Err("is not a JSON object".into());
    }
    serde_json::from_str(text).map_err(|e| e.to_string())
}

/// A payload that was refused at the door must have come in by another one: it fails for good.
fn bad_payload((field, text): (String, String)) -> JobError {
    JobError::fatal(format!("{field}: {text}")).class("bad_payload")
}
