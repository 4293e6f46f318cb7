//! Secrets of projects: kept sealed, named by jobs, never shown again.
//!
//! ```text
//! who sets one ▶ vault.put ▶ seal (key from file, environment or command) ▶ a row: key's id, nonce, sealed text
//! {"$secret": "github_token"} in a payload ▶ an attempt starts ▶ vault.resolve ▶ the handler sees the value
//!                                                      └▶ the project's redactor knows it from then on
//! ```
//!
//! - [`Keyring`] seals with AES-256-GCM; the project and the name are bound in, so that a row moved to
//!   another place does not open.
//! - [`Keys`] says where the key comes from, and reads it when it is first needed.
//! - [`Vault`] is the table with the rows, and where the values that this process has opened are
//!   remembered for [`crate::redact`].
//! - [`refs`] reads and replaces what payloads say.
//!
//! For other parts of the engine (alert channels, inbound hooks): keep nothing sealed in tables of your
//! own; `Vault::put` takes names with a slash (`channel/7`) which no list shows and no payload can name,
//! and turning the key over re-seals them with the rest.
//!
//! What is deliberately not here: who may set a secret (the web crate's `access`), and secrets of the
//! installation, which the environment holds (`kinds::http::sign`).

mod keyring;
mod keys;
pub mod refs;
mod vault;

pub use keyring::Keyring;
pub use keys::{Keys, Source};
pub use vault::{SecretRecord, Vault, check_name};

use mainspring_core::code::Code;
use mainspring_core::tables::TablesError;

/// A value that cannot be shown: no `Debug`, no `Display`, no `Serialize`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps `value`.
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    /// The value, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Why a secret could not be sealed, opened or found. No text of it holds a value or a key.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// There is no key, or what was found is none.
    #[error("{0}")]
    Key(String),
    /// It was sealed with another key than those at hand.
    #[error(
        "the secret {name:?} is sealed with the key {wanted}, but {place} holds {held}; put the older key beside it, or set the secret anew: mainspring secret set {name}"
    )]
    WrongKey {
        /// The secret's name.
        name: String,
        /// The id of the key it wants.
        wanted: String,
        /// Where keys were looked for.
        place: String,
        /// The ids of the keys there.
        held: String,
    },
    /// The key is right, the sealed text is not: it was changed, or belongs to another secret.
    #[error(
        "what is kept of the secret {0:?} was changed or belongs to another secret; set it anew: mainspring secret set {0}"
    )]
    Damaged(String),
    /// There is none of this name.
    #[error("there is no secret {0:?} in this project; set it: mainspring secret set {0}")]
    Unknown(String),
    /// A name or value that cannot be used.
    #[error("{field}: {text}")]
    Invalid {
        /// `name`, `value` or `payload`.
        field: &'static str,
        /// What was wrong and what to write instead.
        text: String,
    },
    /// The database.
    #[error(transparent)]
    Tables(#[from] TablesError),
}

impl SecretError {
    /// Its code.
    pub fn code(&self) -> Code {
        match self {
            SecretError::Key(_) | SecretError::WrongKey { .. } | SecretError::Damaged(_) => Code::SECRET_KEY,
            SecretError::Unknown(_) => Code::SECRET_UNKNOWN,
            SecretError::Invalid { .. } => Code::INVALID_VALUE,
            SecretError::Tables(e) => e.code(),
        }
    }

    /// Whether trying again later may help without anyone touching the secret: the database is away,
    /// or the key could not be had here and now.
    pub fn is_transient(&self) -> bool {
        match self {
            SecretError::Key(_) | SecretError::WrongKey { .. } => true,
            SecretError::Tables(e) => e.is_transient(),
            _ => false,
        }
    }
}

/// The result of everything in this module.
pub type Result<T, E = SecretError> = std::result::Result<T, E>;
