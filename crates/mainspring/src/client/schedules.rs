//! Schedules: put, pause, run now, preview, backfill.

use super::{Client, ClientError, Result};
use crate::registry::Registry;
use crate::step::scheduler::job_of;
use jiff::Timestamp;
use mainspring_core::batch::NewBatch;
use mainspring_core::code::Code;
use mainspring_core::ids::{BatchId, JobId, ScheduleId};
use mainspring_core::job::{Enqueued, JobState, NewJob, Origin};
use mainspring_core::schedule::ScheduleSpec;
use mainspring_core::schedule_record::{PutSchedule, ScheduleRecord};
use mainspring_core::{Json, StoreError, limits, time};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a backfill would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackfillPreview {
    /// Every nominal fire of the range, oldest first.
    pub fires: Vec<BackfillFire>,
    /// How many would run.
    pub to_run: usize,
}

/// One nominal fire of a range.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackfillFire {
    /// The fire.
    pub at: Timestamp,
    /// The job that has run for it already, if any: then it is passed over.
    pub ran: Option<(JobId, JobState)>,
    /// Why the rule itself lets it go, if it does: then it is passed over, too.
    pub skipped: Option<String>,
}

impl BackfillFire {
    /// Whether a backfill makes a job of it.
    pub fn runs(&self) -> bool {
        self.ran.is_none() && self.skipped.is_none()
    }
}

impl Client {
    /// Makes or replaces the schedule of the rule's name. `source` says who brought it: `config`,
    /// `cli`, `import`, `code`, `api`, `tour`. Writing the same again changes nothing.
    pub async fn put_schedule(&self, spec: &ScheduleSpec, source: &str) -> Result<ScheduleId> {
        let invalid = |field: &str, text: String| ClientError::Invalid {
            code: Code::BAD_SCHEDULE,
            field: field.to_owned(),
            text,
        };
        spec.check().map_err(|(field, text)| invalid(field, text))?;
        let job = self.job_of_schedule(spec, ScheduleId(0), None);
        self.check_job(&job).map_err(|(field, text)| invalid(&format!("job.{field}"), text))?;
        let now = self.now();
        let put = PutSchedule {
            name: spec.name.clone(),
            spec: Json::of(spec).map_err(|e| invalid("job.payload", e))?,
            zone: spec.zone.name().to_owned(),
            next_fire: spec.first_fire(now).map(time::trunc),
            after_completion: spec.trigger.delay(),
            source: source.to_owned(),
        };
        Ok(self.store.put_schedule(now, self.project, put, &self.signature()).await?)
    }

    /// Deletes a schedule; its jobs stay.
    pub async fn delete_schedule(&self, name: &str) -> Result<()> {
        Ok(self.store.delete_schedule(self.now(), self.project, name, &self.signature()).await?)
    }

    /// From now on its fires are skipped (and recorded so), until it is resumed or `until`.
    pub async fn pause_schedule(
        &self,
        name: &str,
        until: Option<Timestamp>,
        note: Option<&str>,
    ) -> Result<()> {
        let pause = self.pause(until, note)?;
        Ok(self.store.pause_schedule(self.now(), self.project, name, Some(pause), &self.signature()).await?)
    }

    /// Ends a schedule's pause.
    pub async fn resume_schedule(&self, name: &str) -> Result<()> {
        Ok(self.store.pause_schedule(self.now(), self.project, name, None, &self.signature()).await?)
    }

    /// A schedule as it stands, with its rule.
    pub async fn schedule(&self, name: &str) -> Result<(ScheduleRecord, ScheduleSpec)> {
        let found = self.store.schedule(self.project, name).await?;
        let record = found.ok_or_else(|| ClientError::not_found("schedule", name))?;
        let spec = record.spec.to().map_err(|e| {
            let text = format!("the rule of schedule {name:?} cannot be read by this program: {e}");
            ClientError::Store(StoreError::Conflict(text))
        })?;
        Ok((record, spec))
    }

    /// Enqueues the schedule's job now. It never counts as a fire: it owns no nominal fire, and the
    /// next fire stays where it is.
    pub async fn run_now(&self, name: &str) -> Result<Enqueued> {
        let (record, spec) = self.schedule(name).await?;
        let job = self.job_of_schedule(&spec, record.id, None);
        let made = self.enqueue_raw(NewJob { run_at: None, origin: Origin::Manual, ..job }).await?;
        self.tell("schedule.run", format!("schedule/{name}"), serde_json::json!({ "job": made.id })).await?;
        Ok(made)
    }

    /// What a backfill of the fires in `[from, until)` would do. `again` names the states in which a
    /// job does not count as having run (for example failed).
    pub async fn backfill_preview(
        &self,
        name: &str,
        from: Timestamp,
        until: Timestamp,
        again: &[JobState],
    ) -> Result<BackfillPreview> {
        let (record, spec) = self.schedule(name).await?;
        self.look_back(&record, &spec, from, until, again).await
    }

    /// Enqueues a job for every fire in `[from, until)` that has none, as one batch; None when there
    /// is nothing to do. Asked for again, it makes no job twice.
    pub async fn backfill(
        &self,
        name: &str,
        from: Timestamp,
        until: Timestamp,
        again: &[JobState],
    ) -> Result<Option<(BatchId, Vec<Enqueued>)>> {
        let (record, spec) = self.schedule(name).await?;
        let seen = self.look_back(&record, &spec, from, until, again).await?;
        let jobs: Vec<NewJob> = seen
            .fires
            .iter()
            .filter(|fire| fire.runs())
            .map(|fire| NewJob {
                run_at: None,
                expires_at: None,
                origin: Origin::Backfill,
                ..self.job_of_schedule(&spec, record.id, Some(fire.at))
            })
            .collect();
        if jobs.is_empty() {
            return Ok(None);
        }
        let label = limits::cut(&format!("backfill {name} {from} {until}"), limits::NAME);
        let batch = NewBatch { name: label, follow_up: None, parent: None, sealed: true };
        let (batch, jobs) = self.open_batch(batch, jobs).await?;
        let data = serde_json::json!({ "batch": batch, "jobs": jobs.len(), "first": from, "until": until });
        self.tell("schedule.backfilled", format!("schedule/{name}"), data).await?;
        Ok(Some((batch, jobs)))
    }

    async fn look_back(
        &self,
        record: &ScheduleRecord,
        spec: &ScheduleSpec,
        from: Timestamp,
        until: Timestamp,
        again: &[JobState],
    ) -> Result<BackfillPreview> {
        let until = until.min(self.now());
        if from >= until {
            let text = format!("the range {from} to {until} is empty; a backfill is of past fires");
            return Err(ClientError::invalid("from", text));
        }
        let ran = self.ran(record.id, from, until).await?;
        let (mut fires, series) = (Vec::new(), spec.series());
        let mut next = series.next_after(time::minus(from, Duration::from_micros(1)));
        while let Some(item) = next.filter(|item| item.due < until) {
            if fires.len() >= limits::FIRES_PER_PLAN {
                let text = format!(
                    "more than {} fires up to {}; take a shorter range",
                    limits::FIRES_PER_PLAN,
                    item.due
                );
                return Err(ClientError::invalid("until", text));
            }
            let blackout = spec.days.blacked_out(spec.zone.wall(item.due));
            fires.push(BackfillFire {
                at: item.due,
                ran: ran.get(&item.due).copied().filter(|(_, state)| !again.contains(state)),
                skipped: item.verdict.as_ref().map(|(_, why)| why.to_string()).or(blackout),
            });
            next = series.next_after(item.due);
        }
        let to_run = fires.iter().filter(|fire| fire.runs()).count();
        Ok(BackfillPreview { fires, to_run })
    }

    /// The job that stands for each fire of the range: the last one where there are several.
    async fn ran(
        &self,
        schedule: ScheduleId,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<BTreeMap<Timestamp, (JobId, JobState)>> {
        let (mut ran, mut from) = (BTreeMap::new(), from);
        loop {
            let limit = limits::PAGE as u32;
            let page = self.store.fires(self.project, schedule, from, until, limit).await?;
            let last = page.last().map(|(at, ..)| *at);
            let full = page.len() >= limits::PAGE;
            for (at, job, state, _) in page {
                let newest = ran.entry(at).or_insert((job, state));
                if job > newest.0 {
                    *newest = (job, state);
                }
            }
            match last {
                // The last fire's jobs may go on on the next page: read it again from there.
                Some(at) if full && at > from => from = at,
                Some(at) if full => from = time::plus(at, Duration::from_micros(1)),
                _ => return Ok(ran),
            }
        }
    }

    fn job_of_schedule(&self, spec: &ScheduleSpec, id: ScheduleId, fire: Option<Timestamp>) -> NewJob {
        let at = fire.unwrap_or(Timestamp::UNIX_EPOCH);
        let mut job = spec.job.job(id, at, at);
        job.schedule = Some((id, fire));
        job.expires_at = None;
        match &self.registry {
            Some(registry) => job_of(registry, spec, job),
            None => job_of(&Registry::new(), spec, job),
        }
    }
}
