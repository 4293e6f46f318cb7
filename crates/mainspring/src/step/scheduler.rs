//! Fires schedules: reads what is due, lets `plan` decide what becomes of every nominal fire, and
//! writes that. Any number of nodes may look at once: each write is a compare-and-swap on the next
//! fire it was decided from, and one of them wins.
//!
//! A rule that cannot be read (written by a newer program) is taken out of the way with an event
//! that says so; it must not hold up the others.

use super::{Step, Wake};
use crate::engine::{Engine, NodeEvent};
use crate::registry::Registry;
use jiff::Timestamp;
use mainspring_core::error::Result;
use mainspring_core::event::NewEvent;
use mainspring_core::job::{JobState, NewJob};
use mainspring_core::plan::{LiveJobs, ScheduleState, plan};
use mainspring_core::schedule::{Overlap, ScheduleSpec};
use mainspring_core::schedule_record::{DueSchedule, FireWrite, Fired, ScheduleRecord};
use mainspring_core::{limits, time};
use std::sync::Arc;

/// See the module's text.
pub struct Scheduler(pub Arc<Engine>);

/// What was decided of one schedule.
struct Decided {
    record: ScheduleRecord,
    write: FireWrite,
    without: u64,
}

impl Step for Scheduler {
    const NAME: &'static str = "scheduler";

    async fn step(&self, now: Timestamp) -> Result<Wake> {
        if self.0.draining() {
            return Ok(Wake::Idle);
        }
        let (due, next) = self.0.store().due_schedules(now, limits::BATCH as u32).await?;
        let full = due.len() >= limits::BATCH;
        let mut wake = next;
        let mut batch: Vec<Decided> = Vec::new();
        let mut size = 0;
        for schedule in due {
            match decide(&self.0.services.registry, schedule, now) {
                Ok(None) => {}
                Ok(Some(decided)) => {
                    wake = earlier(wake, decided.write.next_fire);
                    let more = 1 + decided.write.jobs.len() + decided.write.ledger.len();
                    if size + more > limits::BATCH {
                        self.write(now, std::mem::take(&mut batch)).await?;
                        size = 0;
                    }
                    size += more;
                    batch.push(decided);
                }
                Err((record, why)) => self.set_aside(now, &record, &why).await?,
            }
        }
        self.write(now, batch).await?;
        Ok(match wake {
            _ if full => Wake::Again,
            Some(at) if at <= now => Wake::Again,
            Some(at) => Wake::At(at),
            None => Wake::Idle,
        })
    }
}

impl Scheduler {
    async fn write(&self, now: Timestamp, batch: Vec<Decided>) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let writes = batch.iter().map(|d| d.write.clone()).collect();
        match self.0.store().fire(now, writes).await {
            Ok(answers) => {
                for (decided, fired) in batch.into_iter().zip(answers) {
                    self.tell(now, decided, fired);
                }
            }
            Err(e) if e.is_transient() => return Err(e),
            Err(e) => {
                tracing::warn!(error = %e, "the store refused fires; writing them one by one");
                for decided in batch {
                    match self.0.store().fire(now, vec![decided.write.clone()]).await {
                        Ok(answers) => {
                            let fired = answers.into_iter().next().unwrap_or(Fired::Lost);
                            self.tell(now, decided, fired);
                        }
                        Err(e) if e.is_transient() => return Err(e),
                        Err(e) => self.set_aside(now, &decided.record, &e.to_string()).await?,
                    }
                }
            }
        }
        Ok(())
    }

    fn tell(&self, now: Timestamp, decided: Decided, fired: Fired) {
        let Fired::Written(jobs) = fired else { return };
        let signals = &self.0.signals;
        if decided.write.jobs.iter().any(|j| j.run_at.is_none_or(|at| at <= now)) {
            signals.dispatch.notify_one();
        }
        if decided.write.jobs.iter().any(|j| j.run_at.is_some_and(|at| at > now)) {
            signals.promote.notify_one();
        }
        self.0.events.tell(|| NodeEvent::Fired {
            schedule: decided.record.name.as_str().into(),
            id: decided.record.id,
            jobs: jobs.iter().map(|j| j.id).collect(),
            without: decided.without,
        });
    }

    /// Takes a schedule that cannot be planned out of the way: it fires no more until it is written
    /// anew.
    async fn set_aside(&self, now: Timestamp, record: &ScheduleRecord, why: &str) -> Result<()> {
        tracing::error!(schedule = record.name, why, "a schedule cannot be planned; write it anew");
        let data = serde_json::json!({ "reason": limits::cut(why, limits::NOTE) });
        let event = NewEvent::new("schedule.broken", format!("schedule/{}", record.name), data);
        let store = self.0.store();
        store.reschedule(now, record.id, record.version, record.next_fire, None, Some(event)).await?;
        self.0.events.tell(|| NodeEvent::Broken { schedule: record.name.as_str().into(), why: why.into() });
        Ok(())
    }
}

/// The earlier of two instants that may be absent.
fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// What becomes of a due schedule; None when it is not due after all.
fn decide(
    registry: &Registry,
    due: DueSchedule,
    now: Timestamp,
) -> Result<Option<Decided>, (Box<ScheduleRecord>, String)> {
    let DueSchedule { record, live } = due;
    let Some(expected_fire) = record.next_fire else { return Ok(None) };
    let spec: ScheduleSpec = match record.spec.to() {
        Ok(spec) => spec,
        Err(e) => return Err((Box::new(record), format!("its rule cannot be read: {e}"))),
    };
    let states: Vec<JobState> = live.iter().map(|(_, state)| *state).collect();
    let planned = plan(&spec, &ScheduleState::of(&record), LiveJobs::count(&states), now);
    let jobs: Vec<NewJob> = planned
        .fires
        .iter()
        .map(|f| job_of(registry, &spec, spec.job.job(record.id, f.scheduled_for, f.run_at)))
        .collect();
    if let Some((field, text)) = jobs.iter().find_map(|job| job.check().err()) {
        return Err((Box::new(record), format!("its job cannot be enqueued: {field}: {text}")));
    }
    let write = FireWrite {
        schedule: record.id,
        version: record.version,
        expected_fire,
        next_fire: planned.next_fire.map(time::trunc),
        jobs,
        replace: if planned.cancel_live { live.iter().map(|(id, _)| *id).collect() } else { Vec::new() },
        ledger: planned.ledger,
    };
    let without = write.ledger.iter().map(|row| row.count).sum();
    Ok(Some(Decided { record, write, without }))
}

/// The job of a schedule with what its kind and its overlap policy add.
pub(crate) fn job_of(registry: &Registry, spec: &ScheduleSpec, mut job: NewJob) -> NewJob {
    if let Some(entry) = registry.get(&job.kind) {
        if spec.job.queue.is_none() {
            job.queue = entry.spec.queue.clone();
        }
        if spec.job.priority.is_none() {
            job.priority = entry.spec.priority;
        }
        if spec.job.retry.is_none() {
            let attempts = spec.job.max_attempts.unwrap_or(entry.spec.retry.max_attempts);
            job.retry = entry.spec.retry.clone();
            job.retry.max_attempts = attempts;
        }
    }
    if spec.overlap == Overlap::QueueOne && job.key.is_none() {
        // The one that waits is held by its key until the one that runs has ended.
        job.key = Some(format!("schedule/{}", spec.name).into());
        job.key_limit = Some(1);
    }
    job
}
