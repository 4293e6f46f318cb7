//! How a program is started and, above all, ended: a hidden mode of our own executable.
//!
//! What must happen between `fork` and `exec` (limits, user, privileges) cannot be done safely in a
//! process with threads, and a node cannot wait for grandchildren it never knew. So a node starts
//! its own executable twice over:
//!
//! ```text
//! node ──spawn──▶ supervisor (`__launch supervise`) ──spawn──▶ `__launch exec` ──exec──▶ the program
//!   ◀── reports ── session leader, parent of every orphan        limits, user, directory
//!   ── "term" ──▶  ends the whole family; so does the node's death (end of the channel)
//! ```
//!
//! The supervisor has made itself the reaper of its descendants: a child that forks twice, leaves
//! its session or outlives its parent becomes the supervisor's own child, and it goes on killing
//! until it has none. It keeps the node's privileges, so that a program that runs as another user
//! cannot kill it.
//!
//! Channel: a socket on standard input, one JSON value a line; first an [`Order`] from the node,
//! then `"term"` or `"kill"`; [`Report`]s the other way. The program never sees it.
//!
//! A program that embeds the library calls [`intercept`] first thing in `main`, before it starts a
//! thread; `mainspring_cli` does so by itself.

mod exec;
mod family;
mod supervise;

pub(super) use family::strike_lost;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "__launch";
/// Present in the environment of a launcher: see [`must_not_be_launcher`].
pub(super) const MARK: &str = "MAINSPRING_LAUNCHER";
/// Our own executable, even after an upgrade has replaced its file.
pub(super) const SELF: &str = "/proc/self/exe";
/// The longest accepted order: a payload, its environment and some room.
const ORDER: u64 = 8 << 20;

/// What to run, and how. Everything is decided by the node; the launcher only obeys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The file to run.
    pub program: String,
    /// The arguments, from the name the program sees.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// The first of these that can be entered.
    pub dirs: Vec<String>,
    /// Standard input; nothing when None.
    pub stdin: Option<String>,
    /// Permissions that new files do not get.
    pub umask: u32,
    /// Run as this user.
    pub user: Option<Identity>,
    /// Limits.
    pub limits: Limits,
    /// Milliseconds between SIGTERM and SIGKILL.
    pub grace: u64,
    /// The priority of the node, which the program gets back: the supervisor fills it in.
    #[serde(default)]
    pub nice: i32,
}

/// A user as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// What a family of processes may use. None: as much as the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Limits {
    /// Seconds of processor time of one process.
    pub cpu: Option<u64>,
    /// Bytes of address space of one process.
    pub memory: Option<u64>,
    /// Open files of one process.
    pub files: Option<u64>,
    /// Processes of the family.
    pub processes: Option<u64>,
}

/// What the launcher tells the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// The program runs.
    Started { pid: i32 },
    /// It could not be started: at which step, why, and the system's error number.
    Refused { step: String, text: String, errno: Option<i32> },
    /// The program itself ended.
    Exited { code: Option<i32>, signal: Option<i32> },
    /// It left so many processes behind, which are being ended.
    Left { count: usize },
    /// The family has become larger than allowed and is being killed.
    TooMany { processes: u64 },
    /// Nobody is left.
    Gone,
}

/// What the node asks for after the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// SIGTERM, and SIGKILL after the grace time.
    Term,
    /// SIGKILL.
    Kill,
}

/// Becomes the launcher when this process was started as one; returns otherwise. To be called first
/// in `main`, before any thread is started.
pub fn intercept() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == SUBCOMMAND) {
        main(&args[1..]);
    }
}

/// The hidden mode: `supervise` or `exec`. Never returns.
pub fn main(args: &[String]) -> ! {
    let known: Option<fn(UnixStream) -> i32> = match args {
        [mode] if mode == "supervise" => Some(supervise::run),
        [mode] if mode == "exec" => Some(exec::run),
        _ => None,
    };
    let channel = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    match (known, channel) {
        // By hand, standard input is no socket: asking for its peer tells the two apart.
        (Some(run), Ok(channel)) if channel.peer_addr().is_ok() => std::process::exit(run(channel)),
        _ => {
            eprintln!("{SUBCOMMAND} is started by a node to run a command, never by hand");
            std::process::exit(2)
        }
    }
}

/// Ends a process that was started as a launcher and did not become one: it would run as a second
/// node, which may start a third.
pub(super) fn must_not_be_launcher() {
    if std::env::var_os(MARK).is_some() {
        eprintln!(
            "this program was started as the launcher of a command, but does not call \
             mainspring::kinds::launcher::intercept() first in main"
        );
        std::process::exit(2);
    }
}

/// Writes one value as a line.
fn tell(channel: &mut impl Write, value: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    channel.write_all(&line)
}

/// Reads one value from its line; None at the end.
fn hear<T: for<'de> Deserialize<'de>>(channel: &mut impl BufRead) -> std::io::Result<Option<T>> {
    let mut line = Vec::new();
    channel.by_ref().take(ORDER).read_until(b'\n', &mut line)?;
    if line.is_empty() { Ok(None) } else { Ok(Some(serde_json::from_slice(&line)?)) }
}
