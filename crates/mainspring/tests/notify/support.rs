//! Both stores with the tables of notifications.

use mainspring_core::ProjectId;
use mainspring_core::store::Store;
use mainspring_core::tables::{Statement, Tables};
use mainspring_store_postgres::PostgresStore;
use mainspring_store_sqlite::SqliteStore;
use mainspring_testkit::pg;
use std::sync::Arc;

/// A store and what keeps it there.
pub struct Stores {
    _store: Arc<dyn Store>,
    pub tables: Arc<dyn Tables>,
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
    Stores { _store: store, tables, _keep: keep }
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

/// The same test on both stores.
#[macro_export]
macro_rules! on_both {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$name($crate::support::sqlite().await).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$name($crate::support::postgres().await).await;
            }
        }
    )+};
}
