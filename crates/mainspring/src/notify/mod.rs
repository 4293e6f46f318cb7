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

mod channel;
mod compose;
mod deliver;
mod delivery;
mod error;
mod inbox;
mod notice;
mod timing;
mod upkeep;

pub use channel::{Channel, Kind, NewChannel, Setup, change, channel, channels, delete, make, test};
pub use compose::{Message, NoticeRecord};
pub use deliver::register;
pub use delivery::{Delivery, DeliveryState, deliveries, delivery, preview, redeliver, trouble};
pub use error::{NotifyError, Result};
pub use inbox::{
    COUNTED, Notification, Topic, badge, mark_all_read, mark_read, mute, muted, notifications, unread,
};
pub use mainspring_connect::smtp::Security;
pub use notice::{Announcement, CHANNELS, FACTS, Notice, NoticeState, Severity, TEXT, TITLE};
pub use timing::{Digest, Timing};
pub use upkeep::{KEEP, upkeep};

use crate::client::Client;
use mainspring_core::StoreError;
use mainspring_core::tables::{Migration, Tables, TablesError};
use std::sync::Arc;

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
pub async fn migrate(tables: &dyn Tables) -> Result<(), TablesError> {
    tables.migrate("notify", MIGRATIONS).await.map(drop)
}

/// The way to the tables of a client's store.
trait Door {
    async fn door(&self) -> Result<Arc<dyn Tables>, TablesError>;
}

impl Door for Client {
    async fn door(&self) -> Result<Arc<dyn Tables>, TablesError> {
        let none =
            || StoreError::Invalid { field: "store", text: "this store keeps no notifications".into() };
        self.tables().ok_or_else(|| none().into())
    }
}
