//! The dictionary: queues and routes by number, with what the writer knows of them by heart: settings,
//! counters, who runs.
//!
//! The file is the truth. This is read anew when another process has written (`PRAGMA data_version`)
//! and after every transaction that was rolled back, so nothing here needs undoing.

use crate::effects::{Figures, RouteFigures};
use crate::schema;
use crate::tx::Fault;
use jiff::Timestamp;
use mainspring_core::job::JobState;
use mainspring_core::queue::{ALL_QUEUES, QueueSettings};
use mainspring_core::{ProjectId, StoreError, time};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;
use std::sync::Arc;

/// A place in [`Names::routes`]; the stored number is one more.
pub(crate) type RouteIx = usize;
/// A place in [`Names::queues`]; the stored number is one more.
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
    /// Whether `tat` or `vclock` must be written.
    pub moved: bool,
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
    /// Where its figures are gathered.
    pub figures: RouteFigures,
}

/// A hash of small numbers that nobody outside chooses: one multiplication each (the constant is
/// that of Knuth's multiplicative hashing, 2^64 divided by the golden ratio).
#[derive(Clone, Copy, Default)]
pub(crate) struct Fast(u64);

impl std::hash::BuildHasher for Fast {
    type Hasher = Fast;
    fn build_hasher(&self) -> Fast {
        Fast(0)
    }
}

impl std::hash::Hasher for Fast {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u64(u64::from(*b)));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(26) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_i64(&mut self, n: i64) {
        self.write_u64(n as u64);
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn write_i16(&mut self, n: i16) {
        self.write_u64(n as u64);
    }
}

/// A running attempt that this process claimed and that has nothing special about it.
#[derive(Clone, Copy)]
pub(crate) struct Plain {
    pub attempt: u32,
    pub route: RouteIx,
    pub started_at: i64,
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Names {
    pub routes: Vec<Route>,
    pub queues: Vec<Queue>,
    pub running: HashMap<i64, Plain, Fast>,
    pub next_job: i64,
    by_name: HashMap<i64, HashMap<Arc<str>, QueueIx>>,
    /// What the transaction under way will add.
    pub figures: Figures,
}

impl Names {
    /// Reads everything anew.
    pub fn load(conn: &Connection) -> Result<Names, Fault> {
        let mut names = Names::default();
        let mut rows =
            conn.prepare_cached("SELECT id, project, name, settings, tat, vclock FROM queues ORDER BY id")?;
        let mut rows = rows.query([])?;
        while let Some(r) = rows.next()? {
            let settings = settings_from(r.get::<_, Option<String>>(3)?.as_deref())?;
            let name: Arc<str> = r.get(2)?;
            let ix = names.queues.len();
            dense(r.get(0)?, ix, "queues")?;
            let project = ProjectId(r.get(1)?);
            names.add_queue(project, name, Arc::new(settings), r.get(4)?, r.get(5)?);
        }
        let mut rows = conn.prepare_cached(
            "SELECT id, queue, kind, scheduled, available, running, completed, cancelled, failed
             FROM routes ORDER BY id",
        )?;
        let mut rows = rows.query([])?;
        while let Some(r) = rows.next()? {
            dense(r.get(0)?, names.routes.len(), "routes")?;
            let queue = r.get::<_, i64>(1)? as usize - 1;
            let mut counts = [0; 6];
            for (i, n) in counts.iter_mut().enumerate() {
                *n = r.get(3 + i)?;
            }
            names.add_route(queue, r.get(2)?, counts);
        }
        let high: Option<i64> = conn.query_row("SELECT max(id) FROM jobs", [], |r| r.get(0))?;
        let kept: Option<i64> = conn
            .query_row("SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'last_job'", [], |r| r.get(0))
            .optional()?;
        names.next_job = high.unwrap_or(0).max(kept.unwrap_or(0)) + 1;
        Ok(names)
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
        let figures = self.figures.route(project, &queue_name, &kind);
        let q = &mut self.queues[queue];
        q.routes.push(ix);
        q.kinds.insert(kind.clone(), ix);
        self.routes.push(Route { project, queue, queue_name, kind, counts, ready: true, figures });
        ix
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
