//! One job: why it is not running comes first, then what happened, then what it was given.

use crate::access::{Caller, Right};
use crate::frame::{self, Frame, segment};
use crate::jobs::{self, AttemptView, JobDetailView, JobView, LogView, StepView};
use crate::problem::{Problem, Result};
use crate::state::Web;
use crate::views::mark::{self, Mark};
use crate::views::{self, pretty};
use askama::Template;
use axum::extract::{Form, Path, State};
use axum::response::Response;
use http::HeaderMap;
use jiff::Timestamp;
use mainspring::explain::Explanation;
use mainspring_core::ids::JobId;
use mainspring_core::job::{ErrorRecord, JobState, LogLevel, Origin};
use mainspring_core::{limits, time};
use serde::Deserialize;

struct Reason {
    mark: Mark,
    text: String,
    until: Option<Timestamp>,
}

/// An attempt as pages show it.
pub(crate) struct AttemptRow {
    /// From 1.
    pub number: u32,
    /// How it ended.
    pub mark: Mark,
    /// Who ran it.
    pub node: String,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub took: String,
    /// What went wrong.
    pub why: String,
}

/// A bar of a time line, in percent of its width.
struct Bar {
    x: String,
    wide: String,
    fill: &'static str,
    hatched: bool,
}

struct Step {
    name: String,
    x: String,
    wide: String,
    took: String,
    result: Option<String>,
}

struct LogRow {
    time: String,
    at: Timestamp,
    level: &'static str,
    tone: &'static str,
    attempt: u32,
    text: String,
    fields: Option<String>,
}

struct Fault {
    class: String,
    message: String,
    chain: Vec<String>,
}

#[derive(Template)]
#[template(path = "job.html")]
struct Page {
    frame: Frame,
    id: i64,
    kind: String,
    mark: Mark,
    line: String,
    why_title: &'static str,
    reasons: Vec<Reason>,
    bars: Vec<Bar>,
    bars_label: String,
    attempts: Vec<AttemptRow>,
    steps: Vec<Step>,
    log: Vec<LogRow>,
    log_cut: bool,
    error: Option<Fault>,
    payload: String,
    output: Option<String>,
    facts: Vec<(&'static str, String)>,
    links: Vec<(&'static str, String, String)>,
    progress: Option<Progress>,
    commands: Vec<(&'static str, String)>,
    calls: Vec<(&'static str, String)>,
    retry: Option<&'static str>,
    cancel: Option<&'static str>,
}

struct Progress {
    percent: Option<u64>,
    text: String,
}

fn read_id(text: &str) -> Result<JobId> {
    text.parse().map(JobId).map_err(|_| Problem::not_found("job", text))
}

/// One job.
pub async fn show(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Path((_, job)): Path<(String, String)>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let id = read_id(&job)?;
    let detail = jobs::one(&caller, id).await?;
    let frame = Frame::of(&web, &headers, &format!("Job {id}"), "jobs", &caller)?;
    let now = web.now();
    let lines = match frame.may_see {
        true => jobs::logs(&caller, id, None, limits::LOG_LINES as u32).await?.items,
        false => vec![],
    };
    let nodes = jobs::node_names(&caller).await?;
    let named = |node: &String| nodes.get(node).unwrap_or(node).clone();
    let attempts =
        detail.attempts.iter().map(|a| AttemptRow::of(a, a.node.as_ref().map(named), now)).collect();
    let (bars, bars_label) = timeline(&detail, now);
    let (commands, calls) = commands(&web, &caller, &detail);
    let job = &detail.job;
    let page = Page {
        id: id.0,
        kind: job.kind.clone(),
        mark: mark::job(job),
        line: line(&detail),
        why_title: match job.state {
            JobState::Running => "What is it doing?",
            state if state.is_final() => "How did it end?",
            _ => "Why is it not running?",
        },
        reasons: match job.finished_at {
            Some(at) => vec![ended(job, at)],
            None => detail.explain.as_ref().map(reasons).unwrap_or_default(),
        },
        steps: steps(&detail),
        log_cut: lines.len() >= limits::LOG_LINES,
        log: lines.iter().map(log_row).collect(),
        error: job.error.as_ref().map(fault),
        payload: detail.payload.as_ref().map(pretty).unwrap_or_default(),
        output: detail.output.as_ref().map(pretty),
        facts: facts(&detail),
        links: links(job),
        progress: detail.progress.as_ref().filter(|_| !job.state.is_final()).map(progress),
        retry: match job.state {
            JobState::Scheduled if job.attempt > 0 => Some("Retry now"),
            state if state.is_final() => Some("Run again"),
            _ => None,
        },
        cancel: match job.state {
            JobState::Running => Some("Ask it to end"),
            state if state.is_final() => None,
            _ => Some("Cancel"),
        },
        bars,
        bars_label,
        attempts,
        commands,
        calls,
        frame,
    };
    frame::page(&page)
}

fn line(detail: &JobDetailView) -> String {
    let job = &detail.job;
    let made = match job.origin {
        Origin::Enqueue => "Enqueued",
        Origin::Fire => "Made by a fire of its schedule",
        Origin::Manual => "Run by hand from its schedule",
        Origin::Backfill => "Made by a backfill",
        Origin::FollowUp => "Made by the end of a batch",
    };
    let most = job.max_attempts;
    let attempt = if job.attempt == 0 {
        format!("up to {most} attempts")
    } else {
        format!("attempt {} of {most}", job.attempt)
    };
    format!("{made} {} · {attempt}", views::instant(&job.created_at))
}

fn reasons(why: &Explanation) -> Vec<Reason> {
    let of = |word: &str| match word {
        "running" => mark::mark("is-run", "run", "Running"),
        "queue_paused" | "all_paused" => mark::mark("is-warn", "pause", "Paused"),
        "no_node" | "no_node_for_queue" | "unknown_kind" | "node_silent" => {
            mark::mark("is-bad", "warn", "Stuck")
        }
        "retrying" => mark::mark("is-warn", "retry", "Waits to retry"),
        "key_full" => mark::mark("is-idle", "lock", "Held"),
        _ => mark::mark("is-idle", "schedule", "Waits"),
    };
    let reason = |r: &mainspring::explain::Reason| Reason {
        mark: of(r.word),
        text: sentence(&r.text),
        until: r.until,
    };
    why.reasons.iter().map(reason).collect()
}

/// How a job that is over ended.
fn ended(job: &JobView, at: Timestamp) -> Reason {
    let mark = mark::job(job);
    let why = job.reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
    Reason { text: format!("{} at {}{why}", mark.word, views::instant(&at)), mark, until: None }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

impl AttemptRow {
    /// The row of a view, by the name of its node.
    pub(crate) fn of(a: &AttemptView, node: Option<String>, now: Timestamp) -> AttemptRow {
        let running = mark::mark("is-run", "run", "Running");
        AttemptRow {
            number: a.number,
            mark: a.outcome.map_or(running, mark::outcome),
            node: node.unwrap_or_else(|| "–".into()),
            at: a.started_at,
            took: views::length(&time::since(a.started_at, a.finished_at.unwrap_or(now))),
            why: a.error.as_ref().map(|e| views::brief(&e.message, 200)).unwrap_or_default(),
        }
    }
}

/// The attempts on one line from the first start to now or the end, and the same in words.
fn timeline(detail: &JobDetailView, now: Timestamp) -> (Vec<Bar>, String) {
    let Some(first) = detail.attempts.first() else { return (vec![], String::new()) };
    let end = detail.attempts.last().and_then(|a| a.finished_at).unwrap_or(now);
    let whole = time::since(first.started_at, end).as_secs_f64().max(0.001);
    let (mut bars, mut words) = (vec![], vec![]);
    for a in &detail.attempts {
        let ended = a.finished_at.unwrap_or(now);
        let from = time::since(first.started_at, a.started_at).as_secs_f64() / whole * 100.0;
        let wide = (time::since(a.started_at, ended).as_secs_f64() / whole * 100.0).clamp(0.6, 100.0);
        let tone = a.outcome.map_or("is-run", |o| mark::outcome(o).tone);
        let (fill, hatched) = match tone {
            "is-ok" => ("f-ok", false),
            "is-bad" => ("f-bad", true),
            "is-warn" => ("f-part", false),
            "is-run" => ("f-run", false),
            _ => ("f-idle", false),
        };
        bars.push(Bar {
            x: format!("{:.2}", from.min(100.0 - wide)),
            wide: format!("{wide:.2}"),
            fill,
            hatched,
        });
        let how = a.outcome.map_or("runs", |o| mark::outcome(o).word);
        words.push(format!(
            "Attempt {} took {}, {}",
            a.number,
            views::length(&time::since(a.started_at, ended)),
            how.to_lowercase()
        ));
    }
    (bars, format!("{}.", words.join(". ")))
}

/// Each step from the end of the one before (or the attempt's start) to its own.
fn steps(detail: &JobDetailView) -> Vec<Step> {
    let (Some(last), Some(first)) = (detail.steps.last(), detail.attempts.first()) else {
        return vec![];
    };
    let whole = time::since(first.started_at, last.at).as_secs_f64().max(0.001);
    let mut before = first.started_at;
    let mut out = vec![];
    for StepView { name, result, at } in &detail.steps {
        // A later attempt begins anew: what lies between belongs to no step.
        let begun = detail.attempts.iter().map(|a| a.started_at).filter(|s| s <= at).max();
        let from = begun.map_or(before, |s| s.max(before)).min(*at);
        let x = time::since(first.started_at, from).as_secs_f64() / whole * 100.0;
        let took = time::since(from, *at);
        let wide = (took.as_secs_f64() / whole * 100.0).max(0.6);
        out.push(Step {
            name: name.clone(),
            x: format!("{:.2}", x.min(100.0 - wide.min(100.0))),
            wide: format!("{:.2}", wide.min(100.0)),
            took: views::length(&took),
            result: result.as_ref().map(pretty),
        });
        before = *at;
    }
    out
}

fn log_row(l: &LogView) -> LogRow {
    LogRow {
        time: l.at.strftime("%H:%M:%S%.3f").to_string(),
        at: l.at,
        level: match l.level {
            LogLevel::Debug => "DEBUG",
            LogLevel::Info => "INFO",
            LogLevel::Warn => "WARN",
            LogLevel::Error => "ERROR",
        },
        tone: match l.level {
            LogLevel::Warn => "is-warn",
            LogLevel::Error => "is-bad",
            _ => "",
        },
        attempt: l.attempt,
        text: l.message.clone(),
        fields: l.fields.as_ref().map(|f| f.as_str().to_owned()),
    }
}

fn fault(e: &ErrorRecord) -> Fault {
    Fault { class: e.class.clone(), message: e.message.clone(), chain: e.chain.clone() }
}

fn progress(p: &mainspring_core::job::Progress) -> Progress {
    let of = p.total.map(|t| format!(" of {}", views::number(&t))).unwrap_or_default();
    let note = p.note.as_deref().map(|n| format!(", {n}")).unwrap_or_default();
    Progress {
        percent: p.total.filter(|t| *t > 0).map(|t| (p.done.min(t) as u128 * 100 / t as u128) as u64),
        text: format!("{}{of} done{note}", views::number(&p.done)),
    }
}

fn facts(detail: &JobDetailView) -> Vec<(&'static str, String)> {
    let job = &detail.job;
    let mut facts = vec![
        ("Enqueued", views::instant(&job.created_at)),
        ("Due", views::instant(&job.run_at)),
        ("Priority", format!("{} (0 is first, 9 is last)", job.priority)),
    ];
    let mut some = |name, value: Option<String>| facts.extend(value.map(|v| (name, v)));
    some("Started", job.started_at.as_ref().map(views::instant));
    some("Ended", job.finished_at.as_ref().map(views::instant));
    some("Fire", job.scheduled_for.as_ref().map(views::instant));
    some("Expires", detail.expires_at.as_ref().map(views::instant));
    some("Time limit", detail.timeout.as_ref().map(views::length));
    some("Key", job.key.clone());
    some("Unique key", job.unique.clone());
    some("Reason", job.reason.clone());
    some("Nodes lost", (detail.deaths > 0).then(|| detail.deaths.to_string()));
    facts
}

fn links(job: &JobView) -> Vec<(&'static str, String, String)> {
    let mut links = vec![
        ("Kind", job.kind.clone(), format!("jobs?kind={}", segment(&job.kind))),
        ("Queue", job.queue.clone(), format!("queues/{}", segment(&job.queue))),
    ];
    let schedule = job.schedule.as_ref();
    links.extend(schedule.map(|name| ("Schedule", name.clone(), format!("schedules/{}", segment(name)))));
    links.extend(job.batch.map(|id| ("Batch", id.to_string(), format!("batches/{id}"))));
    links
}

type Named = Vec<(&'static str, String)>;

/// What does the same from a terminal: with the program, and over HTTP.
fn commands(web: &Web, caller: &Caller, detail: &JobDetailView) -> (Named, Named) {
    let id = detail.job.id;
    let url = web.config().public_url.clone().unwrap_or_else(|| format!("http://{}", web.config().listen));
    let api = format!("{url}/api/v1/projects/{}/jobs/{id}", segment(&caller.project));
    let key = "-H \"Authorization: Bearer $MAINSPRING_KEY\"";
    let mut cli =
        vec![("show", format!("mainspring job show {id}")), ("why", format!("mainspring explain {id}"))];
    let mut http = vec![("show", format!("curl {key} {api}"))];
    cli.push(("log", format!("mainspring job logs {id}")));
    if detail.job.state.is_final() || detail.job.attempt > 0 {
        cli.push(("retry", format!("mainspring job retry {id}")));
        http.push(("retry", format!("curl -X POST {key} {api}/retry")));
    }
    if !detail.job.state.is_final() {
        cli.push(("cancel", format!("mainspring job cancel {id}")));
        http.push(("cancel", format!("curl -X POST {key} {api}/cancel")));
    }
    (cli, http)
}

fn back(web: &Web, project: &str, id: JobId) -> Response {
    frame::redirect(web, &format!("/p/{}/jobs/{id}", segment(project)))
}

/// Runs it again.
pub async fn retry(
    State(web): State<Web>,
    caller: Caller,
    Path((project, job)): Path<(String, String)>,
) -> Result<Response> {
    caller.may(Right::Run)?;
    let id = read_id(&job)?;
    caller.client().retry(id).await?;
    Ok(back(&web, &project, id))
}

/// Why a job is cancelled.
#[derive(Deserialize)]
pub struct CancelForm {
    #[serde(default)]
    reason: String,
}

/// Ends it.
pub async fn cancel(
    State(web): State<Web>,
    caller: Caller,
    Path((project, job)): Path<(String, String)>,
    Form(form): Form<CancelForm>,
) -> Result<Response> {
    caller.may(Right::Run)?;
    let id = read_id(&job)?;
    let reason =
        if form.reason.trim().is_empty() { "cancelled on the dashboard" } else { form.reason.trim() };
    caller.client().cancel(id, reason).await?;
    Ok(back(&web, &project, id))
}
