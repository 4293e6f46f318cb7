//! One transaction of the writer as the verbs see it, and how a verb may fail in it.

use crate::fault;
use crate::names::{Names, QueueIx};
use mainspring_core::StoreError;
use mainspring_core::batch::BatchCounts;
use mainspring_core::claim::KeyState;
use mainspring_core::store::Hint;
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Why a verb did not go through.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The call was refused. Verbs check before they write; one that has written all the same is
    /// undone with its transaction.
    Refused(StoreError),
    /// SQLite failed: the transaction is undone.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(e: rusqlite::Error) -> Fault {
        Fault::Sql(e)
    }
}

impl From<StoreError> for Fault {
    fn from(e: StoreError) -> Fault {
        Fault::Refused(e)
    }
}

impl Fault {
    /// For the caller.
    pub fn into_error(self, file: &str) -> StoreError {
        match self {
            Fault::Refused(e) => e,
            Fault::Sql(e) => fault::of(e, file),
        }
    }
}

/// The result inside a transaction.
pub(crate) type Done<T> = Result<T, Fault>;

/// A key's state, and whether it must be written.
pub(crate) struct Key {
    pub state: KeyState,
    pub stored: KeyState,
}

/// One call's part of the transaction under way.
pub(crate) struct Tx<'a> {
    pub conn: &'a Connection,
    pub names: &'a mut Names,
    /// Given out after the commit.
    pub hints: &'a mut Vec<Hint>,
    /// What this call adds to batches; an entry also says that the batch may be over.
    pub batches: BTreeMap<i64, BatchCounts>,
    /// Keys of which a job ended: held jobs may have room.
    pub freed: BTreeSet<(QueueIx, Arc<str>)>,
    /// Keys that this call looked at.
    pub keys: HashMap<(QueueIx, Arc<str>), Key>,
}

impl<'a> Tx<'a> {
    /// A call begins.
    pub fn new(conn: &'a Connection, names: &'a mut Names, hints: &'a mut Vec<Hint>) -> Tx<'a> {
        let (batches, freed, keys) = Default::default();
        Tx { conn, names, hints, batches, freed, keys }
    }

    /// Gives a hint once the transaction is committed.
    pub fn hint(&mut self, hint: Hint) {
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
    }
}

/// "There is no such thing in this project."
pub(crate) fn not_found<T>(what: &'static str, name: impl ToString) -> Done<T> {
    Err(Fault::Refused(StoreError::NotFound { what, name: name.to_string() }))
}

/// "A value breaks a limit."
pub(crate) fn invalid<T>(field: &'static str, text: impl Into<String>) -> Done<T> {
    Err(Fault::Refused(StoreError::Invalid { field, text: text.into() }))
}

/// "It is there, but not in a state that allows this."
pub(crate) fn conflict<T>(text: impl Into<String>) -> Done<T> {
    Err(Fault::Refused(StoreError::Conflict(text.into())))
}
