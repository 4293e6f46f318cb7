//! Webhooks that come in: a service elsewhere sends something signed, and a job is enqueued.
//!
//! A hook belongs to a project and has an address nobody can guess, a kind and a queue, and a secret
//! that was shown once and is kept sealed. What comes in is checked ([`signature`]) and becomes a job
//! in one transaction with the row of its delivery, so that the same delivery is one job however often
//! it is sent ([`receive`]).

pub mod api;
pub mod pages;
mod receive;
mod signature;

pub use signature::Signature;

use crate::access::{Caller, Right, Secret, random};
use crate::problem::{Problem, Result};
use crate::state::Web;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use mainspring::secrets::{Secret as Sealed, Vault};
use mainspring_core::event::NewEvent;
use mainspring_core::job::{DEFAULT_QUEUE, check_name};
use mainspring_core::tables::{At, Migration, Statement, TablesError, Write};
use mainspring_core::{Json, ProjectId, StoreError, time};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const MIGRATIONS: &[Migration] = &[
    Migration::new("0001_hooks", include_str!("0001_hooks.sql")),
    Migration::new("0002_overlap", include_str!("0002_overlap.sql")),
];
/// The longest time for which two secrets of a hook hold.
const OVERLAP: Duration = Duration::from_secs(30 * 86_400);
/// Hooks of one project.
const MOST: i64 = 200;
/// Deliveries shown.
const SHOWN: u32 = 50;

/// Brings the tables up to date.
pub async fn migrate(tables: &dyn mainspring_core::tables::Tables) -> mainspring_core::tables::Result<()> {
    tables.migrate("hooks", MIGRATIONS).await.map(drop)
}

/// What a hook is to be.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHook {
    /// What it is called; each name once per project.
    pub name: String,
    /// How deliveries are signed: `github` (X-Hub-Signature-256) or `standard` (Standard Webhooks).
    pub signature: Signature,
    /// The kind of the job that is enqueued.
    pub kind: String,
    /// Its queue; `default` if absent.
    #[serde(default)]
    pub queue: Option<String>,
    /// The job's payload: JSON in which a text such as `$.repository.name` stands for that part of the
    /// body, and `$` for all of it. Absent: an object with `event`, `delivery` and `body`.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    pub template: Option<serde_json::Value>,
}

/// A hook as both faces show it: never its secret.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct HookView {
    /// What it is called.
    pub name: String,
    /// Where deliveries are sent: not a secret, but nobody's business.
    pub url: String,
    /// How they are signed.
    pub signature: Signature,
    /// The kind of the job that is enqueued.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// The job's payload.
    #[schema(value_type = Option<serde_json::Value>)]
    pub template: Option<serde_json::Value>,
    /// Who made it.
    pub made_by: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When its secret was last changed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub rotated_at: Option<Timestamp>,
    /// Until when the secret before this one holds, too; null when it holds no more.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub before_until: Option<Timestamp>,
}

/// A delivery that was taken.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct DeliveryView {
    /// What the sender calls it.
    pub delivery: String,
    /// What it is about, as the sender says; may be empty.
    pub event: String,
    /// The size of its body.
    pub bytes: i64,
    /// The job it became.
    pub job: Option<i64>,
    /// When it came.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

#[derive(Deserialize)]
struct Row {
    id: i64,
    project: i64,
    name: String,
    token: String,
    signature: Signature,
    kind: String,
    queue: String,
    template: Option<String>,
    made_by: String,
    created_at: At,
    rotated_at: Option<At>,
    before_until: Option<At>,
}

impl Row {
    fn template(&self) -> Option<serde_json::Value> {
        self.template.as_deref().and_then(|text| serde_json::from_str(text).ok())
    }

    fn view(self, web: &Web) -> HookView {
        HookView {
            url: format!("{}/api/v1/hooks/{}", address(web), self.token),
            template: self.template(),
            name: self.name,
            signature: self.signature,
            kind: self.kind,
            queue: self.queue,
            made_by: self.made_by,
            created_at: self.created_at.0,
            rotated_at: self.rotated_at.map(|at| at.0),
            before_until: self.before_until.map(|at| at.0).filter(|at| *at > web.now()),
        }
    }
}

const COLUMNS: &str =
    "SELECT id, project, name, token, signature, kind, queue, template, made_by, created_at,
    rotated_at, before_until FROM hooks_hooks";

/// Under which address people reach the server.
fn address(web: &Web) -> String {
    let config = web.config();
    config.public_url.clone().unwrap_or_else(|| format!("http://{}", config.listen))
}

/// The name under which a hook's secret is kept.
fn sealed_as(id: i64) -> String {
    format!("hook/{id}")
}

/// The name of the secret before it, which holds for a while after a change.
fn sealed_before(id: i64) -> String {
    format!("hook/{id}/before")
}

/// The hooks of the project, by name.
pub async fn list(web: &Web, caller: &Caller) -> Result<Vec<HookView>> {
    caller.may(Right::Manage)?;
    let statement = Statement::built(format!("{COLUMNS} WHERE project = ?1 ORDER BY name"));
    let rows = web.tables().read(statement.bind(caller.project_id())).await?.into_typed::<Row>()?;
    Ok(rows.into_iter().map(|row| row.view(web)).collect())
}

async fn row(web: &Web, project: ProjectId, name: &str) -> Result<Row> {
    let statement = Statement::built(format!("{COLUMNS} WHERE project = ?1 AND name = ?2"));
    let found = web.tables().read(statement.bind(project).bind(name)).await?.optional::<Row>()?;
    found.ok_or_else(|| Problem::not_found("hook", name))
}

/// One of them.
pub async fn one(web: &Web, caller: &Caller, name: &str) -> Result<HookView> {
    caller.may(Right::Manage)?;
    Ok(row(web, caller.project_id(), name).await?.view(web))
}

/// The deliveries that a hook took last, the newest first.
pub async fn deliveries(web: &Web, caller: &Caller, name: &str) -> Result<Vec<DeliveryView>> {
    caller.may(Right::Read)?;
    let hook = row(web, caller.project_id(), name).await?;
    let statement = Statement::new(
        "SELECT delivery, event, bytes, job, at FROM hooks_deliveries WHERE hook = ?1
         ORDER BY id DESC LIMIT CAST(?2 AS INTEGER)",
    );
    let found = web.tables().read(statement.bind(hook.id).bind(i64::from(SHOWN))).await?;
    let found: Vec<(String, String, i64, Option<i64>, At)> = found.into_typed()?;
    let view = |(delivery, event, bytes, job, at): (String, String, i64, Option<i64>, At)| DeliveryView {
        delivery,
        event,
        bytes,
        job,
        at: at.0,
    };
    Ok(found.into_iter().map(view).collect())
}

/// A new secret, in the form in which its senders want it.
fn new_secret(signature: Signature) -> Result<Sealed> {
    let bytes = random::<32>()?;
    Ok(Sealed::new(match signature {
        Signature::Github => bytes.iter().map(|b| format!("{b:02x}")).collect::<String>(),
        Signature::Standard => format!("whsec_{}", STANDARD.encode(bytes)),
    }))
}

fn check(new: &NewHook) -> Result<String> {
    check_name(&new.name).map_err(|text| Problem::invalid("name", text))?;
    check_name(&new.kind).map_err(|text| Problem::invalid("kind", text))?;
    let queue = new.queue.clone().unwrap_or_else(|| DEFAULT_QUEUE.into());
    check_name(&queue).map_err(|text| Problem::invalid("queue", text))?;
    if new.template.as_ref().is_some_and(|t| t.to_string().len() > mainspring_core::limits::STEP_RESULT) {
        return Err(Problem::invalid("template", "is larger than 256 KiB"));
    }
    Ok(queue)
}

fn told(caller: &Caller, name: &str, what: &str) -> NewEvent {
    caller.act(what, format!("hook/{name}"), serde_json::json!({ "name": name }))
}

/// Makes a hook; its secret is told this once.
pub async fn make(web: &Web, caller: &Caller, new: &NewHook) -> Result<(HookView, String)> {
    caller.may(Right::Manage)?;
    let (queue, project, now) = (check(new)?, caller.project_id(), web.now());
    let count = Statement::new("SELECT count(*) FROM hooks_hooks WHERE project = ?1").bind(project);
    let count: i64 = web.tables().read(count).await?.one()?;
    if count >= MOST {
        return Err(Problem::invalid("name", format!("the project has {count} hooks, which is the most")));
    }
    let template = new.template.as_ref().map(serde_json::Value::to_string);
    let insert = Statement::new(
        "INSERT INTO hooks_hooks (project, name, token, signature, kind, queue, template, made_by, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) RETURNING id",
    );
    let insert = insert
        .bind(project)
        .bind(&new.name)
        .bind(Secret::random()?.reveal())
        .bind(new.signature.as_str())
        .bind(&new.kind)
        .bind(queue)
        .bind(template)
        .bind(caller.client().actor())
        .bind(now);
    let write = Write::new().then(insert).tell(now, project, told(caller, &new.name, "hook.created"));
    let mut written = web.tables().write(write).await.map_err(|e| {
        match e.is_taken("hooks_hooks", &["project", "name"]) {
            true => StoreError::Conflict(format!("there is a hook {} already", new.name)).into(),
            false => Problem::from(e),
        }
    })?;
    let id: i64 = written.rows.swap_remove(0).one()?;
    // Between the two a delivery is refused: there is nothing to check it with.
    let secret = new_secret(new.signature)?;
    let vault = web.vault();
    if let Err(e) = vault.put(now, project, &sealed_as(id), &secret, caller.client().actor()).await {
        let undo = Statement::new("DELETE FROM hooks_hooks WHERE id = ?1").bind(id);
        web.tables().write(undo.into()).await?;
        return Err(e.into());
    }
    Ok((one(web, caller, &new.name).await?, secret.expose().to_owned()))
}

/// Gives a hook a new secret, told this once. The one before holds for `overlap` more, and is worth
/// nothing after that; one before that is worth nothing at once.
pub async fn rotate(web: &Web, caller: &Caller, name: &str, overlap: Duration) -> Result<String> {
    caller.may(Right::Manage)?;
    if overlap > OVERLAP {
        return Err(Problem::invalid("overlap", "is longer than 30d"));
    }
    let (project, now) = (caller.project_id(), web.now());
    let hook = row(web, project, name).await?;
    let secret = new_secret(hook.signature)?;
    let (vault, by) = (web.vault(), caller.client().actor());
    let mut write = Write::new();
    let until = (!overlap.is_zero()).then(|| time::plus(now, overlap));
    if until.is_some() {
        let before = vault.get(project, &sealed_as(hook.id)).await?;
        write = write.then(vault.put_statement(now, project, &sealed_before(hook.id), &before, by).await?);
    } else {
        write = write.then(Vault::forget_statement(project, &sealed_before(hook.id)));
    }
    let put = vault.put_statement(now, project, &sealed_as(hook.id), &secret, by).await?;
    // Two who turn it over at once: the second sees what the first did.
    let mark = Statement::new(
        "UPDATE hooks_hooks SET rotated_at = ?2, before_until = ?3
         WHERE id = ?1 AND COALESCE(rotated_at, 0) = CAST(?4 AS INTEGER)",
    );
    let seen = hook.rotated_at.map_or(0, |at| time::micros(at.0));
    let mark = mark.bind(hook.id).bind(now).bind(until).bind(seen).expect_rows(1);
    let write = write.then(put).then(mark).tell(now, project, told(caller, name, "hook.rotated"));
    match web.tables().write(write).await {
        Ok(_) => Ok(secret.expose().to_owned()),
        Err(TablesError::Unexpected { .. }) => {
            Err(StoreError::Conflict(format!("somebody else changed the secret of {name} just now")).into())
        }
        Err(e) => Err(e.into()),
    }
}

/// Ends a hook, with the list of its deliveries. Its jobs stay.
pub async fn delete(web: &Web, caller: &Caller, name: &str) -> Result<()> {
    caller.may(Right::Manage)?;
    let (project, now) = (caller.project_id(), web.now());
    let hook = row(web, project, name).await?;
    let gone = Statement::new("DELETE FROM hooks_hooks WHERE id = ?1").bind(hook.id).expect_rows(1);
    let write = Write::new()
        .then(Statement::new("DELETE FROM hooks_deliveries WHERE hook = ?1").bind(hook.id))
        .then(gone)
        .then(Vault::delete_statement(project, &sealed_as(hook.id)))
        .then(Vault::forget_statement(project, &sealed_before(hook.id)))
        .tell(now, project, told(caller, name, "hook.deleted"));
    match web.tables().write(write).await {
        Ok(_) => Ok(()),
        Err(TablesError::Unexpected { .. }) => Err(Problem::not_found("hook", name)),
        Err(e) => Err(e.into()),
    }
}

/// The payload of the job that a delivery becomes.
fn payload(template: Option<&serde_json::Value>, event: &str, id: &str, body: &Json) -> Result<Json> {
    let Some(template) = template else {
        let head = serde_json::json!({ "event": event, "delivery": id }).to_string();
        let head = head.trim_end_matches('}');
        return Json::parse(format!("{head},\"body\":{}}}", body.as_str()))
            .map_err(|e| Problem::invalid("body", e));
    };
    let filled = filled(template, &body.value());
    Json::parse(filled.to_string()).map_err(|e| Problem::invalid("body", e))
}

/// Texts that begin with `$` replaced by the part of the body they name; null where there is none.
fn filled(template: &serde_json::Value, body: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match template {
        Value::String(text) if text == "$" => body.clone(),
        Value::String(text) => match text.strip_prefix("$.") {
            Some(path) => {
                let step = |at: &Value, part: &str| match at {
                    Value::Array(list) => part.parse::<usize>().ok().and_then(|n| list.get(n)).cloned(),
                    other => other.get(part).cloned(),
                };
                path.split('.').try_fold(body.clone(), |at, part| step(&at, part)).unwrap_or(Value::Null)
            }
            None => template.clone(),
        },
        Value::Array(list) => Value::Array(list.iter().map(|part| filled(part, body)).collect()),
        Value::Object(map) => {
            Value::Object(map.iter().map(|(name, part)| (name.clone(), filled(part, body))).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_template_takes_parts_of_the_body_and_leaves_the_rest() {
        let body = json!({ "repo": { "name": "x", "tags": ["a", "b"] }, "n": 7 });
        let template =
            json!({ "r": "$.repo.name", "t": ["$.repo.tags.1", "plain"], "all": "$", "no": "$.a.b", "c": 1 });
        let wanted = json!({ "r": "x", "t": ["b", "plain"], "all": body, "no": null, "c": 1 });
        assert_eq!(filled(&template, &body), wanted);
        let whole = payload(None, "push", "d\"1", &Json::trusted(r#"{"n": 1.50}"#)).unwrap();
        assert_eq!(whole.as_str(), r#"{"delivery":"d\"1","event":"push","body":{"n": 1.50}}"#);
    }
}
