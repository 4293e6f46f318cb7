//! The simulator over the store on PostgreSQL: the shipped engine and this store's own SQL through
//! crashes, pauses, lost replies and clock jumps, in virtual time, from a seed.
//!
//! ```text
//! MAINSPRING_SEEDS=1000 cargo test -p mainspring-store-postgres --test sim -- --nocapture
//! ```

use mainspring_store_postgres::{Options, PostgresStore};
use mainspring_testkit::pg::{self, Database};
use mainspring_testkit::sim::{Kind, log_of, run_seeds};
use std::sync::Arc;

async fn open() -> (Arc<dyn mainspring_core::store::Store>, Database) {
    let database = pg::fresh_database();
    let store = PostgresStore::connect(&database.url(), Options::default()).await.expect("a store");
    (Arc::new(store), database)
}

#[test]
fn simulator_seeds_over_a_server() {
    let seeds = std::env::var("MAINSPRING_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let command = "cargo test -p mainspring-store-postgres --test sim simulator_seeds";
    println!("{}", run_seeds(0..seeds, Kind::Server, command, open));
}

/// A failure can be replayed only if a seed always gives the same run.
#[test]
fn simulator_gives_the_same_run_for_the_same_seed() {
    assert!(log_of(7, Kind::Server, open) == log_of(7, Kind::Server, open), "one seed gave two runs");
}
