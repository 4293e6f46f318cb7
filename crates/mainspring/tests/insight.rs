//! How things go and why a job does not run, over a store with a history.

mod common;

use common::{nap, once, start, start_with};
use mainspring::core::job::JobState as S;
use mainspring::core::node::LEASE;
use mainspring::core::store::Store;
use mainspring::core::{JobId, ProjectId, time};
use mainspring::explain::explain;
use mainspring::stats::{HealthState, StuckWhy, gather};
use mainspring::{Client, JobError, Json, KindSpec, NewJob, Registry};
use mainspring_testkit::MemoryStore;
use std::sync::Arc;
use std::time::Duration;

const P: ProjectId = ProjectId::DEFAULT;

fn registry() -> Registry {
    Registry::new()
        .function("good", once().slow(Duration::from_millis(20)), |_| async {
            nap(40).await;
            Ok(None)
        })
        .function("bad", KindSpec::default().queue("lane"), |_| async { Err(JobError::fatal("no")) })
        .function("endless", once(), |_| std::future::pending())
}

#[tokio::test]
async fn figures_and_health_of_every_scope() {
    let node = start(registry());
    for _ in 0..4 {
        node.finished(node.enqueue("good").await).await;
        node.finished(node.enqueue("bad").await).await;
    }
    let endless = node.enqueue("endless").await;
    node.until(endless, |d| d.job.state == S::Running).await;
    let registry = registry();
    let now = node.client.now();
    let stats = gather(&node.store, Some(&registry), P, now).await.unwrap();
    let kind = |name: &str| stats.kinds.iter().find(|k| k.name == name).expect("the kind").clone();
    let (good, bad) = (kind("good"), kind("bad"));
    assert_eq!(
        (good.all.total, good.all.success_rate, good.health.state),
        (4, Some(1.0), HealthState::Healthy)
    );
    assert!(good.all.mean.unwrap() >= Duration::from_millis(40) && good.day == good.all);
    assert_eq!(good.slow, Some(4), "all took longer than the threshold");
    assert_eq!((bad.all.success_rate, bad.health.state), (Some(0.0), HealthState::Unhealthy));
    assert_eq!(bad.health.reasons[0], "the last 3 all failed");
    assert_eq!(kind("endless").health.state, HealthState::Unknown);
    let queues: Vec<_> = stats.queues.iter().map(|q| (q.name.as_str(), q.all.total)).collect();
    assert_eq!(queues, [("default", 4), ("lane", 4)]);
    assert_eq!((stats.project.all.total, stats.project.jobs[&S::Running]), (8, 1));
    assert_eq!(stats.project.health.state, HealthState::Unhealthy, "half of them failed");
    assert!(stats.slow.is_empty() && stats.stuck.is_empty());
    // Two hours later, the one that runs is beyond its threshold and its limit.
    let later = time::plus(now, Duration::from_secs(7200));
    let stats = gather(&node.store, Some(&registry), P, later).await.unwrap();
    assert_eq!(stats.slow.iter().map(|s| s.job).collect::<Vec<_>>(), [endless]);
    assert_eq!((stats.stuck[0].job, stats.stuck[0].why), (endless, StuckWhy::Overrun));
    serde_json_of(&stats);
    node.client.cancel(endless, "done").await.unwrap();
    node.stop().await;
}

/// They are shown as JSON: that must not fail.
fn serde_json_of(value: &impl serde::Serialize) {
    assert!(Json::of(value).unwrap().as_str().starts_with('{'));
}

#[tokio::test]
async fn figures_of_schedules_carry_their_names_and_waiting_jobs_are_found_stuck() {
    let node = start(registry());
    let trigger = mainspring::core::trigger::Trigger::parse("0 0 1 1 *").unwrap();
    let spec = mainspring::core::schedule::ScheduleSpec::new("yearly", trigger, "good");
    node.client.put_schedule(&spec, "code").await.unwrap();
    let id = node.client.run_now("yearly").await.unwrap().id;
    node.finished(id).await;
    let strange = node.enqueue("strange").await;
    let now = node.client.now();
    let stats = gather(&node.store, None, P, now).await.unwrap();
    assert_eq!(
        stats.schedules.iter().map(|s| (s.name.as_str(), s.all.total)).collect::<Vec<_>>(),
        [("yearly", 1)]
    );
    assert_eq!(stats.schedules[0].health.state, HealthState::Healthy);
    assert!(stats.stuck.is_empty());
    let stats = gather(&node.store, None, P, time::plus(now, Duration::from_secs(1000))).await.unwrap();
    assert_eq!((stats.stuck[0].job, stats.stuck[0].why), (strange, StuckWhy::Waiting));
    assert!(stats.queues.iter().any(|q| q.oldest_waiting.is_some()));
    node.client.delete_schedule("yearly").await.unwrap();
    let stats = gather(&node.store, None, P, now).await.unwrap();
    assert!(stats.schedules[0].name.starts_with("deleted schedule"));
    node.stop().await;
}

/// The words of a job's reasons.
async fn words(client: &Client, id: JobId) -> Vec<&'static str> {
    let found = explain(&**client.store(), P, id, client.now(), LEASE).await.unwrap();
    let explanation = found.expect("the job is there");
    assert_eq!(explanation.summary, explanation.reasons[0].text);
    explanation.reasons.into_iter().map(|r| r.word).collect()
}

#[tokio::test]
async fn a_job_that_waits_is_told_why_by_every_reason() {
    let store = MemoryStore::new();
    let client = Client::new(Arc::new(store.clone())).acting_as("ann");
    let put = async |change: fn(&mut NewJob)| {
        let mut job = NewJob::new("good", Json::null());
        change(&mut job);
        client.enqueue_raw(job).await.unwrap().id
    };
    let plain = put(|_| ()).await;
    assert_eq!(words(&client, plain).await, ["no_node"]);
    let mut node = start_with(store.clone(), registry(), |b| b.slots(1).queues(["lane", "default"]));
    node.finished(plain).await;
    assert_eq!(words(&client, plain).await, ["final"]);

    client.pause_queue("default", None, Some("stock-taking")).await.unwrap();
    let paused = put(|_| ()).await;
    let found = explain(&store, P, paused, client.now(), LEASE).await.unwrap().unwrap();
    assert!(found.summary.contains("paused by ann") && found.summary.ends_with("stock-taking"), "{found:?}");
    client.resume_queue("default").await.unwrap();
    node.finished(paused).await;

    let later = put(|j| j.run_at = Some("2099-01-01T00:00:00Z".parse().unwrap())).await;
    assert_eq!(words(&client, later).await, ["not_due"]);
    let unserved = put(|j| j.queue = "elsewhere".into()).await;
    assert_eq!(words(&client, unserved).await, ["no_node_for_queue"]);
    let strange = put(|j| j.kind = "strange".into()).await;
    assert_eq!(words(&client, strange).await, ["unknown_kind"]);

    let rate = mainspring::core::rate::Rate::parse("1/1h").unwrap();
    client.change_queue("lane", |q| q.rate = Some(rate)).await.unwrap();
    let in_lane = |j: &mut NewJob| j.queue = "lane".into();
    node.finished(put(in_lane).await).await;
    let limited = put(in_lane).await;
    let found = explain(&store, P, limited, client.now(), LEASE).await.unwrap().unwrap();
    assert_eq!(found.reasons.iter().map(|r| r.word).collect::<Vec<_>>(), ["rate"]);
    let wait = time::since(client.now(), found.reasons[0].until.expect("an instant"));
    assert!(wait > Duration::from_secs(3500) && wait <= Duration::from_secs(3600), "{found:?}");

    let endless = put(|j| {
        j.kind = "endless".into();
        j.key = Some("k".into());
        j.key_limit = Some(1);
    })
    .await;
    node.until(endless, |d| d.job.state == S::Running).await;
    assert_eq!(words(&client, endless).await, ["running"]);
    // The pace of before is forgotten: nothing is claimed ahead.
    nap(300).await;
    let waits = put(|_| ()).await;
    assert_eq!(words(&client, waits).await, ["slots_busy"]);
    client.change_queue("default", |q| q.max_running = Some(1)).await.unwrap();
    assert_eq!(words(&client, waits).await, ["queue_full", "slots_busy"]);
    client
        .set_queue("*", mainspring::core::queue::QueueSettings { max_running: Some(1), ..Default::default() })
        .await
        .unwrap();
    assert!(words(&client, waits).await.contains(&"all_full"));
    client.cancel(endless, "enough").await.unwrap();
    let found = words(&client, endless).await;
    assert!(found == ["running", "cancelling"] || found == ["final"], "{found:?}");
    let _ = node.events.try_recv();
    node.stop().await;
}

#[tokio::test]
async fn a_job_of_a_silent_node_and_one_that_waits_for_its_retry_are_explained() {
    let node = start(registry().function("flaky", KindSpec::default(), |_| async {
        Err(JobError::retry_after("busy", Duration::from_secs(600)))
    }));
    let flaky = node.enqueue("flaky").await;
    node.until(flaky, |d| d.job.attempt == 1 && d.job.state == S::Scheduled).await;
    let found = explain(&node.store, P, flaky, node.client.now(), LEASE).await.unwrap().unwrap();
    assert_eq!(found.reasons[0].word, "retrying");
    assert!(found.summary.starts_with("its attempt 1 failed (busy); it is tried again at"), "{found:?}");
    let endless = node.enqueue("endless").await;
    node.until(endless, |d| d.job.state == S::Running).await;
    let later = time::plus(node.client.now(), Duration::from_secs(60));
    let found = explain(&node.store, P, endless, later, LEASE).await.unwrap().unwrap();
    assert_eq!(found.reasons[0].word, "node_silent");
    assert!(found.reasons[0].until.is_some());
    assert!(explain(&node.store, P, JobId(999), later, LEASE).await.unwrap().is_none());
    assert!(node.store.hints_alive());
    node.client.cancel(endless, "enough").await.unwrap();
    node.stop().await;
}
