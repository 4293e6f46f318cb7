//! What simulated jobs do: every answer a handler can give, chosen by the job's payload and the
//! number of the attempt, so that a replay does the same.

use super::scenario::TIMEOUT;
use super::world::{Entry, World};
use crate::dice::Dice;
use mainspring::job::JobError;
use mainspring::registry::{KindSpec, Registry};
use mainspring::{Context, Json};
use mainspring_core::job::NewJob;
use mainspring_core::retry::RetryPolicy;
use mainspring_core::time;
use std::sync::Arc;
use std::time::Duration;

/// After so many attempts a job only fails or succeeds, so that every run comes to an end.
const PATIENCE: u32 = 6;

/// The kinds of a simulated node.
pub fn registry(world: &Arc<World>) -> Registry {
    let spec = || KindSpec::default().timeout(TIMEOUT);
    let (work, parent) = (world.clone(), world.clone());
    Registry::new()
        .function("work", spec(), move |cx| {
            let world = work.clone();
            async move { run(&world, &cx).await }
        })
        .function("parent", spec(), move |cx| {
            let world = parent.clone();
            async move { fan_out(&world, &cx).await }
        })
}

fn dice_of(cx: &Context) -> Dice {
    let n: u64 = cx.payload().to().unwrap_or_default();
    Dice::new(n.wrapping_mul(31).wrapping_add(u64::from(cx.attempt())))
}

fn begin(world: &World, cx: &Context) {
    world.note(Entry::Began(cx.job_id(), cx.attempt()));
}

async fn sleep(world: &World, millis: u64) {
    world.sleep_until(world.micros() + millis as i64 * 1000).await;
}

async fn run(world: &World, cx: &Context) -> Result<Option<Json>, JobError> {
    begin(world, cx);
    let d = dice_of(cx);
    let patient = cx.attempt() < PATIENCE;
    match d.below(20) {
        0..6 => {
            sleep(world, d.below(4_000)).await;
            Ok(Some(Json::trusted("\"slept\"")))
        }
        6..9 => Ok(None),
        9 => {
            // Longer than a lease: its node may die meanwhile.
            sleep(world, 16_000 + d.below(8_000)).await;
            Ok(None)
        }
        10 => Err(JobError::retry("it broke")),
        11 => {
            sleep(world, d.below(1_000)).await;
            Err(JobError::retry_after("busy", Duration::from_millis(d.below(5_000))))
        }
        12 => Err(JobError::fatal("no use")),
        13 if patient => Err(JobError::Snooze(time::plus(cx.now(), Duration::from_millis(d.below(10_000))))),
        14 => Err(JobError::partial(&[1, 2], 3)),
        15 if d.once_in(2) => Err(JobError::Skip("nothing new".into())),
        15 => Err(JobError::Cancel("the order is gone".into())),
        16 => {
            // Without the panic hook: a run would print thousands of traces.
            std::panic::resume_unwind(Box::new("simulated"))
        }
        17 => {
            // It never ends by itself; a time-out or a person does it.
            sleep(world, 3_600_000).await;
            Ok(None)
        }
        18 => heed(world, cx, &d).await,
        _ => steps(world, cx, &d).await,
    }
}

/// Looks for a wish to stop, as good handlers do.
async fn heed(world: &World, cx: &Context, d: &Dice) -> Result<Option<Json>, JobError> {
    for done in 0..d.below(10) {
        cx.progress(done, 10, None::<String>);
        sleep(world, 500).await;
        if cx.stop_reason().is_some() {
            return Err(JobError::retry("asked to stop"));
        }
    }
    Ok(None)
}

/// Two steps and a few lines; a step that is remembered gives everybody the same.
async fn steps(world: &World, cx: &Context, d: &Dice) -> Result<Option<Json>, JobError> {
    cx.info("begins");
    for name in ["fetch", "store"] {
        let by: u32 = cx
            .step(name, async {
                sleep(world, d.below(2_000)).await;
                Ok(cx.attempt())
            })
            .await?;
        // A frozen node's attempt may wake so late that a later one has made the step; what it then
        // writes is refused. Its own result may be refused too, so only what is given counts.
        if by != cx.attempt() {
            world.remembered(cx.job_id(), name, by);
        }
        cx.warn(format!("{name} by attempt {by}"));
    }
    if d.once_in(3) { Err(JobError::retry("after its steps")) } else { Ok(None) }
}

/// A batch of children with a follow-up.
async fn fan_out(world: &World, cx: &Context) -> Result<Option<Json>, JobError> {
    begin(world, cx);
    let d = dice_of(cx);
    let child = |n: u64| NewJob {
        retry: RetryPolicy::never(),
        ..NewJob::new("work", Json::trusted((n * 7919).to_string()))
    };
    // What it does must not depend on the attempt: a later one goes on where an earlier one stopped.
    let n: u64 = cx.payload().to().unwrap_or_default();
    let jobs = (0..n % 4).map(|i| child(n + i)).collect();
    cx.fan_out("children", jobs, Some(child(n + 9))).await?;
    if d.once_in(4) { Err(JobError::retry("after the fan-out")) } else { Ok(None) }
}
