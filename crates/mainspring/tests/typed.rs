//! What a typed job may do from inside `run`. That this compiles is half of the test: a handler's
//! future must be `Send` whatever of the library it awaits.

mod common;

use mainspring::core::batch::BatchState;
use mainspring::core::store::JobFilter;
use mainspring::{Context, Job, JobError, Registry};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Newsletter {
    to: u32,
}

impl Job for Newsletter {
    const KIND: &'static str = "newsletter";
    type Output = (i64, u32);

    async fn run(self, cx: Context) -> Result<(i64, u32), JobError> {
        let twice = cx.step("double", async { Ok(self.to * 2) }).await?;
        let client = cx.client();
        let letters = (0..self.to).map(|to| client.new_job(&Letter { to })).collect::<Result<Vec<_>, _>>()?;
        let batch = cx.fan_out("letters", letters, None).await?;
        let nothing = JobFilter { kind: Some("no such kind".into()), ..JobFilter::default() };
        assert!(client.retry_where(&nothing, |_| ()).await?.is_empty());
        assert!(client.cancel_where(&nothing, "none", |_| ()).await?.is_empty());
        Ok((batch.0, twice))
    }
}

#[derive(Serialize, Deserialize)]
struct Letter {
    to: u32,
}

impl Job for Letter {
    const KIND: &'static str = "letter";
    type Output = ();

    async fn run(self, _: Context) -> Result<(), JobError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_typed_job_fans_out_remembers_and_asks_the_client() {
    let node = common::start(Registry::new().job::<Newsletter>().job::<Letter>());
    let job = node.client.enqueue(&Newsletter { to: 3 }).await.unwrap().id;
    let detail = node.finished(job).await;
    let (batch, twice): (i64, u32) = detail.job.output.expect("an output").to().unwrap();
    assert_eq!(twice, 6);
    let batch = mainspring::core::BatchId(batch);
    let ended = async {
        while node.client.batch(batch).await.unwrap().state == BatchState::Open {
            common::nap(10).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), ended).await.expect("the batch ends");
    let batch = node.client.batch(batch).await.unwrap();
    assert_eq!((batch.state, batch.counts.total, batch.counts.succeeded), (BatchState::Complete, 3, 3));
    node.stop().await;
}
