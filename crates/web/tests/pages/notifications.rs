//! The page of notifications and the badge on every page.

use super::support::World;
use super::{HOSTILE, page, sent_to, viewer};
use mainspring::notify::{Notice, NoticeState, Severity};
use mainspring_core::tables::{Statement, Write};

async fn say(world: &World, title: &str, severity: Severity) {
    let now = world.client.now();
    let notice = Notice {
        project: world.client.project(),
        key: format!("rule/{title}"),
        severity,
        state: NoticeState::Firing,
        title: title.into(),
        text: HOSTILE.into(),
        facts: vec![],
        path: "/jobs".into(),
        at: now,
        urgent: false,
    };
    let write = notice.announce(&[]).into_write(Write::new(), now, notice.project);
    world.web.tables().write(write).await.unwrap();
}

#[tokio::test]
async fn what_was_said_is_counted_on_every_page_until_it_is_read() {
    let world = World::still().await;
    let (admin, other) = (world.admin().await, viewer(&world).await);
    let empty = page(&world, "/p/default/notifications", &admin).await;
    assert!(empty.contains("Nothing yet") && empty.contains("No unread notifications"));
    say(&world, &format!("Import failed {HOSTILE}"), Severity::Critical).await;
    say(&world, "Late", Severity::Warning).await;
    for path in ["/p/default", "/p/default/jobs", "/p/default/notifications"] {
        let text = page(&world, path, &admin).await;
        assert!(text.contains(r#"<span class="badge is-bad">2</span>"#), "{path}: {text}");
    }
    let list = page(&world, "/p/default/notifications", &admin).await;
    assert!(
        list.contains("Import failed &#60;script")
            && list.contains("critical")
            && list.contains("/p/default/jobs\""),
        "{list}"
    );
    let number = list
        .split("/notifications/")
        .find_map(|part| part.split_once("/read\"")?.0.parse::<i64>().ok())
        .unwrap();
    let read = world.form(&format!("/p/default/notifications/{number}/read"), &admin, "").await;
    assert_eq!(sent_to(&read), "/p/default/notifications");
    assert!(page(&world, "/p/default", &admin).await.contains(r#"<span class="badge is-bad">1</span>"#));
    let unread = page(&world, "/p/default/notifications?show=unread", &admin).await;
    assert!(!unread.contains("Late") && unread.contains("Import failed"), "the newest was read");
    sent_to(&world.form("/p/default/notifications/read-all", &admin, "").await);
    assert!(page(&world, "/p/default", &admin).await.contains("No unread notifications"));
    assert!(
        page(&world, "/p/default", &other).await.contains(r#"<span class="badge is-bad">2</span>"#),
        "each by itself"
    );
    // A channel that cannot deliver is seen where one looks first, and by programs.
    let key = world
        .key("default", &[mainspring_web::access::Right::Read, mainspring_web::access::Right::Change])
        .await;
    let settings = serde_json::json!({ "kind": "email", "host": "mail.example.com", "from": "a@example.com", "to": ["b@example.com"] });
    world
        .post(
            "/api/v1/projects/default/channels",
            &key,
            serde_json::json!({ "name": "ops mail", "settings": settings }),
        )
        .await
        .expect(201);
    let health = "/api/v1/projects/default/health";
    assert_eq!(world.get(health, &key).await.expect(200)["silent_channels"], serde_json::json!([]));
    let ill = Statement::new("UPDATE notify_channels SET failing = 1, last_error = 'no such mailbox'");
    world.web.tables().write(ill.into()).await.unwrap();
    assert_eq!(world.get(health, &key).await.expect(200)["silent_channels"][0]["reason"], "no such mailbox");
    assert!(page(&world, "/p/default", &admin).await.contains("The channel ops mail does not deliver"));
    sent_to(&world.form("/p/default/notifications/preferences", &other, "critical=on&info=on").await);
    let after = page(&world, "/p/default/notifications", &other).await;
    assert!(after.contains(r#"<span class="badge is-bad">1</span>"#), "warnings are not counted: {after}");
    assert_eq!(after.matches(" checked").count(), 2);
}
