use super::{HOSTILE, page, sent_to, support::World, viewer};
use mainspring::Json;
use mainspring_core::batch::NewBatch;
use mainspring_core::ids::NodeId;
use mainspring_core::job::JobState;
use mainspring_core::node::NodeInfo;
use mainspring_web::access::Role;
use serde_json::json;

#[tokio::test]
async fn a_queue_is_limited_paused_and_resumed() {
    let world = World::still().await;
    let admin = world.admin().await;
    let empty = page(&world, "/p/default/queues", &admin).await;
    assert!(empty.contains("No queue yet"), "{empty}");
    let mut job = world.client.new_job_of("echo", Json::null());
    job.queue = HOSTILE.into();
    world.client.enqueue_raw(job).await.unwrap();
    world.enqueue("echo", json!({})).await;
    let list = page(&world, "/p/default/queues", &admin).await;
    assert!(list.contains(">default</a>") && list.contains("&#60;script&#62;"), "{list}");
    let path = "/p/default/queues/default";
    let fields = "max_running=3&max_running_per_key=&rate=10%2F1s&rate_per_key=&fair=on";
    assert_eq!(sent_to(&world.form(&format!("{path}/limits"), &admin, fields).await), path);
    let now = world.client.queue_settings("default").await.unwrap();
    assert_eq!((now.max_running, now.fair, now.rate.is_some()), (Some(3), true, true));
    let wrong = world.form(&format!("{path}/limits"), &admin, "max_running=many").await;
    assert_eq!(wrong.status.as_u16(), 422);
    assert!(wrong.text.contains("&#34;many&#34; is not a number; type 10"), "{}", wrong.text);
    assert_eq!(world.client.queue_settings("default").await.unwrap().max_running, Some(3));
    assert_eq!(sent_to(&world.form(&format!("{path}/pause"), &admin, "note=%3Cb%3E").await), path);
    let text = page(&world, path, &admin).await;
    assert!(text.contains("“&#60;b&#62;”") && text.contains("value=\"3\""), "{text}");
    assert!(
        world.client.queue_settings("default").await.unwrap().max_running.is_some(),
        "a pause keeps limits"
    );
    assert_eq!(
        sent_to(&world.form(&format!("{path}/resume"), &admin, "back=list").await),
        "/p/default/queues"
    );
    assert!(world.client.queue_settings("default").await.unwrap().paused.is_none());
    assert_eq!(world.get("/p/default/queues/nobody", &admin).await.status.as_u16(), 404);
}

#[tokio::test]
async fn everything_is_paused_and_resumed_from_the_queues() {
    let world = World::still().await;
    let admin = world.admin().await;
    world.enqueue("echo", json!({})).await;
    let answer = world.form("/p/default/queues/%2A/pause", &admin, "back=list&note=upgrade").await;
    assert_eq!(sent_to(&answer), "/p/default/queues");
    let text = page(&world, "/p/default/queues", &admin).await;
    assert!(text.contains("All queues are paused") && text.contains("“upgrade”"), "{text}");
    world.form("/p/default/queues/%2A/resume", &admin, "back=list").await;
    assert!(world.client.queue_settings("*").await.unwrap().paused.is_none());
}

#[tokio::test]
async fn batches_tell_how_far_they_are() {
    let world = World::running().await;
    let admin = world.admin().await;
    let empty = page(&world, "/p/default/batches", &admin).await;
    assert!(empty.contains("No batch yet"), "{empty}");
    let batch = NewBatch { name: format!("import {HOSTILE}"), follow_up: None, parent: None, sealed: true };
    let jobs = ["echo", "fail"].map(|kind| world.client.new_job_of(kind, Json::null())).to_vec();
    let (id, jobs) = world.client.open_batch(batch, jobs).await.unwrap();
    world.until(jobs[0].id.0, JobState::Completed).await;
    world.until(jobs[1].id.0, JobState::Failed).await;
    let list = page(&world, "/p/default/batches", &admin).await;
    assert!(list.contains("import &#60;script&#62;") && list.contains("2 of 2 done, 1 failed"), "{list}");
    let one = page(&world, &format!("/p/default/batches/{id}"), &admin).await;
    assert!(one.contains("Partial") && one.contains(&format!("jobs?batch={id}&#38;state=failed")), "{one}");
    let own = page(&world, &format!("/p/default/jobs?batch={id}"), &admin).await;
    assert_eq!(own.matches("data-row").count(), 2);
    assert_eq!(world.get("/p/default/batches/none", &admin).await.status.as_u16(), 404);
}

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

#[tokio::test]
async fn nodes_are_shown_to_those_who_manage() {
    let world = World::running().await;
    let admin = world.admin().await;
    let job = world.enqueue("echo", json!({})).await;
    world.until(job, JobState::Completed).await;
    let text = page(&world, "/p/default/nodes", &admin).await;
    assert!(text.contains("test node") && text.contains("0 of 4") && text.contains("Answers"), "{text}");
    // One that ended in good order is not missed; one that died is.
    let (store, now) = (world.client.store(), world.client.now());
    for (id, name, joined) in
        [(7, "left well", now), (8, "fell silent", mainspring_core::time::minus(now, HOUR))]
    {
        let node = NodeInfo {
            id: NodeId(id),
            name: name.into(),
            pid: 1,
            version: "0".into(),
            slots: 1,
            queues: vec![],
            kinds: vec![],
            tz_version: "none".into(),
        };
        store.join(joined, node).await.unwrap();
    }
    store.leave(now, NodeId(7)).await.unwrap();
    for path in ["/p/default/nodes", "/p/default"] {
        let text = page(&world, path, &admin).await;
        assert!(text.contains("fell silent") && text.contains("Silent"), "{text}");
        assert!(!text.contains("left well"), "{text}");
    }
    let viewer = viewer(&world).await;
    assert_eq!(world.get("/p/default/nodes", &viewer).await.status.as_u16(), 403);
    assert!(
        !page(&world, "/p/default", &viewer).await.contains("/p/default/nodes"),
        "no way that leads nowhere"
    );
}

#[tokio::test]
async fn the_audit_log_says_who_did_what() {
    let world = World::running().await;
    let admin = world.admin().await;
    let first = page(&world, "/p/default/audit", &admin).await;
    assert!(first.contains("made the first account") && !first.contains("queue default"), "{first}");
    let job = world.enqueue("fail", json!({})).await;
    world.until(job, JobState::Failed).await;
    world.form("/p/default/queues/default/pause", &admin, "note=x").await;
    let acts = page(&world, "/p/default/audit", &admin).await;
    assert!(acts.contains("queue default") && acts.contains("ada@example.com"), "{acts}");
    assert!(!acts.contains("it broke"), "{acts}");
    let all = page(&world, "/p/default/audit?show=all", &admin).await;
    assert!(all.contains("failed: it broke") && all.contains("the engine"), "{all}");
}

#[tokio::test]
async fn who_may_only_look_changes_no_queue_and_sees_no_key() {
    let world = World::still().await;
    let viewer = viewer(&world).await;
    world.enqueue("echo", json!({})).await;
    let text = page(&world, "/p/default/queues", &viewer).await;
    assert!(!text.contains("/pause\""), "{text}");
    let text = page(&world, "/p/default/queues/default", &viewer).await;
    assert!(!text.contains("Save limits") && !text.contains("/pause\""), "{text}");
    for deed in ["pause", "resume", "limits"] {
        let answer = world.form(&format!("/p/default/queues/default/{deed}"), &viewer, "note=x").await;
        assert_eq!(answer.status.as_u16(), 403, "{deed}");
    }
    let text = page(&world, "/p/default/settings", &viewer).await;
    assert!(text.contains("vera@example.com") && !text.contains("New key"), "{text}");
    let answer = world.form("/p/default/settings/keys", &viewer, "name=mine&right=read").await;
    assert_eq!(answer.status.as_u16(), 403);
    assert_eq!(world.form("/p/default/settings/keys/1/revoke", &viewer, "").await.status.as_u16(), 403);
}

#[tokio::test]
async fn a_key_is_shown_once_works_and_is_revoked() {
    let world = World::still().await;
    let admin = world.admin().await;
    let made = world
        .form("/p/default/settings/keys", &admin, "name=%3Cb%3Ebilling&right=read&right=run&length=90d")
        .await;
    assert_eq!(made.status.as_u16(), 201, "{}", made.text);
    let at = made.text.find("msk_").expect("the secret");
    let secret: String =
        made.text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).collect();
    assert_eq!(world.get("/api/v1/projects/default/queues", &secret).await.status.as_u16(), 200);
    let text = page(&world, "/p/default/settings", &admin).await;
    assert!(
        !text.contains(&secret) && text.contains("&#60;b&#62;billing") && text.contains("read, run"),
        "{text}"
    );
    let wrong = world.form("/p/default/settings/keys", &admin, "name=x&right=fly").await;
    assert_eq!(wrong.status.as_u16(), 422);
    assert!(wrong.text.contains("there is no right &#34;fly&#34;"), "{}", wrong.text);
    let revoke = text.split("/settings/keys/").nth(1).unwrap().split('/').next().unwrap();
    let path = format!("/p/default/settings/keys/{revoke}/revoke");
    assert_eq!(sent_to(&world.form(&path, &admin, "").await), "/p/default/settings");
    assert_eq!(world.get("/api/v1/projects/default/queues", &secret).await.status.as_u16(), 401);
}

#[tokio::test]
async fn a_member_gets_another_role_and_is_removed() {
    let world = World::still().await;
    let admin = world.admin().await;
    let (id, session) = world.member("default", "max@example.com", Role::Viewer, false).await;
    let path = format!("/p/default/settings/members/{id}");
    assert_eq!(
        world.form(&path, &session, "role=owner").await.status.as_u16(),
        403,
        "nobody raises themselves"
    );
    let text = page(&world, "/p/default/settings", &admin).await;
    assert!(text.contains("max@example.com") && text.contains(&format!("action=\"{path}\"")), "{text}");
    assert_eq!(sent_to(&world.form(&path, &admin, "role=admin").await), "/p/default/settings");
    assert!(page(&world, "/p/default/settings", &session).await.contains("New key"), "an admin makes keys");
    assert_eq!(world.form(&path, &admin, "role=king").await.status.as_u16(), 422);
    assert_eq!(sent_to(&world.form(&format!("{path}/remove"), &admin, "").await), "/p/default/settings");
    assert_eq!(world.get("/p/default", &session).await.status.as_u16(), 404);
}

#[tokio::test]
async fn webhooks_are_made_shown_with_their_secret_once_turned_over_and_deleted() {
    let world = World::still().await;
    let admin = world.admin().await;
    let empty = page(&world, "/p/default/hooks", &admin).await;
    assert!(empty.contains("No webhook yet"), "{empty}");
    let fields = "name=pushes&signature=github&kind=build&queue=&template=";
    let made = world.form("/p/default/hooks", &admin, fields).await;
    assert_eq!(made.status.as_u16(), 200, "{}", made.text);
    let secret =
        made.text.split("<code class=\"mono\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert_eq!(secret.len(), 64, "{}", made.text);
    let list = page(&world, "/p/default/hooks", &admin).await;
    assert!(list.contains("pushes") && list.contains("/api/v1/hooks/") && !list.contains(&secret), "{list}");
    let again = world.form("/p/default/hooks", &admin, fields).await;
    assert!(again.status.as_u16() == 409 && again.text.contains("a hook pushes already"), "{}", again.text);
    let odd = world.form("/p/default/hooks", &admin, "name=x&kind=y&template=%7B").await;
    assert!(odd.status.as_u16() == 422 && odd.text.contains("aria-invalid"), "{}", odd.text);
    let turned = world.form("/p/default/hooks/pushes/rotate", &admin, "").await;
    assert!(turned.text.contains("shown this once") && !turned.text.contains(&secret));
    assert!(!turned.text.contains("the one before holds until"), "{}", turned.text);
    let turned = world.form("/p/default/hooks/pushes/rotate", &admin, "overlap=2h").await;
    assert!(turned.text.contains("the one before holds until 20"), "{}", turned.text);
    let odd = world.form("/p/default/hooks/pushes/rotate", &admin, "overlap=long").await;
    assert_eq!(odd.status.as_u16(), 422);
    let viewer = super::viewer(&world).await;
    assert_eq!(world.get("/p/default/hooks", &viewer).await.status.as_u16(), 403);
    let gone = world.form("/p/default/hooks/pushes/delete", &admin, "").await;
    assert_eq!(super::sent_to(&gone), "/p/default/hooks");
    assert!(page(&world, "/p/default/hooks", &admin).await.contains("No webhook yet"));
}
