//! Concurrency keys: their rows are locked in order of their numbers, and only when a job of the
//! transaction has one (or its queue is fair). Plain jobs never come here.

use crate::Inner;
use crate::effects::Effects;
use crate::judge::Keys;
use crate::link::{Conn, Step};
use futures_util::future::try_join;
use mainspring_core::claim::{KeyState, QueueState, fair_ord};
use std::collections::{BTreeMap, BTreeSet};

/// A job whose key and turn are to be found.
pub(crate) trait Keyed {
    fn queue_id(&self) -> i32;
    fn key(&self) -> Option<&str>;
    fn priority(&self) -> u8;
    /// Whether it is available now and so needs its place.
    fn due(&self) -> bool;
    fn set_key_id(&mut self, id: i64);
    fn set_ord(&mut self, ord: i64);
}

impl<T: Keyed> Keyed for &mut T {
    fn queue_id(&self) -> i32 {
        (**self).queue_id()
    }
    fn key(&self) -> Option<&str> {
        (**self).key()
    }
    fn priority(&self) -> u8 {
        (**self).priority()
    }
    fn due(&self) -> bool {
        (**self).due()
    }
    fn set_key_id(&mut self, id: i64) {
        (**self).set_key_id(id);
    }
    fn set_ord(&mut self, ord: i64) {
        (**self).set_ord(ord);
    }
}

/// Held against deletion only.
const FIND: &str = "
    SELECT k.id, k.queue_id, k.key, k.last_turn FROM unnest($1::integer[], $2::text[]) u(queue_id, key)
    CROSS JOIN LATERAL (
        SELECT * FROM keys WHERE queue_id = u.queue_id AND key = u.key OFFSET 0 FOR KEY SHARE) k";

const MAKE: &str = "
    INSERT INTO keys (queue_id, key) SELECT * FROM unnest($1::integer[], $2::text[]) ORDER BY 1, 2
    ON CONFLICT DO NOTHING";

const SET_TURNS: &str = "
    UPDATE keys k SET last_turn = u.turn FROM unnest($1::bigint[], $2::bigint[]) u(id, turn) WHERE k.id = u.id";

const LOCK: &str = "
    SELECT id, queue_id, running, tat, put_off, last_turn FROM keys WHERE id = ANY($1)
    ORDER BY id FOR NO KEY UPDATE";

/// As [`LOCK`], for a first look.
const LOOK: &str = "
    SELECT id, queue_id, running, tat, put_off, last_turn FROM keys WHERE id = ANY($1)";

/// Added to, not set: a finish may have taken some away since the look.
const STARTED: &str = "
    UPDATE keys k SET running = k.running + u.n, tat = u.tat, put_off = u.put_off
    FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[]) u(id, n, tat, put_off)
    WHERE k.id = u.id";

/// In order of the numbers, which is that of the input. A key that nothing of ran is locked all the
/// same: its held jobs are looked at.
const ENDED: &str = "
    UPDATE keys k SET running = greatest(k.running - u.n, 0)
    FROM unnest($1::bigint[], $2::integer[]) u(id, n) WHERE k.id = u.id
    RETURNING k.id, k.queue_id, k.running";

/// The first held jobs of each key, as many as are asked for: (key, how many).
const HELD: &str = "
    SELECT h.key_id, h.ord, h.job, j.key_limit FROM unnest($1::bigint[], $2::integer[]) u(key_id, n)
    CROSS JOIN LATERAL (SELECT * FROM held WHERE key_id = u.key_id ORDER BY ord, job LIMIT u.n) h
    CROSS JOIN LATERAL (SELECT key_limit FROM jobs WHERE id = h.job OFFSET 0) j";

const RELEASE: &str = "
    WITH gone AS (
        DELETE FROM held WHERE ctid = ANY(ARRAY(
            SELECT x.at FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) u(key_id, ord, job)
            CROSS JOIN LATERAL (
                SELECT ctid AS at FROM held WHERE key_id = u.key_id AND ord = u.ord AND job = u.job
                OFFSET 0 FOR UPDATE) x)) RETURNING *)
    INSERT INTO ready (route, ord, job, attempt, key_id) SELECT route, ord, job, attempt, key_id FROM gone";

/// Finds (or makes) the keys' numbers, and gives turns in fair queues.
pub(crate) async fn assign<T: Keyed>(inner: &Inner, conn: &Conn, drafts: &mut [T]) -> Step<()> {
    let fair = |d: &T| d.due() && inner.names.queue(d.queue_id()).settings.fair;
    let mut wanted: BTreeSet<(i32, String)> = BTreeSet::new();
    let mut turns: BTreeSet<i32> = BTreeSet::new();
    for draft in drafts.iter() {
        if fair(draft) {
            turns.insert(draft.queue_id());
            wanted.insert((draft.queue_id(), draft.key().unwrap_or_default().to_owned()));
        } else if let Some(key) = draft.key() {
            wanted.insert((draft.queue_id(), key.to_owned()));
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let (queues, keys): (Vec<i32>, Vec<String>) = wanted.into_iter().unzip();
    let mut rows = conn.query(FIND, &[&queues, &keys]).await?;
    if rows.len() < queues.len() {
        conn.execute(MAKE, &[&queues, &keys]).await?;
        rows = conn.query(FIND, &[&queues, &keys]).await?;
    }
    // Turns are given out one after the other, so their keys are locked, in the one order.
    let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let locked = if turns.is_empty() { BTreeMap::new() } else { lock(conn, &ids).await? };
    let mut found: BTreeMap<(i32, String), (i64, KeyState)> = rows
        .iter()
        .map(|row| {
            let last_turn = locked.get(&row.get(0)).map_or_else(|| row.get(3), |(_, state)| state.last_turn);
            ((row.get(1), row.get(2)), (row.get(0), KeyState { last_turn, ..Default::default() }))
        })
        .collect();
    let clocks = clocks(conn, &turns).await?;
    for draft in drafts.iter_mut() {
        let key = draft.key().map(str::to_owned);
        let is_fair = fair(draft);
        if key.is_none() && !is_fair {
            continue;
        }
        let Some((id, state)) = found.get_mut(&(draft.queue_id(), key.clone().unwrap_or_default())) else {
            return Err(crate::link::Fault::Again);
        };
        if key.is_some() {
            draft.set_key_id(*id);
        }
        if is_fair {
            let vclock = clocks.get(&draft.queue_id()).copied().unwrap_or_default();
            let ord = fair_ord(&QueueState { vclock, ..Default::default() }, state, draft.priority());
            draft.set_ord(ord);
        }
    }
    if !turns.is_empty() {
        let mut set: Vec<(i64, i64)> = found.values().map(|(id, s)| (*id, s.last_turn)).collect();
        set.sort_unstable();
        let (ids, turns): (Vec<i64>, Vec<i64>) = set.into_iter().unzip();
        conn.execute(SET_TURNS, &[&ids, &turns]).await?;
    }
    Ok(())
}

async fn clocks(conn: &Conn, queues: &BTreeSet<i32>) -> Step<BTreeMap<i32, i64>> {
    if queues.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<i32> = queues.iter().copied().collect();
    let rows = conn.query("SELECT id, vclock FROM queues WHERE id = ANY($1)", &[&ids]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Locks keys: (queue, state) by number.
pub(crate) async fn lock(conn: &Conn, ids: &[i64]) -> Step<BTreeMap<i64, (i32, KeyState)>> {
    states(conn, LOCK, ids).await
}

/// Reads keys without a lock.
pub(crate) async fn look(conn: &Conn, ids: &[i64]) -> Step<BTreeMap<i64, (i32, KeyState)>> {
    states(conn, LOOK, ids).await
}

async fn states(conn: &Conn, sql: &'static str, ids: &[i64]) -> Step<BTreeMap<i64, (i32, KeyState)>> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = conn.query(sql, &[&ids]).await?;
    let state = |row: &tokio_postgres::Row| KeyState {
        running: u64::try_from(row.get::<_, i32>(2)).unwrap_or(0),
        tat: row.get(3),
        put_off: row.get(4),
        last_turn: row.get(5),
    };
    Ok(rows.iter().map(|row| (row.get(0), (row.get(1), state(row)))).collect())
}

/// Writes what a claim made of keys.
pub(crate) async fn started(conn: &Conn, keys: &Keys) -> Step<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = keys.keys().copied().collect();
    let more = |(before, state): &(u64, KeyState)| state.running.saturating_sub(*before) as i32;
    let started: Vec<i32> = keys.values().map(more).collect();
    let tat: Vec<i64> = keys.values().map(|k| k.1.tat).collect();
    let put_off: Vec<i64> = keys.values().map(|k| k.1.put_off).collect();
    conn.execute(STARTED, &[&ids, &started, &tat, &put_off]).await.map(drop)
}

/// Held jobs of one key that are looked at in one transaction at most.
const MOST_HELD: i32 = 1000;

/// Attempts of keys ended: held jobs of those keys go on, in claim order, as many as may run.
/// They are judged again when they are claimed, so this may err on the generous side. Of each key as
/// many are looked at as attempts ended, and more only where all of those go on: a thousand may wait
/// behind each of a hundred keys.
pub(crate) async fn ended(inner: &Inner, conn: &Conn, fx: &mut Effects) -> Step<()> {
    let (ids, ended): (Vec<i64>, Vec<i32>) = fx.keys.iter().map(|(k, n)| (*k, *n)).unzip();
    let looks: Vec<i32> = ended.iter().map(|n| n.saturating_add(1).clamp(2, MOST_HELD)).collect();
    conn.prepare(&[ENDED, HELD]).await?;
    let args: crate::link::Args<'_> = &[&ids, &ended];
    let look: crate::link::Args<'_> = &[&ids, &looks];
    // The second statement sees what was held while the first waited for its locks.
    let (keys, mut held) = try_join(conn.query(ENDED, args), conn.query(HELD, look)).await?;
    let running: BTreeMap<i64, (i32, u64)> = keys
        .iter()
        .map(|row| (row.get(0), (row.get(1), u64::try_from(row.get::<_, i32>(2)).unwrap_or(0))))
        .collect();
    let mut looks: BTreeMap<i64, i32> = ids.into_iter().zip(looks).collect();
    while !held.is_empty() {
        let (free, go_on) = may_go_on(inner, &held, running.clone());
        let more: Vec<(i64, i32)> = looks
            .iter()
            .filter(|(id, n)| **n < MOST_HELD && go_on.get(id) == Some(*n))
            .map(|(id, n)| (*id, n.saturating_mul(8).min(MOST_HELD)))
            .collect();
        if more.is_empty() {
            if !free.0.is_empty() {
                conn.execute(RELEASE, &[&free.0, &free.1, &free.2]).await?;
                fx.hint_jobs = true;
            }
            return Ok(());
        }
        looks.extend(more);
        let (ids, n): (Vec<i64>, Vec<i32>) = looks.iter().map(|(id, n)| (*id, *n)).unzip();
        held = conn.query(HELD, &[&ids, &n]).await?;
    }
    Ok(())
}

/// Rows of `held` by their keys: key, place, job.
type Places = (Vec<i64>, Vec<i64>, Vec<i64>);

/// Which held jobs may go on, and how many of each key.
fn may_go_on(
    inner: &Inner,
    held: &[tokio_postgres::Row],
    mut keys: BTreeMap<i64, (i32, u64)>,
) -> (Places, BTreeMap<i64, i32>) {
    let (mut free, mut full, mut go_on) = (Places::default(), BTreeSet::new(), BTreeMap::new());
    for row in held {
        let id: i64 = row.get(0);
        let Some((queue, running)) = keys.get_mut(&id) else { continue };
        let own = row.get::<_, Option<i32>>(3).map(|n| n as u64);
        let per_key = inner.names.queue(*queue).settings.max_running_per_key.map(u64::from);
        let limit = per_key.into_iter().chain(own).min();
        if full.contains(&id) || limit.is_some_and(|limit| *running >= limit) {
            full.insert(id);
            continue;
        }
        *running += 1;
        *go_on.entry(id).or_default() += 1;
        free.0.push(id);
        free.1.push(row.get::<_, i64>(1));
        free.2.push(row.get::<_, i64>(2));
    }
    (free, go_on)
}

const RELEASE_QUEUE: &str = "
    WITH gone AS (
        DELETE FROM held WHERE ctid = ANY(ARRAY(
            SELECT x.at FROM (SELECT id FROM keys WHERE queue_id = $1 ORDER BY id) k
            CROSS JOIN LATERAL (
                SELECT ctid AS at FROM held WHERE key_id = k.id OFFSET 0 FOR UPDATE) x)) RETURNING *)
    INSERT INTO ready (route, ord, job, attempt, key_id) SELECT route, ord, job, attempt, key_id FROM gone";

/// Releases every held job of a queue whose limit was lifted.
pub(crate) async fn release_queue(conn: &Conn, queue: i32) -> Step<u64> {
    conn.execute(RELEASE_QUEUE, &[&queue]).await
}
