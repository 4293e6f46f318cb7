//! Schedules through the API: made, changed, looked ahead and back, run, paused, deleted.

use crate::support::{World, nap};
use mainspring_core::job::JobState;
use mainspring_web::access::Right;
use serde_json::{Value, json};

const SCHEDULES: &str = "/api/v1/projects/default/schedules";

async fn put(world: &World, key: &str, name: &str, rule: Value) -> crate::support::Answer {
    world.call("PUT", &format!("{SCHEDULES}/{name}"), key, Some(&rule)).await
}

#[tokio::test]
async fn a_schedule_is_made_changed_and_deleted() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    let rule = json!({ "trigger": "daily at 09:30", "zone": "Europe/Berlin", "job": { "kind": "echo", "queue": "mail" } });
    let made = put(&world, &key, "report", rule.clone()).await.expect(201);
    assert_eq!(
        (&made["trigger"], &made["zone"], &made["kind"], &made["queue"], &made["source"]),
        (&json!("daily at 09:30"), &json!("Europe/Berlin"), &json!("echo"), &json!("mail"), &json!("api"))
    );
    assert!(made["next_fire"].is_string() && !made["words"].as_str().unwrap().is_empty(), "{made}");
    let again = put(&world, &key, "report", rule).await.expect(200);
    assert_eq!(again["version"], made["version"], "the same again changes nothing");
    let tagged = json!({ "trigger": { "type": "cron", "expr": "*/5 * * * *" }, "job": { "kind": "echo" } });
    let changed = put(&world, &key, "report", tagged).await.expect(200);
    assert_eq!(changed["trigger"], "*/5 * * * *");
    assert!(changed["version"].as_i64() > made["version"].as_i64());
    let path = format!("{SCHEDULES}/report");
    world.call("DELETE", &path, &key, None).await.expect(204);
    world.get(&path, &key).await.refused(404, "MS0021");
    world.call("DELETE", &path, &key, None).await.refused(404, "MS0021");
}

#[tokio::test]
async fn a_rule_that_cannot_be_is_refused_with_its_field() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    let job = json!({ "kind": "echo" });
    for (rule, field) in [
        (json!({ "trigger": "whenever", "job": job }), "trigger"),
        (json!({ "trigger": "99 * * * *", "job": job }), "trigger"),
        (json!({ "trigger": "every 5m", "zone": "Mars/Olympus", "job": job }), "spec"),
        (json!({ "trigger": "every 5m" }), "spec"),
        (json!({ "trigger": "every 5m", "job": job, "overlaps": "skip" }), "spec"),
        (json!({ "trigger": "every 5m", "job": job, "name": "another" }), "name"),
        (json!({ "trigger": "every 5m", "job": { "kind": "" } }), "kind"),
        (json!(7), "spec"),
    ] {
        let problem = put(&world, &key, "report", rule).await.refused(422, "MS0013");
        assert_eq!(problem["field"], field, "{problem}");
    }
    assert_eq!(world.get(SCHEDULES, &key).await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn schedules_come_by_name_in_pages() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    for name in ["c", "a", "b"] {
        put(&world, &key, name, json!({ "trigger": "every 5m", "job": { "kind": "echo" } }))
            .await
            .expect(201);
    }
    let names = |page: &Value| {
        page["items"].as_array().unwrap().iter().map(|s| s["name"].clone()).collect::<Vec<_>>()
    };
    let first = world.get(&format!("{SCHEDULES}?limit=2"), &key).await.expect(200);
    assert_eq!(names(&first), ["a", "b"]);
    let second = world
        .get(&format!("{SCHEDULES}?limit=2&cursor={}", first["next"].as_str().unwrap()), &key)
        .await
        .expect(200);
    assert_eq!((names(&second), &second["next"]), (vec![json!("c")], &json!(null)));
}

#[tokio::test]
async fn previews_tell_the_next_fires_and_save_nothing() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    let spec = json!({ "trigger": "30 2 * * *", "zone": "Europe/Berlin", "job": { "kind": "echo" } });
    let preview = "/api/v1/projects/default/preview";
    let seen = world.post(preview, &key, json!({ "spec": spec, "n": 400 })).await.expect(200);
    let fires = seen["fires"].as_array().unwrap();
    assert_eq!(fires.len(), 400);
    assert!(fires.iter().any(|f| f["note"].is_string()), "a year holds a clock change");
    assert!(
        seen["warnings"].as_array().unwrap().iter().any(|w| w.as_str().unwrap().contains("clock")),
        "{}",
        seen["warnings"]
    );
    world
        .post(preview, &key, json!({ "spec": { "trigger": "99 * * * *", "job": { "kind": "echo" } } }))
        .await
        .refused(422, "MS0013");
    world.post(preview, &key, json!({ "spec": spec, "n": 1001 })).await.refused(422, "MS0020");
    assert_eq!(world.get(SCHEDULES, &key).await.expect(200)["items"], json!([]));
    put(&world, &key, "saved", spec).await.expect(201);
    let next = world.get(&format!("{SCHEDULES}/saved/next?n=3"), &key).await.expect(200);
    assert_eq!(next["fires"].as_array().unwrap()[..], fires[..3]);
}

#[tokio::test]
async fn a_pause_holds_until_it_is_lifted() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    put(&world, &key, "report", json!({ "trigger": "every 5m", "job": { "kind": "echo" } }))
        .await
        .expect(201);
    let note = json!({ "until": "2099-01-01T00:00:00Z", "note": "holidays" });
    let paused = world.post(&format!("{SCHEDULES}/report/pause"), &key, note).await.expect(200);
    assert_eq!(
        (&paused["paused"]["note"], &paused["paused"]["until"]),
        (&json!("holidays"), &json!("2099-01-01T00:00:00Z"))
    );
    assert!(paused["paused"]["by"].as_str().unwrap().starts_with("key/"), "{}", paused["paused"]);
    world
        .post(&format!("{SCHEDULES}/report/pause"), &key, json!({ "until": "2000-01-01T00:00:00Z" }))
        .await
        .refused(422, "MS0020");
    let resumed = world.call("POST", &format!("{SCHEDULES}/report/resume"), &key, None).await.expect(200);
    assert_eq!(resumed["paused"], json!(null));
    let audit = world.get("/api/v1/projects/default/audit", &key).await.expect(200);
    let did: Vec<&str> =
        audit["items"].as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert!(did.starts_with(&["schedule.resumed", "schedule.paused"]), "{did:?}");
}

#[tokio::test]
async fn a_run_by_hand_and_a_backfill_make_jobs() {
    let world = World::running().await;
    let key = world.key("default", &Right::ALL).await;
    let rule =
        json!({ "trigger": "0 0 1 1 *", "starts_at": "2020-06-01T00:00:00Z", "job": { "kind": "echo" } });
    put(&world, &key, "yearly", rule).await.expect(201);
    let run = world.call("POST", &format!("{SCHEDULES}/yearly/run"), &key, None).await.expect(201);
    world.until(run["job"].as_i64().unwrap(), JobState::Completed).await;
    let shown = world.get(&format!("/api/v1/projects/default/jobs/{}", run["job"]), &key).await.expect(200);
    assert_eq!((&shown["schedule"], &shown["origin"]), (&json!("yearly"), &json!("manual")));

    let stretch = json!({ "from": "2020-01-01T00:00:00Z", "until": "2023-06-01T00:00:00Z" });
    let plan =
        world.post(&format!("{SCHEDULES}/yearly/backfill/preview"), &key, stretch.clone()).await.expect(200);
    assert_eq!((plan["items"].as_array().unwrap().len(), &plan["to_run"]), (3, &json!(3)), "{plan}");
    let made = world.post(&format!("{SCHEDULES}/yearly/backfill"), &key, stretch.clone()).await.expect(200);
    assert_eq!(made["jobs"], 3);
    let batch = format!("/api/v1/projects/default/batches/{}", made["batch"]);
    for _ in 0..500 {
        if world.get(&batch, &key).await.expect(200)["state"] != "open" {
            break;
        }
        nap(10).await;
    }
    let shown = world.get(&batch, &key).await.expect(200);
    assert_eq!(
        (&shown["state"], &shown["total"], &shown["succeeded"]),
        (&json!("complete"), &json!(3), &json!(3))
    );
    assert_eq!(
        world.get("/api/v1/projects/default/batches", &key).await.expect(200)["items"],
        json!([shown])
    );
    let again = world.post(&format!("{SCHEDULES}/yearly/backfill"), &key, stretch).await.expect(200);
    assert_eq!(again, json!({ "batch": null, "jobs": 0 }), "no job twice");
    let history =
        world.get(&format!("{SCHEDULES}/yearly/history?from=2020-01-01T00:00:00Z"), &key).await.expect(200);
    let fires = history["fires"].as_array().unwrap();
    assert_eq!(fires.len(), 3);
    assert!(fires.iter().all(|f| f["backfill"] == true && f["state"] == "completed"), "{history}");
    let one = world.get(&format!("{SCHEDULES}/yearly"), &key).await.expect(200);
    assert_eq!((one["recent"].as_array().unwrap().len(), &one["health"]["state"]), (4, &json!("healthy")));
}
