//! Which jobs of an enqueue are there already: by a unique key, or by the fire they are of.
//!
//! The rows of unique keys are taken in order of their names and held to the end of the transaction,
//! so of two that come at once the second sees what the first has made.

use crate::Inner;
use crate::enqueue::Entry;
use crate::link::{Conn, Step};
use crate::rows;
use mainspring_core::job::{JobState, NewJob, Origin};
use mainspring_core::time;
use std::collections::HashMap;

/// What an entry turned out to be.
#[derive(Clone, Copy)]
pub(crate) enum Fate {
    /// Nth of those written.
    New(usize),
    /// A job that was there.
    Old(i64),
    /// The same as an earlier entry.
    Same(usize),
}

const FIND_FIRES: &str = "
    SELECT u.i, j.id FROM unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::integer[])
        u(schedule, origin, at, i)
    CROSS JOIN LATERAL (
        SELECT id FROM jobs WHERE schedule = u.schedule AND origin = u.origin AND scheduled_for = u.at
            AND scheduled_for IS NOT NULL OFFSET 0) j";

/// Takes the keys' rows, in order; job 0 is nobody.
const TAKE_UNIQUES: &str = "
    INSERT INTO uniques (project, key, job)
    SELECT project, key, 0 FROM unnest($1::bigint[], $2::text[]) u(project, key) ORDER BY 1, 2
    ON CONFLICT (project, key) DO UPDATE SET job = uniques.job
    RETURNING project, key, job, until";

const SET_UNIQUES: &str = "
    UPDATE uniques q SET job = u.job, until = u.until
    FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) u(project, key, job, until)
    WHERE q.project = u.project AND q.key = u.key";

/// Who holds a unique key now.
pub(crate) struct Holder {
    pub job: Option<Fate>,
    pub until: Option<i64>,
    pub state: JobState,
}

/// The nominal fire that makes a job unique.
fn fire_key(job: &NewJob) -> Option<(i64, i16, i64)> {
    match (job.schedule, job.origin) {
        (Some((schedule, Some(at))), Origin::Fire | Origin::Backfill) => {
            Some((schedule.0, job.origin.code(), time::micros(at)))
        }
        _ => None,
    }
}

pub(crate) type Holders<'a> = HashMap<(i64, &'a str), Holder>;

/// Finds which entries are new. Keys stay locked to the end of the transaction.
pub(crate) async fn find_duplicates<'a>(
    inner: &Inner,
    conn: &Conn,
    entries: &[Entry<'a>],
) -> Step<(Vec<Fate>, Holders<'a>)> {
    let mut fires = find_fires(conn, entries).await?;
    let mut holders = take_uniques(inner, conn, entries).await?;
    let mut fates = Vec::with_capacity(entries.len());
    let mut new = 0;
    for entry in entries {
        let fire = fire_key(entry.job);
        if let Some(fate) = fire.and_then(|f| fires.get(&f)) {
            fates.push(*fate);
            continue;
        }
        let unique = entry.job.unique.as_ref();
        if let Some(unique) = unique {
            let key = (entry.project.0, unique.key.as_str());
            let holder = holders
                .get(&key)
                .filter(|h| h.until.is_none_or(|until| entry.now < until) && unique.states.has(h.state));
            if let Some(fate) = holder.and_then(|h| h.job) {
                fates.push(fate);
                continue;
            }
            let until = unique
                .period
                .map(|p| entry.now.saturating_add(i64::try_from(p.as_micros()).unwrap_or(i64::MAX)));
            let due = entry.job.run_at.is_none_or(|at| time::micros(at) <= entry.now);
            let state = if due { JobState::Available } else { JobState::Scheduled };
            holders.insert(key, Holder { job: Some(Fate::Same(new)), until, state });
        }
        if let Some(fire) = fire {
            fires.insert(fire, Fate::Same(new));
        }
        fates.push(Fate::New(new));
        new += 1;
    }
    Ok((fates, holders))
}

async fn find_fires(conn: &Conn, entries: &[Entry<'_>]) -> Step<HashMap<(i64, i16, i64), Fate>> {
    let wanted: Vec<(i64, i16, i64)> = entries.iter().filter_map(|e| fire_key(e.job)).collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let schedules: Vec<i64> = wanted.iter().map(|f| f.0).collect();
    let origins: Vec<i16> = wanted.iter().map(|f| f.1).collect();
    let fires: Vec<i64> = wanted.iter().map(|f| f.2).collect();
    let places: Vec<i32> = (0..wanted.len() as i32).collect();
    let found = conn.query(FIND_FIRES, &[&schedules, &origins, &fires, &places]).await?;
    Ok(found.iter().map(|row| (wanted[row.get::<_, i32>(0) as usize], Fate::Old(row.get(1)))).collect())
}

async fn take_uniques<'a>(inner: &Inner, conn: &Conn, entries: &[Entry<'a>]) -> Step<Holders<'a>> {
    let mut wanted: Vec<(i64, &str)> =
        entries.iter().filter_map(|e| e.job.unique.as_ref().map(|u| (e.project.0, u.key.as_str()))).collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    wanted.sort_unstable();
    wanted.dedup();
    let (projects, keys): (Vec<i64>, Vec<&str>) = wanted.iter().copied().unzip();
    let taken = conn.query(TAKE_UNIQUES, &[&projects, &keys]).await?;
    let ids: Vec<i64> = taken.iter().map(|row| row.get(2)).filter(|id| *id != 0).collect();
    // A second statement: it sees what was committed while the keys were waited for.
    let states = rows::states(inner, conn, &ids).await?;
    let mut holders = HashMap::new();
    for row in &taken {
        let (project, key): (i64, &str) = (row.get(0), row.get(1));
        let Ok(at) = wanted.binary_search(&(project, key)) else { continue };
        let Some(state) = states.get(&row.get(2)).copied() else { continue };
        holders.insert(wanted[at], Holder { job: Some(Fate::Old(row.get(2))), until: row.get(3), state });
    }
    Ok(holders)
}

/// Unique keys get their new holders: `ids` are those of the jobs written.
pub(crate) async fn remember(conn: &Conn, holders: &Holders<'_>, ids: &[i64]) -> Step<()> {
    let mut set: Vec<(i64, &str, i64, Option<i64>)> = holders
        .iter()
        .filter_map(|((project, key), holder)| match holder.job {
            Some(Fate::Same(n)) => Some((*project, *key, ids[n], holder.until)),
            _ => None,
        })
        .collect();
    if set.is_empty() {
        return Ok(());
    }
    set.sort_unstable();
    let projects: Vec<i64> = set.iter().map(|s| s.0).collect();
    let keys: Vec<&str> = set.iter().map(|s| s.1).collect();
    let jobs: Vec<i64> = set.iter().map(|s| s.2).collect();
    let until: Vec<Option<i64>> = set.iter().map(|s| s.3).collect();
    conn.execute(SET_UNIQUES, &[&projects, &keys, &jobs, &until]).await.map(drop)
}
