//! Members of a project: who belongs to it, as what. Owners are made and unmade by owners alone, and
//! the last one stays.

pub mod api;

use crate::access::{Caller, Right, Role, Via};
use crate::accounts::{self, Member};
use crate::problem::{Problem, Result};
use crate::state::Web;
use http::StatusCode;
use jiff::Timestamp;
use mainspring_core::code::Code;
use serde::Serialize;

/// A member as both faces show it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct MemberView {
    /// The person's number.
    pub id: i64,
    /// Their address.
    pub email: String,
    /// Their name.
    pub name: String,
    /// Their role.
    pub role: Role,
    /// Whether they may see payloads although their role does not say so.
    pub payloads: bool,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

impl From<Member> for MemberView {
    fn from(m: Member) -> MemberView {
        MemberView {
            id: m.member,
            email: m.email,
            name: m.name,
            role: m.role,
            payloads: m.payloads,
            since: m.since.0,
        }
    }
}

/// The members, by address.
pub async fn list(web: &Web, caller: &Caller) -> Result<Vec<MemberView>> {
    Ok(accounts::members(web, caller.project_id()).await?.into_iter().map(MemberView::from).collect())
}

/// The caller's role in their project.
pub async fn role_of(web: &Web, caller: &Caller) -> Result<Role> {
    Ok(role_among(caller, &list(web, caller).await?))
}

/// The caller's role: keys that manage act as admins.
fn role_among(caller: &Caller, members: &[MemberView]) -> Role {
    match &caller.via {
        Via::Session(session) if session.admin => Role::Owner,
        Via::Session(session) => {
            members.iter().find(|m| m.id == session.member).map_or(Role::Viewer, |m| m.role)
        }
        Via::Key(..) => Role::Admin,
    }
}

/// Refuses what would touch owners without being one, or leave none.
fn check(caller: &Caller, members: &[MemberView], id: i64, to: Option<Role>) -> Result<()> {
    let was = members.iter().find(|m| m.id == id).map(|m| m.role);
    let touches_owner = was == Some(Role::Owner) || to == Some(Role::Owner);
    if touches_owner && role_among(caller, members) < Role::Owner {
        return Err(Problem::forbidden("owners are made and unmade by owners alone"));
    }
    let owners = members.iter().filter(|m| m.role == Role::Owner).count();
    if was == Some(Role::Owner) && to != Some(Role::Owner) && owners == 1 {
        let text = "this is the last owner; make somebody else an owner first";
        return Err(Problem::new(StatusCode::CONFLICT, Code::CONFLICT, text));
    }
    Ok(())
}

/// Changes what a member is. People who do not belong to the project come in by an admin of the
/// installation only.
pub async fn set(web: &Web, caller: &Caller, id: i64, role: Role, payloads: bool) -> Result<MemberView> {
    caller.may(Right::Manage)?;
    let members = list(web, caller).await?;
    let admin = matches!(&caller.via, Via::Session(session) if session.admin);
    if !admin && !members.iter().any(|m| m.id == id) {
        return Err(Problem::not_found("member", id));
    }
    check(caller, &members, id, Some(role))?;
    let whom = members.iter().find(|m| m.id == id).map_or_else(|| id.to_string(), |m| m.email.clone());
    let data = serde_json::json!({ "role": role, "payloads": payloads });
    let event = caller.act("member.changed", format!("member/{whom}"), data);
    accounts::change_member(web, caller.project_id(), id, role, payloads, Some(event)).await?;
    let now = list(web, caller).await?;
    now.into_iter().find(|m| m.id == id).ok_or_else(|| Problem::not_found("member", id))
}

/// Takes a member out of the project.
pub async fn remove(web: &Web, caller: &Caller, id: i64) -> Result<()> {
    caller.may(Right::Manage)?;
    let members = list(web, caller).await?;
    check(caller, &members, id, None)?;
    take_out(web, caller, &members, id, "member.removed").await
}

async fn take_out(web: &Web, caller: &Caller, members: &[MemberView], id: i64, name: &str) -> Result<()> {
    let whom = members.iter().find(|m| m.id == id).ok_or_else(|| Problem::not_found("member", id))?;
    let event = caller.act(name, format!("member/{}", whom.email), serde_json::json!({ "role": whom.role }));
    accounts::remove_member(web, caller.project_id(), id, event).await
}

/// Takes the caller out of the project, who needs no right for that; the last owner stays.
pub async fn remove_self(web: &Web, caller: &Caller, id: i64) -> Result<()> {
    let members = list(web, caller).await?;
    let owners: Vec<i64> = members.iter().filter(|m| m.role == Role::Owner).map(|m| m.id).collect();
    if owners == [id] {
        let text = "you are the last owner; make somebody else an owner first, or archive the project";
        return Err(Problem::new(StatusCode::CONFLICT, Code::CONFLICT, text));
    }
    take_out(web, caller, &members, id, "member.left").await
}
