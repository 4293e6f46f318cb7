//! Promote and claim.
//!
//! A claim is two round trips. The first takes a shared lock against changes of queues' settings and
//! looks which routes have anything at all. The second takes: for plain queues by "the first n of
//! each route, whoever else is at it" (SKIP LOCKED), so nodes never wait for one another. Queues
//! with settings, and those with keyed or expiring jobs, are looked at job by job under their own
//! row's lock: see [`crate::judge`]. One claim at a time, whoever gets that lock, takes without locking
//! each row first; nothing but its speed depends on there being only one.

use crate::effects::Effects;
use crate::judge::Judged;
use crate::link::{Conn, Step, transact};
use crate::names::RouteInfo;
use crate::{FIRST_CLAIM, Inner, Lanes, SETTINGS, keys, rows};
use futures_util::future::{try_join, try_join3};
use jiff::Timestamp;
use mainspring_core::claim::{self as rules};
use mainspring_core::error::Result;
use mainspring_core::event;
use mainspring_core::job::{Claimed, JobState};
use mainspring_core::json::Json;
use mainspring_core::store::{ClaimBatch, ClaimRequest, Hint, Promoted};
use mainspring_core::{BatchId, ProjectId, ScheduleId, StoreError, limits, time};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What a claim takes is known by its keys alone: planning it anew each time brings nothing.
const BEGIN: &str = "BEGIN; SET LOCAL plan_cache_mode = force_generic_plan";

/// Waits out a change of settings; tells whether this claim is the one that takes without locking.
const LOCKS: &str = "SELECT pg_advisory_xact_lock_shared($1), pg_try_advisory_xact_lock($2)";

/// Routes served that have anything ready from their floor on; none for a node that is not there.
const PROBE: &str = "
    SELECT r.id, q.flags, EXISTS (SELECT FROM queues a WHERE a.project = r.project AND a.name = '*'
                                  AND a.flags <> 0)
    FROM routes r JOIN queues q ON q.id = r.queue_id
    LEFT JOIN unnest($4::integer[], $5::bigint[]) f(route, floor) ON f.route = r.id
    CROSS JOIN LATERAL (
        SELECT FROM ready WHERE route = r.id AND ord >= coalesce(f.floor, -9223372036854775808)
        ORDER BY ord, job LIMIT 1) one
    WHERE ($6::bigint IS NULL OR r.project = $6) AND r.kind = ANY($1) AND (cardinality($2::text[]) = 0 OR r.queue = ANY($2))
      AND EXISTS (SELECT FROM nodes WHERE id = $3 AND NOT ended)";

/// The first jobs of each route, as (route, ord, job).
const PEEK: &str = "
    SELECT u.route, x.ord, x.job FROM unnest($1::integer[]) u(route)
    CROSS JOIN LATERAL (SELECT ord, job FROM ready WHERE route = u.route ORDER BY ord, job LIMIT $2) x";

/// What is read of jobs that are claimed.
macro_rules! columns {
    () => {
        "ord, route, coalesce(attempt, 0) + 1 AS nth, key_id, id, max_attempts, raised, deaths, backoff,
         fail_timeouts, payload, timeout, key, batch, schedule, scheduled_for, created_at, run_at, cancel, origin,
         coalesce(attempt, 0) = 0 AND cancel IS NULL AND schedule IS NULL
             AND (batch IS NULL OR origin = 4) AS alike"
    };
}

/// What follows `found (at)` and `taken (job)`: the leases (those that are alike share rows, see
/// [`crate::bundles`]), the counters, the answer. What was waiting
/// is told by the job's own row, found by its key: a join of rows that arrive one by one costs more.
/// Where the numbers are close together, as those of jobs enqueued together are, the index is walked
/// once from the lowest to the highest instead of once for each.
macro_rules! take_sql {
    ($found:literal, $single:literal, $keyed:literal) => {
        concat!(
            "WITH found AS MATERIALIZED (",
            $found,
            "), taken AS (
                DELETE FROM ready WHERE ctid = ANY(ARRAY(SELECT at FROM found)) RETURNING job),
             span AS MATERIALIZED (
                SELECT min(job) AS low, max(job) AS high, max(job) - min(job) < 2 * count(*) AS dense FROM taken),
             got AS MATERIALIZED (
                SELECT ",
            columns!(),
            " FROM jobs WHERE id BETWEEN (SELECT low FROM span) AND (SELECT high FROM span)
                    AND (SELECT dense FROM span) AND (id IN (SELECT job FROM taken)) IS TRUE
                UNION ALL SELECT ",
            columns!(),
            " FROM jobs WHERE (SELECT NOT dense FROM span) AND id = ANY(ARRAY(SELECT job FROM taken))),
             single AS (
                INSERT INTO running (job, node, started_at, route, attempt, cancel, key_id, batch, schedule)
                SELECT id, $1::bigint, $2::bigint, route, nth, cancel, key_id, CASE WHEN origin <> 4 THEN batch END, schedule
                FROM got WHERE ",
            $single,
            "),
             bundled AS (
                INSERT INTO bundles (block, first, node, started_at, route, jobs)
                SELECT id / 128, min(id), $1::bigint, $2::bigint, route, array_agg(id)
                FROM got WHERE alike AND key_id IS NULL GROUP BY route, id / 128),",
            $keyed,
            "moved AS (
                INSERT INTO counters (route, state, shard, n)
                SELECT g.route, v.state, $3::smallint, v.sign * g.n
                FROM (SELECT route, count(*) AS n FROM got GROUP BY route) g
                CROSS JOIN (VALUES (1::smallint, -1), (2::smallint, 1)) v(state, sign)
                ON CONFLICT (route, state, shard) DO UPDATE SET n = counters.n + excluded.n)
             SELECT ord, route, nth, cancel, id, max_attempts, raised, deaths, backoff, fail_timeouts, payload,
                    timeout, key, batch, schedule, scheduled_for, created_at, run_at,
                    (SELECT count(*) FROM found)
             FROM got"
        )
    };
}

/// The first of each route that nobody else is taking: (route, how many, from which place on).
const TAKE: &str = take_sql!(
    "SELECT x.at FROM unnest($4::integer[], $5::bigint[], $6::bigint[]) u(route, n, floor)
     CROSS JOIN LATERAL (
        SELECT ctid AS at FROM ready WHERE route = u.route AND ord >= u.floor
        ORDER BY ord, job LIMIT u.n
        FOR UPDATE SKIP LOCKED) x",
    "NOT alike OR key_id IS NOT NULL",
    ""
);

/// The first of each route, for the one claim that may do so: the others pass over what it deletes.
/// Rows are not locked before they are deleted, which saves a fifth. What another takes between the
/// look and the deletion is missed, so it tells how many it had found.
const TAKE_FIRST: &str = take_sql!(
    "SELECT x.at FROM unnest($4::integer[], $5::bigint[], $6::bigint[]) u(route, n, floor)
     CROSS JOIN LATERAL (
        SELECT ctid AS at FROM ready WHERE route = u.route AND ord >= u.floor
        ORDER BY ord, job LIMIT u.n) x",
    "NOT alike OR key_id IS NOT NULL",
    ""
);

/// These very jobs. Not locked before they are deleted, either: the caller looks whether all were there.
pub(crate) const TAKE_THESE: &str = take_sql!(
    "SELECT x.at FROM unnest($4::integer[], $5::bigint[], $6::bigint[]) u(route, ord, job)
     CROSS JOIN LATERAL (
        SELECT ctid AS at FROM ready WHERE route = u.route AND ord = u.ord AND job = u.job
        OFFSET 0) x",
    "NOT alike",
    "keyed AS (
        INSERT INTO bundles (block, first, node, started_at, route, jobs, keys)
        SELECT id / 128, min(id), $1::bigint, $2::bigint, route, array_agg(id), array_agg(key_id)
        FROM got WHERE alike AND key_id IS NOT NULL GROUP BY route, id / 128, id / 64),"
);

const DUE: &str = "
    DELETE FROM scheduled WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM scheduled WHERE run_at <= $1 ORDER BY run_at, job LIMIT $2 FOR UPDATE SKIP LOCKED))
    RETURNING run_at, job, ord, key_id, expires_at, route, attempt, put_off";

const NEXT_DUE: &str = "SELECT run_at FROM scheduled ORDER BY run_at, job LIMIT 1";

/// Jobs become ready: route, place, job, attempts before, key.
pub(crate) const PROMOTE: &str = "
    INSERT INTO ready (route, ord, job, attempt, key_id)
    SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::integer[], $5::bigint[])";

pub(crate) const SET_ORD: &str =
    "UPDATE jobs j SET ord = u.ord FROM unnest($1::bigint[], $2::bigint[]) u(id, ord)
     CROSS JOIN LATERAL (SELECT ctid AS at FROM jobs WHERE id = u.id OFFSET 0 FOR NO KEY UPDATE) x
     WHERE j.ctid = x.at";

/// A job that is due, and the place it gets.
struct Due {
    job: i64,
    ord: i64,
    key_id: Option<i64>,
    key: Option<String>,
    attempt: i32,
    route: Arc<RouteInfo>,
    priority: u8,
    /// It lost its turn to a rate, not its place.
    keeps: bool,
}

impl keys::Keyed for Due {
    fn queue_id(&self) -> i32 {
        self.route.queue_id
    }
    fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
    fn priority(&self) -> u8 {
        self.priority
    }
    fn due(&self) -> bool {
        true
    }
    fn set_key_id(&mut self, id: i64) {
        self.key_id = Some(id);
    }
    fn set_ord(&mut self, ord: i64) {
        self.ord = ord;
    }
}

/// One candidate in claim order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub route: i32,
    pub ord: i64,
    pub job: i64,
}

impl Inner {
    pub(crate) async fn promote(&self, now: Timestamp, limit: u32) -> Result<Promoted> {
        let (now, limit) = (time::micros(now), i64::from(limit.min(limits::BATCH as u32)));
        let promoted = transact!(&self.reach, self.lanes.claim, |conn| {
            let mut fx = Effects::default();
            conn.prepare(&[DUE, NEXT_DUE]).await?;
            let args: crate::link::Args<'_> = &[&now, &limit];
            let ((), mut due, next) =
                try_join3(conn.begin(), conn.query(DUE, args), conn.opt(NEXT_DUE, &[])).await?;
            due.sort_unstable_by_key(|row| (row.get::<_, i64>(0), row.get::<_, i64>(1)));
            let mut promoted =
                Promoted { next_at: next.map(|row| time::from_micros(row.get(0))), ..Default::default() };
            self.become_ready(conn, now, &due, &mut promoted, &mut fx).await?;
            self.seal(conn, now, self.shard(Lanes::CLAIM), &mut fx).await?;
            Ok(promoted)
        })?;
        if promoted.promoted > 0 {
            self.hint(Hint::Jobs);
        }
        Ok(promoted)
    }

    async fn become_ready(
        &self,
        conn: &Conn,
        now: i64,
        due: &[tokio_postgres::Row],
        promoted: &mut Promoted,
        fx: &mut Effects,
    ) -> Step<()> {
        let (mut ready, mut expired) = (Vec::with_capacity(due.len()), vec![]);
        for row in due {
            let (job, route): (i64, i32) = (row.get(1), row.get(5));
            if row.get::<_, Option<i64>>(4).is_some_and(|at| at <= now) {
                expired.push(job);
                continue;
            }
            let keeps = row.get::<_, Option<bool>>(7).unwrap_or(false);
            let route = self.route_of(route).await?;
            let (ord, key_id, attempt) = (row.get(2), row.get(3), row.get(6));
            ready.push(Due { job, ord, key_id, key: None, attempt, route, priority: 0, keeps });
        }
        self.place(conn, &mut ready).await?;
        promoted.promoted = ready.len() as u32;
        promoted.expired = expired.len() as u32;
        if !expired.is_empty() {
            self.end_waiting(conn, now, &expired, JobState::Scheduled, "expired", None, fx).await?;
        }
        if !ready.is_empty() {
            let routes: Vec<i32> = ready.iter().map(|d| d.route.id).collect();
            let ords: Vec<i64> = ready.iter().map(|d| d.ord).collect();
            let jobs: Vec<i64> = ready.iter().map(|d| d.job).collect();
            let attempts: Vec<i32> = ready.iter().map(|d| d.attempt).collect();
            let keys: Vec<Option<i64>> = ready.iter().map(|d| d.key_id).collect();
            conn.execute(PROMOTE, &[&routes, &ords, &jobs, &attempts, &keys]).await?;
            for due in &ready {
                self.floors.placed(due.route.id, due.ord);
                fx.figures.moved(due.route.id, JobState::Scheduled, JobState::Available, 1);
            }
        }
        Ok(())
    }

    /// Jobs of fair queues get their turn now that they are available.
    async fn place(&self, conn: &Conn, ready: &mut [Due]) -> Step<()> {
        let mut turns: Vec<&mut Due> = ready
            .iter_mut()
            .filter(|d| !d.keeps && self.names.queue(d.route.queue_id).settings.fair)
            .collect();
        if turns.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = turns.iter().map(|d| d.job).collect();
        let rows = conn.query("SELECT id, key, priority FROM jobs WHERE id = ANY($1)", &[&ids]).await?;
        let known: BTreeMap<i64, (Option<String>, i16)> =
            rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
        for due in &mut turns {
            if let Some((key, priority)) = known.get(&due.job) {
                due.key.clone_from(key);
                due.priority = *priority as u8;
            }
        }
        keys::assign(self, conn, &mut turns).await?;
        let ords: Vec<i64> = turns.iter().map(|d| d.ord).collect();
        conn.execute(SET_ORD, &[&ids, &ords]).await.map(drop)
    }

    /// Claims, and sees to it that an idle node is known to sleep before it is told that nothing
    /// is there: an enqueue that commits later will then send it a hint.
    pub(crate) async fn claim(&self, now: Timestamp, request: &ClaimRequest) -> Result<ClaimBatch> {
        for (field, len) in [("kinds", request.kinds.len()), ("queues", request.queues.len())] {
            if len > limits::BATCH {
                let text = format!("{len} entries, at most {} are allowed in one call", limits::BATCH);
                return Err(StoreError::Invalid { field, text });
            }
        }
        let want = request.limit.min(limits::BATCH as u32);
        let mut got = self.claim_once(now, request, want).await?;
        let full = got.jobs.len() >= want as usize;
        let asleep =
            self.hints.falls_asleep_or_wakes(&self.reach, &self.lanes.claim, request.node, full).await?;
        // Where more is promised the caller comes back anyway.
        if asleep && !got.more {
            let rest = self.claim_once(now, request, want - got.jobs.len() as u32).await?;
            got.more |= rest.more;
            got.wake_at = rest.wake_at.or(got.wake_at);
            got.jobs.extend(rest.jobs);
        }
        Ok(got)
    }

    async fn claim_once(&self, now: Timestamp, request: &ClaimRequest, want: u32) -> Result<ClaimBatch> {
        let us = time::micros(now);
        let kinds: Vec<&str> = request.kinds.iter().map(|k| &**k).collect();
        let queues: Vec<&str> = request.queues.iter().map(|q| &**q).collect();
        let project = request.project.map(|project| project.0);
        let floors = self.floors.at(us);
        let (rows, mut got, judged) = transact!(&self.reach, self.lanes.claim, |conn| {
            conn.prepare(&[LOCKS, PROBE]).await?;
            let (settings, first) = (self.lock_key(SETTINGS), self.lock_key(FIRST_CLAIM));
            let locks: crate::link::Args<'_> = &[&settings, &first];
            let (floored, places): (Vec<i32>, Vec<i64>) = floors.iter().map(|(r, f)| (*r, *f)).unzip();
            let args: crate::link::Args<'_> =
                &[&kinds, &queues, &request.node.0, &floored, &places, &project];
            let ((), locked, found) =
                try_join3(conn.batch(BEGIN), conn.one(LOCKS, locks), conn.query(PROBE, args)).await?;
            let special = found.iter().any(|row| row.get::<_, i16>(1) != 0 || row.get(2));
            let routes: Vec<i32> = found.iter().map(|row| row.get(0)).collect();
            if routes.is_empty() || want == 0 {
                conn.commit().await?;
                return Ok((vec![], ClaimBatch::default(), None));
            }
            if special {
                let (rows, got, judged) = self.judge(conn, now, request, &routes, &floors, want).await?;
                return Ok((rows, got, Some(judged)));
            }
            let (routes, shares) = self.shares(conn, &routes, want).await?;
            let floors = floors_of(&routes, &floors);
            let shard = self.shard(Lanes::CLAIM);
            let args: crate::link::Args<'_> = &[&request.node.0, &us, &shard, &routes, &shares, &floors];
            let take = if locked.get(1) { TAKE_FIRST } else { TAKE };
            conn.prepare(&[take]).await?;
            let (rows, ()) = try_join(conn.query(take, args), conn.commit()).await?;
            let seen = rows.first().map_or(1, |row| row.get::<_, i64>(18));
            let lost = locked.get::<_, bool>(1) && seen > rows.len() as i64;
            if let ([route], [floor]) = (routes.as_slice(), floors.as_slice()) {
                let last = rows.iter().map(|row| row.get(0)).max().unwrap_or(i64::MIN);
                self.floors.ended(*route, us, *floor, (rows.len(), want as usize), last);
            }
            Ok((rows, ClaimBatch { more: lost, ..Default::default() }, None))
        })?;
        if judged.as_ref().is_some_and(|j: &Judged| j.hint_jobs) {
            self.hint(Hint::Jobs);
        }
        got.jobs = self.in_order(&rows, judged.map(|j| j.order)).await?;
        if !floors.is_empty() && got.jobs.len() < want as usize {
            // What stands before a floor has not been looked at.
            self.floors.clear();
            got.more = true;
        }
        Ok(got)
    }

    /// How many to take from each route, as if taken in claim order one by one.
    async fn shares(&self, conn: &Conn, routes: &[i32], want: u32) -> Step<(Vec<i32>, Vec<i64>)> {
        if let [only] = routes {
            return Ok((vec![*only], vec![i64::from(want)]));
        }
        let found = conn.query(PEEK, &[&routes, &i64::from(want)]).await?;
        let mut lanes = self.lanes_of(&found).await?;
        for lane in lanes.values_mut() {
            lane.truncate(want as usize);
        }
        let lanes: Vec<Vec<Place>> = lanes.into_values().collect();
        let mut shares = BTreeMap::<i32, i64>::new();
        for (lane, nth) in rules::interleave(&lanes, |p| (p.ord, p.job), want as usize) {
            *shares.entry(lanes[lane][nth].route).or_default() += 1;
        }
        Ok(shares.into_iter().unzip())
    }

    /// Candidates by queue, each in claim order.
    pub(crate) async fn lanes_of(
        &self,
        found: &[tokio_postgres::Row],
    ) -> Step<BTreeMap<(ProjectId, Arc<str>), Vec<Place>>> {
        let mut lanes = BTreeMap::<_, Vec<Place>>::new();
        for row in found {
            let place = Place { route: row.get(0), ord: row.get(1), job: row.get(2) };
            let route = self.route_of(place.route).await?;
            lanes.entry((route.project, route.queue.clone())).or_default().push(place);
        }
        for lane in lanes.values_mut() {
            lane.sort_unstable_by_key(|p| (p.ord, p.job));
        }
        Ok(lanes)
    }

    /// Claimed attempts in the order in which they should start.
    async fn in_order(&self, rows: &[tokio_postgres::Row], order: Option<Vec<i64>>) -> Result<Vec<Claimed>> {
        let mut lanes = BTreeMap::<(ProjectId, Arc<str>), Vec<(i64, i64, Claimed)>>::new();
        for row in rows {
            let route = self.route_of(row.get(1)).await?;
            let claimed = claimed(row, &route)?;
            let lane = lanes.entry((route.project, route.queue.clone())).or_default();
            lane.push((row.get(0), claimed.facts.job.0, claimed));
        }
        if let Some(order) = order {
            let mut by_id: BTreeMap<i64, Claimed> =
                lanes.into_values().flatten().map(|(_, id, claimed)| (id, claimed)).collect();
            return Ok(order.iter().filter_map(|id| by_id.remove(id)).collect());
        }
        for lane in lanes.values_mut() {
            lane.sort_unstable_by_key(|(ord, id, _)| (*ord, *id));
        }
        let mut lanes: Vec<Vec<Option<(i64, i64, Claimed)>>> =
            lanes.into_values().map(|lane| lane.into_iter().map(Some).collect()).collect();
        let key = |c: &Option<(i64, i64, Claimed)>| c.as_ref().map_or((0, 0), |c| (c.0, c.1));
        let order = rules::interleave(&lanes, key, usize::MAX);
        Ok(order.into_iter().filter_map(|(l, i)| lanes[l][i].take()).map(|(_, _, c)| c).collect())
    }

    /// Ends jobs whose waiting rows are gone already: they become cancelled.
    #[allow(clippy::too_many_arguments, reason = "each is one column of what is written")]
    pub(crate) async fn end_waiting(
        &self,
        conn: &Conn,
        now: i64,
        jobs: &[i64],
        from: JobState,
        reason: &str,
        actor: Option<&str>,
        fx: &mut Effects,
    ) -> Step<()> {
        let reason = limits::cut(&rows::clean(reason), limits::NOTE);
        let ended = conn.query(END_WAITING, &[&jobs, &now, &reason]).await?;
        for row in &ended {
            let (id, route): (i64, i32) = (row.get(0), row.get(1));
            let route = self.route_of(route).await?;
            fx.cancelled.push(id);
            fx.figures.moved(route.id, from, JobState::Cancelled, 1);
            let told = event::of_cancelled(mainspring_core::JobId(id), &route.kind, &route.queue, &reason);
            fx.events.push((route.project, if let Some(actor) = actor { told.by(actor) } else { told }));
            let outcome = rows::outcome(row.get(6))?;
            crate::finish::ended(fx, &crate::finish::Ended::waiting(row, now, outcome));
        }
        Ok(())
    }
}

/// A waiting job that ends without running; `jobs` has all that is known of it.
const END_WAITING: &str = "
    WITH ended AS (
        SELECT * FROM jobs WHERE id = ANY($1) ORDER BY id),
    written AS (
        INSERT INTO done (job, started_at, finished_at, node, route, attempt, state, outcome, cancel, reason,
                          error_class, error)
        SELECT id, started_at, $2::bigint, node, route, coalesce(attempt, 0), 4, outcome, cancel, $3::text, error_class, error
        FROM ended)
    SELECT id, route, key_id, batch, schedule, origin, outcome FROM ended ORDER BY id";

/// Where to begin in each of the routes: several are always looked at from the start, so that what is
/// taken from them is what their common order says.
pub(crate) fn floors_of(routes: &[i32], floors: &BTreeMap<i32, i64>) -> Vec<i64> {
    match routes {
        [only] => vec![floors.get(only).copied().unwrap_or(i64::MIN)],
        several => vec![i64::MIN; several.len()],
    }
}

/// One row of [`TAKE`].
fn claimed(row: &tokio_postgres::Row, route: &RouteInfo) -> Result<Claimed> {
    let schedule = row.get::<_, Option<i64>>(14).map(ScheduleId);
    Ok(Claimed {
        facts: rows::facts(row, 4, row.get(2), row.get(3))?,
        project: route.project,
        kind: route.kind.clone(),
        queue: route.queue.clone(),
        payload: Json::trusted(row.get::<_, String>(10)),
        timeout: row.get::<_, Option<i64>>(11).map(|us| Duration::from_micros(us.max(0) as u64)),
        key: row.get::<_, Option<&str>>(12).map(Into::into),
        batch: row.get::<_, Option<i64>>(13).map(BatchId),
        schedule: schedule.map(|id| (id, row.get::<_, Option<i64>>(15).map(time::from_micros))),
        created_at: time::from_micros(row.get(16)),
        run_at: time::from_micros(row.get(17)),
    })
}
