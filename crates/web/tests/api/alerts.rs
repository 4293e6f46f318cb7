//! Alert rules, alerts and heartbeats over the API.

use crate::support::World;
use mainspring_core::job::JobState;
use mainspring_web::access::{Right, Role};
use serde_json::json;

const RULES: &str = "/api/v1/projects/default/alert-rules";
const ALERTS: &str = "/api/v1/projects/default/alerts";
const HEARTBEATS: &str = "/api/v1/projects/default/heartbeats";

#[tokio::test]
async fn a_new_project_has_rules_and_they_are_changed_and_deleted() {
    let world = World::still().await;
    let key = world.key("default", &[Right::Read, Right::Change]).await;
    let all = world.get(RULES, &key).await.expect(200);
    let names: Vec<&str> =
        all["items"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert!(
        names.contains(&"A schedule keeps failing") && names.contains(&"A node went silent"),
        "{names:?}"
    );
    let rule =
        json!({ "when": "late", "schedule": "nightly", "by": "20m", "severity": "critical", "note": "call" });
    let made = world.post(RULES, &key, json!({ "name": "Nightly", "rule": rule })).await.expect(201);
    assert_eq!(made["words"], "the schedule nightly did not start within 20m of its time");
    assert_eq!((&made["rule"]["severity"], &made["rule"]["by"]), (&json!("critical"), &json!("20m")));
    let path = format!("{RULES}/{}", made["id"]);
    // What is shown can be sent back.
    let back = json!({ "name": "Nightly run", "enabled": false, "rule": made["rule"] });
    let changed = world.call("PUT", &path, &key, Some(&back)).await.expect(200);
    assert_eq!((&changed["name"], &changed["enabled"]), (&json!("Nightly run"), &json!(false)));
    let twice = world.post(RULES, &key, json!({ "name": "Nightly run", "rule": rule })).await;
    twice.refused(409, "MS0022");
    for (wrong, field, says) in [
        (json!({ "when": "late", "by": "10s" }), "by", "at least 1m"),
        (json!({ "when": "failure_rate", "of": "kinds", "above": 200, "over": "5m" }), "above", "0 to 100"),
        (json!({ "when": "late", "by": "10m", "channels": [77] }), "channels", "no channel 77"),
    ] {
        let refused =
            world.post(RULES, &key, json!({ "name": "x", "rule": wrong })).await.refused(422, "MS0020");
        assert_eq!(refused["field"], field);
        assert!(refused["detail"].as_str().unwrap().contains(says), "{refused}");
    }
    let nobody =
        world.post(RULES, &key, json!({ "name": "x", "rule": { "when": "failures", "of": "cats" } })).await;
    let refused = nobody.refused(422, "MS0024");
    assert!(refused["detail"].as_str().unwrap().contains("is nobody"), "{refused}");
    assert_eq!(world.call("DELETE", &path, &key, None).await.status, 204);
    world.get(&path, &key).await.refused(404, "MS0021");
    let audit = world.get("/api/v1/projects/default/audit", &key).await.expect(200);
    let acts: Vec<&str> =
        audit["items"].as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert_eq!(acts[..4], ["rule.deleted", "rule.disabled", "rule.changed", "rule.created"]);
}

#[tokio::test]
async fn what_fails_fires_and_is_taken_on_snoozed_and_closed() {
    let world = World::running().await;
    let key = world.key("default", &[Right::Read, Right::Run, Right::Change]).await;
    let rule = json!({ "when": "failures", "of": "kind/fail", "in_a_row": 1 });
    let made = world.post(RULES, &key, json!({ "name": "Failing", "rule": rule })).await.expect(201);
    assert_eq!(world.get(ALERTS, &key).await.expect(200)["items"], json!([]));
    let job = world.enqueue("fail", json!({})).await;
    world.until(job, JobState::Failed).await;
    world.watch(2).await;
    let open = world.get(&format!("{ALERTS}?state=open&rule={}", made["id"]), &key).await.expect(200);
    let alert = &open["items"][0];
    assert_eq!((&alert["title"], &alert["state"]), (&json!("Kind fail failed"), &json!("firing")));
    assert_eq!(alert["breached"], json!([{ "subject": "fail", "value": 1.0 }]));
    let path = format!("{ALERTS}/{}", alert["id"].as_str().unwrap());
    let taken =
        world.post(&format!("{path}/acknowledge"), &key, json!({ "note": "on it" })).await.expect(200);
    assert!(taken["alert"]["acknowledged_by"].as_str().unwrap().starts_with("key/"), "{taken}");
    assert_eq!(taken["log"][1]["note"], "on it");
    let snoozed = world.post(&format!("{path}/snooze"), &key, json!({ "for": "2h" })).await.expect(200);
    assert_eq!(snoozed["alert"]["state"], "snoozed");
    let woken = world.post(&format!("{path}/snooze"), &key, json!({})).await.expect(200);
    assert_eq!(woken["alert"]["state"], "firing");
    world.post(&format!("{path}/snooze"), &key, json!({ "for": "soon" })).await.refused(422, "MS0020");
    // A backtest of the rule sees what was seen, once its minute is over.
    world.clock.set_offset(120_000_000);
    let past = world.get(&format!("{RULES}/{}/backtest?period=1h", made["id"]), &key).await.expect(200);
    assert_eq!(past["attempts"], 1, "{past}");
    assert_eq!(world.call("DELETE", &path, &key, None).await.status, 204);
    world.post(&format!("{path}/acknowledge"), &key, json!({})).await.refused(409, "MS0022");
    assert_eq!(world.get(&format!("{ALERTS}?state=open"), &key).await.expect(200)["items"], json!([]));
    let over = world.get(&format!("{ALERTS}?state=over"), &key).await.expect(200);
    assert_eq!(over["items"][0]["ended_why"], "closed by hand");
    world.get(&format!("{ALERTS}?state=odd"), &key).await.refused(422, "MS0020");
}

#[tokio::test]
async fn a_page_of_alerts_goes_on_where_the_one_before_ended() {
    let world = World::running().await;
    let key = world.key("default", &[Right::Read, Right::Change]).await;
    for n in 0..3 {
        let rule = json!({ "when": "failures", "of": "kind/fail", "in_a_row": 1 });
        world.post(RULES, &key, json!({ "name": format!("Failing {n}"), "rule": rule })).await.expect(201);
    }
    let job = world.enqueue("fail", json!({})).await;
    world.until(job, JobState::Failed).await;
    world.watch(2).await;
    let (mut seen, mut cursor) = (vec![], String::new());
    loop {
        let page = world.get(&format!("{ALERTS}?limit=1{cursor}"), &key).await.expect(200);
        seen.extend(page["items"].as_array().unwrap().iter().map(|a| a["rule_name"].to_string()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    seen.sort();
    assert_eq!(seen, ["\"Failing 0\"", "\"Failing 1\"", "\"Failing 2\""]);
}

#[tokio::test]
async fn a_heartbeat_is_pinged_by_its_address_alone() {
    let world = World::still().await;
    let key = world.key("default", &[Right::Read, Right::Change]).await;
    let made = world.post(HEARTBEATS, &key, json!({ "name": "backup", "period": "1d", "grace": "1h" })).await;
    let made = made.expect(201);
    assert_eq!((&made["pings"], &made["late"], &made["period"]), (&json!(0), &json!(false), &json!("1d")));
    let url = made["ping_url"].as_str().unwrap();
    let path = url.strip_prefix(&format!("http://{}", world.at)).expect("our own address").to_owned();
    let one = format!("{HEARTBEATS}/backup");
    for method in ["GET", "POST", "HEAD"] {
        let answer = world.call(method, &path, "", None).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""), "{method}");
    }
    let seen = world.get(&one, &key).await.expect(200);
    assert_eq!(seen["pings"], 1, "pings within seconds are one");
    assert!(seen["last_ping"].is_string());
    assert_eq!(world.call("POST", &format!("{path}/fail"), "", None).await.status, 204);
    let seen = world.get(&one, &key).await.expect(200);
    assert_eq!((&seen["late"], &seen["last_failed"]), (&json!(true), &json!(true)));
    // Who may only look learns no address.
    let looks = world.key("default", &[Right::Read]).await;
    assert!(world.get(&one, &looks).await.expect(200)["ping_url"].is_null());
    assert!(!world.get(HEARTBEATS, &looks).await.text.contains("/ping/"));
    let wrong = world.get("/api/v1/ping/nobody-has-this", "").await;
    assert!(!wrong.refused(404, "MS0021")["detail"].as_str().unwrap().contains("nobody-has-this"));
    let paused = json!({ "period": "2d", "paused": true });
    let paused = world.call("PUT", &one, &key, Some(&paused)).await.expect(200);
    assert_eq!(
        (&paused["due"], &paused["late"], &paused["grace"]),
        (&json!(null), &json!(false), &json!("5m"))
    );
    world.post(HEARTBEATS, &key, json!({ "name": "x", "period": "5s" })).await.refused(422, "MS0020");
    assert_eq!(world.call("DELETE", &one, &key, None).await.status, 204);
    world.call("POST", &path, "", None).await.refused(404, "MS0021");
    let (_, viewer) = world.member("default", "vera@example.com", Role::Viewer, false).await;
    world.post(HEARTBEATS, &viewer, json!({ "name": "x", "period": "1d" })).await.refused(403, "MS0041");
}
