//! What belongs to the end of every call that moves jobs: batches that are over, held jobs whose key
//! has room again, and the states of keys.

use crate::cache::{QueueIx, RouteIx, us};
use crate::row::{self, JobOptions, Row};
use crate::schema;
use crate::tx::{Done, Fault, Key, Tx};
use jiff::Timestamp;
use mainspring_core::batch::{BatchCounts, BatchState};
use mainspring_core::claim::{KeyState, QueueState, TURN};
use mainspring_core::event::{self, NewEvent};
use mainspring_core::ids::{BatchId, ProjectId, ScheduleId};
use mainspring_core::job::{AttemptOutcome, JobState, NewJob, Origin, Unique};
use mainspring_core::retry::RetryPolicy;
use mainspring_core::store::Hint;
use mainspring_core::{StoreError, limits, time};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

impl Tx<'_> {
    /// The end of a call, in this order: batches by number, freed keys, states of keys.
    pub fn settle(&mut self, now: Timestamp) -> Done<()> {
        // A follow-up can itself do nothing to a batch: one round is enough.
        for (id, add) in std::mem::take(&mut self.batches) {
            self.add_to_batch(now, id, add)?;
        }
        for (queue, key) in std::mem::take(&mut self.freed) {
            self.release(queue, &key)?;
        }
        for ((queue, name), key) in std::mem::take(&mut self.keys) {
            if key.state != key.stored {
                self.write_key(us(now), queue, &name, key.state)?;
            }
        }
        Ok(())
    }

    fn add_to_batch(&mut self, now: Timestamp, id: i64, add: BatchCounts) -> Done<()> {
        let found = self
            .conn
            .prepare_cached(
                "UPDATE batches SET total = total + ?2, succeeded = succeeded + ?3, partial = partial + ?4,
                    failed = failed + ?5, cancelled = cancelled + ?6
                 WHERE id = ?1
                 RETURNING project, name, state, sealed, total, succeeded, partial, failed, cancelled,
                    follow_up IS NULL, template",
            )?
            .query_row(
                params![
                    id,
                    add.total as i64,
                    add.succeeded as i64,
                    add.partial as i64,
                    add.failed as i64,
                    add.cancelled as i64
                ],
                |r| {
                    let n = |at| r.get::<_, i64>(at).map(|n| n.max(0) as u64);
                    let counts = BatchCounts {
                        total: n(4)?,
                        succeeded: n(5)?,
                        partial: n(6)?,
                        failed: n(7)?,
                        cancelled: n(8)?,
                    };
                    let open = r.get::<_, i64>(2)? == i64::from(BatchState::Open.code());
                    let template = if r.get(9)? { r.get::<_, Option<String>>(10)? } else { None };
                    Ok((
                        ProjectId(r.get(0)?),
                        r.get::<_, String>(1)?,
                        open,
                        counts.state(r.get(3)?),
                        template,
                    ))
                },
            )
            .optional()?;
        let Some((project, name, true, state, template)) = found else { return Ok(()) };
        if state == BatchState::Open {
            return Ok(());
        }
        self.event(now, project, &event::of_batch(BatchId(id), &name, state))?;
        let mut follow_up = None;
        if let Some(template) = template {
            let job = row::parse::<Template>("a batch's follow-up", &template)?.into_job();
            let made = self.write_jobs(now, project, std::slice::from_ref(&job), Some(BatchId(id)))?;
            follow_up = made.first().map(|e| e.id.0);
        }
        self.conn
            .prepare_cached(
                "UPDATE batches SET state = ?2, finished_at = ?3, follow_up = coalesce(?4, follow_up)
                 WHERE id = ?1",
            )?
            .execute(params![id, state.code(), us(now), follow_up])?;
        Ok(())
    }

    /// What the end of a job means to others: its key, its batch, its schedule.
    pub fn ended(
        &mut self,
        row: &Row,
        state: JobState,
        outcome: Option<AttemptOutcome>,
        finished_at: i64,
    ) -> Done<()> {
        if let Some(key) = &row.key {
            let queue = self.cache.routes[row.route_ix()].queue;
            self.freed.insert((queue, key.clone()));
        }
        if let Some(batch) = row.counted_in() {
            *count_of(self.batches.entry(batch).or_default(), state, outcome) += 1;
        }
        if let Some(schedule) = row.schedule {
            let moved = self
                .conn
                .prepare_cached(
                    "UPDATE schedules SET next_fire = ?2 + after_completion
                     WHERE id = ?1 AND after_completion IS NOT NULL",
                )?
                .execute([schedule, finished_at])?;
            if moved > 0 {
                self.hint(Hint::Schedules);
            }
        }
        Ok(())
    }

    /// Cancels a job that waits: by a person, by expiry, or in favour of a later fire.
    pub fn cancel_waiting(
        &mut self,
        now: Timestamp,
        row: &mut Row,
        reason: &str,
        actor: Option<&str>,
    ) -> Done<()> {
        let route = row.route_ix();
        let from = crate::cache::state_of(row.st)?;
        let reason = limits::cut(reason, limits::NOTE);
        row.st = schema::CANCELLED;
        row.flags &= !schema::PUT_OFF;
        row.ord = schema::ABSENT;
        row.finished_at = us(now);
        row.save(self.conn)?;
        self.set_reason(row.id, Some(&reason))?;
        self.cache.moved(route, from, JobState::Cancelled);
        let r = &self.cache.routes[route];
        let event = event::of_cancelled(mainspring_core::JobId(row.id), &r.kind, &r.queue_name, &reason);
        let project = r.project;
        let event = match actor {
            Some(actor) => event.by(actor),
            None => event,
        };
        self.event(now, project, &event)?;
        let outcome = row.outcome.and_then(AttemptOutcome::from_code);
        self.ended(row, JobState::Cancelled, outcome, us(now))
    }

    /// Stores or clears why a job stands where it does.
    pub fn set_reason(&mut self, job: i64, reason: Option<&str>) -> Done<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO results (job, reason) VALUES (?1, ?2)
                 ON CONFLICT DO UPDATE SET reason = excluded.reason",
            )?
            .execute(params![job, reason])?;
        Ok(())
    }

    /// A queue's state as the rules want it.
    pub fn queue_state(&self, queue: QueueIx) -> QueueState {
        let q = &self.cache.queues[queue];
        QueueState { running: self.cache.running_in(queue), tat: q.tat, vclock: q.vclock }
    }

    /// A key's state; what becomes of it is written at the end of the call.
    pub fn key_state(&mut self, queue: QueueIx, key: Arc<str>) -> Done<&mut KeyState> {
        use std::collections::hash_map::Entry;
        let entry = match self.keys.entry((queue, key)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let state = self
                    .conn
                    .prepare_cached(
                        "SELECT running, tat, put_off, last_turn FROM keys WHERE queue = ?1 AND key = ?2",
                    )?
                    .query_row(params![queue as i64 + 1, free.key().1], |r| {
                        let running = r.get::<_, i64>(0)?.max(0) as u64;
                        Ok(KeyState { running, tat: r.get(1)?, put_off: r.get(2)?, last_turn: r.get(3)? })
                    })
                    .optional()?
                    .unwrap_or_default();
                free.insert(Key { state, stored: state })
            }
        };
        Ok(&mut entry.state)
    }

    /// Writes a key's state, or deletes the row when it tells nothing that a missing one does not.
    fn write_key(&mut self, now: i64, queue: QueueIx, key: &str, state: KeyState) -> Done<()> {
        let spent =
            state.last_turn == 0 || state.last_turn.saturating_add(TURN) <= self.cache.queues[queue].vclock;
        if state.running == 0 && state.tat <= now && state.put_off <= now && spent {
            self.conn
                .prepare_cached("DELETE FROM keys WHERE queue = ?1 AND key = ?2")?
                .execute(params![queue as i64 + 1, key])?;
            return Ok(());
        }
        self.conn
            .prepare_cached(
                "INSERT INTO keys (queue, key, running, tat, put_off, last_turn)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET running = excluded.running, tat = excluded.tat,
                    put_off = excluded.put_off, last_turn = excluded.last_turn",
            )?
            .execute(params![
                queue as i64 + 1,
                key,
                state.running as i64,
                state.tat,
                state.put_off,
                state.last_turn
            ])?;
        Ok(())
    }

    /// Releases held jobs of a key, in claim order, as many as may run beside those that do. They
    /// are judged again when they are claimed.
    fn release(&mut self, queue: QueueIx, key: &Arc<str>) -> Done<()> {
        let conn = self.conn;
        let mut held = conn.prepare_cached(
            "SELECT id, route, options FROM jobs INDEXED BY jobs_held
             WHERE st = 16 AND key = ?1 ORDER BY key, ord, id",
        )?;
        let mut rows = held.query([&**key])?;
        let per_key = self.cache.queues[queue].settings.max_running_per_key;
        let mut running = None;
        let mut free = Vec::new();
        while let Some(r) = rows.next()? {
            let route = r.get::<_, i64>(1)? as RouteIx - 1;
            if self.cache.routes[route].queue != queue {
                continue;
            }
            let options = JobOptions::parse(r.get::<_, Option<String>>(2)?.as_deref())?;
            let running = match &mut running {
                Some(n) => n,
                none => none.insert(self.key_state(queue, key.clone())?.running),
            };
            let limit = per_key.into_iter().chain(options.key_limit).min();
            if limit.is_some_and(|limit| *running >= u64::from(limit)) {
                break;
            }
            *running += 1;
            free.push((r.get::<_, i64>(0)?, route));
        }
        for (id, route) in free {
            conn.prepare_cached("UPDATE jobs SET st = 11 WHERE id = ?1")?.execute([id])?;
            self.cache.routes[route].ready = true;
            self.hint(Hint::Jobs);
        }
        Ok(())
    }

    /// An event of the default project: what belongs to none is told there.
    pub fn own_event(&mut self, now: Timestamp, event: &NewEvent) -> Done<()> {
        self.event(now, ProjectId::DEFAULT, event)
    }
}

/// The count of a batch that a job belongs to, by how it ended.
pub(crate) fn count_of(
    counts: &mut BatchCounts,
    state: JobState,
    outcome: Option<AttemptOutcome>,
) -> &mut u64 {
    match (state, outcome) {
        (JobState::Completed, Some(AttemptOutcome::Partial)) => &mut counts.partial,
        (JobState::Completed, _) => &mut counts.succeeded,
        (JobState::Cancelled, _) => &mut counts.cancelled,
        _ => &mut counts.failed,
    }
}

/// A follow-up as stored until its batch ends.
#[derive(Serialize, Deserialize)]
struct Template {
    kind: String,
    queue: String,
    payload: String,
    priority: u8,
    run_at: Option<i64>,
    expires_at: Option<i64>,
    timeout_us: Option<u64>,
    retry: RetryPolicy,
    key: Option<String>,
    key_limit: Option<u32>,
    unique: Option<Unique>,
    schedule: Option<(i64, Option<i64>)>,
}

/// A job to be, as text.
pub(crate) fn template(job: &NewJob) -> Done<String> {
    let template = Template {
        kind: job.kind.to_string(),
        queue: job.queue.to_string(),
        payload: job.payload.as_str().into(),
        priority: job.priority,
        run_at: job.run_at.map(us),
        expires_at: job.expires_at.map(us),
        timeout_us: job.timeout.map(|t| u64::try_from(t.as_micros()).unwrap_or(u64::MAX)),
        retry: job.retry.clone(),
        key: job.key.as_deref().map(Into::into),
        key_limit: job.key_limit,
        unique: job.unique.clone(),
        schedule: job.schedule.map(|(id, at)| (id.0, at.map(us))),
    };
    serde_json::to_string(&template).map_err(|e| Fault::Refused(StoreError::Internal(e.to_string())))
}

impl Template {
    fn into_job(self) -> NewJob {
        NewJob {
            kind: self.kind.into(),
            queue: self.queue.into(),
            payload: row::json(self.payload),
            priority: self.priority,
            run_at: self.run_at.map(time::from_micros),
            expires_at: self.expires_at.map(time::from_micros),
            timeout: self.timeout_us.map(Duration::from_micros),
            retry: self.retry,
            key: self.key.map(Into::into),
            key_limit: self.key_limit,
            unique: self.unique,
            batch: None,
            schedule: self.schedule.map(|(id, at)| (ScheduleId(id), at.map(time::from_micros))),
            origin: Origin::FollowUp,
        }
    }
}
