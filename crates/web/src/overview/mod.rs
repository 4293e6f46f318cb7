//! The overview: one sentence that a tired person can act on, and the figures behind it.

pub mod pages;

use crate::access::{Caller, Right};
use crate::events;
use crate::jobs::{self, JobView};
use crate::problem::Result;
use crate::views::chart::{self, Chart, Period};
use crate::views::feed::{self, Line};
use crate::views::mark::{Mark, mark};
use crate::views::{self, Choice, brief, counted};
use jiff::Timestamp;
use mainspring::stats::Figures;
use mainspring_core::job::JobState;
use mainspring_core::node::{LEASE, NodeRecord};
use mainspring_core::queue::{ALL_QUEUES, Pause};
use mainspring_core::reader::{GroupBy, QueueRecord};
use mainspring_core::schedule_record::ScheduleRecord;
use mainspring_core::store::JobFilter;
use mainspring_core::{limits, time};
use std::collections::BTreeMap;
use std::time::Duration;

/// A fire that has not been looked at this long after its time is late.
pub const LATE: Duration = Duration::from_secs(60);
/// A job that waits longer than this is worth a sentence.
const WAITS: Duration = Duration::from_secs(15 * 60);
/// Failed jobs that are grouped.
const FAILED: u32 = 500;
/// Events that are looked at.
const EVENTS: usize = 200;

/// Failed jobs of a kind that ended with the same class of error.
#[derive(Clone, Debug)]
pub struct Group {
    /// The newest one's error.
    pub message: String,
    /// Their kind.
    pub kind: String,
    /// Their class.
    pub class: String,
    /// How many.
    pub count: String,
    /// When the newest ended.
    pub at: Timestamp,
    n: u64,
}

/// Something that did not happen when it should have.
#[derive(Clone, Debug)]
pub struct Late {
    /// What sort.
    pub mark: Mark,
    /// The schedule.
    pub name: String,
    /// What happened.
    pub text: String,
}

/// A fire to come.
#[derive(Clone, Debug)]
pub struct Next {
    /// The schedule.
    pub name: String,
    /// When.
    pub at: Timestamp,
    /// The same in the schedule's zone.
    pub wall: String,
    /// The zone.
    pub zone: String,
}

/// A node in one line.
#[derive(Clone, Debug)]
pub struct NodeLine {
    /// Its name.
    pub name: String,
    /// How it does.
    pub mark: Mark,
    /// What it does.
    pub text: String,
    /// Its last sign of life.
    pub seen: Timestamp,
}

/// One key figure.
#[derive(Clone, Debug)]
pub struct Stat {
    /// What it is.
    pub label: String,
    /// The number.
    pub value: String,
    /// What it is measured in or of.
    pub unit: String,
    /// What it is measured against.
    pub note: String,
    /// Where more of it is told, within the project.
    pub path: &'static str,
}

/// What the verdict says of one thing.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What it is about.
    pub about: String,
    /// What is to be said.
    pub text: String,
}

/// The sentence on top.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// How bad it is.
    pub mark: Mark,
    /// The sentence.
    pub title: String,
    /// The findings worth saying here.
    pub findings: Vec<Finding>,
    /// What else is to be said.
    pub rest: String,
}

/// Everything the page shows.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The sentence.
    pub verdict: Verdict,
    /// How far back it looks.
    pub period: Period,
    /// Key figures.
    pub stats: Vec<Stat>,
    /// Throughput.
    pub chart: Chart,
    /// Failures.
    pub groups: Vec<Group>,
    /// Late and missed fires.
    pub late: Vec<Late>,
    /// Fires to come.
    pub next: Vec<Next>,
    /// Nodes.
    pub nodes: Vec<NodeLine>,
    /// What happened.
    pub feed: Vec<Line>,
    /// Who paused everything, if somebody did.
    pub paused: Option<Pause>,
    /// Whether there is nothing here yet.
    pub fresh: bool,
}

/// What was read.
struct Read {
    now: Timestamp,
    period: Period,
    counts: BTreeMap<JobState, u64>,
    queues: Vec<QueueRecord>,
    nodes: Vec<NodeRecord>,
    schedules: Vec<ScheduleRecord>,
    failed: Vec<JobView>,
    events: Vec<Line>,
    figures: Figures,
}

/// Reads and judges. Without a period: the last hour while the project is young, else the last day.
pub async fn look(caller: &Caller, period: Option<Period>) -> Result<Overview> {
    let (store, project) = (caller.client().store(), caller.project_id());
    let now = caller.client().now();
    let minute = time::minute(now);
    let asked = period.unwrap_or(Period::Day);
    let (from, until) = asked.range(minute);
    let mut rows = store.rollups(project, from, until, GroupBy::Nothing, true).await?;
    let young = rows.iter().map(|r| r.minute).min().is_some_and(|first| first > minute - 55);
    let period = period.unwrap_or(if young { Period::Hour } else { Period::Day });
    rows.retain(|r| r.minute >= period.range(minute).0);
    let mut counts = BTreeMap::new();
    for (_, _, state, n) in jobs::counts(caller).await? {
        *counts.entry(state).or_default() += n;
    }
    let since = time::minus(now, Duration::from_secs(period.minutes() as u64 * 60));
    let filter = JobFilter { states: vec![JobState::Failed], ..JobFilter::default() };
    let mut failed = jobs::list(caller, &filter, None, FAILED).await?.items;
    failed.retain(|job| job.finished_at.is_some_and(|at| at >= since));
    let (events, _) = events::newest(caller, None, EVENTS, |_| true).await?;
    let mut read = Read {
        now,
        period,
        counts,
        queues: store.queues(project).await?,
        nodes: store.nodes().await?,
        schedules: store.schedules(project, None, limits::PAGE as u32).await?.rows,
        failed,
        events: events.iter().map(|e| feed::line(e, caller.has(Right::Manage))).collect(),
        figures: Figures::of(&rows),
    };
    read.nodes.retain(|node| node.info.runs_jobs() && !node.has_left());
    read.nodes.reverse();
    let (groups, late) = (read.groups(), read.late(since));
    let verdict = read.verdict(&groups, &late);
    Ok(Overview {
        chart: chart::throughput(&rows, minute, period),
        stats: read.stats(),
        next: read.next(),
        nodes: read.nodes.iter().take(6).map(|n| node_line(n, now)).collect(),
        paused: read.paused(),
        fresh: read.counts.is_empty() && read.schedules.is_empty(),
        feed: read.events.into_iter().take(14).collect(),
        verdict,
        period,
        groups,
        late,
    })
}

impl Overview {
    /// The periods to choose from.
    pub fn periods(&self) -> Vec<Choice> {
        let choice = |p: Period| Choice::new(p.word(), p.text(), p == self.period);
        Period::ALL.into_iter().map(choice).collect()
    }
}

fn alive(node: &NodeRecord, now: Timestamp) -> bool {
    time::since(node.heartbeat_at, now) <= LEASE
}

/// A node as it does.
pub fn node_line(node: &NodeRecord, now: Timestamp) -> NodeLine {
    let (mark, text) = if alive(node, now) {
        (mark("is-ok", "node", "Answers"), format!("{} of {} slots busy", node.running, node.info.slots))
    } else {
        (mark("is-bad", "warn", "Silent"), format!("held {}", counted(node.running, "job", "jobs")))
    };
    NodeLine { name: node.info.name.clone(), mark, text, seen: node.heartbeat_at }
}

impl Read {
    fn count(&self, state: JobState) -> u64 {
        self.counts.get(&state).copied().unwrap_or(0)
    }

    fn paused(&self) -> Option<Pause> {
        let all = self.queues.iter().find(|q| q.name == ALL_QUEUES)?;
        all.settings.paused.clone().filter(|p| p.holds(self.now))
    }

    fn alive(&self) -> impl Iterator<Item = &NodeRecord> {
        self.nodes.iter().filter(|n| alive(n, self.now))
    }

    fn oldest(&self) -> Option<Timestamp> {
        self.queues.iter().filter_map(|q| q.oldest_waiting).min()
    }

    fn groups(&self) -> Vec<Group> {
        let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
        for job in &self.failed {
            let class = job.error.as_ref().map_or("failed", |e| e.class.as_str()).to_owned();
            let at = job.finished_at.unwrap_or(job.run_at);
            let key = (class.clone(), job.kind.clone());
            let group = groups.entry(key).or_insert_with(|| {
                let message = job.error.as_ref().map(|e| e.message.as_str()).or(job.reason.as_deref());
                let message = brief(message.unwrap_or("failed"), 160);
                Group { message, kind: job.kind.clone(), class, count: String::new(), at, n: 0 }
            });
            group.n += 1;
            group.at = group.at.max(at);
        }
        let mut groups: Vec<Group> = groups.into_values().collect();
        for group in &mut groups {
            group.count = counted(group.n, "job", "jobs");
        }
        groups.sort_by_key(|g| std::cmp::Reverse((g.n, g.at)));
        groups
    }

    fn late(&self, since: Timestamp) -> Vec<Late> {
        let late = self.schedules.iter().filter(|s| s.paused.as_ref().is_none_or(|p| !p.holds(self.now)));
        let late = late.filter_map(|s| {
            let behind = time::since(s.next_fire?, self.now);
            let text = format!("should have fired {} ago and has not", views::length(&behind));
            (behind > LATE).then(|| Late {
                mark: mark("is-warn", "timeout", "Late"),
                name: s.name.clone(),
                text,
            })
        });
        let missed = self.events.iter().filter(|e| e.name == "schedule.missed" && e.at >= since);
        let missed = missed.map(|e| Late {
            mark: e.mark,
            name: e.subject.clone(),
            text: format!("{}, {}", e.text, e.at.strftime("%a %H:%M UTC")),
        });
        late.chain(missed).take(6).collect()
    }

    fn next(&self) -> Vec<Next> {
        let open = |s: &&ScheduleRecord| s.paused.as_ref().is_none_or(|p| !p.holds(self.now));
        let mut next: Vec<(Timestamp, &ScheduleRecord)> =
            self.schedules.iter().filter(open).filter_map(|s| Some((s.next_fire?, s))).collect();
        next.sort_by_key(|(at, _)| *at);
        let line = |(at, s): (Timestamp, &ScheduleRecord)| {
            let zone = mainspring_core::zone::Zone::get(&s.zone).ok();
            let wall =
                zone.map_or_else(|| at.to_string(), |z| z.wall(at).strftime("%a %H:%M:%S").to_string());
            Next { name: s.name.clone(), at, wall, zone: s.zone.clone() }
        };
        next.into_iter().take(6).map(line).collect()
    }

    fn stats(&self) -> Vec<Stat> {
        let over = self.period.text();
        let (good, bad) = self.figures.good_and_bad();
        let rate = self.figures.success_rate.map(|r| format!("{:.1}", (r * 1000.0).floor() / 10.0));
        let slots: u64 = self.alive().map(|n| u64::from(n.info.slots)).sum();
        let nodes = self.alive().count() as u64;
        let running = self.count(JobState::Running);
        let oldest = self.oldest().map(|at| time::since(at, self.now));
        let p95 = self.figures.p95.map(|d| views::length(&d));
        let (p95, unit) = p95.as_deref().and_then(|t| t.split_once(' ')).unwrap_or(("–", ""));
        let stat = |label: String, value: String, unit: String, note: String, path| Stat {
            label,
            value,
            unit,
            note,
            path,
        };
        let typical = self
            .figures
            .p50
            .map_or("nothing ended yet".into(), |d| format!("half took up to {}", views::length(&d)));
        vec![
            stat(
                format!("Finished, {over}"),
                views::number(&(good + bad)),
                String::new(),
                format!("{} failed for good", views::number(&(self.failed.len() as u64))),
                "jobs",
            ),
            stat(
                "Succeeded".into(),
                rate.clone().unwrap_or_else(|| "–".into()),
                if rate.is_some() { "%".into() } else { String::new() },
                if bad == 0 {
                    "no attempt failed".into()
                } else {
                    format!("{} failed", counted(bad, "attempt", "attempts"))
                },
                "jobs?state=failed",
            ),
            stat(
                "Waiting now".into(),
                views::number(&self.count(JobState::Available)),
                String::new(),
                oldest.map_or("nobody waits".into(), |d| format!("oldest waits {}", views::length(&d))),
                "jobs?state=available",
            ),
            stat(
                "Running".into(),
                views::number(&running),
                format!("of {slots}"),
                format!(
                    "{} free on {}",
                    counted(slots.saturating_sub(running), "slot", "slots"),
                    counted(nodes, "node", "nodes")
                ),
                "jobs?state=running",
            ),
            stat("Duration p95".into(), p95.into(), unit.into(), typical, "jobs"),
        ]
    }

    fn findings(&self, groups: &[Group], late: &[Late]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut found = |about: &str, text: String| findings.push(Finding { about: about.into(), text });
        for group in groups {
            let times = counted(group.n, "job failed", "jobs failed");
            found(&group.kind, format!("{times} for good: “{}”.", brief(&group.message, 90)));
        }
        for late in late {
            found(&late.name, format!("{}.", late.text));
        }
        if let Some(behind) = self.oldest().map(|at| time::since(at, self.now)).filter(|d| *d > WAITS) {
            found("The oldest waiting job", format!("has waited for {}.", views::length(&behind)));
        }
        findings
    }

    fn verdict(&self, groups: &[Group], late: &[Late]) -> Verdict {
        let findings = self.findings(groups, late);
        let (good, bad) = self.figures.good_and_bad();
        let rest = match good + bad {
            0 => format!("Nothing ended in the last {}.", self.period.last()),
            _ => format!(
                "{} succeeded in the last {}.",
                counted(good, "attempt", "attempts"),
                self.period.last()
            ),
        };
        let waiting = self.count(JobState::Available) + self.count(JobState::Scheduled);
        let (mark, title) = if self.alive().next().is_none() {
            let title = match waiting {
                0 => "No node is alive".to_owned(),
                n => format!("No node is alive, {} wait", counted(n, "job", "jobs")),
            };
            (mark("is-bad", "bad", "Down"), title)
        } else if self.paused().is_some() {
            (mark("is-warn", "pause", "Paused"), "Everything is paused".to_owned())
        } else {
            match findings.len() {
                0 if good + bad == 0 => (mark("is-ok", "ok", "Well"), "All is quiet".to_owned()),
                0 => (mark("is-ok", "ok", "Well"), "All is well".to_owned()),
                1 => (mark("is-warn", "warn", "Look"), "All is well, except for one thing".to_owned()),
                n => (mark("is-warn", "warn", "Look"), format!("{n} things need a look")),
            }
        };
        Verdict { mark, title, findings: findings.into_iter().take(3).collect(), rest }
    }
}
