//! Leases that share a row: see the table `bundles`.
//!
//! What one claim takes of a route is one row for each block of job numbers, and what ends together
//! leaves it together: a drain writes a lease for a hundred jobs, not for each of them. The right is
//! the same as that of a row in `running`: `(job, 1)` holds as long as the job is in a bundle, and
//! whoever takes it out of there has locked the row first. Whoever must say something of one job
//! alone (cancel it) moves it to `running` first. Jobs with a concurrency key have bundles apart that
//! name the key of each. Bundles are locked before rows of `running`, and in order of their primary keys.

use crate::Inner;
use crate::finish::Held;
use crate::link::{Args, Conn, Step};
use crate::names::RouteInfo;
use futures_util::future::try_join3;
use mainspring_core::job::{AttemptOutcome, JobState};
use mainspring_core::limits;
use std::collections::HashMap;
use std::sync::Arc;
use tokio_postgres::Row;

/// How many job numbers share a block. The migration's text has the same number.
const BLOCK: i64 = limits::NEIGHBOURS;

/// Locked first, by a statement of its own: the next one sees what was true when it had the locks. How
/// many there are, and how many of those have keys.
const LOCK: &str = "
    SELECT count(*), count(*) FILTER (WHERE keyed) FROM (
        SELECT keys IS NOT NULL AS keyed FROM bundles
        WHERE block = ANY($1) ORDER BY block, first FOR UPDATE) locked";

/// Takes jobs out of their bundles: `$1` blocks, `$2` jobs. The rest of the statement says what
/// becomes of them. Whether a job is among those wanted is looked up in a hash, whatever the planner
/// believes of their number. Bundles without keys are most: they are taken apart without looking for any.
macro_rules! take_out {
    (plain, $with:literal, $if:literal, $rest:literal) => {
        take_out!("unnest(b.jobs) x(job)", "", " AND b.keys IS NULL", "", "", $with, $if, $rest)
    };
    (keyed, $with:literal, $if:literal, $rest:literal) => {
        take_out!(
            "unnest(b.jobs, b.keys) x(job, key_id)",
            ", x.key_id",
            " AND b.keys IS NOT NULL",
            ", array_agg(key_id) FILTER (WHERE NOT mine) AS keys",
            ", keys = l.keys",
            $with,
            $if,
            $rest
        )
    };
    (any, $with:literal, $if:literal, $rest:literal) => {
        take_out!(
            "unnest(b.jobs, b.keys) x(job, key_id)",
            ", x.key_id",
            "",
            ", CASE WHEN count(key_id) > 0 THEN array_agg(key_id) FILTER (WHERE NOT mine) END AS keys",
            ", keys = l.keys",
            $with,
            $if,
            $rest
        )
    };
    ($from:literal, $key:literal, $which:literal, $left:literal, $set:literal, $with:literal, $if:literal, $rest:literal) => {
        concat!(
            "WITH flat AS MATERIALIZED (
                SELECT b.block, b.first, b.node, b.started_at, b.route, x.job",
            $key,
            ", x.job IN (SELECT unnest($2::bigint[])) AS mine
                FROM bundles b CROSS JOIN LATERAL ",
            $from,
            " WHERE b.block = ANY($1)",
            $which,
            "),",
            $with,
            "left_over AS MATERIALIZED (
                SELECT block, first, array_agg(job) FILTER (WHERE NOT mine) AS jobs",
            $left,
            " FROM flat GROUP BY block, first HAVING bool_or(mine)",
            $if,
            "),
             emptied AS (
                DELETE FROM bundles b USING left_over l
                WHERE b.block = l.block AND b.first = l.first AND l.jobs IS NULL),
             shrunk AS (
                UPDATE bundles b SET jobs = l.jobs",
            $set,
            " FROM left_over l
                WHERE b.block = l.block AND b.first = l.first AND l.jobs IS NOT NULL)",
            $rest
        )
    };
}

/// Those that are there.
const TAKE: &str = take_out!(
    plain,
    "",
    "",
    " SELECT node, started_at, route, array_agg(job) FROM flat WHERE mine GROUP BY node, started_at, route"
);

/// The same of bundles with keys.
const TAKE_KEYED: &str = take_out!(
    keyed,
    "",
    "",
    " SELECT node, started_at, route, array_agg(job), array_agg(key_id) FROM flat WHERE mine
     GROUP BY node, started_at, route"
);

/// All of them, with their rows of `done` for jobs that ended well and tell of nothing more; or none.
/// The ends are given in order of the jobs and found by their place, which holds only if all are there.
macro_rules! take_done {
    ($which:ident, $keys:literal) => {
        take_out!(
            $which,
            "whole AS MATERIALIZED (
                SELECT count(*) = cardinality($2::bigint[]) AS is_so FROM flat WHERE mine),",
            " AND (SELECT is_so FROM whole)",
            $keys
        )
    };
}

const TAKE_DONE: &str = take_done!(
    plain,
    ", ended AS (
        INSERT INTO done (job, started_at, finished_at, node, route, attempt, state, outcome)
        SELECT job, started_at, ($3::bigint[])[row_number() OVER (ORDER BY job)], node, route, 1,
               $4::smallint, $5::smallint
        FROM flat WHERE mine AND (SELECT is_so FROM whole))
     SELECT node, started_at, route, array_agg(job) FROM flat WHERE mine AND (SELECT is_so FROM whole)
     GROUP BY node, started_at, route"
);

/// The same of bundles with keys.
const TAKE_KEYED_DONE: &str = take_done!(
    keyed,
    ", ended AS (
        INSERT INTO done (job, started_at, finished_at, node, route, attempt, state, outcome)
        SELECT job, started_at, ($3::bigint[])[row_number() OVER (ORDER BY job)], node, route, 1,
               $4::smallint, $5::smallint
        FROM flat WHERE mine AND (SELECT is_so FROM whole))
     SELECT node, started_at, route, array_agg(job), array_agg(key_id)
     FROM flat WHERE mine AND (SELECT is_so FROM whole) GROUP BY node, started_at, route"
);

/// Those that are there get rows of their own.
const MOVE: &str = take_out!(
    any,
    "",
    "",
    ", moved AS (
        INSERT INTO running (job, node, started_at, route, attempt, key_id)
        SELECT job, node, started_at, route, 1, key_id FROM flat WHERE mine)
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

/// First attempts that are to end.
pub(crate) struct Firsts {
    /// Which, rising.
    pub jobs: Vec<i64>,
    /// When each of them ended.
    pub ends: Vec<i64>,
    /// Whether all ended well and tell of nothing more.
    pub plain: bool,
}

impl Firsts {
    /// Those that are not among `held`.
    fn but(&self, held: &HashMap<i64, Held>) -> Firsts {
        let left = self.jobs.iter().zip(&self.ends).filter(|(job, _)| !held.contains_key(job));
        let (jobs, ends) = left.map(|(job, end)| (*job, *end)).unzip();
        Firsts { jobs, ends, plain: self.plain }
    }
}

impl Inner {
    /// Begins a transaction and takes first attempts out of their bundles: what they held, by job. Jobs
    /// that are in no bundle are left out.
    pub(crate) async fn take_bundled(&self, conn: &Conn, firsts: &Firsts) -> Step<HashMap<i64, Held>> {
        let mut held = HashMap::with_capacity(firsts.jobs.len());
        if firsts.jobs.is_empty() {
            conn.begin().await?;
            return Ok(held);
        }
        let blocks = blocks(&firsts.jobs);
        let lock: Args<'_> = &[&blocks];
        conn.prepare(&[LOCK, if firsts.plain { TAKE_DONE } else { TAKE }]).await?;
        let taking = take(conn, (TAKE_DONE, TAKE), &blocks, firsts, firsts.plain);
        let ((), locked, mut rows) = try_join3(conn.begin(), conn.one(LOCK, lock), taking).await?;
        let (locked, keyed): (i64, i64) = (locked.get(0), locked.get(1));
        let mut told = firsts.plain;
        if told && rows.is_empty() && locked > keyed {
            // Not all of them are in bundles without keys.
            told = false;
            rows = take(conn, (TAKE_DONE, TAKE), &blocks, firsts, told).await?;
        }
        self.note(&mut held, &rows, told).await?;
        if keyed == 0 {
            return Ok(held);
        }
        let firsts = firsts.but(&held);
        if firsts.jobs.is_empty() {
            return Ok(held);
        }
        let mut told = firsts.plain;
        let both = (TAKE_KEYED_DONE, TAKE_KEYED);
        let mut rows = take(conn, both, &blocks, &firsts, told).await?;
        if told && rows.is_empty() {
            told = false;
            rows = take(conn, both, &blocks, &firsts, told).await?;
        }
        self.note(&mut held, &rows, told).await?;
        Ok(held)
    }

    /// Remembers what was taken; rows of bundles with keys tell those, too.
    async fn note(&self, held: &mut HashMap<i64, Held>, rows: &[Row], told: bool) -> Step<()> {
        for row in rows {
            let (node, started_at): (i64, i64) = (row.get(0), row.get(1));
            let route: Arc<RouteInfo> = self.route_of(row.get(2)).await?;
            let keys: Vec<i64> = if row.len() > 4 { row.get(4) } else { vec![] };
            for (n, job) in row.get::<_, Vec<i64>>(3).into_iter().enumerate() {
                let lease = Held::bundled(node, started_at, route.clone(), keys.get(n).copied(), told);
                held.insert(job, lease);
            }
        }
        Ok(())
    }
}

/// Takes all with their rows of `done`, or those that are there.
async fn take(
    conn: &Conn,
    (done, there): (&'static str, &'static str),
    blocks: &[i64],
    firsts: &Firsts,
    plain: bool,
) -> Step<Vec<Row>> {
    if !plain {
        return conn.query(there, &[&blocks, &firsts.jobs]).await;
    }
    let (state, outcome) = (JobState::Completed.code(), AttemptOutcome::Succeeded.code());
    conn.query(done, &[&blocks, &firsts.jobs, &firsts.ends, &state, &outcome]).await
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
        assert!(crate::claim::TAKE_THESE.contains(&format!("id / {BLOCK}, id / {}", BLOCK / 2)));
    }
}
