//! API keys: `msk_<number>_<secret>_<check>`. The secret is 256 random bits, kept as a hash and shown
//! once; the check sum lets a scanner recognise a real key, and us refuse a mistyped one cheaply.

use crate::access::{Hash, Right, Secret, hash, same};
use crate::problem::{Problem, Result};
use crate::state::Web;
use jiff::Timestamp;
use mainspring_core::event::NewEvent;
use mainspring_core::tables::{At, Statement, TablesError, Write};
use mainspring_core::{ProjectId, limits, time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// Use is written down this often.
const USED_EVERY: Duration = Duration::from_secs(60);
/// What every key begins with.
const PREFIX: &str = "msk";

/// A key, without its secret.
#[derive(Clone, Debug, Serialize)]
pub struct Key {
    /// Its number.
    pub id: i64,
    /// The project it is bound to.
    #[serde(skip)]
    pub project: ProjectId,
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub rights: BTreeSet<Right>,
    /// The queues it may claim from; all when empty.
    pub queues: Vec<String>,
    /// Who made it.
    pub made_by: String,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to a minute.
    pub used_at: Option<Timestamp>,
}

/// What a key is to be.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What it is called; each name once per project.
    pub name: String,
    /// What it may do.
    pub rights: BTreeSet<Right>,
    /// The queues it may claim from; all when empty.
    #[serde(default)]
    pub queues: Vec<String>,
    /// Until when; for ever if absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Row {
    id: i64,
    project: i64,
    name: String,
    secret: Hash,
    rights: String,
    queues: String,
    made_by: String,
    created_at: At,
    expires_at: Option<At>,
    used_at: Option<At>,
}

impl Row {
    fn key(self) -> Key {
        let list =
            |text: &str| text.split(' ').filter(|s| !s.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        Key {
            id: self.id,
            project: ProjectId(self.project),
            name: self.name,
            rights: list(&self.rights).iter().filter_map(|name| Right::parse(name)).collect(),
            queues: list(&self.queues),
            made_by: self.made_by,
            created_at: self.created_at.0,
            expires_at: self.expires_at.map(|at| at.0),
            used_at: self.used_at.map(|at| at.0),
        }
    }
}

const COLUMNS: &str =
    "id, project, name, secret, rights, queues, made_by, created_at, expires_at, used_at FROM web_keys";

fn check_sum(id: i64, secret: &str) -> String {
    let digest = hash(&format!("{id}.{secret}"));
    digest.iter().take(3).map(|b| format!("{b:02x}")).collect()
}

/// Number and secret of a key's text, if its check sum is right.
fn parse(text: &str) -> Option<(i64, &str)> {
    let (id, rest) = text.strip_prefix(PREFIX)?.strip_prefix('_')?.split_once('_')?;
    let (secret, check) = rest.rsplit_once('_')?;
    let id = id.parse().ok()?;
    (check_sum(id, secret) == check).then_some((id, secret))
}

/// The key of a text, if it is one that still holds.
pub async fn key(web: &Web, text: &str) -> Result<Option<Key>> {
    let Some((id, secret)) = parse(text) else { return Ok(None) };
    let statement = Statement::built(format!("SELECT {COLUMNS} WHERE id = ?1 AND revoked_at IS NULL"));
    let Some(row) = web.tables().read(statement.bind(id)).await?.optional::<Row>()? else { return Ok(None) };
    let now = web.now();
    if !same(&row.secret.0, &hash(secret)) || row.expires_at.as_ref().is_some_and(|at| at.0 <= now) {
        return Ok(None);
    }
    if row.used_at.as_ref().is_none_or(|at| time::plus(at.0, USED_EVERY) < now) {
        let used = Statement::new("UPDATE web_keys SET used_at = ?2 WHERE id = ?1").bind(id).bind(now);
        web.tables().write(used.into()).await?;
    }
    Ok(Some(row.key()))
}

/// The keys of a project that have not been revoked.
pub async fn key_list(web: &Web, project: ProjectId) -> Result<Vec<Key>> {
    let statement =
        Statement::built(format!("SELECT {COLUMNS} WHERE project = ?1 AND revoked_at IS NULL ORDER BY name"));
    let rows = web.tables().read(statement.bind(project)).await?.into_typed::<Row>()?;
    Ok(rows.into_iter().map(Row::key).collect())
}

/// Makes a key; its text is told this once. `by` may be signed with an address.
pub async fn make_key(web: &Web, project: ProjectId, by: &str, new: &NewKey) -> Result<(i64, String)> {
    let data = serde_json::json!({ "rights": new.rights, "expires_at": new.expires_at });
    let event = NewEvent::new("key.made", format!("key/{}", limits::cut(&new.name, 300)), data).by(by);
    let by = event.actor.clone().unwrap_or_default();
    mainspring_core::job::check_name(&new.name).map_err(|text| Problem::invalid("name", text))?;
    for queue in &new.queues {
        mainspring_core::job::check_name(queue).map_err(|text| Problem::invalid("queues", text))?;
    }
    if new.rights.is_empty() {
        return Err(Problem::invalid("rights", "a key without rights is of no use; name at least one"));
    }
    if new.expires_at.is_some_and(|at| at <= web.now()) {
        return Err(Problem::invalid("expires_at", "this instant is past; name one to come"));
    }
    let secret = Secret::random()?;
    let rights: Vec<&str> = new.rights.iter().map(|r| r.as_str()).collect();
    // A name is free again once its key is revoked.
    let statement = Statement::new(
        "INSERT INTO web_keys (project, name, secret, rights, queues, made_by, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING id",
    );
    let statement = statement
        .bind(project)
        .bind(&new.name)
        .bind(hash(secret.reveal()))
        .bind(rights.join(" "))
        .bind(new.queues.join(" "))
        .bind(by)
        .bind(web.now())
        .bind(new.expires_at);
    let write = Write::new().then(statement).tell(web.now(), project, event);
    let mut written =
        web.tables().write(write).await.map_err(|e| match e.is_taken("web_keys", &["project", "name"]) {
            true => Problem::from(TablesError::from(mainspring_core::StoreError::Conflict(format!(
                "there is a key {} already; revoke it or take another name",
                new.name
            )))),
            false => e.into(),
        })?;
    let id: i64 = written.rows.swap_remove(0).one()?;
    let text = secret.reveal();
    Ok((id, format!("{PREFIX}_{id}_{text}_{}", check_sum(id, text))))
}

/// Ends a key. Its name is free again.
pub async fn revoke_key(web: &Web, project: ProjectId, id: i64, by: &str) -> Result<()> {
    let name = Statement::new("SELECT name FROM web_keys WHERE id = ?1 AND project = ?2");
    let name: Option<String> = web.tables().read(name.bind(id).bind(project)).await?.optional()?;
    let name = name.ok_or_else(|| Problem::not_found("key", id))?;
    let event = NewEvent::new("key.revoked", format!("key/{name}"), serde_json::json!({})).by(by);
    let statement = Statement::new(
        "UPDATE web_keys SET revoked_at = ?3, name = name || ' (revoked ' || id || ')'
         WHERE id = ?1 AND project = ?2 AND revoked_at IS NULL",
    );
    let statement = statement.bind(id).bind(project).bind(web.now()).expect_rows(1);
    match web.tables().write(Write::new().then(statement).tell(web.now(), project, event)).await {
        Ok(_) => Ok(()),
        Err(TablesError::Unexpected { .. }) => Err(Problem::not_found("key", id)),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_key_is_known_without_asking_anybody() {
        let secret = Secret::random().unwrap();
        let text = format!("msk_7_{}_{}", secret.reveal(), check_sum(7, secret.reveal()));
        assert_eq!(parse(&text), Some((7, secret.reveal())));
        for wrong in [
            "",
            "msk",
            "msk_7",
            "msk_x_a_b",
            &text[1..],
            &text[..text.len() - 1],
            &text.replace("msk_7", "msk_8"),
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
