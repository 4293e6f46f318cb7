//! What people do beside projects (signing in and out, passwords, settings) and where it is told: in
//! each project they belong to, so that its audit log shows it; of those who belong to none, and of
//! strangers, in the first project, which is the installation's.

use crate::problem::Result;
use crate::state::Web;
use mainspring_core::ProjectId;
use mainspring_core::event::{NewEvent, signed};
use mainspring_core::limits;
use mainspring_core::tables::{Statement, Write};

/// Projects in which one act is told at most.
const MOST: u32 = 50;

/// Adds the act to a write. `person` is their number, if they are known.
pub async fn tell(
    web: &Web,
    write: Write,
    name: &str,
    (person, email, from): (Option<i64>, &str, &str),
) -> Result<Write> {
    let mut projects: Vec<ProjectId> = Vec::new();
    if let Some(person) = person {
        let statement = Statement::built(format!(
            "SELECT project FROM web_members WHERE member = ?1 ORDER BY project LIMIT {MOST}"
        ));
        let found: Vec<i64> = web.tables().read(statement.bind(person)).await?.into_typed()?;
        projects.extend(found.into_iter().map(ProjectId));
    }
    if projects.is_empty() {
        projects.push(ProjectId::DEFAULT);
    }
    let email = limits::cut(email, limits::NAME);
    let event =
        NewEvent::new(name, format!("person/{email}"), serde_json::json!({})).by(&signed(&email, from));
    Ok(projects.into_iter().fold(write, |write, project| write.tell(web.now(), project, event.clone())))
}
