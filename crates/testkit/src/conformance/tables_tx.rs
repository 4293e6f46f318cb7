//! Writes to an owner's tables as transactions, jobs enqueued with them, and migrations.

use super::bench::*;
use super::tables::{USERS, door, number, sql, write};
use mainspring_core::StoreError;
use mainspring_core::batch::NewBatch;
use mainspring_core::event::NewEvent;
use mainspring_core::job::{NewJob, Unique, UniqueStates};
use mainspring_core::store::Hint;
use mainspring_core::tables::{Migration, Rule, TablesError, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A statement that fails takes those before it along, and no others.
pub async fn a_write_is_all_or_nothing(b: &Bench) {
    let t = door(b).await;
    let insert =
        |id: i64| sql("INSERT INTO web_users (id, name) VALUES (?1, ?2)").bind(id).bind(id.to_string());
    let good = Write::new().then(insert(1)).then(insert(2));
    let bad = Write::new().then(insert(3)).then(insert(1)).then(insert(4));
    // They may share a transaction, and do not share its fate.
    let (good, bad, last) = tokio::join!(t.write(good), t.write(bad), b.store.enqueue(at(0), P, vec![job()]));
    assert_eq!(good.unwrap().rows.len(), 2);
    last.unwrap();
    match bad.unwrap_err() {
        TablesError::Broken(broken) => assert_eq!(broken.rule, Rule::Unique),
        other => panic!("{other:?}"),
    }
    let ids = t.read(sql("SELECT id FROM web_users ORDER BY id")).await.unwrap();
    assert_eq!(ids.into_typed::<i64>().unwrap(), [1, 2]);
    let later =
        t.write(Write::new().then(insert(5)).then(sql("SELECT count(*) FROM web_users"))).await.unwrap();
    assert_eq!(later.rows[1].clone().one::<i64>().unwrap(), 3, "a statement sees those before it");
    assert_eq!(t.write(Write::new()).await.unwrap().rows.len(), 0);
}

/// A guarded change that meets nothing undoes everything.
pub async fn an_expectation_that_fails_undoes_the_write(b: &Bench) {
    let t = door(b).await;
    write(&t, sql("INSERT INTO web_users (id, name, visits) VALUES (1, 'a', 4)")).await.unwrap();
    let guarded = |seen: i64, rows| {
        let log = sql("INSERT INTO web_orgs (name) VALUES ('changed')").expect_rows(1);
        let change = sql("UPDATE web_users SET visits = visits + 1 WHERE id = 1 AND visits = ?1");
        Write::new().then(log).then(change.bind(seen).expect_rows(rows))
    };
    t.write(guarded(4, 1)).await.unwrap();
    let error = t.write(guarded(4, 1)).await.unwrap_err();
    assert!(matches!(error, TablesError::Unexpected { nth: 2, wanted: 1, found: 0 }), "{error:?}");
    t.write(guarded(4, 0)).await.unwrap();
    assert_eq!(number(&t, "SELECT count(*) FROM web_orgs").await, 2);
    assert_eq!(number(&t, "SELECT visits FROM web_users").await, 5);
    let returned = sql("UPDATE web_users SET visits = 0 WHERE visits = 99 RETURNING id").expect_rows(1);
    assert!(matches!(t.write(returned.into()).await, Err(TablesError::Unexpected { nth: 1, .. })));
    let one = sql("SELECT id FROM web_users WHERE visits > 1").expect_rows(2);
    assert!(matches!(t.read(one).await, Err(TablesError::Unexpected { wanted: 2, found: 1, .. })));
}

/// A write of two rows is never seen by half, and never before it is over.
pub async fn readers_see_what_is_committed_only(b: &Bench) {
    let t = door(b).await;
    let other = b.second().await;
    let far = other.clone().tables().expect("tables");
    for table in ["web_orgs", "web_users"] {
        write(
            &t,
            mainspring_core::tables::Statement::built(format!(
                "INSERT INTO {table} (id, name) VALUES (1, '0')"
            )),
        )
        .await
        .unwrap();
    }
    let writing = async {
        for n in 1..=30 {
            let set = |text| sql(text).bind(n.to_string());
            let both = Write::new()
                .then(set("UPDATE web_orgs SET name = ?1 WHERE id = 1"))
                .then(set("UPDATE web_users SET name = ?1 WHERE id = 1"));
            // The third statement breaks every third write, after the rows were changed.
            let both = if n % 3 == 0 {
                both.then(sql("INSERT INTO web_orgs (id, name) VALUES (1, 'x')"))
            } else {
                both
            };
            assert_eq!(t.write(both).await.is_err(), n % 3 == 0);
        }
    };
    let reading = async {
        for _ in 0..30 {
            for t in [&t, &far] {
                let pair = "SELECT o.name, u.name FROM web_orgs o JOIN web_users u ON u.id = o.id";
                let (org, user): (String, String) = t.read(sql(pair)).await.unwrap().one().unwrap();
                assert_eq!(org, user);
                assert!(org == "0" || org.parse::<u32>().unwrap() % 3 != 0, "{org} was undone");
            }
        }
    };
    tokio::join!(writing, reading);
    other.close().await;
}

/// Sixteen writers in two processes add to one number, and none is lost.
pub async fn concurrent_writers_lose_nothing(b: &Bench) {
    let t = door(b).await;
    let other = b.second().await;
    let far = other.clone().tables().expect("tables");
    write(&t, sql("INSERT INTO web_users (id, name) VALUES (1, 'a')")).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..16 {
        let t = if n % 4 == 3 { far.clone() } else { t.clone() };
        tasks.spawn(async move {
            for _ in 0..10 {
                let add = sql("UPDATE web_users SET visits = visits + 1 WHERE id = 1 RETURNING visits")
                    .expect_rows(1);
                let log = sql(
                    "INSERT INTO web_orgs (name) SELECT CAST(visits AS TEXT) FROM web_users WHERE id = 1",
                );
                t.write(Write::new().then(add).then(log)).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("a writer");
    }
    assert_eq!(number(&t, "SELECT visits FROM web_users").await, 160);
    assert_eq!(number(&t, "SELECT count(DISTINCT name) FROM web_orgs").await, 160);
    other.close().await;
}

/// Rows and jobs: both or neither.
pub async fn a_write_and_its_jobs_are_one_transaction(b: &Bench) {
    let t = door(b).await;
    let hints = Arc::new(AtomicUsize::new(0));
    let counted = hints.clone();
    b.store.on_hint(Arc::new(move |hint| {
        counted.fetch_add(usize::from(hint == Hint::Jobs), Ordering::Relaxed);
    }));
    let insert =
        |id: i64| sql("INSERT INTO web_users (id, name) VALUES (?1, ?2)").bind(id).bind(id.to_string());
    let unique = |key: &str| NewJob {
        unique: Some(Unique { key: key.into(), period: None, states: UniqueStates::LIVE }),
        ..job()
    };
    let other = b.ensure("other").await;
    let both = Write::new()
        .then(insert(1))
        .enqueue(at(0), P, vec![job(), keyed("k"), unique("u"), job_in("fresh")])
        .enqueue(at(1), other, vec![job_in("theirs")]);
    let written = t.write(both).await.unwrap();
    assert_eq!((written.rows.len(), written.jobs.len()), (1, 5));
    assert!(hints.load(Ordering::Relaxed) > 0, "a hint wakes whoever waits for jobs");
    assert_eq!(b.how_many().await, 4);
    assert_eq!(b.record(written.jobs[0].id).await.created_at, at(0));
    // A job that is there already is no failure.
    let again = t.write(Write::new().then(insert(2)).enqueue(at(2), P, vec![unique("u")])).await.unwrap();
    assert!(again.jobs[0].duplicate && again.jobs[0].id == written.jobs[2].id);
    // Rows that are refused leave no job behind …
    let refused = Write::new().then(insert(3)).then(insert(1)).enqueue(at(3), P, vec![job_in("new")]);
    assert!(matches!(t.write(refused).await, Err(TablesError::Broken(_))));
    let unmet = Write::new().then(sql("DELETE FROM web_users WHERE id = 9").expect_rows(1));
    assert!(t.write(unmet.enqueue(at(3), P, vec![job()])).await.is_err());
    // … and jobs that are refused leave no row.
    let batch = NewBatch { name: "b".into(), follow_up: None, parent: None, sealed: true };
    let (batch, _) = b.store.open_batch(at(3), P, batch, vec![job()]).await.unwrap();
    let sealed = NewJob { batch: Some(batch), ..job() };
    let refused = Write::new().then(insert(4)).enqueue(at(3), P, vec![job(), sealed]);
    let (refused, beside) = tokio::join!(t.write(refused), b.store.enqueue(at(3), P, vec![job()]));
    assert!(matches!(refused, Err(TablesError::Store(StoreError::Conflict(_)))), "{refused:?}");
    beside.unwrap();
    let bad =
        Write::new().then(insert(5)).enqueue(at(3), P, vec![NewJob::new("", mainspring_core::Json::null())]);
    assert!(matches!(t.write(bad).await, Err(TablesError::Store(StoreError::Invalid { .. }))));
    let many =
        Write::new().then(insert(6)).enqueue(at(3), P, vec![job(); 600]).enqueue(at(3), P, vec![job(); 401]);
    assert!(t.write(many).await.unwrap_err().to_string().contains("at most 1000"));
    assert_eq!(b.how_many().await, 6, "four, one of the batch, one beside");
    assert_eq!(number(&t, "SELECT sum(id) FROM web_users").await, 3);
    let node = b.join(4).await;
    assert_eq!(b.claim(4, node, 100).await.len(), 7);
}

/// What happened and what is told of it: both or neither.
pub async fn an_event_commits_with_what_it_tells_of(b: &Bench) {
    let t = door(b).await;
    let other = b.ensure("other").await;
    let told = |what: &str| NewEvent::new("rule.changed", what.into(), serde_json::json!({})).by("ada");
    let insert =
        |id: i64| sql("INSERT INTO web_users (id, name) VALUES (?1, ?2)").bind(id).bind(id.to_string());
    let both = Write::new().then(insert(1)).tell(at(1), P, told("rule/1")).tell(at(1), other, told("rule/2"));
    t.write(both).await.unwrap();
    let refused = Write::new().then(insert(1)).tell(at(2), P, told("rule/3"));
    assert!(matches!(t.write(refused).await, Err(TablesError::Broken(_))));
    let beside = Write::new().then(insert(2)).enqueue(at(3), P, vec![job()]).tell(at(3), P, told("rule/4"));
    assert_eq!(t.write(beside).await.unwrap().jobs.len(), 1);
    let mine = b.store.events(P, 0, 100).await.unwrap();
    let mine: Vec<_> = mine.iter().filter(|e| e.event.name == "rule.changed").collect();
    let seen: Vec<_> =
        mine.iter().map(|e| (e.event.subject.as_str(), e.event.actor.as_deref(), e.at)).collect();
    assert_eq!(seen, [("rule/1", Some("ada"), at(1)), ("rule/4", Some("ada"), at(3))]);
    assert_eq!(b.store.events(other, 0, 100).await.unwrap()[0].event.subject, "rule/2");
    let many = (0..101).fold(Write::new(), |w, _| w.tell(at(4), P, told("rule/5")));
    assert!(t.write(many).await.unwrap_err().to_string().contains("at most 100"));
}

const MORE: Migration = Migration::new(
    "0002_more",
    "ALTER TABLE web_users ADD COLUMN mail TEXT NOT NULL DEFAULT 'no; mail';
     CREATE INDEX web_users_mail ON web_users (mail);
     UPDATE web_users SET mail = 'old' WHERE id = 1;",
);

/// Migrations run once; later ones find what is there.
pub async fn migrations_run_once_and_go_forward(b: &Bench) {
    let t = door(b).await;
    let columns = |rows: mainspring_core::tables::Rows| rows.columns().len();
    write(&t, sql("INSERT INTO web_users (name) VALUES ('a')")).await.unwrap();
    write(&t, sql("INSERT INTO web_users (name) VALUES ('b')")).await.unwrap();
    // Read before and after, so that a store that keeps prepared statements must notice; several times,
    // because each of its connections must.
    for _ in 0..6 {
        assert_eq!(columns(t.read(sql("SELECT * FROM web_users")).await.unwrap()), 7);
        assert_eq!(columns(write(&t, sql("SELECT * FROM web_users")).await.unwrap()), 7);
    }
    assert_eq!(t.migrate("web", &[USERS]).await.unwrap(), 0);
    assert_eq!(t.migrate("web", &[USERS, MORE]).await.unwrap(), 1);
    assert_eq!(t.migrate("web", &[USERS, MORE]).await.unwrap(), 0);
    for _ in 0..6 {
        assert_eq!(columns(t.read(sql("SELECT * FROM web_users")).await.unwrap()), 8);
        assert_eq!(columns(write(&t, sql("SELECT * FROM web_users")).await.unwrap()), 8);
    }
    let mails = t.read(sql("SELECT mail FROM web_users ORDER BY id")).await.unwrap();
    assert_eq!(mails.into_typed::<String>().unwrap(), ["old", "no; mail"]);
    // Another owner has numbers and names of its own.
    let kit = Migration::new("0001", "CREATE TABLE kit_users (id INTEGER PRIMARY KEY)");
    assert_eq!(t.migrate("kit", &[kit]).await.unwrap(), 1);
    let other = b.second().await;
    assert_eq!(other.clone().tables().expect("tables").migrate("web", &[USERS, MORE]).await.unwrap(), 0);
    other.close().await;
}

/// An applied migration that reads differently, a newer database, a foreign name: refused in words.
pub async fn migrations_that_do_not_fit_are_refused(b: &Bench) {
    let t = door(b).await;
    t.migrate("web", &[USERS, MORE]).await.unwrap();
    let refused = |result: Result<usize, TablesError>| match result {
        Err(TablesError::Migration(text)) => text,
        other => panic!("a refusal was expected: {other:?}"),
    };
    let edited = Migration::new(MORE.name, "ALTER TABLE web_users ADD COLUMN mail TEXT");
    let text = refused(t.migrate("web", &[USERS, edited]).await);
    assert!(text.contains("migration 2 (0002_more) of web") && text.contains("never edited"), "{text}");
    let text = refused(t.migrate("web", &[USERS]).await);
    assert!(text.contains("at migration 2 (0002_more)") && text.contains("newer program"), "{text}");
    let foreign = Migration::new("0003", "CREATE TABLE users (id INTEGER PRIMARY KEY)");
    let text = refused(t.migrate("web", &[USERS, MORE, foreign]).await);
    assert!(text.contains("users does not belong to web"), "{text}");
    assert!(refused(t.migrate("jobs", &[]).await).contains("engine"));
    // One that breaks half-way leaves nothing, and what it broke on is told.
    let broken =
        Migration::new("0003", "CREATE TABLE web_half (id INTEGER); CREATE INDEX web_i ON web_none (id)");
    let text = refused(t.migrate("web", &[USERS, MORE, broken]).await);
    assert!(text.contains("migration 3 (0003) of web, statement 2") && text.contains("web_none"), "{text}");
    let taken = Migration::new("0003", "INSERT INTO web_orgs (id, name) VALUES (1, 'a'), (1, 'b')");
    let text = refused(t.migrate("web", &[USERS, MORE, taken]).await);
    assert!(text.contains("web_orgs has a row with the same id"), "{text}");
    assert!(matches!(t.read(sql("SELECT * FROM web_half")).await, Err(TablesError::Statement { .. })));
    let mended = Migration::new("0003", "CREATE TABLE web_half (id INTEGER)");
    assert_eq!(t.migrate("web", &[USERS, MORE, mended]).await.unwrap(), 1);
    assert_eq!(number(&t, "SELECT count(*) FROM web_half").await, 0);
}

/// Processes that start at once: one does the work, all go on.
pub async fn migrations_of_processes_that_start_at_once_run_once(b: &Bench) {
    let mut stores = vec![b.store.clone()];
    for _ in 0..3 {
        stores.push(b.second().await);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for store in stores.clone() {
        let t = store.tables().expect("tables");
        tasks.spawn(async move { t.migrate("web", &[USERS, MORE]).await.unwrap() });
    }
    let mut applied = Vec::new();
    while let Some(done) = tasks.join_next().await {
        applied.push(done.expect("a migration"));
    }
    applied.sort_unstable();
    assert_eq!(applied, [0, 0, 0, 2]);
    for store in &stores {
        let t = store.clone().tables().expect("tables");
        write(&t, sql("INSERT INTO web_users (name) VALUES ('a') ON CONFLICT DO NOTHING")).await.unwrap();
        assert_eq!(number(&t, "SELECT count(mail) FROM web_users").await, 1);
    }
    for store in &stores[1..] {
        store.close().await;
    }
}
