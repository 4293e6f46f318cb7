//! Finding out that all work is done: nothing waits, nothing runs, and nothing is due soon. What waits
//! in a paused queue is not waited for, but told: see [`paused`].

use crate::clock;
use jiff::Timestamp;
use mainspring::Client;
use mainspring_core::error::Result;
use mainspring_core::job::JobState;
use mainspring_core::queue::{ALL_QUEUES, Pause};
use mainspring_core::reader::QueueRecord;
use mainspring_core::{limits, time};
use std::time::Duration;

/// What is due later than this is not waited for.
const SOON: Duration = Duration::from_secs(30);

/// A paused queue in which jobs wait.
pub struct Paused {
    /// Its name.
    pub queue: String,
    /// How many.
    pub jobs: u64,
    /// Its pause, or that of all queues.
    pub pause: Pause,
}

/// Waits until it is so, seen twice in a row: between two transactions a job may be on its way.
pub async fn wait(client: &Client) {
    let mut seen = 0;
    while seen < 2 {
        clock::pause(Duration::from_millis(200)).await;
        // A store that cannot be asked is not idle.
        seen = if idle(client).await.unwrap_or(false) { seen + 1 } else { 0 };
    }
}

async fn idle(client: &Client) -> Result<bool> {
    let (store, now) = (client.store(), clock::now());
    let soon = time::plus(now, SOON);
    for (project, _) in store.projects().await? {
        let queues = store.queues(project).await?;
        let busy = |q: &QueueRecord| {
            of(q, JobState::Running) > 0
                || of(q, JobState::Available) > 0 && pause_of(&queues, q, soon).is_none()
        };
        if queues.iter().any(busy) {
            return Ok(false);
        }
    }
    // Any node may promote; asking for it tells when the next job is due.
    let job = store.promote(now, limits::BATCH as u32).await?;
    let (due, later) = store.due_schedules(now, 1).await?;
    let next = [job.next_at, later];
    Ok(job.promoted == 0 && due.is_empty() && next.iter().flatten().all(|at| *at > soon))
}

/// The queues of all projects in which jobs wait behind a pause.
pub async fn paused(client: &Client) -> Result<Vec<Paused>> {
    let (store, now) = (client.store(), clock::now());
    let mut found = Vec::new();
    for (project, _) in store.projects().await? {
        let queues = store.queues(project).await?;
        for q in queues.iter().filter(|q| of(q, JobState::Available) > 0) {
            if let Some(pause) = pause_of(&queues, q, now) {
                let (queue, jobs) = (q.name.clone(), of(q, JobState::Available));
                found.push(Paused { queue, jobs, pause: pause.clone() });
            }
        }
    }
    Ok(found)
}

fn of(queue: &QueueRecord, state: JobState) -> u64 {
    queue.counts.get(&state).copied().unwrap_or(0)
}

/// The pause that holds for a queue at `at`: its own, or that of all.
fn pause_of<'a>(queues: &'a [QueueRecord], queue: &'a QueueRecord, at: Timestamp) -> Option<&'a Pause> {
    let all = queues.iter().find(|q| q.name == ALL_QUEUES);
    [Some(queue), all].into_iter().flatten().filter_map(|q| q.settings.paused.as_ref()).find(|p| p.holds(at))
}
