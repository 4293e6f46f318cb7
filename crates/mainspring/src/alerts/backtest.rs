//! Backtest: what a rule would have done over the history that is kept, by the very judge that judges
//! now.
//!
//! Attempts are known by the minute for two days and by the hour before (roll-ups are folded); within
//! folded hours a rule that counts in a row sees less than it would have. Series are known since a
//! rule of their sort looks at them.

use super::gather::{Names, group};
use super::{refused, series, tables};
use crate::client::{Client, ClientError, Result};
use jiff::Timestamp;
use mainspring_core::alert::{Episode, History, Rule, family, replay, windows};
use mainspring_core::store::SweepPolicy;
use mainspring_core::time;
use std::time::Duration;

/// The longest stretch.
const LONGEST: Duration = Duration::from_secs(90 * 86_400);

/// What a rule would have done.
#[derive(Clone, Debug, PartialEq)]
pub struct Backtest {
    /// From where it was judged.
    pub from: Timestamp,
    /// Until where.
    pub until: Timestamp,
    /// Each time it would have fired, in order.
    pub episodes: Vec<Episode>,
    /// Attempts before this are known by the hour only.
    pub by_hour_before: Timestamp,
    /// Attempts that were looked at; 0 for rules about series.
    pub attempts: u64,
    /// Since when there are points of the series it is about; None for rules about attempts, and when
    /// there are none.
    pub series_since: Option<Timestamp>,
}

/// Runs a rule over the last `period`.
pub async fn backtest(client: &Client, rule: &Rule, period: Duration) -> Result<Backtest> {
    rule.check().map_err(|(field, text)| ClientError::invalid(field, text))?;
    if period < Duration::from_secs(60) || period > LONGEST {
        return Err(ClientError::invalid("period", "must be from 1m to 90d; write for example 30d"));
    }
    let now = client.now();
    let last = time::minute(time::minus(now, super::LAG));
    let first = time::minute(time::minus(now, period));
    // Attempts before the first look that it sees.
    let reach = windows(rule, first).iter().map(|w| w.from).min().unwrap_or(first).min(first);
    let mut past = History::default();
    let (mut attempts, mut series_since) = (0, None);
    if let Some(window) = windows(rule, first).first() {
        let (reader, project) = (client.store().as_ref(), client.project());
        let mut rows = reader.rollups(project, reach, last, group(window.over), true).await?;
        if window.over == mainspring_core::alert::Over::Schedules {
            rows = Names::default().put(reader, project, rows).await?;
        }
        attempts = rows.iter().filter(|r| r.minute >= first).map(|r| r.sum.count).sum();
        past = past.attempts_of(window.over, rows);
    }
    if let Some(family) = family(&rule.condition) {
        // A value may hold since long before; points are kept for 35 days.
        let from = time::minus(now, Duration::from_secs(36 * 86_400) + period);
        let all = series::since(&*tables(client)?, client.project(), family, from).await.map_err(refused)?;
        // A rule about attempts that sees open ones too is not about what is recorded alone.
        if windows(rule, first).is_empty() {
            series_since = all.iter().filter_map(|(_, points)| Some(points.first()?.at)).min();
        }
        for (name, points) in all {
            past = past.series_of(family, &name, points);
        }
    }
    Ok(Backtest {
        from: time::from_micros(first * time::MINUTE),
        until: time::from_micros(last * time::MINUTE),
        episodes: replay(rule, &past, first, last),
        by_hour_before: time::minus(now, SweepPolicy::default().minutes),
        attempts,
        series_since,
    })
}
