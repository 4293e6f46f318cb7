//! Secrets of projects in a running engine: resolved when an attempt starts, kept out of what it
//! leaves behind, refused where they do not belong.

mod common;

use common::builder;
use mainspring::core::job::JobState;
use mainspring::core::store::Store;
use mainspring::secrets::{Keyring, Keys, Secret, SecretError};
use mainspring::{Client, JobError, Json, KindSpec, Registry, RetryPolicy};
use mainspring_core::ProjectId;
use mainspring_core::reader::JobDetail;
use mainspring_store_sqlite::{Options, SqliteStore};
use serde_json::json;
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
        .function("tell", once(), tell.clone())
        .function("tell_blocking", once().blocking(), tell)
        .function("fail", once(), |cx| async move {
            Err::<Option<Json>, _>(JobError::fatal(format!("cannot use {}", cx.payload().as_str())))
        })
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
