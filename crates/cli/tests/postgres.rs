//! The same program on PostgreSQL: the tour, and three nodes of which one is killed.

mod support;

use mainspring_testkit::pg;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use support::{Place, Running, wait};

fn place() -> (Place, pg::Database) {
    let database = pg::fresh_database();
    let mut place = Place::new();
    place.env = vec![("MAINSPRING_STORE".into(), database.url())];
    (place, database)
}

#[test]
fn the_tour_runs_on_postgresql_too() {
    let (place, _database) = place();
    let said = place.ok(&["up", "--for", "7s"]);
    for word in ["succeeded", "retrying", "timed_out", "partial"] {
        assert!(said.contains(word), "{word} is missing:\n{said}");
    }
    let jobs = place.json(&["job", "list", "-n", "100"]);
    let outcomes: BTreeSet<&str> =
        jobs.as_array().unwrap().iter().filter_map(|j| j["outcome"].as_str()).collect();
    assert!(outcomes.is_superset(&BTreeSet::from(["succeeded", "partial", "timed_out"])), "{outcomes:?}");
    let doctor = place.call(&["doctor", "--deep"]);
    assert!(doctor.out.contains("clock") && doctor.out.contains("0 differences found"), "{doctor:?}");
}

#[test]
fn three_nodes_share_the_work_and_one_may_die() {
    let (mut place, _database) = place();
    place.env.push(("MAINSPRING_LEASE".into(), "2s".into()));
    place.write("tab", "@every 1s true\n@every 2s echo $$\n");
    place.ok(&["import", "crontab", "tab", "--user-format", "user", "--zone", "UTC"]);
    place.env.push(("MAINSPRING_COMMANDS_ENABLED".into(), "true".into()));
    place.env.push(("MAINSPRING_COMMANDS_SHELL".into(), "true".into()));
    let mut nodes: Vec<Running> = (0..3)
        .map(|i| {
            let name = format!("n{i}");
            Running {
                child: place.command(&["up", "--quiet", "--node-name", &name]).spawn().expect("it starts"),
            }
        })
        .collect();
    place.until("three nodes", || {
        (place.call(&["node", "list"]).out.matches("alive").count() == 3).then_some(())
    });
    let lines: String = (0..300).map(|i| format!("{{\"name\":\"n{i}\"}}\n")).collect();
    place.call_with(&["job", "enqueue", "tour.greet", "--lines"], &lines);
    wait(Duration::from_secs(3));
    nodes[0].kill();
    place.call_with(&["job", "enqueue", "tour.greet", "--lines"], &lines);
    wait(Duration::from_secs(4));
    let done = |kind: &str| -> u64 {
        let stats = place.json(&["stats"]);
        let found = stats["kinds"].as_array().unwrap().iter().find(|k| k["name"] == kind).cloned();
        found.and_then(|k| k["jobs"]["completed"].as_u64()).unwrap_or(0)
    };
    place.until("every job", || (done("tour.greet") == 600).then_some(()));
    for mut node in nodes.drain(1..) {
        node.signal(rustix::process::Signal::TERM);
        assert_eq!(node.end(Duration::from_secs(20)), Some(0));
    }
    // Each fire of each schedule made one job, and none is missing between the first and the last.
    for (schedule, step) in [("tab/command", 1), ("tab/echo", 2)] {
        let jobs = place.json(&["job", "list", "--schedule", schedule, "-n", "1000"]);
        let at =
            |j: &Value| j["scheduled_for"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
        let fires: BTreeSet<i64> = jobs.as_array().unwrap().iter().map(at).collect();
        assert_eq!(fires.len(), jobs.as_array().unwrap().len(), "a fire has two jobs");
        let (first, last) = (*fires.first().unwrap(), *fires.last().unwrap());
        let shown = place.json(&["schedule", "show", schedule]);
        let told: u64 =
            shown["without_job"].as_array().unwrap().iter().map(|r| r["count"].as_u64().unwrap()).sum();
        assert_eq!(fires.len() as u64 + told, ((last - first) / step + 1) as u64, "{fires:?} {shown:#}");
    }
}

/// Machines start in any order: a node waits for a server that is away and says so, once.
#[test]
fn a_private_cluster_that_is_down_is_waited_for_by_a_node_that_starts() {
    let server = pg::PrivateCluster::start(false);
    let mut place = Place::new();
    place.env = vec![("MAINSPRING_STORE".into(), server.url())];
    server.stop();
    let mut node = place.start(&["up", "--no-tour", "--quiet", "--node-name", "early"]);
    place.until("a line that it waits", || place.log().contains("waiting for it").then_some(()));
    wait(Duration::from_secs(2));
    let log = place.log();
    assert!(log.contains("the database is not reachable: ") && log.contains("Ctrl-C ends"), "{log}");
    assert_eq!(log.matches("waiting for it").count(), 1, "it says so again and again:\n{log}");
    assert_eq!(node.child.try_wait().expect("it can be asked"), None, "{log}");
    // Commands do not wait: somebody sits before them.
    assert!(place.refused(1, &["job", "list"]).starts_with("error[MS0100]: "));
    server.restart();
    place.until("the node", || place.call(&["node", "list"]).out.contains("early").then_some(()));
    assert!(place.log().contains("the database answers after"), "{}", place.log());
    node.signal(rustix::process::Signal::TERM);
    assert_eq!(node.end(Duration::from_secs(20)), Some(0), "{}", place.log());
    // Asked to end while it waits it ends in good order; with a time of its own it tells why.
    server.stop();
    let mut node = place.start(&["up", "--no-tour"]);
    place.until("a line that it waits", || place.log().contains("waiting for it").then_some(()));
    node.signal(rustix::process::Signal::TERM);
    assert_eq!(node.end(Duration::from_secs(5)), Some(0), "{}", place.log());
    let said = place.call(&["up", "--no-tour", "--for", "1s"]);
    assert!(said.code == 1 && said.err.contains("error[MS0100]: "), "{said:?}");
}

/// What waiting cannot cure is told at once.
#[test]
fn a_node_does_not_wait_for_an_address_that_is_wrong() {
    let (place, database) = place();
    let missing = database.url().replace(database.name(), "not_there");
    for (wrong, code) in [(missing.as_str(), "MS0107"), ("postgres://app@127.0.0.1:54x2/app", "MS0107")] {
        let mut node = place.start(&["up", "--no-tour", "--store", wrong]);
        assert_eq!(node.end(Duration::from_secs(20)), Some(2), "{wrong} was waited for: {}", place.log());
        assert!(place.log().starts_with(&format!("error[{code}]: ")), "{wrong}: {}", place.log());
    }
}

#[test]
fn a_database_that_is_not_there_is_one_clear_message() {
    let mut place = Place::new();
    place.env = vec![("MAINSPRING_STORE".into(), "postgres://app:hunter2@127.0.0.1:1/app".into())];
    let said = place.refused(1, &["job", "list"]);
    assert!(said.starts_with("error[MS0100]: ") && said.contains("127.0.0.1"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    let (place, database) = self::place();
    let missing = database.url().replace(database.name(), "not_there");
    let said = place.refused(2, &["job", "list", "--store", &missing]);
    assert!(said.starts_with("error[MS0107]: ") && said.contains("make it with createdb"), "{said}");
}
