//! What the tests of the library share: a node over a `MemoryStore`, started and stopped.
#![allow(dead_code, reason = "each test program uses its part")]

pub mod faulty;
pub mod hand;

use mainspring::core::job::{AttemptOutcome, JobState};
use mainspring::core::reader::{JobDetail, Reader};
use mainspring::core::{JobId, ProjectId, limits};
use mainspring::node::Summary;
use mainspring::{Client, Json, KindSpec, NewJob, Node, NodeBuilder, NodeError, NodeEvent, Registry};
use mainspring_testkit::MemoryStore;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinHandle;

/// A node that runs in the background of a test.
pub struct Running {
    pub store: MemoryStore,
    pub client: Client,
    pub events: broadcast::Receiver<NodeEvent>,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<Summary, NodeError>>,
}

/// Starts a node of 4 slots over a fresh store.
pub fn start(registry: Registry) -> Running {
    start_with(MemoryStore::new(), registry, |b| b)
}

pub fn start_with(
    store: MemoryStore,
    registry: Registry,
    change: impl FnOnce(NodeBuilder) -> NodeBuilder,
) -> Running {
    let builder = builder(Arc::new(store.clone()), registry);
    run(store, change(builder).build().expect("the node can be built"))
}

/// A node of 4 slots that polls quickly.
pub fn builder(store: Arc<dyn mainspring::core::store::Store>, registry: Registry) -> NodeBuilder {
    Node::builder(store, registry)
        .slots(4)
        .grace(Duration::from_secs(5))
        .cancel_grace(Duration::from_millis(200))
        .settings(|s| s.poll_blind = Duration::from_millis(200))
}

pub fn run(store: MemoryStore, node: Node) -> Running {
    let (client, events) = (node.client(), node.events().listen());
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(node.run(async {
        let _ = stopped.await;
    }));
    Running { store, client, events, stop: Some(stop), ended }
}

impl Running {
    /// Asks for the shutdown and waits for the end.
    pub async fn stop(mut self) -> Summary {
        drop(self.stop.take());
        let ended = tokio::time::timeout(Duration::from_secs(20), self.ended).await;
        ended.expect("the node ends in time").expect("it does not panic").expect("it ends well")
    }

    /// Waits until the job is as `when` says.
    pub async fn until(&self, id: JobId, when: impl Fn(&JobDetail) -> bool) -> JobDetail {
        until(&self.store, id, when).await
    }

    /// Waits until the job is final.
    pub async fn finished(&self, id: JobId) -> JobDetail {
        self.until(id, |d| d.job.state.is_final()).await
    }

    /// Enqueues a job of this kind without a payload.
    pub async fn enqueue(&self, kind: &str) -> JobId {
        self.enqueue_with(kind, |_| ()).await
    }

    pub async fn enqueue_with(&self, kind: &str, change: impl FnOnce(&mut NewJob)) -> JobId {
        let mut job = self.client.new_job_of(kind, Json::null());
        change(&mut job);
        self.client.enqueue_raw(job).await.expect("enqueued").id
    }

    /// Waits for an event for which `pick` gives something.
    pub async fn event<T>(&mut self, mut pick: impl FnMut(&NodeEvent) -> Option<T>) -> T {
        let wait = async {
            loop {
                match self.events.recv().await {
                    Ok(event) => {
                        if let Some(found) = pick(&event) {
                            return found;
                        }
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(e) => panic!("the node ended: {e}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(15), wait).await.expect("the event comes")
    }
}

pub async fn until(store: &MemoryStore, id: JobId, when: impl Fn(&JobDetail) -> bool) -> JobDetail {
    let mut last = None;
    for _ in 0..1500 {
        let detail = store.job(ProjectId::DEFAULT, id).await.unwrap().expect("the job is there");
        if when(&detail) {
            return detail;
        }
        last = Some(detail);
        nap(10).await;
    }
    panic!("the job never came to that: {last:#?}");
}

#[allow(clippy::disallowed_methods, reason = "a test that waits for a real node")]
pub async fn nap(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// A spec without retries, so that a failure is final.
pub fn once() -> KindSpec {
    KindSpec::default().retry(mainspring::RetryPolicy::never())
}

/// A spec with three attempts and a very short wait.
pub fn thrice() -> KindSpec {
    KindSpec::default().retry(mainspring::RetryPolicy {
        max_attempts: 3,
        backoff: mainspring::Backoff::Fixed(Duration::from_millis(5)),
        retry_timeouts: true,
    })
}

/// How a job stands, in short.
pub fn stand(d: &JobDetail) -> (JobState, Option<AttemptOutcome>, u32) {
    (d.job.state, d.job.outcome, d.job.attempt)
}

/// The message of its last error.
pub fn error(d: &JobDetail) -> (String, String) {
    let e = d.job.error.clone().expect("it has an error");
    (e.class, e.message)
}

/// All log lines of a job.
pub async fn logs(store: &MemoryStore, job: JobId) -> Vec<String> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = store.logs(ProjectId::DEFAULT, job, after, limits::PAGE as u32).await.unwrap();
        let Some(last) = page.last() else { return all };
        after = Some((last.attempt, last.seq));
        all.extend(page.into_iter().map(|l| l.message));
    }
}
