//! Attempts end, and what they leave on the way: steps, log lines, progress. Everything but the log
//! is fenced by `(job, attempt)`.

use crate::enqueue::check_len;
use crate::names::us;
use crate::rows::Row;
use crate::schema;
use crate::tx::{Done, Tx, invalid};
use jiff::Timestamp;
use mainspring_core::decide::{Next, Transition};
use mainspring_core::ids::{JobId, NodeId, ScheduleId};
use mainspring_core::job::{AttemptOutcome, JobState, LogLine, Progress, check_name};
use mainspring_core::json::Json;
use mainspring_core::store::{Finished, Hint};
use mainspring_core::{StoreError, event, limits};
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, params};
use std::rc::Rc;

/// Completes plain jobs in one statement: opening the indexes that a state is in costs more than the
/// entries themselves. Each value is a job's number and, in its low bits, how many microseconds
/// after ?2 it ended.
pub(crate) const COMPLETE: &str =
    "UPDATE jobs SET st = 13, outcome = 0, finished_at = ?2 + (f.value & 4194303)
    FROM rarray(?1) AS f WHERE jobs.id = f.value >> 22 AND jobs.st = 12 AND jobs.attempt = 1";

/// Bits for the microseconds.
const SPREAD: u32 = 22;

/// Plain jobs of a call that succeeded: see [`Tx::take_plain`].
#[derive(Default)]
struct Plains {
    /// (job, end)
    ends: Vec<(i64, i64)>,
}

impl Tx<'_> {
    pub fn finish(&mut self, now: Timestamp, transitions: &[Transition]) -> Done<Vec<Finished>> {
        check_len("transitions", transitions.len())?;
        for t in transitions {
            check_size("output", t.output.as_ref(), limits::OUTPUT)?;
        }
        let mut plains = Plains::default();
        let mut done = Vec::with_capacity(transitions.len());
        for t in transitions {
            if self.take_plain(&mut plains, t)? {
                done.push(Finished::Applied);
            } else {
                self.complete(&mut plains)?;
                done.push(self.finish_one(now, t)?);
            }
        }
        self.complete(&mut plains)?;
        self.settle(now)?;
        Ok(done)
    }

    /// The common case: a first attempt that this process claimed, of a job without key, batch and
    /// schedule, succeeded. That it still runs is known without a look at its row: whatever ends an
    /// attempt passes through this writer, which then forgets it, and forgets all when another
    /// process has written.
    fn take_plain(&mut self, plains: &mut Plains, t: &Transition) -> Done<bool> {
        let success = t.outcome == AttemptOutcome::Succeeded
            && matches!(t.next, Next::Final { state: JobState::Completed, reason: None })
            && t.error.is_none();
        let Some(known) = self.names.running.get(&t.job.0).copied() else { return Ok(false) };
        if !success || known.attempt != t.attempt || t.job.0 >= 1 << (62 - SPREAD) {
            return Ok(false);
        }
        self.names.running.remove(&t.job.0);
        let finished_at = us(t.finished_at);
        plains.ends.push((t.job.0, finished_at));
        if let Some(output) = &t.output {
            // A row is there when the job was cancelled while it waited and then retried.
            self.conn
                .prepare_cached(
                    "INSERT INTO results (job, output) VALUES (?1, ?2)
                     ON CONFLICT DO UPDATE SET output = excluded.output",
                )?
                .execute(params![t.job.0, output.as_str()])?;
        }
        self.names.moved(known.route, JobState::Running, JobState::Completed);
        self.names.attempt(known.route, None, t.outcome, known.started_at, finished_at);
        Ok(true)
    }

    /// Writes the plain jobs taken so far.
    fn complete(&mut self, plains: &mut Plains) -> Done<()> {
        while let Some(from) = plains.ends.iter().map(|(_, at)| *at).min() {
            let mut packed = Vec::with_capacity(plains.ends.len());
            // Ends of one call lie close together; what does not fit goes into the next statement.
            plains.ends.retain(|(id, at)| {
                let fits = at - from < 1 << SPREAD;
                if fits {
                    packed.push(Value::Integer(id << SPREAD | (at - from)));
                }
                !fits
            });
            let n = packed.len();
            let done = self.conn.prepare_cached(COMPLETE)?.execute(params![Rc::new(packed), from])?;
            if done != n {
                let text = format!("{done} of {n} attempts that run here are running in the file");
                return Err(StoreError::Internal(text).into());
            }
        }
        Ok(())
    }

    fn finish_one(&mut self, now: Timestamp, t: &Transition) -> Done<Finished> {
        let Some(mut row) = self.held_by(t.job, t.attempt)? else { return Ok(Finished::Stale) };
        self.names.running.remove(&t.job.0);
        let finished_at = us(t.finished_at);
        let route = row.route_ix();
        let schedule = row.schedule.map(ScheduleId);
        self.names.attempt(route, schedule, t.outcome, row.started_at, finished_at);
        row.outcome = Some(t.outcome.code().into());
        let error = t.error.as_ref().map(|e| Json::of(e).unwrap_or_else(|_| Json::null()));
        if !(t.attempt == 1 && t.outcome == AttemptOutcome::Succeeded) {
            self.write_attempt(&row, t, finished_at, error.as_ref())?;
        }
        let (state, reason) = match &t.next {
            Next::Final { state, reason } => {
                row.finished_at = finished_at;
                (*state, reason.as_deref())
            }
            Next::Wait { run_at, raised, deaths } => {
                row.run_at = us(*run_at);
                row.raised = *raised;
                row.deaths = *deaths;
                let due = row.run_at <= finished_at;
                (if due { JobState::Available } else { JobState::Scheduled }, None)
            }
        };
        if let Some(key) = &row.key {
            let queue = self.names.routes[route].queue;
            let key_state = self.key_state(queue, key.clone())?;
            key_state.running = key_state.running.saturating_sub(1);
            self.freed.insert((queue, key.clone()));
        }
        row.ord = match state {
            JobState::Available => self.place(route, row.key.as_ref(), row.priority, row.run_at)?,
            _ => schema::ABSENT,
        };
        row.st = schema::st(state);
        row.save(self.conn)?;
        self.write_result(t, reason, error.as_ref())?;
        self.names.moved(route, JobState::Running, state);
        if !state.is_final() {
            self.hint(Hint::Jobs);
        }
        let r = &self.names.routes[route];
        let project = r.project;
        if let Some(event) = event::of_transition(t, &r.kind, &r.queue_name) {
            self.event(now, project, &event)?;
        }
        if row.flags & schema::CANCEL != 0 {
            self.conn.prepare_cached("DELETE FROM cancels WHERE job = ?1")?.execute([row.id])?;
        }
        if state.is_final() {
            self.ended(&row, state, Some(t.outcome), finished_at)?;
        }
        Ok(Finished::Applied)
    }

    fn write_attempt(
        &mut self,
        row: &Row,
        t: &Transition,
        finished_at: i64,
        error: Option<&Json>,
    ) -> Done<()> {
        self.conn
            .prepare_cached(
                "INSERT OR REPLACE INTO attempts (job, number, node, started_at, finished_at, outcome, error)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                row.id,
                t.attempt,
                row.node,
                row.started_at,
                finished_at,
                t.outcome.code(),
                error.map(Json::as_str)
            ])?;
        Ok(())
    }

    /// What there is to say beside the row; nothing is written while there is nothing.
    fn write_result(&mut self, t: &Transition, reason: Option<&str>, error: Option<&Json>) -> Done<()> {
        let output = t.output.as_ref().map(Json::as_str);
        let error = error.map(Json::as_str);
        if t.attempt == 1 && reason.is_none() && output.is_none() && error.is_none() {
            return Ok(());
        }
        self.conn
            .prepare_cached(
                "INSERT INTO results (job, reason, error, output) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET reason = excluded.reason, error = excluded.error,
                    output = excluded.output",
            )?
            .execute(params![t.job.0, reason, error, output])?;
        Ok(())
    }

    /// The fence: the job, if this very attempt is running.
    fn held_by(&mut self, job: JobId, attempt: u32) -> Done<Option<Row>> {
        let row = Row::load(self.conn, job.0)?;
        Ok(row.filter(|r| r.st == schema::RUNNING && r.attempt == attempt))
    }

    pub fn save_step(
        &mut self,
        now: Timestamp,
        job: JobId,
        attempt: u32,
        name: &str,
        result: &Json,
    ) -> Done<Finished> {
        check_name(name).or_else(|text| invalid("step", text))?;
        check_size("result", Some(result), limits::STEP_RESULT)?;
        if self.held_by(job, attempt)?.is_none() {
            return Ok(Finished::Stale);
        }
        let known: Option<i64> = self
            .conn
            .prepare_cached("SELECT id FROM steps WHERE job = ?1 AND name = ?2")?
            .query_row(params![job.0, name], |r| r.get(0))
            .optional()?;
        if known.is_some() {
            return Ok(Finished::Applied);
        }
        let count: i64 = self
            .conn
            .prepare_cached("SELECT count(*) FROM steps WHERE job = ?1")?
            .query_row([job.0], |r| r.get(0))?;
        if count as usize >= limits::STEPS {
            return invalid("steps", format!("a job may remember at most {}", limits::STEPS));
        }
        self.conn
            .prepare_cached("INSERT INTO steps (job, name, result, at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![job.0, name, result.as_str(), us(now)])?;
        Ok(Finished::Applied)
    }

    pub fn append_logs(&mut self, lines: &[LogLine]) -> Done<()> {
        check_len("lines", lines.len())?;
        let mut there = self.conn.prepare_cached("SELECT 1 FROM jobs WHERE id = ?1")?;
        let mut add = self.conn.prepare_cached(
            "INSERT OR IGNORE INTO logs (job, attempt, seq, at, level, message, fields)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        let mut last = None;
        for line in lines {
            // One line beyond the cap is kept: it says that the rest was dropped.
            if line.seq as usize > limits::LOG_LINES {
                continue;
            }
            let known = match last {
                Some((job, known)) if job == line.job => known,
                _ => there.exists([line.job.0])?,
            };
            last = Some((line.job, known));
            if known {
                add.execute(params![
                    line.job.0,
                    line.attempt,
                    line.seq,
                    us(line.at),
                    line.level.code(),
                    limits::cut(&line.message, limits::LOG_LINE),
                    line.fields.as_ref().map(Json::as_str)
                ])?;
            }
        }
        Ok(())
    }

    pub fn hand_over(&mut self, job: JobId, attempt: u32, to: NodeId) -> Done<Finished> {
        if self.held_by(job, attempt)?.is_none() {
            return Ok(Finished::Stale);
        }
        self.conn.prepare_cached("UPDATE jobs SET node = ?2 WHERE id = ?1")?.execute([job.0, to.0])?;
        Ok(Finished::Applied)
    }

    pub fn set_progress(&mut self, job: JobId, attempt: u32, progress: &Progress) -> Done<Finished> {
        if self.held_by(job, attempt)?.is_none() {
            return Ok(Finished::Stale);
        }
        self.conn
            .prepare_cached(
                "INSERT OR REPLACE INTO progress (job, attempt, done, total, note)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                job.0,
                attempt,
                progress.done.min(i64::MAX as u64) as i64,
                progress.total.map(|n| n.min(i64::MAX as u64) as i64),
                progress.note.as_deref().map(|note| limits::cut(note, limits::NOTE))
            ])?;
        Ok(Finished::Applied)
    }
}

fn check_size(field: &'static str, json: Option<&Json>, max: usize) -> Done<()> {
    let len = json.map_or(0, |json| json.as_str().len());
    if len > max {
        return invalid(field, format!("{len} bytes, at most {max} are allowed"));
    }
    Ok(())
}
