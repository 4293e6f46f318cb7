//! What only this store can get wrong about owners' tables: its own names, and what the server
//! takes a parameter for.

use mainspring_core::store::Store;
use mainspring_core::tables::{Statement, Tables, TablesError};
use mainspring_store_postgres::{Options, PostgresStore};
use mainspring_testkit::conformance::no_name_of_the_engine;
use mainspring_testkit::pg;

#[tokio::test]
async fn no_name_of_the_engine_is_within_an_owners_reach() {
    let database = pg::fresh_database();
    let store = PostgresStore::connect(&database.url(), Options::default()).await.unwrap();
    let names = Statement::new(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = 'mainspring' AND c.relname NOT LIKE 'web%'",
    );
    no_name_of_the_engine(&store, names).await;
    store.close().await;
}

#[tokio::test]
async fn a_parameter_the_server_takes_for_something_else_is_told_without_its_value() {
    let database = pg::fresh_database();
    let store = PostgresStore::connect(&database.url(), Options::default()).await.unwrap();
    let large = 421_337_000_000_i64;
    for (statement, why) in [
        (Statement::new("SELECT 1 WHERE ?1 IS NULL").bind(large), "CAST(?1 AS INTEGER)"),
        (
            Statement::new("SELECT 1 + ?1").bind(large),
            "?1 is an integer where int4 is expected, and too large",
        ),
        (Statement::new("SELECT 'a' || ?1").bind(large), "?1 is an integer where text is expected"),
        (Statement::new("SELECT CAST(?1 AS INTEGER)").bind("421337"), "?1 is a text where int8 is expected"),
        (
            Statement::new("SELECT CAST(CAST(?1 AS TEXT) AS INTEGER)").bind("hunter421337"),
            "invalid input syntax",
        ),
        (Statement::new("SELECT now()"), "it gives timestamptz; say with CAST"),
    ] {
        let error = store.read(statement).await.unwrap_err();
        assert!(matches!(error, TablesError::Statement { nth: 1, .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(why) && !text.contains("421337"), "{text}");
    }
    let fits = Statement::new("SELECT 1 + ?1, sum(n) > ?2 FROM (VALUES (1)) v (n)").bind(1).bind(0);
    assert_eq!(store.read(fits).await.unwrap().one::<(i64, bool)>().unwrap(), (2, true));
    store.close().await;
}
