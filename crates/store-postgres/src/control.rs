//! What people do: cancel, retry, change a queue.
//!
//! A bulk step reads its page of jobs first and then takes each job's narrow row by its full key. A
//! row that is not there any more was taken by somebody else meanwhile: then the step looks again,
//! so that a job is never lost between two looks.

use crate::effects::Effects;
use crate::finish::Again;
use crate::link::{Conn, Step, transact};
use crate::{Inner, Lanes, SETTINGS, batch, bundles, keys, names, rows};
use jiff::Timestamp;
use mainspring_core::claim::priority_offset;
use mainspring_core::error::Result;
use mainspring_core::event::NewEvent;
use mainspring_core::job::{AttemptOutcome, JobState, Origin};
use mainspring_core::queue::{ALL_QUEUES, QueueSettings};
use mainspring_core::store::{Affected, Bulk, Hint};
use mainspring_core::{JobId, ProjectId, StoreError, limits, time};
use std::collections::BTreeMap;

/// Takes the waiting rows of jobs, wherever they are. Gives job and where it was.
const TAKE_WAITING: &str = "
    WITH wanted AS MATERIALIZED (
        SELECT id, route, ord, run_at, key_id FROM jobs WHERE id = ANY($1) ORDER BY id),
    a AS (DELETE FROM ready WHERE ctid = ANY(ARRAY(
            SELECT x.at FROM wanted w CROSS JOIN LATERAL (
                SELECT ctid AS at FROM ready WHERE route = w.route AND ord = w.ord AND job = w.id
                OFFSET 0 FOR UPDATE) x)) RETURNING job),
    s AS (DELETE FROM scheduled WHERE ctid = ANY(ARRAY(
            SELECT x.at FROM wanted w CROSS JOIN LATERAL (
                SELECT ctid AS at FROM scheduled WHERE run_at = w.run_at AND job = w.id
                OFFSET 0 FOR UPDATE) x)) RETURNING job),
    h AS (DELETE FROM held WHERE ctid = ANY(ARRAY(
            SELECT x.at FROM wanted w CROSS JOIN LATERAL (
                SELECT ctid AS at FROM held WHERE key_id = w.key_id AND ord = w.ord AND job = w.id
                OFFSET 0 FOR UPDATE) x)) RETURNING job)
    SELECT job, 1::smallint FROM a UNION ALL SELECT job, 0::smallint FROM s UNION ALL
    SELECT job, 1::smallint FROM h";

const MARK: &str = "
    UPDATE running SET cancel = true WHERE job = ANY(ARRAY(
        SELECT job FROM running WHERE job = ANY($1) ORDER BY job FOR NO KEY UPDATE)) RETURNING job";

/// Final jobs live again: their outcome goes back into their own row. A first attempt that
/// succeeded gets its row in the history, which `jobs` will not tell any more.
const REVIVE: &str = "
    WITH gone AS (
        DELETE FROM done WHERE job = ANY(ARRAY(
            SELECT job FROM done WHERE job = ANY($1) ORDER BY job FOR UPDATE)) RETURNING *),
    told AS (
        INSERT INTO attempts (job, number, node, started_at, finished_at, outcome)
        SELECT job, 1, node, coalesce(started_at, finished_at), finished_at, 0 FROM gone
        WHERE attempt = 1 AND state = 3 AND outcome = 0)
    UPDATE jobs j SET attempt = g.attempt, raised = g.attempt, deaths = 0, outcome = g.outcome,
        started_at = g.started_at, node = g.node, cancel = NULL, error_class = g.error_class, error = g.error,
        run_at = $2, ord = $2 + j.priority * $3::bigint
    FROM gone g
    CROSS JOIN LATERAL (SELECT ctid AS at FROM jobs WHERE id = g.job OFFSET 0 FOR NO KEY UPDATE) x
    WHERE j.ctid = x.at
    RETURNING j.id, j.route, j.attempt, j.ord, j.priority, j.key, j.key_id, j.expires_at, g.state, g.outcome,
              j.batch, j.origin, j.schedule";

/// Jobs that waited for a retry need not wait any longer.
const HURRY: &str = "
    WITH gone AS (
        DELETE FROM scheduled WHERE ctid = ANY(ARRAY(
            SELECT x.at FROM (
                SELECT id, run_at FROM jobs WHERE id = ANY($1) AND attempt > 0 ORDER BY id) w
            CROSS JOIN LATERAL (
                SELECT ctid AS at FROM scheduled WHERE run_at = w.run_at AND job = w.id
                OFFSET 0 FOR UPDATE) x)) RETURNING job)
    UPDATE jobs j SET run_at = $2, ord = $2 + j.priority * $3::bigint, cancel = NULL
    FROM gone g
    CROSS JOIN LATERAL (SELECT ctid AS at FROM jobs WHERE id = g.job OFFSET 0 FOR NO KEY UPDATE) x
    WHERE j.ctid = x.at
    RETURNING j.id, j.route, j.attempt, j.ord, j.priority, j.key, j.key_id, j.expires_at";

impl Inner {
    pub(crate) async fn cancel_jobs(
        &self,
        now: Timestamp,
        project: ProjectId,
        bulk: Bulk<'_>,
        reason: &str,
        actor: &str,
    ) -> Result<Affected> {
        let now = time::micros(now);
        let (page, next) = self.bulk_page(project, bulk).await?;
        if page.is_empty() {
            return Ok(Affected { jobs: vec![], next });
        }
        let (mut jobs, hints) = transact!(&self.reach, self.lanes.control, |conn| {
            conn.begin().await?;
            let mut fx = Effects::default();
            let jobs = self.cancel_these(conn, now, &page, reason, Some(actor), &mut fx).await?;
            self.seal(conn, now, self.shard(Lanes::CONTROL), &mut fx).await?;
            let hints = [
                (fx.hint_jobs, Hint::Jobs),
                (fx.hint_schedules, Hint::Schedules),
                (fx.hint_cancel, Hint::Cancel),
            ];
            Ok((jobs, hints))
        })?;
        for (wanted, hint) in hints {
            if wanted {
                self.hint(hint);
            }
        }
        jobs.sort_unstable();
        Ok(Affected { jobs, next })
    }

    /// Cancels those that wait and marks those that run; final ones are passed over.
    async fn cancel_these(
        &self,
        conn: &Conn,
        now: i64,
        ids: &[i64],
        reason: &str,
        actor: Option<&str>,
        fx: &mut Effects,
    ) -> Step<Vec<JobId>> {
        let mut done = vec![];
        let mut left: Vec<i64> = ids.to_vec();
        // Each look may find that a job has moved on: waiting, running, waiting for a retry, …
        for _ in 0..10 {
            let mut by_state = BTreeMap::<i16, Vec<i64>>::new();
            for row in &conn.query(TAKE_WAITING, &[&left]).await? {
                by_state.entry(row.get(1)).or_default().push(row.get(0));
            }
            for (state, list) in &mut by_state {
                list.sort_unstable();
                let from = rows::code(*state, JobState::from_code)?;
                self.end_waiting(conn, now, list, from, reason, actor, fx).await?;
                done.extend(list.iter().copied().map(JobId));
            }
            left.retain(|id| !done.contains(&JobId(*id)));
            if left.is_empty() {
                break;
            }
            bundles::unbundle(conn, &left).await?;
            let marked = conn.query(MARK, &[&left]).await?;
            fx.hint_cancel |= !marked.is_empty();
            done.extend(marked.iter().map(|row| JobId(row.get(0))));
            left.retain(|id| !done.contains(&JobId(*id)));
            let states = rows::states(self, conn, &left).await?;
            left.retain(|id| states.get(id).is_some_and(|state| !state.is_final()));
            if left.is_empty() {
                break;
            }
        }
        Ok(done)
    }

    /// Cancels jobs in favour of a later fire.
    pub(crate) async fn replace(
        &self,
        conn: &Conn,
        now: i64,
        project: ProjectId,
        jobs: &[JobId],
        fx: &mut Effects,
    ) -> Step<()> {
        let ids: Vec<i64> = jobs.iter().map(|j| j.0).collect();
        let own = conn
            .query(
                "SELECT j.id FROM jobs j JOIN routes r ON r.id = j.route WHERE j.id = ANY($1) AND r.project = $2",
                &[&ids, &project.0],
            )
            .await?;
        let own: Vec<i64> = own.iter().map(|row| row.get(0)).collect();
        self.cancel_these(conn, now, &own, "replaced by a later fire", None, fx).await.map(drop)
    }

    pub(crate) async fn retry_jobs(
        &self,
        now: Timestamp,
        project: ProjectId,
        bulk: Bulk<'_>,
        actor: &str,
    ) -> Result<Affected> {
        let now = time::micros(now);
        let (page, next) = self.bulk_page(project, bulk).await?;
        if page.is_empty() {
            return Ok(Affected { jobs: vec![], next });
        }
        let mut jobs = transact!(&self.reach, self.lanes.control, |conn| {
            conn.begin().await?;
            let mut fx = Effects::default();
            let level = priority_offset(1);
            let revived = conn.query(REVIVE, &[&page, &now, &level]).await?;
            let hurried = conn.query(HURRY, &[&page, &now, &level]).await?;
            let mut again = Vec::new();
            for row in &revived {
                let from = rows::code(row.get(8), JobState::from_code)?;
                live_again(row, from, rows::outcome(row.get(9))?, &mut fx);
                again.push(self.again(row, now, from, &mut fx).await?);
            }
            for row in &hurried {
                again.push(self.again(row, now, JobState::Scheduled, &mut fx).await?);
            }
            again.sort_unstable_by_key(|a| a.job);
            let ids: Vec<JobId> = again.iter().map(|a| JobId(a.job)).collect();
            for id in &ids {
                let event = NewEvent::new("job.retried", format!("job/{id}"), serde_json::json!({}));
                fx.events.push((project, event.by(actor)));
            }
            let revived: Vec<i64> = revived.iter().map(|row| row.get(0)).collect();
            if !revived.is_empty() {
                conn.execute(batch::REOPEN, &[&revived]).await?;
            }
            self.wait_again(conn, again).await?;
            self.seal(conn, now, self.shard(Lanes::CONTROL), &mut fx).await?;
            Ok(ids)
        })?;
        if !jobs.is_empty() {
            self.hint(Hint::Jobs);
        }
        jobs.sort_unstable();
        Ok(Affected { jobs, next })
    }

    async fn again(
        &self,
        row: &tokio_postgres::Row,
        now: i64,
        from: JobState,
        fx: &mut Effects,
    ) -> Step<Again> {
        let route = self.route_of(row.get(1)).await?;
        fx.figures.moved(route.id, from, JobState::Available, 1);
        Ok(Again {
            job: row.get(0),
            route,
            attempt: row.get::<_, Option<i32>>(2).unwrap_or(0),
            run_at: now,
            due: true,
            ord: row.get(3),
            priority: row.get::<_, i16>(4) as u8,
            key: row.get(5),
            key_id: row.get(6),
            expires_at: row.get(7),
        })
    }

    pub(crate) async fn set_queue(
        &self,
        now: Timestamp,
        project: ProjectId,
        queue: &str,
        settings: QueueSettings,
        actor: &str,
    ) -> Result<()> {
        if queue != ALL_QUEUES {
            mainspring_core::job::check_name(queue)
                .map_err(|text| StoreError::Invalid { field: "queue", text })?;
        }
        settings.check().map_err(|(field, text)| StoreError::Invalid { field, text })?;
        let now = time::micros(now);
        transact!(&self.reach, self.lanes.control, |conn| {
            self.write_settings(conn, now, project, queue, &settings, actor).await
        })?;
        self.reload_names().await?;
        self.queues_changed();
        self.hint(Hint::Jobs);
        Ok(())
    }

    async fn write_settings(
        &self,
        conn: &Conn,
        now: i64,
        project: ProjectId,
        queue: &str,
        settings: &QueueSettings,
        actor: &str,
    ) -> Step<()> {
        let text = serde_json::to_string(settings).unwrap_or_default();
        conn.begin().await?;
        // Claims take this lock shared: none that has not seen the change is still under way.
        conn.execute("SELECT pg_advisory_xact_lock($1)", &[&self.lock_key(SETTINGS)]).await?;
        let id = names::queue_id(conn, project, queue).await?;
        let old = conn.one("SELECT settings FROM queues WHERE id = $1 FOR NO KEY UPDATE", &[&id]).await?;
        let old: QueueSettings =
            serde_json::from_str(old.get(0)).map_err(|e| rows::json_text("a queue's settings", e))?;
        let plain = *settings == QueueSettings::default();
        conn.execute(
            "UPDATE queues SET settings = $2, flags = CASE WHEN $3 THEN flags & ~1::smallint
                 ELSE flags | 1::smallint END WHERE id = $1",
            &[&id, &text, &plain],
        )
        .await?;
        conn.execute(
            "INSERT INTO meta (name, value) VALUES ('queues_version', '1')
             ON CONFLICT (name) DO UPDATE SET value = (meta.value::bigint + 1)::text",
            &[],
        )
        .await?;
        let raised = match (old.max_running_per_key, settings.max_running_per_key) {
            (Some(old), Some(new)) => new > old,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if raised {
            keys::release_queue(conn, id).await?;
        }
        let what = match (&old.paused, &settings.paused) {
            (Some(_), None) => "queue.resumed",
            (before, Some(now)) if before.as_ref() != Some(now) => "queue.paused",
            _ => "queue.changed",
        };
        let data = serde_json::to_value(settings).unwrap_or_default();
        let event = NewEvent::new(what, format!("queue/{queue}"), data).by(actor);
        let mut fx = Effects { events: vec![(project, event)], ..Default::default() };
        self.seal(conn, now, self.shard(Lanes::CONTROL), &mut fx).await
    }

    /// The jobs a bulk step looks at, by id, and where the next one begins.
    async fn bulk_page(&self, project: ProjectId, bulk: Bulk<'_>) -> Result<(Vec<i64>, Option<JobId>)> {
        let limit = bulk.limit.min(limits::BATCH as u32) as usize;
        self.find_ids(project, bulk.filter, bulk.after, limit).await
    }
}

/// What the return of a final job means to its batch and its schedule.
fn live_again(row: &tokio_postgres::Row, from: JobState, outcome: Option<AttemptOutcome>, fx: &mut Effects) {
    let origin: i16 = row.get(11);
    if let Some(batch) = row.get::<_, Option<i64>>(10).filter(|_| origin != Origin::FollowUp.code()) {
        fx.batches.entry(batch).or_default().add(from, outcome, -1);
    }
    if let Some(schedule) = row.get::<_, Option<i64>>(12).filter(|_| origin == Origin::Fire.code()) {
        fx.fires_back.push((schedule, row.get(0)));
    }
}
