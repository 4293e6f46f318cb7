//! `mainspring alert`: list, show, snooze, rules, backtest.

use crate::app::{App, Make};
use crate::args::AlertCommand;
use crate::error::{CliError, Result, nearest};
use crate::out::Paint;
use crate::out::table::{Cell, Table};
use mainspring::Client;
use mainspring::alerts::{self, AlertFilter, AlertRecord, AlertState, RuleRecord, RuleSpec};
use mainspring::notify::Severity;
use mainspring_core::code::Code;
use mainspring_core::{StoreError, duration, time};
use serde_json::{Value, json};
use std::time::Duration;

/// Runs it.
pub async fn run(app: &mut App, command: AlertCommand) -> Result<()> {
    let client = app.client(Make::No).await?;
    let tables =
        client.tables().ok_or_else(|| CliError::new(Code::STORE_INTERNAL, "this store has no tables"))?;
    // A store that no node of this version has opened yet has no tables for alerts.
    for made in [mainspring::notify::migrate(&*tables).await, alerts::migrate(&*tables).await] {
        made.map_err(|e| StoreError::Schema(e.to_string()))?;
    }
    match command {
        AlertCommand::List { open, n } => list(app, &client, open, n).await,
        AlertCommand::Show { id } => show(app, &client, &id).await,
        AlertCommand::Snooze { id, length, note } => {
            alerts::snooze(&client, &id, Some(time::plus(app.now, length)), note.as_deref()).await?;
            show(app, &client, &id).await
        }
        AlertCommand::Rules => rules(app, &client).await,
        AlertCommand::Backtest { rule, period } => backtest(app, &client, &rule, period).await,
    }
}

fn alert_json(app: &App, a: &AlertRecord) -> Value {
    json!({
        "id": a.uid, "rule": a.rule, "rule_name": a.rule_name, "subject": a.subject,
        "state": a.state(app.now), "severity": a.severity, "title": a.title, "breached": a.breached,
        "fired_at": a.fired_at, "ended_at": a.ended_at, "ended_why": a.ended_why,
        "snoozed_until": a.snoozed_until, "acknowledged_at": a.acked_at, "acknowledged_by": a.acked_by,
    })
}

fn state(app: &App, a: &AlertRecord) -> Cell {
    let state = a.state(app.now);
    let paint = match (state, a.severity) {
        (AlertState::Recovered, _) => Paint::Good,
        (AlertState::Snoozed, _) => Paint::Dim,
        (AlertState::Firing, Severity::Critical) => Paint::Bad,
        (AlertState::Firing, _) => Paint::Warn,
    };
    Cell::new(state.as_str(), paint)
}

async fn list(app: &mut App, client: &Client, open: bool, n: u32) -> Result<()> {
    let filter = AlertFilter { open: open.then_some(true), ..AlertFilter::default() };
    let (rows, _) = alerts::alerts(client, &filter, n).await?;
    if app.out.json {
        let all: Vec<Value> = rows.iter().map(|a| alert_json(app, a)).collect();
        return app.out.json(&all);
    }
    if rows.is_empty() {
        let text = if open { "No alert fires." } else { "No alert has fired yet." };
        return app.out.line(text);
    }
    let mut table = Table::new(&["id", "state", "severity", "what", "fired", "over"]);
    for a in &rows {
        table.row([
            a.uid.as_str().into(),
            state(app, a),
            a.severity.as_str().into(),
            a.title.as_str().into(),
            app.ago(a.fired_at).into(),
            a.ended_at.map(|at| app.ago(at)).unwrap_or_default().into(),
        ]);
    }
    app.out.table(&table)
}

async fn show(app: &mut App, client: &Client, id: &str) -> Result<()> {
    let a = alerts::alert(client, id).await?;
    let log = alerts::log(client, id).await?;
    if app.out.json {
        let log: Vec<Value> = log
            .iter()
            .map(|e| json!({ "at": e.at.0, "what": e.what, "actor": e.actor, "note": e.note }))
            .collect();
        let mut all = alert_json(app, &a);
        all["log"] = log.into();
        return app.out.json(&all);
    }
    let title = app.out.paint(Paint::Strong, &a.title);
    app.out.line(title)?;
    app.out.line(format!("  {}, {}, rule {}", a.state(app.now).as_str(), a.severity, a.rule_name))?;
    if let Some(by) = &a.acked_by {
        app.out.line(format!("  acknowledged by {by}"))?;
    }
    for e in log {
        let by = e.actor.map(|a| format!(" by {a}")).unwrap_or_default();
        let note = e.note.map(|n| format!(": {n}")).unwrap_or_default();
        app.out.line(format!("  {}  {}{by}{note}", app.both(e.at.0), e.what))?;
    }
    Ok(())
}

async fn rules(app: &mut App, client: &Client) -> Result<()> {
    let rules = alerts::rules(client).await?;
    if app.out.json {
        let all: Vec<Value> = rules
            .iter()
            .map(|r| {
                json!({
                    "id": r.id, "name": r.name, "words": r.spec.rule.words(), "enabled": r.enabled,
                    "snoozed_until": r.snoozed_until, "firing": r.state.firing, "rule": r.spec,
                })
            })
            .collect();
        return app.out.json(&all);
    }
    if rules.is_empty() {
        return app.out.line("No rules: nobody is told when something goes wrong.");
    }
    let mut table = Table::new(&[">id", "state", "severity", "rule", "fires when"]);
    for r in &rules {
        let snoozed = r.snoozed_until.is_some_and(|until| until > app.now);
        let state = match r {
            r if !r.enabled => Cell::new("off", Paint::Dim),
            r if !r.state.firing.is_empty() => Cell::new("firing", Paint::Bad),
            _ if snoozed => Cell::new("snoozed", Paint::Dim),
            _ => Cell::new("quiet", Paint::Good),
        };
        table.row([
            r.id.to_string().into(),
            state,
            r.spec.severity.as_str().into(),
            r.name.as_str().into(),
            r.spec.rule.words().into(),
        ]);
    }
    app.out.table(&table)
}

/// The rule that was named, or that was typed as JSON.
async fn meant(client: &Client, text: &str) -> Result<RuleSpec> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|e| {
            CliError::new(Code::INVALID_VALUE, format!("the rule cannot be read: {e}"))
                .hint(r#"{"when":"failures","of":"schedules","in_a_row":3}"#)
        });
    }
    let rules = alerts::rules(client).await?;
    let found: Option<&RuleRecord> = rules.iter().find(|r| r.name == text || r.id.to_string() == text);
    if let Some(rule) = found {
        return Ok(rule.spec.clone());
    }
    let error = CliError::new(Code::NOT_FOUND, format!("no alert rule {text}"));
    Err(match nearest(text, rules.iter().map(|r| r.name.as_str())) {
        Some(near) => error.hint(format!("{near}, if that was meant")),
        None => error.hint("mainspring alert rules"),
    })
}

async fn backtest(app: &mut App, client: &Client, text: &str, period: Duration) -> Result<()> {
    let spec = meant(client, text).await?;
    let found = alerts::backtest(client, &spec.rule, period).await?;
    if app.out.json {
        let episodes: Vec<Value> = found
            .episodes
            .iter()
            .map(
                |e| json!({ "subject": e.subject, "from": e.from, "until": e.until, "breached": e.breached }),
            )
            .collect();
        return app.out.json(&json!({
            "words": spec.rule.words(), "from": found.from, "until": found.until, "fired": found.episodes.len(),
            "episodes": episodes, "attempts": found.attempts, "by_hour_before": found.by_hour_before,
            "recorded_since": found.series_since,
        }));
    }
    app.out.line(format!("Fires when {}.", spec.rule.words()))?;
    let times = match found.episodes.len() {
        0 => "it would not have fired".to_owned(),
        1 => "it would have fired once".to_owned(),
        n => format!("it would have fired {n} times"),
    };
    let line = format!("In the last {} {times}.", duration::format(period));
    let line = app.out.paint(Paint::Strong, &line);
    app.out.line(line)?;
    for e in &found.episodes {
        let until = e.until.map_or("still".into(), |at| app.full(at));
        app.out.line(format!(
            "  {} to {until}  {}",
            app.full(e.from),
            alerts::headline(&spec.rule, &e.breached)
        ))?;
    }
    if found.attempts == 0 && found.series_since.is_none() {
        app.out.line("Nothing is recorded yet that it could be tried on.")?;
    }
    Ok(())
}
