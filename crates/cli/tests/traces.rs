//! Traces of the real program at a real collector: what arrives is OTLP, hangs together, and holds no
//! secret; a collector that is away costs nothing.

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use support::Place;

/// One request: line, headers, body.
#[derive(Clone, Debug)]
struct Seen {
    line: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
}

fn read(stream: TcpStream) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let line = lines.remove(0);
    let headers: Vec<(String, String)> = lines
        .iter()
        .filter_map(|l| l.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(n, _)| n == "content-length").and_then(|(_, v)| v.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let seen = Seen { line, headers, body: String::from_utf8_lossy(&body).into_owned() };
    let mut stream = reader.into_inner();
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
    Some(seen)
}

/// A collector, which is also what `http` jobs call.
fn collector() -> (u16, Arc<Mutex<Vec<Seen>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (port, all) = (listener.local_addr().expect("bound").port(), Arc::new(Mutex::new(Vec::new())));
    let kept = all.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Some(seen) = read(stream) {
                kept.lock().expect("not poisoned").push(seen);
            }
        }
    });
    (port, all)
}

/// Asks the server; its status, headers and body.
fn ask(at: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(at).expect("the server listens");
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{more}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    (status, head.to_owned(), body.to_owned())
}

/// A span's attribute as text.
fn of<'a>(span: &'a Value, name: &str) -> &'a str {
    let found = span["attributes"].as_array().expect("attributes").iter().find(|a| a["key"] == name);
    let value = found.map_or(&Value::Null, |a| &a["value"]);
    value["stringValue"].as_str().or(value["intValue"].as_str()).unwrap_or("")
}

/// The session of the first account.
fn first_account(at: &str, setup: &str) -> String {
    let form = "email=ada%40example.com&name=Ada&password=a+long+enough+password";
    let typed = ("content-type", "application/x-www-form-urlencoded");
    let (status, head, _) = ask(at, "POST", &format!("/{setup}"), &[typed], form);
    assert_eq!(status, 303, "{head}");
    let cookie = head.lines().find_map(|l| l.strip_prefix("set-cookie: ")).expect("a session");
    cookie.split(';').next().expect("a value").to_owned()
}

/// The spans in what a collector saw, which is OTLP and nowhere holds `secret`.
fn spans(seen: &[Seen], secret: &str) -> Vec<Value> {
    let mut spans: Vec<Value> = Vec::new();
    for message in seen.iter().filter(|s| s.line.starts_with("POST /v1/traces ")) {
        assert_eq!(message.header("content-type"), "application/json");
        assert!(!message.body.contains(secret), "a link that opens the house");
        let body: Value = serde_json::from_str(&message.body).expect("JSON");
        let resource = &body["resourceSpans"][0];
        assert_eq!(of(&resource["resource"], "service.name"), "mainspring");
        spans.extend(resource["scopeSpans"][0]["spans"].as_array().expect("spans").iter().cloned());
    }
    spans
}

/// Where the first account is made: address and path, as the program told it.
fn link(place: &Place) -> String {
    place.until("the link", || {
        let log = place.log();
        let at = log.find("http://")? + "http://".len();
        let word = log[at..].split_whitespace().next()?;
        log[at..].contains('\n').then(|| word.to_owned())
    })
}

#[test]
fn requests_and_attempts_arrive_at_a_collector_and_hang_together() {
    let (port, seen) = collector();
    let mut place = Place::new();
    place.env = vec![
        ("MAINSPRING_TRACING_ENDPOINT".into(), format!("http://127.0.0.1:{port}")),
        ("MAINSPRING_OUTBOUND_ALLOW".into(), format!("127.0.0.1:{port}")),
    ];
    let mut up = place.start(&["up", "--no-tour", "--listen", "127.0.0.1:0"]);
    let link = link(&place);
    let (at, setup) = link.split_once('/').expect("a path");
    let cookie = first_account(at, setup);
    // A caller with a trace of its own enqueues a job that calls, and one that fails.
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let enqueue = |job: Value| -> u64 {
        let headers =
            [("cookie", cookie.as_str()), ("content-type", "application/json"), ("traceparent", parent)];
        let (status, _, body) = ask(at, "POST", "/api/v1/projects/default/jobs", &headers, &job.to_string());
        assert_eq!(status, 201, "{body}");
        let made: Value = serde_json::from_str(&body).expect("JSON");
        made["id"].as_u64().expect("a number")
    };
    let url = format!("http://127.0.0.1:{port}/target");
    let calls = enqueue(json!({ "kind": "http", "queue": "calls", "payload": { "url": url } }));
    let fails = enqueue(json!({ "kind": "tour.slow", "payload": {}, "timeout": "50ms" }));
    for id in [calls, fails] {
        place.until("its end", || {
            let state = place.json(&["job", "show", &id.to_string()])["job"]["state"].clone();
            ["completed", "failed"].contains(&state.as_str()?).then_some(())
        });
    }
    up.signal(rustix::process::Signal::TERM);
    assert_eq!(up.end(std::time::Duration::from_secs(60)), Some(0), "{}", place.log());
    let seen = seen.lock().expect("not poisoned").clone();
    let called = seen.iter().find(|s| s.line.contains("/target")).expect("the job called");
    let spans = spans(&seen, setup.rsplit('/').next().expect("a token"));
    let find = |what: &dyn Fn(&Value) -> bool| {
        spans.iter().find(|s| what(s)).cloned().unwrap_or_else(|| panic!("not among {spans:#?}"))
    };
    let id = |n: u64| n.to_string();
    let request = find(&|s| s["kind"] == 2 && s["links"][0].is_object());
    assert_eq!(request["name"], "POST /api/v1/projects/{project}/jobs");
    assert_eq!(
        (of(&request, "http.response.status_code"), of(&request, "http.request.method")),
        ("201", "POST")
    );
    assert_eq!(of(&request, "client.address"), "127.0.0.1");
    // It belongs to the caller's trace, and leads to the job's.
    assert_eq!(request["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(request["parentSpanId"], "00f067aa0ba902b7");
    let create = find(&|s| s["kind"] == 4 && of(s, "messaging.message.id") == id(calls));
    assert_eq!(request["links"][0]["traceId"], create["traceId"]);
    assert_eq!(request["links"][0]["spanId"], create["spanId"]);
    let process = find(&|s| s["kind"] == 5 && of(s, "messaging.message.id") == id(calls));
    assert_eq!((&process["traceId"], &process["parentSpanId"]), (&create["traceId"], &create["spanId"]));
    assert_eq!(
        (process["name"].as_str(), of(&process, "mainspring.job.kind")),
        (Some("process calls"), "http")
    );
    assert_eq!(of(&process, "messaging.destination.name"), "calls");
    let (from, until) = (&process["startTimeUnixNano"], &process["endTimeUnixNano"]);
    let nanos = |n: &Value| n.as_str().and_then(|n| n.parse::<u64>().ok()).expect("a number in a text");
    assert!(nanos(from) <= nanos(until) && nanos(until) > 1_700_000_000_000_000_000);
    // Whom the job called was told where it stands.
    let told = called.header("traceparent").to_owned();
    let expected =
        format!("00-{}-{}-01", process["traceId"].as_str().unwrap(), process["spanId"].as_str().unwrap());
    assert_eq!(told, expected);
    let failed = find(&|s| s["kind"] == 5 && of(s, "messaging.message.id") == id(fails));
    assert_eq!((&failed["status"]["code"], of(&failed, "error.type")), (&json!(2), "timeout"));
    assert_eq!(of(&failed, "mainspring.attempt.outcome"), "timed_out");
    // The set-up page was told by its route.
    find(&|s| s["name"] == "POST /setup/{token}");
}

#[test]
fn a_collector_that_is_away_costs_no_job_and_a_bad_address_is_refused() {
    let mut place = Place::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    place.env = vec![("MAINSPRING_TRACING_ENDPOINT".into(), format!("http://{closed}"))];
    place.ok(&["up", "--no-tour", "--exit-when-idle", "--listen", "off"]);
    place.ok(&["job", "enqueue", "tour.greet", "{\"name\":\"you\"}"]);
    let mut up = place.start(&["up", "--no-tour", "--exit-when-idle", "--listen", "off"]);
    assert_eq!(up.end(std::time::Duration::from_secs(60)), Some(0), "{}", place.log());
    assert!(place.ok(&["job", "list", "--state", "completed"]).contains("tour.greet"));
    assert!(place.log().contains("traces cannot be sent to"), "{}", place.log());
    place.env = vec![("MAINSPRING_TRACING_ENDPOINT".into(), "collector:4318".into())];
    assert!(place.refused(2, &["up"]).contains("tracing.endpoint"));
}
