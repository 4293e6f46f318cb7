//! One run: starts the launcher, takes what comes out, and says what it means.
//!
//! One loop over everything that can happen: output, reports of the supervisor, the end asked for,
//! time over. Dropping it anywhere closes the channel, whereupon the supervisor ends the family.

use super::super::Attempt;
use super::super::launcher::{Ask, MARK, Order, Report, SUBCOMMAND, strike_lost};
use super::output::{Output, Stream};
use super::payload::Payload;
use crate::context::StopReason;
use crate::job::JobError;
use crate::node::pause;
use mainspring_core::code::Code;
use mainspring_core::job::LogLevel;
use mainspring_core::{Json, duration, limits};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr, ChildStdout};

/// Beyond the grace: how long SIGKILL may take before the rest is given up.
const LAST: Duration = Duration::from_millis(1500);
/// How long output may still come when everybody is gone.
const DRAIN: Duration = Duration::from_millis(300);

/// What has happened so far.
#[derive(Default)]
struct Seen {
    started: bool,
    refused: Option<(String, String, Option<i32>)>,
    exited: Option<(Option<i32>, Option<i32>)>,
    too_many: Option<u64>,
    gone: bool,
    stopped: Option<StopReason>,
    timed_out: bool,
}

struct Run {
    child: Child,
    out: ChildStdout,
    err: ChildStderr,
    reports: Lines<BufReader<OwnedReadHalf>>,
    asks: OwnedWriteHalf,
}

/// Runs `order` to the end of its last process.
pub(super) async fn run(
    launcher: &Path,
    order: Order,
    payload: &Payload,
    attempt: &dyn Attempt,
) -> Result<Option<Json>, JobError> {
    let failed = |e: std::io::Error| {
        JobError::retry(format!("the launcher {} cannot be started: {e}", launcher.display()))
            .class("launcher")
    };
    let mut run = start(launcher, &order).await.map_err(failed)?;
    let mut output = Output::new();
    let seen = follow(&mut run, &order, payload, &mut output, attempt).await;
    if !seen.gone && seen.refused.is_none() {
        // The supervisor did not see the end: it was killed, or something cannot be killed.
        let supervisor = run.child.id().map_or(0, u32::cast_signed);
        let _ = run.child.start_kill();
        strike_lost(supervisor);
    }
    let _ = tokio::time::timeout(DRAIN, run.child.wait()).await;
    output.finish(attempt);
    judge(&seen, &order, payload, &output)
}

async fn start(launcher: &Path, order: &Order) -> std::io::Result<Run> {
    let (ours, theirs) = StdStream::pair()?;
    let mut command = tokio::process::Command::new(launcher);
    command
        .arg0("mainspring")
        .args([SUBCOMMAND, "supervise"])
        .env_clear()
        .env(MARK, "1")
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    // It holds the other end of the channel, whose end must be seen.
    drop(command);
    ours.set_nonblocking(true)?;
    let (reading, mut asks) = UnixStream::from_std(ours)?.into_split();
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    let missing = || std::io::Error::other("a pipe is missing");
    let (out, err) = (child.stdout.take().ok_or_else(missing)?, child.stderr.take().ok_or_else(missing)?);
    // One that ends at once is told apart by what it says, not by the broken channel.
    let _ = asks.write_all(&line).await;
    Ok(Run { child, out, err, reports: BufReader::new(reading).lines(), asks })
}

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

fn timer(after: Option<Duration>) -> Timer {
    match after {
        Some(after) => Box::pin(pause(after)),
        None => Box::pin(std::future::pending()),
    }
}

async fn follow(
    run: &mut Run,
    order: &Order,
    payload: &Payload,
    output: &mut Output,
    attempt: &dyn Attempt,
) -> Seen {
    let grace = Duration::from_millis(order.grace);
    let (mut seen, mut listening, mut open) = (Seen::default(), true, [true; 2]);
    let (mut time_out, mut give_up) = (timer(payload.timeout), timer(None));
    let (mut from_out, mut from_err) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    while listening || open != [false; 2] {
        tokio::select! {
            n = run.out.read(&mut from_out), if open[0] => match n {
                Ok(n) if n > 0 => output.feed(Stream::Out, &from_out[..n], attempt),
                _ => open[0] = false,
            },
            n = run.err.read(&mut from_err), if open[1] => match n {
                Ok(n) if n > 0 => output.feed(Stream::Err, &from_err[..n], attempt),
                _ => open[1] = false,
            },
            line = run.reports.next_line(), if listening => match line {
                Ok(Some(line)) => {
                    if note(&mut seen, &line, attempt) {
                        give_up = timer(Some(grace + LAST));
                    }
                }
                _ => {
                    listening = false;
                    give_up = timer(Some(DRAIN));
                }
            },
            reason = attempt.stop().asked(), if seen.stopped.is_none() => {
                seen.stopped = Some(reason);
                ask(run, Ask::Term).await;
                give_up = timer(Some(grace + LAST));
            }
            () = &mut time_out, if seen.exited.is_none() => {
                seen.timed_out = true;
                time_out = timer(None);
                let limit = duration::format(payload.timeout.unwrap_or_default());
                attempt.line(LogLevel::Warn, &format!("[its time of {limit} is over: SIGTERM]"));
                ask(run, Ask::Term).await;
                give_up = timer(Some(grace + LAST));
            }
            () = &mut give_up => break,
        }
    }
    seen
}

/// Notes a report; true when the end has begun.
fn note(seen: &mut Seen, line: &str, attempt: &dyn Attempt) -> bool {
    let Ok(report) = serde_json::from_str(line) else { return false };
    match report {
        Report::Started { .. } => seen.started = true,
        Report::Refused { step, text, errno } => seen.refused = Some((step, text, errno)),
        Report::Exited { code, signal } => seen.exited = Some((code, signal)),
        Report::TooMany { processes } => seen.too_many = Some(processes),
        Report::Left { count } => {
            let text = format!("[it left {count} processes running; they end with it]");
            attempt.line(LogLevel::Warn, &text);
            return true;
        }
        Report::Gone => seen.gone = true,
    }
    false
}

async fn ask(run: &mut Run, what: Ask) {
    if let Ok(mut line) = serde_json::to_vec(&what) {
        line.push(b'\n');
        // A supervisor that is gone needs no asking.
        let _ = run.asks.write_all(&line).await;
    }
}

/// What the run means.
fn judge(seen: &Seen, order: &Order, payload: &Payload, output: &Output) -> Result<Option<Json>, JobError> {
    let program = &order.program;
    if let Some((step, text, errno)) = &seen.refused {
        return Err(not_started(program, step, text, *errno));
    }
    if !seen.started {
        let end = output.end_of(Stream::Err);
        return Err(
            JobError::fatal(format!("the launcher did not start the command: {end}")).class("launcher")
        );
    }
    if let Some(reason) = seen.stopped {
        return Err(JobError::retry(format!("{program} was ended: {reason:?}")).class("stopped"));
    }
    if seen.timed_out {
        let limit = duration::format(payload.timeout.unwrap_or_default());
        let error =
            JobError::retry(format!("{program} ran longer than its time limit of {limit}")).class("timeout");
        return Err(match because(error, output) {
            JobError::Retry { error, .. } => JobError::TimedOut(error),
            other => other,
        });
    }
    if let Some(most) = seen.too_many {
        let text = format!(
            "{program} had more than {most} processes and was killed; limits.processes sets how many"
        );
        return Err(because(JobError::retry(text).class("limit"), output));
    }
    match seen.exited {
        Some((Some(code), _)) => exited(code, program, payload, output),
        Some((None, signal)) => Err(because(killed(program, signal, payload), output)),
        None => {
            let text =
                format!("the supervisor of {program} was killed, and with it what was left of the command");
            Err(because(JobError::retry(text).class("launcher"), output))
        }
    }
}

fn not_started(program: &str, step: &str, text: &str, errno: Option<i32>) -> JobError {
    let is = |e: rustix::io::Errno| errno == Some(e.raw_os_error());
    let text = text.strip_prefix("exec: ").unwrap_or(text);
    if text.starts_with("user: ") {
        return JobError::fatal(format!("{}: {program}: {text}", Code::USER_SWITCH)).class("user_switch");
    }
    if is(rustix::io::Errno::NOENT) {
        let text =
            format!("command not found: {program}: {text}; or the interpreter in its first line is missing");
        return JobError::fatal(text).class("command_not_found");
    }
    if is(rustix::io::Errno::ACCESS) {
        let text = format!("{program} may not be run: {text}; make it executable for the user it runs as");
        return JobError::fatal(text).class("command_not_found");
    }
    JobError::retry(format!("{program} could not be started ({step}): {text}")).class("launcher")
}

fn exited(code: i32, program: &str, payload: &Payload, output: &Output) -> Result<Option<Json>, JobError> {
    let listed = |codes: &[u8]| codes.iter().any(|c| i32::from(*c) == code);
    if listed(&payload.success_codes) {
        let value = serde_json::json!({
            "exit_code": code,
            "bytes": output.written(),
            "cut": output.is_cut(),
            "tail": output.end_of(Stream::Out),
        });
        return Ok(Some(Json::trusted(value.to_string())));
    }
    if listed(&payload.skip_codes) {
        return Err(JobError::Skip(format!("{program} ended with exit code {code}")));
    }
    let text = format!("{program} ended with exit code {code}");
    let error = match code {
        _ if listed(&payload.fatal_codes) => JobError::fatal(text),
        127 => {
            JobError::fatal(format!("{text}: command not found; check the spelling and the PATH of the job"))
        }
        126 => {
            JobError::fatal(format!("{text}: a command is there but cannot be run; check its permissions"))
        }
        _ => JobError::retry(text),
    };
    Err(because(error.class("exit_code"), output))
}

fn killed(program: &str, signal: Option<i32>, payload: &Payload) -> JobError {
    let signal = signal.unwrap_or_default();
    let name = SIGNALS.iter().find(|(n, _)| *n == signal).map_or("an unnamed signal", |(_, name)| name);
    let hint = match name {
        "SIGXCPU" => "; it used up limits.cpu",
        "SIGKILL" if payload.limits().cpu.is_some() => {
            "; it may have used up limits.cpu, or the memory of the host"
        }
        "SIGKILL" => "; if nobody did it by hand, the host ran out of memory",
        "SIGSEGV" | "SIGABRT" if payload.limits().memory.is_some() => "; it may have met limits.memory",
        _ => "",
    };
    JobError::retry(format!("{program} was killed by {name} ({signal}){hint}")).class("signal")
}

/// The signals that end programs, by their numbers on Linux.
const SIGNALS: [(i32, &str); 17] = [
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (10, "SIGUSR1"),
    (11, "SIGSEGV"),
    (12, "SIGUSR2"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
    (24, "SIGXCPU"),
    (31, "SIGSYS"),
];

/// Adds the last lines of standard error: they most often say why.
fn because(mut failed: JobError, output: &Output) -> JobError {
    if let JobError::Retry { error, .. } | JobError::Fatal(error) | JobError::TimedOut(error) = &mut failed {
        let end = output.end_of(Stream::Err);
        let lines: Vec<&str> = end.lines().collect();
        let last = lines[lines.len().saturating_sub(10)..].join("\n");
        if !last.is_empty() {
            error.chain.push(limits::cut(&last, 1_000));
        }
    }
    failed
}
