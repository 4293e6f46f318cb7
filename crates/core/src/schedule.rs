//! What a schedule is: a trigger in a zone, the days it may run, what to do when it is late or its
//! last job still runs, and the job it makes.
//!
//! This is the rule as people write it; a store keeps it as JSON. [`Series`] turns it into nominal
//! fires one after the other, calendars included; [`crate::plan`] decides what becomes of them.

use crate::calendar::{DayRules, OnExcluded};
use crate::cron::{ClockChange, FireNote, stable_hash};
use crate::duration;
use crate::ids::ScheduleId;
use crate::job::{self, NewJob, Origin};
use crate::json::Json;
use crate::limits;
use crate::retry::RetryPolicy;
use crate::schedule_record::FireOutcome;
use crate::time;
use crate::trigger::{Moments, Trigger, first_instant, instant_of};
use crate::zone::Zone;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::Duration;

/// A rule that fires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Unique in the project. Decides what `H` is and how jitter falls.
    pub name: String,
    /// When.
    pub trigger: Trigger,
    /// Where: the zone of the trigger, of the calendars and of the blackouts.
    #[serde(default)]
    pub zone: Zone,
    /// What becomes of times that do not exist or come twice.
    #[serde(default)]
    pub clock_change: ClockChange,
    /// The days and hours it may run.
    #[serde(default)]
    pub days: DayRules,
    /// No fire before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Timestamp>,
    /// No fire after this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// No fire once this many have made a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_fires: Option<u64>,
    /// What becomes of fires noticed too late.
    #[serde(default)]
    pub misfire: Misfire,
    /// How late a fire may be noticed before it counts as a misfire.
    #[serde(default = "default_grace", with = "duration::human")]
    pub grace: Duration,
    /// What becomes of a fire while a job of this schedule is not final.
    #[serde(default)]
    pub overlap: Overlap,
    /// Every fire starts up to this much later, each by an amount of its own that never changes.
    #[serde(default, with = "duration::human")]
    pub jitter: Duration,
    /// What it enqueues.
    pub job: JobTemplate,
}

fn default_grace() -> Duration {
    Duration::from_secs(60)
}

/// What becomes of fires that are noticed later than the grace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "snake_case", deny_unknown_fields)]
pub enum Misfire {
    /// They are let go: `missed`.
    Skip,
    /// One run stands for all of them: the others are `coalesced`.
    #[default]
    Once,
    /// Each runs, the newest `cap` of those in the last `window`; the others are `missed`. Wants
    /// the overlap policy `allow`: under the others most of a burst would be skipped.
    All {
        /// At most this many at once, 1 to 1,000.
        #[serde(default = "default_cap")]
        cap: u32,
        /// Only fires of this last stretch of time.
        #[serde(default = "default_window", with = "duration::human")]
        window: Duration,
    },
}

fn default_cap() -> u32 {
    100
}

fn default_window() -> Duration {
    Duration::from_secs(86_400)
}

/// What becomes of a fire while a job of the schedule is not final.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It runs beside it.
    Allow,
    /// It is skipped.
    #[default]
    Skip,
    /// It waits for its turn, if no other does already.
    QueueOne,
    /// It takes its place: what runs or waits is cancelled.
    Replace,
}

/// The job a schedule makes. What is absent is the kind's or the queue's own default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobTemplate {
    /// The handler's name.
    pub kind: String,
    /// The lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The handler's input.
    #[serde(default)]
    pub payload: serde_json::Value,
    /// 0 (first) to 9 (last).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// The longest an attempt may take.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::human_option")]
    pub timeout: Option<Duration>,
    /// Attempts in all; with `retry` too, this number wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How often, and with which waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// Jobs with the same key share the queue's per-key limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Not started later than this after it was to start.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::human_option")]
    pub expires_after: Option<Duration>,
}

impl JobTemplate {
    /// The job of one fire. Its payload is given as is.
    pub fn job(&self, schedule: ScheduleId, scheduled_for: Timestamp, run_at: Timestamp) -> NewJob {
        let mut new = NewJob::new(self.kind.as_str(), Json::trusted(self.payload.to_string()));
        if let Some(queue) = &self.queue {
            new.queue = queue.as_str().into();
        }
        new.priority = self.priority.unwrap_or(new.priority);
        new.run_at = Some(run_at);
        new.expires_at = self.expires_after.map(|d| time::plus(run_at, d));
        new.timeout = self.timeout;
        new.retry = self.retry.clone().unwrap_or_default();
        new.retry.max_attempts = self.max_attempts.unwrap_or(new.retry.max_attempts);
        new.key = self.key.as_deref().map(Into::into);
        new.schedule = Some((schedule, Some(scheduled_for)));
        new.origin = Origin::Fire;
        new
    }
}

impl ScheduleSpec {
    /// A schedule with every default, in UTC.
    pub fn new(name: impl Into<String>, trigger: Trigger, kind: impl Into<String>) -> ScheduleSpec {
        ScheduleSpec {
            name: name.into(),
            trigger,
            zone: Zone::utc(),
            clock_change: ClockChange::default(),
            days: DayRules::default(),
            starts_at: None,
            ends_at: None,
            max_fires: None,
            misfire: Misfire::default(),
            grace: default_grace(),
            overlap: Overlap::default(),
            jitter: Duration::ZERO,
            job: JobTemplate {
                kind: kind.into(),
                queue: None,
                payload: serde_json::Value::Null,
                priority: None,
                timeout: None,
                max_attempts: None,
                retry: None,
                key: None,
                expires_after: None,
            },
        }
    }

    /// What is wrong with it, as (field, text).
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        job::check_name(&self.name).map_err(|e| ("name", e))?;
        self.trigger.check().map_err(|e| ("trigger", e))?;
        self.days.check().map_err(|e| ("days", e))?;
        if let (Some(start), Some(end)) = (self.starts_at, self.ends_at)
            && start > end
        {
            return Err(("ends_at", format!("{end} is before starts_at, {start}")));
        }
        if self.max_fires == Some(0) {
            return Err(("max_fires", "0 fires: pause the schedule instead".into()));
        }
        if let Misfire::All { cap, .. } = self.misfire
            && !(1..=limits::BATCH as u32).contains(&cap)
        {
            return Err(("misfire", format!("a cap of {cap} is not in 1-{}", limits::BATCH)));
        }
        if let Some(retry) = &self.job.retry {
            retry.backoff.check().map_err(|e| ("job.retry", e))?;
        }
        self.job.job(ScheduleId(0), Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH).check()
    }

    /// Its nominal fires.
    pub fn series(&self) -> Series<'_> {
        // Under `skip` the missing times are looked at as well, so that they can be told.
        let policy = match self.clock_change {
            ClockChange::Skip => ClockChange::Vixie,
            other => other,
        };
        Series { spec: self, moments: self.trigger.resolve(&self.name, &self.zone, policy) }
    }

    /// Its first nominal fire after `now`, when it is made or changed. A fixed delay begins at
    /// once; a start of a node is the node's to tell (see [`ScheduleSpec::at_node_start`]).
    pub fn first_fire(&self, now: Timestamp) -> Option<Timestamp> {
        match self.trigger {
            Trigger::AfterCompletion { .. } => self.after(now),
            _ => self.series().next_after(now).map(|item| item.due),
        }
    }

    /// The next fire of a fixed delay, once its job ended at `completed`.
    pub fn after_completion(&self, completed: Timestamp) -> Option<Timestamp> {
        self.trigger.delay().and_then(|delay| self.after(time::plus(completed, delay)))
    }

    /// The fire of a `@reboot` schedule when a node starts at `now`.
    pub fn at_node_start(&self, now: Timestamp) -> Option<Timestamp> {
        if self.trigger == Trigger::Reboot { self.after(now) } else { None }
    }

    /// `at`, or the start if that is later; None after the end.
    fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let at = self.starts_at.map_or(at, |start| at.max(start));
        self.ends_at.is_none_or(|end| at <= end).then_some(at)
    }

    /// By how much the fire at `due` starts later: the same for ever.
    pub fn jitter_of(&self, due: Timestamp) -> Duration {
        let bound = self.jitter.as_millis() as u64;
        if bound == 0 {
            return Duration::ZERO;
        }
        let hash = stable_hash(&[self.name.as_bytes(), &due.as_second().to_be_bytes()]);
        Duration::from_millis(hash % (bound + 1))
    }
}

/// One nominal fire, with what the trigger and the calendars say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// When the trigger fires.
    pub nominal: Timestamp,
    /// When it is to be looked at: the same, unless it was moved to another day.
    pub due: Timestamp,
    /// What a clock change has to do with it.
    pub note: Option<FireNote>,
    /// Why it makes no job whatever else holds, if so.
    pub verdict: Option<(FireOutcome, Cow<'static, str>)>,
}

/// Nominal fires of a schedule in the order in which they fall due.
#[derive(Clone, Debug)]
pub struct Series<'a> {
    spec: &'a ScheduleSpec,
    moments: Moments,
}

impl Series<'_> {
    /// The first item due strictly after `after`.
    pub fn next_after(&self, after: Timestamp) -> Option<Item> {
        let days = &self.spec.days;
        if days.allow_every_day() || days.on_excluded == OnExcluded::Skip {
            return self.moment(after).map(|fire| self.judge(fire));
        }
        // A fire moved ahead may have been nominal before `after`; look at the excluded days there.
        let mut best: Option<Item> = None;
        let mut offer = |item: Item, after: Timestamp| {
            if item.due > after && best.as_ref().is_none_or(|b| item.due < b.due) {
                best = Some(item);
            }
        };
        if days.on_excluded == OnExcluded::Next {
            let run = days.run_start(self.spec.zone.wall(after).date());
            let start = first_instant(&self.spec.zone, run);
            if let Some(fire) = self.moment(just_before(start)).filter(|fire| fire.at <= after) {
                offer(self.judge(fire), after);
            }
        }
        // Of the fires after it, the first is next unless it was moved; then the one behind it too.
        let mut from = after;
        for _ in 0..3 {
            let Some(fire) = self.moment(from) else { break };
            from = fire.at;
            let item = self.judge(fire);
            let moved = item.due != item.nominal;
            offer(item, after);
            if !moved {
                break;
            }
        }
        best
    }

    /// The first moment of the trigger after `after`, between start and end.
    fn moment(&self, after: Timestamp) -> Option<crate::cron::CronFire> {
        let after = self.spec.starts_at.map_or(after, |start| after.max(just_before(start)));
        self.moments.next_after(after).filter(|fire| self.spec.ends_at.is_none_or(|end| fire.at <= end))
    }

    fn judge(&self, fire: crate::cron::CronFire) -> Item {
        let spec = self.spec;
        let mut item = Item { nominal: fire.at, due: fire.at, note: fire.note, verdict: None };
        if spec.clock_change == ClockChange::Skip
            && matches!(fire.note, Some(FireNote::Moved { folded: false, .. }))
        {
            item.verdict = Some((FireOutcome::Skipped, "clock change: the time does not exist".into()));
            return item;
        }
        if spec.days.allow_every_day() {
            return item;
        }
        let wall = spec.zone.wall(fire.at);
        let Some(reason) = spec.days.excluded(wall.date()) else { return item };
        let skipped = |reason: Cow<'static, str>| Some((FireOutcome::Skipped, reason));
        if spec.days.on_excluded == OnExcluded::Skip {
            item.verdict = skipped(reason.into());
            return item;
        }
        let Some(target) = spec.days.moved(wall.date()) else {
            item.verdict = skipped("excluded day: no allowed day within a year".into());
            return item;
        };
        let start = first_instant(&spec.zone, target);
        let end = target.tomorrow().map_or(Timestamp::MAX, |next| first_instant(&spec.zone, next));
        let taken = self.moment(just_before(start)).is_some_and(|other| other.at < end);
        // The first of the excluded days in a row takes the place; the others join it.
        let run = first_instant(&spec.zone, spec.days.run_start(wall.date()));
        let first = self.moment(just_before(run)).is_some_and(|other| other.at == fire.at);
        if taken || !first {
            item.verdict = Some((
                FireOutcome::Coalesced,
                "excluded day: the allowed day it moves to has a fire already".into(),
            ));
        } else {
            item.due = instant_of(&spec.zone, target, wall.time());
        }
        item
    }
}

/// The last instant before `at` that a store can hold.
pub(crate) fn just_before(at: Timestamp) -> Timestamp {
    time::minus(at, Duration::from_micros(1))
}
