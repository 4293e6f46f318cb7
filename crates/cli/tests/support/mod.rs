//! Running the real program in a folder of its own, with nothing of this machine's environment.

#![allow(dead_code, reason = "each test program uses its part")]

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder with the program in it.
pub struct Place {
    pub dir: tempfile::TempDir,
    /// Set for every call.
    pub env: Vec<(String, String)>,
}

/// What a call gave.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Place {
    pub fn new() -> Place {
        Place { dir: tempfile::tempdir().expect("a temporary folder"), env: vec![] }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("writes a file");
        path.display().to_string()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainspring"));
        command.args(args).current_dir(self.path()).env_clear().env("PATH", "/usr/bin:/bin");
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Calls it and waits for its end.
    pub fn call(&self, args: &[&str]) -> Said {
        said(self.command(args).output().expect("the program starts"))
    }

    /// Calls it with text on its standard input.
    pub fn call_with(&self, args: &[&str], input: &str) -> Said {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.to_owned();
        let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().expect("the program ends");
        writer.join().expect("the writer ends");
        said(output)
    }

    /// Calls it; it must succeed. Its output.
    pub fn ok(&self, args: &[&str]) -> String {
        let said = self.call(args);
        assert_eq!(said.code, 0, "{args:?}: {said:#?}");
        said.out
    }

    /// The same, as JSON.
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let mut args = args.to_vec();
        args.push("--json");
        let out = self.ok(&args);
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {out}"))
    }

    /// Calls it; it must be refused with this exit code. What it said, with the folder's name
    /// replaced.
    pub fn refused(&self, code: i32, args: &[&str]) -> String {
        let said = self.call(args);
        assert_eq!((said.code, said.out.as_str()), (code, ""), "{args:?}: {said:#?}");
        self.plain(&said.err)
    }

    /// Text without the folder's name.
    pub fn plain(&self, text: &str) -> String {
        text.replace(&self.path().display().to_string(), "DIR")
    }

    /// Starts it and lets it run.
    pub fn start(&self, args: &[&str]) -> Running {
        let log = std::fs::File::create(self.path().join("up.log")).expect("a log file");
        let err = log.try_clone().expect("the same file");
        let child = self.command(args).stdout(log).stderr(err).spawn().expect("the program starts");
        Running { child }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("up.log")).unwrap_or_default()
    }

    /// Waits until `look` gives something.
    pub fn until<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        self.until_for(Duration::from_secs(60), what, look)
    }

    /// The same with this much patience.
    pub fn until_for<T>(&self, patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let begin = now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begin.elapsed() < patience, "{what} did not come; log:\n{}", self.log());
            wait(Duration::from_millis(50));
        }
    }
}

fn said(output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// A program that runs; killed when dropped.
pub struct Running {
    pub child: Child,
}

impl Running {
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it can be signalled");
    }

    /// Its exit code, within a time.
    pub fn end(&mut self, within: Duration) -> Option<i32> {
        let begin = now();
        while begin.elapsed() < within {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return Some(status.code().unwrap_or(-1));
            }
            wait(Duration::from_millis(20));
        }
        None
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

#[allow(clippy::disallowed_methods, reason = "tests wait for real processes")]
pub fn wait(length: Duration) {
    std::thread::sleep(length);
}

#[allow(clippy::disallowed_methods, reason = "tests wait for real processes")]
pub fn now() -> Stopwatch {
    Stopwatch(Instant::now())
}

/// How long something takes.
#[derive(Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods, reason = "tests wait for real processes")]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
