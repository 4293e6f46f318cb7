//! What every command has at hand: settings, output, registry, the time, and the way to the store.

use crate::error::{CliError, Result, nearest};
use crate::out::Out;
use crate::out::when;
use crate::settings::Settings;
use crate::{clock, store};
use jiff::Timestamp;
use mainspring::{Client, Registry};
use mainspring_core::code::Code;
use mainspring_core::store::Store;
use mainspring_outbound::OwnPorts;
use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;

/// One run of the program.
pub struct App {
    /// The settings in force.
    pub settings: Settings,
    /// Where output goes.
    pub out: Out,
    /// The kinds this program knows.
    pub registry: Arc<Registry>,
    /// Ports that jobs must not reach, because this process listens on them.
    pub own_ports: OwnPorts,
    /// When the command began.
    pub now: Timestamp,
}

/// Whether a store or project that is not there is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// It is made.
    Yes,
    /// It is an error.
    No,
}

impl App {
    /// A client of the project in the settings, beside whatever node runs; signs as `cli`.
    pub async fn client(&self, make: Make) -> Result<Client> {
        let store = store::open(&self.settings, store::Purpose::Beside, make).await?;
        self.client_of(store, make).await
    }

    /// A client over an opened store.
    pub async fn client_of(&self, store: Arc<dyn Store>, make: Make) -> Result<Client> {
        let name = &self.settings.project;
        let client = Client::new(store).with_registry(self.registry.clone()).acting_as(&actor());
        let known = client.store().projects().await?;
        match known.iter().find(|(_, n)| n == name) {
            Some((id, _)) => Ok(client.in_project(*id)),
            None if make == Make::Yes => Ok(client.in_project_named(name).await?),
            None => {
                let error = CliError::new(Code::NOT_FOUND, format!("no project {name}"));
                Err(match nearest(name, known.iter().map(|(_, n)| n.as_str())) {
                    Some(near) => error.hint(format!("--project {near}")),
                    None => error,
                })
            }
        }
    }

    /// An instant with its zone and distance.
    pub fn both(&self, at: Timestamp) -> String {
        when::both(at, self.now, self.settings.tz.tz())
    }

    /// An instant with its zone.
    pub fn full(&self, at: Timestamp) -> String {
        when::full(at, self.settings.tz.tz())
    }

    /// How far away an instant is.
    pub fn ago(&self, at: Timestamp) -> String {
        when::relative(at, self.now)
    }

    /// Asks whether to go on; `yes` answers for whoever cannot be asked.
    pub fn confirm(&mut self, question: &str, yes: bool) -> Result<()> {
        if yes {
            return Ok(());
        }
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Err(CliError::new(
                Code::USAGE,
                format!("{question} Nobody can be asked here, nothing was done"),
            )
            .hint("the same command with --yes"));
        }
        self.out.flush()?;
        let mut stderr = std::io::stderr();
        write!(stderr, "{question} Go on? [y/N] ")?;
        stderr.flush()?;
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer)?;
        match answer.trim().to_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(CliError::new(Code::USAGE, "nothing was done")),
        }
    }
}

/// Who acts: `cli`, with the user's name where it is known.
fn actor() -> String {
    match std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")) {
        Ok(user) if mainspring_core::job::check_name(&user).is_ok() => format!("cli/{user}"),
        _ => "cli".into(),
    }
}

/// A line that shows how far long work is: rewritten in place on a terminal, silent elsewhere.
pub struct Progress {
    shown: bool,
    next: u64,
}

impl Progress {
    /// Progress on the error stream.
    pub fn new() -> Progress {
        Progress { shown: std::io::stderr().is_terminal(), next: 0 }
    }

    /// Tells how far it is; at most once in a thousand.
    pub fn tell(&mut self, done: u64, text: &str) {
        if self.shown && done >= self.next {
            self.next = done + 1_000;
            // A terminal that went away is no reason to stop the work.
            let _ = write!(std::io::stderr(), "\r\u{1b}[K{text}");
            let _ = std::io::stderr().flush();
        }
    }

    /// Takes the line away.
    pub fn end(&mut self) {
        if self.shown && self.next > 0 {
            let _ = write!(std::io::stderr(), "\r\u{1b}[K");
            let _ = std::io::stderr().flush();
        }
    }
}

/// Waits a little between two looks while following.
pub async fn look_again() {
    clock::pause(std::time::Duration::from_millis(300)).await;
}
