//! Opening a file: whose it is, whether it is whole, who else runs jobs on it; then the settings of
//! every connection.
//!
//! Nothing is ever overwritten: a file that is not ours is refused before SQLite may write to it.

use crate::{fault, schema};
use mainspring_core::{StoreError, error::Result};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How safe a commit is against power loss. Against `kill -9` both are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// What was acknowledged survives power loss. The default.
    #[default]
    Full,
    /// The last moments before power loss may be lost, the file stays whole; two to three times
    /// faster for single calls.
    Normal,
}

/// How a file is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// See [`Synchronous`].
    pub synchronous: Synchronous,
    /// Whether this process will claim jobs. One process at a time may: a second is refused with
    /// [`StoreError::InUse`]. Commands that only enqueue, look or change settings pass false.
    pub run_jobs: bool,
    /// How long a call waits for another process that writes.
    pub busy_timeout: Duration,
    /// The writer's page cache in KiB.
    pub cache_kib: u32,
    /// Connections for reading, each with a thread of its own.
    pub readers: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            synchronous: Synchronous::Full,
            run_jobs: true,
            busy_timeout: Duration::from_secs(5),
            cache_kib: 8 << 10,
            readers: 2,
        }
    }
}

/// Files up to this size are checked as a whole when they were not closed in good order; larger
/// ones by `mainspring doctor`, because a start must not take minutes.
const CHECK_AT_OPEN: u64 = 128 << 20;

/// The right to run jobs on a file, held until dropped (or until the process ends in any way).
#[derive(Debug)]
pub(crate) struct RunLock {
    _file: File,
}

/// How long to wait before a locked file is tried again.
const AGAIN: Duration = Duration::from_millis(25);

/// Opens (or makes) the file: the writing connection and, for a process that runs jobs, its lock.
///
/// Turning a new file into a log-keeping one needs it alone, and SQLite does not wait for that by
/// itself: where another process has the file in hand at this moment, it is tried again for as long
/// as a busy file is waited for.
pub(crate) fn open(path: &Path, options: &Options) -> Result<(Connection, Option<RunLock>)> {
    let mut left = options.busy_timeout;
    loop {
        match open_once(path, options) {
            Err(StoreError::Unavailable(_)) if left > AGAIN => {
                left -= AGAIN;
                #[allow(clippy::disallowed_methods, reason = "opening happens before anything runs")]
                std::thread::sleep(AGAIN);
            }
            opened => return opened,
        }
    }
}

fn open_once(path: &Path, options: &Options) -> Result<(Connection, Option<RunLock>)> {
    let name = path.display().to_string();
    check_path(path)?;
    let whole = check_header(path)?;
    make_private(path);
    let lock = if options.run_jobs { Some(lock(path)?) } else { None };
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let fail = |e| fault::of(e, &name);
    let conn = Connection::open_with_flags(path, flags).map_err(fail)?;
    conn.busy_timeout(options.busy_timeout).map_err(fail)?;
    check_owner(&conn, path)?;
    conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())).map_err(fail)?;
    let level = match options.synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    conn.pragma_update(None, "synchronous", level).map_err(fail)?;
    conn.pragma_update(None, "cache_size", -i64::from(options.cache_kib)).map_err(fail)?;
    conn.pragma_update(None, "temp_store", "memory").map_err(fail)?;
    // The engine's tables have none; those of owners may.
    conn.pragma_update(None, "foreign_keys", "on").map_err(fail)?;
    conn.pragma_update_and_check(None, "wal_autocheckpoint", crate::checkpoint::LONG, |_| Ok(()))
        .map_err(fail)?;
    conn.set_prepared_statement_cache_capacity(256);
    rusqlite::vtab::array::load_module(&conn).map_err(fail)?;
    // Beside a running node a log is in use, not left over: only the one that runs jobs judges it.
    if !whole && options.run_jobs {
        check_damage(&conn, &name)?;
    }
    schema::migrate(&conn, &name)?;
    Ok((conn, lock))
}

/// Another connection to an opened file, for reading only.
pub(crate) fn open_reader(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    let name = path.display().to_string();
    let fail = |e| fault::of(e, &name);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(fail)?;
    conn.busy_timeout(busy_timeout).map_err(fail)?;
    conn.pragma_update(None, "cache_size", -2048).map_err(fail)?;
    conn.pragma_update(None, "temp_store", "memory").map_err(fail)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

fn check_path(path: &Path) -> Result<()> {
    let name = path.display();
    if path.is_dir() {
        return Err(StoreError::Address(format!(
            "{name} is a directory; name a file in it, for example {}",
            path.join("mainspring.db").display()
        )));
    }
    let parent = match path.parent() {
        Some(p) if p.as_os_str().is_empty() => Path::new("."),
        Some(p) => p,
        None => return Err(StoreError::Address(format!("{name} is not the name of a file"))),
    };
    if !parent.is_dir() {
        return Err(StoreError::Address(format!(
            "{name}: the directory {} does not exist; make it with `mkdir -p {0}`",
            parent.display()
        )));
    }
    Ok(())
}

/// Looks at the file's first bytes without SQLite. True when it was closed in good order.
pub(crate) fn check_header(path: &Path) -> Result<bool> {
    let name = path.display();
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(e) => return Err(StoreError::Address(format!("{name} cannot be opened: {e}"))),
    };
    let mut head = Vec::with_capacity(100);
    Read::by_ref(&mut file)
        .take(100)
        .read_to_end(&mut head)
        .map_err(|e| StoreError::Address(format!("{name} cannot be read: {e}")))?;
    if head.is_empty() {
        return Ok(true);
    }
    if !head.starts_with(b"SQLite format 3\0") {
        return Err(StoreError::Foreign(format!(
            "{name} is not a Mainspring store (it is not a SQLite file) and is left as it is; name \
             another file"
        )));
    }
    if head.len() < 100 {
        return Err(StoreError::Damaged(format!(
            "{name} is damaged (only {} bytes of its head are left); restore it from a backup",
            head.len()
        )));
    }
    let wal = side_file(path, "-wal");
    let left_over = std::fs::metadata(wal).is_ok_and(|m| m.len() > 0);
    let size = file.metadata().map(|m| m.len()).unwrap_or(0);
    if left_over && size > CHECK_AT_OPEN {
        tracing::warn!(
            file = %name,
            "the store was not closed in good order and is too large to be checked at every start; \
             `mainspring doctor` checks it"
        );
        return Ok(true);
    }
    Ok(!left_over)
}

/// The owner's alone.
pub(crate) const PRIVATE: u32 = 0o600;

/// Makes a file that is not there yet, for its owner alone: payloads are nobody else's business,
/// and SQLite would take the umask. The log beside it gets the file's mode from SQLite. An existing
/// file keeps its mode. Where it cannot be made, SQLite says why a moment later.
fn make_private(path: &Path) {
    if !path.exists() {
        let _ = File::options().write(true).create(true).truncate(false).mode(PRIVATE).open(path);
    }
}

/// Whether the database is ours, or empty and may become ours.
pub(crate) fn check_owner(conn: &Connection, path: &Path) -> Result<()> {
    let name = path.display().to_string();
    let fail = |e| fault::of(e, &name);
    let id: i64 = conn.pragma_query_value(None, "application_id", |r| r.get(0)).map_err(fail)?;
    if id == schema::APPLICATION_ID {
        return Ok(());
    }
    let table: Option<String> = conn
        .query_row("SELECT min(name) FROM sqlite_schema WHERE type = 'table'", [], |r| r.get(0))
        .map_err(fail)?;
    match table {
        None if id == 0 => Ok(()),
        table => Err(StoreError::Foreign(format!(
            "{name} is a SQLite database of another program ({}) and is left as it is; name another file",
            match table {
                Some(table) => format!("it has a table {table:?}"),
                None => format!("its application id is {id:#x}"),
            }
        ))),
    }
}

fn check_damage(conn: &Connection, name: &str) -> Result<()> {
    let found: String =
        conn.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(|e| fault::of(e, name))?;
    if found == "ok" {
        return Ok(());
    }
    Err(StoreError::Damaged(format!(
        "{name} is damaged ({}); keep a copy, then restore a backup or run `sqlite3 {name} .recover`",
        found.lines().last().unwrap_or(&found)
    )))
}

/// The file's companion: `-wal`, `-shm`, `.lock`.
pub(crate) fn side_file(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Takes the right to run jobs. The lock file stays behind: what counts is the lock on it, and a
/// file that others may hold open must not be deleted.
fn lock(path: &Path) -> Result<RunLock> {
    let name = side_file(path, ".lock");
    let refuse = |e: std::io::Error| {
        StoreError::Address(format!("{} cannot be opened for writing: {e}", name.display()))
    };
    // Whoever may open the lock file may hold the lock: those who may open the store, nobody else.
    let mode = std::fs::metadata(path).map_or(PRIVATE, |m| m.permissions().mode() & 0o666);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(mode)
        .open(&name)
        .map_err(refuse)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            let holder = if holder.is_empty() { "another process" } else { holder };
            return Err(StoreError::InUse(format!(
                "{} is in use: {holder} runs jobs on it, and a SQLite file has one process that does; \
                 commands like `mainspring job list` work beside it. Stop that process, name another \
                 file, or use PostgreSQL for several nodes",
                path.display()
            )));
        }
        Err(e) => return Err(refuse(e.into())),
    }
    let text = format!("process {}\n", std::process::id());
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(text.as_bytes()))
        .map_err(refuse)?;
    Ok(RunLock { _file: file })
}
