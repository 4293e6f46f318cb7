//! Projects: those that the caller may see.

pub mod api;

use crate::access::{Anyone, Right};
use crate::accounts;
use crate::problem::Result;
use crate::state::Web;
use serde::Serialize;
use std::collections::BTreeSet;

/// A project as both faces show it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ProjectView {
    /// Its name, as in addresses.
    pub name: String,
    /// What the caller may do in it.
    pub rights: BTreeSet<Right>,
}

/// The projects that somebody belongs to, by number.
pub async fn list(web: &Web, who: &Anyone) -> Result<Vec<ProjectView>> {
    let mut seen = Vec::new();
    for (id, name) in web.client().store().projects().await? {
        let rights = match who {
            Anyone::Key(key) => (key.project == id).then(|| key.rights.clone()),
            Anyone::Person(session) => accounts::rights(web, session, id).await?,
        };
        seen.extend(rights.map(|rights| ProjectView { name, rights }));
    }
    Ok(seen)
}
