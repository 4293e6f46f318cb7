//! The throw-away PostgreSQL servers, tried for real: shared between processes, broken on purpose,
//! and gone when nobody needs them.
#![allow(clippy::disallowed_methods, reason = "waits for real processes to end")]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use mainspring_testkit::pg::{PrivateCluster, cluster, fresh_database};

/// Set in a copy of this test program: it then plays the part of one more test process.
const ROLE: &str = "MAINSPRING_TEST_PG_ROLE";

fn within_ten_seconds(mut holds: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

fn copy_of_this_program(test: &str, role: &str) -> Command {
    let mut copy = Command::new(std::env::current_exe().expect("a path"));
    copy.args(["--exact", test, "--nocapture"]).env(ROLE, role);
    copy
}

#[test]
fn databases_are_apart_and_vanish_with_their_value() {
    let (one, other) = (fresh_database(), fresh_database());
    assert_ne!(one.name(), other.name());
    one.sql("CREATE TABLE only_here (id int); INSERT INTO only_here VALUES (7)").expect("a table");
    assert_eq!(one.sql("SELECT id, 'x' FROM only_here").as_deref(), Ok("7|x"));
    let text = other.sql("SELECT id FROM only_here").expect_err("no such table there");
    assert!(text.contains("only_here"), "{text}");

    let name = one.name().to_owned();
    drop(one);
    let count = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    assert!(within_ten_seconds(|| other.sql(&count).as_deref() == Ok("0")));
}

#[test]
fn another_process_is_given_the_same_cluster() {
    let url = cluster().url("postgres");
    if std::env::var_os(ROLE).is_some() {
        println!("cluster={url}");
        return;
    }
    let said =
        copy_of_this_program("another_process_is_given_the_same_cluster", "print").output().expect("ran");
    let said = String::from_utf8_lossy(&said.stdout);
    assert!(said.contains(&format!("cluster={url}\n")), "{said}");
}

#[test]
fn the_cluster_takes_two_hundred_connections_and_speaks_utc() {
    let database = fresh_database();
    assert_eq!(database.sql("SHOW max_connections; SHOW timezone").as_deref(), Ok("200\nUTC"));
}

#[test]
fn a_private_cluster_keeps_what_it_acknowledged_through_crashes() {
    let own = PrivateCluster::start(true);
    assert_eq!(own.sql("SHOW fsync").as_deref(), Ok("on"));
    let url = own.url();
    own.sql("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)").expect("written");

    own.kill9();
    own.sql("SELECT 1").expect_err("the server is dead");
    own.restart();
    assert_eq!(own.sql("SELECT count(*) FROM kept").as_deref(), Ok("1"));

    own.stop_immediate();
    own.sql("SELECT 1").expect_err("the server has stopped");
    own.restart();
    assert_eq!(own.sql("SELECT count(*) FROM kept").as_deref(), Ok("1"));

    own.restart();
    assert_eq!(own.sql("SELECT count(*) FROM kept").as_deref(), Ok("1"));
    assert_eq!(own.url(), url, "the address survives every restart");
}

#[test]
fn a_paused_cluster_answers_nobody_until_it_is_resumed() {
    let own = PrivateCluster::start(false);
    assert_eq!(own.sql("SHOW fsync").as_deref(), Ok("off"));
    own.pause();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| own.sql("SELECT 1"));
        std::thread::sleep(Duration::from_millis(700));
        assert!(!answer.is_finished(), "a frozen server answered");
        own.resume();
        assert_eq!(answer.join().expect("no panic").as_deref(), Ok("1"));
    });
}

#[test]
fn a_killed_test_leaves_no_server_behind() {
    if std::env::var_os(ROLE).is_some() {
        let own = PrivateCluster::start(false);
        println!("data={}", own.sql("SHOW data_directory").expect("answered"));
        // Ends without unwinding, as a killed process does: no value is dropped.
        std::process::abort();
    }
    let said = copy_of_this_program("a_killed_test_leaves_no_server_behind", "die").output().expect("ran");
    let said = String::from_utf8_lossy(&said.stdout);
    let data = said.lines().find_map(|line| line.split_once("data=")).map(|(_, path)| PathBuf::from(path));
    let data = data.unwrap_or_else(|| panic!("no server was started: {said}"));
    assert!(within_ten_seconds(|| !data.exists()), "{} is still there", data.display());
}

#[test]
fn the_shared_cluster_ends_with_the_run() {
    if std::env::var_os(ROLE).is_some() {
        println!("data={}", fresh_database().sql("SHOW data_directory").expect("answered"));
        return;
    }
    // A run of its own: another folder for temporary files, and a shell as the runner that ends.
    let folder = std::env::temp_dir().join(format!("ms-pg-run-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let run = Command::new("sh")
        .args(["-c", "\"$@\"; true", "sh"])
        .arg(std::env::current_exe().expect("a path"))
        .args(["--exact", "the_shared_cluster_ends_with_the_run", "--nocapture"])
        .env(ROLE, "runner")
        .env("TMPDIR", &folder)
        .output()
        .expect("ran");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(said.contains(&format!("data={}", folder.display())), "{said}");
    let ended =
        within_ten_seconds(|| std::fs::read_dir(&folder).is_ok_and(|mut homes| homes.next().is_none()));
    assert!(ended, "the server in {} still runs", folder.display());
    std::fs::remove_dir(&folder).expect("empty");
}
