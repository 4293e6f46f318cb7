//! What the database says of itself, and the recount that holds the figures to the rows.

use crate::Inner;
use crate::link::Args;
use jiff::Timestamp;
use mainspring_core::error::Result;
use mainspring_core::job::JobState;
use mainspring_core::reader::Fact;
use mainspring_core::{duration, time};
use std::time::Duration;

/// A clock that is further off than this is worth a word.
const SKEW: i64 = 2 * time::SECOND;
/// A transaction older than this keeps dead rows from being cleaned up.
const OLD: i64 = 5 * time::MINUTE;

const SERVER: &str = "
    SELECT current_setting('server_version'), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
        pg_database_size(current_database()),
        coalesce((SELECT (extract(epoch FROM clock_timestamp() - min(xact_start)) * 1000000)::bigint
                  FROM pg_stat_activity WHERE state <> 'idle' AND pid <> pg_backend_pid()), 0),
        coalesce((SELECT sum(n_dead_tup)::bigint FROM pg_stat_user_tables
                  WHERE schemaname = $1 AND relname IN ('ready', 'running', 'bundles', 'scheduled', 'held')), 0),
        current_setting('synchronous_commit'), current_setting('fsync')";

/// Jobs by where their rows are, beside what the counters say.
const COUNTED: &str = "
    WITH counted AS (
        SELECT route, 0::smallint AS state, count(*) AS n FROM scheduled GROUP BY route
        UNION ALL SELECT route, 1, count(*) FROM ready GROUP BY route
        UNION ALL SELECT route, 1, count(*) FROM held GROUP BY route
        UNION ALL SELECT route, 2, count(*) FROM leases GROUP BY route
        UNION ALL SELECT route, state, count(*) FROM done GROUP BY route, state),
    rows AS (SELECT route, state, sum(n)::bigint AS n FROM counted GROUP BY route, state),
    told AS (SELECT route, state, sum(n)::bigint AS n FROM counters GROUP BY route, state)
    SELECT r.queue, r.kind, x.state, coalesce(t.n, 0), coalesce(c.n, 0)
    FROM (SELECT route, state FROM rows UNION SELECT route, state FROM told) x
    JOIN routes r ON r.id = x.route
    LEFT JOIN told t ON t.route = x.route AND t.state = x.state
    LEFT JOIN rows c ON c.route = x.route AND c.state = x.state
    WHERE coalesce(t.n, 0) <> coalesce(c.n, 0) ORDER BY r.id, x.state";

/// Each query gives (what, told, counted) for what differs.
const DIFFERENCES: &[&str] = &[
    // Every job is in exactly one place.
    "SELECT 'places of job ' || j.id, 1::bigint, coalesce(p.n, 0)
     FROM jobs j LEFT JOIN (
        SELECT job, count(*) AS n FROM (
            SELECT job FROM scheduled UNION ALL SELECT job FROM ready UNION ALL SELECT job FROM held
            UNION ALL SELECT job FROM leases UNION ALL SELECT job FROM done) all_places GROUP BY job) p
        ON p.job = j.id
     WHERE coalesce(p.n, 0) <> 1 ORDER BY j.id LIMIT 100",
    "SELECT 'jobs of a row of ' || p.place || ' for job ' || p.job, 1::bigint, 0::bigint FROM (
        SELECT 'scheduled' AS place, job FROM scheduled UNION ALL SELECT 'ready', job FROM ready
        UNION ALL SELECT 'held', job FROM held UNION ALL SELECT 'running', job FROM leases
        UNION ALL SELECT 'done', job FROM done) p
     LEFT JOIN jobs j ON j.id = p.job WHERE j.id IS NULL LIMIT 100",
    "SELECT 'ready or scheduled rows under the right key of job ' || j.id, 1::bigint, 0::bigint
     FROM ready r JOIN jobs j ON j.id = r.job WHERE (j.route, j.ord) <> (r.route, r.ord)
     UNION ALL
     SELECT 'ready or scheduled rows under the right key of job ' || j.id, 1::bigint, 0::bigint
     FROM scheduled s JOIN jobs j ON j.id = s.job WHERE j.run_at <> s.run_at",
    "SELECT 'running of key ' || q.name || '/' || k.key, k.running::bigint, coalesce(r.n, 0)
     FROM keys k JOIN queues q ON q.id = k.queue_id
     LEFT JOIN (SELECT key_id, count(*) AS n FROM leases WHERE key_id IS NOT NULL GROUP BY key_id) r
        ON r.key_id = k.id
     WHERE k.running <> coalesce(r.n, 0) ORDER BY k.id LIMIT 100",
    "SELECT 'pending in batch ' || b.id, b.total - b.succeeded - b.partial - b.failed - b.cancelled,
        coalesce(p.n, 0)
     FROM batches b LEFT JOIN (
        SELECT j.batch, count(*) AS n FROM jobs j LEFT JOIN done d ON d.job = j.id
        WHERE j.batch IS NOT NULL AND j.origin <> 4 AND d.job IS NULL GROUP BY j.batch) p ON p.batch = b.id
     WHERE b.total - b.succeeded - b.partial - b.failed - b.cancelled <> coalesce(p.n, 0)
     ORDER BY b.id LIMIT 100",
    "SELECT 'live fires of schedule ' || x.schedule, coalesce(l.n, 0), coalesce(c.n, 0)
     FROM (SELECT id AS schedule FROM schedules) x
     LEFT JOIN (SELECT schedule, count(*) AS n FROM live_fires GROUP BY schedule) l ON l.schedule = x.schedule
     LEFT JOIN (SELECT j.schedule, count(*) AS n FROM jobs j LEFT JOIN done d ON d.job = j.id
                WHERE j.schedule IS NOT NULL AND j.origin = 1 AND d.job IS NULL GROUP BY j.schedule) c
        ON c.schedule = x.schedule
     WHERE coalesce(l.n, 0) <> coalesce(c.n, 0) ORDER BY x.schedule LIMIT 100",
];

impl Inner {
    pub(crate) async fn facts(&self, now: Timestamp) -> Result<Vec<Fact>> {
        let schema = &self.reach.address.schema;
        let rows = self.read(SERVER, &[schema]).await?;
        let Some(row) = rows.first() else { return Ok(vec![]) };
        let offset = row.get::<_, i64>(1) - time::micros(now);
        let span = |us: i64| duration::format(Duration::from_micros(us.unsigned_abs()));
        let fact =
            |name: &str, value: String, problem: Option<String>| Fact { name: name.into(), value, problem };
        let oldest: i64 = row.get(3);
        let (sync, fsync): (&str, &str) = (row.get(5), row.get(6));
        let mut facts = vec![
            fact("store", self.reach.address.shown.clone(), None),
            fact("schema", format!("{schema}, version {}", self.schema_version()), None),
            fact("server", format!("PostgreSQL {}", row.get::<_, &str>(0)), None),
            fact(
                "clock offset",
                format!("{}{}", if offset < 0 { "-" } else { "" }, span(offset)),
                (offset.abs() > SKEW).then(|| {
                    "this machine's clock and the server's differ; run a time service on both".into()
                }),
            ),
            fact("size", format!("{} MiB", row.get::<_, i64>(2) / (1 << 20)), None),
            fact(
                "oldest transaction",
                span(oldest),
                (oldest > OLD).then(|| {
                    "it keeps finished rows from being cleaned up; look for it in pg_stat_activity".into()
                }),
            ),
            fact("dead rows", row.get::<_, i64>(4).to_string(), None),
            fact(
                "notifications",
                if self.hints.alive() { "alive" } else { "not proved" }.into(),
                (!self.hints.alive()).then(|| "work is found by polling every second until they are".into()),
            ),
        ];
        let loses = (sync == "off" || fsync == "off").then(|| {
            "an acknowledged enqueue may be lost when the server crashes; set fsync and synchronous_commit to on"
                .to_owned()
        });
        facts.push(fact("durability", format!("fsync {fsync}, synchronous_commit {sync}"), loses));
        Ok(facts)
    }

    pub(crate) async fn server_time(&self) -> Result<Option<Timestamp>> {
        let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        Ok(self.read(sql, &[]).await?.first().map(|row| time::from_micros(row.get(0))))
    }

    /// Reads everything, on a session of its own without a time limit, in one snapshot.
    pub(crate) async fn audit(&self) -> Result<Vec<String>> {
        let conn = self.reach.connect(None).await?;
        let result = self.audit_on(&conn).await;
        result.map_err(|fault| crate::link::fault_error(fault, self.reach.limit))
    }

    async fn audit_on(&self, conn: &crate::link::Conn) -> crate::link::Step<Vec<String>> {
        const NONE: Args<'static> = &[];
        conn.batch(
            "SET statement_timeout = 0; SET enable_seqscan = on; SET enable_hashjoin = on;
             SET enable_mergejoin = on; SET enable_nestloop = off; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        )
        .await?;
        let mut wrong = Vec::new();
        let mut differ = |what: &str, told: i64, counted: i64| {
            wrong.push(format!("{what}: {told} are told, {counted} were counted"));
        };
        for row in &conn.query(COUNTED, NONE).await? {
            let state = crate::rows::code(row.get(2), JobState::from_code)?;
            let (queue, kind): (&str, &str) = (row.get(0), row.get(1));
            differ(&format!("{state} jobs of queue {queue}, kind {kind}"), row.get(3), row.get(4));
        }
        for sql in DIFFERENCES {
            for row in &conn.query(sql, NONE).await? {
                differ(row.get(0), row.get(1), row.get(2));
            }
        }
        conn.commit().await?;
        Ok(wrong)
    }
}
