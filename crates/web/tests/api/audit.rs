//! The audit log: every route that changes something leaves an entry that says who did it and from
//! where, and so does every way in and out.

use super::contract::{Owned, Route, a_person, ask, body, routes};
use crate::support::{EMAIL, On, PASSWORD, World};
use mainspring_web::access::{Right, Role};
use serde_json::{Value, json};

crate::on_both!(every_change_is_told_with_who_and_from_where);

/// Routes that change nothing, or whose changes are told otherwise, each with the reason.
fn quiet(route: &Route) -> bool {
    match route.id.as_str() {
        "preview_schedule" | "preview_backfill" | "backtest_rule" => true,
        // What somebody has seen, and what they want counted: their own marks, which change nothing for others.
        "read_all_notifications" | "read_notification" | "set_preferences" => true,
        // Signs of life from outside, by an address that is nobody's.
        "ping_by_post" | "ping_failed_by_post" => true,
        // A signed delivery from outside: the hook's own list tells of it.
        "deliver_to_hook" => true,
        // The attempt's own record tells which worker did it: an entry per call would be a second log.
        _ => route.right == Some(Right::Work) || route.path.contains("/callbacks/"),
    }
}

async fn ask_pause(world: &World, path: &str, key: &str) {
    let path = path.replace("/resume", "/pause");
    world.post(&path, key, json!({ "note": "for a test" })).await.expect(200);
}

async fn newest(world: &World) -> Option<Value> {
    let project = world.client.project();
    let store = world.client.store();
    let last = store.last_event(project).await.unwrap();
    let events = store.events(project, last.saturating_sub(1000), 1000).await.unwrap();
    events.into_iter().rev().find(|e| e.event.actor.is_some()).map(|e| {
        let data = e.event.data.value();
        json!({ "id": e.id, "name": e.event.name, "actor": e.event.actor, "from": data["from"] })
    })
}

async fn every_change_is_told_with_who_and_from_where(on: On) {
    let world = World::still_on(on).await;
    let person = a_person(&world, "default").await;
    let key = world.key("default", &Right::ALL).await;
    let mut asked = 0;
    let routes = routes(&world).await;
    for (at, route) in routes.iter().enumerate().filter(|(_, r)| r.method != "GET" && !quiet(r)) {
        // Fresh ones each time, so that no change finds its work done.
        let own = Owned::again(&world, "default", &format!("-{at}")).await;
        let path = own.fill(&route.path, None);
        let jobs = json!({ "ids": [own.fill("{job}", None).parse::<i64>().unwrap()] });
        if route.id.starts_with("retry") {
            world.post("/api/v1/projects/default/jobs/cancel", &key, jobs.clone()).await.expect(200);
        }
        if route.id.starts_with("resume") {
            ask_pause(&world, &path, &key).await;
        }
        let before = newest(&world).await.map_or(0, |e| e["id"].as_i64().unwrap());
        let answer = match route.id.as_str() {
            "cancel_jobs" | "retry_jobs" => world.call(&route.method, &path, &person, Some(&jobs)).await,
            "leave_project" => {
                let (_, session) = world.member("default", "leaver@example.com", Role::Viewer, false).await;
                ask(&world, route, &path, &session).await
            }
            // Told in the project that was made.
            "make_project" => continue,
            _ => ask(&world, route, &path, &person).await,
        };
        assert!(answer.status.is_success(), "{}: {} {}", route.id, answer.status, answer.text);
        let told = newest(&world).await.unwrap_or_default();
        assert!(
            told["id"].as_i64().unwrap_or(0) > before,
            "{} left nothing in the audit log: write an event with Caller::act in the transaction of the change \
             (Write::tell), or name the route in `quiet` of tests/api/audit.rs with the reason",
            route.id
        );
        let who = if route.id == "leave_project" { "leaver@example.com" } else { EMAIL };
        assert_eq!(
            (&told["actor"], &told["from"]),
            (&json!(who), &json!("127.0.0.1")),
            "{}: {told}",
            route.id
        );
        assert!(body(route).is_none() || !told.to_string().contains("a value to be kept"), "{told}");
        asked += 1;
        if route.id == "archive_project" {
            world.call("POST", "/api/v1/projects/default/restore", &person, None).await.expect(200);
        }
    }
    assert!(asked >= 27, "{asked}");
}

#[tokio::test]
async fn ways_in_and_out_are_told() {
    let world = World::still().await;
    world.admin().await;
    let (_, member) = world.member("default", "max@example.com", Role::Member, false).await;
    world.form("/sign-in", "", &format!("email={EMAIL}&password=wrong+password")).await;
    world.form("/sign-in", "", "email=nobody@example.com&password=wrong+password").await;
    let fields = format!("email={EMAIL}&password={}", PASSWORD.replace(' ', "+"));
    let signed = world.form("/sign-in", "", &fields).await;
    let session = signed.header("set-cookie").split(['=', ';']).nth(1).unwrap().to_owned();
    world.form("/account/settings", &session, "name=Ada+L&zone=Europe%2FBerlin&theme=dark").await;
    world.form("/account/end-others", &session, "").await;
    let fields = format!("old={}&new=another+long+password", PASSWORD.replace(' ', "+"));
    world.form("/account/password", &session, &fields).await;
    world.form("/sign-out", &session, "").await;
    let audit = world.get("/api/v1/projects/default/audit?name=person.", &member).await.expect(200);
    let told: Vec<(&str, &str)> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            assert!(e["data"]["from"] == "127.0.0.1", "{e}");
            (e["name"].as_str().unwrap(), e["actor"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("person.signed_out", EMAIL),
            ("person.password_changed", EMAIL),
            ("person.sessions_ended", EMAIL),
            ("person.settings_changed", EMAIL),
            ("person.signed_in", EMAIL),
            ("person.refused", "nobody@example.com"),
            ("person.refused", EMAIL),
            ("person.first_account", EMAIL),
        ]
    );
    for secret in [PASSWORD, "wrong password", "another long password"] {
        assert!(!audit.to_string().contains(secret));
    }
}

#[tokio::test]
async fn the_log_is_asked_by_who_what_where_and_when() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    let (_, max) = world.member("default", "max@example.com", Role::Member, false).await;
    let at = |path: &str| format!("/api/v1/projects/default{path}");
    for queue in ["mail", "reports"] {
        world
            .call("PUT", &at(&format!("/queues/{queue}")), &key, Some(&json!({ "max_running": 2 })))
            .await
            .expect(200);
        world.post(&at(&format!("/queues/{queue}/pause")), &max, json!({})).await.expect(200);
    }
    let asked = |query: &str| {
        let (world, path, key) = (&world, at(&format!("/audit?{query}")), key.clone());
        async move {
            let page = world.get(&path, &key).await.expect(200);
            let items = page["items"].as_array().unwrap().clone();
            items.iter().map(|e| e["subject"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        }
    };
    assert_eq!(asked("actor=max@example.com").await, ["queue/reports", "queue/mail"]);
    assert_eq!(asked("actor=max@example.com&subject=queue/m").await, ["queue/mail"]);
    assert_eq!(asked("name=queue.paused&subject=queue/reports").await, ["queue/reports"]);
    assert_eq!(asked("address=127.0.0.1&actor=max@example.com&limit=1").await, ["queue/reports"]);
    assert!(asked("address=192.0.2.1").await.is_empty());
    assert!(asked("until=2020-01-01T00:00:00Z").await.is_empty());
    assert!(asked("from=2020-01-01T00:00:00Z&name=key.").await.iter().all(|s| s.starts_with("key/")));
    let wrong = world.get(&at("/audit?from=yesterday"), &key).await.refused(422, "MS0020");
    assert_eq!(wrong["field"], "from");
}
