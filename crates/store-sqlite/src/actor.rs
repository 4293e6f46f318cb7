//! The writer: one thread, one connection, every change of state.
//!
//! It takes whatever calls have gathered while it wrote the last transaction (the commit is the
//! timer; there is no other), in the order finishes, enqueues, everything else, claims, and writes
//! them in one transaction of at most [`limits::BATCH`] rows per verb. So single callers share
//! commits and what was just enqueued can be claimed in the same one. Callers are answered after
//! the commit. A call that is refused has written nothing and does not disturb the others; when
//! SQLite fails in the middle, each call is tried again in a transaction of its own, so that one
//! bad call cannot take others with it.
//!
//! After a failure of the disk nothing more is written: what a failed fsync lost cannot be known.

use crate::checkpoint::{self, Checkpointer};
use crate::fault;
use crate::names::Names;
use crate::tx::{Done, Fault, Tx};
use mainspring_core::store::{Hint, HintSink};
use mainspring_core::{StoreError, error::Result, limits};
use rusqlite::Connection;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// How often an idle writer looks whether another process has written.
const LOOK_FOR_OTHERS: Duration = Duration::from_millis(150);

/// What another process may have done is not known: it may have enqueued, changed a schedule or asked
/// for a cancellation.
const OTHERS: [Hint; 3] = [Hint::Jobs, Hint::Schedules, Hint::Cancel];

/// In which order calls go into a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Finish,
    Enqueue,
    Other,
    Claim,
}

/// A call to the writer: run once or twice, answered once.
trait Call: Send {
    /// `Err` undoes the transaction; a refusal is kept for the answer and is not an error here.
    fn run(&mut self, tx: &mut Tx<'_>) -> Done<()>;
    /// Tells the caller what became of it.
    fn answer(self: Box<Self>, verdict: Result<()>);
}

struct Typed<T, F> {
    verb: F,
    given: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnMut(&mut Tx<'_>) -> Done<T> + Send> Call for Typed<T, F> {
    fn run(&mut self, tx: &mut Tx<'_>) -> Done<()> {
        let before = tx.conn.total_changes();
        self.given = match (self.verb)(tx) {
            Ok(value) => Some(Ok(value)),
            Err(Fault::Refused(e)) if tx.conn.total_changes() == before => Some(Err(e)),
            Err(e) => return Err(e),
        };
        Ok(())
    }

    fn answer(self: Box<Self>, verdict: Result<()>) {
        let Typed { given, reply, .. } = *self;
        let unanswered = || Err(StoreError::Internal("a call was not run".into()));
        let answer = verdict.and_then(|()| given.unwrap_or_else(unanswered));
        // The caller may have gone away; what was written stays written.
        let _ = reply.send(answer);
    }
}

type Boxed = Box<dyn Call>;

#[derive(Default)]
struct Inbox {
    waiting: [VecDeque<(usize, Boxed)>; 4],
    closing: bool,
    closed: Vec<oneshot::Sender<()>>,
}

struct Shared {
    inbox: Mutex<Inbox>,
    wake: Condvar,
    sink: Mutex<Option<HintSink>>,
}

/// A lock whose holder panicked holds data that is still good: nothing here is left half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The way to the writer.
pub(crate) struct Actor {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Actor {
    /// Starts the writer on an opened file. `keep` lives as long as the writer does.
    pub fn start<K: Send + 'static>(
        conn: Connection,
        file: String,
        log: Option<Checkpointer>,
        keep: K,
    ) -> Result<Actor> {
        let names = Names::load(&conn).map_err(|e| e.into_error(&file))?;
        let shared =
            Arc::new(Shared { inbox: Mutex::default(), wake: Condvar::new(), sink: Mutex::default() });
        let mut writer =
            Writer { conn, file, log, names, stale: false, seen: None, broken: None, shared: shared.clone() };
        writer.seen = writer.data_version().ok();
        let run = move || {
            writer.run();
            drop(writer);
            drop(keep);
        };
        let thread = std::thread::Builder::new()
            .name("mainspring-store".into())
            .spawn(run)
            .map_err(|e| StoreError::Internal(format!("the writer's thread cannot be started: {e}")))?;
        Ok(Actor { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Runs `verb` in a transaction and waits for its commit. It may be run twice, the first time
    /// undone.
    pub async fn call<T, F>(&self, class: Class, rows: usize, verb: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Done<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call = Box::new(Typed { verb, given: None, reply });
        {
            let mut inbox = lock(&self.shared.inbox);
            if inbox.closing {
                return Err(StoreError::Unavailable("the store is closed".into()));
            }
            inbox.waiting[class as usize].push_back((rows.max(1), call));
        }
        self.shared.wake.notify_one();
        answer.await.unwrap_or_else(|_| Err(StoreError::Internal("the writer's thread has ended".into())))
    }

    /// Where hints go.
    pub fn on_hint(&self, sink: HintSink) {
        *lock(&self.shared.sink) = Some(sink);
    }

    /// Lets the writer finish what waits, close the file and end.
    pub async fn close(&self) {
        let (done, ended) = oneshot::channel();
        {
            let mut inbox = lock(&self.shared.inbox);
            inbox.closing = true;
            inbox.closed.push(done);
        }
        self.shared.wake.notify_one();
        // An error says that the thread has ended before: all the better.
        let _ = ended.await;
        self.join();
    }

    fn join(&self) {
        if let Some(thread) = lock(&self.thread).take() {
            // A panic of the writer has been reported by its callers' errors.
            let _ = thread.join();
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        lock(&self.shared.inbox).closing = true;
        self.shared.wake.notify_one();
        self.join();
    }
}

struct Writer {
    conn: Connection,
    file: String,
    /// None: SQLite sees to its log by itself.
    log: Option<Checkpointer>,
    names: Names,
    /// The cache must be read anew before it is used.
    stale: bool,
    seen: Option<i64>,
    broken: Option<StoreError>,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(&mut self) {
        if self.log.is_some() {
            checkpoint::take_over(&self.conn);
        }
        let mut calls: Vec<Boxed> = Vec::new();
        loop {
            match self.gather(&mut calls) {
                Gathered::Calls => self.write(&mut calls),
                Gathered::Nothing => self.look_for_others(),
                Gathered::End => break,
            }
        }
        // Everything is answered; who waits for the end is told by the channel's end, after the
        // connection is closed.
    }

    /// Waits for calls and takes them in order, at most [`limits::BATCH`] rows of each class.
    fn gather(&mut self, calls: &mut Vec<Boxed>) -> Gathered {
        let shared = self.shared.clone();
        let mut inbox = lock(&shared.inbox);
        while inbox.waiting.iter().all(VecDeque::is_empty) {
            if inbox.closing {
                return Gathered::End;
            }
            let (again, waited) =
                shared.wake.wait_timeout(inbox, LOOK_FOR_OTHERS).unwrap_or_else(PoisonError::into_inner);
            inbox = again;
            if waited.timed_out() {
                return Gathered::Nothing;
            }
        }
        for class in &mut inbox.waiting {
            let mut rows = 0;
            while let Some((n, _)) = class.front() {
                if rows > 0 && rows + n > limits::BATCH {
                    break;
                }
                rows += n;
                calls.extend(class.pop_front().map(|(_, call)| call));
            }
        }
        Gathered::Calls
    }

    /// Writes a group; when that fails for a reason that lies in one call, each by itself.
    fn write(&mut self, calls: &mut Vec<Boxed>) {
        if let Some(broken) = &self.broken {
            calls.drain(..).for_each(|c| c.answer(Err(broken.clone())));
            return;
        }
        match self.transaction(calls) {
            Ok(()) => {
                calls.drain(..).for_each(|c| c.answer(Ok(())));
                if let Some(log) = &self.log {
                    log.after_commit(&self.conn);
                }
            }
            Err(fault) if self.concerns_all(&fault) || calls.len() == 1 => {
                let error = fault.into_error(&self.file);
                calls.drain(..).for_each(|c| c.answer(Err(error.clone())));
            }
            Err(_) => {
                for call in calls.drain(..) {
                    let mut alone = vec![call];
                    self.write(&mut alone);
                }
            }
        }
    }

    /// Whether a failure has nothing to do with the calls. Remembers the end of writing.
    fn concerns_all(&mut self, fault: &Fault) -> bool {
        let Fault::Sql(error) = fault else { return false };
        let told = fault::of(clone_failure(error), &self.file);
        if fault::is_disk_failure(error) || matches!(told, StoreError::Damaged(_)) {
            tracing::error!(file = %self.file, error = %told, "nothing more is written to the store");
            self.broken = Some(told.clone());
        }
        self.broken.is_some() || told.is_transient()
    }

    fn transaction(&mut self, calls: &mut [Boxed]) -> Done<()> {
        let mut hints = Vec::new();
        let done = self.attempt(calls, &mut hints);
        if done.is_err() {
            self.stale = true;
            if !self.conn.is_autocommit() {
                // SQLite may have undone it already; the first error is the one to tell.
                let _ = self.conn.execute_batch("ROLLBACK");
            }
        }
        if done.is_ok() {
            self.tell(&hints);
        }
        done
    }

    fn attempt(&mut self, calls: &mut [Boxed], hints: &mut Vec<Hint>) -> Done<()> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let version = self.data_version()?;
        if self.seen != Some(version) {
            hints.extend(OTHERS);
        }
        if self.stale || self.seen != Some(version) {
            self.names = Names::load(&self.conn)?;
            self.stale = false;
            self.seen = Some(version);
        }
        for call in calls {
            let mut tx = Tx::new(&self.conn, &mut self.names, hints);
            // A mistake of ours must not end the writer: it is answered like any other failure.
            catch_unwind(AssertUnwindSafe(|| call.run(&mut tx))).unwrap_or_else(|_| {
                Err(Fault::Refused(StoreError::Internal("a store call panicked; nothing was written".into())))
            })?;
        }
        self.names.flush(&self.conn)?;
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    fn data_version(&self) -> rusqlite::Result<i64> {
        self.conn.prepare_cached("PRAGMA data_version")?.query_row([], |r| r.get(0))
    }

    fn look_for_others(&mut self) {
        if let Ok(version) = self.data_version()
            && self.seen != Some(version)
        {
            self.stale = true;
            self.seen = Some(version);
            self.tell(&OTHERS);
        }
    }

    fn tell(&self, hints: &[Hint]) {
        if hints.is_empty() {
            return;
        }
        let sink = lock(&self.shared.sink).clone();
        if let Some(sink) = sink {
            hints.iter().for_each(|h| sink(*h));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // However the thread ends, nobody waits for an answer that cannot come.
        let mut inbox = lock(&self.shared.inbox);
        inbox.closing = true;
        for class in &mut inbox.waiting {
            for (_, call) in class.drain(..) {
                call.answer(Err(StoreError::Unavailable("the store is closed".into())));
            }
        }
        inbox.closed.clear();
    }
}

enum Gathered {
    Calls,
    Nothing,
    End,
}

/// SQLite's errors cannot be cloned; what tells them apart can.
fn clone_failure(error: &rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqliteFailure(f, text) => rusqlite::Error::SqliteFailure(*f, text.clone()),
        other => rusqlite::Error::ToSqlConversionFailure(other.to_string().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, open};
    use jiff::Timestamp;
    use mainspring_core::ids::ProjectId;
    use mainspring_core::job::NewJob;
    use mainspring_core::json::Json;

    fn actor(dir: &tempfile::TempDir) -> Actor {
        let path = dir.path().join("a.db");
        let (conn, lock) = open::open(&path, &Options::default()).unwrap();
        Actor::start(conn, path.display().to_string(), None, lock).unwrap()
    }

    async fn enqueue(actor: &Actor, payload: &str) -> Result<i64> {
        let jobs = vec![NewJob::new("k", Json::of(payload).unwrap())];
        let call = actor
            .call(Class::Enqueue, 1, move |tx| tx.enqueue(Timestamp::UNIX_EPOCH, ProjectId::DEFAULT, &jobs));
        Ok(call.await?[0].id.0)
    }

    async fn count(actor: &Actor) -> i64 {
        let count = |tx: &mut Tx<'_>| Ok(tx.conn.query_row("SELECT count(*) FROM jobs", [], |r| r.get(0))?);
        actor.call(Class::Other, 1, count).await.unwrap()
    }

    #[tokio::test]
    async fn one_bad_call_takes_no_other_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let actor = actor(&dir);
        let statement = |sql: &'static str| {
            actor.call(Class::Enqueue, 1, move |tx| {
                tx.conn.execute("INSERT INTO meta VALUES ('half', 'done')", [])?;
                Ok(tx.conn.execute(sql, [])?)
            })
        };
        let panics = actor.call(Class::Enqueue, 1, |_| -> Done<()> { panic!("on purpose") });
        let refuses = actor.call(Class::Enqueue, 1, |tx| -> Done<()> {
            tx.conn.execute("INSERT INTO meta VALUES ('written', 'all the same')", [])?;
            crate::tx::conflict("refused after it wrote")
        });
        // All of them gather while the first one is written.
        let (a, broken, panicked, refused, b) = tokio::join!(
            enqueue(&actor, "a"),
            statement("INSERT INTO jobs (id) VALUES (1)"),
            panics,
            refuses,
            enqueue(&actor, "b"),
        );
        assert_eq!((a.unwrap(), b.unwrap()), (1, 2));
        assert!(matches!(broken, Err(StoreError::Internal(t)) if t.contains("NOT NULL")));
        assert!(matches!(panicked, Err(StoreError::Internal(t)) if t.contains("panicked")));
        assert!(matches!(refused, Err(StoreError::Conflict(_))));
        assert_eq!(count(&actor).await, 2);
        let left = actor.call(Class::Other, 1, |tx| {
            Ok(tx.conn.query_row("SELECT count(*) FROM meta", [], |r| r.get::<_, i64>(0))?)
        });
        assert_eq!(left.await.unwrap(), 0, "nothing of the bad calls is left");
    }

    #[tokio::test]
    async fn a_full_file_is_told_and_writing_goes_on_when_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let actor = actor(&dir);
        let limit = |pages: i64| {
            actor.call(Class::Other, 1, move |tx| {
                Ok(tx.conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?)
            })
        };
        limit(80).await.unwrap();
        let mut made = 0;
        let full = loop {
            match enqueue(&actor, &"x".repeat(3000)).await {
                Ok(_) => made += 1,
                Err(e) => break e,
            }
        };
        assert!(made > 0 && matches!(full, StoreError::Full(_)), "{full:?} after {made}");
        assert!(enqueue(&actor, &"x".repeat(9000)).await.is_err());
        assert_eq!(count(&actor).await, made);
        limit(1 << 20).await.unwrap();
        assert_eq!(enqueue(&actor, "y").await.unwrap(), made + 1);
    }

    /// The planner may not choose the wrong side: a statement of the hot path goes from its list or
    /// its index to rows by number, also when the tables are empty or huge.
    #[test]
    fn hot_statements_go_from_the_list_to_the_rows() {
        let dir = tempfile::tempdir().unwrap();
        let (conn, _lock) = open::open(&dir.path().join("a.db"), &Options::default()).unwrap();
        for (sql, wanted) in [
            (crate::finish::COMPLETE, "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"),
            (crate::claim::START, "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"),
            (crate::claim::HEAD, "SEARCH jobs USING INDEX jobs_ready (route=? AND ord>?)"),
            (crate::enqueue::INSERT_ALIKE, "SCAN rarray"),
        ] {
            let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let steps: Vec<String> = plan
                .query_map(rusqlite::params_from_iter(vec![0; plan.parameter_count()]), |r| r.get(3))
                .unwrap()
                .collect::<rusqlite::Result<_>>()
                .unwrap();
            assert!(steps.iter().any(|s| s.starts_with(wanted)), "{sql}: {steps:#?}");
            assert!(
                !steps.iter().any(|s| s.starts_with("SCAN jobs") || s.contains("TEMP B-TREE")),
                "{steps:#?}"
            );
        }
    }

    #[tokio::test]
    async fn calls_that_wait_when_the_store_closes_are_answered() {
        let dir = tempfile::tempdir().unwrap();
        let actor = actor(&dir);
        let (made, ()) = tokio::join!(enqueue(&actor, "a"), actor.close());
        assert_eq!(made.unwrap(), 1);
        assert!(matches!(enqueue(&actor, "b").await, Err(StoreError::Unavailable(_))));
    }
}
