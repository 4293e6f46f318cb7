//! Deliveries: what was sent by which channel, and what became of it.

pub mod api;
pub mod pages;

use crate::access::Caller;
use crate::listing::Page;
use crate::problem::Result;
use jiff::Timestamp;
use mainspring::notify::{self, Delivery, DeliveryState};
use mainspring_core::ids::JobId;
use serde::Serialize;

/// A delivery as both faces show it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct DeliveryView {
    /// Its number.
    pub id: i64,
    /// Its key, made of the notice and the channel: the same however often it is tried.
    pub key: String,
    /// What was said, in a line.
    pub title: Option<String>,
    /// The notification's number; null in lists.
    pub notification: Option<i64>,
    /// The channel's number; the channel may be gone.
    pub channel: i64,
    /// Its name then.
    pub channel_name: String,
    /// What it led to.
    pub kind: &'static str,
    /// `queued`, `sent`, `failed`, or `unknown`: handed over, and nobody knows whether it was taken.
    pub state: &'static str,
    /// Until when it waits: quiet hours, digest, gathering.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub held_until: Option<Timestamp>,
    /// The job that delivers it, once it has begun.
    #[schema(value_type = Option<i64>)]
    pub job: Option<JobId>,
    /// How often the service was asked.
    pub tries: i64,
    /// The key of the delivery whose message had this one in it.
    pub carried_by: Option<String>,
    /// What the service answered.
    pub receipt: Option<String>,
    /// Why the last try failed.
    pub error: Option<String>,
    /// When it was said.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the service took it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub sent_at: Option<Timestamp>,
}

impl From<Delivery> for DeliveryView {
    fn from(d: Delivery) -> DeliveryView {
        DeliveryView {
            kind: d.channel_kind.as_str(),
            state: d.state.as_str(),
            id: d.id,
            key: d.uid,
            title: d.title,
            notification: None,
            channel: d.channel,
            channel_name: d.channel_name,
            held_until: d.held_until.map(|at| at.0),
            job: d.job,
            tries: d.tries,
            carried_by: d.carried_by,
            receipt: d.receipt,
            error: d.error,
            created_at: d.created.0,
            sent_at: d.sent.map(|at| at.0),
        }
    }
}

/// Deliveries with a number below `before`, the newest first.
pub async fn list(
    caller: &Caller,
    channel: Option<i64>,
    state: Option<DeliveryState>,
    before: Option<i64>,
    limit: u32,
) -> Result<Page<DeliveryView>> {
    let mut found = notify::deliveries(caller.client(), channel, state, before, limit + 1).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|d| d.id);
    Ok(Page::new(found.into_iter().map(DeliveryView::from).collect(), next))
}

/// One delivery.
pub async fn one(caller: &Caller, id: i64) -> Result<DeliveryView> {
    let (found, notice) = notify::delivery(caller.client(), id).await?;
    Ok(DeliveryView { notification: notice.map(|n| n.id), ..found.into() })
}
