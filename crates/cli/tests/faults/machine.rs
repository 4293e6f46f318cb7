//! Real time and real processes: a node as the operating system sees it.

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest a test waits for what should come soon, on a machine that builds at the same time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a promise in seconds is given on top, because the tests share the machine with one another.
/// The figures of the long form say how much of it was used.
pub const SLACK: Duration = Duration::from_millis(500);

/// The machine's time.
pub fn now() -> Timestamp {
    mainspring_core::time::trunc(Timestamp::now())
}

/// A stopwatch.
pub fn start() -> Instant {
    Instant::now()
}

/// Waits.
pub async fn wait(length: Duration) {
    tokio::time::sleep(length).await;
}

/// Looks every 20 ms until something is found; None when it was not found in time.
pub async fn look_for<T>(patience: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let begin = start();
    loop {
        if let Some(found) = look().await {
            return Some(found);
        }
        if begin.elapsed() > patience {
            return None;
        }
        wait(Duration::from_millis(20)).await;
    }
}

/// A program in a folder, with nothing of this machine's environment but a path and the one secret
/// that the jobs are signed with.
pub fn program(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainspring"));
    command.args(arguments).current_dir(dir).env_clear().env("PATH", "/usr/bin:/bin");
    command.env("MAINSPRING_SECRET_FAULTS", "whsec_bm90IGEgc2VjcmV0LCBvbmx5IGEgdGVzdCE=");
    command.stdin(Stdio::null());
    command
}

/// A running node. Killed when dropped.
pub struct Process {
    /// What it is called in lists.
    pub name: String,
    /// When it was started.
    pub since: Instant,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `up` on a store; what it says is kept in `<name>.log`.
    pub fn up(dir: &Path, name: &str, store: &str) -> Process {
        let log = dir.join(format!("{name}.log"));
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log file");
        let arguments = [
            "up",
            "--quiet",
            "--no-tour",
            "--config",
            "mainspring.toml",
            "--store",
            store,
            "--node-name",
            name,
        ];
        let mut command = program(dir, &arguments);
        command.stdout(file.try_clone().expect("the same file")).stderr(file);
        let since = start();
        Process { name: name.into(), since, child: command.spawn().expect("the program starts"), log }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it can be signalled");
    }

    /// SIGKILL, and waits until the kernel has taken it away.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its exit code if it has ended; -1 when a signal ended it.
    pub fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().expect("it can be waited for").map(|status| status.code().unwrap_or(-1))
    }

    /// Waits for its end: exit code and how long it took.
    pub async fn end(&mut self, patience: Duration) -> Option<(i32, Duration)> {
        let begin = start();
        look_for(patience, async || self.ended()).await.map(|code| (code, begin.elapsed()))
    }

    /// The end of what it said.
    pub fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
