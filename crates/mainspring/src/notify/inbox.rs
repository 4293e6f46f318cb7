//! Notifications in the dashboard: what an account has not seen yet, and what it does not want to be
//! counted.
//!
//! A notice is one row for everybody; what each account has read is kept apart, as a mark up to which
//! everything counts as read and single ones beyond it.

use super::Door;
use super::compose::NoticeRecord;
use super::error::{NotifyError, Result};
use crate::client::Client;
use mainspring_core::tables::{Statement, Tables, TablesError, Write};
use mainspring_core::words;
use mainspring_core::{ProjectId, limits};
use serde::Deserialize;

/// The badge counts up to here.
pub const COUNTED: u32 = 100;

words! {
    /// What an account can choose to be told or not.
    Topic {
        /// Something critical.
        Critical = "critical",
        /// A warning.
        Warning = "warning",
        /// For information.
        Info = "info",
        /// Something is well again.
        Recovered = "recovered",
        /// Messages of packs and programs.
        Message = "message",
    }
}

/// A notice as an account sees it.
#[derive(Clone, Debug)]
pub struct Notification {
    /// The notice.
    pub notice: NoticeRecord,
    /// Whether the account has seen it.
    pub read: bool,
}

/// The topic of a row of `n`, in SQL.
const TOPIC: &str = "CASE n.state WHEN 'firing' THEN n.severity ELSE n.state END";
/// That account ?1 has not read the row of `n`, in SQL.
const UNREAD: &str =
    "n.id > coalesce((SELECT s.upto FROM notify_seen s WHERE s.account = ?1 AND s.project = ?2), 0)
    AND NOT EXISTS (SELECT 1 FROM notify_reads r WHERE r.account = ?1 AND r.notice = n.id)";

#[derive(Deserialize)]
struct Row {
    id: i64,
    uid: String,
    key: String,
    severity: super::Severity,
    state: super::NoticeState,
    title: String,
    text: String,
    facts: mainspring_core::tables::AsJson<Vec<(String, String)>>,
    path: String,
    at: mainspring_core::tables::At,
    urgent: bool,
    unread: bool,
}

impl From<Row> for Notification {
    fn from(r: Row) -> Notification {
        let (id, uid, key, severity, state) = (r.id, r.uid, r.key, r.severity, r.state);
        let (title, text, facts, path, at, urgent) = (r.title, r.text, r.facts, r.path, r.at, r.urgent);
        let notice = NoticeRecord { id, uid, key, severity, state, title, text, facts, path, at, urgent };
        Notification { notice, read: !r.unread }
    }
}

/// Notifications with a number below `before`, the newest first.
pub async fn notifications(
    client: &Client,
    account: i64,
    unread_only: bool,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Notification>> {
    let only = if unread_only { format!("AND {UNREAD}") } else { String::new() };
    let statement = Statement::built(format!(
        "SELECT n.id, n.uid, n.key, n.severity, n.state, n.title, n.text, n.facts, n.path, n.at, n.urgent,
             CASE WHEN {UNREAD} THEN 1 ELSE 0 END AS unread
         FROM notify_notices n WHERE n.project = ?2 AND n.id < ?3 AND n.state <> 'test' {only}
         ORDER BY n.id DESC LIMIT ?4"
    ));
    let statement =
        statement.bind(account).bind(client.project()).bind(before.unwrap_or(i64::MAX)).bind(limit);
    let rows: Vec<Row> = client.door().await?.read(statement).await?.into_typed()?;
    Ok(rows.into_iter().map(Notification::from).collect())
}

/// How many an account has not seen, of what it wants to be told: at most [`COUNTED`].
pub async fn unread(tables: &dyn Tables, project: ProjectId, account: i64) -> Result<u32, TablesError> {
    let statement = Statement::built(format!(
        "SELECT count(*) AS n FROM (SELECT n.id FROM notify_notices n
         WHERE n.project = ?2 AND n.state <> 'test' AND {UNREAD}
             AND NOT EXISTS (SELECT 1 FROM notify_preferences p WHERE p.account = ?1 AND p.project = ?2
                 AND p.place = 'in_app' AND p.wanted = 0 AND p.event = {TOPIC})
         LIMIT ?3) counted"
    ));
    tables.read(statement.bind(account).bind(project).bind(COUNTED)).await?.one()
}

/// Marks one as read.
pub async fn mark_read(client: &Client, account: i64, id: i64) -> Result<()> {
    let statement = Statement::new(
        "INSERT INTO notify_reads (account, notice)
         SELECT CAST(?1 AS INTEGER), n.id FROM notify_notices n WHERE n.id = ?2 AND n.project = ?3
         ON CONFLICT (account, notice) DO UPDATE SET account = excluded.account",
    );
    let statement = statement.bind(account).bind(id).bind(client.project()).expect_rows(1);
    match client.door().await?.write(statement.into()).await {
        Ok(_) => Ok(()),
        Err(TablesError::Unexpected { .. }) => Err(NotifyError::not_found("notification", id)),
        Err(e) => Err(e.into()),
    }
}

/// Marks everything there is as read.
pub async fn mark_all_read(client: &Client, account: i64) -> Result<()> {
    let seen = Statement::new(
        "INSERT INTO notify_seen (account, project, upto)
         SELECT CAST(?1 AS INTEGER), CAST(?2 AS INTEGER), coalesce(max(n.id), 0) FROM notify_notices n WHERE n.project = ?2
         ON CONFLICT (account, project) DO UPDATE SET upto = excluded.upto",
    );
    let single = Statement::new(
        "DELETE FROM notify_reads WHERE account = ?1 AND notice IN
             (SELECT n.id FROM notify_notices n WHERE n.project = ?2)",
    );
    let write = Write::new()
        .then(seen.bind(account).bind(client.project()))
        .then(single.bind(account).bind(client.project()));
    client.door().await?.write(write).await?;
    Ok(())
}

/// The topics that an account does not want to be counted.
pub async fn muted(client: &Client, account: i64) -> Result<Vec<Topic>> {
    let statement = Statement::new(
        "SELECT event FROM notify_preferences WHERE account = ?1 AND project = ?2 AND place = 'in_app' AND wanted = 0
         ORDER BY event",
    );
    let statement = statement.bind(account).bind(client.project());
    Ok(client.door().await?.read(statement).await?.into_typed()?)
}

/// Sets them.
pub async fn mute(client: &Client, account: i64, topics: &[Topic]) -> Result<()> {
    let clear = Statement::new("DELETE FROM notify_preferences WHERE account = ?1 AND project = ?2");
    let clear = clear.bind(account).bind(client.project());
    let mut topics = topics.to_vec();
    topics.sort();
    topics.dedup();
    let write = topics.iter().fold(Write::new().then(clear), |write, topic| {
        let insert = Statement::new(
            "INSERT INTO notify_preferences (account, project, event, place, wanted) VALUES (?1, ?2, ?3, 'in_app', 0)",
        );
        write.then(insert.bind(account).bind(client.project()).bind(topic.as_str()))
    });
    client.door().await?.write(write).await?;
    Ok(())
}

/// A text for a badge: `3`, `99+`.
pub fn badge(n: u32) -> String {
    if n >= COUNTED { format!("{}+", COUNTED - 1) } else { limits::cut(&n.to_string(), 8) }
}
