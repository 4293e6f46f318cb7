//! `mainspring secret`: set, list, delete, and the key that seals them all.
//!
//! A value comes from the standard input, never from the command line, which others on the machine
//! can read and shells remember.

use crate::app::{App, Make};
use crate::error::{CliError, Result, nearest};
use crate::out::plural;
use crate::out::table::Table;
use clap::Subcommand;
use mainspring::Client;
use mainspring::secrets::{Secret, SecretError, Vault, check_name};
use mainspring_core::code::Code;
use mainspring_core::limits;
use std::io::{IsTerminal, Read};

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Keep a value, read from the standard input, under a name
    #[command(
        after_help = "Examples:\n  mainspring secret set github_token < token.txt\n  pass show github | \
                            mainspring secret set github_token\n\nA job names it anywhere in its payload: {\"$secret\": \
                            \"github_token\"}, with text around it {\"$secret\": \"github_token\", \"before\": \
                            \"Bearer \"}. A line break at the end is not part of the value."
    )]
    Set {
        /// Its name
        name: String,
    },
    /// Names, versions and last use; never values
    List,
    /// Take a secret away: jobs that name it fail from now on
    Delete {
        /// Its name
        name: String,
    },
    /// Begin a new key and seal everything anew
    #[command(
        after_help = "In a key file the new key is written before the older ones, which stay for backups made \
                            before. From the environment or a command: put a new key before the old one yourself, \
                            start the nodes again, then call this."
    )]
    RotateKey,
}

/// Runs it.
pub async fn run(app: &mut App, command: SecretCommand) -> Result<()> {
    let client = app.client(Make::No).await?;
    let vault = client.vault();
    match command {
        SecretCommand::Set { name } => set(app, &client, &vault, &name).await,
        SecretCommand::List => list(app, &client, &vault).await,
        SecretCommand::Delete { name } => delete(app, &client, &vault, &name).await,
        SecretCommand::RotateKey => rotate(app, &vault).await,
    }
}

/// The value: all of the standard input but the line break at its end.
fn value() -> Result<Secret> {
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprintln!("Type the value, then Enter and Ctrl-D. It is shown as you type.");
    }
    let mut text = String::new();
    let read = stdin.by_ref().take(limits::SECRET as u64 + 3).read_to_string(&mut text);
    read.map_err(|e| CliError::new(Code::USAGE, format!("the value cannot be read: {e}")))?;
    let value = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
    if value.is_empty() {
        let error = CliError::new(Code::USAGE, "no value came on the standard input");
        return Err(error.hint("mainspring secret set NAME < FILE"));
    }
    Ok(Secret::new(value))
}

async fn set(app: &mut App, client: &Client, vault: &Vault, name: &str) -> Result<()> {
    check_name(name)?;
    let value = value()?;
    let made = vault.begin().await?;
    let version = vault.put(client.now(), client.project(), name, &value, client.actor()).await?;
    if app.out.json {
        return app.out.json(&serde_json::json!({ "name": name, "version": version }));
    }
    if let Some(path) = made {
        app.out.line(format!("Made the key {}: keep a copy of it apart from backups.", path.display()))?;
    }
    app.out.line(format!("secret {name}: version {version}"))
}

async fn list(app: &mut App, client: &Client, vault: &Vault) -> Result<()> {
    let secrets = vault.list(client.project()).await?;
    if app.out.json {
        return app.out.json(&secrets);
    }
    if secrets.is_empty() {
        return app.out.line("No secrets yet: mainspring secret set NAME < FILE keeps one.");
    }
    let mut table = Table::new(&["secret", ">version", "set", "by", "last used"]);
    for s in &secrets {
        let used = s.used_at.map_or_else(|| "never".to_owned(), |at| app.ago(at));
        let version = s.version.to_string();
        table.row(vec![
            s.name.as_str().into(),
            version.into(),
            app.ago(s.set_at).into(),
            s.set_by.as_str().into(),
            used.into(),
        ]);
    }
    app.out.table(&table)
}

async fn delete(app: &mut App, client: &Client, vault: &Vault, name: &str) -> Result<()> {
    match vault.delete(client.project(), name).await {
        Ok(()) => {}
        Err(SecretError::Unknown(_)) => {
            let known = vault.list(client.project()).await?;
            let error = CliError::new(Code::SECRET_UNKNOWN, format!("no secret {name}"));
            return Err(match nearest(name, known.iter().map(|s| s.name.as_str())) {
                Some(near) => error.hint(format!("{near}, if that was meant")),
                None => error.hint("mainspring secret list"),
            });
        }
        Err(e) => return Err(e.into()),
    }
    match app.out.json {
        true => app.out.json(&serde_json::json!({ "name": name, "deleted": true })),
        false => app.out.line(format!("secret {name}: deleted")),
    }
}

async fn rotate(app: &mut App, vault: &Vault) -> Result<()> {
    vault.begin().await?;
    let ring = vault.keys().turn().await?;
    let sealed = vault.reseal().await?;
    if app.out.json {
        return app
            .out
            .json(&serde_json::json!({ "key": ring.id(), "place": vault.keys().place(), "sealed": sealed }));
    }
    app.out.line(format!(
        "{} sealed anew with the key {} of {}.",
        plural(sealed as u64, "secret"),
        ring.id(),
        vault.keys().place()
    ))?;
    if ring.ids().len() > 1 {
        app.out.line("The older key stays behind it: backups made before need it. Nodes elsewhere need the new one, too.")?;
    }
    Ok(())
}
