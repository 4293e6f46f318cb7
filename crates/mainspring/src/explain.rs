//! Why a job is not running: every reason that holds, in words a person can act on.
//!
//! Looks only at what readers see; it changes nothing and guesses nothing. What it cannot know (how
//! many jobs a rate lets through before this one) it does not claim: it tells when the next may start.

use jiff::Timestamp;
use mainspring_core::error::Result;
use mainspring_core::ids::{JobId, ProjectId};
use mainspring_core::job::{JobRecord, JobState};
use mainspring_core::node::NodeRecord;
use mainspring_core::queue::{ALL_QUEUES, Pause};
use mainspring_core::reader::{QueueRecord, Reader};
use mainspring_core::{duration, time};
use serde::Serialize;
use std::time::Duration;

/// What is to be known about one job's standing still.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The job.
    pub job: JobId,
    /// Where it stands.
    pub state: JobState,
    /// One sentence that says it all.
    pub summary: String,
    /// Every reason that holds, the most telling first. Each has a word for programs.
    pub reasons: Vec<Reason>,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// `not_due`, `retrying`, `queue_paused`, `all_paused`, `queue_full`, `all_full`, `key_full`,
    /// `rate`, `no_node`, `no_node_for_queue`, `unknown_kind`, `slots_busy`, `expired`, `turn`,
    /// `running`, `cancelling`, `node_silent`, `final`.
    pub word: &'static str,
    /// For people.
    pub text: String,
    /// When it ends by itself, where that is known.
    pub until: Option<Timestamp>,
}

/// Explains a job; None when there is none. `lease` is how long nodes may be silent.
pub async fn explain(
    reader: &dyn Reader,
    project: ProjectId,
    job: JobId,
    now: Timestamp,
    lease: Duration,
) -> Result<Option<Explanation>> {
    let Some(detail) = reader.job(project, job).await? else { return Ok(None) };
    let job = detail.job;
    let reasons = match job.state {
        state if state.is_final() => vec![ended(&job)],
        JobState::Running => running(&job, &reader.nodes().await?, now, lease),
        _ => {
            let mut nodes = reader.nodes().await?;
            nodes.retain(|node| node.info.runs_jobs());
            let seen = Seen { queues: reader.queues(project).await?, nodes, now, lease };
            seen.waiting(&job)
        }
    };
    let summary = reasons.first().map(|r| r.text.clone()).unwrap_or_default();
    Ok(Some(Explanation { job: job.id, state: job.state, summary, reasons }))
}

fn reason(word: &'static str, text: String, until: Option<Timestamp>) -> Reason {
    Reason { word, text, until }
}

fn ended(job: &JobRecord) -> Reason {
    let why = job.reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
    let at = job.finished_at.map(|t| format!(" at {t}")).unwrap_or_default();
    reason("final", format!("it is {}{at}{why}", job.state), None)
}

fn running(job: &JobRecord, nodes: &[NodeRecord], now: Timestamp, lease: Duration) -> Vec<Reason> {
    let node = job.node.and_then(|id| nodes.iter().find(|n| n.info.id == id));
    let since = job.started_at.map(|t| duration::format(time::since(t, now))).unwrap_or_default();
    let mut reasons = Vec::new();
    match node {
        Some(node) if time::since(node.heartbeat_at, now) <= lease => {
            let text = format!("it runs on node {} for {since} (attempt {})", node.info.name, job.attempt);
            reasons.push(reason("running", text, None));
        }
        Some(node) => {
            let due = time::plus(node.heartbeat_at, lease);
            let silent = duration::format(time::since(node.heartbeat_at, now));
            let text = format!(
                "its node {} has been silent for {silent}; the lease ended at {due}, the next living node takes it over",
                node.info.name
            );
            reasons.push(reason("node_silent", text, Some(due)));
        }
        None => {
            let text = "its node is gone; the next living node takes it over".to_owned();
            reasons.push(reason("node_silent", text, None));
        }
    }
    if job.cancel_requested {
        reasons.push(reason("cancelling", "its end was asked for; it is given a little time".into(), None));
    }
    reasons
}

/// What there is to look at for a job that waits.
struct Seen {
    queues: Vec<QueueRecord>,
    nodes: Vec<NodeRecord>,
    now: Timestamp,
    lease: Duration,
}

impl Seen {
    fn waiting(&self, job: &JobRecord) -> Vec<Reason> {
        let mut reasons = Vec::new();
        self.due(job, &mut reasons);
        self.limits(job, &mut reasons);
        self.nodes(job, &mut reasons);
        if reasons.is_empty() {
            let ahead = self.queue(&job.queue).and_then(|q| q.counts.get(&JobState::Available)).copied();
            let text = match ahead {
                Some(n) if n > 1 => {
                    format!("it is due and waits its turn among {n} jobs of queue {}", job.queue)
                }
                _ => "it is due and will start at once".into(),
            };
            reasons.push(reason("turn", text, None));
        }
        reasons
    }

    fn due(&self, job: &JobRecord, reasons: &mut Vec<Reason>) {
        if let Some(at) = job.expires_at.filter(|at| *at <= self.now) {
            let text = format!("it expired at {at} and will be cancelled when its turn comes");
            reasons.push(reason("expired", text, None));
        }
        if job.state == JobState::Scheduled && job.run_at > self.now {
            let wait = duration::format(time::since(self.now, job.run_at));
            if job.attempt > 0 {
                let how = job.outcome.map(|o| o.to_string()).unwrap_or_else(|| "ended".into());
                let error = job.error.as_ref().map(|e| format!(" ({})", e.message)).unwrap_or_default();
                let text = format!(
                    "its attempt {} {how}{error}; it is tried again at {}, in {wait}",
                    job.attempt, job.run_at
                );
                reasons.push(reason("retrying", text, Some(job.run_at)));
            } else {
                let text = format!("it is not due before {}, in {wait}", job.run_at);
                reasons.push(reason("not_due", text, Some(job.run_at)));
            }
        }
    }

    fn limits(&self, job: &JobRecord, reasons: &mut Vec<Reason>) {
        let paused = |whose: &str, p: &Pause| {
            let until = p.until.map_or("until somebody resumes it".into(), |t| format!("until {t}"));
            let note = p.note.as_deref().map(|n| format!(": {n}")).unwrap_or_default();
            format!("{whose} was paused by {} at {}, {until}{note}", p.by, p.at)
        };
        let total: u64 = self.queues.iter().filter_map(|q| q.counts.get(&JobState::Running)).sum();
        if let Some(all) = self.queue(ALL_QUEUES) {
            if let Some(p) = all.settings.paused.as_ref().filter(|p| p.holds(self.now)) {
                reasons.push(reason("all_paused", paused("everything", p), p.until));
            }
            if let Some(max) = all.settings.max_running.filter(|max| total >= u64::from(*max)) {
                let text = format!("{total} jobs run, at most {max} may in all queues together");
                reasons.push(reason("all_full", text, None));
            }
        }
        let Some(queue) = self.queue(&job.queue) else { return };
        if let Some(p) = queue.settings.paused.as_ref().filter(|p| p.holds(self.now)) {
            reasons.push(reason("queue_paused", paused(&format!("queue {}", job.queue), p), p.until));
        }
        let running = queue.counts.get(&JobState::Running).copied().unwrap_or(0);
        if let Some(max) = queue.settings.max_running.filter(|max| running >= u64::from(*max)) {
            let text = format!("{running} jobs of queue {} run, at most {max} may", job.queue);
            reasons.push(reason("queue_full", text, None));
        }
        if job.held {
            let key = job.key.as_deref().unwrap_or_default();
            let text = format!("as many jobs with its key {key:?} run as may; it is released when one ends");
            reasons.push(reason("key_full", text, None));
        }
        let next = queue.next_start.filter(|at| *at > self.now && job.state == JobState::Available);
        if let (Some(rate), Some(at)) = (queue.settings.rate, next) {
            let wait = duration::format(time::since(self.now, at));
            let text =
                format!("queue {} starts at most {rate}; the next may start at {at}, in {wait}", job.queue);
            reasons.push(reason("rate", text, Some(at)));
        }
    }

    fn nodes(&self, job: &JobRecord, reasons: &mut Vec<Reason>) {
        let alive: Vec<_> =
            self.nodes.iter().filter(|n| time::since(n.heartbeat_at, self.now) <= self.lease).collect();
        if alive.is_empty() {
            let text = "no node is alive; start one with `mainspring up`".to_owned();
            reasons.push(reason("no_node", text, None));
            return;
        }
        let serving: Vec<_> = alive
            .iter()
            .filter(|n| n.info.queues.is_empty() || n.info.queues.iter().any(|q| **q == *job.queue))
            .collect();
        if serving.is_empty() {
            let text = format!("none of the {} living nodes serves queue {}", alive.len(), job.queue);
            reasons.push(reason("no_node_for_queue", text, None));
            return;
        }
        let served = serving.len();
        let knows = |n: &NodeRecord| n.info.kinds.iter().any(|k| **k == *job.kind);
        let serving: Vec<_> = serving.into_iter().filter(|n| knows(n)).collect();
        if serving.is_empty() {
            let text = format!(
                "none of the {served} living nodes that serve queue {} knows kind {:?}; start one that does",
                job.queue, job.kind
            );
            reasons.push(reason("unknown_kind", text, None));
            return;
        }
        let due = job.state == JobState::Available;
        if due && serving.iter().all(|n| n.running >= u64::from(n.info.slots)) {
            let slots: u64 = serving.iter().map(|n| u64::from(n.info.slots)).sum();
            let text = format!("all {slots} slots of the nodes that serve queue {} are busy", job.queue);
            reasons.push(reason("slots_busy", text, None));
        }
    }

    fn queue(&self, name: &str) -> Option<&QueueRecord> {
        self.queues.iter().find(|q| q.name == name)
    }
}
