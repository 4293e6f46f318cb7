//! Who is served next, and which limits hold: the rules every store's `claim` follows.
//!
//! **Order.** Within a queue jobs are served by `ord`, then by id. `ord` is the instant a job
//! became available plus [`limits::PRIORITY_AGE`] for each level of priority: a level is worth a
//! minute of waiting, so urgent work goes first and nothing starves. In a *fair* queue `ord` counts
//! turns instead of time: start-time fair queueing (Goyal, Vin, Cheng 1996) with one second of
//! virtual time for each job of a key, so a key with ten thousand waiting jobs and a key with one
//! take turns. Across queues, claims go round: the first of each queue, then the second of each.
//!
//! **Limits** of a whole queue (running, rate) and of all queues cap how many candidates a claim
//! looks at: nothing is written for those that must wait. **Limits of a key** are found out job by
//! job: a job whose key is full is `held` (out of the claim's sight until a job of that key ends),
//! a job whose key has no token left is put off until it may have one.

use crate::queue::QueueSettings;
use crate::{limits, time};
use jiff::Timestamp;

/// One turn in a fair queue, in the microseconds of `ord`.
pub const TURN: i64 = time::SECOND;

/// What a priority adds to `ord`.
pub fn priority_offset(priority: u8) -> i64 {
    i64::from(priority) * limits::PRIORITY_AGE.as_micros() as i64
}

/// `ord` of a job that becomes available at `at` in a queue that is not fair.
pub fn ord(at: Timestamp, priority: u8) -> i64 {
    time::micros(at) + priority_offset(priority)
}

/// `ord` of a job that becomes available in a fair queue; moves its key's turn on. Jobs without a
/// key share one.
pub fn fair_ord(queue: &QueueState, key: &mut KeyState, priority: u8) -> i64 {
    let turn = queue.vclock.max(key.last_turn.saturating_add(TURN));
    key.last_turn = turn;
    turn + priority_offset(priority)
}

/// What a store keeps of a queue beside its settings. Missing rows are all zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueState {
    /// Jobs running now.
    pub running: u64,
    /// State of the rate limit: see [`crate::rate`].
    pub tat: i64,
    /// The largest turn claimed so far (fair queues only).
    pub vclock: i64,
}

/// What a store keeps of a key within a queue. Missing rows are all zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyState {
    /// Jobs of it running now.
    pub running: u64,
    /// State of the rate limit.
    pub tat: i64,
    /// The instant the last job that had no token was put off to.
    pub put_off: i64,
    /// The last turn given out (fair queues only).
    pub last_turn: i64,
}

/// How many jobs a claim may take from a queue, and when to look again if that is zero because of
/// its rate (microseconds).
pub fn allowance(
    settings: &QueueSettings,
    state: &QueueState,
    now: Timestamp,
    want: u32,
) -> (u32, Option<i64>) {
    if settings.paused.as_ref().is_some_and(|p| p.holds(now)) {
        return (0, None);
    }
    let mut n = want;
    if let Some(max) = settings.max_running {
        n = n.min(u64::from(max).saturating_sub(state.running).min(u64::from(u32::MAX)) as u32);
    }
    if let Some(rate) = settings.rate {
        let tokens = rate.available(state.tat, time::micros(now));
        if tokens < n {
            // From an idle bucket the wait counts from now, not from when it was last used.
            return (tokens, Some(rate.when(state.tat.max(time::micros(now)), tokens + 1)));
        }
    }
    (n, None)
}

/// What becomes of one candidate with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It runs; the key's state has been moved on.
    Run,
    /// Its key is full: mark it held.
    Hold,
    /// Its key has no token: scheduled, with `run_at` at this many microseconds; its `ord` is kept.
    PutOff(i64),
}

/// Judges a candidate with a key; to be called in claim order. `key_limit` is the job's own.
pub fn admit(
    settings: &QueueSettings,
    key_limit: Option<u32>,
    key: &mut KeyState,
    now: Timestamp,
) -> Verdict {
    let max = match (settings.max_running_per_key, key_limit) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    if max.is_some_and(|max| key.running >= u64::from(max)) {
        return Verdict::Hold;
    }
    if let Some(rate) = settings.rate_per_key {
        let now = time::micros(now);
        if rate.available(key.tat, now) == 0 {
            // Put off one after the other, so that each is looked at about once more.
            let free = rate.when(key.tat, 1);
            let at = if key.put_off <= now { free } else { free.max(rate.take(key.put_off, now, 1)) };
            key.put_off = at;
            return Verdict::PutOff(at);
        }
        key.tat = rate.take(key.tat, now, 1);
    }
    key.running += 1;
    Verdict::Run
}

/// Takes turns over queues: `queues` holds each queue's candidates in claim order. Gives (queue,
/// candidate) indices: all firsts by (`ord`, id), then all seconds, … at most `limit`.
pub fn interleave<T>(queues: &[Vec<T>], key: impl Fn(&T) -> (i64, i64), limit: usize) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    for rank in 0.. {
        let mut row: Vec<_> = queues
            .iter()
            .enumerate()
            .filter_map(|(q, list)| list.get(rank).map(|t| (key(t), q, rank)))
            .collect();
        if row.is_empty() || out.len() >= limit {
            break;
        }
        row.sort_unstable();
        out.extend(row.into_iter().map(|(_, q, i)| (q, i)));
    }
    out.truncate(limit);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Pause;
    use crate::rate::Rate;
    use std::time::Duration;

    fn now() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_level_of_priority_is_worth_a_minute_of_waiting() {
        let later = time::plus(now(), Duration::from_secs(59));
        let too_late = time::plus(now(), Duration::from_secs(61));
        assert!(ord(later, 4) < ord(now(), 5));
        assert!(ord(too_late, 4) > ord(now(), 5));
    }

    #[test]
    fn a_key_with_one_job_does_not_wait_behind_a_key_with_thousands() {
        let queue = QueueState::default();
        let (mut big, mut small) = (KeyState::default(), KeyState::default());
        let first = fair_ord(&queue, &mut big, 5);
        let many: Vec<_> = (0..1000).map(|_| fair_ord(&queue, &mut big, 5)).collect();
        let one = fair_ord(&queue, &mut small, 5);
        assert!(one <= first && one < many[0]);
        // A key that comes back after a long idle time gets no credit for it.
        let busy = QueueState { vclock: 500 * TURN, ..queue };
        assert_eq!(fair_ord(&busy, &mut KeyState::default(), 0), 500 * TURN);
    }

    #[test]
    fn the_allowance_is_the_tightest_of_pause_running_and_rate() {
        let s = QueueSettings {
            max_running: Some(10),
            rate: Some(Rate { count: 1, per: Duration::from_secs(60) }),
            ..Default::default()
        };
        let state = QueueState { running: 4, ..Default::default() };
        assert_eq!(allowance(&QueueSettings { rate: None, ..s.clone() }, &state, now(), 100), (6, None));
        let in_a_minute = Some(time::micros(now()) + 60 * time::SECOND);
        assert_eq!(allowance(&s, &state, now(), 100), (1, in_a_minute));
        let used = QueueState { tat: time::micros(now()) + 60 * time::SECOND, ..state };
        assert_eq!(allowance(&s, &used, now(), 100), (0, Some(used.tat)));
        let pause = Pause { at: now(), by: "x".into(), until: None, note: None };
        assert_eq!(allowance(&QueueSettings { paused: Some(pause), ..s }, &state, now(), 9), (0, None));
    }

    #[test]
    fn a_full_key_holds_and_an_empty_bucket_puts_off_one_after_the_other() {
        let s = QueueSettings { max_running_per_key: Some(2), ..Default::default() };
        let mut key = KeyState::default();
        let got: Vec<_> = (0..3).map(|_| admit(&s, None, &mut key, now())).collect();
        assert_eq!(got, [Verdict::Run, Verdict::Run, Verdict::Hold]);
        assert_eq!(admit(&s, Some(1), &mut KeyState { running: 1, ..key }, now()), Verdict::Hold);

        let s = QueueSettings {
            rate_per_key: Some(Rate { count: 1, per: Duration::from_secs(1) }),
            ..Default::default()
        };
        let (mut key, t) = (KeyState::default(), time::micros(now()));
        let got: Vec<_> = (0..3).map(|_| admit(&s, None, &mut key, now())).collect();
        assert_eq!(
            got,
            [Verdict::Run, Verdict::PutOff(t + time::SECOND), Verdict::PutOff(t + 2 * time::SECOND)]
        );
    }

    #[test]
    fn queues_take_turns() {
        let queues = vec![vec![(1, 1), (2, 2), (3, 3)], vec![(10, 4)], vec![(5, 5), (6, 6)]];
        let ids: Vec<_> = interleave(&queues, |t| *t, 5).into_iter().map(|(q, i)| queues[q][i].1).collect();
        assert_eq!(ids, [1, 5, 4, 2, 6]);
    }
}
