//! Bulk actions: what matches is done in the background, tells how far it is, and can be aborted.

use crate::support::{World, nap};
use mainspring::{Json, NewJob};
use mainspring_core::JobId;
use mainspring_core::job::JobState;
use mainspring_core::store::JobFilter;
use mainspring_web::access::Right;
use serde_json::{Value, json};

const BULK: &str = "/api/v1/projects/default/bulk";

async fn in_state(world: &World, queue: &str, state: JobState) -> usize {
    let filter = JobFilter { queue: Some(queue.into()), states: vec![state], ..JobFilter::default() };
    let (store, project) = (world.client.store(), world.client.project());
    let (mut n, mut before) = (0, None);
    loop {
        let page = store.jobs(project, &filter, before, 1000).await.expect("a page");
        n += page.rows.len();
        before = page.next;
        if before.is_none() {
            return n;
        }
    }
}

async fn put(world: &World, queue: &str, n: usize) {
    let job = NewJob { queue: queue.into(), ..NewJob::new("stranger", Json::null()) };
    world.client.enqueue_many(vec![job; n]).await.expect("enqueued");
}

async fn until_over(world: &World, key: &str, id: &Value) -> Value {
    for _ in 0..3000 {
        let shown = world.get(&format!("{BULK}/{id}"), key).await.expect(200);
        if shown["finished_at"].is_string() {
            return shown;
        }
        nap(10).await;
    }
    panic!("bulk action {id} does not end");
}

#[tokio::test]
async fn everything_that_matches_is_cancelled_and_run_again_in_the_background() {
    let world = World::running().await;
    let key = world.key("default", &Right::ALL).await;
    put(&world, "many", 1_234).await;
    put(&world, "others", 3).await;
    let order = json!({ "action": "cancel", "filter": { "queue": "many" }, "reason": "wrong import" });
    let made = world.post(BULK, &key, order).await.expect(201);
    // What comes after it is not meant.
    put(&world, "many", 5).await;
    let over = until_over(&world, &key, &made["id"]).await;
    assert_eq!(
        (&over["state"], &over["done"], &over["failed"], &over["total"]),
        (&json!("completed"), &json!(1_234), &json!(0), &json!(1_234))
    );
    assert_eq!(in_state(&world, "many", JobState::Cancelled).await, 1_234);
    assert_eq!(in_state(&world, "many", JobState::Available).await, 5);
    assert_eq!(in_state(&world, "others", JobState::Available).await, 3);
    let filter = JobFilter { states: vec![JobState::Cancelled], ..JobFilter::default() };
    let page = world.client.store().jobs(world.client.project(), &filter, None, 1).await.expect("a page");
    assert_eq!(page.rows[0].reason.as_deref(), Some("wrong import"));
    // Run again, within a limit; the rest is left.
    let order =
        json!({ "action": "retry", "filter": { "queue": "many", "states": ["cancelled"] }, "limit": 700 });
    let made = world.post(BULK, &key, order).await.expect(201);
    let over = until_over(&world, &key, &made["id"]).await;
    assert_eq!((&over["done"], &over["total"]), (&json!(700), &json!(700)));
    assert_eq!(in_state(&world, "many", JobState::Cancelled).await, 534);
    // Who asked for it is in the audit log; both are in the list.
    let (mut started, mut after) = (Vec::new(), 0);
    loop {
        let page = world.client.store().events(world.client.project(), after, 1000).await.expect("events");
        let Some(last) = page.last() else { break };
        after = last.id;
        started.extend(page.into_iter().filter(|e| e.event.name == "bulk.started"));
    }
    assert_eq!(started.len(), 2);
    assert!(started.iter().all(|e| e.event.actor.as_deref().is_some_and(|a| a.starts_with("key/"))));
    let listed = world.get(BULK, &key).await.expect(200);
    let ids: Vec<&Value> = listed["items"].as_array().unwrap().iter().map(|b| &b["id"]).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], &made["id"]);
}

#[tokio::test]
async fn a_bulk_action_is_refused_without_a_condition_and_aborted_like_a_job() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    let nothing = json!({ "action": "retry", "filter": {} });
    assert_eq!(world.post(BULK, &key, nothing).await.refused(422, "MS0020")["field"], "filter.all");
    let too_many = json!({ "action": "retry", "filter": { "all": true }, "limit": 200_001 });
    assert_eq!(world.post(BULK, &key, too_many).await.refused(422, "MS0020")["field"], "limit");
    let unknown = json!({ "action": "retry", "filter": { "schedule": "none" } });
    world.post(BULK, &key, unknown).await.refused(404, "MS0021");
    put(&world, "q", 3).await;
    let made =
        world.post(BULK, &key, json!({ "action": "cancel", "filter": { "all": true } })).await.expect(201);
    assert_eq!((&made["state"], &made["total"]), (&json!("available"), &json!(null)));
    let id = made["id"].as_i64().unwrap();
    let did = world.call("POST", &format!("{BULK}/{id}/abort"), &key, None).await.expect(200);
    assert_eq!(did["changed"], true);
    let shown = world.get(&format!("{BULK}/{id}"), &key).await.expect(200);
    assert_eq!(shown["state"], "cancelled");
    assert_eq!(in_state(&world, "q", JobState::Available).await, 3);
    // Any other job is none.
    let job = world.enqueue("echo", json!(1)).await;
    world.get(&format!("{BULK}/{job}"), &key).await.refused(404, "MS0021");
    world.call("POST", &format!("{BULK}/{job}/abort"), &key, None).await.refused(404, "MS0021");
    assert_eq!(world.client.job(JobId(job)).await.unwrap().job.state, JobState::Available);
}
