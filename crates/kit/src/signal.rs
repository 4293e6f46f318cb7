//! Signals: something that a person may want to act on.
//!
//! Raised under a key that is held while the signal is open: raising it again counts and brings it up to
//! date instead of making a second one. How urgent it is follows from when it expires and is computed when
//! it is read, never kept.

use crate::{Kit, KitError, Result};
use jiff::{SignedDuration, Timestamp};
use mainspring_core::limits;
use mainspring_core::tables::{AsJson, At, Statement};
use serde::Deserialize;

/// Characters of a title.
pub const TITLE: usize = 200;
/// Items that may be named as evidence.
pub const EVIDENCE: usize = 100;

mainspring_core::words! {
    /// How bad or good it is.
    Severity {
        /// Worth knowing.
        Low = "low",
        /// Somebody should look.
        Medium = "medium",
        /// Somebody should act.
        High = "high",
        /// Somebody must act now.
        Critical = "critical",
    }
}

mainspring_core::words! {
    /// How soon, by the time that is left: less than 4 hours critical, less than 24 high, 7 days and less
    /// medium, otherwise low.
    Urgency {
        /// More than 7 days, or for ever.
        Low = "low",
        /// At most 7 days.
        Medium = "medium",
        /// Less than 24 hours.
        High = "high",
        /// Less than 4 hours.
        Critical = "critical",
    }
}

impl Urgency {
    /// The urgency of something that expires then.
    pub fn of(expires: Option<Timestamp>, now: Timestamp) -> Urgency {
        let Some(expires) = expires else { return Urgency::Low };
        let left = expires.duration_since(now);
        match left {
            left if left < SignedDuration::from_hours(4) => Urgency::Critical,
            left if left < SignedDuration::from_hours(24) => Urgency::High,
            left if left <= SignedDuration::from_hours(7 * 24) => Urgency::Medium,
            _ => Urgency::Low,
        }
    }
}

mainspring_core::words! {
    /// What became of it.
    SignalState {
        /// Nobody has done anything yet.
        Open = "open",
        /// Somebody acted on it.
        Acted = "acted",
        /// Somebody wants to hear no more of it.
        Dismissed = "dismissed",
        /// Its time is over.
        Expired = "expired",
    }
}

/// A signal to be raised.
#[derive(Clone, Debug)]
pub struct NewSignal {
    /// What kind: `hot_lead`, `sla_breach`.
    pub kind: &'static str,
    /// What it is about; with the kind, what makes it one signal.
    pub key: String,
    /// Of whom.
    pub subject: Option<i64>,
    /// How bad or good.
    pub severity: Severity,
    /// In one line.
    pub title: String,
    /// More of it, in plain text.
    pub text: String,
    /// The items that show it.
    pub evidence: Vec<i64>,
    /// Whether somebody has to do something.
    pub requires_action: bool,
    /// Until when it is worth anything.
    pub expires: Option<Timestamp>,
}

/// A signal as it is kept.
#[derive(Clone, Debug, Deserialize)]
pub struct Signal {
    /// Its number.
    pub id: i64,
    /// Of whom.
    pub subject: Option<i64>,
    /// What kind.
    pub kind: String,
    /// How bad or good.
    pub severity: Severity,
    /// In one line.
    pub title: String,
    /// More of it.
    pub text: String,
    /// The items that show it.
    pub evidence: AsJson<Vec<i64>>,
    /// Whether somebody has to do something.
    pub requires_action: bool,
    /// Until when it is worth anything.
    pub expires: Option<At>,
    /// What became of it.
    pub state: SignalState,
    /// How often it was raised while open.
    pub seen: u32,
    /// When it was first raised.
    pub created: At,
    /// When it last changed.
    pub changed: At,
    /// Who acted or dismissed.
    pub closed_by: Option<String>,
}

impl Signal {
    /// How soon, seen from `now`.
    pub fn urgency(&self, now: Timestamp) -> Urgency {
        Urgency::of(self.expires.map(|at| at.0), now)
    }
}

const COLUMNS: &str = "id, subject, kind, severity, title, text, evidence, requires_action, expires, state,
    seen, created, changed, closed_by";

impl Kit {
    /// The statement that raises a signal; it gives (number, how often raised): 1 when it is new.
    pub fn raise(&self, new: &NewSignal) -> Result<Statement> {
        if new.evidence.len() > EVIDENCE {
            let text = format!("{} items, at most {EVIDENCE} may be named", new.evidence.len());
            return Err(KitError::invalid("evidence", text));
        }
        let statement = self.own(
            "INSERT INTO kit_signals (project, pack, subject, kind, severity, title, text, evidence,
                 requires_action, expires, state, open_key, seen, created, changed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'open', ?11, 1, ?12, ?12)
             ON CONFLICT (project, pack, open_key) DO UPDATE SET
                 severity = excluded.severity, title = excluded.title, text = excluded.text,
                 evidence = excluded.evidence, requires_action = excluded.requires_action,
                 expires = excluded.expires, seen = kit_signals.seen + 1, changed = excluded.changed
             RETURNING id, seen",
        );
        let statement = statement.bind(new.subject).bind(new.kind).bind(new.severity.as_str());
        let statement =
            statement.bind(limits::cut(&new.title, TITLE)).bind(limits::cut(&new.text, limits::NOTE));
        let statement = statement.bind(AsJson(&new.evidence)).bind(new.requires_action).bind(new.expires);
        Ok(statement.bind(format!("{}/{}", new.kind, new.key)).bind(self.now()))
    }

    /// Signals with a number below `before`, the newest first; `open`: only those.
    pub async fn signals(&self, open: bool, before: Option<i64>, limit: u32) -> Result<Vec<Signal>> {
        let only = if open { "AND open_key IS NOT NULL" } else { "" };
        let statement = self.own_built(format!(
            "SELECT {COLUMNS} FROM kit_signals WHERE project = ?1 AND pack = ?2 AND id < ?3 {only}
             ORDER BY id DESC LIMIT ?4"
        ));
        let statement = statement.bind(before.unwrap_or(i64::MAX));
        Ok(self.read(statement.bind(limit.min(1000))).await?.into_typed()?)
    }

    /// Closes an open signal. False when it was not open any more.
    pub async fn close_signal(&self, id: i64, state: SignalState, by: &str) -> Result<bool> {
        if state == SignalState::Open {
            return Err(KitError::invalid("state", "a signal is closed as acted, dismissed or expired"));
        }
        let statement = self.own(
            "UPDATE kit_signals SET state = ?4, open_key = NULL, closed_by = ?5, changed = ?6
             WHERE project = ?1 AND pack = ?2 AND id = ?3 AND open_key IS NOT NULL",
        );
        let statement = statement.bind(id).bind(state.as_str()).bind(by).bind(self.now());
        Ok(self.write(statement).await?.rows[0].affected() == 1)
    }

    /// Closes the open signal of a kind and key, whose cause is over, if there is one.
    pub async fn settle(&self, kind: &str, key: &str) -> Result<bool> {
        let statement = self.own(
            "UPDATE kit_signals SET state = 'expired', open_key = NULL, changed = ?4
             WHERE project = ?1 AND pack = ?2 AND open_key = ?3",
        );
        let statement = statement.bind(format!("{kind}/{key}")).bind(self.now());
        Ok(self.write(statement).await?.rows[0].affected() == 1)
    }

    /// Closes what has expired; how many.
    pub async fn expire_signals(&self) -> Result<u64> {
        let statement = self.own(
            "UPDATE kit_signals SET state = 'expired', open_key = NULL, changed = ?3
             WHERE project = ?1 AND pack = ?2 AND open_key IS NOT NULL AND expires <= ?3",
        );
        Ok(self.write(statement.bind(self.now())).await?.rows[0].affected())
    }
}
