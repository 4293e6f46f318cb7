//! What a client call can answer instead of doing what was asked.

use mainspring_core::StoreError;
use mainspring_core::code::Code;

/// A refusal or failure, with a code that has a page of its own.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// A value that cannot be used: nothing was written.
    #[error("{field}: {text}")]
    Invalid {
        /// Its code.
        code: Code,
        /// Which value: `kind`, `payload`, `trigger`, `jobs[3].queue`, …
        field: String,
        /// What was wrong with it and what to type instead.
        text: String,
    },
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ClientError {
    /// A value that breaks a limit.
    pub fn invalid(field: impl Into<String>, text: impl Into<String>) -> ClientError {
        ClientError::Invalid { code: Code::INVALID_VALUE, field: field.into(), text: text.into() }
    }

    /// A thing that is not there.
    pub fn not_found(what: &'static str, name: impl ToString) -> ClientError {
        StoreError::NotFound { what, name: name.to_string() }.into()
    }

    /// Its code.
    pub fn code(&self) -> Code {
        match self {
            ClientError::Invalid { code, .. } => *code,
            ClientError::Store(e) => e.code(),
        }
    }

    /// The field that was wrong, when it is about one.
    pub fn field(&self) -> Option<&str> {
        match self {
            ClientError::Invalid { field, .. } => Some(field),
            ClientError::Store(StoreError::Invalid { field, .. }) => Some(field),
            ClientError::Store(_) => None,
        }
    }

    /// Whether the same call may succeed later without anyone doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, ClientError::Store(e) if e.is_transient())
    }
}

/// The result of every client call.
pub type Result<T, E = ClientError> = std::result::Result<T, E>;
