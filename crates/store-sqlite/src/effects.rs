//! What a change of state brings with it: what an end means to others, what belongs to the end of
//! every call, and the figures that are written at the end of the transaction.
//!
//! Figures are gathered per route by number: no text is built or compared per job. What is gathered
//! means the same as [`mainspring_core::tally::Tally`].

use crate::names::{Fast, Names, QueueIx, RouteIx, us};
use crate::rows::Row;
use crate::schema;
use crate::tx::{Done, Fault, Tx};
use jiff::Timestamp;
use mainspring_core::event::{self, NewEvent};
use mainspring_core::ids::{JobId, ProjectId, ScheduleId};
use mainspring_core::job::{AttemptOutcome, JobState};
use mainspring_core::store::Hint;
use mainspring_core::tally::{self, Recent, RollupSum};
use mainspring_core::{limits, time};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;
use std::sync::Arc;

impl Tx<'_> {
    /// The end of a call, in this order: batches by number, freed keys, states of keys.
    pub fn settle(&mut self, now: Timestamp) -> Done<()> {
        // A follow-up can itself do nothing to a batch: one round is enough.
        for (id, add) in std::mem::take(&mut self.batches) {
            self.add_to_batch(now, id, add)?;
        }
        for (queue, key) in std::mem::take(&mut self.freed) {
            self.release(queue, &key)?;
        }
        for ((queue, name), key) in std::mem::take(&mut self.keys) {
            if key.state != key.stored {
                self.write_key(us(now), queue, &name, key.state)?;
            }
        }
        Ok(())
    }

    /// What the end of a job means to others: its key, its batch, its schedule.
    pub fn ended(
        &mut self,
        row: &Row,
        state: JobState,
        outcome: Option<AttemptOutcome>,
        finished_at: i64,
    ) -> Done<()> {
        if let Some(key) = &row.key {
            let queue = self.names.routes[row.route_ix()].queue;
            self.freed.insert((queue, key.clone()));
        }
        if let Some(batch) = row.counted_in() {
            *crate::batch::count_of(self.batches.entry(batch).or_default(), state, outcome) += 1;
        }
        if matches!(state, JobState::Failed | JobState::Cancelled) {
            self.give_up_batches(row.id)?;
        }
        if let Some(schedule) = row.schedule {
            let moved = self
                .conn
                .prepare_cached(
                    "UPDATE schedules SET next_fire = ?2 + after_completion
                     WHERE id = ?1 AND after_completion IS NOT NULL",
                )?
                .execute([schedule, finished_at])?;
            if moved > 0 {
                self.hint(Hint::Schedules);
            }
        }
        Ok(())
    }

    /// Cancels a job that waits: by a person, by expiry, or in favour of a later fire.
    pub fn cancel_waiting(
        &mut self,
        now: Timestamp,
        row: &mut Row,
        reason: &str,
        actor: Option<&str>,
    ) -> Done<()> {
        let route = row.route_ix();
        let from = crate::names::state_of(row.st)?;
        let reason = limits::cut(reason, limits::NOTE);
        row.st = schema::CANCELLED;
        row.flags &= !schema::PUT_OFF;
        row.ord = schema::ABSENT;
        row.finished_at = us(now);
        row.save(self.conn)?;
        self.set_reason(row.id, Some(&reason))?;
        self.names.moved(route, from, JobState::Cancelled);
        let r = &self.names.routes[route];
        let event = event::of_cancelled(JobId(row.id), &r.kind, &r.queue_name, &reason);
        let project = r.project;
        let event = match actor {
            Some(actor) => event.by(actor),
            None => event,
        };
        self.event(now, project, &event)?;
        let outcome = row.outcome.and_then(AttemptOutcome::from_code);
        self.ended(row, JobState::Cancelled, outcome, us(now))
    }

    /// Stores or clears why a job stands where it does.
    pub fn set_reason(&mut self, job: i64, reason: Option<&str>) -> Done<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO results (job, reason) VALUES (?1, ?2)
                 ON CONFLICT DO UPDATE SET reason = excluded.reason",
            )?
            .execute(params![job, reason])?;
        Ok(())
    }

    /// An event of the default project: what belongs to none is told there.
    pub fn own_event(&mut self, now: Timestamp, event: &NewEvent) -> Done<()> {
        self.event(now, ProjectId::DEFAULT, event)
    }
}

/// What the transaction under way will add.
#[derive(Default)]
pub(crate) struct Figures {
    touched: Vec<RouteIx>,
    moved_queues: Vec<QueueIx>,
    rollups: HashMap<RollupKey, RollupSum, Fast>,
    scopes: Vec<Scope>,
    scope_names: HashMap<(ProjectId, i64, Arc<str>), usize>,
    fresh: Vec<usize>,
    schedules: HashMap<(ProjectId, ScheduleId), Vec<(i64, AttemptOutcome)>>,
}

/// Where a route's figures are gathered.
pub(crate) struct RouteFigures {
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

#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct RollupKey {
    minute: i64,
    route: RouteIx,
    schedule: i64,
    outcome: i16,
    bucket: i16,
}

impl Figures {
    /// The place of a new route's figures.
    pub fn route(&mut self, project: ProjectId, queue: &Arc<str>, kind: &Arc<str>) -> RouteFigures {
        let kind_scope = self.scope(project, 0, kind.clone());
        let queue_scope = self.scope(project, 1, queue.clone());
        RouteFigures { delta: [0; 6], touched: false, kind_scope, queue_scope }
    }

    fn scope(&mut self, project: ProjectId, scope: i64, name: Arc<str>) -> usize {
        let at = self.scopes.len();
        let found = *self.scope_names.entry((project, scope, name.clone())).or_insert(at);
        if found == at {
            self.scopes.push(Scope { project, scope, name, fresh: Vec::new() });
        }
        found
    }
}

impl Names {
    fn touch(&mut self, route: RouteIx) -> &mut crate::names::Route {
        let r = &mut self.routes[route];
        if !r.figures.touched {
            r.figures.touched = true;
            self.figures.touched.push(route);
        }
        r
    }

    /// `n` jobs came into a state (negative: left it).
    pub fn count(&mut self, route: RouteIx, state: JobState, n: i64) {
        let r = self.touch(route);
        let at = state.code() as usize;
        r.figures.delta[at] += n;
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
        let sum = self.figures.rollups.entry(key).or_default();
        sum.count += 1;
        sum.total_us += took;
        if tally::counts_for_health(outcome) {
            let r = &self.routes[route];
            for at in [r.figures.kind_scope, r.figures.queue_scope] {
                let fresh = &mut self.figures.scopes[at].fresh;
                if fresh.is_empty() {
                    self.figures.fresh.push(at);
                }
                push_recent(fresh, (finished_at, outcome));
            }
            if let Some(schedule) = schedule {
                let project = self.routes[route].project;
                push_recent(
                    self.figures.schedules.entry((project, schedule)).or_default(),
                    (finished_at, outcome),
                );
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
                self.figures.moved_queues.push(queue);
            }
        }
    }

    /// Writes what was gathered: once per transaction.
    pub fn flush(&mut self, conn: &Connection) -> Result<(), Fault> {
        for ix in self.figures.touched.drain(..) {
            let route = &mut self.routes[ix].figures;
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
        for at in self.figures.fresh.drain(..) {
            let s = &mut self.figures.scopes[at];
            merge_recent(conn, s.project.0, s.scope, &s.name, std::mem::take(&mut s.fresh))?;
        }
        for ((project, schedule), list) in self.figures.schedules.drain() {
            merge_recent(conn, project.0, 2, &schedule.to_string(), list)?;
        }
        if !self.figures.rollups.is_empty() {
            let mut add = conn.prepare_cached(
                "INSERT INTO rollups (minute, route, schedule, outcome, bucket, count, total_us)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET count = count + excluded.count,
                     total_us = total_us + excluded.total_us",
            )?;
            for (k, sum) in self.figures.rollups.drain() {
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
        for ix in self.figures.moved_queues.drain(..) {
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
