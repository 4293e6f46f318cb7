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
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use world::{Entry, Mishap, Mishaps};

/// So many seeds must bring every sort of mishap at least once; fewer may miss a rare one.
const ENOUGH: u64 = 6;

/// What a row of seeds came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Seeds.
    pub seeds: u64,
    /// Turns of all of them: so often somebody was let go on.
    pub turns: u64,
    /// Attempts that were claimed.
    pub attempts: u64,
    /// Attempts whose end was written.
    pub ends: u64,
    /// What went wrong on purpose.
    pub mishaps: Mishaps,
}

impl Tally {
    /// One more seed.
    fn add(&mut self, verdict: &run::Verdict) {
        self.seeds += 1;
        self.turns += verdict.turns;
        self.attempts += verdict.log.iter().filter(|e| matches!(e, Entry::Claimed { .. })).count() as u64;
        self.ends += verdict.log.iter().filter(|e| matches!(e, Entry::Ended(..))).count() as u64;
        self.mishaps.iter_mut().zip(verdict.mishaps).for_each(|(sum, n)| *sum += n);
    }

    /// Both together.
    pub fn and(mut self, other: Tally) -> Tally {
        self.seeds += other.seeds;
        self.turns += other.turns;
        self.attempts += other.attempts;
        self.ends += other.ends;
        self.mishaps.iter_mut().zip(other.mishaps).for_each(|(sum, n)| *sum += n);
        self
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { seeds, turns, attempts, ends, mishaps } = self;
        write!(f, "{seeds} seeds of {} nodes, {turns} turns, ", scenario::NODES)?;
        write!(f, "{attempts} attempts claimed, {ends} ended")?;
        Mishap::ALL.iter().zip(mishaps).try_for_each(|((_, name), n)| write!(f, ", {n} {name}"))
    }
}

/// What the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In this process: its hints come while it is called.
    Embedded,
    /// A server, which sends its hints when it likes. Nobody hears them, so that a seed gives the
    /// same run every time: polling has to do.
    Server,
}

/// Runs `seeds`, each over a fresh store from `open`; panics at the first that breaks an invariant,
/// with what is wrong and how to replay it by `command`, and when they brought no mishap of some
/// sort. `MAINSPRING_SEED` runs that seed alone.
pub fn run_seeds<G>(
    seeds: Range<u64>,
    kind: Kind,
    command: &str,
    open: impl AsyncFn() -> (Arc<dyn Store>, G),
) -> Tally {
    let seeds = seed_from_environment().map_or(seeds, |seed| seed..seed + 1);
    let mut tally = Tally::default();
    let runtime = Still::new();
    for seed in seeds {
        let verdict = runtime.judge(seed, kind, &open);
        let wrong = &verdict.wrong;
        assert!(
            wrong.is_empty(),
            "seed {seed} breaks {} invariants:\n{}\nreplay with: MAINSPRING_SEED={seed} {command}",
            wrong.len(),
            wrong.iter().take(20).map(|w| format!("  - {w}")).collect::<Vec<_>>().join("\n"),
        );
        tally.add(&verdict);
    }
    for ((_, name), n) in Mishap::ALL.iter().zip(tally.mishaps) {
        assert!(n > 0 || tally.seeds < ENOUGH, "there were no {name} in {tally}: these seeds show little");
    }
    tally
}

/// Everything that happened in the run of one seed: the same for the same seed.
pub fn log_of<G>(seed: u64, kind: Kind, open: impl AsyncFn() -> (Arc<dyn Store>, G)) -> Vec<Entry> {
    Still::new().judge(seed, kind, &open).log
}

/// A runtime whose time stands still, whoever waits.
struct Still {
    /// Dropped first: it lets go of the thread below.
    _hold: std::sync::mpsc::Sender<()>,
    runtime: tokio::runtime::Runtime,
}

impl Still {
    fn new() -> Still {
        // Real stores wait for their own threads; the simulator itself needs one.
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().expect("a runtime");
        // A paused runtime with nothing to do moves its time to the next timer, which would be the
        // time limit of the very call it waits for; not so while a blocking task runs.
        let (hold, held) = std::sync::mpsc::channel();
        runtime.spawn_blocking(move || held.recv());
        Still { _hold: hold, runtime }
    }

    fn judge<G>(&self, seed: u64, kind: Kind, open: &impl AsyncFn() -> (Arc<dyn Store>, G)) -> run::Verdict {
        // Fairness between tasks is the simulator's own affair.
        self.runtime.block_on(tokio::task::unconstrained(async {
            let (store, guard) = open().await;
            let verdict = run::judge(seed, store.clone(), kind).await;
            store.close().await;
            drop(guard);
            verdict
        }))
    }
}
