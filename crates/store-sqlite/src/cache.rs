//! What the writer keeps in memory: the dictionary of routes and queues with their counters, who
//! runs, and the figures that the transaction under way will add.
//!
//! The file is the truth. The cache is read anew when another process has written (`PRAGMA
//! data_version`) and after every transaction that was rolled back, so nothing here needs undoing.
//! Figures are gathered per route by number: no text is built or compared per job. What is gathered
//! means the same as [`mainspring_core::tally::Tally`], and `flush` writes it.

use crate::schema;
use crate::tx::Fault;
use jiff::Timestamp;
use mainspring_core::job::{AttemptOutcome, JobState};
use mainspring_core::queue::{ALL_QUEUES, QueueSettings};
use mainspring_core::tally::{self, Recent, RollupSum};
use mainspring_core::{JobId, ProjectId, ScheduleId, StoreError, limits, time};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;
use std::sync::Arc;

/// A place in [`Cache::routes`]; the stored number is one more.
pub(crate) type RouteIx = usize;
/// A place in [`Cache::queues`]; the stored number is one more.
pub(crate) type QueueIx = usize;

/// One queue.
pub(crate) struct Queue {
    pub project: ProjectId,
    pub name: Arc<str>,
    pub settings: Arc<QueueSettings>,
    pub tat: i64,
    pub vclock: i64,
    pub routes: Vec<RouteIx>,
    kinds: HashMap<Arc<str>, RouteIx>,
    moved: bool,
}

/// One route: project, queue and kind.
pub(crate) struct Route {
    pub project: ProjectId,
    pub queue: QueueIx,
    pub queue_name: Arc<str>,
    pub kind: Arc<str>,
    /// Jobs by state, as they will be when the transaction under way is committed.
    pub counts: [i64; 6],
    /// False when a claim found nothing more to take: looked at again when something comes in.
    pub ready: bool,
    delta: [i64; 6],
    touched: bool,
    kind_scope: usize,
    queue_scope: usize,
}

/// Outcomes of a kind, queue or schedule that the transaction under way will add.
struct Scope {
    project: ProjectId,
    scope: i64,
    name: Arc<str>,
    fresh: Vec<(i64, AttemptOutcome)>,
}

/// A running attempt that this process claimed and that has nothing special about it.
#[derive(Clone, Copy)]
pub(crate) struct Plain {
    pub attempt: u32,
    pub route: RouteIx,
    pub started_at: i64,
}

#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct RollupKey {
    minute: i64,
    route: RouteIx,
    schedule: i64,
    outcome: i16,
    bucket: i16,
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Cache {
    pub routes: Vec<Route>,
    pub queues: Vec<Queue>,
    pub running: HashMap<JobId, Plain>,
    pub next_job: i64,
    by_name: HashMap<i64, HashMap<Arc<str>, QueueIx>>,
    touched: Vec<RouteIx>,
    moved_queues: Vec<QueueIx>,
    rollups: HashMap<RollupKey, RollupSum>,
    scopes: Vec<Scope>,
    scope_names: HashMap<(ProjectId, i64, Arc<str>), usize>,
    fresh: Vec<usize>,
    schedules: HashMap<(ProjectId, ScheduleId), Vec<(i64, AttemptOutcome)>>,
}

impl Cache {
    /// Reads everything anew.
    pub fn load(conn: &Connection) -> Result<Cache, Fault> {
        let mut cache = Cache::default();
        let mut rows =
            conn.prepare_cached("SELECT id, project, name, settings, tat, vclock FROM queues ORDER BY id")?;
        let mut rows = rows.query([])?;
        while let Some(r) = rows.next()? {
            let settings = settings_from(r.get::<_, Option<String>>(3)?.as_deref())?;
            let name: Arc<str> = r.get(2)?;
            let ix = cache.queues.len();
            dense(r.get(0)?, ix, "queues")?;
            let project = ProjectId(r.get(1)?);
            cache.add_queue(project, name, Arc::new(settings), r.get(4)?, r.get(5)?);
        }
        let mut rows = conn.prepare_cached(
            "SELECT id, queue, kind, scheduled, available, running, completed, cancelled, failed
             FROM routes ORDER BY id",
        )?;
        let mut rows = rows.query([])?;
        while let Some(r) = rows.next()? {
            dense(r.get(0)?, cache.routes.len(), "routes")?;
            let queue = r.get::<_, i64>(1)? as usize - 1;
            let mut counts = [0; 6];
            for (i, n) in counts.iter_mut().enumerate() {
                *n = r.get(3 + i)?;
            }
            cache.add_route(queue, r.get(2)?, counts);
        }
        let high: Option<i64> = conn.query_row("SELECT max(id) FROM jobs", [], |r| r.get(0))?;
        let kept: Option<i64> = conn
            .query_row("SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'last_job'", [], |r| r.get(0))
            .optional()?;
        cache.next_job = high.unwrap_or(0).max(kept.unwrap_or(0)) + 1;
        Ok(cache)
    }

    fn add_queue(
        &mut self,
        project: ProjectId,
        name: Arc<str>,
        settings: Arc<QueueSettings>,
        tat: i64,
        vclock: i64,
    ) -> QueueIx {
        let ix = self.queues.len();
        self.by_name.entry(project.0).or_default().insert(name.clone(), ix);
        let (routes, kinds) = Default::default();
        self.queues.push(Queue { project, name, settings, tat, vclock, routes, kinds, moved: false });
        ix
    }

    fn add_route(&mut self, queue: QueueIx, kind: Arc<str>, counts: [i64; 6]) -> RouteIx {
        let ix = self.routes.len();
        let (project, queue_name) = (self.queues[queue].project, self.queues[queue].name.clone());
        let kind_scope = self.scope(project, 0, kind.clone());
        let queue_scope = self.scope(project, 1, queue_name.clone());
        let q = &mut self.queues[queue];
        q.routes.push(ix);
        q.kinds.insert(kind.clone(), ix);
        self.routes.push(Route {
            project,
            queue,
            queue_name,
            kind,
            counts,
            ready: true,
            delta: [0; 6],
            touched: false,
            kind_scope,
            queue_scope,
        });
        ix
    }

    fn scope(&mut self, project: ProjectId, scope: i64, name: Arc<str>) -> usize {
        let at = self.scopes.len();
        let found = *self.scope_names.entry((project, scope, name.clone())).or_insert(at);
        if found == at {
            self.scopes.push(Scope { project, scope, name, fresh: Vec::new() });
        }
        found
    }

    /// The queue of this name, if it is known.
    pub fn find_queue(&self, project: ProjectId, name: &str) -> Option<QueueIx> {
        self.by_name.get(&project.0)?.get(name).copied()
    }

    /// The queue of this name, made if need be.
    pub fn queue(&mut self, conn: &Connection, project: ProjectId, name: &str) -> Result<QueueIx, Fault> {
        if let Some(ix) = self.find_queue(project, name) {
            return Ok(ix);
        }
        let name: Arc<str> = name.into();
        let ix = self.add_queue(project, name.clone(), Arc::default(), 0, 0);
        conn.prepare_cached("INSERT INTO queues (id, project, name) VALUES (?1, ?2, ?3)")?
            .execute(params![ix as i64 + 1, project.0, name])?;
        Ok(ix)
    }

    /// The route of a job, made if need be.
    pub fn route(
        &mut self,
        conn: &Connection,
        project: ProjectId,
        queue: &str,
        kind: &Arc<str>,
    ) -> Result<RouteIx, Fault> {
        let q = self.queue(conn, project, queue)?;
        if let Some(ix) = self.queues[q].kinds.get(kind) {
            return Ok(*ix);
        }
        let ix = self.add_route(q, kind.clone(), [0; 6]);
        conn.prepare_cached("INSERT INTO routes (id, queue, kind) VALUES (?1, ?2, ?3)")?.execute(params![
            ix as i64 + 1,
            q as i64 + 1,
            kind
        ])?;
        Ok(ix)
    }

    /// The limits over all queues of a project, when some are set.
    pub fn star(&self, project: ProjectId) -> Option<QueueIx> {
        self.find_queue(project, ALL_QUEUES)
    }

    /// Jobs of a queue that run.
    pub fn running_in(&self, queue: QueueIx) -> u64 {
        let sum: i64 = self.queues[queue].routes.iter().map(|r| self.routes[*r].counts[2]).sum();
        sum.max(0) as u64
    }

    /// Jobs of a project that run.
    pub fn running_of(&self, project: ProjectId) -> u64 {
        let of = self.routes.iter().filter(|r| r.project == project);
        of.map(|r| r.counts[2]).sum::<i64>().max(0) as u64
    }

    fn touch(&mut self, route: RouteIx) -> &mut Route {
        let r = &mut self.routes[route];
        if !r.touched {
            r.touched = true;
            self.touched.push(route);
        }
        r
    }

    /// `n` jobs came into a state (negative: left it).
    pub fn count(&mut self, route: RouteIx, state: JobState, n: i64) {
        let r = self.touch(route);
        let at = state.code() as usize;
        r.delta[at] += n;
        r.counts[at] += n;
        r.ready |= state == JobState::Available && n > 0;
    }

    /// A job changed its state.
    pub fn moved(&mut self, route: RouteIx, from: JobState, to: JobState) {
        self.count(route, from, -1);
        self.count(route, to, 1);
    }

    /// An attempt ended.
    pub fn attempt(
        &mut self,
        route: RouteIx,
        schedule: Option<ScheduleId>,
        outcome: AttemptOutcome,
        started_at: i64,
        finished_at: i64,
    ) {
        let took = finished_at.saturating_sub(started_at).max(0) as u64;
        let key = RollupKey {
            minute: finished_at.div_euclid(time::MINUTE),
            route,
            schedule: schedule.map_or(0, |s| s.0),
            outcome: outcome.code(),
            bucket: tally::bucket(std::time::Duration::from_micros(took)),
        };
        let sum = self.rollups.entry(key).or_default();
        sum.count += 1;
        sum.total_us += took;
        if tally::counts_for_health(outcome) {
            let r = &self.routes[route];
            for at in [r.kind_scope, r.queue_scope] {
                let fresh = &mut self.scopes[at].fresh;
                if fresh.is_empty() {
                    self.fresh.push(at);
                }
                push_recent(fresh, (finished_at, outcome));
            }
            if let Some(schedule) = schedule {
                let project = self.routes[route].project;
                push_recent(self.schedules.entry((project, schedule)).or_default(), (finished_at, outcome));
            }
        }
    }

    /// Sets a queue's rate or turn; written by `flush`.
    pub fn move_queue(&mut self, queue: QueueIx, tat: i64, vclock: i64) {
        let q = &mut self.queues[queue];
        if (q.tat, q.vclock) != (tat, vclock) {
            (q.tat, q.vclock) = (tat, vclock);
            if !q.moved {
                q.moved = true;
                self.moved_queues.push(queue);
            }
        }
    }

    /// Writes what was gathered: once per transaction.
    pub fn flush(&mut self, conn: &Connection) -> Result<(), Fault> {
        for ix in self.touched.drain(..) {
            let route = &mut self.routes[ix];
            route.touched = false;
            let d = std::mem::take(&mut route.delta);
            if d != [0; 6] {
                conn.prepare_cached(
                    "UPDATE routes SET scheduled = scheduled + ?2, available = available + ?3,
                        running = running + ?4, completed = completed + ?5, cancelled = cancelled + ?6,
                        failed = failed + ?7
                     WHERE id = ?1",
                )?
                .execute(params![ix as i64 + 1, d[0], d[1], d[2], d[3], d[4], d[5]])?;
            }
        }
        for at in self.fresh.drain(..) {
            let s = &mut self.scopes[at];
            merge_recent(conn, s.project.0, s.scope, &s.name, std::mem::take(&mut s.fresh))?;
        }
        for ((project, schedule), list) in self.schedules.drain() {
            merge_recent(conn, project.0, 2, &schedule.to_string(), list)?;
        }
        if !self.rollups.is_empty() {
            let mut add = conn.prepare_cached(
                "INSERT INTO rollups (minute, route, schedule, outcome, bucket, count, total_us)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET count = count + excluded.count,
                     total_us = total_us + excluded.total_us",
            )?;
            for (k, sum) in self.rollups.drain() {
                let row = params![
                    k.minute,
                    k.route as i64 + 1,
                    k.schedule,
                    k.outcome,
                    k.bucket,
                    sum.count as i64,
                    sum.total_us as i64
                ];
                add.execute(row)?;
            }
        }
        for ix in self.moved_queues.drain(..) {
            let q = &mut self.queues[ix];
            q.moved = false;
            conn.prepare_cached("UPDATE queues SET tat = ?2, vclock = ?3 WHERE id = ?1")?
                .execute(params![ix as i64 + 1, q.tat, q.vclock])?;
        }
        Ok(())
    }
}

/// Keeps a list of recent outcomes short without sorting it for every entry.
fn push_recent(list: &mut Vec<(i64, AttemptOutcome)>, entry: (i64, AttemptOutcome)) {
    list.push(entry);
    if list.len() >= 4 * limits::RECENT {
        let mut recent = Recent(std::mem::take(list));
        recent.merge(&Recent::default());
        *list = recent.0;
    }
}

fn merge_recent(
    conn: &Connection,
    project: i64,
    scope: i64,
    name: &str,
    list: Vec<(i64, AttemptOutcome)>,
) -> Result<(), Fault> {
    let stored: Option<Vec<u8>> = conn
        .prepare_cached("SELECT list FROM recents WHERE project = ?1 AND scope = ?2 AND name = ?3")?
        .query_row(params![project, scope, name], |r| r.get(0))
        .optional()?;
    let mut recent = stored.map(|bytes| unpack_recent(&bytes)).unwrap_or_default();
    recent.merge(&Recent(list));
    conn.prepare_cached(
        "INSERT INTO recents (project, scope, name, list) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET list = excluded.list",
    )?
    .execute(params![project, scope, name, pack_recent(&recent)])?;
    Ok(())
}

fn pack_recent(recent: &Recent) -> Vec<u8> {
    let mut out = Vec::with_capacity(recent.0.len() * 9);
    for (at, outcome) in &recent.0 {
        out.extend_from_slice(&at.to_be_bytes());
        out.push(outcome.code() as u8);
    }
    out
}

/// The list of a `recents` row.
pub(crate) fn unpack_recent(bytes: &[u8]) -> Recent {
    let entry = |chunk: &[u8]| {
        let at = i64::from_be_bytes(chunk[..8].try_into().ok()?);
        Some((at, AttemptOutcome::from_code(chunk[8].into())?))
    };
    Recent(bytes.chunks_exact(9).filter_map(entry).collect())
}

/// A queue's settings as stored.
pub(crate) fn settings_from(text: Option<&str>) -> Result<QueueSettings, Fault> {
    match text {
        None => Ok(QueueSettings::default()),
        Some(text) => serde_json::from_str(text)
            .map_err(|e| Fault::Refused(StoreError::Damaged(format!("a queue's settings are damaged: {e}")))),
    }
}

/// Numbers have no gaps: places in the vectors are numbers less one.
fn dense(id: i64, at: usize, table: &str) -> Result<(), Fault> {
    if id == at as i64 + 1 {
        return Ok(());
    }
    Err(Fault::Refused(StoreError::Damaged(format!(
        "row {id} of table {table} stands where row {} should: rows were deleted by hand",
        at + 1
    ))))
}

/// `now` as stored.
pub(crate) fn us(at: Timestamp) -> i64 {
    time::micros(at)
}

/// The state of a stored one, for rows that this program wrote.
pub(crate) fn state_of(st: i64) -> Result<JobState, Fault> {
    schema::state(st)
        .ok_or_else(|| Fault::Refused(StoreError::Damaged(format!("a job has the unknown state {st}"))))
}
