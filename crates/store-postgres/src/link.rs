//! Connections: made when needed, dropped at the first doubt, made again for ever.
//!
//! A [`Lane`] is one connection and the turn to use it. [`transact!`] runs a body on it, again when
//! the server asks for that (serialization failure, deadlock), and turns every failure into a
//! [`StoreError`]. A connection that was not left in order (a time limit passed, the caller went
//! away in the middle) is closed, not reused: nobody knows what it would answer next.
//!
//! What this module does not do: it knows no table, and it never repeats what may have been
//! committed. A lost answer to COMMIT is an error to the caller, who may repeat the call.

use crate::open::Address;
use mainspring_core::StoreError;
use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::MutexGuard;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{BorrowToSql, ToSql};
use tokio_postgres::{AsyncMessage, Client, Row, RowStream, Statement};

/// Parameters of a statement.
pub(crate) type Args<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The longest wait between two tries to connect.
const BACKOFF: Duration = Duration::from_millis(500);
/// How often a transaction is run again because the server asked for it.
const TRIES: u32 = 20;

/// What can end a body early.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The driver or the server.
    Db(tokio_postgres::Error),
    /// A refusal of ours.
    Refused(StoreError),
    /// Somebody was faster: run the transaction again.
    Again,
    /// The time limit has passed.
    Late,
}

impl From<tokio_postgres::Error> for Fault {
    fn from(e: tokio_postgres::Error) -> Fault {
        Fault::Db(e)
    }
}

impl From<StoreError> for Fault {
    fn from(e: StoreError) -> Fault {
        Fault::Refused(e)
    }
}

/// The result inside a transaction.
pub(crate) type Step<T> = Result<T, Fault>;

/// One session.
pub(crate) struct Conn {
    client: Client,
    statements: Mutex<HashMap<(usize, usize), Statement>>,
    texts: Mutex<HashMap<String, Statement>>,
}

/// Statements kept by their text; with one more, all are prepared anew.
const TEXTS: usize = 256;

impl Conn {
    /// Opens a session; notifications go to `notes`.
    pub async fn open(
        address: &Address,
        notes: Option<tokio::sync::mpsc::UnboundedSender<tokio_postgres::Notification>>,
        runtime: &tokio::runtime::Handle,
    ) -> Step<Conn> {
        let tls = tokio_postgres_rustls::MakeRustlsConnect::new((*address.tls).clone());
        let (client, mut connection) = address.config.connect(tls).await?;
        runtime.spawn(async move {
            // Ends with the session: then every call in flight gets its error, and `notes` closes.
            while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                if let (AsyncMessage::Notification(note), Some(notes)) = (message, &notes) {
                    let _ = notes.send(note);
                }
            }
        });
        Ok(Conn { client, statements: Mutex::default(), texts: Mutex::default() })
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    fn known(&self, sql: &'static str) -> Option<Statement> {
        let known = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(sql.as_ptr() as usize, sql.len())).cloned()
    }

    async fn statement(&self, sql: &'static str) -> Step<Statement> {
        if let Some(statement) = self.known(sql) {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        let mut known = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert((sql.as_ptr() as usize, sql.len()), statement.clone());
        Ok(statement)
    }

    /// Prepares what is to be sent without waiting in between: a statement that had to be prepared
    /// first would overtake nothing, but be overtaken by what follows it.
    pub async fn prepare(&self, list: &[&'static str]) -> Step<()> {
        for sql in list {
            self.statement(sql).await?;
        }
        Ok(())
    }

    /// Rows of a statement.
    pub async fn query(&self, sql: &'static str, args: Args<'_>) -> Step<Vec<Row>> {
        let statement = self.statement(sql).await?;
        Ok(self.client.query(&statement, args).await?)
    }

    /// At most one row.
    pub async fn opt(&self, sql: &'static str, args: Args<'_>) -> Step<Option<Row>> {
        let statement = self.statement(sql).await?;
        Ok(self.client.query_opt(&statement, args).await?)
    }

    /// Exactly one row.
    pub async fn one(&self, sql: &'static str, args: Args<'_>) -> Step<Row> {
        let statement = self.statement(sql).await?;
        Ok(self.client.query_one(&statement, args).await?)
    }

    /// The number of rows changed.
    pub async fn execute(&self, sql: &'static str, args: Args<'_>) -> Step<u64> {
        let statement = self.statement(sql).await?;
        Ok(self.client.execute(&statement, args).await?)
    }

    /// Rows of a statement whose text is built when needed (filters): prepared once each time.
    pub async fn query_text(&self, sql: &str, args: Args<'_>) -> Step<Vec<Row>> {
        Ok(self.client.query(sql, args).await?)
    }

    /// A statement that is not the engine's, prepared once and kept by its text.
    pub async fn statement_text(&self, sql: &str) -> Step<Statement> {
        if let Some(kept) = self.texts.lock().unwrap_or_else(PoisonError::into_inner).get(sql) {
            return Ok(kept.clone());
        }
        let statement = self.client.prepare(sql).await?;
        let mut kept = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= TEXTS {
            kept.clear();
        }
        kept.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Drops a statement kept by its text; false when it was not kept.
    pub fn forget(&self, sql: &str) -> bool {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).remove(sql).is_some()
    }

    /// Rows one by one, and at the end how many the statement changed.
    pub async fn stream<P, I>(&self, statement: &Statement, args: I) -> Step<RowStream>
    where
        P: BorrowToSql,
        I: IntoIterator<Item = P, IntoIter: ExactSizeIterator>,
    {
        Ok(self.client.query_raw(statement, args).await?)
    }

    /// Several statements without parameters or answer.
    pub async fn batch(&self, sql: &str) -> Step<()> {
        Ok(self.client.batch_execute(sql).await?)
    }

    pub async fn begin(&self) -> Step<()> {
        self.batch("BEGIN").await
    }

    pub async fn commit(&self) -> Step<()> {
        self.batch("COMMIT").await
    }
}

/// Where and how to connect, and when it last went wrong.
pub(crate) struct Reach {
    pub address: Address,
    pub runtime: tokio::runtime::Handle,
    pub limit: Duration,
    pub closed: AtomicBool,
    failures: AtomicU32,
    retry_at: Mutex<Option<(Instant, String)>>,
}

impl Reach {
    pub fn new(address: Address, runtime: tokio::runtime::Handle, limit: Duration) -> Reach {
        let (closed, failures, retry_at) = (AtomicBool::new(false), AtomicU32::new(0), Mutex::new(None));
        Reach { address, runtime, limit, closed, failures, retry_at }
    }

    /// A new session. While the database is known to be away, most calls fail at once: each of
    /// them waiting for its own time limit would only pile up work for its return.
    #[allow(
        clippy::disallowed_methods,
        reason = "back-off after a lost connection is monotonic time, not the engine's"
    )]
    pub async fn connect(
        &self,
        notes: Option<tokio::sync::mpsc::UnboundedSender<tokio_postgres::Notification>>,
    ) -> Result<Conn, StoreError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("the store was closed".into()));
        }
        if let Some((at, why)) = &*self.retry_at.lock().unwrap_or_else(PoisonError::into_inner)
            && Instant::now() < *at
        {
            return Err(StoreError::Unavailable(why.clone()));
        }
        let result = tokio::time::timeout(self.limit, Conn::open(&self.address, notes, &self.runtime)).await;
        let error = match result {
            Ok(Ok(conn)) => {
                self.failures.store(0, Ordering::Relaxed);
                *self.retry_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
                return Ok(conn);
            }
            Ok(Err(fault)) => connect_error(fault, &self.address.shown),
            Err(_) => StoreError::Unavailable(format!(
                "{} did not answer within {}",
                self.address.shown,
                mainspring_core::duration::format(self.limit)
            )),
        };
        if let StoreError::Unavailable(why) = &error {
            let nth = self.failures.fetch_add(1, Ordering::Relaxed).min(10);
            let wait = Duration::from_millis(20 << nth).min(BACKOFF);
            *self.retry_at.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((Instant::now() + wait, why.clone()));
        }
        Err(error)
    }
}

/// What a refused connection means for people.
fn connect_error(fault: Fault, shown: &str) -> StoreError {
    let Fault::Db(error) = fault else { return fault_error(fault, Duration::ZERO) };
    let Some(db) = error.as_db_error() else {
        let text = format!("{shown}: {}", chain(&error));
        return match distrusted(&error) {
            Some(what_to_do) => StoreError::Address(format!("{text}; {what_to_do}")),
            None => StoreError::Unavailable(text),
        };
    };
    match *db.code() {
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => StoreError::Address(
            format!("{shown}: {}; check the user, the password and pg_hba.conf", db.message()),
        ),
        SqlState::INVALID_CATALOG_NAME => {
            StoreError::Address(format!("{shown}: {}; make it with createdb", db.message()))
        }
        _ => StoreError::Unavailable(format!("{shown}: {}", db.message())),
    }
}

/// What to do where the two sides do not agree on TLS: waiting would not help.
fn distrusted(error: &tokio_postgres::Error) -> Option<&'static str> {
    let cause = std::error::Error::source(error)?;
    let io = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match io.and_then(|e| e.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => Some(match why {
            // Of another authority with the same name: its signature does not fit.
            rustls::CertificateError::UnknownIssuer | rustls::CertificateError::BadSignature => {
                "name the file of the authority that signed it: sslrootcert=FILE"
            }
            rustls::CertificateError::NotValidForName
            | rustls::CertificateError::NotValidForNameContext { .. } => {
                "write the host as the certificate names it"
            }
            _ => "the server needs another certificate",
        }),
        Some(_) => None,
        None => cause
            .to_string()
            .contains("does not support TLS")
            .then_some("switch it on there (ssl = on), or write sslmode=disable where the way is safe"),
    }
}

/// A driver's error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// What a fault means to the caller.
pub(crate) fn fault_error(fault: Fault, limit: Duration) -> StoreError {
    let late = || StoreError::Timeout(mainspring_core::duration::format(limit));
    let error = match fault {
        Fault::Refused(error) => return error,
        Fault::Late => return late(),
        Fault::Again => return StoreError::Unavailable("too much at once; try again".into()),
        Fault::Db(error) => error,
    };
    let Some(db) = error.as_db_error() else {
        return match error.is_closed()
            || std::error::Error::source(&error).is_some_and(|s| s.is::<std::io::Error>())
        {
            true => StoreError::Unavailable(chain(&error)),
            false => StoreError::Internal(chain(&error)),
        };
    };
    let text = format!("{} ({})", db.message(), db.code().code());
    match (db.code().code().get(..2).unwrap_or_default(), db.code()) {
        (_, &SqlState::QUERY_CANCELED | &SqlState::LOCK_NOT_AVAILABLE) => late(),
        (_, &SqlState::DISK_FULL) => StoreError::Full(text),
        (_, &SqlState::READ_ONLY_SQL_TRANSACTION) => {
            StoreError::Unavailable(format!("{text}: the server is a standby"))
        }
        ("08" | "53" | "57" | "40", _) => StoreError::Unavailable(text),
        ("58", _) => StoreError::Damaged(format!("the server reports: {text}")),
        ("42", &SqlState::INSUFFICIENT_PRIVILEGE) => {
            StoreError::Schema(format!("{text}; the store's user must own its schema"))
        }
        _ => StoreError::Internal(text),
    }
}

/// Whether the server asks for the transaction to be run again.
fn wants_again(fault: &Fault) -> bool {
    match fault {
        Fault::Again => true,
        Fault::Db(error) => match error.as_db_error() {
            // The one unique key that is looked for before it is written and not taken by the writing:
            // a race lost against another transaction, whose row the next try sees. Every other
            // violation would be the same again.
            Some(db) if *db.code() == SqlState::UNIQUE_VIOLATION => db.constraint() == Some("jobs_fire"),
            Some(db) => {
                [&SqlState::T_R_SERIALIZATION_FAILURE, &SqlState::T_R_DEADLOCK_DETECTED].contains(&db.code())
            }
            None => false,
        },
        _ => false,
    }
}

/// One connection and the turn to use it.
#[derive(Default)]
pub(crate) struct Lane {
    slot: tokio::sync::Mutex<Option<Conn>>,
}

impl Lane {
    /// Waits for the turn and sees to a living connection.
    pub async fn take(&self, reach: &Reach) -> Result<Turn<'_>, StoreError> {
        let slot = tokio::time::timeout(reach.limit, self.slot.lock())
            .await
            .map_err(|_| fault_error(Fault::Late, reach.limit))?;
        Turn::on(slot, reach).await
    }

    /// Closes the connection once its turn has ended.
    pub async fn close(&self) {
        *self.slot.lock().await = None;
    }
}

/// A turn on a lane. Dropped before [`Turn::settle`], it closes the connection.
pub(crate) struct Turn<'a> {
    slot: MutexGuard<'a, Option<Conn>>,
    settled: bool,
}

impl<'a> Turn<'a> {
    async fn on(mut slot: MutexGuard<'a, Option<Conn>>, reach: &Reach) -> Result<Turn<'a>, StoreError> {
        if slot.as_ref().is_none_or(Conn::is_closed) {
            *slot = None;
            *slot = Some(reach.connect(None).await?);
        }
        Ok(Turn { slot, settled: false })
    }

    /// Its connection, which is there until the turn ends.
    pub fn conn(&self) -> Result<&Conn, StoreError> {
        self.slot.as_ref().ok_or_else(|| StoreError::Internal("a turn without a connection".into()))
    }

    /// Ends the turn: gives the result, or None when the body is to be run again.
    pub async fn settle<T>(
        mut self,
        result: Step<T>,
        reach: &Reach,
        tries: &mut u32,
    ) -> Option<Result<T, StoreError>> {
        let fault = match result {
            Ok(value) => {
                self.settled = true;
                return Some(Ok(value));
            }
            Err(fault) => fault,
        };
        // Closed or late: the connection goes. Otherwise what was begun is undone.
        if !matches!(fault, Fault::Late)
            && let Some(conn) = self.slot.as_ref().filter(|c| !c.is_closed())
        {
            let undone = tokio::time::timeout(reach.limit, conn.batch("ROLLBACK")).await;
            self.settled = matches!(undone, Ok(Ok(())));
        }
        *tries += 1;
        if *tries < TRIES && wants_again(&fault) {
            tracing::debug!(?fault, tries, "transaction is run again");
            return None;
        }
        Some(Err(fault_error(fault, reach.limit)))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.settled {
            *self.slot = None;
        }
    }
}

/// Runs a body within the time limit.
pub(crate) async fn limited<T>(limit: Duration, body: impl Future<Output = Step<T>>) -> Step<T> {
    tokio::time::timeout(limit, body).await.unwrap_or(Err(Fault::Late))
}

/// Runs `body` on `lane` until it holds: `transact!(reach, lane, |conn| { … })`. The body begins
/// and commits by itself, so that it may send both along with other statements; it may run several
/// times and must not change anything outside.
macro_rules! transact {
    ($reach:expr, $lane:expr, |$conn:ident| $body:block) => {{
        let reach: &$crate::link::Reach = $reach;
        let mut tries = 0;
        loop {
            let turn = $lane.take(reach).await?;
            let result = {
                let $conn = turn.conn()?;
                $crate::link::limited(reach.limit, async { $body }).await
            };
            if let Some(result) = turn.settle(result, reach, &mut tries).await {
                break result;
            }
        }
    }};
}
pub(crate) use transact;
