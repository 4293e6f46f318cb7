//! A copy of the file while it is in use, and the way back.
//!
//! SQLite's backup call copies all pages in one read transaction: one committed state of the file,
//! however much is written meanwhile, and the writer does not wait. What was copied is read back
//! before the copy gets its name: structure, references, and the recount that holds the figures to
//! the rows. A name is never overwritten, and a copy that was cut off keeps none.

use crate::open::{PRIVATE, check_header, check_owner, open_reader, side_file};
use crate::{doctor, fault};
use mainspring_core::backup::Copied;
use mainspring_core::{StoreError, error::Result};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a copy waits for the file.
const PATIENCE: Duration = Duration::from_secs(30);

/// Copies the store at `from`, which may be in use by any number of processes, to `to`, which must not
/// be there. Blocks for as long as that takes.
///
/// # Errors
///
/// `Conflict` when `to` is there, `Foreign` and `Damaged` for what is not a whole store of ours.
pub fn backup(from: &Path, to: &Path) -> Result<Copied> {
    free(to, &[""])?;
    copy(from, to, to)
}

/// Puts the backup at `from` in the place `to`, where no store may be.
pub fn restore(from: &Path, to: &Path) -> Result<Copied> {
    free(to, &["", "-wal", "-shm", "-journal"])?;
    copy(from, to, from)
}

/// Copies and reads back what was copied; `blamed` is the file to name when it is not whole.
fn copy(from: &Path, to: &Path, blamed: &Path) -> Result<Copied> {
    check_header(from)?;
    let source = open_reader(from, PATIENCE)?;
    check_owner(&source, from)?;
    let partial = Partial::new(to)?;
    let copied = {
        let mut copy = connect(&partial.path)?;
        copy_pages(&source, &mut copy, from, to)?;
        whole(&copy, blamed)?
    };
    partial.finish(to)?;
    Ok(Copied { bytes: size(to), ..copied })
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

fn free(path: &Path, suffixes: &[&str]) -> Result<()> {
    for suffix in suffixes {
        let name = if suffix.is_empty() { path.to_owned() } else { side_file(path, suffix) };
        if name.exists() {
            let text = format!("{} is there already and is left as it is; name another file", name.display());
            return Err(StoreError::Conflict(text));
        }
    }
    Ok(())
}

/// A copy under way: removed unless it was finished.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn new(to: &Path) -> Result<Partial> {
        let path = side_file(to, &format!(".part-{}", std::process::id()));
        let made = File::options().write(true).create_new(true).mode(PRIVATE).open(&path);
        made.map_err(|e| StoreError::Address(format!("{} cannot be written: {e}", path.display())))?;
        Ok(Partial { path })
    }

    /// Gives it its name, once it is on the disk.
    fn finish(self, to: &Path) -> Result<()> {
        let folder = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let named = || {
            File::open(&self.path)?.sync_all()?;
            // A link and not a rename: it fails where something has come to be meanwhile.
            std::fs::hard_link(&self.path, to)?;
            File::open(folder)?.sync_all()
        };
        named().map_err(|e: std::io::Error| {
            StoreError::Address(format!("{} cannot be written: {e}", to.display()))
        })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            let _ = std::fs::remove_file(side_file(&self.path, suffix));
        }
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let name = path.display().to_string();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|e| fault::of(e, &name))
}

fn copy_pages(source: &Connection, copy: &mut Connection, from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (from.display().to_string(), to.display().to_string());
    {
        let backup = Backup::new(source, copy).map_err(|e| fault::of(e, &to))?;
        // All pages in one step: in several, each write in between would begin it anew.
        match backup.step(-1).map_err(|e| fault::of(e, &to))? {
            StepResult::Done => {}
            _ => return Err(StoreError::Unavailable(format!("{from} is busy; try again"))),
        }
    }
    // One file without companions.
    copy.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(())).map_err(|e| fault::of(e, &to))
}

/// Reads the copy back.
fn whole(copy: &Connection, shown: &Path) -> Result<Copied> {
    let name = shown.display().to_string();
    let fail = |e| fault::of(e, &name);
    let found: String = copy.query_row("PRAGMA integrity_check(1)", [], |r| r.get(0)).map_err(fail)?;
    if found != "ok" {
        return Err(StoreError::Damaged(format!("{name} is damaged ({found}); it was not taken")));
    }
    let orphans: i64 =
        copy.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |r| r.get(0)).map_err(fail)?;
    let mut differ = doctor::audit(copy).map_err(|e| e.into_error(&name))?;
    if orphans > 0 {
        differ.push(format!("{orphans} rows refer to rows that are not there"));
    }
    if !differ.is_empty() {
        return Err(StoreError::Damaged(format!("{name} is not consistent: {}", differ.join("; "))));
    }
    let mut rows = Vec::new();
    let mut tables = copy
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
        )
        .map_err(fail)?;
    let names = tables.query_map([], |r| r.get::<_, String>(0)).map_err(fail)?;
    for table in names {
        let table = table.map_err(fail)?;
        let count = format!("SELECT count(*) FROM \"{}\"", table.replace('"', "\"\""));
        let n: i64 = copy.query_row(&count, [], |r| r.get(0)).map_err(fail)?;
        rows.push((table, n as u64));
    }
    Ok(Copied { bytes: 0, rows })
}
