//! Finish: the narrow row of an attempt goes, its outcome is written, and what follows it.
//!
//! One statement takes the leases away and tells what they were: those whose `(job, attempt)` is a
//! transition's are that transition's fence. If a lease of another attempt went with them (somebody
//! finished late what runs again), the transaction begins anew and takes leases pair by pair. What
//! ended, history, retries, figures and events follow in the same transaction, most of it together
//! with the COMMIT.
//!
//! Long because the three ways to take leases away belong beside what each of them leaves to be done,
//! and steps, logs and progress are fenced by the same rows.

use crate::actor::FinishCall;
use crate::effects::{Done, Effects};
use crate::link::{Args, Conn, Fault, Step, transact};
use crate::names::RouteInfo;
use crate::{Inner, Lanes, bundles, claim, keys, rows};
use jiff::Timestamp;
use mainspring_core::claim::priority_offset;
use mainspring_core::decide::{Next, Transition};
use mainspring_core::error::Result;
use mainspring_core::job::{AttemptOutcome, JobState, LogLine, Origin, Progress};
use mainspring_core::json::Json;
use mainspring_core::store::{Finished, Hint};
use mainspring_core::{JobId, NodeId, StoreError, event, limits, time};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_postgres::Row;

/// All leases of these jobs. A lease that a cancel marks meanwhile is waited for and told as marked.
const LET_GO: &str = "
    DELETE FROM running WHERE job = ANY($1)
    RETURNING job, node, started_at, route, key_id, batch, schedule, cancel, attempt";

/// The same, and the rows of `done` with it, for jobs that ended well and tell of nothing more. The
/// ends are given in order of the jobs and found by their place, which holds only if every lease was
/// there: so that is checked.
const LET_GO_PLAIN: &str = "
    WITH gone AS (
        DELETE FROM running WHERE job = ANY($1)
        RETURNING job, node, started_at, route, key_id, batch, schedule, cancel, attempt),
    ended AS (
        INSERT INTO done (job, started_at, finished_at, node, route, attempt, state, outcome, cancel)
        SELECT job, started_at, ($2::bigint[])[row_number() OVER (ORDER BY job)], node, route, attempt,
               $3::smallint, $4::smallint, cancel FROM gone)
    SELECT job, node, started_at, route, key_id, batch, schedule, cancel, attempt FROM gone";

/// Only these attempts. Locked first: what is marked after the look would not be found where it was.
const LOCK: &str = "
    SELECT count(*) FROM (SELECT FROM running WHERE job = ANY($1) ORDER BY job FOR UPDATE) locked";
const LET_GO_PAIRS: &str = "
    DELETE FROM running WHERE ctid = ANY(ARRAY(
        SELECT r.at FROM unnest($1::bigint[], $2::integer[]) u(job, attempt)
        CROSS JOIN LATERAL (
            SELECT ctid AS at FROM running WHERE job = u.job AND attempt = u.attempt OFFSET 0) r))
    RETURNING job, node, started_at, route, key_id, batch, schedule, cancel, attempt";

const HISTORY: &str = "
    INSERT INTO attempts (job, number, node, started_at, finished_at, outcome, error_class, error)
    SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::smallint[],
                         $7::text[], $8::text[])";

const WAIT: &str = "
    UPDATE jobs j SET attempt = u.attempt, raised = u.raised, deaths = u.deaths, outcome = u.outcome,
        started_at = u.started_at, node = u.node, cancel = u.cancel, error_class = u.error_class,
        error = u.error, run_at = u.run_at, ord = u.run_at + j.priority * $12::bigint
    FROM unnest($1::bigint[], $2::integer[], $3::integer[], $4::integer[], $5::smallint[], $6::bigint[],
                $7::bigint[], $8::boolean[], $9::text[], $10::text[], $11::bigint[])
         u(id, attempt, raised, deaths, outcome, started_at, node, cancel, error_class, error, run_at)
    CROSS JOIN LATERAL (SELECT ctid AS at FROM jobs WHERE id = u.id OFFSET 0 FOR NO KEY UPDATE) x
    WHERE j.ctid = x.at RETURNING j.id, j.ord, j.priority, j.key, j.key_id, j.expires_at";

const TO_SCHEDULED: &str = "
    INSERT INTO scheduled (route, ord, job, attempt, key_id, run_at, expires_at)
    SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::integer[], $5::bigint[], $6::bigint[],
                         $7::bigint[])";

/// The lease `($1, $2)`, kept from changing until the statement has ended: its own row, or its place
/// in a bundle.
macro_rules! mine {
    () => {
        "own AS (SELECT job FROM running WHERE job = $1 AND attempt = $2 FOR SHARE),
         shared AS (SELECT $1::bigint AS job FROM bundles
                    WHERE $2::integer = 1 AND block = $1::bigint / 128 AND $1::bigint = ANY(jobs) FOR SHARE),
         mine AS (SELECT job FROM own UNION ALL SELECT job FROM shared)"
    };
}

/// A job that became final, for those who must know: its key, its batch, its schedule.
pub(crate) struct Ended {
    pub job: i64,
    pub state: JobState,
    pub outcome: Option<AttemptOutcome>,
    pub at: i64,
    pub key_id: Option<i64>,
    /// Whether an attempt of its key ended.
    pub ran: bool,
    /// The batch that counts it.
    pub batch: Option<i64>,
    pub schedule: Option<i64>,
}

impl Ended {
    /// A waiting job that was cancelled: (id, route, key_id, batch, schedule, origin, …).
    pub fn waiting(row: &Row, at: i64, outcome: Option<AttemptOutcome>) -> Ended {
        let follow_up = row.get::<_, i16>(5) == Origin::FollowUp.code();
        Ended {
            job: row.get(0),
            state: JobState::Cancelled,
            outcome,
            at,
            key_id: row.get(2),
            ran: false,
            batch: row.get::<_, Option<i64>>(3).filter(|_| !follow_up),
            schedule: row.get(4),
        }
    }
}

/// Collects what the end of a job means to others.
pub(crate) fn ended(fx: &mut Effects, e: &Ended) {
    if let Some(key) = e.key_id {
        *fx.keys.entry(key).or_default() += i32::from(e.ran);
    }
    if let Some(batch) = e.batch {
        fx.batches.entry(batch).or_default().add(e.state, e.outcome, 1);
    }
    if let Some(schedule) = e.schedule {
        fx.finished.insert(schedule, e.at);
        fx.fires_gone.push((schedule, e.job));
    }
}

/// How leases are taken away.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// [`LET_GO_PLAIN`].
    Plain,
    /// [`LET_GO`].
    All,
    /// [`LET_GO_PAIRS`].
    Pairs,
}

/// Whether a transition ends its job well and tells of nothing more.
fn is_plain(t: &Transition) -> bool {
    let well = matches!(&t.next, Next::Final { state: JobState::Completed, reason: None });
    well && t.outcome == AttemptOutcome::Succeeded && t.error.is_none() && t.output.is_none()
}

/// What fences an attempt: job and number.
type Token = (i64, i32);

fn token_of(t: &Transition) -> Token {
    (t.job.0, t.attempt as i32)
}

/// The row of the attempt a transition ended.
pub(crate) struct Held {
    pub node: i64,
    pub started_at: i64,
    pub route: Arc<RouteInfo>,
    key_id: Option<i64>,
    batch: Option<i64>,
    schedule: Option<i64>,
    pub cancel: Option<bool>,
    /// Whether the statement that took it has written the row of `done`.
    told: bool,
}

impl Held {
    /// What is known of an attempt whose lease was in a bundle.
    pub fn bundled(
        node: i64,
        started_at: i64,
        route: Arc<RouteInfo>,
        key_id: Option<i64>,
        told: bool,
    ) -> Held {
        Held { node, started_at, route, key_id, batch: None, schedule: None, cancel: None, told }
    }
}

/// A job on its way back to the queue.
pub(crate) struct Again {
    pub job: i64,
    pub route: Arc<RouteInfo>,
    pub attempt: i32,
    pub run_at: i64,
    pub due: bool,
    pub ord: i64,
    pub priority: u8,
    pub key: Option<String>,
    pub key_id: Option<i64>,
    pub expires_at: Option<i64>,
}

impl keys::Keyed for Again {
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
        self.due
    }
    fn set_key_id(&mut self, id: i64) {
        self.key_id = Some(id);
    }
    fn set_ord(&mut self, ord: i64) {
        self.ord = ord;
    }
}

pub(crate) fn check_transitions(list: &[Transition]) -> Result<()> {
    if list.len() > limits::BATCH {
        let text = format!("{} entries, at most {} are allowed in one call", list.len(), limits::BATCH);
        return Err(StoreError::Invalid { field: "transitions", text });
    }
    list.iter().try_for_each(|t| check_size("output", t.output.as_ref(), limits::OUTPUT))
}

fn check_size(field: &'static str, json: Option<&Json>, max: usize) -> Result<()> {
    let len = json.map_or(0, |json| json.as_str().len());
    if len > max {
        return Err(StoreError::Invalid { field, text: format!("{len} bytes, at most {max} are allowed") });
    }
    Ok(())
}

impl Inner {
    /// Writes the calls that have gathered, in one transaction.
    pub(crate) async fn finish_calls(&self, calls: &[FinishCall]) -> Result<Vec<Vec<Finished>>> {
        let mut list: Vec<&Transition> = Vec::new();
        let mut seen = HashMap::new();
        for t in calls.iter().flat_map(|c| &c.transitions) {
            seen.entry((t.job, t.attempt)).or_insert_with(|| list.push(t));
        }
        // Locked in the one order for all, by job; followed in the order of the calls.
        let mut by_job = list.clone();
        by_job.sort_unstable_by_key(|t| (t.job, t.attempt));
        let now = calls.iter().map(|c| c.now).max().unwrap_or_default();
        let by_pair = AtomicBool::new(false);
        let (lane, shard) = match calls.first().is_some_and(|c| c.beside) {
            true => (&self.lanes.finish_beside, self.shard(Lanes::FINISH_BESIDE)),
            false => (&self.lanes.finish, self.shard(Lanes::FINISH)),
        };
        let (applied, jobs, schedules) = transact!(&self.reach, lane, |conn| {
            let Some(held) = self.let_go(conn, &by_job, by_pair.load(Ordering::Relaxed)).await? else {
                by_pair.store(true, Ordering::Relaxed);
                return Err(Fault::Again);
            };
            let mut fx = Effects::default();
            self.follow(conn, &list, &held, &mut fx).await?;
            self.seal(conn, now, shard, &mut fx).await?;
            let applied: HashSet<Token> = held.keys().copied().collect();
            Ok((applied, fx.hint_jobs, fx.hint_schedules))
        })?;
        for (wanted, hint) in [(jobs, Hint::Jobs), (schedules, Hint::Schedules)] {
            if wanted {
                self.hint(hint);
            }
        }
        let mut applied = applied;
        // Taken out with the first answer: a second transition for the same attempt is stale.
        let mut answer = |t: &Transition| match applied.remove(&token_of(t)) {
            true => Finished::Applied,
            false => Finished::Stale,
        };
        Ok(calls.iter().map(|c| c.transitions.iter().map(&mut answer).collect()).collect())
    }

    /// Begins, and takes away the leases that the transitions hold: from bundles first, then from
    /// `running`. None when it must be done anew, pair by pair.
    async fn let_go(
        &self,
        conn: &Conn,
        list: &[&Transition],
        by_pair: bool,
    ) -> Step<Option<HashMap<Token, Held>>> {
        let mut firsts: Vec<&Transition> = list.iter().copied().filter(|t| t.attempt == 1).collect();
        firsts.dedup_by_key(|t| t.job);
        let firsts = bundles::Firsts {
            jobs: firsts.iter().map(|t| t.job.0).collect(),
            ends: firsts.iter().map(|t| time::micros(t.finished_at)).collect(),
            plain: firsts.iter().all(|t| is_plain(t)),
        };
        let bundled = self.take_bundled(conn, &firsts).await?;
        let mut held: HashMap<Token, Held> =
            bundled.into_iter().map(|(job, lease)| ((job, 1), lease)).collect();
        let rest: Vec<&Transition> =
            list.iter().copied().filter(|t| !held.contains_key(&token_of(t))).collect();
        if rest.is_empty() {
            return Ok(Some(held));
        }
        let plain = rest.iter().all(|t| is_plain(t)) && rest.windows(2).all(|w| w[0].job != w[1].job);
        let way = match by_pair {
            true => Way::Pairs,
            false if plain => Way::Plain,
            false => Way::All,
        };
        let gone = delete_leases(conn, &rest, way).await?;
        if way == Way::Plain && gone.len() != rest.len() {
            return Ok(None);
        }
        for row in &gone {
            let token = (row.get(0), row.get(8));
            if way != Way::Pairs && rest.binary_search_by_key(&token, |t| token_of(t)).is_err() {
                return Ok(None);
            }
            let lease = Held {
                node: row.get(1),
                started_at: row.get(2),
                route: self.route_of(row.get(3)).await?,
                key_id: row.get(4),
                batch: row.get(5),
                schedule: row.get(6),
                cancel: row.get(7),
                told: way == Way::Plain,
            };
            held.insert(token, lease);
        }
        Ok(Some(held))
    }

    /// Writes what follows the attempts that ended.
    async fn follow(
        &self,
        conn: &Conn,
        list: &[&Transition],
        held: &HashMap<Token, Held>,
        fx: &mut Effects,
    ) -> Step<()> {
        let (mut history, mut waiting) = (vec![], vec![]);
        for t in list {
            let Some(row) = held.get(&token_of(t)) else { continue };
            let at = time::micros(t.finished_at);
            fx.figures.attempt(&row.route, row.schedule, t.outcome, row.started_at, at);
            if let Some(event) = event::of_transition(t, &row.route.kind, &row.route.queue) {
                fx.events.push((row.route.project, event));
            }
            if !(t.attempt == 1 && t.outcome == AttemptOutcome::Succeeded) {
                history.push((*t, row));
            }
            match &t.next {
                Next::Final { state, reason } => {
                    if !row.told {
                        fx.done.push(Done::of(t, row, *state, reason.as_deref()));
                    }
                    fx.figures.moved(row.route.id, JobState::Running, *state, 1);
                    let (job, state, key_id) = (t.job.0, *state, row.key_id);
                    let (batch, schedule) = (row.batch, row.schedule);
                    let outcome = Some(t.outcome);
                    ended(fx, &Ended { job, state, outcome, at, key_id, ran: true, batch, schedule });
                }
                Next::Wait { run_at, .. } => {
                    let due = time::micros(*run_at) <= at;
                    let to = if due { JobState::Available } else { JobState::Scheduled };
                    fx.figures.moved(row.route.id, JobState::Running, to, 1);
                    if let Some(key) = row.key_id {
                        *fx.keys.entry(key).or_default() += 1;
                    }
                    fx.hint_jobs = true;
                    waiting.push((*t, row));
                }
            }
        }
        if !history.is_empty() {
            write_history(conn, &history).await?;
        }
        if !waiting.is_empty() {
            self.send_back(conn, &waiting).await?;
        }
        Ok(())
    }

    /// Attempts that another will follow: the job's own columns tell of them, and it waits again.
    async fn send_back(&self, conn: &Conn, list: &[(&Transition, &Held)]) -> Step<()> {
        let next = |t: &Transition| match &t.next {
            Next::Wait { run_at, raised, deaths } => (time::micros(*run_at), *raised as i32, *deaths as i32),
            Next::Final { .. } => (0, 0, 0),
        };
        let ids: Vec<i64> = list.iter().map(|(t, _)| t.job.0).collect();
        let attempts: Vec<i32> = list.iter().map(|(t, _)| t.attempt as i32).collect();
        let raised: Vec<i32> = list.iter().map(|(t, _)| next(t).1).collect();
        let deaths: Vec<i32> = list.iter().map(|(t, _)| next(t).2).collect();
        let outcomes: Vec<i16> = list.iter().map(|(t, _)| t.outcome.code()).collect();
        let started: Vec<i64> = list.iter().map(|(_, h)| h.started_at).collect();
        let nodes: Vec<i64> = list.iter().map(|(_, h)| h.node).collect();
        let cancel: Vec<Option<bool>> = list.iter().map(|(_, h)| h.cancel).collect();
        let classes: Vec<Option<String>> =
            list.iter().map(|(t, _)| t.error.as_ref().map(|e| rows::clean(&e.class))).collect();
        let errors: Vec<Option<String>> =
            list.iter().map(|(t, _)| t.error.as_ref().map(rows::error_text)).collect();
        let run_at: Vec<i64> = list.iter().map(|(t, _)| next(t).0).collect();
        let level = priority_offset(1);
        let args: Args<'_> = &[
            &ids, &attempts, &raised, &deaths, &outcomes, &started, &nodes, &cancel, &classes, &errors,
            &run_at, &level,
        ];
        let told = conn.query(WAIT, args).await?;
        let by_id: HashMap<i64, &(&Transition, &Held)> = list.iter().map(|x| (x.0.job.0, x)).collect();
        let mut again = Vec::with_capacity(told.len());
        for row in &told {
            let Some((t, held)) = by_id.get(&row.get(0)) else { continue };
            let run_at = next(t).0;
            again.push(Again {
                job: row.get(0),
                route: held.route.clone(),
                attempt: t.attempt as i32,
                run_at,
                due: run_at <= time::micros(t.finished_at),
                ord: row.get(1),
                priority: row.get::<_, i16>(2) as u8,
                key: row.get(3),
                key_id: row.get(4),
                expires_at: row.get(5),
            });
        }
        // Turns in a fair queue are given in the order of the calls.
        let places: HashMap<i64, usize> = ids.iter().enumerate().map(|(i, id)| (*id, i)).collect();
        again.sort_unstable_by_key(|a| places.get(&a.job).copied());
        self.wait_again(conn, again).await
    }

    /// Puts jobs among those that wait.
    pub(crate) async fn wait_again(&self, conn: &Conn, mut again: Vec<Again>) -> Step<()> {
        let fair = |a: &Again| a.due && self.names.queue(a.route.queue_id).settings.fair;
        if again.iter().any(fair) {
            let mut turns: Vec<&mut Again> = again.iter_mut().filter(|a| fair(a)).collect();
            keys::assign(self, conn, &mut turns).await?;
            let (ids, ords): (Vec<i64>, Vec<i64>) = turns.iter().map(|a| (a.job, a.ord)).unzip();
            conn.execute(claim::SET_ORD, &[&ids, &ords]).await?;
        }
        let (ready, later): (Vec<Again>, Vec<Again>) = again.into_iter().partition(|a| a.due);
        for (list, due) in [(ready, true), (later, false)] {
            if list.is_empty() {
                continue;
            }
            let routes: Vec<i32> = list.iter().map(|a| a.route.id).collect();
            let ords: Vec<i64> = list.iter().map(|a| a.ord).collect();
            let jobs: Vec<i64> = list.iter().map(|a| a.job).collect();
            let attempts: Vec<i32> = list.iter().map(|a| a.attempt).collect();
            let keys: Vec<Option<i64>> = list.iter().map(|a| a.key_id).collect();
            if due {
                for again in &list {
                    self.floors.placed(again.route.id, again.ord);
                }
                conn.execute(claim::PROMOTE, &[&routes, &ords, &jobs, &attempts, &keys]).await?;
            } else {
                let run_at: Vec<i64> = list.iter().map(|a| a.run_at).collect();
                let expires: Vec<Option<i64>> = list.iter().map(|a| a.expires_at).collect();
                let args: Args<'_> = &[&routes, &ords, &jobs, &attempts, &keys, &run_at, &expires];
                conn.execute(TO_SCHEDULED, args).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn save_step(
        &self,
        now: Timestamp,
        job: JobId,
        attempt: u32,
        name: &str,
        result: Json,
    ) -> Result<Finished> {
        mainspring_core::job::check_name(name).map_err(|text| StoreError::Invalid { field: "step", text })?;
        check_size("result", Some(&result), limits::STEP_RESULT)?;
        let (now, attempt) = (time::micros(now), attempt as i32);
        let save = async |conn: &Conn| {
            conn.one(
                concat!(
                    "WITH ",
                    mine!(),
                    ",
                 before AS (SELECT count(*) AS n, count(*) FILTER (WHERE name = $3) AS known
                            FROM steps WHERE job = $1),
                 saved AS (
                    INSERT INTO steps (job, name, at, result)
                    SELECT mine.job, $3, $4, $5 FROM mine, before WHERE before.n < $6
                    ON CONFLICT DO NOTHING)
                 SELECT EXISTS (SELECT FROM mine), known > 0 OR n < $6 FROM before"
                ),
                &[&job.0, &attempt, &name, &now, &result.as_str(), &(limits::STEPS as i64)],
            )
            .await
        };
        let row = transact!(&self.reach, self.lanes.control, |conn| {
            let row = save(conn).await?;
            // A lease that left its bundle meanwhile is found where it is now.
            if row.get(0) || attempt != 1 { Ok(row) } else { save(conn).await }
        })?;
        match (row.get(0), row.get(1)) {
            (false, _) => Ok(Finished::Stale),
            (true, true) => Ok(Finished::Applied),
            (true, false) => {
                let text = format!("a job may remember at most {}", limits::STEPS);
                Err(StoreError::Invalid { field: "steps", text })
            }
        }
    }

    pub(crate) async fn append_logs(&self, lines: &[LogLine]) -> Result<()> {
        if lines.len() > limits::BATCH {
            let text = format!("{} entries, at most {} are allowed in one call", lines.len(), limits::BATCH);
            return Err(StoreError::Invalid { field: "lines", text });
        }
        // One line beyond the cap is kept: it says that the rest was dropped.
        let lines: Vec<&LogLine> = lines.iter().filter(|l| l.seq as usize <= limits::LOG_LINES).collect();
        if lines.is_empty() {
            return Ok(());
        }
        let jobs: Vec<i64> = lines.iter().map(|l| l.job.0).collect();
        let attempts: Vec<i32> = lines.iter().map(|l| l.attempt as i32).collect();
        let seqs: Vec<i32> = lines.iter().map(|l| l.seq as i32).collect();
        let at: Vec<i64> = lines.iter().map(|l| time::micros(l.at)).collect();
        let levels: Vec<i16> = lines.iter().map(|l| l.level.code()).collect();
        let messages: Vec<String> =
            lines.iter().map(|l| limits::cut(&rows::clean(&l.message), limits::LOG_LINE)).collect();
        let fields: Vec<Option<&str>> = lines.iter().map(|l| l.fields.as_ref().map(Json::as_str)).collect();
        transact!(&self.reach, self.lanes.control, |conn| {
            conn.execute(
                "INSERT INTO logs (job, attempt, seq, at, level, message, fields)
                 SELECT u.* FROM unnest($1::bigint[], $2::integer[], $3::integer[], $4::bigint[],
                     $5::smallint[], $6::text[], $7::text[]) u(job, attempt, seq, at, level, message, fields)
                 WHERE EXISTS (SELECT FROM jobs j WHERE j.id = u.job OFFSET 0) ON CONFLICT DO NOTHING",
                &[&jobs, &attempts, &seqs, &at, &levels, &messages, &fields],
            )
            .await
        })
        .map(drop)
    }

    pub(crate) async fn hand_over(&self, job: JobId, attempt: u32, to: NodeId) -> Result<Finished> {
        let attempt = attempt as i32;
        let n = transact!(&self.reach, self.lanes.control, |conn| {
            conn.begin().await?;
            bundles::unbundle(conn, &[job.0]).await?;
            let sql = "UPDATE running SET node = $3 WHERE job = $1 AND attempt = $2";
            let n = conn.execute(sql, &[&job.0, &attempt, &to.0]).await?;
            conn.commit().await?;
            Ok(n)
        })?;
        Ok(if n > 0 { Finished::Applied } else { Finished::Stale })
    }

    pub(crate) async fn set_progress(
        &self,
        job: JobId,
        attempt: u32,
        progress: &Progress,
    ) -> Result<Finished> {
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let (done, total) = (whole(progress.done), progress.total.map(whole));
        let note = progress.note.as_deref().map(|n| limits::cut(&rows::clean(n), limits::NOTE));
        let attempt = attempt as i32;
        let set = async |conn: &Conn| {
            conn.execute(
                concat!(
                    "WITH ",
                    mine!(),
                    "
                 INSERT INTO progress (job, attempt, done, total, note)
                 SELECT job, $2, $3, $4, $5 FROM mine
                 ON CONFLICT (job) DO UPDATE SET attempt = excluded.attempt, done = excluded.done,
                     total = excluded.total, note = excluded.note"
                ),
                &[&job.0, &attempt, &done, &total, &note],
            )
            .await
        };
        let n = transact!(&self.reach, self.lanes.control, |conn| {
            let n = set(conn).await?;
            if n > 0 || attempt != 1 { Ok(n) } else { set(conn).await }
        })?;
        Ok(if n > 0 { Finished::Applied } else { Finished::Stale })
    }
}

/// Deletes rows of `running` and tells what they were.
async fn delete_leases(conn: &Conn, list: &[&Transition], way: Way) -> Step<Vec<Row>> {
    let jobs: Vec<i64> = list.iter().map(|t| t.job.0).collect();
    match way {
        Way::Pairs => {
            let attempts: Vec<i32> = list.iter().map(|t| t.attempt as i32).collect();
            conn.execute(LOCK, &[&jobs]).await?;
            conn.query(LET_GO_PAIRS, &[&jobs, &attempts]).await
        }
        Way::All => conn.query(LET_GO, &[&jobs]).await,
        Way::Plain => {
            let ends: Vec<i64> = list.iter().map(|t| time::micros(t.finished_at)).collect();
            let (state, outcome) = (JobState::Completed.code(), AttemptOutcome::Succeeded.code());
            conn.query(LET_GO_PLAIN, &[&jobs, &ends, &state, &outcome]).await
        }
    }
}

async fn write_history(conn: &Conn, list: &[(&Transition, &Held)]) -> Step<()> {
    let jobs: Vec<i64> = list.iter().map(|(t, _)| t.job.0).collect();
    let numbers: Vec<i32> = list.iter().map(|(t, _)| t.attempt as i32).collect();
    let nodes: Vec<i64> = list.iter().map(|(_, h)| h.node).collect();
    let started: Vec<i64> = list.iter().map(|(_, h)| h.started_at).collect();
    let ends: Vec<i64> = list.iter().map(|(t, _)| time::micros(t.finished_at)).collect();
    let outcomes: Vec<i16> = list.iter().map(|(t, _)| t.outcome.code()).collect();
    let classes: Vec<Option<String>> =
        list.iter().map(|(t, _)| t.error.as_ref().map(|e| rows::clean(&e.class))).collect();
    let errors: Vec<Option<String>> =
        list.iter().map(|(t, _)| t.error.as_ref().map(rows::error_text)).collect();
    conn.execute(HISTORY, &[&jobs, &numbers, &nodes, &started, &ends, &outcomes, &classes, &errors])
        .await
        .map(drop)
}
