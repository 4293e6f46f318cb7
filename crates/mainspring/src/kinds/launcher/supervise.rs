//! The supervisor: starts the program, reaps everything that comes of it, and ends it when told to
//! or when the node is gone.
//!
//! Three threads, no polling but for the count of processes: the main one waits for children until
//! there are none, one listens to the node, one counts. Each only ever sends signals; that there is
//! nobody left is known from the kernel alone (`ECHILD`).

use super::family::{SUPERVISOR, count, size, strike};
use super::{Ask, MARK, Order, Report, SELF, SUBCOMMAND, hear, tell};
use nix::sys::signal::{SigSet, Signal as NixSignal};
use rustix::io::Errno;
use rustix::process::{
    Signal, WaitOptions, getpid, getpriority_process, getuid, set_child_subreaper, setpriority_process,
    setsid, wait,
};
use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How often the family is struck again while it does not go, and counted where nothing but this
/// count limits it (root).
const BEAT: Duration = Duration::from_millis(50);
/// How often it is counted where the kernel limits it, too.
const SLOW_BEAT: Duration = Duration::from_secs(1);
/// The priority of a supervisor, where it may choose: it must come to its turn while the program
/// does its worst.
const NICE: i32 = -20;

/// What the threads share.
struct Family {
    /// The supervisor's own number: the root.
    root: i32,
    /// The program's number, and its group's.
    main: i32,
    grace: Duration,
    channel: Mutex<UnixStream>,
    /// An end was asked for, whoever asked.
    ending: AtomicBool,
    /// Set when SIGKILL is due before the grace time is over.
    now: Mutex<bool>,
    hurry: Condvar,
}

impl Family {
    fn report(&self, report: &Report) {
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        // A node that is gone needs no report; the listening thread has noticed it.
        let _ = tell(&mut *channel, report);
    }

    /// SIGTERM, the grace time, then SIGKILL until nobody is left; on a thread of its own. Asked
    /// again with `grace` zero it hurries.
    fn end(self: &Arc<Family>, grace: Duration) {
        if grace.is_zero() {
            *self.now.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.hurry.notify_all();
        }
        if self.ending.swap(true, Ordering::SeqCst) {
            return;
        }
        let family = self.clone();
        let struck = std::thread::Builder::new().spawn(move || {
            strike(family.root, family.main, Signal::TERM);
            // A stopped process takes its signal only when it goes on.
            strike(family.root, family.main, Signal::CONT);
            let now = family.now.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = family.hurry.wait_timeout_while(now, grace, |now| !*now);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            loop {
                strike(family.root, family.main, Signal::KILL);
                family.wait(BEAT);
            }
        });
        if struck.is_err() {
            strike(self.root, self.main, Signal::KILL);
        }
    }

    /// Sleeps: nothing ever notifies this one, the process ends instead.
    fn wait(&self, wait: Duration) {
        let (lock, condition) = (Mutex::new(()), Condvar::new());
        let held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        drop(condition.wait_timeout(held, wait));
    }
}

/// Runs the supervisor; gives its exit code.
pub(super) fn run(channel: UnixStream) -> i32 {
    match start(channel) {
        Ok(family) => {
            reap(&family);
            family.report(&Report::Gone);
            0
        }
        Err(code) => code,
    }
}

fn start(channel: UnixStream) -> Result<Arc<Family>, i32> {
    // Whoever stops the service signals all its processes; this one is needed to the end.
    let mut quiet = SigSet::empty();
    for signal in [NixSignal::SIGTERM, NixSignal::SIGINT, NixSignal::SIGHUP, NixSignal::SIGQUIT] {
        quiet.add(signal);
    }
    let refuse = |mut channel: &UnixStream, step: &str, text: String, errno: Option<i32>| {
        let _ = tell(&mut channel, &Report::Refused { step: step.into(), text, errno });
        1
    };
    let blocked = quiet.thread_block();
    blocked.map_err(|e| refuse(&channel, "supervise", e.to_string(), Some(e as i32)))?;
    // Fails only for who leads a group already: then it is as far away as it can be.
    let _ = setsid();
    let own = getpid();
    set_child_subreaper(Some(own))
        .map_err(|e| refuse(&channel, "supervise", e.to_string(), Some(e.raw_os_error())))?;
    let reading =
        channel.try_clone().map_err(|e| refuse(&channel, "supervise", e.to_string(), e.raw_os_error()))?;
    let mut reading = BufReader::new(reading);
    let mut order: Order = match hear(&mut reading) {
        Ok(Some(order)) => order,
        // The node died in between: there is nothing to do and nobody to tell.
        Ok(None) => return Err(1),
        Err(e) => return Err(refuse(&channel, "supervise", e.to_string(), None)),
    };
    let root = own.as_raw_nonzero().get();
    order.env.push((SUPERVISOR.into(), root.to_string()));
    order.nice = getpriority_process(None).unwrap_or(0);
    // Only root may; another's processes are limited by the kernel.
    let _ = setpriority_process(None, NICE);
    let main = spawn(&order).map_err(|e| refuse(&channel, "start", e.text, e.errno))?;
    let family = Arc::new(Family {
        root,
        main,
        grace: Duration::from_millis(order.grace),
        channel: Mutex::new(channel),
        ending: AtomicBool::new(false),
        now: Mutex::new(false),
        hurry: Condvar::new(),
    });
    family.report(&Report::Started { pid: main });
    let listening = family.clone();
    let heard = std::thread::Builder::new().spawn(move || listen(&listening, &mut reading));
    if heard.is_err() {
        family.end(Duration::ZERO);
    }
    if let Some(most) = order.limits.processes {
        let counting = family.clone();
        let root = order.user.as_ref().map_or_else(|| getuid().is_root(), |user| user.uid == 0);
        let beat = if root { BEAT } else { SLOW_BEAT };
        // Where it cannot be started, the limit of the kernel still holds.
        let _ = std::thread::Builder::new().spawn(move || keep_small(&counting, most, beat));
    }
    Ok(family)
}

struct Failed {
    text: String,
    errno: Option<i32>,
}

impl From<std::io::Error> for Failed {
    fn from(e: std::io::Error) -> Failed {
        Failed { text: e.to_string(), errno: e.raw_os_error() }
    }
}

/// Starts the second stage and hears from it whether the program runs.
fn spawn(order: &Order) -> Result<i32, Failed> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let child = Command::new(SELF)
        .arg0("mainspring")
        .args([SUBCOMMAND, "exec"])
        .env_clear()
        .env(MARK, "1")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .process_group(0)
        .spawn()?;
    tell(&mut ours, order)?;
    // The other end closes when the program takes over; until then it tells what is wrong.
    match hear::<Report>(&mut BufReader::new(ours))? {
        None => Ok(child.id().cast_signed()),
        Some(Report::Refused { step, text, errno }) => Err(Failed { text: format!("{step}: {text}"), errno }),
        Some(other) => Err(Failed { text: format!("unexpected report {other:?}"), errno: None }),
    }
}

/// Obeys the node. The end of the channel is the end of the node: nobody is left to ask.
fn listen(family: &Arc<Family>, channel: &mut BufReader<UnixStream>) {
    while let Ok(Some(ask)) = hear(channel) {
        match ask {
            Ask::Term => family.end(family.grace),
            Ask::Kill => family.end(Duration::ZERO),
        }
    }
    family.end(family.grace);
}

/// Kills a family that grows beyond `most`. The kernel has such a limit too, but it counts all
/// processes of a user and does not hold for root.
fn keep_small(family: &Arc<Family>, most: u64, beat: Duration) {
    loop {
        if count(family.root, most) > most {
            // Told first: once they are dead, the other thread ends this process.
            family.report(&Report::TooMany { processes: most });
            strike(family.root, family.main, Signal::KILL);
            return family.end(Duration::ZERO);
        }
        family.wait(beat);
    }
}

/// Waits until there is no child any more.
fn reap(family: &Arc<Family>) {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == family.main => {
                family.report(&Report::Exited {
                    code: status.exit_status(),
                    signal: status.terminating_signal(),
                });
                let left = size(family.root);
                if left > 0 {
                    if !family.ending.load(Ordering::SeqCst) {
                        family.report(&Report::Left { count: left });
                    }
                    family.end(family.grace);
                }
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
