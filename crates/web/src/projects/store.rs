//! What the server keeps of projects beside the engine: a title for people, and whether one is
//! archived. A project's name is its address in links, keys and configuration and stays for ever; what
//! people read may change.

use crate::problem::Result;
use crate::state::Web;
use mainspring_core::ProjectId;
use mainspring_core::tables::{At, Statement};
use std::collections::HashMap;

/// What is kept of a project.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// What people call it, if not by its name.
    pub title: Option<String>,
    /// Since when it is archived.
    pub archived_at: Option<At>,
}

/// What is kept of all projects about which anything is.
pub async fn all(web: &Web) -> Result<HashMap<ProjectId, Kept>> {
    let statement = Statement::new("SELECT project, title, archived_at FROM web_projects LIMIT 10000");
    let rows: Vec<(ProjectId, Option<String>, Option<At>)> =
        web.tables().read(statement).await?.into_typed()?;
    Ok(rows.into_iter().map(|(id, title, archived_at)| (id, Kept { title, archived_at })).collect())
}

/// What is kept of one.
pub async fn kept(web: &Web, project: ProjectId) -> Result<Kept> {
    let statement = Statement::new("SELECT title, archived_at FROM web_projects WHERE project = ?1");
    let row = web.tables().read(statement.bind(project)).await?;
    let row: Option<(Option<String>, Option<At>)> = row.optional()?;
    Ok(row.map(|(title, archived_at)| Kept { title, archived_at }).unwrap_or_default())
}

/// The statement that sets a title.
pub fn set_title(project: ProjectId, title: Option<&str>) -> Statement {
    let statement = Statement::new(
        "INSERT INTO web_projects (project, title) VALUES (?1, ?2)
         ON CONFLICT (project) DO UPDATE SET title = excluded.title",
    );
    statement.bind(project).bind(title)
}

/// The statement that archives a project, or takes it out again.
pub fn set_archived(project: ProjectId, at: Option<jiff::Timestamp>) -> Statement {
    let statement = Statement::new(
        "INSERT INTO web_projects (project, archived_at) VALUES (?1, ?2)
         ON CONFLICT (project) DO UPDATE SET archived_at = excluded.archived_at",
    );
    statement.bind(project).bind(at)
}
