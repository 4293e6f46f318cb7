//! Nodes come, live, leave and die; what the dead held is found again.
//!
//! A heartbeat is one statement, and brings back everything an idle node must know, so that an idle
//! node asks for nothing else.

use crate::effects::Effects;
use crate::link::{Conn, Step, transact};
use crate::{Inner, Lanes, rows};
use jiff::Timestamp;
use mainspring_core::error::Result;
use mainspring_core::event::NewEvent;
use mainspring_core::node::{Beat, NodeInfo, NodeRecord, breaking, outgrown};
use mainspring_core::store::{Orphan, Survey};
use mainspring_core::{JobId, NodeId, ProjectId, StoreError, limits, time};
use std::time::Duration;

const BEAT: &str = "
    WITH me AS (UPDATE nodes SET heartbeat_at = $2 WHERE id = $1 AND NOT ended RETURNING id)
    SELECT EXISTS (SELECT FROM me),
        ARRAY(SELECT job FROM running WHERE node = $1 AND cancel ORDER BY job),
        ARRAY(SELECT attempt FROM running WHERE node = $1 AND cancel ORDER BY job),
        EXISTS (SELECT FROM ready),
        (SELECT run_at FROM scheduled ORDER BY run_at, job LIMIT 1),
        (SELECT next_fire FROM schedules WHERE next_fire IS NOT NULL ORDER BY next_fire, id LIMIT 1),
        EXISTS (SELECT FROM nodes n WHERE n.heartbeat_at < $3 AND (n.id <> $1 OR n.ended)
                AND (NOT n.ended OR EXISTS (SELECT FROM running r WHERE r.node = n.id)
                     OR EXISTS (SELECT FROM bundles b WHERE b.node = n.id)))
            OR EXISTS (SELECT FROM running r WHERE NOT EXISTS (SELECT FROM nodes n WHERE n.id = r.node))
            OR EXISTS (SELECT FROM bundles b WHERE NOT EXISTS (SELECT FROM nodes n WHERE n.id = b.node)),
        coalesce((SELECT value FROM meta WHERE name = 'queues_version'), '0'),
        ARRAY(SELECT name FROM mainspring_migrations WHERE number > $4 ORDER BY number)";

const ORPHANS: &str = concat!(
    "SELECT r.node, r.attempt, r.cancel, ",
    rows::facts_columns!(),
    " FROM leases r CROSS JOIN LATERAL (SELECT * FROM jobs WHERE id = r.job OFFSET 0) j
      LEFT JOIN nodes n ON n.id = r.node
      WHERE r.job > $1 AND (n.id IS NULL OR n.heartbeat_at < $2) ORDER BY r.job LIMIT $3"
);

const NODES: &str = "
    SELECT n.id, n.name, n.pid, n.version, n.slots, n.queues, n.tz_version, n.joined_at, n.heartbeat_at,
           coalesce(r.n, 0), n.kinds
    FROM nodes n LEFT JOIN (SELECT node, count(*) AS n FROM leases GROUP BY node) r ON r.node = n.id
    ORDER BY n.joined_at, n.id";

/// Nodes belong to no project; the first one tells of them.
fn node_event(name: &str, node: i64, data: serde_json::Value) -> (ProjectId, NewEvent) {
    (ProjectId::DEFAULT, NewEvent::new(name, format!("node/{node}"), data))
}

impl Inner {
    pub(crate) async fn join(&self, now: Timestamp, info: NodeInfo) -> Result<()> {
        let now = time::micros(now);
        let queues = serde_json::to_string(&info.queues).unwrap_or_default();
        let kinds = serde_json::to_string(&info.kinds).unwrap_or_default();
        let (pid, slots) = (i64::from(info.pid), i64::from(info.slots));
        let name = rows::clean(&info.name);
        transact!(&self.reach, self.lanes.control, |conn| {
            conn.begin().await?;
            let made = conn
                .execute(
                    "INSERT INTO nodes (id, name, pid, version, slots, queues, kinds, tz_version, joined_at,
                        heartbeat_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) ON CONFLICT DO NOTHING",
                    &[
                        &info.id.0,
                        &name,
                        &pid,
                        &info.version,
                        &slots,
                        &queues,
                        &kinds,
                        &info.tz_version,
                        &now,
                    ],
                )
                .await?;
            if made == 0 {
                let text = format!("node {} has joined before: draw a new id", info.id);
                return Err(StoreError::Conflict(text).into());
            }
            let data = serde_json::json!({ "name": info.name, "version": info.version });
            let mut fx =
                Effects { events: vec![node_event("node.joined", info.id.0, data)], ..Default::default() };
            self.seal(conn, now, self.shard(Lanes::CONTROL), &mut fx).await
        })
    }

    pub(crate) async fn heartbeat(
        &self,
        now: Timestamp,
        node: NodeId,
        lease: Duration,
    ) -> Result<(Beat, Survey)> {
        let (us, dead) = (time::micros(now), time::micros(time::minus(now, lease)));
        let row = transact!(&self.reach, self.lanes.aside, |conn| {
            conn.one(BEAT, &[&node.0, &us, &dead, &crate::schema::VERSION]).await
        })?;
        let version: i64 = row.get::<_, &str>(7).parse().unwrap_or(0);
        if version != self.names.version() {
            self.reload_names().await?;
        }
        let (jobs, attempts): (Vec<i64>, Vec<i32>) = (row.get(1), row.get(2));
        let known = row.get(0);
        let cancel = jobs.into_iter().zip(attempts).map(|(j, a)| (JobId(j), a as u32));
        let newer: Vec<&str> = row.get(8);
        let outgrown = newer.into_iter().find(|name| breaking(name)).map(outgrown);
        let beat = Beat { known, cancel: cancel.filter(|_| known).collect(), outgrown };
        let at = |i: usize| row.get::<_, Option<i64>>(i).map(time::from_micros);
        let survey =
            Survey { waiting: row.get(3), next_run_at: at(4), next_fire: at(5), lost_nodes: row.get(6) };
        Ok((beat, survey))
    }

    pub(crate) async fn leave(&self, now: Timestamp, node: NodeId) -> Result<()> {
        let now = time::micros(now);
        self.hints.forget(node);
        transact!(&self.reach, self.lanes.control, |conn| {
            conn.begin().await?;
            let left = conn
                .execute(
                    "UPDATE nodes SET ended = true, sleeping = false, heartbeat_at = 0
                     WHERE id = $1 AND NOT ended",
                    &[&node.0],
                )
                .await?;
            let mut fx = Effects::default();
            if left > 0 {
                fx.events.push(node_event("node.left", node.0, serde_json::json!({})));
            }
            self.seal(conn, now, self.shard(Lanes::CONTROL), &mut fx).await
        })
    }

    pub(crate) async fn orphans(
        &self,
        now: Timestamp,
        lease: Duration,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<Orphan>> {
        let (us, dead) = (time::micros(now), time::micros(time::minus(now, lease)));
        let (after, limit) = (after.map_or(i64::MIN, |j| j.0), i64::from(limit.min(limits::BATCH as u32)));
        let found = transact!(&self.reach, self.lanes.control, |conn| {
            self.see_the_dead(conn, us, dead).await?;
            conn.query(ORPHANS, &[&after, &dead, &limit]).await
        })?;
        found
            .iter()
            .map(|row| {
                let facts = rows::facts(row, 3, row.get(1), row.get(2))?;
                Ok(Orphan { node: NodeId(row.get(0)), facts })
            })
            .collect()
    }

    /// Writes down, once, that a node is dead. Its heartbeat does not bring it back.
    async fn see_the_dead(&self, conn: &Conn, now: i64, dead: i64) -> Step<()> {
        conn.begin().await?;
        let lost = conn
            .query(
                "UPDATE nodes SET ended = true, sleeping = false WHERE id = ANY(ARRAY(
                     SELECT id FROM nodes WHERE NOT ended AND heartbeat_at < $1 ORDER BY id FOR NO KEY UPDATE))
                 RETURNING id, name",
                &[&dead],
            )
            .await?;
        let mut fx = Effects::default();
        for row in &lost {
            let data = serde_json::json!({ "name": row.get::<_, &str>(1) });
            fx.events.push(node_event("node.lost", row.get(0), data));
        }
        self.seal(conn, now, self.shard(Lanes::CONTROL), &mut fx).await
    }

    pub(crate) async fn node_records(&self) -> Result<Vec<NodeRecord>> {
        let rows = self.read(NODES, &[]).await?;
        rows.iter()
            .map(|row| {
                let list = |at| serde_json::from_str(row.get(at)).map_err(|e| rows::json_text("a node", e));
                Ok(NodeRecord {
                    info: NodeInfo {
                        id: NodeId(row.get(0)),
                        name: row.get(1),
                        pid: row.get::<_, i64>(2) as u32,
                        version: row.get(3),
                        slots: row.get::<_, i64>(4) as u32,
                        queues: list(5)?,
                        kinds: list(10)?,
                        tz_version: row.get(6),
                    },
                    joined_at: time::from_micros(row.get(7)),
                    heartbeat_at: time::from_micros(row.get(8)),
                    running: row.get::<_, i64>(9).max(0) as u64,
                })
            })
            .collect()
    }
}
