//! Webhooks that come in: what is signed becomes a job once, everything else becomes nothing.

use crate::support::{Answer, World};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use http::Method;
use http_body_util::Full;
use hyper::body::Bytes;
use mainspring_core::JobId;
use mainspring_core::job::JobState;
use mainspring_core::tables::Statement;
use mainspring_web::access::Right;
use serde_json::{Value, json};
use sha2::Sha256;

const HOOKS: &str = "/api/v1/projects/default/hooks";

struct Hook {
    path: String,
    secret: String,
}

impl Hook {
    async fn make(world: &World, key: &str, new: Value) -> Hook {
        let made = world.post(HOOKS, key, new).await.expect(201);
        let url = made["url"].as_str().unwrap();
        let path = url.split_once(&world.at.to_string()).expect("our address").1.to_owned();
        Hook { path, secret: made["secret"].as_str().unwrap().to_owned() }
    }

    async fn send(&self, world: &World, headers: &[(&str, String)], body: &str) -> Answer {
        let mut request =
            http::Request::builder().method(Method::POST).uri(format!("http://{}{}", world.at, self.path));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        world.send(request.body(Full::new(Bytes::from(body.to_owned()))).expect("a request")).await
    }

    async fn github(&self, world: &World, delivery: &str, body: &str) -> Answer {
        let made = mac(self.secret.as_bytes(), body.as_bytes());
        let hex: String = made.iter().map(|b| format!("{b:02x}")).collect();
        let headers = [
            ("x-hub-signature-256", format!("sha256={hex}")),
            ("x-github-delivery", delivery.to_owned()),
            ("x-github-event", "push".to_owned()),
            ("content-type", "application/json".to_owned()),
        ];
        self.send(world, &headers, body).await
    }

    async fn standard(&self, world: &World, id: &str, at: i64, body: &str) -> Answer {
        let key = STANDARD.decode(self.secret.strip_prefix("whsec_").unwrap()).unwrap();
        let made = STANDARD.encode(mac(&key, format!("{id}.{at}.{body}").as_bytes()));
        let headers = [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", at.to_string()),
            ("webhook-signature", format!("v1,{made}")),
        ];
        self.send(world, &headers, body).await
    }
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

async fn jobs(world: &World, kind: &str) -> usize {
    let counts = world.client.store().counts(world.client.project()).await.expect("counts");
    counts.into_iter().filter(|(_, k, ..)| k == kind).map(|(.., n)| n as usize).sum()
}

#[tokio::test]
async fn a_signed_delivery_is_one_job_however_often_it_comes() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    let new = json!({ "name": "pushes", "signature": "github", "kind": "build", "queue": "ci" });
    let hook = Hook::make(&world, &key, new).await;
    let body = r#"{"repository": {"full_name": "a/b"}, "n": 1.50}"#;
    let taken = hook.github(&world, "d-1", body).await.expect(201);
    let job = world.client.job(JobId(taken["job"].as_i64().unwrap())).await.expect("a job").job;
    assert_eq!((&*job.kind, &*job.queue, job.state), ("build", "ci", JobState::Available));
    let wanted = format!(r#"{{"delivery":"d-1","event":"push","body":{body}}}"#);
    assert_eq!(job.payload.as_str(), wanted, "the body is passed on as it came");
    for _ in 0..2 {
        let again = hook.github(&world, "d-1", body).await.expect(200);
        assert_eq!(again, json!({ "job": job.id, "duplicate": true }));
    }
    hook.github(&world, "d-2", body).await.expect(201);
    assert_eq!(jobs(&world, "build").await, 2);
    let came = world.get(&format!("{HOOKS}/pushes/deliveries"), &key).await.expect(200);
    let came: Vec<(&Value, &Value)> =
        came["items"].as_array().unwrap().iter().map(|d| (&d["delivery"], &d["event"])).collect();
    assert_eq!(came, [(&json!("d-2"), &json!("push")), (&json!("d-1"), &json!("push"))]);
    // By a template, and by the other signature.
    let new = json!({
        "name": "payments", "signature": "standard", "kind": "book",
        "template": { "who": "$.customer.id", "all": "$", "fixed": 1 },
    });
    let hook = Hook::make(&world, &key, new).await;
    let now = world.client.now().as_second();
    let taken = hook.standard(&world, "msg_1", now, r#"{"customer": {"id": 7}}"#).await.expect(201);
    let job = world.client.job(JobId(taken["job"].as_i64().unwrap())).await.expect("a job").job;
    assert_eq!(job.payload.value(), json!({ "who": 7, "all": { "customer": { "id": 7 } }, "fixed": 1 }));
}

#[tokio::test]
async fn what_is_not_signed_as_agreed_becomes_nothing() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    let github = json!({ "name": "a", "signature": "github", "kind": "build" });
    let standard = json!({ "name": "b", "signature": "standard", "kind": "build" });
    let mut hook = Hook::make(&world, &key, github.clone()).await;
    let other = Hook::make(&world, &key, standard).await;
    assert_ne!(hook.secret, other.secret);
    world.post(HOOKS, &key, github).await.refused(409, "MS0022");
    hook.send(&world, &[], "{}").await.refused(403, "MS0063");
    let forged = [
        ("x-hub-signature-256", format!("sha256={}", "0".repeat(64))),
        ("x-github-delivery", "d".to_owned()),
    ];
    hook.send(&world, &forged, "{}").await.refused(403, "MS0063");
    let now = world.client.now().as_second();
    for at in [now - 400, now + 400] {
        other.standard(&world, "msg_1", at, "{}").await.refused(403, "MS0063");
    }
    // Signed well, but not JSON; and an address that was never given.
    assert_eq!(hook.github(&world, "d", "not json").await.refused(400, "MS0024")["field"], "body");
    let nowhere = Hook { path: "/api/v1/hooks/guessed".into(), secret: hook.secret.clone() };
    nowhere.github(&world, "d", "{}").await.refused(404, "MS0021");
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    hook.github(&world, "d", &large).await.refused(413, "MS0020");
    assert_eq!(jobs(&world, "build").await, 0);
    // A new secret: the old one holds no more. A hook that is deleted takes nothing.
    let told = world.call("POST", &format!("{HOOKS}/a/rotate"), &key, None).await.expect(200);
    hook.github(&world, "d", "{}").await.refused(403, "MS0063");
    hook.secret = told["secret"].as_str().unwrap().to_owned();
    hook.github(&world, "d", "{}").await.expect(201);
    world.call("DELETE", &format!("{HOOKS}/a"), &key, None).await.expect(204);
    hook.github(&world, "d2", "{}").await.refused(404, "MS0021");
    let shown = world.get(HOOKS, &key).await.expect(200);
    assert_eq!(shown["items"].as_array().unwrap().len(), 1);
    assert!(!shown.to_string().contains(&other.secret), "a secret is told once");
    let audit = world.get("/api/v1/projects/default/audit", &key).await.expect(200);
    for what in ["hook.created", "hook.rotated", "hook.deleted"] {
        assert!(audit["items"].as_array().unwrap().iter().any(|e| e["name"] == what), "{what}: {audit}");
    }
}

#[tokio::test]
async fn both_secrets_hold_while_one_takes_over_and_the_old_one_ends_in_time() {
    let world = World::still().await;
    let key = world.key("default", &Right::ALL).await;
    let make = json!({ "name": "b", "signature": "standard", "kind": "build" });
    let first = Hook::make(&world, &key, make).await;
    let rotate = async |overlap: &str| {
        let told = world.post(&format!("{HOOKS}/b/rotate"), &key, json!({ "overlap": overlap })).await;
        Hook { path: first.path.clone(), secret: told.expect(200)["secret"].as_str().unwrap().to_owned() }
    };
    let send = async |hook: &Hook, id: &str| {
        let now = world.client.now().as_second();
        hook.standard(&world, id, now, "{}").await
    };
    let until = async || world.get(&format!("{HOOKS}/b"), &key).await.expect(200)["before_until"].clone();
    let second = rotate("1h").await;
    send(&first, "d1").await.expect(201);
    send(&second, "d2").await.expect(201);
    let told: jiff::Timestamp = until().await.as_str().expect("it is said until when").parse().unwrap();
    let left = told.duration_since(world.client.now());
    assert!(left.as_secs() > 3_500 && left.as_secs() <= 3_600, "{left}");
    // Changed again: the one before the one before is worth nothing.
    let third = rotate("1h").await;
    send(&first, "d3").await.refused(403, "MS0063");
    send(&second, "d4").await.expect(201);
    // Its time is over.
    let past = Statement::new("UPDATE hooks_hooks SET before_until = ?1");
    let past = past.bind(world.client.now());
    world.client.tables().unwrap().write(past.into()).await.unwrap();
    send(&second, "d5").await.refused(403, "MS0063");
    send(&third, "d6").await.expect(201);
    assert_eq!(until().await, Value::Null);
    // Without an overlap it ends at once, whatever was agreed before.
    let fourth = rotate("1h").await;
    let fifth = rotate("0s").await;
    send(&third, "d7").await.refused(403, "MS0063");
    send(&fourth, "d8").await.refused(403, "MS0063");
    send(&fifth, "d9").await.expect(201);
    let long = json!({ "overlap": "31d" });
    let refused = world.post(&format!("{HOOKS}/b/rotate"), &key, long).await.refused(422, "MS0020");
    assert_eq!(refused["field"], "overlap");
    // Nothing sealed is left of a hook that is gone.
    rotate("1h").await;
    world.call("DELETE", &format!("{HOOKS}/b"), &key, None).await.expect(204);
    let kept = Statement::new("SELECT count(*) FROM secrets_values");
    let kept: i64 = world.client.tables().unwrap().read(kept).await.unwrap().one().unwrap();
    assert_eq!(kept, 0);
}
