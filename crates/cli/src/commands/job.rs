//! `mainspring job`: enqueue, list, retry, cancel. Looking at one job is in
//! [`super::job_show`].

use super::{filter, job_show};
use crate::app::{App, Make, Progress};
use crate::args::{BulkArgs, EnqueueArgs, FilterArgs, JobCommand};
use crate::error::{CliError, Result};
use crate::moment::{self, Sense};
use crate::out::table::{Cell, Table};
use crate::out::{Paint, count, plural, when};
use mainspring::Client;
use mainspring_core::code::Code;
use mainspring_core::ids::JobId;
use mainspring_core::job::{JobRecord, JobState, NewJob, Unique, UniqueStates};
use mainspring_core::retry::Backoff;
use mainspring_core::store::JobFilter;
use mainspring_core::{Json, limits, time};
use serde::Serialize;
use std::io::{BufRead, Read};

/// Runs it; false when the job that was waited for did not complete.
pub async fn run(app: &mut App, command: JobCommand) -> Result<bool> {
    match command {
        JobCommand::Enqueue(args) => return enqueue(app, *args).await,
        JobCommand::List { filter, n } => list(app, &filter, n).await?,
        JobCommand::Show { id } => job_show::show(app, JobId(id)).await?,
        JobCommand::Logs { id, follow } => job_show::logs(app, JobId(id), follow).await?,
        JobCommand::Retry(args) => bulk(app, args, None).await?,
        JobCommand::Cancel { bulk: args, reason } => bulk(app, args, Some(&reason)).await?,
    }
    Ok(true)
}

async fn enqueue(app: &mut App, args: EnqueueArgs) -> Result<bool> {
    let client = app.client(Make::No).await?;
    if args.lines {
        enqueue_lines(app, &client, &args).await?;
        return Ok(true);
    }
    let payload = match args.payload.as_deref() {
        None => Json::trusted("{}"),
        Some("-") => {
            let mut text = String::new();
            std::io::stdin().take(2 * limits::PAYLOAD as u64).read_to_string(&mut text)?;
            payload(&text, "the standard input")?
        }
        Some(text) => payload(text, "the payload")?,
    };
    let job = new_job(app, &client, &args, payload)?;
    let made = client.enqueue_raw(job).await?;
    if args.wait {
        return job_show::wait(app, &client, made.id).await;
    }
    if app.out.json {
        app.out.json(&made)?;
    } else if made.duplicate {
        app.out.line(format!("job {} was there already, nothing was written", made.id))?;
    } else {
        app.out.line(format!("job {} enqueued", made.id))?;
        if app.registry.get(&args.kind).is_none() {
            app.out.line(format!(
                "kind {} is not known to this program: it waits for a node that knows it",
                args.kind
            ))?;
        }
    }
    Ok(true)
}

/// One job for each line, in transactions of many.
async fn enqueue_lines(app: &mut App, client: &Client, args: &EnqueueArgs) -> Result<()> {
    let (mut total, mut jobs) = (0u64, Vec::new());
    let mut progress = Progress::new();
    let mut lines = std::io::stdin().lock().lines();
    let mut number = 0u64;
    loop {
        let line = lines.next().transpose()?;
        let end = line.is_none();
        if let Some(line) = line {
            number += 1;
            if !line.trim().is_empty() {
                let payload = payload(&line, &format!("line {number} of the standard input"))?;
                jobs.push(new_job(app, client, args, payload)?);
            }
        }
        if jobs.len() == limits::BATCH || (end && !jobs.is_empty()) {
            total += client.enqueue_many(std::mem::take(&mut jobs)).await?.len() as u64;
            progress.tell(total, &format!("{} enqueued", count(total)));
        }
        if end {
            break;
        }
    }
    progress.end();
    if app.out.json {
        app.out.json(&serde_json::json!({ "enqueued": total }))
    } else {
        app.out.line(format!("{} enqueued", plural(total, "job")))
    }
}

fn payload(text: &str, place: &str) -> Result<Json> {
    Json::parse(text.trim().to_owned()).map_err(|e| {
        CliError::new(Code::INVALID_VALUE, format!("the payload is not JSON: {e}"))
            .at(place.to_owned())
            .hint("'{\"key\":\"value\"}', in single quotes so that the shell leaves it alone")
    })
}

fn new_job(app: &App, client: &Client, args: &EnqueueArgs, payload: Json) -> Result<NewJob> {
    let at = |option: &str, text: &Option<String>| match text {
        Some(text) => moment::parse(option, text, app.now, app.settings.tz.tz(), Sense::Ahead).map(Some),
        None => Ok(None),
    };
    let mut job = client.new_job_of(&args.kind, payload);
    job.run_at = at("--at", &args.at)?;
    job.expires_at = at("--expires", &args.expires)?;
    job.timeout = args.timeout;
    job.key = args.key.as_deref().map(Into::into);
    if let Some(queue) = &args.queue {
        job.queue = queue.as_str().into();
    }
    if let Some(priority) = args.priority {
        job.priority = priority;
    }
    if let Some(attempts) = args.attempts {
        job.retry.max_attempts = attempts;
    }
    if !args.backoff.is_empty() {
        job.retry.backoff = Backoff::Steps(args.backoff.clone());
    }
    if let Some(key) = &args.unique {
        let states = if args.unique_for.is_some() { UniqueStates::ANY } else { UniqueStates::LIVE };
        job.unique = Some(Unique { key: key.clone(), period: args.unique_for, states });
    }
    Ok(job)
}

async fn list(app: &mut App, args: &FilterArgs, n: u32) -> Result<()> {
    let client = app.client(Make::No).await?;
    let filter = filter(app, &client, args).await?;
    let (mut rows, mut before) = (Vec::<JobRecord>::new(), None);
    loop {
        let want = (n as usize - rows.len()).min(limits::PAGE) as u32;
        let page = client.store().jobs(client.project(), &filter, before, want).await?;
        rows.extend(page.rows);
        before = page.next;
        if before.is_none() || rows.len() >= n as usize {
            break;
        }
    }
    if app.out.json {
        return app.out.json(&rows);
    }
    if rows.is_empty() {
        return app.out.line(match args.is_empty() {
            true => {
                "No jobs yet. Enqueue one: mainspring job enqueue http '{\"url\":\"https://example.com\"}'"
            }
            false => "No job matches.",
        });
    }
    let table = table(app, &rows);
    app.out.table(&table)?;
    if before.is_some() {
        app.out.line(format!("… and more: -n {}", n.saturating_mul(5)))?;
    }
    Ok(())
}

/// Jobs as a table.
pub fn table(app: &App, rows: &[JobRecord]) -> Table {
    let mut table = Table::new(&["id", "state", "kind", "queue", ">attempt", "when", ">took", "note"]);
    for job in rows {
        let took = match (job.started_at, job.finished_at) {
            (Some(from), Some(to)) => when::short(time::since(from, to)),
            (Some(from), None) if job.state == JobState::Running => when::short(time::since(from, app.now)),
            _ => String::new(),
        };
        let at = match job.state {
            JobState::Running => job.started_at.unwrap_or(job.run_at),
            state if state.is_final() => job.finished_at.unwrap_or(job.run_at),
            _ => job.run_at,
        };
        table.row([
            job.id.to_string().into(),
            Cell::new(job_show::state_word(job), Paint::of_state(job.state)),
            job.kind.to_string().into(),
            job.queue.to_string().into(),
            format!("{}/{}", job.attempt, job.max_attempts + job.raised).into(),
            app.ago(at).into(),
            took.into(),
            job_show::note(job).into(),
        ]);
    }
    table
}

#[derive(Serialize)]
struct Changed {
    changed: Vec<JobId>,
}

/// Retry (`reason` is None) or cancel.
async fn bulk(app: &mut App, args: BulkArgs, reason: Option<&str>) -> Result<()> {
    let (verb, done) = if reason.is_some() { ("cancel", "cancelled") } else { ("retry", "retried") };
    if args.ids.is_empty() && args.filter.is_empty() {
        return Err(CliError::new(Code::USAGE, format!("which jobs to {verb}?")).hint(format!(
            "mainspring job {verb} 17, or a filter: mainspring job {verb} --state failed --kind mail"
        )));
    }
    let client = app.client(Make::No).await?;
    let mut filter = filter(app, &client, &args.filter).await?;
    filter.ids = args.ids.iter().copied().map(JobId).collect();
    if args.ids.is_empty() {
        let n = counted(&client, &filter).await?;
        let some = if n > LOOK { format!("More than {} jobs match.", count(LOOK)) } else { matches(n) };
        if n == 0 {
            return tell(app, vec![], done);
        }
        app.confirm(&some, args.yes)?;
    } else {
        // A number that is not there is a mistake worth an error, before anything is changed.
        for id in &filter.ids {
            client.job(*id).await?;
        }
    }
    let mut progress = Progress::new();
    let told = |p: mainspring::client::BulkProgress| {
        progress.tell(p.changed as u64, &format!("{} {done}", plural(p.changed as u64, "job")));
    };
    let changed = match reason {
        Some(reason) => client.cancel_where(&filter, reason, told).await?,
        None => client.retry_where(&filter, told).await?,
    };
    progress.end();
    tell(app, changed, done)
}

fn matches(n: u64) -> String {
    format!("{} {}.", plural(n, "job"), if n == 1 { "matches" } else { "match" })
}

fn tell(app: &mut App, changed: Vec<JobId>, done: &str) -> Result<()> {
    if app.out.json {
        return app.out.json(&Changed { changed });
    }
    let n = changed.len() as u64;
    if n == 0 {
        return app.out.line("No job was in a state that allows this; nothing was changed.");
    }
    app.out.line(format!("{} {done}.", plural(n, "job")))
}

/// How many jobs a preview counts before it says "more than".
const LOOK: u64 = 100_000;

async fn counted(client: &Client, filter: &JobFilter) -> Result<u64> {
    let (mut n, mut before) = (0u64, None);
    loop {
        let page = client.store().jobs(client.project(), filter, before, limits::PAGE as u32).await?;
        n += page.rows.len() as u64;
        before = page.next;
        if before.is_none() || n > LOOK {
            return Ok(n);
        }
    }
}
