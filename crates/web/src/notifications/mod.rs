//! Notifications in the dashboard: what somebody has not seen yet. A key reads with marks of its own.

pub mod api;
pub mod pages;

use crate::access::{Caller, Via};
use crate::listing::Page;
use crate::problem::Result;
use jiff::Timestamp;
use mainspring::notify::{self, Notification};
use serde::Serialize;

/// A notification as both faces show it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct NotificationView {
    /// Its number.
    pub id: i64,
    /// What it is about, the same from firing to recovered.
    pub key: String,
    /// `info`, `warning` or `critical`.
    pub severity: &'static str,
    /// `firing`, `recovered` or `message`.
    pub state: &'static str,
    /// What happened.
    pub title: String,
    /// More of it.
    pub text: String,
    /// Named values: pairs of name and value.
    #[schema(value_type = Vec<Vec<String>>)]
    pub facts: Vec<(String, String)>,
    /// The page that shows more, under the project's address; empty: none.
    pub path: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Whether the caller has seen it.
    pub read: bool,
}

impl From<Notification> for NotificationView {
    fn from(n: Notification) -> NotificationView {
        let (n, read) = (n.notice, n.read);
        NotificationView {
            id: n.id,
            key: n.key,
            severity: n.severity.as_str(),
            state: n.state.as_str(),
            title: n.title,
            text: n.text,
            facts: n.facts.0,
            path: n.path,
            at: n.at.0,
            read,
        }
    }
}

/// Whose marks: a person's number, or a key's below zero.
pub fn account(caller: &Caller) -> i64 {
    match &caller.via {
        Via::Session(session) => session.member,
        Via::Key(key, _) => -key,
    }
}

/// Notifications with a number below `before`, the newest first.
pub async fn list(
    caller: &Caller,
    unread: bool,
    before: Option<i64>,
    limit: u32,
) -> Result<Page<NotificationView>> {
    let mut found =
        notify::notifications(caller.client(), account(caller), unread, before, limit + 1).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|n| n.notice.id);
    Ok(Page::new(found.into_iter().map(NotificationView::from).collect(), next))
}
