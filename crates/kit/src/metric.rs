//! Metrics: numbers of a subject over time.
//!
//! One value for each (subject, name, instant): writing it again corrects it, so a job that runs twice
//! leaves what one would have left.

use crate::{Kit, KitError, Result};
use jiff::Timestamp;
use mainspring_core::tables::{At, Statement};
use serde::Deserialize;

/// A value at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Point {
    /// When.
    pub at: At,
    /// How much.
    pub value: f64,
}

impl Kit {
    /// The statement that keeps a value. One that is not finite is refused: leave it out instead.
    pub fn metric(&self, subject: i64, name: &str, at: Timestamp, value: f64) -> Result<Statement> {
        if !value.is_finite() {
            return Err(KitError::invalid(
                "value",
                format!("{name} is {value}; a metric is a finite number"),
            ));
        }
        let statement = self.own(
            "INSERT INTO kit_metrics (subject, name, at, value)
             SELECT s.id, ?4, ?5, ?6 FROM kit_subjects s WHERE s.project = ?1 AND s.pack = ?2 AND s.id = ?3
             ON CONFLICT (subject, name, at) DO UPDATE SET value = excluded.value",
        );
        Ok(statement.bind(subject).bind(name).bind(at).bind(value).expect_rows(1))
    }

    /// The values in `[from, until)` in order, at most 10,000.
    pub async fn series(
        &self,
        subject: i64,
        name: &str,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Point>> {
        let statement = self.own(
            "SELECT at, value FROM kit_metrics WHERE subject = ?3 AND name = ?4 AND at >= ?5 AND at < ?6
                 AND EXISTS (SELECT 1 FROM kit_subjects s WHERE s.project = ?1 AND s.pack = ?2 AND s.id = ?3)
             ORDER BY at LIMIT 10000",
        );
        let statement = statement.bind(subject).bind(name).bind(from).bind(until);
        Ok(self.read(statement).await?.into_typed()?)
    }

    /// The newest value that is not newer than `at`.
    pub async fn latest(&self, subject: i64, name: &str, at: Timestamp) -> Result<Option<Point>> {
        let statement = self.own(
            "SELECT at, value FROM kit_metrics WHERE subject = ?3 AND name = ?4 AND at <= ?5
                 AND EXISTS (SELECT 1 FROM kit_subjects s WHERE s.project = ?1 AND s.pack = ?2 AND s.id = ?3)
             ORDER BY at DESC LIMIT 1",
        );
        Ok(self.read(statement.bind(subject).bind(name).bind(at)).await?.optional()?)
    }
}
