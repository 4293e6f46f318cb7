//! The domain of Mainspring: what a job, an attempt, a schedule and a limit are, and the pure
//! functions that decide what follows what.
//!
//! Everything here is a value or a pure function. There is no clock, no randomness, no database, no
//! HTTP and no async runtime: time and chance come in as arguments, and what must be written goes
//! out as a value that a store writes in one transaction. That is what lets the simulator, the
//! tests and the shipped node run the very same decisions.
//!
//! Read in this order: [`job`] (the nouns), [`decide`] (what follows an outcome), [`claim`] (who is
//! served next and which limits hold), [`store`] and [`reader`] (what a store must do); for
//! schedules [`cron`] (when), [`trigger`] (what else makes a schedule fire), [`schedule`] (the whole
//! rule) and [`plan`] (what becomes of every fire); then [`alert`] (who wants to be told of what). Apart from all that, [`tables`] is the door for
//! what is not the engine's: it checks how portable SQL is spelled and runs none.

pub mod alert;
pub mod backup;
pub mod batch;
pub mod calendar;
pub mod claim;
pub mod clock;
pub mod code;
pub mod cron;
pub mod decide;
pub mod duration;
pub mod error;
pub mod event;
pub mod ids;
pub mod job;
pub mod json;
pub mod limits;
pub mod node;
pub mod plan;
pub mod queue;
pub mod rate;
pub mod reader;
pub mod retry;
pub mod schedule;
pub mod schedule_record;
pub mod store;
pub mod tables;
pub mod tally;
pub mod text;
pub mod time;
pub mod trigger;
pub mod words;
pub mod zone;

pub use error::StoreError;
pub use ids::{BatchId, JobId, NodeId, ProjectId, ScheduleId};
pub use json::Json;
