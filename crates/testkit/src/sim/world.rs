//! What everything in a simulated run shares: the time, the weather between nodes and database, the
//! place where futures stop so that another may go on, and the log of what really happened.

use crate::dice::Dice;
use jiff::Timestamp;
use mainspring_core::clock::Clock;
use mainspring_core::ids::{JobId, NodeId};
use mainspring_core::job::JobState;
use mainspring_core::time;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

/// One thing that really happened, whatever the callers were told: written when the store committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An attempt was claimed.
    Claimed {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: u32,
        /// By whom.
        node: NodeId,
        /// When, by the claimer's clock.
        at: Timestamp,
        /// Whether its queue has a rate.
        rated: bool,
    },
    /// A handler began.
    Began(JobId, u32),
    /// An attempt's end was written; the state, if it is final.
    Ended(JobId, u32, Option<JobState>),
    /// A person retried it.
    Retried(JobId),
    /// A client was told that it is enqueued.
    Promised(JobId),
}

/// What went wrong on purpose, or was refused because of it. Counted, so that a fault that no dice
/// brings any more is noticed: a simulation without faults is always green.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// A process ended with everything it had in hand.
    Crash,
    /// A process stood still, for longer than its lease.
    FreezeBeyondLease,
    /// A process stood still for less.
    ShortFreeze,
    /// A process was told to shut down.
    Drain,
    /// A wall clock jumped.
    ClockJump,
    /// The database went away for all.
    DatabaseAway,
    /// A call failed and nothing was written.
    CallRefused,
    /// A call was written and its caller was told that it failed.
    ReplyLost,
    /// A call was written and its caller died before the answer.
    CallerCutOff,
    /// An attempt's end was refused: another had ended it before.
    FinishRefused,
}

impl Mishap {
    /// All of them, with their names in the plural.
    pub const ALL: [(Mishap, &'static str); 10] = [
        (Mishap::Crash, "crashes"),
        (Mishap::FreezeBeyondLease, "pauses beyond the lease"),
        (Mishap::ShortFreeze, "shorter pauses"),
        (Mishap::Drain, "shutdowns"),
        (Mishap::ClockJump, "clock jumps"),
        (Mishap::DatabaseAway, "times without a database"),
        (Mishap::CallRefused, "calls that did not arrive"),
        (Mishap::ReplyLost, "replies lost after the commit"),
        (Mishap::CallerCutOff, "callers dead between commit and reply"),
        (Mishap::FinishRefused, "late finishes refused"),
    ];
}

/// How often each [`Mishap`] came, in the order of [`Mishap::ALL`].
pub type Mishaps = [u64; Mishap::ALL.len()];

/// See the module's text.
pub struct World {
    now: AtomicI64,
    stopped: AtomicBool,
    sleeping_until: AtomicI64,
    /// Nothing fails any more.
    calm: AtomicBool,
    away_until: AtomicI64,
    /// One call in so many fails; 0: none.
    fault_once_in: u64,
    dice: Dice,
    log: Mutex<Vec<Entry>>,
    accusations: Mutex<Vec<String>>,
    mishaps: Mutex<Mishaps>,
    /// Which attempt made what a step of a job remembers: (job, step).
    steps: Mutex<BTreeMap<(i64, &'static str), u32>>,
    in_database: AtomicUsize,
}

/// A call is with the store. See [`World::enter_database`].
pub struct InDatabase<'a>(&'a World);

impl Drop for InDatabase<'_> {
    fn drop(&mut self) {
        self.0.in_database.fetch_sub(1, Ordering::Relaxed);
    }
}

impl World {
    /// A world at `start`. Its runtime's time stands still but for what [`World::advance_to`] moves.
    pub fn new(start: Timestamp, seed: u64, fault_once_in: u64) -> Arc<World> {
        Arc::new(World {
            in_database: AtomicUsize::new(0),
            now: AtomicI64::new(time::micros(start)),
            stopped: AtomicBool::new(false),
            sleeping_until: AtomicI64::new(0),
            calm: AtomicBool::new(false),
            away_until: AtomicI64::new(0),
            fault_once_in,
            dice: Dice::new(seed),
            log: Mutex::default(),
            accusations: Mutex::default(),
            mishaps: Mutex::default(),
            steps: Mutex::default(),
        })
    }

    /// The true time in microseconds.
    pub fn micros(&self) -> i64 {
        self.now.load(Ordering::Relaxed)
    }

    /// The true time.
    pub fn now(&self) -> Timestamp {
        time::from_micros(self.micros())
    }

    /// Moves the time on, never back.
    pub async fn advance_to(&self, micros: i64) {
        let before = self.now.fetch_max(micros, Ordering::Relaxed);
        if micros > before {
            tokio::time::advance(Duration::from_micros((micros - before) as u64)).await;
        }
    }

    /// From now until the answer is dropped, a call waits for the store and not for a timer.
    pub fn enter_database(&self) -> InDatabase<'_> {
        self.in_database.fetch_add(1, Ordering::Relaxed);
        InDatabase(self)
    }

    /// Whether a call waits for the store.
    pub fn in_database(&self) -> bool {
        self.in_database.load(Ordering::Relaxed) > 0
    }

    /// From now on nothing fails.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
        self.away_until.store(0, Ordering::Relaxed);
    }

    /// The database cannot be reached before this.
    pub fn lose_the_database(&self, until: i64) {
        self.away_until.store(until, Ordering::Relaxed);
    }

    /// Whether the database cannot be reached now.
    pub fn is_away(&self) -> bool {
        self.micros() < self.away_until.load(Ordering::Relaxed)
    }

    /// Whether this call fails here. Asked twice for each call: before and after.
    pub fn strikes(&self) -> bool {
        let calm = self.calm.load(Ordering::Relaxed);
        !calm && self.fault_once_in > 0 && self.dice.once_in(2 * self.fault_once_in)
    }

    /// Stops the future that awaits it, once: whoever polls it next is the scheduler's choice.
    pub async fn stop_here(&self) {
        let mut reached = false;
        poll_fn(|_| {
            if std::mem::replace(&mut reached, true) {
                return Poll::Ready(());
            }
            self.stopped.store(true, Ordering::Relaxed);
            Poll::Pending
        })
        .await;
    }

    /// Sleeps until `until` (microseconds).
    pub async fn sleep_until(&self, until: i64) {
        poll_fn(|_| {
            if self.micros() >= until {
                return Poll::Ready(());
            }
            self.sleeping_until.store(until, Ordering::Relaxed);
            self.stopped.store(true, Ordering::Relaxed);
            Poll::Pending
        })
        .await;
    }

    /// Whether the last poll stopped at one of the places above (and does not wait for a real
    /// database), and until when it sleeps; 0 when it does not.
    pub fn take_stop(&self) -> Option<i64> {
        let until = self.sleeping_until.swap(0, Ordering::Relaxed);
        self.stopped.swap(false, Ordering::Relaxed).then_some(until)
    }

    /// Writes down what happened.
    pub fn note(&self, entry: Entry) {
        lock(&self.log).push(entry);
    }

    /// Everything that happened.
    pub fn log(&self) -> Vec<Entry> {
        lock(&self.log).clone()
    }

    /// Something went wrong on purpose.
    pub fn count(&self, what: Mishap) {
        lock(&self.mishaps)[what as usize] += 1;
    }

    /// What went wrong so far.
    pub fn mishaps(&self) -> Mishaps {
        *lock(&self.mishaps)
    }

    /// An attempt was given the result of a step that attempt `by` made. Whoever is given one later must
    /// be given the same.
    pub fn remembered(&self, job: JobId, step: &'static str, by: u32) {
        let first = *lock(&self.steps).entry((job.0, step)).or_insert(by);
        if first != by {
            self.accuse(format!("job {job}: step {step} is remembered from attempt {first} and from {by}"));
        }
    }

    /// An invariant is broken, in words.
    pub fn accuse(&self, text: String) {
        lock(&self.accusations).push(text);
    }

    /// What was found to be broken on the way.
    pub fn accusations(&self) -> Vec<String> {
        lock(&self.accusations).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node's wall clock: the true time and what it is wrong by.
pub struct WallClock {
    world: Arc<World>,
    offset: AtomicI64,
}

impl WallClock {
    /// A clock that is wrong by `offset` microseconds.
    pub fn new(world: Arc<World>, offset: i64) -> Arc<WallClock> {
        Arc::new(WallClock { world, offset: AtomicI64::new(offset) })
    }

    /// Is wrong by so much from now on.
    pub fn set_offset(&self, offset: i64) {
        self.offset.store(offset, Ordering::Relaxed);
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        time::from_micros(self.world.micros() + self.offset.load(Ordering::Relaxed))
    }
}

/// A node's monotonic clock.
pub struct TrueClock(pub Arc<World>);

impl Clock for TrueClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}
