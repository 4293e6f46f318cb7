//! A real node looks by itself.

use jiff::Timestamp;
use mainspring::alerts::{self, AlertFilter, RuleSpec};
use mainspring::clock::{Clock, SystemClock};
use mainspring::core::alert::{Condition, Over, Rule, Target};
use mainspring::core::job::JobState;
use mainspring::core::store::Store;
use mainspring::core::time;
use mainspring::{JobError, Json, KindSpec, Node, Registry, RetryPolicy};
use mainspring_store_sqlite::SqliteStore;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// The machine's clock, as somebody sets it.
#[derive(Default)]
struct Shifted {
    machine: SystemClock,
    by: AtomicI64,
}

impl Clock for Shifted {
    fn now(&self) -> Timestamp {
        time::from_micros(time::micros(self.machine.now()) + self.by.load(Ordering::SeqCst))
    }
}

#[allow(clippy::disallowed_methods, reason = "a test that waits for a real node")]
async fn nap() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

#[tokio::test]
async fn a_node_makes_the_tables_and_looks_at_rules_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(dir.path().join("mainspring.db"), Default::default()).unwrap());
    let clock = Arc::new(Shifted::default());
    let once = KindSpec::default().retry(RetryPolicy::never());
    let fails = Registry::new()
        .function("fail", once, |_| async { Err::<Option<Json>, _>(JobError::fatal("it broke")) });
    let node = Node::builder(store.clone(), fails)
        .slots(1)
        .clock(clock.clone())
        .lease(Duration::from_secs(3 * 3600))
        .build()
        .unwrap();
    let client = node.client();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let run = tokio::spawn(node.run(async {
        let _ = stopped.await;
    }));
    let of = Target::each(Over::Kinds);
    let spec = RuleSpec::new(Rule::new(Condition::Failures { of, in_a_row: 1 }));
    let mut made = alerts::make_rule(&client, "Failing", &spec).await;
    for _ in 0..1000 {
        if made.is_ok() {
            break;
        }
        nap().await;
        made = alerts::make_rule(&client, "Failing", &spec).await;
    }
    made.unwrap();
    let job = client.enqueue_raw(client.new_job_of("fail", Json::null())).await.unwrap().id;
    for _ in 0..1000 {
        if client.job(job).await.unwrap().job.state == JobState::Failed {
            break;
        }
        nap().await;
    }
    // Two minutes pass at once; the node notices that its clock was set.
    clock.by.store(125_000_000, Ordering::SeqCst);
    let mut told = vec![];
    for _ in 0..1500 {
        told = alerts::alerts(&client, &AlertFilter::default(), 10).await.unwrap().0;
        if !told.is_empty() {
            break;
        }
        nap().await;
    }
    assert_eq!(told.iter().map(|a| a.title.as_str()).collect::<Vec<_>>(), ["Kind fail failed"]);
    drop(stop);
    run.await.unwrap().unwrap();
    store.close().await;
}
