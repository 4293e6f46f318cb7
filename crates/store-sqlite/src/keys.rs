//! Concurrency keys: what runs of each, whose turn it is, and held jobs that may go on. Plain jobs
//! never come here.

use crate::names::{QueueIx, RouteIx};
use crate::rows::JobOptions;
use crate::tx::{Done, Key, Tx};
use mainspring_core::claim::{KeyState, QueueState, TURN};
use mainspring_core::store::Hint;
use rusqlite::{OptionalExtension, params};
use std::sync::Arc;

impl Tx<'_> {
    /// A queue's state as the rules want it.
    pub fn queue_state(&self, queue: QueueIx) -> QueueState {
        let q = &self.names.queues[queue];
        QueueState { running: self.names.running_in(queue), tat: q.tat, vclock: q.vclock }
    }

    /// A key's state; what becomes of it is written at the end of the call.
    pub fn key_state(&mut self, queue: QueueIx, key: Arc<str>) -> Done<&mut KeyState> {
        use std::collections::hash_map::Entry;
        let entry = match self.keys.entry((queue, key)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let state = self
                    .conn
                    .prepare_cached(
                        "SELECT running, tat, put_off, last_turn FROM keys WHERE queue = ?1 AND key = ?2",
                    )?
                    .query_row(params![queue as i64 + 1, free.key().1], |r| {
                        let running = r.get::<_, i64>(0)?.max(0) as u64;
                        Ok(KeyState { running, tat: r.get(1)?, put_off: r.get(2)?, last_turn: r.get(3)? })
                    })
                    .optional()?
                    .unwrap_or_default();
                free.insert(Key { state, stored: state })
            }
        };
        Ok(&mut entry.state)
    }

    /// Writes a key's state, or deletes the row when it tells nothing that a missing one does not.
    pub fn write_key(&mut self, now: i64, queue: QueueIx, key: &str, state: KeyState) -> Done<()> {
        let spent =
            state.last_turn == 0 || state.last_turn.saturating_add(TURN) <= self.names.queues[queue].vclock;
        if state.running == 0 && state.tat <= now && state.put_off <= now && spent {
            self.conn
                .prepare_cached("DELETE FROM keys WHERE queue = ?1 AND key = ?2")?
                .execute(params![queue as i64 + 1, key])?;
            return Ok(());
        }
        self.conn
            .prepare_cached(
                "INSERT INTO keys (queue, key, running, tat, put_off, last_turn)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET running = excluded.running, tat = excluded.tat,
                    put_off = excluded.put_off, last_turn = excluded.last_turn",
            )?
            .execute(params![
                queue as i64 + 1,
                key,
                state.running as i64,
                state.tat,
                state.put_off,
                state.last_turn
            ])?;
        Ok(())
    }

    /// Releases held jobs of a key, in claim order, as many as may run beside those that do. They
    /// are judged again when they are claimed.
    pub fn release(&mut self, queue: QueueIx, key: &Arc<str>) -> Done<()> {
        let conn = self.conn;
        let mut held = conn.prepare_cached(
            "SELECT id, route, options FROM jobs INDEXED BY jobs_held
             WHERE st = 16 AND key = ?1 ORDER BY key, ord, id",
        )?;
        let mut rows = held.query([&**key])?;
        let per_key = self.names.queues[queue].settings.max_running_per_key;
        let mut running = None;
        let mut free = Vec::new();
        while let Some(r) = rows.next()? {
            let route = r.get::<_, i64>(1)? as RouteIx - 1;
            if self.names.routes[route].queue != queue {
                continue;
            }
            let options = JobOptions::parse(r.get::<_, Option<String>>(2)?.as_deref())?;
            let running = match &mut running {
                Some(n) => n,
                none => none.insert(self.key_state(queue, key.clone())?.running),
            };
            let limit = per_key.into_iter().chain(options.key_limit).min();
            if limit.is_some_and(|limit| *running >= u64::from(limit)) {
                break;
            }
            *running += 1;
            free.push((r.get::<_, i64>(0)?, route));
        }
        for (id, route) in free {
            conn.prepare_cached("UPDATE jobs SET st = 11 WHERE id = ?1")?.execute([id])?;
            self.names.routes[route].ready = true;
            self.hint(Hint::Jobs);
        }
        Ok(())
    }
}
