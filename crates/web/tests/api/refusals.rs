//! What is malformed is refused as `application/problem+json` with a code, whatever is wrong with it.

use crate::support::World;
use http::header;
use http_body_util::Full;
use hyper::body::Bytes;
use mainspring_web::access::Right;
use serde_json::json;

const JOBS: &str = "/api/v1/projects/default/jobs";

async fn raw(world: &World, key: &str, kind: &str, body: Vec<u8>) -> crate::support::Answer {
    let mut request = world.request("POST", JOBS, key, None);
    request.headers_mut().insert(header::CONTENT_TYPE, kind.parse().unwrap());
    *request.body_mut() = Full::new(Bytes::from(body));
    world.send(request).await
}

#[tokio::test]
async fn malformed_bodies_are_refused_by_what_is_wrong() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    let json_type = "application/json";
    for (body, status, says) in [
        (&b"{"[..], 400, "line 1"),
        (b"", 400, "EOF"),
        (b"\xff\xfe", 400, "parse"),
        (br#"["echo"]"#, 422, "an object is wanted"),
        (b"{}", 422, "kind"),
        (br#"{"kind": 7}"#, 422, "kind"),
        (br#"{"kind": "echo", "kidn": 1}"#, 422, "kidn"),
        (br#"{"kind": "echo", "priority": "high"}"#, 422, "priority"),
        (br#"{"kind": "echo", "run_at": "tomorrow"}"#, 422, "run_at"),
        (br#"{"kind": "echo", "timeout": "5 parsecs"}"#, 422, "timeout"),
    ] {
        let problem = raw(&world, &key, json_type, body.to_vec()).await.refused(status, "MS0024");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{:?}: {detail}", String::from_utf8_lossy(body));
        assert_eq!(problem["field"], "body");
    }
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    raw(&world, &key, json_type, format!("{{\"kind\":\"echo\",\"payload\":{deep}}}").into_bytes())
        .await
        .refused(422, "MS0020");
    raw(&world, &key, "text/plain", br#"{"kind":"echo"}"#.to_vec()).await.refused(415, "MS0024");
    raw(&world, &key, "application/x-www-form-urlencoded", b"kind=echo".to_vec())
        .await
        .refused(415, "MS0024");
    // Nothing of all this was written.
    assert_eq!(world.get(JOBS, &key).await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn values_that_break_a_limit_are_named() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    for (job, field) in [
        (json!({ "kind": "" }), "kind"),
        (json!({ "kind": "echo", "queue": "*" }), "queue"),
        (json!({ "kind": "echo", "priority": 10 }), "priority"),
        (json!({ "kind": "echo", "max_attempts": 0 }), "max_attempts"),
        (json!({ "kind": "echo", "key": "k".repeat(501) }), "key"),
        (json!({ "kind": "echo", "unique": { "key": "" } }), "unique"),
    ] {
        let problem = world.post(JOBS, &key, job).await.refused(422, "MS0020");
        assert_eq!(problem["field"], field, "{problem}");
    }
    let many = json!({ "jobs": [{ "kind": "echo" }, { "kind": "echo", "priority": 11 }] });
    let problem = world.post(&format!("{JOBS}/many"), &key, many).await.refused(422, "MS0020");
    assert_eq!(problem["field"], "jobs[1].priority", "{problem}");
    assert_eq!(world.get(JOBS, &key).await.expect(200)["items"], json!([]), "all or none");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    let large = json!({ "kind": "echo", "payload": "x".repeat(1 << 20) });
    raw(&world, &key, "application/json", large.to_string().into_bytes()).await.refused(413, "MS0020");
    let fits = json!({ "kind": "echo", "payload": "x".repeat(1 << 19) });
    raw(&world, &key, "application/json", fits.to_string().into_bytes()).await.expect(201);
}

#[tokio::test]
async fn paths_and_queries_are_refused_in_the_same_form() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    for path in [
        "/jobs/x",
        "/jobs/99999999999999999999",
        "/batches/1.5",
        "/schedules/a%00b",
        "/nothing",
        "/jobs/1/nothing",
    ] {
        world.get(&format!("/api/v1/projects/default{path}"), &key).await.refused(404, "MS0021");
    }
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=many", "limit"),
        ("cursor=x", "cursor"),
        ("state=done", "state"),
        ("created_from=yesterday", "created_from"),
        ("batch=x", "batch"),
        ("kind=a%00b", "kind"),
    ] {
        let problem = world.get(&format!("{JOBS}?{query}"), &key).await.refused(422, "MS0020");
        assert_eq!(problem["field"], field, "{problem}");
    }
    let unknown = world.get(&format!("{JOBS}?colour=red"), &key).await.refused(422, "MS0024");
    assert!(unknown["detail"].as_str().unwrap().contains("colour"), "{unknown}");
    let wrong = world.call("DELETE", JOBS, &key, None).await;
    wrong.refused(405, "MS0024");
}
