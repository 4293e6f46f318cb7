//! One schedule: its rule in words, its next fires, what became of the last ones, and what may be
//! done with it.

use super::super::{self as schedules, ScheduleView};
use super::list::{state, wall};
use crate::access::{Caller, Right};
use crate::frame::{self, Frame, segment};
use crate::problem::{Problem, Result};
use crate::state::Web;
use crate::views::chart::{self, Tick};
use crate::views::mark::{self, Mark};
use crate::views::{counted, length, pretty};
use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::response::Response;
use http::HeaderMap;
use jiff::Timestamp;
use jiff::civil::DateTime;
use mainspring_core::job::JobState;
use mainspring_core::plan::PreviewFire;
use mainspring_core::schedule_record::FireOutcome;
use mainspring_core::store::JobFilter;
use mainspring_core::zone::Zone;
use mainspring_core::{Json, duration, time};
use serde::Deserialize;
use std::time::Duration;

/// Rows of each part.
const ROWS: u32 = 20;
/// How far back the ledger is shown.
const BACK: Duration = Duration::from_secs(30 * 86_400);

struct JobRow {
    id: i64,
    mark: Mark,
    fire: String,
    at: Timestamp,
    took: String,
    note: String,
}

struct Lost {
    mark: Mark,
    when: String,
    text: String,
    at: Timestamp,
}

/// A fire to come, as its zone reads it.
pub struct Fire {
    /// When.
    pub at: Timestamp,
    /// `Sun 2026-11-22 02:30:00`.
    pub wall: String,
    /// What is special about it, and by how much the zone is off UTC.
    pub note: String,
    /// False for one that a clock change keeps from running.
    pub runs: bool,
}

/// Fires as the lists show them.
pub fn fires(all: Vec<PreviewFire>) -> Vec<Fire> {
    let fire = |f: PreviewFire| {
        let (wall, offset) = f.wall.rsplit_once(' ').unwrap_or((&f.wall, ""));
        let parts = [offset, f.note.as_deref().unwrap_or_default(), if f.runs { "" } else { "does not run" }];
        let parts: Vec<&str> = parts.into_iter().filter(|p| !p.is_empty() && *p != "+00:00").collect();
        Fire { at: f.at, wall: wall.to_owned(), note: parts.join(" · "), runs: f.runs }
    };
    all.into_iter().map(fire).collect()
}

/// What a backfill would do.
struct Backfill {
    text: String,
    fires: Vec<(String, String)>,
    to_run: usize,
}

#[derive(Template)]
#[template(path = "schedule.html")]
struct Page {
    frame: Frame,
    s: ScheduleView,
    path: String,
    mark: Mark,
    strip: Vec<Tick>,
    strip_words: String,
    warnings: Vec<String>,
    fires: Vec<Fire>,
    jobs: Vec<JobRow>,
    lost: Vec<Lost>,
    facts: Vec<(&'static str, String)>,
    rule: String,
    asked: Asked,
    backfill: Option<Backfill>,
    problem: Option<String>,
}

/// The range of a backfill.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    from: String,
    until: String,
}

/// One schedule.
pub async fn show(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Path((_, name)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let frame = Frame::of(&web, &headers, &name, "schedules", &caller)?;
    let now = web.now();
    let s = schedules::one(&caller, &name).await?;
    // A rule that a newer program wrote has no fires that this one could tell.
    let next = schedules::next(&caller, &name, 10).await.ok();
    let (mut backfill, mut problem) = (None, None);
    if !asked.from.is_empty() {
        match preview(&caller, &name, &s.zone, &asked).await {
            Ok(found) => backfill = Some(found),
            Err(p) if p.status < 500 => problem = Some(p.detail),
            Err(p) => return Err(p),
        }
    }
    let outcomes: Vec<_> = s.recent.iter().map(|r| r.outcome).collect();
    let (strip, strip_words) = chart::strip(&outcomes);
    let (warnings, next) = next.map(|n| (n.warnings, n.fires)).unwrap_or_default();
    let page = Page {
        path: segment(&name),
        mark: state(&s, now),
        jobs: jobs(&caller, &name, &s.zone, now).await?,
        lost: lost(&caller, &name, &s.zone, now).await?,
        facts: facts(&s),
        rule: Json::of(&s.spec).map(|j| pretty(&j)).unwrap_or_default(),
        strip,
        strip_words,
        warnings,
        fires: fires(next),
        asked,
        backfill,
        problem,
        s,
        frame,
    };
    frame::page(&page)
}

async fn jobs(caller: &Caller, name: &str, zone: &str, now: Timestamp) -> Result<Vec<JobRow>> {
    let (store, project) = (caller.client().store(), caller.project_id());
    let Some(record) = store.schedule(project, name).await? else { return Ok(vec![]) };
    let filter = JobFilter { schedule: Some(record.id), ..JobFilter::default() };
    let page = crate::jobs::list(caller, &filter, None, ROWS).await?;
    let row = |job: crate::jobs::JobView| {
        let end = job.finished_at.unwrap_or(now);
        let late = job.scheduled_for.zip(job.started_at).map(|(due, began)| time::since(due, began));
        let late = late.filter(|d| *d > Duration::from_secs(5)).map(|d| format!("began {} late", length(&d)));
        let error = job.error.as_ref().map(|e| crate::views::brief(&e.message, 120));
        JobRow {
            id: job.id,
            mark: mark::job(&job),
            fire: job.scheduled_for.map_or("by hand".into(), |at| wall(zone, at)),
            at: job.started_at.unwrap_or(job.run_at),
            took: job.started_at.map_or("–".into(), |from| length(&time::since(from, end))),
            note: error.or(late).unwrap_or_default(),
        }
    };
    Ok(page.items.into_iter().map(row).collect())
}

async fn lost(caller: &Caller, name: &str, zone: &str, now: Timestamp) -> Result<Vec<Lost>> {
    let history = schedules::history(caller, name, time::minus(now, BACK), now, 1000).await?;
    let row = |l: schedules::LedgerView| Lost {
        mark: match l.outcome {
            FireOutcome::Missed => mark::mark("is-warn", "late", "Missed"),
            FireOutcome::Skipped => mark::mark("is-idle", "skip", "Skipped"),
            FireOutcome::Coalesced => mark::mark("is-idle", "batch", "Joined"),
        },
        when: if l.count > 1 {
            format!("{} to {}", wall(zone, l.first), wall(zone, l.last))
        } else {
            wall(zone, l.first)
        },
        text: if l.count > 1 {
            format!("{}: {}", counted(l.count, "fire", "fires"), l.reason)
        } else {
            l.reason
        },
        at: l.last,
    };
    Ok(history.ledger.into_iter().rev().take(ROWS as usize).map(row).collect())
}

fn facts(s: &ScheduleView) -> Vec<(&'static str, String)> {
    let text = |path: &str| s.spec.pointer(path).and_then(serde_json::Value::as_str).map(str::to_owned);
    let mut facts = vec![("Rule", s.trigger.clone()), ("Zone", s.zone.clone()), ("Kind", s.kind.clone())];
    facts.extend(s.queue.clone().map(|q| ("Queue", q)));
    facts.extend(text("/overlap").map(|o| ("If one still runs", o.replace('_', " "))));
    facts.extend(text("/clock_change").map(|o| ("Clock change", o)));
    facts.push(("Fires so far", crate::views::number(&s.fires)));
    facts.extend(s.last_fire.map(|at| ("Last fire", wall(&s.zone, at))));
    facts.push(("Brought by", s.source.clone()));
    facts.push(("Changed", crate::views::instant(&s.updated_at)));
    facts
}

/// `2026-11-22T10:00` as the schedule's zone means it, or a whole instant.
fn moment(field: &str, text: &str, zone: &str) -> Result<Timestamp> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let wrong = || Problem::invalid(field, format!("{text:?} is not a time; type 2026-11-22T10:00"));
    let wall: DateTime = text.parse().map_err(|_| wrong())?;
    let zone = Zone::get(zone).map_err(|e| Problem::invalid(field, e.to_string()))?;
    wall.to_zoned(zone.tz().clone()).map(|z| z.timestamp()).map_err(|_| wrong())
}

fn range(zone: &str, asked: &Asked, now: Timestamp) -> Result<(Timestamp, Timestamp)> {
    let from = moment("from", &asked.from, zone)?;
    let until = if asked.until.is_empty() { now } else { moment("until", &asked.until, zone)? };
    Ok((from, until))
}

async fn preview(caller: &Caller, name: &str, zone: &str, asked: &Asked) -> Result<Backfill> {
    let (from, until) = range(zone, asked, caller.client().now())?;
    let seen = caller.client().backfill_preview(name, from, until, &[JobState::Failed]).await?;
    let say = |f: &mainspring::client::BackfillFire| match (&f.ran, &f.skipped) {
        (Some((job, state)), _) => format!("has run: job {job}, {state}"),
        (_, Some(why)) => why.clone(),
        _ => "would run".into(),
    };
    let of = seen.fires.len() as u64;
    Ok(Backfill {
        text: format!(
            "{} of {} would run; what has run is passed over, what failed runs again.",
            counted(seen.to_run as u64, "fire", "fires"),
            of
        ),
        fires: seen.fires.iter().take(50).map(|f| (wall(zone, f.at), say(f))).collect(),
        to_run: seen.to_run,
    })
}

fn back(web: &Web, project: &str, name: &str) -> Response {
    frame::redirect(web, &format!("/p/{}/schedules/{}", segment(project), segment(name)))
}

/// How a pause is to be.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct PauseForm {
    note: String,
    /// For how long: `2h`; until somebody resumes it if empty.
    length: String,
    back: String,
}

/// The end of a pause that lasts so long; none if nothing was typed.
pub fn ends(length: &str, now: Timestamp) -> Result<Option<Timestamp>> {
    if length.trim().is_empty() {
        return Ok(None);
    }
    let length = duration::parse(length.trim()).map_err(|e| Problem::invalid("length", e))?;
    Ok(Some(time::plus(now, length)))
}

/// Keeps it from firing.
pub async fn pause(
    State(web): State<Web>,
    caller: Caller,
    Path((project, name)): Path<(String, String)>,
    Form(form): Form<PauseForm>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    let note = Some(form.note.trim()).filter(|n| !n.is_empty());
    caller.client().pause_schedule(&name, ends(&form.length, web.now())?, note).await?;
    Ok(after(&web, &project, &name, &form.back))
}

/// Where a deed began.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct BackForm {
    back: String,
}

fn after(web: &Web, project: &str, name: &str, place: &str) -> Response {
    match place {
        "list" => frame::redirect(web, &format!("/p/{}/schedules", segment(project))),
        _ => back(web, project, name),
    }
}

/// Lets it fire again.
pub async fn resume(
    State(web): State<Web>,
    caller: Caller,
    Path((project, name)): Path<(String, String)>,
    Form(form): Form<BackForm>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    caller.client().resume_schedule(&name).await?;
    Ok(after(&web, &project, &name, &form.back))
}

/// Runs its job now and shows that job.
pub async fn run(
    State(web): State<Web>,
    caller: Caller,
    Path((project, name)): Path<(String, String)>,
) -> Result<Response> {
    caller.may(Right::Run)?;
    let made = caller.client().run_now(&name).await?;
    Ok(frame::redirect(&web, &format!("/p/{}/jobs/{}", segment(&project), made.id)))
}

/// Deletes it; its jobs stay.
pub async fn delete(
    State(web): State<Web>,
    caller: Caller,
    Path((project, name)): Path<(String, String)>,
) -> Result<Response> {
    caller.may(Right::Change)?;
    caller.client().delete_schedule(&name).await?;
    Ok(frame::redirect(&web, &format!("/p/{}/schedules", segment(&project))))
}

/// Makes the jobs of past fires that did not run and shows their batch.
pub async fn backfill(
    State(web): State<Web>,
    caller: Caller,
    Path((project, name)): Path<(String, String)>,
    Form(asked): Form<Asked>,
) -> Result<Response> {
    caller.may(Right::Run)?;
    let s = schedules::one(&caller, &name).await?;
    let (from, until) = range(&s.zone, &asked, web.now())?;
    match caller.client().backfill(&name, from, until, &[JobState::Failed]).await? {
        Some((batch, _)) => Ok(frame::redirect(&web, &format!("/p/{}/batches/{batch}", segment(&project)))),
        None => Ok(back(&web, &project, &name)),
    }
}

impl Page {
    /// What does the same from a terminal.
    fn command(&self, verb: &str) -> String {
        let name = &self.s.name;
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        if plain {
            format!("mainspring schedule {verb} {name}")
        } else {
            format!("mainspring schedule {verb} '{}'", name.replace('\'', "'\\''"))
        }
    }
}
