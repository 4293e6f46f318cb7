//! Two versions side by side, as an upgrade of one node after the other makes them: a node runs while
//! somebody newer migrates the store under it. A second release does not exist, so the test writes
//! what one would: first a migration that only adds, then one that breaks older programs.

use crate::load::Memory;
use crate::machine::{PATIENCE, look_for, now, program};
use crate::world::{LEASE, World};
use mainspring_core::ids::ProjectId;
use mainspring_testkit::pg::PrivateCluster;

/// Writes migrations into a store as a newer program would: statements, and the row that tells of
/// them by this number more than the last and this name.
trait Newer {
    fn migrate(&self, statements: &str, nth: u32, name: &str);
}

struct File(String);

impl Newer for File {
    fn migrate(&self, statements: &str, nth: u32, name: &str) {
        let file = rusqlite::Connection::open(&self.0).expect("the file opens");
        file.busy_timeout(PATIENCE).expect("a setting");
        let told = format!(
            "BEGIN IMMEDIATE; {statements};
             INSERT INTO migrations (number, name, checksum)
             SELECT max(number) + 1, '{nth:04}_{name}', 1 FROM migrations; COMMIT"
        );
        file.execute_batch(&told).expect("it is migrated");
    }
}

impl Newer for PrivateCluster {
    fn migrate(&self, statements: &str, nth: u32, name: &str) {
        let told = format!(
            "SET search_path = mainspring; BEGIN; {statements};
             INSERT INTO mainspring_migrations (number, name, checksum)
             SELECT max(number) + 1, '{nth:04}_{name}', 1 FROM mainspring_migrations; COMMIT"
        );
        self.sql(&told).expect("it is migrated");
    }
}

/// What both stores must do.
async fn upgrade(mut world: World, newer: &dyn Newer) {
    world.up("old").await;
    world.begin().await;
    newer.migrate("CREATE TABLE later (id integer); ALTER TABLE jobs ADD COLUMN later integer", 98, "later");
    // Jobs of every sort go on being taken and done, schedules fire, and nobody is lost.
    world.acknowledged(20).await;
    let from = now();
    let (id, _) = world.running_job(200).await;
    let ends = look_for(PATIENCE, async || {
        let job = world.store.job(ProjectId::DEFAULT, id).await.ok()??.job;
        job.state.is_final().then_some(())
    });
    assert!(ends.await.is_some(), "it does not go on: {}", world.nodes[0].said());
    let fires = look_for(PATIENCE, async || {
        let all = world.store.all_schedules(None, 100).await.ok()?;
        all.iter().all(|s| s.next_fire.is_some_and(|at| at > from)).then_some(())
    });
    assert!(fires.await.is_some(), "nothing fires: {}", world.nodes[0].said());
    world.all_live();

    newer.migrate("CREATE TABLE other (id integer)", 99, "breaking_other");
    let (code, took) = world.nodes[0].end(PATIENCE).await.expect("an outgrown node ends");
    let said = world.nodes[0].said();
    assert!(code == 1 && took < LEASE * 4, "{code} after {took:?}: {said}");
    for part in ["MS0106", "0099_breaking_other", "start the newer program"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let memory: Memory = world.load.end().await;
    assert!(memory.wrong.is_empty(), "{:?}", memory.wrong);
    for id in memory.acknowledged.values() {
        let job = world.store.job(ProjectId::DEFAULT, *id).await.expect("a look");
        assert!(job.is_some(), "job {id} was acknowledged and is gone");
    }
    // It has left in good order: what it could not end waits for the newer program.
    let counts = world.store.counts(ProjectId::DEFAULT).await.expect("counts");
    let running: u64 = counts.iter().filter(|c| c.2.as_str() == "running").map(|c| c.3).sum();
    assert_eq!(running, 0, "{counts:?}; {said}");
    // Started again, it is refused before it does anything.
    let again = ["up", "--no-tour", "--config", "mainspring.toml", "--store", &world.address];
    let again = program(&world.dir(), &again).output().expect("it starts");
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.code() == Some(1) && said.contains("MS0106") && said.contains("newer"), "{said}");
}

/// F30 on a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_a_file_migrated_under_a_node_is_worked_on_until_that_breaks_it() {
    let world = World::on_sqlite(None);
    let file = File(world.address.clone());
    upgrade(world, &file).await;
}

/// F30 on PostgreSQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_a_database_migrated_under_a_node_is_worked_on_until_that_breaks_it() {
    let server = PrivateCluster::start(false);
    let world = World::on_postgres(&server.url()).await;
    upgrade(world, &server).await;
}
