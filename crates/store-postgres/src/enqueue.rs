//! Enqueue: one statement for all jobs of all callers that have gathered.
//!
//! [`Inner::insert`] is the only place where jobs come into being, whoever asks: a client, a fire, a
//! batch that ends. What most jobs do not have (unique keys, concurrency keys, batches, fires) costs
//! a round trip only when some job of the transaction has it. Locks are taken in one order: unique
//! keys by name, concurrency keys by number, batches by number.

use crate::actor::EnqueueCall;
use crate::effects::Effects;
use crate::link::{Conn, Fault, Step, transact};
use crate::names::RouteInfo;
use crate::uniques::{self, Fate, find_duplicates};
use crate::{Inner, Lanes, batch, keys, rows};
use futures_util::future::try_join;
use mainspring_core::claim;
use mainspring_core::error::Result;
use mainspring_core::job::{Enqueued, JobState, NewJob, Origin};
use mainspring_core::retry::Backoff;
use mainspring_core::{JobId, ProjectId, StoreError, limits, time};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A job to be, with what a transaction must know of it.
pub(crate) struct Entry<'a> {
    pub now: i64,
    pub project: ProjectId,
    pub job: &'a NewJob,
    /// Overrides the job's own batch.
    pub batch: Option<i64>,
    /// Whether the batch's total counts it (its follow-up is not counted).
    pub counted: bool,
}

/// An entry while it is being written.
struct Draft<'a> {
    entry: &'a Entry<'a>,
    route: Arc<RouteInfo>,
    run_at: i64,
    later: bool,
    ord: i64,
    key_id: Option<i64>,
}

macro_rules! insert_sql {
    ($names:literal, $arrays:literal, $last:literal) => {
        concat!(
            "WITH input AS MATERIALIZED (
                SELECT nextval('job_ids') AS id, u.* FROM unnest($1::bigint[], $2::bigint[], $3::bigint[],
                    $4::integer[], $5::smallint[], $6::integer[], $7::text[]",
            $arrays,
            ") u(created_at, run_at, ord, route, priority, max_attempts, payload",
            $names,
            $last,
            ")),
             j AS (INSERT INTO jobs (id, created_at, run_at, ord, route, priority, max_attempts, payload, origin",
            $names,
            ") SELECT id, created_at, run_at, ord, route, priority, max_attempts, payload, "
        )
    };
}

/// Jobs with nothing special, and their counters: a transaction by itself.
const INSERT_PLAIN: &str = concat!(
    insert_sql!("", "", ""),
    "0 FROM input),
     r AS (INSERT INTO ready (route, ord, job, attempt)
           SELECT route, ord, id, 0 FROM input WHERE run_at <= created_at),
     s AS (INSERT INTO scheduled (run_at, job, ord, route, attempt)
           SELECT run_at, id, ord, route, 0 FROM input WHERE run_at > created_at),
     c AS (INSERT INTO counters (route, state, shard, n)
           SELECT route, state, $11::smallint, n
           FROM unnest($8::integer[], $9::smallint[], $10::bigint[]) k(route, state, n)
           ON CONFLICT (route, state, shard) DO UPDATE SET n = counters.n + excluded.n)
     SELECT id FROM input"
);

/// Jobs of all kinds.
const INSERT_FULL: &str = concat!(
    insert_sql!(
        ", backoff, timeout, fail_timeouts, expires_at, key, key_id, key_limit, uniq, batch, schedule, scheduled_for",
        ", $8::text[], $9::bigint[], $10::boolean[], $11::bigint[], $12::text[], $13::bigint[], $14::integer[],
           $15::text[], $16::bigint[], $17::bigint[], $18::bigint[], $19::smallint[]",
        ", origin"
    ),
    "origin, backoff, timeout, fail_timeouts, expires_at, key, key_id, key_limit, uniq, batch, schedule,
        scheduled_for FROM input),
     r AS (INSERT INTO ready (route, ord, job, attempt, key_id)
           SELECT route, ord, id, 0, key_id FROM input WHERE run_at <= created_at),
     s AS (INSERT INTO scheduled (run_at, job, ord, route, attempt, key_id, expires_at)
           SELECT run_at, id, ord, route, 0, key_id, expires_at FROM input WHERE run_at > created_at)
     SELECT id FROM input"
);

const LIVE_FIRES: &str =
    "INSERT INTO live_fires (schedule, job) SELECT * FROM unnest($1::bigint[], $2::bigint[])";

impl Inner {
    /// Checks what every caller must have checked, and sees to routes and marks.
    pub(crate) async fn prepare_jobs(&self, project: ProjectId, jobs: &[NewJob]) -> Result<()> {
        if jobs.len() > limits::BATCH {
            let text = format!("{} in one call, at most {} are allowed", jobs.len(), limits::BATCH);
            return Err(StoreError::Invalid { field: "jobs", text });
        }
        for job in jobs {
            job.check().map_err(|(field, text)| StoreError::Invalid { field, text })?;
        }
        let unknown = |j: &&NewJob| self.names.route(project, &j.queue, &j.kind).is_none();
        if jobs.iter().any(|j| unknown(&j)) {
            let names = jobs.iter().filter(unknown).map(|j| (project, j.queue.clone(), j.kind.clone()));
            self.ensure_routes(names).await?;
        }
        let judged: Vec<i32> = jobs
            .iter()
            .filter(|j| j.key.is_some() || j.expires_at.is_some())
            .filter_map(|j| self.names.route(project, &j.queue, &j.kind))
            .map(|r| r.queue_id)
            .collect();
        self.mark_judged(&judged).await
    }

    /// Writes the calls that have gathered, in one transaction.
    pub(crate) async fn enqueue_calls(&self, calls: &[EnqueueCall]) -> Result<Vec<Vec<Enqueued>>> {
        let entries: Vec<Entry<'_>> = calls
            .iter()
            .flat_map(|call| {
                let (now, project) = (call.now, call.project);
                call.jobs.iter().map(move |job| Entry { now, project, job, batch: None, counted: true })
            })
            .collect();
        let now = calls.iter().map(|c| c.now).max().unwrap_or_default();
        let (lane, shard) = match calls.first().is_some_and(|c| c.beside) {
            true => (&self.lanes.beside, self.shard(Lanes::BESIDE)),
            false => (&self.lanes.enqueue, self.shard(Lanes::ENQUEUE)),
        };
        let (all, hint) = transact!(&self.reach, lane, |conn| {
            if let Some(drafts) = self.all_plain(&entries)? {
                let ids = self.insert_plain(conn, &drafts, shard).await?;
                let made = |id: &i64| Enqueued { id: JobId(*id), duplicate: false };
                return Ok((ids.iter().map(made).collect(), true));
            }
            let mut fx = Effects::default();
            let begin = conn.begin();
            let insert = self.insert(conn, &entries, &mut fx);
            let ((), all) = try_join(begin, insert).await?;
            self.seal(conn, now, shard, &mut fx).await?;
            Ok((all, fx.hint_jobs))
        })?;
        if hint {
            self.hint(mainspring_core::store::Hint::Jobs);
        }
        let mut all = all.into_iter();
        Ok(calls.iter().map(|call| all.by_ref().take(call.jobs.len()).collect()).collect())
    }

    /// The drafts, if none of them has anything special.
    fn all_plain<'a>(&self, entries: &'a [Entry<'a>]) -> Step<Option<Vec<Draft<'a>>>> {
        let mut drafts = Vec::with_capacity(entries.len());
        for entry in entries {
            let draft = self.draft(entry)?;
            if draft.special() || self.names.queue(draft.route.queue_id).settings.fair {
                return Ok(None);
            }
            drafts.push(draft);
        }
        Ok(Some(drafts))
    }

    /// The one statement of plain jobs. Gives the ids in order of the drafts.
    async fn insert_plain(&self, conn: &Conn, drafts: &[Draft<'_>], shard: i16) -> Step<Vec<i64>> {
        let mut counts = BTreeMap::<(i32, i16), i64>::new();
        for draft in drafts {
            self.floors.placed(draft.route.id, draft.ord);
            *counts.entry((draft.route.id, draft.state().code())).or_default() += 1;
        }
        let (keys, n): (Vec<(i32, i16)>, Vec<i64>) = counts.into_iter().unzip();
        let (counted, states): (Vec<i32>, Vec<i16>) = keys.into_iter().unzip();
        let c = Columns::of(drafts);
        let args: crate::link::Args<'_> = &[
            &c.created,
            &c.run_at,
            &c.ord,
            &c.routes,
            &c.priorities,
            &c.max,
            &c.payloads,
            &counted,
            &states,
            &n,
            &shard,
        ];
        numbers(&conn.query(INSERT_PLAIN, args).await?, drafts.len())
    }

    /// Writes jobs within a transaction; answers in order.
    pub(crate) async fn insert(
        &self,
        conn: &Conn,
        entries: &[Entry<'_>],
        fx: &mut Effects,
    ) -> Step<Vec<Enqueued>> {
        let (fates, holders) = find_duplicates(self, conn, entries).await?;
        let mut drafts = Vec::with_capacity(entries.len());
        for (entry, fate) in entries.iter().zip(&fates) {
            if matches!(fate, Fate::New(_)) {
                drafts.push(self.draft(entry)?);
            }
        }
        keys::assign(self, conn, &mut drafts).await?;
        batch::joined(conn, &batch_totals(entries, &fates)).await?;
        let ids = write(conn, &drafts).await?;
        uniques::remember(conn, &holders, &ids).await?;
        remember_fires(conn, &drafts, &ids).await?;
        for draft in &drafts {
            self.floors.placed(draft.route.id, draft.ord);
            fx.figures.add(draft.route.id, draft.state(), 1);
            fx.hint_jobs = true;
        }
        Ok(fates
            .iter()
            .map(|fate| match *fate {
                Fate::New(n) => Enqueued { id: JobId(ids[n]), duplicate: false },
                Fate::Same(n) => Enqueued { id: JobId(ids[n]), duplicate: true },
                Fate::Old(id) => Enqueued { id: JobId(id), duplicate: true },
            })
            .collect())
    }

    fn draft<'a>(&self, entry: &'a Entry<'a>) -> Step<Draft<'a>> {
        let job = entry.job;
        let route = self
            .names
            .route(entry.project, &job.queue, &job.kind)
            .ok_or_else(|| StoreError::Internal(format!("no route for {}/{}", job.queue, job.kind)))?;
        let run_at = job.run_at.map_or(entry.now, time::micros);
        let ord = run_at + claim::priority_offset(job.priority);
        Ok(Draft { entry, route, run_at, later: run_at > entry.now, ord, key_id: None })
    }
}

impl keys::Keyed for Draft<'_> {
    fn queue_id(&self) -> i32 {
        self.route.queue_id
    }
    fn key(&self) -> Option<&str> {
        self.entry.job.key.as_deref()
    }
    fn priority(&self) -> u8 {
        self.entry.job.priority
    }
    fn due(&self) -> bool {
        !self.later
    }
    fn set_key_id(&mut self, id: i64) {
        self.key_id = Some(id);
    }
    fn set_ord(&mut self, ord: i64) {
        self.ord = ord;
    }
}

impl Entry<'_> {
    fn batch(&self) -> Option<i64> {
        self.batch.or(self.job.batch.map(|b| b.0))
    }
}

impl Draft<'_> {
    fn batch(&self) -> Option<i64> {
        self.entry.batch()
    }

    fn state(&self) -> JobState {
        if self.later { JobState::Scheduled } else { JobState::Available }
    }

    /// Whether it needs more than the plain statement.
    fn special(&self) -> bool {
        let job = self.entry.job;
        self.batch().is_some()
            || job.key.is_some()
            || job.key_limit.is_some()
            || job.unique.is_some()
            || job.schedule.is_some()
            || job.expires_at.is_some()
            || job.timeout.is_some()
            || job.origin != Origin::Enqueue
            || !job.retry.retry_timeouts
            || job.retry.backoff != Backoff::default()
    }
}

/// Batches named, with (project, jobs named, jobs added): a duplicate adds none.
fn batch_totals(entries: &[Entry<'_>], fates: &[Fate]) -> BTreeMap<i64, (i64, i64, i64)> {
    let mut totals = BTreeMap::new();
    for (entry, fate) in entries.iter().zip(fates).filter(|(e, _)| e.counted) {
        if let Some(batch) = entry.batch() {
            let total = totals.entry(batch).or_insert((entry.project.0, 0, 0));
            total.1 += 1;
            total.2 += i64::from(matches!(fate, Fate::New(_)));
        }
    }
    totals
}

/// What every job has, by column.
struct Columns<'a> {
    created: Vec<i64>,
    run_at: Vec<i64>,
    ord: Vec<i64>,
    routes: Vec<i32>,
    priorities: Vec<i16>,
    max: Vec<i32>,
    payloads: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(drafts: &[Draft<'a>]) -> Columns<'a> {
        Columns {
            created: drafts.iter().map(|d| d.entry.now).collect(),
            run_at: drafts.iter().map(|d| d.run_at).collect(),
            ord: drafts.iter().map(|d| d.ord).collect(),
            routes: drafts.iter().map(|d| d.route.id).collect(),
            priorities: drafts.iter().map(|d| d.entry.job.priority.into()).collect(),
            max: drafts.iter().map(|d| d.entry.job.retry.max_attempts as i32).collect(),
            payloads: drafts.iter().map(|d| d.entry.job.payload.as_str()).collect(),
        }
    }
}

/// The numbers an insert gave, in order: they were drawn in order of the input.
fn numbers(rows: &[tokio_postgres::Row], wanted: usize) -> Step<Vec<i64>> {
    let mut ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    if ids.len() != wanted {
        return Err(Fault::Refused(StoreError::Internal("an insert gave too few numbers".into())));
    }
    ids.sort_unstable();
    Ok(ids)
}

/// The one INSERT of jobs of all kinds. Gives the ids in order of the drafts.
async fn write(conn: &Conn, drafts: &[Draft<'_>]) -> Step<Vec<i64>> {
    if drafts.is_empty() {
        return Ok(vec![]);
    }
    let c = Columns::of(drafts);
    let job = |i: usize| drafts[i].entry.job;
    let all = 0..drafts.len();
    let us = |d: std::time::Duration| d.as_micros() as i64;
    let backoff: Vec<Option<String>> =
        all.clone().map(|i| rows::backoff_text(&job(i).retry.backoff)).collect();
    let timeout: Vec<Option<i64>> = all.clone().map(|i| job(i).timeout.map(us)).collect();
    let fail: Vec<Option<bool>> =
        all.clone().map(|i| (!job(i).retry.retry_timeouts).then_some(true)).collect();
    let expires: Vec<Option<i64>> = all.clone().map(|i| job(i).expires_at.map(time::micros)).collect();
    let key: Vec<Option<&str>> = all.clone().map(|i| job(i).key.as_deref()).collect();
    let key_id: Vec<Option<i64>> = drafts.iter().map(|d| d.key_id).collect();
    let key_limit: Vec<Option<i32>> =
        all.clone().map(|i| job(i).key_limit.map(|n| i32::try_from(n).unwrap_or(i32::MAX))).collect();
    let uniq: Vec<Option<&str>> =
        all.clone().map(|i| job(i).unique.as_ref().map(|u| u.key.as_str())).collect();
    let batch: Vec<Option<i64>> = drafts.iter().map(Draft::batch).collect();
    let schedule: Vec<Option<i64>> = all.clone().map(|i| job(i).schedule.map(|s| s.0.0)).collect();
    let fire: Vec<Option<i64>> =
        all.clone().map(|i| job(i).schedule.and_then(|s| s.1).map(time::micros)).collect();
    let origin: Vec<i16> = all.map(|i| job(i).origin.code()).collect();
    let args: crate::link::Args<'_> = &[
        &c.created,
        &c.run_at,
        &c.ord,
        &c.routes,
        &c.priorities,
        &c.max,
        &c.payloads,
        &backoff,
        &timeout,
        &fail,
        &expires,
        &key,
        &key_id,
        &key_limit,
        &uniq,
        &batch,
        &schedule,
        &fire,
        &origin,
    ];
    numbers(&conn.query(INSERT_FULL, args).await?, drafts.len())
}

/// Schedules remember their live jobs.
async fn remember_fires(conn: &Conn, drafts: &[Draft<'_>], ids: &[i64]) -> Step<()> {
    let live: Vec<(i64, i64)> = drafts
        .iter()
        .zip(ids)
        .filter(|(d, _)| d.entry.job.origin == Origin::Fire)
        .filter_map(|(d, id)| d.entry.job.schedule.map(|s| (s.0.0, *id)))
        .collect();
    if !live.is_empty() {
        let (schedules, jobs): (Vec<i64>, Vec<i64>) = live.into_iter().unzip();
        conn.execute(LIVE_FIRES, &[&schedules, &jobs]).await?;
    }
    Ok(())
}
