//! The cache: answers that need not be asked for again yet.
//!
//! A value is fresh for a while and then stale: still given, and told to be so, that the caller may answer
//! with it and fetch a new one beside ("stale while revalidate"). Then it is gone.

use crate::{Kit, KitError, Result};
use jiff::Timestamp;
use mainspring_core::tables::{AsJson, At, Statement};
use mainspring_core::time;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// Bytes of a value as JSON.
pub const VALUE: usize = 1 << 20;
/// Characters of a key.
pub const KEY: usize = 500;

/// What the cache has.
#[derive(Clone, Debug, PartialEq)]
pub enum Cached {
    /// A value that need not be asked for again.
    Fresh(Value),
    /// A value that may be shown while a new one is fetched; since when it was kept.
    Stale(Value, Timestamp),
    /// Nothing.
    Missing,
}

impl Kit {
    /// What is kept under a key.
    pub async fn cached(&self, key: &str) -> Result<Cached> {
        #[derive(Deserialize)]
        struct Row {
            value: AsJson<Value>,
            stored: At,
            fresh_until: At,
        }
        let now = self.now();
        let statement = self.own(
            "SELECT value, stored, fresh_until FROM kit_cache
             WHERE project = ?1 AND pack = ?2 AND key = ?3 AND keep_until > ?4",
        );
        let row: Option<Row> = self.read(statement.bind(key).bind(now)).await?.optional()?;
        Ok(match row {
            Some(row) if row.fresh_until.0 > now => Cached::Fresh(row.value.0),
            Some(row) => Cached::Stale(row.value.0, row.stored.0),
            None => Cached::Missing,
        })
    }

    /// The statement that keeps a value: fresh for `ttl`, then stale for `stale`.
    pub fn keep(&self, key: &str, value: &Value, ttl: Duration, stale: Duration) -> Result<Statement> {
        if key.is_empty() || key.chars().count() > KEY {
            return Err(KitError::invalid("key", format!("a key has 1 to {KEY} characters")));
        }
        let text = value.to_string();
        if text.len() > VALUE {
            return Err(KitError::invalid(
                "value",
                format!("{} bytes, at most {VALUE} are kept", text.len()),
            ));
        }
        let now = self.now();
        let fresh = time::plus(now, ttl);
        let statement = self.own(
            "INSERT INTO kit_cache (project, pack, key, value, stored, fresh_until, keep_until)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (project, pack, key) DO UPDATE SET value = excluded.value, stored = excluded.stored,
                 fresh_until = excluded.fresh_until, keep_until = excluded.keep_until",
        );
        Ok(statement.bind(key).bind(text).bind(now).bind(fresh).bind(time::plus(fresh, stale)))
    }

    /// Forgets a key.
    pub async fn forget(&self, key: &str) -> Result<()> {
        let statement = self.own("DELETE FROM kit_cache WHERE project = ?1 AND pack = ?2 AND key = ?3");
        self.write(statement.bind(key)).await.map(drop)
    }

    /// Deletes what is gone, a thousand at a time; how many.
    pub async fn sweep_cache(&self) -> Result<u64> {
        let statement = self.own(
            "DELETE FROM kit_cache WHERE project = ?1 AND pack = ?2 AND key IN (SELECT c.key FROM kit_cache c
                 WHERE c.project = ?1 AND c.pack = ?2 AND c.keep_until <= ?3 LIMIT 1000)",
        );
        Ok(self.write(statement.bind(self.now())).await?.rows[0].affected())
    }
}
