//! Jobs by filter: which index drives the look, and how far it goes.
//!
//! Ids, ended states and batches have an index of their own. Everything else walks jobs by number
//! and looks at no more than [`limits::SCAN`] of them before it answers with what it has and a
//! cursor. Text of statements is put together from fixed pieces; values are always bound.

use crate::Inner;
use crate::rows::{from_jobs, select_jobs};
use mainspring_core::error::Result;
use mainspring_core::job::{JobRecord, JobState};
use mainspring_core::reader::Page;
use mainspring_core::store::JobFilter;
use mainspring_core::{JobId, ProjectId, StoreError, limits, time};
use tokio_postgres::types::ToSql;

/// Ended jobs that one look takes from their index: they are sorted before they are shown.
const ENDED: i64 = 2_000;

/// A statement with its values.
pub(crate) struct Query {
    pub sql: String,
    pub args: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Query {
    pub fn new(sql: &str) -> Query {
        Query { sql: sql.to_owned(), args: vec![] }
    }

    /// Binds a value; gives its place.
    pub fn bind(&mut self, value: impl ToSql + Sync + Send + 'static) -> String {
        self.args.push(Box::new(value));
        format!("${}", self.args.len())
    }

    /// Adds a condition; `?` is where the value goes.
    fn and(&mut self, condition: &str, value: impl ToSql + Sync + Send + 'static) {
        let place = self.bind(value);
        self.sql.push_str(" AND ");
        self.sql.push_str(&condition.replace('?', &place));
    }
}

/// From where, and in which direction.
#[derive(Clone, Copy)]
enum Way {
    /// Newest first, below this number.
    Down(Option<i64>),
    /// Oldest first, above this number.
    Up(Option<i64>),
}

impl Way {
    fn order(self) -> &'static str {
        match self {
            Way::Down(_) => "DESC",
            Way::Up(_) => "ASC",
        }
    }

    /// Adds "beyond where the last step ended" for a column.
    fn beyond(self, query: &mut Query, column: &str) {
        match self {
            Way::Down(Some(id)) => query.and(&format!("{column} < ?::bigint"), id),
            Way::Up(Some(id)) => query.and(&format!("{column} > ?::bigint"), id),
            Way::Down(None) | Way::Up(None) => {}
        }
    }
}

fn codes(states: &[JobState]) -> Vec<i16> {
    states.iter().map(|s| s.code()).collect()
}

/// Whether only states are asked for that have an index of ended jobs.
fn only_ended(filter: &JobFilter) -> bool {
    let ended = |s: &JobState| matches!(s, JobState::Cancelled | JobState::Failed);
    !filter.states.is_empty() && filter.states.iter().all(ended)
}

fn only_running(filter: &JobFilter) -> bool {
    filter.states == [JobState::Running]
}

/// Whether only states are asked for in which no job has ended.
fn only_waiting(filter: &JobFilter) -> bool {
    let waits = |s: &JobState| matches!(s, JobState::Scheduled | JobState::Available);
    !filter.states.is_empty() && filter.states.iter().all(waits)
}

/// Whether every job of the project fits, so that no bound is needed.
fn lets_all_through(filter: &JobFilter) -> bool {
    *filter == JobFilter::default()
}

fn conditions(query: &mut Query, project: ProjectId, filter: &JobFilter) {
    let own = query.bind(project.0);
    let mut routes = format!("j.route = ANY(ARRAY(SELECT id FROM routes WHERE project = {own}::bigint");
    if let Some(kind) = &filter.kind {
        routes += &format!(" AND kind = {}", query.bind(kind.clone()));
    }
    if let Some(queue) = &filter.queue {
        routes += &format!(" AND queue = {}", query.bind(queue.clone()));
    }
    query.sql.push_str(&format!(" WHERE {routes}))"));
    if !filter.ids.is_empty() {
        query.and("j.id = ANY(?::bigint[])", filter.ids.iter().map(|j| j.0).collect::<Vec<i64>>());
    }
    if let Some(schedule) = filter.schedule {
        query.and("j.schedule = ?::bigint", schedule.0);
    }
    if let Some(batch) = filter.batch {
        query.and("j.batch = ?::bigint", batch.0);
    }
    if let Some(key) = &filter.key {
        query.and("j.key = ?", key.clone());
    }
    if let Some(from) = filter.created_from {
        query.and("j.created_at >= ?::bigint", time::micros(from));
    }
    if let Some(until) = filter.created_until {
        query.and("j.created_at < ?::bigint", time::micros(until));
    }
    if let Some(class) = &filter.error_class {
        query.and("CASE WHEN d.job IS NOT NULL THEN d.error_class ELSE j.error_class END = ?", class.clone());
    }
    if only_running(filter) {
        query.sql.push_str(" AND r.job IS NOT NULL");
    } else if !filter.states.is_empty() {
        query.and(
            "CASE WHEN d.job IS NOT NULL THEN d.state WHEN r.job IS NOT NULL THEN 2::smallint
                  WHEN s.job IS NOT NULL THEN 0::smallint ELSE 1::smallint END = ANY(?::smallint[])",
            codes(&filter.states),
        );
    }
    if only_waiting(filter) {
        // Says nothing new, but lets the planner drop the many that have ended before it looks further.
        query.sql.push_str(" AND NOT EXISTS (SELECT FROM done e WHERE e.job = j.id)");
    }
}

impl Inner {
    /// The number at which a look that may be long stops, if there is one.
    async fn boundary(&self, filter: &JobFilter, way: Way) -> Result<Option<i64>> {
        if lets_all_through(filter)
            || !filter.ids.is_empty()
            || filter.batch.is_some()
            || only_running(filter)
        {
            return Ok(None);
        }
        let (from, column) = if only_ended(filter) { ("done", "job") } else { ("jobs", "id") };
        let mut query = Query::new(&format!("SELECT {column} FROM {from} WHERE true"));
        if only_ended(filter) {
            query.and("state <> 3 AND state = ANY(?::smallint[])", codes(&filter.states));
        }
        way.beyond(&mut query, column);
        let most = if only_ended(filter) { ENDED } else { limits::SCAN as i64 };
        let offset = query.bind(most - 1);
        query.sql += &format!(" ORDER BY {column} {} OFFSET {offset}::bigint LIMIT 1", way.order());
        Ok(self.read_built(&query).await?.first().map(|row| row.get(0)))
    }

    async fn look(
        &self,
        select: &str,
        project: ProjectId,
        filter: &JobFilter,
        way: Way,
        limit: usize,
    ) -> Result<(Vec<tokio_postgres::Row>, Option<i64>)> {
        if filter.ids.len() > limits::BATCH {
            let text =
                format!("{} entries, at most {} are allowed in one call", filter.ids.len(), limits::BATCH);
            return Err(StoreError::Invalid { field: "ids", text });
        }
        let boundary = self.boundary(filter, way).await?;
        let mut query = Query::new(select);
        conditions(&mut query, project, filter);
        way.beyond(&mut query, "j.id");
        if only_ended(filter) {
            // The index of ended jobs drives.
            let wanted = query.bind(codes(&filter.states));
            query.sql += &format!(
                " AND j.id = ANY(ARRAY(SELECT job FROM done WHERE state <> 3 AND state = ANY({wanted}::smallint[])"
            );
            way.beyond(&mut query, "job");
            let most = query.bind(ENDED);
            query.sql += &format!(" ORDER BY job {} LIMIT {most}::bigint))", way.order());
        } else if only_running(filter) {
            query.sql.push_str(" AND j.id = ANY(ARRAY(SELECT job FROM leases))");
        }
        match (boundary, way) {
            (Some(id), Way::Down(_)) => query.and("j.id >= ?::bigint", id),
            (Some(id), Way::Up(_)) => query.and("j.id <= ?::bigint", id),
            (None, _) => {}
        }
        let rows = query.bind(limit as i64 + 1);
        query.sql += &format!(" ORDER BY j.id {} LIMIT {rows}::bigint", way.order());
        Ok((self.read_built(&query).await?, boundary))
    }

    pub(crate) async fn job_page(
        &self,
        project: ProjectId,
        filter: &JobFilter,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Page<JobRecord, JobId>> {
        let limit = limit.min(limits::PAGE as u32) as usize;
        let way = Way::Down(before.map(|j| j.0));
        let (rows, boundary) = self.look(select_jobs!(""), project, filter, way, limit).await?;
        let mut page = Page { rows: Vec::with_capacity(rows.len().min(limit)), next: None };
        for row in rows.iter().take(limit) {
            page.rows.push(crate::rows::job(self, row).await?);
        }
        page.next = match rows.len() > limit {
            true => page.rows.last().map(|r| r.id),
            false => boundary.map(JobId),
        };
        Ok(page)
    }

    /// Numbers of jobs above `after`, and where the next step begins.
    pub(crate) async fn find_ids(
        &self,
        project: ProjectId,
        filter: &JobFilter,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<(Vec<i64>, Option<JobId>)> {
        let way = Way::Up(after.map(|j| j.0));
        let select = concat!("SELECT j.id ", from_jobs!());
        let (rows, boundary) = self.look(select, project, filter, way, limit).await?;
        let ids: Vec<i64> = rows.iter().take(limit).map(|row| row.get(0)).collect();
        let next = match rows.len() > limit {
            true => ids.last().copied(),
            false => boundary,
        };
        Ok((ids, next.map(JobId)))
    }
}
