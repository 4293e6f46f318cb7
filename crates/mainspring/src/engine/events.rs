//! What happens in this process, as it happens: for the live view of a terminal and for tests.
//! Nothing waits for a listener; one that is too slow misses some and is told how many.

use jiff::Timestamp;
use mainspring_core::ids::{JobId, NodeId, ScheduleId};
use mainspring_core::job::AttemptOutcome;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;

/// How many events a listener may be behind.
pub const BACKLOG: usize = 4096;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeEvent {
    /// The node is in.
    Joined(NodeId),
    /// The store forgot the node: everything it held was dropped and it comes back as another.
    Forgotten(NodeId),
    /// The database cannot be reached; the node waits for it.
    StoreLost(String),
    /// It can be reached again.
    StoreBack,
    /// The machine's clock is this far from the database's: nothing is claimed until it is put
    /// right (None: it is right again).
    Skewed(Option<Duration>),
    /// Handlers blocked every thread; further ones were started.
    Unblocked,
    /// The node takes nothing new.
    Draining {
        /// Attempts that still run.
        running: usize,
    },
    /// A schedule fired.
    Fired {
        /// Its name.
        schedule: Arc<str>,
        /// Its number.
        id: ScheduleId,
        /// The jobs that were made.
        jobs: Vec<JobId>,
        /// Fires that made none.
        without: u64,
    },
    /// A schedule's rule cannot be read; it will not fire until it is written anew.
    Broken {
        /// Its name.
        schedule: Arc<str>,
        /// Why.
        why: String,
    },
    /// A handler was called.
    Started {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: u32,
        /// Its kind.
        kind: Arc<str>,
        /// Its schedule.
        schedule: Option<ScheduleId>,
        /// When.
        at: Timestamp,
    },
    /// An attempt's end is written.
    Finished {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: u32,
        /// Its kind.
        kind: Arc<str>,
        /// Its schedule.
        schedule: Option<ScheduleId>,
        /// How it ended.
        outcome: AttemptOutcome,
        /// When it runs again, if it does.
        again: Option<Timestamp>,
        /// Why the job ended or what went wrong.
        reason: Option<String>,
        /// How long the handler took.
        took: Duration,
    },
    /// An attempt's end was not written: the lease was lost, another attempt counts.
    Stale {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: u32,
    },
}

/// Where events come from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct NodeEvents(broadcast::Sender<NodeEvent>);

impl Default for NodeEvents {
    fn default() -> Self {
        NodeEvents(broadcast::channel(BACKLOG).0)
    }
}

impl NodeEvents {
    /// Listens from now on.
    pub fn listen(&self) -> broadcast::Receiver<NodeEvent> {
        self.0.subscribe()
    }

    /// Tells; costs nothing while nobody listens.
    pub(crate) fn tell(&self, event: impl FnOnce() -> NodeEvent) {
        if self.0.receiver_count() > 0 {
            // An error says that the last listener has just gone.
            let _ = self.0.send(event());
        }
    }
}
