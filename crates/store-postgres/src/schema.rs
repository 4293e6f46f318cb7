//! Migrations: forward only, each with a checksum, under a lock so that many nodes may start at
//! once. A schema that is newer, altered or somebody else's is refused, never touched.

use crate::Inner;
use crate::link::{Conn, Fault, Step};
use mainspring_core::StoreError;
use mainspring_core::error::Result;

/// Every migration, in order: (name, text).
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_engine", include_str!("../migrations/0001_engine.sql")),
    ("0002_bundles", include_str!("../migrations/0002_bundles.sql")),
    ("0003_keyed_bundles", include_str!("../migrations/0003_keyed_bundles.sql")),
];

/// The schema this program writes.
pub(crate) const VERSION: i32 = MIGRATIONS.len() as i32;

/// FNV-1a, 64 bits (Fowler, Noll, Vo): tells an altered text, not an attacker's.
pub(crate) fn checksum(text: &str) -> i64 {
    let hash =
        text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    hash.cast_signed()
}

fn refused(text: String) -> Fault {
    Fault::Refused(StoreError::Schema(text))
}

impl Inner {
    /// Brings the schema to this program's version.
    pub(crate) async fn migrate(&self) -> Result<()> {
        let conn = self.reach.connect(None).await?;
        let result = self.migrate_on(&conn).await;
        result.map_err(|fault| crate::link::fault_error(fault, self.reach.limit))
    }

    async fn migrate_on(&self, conn: &Conn) -> Step<()> {
        let schema = &self.reach.address.schema;
        let version: i32 =
            conn.one("SELECT current_setting('server_version_num')::integer", &[]).await?.get(0);
        if version < 130_000 {
            return Err(refused(format!(
                "the server is PostgreSQL {}; 13 or later is needed",
                version / 10_000
            )));
        }
        // Others may be migrating: their work is waited for, however long it takes.
        conn.batch("SET statement_timeout = 0; SET lock_timeout = 0").await?;
        conn.execute("SELECT pg_advisory_lock($1)", &[&self.lock_key(crate::MIGRATE)]).await?;
        let there = conn.opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[schema]).await?.is_some();
        let tables: i64 = conn
            .one(
                "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v')",
                &[schema],
            )
            .await?
            .get(0);
        if !there {
            conn.batch(&format!("CREATE SCHEMA {schema}")).await?;
        }
        let ours = conn
            .opt(
                "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = $1 AND c.relname = 'mainspring_migrations'",
                &[schema],
            )
            .await?;
        if ours.is_none() && tables > 0 {
            return Err(Fault::Refused(StoreError::Foreign(format!(
                "the schema {schema} holds {tables} tables of another program; choose another with ?schema=NAME"
            ))));
        }
        conn.batch(
            "CREATE TABLE IF NOT EXISTS mainspring_migrations (
                 number integer PRIMARY KEY, name text NOT NULL, checksum bigint NOT NULL)",
        )
        .await?;
        self.apply_missing(conn).await
    }

    async fn apply_missing(&self, conn: &Conn) -> Step<()> {
        let schema = &self.reach.address.schema;
        let done = conn
            .query("SELECT number, name, checksum FROM mainspring_migrations ORDER BY number", &[])
            .await?;
        for (row, nth) in done.iter().zip(1i32..) {
            let (number, name, sum): (i32, &str, i64) = (row.get(0), row.get(1), row.get(2));
            let Some((known, text)) = MIGRATIONS.get(nth as usize - 1) else {
                return Err(refused(format!(
                    "the schema {schema} is at version {} ({name}), this program knows {}; use a newer program",
                    done.len(),
                    MIGRATIONS.len()
                )));
            };
            if number != nth || name != *known || sum != checksum(text) {
                return Err(refused(format!(
                    "migration {number} ({name}) of the schema {schema} is not the one this program knows as \
                     {known}; it was made by another build, restore a backup or use that build"
                )));
            }
        }
        for (nth, (name, text)) in MIGRATIONS.iter().enumerate().skip(done.len()) {
            // One string of statements without parameters is one transaction.
            conn.batch(&format!(
                "BEGIN; {text};
                 INSERT INTO mainspring_migrations VALUES ({}, '{name}', {}); COMMIT",
                nth + 1,
                checksum(text)
            ))
            .await?;
        }
        Ok(())
    }

    /// The schema's version, for people.
    pub(crate) fn schema_version(&self) -> String {
        let name = MIGRATIONS.last().map_or("none", |(name, _)| name);
        format!("{} ({name})", MIGRATIONS.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_fnv_1a_and_tells_texts_apart() {
        assert_eq!(checksum(""), 0xcbf2_9ce4_8422_2325_u64.cast_signed());
        assert_eq!(checksum("a"), 0xaf63_dc4c_8601_ec8c_u64.cast_signed());
        assert_ne!(checksum(MIGRATIONS[0].1), checksum(&format!("{} ", MIGRATIONS[0].1)));
    }
}
