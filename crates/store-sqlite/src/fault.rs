//! What SQLite reports, in the engine's words: which errors pass, which are final, and what to do.

use mainspring_core::StoreError;
use rusqlite::{Error, ffi};

/// A statement that took more steps than [`mainspring_core::limits`] allow.
pub(crate) const TOO_LONG: &str =
    "it takes too long: give it an index that fits, or do it in several smaller parts";

/// The store error of a SQLite error on `file`.
pub(crate) fn of(error: Error, file: &str) -> StoreError {
    let Error::SqliteFailure(failure, ref text) = error else {
        return match error {
            Error::IntegralValueOutOfRange(..)
            | Error::FromSqlConversionFailure(..)
            | Error::InvalidColumnType(..) => StoreError::Damaged(format!(
                "{file} holds a value that no mainspring writes ({error}); run `mainspring doctor`"
            )),
            other => StoreError::Internal(other.to_string()),
        };
    };
    let text = text.clone().unwrap_or_else(|| failure.to_string());
    let extended = failure.extended_code;
    match extended & 0xff {
        ffi::SQLITE_FULL => StoreError::Full(file.into()),
        // The shared memory beside the file cannot grow: the same disk, the same cure.
        ffi::SQLITE_IOERR if extended == ffi::SQLITE_IOERR_SHMSIZE => StoreError::Full(file.into()),
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => {
            StoreError::Unavailable(format!("{file} is locked by another process ({text}); try again"))
        }
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => StoreError::Damaged(format!(
            "{file} is damaged ({text}); stop every process that uses it, keep a copy, and restore a \
             backup or run `sqlite3 {file} .recover`"
        )),
        ffi::SQLITE_READONLY | ffi::SQLITE_PERM | ffi::SQLITE_CANTOPEN | ffi::SQLITE_AUTH => {
            StoreError::Address(format!(
                "{file} cannot be opened for writing ({text}); check the permissions of the file and of \
                 its directory"
            ))
        }
        ffi::SQLITE_IOERR => StoreError::Internal(format!(
            "the disk failed under {file} ({text}); nothing more is written to it: check the disk, then \
             start again"
        )),
        ffi::SQLITE_INTERRUPT => StoreError::Invalid { field: "statement", text: TOO_LONG.into() },
        _ => StoreError::Internal(format!("{text} (SQLite code {extended})")),
    }
}

/// Whether the disk failed in a way after which nothing may be written any more: what a failed
/// fsync has lost cannot be known, and a second try would seem to succeed.
pub(crate) fn is_disk_failure(error: &Error) -> bool {
    matches!(error, Error::SqliteFailure(f, _)
        if f.extended_code & 0xff == ffi::SQLITE_IOERR && f.extended_code != ffi::SQLITE_IOERR_SHMSIZE)
}
