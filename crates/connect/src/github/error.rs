//! Why GitHub gave no answer that can be used, told apart by what may follow.

use crate::error::{Class, Error as Plain};
use jiff::Timestamp;
use mainspring_outbound::Error as Out;
use serde::Deserialize;
use std::time::Duration;

/// What is wrong with a field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Field {
    /// Its name.
    #[serde(default)]
    pub field: String,
    /// `missing`, `invalid`, `already_exists`, …
    #[serde(default)]
    pub code: String,
    /// What GitHub says of it.
    #[serde(default)]
    pub message: String,
}

/// What may follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The token is not known, or it may not do this (401, 403).
    Auth,
    /// There is no such thing, or the token may not see it (404, 410, 451).
    NotFound,
    /// The request is wrong (400, 422), with the fields that are.
    Validation(Vec<Field>),
    /// Nothing is answered before then: a limit, or the host rests after failures.
    Until(Timestamp),
    /// It failed on their side or on the way; another try may help.
    Server,
    /// The answer is not what GitHub's description promises, or not allowed by our own settings.
    Broken,
}

/// Why there is no answer. The text holds no token.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    /// What may follow.
    pub problem: Problem,
    /// What happened.
    pub text: String,
}

impl Error {
    pub(super) fn new(problem: Problem, text: impl Into<String>) -> Error {
        Error { problem, text: text.into() }
    }

    /// The same for whoever only asks whether to try again; `now` turns an instant into a wait.
    pub fn plain(&self, now: Timestamp) -> Plain {
        let class = match &self.problem {
            Problem::Until(at) => {
                let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                Class::Retry(Some(wait.min(crate::AFTER)))
            }
            Problem::Server => Class::Retry(None),
            _ => Class::Fatal,
        };
        Plain::new(class, self.text.clone())
    }
}

impl From<Out> for Error {
    fn from(error: Out) -> Error {
        let problem = match error.until() {
            Some(until) => Problem::Until(until),
            None if error.is_transient() => Problem::Server,
            None => Problem::Broken,
        };
        Error::new(problem, error.to_string())
    }
}
