//! Both stores with the tables of notifications.

use mainspring::notify::{
    self, Channel, Delivery, DeliveryState, NewChannel, Notice, NoticeState, Setup, Severity, Timing,
};
use mainspring::secrets::{Keyring, Keys, Secret};
use mainspring::{Client, Node, Registry};
use mainspring_core::ProjectId;
use mainspring_core::ids::JobId;
use mainspring_core::job::JobState;
use mainspring_core::store::Store;
use mainspring_core::tables::Write;
use mainspring_core::tables::{Statement, Tables};
use mainspring_outbound::{Guard, Settings};
use mainspring_store_postgres::PostgresStore;
use mainspring_store_sqlite::SqliteStore;
use mainspring_testkit::outside::CA;
use mainspring_testkit::pg;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A store and what keeps it there.
pub struct Stores {
    pub store: Arc<dyn Store>,
    pub tables: Arc<dyn Tables>,
    keys: Arc<Keys>,
    _keep: Box<dyn std::any::Any>,
}

/// SQLite in a directory of its own.
pub async fn sqlite() -> Stores {
    let dir = tempfile::tempdir().unwrap();
    let store =
        SqliteStore::open(dir.path().join("a.db"), mainspring_store_sqlite::Options::default()).unwrap();
    ready(Arc::new(store), Box::new(dir)).await
}

/// PostgreSQL in a database of its own.
pub async fn postgres() -> Stores {
    let database = pg::fresh_database();
    let store =
        PostgresStore::connect(&database.url(), mainspring_store_postgres::Options::default()).await.unwrap();
    ready(Arc::new(store), Box::new(database)).await
}

async fn ready(store: Arc<dyn Store>, keep: Box<dyn std::any::Any>) -> Stores {
    let tables = store.clone().tables().unwrap();
    mainspring::notify::migrate(&*tables).await.unwrap();
    let keys = Keys::given(Keyring::random().unwrap());
    Stores { store, tables, keys, _keep: keep }
}

impl Stores {
    /// A channel as a row, for tests that send nothing.
    pub async fn bare_channel(&self, project: ProjectId, name: &str) -> i64 {
        let statement = Statement::new(
            "INSERT INTO notify_channels (project, name, kind, settings, timing, created, changed)
             VALUES (?1, ?2, 'webhook', '{}', '{}', 0, 0) RETURNING id",
        );
        let written = self.tables.write(statement.bind(project).bind(name).into()).await.unwrap();
        written.rows[0].clone().one().unwrap()
    }

    /// How many rows a table has.
    pub async fn count(&self, table: &str) -> i64 {
        self.tables
            .read(Statement::built(format!("SELECT count(*) FROM {table}")))
            .await
            .unwrap()
            .one()
            .unwrap()
    }
}

/// A node that delivers, and a client that knows what it knows.
pub struct Running {
    pub client: Client,
    pub stores: Stores,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<()>,
}

/// The address of the dashboard in messages.
pub const HOME: &str = "https://m.example";

/// A way to servers on loopback.
pub fn outbound() -> mainspring_outbound::Client {
    let guard = Guard::new(&["127.0.0.0/8"]).unwrap();
    let settings = Settings { guard, extra_roots: Some(CA.into()), ..Settings::default() };
    mainspring_outbound::Client::new(settings).unwrap()
}

impl Running {
    /// Starts a node over a store.
    pub fn start(stores: Stores) -> Running {
        let outbound = outbound();
        let registry = Registry::new().keys(stores.keys.clone());
        let registry = Arc::new(notify::register(registry, outbound, Some(HOME.into())));
        let node = Node::builder(stores.store.clone(), registry)
            .slots(4)
            .grace(Duration::from_millis(100))
            .settings(|s| {
                s.poll = Duration::from_millis(200);
                s.poll_blind = Duration::from_millis(200);
            });
        let node = node.build().unwrap();
        let client = node.client().acting_as("ada");
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(async move {
            node.run(async { drop(stopped.await) }).await.unwrap();
        });
        Running { client, stores, stop: Some(stop), ended }
    }

    pub async fn stop(mut self) -> Stores {
        drop(self.stop.take());
        self.ended.await.unwrap();
        self.stores
    }

    /// Makes a channel.
    pub async fn channel(
        &self,
        name: &str,
        settings: Setup,
        secret: Option<&str>,
        timing: Timing,
    ) -> Channel {
        let secret = secret.map(Secret::new);
        let new = NewChannel { name: name.into(), settings, timing, enabled: true, secret };
        notify::make(&self.client, &self.client.vault(), new).await.unwrap().0
    }

    /// Says something to channels; the numbers of the deliveries, in order.
    pub async fn say(&self, title: &str, urgent: bool, channels: &[i64]) -> Vec<i64> {
        let notice = Notice {
            project: self.client.project(),
            key: format!("rule/{title}"),
            severity: Severity::Warning,
            state: NoticeState::Firing,
            title: title.into(),
            text: "Look at it.".into(),
            facts: vec![("queue".into(), "mail".into())],
            path: "/jobs/12".into(),
            at: self.client.now(),
            urgent,
        };
        let said = notice.announce(channels);
        let uid = said.uid.clone();
        self.stores.tables.write(said.into_write(Write::new(), notice.at, notice.project)).await.unwrap();
        let ids = Statement::new("SELECT id FROM notify_deliveries WHERE notice = ?1 ORDER BY id").bind(uid);
        self.stores.tables.read(ids).await.unwrap().into_typed().unwrap()
    }

    /// Waits until the delivery is as `when` says.
    pub async fn until(&self, id: i64, when: impl Fn(&Delivery) -> bool) -> Delivery {
        let mut last = None;
        for _ in 0..3000 {
            let found = notify::delivery(&self.client, id).await.unwrap().0;
            if when(&found) {
                return found;
            }
            last = Some(found);
            nap(20).await;
        }
        panic!("the delivery never came to that: {last:#?}");
    }

    /// Waits until a job is in this state.
    pub async fn job_becomes(&self, id: JobId, state: JobState) {
        for _ in 0..3000 {
            let job = self.stores.store.job(self.client.project(), id).await.unwrap().unwrap().job;
            if job.state == state {
                return;
            }
            nap(20).await;
        }
        panic!("job {id} never became {state}");
    }

    /// Waits until it is in this state.
    pub async fn becomes(&self, id: i64, state: DeliveryState) -> Delivery {
        self.until(id, |d| d.state == state).await
    }
}

#[allow(clippy::disallowed_methods, reason = "a test that waits for a real node")]
pub fn nap(ms: u64) -> impl Future<Output = ()> {
    tokio::time::sleep(Duration::from_millis(ms))
}

/// The same test on both stores.
#[macro_export]
macro_rules! on_both {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                Box::pin(super::$name($crate::support::sqlite().await)).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                Box::pin(super::$name($crate::support::postgres().await)).await;
            }
        }
    )+};
}
