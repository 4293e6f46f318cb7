//! What the policy lets go is deleted, oldest first, in bounded steps.

use super::{Batch, Data, Tx, at_most};
use jiff::Timestamp;
use mainspring_core::ids::{JobId, ProjectId};
use mainspring_core::job::JobState;
use mainspring_core::queue::Retention;
use mainspring_core::store::{SweepPolicy, Swept};
use mainspring_core::tally::RollupKey;
use mainspring_core::time;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Minutes in an hour.
const HOUR: i64 = 60;

impl Tx<'_> {
    pub(super) fn sweep(&mut self, policy: &SweepPolicy, limit: u32) -> Swept {
        let limit = at_most(limit);
        let mut swept = Swept::default();
        let old = self.finished_beyond(policy);
        for id in old.iter().take(limit) {
            self.delete_job(*id);
            swept.jobs += 1;
        }
        swept.more = old.len() > limit;
        let before = self.db.rows();
        self.fold_minutes(time::minute(time::minus(self.now, policy.minutes)));
        let hours = time::minute(time::minus(self.now, policy.hours));
        self.db.rollups.retain(|key, _| key.minute >= hours);
        let events = time::minus(self.now, policy.events);
        self.db.events.retain(|_, event| event.at >= events);
        self.db.ledger.values_mut().for_each(|rows| rows.retain(|row| row.last >= events));
        self.db.batches.retain(|_, b| b.record.finished_at.is_none_or(|at| at >= events));
        let holding: Vec<_> = self.db.running_jobs().filter_map(|job| job.record.node).collect();
        self.db.nodes.retain(|id, n| !n.ended || n.record.heartbeat_at >= events || holding.contains(id));
        swept.rows = before.saturating_sub(self.db.rows());
        swept
    }

    /// Finished jobs that go, oldest first.
    fn finished_beyond(&self, policy: &SweepPolicy) -> Vec<JobId> {
        let mut lanes = BTreeMap::<(ProjectId, &Arc<str>), Vec<(Timestamp, JobId, JobState)>>::new();
        for r in self.db.jobs.values().map(|job| &job.record) {
            if let Some(at) = r.finished_at {
                lanes.entry((r.project, &r.queue)).or_default().push((at, r.id, r.state));
            }
        }
        let mut go = Vec::new();
        let mut stay = Vec::new();
        for ((project, queue), mut lane) in lanes {
            lane.sort_unstable();
            let keep: Retention = self.db.settings(project, queue).retention.unwrap_or(policy.jobs);
            let surplus = (lane.len() as u64).saturating_sub(keep.count);
            for (nth, (at, id, state)) in lane.into_iter().enumerate() {
                let age = if state == JobState::Failed { keep.failed } else { keep.completed };
                let goes = (nth as u64) < surplus || at < time::minus(self.now, age);
                if goes { go.push((at, id)) } else { stay.push((at, id)) }
            }
        }
        if let Some(max) = policy.max_bytes {
            stay.sort_unstable();
            let mut size = self.db.bytes();
            for (at, id) in stay {
                if size <= max {
                    break;
                }
                size = size.saturating_sub(self.db.bytes_of(id));
                go.push((at, id));
            }
        }
        go.sort_unstable();
        go.into_iter().map(|(_, id)| id).collect()
    }

    fn delete_job(&mut self, id: JobId) {
        let Some(job) = self.db.jobs.remove(&id) else { return };
        self.tally.deleted(&job.route(), job.record.state);
        self.db.attempts.retain(|(job, _), _| *job != id);
        self.db.logs.retain(|(job, ..), _| *job != id);
        self.db.steps.remove(&id);
        self.db.uniques.retain(|_, holder| *holder != id);
        self.db.fires.retain(|_, job| *job != id);
        // What it opened and left unsealed, nobody completes.
        let left = |b: &Batch| b.record.parent == Some(id) && !b.record.sealed;
        self.db.batches.retain(|_, b| !left(b) || b.record.counts.total > 0);
        for (batch, b) in self.db.batches.iter_mut().filter(|(_, b)| left(b)) {
            (b.record.sealed, b.follow_up) = (true, None);
            self.batches.insert(*batch);
        }
    }

    /// Minutes before `until` become hours.
    fn fold_minutes(&mut self, until: i64) {
        for (key, sum) in std::mem::take(&mut self.db.rollups) {
            let minute =
                if key.minute < until { key.minute - key.minute.rem_euclid(HOUR) } else { key.minute };
            let row = self.db.rollups.entry(RollupKey { minute, ..key }).or_default();
            row.count += sum.count;
            row.total_us += sum.total_us;
        }
    }
}

impl Data {
    /// Rows that age lets go.
    fn rows(&self) -> u64 {
        let ledger: usize = self.ledger.values().map(Vec::len).sum();
        (self.rollups.len() + self.events.len() + ledger + self.batches.len() + self.nodes.len()) as u64
    }

    /// What stands for the store's size here: the texts of all jobs.
    pub(super) fn bytes(&self) -> u64 {
        self.jobs.keys().map(|id| self.bytes_of(*id)).sum()
    }

    fn bytes_of(&self, id: JobId) -> u64 {
        let r = &self.jobs[&id].record;
        let output = r.output.as_ref().map_or(0, |json| json.as_str().len());
        (256 + r.payload.as_str().len() + output) as u64
    }
}
