//! Jobs: what waits, runs and has run; one with its attempts, steps and the reason why it stands
//! where it stands; its log; cancel and retry, of one and of many.

pub mod api;
pub mod pages;

use crate::access::{Caller, Right};
use crate::listing::{self, Page};
use crate::problem::{Problem, Result};
use jiff::Timestamp;
use mainspring::explain::{Explanation, explain};
use mainspring_core::ids::{BatchId, JobId, ScheduleId};
use mainspring_core::job::{
    Attempt, AttemptOutcome, ErrorRecord, JobRecord, JobState, LogLevel, LogLine, Origin, Progress,
};
use mainspring_core::retry::RetryPolicy;
use mainspring_core::store::{Bulk, JobFilter};
use mainspring_core::{Json, limits, node, time};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Jobs one bulk call changes unless it names another cap.
pub const BULK: u32 = 1_000;
/// Jobs one bulk call changes at most.
pub const BULK_MOST: u32 = 10_000;
/// Steps of one bulk call; what is left is for the next.
const BULK_STEPS: usize = 100;

/// Which jobs a listing shows. All given conditions hold together.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct JobQuery {
    /// States, separated by commas: `scheduled`, `available`, `running`, `completed`, `cancelled`, `failed`.
    pub state: Option<String>,
    /// The kind's name.
    pub kind: Option<String>,
    /// The queue's name.
    pub queue: Option<String>,
    /// The schedule's name.
    pub schedule: Option<String>,
    /// The batch's number.
    pub batch: Option<String>,
    /// The concurrency key.
    pub key: Option<String>,
    /// The class of the last error.
    pub error: Option<String>,
    /// Enqueued at or after this instant.
    pub created_from: Option<String>,
    /// Enqueued before this instant.
    pub created_until: Option<String>,
    /// Where the page begins: `next` of the page before.
    pub cursor: Option<String>,
    /// Rows of the page, 1 to 1,000; 50 if absent.
    pub limit: Option<String>,
}

impl JobQuery {
    /// The store's filter. A schedule that is not there is refused as not found.
    pub async fn filter(&self, caller: &Caller) -> Result<JobFilter> {
        let own = |field, text| Ok::<_, Problem>(listing::given(field, text)?.map(str::to_owned));
        let mut states = Vec::new();
        for word in listing::given("state", &self.state)?.unwrap_or_default().split(',').map(str::trim) {
            if !word.is_empty() {
                states.push(word.parse().map_err(|e: String| Problem::invalid("state", e))?);
            }
        }
        let schedule = match listing::given("schedule", &self.schedule)? {
            Some(name) => Some(schedule_id(caller, name).await?),
            None => None,
        };
        Ok(JobFilter {
            ids: vec![],
            states,
            kind: own("kind", &self.kind)?,
            queue: own("queue", &self.queue)?,
            schedule,
            batch: listing::read::<BatchId>("batch", &self.batch)?,
            key: own("key", &self.key)?,
            error_class: own("error", &self.error)?,
            created_from: listing::instant("created_from", &self.created_from)?,
            created_until: listing::instant("created_until", &self.created_until)?,
        })
    }
}

async fn schedule_id(caller: &Caller, name: &str) -> Result<ScheduleId> {
    let found = caller.client().store().schedule(caller.project_id(), name).await?;
    found.map(|record| record.id).ok_or_else(|| Problem::not_found("schedule", name))
}

/// A job as listings show it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct JobView {
    /// Its number.
    pub id: i64,
    /// The handler's name.
    pub kind: String,
    /// Its lane.
    pub queue: String,
    /// `scheduled`, `available`, `running`, `completed`, `cancelled`, `failed`.
    #[schema(value_type = String)]
    pub state: JobState,
    /// Whether it waits for another attempt.
    pub retrying: bool,
    /// Why it stands there, when there is more to say.
    pub reason: Option<String>,
    /// 0 first, 9 last.
    pub priority: u8,
    /// What made it: `enqueue`, `fire`, `manual`, `backfill`, `follow_up`.
    #[schema(value_type = String)]
    pub origin: Origin,
    /// The last attempt's number; 0 before the first.
    pub attempt: u32,
    /// Attempts in all, those given back included.
    pub max_attempts: u32,
    /// How the last finished attempt ended.
    #[schema(value_type = Option<String>)]
    pub outcome: Option<AttemptOutcome>,
    /// When it was enqueued.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it is or was due.
    #[schema(value_type = String, format = DateTime)]
    pub run_at: Timestamp,
    /// When its last attempt began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it became final.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// How long its last attempt took in milliseconds; absent while it runs.
    pub took_ms: Option<u64>,
    /// The number of the node that holds or held its last attempt.
    pub node: Option<String>,
    /// Its concurrency key.
    pub key: Option<String>,
    /// Held back because its key is at its limit.
    pub held: bool,
    /// Its unique key.
    pub unique: Option<String>,
    /// Its batch.
    pub batch: Option<i64>,
    /// The name of the schedule that made it, if that is still there.
    pub schedule: Option<String>,
    /// Its nominal fire.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub scheduled_for: Option<Timestamp>,
    /// Somebody asked for its end while it ran.
    pub cancel_requested: bool,
    /// The last error: `class`, `message`, `chain`.
    #[schema(value_type = Option<Object>)]
    pub error: Option<ErrorRecord>,
}

impl JobView {
    fn of(job: &JobRecord, schedules: &BTreeMap<ScheduleId, String>) -> JobView {
        let took = job.started_at.zip(job.finished_at).map(|(from, to)| time::since(from, to));
        JobView {
            id: job.id.0,
            kind: job.kind.to_string(),
            queue: job.queue.to_string(),
            state: job.state,
            retrying: job.state == JobState::Scheduled && job.attempt > 0,
            reason: job.reason.clone(),
            priority: job.priority,
            origin: job.origin,
            attempt: job.attempt,
            max_attempts: job.max_attempts.saturating_add(job.raised),
            outcome: job.outcome,
            created_at: job.created_at,
            run_at: job.run_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            took_ms: took.map(|d| d.as_millis() as u64),
            node: job.node.map(|id| id.to_string()),
            key: job.key.as_deref().map(str::to_owned),
            held: job.held,
            unique: job.unique.clone(),
            batch: job.batch.map(|id| id.0),
            schedule: job.schedule.and_then(|id| schedules.get(&id).cloned()),
            scheduled_for: job.scheduled_for,
            cancel_requested: job.cancel_requested,
            error: job.error.clone(),
        }
    }

    /// How long its last attempt took.
    pub fn took(&self) -> Option<Duration> {
        self.took_ms.map(Duration::from_millis)
    }
}

/// One attempt.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct AttemptView {
    /// From 1.
    pub number: u32,
    /// The number of the node that ran it.
    pub node: Option<String>,
    /// When it was claimed.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it ended; absent while it runs.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// How it ended.
    #[schema(value_type = Option<String>)]
    pub outcome: Option<AttemptOutcome>,
    /// What went wrong.
    #[schema(value_type = Option<Object>)]
    pub error: Option<ErrorRecord>,
}

impl From<Attempt> for AttemptView {
    fn from(a: Attempt) -> AttemptView {
        AttemptView {
            number: a.number,
            node: a.node.map(|id| id.to_string()),
            started_at: a.started_at,
            finished_at: a.finished_at,
            outcome: a.outcome,
            error: a.error,
        }
    }
}

/// One remembered step.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct StepView {
    /// Its name.
    pub name: String,
    /// When it was done.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What it gave; absent without the right to see payloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub result: Option<Json>,
}

/// One job with all that belongs to it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct JobDetailView {
    /// What listings show.
    #[serde(flatten)]
    pub job: JobView,
    /// Workers that died with it.
    pub deaths: u32,
    /// Not started at or after this.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// Its own time limit: `30s`.
    #[serde(with = "mainspring_core::duration::human_option")]
    #[schema(value_type = Option<String>)]
    pub timeout: Option<Duration>,
    /// How often it is tried, and with which waits.
    #[schema(value_type = Object)]
    pub retry: RetryPolicy,
    /// Its attempts, from the first.
    pub attempts: Vec<AttemptView>,
    /// Its remembered steps, in the order in which they were done.
    pub steps: Vec<StepView>,
    /// How far it is: `done`, `total`, `note`.
    #[schema(value_type = Option<Object>)]
    pub progress: Option<Progress>,
    /// Why it stands where it stands: a `summary`, and `reasons` with a `word` each.
    #[schema(value_type = Option<Object>)]
    pub explain: Option<Explanation>,
    /// The handler's input; absent without the right to see payloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub payload: Option<Json>,
    /// What it gave, if anything; absent without the right to see payloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub output: Option<Json>,
    /// True when payload, output and step results were left out for want of the right.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub payload_hidden: bool,
}

/// One line of a job's log.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct LogView {
    /// The attempt.
    pub attempt: u32,
    /// From 0 within the attempt.
    pub seq: u32,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `debug`, `info`, `warn`, `error`.
    #[schema(value_type = String)]
    pub level: LogLevel,
    /// The text.
    pub message: String,
    /// Structured fields.
    #[schema(value_type = Option<serde_json::Value>)]
    pub fields: Option<Json>,
}

impl From<LogLine> for LogView {
    fn from(l: LogLine) -> LogView {
        LogView {
            attempt: l.attempt,
            seq: l.seq,
            at: l.at,
            level: l.level,
            message: l.message,
            fields: l.fields,
        }
    }
}

/// The names of the schedules of these jobs, as far as they are still there.
async fn schedule_names(caller: &Caller, jobs: &[JobRecord]) -> Result<BTreeMap<ScheduleId, String>> {
    let ids: BTreeSet<ScheduleId> = jobs.iter().filter_map(|job| job.schedule).collect();
    let mut names = BTreeMap::new();
    for id in ids {
        let found = caller.client().store().all_schedules(Some(ScheduleId(id.0 - 1)), 1).await?;
        let own = found.into_iter().find(|s| s.id == id && s.project == caller.project_id());
        names.extend(own.map(|s| (id, s.name)));
    }
    Ok(names)
}

/// Jobs of the filter, the newest first.
pub async fn list(
    caller: &Caller,
    filter: &JobFilter,
    cursor: Option<JobId>,
    limit: u32,
) -> Result<Page<JobView>> {
    let page = caller.client().store().jobs(caller.project_id(), filter, cursor, limit).await?;
    let names = schedule_names(caller, &page.rows).await?;
    Ok(Page::new(page.rows.iter().map(|job| JobView::of(job, &names)).collect(), page.next))
}

/// The page of jobs that an address asks for.
pub async fn asked(caller: &Caller, query: &JobQuery) -> Result<Page<JobView>> {
    let filter = query.filter(caller).await?;
    list(caller, &filter, listing::read("cursor", &query.cursor)?, listing::rows("limit", &query.limit)?)
        .await
}

/// Jobs by queue, kind and state. Counters, so that no row is counted.
pub async fn counts(caller: &Caller) -> Result<Vec<(String, String, JobState, u64)>> {
    Ok(caller.client().store().counts(caller.project_id()).await?)
}

/// The names of nodes by their numbers: who may read a job may know who ran it.
pub async fn node_names(caller: &Caller) -> Result<BTreeMap<String, String>> {
    let nodes = caller.client().store().nodes().await?;
    Ok(nodes.into_iter().map(|n| (n.info.id.to_string(), n.info.name)).collect())
}

/// One job. Payload, output and step results only for those who may see them.
pub async fn one(caller: &Caller, id: JobId) -> Result<JobDetailView> {
    let client = caller.client();
    let detail = client.job(id).await.map_err(|e| missing(id, e))?;
    let why = explain(&**client.store(), client.project(), id, client.now(), node::LEASE).await?;
    let names = schedule_names(caller, std::slice::from_ref(&detail.job)).await?;
    let shown = caller.has(Right::Payloads);
    let job = detail.job;
    Ok(JobDetailView {
        deaths: job.deaths,
        expires_at: job.expires_at,
        timeout: job.timeout,
        retry: job.retry.clone(),
        attempts: detail.attempts.into_iter().map(AttemptView::from).collect(),
        steps: detail
            .steps
            .into_iter()
            .map(|(name, result, at)| StepView { name, at, result: shown.then_some(result) })
            .collect(),
        progress: detail.progress,
        explain: why,
        payload: shown.then(|| job.payload.clone()),
        output: job.output.clone().filter(|_| shown),
        payload_hidden: !shown,
        job: JobView::of(&job, &names),
    })
}

fn missing(id: JobId, e: mainspring::ClientError) -> Problem {
    match e {
        mainspring::ClientError::Store(mainspring_core::StoreError::NotFound { .. }) => {
            Problem::not_found("job", id)
        }
        other => other.into(),
    }
}

/// Log lines after (attempt, seq), the oldest first; `next` is `attempt.seq` of the last line of a
/// full page. Whoever follows a log passes the last line's again. Takes the right to see payloads.
pub async fn logs(
    caller: &Caller,
    id: JobId,
    after: Option<(u32, u32)>,
    limit: u32,
) -> Result<Page<LogView>> {
    let client = caller.client();
    client.job(id).await.map_err(|e| missing(id, e))?;
    let lines = client.store().logs(client.project(), id, after, limit).await?;
    let full = lines.len() >= limit as usize;
    let next = lines.last().filter(|_| full).map(|l| format!("{}.{}", l.attempt, l.seq));
    Ok(Page::new(lines.into_iter().map(LogView::from).collect(), next))
}

/// What a bulk call does.
#[derive(Clone, Copy, Debug)]
pub enum Act<'a> {
    /// Ends them, with this reason.
    Cancel(&'a str),
    /// Runs them again.
    Retry,
}

/// What a bulk call did.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct BulkView {
    /// Jobs that were changed, or marked when they run.
    pub changed: u64,
    /// Where the next call goes on: pass it as `cursor`; null when through.
    pub next: Option<String>,
}

/// Does `act` to jobs of the filter, at most `most` of them.
pub async fn bulk(
    caller: &Caller,
    filter: &JobFilter,
    act: Act<'_>,
    mut after: Option<JobId>,
    most: u32,
) -> Result<BulkView> {
    let client = caller.client();
    let (store, project) = (client.store(), client.project());
    let mut changed = 0u64;
    for _ in 0..BULK_STEPS {
        let left = u64::from(most).saturating_sub(changed);
        if left == 0 {
            break;
        }
        let bulk = Bulk { filter, after, limit: left.min(limits::BATCH as u64) as u32 };
        let did = match act {
            Act::Cancel(reason) => {
                let reason = limits::cut(&reason.replace('\0', "\u{fffd}"), limits::NOTE);
                store.cancel_jobs(client.now(), project, bulk, &reason, &client.signature()).await?
            }
            Act::Retry => store.retry_jobs(client.now(), project, bulk, &client.signature()).await?,
        };
        changed += did.jobs.len() as u64;
        after = did.next;
        if after.is_none() {
            break;
        }
    }
    Ok(BulkView { changed, next: after.map(|id| id.to_string()) })
}
