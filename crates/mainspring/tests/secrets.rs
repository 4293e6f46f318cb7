//! Secrets of projects in a running engine: resolved when an attempt starts, kept out of what it
//! leaves behind, refused where they do not belong.

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::builder;
use hmac::{Hmac, Mac as _};
use mainspring::core::job::JobState;
use mainspring::core::store::Store;
use mainspring::kinds::http::Http;
use mainspring::kinds::http::sign::Secrets;
use mainspring::secrets::{Keyring, Keys, Secret, SecretError};
use mainspring::{Client, JobError, Json, KindSpec, Registry, RetryPolicy};
use mainspring_core::ProjectId;
use mainspring_core::reader::JobDetail;
use mainspring_outbound::{Guard, Settings};
use mainspring_store_sqlite::{Options, SqliteStore};
use serde_json::json;
use sha2::Sha256;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const VALUE: &str = "ghp_very/secret+value";

type Seen = Arc<Mutex<Vec<String>>>;

/// `tell` says its payload everywhere it can; `fail` in an error.
fn registry(seen: &Seen) -> Registry {
    let once = || KindSpec::default().retry(RetryPolicy::never());
    let seen = seen.clone();
    let tell = move |cx: mainspring::Context| {
        let seen = seen.clone();
        async move {
            let text = cx.payload().as_str().to_owned();
            seen.lock().unwrap().push(text.clone());
            cx.info(format!("got {text}"));
            drop(cx.log(mainspring::core::job::LogLevel::Warn, "fields").field("payload", &text));
            cx.progress(1, 2, format!("at {text}"));
            Ok(Some(cx.payload().clone()))
        }
    };
    Registry::new()
        .keys(Keys::given(Keyring::random().unwrap()))
        .handler("http", once(), http())
        .function("tell", once(), tell.clone())
        .function("tell_blocking", once().blocking(), tell)
        .function("fail", once(), |cx| async move {
            Err::<Option<Json>, _>(JobError::fatal(format!("cannot use {}", cx.payload().as_str())))
        })
}

/// The built-in kind, which may speak with this machine and has one secret of the node.
fn http() -> Http {
    let guard = Guard::new(&["127.0.0.0/8"]).unwrap();
    let client = mainspring_outbound::Client::new(Settings { guard, ..Settings::default() }).unwrap();
    Http::new(client, Secrets::none().with("node", Secret::new(key(3))))
}

/// The secret of this number, as receivers have it.
fn key(n: u8) -> String {
    format!("whsec_{}", STANDARD.encode([n; 32]))
}

struct Bench {
    dir: tempfile::TempDir,
    client: Client,
    seen: Seen,
    store: Arc<SqliteStore>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

async fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(dir.path().join("m.db"), Options::default()).unwrap());
    let seen = Seen::default();
    let node = builder(store.clone(), registry(&seen)).build().unwrap();
    let client = node.client();
    let (stop, stopped) = oneshot::channel::<()>();
    let run = async move {
        let asked = async {
            let _ = stopped.await;
        };
        node.run(asked).await.expect("the node ends well");
    };
    Bench { dir, client, seen, store, stop, ended: tokio::spawn(run) }
}

impl Bench {
    async fn ran(&self, client: &Client, kind: &str, payload: serde_json::Value) -> JobDetail {
        let job = client.new_job_of(kind, Json::of(&payload).unwrap());
        let id = client.enqueue_raw(job).await.unwrap().id;
        tokio::time::timeout(Duration::from_secs(60), client.wait(id)).await.unwrap().unwrap()
    }

    /// Ends the node.
    async fn stop(&mut self) {
        let (stop, _) = oneshot::channel();
        drop(std::mem::replace(&mut self.stop, stop));
        tokio::time::timeout(Duration::from_secs(60), &mut self.ended).await.expect("in time").expect("ends");
    }

    /// Whether the raw value is in any file of the store.
    fn on_disk(&self, value: &str) -> bool {
        let files =
            std::fs::read_dir(self.dir.path()).unwrap().map(|f| std::fs::read(f.unwrap().path()).unwrap());
        files.into_iter().any(|bytes| bytes.windows(value.len()).any(|w| w == value.as_bytes()))
    }
}

#[tokio::test]
async fn a_job_gets_the_value_it_names_and_leaves_it_nowhere() {
    let mut b = bench().await;
    let vault = b.client.vault();
    let value = Secret::new(VALUE);
    assert_eq!(vault.put(b.client.now(), b.client.project(), "token", &value, "ada").await.unwrap(), 1);
    let payload = json!({"a": {"$secret": "token", "before": "Bearer "}, "list": [{"$secret": "token"}]});
    for kind in ["tell", "tell_blocking"] {
        let done = b.ran(&b.client, kind, payload.clone()).await;
        assert_eq!(done.job.state, JobState::Completed, "{:?}", done.job.error);
        assert_eq!(done.job.payload.value(), payload, "the job keeps the name");
        let output = done.job.output.unwrap().value();
        assert_eq!(output, json!({"a": "Bearer [redacted]", "list": ["[redacted]"]}));
    }
    let seen = b.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|text| text.contains(&format!("Bearer {VALUE}"))), "{seen:?}");
    let failed = b.ran(&b.client, "fail", json!({"$secret": "token"})).await;
    assert_eq!(failed.job.error.unwrap().message, "cannot use \"[redacted]\"");
    let listed = vault.list(b.client.project()).await.unwrap();
    assert_eq!((listed.len(), listed[0].version, listed[0].set_by.as_str()), (1, 1, "ada"));
    assert!(listed[0].used_at.is_some(), "its use is written down");
    b.stop().await;
    b.store.close().await;
    assert!(b.on_disk("[redacted]"), "the outputs are there");
    assert!(!b.on_disk(VALUE) && !b.on_disk("very/secret"), "the value is nowhere");
}

/// Answers every request with 200 and keeps what was asked.
async fn receiver() -> (std::net::SocketAddr, Seen) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Seen::default());
    let kept = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut text = Vec::new();
            while !text.ends_with(b"the body") {
                let mut piece = [0; 4096];
                match socket.read(&mut piece).await {
                    Ok(n) if n > 0 => text.extend_from_slice(&piece[..n]),
                    _ => break,
                }
            }
            kept.lock().unwrap().push(String::from_utf8_lossy(&text).into_owned());
            let _ =
                socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        }
    });
    (address, asked)
}

/// The signatures of a request, checked as a receiver does it with its own copies of the secrets.
fn signed_with(request: &str, known: &[String]) -> Vec<usize> {
    let header = |name: &str| {
        let line = request.lines().find_map(|l| l.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {request}")).to_owned()
    };
    let text = format!("{}.{}.the body", header("webhook-id"), header("webhook-timestamp"));
    let made = |secret: &String| {
        let bytes = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&bytes).unwrap();
        mac.update(text.as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    };
    let known: Vec<String> = known.iter().map(made).collect();
    header("webhook-signature").split(' ').map(|s| known.iter().position(|k| k == s).expect("ours")).collect()
}

#[tokio::test]
async fn a_request_is_signed_with_the_projects_own_secret_and_with_two_while_one_takes_over() {
    let mut b = bench().await;
    let (address, asked) = receiver().await;
    let (vault, project, now) = (b.client.vault(), b.client.project(), b.client.now());
    let put = async |name: &str, value: String| {
        vault.put(now, project, name, &Secret::new(value), "ada").await.unwrap();
    };
    let keys = [key(1), key(2), key(3)];
    put("billing", keys[0].clone()).await;
    let own = json!({"$secret": "billing"});
    let payload = |secret: &serde_json::Value| json!({"url": format!("http://{address}/"), "body": "the body", "sign": {"secret": secret}});
    for (secret, expected) in [(own.clone(), vec![0]), (json!(["node", own]), vec![2, 0])] {
        let done = b.ran(&b.client, "http", payload(&secret)).await;
        assert_eq!(done.job.state, JobState::Completed, "{:?}", done.job.error);
        assert_eq!(done.job.payload.value(), payload(&secret), "the job keeps the name");
        assert_eq!(signed_with(asked.lock().unwrap().last().unwrap(), &keys), expected);
    }
    // While the receiver changes over, the value holds both; no job is changed.
    put("billing", format!("{} {}", keys[1], keys[0])).await;
    b.ran(&b.client, "http", payload(&own)).await;
    assert_eq!(signed_with(asked.lock().unwrap().last().unwrap(), &keys), [1, 0]);
    // A value that signs nothing is named and not shown, and not taken for the name of another.
    put("billing", "node".repeat(4)).await;
    let failed = b.ran(&b.client, "http", payload(&own)).await.job.error.unwrap();
    assert_eq!(failed.class, "secret");
    assert_eq!(failed.message, "the project's secret \"billing\" does not begin with whsec_");
    assert_eq!(asked.lock().unwrap().len(), 3, "nothing was sent");
    // Written out it is refused as ever.
    let job = b.client.new_job_of("http", Json::of(&payload(&json!(keys[0]))).unwrap());
    let refused = b.client.enqueue_raw(job).await.unwrap_err().to_string();
    assert!(refused.contains("not the secret itself") && !refused.contains(&keys[0][6..]), "{refused}");
    let shown = http().describe(&Json::of(&payload(&own)).unwrap()).await.unwrap();
    assert_eq!(shown["signed_with"], json!([{"secret": own, "problem": null}]));
    b.stop().await;
}

#[tokio::test]
async fn a_name_that_is_not_there_fails_the_job_for_good_and_says_what_to_type() {
    let mut b = bench().await;
    let failed = b.ran(&b.client, "tell", json!({"$secret": "nobody"})).await;
    assert_eq!((failed.job.state, failed.job.attempt), (JobState::Failed, 1));
    let error = failed.job.error.unwrap();
    assert_eq!(error.class, "secret");
    assert!(
        error.message.contains("MS0034") && error.message.contains("mainspring secret set nobody"),
        "{error:?}"
    );
    assert!(b.seen.lock().unwrap().is_empty(), "the handler was not called");
    let wrong = b.client.new_job_of("tell", Json::of(&json!({"a": {"$secret": 7}})).unwrap());
    let refused = b.client.enqueue_raw(wrong).await.unwrap_err().to_string();
    assert!(refused.contains("payload") && refused.contains("\"$secret\""), "{refused}");
    b.stop().await;
}

#[tokio::test]
async fn a_secret_belongs_to_its_project() {
    let mut b = bench().await;
    let vault = b.client.vault();
    let other = b.client.clone().in_project_named("other").await.unwrap();
    vault.put(b.client.now(), b.client.project(), "token", &Secret::new(VALUE), "ada").await.unwrap();
    assert!(vault.list(other.project()).await.unwrap().is_empty());
    let failed = b.ran(&other, "tell", json!({"$secret": "token"})).await;
    assert_eq!(failed.job.state, JobState::Failed);
    assert!(matches!(vault.delete(other.project(), "token").await, Err(SecretError::Unknown(_))));
    // What the other project says is not compared with this project's values: it could guess them.
    let done = b.ran(&b.client, "tell", json!({"$secret": "token"})).await;
    assert_eq!(done.job.output.unwrap().as_str(), "\"[redacted]\"");
    let done = b.ran(&other, "tell", json!(VALUE)).await;
    assert_eq!(done.job.output.unwrap().value(), json!(VALUE));
    // The engine's own are in no list and in nobody's payload.
    vault
        .put(b.client.now(), b.client.project(), "channel/7", &Secret::new("smtp password"), "x")
        .await
        .unwrap();
    assert_eq!(vault.list(b.client.project()).await.unwrap().len(), 1);
    assert_eq!(vault.get(b.client.project(), "channel/7").await.unwrap().expose(), "smtp password");
    let wrong = b.client.new_job_of("tell", Json::of(&json!({"$secret": "channel/7"})).unwrap());
    assert!(b.client.enqueue_raw(wrong).await.is_err());
    b.stop().await;
}

#[tokio::test]
async fn values_have_limits_and_versions_and_go() {
    let mut b = bench().await;
    let (vault, project, now) = (b.client.vault(), b.client.project(), b.client.now());
    let put = async |name: &str, value: &str| vault.put(now, project, name, &Secret::new(value), "ada").await;
    assert_eq!(put("a", "first value").await.unwrap(), 1);
    assert_eq!(put("a", "second value").await.unwrap(), 2);
    assert_eq!(vault.get(project, "a").await.unwrap().expose(), "second value");
    for (name, value) in [
        ("a", "tiny"),
        ("a", &"x".repeat(40_000)),
        ("a b", "long enough"),
        ("", "long enough"),
        ("a", "nul\0nulnul"),
    ] {
        let error = put(name, value).await.unwrap_err();
        assert!(
            matches!(error, SecretError::Invalid { .. }) && !error.to_string().contains(value),
            "{error}"
        );
    }
    vault.delete(project, "a").await.unwrap();
    assert!(matches!(vault.get(project, "a").await, Err(SecretError::Unknown(_))));
    b.stop().await;
}

#[tokio::test]
async fn turning_the_key_over_seals_everything_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(dir.path().join("m.db"), Options::default()).unwrap());
    let file = dir.path().join("m.key");
    let open = || {
        let keys = Keys::new(mainspring::secrets::Source::File(file.clone()));
        Client::new(store.clone()).with_registry(Arc::new(Registry::new().keys(keys))).vault()
    };
    let (vault, now) = (open(), mainspring_core::time::from_micros(5));
    assert_eq!(vault.begin().await.unwrap(), Some(file.clone()));
    for n in 0..120 {
        vault
            .put(now, ProjectId(1 + n % 2), &format!("s{n}"), &Secret::new(format!("the value {n}")), "x")
            .await
            .unwrap();
    }
    vault.keys().turn().await.unwrap();
    assert_eq!(vault.reseal().await.unwrap(), 120);
    assert_eq!(vault.reseal().await.unwrap(), 0);
    // The newest key alone opens all of it.
    let text = std::fs::read_to_string(&file).unwrap();
    let newest = text.lines().find(|line| !line.starts_with('#')).unwrap();
    std::fs::write(&file, newest).unwrap();
    assert_eq!(open().get(ProjectId(2), "s119").await.unwrap().expose(), "the value 119");
    // A lost file is not replaced while something is sealed, and the error names it.
    std::fs::remove_file(&file).unwrap();
    let vault = open();
    assert_eq!(vault.begin().await.unwrap(), None);
    let Err(error) = vault.get(ProjectId(2), "s119").await else { panic!("there is no key") };
    assert!(error.to_string().contains("m.key") && error.code().to_string() == "MS0033", "{error}");
}
