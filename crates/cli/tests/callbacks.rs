//! HTTP jobs that are answered 202 and finish later, over the real program and a real receiver.

#[path = "support/server.rs"]
mod server;
mod support;

use serde_json::{Value, json};
use server::{Server, try_call};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

/// What a request invited to.
#[derive(Clone, Debug)]
struct Invitation {
    path: String,
    token: String,
}

/// Answers 202 to everything. `/quick` calls back before it answers.
struct Receiver {
    at: SocketAddr,
    seen: Arc<Mutex<Vec<Invitation>>>,
}

fn receiver() -> Receiver {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (at, seen) = (listener.local_addr().expect("an address"), Arc::new(Mutex::new(Vec::new())));
    let kept: Arc<Mutex<Vec<Invitation>>> = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut buffer = [0u8; 8192];
            let n = stream.read(&mut buffer).unwrap_or(0);
            let asked = String::from_utf8_lossy(&buffer[..n]).into_owned();
            let header = |name: &str| {
                let line = asked.lines().find(|l| l.to_ascii_lowercase().starts_with(&format!("{name}:")));
                line.and_then(|l| l.split_once(':')).map(|(_, v)| v.trim().to_owned()).unwrap_or_default()
            };
            let (url, token) = (header("mainspring-callback"), header("mainspring-callback-token"));
            let (server, path) = url.trim_start_matches("http://").split_once('/').unwrap_or_default();
            let path = format!("/{path}");
            if asked.starts_with("POST /quick") || asked.starts_with("GET /quick") {
                let server = server.parse().expect("an address");
                let said = json!({ "output": "quick" });
                let answer = try_call(server, "POST", &format!("{path}/finish"), &token, Some(&said));
                assert_eq!(answer.map(|a| a.0), Some(200));
            }
            kept.lock().expect("whole").push(Invitation { path, token });
            let _ = write!(stream, "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    Receiver { at, seen }
}

impl Receiver {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }

    fn invitation(&self, server: &Server, nth: usize) -> Invitation {
        server.place.until("the request", || self.seen.lock().expect("whole").get(nth).cloned())
    }
}

fn start() -> Server {
    Server::start("[outbound]\nallow = [\"127.0.0.1/32\"]\n")
}

const ONCE: fn() -> Value = || json!({ "max_attempts": 1 });

#[test]
fn a_request_answered_202_finishes_by_a_call_back_whatever_happens_to_the_node() {
    let (mut server, receiver) = (start(), receiver());
    let ask = json!({ "url": receiver.url("/x"), "json": { "n": 1 }, "callback": "1h" });
    let job = server.enqueue("http", ask, json!({}));
    let Invitation { path, token } = receiver.invitation(&server, 0);
    let held = |job: &Value| job["state"] == "running" && job["node"] == "1";
    server.until("the hand-over", job, held);
    let (_, nodes) = server.call("GET", "/api/v1/projects/default/nodes", &server.key, None);
    assert_eq!(nodes["items"].as_array().map(Vec::len), Some(1), "what waits is held by no process: {nodes}");
    let logged = || server.place.ok(&["job", "logs", &job.to_string()]);
    server.place.until("its first line", || logged().contains("202 Accepted").then_some(()));
    // The node dies, stays away for longer than a lease, and comes back.
    server.kill();
    support::wait(std::time::Duration::from_secs(4));
    server.up();
    support::wait(std::time::Duration::from_secs(1));
    let shown = server.job(job);
    assert!(held(&shown) && shown["attempt"] == 1, "{shown:#}");
    let post = |what: &str, token: &str, body: Value| {
        server.call("POST", &format!("{path}/{what}"), token, Some(&body))
    };
    // Somebody who guesses finds nothing; the token of one attempt is not that of another.
    assert_eq!(post("finish", &token.replace("1.", "2."), json!({})).0, 404);
    assert_eq!(post("finish", &server.key, json!({})).0, 404);
    assert_eq!(post("progress", &token, json!({ "done": 1, "total": 2 })), (200, json!({ "cancel": false })));
    assert_eq!(post("log", &token, json!({ "lines": [{ "seq": 0, "message": "half" }] })).0, 204);
    assert_eq!(server.job(job)["progress"]["done"], 1);
    let (status, settled) = post("finish", &token, json!({ "output": { "rows": 7 } }));
    assert_eq!((status, &settled["state"]), (200, &json!("completed")));
    let shown = server.job(job);
    assert_eq!((&shown["output"], &shown["attempt"]), (&json!({ "rows": 7 }), &json!(1)));
    let logs = server.place.ok(&["job", "logs", &job.to_string()]);
    assert!(logs.contains("202 Accepted") && logs.contains("half"), "{logs}");
    // Said twice, it is refused and changes nothing.
    let (status, problem) = post("fail", &token, json!({ "message": "no" }));
    assert_eq!((status, &problem["code"]), (409, &json!("MS0061")));
    assert_eq!(server.job(job)["state"], "completed");
    assert_eq!(receiver.seen.lock().expect("whole").len(), 1, "the request was sent once");
}

#[test]
fn a_call_back_may_be_quick_fail_be_cancelled_or_never_come() {
    let (server, receiver) = (start(), receiver());
    let ask = |path: &str, wait: &str| json!({ "url": receiver.url(path), "callback": wait });
    let quick = server.enqueue("http", ask("/quick", "1h"), ONCE());
    let done = server.until("its end", quick, |job| job["state"] == "completed");
    assert_eq!((&done["output"], &done["attempt"]), (&json!("quick"), &json!(1)));
    // Without a call-back 202 means done, as ever.
    let plain = server.enqueue("http", json!({ "url": receiver.url("/x") }), ONCE());
    let done = server.until("its end", plain, |job| job["state"] == "completed");
    assert_eq!(done["output"]["status"], 202);
    assert_eq!(receiver.invitation(&server, 1).token, "", "and nobody is invited");
    let failing = server.enqueue("http", ask("/x", "1h"), ONCE());
    let Invitation { path, token } = receiver.invitation(&server, 2);
    let never = server.enqueue("http", ask("/x", "2s"), ONCE());
    let unwanted = server.enqueue("http", ask("/x", "1h"), ONCE());
    let said = json!({ "message": "the file is broken", "class": "bad_file", "retry": false });
    assert_eq!(server.call("POST", &format!("{path}/fail"), &token, Some(&said)).0, 200);
    let failed = server.until("its end", failing, |job| job["state"] == "failed");
    assert_eq!(failed["error"]["class"], "bad_file");
    server.until("the hand-over", unwanted, |job| job["node"] == "1");
    server.place.ok(&["job", "cancel", &unwanted.to_string()]);
    server.until("its end", unwanted, |job| job["state"] == "cancelled");
    let late = server.until("its end", never, |job| job["state"] == "failed");
    assert_eq!(late["outcome"], "timed_out");
    assert_eq!(late["error"]["message"], "no call-back came within 2s");
    let bad = server.place.call(&["job", "enqueue", "http", r#"{"url":"http://x.example","callback":"0s"}"#]);
    assert!(bad.err.contains("callback") && bad.code != 0, "{bad:?}");
}
