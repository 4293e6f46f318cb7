//! Runs commands for tests as a node would, and looks for what they leave behind.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::disallowed_methods, reason = "real processes take real time")]

use mainspring::context::Stop;
use mainspring::core::job::LogLevel;
use mainspring::kinds::Attempt;
use mainspring::kinds::command::{Command, CommandPolicy};
use mainspring::{JobError, Json};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// An attempt that remembers its log.
#[derive(Default)]
pub struct Try {
    pub stop: Stop,
    pub log: Mutex<Vec<(LogLevel, String)>>,
}

impl Attempt for Try {
    fn delivery_id(&self) -> String {
        "msg_7".into()
    }
    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("JOB_ID", "7".into()), ("ATTEMPT", "2".into())]
    }
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }
    fn stop(&self) -> &Stop {
        &self.stop
    }
    fn line(&self, level: LogLevel, text: &str) {
        self.log.lock().unwrap().push((level, text.to_owned()));
    }
}

impl Try {
    pub fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().iter().map(|(_, text)| text.clone()).collect()
    }

    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// Waits until the command has written a line that begins so; gives the rest of it.
    pub async fn wait_for(&self, beginning: &str) -> String {
        let begun = Instant::now();
        loop {
            if let Some(rest) = self.lines().iter().find_map(|l| Some(l.strip_prefix(beginning)?.to_owned()))
            {
                return rest;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "no line {beginning:?} in {:?}", self.lines());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The example `launcher`. Cargo builds examples before it runs all tests, but not for every way of
/// running some: one that is missing or older than its source is built here.
pub fn launcher() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let find = || {
        if let Some(given) = std::env::var_os("TEST_LAUNCHER") {
            return given.into();
        }
        let own = std::env::current_exe().unwrap();
        let target = own.ancestors().nth(3).unwrap();
        let path = target.join("debug/examples/launcher");
        let changed = |p: &Path| p.metadata().and_then(|m| m.modified()).ok();
        let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src/kinds/launcher");
        let sources = std::fs::read_dir(sources).unwrap().flatten().filter_map(|e| changed(&e.path()));
        if changed(&path) < sources.max() {
            build(target);
        }
        path
    };
    BUILT.get_or_init(find).clone()
}

fn build(target: &Path) {
    let mut cargo = std::process::Command::new(env!("CARGO"));
    // What cargo tells the program it runs would make build scripts run again.
    for (name, _) in std::env::vars().filter(|(n, _)| n.starts_with("CARGO_") && n != "CARGO_HOME") {
        cargo.env_remove(name);
    }
    cargo.args(["build", "--quiet", "--package", "mainspring", "--example", "launcher", "--target-dir"]);
    let built = cargo.arg(target).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

pub fn policy() -> CommandPolicy {
    CommandPolicy { enabled: true, shell: true, launcher: launcher(), ..CommandPolicy::default() }
}

pub fn json(value: &serde_json::Value) -> Json {
    Json::of(value).unwrap()
}

pub type Answer = Result<Option<Json>, JobError>;

pub async fn run(payload: serde_json::Value) -> (Answer, Try) {
    run_with(policy(), payload).await
}

pub async fn run_with(policy: CommandPolicy, payload: serde_json::Value) -> (Answer, Try) {
    let attempt = Try::default();
    let answer = Command::new(policy).execute(&json(&payload), &attempt).await;
    (answer, attempt)
}

pub async fn sh(line: &str) -> (Answer, Try) {
    run(serde_json::json!({"shell": line})).await
}

pub fn retry(answer: Answer) -> (String, String) {
    match answer {
        Err(JobError::Retry { error, .. }) => (error.class, format!("{} {:?}", error.message, error.chain)),
        other => panic!("expected a retry, got {other:?}"),
    }
}

pub fn fatal(answer: Answer) -> (String, String) {
    match answer {
        Err(JobError::Fatal(error)) => (error.class, error.message),
        other => panic!("expected a fatal error, got {other:?}"),
    }
}

/// Processes whose environment or arguments hold `mark`, zombies not counted.
pub fn alive(mark: &str) -> Vec<String> {
    let mut found = vec![];
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let text = [read("environ"), read("cmdline")].concat();
        if !text.is_empty() && text.windows(mark.len()).any(|w| w == mark.as_bytes()) {
            found.push(String::from_utf8_lossy(&read("cmdline")).replace('\0', " "));
        }
    }
    found
}

/// Waits until nobody with `mark` lives; fails after `limit`.
pub async fn gone(mark: &str, limit: Duration) {
    let begun = Instant::now();
    while !alive(mark).is_empty() {
        assert!(begun.elapsed() < limit, "still alive: {:?}", alive(mark));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
