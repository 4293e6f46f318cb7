//! Workers outside over a real server: what they are told, what they may say, and that nothing they say
//! too late, twice or for others counts.

use crate::support::{World, nap};
use mainspring::{Backoff, Json, NewJob, RetryPolicy};
use mainspring_core::job::JobState;
use mainspring_core::{JobId, time};
use mainspring_web::access::Right;
use mainspring_web::accounts::{self, NewKey};
use serde_json::{Value, json};
use std::time::Duration;

const AT: &str = "/api/v1/projects/default/workers";

struct Worker<'a> {
    world: &'a World,
    key: String,
    name: String,
}

impl<'a> Worker<'a> {
    async fn register(world: &'a World, more: Value) -> Worker<'a> {
        let key = world.key("default", &[Right::Work]).await;
        let mut hello = json!({ "protocol": 1, "name": "w", "kinds": ["outside"], "slots": 4 });
        hello.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let told = world.post(AT, &key, hello).await.expect(201);
        assert!(told["lease_ms"].as_u64() > told["heartbeat_ms"].as_u64());
        Worker { world, key, name: told["worker"].as_str().unwrap().to_owned() }
    }

    async fn say(&self, what: &str, body: Value) -> crate::support::Answer {
        self.world.post(&format!("{AT}/{}/{what}", self.name), &self.key, body).await
    }

    async fn claim(&self, limit: u32, wait: u64) -> Vec<Value> {
        let answer = self.say("claim", json!({ "limit": limit, "wait": wait })).await.expect(200);
        answer["items"].as_array().unwrap().clone()
    }

    async fn claim_one(&self) -> Value {
        let mut got = self.claim(1, 10).await;
        got.pop().expect("a job within ten seconds")
    }
}

async fn put(world: &World, change: impl FnOnce(&mut NewJob)) -> i64 {
    let mut job = NewJob::new("outside", Json::trusted(r#"{"n":9007199254740993}"#));
    change(&mut job);
    world.client.enqueue_raw(job).await.expect("enqueued").id.0
}

async fn shown(world: &World, job: i64) -> mainspring_core::reader::JobDetail {
    world.client.job(JobId(job)).await.expect("the job is there")
}

#[tokio::test]
async fn a_worker_outside_runs_a_job_from_claim_to_finish() {
    let world = World::running().await;
    let worker = Worker::register(&world, json!({})).await;
    let job = put(&world, |_| ()).await;
    let held = worker.claim_one().await;
    assert_eq!((&held["job"], &held["attempt"], &held["kind"]), (&json!(job), &json!(1), &json!("outside")));
    assert_eq!(held["payload"]["n"].as_u64(), Some(9007199254740993), "numbers are kept as they were");
    let lease = &held["lease"];
    let lines = json!([{ "seq": 0, "message": "one", "fields": { "a": 1 } }, { "seq": 1, "level": "warn", "message": "two" }]);
    for _ in 0..2 {
        worker.say("log", json!({ "lease": lease, "lines": lines })).await.expect(204);
    }
    let told =
        worker.say("progress", json!({ "lease": lease, "done": 3, "total": 4, "note": "on it" })).await;
    assert_eq!(told.expect(200)["cancel"], false);
    assert_eq!(shown(&world, job).await.progress.unwrap().done, 3);
    let beat = worker.say("heartbeat", json!({ "holds": [lease] })).await.expect(200);
    assert_eq!(beat, json!({ "cancel": [], "lost": [] }));
    let done = worker.say("finish", json!({ "lease": lease, "output": { "sent": true } })).await.expect(200);
    assert_eq!(done["state"], "completed");
    let detail = shown(&world, job).await;
    assert_eq!(detail.job.output.unwrap().as_str(), r#"{"sent":true}"#);
    let log = world.store_logs(job).await;
    assert_eq!(log, ["one", "two"], "a line that is said twice is written once");
    // It is a node like others, and explains itself as one.
    let manager = world.key("default", &[Right::Manage]).await;
    let nodes = world.get("/api/v1/projects/default/nodes", &manager).await.expect(200);
    let outside: Vec<&Value> =
        nodes["items"].as_array().unwrap().iter().filter(|n| n["outside"] == true).collect();
    assert_eq!((outside.len(), &outside[0]["name"]), (1, &json!("w")));
}

#[tokio::test]
async fn what_is_said_twice_late_or_for_others_changes_nothing() {
    let world = World::still().await;
    let worker = Worker::register(&world, json!({})).await;
    let other = Worker::register(&world, json!({})).await;
    let job = put(&world, |_| ()).await;
    let held = worker.claim_one().await;
    let lease = &held["lease"];
    let end = json!({ "lease": lease, "output": 1 });
    // Another worker of the same project cannot speak for it, nor can a made-up lease.
    other.say("finish", end.clone()).await.refused(409, "MS0061");
    let forged = lease.as_str().unwrap().replace(".1.", ".2.");
    worker.say("finish", json!({ "lease": forged })).await.refused(409, "MS0061");
    // A key without the right, and a worker's name in another project, find nothing.
    let reader = world.key("default", &[Right::Read]).await;
    world.post(&format!("{AT}/{}/finish", worker.name), &reader, end.clone()).await.refused(403, "MS0041");
    let elsewhere = world.key("other", &[Right::Work]).await;
    let path = format!("/api/v1/projects/other/workers/{}/finish", worker.name);
    world.post(&path, &elsewhere, end.clone()).await.refused(404, "MS0021");
    assert_eq!(shown(&world, job).await.job.state, JobState::Running);
    // A second end is refused, and so is everything else about it.
    worker.say("finish", end.clone()).await.expect(200);
    worker.say("finish", end.clone()).await.refused(409, "MS0061");
    worker.say("fail", json!({ "lease": lease, "message": "x" })).await.refused(409, "MS0061");
    worker.say("progress", json!({ "lease": lease, "done": 1 })).await.refused(409, "MS0061");
    let line = json!({ "lease": lease, "lines": [{ "seq": 0, "message": "late" }] });
    worker.say("log", line).await.refused(409, "MS0061");
    // An old lease of a job that runs again is nobody's.
    world.client.retry(JobId(job)).await.expect("again");
    let again = worker.claim_one().await;
    assert_eq!(again["attempt"], 2);
    worker.say("finish", end).await.refused(409, "MS0061");
    let beat = worker.say("heartbeat", json!({ "holds": [lease, again["lease"]] })).await.expect(200);
    assert_eq!(beat["lost"], json!([lease]));
    let detail = shown(&world, job).await;
    assert_eq!((detail.job.state, detail.job.attempt, detail.job.output), (JobState::Running, 2, None));
    assert_eq!(world.store_logs(job).await, Vec::<String>::new());
}

#[tokio::test]
async fn every_way_to_end_is_decided_as_for_any_other_job() {
    let world = World::still().await;
    let worker = Worker::register(&world, json!({})).await;
    let policy = RetryPolicy {
        max_attempts: 2,
        backoff: Backoff::Steps(vec![Duration::from_secs(600)]),
        ..RetryPolicy::default()
    };
    for (call, body, state, reason, outcome) in [
        (
            "finish",
            json!({ "outcome": "partial", "failed": 3, "output": [1] }),
            "completed",
            "partial: 3 failed",
            "partial",
        ),
        (
            "finish",
            json!({ "outcome": "skipped", "reason": "no rows" }),
            "completed",
            "skipped: no rows",
            "skipped",
        ),
        ("finish", json!({ "outcome": "cancelled", "reason": "no" }), "cancelled", "no", "cancelled"),
        ("finish", json!({ "outcome": "snoozed", "after": "10m" }), "scheduled", "", "snoozed"),
        ("finish", json!({ "outcome": "interrupted" }), "available", "", "interrupted"),
        ("fail", json!({ "message": "busy", "class": "http_status" }), "scheduled", "", "failed"),
        ("fail", json!({ "message": "never", "retry": false }), "failed", "not retryable", "failed"),
    ] {
        let job = put(&world, |j| j.retry = policy.clone()).await;
        let held = worker.claim_one().await;
        assert_eq!(held["job"], job);
        let mut said = body.clone();
        said["lease"] = held["lease"].clone();
        let told = worker.say(call, said).await.expect(200);
        assert_eq!(told["state"], state, "{body}");
        let detail = shown(&world, job).await.job;
        assert_eq!(detail.outcome.unwrap().as_str(), outcome, "{body}");
        assert_eq!(detail.reason.unwrap_or_default(), reason, "{body}");
        // It must not be what the next claim finds.
        world.client.cancel(JobId(job), "over").await.expect("cancelled");
    }
    // A wait of its own, a class of its own.
    let job = put(&world, |j| j.retry = policy.clone()).await;
    let held = worker.claim_one().await;
    let busy = json!({ "lease": held["lease"], "message": "429", "class": "throttled", "after": "90s" });
    worker.say("fail", busy).await.expect(200);
    let detail = shown(&world, job).await.job;
    let wait = time::since(world.client.now(), detail.run_at);
    assert!(wait > Duration::from_secs(60) && wait < Duration::from_secs(91), "{wait:?}");
    assert_eq!(detail.error.unwrap().class, "throttled");
    let snooze = worker.say("finish", json!({ "lease": held["lease"], "outcome": "snoozed" })).await;
    assert_eq!(snooze.refused(422, "MS0020")["field"], "after");
}

#[tokio::test]
async fn a_waiting_claim_is_woken_by_an_enqueue_and_costs_nothing_before() {
    let world = World::running().await;
    let worker = Worker::register(&world, json!({})).await;
    // The first looks once and sleeps: nothing is there.
    assert_eq!(worker.claim(1, 0).await, Vec::<Value>::new());
    let (got, job) = tokio::join!(worker.claim(1, 30), async {
        nap(300).await;
        (world.clock_steady(), put(&world, |_| ()).await)
    });
    let woken = world.clock_steady().saturating_sub(job.0);
    assert_eq!(got[0]["job"], job.1);
    // Far sooner than the node's own poll, which comes every five seconds.
    assert!(woken < Duration::from_secs(4), "{woken:?}");
    // One that was dropped while it waited leaves nothing behind.
    let waiting = worker.say("claim", json!({ "limit": 1, "wait": 30 }));
    assert!(tokio::time::timeout(Duration::from_millis(200), waiting).await.is_err());
    let job = put(&world, |_| ()).await;
    let held = loop {
        let got = worker.claim(1, 5).await;
        if let Some(held) = got.first() {
            break held.clone();
        }
    };
    assert_eq!(held["job"], job, "it is held by nobody who is gone");
}

#[tokio::test]
async fn a_worker_gets_its_own_kinds_queues_and_project_only() {
    let world = World::still().await;
    let bound = NewKey {
        name: "mail only".into(),
        rights: [Right::Work].into(),
        queues: vec!["mail".into()],
        expires_at: None,
    };
    let project = world.project("default").await;
    let (_, key) = accounts::make_key(&world.web, project, "test", &bound).await.expect("a key");
    let hello = json!({ "protocol": 1, "name": "w", "kinds": ["outside"], "queues": ["mail", "other"] });
    world.post(AT, &key, hello.clone()).await.refused(403, "MS0041");
    let all = json!({ "protocol": 1, "name": "w", "kinds": ["outside"] });
    let name = world.post(AT, &key, all).await.expect(201)["worker"].as_str().unwrap().to_owned();
    let worker = Worker { world: &world, key, name };
    put(&world, |_| ()).await;
    let mail = put(&world, |job| job.queue = "mail".into()).await;
    put(&world, |job| (job.queue, job.kind) = ("mail".into(), "stranger".into())).await;
    let theirs = world.client.clone().in_project(world.project("other").await);
    let foreign = NewJob { queue: "mail".into(), ..NewJob::new("outside", Json::null()) };
    theirs.enqueue_raw(foreign).await.expect("enqueued");
    let got = worker.claim(100, 0).await;
    assert_eq!(got.iter().map(|j| j["job"].as_i64().unwrap()).collect::<Vec<_>>(), [mail]);
    // The protocol and the limits are checked.
    let key = world.key("default", &[Right::Work]).await;
    let wrong = json!({ "protocol": 2, "name": "w", "kinds": ["outside"] });
    world.post(AT, &key, wrong).await.refused(422, "MS0062");
    for (field, change) in
        [("kinds", json!({ "kinds": [] })), ("slots", json!({ "slots": 0 })), ("name", json!({ "name": "" }))]
    {
        let mut hello = json!({ "protocol": 1, "name": "w", "kinds": ["outside"] });
        hello.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(world.post(AT, &key, hello).await.refused(422, "MS0020")["field"], field);
    }
    let too_long = worker.say("claim", json!({ "wait": 31 })).await;
    assert_eq!(too_long.refused(422, "MS0020")["field"], "wait");
    let too_many = worker.say("claim", json!({ "limit": 101 })).await;
    assert_eq!(too_many.refused(422, "MS0020")["field"], "limit");
}

#[tokio::test]
async fn a_silent_worker_loses_its_jobs_and_must_register_again() {
    let world = World::running().await;
    let worker = Worker::register(&world, json!({})).await;
    let job = put(&world, |_| ()).await;
    let held = worker.claim_one().await;
    let node = shown(&world, job).await.job.node.unwrap();
    // As if it had been silent for a minute: its last sign of life is that old.
    let past = time::minus(world.client.now(), Duration::from_secs(60));
    world.store.heartbeat(past, node, Duration::from_secs(15)).await.expect("written");
    for _ in 0..3000 {
        if shown(&world, job).await.job.state == JobState::Available {
            break;
        }
        nap(10).await;
    }
    let detail = shown(&world, job).await.job;
    assert_eq!((detail.state, detail.deaths), (JobState::Available, 1));
    worker.say("heartbeat", json!({ "holds": [held["lease"]] })).await.refused(410, "MS0060");
    worker.say("claim", json!({})).await.refused(410, "MS0060");
    worker.say("finish", json!({ "lease": held["lease"] })).await.refused(409, "MS0061");
    let next = Worker::register(&world, json!({})).await;
    let again = next.claim_one().await;
    assert_eq!((&again["job"], &again["attempt"]), (&json!(job), &json!(2)));
    // One that leaves gives back at once what it holds.
    let path = format!("{AT}/{}", next.name);
    world.call("DELETE", &path, &next.key, None).await.expect(204);
    for _ in 0..3000 {
        if shown(&world, job).await.job.state == JobState::Available {
            return;
        }
        nap(10).await;
    }
    panic!("it was not given back");
}

#[tokio::test]
async fn a_cancellation_reaches_the_worker_and_a_time_limit_needs_none() {
    let world = World::running().await;
    let worker = Worker::register(&world, json!({})).await;
    let job = put(&world, |_| ()).await;
    let held = worker.claim_one().await;
    world.client.cancel(JobId(job), "not needed").await.expect("asked");
    let beat = worker.say("heartbeat", json!({ "holds": [held["lease"]] })).await.expect(200);
    assert_eq!(beat["cancel"], json!([held["lease"]]));
    let told = worker.say("progress", json!({ "lease": held["lease"], "done": 1 })).await.expect(200);
    assert_eq!(told["cancel"], true);
    // What looks like a failure to it is what was asked for.
    let failed = json!({ "lease": held["lease"], "message": "stopped" });
    assert_eq!(worker.say("fail", failed).await.expect(200)["state"], "cancelled");
    // Whoever goes on beyond the time limit is not waited for.
    let slow = put(&world, |job| {
        job.timeout = Some(Duration::from_millis(300));
        job.retry = RetryPolicy::never();
    })
    .await;
    let held = worker.claim_one().await;
    for _ in 0..3000 {
        if shown(&world, slow).await.job.state == JobState::Failed {
            break;
        }
        nap(10).await;
    }
    let detail = shown(&world, slow).await.job;
    assert_eq!(detail.outcome.unwrap().as_str(), "timed_out");
    worker.say("finish", json!({ "lease": held["lease"] })).await.refused(409, "MS0061");
}

#[tokio::test]
async fn a_worker_gets_the_secrets_a_payload_names_and_may_say_them_nowhere() {
    let world = World::still().await;
    let worker = Worker::register(&world, json!({})).await;
    let ring = mainspring::secrets::Secret::new("hunter2/and-more");
    let project = world.project("default").await;
    world.web.desk().vault().put(world.client.now(), project, "mail", &ring, "test").await.expect("kept");
    let job = put(&world, |job| job.payload = Json::trusted(r#"{"password":{"$secret":"mail"}}"#)).await;
    let missing = put(&world, |job| {
        job.payload = Json::trusted(r#"{"password":{"$secret":"nothing"}}"#);
        job.retry = RetryPolicy::never();
    })
    .await;
    let got = worker.claim(10, 0).await;
    assert_eq!(got.len(), 1, "what names a secret that is not there has failed");
    assert_eq!(got[0]["payload"], json!({ "password": "hunter2/and-more" }));
    assert_eq!(shown(&world, missing).await.job.error.unwrap().class, "secret");
    let lease = &got[0]["lease"];
    let line =
        json!({ "seq": 0, "message": "it is hunter2/and-more", "fields": { "p": "hunter2/and-more" } });
    worker.say("log", json!({ "lease": lease, "lines": [line] })).await.expect(204);
    let end = json!({ "lease": lease, "message": "hunter2/and-more is wrong", "retry": false });
    worker.say("fail", end).await.expect(200);
    let detail = shown(&world, job).await;
    assert_eq!(detail.job.error.unwrap().message, "[redacted] is wrong");
    assert_eq!(world.store_logs(job).await, ["it is [redacted]"]);
    assert_eq!(detail.job.payload.as_str(), r#"{"password":{"$secret":"mail"}}"#);
}
