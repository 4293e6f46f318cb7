//! What people do to schedules, queues, batches and many jobs at once, through the real program: the
//! effect of each command and what it says, on a file and on PostgreSQL.

mod support;

use mainspring_testkit::pg;
use serde_json::{Value, json};
use support::Place;

/// The same on both stores: each gets a place of its own with an empty store.
fn on_both(test: impl Fn(&Place)) {
    let file = Place::new();
    work(&file); // it makes the file
    test(&file);
    let database = pg::fresh_database();
    let mut place = Place::new();
    place.env = vec![("MAINSPRING_STORE".into(), database.url())];
    test(&place);
}

fn greet(place: &Place, name: &str, more: &[&str]) {
    let mut args = vec!["schedule", "add", name, "--kind", "tour.greet", "--payload", r#"{"name":"you"}"#];
    args.extend(more);
    place.ok(&args);
}

/// Works off what waits.
fn work(place: &Place) {
    place.ok(&["up", "--no-tour", "--quiet", "--exit-when-idle"]);
    let nodes = place.ok(&["node", "list"]);
    assert!(nodes.contains("  left  ") && !nodes.contains("silent"), "it ended in good order: {nodes}");
}

fn schedule(place: &Place, name: &str) -> Value {
    place.json(&["schedule", "show", name])["schedule"].take()
}

fn enqueue(place: &Place, args: &[&str]) -> String {
    let mut all = vec!["job", "enqueue"];
    all.extend(args);
    place.json(&all)["id"].as_i64().expect("a number").to_string()
}

fn state(place: &Place, id: &str) -> Value {
    place.json(&["job", "show", id])["job"]["state"].take()
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
}

#[test]
fn a_schedule_is_paused_with_a_reason_and_an_end_and_resumed() {
    on_both(|place| {
        greet(place, "ping", &["--every", "1h"]);
        let said = place.ok(&["schedule", "pause", "ping", "--for", "2h", "--note", "database upgrade"]);
        has(&said, &["schedule ping: paused by cli", "until ", ": database upgrade"]);
        let paused = schedule(place, "ping")["paused"].take();
        assert_eq!((&paused["by"], &paused["note"]), (&json!("cli"), &json!("database upgrade")));
        let time = |key: &str| paused[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
        assert_eq!(time("until") - time("at"), 2 * 3600);
        has(&place.ok(&["schedule", "list"]), &["paused by cli", "database upgrade"]);
        has(&place.ok(&["schedule", "show", "ping"]), &["state", "paused by cli", "database upgrade"]);
        has(&place.ok(&["schedule", "next", "ping"]), &["(paused by cli"]);
        has(&place.ok(&["schedule", "resume", "ping"]), &["schedule ping: fires next "]);
        assert_eq!(schedule(place, "ping")["paused"], Value::Null);
        let said = place.refused(1, &["schedule", "pause", "pong"]);
        has(&said, &["no schedule pong", "ping, if that was meant"]);
    });
}

#[test]
fn a_run_by_hand_makes_a_job_and_is_no_fire() {
    on_both(|place| {
        greet(place, "ping", &["--daily", "00:00"]);
        let before = schedule(place, "ping");
        has(&place.ok(&["schedule", "run", "ping"]), &["job ", " enqueued; it does not count as a fire"]);
        work(place);
        let shown = place.json(&["schedule", "show", "ping"]);
        for key in ["fires", "last_fire", "next_fire"] {
            assert_eq!(shown["schedule"][key], before[key], "{key}");
        }
        let jobs = shown["jobs"].as_array().unwrap();
        assert_eq!(jobs.len(), 1);
        assert_eq!((&jobs[0]["state"], &jobs[0]["origin"]), (&json!("completed"), &json!("manual")));
        assert_eq!(jobs[0]["scheduled_for"], Value::Null);
        has(
            &place.ok(&["schedule", "show", "ping"]),
            &["Next fires", "Last jobs", "tour.greet", "completed"],
        );
    });
}

#[test]
fn past_fires_are_shown_and_made_once() {
    on_both(|place| {
        greet(place, "report", &["--daily", "07:30", "--zone", "UTC"]);
        let range = ["schedule", "backfill", "report", "--from", "2026-03-01", "--until", "2026-03-04"];
        let with = |more: &'static str| range.iter().copied().chain([more]).collect::<Vec<_>>();
        let plan = place.ok(&with("--plan"));
        has(&plan, &["2026-03-01 07:30", "2026-03-03 07:30", "will run", "3 fires would run."]);
        assert!(!plan.contains("2026-03-04"), "the end is not meant:\n{plan}");
        assert_eq!(place.json(&["job", "list"]), json!([]), "a plan writes nothing");
        // Nobody can be asked in a pipe.
        let said = place.refused(2, &range);
        has(&said, &["3 fires of report from ", " will run.", "--yes"]);
        assert_eq!(place.json(&["job", "list"]), json!([]));
        let said = place.ok(&with("--yes"));
        has(&said, &["3 jobs enqueued as batch ", "mainspring batch show "]);
        let again = place.ok(&with("--yes"));
        has(&again, &["nothing to do"]);
        work(place);
        let jobs = place.json(&["job", "list", "--schedule", "report"]);
        let mut fires: Vec<&str> =
            jobs.as_array().unwrap().iter().map(|j| j["scheduled_for"].as_str().unwrap()).collect();
        fires.sort_unstable();
        assert_eq!(fires, ["2026-03-01T07:30:00Z", "2026-03-02T07:30:00Z", "2026-03-03T07:30:00Z"]);
        has(&place.ok(&with("--plan")), &["has run: job ", "completed", "0 fires would run."]);
        // Its batch tells the same.
        let batch = said.rsplit(' ').next().unwrap().trim();
        let shown = place.json(&["batch", "show", batch]);
        assert_eq!((&shown["state"], &shown["counts"]["succeeded"]), (&json!("complete"), &json!(3)));
        has(&place.ok(&["batch", "show", batch]), &["complete", "FOLLOW-UP"]);
        has(&place.ok(&["batch", "list"]), &["complete", batch]);
        assert_eq!(place.json(&["batch", "list"])[0], shown);
        has(&place.refused(1, &["batch", "show", "999"]), &["999"]);
    });
}

#[test]
fn a_deleted_schedule_leaves_its_jobs() {
    on_both(|place| {
        greet(place, "ping", &["--every", "1h"]);
        place.ok(&["schedule", "run", "ping"]);
        work(place);
        has(
            &place.refused(2, &["schedule", "delete", "ping"]),
            &["Schedule ping will be deleted; its jobs stay."],
        );
        assert_eq!(schedule(place, "ping")["name"], "ping", "nothing was done");
        has(&place.ok(&["schedule", "delete", "ping", "--yes"]), &["schedule ping deleted"]);
        assert_eq!(place.json(&["schedule", "list"]), json!([]));
        assert_eq!(place.json(&["job", "list"]).as_array().unwrap().len(), 1);
        has(&place.refused(1, &["schedule", "show", "ping"]), &["no schedule ping"]);
    });
}

#[test]
fn the_next_fires_tell_clock_changes() {
    on_both(|place| {
        greet(place, "early", &["--cron", "30 2 * * *", "--zone", "America/New_York"]);
        greet(place, "hourly", &["--every", "1h"]);
        let next = place.json(&["schedule", "next", "early", "-n", "400"]);
        let fires = next[0]["next"].as_array().unwrap();
        assert_eq!(fires.len(), 400);
        let notes = fires.iter().filter(|f| f["note"].is_string()).count();
        assert!(notes >= 1, "a year has a night without 02:30: {fires:?}");
        assert_eq!(place.json(&["schedule", "next"]).as_array().unwrap().len(), 2, "all when none is named");
        let text = place.ok(&["schedule", "next", "-n", "2"]);
        has(&text, &["early  30 2 * * *", "hourly  every 1h", "02:30:00"]);
    });
}

#[test]
fn limits_and_pauses_of_a_queue_hold_and_explain_tells_them() {
    on_both(|place| {
        let job = enqueue(place, &["tour.greet", r#"{"name":"you"}"#, "--queue", "mail"]);
        has(&place.ok(&["explain", &job]), &["is available", "no node is alive", "mainspring up"]);
        let said =
            place.ok(&["queue", "limit", "mail", "--running", "2", "--rate", "100/1m", "--fair", "true"]);
        has(&said, &["queue mail: open; 2 running, 100/1m, fair"]);
        let said = place.ok(&["queue", "limit", "mail", "--no-rate", "--per-key", "1"]);
        has(&said, &["queue mail: open; 2 running, 1 per key, fair"]);
        has(&place.ok(&["queue", "pause", "mail", "--note", "the printer burns"]), &["paused by cli"]);
        has(&place.ok(&["explain", &job]), &["queue mail was paused by cli", "until somebody resumes it"]);
        // What is paused goes on waiting, so this node would never be idle.
        place.ok(&["up", "--no-tour", "--quiet", "--for", "2s"]);
        assert_eq!(state(place, &job), "available", "it is paused");
        has(&place.ok(&["queue", "list"]), &["mail", "paused by cli", "the printer burns"]);
        let said = place.ok(&["queue", "resume", "mail"]);
        has(&said, &["queue mail: open; 2 running, 1 per key, fair"]);
        work(place);
        assert_eq!(state(place, &job), "completed");
        has(&place.ok(&["explain", &job]), &["is completed"]);
        has(&place.refused(1, &["queue", "resume", "mial"]), &["no queue mial", "mail, if that was meant"]);
        has(&place.refused(1, &["explain", "999"]), &["no job 999"]);
    });
}

#[test]
fn health_is_an_exit_code_and_doctor_recounts() {
    on_both(|place| {
        enqueue(place, &["tour.greet", r#"{"name":"you"}"#]);
        work(place);
        let said = place.call(&["health"]);
        assert_eq!(said.code, 0, "{said:?}");
        for _ in 0..5 {
            enqueue(place, &["tour.slow", "{}", "--timeout", "20ms", "--attempts", "1"]);
        }
        work(place);
        let said = place.call(&["health"]);
        assert_eq!((said.code, said.err.as_str()), (1, ""), "{said:?}");
        assert!(said.out.starts_with("unhealthy\n"), "{said:?}");
        has(&said.out, &["kind", "tour.slow", "failed"]);
        assert!(!said.out.contains("tour.greet"), "what is well is left out: {said:?}");
        let said = place.call(&["health", "--json"]);
        let told: Value = serde_json::from_str(&said.out).expect("JSON");
        assert_eq!((said.code, &told["state"]), (1, &json!("unhealthy")));
        let doctor = place.call(&["doctor", "--deep"]);
        has(&doctor.out, &["audit", "0 differences found"]);
        assert!(!place.call(&["doctor"]).out.contains("audit"), "only when asked");
    });
}

#[test]
fn many_jobs_are_cancelled_and_retried_by_filter_after_their_number_was_told() {
    on_both(|place| {
        let lines: String = (0..250).map(|i| format!("{{\"name\":\"n{i}\"}}\n")).collect();
        for queue in ["mail", "other"] {
            let said =
                place.call_with(&["job", "enqueue", "tour.greet", "--lines", "--queue", queue], &lines);
            has(&said.out, &["250 jobs enqueued"]);
        }
        let filter = ["--queue", "mail", "--state", "available,scheduled"];
        let call = |verb: &'static str, more: &[&'static str]| -> Vec<&'static str> {
            ["job", verb].into_iter().chain(filter).chain(more.iter().copied()).collect()
        };
        let asked = place.refused(2, &call("cancel", &[]));
        has(&asked, &["250 jobs match.", "nothing was done", "--yes"]);
        let counted = |state: &str| {
            let list = place.json(&["job", "list", "--state", state, "-n", "1000"]);
            list.as_array().unwrap().iter().filter(|j| j["queue"] == "mail").count()
        };
        assert_eq!((counted("available"), counted("cancelled")), (250, 0), "nothing was done");
        has(&place.ok(&call("cancel", &["--yes", "--reason", "wrong list"])), &["250 jobs cancelled."]);
        assert_eq!((counted("available"), counted("cancelled")), (0, 250));
        let other = place.json(&["job", "list", "--queue", "other", "--state", "available", "-n", "1000"]);
        assert_eq!(other.as_array().unwrap().len(), 250, "others are left alone");
        has(&place.ok(&["job", "list", "--state", "cancelled", "-n", "1"]), &["wrong list"]);
        has(&place.ok(&call("cancel", &["--yes"])), &["nothing was changed"]);
        let retried = place.json(&["job", "retry", "--state", "cancelled", "--queue", "mail", "--yes"]);
        assert_eq!(retried["changed"].as_array().unwrap().len(), 250);
        assert_eq!((counted("available"), counted("cancelled")), (250, 0));
        has(&place.refused(2, &["job", "retry"]), &["which jobs to retry?", "--state failed"]);
    });
}

#[test]
fn a_project_is_made_titled_archived_and_restored() {
    let place = Place::new();
    place.ok(&["up", "--no-tour", "--exit-when-idle", "--listen", "off"]);
    assert!(place.ok(&["project", "create", "billing", "--title", "Billing"]).contains("billing: made"));
    assert!(
        place.refused(1, &["project", "create", "billing"]).contains("there is a project billing already")
    );
    place.ok(&["job", "enqueue", "tour.greet", r#"{"name":"you"}"#, "--project", "billing"]);
    assert!(place.ok(&["project", "rename", "billing", "Invoices"]).contains("billing: renamed"));
    assert!(place.ok(&["project", "archive", "billing"]).contains("billing: archived"));
    let listed = place.json(&["project", "list"]);
    assert_eq!(
        (&listed[0]["name"], &listed[0]["title"]),
        (&"billing".into(), &"Invoices".into()),
        "{listed}"
    );
    assert!(listed[0]["archived_at"].is_string() && listed[1]["archived_at"].is_null(), "{listed}");
    let queues = place.ok(&["queue", "list", "--project", "billing"]);
    assert!(queues.contains("the project is archived"), "{queues}");
    assert!(place.ok(&["project", "restore", "billing"]).contains("billing: restored"));
    assert!(!place.ok(&["queue", "list", "--project", "billing"]).contains("archived"));
    assert!(place.refused(1, &["project", "archive", "biling"]).contains("billing, if that was meant"));
}

#[test]
fn alert_rules_are_listed_and_tried_and_alerts_are_shown() {
    on_both(|place| {
        has(
            &place.ok(&["alert", "rules"]),
            &["A schedule keeps failing", "each schedule failed 3 times in a row"],
        );
        let rules = place.json(&["alert", "rules"]);
        assert_eq!(rules.as_array().unwrap().len(), 5, "{rules}");
        has(&place.ok(&["alert", "list"]), &["No alert has fired yet."]);
        assert_eq!(place.json(&["alert", "list", "--open"]), json!([]));
        let named = place.ok(&["alert", "backtest", "A schedule keeps failing", "--period", "1d"]);
        has(
            &named,
            &["Fires when each schedule failed 3 times in a row.", "In the last 1d it would not have fired."],
        );
        // The first attempt of a flaky job fails.
        enqueue(place, &["tour.flaky", "{}", "--backoff", "1ms"]);
        work(place);
        let rule = r#"{"when":"failure_rate","of":"kind/tour.flaky","above":0,"over":"1h","at_least":1}"#;
        let tried = place.json(&["alert", "backtest", rule]);
        assert!(tried["words"].as_str().unwrap().contains("the kind tour.flaky"), "{tried}");
        has(
            &place.refused(1, &["alert", "backtest", "A schedule keeps faling"]),
            &["A schedule keeps failing, if that"],
        );
        has(&place.refused(2, &["alert", "backtest", r#"{"when":"failures"}"#]), &["missing field `of`"]);
        has(&place.refused(1, &["alert", "show", "alt_none"]), &["no alert alt_none"]);
        let snooze = ["alert", "snooze", "alt_none", "--for", "2h"];
        has(&place.refused(1, &snooze), &["no alert alt_none"]);
    });
}
