//! What machines ask: live, ready, figures.

use crate::support::World;
use mainspring_core::job::JobState;
use mainspring_core::tables::Statement;
use mainspring_web::access::Right;
use serde_json::json;

#[tokio::test]
async fn ready_says_no_when_the_store_does_not_answer() {
    let world = World::still().await;
    assert_eq!(world.get("/health/live", "").await.expect(200), json!({ "status": "live" }));
    assert_eq!(world.get("/health/ready", "").await.expect(200), json!({ "status": "ready" }));
    world.store.close().await;
    let unready = world.get("/health/ready", "").await;
    let problem = unready.expect(503);
    assert!(problem["detail"].as_str().unwrap().starts_with("the store does not answer: "), "{problem}");
    assert!(!unready.text.contains(world.dir.path().to_str().unwrap()), "{problem}");
    assert_eq!(unready.header("retry-after"), "2");
    world.get("/health/live", "").await.expect(200);
}

/// Whoever cannot be told by a channel is not told that the channel is silent: others can see it.
#[tokio::test]
async fn silent_channels_are_seen_by_outside_watchers_and_take_nothing_out_of_service() {
    let world = World::still().await;
    let key = world.key("default", &[Right::Read, Right::Change]).await;
    let settings = json!({ "kind": "email", "host": "mail.example.com", "from": "a@example.com", "to": ["b@example.com"] });
    for name in ["ops", "night", "off"] {
        let channel = json!({ "name": name, "settings": settings, "enabled": name != "off" });
        world.post("/api/v1/projects/default/channels", &key, channel).await.expect(201);
    }
    assert_eq!(world.get("/health/ready", "").await.expect(200), json!({ "status": "ready" }));
    let change = |sql: &'static str| world.web.tables().write(Statement::new(sql).into());
    change(
        "UPDATE notify_channels SET failing = 3, last_error = 'secret.host said no' WHERE name <> 'night'",
    )
    .await
    .unwrap();
    let one = world.get("/health/ready", "").await;
    let told = one.expect(200);
    assert_eq!(
        (&told["status"], &told["degraded"], &told["silent_channels"]),
        (&json!("ready"), &json!(true), &json!(1))
    );
    assert!(told["detail"].as_str().unwrap().contains("1 channel does not deliver"), "{told}");
    assert!(!one.text.contains("ops") && !one.text.contains("secret.host"), "{told}");
    change("UPDATE notify_channels SET stopped = 'gone' WHERE name = 'night'").await.unwrap();
    assert_eq!(world.get("/health/ready", "").await.expect(200)["silent_channels"], json!(2));
    change("UPDATE notify_channels SET failing = 0, stopped = NULL").await.unwrap();
    assert_eq!(world.get("/health/ready", "").await.expect(200), json!({ "status": "ready" }));
}

#[tokio::test]
async fn figures_are_a_projects_own_and_take_a_key() {
    let world = World::running().await;
    let (done, failed) = (world.enqueue("echo", json!(1)).await, world.enqueue("fail", json!(1)).await);
    world.until(done, JobState::Completed).await;
    world.until(failed, JobState::Failed).await;
    world.client.pause_queue("mail", None, None).await.unwrap();
    let key = world.key("default", &[Right::Read]).await;
    let answer = world.get("/metrics", &key).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    for line in [
        "mainspring_jobs{project=\"default\",queue=\"default\",kind=\"echo\",state=\"completed\"} 1",
        "mainspring_jobs{project=\"default\",queue=\"default\",kind=\"fail\",state=\"failed\"} 1",
        "mainspring_attempts_last_hour{project=\"default\",kind=\"echo\",outcome=\"succeeded\"} 1",
        "mainspring_attempts_last_hour{project=\"default\",kind=\"fail\",outcome=\"failed\"} 1",
        "mainspring_oldest_waiting_seconds{project=\"default\",queue=\"default\"} 0",
        "mainspring_queue_paused{project=\"default\",queue=\"mail\"} 1",
        "mainspring_channels_silent{project=\"default\"} 0",
        "# TYPE mainspring_jobs gauge",
    ] {
        assert!(answer.text.lines().any(|l| l == line), "{line} is not in\n{}", answer.text);
    }
    // Nodes serve every project: they take the right to manage.
    assert!(!answer.text.contains("mainspring_nodes"));
    let manager = world.key("default", &[Right::Read, Right::Manage]).await;
    let text = world.get("/metrics", &manager).await.text;
    assert!(text.contains("mainspring_nodes{project=\"default\",state=\"alive\"} 1"), "{text}");
    names_are_the_fields_usual_ones(&text);
    let foreign = world.key("other", &[Right::Read]).await;
    assert!(!world.get("/metrics", &foreign).await.text.contains("echo"));
    world.get("/metrics", "").await.refused(401, "MS0040");
    let worker = world.key("default", &[Right::Work]).await;
    world.get("/metrics", &worker).await.refused(403, "MS0041");
}

/// What Prometheus' own linter asks of names: a help and a type each, lower case, base units, one family
/// in one place, and `_total` for counters alone.
fn names_are_the_fields_usual_ones(text: &str) {
    let mut families = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a text");
            assert!(help.ends_with('.') && !families.contains(&name), "{line}");
            let kind = lines.next().and_then(|l| l.strip_prefix(&format!("# TYPE {name} "))).expect("a type");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            families.push(name);
            continue;
        }
        let name = line.split(['{', ' ']).next().unwrap();
        assert_eq!(families.last(), Some(&name), "{line} stands apart from its family");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        for wrong in ["_ms", "_minutes", "_hours", "_kb", "_mb", "_percent", "_count", "_sum", "_bucket"] {
            assert!(!name.ends_with(wrong), "{name}");
        }
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    for name in
        ["mainspring_build_info", "mainspring_jobs", "process_resident_memory_bytes", "process_open_fds"]
    {
        assert!(families.contains(&name), "{name}");
    }
}
