//! What is worth telling, by itself, and values kept by name.
//!
//! A reader that follows the tail asks for numbers above the last it saw. It may, because a number
//! is drawn under a lock that is held until its transaction has ended: see [`crate::effects`].

use crate::effects::Effects;
use crate::link::transact;
use crate::{Inner, Lanes, rows};
use jiff::Timestamp;
use mainspring_core::error::Result;
use mainspring_core::event::{Event, NewEvent};
use mainspring_core::json::Json;
use mainspring_core::{ProjectId, StoreError, limits, time};

impl Inner {
    pub(crate) async fn ensure_project(&self, now: Timestamp, name: &str) -> Result<ProjectId> {
        mainspring_core::job::check_name(name)
            .map_err(|text| StoreError::Invalid { field: "project", text })?;
        let now = time::micros(now);
        let find = "SELECT id FROM projects WHERE name = $1";
        if let [row] = self.read(find, &[&name]).await?.as_slice() {
            return Ok(ProjectId(row.get(0)));
        }
        let row = transact!(&self.reach, self.lanes.control, |conn| {
            conn.execute(
                "INSERT INTO projects (name, created_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                &[&name, &now],
            )
            .await?;
            conn.one(find, &[&name]).await
        })?;
        Ok(ProjectId(row.get(0)))
    }

    pub(crate) async fn record(&self, now: Timestamp, project: ProjectId, event: NewEvent) -> Result<()> {
        let now = time::micros(now);
        transact!(&self.reach, self.lanes.control, |conn| {
            conn.begin().await?;
            let mut fx = Effects { events: vec![(project, event.clone())], ..Default::default() };
            self.seal(conn, now, self.shard(Lanes::CONTROL), &mut fx).await
        })
    }

    pub(crate) async fn events_after(
        &self,
        project: ProjectId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Event>> {
        let limit = i64::from(limit.min(limits::PAGE as u32));
        let rows = self
            .read(
                "SELECT id, at, name, subject, actor, data FROM events
                 WHERE project = $1 AND id > $2 ORDER BY id LIMIT $3",
                &[&project.0, &after, &limit],
            )
            .await?;
        let event = |row: &tokio_postgres::Row| Event {
            id: row.get(0),
            project,
            at: time::from_micros(row.get(1)),
            event: NewEvent {
                name: row.get(2),
                subject: row.get(3),
                actor: row.get(4),
                data: Json::trusted(row.get::<_, String>(5)),
            },
        };
        Ok(rows.iter().map(event).collect())
    }

    pub(crate) async fn last_event(&self, project: ProjectId) -> Result<i64> {
        let last = "SELECT id FROM events WHERE project = $1 ORDER BY id DESC LIMIT 1";
        Ok(self.read(last, &[&project.0]).await?.first().map_or(0, |row| row.get(0)))
    }

    pub(crate) async fn meta(&self, name: &str) -> Result<Option<String>> {
        let rows = self.read("SELECT value FROM meta WHERE name = $1", &[&name]).await?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    pub(crate) async fn set_meta(&self, name: &str, value: Option<&str>) -> Result<()> {
        let value = value.map(rows::clean);
        transact!(&self.reach, self.lanes.control, |conn| {
            match &value {
                Some(value) => {
                    conn.execute(
                        "INSERT INTO meta (name, value) VALUES ($1, $2)
                         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                        &[&name, value],
                    )
                    .await
                }
                None => conn.execute("DELETE FROM meta WHERE name = $1", &[&name]).await,
            }
        })
        .map(drop)
    }
}
