//! The store on PostgreSQL, held to the suite that all stores share.

use mainspring_store_postgres::{Options, PostgresStore};
use mainspring_testkit::conformance::Fixture;
use mainspring_testkit::pg;
use std::sync::Arc;

async fn open() -> Fixture {
    let database = pg::fresh_database();
    let url = database.url();
    let store = PostgresStore::connect(&url, Options::default()).await.expect("a store");
    Fixture {
        store: Arc::new(store),
        again: Box::new(move || {
            let url = url.clone();
            Box::pin(async move {
                // Another process on the same database.
                Arc::new(PostgresStore::connect(&url, Options::default()).await.expect("another")) as _
            })
        }),
        guard: Box::new(database),
    }
}

mainspring_testkit::conformance!(open);
mainspring_testkit::tables_conformance!(open);
