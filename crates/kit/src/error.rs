//! What can go wrong with the kit.

use mainspring::ClientError;
use mainspring_core::tables::TablesError;

/// Why a call did nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KitError {
    /// The tables refused or could not be reached.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// The engine refused or could not be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What was given cannot be used.
    #[error("{field}: {text}")]
    Invalid {
        /// Which part of it.
        field: &'static str,
        /// What is wrong, and what would be right.
        text: String,
    },
    /// There is no such row in this project and pack.
    #[error("no {what} {name}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// Its name or number.
        name: String,
    },
    /// A budget would be exceeded.
    #[error("the budget {name} has {left} {unit} left until the end of {period}; {wanted} are wanted")]
    Exhausted {
        /// Its name.
        name: String,
        /// What it counts.
        unit: crate::budget::Unit,
        /// The day or month.
        period: String,
        /// What is left of it.
        left: i64,
        /// What was asked for.
        wanted: i64,
    },
}

/// The kit's own.
pub type Result<T, E = KitError> = std::result::Result<T, E>;

impl KitError {
    pub(crate) fn invalid(field: &'static str, text: impl Into<String>) -> KitError {
        KitError::Invalid { field, text: text.into() }
    }

    pub(crate) fn not_found(what: &'static str, name: impl ToString) -> KitError {
        KitError::NotFound { what, name: name.to_string() }
    }

    /// Whether the same call may succeed later, unchanged.
    pub fn is_transient(&self) -> bool {
        match self {
            KitError::Tables(e) => e.is_transient(),
            KitError::Client(e) => e.is_transient(),
            _ => false,
        }
    }
}
