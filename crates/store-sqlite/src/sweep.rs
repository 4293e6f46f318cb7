//! What the policy lets go is deleted, oldest first, in bounded steps inside ordinary transactions.

use crate::enqueue::at_most;
use crate::names::{QueueIx, RouteIx, us};
use crate::schema;
use crate::tx::{Done, Tx};
use jiff::Timestamp;
use mainspring_core::claim::TURN;
use mainspring_core::queue::Retention;
use mainspring_core::store::{SweepPolicy, Swept};
use mainspring_core::time;
use rusqlite::{Connection, params};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

/// Minutes in an hour.
const HOUR: i64 = 60;

/// Stored states of finished jobs, in the order of their counters.
const FINISHED: [i64; 3] = [schema::COMPLETED, schema::CANCELLED, schema::FAILED];

/// Tables with rows of a job, and the column that says which.
const SIDES: [(&str, &str); 7] = [
    ("attempts", "job"),
    ("results", "job"),
    ("steps", "job"),
    ("logs", "job"),
    ("progress", "job"),
    ("cancels", "job"),
    ("uniques", "job"),
];

/// A finished job that may go: when it ended, its number, its route, its stored state.
type Old = (i64, i64, RouteIx, i64);

impl Tx<'_> {
    pub fn sweep(&mut self, now: Timestamp, policy: &SweepPolicy, limit: u32) -> Done<Swept> {
        let limit = at_most(limit);
        let mut swept = Swept::default();
        // One more than may go tells whether there is more.
        let mut old = self.finished_beyond(now, policy, limit + 1)?;
        swept.more = old.len() > limit;
        old.truncate(limit);
        self.delete_jobs(&old)?;
        self.settle(now)?;
        swept.jobs = old.len() as u64;
        swept.rows = self.sweep_rows(now, policy, limit, &mut swept.more)?;
        Ok(swept)
    }

    /// Finished jobs that go, oldest first, at most `n`.
    fn finished_beyond(&mut self, now: Timestamp, policy: &SweepPolicy, n: usize) -> Done<Vec<Old>> {
        let mut go: Vec<Old> = Vec::new();
        for queue in 0..self.names.queues.len() {
            let keep: Retention = self.names.queues[queue].settings.retention.unwrap_or(policy.jobs);
            let routes = &self.names.queues[queue].routes;
            let finished: i64 =
                routes.iter().map(|r| self.names.routes[*r].counts[3..].iter().sum::<i64>()).sum();
            let surplus = (finished.max(0) as u64).saturating_sub(keep.count);
            go.extend(self.oldest(queue, (surplus as usize).min(n), |_| i64::MAX)?);
            let until = |age: Duration| us(time::minus(now, age));
            let (completed, failed) = (until(keep.completed), until(keep.failed));
            go.extend(self.oldest(queue, n, |st| if st == schema::FAILED { failed } else { completed })?);
        }
        go.sort_unstable();
        go.dedup();
        go.truncate(n);
        if let Some(max) = policy.max_bytes
            && go.len() < n
        {
            let over = size(self.conn)?.saturating_sub(max);
            if over > 0 {
                go.extend(self.oldest_of_all(over, n)?);
                go.sort_unstable();
                go.dedup();
                go.truncate(n);
            }
        }
        Ok(go)
    }

    /// The oldest finished jobs of a queue that ended before the instant `before` gives for their
    /// stored state.
    fn oldest(&self, queue: QueueIx, n: usize, before: impl Fn(i64) -> i64) -> Done<Vec<Old>> {
        let mut out = Vec::new();
        if n == 0 {
            return Ok(out);
        }
        let mut read = self.conn.prepare_cached(
            "SELECT finished_at, id FROM jobs INDEXED BY jobs_over
             WHERE st >= 13 AND st <= 15 AND route = ?1 AND st = ?2 AND finished_at < ?3
             ORDER BY finished_at, id LIMIT ?4",
        )?;
        for route in &self.names.queues[queue].routes {
            for (at, st) in FINISHED.into_iter().enumerate() {
                if self.names.routes[*route].counts[3 + at] <= 0 {
                    continue;
                }
                let rows = read.query_map(params![*route as i64 + 1, st, before(st), n as i64], |r| {
                    Ok((r.get(0)?, r.get(1)?, *route, st))
                })?;
                for row in rows {
                    out.push(row?);
                }
            }
        }
        out.sort_unstable();
        out.truncate(n);
        Ok(out)
    }

    /// The oldest finished jobs of all, as many as free about `over` bytes.
    fn oldest_of_all(&self, over: u64, n: usize) -> Done<Vec<Old>> {
        let mut heap = BinaryHeap::new();
        for queue in 0..self.names.queues.len() {
            heap.extend(self.oldest(queue, n, |_| i64::MAX)?.into_iter().map(Reverse));
        }
        let mut length = self.conn.prepare_cached(
            "SELECT 200 + length(j.payload) + coalesce(length(r.output), 0) + coalesce(length(r.error), 0)
             FROM jobs j LEFT JOIN results r ON r.job = j.id WHERE j.id = ?1",
        )?;
        let (mut out, mut freed) = (Vec::new(), 0u64);
        while let Some(Reverse(old)) = heap.pop() {
            if freed >= over || out.len() >= n {
                break;
            }
            freed += length.query_row([old.1], |r| r.get::<_, i64>(0))?.max(0) as u64;
            out.push(old);
        }
        Ok(out)
    }

    fn delete_jobs(&mut self, old: &[Old]) -> Done<()> {
        let (Some(low), Some(high)) = (old.iter().map(|o| o.1).min(), old.iter().map(|o| o.1).max()) else {
            return Ok(());
        };
        let mut delete = self.conn.prepare_cached("DELETE FROM jobs WHERE id = ?1")?;
        for (_, id, route, st) in old {
            delete.execute([id])?;
            let state = crate::names::state_of(*st)?;
            self.names.count(*route, state, -1);
        }
        for (table, column) in SIDES {
            // Most jobs have nothing beside their row: one look for all of them first.
            let any = self
                .conn
                .prepare_cached(&format!("SELECT 1 FROM {table} WHERE {column} BETWEEN ?1 AND ?2 LIMIT 1"))?
                .exists([low, high])?;
            if !any {
                continue;
            }
            let sql = format!("DELETE FROM {table} WHERE {column} = ?1");
            let mut delete = self.conn.prepare_cached(&sql)?;
            for (_, id, ..) in old {
                delete.execute([id])?;
            }
        }
        let gone: BTreeSet<i64> = old.iter().map(|o| o.1).collect();
        self.resolve_batches(low, high, |job| gone.contains(&job))?;
        if high + 1 >= self.names.next_job {
            // Numbers are never given out again, not even when the newest job is gone.
            self.set_meta("last_job", Some(&(self.names.next_job - 1).to_string()))?;
        }
        Ok(())
    }

    /// Figures, events, ledger rows, batches, keys and nodes that age lets go.
    fn sweep_rows(
        &mut self,
        now: Timestamp,
        policy: &SweepPolicy,
        limit: usize,
        more: &mut bool,
    ) -> Done<u64> {
        let until = us(time::minus(now, policy.events));
        let hours = time::minute(time::minus(now, policy.hours));
        let mut rows = self.fold_minutes(time::minute(time::minus(now, policy.minutes)), limit, more)?;
        let limit = limit as i64;
        // Events and ledger rows are written in order of time: the oldest are the first.
        for (sql, value) in [
            (
                "DELETE FROM rollups WHERE (minute, route, schedule, outcome, bucket) IN
                    (SELECT minute, route, schedule, outcome, bucket FROM rollups WHERE minute < ?1 LIMIT ?2)",
                hours,
            ),
            (
                "DELETE FROM events WHERE id IN
                    (SELECT id FROM (SELECT id, at FROM events ORDER BY id LIMIT ?2) WHERE at < ?1)",
                until,
            ),
            (
                "DELETE FROM ledger WHERE id IN
                    (SELECT id FROM (SELECT id, last FROM ledger ORDER BY id LIMIT ?2) WHERE last < ?1)",
                until,
            ),
            (
                "DELETE FROM batches WHERE id IN
                    (SELECT id FROM batches INDEXED BY batches_over
                     WHERE finished_at IS NOT NULL AND finished_at < ?1 LIMIT ?2)",
                until,
            ),
            (
                "DELETE FROM nodes WHERE id IN
                    (SELECT id FROM nodes WHERE gone = 1 AND heartbeat_at < ?1
                        AND NOT EXISTS (SELECT 1 FROM jobs WHERE st = 12 AND node = nodes.id) LIMIT ?2)",
                until,
            ),
        ] {
            let gone = self.conn.prepare_cached(sql)?.execute([value, limit])?;
            *more |= gone as i64 == limit;
            rows += gone as u64;
        }
        self.sweep_keys(us(now), limit)?;
        Ok(rows)
    }

    /// Rows of keys that tell nothing that a missing one does not.
    fn sweep_keys(&mut self, now: i64, limit: i64) -> Done<()> {
        self.conn
            .prepare_cached(
                "DELETE FROM keys WHERE (queue, key) IN
                    (SELECT k.queue, k.key FROM keys k CROSS JOIN queues q ON q.id = k.queue
                     WHERE k.running = 0 AND k.tat <= ?1 AND k.put_off <= ?1
                       AND (k.last_turn = 0 OR k.last_turn + ?2 <= q.vclock) LIMIT ?3)",
            )?
            .execute([now, TURN, limit])?;
        Ok(())
    }

    /// Minutes before `until` become hours; gives how many rows fewer there are.
    fn fold_minutes(&mut self, until: i64, limit: usize, more: &mut bool) -> Done<u64> {
        let minutes: Vec<i64> = self
            .conn
            .prepare_cached(
                "SELECT DISTINCT minute FROM rollups WHERE minute < ?1 AND minute % ?2 <> 0
                 ORDER BY minute LIMIT ?3",
            )?
            .query_map(params![until, HOUR, limit as i64], |r| r.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        *more |= minutes.len() == limit;
        let mut fewer = 0;
        for minute in minutes {
            if fewer as usize >= limit {
                *more = true;
                break;
            }
            let hour = minute - minute.rem_euclid(HOUR);
            let before = self.rows_of(hour)?;
            self.conn
                .prepare_cached(
                    "INSERT INTO rollups (minute, route, schedule, outcome, bucket, count, total_us)
                     SELECT ?2, route, schedule, outcome, bucket, count, total_us FROM rollups
                     WHERE minute = ?1
                     ON CONFLICT DO UPDATE SET count = count + excluded.count,
                        total_us = total_us + excluded.total_us",
                )?
                .execute([minute, hour])?;
            let gone =
                self.conn.prepare_cached("DELETE FROM rollups WHERE minute = ?1")?.execute([minute])? as i64;
            fewer += (gone - (self.rows_of(hour)? - before)).max(0) as u64;
        }
        Ok(fewer)
    }

    fn rows_of(&self, minute: i64) -> Done<i64> {
        let mut count = self.conn.prepare_cached("SELECT count(*) FROM rollups WHERE minute = ?1")?;
        Ok(count.query_row([minute], |r| r.get(0))?)
    }
}

/// Bytes of the file that are in use.
pub(crate) fn size(conn: &Connection) -> Done<u64> {
    let get = |name: &str| conn.pragma_query_value(None, name, |r| r.get::<_, i64>(0));
    Ok(((get("page_count")? - get("freelist_count")?).max(0) * get("page_size")?) as u64)
}

#[cfg(test)]
mod tests {
    use mainspring_core::job::JobState;

    #[test]
    fn the_last_three_counters_are_those_of_finished_jobs() {
        let finished: Vec<bool> = JobState::ALL.iter().map(|s| s.is_final()).collect();
        assert_eq!(finished, [false, false, false, true, true, true]);
    }
}
