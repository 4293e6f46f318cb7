//! What is allowed and probably not meant.
//!
//! A warning never keeps a schedule from being made: it is shown where people look (check, plan,
//! the form). Loads of other schedules come in as counts, since nothing here knows of them.

use super::expr::CronExpr;
use super::search::{ClockChange, FireNote};
use crate::time;
use crate::zone::Zone;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// How many fires ahead are looked at.
const FIRES: usize = 100;
/// How far ahead clock changes are looked for.
const AHEAD: i64 = 2 * 366 * 86_400;
/// This many others in one minute are worth a warning.
const CROWD: u32 = 10;

/// One warning. `code` is stable and meant for filters; `text` for people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LintWarning {
    /// `day-fields`, `never`, `clock-change`, `every-second`, `short-months` or `crowded-minute`.
    pub code: &'static str,
    /// What may surprise, and what to write instead.
    pub text: String,
}

/// How many other schedules fire in which minutes.
#[derive(Clone, Debug, Default)]
pub struct MinuteLoad(BTreeMap<i64, u32>);

impl MinuteLoad {
    /// Counts one fire of another schedule.
    pub fn add(&mut self, at: Timestamp) {
        *self.0.entry(time::minute(at)).or_default() += 1;
    }

    /// Fires of others in the minute of `at`.
    pub fn at(&self, at: Timestamp) -> u32 {
        self.0.get(&time::minute(at)).copied().unwrap_or(0)
    }
}

/// Everything worth saying about `expr` in `zone` from `from` on; `others` counts the fires of
/// other schedules.
pub fn lint(expr: &CronExpr, zone: &Zone, from: Timestamp, others: &MinuteLoad) -> Vec<LintWarning> {
    let mut out: Vec<LintWarning> =
        expr.warnings().into_iter().map(|text| LintWarning { code: "day-fields", text }).collect();
    let mut warn = |code, text| out.push(LintWarning { code, text });
    let fires: Vec<Timestamp> =
        expr.iter(zone, from, ClockChange::Vixie).take(FIRES).map(|fire| fire.at).collect();
    if fires.is_empty() {
        warn("never", format!("it never fires after {from}: no such day comes, or its years are over"));
        return out;
    }
    if expr.seconds.count_ones() == 60 {
        warn(
            "every-second",
            "it fires every second; for every minute write five fields, or 0 as the second".into(),
        );
    }
    if let Some(text) = short_months(expr) {
        warn("short-months", text);
    }
    if let Some(text) = clock_change(expr, zone, from) {
        warn("clock-change", text);
    }
    if let Some(at) = fires.iter().copied().max_by_key(|at| (others.at(*at), std::cmp::Reverse(*at)))
        && others.at(at) >= CROWD
    {
        warn(
            "crowded-minute",
            format!(
                "{} other schedules fire in the same minute, for example {}; write H as the minute to spread them",
                others.at(at),
                zone.show(at)
            ),
        );
    }
    out
}

/// Only days that some months do not have.
fn short_months(expr: &CronExpr) -> Option<String> {
    use super::expr::DayRule;
    let dom = &expr.dom;
    if !matches!(expr.day_rule, DayRule::Month) || dom.last || dom.last_workday {
        return None;
    }
    let first = match dom.nearest {
        Some(n) => u32::from(n),
        None => dom.mask.trailing_zeros(),
    };
    // In leap years every month of the field that lasts long enough.
    let lacking =
        (1..=12).filter(|m| expr.months >> m & 1 == 1 && super::days::month_length(2023, *m) < first);
    (lacking.count() > 0)
        .then(|| format!("months without a day {first} give no fire; write L for the last day of the month"))
}

/// The first fire that a clock change touches.
fn clock_change(expr: &CronExpr, zone: &Zone, from: Timestamp) -> Option<String> {
    if expr.is_interval() {
        return None;
    }
    let (mut at, end) = (from.as_second(), from.as_second() + AHEAD);
    loop {
        let change = zone.segment(at).end;
        if change >= end {
            return None;
        }
        // A day on either side of the change holds every fire it touches.
        let start = crate::zone::instant(change - 86_400);
        let touched = expr
            .iter(zone, start, ClockChange::Vixie)
            .take(FIRES * 30)
            .take_while(|fire| fire.at.as_second() < change + 86_400)
            .find_map(|fire| Some((fire.at, fire.note?)));
        if let Some((at, note)) = touched {
            let advice = match note {
                FireNote::Moved { .. } => "choose another hour, or a clock_change policy",
                _ => "choose another hour if that matters",
            };
            return Some(format!("{}; {advice}", note.sentence(zone, at)));
        }
        at = change;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str, zone: &str, others: &MinuteLoad) -> Vec<(&'static str, String)> {
        let expr = CronExpr::parse(text).unwrap();
        let from = "2026-11-22T10:00:00Z".parse().unwrap();
        let warnings = lint(&expr, &Zone::get(zone).unwrap(), from, others);
        warnings.into_iter().map(|w| (w.code, w.text)).collect()
    }

    #[test]
    fn each_surprise_has_its_warning_and_ordinary_ones_none() {
        let none = MinuteLoad::default();
        for (text, zone, code, words) in [
            ("0 0 */2 * mon", "UTC", "day-fields", "put `+` before the weekday field"),
            ("0 0 1 * */2", "UTC", "day-fields", "the day-of-week field is a step"),
            ("0 0 30 2 *", "UTC", "never", "never fires"),
            ("0 0 0 1 1 * 2020", "UTC", "never", "its years are over"),
            ("* * * * * *", "UTC", "every-second", "for every minute write five fields"),
            ("0 0 31 * *", "UTC", "short-months", "write L"),
            (
                "30 2 * * *",
                "America/New_York",
                "clock-change",
                "2027-03-14 02:30 does not exist in America/New_York: runs 03:00",
            ),
            ("30 1 * * *", "America/New_York", "clock-change", "comes twice in America/New_York"),
        ] {
            let found = codes(text, zone, &none);
            assert_eq!(found.iter().map(|w| w.0).collect::<Vec<_>>(), [code], "{text}: {found:?}");
            assert!(found[0].1.contains(words), "{text}: {found:?}");
        }
        for text in ["*/5 * * * *", "30 4 * * 1-5", "0 9 1 * *", "0 0 L * *", "0 0 */2 * +mon"] {
            assert_eq!(codes(text, "America/New_York", &none), [], "{text}");
        }
    }

    #[test]
    fn a_crowded_minute_is_named() {
        let mut others = MinuteLoad::default();
        for _ in 0..12 {
            others.add("2026-11-23T04:00:30Z".parse().unwrap());
        }
        let found = codes("0 4 * * *", "UTC", &others);
        assert_eq!(found[0].0, "crowded-minute");
        assert!(
            found[0].1.starts_with("12 other schedules fire in the same minute, for example Mon 2026-11-23")
        );
    }
}
