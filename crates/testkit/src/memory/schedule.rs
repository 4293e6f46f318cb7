//! Schedules are written, paused, looked at and fired.

use super::{Tx, at_most, check_len, check_name, not_found};
use jiff::Timestamp;
use mainspring_core::error::Result;
use mainspring_core::event::{self, NewEvent};
use mainspring_core::ids::{ProjectId, ScheduleId};
use mainspring_core::job::{JobState, Origin};
use mainspring_core::queue::Pause;
use mainspring_core::schedule_record::{
    DueSchedule, FireWrite, Fired, LedgerRow, PutSchedule, ScheduleRecord,
};
use mainspring_core::store::Hint;
use mainspring_core::{limits, time};

/// Live jobs that are shown of a due schedule.
const LIVE: usize = 100;

impl Tx<'_> {
    pub(super) fn put_schedule(
        &mut self,
        project: ProjectId,
        put: PutSchedule,
        actor: &str,
    ) -> Result<ScheduleId> {
        check_name("schedule", &put.name)?;
        let now = self.now;
        let next_fire = put.next_fire.map(time::trunc);
        let known = self.schedule_named(project, &put.name).ok().map(|s| s.id);
        let (id, what) = match known.and_then(|id| self.db.schedules.get_mut(&id)) {
            Some(s) => {
                let same = s.spec == put.spec
                    && s.zone == put.zone
                    && s.after_completion == put.after_completion
                    && s.source == put.source;
                if same {
                    return Ok(s.id);
                }
                s.spec = put.spec;
                s.zone = put.zone;
                s.next_fire = next_fire;
                s.after_completion = put.after_completion;
                s.source = put.source;
                s.version += 1;
                s.updated_at = now;
                (s.id, "schedule.changed")
            }
            None => {
                self.db.last_schedule += 1;
                let id = ScheduleId(self.db.last_schedule);
                let record = ScheduleRecord {
                    id,
                    project,
                    name: put.name.clone(),
                    spec: put.spec,
                    zone: put.zone,
                    next_fire,
                    after_completion: put.after_completion,
                    fires: 0,
                    last_fire: None,
                    paused: None,
                    version: 1,
                    source: put.source,
                    created_at: now,
                    updated_at: now,
                };
                self.db.schedules.insert(id, record);
                (id, "schedule.created")
            }
        };
        self.schedule_event(project, what, &put.name, actor);
        Ok(id)
    }

    pub(super) fn delete_schedule(&mut self, project: ProjectId, name: &str, actor: &str) -> Result<()> {
        let id = self.schedule_named(project, name)?.id;
        self.db.schedules.remove(&id);
        self.schedule_event(project, "schedule.deleted", name, actor);
        Ok(())
    }

    pub(super) fn pause_schedule(
        &mut self,
        project: ProjectId,
        name: &str,
        pause: Option<Pause>,
        actor: &str,
    ) -> Result<()> {
        let now = self.now;
        let s = self.schedule_named(project, name)?;
        let what = if pause.is_some() { "schedule.paused" } else { "schedule.resumed" };
        s.paused = pause;
        s.version += 1;
        s.updated_at = now;
        self.schedule_event(project, what, name, actor);
        Ok(())
    }

    fn schedule_named(&mut self, project: ProjectId, name: &str) -> Result<&mut ScheduleRecord> {
        let named = self.db.schedules.values_mut().find(|s| s.project == project && s.name == name);
        named.ok_or_else(|| not_found("schedule", name))
    }

    fn schedule_event(&mut self, project: ProjectId, what: &str, name: &str, actor: &str) {
        let event = NewEvent::new(what, format!("schedule/{name}"), serde_json::json!({}));
        self.event(project, event.by(actor));
        self.hint(Hint::Schedules);
    }

    pub(super) fn due_schedules(&self, limit: u32) -> (Vec<DueSchedule>, Option<Timestamp>) {
        let mut by_time: Vec<_> =
            self.db.schedules.values().filter_map(|s| Some((s.next_fire?, s.id))).collect();
        by_time.sort_unstable();
        let due = by_time.partition_point(|(at, _)| *at <= self.now).min(at_most(limit));
        let rows = by_time[..due].iter().map(|(_, id)| DueSchedule {
            record: self.db.schedules[id].clone(),
            live: self
                .db
                .live
                .iter()
                .map(|id| &self.db.jobs[id].record)
                .filter(|job| job.schedule == Some(*id) && job.origin == Origin::Fire)
                .map(|job| (job.id, job.state))
                .take(LIVE)
                .collect(),
        });
        (rows.collect(), by_time.get(due).map(|(at, _)| *at))
    }

    pub(super) fn fire(&mut self, writes: Vec<FireWrite>) -> Result<Vec<Fired>> {
        check_len("writes", writes.len())?;
        for write in &writes {
            if let Some(s) = self.db.schedules.get(&write.schedule) {
                self.check_jobs(s.project, &write.jobs)?;
            }
            check_len("ledger", write.ledger.len())?;
            check_len("replace", write.replace.len())?;
        }
        Ok(writes.into_iter().map(|write| self.fire_one(write)).collect())
    }

    fn fire_one(&mut self, write: FireWrite) -> Fired {
        let id = write.schedule;
        let expected = Some(time::trunc(write.expected_fire));
        let unchanged = |s: &&ScheduleRecord| s.version == write.version && s.next_fire == expected;
        let Some(s) = self.db.schedules.get(&id).filter(unchanged) else { return Fired::Lost };
        let (project, name, mut last_fire) = (s.project, s.name.clone(), s.last_fire);
        // Fires that made a job: the last one before, and those of this write.
        let mut ran: Vec<Timestamp> = last_fire.into_iter().collect();
        let mut made = Vec::new();
        let mut fires = 0;
        for job in write.jobs {
            let nominal = job.schedule.and_then(|(_, at)| at).map(time::trunc);
            let enqueued = self.write_job(project, job);
            if !enqueued.duplicate {
                fires += 1;
                last_fire = last_fire.max(nominal);
            }
            ran.extend(nominal);
            made.push(enqueued);
        }
        for row in write.ledger {
            self.event(project, event::of_ledger(&name, &row));
            self.enter(id, row, &ran);
        }
        for job in write.replace {
            let state =
                self.db.jobs.get(&job).filter(|j| j.record.project == project).map(|j| j.record.state);
            match state {
                Some(JobState::Running) => self.ask_to_end(job),
                Some(state) if !state.is_final() => {
                    self.cancel_waiting(job, "replaced by a later fire", None);
                }
                _ => {}
            }
        }
        if let Some(s) = self.db.schedules.get_mut(&id) {
            s.next_fire = write.next_fire.map(time::trunc);
            s.fires += fires;
            s.last_fire = last_fire;
        }
        Fired::Written(made)
    }

    /// Enters a row into the ledger; it continues the last one when both tell the same and no fire
    /// between them made a job.
    fn enter(&mut self, id: ScheduleId, row: LedgerRow, ran: &[Timestamp]) {
        let row = LedgerRow {
            first: time::trunc(row.first),
            last: time::trunc(row.last),
            reason: limits::cut(&row.reason, limits::NOTE),
            ..row
        };
        let rows = self.db.ledger.entry(id).or_default();
        match rows.last_mut() {
            Some(last)
                if (last.outcome, &last.reason) == (row.outcome, &row.reason)
                    && last.last < row.first
                    && !ran.iter().any(|at| (last.last..row.first).contains(at)) =>
            {
                last.last = row.last;
                last.count += row.count;
            }
            _ => rows.push(row),
        }
    }

    pub(super) fn reschedule(
        &mut self,
        schedule: ScheduleId,
        version: i64,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        event: Option<NewEvent>,
    ) -> bool {
        let from = from.map(time::trunc);
        let s = self.db.schedules.get_mut(&schedule);
        let Some(s) = s.filter(|s| s.version == version && s.next_fire == from) else { return false };
        s.next_fire = to.map(time::trunc);
        let project = s.project;
        if let Some(event) = event {
            self.event(project, event);
        }
        self.hint(Hint::Schedules);
        true
    }
}
