//! One job hands its work to many, and another closes the books when all have ended.
//! `cargo run -p mainspring --example batch`

use mainspring::core::BatchId;
use mainspring::{Client, Context, Job, JobError, Node, Registry, RetryPolicy};
use mainspring_store_sqlite::{Options, SqliteStore};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Fans out: one `Invoice` for each customer, then one `Report`.
#[derive(Serialize, Deserialize)]
struct MonthEnd {
    customers: Vec<u32>,
}

impl Job for MonthEnd {
    const KIND: &'static str = "month_end";
    type Output = BatchId;

    async fn run(self, cx: Context) -> Result<BatchId, JobError> {
        let client = cx.client();
        let invoices = self.customers.iter().map(|c| client.new_job(&Invoice { customer: *c }));
        let invoices = invoices.collect::<Result<Vec<_>, _>>()?;
        // Safe to repeat: a second attempt completes this batch instead of making another.
        cx.fan_out("invoices", invoices, Some(client.new_job(&Report {})?)).await
    }
}

#[derive(Serialize, Deserialize)]
struct Invoice {
    customer: u32,
}

impl Job for Invoice {
    const KIND: &'static str = "invoice";
    type Output = ();

    fn retry() -> RetryPolicy {
        RetryPolicy::never()
    }

    async fn run(self, _: Context) -> Result<(), JobError> {
        if self.customer == 13 {
            return Err(JobError::fatal("customer 13 has no address").class("no_address"));
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Report {}

impl Job for Report {
    const KIND: &'static str = "report";
    type Output = String;

    async fn run(self, cx: Context) -> Result<String, JobError> {
        let Some(id) = cx.batch() else { return Err(JobError::Skip("not a follow-up".into())) };
        let batch = cx.client().batch(id).await?;
        let counts = batch.counts;
        Ok(format!("{}: {} of {} invoices are out", batch.state, counts.succeeded, counts.total))
    }
}

/// Runs it, on a store of its own that goes away afterwards.
#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = Arc::new(SqliteStore::open(folder.path().join("jobs.db"), Options::default())?);
    let registry = Registry::new().job::<MonthEnd>().job::<Invoice>().job::<Report>();
    let client = Client::new(store.clone());
    let job = client.enqueue(&MonthEnd { customers: (1..=20).collect() }).await?;

    let report = async {
        let done = client.wait(job.id).await?.job;
        let batch: BatchId = done.output.expect("the batch").to().expect("its number");
        let report = client.wait_batch(batch).await?.follow_up.expect("the report's job");
        client.wait(report).await
    };
    let mut told = None;
    Node::builder(store, registry).build()?.run(async { told = Some(report.await) }).await?;
    println!("{}", told.expect("it ended by itself")?.job.output.expect("a report").as_str());
    Ok(())
}
