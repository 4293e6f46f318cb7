//! Schedules: the rules that fire, what becomes of their fires, what comes next.

pub mod api;
pub mod calendar;
pub mod pages;

use crate::access::{Caller, Right};
use crate::listing::Page;
use crate::problem::{Problem, Result};
use http::StatusCode;
use jiff::Timestamp;
use mainspring::stats::{Health, health};
use mainspring_core::code::Code;
use mainspring_core::cron::{MinuteLoad, lint};
use mainspring_core::ids::ScheduleId;
use mainspring_core::job::{AttemptOutcome, JobState};
use mainspring_core::plan::{PreviewFire, preview};
use mainspring_core::queue::Pause;
use mainspring_core::schedule::ScheduleSpec;
use mainspring_core::schedule_record::{FireOutcome, ScheduleRecord};
use mainspring_core::tally::{Recent, Scope};
use mainspring_core::time;
use mainspring_core::trigger::Trigger;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// How one of the last attempts ended.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct RecentView {
    /// When it ended.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// How.
    #[schema(value_type = String)]
    pub outcome: AttemptOutcome,
}

/// A schedule as both faces show it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ScheduleView {
    /// Its name.
    pub name: String,
    /// Its trigger as text: `0 2 * * *`, `every 5m`.
    pub trigger: String,
    /// The same in words.
    pub words: String,
    /// Its zone.
    pub zone: String,
    /// The kind of the job it makes.
    pub kind: String,
    /// The queue it names, if any.
    pub queue: Option<String>,
    /// Its next nominal fire.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_fire: Option<Timestamp>,
    /// The last nominal fire that made a job.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_fire: Option<Timestamp>,
    /// Fires that made a job.
    pub fires: u64,
    /// Who paused it, until when and why; null when it is not paused now.
    #[schema(value_type = Option<Object>)]
    pub paused: Option<Pause>,
    /// Who brought it: `config`, `cli`, `import`, `code`, `api`, `tour`.
    pub source: String,
    /// Rises with every change of the rule or the pause.
    pub version: i64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// How its last attempts ended, the oldest first, at most 50.
    pub recent: Vec<RecentView>,
    /// How it does, by those: `state`, `reasons`, `rate`.
    #[schema(value_type = Object)]
    pub health: Health,
    /// The whole rule; without `job.payload` for those who may not see payloads.
    #[schema(value_type = Object)]
    pub spec: Value,
    /// True when `job.payload` was left out for want of the right.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub payload_hidden: bool,
}

impl ScheduleView {
    fn of(record: ScheduleRecord, recent: Option<&Recent>, now: Timestamp, payloads: bool) -> ScheduleView {
        // A rule written by a newer program may be unreadable to this one; it is shown all the same.
        let known: Option<ScheduleSpec> = record.spec.to().ok();
        let mut spec = record.spec.value();
        if let Some(job) = spec.get_mut("job").and_then(Value::as_object_mut).filter(|_| !payloads) {
            job.remove("payload");
        }
        let none = Recent::default();
        let recent = recent.unwrap_or(&none);
        ScheduleView {
            trigger: known.as_ref().map(|s| s.trigger.to_string()).unwrap_or_default(),
            words: match &known {
                Some(s) => s.trigger.explain(&s.name),
                None => "this program cannot read the rule; a newer one wrote it".into(),
            },
            kind: known.as_ref().map(|s| s.job.kind.clone()).unwrap_or_default(),
            queue: known.and_then(|s| s.job.queue),
            health: health(recent, (0, 0)),
            recent: recent
                .0
                .iter()
                .map(|(at, outcome)| RecentView { at: time::from_micros(*at), outcome: *outcome })
                .collect(),
            paused: record.paused.filter(|p| p.holds(now)),
            name: record.name,
            zone: record.zone,
            next_fire: record.next_fire,
            last_fire: record.last_fire,
            fires: record.fires,
            source: record.source,
            version: record.version,
            created_at: record.created_at,
            updated_at: record.updated_at,
            spec,
            payload_hidden: !payloads,
        }
    }
}

async fn recents(caller: &Caller) -> Result<BTreeMap<ScheduleId, Recent>> {
    let all = caller.client().store().recents(caller.project_id()).await?;
    let own = all.into_iter().filter_map(|(scope, recent)| match scope {
        Scope::Schedule(id) => Some((id, recent)),
        _ => None,
    });
    Ok(own.collect())
}

/// Schedules by name, name > `after`.
pub async fn list(caller: &Caller, after: Option<&str>, limit: u32) -> Result<Page<ScheduleView>> {
    let client = caller.client();
    let page = client.store().schedules(client.project(), after, limit).await?;
    let (recents, now, payloads) = (recents(caller).await?, client.now(), caller.has(Right::Payloads));
    let view = |record: ScheduleRecord| {
        let recent = recents.get(&record.id);
        ScheduleView::of(record, recent, now, payloads)
    };
    Ok(Page::new(page.rows.into_iter().map(view).collect(), page.next))
}

/// One schedule.
pub async fn one(caller: &Caller, name: &str) -> Result<ScheduleView> {
    let record = record(caller, name).await?;
    let recents = recents(caller).await?;
    let recent = recents.get(&record.id);
    Ok(ScheduleView::of(record, recent, caller.client().now(), caller.has(Right::Payloads)))
}

async fn record(caller: &Caller, name: &str) -> Result<ScheduleRecord> {
    let found = caller.client().store().schedule(caller.project_id(), name).await?;
    found.ok_or_else(|| Problem::not_found("schedule", name))
}

/// What a rule would do.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PreviewView {
    /// The trigger in words.
    pub words: String,
    /// What may be wrong with it.
    pub warnings: Vec<String>,
    /// The next fires: `at`, `wall` (as its zone reads it), `note`, `runs`.
    #[schema(value_type = Vec<Object>)]
    pub fires: Vec<PreviewFire>,
}

/// The next `n` fires of a rule, saved or not.
pub fn preview_of(spec: &ScheduleSpec, now: Timestamp, n: usize) -> PreviewView {
    let expr = spec.trigger.cron(&spec.name);
    let warnings = expr.map(|e| lint(&e, &spec.zone, now, &MinuteLoad::default())).unwrap_or_default();
    PreviewView {
        words: spec.trigger.explain(&spec.name),
        warnings: warnings.into_iter().map(|w| w.text).collect(),
        fires: preview(spec, now, n),
    }
}

/// The next `n` fires of a schedule that is there.
pub async fn next(caller: &Caller, name: &str, n: usize) -> Result<PreviewView> {
    record(caller, name).await?;
    let (_, spec) = caller.client().schedule(name).await?;
    Ok(preview_of(&spec, caller.client().now(), n))
}

/// Reads a rule. Its trigger may be an object, or text as on the command line: `daily at 09:30`.
pub fn read_spec(name: &str, mut rule: Value) -> Result<ScheduleSpec> {
    let wrong = |field: &str, text: String| {
        let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, Code::BAD_SCHEDULE, text);
        problem.field = Some(field.to_owned());
        problem
    };
    let Some(fields) = rule.as_object_mut() else {
        return Err(wrong("spec", "a rule is a JSON object with `trigger` and `job`".into()));
    };
    match fields.get("name").and_then(Value::as_str) {
        Some(other) if other != name => {
            let text = format!("{other:?} is not the name in the address, {name:?}; leave it out");
            return Err(wrong("name", text));
        }
        _ => fields.insert("name".into(), name.into()),
    };
    if let Some(text) = fields.get("trigger").and_then(Value::as_str) {
        let trigger = Trigger::parse(text).map_err(|e| wrong("trigger", e))?;
        let tree = serde_json::to_value(trigger).map_err(|e| wrong("trigger", e.to_string()))?;
        fields.insert("trigger".into(), tree);
    }
    let spec: ScheduleSpec = serde_json::from_value(rule).map_err(|e| wrong("spec", e.to_string()))?;
    spec.check().map_err(|(field, text)| wrong(field, text))?;
    Ok(spec)
}

/// A fire that made a job.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct FireView {
    /// The nominal fire.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The job.
    pub job: i64,
    /// Where the job stands.
    #[schema(value_type = String)]
    pub state: JobState,
    /// Whether a backfill made it.
    pub backfill: bool,
}

/// Fires in a row that made no job.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct LedgerView {
    /// The first nominal fire.
    #[schema(value_type = String, format = DateTime)]
    pub first: Timestamp,
    /// The last one.
    #[schema(value_type = String, format = DateTime)]
    pub last: Timestamp,
    /// How many.
    pub count: u64,
    /// `coalesced`, `skipped`, `missed`.
    #[schema(value_type = String)]
    pub outcome: FireOutcome,
    /// Why.
    pub reason: String,
}

/// What became of the fires of a stretch of time.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct HistoryView {
    /// Fires that made a job, the oldest first.
    pub fires: Vec<FireView>,
    /// Fires that made none, the oldest first.
    pub ledger: Vec<LedgerView>,
}

/// What became of the fires in `[from, until)`, at most `limit` of each sort.
pub async fn history(
    caller: &Caller,
    name: &str,
    from: Timestamp,
    until: Timestamp,
    limit: u32,
) -> Result<HistoryView> {
    let id = record(caller, name).await?.id;
    let (store, project) = (caller.client().store(), caller.project_id());
    let fires = store.fires(project, id, from, until, limit).await?;
    let ledger = store.ledger(project, id, from, until, limit).await?;
    Ok(HistoryView {
        fires: fires
            .into_iter()
            .map(|(at, job, state, backfill)| FireView { at, job: job.0, state, backfill })
            .collect(),
        ledger: ledger
            .into_iter()
            .map(|r| LedgerView {
                first: r.first,
                last: r.last,
                count: r.count,
                outcome: r.outcome,
                reason: r.reason,
            })
            .collect(),
    })
}
