//! Alert rules: made, changed, tried on history, silenced.

pub mod api;
mod fields;
pub mod pages;

use crate::access::Caller;
use crate::problem::Result;
use crate::views::{self, chart};
use jiff::Timestamp;
use mainspring::alerts::{self, Backtest, RuleRecord, RuleSpec};
use mainspring_core::alert::Rule;
use mainspring_core::time;
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

/// A stretch of a backtest; all are of equal length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct StretchView {
    /// Its beginning.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// How often it would have fired in it.
    pub fired: u64,
    /// For how many seconds of it an alert would have been open.
    pub open: u64,
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
    /// The same over time: at most 30 stretches, in order.
    pub stretches: Vec<StretchView>,
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

/// Times of a backtest that are shown one by one.
const SHOWN: usize = 100;
/// Stretches that its time is cut into.
const STRETCHES: u64 = 30;

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
            stretches: stretches(&found),
            episodes: found.episodes.into_iter().skip(fired.saturating_sub(SHOWN)).map(episode).collect(),
            attempts: found.attempts,
            by_hour_before: found.by_hour_before,
            recorded_since: found.series_since,
        }
    }
}

/// Stretches of whole minutes, at most [`STRETCHES`].
fn stretches(found: &Backtest) -> Vec<StretchView> {
    let (from, until) =
        (time::minute(found.from), time::minute(found.until).max(time::minute(found.from) + 1));
    let long = ((until - from) as u64).div_ceil(STRETCHES) as i64;
    let begins = (0..).map(|n| from + n * long).take_while(|begin| *begin < until);
    let stretch = |begin: i64| {
        let [begin, end] = [begin, (begin + long).min(until)].map(|m| time::from_micros(m * time::MINUTE));
        // Alerts of one rule about several overlap: open is open.
        let mut covered: Vec<(Timestamp, Timestamp)> = found
            .episodes
            .iter()
            .map(|e| (e.from.max(begin), e.until.unwrap_or(found.until).min(end)))
            .filter(|(from, until)| from < until)
            .collect();
        covered.sort();
        let (mut open, mut reached) = (Duration::ZERO, begin);
        for (from, until) in covered {
            open += time::since(from.max(reached), until);
            reached = reached.max(until);
        }
        // What fires at the last look belongs to the last stretch.
        let last = end == found.until;
        let within = |at: Timestamp| at >= begin && (at < end || last && at == end);
        let fired = found.episodes.iter().filter(|e| within(e.from)).count() as u64;
        StretchView { from: begin, fired, open: open.as_secs() }
    };
    begins.map(stretch).collect()
}

impl StretchView {
    /// How long an alert would have been open, in words.
    pub fn long(&self) -> String {
        views::length(&Duration::from_secs(self.open))
    }
}

impl BacktestView {
    /// The chart of its stretches: bars, the scale's top.
    pub fn columns(&self) -> (String, String) {
        chart::columns(&self.stretches.iter().map(|s| s.fired).collect::<Vec<_>>())
    }

    /// What the chart tells, in a sentence.
    pub fn label(&self) -> String {
        match self.stretches.iter().max_by_key(|s| s.fired).filter(|s| s.fired > 0) {
            Some(most) => format!("{} Most often from {}.", self.summary, views::wall(&most.from)),
            None => self.summary.clone(),
        }
    }

    /// Words under the time axis.
    pub fn ticks(&self) -> Vec<String> {
        let last = self.stretches.len().saturating_sub(1);
        let mut at = vec![0, last / 2, last];
        at.dedup();
        let word = |at: usize| Some(self.stretches.get(at)?.from.strftime("%d %b %H:%M").to_string());
        at.into_iter().filter_map(word).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use mainspring_core::alert::{Condition, Episode, Over, Target};

    fn at(minute: i64) -> Timestamp {
        time::from_micros((29_000_000 + minute) * time::MINUTE)
    }

    fn found(minutes: i64, episodes: &[(i64, Option<i64>)]) -> Backtest {
        let episode = |(from, until): &(i64, Option<i64>)| Episode {
            subject: "mail".into(),
            from: at(*from),
            until: until.map(at),
            breached: vec![("mail".into(), 3.0)],
        };
        Backtest {
            from: at(0),
            until: at(minutes),
            episodes: episodes.iter().map(episode).collect(),
            by_hour_before: at(0),
            attempts: 1,
            series_since: None,
        }
    }

    #[test]
    fn a_backtests_chart_counts_what_fired_and_how_long_it_was_open() {
        // Ten minutes each; two alerts overlap, one goes on, one fires at the very end.
        let past = found(300, &[(5, Some(25)), (8, Some(12)), (295, None), (300, None)]);
        let shown = stretches(&past);
        let seen = |n: usize| (shown[n].fired, shown[n].open);
        assert_eq!(shown.len(), 30);
        assert_eq!([seen(0), seen(1), seen(2), seen(3)], [(2, 300), (0, 600), (0, 300), (0, 0)]);
        assert_eq!(seen(29), (2, 300));
        assert_eq!(shown.iter().map(|s| s.fired).sum::<u64>(), 4);
        let rule = Rule::new(Condition::Failures { of: Target::each(Over::Kinds), in_a_row: 3 });
        let view = BacktestView::of(&rule, Duration::from_secs(18_000), past);
        assert_eq!(view.columns().0.matches('M').count(), 2);
        let most = format!("it would have fired 4 times. Most often from {}.", views::wall(&at(290)));
        assert!(view.label().ends_with(&most), "{}", view.label());
        assert_eq!(view.ticks().len(), 3);
        assert_eq!(stretches(&found(1, &[])).len(), 1);
        assert_eq!(stretches(&found(31, &[])).len(), 16, "whole minutes");
    }
}
