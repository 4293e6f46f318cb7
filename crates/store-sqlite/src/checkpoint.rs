//! Copies what the log holds into the file, beside the writer.
//!
//! SQLite by itself does this at the end of the commit that made the log long: that one caller waits
//! for thousands of pages and two flushes. Here a thread with a connection of its own does it; the
//! writer goes on appending meanwhile. Only when commits come so fast that the log never stands still
//! for a moment does the writer do it itself, because a log can begin anew only at an instant at
//! which all of it has been copied.
//!
//! It keeps nothing but the length of the log short: what it leaves undone costs room, never a job.

use crate::fault;
use mainspring_core::StoreError;
use mainspring_core::error::Result;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags};
use std::cell::Cell;
use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Pages in the log from which on they are copied: 16 MiB.
pub(crate) const LONG: i64 = 4_000;
/// Pages from which on the writer copies them itself: 64 MiB.
pub(crate) const TOO_LONG: i64 = 16_000;

thread_local! {
    /// Pages in the log after the last commit of this thread's connection.
    static PAGES: Cell<i64> = const { Cell::new(0) };
}

/// Replaces SQLite's own checkpoint of a writing connection: from now on [`after_commit`] decides.
/// To be called on the thread that writes.
pub(crate) fn take_over(conn: &Connection) {
    conn.wal_hook(Some(|_: &Wal, pages| {
        PAGES.set(i64::from(pages));
        Ok(())
    }));
}

/// The thread beside the writer. Ends when dropped.
pub(crate) struct Checkpointer {
    nudge: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts it on an opened file.
    pub fn start(path: &Path, busy_timeout: Duration) -> Result<Checkpointer> {
        let name = path.display().to_string();
        let fail = |e| fault::of(e, &name);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags).map_err(fail)?;
        conn.busy_timeout(busy_timeout).map_err(fail)?;
        conn.pragma_update(None, "cache_size", -64).map_err(fail)?;
        // One nudge waits at most: it stands for all that come before it is heard.
        let (nudge, nudged) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("mainspring-log".into())
            .spawn(move || {
                while nudged.recv().is_ok() {
                    if let Err(error) = copy(&conn) {
                        // The writer meets the same disk and tells it.
                        tracing::warn!(%error, "the log was not copied into the file");
                    }
                }
            })
            .map_err(|e| StoreError::Internal(format!("the log's thread cannot be started: {e}")))?;
        Ok(Checkpointer { nudge: Some(nudge), thread: Some(thread) })
    }

    /// Sees to the log after a commit of `conn`, on the thread of [`take_over`].
    pub fn after_commit(&self, conn: &Connection) {
        let pages = PAGES.get();
        if pages >= TOO_LONG {
            if let Err(error) = copy(conn) {
                tracing::warn!(%error, pages, "the log is long and was not copied into the file");
            }
        } else if pages >= LONG
            && let Some(nudge) = &self.nudge
            && let Err(TrySendError::Disconnected(())) = nudge.try_send(())
        {
            tracing::warn!(pages, "nobody copies the log into the file any more");
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.nudge = None;
        if let Some(thread) = self.thread.take() {
            // It has reported its panic, if any; nothing depends on its end.
            let _ = thread.join();
        }
    }
}

/// Copies as much as readers allow, without making anybody wait.
fn copy(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, open};

    fn log_pages(path: &Path) -> u64 {
        std::fs::metadata(path.with_extension("db-wal")).map_or(0, |m| m.len() / 4096)
    }

    /// Writes so much, each time something else: what stays the same is not written.
    fn write(conn: &Connection, kib: i64) {
        let filler = "INSERT INTO meta VALUES ('filler', '1') ON CONFLICT DO UPDATE SET value =
            replace(hex(zeroblob(?1)), '0', char(48 + (unicode(value) - 47) % 10))";
        conn.execute(filler, [kib * 512]).unwrap();
    }

    #[test]
    fn the_log_is_copied_beside_the_writer_and_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let options = Options::default();
        let (conn, _lock) = open::open(&path, &options).unwrap();
        take_over(&conn);
        let beside = Checkpointer::start(&path, options.busy_timeout).unwrap();
        let size = || std::fs::metadata(&path).unwrap().len();
        while PAGES.get() < LONG {
            write(&conn, 400);
        }
        let before = size();
        beside.after_commit(&conn);
        drop(beside);
        assert!(size() > before, "what the log held is in the file");
        write(&conn, 4);
        assert!(PAGES.get() < LONG / 2, "and the log begins anew: {} pages", PAGES.get());
    }

    #[test]
    fn a_log_that_nobody_copies_is_copied_by_the_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let options = Options::default();
        let (conn, _lock) = open::open(&path, &options).unwrap();
        take_over(&conn);
        let mut beside = Checkpointer::start(&path, options.busy_timeout).unwrap();
        beside.nudge = None;
        for _ in 0..3 * TOO_LONG / 100 {
            write(&conn, 400);
            beside.after_commit(&conn);
        }
        let pages = log_pages(&path);
        assert!(pages > LONG as u64 && pages < 2 * TOO_LONG as u64, "{pages} pages");
    }
}
