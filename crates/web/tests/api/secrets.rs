//! No secret is kept as it is, none is told twice, and every answer says what browsers must know.

use crate::support::{EMAIL, PASSWORD, World};
use mainspring_core::JobId;
use mainspring_core::job::JobState;
use mainspring_web::access::{Right, Role};
use mainspring_web::accounts;
use serde_json::{Value, json};

#[tokio::test]
async fn no_secret_is_in_the_file_or_in_an_answer() {
    let world = World::still().await;
    let link = accounts::setup_link(&world.web).await.unwrap().unwrap();
    let made =
        accounts::complete_setup(&world.web, link.reveal(), EMAIL, "Ada", PASSWORD, ("127.0.0.1", "test"))
            .await
            .unwrap();
    let signed =
        world.form("/sign-in", "", &format!("email={EMAIL}&password={}", PASSWORD.replace(' ', "+"))).await;
    let session = signed.header("set-cookie").split(['=', ';']).nth(1).unwrap().to_owned();
    let new = json!({ "name": "deploy", "rights": ["read", "run"] });
    let key = world.post("/api/v1/projects/default/keys", &session, new).await.expect(201)["key"]
        .as_str()
        .unwrap()
        .to_owned();
    world.form("/sign-in", "", &format!("email={EMAIL}&password=wrong+password+here")).await;
    let secret = key.splitn(3, '_').nth(2).and_then(|rest| rest.rsplit_once('_')).unwrap().0;
    let secrets = [PASSWORD, "wrong password here", link.reveal(), made.reveal(), &session, secret];

    let mut answers = String::new();
    for (path, auth) in [
        ("/api/v1/projects/default/keys", session.as_str()),
        ("/api/v1/projects/default/members", &session),
        ("/api/v1/projects/default/events", &session),
        ("/api/v1/projects/default/audit", &session),
        ("/api/v1/projects", &key),
        ("/api/v1/projects/default/stats", &key),
        ("/api/v1/projects/default/keys", &key),
    ] {
        answers.push_str(&world.get(path, auth).await.text);
    }
    assert!(answers.contains("deploy"), "{answers}");
    let mut files = 0;
    for file in std::fs::read_dir(world.dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        files += usize::from(bytes.windows(EMAIL.len()).any(|w| w == EMAIL.as_bytes()));
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "a secret is in the store's files");
        }
    }
    assert!(files > 0, "the files that were searched hold what was written");
    for secret in secrets {
        assert!(!answers.contains(secret), "a secret is in an answer");
    }
}

#[tokio::test]
async fn payloads_outputs_and_logs_take_a_right_of_their_own() {
    let world = World::running().await;
    let job = world.enqueue("echo", json!({ "iban": "DE00 1234" })).await;
    world.until(job, JobState::Completed).await;
    let rule =
        json!({ "trigger": "every 1h", "job": { "kind": "echo", "payload": { "iban": "DE00 1234" } } });
    let all = world.key("default", &Right::ALL).await;
    let schedule = "/api/v1/projects/default/schedules/nightly";
    world.call("PUT", schedule, &all, Some(&rule)).await.expect(201);
    let path = format!("/api/v1/projects/default/jobs/{job}");

    let open = world.get(&path, &all).await.expect(200);
    assert_eq!(
        (&open["payload"]["iban"], &open["output"]["iban"]),
        (&json!("DE00 1234"), &json!("DE00 1234"))
    );
    assert!(open.get("payload_hidden").is_none());
    assert_eq!(world.get(schedule, &all).await.expect(200)["spec"]["job"]["payload"]["iban"], "DE00 1234");

    let others: Vec<Right> = Right::ALL.into_iter().filter(|r| *r != Right::Payloads).collect();
    let without = world.key("default", &others).await;
    let (_, viewer) = world.member("default", "viewer@example.com", Role::Viewer, false).await;
    for auth in [&without, &viewer] {
        let hidden = world.get(&path, auth).await.expect(200);
        assert_eq!(hidden["payload_hidden"], true);
        assert!(hidden.get("payload").is_none() && hidden.get("output").is_none());
        world.get(&format!("{path}/logs"), auth).await.refused(403, "MS0041");
        for path in [
            path.as_str(),
            schedule,
            "/api/v1/projects/default/jobs",
            "/api/v1/projects/default/schedules",
            "/api/v1/projects/default/events",
        ] {
            let text = world.get(path, auth).await.text;
            assert!(!text.contains("DE00"), "{path}: {text}");
        }
    }
    let (_, trusted) = world.member("default", "trusted@example.com", Role::Viewer, true).await;
    assert_eq!(world.get(&path, &trusted).await.expect(200)["payload"]["iban"], "DE00 1234");
    assert!(world.client.job(JobId(job)).await.is_ok());
}

#[tokio::test]
async fn every_answer_tells_browsers_what_they_may_not_do() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    for (path, auth, status) in [
        ("/api/v1/projects/default/jobs", key.as_str(), 200),
        ("/api/v1/projects/default/jobs", "", 401),
        ("/api/v1/projects/default/jobs/7", &key, 404),
        ("/api/v1/openapi.json", "", 200),
        ("/health/live", "", 200),
        ("/metrics", &key, 200),
        ("/sign-in", "", 200),
        ("/nowhere", "", 404),
    ] {
        let answer = world.get(path, auth).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text);
        let csp = answer.header("content-security-policy");
        assert!(
            csp.contains("default-src 'self'") && csp.contains("frame-ancestors 'none'"),
            "{path}: {csp}"
        );
        assert!(!csp.contains("unsafe"), "{path}: {csp}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
}

/// What is stored is text, whatever it looks like.
#[tokio::test]
async fn hostile_names_come_back_as_they_were_and_break_nothing() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    let names =
        ["'; DROP TABLE jobs; --", "<script>alert(1)</script>", "a/b?c#d%41", "\u{202e}evil", "..", "%s%n{}"];
    for name in names {
        let job = json!({ "kind": "echo", "queue": name, "key": name });
        let made = world.post("/api/v1/projects/default/jobs", &key, job).await.expect(201);
        let shown =
            world.get(&format!("/api/v1/projects/default/jobs/{}", made["id"]), &key).await.expect(200);
        assert_eq!((&shown["queue"], &shown["key"]), (&json!(name), &json!(name)));
    }
    let queues = world.get("/api/v1/projects/default/queues", &key).await.expect(200);
    let mut seen: Vec<&str> =
        queues["items"].as_array().unwrap().iter().map(|q| q["name"].as_str().unwrap()).collect();
    let mut wanted = names;
    seen.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(seen, wanted);
    let _: Value = world
        .get("/api/v1/projects/default/queues/%27%3B%20DROP%20TABLE%20jobs%3B%20--", &key)
        .await
        .expect(200);
}
