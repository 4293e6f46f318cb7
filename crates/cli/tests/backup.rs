//! A backup under load is one moment of the store; what is restored from it recounts and runs on.

mod support;

use mainspring_testkit::pg;
use std::time::Duration;
use support::{Place, wait};

/// Jobs by kind and state, by the counters.
fn jobs(place: &Place, store: &str) -> u64 {
    let list = place.json(&["queue", "list", "--store", store]);
    let states = ["scheduled", "available", "running", "completed", "cancelled", "failed"];
    let sum = |q: &serde_json::Value| states.iter().filter_map(|s| q["counts"][s].as_u64()).sum::<u64>();
    list.as_array().expect("a list").iter().map(sum).sum()
}

/// Backs `place`'s store up while a node runs and jobs are written, restores it to `to`, and runs on.
fn round_trip(place: &Place, to: &str) {
    let lines: String = (0..400).map(|i| format!("{{\"name\":\"n{i}\"}}\n")).collect();
    place.ok(&[
        "schedule",
        "add",
        "minutely",
        "--cron",
        "* * * * *",
        "--kind",
        "tour.greet",
        "--payload",
        "{\"name\":\"cron\"}",
    ]);
    place.ok(&["job", "enqueue", "tour.greet", "{\"name\":\"later\"}", "--at", "2100-01-01"]);
    let mut up = place.start(&["up", "--no-tour", "--quiet", "--listen", "off"]);
    place.until("the node", || place.call(&["node", "list"]).out.contains("alive").then_some(()));
    // Three writers and three backups at once.
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let lines = &lines;
            scope.spawn(move || {
                for _ in 0..3 {
                    assert_eq!(place.call_with(&["job", "enqueue", "tour.greet", "--lines"], lines).code, 0);
                }
            });
        }
        for n in 0..3 {
            scope.spawn(move || {
                wait(Duration::from_millis(150 * n));
                let said = place.ok(&["backup", &format!("copy-{n}")]);
                assert!(said.contains("read back and recounted"), "{said}");
            });
        }
    });
    place.json(&["backup", "last"]);
    assert_eq!(up.end(Duration::ZERO), None, "the node ran on through it");
    up.kill();
    let refused = place.refused(1, &["backup", "last"]);
    assert!(refused.contains("last is there already"), "{refused}");
    let left =
        std::fs::read_dir(place.path()).unwrap().filter_map(|e| e.ok()?.file_name().into_string().ok());
    assert_eq!(left.filter(|name| name.contains(".part")).count(), 0);
    let said = place.ok(&["restore", "last", "--store", to]);
    assert!(said.contains("The recount agrees"), "{said}");
    assert_eq!(jobs(place, to), 3 * 3 * 400 + 1 + fired(place, to));
    let again = place.refused(1, &["restore", "last", "--store", to]);
    assert!(again.contains("is left as it is"), "{again}");
    // It runs on: what waited runs, nothing is lost, the figures still agree.
    place.ok(&["job", "enqueue", "tour.greet", "{\"name\":\"after\"}", "--store", to]);
    place.ok(&["schedule", "delete", "minutely", "--yes", "--store", to]);
    place.ok(&["up", "--exit-when-idle", "--quiet", "--store", to, "--listen", "off"]);
    let doctor = place.call(&["doctor", "--deep", "--store", to]);
    assert!(doctor.out.contains("0 differences found"), "{doctor:?}");
    let open = place.json(&["job", "list", "--state", "available,running", "--store", to]);
    assert_eq!(open, serde_json::json!([]));
    assert!(place.ok(&["events", "-n", "1000", "--store", to]).contains("store.restored"));
}

/// Jobs that the schedule made.
fn fired(place: &Place, store: &str) -> u64 {
    place
        .json(&["job", "list", "--schedule", "minutely", "-n", "1000", "--store", store])
        .as_array()
        .unwrap()
        .len() as u64
}

#[test]
fn a_file_is_backed_up_under_load_and_runs_on_where_it_is_restored() {
    let place = Place::new();
    place.ok(&["up", "--no-tour", "--exit-when-idle", "--listen", "off"]);
    round_trip(&place, "restored.db");
    use std::os::unix::fs::PermissionsExt;
    for file in ["last", "restored.db"] {
        let mode = std::fs::metadata(place.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}: nobody else reads it");
    }
}

#[test]
fn a_database_is_backed_up_under_load_and_runs_on_where_it_is_restored() {
    let (database, other) = (pg::fresh_database(), pg::fresh_database());
    let mut place = Place::new();
    place.env = vec![("MAINSPRING_STORE".into(), database.url())];
    place.ok(&["up", "--no-tour", "--exit-when-idle", "--listen", "off"]);
    round_trip(&place, &other.url());
    let wrong = place.refused(2, &["restore", "last", "--store", "some.db"]);
    assert!(wrong.contains("backup of PostgreSQL") && wrong.contains("--store postgres://"), "{wrong}");
    // Without PostgreSQL's programs it says what to install, and leaves nothing behind.
    place.env.push(("PATH".into(), "/nonexistent".into()));
    let refused = place.refused(1, &["backup", "without"]);
    assert!(
        refused.contains("pg_dump could not be started") && refused.contains("postgresql-client"),
        "{refused}"
    );
    assert!(!place.path().join("without").exists());
}

#[test]
fn what_is_no_whole_backup_is_refused_and_nothing_is_made_of_it() {
    let place = Place::new();
    place.ok(&["up", "--no-tour", "--exit-when-idle", "--listen", "off"]);
    let lines: String = (0..3_000).map(|i| format!("{{\"name\":\"n{i}\"}}\n")).collect();
    place.call_with(&["job", "enqueue", "tour.greet", "--lines"], &lines);
    place.ok(&["backup", "good"]);
    let good = std::fs::read(place.path().join("good")).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(place.path().join(name), bytes).unwrap();
    write("short", &good[..good.len() / 2]);
    let mut holed = good.clone();
    for byte in &mut holed[good.len() / 2..good.len() / 2 + 20_000] {
        *byte = 0xa5;
    }
    write("holed", &holed);
    write("text", b"this is not a backup at all, whatever its name says");
    write("empty", b"");
    for name in ["short", "holed", "text", "empty", "nothing"] {
        let said = place.call(&["restore", name, "--store", "new.db"]);
        assert_ne!(said.code, 0, "{name}: {said:?}");
        assert!(said.err.starts_with("error[MS"), "{name}: {said:?}");
        assert!(!place.path().join("new.db").exists(), "{name}");
    }
    assert!(place.refused(2, &["backup", "x", "--store", "nothing.db"]).contains("there is no store"));
    place.ok(&["restore", "good", "--store", "new.db"]);
}
