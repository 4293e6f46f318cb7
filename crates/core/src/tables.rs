//! The small door to tables that are not the engine's: accounts, sessions, keys, alert rules, the
//! tables of packs.
//!
//! The engine writes its hot path with each database's own words, in the stores. Everything else
//! comes through [`Tables`], which both stores implement: portable SQL, several statements in one
//! transaction, jobs enqueued with them, rows read into types by serde, migrations per owner. So a
//! statement is written once and names no driver, and on SQLite it passes through the same writer
//! as everything else.
//!
//! Read on: [`Migration`] (how tables come to be), [`Statement`] and [`Value`] (what is sent),
//! [`Rows`] (what comes back), [`TablesError`] (what can go wrong). `docs/guides/tables.md` tells
//! people what the portable subset is.
//!
//! What this deliberately is not: an ORM, a query builder, a way into the engine's own tables
//! (writes to them are refused; what they hold is read through [`crate::reader`]), or a wall
//! between packs, which are compiled in and trusted. `MemoryStore` has no tables: a database in
//! memory would be a third dialect, and the suite that both stores pass is the specification.

mod ddl;
mod rows;
mod sql;
mod statement;
mod value;

pub use ddl::{Applied, Migration, Plan, Step};
pub use rows::Rows;
pub use sql::Dialect;
pub use statement::{Prepared, Statement};
pub use value::{AsJson, At, IntoValue, Value};

use crate::code::Code;
use crate::error::StoreError;
use crate::event::NewEvent;
use crate::ids::ProjectId;
use crate::job::{Enqueued, NewJob};
use crate::limits;
use async_trait::async_trait;
use jiff::Timestamp;

/// The door. Reached by [`crate::store::Store::tables`].
#[async_trait]
pub trait Tables: Send + Sync + 'static {
    /// Brings the tables of `owner` up to date, in one transaction; answers how many migrations it
    /// applied. Called at every start, by every process that uses the tables. Several at once are
    /// safe: one does the work, the others find it done.
    ///
    /// `owner` is 1 to 20 of a-z and 0-9, beginning with a letter; what it makes is called
    /// `owner_…`. Refused with [`TablesError::Migration`]: an applied migration that reads
    /// differently now, a database with more of them than the program has, a statement that is not
    /// portable or touches what belongs to others.
    async fn migrate(&self, owner: &str, migrations: &[Migration]) -> Result<usize>;

    /// Runs the statements in order and enqueues the jobs, in one transaction: all or nothing.
    /// Acknowledged means durable.
    ///
    /// On SQLite all statements see one state. On PostgreSQL each sees what was committed when it
    /// began; so change a number where it stands (`n = n + 1`), guard what you have read with a
    /// condition and [`Statement::expect_rows`], and leave "only one" to unique constraints.
    async fn write(&self, write: Write) -> Result<Written>;

    /// Runs a statement that only reads, beside the writer: it sees what is committed.
    async fn read(&self, statement: Statement) -> Result<Rows>;
}

/// What is written together: [`Write::new`], then [`Write::then`] and [`Write::enqueue`].
#[derive(Clone, Debug, Default)]
pub struct Write {
    statements: Vec<Statement>,
    enqueues: Vec<Enqueue>,
    tells: Vec<Tell>,
}

/// Jobs that come into being with a write.
#[derive(Clone, Debug)]
pub struct Enqueue {
    /// The instant of the enqueue.
    pub now: Timestamp,
    /// Whose jobs they are.
    pub project: ProjectId,
    /// The jobs, as for [`crate::store::Store::enqueue`].
    pub jobs: Vec<NewJob>,
}

/// An event that is written with a write.
#[derive(Clone, Debug)]
pub struct Tell {
    /// When it happened.
    pub now: Timestamp,
    /// Whose it is.
    pub project: ProjectId,
    /// What happened.
    pub event: NewEvent,
}

/// A write as a store runs it: the statements spelled for its database, the jobs, the events.
pub type Parts = (Vec<Prepared>, Vec<Enqueue>, Vec<Tell>);

/// What a write gave.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// What each statement gave, in order.
    pub rows: Vec<Rows>,
    /// The jobs, in order of the enqueues.
    pub jobs: Vec<Enqueued>,
}

impl Write {
    /// Nothing yet.
    pub fn new() -> Write {
        Write::default()
    }

    /// Adds a statement after those before.
    pub fn then(mut self, statement: Statement) -> Write {
        self.statements.push(statement);
        self
    }

    /// Adds all of another write, behind what is here.
    pub fn and(mut self, other: Write) -> Write {
        self.statements.extend(other.statements);
        self.enqueues.extend(other.enqueues);
        self.tells.extend(other.tells);
        self
    }

    /// Adds jobs. They are written after all statements.
    pub fn enqueue(mut self, now: Timestamp, project: ProjectId, jobs: Vec<NewJob>) -> Write {
        self.enqueues.push(Enqueue { now, project, jobs });
        self
    }

    /// Adds an event that tells of it, as [`crate::store::Store::record`] would: so what happened and
    /// what is told of it commit together. It is written last.
    pub fn tell(mut self, now: Timestamp, project: ProjectId, event: NewEvent) -> Write {
        self.tells.push(Tell { now, project, event });
        self
    }

    /// For stores: checks everything that can be checked before a transaction begins, and spells the
    /// statements as the database wants them.
    pub fn prepare(self, dialect: &Dialect) -> Result<Parts> {
        let too_many = |field, n, most| {
            let text = format!("{n} in one write, at most {most} are allowed");
            Err(StoreError::Invalid { field, text }.into())
        };
        if self.statements.len() > limits::TABLE_STATEMENTS {
            return too_many("statements", self.statements.len(), limits::TABLE_STATEMENTS);
        }
        if self.tells.len() > limits::TABLE_STATEMENTS {
            return too_many("events", self.tells.len(), limits::TABLE_STATEMENTS);
        }
        let jobs: usize = self.enqueues.iter().map(|e| e.jobs.len()).sum();
        if jobs > limits::BATCH {
            return too_many("jobs", jobs, limits::BATCH);
        }
        for job in self.enqueues.iter().flat_map(|e| &e.jobs) {
            job.check().map_err(|(field, text)| StoreError::Invalid { field, text })?;
        }
        let spelled = |(at, statement): (usize, Statement)| {
            statement.prepare(dialect).map_err(|text| TablesError::Statement { nth: at + 1, text })
        };
        let prepared = self.statements.into_iter().enumerate().map(spelled).collect::<Result<_>>()?;
        Ok((prepared, self.enqueues, self.tells))
    }
}

impl From<Statement> for Write {
    fn from(statement: Statement) -> Write {
        Write::new().then(statement)
    }
}

/// The rule of a table that a statement would have broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A row with the same key is there already.
    Unique,
    /// The row that is referred to is not there, or the row is still referred to.
    ForeignKey,
    /// A column must have a value.
    NotNull,
    /// A CHECK.
    Check,
}

/// Which rule of which table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// What kind of rule.
    pub rule: Rule,
    /// The table; for foreign keys the one that the statement would have changed.
    pub table: String,
    /// The columns, where they are known: those of a unique key and of NOT NULL.
    pub columns: Vec<String>,
    /// The constraint's or index's name, where the database tells one.
    pub name: Option<String>,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = match (self.columns.is_empty(), &self.name) {
            (false, _) => self.columns.join(", "),
            (true, Some(name)) => name.clone(),
            (true, None) => "its key".into(),
        };
        match self.rule {
            Rule::Unique => write!(f, "{} has a row with the same {columns} already", self.table),
            Rule::ForeignKey => write!(f, "{}: a row that is referred to must exist", self.table),
            Rule::NotNull => write!(f, "{}: {columns} must have a value", self.table),
            Rule::Check => write!(f, "{}: the check {columns} does not hold", self.table),
        }
    }
}

/// Why a call to [`Tables`] did nothing. No text of it holds a value that was sent or read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TablesError {
    /// The database could not be reached, was too slow, or refused the jobs.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A rule of a table would have been broken.
    #[error("{0}")]
    Broken(Broken),
    /// [`Statement::expect_rows`] did not hold.
    #[error("statement {nth} met {found} rows where {wanted} were expected; nothing was written")]
    Unexpected {
        /// Which statement of the write, from 1.
        nth: usize,
        /// How many it was to meet.
        wanted: u64,
        /// How many it met.
        found: u64,
    },
    /// The statement is not portable, or the database did not understand it.
    #[error("statement {nth}: {text}")]
    Statement {
        /// Which statement of the write, from 1.
        nth: usize,
        /// What is wrong and what to write instead.
        text: String,
    },
    /// A row does not fit the type it is read into.
    #[error("row {row}: {text}")]
    Row {
        /// Which row, from 1; 0 when it is about all of them.
        row: usize,
        /// Which column and why.
        text: String,
    },
    /// Migrations of the program and of the database do not fit.
    #[error("{0}")]
    Migration(String),
}

impl TablesError {
    /// Whether a row with the same `columns` is in `table` already: "that name is taken".
    pub fn is_taken(&self, table: &str, columns: &[&str]) -> bool {
        matches!(self, TablesError::Broken(b) if b.rule == Rule::Unique && b.table == table
            && b.columns.iter().map(String::as_str).eq(columns.iter().copied()))
    }

    /// Whether the same call may succeed later without anyone doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, TablesError::Store(e) if e.is_transient())
    }

    /// Its code.
    pub fn code(&self) -> Code {
        match self {
            TablesError::Store(e) => e.code(),
            TablesError::Broken(_) | TablesError::Unexpected { .. } => Code::CONFLICT,
            TablesError::Migration(_) => Code::STORE_SCHEMA,
            TablesError::Statement { .. } | TablesError::Row { .. } => Code::STORE_INTERNAL,
        }
    }
}

/// The result of every call to [`Tables`].
pub type Result<T, E = TablesError> = std::result::Result<T, E>;
