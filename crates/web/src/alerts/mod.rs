//! Alerts: what fires, what was, and what people do about it.

pub mod api;
pub mod pages;

use crate::access::Caller;
use crate::listing::Page;
use crate::problem::{Problem, Result};
use jiff::Timestamp;
use mainspring::alerts::{self, AlertFilter, AlertRecord, AlertState, LogEntry};
use mainspring_core::{duration, time};
use serde::{Deserialize, Serialize};

/// An alert as both faces show it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct AlertView {
    /// What it is called.
    pub id: String,
    /// The number of its rule, which may be gone.
    pub rule: i64,
    /// The rule's name when it fired.
    pub rule_name: String,
    /// Whom it is about; empty when it stands for all.
    pub subject: String,
    /// `firing`, `snoozed` (firing, and nobody is told), `recovered`.
    #[schema(value_type = String)]
    pub state: AlertState,
    /// `info`, `warning`, `critical`.
    #[schema(value_type = String)]
    pub severity: mainspring::notify::Severity,
    /// What is wrong, in one line.
    pub title: String,
    /// Who was beyond the limit when it fired, the worst first.
    pub breached: Vec<Breached>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub fired_at: Timestamp,
    /// Until when.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// Why it ended, when not by itself.
    pub ended_why: Option<String>,
    /// Nobody is told of it before this.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub snoozed_until: Option<Timestamp>,
    /// When somebody took it on.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub acknowledged_at: Option<Timestamp>,
    /// Who.
    pub acknowledged_by: Option<String>,
}

/// Somebody beyond a limit.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Breached {
    /// Who.
    pub subject: String,
    /// What was seen: failures in a row, per cent, seconds, jobs, the metric.
    pub value: f64,
}

impl AlertView {
    /// The view of a record at `now`.
    pub fn of(a: AlertRecord, now: Timestamp) -> AlertView {
        AlertView {
            state: a.state(now),
            id: a.uid,
            rule: a.rule,
            rule_name: a.rule_name,
            subject: a.subject,
            severity: a.severity,
            title: a.title,
            breached: a.breached.into_iter().map(|(subject, value)| Breached { subject, value }).collect(),
            fired_at: a.fired_at,
            ended_at: a.ended_at,
            ended_why: a.ended_why,
            snoozed_until: a.snoozed_until.filter(|until| *until > now),
            acknowledged_at: a.acked_at,
            acknowledged_by: a.acked_by,
        }
    }
}

/// What happened to an alert.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct AlertEntry {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `fired`, `recovered`, `acknowledged`, `snoozed`, `woke`, `closed`.
    pub what: String,
    /// Who did it, if a person or a program.
    pub actor: Option<String>,
    /// More.
    pub note: Option<String>,
}

impl From<LogEntry> for AlertEntry {
    fn from(e: LogEntry) -> AlertEntry {
        AlertEntry { at: e.at.0, what: e.what, actor: e.actor, note: e.note }
    }
}

/// An alert with all that happened to it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct AlertDetail {
    /// The alert.
    pub alert: AlertView,
    /// What happened, in order.
    pub log: Vec<AlertEntry>,
}

/// A page of alerts, the newest first.
pub async fn list(caller: &Caller, filter: &AlertFilter, limit: u32) -> Result<Page<AlertView>> {
    let client = caller.client();
    let (rows, more) = alerts::alerts(client, filter, limit).await?;
    let next = rows.last().filter(|_| more).map(|a| a.uid.clone());
    Ok(Page::new(rows.into_iter().map(|a| AlertView::of(a, client.now())).collect(), next))
}

/// One alert with its log.
pub async fn detail(caller: &Caller, uid: &str) -> Result<AlertDetail> {
    let client = caller.client();
    let alert = AlertView::of(alerts::alert(client, uid).await?, client.now());
    let log = alerts::log(client, uid).await?.into_iter().map(AlertEntry::from).collect();
    Ok(AlertDetail { alert, log })
}

/// How something is silenced: until an instant, for a length, or no longer.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Snooze {
    /// Until this instant.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// For this long from now: `2h`. Neither: it is silenced no longer.
    #[serde(rename = "for")]
    pub length: Option<String>,
    /// Why.
    pub note: Option<String>,
}

impl Snooze {
    /// Until when.
    pub fn until(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        match self.length.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
            Some(_) if self.until.is_some() => {
                Err(Problem::invalid("for", "say either until or for, not both"))
            }
            Some(text) => {
                let length = duration::parse(text).map_err(|e| Problem::invalid("for", e))?;
                Ok(Some(time::plus(now, length)))
            }
            None => Ok(self.until),
        }
    }
}

/// Text for a log, if there is any.
pub fn note(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}
