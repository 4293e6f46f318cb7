//! Why a service did not take a message, told apart by what may follow.

use mainspring_outbound::Phase;
use std::time::Duration;

/// What may follow an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Not taken; another try may help, not before this much later when the service says so.
    Retry(Option<Duration>),
    /// Not taken, and the same again will not be.
    Fatal,
    /// The receiver is gone for good and asks to be left alone (410).
    Gone,
    /// It was sent and nobody knows whether it was taken: the connection ended before the answer.
    Unknown,
}

/// Why a service did not take a message. The text holds no secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    /// What may follow.
    pub class: Class,
    /// What happened.
    pub text: String,
}

/// The result of asking a service.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of a class.
    pub fn new(class: Class, text: impl Into<String>) -> Error {
        Error { class, text: text.into() }
    }

    /// Not taken, and the same again will not be.
    pub fn fatal(text: impl Into<String>) -> Error {
        Error::new(Class::Fatal, text)
    }

    /// Not taken; another try may help.
    pub fn retry(text: impl Into<String>) -> Error {
        Error::new(Class::Retry(None), text)
    }

    /// Whether the message may have been taken.
    pub fn is_unknown(&self) -> bool {
        self.class == Class::Unknown
    }
}

impl From<mainspring_outbound::Error> for Error {
    fn from(error: mainspring_outbound::Error) -> Error {
        use mainspring_outbound::Error as Out;
        let class = match &error {
            Out::Timeout { phase: Phase::Head | Phase::Body, .. } | Out::Protocol(_) | Out::TooLarge => {
                Class::Unknown
            }
            e if e.is_transient() => Class::Retry(None),
            _ => Class::Fatal,
        };
        Error::new(class, error.to_string())
    }
}
