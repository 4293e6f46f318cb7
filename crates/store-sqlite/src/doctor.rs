//! What the file says of itself, and the recount that holds the figures to the rows.

use crate::read::counters;
use crate::schema;
use crate::sweep;
use crate::tx::Done;
use mainspring_core::job::JobState;
use mainspring_core::reader::Fact;
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::path::Path;

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
        let state = crate::names::state_of(r.get(1)?)?;
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
