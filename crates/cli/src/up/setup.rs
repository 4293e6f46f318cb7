//! What is written down before the node starts: the file's queues and schedules, or the tour.

use super::tour;
use crate::app::App;
use crate::commands::check::several;
use crate::commands::schedule::all;
use crate::contents::{self, Contents};
use crate::error::Result;
use crate::out::plural;
use mainspring::Client;
use mainspring_core::queue::QueueSettings;
use std::collections::BTreeSet;

/// What brought the schedules of the file, as the store keeps it.
const SOURCE: &str = "config";
/// Remembers that the tour has begun once.
const TOUR: &str = "tour_done";

/// What was done.
pub struct Prepared {
    /// Whether the tour begins.
    pub tour: bool,
    /// To be told.
    pub lines: Vec<String>,
}

/// Does it.
pub async fn prepare(app: &App, client: &Client, may_tour: bool) -> Result<Prepared> {
    let contents = contents::read(&app.settings, &app.registry, app.now).map_err(several)?;
    let mut lines = Vec::new();
    if app.settings.file.is_some() {
        queues(client, &contents).await?;
        schedules(client, &contents, &mut lines).await?;
    }
    let tour = may_tour && contents.schedules.is_empty() && untouched(client).await?;
    if tour {
        begin_tour(client, &mut lines).await?;
    }
    Ok(Prepared { tour, lines })
}

/// The file's settings of a queue; a pause that somebody set stays.
async fn queues(client: &Client, contents: &Contents) -> Result<()> {
    for (name, wanted) in &contents.queues {
        let now = client.queue_settings(name).await?;
        let wanted = QueueSettings { paused: now.paused.clone(), ..wanted.clone() };
        if wanted != now {
            client.set_queue(name, wanted).await?;
        }
    }
    Ok(())
}

/// Writes the file's schedules and deletes those that have gone from it.
async fn schedules(client: &Client, contents: &Contents, lines: &mut Vec<String>) -> Result<()> {
    for (spec, place) in &contents.schedules {
        client.put_schedule(spec, SOURCE).await.map_err(|e| crate::CliError::from(e).at(place.clone()))?;
    }
    let names: BTreeSet<&str> = contents.schedules.iter().map(|(s, _)| s.name.as_str()).collect();
    let mut gone = 0;
    for (record, _) in all(client).await? {
        if record.source == SOURCE && !names.contains(record.name.as_str()) {
            client.delete_schedule(&record.name).await?;
            lines.push(format!("Schedule {} has gone from the file and is deleted.", record.name));
            gone += 1;
        }
    }
    if !names.is_empty() || gone > 0 {
        lines.push(format!("{} in the configuration file.", plural(names.len() as u64, "schedule")));
    }
    Ok(())
}

/// Whether nobody has used this store yet.
async fn untouched(client: &Client) -> Result<bool> {
    let store = client.store();
    if store.meta(TOUR).await?.is_some() || !store.all_schedules(None, 1).await?.is_empty() {
        return Ok(false);
    }
    for (project, _) in store.projects().await? {
        if !store.counts(project).await?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn begin_tour(client: &Client, lines: &mut Vec<String>) -> Result<()> {
    // Remembered first: half a tour is better than two.
    client.store().set_meta(client.now(), TOUR, Some("1")).await?;
    client.put_schedule(&tour::schedule(), "tour").await?;
    client.enqueue_many(tour::jobs(client)?).await?;
    lines.push(
        "Nothing is here yet, so this is the tour: jobs that succeed, one that fails and is tried again,"
            .into(),
    );
    lines
        .push("one that runs out of time, one that succeeds in part, and a schedule for two minutes.".into());
    lines.push("Beside it, try: mainspring job list   mainspring schedule list   mainspring stats".into());
    Ok(())
}
