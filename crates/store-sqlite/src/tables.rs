//! The door to tables that are not the engine's: statements of owners pass through the same writer,
//! in the same group commit; reads go to the reading side.
//!
//! A write runs between the engine's calls, so it is bounded in statements and in steps of SQLite's
//! machine. A statement that fails is undone alone (a savepoint) and does not disturb the calls that
//! share the transaction. Jobs are enqueued after them, by [`Tx::enqueue`] like all others, and events
//! written last; should that be refused, the transaction is undone and every other call is run again by itself.

use crate::SqliteStore;
use crate::actor::Class;
use crate::tx::{Done, Fault, Tx};
use async_trait::async_trait;
use mainspring_core::limits;
use mainspring_core::tables::{
    Applied, Broken, Dialect, Migration, Plan, Prepared, Result, Rows, Rule, Statement, Tables, TablesError,
    Value, Write, Written,
};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Error, OptionalExtension, ffi};

/// How SQLite spells the portable subset. Tables are STRICT, so that a column holds its type only.
pub(crate) const DIALECT: Dialect = Dialect {
    parameter: '?',
    columns: ["INTEGER", "REAL", "TEXT", "BLOB"],
    casts: ["INTEGER", "REAL", "TEXT", "BLOB"],
    numbered: "INTEGER PRIMARY KEY AUTOINCREMENT",
    after_columns: " STRICT",
};

/// Steps between two looks at how many are left.
const LOOK: u32 = 10_000;

#[async_trait]
impl Tables for SqliteStore {
    async fn migrate(&self, owner: &str, migrations: &[Migration]) -> Result<usize> {
        let plan = Plan::new(owner, migrations, &DIALECT)?;
        self.actor.call(Class::Other, limits::BATCH, move |tx| tx.migrate_tables(&plan)).await?
    }

    async fn write(&self, write: Write) -> Result<Written> {
        let (statements, enqueues, tells) = write.prepare(&DIALECT)?;
        let rows = statements.len() + tells.len() + enqueues.iter().map(|e| e.jobs.len()).sum::<usize>();
        let verb = move |tx: &mut Tx<'_>| {
            for e in &enqueues {
                tx.check_jobs(e.project, &e.jobs)?;
            }
            let bounded = Bounded::start(tx.conn, limits::TABLE_WRITE_STEPS)?;
            let done = savepoint(tx.conn, |conn| run_all(conn, &statements))?;
            drop(bounded);
            let mut written = match done {
                Ok(rows) => Written { rows, jobs: Vec::new() },
                Err(e) => return Ok(Err(e)),
            };
            for e in &enqueues {
                written.jobs.extend(tx.enqueue(e.now, e.project, &e.jobs)?);
            }
            for t in &tells {
                tx.event(t.now, t.project, &t.event)?;
            }
            Ok(Ok(written))
        };
        self.actor.call(Class::Other, rows, verb).await?
    }

    async fn read(&self, statement: Statement) -> Result<Rows> {
        let statement = statement.prepare_read(&DIALECT)?;
        let read = move |conn: &Connection| {
            let _bounded = Bounded::start(conn, limits::TABLE_READ_STEPS)?;
            match run(conn, 1, &statement)
                .and_then(|rows| Ok(statement.check_met(1, rows.affected()).map(|()| rows)?))
            {
                Ok(rows) => Ok(Ok(rows)),
                Err(Stop::Told(e)) => Ok(Err(e)),
                Err(Stop::Fault(fault)) => Err(fault),
            }
        };
        self.readers.read(read).await?
    }
}

impl Tx<'_> {
    fn migrate_tables(&mut self, plan: &Plan) -> Done<Result<usize>> {
        savepoint(self.conn, |conn| {
            conn.execute_batch(
                "CREATE TABLE IF NOT EXISTS owner_migrations (
                     owner TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, checksum INTEGER NOT NULL,
                     PRIMARY KEY (owner, number)) STRICT, WITHOUT ROWID",
            )?;
            let applied: Vec<Applied> = conn
                .prepare_cached(
                    "SELECT number, name, checksum FROM owner_migrations WHERE owner = ?1 ORDER BY number",
                )?
                .query_map([&plan.owner], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
                .collect::<rusqlite::Result<_>>()?;
            let missing = plan.missing(&applied)?;
            for step in missing {
                for (sql, nth) in step.statements.iter().zip(1..) {
                    let told = |e| classified(conn, nth, None, e);
                    if let Err(stop) = conn.execute_batch(sql).map_err(told) {
                        return Err(match stop {
                            Stop::Told(e) => Stop::Told(plan.failed(step, nth, e)),
                            fault => fault,
                        });
                    }
                }
                conn.prepare_cached("INSERT INTO owner_migrations VALUES (?1, ?2, ?3, ?4)")?.execute((
                    &plan.owner,
                    step.number,
                    step.name,
                    step.checksum,
                ))?;
            }
            Ok(missing.len())
        })
    }
}

/// Why statements stopped.
enum Stop {
    /// For the caller: the savepoint is undone.
    Told(TablesError),
    /// For the writer: the transaction is undone, or has been already.
    Fault(Fault),
}

impl From<TablesError> for Stop {
    fn from(e: TablesError) -> Stop {
        Stop::Told(e)
    }
}

impl From<Error> for Stop {
    fn from(e: Error) -> Stop {
        Stop::Fault(e.into())
    }
}

/// Runs `body`; what it has written is undone when it fails.
fn savepoint<T>(conn: &Connection, body: impl FnOnce(&Connection) -> Result<T, Stop>) -> Done<Result<T>> {
    let run = |sql| conn.prepare_cached(sql)?.execute([]);
    run("SAVEPOINT tables")?;
    let done = match body(conn) {
        Ok(value) => Ok(value),
        Err(Stop::Fault(fault)) => return Err(fault),
        Err(Stop::Told(e)) => {
            run("ROLLBACK TO tables")?;
            Err(e)
        }
    };
    run("RELEASE tables")?;
    Ok(done)
}

fn run_all(conn: &Connection, statements: &[Prepared]) -> Result<Vec<Rows>, Stop> {
    let mut all = Vec::with_capacity(statements.len());
    for (statement, nth) in statements.iter().zip(1..) {
        let rows = run(conn, nth, statement)?;
        statement.check_met(nth, rows.affected())?;
        all.push(rows);
    }
    Ok(all)
}

/// One statement to its end.
fn run(conn: &Connection, nth: usize, statement: &Prepared) -> Result<Rows, Stop> {
    let told = |e| classified(conn, nth, statement.target.as_deref(), e);
    let mut prepared = conn.prepare_cached(&statement.sql).map_err(told)?;
    for (value, at) in statement.params.iter().zip(1..) {
        prepared.raw_bind_parameter(at, bound(value)).map_err(told)?;
    }
    if prepared.column_count() == 0 {
        return Ok(Rows::changed(prepared.raw_execute().map_err(told)? as u64));
    }
    let mut rows = Rows::new(names(&prepared));
    let mut cursor = prepared.raw_query();
    while let Some(row) = cursor.next().map_err(told)? {
        if rows.is_empty() {
            // The first step prepares anew what was kept from before a table was altered.
            rows = Rows::new(names(row.as_ref()));
        }
        let width = rows.columns().len();
        let values =
            (0..width).map(|at| row.get_ref(at).map(taken)).collect::<Result<_, _>>().map_err(told)?;
        rows.push(values).map_err(|text| TablesError::Statement { nth, text })?;
    }
    Ok(rows)
}

fn names(statement: &rusqlite::Statement<'_>) -> Vec<String> {
    statement.column_names().into_iter().map(String::from).collect()
}

fn bound(value: &Value) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(match value {
        Value::Null => ValueRef::Null,
        Value::Int(n) => ValueRef::Integer(*n),
        Value::Real(x) => ValueRef::Real(*x),
        Value::Text(t) => ValueRef::Text(t.as_bytes()),
        Value::Blob(b) => ValueRef::Blob(b),
    })
}

fn taken(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => Value::Int(n),
        ValueRef::Real(x) => Value::Real(x),
        ValueRef::Text(t) => Value::Text(String::from_utf8_lossy(t).into_owned()),
        ValueRef::Blob(b) => Value::Blob(b.to_vec()),
    }
}

/// Whether an error lies in the statement, and what it says then.
fn classified(conn: &Connection, nth: usize, target: Option<&str>, error: Error) -> Stop {
    let (code, text) = match &error {
        Error::SqliteFailure(f, text) => (f.extended_code, text.clone().unwrap_or_else(|| f.to_string())),
        Error::SqlInputError { error: f, msg, .. } => (f.extended_code, msg.clone()),
        Error::MultipleStatement => (ffi::SQLITE_ERROR, error.to_string()),
        _ => return error.into(),
    };
    let told = |text| Stop::Told(TablesError::Statement { nth, text });
    // SQLite undoes the whole transaction for some errors: then the others must know.
    if conn.is_autocommit() {
        return error.into();
    }
    match code & 0xff {
        ffi::SQLITE_CONSTRAINT if code == ffi::SQLITE_CONSTRAINT_DATATYPE => told(text),
        ffi::SQLITE_CONSTRAINT => match broken(conn, code, target, &text) {
            Ok(broken) => Stop::Told(TablesError::Broken(broken)),
            Err(e) => e.into(),
        },
        ffi::SQLITE_INTERRUPT => told(crate::fault::TOO_LONG.into()),
        ffi::SQLITE_ERROR | ffi::SQLITE_MISMATCH | ffi::SQLITE_TOOBIG | ffi::SQLITE_RANGE => told(text),
        _ => error.into(),
    }
}

/// Which rule: SQLite tells it as `UNIQUE constraint failed: table.column, table.column`.
fn broken(conn: &Connection, code: i32, target: Option<&str>, text: &str) -> rusqlite::Result<Broken> {
    let rest = text.split_once("failed: ").map_or("", |(_, rest)| rest);
    let mut broken = Broken {
        rule: Rule::Unique,
        table: target.unwrap_or_default().into(),
        columns: Vec::new(),
        name: None,
    };
    match code {
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => broken.rule = Rule::ForeignKey,
        ffi::SQLITE_CONSTRAINT_CHECK => {
            broken.rule = Rule::Check;
            broken.name = Some(rest.into());
        }
        _ => {
            if code == ffi::SQLITE_CONSTRAINT_NOTNULL {
                broken.rule = Rule::NotNull;
            }
            if let Some(index) = rest.strip_prefix("index '").and_then(|i| i.strip_suffix('\'')) {
                let table = conn
                    .prepare_cached("SELECT tbl_name FROM sqlite_schema WHERE name = ?1")?
                    .query_row([index], |r| r.get(0))
                    .optional()?;
                broken.table = table.unwrap_or(broken.table);
                broken.name = Some(index.into());
            } else {
                for place in rest.split(", ") {
                    let Some((table, column)) = place.split_once('.') else { continue };
                    broken.table = table.into();
                    broken.columns.push(column.into());
                }
            }
        }
    }
    Ok(broken)
}

/// Ends statements that take too many steps, until it is dropped.
struct Bounded<'c>(&'c Connection);

impl Bounded<'_> {
    fn start(conn: &Connection, steps: u32) -> rusqlite::Result<Bounded<'_>> {
        let mut left = steps / LOOK;
        let look = move || {
            left = left.saturating_sub(1);
            left == 0
        };
        conn.progress_handler(LOOK as i32, Some(look))?;
        Ok(Bounded(conn))
    }
}

impl Drop for Bounded<'_> {
    fn drop(&mut self) {
        // It fails on connections that are not ours alone, and then it was never set.
        let _ = self.0.progress_handler(0, None::<fn() -> bool>);
    }
}
