//! `mainspring bench`: what this machine's store and a node with `up`'s own settings can do, and
//! the same phases one by one for a comparison with other systems.
//!
//! Every figure of ours goes through the client and the node that everybody uses; there is no path
//! or setting for the benchmark alone. After each drain the store is recounted, and a run that lost
//! or doubled anything is an error instead of a figure. Absolute figures belong to the machine and
//! the minute: compare only what was measured in the same run (`bench/compare` does that).

mod aged;
mod day;
mod machine;
mod pages;
mod phases;
mod report;
mod server;

use crate::app::{App, Make};
use crate::error::{CliError, Result};
use crate::out::table::{Cell, Table};
use crate::out::{Paint, plural};
use crate::settings::Settings;
use crate::store::{self, Address, Purpose};
use clap::{Args, Subcommand};
use mainspring::{Client, Node};
use mainspring_core::code::Code;
use mainspring_core::store::Store;
use phases::{Figure, Noop};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// `bench`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  mainspring bench\n  mainspring bench --store postgres://me@localhost/empty --jobs 50000\n  \
                  mainspring bench --phase latency --phase idle\n  mainspring bench --phase pages --history 1000000    each page of the server, with so many finished jobs\n  mainspring bench --phase server    its memory idle and at 200 requests a second\n  mainspring bench --phase day    a day's jobs through one node: does anything grow?\n\nIt works on a scratch file that it removes, or on an \
                  empty PostgreSQL database that you name with --store."
)]
pub struct BenchArgs {
    /// One phase of a comparison run, or its report
    #[command(subcommand)]
    pub command: Option<BenchCommand>,
    /// Jobs in bulk phases: 100000 unless set, in `day` 4320000, fifty a second
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub jobs: Option<u64>,
    /// Only these phases (may be repeated); the longer ones only when named
    #[arg(long = "phase", value_name = "PHASE", value_parser = PHASES)]
    pub phases: Vec<String>,
    /// Finished jobs already there in drain-after, start, lists, pages and server
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(0..=20_000_000))]
    pub history: u64,
    /// Stored schedules in idle-schedules
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub schedules: u64,
}

/// What a comparison calls.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Run one phase and print one JSON line; the system's name says which store
    ///
    /// A name with `pg` in it works on the database in the variable PGURL, others on a file in the
    /// folder in WORKDIR; `normal` in the name means `synchronous = "normal"`.
    Driver {
        /// The system's name: mainspring-sqlite, mainspring-sqlite-normal, mainspring-pg
        name: String,
        /// setup, batch N, single SECONDS CALLERS, drain N, drain-after N HISTORY, latency COUNT PER_SECOND,
        /// start HISTORY, lists HISTORY, idle SECONDS, idle-schedules N SECONDS,
        /// server HISTORY SECONDS PER_SECOND, day N
        phase: String,
        /// The phase's numbers
        numbers: Vec<u64>,
    },
    /// Judge the result lines of a comparison against the targets
    Report {
        /// The file of result lines
        file: PathBuf,
    },
}

const PHASES: [&str; 16] = [
    "batch",
    "drain",
    "drain-after",
    "drain-keyed",
    "drain-limited",
    "drain-nodes",
    "single",
    "latency",
    "storm",
    "idle",
    "start",
    "lists",
    "idle-schedules",
    "pages",
    "server",
    "day",
];
/// Those that take long, or ask for more than some stores can do: measured when they are named.
const LONG: [&str; 10] = [
    "drain-after",
    "drain-keyed",
    "drain-limited",
    "drain-nodes",
    "start",
    "lists",
    "idle-schedules",
    "pages",
    "server",
    "day",
];
/// The queue of every job here.
const QUEUE: &str = "default";
/// Nodes of the phase `drain-nodes`.
const NODES: usize = 4;

/// Runs it.
pub async fn run(app: &mut App, args: BenchArgs) -> Result<bool> {
    match args.command {
        Some(BenchCommand::Driver { ref name, ref phase, ref numbers }) => {
            let settings = driver_settings(&app.settings, name)?;
            let mut figure = driver(&settings, phase, numbers).await?;
            if phase.starts_with("drain-") {
                figure.phase.clone_from(phase);
            }
            let mut line = serde_json::to_value(&figure).map_err(|e| failed(e.to_string()))?;
            line["peer"] = name.as_str().into();
            app.out.json_line(&line)?;
            Ok(true)
        }
        Some(BenchCommand::Report { ref file }) => report(app, file),
        None => overview(app, &args).await,
    }
}

fn failed(text: String) -> CliError {
    CliError::new(Code::STORE_INTERNAL, text)
}

fn report(app: &mut App, file: &Path) -> Result<bool> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| CliError::new(Code::NOT_FOUND, format!("{}: {e}", file.display())))?;
    let rows = report::judge(&text)?;
    if app.out.json {
        app.out.json(&rows)?;
    } else {
        app.out.line(report::markdown(&rows).trim_end())?;
    }
    Ok(rows.iter().all(|r| r.met))
}

fn driver_settings(settings: &Settings, name: &str) -> Result<Settings> {
    let mut settings = settings.clone();
    let variable = |name: &str| {
        std::env::var(name).map_err(|_| {
            CliError::new(Code::USAGE, format!("the variable {name} is not set"))
                .hint("PGURL=postgres://… WORKDIR=folder")
        })
    };
    settings.store = if name.contains("pg") {
        Address::Postgres(variable("PGURL")?)
    } else {
        Address::File(Path::new(&variable("WORKDIR")?).join(format!("{name}.db")))
    };
    settings.synchronous_full = !name.contains("normal");
    Ok(settings)
}

/// The node that `up` would start with these settings, over the benchmark's one kind.
fn node(settings: &Settings, store: &Arc<dyn Store>, noop: &Noop) -> Result<Node> {
    crate::up::node(settings, store.clone(), Arc::new(phases::registry(noop.clone())))
}

async fn open(settings: &Settings, purpose: Purpose) -> Result<(Arc<dyn Store>, Client)> {
    let store = store::open(settings, purpose, Make::Yes).await?;
    Ok((store.clone(), Client::new(store)))
}

async fn driver(settings: &Settings, phase: &str, numbers: &[u64]) -> Result<Figure> {
    let number = |i: usize| {
        numbers.get(i).copied().ok_or_else(|| {
            CliError::new(Code::USAGE, format!("the phase {phase} needs {} numbers", i + 1))
                .hint("mainspring bench driver --help")
        })
    };
    if phase == "setup" {
        if let Address::File(file) = &settings.store {
            remove(file);
        }
        let (store, _) = open(settings, Purpose::Beside).await?;
        store.close().await;
        return Ok(Figure { phase: "setup".into(), ..Figure::default() });
    }
    match phase {
        "drain-after" => return aged::drain_after(settings, number(0)?, number(1)?).await,
        "drain-keyed" | "drain-limited" | "drain-nodes" => {
            return drain_otherwise(settings, phase, number(0)?).await;
        }
        "start" => return aged::start_after(settings, number(0)?).await,
        "lists" => return aged::lists_after(settings, number(0)?).await,
        "server" => {
            let load = server::Load { seconds: number(1)?, per_second: number(2)? };
            return server::measure(settings, number(0)?, load).await;
        }
        "day" => return day::measure(settings, number(0)?).await,
        _ => {}
    }
    let works = matches!(phase, "drain" | "latency" | "storm" | "idle" | "idle-schedules");
    let (store, client) = open(settings, if works { Purpose::RunJobs } else { Purpose::Beside }).await?;
    let figure = match phase {
        "batch" => phases::batch(&client, number(0)?).await?,
        "single" => phases::single(&client, Duration::from_secs(number(0)?), number(1)?).await?,
        "drain" => {
            let before = phases::completed(&client).await?;
            let noop = Noop::default();
            let figure =
                phases::drain(&client, noop.clone(), vec![node(settings, &store, &noop)?], number(0)?)
                    .await?;
            phases::recount(&client, before + number(0)?).await?;
            figure
        }
        "latency" => {
            let noop = Noop::timed();
            let node = node(settings, &store, &noop)?;
            phases::latency(&client, noop, node, number(0)?, number(1)?).await?
        }
        "storm" => {
            let noop = Noop::default();
            let node = node(settings, &store, &noop)?;
            phases::storm(&client, noop, node, number(0)?, crate::clock::now()).await?
        }
        "idle" => phases::idle(&client, node(settings, &store, &Noop::default())?, number(0)?).await?,
        "idle-schedules" => {
            phases::far_schedules(&client, number(0)?, crate::clock::now()).await?;
            let node = node(settings, &store, &Noop::default())?;
            let idle = phases::idle(&client, node, number(1)?).await?;
            Figure { phase: phase.into(), n: number(0)?, ..idle }
        }
        other => {
            return Err(CliError::new(Code::USAGE, format!("{other:?} is not a phase"))
                .hint(format!("setup, {}", PHASES.join(", "))));
        }
    };
    store.close().await;
    Ok(figure)
}

/// Drains `n` jobs that have keys, or whose queue has a rate, or with several nodes at once.
async fn drain_otherwise(settings: &Settings, phase: &str, n: u64) -> Result<Figure> {
    let (store, client) = open(settings, Purpose::RunJobs).await?;
    let before = phases::completed(&client).await?;
    let noop = Noop::default();
    let mut stores = vec![store];
    match phase {
        "drain-keyed" => {
            client.change_queue(QUEUE, |s| s.max_running_per_key = Some(10)).await?;
            phases::batch_keyed(&client, n).await?;
        }
        "drain-limited" => {
            let rate = mainspring_core::rate::Rate::parse("1000000/s").map_err(failed)?;
            client.change_queue(QUEUE, |s| s.rate = Some(rate)).await?;
            phases::batch(&client, n).await?;
        }
        _ => {
            if matches!(settings.store, Address::File(_)) {
                let error = CliError::new(Code::USAGE, "several nodes work on PostgreSQL only");
                return Err(error.hint("--store postgres://…"));
            }
            for _ in 1..NODES {
                stores.push(open(settings, Purpose::RunJobs).await?.0);
            }
            phases::batch(&client, n).await?;
        }
    }
    let nodes = stores.iter().map(|store| node(settings, store, &noop)).collect::<Result<Vec<_>>>()?;
    let figure = phases::drain(&client, noop, nodes, n).await?;
    phases::recount(&client, before + n).await?;
    client.set_queue(QUEUE, mainspring_core::queue::QueueSettings::default()).await?;
    for store in stores {
        store.close().await;
    }
    Ok(figure)
}

/// All phases with a table at the end.
async fn overview(app: &mut App, args: &BenchArgs) -> Result<bool> {
    let scratch = Scratch::new(&app.settings).await?;
    let chosen = |phase: &str| args.phases.is_empty() || args.phases.iter().any(|p| p == phase);
    let mut figures = Vec::new();
    let mut progress = crate::app::Progress::new();
    for phase in PHASES {
        if !chosen(phase) || (LONG.contains(&phase) && args.phases.is_empty()) {
            continue;
        }
        progress.tell(figures.len() as u64 * 1_000, &format!("{phase} …"));
        let settings = scratch.fresh(&format!("{phase}.db"))?;
        let jobs = args.jobs.unwrap_or(if phase == "day" { day::JOBS } else { 100_000 });
        let numbers: &[u64] = match phase {
            "single" => &[5, 16],
            "drain-after" => &[jobs, args.history],
            "latency" => &[500, 50],
            "storm" => &[10_000],
            "idle" => &[10],
            "start" | "lists" => &[args.history],
            "idle-schedules" => &[args.schedules, 60],
            "server" => &[args.history, 30, 200],
            _ => &[jobs],
        };
        work_off(&settings).await?;
        if phase == "pages" {
            figures.push(pages_figure(&settings, args.history).await?);
            continue;
        }
        if phase == "drain" {
            driver(&settings, "batch", numbers).await?;
        }
        let figure = driver(&settings, phase, numbers).await?;
        figures.push(Figure { phase: phase.into(), ..figure });
    }
    progress.end();
    let in_time = figures.iter().filter_map(|f| f.pages.as_ref()).all(|report| report.slow().is_empty())
        && figures.iter().filter_map(|f| f.day.as_ref()).all(|day| day.flat);
    if app.out.json {
        app.out.json(&figures)?;
        return Ok(in_time);
    }
    app.out.line(format!("Store: {}\n", scratch.shown))?;
    for f in &figures {
        let figure = match (f.rate, f.p50_ms, f.p99_ms) {
            (_, Some(p50), Some(p99)) => format!("p50 {p50:.2} ms, p99 {p99:.2} ms"),
            (Some(rate), ..) if f.n > 0 && f.note.is_none() => format!("{rate:.0} jobs/s"),
            _ => f.note.clone().unwrap_or_default(),
        };
        app.out.line(format!("{:<14} {figure:<48} {} MiB at most", f.phase, f.rss_mb))?;
        if let Some(note) = f.note.as_ref().filter(|_| f.phase == "server") {
            app.out.line(format!("{:<14} {note}", ""))?;
        }
        if let Some(report) = &f.pages {
            show_pages(app, report)?;
        }
        if let Some(day) = &f.day {
            day.show(app)?;
        }
    }
    app.out.line(
        "\nThese figures belong to this machine at this minute. To compare, measure both in one run.",
    )?;
    Ok(in_time)
}

/// The server's pages over a store with `history` finished jobs.
async fn pages_figure(settings: &Settings, history: u64) -> Result<Figure> {
    let (store, client) = open(settings, Purpose::RunJobs).await?;
    let node = crate::up::node(settings, store.clone(), Arc::new(pages::registry()))?;
    let report = pages::measure(&client, node, history).await?;
    store.close().await;
    let note = format!(
        "{} finished jobs; {} MiB idle, {} MiB at {:.0} requests a second",
        report.jobs, report.idle_mb, report.busy_mb, report.rate
    );
    let rss_mb = machine::peak_rss_mib();
    Ok(Figure {
        phase: "pages".into(),
        n: report.jobs,
        note: Some(note),
        rss_mb,
        pages: Some(report),
        ..Figure::default()
    })
}

fn show_pages(app: &mut App, report: &pages::Report) -> Result<()> {
    let mut table = Table::new(&["page", ">p50 ms", ">p95 ms", ">slowest", ">bytes"]);
    let slow = report.slow();
    for page in &report.pages {
        let paint = if slow.iter().any(|s| s.path == page.path) { Paint::Bad } else { Paint::Plain };
        table.row([
            Cell::new(page.path.as_str(), paint),
            format!("{:.1}", page.p50_ms).into(),
            Cell::new(format!("{:.1}", page.p95_ms), paint),
            format!("{:.1}", page.max_ms).into(),
            page.bytes.to_string().into(),
        ]);
    }
    app.out.table(&table)?;
    match slow.len() as u64 {
        0 => app.out.line("Every page is within 50 ms."),
        n => app.out.line(format!("{} above 50 ms.", plural(n, "page"))),
    }
}

/// Runs what an earlier phase left waiting in the same database.
async fn work_off(settings: &Settings) -> Result<()> {
    let (store, client) = open(settings, Purpose::RunJobs).await?;
    let waiting = phases::open_jobs(&client).await?;
    if waiting > 0 {
        let noop = Noop::default();
        phases::drain(&client, noop.clone(), vec![node(settings, &store, &noop)?], waiting).await?;
    }
    store.close().await;
    Ok(())
}

/// Where `overview` works.
struct Scratch {
    settings: Settings,
    folder: Option<PathBuf>,
    shown: String,
}

impl Scratch {
    async fn new(settings: &Settings) -> Result<Scratch> {
        if let Address::Postgres(_) = &settings.store {
            let (store, client) = open(settings, Purpose::Beside).await?;
            let used = !store.counts(client.project()).await?.is_empty()
                || !store.all_schedules(None, 1).await?.is_empty();
            store.close().await;
            if used {
                return Err(CliError::new(
                    Code::CONFLICT,
                    "this database holds jobs or schedules; a benchmark would mix with them",
                )
                .hint("createdb bench, then --store postgres://…/bench"));
            }
            return Ok(Scratch { settings: settings.clone(), folder: None, shown: settings.store.shown() });
        }
        let folder = std::env::temp_dir().join(format!("mainspring-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let shown = format!("a scratch file in {}, removed afterwards", folder.display());
        Ok(Scratch { settings: settings.clone(), folder: Some(folder), shown })
    }

    /// A fresh file for each phase; the same database, where it is one.
    fn fresh(&self, name: &str) -> Result<Settings> {
        let mut settings = self.settings.clone();
        if let Some(folder) = &self.folder {
            let file = folder.join(name);
            remove(&file);
            settings.store = Address::File(file);
        }
        Ok(settings)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

fn remove(file: &Path) {
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        let _ = std::fs::remove_file(PathBuf::from(name));
    }
}
