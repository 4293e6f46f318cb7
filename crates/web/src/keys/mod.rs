//! API keys of a project: list, make, revoke. Who makes a key may give it no right they lack.

pub mod api;

use crate::access::{Caller, Right};
use crate::accounts::{self, Key, NewKey};
use crate::problem::{Problem, Result};
use crate::state::Web;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeSet;

/// A key as both faces show it: never its secret.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct KeyView {
    /// Its number.
    pub id: i64,
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub rights: BTreeSet<Right>,
    /// The queues it may claim from; all when empty.
    pub queues: Vec<String>,
    /// Who made it.
    pub made_by: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Until when; for ever if null.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to a minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub used_at: Option<Timestamp>,
}

impl From<Key> for KeyView {
    fn from(k: Key) -> KeyView {
        KeyView {
            id: k.id,
            name: k.name,
            rights: k.rights,
            queues: k.queues,
            made_by: k.made_by,
            created_at: k.created_at,
            expires_at: k.expires_at,
            used_at: k.used_at,
        }
    }
}

/// The keys that have not been revoked, by name.
pub async fn list(web: &Web, caller: &Caller) -> Result<Vec<KeyView>> {
    caller.may(Right::Manage)?;
    Ok(accounts::key_list(web, caller.project_id()).await?.into_iter().map(KeyView::from).collect())
}

/// Makes a key: its number, and its text, which is told this once.
pub async fn make(web: &Web, caller: &Caller, new: &NewKey) -> Result<(i64, String)> {
    caller.may(Right::Manage)?;
    // Nobody's role holds `work`, which is for programs alone: managers may give it.
    let own = |right: &&Right| **right == Right::Work || caller.has(**right);
    if let Some(right) = new.rights.iter().find(|right| !own(right)) {
        return Err(Problem::forbidden(format!(
            "a key with the right {} can only be made by somebody who has it",
            right.as_str()
        )));
    }
    accounts::make_key(web, caller.project_id(), &caller.client().signature(), new).await
}

/// Ends a key.
pub async fn revoke(web: &Web, caller: &Caller, id: i64) -> Result<()> {
    caller.may(Right::Manage)?;
    accounts::revoke_key(web, caller.project_id(), id, &caller.client().signature()).await
}
