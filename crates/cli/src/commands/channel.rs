//! `mainspring channel` and `mainspring delivery`: where notices go, a test by one of them, and what
//! became of what was sent. Channels are made in the dashboard or by the API.

use crate::app::{App, Make};
use crate::clock;
use crate::error::{CliError, Result, nearest};
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
        ChannelCommand::Test { name } => test(app, &client, &name).await,
    }
}

/// Runs `delivery`.
pub async fn run_delivery(app: &mut App, DeliveryCommand::List(asked): DeliveryCommand) -> Result<()> {
    let client = ready(app).await?;
    let channel = match &asked.channel {
        None => None,
        Some(name) => Some(named(&client, name).await?.id),
    };
    let found = notify::deliveries(&client, channel, asked.state, None, asked.limit).await?;
    if app.out.json {
        return app.out.json(&found.iter().map(shown).collect::<Vec<_>>());
    }
    if found.is_empty() {
        return app.out.line("Nothing was sent so far.");
    }
    let mut table =
        Table::new(&[">delivery", "state", "channel", "what", ">tries", "said", "answer or error"]);
    for d in &found {
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
    app.out.table(&table)
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
        let view = |c: &Channel| {
            json!({
                "id": c.id, "name": c.name, "kind": c.kind(), "target": c.settings.0.target(), "state": c.state(),
                "failing": c.failing, "error": c.stopped.as_ref().or(c.last_error.as_ref()),
                "last_sent": c.last_sent.map(|at| at.0),
            })
        };
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
