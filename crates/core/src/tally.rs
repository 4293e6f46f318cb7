//! The figures written beside every change of state: counters, per-minute roll-ups with a duration
//! histogram, and the recent outcomes that the health rule looks at.
//!
//! A store collects one [`Tally`] per transaction and adds it to its tables in that transaction, so
//! that figures and history cannot disagree (invariant 1) and no dashboard ever counts rows.

use crate::ids::{ProjectId, ScheduleId};
use crate::job::{AttemptOutcome, JobState};
use crate::{limits, time};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The way a job travels: its project, queue and kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Route {
    /// Tenant.
    pub project: ProjectId,
    /// Lane.
    pub queue: Arc<str>,
    /// Handler.
    pub kind: Arc<str>,
}

/// The bucket of a duration: four per octave of microseconds, so a percentile read from the
/// histogram is at most 25 % above the true one. 0 to 255.
pub fn bucket(d: Duration) -> i16 {
    let us = u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    if us < 4 {
        return us as i16;
    }
    let octave = 63 - us.leading_zeros();
    (octave * 4 + ((us >> (octave - 2)) & 3) as u32) as i16
}

/// The largest duration that falls into `bucket`.
pub fn bucket_top(bucket: i16) -> Duration {
    let b = bucket.clamp(0, 255) as u32;
    if b < 8 {
        return Duration::from_micros(u64::from(b.min(3)));
    }
    let (octave, sub) = (b / 4, u64::from(b % 4));
    let top = (u128::from(4 + sub + 1) << (octave - 2)) - 1;
    Duration::from_micros(u64::try_from(top).unwrap_or(u64::MAX))
}

/// The key of one roll-up row. `schedule` is 0 for jobs without one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RollupKey {
    /// Minutes since the epoch at which the attempts ended.
    pub minute: i64,
    /// Project, queue, kind.
    pub route: Route,
    /// The schedule that made the jobs.
    pub schedule: Option<ScheduleId>,
    /// How the attempts ended.
    pub outcome: AttemptOutcome,
    /// The [`bucket`] of their durations.
    pub bucket: i16,
}

/// What a roll-up row holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RollupSum {
    /// Attempts.
    pub count: u64,
    /// The sum of their durations in microseconds.
    pub total_us: u64,
}

/// What recent outcomes are kept for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Jobs of a kind.
    Kind(Arc<str>),
    /// Jobs of a queue.
    Queue(Arc<str>),
    /// Jobs of a schedule.
    Schedule(ScheduleId),
}

/// The last outcomes in a scope: (end, outcome), oldest first, at most [`limits::RECENT`].
/// Only outcomes that count for health are kept: succeeded, partial, failed, timed out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Recent(pub Vec<(i64, AttemptOutcome)>);

impl Recent {
    /// Joins two lists by time and keeps the newest.
    pub fn merge(&mut self, other: &Recent) {
        self.0.extend_from_slice(&other.0);
        self.0.sort_by_key(|(at, _)| *at);
        let surplus = self.0.len().saturating_sub(limits::RECENT);
        self.0.drain(..surplus);
    }
}

/// What one transaction adds.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Jobs per route and state: by how many they grew or shrank.
    pub counters: BTreeMap<(Route, JobState), i64>,
    /// Finished attempts.
    pub rollups: BTreeMap<RollupKey, RollupSum>,
    /// Recent outcomes.
    pub recents: BTreeMap<(ProjectId, Scope), Recent>,
}

impl Tally {
    /// A job came into being in `state`.
    pub fn created(&mut self, route: &Route, state: JobState) {
        *self.counters.entry((route.clone(), state)).or_default() += 1;
    }

    /// A job changed its state.
    pub fn moved(&mut self, route: &Route, from: JobState, to: JobState) {
        self.moved_many(route, from, to, 1);
    }

    /// `n` jobs changed their state.
    pub fn moved_many(&mut self, route: &Route, from: JobState, to: JobState, n: i64) {
        *self.counters.entry((route.clone(), from)).or_default() -= n;
        *self.counters.entry((route.clone(), to)).or_default() += n;
    }

    /// A job in `state` was deleted.
    pub fn deleted(&mut self, route: &Route, state: JobState) {
        *self.counters.entry((route.clone(), state)).or_default() -= 1;
    }

    /// An attempt ended.
    pub fn attempt(
        &mut self,
        route: &Route,
        schedule: Option<ScheduleId>,
        outcome: AttemptOutcome,
        started_at: Timestamp,
        finished_at: Timestamp,
    ) {
        let took = time::since(started_at, finished_at);
        let key = RollupKey {
            minute: time::minute(finished_at),
            route: route.clone(),
            schedule,
            outcome,
            bucket: bucket(took),
        };
        let sum = self.rollups.entry(key).or_default();
        sum.count += 1;
        sum.total_us += took.as_micros() as u64;
        if counts_for_health(outcome) {
            let entry = (time::micros(finished_at), outcome);
            let kind = Scope::Kind(route.kind.clone());
            let queue = Scope::Queue(route.queue.clone());
            for scope in [kind, queue].into_iter().chain(schedule.map(Scope::Schedule)) {
                let recent = self.recents.entry((route.project, scope)).or_default();
                recent.0.push(entry);
                if recent.0.len() >= 2 * limits::RECENT {
                    recent.merge(&Recent::default());
                }
            }
        }
    }

    /// Drops counters that came out even.
    pub fn settle(&mut self) {
        self.counters.retain(|_, n| *n != 0);
        for recent in self.recents.values_mut() {
            recent.merge(&Recent::default());
        }
    }

    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.counters.values().all(|n| *n == 0) && self.rollups.is_empty()
    }
}

/// Whether an outcome says something about the health of what ran. Cancelled, skipped, interrupted
/// and snoozed do not.
pub fn counts_for_health(outcome: AttemptOutcome) -> bool {
    use AttemptOutcome as A;
    matches!(outcome, A::Succeeded | A::Partial | A::Failed | A::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_holds_its_durations_and_is_narrow(us in 0u64..u64::MAX / 2) {
            let b = bucket(Duration::from_micros(us));
            let top = bucket_top(b).as_micros() as u64;
            prop_assert!(us <= top);
            prop_assert!(us < 4 || (top - us) as f64 <= us as f64 * 0.25 + 1.0);
            prop_assert_eq!(bucket(Duration::from_micros(top)), b);
            prop_assert!(bucket(Duration::from_micros(us + 1)) >= b);
        }
    }

    #[test]
    fn recent_outcomes_keep_the_newest_in_order_of_time() {
        let mut a = Recent((0..50).map(|i| (i * 2, AttemptOutcome::Succeeded)).collect());
        a.merge(&Recent(vec![(51, AttemptOutcome::Failed)]));
        assert_eq!(a.0.len(), limits::RECENT);
        assert_eq!(a.0[0].0, 2);
        assert!(a.0.is_sorted_by_key(|e| e.0));
    }

    #[test]
    fn what_came_out_even_is_not_written() {
        let route = Route { project: ProjectId(1), queue: "q".into(), kind: "k".into() };
        let mut t = Tally::default();
        t.created(&route, JobState::Available);
        t.moved(&route, JobState::Available, JobState::Running);
        t.settle();
        assert_eq!(t.counters.len(), 1);
        assert_eq!(t.counters[&(route, JobState::Running)], 1);
    }
}
