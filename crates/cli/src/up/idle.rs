//! Finding out that all work is done: nothing waits, nothing runs, and nothing is due soon.

use crate::clock;
use mainspring::Client;
use mainspring_core::error::Result;
use mainspring_core::job::JobState;
use mainspring_core::{limits, time};
use std::time::Duration;

/// What is due later than this is not waited for.
const SOON: Duration = Duration::from_secs(30);

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
    for (project, _) in store.projects().await? {
        let busy = store.counts(project).await?;
        if busy
            .iter()
            .any(|(_, _, state, n)| *n > 0 && matches!(state, JobState::Available | JobState::Running))
        {
            return Ok(false);
        }
    }
    // Any node may promote; asking for it tells when the next job is due.
    let job = store.promote(now, limits::BATCH as u32).await?;
    let (due, later) = store.due_schedules(now, 1).await?;
    let soon = time::plus(now, SOON);
    let next = [job.next_at, later];
    Ok(job.promoted == 0 && due.is_empty() && next.iter().flatten().all(|at| *at > soon))
}
