//! Kind `http` from outside: a real server on loopback, and what its answers mean.

use mainspring::context::Stop;
use mainspring::core::duration;
use mainspring::core::job::LogLevel;
use mainspring::kinds::Attempt;
use mainspring::kinds::http::Http;
use mainspring::kinds::http::sign::Secrets;
use mainspring::secrets::Secret;
use mainspring::{Handler, JobError, Json};
use mainspring_outbound::{Client, Guard, Settings};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const NOW: &str = "2026-11-22T10:00:00Z";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

#[derive(Default)]
struct Try {
    stop: Stop,
    log: Mutex<Vec<String>>,
    seconds_later: u64,
}

impl Attempt for Try {
    fn delivery_id(&self) -> String {
        "msg_7".into()
    }
    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![]
    }
    fn now(&self) -> jiff::Timestamp {
        mainspring::core::time::plus(NOW.parse().unwrap(), Duration::from_secs(self.seconds_later))
    }
    fn stop(&self) -> &Stop {
        &self.stop
    }
    fn line(&self, _: LogLevel, text: &str) {
        self.log.lock().unwrap().push(text.to_owned());
    }
}

/// A server that gives one answer to everybody and keeps what it was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

async fn server(answer: impl Into<Vec<u8>>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server { address: listener.local_addr().unwrap(), asked: Arc::default() };
    let (asked, answer) = (server.asked.clone(), answer.into());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut got = vec![0; 65_536];
            let mut n = 0;
            while let Ok(more @ 1..) = stream.read(&mut got[n..]).await {
                n += more;
                let text = String::from_utf8_lossy(&got[..n]).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length =
                    head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok());
                if body.len() >= length.unwrap_or(0) {
                    asked.lock().unwrap().push(text);
                    break;
                }
            }
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    server
}

fn answer(status: &str, headers: &[&str], body: &str) -> String {
    let mut text = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
    headers.iter().for_each(|h| text.push_str(&format!("{h}\r\n")));
    format!("{text}\r\n{body}")
}

fn handler(secrets: Secrets) -> Http {
    let guard = Guard::new(&["127.0.0.0/8"]).unwrap();
    Http::new(Client::new(Settings { guard, ..Settings::default() }).unwrap(), secrets)
}

type Answer = Result<Option<Json>, JobError>;

async fn deliver(payload: &Value) -> Answer {
    handler(Secrets::none()).deliver(&Json::of(payload).unwrap(), &Try::default()).await
}

/// What `text` as an answer means to a plain GET.
async fn meaning(text: String) -> Answer {
    let server = server(text).await;
    deliver(&json!({"url": format!("http://{}/hook?token=s3cret", server.address)})).await
}

fn output(answer: Answer) -> Value {
    answer.unwrap().unwrap().value()
}

#[derive(Debug, PartialEq)]
enum Failed {
    Retry(Option<u64>),
    Fatal,
}

fn failed(answer: Answer) -> (Failed, String, String) {
    match answer {
        Err(JobError::Retry { error, after }) => (
            Failed::Retry(after.map(|a| a.as_secs())),
            error.class,
            format!("{} {:?}", error.message, error.chain),
        ),
        Err(JobError::Fatal(error)) => {
            (Failed::Fatal, error.class, format!("{} {:?}", error.message, error.chain))
        }
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[tokio::test]
async fn a_request_is_sent_as_written_and_its_answer_kept() {
    let server =
        server(answer("201 Created", &["content-type: text/plain", "x-secret: no", "etag: \"1\""], "thanks"))
            .await;
    let url = format!("http://{}/a?b=c", server.address);
    let payload = json!({"url": url, "method": "put", "headers": {"X-From": "nightly"}, "json": {"n": 1}});
    let given = output(deliver(&payload).await);
    assert_eq!(
        given,
        json!({"status": 201, "headers": {"content-length": "6", "content-type": "text/plain", "etag": "\"1\""}, "bytes": 6, "body": "thanks"})
    );
    let asked = server.asked.lock().unwrap()[0].clone();
    assert!(asked.starts_with("PUT /a?b=c HTTP/1.1\r\n") && asked.ends_with("\r\n\r\n{\"n\":1}"), "{asked}");
    for line in ["x-from: nightly", "content-type: application/json", "content-length: 7"] {
        assert!(asked.contains(&format!("\r\n{line}\r\n")), "{line} in {asked}");
    }
    deliver(&json!({"url": url, "body": "plain"})).await.unwrap();
    deliver(&json!({"url": url})).await.unwrap();
    let asked = server.asked.lock().unwrap().clone();
    assert!(asked[1].starts_with("POST ") && asked[2].starts_with("GET "), "{asked:?}");
}

#[tokio::test]
async fn json_is_passed_on_as_it_was_sent_and_text_is_cleaned() {
    let body = r#"{"big":12345678901234567890123,"z":1,"a":2}"#;
    let text = meaning(answer("200 OK", &["content-type: application/json; charset=utf-8"], body))
        .await
        .unwrap()
        .unwrap();
    assert!(text.as_str().contains(&format!("\"body\":{body}")), "{}", text.as_str());
    let nasty = "\u{1b}[31mred\u{1b}[0m\u{0}<b>";
    assert_eq!(output(meaning(answer("200 OK", &[], nasty)).await)["body"], "red<b>");
    let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
    let given = output(meaning(answer("200 OK", &["content-type: application/json"], &deep)).await);
    assert_eq!(given["body"], Value::from(deep), "too deep to be JSON inside the output: kept as text");
    let given = output(meaning(answer("200 OK", &["content-type: application/json"], "{broken")).await);
    assert_eq!(given["body"], "{broken");
    let mut binary = answer("200 OK", &[], "1234").into_bytes();
    let n = binary.len();
    binary[n - 4..].copy_from_slice(&[0xff, 0xfe, 0, 1]);
    let server = server(binary).await;
    let given = output(deliver(&json!({"url": format!("http://{}/", server.address)})).await);
    assert_eq!((given.get("body"), &given["bytes"]), (None, &json!(4)));
}

#[tokio::test]
async fn a_long_body_is_cut_with_a_mark() {
    let given = output(meaning(answer("200 OK", &[], &"\"".repeat(300_000))).await);
    assert_eq!((&given["cut"], given["body"].as_str().unwrap().len()), (&json!(true), 262_144));
}

#[tokio::test]
async fn statuses_have_their_meaning() {
    for (status, expected) in [
        ("400 Bad Request", Failed::Fatal),
        ("401 Unauthorized", Failed::Fatal),
        ("404 Not Found", Failed::Fatal),
        ("408 Request Timeout", Failed::Retry(None)),
        ("409 Conflict", Failed::Retry(None)),
        ("410 Gone", Failed::Fatal),
        ("422 Unprocessable", Failed::Fatal),
        ("425 Too Early", Failed::Retry(None)),
        ("429 Too Many", Failed::Retry(None)),
        ("500 Internal Server Error", Failed::Retry(None)),
        ("503 Service Unavailable", Failed::Retry(None)),
        ("302 Found", Failed::Retry(None)),
    ] {
        let (kind, class, text) = failed(meaning(answer(status, &[], "it says why")).await);
        assert_eq!((kind, class.as_str()), (expected, "http_status"), "{status}");
        assert!(
            text.contains(&status[..3]) && text.contains("it says why") && text.contains("/hook"),
            "{text}"
        );
        assert!(!text.contains("s3cret"), "the query may hold a secret: {text}");
    }
    assert!(meaning(answer("202 Accepted", &[], "")).await.is_ok());
    assert!(meaning(answer("204 No Content", &[], "")).await.is_ok());
    let (.., text) = failed(meaning(answer("301 Moved", &["location: https://new.test/x"], "")).await);
    assert!(text.contains("https://new.test/x") && text.contains("not followed"), "{text}");
}

#[tokio::test]
async fn retry_after_is_kept_up_to_a_day() {
    for (status, value, expected) in [
        ("429 Too Many", "30", Some(30)),
        ("503 Unavailable", "120", Some(120)),
        ("503 Unavailable", "Sun, 22 Nov 2026 10:05:00 GMT", Some(300)),
        ("503 Unavailable", "Sun, 22 Nov 2026 09:00:00 GMT", Some(0)),
        ("429 Too Many", "99999999", Some(86_400)),
        ("429 Too Many", "soon", None),
        ("500 Error", "30", None),
    ] {
        let header = format!("retry-after: {value}");
        let (kind, ..) = failed(meaning(answer(status, &[&header], "")).await);
        assert_eq!(kind, Failed::Retry(expected), "{status} {value}");
    }
}

#[tokio::test]
async fn expectations_replace_the_rule() {
    let server = server(answer("404 Not Found", &[], "")).await;
    let with = |expect: Value| json!({"url": format!("http://{}/", server.address), "expect": expect});
    for expect in [json!(404), json!("404"), json!("4xx"), json!("400-404"), json!(["2xx", 404])] {
        assert_eq!(output(deliver(&with(expect.clone())).await)["status"], 404, "{expect}");
    }
    assert_eq!(failed(deliver(&with(json!("2xx"))).await).0, Failed::Fatal);
    let server = self::server(answer("200 OK", &[], "")).await;
    let payload = json!({"url": format!("http://{}/", server.address), "expect": 204});
    assert_eq!(failed(deliver(&payload).await).0, Failed::Retry(None));
}

fn steered(status: &str, object: Value) -> String {
    answer(status, &["content-type: application/json"], &json!({"mainspring": object, "more": 1}).to_string())
}

#[tokio::test]
async fn the_answer_may_steer() {
    let ok = "200 OK";
    let done = meaning(steered(ok, json!({"outcome": "done", "output": {"n": 2}}))).await;
    assert_eq!(output(done), json!({"n": 2}));
    let done = meaning(steered(ok, json!({"outcome": "done"}))).await;
    assert_eq!(output(done)["body"]["more"], 1);
    let retry = json!({"outcome": "retry", "after": "30s", "reason": "still importing"});
    let (kind, class, text) = failed(meaning(steered(ok, retry)).await);
    assert!(
        (kind, class.as_str()) == (Failed::Retry(Some(30)), "answer") && text.contains("still importing"),
        "{text}"
    );
    let (kind, ..) = failed(meaning(steered(ok, json!({"outcome": "retry", "after": "30d"}))).await);
    assert_eq!(kind, Failed::Retry(Some(86_400)));
    let (kind, _, text) =
        failed(meaning(steered(ok, json!({"outcome": "fatal", "reason": "no such user"}))).await);
    assert!(kind == Failed::Fatal && text.contains("no such user"), "{text}");
    match meaning(steered(ok, json!({"outcome": "partial", "done": 8, "failed": 2}))).await {
        Err(JobError::Partial { output: Some(output), failures: 2 }) => {
            assert_eq!(output.value(), json!({"done": 8, "failed": 2}));
        }
        other => panic!("{other:?}"),
    }
    let snooze = meaning(steered(ok, json!({"outcome": "snooze", "after": "10m"}))).await;
    assert_eq!(snooze, Err(JobError::Snooze("2026-11-22T10:10:00Z".parse().unwrap())));
    let skip = meaning(steered(ok, json!({"outcome": "skip", "reason": "nothing new"}))).await;
    assert_eq!(skip, Err(JobError::Skip("nothing new".into())));
}

#[tokio::test]
async fn steering_has_its_limits() {
    let done = json!({"outcome": "done"});
    let (kind, ..) = failed(meaning(steered("500 Error", done.clone())).await);
    assert_eq!(kind, Failed::Retry(None), "a server in trouble cannot say that it is done");
    let (kind, ..) = failed(meaning(steered("500 Error", json!({"outcome": "fatal"}))).await);
    assert_eq!(kind, Failed::Fatal);
    let text = json!({"mainspring": {"outcome": "fatal"}}).to_string();
    assert!(
        meaning(answer("200 OK", &["content-type: text/plain"], &text)).await.is_ok(),
        "not JSON by its type"
    );
    for object in [
        json!({"outcome": "dnoe"}),
        json!({"outcome": "done", "aftre": "5s"}),
        json!("done"),
        json!(["done"]),
    ] {
        let (_, class, text) = failed(meaning(steered("200 OK", object.clone())).await);
        assert!(class == "bad_answer" && text.contains("mainspring"), "{object}: {text}");
    }
}

fn header(request: &str, name: &str) -> String {
    let found = request.lines().find_map(|l| l.strip_prefix(&format!("{name}: ")));
    found.unwrap_or_else(|| panic!("no {name} in {request}")).to_owned()
}

#[tokio::test]
async fn signatures_have_a_stable_id_a_fresh_time_and_one_part_per_secret() {
    use base64::Engine as _;
    use hmac::Mac as _;
    let server = server(answer("200 OK", &[], "")).await;
    let secrets = Secrets::none().with("new", Secret::new(SECRET)).with("old", Secret::new(OLD));
    let handler = handler(secrets);
    let payload = json!({"url": format!("http://{}/", server.address), "json": {"a": 1}, "sign": {"secret": ["new", "old"]}});
    for seconds_later in [0, 60] {
        let attempt = Try { seconds_later, ..Try::default() };
        handler.deliver(&Json::of(&payload).unwrap(), &attempt).await.unwrap();
    }
    let asked = server.asked.lock().unwrap().clone();
    for (request, timestamp) in asked.iter().zip(["1795341600", "1795341660"]) {
        assert_eq!(
            (header(request, "webhook-id").as_str(), header(request, "webhook-timestamp").as_str()),
            ("msg_7", timestamp)
        );
        // Checked as a receiver does it: from the raw request, with its own copy of the secrets.
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        let expected: Vec<String> = [SECRET, OLD]
            .iter()
            .map(|secret| {
                let key = base64::engine::general_purpose::STANDARD.decode(&secret[6..]).unwrap();
                let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
                mac.update(format!("msg_7.{timestamp}.{body}").as_bytes());
                format!(
                    "v1,{}",
                    base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes())
                )
            })
            .collect();
        assert_eq!(header(request, "webhook-signature"), expected.join(" "));
    }
}

#[tokio::test]
async fn a_missing_secret_fails_before_anything_is_sent() {
    let server = server(answer("200 OK", &[], "")).await;
    let payload = json!({"url": format!("http://{}/", server.address), "sign": {"secret": "billing"}});
    let (kind, class, text) = failed(deliver(&payload).await);
    assert!(
        kind == Failed::Fatal && class == "secret" && text.contains("MAINSPRING_SECRET_BILLING"),
        "{text}"
    );
    assert!(server.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_ways_not_to_get_an_answer_have_their_classes() {
    let client = Client::new(Settings::default()).unwrap();
    let closed = Http::new(client, Secrets::none());
    let payload = Json::of(&json!({"url": "http://169.254.169.254/latest/meta-data"})).unwrap();
    let (kind, class, text) = failed(closed.deliver(&payload, &Try::default()).await);
    assert!(kind == Failed::Fatal && class == "refused", "{text}");
    assert!(
        text.starts_with("MS0032") && text.contains("link-local") && text.contains("outbound.allow"),
        "{text}"
    );

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let slow = deliver(&json!({"url": format!("http://{address}/"), "timeout": "200ms"})).await;
    let Err(JobError::TimedOut(error)) = slow else { panic!("{slow:?}") };
    assert!(error.class == "timeout" && error.message.contains("0.2 s"), "{error:?}");
    drop(listener);
    let (kind, class, _) = failed(deliver(&json!({"url": format!("http://{address}/")})).await);
    assert_eq!((kind, class.as_str()), (Failed::Retry(None), "connect"));
    let (kind, class, _) = failed(meaning("nonsense\r\n\r\n".into()).await);
    assert_eq!((kind, class.as_str()), (Failed::Retry(None), "protocol"));
    let (kind, class, _) = failed(deliver(&json!({"url": "ftp://example.com/"})).await);
    assert_eq!((kind, class.as_str()), (Failed::Fatal, "bad_payload"));
}

#[test]
fn a_bad_payload_is_refused_at_the_door_with_its_field() {
    let handler = handler(Secrets::none());
    for (payload, field, why) in [
        (json!({}), "payload", "missing field `url`"),
        (json!({"ulr": "http://x.test/"}), "payload", "unknown field `ulr`"),
        (json!(["http://x.test/"]), "payload", "not a JSON object"),
        (json!({"url": "x.test"}), "url", "https://example.com/path"),
        (json!({"url": "http://user:pw@x.test/"}), "url", "user name"),
        (json!({"url": "http://x.test/", "method": "BREW"}), "method", "none of: GET"),
        (json!({"url": "http://x.test/", "method": "CONNECT"}), "method", "none of: GET"),
        (json!({"url": "http://x.test/", "body": "a", "json": 1}), "body", "not both"),
        (json!({"url": "http://x.test/", "headers": {"a b": "c"}}), "headers", "not the name"),
        (json!({"url": "http://x.test/", "headers": {"a": "b\r\nc: d"}}), "headers", "line break"),
        (json!({"url": "http://x.test/", "headers": {"Host": "y.test"}}), "headers", "set by the client"),
        (
            json!({"url": "http://x.test/", "headers": {"Webhook-Id": "1"}, "sign": {"secret": "a"}}),
            "headers",
            "signature",
        ),
        (json!({"url": "http://x.test/", "expect": 99}), "payload", "a status (204)"),
        (json!({"url": "http://x.test/", "expect": "200-100"}), "payload", "a status (204)"),
        (json!({"url": "http://x.test/", "expect": "ok"}), "payload", "a status (204)"),
        (json!({"url": "http://x.test/", "timeout": "5"}), "payload", "unit is missing"),
        (json!({"url": "http://x.test/", "timeout": "0s"}), "timeout", "longer than zero"),
        (json!({"url": "http://x.test/", "sign": {"secret": SECRET}}), "sign", "not the secret itself"),
        (
            json!({"url": "http://x.test/", "sign": {"secret": ["a", "b", "c"]}}),
            "payload",
            "two while rotating",
        ),
        (json!({"url": "http://x.test/", "sign": {"secret": "a b"}}), "sign", "not the name of a secret"),
    ] {
        let (f, text) = handler.check(&Json::of(&payload).unwrap()).expect_err(&payload.to_string());
        assert!(f == field && text.contains(why), "{payload}: {f}: {text}");
        assert!(!text.contains(SECRET), "{text}");
    }
    assert_eq!(handler.check(&Json::of(&json!({"url": "http://x.test/"})).unwrap()), Ok(()));
}

#[tokio::test]
async fn a_preview_tells_request_and_verdict_without_sending() {
    let server = server(answer("200 OK", &[], "")).await;
    let secrets = Secrets::none().with("billing", Secret::new(SECRET));
    let payload =
        json!({"url": format!("http://{}/a", server.address), "json": {}, "sign": {"secret": "billing"}});
    let shown = handler(secrets).describe(&Json::of(&payload).unwrap()).await.unwrap();
    assert_eq!(
        (&shown["method"], &shown["timeout"]),
        (&json!("POST"), &json!(duration::format(Duration::from_secs(30))))
    );
    assert_eq!(shown["addresses"], json!([{"address": "127.0.0.1", "refused": null}]));
    assert_eq!(shown["signed_with"], json!([{"secret": "billing", "problem": null}]));
    assert!(!shown.to_string().contains("MfKQ") && server.asked.lock().unwrap().is_empty());
    let closed = Http::new(Client::new(Settings::default()).unwrap(), Secrets::none());
    let shown = closed.describe(&Json::of(&payload).unwrap()).await.unwrap();
    assert!(shown["addresses"][0]["refused"].as_str().unwrap().contains("outbound.allow"), "{shown}");
    assert!(
        shown["signed_with"][0]["problem"].as_str().unwrap().contains("MAINSPRING_SECRET_BILLING"),
        "{shown}"
    );
}
