//! Subjects: the things a pack follows.
//!
//! A subject is known by its natural key (`owner/name`, a domain), once for each pack and kind. Putting
//! one that is there changes its name, rank and data and leaves its state: a person who paused it meant it.

use crate::{Kit, KitError, Result};
use mainspring_core::tables::{AsJson, At, Statement};
use serde::Deserialize;
use serde_json::Value;

/// Characters of a natural key.
pub const KEY: usize = 300;
/// The most subjects that one call gives.
pub const PAGE: u32 = 1000;

mainspring_core::words! {
    /// Whether it is followed.
    SubjectState {
        /// It is.
        Active = "active",
        /// A person stopped it for now.
        Paused = "paused",
        /// It does not exist any more.
        Gone = "gone",
    }
}

/// A subject to be.
#[derive(Clone, Debug)]
pub struct NewSubject {
    /// What it is: `repository`, `company`.
    pub kind: &'static str,
    /// The natural key.
    pub key: String,
    /// What people call it.
    pub name: String,
    /// How much it matters: higher is served first.
    pub rank: i64,
    /// What the pack wants to keep of it.
    pub data: Value,
}

/// A subject.
#[derive(Clone, Debug, Deserialize)]
pub struct Subject {
    /// Its number.
    pub id: i64,
    /// What it is.
    pub kind: String,
    /// The natural key.
    pub key: String,
    /// What people call it.
    pub name: String,
    /// Whether it is followed.
    pub state: SubjectState,
    /// How much it matters.
    pub rank: i64,
    /// What the pack keeps of it.
    pub data: AsJson<Value>,
    /// Since when it is followed.
    pub created: At,
    /// When it last changed.
    pub changed: At,
}

const COLUMNS: &str = "id, kind, key, name, state, rank, data, created, changed";

impl Kit {
    /// Makes or renames a subject; its number.
    pub async fn put_subject(&self, new: &NewSubject) -> Result<i64> {
        let mut written = self.write(self.put_subject_statement(new)?).await?;
        Ok(written.rows.swap_remove(0).one()?)
    }

    /// The same as a part of a larger write; it gives the number.
    pub fn put_subject_statement(&self, new: &NewSubject) -> Result<Statement> {
        if new.key.trim().is_empty() || new.key.chars().count() > KEY {
            return Err(KitError::invalid("key", format!("a natural key has 1 to {KEY} characters")));
        }
        let statement = self.own(
            "INSERT INTO kit_subjects (project, pack, kind, key, name, state, rank, data, created, changed)
             VALUES (?1, ?2, ?3, ?4, ?5, 'active', ?6, ?7, ?8, ?8)
             ON CONFLICT (project, pack, kind, key) DO UPDATE SET
                 name = excluded.name, rank = excluded.rank, data = excluded.data, changed = excluded.changed
             RETURNING id",
        );
        let statement = statement.bind(new.kind).bind(new.key.as_str()).bind(new.name.as_str());
        Ok(statement.bind(new.rank).bind(AsJson(&new.data)).bind(self.now()))
    }

    /// One subject.
    pub async fn subject(&self, id: i64) -> Result<Subject> {
        let statement = self.own_built(format!(
            "SELECT {COLUMNS} FROM kit_subjects WHERE project = ?1 AND pack = ?2 AND id = ?3"
        ));
        let statement = statement.bind(id);
        self.read(statement).await?.optional()?.ok_or_else(|| KitError::not_found("subject", id))
    }

    /// The subject of a natural key.
    pub async fn subject_by_key(&self, kind: &str, key: &str) -> Result<Option<Subject>> {
        let statement = self.own_built(format!(
            "SELECT {COLUMNS} FROM kit_subjects WHERE project = ?1 AND pack = ?2 AND kind = ?3 AND key = ?4"
        ));
        let statement = statement.bind(kind).bind(key);
        Ok(self.read(statement).await?.optional()?)
    }

    /// Subjects of a kind with a number above `after`, by number, at most `limit` of them.
    pub async fn subjects(&self, kind: &str, after: i64, limit: u32) -> Result<Vec<Subject>> {
        let statement = self.own_built(format!(
            "SELECT {COLUMNS} FROM kit_subjects WHERE project = ?1 AND pack = ?2 AND kind = ?3 AND id > ?4
             ORDER BY id LIMIT ?5"
        ));
        let statement = statement.bind(kind).bind(after);
        Ok(self.read(statement.bind(limit.min(PAGE))).await?.into_typed()?)
    }

    /// Follows it, pauses it, or says that it is gone.
    pub async fn set_subject(&self, id: i64, state: SubjectState) -> Result<()> {
        let statement = self.own(
            "UPDATE kit_subjects SET state = ?4, changed = ?5 WHERE project = ?1 AND pack = ?2 AND id = ?3",
        );
        let statement = statement.bind(id).bind(state.as_str()).bind(self.now());
        let written = self.write(statement).await?;
        if written.rows[0].affected() == 0 { Err(KitError::not_found("subject", id)) } else { Ok(()) }
    }

    /// Deletes it with all that was kept of it.
    pub async fn delete_subject(&self, id: i64) -> Result<()> {
        let statement =
            self.own("DELETE FROM kit_subjects WHERE project = ?1 AND pack = ?2 AND id = ?3").bind(id);
        let written = self.write(statement).await?;
        if written.rows[0].affected() == 0 { Err(KitError::not_found("subject", id)) } else { Ok(()) }
    }
}
