//! The tour: what a first `mainspring up` shows in an empty folder. Small jobs of built-in kinds
//! that succeed, fail and are retried, run out of time, succeed in part and fan out, and a schedule
//! that fires every few seconds and ends by itself, so that nothing of it is left running.
//!
//! The kinds are ordinary typed jobs: this file is also what one looks like.

use crate::clock;
use mainspring::{Backoff, Context, Job, JobError, NewJob, Registry, RetryPolicy};
use mainspring_core::schedule::ScheduleSpec;
use mainspring_core::trigger::Trigger;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The schedule's name.
pub const SCHEDULE: &str = "tour/every five seconds";
/// How often it fires before it ends.
pub const FIRES: u64 = 24;

/// Adds the tour's kinds.
pub fn register(registry: Registry) -> Registry {
    registry
        .job::<Greet>()
        .job::<Flaky>()
        .job::<Slow>()
        .job::<Import>()
        .job::<Newsletter>()
        .job::<Letter>()
        .job::<Heartbeat>()
}

/// The jobs it begins with.
pub fn jobs(client: &mainspring::Client) -> mainspring::client::Result<Vec<NewJob>> {
    let mut jobs = vec![];
    for name in ["Ada", "Grace", "Katherine"] {
        jobs.push(client.new_job(&Greet { name: name.into() })?);
    }
    jobs.push(client.new_job(&Flaky {})?);
    jobs.push(client.new_job(&Import { rows: 40 })?);
    jobs.push(client.new_job(&Newsletter { to: 4 })?);
    let mut slow = client.new_job(&Slow {})?;
    slow.timeout = Some(Duration::from_secs(2));
    jobs.push(slow);
    Ok(jobs)
}

/// The schedule that fires while one looks.
pub fn schedule() -> ScheduleSpec {
    let interval = Duration::from_secs(5);
    let mut spec = ScheduleSpec::new(SCHEDULE, Trigger::Every { interval, from: None }, Heartbeat::KIND);
    spec.max_fires = Some(FIRES);
    spec.job.payload = serde_json::json!({});
    spec
}

/// Succeeds.
#[derive(Serialize, Deserialize)]
struct Greet {
    name: String,
}

impl Job for Greet {
    const KIND: &'static str = "tour.greet";
    type Output = String;

    async fn run(self, cx: Context) -> Result<String, JobError> {
        cx.info(format!("greeting {}", self.name));
        Ok(format!("hello, {}", self.name))
    }
}

/// Fails once and is tried again after two seconds.
#[derive(Serialize, Deserialize)]
struct Flaky {}

impl Job for Flaky {
    const KIND: &'static str = "tour.flaky";
    type Output = String;

    fn retry() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 3,
            backoff: Backoff::Steps(vec![Duration::from_secs(2)]),
            ..RetryPolicy::default()
        }
    }

    async fn run(self, cx: Context) -> Result<String, JobError> {
        if cx.attempt() == 1 {
            cx.warn("the other side hung up; the next attempt will do");
            return Err(JobError::retry("the other side hung up (this is part of the tour)"));
        }
        Ok(format!("worked at attempt {}", cx.attempt()))
    }
}

/// Takes longer than it may.
#[derive(Serialize, Deserialize)]
struct Slow {}

impl Job for Slow {
    const KIND: &'static str = "tour.slow";
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(2));
    type Output = ();

    fn retry() -> RetryPolicy {
        RetryPolicy::never()
    }

    async fn run(self, cx: Context) -> Result<(), JobError> {
        cx.info("this takes a minute, and only two seconds are allowed");
        clock::pause(Duration::from_secs(60)).await;
        Ok(())
    }
}

/// Does most of its work and tells what is missing.
#[derive(Serialize, Deserialize)]
struct Import {
    rows: u64,
}

#[derive(Serialize)]
struct Imported {
    imported: u64,
    failed: Vec<u64>,
}

impl Job for Import {
    const KIND: &'static str = "tour.import";
    type Output = Imported;

    async fn run(self, cx: Context) -> Result<Imported, JobError> {
        let mut failed = vec![];
        for row in 1..=self.rows {
            clock::pause(Duration::from_millis(40)).await;
            if row % 13 == 0 {
                cx.warn(format!("row {row} has no address"));
                failed.push(row);
            }
            cx.progress(row, self.rows, None);
        }
        let n = failed.len() as u64;
        Err(JobError::partial(&Imported { imported: self.rows - n, failed }, n))
    }
}

/// Hands its work to many jobs, which form a batch.
#[derive(Serialize, Deserialize)]
struct Newsletter {
    to: u64,
}

impl Job for Newsletter {
    const KIND: &'static str = "tour.newsletter";
    type Output = String;

    async fn run(self, cx: Context) -> Result<String, JobError> {
        let client = cx.client();
        let letters =
            (1..=self.to).map(|to| client.new_job(&Letter { to })).collect::<Result<Vec<_>, _>>()?;
        let batch = cx.fan_out("letters", letters, None).await?;
        Ok(format!("batch {batch}"))
    }
}

/// One of the many.
#[derive(Serialize, Deserialize)]
struct Letter {
    to: u64,
}

impl Job for Letter {
    const KIND: &'static str = "tour.letter";
    type Output = ();

    async fn run(self, cx: Context) -> Result<(), JobError> {
        clock::pause(Duration::from_millis(150 * self.to)).await;
        cx.info(format!("letter {} written (and sent nowhere)", self.to));
        Ok(())
    }
}

/// What the schedule runs.
#[derive(Serialize, Deserialize)]
struct Heartbeat {}

impl Job for Heartbeat {
    const KIND: &'static str = "tour.heartbeat";
    type Output = String;

    async fn run(self, cx: Context) -> Result<String, JobError> {
        Ok(match cx.scheduled_for() {
            Some(at) => format!("for {at}"),
            None => "by hand".into(),
        })
    }
}
