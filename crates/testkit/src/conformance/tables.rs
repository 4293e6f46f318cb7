//! What statements to an owner's tables give: the same values, rows and errors on every store.

use super::bench::*;
use mainspring_core::limits;
use mainspring_core::tables::{
    AsJson, At, Broken, IntoValue, Migration, Rows, Rule, Statement, Tables, TablesError, Value, Write,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The tables of most cases.
pub(super) const USERS: Migration = Migration::new(
    "0001_users",
    "CREATE TABLE web_orgs (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
     CREATE TABLE web_users (
         id INTEGER PRIMARY KEY,
         name TEXT NOT NULL,
         org INTEGER REFERENCES web_orgs (id) ON DELETE CASCADE,
         visits INTEGER NOT NULL DEFAULT 0,
         share REAL,
         key BLOB,
         age INTEGER,
         CONSTRAINT web_users_age CHECK (age >= 0)
     );
     CREATE UNIQUE INDEX web_users_name ON web_users (org, name);
     CREATE UNIQUE INDEX web_users_key ON web_users (lower(name)) WHERE org IS NULL;",
);

/// The door of a bench, with the tables of [`USERS`].
pub(super) async fn door(b: &Bench) -> Arc<dyn Tables> {
    let tables = b.store.clone().tables().expect("a store with tables");
    assert_eq!(tables.migrate("web", &[USERS]).await.unwrap(), 1);
    tables
}

pub(super) fn sql(text: &'static str) -> Statement {
    Statement::new(text)
}

/// Writes one statement.
pub(super) async fn write(t: &Arc<dyn Tables>, statement: Statement) -> Result<Rows, TablesError> {
    let mut written = t.write(statement.into()).await?;
    assert!(written.jobs.is_empty());
    Ok(written.rows.pop().expect("an answer for the statement"))
}

/// The number a statement gives.
pub(super) async fn number(t: &Arc<dyn Tables>, text: &'static str) -> i64 {
    t.read(sql(text)).await.unwrap().one().unwrap()
}

async fn add(t: &Arc<dyn Tables>, name: &str) -> i64 {
    let insert = sql("INSERT INTO web_users (name) VALUES (?1) RETURNING id").bind(name);
    write(t, insert).await.unwrap().one().unwrap()
}

/// Values of all types, at their ends, through parameters, columns and answers.
pub async fn every_value_comes_back_as_it_was_written(b: &Bench) {
    let t = door(b).await;
    let kinds =
        Migration::new("0002", "CREATE TABLE web_values (n INTEGER, i INTEGER, r REAL, t TEXT, b BLOB)");
    assert_eq!(t.migrate("web", &[USERS, kinds]).await.unwrap(), 1);
    let texts =
        ["", "plain", "Grüße, 世界 👩‍🚀 \u{202e}", "'; DROP TABLE web_users; --", "?1 $1", "\\ \" \n\t\u{1}"];
    let big = "ß".repeat(500_000);
    let mut wanted = Vec::new();
    for (i, r, text, blob) in [
        (i64::MIN, f64::MIN, texts[0], vec![]),
        (-1, -0.1, texts[1], vec![0]),
        (0, 0.0, texts[2], (0..=255).collect()),
        (1, f64::MIN_POSITIVE, texts[3], vec![0; 100_000]),
        (i64::MAX, f64::MAX, texts[4], b"\0'".to_vec()),
        (1 << 53, 1e15, texts[5], vec![255]),
        (-(1 << 40), 2.0, big.as_str(), vec![1, 2]),
    ] {
        wanted.push(vec![Value::Int(i), Value::Real(r), Value::Text(text.into()), Value::Blob(blob)]);
    }
    wanted.push(vec![Value::Null; 4]);
    for (row, n) in wanted.iter().zip(0i64..) {
        let insert =
            sql("INSERT INTO web_values (n, i, r, t, b) VALUES (?1, ?2, ?3, ?4, ?5) RETURNING i, r, t, b");
        let insert = row.iter().fold(insert.bind(n), |s, value| s.bind(value.clone()));
        let given = write(&t, insert).await.unwrap();
        assert_eq!(given.values(), std::slice::from_ref(row));
        assert_eq!(given.columns(), ["i", "r", "t", "b"]);
    }
    let read = t.read(sql("SELECT i, r, t, b FROM web_values ORDER BY n")).await.unwrap();
    assert!(read.values() == wanted, "what was read differs from what was written");
    let found = sql("SELECT n FROM web_values WHERE i = ?1 AND r = ?2 AND t = ?3 AND b = ?4");
    let found = wanted[4].iter().fold(found, |s, value| s.bind(value.clone()));
    assert_eq!(t.read(found).await.unwrap().one::<i64>().unwrap(), 4);
    // A whole number is a real number too, and the other way round.
    let mixed =
        sql("INSERT INTO web_values (n, i, r) VALUES (?1, ?2, ?3) RETURNING i, r").bind(8).bind(3.0).bind(4);
    assert_eq!(write(&t, mixed).await.unwrap().values(), [vec![Value::Int(3), Value::Real(4.0)]]);
}

/// What SQL computes has the same types everywhere.
pub async fn what_is_computed_has_one_type(b: &Bench) {
    let t = door(b).await;
    for (name, age) in [("a", 1i64), ("b", 2), ("c", 6)] {
        write(&t, sql("INSERT INTO web_users (name, age) VALUES (?1, ?2)").bind(name).bind(age))
            .await
            .unwrap();
    }
    let read = t
        .read(sql(
            "SELECT count(*), sum(age), avg(age), max(name), sum(share), min(age) > 0, 7 / 2, coalesce(share, 0.5),
                    CAST('x' AS TEXT) || ?1, CAST(?2 AS INTEGER) + 1, CAST(?3 AS REAL), CAST(?4 AS BLOB), length(?5)
             FROM web_users GROUP BY share"
        )
        .bind("y")
        .bind(i64::MAX - 1)
        .bind(0.25)
        .bind(vec![7u8])
        .bind("äö"))
        .await;
    let (i, r) = (Value::Int, Value::Real);
    let text = |t: &str| Value::Text(t.into());
    assert_eq!(
        read.unwrap().values(),
        [vec![
            i(3),
            i(9),
            r(3.0),
            text("c"),
            Value::Null,
            i(1),
            i(3),
            r(0.5),
            text("xy"),
            i(i64::MAX),
            r(0.25),
            Value::Blob(vec![7]),
            i(2),
        ]]
    );
    // Texts are ordered by their bytes, whatever the database's language is.
    for name in ["Z", "ä", "_"] {
        add(&t, name).await;
    }
    let names = t.read(sql("SELECT name FROM web_users ORDER BY name")).await.unwrap();
    assert_eq!(names.into_typed::<String>().unwrap(), ["Z", "_", "a", "b", "c", "ä"]);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Settings {
    theme: String,
    sizes: Vec<u8>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Account {
    id: i64,
    name: String,
    org: Option<i64>,
    active: bool,
    seen: At,
    settings: AsJson<Settings>,
    key: Vec<u8>,
}

/// Structs from rows: instants, JSON, booleans, options, bytes.
pub async fn rows_become_structs(b: &Bench) {
    let t = b.store.clone().tables().expect("a store with tables");
    let made = Migration::new(
        "0001",
        "CREATE TABLE kit_accounts (id INTEGER PRIMARY KEY, name TEXT NOT NULL, org INTEGER,
             active INTEGER NOT NULL, seen INTEGER NOT NULL, settings TEXT NOT NULL, key BLOB NOT NULL)",
    );
    t.migrate("kit", &[made]).await.unwrap();
    let settings = || Settings { theme: "dark ☾".into(), sizes: vec![1, 2] };
    let insert = sql(
        "INSERT INTO kit_accounts (name, org, active, seen, settings, key) VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING *",
    );
    let insert = insert.bind("Ada").bind(None::<i64>).bind(true).bind(at(5));
    let given = write(&t, insert.bind(AsJson(settings())).bind(b"\x00\xff")).await.unwrap();
    let ada = Account {
        id: 1,
        name: "Ada".into(),
        org: None,
        active: true,
        seen: At(at(5)),
        settings: AsJson(settings()),
        key: vec![0, 255],
    };
    assert_eq!(given.one::<Account>().unwrap(), ada);
    let read =
        t.read(sql("SELECT * FROM kit_accounts WHERE active = ?1 AND seen <= ?2").bind(true).bind(at(5)));
    assert_eq!(read.await.unwrap().into_typed::<Account>().unwrap(), [ada]);
    let misfit = t.read(sql("SELECT name AS id FROM kit_accounts")).await.unwrap().into_typed::<Account>();
    assert_eq!(misfit.unwrap_err().to_string(), "row 1: column id is a text, expected i64");
}

/// Upserts, RETURNING, CTEs, window functions.
pub async fn the_common_subset_of_sql_works(b: &Bench) {
    let t = door(b).await;
    let visit = || {
        sql("INSERT INTO web_users (name, visits) VALUES (?1, 1)
             ON CONFLICT (lower(name)) WHERE org IS NULL DO UPDATE SET visits = web_users.visits + excluded.visits
             RETURNING id, visits")
        .bind("Ada")
    };
    for n in 1..=3i64 {
        assert_eq!(write(&t, visit()).await.unwrap().one::<(i64, i64)>().unwrap(), (1, n));
    }
    let nothing = sql("INSERT INTO web_users (id, name) VALUES (1, ?1) ON CONFLICT DO NOTHING RETURNING id");
    assert_eq!(write(&t, nothing.bind("Eve")).await.unwrap().affected(), 0);
    for (name, visits) in [("Bob", 5i64), ("Cid", 2)] {
        let insert = sql("INSERT INTO web_users (name, visits) VALUES (?1, ?2)").bind(name).bind(visits);
        let given = write(&t, insert).await.unwrap();
        assert_eq!((given.affected(), given.len()), (1, 0));
    }
    let ranked = sql("WITH often AS (SELECT name, visits FROM web_users WHERE visits >= ?1)
         SELECT name, row_number() OVER (ORDER BY visits DESC, name) AS place,
                sum(visits) OVER (ORDER BY visits DESC, name) AS sum FROM often ORDER BY place");
    let ranked = t.read(ranked.bind(2)).await.unwrap().into_typed::<(String, u8, i64)>().unwrap();
    assert_eq!(ranked, [("Bob".into(), 1, 5), ("Ada".into(), 2, 8), ("Cid".into(), 3, 10)]);
    let numbers =
        sql("WITH RECURSIVE n (i) AS (SELECT CAST(1 AS INTEGER) UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         SELECT sum(i) FROM n");
    assert_eq!(t.read(numbers.bind(100)).await.unwrap().one::<i64>().unwrap(), 5050);
    let copy = sql("WITH top AS (SELECT id FROM web_users ORDER BY visits DESC LIMIT ?1)
         UPDATE web_users SET visits = 0 WHERE id IN (SELECT id FROM top)");
    assert_eq!(write(&t, copy.bind(2)).await.unwrap().affected(), 2);
    let page = sql("SELECT name FROM web_users WHERE name > ?1 ORDER BY name LIMIT ?2 OFFSET ?3");
    let page = t.read(page.bind("A").bind(1).bind(1)).await.unwrap();
    assert_eq!(page.one::<String>().unwrap(), "Bob");
    let gone = write(&t, sql("DELETE FROM web_users WHERE visits = 0 RETURNING name")).await.unwrap();
    assert_eq!(gone.len(), 2);
    let ids = write(&t, sql("DELETE FROM web_users RETURNING id")).await.unwrap();
    let last = ids.into_typed::<i64>().unwrap().into_iter().max();
    assert!(Some(add(&t, "Dan").await) > last, "a number was given twice");
}

/// Placeholders in texts stay texts; what people typed is a value and nothing else.
pub async fn parameters_are_values_and_nothing_else(b: &Bench) {
    let t = door(b).await;
    let insert = sql("INSERT INTO web_users (name) VALUES ('?1 it''s ' || ?1) /* ?2 */ RETURNING name -- ?3");
    let evil = "x'); DELETE FROM web_users; --";
    let name: String = write(&t, insert.bind(evil)).await.unwrap().one().unwrap();
    assert_eq!(name, format!("?1 it's {evil}"));
    for evil in ["' OR '1'='1", "%", "x\" OR 1=1 --", "\\' OR 1=1"] {
        let found = t.read(sql("SELECT count(*) FROM web_users WHERE name = ?1").bind(evil)).await.unwrap();
        assert_eq!(found.one::<i64>().unwrap(), 0);
    }
    let twice = t.read(
        sql("SELECT count(*) FROM web_users WHERE name = ?2 OR name = ?1 OR name = ?2").bind("a").bind(name),
    );
    assert_eq!(twice.await.unwrap().one::<i64>().unwrap(), 1);
}

fn broken(error: TablesError) -> Broken {
    match error {
        TablesError::Broken(broken) => broken,
        other => panic!("a broken rule was expected: {other:?}"),
    }
}

/// "That name is taken" can be told from everything else.
pub async fn a_broken_rule_is_told_with_its_table_and_columns(b: &Bench) {
    let t = door(b).await;
    write(&t, sql("INSERT INTO web_orgs (id, name) VALUES (7, 'o')")).await.unwrap();
    let insert = |id: Option<i64>, name: Option<&str>, org: Option<i64>, age: i64| {
        let (t, name) = (t.clone(), name.map(String::from));
        async move {
            let text =
                "INSERT INTO web_users (id, name, org, age) VALUES (coalesce(?1, 100 + ?4), ?2, ?3, ?4)";
            write(&t, sql(text).bind(id).bind(name).bind(org).bind(age)).await
        }
    };
    insert(Some(1), Some("hunter2"), Some(7), 1).await.unwrap();
    let taken = insert(None, Some("hunter2"), Some(7), 2).await.unwrap_err();
    assert!(
        taken.is_taken("web_users", &["org", "name"]) && !taken.is_taken("web_users", &["name"]),
        "{taken:?}"
    );
    assert!(!taken.is_transient() && !format!("{taken} {taken:?}").contains("hunter2"), "{taken:?}");
    assert_eq!(taken.to_string(), "web_users has a row with the same org, name already");
    let taken = insert(Some(1), Some("b"), None, 3).await.unwrap_err();
    assert!(taken.is_taken("web_users", &["id"]), "{taken:?}");
    insert(Some(2), Some("Cid"), None, 4).await.unwrap();
    let found = broken(insert(None, Some("cid"), None, 5).await.unwrap_err());
    let wanted = (Rule::Unique, "web_users", Some("web_users_key"));
    assert_eq!((found.rule, found.table.as_str(), found.name.as_deref()), wanted);
    let found = broken(insert(None, Some("d"), Some(8), 6).await.unwrap_err());
    assert_eq!((found.rule, found.table.as_str()), (Rule::ForeignKey, "web_users"));
    let found = broken(insert(None, None, None, 7).await.unwrap_err());
    assert_eq!(
        (found.rule, found.table.as_str(), found.columns),
        (Rule::NotNull, "web_users", vec!["name".into()])
    );
    let found = broken(insert(None, Some("e"), None, -1).await.unwrap_err());
    assert_eq!((found.rule, found.name.as_deref()), (Rule::Check, Some("web_users_age")));
    assert_eq!(number(&t, "SELECT count(*) FROM web_users").await, 2);
    // A reference may take its rows with it.
    assert_eq!(write(&t, sql("DELETE FROM web_orgs WHERE id = 7")).await.unwrap().affected(), 1);
    assert_eq!(number(&t, "SELECT count(*) FROM web_users").await, 1);
}

/// Each mistake in a statement is its own error, names the statement and harms nothing.
pub async fn a_mistake_in_a_statement_is_told_and_harms_nothing(b: &Bench) {
    let t = door(b).await;
    for (statement, why) in [
        (sql("SELEC 1"), "must begin with"),
        (sql("COMMIT"), "must begin with"),
        (sql("DROP TABLE web_users"), "must begin with"),
        (sql("DELETE FROM web_users; DELETE FROM web_orgs"), "semicolon"),
        (sql("INSERT INTO web_users (name) VALUES (?1)"), "?1 is named"),
        (sql("DELETE FROM web_users WHERE id = ?1").bind(1).bind(2), "?2 is bound"),
        (sql("DELETE FROM web_users WHERE name = ?1").bind("a\0b"), "NUL"),
        (sql("DELETE FROM web_users WHERE share = ?1").bind(f64::NAN), "finite"),
        (sql("DELETE FROM web_users WHERE id = ?1").bind(u64::MAX), "?1 is larger"),
        (sql("UPDATE jobs SET priority = 1"), "may be written here"),
        (sql("DELETE FROM owner_migrations"), "may be written here"),
        (sql("INSERT INTO live_fires VALUES (1, 2)"), "may be written here"),
        (sql("SELECT * FROM web_nowhere"), "web_nowhere"),
        (sql("SELECT nothing FROM web_users"), "nothing"),
        (sql("SELECT FROM WHERE"), ""),
        (sql("UPDATE web_users SET age = ?1").bind("old"), ""),
        (sql("UPDATE web_users SET name = ?1").bind(vec![1u8]), ""),
    ] {
        let first = sql("INSERT INTO web_users (name) VALUES ('before')");
        // The wrong type is only wrong where there is a row to hold it.
        let shown = format!("{statement:?}");
        let error = t.write(Write::new().then(first).then(statement)).await.unwrap_err();
        let TablesError::Statement { nth: 2, text } = &error else { panic!("{shown}: {error:?}") };
        assert!(text.contains(why), "{shown}: {text}");
        assert!(!error.is_transient());
    }
    let error = t.read(sql("DELETE FROM web_users")).await.unwrap_err();
    assert!(error.to_string().contains("give it to `write`"), "{error}");
    let hidden = sql("SELECT ?1 AS a").bind(AsJson("hunter2")).bind("hunter2");
    assert!(!format!("{hidden:?}").contains("hunter2"));
    assert_eq!(number(&t, "SELECT count(*) FROM web_users").await, 0);
}

/// What is too much is refused: statements, bytes, rows, bytes of an answer, time.
pub async fn tables_have_limits(b: &Bench) {
    let t = door(b).await;
    let numbers = "WITH RECURSIVE n (i) AS (SELECT CAST(1 AS INTEGER) UNION ALL SELECT i + 1 FROM n WHERE i < ?1) SELECT i FROM n";
    let most = limits::TABLE_ROWS as i64;
    assert_eq!(t.read(sql(numbers).bind(most)).await.unwrap().len(), limits::TABLE_ROWS);
    let error = t.read(sql(numbers).bind(most + 1)).await.unwrap_err().to_string();
    assert!(error.contains("more than 10000 rows"), "{error}");
    let many =
        |n| (0..n).fold(Write::new(), |w, _| w.then(sql("INSERT INTO web_users (org) SELECT 1 WHERE 1 = 0")));
    t.write(many(limits::TABLE_STATEMENTS)).await.unwrap();
    let error = t.write(many(limits::TABLE_STATEMENTS + 1)).await.unwrap_err().to_string();
    assert!(error.contains("at most 100"), "{error}");
    let large = |n| sql("INSERT INTO web_users (name, key) VALUES ('big', ?1)").bind(vec![0u8; n]);
    write(&t, large(limits::TABLE_BYTES - 1000)).await.unwrap();
    let error = write(&t, large(limits::TABLE_BYTES)).await.unwrap_err().to_string();
    assert!(error.contains("at most 4194304"), "{error}");
    let wide = sql("WITH n (i) AS (VALUES (1), (2), (3), (4), (5)) SELECT key FROM n CROSS JOIN web_users");
    let error = t.read(wide).await.unwrap_err().to_string();
    assert!(error.contains("more than 16777216 bytes"), "{error}");
    // Without an end: stopped, and the writer goes on.
    let endless =
        "INSERT INTO web_users (name, age) WITH RECURSIVE n (i) AS (SELECT CAST(1 AS INTEGER) UNION ALL
        SELECT i + 1 FROM n WHERE i > 0) SELECT 'a', max(i) FROM n";
    let slow = t.write(sql(endless).into());
    let (slow, made) = tokio::join!(slow, b.store.enqueue(at(0), P, vec![job()]));
    let error = slow.unwrap_err();
    assert!(matches!(error, TablesError::Store(_)), "{error:?}");
    assert!(!made.unwrap()[0].duplicate);
    assert_eq!(number(&t, "SELECT count(*) FROM web_users").await, 1);
}

/// Everything that can be bound without a word about its type.
pub async fn the_usual_types_can_be_bound(b: &Bench) {
    let t = door(b).await;
    async fn same(t: &Arc<dyn Tables>, cast: &'static str, value: impl IntoValue, wanted: Value) {
        assert_eq!(t.read(sql(cast).bind(value)).await.unwrap().values(), [vec![wanted]]);
    }
    let (int, text) = ("SELECT CAST(?1 AS INTEGER)", "SELECT CAST(?1 AS TEXT)");
    same(&t, int, 7u8, Value::Int(7)).await;
    same(&t, int, -7i16, Value::Int(-7)).await;
    same(&t, int, u32::MAX, Value::Int(u32::MAX.into())).await;
    same(&t, int, 7usize, Value::Int(7)).await;
    same(&t, int, false, Value::Int(0)).await;
    same(&t, int, P, Value::Int(P.0)).await;
    same(&t, int, at(0), Value::Int(mainspring_core::time::micros(at(0)))).await;
    same(&t, int, None::<At>, Value::Null).await;
    same(&t, text, String::from("x"), Value::Text("x".into())).await;
    same(&t, text, mainspring_core::Json::null(), Value::Text("null".into())).await;
    same(&t, "SELECT CAST(?1 AS BLOB)", &[1u8][..], Value::Blob(vec![1])).await;
    same(&t, "SELECT CAST(?1 AS REAL)", 0.5, Value::Real(0.5)).await;
}
