//! Scheduled jobs become available, available jobs become running.

use super::{Tx, at_most, check_len};
use mainspring_core::claim::{self as rules, Verdict};
use mainspring_core::error::Result;
use mainspring_core::ids::{JobId, NodeId, ProjectId};
use mainspring_core::job::{Claimed, Facts, JobState};
use mainspring_core::queue::{ALL_QUEUES, QueueSettings};
use mainspring_core::store::{ClaimBatch, ClaimRequest, Promoted};
use mainspring_core::time;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The reason of a job that was cancelled because its time had passed.
const EXPIRED: &str = "expired";

impl Tx<'_> {
    pub(super) fn promote(&mut self, limit: u32) -> Promoted {
        let mut scheduled: Vec<_> = self
            .db
            .live
            .iter()
            .map(|id| &self.db.jobs[id].record)
            .filter(|job| job.state == JobState::Scheduled)
            .map(|job| (job.run_at, job.id))
            .collect();
        scheduled.sort_unstable();
        let due = scheduled.partition_point(|(run_at, _)| *run_at <= self.now).min(at_most(limit));
        let mut done = Promoted { next_at: scheduled.get(due).map(|(at, _)| *at), ..Default::default() };
        for &(_, id) in &scheduled[..due] {
            if self.has_expired(id) {
                self.cancel_waiting(id, EXPIRED, None);
                done.expired += 1;
            } else {
                self.move_to(id, JobState::Available);
                self.place(id);
                done.promoted += 1;
            }
        }
        done
    }

    pub(super) fn claim(&mut self, request: &ClaimRequest) -> Result<ClaimBatch> {
        check_len("kinds", request.kinds.len())?;
        check_len("queues", request.queues.len())?;
        let mut got = ClaimBatch::default();
        if self.db.nodes.get(&request.node).is_none_or(|node| node.ended) {
            return Ok(got);
        }
        let (order, wake_at) = self.candidates(request);
        got.wake_at = wake_at;
        for id in order {
            if self.has_expired(id) {
                self.cancel_waiting(id, EXPIRED, None);
                got.more = true;
            } else if self.admit(id) {
                got.jobs.push(self.start(id, request.node));
            } else {
                got.more = true;
            }
        }
        Ok(got)
    }

    /// The jobs a claim looks at, in order, as the limits of queues, of all queues together and of
    /// the call allow; and when a queue that waits for its rate may give more.
    fn candidates(&self, request: &ClaimRequest) -> (Vec<JobId>, Option<jiff::Timestamp>) {
        let want = at_most(request.limit) as u32;
        let mut lanes = BTreeMap::<(ProjectId, &Arc<str>), Vec<(i64, i64)>>::new();
        for job in self.db.live.iter().map(|id| &self.db.jobs[id]).filter(|job| job.is_waiting()) {
            let r = &job.record;
            let served = request.queues.is_empty() || request.queues.contains(&r.queue);
            let ours = request.project.is_none_or(|project| project == r.project);
            if ours && served && request.kinds.contains(&r.kind) {
                let place = (job.ord.unwrap_or_default(), r.id.0);
                lanes.entry((r.project, &r.queue)).or_default().push(place);
            }
        }
        let mut wake_at: Option<i64> = None;
        for ((project, queue), lane) in &mut lanes {
            lane.sort_unstable();
            let entry = &self.db.queues[&(*project, Arc::clone(queue))];
            let (n, wake) = rules::allowance(&entry.settings, &entry.state, self.now, want);
            if lane.len() > n as usize {
                wake_at = wake_at.into_iter().chain(wake).min();
            }
            lane.truncate(n as usize);
        }

        let owners: Vec<ProjectId> = lanes.keys().map(|(project, _)| *project).collect();
        let lanes: Vec<Vec<(i64, i64)>> = lanes.into_values().collect();
        let mut room: BTreeMap<ProjectId, u32> =
            owners.iter().map(|project| (*project, self.room_of_all(*project, want))).collect();
        let mut order = Vec::new();
        for (lane, place) in rules::interleave(&lanes, |place| *place, usize::MAX) {
            let room = room.entry(owners[lane]).or_default();
            if *room > 0 && order.len() < want as usize {
                *room -= 1;
                order.push(JobId(lanes[lane][place].1));
            }
        }
        (order, wake_at.map(time::from_micros))
    }

    /// How many jobs a project may start over all its queues.
    fn room_of_all(&self, project: ProjectId, want: u32) -> u32 {
        let Some(all) = self.db.queues.get(&(project, ALL_QUEUES.into())) else { return want };
        // Nothing else has a meaning for all queues together.
        let settings = QueueSettings {
            paused: all.settings.paused.clone(),
            max_running: all.settings.max_running,
            ..Default::default()
        };
        rules::allowance(&settings, &all.state, self.now, want).0
    }

    fn has_expired(&self, id: JobId) -> bool {
        self.db.jobs[&id].record.expires_at.is_some_and(|at| at <= self.now)
    }

    /// Whether a candidate runs now; if its key does not let it, it is held or put off.
    fn admit(&mut self, id: JobId) -> bool {
        let job = &self.db.jobs[&id];
        let Some(key) = job.key_id() else { return true };
        let settings = self.db.settings(key.0, &key.1);
        let state = self.db.keys.entry(key).or_default();
        // `start` counts the job itself, for jobs with and without a key alike.
        let before = state.running;
        let verdict = rules::admit(&settings, job.key_limit, state, self.now);
        state.running = before;
        let Some(job) = self.db.jobs.get_mut(&id) else { return false };
        match verdict {
            Verdict::Run => return true,
            Verdict::Hold => job.record.held = true,
            Verdict::PutOff(at) => {
                job.record.run_at = time::from_micros(at);
                self.move_to(id, JobState::Scheduled);
            }
        }
        false
    }

    /// The lease of the next attempt.
    fn start(&mut self, id: JobId, node: NodeId) -> Claimed {
        self.move_to(id, JobState::Running);
        self.count_running(id, true);
        let now = self.now;
        let Some(job) = self.db.jobs.get_mut(&id) else { unreachable!("a candidate exists") };
        let ord = job.ord.take().unwrap_or_default();
        let r = &mut job.record;
        r.attempt += 1;
        r.started_at = Some(now);
        r.node = Some(node);
        let claimed = Claimed {
            facts: facts(r),
            project: r.project,
            kind: r.kind.clone(),
            queue: r.queue.clone(),
            payload: r.payload.clone(),
            timeout: r.timeout,
            key: r.key.clone(),
            batch: r.batch,
            schedule: r.schedule.map(|id| (id, r.scheduled_for)),
            created_at: r.created_at,
            run_at: r.run_at,
        };
        let turn = ord - rules::priority_offset(r.priority);
        let queue = self.db.queue(claimed.project, &claimed.queue);
        if let Some(rate) = queue.settings.rate {
            queue.state.tat = rate.take(queue.state.tat, time::micros(now), 1);
        }
        if queue.settings.fair {
            queue.state.vclock = queue.state.vclock.max(turn);
        }
        claimed
    }
}

/// What the engine must know of a running attempt to decide what follows it.
pub(super) fn facts(r: &mainspring_core::job::JobRecord) -> Facts {
    Facts {
        job: r.id,
        attempt: r.attempt,
        max_attempts: r.max_attempts,
        raised: r.raised,
        deaths: r.deaths,
        backoff: r.retry.backoff.clone(),
        retry_timeouts: r.retry.retry_timeouts,
        cancel_requested: r.cancel_requested,
    }
}
