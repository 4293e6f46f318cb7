//! Channels: where notices of a project are sent. Their secrets go in and never come out.

pub mod api;
mod fields;
mod mail;
pub mod pages;

use crate::access::Caller;
use crate::problem::{Problem, Result};
use http::StatusCode;
use jiff::Timestamp;
use mainspring::notify::{self, Channel, NewChannel, NotifyError, Setup, Timing};
use mainspring::secrets::{Secret, SecretError};
use serde::{Deserialize, Serialize};

/// A channel as both faces show it: never its secret.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ChannelView {
    /// Its number.
    pub id: i64,
    /// What it is called.
    pub name: String,
    /// `email`, `resend`, `slack`, `discord` or `webhook`.
    pub kind: &'static str,
    /// Where it leads, in short.
    pub target: String,
    /// `ok`, `failing`, `stopped` (the receiver is gone) or `off`.
    pub state: &'static str,
    /// What is set on it, by its kind.
    #[schema(value_type = Object)]
    pub settings: Setup,
    /// Quiet hours, digest, gathering.
    #[schema(value_type = Object)]
    pub timing: Timing,
    /// Whether anything is sent.
    pub enabled: bool,
    /// Whether a secret is kept for it.
    pub has_secret: bool,
    /// Deliveries that failed since the last one that did not.
    pub failing: i64,
    /// Why the last of them failed, or why the channel was stopped.
    pub error: Option<String>,
    /// When the last of them failed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_failed: Option<Timestamp>,
    /// When something was last sent.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_sent: Option<Timestamp>,
    /// Since when there is this channel.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl From<Channel> for ChannelView {
    fn from(c: Channel) -> ChannelView {
        ChannelView {
            kind: c.kind().as_str(),
            target: c.settings.0.target(),
            state: c.state(),
            has_secret: c.has_secret(),
            id: c.id,
            name: c.name,
            settings: c.settings.0,
            timing: c.timing.0,
            enabled: c.enabled,
            failing: c.failing,
            error: c.stopped.or(c.last_error),
            last_failed: c.last_failed.map(|at| at.0),
            last_sent: c.last_sent.map(|at| at.0),
            created_at: c.created.0,
        }
    }
}

/// A channel to be.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelBody {
    /// What it is called, once in a project.
    name: String,
    /// What is set on it; `kind` says which fields there are.
    #[schema(value_type = Object, example = json!({"kind": "webhook", "url": "https://example.com/hook"}))]
    settings: Setup,
    /// Quiet hours, digest, gathering.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    timing: Timing,
    /// Whether anything is sent; true if absent.
    #[serde(default = "yes")]
    enabled: bool,
    /// Its secret: the password, the API key, the webhook's address, the signing secret. Absent: the one
    /// there is stays; for a new webhook one is made.
    #[serde(default)]
    secret: Option<String>,
}

fn yes() -> bool {
    true
}

impl From<ChannelBody> for NewChannel {
    fn from(b: ChannelBody) -> NewChannel {
        let secret = b.secret.filter(|s| !s.is_empty()).map(Secret::new);
        NewChannel { name: b.name, settings: b.settings, timing: b.timing, enabled: b.enabled, secret }
    }
}

impl From<NotifyError> for Problem {
    fn from(e: NotifyError) -> Problem {
        let code = e.code();
        match e {
            NotifyError::Invalid { field, text } => Problem::invalid(&field, text),
            NotifyError::NotFound { what, name } => Problem::not_found(what, name),
            NotifyError::Taken(_) => {
                let mut problem = Problem::new(StatusCode::CONFLICT, code, e.to_string());
                problem.field = Some("name".into());
                problem
            }
            NotifyError::Tables(e) => e.into(),
            NotifyError::Secret(SecretError::Invalid { text, .. }) => Problem::invalid("secret", text),
            // What is wrong with the key is for the operator; its text holds no secret.
            other => Problem::new(StatusCode::CONFLICT, code, other.to_string()),
        }
    }
}

/// The project's channels.
pub async fn list(caller: &Caller) -> Result<Vec<ChannelView>> {
    Ok(notify::channels(caller.client()).await?.into_iter().map(ChannelView::from).collect())
}
