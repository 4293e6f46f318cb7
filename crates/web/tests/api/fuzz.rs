//! Bodies that are no JSON, nearly JSON, or JSON of another call, sent to every route that takes one.

use crate::contract::{Owned, Route, routes};
use crate::support::World;
use http::header;
use http_body_util::Full;
use hyper::body::Bytes;
use mainspring::NewJob;
use mainspring_core::JobId;
use mainspring_core::job::JobState;
use mainspring_testkit::fuzz::Fuzz;
use mainspring_web::access::Right;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fuzz_bodies_of_the_api() {
    let world = World::still().await;
    let own = Owned::of(&world, "default").await;
    let key = world.key("default", &Right::ALL).await;
    let mut routes = routes(&world).await;
    routes.retain(|r: &Route| r.described["requestBody"].is_object());
    let words = [
        "\"kind\":",
        "\"run_at\":",
        "\\u0000",
        "\\ud800",
        "null",
        "[[[[",
        "{\"a\":",
        "1e999",
        "\"states\":",
        "\u{feff}",
    ];
    let runtime = tokio::runtime::Handle::current();
    let mut turn = 0;
    let tried = Fuzz::new(env!("CARGO_MANIFEST_DIR"), "bodies", &words).rounds(1_500).run(|bytes| {
        turn += 1;
        let route = &routes[turn % routes.len()];
        let mut request = world.request(&route.method, &own.fill(&route.path, None), &key, None);
        let kind = "application/json".parse().expect("a value");
        request.headers_mut().insert(header::CONTENT_TYPE, kind);
        *request.body_mut() = Full::new(Bytes::copy_from_slice(bytes));
        let answer = tokio::task::block_in_place(|| runtime.block_on(world.send(request)));
        let status = answer.status.as_u16();
        assert!(status < 500, "{}: {status} {}", route.id, answer.text);
        if status >= 400 {
            assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text);
        }
        let field =
            answer.text.split("\"field\":").nth(1).map(|rest| rest.chars().take(20).collect::<String>());
        (route.id.clone(), status, field)
    });
    assert!(tried >= 1_500, "{tried}");
    let wrong = world.store_differences().await;
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// What a worker may say, `verb {…}` with its own lease and another's put in: nothing makes the server
/// fail, and the other's attempt stands as if nothing had been said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fuzz_frames_of_workers() {
    const AT: &str = "/api/v1/projects/default/workers";
    let world = World::still().await;
    let key = world.key("default", &[Right::Work]).await;
    let register = async || {
        let hello = json!({ "protocol": 1, "name": "w", "kinds": ["outside"], "slots": 4 });
        world.post(AT, &key, hello).await.expect(201)["worker"].as_str().unwrap().to_owned()
    };
    let claim = async |worker: &str| {
        world.client.enqueue_raw(NewJob::new("outside", mainspring::Json::null())).await.expect("enqueued");
        let body = json!({ "limit": 1, "wait": 10 });
        let got = world.post(&format!("{AT}/{worker}/claim"), &key, body).await.expect(200);
        (got["items"][0]["job"].as_i64().unwrap(), got["items"][0]["lease"].as_str().unwrap().to_owned())
    };
    let (own, other) = (register().await, register().await);
    let (theirs, their_lease) = claim(&other).await;
    let (mut job, mut lease) = claim(&own).await;
    let runtime = tokio::runtime::Handle::current();
    let words = [
        "LEASE",
        "OTHER",
        "\"lease\":",
        "null",
        "\\u0000",
        "-1",
        "[[[[",
        "\"output\":",
        "1e999",
        "heartbeat ",
        "finish ",
    ];
    let mut ended = 0;
    let tried = Fuzz::new(env!("CARGO_MANIFEST_DIR"), "frames", &words).rounds(1_200).run(|bytes| {
        let text = String::from_utf8_lossy(bytes).replace("LEASE", &lease).replace("OTHER", &their_lease);
        let (verb, body) = text.split_once(' ').unwrap_or((&text, ""));
        let verbs = ["heartbeat", "log", "progress", "finish", "fail"];
        let verb = verbs.into_iter().find(|v| *v == verb).unwrap_or("finish");
        let path = format!("{AT}/{own}/{verb}");
        let mut request = world.request("POST", &path, &key, None);
        request.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().expect("a value"));
        *request.body_mut() = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        let answer = tokio::task::block_in_place(|| runtime.block_on(world.send(request)));
        let status = answer.status.as_u16();
        assert!(status < 500, "{verb} {body}: {status} {}", answer.text);
        if status == 200 && matches!(verb, "finish" | "fail") {
            ended += 1;
            (job, lease) = tokio::task::block_in_place(|| runtime.block_on(claim(&own)));
        }
        let code = answer.text.split("\"code\":").nth(1).map(|rest| rest.chars().take(8).collect::<String>());
        (verb, status, code)
    });
    assert!(tried >= 1_200 && ended >= 4, "{tried} {ended}");
    // The other's attempt: still running, nothing said of it, and its holder ends it.
    let detail = world.client.job(JobId(theirs)).await.expect("the job is there");
    assert_eq!((detail.job.state, detail.job.attempt), (JobState::Running, 1));
    assert!(detail.progress.is_none() && world.store_logs(theirs).await.is_empty());
    let end = json!({ "lease": their_lease, "output": 7 });
    world.post(&format!("{AT}/{other}/finish"), &key, end).await.expect(200);
    assert!(world.client.job(JobId(job)).await.is_ok());
    let wrong = world.store_differences().await;
    assert!(wrong.is_empty(), "{wrong:?}");
}
