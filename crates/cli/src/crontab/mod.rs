//! Crontabs: reading what cron reads ([`parse`]), and saying it as schedules with every difference
//! in meaning named ([`translate`]).

pub mod parse;
pub mod translate;
