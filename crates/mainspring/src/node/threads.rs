//! The threads handlers run on.
//!
//! A handler that blocks its thread takes one away from all others. When all are taken and jobs
//! wait, a further set of threads is started and the free slots move over to it: a handler that
//! blocks for ever costs its slot and its thread, not the node. Each set more means that a whole set
//! of slots is blocked, so their number is bounded by the slots.

use crate::engine::{Engine, NodeEvent};
use crate::run::slot_task;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// How long threads may take to answer before they count as blocked.
const ANSWER: Duration = Duration::from_millis(500);

/// See the module's text.
pub(super) struct Threads {
    engine: Arc<Engine>,
    per_set: usize,
    /// The last one is in use; those before are blocked or finish what they have.
    sets: Mutex<Vec<Runtime>>,
}

impl Threads {
    pub(super) fn new(engine: Arc<Engine>, per_set: usize) -> std::io::Result<Arc<Threads>> {
        let threads = Threads { sets: Mutex::new(vec![build(per_set, &engine)?]), engine, per_set };
        Ok(Arc::new(threads))
    }

    /// Gives every free slot a task for which a job waits.
    pub(super) fn start(self: &Arc<Self>) {
        let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(runtime) = sets.last() else { return };
        let (slots, generation) = self.engine.board.assign();
        for slot in slots {
            runtime.spawn(slot_task(self.engine.clone(), slot, generation));
        }
    }

    /// Whether a thread is free to answer.
    async fn answers(&self) -> bool {
        let (tell, told) = tokio::sync::oneshot::channel();
        {
            let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(runtime) = sets.last() else { return true };
            runtime.spawn(async { tell.send(()) });
        }
        tokio::select! {
            _ = told => true,
            () = super::pause(ANSWER) => false,
        }
    }

    /// Starts further threads when all are blocked while jobs wait.
    pub(super) async fn look_after(self: &Arc<Self>) {
        if self.engine.board.room().1 == 0 || self.answers().await {
            return;
        }
        match build(self.per_set, &self.engine) {
            Ok(runtime) => {
                self.sets.lock().unwrap_or_else(PoisonError::into_inner).push(runtime);
                self.engine.board.renew();
                tracing::warn!(
                    "handlers block every thread they run on; further threads were started (register such kinds as blocking)"
                );
                self.engine.events.tell(|| NodeEvent::Unblocked);
                self.start();
            }
            Err(error) => {
                tracing::error!(%error, "handlers block every thread, and no further one can be started")
            }
        }
    }

    /// Ends all threads without waiting for what blocks them.
    pub(super) fn end(&self) {
        for runtime in self.sets.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            runtime.shutdown_background();
        }
    }
}

fn build(threads: usize, engine: &Engine) -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(engine.settings.slots.max(64))
        .thread_name("mainspring-job")
        .enable_all()
        .build()
}
