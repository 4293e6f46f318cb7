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
use crate::{Inner, Lanes, batch, keys, rows};
use futures_util::future::try_join;
use mainspring_core::claim;
use mainspring_core::error::Result;
use mainspring_core::job::{Enqueued, JobState, NewJob, Origin};
use mainspring_core::retry::Backoff;
use mainspring_core::{JobId, ProjectId, StoreError, limits, time};
use std::collections::{BTreeMap, HashMap};
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

/// What an entry turned out to be.
#[derive(Clone, Copy)]
enum Fate {
    /// Nth of those written.
    New(usize),
    /// A job that was there.
    Old(i64),
    /// The same as an earlier entry.
    Same(usize),
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

/// Jobs with nothing special.
const INSERT_PLAIN: &str = concat!(
    insert_sql!("", "", ""),
    "0 FROM input),
     r AS (INSERT INTO ready (route, ord, job, attempt)
           SELECT route, ord, id, 0 FROM input WHERE run_at <= created_at),
     s AS (INSERT INTO scheduled (run_at, job, ord, route, attempt)
           SELECT run_at, id, ord, route, 0 FROM input WHERE run_at > created_at)
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

const FIND_FIRES: &str = "
    SELECT u.i, j.id FROM unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::integer[])
        u(schedule, origin, at, i)
    JOIN jobs j ON j.schedule = u.schedule AND j.origin = u.origin AND j.scheduled_for = u.at
        AND j.scheduled_for IS NOT NULL";

/// Takes the keys' rows, in order; job 0 is nobody.
const TAKE_UNIQUES: &str = "
    INSERT INTO uniques (project, key, job)
    SELECT project, key, 0 FROM unnest($1::bigint[], $2::text[]) u(project, key) ORDER BY 1, 2
    ON CONFLICT (project, key) DO UPDATE SET job = uniques.job
    RETURNING project, key, job, until";

const SET_UNIQUES: &str = "
    UPDATE uniques q SET job = u.job, until = u.until
    FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) u(project, key, job, until)
    WHERE q.project = u.project AND q.key = u.key";

const LIVE_FIRES: &str =
    "INSERT INTO live_fires (schedule, job) SELECT * FROM unnest($1::bigint[], $2::bigint[])";

/// Who holds a unique key now.
struct Holder {
    job: Option<Fate>,
    until: Option<i64>,
    state: JobState,
}

/// The nominal fire that makes a job unique.
fn fire_key(job: &NewJob) -> Option<(i64, i16, i64)> {
    match (job.schedule, job.origin) {
        (Some((schedule, Some(at))), Origin::Fire | Origin::Backfill) => {
            Some((schedule.0, job.origin.code(), time::micros(at)))
        }
        _ => None,
    }
}

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
        let (all, hint) = transact!(&self.reach, self.lanes.enqueue, |conn| {
            let mut fx = Effects::default();
            conn.prepare(&[INSERT_PLAIN]).await?;
            let begin = conn.begin();
            let insert = self.insert(conn, &entries, &mut fx);
            let ((), all) = try_join(begin, insert).await?;
            self.seal(conn, now, self.shard(Lanes::ENQUEUE), &mut fx).await?;
            Ok((all, fx.hint_jobs))
        })?;
        if hint {
            self.hint(mainspring_core::store::Hint::Jobs);
        }
        let mut all = all.into_iter();
        Ok(calls.iter().map(|call| all.by_ref().take(call.jobs.len()).collect()).collect())
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
        after_write(conn, &drafts, &ids, entries, &fates, &holders).await?;
        for draft in &drafts {
            let state = if draft.later { JobState::Scheduled } else { JobState::Available };
            fx.figures.add(draft.route.id, state, 1);
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

    /// Whether it needs more columns than the plain statement has.
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

type Holders<'a> = HashMap<(i64, &'a str), Holder>;

/// Finds which entries are new. Keys stay locked to the end of the transaction.
async fn find_duplicates<'a>(
    inner: &Inner,
    conn: &Conn,
    entries: &[Entry<'a>],
) -> Step<(Vec<Fate>, Holders<'a>)> {
    let mut fires = find_fires(conn, entries).await?;
    let mut holders = take_uniques(inner, conn, entries).await?;
    let mut fates = Vec::with_capacity(entries.len());
    let mut new = 0;
    for entry in entries {
        let fire = fire_key(entry.job);
        if let Some(fate) = fire.and_then(|f| fires.get(&f)) {
            fates.push(*fate);
            continue;
        }
        let unique = entry.job.unique.as_ref();
        if let Some(unique) = unique {
            let key = (entry.project.0, unique.key.as_str());
            let holder = holders
                .get(&key)
                .filter(|h| h.until.is_none_or(|until| entry.now < until) && unique.states.has(h.state));
            if let Some(fate) = holder.and_then(|h| h.job) {
                fates.push(fate);
                continue;
            }
            let until = unique
                .period
                .map(|p| entry.now.saturating_add(i64::try_from(p.as_micros()).unwrap_or(i64::MAX)));
            let due = entry.job.run_at.is_none_or(|at| time::micros(at) <= entry.now);
            let state = if due { JobState::Available } else { JobState::Scheduled };
            holders.insert(key, Holder { job: Some(Fate::Same(new)), until, state });
        }
        if let Some(fire) = fire {
            fires.insert(fire, Fate::Same(new));
        }
        fates.push(Fate::New(new));
        new += 1;
    }
    Ok((fates, holders))
}

async fn find_fires(conn: &Conn, entries: &[Entry<'_>]) -> Step<HashMap<(i64, i16, i64), Fate>> {
    let wanted: Vec<(i64, i16, i64)> = entries.iter().filter_map(|e| fire_key(e.job)).collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let schedules: Vec<i64> = wanted.iter().map(|f| f.0).collect();
    let origins: Vec<i16> = wanted.iter().map(|f| f.1).collect();
    let fires: Vec<i64> = wanted.iter().map(|f| f.2).collect();
    let places: Vec<i32> = (0..wanted.len() as i32).collect();
    let found = conn.query(FIND_FIRES, &[&schedules, &origins, &fires, &places]).await?;
    Ok(found.iter().map(|row| (wanted[row.get::<_, i32>(0) as usize], Fate::Old(row.get(1)))).collect())
}

async fn take_uniques<'a>(inner: &Inner, conn: &Conn, entries: &[Entry<'a>]) -> Step<Holders<'a>> {
    let mut wanted: Vec<(i64, &str)> =
        entries.iter().filter_map(|e| e.job.unique.as_ref().map(|u| (e.project.0, u.key.as_str()))).collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    wanted.sort_unstable();
    wanted.dedup();
    let (projects, keys): (Vec<i64>, Vec<&str>) = wanted.iter().copied().unzip();
    let taken = conn.query(TAKE_UNIQUES, &[&projects, &keys]).await?;
    let ids: Vec<i64> = taken.iter().map(|row| row.get(2)).filter(|id| *id != 0).collect();
    // A second statement: it sees what was committed while the keys were waited for.
    let states = rows::states(inner, conn, &ids).await?;
    let mut holders = HashMap::new();
    for row in &taken {
        let (project, key): (i64, &str) = (row.get(0), row.get(1));
        let Ok(at) = wanted.binary_search(&(project, key)) else { continue };
        let Some(state) = states.get(&row.get(2)).copied() else { continue };
        holders.insert(wanted[at], Holder { job: Some(Fate::Old(row.get(2))), until: row.get(3), state });
    }
    Ok(holders)
}

/// The one INSERT. Gives the ids in order of the drafts.
async fn write(conn: &Conn, drafts: &[Draft<'_>]) -> Step<Vec<i64>> {
    if drafts.is_empty() {
        return Ok(vec![]);
    }
    let created: Vec<i64> = drafts.iter().map(|d| d.entry.now).collect();
    let run_at: Vec<i64> = drafts.iter().map(|d| d.run_at).collect();
    let ord: Vec<i64> = drafts.iter().map(|d| d.ord).collect();
    let routes: Vec<i32> = drafts.iter().map(|d| d.route.id).collect();
    let priorities: Vec<i16> = drafts.iter().map(|d| d.entry.job.priority.into()).collect();
    let max: Vec<i32> = drafts.iter().map(|d| d.entry.job.retry.max_attempts as i32).collect();
    let payloads: Vec<&str> = drafts.iter().map(|d| d.entry.job.payload.as_str()).collect();
    let rows = if drafts.iter().any(Draft::special) {
        let job = |i: usize| drafts[i].entry.job;
        let all = 0..drafts.len();
        let backoff: Vec<Option<String>> =
            all.clone().map(|i| rows::backoff_text(&job(i).retry.backoff)).collect();
        let timeout: Vec<Option<i64>> =
            all.clone().map(|i| job(i).timeout.map(|t| t.as_micros() as i64)).collect();
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
            &created,
            &run_at,
            &ord,
            &routes,
            &priorities,
            &max,
            &payloads,
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
        conn.query(INSERT_FULL, args).await?
    } else {
        conn.query(INSERT_PLAIN, &[&created, &run_at, &ord, &routes, &priorities, &max, &payloads]).await?
    };
    let mut ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    if ids.len() != drafts.len() {
        return Err(Fault::Refused(StoreError::Internal("an insert gave too few numbers".into())));
    }
    // Numbers were drawn in order of the input.
    ids.sort_unstable();
    Ok(ids)
}

/// Unique keys get their new holders, schedules their live jobs.
async fn after_write(
    conn: &Conn,
    drafts: &[Draft<'_>],
    ids: &[i64],
    entries: &[Entry<'_>],
    fates: &[Fate],
    holders: &Holders<'_>,
) -> Step<()> {
    if !holders.is_empty() || entries.iter().any(|e| e.job.unique.is_some()) {
        let mut set: Vec<(i64, &str, i64, Option<i64>)> = holders
            .iter()
            .filter_map(|((project, key), holder)| match holder.job {
                Some(Fate::Same(n)) => Some((*project, *key, ids[n], holder.until)),
                _ => None,
            })
            .collect();
        set.sort_unstable();
        debug_assert!(set.len() <= fates.len());
        let projects: Vec<i64> = set.iter().map(|s| s.0).collect();
        let keys: Vec<&str> = set.iter().map(|s| s.1).collect();
        let jobs: Vec<i64> = set.iter().map(|s| s.2).collect();
        let until: Vec<Option<i64>> = set.iter().map(|s| s.3).collect();
        conn.execute(SET_UNIQUES, &[&projects, &keys, &jobs, &until]).await?;
    }
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
