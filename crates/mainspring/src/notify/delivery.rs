//! Deliveries as they are kept: list, show, send again; and what is wrong with the channels, for the
//! health page.

use super::Door;
use super::compose::{Message, NoticeRecord};
use super::error::{NotifyError, Result};
use super::notice::{insert_delivery, job};
use crate::client::Client;
use mainspring_core::event::NewEvent;
use mainspring_core::ids::JobId;
use mainspring_core::tables::{At, Statement, Tables, TablesError, Write};
use mainspring_core::time;
use serde::Deserialize;

mainspring_core::words! {
    /// What became of a delivery.
    DeliveryState {
        /// Waits, is held, or is tried again.
        Queued = "queued",
        /// The service took it.
        Sent = "sent",
        /// It was not taken and will not be tried again.
        Failed = "failed",
        /// It was handed over and nobody knows whether it was taken.
        Unknown = "unknown",
    }
}

/// A delivery as it is kept.
#[derive(Clone, Debug, Deserialize)]
pub struct Delivery {
    /// Its number.
    pub id: i64,
    /// Its key: of the notice and the channel.
    pub uid: String,
    /// The notice's key.
    pub notice: String,
    /// The notice's title.
    pub title: Option<String>,
    /// The channel's number; it may be gone.
    pub channel: i64,
    /// Its name then.
    pub channel_name: String,
    /// What it led to.
    pub channel_kind: super::Kind,
    /// What became of it.
    pub state: DeliveryState,
    /// Until when it waits: quiet hours, digest, gathering.
    pub held_until: Option<At>,
    /// The job that delivers it; known once it has begun.
    pub job: Option<JobId>,
    /// How often the service was asked.
    pub tries: i64,
    /// The delivery whose message had this one in it.
    pub carried_by: Option<String>,
    /// What the service answered.
    pub receipt: Option<String>,
    /// Why the last try failed.
    pub error: Option<String>,
    /// When it was said.
    pub created: At,
    /// When something last became of it.
    pub changed: At,
    /// When it was taken.
    pub sent: Option<At>,
}

const COLUMNS: &str = "d.id, d.uid, d.notice, n.title, d.channel, d.channel_name, d.channel_kind, d.state, d.held_until, \
                       d.job, d.tries, d.carried_by, d.receipt, d.error, d.created, d.changed, d.sent";
const NOTICE: &str = "id, uid, key, severity, state, title, text, facts, path, at, urgent";

/// Deliveries with a number below `before`, the newest first; of one channel and in one state if
/// asked for.
pub async fn deliveries(
    client: &Client,
    channel: Option<i64>,
    state: Option<DeliveryState>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Delivery>> {
    let statement = Statement::built(format!(
        "SELECT {COLUMNS} FROM notify_deliveries d LEFT JOIN notify_notices n ON n.uid = d.notice
         WHERE d.project = ?1 AND d.id < ?2 AND (?3 = 0 OR d.channel = ?3) AND (?4 = '' OR d.state = ?4)
         ORDER BY d.id DESC LIMIT ?5"
    ));
    let statement = statement
        .bind(client.project())
        .bind(before.unwrap_or(i64::MAX))
        .bind(channel.unwrap_or(0))
        .bind(state.map_or("", DeliveryState::as_str))
        .bind(limit);
    Ok(client.door().await?.read(statement).await?.into_typed()?)
}

/// One delivery with the notice it carries.
pub async fn delivery(client: &Client, id: i64) -> Result<(Delivery, Option<NoticeRecord>)> {
    let tables = client.door().await?;
    let statement = Statement::built(format!(
        "SELECT {COLUMNS} FROM notify_deliveries d LEFT JOIN notify_notices n ON n.uid = d.notice
         WHERE d.project = ?1 AND d.id = ?2"
    ));
    let found: Option<Delivery> = tables.read(statement.bind(client.project()).bind(id)).await?.optional()?;
    let found = found.ok_or_else(|| NotifyError::not_found("delivery", id))?;
    let notice = Statement::built(format!("SELECT {NOTICE} FROM notify_notices WHERE uid = ?1"));
    let notice = tables.read(notice.bind(found.notice.as_str())).await?.optional()?;
    Ok((found, notice))
}

/// Sends the same notice by the same channel once more: a delivery of its own, whose number is
/// answered. Receivers that know the id of the first see the same one.
pub async fn redeliver(client: &Client, id: i64) -> Result<i64> {
    let (old, notice) = delivery(client, id).await?;
    if notice.is_none() {
        return Err(NotifyError::not_found("notice", old.notice));
    }
    super::channel(client, old.channel).await?;
    let (now, project) = (client.now(), client.project());
    let uid = format!("{}_{}_{}", old.notice, old.channel, time::micros(now));
    let event = NewEvent::new("delivery.repeated", format!("delivery/{id}"), serde_json::json!({}));
    let write = Write::new()
        .then(insert_delivery(&uid, project, &old.notice, old.channel, now))
        .enqueue(now, project, vec![job(&uid, old.channel)])
        .tell(now, project, event.by(&client.signature()));
    let tables = client.door().await?;
    tables.write(write).await?;
    let made =
        tables.read(Statement::new("SELECT id FROM notify_deliveries WHERE uid = ?1").bind(uid)).await?;
    Ok(made.one()?)
}

/// The mail that a delivery would be, or was: subject, plain text, HTML.
pub fn preview(notice: &NoticeRecord, project: &str, home: &str) -> (String, String, String) {
    let one = std::slice::from_ref(notice);
    let message = Message { notices: one, project, home };
    (message.subject(), message.text(), message.html())
}

/// Channels of all projects that cannot deliver: switched on, and stopped or failing. Project's
/// number, channel's name, why.
pub async fn trouble(tables: &dyn Tables) -> Result<Vec<(i64, String, String)>, TablesError> {
    let statement = Statement::new(
        "SELECT project, name, coalesce(stopped, last_error, '') AS why FROM notify_channels
         WHERE enabled = 1 AND (failing > 0 OR stopped IS NOT NULL) ORDER BY project, name LIMIT 100",
    );
    tables.read(statement).await?.into_typed()
}
