//! A store, a clock and the lookers of two nodes.

use jiff::Timestamp;
use mainspring::alerts::{self, AlertFilter, AlertRecord, LAG, Looker, RuleSpec};
use mainspring::clock::{Clock, ManualClock};
use mainspring::core::alert::{Condition, Rule};
use mainspring::core::decide::{Outcome, decide};
use mainspring::core::ids::NodeId;
use mainspring::core::job::{Claimed, ErrorRecord, NewJob};
use mainspring::core::node::NodeInfo;
use mainspring::core::store::{ClaimRequest, Store};
use mainspring::core::tables::Statement;
use mainspring::core::time;
use mainspring::{Client, Json, RetryPolicy};
use mainspring_store_postgres::PostgresStore;
use mainspring_store_sqlite::SqliteStore;
use mainspring_testkit::pg;
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

pub const NODE: NodeId = NodeId(1);

pub struct Scene {
    pub store: Arc<dyn Store>,
    pub clock: Arc<ManualClock>,
    pub client: Client,
    lookers: [Looker; 2],
    _guard: Box<dyn Any + Send>,
}

pub fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

pub fn info(id: NodeId, name: &str) -> NodeInfo {
    NodeInfo {
        id,
        name: name.into(),
        pid: 1,
        version: "0".into(),
        slots: 10,
        queues: vec![],
        kinds: vec![],
        tz_version: "none".into(),
    }
}

/// Runs a case on both stores.
pub async fn on_both<F: Future<Output = ()>>(case: impl Fn(Scene) -> F) {
    let dir = tempfile::tempdir().expect("a folder");
    let sqlite = SqliteStore::open(dir.path().join("mainspring.db"), Default::default()).expect("opens");
    case(Scene::over(Arc::new(sqlite), Box::new(dir)).await).await;
    let database = pg::fresh_database();
    let postgres = PostgresStore::connect(&database.url(), Default::default()).await.expect("a store");
    case(Scene::over(Arc::new(postgres), Box::new(database)).await).await;
}

impl Scene {
    /// Over PostgreSQL with every statement in the server's log; the database to count them by.
    pub async fn counted() -> (Scene, Arc<pg::Database>) {
        let database = Arc::new(pg::fresh_database());
        database.log_statements();
        let postgres = PostgresStore::connect(&database.url(), Default::default()).await.expect("a store");
        (Scene::over(Arc::new(postgres), Box::new(database.clone())).await, database)
    }

    async fn over(store: Arc<dyn Store>, guard: Box<dyn Any + Send>) -> Scene {
        let clock = Arc::new(ManualClock::new("2026-11-22T10:00:30Z".parse().expect("a time")));
        let client = Client::new(store.clone()).with_clock(clock.clone()).acting_as("ada");
        let looker = || Looker::new(&client).expect("tables");
        let scene = Scene { lookers: [looker(), looker()], store, clock, client, _guard: guard };
        scene.store.join(scene.now(), info(NODE, "worker")).await.expect("joined");
        // The tables, and the rules of a new project, which are not wanted here.
        scene.look().await;
        for rule in alerts::rules(&scene.client).await.expect("rules") {
            alerts::delete_rule(&scene.client, rule.id).await.expect("deleted");
        }
        scene
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What is due, by both nodes at once.
    pub async fn look(&self) {
        for _ in 0..200 {
            let now = self.now();
            let (a, b) = tokio::join!(self.lookers[0].look(now), self.lookers[1].look(now));
            if !(a.expect("a look") | b.expect("a look")) {
                return;
            }
        }
        panic!("the lookers never come to rest");
    }

    /// Goes to the next minute's middle, looking on the way.
    pub async fn minute(&self) {
        let next = time::from_micros((time::minute(self.now()) + 1) * time::MINUTE);
        self.clock.set(time::plus(next, LAG));
        self.look().await;
        self.clock.set(time::plus(next, Duration::from_secs(30)));
    }

    pub async fn minutes(&self, n: usize) {
        for _ in 0..n {
            self.minute().await;
        }
    }

    pub async fn rule(&self, name: &str, condition: Condition) -> i64 {
        self.rule_of(name, RuleSpec::new(Rule::new(condition))).await
    }

    pub async fn rule_of(&self, name: &str, spec: RuleSpec) -> i64 {
        alerts::make_rule(&self.client, name, &spec).await.expect("a rule")
    }

    pub fn job(&self, kind: &str) -> NewJob {
        NewJob { retry: RetryPolicy::never(), ..NewJob::new(kind, Json::null()) }
    }

    /// Runs a job that ends now, after `took`.
    pub async fn run(&self, job: NewJob, good: bool, took: Duration) {
        let open = self.start(job, took).await;
        self.end(open, good).await;
    }

    /// Begins a job that runs for `took` already.
    pub async fn start(&self, job: NewJob, took: Duration) -> Vec<Claimed> {
        let began = time::minus(self.now(), took);
        let kind = job.kind.clone();
        self.store.enqueue(began, self.client.project(), vec![job]).await.expect("enqueued");
        self.store.heartbeat(self.now(), NODE, minutes(9999)).await.expect("a heartbeat");
        let request =
            ClaimRequest { node: NODE, limit: 10, kinds: vec![kind], queues: vec![], project: None };
        let claimed = self.store.claim(began, request).await.expect("claimed").jobs;
        assert!(!claimed.is_empty());
        claimed
    }

    /// Ends what was begun.
    pub async fn end(&self, claimed: Vec<Claimed>, good: bool) {
        let outcome = || match good {
            true => Outcome::Succeeded { output: None },
            false => Outcome::Failed {
                error: ErrorRecord::new("fatal", "it broke", vec![]),
                retryable: false,
                after: None,
            },
        };
        let done = claimed.iter().map(|c| decide(&c.facts, outcome(), self.now(), 0.5)).collect();
        self.store.finish(self.now(), done).await.expect("finished");
    }

    pub async fn good(&self, kind: &str) {
        self.run(self.job(kind), true, Duration::from_millis(100)).await;
    }

    pub async fn bad(&self, kind: &str) {
        self.run(self.job(kind), false, Duration::from_millis(100)).await;
    }

    /// All alerts, the oldest first.
    pub async fn alerts(&self) -> Vec<AlertRecord> {
        let (mut all, more) =
            alerts::alerts(&self.client, &AlertFilter::default(), 100).await.expect("alerts");
        assert!(!more);
        all.reverse();
        all
    }

    /// (title, whether it is open), the oldest first.
    pub async fn told(&self) -> Vec<(String, bool)> {
        self.alerts().await.into_iter().map(|a| (a.title, a.ended_at.is_none())).collect()
    }

    /// What people were told: state and title, in order.
    pub async fn notices(&self) -> Vec<(String, String)> {
        let all = Statement::new("SELECT state, title FROM notify_notices ORDER BY id");
        let tables = self.client.tables().expect("tables");
        tables.read(all).await.expect("read").into_typed().expect("rows")
    }

    /// Names of the events about alerts and rules.
    pub async fn events(&self, of: &str) -> Vec<String> {
        let all = self.store.events(self.client.project(), 0, 1000).await.expect("events");
        all.into_iter().map(|e| e.event.name).filter(|n| n.starts_with(of)).collect()
    }
}

/// One alert with this title, open or over.
pub fn one(title: &str, open: bool) -> Vec<(String, bool)> {
    vec![(title.to_owned(), open)]
}
