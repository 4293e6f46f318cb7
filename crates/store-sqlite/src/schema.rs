//! The schema: numbered migrations, forward only, each in a transaction with its checksum; and the
//! codes that rows hold.
//!
//! A migration that has been released is never edited: the checksum of what was applied is compared
//! at every start, so that two programs cannot believe in two different schemas.

use crate::fault;
use jiff::Timestamp;
use mainspring_core::job::JobState;
use mainspring_core::node;
use mainspring_core::{StoreError, error::Result, time};
use rusqlite::{Connection, OptionalExtension};

/// "MSPR": how a file says whose it is.
pub(crate) const APPLICATION_ID: i64 = 0x4d53_5052;

const MIGRATIONS: &[(&str, &str)] = &[("0001_engine", include_str!("../migrations/0001_engine.sql"))];

/// The schema this program writes.
pub(crate) const VERSION: usize = MIGRATIONS.len();

/// Stored states, ten more than their codes: see the head of the first migration. SQL has them as
/// numbers, because a partial index is only used when its condition stands in the query word by word.
pub(crate) const READY: i64 = 11;
pub(crate) const RUNNING: i64 = 12;
pub(crate) const COMPLETED: i64 = 13;
pub(crate) const CANCELLED: i64 = 14;
pub(crate) const FAILED: i64 = 15;
/// Available, but its key is full.
pub(crate) const HELD: i64 = 16;

/// Flag: somebody asked for the end of the running attempt.
pub(crate) const CANCEL: i64 = 1;
/// Flag: a rate put it off, so it keeps its `ord` when it becomes available again.
pub(crate) const PUT_OFF: i64 = 2;

/// An instant of a job that is not known yet.
pub(crate) const ABSENT: i64 = i64::MIN;

/// The state behind a stored one.
pub(crate) fn state(st: i64) -> Option<JobState> {
    if st == HELD { Some(JobState::Available) } else { JobState::from_code(st - 10) }
}

/// A state as stored; held jobs are told apart by their caller.
pub(crate) fn st(state: JobState) -> i64 {
    10 + i64::from(state.code())
}

/// An instant that may be [`ABSENT`].
pub(crate) fn instant(us: i64) -> Option<Timestamp> {
    (us != ABSENT).then(|| time::from_micros(us))
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): finds an edit, which is all it is for.
fn checksum(text: &str) -> i64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
        as i64
}

/// Brings an opened file to [`VERSION`]. Whose file it is has been checked before.
pub(crate) fn migrate(conn: &Connection, file: &str) -> Result<()> {
    if check_applied(conn, file)? == VERSION {
        return Ok(());
    }
    let fail = |e| fault::of(e, file);
    conn.execute_batch("BEGIN IMMEDIATE").map_err(fail)?;
    let done = (|| {
        conn.execute_batch(
            "CREATE TABLE IF NOT EXISTS migrations (
                 number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum INTEGER NOT NULL)",
        )
        .map_err(fail)?;
        // Another process may have been quicker.
        let applied = check_applied(conn, file)?;
        for (at, (name, sql)) in MIGRATIONS.iter().enumerate().skip(applied) {
            conn.execute_batch(sql).map_err(fail)?;
            conn.execute(
                "INSERT INTO migrations (number, name, checksum) VALUES (?1, ?2, ?3)",
                (at as i64 + 1, name, checksum(sql)),
            )
            .map_err(fail)?;
        }
        conn.pragma_update(None, "application_id", APPLICATION_ID).map_err(fail)?;
        conn.execute_batch("COMMIT").map_err(fail)
    })();
    if done.is_err() && !conn.is_autocommit() {
        // The first error is the one to tell.
        let _ = conn.execute_batch("ROLLBACK");
    }
    done
}

/// Whether a newer program has migrated the file under this one's feet in a way that breaks it.
pub(crate) fn outgrown(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let mut newer = conn.prepare_cached("SELECT name FROM migrations WHERE number > ?1 ORDER BY number")?;
    let names = newer.query_map([VERSION as i64], |r| r.get::<_, String>(0))?;
    for name in names {
        let name = name?;
        if node::breaking(&name) {
            return Ok(Some(node::outgrown(&name)));
        }
    }
    Ok(None)
}

/// How many migrations the file has; refuses altered and unknown ones.
fn check_applied(conn: &Connection, file: &str) -> Result<usize> {
    let fail = |e| fault::of(e, file);
    let table = conn
        .query_row("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'", [], |_| Ok(()))
        .optional()
        .map_err(fail)?;
    if table.is_none() {
        return Ok(0);
    }
    let mut rows =
        conn.prepare("SELECT number, name, checksum FROM migrations ORDER BY number").map_err(fail)?;
    let applied = rows
        .query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?, r.get::<_, i64>(2)?)))
        .and_then(|rows| rows.collect::<rusqlite::Result<Vec<_>>>())
        .map_err(fail)?;
    for (number, name, sum) in &applied {
        match MIGRATIONS.get(*number as usize - 1) {
            None => {
                return Err(StoreError::Schema(format!(
                    "{file} has schema {number} ({name}), this program knows up to {VERSION}: it was \
                     written by a newer mainspring; install that version or a newer one"
                )));
            }
            Some((known, sql)) if known != name || checksum(sql) != *sum => {
                return Err(StoreError::Schema(format!(
                    "{file}: migration {number} ({name}) is not the one this program was built with; \
                     use the program that wrote the file, or restore the file from a backup"
                )));
            }
            Some(_) => {}
        }
    }
    Ok(applied.len())
}
