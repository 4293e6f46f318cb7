//! The reading side's threads: a few connections that cannot write, beside the writer.
//!
//! A connection is opened when it is first needed, so that a command that only enqueues pays for
//! none. Each read sees one committed state of the file.

use crate::open;
use crate::tx::Done;
use mainspring_core::{StoreError, error::Result};
use rusqlite::Connection;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce(Result<&Connection>) + Send>;

#[derive(Default)]
struct Waiting {
    work: VecDeque<Work>,
    closing: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

/// The pool.
pub(crate) struct Readers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    file: String,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Readers {
    /// Starts `count` threads (at least one).
    pub fn start(path: PathBuf, busy_timeout: Duration, count: usize) -> Result<Readers> {
        let shared = Arc::new(Shared::default());
        let file = path.display().to_string();
        let mut threads = Vec::new();
        for n in 0..count.max(1) {
            let (shared, path) = (shared.clone(), path.clone());
            let thread = std::thread::Builder::new()
                .name(format!("mainspring-read-{n}"))
                .spawn(move || serve(&shared, &path, busy_timeout))
                .map_err(|e| StoreError::Internal(format!("a reader's thread cannot be started: {e}")))?;
            threads.push(thread);
        }
        Ok(Readers { shared, threads: Mutex::new(threads), file })
    }

    /// Runs `read` in one read transaction.
    pub async fn read<T, F>(&self, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Done<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let file = self.file.clone();
        let work: Work = Box::new(move |conn| {
            let result = conn.and_then(|conn| {
                let run = || -> Done<T> {
                    let tx = conn.unchecked_transaction()?;
                    let value = read(&tx)?;
                    tx.finish()?;
                    Ok(value)
                };
                run().map_err(|e| e.into_error(&file))
            });
            // The caller may have gone away.
            let _ = reply.send(result);
        });
        {
            let mut waiting = lock(&self.shared.waiting);
            if waiting.closing {
                return Err(StoreError::Unavailable("the store is closed".into()));
            }
            waiting.work.push_back(work);
        }
        self.shared.wake.notify_one();
        answer.await.unwrap_or_else(|_| Err(StoreError::Internal("a read panicked".into())))
    }

    /// Ends the threads once they are through with what waits, and closes their connections.
    pub fn close(&self) {
        lock(&self.shared.waiting).closing = true;
        self.shared.wake.notify_all();
        for thread in lock(&self.threads).drain(..) {
            // A panic has been answered as an error.
            let _ = thread.join();
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.close();
    }
}

fn serve(shared: &Shared, path: &std::path::Path, busy_timeout: Duration) {
    let mut conn: Option<Connection> = None;
    loop {
        let work = {
            let mut waiting = lock(&shared.waiting);
            loop {
                if let Some(work) = waiting.work.pop_front() {
                    break work;
                }
                if waiting.closing {
                    return;
                }
                waiting = shared.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
        };
        let opened = match conn.take() {
            Some(conn) => Ok(conn),
            None => open::open_reader(path, busy_timeout),
        };
        // The answer's channel closes when the work panics, which its caller sees.
        match opened {
            Ok(open) => {
                let done = catch_unwind(AssertUnwindSafe(|| work(Ok(&open))));
                conn = done.is_ok().then_some(open);
            }
            Err(e) => {
                let _ = catch_unwind(AssertUnwindSafe(|| work(Err(e))));
            }
        }
    }
}
