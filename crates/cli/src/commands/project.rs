//! `mainspring project`: list, make, name, archive.
//!
//! Works on the store beside the server, with the same functions: whoever can open the store needs no
//! account.

use crate::app::{App, Make};
use crate::error::{CliError, Result};
use crate::out::table::Table;
use clap::Subcommand;
use mainspring::Client;
use mainspring_core::code::Code;
use mainspring_web::{Config, Web, projects};

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum ProjectCommand {
    /// All projects
    List,
    /// Make a project
    Create {
        /// Its name, which stands in addresses and configurations and stays
        name: String,
        /// What people call it
        #[arg(long)]
        title: Option<String>,
    },
    /// Give a project another title
    Rename {
        /// Its name
        name: String,
        /// What people call it from now on; empty: by its name
        title: String,
    },
    /// Pause everything of a project and let nothing be changed; everything stays
    Archive {
        /// Its name
        name: String,
    },
    /// Take a project out of the archive
    Restore {
        /// Its name
        name: String,
    },
}

/// Runs it.
pub async fn run(app: &mut App, command: ProjectCommand) -> Result<()> {
    let client = app.client(Make::No).await?;
    let web = Web::open(client.clone(), Config::default()).await?;
    match command {
        ProjectCommand::List => list(app, &web, &client).await,
        ProjectCommand::Create { name, title } => {
            projects::make(&web, &client, &name, title.as_deref()).await.map_err(refused)?;
            tell(app, &name, "made", &format!("--project {name} means it in every command"))
        }
        ProjectCommand::Rename { name, title } => {
            let own = of(&client, &name).await?;
            projects::rename(&web, &own, &name, Some(&title)).await.map_err(refused)?;
            tell(app, &name, "renamed", "its name in addresses stays")
        }
        ProjectCommand::Archive { name } => {
            let own = of(&client, &name).await?;
            projects::archive(&web, &own, &name).await.map_err(refused)?;
            tell(app, &name, "archived", "its queues and schedules are paused")
        }
        ProjectCommand::Restore { name } => {
            let own = of(&client, &name).await?;
            projects::restore(&web, &own, &name).await.map_err(refused)?;
            tell(app, &name, "restored", "what archiving paused goes on")
        }
    }
}

fn refused(problem: mainspring_web::Problem) -> CliError {
    let error = CliError::new(problem.code, problem.detail);
    match problem.field {
        Some(field) => error.at(field),
        None => error,
    }
}

async fn of(client: &Client, name: &str) -> Result<Client> {
    let known = client.store().projects().await?;
    match known.iter().find(|(_, n)| n == name) {
        Some((id, _)) => Ok(client.clone().in_project(*id)),
        None => {
            let error = CliError::new(Code::NOT_FOUND, format!("no project {name}"));
            Err(match crate::error::nearest(name, known.iter().map(|(_, n)| n.as_str())) {
                Some(near) => error.hint(format!("{near}, if that was meant")),
                None => error.hint("mainspring project list"),
            })
        }
    }
}

fn tell(app: &mut App, name: &str, word: &str, more: &str) -> Result<()> {
    match app.out.json {
        true => app.out.json(&serde_json::json!({ "name": name, "done": word })),
        false => app.out.line(format!("project {name}: {word}; {more}")),
    }
}

async fn list(app: &mut App, web: &Web, client: &Client) -> Result<()> {
    let mut rows = Vec::new();
    for (id, name) in client.store().projects().await? {
        rows.push((name, projects::kept(web, id).await.map_err(refused)?));
    }
    if app.out.json {
        let row = |(name, kept): &(String, projects::Kept)| serde_json::json!({ "name": name, "title": kept.title, "archived_at": kept.archived_at.map(|at| at.0) });
        return app.out.json(&rows.iter().map(row).collect::<Vec<_>>());
    }
    let mut table = Table::new(&["project", "title", "archived"]);
    for (name, kept) in &rows {
        let title = kept.title.clone().unwrap_or_default();
        let archived = kept.archived_at.map(|at| app.ago(at.0)).unwrap_or_default();
        table.row(vec![name.as_str().into(), title.into(), archived.into()]);
    }
    app.out.table(&table)
}
