//! What a project owns beside jobs and schedules: queues, keys, members, nodes, figures, events.

use crate::support::World;
use mainspring_core::job::JobState;
use mainspring_web::access::{Right, Role};
use serde_json::{Value, json};

fn at(path: &str) -> String {
    format!("/api/v1/projects/default{path}")
}

#[tokio::test]
async fn a_queue_is_set_paused_and_resumed() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    world.get(&at("/queues/mail"), &key).await.refused(404, "MS0021");
    world.call("PUT", &at("/queues/mail"), &key, Some(&json!({ "max_running": 2 }))).await.expect(200);
    let refused = world.call("PUT", &at("/queues/mail"), &key, Some(&json!({ "max_running": 0 }))).await;
    assert_eq!(refused.refused(422, "MS0020")["field"], "max_running");
    let paused =
        world.post(&at("/queues/mail/pause"), &key, json!({ "note": "migration" })).await.expect(200);
    assert_eq!(
        (&paused["paused"]["note"], &paused["settings"]["max_running"]),
        (&json!("migration"), &json!(2))
    );
    let resumed = world.call("POST", &at("/queues/mail/resume"), &key, None).await.expect(200);
    assert_eq!(resumed["paused"], json!(null));
    world.post(&at("/queues/nowhere/pause"), &key, json!({})).await.refused(404, "MS0021");
}

#[tokio::test]
async fn a_key_is_made_with_no_more_than_its_maker_has() {
    let world = World::still().await;
    let manager = world.key("default", &[Right::Read, Right::Manage]).await;
    let more = json!({ "name": "more", "rights": ["read", "payloads"] });
    let refused = world.post(&at("/keys"), &manager, more).await.refused(403, "MS0041");
    assert!(refused["detail"].as_str().unwrap().contains("payloads"), "{refused}");
    let made = world
        .post(&at("/keys"), &manager, json!({ "name": "worker", "rights": ["read", "work"] }))
        .await
        .expect(201);
    let text = made["key"].as_str().unwrap();
    world.get(&at("/jobs"), text).await.expect(200);
    world
        .post(&at("/keys"), &manager, json!({ "name": "worker", "rights": ["read"] }))
        .await
        .refused(409, "MS0022");
    let problem = world
        .post(&at("/keys"), &manager, json!({ "name": "none", "rights": [] }))
        .await
        .refused(422, "MS0020");
    assert_eq!(problem["field"], "rights");
    let listed = world.get(&at("/keys"), &manager).await.expect(200);
    let found = listed["items"].as_array().unwrap().iter().find(|k| k["name"] == "worker").unwrap().clone();
    assert_eq!((&found["id"], &found["rights"]), (&made["id"], &json!(["read", "work"])));
    assert!(
        found["made_by"].as_str().unwrap().starts_with("key/") && found["used_at"].is_string(),
        "{found}"
    );
    world.call("DELETE", &at(&format!("/keys/{}", made["id"])), &manager, None).await.expect(204);
    world.call("DELETE", &at(&format!("/keys/{}", made["id"])), &manager, None).await.refused(404, "MS0021");
    // The name is free again.
    world.post(&at("/keys"), &manager, json!({ "name": "worker", "rights": ["read"] })).await.expect(201);
}

#[tokio::test]
async fn owners_are_made_by_owners_and_the_last_one_stays() {
    let world = World::still().await;
    let (owner, as_owner) = world.member("default", "owner@example.com", Role::Owner, false).await;
    let (admin, as_admin) = world.member("default", "admin@example.com", Role::Admin, false).await;
    let (member, as_member) = world.member("default", "member@example.com", Role::Member, false).await;
    let (stranger, _) = world.member("other", "stranger@example.com", Role::Owner, false).await;
    let set = |id: i64, role: &'static str, auth: &str| {
        let (world, auth) = (&world, auth.to_owned());
        async move {
            world.call("PUT", &at(&format!("/members/{id}")), &auth, Some(&json!({ "role": role }))).await
        }
    };
    set(member, "viewer", &as_member).await.refused(403, "MS0041");
    assert_eq!(set(member, "admin", &as_admin).await.expect(200)["role"], "admin");
    set(member, "owner", &as_admin).await.refused(403, "MS0041");
    set(owner, "viewer", &as_admin).await.refused(403, "MS0041");
    set(owner, "viewer", &as_owner).await.refused(409, "MS0022");
    world.call("DELETE", &at(&format!("/members/{owner}")), &as_owner, None).await.refused(409, "MS0022");
    world.call("DELETE", &at(&format!("/members/{owner}")), &as_admin, None).await.refused(403, "MS0041");
    // Nobody is drawn in from elsewhere by a number.
    set(stranger, "viewer", &as_owner).await.refused(404, "MS0021");
    let key = world.key("default", &Right::ALL).await;
    set(member, "owner", &key).await.refused(403, "MS0041");
    set(member, "owner", &as_owner).await.expect(200);
    set(owner, "member", &as_owner).await.expect(200);
    world.call("DELETE", &at(&format!("/members/{admin}")), &as_member, None).await.expect(204);
    world.get(&at("/members"), &as_admin).await.refused(404, "MS0021");
    let listed = world.get(&at("/members"), &as_member).await.expect(200);
    let roles: Vec<(&str, &str)> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (m["email"].as_str().unwrap(), m["role"].as_str().unwrap()))
        .collect();
    assert_eq!(roles, [("member@example.com", "owner"), ("owner@example.com", "member")]);
}

#[tokio::test]
async fn projects_are_listed_to_those_who_belong_to_them() {
    let world = World::still().await;
    let key = world.key("other", &[Right::Read]).await;
    let (_, session) = world.member("other", "ada@example.com", Role::Viewer, false).await;
    for auth in [&key, &session] {
        let listed = world.get("/api/v1/projects", auth).await.expect(200);
        assert_eq!(listed["items"], json!([{ "name": "other", "rights": ["read"] }]));
    }
    let admin = world.member("default", "x@example.com", Role::Owner, false).await.1;
    assert_eq!(world.get("/api/v1/projects", &admin).await.expect(200)["items"][0]["name"], "default");
    world.get("/api/v1/projects", "").await.refused(401, "MS0040");
}

#[tokio::test]
async fn figures_health_and_nodes_tell_what_ran() {
    let world = World::running().await;
    let key = world.key("default", &Right::ALL).await;
    for kind in ["echo", "echo", "fail"] {
        let job = world.enqueue(kind, json!(1)).await;
        let end = if kind == "fail" { JobState::Failed } else { JobState::Completed };
        world.until(job, end).await;
    }
    let stats = world.get(&at("/stats"), &key).await.expect(200);
    assert_eq!(stats["project"]["all"]["total"], 3);
    assert_eq!(stats["project"]["jobs"], json!({ "completed": 2, "failed": 1 }));
    let kinds: Vec<&Value> = stats["kinds"].as_array().unwrap().iter().map(|k| &k["name"]).collect();
    assert_eq!(kinds, ["echo", "fail"]);
    let health = world.get(&at("/health"), &key).await.expect(200);
    assert_eq!(health["kinds"][0]["health"]["state"], "healthy");
    assert_eq!(health["kinds"][1]["health"]["state"], "unhealthy");
    let series = world.get(&at("/throughput?minutes=60&points=2"), &key).await.expect(200);
    let items = series["items"].as_array().unwrap();
    let sum = |field: &str| items.iter().map(|p| p[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!((items.len(), sum("good"), sum("bad")), (2, 2, 1));
    world.get(&at("/throughput?points=0"), &key).await.refused(422, "MS0020");
    let nodes = world.get(&at("/nodes"), &key).await.expect(200);
    assert_eq!(
        (&nodes["items"][0]["name"], &nodes["items"][0]["alive"]),
        (&json!("test node"), &json!(true))
    );
}

#[tokio::test]
async fn the_audit_log_is_what_somebody_did_the_newest_first() {
    let world = World::running().await;
    let key = world.key("default", &Right::ALL).await;
    let job = world.enqueue("fail", json!(1)).await;
    world.until(job, JobState::Failed).await;
    for queue in ["a", "b", "c"] {
        world.client.pause_queue(queue, None, None).await.unwrap();
    }
    let events = world.get(&at("/events"), &key).await.expect(200);
    assert!(events["items"].as_array().unwrap().iter().any(|e| e["name"] == "job.failed"), "{events}");
    let first = world.get(&at("/audit?limit=2&name=queue."), &key).await.expect(200);
    let subjects = |page: &Value| {
        page["items"].as_array().unwrap().iter().map(|e| e["subject"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(subjects(&first), ["queue/c", "queue/b"]);
    let second = world
        .get(&at(&format!("/audit?name=queue.&cursor={}", first["next"].as_str().unwrap())), &key)
        .await
        .expect(200);
    assert_eq!((subjects(&second), &second["next"]), (vec![json!("queue/a")], &json!(null)));
}
