//! Claims from queues that must be looked at job by job: limits, rates, fairness, keys, expiry.
//!
//! The rows of those queues are locked in order of their numbers, so only one claim at a time looks
//! at a queue with settings and what it counts is what is. How many run is read from the counters,
//! which every finish keeps in its own transaction; no row of a queue is written by a finish.

use crate::claim::{Place, TAKE_THESE, floors_of};
use crate::effects::Effects;
use crate::link::{Conn, Fault, Step};
use crate::{Inner, Lanes, keys, rows};
use jiff::Timestamp;
use mainspring_core::claim::{self as rules, KeyState, QueueState, Verdict};
use mainspring_core::job::JobState;
use mainspring_core::queue::{ALL_QUEUES, QueueSettings};
use mainspring_core::store::{ClaimBatch, ClaimRequest};
use mainspring_core::{ProjectId, time};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tokio_postgres::Row;

/// Queues with settings or marks among those of the routes, and their projects' `*`, locked.
const QUEUES: &str = "
    SELECT id, project, name, settings, tat, vclock FROM queues
    WHERE flags <> 0 AND (id = ANY(ARRAY(SELECT queue_id FROM routes WHERE id = ANY($1)))
        OR (name = '*' AND project = ANY(ARRAY(SELECT project FROM routes WHERE id = ANY($1)))))
    ORDER BY id FOR NO KEY UPDATE";

const RUNNING: &str = "
    SELECT r.project, r.queue, sum(c.n)::bigint FROM routes r JOIN counters c ON c.route = r.id AND c.state = 2
    WHERE r.project = ANY($1) GROUP BY r.project, r.queue";

/// The first jobs of each route with all that a verdict needs. Not locked: the rows of their queues
/// are, so no other claim looks at them, and a cancel that comes between is noticed at the end.
const LOOK: &str = "
    SELECT u.route, x.ord, x.job, x.key_id, j.key_limit, j.expires_at, j.priority
    FROM unnest($1::integer[], $3::bigint[]) u(route, floor)
    CROSS JOIN LATERAL (
        SELECT ord, job, key_id FROM ready WHERE route = u.route AND ord >= u.floor
        ORDER BY ord, job LIMIT $2) x
    CROSS JOIN LATERAL (SELECT key_limit, expires_at, priority FROM jobs WHERE id = x.job OFFSET 0) j";

const HOLD: &str = "
    WITH gone AS (
        DELETE FROM ready WHERE ctid = ANY(ARRAY(
            SELECT x.at FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) u(route, ord, job)
            CROSS JOIN LATERAL (
                SELECT ctid AS at FROM ready WHERE route = u.route AND ord = u.ord AND job = u.job
                OFFSET 0 FOR UPDATE) x)) RETURNING *)
    INSERT INTO held (key_id, ord, job, route, attempt) SELECT key_id, ord, job, route, attempt FROM gone";

const PUT_OFF: &str = "
    WITH late AS MATERIALIZED (
        SELECT r.*, u.at FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[])
            u(route, ord, job, at)
        CROSS JOIN LATERAL (
            SELECT ctid AS here, * FROM ready WHERE route = u.route AND ord = u.ord AND job = u.job
            OFFSET 0 FOR UPDATE) r),
    gone AS (DELETE FROM ready WHERE ctid = ANY(ARRAY(SELECT here FROM late))),
    moved AS (
        UPDATE jobs j SET run_at = l.at FROM late l
        CROSS JOIN LATERAL (SELECT ctid AS here FROM jobs WHERE id = l.job OFFSET 0 FOR NO KEY UPDATE) x
        WHERE j.ctid = x.here)
    INSERT INTO scheduled (run_at, job, ord, route, attempt, key_id, expires_at, put_off)
    SELECT l.at, l.job, l.ord, l.route, l.attempt, l.key_id, x.expires_at, true
    FROM late l CROSS JOIN LATERAL (SELECT expires_at FROM jobs WHERE id = l.job OFFSET 0) x";

const DROP_THESE: &str = "
    DELETE FROM ready WHERE ctid = ANY(ARRAY(
        SELECT x.at FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) u(route, ord, job)
        CROSS JOIN LATERAL (
            SELECT ctid AS at FROM ready WHERE route = u.route AND ord = u.ord AND job = u.job
            OFFSET 0 FOR UPDATE) x))";

const SET_QUEUES: &str = "
    UPDATE queues q SET tat = u.tat, vclock = u.vclock
    FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) u(id, tat, vclock) WHERE q.id = u.id";

/// A locked queue.
#[derive(Clone)]
struct Watched {
    id: i32,
    settings: QueueSettings,
    state: QueueState,
}

/// Keys by number: how many ran before, and the state as it will be.
pub(crate) type Keys = BTreeMap<i64, (u64, KeyState)>;

type Queues = HashMap<(ProjectId, Arc<str>), Watched>;

/// What a judged claim leaves to be said after its commit.
pub(crate) struct Judged {
    /// The jobs that run, in order.
    pub order: Vec<i64>,
    pub hint_jobs: bool,
}

/// What a verdict on a candidate needs.
#[derive(Clone, Copy)]
struct Candidate {
    place: Place,
    key_id: Option<i64>,
    key_limit: Option<u32>,
    expires_at: Option<i64>,
    priority: u8,
}

impl Candidate {
    fn read(row: &Row) -> Candidate {
        Candidate {
            place: Place { route: row.get(0), ord: row.get(1), job: row.get(2) },
            key_id: row.get(3),
            key_limit: row.get::<_, Option<i32>>(4).map(|n| n.max(0) as u32),
            expires_at: row.get(5),
            priority: row.get::<_, i16>(6) as u8,
        }
    }
}

/// Where candidates go.
#[derive(Default)]
struct Fates {
    run: Vec<Place>,
    hold: Vec<Place>,
    put_off: Vec<(Place, i64)>,
    expired: Vec<Place>,
}

fn columns(places: &[Place]) -> (Vec<i32>, Vec<i64>, Vec<i64>) {
    let routes = places.iter().map(|p| p.route).collect();
    (routes, places.iter().map(|p| p.ord).collect(), places.iter().map(|p| p.job).collect())
}

impl Inner {
    /// The second half of a claim where some queue is special. Commits.
    pub(crate) async fn judge(
        &self,
        conn: &Conn,
        now: Timestamp,
        request: &ClaimRequest,
        routes: &[i32],
        floors: &BTreeMap<i32, i64>,
        want: u32,
    ) -> Step<(Vec<Row>, ClaimBatch, Judged)> {
        let us = time::micros(now);
        let mut queues = lock_queues(conn, routes).await?;
        // One more than wanted tells whether a limit kept something back.
        let floors = floors_of(routes, floors);
        let found = conn.query(LOOK, &[&routes, &(i64::from(want) + 1), &floors]).await?;
        let known: HashMap<i64, Candidate> =
            found.iter().map(Candidate::read).map(|c| (c.place.job, c)).collect();
        let lanes = self.lanes_of(&found).await?;
        let (order, wake_at) = candidates(&queues, lanes, now, want);
        let mut got = ClaimBatch { wake_at: wake_at.map(time::from_micros), ..Default::default() };

        let order: Vec<Candidate> = order.iter().filter_map(|p| known.get(&p.job).copied()).collect();
        let (fates, keys) = self.verdicts(conn, &order, &mut queues, now).await?;
        got.more = !(fates.hold.is_empty() && fates.put_off.is_empty() && fates.expired.is_empty());
        if let ([route], [floor]) = (routes, floors.as_slice()) {
            // Whatever became of them, those that were judged are not ready any more.
            let last = order.last().map_or(i64::MIN, |c| c.place.ord);
            self.floors.ended(*route, us, *floor, (order.len(), want as usize), last);
        }

        let mut fx = Effects::default();
        self.write_fates(conn, us, &fates, &mut fx).await?;
        let (r, o, j) = columns(&fates.run);
        let shard = self.shard(Lanes::CLAIM);
        let rows = conn.query(TAKE_THESE, &[&request.node.0, &us, &shard, &r, &o, &j]).await?;
        if rows.len() != j.len() {
            // Somebody cancelled one of them: keys and queues would count what does not run.
            return Err(Fault::Again);
        }
        keys::started(conn, &keys).await?;
        set_queues(conn, &queues).await?;
        self.seal(conn, us, shard, &mut fx).await?;
        Ok((rows, got, Judged { order: j, hint_jobs: fx.hint_jobs }))
    }

    /// Judges candidates in order. Keys are read first and locked only if one of them is full: a
    /// finish may free it at this moment, and must then either be seen or see the held job.
    async fn verdicts(
        &self,
        conn: &Conn,
        order: &[Candidate],
        queues: &mut Queues,
        now: Timestamp,
    ) -> Step<(Fates, Keys)> {
        let ids: Vec<i64> =
            order.iter().filter_map(|c| c.key_id).collect::<BTreeSet<_>>().into_iter().collect();
        for locked in [false, true] {
            let before = if locked { keys::lock(conn, &ids).await? } else { keys::look(conn, &ids).await? };
            let mut keys: Keys =
                before.into_iter().map(|(id, (_, state))| (id, (state.running, state))).collect();
            let mut judged = queues.clone();
            let mut fates = Fates::default();
            for candidate in order {
                let route = self.route_of(candidate.place.route).await?;
                let queue = judged.get_mut(&(route.project, route.queue.clone()));
                judge_one(candidate, queue, &mut keys, now, &mut fates);
            }
            if locked || fates.hold.is_empty() {
                *queues = judged;
                return Ok((fates, keys));
            }
        }
        Err(Fault::Again)
    }

    /// Moves candidates that do not run.
    async fn write_fates(&self, conn: &Conn, now: i64, fates: &Fates, fx: &mut Effects) -> Step<()> {
        if !fates.hold.is_empty() {
            let (r, o, j) = columns(&fates.hold);
            conn.execute(HOLD, &[&r, &o, &j]).await?;
        }
        if !fates.put_off.is_empty() {
            let (places, at): (Vec<Place>, Vec<i64>) = fates.put_off.iter().copied().unzip();
            let (r, o, j) = columns(&places);
            conn.execute(PUT_OFF, &[&r, &o, &j, &at]).await?;
            for place in &places {
                fx.figures.moved(place.route, JobState::Available, JobState::Scheduled, 1);
            }
            fx.hint_jobs = true;
        }
        if !fates.expired.is_empty() {
            let (r, o, j) = columns(&fates.expired);
            conn.execute(DROP_THESE, &[&r, &o, &j]).await?;
            self.end_waiting(conn, now, &j, JobState::Available, "expired", None, fx).await?;
        }
        Ok(())
    }
}

async fn lock_queues(conn: &Conn, routes: &[i32]) -> Step<Queues> {
    let rows = conn.query(QUEUES, &[&routes]).await?;
    let mut queues = Queues::new();
    for row in &rows {
        let settings: QueueSettings =
            serde_json::from_str(row.get(3)).map_err(|e| rows::json_text("a queue's settings", e))?;
        let state = QueueState { running: 0, tat: row.get(4), vclock: row.get(5) };
        let name: &str = row.get(2);
        queues.insert((ProjectId(row.get(1)), name.into()), Watched { id: row.get(0), settings, state });
    }
    if queues.values().any(|q| q.settings.max_running.is_some()) {
        let projects: Vec<i64> = queues.keys().map(|(project, _)| project.0).collect();
        // A statement of its own, after the locks: it sees what the claims before this one started.
        for row in &conn.query(RUNNING, &[&projects]).await? {
            let project = ProjectId(row.get(0));
            let n = u64::try_from(row.get::<_, i64>(2)).unwrap_or(0);
            for name in [row.get::<_, &str>(1), ALL_QUEUES] {
                if let Some(queue) = queues.get_mut(&(project, name.into())) {
                    queue.state.running += n;
                }
            }
        }
    }
    Ok(queues)
}

/// The jobs to look at, in order, as the limits of queues, of all queues together and of the call
/// allow; and when a queue that waits for its rate may give more.
fn candidates(
    queues: &Queues,
    mut lanes: BTreeMap<(ProjectId, Arc<str>), Vec<Place>>,
    now: Timestamp,
    want: u32,
) -> (Vec<Place>, Option<i64>) {
    let mut wake_at: Option<i64> = None;
    for (name, lane) in &mut lanes {
        let (n, wake) = match queues.get(name) {
            Some(queue) => rules::allowance(&queue.settings, &queue.state, now, want),
            None => (want, None),
        };
        if lane.len() > n as usize {
            wake_at = wake_at.into_iter().chain(wake).min();
        }
        lane.truncate(n as usize);
    }
    let owners: Vec<ProjectId> = lanes.keys().map(|(project, _)| *project).collect();
    let lanes: Vec<Vec<Place>> = lanes.into_values().collect();
    let mut room: BTreeMap<ProjectId, u32> = BTreeMap::new();
    let mut order = Vec::new();
    for (lane, nth) in rules::interleave(&lanes, |p| (p.ord, p.job), usize::MAX) {
        let project = owners[lane];
        let room = room.entry(project).or_insert_with(|| room_of_all(queues, project, now, want));
        if *room > 0 && order.len() < want as usize {
            *room -= 1;
            order.push(lanes[lane][nth]);
        }
    }
    (order, wake_at)
}

/// How many jobs a project may start over all its queues.
fn room_of_all(queues: &Queues, project: ProjectId, now: Timestamp, want: u32) -> u32 {
    let Some(all) = queues.get(&(project, ALL_QUEUES.into())) else { return want };
    // Nothing else has a meaning for all queues together.
    let settings = QueueSettings {
        paused: all.settings.paused.clone(),
        max_running: all.settings.max_running,
        ..Default::default()
    };
    rules::allowance(&settings, &all.state, now, want).0
}

fn judge_one(
    candidate: &Candidate,
    queue: Option<&mut Watched>,
    keys: &mut Keys,
    now: Timestamp,
    fates: &mut Fates,
) {
    let place = candidate.place;
    let us = time::micros(now);
    if candidate.expires_at.is_some_and(|at| at <= us) {
        fates.expired.push(place);
        return;
    }
    let plain = QueueSettings::default();
    let settings = queue.as_ref().map_or(&plain, |q| &q.settings);
    if let Some((_, key)) = candidate.key_id.and_then(|id| keys.get_mut(&id)) {
        match rules::admit(settings, candidate.key_limit, key, now) {
            Verdict::Run => {}
            Verdict::Hold => return fates.hold.push(place),
            Verdict::PutOff(at) => return fates.put_off.push((place, at)),
        }
    }
    fates.run.push(place);
    if let Some(queue) = queue {
        if let Some(rate) = queue.settings.rate {
            queue.state.tat = rate.take(queue.state.tat, us, 1);
        }
        if queue.settings.fair {
            let turn = place.ord - rules::priority_offset(candidate.priority);
            queue.state.vclock = queue.state.vclock.max(turn);
        }
    }
}

async fn set_queues(conn: &Conn, queues: &Queues) -> Step<()> {
    let moved: Vec<&Watched> =
        queues.values().filter(|q| q.settings.rate.is_some() || q.settings.fair).collect();
    if moved.is_empty() {
        return Ok(());
    }
    let ids: Vec<i32> = moved.iter().map(|q| q.id).collect();
    let tat: Vec<i64> = moved.iter().map(|q| q.state.tat).collect();
    let vclock: Vec<i64> = moved.iter().map(|q| q.state.vclock).collect();
    conn.execute(SET_QUEUES, &[&ids, &tat, &vclock]).await.map(drop)
}
