//! Deliveries: the outbox of what packs send to the world, once.
//!
//! ```text
//!  queued ──begin──▶ sending ──sent──▶ sent            the receiver said so
//!    ▲                 │ ├──failed──▶ failed | queued   it said no, for good or for now
//!    └──not there──────┘ └──unclear─▶ unknown           nobody knows
//! ```
//!
//! A delivery is known by a key that its maker derives from what it is about, so asking for it twice makes
//! one. Before the receiver is asked, `sending` is written; whoever finds that, or `unknown`, must look at
//! the receiver before sending again ([`Next::Reconcile`]): that is the only way that a post which was
//! stored and not acknowledged is not stored twice.

use crate::{Kit, KitError, Result};
use mainspring_core::limits;
use mainspring_core::tables::{AsJson, At, Statement};
use serde::Deserialize;
use serde_json::Value;

/// Characters of a key.
pub const KEY: usize = 300;

mainspring_core::words! {
    /// Where a delivery stands.
    DeliveryState {
        /// It waits to be sent.
        Queued = "queued",
        /// A try has begun; its end is not written.
        Sending = "sending",
        /// The receiver has it and said so.
        Sent = "sent",
        /// It will not be sent.
        Failed = "failed",
        /// Nobody knows whether the receiver has it.
        Unknown = "unknown",
    }
}

/// A delivery as it is kept.
#[derive(Clone, Debug, Deserialize)]
pub struct Delivery {
    /// Its number.
    pub id: i64,
    /// What makes it one.
    pub key: String,
    /// Where to.
    pub channel: String,
    /// What.
    pub payload: AsJson<Value>,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub tries: u32,
    /// The receiver's own name for it.
    pub remote: Option<String>,
    /// Where people see it.
    pub url: Option<String>,
    /// What the last try said.
    pub error: Option<String>,
    /// When it was asked for.
    pub created: At,
    /// When the receiver took it.
    pub sent: Option<At>,
}

/// What a try has to do.
#[derive(Clone, Debug)]
pub enum Next {
    /// Send it.
    Send(Delivery),
    /// Look whether the receiver has it; then [`Kit::delivered`], or [`Kit::not_there`] and begin anew.
    Reconcile(Delivery),
    /// Nothing: it is sent or has failed.
    Nothing(Delivery),
}

/// How a try ended without the receiver's yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It said no, and will again.
    ForGood,
    /// It said no, and may say yes later.
    ForNow,
    /// Nobody knows what it did: the answer was lost.
    Unclear,
}

const COLUMNS: &str = "id, key, channel, payload, state, tries, remote, url, error, created, sent";

impl Kit {
    /// The statement that asks for a delivery; it gives its number. One with this key that is there
    /// already stays as it is.
    pub fn deliver(&self, key: &str, channel: &str, payload: &Value) -> Result<Statement> {
        if key.is_empty() || key.chars().count() > KEY {
            return Err(KitError::invalid("key", format!("a delivery's key has 1 to {KEY} characters")));
        }
        let statement = self.own(
            "INSERT INTO kit_deliveries (project, pack, key, channel, payload, state, created, changed)
             VALUES (?1, ?2, ?3, ?4, ?5, 'queued', ?6, ?6)
             ON CONFLICT (project, pack, key) DO UPDATE SET key = excluded.key
             RETURNING id",
        );
        Ok(statement.bind(key).bind(channel).bind(AsJson(payload)).bind(self.now()))
    }

    /// One delivery.
    pub async fn delivery(&self, id: i64) -> Result<Delivery> {
        let statement = self.own_built(format!(
            "SELECT {COLUMNS} FROM kit_deliveries WHERE project = ?1 AND pack = ?2 AND id = ?3"
        ));
        let statement = statement.bind(id);
        self.read(statement).await?.optional()?.ok_or_else(|| KitError::not_found("delivery", id))
    }

    /// Deliveries in a state with a number above `after`, at most `limit` (1,000).
    pub async fn deliveries(&self, state: DeliveryState, after: i64, limit: u32) -> Result<Vec<Delivery>> {
        let statement = self.own_built(format!(
            "SELECT {COLUMNS} FROM kit_deliveries WHERE project = ?1 AND pack = ?2 AND state = ?3 AND id > ?4
             ORDER BY id LIMIT ?5"
        ));
        let statement = statement.bind(state.as_str()).bind(after);
        Ok(self.read(statement.bind(limit.min(1000))).await?.into_typed()?)
    }

    /// Begins a try. Call it first in every attempt; one job at a time for a delivery.
    pub async fn begin_delivery(&self, id: i64) -> Result<Next> {
        let statement = self.own(
            "UPDATE kit_deliveries SET state = 'sending', tries = tries + 1, changed = ?4
             WHERE project = ?1 AND pack = ?2 AND id = ?3 AND state = 'queued'",
        );
        let written = self.write(statement.bind(id).bind(self.now())).await?;
        let delivery = self.delivery(id).await?;
        Ok(match (written.rows[0].affected(), delivery.state) {
            (1, _) => Next::Send(delivery),
            (_, DeliveryState::Sent | DeliveryState::Failed) => Next::Nothing(delivery),
            _ => Next::Reconcile(delivery),
        })
    }

    /// The receiver has it. True whatever was believed before, unless it was known already.
    pub async fn delivered(&self, id: i64, remote: Option<&str>, url: Option<&str>) -> Result<()> {
        let statement = self.own(
            "UPDATE kit_deliveries SET state = 'sent', remote = ?4, url = ?5, error = NULL, sent = ?6, changed = ?6
             WHERE project = ?1 AND pack = ?2 AND id = ?3 AND state <> 'sent'",
        );
        self.write(statement.bind(id).bind(remote).bind(url).bind(self.now())).await.map(drop)
    }

    /// A try that began ended without the receiver's yes.
    pub async fn refused(&self, id: i64, refusal: Refusal, error: &str) -> Result<()> {
        let state = match refusal {
            Refusal::ForGood => DeliveryState::Failed,
            Refusal::ForNow => DeliveryState::Queued,
            Refusal::Unclear => DeliveryState::Unknown,
        };
        let statement = self.own(
            "UPDATE kit_deliveries SET state = ?4, error = ?5, changed = ?6
             WHERE project = ?1 AND pack = ?2 AND id = ?3 AND state = 'sending'",
        );
        let statement = statement.bind(id).bind(state.as_str()).bind(limits::cut(error, limits::NOTE));
        self.write(statement.bind(self.now())).await.map(drop)
    }

    /// The receiver was looked at and does not have it: it may be sent again.
    pub async fn not_there(&self, id: i64) -> Result<()> {
        let statement = self.own(
            "UPDATE kit_deliveries SET state = 'queued', changed = ?4
             WHERE project = ?1 AND pack = ?2 AND id = ?3 AND state IN ('sending', 'unknown')",
        );
        self.write(statement.bind(id).bind(self.now())).await.map(drop)
    }

    /// A person wants what failed, or what nobody knows of, to be tried again. False when there was
    /// nothing to try.
    pub async fn redeliver(&self, id: i64) -> Result<bool> {
        // What is not known stays so: the next try looks first.
        let statement = self.own(
            "UPDATE kit_deliveries SET state = CASE state WHEN 'failed' THEN 'queued' ELSE state END, changed = ?4
             WHERE project = ?1 AND pack = ?2 AND id = ?3 AND state IN ('failed', 'unknown')",
        );
        Ok(self.write(statement.bind(id).bind(self.now())).await?.rows[0].affected() == 1)
    }
}
