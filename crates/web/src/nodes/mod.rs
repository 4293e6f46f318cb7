//! Nodes: the processes that run jobs. They belong to the installation, not to a project, so only
//! those who manage their project see them.

pub mod api;
pub mod pages;

use crate::access::{Caller, Right};
use crate::problem::Result;
use jiff::Timestamp;
use mainspring_core::node::{LEASE, NodeRecord};
use mainspring_core::time;
use serde::Serialize;

/// A node as both faces show it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct NodeView {
    /// Its number, which is random; text, because it is longer than some languages' numbers.
    pub id: String,
    /// For people.
    pub name: String,
    /// The process number; 0 for a worker outside.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// Whether it is a worker outside.
    pub outside: bool,
    /// Whether its last sign of life is recent enough.
    pub alive: bool,
    /// Attempts it runs at once.
    pub slots: u32,
    /// Attempts it holds.
    pub running: u64,
    /// The queues it serves; all when empty.
    pub queues: Vec<String>,
    /// The kinds it knows.
    pub kinds: Vec<String>,
    /// The version of its time zone data.
    pub tz_version: String,
    /// When it joined.
    #[schema(value_type = String, format = DateTime)]
    pub joined_at: Timestamp,
    /// Its last sign of life.
    #[schema(value_type = String, format = DateTime)]
    pub heartbeat_at: Timestamp,
}

impl NodeView {
    /// The view of a record at `now`.
    pub fn of(record: NodeRecord, now: Timestamp) -> NodeView {
        let info = record.info;
        NodeView {
            outside: info.is_outside(),
            id: info.id.to_string(),
            name: info.name,
            pid: info.pid,
            version: info.version,
            alive: time::since(record.heartbeat_at, now) <= LEASE,
            slots: info.slots,
            running: record.running,
            queues: info.queues,
            kinds: info.kinds,
            tz_version: info.tz_version,
            joined_at: record.joined_at,
            heartbeat_at: record.heartbeat_at,
        }
    }
}

/// All nodes but those that left in good order, the oldest first.
pub async fn list(caller: &Caller) -> Result<Vec<NodeView>> {
    caller.may(Right::Manage)?;
    let client = caller.client();
    let nodes = client.store().nodes().await?.into_iter();
    let nodes = nodes.filter(|record| record.info.runs_jobs() && !record.has_left());
    Ok(nodes.map(|record| NodeView::of(record, client.now())).collect())
}
