//! Series: named values with the instants since when they hold.
//!
//! Written by the watcher (queues, late schedules, lost nodes), by pings of heartbeats, and by packs,
//! whose metrics go into the family `metric`: [`record`] gives the statements, to be written with
//! whatever the pack writes. The newest value of each series is kept apart, so that a look reads one
//! row for each.

use jiff::Timestamp;
use mainspring_core::alert::Point;
use mainspring_core::ids::ProjectId;
use mainspring_core::tables::{At, Result, Statement, Tables};
use mainspring_core::{job, limits, time};
use serde::Deserialize;
use std::time::Duration;

/// Points are kept this long.
const KEPT: Duration = Duration::from_secs(35 * 86_400);

/// The statements that write one point of a series.
#[derive(Clone, Debug)]
pub struct Written(pub [Statement; 2]);

/// A metric of a pack at an instant; rules name it by `series`. Add both statements to a write.
///
/// Refused are names that nothing may have and values that are no numbers. One point a minute is all
/// that a rule can see.
pub fn record(project: ProjectId, series: &str, at: Timestamp, value: f64) -> Result<Written, String> {
    job::check_name(series)?;
    if !value.is_finite() {
        return Err(format!("{value} is not a number"));
    }
    Ok(point(project, &name("metric", series), at, value))
}

/// The full name of a series.
pub(super) fn name(family: &str, of: &str) -> String {
    format!("{family}:{of}")
}

/// The statements of one point.
pub(super) fn point(project: ProjectId, series: &str, at: Timestamp, value: f64) -> Written {
    let bound = |sql| Statement::new(sql).bind(project).bind(series).bind(at).bind(value);
    Written([
        bound(
            "INSERT INTO alerts_points (project, series, at, value) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (project, series, at) DO UPDATE SET value = excluded.value",
        ),
        bound(
            "INSERT INTO alerts_now (project, series, at, value) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (project, series) DO UPDATE SET at = excluded.at, value = excluded.value
             WHERE alerts_now.at <= excluded.at",
        ),
    ])
}

/// The statements of many points of one instant.
pub(super) fn points(project: ProjectId, at: Timestamp, values: &[(String, f64)]) -> Vec<Statement> {
    if values.is_empty() {
        return vec![];
    }
    let rows: Vec<String> =
        (0..values.len()).map(|n| format!("(?1, ?{}, ?2, ?{})", 2 * n + 3, 2 * n + 4)).collect();
    let rows = rows.join(", ");
    let bound = |sql: String| {
        let statement = Statement::built(sql).bind(project).bind(at);
        values.iter().fold(statement, |s, (series, value)| s.bind(series).bind(*value))
    };
    vec![
        bound(format!(
            "INSERT INTO alerts_points (project, series, at, value) VALUES {rows}
             ON CONFLICT (project, series, at) DO UPDATE SET value = excluded.value"
        )),
        bound(format!(
            "INSERT INTO alerts_now (project, series, at, value) VALUES {rows}
             ON CONFLICT (project, series) DO UPDATE SET at = excluded.at, value = excluded.value
             WHERE alerts_now.at <= excluded.at"
        )),
    ]
}

#[derive(Deserialize)]
struct Row {
    series: String,
    at: At,
    value: f64,
}

fn told(rows: Vec<Row>) -> Vec<(String, Point)> {
    rows.into_iter().map(|r| (r.series, Point { at: r.at.0, value: r.value })).collect()
}

/// The newest point of every series of a project at or before `at`.
pub(super) async fn newest(
    tables: &dyn Tables,
    project: ProjectId,
    at: Timestamp,
) -> Result<Vec<(String, Point)>> {
    let now = Statement::new(
        "SELECT series, at, value FROM alerts_now WHERE project = ?1 ORDER BY series LIMIT ?2",
    );
    let rows = tables.read(now.bind(project).bind(limits::TABLE_ROWS)).await?.into_typed::<Row>()?;
    let mut found = told(rows);
    if found.iter().all(|(_, p)| p.at <= at) {
        return Ok(found);
    }
    // Some changed since: what they were then.
    let before = Statement::new(
        "SELECT p.series, p.at, p.value FROM alerts_points p JOIN (
             SELECT n.series AS series, max(q.at) AS at FROM alerts_now n
             JOIN alerts_points q ON q.project = n.project AND q.series = n.series AND q.at <= ?2
             WHERE n.project = ?1 AND n.at > ?2 GROUP BY n.series
         ) l ON l.series = p.series AND l.at = p.at WHERE p.project = ?1 LIMIT ?3",
    );
    let rows =
        tables.read(before.bind(project).bind(at).bind(limits::TABLE_ROWS)).await?.into_typed::<Row>()?;
    found.retain(|(_, p)| p.at <= at);
    found.extend(told(rows));
    Ok(found)
}

/// The points of a family since `from` (and the one before), by series and time.
pub(super) async fn since(
    tables: &dyn Tables,
    project: ProjectId,
    family: &str,
    from: Timestamp,
) -> Result<Vec<(String, Vec<Point>)>> {
    let (low, high) = (name(family, ""), format!("{family};"));
    let mut series: Vec<(String, Vec<Point>)> = vec![];
    let (mut name, mut at, mut seen) = (low, i64::MIN, 0);
    loop {
        let page = Statement::new(
            "SELECT series, at, value FROM alerts_points
             WHERE project = ?1 AND series >= ?2 AND series < ?3 AND (series > ?2 OR at > ?4) AND at >= ?5
             ORDER BY series, at LIMIT ?6",
        )
        .bind(project)
        .bind(&name)
        .bind(&high)
        .bind(at)
        .bind(from)
        .bind(limits::TABLE_ROWS);
        let rows = tables.read(page).await?.into_typed::<Row>()?;
        let (n, last) = (rows.len(), rows.last().map(|r| (r.series.clone(), time::micros(r.at.0))));
        for (full, point) in told(rows) {
            let own = full.split_once(':').map_or(full.as_str(), |(_, own)| own);
            match series.last_mut() {
                Some((known, points)) if known == own => points.push(point),
                _ => series.push((own.to_owned(), vec![point])),
            }
        }
        seen += n;
        match last {
            Some(last) if n >= limits::TABLE_ROWS && seen < limits::ALERT_POINTS => (name, at) = last,
            _ => return Ok(series),
        }
    }
}

/// Lets go what is too old, in a bounded step.
pub(super) fn sweep(now: Timestamp) -> Statement {
    Statement::new(
        "DELETE FROM alerts_points WHERE at < ?1 AND at IN (
             SELECT at FROM alerts_points WHERE at < ?1 ORDER BY at LIMIT 1000)",
    )
    .bind(time::minus(now, KEPT))
}
