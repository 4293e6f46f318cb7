//! The same random operations on [`MemoryStore`] and on the store under test must give equal
//! answers after every step and equal rows.
//!
//! Operations speak of jobs, batches and schedules by the order in which they came into being
//! ([`ops`]); each side translates to and from its own numbers ([`side`]), so that two stores agree
//! when their lines of log are equal texts. A failure names its seed, the step, and the command
//! that replays it.

mod ops;
mod side;

use super::bench::Bench;
use crate::MemoryStore;
use crate::dice::seed_from_environment;
use ops::Script;
use side::Side;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Steps of one seed.
const STEPS: usize = 400;
/// After so many steps the rows are compared too.
const ROWS_EVERY: usize = 40;

/// Equal logs for seeds 1 to 5.
pub async fn differential_seeds_1_to_5(b: &Bench) {
    agree(b, 1..=5).await;
}

/// Equal logs for seeds 6 to 10.
pub async fn differential_seeds_6_to_10(b: &Bench) {
    agree(b, 6..=10).await;
}

/// Equal logs for seeds 11 to 15.
pub async fn differential_seeds_11_to_15(b: &Bench) {
    agree(b, 11..=15).await;
}

/// Equal logs for seeds 16 to 20.
pub async fn differential_seeds_16_to_20(b: &Bench) {
    agree(b, 16..=20).await;
}

/// One store serves a row of seeds: each has projects of its own, and what earlier ones left behind
/// must not matter to it. (Claims are over all projects, so each seed ends with everything final.)
async fn agree(b: &Bench, seeds: RangeInclusive<u64>) {
    let seeds = seed_from_environment().map_or(seeds, |seed| seed..=seed);
    let spec = Arc::new(MemoryStore::new());
    for seed in seeds {
        let mut script = Script::new(seed);
        let mut spec = Side::open(spec.clone(), seed).await;
        let mut real = Side::open(b.store.clone(), seed).await;
        let mut log = Vec::new();
        for step in 0..STEPS {
            let op = script.next();
            let (expected, found) = (spec.apply(&op).await, real.apply(&op).await);
            log.push(format!("{step:3} {op:?}\n    -> {expected}"));
            let told = (spec.news().await, real.news().await);
            compare(seed, &log, &expected, &found);
            compare(seed, &log, &told.0, &told.1);
            script.learn(&spec);
            if (step + 1) % ROWS_EVERY == 0 {
                compare_rows(seed, &log, &spec, &real, script.now()).await;
            }
        }
        for op in script.wind_up() {
            let (expected, found) = (spec.apply(&op).await, real.apply(&op).await);
            log.push(format!("end {op:?}\n    -> {expected}"));
            compare(seed, &log, &expected, &found);
        }
        compare_rows(seed, &log, &spec, &real, script.now()).await;
    }
}

async fn compare_rows(seed: u64, log: &[String], spec: &Side, real: &Side, now: jiff::Timestamp) {
    let (expected, found) = (spec.dump(now).await, real.dump(now).await);
    compare(seed, log, &expected, &found);
    let wrong = real.store.audit().await.expect("an audit");
    assert!(wrong.is_empty(), "seed {seed}: figures and rows differ: {wrong:#?}\n{}", tail(log));
}

fn compare(seed: u64, log: &[String], expected: &str, found: &str) {
    if expected == found {
        return;
    }
    let differing: Vec<String> = expected
        .lines()
        .map(Some)
        .chain(std::iter::repeat(None))
        .zip(found.lines().map(Some).chain(std::iter::repeat(None)))
        .take_while(|(a, b)| a.is_some() || b.is_some())
        .filter(|(a, b)| a != b)
        .take(5)
        .map(|(a, b)| format!("expected {}\n   found {}", a.unwrap_or("nothing"), b.unwrap_or("nothing")))
        .collect();
    panic!(
        "the store differs from the specification\n{}\nafter these steps:\n{}\n\
         replay with: MAINSPRING_SEED={seed} cargo test --test conformance differential_seeds_1_to_5",
        differing.join("\n"),
        tail(log),
    );
}

/// The last steps of a log.
fn tail(log: &[String]) -> String {
    log[log.len().saturating_sub(12)..].join("\n")
}
