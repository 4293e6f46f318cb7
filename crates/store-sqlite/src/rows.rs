//! A job's row, to and fro.

use crate::schema;
use crate::tx::{Done, Fault};
use mainspring_core::batch::BatchRecord;
use mainspring_core::ids::{BatchId, JobId, NodeId, ProjectId, ScheduleId};
use mainspring_core::job::{AttemptOutcome, ErrorRecord, Facts, JobRecord, NewJob, Origin};
use mainspring_core::json::Json;
use mainspring_core::retry::RetryPolicy;
use mainspring_core::{StoreError, time};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// What [`Row::read`] expects, in order, of a table called `j`.
macro_rules! row_columns {
    () => {
        "j.id, j.st, j.route, j.priority, j.flags, j.attempt, j.raised, j.deaths, j.origin, j.outcome, \
         j.ord, j.run_at, j.created_at, j.started_at, j.finished_at, j.node, j.expires_at, j.batch, \
         j.schedule, j.scheduled_for, j.key, j.options"
    };
}
pub(crate) use row_columns;

/// How many columns [`Row::read`] takes.
pub(crate) const ROW_COLUMNS: usize = 22;

/// A job's columns as stored, all but the payload.
pub(crate) struct Row {
    pub id: i64,
    pub st: i64,
    pub route: i64,
    pub priority: u8,
    pub flags: i64,
    pub attempt: u32,
    pub raised: u32,
    pub deaths: u32,
    pub origin: i64,
    pub outcome: Option<i64>,
    pub ord: i64,
    pub run_at: i64,
    pub created_at: i64,
    pub started_at: i64,
    pub finished_at: i64,
    pub node: i64,
    pub expires_at: Option<i64>,
    pub batch: Option<i64>,
    pub schedule: Option<i64>,
    pub scheduled_for: Option<i64>,
    pub key: Option<Arc<str>>,
    pub options: Option<String>,
}

impl Row {
    /// Reads the columns of [`row_columns`].
    pub fn read(r: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
        Ok(Row {
            id: r.get(0)?,
            st: r.get(1)?,
            route: r.get(2)?,
            priority: r.get(3)?,
            flags: r.get(4)?,
            attempt: r.get(5)?,
            raised: r.get(6)?,
            deaths: r.get(7)?,
            origin: r.get(8)?,
            outcome: r.get(9)?,
            ord: r.get(10)?,
            run_at: r.get(11)?,
            created_at: r.get(12)?,
            started_at: r.get(13)?,
            finished_at: r.get(14)?,
            node: r.get(15)?,
            expires_at: r.get(16)?,
            batch: r.get(17)?,
            schedule: r.get(18)?,
            scheduled_for: r.get(19)?,
            key: r.get(20)?,
            options: r.get(21)?,
        })
    }

    /// The job's row, if it is there.
    pub fn load(conn: &Connection, id: i64) -> rusqlite::Result<Option<Row>> {
        conn.prepare_cached(concat!("SELECT ", row_columns!(), " FROM jobs j WHERE id = ?1"))?
            .query_row([id], Row::read)
            .optional()
    }

    /// Writes what can change in a job's life.
    pub fn save(&self, conn: &Connection) -> rusqlite::Result<()> {
        conn.prepare_cached(
            "UPDATE jobs SET st = ?2, flags = ?3, attempt = ?4, raised = ?5, deaths = ?6, outcome = ?7,
                ord = ?8, run_at = ?9, started_at = ?10, finished_at = ?11, node = ?12
             WHERE id = ?1",
        )?
        .execute(params![
            self.id,
            self.st,
            self.flags,
            self.attempt,
            self.raised,
            self.deaths,
            self.outcome,
            self.ord,
            self.run_at,
            self.started_at,
            self.finished_at,
            self.node
        ])?;
        Ok(())
    }

    /// Its place in the cache's routes.
    pub fn route_ix(&self) -> usize {
        self.route as usize - 1
    }

    /// The batch that counts it. A batch's follow-up belongs to it but is not counted.
    pub fn counted_in(&self) -> Option<i64> {
        self.batch.filter(|_| self.origin != i64::from(Origin::FollowUp.code()))
    }

    /// What [`mainspring_core::decide::decide`] needs.
    pub fn facts(&self, options: &JobOptions) -> Facts {
        let retry = options.retry();
        Facts {
            job: JobId(self.id),
            attempt: self.attempt,
            max_attempts: retry.max_attempts,
            raised: self.raised,
            deaths: self.deaths,
            backoff: retry.backoff,
            retry_timeouts: retry.retry_timeouts,
            cancel_requested: self.flags & schema::CANCEL != 0,
        }
    }
}

/// What few jobs have and what never changes: one column of JSON, absent when all is default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobOptions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout_us: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry: Option<RetryPolicy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<String>,
}

impl JobOptions {
    /// The stored form of a new job's options.
    pub fn of(job: &NewJob, default: &RetryPolicy) -> Option<String> {
        if job.timeout.is_none() && job.key_limit.is_none() && job.unique.is_none() && job.retry == *default {
            return None;
        }
        let options = JobOptions {
            timeout_us: job.timeout.map(|t| u64::try_from(t.as_micros()).unwrap_or(u64::MAX)),
            retry: (job.retry != *default).then(|| job.retry.clone()),
            key_limit: job.key_limit,
            unique: job.unique.as_ref().map(|u| u.key.clone()),
        };
        // Plain numbers and texts: JSON can hold them.
        serde_json::to_string(&options).ok()
    }

    /// Reads the stored form.
    pub fn parse(text: Option<&str>) -> Done<JobOptions> {
        match text {
            None => Ok(JobOptions::default()),
            Some(text) => parse("a job's options", text),
        }
    }

    /// The policy, the default when nothing else was said.
    pub fn retry(&self) -> RetryPolicy {
        self.retry.clone().unwrap_or_default()
    }

    /// The job's own time limit.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_us.map(Duration::from_micros)
    }
}

/// JSON that this program wrote.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Done<T> {
    serde_json::from_str(text)
        .map_err(|e| Fault::Refused(StoreError::Damaged(format!("{what} cannot be read: {e}"))))
}

/// A stored code.
pub(crate) fn code<T>(what: &str, code: i64, from: impl Fn(i64) -> Option<T>) -> Done<T> {
    from(code)
        .ok_or_else(|| Fault::Refused(StoreError::Damaged(format!("{what} has the unknown code {code}"))))
}

/// What [`job_record`] expects after the row's own columns, and where from.
macro_rules! record_sql {
    ($rest:expr) => {
        concat!(
            "SELECT ",
            $crate::rows::row_columns!(),
            ", j.payload, q.project, q.name, r.kind, x.reason, x.error, x.output \
             FROM jobs j JOIN routes r ON r.id = j.route JOIN queues q ON q.id = r.queue \
             LEFT JOIN results x ON x.job = j.id ",
            $rest
        )
    };
}
pub(crate) use record_sql;

/// A job as readers see it.
pub(crate) fn job_record(r: &rusqlite::Row<'_>) -> Done<JobRecord> {
    let row = Row::read(r)?;
    let at = |n: usize| ROW_COLUMNS + n;
    let options = JobOptions::parse(row.options.as_deref())?;
    let error: Option<String> = r.get(at(5))?;
    let outcome = row.outcome.map(|c| code("a job's outcome", c, AttemptOutcome::from_code)).transpose()?;
    let retry = options.retry();
    Ok(JobRecord {
        id: JobId(row.id),
        project: ProjectId(r.get(at(1))?),
        kind: r.get(at(3))?,
        queue: r.get(at(2))?,
        state: code("a job's state", row.st, schema::state)?,
        reason: r.get(at(4))?,
        priority: row.priority,
        payload: json(r.get(at(0))?),
        origin: code("a job's origin", row.origin, Origin::from_code)?,
        attempt: row.attempt,
        max_attempts: retry.max_attempts,
        raised: row.raised,
        deaths: row.deaths,
        outcome,
        created_at: time::from_micros(row.created_at),
        run_at: time::from_micros(row.run_at),
        started_at: schema::instant(row.started_at),
        finished_at: schema::instant(row.finished_at),
        node: (row.node != schema::ABSENT).then_some(NodeId(row.node)),
        expires_at: row.expires_at.map(time::from_micros),
        timeout: options.timeout(),
        retry,
        key: row.key,
        held: row.st == schema::HELD,
        unique: options.unique,
        batch: row.batch.map(BatchId),
        schedule: row.schedule.map(ScheduleId),
        scheduled_for: row.scheduled_for.map(time::from_micros),
        cancel_requested: row.flags & schema::CANCEL != 0,
        error: error.map(|e| parse::<ErrorRecord>("a job's error", &e)).transpose()?,
        output: r.get::<_, Option<String>>(at(6))?.map(json),
    })
}

/// Text that a store wrote itself.
pub(crate) fn json(text: String) -> Json {
    Json::trusted(text)
}

/// A batch's columns, in the order of [`batch_record`].
pub(crate) const BATCH_COLUMNS: &str = "id, project, name, state, sealed, total, succeeded, partial, failed, \
     cancelled, parent, follow_up, created_at, finished_at";

/// A batch as readers see it.
pub(crate) fn batch_record(r: &rusqlite::Row<'_>) -> Done<BatchRecord> {
    use mainspring_core::batch::{BatchCounts, BatchState};
    let n = |at: usize| r.get::<_, i64>(at).map(|n| n.max(0) as u64);
    Ok(BatchRecord {
        id: BatchId(r.get(0)?),
        project: ProjectId(r.get(1)?),
        name: r.get(2)?,
        state: code("a batch's state", r.get(3)?, BatchState::from_code)?,
        sealed: r.get(4)?,
        counts: BatchCounts {
            total: n(5)?,
            succeeded: n(6)?,
            partial: n(7)?,
            failed: n(8)?,
            cancelled: n(9)?,
        },
        parent: r.get::<_, Option<i64>>(10)?.map(JobId),
        follow_up: r.get::<_, Option<i64>>(11)?.map(JobId),
        created_at: time::from_micros(r.get(12)?),
        finished_at: r.get::<_, Option<i64>>(13)?.map(time::from_micros),
    })
}
