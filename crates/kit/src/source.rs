//! Sources: a subject's binding to a connector, with how far it was read and how it went.
//!
//! The cursor moves in the transaction that writes what was read (see [`Kit::source_succeeded`], a
//! statement): killed in between, the same is read again and seen to be the same.

use crate::{Kit, KitError, Result};
use jiff::Timestamp;
use mainspring_core::limits;
use mainspring_core::tables::{AsJson, At, Statement};
use serde::Deserialize;
use serde_json::Value;

mainspring_core::words! {
    /// How a source does.
    SourceState {
        /// Its last read went well, or there was none.
        Active = "active",
        /// Its last read failed; it waits, longer each time.
        Backoff = "backoff",
        /// The service says that it does not exist any more.
        Gone = "gone",
        /// A person stopped it.
        Paused = "paused",
    }
}

/// A source.
#[derive(Clone, Debug, Deserialize)]
pub struct Source {
    /// Its number.
    pub id: i64,
    /// Whose it is.
    pub subject: i64,
    /// What of the subject it brings.
    pub section: String,
    /// Who fetches it.
    pub connector: String,
    /// How.
    pub config: AsJson<Value>,
    /// How far it was read.
    pub cursor: Option<AsJson<Value>>,
    /// How it does.
    pub state: SourceState,
    /// Failures in a row.
    pub failures: u32,
    /// What the last one said.
    pub last_error: Option<String>,
    /// When it was last tried.
    pub last_try: Option<At>,
    /// When it last went well.
    pub last_success: Option<At>,
}

const COLUMNS: &str =
    "id, subject, section, connector, config, cursor, state, failures, last_error, last_try, last_success";

impl Kit {
    /// Binds a subject's section to a connector; the source's number. Its cursor stays unless the
    /// connector changes.
    pub async fn put_source(
        &self,
        subject: i64,
        section: &str,
        connector: &str,
        config: &Value,
    ) -> Result<i64> {
        let statement = self.own(
            "INSERT INTO kit_sources (project, pack, subject, section, connector, config, state, created)
             SELECT s.project, s.pack, s.id, ?4, ?5, ?6, 'active', ?7 FROM kit_subjects s
             WHERE s.project = ?1 AND s.pack = ?2 AND s.id = ?3
             ON CONFLICT (subject, section) DO UPDATE SET
                 cursor = CASE WHEN kit_sources.connector = excluded.connector THEN kit_sources.cursor END,
                 connector = excluded.connector, config = excluded.config
             RETURNING id",
        );
        let statement = statement.bind(subject).bind(section).bind(connector).bind(AsJson(config));
        let mut written = self.write(statement.bind(self.now())).await?;
        written.rows.swap_remove(0).optional()?.ok_or_else(|| KitError::not_found("subject", subject))
    }

    /// One source.
    pub async fn source(&self, id: i64) -> Result<Source> {
        let statement = self.own_built(format!(
            "SELECT {COLUMNS} FROM kit_sources WHERE project = ?1 AND pack = ?2 AND id = ?3"
        ));
        let statement = statement.bind(id);
        self.read(statement).await?.optional()?.ok_or_else(|| KitError::not_found("source", id))
    }

    /// A subject's sources by section.
    pub async fn sources(&self, subject: i64) -> Result<Vec<Source>> {
        let statement = self.own_built(format!(
            "SELECT {COLUMNS} FROM kit_sources WHERE project = ?1 AND pack = ?2 AND subject = ?3
             ORDER BY section LIMIT 100"
        ));
        let statement = statement.bind(subject);
        Ok(self.read(statement).await?.into_typed()?)
    }

    /// That a read went well up to this cursor: part of the write that keeps what was read.
    pub fn source_succeeded(&self, id: i64, cursor: &Value) -> Statement {
        let statement = self.own(
            "UPDATE kit_sources SET cursor = ?4, last_try = ?5, last_success = ?5, failures = 0, last_error = NULL,
                 state = CASE state WHEN 'paused' THEN state ELSE 'active' END
             WHERE project = ?1 AND pack = ?2 AND id = ?3",
        );
        statement.bind(id).bind(AsJson(cursor)).bind(self.now()).expect_rows(1)
    }

    /// That a read failed. `gone`: the service says that there is nothing any more.
    pub async fn source_failed(&self, id: i64, error: &str, gone: bool) -> Result<()> {
        let statement = self.own(
            "UPDATE kit_sources SET last_try = ?4, failures = failures + 1, last_error = ?5,
                 state = CASE WHEN state = 'paused' THEN state WHEN ?6 = 1 THEN 'gone' ELSE 'backoff' END
             WHERE project = ?1 AND pack = ?2 AND id = ?3",
        );
        let statement = statement.bind(id).bind(self.now()).bind(limits::cut(error, limits::NOTE)).bind(gone);
        self.write(statement).await.map(drop)
    }

    /// Stops a source, or lets it go on from where it was.
    pub async fn pause_source(&self, id: i64, paused: bool) -> Result<()> {
        let statement =
            self.own("UPDATE kit_sources SET state = ?4 WHERE project = ?1 AND pack = ?2 AND id = ?3");
        let state = if paused { SourceState::Paused } else { SourceState::Active };
        let written = self.write(statement.bind(id).bind(state.as_str())).await?;
        if written.rows[0].affected() == 0 { Err(KitError::not_found("source", id)) } else { Ok(()) }
    }

    /// When its data was last known to be right, for "as of" beside every number.
    pub async fn as_of(&self, subject: i64) -> Result<Option<Timestamp>> {
        let statement = self.own(
            "SELECT min(last_success) FROM kit_sources
             WHERE project = ?1 AND pack = ?2 AND subject = ?3 AND last_success IS NOT NULL",
        );
        let at: Option<At> = self.read(statement.bind(subject)).await?.one()?;
        Ok(at.map(|at| at.0))
    }
}
