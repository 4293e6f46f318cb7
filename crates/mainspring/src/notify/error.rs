//! Why a channel, a delivery or a notification could not be read or changed.

use crate::secrets::SecretError;
use mainspring_core::StoreError;
use mainspring_core::code::Code;
use mainspring_core::tables::TablesError;

/// Why nothing was done. No text of it holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// A value that cannot be used.
    #[error("{field}: {text}")]
    Invalid {
        /// Which.
        field: String,
        /// What was wrong and what to write instead.
        text: String,
    },
    /// There is none, or it belongs to another project.
    #[error("there is no {what} {name}")]
    NotFound {
        /// `channel`, `delivery`, `notification`.
        what: &'static str,
        /// Its number.
        name: String,
    },
    /// The name is another channel's.
    #[error("there is a channel {0:?} already; take another name")]
    Taken(String),
    /// The secret could not be sealed or opened.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The database.
    #[error(transparent)]
    Tables(#[from] TablesError),
}

/// The result of what this module does.
pub type Result<T, E = NotifyError> = std::result::Result<T, E>;

impl NotifyError {
    pub(super) fn invalid(field: &str, text: impl Into<String>) -> NotifyError {
        NotifyError::Invalid { field: field.to_owned(), text: text.into() }
    }

    pub(super) fn not_found(what: &'static str, name: impl std::fmt::Display) -> NotifyError {
        NotifyError::NotFound { what, name: name.to_string() }
    }

    /// Its code.
    pub fn code(&self) -> Code {
        match self {
            NotifyError::Invalid { .. } => Code::INVALID_VALUE,
            NotifyError::NotFound { .. } => Code::NOT_FOUND,
            NotifyError::Taken(_) => Code::CONFLICT,
            NotifyError::Secret(e) => e.code(),
            NotifyError::Tables(e) => e.code(),
        }
    }
}

impl From<StoreError> for NotifyError {
    fn from(e: StoreError) -> NotifyError {
        NotifyError::Tables(e.into())
    }
}
