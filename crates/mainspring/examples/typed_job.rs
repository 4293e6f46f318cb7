//! A typed job: what it needs, what it does, what it gives. `cargo run -p mainspring --example typed_job`

use mainspring::{Client, Context, Job, JobError, Node, Registry};
use mainspring_store_sqlite::{Options, SqliteStore};
use std::sync::Arc;

#[derive(serde::Serialize, serde::Deserialize)]
struct Greet {
    name: String,
}

impl Job for Greet {
    const KIND: &'static str = "greet";
    type Output = String;

    async fn run(self, cx: Context) -> Result<String, JobError> {
        cx.info(format!("greeting {}, attempt {}", self.name, cx.attempt()));
        Ok(format!("Hello, {}!", self.name))
    }
}

/// Runs it, on a store of its own that goes away afterwards.
#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = Arc::new(SqliteStore::open(folder.path().join("jobs.db"), Options::default())?);
    let client = Client::new(store.clone());
    let job = client.enqueue(&Greet { name: "Ada".into() }).await?;

    let node = Node::builder(store, Registry::new().job::<Greet>()).build()?;
    // A real program hands over its Ctrl-C; this one stops when the job is done.
    node.run(async { drop(client.wait(job.id).await) }).await?;

    let done = client.job(job.id).await?.job;
    println!("{}: {}", done.state, done.output.expect("a greeting").as_str());
    Ok(())
}
