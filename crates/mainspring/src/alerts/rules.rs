//! Rules as people make, change, silence and try them. Every change is an event with who did it.

use super::records::{RULE, RuleRecord, RuleRow, RuleSpec, check_name};
use super::{books, defaults, refused, tables, words};
use crate::client::{Client, ClientError, Result};
use crate::notify::{Notice, NoticeState};
use jiff::Timestamp;
use mainspring_core::alert::RuleState;
use mainspring_core::event::NewEvent;
use mainspring_core::tables::{AsJson, Statement, Tables, TablesError, Write};
use mainspring_core::{StoreError, duration, limits, time};
use serde_json::json;

/// The event of something that was done to a rule.
pub(super) fn event(client: &Client, what: &str, rule: &str, data: serde_json::Value) -> NewEvent {
    NewEvent::new(&format!("rule.{what}"), format!("rule/{rule}"), data).by(&client.signature())
}

/// The rules of a project by name, those it begins with made if it is new.
pub async fn rules(client: &Client) -> Result<Vec<RuleRecord>> {
    seed(client).await?;
    let all = Statement::built(format!("SELECT {RULE} WHERE project = ?1 ORDER BY name LIMIT 1000"));
    let rows = tables(client)?.read(all.bind(client.project())).await.map_err(refused)?;
    Ok(rows.into_typed::<RuleRow>().map_err(refused)?.into_iter().map(RuleRow::record).collect())
}

/// One rule.
pub async fn rule(client: &Client, id: i64) -> Result<RuleRecord> {
    let one = Statement::built(format!("SELECT {RULE} WHERE project = ?1 AND id = ?2"));
    let rows = tables(client)?.read(one.bind(client.project()).bind(id)).await.map_err(refused)?;
    let row = rows.optional::<RuleRow>().map_err(refused)?;
    row.map(RuleRow::record).ok_or_else(|| ClientError::not_found("alert rule", id))
}

/// Makes the rules that a new project begins with, once.
pub async fn seed(client: &Client) -> Result<()> {
    let tables = tables(client)?;
    let known = Statement::new("SELECT project FROM alerts_looks WHERE project = ?1").bind(client.project());
    if !tables.read(known).await.map_err(refused)?.is_empty() {
        return Ok(());
    }
    let (now, project) = (client.now(), client.project());
    let store = client.store();
    let mine = store.last_event(project).await?;
    let first = store.last_event(mainspring_core::ProjectId::DEFAULT).await?;
    let mut write = Write::new().then(
        Statement::new(
            "INSERT INTO alerts_looks (project, look, cursor) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )
        .bind(project)
        .bind(time::minute(now))
        .bind(mine.max(first))
        .expect_rows(1),
    );
    for (name, spec) in defaults::rules(project) {
        write = write.then(insert(client, name, &spec, now));
    }
    match tables.write(write).await {
        // Somebody else was first.
        Err(TablesError::Unexpected { .. }) => Ok(()),
        done => done.map(drop).map_err(refused),
    }
}

fn insert(client: &Client, name: &str, spec: &RuleSpec, now: Timestamp) -> Statement {
    Statement::new(
        "INSERT INTO alerts_rules (project, name, spec, state, created_at, changed_at, changed_by)
         SELECT CAST(?1 AS INTEGER), ?2, ?3, '{}', CAST(?4 AS INTEGER), CAST(?4 AS INTEGER), ?5
         WHERE (SELECT count(*) FROM alerts_rules WHERE project = ?1) < ?6 RETURNING id",
    )
    .bind(client.project())
    .bind(name)
    .bind(AsJson(spec))
    .bind(now)
    .bind(client.actor())
    .bind(limits::ALERT_RULES)
}

/// Where nothing looked for long there is nothing to catch up with: a rule looks from now on.
fn from_now_on(client: &Client, now: Timestamp) -> Statement {
    Statement::new(
        "UPDATE alerts_looks SET look = ?2, after = 0 WHERE project = ?1 AND look < ?2
         AND NOT EXISTS (SELECT 1 FROM alerts_rules WHERE project = ?1 AND enabled = 1)",
    )
    .bind(client.project())
    .bind(time::minute(now))
}

async fn check(client: &Client, tables: &dyn Tables, name: &str, spec: &RuleSpec) -> Result<()> {
    check_name(name)?;
    spec.check().map_err(|(field, text)| ClientError::invalid(field, text))?;
    if spec.channels.is_empty() {
        return Ok(());
    }
    let known = Statement::new("SELECT id FROM notify_channels WHERE project = ?1 LIMIT 1000");
    let known: Vec<i64> = tables
        .read(known.bind(client.project()))
        .await
        .and_then(|rows| rows.into_typed())
        .map_err(refused)?;
    match spec.channels.iter().find(|id| !known.contains(id)) {
        Some(id) => {
            Err(ClientError::invalid("channels", format!("there is no channel {id} in this project")))
        }
        None => Ok(()),
    }
}

fn taken(name: &str) -> impl FnOnce(TablesError) -> ClientError + use<'_> {
    move |e| match e.is_taken("alerts_rules", &["project", "name"]) {
        true => {
            let text =
                format!("there is an alert rule {name:?} already; change that one or take another name");
            StoreError::Conflict(text).into()
        }
        false => refused(e),
    }
}

/// Makes a rule; it looks from the next minute on.
pub async fn make_rule(client: &Client, name: &str, spec: &RuleSpec) -> Result<i64> {
    let tables = tables(client)?;
    seed(client).await?;
    check(client, &*tables, name, spec).await?;
    let now = client.now();
    let told = event(client, "created", name, json!({ "rule": spec.rule.words() }));
    let write =
        Write::new().then(from_now_on(client, now)).then(insert(client, name, spec, now).expect_rows(1));
    match tables.write(write.tell(now, client.project(), told)).await {
        Ok(mut written) => written.rows.swap_remove(1).one().map_err(refused),
        Err(TablesError::Unexpected { .. }) => {
            let text = format!("a project has at most {} alert rules; delete one first", limits::ALERT_RULES);
            Err(ClientError::invalid("rule", text))
        }
        Err(e) => Err(taken(name)(e)),
    }
}

/// Changes a rule. What it had seen is forgotten, and its open alerts end, when it is to look for
/// something else.
pub async fn put_rule(client: &Client, id: i64, name: &str, spec: &RuleSpec) -> Result<()> {
    let tables = tables(client)?;
    check(client, &*tables, name, spec).await?;
    let before = rule(client, id).await?;
    let now = client.now();
    let same = before.spec.rule == spec.rule;
    let state = if same { before.state } else { RuleState::default() };
    let mut write = Write::new().then(
        Statement::new(
            "UPDATE alerts_rules SET name = ?3, spec = ?4, state = ?5, version = version + 1, changed_at = ?6,
                 changed_by = ?7 WHERE id = ?1 AND project = ?2 AND version = ?8",
        )
        .bind(id)
        .bind(client.project())
        .bind(name)
        .bind(AsJson(spec))
        .bind(AsJson(state))
        .bind(now)
        .bind(client.actor())
        .bind(before.version)
        .expect_rows(1),
    );
    if !same {
        write = books::end_all(write, client, id, now, "the rule was changed");
    }
    let told = event(client, "changed", name, json!({ "rule": spec.rule.words() }));
    tables.write(write.tell(now, client.project(), told)).await.map(drop).map_err(taken(name))
}

/// Deletes a rule; its open alerts end, what is past stays.
pub async fn delete_rule(client: &Client, id: i64) -> Result<()> {
    let before = rule(client, id).await?;
    let now = client.now();
    let delete = Statement::new("DELETE FROM alerts_rules WHERE id = ?1 AND project = ?2");
    let write = Write::new().then(delete.bind(id).bind(client.project()).expect_rows(1));
    let write = books::end_all(write, client, id, now, "the rule was deleted");
    let told = event(client, "deleted", &before.name, json!({}));
    tables(client)?.write(write.tell(now, client.project(), told)).await.map(drop).map_err(refused)
}

/// Lets a rule look, or keeps it from looking; what it had seen is forgotten.
pub async fn enable_rule(client: &Client, id: i64, enabled: bool) -> Result<()> {
    let before = rule(client, id).await?;
    if before.enabled == enabled {
        return Ok(());
    }
    let now = client.now();
    let update = Statement::new(
        "UPDATE alerts_rules SET enabled = ?3, state = '{}', version = version + 1, changed_at = ?4,
             changed_by = ?5 WHERE id = ?1 AND project = ?2",
    );
    let update = update.bind(id).bind(client.project()).bind(enabled).bind(now).bind(client.actor());
    let mut write = Write::new().then(from_now_on(client, now)).then(update.expect_rows(1));
    if !enabled {
        write = books::end_all(write, client, id, now, "the rule was switched off");
    }
    let what = if enabled { "enabled" } else { "disabled" };
    let told = event(client, what, &before.name, json!({}));
    tables(client)?.write(write.tell(now, client.project(), told)).await.map(drop).map_err(refused)
}

/// Silences a rule until an instant (None: no longer). It goes on looking, alerts are kept, nobody
/// is told.
pub async fn snooze_rule(client: &Client, id: i64, until: Option<Timestamp>) -> Result<()> {
    let before = rule(client, id).await?;
    let now = client.now();
    books::check_snooze(until, now)?;
    let update = Statement::new("UPDATE alerts_rules SET snoozed_until = ?3 WHERE id = ?1 AND project = ?2");
    let update = update.bind(id).bind(client.project()).bind(until).expect_rows(1);
    let told = event(client, "snoozed", &before.name, json!({ "until": until }));
    let write = Write::new().then(update).tell(now, client.project(), told);
    tables(client)?.write(write).await.map(drop).map_err(refused)
}

/// Sends what the rule would say if it fired now, marked as a test, to its channels and the
/// dashboard. Gives the text.
pub async fn send_test(client: &Client, id: i64) -> Result<String> {
    let rule = rule(client, id).await?;
    let now = client.now();
    let notice = Notice {
        project: client.project(),
        key: format!("rule/{id}"),
        severity: rule.spec.severity,
        // Whoever asks for a test waits for it.
        urgent: true,
        state: NoticeState::Test,
        title: format!("Test of the alert rule “{}”", rule.name),
        text: format!(
            "This is only a test, asked for by {}. The rule fires when {}.",
            client.actor(),
            rule.spec.rule.words()
        ),
        facts: vec![
            ("Rule".into(), rule.name.clone()),
            ("Looks every".into(), duration::format(rule.spec.rule.every)),
            ("Would say".into(), words::headline(&rule.spec.rule, &[])),
        ],
        path: format!("/alert-rules/{id}"),
        at: now,
    };
    let text = notice.title.clone();
    let told = event(client, "tested", &rule.name, json!({ "channels": rule.spec.channels.len() }));
    let write = Write::new().tell(now, client.project(), told);
    let write = notice.announce(&rule.spec.channels).into_write(write, now, client.project());
    tables(client)?.write(write).await.map_err(refused)?;
    Ok(text)
}

/// Channels that a rule may name, by name.
pub async fn channels(client: &Client) -> Result<Vec<(i64, String)>> {
    let all =
        Statement::new("SELECT id, name FROM notify_channels WHERE project = ?1 ORDER BY name LIMIT 1000");
    let rows = tables(client)?.read(all.bind(client.project())).await.map_err(refused)?;
    rows.into_typed().map_err(refused)
}
