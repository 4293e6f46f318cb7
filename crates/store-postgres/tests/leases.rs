//! Leases on PostgreSQL, where they share rows: that each is found and taken away once, whoever else
//! is at it at the same moment, and that keys are counted by them.
#![allow(clippy::disallowed_methods, reason = "these tests wait for a real server")]

mod common;

use common::{P, job, join, now, open, request, until};
use mainspring_core::Json;
use mainspring_core::batch::NewBatch;
use mainspring_core::decide::{Outcome, decide};
use mainspring_core::job::{Claimed, ErrorRecord, NewJob};
use mainspring_core::reader::Reader;
use mainspring_core::store::{ClaimRequest, Finished, JobFilter, Store};
use mainspring_store_postgres::PostgresStore;
use mainspring_testkit::pg::{self, Database};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Jobs whose leases have rows of their own: a batch counts them.
async fn enqueue_counted(store: &PostgresStore, n: usize) {
    let batch = NewBatch { name: "counted".into(), follow_up: None, parent: None, sealed: true };
    store.open_batch(now(), P, batch, vec![job("work"); n]).await.expect("enqueued");
}

/// Claims and finishes of one key's jobs, side by side: each takes its share of the same rows.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_counted_right_while_claims_and_finishes_meet_on_them() {
    let database = pg::fresh_database();
    let (claims, ends) = (open(&database.url()).await, open(&database.url()).await);
    let node = join(&claims, 1).await;
    let keyed = |n: usize| NewJob { key: Some(format!("key {}", n % 7).into()), ..job("work") };
    for _ in 0..4 {
        claims.enqueue(now(), P, (0..1000).map(keyed).collect()).await.expect("enqueued");
    }
    let (send, mut receive) = tokio::sync::mpsc::channel::<Vec<mainspring_core::job::Claimed>>(8);
    let store = claims.clone();
    let claimer = tokio::spawn(async move {
        let mut left = 4000;
        while left > 0 {
            let jobs = store.claim(now(), request(node)).await.expect("claimed").jobs;
            left -= jobs.len();
            send.send(jobs).await.expect("a listener");
        }
    });
    while let Some(jobs) = receive.recv().await {
        let done = jobs.iter().map(|c| decide(&c.facts, Outcome::Succeeded { output: None }, now(), 0.5));
        ends.finish(now(), done.collect()).await.expect("finished");
    }
    claimer.await.expect("the claims");
    assert_eq!(claims.audit().await.expect("audit"), Vec::<String>::new());
}

/// Ends five jobs while a cancel holds what it wrote: the ends wait for it, and all of them count.
async fn five_end_beside<T, E: std::fmt::Debug>(
    store: &PostgresStore,
    claimed: &[Claimed],
    cancel: tokio::task::JoinHandle<Result<T, E>>,
) {
    let done: Vec<_> =
        claimed.iter().map(|c| decide(&c.facts, Outcome::Succeeded { output: None }, now(), 0.5)).collect();
    let (began, answers) = (Instant::now(), store.finish(now(), done).await.expect("finished"));
    assert!(began.elapsed() > Duration::from_millis(200), "it did not meet the cancel");
    assert_eq!(answers, vec![Finished::Applied; 5]);
    cancel.await.expect("no panic").expect("cancelled");
}

/// A cancel has marked the lease and not committed yet when a finish looks for it: the finish must
/// take away the row as the cancel leaves it, not as it was before.
#[tokio::test(flavor = "multi_thread")]
async fn a_finish_that_meets_a_cancel_takes_the_lease_away() {
    let database = Arc::new(pg::fresh_database());
    let store = open(&database.url()).await;
    let node = join(&store, 1).await;
    enqueue_counted(&store, 5).await;
    let claimed = store.claim(now(), request(node)).await.expect("claimed").jobs;
    assert_eq!(claimed.len(), 5);
    // A cancel's own statement, held open for a while between its write and its commit.
    let held = database.clone();
    let cancel = tokio::task::spawn_blocking(move || {
        held.sql("BEGIN; UPDATE mainspring.running SET cancel = true; SELECT pg_sleep(1); COMMIT")
    });
    until_asleep(&database).await;
    five_end_beside(&store, &claimed, cancel).await;
    assert_eq!(database.sql("SELECT count(*) FROM mainspring.running").unwrap().trim(), "0");
    assert_eq!(store.audit().await.expect("audit"), Vec::<String>::new());
}

/// The same when a transition among them is stale: then the first try lets go of a lease that nobody
/// asked for, is taken back, and the second looks for each attempt; a cancel that waited for the
/// first has the row by then, and the second must see what it leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_finish_that_meets_a_cancel_on_its_second_try_takes_the_lease_away() {
    let database = Arc::new(pg::fresh_database());
    let store = open(&database.url()).await;
    let node = join(&store, 1).await;
    enqueue_counted(&store, 2).await;
    let claimed = store.claim(now(), request(node)).await.expect("claimed").jobs;
    assert_eq!(claimed.len(), 2);
    let asked = claimed[0].facts.job;
    let cancel = |seconds: u32| {
        let held = database.clone();
        let text = format!(
            "BEGIN; UPDATE mainspring.running SET cancel = true WHERE job = {}; SELECT pg_sleep({seconds}); COMMIT",
            asked.0
        );
        tokio::task::spawn_blocking(move || held.sql(&text))
    };
    let sessions = |state: &'static str, n: &'static str| {
        let database = database.clone();
        move || {
            let text = format!(
                "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = '{state}'"
            );
            let found = database.sql(&text).expect("a count").trim() == n;
            async move { found }
        }
    };
    let first = cancel(2);
    until("a cancel holds the row", sessions("Timeout", "1")).await;
    let mut done: Vec<_> =
        claimed.iter().map(|c| decide(&c.facts, Outcome::Succeeded { output: None }, now(), 0.5)).collect();
    done[1].attempt = 7;
    let finishing = store.clone();
    let finish = tokio::spawn(async move { finishing.finish(now(), done).await });
    until("the finish waits for it", sessions("Lock", "1")).await;
    let second = cancel(1);
    until("another cancel waits behind it", sessions("Lock", "2")).await;
    let answers = finish.await.expect("no panic").expect("finished");
    assert_eq!(answers, [Finished::Applied, Finished::Stale]);
    for cancel in [first, second] {
        cancel.await.expect("no panic").expect("cancelled");
    }
    let left = "SELECT job FROM mainspring.running";
    assert_eq!(database.sql(left).unwrap().trim(), claimed[1].facts.job.0.to_string());
    assert_eq!(store.audit().await.expect("audit"), Vec::<String>::new());
}

/// One job leaves a bundle to be marked, as a cancel does it, and stays uncommitted for a second.
fn move_out(database: &Arc<Database>, job: i64) -> tokio::task::JoinHandle<Result<String, String>> {
    let database = database.clone();
    tokio::task::spawn_blocking(move || {
        database.sql(&format!(
            "BEGIN;
             UPDATE mainspring.bundles SET jobs = array_remove(jobs, {job});
             INSERT INTO mainspring.running (job, node, started_at, route, attempt, cancel)
             SELECT {job}, node, started_at, route, 1, true FROM mainspring.bundles;
             SELECT pg_sleep(1); COMMIT"
        ))
    })
}

async fn until_asleep(database: &Database) {
    until("the cancel holds the rows", || async {
        let asleep = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event = 'PgSleep'";
        database.sql(asleep).expect("a count").trim() == "1"
    })
    .await;
}

/// What one claim takes of a route shares a row, and what is left of it is still held when some have
/// ended; whoever ends twice, or as another attempt, ends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn leases_taken_together_are_kept_together() {
    let database = pg::fresh_database();
    let store = open(&database.url()).await;
    let node = join(&store, 1).await;
    store.enqueue(now(), P, vec![job("work"); 300]).await.expect("enqueued");
    let all = ClaimRequest { limit: 300, ..request(node) };
    let claimed = store.claim(now(), all).await.expect("claimed").jobs;
    assert_eq!(claimed.len(), 300);
    let rows = |table: &str| -> u32 {
        let text = database.sql(&format!("SELECT count(*) FROM mainspring.{table}")).expect("a count");
        text.trim().parse().expect("a number")
    };
    assert!(rows("bundles") <= 4, "{} rows for three hundred leases", rows("bundles"));
    assert_eq!((rows("running"), rows("leases")), (0, 300));
    let end = |n: usize| decide(&claimed[n].facts, Outcome::Succeeded { output: None }, now(), 0.5);
    // Every third, so that none of the rows goes as a whole.
    let some: Vec<_> = (0..300).step_by(3).map(end).collect();
    let answers = store.finish(now(), some.clone()).await.expect("finished");
    assert_eq!(answers, vec![Finished::Applied; 100]);
    let mut again = some;
    again.extend((1..300).step_by(3).map(|n| {
        let mut other = end(n);
        other.attempt = 2;
        other
    }));
    assert_eq!(store.finish(now(), again).await.expect("answered"), vec![Finished::Stale; 200]);
    assert_eq!(rows("leases"), 200);
    assert_eq!(store.audit().await.expect("audit"), Vec::<String>::new());
    let rest: Vec<_> = (0..300).filter(|n| n % 3 != 0).map(end).collect();
    assert_eq!(store.finish(now(), rest).await.expect("finished"), vec![Finished::Applied; 200]);
    assert_eq!((rows("bundles"), rows("done")), (0, 300));
    assert_eq!(store.audit().await.expect("audit"), Vec::<String>::new());
}

/// Jobs with keys share rows, too, and their keys are counted whatever becomes of them: some end, some
/// wait for a retry, one is cancelled and so leaves its row for one of its own, and jobs without a key
/// end in the same call.
#[tokio::test(flavor = "multi_thread")]
async fn leases_of_keys_are_kept_together_and_counted() {
    let database = pg::fresh_database();
    let store = open(&database.url()).await;
    let node = join(&store, 1).await;
    let keyed = |n: usize| NewJob { key: Some(format!("key {}", n % 3).into()), ..job("work") };
    let jobs = (0..300).map(|n| if n % 10 == 9 { job("work") } else { keyed(n) }).collect();
    store.enqueue(now(), P, jobs).await.expect("enqueued");
    let all = ClaimRequest { limit: 300, ..request(node) };
    let claimed = store.claim(now(), all).await.expect("claimed").jobs;
    assert_eq!(claimed.len(), 300);
    let number = |sql: &str| -> u32 {
        database.sql(&format!("SELECT {sql}")).expect("a look").trim().parse().expect("a number")
    };
    assert!(number("count(*) FROM mainspring.bundles") <= 12);
    let running = |keys: u32, rows: u32, leases: u32| {
        let told = [
            number("sum(running) FROM mainspring.keys"),
            number("count(*) FROM mainspring.running"),
            number("count(*) FROM mainspring.leases"),
        ];
        assert_eq!(told, [keys, rows, leases]);
    };
    running(270, 0, 300);
    let end = |n: usize| decide(&claimed[n].facts, Outcome::Succeeded { output: None }, now(), 0.5);
    let fail = |n: usize| {
        let error = ErrorRecord::new("test", "not today", vec![]);
        decide(&claimed[n].facts, Outcome::Failed { error, retryable: true, after: None }, now(), 0.5)
    };
    // Keyed ones alone, then with others that have none, then with failures among them.
    let lists = [
        (0..100).step_by(10).map(end).collect::<Vec<_>>(),
        (100..150).map(end).collect(),
        (150..200).map(|n| if n % 5 == 0 { fail(n) } else { end(n) }).collect(),
    ];
    for list in lists {
        let n = list.len();
        assert_eq!(store.finish(now(), list.clone()).await.expect("finished"), vec![Finished::Applied; n]);
        assert_eq!(store.finish(now(), list).await.expect("answered"), vec![Finished::Stale; n]);
        assert_eq!(store.audit().await.expect("audit"), Vec::<String>::new());
    }
    running(170, 0, 190);
    let cancelled = claimed[201].facts.job;
    let which = JobFilter { ids: vec![cancelled], ..JobFilter::default() };
    let bulk = mainspring_core::store::Bulk { filter: &which, after: None, limit: 1 };
    store.cancel_jobs(now(), P, bulk, "no more", "test").await.expect("asked");
    running(170, 1, 190);
    assert_eq!(store.audit().await.expect("audit"), Vec::<String>::new());
    let rest: Vec<_> = (0..100).filter(|n| n % 10 != 0).chain(200..300).map(end).collect();
    assert_eq!(store.finish(now(), rest).await.expect("finished"), vec![Finished::Applied; 190]);
    running(0, 0, 0);
    assert_eq!(store.audit().await.expect("audit"), Vec::<String>::new());
}

/// Long lists of ends of every other block are written side by side: none waits for the other.
#[tokio::test(flavor = "multi_thread")]
async fn two_lists_of_ends_do_not_wait_for_one_another() {
    let database = Arc::new(pg::fresh_database());
    let store = open(&database.url()).await;
    let node = join(&store, 1).await;
    store.enqueue(now(), P, vec![job("work"); 512]).await.expect("enqueued");
    let all = ClaimRequest { limit: 512, ..request(node) };
    let claimed = store.claim(now(), all).await.expect("claimed").jobs;
    let block = |id: i64| id / mainspring_core::limits::NEIGHBOURS;
    let ends = |odd: bool| -> Vec<_> {
        let of = claimed.iter().filter(|c| (block(c.facts.job.0) % 2 != 0) == odd);
        of.map(|c| decide(&c.facts, Outcome::Succeeded { output: None }, now(), 0.5)).collect()
    };
    let (even, odd) = (ends(false), ends(true));
    assert!(even.len() > 100 && odd.len() > 100, "{} and {}", even.len(), odd.len());
    let other = database.clone();
    let holds = tokio::task::spawn_blocking(move || {
        other.sql(
            "BEGIN; SELECT FROM mainspring.bundles WHERE block % 2 = 0 FOR UPDATE; SELECT pg_sleep(2); COMMIT",
        )
    });
    until_asleep(&database).await;
    let first = tokio::spawn({
        let store = store.clone();
        async move { store.finish(now(), even).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let answers = store.finish(now(), odd).await.expect("finished");
    assert!(answers.iter().all(|a| *a == Finished::Applied));
    assert!(!holds.is_finished() && !first.is_finished(), "it waited for the other list");
    holds.await.expect("no panic").expect("held");
    let answers = first.await.expect("no panic").expect("finished");
    assert!(answers.iter().all(|a| *a == Finished::Applied));
    assert_eq!(store.audit().await.expect("audit"), Vec::<String>::new());
}

/// A job leaves its bundle while a finish waits for the bundle: it is found where it is then.
#[tokio::test(flavor = "multi_thread")]
async fn a_finish_finds_a_lease_that_leaves_its_bundle() {
    let database = Arc::new(pg::fresh_database());
    let store = open(&database.url()).await;
    let node = join(&store, 1).await;
    store.enqueue(now(), P, vec![job("work"); 5]).await.expect("enqueued");
    let claimed = store.claim(now(), request(node)).await.expect("claimed").jobs;
    let cancel = move_out(&database, claimed[2].facts.job.0);
    until_asleep(&database).await;
    five_end_beside(&store, &claimed, cancel).await;
    assert_eq!(database.sql("SELECT count(*) FROM mainspring.leases").unwrap().trim(), "0");
    assert_eq!(store.audit().await.expect("audit"), Vec::<String>::new());
}

/// What is fenced by a lease is not refused because the lease moves at that moment.
#[tokio::test(flavor = "multi_thread")]
async fn steps_and_progress_of_a_lease_that_leaves_its_bundle_are_kept() {
    let database = Arc::new(pg::fresh_database());
    let store = open(&database.url()).await;
    let node = join(&store, 1).await;
    store.enqueue(now(), P, vec![job("work"); 2]).await.expect("enqueued");
    let claimed = store.claim(now(), request(node)).await.expect("claimed").jobs;
    let (first, second) = (claimed[0].facts.job, claimed[1].facts.job);
    let cancel = move_out(&database, first.0);
    until_asleep(&database).await;
    let began = Instant::now();
    let kept = store.save_step(now(), first, 1, "a step", Json::null()).await.expect("saved");
    assert_eq!((kept, began.elapsed() > Duration::from_millis(200)), (Finished::Applied, true));
    cancel.await.expect("no panic").expect("cancelled");
    let cancel = move_out(&database, second.0);
    until_asleep(&database).await;
    let progress = mainspring_core::job::Progress { done: 1, total: None, note: None };
    let (began, set) = (Instant::now(), store.set_progress(now(), second, 1, progress).await.expect("set"));
    assert_eq!((set, began.elapsed() > Duration::from_millis(200)), (Finished::Applied, true));
    cancel.await.expect("no panic").expect("cancelled");
}
