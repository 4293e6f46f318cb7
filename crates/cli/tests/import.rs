//! Crontabs: what they become, that importing again changes nothing, and that what they say really
//! runs, with a real loopback HTTP server beside real commands.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use support::Place;

/// As Debian ships it, with the lines people add.
const DEBIAN: &str = r#"# /etc/crontab: system-wide crontab
SHELL=/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin

# m h dom mon dow user	command
17 *	* * *	root	cd / && run-parts --report /etc/cron.hourly
25 6	* * *	root	test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }
47 6	* * 7	root	test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.weekly; }
52 6	1 * *	root	test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.monthly; }
MAILTO=ops@example.com
*/10 * * * * www-data /usr/bin/php /srv/app/cron.php%with input%and more
0 0 */2 * 1 root /usr/local/bin/odd
@reboot root /usr/local/bin/at-start
"#;

#[test]
fn a_plan_shows_every_line_and_every_difference_and_writes_nothing() {
    let place = Place::new();
    place.write("crontab", DEBIAN);
    let plan = place.ok(&["import", "crontab", "crontab", "--plan", "--zone", "Europe/Berlin"]);
    // The next fires depend on the day.
    let next = |line: &str| {
        let mut line = line.to_owned();
        if let Some(at) = line.find(" 20") {
            line.replace_range(at - 3..(at + 27).min(line.len()), "<when>");
        }
        line
    };
    let plan: String = plan.lines().map(|l| next(l) + "\n").collect();
    insta::assert_snapshot!(plan);
    assert!(!place.path().join("mainspring.db").exists(), "a plan makes no store");
}

#[test]
fn importing_again_changes_only_what_differs() {
    let place = Place::new();
    place.write("crontab", DEBIAN);
    let import = ["import", "crontab", "crontab", "--zone", "Europe/Berlin"];
    let said = place.ok(&import);
    assert!(said.contains("7 schedules written") && said.contains("Cron goes on running"), "{said}");
    let before = place.json(&["schedule", "list"]);
    assert_eq!(before.as_array().unwrap().len(), 7);
    assert_eq!(before[0]["source"], "import");
    let said = place.ok(&import);
    assert!(said.contains("nothing was written"), "{said}");
    assert_eq!(place.json(&["schedule", "list"]), before);
    place.write(
        "crontab",
        &DEBIAN.replace("17 *", "18 *").replace("@reboot root /usr/local/bin/at-start\n", ""),
    );
    let plan = place.json(&["import", "crontab", "crontab", "--zone", "Europe/Berlin", "--plan"]);
    let actions: Vec<&str> =
        plan["lines"].as_array().unwrap().iter().map(|l| l["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["changed", "same", "same", "same", "same", "same"]);
    assert_eq!(plan["gone"], serde_json::json!(["crontab/at-start"]));
    let said = place.ok(&["import", "crontab", "crontab", "--zone", "Europe/Berlin", "--prune"]);
    assert!(said.contains("1 schedule written, 1 schedule deleted"), "{said}");
    assert_eq!(place.json(&["schedule", "list"]).as_array().unwrap().len(), 6);
}

#[test]
fn broken_lines_are_told_all_at_once_and_nothing_is_written() {
    let place = Place::new();
    place.write(
        "tab",
        "0 2 * * * ok\n61 2 * * * bad minute\n0 2 * *\n@dayly x\nCRON_TZ=Mars/Olympus\n0 3 * * * x\n",
    );
    let said = place.refused(2, &["import", "crontab", "tab", "--user-format", "user", "--zone", "UTC"]);
    insta::assert_snapshot!(said);
    assert!(!place.path().join("mainspring.db").exists());
    let said = place.refused(2, &["import", "crontab", "nothing-here"]);
    assert!(said.contains("MS0014") && said.contains("nothing-here"), "{said}");
}

#[test]
fn schedules_of_others_are_not_taken_over() {
    let place = Place::new();
    place.write("tab", "0 2 * * * backup\n");
    place.ok(&["schedule", "add", "tab/backup", "--every", "1h", "--kind", "x"]);
    let said = place.refused(2, &["import", "crontab", "tab", "--zone", "UTC"]);
    assert!(said.contains("MS0023") && said.contains("--prefix"), "{said}");
    place.ok(&["import", "crontab", "tab", "--zone", "UTC", "--prefix", "mine"]);
}

/// A server that remembers what it was asked.
fn server() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut buffer = [0u8; 4096];
            let n = stream.read(&mut buffer).unwrap_or(0);
            let first = String::from_utf8_lossy(&buffer[..n]).lines().next().unwrap_or("").to_owned();
            seen.lock().expect("not poisoned").push(first);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    (port, asked)
}

#[test]
fn what_was_imported_really_runs_beside_http_jobs() {
    let place = Place::new();
    let out = place.path().join("out.txt");
    place.write(
        "tab",
        &format!(
            "GREETING=hello\n@every 1s echo \"$GREETING from $0 in $(pwd)\" >> {out}\n@every 1s cat > {out}.in%one%two\n",
            out = out.display()
        ),
    );
    let (port, asked) = server();
    place.write(
        "mainspring.toml",
        &format!(
            "[commands]\nenabled = true\nshell = true\n[outbound]\nallow = [\"127.0.0.1/32\"]\n\
             [[schedule]]\nname = \"ping\"\nevery = \"1s\"\nhttp = \"http://127.0.0.1:{port}/ping\"\n"
        ),
    );
    place.ok(&["import", "crontab", "tab", "--user-format", "user", "--zone", "UTC"]);
    let said = place.ok(&["up", "--for", "4s"]);
    assert!(!said.contains("failed"), "{said}");
    let text = std::fs::read_to_string(&out).expect("the command wrote");
    assert!(text.lines().count() >= 2 && text.starts_with("hello from /bin/sh in "), "{text}");
    let input = std::fs::read_to_string(format!("{}.in", out.display())).expect("the command wrote");
    assert_eq!(input, "one\ntwo\n");
    let asked = asked.lock().expect("not poisoned");
    assert!(asked.len() >= 2 && asked[0] == "GET /ping HTTP/1.1", "{asked:?}");
    // Every fire of the history is one job.
    let jobs = place.json(&["job", "list", "--schedule", "ping", "-n", "100"]);
    let fires: std::collections::BTreeSet<&str> =
        jobs.as_array().unwrap().iter().map(|j| j["scheduled_for"].as_str().unwrap()).collect();
    assert_eq!(fires.len(), jobs.as_array().unwrap().len());
}

#[test]
fn without_the_setting_a_command_does_not_run_and_says_which_setting() {
    let place = Place::new();
    place.write("tab", "@every 1s touch ran\n");
    let said = place.ok(&["import", "crontab", "tab", "--user-format", "user", "--zone", "UTC"]);
    assert!(said.contains("[commands]\n  enabled = true\n  shell = true"), "{said}");
    place.ok(&["up", "--for", "3s"]);
    let jobs = place.json(&["job", "list"]);
    assert_eq!(jobs[0]["state"], "failed");
    let error = jobs[0]["error"]["message"].as_str().unwrap();
    assert!(error.contains("MS0030") && error.contains("commands.enabled = true"), "{error}");
    assert!(!place.path().join("ran").exists());
}

#[test]
fn offline_nothing_but_this_machine_is_called() {
    let mut place = Place::new();
    place.env.push(("MAINSPRING_OFFLINE".into(), "1".into()));
    place.ok(&["up", "--no-tour", "--exit-when-idle"]);
    place.ok(&["job", "enqueue", "http", r#"{"url": "https://outside.invalid/"}"#, "--attempts", "1"]);
    let said = place.ok(&["up", "--exit-when-idle"]);
    assert!(said.contains("1 failed"), "{said}");
    let shown = place.ok(&["job", "show", "1"]);
    assert!(shown.contains("outside.invalid was not asked: offline is set"), "{shown}");
}
