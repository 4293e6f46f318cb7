//! A copy of our schema while it is in use, and the way back: by PostgreSQL's own `pg_dump` and
//! `pg_restore`, which know every version's types and are on every machine that has its client.
//!
//! One snapshot serves both the count of every table and the dump, so that the copy can be held to
//! what was there at one moment however much is written meanwhile. The copy is read back to its last
//! row before it gets its name.

use crate::Options;
use crate::link::{Conn, Fault, Reach, Step, fault_error};
use crate::open::Address;
use mainspring_core::backup::Copied;
use mainspring_core::{StoreError, error::Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// Leaf tables of a schema: partitioned ones have no rows of their own.
const TABLES: &str = "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relkind = 'r' ORDER BY 1";
const OURS: &str = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1";
/// Counting reads whole tables and takes as long as it takes.
const AT_LEISURE: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
     SET lock_timeout = 0; SET enable_seqscan = on";
/// Longest message of a program that is passed on.
const SAID: usize = 600;

/// Copies the schema of the database at `url`, which may be in use, to the file `to`, which must not be
/// there.
///
/// # Errors
///
/// `Conflict` when `to` is there, `Unavailable` when `pg_dump` is not on this machine or fails.
pub async fn backup(url: &str, to: &Path) -> Result<Copied> {
    if to.exists() {
        let text = format!("{} is there already and is left as it is; name another file", to.display());
        return Err(StoreError::Conflict(text));
    }
    let reach = reach(url)?;
    let conn = reach.connect(None).await?;
    let partial = Partial::new(to)?;
    let (snapshot, told) =
        snapshot(&conn, &reach.address.schema).await.map_err(|e| fault_error(e, reach.limit))?;
    let mut dump = program("pg_dump", &reach.address);
    dump.args(["--format=custom", "--no-owner", "--no-privileges"])
        .arg(format!("--schema={}", reach.address.schema))
        .arg(format!("--snapshot={snapshot}"))
        .arg("--file")
        .arg(&partial.path);
    run("pg_dump", dump).await?;
    // Ends the snapshot.
    drop(conn);
    let copied = read_back(&partial.path, &reach.address).await?;
    if copied != told {
        let differ = told.iter().find(|(table, n)| copied.get(*table) != Some(n));
        let text = format!("the copy does not hold what the database had: {differ:?}");
        return Err(StoreError::Internal(text));
    }
    let bytes = partial.finish(to)?;
    Ok(Copied { bytes, rows: copied.into_iter().collect() })
}

/// Puts the backup at `from` into the database at `url`, where our schema may not be yet.
pub async fn restore(url: &str, from: &Path) -> Result<Copied> {
    let reach = reach(url)?;
    let schema = reach.address.schema.clone();
    let told = read_back(from, &reach.address).await?;
    if told.is_empty() {
        let text =
            format!("{} holds no schema {schema}; the address may name another: ?schema=…", from.display());
        return Err(StoreError::Foreign(text));
    }
    let conn = reach.connect(None).await?;
    empty(&conn, &schema).await.map_err(|e| fault_error(e, reach.limit))?;
    let mut restore = program("pg_restore", &reach.address);
    let database = reach.address.config.get_dbname().unwrap_or_default();
    restore
        .args(["--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges"])
        .arg(format!("--dbname={database}"))
        .arg(from);
    run("pg_restore", restore).await?;
    let there = counts(&conn, &schema).await.map_err(|e| fault_error(e, reach.limit))?;
    if there != told {
        return Err(StoreError::Internal("the database does not hold what the backup has".into()));
    }
    let bytes = std::fs::metadata(from).map_or(0, |m| m.len());
    Ok(Copied { bytes, rows: there.into_iter().collect() })
}

fn reach(url: &str) -> Result<Reach> {
    let limit = Options::default().limit;
    Ok(Reach::new(Address::parse(url, limit)?, tokio::runtime::Handle::current(), limit))
}

type Counts = BTreeMap<String, u64>;

/// A snapshot that others may use while the session's transaction is open, and what is in it.
async fn snapshot(conn: &Conn, schema: &str) -> Step<(String, Counts)> {
    conn.batch(AT_LEISURE).await?;
    conn.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let id: String = conn.one("SELECT pg_export_snapshot()", &[]).await?.get(0);
    Ok((id, counts(conn, schema).await?))
}

async fn counts(conn: &Conn, schema: &str) -> Step<Counts> {
    conn.batch(AT_LEISURE).await?;
    let mut counts = Counts::new();
    for row in conn.query(TABLES, &[&schema]).await? {
        let table: String = row.get(0);
        let sql = format!("SELECT count(*) FROM {schema}.\"{}\"", table.replace('"', "\"\""));
        let n: i64 = conn.query_text(&sql, &[]).await?.first().map_or(0, |row| row.get(0));
        counts.insert(table, n as u64);
    }
    Ok(counts)
}

/// A schema that somebody made for us and that holds nothing is taken away: the copy makes its own.
async fn empty(conn: &Conn, schema: &str) -> Step<()> {
    let there: i64 = conn.one(OURS, &[&schema]).await?.get(0);
    if there > 0 {
        return Err(Fault::Refused(StoreError::Conflict(format!(
            "the database has a schema {schema} with something in it, which is left as it is; restore into an \
             empty database (createdb)"
        ))));
    }
    conn.batch(&format!("DROP SCHEMA IF EXISTS {schema}")).await
}

/// One of PostgreSQL's programs, with the address in its variables and nothing else of ours.
fn program(name: &str, address: &Address) -> Command {
    let mut command = Command::new(name);
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("PG") {
            command.env_remove(variable);
        }
    }
    command.envs(address.variables.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn missing(name: &str, e: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!(
        "{name} could not be started ({e}): install PostgreSQL's client programs, of the server's version or \
         newer (Debian: postgresql-client), or back up the database with what your provider offers"
    ))
}

async fn run(name: &str, mut command: Command) -> Result<()> {
    let Output { status, stderr, .. } = command.output().await.map_err(|e| missing(name, &e))?;
    if status.success() { Ok(()) } else { Err(failed(name, &stderr)) }
}

fn failed(name: &str, stderr: &[u8]) -> StoreError {
    let said = String::from_utf8_lossy(stderr);
    let said = mainspring_core::limits::cut(said.trim(), SAID);
    StoreError::Unavailable(format!("{name} failed: {said}"))
}

/// Reads a copy to its last row: rows by table of our schema.
async fn read_back(file: &Path, address: &Address) -> Result<Counts> {
    let mut read = program("pg_restore", address);
    read.args(["--data-only", "--file=-"]).arg(format!("--schema={}", address.schema)).arg(file);
    let mut child = read.spawn().map_err(|e| missing("pg_restore", &e))?;
    let broken = |e: std::io::Error| StoreError::Internal(format!("reading the copy back: {e}"));
    let mut counts = Counts::new();
    let (Some(out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(StoreError::Internal("pg_restore has no output".into()));
    };
    let said = tokio::spawn(async move {
        let mut text = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut err, &mut text).await;
        text
    });
    let (mut out, mut line, mut table) = (BufReader::new(out), Vec::new(), None::<String>);
    let begin = format!("COPY {}.", address.schema);
    loop {
        line.clear();
        if out.read_until(b'\n', &mut line).await.map_err(broken)? == 0 {
            break;
        }
        match &table {
            None => {
                table = line.strip_prefix(begin.as_bytes()).map(|rest| {
                    let end = rest.iter().position(|b| *b == b' ').unwrap_or(rest.len());
                    String::from_utf8_lossy(&rest[..end]).trim_matches('"').to_owned()
                });
                if let Some(name) = &table {
                    counts.insert(name.clone(), 0);
                }
            }
            Some(_) if line == b"\\.\n" => table = None,
            Some(name) => *counts.entry(name.clone()).or_default() += 1,
        }
    }
    let status = child.wait().await.map_err(broken)?;
    let said = said.await.unwrap_or_default();
    if status.success() && table.is_none() { Ok(counts) } else { Err(failed("pg_restore", &said)) }
}

/// A copy under way: removed unless it was finished.
struct Partial {
    path: PathBuf,
}

impl Partial {
    /// Made here and not by `pg_dump`, so that nobody but its owner may read it.
    fn new(to: &Path) -> Result<Partial> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut name = to.as_os_str().to_owned();
        name.push(format!(".part-{}", std::process::id()));
        let path = PathBuf::from(name);
        let made = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path);
        made.map_err(|e| StoreError::Address(format!("{} cannot be written: {e}", path.display())))?;
        Ok(Partial { path })
    }

    fn finish(self, to: &Path) -> Result<u64> {
        let folder = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let named = || {
            let file = std::fs::File::open(&self.path)?;
            file.sync_all()?;
            // A link and not a rename: it fails where something has come to be meanwhile.
            std::fs::hard_link(&self.path, to)?;
            std::fs::File::open(folder)?.sync_all()?;
            Ok(file.metadata()?.len())
        };
        named().map_err(|e: std::io::Error| {
            StoreError::Address(format!("{} cannot be written: {e}", to.display()))
        })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
