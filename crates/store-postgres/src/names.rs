//! The dictionary: projects, queues and routes by number, kept in the process.
//!
//! A route never changes and is never deleted, so what was read once stays right. It is made by a
//! statement of its own, outside the transaction that needs it: rolled back, it would leave a number
//! in the cache that the database does not know. Settings of queues are cached for what only orders
//! (fairness) or releases; limits are always read in the transaction that must keep them.

use crate::Inner;
use crate::link::{Conn, Step, transact};
use mainspring_core::error::Result;
use mainspring_core::queue::QueueSettings;
use mainspring_core::{ProjectId, StoreError};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

/// Has settings of its own.
pub(crate) const CONFIGURED: i16 = 1;
/// Has had jobs with a key or an expiry.
pub(crate) const JUDGED: i16 = 2;

/// A way jobs travel, with its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteInfo {
    pub id: i32,
    pub project: ProjectId,
    pub queue_id: i32,
    pub queue: Arc<str>,
    pub kind: Arc<str>,
}

/// What is cached of a queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueueInfo {
    pub settings: Arc<QueueSettings>,
    pub flags: i16,
}

type Name = (ProjectId, Arc<str>, Arc<str>);

/// A queue's routes by kind.
type Kinds = HashMap<Arc<str>, Arc<RouteInfo>>;

#[derive(Default)]
struct Maps {
    by_name: HashMap<ProjectId, HashMap<Arc<str>, Kinds>>,
    by_id: HashMap<i32, Arc<RouteInfo>>,
    queues: HashMap<i32, QueueInfo>,
    version: i64,
}

/// The cache.
#[derive(Default)]
pub(crate) struct Names(RwLock<Maps>);

const ROUTES: &str = "
    SELECT r.id, r.project, r.queue_id, r.queue, r.kind, q.settings, q.flags
    FROM routes r JOIN queues q ON q.id = r.queue_id ORDER BY r.id";

impl Names {
    fn read<T>(&self, look: impl FnOnce(&Maps) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Maps) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The route of a name, if known here.
    pub fn route(&self, project: ProjectId, queue: &str, kind: &str) -> Option<Arc<RouteInfo>> {
        self.read(|m| m.by_name.get(&project)?.get(queue)?.get(kind).cloned())
    }

    /// The route of a number, if known here.
    pub fn by_id(&self, id: i32) -> Option<Arc<RouteInfo>> {
        self.read(|m| m.by_id.get(&id).cloned())
    }

    /// What is known of a queue.
    pub fn queue(&self, id: i32) -> QueueInfo {
        self.read(|m| m.queues.get(&id).cloned().unwrap_or_default())
    }

    /// Remembers that the claim must look at a queue's jobs one by one.
    pub fn mark(&self, ids: &[i32], flag: i16) {
        self.write(|m| {
            for id in ids {
                m.queues.entry(*id).or_default().flags |= flag;
            }
        });
    }

    /// The version of all queues' settings that the cache holds.
    pub fn version(&self) -> i64 {
        self.read(|m| m.version)
    }

    fn learn(&self, rows: &[tokio_postgres::Row], version: Option<i64>) {
        self.write(|m| {
            m.version = version.unwrap_or(m.version);
            for row in rows {
                let id: i32 = row.get(0);
                let text: &str = row.get(5);
                // Settings this program cannot read leave the order as it was; the claim refuses them.
                let settings = Arc::new(serde_json::from_str(text).unwrap_or_default());
                m.queues.insert(row.get(2), QueueInfo { settings, flags: row.get(6) });
                if m.by_id.contains_key(&id) {
                    continue;
                }
                let info = Arc::new(RouteInfo {
                    id,
                    project: ProjectId(row.get(1)),
                    queue_id: row.get(2),
                    queue: row.get::<_, &str>(3).into(),
                    kind: row.get::<_, &str>(4).into(),
                });
                let queues = m.by_name.entry(info.project).or_default();
                queues.entry(info.queue.clone()).or_default().insert(info.kind.clone(), info.clone());
                m.by_id.insert(id, info);
            }
        });
    }
}

impl Inner {
    /// Reads the whole dictionary anew.
    pub(crate) async fn reload_names(&self) -> Result<()> {
        let (rows, version) = transact!(&self.reach, self.lanes.aside, |conn| {
            let version = conn.opt("SELECT value FROM meta WHERE name = 'queues_version'", &[]).await?;
            let version = version.and_then(|row| row.get::<_, &str>(0).parse().ok()).unwrap_or(0);
            Ok((conn.query(ROUTES, &[]).await?, version))
        })?;
        self.names.learn(&rows, Some(version));
        Ok(())
    }

    /// Sees to it that every name has a route in the cache.
    pub(crate) async fn ensure_routes(&self, names: impl IntoIterator<Item = Name>) -> Result<()> {
        let missing: BTreeSet<Name> =
            names.into_iter().filter(|(p, q, k)| self.names.route(*p, q, k).is_none()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let projects: Vec<i64> = missing.iter().map(|n| n.0.0).collect();
        let queues: Vec<&str> = missing.iter().map(|n| &*n.1).collect();
        let kinds: Vec<&str> = missing.iter().map(|n| &*n.2).collect();
        transact!(&self.reach, self.lanes.aside, |conn| {
            conn.execute(
                "INSERT INTO queues (project, name)
                 SELECT DISTINCT p.id, u.queue FROM unnest($1::bigint[], $2::text[]) u(project, queue)
                 JOIN projects p ON p.id = u.project ORDER BY 1, 2 ON CONFLICT DO NOTHING",
                &[&projects, &queues],
            )
            .await?;
            conn.execute(
                "INSERT INTO routes (project, queue_id, queue, kind)
                 SELECT q.project, q.id, q.name, u.kind
                 FROM unnest($1::bigint[], $2::text[], $3::text[]) u(project, queue, kind)
                 JOIN queues q ON q.project = u.project AND q.name = u.queue
                 ORDER BY 2, 4 ON CONFLICT DO NOTHING",
                &[&projects, &queues, &kinds],
            )
            .await?;
            Ok(())
        })?;
        self.reload_names().await?;
        for (project, queue, kind) in &missing {
            if self.names.route(*project, queue, kind).is_none() {
                return Err(StoreError::NotFound { what: "project", name: project.to_string() });
            }
        }
        Ok(())
    }

    /// The route of a number a row carries.
    pub(crate) async fn route_of(&self, id: i32) -> Result<Arc<RouteInfo>> {
        if let Some(route) = self.names.by_id(id) {
            return Ok(route);
        }
        self.reload_names().await?;
        self.names
            .by_id(id)
            .ok_or_else(|| StoreError::Internal(format!("route {id} is not in the dictionary")))
    }

    /// Tells claims that jobs of these queues must be looked at one by one.
    pub(crate) async fn mark_judged(&self, queues: &[i32]) -> Result<()> {
        let unmarked: Vec<i32> =
            queues.iter().copied().filter(|q| self.names.queue(*q).flags & JUDGED == 0).collect();
        if unmarked.is_empty() {
            return Ok(());
        }
        transact!(&self.reach, self.lanes.aside, |conn| {
            conn.execute(
                "UPDATE queues SET flags = flags | 2::smallint
                 WHERE id = ANY(ARRAY(SELECT id FROM queues WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE))",
                &[&unmarked],
            )
            .await
        })?;
        self.names.mark(&unmarked, JUDGED);
        Ok(())
    }
}

/// The number of a queue, made if it does not exist.
pub(crate) async fn queue_id(conn: &Conn, project: ProjectId, name: &str) -> Step<i32> {
    let row = conn
        .opt(
            "INSERT INTO queues (project, name) SELECT id, $2 FROM projects WHERE id = $1
             ON CONFLICT (project, name) DO UPDATE SET name = excluded.name RETURNING id",
            &[&project.0, &name],
        )
        .await?;
    match row {
        Some(row) => Ok(row.get(0)),
        None => Err(StoreError::NotFound { what: "project", name: project.to_string() }.into()),
    }
}
