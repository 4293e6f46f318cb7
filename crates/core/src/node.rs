//! Nodes: the processes that run jobs, and their leases.
//!
//! A lease is not a timestamp on each job: it is the node's heartbeat. A node whose heartbeat is
//! older than the lease is dead, and every attempt it holds may be taken from it; the fence
//! `(job, attempt)` keeps what it still writes afterwards from counting.

use crate::ids::NodeId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a node may be silent. Tests shorten it.
pub const LEASE: Duration = Duration::from_secs(15);
/// How often a node tells that it lives: a third of the lease.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// What a node tells of itself when it joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Random per process start.
    pub id: NodeId,
    /// For people: the host's name unless configured.
    pub name: String,
    /// The process number; 0 for a worker outside, which is no process of ours.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// Attempts it runs at once.
    pub slots: u32,
    /// The queues it serves; empty means all.
    pub queues: Vec<String>,
    /// The kinds it knows.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// The version of its time zone data.
    pub tz_version: String,
}

impl NodeInfo {
    /// Whether it is a worker outside, which speaks to a server instead of to the store.
    pub fn is_outside(&self) -> bool {
        self.pid == 0
    }

    /// Whether it runs jobs. One that is no process and knows no kind only holds what waits for its
    /// call-back: people who ask for nodes do not mean it.
    pub fn runs_jobs(&self) -> bool {
        !(self.is_outside() && self.kinds.is_empty())
    }
}

/// A node as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeRecord {
    /// What it told.
    #[serde(flatten)]
    pub info: NodeInfo,
    /// When it joined.
    pub joined_at: Timestamp,
    /// Its last sign of life; the beginning of all time when it left in good order.
    pub heartbeat_at: Timestamp,
    /// Attempts it holds.
    pub running: u64,
}

impl NodeRecord {
    /// Whether it ended in good order (see [`crate::store::Store::leave`]): it is not missed.
    pub fn has_left(&self) -> bool {
        self.heartbeat_at == Timestamp::UNIX_EPOCH
    }
}

/// What a heartbeat brings back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// False when the store no longer knows this node (its attempts were taken): it must drop
    /// everything it holds and join anew under a new id.
    pub known: bool,
    /// Attempts it holds whose end somebody asked for.
    pub cancel: Vec<(crate::ids::JobId, u32)>,
    /// Why this program must not work on the store any more: a newer one has changed the schema in a
    /// way that it could not work with (see [`breaking`]).
    pub outgrown: Option<String>,
}

/// Whether a migration changes what older programs rely on: its name says so, as in
/// `0007_breaking_routes`, because a name is all that a program knows of a migration it was built
/// before. Every other migration only adds, and nodes of the release before go on beside it.
pub fn breaking(migration: &str) -> bool {
    migration.split('_').nth(1) == Some("breaking")
}

/// What a node is told that must not work on the store any more.
pub fn outgrown(migration: &str) -> String {
    format!(
        "a newer mainspring has changed the store's schema ({migration}) in a way this program cannot work with; \
         this node takes nothing more, start the newer program in its place"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_says_by_its_name_that_it_breaks_older_programs() {
        assert!(breaking("0007_breaking_routes") && breaking("0007_breaking"));
        assert!(!breaking("0007_routes") && !breaking("0007_unbreaking_routes") && !breaking("breaking"));
        assert!(outgrown("0007_breaking_routes").contains("(0007_breaking_routes)"));
    }
}
