//! Looking at schedules: list, show, next.

use super::schedule::all;
use super::{pause_text, schedule_named};
use crate::app::App;
use crate::error::Result;
use crate::out::table::{Cell, Table};
use crate::out::{Paint, count, one_line};
use mainspring::Client;
use mainspring_core::plan::{PreviewFire, preview};
use mainspring_core::schedule::ScheduleSpec;
use mainspring_core::schedule_record::{FireOutcome, ScheduleRecord};
use mainspring_core::store::JobFilter;
use mainspring_core::time;
use serde_json::json;
use std::time::Duration;

/// `schedule list`.
pub async fn list(app: &mut App, client: &Client) -> Result<()> {
    let all = all(client).await?;
    if app.out.json {
        let records: Vec<_> = all.iter().map(|(r, _)| r).collect();
        return app.out.json(&records);
    }
    if all.is_empty() {
        app.out.line("No schedules yet. Make one, or bring those you have:")?;
        app.out.line("  mainspring schedule add ping --every 5m --http https://example.com/ping")?;
        return app.out.line("  mainspring import crontab /etc/crontab --plan");
    }
    let mut table =
        Table::new(&["schedule", "when", "zone", "next", "in", ">fires", "last", "kind", "state"]);
    for (record, spec) in &all {
        table.row(row(app, record, spec.as_ref()));
    }
    app.out.table(&table)
}

fn row(app: &App, record: &ScheduleRecord, spec: Option<&ScheduleSpec>) -> Vec<Cell> {
    let paused = record.paused.as_ref().filter(|p| p.holds(app.now));
    let state = match (paused, record.next_fire, spec) {
        (_, _, None) => Cell::new("its rule cannot be read by this program", Paint::Bad),
        (Some(pause), ..) => Cell::new(pause_text(app, pause), Paint::Warn),
        (None, None, Some(s)) if s.trigger.delay().is_none() => Cell::new("no further fire", Paint::Dim),
        _ => Cell::new("on", Paint::Good),
    };
    vec![
        record.name.as_str().into(),
        spec.map(|s| s.trigger.to_string()).unwrap_or_default().into(),
        record.zone.as_str().into(),
        record.next_fire.map(|at| local(at, spec)).unwrap_or_default().into(),
        record.next_fire.map(|at| app.ago(at)).unwrap_or_default().into(),
        count(record.fires).into(),
        record.last_fire.map(|at| app.ago(at)).unwrap_or_default().into(),
        spec.map(|s| s.job.kind.clone()).unwrap_or_default().into(),
        state,
    ]
}

/// An instant in the schedule's own zone.
fn local(at: jiff::Timestamp, spec: Option<&ScheduleSpec>) -> String {
    let tz = spec.map_or(jiff::tz::TimeZone::UTC, |s| s.zone.tz().clone());
    at.to_zoned(tz).strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string()
}

/// The next fires of a rule.
pub fn preview_of(app: &App, spec: &ScheduleSpec, n: u32) -> Vec<PreviewFire> {
    preview(spec, app.now, n as usize)
}

/// One fire of a preview.
pub fn fire_line(app: &App, fire: &PreviewFire) -> String {
    let note = match &fire.note {
        Some(note) => format!("  {}", app.out.paint(Paint::Warn, note)),
        None => String::new(),
    };
    format!("{}  {}{note}", fire.wall, app.ago(fire.at))
}

/// `schedule next`.
pub async fn next(app: &mut App, client: &Client, names: &[String], n: u32) -> Result<()> {
    let mut chosen = Vec::new();
    if names.is_empty() {
        chosen.extend(all(client).await?.into_iter().filter_map(|(r, s)| Some((r, s?))));
    }
    for name in names {
        schedule_named(client, name).await?;
        chosen.push(client.schedule(name).await?);
    }
    if app.out.json {
        let all: Vec<_> = chosen
            .iter()
            .map(|(r, s)| json!({ "name": r.name, "zone": r.zone, "next": preview_of(app, s, n) }))
            .collect();
        return app.out.json(&all);
    }
    for (record, spec) in &chosen {
        let title = format!("{}  {}", record.name, spec.trigger);
        let title = app.out.paint(Paint::Strong, &title);
        let paused = record.paused.as_ref().filter(|p| p.holds(app.now));
        let paused = paused.map(|p| format!("  ({})", pause_text(app, p))).unwrap_or_default();
        app.out.line(format!("{title}{paused}"))?;
        let fires = preview_of(app, spec, n);
        if fires.is_empty() {
            app.out.line("  no further fire by time alone")?;
        }
        for fire in &fires {
            let line = fire_line(app, fire);
            app.out.line(format!("  {line}"))?;
        }
    }
    Ok(())
}

/// `schedule show`.
pub async fn show(app: &mut App, client: &Client, name: &str) -> Result<()> {
    schedule_named(client, name).await?;
    let (record, spec) = client.schedule(name).await?;
    let from = time::minus(app.now, Duration::from_secs(7 * 86_400));
    let ledger = client.store().ledger(client.project(), record.id, from, app.now, 1_000).await?;
    let filter = JobFilter { schedule: Some(record.id), ..JobFilter::default() };
    let jobs = client.store().jobs(client.project(), &filter, None, 10).await?.rows;
    if app.out.json {
        return app.out.json(&json!({
            "schedule": record, "next": preview_of(app, &spec, 5), "jobs": jobs, "without_job": ledger,
        }));
    }
    let title = app.out.paint(Paint::Strong, &format!("schedule {}", record.name));
    app.out.line(title)?;
    for (what, value) in facts(app, &record, &spec) {
        app.out.line(format!("  {what:<10} {value}"))?;
    }
    app.out.line("\nNext fires")?;
    let fires = preview_of(app, &spec, 5);
    if fires.is_empty() {
        app.out.line("  none by time alone")?;
    }
    for fire in &fires {
        let line = fire_line(app, fire);
        app.out.line(format!("  {line}"))?;
    }
    app.out.line("\nLast jobs")?;
    if jobs.is_empty() {
        app.out.line("  none yet")?;
    } else {
        let table = super::job::table(app, &jobs);
        app.out.table(&table)?;
    }
    if !ledger.is_empty() {
        app.out.line("\nFires that made no job, last seven days")?;
        let mut table = Table::new(&["first", "last", ">fires", "outcome", "reason"]);
        for row in ledger.iter().rev().take(20) {
            let paint = if row.outcome == FireOutcome::Coalesced { Paint::Dim } else { Paint::Warn };
            table.row([
                app.full(row.first).into(),
                app.full(row.last).into(),
                count(row.count).into(),
                Cell::new(row.outcome.as_str(), paint),
                row.reason.as_str().into(),
            ]);
        }
        app.out.table(&table)?;
    }
    Ok(())
}

fn facts(app: &App, record: &ScheduleRecord, spec: &ScheduleSpec) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("when", format!("{}  ({})", spec.trigger, spec.trigger.explain(&spec.name))),
        ("zone", spec.zone.name().to_owned()),
        ("runs", format!("{} {}", spec.job.kind, one_line(&spec.job.payload.to_string(), 200))),
        ("overlap", word(&spec.overlap)),
        ("misfire", word(&spec.misfire)),
        ("fires", format!("{} made a job", count(record.fires))),
        ("brought by", format!("{}, {}", record.source, app.both(record.created_at))),
        ("version", format!("{}, {}", record.version, app.both(record.updated_at))),
    ];
    if let Some(pause) = record.paused.as_ref().filter(|p| p.holds(app.now)) {
        facts.insert(0, ("state", pause_text(app, pause)));
    }
    if let Some(queue) = &spec.job.queue {
        facts.push(("queue", queue.clone()));
    }
    if !spec.jitter.is_zero() {
        facts.push(("jitter", format!("up to {}", mainspring_core::duration::format(spec.jitter))));
    }
    for (what, at) in [("starts", spec.starts_at), ("ends", spec.ends_at)] {
        if let Some(at) = at {
            facts.push((what, app.both(at)));
        }
    }
    facts
}

/// An enum as the words of its JSON.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(serde_json::Value::Object(map)) => {
            // The policy first, its settings after it.
            let text = |v: &serde_json::Value| v.to_string().trim_matches('"').to_owned();
            let rest = map.iter().filter(|(k, _)| *k != "policy").map(|(k, v)| format!(", {k} {}", text(v)));
            map.get("policy").map(text).unwrap_or_default() + &rest.collect::<String>()
        }
        _ => String::new(),
    }
}
