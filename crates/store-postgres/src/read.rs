//! The read models, beside the writers: each is one statement, so it sees one moment.

use crate::Inner;
use crate::link::transact;
use crate::names::CONFIGURED;
use crate::rows::{self, select_jobs};
use crate::schedule::{self, schedule_columns};
use jiff::Timestamp;
use mainspring_core::batch::BatchRecord;
use mainspring_core::error::Result;
use mainspring_core::job::{Attempt, AttemptOutcome, JobRecord, JobState, LogLevel, LogLine, Progress};
use mainspring_core::json::Json;
use mainspring_core::queue::{ALL_QUEUES, QueueSettings};
use mainspring_core::reader::{GroupBy, JobDetail, Page, QueueRecord, RollupRow};
use mainspring_core::schedule_record::{FireOutcome, LedgerRow, ScheduleRecord};
use mainspring_core::tally::{Recent, RollupSum, Scope};
use mainspring_core::{BatchId, JobId, NodeId, ProjectId, ScheduleId, limits, time};
use std::collections::BTreeMap;

fn cap(limit: u32) -> i64 {
    i64::from(limit.min(limits::PAGE as u32))
}

/// The first `limit` of rows read one too many, and the key of the last of them when there are more.
fn page<T, K>(mut rows: Vec<T>, limit: i64, key: impl Fn(&T) -> K) -> Page<T, K> {
    let more = rows.len() as i64 > limit;
    rows.truncate(limit as usize);
    let next = if more { rows.last().map(key) } else { None };
    Page { rows, next }
}

const LOGS: &str = "
    SELECT l.attempt, l.seq, l.at, l.level, l.message, l.fields
    FROM logs l JOIN jobs j ON j.id = l.job JOIN routes r ON r.id = j.route
    WHERE l.job = $1 AND r.project = $2 AND (l.attempt, l.seq) > ($3::integer, $4::integer)
    ORDER BY l.attempt, l.seq LIMIT $5";

const FIRES: &str = "
    SELECT j.scheduled_for, j.id, CASE WHEN d.job IS NOT NULL THEN d.state WHEN r.job IS NOT NULL THEN 2::smallint
               WHEN s.job IS NOT NULL THEN 0::smallint ELSE 1::smallint END, j.origin = 3
    FROM jobs j
    LEFT JOIN LATERAL (SELECT * FROM done WHERE job = j.id OFFSET 0) d ON true
    LEFT JOIN LATERAL (SELECT job FROM leases WHERE job = j.id AND block = j.id / 128 OFFSET 0) r ON true
    LEFT JOIN LATERAL (SELECT job FROM scheduled WHERE run_at = j.run_at AND job = j.id OFFSET 0) s ON true
    JOIN routes t ON t.id = j.route
    WHERE j.schedule = $1 AND t.project = $2 AND j.scheduled_for IS NOT NULL
      AND j.scheduled_for >= $3 AND j.scheduled_for < $4
    ORDER BY j.scheduled_for, j.id LIMIT $5";

/// Settings, figures and the oldest waiting job of each queue, looked for among the first few
/// thousand in claim order (a priority is worth at most nine minutes, a turn one second).
const QUEUES: &str = "
    SELECT q.name, q.settings, q.flags,
        ARRAY(SELECT unnest(ARRAY[c.state::bigint, sum(c.n)::bigint]) FROM counters c JOIN routes r ON r.id = c.route
              WHERE r.queue_id = q.id GROUP BY c.state),
        (SELECT min(j.run_at) FROM (
            SELECT w.job FROM routes r CROSS JOIN LATERAL (
                SELECT job FROM ready WHERE route = r.id ORDER BY ord, job LIMIT 5000) w
            WHERE r.queue_id = q.id
            UNION ALL
            SELECT h.job FROM keys k JOIN held h ON h.key_id = k.id WHERE k.queue_id = q.id) w
         CROSS JOIN LATERAL (SELECT run_at FROM jobs WHERE id = w.job OFFSET 0) j),
        q.tat
    FROM queues q WHERE q.project = $1 ORDER BY q.name COLLATE \"C\"";

const ROLLUPS: &str = "
    SELECT CASE $4::smallint WHEN 0 THEN r.kind WHEN 1 THEN r.queue WHEN 2 THEN u.schedule::text ELSE '' END AS name,
           CASE WHEN $5::boolean THEN u.minute ELSE 0 END AS at, u.outcome, u.bucket, sum(u.n)::bigint,
           sum(u.total_us)::bigint
    FROM rollups u JOIN routes r ON r.id = u.route
    WHERE r.project = $1 AND u.minute >= $2 AND u.minute < $3 AND ($4::smallint <> 2 OR u.schedule <> 0)
    GROUP BY 1, 2, 3, 4";

const DETAIL: &str = "
    SELECT number, node, started_at, finished_at, outcome, error_class, error FROM attempts
    WHERE job = $1 ORDER BY number";

impl Inner {
    pub(crate) async fn projects(&self) -> Result<Vec<(ProjectId, String)>> {
        let rows = self.read("SELECT id, name FROM projects ORDER BY name COLLATE \"C\"", &[]).await?;
        Ok(rows.iter().map(|row| (ProjectId(row.get(0)), row.get(1))).collect())
    }

    pub(crate) async fn detail(&self, project: ProjectId, id: JobId) -> Result<Option<JobDetail>> {
        let lane = self.reader();
        // Several statements, one moment.
        let (job, attempts, steps, progress) = transact!(&self.reach, lane, |conn| {
            conn.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            let job = conn
                .opt(
                    select_jobs!("JOIN routes t ON t.id = j.route WHERE j.id = $1 AND t.project = $2"),
                    &[&id.0, &project.0],
                )
                .await?;
            let attempts = conn.query(DETAIL, &[&id.0]).await?;
            let steps = conn
                .query("SELECT name, result, at FROM steps WHERE job = $1 ORDER BY nth", &[&id.0])
                .await?;
            let progress =
                conn.opt("SELECT attempt, done, total, note FROM progress WHERE job = $1", &[&id.0]).await?;
            conn.commit().await?;
            Ok((job, attempts, steps, progress))
        })?;
        let Some(job) = job else { return Ok(None) };
        let job = rows::job(self, &job).await?;
        let mut history = Vec::with_capacity(attempts.len() + 1);
        for row in &attempts {
            history.push(Attempt {
                number: rows::count(row.get(0)),
                node: row.get::<_, Option<i64>>(1).map(NodeId),
                started_at: time::from_micros(row.get(2)),
                finished_at: row.get::<_, Option<i64>>(3).map(time::from_micros),
                outcome: rows::outcome(row.get(4))?,
                error: rows::read_error(row.get(5), row.get(6))?,
            });
        }
        history.extend(told_by_the_job(&job));
        let text = |row: &tokio_postgres::Row, i: usize| Json::trusted(row.get::<_, String>(i));
        let steps =
            steps.iter().map(|row| (row.get(0), text(row, 1), time::from_micros(row.get(2)))).collect();
        // What an earlier attempt had done tells nothing about this one.
        let progress = progress.filter(|row| rows::count(row.get(0)) == job.attempt).map(|row| Progress {
            done: row.get::<_, i64>(1).max(0) as u64,
            total: row.get::<_, Option<i64>>(2).map(|n| n.max(0) as u64),
            note: row.get(3),
        });
        Ok(Some(JobDetail { job, attempts: history, steps, progress }))
    }

    pub(crate) async fn steps(&self, job: JobId) -> Result<Vec<(String, Json)>> {
        let rows = self.read("SELECT name, result FROM steps WHERE job = $1 ORDER BY nth", &[&job.0]).await?;
        Ok(rows.iter().map(|row| (row.get(0), Json::trusted(row.get::<_, String>(1)))).collect())
    }

    pub(crate) async fn logs(
        &self,
        project: ProjectId,
        job: JobId,
        after: Option<(u32, u32)>,
        limit: u32,
    ) -> Result<Vec<LogLine>> {
        let (attempt, seq) = after.map_or((-1, -1), |(a, s)| (a as i32, s as i32));
        let rows = self.read(LOGS, &[&job.0, &project.0, &attempt, &seq, &cap(limit)]).await?;
        rows.iter()
            .map(|row| {
                Ok(LogLine {
                    job,
                    attempt: rows::count(row.get(0)),
                    seq: rows::count(row.get(1)),
                    at: time::from_micros(row.get(2)),
                    level: rows::code(row.get(3), LogLevel::from_code)?,
                    message: row.get(4),
                    fields: row.get::<_, Option<String>>(5).map(Json::trusted),
                })
            })
            .collect()
    }

    pub(crate) async fn schedule_page(
        &self,
        project: ProjectId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<ScheduleRecord, String>> {
        let rows = self
            .read(
                concat!(
                    "SELECT ",
                    schedule_columns!(),
                    " FROM schedules WHERE project = $1 AND name COLLATE \"C\" > $2
                      ORDER BY name COLLATE \"C\" LIMIT $3"
                ),
                &[&project.0, &after.unwrap_or_default(), &(cap(limit) + 1)],
            )
            .await?;
        let rows = rows.iter().map(schedule::record).collect::<Result<Vec<_>>>()?;
        Ok(page(rows, cap(limit), |s| s.name.clone()))
    }

    pub(crate) async fn all_schedules(
        &self,
        after: Option<ScheduleId>,
        limit: u32,
    ) -> Result<Vec<ScheduleRecord>> {
        let after = after.map_or(i64::MIN, |s| s.0);
        let sql =
            concat!("SELECT ", schedule_columns!(), " FROM schedules WHERE id > $1 ORDER BY id LIMIT $2");
        self.read(sql, &[&after, &cap(limit)]).await?.iter().map(schedule::record).collect()
    }

    pub(crate) async fn schedule(&self, project: ProjectId, name: &str) -> Result<Option<ScheduleRecord>> {
        let sql = concat!("SELECT ", schedule_columns!(), " FROM schedules WHERE project = $1 AND name = $2");
        self.read(sql, &[&project.0, &name]).await?.first().map(schedule::record).transpose()
    }

    pub(crate) async fn ledger(
        &self,
        project: ProjectId,
        id: ScheduleId,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<LedgerRow>> {
        let rows = self
            .read(
                "SELECT l.first_at, l.last_at, l.n, l.outcome, l.reason
                 FROM ledger l JOIN schedules s ON s.id = l.schedule
                 WHERE l.schedule = $1 AND s.project = $2 AND l.last_at >= $3 AND l.first_at < $4
                 ORDER BY l.first_at, l.id LIMIT $5",
                &[&id.0, &project.0, &time::micros(from), &time::micros(until), &cap(limit)],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(LedgerRow {
                    first: time::from_micros(row.get(0)),
                    last: time::from_micros(row.get(1)),
                    count: row.get::<_, i64>(2).max(0) as u64,
                    outcome: rows::code(row.get(3), FireOutcome::from_code)?,
                    reason: row.get(4),
                })
            })
            .collect()
    }

    pub(crate) async fn fires(
        &self,
        project: ProjectId,
        id: ScheduleId,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Timestamp, JobId, JobState, bool)>> {
        let args: crate::link::Args<'_> =
            &[&id.0, &project.0, &time::micros(from), &time::micros(until), &cap(limit)];
        let rows = self.read(FIRES, args).await?;
        rows.iter()
            .map(|row| {
                let state = rows::code(row.get(2), JobState::from_code)?;
                Ok((time::from_micros(row.get(0)), JobId(row.get(1)), state, row.get(3)))
            })
            .collect()
    }

    pub(crate) async fn queue_records(&self, project: ProjectId) -> Result<Vec<QueueRecord>> {
        let rows = self.read(QUEUES, &[&project.0]).await?;
        let mut list = Vec::with_capacity(rows.len());
        for row in &rows {
            let (name, flags): (String, i16) = (row.get(0), row.get(2));
            if name == ALL_QUEUES && flags & CONFIGURED == 0 {
                continue;
            }
            let settings: QueueSettings =
                serde_json::from_str(row.get(1)).map_err(|e| rows::json_text("a queue's settings", e))?;
            let mut counts = BTreeMap::new();
            for pair in row.get::<_, Vec<i64>>(3).chunks_exact(2) {
                if let Some(state) = JobState::from_code(pair[0])
                    && pair[1] > 0
                {
                    counts.insert(state, pair[1] as u64);
                }
            }
            let oldest_waiting = row.get::<_, Option<i64>>(4).map(time::from_micros);
            let next_start = settings.rate.map(|rate| rate.next(row.get(5)));
            list.push(QueueRecord { project, name, settings, counts, oldest_waiting, next_start });
        }
        Ok(list)
    }

    pub(crate) async fn batch_page(
        &self,
        project: ProjectId,
        before: Option<BatchId>,
        limit: u32,
    ) -> Result<Page<BatchRecord, BatchId>> {
        let (before, only) = (before.map(|b| b.0), None::<i64>);
        let rows = self.read(crate::batch::READ, &[&project.0, &before, &only, &(cap(limit) + 1)]).await?;
        let rows = rows.iter().map(crate::batch::record).collect::<Result<Vec<_>>>()?;
        Ok(page(rows, cap(limit), |b| b.id))
    }

    pub(crate) async fn batch(&self, project: ProjectId, id: BatchId) -> Result<Option<BatchRecord>> {
        let rows = self.read(crate::batch::READ, &[&project.0, &None::<i64>, &Some(id.0), &1i64]).await?;
        rows.first().map(crate::batch::record).transpose()
    }

    pub(crate) async fn counts(&self, project: ProjectId) -> Result<Vec<(String, String, JobState, u64)>> {
        let rows = self
            .read(
                "SELECT r.queue, r.kind, c.state, sum(c.n)::bigint
                 FROM routes r JOIN counters c ON c.route = r.id WHERE r.project = $1
                 GROUP BY r.queue, r.kind, c.state HAVING sum(c.n) > 0
                 ORDER BY r.queue COLLATE \"C\", r.kind COLLATE \"C\", c.state",
                &[&project.0],
            )
            .await?;
        rows.iter()
            .map(|row| {
                let state = rows::code(row.get(2), JobState::from_code)?;
                Ok((row.get(0), row.get(1), state, row.get::<_, i64>(3) as u64))
            })
            .collect()
    }

    pub(crate) async fn rollups(
        &self,
        project: ProjectId,
        from: i64,
        until: i64,
        group: GroupBy,
        by_time: bool,
    ) -> Result<Vec<RollupRow>> {
        let group: i16 = match group {
            GroupBy::Kind => 0,
            GroupBy::Queue => 1,
            GroupBy::Schedule => 2,
            GroupBy::Nothing => 3,
        };
        let rows = self.read(ROLLUPS, &[&project.0, &from, &until, &group, &by_time]).await?;
        let mut list = rows
            .iter()
            .map(|row| {
                Ok(RollupRow {
                    name: row.get(0),
                    minute: row.get(1),
                    outcome: rows::code(row.get(2), AttemptOutcome::from_code)?,
                    bucket: row.get(3),
                    sum: RollupSum {
                        count: row.get::<_, i64>(4) as u64,
                        total_us: row.get::<_, i64>(5) as u64,
                    },
                })
            })
            .collect::<Result<Vec<_>>>()?;
        list.sort_by(|a, b| {
            (&a.name, a.minute, a.outcome, a.bucket).cmp(&(&b.name, b.minute, b.outcome, b.bucket))
        });
        Ok(list)
    }

    pub(crate) async fn recents(&self, project: ProjectId) -> Result<Vec<(Scope, Recent)>> {
        let rows = self
            .read(
                "SELECT scope, name, entries FROM recents WHERE project = $1 ORDER BY scope, name, shard",
                &[&project.0],
            )
            .await?;
        let mut scopes = BTreeMap::<Scope, Recent>::new();
        for row in &rows {
            let name: &str = row.get(1);
            let scope = match row.get::<_, i16>(0) {
                0 => Scope::Kind(name.into()),
                1 => Scope::Queue(name.into()),
                _ => Scope::Schedule(name.parse().map_err(|e| rows::json_text("a recent outcome", e))?),
            };
            let mut entries = Vec::new();
            for entry in row.get::<_, Vec<i64>>(2) {
                let outcome = rows::code(entry.rem_euclid(8) as i16, AttemptOutcome::from_code)?;
                entries.push((entry.div_euclid(8), outcome));
            }
            scopes.entry(scope).or_default().merge(&Recent(entries));
        }
        Ok(scopes.into_iter().collect())
    }

    pub(crate) async fn running(&self, project: ProjectId, limit: u32) -> Result<Vec<JobRecord>> {
        let rows = self
            .read(
                select_jobs!(
                    "JOIN routes t ON t.id = j.route
                     WHERE j.id = ANY(ARRAY(SELECT job FROM leases)) AND r.job IS NOT NULL AND t.project = $1
                     ORDER BY r.started_at, r.job LIMIT $2"
                ),
                &[&project.0, &cap(limit)],
            )
            .await?;
        let mut list = Vec::with_capacity(rows.len());
        for row in &rows {
            list.push(rows::job(self, row).await?);
        }
        Ok(list)
    }
}

/// The attempt that has no row: a first one that succeeded, or the open one.
fn told_by_the_job(r: &JobRecord) -> Option<Attempt> {
    let first_success =
        r.attempt == 1 && r.state == JobState::Completed && r.outcome == Some(AttemptOutcome::Succeeded);
    if first_success {
        return Some(Attempt {
            number: 1,
            node: r.node,
            started_at: r.started_at.unwrap_or(r.created_at),
            finished_at: r.finished_at,
            outcome: r.outcome,
            error: None,
        });
    }
    let (JobState::Running, Some(started_at)) = (r.state, r.started_at) else { return None };
    Some(Attempt {
        number: r.attempt,
        node: r.node,
        started_at,
        finished_at: None,
        outcome: None,
        error: None,
    })
}
