//! Invitations: a link that lets one person into a project, as what it says. It works once, ends by
//! itself, and is kept as a hash.

use super::{Session, sessions, users};
use crate::access::{Role, Secret, hash};
use crate::problem::{Problem, Result};
use crate::state::Web;
use http::StatusCode;
use jiff::Timestamp;
use mainspring_core::ProjectId;
use mainspring_core::code::Code;
use mainspring_core::event::{NewEvent, signed};
use mainspring_core::tables::{At, Statement, TablesError, Write};
use serde::Deserialize;

/// Invitations of one project that may be open at a time.
const MOST: i64 = 200;

/// An invitation, without its token.
#[derive(Clone, Debug, Deserialize)]
pub struct Invitation {
    /// Its number.
    pub id: i64,
    /// The project it leads to.
    pub project: ProjectId,
    /// Whom it is for; anybody when absent.
    pub email: Option<String>,
    /// What they will be.
    pub role: Role,
    /// Whether they may see payloads although their role does not say so.
    pub payloads: bool,
    /// Who invited.
    pub made_by: String,
    /// When.
    pub created_at: At,
    /// Until when it works.
    pub ends_at: At,
}

const COLUMNS: &str = "id, project, email, role, payloads, made_by, created_at, ends_at FROM web_invitations";

/// What an invitation is to be.
pub struct NewInvitation<'a> {
    /// The project it leads to.
    pub project: ProjectId,
    /// Whom it is for; anybody when absent.
    pub email: Option<&'a str>,
    /// What they will be.
    pub role: Role,
    /// Whether they may see payloads.
    pub payloads: bool,
    /// Who invites.
    pub by: &'a str,
    /// Until when it works.
    pub ends_at: Timestamp,
}

/// Makes one: its number, and its token, which is told this once.
pub async fn invite(web: &Web, new: &NewInvitation<'_>, event: NewEvent) -> Result<(i64, Secret)> {
    let (now, token) = (web.now(), Secret::random()?);
    let open = Statement::new("SELECT count(*) FROM web_invitations WHERE project = ?1 AND ends_at > ?2");
    let open: i64 = web.tables().read(open.bind(new.project).bind(now)).await?.one()?;
    if open >= MOST {
        let text = format!("{open} invitations are open, which is the most; withdraw one first");
        return Err(Problem::new(StatusCode::CONFLICT, Code::CONFLICT, text));
    }
    let insert = Statement::new(
        "INSERT INTO web_invitations (token, project, email, role, payloads, made_by, created_at, ends_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING id",
    );
    let insert = insert
        .bind(hash(token.reveal()))
        .bind(new.project)
        .bind(new.email.map(users::read_email).transpose()?)
        .bind(new.role.as_str())
        .bind(new.payloads)
        .bind(new.by)
        .bind(now)
        .bind(new.ends_at);
    let old = Statement::new("DELETE FROM web_invitations WHERE ends_at < ?1").bind(now);
    let write = Write::new().then(insert).then(old).tell(now, new.project, event);
    let mut written = web.tables().write(write).await?;
    Ok((written.rows.swap_remove(0).one()?, token))
}

/// The open invitations of a project, the newest first.
pub async fn invitations(web: &Web, project: ProjectId) -> Result<Vec<Invitation>> {
    let statement =
        Statement::built(format!("SELECT {COLUMNS} WHERE project = ?1 AND ends_at > ?2 ORDER BY id DESC"));
    Ok(web.tables().read(statement.bind(project).bind(web.now())).await?.into_typed()?)
}

/// Takes an invitation back.
pub async fn withdraw(web: &Web, project: ProjectId, id: i64, event: NewEvent) -> Result<()> {
    let statement = Statement::new("DELETE FROM web_invitations WHERE id = ?1 AND project = ?2");
    let statement = statement.bind(id).bind(project).expect_rows(1);
    match web.tables().write(Write::new().then(statement).tell(web.now(), project, event)).await {
        Ok(_) => Ok(()),
        Err(TablesError::Unexpected { .. }) => Err(Problem::not_found("invitation", id)),
        Err(e) => Err(e.into()),
    }
}

fn used() -> Problem {
    Problem::forbidden("this invitation has been used, withdrawn, or has ended; ask for another")
}

/// The invitation of a token, if it still works.
pub async fn invitation(web: &Web, token: &str) -> Result<Invitation> {
    let statement = Statement::built(format!("SELECT {COLUMNS} WHERE token = ?1 AND ends_at > ?2"));
    let found = web.tables().read(statement.bind(hash(token)).bind(web.now())).await?.optional()?;
    found.ok_or_else(used)
}

/// Uses a token up: nothing is written when somebody else was quicker.
fn use_up(write: Write, token: &str) -> Write {
    let statement = Statement::new("DELETE FROM web_invitations WHERE token = ?1");
    write.then(statement.bind(hash(token)).expect_rows(1))
}

fn joined(invitation: &Invitation, email: &str, from: &str) -> NewEvent {
    let data = serde_json::json!({ "role": invitation.role.as_str(), "invited_by": invitation.made_by });
    NewEvent::new("member.joined", format!("member/{email}"), data).by(&signed(email, from))
}

fn late(e: TablesError) -> Problem {
    match e {
        TablesError::Unexpected { .. } => used(),
        other => other.into(),
    }
}

fn is_for(invitation: &Invitation, email: &str) -> Result<()> {
    match &invitation.email {
        Some(meant) if meant != email => {
            Err(Problem::invalid("email", format!("this invitation is for {meant}")))
        }
        _ => Ok(()),
    }
}

/// Lets somebody who is signed in into the project.
pub async fn join(web: &Web, token: &str, session: &Session, from: &str) -> Result<ProjectId> {
    let invitation = invitation(web, token).await?;
    is_for(&invitation, &session.email)?;
    let insert = Statement::new(
        "INSERT INTO web_members (project, member, role, payloads, since) VALUES (?1, ?2, ?3, ?4, ?5)",
    );
    let insert = insert
        .bind(invitation.project)
        .bind(session.member)
        .bind(invitation.role.as_str())
        .bind(invitation.payloads)
        .bind(web.now());
    let write = use_up(Write::new(), token).then(insert);
    let write = write.tell(web.now(), invitation.project, joined(&invitation, &session.email, from));
    match web.tables().write(write).await {
        Ok(_) => Ok(invitation.project),
        Err(e) if e.is_taken("web_members", &["project", "member"]) => {
            let text = "you belong to this project already; the invitation is left for somebody else";
            Err(Problem::new(StatusCode::CONFLICT, Code::CONFLICT, text))
        }
        Err(e) => Err(late(e)),
    }
}

/// Makes an account for who was invited and begins its session.
pub async fn join_as_new(
    web: &Web,
    token: &str,
    email: &str,
    name: &str,
    password: &str,
    (from, agent): (&str, &str),
) -> Result<(ProjectId, Secret)> {
    let invitation = invitation(web, token).await?;
    let email = users::read_email(email)?;
    is_for(&invitation, &email)?;
    let person = users::insert(web, &email, name, password, false).await?;
    let insert = Statement::new(
        "INSERT INTO web_members (project, member, role, payloads, since)
         SELECT CAST(?1 AS INTEGER), id, CAST(?2 AS TEXT), CAST(?3 AS INTEGER), CAST(?4 AS INTEGER)
         FROM web_users WHERE email = ?5",
    );
    let insert = insert
        .bind(invitation.project)
        .bind(invitation.role.as_str())
        .bind(invitation.payloads)
        .bind(web.now())
        .bind(email.as_str())
        .expect_rows(1);
    let event = joined(&invitation, &email, from);
    let rest = |write: Write| use_up(write.then(insert), token).tell(web.now(), invitation.project, event);
    let session = sessions::begin_as_new(web, person, rest, agent).await.map_err(|problem| {
        // The only number of rows that can be another is that of the invitation.
        if problem.status == StatusCode::CONFLICT.as_u16() { used() } else { problem }
    })?;
    Ok((invitation.project, session))
}
