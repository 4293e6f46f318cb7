//! Cron: our own parser and a bounded search for the next fire.
//!
//! An expression is text ([`CronExpr::parse`]) that becomes bit masks; [`CronExpr::next_after`]
//! asks them for the first instant after another in a [`crate::zone::Zone`]. Everything else here
//! serves people: [`CronExpr::explain`] says it in words, [`lint`] warns of what is allowed and
//! probably not meant, [`answer_line`] is the machine-readable form.
//!
//! The rules in short (each has its tests):
//!
//! - 5 fields, 6 with seconds first, 7 with a year (1970-2199) last; `0 x` equals `x`.
//! - Both day fields given: either matches; `+` before the weekday: both must.
//! - An expression whose second, minute or hour field begins with `*` is an *interval*: it runs at
//!   every instant whose local time matches, so an hour that is shown twice runs twice. Any other
//!   is *fixed-time*: it runs once for each local time, whatever the clocks do ([`ClockChange`]).
//! - "No next run" is a value, and found at once: the calendar repeats every 400 years.
//!
//! What it deliberately does not do: read a clock, know names of schedules (`H` is resolved by
//! [`crate::trigger`]), or accept what other dialects would guess at. What is not in the rules is
//! refused with field, position and what to write.

mod days;
mod explain;
mod expr;
mod field;
mod jsonl;
mod lint;
mod parse;
mod search;
mod spread;

pub use expr::CronExpr;
pub use field::{CronError, Field};
pub use jsonl::answer_line;
pub use lint::{LintWarning, MinuteLoad, lint};
pub use search::{ClockChange, CronFire, CronIter, FireNote};
pub use spread::{has_spread, resolve_spread};

pub(crate) use explain::join;
pub(crate) use search::clock;
pub(crate) use spread::stable_hash;
