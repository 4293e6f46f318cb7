//! Bad input: one clear message each, with its code, its place and what to type; nothing half-done.

mod support;

use support::Place;

#[test]
fn a_store_that_cannot_be_used_is_told_and_left_alone() {
    let place = Place::new();
    let mut said = vec![];
    let mut tell = |what: &str, code: i32, args: &[&str]| {
        said.push(format!("{what}\n{}", place.refused(code, args)));
    };
    tell("nothing there", 2, &["job", "list"]);
    tell("nothing there, named", 2, &["job", "list", "--store", "typo.db"]);
    tell("no such folder", 2, &["up", "--store", "no/such/folder/jobs.db"]);
    std::fs::create_dir(place.path().join("folder")).unwrap();
    tell("a folder", 2, &["up", "--store", "folder"]);
    place.write("letter.txt", &"Dear Sir or Madam, ".repeat(300));
    tell("another program's text", 1, &["up", "--store", "letter.txt"]);
    let other = rusqlite::Connection::open(place.path().join("other.db")).unwrap();
    other.execute_batch("CREATE TABLE songs (title TEXT); INSERT INTO songs VALUES ('x')").unwrap();
    drop(other);
    tell("another program's database", 1, &["up", "--store", "other.db"]);
    assert!(!place.path().join("typo.db").exists());
    let letter = std::fs::read_to_string(place.path().join("letter.txt")).unwrap();
    assert_eq!(letter, "Dear Sir or Madam, ".repeat(300));
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_damaged_file_is_told_before_anything_runs() {
    let place = Place::new();
    place.ok(&["up", "--for", "500ms"]);
    let path = place.path().join("mainspring.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    for byte in &mut bytes[4096..half] {
        *byte = 0x5a;
    }
    std::fs::write(&path, &bytes).unwrap();
    let said = place.call(&["up", "--for", "500ms"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    assert!(said.err.starts_with("error[MS0105]: ") || said.err.starts_with("error[MS0104]: "), "{said:?}");
}

#[test]
fn a_broken_file_is_told_whole_with_every_place() {
    let place = Place::new();
    place.write(
        "mainspring.toml",
        r#"
[queue.mail]
max_runing = 3

[queue.web]
rate = "100 per minute"

[calendar.holidays]
dates = ["2026-12-24..2026-12-26"]

[[schedule]]
name = "backup"
cron = "0 25 * * *"
command = ["backup"]

[[schedule]]
name = "report"
daily = "07:30"
zone = "Europe/Berln"
kind = "report"

[[schedule]]
name = "report"
once = "2027-03-14 02:30"
zone = "America/New_York"
kind = "report"

[[schedule]]
name = "twice"
every = "5m"
kind = "x"

[[schedule]]
name = "twice"
every = "5m"
kind = "x"

[[schedule]]
name = "hook"
every = "5m"
http = { url = "ftp://example.com" }

[[schedule]]
name = "calendar"
every = "5m"
not_on = ["holiday"]
kind = "x"

[[schedule]]
name = "typo"
evry = "5m"
kind = "x"
"#,
    );
    let check = place.refused(2, &["check"]);
    insta::assert_snapshot!(check);
    // `up` says the same and begins nothing.
    assert_eq!(place.refused(2, &["up"]), check);
    let jobs = place.call(&["job", "list"]);
    assert!(jobs.out.contains("No jobs yet"), "{jobs:?}");
}

#[test]
fn a_good_file_is_shown_with_its_next_fires() {
    let place = Place::new();
    place.write(
        "my.toml",
        "[commands]\nenabled = true\n[[schedule]]\nname = \"night\"\ncron = \"30 2 * * *\"\n\
         zone = \"America/New_York\"\nstarts = \"2027-03-13\"\nends = \"2027-03-15\"\ncommand = \"backup | gzip\"\n",
    );
    let said = place.ok(&["check", "my.toml"]);
    assert!(said.contains("night  at 02:30 every day, in America/New_York"), "{said}");
    assert!(said.contains("Sun 2027-03-14 03:00:00 -04:00"), "{said}");
    assert!(said.contains("2027-03-14 02:30 does not exist in America/New_York: runs 03:00"), "{said}");
    assert!(
        said.contains("set commands.shell = true") && said.contains("1 schedule and 0 queues, nothing wrong")
    );
    assert!(!place.path().join("mainspring.db").exists());
}

#[test]
fn values_beyond_the_limits_and_things_that_are_not_there() {
    let place = Place::new();
    place.ok(&["up", "--no-tour", "--exit-when-idle"]);
    let big = format!("{{\"x\":\"{}\"}}", "y".repeat(1 << 20));
    let said = place.call_with(&["job", "enqueue", "x", "-"], &big);
    assert_eq!(said.code, 2, "{said:?}");
    let mut all = vec![said.err];
    for (code, args) in [
        (2, &["job", "enqueue", "x", "{nonsense"][..]),
        (2, &["job", "enqueue", "x", "{}", "--attempts", "0"]),
        (2, &["job", "enqueue", "x", "{}", "--at", "tomorrow"]),
        (2, &["job", "enqueue", "http", "{}"]),
        (1, &["job", "show", "4711"]),
        (1, &["job", "retry", "4711"]),
        (2, &["job", "cancel"]),
        (1, &["schedule", "show", "nightly"]),
        (1, &["queue", "pause", "mial"]),
        (1, &["job", "list", "--project", "defalt"]),
        (2, &["queue", "limit", "mail", "--rate", "5"]),
        (2, &["schedule", "add", "x", "--kind", "x"]),
        (2, &["schedule", "add", "x", "--cron", "0 25 * * *", "--kind", "x"]),
        (2, &["job", "enqueue", "x", "{}", "--at", "2027-02-30"]),
    ] {
        all.push(format!("$ mainspring {}\n{}", args.join(" "), place.refused(code, args)));
    }
    insta::assert_snapshot!(all.join("\n"));
    assert!(place.ok(&["job", "list"]).contains("No jobs yet"));
}

/// A small disk of its own; None where this machine lets nobody mount one.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn new(at: std::path::PathBuf) -> Option<SmallDisk> {
        std::fs::create_dir(&at).expect("a folder");
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "mainspring-test"])
            .arg(&at)
            .output();
        mount.is_ok_and(|m| m.status.success()).then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_without_room_is_told_and_what_was_acknowledged_stays() {
    let place = Place::new();
    let Some(disk) = SmallDisk::new(place.path().join("disk")) else {
        eprintln!("not tested here: only root can mount a small disk");
        return;
    };
    let store = disk.0.join("jobs.db").display().to_string();
    place.ok(&["up", "--no-tour", "--exit-when-idle", "--store", &store]);
    place.ok(&["job", "enqueue", "tour.greet", r#"{"name":"kept"}"#, "--store", &store]);
    let line = format!("{{\"name\":\"{}\"}}\n", "x".repeat(100_000));
    let said =
        place.call_with(&["job", "enqueue", "tour.greet", "--lines", "--store", &store], &line.repeat(100));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.starts_with("error[MS0102]: ") && said.err.contains("free some space"), "{said:?}");
    let jobs = place.json(&["job", "list", "--store", &store]);
    assert!(jobs.as_array().unwrap().iter().any(|j| j["payload"]["name"] == "kept"), "{jobs}");
}
