//! Usage: what calls to the outside cost, by service and day.

use crate::{Kit, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainspring_core::tables::Statement;
use serde::Deserialize;

/// What some calls cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Spent {
    /// How many.
    pub calls: u64,
    /// How many of them failed.
    pub errors: u64,
    /// Bytes both ways.
    pub bytes: u64,
    /// Tokens sent to a language model, as it counted them.
    pub tokens_in: u64,
    /// Tokens it answered with.
    pub tokens_out: u64,
    /// Money, in millionths of a US dollar.
    pub micros: u64,
    /// Calls whose price nobody knows: shown beside the money, never taken for nothing.
    pub unpriced: u64,
}

/// What a service cost on a day.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Day {
    /// The service.
    pub service: String,
    /// The day in UTC, `2026-11-22`.
    pub day: String,
    /// How many calls.
    pub calls: u64,
    /// How many of them failed.
    pub errors: u64,
    /// Bytes both ways.
    pub bytes: u64,
    /// Tokens sent.
    pub tokens_in: u64,
    /// Tokens answered.
    pub tokens_out: u64,
    /// Money, in millionths of a US dollar.
    pub micros: u64,
    /// Calls whose price nobody knows.
    pub unpriced: u64,
}

/// The day of an instant in UTC.
pub fn day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).date().to_string()
}

impl Kit {
    /// The statement that adds to what a service has cost today.
    pub fn spend(&self, service: &str, spent: &Spent) -> Statement {
        let statement = self.own(
            "INSERT INTO kit_usage (project, pack, service, day, calls, errors, bytes, tokens_in, tokens_out, micros, unpriced)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT (project, pack, service, day) DO UPDATE SET
                 calls = kit_usage.calls + excluded.calls, errors = kit_usage.errors + excluded.errors,
                 bytes = kit_usage.bytes + excluded.bytes, tokens_in = kit_usage.tokens_in + excluded.tokens_in,
                 tokens_out = kit_usage.tokens_out + excluded.tokens_out,
                 micros = kit_usage.micros + excluded.micros, unpriced = kit_usage.unpriced + excluded.unpriced",
        );
        let statement = statement.bind(service).bind(day(self.now())).bind(spent.calls).bind(spent.errors);
        let statement = statement.bind(spent.bytes).bind(spent.tokens_in).bind(spent.tokens_out);
        statement.bind(spent.micros).bind(spent.unpriced)
    }

    /// What each service cost on each day since `from` (`2026-11-01`), the newest day first, at most 10,000
    /// lines.
    pub async fn usage(&self, from: &str) -> Result<Vec<Day>> {
        let statement = self.own(
            "SELECT service, day, calls, errors, bytes, tokens_in, tokens_out, micros, unpriced FROM kit_usage
             WHERE project = ?1 AND pack = ?2 AND day >= ?3 ORDER BY day DESC, service LIMIT 10000",
        );
        Ok(self.read(statement.bind(from)).await?.into_typed()?)
    }
}
