//! Reports: a rendered document for a period, with the figures it was made of.
//!
//! One for each (kind, period): making it again replaces it, so a job that runs twice leaves one.

use crate::{Kit, KitError, Result};
use mainspring_core::tables::{AsJson, At, Statement};
use serde::Deserialize;
use serde_json::Value;

/// Bytes of each face of a report.
pub const FACE: usize = 1 << 20;

/// A report to be kept.
#[derive(Clone, Debug)]
pub struct NewReport {
    /// What it is: `weekly`.
    pub kind: &'static str,
    /// What it is about: `2026-W47`.
    pub period: String,
    /// In one line.
    pub title: String,
    /// As plain text.
    pub text: String,
    /// As HTML that stands for itself.
    pub html: String,
    /// The figures.
    pub data: Value,
}

/// A report as it is kept.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// Its number.
    pub id: i64,
    /// What it is.
    pub kind: String,
    /// What it is about.
    pub period: String,
    /// In one line.
    pub title: String,
    /// As plain text.
    pub text: String,
    /// As HTML.
    pub html: String,
    /// The figures.
    pub data: AsJson<Value>,
    /// When it was last made.
    pub created: At,
}

/// A report in a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Listed {
    /// Its number.
    pub id: i64,
    /// What it is about.
    pub period: String,
    /// In one line.
    pub title: String,
    /// When it was last made.
    pub created: At,
}

impl Kit {
    /// The statement that keeps a report; it gives its number.
    pub fn put_report(&self, new: &NewReport) -> Result<Statement> {
        for (field, face) in [("text", &new.text), ("html", &new.html)] {
            if face.len() > FACE {
                let text = format!("{} bytes, at most {FACE} are kept", face.len());
                return Err(KitError::invalid(field, text));
            }
        }
        let statement = self.own(
            "INSERT INTO kit_reports (project, pack, kind, period, title, text, html, data, created)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (project, pack, kind, period) DO UPDATE SET title = excluded.title,
                 text = excluded.text, html = excluded.html, data = excluded.data, created = excluded.created
             RETURNING id",
        );
        let statement = statement.bind(new.kind).bind(new.period.as_str()).bind(new.title.as_str());
        let statement = statement.bind(new.text.as_str()).bind(new.html.as_str());
        Ok(statement.bind(AsJson(&new.data)).bind(self.now()))
    }

    /// One report.
    pub async fn report(&self, id: i64) -> Result<Report> {
        let statement = self.own(
            "SELECT id, kind, period, title, text, html, data, created FROM kit_reports
             WHERE project = ?1 AND pack = ?2 AND id = ?3",
        );
        self.read(statement.bind(id)).await?.optional()?.ok_or_else(|| KitError::not_found("report", id))
    }

    /// Reports of a kind, the newest period first, at most `limit` (1,000).
    pub async fn reports(&self, kind: &str, limit: u32) -> Result<Vec<Listed>> {
        let statement = self.own(
            "SELECT id, period, title, created FROM kit_reports
             WHERE project = ?1 AND pack = ?2 AND kind = ?3 ORDER BY period DESC LIMIT ?4",
        );
        Ok(self.read(statement.bind(kind).bind(limit.min(1000))).await?.into_typed()?)
    }
}
