//! The read models, and the recount that holds the figures to the rows.

use super::control::{check_filter, matches};
use super::{Data, Job};
use jiff::Timestamp;
use mainspring_core::batch::BatchRecord;
use mainspring_core::error::Result;
use mainspring_core::ids::{BatchId, JobId, ProjectId, ScheduleId};
use mainspring_core::job::{Attempt, JobRecord, JobState, LogLine, Origin};
use mainspring_core::limits;
use mainspring_core::node::NodeRecord;
use mainspring_core::queue::{ALL_QUEUES, QueueSettings};
use mainspring_core::reader::{Fact, GroupBy, JobDetail, Page, QueueRecord, RollupRow};
use mainspring_core::schedule_record::{LedgerRow, ScheduleRecord};
use mainspring_core::store::JobFilter;
use mainspring_core::tally::{Recent, RollupSum, Scope};
use std::collections::{BTreeMap, BTreeSet};

/// The first `limit` of `rows`, and the key of the last of them when there are more.
fn page<T: Clone + 'static, K>(
    rows: impl Iterator<Item = T>,
    limit: u32,
    key: impl Fn(&T) -> K,
) -> Page<T, K> {
    let limit = cap(limit);
    let mut rows: Vec<T> = rows.take(limit + 1).collect();
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more { rows.last().map(key) } else { None };
    Page { rows, next }
}

fn cap(limit: u32) -> usize {
    (limit as usize).min(limits::PAGE)
}

impl Data {
    fn jobs_of(&self, project: ProjectId) -> impl DoubleEndedIterator<Item = &JobRecord> {
        self.jobs.values().map(|job| &job.record).filter(move |r| r.project == project)
    }

    fn job_of(&self, project: ProjectId, id: JobId) -> Option<&Job> {
        self.jobs.get(&id).filter(|job| job.record.project == project)
    }

    pub(super) fn job_page(
        &self,
        project: ProjectId,
        filter: &JobFilter,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Page<JobRecord, JobId>> {
        check_filter(filter)?;
        let rows = self.jobs_of(project).rev().filter(|r| before.is_none_or(|b| r.id < b));
        Ok(page(rows.filter(|r| matches(filter, r)).cloned(), limit, |r| r.id))
    }

    pub(super) fn detail(&self, project: ProjectId, id: JobId) -> Option<JobDetail> {
        let job = self.job_of(project, id)?;
        let r = &job.record;
        let mut attempts: Vec<Attempt> =
            self.attempts.range((id, 0)..=(id, u32::MAX)).map(|(_, attempt)| attempt.clone()).collect();
        attempts.extend(job.first_success());
        if let (JobState::Running, Some(started_at)) = (r.state, r.started_at) {
            let (number, node) = (r.attempt, r.node);
            attempts.push(Attempt {
                number,
                node,
                started_at,
                finished_at: None,
                outcome: None,
                error: None,
            });
        }
        Some(JobDetail {
            job: r.clone(),
            attempts,
            steps: self.steps.get(&id).cloned().unwrap_or_default(),
            // What an earlier attempt had done tells nothing about this one.
            progress: job.progress.clone().filter(|(attempt, _)| *attempt == r.attempt).map(|(_, p)| p),
        })
    }

    pub(super) fn logs_of(
        &self,
        project: ProjectId,
        id: JobId,
        after: Option<(u32, u32)>,
        limit: u32,
    ) -> Vec<LogLine> {
        if self.job_of(project, id).is_none() {
            return Vec::new();
        }
        let lines = self.logs.range((id, 0, 0)..=(id, u32::MAX, u32::MAX)).map(|(_, line)| line);
        lines.filter(|line| Some((line.attempt, line.seq)) > after).take(cap(limit)).cloned().collect()
    }

    pub(super) fn schedule_page(
        &self,
        project: ProjectId,
        after: Option<&str>,
        limit: u32,
    ) -> Page<ScheduleRecord, String> {
        let of_project = self.schedules.values().filter(|s| s.project == project);
        let by_name: BTreeMap<&str, &ScheduleRecord> = of_project.map(|s| (s.name.as_str(), s)).collect();
        let rows = by_name.into_values().filter(|s| Some(s.name.as_str()) > after).cloned();
        page(rows.collect::<Vec<_>>().into_iter(), limit, |s| s.name.clone())
    }

    pub(super) fn schedules_after(&self, after: Option<ScheduleId>, limit: u32) -> Vec<ScheduleRecord> {
        self.schedules.values().filter(|s| Some(s.id) > after).take(cap(limit)).cloned().collect()
    }

    pub(super) fn schedule_by_name(&self, project: ProjectId, name: &str) -> Option<ScheduleRecord> {
        self.schedules.values().find(|s| s.project == project && s.name == name).cloned()
    }

    pub(super) fn ledger_of(
        &self,
        project: ProjectId,
        schedule: ScheduleId,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Vec<LedgerRow> {
        if self.schedules.get(&schedule).is_none_or(|s| s.project != project) {
            return Vec::new();
        }
        let mut rows = self.ledger.get(&schedule).cloned().unwrap_or_default();
        rows.retain(|row| row.last >= from && row.first < until);
        rows.sort_by_key(|row| row.first);
        rows.truncate(cap(limit));
        rows
    }

    pub(super) fn fires_of(
        &self,
        project: ProjectId,
        schedule: ScheduleId,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Vec<(Timestamp, JobId, JobState, bool)> {
        let mut fires: Vec<_> = self
            .jobs_of(project)
            .filter(|r| r.schedule == Some(schedule))
            .filter_map(|r| Some((r.scheduled_for?, r.id, r.state, r.origin == Origin::Backfill)))
            .filter(|(at, ..)| (from..until).contains(at))
            .collect();
        fires.sort_unstable();
        fires.truncate(cap(limit));
        fires
    }

    pub(super) fn queue_records(&self, project: ProjectId) -> Vec<QueueRecord> {
        let of_project = self.queues.iter().filter(|((owner, _), _)| *owner == project);
        let told = of_project
            .filter(|((_, name), queue)| **name != *ALL_QUEUES || queue.settings != QueueSettings::default());
        told.map(|((_, name), queue)| {
            let mut counts = BTreeMap::new();
            for ((route, state), n) in &self.counters {
                if (route.project, &route.queue) == (project, name) && *n > 0 {
                    *counts.entry(*state).or_default() += *n as u64;
                }
            }
            let waiting =
                self.jobs_of(project).filter(|r| r.queue == *name && r.state == JobState::Available);
            QueueRecord {
                project,
                name: name.to_string(),
                settings: queue.settings.clone(),
                counts,
                oldest_waiting: waiting.map(|r| r.run_at).min(),
                next_start: queue.settings.rate.map(|rate| rate.next(queue.state.tat)),
            }
        })
        .collect()
    }

    pub(super) fn node_records(&self) -> Vec<NodeRecord> {
        let mut nodes: Vec<_> = self.nodes.values().map(|node| node.record.clone()).collect();
        for node in &mut nodes {
            let held = self.running_jobs().filter(|job| job.record.node == Some(node.info.id));
            node.running = held.count() as u64;
        }
        nodes.sort_by_key(|node| (node.joined_at, node.info.id));
        nodes
    }

    pub(super) fn batch_page(
        &self,
        project: ProjectId,
        before: Option<BatchId>,
        limit: u32,
    ) -> Page<BatchRecord, BatchId> {
        let rows = self.batches.values().rev().map(|b| b.record.clone()).filter(|b| b.project == project);
        let rows: Vec<_> = rows.filter(|b| before.is_none_or(|before| b.id < before)).collect();
        page(rows.into_iter(), limit, |b| b.id)
    }

    pub(super) fn batch_by_id(&self, project: ProjectId, id: BatchId) -> Option<BatchRecord> {
        self.batches.get(&id).map(|b| b.record.clone()).filter(|b| b.project == project)
    }

    pub(super) fn job_counts(&self, project: ProjectId) -> Vec<(String, String, JobState, u64)> {
        let of_project = self.counters.iter().filter(|((route, _), n)| route.project == project && **n > 0);
        of_project
            .map(|((route, state), n)| (route.queue.to_string(), route.kind.to_string(), *state, *n as u64))
            .collect()
    }

    pub(super) fn rollup_rows(
        &self,
        project: ProjectId,
        from: i64,
        until: i64,
        group: GroupBy,
        by_time: bool,
    ) -> Vec<RollupRow> {
        let mut sums = BTreeMap::<_, RollupSum>::new();
        for (key, sum) in &self.rollups {
            if key.route.project != project || !(from..until).contains(&key.minute) {
                continue;
            }
            let name = match group {
                GroupBy::Kind => key.route.kind.to_string(),
                GroupBy::Queue => key.route.queue.to_string(),
                GroupBy::Nothing => String::new(),
                GroupBy::Schedule => match key.schedule {
                    Some(schedule) => schedule.to_string(),
                    // Jobs without a schedule are no schedule's.
                    None => continue,
                },
            };
            let minute = if by_time { key.minute } else { 0 };
            let row = sums.entry((name, minute, key.outcome, key.bucket)).or_default();
            row.count += sum.count;
            row.total_us += sum.total_us;
        }
        sums.into_iter()
            .map(|((name, minute, outcome, bucket), sum)| RollupRow { name, minute, outcome, bucket, sum })
            .collect()
    }

    pub(super) fn recents_of(&self, project: ProjectId) -> Vec<(Scope, Recent)> {
        let of_project = self.recents.iter().filter(|((owner, _), _)| *owner == project);
        of_project.map(|((_, scope), recent)| (scope.clone(), recent.clone())).collect()
    }

    pub(super) fn running_of(&self, project: ProjectId, limit: u32) -> Vec<JobRecord> {
        let running = self.running_jobs().map(|job| &job.record).filter(|r| r.project == project);
        let mut running: Vec<JobRecord> = running.cloned().collect();
        running.sort_by_key(|r| (r.started_at, r.id));
        running.truncate(cap(limit));
        running
    }

    pub(super) fn facts(&self) -> Vec<Fact> {
        let fact = |name: &str, value: String| Fact { name: name.into(), value, problem: None };
        vec![fact("store", "memory".into()), fact("size", format!("{} bytes of texts", self.bytes()))]
    }

    pub(super) fn audit(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut states = BTreeMap::new();
        let mut queues = BTreeMap::<_, u64>::new();
        let mut keys = BTreeMap::<_, u64>::new();
        let mut pending = BTreeMap::<_, u64>::new();
        for job in self.jobs.values() {
            let r = &job.record;
            *states.entry((job.route(), r.state)).or_insert(0i64) += 1;
            if r.state == JobState::Running {
                *queues.entry((r.project, r.queue.clone())).or_default() += 1;
                *queues.entry((r.project, ALL_QUEUES.into())).or_default() += 1;
                if let Some(key) = job.key_id() {
                    *keys.entry(key).or_default() += 1;
                }
            }
            if let Some(batch) = job.counted_in().filter(|_| !r.state.is_final()) {
                *pending.entry(batch).or_default() += 1;
            }
        }
        let mut compare = |what: String, told: i64, counted: i64| {
            if told != counted {
                wrong.push(format!("{what}: {told} are told, {counted} were counted"));
            }
        };
        let mut all: BTreeSet<_> = self.counters.keys().cloned().collect();
        all.extend(states.keys().cloned());
        for key in all {
            let told = self.counters.get(&key).copied().unwrap_or_default();
            let what = format!("{} jobs of queue {}, kind {}", key.1, key.0.queue, key.0.kind);
            compare(what, told, states.get(&key).copied().unwrap_or_default());
        }
        for (key, queue) in &self.queues {
            let counted = queues.get(key).copied().unwrap_or_default();
            compare(format!("running in queue {}", key.1), queue.state.running as i64, counted as i64);
        }
        for (key, state) in &self.keys {
            let counted = keys.get(key).copied().unwrap_or_default();
            compare(format!("running of key {}/{}", key.1, key.2), state.running as i64, counted as i64);
        }
        for (id, batch) in &self.batches {
            let counted = pending.get(id).copied().unwrap_or_default();
            compare(format!("pending in batch {id}"), batch.record.counts.pending() as i64, counted as i64);
        }
        wrong
    }
}
