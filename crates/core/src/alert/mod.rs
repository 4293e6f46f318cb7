//! Alert rules: what somebody wants to be told about, and the pure judge that decides when.
//!
//! ```text
//!  roll-ups ┐
//!  series   ┴▶ Past ──read──▶ readings (subject, value, breached?) ──judge──▶ fired, recovered
//!                              └── the same two functions, look by look, over history: replay
//! ```
//!
//! A rule looks once every so many minutes, on the minute, at what is complete by then. Live and
//! backtest differ only in where their [`Past`] comes from, so a backtest says what the rule would
//! have done, not something like it.
//!
//! Two sources feed it. *Attempts* are the roll-ups that stores keep anyway. Everything else (queues,
//! late schedules, lost nodes, heartbeats, metrics of packs) is a *series*: a value with the instant
//! since when it holds, named `family:name`. Who writes series is not known here.
//!
//! What this deliberately does not do: read anything, know who is told and how loudly, or keep
//! alerts. That is `mainspring::alerts`.

mod judge;
mod reading;
mod replay;
mod rule;
mod target;

pub use judge::{Change, RuleState, SubjectState, judge};
pub use reading::{FAMILIES, Past, Point, Reading, Window, family, read, running_family, windows};
pub use replay::{Episode, History, replay};
pub use rule::{Condition, Rule};
pub use target::{Over, Target};
