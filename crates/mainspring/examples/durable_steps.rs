//! Steps that are done once, however often the job is tried.
//! `cargo run -p mainspring --example durable_steps`

use mainspring::{Backoff, Client, Context, Job, JobError, Node, Registry, RetryPolicy};
use mainspring_store_sqlite::{Options, SqliteStore};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The outside world: handlers get it from the registry by its type.
#[derive(Default)]
struct Bank {
    charges: AtomicU32,
}

#[derive(Serialize, Deserialize)]
struct Order {
    number: u32,
}

impl Job for Order {
    const KIND: &'static str = "order";
    type Output = String;

    fn retry() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 3,
            backoff: Backoff::Fixed(Duration::from_millis(10)),
            retry_timeouts: true,
        }
    }

    async fn run(self, cx: Context) -> Result<String, JobError> {
        let bank: &Bank = cx.state()?;
        // A later attempt gets the receipt of the first and charges nobody twice.
        let receipt =
            cx.step("charge", async { Ok(bank.charges.fetch_add(1, Ordering::SeqCst) + 1) }).await?;
        if !cx.is_last_attempt() {
            return Err(JobError::retry("the parcel service does not answer"));
        }
        Ok(format!("order {} sent, receipt {receipt}, attempt {}", self.number, cx.attempt()))
    }
}

/// Runs it, on a store of its own that goes away afterwards.
#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = Arc::new(SqliteStore::open(folder.path().join("jobs.db"), Options::default())?);
    let registry = Arc::new(Registry::new().job::<Order>().state(Bank::default()));
    let client = Client::new(store.clone()).with_registry(registry.clone());
    let job = client.enqueue(&Order { number: 7 }).await?;
    Node::builder(store, registry.clone()).build()?.run(async { drop(client.wait(job.id).await) }).await?;

    let done = client.job(job.id).await?.job;
    println!("{}: {}", done.state, done.output.expect("a result").as_str());
    let charges = registry.get_state::<Bank>().map_or(0, |bank| bank.charges.load(Ordering::SeqCst));
    assert_eq!(charges, 1, "the customer was charged once");
    Ok(())
}
