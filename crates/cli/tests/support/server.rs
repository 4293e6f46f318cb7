//! The real program with its server on a port of this machine, a key for it, and calls by hand.
#![allow(dead_code, reason = "each test program uses its part")]

use crate::support::{Place, Running, now, wait};
use mainspring::Client;
use mainspring_core::ProjectId;
use mainspring_core::store::Store;
use mainspring_store_sqlite::{Options, SqliteStore};
use mainspring_web::access::Right;
use mainspring_web::accounts::{self, NewKey};
use mainspring_web::{Config, Web};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// A server of a place.
pub struct Server {
    pub place: Place,
    pub at: SocketAddr,
    /// A key with every right.
    pub key: String,
    up: Option<Running>,
}

/// A port that was free a moment ago.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address")
}

/// Makes a key in the store, as somebody who manages the project would.
fn make_key(place: &Place) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = SqliteStore::open(place.path().join("mainspring.db"), Options::default());
        let store = Arc::new(store.expect("opens"));
        let shared: Arc<dyn Store> = store.clone();
        let web = Web::open(Client::new(shared), Config::default()).await.expect("tables");
        let new = NewKey { name: "test".into(), rights: Right::ALL.into(), queues: vec![], expires_at: None };
        let (_, key) = accounts::make_key(&web, ProjectId::DEFAULT, "test", &new).await.expect("a key");
        drop(web);
        store.close().await;
        key
    })
}

impl Server {
    /// A server whose leases are two seconds long, with more of a configuration file.
    pub fn start(config: &str) -> Server {
        let mut place = Place::new();
        place.env.push(("MAINSPRING_LEASE".into(), "2s".into()));
        let at = free();
        let public = format!("public_url = \"http://{at}\"\nlisten = \"{at}\"\n");
        place.write("mainspring.toml", &format!("{public}{config}"));
        let key = make_key(&place);
        let mut server = Server { place, at, key, up: None };
        server.up();
        server
    }

    /// Starts the program and waits until it answers.
    pub fn up(&mut self) {
        self.up = Some(self.place.start(&["up", "--no-tour"]));
        let at = self.at;
        self.place.until("the server", || {
            let (status, _) = try_call(at, "GET", "/health/ready", "", None)?;
            (status == 200).then_some(())
        });
    }

    /// Ends it without a word.
    pub fn kill(&mut self) {
        if let Some(mut up) = self.up.take() {
            up.kill();
        }
    }

    /// A call with a token; status and JSON.
    pub fn call(&self, method: &str, path: &str, token: &str, body: Option<&Value>) -> (u16, Value) {
        let (status, text) = try_call(self.at, method, path, token, body).expect("an answer");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// A job as the API shows it.
    pub fn job(&self, id: u64) -> Value {
        let (status, job) = self.call("GET", &format!("/api/v1/projects/default/jobs/{id}"), &self.key, None);
        assert_eq!(status, 200, "{job}");
        job
    }

    /// Enqueues a job.
    pub fn enqueue(&self, kind: &str, payload: Value, more: Value) -> u64 {
        let mut body = serde_json::json!({ "kind": kind, "payload": payload });
        body.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
        let (_, made) = self.call("POST", "/api/v1/projects/default/jobs", &self.key, Some(&body));
        made["id"].as_u64().unwrap_or_else(|| panic!("{made}"))
    }

    /// Waits until a job is as wanted.
    pub fn until(&self, what: &str, id: u64, wanted: impl Fn(&Value) -> bool) -> Value {
        let begin = now();
        loop {
            let job = self.job(id);
            if wanted(&job) {
                return job;
            }
            let log = self.place.log();
            assert!(begin.elapsed() < Duration::from_secs(90), "{what} did not come: {job:#}\n{log}");
            wait(Duration::from_millis(50));
        }
    }
}

/// One request on a connection of its own; None when nobody answers.
pub fn try_call(
    at: SocketAddr,
    method: &str,
    path: &str,
    token: &str,
    body: Option<&Value>,
) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let body = body.map(Value::to_string);
    let kind = if body.is_some() { "content-type: application/json\r\n" } else { "" };
    let body = body.unwrap_or_default();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {at}\r\nauthorization: Bearer {token}\r\n{kind}content-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = text.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}
