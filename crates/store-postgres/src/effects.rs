//! What a change of state brings with it, collected while a transaction decides and written at its
//! end, in one order for all: keys, batches, schedules, figures, events.
//!
//! Figures are sharded by process and lane, so that transactions that run side by side never wait
//! for one another's counters; readers sum. Events come last, under a lock held to the end of the
//! transaction: so their numbers rise in the order in which they become visible, and a reader that
//! follows the tail can never be overtaken by a smaller number that commits later.

use crate::link::{Args, Conn, Step};
use crate::names::RouteInfo;
use crate::{Inner, batch, finish::Held, keys, rows};
use futures_util::future::{try_join, try_join3, try_join4};
use mainspring_core::batch::BatchCounts;
use mainspring_core::decide::Transition;
use mainspring_core::event::NewEvent;
use mainspring_core::job::{AttemptOutcome, JobState};
use mainspring_core::{ProjectId, limits, tally, time};
use std::collections::BTreeMap;

/// (minute, route, schedule, outcome, bucket): (count, microseconds).
type Rollups = BTreeMap<(i64, i32, i64, i16, i16), (i64, i64)>;

/// Rows of the figures' tables, by number.
#[derive(Default)]
pub(crate) struct Figures {
    counters: BTreeMap<(i32, i16), i64>,
    rollups: Rollups,
    recents: BTreeMap<(ProjectId, i16, String), Vec<i64>>,
}

/// A row of `done`.
pub(crate) struct Done {
    pub job: i64,
    pub started_at: i64,
    pub finished_at: i64,
    pub node: i64,
    pub route: i32,
    pub attempt: i32,
    pub state: i16,
    pub outcome: i16,
    pub cancel: Option<bool>,
    pub reason: Option<String>,
    pub class: Option<String>,
    pub error: Option<String>,
    pub output: Option<String>,
}

impl Done {
    /// The end of a job, as its last attempt's transition and lease tell it.
    pub fn of(t: &Transition, lease: &Held, state: JobState, reason: Option<&str>) -> Done {
        Done {
            job: t.job.0,
            started_at: lease.started_at,
            finished_at: time::micros(t.finished_at),
            node: lease.node,
            route: lease.route.id,
            attempt: t.attempt as i32,
            state: state.code(),
            outcome: t.outcome.code(),
            cancel: lease.cancel,
            reason: reason.map(rows::clean),
            class: t.error.as_ref().map(|e| rows::clean(&e.class)),
            error: t.error.as_ref().map(rows::error_text),
            output: t.output.as_ref().map(|json| json.as_str().to_owned()),
        }
    }
}

/// What one transaction adds to the tables beside its jobs.
#[derive(Default)]
pub(crate) struct Effects {
    pub figures: Figures,
    /// Jobs whose attempt was their last.
    pub done: Vec<Done>,
    /// Jobs that were cancelled while they waited.
    pub cancelled: Vec<i64>,
    pub events: Vec<(ProjectId, NewEvent)>,
    /// How many attempts of a key ended.
    pub keys: BTreeMap<i64, i32>,
    /// What is added to a batch's counts; `total` is not among it (enqueues write that).
    pub batches: BTreeMap<i64, BatchDelta>,
    /// Schedules with a job that became final, and when.
    pub finished: BTreeMap<i64, i64>,
    /// Jobs of fires that became final: (schedule, job).
    pub fires_gone: Vec<(i64, i64)>,
    /// Jobs of fires that live again.
    pub fires_back: Vec<(i64, i64)>,
    pub hint_jobs: bool,
    pub hint_schedules: bool,
    pub hint_cancel: bool,
}

impl Effects {
    /// Jobs that failed or were cancelled: what they opened and did not seal is given up.
    pub fn given_up(&self) -> impl Iterator<Item = i64> {
        let badly = [JobState::Failed.code(), JobState::Cancelled.code()];
        let ran = self.done.iter().filter(move |d| badly.contains(&d.state)).map(|d| d.job);
        ran.chain(self.cancelled.iter().copied())
    }
}

/// Changes of a batch's counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BatchDelta {
    pub succeeded: i64,
    pub partial: i64,
    pub failed: i64,
    pub cancelled: i64,
}

impl BatchDelta {
    /// Counts (or, with -1, takes back) a job that ended so.
    pub fn add(&mut self, state: JobState, outcome: Option<AttemptOutcome>, n: i64) {
        match state {
            JobState::Completed if outcome == Some(AttemptOutcome::Partial) => self.partial += n,
            JobState::Completed => self.succeeded += n,
            JobState::Failed => self.failed += n,
            JobState::Cancelled => self.cancelled += n,
            _ => {}
        }
    }
}

/// Counts as read.
pub(crate) fn counts(row: &tokio_postgres::Row, first: usize) -> BatchCounts {
    let n = |i: usize| u64::try_from(row.get::<_, i64>(first + i)).unwrap_or(0);
    BatchCounts { total: n(0), succeeded: n(1), partial: n(2), failed: n(3), cancelled: n(4) }
}

impl Figures {
    /// `n` jobs came into being in `state`, or left it.
    pub fn add(&mut self, route: i32, state: JobState, n: i64) {
        *self.counters.entry((route, state.code())).or_default() += n;
    }

    /// `n` jobs changed their state.
    pub fn moved(&mut self, route: i32, from: JobState, to: JobState, n: i64) {
        self.add(route, from, -n);
        self.add(route, to, n);
    }

    /// An attempt ended.
    pub fn attempt(
        &mut self,
        route: &RouteInfo,
        schedule: Option<i64>,
        outcome: AttemptOutcome,
        started: i64,
        finished: i64,
    ) {
        let took = finished.saturating_sub(started).max(0);
        let bucket = tally::bucket(std::time::Duration::from_micros(took as u64));
        let minute = finished.div_euclid(time::MINUTE);
        let key = (minute, route.id, schedule.unwrap_or(0), outcome.code(), bucket);
        let sum = self.rollups.entry(key).or_default();
        sum.0 += 1;
        sum.1 += took;
        if tally::counts_for_health(outcome) {
            let entry = finished * 8 + i64::from(outcome.code());
            let mut push = |scope: i16, name: &str| {
                // Looked up by reference first: the name is copied once per transaction, not per job.
                let list = self.recents.entry((route.project, scope, name.to_owned())).or_default();
                list.push(entry);
                if list.len() >= 4 * limits::RECENT {
                    trim(list);
                }
            };
            push(0, &route.kind);
            push(1, &route.queue);
            if let Some(schedule) = schedule {
                push(2, &schedule.to_string());
            }
        }
    }
}

/// Keeps the newest outcomes, in order of time.
pub(crate) fn trim(list: &mut Vec<i64>) {
    list.sort_by_key(|e| e.div_euclid(8));
    let surplus = list.len().saturating_sub(limits::RECENT);
    list.drain(..surplus);
}

const COUNTERS: &str = "
    INSERT INTO counters (route, state, shard, n)
    SELECT route, state, $4::smallint, n FROM unnest($1::integer[], $2::smallint[], $3::bigint[]) u(route, state, n)
    ON CONFLICT (route, state, shard) DO UPDATE SET n = counters.n + excluded.n";

const ROLLUPS: &str = "
    INSERT INTO rollups (minute, span, route, schedule, outcome, bucket, shard, n, total_us)
    SELECT minute, 1, route, schedule, outcome, bucket, $8::smallint, n, total_us
    FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::smallint[], $5::smallint[], $6::bigint[],
                $7::bigint[]) u(minute, route, schedule, outcome, bucket, n, total_us)
    ON CONFLICT (minute, span, route, schedule, outcome, bucket, shard)
    DO UPDATE SET n = rollups.n + excluded.n, total_us = rollups.total_us + excluded.total_us";

const RECENTS: &str = "
    INSERT INTO recents (project, scope, name, shard, entries)
    SELECT project, scope, name, $5::smallint, entries::bigint[]
    FROM unnest($1::bigint[], $2::smallint[], $3::text[], $4::text[]) u(project, scope, name, entries)
    ON CONFLICT (project, scope, name, shard) DO UPDATE SET entries = (
        SELECT array_agg(e ORDER BY e / 8, i) FROM (
            SELECT e, i FROM unnest(recents.entries || excluded.entries) WITH ORDINALITY u(e, i)
            ORDER BY e / 8 DESC, i DESC LIMIT 50) newest)";

/// Arrays that are null throughout are handed over empty: `unnest` fills them up with nulls.
const DONE: &str = "
    INSERT INTO done (job, started_at, finished_at, node, route, attempt, state, outcome, cancel, reason,
                      error_class, error, output)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::integer[], $6::integer[],
                         $7::smallint[], $8::smallint[], $9::boolean[], $10::text[], $11::text[], $12::text[],
                         $13::text[])";

/// The same for those that tell of nothing but a plain end.
const DONE_PLAIN: &str = "
    INSERT INTO done (job, started_at, finished_at, node, route, attempt, state, outcome)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::integer[], $6::integer[],
                         $7::smallint[], $8::smallint[])";

const EVENT_LOCK: &str = "SELECT pg_advisory_xact_lock($1)";

const EVENTS: &str = "
    INSERT INTO events (project, at, name, subject, actor, data)
    SELECT project, $6::bigint, name, subject, actor, data
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[])
         WITH ORDINALITY u(project, name, subject, actor, data, i) ORDER BY i";

const LIVE_GONE: &str = "
    DELETE FROM live_fires WHERE ctid = ANY(ARRAY(
        SELECT x.at FROM unnest($1::bigint[], $2::bigint[]) u(schedule, job)
        CROSS JOIN LATERAL (
            SELECT ctid AS at FROM live_fires WHERE schedule = u.schedule AND job = u.job
            OFFSET 0 FOR UPDATE) x))";

const LIVE_BACK: &str = "
    INSERT INTO live_fires (schedule, job)
    SELECT * FROM unnest($1::bigint[], $2::bigint[]) ON CONFLICT DO NOTHING";

const AFTER: &str = "
    UPDATE schedules s SET next_fire = u.at + s.after_us
    FROM unnest($1::bigint[], $2::bigint[]) u(id, at) WHERE s.id = u.id AND s.after_us IS NOT NULL";

impl Inner {
    /// Writes the effects and commits.
    pub(crate) async fn seal(&self, conn: &Conn, now: i64, shard: i16, fx: &mut Effects) -> Step<()> {
        if !fx.keys.is_empty() {
            keys::ended(self, conn, fx).await?;
        }
        if !fx.batches.is_empty() {
            batch::counted(self, conn, now, fx).await?;
        }
        if fx.given_up().next().is_some() {
            batch::given_up(self, conn, now, fx).await?;
        }
        self.schedules_touched(conn, fx).await?;
        self.write_figures(conn, now, shard, fx).await
    }

    async fn schedules_touched(&self, conn: &Conn, fx: &mut Effects) -> Step<()> {
        for (sql, pairs) in [(LIVE_GONE, &fx.fires_gone), (LIVE_BACK, &fx.fires_back)] {
            if !pairs.is_empty() {
                let (schedules, jobs): (Vec<i64>, Vec<i64>) = pairs.iter().copied().unzip();
                conn.execute(sql, &[&schedules, &jobs]).await?;
            }
        }
        if !fx.finished.is_empty() {
            let (ids, ends): (Vec<i64>, Vec<i64>) = fx.finished.iter().map(|(a, b)| (*a, *b)).unzip();
            fx.hint_schedules |= conn.execute(AFTER, &[&ids, &ends]).await? > 0;
        }
        Ok(())
    }

    /// Figures, events and COMMIT in one round trip.
    async fn write_figures(&self, conn: &Conn, now: i64, shard: i16, fx: &mut Effects) -> Step<()> {
        conn.prepare(&[DONE, DONE_PLAIN, COUNTERS, ROLLUPS, RECENTS, EVENT_LOCK, EVENTS]).await?;
        let f = &mut fx.figures;
        f.counters.retain(|_, n| *n != 0);
        let counters = async {
            if f.counters.is_empty() {
                return Ok(());
            }
            let (keys, n): (Vec<(i32, i16)>, Vec<i64>) = f.counters.iter().map(|(k, n)| (*k, *n)).unzip();
            let (routes, states): (Vec<i32>, Vec<i16>) = keys.into_iter().unzip();
            conn.execute(COUNTERS, &[&routes, &states, &n, &shard]).await.map(drop)
        };
        let done = write_done(conn, &fx.done);
        let rollups = write_rollups(conn, shard, &f.rollups);
        let recents = write_recents(conn, shard, &mut f.recents);
        let events = write_events(conn, now, self.lock_key(crate::EVENT_ORDER), &fx.events);
        // Polled in this order, so sent in this order: COMMIT last.
        let figures = try_join3(counters, rollups, recents);
        try_join4(done, figures, events, conn.commit()).await?;
        Ok(())
    }
}

/// The list, or nothing when it is null throughout.
fn or_nothing<T>(list: impl Iterator<Item = Option<T>>) -> Vec<Option<T>> {
    let list: Vec<Option<T>> = list.collect();
    if list.iter().all(Option::is_none) { vec![] } else { list }
}

async fn write_done(conn: &Conn, list: &[Done]) -> Step<()> {
    if list.is_empty() {
        return Ok(());
    }
    let long = |f: fn(&Done) -> i64| list.iter().map(f).collect::<Vec<i64>>();
    let whole = |f: fn(&Done) -> i32| list.iter().map(f).collect::<Vec<i32>>();
    let short = |f: fn(&Done) -> i16| list.iter().map(f).collect::<Vec<i16>>();
    let text = |f: fn(&Done) -> Option<&str>| or_nothing(list.iter().map(f));
    let (jobs, started, ended, nodes) =
        (long(|d| d.job), long(|d| d.started_at), long(|d| d.finished_at), long(|d| d.node));
    let (routes, attempts) = (whole(|d| d.route), whole(|d| d.attempt));
    let (states, outcomes) = (short(|d| d.state), short(|d| d.outcome));
    let cancels = or_nothing(list.iter().map(|d| d.cancel));
    let (reasons, classes) = (text(|d| d.reason.as_deref()), text(|d| d.class.as_deref()));
    let (errors, outputs) = (text(|d| d.error.as_deref()), text(|d| d.output.as_deref()));
    if cancels.is_empty() && [&reasons, &classes, &errors, &outputs].iter().all(|l| l.is_empty()) {
        let args: Args<'_> = &[&jobs, &started, &ended, &nodes, &routes, &attempts, &states, &outcomes];
        return conn.execute(DONE_PLAIN, args).await.map(drop);
    }
    let args: Args<'_> = &[
        &jobs, &started, &ended, &nodes, &routes, &attempts, &states, &outcomes, &cancels, &reasons,
        &classes, &errors, &outputs,
    ];
    conn.execute(DONE, args).await.map(drop)
}

async fn write_rollups(conn: &Conn, shard: i16, rollups: &Rollups) -> Step<()> {
    if rollups.is_empty() {
        return Ok(());
    }
    let minutes: Vec<i64> = rollups.keys().map(|k| k.0).collect();
    let routes: Vec<i32> = rollups.keys().map(|k| k.1).collect();
    let schedules: Vec<i64> = rollups.keys().map(|k| k.2).collect();
    let outcomes: Vec<i16> = rollups.keys().map(|k| k.3).collect();
    let buckets: Vec<i16> = rollups.keys().map(|k| k.4).collect();
    let (n, total): (Vec<i64>, Vec<i64>) = rollups.values().copied().unzip();
    conn.execute(ROLLUPS, &[&minutes, &routes, &schedules, &outcomes, &buckets, &n, &total, &shard])
        .await
        .map(drop)
}

async fn write_recents(
    conn: &Conn,
    shard: i16,
    recents: &mut BTreeMap<(ProjectId, i16, String), Vec<i64>>,
) -> Step<()> {
    if recents.is_empty() {
        return Ok(());
    }
    let mut lists = Vec::with_capacity(recents.len());
    for list in recents.values_mut() {
        trim(list);
        let items: Vec<String> = list.iter().map(i64::to_string).collect();
        lists.push(format!("{{{}}}", items.join(",")));
    }
    let projects: Vec<i64> = recents.keys().map(|k| k.0.0).collect();
    let scopes: Vec<i16> = recents.keys().map(|k| k.1).collect();
    let names: Vec<&str> = recents.keys().map(|k| k.2.as_str()).collect();
    conn.execute(RECENTS, &[&projects, &scopes, &names, &lists, &shard]).await.map(drop)
}

async fn write_events(conn: &Conn, now: i64, lock: i64, events: &[(ProjectId, NewEvent)]) -> Step<()> {
    if events.is_empty() {
        return Ok(());
    }
    let clean = |t: &str| t.replace('\0', "\u{fffd}");
    let projects: Vec<i64> = events.iter().map(|e| e.0.0).collect();
    let names: Vec<String> = events.iter().map(|e| clean(&e.1.name)).collect();
    let subjects: Vec<String> = events.iter().map(|e| clean(&e.1.subject)).collect();
    let actors: Vec<Option<String>> = events.iter().map(|e| e.1.actor.as_deref().map(clean)).collect();
    let data: Vec<&str> = events.iter().map(|e| e.1.data.as_str()).collect();
    let lock: crate::link::Args<'_> = &[&lock];
    let args: crate::link::Args<'_> = &[&projects, &names, &subjects, &actors, &data, &now];
    // Both are sent before anything else of this transaction that follows: the lock first.
    try_join(conn.execute(EVENT_LOCK, lock), conn.execute(EVENTS, args)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_outcomes_keep_the_newest_and_the_order_of_ties() {
        let mut list: Vec<i64> = (0..60).map(|i| i * 8).collect();
        list.extend([59 * 8 + 2, 59 * 8 + 1]);
        trim(&mut list);
        assert_eq!(list.len(), limits::RECENT);
        assert_eq!(list[list.len() - 3..], [59 * 8, 59 * 8 + 2, 59 * 8 + 1]);
    }
}
