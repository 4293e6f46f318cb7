//! A thousand seeds over the executable specification, in every run of the tests.

use mainspring_testkit::MemoryStore;
use mainspring_testkit::sim::{Kind, run_seeds};
use std::sync::Arc;

fn seeds(range: std::ops::Range<u64>) {
    let command = "cargo test -p mainspring-testkit --test sim simulator_seeds_0";
    let tally = run_seeds(range, Kind::Memory, command, async || (Arc::new(MemoryStore::new()) as _, ()));
    println!("{} seeds, {} turns", tally.seeds, tally.turns);
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
