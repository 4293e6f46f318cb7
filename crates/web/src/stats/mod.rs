//! Statistics and health of a project, as a whole and by kind, queue and schedule; and how much was
//! done when, for charts.

pub mod api;

use crate::access::Caller;
use crate::problem::Result;
use jiff::Timestamp;
use mainspring::stats::{self, Stats};
use mainspring_core::job::AttemptOutcome;
use mainspring_core::reader::GroupBy;
use mainspring_core::time;
use serde::Serialize;

/// Attempts that ended in a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PointView {
    /// When the stretch begins.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Succeeded, partly too.
    pub good: u64,
    /// Failed or timed out.
    pub bad: u64,
    /// Anything else: cancelled, interrupted, snoozed, skipped.
    pub other: u64,
}

/// A channel that cannot deliver.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SilentChannel {
    /// Its name.
    pub channel: String,
    /// What it said last.
    pub reason: String,
}

/// The channels of the project that are switched on and cannot deliver.
pub async fn silent_channels(caller: &Caller) -> Result<Vec<SilentChannel>> {
    let all = mainspring::notify::channels(caller.client()).await?;
    let silent = all.into_iter().filter(|c| matches!(c.state(), "failing" | "stopped"));
    let view = |c: mainspring::notify::Channel| {
        let reason = c.stopped.or(c.last_error).unwrap_or_default();
        SilentChannel { channel: c.name, reason }
    };
    Ok(silent.map(view).collect())
}

/// How the project does now.
pub async fn now(caller: &Caller) -> Result<Stats> {
    let client = caller.client();
    let registry = client.registry().map(|r| &**r);
    Ok(stats::gather(&**client.store(), registry, client.project(), client.now()).await?)
}

/// The last `points` stretches of `minutes` minutes each, the oldest first, the present one last.
pub async fn throughput(caller: &Caller, minutes: i64, points: usize) -> Result<Vec<PointView>> {
    let client = caller.client();
    let minutes = minutes.clamp(1, 24 * 60);
    let points = points.clamp(1, 1_000);
    let last = time::minute(client.now()).div_euclid(minutes);
    let first = last - (points as i64 - 1);
    let rows = client
        .store()
        .rollups(client.project(), first * minutes, (last + 1) * minutes, GroupBy::Nothing, true)
        .await?;
    let at = |n: i64| time::from_micros(n * minutes * time::MINUTE);
    let mut series: Vec<PointView> =
        (first..=last).map(|n| PointView { at: at(n), ..PointView::default() }).collect();
    for row in rows {
        let place = usize::try_from(row.minute.div_euclid(minutes) - first).ok();
        let Some(point) = place.and_then(|place| series.get_mut(place)) else { continue };
        match row.outcome {
            AttemptOutcome::Succeeded | AttemptOutcome::Partial => point.good += row.sum.count,
            AttemptOutcome::Failed | AttemptOutcome::TimedOut => point.bad += row.sum.count,
            _ => point.other += row.sum.count,
        }
    }
    Ok(series)
}
