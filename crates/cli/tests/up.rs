//! The node as a person starts it: the tour, commands beside it, kills, signals.

mod support;

use rustix::process::Signal;
use serde_json::Value;
use std::time::Duration;
use support::{Place, now, wait};

/// (kind, state, outcome, attempt) of every job.
fn jobs(place: &Place) -> Vec<(String, String, String, u64)> {
    let list = place.json(&["job", "list", "-n", "1000"]);
    let text = |v: &Value| v.as_str().unwrap_or("-").to_owned();
    list.as_array()
        .expect("a list")
        .iter()
        .map(|j| (text(&j["kind"]), text(&j["state"]), text(&j["outcome"]), j["attempt"].as_u64().unwrap()))
        .collect()
}

fn state(place: &Place, id: u64) -> String {
    let id = id.to_string();
    place.json(&["job", "show", &id])["job"]["state"].as_str().expect("a state").to_owned()
}

#[test]
fn the_first_start_is_a_tour_of_everything_a_job_can_do() {
    let place = Place::new();
    let said = place.ok(&["up", "--for", "8s"]);
    for word in
        ["succeeded", "retrying", "timed_out", "partial", "nothing leaves this machine", "mainspring.db"]
    {
        assert!(said.contains(word), "{word} is missing:\n{said}");
    }
    let jobs = jobs(&place);
    let found = |kind: &str, state: &str, outcome: &str, attempt: u64| {
        jobs.iter()
            .any(|j| (j.0.as_str(), j.1.as_str(), j.2.as_str(), j.3) == (kind, state, outcome, attempt))
    };
    assert!(found("tour.greet", "completed", "succeeded", 1), "{jobs:?}");
    assert!(found("tour.flaky", "completed", "succeeded", 2), "{jobs:?}");
    assert!(found("tour.slow", "failed", "timed_out", 1), "{jobs:?}");
    assert!(found("tour.import", "completed", "partial", 1), "{jobs:?}");
    assert!(found("tour.heartbeat", "completed", "succeeded", 1), "{jobs:?}");
    assert!(place.ok(&["batch", "list"]).contains("complete"));
    // It comes once: the next start in the same folder works on what is there.
    let again = place.ok(&["up", "--for", "1s"]);
    assert!(!again.contains("tour: jobs that succeed"), "{again}");
}

#[test]
fn no_tour_where_it_is_not_wanted_or_something_is_there() {
    let place = Place::new();
    let said = place.ok(&["up", "--no-tour", "--exit-when-idle"]);
    assert!(!said.contains("tour") && said.contains("Ended after 0 attempts"), "{said}");
    let place = Place::new();
    place.ok(&["schedule", "add", "far", "--once", "2100-01-01", "--kind", "x"]);
    assert!(!place.ok(&["up", "--exit-when-idle"]).contains("tour"));
}

#[test]
fn what_waits_behind_a_pause_is_not_waited_for_but_told() {
    let place = Place::new();
    place.ok(&["up", "--no-tour", "--exit-when-idle"]);
    for _ in 0..2 {
        place.ok(&["job", "enqueue", "tour.greet", r#"{"name":"you"}"#, "--queue", "mail"]);
    }
    place.ok(&["queue", "pause", "mail", "--note", "stock-taking"]);
    let said = place.ok(&["up", "--exit-when-idle"]);
    assert!(said.contains("2 jobs wait in queue mail, which is paused by cli"), "{said}");
    assert!(said.contains("stock-taking. mainspring queue resume mail lets it go on."), "{said}");
    let said = place.ok(&["up", "--exit-when-idle", "--json"]);
    assert!(said.contains(r#""paused":{"mail":2}"#), "{said}");
    place.ok(&["queue", "resume", "mail"]);
    let said = place.ok(&["up", "--exit-when-idle"]);
    assert!(said.contains("2 succeeded") && !said.contains("Left waiting"), "{said}");
}

#[test]
fn commands_work_beside_a_running_node() {
    let place = Place::new();
    let _up = place.start(&["up", "--no-tour"]);
    place.until("the node", || place.call(&["node", "list"]).out.contains("alive").then_some(()));
    let made = place.json(&["job", "enqueue", "tour.greet", r#"{"name":"you"}"#]);
    let id = made["id"].as_u64().expect("a number");
    place.until("its end", || (state(&place, id) == "completed").then_some(()));
    let logs = place.ok(&["job", "logs", &id.to_string(), "--follow"]);
    assert!(logs.contains("greeting you"), "{logs}");
    assert!(place.ok(&["job", "show", &id.to_string()]).contains("hello, you"));
    // A job that runs is asked to stop.
    let slow = place.json(&["job", "enqueue", "tour.slow", "{}", "--timeout", "1m"])["id"].as_u64().unwrap();
    place.until("its start", || (state(&place, slow) == "running").then_some(()));
    place.ok(&["job", "cancel", &slow.to_string(), "--reason", "not needed"]);
    place.until("its end", || (state(&place, slow) == "cancelled").then_some(()));
    // What failed is retried by filter; a pipe must say --yes.
    let bad = place.json(&["job", "enqueue", "tour.slow", "{}", "--timeout", "50ms"])["id"].as_u64().unwrap();
    place.until("its end", || (state(&place, bad) == "failed").then_some(()));
    let asked = place.call(&["job", "retry", "--state", "failed"]);
    assert_eq!(asked.code, 2);
    assert!(asked.err.contains("1 job matches.") && asked.err.contains("--yes"), "{}", asked.err);
    let retried = place.ok(&["job", "retry", "--state", "failed", "--kind", "tour.slow", "--yes"]);
    assert!(retried.contains("1 job retried"), "{retried}");
    place.until("its second end", || {
        let job = place.json(&["job", "show", &bad.to_string()]);
        (job["job"]["state"] == "failed" && job["job"]["attempt"] == 2).then_some(())
    });
    assert!(place.ok(&["explain", &bad.to_string()]).contains("is failed"));
    let waited = place.call(&["job", "enqueue", "tour.greet", r#"{"name":"x"}"#, "--wait"]);
    assert_eq!(waited.code, 0, "{waited:?}");
    assert!(waited.out.contains("completed"), "{waited:?}");
}

#[test]
fn a_second_node_on_the_same_file_is_refused() {
    let place = Place::new();
    let _up = place.start(&["up", "--no-tour"]);
    place.until("the node", || place.call(&["node", "list"]).out.contains("alive").then_some(()));
    let said = place.call(&["up"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.starts_with("error[MS0103]: "), "{}", said.err);
    assert!(said.err.contains("mainspring.db") && said.err.contains("try: "), "{}", said.err);
}

#[test]
fn after_kill_9_nothing_is_lost() {
    let place = Place::new();
    let mut up = place.start(&["up", "--no-tour"]);
    place.until("the node", || place.call(&["node", "list"]).out.contains("alive").then_some(()));
    let lines: String = (0..500).map(|i| format!("{{\"name\":\"n{i}\"}}\n")).collect();
    let said = place.call_with(&["job", "enqueue", "tour.greet", "--lines"], &lines);
    assert!(said.out.contains("500 jobs enqueued"), "{said:?}");
    let slow = place.json(&["job", "enqueue", "tour.slow", "{}", "--timeout", "1m"])["id"].as_u64().unwrap();
    place.until("its start", || (state(&place, slow) == "running").then_some(()));
    up.kill();
    let said = place.call_with(&["job", "enqueue", "tour.greet", "--lines"], &lines);
    assert!(said.out.contains("500 jobs enqueued"), "{said:?}");
    let mut again = place.command(&["up", "--no-tour"]);
    again.env("MAINSPRING_LEASE", "1s");
    let mut again = support::Running { child: again.spawn().expect("it starts") };
    place.until("all of it", || {
        let stats = place.json(&["stats"]);
        let done = stats["kinds"].as_array()?.iter().find(|k| k["name"] == "tour.greet")?;
        (done["jobs"]["completed"] == 1000).then_some(())
    });
    // The job that was in the killed node's hands runs again, and its attempt was given back.
    place.until("the rescue", || {
        let job = place.json(&["job", "show", &slow.to_string()]);
        let attempts = job["attempts"].as_array()?;
        (attempts.len() == 2 && attempts[0]["outcome"] == "interrupted" && job["job"]["raised"] == 1)
            .then_some(())
    });
    place.ok(&["job", "cancel", &slow.to_string()]);
    again.signal(Signal::TERM);
    assert_eq!(again.end(Duration::from_secs(20)), Some(0));
    let doctor = place.call(&["doctor", "--deep"]);
    assert!(doctor.out.contains("0 differences found"), "{doctor:?}");
}

#[test]
fn sigterm_drains_within_the_grace_and_gives_back_the_rest() {
    let place = Place::new();
    let mut up = place.start(&["up", "--no-tour", "--grace", "3s"]);
    place.until("the node", || place.call(&["node", "list"]).out.contains("alive").then_some(()));
    let import = place.json(&["job", "enqueue", "tour.import", r#"{"rows":30}"#])["id"].as_u64().unwrap();
    let slow = place.json(&["job", "enqueue", "tour.slow", "{}", "--timeout", "1m"])["id"].as_u64().unwrap();
    place.until("both", || {
        (state(&place, import) == "running" && state(&place, slow) == "running").then_some(())
    });
    let begin = now();
    up.signal(Signal::TERM);
    wait(Duration::from_millis(200));
    let late = place.json(&["job", "enqueue", "tour.greet", r#"{"name":"late"}"#])["id"].as_u64().unwrap();
    assert_eq!(up.end(Duration::from_secs(15)), Some(0), "{}", place.log());
    assert!(begin.elapsed() >= Duration::from_secs(2), "it did not wait for what ran");
    // One ended within the grace time, one was given back without costing an attempt, one never began.
    let shown = |id: u64| place.json(&["job", "show", &id.to_string()]);
    assert_eq!(shown(import)["job"]["outcome"], "partial");
    let given_back = shown(slow);
    assert_eq!(given_back["job"]["state"], "available", "{given_back:#}");
    assert_eq!(given_back["attempts"][0]["outcome"], "interrupted");
    assert_eq!(given_back["job"]["raised"], 1);
    assert_eq!(shown(late)["job"]["state"], "available");
    assert!(place.log().contains("given back"), "{}", place.log());
}

#[test]
fn a_second_signal_does_not_wait() {
    let place = Place::new();
    let mut up = place.start(&["up", "--no-tour", "--grace", "5m"]);
    place.until("the node", || place.call(&["node", "list"]).out.contains("alive").then_some(()));
    let slow = place.json(&["job", "enqueue", "tour.slow", "{}", "--timeout", "10m"])["id"].as_u64().unwrap();
    place.until("its start", || (state(&place, slow) == "running").then_some(()));
    up.signal(Signal::INT);
    assert_eq!(up.end(Duration::from_secs(1)), None, "it must wait for what runs");
    up.signal(Signal::INT);
    assert_eq!(up.end(Duration::from_secs(10)), Some(0), "{}", place.log());
    assert_eq!(state(&place, slow), "available");
}

#[test]
fn schedules_of_the_file_are_written_changed_and_deleted_with_it() {
    let place = Place::new();
    place.write(
        "mainspring.toml",
        "[queue.mail]\nmax_running = 3\nrate = \"100/1m\"\n\n[[schedule]]\nname = \"beat\"\nevery = \"1s\"\n\
         kind = \"tour.heartbeat\"\nqueue = \"mail\"\n\n[[schedule]]\nname = \"far\"\ncron = \"0 2 * * *\"\n\
         zone = \"Europe/Berlin\"\nkind = \"x\"\n",
    );
    let said = place.ok(&["up", "--for", "3s"]);
    assert!(said.contains("2 schedules in the configuration file") && said.contains("[beat]"), "{said}");
    let queues = place.ok(&["queue", "list"]);
    assert!(queues.contains("3 running, 100/1m"), "{queues}");
    let list = place.json(&["schedule", "list"]);
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(list[1]["zone"], "Europe/Berlin");
    place.write(
        "mainspring.toml",
        "[[schedule]]\nname = \"beat\"\nevery = \"1h\"\nkind = \"tour.heartbeat\"\n",
    );
    let said = place.ok(&["up", "--for", "500ms"]);
    assert!(said.contains("Schedule far has gone from the file and is deleted."), "{said}");
    let list = place.json(&["schedule", "list"]);
    assert_eq!((list.as_array().unwrap().len(), &list[0]["version"]), (1, &2.into()));
}

#[test]
fn it_starts_fast() {
    let place = Place::new();
    place.ok(&["up", "--no-tour", "--exit-when-idle"]);
    let best = (0..5)
        .map(|_| {
            let begin = now();
            place.ok(&["job", "list"]);
            begin.elapsed()
        })
        .min()
        .unwrap();
    // A build without optimisation on a busy machine; the shipped one takes a small part of it.
    assert!(best < Duration::from_millis(150), "a command took {best:?}");
}

#[test]
fn programs_follow_a_node_line_by_line() {
    let place = Place::new();
    let said = place.ok(&["up", "--json", "--for", "6s"]);
    let lines: Vec<Value> =
        said.lines().map(|l| serde_json::from_str(l).expect("JSON on every line")).collect();
    assert_eq!((&lines[0]["event"], &lines[0]["tour"]), (&"up".into(), &true.into()));
    assert!(lines.iter().any(|l| l["event"] == "finished" && l["outcome"] == "timed_out"), "{said}");
    assert!(
        lines.iter().any(|l| l["event"] == "fired" && l["schedule"] == "tour/every five seconds"),
        "{said}"
    );
    assert_eq!(lines.last().unwrap()["event"], "down");
    // Events that come later are told to whoever follows.
    let mut follower =
        place.command(&["events", "--follow", "--json", "-n", "0"]).spawn().expect("it starts");
    let out = std::io::BufReader::new(follower.stdout.take().expect("piped"));
    wait(Duration::from_millis(300));
    place.ok(&["queue", "pause", "default", "--for", "1h", "--note", "a look"]);
    let line = std::io::BufRead::lines(out).next().expect("a line").expect("readable");
    let event: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        (&event["name"], &event["subject"]),
        (&"queue.paused".into(), &"queue/default".into()),
        "{line}"
    );
    assert!(event["actor"].as_str().is_some_and(|a| a.starts_with("cli")), "{line}");
    follower.kill().expect("it runs");
    follower.wait().expect("it ends");
    assert!(place.ok(&["queue", "list"]).contains("paused by cli"));
}

#[test]
fn a_terminal_that_goes_away_does_not_stop_the_node() {
    let place = Place::new();
    let mut child = place.command(&["up", "--for", "4s"]).spawn().expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(jobs(&place).iter().any(|j| j.0 == "tour.slow" && j.2 == "timed_out"));
}

/// What ran after the backup was made is not known to it: those fires are a downtime, and its policy
/// decides. No fire is lost without a word, none has two jobs.
#[test]
fn a_restored_backup_accounts_for_the_fires_it_did_not_see() {
    let place = Place::new();
    place.write(
        "mainspring.toml",
        "[[schedule]]\nname = \"tick\"\nevery = \"1s\"\ngrace = \"1s\"\nkind = \"tour.greet\"\npayload = { name = \"you\" }\n",
    );
    let fires = || {
        let shown = place.json(&["schedule", "show", "tick"]);
        let jobs = shown["jobs"].as_array().expect("jobs").clone();
        let at = |j: &Value| j["scheduled_for"].as_str().expect("a fire").to_owned();
        let all: Vec<String> = jobs.iter().map(at).collect();
        (all, shown)
    };
    place.ok(&["up", "--no-tour", "--for", "3s"]);
    let file = place.path().join("mainspring.db");
    let backup = std::fs::read(&file).expect("the file");
    let (before, _) = fires();
    place.ok(&["up", "--no-tour", "--for", "4s"]);
    let (undone, _) = fires();
    assert!(undone.len() > before.len() && before.len() > 1, "{before:?}, {undone:?}");
    for beside in ["mainspring.db-wal", "mainspring.db-shm"] {
        let _ = std::fs::remove_file(place.path().join(beside));
    }
    std::fs::write(&file, backup).expect("restored");
    assert_eq!(fires().0, before);
    place.ok(&["up", "--no-tour", "--for", "3s"]);
    let (after, shown) = fires();
    let distinct: std::collections::BTreeSet<&String> = after.iter().collect();
    assert_eq!(distinct.len(), after.len(), "no fire has two jobs: {after:?}");
    assert!(after.len() > before.len() && before.iter().all(|fire| after.contains(fire)), "{after:?}");
    // Those between are told: one range of fires that were folded into the one that ran.
    let told = shown["without_job"].as_array().expect("a ledger");
    let coalesced: u64 =
        told.iter().filter(|row| row["outcome"] == "coalesced").filter_map(|row| row["count"].as_u64()).sum();
    assert!(coalesced >= (undone.len() - before.len()) as u64 - 1, "{shown:#}");
    assert!(place.call(&["doctor", "--deep"]).out.contains("0 differences found"));
}
