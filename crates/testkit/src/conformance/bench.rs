//! What cases work with: a store, short verbs, and instants counted from one fixed morning.

use super::{Fixture, Opening};
use jiff::Timestamp;
use mainspring_core::decide::{Outcome, Transition, decide};
use mainspring_core::event::Event;
use mainspring_core::ids::{JobId, NodeId, ProjectId};
use mainspring_core::job::{Claimed, ErrorRecord, Facts, JobRecord, JobState, NewJob};
use mainspring_core::json::Json;
use mainspring_core::node::NodeInfo;
use mainspring_core::reader::JobDetail;
use mainspring_core::retry::{Backoff, RetryPolicy};
use mainspring_core::schedule_record::PutSchedule;
use mainspring_core::store::{Bulk, ClaimBatch, ClaimRequest, Finished, JobFilter, Store};
use mainspring_core::tables::{Migration, Statement, Tables, TablesError};
use mainspring_core::time;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// The project of most cases.
pub const P: ProjectId = ProjectId::DEFAULT;
/// The kind of most jobs.
pub const KIND: &str = "work";
/// The lease of most cases.
pub const LEASE: Duration = Duration::from_secs(15);

/// `seconds` after 2026-11-22T10:00:00Z.
pub fn at(seconds: i64) -> Timestamp {
    time::from_micros((1_795_341_600 + seconds) * time::SECOND)
}

/// `n` seconds.
pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A job of [`KIND`] that retries after five seconds, three attempts in all.
pub fn job() -> NewJob {
    let retry = RetryPolicy { max_attempts: 3, backoff: Backoff::Fixed(secs(5)), ..RetryPolicy::default() };
    NewJob { retry, ..NewJob::new(KIND, Json::null()) }
}

/// A job of [`KIND`] in a queue.
pub fn job_in(queue: &str) -> NewJob {
    NewJob { queue: queue.into(), ..job() }
}

/// A job of [`KIND`] with a concurrency key.
pub fn keyed(key: &str) -> NewJob {
    NewJob { key: Some(key.into()), ..job() }
}

/// A retryable failure.
pub fn failed() -> Outcome {
    let error = ErrorRecord::new("retryable", "it broke", vec!["because".into()]);
    Outcome::Failed { error, retryable: true, after: None }
}

/// A success without output.
pub fn succeeded() -> Outcome {
    Outcome::Succeeded { output: None }
}

/// A failure for good.
pub fn fatal() -> Outcome {
    let error = ErrorRecord::new("fatal", "no use", vec![]);
    Outcome::Failed { error, retryable: false, after: None }
}

/// What follows `outcome` of an attempt at `seconds`, without jitter.
pub fn decided(facts: &Facts, outcome: Outcome, seconds: i64) -> Transition {
    decide(facts, outcome, at(seconds), 0.0)
}

/// The numbers of claimed jobs.
pub fn ids(claimed: &[Claimed]) -> Vec<JobId> {
    claimed.iter().map(|c| c.facts.job).collect()
}

/// A filter for these jobs.
pub fn these(ids: &[JobId]) -> JobFilter {
    JobFilter { ids: ids.to_vec(), ..JobFilter::default() }
}

/// What a node tells of itself.
pub fn node_info(id: NodeId) -> NodeInfo {
    NodeInfo {
        id,
        name: format!("node-{id}"),
        pid: 4711,
        version: "0.1.0".into(),
        slots: 8,
        queues: vec![],
        kinds: vec!["noop".into(), "mail".into()],
        tz_version: "2026a".into(),
    }
}

/// A schedule to write, due at `next` seconds.
pub fn put_schedule(name: &str, next: Option<i64>) -> PutSchedule {
    PutSchedule {
        name: name.into(),
        spec: Json::trusted("{\"cron\":\"* * * * *\"}"),
        zone: "Europe/Berlin".into(),
        next_fire: next.map(at),
        after_completion: None,
        source: "config".into(),
    }
}

/// A step of a bulk call over `filter`, from the beginning.
pub fn bulk(filter: &JobFilter) -> Bulk<'_> {
    Bulk { filter, after: None, limit: 1000 }
}

/// A store under test.
pub struct Bench {
    /// The first handle.
    pub store: Arc<dyn Store>,
    again: Box<dyn Fn() -> Opening + Send + Sync>,
    next_node: AtomicI64,
    _guard: Box<dyn Any + Send>,
}

impl Bench {
    /// A bench over a fresh store.
    pub fn new(fixture: Fixture) -> Bench {
        let Fixture { store, again, guard } = fixture;
        Bench { store, again, next_node: AtomicI64::new(1), _guard: guard }
    }

    /// Another handle on the same data, as another process has it.
    pub async fn second(&self) -> Arc<dyn Store> {
        (self.again)().await
    }

    /// A project of this name.
    pub async fn ensure(&self, name: &str) -> ProjectId {
        self.store.ensure_project(at(0), name).await.expect("a project")
    }

    /// A node that joins at `seconds`.
    pub async fn join(&self, seconds: i64) -> NodeId {
        let id = NodeId(self.next_node.fetch_add(1, Ordering::Relaxed));
        self.store.join(at(seconds), node_info(id)).await.expect("a join");
        id
    }

    /// Enqueues jobs at `seconds`; all must be new.
    pub async fn put_all(&self, seconds: i64, jobs: Vec<NewJob>) -> Vec<JobId> {
        let made = self.store.enqueue(at(seconds), P, jobs).await.expect("an enqueue");
        assert!(made.iter().all(|e| !e.duplicate), "a new job was taken for a duplicate");
        made.into_iter().map(|e| e.id).collect()
    }

    /// Enqueues one job at `seconds`; it must be new.
    pub async fn put(&self, seconds: i64, job: NewJob) -> JobId {
        self.put_all(seconds, vec![job]).await[0]
    }

    /// A claim of [`KIND`] over all queues, with everything it tells.
    pub async fn claim_batch(&self, seconds: i64, node: NodeId, limit: u32) -> ClaimBatch {
        self.store.claim(at(seconds), request(node, limit)).await.expect("a claim")
    }

    /// The jobs of a claim of [`KIND`] over all queues.
    pub async fn claim(&self, seconds: i64, node: NodeId, limit: u32) -> Vec<Claimed> {
        self.claim_batch(seconds, node, limit).await.jobs
    }

    /// Claims the one job that waits.
    pub async fn claim_one(&self, seconds: i64, node: NodeId) -> Claimed {
        let mut jobs = self.claim(seconds, node, 10).await;
        assert_eq!(jobs.len(), 1, "one job was expected to wait");
        jobs.remove(0)
    }

    /// Ends an attempt as the engine would.
    pub async fn end(&self, seconds: i64, claimed: &Claimed, outcome: Outcome) -> Finished {
        let transition = decided(&claimed.facts, outcome, seconds);
        self.store.finish(at(seconds), vec![transition]).await.expect("a finish")[0]
    }

    /// Ends an attempt that must still be held.
    pub async fn ended(&self, seconds: i64, claimed: &Claimed, outcome: Outcome) {
        assert_eq!(self.end(seconds, claimed, outcome).await, Finished::Applied);
    }

    /// Makes due jobs available.
    pub async fn promote(&self, seconds: i64) {
        self.store.promote(at(seconds), 1000).await.expect("a promote");
    }

    /// Everything about a job.
    pub async fn detail(&self, id: JobId) -> JobDetail {
        self.store.job(P, id).await.expect("a read").expect("the job")
    }

    /// A job.
    pub async fn record(&self, id: JobId) -> JobRecord {
        self.detail(id).await.job
    }

    /// A job's state.
    pub async fn state(&self, id: JobId) -> JobState {
        self.record(id).await.state
    }

    /// The states of jobs.
    pub async fn states(&self, ids: &[JobId]) -> Vec<JobState> {
        let mut states = Vec::new();
        for id in ids {
            states.push(self.state(*id).await);
        }
        states
    }

    /// All events of the project, in order.
    pub async fn events(&self) -> Vec<Event> {
        let mut all = Vec::<Event>::new();
        loop {
            let after = all.last().map_or(0, |event| event.id);
            let page = self.store.events(P, after, 1000).await.expect("events");
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// Events as `name subject`, those of nodes left out.
    pub async fn told(&self) -> Vec<String> {
        let events = self.events().await.into_iter().map(|e| e.event);
        events.filter(|e| !e.name.starts_with("node.")).map(|e| format!("{} {}", e.name, e.subject)).collect()
    }

    /// How many jobs the project has.
    pub async fn how_many(&self) -> u64 {
        self.store.counts(P).await.expect("counts").iter().map(|(.., n)| n).sum()
    }
}

/// A claim of [`KIND`] over all queues.
pub fn request(node: NodeId, limit: u32) -> ClaimRequest {
    ClaimRequest { node, limit, kinds: vec![KIND.into()], queues: vec![], project: None }
}

/// None of the engine's own tables and indexes, which `names` lists where this store keeps them, can
/// be written by an owner or be taken for one. No case of the list: each store asks another catalogue.
pub async fn no_name_of_the_engine(store: &dyn Tables, names: Statement) {
    let note = Migration::new("1", "CREATE TABLE web_notes (id INTEGER PRIMARY KEY, text TEXT)");
    store.migrate("web", &[note]).await.unwrap();
    let names: Vec<String> = store.read(names).await.unwrap().into_typed().unwrap();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        let delete = Statement::built(format!("DELETE FROM {name}"));
        let error = store.write(delete.into()).await.unwrap_err().to_string();
        assert!(error.contains("may be written here"), "{name}: {error}");
        let owner = name.split('_').next().unwrap();
        let error = store.migrate(owner, &[]).await.unwrap_err();
        assert!(matches!(error, TablesError::Migration(_)), "{name}: {error}");
    }
}
