//! Kind `command`: programs that take all they can get. In a file of their own, because the times
//! that the tests of `command.rs` measure would suffer.
#![allow(clippy::disallowed_methods, reason = "real processes take real time, and the tests measure it")]

mod process;

use mainspring::kinds::command::CommandPolicy;
use process::{alive, policy, retry, run, run_with, sh};
use std::time::{Duration, Instant};

#[tokio::test]
async fn limits_hold() {
    let limited =
        |line: &str, limits: serde_json::Value| run(serde_json::json!({"shell": line, "limits": limits}));
    let (answer, attempt) = limited(
        "ulimit -n; ulimit -v; ulimit -t",
        serde_json::json!({"files": 64, "memory": "1GiB", "cpu": "7s"}),
    )
    .await;
    answer.unwrap();
    assert_eq!(attempt.lines(), ["64", "1048576", "7"]);
    let begun = Instant::now();
    let (class, text) = retry(limited("while :; do :; done", serde_json::json!({"cpu": "1s"})).await.0);
    assert!(class == "signal" && text.contains("cpu") && begun.elapsed() < Duration::from_secs(20), "{text}");
    let hungry = "x=$(head -c 300000000 /dev/zero | tr '\\0' x); echo ${#x}";
    let (answer, attempt) = limited(hungry, serde_json::json!({"memory": "64MiB"})).await;
    assert!(answer.is_err() && !attempt.text().contains("300000000"), "{answer:?} {}", attempt.text());
}

/// Doubles at each of nine levels: far over the limit of forty, yet at most about a thousand
/// processes, so that a broken limit fails this test instead of taking the machine down. An unbounded
/// bomb must never stand in a test: as root the kernel does not stop it.
const BOMB: &str = "f() { if [ $1 -gt 0 ]; then f $(($1-1)) | f $(($1-1)) & sleep 20; fi; }; f 9; sleep 60";

#[tokio::test]
async fn a_fork_bomb_is_put_out() {
    let mark = "MARK_BOMB";
    let users: &[Option<&str>] =
        if rustix::process::getuid().is_root() { &[None, Some("nobody")] } else { &[None] };
    for user in users {
        let policy = CommandPolicy { users: vec!["root".into(), "nobody".into()], ..policy() };
        let payload = serde_json::json!({
            "shell": BOMB, "limits": {"processes": 40}, "timeout": "3s", "grace": "1s",
            "env": {mark: "1"}, "user": user, "dir": "/",
        });
        let begun = Instant::now();
        let (answer, _) = run_with(policy, payload).await;
        if user.is_none() && rustix::process::getuid().is_root() {
            // The kernel does not count for root: it was the supervisor who noticed.
            assert_eq!(retry(answer.clone()).0, "limit");
        }
        assert!(answer.is_err() && begun.elapsed() < Duration::from_secs(7), "{user:?}: {answer:?}");
        assert_eq!(alive(mark), [""; 0], "{user:?}");
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test]
async fn a_gigabyte_of_output_is_cut_in_bounded_memory() {
    for line in [
        "head -c 1073741824 /dev/zero; echo; echo the end",
        "yes | head -c 1073741824; echo the end; echo err >&2",
    ] {
        let before = resident();
        let (answer, attempt) = sh(line).await;
        let output = answer.unwrap().unwrap().value();
        let grown = resident().saturating_sub(before);
        assert!(grown < 64 << 20, "{line}: grown by {grown} bytes");
        assert!(output["bytes"].as_u64().unwrap() > 1 << 30 && output["cut"] == true, "{output}");
        let log = attempt.text();
        assert!(attempt.lines().len() <= 1000 && log.len() < (1 << 20) + (64 << 10), "{} bytes", log.len());
        assert!(log.contains("[output cut:") && log.contains("the end"), "{line}");
    }
}
