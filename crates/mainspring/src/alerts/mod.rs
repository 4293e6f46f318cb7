//! Alerts: rules kept per project, what fires, and the heartbeats of jobs that run elsewhere.
//!
//! ```text
//!  step::watcher, once a minute ─▶ look: sample series ▶ read ▶ judge (both pure, in the domain)
//!                                    └▶ one write: the look (compare and swap), rule states,
//!                                       alerts, events, what is said of them and its delivery jobs
//! ```
//!
//! Any number of nodes look; one look of one project is written once, because the write swaps the
//! project's look from the minute before. [`backtest`] runs the same judge over what is kept.
//!
//! What this deliberately does not do: deliver (that is [`crate::notify`]) and decide when a rule is
//! breached (that is [`mainspring_core::alert`]).

mod backtest;
mod books;
mod defaults;
mod gather;
mod heartbeats;
mod look;
mod records;
mod rules;
mod series;
mod words;

pub use backtest::{Backtest, backtest};
pub use books::{AlertFilter, acknowledge, alert, alerts, close, firing, log, snooze};
pub use heartbeats::{
    Heartbeat, HeartbeatSpec, delete_heartbeat, heartbeat, heartbeats, make_heartbeat, ping, set_heartbeat,
};
pub use look::{LAG, Looker};
pub use records::{AlertRecord, AlertState, LogEntry, RuleRecord, RuleSpec};
pub use rules::{
    channels, delete_rule, enable_rule, make_rule, put_rule, rule, rules, seed, send_test, snooze_rule,
};
pub use series::{Written as SeriesPoint, record};
pub use words::{headline, value};

use crate::client::{Client, ClientError};
use mainspring_core::StoreError;
use mainspring_core::tables::{Migration, Result, Tables, TablesError};
use std::sync::Arc;

/// The tables, one migration after the other.
const MIGRATIONS: &[Migration] = &[
    Migration::new("0001_alerts", include_str!("0001_alerts.sql")),
    Migration::new("0002_sweep", include_str!("0002_sweep.sql")),
];

/// Brings the tables up to date. Called at every start.
pub async fn migrate(tables: &dyn Tables) -> Result<()> {
    tables.migrate("alerts", MIGRATIONS).await.map(drop)
}

/// What a client is told when tables refuse or fail.
fn refused(e: TablesError) -> ClientError {
    match e {
        TablesError::Store(e) => e.into(),
        TablesError::Broken(_) | TablesError::Unexpected { .. } => StoreError::Conflict(e.to_string()).into(),
        other => StoreError::Internal(other.to_string()).into(),
    }
}

/// The door of a client's store.
fn tables(client: &Client) -> Result<Arc<dyn Tables>, ClientError> {
    client.tables().ok_or_else(|| ClientError::invalid("store", "this store has no tables for alerts"))
}
