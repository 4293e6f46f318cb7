//! The clients for Python and TypeScript against the real program: their workers run jobs, are killed
//! and frozen, are told to stop, and nothing is lost or counted twice.
//!
//! Needs `python3`, `node` and the compiler that `.ci/setup` installs into `clients/typescript`.

#[path = "support/server.rs"]
mod server;
mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use server::Server;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use support::Running;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Python,
    TypeScript,
}
use Language::{Python, TypeScript};

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients")
}

impl Language {
    /// A program of this language that speaks to the server.
    fn command(self, server: &Server, args: &[&str]) -> Command {
        let mut command = match self {
            Python => {
                let mut command = Command::new("python3");
                command.arg("-B").arg(clients().join("python/tests/worker.py"));
                command
            }
            TypeScript => {
                let mut command = Command::new("node");
                command.arg(compiled(server.place.path()));
                command
            }
        };
        command.args(args).env("URL", format!("http://{}", server.at)).env("KEY", &server.key);
        command.stdin(Stdio::null());
        command
    }

    fn worker(self, server: &Server, name: &str, grace: &str) -> Running {
        let log = std::fs::File::create(server.place.path().join(format!("{name}.log"))).expect("a log");
        let err = log.try_clone().expect("the same file");
        let mut command = self.command(server, &[]);
        command.env("GRACE", grace).stdout(log).stderr(err);
        Running { child: command.spawn().unwrap_or_else(|e| panic!("{self:?} does not start: {e}")) }
    }

    /// What one call prints.
    fn call(self, server: &Server, args: &[&str]) -> String {
        let said = self.command(server, args).output().expect("it starts");
        assert!(said.status.success(), "{self:?} {args:?}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).expect("text").trim().to_owned()
    }
}

/// The compiled TypeScript: its types are checked on the way.
fn compiled(place: &Path) -> PathBuf {
    let out = place.join("typescript");
    if !out.exists() {
        let tsc = clients().join("typescript/node_modules/.bin/tsc");
        assert!(tsc.exists(), "there is no TypeScript compiler: type ./.ci/setup");
        let said = Command::new(tsc)
            .arg("-p")
            .arg(clients().join("typescript"))
            .arg("--outDir")
            .arg(&out)
            .output()
            .expect("it starts");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
        std::fs::write(out.join("package.json"), r#"{"type":"module"}"#).expect("written");
    }
    out.join("tests/worker.js")
}

fn log_of(server: &Server, name: &str) -> String {
    std::fs::read_to_string(server.place.path().join(format!("{name}.log"))).unwrap_or_default()
}

/// Workers outside that give signs of life.
fn alive(server: &Server) -> usize {
    let (_, nodes) = server.call("GET", "/api/v1/projects/default/nodes", &server.key, None);
    let nodes = nodes["items"].as_array().cloned().unwrap_or_default();
    let now = |n: &&Value| n["outside"] == true && n["alive"] == true;
    nodes.iter().filter(now).count()
}

fn loses_nothing(language: Language) {
    let server = Server::start("");
    let gate = server.place.path().join("gate").display().to_string();
    let guarded = server.enqueue("gate", json!({ "file": gate }), json!({}));
    let works: Vec<u64> =
        (0..40).map(|n| server.enqueue("work", json!({ "n": n }), json!({ "max_attempts": 1 }))).collect();
    let mut first = language.worker(&server, "first", "10");
    server.until("the first start", guarded, |job| job["state"] == "running");
    server.until("some work", works[5], |job| job["state"] == "completed");
    first.kill();
    // Another takes over what the killed one held.
    let mut second = language.worker(&server, "second", "10");
    server.until("the second start", guarded, |job| job["state"] == "running" && job["attempt"] == 2);
    for work in &works {
        server.until("all work", *work, |job| job["state"] == "completed");
    }
    // One that is frozen for longer than its lease loses it, and what it says later does not count.
    second.signal(Signal::STOP);
    let mut third = language.worker(&server, "third", "10");
    server.until("the third start", guarded, |job| job["state"] == "running" && job["attempt"] == 3);
    std::fs::write(&gate, "").expect("written");
    let done = server.until("its end", guarded, |job| job["state"] == "completed");
    let by = json!({ "by": third.child.id() });
    assert_eq!(done["output"], by);
    second.signal(Signal::CONT);
    server.place.until("its return", || (alive(&server) == 2).then_some(()));
    let job = server.enqueue("work", json!({ "n": 40 }), json!({}));
    server.until("more work", job, |job| job["state"] == "completed");
    let done = server.job(guarded);
    assert_eq!((&done["output"], &done["attempt"], &done["deaths"]), (&by, &json!(3), &json!(2)));
    for (n, work) in works.iter().enumerate() {
        let job = server.job(*work);
        assert_eq!((&job["outcome"], &job["output"]["n"]), (&json!("succeeded"), &json!(n)), "{job:#}");
        assert_eq!(job["output"]["delivery"], format!("msg_{work}"));
        // A killed worker's attempts are given back; one of them is the most that any job lost.
        assert!(job["attempt"].as_u64() <= Some(2), "{job:#}");
    }
    let logs = server.place.ok(&["job", "logs", &works[3].to_string()]);
    assert!(logs.contains("working"), "{logs}");
    for (worker, name) in [(&mut second, "second"), (&mut third, "third")] {
        worker.signal(Signal::TERM);
        assert_eq!(worker.end(Duration::from_secs(30)), Some(0), "{}", log_of(&server, name));
        assert!(log_of(&server, name).contains("drained"), "{}", log_of(&server, name));
    }
    let doctor = server.place.call(&["doctor", "--deep"]);
    assert!(doctor.out.contains("0 differences found"), "{doctor:?}");
}

fn drains(language: Language) {
    let server = Server::start("");
    let file = |name: &str| server.place.path().join(name).display().to_string();
    let soon = server.enqueue("gate", json!({ "file": file("soon") }), json!({}));
    let never = server.enqueue("gate", json!({ "file": file("never") }), json!({}));
    let heeds = server.enqueue("gate", json!({ "file": file("never"), "heeds": true }), json!({}));
    let mut worker = language.worker(&server, "worker", "3");
    for job in [soon, never, heeds] {
        server.until("the start", job, |job| job["state"] == "running" && job["progress"]["done"] == 1);
    }
    // One is cancelled, and heeds it.
    server.place.ok(&["job", "cancel", &heeds.to_string()]);
    server.until("its end", heeds, |job| job["state"] == "cancelled");
    worker.signal(Signal::TERM);
    std::fs::write(file("soon"), "").expect("written");
    let late = server.enqueue("work", json!({ "n": 1 }), json!({}));
    assert_eq!(worker.end(Duration::from_secs(30)), Some(0), "{}", log_of(&server, "worker"));
    assert!(log_of(&server, "worker").contains("drained"));
    assert_eq!(server.job(soon)["state"], "completed");
    let back = server.job(never);
    assert_eq!((&back["state"], &back["deaths"]), (&json!("available"), &json!(0)), "{back:#}");
    assert_eq!(back["attempts"][0]["outcome"], "interrupted");
    let waits = server.job(late);
    assert_eq!(waits["state"], "available", "{waits:#}");
    assert_eq!(alive(&server), 0, "it has left");
}

fn says_what_happened(language: Language) {
    let server = Server::start("");
    let once = || json!({ "max_attempts": 1 });
    let say = |what: &str| server.enqueue("say", json!(what), once());
    let (fatal, retry) = (say("fatal"), server.enqueue("say", json!("retry"), json!({})));
    let (snooze, skip, partial, output, other) =
        (say("snooze"), say("skip"), say("partial"), say("output"), say("other"));
    let _worker = language.worker(&server, "worker", "3");
    let end = |job, state: &str| server.until(state, job, |job| job["state"] == state);
    let failed = end(fatal, "failed");
    assert_eq!(failed["error"]["class"], "not_found");
    assert_eq!(failed["error"]["message"], "no such customer");
    let again = server.until("its wait", retry, |job| job["retrying"] == true);
    assert_eq!(again["error"]["message"], "busy");
    let again = server.until("its wait", snooze, |job| job["state"] == "scheduled");
    assert_eq!(again["outcome"], "snoozed");
    assert_eq!(end(skip, "completed")["reason"], "skipped: no rows");
    let part = end(partial, "completed");
    assert_eq!((&part["outcome"], &part["output"]), (&json!("partial"), &json!({ "ok": 2 })));
    assert_eq!(end(output, "failed")["error"]["class"], "bad_output");
    let class = if language == Python { "KeyError" } else { "RangeError" };
    assert_eq!(end(other, "failed")["error"]["class"], class);
    // The client's own calls.
    let made = language.call(&server, &["enqueue", "call"]);
    assert_eq!(language.call(&server, &["enqueue", "call"]), made, "the same key finds the first");
    let shown = server.job(made.parse().expect("a number"));
    assert_eq!((&shown["queue"], &shown["payload"]["by"].is_string()), (&json!("calls"), &true));
    assert_eq!(language.call(&server, &["show", &made]), "available");
    assert_eq!(language.call(&server, &["cancel", &made]).to_lowercase(), "true");
    assert_eq!(language.call(&server, &["show", &made]), "cancelled");
    assert_eq!(language.call(&server, &["refused", "x"]), "404 MS0021");
}

#[test]
fn a_python_worker_is_killed_and_frozen_and_nothing_is_lost_or_doubled() {
    loses_nothing(Python);
}

#[test]
fn a_typescript_worker_is_killed_and_frozen_and_nothing_is_lost_or_doubled() {
    loses_nothing(TypeScript);
}

#[test]
fn a_python_worker_drains_on_sigterm() {
    drains(Python);
}

#[test]
fn a_typescript_worker_drains_on_sigterm() {
    drains(TypeScript);
}

#[test]
fn a_python_handler_says_what_happened() {
    says_what_happened(Python);
}

#[test]
fn a_typescript_handler_says_what_happened() {
    says_what_happened(TypeScript);
}
