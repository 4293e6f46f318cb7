//! Whose file it is, whether it is whole, and who else is at it: every form is refused with a clear
//! text and left as it was.

use jiff::Timestamp;
use mainspring_core::StoreError;
use mainspring_core::ids::ProjectId;
use mainspring_core::job::NewJob;
use mainspring_core::json::Json;
use mainspring_core::queue::QueueSettings;
use mainspring_core::reader::Reader;
use mainspring_core::store::{Bulk, Hint, JobFilter, Store};
use mainspring_store_sqlite::{Options, SqliteStore, Synchronous};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

const P: ProjectId = ProjectId::DEFAULT;

fn now() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

fn jobs(n: usize) -> Vec<NewJob> {
    vec![NewJob::new("k", Json::null()); n]
}

fn beside() -> Options {
    Options { run_jobs: false, ..Options::default() }
}

fn refused(path: &Path) -> StoreError {
    let before = std::fs::read(path).ok();
    let error = SqliteStore::open(path, Options::default()).expect_err("it must be refused");
    assert_eq!(std::fs::read(path).ok(), before, "a refused file is left as it was");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    error
}

/// A closed store with some jobs, and its file.
fn filled(dir: &Path) -> PathBuf {
    let path = dir.join("mainspring.db");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&path, Options::default()).unwrap();
        for _ in 0..20 {
            store.enqueue(now(), P, jobs(100)).await.unwrap();
        }
        store.close().await;
    });
    assert!(!dir.join("mainspring.db-wal").exists(), "closed in good order");
    path
}

fn edit(path: &Path, sql: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn a_missing_and_an_empty_file_become_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.db");
    std::fs::write(&empty, "").unwrap();
    for path in [empty, dir.path().join("missing.db")] {
        drop(SqliteStore::open(&path, Options::default()).unwrap());
        drop(SqliteStore::open(&path, Options::default()).unwrap());
        assert!(std::fs::read(&path).unwrap().starts_with(b"SQLite format 3\0"));
    }
}

#[test]
fn a_new_file_is_its_owners_alone_and_an_existing_one_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let modes = |path: &Path| -> Vec<u32> {
        runtime.block_on(async {
            let store = SqliteStore::open(path, Options::default()).unwrap();
            store.enqueue(now(), P, jobs(1)).await.unwrap();
            // The file and all that lies beside it while it is in use.
            let modes = ["", "-wal", "-shm", ".lock"].map(|suffix| {
                let file = format!("{}{suffix}", path.display());
                std::fs::metadata(&file).expect(&file).permissions().mode() & 0o777
            });
            store.close().await;
            modes.into()
        })
    };
    let path = dir.path().join("new.db");
    assert_eq!(modes(&path), [0o600; 4]);
    assert_eq!(modes(&path), [0o600; 4], "opened again");
    let shared = dir.path().join("shared.db");
    std::fs::write(&shared, "").unwrap();
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(modes(&shared), [0o640; 4]);
}

#[test]
fn what_is_not_ours_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("notes.txt");
    std::fs::write(&text, "Dear diary").unwrap();
    assert!(matches!(refused(&text), StoreError::Foreign(e) if e.contains("not a SQLite file")));

    let other = dir.path().join("other.db");
    edit(&other, "CREATE TABLE songs (title TEXT)");
    assert!(matches!(refused(&other), StoreError::Foreign(e) if e.contains("songs")));

    let marked = dir.path().join("marked.db");
    edit(&marked, "PRAGMA application_id = 1196444487; CREATE TABLE t (a); DROP TABLE t");
    assert!(matches!(refused(&marked), StoreError::Foreign(e) if e.contains("0x47504b47")));

    assert!(matches!(refused(dir.path()), StoreError::Address(e) if e.contains("mainspring.db")));
    let nowhere = dir.path().join("no/such/place.db");
    assert!(matches!(refused(&nowhere), StoreError::Address(e) if e.contains("mkdir -p")));
    assert!(!dir.path().join("no").exists());
}

#[test]
fn a_file_without_permission_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    match SqliteStore::open(&path, beside()) {
        Err(error) => assert!(matches!(&error, StoreError::Address(_)), "{error:?}"),
        // The superuser may read and write everything: then it simply opens.
        Ok(_) => assert!(rustix::process::geteuid().is_root()),
    }
}

#[test]
fn a_newer_or_altered_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path());
    edit(&path, "INSERT INTO migrations VALUES (99, '0099_later', 1)");
    assert!(matches!(refused(&path), StoreError::Schema(e) if e.contains("99") && e.contains("newer")));
    edit(&path, "DELETE FROM migrations WHERE number = 99; UPDATE migrations SET checksum = 7");
    assert!(matches!(refused(&path), StoreError::Schema(e) if e.contains("0001_engine")));
}

#[test]
fn a_damaged_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path());
    let whole = std::fs::read(&path).unwrap();

    std::fs::write(&path, &whole[..60]).unwrap();
    assert!(matches!(refused(&path), StoreError::Damaged(e) if e.contains("60 bytes")));

    // The schema's own page: noticed however the file was closed.
    let mut broken = whole.clone();
    broken[100..4096].fill(0xff);
    std::fs::write(&path, &broken).unwrap();
    assert!(matches!(refused(&path), StoreError::Damaged(_)));

    // Pages in the middle: looked for when the file was not closed in good order.
    let mut broken = whole.clone();
    let middle = whole.len() / 2 / 4096 * 4096;
    broken[middle..middle + 5 * 4096].fill(0x5a);
    std::fs::write(&path, &broken).unwrap();
    std::fs::write(dir.path().join("mainspring.db-wal"), [0u8; 64]).unwrap();
    assert!(matches!(refused(&path), StoreError::Damaged(e) if e.contains("backup")));
}

#[tokio::test]
async fn damage_that_is_met_later_is_an_error_and_ends_writing() {
    let dir = tempfile::tempdir().unwrap();
    let path = tokio::task::spawn_blocking({
        let dir = dir.path().to_owned();
        move || filled(&dir)
    })
    .await
    .unwrap();
    let mut broken = std::fs::read(&path).unwrap();
    // Roots are in front and what is read at the start is behind: this is noticed only when met.
    let (front, behind) = (60 * 4096, broken.len() - 40 * 4096);
    broken[front..behind].fill(0x5a);
    std::fs::write(&path, &broken).unwrap();
    let store = SqliteStore::open(&path, Options::default()).unwrap();
    let error = store.audit().await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
    let all = JobFilter::default();
    let bulk = Bulk { filter: &all, after: None, limit: 1000 };
    let error = store.cancel_jobs(now(), P, bulk, "all", "me").await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
    let error = store.enqueue(now(), P, jobs(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "nothing more is written: {error:?}");
    let facts = store.facts(now()).await;
    assert!(facts.is_err() || facts.unwrap().iter().any(|f| f.problem.is_some()));
}

#[tokio::test]
async fn a_second_process_that_would_run_jobs_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mainspring.db");
    let first = SqliteStore::open(&path, Options::default()).unwrap();
    let error = SqliteStore::open(&path, Options::default()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StoreError::InUse(_)), "{text}");
    for told in [path.display().to_string(), format!("process {}", std::process::id()), "PostgreSQL".into()] {
        assert!(text.contains(&told), "{told} is missing in: {text}");
    }
    first.close().await;
    SqliteStore::open(&path, Options::default()).unwrap().close().await;
}

#[tokio::test]
async fn commands_work_beside_a_running_node_and_wake_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mainspring.db");
    let node = SqliteStore::open(&path, Options::default()).unwrap();
    node.enqueue(now(), P, jobs(1)).await.unwrap();
    let (told, hints) = mpsc::channel();
    node.on_hint(Arc::new(move |hint| {
        let _ = told.send(hint);
    }));
    let command = SqliteStore::open(&path, beside()).unwrap();
    let made = command.enqueue(now(), P, jobs(2)).await.unwrap();
    let settings = QueueSettings { max_running: Some(3), ..Default::default() };
    command.set_queue(now(), P, "default", settings.clone(), "me").await.unwrap();
    let wait = move || hints.recv_timeout(Duration::from_secs(5));
    assert_eq!(tokio::task::spawn_blocking(wait).await.unwrap(), Ok(Hint::Jobs));
    command.close().await;
    // What the other wrote is known here: numbers go on, settings hold.
    let mine = node.enqueue(now(), P, jobs(1)).await.unwrap();
    assert_eq!(mine[0].id.0, made[1].id.0 + 1);
    assert_eq!(node.queues(P).await.unwrap()[0].settings, settings);
    assert_eq!(node.jobs(P, &JobFilter::default(), None, 10).await.unwrap().rows.len(), 4);
    assert_eq!(node.audit().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn facts_tell_what_doctor_wants() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { synchronous: Synchronous::Normal, ..Options::default() };
    let store = SqliteStore::open(dir.path().join("a.db"), options).unwrap();
    let facts = store.facts(now()).await.unwrap();
    let value = |name: &str| facts.iter().find(|f| f.name == name).map(|f| f.value.as_str());
    assert_eq!(value("synchronous"), Some("normal"));
    assert_eq!(value("schema"), Some("1"));
    assert_eq!(value("integrity"), Some("ok"));
    assert!(value("store").is_some_and(|v| v.starts_with("sqlite 3.")), "{facts:?}");
    assert!(facts.iter().all(|f| f.problem.is_none()), "{facts:?}");
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path().join("a.db"), Options::default()).unwrap();
    store.close().await;
    let error = store.enqueue(now(), P, jobs(1)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(t) if t.contains("closed")), "{error:?}");
    assert!(store.projects().await.is_err());
}
