//! One module for each noun of the command line. Each says what it was asked to do through
//! [`mainspring::Client`] or reads through the store's read side, and prints; none of them decides
//! anything about jobs.

pub mod alert;
pub mod backup;
pub mod batch;
pub mod channel;
pub mod check;
pub mod config;
pub mod cron;
pub mod doctor;
pub mod events;
pub mod import;
pub mod job;
pub mod job_show;
pub mod node;
pub mod project;
pub mod queue;
pub mod schedule;
pub mod schedule_show;
pub mod secret;
pub mod stats;

use crate::app::App;
use crate::args::{FilterArgs, PauseArgs};
use crate::error::{CliError, Result};
use crate::moment::{self, Sense};
use jiff::Timestamp;
use mainspring::Client;
use mainspring_core::code::Code;
use mainspring_core::ids::BatchId;
use mainspring_core::store::JobFilter;

/// The filter that was typed.
pub async fn filter(app: &App, client: &Client, args: &FilterArgs) -> Result<JobFilter> {
    let time = |option: &str, text: &Option<String>| match text {
        Some(text) => moment::parse(option, text, app.now, app.settings.tz.tz(), Sense::Back).map(Some),
        None => Ok(None),
    };
    let schedule = match &args.schedule {
        Some(name) => Some(schedule_named(client, name).await?.id),
        None => None,
    };
    Ok(JobFilter {
        ids: vec![],
        states: args.state.clone(),
        kind: args.kind.clone(),
        queue: args.queue.clone(),
        schedule,
        batch: args.batch.map(BatchId),
        key: args.key.clone(),
        error_class: args.error.clone(),
        created_from: time("--since", &args.since)?,
        created_until: time("--until", &args.until)?,
    })
}

/// The schedule of this name; the nearest one is offered when there is none.
pub async fn schedule_named(
    client: &Client,
    name: &str,
) -> Result<mainspring_core::schedule_record::ScheduleRecord> {
    if let Some(found) = client.store().schedule(client.project(), name).await? {
        return Ok(found);
    }
    let page = client.store().schedules(client.project(), None, 1_000).await?;
    let error = CliError::new(Code::NOT_FOUND, format!("no schedule {name}"));
    Err(match crate::error::nearest(name, page.rows.iter().map(|r| r.name.as_str())) {
        Some(near) => error.hint(format!("{near}, if that was meant")),
        None => error.hint("mainspring schedule list"),
    })
}

/// When a pause ends by itself.
pub fn pause_end(app: &App, args: &PauseArgs) -> Result<Option<Timestamp>> {
    match (&args.length, &args.until) {
        (Some(length), _) => Ok(Some(mainspring_core::time::plus(app.now, *length))),
        (_, Some(text)) => {
            moment::parse("--until", text, app.now, app.settings.tz.tz(), Sense::Ahead).map(Some)
        }
        _ => Ok(None),
    }
}

/// How a pause is shown.
pub fn pause_text(app: &App, pause: &mainspring_core::queue::Pause) -> String {
    let mut text = format!("paused by {} {}", pause.by, app.ago(pause.at));
    if let Some(until) = pause.until {
        text.push_str(&format!(", until {}", app.full(until)));
    }
    if let Some(note) = &pause.note {
        text.push_str(&format!(": {note}"));
    }
    text
}
