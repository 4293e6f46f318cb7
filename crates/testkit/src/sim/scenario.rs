//! What a seed means: how many slots, which queues and limits, which schedules, how bad the weather
//! is. Everything else is drawn while the run goes on.

use super::faulty::Queues;
use crate::dice::Dice;
use jiff::Timestamp;
use mainspring_core::job::{NewJob, Unique, UniqueStates};
use mainspring_core::json::Json;
use mainspring_core::queue::{ALL_QUEUES, QueueSettings};
use mainspring_core::rate::Rate;
use mainspring_core::retry::{Backoff, RetryPolicy};
use mainspring_core::schedule::{Misfire, Overlap, ScheduleSpec};
use mainspring_core::time;
use mainspring_core::trigger::Trigger;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The lease of simulated nodes.
pub const LEASE: Duration = Duration::from_secs(15);
/// How long a handler may take.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Processes of every run.
pub const NODES: usize = 5;
/// The rate of the queue `rated`.
pub const RATE: Rate = Rate { count: 5, per: Duration::from_secs(10) };

/// See the module's text.
pub struct Scenario {
    /// Where it comes from.
    pub seed: u64,
    /// Slots of each.
    pub slots: usize,
    /// One store call in so many fails; 0: none.
    pub fault_once_in: u64,
    /// Wall clocks are wrong by up to so many milliseconds.
    pub skew_ms: i64,
    /// Whether wall clocks jump.
    pub jumps: bool,
    /// Settings of queues, never changed during the run.
    pub queues: Queues,
    /// Schedules, put at the start.
    pub schedules: Vec<ScheduleSpec>,
    /// How long the trouble lasts.
    pub trouble: Duration,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn of(seed: u64) -> Scenario {
        let d = Dice::new(seed);
        let mut queues = BTreeMap::from([
            ("narrow".to_owned(), QueueSettings { max_running: Some(2), ..Default::default() }),
            ("keyed".to_owned(), QueueSettings { max_running_per_key: Some(1), ..Default::default() }),
            ("rated".to_owned(), QueueSettings { rate: Some(RATE), ..Default::default() }),
            ("fair".to_owned(), QueueSettings { fair: true, ..Default::default() }),
        ]);
        if d.once_in(3) {
            let limit = QueueSettings { max_running: Some(d.between(3, 8) as u32), ..Default::default() };
            queues.insert(ALL_QUEUES.to_owned(), limit);
        }
        let schedules = (0..d.between(1, 5)).map(|n| schedule(&d, n)).collect();
        Scenario {
            seed,
            slots: d.between(2, 5) as usize,
            fault_once_in: *d.pick(&[0, 20, 100]),
            skew_ms: *d.pick(&[0, 200, 3_000]),
            jumps: d.once_in(3),
            queues: Arc::new(queues),
            schedules,
            trouble: Duration::from_secs(d.between(25, 75) as u64),
        }
    }

    /// Whether all clocks tell the true time: only then do instants written by several nodes prove
    /// anything about rates.
    pub fn clocks_agree(&self) -> bool {
        self.skew_ms == 0 && !self.jumps
    }
}

fn schedule(d: &Dice, n: i64) -> ScheduleSpec {
    let trigger = match d.below(4) {
        0 => Trigger::AfterCompletion { delay: Duration::from_secs(d.between(3, 15) as u64) },
        1 => Trigger::parse("* * * * *").unwrap_or(Trigger::Reboot),
        _ => Trigger::Every { interval: Duration::from_secs(d.between(3, 20) as u64), from: None },
    };
    let mut spec = ScheduleSpec::new(format!("schedule {n}"), trigger, "work");
    spec.misfire = match d.below(3) {
        0 => Misfire::Once,
        1 => Misfire::Skip,
        _ => Misfire::All { cap: 3, window: Duration::from_secs(3600) },
    };
    spec.grace = Duration::from_secs(*d.pick(&[2, 10, 60]));
    spec.overlap = *d.pick(&[Overlap::Allow, Overlap::Skip, Overlap::QueueOne, Overlap::Replace]);
    spec.jitter = Duration::from_secs(*d.pick(&[0, 0, 4]));
    spec.max_fires = d.once_in(5).then_some(4);
    spec.job.queue = Some((*d.pick(&["default", "narrow", "fair"])).into());
    spec.job.payload = serde_json::json!(d.below(1_000_000));
    spec.job.retry = Some(retry(d));
    spec
}

fn retry(d: &Dice) -> RetryPolicy {
    let wait = Duration::from_secs(1);
    let backoff = match d.below(3) {
        0 => Backoff::Fixed(wait),
        1 => Backoff::Steps(vec![wait, 3 * wait]),
        _ => Backoff::Exponential { base: 2 * wait, max: 20 * wait },
    };
    RetryPolicy { max_attempts: d.between(1, 4) as u32, backoff, retry_timeouts: !d.once_in(3) }
}

/// What a client may enqueue at `now`.
pub fn new_job(d: &Dice, now: Timestamp) -> NewJob {
    let kind = if d.once_in(12) { "parent" } else { "work" };
    let queue = *d.pick(&["default", "default", "narrow", "keyed", "rated", "fair"]);
    let payload = Json::trusted(d.below(1_000_000).to_string());
    let mut job = NewJob { queue: queue.into(), retry: retry(d), ..NewJob::new(kind, payload) };
    job.priority = d.between(0, 9) as u8;
    job.key = d.pick_or_none(&["a", "b", "c"]).map(|key| (*key).into());
    job.key_limit = d.once_in(6).then_some(2);
    job.timeout = d.once_in(6).then(|| Duration::from_secs(8));
    if d.once_in(5) {
        job.run_at = Some(time::plus(now, Duration::from_millis(d.below(30_000))));
    }
    if d.once_in(10) {
        job.expires_at = Some(time::plus(now, Duration::from_millis(d.below(40_000))));
    }
    if d.once_in(5) {
        let key = format!("unique {}", d.below(6));
        job.unique = Some(Unique { key, period: None, states: UniqueStates::LIVE });
    }
    job
}
