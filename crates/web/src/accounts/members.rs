//! Who belongs to a project, and as what.

use super::Session;
use crate::access::{Right, Role};
use crate::problem::{Problem, Result};
use crate::state::Web;
use mainspring_core::ProjectId;
use mainspring_core::event::NewEvent;
use mainspring_core::tables::{At, Statement, TablesError, Write};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A member of a project.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Member {
    /// The person's number.
    pub member: i64,
    /// Their address.
    pub email: String,
    /// Their name.
    pub name: String,
    /// Their role.
    pub role: Role,
    /// Whether they may see payloads although their role does not say so.
    pub payloads: bool,
    /// Since when.
    pub since: At,
}

/// What somebody who is signed in may do in a project; None when they do not belong to it.
pub async fn rights(web: &Web, session: &Session, project: ProjectId) -> Result<Option<BTreeSet<Right>>> {
    if session.admin {
        return Ok(Some(Role::Owner.rights(true)));
    }
    let statement =
        Statement::new("SELECT role, payloads FROM web_members WHERE project = ?1 AND member = ?2");
    let found = web.tables().read(statement.bind(project).bind(session.member)).await?;
    Ok(found.optional::<(Role, bool)>()?.map(|(role, payloads)| role.rights(payloads)))
}

/// The members of a project.
pub async fn members(web: &Web, project: ProjectId) -> Result<Vec<Member>> {
    let statement = Statement::new(
        "SELECT m.member, u.email, u.name, m.role, m.payloads, m.since
         FROM web_members m JOIN web_users u ON u.id = m.member WHERE m.project = ?1 ORDER BY u.email",
    );
    Ok(web.tables().read(statement.bind(project)).await?.into_typed()?)
}

/// Adds a member or changes their role.
pub async fn set_member(
    web: &Web,
    project: ProjectId,
    member: i64,
    role: Role,
    payloads: bool,
) -> Result<()> {
    change_member(web, project, member, role, payloads, None).await
}

/// The same, and tells of it.
pub async fn change_member(
    web: &Web,
    project: ProjectId,
    member: i64,
    role: Role,
    payloads: bool,
    event: Option<NewEvent>,
) -> Result<()> {
    let statement = Statement::new(
        "INSERT INTO web_members (project, member, role, payloads, since) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (project, member) DO UPDATE SET role = excluded.role, payloads = excluded.payloads",
    );
    let statement = statement.bind(project).bind(member).bind(role.as_str()).bind(payloads).bind(web.now());
    let write = Write::new().then(statement);
    let write = event.into_iter().fold(write, |write, event| write.tell(web.now(), project, event));
    match web.tables().write(write).await {
        Ok(_) => Ok(()),
        Err(TablesError::Broken(_)) => Err(Problem::not_found("account", member)),
        Err(e) => Err(e.into()),
    }
}

/// Takes a member out of a project.
pub async fn remove_member(web: &Web, project: ProjectId, member: i64, event: NewEvent) -> Result<()> {
    let statement = Statement::new("DELETE FROM web_members WHERE project = ?1 AND member = ?2");
    let statement = statement.bind(project).bind(member).expect_rows(1);
    match web.tables().write(Write::new().then(statement).tell(web.now(), project, event)).await {
        Ok(_) => Ok(()),
        Err(TablesError::Unexpected { .. }) => Err(Problem::not_found("member", member)),
        Err(e) => Err(e.into()),
    }
}
