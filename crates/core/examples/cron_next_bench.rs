//! How long an ordinary `next` takes beside the crate `croner`, in the same run.
//!
//! `cargo run --release -p mainspring-core --example cron_next_bench`
//!
//! Each expression is parsed once by both; then both walk the same fires in America/New_York, in
//! turns, and the best of seven rounds counts. The program fails when the slowest ratio is below
//! five, the figure this project promises. Results are compared as well: a fast wrong answer is
//! worth nothing (the expressions avoid the hours in which the two disagree on purpose).
//!
//! Then the longest searches there are (days that never come, fires that all lie in a gap, the far
//! future) in every zone and under every policy: none, parsing included, may take 10 ms.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainspring_core::cron::{ClockChange, CronExpr};
use mainspring_core::zone::Zone;
use std::hint::black_box;
use std::str::FromStr;
use std::time::Duration;

const EXPRESSIONS: [&str; 6] =
    ["*/5 * * * *", "30 2 * * 1-5", "0 9 1 * *", "0 0 * * *", "*/15 9-17 * * mon-fri", "0 12 * * 0#1"];
const FIRES: usize = 2_000;
const ROUNDS: usize = 7;
const PROMISED: f64 = 5.0;

fn ours(expr: &CronExpr, zone: &Zone, from: Timestamp) -> Vec<Timestamp> {
    expr.iter(zone, from, ClockChange::Vixie).take(FIRES).map(|fire| fire.at).collect()
}

fn croners(cron: &croner::Cron, tz: &TimeZone, from: Timestamp) -> Vec<Timestamp> {
    let mut at = from.to_zoned(tz.clone());
    (0..FIRES)
        .map_while(|_| {
            at = cron.find_next_occurrence(&at, false).ok()?;
            Some(at.timestamp())
        })
        .collect()
}

#[allow(clippy::disallowed_methods, reason = "measures how long the search takes")]
fn timed<T>(run: impl FnOnce() -> T) -> (Duration, T) {
    let start = std::time::Instant::now();
    let result = black_box(run());
    (start.elapsed(), result)
}

fn main() {
    let zone = Zone::get("America/New_York").expect("a zone of the bundled data");
    let from: Timestamp = "2026-01-01T05:00:00Z".parse().expect("an instant");
    let mut slowest = f64::INFINITY;
    println!("{:<24} {:>12} {:>12} {:>8}   same", "expression", "ours", "croner", "ratio");
    for text in EXPRESSIONS {
        let expr = CronExpr::parse(text).expect("ordinary");
        let cron = croner::Cron::from_str(text).expect("ordinary");
        let (mut best, mut theirs) = (Duration::MAX, Duration::MAX);
        let mut same = 0;
        for _ in 0..ROUNDS {
            let (a, fires) = timed(|| ours(&expr, &zone, from));
            let (b, others) = timed(|| croners(&cron, zone.tz(), from));
            (best, theirs) = (best.min(a), theirs.min(b));
            same = fires.iter().zip(&others).filter(|(a, b)| a == b).count();
        }
        let per = |d: Duration| d.as_nanos() as f64 / FIRES as f64;
        let ratio = per(theirs) / per(best);
        slowest = slowest.min(ratio);
        println!("{text:<24} {:>9.0} ns {:>9.0} ns {ratio:>7.1}x   {same}/{FIRES}", per(best), per(theirs));
    }
    println!("slowest ratio {slowest:.1}, promised {PROMISED}");
    let (longest, case) = longest_search();
    println!("longest search {longest:?} ({case}), promised 10ms");
    if slowest < PROMISED || longest >= Duration::from_millis(10) {
        std::process::exit(1);
    }
}

/// The longest of the searches that have to look far, and which it was.
fn longest_search() -> (Duration, String) {
    use ClockChange::{Both, Shift, Skip, Vixie};
    let far = [
        "0 0 30 2 *",
        "30 2 8-14 3 +SUN",
        "30 2 25-31 3 +SUN",
        "59 59 23 31 12 * 2199",
        "0 0 29 2 +1#5",
        "*/7 3 31 2,4,6,9,11 *",
        "0 0 0 29 2 * 1971-2199/4",
        "* * * * * * 1970",
    ];
    let starts = ["1900-01-01T00:00:00Z", "2026-11-01T05:30:00Z", "2400-01-01T00:00:00Z"];
    let mut longest = (Duration::ZERO, String::new());
    for zone in mainspring_core::zone::names() {
        let zone = Zone::get(zone).expect("a known name");
        for (text, start) in far.iter().flat_map(|text| starts.map(|start| (text, start))) {
            let from: Timestamp = start.parse().expect("an instant");
            for policy in [Vixie, Skip, Shift, Both] {
                // The best of three: what else the machine does is not the search's.
                let search =
                    || CronExpr::parse(text).expect("far, not broken").next_after(&zone, from, policy);
                let took = (0..3).map(|_| timed(search).0).min().unwrap_or_default();
                if took > longest.0 {
                    longest = (took, format!("{text} in {zone} from {start}, {policy:?}"));
                }
            }
        }
    }
    longest
}
