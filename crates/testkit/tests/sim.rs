//! A thousand seeds over the executable specification, in every run of the tests; ten thousand, or
//! as many as one likes, by command:
//!
//! ```text
//! MAINSPRING_SEEDS=10000 cargo test -p mainspring-testkit --test sim -- --ignored --nocapture
//! ```

use mainspring_testkit::MemoryStore;
use mainspring_testkit::sim::{Kind, Tally, log_of, run_seeds};
use std::ops::Range;
use std::sync::Arc;

fn tally(range: Range<u64>) -> Tally {
    let command = "cargo test -p mainspring-testkit --test sim simulator_seeds_0";
    run_seeds(range, Kind::Embedded, command, async || (Arc::new(MemoryStore::new()) as _, ()))
}

fn seeds(range: Range<u64>) {
    println!("{}", tally(range));
}

#[test]
fn simulator_seeds_0() {
    seeds(0..250);
}

#[test]
fn simulator_seeds_250() {
    seeds(250..500);
}

#[test]
fn simulator_seeds_500() {
    seeds(500..750);
}

#[test]
fn simulator_seeds_750() {
    seeds(750..1000);
}

/// A failure can be replayed only if a seed always gives the same run.
#[test]
fn simulator_gives_the_same_run_for_the_same_seed() {
    let log = |seed| log_of(seed, Kind::Embedded, async || (Arc::new(MemoryStore::new()) as _, ()));
    for seed in [3, 77, 1024] {
        let (first, again) = (log(seed), log(seed));
        assert!(first.len() > 50, "little happens in seed {seed}: {first:?}");
        assert!(first == again, "seed {seed} gave two runs");
    }
    assert_ne!(log(3), log(4));
}

/// Seeds after those of every run, on all cores, with progress.
#[test]
#[ignore = "takes minutes: see the module's text"]
fn simulator_many_seeds() {
    let many = std::env::var("MAINSPRING_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000u64);
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let next = std::sync::atomic::AtomicU64::new(0);
    let work = || {
        let mut sum = Tally::default();
        loop {
            let from = 1_000 + next.fetch_add(100, std::sync::atomic::Ordering::Relaxed);
            if from >= 1_000 + many {
                return sum;
            }
            let until = (from + 100).min(1_000 + many);
            sum = sum.and(tally(from..until));
            println!("seeds to {until}");
        }
    };
    let total = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|t| t.join().expect("no seed fails")).fold(Tally::default(), Tally::and)
    });
    println!("{total}");
    assert_eq!(total.seeds, many);
}
