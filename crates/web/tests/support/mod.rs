//! A real server on a loopback port over a real store of its own (SQLite in a folder, or a database of a
//! throw-away PostgreSQL server: see [`On`]), a node where
//! jobs must run, a small HTTP client, and people and keys to ask with.
#![allow(dead_code, reason = "each test program uses its part")]

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::{Client as Http, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use mainspring::alerts::{self, Looker, RuleSpec};
use mainspring::clock::SystemClock;
use mainspring::kinds::bulk;
use mainspring::remote::{Desk, Hello, PROTOCOL};
use mainspring::secrets::{Keyring, Keys};
use mainspring::{Client, JobError, Json, KindSpec, Node, Registry, RetryPolicy};
use mainspring_core::alert::{Condition, Over, Rule, Target};
use mainspring_core::job::JobState;
use mainspring_core::store::Store;
use mainspring_core::tables::Statement;
use mainspring_core::{JobId, ProjectId, time};
use mainspring_store_postgres::PostgresStore;
use mainspring_store_sqlite::{Options, SqliteStore};
use mainspring_testkit::pg;
use mainspring_web::access::{Right, Role, Secret, hash};
use mainspring_web::accounts::{self, NewKey};
use mainspring_web::{Config, Web, bind, serve};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The first account.
pub const EMAIL: &str = "ada@example.com";
pub const PASSWORD: &str = "a long enough password";

pub struct World {
    pub at: SocketAddr,
    pub web: Web,
    /// Of the project `default`, signing as `test`.
    pub client: Client,
    /// The server's clock, which tests may set.
    pub clock: Arc<SystemClock>,
    pub store: Arc<dyn Store>,
    pub dir: TempDir,
    /// The database, on PostgreSQL.
    pub database: Option<pg::Database>,
    http: Http<HttpConnector, Full<Bytes>>,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<std::io::Result<()>>>,
    node: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// Its body, which is JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.text))
    }

    /// The same, and the status must be this.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// A refusal with this status and code.
    pub fn refused(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()), "{problem}");
        problem
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }
}

/// `echo` gives back its payload and logs it, `fail` fails for good, `tell` says a secret in its error, `hang` waits for its end.
pub fn registry() -> Registry {
    let once = || KindSpec::default().retry(RetryPolicy::never());
    Registry::new()
        .handler(bulk::KIND, KindSpec::default().queue(bulk::QUEUE), bulk::BulkActions)
        .function("echo", once(), |cx| async move {
            cx.info("first line");
            cx.info(format!("payload {}", cx.payload().as_str()));
            Ok(Some(cx.payload().clone()))
        })
        .function("fail", once(), |_| async move { Err::<Option<Json>, _>(JobError::fatal("it broke")) })
        .function("tell", once(), |cx| async move {
            let payload = cx.payload().value();
            cx.warn(format!("about to use {payload}"));
            let token = payload["authorization"]
                .as_str()
                .unwrap_or_default()
                .trim_start_matches("Bearer ")
                .to_owned();
            Err::<Option<Json>, _>(JobError::fatal(format!("the token is {token}")))
        })
        .function("hang", once(), |_| std::future::pending())
}

/// Which store a world stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Sqlite,
    Postgres,
}

/// Makes of each test one on SQLite and one on PostgreSQL: `on_both!(name, other_name)` for functions
/// that take [`On`].
#[macro_export]
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::support::On::Sqlite).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::support::On::Postgres).await;
            })+
        }
    };
}

impl World {
    /// A server without a node: nothing runs by itself.
    pub async fn still() -> World {
        World::with(|config| config, false).await
    }

    /// The same on this store.
    pub async fn still_on(on: On) -> World {
        World::with_on(on, |config| config, false).await
    }

    /// A server beside a node that runs [`registry`].
    pub async fn running() -> World {
        World::with(|config| config, true).await
    }

    /// The same on this store.
    pub async fn running_on(on: On) -> World {
        World::with_on(on, |config| config, true).await
    }

    pub async fn with(change: impl FnOnce(Config) -> Config, node: bool) -> World {
        World::with_on(On::Sqlite, change, node).await
    }

    pub async fn with_on(on: On, change: impl FnOnce(Config) -> Config, node: bool) -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let (store, database) = open_store(on, dir.path()).await;
        let clock = Arc::new(SystemClock::new());
        let keys = Keys::given(Keyring::random().expect("a key"));
        let registry = Arc::new(registry().keys(keys));
        let client = Client::new(store.clone())
            .with_registry(registry.clone())
            .with_clock(clock.clone())
            .acting_as("test");
        let bound = bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
        let at = bound.address;
        let node = node.then(|| build_node(store.clone(), registry.clone()));
        let desk = node.as_ref().map(|node| Desk::beside(node.engine(), client.clone()));
        let config = change(Config { listen: at, desk, ..Config::default() });
        let web = Web::open(client.clone(), config).await.expect("tables");
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = async move {
            let _ = stopped.await;
        };
        let served = tokio::spawn(serve(web.clone(), bound, ended));
        let http = Http::builder(TokioExecutor::new()).build_http();
        let node = node.map(start_node);
        World {
            at,
            web,
            client,
            clock,
            store,
            dir,
            database,
            http,
            stop: Some(stop),
            served: Some(served),
            node,
        }
    }

    /// Sends a request and waits for its head.
    pub async fn open(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let sent = tokio::time::timeout(Duration::from_secs(30), self.http.request(request));
        sent.await.expect("an answer in time").expect("an answer")
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let (parts, body) = self.open(request).await.into_parts();
        let body = tokio::time::timeout(Duration::from_secs(30), body.collect());
        let bytes = body.await.expect("the body ends").expect("a body").to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// A request with a key (`msk_…`) or a session's cookie (anything else), and a body of JSON.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        auth: &str,
        body: Option<&Value>,
    ) -> Request<Full<Bytes>> {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.at));
        if auth.starts_with("msk_") {
            request = request.header(header::AUTHORIZATION, format!("Bearer {auth}"));
        } else if !auth.is_empty() {
            request = request.header(header::COOKIE, format!("mainspring_session={auth}"));
        }
        let bytes = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        request.body(Full::new(bytes)).expect("a request")
    }

    pub async fn get(&self, path: &str, auth: &str) -> Answer {
        self.send(self.request("GET", path, auth, None)).await
    }

    pub async fn post(&self, path: &str, auth: &str, body: Value) -> Answer {
        self.send(self.request("POST", path, auth, Some(&body))).await
    }

    pub async fn call(&self, method: &str, path: &str, auth: &str, body: Option<&Value>) -> Answer {
        self.send(self.request(method, path, auth, body)).await
    }

    /// A form as a browser sends it.
    pub async fn form(&self, path: &str, cookie: &str, fields: &str) -> Answer {
        let mut request = self.request("POST", path, cookie, None);
        let kind = "application/x-www-form-urlencoded".parse().expect("a value");
        request.headers_mut().insert(header::CONTENT_TYPE, kind);
        *request.body_mut() = Full::new(Bytes::from(fields.to_owned()));
        self.send(request).await
    }

    /// A key of a project (which is made if it is not there) with these rights.
    pub async fn key(&self, project: &str, rights: &[Right]) -> String {
        self.key_until(project, rights, None).await.1
    }

    pub async fn key_until(&self, project: &str, rights: &[Right], minutes: Option<u64>) -> (i64, String) {
        let project = self.project(project).await;
        let name = format!("key {}", Secret::random().expect("chance").reveal());
        let expires_at = minutes.map(|m| time::plus(self.web.now(), Duration::from_secs(60 * m)));
        let new = NewKey { name, rights: rights.iter().copied().collect(), queues: vec![], expires_at };
        accounts::make_key(&self.web, project, "test", &new).await.expect("a key")
    }

    /// A worker of a project that knows the kind `outside`.
    pub async fn worker(&self, project: &str) -> String {
        let project = self.project(project).await;
        let hello = Hello {
            protocol: PROTOCOL,
            name: "a worker".into(),
            kinds: vec!["outside".into()],
            slots: 4,
            ..Hello::default()
        };
        self.web.desk().register(project, &hello).await.expect("registered").worker
    }

    /// The project of this name, made if it is not there.
    pub async fn project(&self, name: &str) -> ProjectId {
        self.client.clone().in_project_named(name).await.expect("a project").project()
    }

    /// The first account's session.
    pub async fn admin(&self) -> String {
        let link = accounts::setup_link(&self.web).await.expect("asked").expect("no account yet");
        let made =
            accounts::complete_setup(&self.web, link.reveal(), EMAIL, "Ada", PASSWORD, ("127.0.0.1", "test"))
                .await;
        made.expect("an account").reveal().to_owned()
    }

    /// A member of a project: their number and their session. Their password is nothing's hash.
    pub async fn member(&self, project: &str, email: &str, role: Role, payloads: bool) -> (i64, String) {
        let (project, now) = (self.project(project).await, self.web.now());
        let person = Statement::new(
            "INSERT INTO web_users (email, name, password, admin, created_at) VALUES (?1, ?1, 'none', 0, ?2)
             ON CONFLICT (email) DO UPDATE SET name = excluded.name RETURNING id",
        );
        let mut written =
            self.web.tables().write(person.bind(email).bind(now).into()).await.expect("written");
        let id: i64 = written.rows.swap_remove(0).one().expect("a number");
        accounts::set_member(&self.web, project, id, role, payloads).await.expect("a member");
        let token = Secret::random().expect("chance").reveal().to_owned();
        let session = Statement::new(
            "INSERT INTO web_sessions (token, member, created_at, seen_at, ends_at, agent)
             VALUES (?1, ?2, ?3, ?3, ?4, 'test')",
        );
        let end = time::plus(now, accounts::SESSION_LONGEST);
        let session = session.bind(hash(&token)).bind(id).bind(now).bind(end);
        self.web.tables().write(session.into()).await.expect("written");
        (id, token)
    }

    /// A rule of a project, and an alert that fires there, of a rule that is gone.
    pub async fn alert(&self, project: &str, mark: &str) -> (i64, String) {
        let client = self.client.clone().in_project(self.project(project).await);
        let of = Target::each(Over::Kinds);
        let spec = RuleSpec::new(Rule::new(Condition::Failures { of, in_a_row: 3 }));
        let rule = alerts::make_rule(&client, &format!("Three failures{mark}"), &spec).await.expect("a rule");
        let uid = format!("alt_{project}{mark}");
        let insert = Statement::new(
            "INSERT INTO alerts_alerts (uid, project, rule, rule_name, subject, severity, title, breached, fired_at)
             VALUES (?1, ?2, ?4, 'gone', ?5, 'warning', 'Kind mail failed', '[[\"mail\",3.0]]', ?3)",
        );
        let insert = insert
            .bind(&uid)
            .bind(client.project())
            .bind(self.web.now())
            .bind(-client.project().0)
            .bind(format!("mail{mark}"));
        self.web.tables().write(insert.into()).await.expect("written");
        (rule, uid)
    }

    /// Lets alert rules look, as if so many minutes had passed.
    pub async fn watch(&self, minutes: u64) {
        let looker = Looker::new(&self.client).expect("tables");
        let now = time::plus(self.web.now(), Duration::from_secs(60 * minutes));
        while looker.look(now).await.expect("a look") {}
    }

    /// What a recount of the store finds wrong.
    pub async fn store_differences(&self) -> Vec<String> {
        self.client.store().audit().await.expect("recounted")
    }

    /// Enqueues a job of the default project.
    pub async fn enqueue(&self, kind: &str, payload: Value) -> i64 {
        let job = self.client.new_job_of(kind, Json::trusted(payload.to_string()));
        self.client.enqueue_raw(job).await.expect("enqueued").id.0
    }

    /// Waits until a job of the default project stands there.
    pub async fn until(&self, job: i64, state: JobState) {
        for _ in 0..1500 {
            if self.client.job(JobId(job)).await.expect("the job is there").job.state == state {
                return;
            }
            nap(10).await;
        }
        panic!("job {job} never became {state}");
    }

    /// The messages of a job's log.
    pub async fn store_logs(&self, job: i64) -> Vec<String> {
        let store = self.client.store();
        let lines = store.logs(self.client.project(), JobId(job), None, 1000).await.expect("a log");
        lines.into_iter().map(|line| line.message).collect()
    }

    /// A clock for lengths of time.
    pub fn clock_steady(&self) -> Duration {
        time::since(time::from_micros(0), mainspring::clock::Clock::now(&*self.clock))
    }

    /// Ends the server: whether it ended in time.
    pub async fn shut_down(&mut self) -> bool {
        drop(self.stop.take());
        match self.served.take() {
            Some(served) => tokio::time::timeout(Duration::from_secs(10), served).await.is_ok(),
            None => true,
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(served) = self.served.take() {
            served.abort();
        }
        // The node's own thread ends with its channel.
        drop(self.node.take());
    }
}

async fn open_store(on: On, dir: &Path) -> (Arc<dyn Store>, Option<pg::Database>) {
    match on {
        On::Sqlite => {
            let store = SqliteStore::open(dir.join("mainspring.db"), Options::default()).expect("opens");
            (Arc::new(store), None)
        }
        On::Postgres => {
            let database = tokio::task::spawn_blocking(pg::fresh_database).await.expect("a database");
            let options = mainspring_store_postgres::Options::default();
            let store = PostgresStore::connect(&database.url(), options).await.expect("opens");
            (Arc::new(store), Some(database))
        }
    }
}

fn build_node(store: Arc<dyn Store>, registry: Arc<Registry>) -> Node {
    let node =
        Node::builder(store, registry).slots(4).cancel_grace(Duration::from_millis(200)).name("test node");
    node.build().expect("a node")
}

fn start_node(node: Node) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let run = async move {
        let ended = node.run(async {
            let _ = stopped.await;
        });
        ended.await.expect("the node ends well");
    };
    (stop, tokio::spawn(run))
}

#[allow(clippy::disallowed_methods, reason = "a test that waits for a real server")]
pub async fn nap(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Text as a part of an address or of a form.
pub fn encoded(text: &str) -> String {
    mainspring_web::frame::segment(text)
}
