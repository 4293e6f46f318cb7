//! The command line: everything the program `mainspring` does, as a library, so that a program with
//! kinds of its own has every command in one line:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     mainspring_cli::run(mainspring::Registry::new())
//! }
//! ```
//!
//! The way of a call: [`args`] reads what was typed, [`settings`] finds every value and where it
//! came from, [`store`] opens what the address names (the one place that knows which stores there
//! are), and a module of [`commands`] does it through [`mainspring::Client`] or a
//! [`mainspring::Node`]. What goes wrong comes back here as a [`CliError`] and is printed once.
//!
//! Deliberately not here: rules about jobs and schedules (the core), SQL (the stores), the loop that
//! runs jobs (the library's node).

/// The programs in the papers compile.
#[cfg(doctest)]
mod papers {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/guides/jobs-and-queues.md")]
    struct JobsAndQueues;
}

mod app;
mod args;
mod bench;
mod builtin;
mod clock;
mod commands;
mod contents;
mod crontab;
mod entry;
mod error;
mod moment;
mod out;
mod settings;
mod store;
mod up;

pub use error::CliError;

use app::App;
use args::{Cli, Command, ImportCommand};
use clap::{CommandFactory, FromArgMatches};
use error::Result;
use mainspring::Registry;
use mainspring::trace::Tracer;
use mainspring_core::code::Code;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use tracing_subscriber::filter::LevelFilter;

/// Runs what the command line asks for. `registry` lists the kinds of the program; the built-in ones
/// are added.
pub fn run(registry: Registry) -> ExitCode {
    // Jobs of kind `command` are started by this very program in a hidden mode.
    mainspring::kinds::launcher::intercept();
    let outcome = parse().and_then(|parsed| match parsed {
        Parsed::Said => Ok(true),
        Parsed::Call(cli, given) => match cli.command {
            // Needs no settings: a file that is broken must not keep a shell from starting.
            Command::Completions(args) => completions(&args),
            Command::Openapi => openapi(),
            _ => dispatch(cli, &given, registry),
        },
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // Whoever read our output has enough of it.
        Err(e) if e.closed => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "{e}");
            ExitCode::from(e.exit_code())
        }
    }
}

enum Parsed {
    /// Help or version: printed.
    Said,
    /// A command.
    Call(Box<Cli>, Box<settings::Given>),
}

/// The whole parser: the commands with the settings' flags.
fn parser() -> clap::Command {
    settings::flags::add(Cli::command(), &["up"])
}

/// Written to memory first: the generator would panic on a reader that has gone away.
fn completions(args: &args::CompletionsArgs) -> Result<bool> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut parser(), "mainspring", &mut text);
    std::io::stdout().write_all(&text)?;
    Ok(true)
}

/// The same document as the server gives.
fn openapi() -> Result<bool> {
    let text = serde_json::to_string_pretty(mainspring_web::openapi::document())
        .map_err(|e| CliError::new(Code::STORE_INTERNAL, format!("the document cannot be written: {e}")))?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(true)
}

fn parse() -> Result<Parsed> {
    let matches = match parser().try_get_matches() {
        Ok(matches) => matches,
        Err(e) => return refused(&e),
    };
    match Cli::from_arg_matches(&matches) {
        Ok(cli) => Ok(Parsed::Call(Box::new(cli), Box::new(settings::flags::given(&matches)))),
        Err(e) => refused(&e),
    }
}

fn refused(e: &clap::Error) -> Result<Parsed> {
    use clap::error::ErrorKind as Kind;
    match e.kind() {
        Kind::DisplayHelp | Kind::DisplayVersion => {
            e.print()?;
            Ok(Parsed::Said)
        }
        Kind::DisplayHelpOnMissingArgumentOrSubcommand => {
            write!(std::io::stderr(), "{}", e.render())?;
            Err(CliError::new(Code::USAGE, "no command was given").hint("mainspring up"))
        }
        _ => {
            let text = e.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
            let (what, rest) = text.split_once("\n\n").unwrap_or((text, ""));
            let hint = rest.lines().map(str::trim).find_map(|l| l.strip_prefix("tip: "));
            let usage = rest.lines().map(str::trim).find_map(|l| l.strip_prefix("Usage: "));
            let mut error = CliError::new(Code::USAGE, what.replace("\n  ", " "));
            if let Some(usage) = usage {
                error = error.at(format!("usage: {usage}"));
            }
            Err(match hint {
                Some(hint) => error.hint(hint),
                None => error.hint("the same with --help"),
            })
        }
    }
}

fn dispatch(cli: Box<Cli>, given: &settings::Given, registry: Registry) -> Result<bool> {
    let settings = match &cli.command {
        Command::Check(args) => commands::check::settings(given, args)?,
        _ => settings::load(given)?,
    };
    log(&settings, matches!(cli.command, Command::Up(_)));
    let out = out::Out::new(cli.json, settings.colour);
    let own_ports = mainspring_outbound::OwnPorts::default();
    let registry = Arc::new(builtin::add(registry, &settings, &own_ports)?.traced(Tracer::default()));
    let mut app = App { settings, out, registry, own_ports, now: clock::now() };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::new(Code::STORE_INTERNAL, format!("no runtime: {e}")))?;
    let done = runtime.block_on(command(&mut app, cli.command));
    let flushed = app.out.flush();
    let done = done?;
    flushed?;
    Ok(done)
}

/// The program's own log, on the error stream. What jobs log goes to the store; what goes wrong with
/// a command is its error, so that it logs only when asked to.
fn log(settings: &settings::Settings, node: bool) {
    let asked = settings.all.iter().any(|(s, _, o)| s.key == "log.level" && *o != settings::Origin::Default);
    let level = match node || asked {
        true => settings.log_level.parse().unwrap_or(LevelFilter::WARN),
        false => LevelFilter::OFF,
    };
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    // An error says that the embedding program has a log of its own.
    let _ = match settings.log_json {
        true => log.json().try_init(),
        false => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
}

async fn command(app: &mut App, command: Command) -> Result<bool> {
    match command {
        Command::Up(args) => up::run(app, args).await?,
        Command::Import(ImportCommand::Crontab(args)) => return commands::import::run(app, args).await,
        Command::Schedule(c) => commands::schedule::run(app, c).await?,
        Command::Job(c) => return commands::job::run(app, c).await,
        Command::Queue(c) => commands::queue::run(app, c).await?,
        Command::Batch(c) => commands::batch::run(app, c).await?,
        Command::Node(c) => commands::node::run(app, c).await?,
        Command::Project(c) => commands::project::run(app, c).await?,
        Command::Secret(c) => commands::secret::run(app, c).await?,
        Command::Alert(c) => commands::alert::run(app, c).await?,
        Command::Channel(c) => commands::channel::run(app, c).await?,
        Command::Delivery(c) => commands::channel::run_delivery(app, c).await?,
        Command::Cron(c) => return commands::cron::run(app, c).await,
        Command::Stats(args) => commands::stats::run(app, args).await?,
        Command::Health => return commands::stats::health(app).await,
        Command::Events(args) => commands::events::run(app, args).await?,
        Command::Explain(args) => commands::stats::explain(app, args).await?,
        Command::Doctor(args) => return commands::doctor::run(app, args).await,
        Command::Backup(args) => commands::backup::backup(app, args).await?,
        Command::Restore(args) => commands::backup::restore(app, args).await?,
        Command::Config(c) => commands::config::run(app, c)?,
        Command::Check(args) => commands::check::run(app, args)?,
        Command::Bench(args) => return bench::run(app, args).await,
        // Answered before there are settings.
        Command::Completions(args) => return completions(&args),
        Command::Openapi => return openapi(),
    }
    Ok(true)
}
