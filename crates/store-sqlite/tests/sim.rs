//! The simulator over the store on SQLite: the shipped engine and this store's own SQL through
//! crashes, pauses, lost replies and clock jumps, in virtual time, from a seed.
//!
//! ```text
//! MAINSPRING_SEEDS=1000 cargo test -p mainspring-store-sqlite --test sim -- --nocapture
//! ```

use mainspring_store_sqlite::{Options, SqliteStore, Synchronous};
use mainspring_testkit::sim::{Kind, log_of, run_seeds};
use std::sync::Arc;

async fn open() -> (Arc<dyn mainspring_core::store::Store>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    // Power does not fail here: `tests/crashes.rs` has that.
    let options = Options { synchronous: Synchronous::Normal, ..Options::default() };
    let store = SqliteStore::open(dir.path().join("mainspring.db"), options).expect("a store");
    (Arc::new(store), dir)
}

#[test]
fn simulator_seeds_over_a_file() {
    let seeds = std::env::var("MAINSPRING_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(30);
    let command = "cargo test -p mainspring-store-sqlite --test sim simulator_seeds";
    println!("{}", run_seeds(0..seeds, Kind::Embedded, command, open));
}

/// A failure can be replayed only if a seed always gives the same run.
#[test]
fn simulator_gives_the_same_run_for_the_same_seed() {
    assert!(log_of(7, Kind::Embedded, open) == log_of(7, Kind::Embedded, open), "one seed gave two runs");
}
