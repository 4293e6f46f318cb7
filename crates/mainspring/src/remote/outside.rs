//! What one process knows of workers outside: who came to its desk and what they last said they hold,
//! and the bell that wakes claims that wait.

use jiff::Timestamp;
use mainspring_core::ids::{JobId, NodeId};
use mainspring_core::node::NodeInfo;
use mainspring_core::time;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Workers remembered; beyond it those go that were silent for longest.
const SEATS: usize = 4_000;
/// A seat nobody has used for so long is free.
const IDLE: Duration = Duration::from_secs(3_600);

/// See the module's text.
pub struct Outside {
    bell: watch::Sender<u64>,
    /// Wakes the overseer.
    pub(crate) arrived: Notify,
    seats: Mutex<HashMap<NodeId, Seat>>,
}

/// What is known of one worker.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) kinds: Vec<Arc<str>>,
    pub(crate) queues: Vec<Arc<str>>,
    /// What it said it holds, and when.
    holds: Option<(Timestamp, BTreeSet<(JobId, u32)>)>,
    used: Timestamp,
}

impl Seat {
    pub(crate) fn of(info: &NodeInfo) -> Seat {
        let names = |list: &[String]| list.iter().map(|name| name.as_str().into()).collect();
        Seat {
            kinds: names(&info.kinds),
            queues: names(&info.queues),
            holds: None,
            used: Timestamp::UNIX_EPOCH,
        }
    }
}

impl Default for Outside {
    fn default() -> Self {
        Outside { bell: watch::Sender::new(0), arrived: Notify::new(), seats: Mutex::default() }
    }
}

impl Outside {
    fn seats(&self) -> MutexGuard<'_, HashMap<NodeId, Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Jobs may have become available: every waiting claim may look once more.
    pub fn ring(&self) {
        self.bell.send_modify(|n| *n += 1);
    }

    pub(crate) fn listen(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    pub(crate) fn arrived(&self) {
        self.arrived.notify_one();
    }

    pub(crate) fn sit(&self, node: NodeId, seat: Seat, now: Timestamp) {
        let mut seats = self.seats();
        if seats.len() >= SEATS {
            let since = time::minus(now, IDLE);
            seats.retain(|_, seat| seat.used > since);
            if seats.len() >= SEATS {
                // They are found again in the store.
                seats.clear();
            }
        }
        seats.insert(node, Seat { used: now, ..seat });
    }

    pub(crate) fn seat(&self, node: NodeId, now: Timestamp) -> Option<Seat> {
        let mut seats = self.seats();
        let seat = seats.get_mut(&node)?;
        seat.used = now;
        Some(seat.clone())
    }

    pub(crate) fn gone(&self, node: NodeId) {
        self.seats().remove(&node);
    }

    pub(crate) fn holds(&self, node: NodeId, held: BTreeSet<(JobId, u32)>, now: Timestamp) {
        if let Some(seat) = self.seats().get_mut(&node) {
            seat.holds = Some((now, held));
            seat.used = now;
        }
    }

    /// Whether the worker has said, later than `patience` after the claim, what it holds, and this was
    /// not among it: the answer to its claim was lost on the way.
    pub(crate) fn never_arrived(
        &self,
        node: NodeId,
        attempt: (JobId, u32),
        claimed: Timestamp,
        patience: Duration,
    ) -> bool {
        let seats = self.seats();
        let said = seats.get(&node).and_then(|seat| seat.holds.as_ref());
        said.is_some_and(|(at, held)| *at > time::plus(claimed, patience) && !held.contains(&attempt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_never_arrived_only_if_the_worker_says_so_late_enough() {
        let at = |s: i64| time::from_micros(s * time::SECOND);
        let (outside, node, lease) = (Outside::default(), NodeId(7), Duration::from_secs(15));
        let attempt = (JobId(1), 1);
        let lost = || outside.never_arrived(node, attempt, at(0), lease);
        assert!(!lost(), "nobody knows the worker here");
        let info = NodeInfo {
            id: node,
            name: "w".into(),
            pid: 0,
            version: String::new(),
            slots: 1,
            queues: vec![],
            kinds: vec![],
            tz_version: String::new(),
        };
        outside.sit(node, Seat::of(&info), at(0));
        assert!(!lost(), "it has said nothing");
        outside.holds(node, BTreeSet::new(), at(10));
        assert!(!lost(), "the answer may be under way");
        outside.holds(node, BTreeSet::from([attempt]), at(20));
        assert!(!lost(), "it holds it");
        outside.holds(node, BTreeSet::new(), at(20));
        assert!(lost());
    }
}
