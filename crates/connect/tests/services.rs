//! The services over HTTP, with the answers they give: taken, later, refused, gone, cut off.

use mainspring_connect::webhook::Event;
use mainspring_connect::{Class, Error, Mail, Receipt, Secret, discord, ping, resend, slack, webhook};
use mainspring_outbound::{Client, Guard, Settings};
use mainspring_testkit::outside::{Answer, Stub};
use std::time::Duration;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn client() -> Client {
    let settings = Settings { guard: Guard::new(&["127.0.0.0/8"]).unwrap(), ..Settings::default() };
    Client::new(settings).unwrap()
}

fn now() -> jiff::Timestamp {
    "2026-07-01T12:00:00Z".parse().unwrap()
}

fn wait(error: &Error) -> Option<Duration> {
    match error.class {
        Class::Retry(wait) => wait,
        _ => panic!("{error:?}"),
    }
}

async fn hook(stub: &Stub, id: &str) -> Result<Receipt, Error> {
    let secret = Secret::new(SECRET);
    let body = br#"{"type":"alert"}"#.to_vec();
    let url = stub.url("/hook?token=s3cret");
    webhook::send(&client(), Event { url: &url, secret: &secret, id, now: now(), body }).await
}

#[tokio::test]
async fn a_signed_webhook_keeps_to_the_standard() {
    let stub = Stub::start(vec![
        Answer::of(503, "busy").with("retry-after", "7"),
        Answer::of(429, "").with("retry-after", "Wed, 01 Jul 2026 12:01:00 GMT"),
        Answer::of(302, "").with("location", "http://127.0.0.1:1/"),
        Answer::of(410, "gone"),
        Answer::of(400, "what?"),
        Answer::HangUp,
        Answer::of(204, ""),
    ]);
    assert_eq!(wait(&hook(&stub, "msg_1").await.unwrap_err()), Some(Duration::from_secs(7)));
    assert_eq!(wait(&hook(&stub, "msg_1").await.unwrap_err()), Some(Duration::from_secs(60)));
    assert_eq!(wait(&hook(&stub, "msg_1").await.unwrap_err()), None, "a redirect is a failure");
    assert_eq!(hook(&stub, "msg_1").await.unwrap_err().class, Class::Gone);
    let refused = hook(&stub, "msg_1").await.unwrap_err();
    assert!(refused.class == Class::Fatal && refused.text.contains("what?"), "{refused}");
    assert!(!refused.text.contains("s3cret"), "{refused}");
    assert_eq!(hook(&stub, "msg_1").await.unwrap_err().class, Class::Unknown);
    assert_eq!(hook(&stub, "msg_1").await.unwrap().text, "204 No Content");
    let got = stub.wait_for(7);
    assert!(got.iter().all(|r| r.headers["webhook-id"] == "msg_1" && r.path == "/hook?token=s3cret"));
    assert_eq!(got[0].headers["webhook-timestamp"], now().as_second().to_string());
    // Signed over id, second and body, as the standard's own example is (see the unit test).
    assert!(got[0].headers["webhook-signature"].starts_with("v1,") && got[0].body == r#"{"type":"alert"}"#);
}

#[tokio::test]
async fn slack_says_words() {
    let stub = Stub::start(vec![
        Answer::of(200, "ok"),
        Answer::of(429, "rate_limited").with("retry-after", "30"),
        Answer::of(400, "invalid_payload"),
        Answer::of(404, "no_service"),
        Answer::of(410, "channel_is_archived"),
        Answer::of(500, "rollup_error"),
        Answer::of(200, "<html>a captive portal"),
    ]);
    let url = Secret::new(stub.url("/services/T0/B0/s3cret"));
    let message = slack::Post { title: "Import failed".into(), ..slack::Post::default() };
    let client = client();
    let send = || slack::send(&client, &url, &message, now());
    assert_eq!(send().await.unwrap().text, "200 OK: ok");
    assert_eq!(wait(&send().await.unwrap_err()), Some(Duration::from_secs(30)));
    assert_eq!(send().await.unwrap_err().class, Class::Fatal);
    assert_eq!(send().await.unwrap_err().class, Class::Gone);
    assert_eq!(send().await.unwrap_err().class, Class::Gone);
    assert_eq!(wait(&send().await.unwrap_err()), None);
    assert_eq!(send().await.unwrap_err().class, Class::Unknown);
    let got = stub.wait_for(7);
    assert_eq!(got[0].json()["text"], "Import failed");
    let nowhere = Secret::new("http://127.0.0.1:1/services/s3cret");
    let error = slack::send(&client, &nowhere, &message, now()).await.unwrap_err();
    assert!(wait(&error).is_none() && !error.text.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn discord_gives_the_message_it_made() {
    let stub = Stub::start(vec![
        Answer::of(200, r#"{"id":"1199","type":0,"content":""}"#),
        Answer::of(429, r#"{"message":"You are being rate limited.","retry_after":1.5,"global":false}"#)
            .with("retry-after", "2"),
        Answer::of(404, r#"{"message":"Unknown Webhook","code":10015}"#),
        Answer::of(401, r#"{"message":"Invalid Webhook Token","code":50027}"#),
        Answer::of(400, r#"{"message":"Cannot send an empty message","code":50006}"#),
        Answer::of(502, "Bad Gateway"),
    ]);
    let url = Secret::new(stub.url("/api/webhooks/1/s3cret"));
    let message = discord::Post { title: "Import failed".into(), ..discord::Post::default() };
    let client = client();
    let send = || discord::send(&client, &url, &message, now());
    assert_eq!(send().await.unwrap().id.as_deref(), Some("1199"));
    assert_eq!(wait(&send().await.unwrap_err()), Some(Duration::from_millis(1500)));
    for class in [Class::Gone, Class::Gone, Class::Fatal] {
        let error = send().await.unwrap_err();
        assert!(error.class == class && !error.text.contains("s3cret"), "{error:?}");
    }
    assert_eq!(wait(&send().await.unwrap_err()), None);
    assert!(stub.wait_for(6).iter().all(|r| r.path == "/api/webhooks/1/s3cret?wait=true"));
}

#[tokio::test]
async fn resend_takes_a_mail_once_for_each_key() {
    let stub = Stub::start(vec![
        Answer::of(200, r#"{"id":"49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"}"#),
        Answer::of(429, r#"{"statusCode":429,"name":"rate_limit_exceeded","message":"Too many requests"}"#)
            .with("retry-after", "1"),
        Answer::of(
            409,
            r#"{"statusCode":409,"name":"concurrent_idempotent_requests","message":"Same key in progress"}"#,
        ),
        Answer::of(
            409,
            r#"{"statusCode":409,"name":"invalid_idempotent_request","message":"Same key, different payload"}"#,
        ),
        Answer::of(403, r#"{"statusCode":403,"name":"invalid_api_key","message":"API key is invalid"}"#),
        Answer::of(422, r#"{"statusCode":422,"name":"validation_error","message":"Invalid `to` field"}"#),
    ]);
    let mail = Mail {
        from: "engine@example.com".into(),
        to: vec!["ops@example.org".into()],
        reply_to: None,
        subject: "Import failed".into(),
        text: "plain".into(),
        html: "<p>html</p>".into(),
        id: "ntc_7_1".into(),
        at: now(),
    };
    let (client, key, api) = (client(), Secret::new("re_hunter2"), stub.url("/"));
    let send = || resend::send(&client, &api, &key, &mail, now());
    assert_eq!(send().await.unwrap().id.as_deref(), Some("49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"));
    assert_eq!(wait(&send().await.unwrap_err()), Some(Duration::from_secs(1)));
    assert_eq!(wait(&send().await.unwrap_err()), None);
    for _ in 0..3 {
        let error = send().await.unwrap_err();
        assert!(error.class == Class::Fatal && !error.text.contains("hunter2"), "{error:?}");
    }
    let got = stub.wait_for(6);
    assert!(got.iter().all(|r| r.path == "/emails" && r.headers["idempotency-key"] == "ntc_7_1"));
    assert_eq!(
        (got[0].headers["authorization"].as_str(), got[0].json()["to"][0].as_str()),
        ("Bearer re_hunter2", Some("ops@example.org"))
    );
    let evil = Mail { subject: "a\r\nBcc: x@example.com".into(), ..mail.clone() };
    assert_eq!(resend::send(&client, &api, &key, &evil, now()).await.unwrap_err().class, Class::Fatal);
    assert_eq!(stub.all().len(), 6, "it was not even asked");
}

#[tokio::test]
async fn a_watcher_hears_from_us() {
    let stub = Stub::start(vec![Answer::of(200, "OK"), Answer::of(404, "no such check")]);
    assert_eq!(ping::send(&client(), &stub.url("/check"), now()).await.unwrap().text, "200 OK: OK");
    assert_eq!(ping::send(&client(), &stub.url("/check"), now()).await.unwrap_err().class, Class::Fatal);
    assert_eq!(stub.wait_for(2)[0].method, "GET");
    assert!(ping::check("ftp://x").is_err() && ping::check("https://hc.example/ping/1").is_ok());
}
