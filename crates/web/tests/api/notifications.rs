//! Channels, deliveries and notifications over the API.

use super::support::World;
use mainspring_web::access::Right;
use serde_json::{Value, json};

const AT: &str = "/api/v1/projects/default";

fn email(name: &str, to: &str) -> Value {
    let settings =
        json!({ "kind": "email", "host": "mail.example.com", "from": "engine@example.com", "to": [to] });
    json!({ "name": name, "settings": settings })
}

#[tokio::test]
async fn a_channel_is_made_shown_tested_and_deleted() {
    let world = World::still().await;
    let key = world.key("default", &[Right::Read, Right::Change]).await;
    let made = world.post(&format!("{AT}/channels"), &key, email("ops", "ops@example.org")).await.expect(201);
    assert_eq!(
        (made["channel"]["kind"].as_str(), made["channel"]["state"].as_str()),
        (Some("email"), Some("ok"))
    );
    assert_eq!(made["channel"]["settings"]["security"], "start_tls");
    let at = format!("{AT}/channels/{}", made["channel"]["id"]);
    world.post(&format!("{AT}/channels"), &key, email("ops", "a@example.org")).await.refused(409, "MS0022");
    for (wrong, field) in [
        (email("x", "not an address"), "to"),
        (email("x", "a@example.org\r\nBcc: b@example.org"), "to"),
        (json!({ "name": "x", "settings": { "kind": "slack" } }), "secret"),
        (json!({ "name": "x", "settings": { "kind": "pigeon" } }), "body"),
        (json!({ "name": "x", "settings": { "kind": "webhook", "url": "file:///etc/passwd" } }), "url"),
    ] {
        let refused = world.post(&format!("{AT}/channels"), &key, wrong).await;
        assert_eq!(
            (refused.status.as_u16(), refused.json()["field"].as_str()),
            (422, Some(field)),
            "{}",
            refused.text
        );
    }
    let mut quiet = email("night", "ops@example.org");
    quiet["timing"] = json!({ "zone": "Europe/Berlin", "quiet_from": "22:00", "quiet_to": "07:00" });
    quiet["enabled"] = json!(false);
    let changed = world.call("PUT", &at, &key, Some(&quiet)).await.expect(200);
    assert_eq!((changed["name"].as_str(), changed["state"].as_str()), (Some("night"), Some("off")));
    assert_eq!(changed["timing"]["quiet_to"], "07:00");
    let test = world.call("POST", &format!("{at}/test"), &key, None).await.expect(202);
    assert_eq!((test["state"].as_str(), test["channel_name"].as_str()), (Some("queued"), Some("night")));
    let listed = world.get(&format!("{AT}/deliveries?state=queued"), &key).await.expect(200);
    assert_eq!((&listed["items"][0]["id"], &listed["next"]), (&test["id"], &Value::Null));
    assert_eq!(world.get(&format!("{AT}/deliveries?state=sent"), &key).await.expect(200)["items"], json!([]));
    let again = world
        .call("POST", &format!("{AT}/deliveries/{}/redeliver", test["id"]), &key, None)
        .await
        .expect(202);
    assert_ne!(again["id"], test["id"]);
    let page = world.get(&format!("{AT}/deliveries?limit=1"), &key).await.expect(200);
    assert_eq!(page["items"][0]["id"], again["id"]);
    let next = page["next"].as_str().unwrap();
    let page = world.get(&format!("{AT}/deliveries?limit=1&cursor={next}"), &key).await.expect(200);
    assert_eq!(page["items"][0]["id"], test["id"]);
    // A test of a channel is not news for everybody.
    assert_eq!(world.get(&format!("{AT}/notifications"), &key).await.expect(200)["items"], json!([]));
    assert_eq!(world.call("DELETE", &at, &key, None).await.status.as_u16(), 204);
    world.get(&at, &key).await.refused(404, "MS0021");
    let audit = world.get(&format!("{AT}/audit"), &key).await.expect(200)["items"].to_string();
    for act in
        ["channel.created", "channel.changed", "channel.tested", "delivery.repeated", "channel.deleted"]
    {
        assert!(audit.contains(act), "{act} is missing in {audit}");
    }
    let viewer = world.key("default", &[Right::Read]).await;
    world.post(&format!("{AT}/channels"), &viewer, email("x", "a@example.org")).await.refused(403, "MS0041");
}
