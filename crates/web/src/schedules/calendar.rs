//! What the schedules of a project are going to do, all together: a week as a calendar, and the next
//! day by the minute, so that one sees where everything falls at once.
//!
//! Fires are worked out by the rules themselves, nothing is read of the past. However many schedules
//! there are and however often they fire, only [`BUDGET`] fires are worked out for a page; what was
//! left out is said.

use super::record;
use crate::access::Caller;
use crate::problem::Result;
use jiff::civil::{Date, DateTime};
use jiff::{Span, Timestamp};
use mainspring_core::plan::preview;
use mainspring_core::schedule::ScheduleSpec;
use mainspring_core::zone::Zone;
use mainspring_core::{limits, time};
use std::time::Duration;

/// Fires that are worked out for one page.
const BUDGET: usize = 6_000;
/// A schedule that fires more often than this in a week is no entry of a calendar.
const SPARSE: usize = 28;
/// Entries that stand side by side; of more only the number is said.
const LANES: usize = 3;
/// Days of the calendar.
const DAYS: usize = 7;

/// One fire in the calendar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The schedule.
    pub name: String,
    /// `02:30`.
    pub clock: String,
    /// The column, from 0.
    pub day: usize,
    /// Minutes since midnight.
    pub minute: usize,
    /// Which of the columns side by side.
    pub lane: usize,
    /// Whether it is of the schedule that was asked for.
    pub own: bool,
}

/// One day of the calendar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// `Mon 23`.
    pub text: String,
    /// Its entries as a list, for those who do not see the drawing.
    pub entries: Vec<String>,
}

/// Everything the page shows.
#[derive(Clone, Debug)]
pub struct Calendar {
    /// The zone everything is shown in.
    pub zone: String,
    /// Columns.
    pub days: Vec<Day>,
    /// What stands in them.
    pub entries: Vec<Entry>,
    /// What did not find a place beside others: day, minute, how many.
    pub crowds: Vec<(usize, usize, usize)>,
    /// Schedules that fire too often for a calendar.
    pub dense: Vec<String>,
    /// Schedules that were not looked at, for want of time.
    pub left: usize,
    /// Fires in each minute of the next 24 hours, by hour of the day and minute: 24 rows of 60.
    pub heat: Vec<[u32; 60]>,
    /// What the heat map tells.
    pub heat_words: String,
    /// Now, as a place in the calendar: minutes since midnight of the first day.
    pub now: usize,
}

/// The calendar of a project in a zone; `own` is marked.
pub async fn of(caller: &Caller, zone: &Zone, own: Option<&str>) -> Result<Calendar> {
    if let Some(name) = own {
        record(caller, name).await?;
    }
    let (store, project) = (caller.client().store(), caller.project_id());
    let now = caller.client().now();
    let page = store.schedules(project, None, limits::PAGE as u32).await?;
    let awake = page.rows.into_iter().filter(|s| s.paused.as_ref().is_none_or(|p| !p.holds(now)));
    let specs: Vec<ScheduleSpec> =
        awake.filter(|s| s.next_fire.is_some()).filter_map(|s| s.spec.to().ok()).collect();
    Ok(draw(&specs, zone, own, now))
}

/// The same from rules alone.
fn draw(specs: &[ScheduleSpec], zone: &Zone, own: Option<&str>, now: Timestamp) -> Calendar {
    let first = zone.wall(now).date();
    let week = time::plus(now, Duration::from_secs(DAYS as u64 * 86_400));
    let tomorrow = time::plus(now, Duration::from_secs(86_400));
    let mut heat = vec![[0u32; 60]; 24];
    let (mut entries, mut dense, mut left, mut spent) = (Vec::new(), Vec::new(), 0, 0);
    for spec in specs {
        // The one that was asked for is always looked at.
        let is_own = own == Some(spec.name.as_str());
        if spent >= BUDGET && !is_own {
            left += 1;
            continue;
        }
        let fires = preview(spec, now, 300);
        spent += fires.len();
        let fires: Vec<Timestamp> = fires.into_iter().filter(|f| f.runs).map(|f| f.at).collect();
        for at in fires.iter().filter(|at| **at < tomorrow) {
            let wall = zone.wall(*at);
            heat[wall.hour() as usize][wall.minute() as usize] += 1;
        }
        let soon: Vec<Timestamp> = fires.into_iter().filter(|at| *at < week).collect();
        if soon.len() > SPARSE {
            dense.push(spec.name.clone());
            continue;
        }
        entries.extend(soon.iter().filter_map(|at| entry(&spec.name, zone.wall(*at), first, is_own)));
    }
    let crowds = place(&mut entries);
    let wall = zone.wall(now);
    Calendar {
        zone: zone.name().to_owned(),
        days: days(first, &entries),
        entries,
        crowds,
        dense,
        left,
        heat_words: words(&heat),
        heat,
        now: wall.hour() as usize * 60 + wall.minute() as usize,
    }
}

fn entry(name: &str, wall: DateTime, first: Date, own: bool) -> Option<Entry> {
    let day = usize::try_from((wall.date() - first).get_days()).ok().filter(|d| *d < DAYS)?;
    let minute = wall.hour() as usize * 60 + wall.minute() as usize;
    let clock = wall.strftime("%H:%M").to_string();
    Some(Entry { name: name.to_owned(), clock, day, minute, lane: 0, own })
}

/// Gives those that would lie on one another places side by side, and says where there are too many.
fn place(entries: &mut Vec<Entry>) -> Vec<(usize, usize, usize)> {
    // About as many minutes as the height of an entry.
    const HIGH: usize = 75;
    entries.sort_by_key(|e| (e.day, !e.own, e.minute, e.name.clone()));
    let mut taken: Vec<(usize, usize, usize)> = Vec::new();
    let mut crowds: Vec<(usize, usize, usize)> = Vec::new();
    entries.retain_mut(|e| {
        let meets =
            |(day, minute, _): &&(usize, usize, usize)| *day == e.day && minute.abs_diff(e.minute) < HIGH;
        let lanes: Vec<usize> = taken.iter().filter(meets).map(|t| t.2).collect();
        match (0..LANES).find(|lane| !lanes.contains(lane)) {
            Some(lane) => {
                e.lane = lane;
                taken.push((e.day, e.minute, lane));
                true
            }
            None => {
                let at = (e.day, e.minute / 60 * 60);
                match crowds.iter_mut().find(|c| (c.0, c.1) == at) {
                    Some(crowd) => crowd.2 += 1,
                    None => crowds.push((at.0, at.1, 1)),
                }
                false
            }
        }
    });
    crowds
}

fn days(first: Date, entries: &[Entry]) -> Vec<Day> {
    let day = |n: usize| {
        let date = first.checked_add(Span::new().days(n as i64)).unwrap_or(first);
        let mut of: Vec<&Entry> = entries.iter().filter(|e| e.day == n).collect();
        of.sort_by_key(|e| e.minute);
        Day {
            text: date.strftime("%a %-d").to_string(),
            entries: of.iter().map(|e| format!("{} {}", e.clock, e.name)).collect(),
        }
    };
    (0..DAYS).map(day).collect()
}

/// How dark a minute is drawn: 0 to 5.
pub fn shade(n: u32, most: u32) -> usize {
    match n {
        0 => 0,
        _ if most <= 5 => n as usize,
        n => (n as usize * 5).div_ceil(most as usize),
    }
}

fn words(heat: &[[u32; 60]]) -> String {
    let all: u32 = heat.iter().flatten().sum();
    let minutes = heat.iter().flatten().filter(|n| **n > 0).count();
    let most = heat.iter().flatten().copied().max().unwrap_or(0);
    if all == 0 {
        return "No schedule fires in the next 24 hours.".into();
    }
    let (hour, minute) = heat
        .iter()
        .enumerate()
        .find_map(|(hour, row)| row.iter().position(|n| *n == most).map(|minute| (hour, minute)))
        .unwrap_or_default();
    format!(
        "{} in the next 24 hours, in {}; the fullest is {hour:02}:{minute:02} with {most}.",
        crate::views::counted(u64::from(all), "fire", "fires"),
        crate::views::counted(minutes as u64, "minute", "minutes"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainspring_core::trigger::Trigger;

    fn spec(name: &str, when: &str) -> ScheduleSpec {
        let mut spec = ScheduleSpec::new(name, Trigger::parse(when).unwrap(), "x");
        spec.zone = Zone::get("Europe/Berlin").unwrap();
        spec
    }

    fn now() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_week_shows_what_is_rare_and_a_day_counts_all_of_it() {
        let specs = [spec("night", "30 2 * * *"), spec("often", "every 15m"), spec("monday", "0 9 * * 1")];
        let zone = Zone::get("Europe/Berlin").unwrap();
        let c = draw(&specs, &zone, Some("monday"), now());
        assert_eq!((c.days.len(), c.days[0].text.as_str()), (7, "Sun 22"));
        assert_eq!(c.dense, ["often"]);
        let monday: Vec<&Entry> = c.entries.iter().filter(|e| e.own).collect();
        assert_eq!((monday.len(), monday[0].day, monday[0].minute), (1, 1, 540));
        assert_eq!(c.days[1].entries, ["02:30 night", "09:00 monday"]);
        assert_eq!((c.heat[2][30], c.heat[5][15], c.heat[9][0]), (2, 1, 2));
        assert!(c.heat_words.starts_with("97 fires in the next 24 hours, in 95 minutes"), "{}", c.heat_words);
        assert_eq!(c.now, 660);
    }

    #[test]
    fn what_falls_together_stands_side_by_side_or_is_counted() {
        let specs: Vec<_> = (0..5).map(|n| spec(&format!("s{n}"), "0 9 * * 1")).collect();
        let c = draw(&specs, &Zone::get("Europe/Berlin").unwrap(), Some("s4"), now());
        let lanes: Vec<(&str, usize)> = c.entries.iter().map(|e| (e.name.as_str(), e.lane)).collect();
        assert_eq!(lanes, [("s4", 0), ("s0", 1), ("s1", 2)]);
        assert_eq!(c.crowds, [(1, 540, 2)]);
    }

    #[test]
    fn many_schedules_cost_no_more_than_some() {
        let specs: Vec<_> = (0..100).map(|n| spec(&format!("s{n}"), "* * * * *")).collect();
        let c = draw(&specs, &Zone::get("UTC").unwrap(), None, now());
        assert_eq!((c.left, c.dense.len()), (80, 20));
        assert_eq!([shade(0, 9), shade(1, 3), shade(1, 900), shade(900, 900)], [0, 1, 1, 5]);
        assert_eq!(words(&vec![[0; 60]; 24]), "No schedule fires in the next 24 hours.");
    }
}
