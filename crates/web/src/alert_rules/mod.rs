//! Alert rules: made, changed, tried on history, silenced.

pub mod api;
mod fields;
pub mod pages;

use crate::access::Caller;
use crate::problem::Result;
use jiff::Timestamp;
use mainspring::alerts::{self, Backtest, RuleRecord, RuleSpec};
use mainspring_core::alert::Rule;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A rule as both faces show it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct RuleView {
    /// Its number.
    pub id: i64,
    /// Its name, once per project.
    pub name: String,
    /// What it looks for, in words.
    pub words: String,
    /// Whether it looks.
    pub enabled: bool,
    /// Nobody is told before this.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub snoozed_until: Option<Timestamp>,
    /// Alerts of it that are open.
    pub firing: usize,
    /// Who changed it last.
    pub changed_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub changed_at: Timestamp,
    /// What is set, as it can be sent back.
    #[schema(value_type = Object)]
    pub rule: RuleSpec,
}

impl RuleView {
    /// The view of a record at `now`.
    pub fn of(r: RuleRecord, now: Timestamp) -> RuleView {
        RuleView {
            id: r.id,
            name: r.name,
            words: r.spec.rule.words(),
            enabled: r.enabled,
            snoozed_until: r.snoozed_until.filter(|until| *until > now),
            firing: r.state.firing.len(),
            changed_by: r.changed_by,
            changed_at: r.changed_at,
            rule: r.spec,
        }
    }
}

/// A rule to be.
#[derive(Clone, Debug, Deserialize)]
pub struct NewRule {
    /// Its name.
    pub name: String,
    /// Whether it looks.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// What it looks for and whom it tells.
    pub rule: RuleSpec,
}

fn yes() -> bool {
    true
}

/// Each time a rule would have fired.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct EpisodeView {
    /// Whom the alert would have been about; empty when it stands for all.
    pub subject: String,
    /// When it would have fired.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// When it would have been over; null while it fires still.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// What it would have said.
    pub title: String,
}

/// What a rule would have done.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct BacktestView {
    /// The same in one sentence.
    pub summary: String,
    /// From where it was judged.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// Until where.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// How often it would have fired.
    pub fired: usize,
    /// The last times, at most 100, in order.
    pub episodes: Vec<EpisodeView>,
    /// Attempts that were looked at.
    pub attempts: u64,
    /// Attempts before this are known by the hour only.
    #[schema(value_type = String, format = DateTime)]
    pub by_hour_before: Timestamp,
    /// For rules about queues, schedules, nodes, heartbeats and metrics: since when these are recorded;
    /// null when they are not.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub recorded_since: Option<Timestamp>,
}

/// The longest stretch of a backtest that is shown.
const SHOWN: usize = 100;

impl BacktestView {
    fn of(rule: &Rule, period: Duration, found: Backtest) -> BacktestView {
        let fired = found.episodes.len();
        let length = mainspring_core::duration::format(period);
        let summary = match fired {
            0 => format!("In the last {length} it would not have fired."),
            1 => format!("In the last {length} it would have fired once."),
            n => format!("In the last {length} it would have fired {n} times."),
        };
        let episode = |e: mainspring_core::alert::Episode| EpisodeView {
            title: alerts::headline(rule, &e.breached),
            subject: e.subject,
            from: e.from,
            until: e.until,
        };
        BacktestView {
            summary,
            from: found.from,
            until: found.until,
            fired,
            episodes: found.episodes.into_iter().skip(fired.saturating_sub(SHOWN)).map(episode).collect(),
            attempts: found.attempts,
            by_hour_before: found.by_hour_before,
            recorded_since: found.series_since,
        }
    }
}

/// The rules of a project by name.
pub async fn list(caller: &Caller) -> Result<Vec<RuleView>> {
    let client = caller.client();
    Ok(alerts::rules(client).await?.into_iter().map(|r| RuleView::of(r, client.now())).collect())
}

/// One rule.
pub async fn one(caller: &Caller, id: i64) -> Result<RuleView> {
    let client = caller.client();
    Ok(RuleView::of(alerts::rule(client, id).await?, client.now()))
}

/// What a rule would have done in the last `period`.
pub async fn backtest(caller: &Caller, rule: &Rule, period: Duration) -> Result<BacktestView> {
    Ok(BacktestView::of(rule, period, alerts::backtest(caller.client(), rule, period).await?))
}

/// Makes a rule, or changes the one of this number.
pub async fn save(caller: &Caller, id: Option<i64>, new: &NewRule) -> Result<i64> {
    let client = caller.client();
    let id = match id {
        Some(id) => {
            alerts::put_rule(client, id, &new.name, &new.rule).await?;
            id
        }
        None => alerts::make_rule(client, &new.name, &new.rule).await?,
    };
    alerts::enable_rule(client, id, new.enabled).await?;
    Ok(id)
}
