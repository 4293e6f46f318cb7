//! What a look of the living engine sees: series sampled now, and the windows of attempts its rules
//! need, read once for all of them.

use super::series::name;
use crate::client::Result;
use jiff::Timestamp;
use mainspring_core::alert::{Over, Past, Point, Window, running_family};
use mainspring_core::event::Event;
use mainspring_core::ids::{ProjectId, ScheduleId};
use mainspring_core::job::{JobRecord, JobState, Origin};
use mainspring_core::queue::ALL_QUEUES;
use mainspring_core::reader::{GroupBy, Reader, RollupRow};
use mainspring_core::store::JobFilter;
use mainspring_core::{StoreError, limits, time};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A schedule whose job is due this long and has not started is late; what is nearer is the usual way
/// of a job.
const LATE: Duration = Duration::from_secs(60);
/// An attempt that runs for longer than this is sampled; shorter ones are seen when they end.
const RUNS: Duration = Duration::from_secs(10);
/// A lost node that did not come back is forgotten after this: it was taken away.
const FORGET: Duration = Duration::from_secs(86_400);
/// Pages of events that one look reads; a longer tail takes several looks.
const PAGES: usize = 20;

/// Series that one look writes.
const SAMPLES: usize = 500;

/// How attempts are grouped for a rule.
pub(super) fn group(over: Over) -> GroupBy {
    match over {
        Over::Schedules => GroupBy::Schedule,
        Over::Kinds => GroupBy::Kind,
        Over::Queues => GroupBy::Queue,
        Over::Everything => GroupBy::Nothing,
    }
}

/// Names of schedules by number: a number never changes its name, so it is read once.
#[derive(Default)]
pub(super) struct Names(Mutex<HashMap<(ProjectId, i64), String>>);

impl Names {
    /// Puts names where roll-ups have numbers; rows of deleted schedules go.
    pub(super) async fn put(
        &self,
        reader: &dyn Reader,
        project: ProjectId,
        rows: Vec<RollupRow>,
    ) -> Result<Vec<RollupRow>, StoreError> {
        let known = |row: &RollupRow| {
            let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            names.get(&(project, row.name.parse().unwrap_or(0))).cloned()
        };
        if rows.iter().any(|row| known(row).is_none()) {
            self.read(reader, project).await?;
        }
        let named = rows.into_iter().filter_map(|row| Some(RollupRow { name: known(&row)?, ..row }));
        Ok(named.collect())
    }

    /// The name of a schedule, unless it is gone.
    async fn of(
        &self,
        reader: &dyn Reader,
        project: ProjectId,
        id: ScheduleId,
    ) -> Result<Option<String>, StoreError> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(project, id.0)).cloned();
        if known().is_none() {
            self.read(reader, project).await?;
        }
        Ok(known())
    }

    async fn read(&self, reader: &dyn Reader, project: ProjectId) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        loop {
            let page = reader.schedules(project, after.as_deref(), limits::PAGE as u32).await?;
            let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            names.extend(page.rows.into_iter().map(|s| ((project, s.id.0), s.name)));
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }
}

/// What one look sees.
#[derive(Default)]
pub(super) struct Seen {
    attempts: BTreeMap<Window, Vec<RollupRow>>,
    series: BTreeMap<String, Point>,
}

impl Past for Seen {
    fn attempts(&self, window: Window) -> Vec<RollupRow> {
        self.attempts.get(&window).cloned().unwrap_or_default()
    }

    fn points(&self, family: &str, at: Timestamp) -> Vec<(String, Point)> {
        let own = |(full, point): (&String, &Point)| {
            let (of, name) = full.split_once(':')?;
            (of == family && point.at <= at).then(|| (name.to_owned(), *point))
        };
        self.series.iter().filter_map(own).collect()
    }
}

impl Seen {
    /// The series as they stand.
    pub(super) fn with(points: Vec<(String, Point)>) -> Seen {
        Seen { attempts: BTreeMap::new(), series: points.into_iter().collect() }
    }

    /// Reads the windows that rules need.
    pub(super) async fn read(
        &mut self,
        reader: &dyn Reader,
        names: &Names,
        project: ProjectId,
        windows: BTreeSet<Window>,
    ) -> Result<(), StoreError> {
        for w in windows {
            let rows = reader.rollups(project, w.from, w.until, group(w.over), w.by_minute).await?;
            let rows = match w.over {
                Over::Schedules => names.put(reader, project, rows).await?,
                _ => rows,
            };
            self.attempts.insert(w, rows);
        }
        Ok(())
    }

    fn value(&self, series: &str) -> f64 {
        self.series.get(series).map_or(0.0, |p| p.value)
    }

    fn of<'a>(&'a self, family: &'a str) -> impl Iterator<Item = (&'a str, Point)> {
        self.series
            .iter()
            .filter_map(move |(full, p)| Some((full.strip_prefix(family)?.strip_prefix(':')?, *p)))
    }

    /// Takes samples in and gives those that are new.
    pub(super) fn take(&mut self, at: Timestamp, samples: BTreeMap<String, f64>) -> Vec<(String, f64)> {
        let changed = samples.into_iter().filter(|(series, value)| self.value(series) != *value);
        // What is left out differs at the next look too.
        let changed: Vec<(String, f64)> = changed.take(SAMPLES).collect();
        for (series, value) in &changed {
            self.series.insert(series.clone(), Point { at, value: *value });
        }
        changed
    }
}

fn instant(at: Timestamp) -> f64 {
    (time::micros(at) / time::SECOND) as f64
}

/// What a sampler looks at.
pub(super) struct Sampler<'a> {
    /// The store's read side.
    pub(super) reader: &'a dyn Reader,
    /// Whose.
    pub(super) project: ProjectId,
    /// The look.
    pub(super) at: Timestamp,
    /// The families that rules ask for.
    pub(super) families: &'a BTreeSet<&'static str>,
    /// Names of schedules.
    pub(super) names: &'a Names,
}

impl Sampler<'_> {
    fn wants(&self, families: &[&str]) -> bool {
        families.iter().any(|f| self.families.contains(f))
    }

    /// Samples of the families that are asked for, and how far the events are read.
    pub(super) async fn sample(
        &self,
        seen: &Seen,
        cursor: i64,
    ) -> Result<(BTreeMap<String, f64>, i64), StoreError> {
        let mut samples = BTreeMap::new();
        let mut oldest = None;
        if self.wants(&["queue.waiting", "queue.oldest", "schedule.late"]) {
            oldest = self.queues(seen, &mut samples).await?;
        }
        self.running(seen, &mut samples).await?;
        let (events, cursor) = self.events(cursor).await?;
        if self.wants(&["schedule.late"]) {
            self.late(seen, &events, oldest, &mut samples).await?;
        }
        if self.wants(&["node.lost"]) {
            self.nodes(seen, &events, &mut samples);
        }
        Ok((samples, cursor))
    }

    /// Queues; gives since when the oldest of all jobs waits.
    async fn queues(
        &self,
        seen: &Seen,
        samples: &mut BTreeMap<String, f64>,
    ) -> Result<Option<Timestamp>, StoreError> {
        // What is gone waits no more.
        for family in ["queue.waiting", "queue.oldest"] {
            samples.extend(seen.of(family).map(|(queue, _)| (name(family, queue), 0.0)));
        }
        let queues = self.reader.queues(self.project).await?;
        let all = queues.iter().find(|q| q.name == ALL_QUEUES);
        let paused = all.is_some_and(|q| q.settings.paused.as_ref().is_some_and(|p| p.holds(self.at)));
        let mut oldest: Option<Timestamp> = None;
        for queue in queues.iter().filter(|q| q.name != ALL_QUEUES) {
            let waiting = queue.counts.get(&JobState::Available).copied().unwrap_or(0);
            // Somebody who paused a queue knows that its jobs wait.
            let held = paused || queue.settings.paused.as_ref().is_some_and(|p| p.holds(self.at));
            let since = queue.oldest_waiting.filter(|at| !held && *at <= self.at);
            samples.insert(name("queue.waiting", &queue.name), waiting as f64);
            samples.insert(name("queue.oldest", &queue.name), since.map_or(0.0, instant));
            if let Some(at) = queue.oldest_waiting {
                oldest = Some(oldest.map_or(at, |o| o.min(at)));
            }
        }
        Ok(oldest)
    }

    /// Since when the longest attempt of each runs, where that is long.
    async fn running(&self, seen: &Seen, samples: &mut BTreeMap<String, f64>) -> Result<(), StoreError> {
        let all = [Over::Schedules, Over::Kinds, Over::Queues, Over::Everything];
        let wanted: Vec<Over> = all.into_iter().filter(|over| self.wants(&[running_family(*over)])).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        for family in wanted.iter().map(|over| running_family(*over)) {
            samples.extend(seen.of(family).map(|(whom, _)| (name(family, whom), 0.0)));
        }
        let since = |job: &JobRecord| job.started_at.filter(|at| *at <= time::minus(self.at, RUNS));
        // The longest come first, so the first of each is the one.
        for job in self.reader.running(self.project, limits::PAGE as u32).await? {
            let Some(since) = since(&job) else { continue };
            for over in &wanted {
                let whom = match (over, job.schedule) {
                    (Over::Schedules, Some(id)) => self.names.of(self.reader, self.project, id).await?,
                    (Over::Schedules, None) => None,
                    (Over::Kinds, _) => Some(job.kind.to_string()),
                    (Over::Queues, _) => Some(job.queue.to_string()),
                    (Over::Everything, _) => Some(String::new()),
                };
                let Some(whom) = whom else { continue };
                let known = samples.entry(name(running_family(*over), &whom)).or_default();
                if *known == 0.0 {
                    *known = instant(since);
                }
            }
        }
        Ok(())
    }

    /// Events since the last look, up to this one; those of the first project too, which tells of
    /// nodes.
    async fn events(&self, cursor: i64) -> Result<(Vec<Event>, i64), StoreError> {
        if !self.wants(&["schedule.late", "node.lost"]) {
            return Ok((vec![], cursor));
        }
        let mut found = Vec::new();
        let mut end = cursor;
        let others =
            (self.project != ProjectId::DEFAULT && self.wants(&["node.lost"])).then_some(ProjectId::DEFAULT);
        for project in [Some(self.project), others].into_iter().flatten() {
            let mut after = cursor;
            for _ in 0..PAGES {
                let page = self.reader.events(project, after, limits::PAGE as u32).await?;
                let full = page.len() >= limits::PAGE;
                let before = page.iter().take_while(|e| e.at < self.at).count();
                let more = full && before == page.len();
                let Some(last) = page.get(before.wrapping_sub(1)).map(|e| e.id) else { break };
                after = last;
                found.extend(page.into_iter().take(before));
                if !more {
                    break;
                }
            }
            end = end.max(after);
        }
        Ok((found, end))
    }

    /// Which schedules did not start: a fire was missed and none has run since, the rule broke, or
    /// the job of a fire waits.
    async fn late(
        &self,
        seen: &Seen,
        events: &[Event],
        oldest: Option<Timestamp>,
        samples: &mut BTreeMap<String, f64>,
    ) -> Result<(), StoreError> {
        let before: BTreeMap<String, f64> = seen
            .of("schedule.late")
            .filter(|(_, p)| p.value > 0.0)
            .map(|(s, p)| (s.to_owned(), p.value))
            .collect();
        let waiting = match oldest {
            Some(at) if at <= time::minus(self.at, LATE) => self.waiting().await?,
            _ => BTreeMap::new(),
        };
        let mut late = before.clone();
        for event in events {
            let Some(schedule) = event.event.subject.strip_prefix("schedule/") else { continue };
            let since = match event.event.name.as_str() {
                "schedule.missed" => {
                    let data = event.event.data.value();
                    let first = data["first"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
                    first.unwrap_or(event.at)
                }
                "schedule.broken" => event.at,
                _ => continue,
            };
            late.entry(schedule.to_owned()).or_insert(instant(since));
        }
        for (schedule, since) in late {
            let record = self.reader.schedule(self.project, &schedule).await?;
            // A job was made since then; whether that one waits is looked at below.
            let ran = record.is_none_or(|r| r.last_fire.is_some_and(|at| instant(at) >= since));
            samples.insert(name("schedule.late", &schedule), if ran { 0.0 } else { since });
        }
        for (schedule, since) in waiting {
            let known = samples.entry(name("schedule.late", &schedule)).or_default();
            if *known == 0.0 || since < *known {
                *known = since;
            }
        }
        Ok(())
    }

    /// Since when jobs of schedules wait that are due for long, by schedule.
    async fn waiting(&self) -> Result<BTreeMap<String, f64>, StoreError> {
        let filter = JobFilter { states: vec![JobState::Available], ..JobFilter::default() };
        let page = self.reader.jobs(self.project, &filter, None, limits::PAGE as u32).await?;
        let mut found: BTreeMap<ScheduleId, f64> = BTreeMap::new();
        // Backfills are late by nature, and what a person runs is nobody's fire.
        let fires = page.rows.iter().filter(|j| j.attempt == 0 && j.origin == Origin::Fire);
        for job in fires.filter(|j| j.run_at <= time::minus(self.at, LATE)) {
            if let (Some(schedule), Some(at)) = (job.schedule, job.scheduled_for) {
                let since = found.entry(schedule).or_insert(f64::MAX);
                *since = since.min(instant(at));
            }
        }
        let mut named = BTreeMap::new();
        for (id, since) in found {
            if let Some(name) = self.names.of(self.reader, self.project, id).await? {
                named.insert(name, since);
            }
        }
        Ok(named)
    }

    fn nodes(&self, seen: &Seen, events: &[Event], samples: &mut BTreeMap<String, f64>) {
        for (node, p) in seen.of("node.lost") {
            if p.value > 0.0 && time::since(p.at, self.at) > FORGET {
                samples.insert(name("node.lost", node), 0.0);
            }
        }
        for event in events.iter().filter(|e| e.event.subject.starts_with("node/")) {
            let data = event.event.data.value();
            let Some(node) = data["name"].as_str() else { continue };
            let lost = match event.event.name.as_str() {
                "node.lost" => 1.0,
                "node.joined" => 0.0,
                _ => continue,
            };
            samples.insert(name("node.lost", node), lost);
        }
    }
}
