//! What was acknowledged is there after `kill -9` and after power loss, and a full or failing disk
//! neither loses it nor makes the store lie.
//!
//! A crash needs a process of its own: this very program, started again for one "test" that does
//! nothing unless the environment says where its file is.

use jiff::Timestamp;
use mainspring_core::StoreError;
use mainspring_core::ids::{JobId, ProjectId};
use mainspring_core::job::NewJob;
use mainspring_core::json::Json;
use mainspring_core::reader::Reader;
use mainspring_core::store::{JobFilter, Store};
use mainspring_store_sqlite::{Options, SqliteStore};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

const P: ProjectId = ProjectId::DEFAULT;
const CHILD: &str = "MAINSPRING_CRASH_TEST_FILE";

fn now() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

fn job(text: &str) -> NewJob {
    NewJob::new("k", Json::of(text).unwrap())
}

/// How often a case is repeated: a short form in every run, a long one by command.
fn rounds(short: usize) -> usize {
    std::env::var("MAINSPRING_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(short)
}

/// The child: enqueues one by one from many tasks for ever and tells each number it was given.
#[test]
fn child_that_enqueues() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = match SqliteStore::open(path, Options::default()) {
            Ok(store) => Arc::new(store),
            Err(e) => return println!("\nrefused {e}"),
        };
        let callers = (0..8).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                loop {
                    match store.enqueue(now(), P, vec![job("x")]).await {
                        Ok(made) => println!("\nmade {}", made[0].id),
                        Err(e) => return println!("\nfailed transient={} {e}", e.is_transient()),
                    }
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
        // Asked again, after the failure.
        match store.enqueue(now(), P, vec![job("x")]).await {
            Ok(_) => println!("\nwrote after the failure"),
            Err(e) => println!("\nstill {e}"),
        }
    });
}

fn child(path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child_that_enqueues", "--exact", "--nocapture"]);
    command.env(CHILD, path).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

async fn check(path: &Path, acknowledged: &[i64]) {
    let store = SqliteStore::open(path, Options::default()).unwrap();
    let facts = store.facts(now()).await.unwrap();
    assert!(facts.iter().any(|f| f.name == "integrity" && f.value == "ok"), "{facts:?}");
    assert_eq!(store.audit().await.unwrap(), Vec::<String>::new());
    for ids in acknowledged.chunks(500) {
        let filter = JobFilter { ids: ids.iter().map(|id| JobId(*id)).collect(), ..Default::default() };
        let found = store.jobs(P, &filter, None, 1000).await.unwrap().rows.len();
        assert_eq!(found, ids.len(), "acknowledged jobs are missing");
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_enqueue_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mainspring.db");
    let mut acknowledged = Vec::new();
    for round in 0..rounds(3) {
        let mut child = child(&path).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let enough = acknowledged.len() + 150 + 70 * round;
        for line in lines {
            let line = line.unwrap();
            if let Some(id) = line.strip_prefix("made ") {
                acknowledged.push(id.parse::<i64>().unwrap());
            }
            assert!(!line.starts_with("refused"), "{line}");
            if acknowledged.len() == enough {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acknowledged.len() >= enough, "the child ended by itself");
        check(&path, &acknowledged).await;
    }
}

/// An image as power loss leaves it: the file as it was synced last, and of the log everything that
/// was acknowledged and any part of what was being written, the last of it torn.
#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_enqueue_survives_power_loss() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mainspring.db");
    let wal = dir.path().join("mainspring.db-wal");
    let store = SqliteStore::open(&path, Options::default()).unwrap();
    let (mut acknowledged, mut chance) = (Vec::new(), 0x9e37_79b9_7f4a_7c15u64);
    let mut draw = move |below: u64| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) % below.max(1)
    };
    for round in 0..rounds(40) {
        let made = store.enqueue(now(), P, vec![job(&"y".repeat(round * 7 % 900)); 3]).await.unwrap();
        acknowledged.extend(made.iter().map(|e| e.id.0));
        let file = std::fs::read(&path).unwrap();
        let safe = std::fs::read(&wal).unwrap();
        // What was under way when the power went.
        let under_way = vec![job(&"z".repeat(3000)); 1 + round % 5];
        let made = store.enqueue(now(), P, under_way).await.unwrap();
        let mut log = std::fs::read(&wal).unwrap();
        if log.len() >= safe.len() && file == std::fs::read(&path).unwrap() {
            // What is new: appended, or, in a log that was begun anew, written over its old text.
            let differs = |n: &usize| log[*n] != safe[*n];
            let first = (0..safe.len()).find(differs).unwrap_or(safe.len());
            let last = if log.len() > safe.len() {
                log.len()
            } else {
                (0..safe.len()).rfind(differs).unwrap_or(first)
            };
            let cut = first + draw((last - first) as u64 + 1) as usize;
            log = [&log[..cut], &safe[cut.min(safe.len())..]].concat();
            if round % 3 == 0 {
                // The last sector came out as garbage.
                let from = cut.saturating_sub(draw(512) as usize).max(first);
                log[from..cut].fill(0xa5);
            }
        } else {
            log = safe;
        }
        let image = tempfile::tempdir().unwrap();
        let copy = image.path().join("copy.db");
        std::fs::write(&copy, file).unwrap();
        std::fs::write(image.path().join("copy.db-wal"), log).unwrap();
        check(&copy, &acknowledged).await;
        acknowledged.extend(made.iter().map(|e| e.id.0));
    }
    store.close().await;
}

/// Runs the child under a limit on the size of files, with the signal for it ignored: writes fail
/// with an error that SQLite takes for a failure of the disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_ends_writing_without_a_false_acknowledgement() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mainspring.db");
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" child_that_enqueues --exact --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let made: Vec<i64> =
        text.lines().filter_map(|l| l.strip_prefix("made ")).map(|id| id.parse().unwrap()).collect();
    assert!(!made.is_empty() && text.contains("failed transient=false"), "{text}");
    assert!(text.contains("still the store failed: the disk failed under"), "{text}");
    check(&path, &made).await;
}

/// A small file system of our own.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// None only where somebody has said that this machine lets nobody mount: a test that cannot run
    /// is a failure otherwise, not a pass.
    fn new(mib: u32) -> Option<SmallDisk> {
        if std::env::var_os("MAINSPRING_MAY_NOT_MOUNT").is_some() {
            println!("NOT TRIED: MAINSPRING_MAY_NOT_MOUNT is set");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "mainspring-test"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        assert!(
            mount.is_ok_and(|s| s.success()),
            "a full disk needs a small file system, and this user may not mount one. Run the tests as root, or set \
             MAINSPRING_MAY_NOT_MOUNT=1: then only the limit on pages beside the writer shows a full store"
        );
        Some(SmallDisk(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_the_store_goes_on_when_there_is_room() {
    // The same is tested beside the writer with a limit on pages, on every machine.
    let Some(disk) = SmallDisk::new(6) else { return };
    let path = disk.0.path().join("mainspring.db");
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![0u8; 3 << 20]).unwrap();
    let store = SqliteStore::open(&path, Options::default()).unwrap();
    let mut acknowledged = Vec::new();
    let full = loop {
        match store.enqueue(now(), P, vec![job(&"x".repeat(2000)); 50]).await {
            Ok(made) => acknowledged.extend(made.iter().map(|e| e.id.0)),
            Err(e) => break e,
        }
    };
    assert!(matches!(&full, StoreError::Full(_)) && full.is_transient(), "{full:?}");
    assert!(store.enqueue(now(), P, vec![job(&"x".repeat(2000)); 50]).await.is_err());
    assert!(store.jobs(P, &JobFilter::default(), None, 10).await.is_ok(), "reading goes on");
    std::fs::remove_file(&ballast).unwrap();
    let made = store.enqueue(now(), P, vec![job("y")]).await.unwrap();
    acknowledged.extend(made.iter().map(|e| e.id.0));
    store.close().await;
    check(&path, &acknowledged).await;
}
