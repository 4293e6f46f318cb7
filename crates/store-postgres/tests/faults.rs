//! What only this store can get wrong: lost connections, a server that dies, migrations at once,
//! the session for notifications, tails beside slow writers, schemas of others.
//!
//! Long because each of these faults needs a scene of its own, and nothing else reads them.
#![allow(clippy::disallowed_methods, reason = "these tests wait for a real server")]

mod common;

use common::{P, job, join, now, open, request, until};
use mainspring_core::decide::{Outcome, decide};
use mainspring_core::job::{JobState, Unique, UniqueStates};
use mainspring_core::reader::Reader;
use mainspring_core::store::{ClaimRequest, Finished, Hint, JobFilter, Store};
use mainspring_core::{JobId, StoreError};
use mainspring_store_postgres::{Options, PostgresStore};
use mainspring_testkit::pg::{self, Database, PrivateCluster};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Ends every session of a database but the one that asks.
fn cut_all(database: &Database) {
    database
        .sql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .expect("cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_connections_are_made_again_and_nothing_acknowledged_is_lost() {
    let database = pg::fresh_database();
    let store = open(&database.url()).await;
    let node = join(&store, 1).await;
    let mut acknowledged = 0;
    for round in 0..5 {
        for _ in 0..20 {
            // Each of these may be refused once; then it is simply said again.
            match store.enqueue(now(), P, vec![job("work")]).await {
                Ok(_) => acknowledged += 1,
                Err(error) => assert!(error.is_transient(), "round {round}: {error}"),
            }
        }
        cut_all(&database);
    }
    until("the store is back", || async { store.enqueue(now(), P, vec![job("work")]).await.is_ok() }).await;
    acknowledged += 1;
    let mut got = 0;
    until("all acknowledged jobs are claimed", || {
        let store = store.clone();
        async move { store.claim(now(), request(node)).await.is_ok_and(|batch| batch.jobs.len() < 100) }
    })
    .await;
    for (_, _, _, n) in store.counts(P).await.expect("counts") {
        got += n;
    }
    assert!(got >= acknowledged, "{got} jobs of {acknowledged} acknowledged");
    assert_eq!(store.audit().await.expect("audit"), Vec::<String>::new());
}

/// Eight callers that enqueue until they are told to stop, and keep what was acknowledged.
fn callers(store: &Arc<PostgresStore>) -> (Arc<AtomicUsize>, Vec<tokio::task::JoinHandle<Vec<JobId>>>) {
    let stop = Arc::new(AtomicUsize::new(0));
    let callers = (0..8)
        .map(|_| {
            let (store, stop) = (store.clone(), stop.clone());
            tokio::spawn(async move {
                let mut ids = vec![];
                while stop.load(Ordering::Relaxed) == 0 {
                    match store.enqueue(now(), P, vec![job("work")]).await {
                        Ok(made) => ids.extend(made.iter().map(|m| m.id)),
                        Err(error) => {
                            assert!(error.is_transient(), "{error}");
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                    }
                }
                ids
            })
        })
        .collect();
    (stop, callers)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_and_restarted_under_load_loses_no_acknowledged_job() {
    let cluster = PrivateCluster::start(true);
    let store = open(&cluster.url()).await;
    let node = join(&store, 1).await;
    let (stop, callers) = callers(&store);
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.kill9();
    let error = store.claim(now(), request(node)).await.expect_err("nobody is there");
    assert!(error.is_transient(), "{error}");
    cluster.restart();
    let took = until("the first claim", || async { store.claim(now(), request(node)).await.is_ok() }).await;
    assert!(took < Duration::from_secs(2), "the first claim came {took:?} after the server");
    stop.store(1, Ordering::Relaxed);
    for caller in callers {
        for id in caller.await.expect("a caller") {
            assert!(
                store.job(P, id).await.expect("a look").is_some(),
                "job {id} was acknowledged and is gone"
            );
        }
    }
    assert_eq!(store.audit().await.expect("audit"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_ends_calls_in_time_and_is_used_again() {
    let cluster = PrivateCluster::start(false);
    let limit = Duration::from_millis(700);
    let options = Options { limit, ..Options::default() };
    let store = PostgresStore::connect(&cluster.url(), options).await.expect("a store");
    store.enqueue(now(), P, vec![job("work")]).await.expect("enqueued");
    cluster.pause();
    let began = Instant::now();
    let error = store.enqueue(now(), P, vec![job("work")]).await.expect_err("frozen");
    assert!(matches!(error, StoreError::Timeout(_)), "{error}");
    assert!(began.elapsed() < limit * 3, "{:?}", began.elapsed());
    cluster.resume();
    until("an enqueue", || async { store.enqueue(now(), P, vec![job("work")]).await.is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_that_start_at_once_migrate_once() {
    let database = pg::fresh_database();
    let url = database.url();
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { PostgresStore::connect(&url, Options::default()).await.map(drop) })
        })
        .collect();
    for start in starts {
        start.await.expect("a task").expect("a store");
    }
    assert_eq!(database.sql("SELECT count(*) FROM mainspring.mainspring_migrations").unwrap().trim(), "3");
}

#[tokio::test]
async fn a_schema_of_another_program_or_of_a_newer_one_is_refused_and_left_alone() {
    let refused = |database: &Database| {
        let url = database.url();
        async move { PostgresStore::connect(&url, Options::default()).await.err().expect("refused") }
    };
    let foreign = pg::fresh_database();
    foreign.sql("CREATE SCHEMA mainspring; CREATE TABLE mainspring.theirs (a int)").unwrap();
    let error = refused(&foreign).await;
    assert!(matches!(&error, StoreError::Foreign(text) if text.contains("?schema=")), "{error}");
    assert_eq!(
        foreign.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'mainspring'").unwrap().trim(),
        "1"
    );
    let other = format!("{}?schema=mine", foreign.url());
    PostgresStore::connect(&other, Options::default()).await.expect("another schema is free").close().await;

    let newer = pg::fresh_database();
    open(&newer.url()).await.close().await;
    newer.sql("INSERT INTO mainspring.mainspring_migrations VALUES (4, '0004_future', 7)").unwrap();
    let error = refused(&newer).await;
    assert!(matches!(&error, StoreError::Schema(text) if text.contains("0004_future")), "{error}");

    let altered = pg::fresh_database();
    open(&altered.url()).await.close().await;
    altered.sql("UPDATE mainspring.mainspring_migrations SET checksum = 1").unwrap();
    let error = refused(&altered).await;
    assert!(matches!(&error, StoreError::Schema(text) if text.contains("another build")), "{error}");
}

#[tokio::test]
async fn what_cannot_be_reached_says_so_without_the_password() {
    let address = "postgres://me:hidden@127.0.0.1:9/nowhere";
    let error = PostgresStore::connect(address, Options::default()).await.err().expect("refused");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("postgres://me@127.0.0.1:9/nowhere") && !text.contains("hidden"), "{text}");

    let database = pg::fresh_database();
    let missing = database.url().replace(database.name(), "no_such_database");
    let error = PostgresStore::connect(&missing, Options::default()).await.err().expect("refused");
    assert!(matches!(&error, StoreError::Address(text) if text.contains("createdb")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_enqueues_of_one_unique_key_make_one_job() {
    let database = pg::fresh_database();
    let stores = [open(&database.url()).await, open(&database.url()).await, open(&database.url()).await];
    let mut calls = vec![];
    for n in 0..60 {
        let store = stores[n % 3].clone();
        calls.push(tokio::spawn(async move {
            let mut new = job("work");
            let key = format!("key {}", n % 5);
            new.unique = Some(Unique { key, period: None, states: UniqueStates::LIVE });
            store.enqueue(now(), P, vec![new]).await.expect("enqueued")[0]
        }));
    }
    let mut fresh = 0;
    for call in calls {
        fresh += usize::from(!call.await.expect("a call").duplicate);
    }
    assert_eq!(fresh, 5);
    assert_eq!(database.sql("SELECT count(*) FROM mainspring.jobs").unwrap().trim(), "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_are_lost_noticed_and_regained() {
    let database = pg::fresh_database();
    let (here, there) = (open(&database.url()).await, open(&database.url()).await);
    let heard = Arc::new(AtomicUsize::new(0));
    let count = heard.clone();
    there.on_hint(Arc::new(move |hint| {
        count.fetch_add(usize::from(hint == Hint::Jobs), Ordering::Relaxed);
    }));
    until("both listen", || async { here.hints_alive() && there.hints_alive() }).await;
    let node = join(&there, 7).await;
    // An idle claim is what says that the node sleeps.
    assert!(there.claim(now(), request(node)).await.expect("a claim").jobs.is_empty());
    let rings = |what: &'static str| {
        let (here, heard) = (here.clone(), heard.clone());
        async move {
            let before = heard.load(Ordering::Relaxed);
            here.enqueue(now(), P, vec![job("other")]).await.expect("enqueued");
            until(what, || async { heard.load(Ordering::Relaxed) > before }).await
        }
    };
    let took = rings("the first hint").await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    database
        .sql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND query LIKE '%pg_notify%' AND pid <> pg_backend_pid()",
        )
        .expect("cut");
    until("the loss is noticed", || async { !there.hints_alive() }).await;
    until("it is regained", || async { here.hints_alive() && there.hints_alive() }).await;
    rings("a hint after the loss").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_notified_while_nobody_sleeps() {
    let database = pg::fresh_database();
    let (here, there) = (open(&database.url()).await, open(&database.url()).await);
    let heard = Arc::new(AtomicUsize::new(0));
    let count = heard.clone();
    there.on_hint(Arc::new(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    until("both listen", || async { here.hints_alive() && there.hints_alive() }).await;
    join(&there, 7).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    heard.store(0, Ordering::Relaxed);
    for _ in 0..20 {
        here.enqueue(now(), P, vec![job("work")]).await.expect("enqueued");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(heard.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_never_skips_an_event_that_commits_late() {
    let database = pg::fresh_database();
    let stores: Vec<_> = [open(&database.url()).await, open(&database.url()).await].into();
    let reader = open(&database.url()).await;
    let writers: Vec<_> = (0..8)
        .map(|n| {
            let store = stores[n % 2].clone();
            tokio::spawn(async move {
                for i in 0..40 {
                    let event = mainspring_core::event::NewEvent::new(
                        "config.changed",
                        format!("w/{n}/{i}"),
                        serde_json::json!({}),
                    );
                    store.record(now(), P, event).await.expect("recorded");
                }
            })
        })
        .collect();
    let (mut after, mut seen) = (0, 0);
    while seen < 320 {
        for event in reader.events(P, after, 7).await.expect("events") {
            assert!(event.id > after);
            after = event.id;
            seen += 1;
        }
        if writers.iter().all(tokio::task::JoinHandle::is_finished)
            && reader.last_event(P).await.expect("last") == after
        {
            break;
        }
    }
    assert_eq!(seen, 320, "the tail skipped events");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_finish_one_attempt_count_once() {
    let database = pg::fresh_database();
    let (a, b) = (open(&database.url()).await, open(&database.url()).await);
    let node = join(&a, 1).await;
    for _ in 0..20 {
        a.enqueue(now(), P, vec![job("work"); 10]).await.expect("enqueued");
        let claimed = a.claim(now(), request(node)).await.expect("claimed").jobs;
        assert_eq!(claimed.len(), 10);
        let done = |outcome: Outcome| {
            claimed.iter().map(|c| decide(&c.facts, outcome.clone(), now(), 0.5)).collect::<Vec<_>>()
        };
        let (one, two) = (done(Outcome::Succeeded { output: None }), done(Outcome::LeaseExpired));
        let (one, two) = tokio::join!(a.finish(now(), one), b.finish(now(), two));
        let applied = |list: Vec<Finished>| list.iter().filter(|f| **f == Finished::Applied).count();
        assert_eq!(applied(one.expect("finished")) + applied(two.expect("finished")), 10);
        // What was taken for lost is claimed again and ended, for the next round.
        let left = a.claim(now(), request(node)).await.expect("claimed").jobs;
        let end = left.iter().map(|c| decide(&c.facts, Outcome::Succeeded { output: None }, now(), 0.5));
        a.finish(now(), end.collect()).await.expect("finished");
    }
    assert_eq!(a.audit().await.expect("audit"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_store_asks_nothing_but_its_own_proof_and_a_heartbeat_is_one_statement() {
    let database = pg::fresh_database();
    let store = open(&database.url()).await;
    let node = join(&store, 1).await;
    store.claim(now(), request(node)).await.expect("a claim");
    until("it listens", || async { store.hints_alive() }).await;
    let busy = |seconds: u32| {
        let text = database
            .sql(&format!(
                "SELECT query FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()
                   AND state_change > clock_timestamp() - interval '{seconds} s' ORDER BY query"
            ))
            .expect("sessions");
        text.lines().filter(|l| !l.trim().is_empty() && !l.contains("pg_notify")).count()
    };
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(busy(5), 0, "somebody polls");
    store.heartbeat(now(), node, Duration::from_secs(15)).await.expect("a heartbeat");
    let text = database
        .sql(
            "SELECT count(*), max(query) LIKE '%UPDATE nodes SET heartbeat_at%' FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND query NOT LIKE '%pg_notify%'
               AND state_change > clock_timestamp() - interval '2 s'",
        )
        .expect("sessions");
    assert_eq!(text.trim(), "1|t", "a heartbeat is more than one statement");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_of_empty_tables_do_not_turn_plans_around() {
    let database = pg::fresh_database();
    let store = open(&database.url()).await;
    let node = join(&store, 1).await;
    // What a vacuum leaves behind that comes when everything has just been drained.
    database
        .sql(
            "UPDATE pg_class SET reltuples = 0, relpages = 1000
             WHERE relnamespace = 'mainspring'::regnamespace AND relkind = 'r'",
        )
        .expect("statistics");
    let keyed = |n: usize| {
        let mut new = job("work");
        new.key = (n % 2 == 1).then(|| format!("key {}", n % 100).into());
        new
    };
    for round in 0..10 {
        store
            .enqueue(now(), P, (0..1000).map(|n| if round < 5 { job("work") } else { keyed(n) }).collect())
            .await
            .expect("enqueued");
    }
    // With nested loops over everything each of these would take seconds, and some the time limit.
    let began = Instant::now();
    let mut done = 0;
    while done < 10_000 {
        let all = ClaimRequest { limit: 1000, ..request(node) };
        let claimed = store.claim(now(), all).await.expect("claimed").jobs;
        done += claimed.len();
        let fails = Outcome::Failed {
            error: mainspring_core::job::ErrorRecord::new("fatal", "no", vec![]),
            retryable: false,
            after: None,
        };
        let end = claimed.iter().map(|c| decide(&c.facts, fails.clone(), now(), 0.5)).collect();
        store.finish(now(), end).await.expect("finished");
    }
    let failed = JobFilter { states: vec![JobState::Failed], ..JobFilter::default() };
    assert_eq!(store.jobs(P, &failed, None, 1000).await.expect("a page").rows.len(), 1000);
    let bulk = mainspring_core::store::Bulk { filter: &failed, after: None, limit: 1000 };
    assert_eq!(store.retry_jobs(now(), P, bulk, "test").await.expect("retried").jobs.len(), 1000);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

/// What the server refuses for good is told after one try; what it asks to have repeated is repeated.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_may_succeed_is_tried_again() {
    let database = pg::fresh_database();
    let store = open(&database.url()).await;
    let spec = |code: &str| {
        format!(
            "CREATE SEQUENCE IF NOT EXISTS public.tries;
             CREATE OR REPLACE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 PERFORM nextval('public.tries');
                 RAISE EXCEPTION 'refused by the test' USING ERRCODE = '{code}';
             END $$;
             DROP TRIGGER IF EXISTS refuse ON mainspring.projects;
             CREATE TRIGGER refuse BEFORE INSERT ON mainspring.projects
             FOR EACH ROW EXECUTE FUNCTION public.refuse();
             SELECT setval('public.tries', 1, false)"
        )
    };
    for (code, tries) in [("23505", 1..=1), ("23514", 1..=1), ("40001", 2..=100), ("40P01", 2..=100)] {
        database.sql(&spec(code)).expect("a trigger");
        let refused = store.ensure_project(now(), "refused").await.expect_err("refused");
        assert!(refused.to_string().contains("refused by the test"), "{refused}");
        let tried = database.sql("SELECT nextval('public.tries') - 1").expect("a number");
        assert!(tries.contains(&tried.trim().parse::<u32>().expect("a number")), "{code}: {tried} tries");
    }
}

/// With a synchronous standby: what was acknowledged is on the one that took over, and the store
/// finds it by itself among the hosts of its address.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_takes_over_has_every_acknowledged_job() {
    let primary = PrivateCluster::start(true);
    let standby = primary.standby();
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", standby.port(), primary.port());
    let store = open(&format!("postgres://postgres@{hosts}/postgres")).await;
    let node = join(&store, 1).await;
    let (stop, callers) = callers(&store);
    until("some jobs are there", || async {
        store.counts(P).await.is_ok_and(|counts| counts.iter().map(|c| c.3).sum::<u64>() > 50)
    })
    .await;
    let claimed = store.claim(now(), request(node)).await.expect("claimed").jobs;
    assert!(!claimed.is_empty());
    primary.kill9();
    // Only a standby is there: it is not taken for a server that can be written to.
    let error = store.enqueue(now(), P, vec![job("work")]).await.expect_err("nobody may write");
    assert!(error.is_transient(), "{error}");
    tokio::task::block_in_place(|| standby.promote());
    until("the standby is written to", || async { store.enqueue(now(), P, vec![job("work")]).await.is_ok() })
        .await;
    stop.store(1, Ordering::Relaxed);
    let mut acknowledged = 0;
    for caller in callers {
        for id in caller.await.expect("a caller") {
            assert!(
                store.job(P, id).await.expect("a look").is_some(),
                "job {id} was acknowledged and is gone"
            );
            acknowledged += 1;
        }
    }
    assert!(acknowledged > 50, "{acknowledged}");
    // What ran is still its node's, and ends as if nothing had happened.
    let done = claimed.iter().map(|c| decide(&c.facts, Outcome::Succeeded { output: None }, now(), 0.5));
    let answers = store.finish(now(), done.collect()).await.expect("finished");
    assert!(answers.iter().all(|a| *a == Finished::Applied), "{answers:?}");
    assert_eq!(store.audit().await.expect("audit"), Vec::<String>::new());
}

/// Somebody's report that reads for a long time: no row it may still see can be cleaned away. Work
/// goes on, and doctor tells of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_held_open_does_not_stop_the_work_and_is_told() {
    let database = Arc::new(pg::fresh_database());
    let store = open(&database.url()).await;
    let node = join(&store, 1).await;
    let round = async || {
        store.enqueue(now(), P, vec![job("work"); 500]).await.expect("enqueued");
        let mut ended = 0;
        while ended < 500 {
            let claimed = store.claim(now(), request(node)).await.expect("claimed").jobs;
            let done: Vec<_> = claimed
                .iter()
                .map(|c| decide(&c.facts, Outcome::Succeeded { output: None }, now(), 0.5))
                .collect();
            ended += store.finish(now(), done).await.expect("finished").len();
        }
    };
    round().await;
    let held = database.clone();
    let report = tokio::task::spawn_blocking(move || {
        held.sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM mainspring.jobs; SELECT pg_sleep(120)")
    });
    until("the report has its snapshot", || async {
        let asleep = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event = 'PgSleep' AND backend_xmin IS NOT NULL";
        database.sql(asleep).expect("a count").trim() == "1"
    })
    .await;
    let begun = Instant::now();
    for _ in 0..6 {
        round().await;
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "3,000 jobs took {:?}", begun.elapsed());
    until("its age is told", || async {
        let facts = store.facts(now()).await.expect("facts");
        let oldest = facts.iter().find(|f| f.name == "oldest transaction").expect("a fact");
        mainspring_core::duration::parse(&oldest.value).expect("a length") >= Duration::from_secs(1)
    })
    .await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event = 'PgSleep'";
    database.sql(end).expect("ended");
    assert!(report.await.expect("no panic").is_err(), "it held its snapshot to the end");
    assert_eq!(store.audit().await.expect("audit"), Vec::<String>::new());
}
