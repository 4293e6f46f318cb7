//! What only this store can get wrong about owners' tables: its own names, and its one writer.

use mainspring_core::store::Store;
use mainspring_core::tables::{Migration, Statement, Tables, TablesError, Write};
use mainspring_store_sqlite::{Options, SqliteStore};
use mainspring_testkit::conformance::no_name_of_the_engine;

async fn open(dir: &tempfile::TempDir) -> SqliteStore {
    SqliteStore::open(dir.path().join("a.db"), Options::default()).unwrap()
}

#[tokio::test]
async fn no_name_of_the_engine_is_within_an_owners_reach() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let names = Statement::new("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'web%'");
    no_name_of_the_engine(&store, names).await;
    store.close().await;
}

#[tokio::test]
async fn an_owners_tables_hold_their_types_and_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let note = [Migration::new("1", "CREATE TABLE web_notes (id INTEGER PRIMARY KEY, n INTEGER)")];
    store.migrate("web", &note).await.unwrap();
    let insert = |n: &str| Statement::new("INSERT INTO web_notes (n) VALUES (?1)").bind(n);
    assert!(matches!(store.write(insert("x").into()).await, Err(TablesError::Statement { nth: 1, .. })));
    store.write(Write::new().then(insert("17"))).await.unwrap();
    store.close().await;
    let store = open(&dir).await;
    assert_eq!(store.migrate("web", &note).await.unwrap(), 0);
    let rows = store.read(Statement::new("SELECT id, n FROM web_notes")).await.unwrap();
    // The refused row's number was never given out.
    assert_eq!(rows.into_typed::<(i64, i64)>().unwrap(), [(1, 17)]);
    store.close().await;
}
