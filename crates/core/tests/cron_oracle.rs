//! The search against a minute walk written from the rules alone: every instant of a day is looked
//! at, in every zone of the database, half of the days at a clock change.
//!
//! Nothing of the engine is used here but its answers. Expressions are made as values and printed,
//! so the walk needs no parser either.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use mainspring_core::cron::{ClockChange, CronExpr};
use mainspring_core::zone::{self, Zone};

/// A small generator with a fixed seed per zone: the same days on every machine.
struct Dice(u64);

impl Dice {
    fn of(text: &str) -> Dice {
        Dice(
            text.bytes().fold(0x9e37_79b9_7f4a_7c15, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)),
        )
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % n
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}

/// A day field as text and as the test it stands for; None is "not given".
type DayRule = (&'static str, Option<fn(Date) -> bool>);
/// A field as text and as the test it stands for.
type Rule<T> = (&'static str, fn(T) -> bool);

const SIXTIETHS: [Rule<i8>; 10] = [
    ("*", |_| true),
    ("*/7", |m| m % 7 == 0),
    ("*/30", |m| m % 30 == 0),
    ("0", |m| m == 0),
    ("30", |m| m == 30),
    ("59", |m| m == 59),
    ("0,30", |m| m == 0 || m == 30),
    ("0-59", |_| true),
    ("15-45/10", |m| m == 15 || m == 25 || m == 35 || m == 45),
    ("1,45-50", |m| m == 1 || (45..=50).contains(&m)),
];
const HOURS: [Rule<i8>; 10] = [
    ("*", |_| true),
    ("*/2", |h| h % 2 == 0),
    ("*/5", |h| h % 5 == 0),
    ("2", |h| h == 2),
    ("0", |h| h == 0),
    ("23", |h| h == 23),
    ("1-3", |h| (1..=3).contains(&h)),
    ("0-4/2", |h| h == 0 || h == 2 || h == 4),
    ("0,1,2,3,23", |h| h <= 3 || h == 23),
    ("0-23", |_| true),
];
fn last_day(d: Date) -> i8 {
    d.days_in_month()
}
fn workday(d: Date) -> bool {
    d.weekday().to_monday_one_offset() <= 5
}
const DAYS: [DayRule; 9] = [
    ("*", None),
    ("*", None),
    ("?", None),
    ("*/2", Some(|d| d.day() % 2 == 1)),
    ("1-15", Some(|d| d.day() <= 15)),
    ("L", Some(|d| d.day() == last_day(d))),
    ("31", Some(|d| d.day() == 31)),
    // The last workday: a workday with no workday after it in its month.
    ("LW", Some(|d| workday(d) && (d.day() + 1..=last_day(d)).all(|x| !workday(on(d, x))))),
    // Nearest to the 15th, which never leaves the month.
    (
        "15W",
        Some(|d| {
            let want = on(d, 15);
            let at = if workday(want) {
                15
            } else if workday(on(d, 14)) {
                14
            } else {
                16
            };
            d.day() == at
        }),
    ),
];
const WEEK: [DayRule; 9] = [
    ("*", None),
    ("*", None),
    ("?", None),
    ("MON-FRI", Some(workday)),
    ("fri-sun", Some(|d| d.weekday().to_monday_one_offset() >= 5)),
    ("*/2", Some(|d| d.weekday().to_sunday_zero_offset() % 2 == 0)),
    (
        "0#1,3",
        Some(|d| {
            (d.weekday().to_sunday_zero_offset() == 0 && d.day() <= 7)
                || d.weekday().to_sunday_zero_offset() == 3
        }),
    ),
    ("5L", Some(|d| d.weekday().to_sunday_zero_offset() == 5 && d.day() + 7 > last_day(d))),
    ("7", Some(|d| d.weekday().to_sunday_zero_offset() == 0)),
];

fn on(d: Date, day: i8) -> Date {
    Date::new(d.year(), d.month(), day).unwrap()
}

struct Walk {
    text: String,
    second: Option<Rule<i8>>,
    minute: Rule<i8>,
    hour: Rule<i8>,
    day: Option<fn(Date) -> bool>,
    week: Option<fn(Date) -> bool>,
    both: bool,
}

impl Walk {
    fn random(dice: &mut Dice, seconds: bool) -> Walk {
        let second = seconds.then(|| dice.pick(&SIXTIETHS));
        let (minute, hour) = (dice.pick(&SIXTIETHS), dice.pick(&HOURS));
        let (day, week) = (dice.pick(&DAYS), dice.pick(&WEEK));
        let both = week.1.is_some() && dice.below(2) == 0;
        let text = format!(
            "{}{} {} {} * {}{}",
            second.map(|s| format!("{} ", s.0)).unwrap_or_default(),
            minute.0,
            hour.0,
            day.0,
            if both { "+" } else { "" },
            week.0
        );
        Walk { text, second, minute, hour, day: day.1, week: week.1, both }
    }

    fn interval(&self) -> bool {
        self.second.is_some_and(|s| s.0.starts_with('*'))
            || self.minute.0.starts_with('*')
            || self.hour.0.starts_with('*')
    }

    fn matches(&self, at: DateTime) -> bool {
        let second = self.second.map_or(at.second() == 0, |s| s.1(at.second()));
        if !(second && self.minute.1(at.minute()) && self.hour.1(at.hour())) {
            return false;
        }
        let date = at.date();
        match (self.day, self.week) {
            (None, None) => true,
            (Some(rule), None) | (None, Some(rule)) => rule(date),
            (Some(day), Some(week)) if self.both => day(date) && week(date),
            (Some(day), Some(week)) => day(date) || week(date),
        }
    }

    /// Every fire in `[from, to)`, looking at each instant `step` seconds apart.
    fn fires(&self, tz: &TimeZone, from: i64, to: i64, step: i64) -> Vec<i64> {
        let at = |t: i64| Timestamp::from_second(t).unwrap();
        let later = SignedDuration::from_secs(step);
        let quiet = tz.following(at(from - 2 * step)).next().is_none_or(|c| c.timestamp() > at(to));
        let mut out = Vec::new();
        let mut before = tz.to_datetime(at(from - step));
        for t in (from..to).step_by(step as usize) {
            // On a day without a change local time goes on like the clock on the wall.
            let expected = before.checked_add(later).unwrap();
            let now = if quiet { expected } else { tz.to_datetime(at(t)) };
            let mut fire = self.matches(now);
            if !self.interval() && !quiet {
                // A time shown twice runs the first time only.
                if fire && let AmbiguousOffset::Fold { before, .. } = tz.to_ambiguous_timestamp(now).offset()
                {
                    fire = tz.to_offset(at(t)) == before;
                }
                // Times that were jumped over run now, unless the jump was three hours or more.
                let mut missing = expected;
                let jump = now.duration_since(missing).as_secs();
                if jump > 0 && jump < 3 * 3600 {
                    while missing < now {
                        fire |= self.matches(missing);
                        missing = missing.checked_add(later).unwrap();
                    }
                }
            }
            if fire {
                out.push(t);
            }
            before = now;
        }
        out
    }
}

fn answers(text: &str, zone: &Zone, from: i64, to: i64) -> Vec<i64> {
    let expr = CronExpr::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    expr.iter(zone, Timestamp::from_second(from - 1).unwrap(), ClockChange::Vixie)
        .map(|fire| fire.at.as_second())
        .take_while(|t| *t < to)
        .collect()
}

/// The changes of a zone from 1975 to 2037.
fn changes(zone: &Zone) -> Vec<i64> {
    let start = Timestamp::from_second(157_766_400).unwrap();
    let all = zone.tz().following(start).map(|c| c.timestamp().as_second());
    all.take_while(|t| *t < 2_114_380_800).collect()
}

fn check(name: &str, days: u64, length: i64, step: i64) {
    let zone = Zone::get(name).unwrap();
    let changes = changes(&zone);
    let mut dice = Dice::of(name);
    for i in 0..days {
        let walk = Walk::random(&mut dice, step == 1);
        let from = if i % 2 == 0 && !changes.is_empty() {
            dice.pick(&changes) - dice.below(length as u64) as i64
        } else {
            157_766_400 + dice.below(1_900_000_000) as i64
        };
        let from = from - from.rem_euclid(step);
        let to = from + length;
        let wanted = walk.fires(zone.tz(), from, to, step);
        let found = answers(&walk.text, &zone, from, to);
        assert_eq!(
            found,
            wanted,
            "{:?} in {name} from {} (rule | engine swapped)",
            walk.text,
            Timestamp::from_second(from).unwrap()
        );
    }
}

/// Spread over two threads: the machine that checks every change has two.
fn in_every_zone(run: fn(&str)) {
    let names: Vec<&str> = zone::names().collect();
    let (a, b) = names.split_at(names.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| a.iter().for_each(|name| run(name)));
        b.iter().for_each(|name| run(name));
    });
}

#[test]
fn equals_a_minute_walk_over_sixty_days_in_every_zone() {
    in_every_zone(|name| check(name, 60, 86_400, 60));
}

#[test]
fn equals_a_second_walk_around_clock_changes() {
    in_every_zone(|name| check(name, 2, 4 * 3600, 1));
}
