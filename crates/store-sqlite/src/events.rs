//! What is worth telling, and values kept by name.

use crate::tx::{Done, Tx};
use jiff::Timestamp;
use mainspring_core::event::NewEvent;
use mainspring_core::{ProjectId, time};
use rusqlite::params;

impl Tx<'_> {
    /// Writes an event. Numbers rise in order of commit, as there is one writer at a time.
    pub fn event(&mut self, now: Timestamp, project: ProjectId, event: &NewEvent) -> Done<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO events (project, at, name, subject, actor, data)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                project.0,
                time::micros(now),
                event.name,
                event.subject,
                event.actor,
                event.data.as_str()
            ])?;
        Ok(())
    }

    /// Keeps a value by name, or forgets it.
    pub fn set_meta(&mut self, name: &str, value: Option<&str>) -> Done<()> {
        match value {
            Some(value) => self
                .conn
                .prepare_cached(
                    "INSERT INTO meta (name, value) VALUES (?1, ?2)
                     ON CONFLICT DO UPDATE SET value = excluded.value",
                )?
                .execute([name, value])?,
            None => self.conn.prepare_cached("DELETE FROM meta WHERE name = ?1")?.execute([name])?,
        };
        Ok(())
    }
}
