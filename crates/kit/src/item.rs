//! Items: external records, each known by the source's own name for it.
//!
//! Seeing an item again writes when it was last seen, and its content only where it differs. What a whole
//! listing did not bring any more is closed by [`Kit::close_unseen`], never deleted.

use crate::{Kit, KitError, Result, hash};
use jiff::Timestamp;
use mainspring_core::tables::{AsJson, At, Statement, Write};
use serde::Deserialize;
use serde_json::Value;

/// Bytes of an item's data as JSON.
pub const DATA: usize = 256 << 10;
/// Items in one call of [`Kit::see`].
pub const SEEN: usize = 500;
/// Items in one statement.
const CHUNK: usize = 25;

/// An item as a source brings it.
#[derive(Clone, Debug)]
pub struct NewItem {
    /// What it is: `commit`, `issue`.
    pub kind: &'static str,
    /// The source's own name for it.
    pub external: String,
    /// When it happened, by the source.
    pub at: Timestamp,
    /// Since when it is over, by the source.
    pub closed: Option<Timestamp>,
    /// What there is to know.
    pub data: Value,
}

/// An item as it is kept.
#[derive(Clone, Debug, Deserialize)]
pub struct Item {
    /// Its number.
    pub id: i64,
    /// Where it came from.
    pub source: i64,
    /// What it is.
    pub kind: String,
    /// The source's own name for it.
    pub external: String,
    /// When it happened.
    pub at: At,
    /// When it was first seen here.
    pub first_seen: At,
    /// When it was last seen.
    pub last_seen: At,
    /// When its content was last seen to differ.
    pub changed: At,
    /// Since when it is over or gone.
    pub closed: Option<At>,
    /// What there is to know.
    pub data: AsJson<Value>,
}

/// What a call of [`Kit::see`] met, by the sources' names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Not known before.
    pub new: Vec<String>,
    /// Known, with other content.
    pub changed: Vec<String>,
    /// Known as they are.
    pub same: usize,
}

#[derive(Deserialize)]
struct Met {
    external: String,
    first_seen: At,
    changed: At,
}

const COLUMNS: &str = "id, source, kind, external, at, first_seen, last_seen, changed, closed, data";

impl Kit {
    /// Keeps what a source brought, and whatever `write` holds (its cursor, jobs), in one transaction.
    ///
    /// An item that is in the list twice counts once, as it stands last.
    pub async fn see(&self, source: i64, items: &[NewItem], write: Write) -> Result<Seen> {
        self.source(source).await?;
        if items.len() > SEEN {
            let text = format!("{} items in one call, at most {SEEN} are allowed", items.len());
            return Err(KitError::invalid("items", text));
        }
        let mut unique = std::collections::BTreeMap::new();
        for item in items {
            let data = item.data.to_string();
            if data.len() > DATA {
                let text = format!(
                    "{} {} has {} bytes, at most {DATA} are kept",
                    item.kind,
                    item.external,
                    data.len()
                );
                return Err(KitError::invalid("data", text));
            }
            unique.insert((item.kind, item.external.as_str()), (item, data));
        }
        let unique: Vec<_> = unique.into_values().collect();
        let now = self.now();
        let mut ours = Write::new();
        for chunk in unique.chunks(CHUNK) {
            ours = ours.then(upsert(source, now, chunk));
        }
        let written = self.write(ours.and(write)).await?;
        let mut seen = Seen::default();
        for rows in written.rows.into_iter().take(unique.len().div_ceil(CHUNK)) {
            for met in rows.into_typed::<Met>()? {
                match (met.first_seen.0 == now, met.changed.0 == now) {
                    (true, _) => seen.new.push(met.external),
                    (false, true) => seen.changed.push(met.external),
                    (false, false) => seen.same += 1,
                }
            }
        }
        Ok(seen)
    }

    /// Closes the open items of a kind that were last seen before `since`: after a listing that brought
    /// everything there is. How many.
    pub async fn close_unseen(&self, source: i64, kind: &str, since: Timestamp) -> Result<u64> {
        let statement = self.own(
            "UPDATE kit_items SET closed = ?6, changed = ?6
             WHERE source = ?3 AND kind = ?4 AND closed IS NULL AND last_seen < ?5
                 AND EXISTS (SELECT 1 FROM kit_sources s WHERE s.project = ?1 AND s.pack = ?2 AND s.id = ?3)",
        );
        let statement = statement.bind(source).bind(kind).bind(since).bind(self.now());
        Ok(self.write(statement).await?.rows[0].affected())
    }

    /// Items of a source and kind that happened in `[from, until)`, the newest first, at most `limit`
    /// (10,000).
    pub async fn items(
        &self,
        source: i64,
        kind: &str,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Item>> {
        let statement = self.own_built(format!(
            "SELECT {COLUMNS} FROM kit_items WHERE source = ?3 AND kind = ?4 AND at >= ?5 AND at < ?6
                 AND EXISTS (SELECT 1 FROM kit_sources s WHERE s.project = ?1 AND s.pack = ?2 AND s.id = ?3)
             ORDER BY at DESC, id DESC LIMIT ?7"
        ));
        let statement = statement.bind(source).bind(kind);
        let limit = limit.min(mainspring_core::limits::TABLE_ROWS as u32);
        Ok(self.read(statement.bind(from).bind(until).bind(limit)).await?.into_typed()?)
    }

    /// The items of a kind that are open, the oldest first, at most `limit` (10,000).
    pub async fn open_items(&self, source: i64, kind: &str, limit: u32) -> Result<Vec<Item>> {
        let statement = self.own_built(format!(
            "SELECT {COLUMNS} FROM kit_items WHERE source = ?3 AND kind = ?4 AND closed IS NULL
                 AND EXISTS (SELECT 1 FROM kit_sources s WHERE s.project = ?1 AND s.pack = ?2 AND s.id = ?3)
             ORDER BY at, id LIMIT ?5"
        ));
        let statement = statement.bind(source).bind(kind);
        let limit = limit.min(mainspring_core::limits::TABLE_ROWS as u32);
        Ok(self.read(statement.bind(limit)).await?.into_typed()?)
    }
}

/// Content, instant and end are taken over where they differ; `changed` says when.
fn upsert(source: i64, now: Timestamp, items: &[(&NewItem, String)]) -> Statement {
    let places: Vec<String> = (0..items.len())
        .map(|n| {
            let n = 3 + n * 6;
            format!("(?1, ?{}, ?{}, ?{}, ?2, ?2, ?2, ?{}, ?{}, ?{})", n, n + 1, n + 2, n + 3, n + 4, n + 5)
        })
        .collect();
    let differs = "kit_items.hash <> excluded.hash OR kit_items.at <> excluded.at
                   OR coalesce(kit_items.closed, 0) <> coalesce(excluded.closed, 0)";
    let mut statement = Statement::built(format!(
        "INSERT INTO kit_items (source, kind, external, at, first_seen, last_seen, changed, closed, hash, data)
         VALUES {}
         ON CONFLICT (source, kind, external) DO UPDATE SET
             changed = CASE WHEN {differs} THEN excluded.changed ELSE kit_items.changed END,
             last_seen = excluded.last_seen, at = excluded.at, closed = excluded.closed,
             hash = excluded.hash, data = excluded.data
         RETURNING external, first_seen, changed",
        places.join(", ")
    ));
    statement = statement.bind(source).bind(now);
    for (item, data) in items {
        statement = statement.bind(item.kind).bind(item.external.as_str()).bind(item.at).bind(item.closed);
        statement = statement.bind(hash(&item.data)).bind(data.as_str());
    }
    statement
}
