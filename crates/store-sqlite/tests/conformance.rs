//! The store on SQLite, held to the suite that all stores share.

use mainspring_store_sqlite::{Options, SqliteStore};
use mainspring_testkit::conformance::Fixture;
use std::sync::Arc;

async fn open() -> Fixture {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("mainspring.db");
    let store = SqliteStore::open(&path, Options::default()).expect("a store");
    Fixture {
        store: Arc::new(store),
        again: Box::new(move || {
            let path = path.clone();
            Box::pin(async move {
                // Another process: it takes no lock, but nothing keeps the suite from claiming.
                let options = Options { run_jobs: false, ..Options::default() };
                Arc::new(SqliteStore::open(&path, options).expect("another handle")) as _
            })
        }),
        guard: Box::new(dir),
    }
}

mainspring_testkit::conformance!(open);
mainspring_testkit::tables_conformance!(open);
