//! Heartbeats: what must ping, when it last did, and the address it pings.

pub mod api;
pub mod pages;

use crate::access::{Caller, Right, Secret};
use crate::problem::Result;
use crate::state::Web;
use jiff::Timestamp;
use mainspring::alerts::{self, Heartbeat, HeartbeatSpec};
use mainspring_core::duration;
use serde::Serialize;

/// A heartbeat as both faces show it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct HeartbeatView {
    /// Its name, once per project.
    pub name: String,
    /// A ping must come this often.
    pub period: String,
    /// It may be late by this much.
    pub grace: String,
    /// Whether it is not watched for now.
    pub paused: bool,
    /// Whether the next ping should have come already, or the last one said that it failed.
    pub late: bool,
    /// Until when the next ping must come.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due: Option<Timestamp>,
    /// When it last pinged.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_ping: Option<Timestamp>,
    /// Whether it said that it failed.
    pub last_failed: bool,
    /// How often it pinged.
    pub pings: u64,
    /// The address to ping (GET, POST or HEAD); with `/fail` behind it says that it failed. Only for
    /// those who may change heartbeats.
    pub ping_url: Option<String>,
}

impl HeartbeatView {
    fn of(web: &Web, caller: &Caller, h: Heartbeat) -> HeartbeatView {
        let now = caller.client().now();
        let url = || format!("{}/api/v1/ping/{}", address(web), h.token);
        HeartbeatView {
            late: h.is_late(now),
            due: h.due(),
            ping_url: caller.has(Right::Change).then(url),
            period: duration::format(h.spec.period),
            grace: duration::format(h.spec.grace),
            paused: h.spec.paused,
            name: h.name,
            last_ping: h.last_ping,
            last_failed: h.last_failed,
            pings: h.pings,
        }
    }
}

/// The address people use for this server.
fn address(web: &Web) -> String {
    match &web.config().public_url {
        Some(url) => url.clone(),
        None => format!("http://{}", web.config().listen),
    }
}

/// The heartbeats of a project by name.
pub async fn list(web: &Web, caller: &Caller) -> Result<Vec<HeartbeatView>> {
    let all = alerts::heartbeats(caller.client()).await?;
    Ok(all.into_iter().map(|h| HeartbeatView::of(web, caller, h)).collect())
}

/// One heartbeat.
pub async fn one(web: &Web, caller: &Caller, name: &str) -> Result<HeartbeatView> {
    Ok(HeartbeatView::of(web, caller, alerts::heartbeat(caller.client(), name).await?))
}

/// Makes a heartbeat with an address of its own.
pub async fn make(web: &Web, caller: &Caller, name: &str, spec: &HeartbeatSpec) -> Result<HeartbeatView> {
    let token = Secret::random()?;
    let made = alerts::make_heartbeat(caller.client(), name, spec, token.reveal()).await?;
    Ok(HeartbeatView::of(web, caller, made))
}
