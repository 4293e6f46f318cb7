//! The second stage: a process with one thread that gives up what the program must not have, and
//! then becomes the program.
//!
//! The order matters: what needs privileges (limits, groups, user) comes first, what must not be
//! done with them (entering the directory, opening the program) last.

use super::{Identity, Limits, Order, Report, hear, tell};
use rustix::fs::{MemfdFlags, Mode, memfd_create};
use rustix::process::{
    Gid, Resource, Rlimit, Signal, Uid, getrlimit, getuid, set_parent_process_death_signal,
    setpriority_process, setrlimit, umask,
};
use rustix::thread::{set_no_new_privs, set_thread_gid, set_thread_groups, set_thread_uid};
use std::fs::File;
use std::io::{self, BufReader, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// How much sooner than the node a command is chosen when memory runs out.
const OOM_SCORE: &str = "500";

/// Runs the stage; comes back only when the program could not be started.
pub(super) fn run(mut channel: UnixStream) -> i32 {
    let (step, error) = match prepare(&channel) {
        Ok(mut command) => ("exec", command.exec()),
        Err(failed) => failed,
    };
    let errno = error.raw_os_error();
    let _ = tell(&mut channel, &Report::Refused { step: step.into(), text: error.to_string(), errno });
    1
}

type Step<T> = Result<T, (&'static str, io::Error)>;

fn prepare(channel: &UnixStream) -> Step<Command> {
    // What the supervisor does not want to hear, the program must.
    nix::sys::signal::SigSet::all().thread_unblock().map_err(|e| ("signals", e.into()))?;
    let order: Order = channel
        .try_clone()
        .and_then(|c| hear(&mut BufReader::new(c)))
        .and_then(|o| o.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof)))
        .map_err(|e| ("order", e))?;
    close_others(channel.as_raw_fd()).map_err(|e| ("files", e))?;
    // Where the kernel or a container forbids it, only the order of victims is lost.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    setpriority_process(None, order.nice).map_err(|e| ("priority", e.into()))?;
    umask(Mode::from_raw_mode(order.umask));
    let stdin = input(order.stdin.as_deref()).map_err(|e| ("stdin", e))?;
    let uid = order.user.as_ref().map_or_else(|| getuid().as_raw(), |user| user.uid);
    limit(&order.limits, uid).map_err(|e| ("limits", e))?;
    if let Some(user) = &order.user {
        become_user(user).map_err(|e| ("user", e.into()))?;
    }
    set_no_new_privs(true).map_err(|e| ("no_new_privs", e.into()))?;
    // Should the supervisor be killed, the program goes with it. After the user: changing it forgets.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| ("death signal", e.into()))?;
    enter(&order.dirs).map_err(|e| ("dir", e))?;
    let mut command = Command::new(&order.program);
    command.env_clear().envs(order.env).stdin(stdin);
    if let Some((name, args)) = order.argv.split_first() {
        command.arg0(name).args(args);
    }
    // Last, for it may be less than this very process has.
    limit_memory(&order.limits).map_err(|e| ("limits", e))?;
    Ok(command)
}

/// Closes every file but the three standard ones and `keep`, whoever opened it without marking it.
fn close_others(keep: i32) -> io::Result<()> {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open.into_iter().filter(|fd| *fd > 2 && *fd != keep) {
        // The one that listed the folder is closed already.
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}

/// Nothing, or a file in memory with `text`: nobody has to feed a pipe.
fn input(text: Option<&str>) -> io::Result<Stdio> {
    let Some(text) = text else { return Ok(Stdio::null()) };
    let mut file = File::from(memfd_create("stdin", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(Stdio::from(file))
}

/// Lowers a limit, soft and hard; one that is lower already stays.
fn lower(resource: Resource, to: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(to, |hard| hard.min(to));
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

fn limit(limits: &Limits, uid: u32) -> io::Result<()> {
    lower(Resource::Core, 0)?;
    if let Some(seconds) = limits.cpu {
        lower(Resource::Cpu, seconds)?;
    }
    if let Some(files) = limits.files {
        lower(Resource::Nofile, files)?;
    }
    if let Some(processes) = limits.processes {
        // The kernel counts all tasks of the user: those that are there already do not count against
        // the job. For root it does not count at all; the supervisor does.
        lower(Resource::Nproc, tasks_of(uid) + processes)?;
    }
    Ok(())
}

fn limit_memory(limits: &Limits) -> io::Result<()> {
    limits.memory.map_or(Ok(()), |bytes| lower(Resource::As, bytes))
}

/// Tasks that run as `uid` now.
fn tasks_of(uid: u32) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = processes.filter(|e| {
        e.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)
            && e.metadata().is_ok_and(|m| m.uid() == uid)
    });
    own.map(|e| std::fs::read_dir(e.path().join("task")).map_or(1, |tasks| tasks.count() as u64)).sum()
}

fn become_user(user: &Identity) -> rustix::io::Result<()> {
    let groups: Vec<Gid> = user.groups.iter().map(|g| Gid::from_raw(*g)).collect();
    // This process has one thread, so that "the thread" is all of it.
    set_thread_groups(&groups)?;
    set_thread_gid(Gid::from_raw(user.gid))?;
    set_thread_uid(Uid::from_raw(user.uid))
}

/// Enters the first directory that can be entered; the error is of the first one.
fn enter(dirs: &[String]) -> io::Result<()> {
    let mut first = None;
    for dir in dirs {
        match std::env::set_current_dir(dir) {
            Ok(()) => return Ok(()),
            Err(e) => first = first.or(Some(io::Error::new(e.kind(), format!("{dir}: {e}")))),
        }
    }
    first.map_or(Ok(()), Err)
}
