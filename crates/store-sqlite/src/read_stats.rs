//! Figures: counters, roll-ups, recent outcomes, the store's own facts, and the recount that holds
//! the figures to the rows.

use crate::cache::{settings_from, unpack_recent};
use crate::row;
use crate::schema;
use crate::sweep;
use crate::tx::Done;
use mainspring_core::ids::{ProjectId, ScheduleId};
use mainspring_core::job::{AttemptOutcome, JobState};
use mainspring_core::queue::{ALL_QUEUES, QueueSettings};
use mainspring_core::reader::{Fact, GroupBy, QueueRecord, RollupRow};
use mainspring_core::tally::{Recent, RollupSum, Scope};
use mainspring_core::{limits, time};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::path::Path;

/// A route's counters by state, from column `first` on.
fn counters(r: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<[i64; 6]> {
    let mut counts = [0; 6];
    for (at, n) in counts.iter_mut().enumerate() {
        *n = r.get(first + at)?;
    }
    Ok(counts)
}

pub(crate) fn counts(conn: &Connection, project: ProjectId) -> Done<Vec<(String, String, JobState, u64)>> {
    let mut rows = conn.prepare_cached(
        "SELECT q.name, r.kind, r.scheduled, r.available, r.running, r.completed, r.cancelled, r.failed
         FROM queues q CROSS JOIN routes r ON r.queue = q.id WHERE q.project = ?1 ORDER BY q.name, r.kind",
    )?;
    let mut rows = rows.query([project.0])?;
    let mut out = Vec::new();
    while let Some(r) = rows.next()? {
        let (queue, kind): (String, String) = (r.get(0)?, r.get(1)?);
        for (state, n) in JobState::ALL.iter().zip(counters(r, 2)?) {
            if n > 0 {
                out.push((queue.clone(), kind.clone(), *state, n as u64));
            }
        }
    }
    Ok(out)
}

pub(crate) fn queues(conn: &Connection, project: ProjectId) -> Done<Vec<QueueRecord>> {
    let mut rows =
        conn.prepare_cached("SELECT id, name, settings FROM queues WHERE project = ?1 ORDER BY name")?;
    let mut rows = rows.query([project.0])?;
    let mut out = Vec::new();
    while let Some(r) = rows.next()? {
        let (id, name): (i64, String) = (r.get(0)?, r.get(1)?);
        let settings = settings_from(r.get::<_, Option<String>>(2)?.as_deref())?;
        if name == ALL_QUEUES && settings == QueueSettings::default() {
            continue;
        }
        let mut routes = conn.prepare_cached(
            "SELECT scheduled, available, running, completed, cancelled, failed, id
             FROM routes WHERE queue = ?1",
        )?;
        let mut routes = routes.query([id])?;
        let mut counts = BTreeMap::new();
        let mut oldest = None;
        while let Some(r) = routes.next()? {
            for (state, n) in JobState::ALL.iter().zip(counters(r, 0)?) {
                if n > 0 {
                    *counts.entry(*state).or_default() += n as u64;
                }
            }
            if r.get::<_, i64>(1)? > 0 {
                oldest = [oldest, oldest_waiting(conn, r.get(6)?)?].into_iter().flatten().min();
            }
        }
        let oldest_waiting = oldest.map(time::from_micros);
        out.push(QueueRecord { project, name, settings, counts, oldest_waiting });
    }
    Ok(out)
}

/// When the job of a route that has waited longest became due. Jobs are kept in claim order, in
/// which a more urgent one may stand before one that has waited longer: as far as that can reach,
/// and at most a page, is looked at.
fn oldest_waiting(conn: &Connection, route: i64) -> Done<Option<i64>> {
    let reach = mainspring_core::claim::priority_offset(9);
    let mut oldest: Option<i64> = None;
    let mut ready = conn.prepare_cached(
        "SELECT run_at, ord FROM jobs INDEXED BY jobs_ready WHERE st = 11 AND route = ?1
         ORDER BY ord, id LIMIT ?2",
    )?;
    let mut rows = ready.query([route, limits::PAGE as i64])?;
    while let Some(r) = rows.next()? {
        let (run_at, ord): (i64, i64) = (r.get(0)?, r.get(1)?);
        if oldest.is_some_and(|oldest| ord.saturating_sub(reach) > oldest) {
            break;
        }
        oldest = oldest.into_iter().chain([run_at]).min();
    }
    let held: Option<i64> = conn
        .prepare_cached(
            "SELECT min(run_at) FROM (SELECT run_at FROM jobs INDEXED BY jobs_held
             WHERE st = 16 AND route = ?1 LIMIT ?2)",
        )?
        .query_row([route, limits::PAGE as i64], |r| r.get(0))?;
    Ok([oldest, held].into_iter().flatten().min())
}

pub(crate) fn rollups(
    conn: &Connection,
    project: ProjectId,
    from: i64,
    until: i64,
    group: GroupBy,
    by_time: bool,
) -> Done<Vec<RollupRow>> {
    let name = match group {
        GroupBy::Kind => "r.kind",
        GroupBy::Queue => "q.name",
        GroupBy::Schedule => "CAST(u.schedule AS TEXT)",
        GroupBy::Nothing => "''",
    };
    let minute = if by_time { "u.minute" } else { "0" };
    // Jobs without a schedule are no schedule's.
    let only = if group == GroupBy::Schedule { "AND u.schedule <> 0" } else { "" };
    let sql = format!(
        "SELECT {name}, {minute}, u.outcome, u.bucket, sum(u.count), sum(u.total_us)
         FROM rollups u CROSS JOIN routes r ON r.id = u.route CROSS JOIN queues q ON q.id = r.queue
         WHERE u.minute >= ?1 AND u.minute < ?2 AND q.project = ?3 {only}
         GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
    );
    let mut rows = conn.prepare_cached(&sql)?;
    let rows = rows.query_and_then([from, until, project.0], |r| -> Done<_> {
        Ok(RollupRow {
            name: r.get(0)?,
            minute: r.get(1)?,
            outcome: row::code("a roll-up's outcome", r.get(2)?, AttemptOutcome::from_code)?,
            bucket: r.get(3)?,
            sum: RollupSum {
                count: r.get::<_, i64>(4)?.max(0) as u64,
                total_us: r.get::<_, i64>(5)?.max(0) as u64,
            },
        })
    })?;
    rows.collect()
}

pub(crate) fn recents(conn: &Connection, project: ProjectId) -> Done<Vec<(Scope, Recent)>> {
    let mut rows = conn.prepare_cached("SELECT scope, name, list FROM recents WHERE project = ?1")?;
    let rows = rows.query_and_then([project.0], |r| -> Done<_> {
        let name: String = r.get(1)?;
        let scope = match r.get::<_, i64>(0)? {
            0 => Scope::Kind(name.into()),
            1 => Scope::Queue(name.into()),
            _ => Scope::Schedule(ScheduleId(name.parse().unwrap_or_default())),
        };
        Ok((scope, unpack_recent(&r.get::<_, Vec<u8>>(2)?)))
    })?;
    let mut all = rows.collect::<Done<Vec<_>>>()?;
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(all)
}

pub(crate) fn facts(conn: &Connection, path: &Path, synchronous: &str) -> Done<Vec<Fact>> {
    let fact = |name: &str, value: String| Fact { name: name.into(), value, problem: None };
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let on_disk =
        |suffix: &str| std::fs::metadata(crate::open::side_file(path, suffix)).map_or(0, |m| m.len());
    let found: String = conn.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
    let integrity = Fact {
        name: "integrity".into(),
        value: found.clone(),
        problem: (found != "ok").then(|| {
            format!(
                "the file is damaged; stop every process that uses it, keep a copy, and restore a backup \
                 or run `sqlite3 {} .recover`",
                path.display()
            )
        }),
    };
    let wal = on_disk("-wal");
    let log = Fact {
        name: "write-ahead log".into(),
        value: mib(wal),
        problem: (wal > 256 << 20).then(|| {
            "it cannot be copied back into the file: some process has been reading for a long time".into()
        }),
    };
    Ok(vec![
        fact("store", format!("sqlite {}", rusqlite::version())),
        fact("file", path.display().to_string()),
        fact("schema", schema::VERSION.to_string()),
        fact("size", mib(on_disk(""))),
        fact("in use", mib(sweep::size(conn)?)),
        log,
        fact("synchronous", synchronous.into()),
        integrity,
    ])
}

/// Every difference between what is told and what is there.
pub(crate) fn audit(conn: &Connection) -> Done<Vec<String>> {
    let mut wrong = Vec::new();
    audit_counters(conn, &mut wrong)?;
    for (what, sql) in CHECKS {
        let mut rows = conn.prepare(sql)?;
        let mut rows = rows.query([])?;
        while let Some(r) = rows.next()? {
            let (name, told, counted): (String, i64, i64) = (r.get(0)?, r.get(1)?, r.get(2)?);
            wrong.push(format!("{what} {name}: {told} are told, {counted} were counted"));
        }
    }
    Ok(wrong)
}

/// What is counted beside the counters: each gives a name, what is told and what was counted where
/// the two differ.
const CHECKS: [(&str, &str); 5] = [
    (
        "running of key",
        "WITH seen AS (SELECT r.queue AS queue, j.key AS key, count(*) AS n
            FROM jobs j JOIN routes r ON r.id = j.route WHERE j.st = 12 AND j.key IS NOT NULL GROUP BY 1, 2)
         SELECT k.key, k.running, coalesce(s.n, 0) FROM keys k
            LEFT JOIN seen s ON s.queue = k.queue AND s.key = k.key WHERE k.running <> coalesce(s.n, 0)
         UNION ALL SELECT s.key, 0, s.n FROM seen s
            LEFT JOIN keys k ON k.queue = s.queue AND k.key = s.key WHERE k.key IS NULL",
    ),
    (
        "pending in batch",
        "SELECT CAST(b.id AS TEXT), b.total - b.succeeded - b.partial - b.failed - b.cancelled AS told,
            (SELECT count(*) FROM jobs j WHERE j.batch = b.id AND j.origin <> 4
                AND j.st NOT IN (13, 14, 15)) AS counted
         FROM batches b WHERE told <> counted",
    ),
    (
        "attempts beside their job, of job",
        "SELECT CAST(a.job AS TEXT), count(*), 0 FROM attempts a LEFT JOIN jobs j ON j.id = a.job
         WHERE j.id IS NULL GROUP BY 1",
    ),
    (
        "unique keys beside their job, of job",
        "SELECT CAST(u.job AS TEXT), count(*), 0 FROM uniques u LEFT JOIN jobs j ON j.id = u.job
         WHERE j.id IS NULL GROUP BY 1",
    ),
    (
        "history of job",
        "SELECT CAST(j.id AS TEXT), j.attempt, count(a.number) FROM jobs j
         LEFT JOIN attempts a ON a.job = j.id
         WHERE NOT (j.attempt = 1 AND j.st = 13 AND j.outcome = 0) GROUP BY j.id
         HAVING count(a.number) <> j.attempt - (max(j.st) = 12)",
    ),
];

fn audit_counters(conn: &Connection, wrong: &mut Vec<String>) -> Done<()> {
    let mut counted = BTreeMap::<(i64, i64), i64>::new();
    let mut rows = conn.prepare("SELECT route, st, count(*) FROM jobs GROUP BY route, st")?;
    let mut rows = rows.query([])?;
    while let Some(r) = rows.next()? {
        let state = crate::cache::state_of(r.get(1)?)?;
        *counted.entry((r.get(0)?, state.code().into())).or_default() += r.get::<_, i64>(2)?;
    }
    let mut rows = conn.prepare(
        "SELECT q.name, r.kind, r.scheduled, r.available, r.running, r.completed, r.cancelled, r.failed,
            r.id
         FROM routes r JOIN queues q ON q.id = r.queue ORDER BY r.id",
    )?;
    let mut rows = rows.query(params![])?;
    while let Some(r) = rows.next()? {
        let (queue, kind, id): (String, String, i64) = (r.get(0)?, r.get(1)?, r.get(8)?);
        for (state, told) in JobState::ALL.iter().zip(counters(r, 2)?) {
            let counted = counted.remove(&(id, state.code().into())).unwrap_or_default();
            if told != counted {
                wrong.push(format!(
                    "{state} jobs of queue {queue}, kind {kind}: {told} are told, {counted} were counted"
                ));
            }
        }
    }
    wrong.extend(counted.keys().map(|(route, _)| format!("jobs have the unknown route {route}")));
    Ok(())
}
