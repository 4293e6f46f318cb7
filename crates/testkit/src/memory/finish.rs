//! Attempts end, and what they leave on the way: steps, log lines, progress. Everything but the log
//! is fenced by `(job, attempt)`.

use super::{Tx, check_len, check_name};
use mainspring_core::decide::{Next, Transition};
use mainspring_core::error::Result;
use mainspring_core::ids::{JobId, NodeId};
use mainspring_core::job::{Attempt, AttemptOutcome, JobState, LogLine, Progress};
use mainspring_core::json::Json;
use mainspring_core::store::Finished;
use mainspring_core::{StoreError, event, limits, time};

impl Tx<'_> {
    pub(super) fn finish(&mut self, transitions: Vec<Transition>) -> Result<Vec<Finished>> {
        check_len("transitions", transitions.len())?;
        for t in &transitions {
            check_size("output", t.output.as_ref(), limits::OUTPUT)?;
        }
        Ok(transitions.into_iter().map(|t| self.finish_one(t)).collect())
    }

    fn finish_one(&mut self, t: Transition) -> Finished {
        if !self.holds(t.job, t.attempt) {
            return Finished::Stale;
        }
        self.count_running(t.job, false);
        let Some(job) = self.db.jobs.get_mut(&t.job) else { return Finished::Stale };
        let finished_at = time::trunc(t.finished_at);
        let (route, project, schedule) = (job.route(), job.record.project, job.record.schedule);
        let started_at = job.record.started_at.unwrap_or(finished_at);
        self.tally.attempt(&route, schedule, t.outcome, started_at, finished_at);
        let event = event::of_transition(&t, &route.kind, &route.queue);

        let r = &mut job.record;
        r.outcome = Some(t.outcome);
        r.error = t.error.clone();
        r.output = t.output;
        let attempt = Attempt {
            number: t.attempt,
            node: r.node,
            started_at,
            finished_at: Some(finished_at),
            outcome: Some(t.outcome),
            error: t.error,
        };
        let first_success = t.attempt == 1 && t.outcome == AttemptOutcome::Succeeded;
        let (state, is_final) = match t.next {
            Next::Final { state, reason } => {
                r.reason = reason;
                r.finished_at = Some(finished_at);
                (state, true)
            }
            Next::Wait { run_at, raised, deaths } => {
                r.run_at = time::trunc(run_at);
                r.raised = raised;
                r.deaths = deaths;
                let due = r.run_at <= finished_at;
                (if due { JobState::Available } else { JobState::Scheduled }, false)
            }
        };
        let key = job.key_id();
        if !first_success {
            self.db.attempts.insert((t.job, t.attempt), attempt);
        }
        self.move_to(t.job, state);
        if state == JobState::Available {
            self.place(t.job);
        }
        if let Some(event) = event {
            self.event(project, event);
        }
        self.freed.extend(key);
        if is_final {
            self.ended(t.job);
        }
        Finished::Applied
    }

    /// The fence: whether this very attempt is running.
    fn holds(&self, job: JobId, attempt: u32) -> bool {
        let job = self.db.jobs.get(&job).map(|job| &job.record);
        job.is_some_and(|r| r.state == JobState::Running && r.attempt == attempt)
    }

    pub(super) fn save_step(
        &mut self,
        job: JobId,
        attempt: u32,
        name: &str,
        result: Json,
    ) -> Result<Finished> {
        check_name("step", name)?;
        check_size("result", Some(&result), limits::STEP_RESULT)?;
        if !self.holds(job, attempt) {
            return Ok(Finished::Stale);
        }
        let steps = self.db.steps.entry(job).or_default();
        if !steps.iter().any(|(known, ..)| known == name) {
            if steps.len() >= limits::STEPS {
                let text = format!("a job may remember at most {}", limits::STEPS);
                return Err(StoreError::Invalid { field: "steps", text });
            }
            steps.push((name.to_owned(), result, self.now));
        }
        Ok(Finished::Applied)
    }

    pub(super) fn append_logs(&mut self, lines: Vec<LogLine>) -> Result<()> {
        check_len("lines", lines.len())?;
        for mut line in lines {
            // One line beyond the cap is kept: it says that the rest was dropped.
            if !self.db.jobs.contains_key(&line.job) || line.seq as usize > limits::LOG_LINES {
                continue;
            }
            line.at = time::trunc(line.at);
            line.message = limits::cut(&line.message, limits::LOG_LINE);
            self.db.logs.entry((line.job, line.attempt, line.seq)).or_insert(line);
        }
        Ok(())
    }

    pub(super) fn hand_over(&mut self, job: JobId, attempt: u32, to: NodeId) -> Finished {
        if !self.holds(job, attempt) {
            return Finished::Stale;
        }
        if let Some(job) = self.db.jobs.get_mut(&job) {
            job.record.node = Some(to);
        }
        Finished::Applied
    }

    pub(super) fn set_progress(&mut self, job: JobId, attempt: u32, progress: Progress) -> Finished {
        if !self.holds(job, attempt) {
            return Finished::Stale;
        }
        if let Some(job) = self.db.jobs.get_mut(&job) {
            let note = progress.note.map(|note| limits::cut(&note, limits::NOTE));
            job.progress = Some((attempt, Progress { note, ..progress }));
        }
        Finished::Applied
    }
}

fn check_size(field: &'static str, json: Option<&Json>, max: usize) -> Result<()> {
    let len = json.map_or(0, |json| json.as_str().len());
    if len > max {
        return Err(StoreError::Invalid { field, text: format!("{len} bytes, at most {max} are allowed") });
    }
    Ok(())
}
