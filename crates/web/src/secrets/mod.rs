//! Secrets of a project: which there are, setting and deleting them. A value goes in and is never told
//! again; see [`mainspring::secrets`] for how it is kept and who gets it.

pub mod api;

use crate::access::{Caller, Right};
use crate::problem::{Problem, Result};
use crate::state::Web;
use http::StatusCode;
use jiff::Timestamp;
use mainspring::secrets::{Secret, SecretError, SecretRecord, Vault, check_name};
use mainspring_core::tables::{TablesError, Write};
use serde::Serialize;

/// A secret as both faces show it: never its value.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SecretView {
    /// Its name: `{"$secret": "NAME"}` in a payload.
    pub name: String,
    /// Rises with each new value, from 1.
    pub version: i64,
    /// Who set this value.
    pub set_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub set_at: Timestamp,
    /// When an attempt last used it, to a minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub used_at: Option<Timestamp>,
}

impl From<SecretRecord> for SecretView {
    fn from(s: SecretRecord) -> SecretView {
        SecretView {
            name: s.name,
            version: s.version,
            set_by: s.set_by,
            set_at: s.set_at,
            used_at: s.used_at,
        }
    }
}

impl From<SecretError> for Problem {
    fn from(e: SecretError) -> Problem {
        match e {
            SecretError::Tables(e) => e.into(),
            SecretError::Invalid { field, text } => Problem::invalid(field, text),
            SecretError::Unknown(name) => Problem::not_found("secret", name),
            // Nothing is wrong with the request, and trying again does not help: a person must look.
            other => Problem::new(StatusCode::CONFLICT, other.code(), other.to_string()),
        }
    }
}

/// The project's secrets by name. Who writes jobs must know the names.
pub async fn list(web: &Web, caller: &Caller) -> Result<Vec<SecretView>> {
    caller.may(Right::Change)?;
    let found = web.vault().list(caller.project_id()).await?;
    Ok(found.into_iter().map(SecretView::from).collect())
}

/// Keeps a value under a name; the one before is gone.
pub async fn set(web: &Web, caller: &Caller, name: &str, value: &str) -> Result<SecretView> {
    caller.may(Right::Manage)?;
    check_name(name)?;
    let (vault, project, value) = (web.vault(), caller.project_id(), Secret::new(value));
    let by = caller.client().actor();
    let statement = vault.put_statement(web.now(), project, name, &value, by).await?;
    let event = caller.act("secret.set", format!("secret/{name}"), serde_json::json!({}));
    web.tables().write(Write::new().then(statement).tell(web.now(), project, event)).await?;
    let found = list_all(vault, caller).await?.into_iter().find(|s| s.name == name);
    found.ok_or_else(|| Problem::not_found("secret", name))
}

async fn list_all(vault: &Vault, caller: &Caller) -> Result<Vec<SecretView>> {
    Ok(vault.list(caller.project_id()).await?.into_iter().map(SecretView::from).collect())
}

/// Takes a secret away: jobs that name it fail from now on.
pub async fn delete(web: &Web, caller: &Caller, name: &str) -> Result<()> {
    caller.may(Right::Manage)?;
    // A name that cannot be one belongs to nothing, or to the engine.
    check_name(name).map_err(|_| Problem::not_found("secret", name))?;
    // The table is there from the first look on.
    let project = caller.project_id();
    web.vault().list(project).await?;
    let event = caller.act("secret.deleted", format!("secret/{name}"), serde_json::json!({}));
    let write = Write::new().then(Vault::delete_statement(project, name)).tell(web.now(), project, event);
    match web.tables().write(write).await {
        Ok(_) => Ok(()),
        Err(TablesError::Unexpected { .. }) => Err(Problem::not_found("secret", name)),
        Err(e) => Err(e.into()),
    }
}
