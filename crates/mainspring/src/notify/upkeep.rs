//! Once in a while: deliveries whose job was given up without a word are told from those that still
//! wait, what is old is deleted.
//!
//! A handler that is killed three times is parked by the engine, and nobody writes its row. Here the
//! row's own job is asked for by its unique key (which enqueues it again, should it have vanished):
//! was it given up, the delivery is `unknown` if a try had begun, else `failed`.

use super::notice::job;
use jiff::Timestamp;
use mainspring_core::ids::{JobId, ProjectId};
use mainspring_core::job::JobState;
use mainspring_core::store::Store;
use mainspring_core::tables::{Statement, Tables, TablesError, Write};
use mainspring_core::time;
use serde::Deserialize;
use std::time::Duration;

/// A delivery is looked after when nothing became of it for so long.
const STALE: Duration = Duration::from_secs(600);
/// Deliveries looked after at once.
const AT_ONCE: u32 = 50;
/// How long notices and their deliveries are kept.
pub const KEEP: Duration = Duration::from_secs(90 * 86_400);

#[derive(Deserialize)]
struct Waiting {
    uid: String,
    project: ProjectId,
    channel: i64,
    open: bool,
}

/// Does it once.
pub async fn upkeep(store: &dyn Store, tables: &dyn Tables, now: Timestamp) -> Result<(), TablesError> {
    let stale = Statement::new(
        "SELECT uid, project, channel, open FROM notify_deliveries
         WHERE state = 'queued' AND changed < ?1 AND coalesce(held_until, 0) < ?1 ORDER BY changed LIMIT ?2",
    );
    let stale = stale.bind(time::minus(now, STALE)).bind(AT_ONCE);
    let waiting: Vec<Waiting> = tables.read(stale).await?.into_typed()?;
    for row in waiting {
        look_after(store, tables, now, &row).await?;
    }
    let old = time::minus(now, KEEP);
    for sql in [
        "DELETE FROM notify_deliveries WHERE id IN
             (SELECT id FROM notify_deliveries WHERE created < ?1 AND state <> 'queued' ORDER BY id LIMIT 1000)",
        "DELETE FROM notify_notices WHERE id IN (SELECT n.id FROM notify_notices n WHERE n.at < ?1
             AND NOT EXISTS (SELECT 1 FROM notify_deliveries d WHERE d.notice = n.uid) ORDER BY n.id LIMIT 1000)",
    ] {
        tables.write(Statement::new(sql).bind(old).into()).await?;
    }
    let reads = "DELETE FROM notify_reads WHERE NOT EXISTS (SELECT 1 FROM notify_notices n WHERE n.id = notify_reads.notice)";
    tables.write(Statement::new(reads).into()).await.map(drop)
}

async fn look_after(
    store: &dyn Store,
    tables: &dyn Tables,
    now: Timestamp,
    row: &Waiting,
) -> Result<(), TablesError> {
    let found =
        tables.write(Write::new().enqueue(now, row.project, vec![job(&row.uid, row.channel)])).await?;
    let Some(id) = found.jobs.first().map(|job| job.id) else { return Ok(()) };
    let state = store.job(row.project, id).await?.map(|detail| detail.job.state);
    let given_up = matches!(state, Some(JobState::Failed | JobState::Cancelled | JobState::Completed));
    let update = match given_up {
        true => Statement::new(
            "UPDATE notify_deliveries SET state = ?3, open = 0, job = ?4, changed = ?2, error = coalesce(error, ?5)
             WHERE uid = ?1 AND state = 'queued'",
        )
        .bind(row.uid.as_str())
        .bind(now)
        .bind(if row.open { "unknown" } else { "failed" })
        .bind(id)
        .bind("its job was given up before it could tell what became of it"),
        false => seen(&row.uid, now, id),
    };
    let write = Write::new().then(update);
    let write = match given_up {
        true => write.then(
            Statement::new(
                "UPDATE notify_channels SET failing = failing + 1, last_failed = ?2,
                     last_error = 'a delivery was given up before it could tell what became of it'
                 WHERE id = ?1",
            )
            .bind(row.channel)
            .bind(now),
        ),
        false => write,
    };
    tables.write(write).await.map(drop)
}

/// Its job is alive: look again later.
fn seen(uid: &str, now: Timestamp, job: JobId) -> Statement {
    let sql = "UPDATE notify_deliveries SET job = ?3, changed = ?2 WHERE uid = ?1 AND state = 'queued'";
    Statement::new(sql).bind(uid).bind(now).bind(job)
}
