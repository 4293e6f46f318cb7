//! The calm log of a running node: one line for each attempt that ended and whatever else a person
//! would want to see, never more than a screen reader or a terminal can follow. What is beyond
//! [`LINES`] in a second is counted and told in one line.

use crate::out::{Paint, count, one_line, when};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainspring::NodeEvent;
use mainspring_core::ids::ScheduleId;
use mainspring_core::job::AttemptOutcome;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Lines in one second.
const LINES: u32 = 20;

/// What has been shown and counted.
pub struct Live {
    tz: TimeZone,
    colour: bool,
    json: bool,
    schedules: HashMap<ScheduleId, Arc<str>>,
    second: i64,
    shown: u32,
    hidden: BTreeMap<AttemptOutcome, u64>,
    /// Attempts by outcome since the start.
    pub totals: BTreeMap<AttemptOutcome, u64>,
}

impl Live {
    /// An empty log.
    pub fn new(tz: TimeZone, colour: bool, json: bool) -> Live {
        Live {
            tz,
            colour,
            json,
            schedules: HashMap::new(),
            second: 0,
            shown: 0,
            hidden: BTreeMap::new(),
            totals: BTreeMap::new(),
        }
    }

    /// Learns a schedule's name.
    pub fn name(&mut self, id: ScheduleId, name: &str) {
        self.schedules.insert(id, name.into());
    }

    /// The lines for an event at `now`; often none.
    pub fn lines(&mut self, event: &NodeEvent, now: Timestamp) -> Vec<String> {
        let mut lines = self.turn(now);
        if let NodeEvent::Fired { schedule, id, .. } = event {
            self.schedules.insert(*id, schedule.clone());
        }
        if let NodeEvent::Finished { outcome, .. } = event {
            *self.totals.entry(*outcome).or_default() += 1;
            if self.shown >= LINES {
                *self.hidden.entry(*outcome).or_default() += 1;
                return lines;
            }
        }
        let line = if self.json { self.json_line(event, now) } else { self.line(event, now) };
        if let Some(line) = line {
            self.shown += 1;
            lines.push(line);
        }
        lines
    }

    /// What is left to say when nothing happens.
    pub fn turn(&mut self, now: Timestamp) -> Vec<String> {
        if now.as_second() == self.second {
            return vec![];
        }
        self.second = now.as_second();
        self.shown = 0;
        if self.hidden.is_empty() {
            return vec![];
        }
        let hidden = std::mem::take(&mut self.hidden);
        let parts: Vec<String> = hidden.iter().map(|(o, n)| format!("{} {o}", count(*n))).collect();
        if self.json {
            let more: BTreeMap<&str, u64> = hidden.iter().map(|(o, n)| (o.as_str(), *n)).collect();
            return vec![serde_json::json!({ "at": now, "more": more }).to_string()];
        }
        vec![format!(
            "{}  {}",
            self.clock(now),
            Paint::Dim.on(&format!("… and {} more", parts.join(", ")), self.colour)
        )]
    }

    fn clock(&self, now: Timestamp) -> String {
        let text = now.to_zoned(self.tz.clone()).strftime("%H:%M:%S").to_string();
        Paint::Dim.on(&text, self.colour)
    }

    fn say(&self, now: Timestamp, paint: Paint, word: &str, text: &str) -> Option<String> {
        let word = paint.on(&format!("{word:<11}"), self.colour);
        Some(format!("{}  {word} {text}", self.clock(now)).trim_end().to_owned())
    }

    fn line(&self, event: &NodeEvent, now: Timestamp) -> Option<String> {
        match event {
            NodeEvent::Finished { job, attempt, kind, schedule, outcome, again, reason, took } => {
                let (word, paint) = match (outcome, again) {
                    (AttemptOutcome::Failed, Some(_)) => ("retrying", Paint::Warn),
                    (outcome, _) => (outcome.as_str(), Paint::of_outcome(*outcome)),
                };
                let from = schedule
                    .and_then(|id| self.schedules.get(&id))
                    .map(|name| format!("  {}", Paint::Dim.on(&format!("[{name}]"), self.colour)))
                    .unwrap_or_default();
                let nth = if *attempt > 1 { format!(" attempt {attempt}") } else { String::new() };
                let again =
                    again.map(|at| format!("  again {}", when::relative(at, now))).unwrap_or_default();
                let reason = reason.as_deref().map(|r| format!("  {}", one_line(r, 160))).unwrap_or_default();
                let text = format!(
                    "{kind}  job {job}{nth}  {}{again}{reason}{from}",
                    Paint::Dim.on(&when::short(*took), self.colour)
                );
                self.say(now, paint, word, &text)
            }
            NodeEvent::Fired { schedule, without, jobs, .. } if jobs.is_empty() && *without > 0 => {
                let text = format!("{schedule}: {} made no job", crate::out::plural(*without, "fire"));
                self.say(now, Paint::Warn, "not run", &text)
            }
            NodeEvent::Broken { schedule, why } => {
                self.say(now, Paint::Bad, "broken", &format!("schedule {schedule}: {why}"))
            }
            NodeEvent::StoreLost(why) => {
                self.say(now, Paint::Bad, "store lost", &format!("{why}; waiting for it"))
            }
            NodeEvent::StoreBack => self.say(now, Paint::Good, "store back", "going on"),
            NodeEvent::Skewed(Some(by)) => {
                let text = format!("this machine's clock is {} off; nothing is claimed", when::short(*by));
                self.say(now, Paint::Bad, "clock", &text)
            }
            NodeEvent::Skewed(None) => self.say(now, Paint::Good, "clock", "right again"),
            NodeEvent::Forgotten(_) => {
                self.say(now, Paint::Warn, "forgotten", "the store took this node for dead; it joins anew")
            }
            NodeEvent::Unblocked => {
                self.say(now, Paint::Warn, "blocked", "handlers blocked every thread; more were started")
            }
            NodeEvent::Stale { job, attempt } => {
                let text = format!("job {job} attempt {attempt}: its lease was lost, another attempt counts");
                self.say(now, Paint::Warn, "stale", &text)
            }
            NodeEvent::Draining { running } if *running > 0 => {
                let text = format!("waiting for {}", crate::out::plural(*running as u64, "running job"));
                self.say(now, Paint::Busy, "draining", &text)
            }
            _ => None,
        }
    }

    fn json_line(&self, event: &NodeEvent, now: Timestamp) -> Option<String> {
        let value = match event {
            NodeEvent::Finished { job, attempt, kind, schedule, outcome, again, reason, took } => {
                let name = schedule.and_then(|id| self.schedules.get(&id));
                serde_json::json!({
                    "at": now, "event": "finished", "job": job, "attempt": attempt, "kind": kind,
                    "schedule": name, "outcome": outcome, "again": again, "reason": reason,
                    "took_ms": took.as_millis() as u64,
                })
            }
            NodeEvent::Fired { schedule, jobs, without, .. } => serde_json::json!({
                "at": now, "event": "fired", "schedule": schedule, "jobs": jobs, "without": without,
            }),
            NodeEvent::Started { .. } => return None,
            other => serde_json::json!({ "at": now, "event": "node", "text": format!("{other:?}") }),
        };
        Some(value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainspring_core::ids::JobId;
    use std::time::Duration;

    fn finished(outcome: AttemptOutcome, again: Option<Timestamp>) -> NodeEvent {
        NodeEvent::Finished {
            job: JobId(7),
            attempt: 2,
            kind: "mail".into(),
            schedule: Some(ScheduleId(3)),
            outcome,
            again,
            reason: Some("boom\n".into()),
            took: Duration::from_millis(38),
        }
    }

    #[test]
    fn an_attempt_is_one_line_with_its_schedule() {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let mut live = Live::new(TimeZone::UTC, false, false);
        let fired = NodeEvent::Fired {
            schedule: "nightly".into(),
            id: ScheduleId(3),
            jobs: vec![JobId(7)],
            without: 0,
        };
        assert!(live.lines(&fired, now).is_empty());
        let again = mainspring_core::time::plus(now, Duration::from_secs(5));
        assert_eq!(
            live.lines(&finished(AttemptOutcome::Failed, Some(again)), now),
            ["10:00:00  retrying    mail  job 7 attempt 2  38ms  again in 5.0s  boom  [nightly]"]
        );
    }

    #[test]
    fn a_flood_is_counted_instead_of_shown() {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let mut live = Live::new(TimeZone::UTC, false, false);
        let shown: usize =
            (0..1_000).map(|_| live.lines(&finished(AttemptOutcome::Succeeded, None), now).len()).sum();
        assert_eq!(shown as u32, LINES);
        let later = mainspring_core::time::plus(now, Duration::from_secs(1));
        assert_eq!(live.turn(later), ["10:00:01  … and 980 succeeded more"]);
        assert_eq!(live.totals[&AttemptOutcome::Succeeded], 1_000);
    }
}
