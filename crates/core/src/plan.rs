//! The planner: what a look at a due schedule decides. Pure; nothing else chooses when a schedule
//! fires (invariant 8).
//!
//! Every nominal fire from the stored next fire up to `now` ends in exactly one place: in
//! [`Plan::fires`] or in a row of [`Plan::ledger`], with a reason (invariant 5). Checks in order:
//! what the trigger and the calendars say, blackout, pause, misfire, limit, overlap. The next fire
//! is computed from the stored one, never from `now`: a clock set back fires nothing twice, a clock
//! set ahead loses nothing unseen.
//!
//! One call looks at [`limits::FIRES_PER_PLAN`] nominal fires at most and says so by
//! [`Plan::more`]; the caller writes what it got and calls again. A run that stands for many late
//! ones is held back until the last of them is in sight.
//!
//! Manual runs never enter here: they own no nominal fire.

use crate::cron::clock;
use crate::job::JobState;
use crate::queue::Pause;
use crate::schedule::{Item, Misfire, Overlap, ScheduleSpec, just_before};
use crate::schedule_record::{FireOutcome, LedgerRow, ScheduleRecord};
use crate::trigger::Trigger;
use crate::{duration, limits, time};
use jiff::Timestamp;
use serde::Serialize;
use std::borrow::Cow;

/// What the store keeps of a schedule that the planner must know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduleState {
    /// The stored next fire.
    pub next_fire: Option<Timestamp>,
    /// Fires that made a job.
    pub fires: u64,
    /// Its pause, which may have ended.
    pub paused: Option<Pause>,
}

impl ScheduleState {
    /// As recorded.
    pub fn of(record: &ScheduleRecord) -> ScheduleState {
        ScheduleState { next_fire: record.next_fire, fires: record.fires, paused: record.paused.clone() }
    }
}

/// Jobs of the schedule that are not final.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveJobs {
    /// Running now.
    pub running: u32,
    /// Available or scheduled.
    pub waiting: u32,
}

impl LiveJobs {
    /// Counted from states.
    pub fn count<'a>(states: impl IntoIterator<Item = &'a JobState>) -> LiveJobs {
        let mut live = LiveJobs::default();
        for state in states {
            match state {
                JobState::Running => live.running += 1,
                JobState::Available | JobState::Scheduled => live.waiting += 1,
                _ => {}
            }
        }
        live
    }
}

/// A fire that makes a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFire {
    /// The fire: unique by schedule and this.
    pub scheduled_for: Timestamp,
    /// When its job starts: later by the jitter; counted from `now` for a late one.
    pub run_at: Timestamp,
}

/// What a look at a schedule decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Fires that make a job, oldest first, at most [`limits::BATCH`].
    pub fires: Vec<PlannedFire>,
    /// Fires that make none: neighbours that ended alike share a row.
    pub ledger: Vec<LedgerRow>,
    /// Cancel what runs or waits (overlap policy `replace`).
    pub cancel_live: bool,
    /// The next fire to store.
    pub next_fire: Option<Timestamp>,
    /// Why there is no next fire, when there will never be one.
    pub exhausted: Option<Cow<'static, str>>,
    /// More is due: write this and call again.
    pub more: bool,
}

type Verdict = (FireOutcome, Cow<'static, str>);

/// Decides what becomes of every fire of a schedule that is due at `now`.
pub fn plan(spec: &ScheduleSpec, state: &ScheduleState, live: LiveJobs, now: Timestamp) -> Plan {
    let Some(first) = state.next_fire else { return Plan::default() };
    if first > now {
        return Plan { next_fire: Some(first), ..Plan::default() };
    }
    let mut due = Due::gather(spec, first, now);
    let mut verdicts = before_misfire(spec, state, &due.items);
    misfires(spec, &mut due, &mut verdicts, now);
    let (fires, cancel_live) = runs(spec, state, live, &mut due, &mut verdicts);
    // Of several that replace one another only the last keeps its run, so the limit counts it once.
    let mut plan = Plan { cancel_live, ledger: fold(&due.items, &verdicts), ..Plan::default() };
    plan.fires = fires
        .into_iter()
        .map(|i| {
            let due = due.items[i].due;
            let base = if is_late(spec, due, now) { now } else { due };
            PlannedFire { scheduled_for: due, run_at: time::plus(base, spec.jitter_of(due)) }
        })
        .collect();
    let made = state.fires + plan.fires.len() as u64;
    if spec.max_fires.is_some_and(|max| made >= max) && due.next.is_none_or(|next| next > now) {
        plan.exhausted = Some(limit_reason(spec));
    } else if due.next.is_some() {
        plan.next_fire = due.next;
        plan.more = due.next.is_some_and(|next| next <= now);
    } else {
        (plan.next_fire, plan.exhausted) = without_successor(spec, &plan, now);
    }
    plan
}

/// What follows the last fire that time alone gives.
fn without_successor(
    spec: &ScheduleSpec,
    plan: &Plan,
    now: Timestamp,
) -> (Option<Timestamp>, Option<Cow<'static, str>>) {
    match &spec.trigger {
        // The completion of the job sets the next fire; without a job the delay counts from here.
        Trigger::AfterCompletion { .. } if plan.fires.is_empty() => match spec.after_completion(now) {
            None => (None, Some("its end has passed".into())),
            next => (next, None),
        },
        Trigger::AfterCompletion { .. } | Trigger::Reboot => (None, None),
        Trigger::Once { .. } => (None, Some("it fires once".into())),
        _ if spec.ends_at.is_some() => (None, Some("its end has passed".into())),
        _ => (None, Some("its trigger has no further fire".into())),
    }
}

/// Items that are due, oldest first, and the one after them.
struct Due {
    items: Vec<Item>,
    next: Option<Timestamp>,
}

impl Due {
    fn gather(spec: &ScheduleSpec, first: Timestamp, now: Timestamp) -> Due {
        if matches!(spec.trigger, Trigger::AfterCompletion { .. } | Trigger::Reboot) {
            let mut item = Item { nominal: first, due: first, note: None, verdict: None };
            let reason = match spec.ends_at {
                Some(end) if first > end => Some("limit: its end has passed".into()),
                _ => spec.days.excluded(spec.zone.wall(first).date()),
            };
            item.verdict = reason.map(|reason| (FireOutcome::Skipped, reason.into()));
            return Due { items: vec![item], next: None };
        }
        let series = spec.series();
        let mut items = Vec::new();
        let mut next = series.next_after(just_before(first));
        while let Some(item) = next.take_if(|item| item.due <= now && items.len() < limits::FIRES_PER_PLAN) {
            next = series.next_after(item.due);
            items.push(item);
        }
        Due { items, next: next.map(|item| item.due) }
    }

    /// Leaves item `at` and what follows to the next call.
    fn cut(&mut self, at: usize, verdicts: &mut Vec<Option<Verdict>>) {
        self.next = Some(self.items[at].due);
        self.items.truncate(at);
        verdicts.truncate(at);
    }
}

fn is_late(spec: &ScheduleSpec, due: Timestamp, now: Timestamp) -> bool {
    time::since(due, now) > spec.grace
}

fn limit_reason(spec: &ScheduleSpec) -> Cow<'static, str> {
    format!("limit: {} fires have been made", spec.max_fires.unwrap_or_default()).into()
}

/// Calendar, clock change, blackout and pause; None for what may run so far.
fn before_misfire(spec: &ScheduleSpec, state: &ScheduleState, items: &[Item]) -> Vec<Option<Verdict>> {
    let skipped = |reason: String| Some((FireOutcome::Skipped, Cow::from(reason)));
    let pause = state.paused.as_ref().map(|pause| {
        let note = pause.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        (pause, limits::cut(&format!("paused by {}{note}", pause.by), limits::NOTE))
    });
    let judge = |item: &Item| {
        if item.verdict.is_some() {
            return item.verdict.clone();
        }
        if !spec.days.blackouts.is_empty()
            && let Some(reason) = spec.days.blacked_out(spec.zone.wall(item.due))
        {
            return skipped(reason);
        }
        match &pause {
            Some((pause, reason)) if pause.holds(item.due) => skipped(reason.clone()),
            _ => None,
        }
    };
    items.iter().map(judge).collect()
}

/// What the misfire policy says of fires noticed too late.
fn misfires(spec: &ScheduleSpec, due: &mut Due, verdicts: &mut Vec<Option<Verdict>>, now: Timestamp) {
    if let Misfire::All { window, .. } = spec.misfire {
        let reason = format!("more than {} late", duration::format(window.max(spec.grace)));
        for (item, verdict) in due.items.iter().zip(verdicts.iter_mut()) {
            if verdict.is_none() && time::since(item.due, now) > window.max(spec.grace) {
                *verdict = Some((FireOutcome::Missed, reason.clone().into()));
            }
        }
    }
    let mut late = open(verdicts);
    late.retain(|i| is_late(spec, due.items[*i].due, now));
    let (keep, verdict): (usize, Verdict) = match spec.misfire {
        Misfire::Skip => {
            let reason = format!("noticed more than {} late", duration::format(spec.grace));
            (0, (FireOutcome::Missed, reason.into()))
        }
        Misfire::Once => (1, (FireOutcome::Coalesced, "late: one run stands for all".into())),
        Misfire::All { cap, .. } => {
            (cap as usize, (FireOutcome::Missed, format!("late: more than {cap} at once").into()))
        }
    };
    let mut keep_here = keep;
    if due.next.is_some_and(|next| is_late(spec, next, now)) && keep > 0 {
        // More late ones follow: what would be kept here waits, so that it is kept once in all.
        let held = late.len().saturating_sub(keep);
        if let Some(at) = late.get(held).copied().filter(|at| *at > 0) {
            due.cut(at, verdicts);
            late.truncate(held);
            keep_here = 0;
        }
    } else if matches!(spec.misfire, Misfire::Once) && open(verdicts).len() > late.len() {
        // A fire that is on time stands for the late ones.
        keep_here = 0;
    }
    late.truncate(late.len().saturating_sub(keep_here));
    for i in late {
        verdicts[i] = Some(verdict.clone());
    }
}

/// Which have no verdict yet.
fn open(verdicts: &[Option<Verdict>]) -> Vec<usize> {
    (0..verdicts.len()).filter(|i| verdicts[*i].is_none()).collect()
}

/// Limit and overlap: which of the open ones make a job, and whether live jobs are cancelled.
fn runs(
    spec: &ScheduleSpec,
    state: &ScheduleState,
    live: LiveJobs,
    due: &mut Due,
    verdicts: &mut Vec<Option<Verdict>>,
) -> (Vec<usize>, bool) {
    let mut runs: Vec<usize> = Vec::new();
    let mut waiting = live.waiting;
    for i in open(verdicts) {
        let busy = live.running + waiting;
        let overlap = match spec.overlap {
            Overlap::Skip => busy > 0,
            Overlap::QueueOne => waiting > 0 && busy > 1,
            Overlap::Allow | Overlap::Replace => false,
        };
        if spec.max_fires.is_some_and(|max| state.fires + runs.len() as u64 >= max)
            && (spec.overlap != Overlap::Replace || runs.is_empty())
        {
            verdicts[i] = Some((FireOutcome::Skipped, limit_reason(spec)));
        } else if overlap {
            let reason = match live.running {
                0 => "overlap: the job of an earlier fire is waiting",
                _ => "overlap: the job of an earlier fire is running",
            };
            verdicts[i] = Some((FireOutcome::Skipped, reason.into()));
        } else if runs.len() == limits::BATCH {
            due.cut(i, verdicts);
            break;
        } else {
            if spec.overlap == Overlap::Replace
                && let Some(before) = runs.pop()
            {
                verdicts[before] = Some((FireOutcome::Skipped, "overlap: replaced by a later fire".into()));
            }
            runs.push(i);
            waiting += 1;
        }
    }
    let cancel = spec.overlap == Overlap::Replace && !runs.is_empty() && live.running + live.waiting > 0;
    (runs, cancel)
}

/// Verdicts as rows; neighbours with the same outcome and reason share one.
fn fold(items: &[Item], verdicts: &[Option<Verdict>]) -> Vec<LedgerRow> {
    let mut rows: Vec<LedgerRow> = Vec::new();
    let mut join = false;
    for (item, verdict) in items.iter().zip(verdicts) {
        let Some((outcome, reason)) = verdict else {
            join = false;
            continue;
        };
        match rows.last_mut() {
            Some(row) if join && row.outcome == *outcome && row.reason == *reason => {
                row.first = row.first.min(item.nominal);
                row.last = row.last.max(item.nominal);
                row.count += 1;
            }
            _ => rows.push(LedgerRow {
                first: item.nominal,
                last: item.nominal,
                count: 1,
                outcome: *outcome,
                reason: reason.to_string(),
            }),
        }
        join = true;
    }
    rows
}

/// One line of a preview.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PreviewFire {
    /// When.
    pub at: Timestamp,
    /// The same as people read it in the schedule's zone: `Sun 2027-03-14 03:00:00 -04:00`.
    pub wall: String,
    /// What is special about it: a clock change, another day.
    pub note: Option<String>,
    /// False for a fire that a clock change keeps from running: shown, because it surprises.
    pub runs: bool,
}

/// The next `n` fires (at most 1,000) after `from`. Fires on excluded days and in blackouts are
/// left out; pauses, limits and what runs at the time are not known here.
pub fn preview(spec: &ScheduleSpec, from: Timestamp, n: usize) -> Vec<PreviewFire> {
    let n = n.min(limits::PAGE);
    let series = spec.series();
    let mut out: Vec<PreviewFire> = Vec::new();
    let mut after = from;
    // A rule that excludes almost everything must not make a page slow.
    for _ in 0..limits::FIRES_PER_PLAN {
        if out.len() >= n {
            break;
        }
        let Some(item) = series.next_after(after) else { break };
        after = item.due;
        let wall = spec.zone.wall(item.due);
        let clock_change = item.note.map(|note| match (&item.verdict, note) {
            (Some(_), crate::cron::FireNote::Moved { wall, .. }) => {
                format!("{} {} does not exist in {}: skipped", wall.date(), clock(wall), spec.zone)
            }
            _ => note.sentence(&spec.zone, item.nominal),
        });
        let skipped = item.verdict.is_some();
        if skipped
            && !(clock_change.is_some()
                && item.due == item.nominal
                && spec.days.excluded(wall.date()).is_none())
            || spec.days.blacked_out(wall).is_some()
        {
            continue;
        }
        let moved = (item.due != item.nominal)
            .then(|| format!("moved from {}: not an allowed day", spec.zone.wall(item.nominal).date()));
        out.push(PreviewFire {
            at: item.due,
            wall: spec.zone.show(item.due),
            note: moved.or(clock_change),
            runs: !skipped,
        });
    }
    out
}
