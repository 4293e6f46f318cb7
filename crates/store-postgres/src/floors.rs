//! Where a drain goes on.
//!
//! A claim takes the first rows of a route's index, so behind a fast drain the index begins with
//! entries of rows that are gone: thousands after a second, all of them while an old snapshot keeps
//! them from being cleaned up. While claims of this process follow each other and come back full,
//! each begins where the last one ended. A job that gets a place before that is seen at once when
//! this process gives it, and within [`VALID`] when another does; nothing is out of sight longer, and
//! a claim that does not come back full says that there may be more.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

/// How long a floor holds, in microseconds of the callers' time.
const VALID: i64 = 50_000;
/// Claims smaller than this begin at the beginning: they are not a drain.
const DRAIN: usize = 100;

/// The place each route's last full claim ended at, and when the index was last read from its start.
#[derive(Default)]
pub(crate) struct Floors(Mutex<HashMap<i32, (i64, i64)>>);

impl Floors {
    /// The places before which a claim at `now` need not look, by route.
    pub fn at(&self, now: i64) -> BTreeMap<i32, i64> {
        let floors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |since: i64| (0..VALID).contains(&(now - since));
        floors.iter().filter(|(_, f)| holds(f.1)).map(|(route, f)| (*route, f.0)).collect()
    }

    /// Every claim begins at the beginning again.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A claim of `n` out of `want` from one route, begun at `from`, ended with place `last`.
    pub fn ended(&self, route: i32, now: i64, from: i64, (n, want): (usize, usize), last: i64) {
        let mut floors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if n < DRAIN || n < want {
            floors.remove(&route);
        } else if from == i64::MIN {
            floors.insert(route, (last, now));
        } else if let Some(floor) = floors.get_mut(&route) {
            // Unless somebody has got a place before it meanwhile.
            floor.0 = floor.0.max(last);
        }
    }

    /// A job of a route gets this place.
    pub fn placed(&self, route: i32, ord: i64) {
        let mut floors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if floors.get(&route).is_some_and(|(floor, _)| ord < *floor) {
            floors.remove(&route);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(floors: &Floors, now: i64) -> i64 {
        floors.at(now).get(&1).copied().unwrap_or(i64::MIN)
    }

    #[test]
    fn a_floor_holds_for_a_drain_only_and_not_for_long() {
        let floors = Floors::default();
        floors.ended(1, 1_000, i64::MIN, (5, 5), 70);
        assert_eq!(of(&floors, 1_001), i64::MIN, "a small claim is no drain");
        floors.ended(1, 1_000, i64::MIN, (500, 500), 70);
        assert_eq!(of(&floors, 1_001), 70);
        floors.ended(1, 1_002, 70, (500, 500), 90);
        assert_eq!(of(&floors, 1_003), 90);
        assert_eq!(of(&floors, 1_000 + VALID), i64::MIN, "counted from the last look at the start");
        assert_eq!(of(&floors, 999), i64::MIN, "a clock that was set back");
        floors.ended(1, 1_003, 90, (400, 500), 99);
        assert_eq!(of(&floors, 1_004), i64::MIN, "what was not full begins at the beginning");
    }

    #[test]
    fn a_place_before_the_floor_takes_it_away() {
        let floors = Floors::default();
        floors.ended(1, 1_000, i64::MIN, (500, 500), 70);
        floors.placed(1, 71);
        floors.placed(2, 1);
        assert_eq!(of(&floors, 1_001), 70);
        floors.placed(1, 69);
        assert_eq!(of(&floors, 1_001), i64::MIN);
        floors.ended(1, 1_002, 70, (500, 500), 90);
        assert_eq!(of(&floors, 1_003), i64::MIN, "a claim that was under way does not bring it back");
    }
}
