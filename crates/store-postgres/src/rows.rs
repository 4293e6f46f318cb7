//! Rows to values and back: the one place that knows the order of the columns readers select.

use crate::Inner;
use crate::link::{Conn, Step};
use mainspring_core::error::Result;
use mainspring_core::job::{AttemptOutcome, ErrorRecord, Facts, JobRecord, JobState, NewJob, Origin, Unique};
use mainspring_core::json::Json;
use mainspring_core::retry::{Backoff, RetryPolicy};
use mainspring_core::{BatchId, JobId, NodeId, ScheduleId, StoreError, time};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::Duration;
use tokio_postgres::Row;

/// `SELECT` of jobs as [`job`] reads them, with the tables that tell where each stands; the rest of
/// the statement is given. A job without a row in any of them is available.
macro_rules! select_jobs {
    ($rest:literal) => {
        concat!(
            "SELECT j.id, j.route, j.created_at, j.run_at, j.priority, j.origin, j.max_attempts, j.payload,
                j.backoff, j.timeout, j.fail_timeouts, j.expires_at, j.key, j.uniq, j.batch, j.schedule,
                j.scheduled_for, j.raised, j.deaths,
                CASE WHEN d.job IS NOT NULL THEN d.state WHEN r.job IS NOT NULL THEN 2::smallint
                     WHEN s.job IS NOT NULL THEN 0::smallint ELSE 1::smallint END,
                h.job IS NOT NULL,
                coalesce(r.attempt, d.attempt, j.attempt, 0),
                CASE WHEN d.job IS NOT NULL THEN d.outcome ELSE j.outcome END,
                CASE WHEN d.job IS NOT NULL THEN d.started_at ELSE coalesce(r.started_at, j.started_at) END,
                d.finished_at,
                CASE WHEN d.job IS NOT NULL THEN d.node ELSE coalesce(r.node, j.node) END,
                CASE WHEN d.job IS NOT NULL THEN d.error_class ELSE j.error_class END,
                CASE WHEN d.job IS NOT NULL THEN d.error ELSE j.error END,
                d.reason, d.output,
                CASE WHEN d.job IS NOT NULL THEN d.cancel WHEN r.job IS NOT NULL THEN r.cancel
                     ELSE j.cancel END ",
            $crate::rows::from_jobs!(),
            $rest
        )
    };
}
pub(crate) use select_jobs;

/// The tables of [`select_jobs`].
macro_rules! from_jobs {
    () => {
        concat!("FROM jobs j ", $crate::rows::places_of_jobs!())
    };
}
pub(crate) use from_jobs;

/// Where a job `j` stands. Looked up row by row, whatever statistics say of tables that were empty
/// when they were last looked at: OFFSET 0 keeps the planner from turning the look-up around.
macro_rules! places_of_jobs {
    () => {
        "LEFT JOIN LATERAL (SELECT * FROM done WHERE job = j.id OFFSET 0) d ON true
         LEFT JOIN LATERAL (SELECT * FROM leases WHERE job = j.id AND block = j.id / 128 OFFSET 0) r ON true
         LEFT JOIN LATERAL (SELECT job FROM scheduled WHERE run_at = j.run_at AND job = j.id OFFSET 0) s ON true
         LEFT JOIN LATERAL (
             SELECT job FROM held WHERE key_id = j.key_id AND ord = j.ord AND job = j.id OFFSET 0) h ON true "
    };
}
pub(crate) use places_of_jobs;

/// A value of a stored number.
pub(crate) fn code<T>(n: i16, read: impl Fn(i64) -> Option<T>) -> Result<T> {
    read(n.into()).ok_or_else(|| StoreError::Internal(format!("number {n} in a row is not known here")))
}

pub(crate) fn json_text(what: &str, error: impl std::fmt::Display) -> StoreError {
    StoreError::Internal(format!("{what} in a row cannot be read: {error}"))
}

/// A back-off's text; the default has none.
pub(crate) fn backoff_text(backoff: &Backoff) -> Option<String> {
    (*backoff != Backoff::default())
        .then(|| serde_json::to_string(&ExactBackoff::of(backoff)).unwrap_or_default())
}

pub(crate) fn read_backoff(text: Option<&str>) -> Result<Backoff> {
    match text {
        None => Ok(Backoff::default()),
        Some(text) => serde_json::from_str::<ExactBackoff>(text)
            .map(ExactBackoff::into)
            .map_err(|e| json_text("a back-off", e)),
    }
}

/// A back-off to the microsecond: its human form would cut that to milliseconds.
#[derive(Serialize, Deserialize)]
enum ExactBackoff {
    Steps(Vec<u64>),
    Fixed(u64),
    Linear(u64, u64),
    Exponential(u64, u64),
}

impl ExactBackoff {
    fn of(backoff: &Backoff) -> ExactBackoff {
        let us = |d: &Duration| d.as_micros() as u64;
        match backoff {
            Backoff::Steps(list) => ExactBackoff::Steps(list.iter().map(us).collect()),
            Backoff::Fixed(d) => ExactBackoff::Fixed(us(d)),
            Backoff::Linear { step, max } => ExactBackoff::Linear(us(step), us(max)),
            Backoff::Exponential { base, max } => ExactBackoff::Exponential(us(base), us(max)),
        }
    }

    fn into(self) -> Backoff {
        let d = Duration::from_micros;
        match self {
            ExactBackoff::Steps(list) => Backoff::Steps(list.into_iter().map(d).collect()),
            ExactBackoff::Fixed(us) => Backoff::Fixed(d(us)),
            ExactBackoff::Linear(step, max) => Backoff::Linear { step: d(step), max: d(max) },
            ExactBackoff::Exponential(base, max) => Backoff::Exponential { base: d(base), max: d(max) },
        }
    }
}

/// An error's message and causes; its class has a column of its own.
pub(crate) fn error_text(error: &ErrorRecord) -> String {
    serde_json::to_string(&(&error.message, &error.chain)).unwrap_or_default()
}

pub(crate) fn read_error(class: Option<&str>, text: Option<&str>) -> Result<Option<ErrorRecord>> {
    let (Some(class), Some(text)) = (class, text) else { return Ok(None) };
    let (message, chain) = serde_json::from_str(text).map_err(|e| json_text("an error", e))?;
    Ok(Some(ErrorRecord { class: class.to_owned(), message, chain }))
}

pub(crate) fn outcome(n: Option<i16>) -> Result<Option<AttemptOutcome>> {
    n.map(|n| code(n, AttemptOutcome::from_code)).transpose()
}

fn micros(us: Option<i64>) -> Option<Duration> {
    us.map(|us| Duration::from_micros(us.max(0) as u64))
}

/// A count kept as a signed number.
pub(crate) fn count(n: Option<i32>) -> u32 {
    n.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

/// A job as [`select_jobs`] gives it.
pub(crate) async fn job(inner: &Inner, row: &Row) -> Result<JobRecord> {
    let route = inner.route_of(row.get(1)).await?;
    let at = |i: usize| row.get::<_, Option<i64>>(i).map(time::from_micros);
    let state = code(row.get(19), JobState::from_code)?;
    Ok(JobRecord {
        id: JobId(row.get(0)),
        project: route.project,
        kind: route.kind.clone(),
        queue: route.queue.clone(),
        state,
        reason: row.get(28),
        priority: row.get::<_, i16>(4) as u8,
        payload: Json::trusted(row.get::<_, String>(7)),
        origin: code(row.get(5), Origin::from_code)?,
        attempt: count(row.get(21)),
        max_attempts: count(row.get(6)),
        raised: count(row.get(17)),
        deaths: count(row.get(18)),
        outcome: outcome(row.get(22))?,
        created_at: time::from_micros(row.get(2)),
        run_at: time::from_micros(row.get(3)),
        started_at: at(23),
        finished_at: at(24),
        node: row.get::<_, Option<i64>>(25).map(NodeId),
        expires_at: at(11),
        timeout: micros(row.get(9)),
        retry: RetryPolicy {
            max_attempts: count(row.get(6)),
            backoff: read_backoff(row.get(8))?,
            retry_timeouts: !row.get::<_, Option<bool>>(10).unwrap_or(false),
        },
        key: row.get::<_, Option<&str>>(12).map(Into::into),
        held: row.get(20),
        unique: row.get(13),
        batch: row.get::<_, Option<i64>>(14).map(BatchId),
        schedule: row.get::<_, Option<i64>>(15).map(ScheduleId),
        scheduled_for: at(16),
        cancel_requested: row.get::<_, Option<bool>>(30).unwrap_or(false),
        error: read_error(row.get(26), row.get(27))?,
        output: row.get::<_, Option<String>>(29).map(Json::trusted),
    })
}

/// Columns of [`facts`], from `jobs j`.
macro_rules! facts_columns {
    () => {
        "j.id, j.max_attempts, j.raised, j.deaths, j.backoff, j.fail_timeouts"
    };
}
pub(crate) use facts_columns;

/// What the engine must know of an attempt: its columns begin at `first`.
pub(crate) fn facts(row: &Row, first: usize, attempt: i32, cancel: Option<bool>) -> Result<Facts> {
    Ok(Facts {
        job: JobId(row.get(first)),
        attempt: count(Some(attempt)),
        max_attempts: count(row.get(first + 1)),
        raised: count(row.get(first + 2)),
        deaths: count(row.get(first + 3)),
        backoff: read_backoff(row.get(first + 4))?,
        retry_timeouts: !row.get::<_, Option<bool>>(first + 5).unwrap_or(false),
        cancel_requested: cancel.unwrap_or(false),
    })
}

const STATES: &str = concat!(
    "SELECT j.id, CASE WHEN d.job IS NOT NULL THEN d.state WHEN r.job IS NOT NULL THEN 2::smallint
         WHEN s.job IS NOT NULL THEN 0::smallint ELSE 1::smallint END ",
    from_jobs!(),
    "WHERE j.id = ANY($1)"
);

/// Where jobs stand; those that are gone are missing.
pub(crate) async fn states(_: &Inner, conn: &Conn, ids: &[i64]) -> Step<HashMap<i64, JobState>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = conn.query(STATES, &[&ids]).await?;
    let mut states = HashMap::with_capacity(rows.len());
    for row in &rows {
        states.insert(row.get(0), code(row.get(1), JobState::from_code)?);
    }
    Ok(states)
}

/// A job to be, kept with its batch.
#[derive(Serialize, Deserialize)]
struct Kept {
    kind: String,
    queue: String,
    payload: String,
    priority: u8,
    run_at: Option<i64>,
    expires_at: Option<i64>,
    timeout: Option<u64>,
    max_attempts: u32,
    backoff: Option<String>,
    retry_timeouts: bool,
    key: Option<String>,
    key_limit: Option<u32>,
    unique: Option<(String, Option<u64>, u8)>,
    schedule: Option<(i64, Option<i64>)>,
}

pub(crate) fn new_job_text(job: &NewJob) -> String {
    let us = |d: Duration| d.as_micros() as u64;
    let kept = Kept {
        kind: job.kind.to_string(),
        queue: job.queue.to_string(),
        payload: job.payload.as_str().to_owned(),
        priority: job.priority,
        run_at: job.run_at.map(time::micros),
        expires_at: job.expires_at.map(time::micros),
        timeout: job.timeout.map(us),
        max_attempts: job.retry.max_attempts,
        backoff: backoff_text(&job.retry.backoff),
        retry_timeouts: job.retry.retry_timeouts,
        key: job.key.as_ref().map(ToString::to_string),
        key_limit: job.key_limit,
        unique: job.unique.as_ref().map(|u| (u.key.clone(), u.period.map(us), u.states.0)),
        schedule: job.schedule.map(|(id, at)| (id.0, at.map(time::micros))),
    };
    serde_json::to_string(&kept).unwrap_or_default()
}

/// The follow-up of a batch, as [`new_job_text`] kept it.
pub(crate) fn read_new_job(text: &str) -> Result<NewJob> {
    let kept: Kept = serde_json::from_str(text).map_err(|e| json_text("a follow-up", e))?;
    let mut job = NewJob::new(kept.kind, Json::trusted(kept.payload));
    job.queue = kept.queue.into();
    job.priority = kept.priority;
    job.run_at = kept.run_at.map(time::from_micros);
    job.expires_at = kept.expires_at.map(time::from_micros);
    job.timeout = kept.timeout.map(Duration::from_micros);
    job.retry = RetryPolicy {
        max_attempts: kept.max_attempts,
        backoff: read_backoff(kept.backoff.as_deref())?,
        retry_timeouts: kept.retry_timeouts,
    };
    job.key = kept.key.map(Into::into);
    job.key_limit = kept.key_limit;
    job.unique = kept.unique.map(|(key, period, states)| Unique {
        key,
        period: period.map(Duration::from_micros),
        states: mainspring_core::job::UniqueStates(states),
    });
    job.schedule = kept.schedule.map(|(id, at)| (ScheduleId(id), at.map(time::from_micros)));
    job.origin = Origin::FollowUp;
    Ok(job)
}

/// Text as PostgreSQL can keep it.
pub(crate) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follow_up_comes_back_as_it_went() {
        let mut job = NewJob::new("mail", Json::parse(r#"{"a":1}"#).unwrap());
        job.retry.backoff = Backoff::Steps(vec![Duration::from_micros(1_500), Duration::from_secs(2)]);
        job.retry.retry_timeouts = false;
        job.timeout = Some(Duration::from_micros(7));
        job.key = Some("k".into());
        job.key_limit = Some(2);
        job.unique = Some(Unique {
            key: "u".into(),
            period: Some(Duration::from_secs(9)),
            states: mainspring_core::job::UniqueStates::ANY,
        });
        job.schedule = Some((ScheduleId(3), Some(time::from_micros(5))));
        job.origin = Origin::FollowUp;
        assert_eq!(read_new_job(&new_job_text(&job)).unwrap(), job);
    }

    #[test]
    fn every_back_off_comes_back_to_the_microsecond() {
        let d = Duration::from_micros;
        for backoff in [
            Backoff::default(),
            Backoff::Fixed(d(1)),
            Backoff::Linear { step: d(3), max: d(1_000_001) },
            Backoff::Exponential { base: d(10), max: d(12_345_678) },
        ] {
            assert_eq!(read_backoff(backoff_text(&backoff).as_deref()).unwrap(), backoff);
        }
    }
}
