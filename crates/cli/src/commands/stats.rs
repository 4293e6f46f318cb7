//! `mainspring stats`, `health` and `explain`: how things go, and why a job stands still.

use crate::app::{App, Make};
use crate::args::{By, ExplainArgs, StatsArgs};
use crate::error::{CliError, Result};
use crate::out::table::{Cell, Table};
use crate::out::{Paint, count, when};
use mainspring::explain::explain as explain_job;
use mainspring::notify;
use mainspring::stats::{Figures, HealthState, ScopeStats, Stats, StuckWhy, gather};
use mainspring_core::code::Code;
use mainspring_core::ids::JobId;
use mainspring_core::job::JobState;
use serde_json::json;

async fn read(app: &App) -> Result<Stats> {
    let client = app.client(Make::No).await?;
    Ok(gather(client.store().as_ref(), Some(&app.registry), client.project(), app.now).await?)
}

/// `stats`.
pub async fn run(app: &mut App, args: StatsArgs) -> Result<()> {
    let stats = read(app).await?;
    if app.out.json {
        return app.out.json(&stats);
    }
    let (rows, name) = match args.by {
        By::Kind => (&stats.kinds, "kind"),
        By::Queue => (&stats.queues, "queue"),
        By::Schedule => (&stats.schedules, "schedule"),
    };
    let mut table = Table::new(&[
        name, "health", ">24 h", ">good", ">p50", ">p95", ">p99", ">waiting", ">running", ">failed",
        "oldest", ">all", ">good",
    ]);
    for row in rows {
        table.row(cells(app, row, &row.name));
    }
    table.row(cells(app, &stats.project, "all"));
    app.out.table(&table)?;
    slow_and_stuck(app, &stats)
}

fn cells(app: &App, s: &ScopeStats, name: &str) -> Vec<Cell> {
    let jobs = |states: &[JobState]| -> Cell {
        let n: u64 = states.iter().filter_map(|s2| s.jobs.get(s2)).sum();
        if n == 0 { "".into() } else { count(n).into() }
    };
    let length = |d: Option<std::time::Duration>| -> Cell { d.map(when::short).unwrap_or_default().into() };
    let rate = |f: &Figures| -> Cell {
        f.success_rate.map(|r| format!("{:.1} %", r * 100.0)).unwrap_or_default().into()
    };
    let (word, paint) = health_word(s.health.state);
    vec![
        name.into(),
        Cell::new(word, paint),
        count(s.day.total).into(),
        rate(&s.day),
        length(s.day.p50),
        length(s.day.p95),
        length(s.day.p99),
        jobs(&[JobState::Available, JobState::Scheduled]),
        jobs(&[JobState::Running]),
        jobs(&[JobState::Failed]),
        s.oldest_waiting.map(|at| app.ago(at)).unwrap_or_default().into(),
        count(s.all.total).into(),
        rate(&s.all),
    ]
}

fn health_word(state: HealthState) -> (&'static str, Paint) {
    match state {
        HealthState::Healthy => ("healthy", Paint::Good),
        HealthState::Degraded => ("degraded", Paint::Warn),
        HealthState::Unhealthy => ("unhealthy", Paint::Bad),
        HealthState::Unknown => ("unknown", Paint::Dim),
    }
}

fn slow_and_stuck(app: &mut App, stats: &Stats) -> Result<()> {
    for slow in &stats.slow {
        let word = app.out.paint(Paint::Warn, "slow");
        let since = app.ago(slow.since);
        let usual = when::short(slow.threshold);
        app.out.line(format!(
            "{word}: job {} ({}) runs since {since}, usual is under {usual}",
            slow.job, slow.kind
        ))?;
    }
    for stuck in &stats.stuck {
        let word = app.out.paint(Paint::Bad, "stuck");
        let since = app.ago(stuck.since);
        let why = match stuck.why {
            StuckWhy::Overrun => "runs beyond its time limit",
            StuckWhy::Waiting => "is due and has not started",
        };
        app.out.line(format!(
            "{word}: job {} ({}, queue {}) {why}, since {since}: mainspring explain {}",
            stuck.job, stuck.kind, stuck.queue, stuck.job
        ))?;
    }
    Ok(())
}

/// `health`; false when something is unhealthy.
pub async fn health(app: &mut App) -> Result<bool> {
    let stats = read(app).await?;
    let mut rows: Vec<(&str, &ScopeStats)> = vec![];
    for (what, list) in [("kind", &stats.kinds), ("queue", &stats.queues), ("schedule", &stats.schedules)] {
        rows.extend(list.iter().map(|s| (what, s)));
    }
    let worst = rows.iter().map(|(_, s)| s.health.state).max();
    let state = worst.unwrap_or(HealthState::Unknown);
    let silent = silent_channels(app).await?;
    let ill = !stats.stuck.is_empty() || !silent.is_empty();
    let state = if ill { state.max(HealthState::Degraded) } else { state };
    let well = state != HealthState::Unhealthy;
    if app.out.json {
        let parts: Vec<_> = rows
            .iter()
            .map(|(what, s)| json!({ "what": what, "name": s.name, "health": s.health }))
            .collect();
        app.out.json(&json!({
            "state": health_word(state).0, "parts": parts, "stuck": stats.stuck, "slow": stats.slow,
            "silent_channels": silent
                .iter()
                .map(|(name, why)| json!({ "channel": name, "reason": why }))
                .collect::<Vec<_>>(),
        }))?;
        return Ok(well);
    }
    let (word, paint) = health_word(state);
    let word = app.out.paint(paint, word);
    app.out.line(word)?;
    let mut table = Table::new(&["what", "name", "health", "why"]);
    for (what, s) in rows.iter().filter(|(_, s)| s.health.state > HealthState::Healthy) {
        let (word, paint) = health_word(s.health.state);
        table.row([
            (*what).into(),
            s.name.as_str().into(),
            Cell::new(word, paint),
            s.health.reasons.join("; ").into(),
        ]);
    }
    if !table.is_empty() {
        app.out.table(&table)?;
    }
    for (name, why) in &silent {
        let line = format!("channel {name} does not deliver: {why}; mainspring channel test {name:?}");
        app.out.line(line)?;
    }
    slow_and_stuck(app, &stats)?;
    Ok(well)
}

/// The project's channels that are switched on and cannot deliver, and why.
async fn silent_channels(app: &mut App) -> Result<Vec<(String, String)>> {
    let client = app.client(Make::No).await?;
    let Some(tables) = client.tables() else { return Ok(vec![]) };
    notify::migrate(&*tables).await.map_err(notify::NotifyError::from)?;
    let silent = notify::channels(&client).await?.into_iter();
    let silent = silent.filter(|c| matches!(c.state(), "failing" | "stopped"));
    Ok(silent.map(|c| (c.name, c.stopped.or(c.last_error).unwrap_or_default())).collect())
}

/// `explain`.
pub async fn explain(app: &mut App, args: ExplainArgs) -> Result<()> {
    let client = app.client(Make::No).await?;
    let id = JobId(args.id);
    let reader = client.store().as_ref();
    let found = explain_job(reader, client.project(), id, app.now, app.settings.lease).await?;
    let Some(found) = found else {
        return Err(CliError::new(Code::NOT_FOUND, format!("no job {id}")).hint("mainspring job list"));
    };
    if app.out.json {
        return app.out.json(&found);
    }
    let title = app.out.paint(Paint::Strong, &format!("job {id} is {}", found.state));
    app.out.line(title)?;
    for reason in &found.reasons {
        let until = reason.until.map(|at| format!("  until {}", app.both(at))).unwrap_or_default();
        app.out.line(format!("  {}{until}", reason.text))?;
    }
    Ok(())
}
