//! What only this store can get wrong about owners' tables: its own names, and its one writer.

use mainspring_core::store::Store;
use mainspring_core::tables::{Migration, Statement, Tables, TablesError, Write};
use mainspring_store_sqlite::{Options, SqliteStore};

async fn open(dir: &tempfile::TempDir) -> SqliteStore {
    SqliteStore::open(dir.path().join("a.db"), Options::default()).unwrap()
}

#[tokio::test]
async fn no_name_of_the_engine_is_within_an_owners_reach() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let note = Migration::new("1", "CREATE TABLE web_notes (id INTEGER PRIMARY KEY, text TEXT)");
    store.migrate("web", &[note]).await.unwrap();
    let names = Statement::new("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'web%'");
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
