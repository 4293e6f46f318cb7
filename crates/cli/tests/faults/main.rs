//! Real faults: nodes as processes, a real database, a real network between them, and everything
//! that goes wrong with those. A checker looks at what is left from outside.
//!
//! ```text
//! load.rs: callers ──client, command line──▶ store ◀── nodes: `mainspring up` ──HTTP──▶ receiver.rs
//!                                              │              ▲ signals: machine.rs
//!                                 checker.rs ◀─┘              └ proxies, crashes: the scenarios
//! ```
//!
//! [`sqlite`] and [`postgres`] hold the short form, which runs with all other tests. The long form
//! is the same worlds for as many faults as one likes, by command, and writes down its figures:
//! see [`long`]. What is promised, and which test shows it, stands in `docs/reliability.md`.
//!
//! Not here: faults in virtual time (the simulator), single statements that fail (the stores' own
//! tests), power loss (images of a file, beside the store on SQLite).
#![allow(
    clippy::disallowed_methods,
    reason = "real processes and servers run and are waited for in real time"
)]

mod checker;
mod flood;
mod hostile;
mod load;
mod long;
mod machine;
mod postgres;
mod receiver;
mod server;
mod sqlite;
mod telling;
mod versions;
mod world;
