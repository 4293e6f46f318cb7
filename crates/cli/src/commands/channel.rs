//! `mainspring channel` and `mainspring delivery`: where notices go, a test by one of them, and what
//! became of what was sent. Channels are made in the dashboard or by the API.

use crate::app::{App, Make};
use crate::clock;
use crate::commands::job_show;
use crate::error::{CliError, Result, nearest};
use crate::out::Paint;
use crate::out::table::Table;
use clap::{Args, Subcommand};
use mainspring::Client;
use mainspring::notify::{self, Channel, Delivery, DeliveryState};
use mainspring_core::code::Code;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a test is waited for.
const PATIENCE: Duration = Duration::from_secs(45);
/// How often it is looked whether it came to something.
const LOOK: Duration = Duration::from_millis(200);

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum ChannelCommand {
    /// Where notices of the project are sent, and whether that works
    List,
    /// One channel: what is set on it, what it sent last, what went wrong
    Show {
        /// The channel's name
        name: String,
    },
    /// Send a test and wait for the service's answer; a node must be running
    Test {
        /// The channel's name
        name: String,
    },
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum DeliveryCommand {
    /// What was sent, the newest first
    List(DeliveryList),
    /// One delivery: what was said, what became of it, the attempts of its job
    Show {
        /// The delivery's number
        id: i64,
    },
    /// Send the same notice by the same channel once more, as a delivery of its own
    Retry {
        /// The delivery's number
        id: i64,
    },
}

/// Which deliveries.
#[derive(Args, Debug)]
pub struct DeliveryList {
    /// Only of this channel
    #[arg(long)]
    channel: Option<String>,
    /// Only in this state: queued, sent, failed, unknown
    #[arg(long)]
    state: Option<DeliveryState>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

/// Runs `channel`.
pub async fn run(app: &mut App, command: ChannelCommand) -> Result<()> {
    let client = ready(app).await?;
    match command {
        ChannelCommand::List => list(app, &client).await,
        ChannelCommand::Show { name } => show(app, &client, &name).await,
        ChannelCommand::Test { name } => test(app, &client, &name).await,
    }
}

/// Runs `delivery`.
pub async fn run_delivery(app: &mut App, command: DeliveryCommand) -> Result<()> {
    let client = ready(app).await?;
    match command {
        DeliveryCommand::List(asked) => deliveries(app, &client, &asked).await,
        DeliveryCommand::Show { id } => show_delivery(app, &client, id).await,
        DeliveryCommand::Retry { id } => retry(app, &client, id).await,
    }
}

async fn deliveries(app: &mut App, client: &Client, asked: &DeliveryList) -> Result<()> {
    let channel = match &asked.channel {
        None => None,
        Some(name) => Some(named(client, name).await?.id),
    };
    let found = notify::deliveries(client, channel, asked.state, None, asked.limit).await?;
    if app.out.json {
        return app.out.json(&found.iter().map(shown).collect::<Vec<_>>());
    }
    if found.is_empty() {
        let none = channel.is_none() && asked.state.is_none();
        return app.out.line(if none {
            "Nothing was sent so far."
        } else {
            "Nothing of what was sent is so."
        });
    }
    let table = delivery_table(app, &found);
    app.out.table(&table)
}

fn delivery_table(app: &App, found: &[Delivery]) -> Table {
    let mut table =
        Table::new(&[">delivery", "state", "channel", "what", ">tries", "said", "answer or error"]);
    for d in found {
        let said = d.receipt.as_ref().or(d.error.as_ref()).cloned().unwrap_or_default();
        table.row(vec![
            d.id.to_string().into(),
            d.state.as_str().into(),
            d.channel_name.as_str().into(),
            d.title.as_deref().unwrap_or("").into(),
            d.tries.to_string().into(),
            app.ago(d.created.0).into(),
            said.into(),
        ]);
    }
    table
}

async fn show_delivery(app: &mut App, client: &Client, id: i64) -> Result<()> {
    let (d, notice) = notify::delivery(client, id).await.map_err(|e| missing(e, id))?;
    let job = match d.job {
        // Jobs are kept for a shorter time than deliveries.
        Some(job) => client.store().job(client.project(), job).await?,
        None => None,
    };
    if app.out.json {
        let mut all = shown(&d);
        all["notice"] = notice.map_or(Value::Null, |n| {
            json!({
                "severity": n.severity, "state": n.state, "title": n.title, "text": n.text, "facts": n.facts.0,
                "path": n.path, "at": n.at.0, "urgent": n.urgent,
            })
        });
        all["attempts"] = json!(job.map(|job| job.attempts).unwrap_or_default());
        return app.out.json(&all);
    }
    let title = format!("delivery {}  {}  {}", d.id, d.channel_name, d.state);
    let title = app.out.paint(Paint::Strong, &title);
    app.out.line(title)?;
    let moment = |at: mainspring_core::tables::At| app.both(at.0);
    let facts = [
        ("what", d.title.clone()),
        ("said", Some(moment(d.created))),
        ("held until", d.held_until.map(moment)),
        ("sent", d.sent.map(moment)),
        ("answer", d.receipt.clone()),
        ("error", d.error.clone()),
        ("tries", Some(d.tries.to_string())),
        ("with", d.carried_by.clone()),
        ("job", d.job.map(|job| job.to_string())),
        ("id", Some(d.uid.clone())),
    ];
    lines(app, facts)?;
    if let Some(text) = notice.map(|n| n.text).filter(|text| !text.is_empty()) {
        app.out.line(text)?;
    }
    match &job {
        Some(job) => job_show::attempts(app, job),
        None => Ok(()),
    }
}

/// What there is, a line each.
fn lines(app: &mut App, facts: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Result<()> {
    for (name, value) in facts {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            app.out.line(format!("  {name:<10} {value}"))?;
        }
    }
    Ok(())
}

fn missing(error: notify::NotifyError, id: i64) -> CliError {
    match error {
        notify::NotifyError::NotFound { what: "delivery", .. } => {
            CliError::new(Code::NOT_FOUND, format!("no delivery {id}")).hint("mainspring delivery list")
        }
        other => other.into(),
    }
}

async fn retry(app: &mut App, client: &Client, id: i64) -> Result<()> {
    let made = notify::redeliver(client, id).await.map_err(|e| missing(e, id))?;
    let (d, _) = notify::delivery(client, made).await?;
    if app.out.json {
        return app.out.json(&shown(&d));
    }
    app.out.line(format!("delivery {made} sends it again: mainspring delivery show {made}"))
}

async fn ready(app: &mut App) -> Result<Client> {
    let client = app.client(Make::No).await?;
    if let Some(tables) = client.tables() {
        notify::migrate(&*tables).await.map_err(notify::NotifyError::from)?;
    }
    Ok(client)
}

async fn named(client: &Client, name: &str) -> Result<Channel> {
    let all = notify::channels(client).await?;
    let names: Vec<String> = all.iter().map(|c| c.name.clone()).collect();
    let missing = || {
        let error = CliError::new(Code::NOT_FOUND, format!("no channel {name}"));
        match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("is it {near}? mainspring channel list shows all")),
            None => {
                error.hint("mainspring channel list shows all; they are made in the dashboard or by the API")
            }
        }
    };
    all.into_iter().find(|c| c.name == name).ok_or_else(missing)
}

fn shown(d: &Delivery) -> Value {
    json!({
        "id": d.id, "key": d.uid, "channel": d.channel_name, "kind": d.channel_kind, "state": d.state, "title": d.title,
        "tries": d.tries, "job": d.job, "receipt": d.receipt, "error": d.error, "carried_by": d.carried_by,
        "held_until": d.held_until.map(|at| at.0), "created_at": d.created.0, "sent_at": d.sent.map(|at| at.0),
    })
}

async fn list(app: &mut App, client: &Client) -> Result<()> {
    let all = notify::channels(client).await?;
    if app.out.json {
        return app.out.json(&all.iter().map(view).collect::<Vec<_>>());
    }
    if all.is_empty() {
        return app.out.line("No channels yet: notices are seen in the dashboard alone.");
    }
    let mut table = Table::new(&["channel", "kind", "state", "leads to", "last sent", "error"]);
    for c in &all {
        let sent = c.last_sent.map_or_else(|| "never".to_owned(), |at| app.ago(at.0));
        table.row(vec![
            c.name.as_str().into(),
            c.kind().as_str().into(),
            c.state().into(),
            c.settings.0.target().into(),
            sent.into(),
            c.stopped.as_ref().or(c.last_error.as_ref()).cloned().unwrap_or_default().into(),
        ]);
    }
    app.out.table(&table)
}

fn view(c: &Channel) -> Value {
    json!({
        "id": c.id, "name": c.name, "kind": c.kind(), "target": c.settings.0.target(), "state": c.state(),
        "settings": c.settings.0, "timing": c.timing.0, "enabled": c.enabled, "has_secret": c.has_secret(),
        "failing": c.failing, "error": c.stopped.as_ref().or(c.last_error.as_ref()),
        "last_failed": c.last_failed.map(|at| at.0), "last_sent": c.last_sent.map(|at| at.0),
    })
}

/// Deliveries that one channel shows.
const LAST: u32 = 5;

async fn show(app: &mut App, client: &Client, name: &str) -> Result<()> {
    let c = named(client, name).await?;
    let last = notify::deliveries(client, Some(c.id), None, None, LAST).await?;
    if app.out.json {
        let mut all = view(&c);
        all["deliveries"] = last.iter().map(shown).collect();
        return app.out.json(&all);
    }
    let title = format!("channel {}  {}  {}", c.name, c.kind(), c.state());
    let title = app.out.paint(Paint::Strong, &title);
    app.out.line(title)?;
    let t = &c.timing.0;
    let quiet = t.quiet_from.as_ref().zip(t.quiet_to.as_ref());
    let digest = match (t.digest, &t.digest_at) {
        (notify::Digest::None, _) => None,
        (digest, Some(at)) => Some(format!("{digest}, at {at} {}", t.zone)),
        (digest, None) => Some(digest.to_string()),
    };
    let facts = [
        ("leads to", Some(c.settings.0.target())),
        ("quiet", quiet.map(|(from, to)| format!("{from} to {to}, {}", t.zone))),
        ("digest", digest),
        ("gathers", (t.gather > 0).then(|| format!("{} s", t.gather))),
        ("secret", c.has_secret().then(|| "kept sealed".into())),
        ("last sent", Some(c.last_sent.map_or_else(|| "never".into(), |at| app.both(at.0)))),
        ("failing", (c.failing > 0).then(|| format!("{} in a row", c.failing))),
        ("failed", c.last_failed.filter(|_| c.failing > 0).map(|at| app.both(at.0))),
        ("error", c.stopped.clone().or(c.last_error.clone())),
    ];
    lines(app, facts)?;
    if last.is_empty() {
        return app.out.line("Nothing was sent by it so far.");
    }
    let table = delivery_table(app, &last);
    app.out.table(&table)
}

async fn test(app: &mut App, client: &Client, name: &str) -> Result<()> {
    let channel = named(client, name).await?;
    let id = notify::test(client, channel.id).await?;
    let mut found = notify::delivery(client, id).await?.0;
    for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
        if found.state != DeliveryState::Queued || found.error.is_some() {
            break;
        }
        clock::pause(LOOK).await;
        found = notify::delivery(client, id).await?.0;
    }
    if app.out.json {
        app.out.json(&shown(&found))?;
    }
    match (found.state, found.receipt, found.error) {
        (DeliveryState::Sent, receipt, _) if !app.out.json => {
            app.out.line(format!("{name}: sent. It answered: {}", receipt.unwrap_or_default()))
        }
        (DeliveryState::Sent, ..) => Ok(()),
        (_, _, Some(error)) => Err(CliError::new(Code::CONFLICT, format!("{name}: {error}"))),
        _ => Err(CliError::new(Code::CONFLICT, format!("{name}: the test still waits")).hint(
            "is a node running? mainspring up runs one; mainspring delivery list shows what became of it",
        )),
    }
}
