//! Scheduled jobs become available, available jobs become running.

use crate::enqueue::{at_most, check_len};
use crate::names::{Plain, QueueIx, RouteIx, us};
use crate::rows::{JobOptions, Row};
use crate::schema;
use crate::tx::{Done, Tx};
use jiff::Timestamp;
use mainspring_core::claim::{self as rules, Verdict};
use mainspring_core::ids::{BatchId, JobId, ProjectId, ScheduleId};
use mainspring_core::job::{Claimed, Facts, JobState};
use mainspring_core::queue::QueueSettings;
use mainspring_core::store::{ClaimBatch, ClaimRequest, Hint, Promoted};
use mainspring_core::time;
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, params};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

/// The reason of a job that was cancelled because its time had passed.
const EXPIRED: &str = "expired";

/// The head of a route: what can be claimed, in claim order, from a place on.
pub(crate) const HEAD: &str =
    "SELECT id, ord, priority, flags, attempt, raised, deaths, run_at, created_at, expires_at,
        batch, schedule, scheduled_for, key, options, payload
    FROM jobs INDEXED BY jobs_ready
    WHERE st = 11 AND route = ?1 AND (ord, id) > (?2, ?3) ORDER BY ord, id LIMIT ?4";

/// One statement for all that run: opening the indexes that a state is in costs more than the
/// entries themselves. 2 is the flag of a job that a rate had put off.
pub(crate) const START: &str =
    "UPDATE jobs SET st = 12, attempt = attempt + 1, started_at = ?2, node = ?3, flags = flags & ~2
    WHERE id IN (SELECT value FROM rarray(?1))";

/// A job that a claim looks at.
struct Candidate {
    id: i64,
    ord: i64,
    route: RouteIx,
    priority: u8,
    flags: i64,
    attempt: u32,
    raised: u32,
    deaths: u32,
    run_at: i64,
    created_at: i64,
    expires_at: Option<i64>,
    batch: Option<i64>,
    schedule: Option<(i64, Option<i64>)>,
    key: Option<Arc<str>>,
    options: Option<String>,
    payload: String,
}

/// A scheduled job that is due: id, route, when, priority, flags, expiry, key.
type Due = (i64, i64, i64, u8, i64, Option<i64>, Option<Arc<str>>);

/// One queue of a claim: its candidates in claim order.
struct Lane {
    project: ProjectId,
    candidates: Vec<Candidate>,
}

/// A route's candidates, read in slices.
struct Head {
    route: RouteIx,
    slice: std::collections::VecDeque<Candidate>,
    last: (i64, i64),
    through: bool,
}

impl Tx<'_> {
    pub fn promote(&mut self, now: Timestamp, limit: u32) -> Done<Promoted> {
        let limit = at_most(limit);
        let due: Vec<Due> = self
            .conn
            .prepare_cached(
                "SELECT id, route, run_at, priority, flags, expires_at, key
                 FROM jobs INDEXED BY jobs_scheduled
                 WHERE st = 10 AND run_at <= ?1 ORDER BY run_at, id LIMIT ?2",
            )?
            .query_map(params![us(now), limit as i64], |r| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?, r.get(6)?))
            })?
            .collect::<rusqlite::Result<_>>()?;
        let mut done = Promoted::default();
        let mut promote =
            self.conn.prepare_cached("UPDATE jobs SET st = 11, ord = ?2, flags = ?3 WHERE id = ?1")?;
        let mut keep = self.conn.prepare_cached("UPDATE jobs SET st = 11, flags = ?2 WHERE id = ?1")?;
        for (id, route, run_at, priority, flags, expires_at, key) in due {
            let route = route as RouteIx - 1;
            if expires_at.is_some_and(|at| at <= us(now)) {
                self.expire(now, id)?;
                done.expired += 1;
                continue;
            }
            if flags & schema::PUT_OFF != 0 {
                keep.execute(params![id, flags & !schema::PUT_OFF])?;
            } else {
                let ord = self.place(route, key.as_ref(), priority, run_at)?;
                promote.execute(params![id, ord, flags])?;
            }
            self.names.moved(route, JobState::Scheduled, JobState::Available);
            done.promoted += 1;
        }
        if done.promoted > 0 {
            self.hint(Hint::Jobs);
        }
        done.next_at = self.next_run_at()?.map(time::from_micros);
        self.settle(now)?;
        Ok(done)
    }

    /// When the next scheduled job is due.
    pub fn next_run_at(&self) -> Done<Option<i64>> {
        Ok(self
            .conn
            .prepare_cached(
                "SELECT run_at FROM jobs INDEXED BY jobs_scheduled WHERE st = 10 ORDER BY run_at LIMIT 1",
            )?
            .query_row([], |r| r.get(0))
            .optional()?)
    }

    fn expire(&mut self, now: Timestamp, id: i64) -> Done<()> {
        if let Some(mut row) = Row::load(self.conn, id)? {
            self.cancel_waiting(now, &mut row, EXPIRED, None)?;
        }
        Ok(())
    }

    pub fn claim(&mut self, now: Timestamp, request: &ClaimRequest) -> Done<ClaimBatch> {
        check_len("kinds", request.kinds.len())?;
        check_len("queues", request.queues.len())?;
        let mut got = ClaimBatch::default();
        let joined: Option<bool> = self
            .conn
            .prepare_cached("SELECT gone = 0 FROM nodes WHERE id = ?1")?
            .query_row([request.node.0], |r| r.get(0))
            .optional()?;
        if joined != Some(true) {
            return Ok(got);
        }
        let (order, wake_at) = self.candidates(now, request)?;
        got.wake_at = wake_at.map(time::from_micros);
        got.jobs.reserve(order.len());
        for candidate in order {
            if candidate.expires_at.is_some_and(|at| at <= us(now)) {
                self.expire(now, candidate.id)?;
                got.more = true;
            } else if self.admit(now, &candidate)? {
                got.jobs.push(self.start(now, candidate)?);
            } else {
                got.more = true;
            }
        }
        let ids: Vec<Value> = got.jobs.iter().map(|c| Value::Integer(c.facts.job.0)).collect();
        if !ids.is_empty() {
            self.conn.prepare_cached(START)?.execute(params![Rc::new(ids), us(now), request.node.0])?;
        }
        self.settle(now)?;
        Ok(got)
    }

    /// The jobs a claim looks at, in order, as the limits of queues, of all queues together and of
    /// the call allow; and when a queue that waits for its rate may give more.
    fn candidates(&mut self, now: Timestamp, request: &ClaimRequest) -> Done<(Vec<Candidate>, Option<i64>)> {
        let want = at_most(request.limit) as u32;
        let mut wake_at: Option<i64> = None;
        let mut lanes = Vec::new();
        for (queue, routes) in self.served(request) {
            let settings = self.names.queues[queue].settings.clone();
            let (n, wake) = rules::allowance(&settings, &self.queue_state(queue), now, want);
            // One more than allowed tells whether something is left waiting for the rate.
            let look = n as usize + usize::from(wake.is_some());
            let mut candidates = self.head_of(&routes, look)?;
            if candidates.len() > n as usize {
                wake_at = wake_at.into_iter().chain(wake).min();
                candidates.truncate(n as usize);
            }
            if !candidates.is_empty() {
                lanes.push(Lane { project: self.names.queues[queue].project, candidates });
            }
        }
        if lanes.len() == 1 {
            // The common case needs no turns.
            let Some(mut lane) = lanes.pop() else { return Ok((Vec::new(), wake_at)) };
            let room = self.room_of_all(now, lane.project, want);
            lane.candidates.truncate(room.min(want) as usize);
            return Ok((lane.candidates, wake_at));
        }
        let mut room = BTreeMap::<i64, u32>::new();
        let places: Vec<Vec<(i64, i64)>> =
            lanes.iter().map(|lane| lane.candidates.iter().map(|c| (c.ord, c.id)).collect()).collect();
        let turns = rules::interleave(&places, |place| *place, usize::MAX);
        let mut taken: Vec<_> = lanes
            .into_iter()
            .map(|lane| (lane.project, lane.candidates.into_iter().map(Some).collect::<Vec<_>>()))
            .collect();
        let mut order = Vec::new();
        for (lane, place) in turns {
            if order.len() >= want as usize {
                break;
            }
            let project = taken[lane].0;
            let room = match room.entry(project.0) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(free) => {
                    free.insert(self.room_of_all(now, project, want))
                }
            };
            if *room > 0 {
                *room -= 1;
                order.extend(taken[lane].1[place].take());
            }
        }
        Ok((order, wake_at))
    }

    /// The queues a claim serves, by project then name, each with its routes of known kinds in
    /// which something may wait.
    fn served(&self, request: &ClaimRequest) -> Vec<(QueueIx, Vec<RouteIx>)> {
        let kinds: HashSet<&str> = request.kinds.iter().map(|k| &**k).collect();
        let mut lanes = BTreeMap::<QueueIx, Vec<RouteIx>>::new();
        for (ix, route) in self.names.routes.iter().enumerate() {
            let served = request.queues.is_empty() || request.queues.contains(&route.queue_name);
            let ours = request.project.is_none_or(|p| p == self.names.queues[route.queue].project);
            if route.ready && ours && served && kinds.contains(&*route.kind) {
                lanes.entry(route.queue).or_default().push(ix);
            }
        }
        let mut lanes: Vec<_> = lanes.into_iter().collect();
        lanes.sort_by(|(a, _), (b, _)| {
            let name = |q: &QueueIx| (self.names.queues[*q].project, &self.names.queues[*q].name);
            name(a).cmp(&name(b))
        });
        lanes
    }

    /// The first `n` candidates of several routes in claim order.
    fn head_of(&mut self, routes: &[RouteIx], n: usize) -> Done<Vec<Candidate>> {
        let mut out = Vec::with_capacity(n);
        if n == 0 {
            return Ok(out);
        }
        let slice = if routes.len() == 1 { n } else { (2 * n / routes.len()).max(16).min(n) };
        let mut heads = Vec::with_capacity(routes.len());
        for route in routes {
            let mut head =
                Head { route: *route, slice: Default::default(), last: (i64::MIN, i64::MIN), through: false };
            self.read_on(&mut head, slice)?;
            if head.slice.is_empty() {
                self.names.routes[*route].ready = false;
            } else {
                heads.push(head);
            }
        }
        while out.len() < n {
            let first = heads
                .iter()
                .enumerate()
                .filter_map(|(at, head)| head.slice.front().map(|c| ((c.ord, c.id), at)))
                .min();
            let Some((_, at)) = first else { break };
            let head = &mut heads[at];
            out.extend(head.slice.pop_front());
            if head.slice.is_empty() && !head.through && out.len() < n {
                self.read_on(head, slice)?;
            }
        }
        Ok(out)
    }

    fn read_on(&self, head: &mut Head, slice: usize) -> Done<()> {
        let mut read = self.conn.prepare_cached(HEAD)?;
        let mut rows = read.query(params![head.route as i64 + 1, head.last.0, head.last.1, slice as i64])?;
        let mut found = 0;
        while let Some(r) = rows.next()? {
            found += 1;
            let schedule: Option<i64> = r.get(11)?;
            head.slice.push_back(Candidate {
                id: r.get(0)?,
                ord: r.get(1)?,
                route: head.route,
                priority: r.get(2)?,
                flags: r.get(3)?,
                attempt: r.get(4)?,
                raised: r.get(5)?,
                deaths: r.get(6)?,
                run_at: r.get(7)?,
                created_at: r.get(8)?,
                expires_at: r.get(9)?,
                batch: r.get(10)?,
                schedule: match schedule {
                    Some(id) => Some((id, r.get(12)?)),
                    None => None,
                },
                key: r.get(13)?,
                options: r.get(14)?,
                payload: r.get(15)?,
            });
        }
        head.through = found < slice;
        if let Some(last) = head.slice.back() {
            head.last = (last.ord, last.id);
        }
        Ok(())
    }

    /// How many jobs a project may start over all its queues.
    fn room_of_all(&self, now: Timestamp, project: ProjectId, want: u32) -> u32 {
        let Some(all) = self.names.star(project) else { return want };
        let set = &self.names.queues[all].settings;
        // Nothing else has a meaning for all queues together.
        let settings =
            QueueSettings { paused: set.paused.clone(), max_running: set.max_running, ..Default::default() };
        let state = rules::QueueState { running: self.names.running_of(project), ..Default::default() };
        rules::allowance(&settings, &state, now, want).0
    }

    /// Whether a candidate runs now; if its key does not let it, it is held or put off.
    fn admit(&mut self, now: Timestamp, c: &Candidate) -> Done<bool> {
        let Some(key) = &c.key else { return Ok(true) };
        let queue = self.names.routes[c.route].queue;
        let settings = self.names.queues[queue].settings.clone();
        let options = JobOptions::parse(c.options.as_deref())?;
        let state = self.key_state(queue, key.clone())?;
        match rules::admit(&settings, options.key_limit, state, now) {
            Verdict::Run => return Ok(true),
            Verdict::Hold => {
                self.conn.prepare_cached("UPDATE jobs SET st = 16 WHERE id = ?1")?.execute([c.id])?;
            }
            Verdict::PutOff(at) => {
                self.conn
                    .prepare_cached("UPDATE jobs SET st = 10, run_at = ?2, flags = ?3 WHERE id = ?1")?
                    .execute(params![c.id, at, c.flags | schema::PUT_OFF])?;
                self.names.moved(c.route, JobState::Available, JobState::Scheduled);
                self.hint(Hint::Jobs);
            }
        }
        Ok(false)
    }

    /// The lease of the next attempt; written with all others of the call.
    fn start(&mut self, now: Timestamp, c: Candidate) -> Done<Claimed> {
        let attempt = c.attempt + 1;
        self.names.moved(c.route, JobState::Available, JobState::Running);
        let route = &self.names.routes[c.route];
        let (project, kind, lane, queue) =
            (route.project, route.kind.clone(), route.queue_name.clone(), route.queue);
        let plain = attempt == 1
            && c.key.is_none()
            && c.batch.is_none()
            && c.schedule.is_none()
            && c.flags & schema::CANCEL == 0;
        if plain {
            let known = Plain { attempt, route: c.route, started_at: us(now) };
            self.names.running.insert(c.id, known);
        }
        let q = &self.names.queues[queue];
        if q.settings.rate.is_some() || q.settings.fair {
            let tat = q.settings.rate.map_or(q.tat, |rate| rate.take(q.tat, us(now), 1));
            let turn = c.ord - rules::priority_offset(c.priority);
            let vclock = if q.settings.fair { q.vclock.max(turn) } else { q.vclock };
            self.names.move_queue(queue, tat, vclock);
        }
        let options = JobOptions::parse(c.options.as_deref())?;
        let retry = options.retry();
        Ok(Claimed {
            facts: Facts {
                job: JobId(c.id),
                attempt,
                max_attempts: retry.max_attempts,
                raised: c.raised,
                deaths: c.deaths,
                backoff: retry.backoff,
                retry_timeouts: retry.retry_timeouts,
                cancel_requested: c.flags & schema::CANCEL != 0,
            },
            project,
            kind,
            queue: lane,
            payload: crate::rows::json(c.payload),
            timeout: options.timeout(),
            key: c.key,
            batch: c.batch.map(BatchId),
            schedule: c.schedule.map(|(id, at)| (ScheduleId(id), at.map(time::from_micros))),
            created_at: time::from_micros(c.created_at),
            run_at: time::from_micros(c.run_at),
        })
    }
}
