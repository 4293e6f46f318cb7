//! Figures in Prometheus' text form, read from the counters and roll-ups that the stores keep: no row
//! is counted.
//!
//! Attempts are given for the last hour and not as a sum since ever: history is deleted by age, and a
//! sum that shrinks would look like a restart.

use crate::problem::{Problem, Result};
use crate::state::Web;
use mainspring::projects;
use mainspring_core::ids::ProjectId;
use mainspring_core::job::{AttemptOutcome, JobState};
use mainspring_core::node::LEASE;
use mainspring_core::queue::ALL_QUEUES;
use mainspring_core::reader::GroupBy;
use mainspring_core::time;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};

/// Bytes of a page of memory, wherever this runs.
const PAGE: u64 = 4_096;

/// The text for a project; nodes, which serve all projects, only where they may be seen.
pub async fn text(web: &Web, project: ProjectId, nodes: bool) -> Result<String> {
    let (store, now) = (web.client().store(), web.client().now());
    let name = projects::name_of(&**store, project).await?;
    let name = name.ok_or_else(|| Problem::not_found("project", project))?;
    let mut out = Text { out: String::new(), project: name };

    out.family("mainspring_build_info", "What runs here.");
    out.sample("mainspring_build_info", &[("version", web.config().version)], 1);

    out.family("mainspring_jobs", "Jobs that are kept, by queue, kind and state.");
    let mut counts: BTreeMap<(String, String, JobState), u64> = BTreeMap::new();
    for (queue, kind, state, n) in store.counts(project).await? {
        *counts.entry((queue, kind, state)).or_default() += n;
    }
    for ((queue, kind, state), n) in &counts {
        out.sample("mainspring_jobs", &[("queue", queue), ("kind", kind), ("state", state.as_str())], n);
    }

    out.family(
        "mainspring_attempts_last_hour",
        "Attempts that ended in the last 60 minutes, by kind and outcome.",
    );
    let until = time::minute(now) + 1;
    let mut ended: BTreeMap<(String, AttemptOutcome), u64> = BTreeMap::new();
    for row in store.rollups(project, until - 60, until, GroupBy::Kind, false).await? {
        *ended.entry((row.name, row.outcome)).or_default() += row.sum.count;
    }
    for ((kind, outcome), n) in &ended {
        out.sample("mainspring_attempts_last_hour", &[("kind", kind), ("outcome", outcome.as_str())], n);
    }

    let queues = store.queues(project).await?;
    out.family(
        "mainspring_oldest_waiting_seconds",
        "For how long the job that has waited longest could have started.",
    );
    for queue in queues.iter().filter(|q| q.name != ALL_QUEUES) {
        let waited = queue.oldest_waiting.map_or(0.0, |at| time::since(at, now).as_secs_f64());
        out.sample("mainspring_oldest_waiting_seconds", &[("queue", &queue.name)], waited);
    }
    out.family("mainspring_queue_paused", "1 while nothing of the queue starts because somebody paused it.");
    for queue in &queues {
        let paused = queue.settings.paused.as_ref().is_some_and(|p| p.holds(now));
        out.sample("mainspring_queue_paused", &[("queue", &queue.name)], u8::from(paused));
    }

    out.family("mainspring_channels_silent", "Channels that are switched on and cannot deliver.");
    let silent = match store.clone().tables() {
        Some(tables) => mainspring::notify::trouble(&*tables).await?,
        None => Vec::new(),
    };
    let silent = silent.iter().filter(|(of, ..)| *of == project.0).count();
    out.sample("mainspring_channels_silent", &[], silent);

    if nodes {
        let mut all = store.nodes().await?;
        all.retain(|node| node.info.runs_jobs());
        let alive = all.iter().filter(|n| time::since(n.heartbeat_at, now) <= LEASE).count();
        out.family("mainspring_nodes", "Processes that run jobs, for all projects.");
        out.sample("mainspring_nodes", &[("state", "alive")], alive);
        out.sample("mainspring_nodes", &[("state", "silent")], all.len() - alive);
        out.process();
    }
    Ok(out.out)
}

struct Text {
    out: String,
    project: String,
}

impl Text {
    fn family(&mut self, name: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} gauge\n");
    }

    /// The server's own process, under the names that client libraries of Prometheus use.
    fn process(&mut self) {
        let pages = |text: String| text.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
        let resident = std::fs::read_to_string("/proc/self/statm").ok().and_then(pages);
        let open = std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count());
        let all = [
            ("process_resident_memory_bytes", "Resident memory of this process.", resident.map(|n| n * PAGE)),
            ("process_open_fds", "Files and connections that this process holds.", open.map(|n| n as u64)),
        ];
        for (name, help, value) in all {
            // Where the system does not tell, nothing is told.
            if let Some(value) = value {
                self.family(name, help);
                let _ = writeln!(self.out, "{name} {value}");
            }
        }
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.out, "{name}{{project=\"{}\"", escape(&self.project));
        for (label, text) in labels {
            let _ = write!(self.out, ",{label}=\"{}\"", escape(text));
        }
        let _ = writeln!(self.out, "}} {value}");
    }
}

/// A label's value as Prometheus reads it back.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_break_out() {
        let mut text = Text { out: String::new(), project: "a\"b".into() };
        text.sample("m", &[("kind", "x\\y\nz")], 3);
        assert_eq!(text.out, "m{project=\"a\\\"b\",kind=\"x\\\\y\\nz\"} 3\n");
    }
}
