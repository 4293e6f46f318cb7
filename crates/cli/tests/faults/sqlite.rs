//! One node on a file.

use crate::machine::{PATIENCE, SLACK, look_for, program, start, wait};
use crate::world::{GRACE, LEASE, READY, World};
use mainspring_core::ids::{JobId, ProjectId};
use mainspring_core::job::{Attempt, AttemptOutcome, JobRecord, JobState};
use rustix::process::Signal;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const P: ProjectId = ProjectId::DEFAULT;

/// Whether SQLite itself finds the file whole.
pub async fn assert_whole(world: &World) {
    let facts = world.store.facts(crate::machine::now()).await.expect("facts");
    let integrity = facts.iter().find(|f| f.name == "integrity").expect("it is told");
    assert_eq!(integrity.value, "ok", "{integrity:?}");
}

/// F6: every acknowledged enqueue survives, and the node is back at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_kill9_of_the_only_node_loses_nothing() {
    let mut world = World::on_sqlite(None);
    world.up("only").await;
    world.begin().await;
    for round in 0..4 {
        // Never at the same point of its life; the last time with a job in hand.
        wait(Duration::from_millis(300 + 250 * round)).await;
        if round == 3 {
            world.running_job(2500).await;
        }
        world.kill9(0).await;
        assert_whole(&world).await;
        world.up_again(0).await;
        world.acknowledged(10).await;
    }
    let figures = world.check().await;
    assert!(figures.rescued > 0 && figures.fired > 0, "{figures:?}");
    world.ready_ms.sort_unstable();
    let median = world.ready_ms[world.ready_ms.len() / 2];
    assert!(u128::from(median) < READY.as_millis(), "ready after {:?} ms", world.ready_ms);
}

/// The attempts and the job, once `enough` holds.
async fn job_when(
    world: &World,
    id: JobId,
    enough: impl Fn(&JobRecord) -> bool,
) -> (JobRecord, Vec<Attempt>) {
    let found = look_for(PATIENCE, async || {
        let detail = world.store.job(P, id).await.ok()??;
        enough(&detail.job).then_some((detail.job, detail.attempts))
    });
    found.await.expect("the job gets there")
}

/// F5: it ends within its grace and a second; what it could not end is given back and costs nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_sigterm_under_load_gives_back_what_runs() {
    let mut world = World::on_sqlite(None);
    world.up("only").await;
    world.begin().await;
    let (id, at) = world.running_job(4000).await;
    world.nodes[at].signal(Signal::TERM);
    let (code, took) = world.nodes[at].end(PATIENCE).await.expect("it ends");
    assert_eq!(code, 0, "{}", world.nodes[at].said());
    assert!(took < GRACE + Duration::from_secs(1) + SLACK, "it took {took:?}");
    let (job, attempts) = job_when(&world, id, |job| job.state != JobState::Running).await;
    assert_eq!((job.state, job.raised, job.deaths), (JobState::Available, 1, 0));
    assert_eq!(attempts[0].outcome, Some(AttemptOutcome::Interrupted));
    assert_eq!(attempts[0].error.as_ref().map(|e| e.class.as_str()), Some("interrupted"));
    world.up_again(at).await;
    let (job, attempts) = job_when(&world, id, |job| job.state.is_final()).await;
    assert_eq!((job.state, attempts.len()), (JobState::Completed, 2));
    let figures = world.check().await;
    assert!(figures.given_back > 0 && figures.rescued == 0, "{figures:?}");
}

/// F20: one process at a time runs jobs on a file; commands work beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_a_second_process_on_the_file_is_refused() {
    let mut world = World::on_sqlite(None);
    world.up("first").await;
    world.begin().await;
    let (dir, store) = (world.dir(), world.address.clone());
    let call = |arguments: &[&str]| {
        program(&dir, &[arguments, &["--store", &store]].concat()).output().expect("it starts")
    };
    let second = call(&["up", "--no-tour", "--config", "mainspring.toml", "--for", "5s"]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("jobs.db is in use"), "{said}");
    let listed = call(&["job", "list"]);
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    world.acknowledged(10).await;
    world.all_live();
    // Its lock ends with it, however it ends.
    world.kill9(0).await;
    world.up_again(0).await;
    world.check().await;
}

/// A small file system of our own.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// None only where somebody has said that this machine lets nobody mount: a test that cannot run
    /// is a failure otherwise, not a pass.
    fn mount(mib: u32) -> Option<SmallDisk> {
        if std::env::var_os("MAINSPRING_MAY_NOT_MOUNT").is_some() {
            return None;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let size = format!("size={mib}m");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "mainspring-test"])
            .arg(dir.path())
            .status();
        assert!(
            mount.is_ok_and(|s| s.success()),
            "a full disk needs a small file system, and this user may not mount one. Run the tests as root, or set \
             MAINSPRING_MAY_NOT_MOUNT=1 to do without what full disks do to a node"
        );
        Some(SmallDisk(dir))
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut ballast = std::fs::File::create(self.0.path().join("ballast")).expect("a file");
        for piece in [&[0u8; 65536][..], &[0u8; 512][..]] {
            while ballast.write_all(piece).is_ok() {}
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.path().join("ballast")).expect("it was there");
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// F18: a full disk is told and waited for; nothing acknowledged is lost, and work goes on within
/// five seconds of the room being there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_a_full_disk_is_waited_for() {
    let Some(disk) = SmallDisk::mount(12) else {
        return println!("NOT TRIED: MAINSPRING_MAY_NOT_MOUNT is set");
    };
    let mut world = World::on_sqlite(Some(disk.path()));
    world.up("only").await;
    world.begin().await;
    disk.fill();
    wait(Duration::from_secs(3)).await;
    let before = world.load.memory();
    assert!(before.repeated > 0, "nobody noticed that the disk is full: {before:?}");
    world.all_live();
    disk.make_room();
    let begin = start();
    let known = world.store.counts(P).await.expect("counts");
    let completed = |counts: &[(String, String, JobState, u64)]| -> u64 {
        counts.iter().filter(|c| c.2 == JobState::Completed).map(|c| c.3).sum()
    };
    let goes_on = look_for(PATIENCE, async || {
        let counts = world.store.counts(P).await.ok()?;
        (completed(&counts) > completed(&known)).then_some(())
    });
    assert!(goes_on.await.is_some(), "it stands still: {}", world.nodes[0].said());
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5), "it went on after {took:?}");
    world.acknowledged(10).await;
    world.all_live();
    assert_whole(&world).await;
    let figures = world.check().await;
    assert!(figures.fired > 0, "{figures:?}; lease {LEASE:?}");
    drop(world);
}
