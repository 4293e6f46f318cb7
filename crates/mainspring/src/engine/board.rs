//! The slots of a node and the jobs in its hands: claimed and waiting for a slot, or running in one.
//!
//! A free slot costs nothing: it is a number in a list. A slot that gets work becomes one task, and
//! that task goes on with the next waiting job when its first has ended, so a busy node pays neither
//! a task nor a wake-up per job.

use crate::context::{Context, StopReason};
use futures_util::task::AtomicWaker;
use jiff::Timestamp;
use mainspring_core::JobId;
use mainspring_core::job::Claimed;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module's text.
pub struct Board {
    state: Mutex<State>,
    slots: Box<[Slot]>,
    /// Attempts that ended here, since the start.
    finished: AtomicU64,
    /// When no more than this many wait, the dispatcher wants to know; [`Board::QUIET`]: never.
    low_water: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// With the time at which they came, by the steady clock.
    ready: VecDeque<(Timestamp, Claimed)>,
    free: Vec<usize>,
    /// Slots given a task that has not begun.
    unbegun: Vec<usize>,
    generation: u64,
    closed: bool,
}

/// One place to run an attempt in.
#[derive(Default)]
pub(crate) struct Slot {
    occupant: Mutex<Occupant>,
    pub(crate) waker: AtomicWaker,
    /// The serial of the attempt that must end at its next poll.
    pub(crate) killed: AtomicU64,
}

#[derive(Default)]
struct Occupant {
    serial: u64,
    running: Option<Running>,
}

/// An attempt in a slot.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) cx: Context,
    /// When its time is over, by the steady clock.
    pub(crate) deadline: Timestamp,
    /// When it is ended if it has not ended by itself after being asked.
    pub(crate) stop_by: Option<(Timestamp, StopReason)>,
}

/// What a task of a slot does next.
pub enum NextJob {
    /// Runs this.
    Run(Box<Claimed>),
    /// Ends; its slot is free again.
    Done,
    /// Ends: its slot was given to another task long ago.
    Gone,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    /// Nobody wants to know.
    pub const QUIET: usize = usize::MAX;

    /// A board with this many slots, all free.
    pub fn new(slots: usize) -> Board {
        Board {
            state: Mutex::new(State { free: (0..slots).rev().collect(), ..State::default() }),
            slots: (0..slots).map(|_| Slot::default()).collect(),
            finished: AtomicU64::new(0),
            low_water: AtomicUsize::new(Board::QUIET),
        }
    }

    /// Puts claimed jobs on the board at `now` (by the steady clock). After [`Board::close`] they come
    /// back.
    pub fn put(&self, jobs: Vec<Claimed>, now: Timestamp) -> Vec<Claimed> {
        let mut state = lock(&self.state);
        if state.closed {
            return jobs;
        }
        state.ready.extend(jobs.into_iter().map(|job| (now, job)));
        Vec::new()
    }

    /// Free slots that now get a task each, because jobs wait for them.
    pub fn assign(&self) -> (Vec<usize>, u64) {
        let mut state = lock(&self.state);
        let wanted = state.ready.len().saturating_sub(state.unbegun.len()).min(state.free.len());
        let at = state.free.len() - wanted;
        let slots = state.free.split_off(at);
        state.unbegun.extend(&slots);
        (slots, state.generation)
    }

    /// What the task of `slot` does next; `first` when it has just begun. The flag tells that the
    /// dispatcher wants to know how little is left.
    pub fn next(&self, slot: usize, generation: u64, first: bool) -> (NextJob, bool) {
        let mut state = lock(&self.state);
        if first {
            match state.unbegun.iter().position(|s| *s == slot) {
                Some(at) if generation == state.generation => drop(state.unbegun.swap_remove(at)),
                _ => return (NextJob::Gone, false),
            }
        }
        let job = if generation == state.generation { state.ready.pop_front() } else { None };
        let job = job.map(|(_, job)| job);
        if job.is_none() {
            state.free.push(slot);
        }
        let low = self.low_water.load(Ordering::Relaxed);
        let hungry = low != Board::QUIET && state.ready.len() <= low;
        (job.map_or(NextJob::Done, |job| NextJob::Run(Box::new(job))), hungry)
    }

    /// Forgets the tasks that have not begun, and lets those that have end after their present job:
    /// their threads are stuck. Gives the new generation.
    pub fn renew(&self) -> u64 {
        let mut state = lock(&self.state);
        let unbegun = std::mem::take(&mut state.unbegun);
        state.free.extend(unbegun);
        state.generation += 1;
        state.generation
    }

    /// Takes nothing in any more; gives back what waits.
    pub fn close(&self) -> Vec<Claimed> {
        let mut state = lock(&self.state);
        state.closed = true;
        state.ready.drain(..).map(|(_, job)| job).collect()
    }

    /// Takes the waiting jobs off the board.
    pub fn take_waiting(&self) -> Vec<Claimed> {
        lock(&self.state).ready.drain(..).map(|(_, job)| job).collect()
    }

    /// Takes the jobs off the board that came at or before `since` and have no slot; tells when the
    /// oldest of the others without a slot came.
    pub(crate) fn take_since(&self, since: Timestamp) -> (Vec<Claimed>, Option<Timestamp>) {
        let mut state = lock(&self.state);
        // The first in the row are for the tasks that are about to begin.
        let spoken_for = state.unbegun.len().min(state.ready.len());
        let late = state.ready.partition_point(|(at, _)| *at <= since).max(spoken_for);
        let taken = state.ready.drain(spoken_for..late).map(|(_, job)| job).collect();
        (taken, state.ready.get(spoken_for).map(|(at, _)| *at))
    }

    /// Takes one waiting job off the board.
    pub fn take_one(&self, job: JobId, attempt: u32) -> Option<Claimed> {
        let mut state = lock(&self.state);
        let at = state.ready.iter().position(|(_, c)| (c.facts.job, c.facts.attempt) == (job, attempt))?;
        state.ready.remove(at).map(|(_, job)| job)
    }

    /// (free slots, waiting jobs).
    pub fn room(&self) -> (usize, usize) {
        let state = lock(&self.state);
        (state.free.len(), state.ready.len())
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Slots whose task has begun.
    pub fn busy(&self) -> usize {
        let state = lock(&self.state);
        self.slots.len() - state.free.len() - state.unbegun.len()
    }

    /// Attempts that ended here since the start.
    pub fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    /// When the dispatcher wants to be told: at most this many waiting.
    pub fn set_low_water(&self, low: usize) {
        self.low_water.store(low, Ordering::Relaxed);
    }

    /// An attempt begins in a slot; gives its serial.
    pub(crate) fn begin(&self, slot: usize, cx: &Context, deadline: Timestamp) -> u64 {
        let mut occupant = lock(&self.slots[slot].occupant);
        occupant.serial += 1;
        occupant.running = Some(Running { cx: cx.clone(), deadline, stop_by: None });
        occupant.serial
    }

    /// The attempt in a slot has ended: false when somebody has ended it before.
    pub(crate) fn end(&self, slot: usize, serial: u64) -> bool {
        let mut occupant = lock(&self.slots[slot].occupant);
        let ours = occupant.serial == serial && occupant.running.take().is_some();
        if ours {
            self.finished.fetch_add(1, Ordering::Relaxed);
        }
        ours
    }

    /// Looks at every running attempt; what `judge` says of one happens to it. Those it ended are
    /// returned, with the reason; their handlers stop at their next poll.
    pub(crate) fn judge(
        &self,
        mut judge: impl FnMut(&mut Running) -> Option<StopReason>,
    ) -> Vec<(Context, StopReason)> {
        let mut ended = Vec::new();
        for slot in &self.slots {
            let mut occupant = lock(&slot.occupant);
            let Some(running) = occupant.running.as_mut() else { continue };
            if let Some(reason) = judge(running) {
                let serial = occupant.serial;
                if let Some(running) = occupant.running.take() {
                    ended.push((running.cx, reason));
                }
                slot.killed.store(serial, Ordering::Release);
                drop(occupant);
                slot.waker.wake();
            }
        }
        ended
    }

    pub(crate) fn slot(&self, slot: usize) -> &Slot {
        &self.slots[slot]
    }

    /// Attempts that run.
    pub fn running(&self) -> usize {
        self.slots.iter().filter(|s| lock(&s.occupant).running.is_some()).count()
    }
}
