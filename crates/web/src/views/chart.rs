//! Charts as shapes: the server works out paths, the templates put words beside them.

use super::number;
use jiff::Timestamp;
use mainspring_core::job::AttemptOutcome;
use mainspring_core::reader::RollupRow;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 150.0;
const LOW: f64 = 40.0;

/// How far back a chart looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// One hour, a bar a minute.
    Hour,
    /// A day, a bar every quarter of an hour.
    Day,
    /// A week, a bar an hour.
    Week,
}

impl Period {
    /// All of them.
    pub const ALL: [Period; 3] = [Period::Hour, Period::Day, Period::Week];

    /// Its word in addresses and on buttons.
    pub fn word(self) -> &'static str {
        match self {
            Period::Hour => "1h",
            Period::Day => "24h",
            Period::Week => "7d",
        }
    }

    /// The same in a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Period::Hour => "1 h",
            Period::Day => "24 h",
            Period::Week => "7 d",
        }
    }

    /// The same after “in the last”.
    pub fn last(self) -> &'static str {
        match self {
            Period::Hour => "hour",
            Period::Day => "24 hours",
            Period::Week => "7 days",
        }
    }

    /// The period of a word.
    pub fn parse(word: &str) -> Option<Period> {
        Period::ALL.into_iter().find(|p| p.word() == word)
    }

    /// Its length in minutes.
    pub fn minutes(self) -> i64 {
        match self {
            Period::Hour => 60,
            Period::Day => 1440,
            Period::Week => 7 * 1440,
        }
    }

    fn bucket(self) -> i64 {
        match self {
            Period::Hour => 1,
            Period::Day => 15,
            Period::Week => 60,
        }
    }

    /// What one bar stands for.
    pub fn per(self) -> &'static str {
        match self {
            Period::Hour => "per minute",
            Period::Day => "per 15 min",
            Period::Week => "per hour",
        }
    }

    /// The first minute shown, and the first after it.
    pub fn range(self, minute: i64) -> (i64, i64) {
        let end = (minute.div_euclid(self.bucket()) + 1) * self.bucket();
        (end - self.minutes(), end)
    }
}

/// What one bar stands for, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bar {
    /// Its beginning.
    pub when: String,
    /// Attempts that succeeded or had nothing to do.
    pub good: u64,
    /// Attempts that succeeded in part.
    pub partial: u64,
    /// Attempts that failed or ran out of time.
    pub bad: u64,
}

/// Throughput: what succeeded above, what did not below on its own scale.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What a bar stands for.
    pub per: &'static str,
    /// What the chart tells.
    pub label: String,
    /// The upper band's top and middle.
    pub top: String,
    /// Half of it.
    pub half: String,
    /// The bars of the upper band.
    pub good: String,
    /// The bar still growing.
    pub growing: String,
    /// The lower band's top.
    pub low_top: String,
    /// Partial, in the lower band.
    pub partial: String,
    /// Failed, in the lower band.
    pub bad: String,
    /// Words under the time axis.
    pub ticks: Vec<String>,
    /// The bars that are not empty, the newest first.
    pub bars: Vec<Bar>,
}

/// The chart of these rows at this minute.
pub fn throughput(rows: &[RollupRow], minute: i64, period: Period) -> Chart {
    let bars = fill(rows, minute, period);
    let most = bars.iter().map(|b| b.good).max().unwrap_or(0);
    let worst = bars.iter().map(|b| b.bad + b.partial).max().unwrap_or(0);
    let (top, low_top) = (nice(most), nice(worst));
    let mut shapes = [const { String::new() }; 4];
    let wide = WIDTH / bars.len() as f64;
    for (at, bar) in bars.iter().enumerate() {
        let x = at as f64 * wide + wide * 0.08;
        let last = at + 1 == bars.len();
        rect(&mut shapes[usize::from(last)], x, wide * 0.84, HEIGHT, 0.0, bar.good, top);
        rect(&mut shapes[2], x, wide * 0.84, LOW, 0.0, bar.bad, low_top);
        rect(
            &mut shapes[3],
            x,
            wide * 0.84,
            LOW,
            bar.bad as f64 / low_top as f64 * LOW,
            bar.partial,
            low_top,
        );
    }
    let [good, growing, bad, partial] = shapes;
    let ticks = (0..5).map(|i| clock(period.range(minute).0 + period.minutes() * i / 4, period)).collect();
    let label = label(&bars, period);
    let bars = bars.into_iter().rev().filter(|b| b.good + b.partial + b.bad > 0).collect();
    let half = if top.is_multiple_of(2) { number(&(top / 2)) } else { String::new() };
    let (top, low_top) = (number(&top), number(&low_top));
    Chart { per: period.per(), label, top, half, good, growing, low_top, partial, bad, ticks, bars }
}

/// How often something was in each of some stretches of equal length: the bars, and the scale's top.
pub fn columns(values: &[u64]) -> (String, String) {
    let top = nice(values.iter().copied().max().unwrap_or(0));
    let mut path = String::new();
    let wide = WIDTH / values.len().max(1) as f64;
    for (at, value) in values.iter().enumerate() {
        rect(&mut path, at as f64 * wide + wide * 0.08, wide * 0.84, HEIGHT, 0.0, *value, top);
    }
    (path, number(&top))
}

fn fill(rows: &[RollupRow], minute: i64, period: Period) -> Vec<Bar> {
    let (from, until) = period.range(minute);
    let n = (until - from) / period.bucket();
    let mut bars: Vec<Bar> =
        (0..n).map(|i| Bar { when: clock(from + i * period.bucket(), period), ..Bar::default() }).collect();
    for row in rows.iter().filter(|r| r.minute >= from) {
        let Some(bar) = bars.get_mut(((row.minute - from) / period.bucket()) as usize) else { continue };
        use AttemptOutcome as A;
        match row.outcome {
            A::Succeeded | A::Skipped => bar.good += row.sum.count,
            A::Partial => bar.partial += row.sum.count,
            A::Failed | A::TimedOut => bar.bad += row.sum.count,
            A::Cancelled | A::Interrupted | A::Snoozed => {}
        }
    }
    bars
}

fn label(bars: &[Bar], period: Period) -> String {
    let sum = |pick: fn(&Bar) -> u64| bars.iter().map(pick).sum::<u64>();
    let (good, partial, bad) = (sum(|b| b.good), sum(|b| b.partial), sum(|b| b.bad));
    if good + partial + bad == 0 {
        return format!("No attempt ended in the last {}.", period.last());
    }
    let peak = bars.iter().max_by_key(|b| b.good).map_or("", |b| b.when.as_str());
    format!(
        "In the last {} {} succeeded, {} in part, {} failed; most succeeded at {peak} UTC.",
        period.last(),
        super::counted(good, "attempt", "attempts"),
        number(&partial),
        number(&bad)
    )
}

fn clock(minute: i64, period: Period) -> String {
    let at = Timestamp::from_second(minute * 60).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime(if period == Period::Week { "%a %H:%M" } else { "%H:%M" }).to_string()
}

/// A bar of `value` of `top` that stands `above` the ground of a band of this height. What is not
/// zero can be seen.
fn rect(path: &mut String, x: f64, wide: f64, height: f64, above: f64, value: u64, top: u64) {
    if value == 0 {
        return;
    }
    let high = (value as f64 / top as f64 * height).max(1.5);
    let y = height - above - high;
    // Writing to a string cannot fail.
    let _ = write!(path, "M{x:.2} {y:.2}h{wide:.2}v{high:.2}h-{wide:.2}z");
}

/// The next of 1, 2, 5, 10, 20, 50 …
fn nice(n: u64) -> u64 {
    let mut step = 1u64;
    loop {
        for top in [step, step.saturating_mul(2), step.saturating_mul(5)] {
            if top >= n {
                return top.max(2);
            }
        }
        step = step.saturating_mul(10);
    }
}

/// One bar of a strip of outcomes: where it stands, how high, and the class that colours it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// From the left.
    pub x: usize,
    /// From the top.
    pub y: usize,
    /// How high.
    pub high: usize,
    /// Its fill.
    pub fill: &'static str,
    /// Whether it is hatched.
    pub hatched: bool,
}

/// The last outcomes, oldest first, as a strip, and the same in words.
pub fn strip(outcomes: &[AttemptOutcome]) -> (Vec<Tick>, String) {
    use AttemptOutcome as A;
    let last: Vec<A> = outcomes.iter().rev().take(20).rev().copied().collect();
    let ticks = last.iter().enumerate().map(|(at, outcome)| {
        let (high, fill, hatched) = match outcome {
            A::Succeeded | A::Skipped => (11, "f-ok", false),
            A::Partial => (14, "f-part", false),
            _ => (19, "f-bad", true),
        };
        Tick { x: (at + 20 - last.len()) * 6, y: 20 - high, high, fill, hatched }
    });
    let bad = last.iter().filter(|o| matches!(o, A::Failed | A::TimedOut)).count();
    let words = match (last.len(), bad) {
        (0, _) => "nothing has run yet".into(),
        (n, 0) => format!("the last {n} succeeded"),
        (n, bad) => {
            let latest =
                if matches!(last.last(), Some(A::Failed | A::TimedOut)) { ", the latest too" } else { "" };
            format!("{bad} of the last {n} failed{latest}")
        }
    };
    (ticks.collect(), words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainspring_core::tally::RollupSum;

    fn row(minute: i64, outcome: AttemptOutcome, count: u64) -> RollupRow {
        RollupRow { name: String::new(), minute, outcome, bucket: 40, sum: RollupSum { count, total_us: 1 } }
    }

    #[test]
    fn a_chart_counts_what_ended_in_its_period_and_says_so() {
        use AttemptOutcome as A;
        let now = 29_000_000;
        let rows = [
            row(now, A::Succeeded, 7),
            row(now - 30, A::Succeeded, 3),
            row(now - 30, A::Failed, 1),
            row(now - 30, A::Partial, 1),
            row(now - 2000, A::Failed, 9),
        ];
        let chart = throughput(&rows, now, Period::Day);
        assert!(chart.label.contains("10 attempts succeeded, 1 in part, 1 failed"), "{}", chart.label);
        assert_eq!((chart.top.as_str(), chart.half.as_str(), chart.low_top.as_str()), ("10", "5", "2"));
        assert_eq!(
            chart.bars.iter().map(|b| (b.good, b.partial, b.bad)).collect::<Vec<_>>(),
            [(7, 0, 0), (3, 1, 1)]
        );
        assert!(chart.growing.starts_with('M') && chart.good.matches('M').count() == 1);
        assert_eq!(throughput(&[], now, Period::Week).label, "No attempt ended in the last 7 days.");
        assert_eq!([0, 2, 3, 11, 51, 999].map(nice), [2, 2, 5, 20, 100, 1000]);
    }

    #[test]
    fn columns_stand_where_something_was() {
        let (path, top) = columns(&[0, 3, 0, 1]);
        assert_eq!((path.matches('M').count(), top.as_str()), (2, "5"));
        assert!(path.starts_with("M259.20 60.00h201.60v90.00"), "{path}");
        assert_eq!(columns(&[]), (String::new(), "2".into()));
    }

    #[test]
    fn a_strip_says_what_it_shows() {
        use AttemptOutcome as A;
        let (ticks, words) = strip(&[A::Succeeded, A::Failed]);
        assert_eq!(words, "1 of the last 2 failed, the latest too");
        assert!(ticks[1].hatched && !ticks[0].hatched && ticks[1].x == 19 * 6);
        assert_eq!(strip(&[]).1, "nothing has run yet");
        assert_eq!(strip(&[A::Succeeded; 30]).0.len(), 20);
    }
}
