//! Alerts as they are kept: what fires, what was, and what people do about it.

use super::records::{ALERT, AlertRecord, AlertRow, LogEntry};
use super::{refused, tables};
use crate::client::{Client, ClientError, Result};
use jiff::Timestamp;
use mainspring_core::event::NewEvent;
use mainspring_core::ids::ProjectId;
use mainspring_core::tables::{AsJson, Statement, Write};
use mainspring_core::{limits, time};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Which alerts a listing means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// Of this rule.
    pub rule: Option<i64>,
    /// Open (true) or over (false).
    pub open: Option<bool>,
    /// Those that fired before this one (the last of the page before).
    pub before: Option<String>,
}

/// The alert's name: the same look of the same rule gives the same, so that it is written once.
pub(super) fn uid(rule: i64, subject: &str, look: i64) -> String {
    let hash = Sha256::digest(format!("{rule}/{look}/{subject}"));
    let hex: String = hash.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    format!("alt_{hex}")
}

/// Alerts, the newest first, and whether there are more.
pub async fn alerts(client: &Client, filter: &AlertFilter, limit: u32) -> Result<(Vec<AlertRecord>, bool)> {
    let tables = tables(client)?;
    let limit = limit.min(limits::PAGE as u32);
    let open = filter.open.map(i64::from);
    // Where the page before ended; a name nobody knows ends before everything.
    let list = Statement::built(format!(
        "SELECT {ALERT} WHERE project = ?1 AND (CAST(?2 AS INTEGER) IS NULL OR rule = ?2)
         AND (CAST(?3 AS INTEGER) IS NULL OR (?3 = 1 AND ended_at IS NULL) OR (?3 = 0 AND ended_at IS NOT NULL))
         AND (CAST(?4 AS TEXT) IS NULL OR fired_at < (SELECT fired_at FROM alerts_alerts WHERE uid = ?4 AND project = ?1)
              OR (fired_at = (SELECT fired_at FROM alerts_alerts WHERE uid = ?4 AND project = ?1) AND uid < ?4))
         ORDER BY fired_at DESC, uid DESC LIMIT ?5"
    ));
    let list =
        list.bind(client.project()).bind(filter.rule).bind(open).bind(filter.before.clone()).bind(limit + 1);
    let rows = tables.read(list).await.and_then(|rows| rows.into_typed::<AlertRow>()).map_err(refused)?;
    let more = rows.len() > limit as usize;
    Ok((rows.into_iter().take(limit as usize).map(AlertRow::record).collect(), more))
}

/// How many alerts are open in a project.
pub async fn firing(client: &Client) -> Result<u64> {
    let count = Statement::new("SELECT count(*) FROM alerts_alerts WHERE project = ?1 AND ended_at IS NULL");
    let rows = tables(client)?.read(count.bind(client.project())).await.map_err(refused)?;
    rows.one::<i64>().map(|n| n.max(0) as u64).map_err(refused)
}

/// One alert.
pub async fn alert(client: &Client, uid: &str) -> Result<AlertRecord> {
    let one = Statement::built(format!("SELECT {ALERT} WHERE project = ?1 AND uid = ?2"));
    let rows = tables(client)?.read(one.bind(client.project()).bind(uid)).await.map_err(refused)?;
    let row = rows.optional::<AlertRow>().map_err(refused)?;
    row.map(AlertRow::record).ok_or_else(|| ClientError::not_found("alert", uid))
}

/// What happened to an alert, in order.
pub async fn log(client: &Client, uid: &str) -> Result<Vec<LogEntry>> {
    let all = Statement::new(
        "SELECT at, what, actor, note FROM alerts_log WHERE project = ?1 AND alert = ?2 ORDER BY id LIMIT 1000",
    );
    let rows = tables(client)?.read(all.bind(client.project()).bind(uid)).await.map_err(refused)?;
    rows.into_typed().map_err(refused)
}

/// A line of the log of an alert.
pub(super) fn entry(
    project: ProjectId,
    uid: &str,
    at: Timestamp,
    what: &str,
    actor: Option<&str>,
    note: Option<&str>,
) -> Statement {
    Statement::new(
        "INSERT INTO alerts_log (alert, project, at, what, actor, note) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )
    .bind(uid)
    .bind(project)
    .bind(at)
    .bind(what)
    .bind(actor.map(str::to_owned))
    .bind(note.map(|note| limits::cut(&note.replace('\0', "\u{fffd}"), limits::NOTE)))
}

/// Writes an alert that fires; a second one of the same rule and subject is not opened.
pub(super) fn open(project: ProjectId, alert: &AlertRecord) -> Statement {
    Statement::new(
        "INSERT INTO alerts_alerts (uid, project, rule, rule_name, subject, severity, title, breached, fired_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
    )
    .bind(&alert.uid)
    .bind(project)
    .bind(alert.rule)
    .bind(&alert.rule_name)
    .bind(&alert.subject)
    .bind(alert.severity.as_str())
    .bind(&alert.title)
    .bind(AsJson(alert.breached.clone()))
    .bind(alert.fired_at)
}

/// The statements that end an alert by itself: its log first, while it is still open. Should somebody
/// have closed it meanwhile, nothing is written.
pub(super) fn recovered(project: ProjectId, rule: i64, subject: &str, at: Timestamp) -> [Statement; 2] {
    let log = Statement::new(
        "INSERT INTO alerts_log (alert, project, at, what)
         SELECT uid, project, CAST(?4 AS INTEGER), 'recovered' FROM alerts_alerts
         WHERE project = ?1 AND rule = ?2 AND subject = ?3 AND ended_at IS NULL",
    );
    let end = Statement::new(
        "UPDATE alerts_alerts SET ended_at = ?4
         WHERE project = ?1 AND rule = ?2 AND subject = ?3 AND ended_at IS NULL",
    );
    [log, end].map(|s| s.bind(project).bind(rule).bind(subject).bind(at).expect_rows(1))
}

/// Alerts that are over are kept this long.
pub(super) const KEPT: Duration = Duration::from_secs(90 * 86_400);

/// Lets go what is over for longer than [`KEPT`], with its log, the oldest first, in a bounded step.
pub(super) fn sweep(now: Timestamp) -> [Statement; 2] {
    let old = "SELECT uid FROM alerts_alerts WHERE ended_at < ?1 ORDER BY ended_at, uid LIMIT 500";
    let log = format!("DELETE FROM alerts_log WHERE alert IN ({old})");
    let alerts = format!("DELETE FROM alerts_alerts WHERE uid IN ({old})");
    [log, alerts].map(|sql| Statement::built(sql).bind(time::minus(now, KEPT)))
}

/// Ends all open alerts of a rule for a reason.
pub(super) fn end_all(write: Write, client: &Client, rule: i64, at: Timestamp, why: &str) -> Write {
    let log = Statement::new(
        "INSERT INTO alerts_log (alert, project, at, what, actor, note)
         SELECT uid, project, CAST(?3 AS INTEGER), 'closed', CAST(?4 AS TEXT), CAST(?5 AS TEXT) FROM alerts_alerts
         WHERE project = ?1 AND rule = ?2 AND ended_at IS NULL",
    );
    let log = log.bind(client.project()).bind(rule).bind(at).bind(client.actor()).bind(why);
    let end = Statement::new(
        "UPDATE alerts_alerts SET ended_at = ?3, ended_why = ?4
         WHERE project = ?1 AND rule = ?2 AND ended_at IS NULL",
    );
    write.then(log).then(end.bind(client.project()).bind(rule).bind(at).bind(why))
}

pub(super) fn check_snooze(until: Option<Timestamp>, now: Timestamp) -> Result<()> {
    match until {
        Some(until) if until <= now => {
            Err(ClientError::invalid("until", "this instant is past; name one to come"))
        }
        Some(until) if until > time::plus(now, Duration::from_secs(366 * 86_400)) => {
            Err(ClientError::invalid("until", "is more than a year away; switch the rule off instead"))
        }
        _ => Ok(()),
    }
}

/// Writes what a person did to an open alert: the change, its log and its event.
async fn act(client: &Client, uid: &str, what: &str, note: Option<&str>, change: Statement) -> Result<()> {
    let before = alert(client, uid).await?;
    if before.ended_at.is_some() {
        return Err(mainspring_core::StoreError::Conflict(format!("the alert {uid} is over")).into());
    }
    let (now, project) = (client.now(), client.project());
    let data = json!({ "title": before.title, "rule": before.rule_name, "note": note });
    let event = NewEvent::new(&format!("alert.{what}"), format!("alert/{uid}"), data).by(&client.signature());
    let write = Write::new()
        .then(change.expect_rows(1))
        .then(entry(project, uid, now, what, Some(client.actor()), note))
        .tell(now, project, event);
    tables(client)?.write(write).await.map(drop).map_err(refused)
}

/// Somebody takes it on.
pub async fn acknowledge(client: &Client, uid: &str, note: Option<&str>) -> Result<()> {
    let change = Statement::new(
        "UPDATE alerts_alerts SET acked_at = ?3, acked_by = ?4 WHERE uid = ?1 AND project = ?2 AND ended_at IS NULL",
    );
    let change = change.bind(uid).bind(client.project()).bind(client.now()).bind(client.actor());
    act(client, uid, "acknowledged", note, change).await
}

/// Nobody is told of it before `until`; if it still fires then, it is told anew. None ends a snooze.
pub async fn snooze(client: &Client, uid: &str, until: Option<Timestamp>, note: Option<&str>) -> Result<()> {
    check_snooze(until, client.now())?;
    let change = Statement::new(
        "UPDATE alerts_alerts SET snoozed_until = ?3 WHERE uid = ?1 AND project = ?2 AND ended_at IS NULL",
    );
    let change = change.bind(uid).bind(client.project()).bind(until);
    act(client, uid, if until.is_some() { "snoozed" } else { "woke" }, note, change).await
}

/// Ends it by hand: what it was about is not coming back. Should it still be breached, it stays
/// silent until it has recovered once, and nobody is told of that recovery.
pub async fn close(client: &Client, uid: &str, note: Option<&str>) -> Result<()> {
    let change = Statement::new(
        "UPDATE alerts_alerts SET ended_at = ?3, ended_why = 'closed by hand'
         WHERE uid = ?1 AND project = ?2 AND ended_at IS NULL",
    );
    let change = change.bind(uid).bind(client.project()).bind(client.now());
    act(client, uid, "closed", note, change).await
}
