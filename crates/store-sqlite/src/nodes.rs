//! Nodes come, live, leave and die; what the dead held is found again.

use crate::enqueue::at_most;
use crate::names::us;
use crate::rows::{self, JobOptions, Row, row_columns};
use crate::schema;
use crate::tx::{Done, Tx, conflict};
use jiff::Timestamp;
use mainspring_core::event::NewEvent;
use mainspring_core::ids::{JobId, NodeId};
use mainspring_core::node::{Beat, NodeInfo};
use mainspring_core::store::{Orphan, Survey};
use mainspring_core::time;
use rusqlite::{Connection, OptionalExtension, params};
use std::time::Duration;

impl Tx<'_> {
    pub fn join(&mut self, now: Timestamp, info: &NodeInfo) -> Done<()> {
        let known = self.conn.prepare_cached("SELECT 1 FROM nodes WHERE id = ?1")?.exists([info.id.0])?;
        if known {
            return conflict(format!("node {} has joined before: draw a new id", info.id));
        }
        let text = serde_json::to_string(info)
            .map_err(|e| mainspring_core::StoreError::Internal(format!("a node cannot be told: {e}")))?;
        self.conn
            .prepare_cached("INSERT INTO nodes (id, info, joined_at, heartbeat_at) VALUES (?1, ?2, ?3, ?3)")?
            .execute(params![info.id.0, text, us(now)])?;
        let data = serde_json::json!({ "name": info.name, "version": info.version });
        self.node_event(now, "node.joined", info.id, data)
    }

    pub fn heartbeat(&mut self, now: Timestamp, node: NodeId, lease: Duration) -> Done<(Beat, Survey)> {
        let known = self
            .conn
            .prepare_cached("UPDATE nodes SET heartbeat_at = ?2 WHERE id = ?1 AND gone = 0")?
            .execute([node.0, us(now)])?
            > 0;
        let mut beat = Beat { known, cancel: Vec::new(), outgrown: schema::outgrown(self.conn)? };
        if known {
            beat.cancel = self
                .conn
                .prepare_cached(
                    "SELECT j.id, j.attempt FROM cancels c CROSS JOIN jobs j ON j.id = c.job
                     WHERE j.st = 12 AND j.node = ?1 AND j.flags & 1 ORDER BY j.id",
                )?
                .query_map([node.0], |r| Ok((JobId(r.get(0)?), r.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
        }
        Ok((beat, self.survey(now, lease)?))
    }

    pub fn leave(&mut self, now: Timestamp, node: NodeId) -> Done<()> {
        let left = self
            .conn
            .prepare_cached("UPDATE nodes SET gone = 1, heartbeat_at = 0 WHERE id = ?1 AND gone = 0")?
            .execute([node.0])?;
        if left > 0 {
            self.node_event(now, "node.left", node, serde_json::json!({}))?;
        }
        Ok(())
    }

    pub fn orphans(
        &mut self,
        now: Timestamp,
        lease: Duration,
        after: Option<JobId>,
        limit: u32,
    ) -> Done<Vec<Orphan>> {
        let lost: Vec<(i64, String)> = self
            .conn
            .prepare_cached(
                "UPDATE nodes SET gone = 1 WHERE gone = 0 AND heartbeat_at < ?1 RETURNING id, info ->> 'name'",
            )?
            .query_map([us(time::minus(now, lease))], |r| Ok((r.get(0)?, r.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (node, name) in lost {
            self.node_event(now, "node.lost", NodeId(node), serde_json::json!({ "name": name }))?;
        }
        let mut found = Vec::new();
        for node in dead_nodes(self.conn, now, lease)? {
            let rows = self
                .conn
                .prepare_cached(concat!(
                    "SELECT ",
                    row_columns!(),
                    " FROM jobs j INDEXED BY jobs_running
                      WHERE j.st = 12 AND j.node = ?1 AND j.id > ?2 ORDER BY j.node, j.id LIMIT ?3"
                ))?
                .query_map(params![node, after.map_or(i64::MIN, |a| a.0), at_most(limit) as i64], Row::read)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            found.extend(rows);
        }
        found.sort_unstable_by_key(|row| row.id);
        found.truncate(at_most(limit));
        found
            .iter()
            .map(|row| {
                let options = JobOptions::parse(row.options.as_deref())?;
                Ok(Orphan { node: NodeId(row.node), facts: row.facts(&options) })
            })
            .collect()
    }

    fn survey(&self, now: Timestamp, lease: Duration) -> Done<Survey> {
        let waiting = self
            .conn
            .prepare_cached("SELECT 1 FROM jobs INDEXED BY jobs_ready WHERE st = 11 LIMIT 1")?
            .exists([])?;
        let next_fire: Option<i64> = self
            .conn
            .prepare_cached(
                "SELECT next_fire FROM schedules INDEXED BY schedules_due
                 WHERE next_fire IS NOT NULL ORDER BY next_fire LIMIT 1",
            )?
            .query_row([], |r| r.get(0))
            .optional()?;
        let unseen = self
            .conn
            .prepare_cached("SELECT 1 FROM nodes WHERE gone = 0 AND heartbeat_at < ?1")?
            .exists([us(time::minus(now, lease))])?;
        Ok(Survey {
            waiting,
            next_run_at: self.next_run_at()?.map(time::from_micros),
            next_fire: next_fire.map(time::from_micros),
            lost_nodes: unseen || !dead_nodes(self.conn, now, lease)?.is_empty(),
        })
    }

    /// Nodes belong to no project; the first one tells of them.
    fn node_event(&mut self, now: Timestamp, name: &str, node: NodeId, data: serde_json::Value) -> Done<()> {
        self.own_event(now, &NewEvent::new(name, format!("node/{node}"), data))
    }
}

/// Nodes that hold attempts and whose heartbeat is older than the lease, or that are gone.
fn dead_nodes(conn: &Connection, now: Timestamp, lease: Duration) -> Done<Vec<i64>> {
    let mut next = conn.prepare_cached(
        "SELECT node FROM jobs INDEXED BY jobs_running WHERE st = 12 AND node > ?1 ORDER BY node LIMIT 1",
    )?;
    let mut alive = conn.prepare_cached("SELECT 1 FROM nodes WHERE id = ?1 AND heartbeat_at >= ?2")?;
    let since = us(time::minus(now, lease));
    let (mut dead, mut last) = (Vec::new(), i64::MIN);
    // From holder to holder, not from attempt to attempt: there are few of them.
    while let Some(node) = next.query_row([last], |r| r.get::<_, i64>(0)).optional()? {
        if !alive.exists([node, since])? {
            dead.push(node);
        }
        last = node;
    }
    Ok(dead)
}

/// A node's columns: see [`node_record`].
pub(crate) const NODE_COLUMNS: &str = "id, info, joined_at, heartbeat_at";

/// A node as readers see it.
pub(crate) fn node_record(
    conn: &Connection,
    r: &rusqlite::Row<'_>,
) -> Done<mainspring_core::node::NodeRecord> {
    let id: i64 = r.get(0)?;
    let running: i64 = conn
        .prepare_cached("SELECT count(*) FROM jobs INDEXED BY jobs_running WHERE st = 12 AND node = ?1")?
        .query_row([id], |r| r.get(0))?;
    Ok(mainspring_core::node::NodeRecord {
        info: rows::parse("a node", &r.get::<_, String>(1)?)?,
        joined_at: time::from_micros(r.get(2)?),
        heartbeat_at: time::from_micros(r.get(3)?),
        running: running as u64,
    })
}
