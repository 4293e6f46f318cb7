//! `mainspring up`: the process that runs schedules and jobs, with a calm live view.
//!
//! In this order: open the store for running jobs (a server that is away is waited for), write down what the configuration file says
//! (queues, schedules) or, in an empty store, begin the tour, then run a [`Node`] until a signal, the
//! given time, or the end of all work. The node does everything; this module only starts it, watches
//! and tells.

mod idle;
mod live;
mod patience;
mod serve;
mod setup;
mod signals;
pub mod tour;
mod traces;

use crate::app::{App, Make};
use crate::args::UpArgs;
use crate::clock;
use crate::commands::pause_text;
use crate::error::{CliError, Result};
use crate::out::{Paint, plural};
use crate::settings::Settings;
use crate::store::{self, Address, Purpose};
use idle::Paused;
use live::Live;
use mainspring::{Client, Node, NodeError, NodeEvent, Registry};
use mainspring_core::code::Code;
use mainspring_core::job::AttemptOutcome;
use mainspring_core::store::Store;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// How often the live view looks whether a line is due that no event brings.
const TURN: Duration = Duration::from_millis(250);

/// Runs it.
pub async fn run(app: &mut App, args: UpArgs) -> Result<()> {
    let Some((store, client, said)) = patience::begin(app, &args).await? else { return Ok(()) };
    let done = serve(app, &args, store.clone(), client, said).await;
    store.close().await;
    done
}

/// Opens the store and writes down what is to be there before the node.
async fn begin(app: &App, args: &UpArgs) -> Result<Begun> {
    let store = store::open(&app.settings, Purpose::RunJobs, Make::Yes).await?;
    let prepared = async {
        let client = app.client_of(store.clone(), Make::Yes).await?;
        let said = setup::prepare(app, &client, !args.no_tour).await?;
        Ok((client, said))
    };
    match prepared.await {
        Ok((client, said)) => Ok((store, client, said)),
        Err(e) => {
            store.close().await;
            Err(e)
        }
    }
}

type Begun = (Arc<dyn Store>, Client, setup::Prepared);

async fn serve(
    app: &mut App,
    args: &UpArgs,
    store: Arc<dyn Store>,
    client: Client,
    said: setup::Prepared,
) -> Result<()> {
    let node = node(&app.settings, store, app.registry.clone())?;
    let key = node.engine().services.vault.begin().await?;
    let traced = traces::start(app, &client).await?;
    let served = serve::start(app, &client, node.engine()).await?;
    // A reader that has gone away already is no reason not to do the work.
    match greet(app, &said, &served.lines, key.as_deref()) {
        Err(e) if !e.closed => return Err(e),
        _ => {}
    }
    let mut events = node.events().listen();
    let engine = node.engine().clone();
    let ends = signals::ends(args, client.clone(), engine)?;
    let mut live = Live::new(app.settings.tz.tz().clone(), app.out.coloured(), app.out.json);
    live.know(&client).await?;
    let running = node.run(ends);
    tokio::pin!(running);
    let mut open = true;
    let summary = loop {
        tokio::select! {
            biased;
            event = events.recv(), if open => {
                open = !matches!(event, Err(RecvError::Closed));
                show(app, &mut live, event, args.quiet)?;
            }
            () = clock::pause(TURN) => {
                let lines = live.turn(clock::now());
                print(app, &lines, args.quiet)?;
            }
            ended = &mut running => break ended,
        }
    };
    served.end().await;
    traced.end().await;
    while let Ok(event) = events.try_recv() {
        show(app, &mut live, Ok(event), args.quiet)?;
    }
    let summary = summary.map_err(node_error)?;
    // A store that is away now has been told of already.
    let paused = if args.exit_when_idle { idle::paused(&client).await.unwrap_or_default() } else { vec![] };
    farewell(app, &live, summary.unwritten as u64, said.tour, &paused)
}

fn show(app: &mut App, live: &mut Live, event: Result<NodeEvent, RecvError>, quiet: bool) -> Result<()> {
    match event {
        Ok(event) => {
            let lines = live.lines(&event, clock::now());
            print(app, &lines, quiet)
        }
        Err(RecvError::Lagged(n)) => {
            let line = format!("          … {} not shown", plural(n, "event"));
            print(app, &[line], quiet || app.out.json)
        }
        Err(RecvError::Closed) => Ok(()),
    }
}

/// A terminal that has gone away is no reason to stop the work.
fn print(app: &mut App, lines: &[String], quiet: bool) -> Result<()> {
    if quiet || lines.is_empty() {
        return Ok(());
    }
    for line in lines {
        if app.out.line(line).is_err() {
            return Ok(());
        }
    }
    drop(app.out.flush());
    Ok(())
}

/// The node these settings ask for.
pub fn node(s: &Settings, store: Arc<dyn Store>, registry: Arc<Registry>) -> Result<Node> {
    let mut builder = Node::builder(store, registry)
        .slots(s.slots as usize)
        .queues(&s.queues)
        .lease(s.lease)
        .grace(s.grace)
        .keep(s.sweep);
    if let Some(name) = &s.node_name {
        builder = builder.name(name);
    }
    builder.build().map_err(node_error)
}

/// Why a node could not run, for people.
pub fn node_error(e: NodeError) -> CliError {
    match e {
        NodeError::Store(e) => e.into(),
        NodeError::Setting { field, text } => CliError::new(Code::CONFIG_INVALID, text).at(field),
        other => CliError::new(Code::STORE_INTERNAL, other.to_string()),
    }
}

fn greet(app: &mut App, said: &setup::Prepared, served: &[String], key: Option<&Path>) -> Result<()> {
    if app.out.json {
        let store = app.settings.store.shown();
        let line = serde_json::json!({
            "at": app.now, "event": "up", "store": store, "tour": said.tour, "slots": app.settings.slots,
        });
        app.out.json_line(&line)?;
        return app.out.flush();
    }
    let queues = match app.settings.queues.as_slice() {
        [] => "all queues".to_owned(),
        some => format!("queues {}", some.join(", ")),
    };
    let title = format!("mainspring {}", env!("CARGO_PKG_VERSION"));
    let title = app.out.paint(Paint::Strong, &title);
    app.out.line(format!("{title}  runs up to {} of {queues}", plural(app.settings.slots.into(), "job")))?;
    let place = match &app.settings.store {
        Address::File(path) => {
            let whole = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            format!(
                "Everything is kept in {}; nothing leaves this machine but calls that jobs make.",
                whole.display()
            )
        }
        Address::Postgres(_) => format!("Everything is kept in {}.", app.settings.store.shown()),
    };
    app.out.line(place)?;
    if let Some(key) = key {
        app.out.line(format!(
            "Secrets are sealed with {}: keep a copy of it apart from backups.",
            key.display()
        ))?;
    }
    for line in served.iter().chain(&said.lines) {
        app.out.line(line)?;
    }
    let grace = mainspring_core::duration::format(app.settings.grace);
    app.out.line(format!("Ctrl-C ends it; running jobs may go on for {grace}.\n"))?;
    app.out.flush()
}

fn farewell(app: &mut App, live: &Live, unwritten: u64, tour: bool, paused: &[Paused]) -> Result<()> {
    if app.out.json {
        let totals: std::collections::BTreeMap<&str, u64> =
            live.totals.iter().map(|(o, n)| (o.as_str(), *n)).collect();
        let paused: std::collections::BTreeMap<&str, u64> =
            paused.iter().map(|p| (p.queue.as_str(), p.jobs)).collect();
        let line = serde_json::json!({
            "at": clock::now(), "event": "down", "attempts": totals, "unwritten": unwritten, "paused": paused,
        });
        return app.out.json_line(&line);
    }
    let total: u64 = live.totals.values().sum();
    let parts: Vec<String> = live.totals.iter().map(|(o, n)| format!("{n} {o}")).collect();
    let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    app.out.line(format!("\nEnded after {}{parts}.", plural(total, "attempt")))?;
    if live.totals.contains_key(&AttemptOutcome::Interrupted) {
        app.out.line("What was interrupted has been given back and costs no attempt.")?;
    }
    if unwritten > 0 {
        app.out.line(format!(
            "{} could not be written, because the database is away; those attempts count as interrupted.",
            plural(unwritten, "outcome")
        ))?;
    }
    for Paused { queue, jobs, pause } in paused {
        let word = app.out.paint(Paint::Warn, "Left waiting");
        let verb = if *jobs == 1 { "waits" } else { "wait" };
        app.out.line(format!(
            "{word}: {} {verb} in queue {queue}, which is {}. mainspring queue resume {queue} lets it go on.",
            plural(*jobs, "job"),
            pause_text(app, pause)
        ))?;
    }
    if tour {
        app.out.line("Look at what happened: mainspring job list   mainspring stats   mainspring events")?;
    }
    Ok(())
}

impl Live {
    /// Learns the schedules' names.
    async fn know(&mut self, client: &Client) -> Result<()> {
        for schedule in client.store().all_schedules(None, 1_000).await? {
            self.name(schedule.id, &schedule.name);
        }
        Ok(())
    }
}
