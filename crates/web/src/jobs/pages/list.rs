//! The list: tabs by state, filters in the address, pages by key, deeds on many.

use crate::access::{Caller, Right};
use crate::bulk;
use crate::bulk::pages::Line;
use crate::frame::{self, Frame, segment};
use crate::jobs::{self, JobQuery, JobView};
use crate::listing::{self, Page};
use crate::problem::{Problem, Result};
use crate::state::Web;
use crate::views::mark::{self, Mark};
use crate::views::{self, Choice, brief};
use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use mainspring::kinds::bulk::{Action, Order, Which};
use mainspring_core::ids::JobId;
use mainspring_core::job::JobState;
use mainspring_core::store::JobFilter;
use mainspring_core::{limits, time};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// What the address says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    state: String,
    kind: String,
    queue: String,
    schedule: String,
    batch: String,
    key: String,
    class: String,
    before: String,
    done: String,
    n: String,
    q: String,
}

impl Asked {
    /// The terms that have no field of their own, as one types them.
    fn typed(&self) -> String {
        let own = self
            .terms()
            .into_iter()
            .filter(|(name, value)| !value.is_empty() && !matches!(*name, "kind" | "queue"));
        let quoted = |value: &str| match value.contains(char::is_whitespace) {
            true => format!("\"{value}\""),
            false => value.to_owned(),
        };
        own.map(|(name, value)| format!("{name}:{}", quoted(value))).collect::<Vec<_>>().join(" ")
    }

    /// Takes over what was typed: it stands for all terms that have no field of their own. An error
    /// names the word that is none.
    fn take(&mut self) -> std::result::Result<(), String> {
        for old in [&mut self.schedule, &mut self.batch, &mut self.key, &mut self.class] {
            old.clear();
        }
        for word in words(&std::mem::take(&mut self.q)) {
            let field = match word.split_once(':') {
                Some(("state", value)) => (&mut self.state, value),
                Some(("kind", value)) => (&mut self.kind, value),
                Some(("queue", value)) => (&mut self.queue, value),
                Some(("schedule", value)) => (&mut self.schedule, value),
                Some(("batch", value)) => (&mut self.batch, value),
                Some(("key", value)) => (&mut self.key, value),
                Some(("class", value)) => (&mut self.class, value),
                _ => {
                    let text = limits::cut(&word, 80);
                    return Err(format!(
                        "“{text}” is no term. Type state:failed, kind:mail.send, queue:mail, key:…, class:…, \
                         schedule:\"a name\" or batch:17, or the number of a job alone."
                    ));
                }
            };
            field.1.clone_into(field.0);
        }
        Ok(())
    }

    fn terms(&self) -> [(&'static str, &str); 6] {
        [
            ("kind", &self.kind),
            ("queue", &self.queue),
            ("schedule", &self.schedule),
            ("batch", &self.batch),
            ("key", &self.key),
            ("class", &self.class),
        ]
    }

    /// The address of this list with some terms changed; empty ones are left out.
    fn with(&self, change: &[(&str, &str)]) -> String {
        let all = self.terms().into_iter().chain([("state", self.state.as_str())]);
        let kept = all.filter(|(name, _)| !change.iter().any(|(other, _)| other == name));
        let terms = kept.chain(change.iter().copied()).filter(|(_, value)| !value.is_empty());
        let terms: Vec<String> = terms.map(|(name, value)| format!("{name}={}", segment(value))).collect();
        if terms.is_empty() { "jobs".into() } else { format!("jobs?{}", terms.join("&")) }
    }
}

/// Words, of which one in quotes may hold spaces.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// A term of the filter that can be dropped.
struct Chip {
    text: String,
    drop: String,
}

struct Tab {
    name: &'static str,
    path: String,
    current: bool,
    count: String,
    bad: bool,
}

struct Row {
    id: i64,
    mark: Mark,
    kind: String,
    queue: String,
    note: String,
    attempt: String,
    at: Timestamp,
    took: String,
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct ListPage {
    frame: Frame,
    asked: Asked,
    tabs: Vec<Tab>,
    chips: Vec<Chip>,
    kinds: Vec<Choice>,
    queues: Vec<Choice>,
    rows: Vec<Row>,
    terms: BTreeSet<String>,
    typed: String,
    wrong: Option<String>,
    older: Option<String>,
    newest: Option<String>,
    done: Option<String>,
    here: String,
    any: bool,
    bulk: Vec<Line>,
}

fn row(job: &JobView, now: Timestamp) -> Row {
    let end = job.finished_at.unwrap_or(now);
    let took = job.started_at.filter(|_| job.state.is_final() || job.state == JobState::Running);
    let error = job.error.as_ref().filter(|_| job.state != JobState::Completed).map(|e| e.message.as_str());
    let at = match job.state {
        JobState::Scheduled | JobState::Available => job.run_at,
        JobState::Running => job.started_at.unwrap_or(job.run_at),
        _ => end,
    };
    Row {
        id: job.id,
        mark: mark::job(job),
        kind: job.kind.clone(),
        queue: job.queue.clone(),
        note: brief(error.or(job.reason.as_deref()).unwrap_or_default(), 140),
        attempt: match job.attempt {
            0 => "–".into(),
            n => format!("{n} of {}", job.max_attempts),
        },
        at,
        took: took.map_or("–".into(), |from| views::length(&time::since(from, end))),
    }
}

/// What the address asks for, as the API would be asked for it.
fn query(asked: &Asked) -> JobQuery {
    let given = |text: &String| Some(text.clone());
    JobQuery {
        state: given(&asked.state),
        kind: given(&asked.kind),
        queue: given(&asked.queue),
        schedule: given(&asked.schedule),
        batch: given(&asked.batch),
        key: given(&asked.key),
        error: given(&asked.class),
        ..JobQuery::default()
    }
}

/// The jobs of an address; none when it names a schedule that is not there any more.
async fn page(caller: &Caller, asked: &Asked, before: Option<JobId>) -> Result<Page<JobView>> {
    match query(asked).filter(caller).await {
        Ok(filter) => jobs::list(caller, &filter, before, listing::ROWS).await,
        Err(problem) if problem.status == StatusCode::NOT_FOUND.as_u16() => {
            Ok(Page::new(vec![], None::<JobId>))
        }
        Err(problem) => Err(problem),
    }
}

fn tabs(asked: &Asked, counts: &[(String, String, JobState, u64)]) -> Vec<Tab> {
    let other = |wanted: &str, name: &str| wanted.is_empty() || wanted == name;
    let mut by_state: BTreeMap<JobState, u64> = BTreeMap::new();
    for (queue, kind, state, n) in counts {
        if other(&asked.queue, queue) && other(&asked.kind, kind) {
            *by_state.entry(*state).or_default() += n;
        }
    }
    // Counters know queue and kind only: beside other terms a number would not be true.
    let known =
        asked.terms().iter().all(|(name, value)| value.is_empty() || matches!(*name, "kind" | "queue"));
    let tab = |name, state: &str, n: u64, bad| Tab {
        name,
        path: asked.with(&[("state", state)]),
        current: asked.state == state,
        count: if known { views::number(&n) } else { String::new() },
        bad: bad && known && n > 0,
    };
    let n = |state| by_state.get(&state).copied().unwrap_or(0);
    let mut tabs = vec![tab("All", "", by_state.values().sum(), false)];
    use JobState as S;
    for (name, state) in [
        ("Running", S::Running),
        ("Waiting", S::Available),
        ("Scheduled", S::Scheduled),
        ("Failed", S::Failed),
        ("Cancelled", S::Cancelled),
        ("Completed", S::Completed),
    ] {
        tabs.push(tab(name, state.as_str(), n(state), state == S::Failed));
    }
    tabs
}

fn choices(all: BTreeSet<&String>, chosen: &str, any: &str) -> Vec<Choice> {
    let mut choices = vec![Choice::new("", any, chosen.is_empty())];
    choices.extend(all.iter().map(|name| Choice::new(name.as_str(), name.as_str(), *name == chosen)));
    if !chosen.is_empty() && !choices.iter().any(|c| c.current) {
        choices.push(Choice::new(chosen, chosen, true));
    }
    choices
}

/// What completes a query: every kind, queue and state there is.
fn terms(counts: &[(String, String, JobState, u64)]) -> BTreeSet<String> {
    let quoted = |name: &str, value: &str| match value.contains(char::is_whitespace) {
        true => format!("{name}:\"{value}\""),
        false => format!("{name}:{value}"),
    };
    let all = counts.iter().flat_map(|(queue, kind, state, _)| {
        [quoted("queue", queue), quoted("kind", kind), quoted("state", state.as_str())]
    });
    all.chain(["key:", "class:", "schedule:", "batch:"].map(str::to_owned)).collect()
}

fn done(asked: &Asked) -> Option<String> {
    let n: u64 = asked.n.parse().ok()?;
    match asked.done.as_str() {
        "retry" => Some(format!("{} will run again.", views::counted(n, "job", "jobs"))),
        "cancel" => Some(format!("{} cancelled, or asked to end.", views::counted(n, "job", "jobs"))),
        _ => None,
    }
}

/// The list.
pub async fn show(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Query(mut asked): Query<Asked>,
) -> Result<Response> {
    caller.may(Right::Read)?;
    let (mut typed, mut wrong) = (asked.typed(), None);
    if !asked.q.trim().is_empty() {
        if let Ok(id) = asked.q.trim().trim_start_matches('#').parse::<i64>() {
            return Ok(frame::redirect(&web, &format!("/p/{}/jobs/{id}", segment(&caller.project))));
        }
        typed = asked.q.trim().to_owned();
        match asked.take() {
            // One address for one list, whoever typed it how.
            Ok(()) => {
                let to = format!("/p/{}/{}", segment(&caller.project), asked.with(&[]));
                return Ok(frame::redirect(&web, &to));
            }
            Err(text) => wrong = Some(text),
        }
    }
    let frame = Frame::of(&web, &headers, "Jobs", "jobs", &caller)?;
    let counts = jobs::counts(&caller).await?;
    let before = listing::before::<JobId>(&asked.before)?;
    let page = page(&caller, &asked, before).await?;
    let rows = page.items.iter().map(|job| row(job, web.now())).collect();
    let chips = asked
        .terms()
        .into_iter()
        .filter(|(name, value)| !value.is_empty() && !matches!(*name, "kind" | "queue"));
    let chips =
        chips.map(|(name, value)| Chip { text: format!("{name}:{value}"), drop: asked.with(&[(name, "")]) });
    frame::page(&ListPage {
        tabs: tabs(&asked, &counts),
        chips: chips.collect(),
        kinds: choices(counts.iter().map(|r| &r.1).collect(), &asked.kind, "Any kind"),
        queues: choices(counts.iter().map(|r| &r.0).collect(), &asked.queue, "Any queue"),
        terms: terms(&counts),
        typed,
        wrong,
        older: page.next.map(|id| asked.with(&[("before", &id)])),
        newest: before.map(|_| asked.with(&[])),
        done: done(&asked),
        here: asked.with(&[]),
        bulk: bulk::pages::lines(&caller, bulk::pages::known(&counts)).await?,
        any: counts.iter().any(|r| r.3 > 0),
        rows,
        frame,
        asked,
    })
}

/// Retries or cancels the chosen rows.
pub async fn chosen(
    State(web): State<Web>,
    caller: Caller,
    Path(project): Path<String>,
    Form(form): Form<Vec<(String, String)>>,
) -> Result<Response> {
    caller.may(Right::Run)?;
    let of = |name: &str| {
        form.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    let ids: Vec<JobId> = of("id").iter().filter_map(|id| id.parse().ok().map(JobId)).collect();
    let client = caller.client();
    if let Some(act) = of("all").first().copied() {
        return all_that_match(&web, &caller, &project, act, of("back").first().copied()).await;
    }
    let verb = of("act").first().copied().unwrap_or_default().to_owned();
    let filter = JobFilter { ids: ids.clone(), ..JobFilter::default() };
    // No job is no filter: it must not mean every job.
    let changed = match verb.as_str() {
        _ if ids.is_empty() => 0,
        "retry" => client.retry_where(&filter, |_| ()).await?.len(),
        "cancel" => client.cancel_where(&filter, "cancelled on the dashboard", |_| ()).await?.len(),
        other => return Err(Problem::invalid("act", format!("{other:?} is neither retry nor cancel"))),
    };
    let terms = terms_of(of("back").first().copied());
    let to = terms.with(&[("done", &verb), ("n", &changed.to_string())]);
    Ok(frame::redirect(&web, &format!("/p/{}/{to}", segment(&project))))
}

/// Only ever this list: what follows the question mark is taken apart and encoded anew.
fn terms_of(back: Option<&str>) -> Asked {
    back.and_then(|back| back.split_once('?'))
        .and_then(|(_, q)| Query::try_from_uri(&address(q)).ok())
        .map_or_else(Asked::default, |Query(a)| a)
}

/// Retries or cancels whatever the list's filter lets through, as a bulk action; the list tells how far
/// it is.
async fn all_that_match(
    web: &Web,
    caller: &Caller,
    project: &str,
    act: &str,
    back: Option<&str>,
) -> Result<Response> {
    let action = match act {
        "retry" => Action::Retry,
        "cancel" => Action::Cancel,
        other => return Err(Problem::invalid("all", format!("{other:?} is neither retry nor cancel"))),
    };
    let asked = terms_of(back);
    let given = |text: &String| Some(text.clone()).filter(|t| !t.is_empty());
    let mut which = Which {
        kind: given(&asked.kind),
        queue: given(&asked.queue),
        schedule: given(&asked.schedule),
        key: given(&asked.key),
        error: given(&asked.class),
        ..Which::default()
    };
    for word in asked.state.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        which.states.push(word.parse().map_err(|e: String| Problem::invalid("state", e))?);
    }
    if !asked.batch.is_empty() {
        let wrong = |_| Problem::invalid("batch", "is not the number of a batch");
        which.batch = Some(asked.batch.parse().map_err(wrong)?);
    }
    which.all = which == Which::default();
    let reason = Some("cancelled on the dashboard with all that match".to_owned());
    let order = Order { action, filter: which, limit: None, reason };
    bulk::start(caller, &order).await?;
    Ok(frame::redirect(web, &format!("/p/{}/{}", segment(project), asked.with(&[]))))
}

fn address(text: &str) -> http::Uri {
    format!("/?{text}").parse().unwrap_or_default()
}
