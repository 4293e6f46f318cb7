//! Reads the figures of a project and puts names to them: kinds, queues, schedules; what is slow;
//! what is stuck.

use super::{Figures, Health, health};
use crate::registry::Registry;
use jiff::Timestamp;
use mainspring_core::error::Result;
use mainspring_core::ids::{JobId, ProjectId, ScheduleId};
use mainspring_core::job::{JobRecord, JobState};
use mainspring_core::reader::{GroupBy, Reader};
use mainspring_core::store::JobFilter;
use mainspring_core::tally::{Recent, Scope, bucket, counts_for_health};
use mainspring_core::{limits, time};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// A job that is due longer than this and has not started is stuck.
pub const WAITS: Duration = Duration::from_secs(15 * 60);
/// A job that runs longer than its time limit by this is stuck: its handler cannot be ended.
pub const OVERRUN: Duration = Duration::from_secs(60);

/// One kind, queue or schedule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScopeStats {
    /// Its name.
    pub name: String,
    /// As far back as figures are kept.
    pub all: Figures,
    /// The last 24 hours.
    pub day: Figures,
    /// Jobs by state (not for schedules).
    pub jobs: BTreeMap<JobState, u64>,
    /// When the job that has waited longest became due (queues only).
    pub oldest_waiting: Option<Timestamp>,
    /// Attempts of the last 24 hours that took longer than the kind's threshold (kinds only).
    pub slow: Option<u64>,
    /// How it does.
    pub health: Health,
    /// (good, bad) of the last seven days, for the health.
    #[serde(skip)]
    week: (u64, u64),
}

/// A running attempt that takes longer than its kind's threshold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slow {
    /// The job.
    pub job: JobId,
    /// Its kind.
    pub kind: String,
    /// Since when it runs.
    pub since: Timestamp,
    /// The threshold.
    #[serde(with = "mainspring_core::duration::human")]
    pub threshold: Duration,
}

/// A job that does not get on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stuck {
    /// The job.
    pub job: JobId,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// In which way.
    pub why: StuckWhy,
    /// Since when.
    pub since: Timestamp,
}

/// In which way a job is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StuckWhy {
    /// It runs beyond its time limit.
    Overrun,
    /// It is due for long and has not started: ask `explain` why.
    Waiting,
}

/// How a project does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    /// Everything together.
    pub project: ScopeStats,
    /// By kind.
    pub kinds: Vec<ScopeStats>,
    /// By queue.
    pub queues: Vec<ScopeStats>,
    /// By schedule: those that have run.
    pub schedules: Vec<ScopeStats>,
    /// Attempts that are slow now.
    pub slow: Vec<Slow>,
    /// Jobs that do not get on.
    pub stuck: Vec<Stuck>,
}

/// Reads the figures of a project. The registry, if known, brings the thresholds of its kinds.
pub async fn gather(
    reader: &dyn Reader,
    registry: Option<&Registry>,
    project: ProjectId,
    now: Timestamp,
) -> Result<Stats> {
    let recents: BTreeMap<Scope, Recent> = reader.recents(project).await?.into_iter().collect();
    let counts = reader.counts(project).await?;
    let queues = reader.queues(project).await?;
    let sums = Sums { reader, project, now };
    let by = |pick: fn(&(String, String, JobState, u64)) -> &str| {
        let mut names: BTreeMap<String, BTreeMap<JobState, u64>> = BTreeMap::new();
        for row in &counts {
            *names.entry(pick(row).to_owned()).or_default().entry(row.2).or_default() += row.3;
        }
        names
    };
    let mut kinds = sums.group(GroupBy::Kind, by(|r| &r.1)).await?;
    for s in &mut kinds {
        s.judge(recents.get(&Scope::Kind(s.name.as_str().into())));
    }
    if let Some(registry) = registry {
        sums.count_slow(registry, &mut kinds).await?;
    }
    let mut lanes = sums.group(GroupBy::Queue, by(|r| &r.0)).await?;
    for s in &mut lanes {
        s.oldest_waiting = queues.iter().find(|q| q.name == s.name).and_then(|q| q.oldest_waiting);
        s.judge(recents.get(&Scope::Queue(s.name.as_str().into())));
    }
    let mut schedules = sums.group(GroupBy::Schedule, BTreeMap::new()).await?;
    let names = schedule_names(reader, project).await?;
    for s in &mut schedules {
        let id = s.name.parse().map(ScheduleId).unwrap_or(ScheduleId(0));
        s.judge(recents.get(&Scope::Schedule(id)));
        s.name = names.get(&id).cloned().unwrap_or_else(|| format!("deleted schedule {id}"));
    }
    let mut everything = sums.group(GroupBy::Nothing, BTreeMap::new()).await?;
    let mut whole = everything.pop().unwrap_or_else(|| ScopeStats::new(String::new()));
    for (_, _, state, n) in &counts {
        *whole.jobs.entry(*state).or_default() += n;
    }
    whole.oldest_waiting = queues.iter().filter_map(|q| q.oldest_waiting).min();
    // The newest outcomes of all kinds together are the newest of the project.
    let mut newest = Recent::default();
    for (_, recent) in recents.iter().filter(|(scope, _)| matches!(scope, Scope::Kind(_))) {
        newest.merge(recent);
    }
    whole.judge(Some(&newest));
    let running = reader.running(project, limits::PAGE as u32).await?;
    let waiting = waiting(reader, project).await?;
    Ok(Stats {
        project: whole,
        slow: slow(&running, registry, now),
        stuck: stuck(&running, &waiting, registry, now),
        kinds,
        queues: lanes,
        schedules,
    })
}

impl ScopeStats {
    fn new(name: String) -> ScopeStats {
        ScopeStats {
            name,
            all: Figures::default(),
            day: Figures::default(),
            jobs: BTreeMap::new(),
            oldest_waiting: None,
            slow: None,
            health: health(&Recent::default(), (0, 0)),
            week: (0, 0),
        }
    }

    fn judge(&mut self, recent: Option<&Recent>) {
        self.health = health(recent.unwrap_or(&Recent::default()), self.week);
    }
}

struct Sums<'a> {
    reader: &'a dyn Reader,
    project: ProjectId,
    now: Timestamp,
}

impl Sums<'_> {
    /// The figures of every name of a group.
    async fn group(
        &self,
        group: GroupBy,
        counts: BTreeMap<String, BTreeMap<JobState, u64>>,
    ) -> Result<Vec<ScopeStats>> {
        let mut all: BTreeMap<String, ScopeStats> = BTreeMap::new();
        for (name, jobs) in counts {
            all.entry(name.clone()).or_insert_with(|| ScopeStats::new(name)).jobs = jobs;
        }
        let named = |name: &String| ScopeStats::new(name.clone());
        for (name, figures) in self.since(group, None).await? {
            all.entry(name.clone()).or_insert_with(|| named(&name)).all = figures;
        }
        for (name, figures) in self.since(group, Some(24)).await? {
            all.entry(name.clone()).or_insert_with(|| named(&name)).day = figures;
        }
        for (name, figures) in self.since(group, Some(7 * 24)).await? {
            all.entry(name.clone()).or_insert_with(|| named(&name)).week = figures.good_and_bad();
        }
        Ok(all.into_values().collect())
    }

    async fn since(&self, group: GroupBy, hours: Option<i64>) -> Result<BTreeMap<String, Figures>> {
        let until = time::minute(self.now) + 1;
        let from = hours.map_or(0, |h| until - h * 60);
        Ok(Figures::by_name(&self.reader.rollups(self.project, from, until, group, false).await?))
    }

    /// Counts the attempts of the last day above each kind's threshold.
    async fn count_slow(&self, registry: &Registry, kinds: &mut [ScopeStats]) -> Result<()> {
        let until = time::minute(self.now) + 1;
        let from = until - 24 * 60;
        let rows = self.reader.rollups(self.project, from, until, GroupBy::Kind, false).await?;
        for s in kinds {
            let Some(entry) = registry.get(&s.name) else { continue };
            let threshold = bucket(entry.spec.slow_after());
            let above = |r: &&_| {
                let r: &mainspring_core::reader::RollupRow = r;
                r.name == s.name && r.bucket > threshold && counts_for_health(r.outcome)
            };
            s.slow = Some(rows.iter().filter(above).map(|r| r.sum.count).sum());
        }
        Ok(())
    }
}

async fn schedule_names(reader: &dyn Reader, project: ProjectId) -> Result<BTreeMap<ScheduleId, String>> {
    let (mut names, mut after) = (BTreeMap::new(), None);
    loop {
        let page = reader.schedules(project, after.as_deref(), limits::PAGE as u32).await?;
        names.extend(page.rows.into_iter().map(|s| (s.id, s.name)));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(names),
        }
    }
}

/// A page of available jobs: enough to name some that wait for long.
async fn waiting(reader: &dyn Reader, project: ProjectId) -> Result<Vec<JobRecord>> {
    let filter = JobFilter { states: vec![JobState::Available], ..JobFilter::default() };
    Ok(reader.jobs(project, &filter, None, limits::PAGE as u32).await?.rows)
}

fn slow(running: &[JobRecord], registry: Option<&Registry>, now: Timestamp) -> Vec<Slow> {
    let Some(registry) = registry else { return Vec::new() };
    running
        .iter()
        .filter_map(|job| {
            let (entry, since) = (registry.get(&job.kind)?, job.started_at?);
            let threshold = entry.spec.slow_after();
            let long = time::since(since, now) > threshold;
            long.then(|| Slow { job: job.id, kind: job.kind.to_string(), since, threshold })
        })
        .collect()
}

fn stuck(
    running: &[JobRecord],
    waiting: &[JobRecord],
    registry: Option<&Registry>,
    now: Timestamp,
) -> Vec<Stuck> {
    let found = |job: &JobRecord, why, since| Stuck {
        job: job.id,
        kind: job.kind.to_string(),
        queue: job.queue.to_string(),
        why,
        since,
    };
    let over = running.iter().filter_map(|job| {
        let known = registry.and_then(|r| r.get(&job.kind)).map(|e| e.spec.timeout);
        let limit = job.timeout.or(known).unwrap_or(crate::registry::TIMEOUT);
        let since = job.started_at?;
        (time::since(since, now) > limit + OVERRUN).then(|| found(job, StuckWhy::Overrun, since))
    });
    let late = waiting
        .iter()
        .filter(|job| time::since(job.run_at, now) > WAITS)
        .map(|job| found(job, StuckWhy::Waiting, job.run_at));
    over.chain(late).collect()
}
