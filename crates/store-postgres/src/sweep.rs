//! What the policy lets go is deleted, oldest first, in bounded steps.
//!
//! Finished jobs are walked by number, so no index has to be kept up for it by every finish: each
//! step looks at a window of them and deletes those that ended first. A job cannot have finished
//! before it was made, so the walk ends where a whole window is younger than every limit. Between
//! two steps the place is remembered, so that what stays is not walked again.

use crate::link::{Conn, Step, transact};
use crate::{Inner, Lanes, batch, effects::Effects, rows};
use jiff::Timestamp;
use mainspring_core::error::Result;
use mainspring_core::job::JobState;
use mainspring_core::queue::{QueueSettings, Retention};
use mainspring_core::store::{SweepPolicy, Swept};
use mainspring_core::{limits, time};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::PoisonError;

const WALK: &str = "
    SELECT d.job, d.route, d.state, d.finished_at, j.created_at FROM done d
    CROSS JOIN LATERAL (SELECT created_at FROM jobs WHERE id = d.job OFFSET 0) j WHERE d.job > $1 ORDER BY d.job LIMIT $2::bigint";

const POLICIES: &str = "
    SELECT r.id, r.queue_id, q.settings,
        coalesce((SELECT sum(c.n)::bigint FROM counters c WHERE c.route = r.id AND c.state >= 3), 0)
    FROM routes r JOIN queues q ON q.id = r.queue_id";

/// The oldest finished jobs of some routes, for limits by count and by size: those that ended first
/// among those that were made first.
const OLDEST: &str = "
    SELECT d.job, d.route, d.state, d.finished_at FROM (
        SELECT * FROM done WHERE route = ANY($1) ORDER BY job LIMIT 5000) d
    ORDER BY d.finished_at, d.job LIMIT $2::bigint";

const DELETE: [&str; 7] = [
    "DELETE FROM attempts WHERE job = ANY($1)",
    "DELETE FROM steps WHERE job = ANY($1)",
    "DELETE FROM logs WHERE job = ANY($1)",
    "DELETE FROM progress WHERE job = ANY($1)",
    "DELETE FROM uniques WHERE job = ANY($1)",
    "DELETE FROM jobs WHERE id = ANY($1)",
    "DELETE FROM live_fires WHERE job = ANY($1)",
];

/// Finished jobs that one step looks at.
const WINDOW: i64 = 5_000;

/// Minutes before this become hours: all that are due, but no more hours than hold about twenty
/// thousand rows (and at least the first).
const FOLD: &str = "
    WITH first AS (
        SELECT minute FROM rollups WHERE span = 1 ORDER BY span, minute LIMIT 1),
    last AS (
        SELECT minute FROM rollups WHERE span = 1 ORDER BY span, minute OFFSET 20000 LIMIT 1),
    gone AS (
        DELETE FROM rollups WHERE span = 1 AND minute < $1::bigint AND minute < coalesce(
            (SELECT greatest(l.minute, f.minute + 60) - ((greatest(l.minute, f.minute + 60) % 60 + 60) % 60)
             FROM first f, last l), $1::bigint)
        RETURNING *)
    INSERT INTO rollups (minute, span, route, schedule, outcome, bucket, shard, n, total_us)
    SELECT minute - (minute % 60 + 60) % 60, 60, route, schedule, outcome, bucket, 0, sum(n), sum(total_us)
    FROM gone GROUP BY 1, 3, 4, 5, 6
    ON CONFLICT (minute, span, route, schedule, outcome, bucket, shard)
    DO UPDATE SET n = rollups.n + excluded.n, total_us = rollups.total_us + excluded.total_us";

const AGED: [&str; 5] = [
    "DELETE FROM rollups WHERE ctid = ANY(ARRAY(
         SELECT ctid FROM rollups WHERE minute < $1::bigint / 60000000 ORDER BY minute LIMIT $2::bigint))",
    "DELETE FROM events WHERE ctid = ANY(ARRAY(
         SELECT ctid FROM (SELECT ctid, at FROM events ORDER BY id LIMIT $2::bigint) e WHERE e.at < $1::bigint))",
    "DELETE FROM ledger WHERE ctid = ANY(ARRAY(
         SELECT ctid FROM ledger WHERE last_at < $1::bigint ORDER BY last_at LIMIT $2::bigint))",
    "DELETE FROM batches WHERE id = ANY(ARRAY(
         SELECT id FROM batches WHERE finished_at < $1::bigint ORDER BY id LIMIT $2::bigint FOR UPDATE SKIP LOCKED))",
    "DELETE FROM nodes n WHERE n.id = ANY(ARRAY(
         SELECT id FROM nodes m WHERE m.ended AND m.heartbeat_at < $1::bigint
         AND NOT EXISTS (SELECT FROM leases r WHERE r.node = m.id) ORDER BY id LIMIT $2::bigint))",
];

/// Keys that no job remembers any more, and that would begin anew as they stand: a turn that the
/// queue has passed, a bucket that is full again.
const IDLE_KEYS: &str = "
    DELETE FROM keys WHERE id = ANY(ARRAY(
        SELECT k.id FROM keys k JOIN queues q ON q.id = k.queue_id
        WHERE k.running = 0 AND k.tat < $1::bigint AND k.put_off < $1::bigint
          AND (k.last_turn = 0 OR k.last_turn + 1000000 <= q.vclock)
          AND NOT EXISTS (SELECT FROM jobs j WHERE j.key_id = k.id)
        ORDER BY k.id LIMIT $2::bigint FOR UPDATE OF k SKIP LOCKED))";

/// What is known of a queue's retention.
struct Keep {
    retention: Retention,
    routes: Vec<i32>,
    finished: u64,
}

/// A job that goes: when it ended, number, route, state.
type Goer = (i64, i64, i32, i16);

fn goer(row: &tokio_postgres::Row) -> Goer {
    (row.get(3), row.get(0), row.get(1), row.get(2))
}

impl Inner {
    pub(crate) async fn sweep(&self, now: Timestamp, policy: &SweepPolicy, limit: u32) -> Result<Swept> {
        let us = time::micros(now);
        let limit = i64::from(limit.min(limits::BATCH as u32));
        let mut swept = Swept::default();
        let (goers, more, cursor) = self.find_goers(now, policy, limit as usize).await?;
        swept.more = more;
        let ids: Vec<i64> = goers.iter().map(|g| g.1).collect();
        let minutes = time::minute(time::minus(now, policy.minutes));
        let hours = time::micros(time::minus(now, policy.hours));
        let aged = time::micros(time::minus(now, policy.events));
        let (jobs, rows, full) = transact!(&self.reach, self.lanes.control, |conn| {
            conn.begin().await?;
            let mut fx = Effects::default();
            let jobs = delete_jobs(self, conn, us, &ids, &mut fx).await?;
            let folded = conn.execute(FOLD, &[&minutes]).await?;
            let (mut rows, mut full) = (folded, folded > 0);
            for (nth, sql) in AGED.iter().enumerate() {
                let before = if nth == 0 { hours } else { aged };
                let n = conn.execute(sql, &[&before, &limit]).await?;
                rows += n;
                full |= n as i64 >= limit;
            }
            rows += conn.execute(IDLE_KEYS, &[&us, &limit]).await?;
            self.seal(conn, us, self.shard(Lanes::CONTROL), &mut fx).await?;
            Ok((jobs, rows, full))
        })?;
        *self.sweep_from.lock().unwrap_or_else(PoisonError::into_inner) = cursor;
        swept.jobs = jobs;
        swept.rows = rows;
        swept.more |= full;
        Ok(swept)
    }

    /// Jobs that go, those that ended first; whether there are more; where the next walk begins.
    async fn find_goers(
        &self,
        now: Timestamp,
        policy: &SweepPolicy,
        limit: usize,
    ) -> Result<(Vec<Goer>, bool, i64)> {
        let keeps = self.keeps(policy).await?;
        let mut goers: BTreeSet<Goer> = BTreeSet::new();
        let mut more = self.by_count(&keeps, &mut goers).await?;
        more |= self.by_size(policy, &keeps, &mut goers).await?;
        let from = *self.sweep_from.lock().unwrap_or_else(PoisonError::into_inner);
        let of_route: HashMap<i32, &Keep> =
            keeps.values().flat_map(|k| k.routes.iter().map(move |r| (*r, k))).collect();
        let youngest = keeps
            .values()
            .map(|k| k.retention.completed.min(k.retention.failed))
            .min()
            .map(|age| time::micros(time::minus(now, age)));
        let walked = self.read(WALK, &[&from, &WINDOW]).await?;
        let mut old = false;
        for row in &walked {
            old |= youngest.is_some_and(|at| row.get::<_, i64>(4) < at);
            let (_, _, route, state) = goer(row);
            let Some(keep) = of_route.get(&route) else { continue };
            let failed = state == JobState::Failed.code();
            let age = if failed { keep.retention.failed } else { keep.retention.completed };
            if row.get::<_, i64>(3) < time::micros(time::minus(now, age)) {
                goers.insert(goer(row));
            }
        }
        let surplus = goers.len() > limit;
        let goers = goers.into_iter().take(limit).collect();
        if surplus {
            // The same window again: the rest of it is still there.
            return Ok((goers, true, from));
        }
        let further = old && walked.len() as i64 >= WINDOW;
        let cursor = walked.last().filter(|_| further).map_or(0, |row| row.get(0));
        Ok((goers, more || further, cursor))
    }

    async fn keeps(&self, policy: &SweepPolicy) -> Result<BTreeMap<i32, Keep>> {
        let mut keeps = BTreeMap::new();
        for row in &self.read(POLICIES, &[]).await? {
            let settings: QueueSettings =
                serde_json::from_str(row.get(2)).map_err(|e| rows::json_text("a queue's settings", e))?;
            let retention = settings.retention.unwrap_or(policy.jobs);
            let keep = keeps.entry(row.get(1)).or_insert(Keep { retention, routes: vec![], finished: 0 });
            keep.routes.push(row.get(0));
            keep.finished += u64::try_from(row.get::<_, i64>(3)).unwrap_or(0);
        }
        Ok(keeps)
    }

    /// Queues with too many finished jobs. True when there are more than were looked at.
    async fn by_count(&self, keeps: &BTreeMap<i32, Keep>, goers: &mut BTreeSet<Goer>) -> Result<bool> {
        let mut more = false;
        for keep in keeps.values() {
            let surplus = keep.finished.saturating_sub(keep.retention.count);
            if surplus == 0 {
                continue;
            }
            let take = surplus.min(WINDOW as u64) as i64;
            more |= surplus > take as u64;
            goers.extend(self.read(OLDEST, &[&keep.routes, &take]).await?.iter().map(goer));
        }
        Ok(more)
    }

    /// The oldest jobs of all when the jobs' own bytes are too many. What is counted is the rows, not
    /// the files: files do not shrink when rows go, and would take everything with them.
    async fn by_size(
        &self,
        policy: &SweepPolicy,
        keeps: &BTreeMap<i32, Keep>,
        goers: &mut BTreeSet<Goer>,
    ) -> Result<bool> {
        let Some(max) = policy.max_bytes else { return Ok(false) };
        let row = self
            .read(
                "SELECT (coalesce(avg(pg_column_size(j.*) + coalesce(pg_column_size(d.*), 0)), 0) + 150)::bigint
                 FROM (SELECT * FROM jobs ORDER BY id DESC LIMIT 1000) j LEFT JOIN done d ON d.job = j.id",
                &[],
            )
            .await?;
        let each = row.first().map_or(0, |row| row.get::<_, i64>(0)).max(1) as u64;
        let finished: u64 = keeps.values().map(|k| k.finished).sum();
        let surplus = finished.saturating_sub(max / each);
        if surplus == 0 {
            return Ok(false);
        }
        let routes: Vec<i32> = keeps.values().flat_map(|k| k.routes.iter().copied()).collect();
        let take = surplus.min(WINDOW as u64) as i64;
        goers.extend(self.read(OLDEST, &[&routes, &take]).await?.iter().map(goer));
        Ok(surplus > take as u64)
    }
}

async fn delete_jobs(inner: &Inner, conn: &Conn, now: i64, ids: &[i64], fx: &mut Effects) -> Step<u64> {
    if ids.is_empty() {
        return Ok(0);
    }
    let gone = conn
        .query(
            "DELETE FROM done WHERE job = ANY(ARRAY(
                 SELECT job FROM done WHERE job = ANY($1) ORDER BY job FOR UPDATE)) RETURNING job, route, state",
            &[&ids],
        )
        .await?;
    let mut deleted = Vec::with_capacity(gone.len());
    for row in &gone {
        fx.figures.add(row.get(1), rows::code(row.get(2), JobState::from_code)?, -1);
        deleted.push(row.get::<_, i64>(0));
    }
    for sql in DELETE {
        conn.execute(sql, &[&deleted]).await?;
    }
    batch::resolve(inner, conn, now, &deleted, fx).await?;
    Ok(deleted.len() as u64)
}
