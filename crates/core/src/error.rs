//! What can go wrong between the engine and its store.

use crate::code::Code;

/// A store's refusal or failure. Each carries a code with a page under `docs/errors`.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database cannot be reached or went away: nothing is known to be written, try again.
    /// A node backs off and goes on; a command reports it.
    #[error("the database is not reachable: {0}")]
    Unavailable(String),
    /// The database did not answer in time; whether it wrote is unknown.
    #[error("the database did not answer within {0}")]
    Timeout(String),
    /// No room left on the disk.
    #[error("the disk of the store is full: {0}; free some space, nothing acknowledged is lost")]
    Full(String),
    /// Another process runs jobs on this SQLite file.
    #[error("{0}")]
    InUse(String),
    /// The file or database is not Mainspring's.
    #[error("{0}")]
    Foreign(String),
    /// The file is damaged.
    #[error("{0}")]
    Damaged(String),
    /// The schema is newer than this program, or a migration was altered.
    #[error("{0}")]
    Schema(String),
    /// The store's address cannot be used.
    #[error("{0}")]
    Address(String),
    /// There is no such thing in this project.
    #[error("no {what} {name}")]
    NotFound {
        /// The noun: `job`, `schedule`, `queue`, `batch`.
        what: &'static str,
        /// Its name or number.
        name: String,
    },
    /// It is there, but not in a state that allows this.
    #[error("{0}")]
    Conflict(String),
    /// A value breaks a limit.
    #[error("{field}: {text}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What was wrong and what is allowed.
        text: String,
    },
    /// A mistake of ours or of the database's: the text says where.
    #[error("the store failed: {0}")]
    Internal(String),
}

impl StoreError {
    /// Whether the same call may succeed later without anyone doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::Timeout(_) | StoreError::Full(_))
    }

    /// Its code.
    pub fn code(&self) -> Code {
        match self {
            StoreError::Unavailable(_) => Code::STORE_UNAVAILABLE,
            StoreError::Timeout(_) => Code::STORE_TIMEOUT,
            StoreError::Full(_) => Code::STORE_FULL,
            StoreError::InUse(_) => Code::STORE_IN_USE,
            StoreError::Foreign(_) => Code::STORE_FOREIGN,
            StoreError::Damaged(_) => Code::STORE_DAMAGED,
            StoreError::Schema(_) => Code::STORE_SCHEMA,
            StoreError::Address(_) => Code::STORE_ADDRESS,
            StoreError::NotFound { .. } => Code::NOT_FOUND,
            StoreError::Conflict(_) => Code::CONFLICT,
            StoreError::Invalid { .. } => Code::INVALID_VALUE,
            StoreError::Internal(_) => Code::STORE_INTERNAL,
        }
    }
}

/// The result of every store call.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;
