//! `mainspring queue`: list, pause, resume, limit.

use super::{pause_end, pause_text};
use crate::app::{App, Make};
use crate::args::{LimitArgs, QueueCommand};
use crate::error::{CliError, Result, nearest};
use crate::out::table::{Cell, Table};
use crate::out::{Paint, count};
use mainspring::Client;
use mainspring_core::code::Code;
use mainspring_core::job::JobState;
use mainspring_core::queue::{ALL_QUEUES, QueueSettings};
use mainspring_core::reader::QueueRecord;

/// Runs it.
pub async fn run(app: &mut App, command: QueueCommand) -> Result<()> {
    let client = app.client(Make::No).await?;
    match command {
        QueueCommand::List => list(app, &client).await,
        QueueCommand::Pause { name, pause } => {
            known(&client, &name).await?;
            let until = pause_end(app, &pause)?;
            let settings = client.pause_queue(&name, until, pause.note.as_deref()).await?;
            tell(app, &name, &settings)
        }
        QueueCommand::Resume { name } => {
            known(&client, &name).await?;
            let settings = client.resume_queue(&name).await?;
            tell(app, &name, &settings)
        }
        QueueCommand::Limit(args) => {
            let name = args.name.clone();
            let settings = client.change_queue(&name, |s| apply(s, &args)).await?;
            tell(app, &name, &settings)
        }
    }
}

fn apply(s: &mut QueueSettings, args: &LimitArgs) {
    fn set<T: Copy>(to: &mut Option<T>, given: Option<T>, none: bool) {
        if none {
            *to = None;
        } else if given.is_some() {
            *to = given;
        }
    }
    set(&mut s.max_running, args.running, args.no_running);
    set(&mut s.max_running_per_key, args.per_key, args.no_per_key);
    set(&mut s.rate, args.rate, args.no_rate);
    set(&mut s.rate_per_key, args.rate_per_key, args.no_rate_per_key);
    s.fair = args.fair.unwrap_or(s.fair);
}

/// A queue is made by its first job or limit; pausing one that nobody knows is a typing error.
async fn known(client: &Client, name: &str) -> Result<()> {
    let queues = client.store().queues(client.project()).await?;
    if name == ALL_QUEUES || queues.iter().any(|q| q.name == name) {
        return Ok(());
    }
    let error = CliError::new(Code::NOT_FOUND, format!("no queue {name}"));
    Err(match nearest(name, queues.iter().map(|q| q.name.as_str())) {
        Some(near) => error.hint(format!("{near}, if that was meant")),
        None => error.hint("mainspring queue list"),
    })
}

fn tell(app: &mut App, name: &str, settings: &QueueSettings) -> Result<()> {
    if app.out.json {
        return app.out.json(&serde_json::json!({ "name": name, "settings": settings }));
    }
    let pause = match &settings.paused {
        Some(pause) => pause_text(app, pause),
        None => "open".into(),
    };
    let limits = limits_text(settings);
    app.out.line(format!("queue {name}: {pause}{}{limits}", if limits.is_empty() { "" } else { "; " }))
}

fn limits_text(s: &QueueSettings) -> String {
    let mut parts = Vec::new();
    if let Some(n) = s.max_running {
        parts.push(format!("{n} running"));
    }
    if let Some(n) = s.max_running_per_key {
        parts.push(format!("{n} per key"));
    }
    if let Some(rate) = s.rate {
        parts.push(format!("{rate}"));
    }
    if let Some(rate) = s.rate_per_key {
        parts.push(format!("{rate} per key"));
    }
    if s.fair {
        parts.push("fair".into());
    }
    parts.join(", ")
}

async fn list(app: &mut App, client: &Client) -> Result<()> {
    let queues = client.store().queues(client.project()).await?;
    if app.out.json {
        return app.out.json(&queues);
    }
    if queues.is_empty() {
        return app.out.line("No queues yet: the first job or limit makes one.");
    }
    let mut table = Table::new(&[
        "queue",
        ">available",
        ">running",
        ">scheduled",
        ">failed",
        ">completed",
        "oldest",
        "limits",
        "state",
    ]);
    for queue in &queues {
        table.row(row(app, queue));
    }
    app.out.table(&table)
}

fn row(app: &App, queue: &QueueRecord) -> Vec<Cell> {
    let all = queue.name == ALL_QUEUES;
    let n = |state| match (all, queue.counts.get(&state)) {
        (true, _) => String::new(),
        (false, n) => count(n.copied().unwrap_or(0)),
    };
    let state = match &queue.settings.paused {
        Some(pause) if pause.holds(app.now) => Cell::new(pause_text(app, pause), Paint::Warn),
        _ => Cell::new("open", Paint::Dim),
    };
    vec![
        if all { "* (all)".into() } else { queue.name.as_str().into() },
        n(JobState::Available).into(),
        n(JobState::Running).into(),
        n(JobState::Scheduled).into(),
        n(JobState::Failed).into(),
        n(JobState::Completed).into(),
        queue.oldest_waiting.map(|t| app.ago(t)).unwrap_or_default().into(),
        limits_text(&queue.settings).into(),
        state,
    ]
}
