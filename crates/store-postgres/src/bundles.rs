//! Leases that share a row: see the table `bundles`.
//!
//! What one claim takes of a route is one row for each block of job numbers, and what ends together
//! leaves it together: a drain writes a lease for a hundred jobs, not for each of them. The right is
//! the same as that of a row in `running`: `(job, 1)` holds as long as the job is in a bundle, and
//! whoever takes it out of there has locked the row first. Whoever must say something of one job
//! alone (cancel it) moves it to `running` first. Bundles are locked before rows of `running`, and in
//! order of their keys.

use crate::Inner;
use crate::finish::Held;
use crate::link::{Args, Conn, Step};
use crate::names::RouteInfo;
use futures_util::future::try_join3;
use mainspring_core::job::{AttemptOutcome, JobState};
use mainspring_core::limits;
use std::collections::HashMap;
use std::sync::Arc;

/// How many job numbers share a block. The migration's text has the same number.
const BLOCK: i64 = limits::NEIGHBOURS;

/// Locked first, by a statement of its own: the next one sees what was true when it had the locks.
const LOCK: &str = "
    SELECT count(*) FROM (
        SELECT FROM bundles WHERE block = ANY($1) ORDER BY block, first FOR UPDATE) locked";

/// Takes jobs out of their bundles: `$1` blocks, `$2` jobs. The rest of the statement says what
/// becomes of them. Whether a job is among those wanted is looked up in a hash, whatever the planner
/// believes of their number.
macro_rules! take_out {
    ($with:literal, $if:literal, $rest:literal) => {
        concat!(
            "WITH flat AS MATERIALIZED (
                SELECT b.block, b.first, b.node, b.started_at, b.route, x.job,
                       x.job IN (SELECT unnest($2::bigint[])) AS mine
                FROM bundles b CROSS JOIN LATERAL unnest(b.jobs) x(job) WHERE b.block = ANY($1)),",
            $with,
            "left_over AS MATERIALIZED (
                SELECT block, first, array_agg(job) FILTER (WHERE NOT mine) AS jobs
                FROM flat GROUP BY block, first HAVING bool_or(mine)",
            $if,
            "),
             emptied AS (
                DELETE FROM bundles b USING left_over l
                WHERE b.block = l.block AND b.first = l.first AND l.jobs IS NULL),
             shrunk AS (
                UPDATE bundles b SET jobs = l.jobs FROM left_over l
                WHERE b.block = l.block AND b.first = l.first AND l.jobs IS NOT NULL)",
            $rest
        )
    };
}

/// Those that are there.
const TAKE: &str = take_out!(
    "",
    "",
    " SELECT node, started_at, route, array_agg(job) FROM flat WHERE mine GROUP BY node, started_at, route"
);

/// All of them, with their rows of `done` for jobs that ended well and tell of nothing more; or none.
/// The ends are given in order of the jobs and found by their place, which holds only if all are there.
const TAKE_DONE: &str = take_out!(
    "whole AS MATERIALIZED (
        SELECT count(*) = cardinality($2::bigint[]) AS is_so FROM flat WHERE mine),",
    " AND (SELECT is_so FROM whole)",
    ", ended AS (
        INSERT INTO done (job, started_at, finished_at, node, route, attempt, state, outcome)
        SELECT job, started_at, ($3::bigint[])[row_number() OVER (ORDER BY job)], node, route, 1,
               $4::smallint, $5::smallint
        FROM flat WHERE mine AND (SELECT is_so FROM whole))
     SELECT node, started_at, route, array_agg(job) FROM flat WHERE mine AND (SELECT is_so FROM whole)
     GROUP BY node, started_at, route"
);

/// Those that are there get rows of their own.
const MOVE: &str = take_out!(
    "",
    "",
    ", moved AS (
        INSERT INTO running (job, node, started_at, route, attempt)
        SELECT job, node, started_at, route, 1 FROM flat WHERE mine)
     SELECT count(*) FROM flat WHERE mine"
);

/// Whether the lane beside the first writes the end of this job: neighbours share a lane, so that two
/// lists of ends under way do not wait for each other's bundles.
pub(crate) fn beside(job: i64) -> bool {
    job.div_euclid(BLOCK) % 2 != 0
}

fn blocks(jobs: &[i64]) -> Vec<i64> {
    let mut blocks: Vec<i64> = jobs.iter().map(|job| job.div_euclid(BLOCK)).collect();
    blocks.sort_unstable();
    blocks.dedup();
    blocks
}

impl Inner {
    /// Begins a transaction and takes first attempts out of their bundles: what they held, by job.
    /// `jobs` rise, and `ends` are theirs; `plain` says that all ended well and tell of nothing more.
    /// Jobs that are in no bundle are left out.
    pub(crate) async fn take_bundled(
        &self,
        conn: &Conn,
        jobs: &[i64],
        ends: &[i64],
        plain: bool,
    ) -> Step<HashMap<i64, Held>> {
        let mut held = HashMap::with_capacity(jobs.len());
        if jobs.is_empty() {
            conn.begin().await?;
            return Ok(held);
        }
        let blocks = blocks(jobs);
        let (lock, take): (Args<'_>, Args<'_>) = (&[&blocks], &[&blocks, &jobs]);
        let (state, outcome) = (JobState::Completed.code(), AttemptOutcome::Succeeded.code());
        let done: Args<'_> = &[&blocks, &jobs, &ends, &state, &outcome];
        let (sql, args) = if plain { (TAKE_DONE, done) } else { (TAKE, take) };
        conn.prepare(&[LOCK, sql]).await?;
        let ((), locked, mut rows) =
            try_join3(conn.begin(), conn.one(LOCK, lock), conn.query(sql, args)).await?;
        let mut told = plain;
        if plain && rows.is_empty() && locked.get::<_, i64>(0) > 0 {
            // Not all of them are in bundles.
            told = false;
            rows = conn.query(TAKE, take).await?;
        }
        for row in &rows {
            let (node, started_at): (i64, i64) = (row.get(0), row.get(1));
            let route: Arc<RouteInfo> = self.route_of(row.get(2)).await?;
            for job in row.get::<_, Vec<i64>>(3) {
                held.insert(job, Held::bundled(node, started_at, route.clone(), told));
            }
        }
        Ok(held)
    }
}

/// Gives jobs that are in bundles rows of their own in `running`. Within a transaction.
pub(crate) async fn unbundle(conn: &Conn, jobs: &[i64]) -> Step<()> {
    let blocks = blocks(jobs);
    if conn.one(LOCK, &[&blocks]).await?.get::<_, i64>(0) > 0 {
        conn.query(MOVE, &[&blocks, &jobs]).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_asked_for_once_and_is_the_one_the_table_counts() {
        assert_eq!(blocks(&[300, 1, 127, 128, 2]), [0, 1, 2]);
        let schema = include_str!("../migrations/0002_bundles.sql");
        assert!(schema.contains(&format!("job / {BLOCK} AS block")));
        assert!(crate::claim::TAKE_THESE.contains(&format!("id / {BLOCK},")));
    }
}
