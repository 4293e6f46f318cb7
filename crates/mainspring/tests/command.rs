//! Kind `command` from outside: real processes, some of them hostile.
#![allow(clippy::disallowed_methods, reason = "real processes take real time, and the tests measure it")]

mod process;

use mainspring::JobError;
use mainspring::context::StopReason;
use mainspring::core::job::LogLevel;
use mainspring::kinds::command::{Command, CommandPolicy};
use process::{Try, alive, fatal, gone, json, launcher, policy, retry, run, run_with, sh};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[tokio::test]
async fn what_is_not_allowed_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("trace");
    let touch = serde_json::json!({"argv": ["touch", file]});
    let line = serde_json::json!({"shell": format!("touch {}", file.display())});
    for (policy, payload, setting) in [
        (CommandPolicy { enabled: false, ..policy() }, &touch, "commands.enabled"),
        (CommandPolicy { enabled: false, ..policy() }, &line, "commands.enabled"),
        (CommandPolicy { shell: false, ..policy() }, &line, "commands.shell"),
        (CommandPolicy { allow: vec!["/bin/echo".into()], ..policy() }, &touch, "commands.allow"),
    ] {
        let (class, text) = fatal(run_with(policy, payload.clone()).await.0);
        assert!(class == "commands_off" && text.starts_with("MS0030") && text.contains(setting), "{text}");
        assert!(!file.exists(), "{setting}");
    }
    run_with(CommandPolicy { allow: vec!["touch".into()], ..policy() }, touch).await.0.unwrap();
    assert!(file.exists());
}

#[tokio::test]
async fn exit_codes_have_their_meaning() {
    let output = sh("echo done").await.0.unwrap().unwrap().value();
    assert_eq!(
        (&output["exit_code"], &output["tail"], &output["bytes"]),
        (&0.into(), &"done".into(), &5.into())
    );
    let (class, text) = retry(sh("echo because >&2; exit 3").await.0);
    assert!(class == "exit_code" && text.contains("exit code 3") && text.contains("because"), "{text}");
    let (class, text) = fatal(sh("no-such-program-here").await.0);
    assert!(class == "exit_code" && text.contains("127") && text.contains("command not found"), "{text}");
    let (_, text) = fatal(sh("exit 126").await.0);
    assert!(text.contains("cannot be run"), "{text}");
    let codes = serde_json::json!({"shell": "exit $N", "success_codes": [0, 4], "skip_codes": [75], "fatal_codes": [9]});
    let with = |n: &str| {
        let mut payload = codes.clone();
        payload["env"] = serde_json::json!({"N": n});
        payload
    };
    assert_eq!(run(with("4")).await.0.unwrap().unwrap().value()["exit_code"], 4);
    assert!(matches!(run(with("75")).await.0, Err(JobError::Skip(reason)) if reason.contains("75")));
    assert_eq!(fatal(run(with("9")).await.0).0, "exit_code");
    assert_eq!(retry(run(with("5")).await.0).0, "exit_code");
}

#[tokio::test]
async fn deaths_by_signal_are_named() {
    for (signal, name) in [("SEGV", "SIGSEGV (11)"), ("KILL", "SIGKILL (9)"), ("TERM", "SIGTERM (15)")] {
        let (class, text) = retry(sh(&format!("kill -{signal} $$")).await.0);
        assert!(class == "signal" && text.contains(name), "{text}");
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_or_not_executable_is_fatal() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str, mode: u32| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let argv = |path: PathBuf| serde_json::json!({"argv": [path]});
    let (class, text) = fatal(run(argv(dir.path().join("missing"))).await.0);
    assert!(class == "command_not_found" && text.contains("missing"), "{text}");
    let (class, text) = fatal(run(argv(at("plain", "#!/bin/sh\n", 0o644))).await.0);
    assert!(class == "command_not_found" && text.contains("executable"), "{text}");
    let (class, text) = fatal(run(argv(at("orphan", "#!/no/such/interpreter\n", 0o755))).await.0);
    assert!(class == "command_not_found" && text.contains("interpreter"), "{text}");
    assert!(run(argv(at("fine", "#!/bin/sh\nexit 0\n", 0o755))).await.0.is_ok());
}

#[tokio::test]
async fn the_environment_is_clean_and_like_crons() {
    let payload = serde_json::json!({"argv": ["/usr/bin/env"], "env": {"HOME": "/", "GREETING": "hi there"}});
    let (answer, attempt) = run(payload).await;
    answer.unwrap();
    let mut names: Vec<String> =
        attempt.lines().iter().filter_map(|l| Some(l.split_once('=')?.0.to_owned())).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "GREETING",
            "HOME",
            "LANG",
            "LOGNAME",
            "MAINSPRING_ATTEMPT",
            "MAINSPRING_JOB_ID",
            "MAINSPRING_SUPERVISOR",
            "PATH",
            "SHELL",
            "USER"
        ]
    );
    let lines = attempt.lines();
    for line in [
        "GREETING=hi there",
        "HOME=/",
        "SHELL=/bin/sh",
        "LANG=C.UTF-8",
        "MAINSPRING_JOB_ID=7",
        "MAINSPRING_ATTEMPT=2",
    ] {
        assert!(lines.contains(&line.to_owned()), "{line} in {lines:?}");
    }
    // What a crontab's own lines say goes before: PATH, SHELL and HOME, which is also where it runs.
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().canonicalize().unwrap();
    let env = serde_json::json!({"PATH": "/bin", "SHELL": "/bin/bash", "HOME": home});
    let (answer, attempt) =
        run(serde_json::json!({"shell": "echo $PATH $SHELL ${BASH_VERSION:+bash}; pwd", "env": env})).await;
    answer.unwrap();
    assert_eq!(attempt.lines(), ["/bin /bin/bash bash".to_owned(), home.display().to_string()]);
}

#[tokio::test]
async fn stdin_dir_and_umask_are_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().canonicalize().unwrap();
    let line = "cat; pwd; umask; : > made";
    let payload = serde_json::json!({"shell": line, "stdin": "given\n", "dir": home, "umask": "077"});
    let (answer, attempt) = run(payload).await;
    answer.unwrap();
    assert_eq!(attempt.lines(), ["given".to_owned(), home.display().to_string(), "0077".to_owned()]);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(home.join("made")).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let (answer, attempt) = sh("cat; echo end; readlink /proc/self/fd/0").await;
    answer.unwrap();
    assert_eq!(attempt.lines(), ["end", "/dev/null"], "without stdin there is none");
    let (class, text) = retry(run(serde_json::json!({"shell": "true", "dir": "/no/such/dir"})).await.0);
    assert!(class == "launcher" && text.contains("/no/such/dir"), "{text}");
}

#[tokio::test]
async fn files_of_the_node_do_not_leak() {
    // Open without the mark that closes it at exec, as careless libraries do.
    let file = std::fs::File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
    let (answer, attempt) = run(serde_json::json!({"argv": ["/bin/ls", "/proc/self/fd"]})).await;
    answer.unwrap();
    assert_eq!(attempt.lines(), ["0", "1", "2", "3"], "its three, and the folder it reads itself");
}

#[tokio::test]
async fn privileges_cannot_be_gained_and_cores_are_not_written() {
    let line = "grep NoNewPrivs /proc/self/status; ulimit -c; cat /proc/self/oom_score_adj; nice";
    let (answer, attempt) = sh(line).await;
    answer.unwrap();
    let own = rustix::process::getpriority_process(None).unwrap().to_string();
    assert_eq!(attempt.lines(), ["NoNewPrivs:\t1", "0", "500", &own], "and its priority is the node's");
}

#[tokio::test]
async fn it_has_a_session_and_a_group_of_its_own() {
    // Fields 5 and 6 of stat are group and session: the group is the program's, the session not ours.
    let (answer, attempt) = sh("echo $$ $(cut -d' ' -f5,6 /proc/$$/stat)").await;
    answer.unwrap();
    let line = attempt.text();
    let ids: Vec<i32> = line.split(' ').map(|n| n.parse().unwrap()).collect();
    // Ours is read as text: in a container whose first process was started from outside it is 0, which
    // is no process that anybody here could name.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let own: i32 = stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap().parse().unwrap();
    assert!(ids[0] == ids[1] && ids[2] != own && ids[2] != ids[0], "{line}, ours is {own}");
}

#[tokio::test]
async fn a_time_out_ends_it_and_has_its_own_outcome() {
    let begun = Instant::now();
    let mark = "MARK_TIMEOUT";
    let payload =
        serde_json::json!({"shell": "echo about >&2; sleep 60", "timeout": "300ms", "env": {mark: "1"}});
    let (answer, attempt) = run(payload).await;
    let Err(JobError::TimedOut(error)) = answer else { panic!("{answer:?}") };
    assert!(
        error.class == "timeout" && error.message.contains("300ms") && error.chain == ["about"],
        "{error:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(3), "SIGTERM was enough, no grace is waited");
    assert!(attempt.text().contains("SIGTERM"));
    assert_eq!(alive(mark), [""; 0]);
}

#[tokio::test]
async fn who_ends_well_on_sigterm_may_use_the_grace() {
    let line = "trap 'sleep 0.3; echo tidied; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let (answer, attempt) = run(serde_json::json!({"shell": line, "timeout": "500ms", "grace": "10s"})).await;
    assert!(matches!(answer, Err(JobError::TimedOut(_))), "{answer:?}");
    assert!(attempt.text().contains("tidied"), "{}", attempt.text());
}

#[tokio::test]
async fn who_ignores_sigterm_is_gone_within_the_grace_and_two_seconds() {
    let mark = "MARK_IGNORES";
    let line = "trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & while :; do sleep 1; done";
    let begun = Instant::now();
    let (answer, _) =
        run(serde_json::json!({"shell": line, "timeout": "300ms", "grace": "1s", "env": {mark: "1"}})).await;
    assert!(matches!(answer, Err(JobError::TimedOut(_))), "{answer:?}");
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(1200) && took < Duration::from_millis(3300), "{took:?}");
    assert_eq!(alive(mark), [""; 0]);
}

#[tokio::test]
async fn double_forks_and_new_sessions_do_not_escape() {
    let mark = "MARK_ESCAPES";
    for escape in [
        // In the background of a shell that ends.
        "sleep 300 & exit 0",
        // Twice, so that its parent is gone, and in a session of its own.
        "(setsid sh -c 'setsid sleep 300 & sleep 300' >/dev/null 2>&1 &) ; exit 0",
        // Deaf to SIGTERM as well, and without its environment.
        "(setsid env -i sh -c 'trap \"\" TERM; echo MARK_ESCAPES; while :; do sleep 1; done' >/dev/null &) ; exit 0",
    ] {
        let begun = Instant::now();
        let (answer, attempt) =
            run(serde_json::json!({"shell": escape, "grace": "1s", "env": {mark: "1"}})).await;
        assert!(answer.is_ok(), "{escape}: {answer:?}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{escape}: {:?}", begun.elapsed());
        assert!(attempt.text().contains("processes running"), "{escape}: {}", attempt.text());
        assert_eq!(alive(mark), [""; 0], "{escape}");
    }
}

#[tokio::test]
async fn a_cancel_ends_the_family_and_so_does_dropping_the_run() {
    let mark = "MARK_CANCEL";
    let line = "(setsid sh -c 'trap \"\" TERM; sleep 300; sleep 300' &) ; echo ready; sleep 300";
    let payload = json(&serde_json::json!({"shell": line, "grace": "500ms", "env": {mark: "1"}}));
    let attempt = Try::default();
    let command = Command::new(policy());
    let stop = async {
        attempt.wait_for("ready").await;
        attempt.stop.ask(StopReason::Cancelled);
    };
    let begun = Instant::now();
    let (answer, ()) = tokio::join!(command.execute(&payload, &attempt), stop);
    assert_eq!(retry(answer).0, "stopped");
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert_eq!(alive(mark), [""; 0]);

    let attempt = Try::default();
    tokio::select! {
        answer = command.execute(&payload, &attempt) => panic!("{answer:?}"),
        _ = attempt.wait_for("ready") => {}
    }
    // Dropped: nobody waits for it any more, and it ends all the same.
    gone(mark, Duration::from_millis(2500)).await;
}

#[tokio::test]
async fn a_supervisor_that_is_killed_takes_the_family_with_it() {
    let mark = "MARK_LOST";
    let line = "setsid sleep 300 & echo supervisor $MAINSPRING_SUPERVISOR; sleep 300";
    let payload = json(&serde_json::json!({"shell": line, "env": {mark: "1"}}));
    let attempt = Try::default();
    let kill = async {
        let pid: i32 = attempt.wait_for("supervisor ").await.parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    };
    let command = Command::new(policy());
    let (answer, ()) = tokio::join!(command.execute(&payload, &attempt), kill);
    let (class, text) = retry(answer);
    assert!(class == "launcher" && text.contains("supervisor"), "{class}: {text}");
    gone(mark, Duration::from_secs(5)).await;
}

#[tokio::test]
async fn output_is_clean_text_with_levels() {
    let (answer, attempt) =
        sh("printf '\\033[31mred\\033[0m\\a\\n'; sleep 0.1; echo oops >&2; sleep 0.1; printf last").await;
    answer.unwrap();
    let log = attempt.log.lock().unwrap().clone();
    let expected = [(LogLevel::Info, "red"), (LogLevel::Warn, "oops"), (LogLevel::Info, "last")];
    assert_eq!(log, expected.map(|(level, text)| (level, text.to_owned())));
}

#[tokio::test]
async fn root_may_switch_to_a_listed_user_and_others_may_not() {
    let payload = serde_json::json!({
        "shell": "id -u; id -g; id -G; echo $HOME $USER; cat /etc/shadow; kill -9 $MAINSPRING_SUPERVISOR; pwd",
        "user": "nobody",
    });
    if !rustix::process::getuid().is_root() {
        let (class, text) = fatal(run(payload).await.0);
        assert!(
            class == "user_switch" && text.starts_with("MS0031") && text.contains("does not run as root"),
            "{text}"
        );
        return;
    }
    let (class, text) = fatal(run(payload.clone()).await.0);
    assert!(class == "user_switch" && text.contains("commands.users"), "{text}");
    let (answer, attempt) =
        run_with(CommandPolicy { users: vec!["nobody".into()], ..policy() }, payload).await;
    answer.unwrap();
    let out: Vec<String> = attempt
        .log
        .lock()
        .unwrap()
        .iter()
        .filter(|(l, _)| *l == LogLevel::Info)
        .map(|(_, t)| t.clone())
        .collect();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let fields: Vec<&str> = passwd.lines().find(|l| l.starts_with("nobody:")).unwrap().split(':').collect();
    // Its home does not exist on most machines: then it runs in the root of the file system.
    let dir = if std::path::Path::new(fields[5]).is_dir() { fields[5] } else { "/" };
    assert_eq!(out, [fields[2], fields[3], fields[3], &format!("{} nobody", fields[5]), dir]);
    let errors = attempt.text();
    assert!(errors.contains("Permission denied"), "the password file stays closed: {errors}");
    assert!(errors.to_lowercase().contains("not permitted"), "the supervisor cannot be killed: {errors}");
}

#[tokio::test]
async fn a_node_that_is_not_root_refuses_to_switch() {
    if !rustix::process::getuid().is_root() {
        return; // The test above has it.
    }
    // As `nobody`, this very test program runs the test above and takes its other way.
    let policy = CommandPolicy { users: vec!["nobody".into()], ..policy() };
    let dir = tempfile::tempdir().unwrap();
    let (test, launcher) = (dir.path().join("test"), dir.path().join("launcher"));
    for (from, to) in [(std::env::current_exe().unwrap(), &test), (self::launcher(), &launcher)] {
        std::fs::copy(from, to).unwrap();
    }
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let payload = serde_json::json!({
        "argv": [test, "--exact", "refuses_as_plain_user", "--ignored", "--nocapture"], "user": "nobody", "dir": "/",
        "env": {"TEST_LAUNCHER": launcher},
    });
    let (answer, attempt) = run_with(policy, payload).await;
    assert!(answer.is_ok(), "{answer:?} {}", attempt.text());
    assert!(attempt.text().contains("1 passed"), "{}", attempt.text());
}

#[tokio::test]
#[ignore = "run as a plain user by the test above"]
async fn refuses_as_plain_user() {
    assert!(!rustix::process::getuid().is_root());
    let (class, text) = fatal(run(serde_json::json!({"shell": "id", "user": "root"})).await.0);
    assert!(
        class == "user_switch" && text.starts_with("MS0031") && text.contains("does not run as root"),
        "{text}"
    );
    // Its own name is no switch.
    let (answer, attempt) = run(serde_json::json!({"shell": "id -un", "user": "nobody", "dir": "/"})).await;
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(attempt.text(), "nobody");
}

#[tokio::test]
async fn the_launcher_is_not_for_people_and_embedders_are_told() {
    let by_hand = std::process::Command::new(launcher()).args(["__launch", "supervise"]).output().unwrap();
    assert_eq!(by_hand.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&by_hand.stderr).contains("never by hand"));
    // A program that does not become the launcher: it ends, and the job says what it said.
    let policy = CommandPolicy { launcher: "/bin/ls".into(), ..policy() };
    let (class, text) = fatal(run_with(policy, serde_json::json!({"shell": "true"})).await.0);
    assert!(class == "launcher" && text.contains("__launch"), "{text}");
}

#[test]
fn a_preview_tells_what_would_run_and_what_forbids_it() {
    let payload = json(&serde_json::json!({"argv": ["true", "-x"], "env": {"TOKEN": "s3cret"}}));
    let shown = Command::new(policy()).describe(&payload).unwrap();
    assert!(shown["program"].as_str().unwrap().ends_with("/true") && shown["problem"].is_null(), "{shown}");
    assert!(!shown.to_string().contains("s3cret"), "{shown}");
    let shown = Command::new(CommandPolicy::default()).describe(&payload).unwrap();
    assert!(shown["problem"].as_str().unwrap().contains("commands.enabled"), "{shown}");
    let (field, text) = Command::new(policy()).describe(&json(&serde_json::json!({"arg": []}))).unwrap_err();
    assert!(field == "payload" && text.contains("unknown field `arg`"), "{text}");
}
