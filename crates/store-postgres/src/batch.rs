//! Batches: totals rise with enqueues, counts with ends; the last end closes the batch and enqueues
//! its follow-up, once.

use crate::effects::{Effects, counts};
use crate::enqueue::Entry;
use crate::link::{Conn, Step, transact};
use crate::{Inner, Lanes, rows};
use jiff::Timestamp;
use mainspring_core::batch::{BatchRecord, BatchState, NewBatch};
use mainspring_core::error::Result;
use mainspring_core::job::{Enqueued, NewJob};
use mainspring_core::store::Hint;
use mainspring_core::{BatchId, JobId, ProjectId, StoreError, event, limits, time};
use std::collections::BTreeMap;

/// What every look at a batch reads: see [`Seen`].
macro_rules! seen {
    () => {
        "id, project, name, sealed, state, total, succeeded, partial, failed, cancelled, follow_up, follow_spec, parent"
    };
}

const LOCK: &str =
    concat!("SELECT ", seen!(), " FROM batches WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE");

const RAISE: &str = "
    UPDATE batches b SET total = b.total + u.n FROM unnest($1::bigint[], $2::bigint[]) u(id, n)
    WHERE b.id = u.id";

/// A batch that had ended is open again when a person retries one of its jobs.
const COUNT: &str = concat!(
    "UPDATE batches b SET succeeded = b.succeeded + u.s, partial = b.partial + u.p, failed = b.failed + u.f,
         cancelled = b.cancelled + u.c,
         state = CASE WHEN least(u.s, u.p, u.f, u.c) < 0 THEN 0::smallint ELSE b.state END,
         finished_at = CASE WHEN least(u.s, u.p, u.f, u.c) < 0 THEN NULL ELSE b.finished_at END
     FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) u(i, s, p, f, c)
     WHERE b.id = u.i RETURNING ",
    seen!()
);

/// A batch whose parent failed or was cancelled (see [`JobState`]) before it sealed it.
const GIVEN_UP: &str = "SELECT FROM done WHERE job = $1 AND state IN (4, 5)";

const LEFT: &str = concat!(
    "SELECT ",
    seen!(),
    " FROM batches WHERE NOT sealed AND parent = ANY($1) ORDER BY id FOR NO KEY UPDATE"
);

/// The jobs that had given them up live again.
pub(crate) const REOPEN: &str =
    "UPDATE batches SET state = 0, finished_at = NULL WHERE NOT sealed AND parent = ANY($1) AND state <> 0";

const CLOSE: &str =
    "UPDATE batches SET state = $2, finished_at = $3, follow_up = coalesce(follow_up, $4) WHERE id = $1";

/// A batch as a transaction sees it.
struct Seen {
    id: BatchId,
    project: ProjectId,
    name: String,
    sealed: bool,
    open: bool,
    counts: mainspring_core::batch::BatchCounts,
    follow_up: Option<NewJob>,
    parent: Option<i64>,
}

fn seen(row: &tokio_postgres::Row) -> Step<Seen> {
    let done_before: Option<i64> = row.get(10);
    let spec: Option<&str> = row.get(11);
    let follow_up = match (done_before, spec) {
        (None, Some(spec)) => Some(rows::read_new_job(spec)?),
        _ => None,
    };
    Ok(Seen {
        id: BatchId(row.get(0)),
        project: ProjectId(row.get(1)),
        name: row.get(2),
        sealed: row.get(3),
        open: row.get::<_, i16>(4) == BatchState::Open.code(),
        counts: counts(row, 5),
        follow_up,
        parent: row.get(12),
    })
}

/// Jobs are added to batches: (project, named, added) by batch.
pub(crate) async fn joined(conn: &Conn, totals: &BTreeMap<i64, (i64, i64, i64)>) -> Step<()> {
    if totals.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = totals.keys().copied().collect();
    let locked = conn.query(LOCK, &[&ids]).await?;
    for (id, (project, named, _)) in totals {
        let row = locked.iter().find(|row| row.get::<_, i64>(0) == *id && row.get::<_, i64>(1) == *project);
        let Some(row) = row else {
            return Err(StoreError::NotFound { what: "batch", name: id.to_string() }.into());
        };
        if row.get::<_, bool>(3) {
            let text = format!("batch {id} is sealed: no more jobs can be added");
            return Err(StoreError::Conflict(text).into());
        }
        if row.get::<_, i16>(4) != BatchState::Open.code() {
            let text = format!("batch {id} is over, because the job that opened it is: retry that job");
            return Err(StoreError::Conflict(text).into());
        }
        if row.get::<_, i64>(5) + named > limits::BATCH_JOBS as i64 {
            let text = format!("batch {id} would have more than {} jobs", limits::BATCH_JOBS);
            return Err(StoreError::Invalid { field: "batch", text }.into());
        }
    }
    let added: Vec<i64> = totals.values().map(|t| t.2).collect();
    conn.execute(RAISE, &[&ids, &added]).await.map(drop)
}

/// Jobs of batches ended (or live again).
pub(crate) async fn counted(inner: &Inner, conn: &Conn, now: i64, fx: &mut Effects) -> Step<()> {
    let ids: Vec<i64> = fx.batches.keys().copied().collect();
    let column = |f: fn(&crate::effects::BatchDelta) -> i64| fx.batches.values().map(f).collect::<Vec<i64>>();
    let (s, p) = (column(|d| d.succeeded), column(|d| d.partial));
    let (f, c) = (column(|d| d.failed), column(|d| d.cancelled));
    let rows = conn.query(COUNT, &[&ids, &s, &p, &f, &c]).await?;
    for row in &rows {
        close(inner, conn, now, seen(row)?, fx).await?;
    }
    Ok(())
}

/// Jobs failed or were cancelled: what they opened and left unsealed may be over.
pub(crate) async fn given_up(inner: &Inner, conn: &Conn, now: i64, fx: &mut Effects) -> Step<()> {
    let parents: Vec<i64> = fx.given_up().collect();
    for row in &conn.query(LEFT, &[&parents]).await? {
        close(inner, conn, now, seen(row)?, fx).await?;
    }
    Ok(())
}

/// Ends a batch that has nothing pending and gets no more jobs: state, event, and, if it is sealed,
/// its follow-up.
async fn close(inner: &Inner, conn: &Conn, now: i64, batch: Seen, fx: &mut Effects) -> Step<()> {
    let state = match batch.sealed {
        true => batch.counts.state(true),
        false => batch.counts.state_given_up(),
    };
    if !batch.open || state == BatchState::Open {
        return Ok(());
    }
    if !batch.sealed {
        let Some(parent) = batch.parent else { return Ok(()) };
        let given_up = fx.given_up().any(|job| job == parent);
        if !given_up && conn.opt(GIVEN_UP, &[&parent]).await?.is_none() {
            return Ok(());
        }
    }
    fx.events.push((batch.project, event::of_batch(batch.id, &batch.name, state)));
    let follow_up = match batch.follow_up.as_ref().filter(|_| batch.sealed) {
        None => None,
        Some(job) => {
            inner.ensure_routes([(batch.project, job.queue.clone(), job.kind.clone())]).await?;
            let entry = Entry { now, project: batch.project, job, batch: Some(batch.id.0), counted: false };
            inner.insert(conn, &[entry], fx).await?.first().map(|e| e.id.0)
        }
    };
    conn.execute(CLOSE, &[&batch.id.0, &state.code(), &now, &follow_up]).await?;
    Ok(())
}

impl Inner {
    pub(crate) async fn open_batch(
        &self,
        now: Timestamp,
        project: ProjectId,
        batch: NewBatch,
        jobs: Vec<NewJob>,
    ) -> Result<(BatchId, Vec<Enqueued>)> {
        let now = time::micros(now);
        self.prepare_jobs(project, &jobs).await?;
        if let Some(job) = &batch.follow_up {
            self.prepare_jobs(project, std::slice::from_ref(job)).await?;
        }
        let name = limits::cut(&batch.name, limits::NAME).replace('\0', "\u{fffd}");
        let spec = batch.follow_up.as_ref().map(rows::new_job_text);
        let parent = batch.parent.map(|j| j.0);
        let (answer, hint) = transact!(&self.reach, self.lanes.control, |conn| {
            conn.begin().await?;
            let row = conn
                .opt(
                    "INSERT INTO batches (project, name, sealed, parent, follow_spec, created_at)
                     SELECT id, $2, false, $3, $4, $5 FROM projects WHERE id = $1
                     ON CONFLICT (parent, name, project) WHERE NOT sealed AND parent IS NOT NULL
                     DO UPDATE SET name = excluded.name, state = 0, finished_at = NULL RETURNING id",
                    &[&project.0, &name, &parent, &spec, &now],
                )
                .await?;
            let Some(row) = row else {
                return Err(StoreError::NotFound { what: "project", name: project.to_string() }.into());
            };
            let id: i64 = row.get(0);
            let entries: Vec<Entry<'_>> =
                jobs.iter().map(|job| Entry { now, project, job, batch: Some(id), counted: true }).collect();
            let mut fx = Effects::default();
            let made = self.insert(conn, &entries, &mut fx).await?;
            // Of a parent that is over meanwhile.
            fx.batches.entry(id).or_default();
            if batch.sealed {
                seal(self, conn, now, project, id, &mut fx).await?;
            }
            self.seal(conn, now, self.shard(Lanes::CONTROL), &mut fx).await?;
            Ok(((BatchId(id), made), fx.hint_jobs))
        })?;
        if hint {
            self.hint(Hint::Jobs);
        }
        Ok(answer)
    }

    pub(crate) async fn seal_batch(&self, now: Timestamp, project: ProjectId, batch: BatchId) -> Result<()> {
        let now = time::micros(now);
        let hint = transact!(&self.reach, self.lanes.control, |conn| {
            conn.begin().await?;
            let mut fx = Effects::default();
            seal(self, conn, now, project, batch.0, &mut fx).await?;
            self.seal(conn, now, self.shard(Lanes::CONTROL), &mut fx).await?;
            Ok(fx.hint_jobs)
        })?;
        if hint {
            self.hint(Hint::Jobs);
        }
        Ok(())
    }
}

/// Batches that deleted jobs opened and left unsealed: nobody completes them any more.
pub(crate) async fn resolve(
    inner: &Inner,
    conn: &Conn,
    now: i64,
    gone: &[i64],
    fx: &mut Effects,
) -> Step<()> {
    let empty = "DELETE FROM batches WHERE NOT sealed AND parent = ANY($1) AND total = 0";
    conn.execute(empty, &[&gone]).await?;
    let seal = concat!(
        "UPDATE batches SET sealed = true, follow_spec = NULL WHERE NOT sealed AND parent = ANY($1) RETURNING ",
        seen!()
    );
    for row in &conn.query(seal, &[&gone]).await? {
        close(inner, conn, now, seen(row)?, fx).await?;
    }
    Ok(())
}

async fn seal(
    inner: &Inner,
    conn: &Conn,
    now: i64,
    project: ProjectId,
    id: i64,
    fx: &mut Effects,
) -> Step<()> {
    let row = conn
        .opt(
            concat!("UPDATE batches SET sealed = true WHERE id = $1 AND project = $2 RETURNING ", seen!()),
            &[&id, &project.0],
        )
        .await?;
    let Some(row) = row else {
        return Err(StoreError::NotFound { what: "batch", name: id.to_string() }.into());
    };
    close(inner, conn, now, seen(&row)?, fx).await
}

/// What readers select.
pub(crate) const READ: &str = "
    SELECT id, project, name, sealed, state, total, succeeded, partial, failed, cancelled, parent, follow_up,
           created_at, finished_at
    FROM batches WHERE project = $1 AND ($2::bigint IS NULL OR id < $2) AND ($3::bigint IS NULL OR id = $3)
    ORDER BY id DESC LIMIT $4";

/// A batch as [`READ`] gives it.
pub(crate) fn record(row: &tokio_postgres::Row) -> Result<BatchRecord> {
    Ok(BatchRecord {
        id: BatchId(row.get(0)),
        project: ProjectId(row.get(1)),
        name: row.get(2),
        sealed: row.get(3),
        state: rows::code(row.get(4), BatchState::from_code)?,
        counts: counts(row, 5),
        parent: row.get::<_, Option<i64>>(10).map(JobId),
        follow_up: row.get::<_, Option<i64>>(11).map(JobId),
        created_at: time::from_micros(row.get(12)),
        finished_at: row.get::<_, Option<i64>>(13).map(time::from_micros),
    })
}
