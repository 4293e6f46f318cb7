//! Invitations into a project: a link with a role, made by who manages, used once by who opens it.

pub mod api;
pub mod pages;

use crate::access::{Caller, Right, Role};
use crate::accounts::{self, Invitation, NewInvitation};
use crate::members;
use crate::problem::{Problem, Result};
use crate::state::Web;
use jiff::Timestamp;
use mainspring_core::{duration, time};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long an invitation works when nobody says.
const LENGTH: Duration = Duration::from_secs(7 * 86_400);
/// How long one may work at most.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// An invitation as both faces show it: never its link, which is told once.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct InvitationView {
    /// Its number.
    pub id: i64,
    /// Whom it is for; anybody when null.
    pub email: Option<String>,
    /// What they will be.
    pub role: Role,
    /// Whether they may see payloads although their role does not say so.
    pub payloads: bool,
    /// Who invited.
    pub made_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Until when it works.
    #[schema(value_type = String, format = DateTime)]
    pub ends_at: Timestamp,
}

impl From<Invitation> for InvitationView {
    fn from(i: Invitation) -> InvitationView {
        InvitationView {
            id: i.id,
            email: i.email,
            role: i.role,
            payloads: i.payloads,
            made_by: i.made_by,
            created_at: i.created_at.0,
            ends_at: i.ends_at.0,
        }
    }
}

/// What an invitation is to be.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvitationBody {
    /// Whom it is for: then nobody else can use it. Anybody who has the link when absent.
    #[serde(default)]
    pub email: Option<String>,
    /// What they will be.
    pub role: Role,
    /// Whether they may see payloads although their role does not say so.
    #[serde(default)]
    pub payloads: bool,
    /// How long it works: `12h`, `7d`. A week when absent, a month at most.
    #[serde(default)]
    pub length: Option<String>,
}

/// The open invitations, the newest first.
pub async fn list(web: &Web, caller: &Caller) -> Result<Vec<InvitationView>> {
    caller.may(Right::Manage)?;
    let found = accounts::invitations(web, caller.project_id()).await?;
    Ok(found.into_iter().map(InvitationView::from).collect())
}

/// Makes an invitation: its number and its link, which is told this once.
pub async fn make(web: &Web, caller: &Caller, body: &InvitationBody) -> Result<(i64, String)> {
    caller.may(Right::Manage)?;
    if body.role == Role::Owner && members::role_of(web, caller).await? < Role::Owner {
        return Err(Problem::forbidden("owners are made and unmade by owners alone"));
    }
    let length = match body.length.as_deref().map(str::trim).filter(|t| !t.is_empty()) {
        None => LENGTH,
        Some(text) => duration::parse(text).map_err(|e| Problem::invalid("length", e))?,
    };
    if length.is_zero() || length > LONGEST {
        return Err(Problem::invalid("length", "an invitation works for at most 30d, for example 7d"));
    }
    let email = body.email.as_deref().map(str::trim).filter(|t| !t.is_empty());
    let new = NewInvitation {
        project: caller.project_id(),
        email,
        role: body.role,
        payloads: body.payloads,
        by: caller.client().actor(),
        ends_at: time::plus(web.now(), length),
    };
    let data = serde_json::json!({ "role": body.role, "payloads": body.payloads });
    let whom = format!("invitation/{}", email.unwrap_or("whoever has the link"));
    let event = caller.act("invitation.made", whom, data);
    let (id, token) = accounts::invite(web, &new, event).await?;
    Ok((id, format!("{}/invite/{}", web.address(), token.reveal())))
}

/// Takes an invitation back.
pub async fn withdraw(web: &Web, caller: &Caller, id: i64) -> Result<()> {
    caller.may(Right::Manage)?;
    let event = caller.act("invitation.withdrawn", format!("invitation/{id}"), serde_json::json!({}));
    accounts::withdraw(web, caller.project_id(), id, event).await
}
