//! Nodes come, live, leave and die; what the dead held is found again.

use super::claim::facts;
use super::{Data, Node, Tx, at_most};
use jiff::Timestamp;
use mainspring_core::StoreError;
use mainspring_core::error::Result;
use mainspring_core::event::NewEvent;
use mainspring_core::ids::{JobId, NodeId, ProjectId};
use mainspring_core::job::JobState;
use mainspring_core::node::{Beat, NodeInfo, NodeRecord};
use mainspring_core::store::{Orphan, Survey};
use mainspring_core::time;
use std::time::Duration;

impl Tx<'_> {
    pub(super) fn join(&mut self, info: NodeInfo) -> Result<()> {
        if self.db.nodes.contains_key(&info.id) {
            return Err(StoreError::Conflict(format!("node {} has joined before: draw a new id", info.id)));
        }
        let data = serde_json::json!({ "name": info.name, "version": info.version });
        self.node_event("node.joined", info.id, data);
        let record = NodeRecord { joined_at: self.now, heartbeat_at: self.now, running: 0, info };
        self.db.nodes.insert(record.info.id, Node { record, ended: false });
        Ok(())
    }

    pub(super) fn heartbeat(&mut self, node: NodeId, lease: Duration) -> (Beat, Survey) {
        let now = self.now;
        let known = self.db.nodes.get_mut(&node).filter(|n| !n.ended);
        let mut beat = Beat { known: known.is_some(), cancel: Vec::new(), outgrown: None };
        if let Some(known) = known {
            known.record.heartbeat_at = now;
            beat.cancel = self
                .db
                .running_jobs()
                .map(|job| &job.record)
                .filter(|r| r.node == Some(node) && r.cancel_requested)
                .map(|r| (r.id, r.attempt))
                .collect();
        }
        (beat, self.db.survey(now, lease))
    }

    pub(super) fn leave(&mut self, node: NodeId) {
        let Some(known) = self.db.nodes.get_mut(&node).filter(|n| !n.ended) else { return };
        known.ended = true;
        known.record.heartbeat_at = Timestamp::UNIX_EPOCH;
        self.node_event("node.left", node, serde_json::json!({}));
    }

    pub(super) fn orphans(&mut self, lease: Duration, after: Option<JobId>, limit: u32) -> Vec<Orphan> {
        let now = self.now;
        let lost: Vec<(NodeId, String)> = self
            .db
            .nodes
            .values_mut()
            .filter(|node| !node.ended && node.is_dead(now, lease))
            .map(|node| {
                node.ended = true;
                (node.record.info.id, node.record.info.name.clone())
            })
            .collect();
        for (node, name) in lost {
            self.node_event("node.lost", node, serde_json::json!({ "name": name }));
        }
        self.db.orphans(now, lease).filter(|o| Some(o.facts.job) > after).take(at_most(limit)).collect()
    }

    /// Nodes belong to no project; the first one tells of them.
    fn node_event(&mut self, name: &str, node: NodeId, data: serde_json::Value) {
        self.event(ProjectId::DEFAULT, NewEvent::new(name, format!("node/{node}"), data));
    }
}

impl Node {
    /// Whether its heartbeat is older than the lease.
    fn is_dead(&self, now: Timestamp, lease: Duration) -> bool {
        self.record.heartbeat_at < time::minus(now, lease)
    }
}

impl Data {
    fn orphans(&self, now: Timestamp, lease: Duration) -> impl Iterator<Item = Orphan> {
        self.running_jobs().filter_map(move |job| {
            let node = job.record.node?;
            let dead = self.nodes.get(&node).is_none_or(|n| n.is_dead(now, lease));
            dead.then(|| Orphan { node, facts: facts(&job.record) })
        })
    }

    fn survey(&self, now: Timestamp, lease: Duration) -> Survey {
        let live = || self.live.iter().map(|id| &self.jobs[id]);
        let unseen = self.nodes.values().any(|node| !node.ended && node.is_dead(now, lease));
        Survey {
            waiting: live().any(|job| job.is_waiting()),
            next_run_at: live()
                .filter(|job| job.record.state == JobState::Scheduled)
                .map(|job| job.record.run_at)
                .min(),
            next_fire: self.schedules.values().filter_map(|s| s.next_fire).min(),
            lost_nodes: unseen || self.orphans(now, lease).next().is_some(),
        }
    }
}
