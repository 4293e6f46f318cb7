//! One job: its state in words, its attempts, its log, and waiting for its end.

use crate::app::{App, Make, look_again};
use crate::clock;
use crate::error::{CliError, Result};
use crate::out::table::{Cell, Table};
use crate::out::{Paint, one_line, when};
use mainspring::Client;
use mainspring_core::ids::JobId;
use mainspring_core::job::{JobRecord, JobState, LogLevel, LogLine};
use mainspring_core::reader::JobDetail;
use mainspring_core::{limits, time};
use std::time::Duration;

/// The state in a word; waiting for a further attempt is "retrying".
pub fn state_word(job: &JobRecord) -> &'static str {
    match job.state {
        JobState::Scheduled | JobState::Available if job.attempt > job.raised => "retrying",
        JobState::Available if job.held => "held",
        state => state.as_str(),
    }
}

/// The most telling text about a job.
pub fn note(job: &JobRecord) -> String {
    let error = job.error.as_ref().map(|e| format!("{}: {}", e.class, e.message));
    match (job.state, &job.reason) {
        (JobState::Completed, reason) => reason.clone().unwrap_or_default(),
        (JobState::Failed, Some(reason)) => match error {
            Some(error) => format!("{error} ({reason})"),
            None => reason.clone(),
        },
        (_, Some(reason)) => reason.clone(),
        (JobState::Running, None) if job.cancel_requested => "asked to stop".into(),
        (_, None) => error.unwrap_or_default(),
    }
}

/// `job show`.
pub async fn show(app: &mut App, id: JobId) -> Result<()> {
    let client = app.client(Make::No).await?;
    let detail = client.job(id).await?;
    if app.out.json {
        return app.out.json(&detail);
    }
    let job = &detail.job;
    let title = format!("job {}  {}  {}", job.id, job.kind, state_word(job));
    let title = app.out.paint(Paint::Strong, &title);
    app.out.line(title)?;
    for (name, value) in facts(app, &client, job).await? {
        app.out.line(format!("  {name:<10} {value}"))?;
    }
    if let Some(p) = &detail.progress {
        let total = p.total.map(|t| format!(" of {t}")).unwrap_or_default();
        let note = p.note.as_deref().map(|n| format!(", {n}")).unwrap_or_default();
        app.out.line(format!("  progress   {}{total}{note}", p.done))?;
    }
    error_lines(app, job)?;
    attempts(app, &detail)?;
    if !detail.steps.is_empty() {
        app.out.line("")?;
        let mut table = Table::new(&["step", "done", "result"]);
        for (name, result, at) in &detail.steps {
            table.row([name.as_str().into(), app.ago(*at).into(), result.as_str().into()]);
        }
        app.out.table(&table)?;
    }
    app.out.line("")?;
    app.out.line(format!("Its log: mainspring job logs {id}"))
}

async fn facts(app: &App, client: &Client, job: &JobRecord) -> Result<Vec<(&'static str, String)>> {
    let mut facts = vec![("queue", job.queue.to_string()), ("payload", one_line(job.payload.as_str(), 400))];
    let mut add = |name, value: Option<String>| {
        if let Some(value) = value {
            facts.push((name, value));
        }
    };
    let fire = job.scheduled_for.map(|at| format!(", for {}", app.full(at))).unwrap_or_default();
    let schedule = match job.schedule {
        Some(id) => {
            let all = client.store().all_schedules(Some(mainspring_core::ScheduleId(id.0 - 1)), 1).await?;
            let name =
                all.first().filter(|s| s.id == id).map_or_else(|| format!("#{id}"), |s| s.name.clone());
            Some(format!("{name}{fire}"))
        }
        None => None,
    };
    add("schedule", schedule);
    add("origin", Some(job.origin.to_string()));
    add("enqueued", Some(app.both(job.created_at)));
    add("due", Some(app.both(job.run_at)).filter(|_| !job.state.is_final()));
    add("started", job.started_at.map(|t| app.both(t)));
    add("finished", job.finished_at.map(|t| app.both(t)));
    let took = job.started_at.zip(job.finished_at).map(|(a, b)| when::short(time::since(a, b)));
    add("took", took);
    add("attempt", Some(format!("{} of {}", job.attempt, job.max_attempts + job.raised)));
    add("timeout", job.timeout.map(mainspring_core::duration::format));
    add("expires", job.expires_at.map(|t| app.both(t)));
    add("key", job.key.as_deref().map(str::to_owned));
    add("unique", job.unique.clone());
    add("batch", job.batch.map(|b| b.to_string()));
    add("reason", job.reason.clone());
    add("output", job.output.as_ref().map(|o| one_line(o.as_str(), 400)));
    Ok(facts)
}

fn error_lines(app: &mut App, job: &JobRecord) -> Result<()> {
    let Some(error) = &job.error else { return Ok(()) };
    let head = app.out.paint(Paint::Bad, &format!("{}: {}", error.class, one_line(&error.message, 400)));
    app.out.line(format!("  error      {head}"))?;
    for cause in &error.chain {
        app.out.line(format!("             because: {}", one_line(cause, 400)))?;
    }
    Ok(())
}

/// Its attempts as a table.
pub fn attempts(app: &mut App, detail: &JobDetail) -> Result<()> {
    if detail.attempts.is_empty() {
        return Ok(());
    }
    app.out.line("")?;
    let mut table = Table::new(&["attempt", "outcome", "started", ">took", "error"]);
    for a in &detail.attempts {
        let outcome = match a.outcome {
            Some(outcome) => Cell::new(outcome.as_str(), Paint::of_outcome(outcome)),
            None => Cell::new("running", Paint::Busy),
        };
        let took = time::since(a.started_at, a.finished_at.unwrap_or(app.now));
        let error = a.error.as_ref().map(|e| format!("{}: {}", e.class, e.message)).unwrap_or_default();
        table.row([
            a.number.to_string().into(),
            outcome,
            app.both(a.started_at).into(),
            when::short(took).into(),
            error.into(),
        ]);
    }
    app.out.table(&table)
}

/// Log lines are gathered by the node for a moment before they are written: so long after a job's
/// end its last ones are waited for.
const LATE: Duration = Duration::from_secs(1);

/// `job logs`.
pub async fn logs(app: &mut App, id: JobId, follow: bool) -> Result<()> {
    let client = app.client(Make::No).await?;
    client.job(id).await?;
    let (mut after, mut any) = (None, false);
    loop {
        // The state is read before the lines: what a job said until then is seen below.
        let job = client.job(id).await?.job;
        loop {
            let lines = client.store().logs(client.project(), id, after, limits::PAGE as u32).await?;
            let Some(last) = lines.last() else { break };
            after = Some((last.attempt, last.seq));
            any = true;
            for line in &lines {
                log_line(app, line)?;
            }
        }
        let late = job.finished_at.is_some_and(|at| time::since(at, clock::now()) < LATE);
        if (job.state.is_final() && !late) || !follow {
            break;
        }
        app.out.flush()?;
        look_again().await;
    }
    if !any && !app.out.json {
        app.out.line(format!("Job {id} logged nothing."))?;
    }
    Ok(())
}

fn log_line(app: &mut App, line: &LogLine) -> Result<()> {
    if app.out.json {
        return app.out.json_line(line);
    }
    let paint = match line.level {
        LogLevel::Error => Paint::Bad,
        LogLevel::Warn => Paint::Warn,
        LogLevel::Info => Paint::Plain,
        LogLevel::Debug => Paint::Dim,
    };
    let fields = line.fields.as_ref().map(|f| format!("  {}", f.as_str())).unwrap_or_default();
    let level = app.out.paint(paint, &format!("{:<5}", line.level));
    let at = app.full(line.at);
    app.out.line(format!(
        "{at}  #{} {level} {}{fields}",
        line.attempt,
        one_line(&line.message, limits::LOG_LINE)
    ))
}

/// Waits for a job's end; whether it completed.
pub async fn wait(app: &mut App, client: &Client, id: JobId) -> Result<bool> {
    loop {
        let detail = client
            .job(id)
            .await
            .map_err(|e| CliError::from(e).hint(format!("job {id} was deleted while it was waited for")))?;
        if detail.job.state.is_final() {
            app.now = clock::now();
            let rows = [detail.job];
            if app.out.json {
                app.out.json(&rows[0])?;
            } else {
                let table = super::job::table(app, &rows);
                app.out.table(&table)?;
            }
            return Ok(rows[0].state == JobState::Completed);
        }
        look_again().await;
    }
}

impl From<mainspring::ClientError> for CliError {
    fn from(e: mainspring::ClientError) -> CliError {
        match e {
            mainspring::ClientError::Store(e) => e.into(),
            mainspring::ClientError::Invalid { code, field, text } => {
                CliError::new(code, format!("{field}: {text}"))
            }
        }
    }
}
