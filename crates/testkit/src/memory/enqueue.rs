//! Jobs come in: by a client's call, with a batch, as a fire, as a batch's follow-up. All of them
//! through [`Tx::write_job`].

use super::{Batch, Job, Tx, check_len, check_name, not_found};
use mainspring_core::batch::{BatchCounts, BatchRecord, BatchState, NewBatch};
use mainspring_core::error::Result;
use mainspring_core::ids::{BatchId, JobId, ProjectId};
use mainspring_core::job::{Enqueued, JobRecord, JobState, NewJob, Origin};
use mainspring_core::{StoreError, limits, time};
use std::collections::BTreeMap;

impl Tx<'_> {
    pub(super) fn ensure_project(&mut self, name: &str) -> Result<ProjectId> {
        check_name("project", name)?;
        let next = ProjectId(self.db.projects.len() as i64 + 1);
        Ok(*self.db.projects.entry(name.to_owned()).or_insert(next))
    }

    pub(super) fn enqueue(&mut self, project: ProjectId, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.check_jobs(project, &jobs)?;
        Ok(jobs.into_iter().map(|job| self.write_job(project, job)).collect())
    }

    pub(super) fn open_batch(
        &mut self,
        project: ProjectId,
        batch: NewBatch,
        mut jobs: Vec<NewJob>,
    ) -> Result<(BatchId, Vec<Enqueued>)> {
        // The batch of the jobs is the one that is about to be, whatever they say.
        jobs.iter_mut().for_each(|job| job.batch = None);
        self.check_jobs(project, &jobs)?;
        if let Some(job) = &batch.follow_up {
            check_job(job)?;
        }
        let name = limits::cut(&batch.name, limits::NAME);
        let opened = self.db.batches.values().map(|b| &b.record).find(|b| {
            !b.sealed
                && b.parent.is_some()
                && (b.project, b.parent, &b.name) == (project, batch.parent, &name)
        });
        let id = opened.map_or(BatchId(self.db.last_batch + 1), |b| b.id);
        self.db.last_batch = self.db.last_batch.max(id.0);
        let new = BatchRecord {
            id,
            project,
            name,
            state: BatchState::Open,
            sealed: batch.sealed,
            counts: BatchCounts::default(),
            parent: batch.parent,
            follow_up: None,
            created_at: self.now,
            finished_at: None,
        };
        let open = self.db.batches.entry(id).or_insert(Batch { record: new, follow_up: batch.follow_up });
        open.record.sealed |= batch.sealed;
        (open.record.state, open.record.finished_at) = (BatchState::Open, None);
        let made = jobs
            .into_iter()
            .map(|mut job| {
                job.batch = Some(id);
                self.write_job(project, job)
            })
            .collect();
        self.batches.insert(id);
        Ok((id, made))
    }

    pub(super) fn seal_batch(&mut self, project: ProjectId, id: BatchId) -> Result<()> {
        let batch = self.db.batches.get_mut(&id).filter(|b| b.record.project == project);
        let batch = batch.ok_or_else(|| not_found("batch", id))?;
        batch.record.sealed = true;
        self.batches.insert(id);
        Ok(())
    }

    /// Everything that may refuse jobs, before any of them is written.
    pub(super) fn check_jobs(&self, project: ProjectId, jobs: &[NewJob]) -> Result<()> {
        check_len("jobs", jobs.len())?;
        let mut added = BTreeMap::<BatchId, u64>::new();
        for job in jobs {
            check_job(job)?;
            if let Some(id) = job.batch {
                *added.entry(id).or_default() += 1;
            }
        }
        for (id, more) in added {
            let batch = self.db.batches.get(&id).map(|b| &b.record).filter(|b| b.project == project);
            let batch = batch.ok_or_else(|| not_found("batch", id))?;
            if batch.sealed {
                return Err(StoreError::Conflict(format!("batch {id} is sealed: no more jobs can be added")));
            }
            if batch.state != BatchState::Open {
                let text = format!("batch {id} is over, because the job that opened it is: retry that job");
                return Err(StoreError::Conflict(text));
            }
            if batch.counts.total + more > limits::BATCH_JOBS {
                let text = format!("batch {id} would have more than {} jobs", limits::BATCH_JOBS);
                return Err(StoreError::Invalid { field: "batch", text });
            }
        }
        Ok(())
    }

    /// Writes one job that was checked, unless it exists already.
    pub(super) fn write_job(&mut self, project: ProjectId, new: NewJob) -> Enqueued {
        let fire = match (new.origin, new.schedule) {
            (Origin::Fire, Some((id, Some(at)))) => Some((id, false, time::trunc(at))),
            (Origin::Backfill, Some((id, Some(at)))) => Some((id, true, time::trunc(at))),
            _ => None,
        };
        let unique = new.unique.clone().map(|u| ((project, u.key), u.period, u.states));
        let made = fire.and_then(|fire| self.db.fires.get(&fire).copied());
        let holder = unique.as_ref().and_then(|(key, _, states)| {
            let holder = &self.db.jobs[self.db.uniques.get(key)?];
            let holds =
                holder.unique_until.is_none_or(|until| self.now < until) && states.has(holder.record.state);
            holds.then_some(holder.record.id)
        });
        if let Some(id) = made.or(holder) {
            return Enqueued { id, duplicate: true };
        }

        self.db.last_job += 1;
        let id = JobId(self.db.last_job);
        let unique_until = unique.as_ref().and_then(|(_, period, _)| Some(time::plus(self.now, (*period)?)));
        if let Some((key, ..)) = unique {
            self.db.uniques.insert(key, id);
        }
        if let Some(fire) = fire {
            self.db.fires.insert(fire, id);
        }
        if let Some(batch) = new.batch.filter(|_| new.origin != Origin::FollowUp)
            && let Some(batch) = self.db.batches.get_mut(&batch)
        {
            batch.record.counts.total += 1;
        }
        let run_at = time::trunc(new.run_at.unwrap_or(self.now));
        let state = if run_at <= self.now { JobState::Available } else { JobState::Scheduled };
        let record = self.record(id, project, new.clone(), run_at, state);
        let job = Job { record, ord: None, key_limit: new.key_limit, unique_until, progress: None };
        self.db.queue(project, &new.queue);
        self.tally.created(&job.route(), state);
        self.db.jobs.insert(id, job);
        self.move_to(id, state);
        if state == JobState::Available {
            self.place(id);
        }
        Enqueued { id, duplicate: false }
    }

    fn record(
        &self,
        id: JobId,
        project: ProjectId,
        new: NewJob,
        run_at: jiff::Timestamp,
        state: JobState,
    ) -> JobRecord {
        JobRecord {
            id,
            project,
            kind: new.kind,
            queue: new.queue,
            state,
            reason: None,
            priority: new.priority,
            payload: new.payload,
            origin: new.origin,
            attempt: 0,
            max_attempts: new.retry.max_attempts,
            raised: 0,
            deaths: 0,
            outcome: None,
            created_at: self.now,
            run_at,
            started_at: None,
            finished_at: None,
            node: None,
            expires_at: new.expires_at.map(time::trunc),
            timeout: new.timeout,
            retry: new.retry,
            key: new.key,
            held: false,
            unique: new.unique.map(|u| u.key),
            batch: new.batch,
            schedule: new.schedule.map(|(id, _)| id),
            scheduled_for: new.schedule.and_then(|(_, at)| at.map(time::trunc)),
            cancel_requested: false,
            error: None,
            output: None,
        }
    }
}

fn check_job(job: &NewJob) -> Result<()> {
    job.check().map_err(|(field, text)| StoreError::Invalid { field, text })
}
