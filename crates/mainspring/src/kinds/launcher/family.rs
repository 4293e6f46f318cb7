//! The descendants of the supervisor, as `/proc` shows them.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::HashMap;

/// One process, as `/proc/<pid>/stat` has it.
struct Entry {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
    zombie: bool,
}

/// Every process of the host that can be seen.
fn everybody() -> impl Iterator<Item = Entry> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| look(entry.file_name().to_str()?.parse().ok()?))
}

/// All living descendants of `root`, itself not among them.
fn family(root: i32) -> Vec<Entry> {
    let mut children: HashMap<i32, Vec<Entry>> = HashMap::new();
    for entry in everybody() {
        children.entry(entry.parent).or_default().push(entry);
    }
    let (mut found, mut next) = (vec![], vec![root]);
    while let Some(parent) = next.pop() {
        // Taken out, so that a number given anew while we read cannot lead in a circle.
        for child in children.remove(&parent).unwrap_or_default() {
            next.push(child.pid);
            found.push(child);
        }
    }
    found.retain(|entry| !entry.zombie);
    found
}

/// How many living descendants `root` has.
pub(super) fn size(root: i32) -> usize {
    family(root).len()
}

/// How many living descendants `root` has, up to a little more than `enough`. Reads only the family
/// where the kernel lists children, so that it can be asked often.
pub(super) fn count(root: i32, enough: u64) -> u64 {
    if children_of(root).is_none() {
        return size(root) as u64;
    }
    let (mut n, mut next) = (0, vec![root]);
    while let Some(parent) = next.pop() {
        for child in children_of(parent).unwrap_or_default() {
            next.push(child);
            n += 1;
        }
        if n > enough {
            break;
        }
    }
    n
}

fn children_of(pid: i32) -> Option<Vec<i32>> {
    let mut found = vec![];
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let text = std::fs::read_to_string(task.path().join("children")).ok()?;
        found.extend(text.split_ascii_whitespace().filter_map(|n| n.parse::<i32>().ok()));
    }
    Some(found)
}

/// Reads a line of `stat`; the name in brackets may hold anything.
fn look(pid: i32) -> Option<Entry> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X" | "x");
    let mut number = || fields.next()?.parse().ok();
    Some(Entry { pid, parent: number()?, group: number()?, session: number()?, zombie })
}

/// Sends `signal` to the program's group and to every descendant outside it. The group is hit at
/// one blow, so that a program that forks all the time has nowhere to go.
pub(super) fn strike(root: i32, group_number: i32, signal: Signal) {
    // Who is gone already needs no signal.
    if let Some(group) = Pid::from_raw(group_number) {
        let _ = kill_process_group(group, signal);
    }
    for entry in family(root).iter().filter(|entry| entry.group != group_number) {
        send(entry, signal);
    }
}

/// Whether there was somebody to send it to.
fn send(entry: &Entry, signal: Signal) -> bool {
    Pid::from_raw(entry.pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// Kills what a dead supervisor left behind, as far as it can still be told: its session, and who
/// carries its number in the environment. A few times, for they may be forking.
pub(in super::super) fn strike_lost(supervisor: i32) {
    let mark = format!("{SUPERVISOR}={supervisor}");
    for _ in 0..5 {
        let mut found = false;
        for entry in everybody().filter(|entry| !entry.zombie) {
            let marked = || {
                let environ = std::fs::read(format!("/proc/{}/environ", entry.pid)).unwrap_or_default();
                environ.split(|b| *b == 0).any(|v| v == mark.as_bytes())
            };
            if entry.session == supervisor || marked() {
                found |= send(&entry, Signal::KILL);
            }
        }
        if !found {
            return;
        }
    }
}

/// The variable that carries the supervisor's number.
pub(super) const SUPERVISOR: &str = "MAINSPRING_SUPERVISOR";
