//! What is kept of rules and alerts, as everybody sees it.

use crate::notify::Severity;
use jiff::Timestamp;
use mainspring_core::alert::{Rule, RuleState};
use mainspring_core::ids::ProjectId;
use mainspring_core::tables::{AsJson, At};
use mainspring_core::{job, limits};
use serde::{Deserialize, Serialize};

/// What a person sets of a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleSpec {
    /// What it looks for, how often, and how sure it wants to be.
    #[serde(flatten)]
    pub rule: Rule,
    /// How bad it is when it fires.
    #[serde(default = "warning")]
    pub severity: Severity,
    /// Channels that are told; in the dashboard it is always told.
    #[serde(default)]
    pub channels: Vec<i64>,
    /// Whether it is said when it is over.
    #[serde(default = "yes")]
    pub recovery: bool,
    /// Whether it may break the quiet hours of its channels.
    #[serde(default)]
    pub urgent: bool,
    /// What to do when it fires; sent along.
    #[serde(default)]
    pub note: String,
}

fn warning() -> Severity {
    Severity::Warning
}

fn yes() -> bool {
    true
}

impl RuleSpec {
    /// A rule with every default.
    pub fn new(rule: Rule) -> RuleSpec {
        RuleSpec {
            rule,
            severity: warning(),
            channels: vec![],
            recovery: true,
            urgent: false,
            note: String::new(),
        }
    }

    /// What is wrong with it, as (field, text).
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.channels.len() > limits::ALERT_CHANNELS {
            return Err(("channels", format!("at most {} are allowed", limits::ALERT_CHANNELS)));
        }
        if self.note.len() > limits::NOTE || self.note.contains('\0') {
            return Err(("note", format!("must be at most {} bytes of text", limits::NOTE)));
        }
        self.rule.check()
    }
}

/// A rule as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleRecord {
    /// Its number.
    pub id: i64,
    /// Its tenant.
    pub project: ProjectId,
    /// Its name, once per project.
    pub name: String,
    /// What is set.
    pub spec: RuleSpec,
    /// Whether it looks at all.
    pub enabled: bool,
    /// Nobody is told before this.
    pub snoozed_until: Option<Timestamp>,
    /// What the judge remembers.
    pub state: RuleState,
    /// Rises when a person changes it.
    pub version: i64,
    /// Who changed it last.
    pub changed_by: String,
    /// When.
    pub changed_at: Timestamp,
}

/// As tables hold it.
#[derive(Deserialize)]
pub(super) struct RuleRow {
    id: i64,
    project: i64,
    name: String,
    spec: AsJson<RuleSpec>,
    enabled: bool,
    snoozed_until: Option<At>,
    state: AsJson<RuleState>,
    version: i64,
    changed_by: String,
    changed_at: At,
}

/// The columns of a [`RuleRow`].
pub(super) const RULE: &str = "id, project, name, spec, enabled, snoozed_until, state, version, changed_by, changed_at FROM alerts_rules";

impl RuleRow {
    pub(super) fn record(self) -> RuleRecord {
        RuleRecord {
            id: self.id,
            project: ProjectId(self.project),
            name: self.name,
            spec: self.spec.0,
            enabled: self.enabled,
            snoozed_until: self.snoozed_until.map(|at| at.0),
            state: self.state.0,
            version: self.version,
            changed_by: self.changed_by,
            changed_at: self.changed_at.0,
        }
    }
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It is so now.
    Firing,
    /// It is so now, and somebody does not want to hear of it for a while.
    Snoozed,
    /// It is over.
    Recovered,
}

impl AlertState {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertState::Firing => "firing",
            AlertState::Snoozed => "snoozed",
            AlertState::Recovered => "recovered",
        }
    }
}

/// A rule that matched.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRecord {
    /// What it is called: `alt_…`.
    pub uid: String,
    /// Its rule's number; the rule may be gone.
    pub rule: i64,
    /// Its rule's name then.
    pub rule_name: String,
    /// Whom it is about; empty when it stands for all.
    pub subject: String,
    /// How bad.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub title: String,
    /// Who was breached when it fired, with what was seen.
    pub breached: Vec<(String, f64)>,
    /// Since when.
    pub fired_at: Timestamp,
    /// Until when.
    pub ended_at: Option<Timestamp>,
    /// Why it ended, when not by itself.
    pub ended_why: Option<String>,
    /// Nobody is told before this.
    pub snoozed_until: Option<Timestamp>,
    /// When somebody took it on.
    pub acked_at: Option<Timestamp>,
    /// Who.
    pub acked_by: Option<String>,
}

impl AlertRecord {
    /// Where it stands at `now`.
    pub fn state(&self, now: Timestamp) -> AlertState {
        match (self.ended_at, self.snoozed_until) {
            (Some(_), _) => AlertState::Recovered,
            (None, Some(until)) if until > now => AlertState::Snoozed,
            _ => AlertState::Firing,
        }
    }
}

/// As tables hold it.
#[derive(Deserialize)]
pub(super) struct AlertRow {
    uid: String,
    rule: i64,
    rule_name: String,
    subject: String,
    severity: String,
    title: String,
    breached: AsJson<Vec<(String, f64)>>,
    fired_at: At,
    ended_at: Option<At>,
    ended_why: Option<String>,
    snoozed_until: Option<At>,
    acked_at: Option<At>,
    acked_by: Option<String>,
}

/// The columns of an [`AlertRow`].
pub(super) const ALERT: &str = "uid, rule, rule_name, subject, severity, title, breached, fired_at, ended_at, \
     ended_why, snoozed_until, acked_at, acked_by FROM alerts_alerts";

impl AlertRow {
    pub(super) fn record(self) -> AlertRecord {
        let instant = |at: Option<At>| at.map(|at| at.0);
        AlertRecord {
            uid: self.uid,
            rule: self.rule,
            rule_name: self.rule_name,
            subject: self.subject,
            severity: self.severity.parse().unwrap_or(Severity::Warning),
            title: self.title,
            breached: self.breached.0,
            fired_at: self.fired_at.0,
            ended_at: instant(self.ended_at),
            ended_why: self.ended_why,
            snoozed_until: instant(self.snoozed_until),
            acked_at: instant(self.acked_at),
            acked_by: self.acked_by,
        }
    }
}

/// What happened to an alert.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct LogEntry {
    /// When.
    pub at: At,
    /// `fired`, `recovered`, `acknowledged`, `snoozed`, `woke`, `closed`.
    pub what: String,
    /// Who did it, if a person.
    pub actor: Option<String>,
    /// More.
    pub note: Option<String>,
}

/// Names of rules and heartbeats.
pub(super) fn check_name(name: &str) -> Result<(), crate::client::ClientError> {
    job::check_name(name).map_err(|text| crate::client::ClientError::invalid("name", text))
}
