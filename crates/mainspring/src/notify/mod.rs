//! Notifications: what people are told, where it goes, and what became of it.
//!
//! ```text
//!  rule, pack, test ─▶ Notice::announce ─▶ one write: notice + deliveries + a job for each
//!                                             │                      └▶ deliver: the channel's service ─▶ sent
//!                                             └▶ the dashboard: unread until somebody has seen it
//! ```
//!
//! A delivery is an ordinary job of kind [`KIND`], so retries, back-off and history come free; its row
//! says `sent` only after the service took it.

mod notice;
mod timing;

pub use notice::{Announcement, CHANNELS, FACTS, Notice, NoticeState, Severity, TEXT, TITLE};
pub use timing::{Digest, Timing};

use mainspring_core::tables::{Migration, Result, Tables};

/// The kind of the jobs that deliver.
pub const KIND: &str = "mainspring.notify";
/// Their queue: an own one, so that pausing or filling another one silences nobody.
pub const QUEUE: &str = "notifications";

/// The tables, one migration after the other.
const MIGRATIONS: &[Migration] = &[
    Migration::new("0001_notify", include_str!("0001_notify.sql")),
    Migration::new("0002_urgent", include_str!("0002_urgent.sql")),
];

/// Brings the tables up to date. Called at every start, before anything is announced.
pub async fn migrate(tables: &dyn Tables) -> Result<()> {
    tables.migrate("notify", MIGRATIONS).await.map(drop)
}
