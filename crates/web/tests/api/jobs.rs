//! Jobs through the API: enqueue, list, look, cancel, retry, of one and of many.

use crate::support::World;
use mainspring_core::job::JobState;
use mainspring_web::access::Right;
use serde_json::{Value, json};

const JOBS: &str = "/api/v1/projects/default/jobs";

fn ids(page: &Value) -> Vec<i64> {
    page["items"].as_array().unwrap().iter().map(|job| job["id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_repeated_enqueue_finds_the_first() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    let job = json!({ "kind": "echo", "payload": { "n": 1 } });
    let again = |name: &str| {
        let mut request = world.request("POST", JOBS, &key, Some(&job));
        request.headers_mut().insert("idempotency-key", name.parse().unwrap());
        world.send(request)
    };
    let first = again("order-17").await.expect(201);
    let second = again("order-17").await.expect(200);
    assert_eq!((&second["id"], &second["duplicate"]), (&first["id"], &json!(true)));
    assert_ne!(again("order-18").await.expect(201)["id"], first["id"]);
    let unique = json!({ "kind": "echo", "unique": { "key": "nightly", "for": "1h" } });
    let held = world.post(JOBS, &key, unique.clone()).await.expect(201);
    assert_eq!(world.post(JOBS, &key, unique).await.expect(200)["id"], held["id"]);
    assert_eq!(ids(&world.get(JOBS, &key).await.expect(200)).len(), 3);
}

#[tokio::test]
async fn a_job_is_enqueued_as_it_was_asked_for() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    let asked = json!({
        "kind": "echo", "queue": "mail", "payload": { "big": 9007199254740993u64, "text": "ü\u{0}" }, "priority": 2,
        "run_at": "2099-01-01T00:00:00Z", "expires_at": "2099-02-01T00:00:00Z", "timeout": "30s", "max_attempts": 4,
        "retry": { "backoff": { "steps": ["5s", "1m"] } }, "key": "customer-7",
    });
    let id = world.post(JOBS, &key, asked).await.expect(201)["id"].clone();
    let job = world.get(&format!("{JOBS}/{id}"), &key).await.expect(200);
    for (field, wanted) in [
        ("kind", json!("echo")),
        ("queue", json!("mail")),
        ("state", json!("scheduled")),
        ("priority", json!(2)),
        ("run_at", json!("2099-01-01T00:00:00Z")),
        ("expires_at", json!("2099-02-01T00:00:00Z")),
        ("timeout", json!("30s")),
        ("max_attempts", json!(4)),
        ("key", json!("customer-7")),
        ("retrying", json!(false)),
        ("origin", json!("enqueue")),
    ] {
        assert_eq!(job[field], wanted, "{field}");
    }
    assert_eq!(job["retry"]["backoff"]["steps"], json!(["5s", "1m"]));
    assert_eq!(job["payload"]["big"].as_u64(), Some(9007199254740993), "numbers are kept as they were");
    assert_eq!(job["explain"]["reasons"][0]["word"], "not_due");
}

#[tokio::test]
async fn pages_follow_one_another_and_filters_hold() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    let jobs: Vec<Value> = (0..25)
        .map(|i| json!({ "kind": if i % 5 == 0 { "fail" } else { "echo" }, "queue": "q", "payload": i, "key": format!("k{}", i % 2) }))
        .collect();
    let made = world.post(&format!("{JOBS}/many"), &key, json!({ "jobs": jobs })).await.expect(201);
    let mut wanted = ids(&made);
    wanted.reverse();
    let (mut seen, mut next) = (Vec::new(), String::new());
    for _ in 0..10 {
        let page = world.get(&format!("{JOBS}?limit=10&cursor={next}"), &key).await.expect(200);
        seen.extend(ids(&page));
        let Some(cursor) = page["next"].as_str() else { break };
        next = cursor.to_owned();
    }
    assert_eq!(seen, wanted);
    for (query, count) in [
        ("kind=fail", 5),
        ("queue=q", 25),
        ("queue=other", 0),
        ("state=available", 25),
        ("state=completed,failed", 0),
        ("key=k1&kind=echo", 10),
        ("created_from=2000-01-01T00:00:00Z", 25),
        ("created_until=2000-01-01T00:00:00Z", 0),
        ("kind=&state=", 25),
    ] {
        let page = world.get(&format!("{JOBS}?{query}"), &key).await.expect(200);
        assert_eq!(ids(&page).len(), count, "{query}");
    }
}

#[tokio::test]
async fn a_job_that_ran_shows_its_attempts_output_and_log() {
    let world = World::running().await;
    let key = world.key("default", &Right::ALL).await;
    let job = world.enqueue("echo", json!({ "n": 1 })).await;
    world.until(job, JobState::Completed).await;
    let shown = world.get(&format!("{JOBS}/{job}"), &key).await.expect(200);
    assert_eq!(
        (&shown["output"], &shown["attempts"][0]["outcome"]),
        (&json!({ "n": 1 }), &json!("succeeded"))
    );
    assert_eq!(shown["explain"]["reasons"][0]["word"], "final");
    assert!(shown["took_ms"].is_u64() && shown["node"].is_string(), "{shown}");
    let mut lines = Value::Null;
    // Lines are written a moment after the end that they tell of.
    for _ in 0..500 {
        lines = world.get(&format!("{JOBS}/{job}/logs"), &key).await.expect(200);
        if lines["items"].as_array().unwrap().len() == 2 {
            break;
        }
        crate::support::nap(10).await;
    }
    let texts: Vec<&str> =
        lines["items"].as_array().unwrap().iter().map(|l| l["message"].as_str().unwrap()).collect();
    assert_eq!(texts, ["first line", "payload {\"n\":1}"]);
    let first = world.get(&format!("{JOBS}/{job}/logs?limit=1"), &key).await.expect(200);
    let rest = world
        .get(&format!("{JOBS}/{job}/logs?after={}", first["next"].as_str().unwrap()), &key)
        .await
        .expect(200);
    assert_eq!(rest["items"], json!([lines["items"][1]]));
    world.get(&format!("{JOBS}/{job}/logs?after=1"), &key).await.refused(422, "MS0020");
    world.get(&format!("{JOBS}/999999/logs"), &key).await.refused(404, "MS0021");
}

#[tokio::test]
async fn one_job_is_cancelled_and_run_again() {
    let world = World::running().await;
    let key = world.key("default", &Right::ALL).await;
    let hanging = world.enqueue("hang", json!(null)).await;
    world.until(hanging, JobState::Running).await;
    let did = world
        .post(&format!("{JOBS}/{hanging}/cancel"), &key, json!({ "reason": "wrong file" }))
        .await
        .expect(200);
    assert_eq!(did["changed"], true);
    world.until(hanging, JobState::Cancelled).await;
    // A body is not needed.
    let did = world.call("POST", &format!("{JOBS}/{hanging}/cancel"), &key, None).await.expect(200);
    assert_eq!(did["changed"], false, "it is final already");
    let failing = world.enqueue("fail", json!(null)).await;
    world.until(failing, JobState::Failed).await;
    let did = world.call("POST", &format!("{JOBS}/{failing}/retry"), &key, None).await.expect(200);
    assert_eq!(did["changed"], true);
    for _ in 0..500 {
        let shown = world.get(&format!("{JOBS}/{failing}"), &key).await.expect(200);
        if shown["attempt"] == 2 && shown["state"] == "failed" {
            assert_eq!(shown["error"]["message"], "it broke");
            return;
        }
        crate::support::nap(10).await;
    }
    panic!("it was not run again");
}

#[tokio::test]
async fn many_are_cancelled_and_run_again_within_a_cap() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    let jobs: Vec<Value> =
        (0..30).map(|i| json!({ "kind": "echo", "queue": if i < 20 { "a" } else { "b" } })).collect();
    world.post(&format!("{JOBS}/many"), &key, json!({ "jobs": jobs })).await.expect(201);
    let cancel = format!("{JOBS}/cancel");
    // Everything is meant only if that is said.
    assert_eq!(world.post(&cancel, &key, json!({})).await.refused(422, "MS0020")["field"], "all");
    world.post(&cancel, &key, json!({ "queue": "a", "limit": 10_001 })).await.refused(422, "MS0020");
    let did =
        world.post(&cancel, &key, json!({ "queue": "a", "limit": 15, "reason": "stop" })).await.expect(200);
    assert_eq!(did["changed"], 15);
    let rest = json!({ "queue": "a", "cursor": did["next"] });
    let did = world.post(&cancel, &key, rest).await.expect(200);
    assert_eq!((&did["changed"], &did["next"]), (&json!(5), &json!(null)));
    let left = |state: &'static str| {
        let (world, key) = (&world, &key);
        async move { ids(&world.get(&format!("{JOBS}?state={state}&limit=100"), key).await.expect(200)).len() }
    };
    assert_eq!((left("cancelled").await, left("available").await), (20, 10));
    let did = world
        .post(&format!("{JOBS}/retry"), &key, json!({ "states": ["cancelled"], "queue": "a" }))
        .await
        .expect(200);
    assert_eq!((&did["changed"], left("available").await), (&json!(20), 30));
    let did = world.post(&cancel, &key, json!({ "all": true })).await.expect(200);
    assert_eq!((&did["changed"], left("available").await), (&json!(30), 0));
}
