//! The simulator: five processes over one store, in one thread, in virtual time, from a seed.
//!
//! The processes are the shipped engine with the shipped steps ([`node`]); only the sleeping between
//! steps is the simulator's. It draws who goes on ([`run`]), makes calls fail before and after they
//! were written ([`faulty`]), crashes, freezes, drains and restarts processes, lets clocks differ and
//! jump, and lets clients and people act. After the trouble comes calm, and then everything must be
//! final; the checkers ([`check`]) read the history alone.
//!
//! The same seed gives the same run over the same store, so a failure prints its seed and the
//! command that replays it.
//!
//! What it cannot see: faults inside one transaction (the stores' own tests), real threads (the
//! conformance suite's races), real processes and networks (the fault tests).

pub mod check;
pub mod faulty;
mod handlers;
mod node;
pub mod run;
pub mod scenario;
pub mod world;

use crate::dice::seed_from_environment;
use mainspring_core::store::Store;
use std::ops::Range;
use std::sync::Arc;

/// What a row of seeds came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Seeds.
    pub seeds: u64,
    /// Turns of all of them.
    pub turns: u64,
}

/// What the store is: whether it answers by itself or a real database must be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every call is done when it is polled: timers go by the simulated time too.
    Memory,
    /// Threads and sockets: timers go by the machine's time.
    Real,
}

/// Runs `seeds`, each over a fresh store from `open`; panics at the first that breaks an invariant,
/// with what is wrong and how to replay it by `command`. `MAINSPRING_SEED` runs that seed alone.
pub fn run_seeds<G>(
    seeds: Range<u64>,
    kind: Kind,
    command: &str,
    open: impl AsyncFn() -> (Arc<dyn Store>, G),
) -> Tally {
    let seeds = seed_from_environment().map_or(seeds, |seed| seed..seed + 1);
    let owns_timers = kind == Kind::Memory;
    // Real stores wait for their own threads; the simulator itself needs one.
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(owns_timers).build().expect("a runtime");
    let mut tally = Tally::default();
    for seed in seeds {
        // Fairness between tasks is the simulator's own affair.
        let (wrong, turns) = runtime.block_on(tokio::task::unconstrained(async {
            let (store, guard) = open().await;
            let judged = run::judge(seed, store.clone(), owns_timers).await;
            store.close().await;
            drop(guard);
            judged
        }));
        assert!(
            wrong.is_empty(),
            "seed {seed} breaks {} invariants:\n{}\nreplay with: MAINSPRING_SEED={seed} {command}",
            wrong.len(),
            wrong.iter().take(20).map(|w| format!("  - {w}")).collect::<Vec<_>>().join("\n"),
        );
        tally.seeds += 1;
        tally.turns += turns;
    }
    tally
}
