//! The judge: from what a rule saw, look by look, to what fires and what recovers.

use super::reading::Reading;
use super::rule::{Condition, Rule};
use crate::limits;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a rule remembers of one subject between looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SubjectState {
    /// What was last seen.
    #[serde(default)]
    pub value: f64,
    /// The last looks, the newest as the lowest bit: 1 for breached.
    #[serde(default)]
    pub marks: u64,
}

/// What a rule remembers between looks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleState {
    /// Those of whom there is something to remember.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub subjects: BTreeMap<String, SubjectState>,
    /// What fires: by the alert's subject (empty when one alert stands for all).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub firing: BTreeSet<String>,
    /// When an alert last fired, in minutes since the epoch; kept as long as it cools down.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fired: BTreeMap<String, i64>,
}

/// What changed at a look.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An alert fires.
    Fired {
        /// Whom it is about; empty when it stands for all.
        subject: String,
        /// Those who are breached now, with what was seen.
        breached: Vec<(String, f64)>,
    },
    /// An alert is over.
    Recovered {
        /// As it fired.
        subject: String,
    },
}

/// Judges one look: moves the state on and says what changed, fired before recovered, by subject, at
/// most [`limits::ALERT_CHANGES`] of each (the rest follows at the next looks). A look must come after
/// all looks judged before.
pub fn judge(rule: &Rule, state: &mut RuleState, readings: &[Reading], look: i64) -> Vec<Change> {
    remember(rule, state, readings);
    let breached: BTreeMap<&str, f64> = state
        .subjects
        .iter()
        .filter(|(_, s)| s.marks.count_ones() >= rule.breaches)
        .map(|(name, s)| (name.as_str(), s.value))
        .collect();
    // What should fire, by the alert's subject.
    let wanted: BTreeMap<String, Vec<(String, f64)>> = match rule.together {
        true if breached.is_empty() => BTreeMap::new(),
        true => [(String::new(), breached.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect())].into(),
        false => breached.iter().map(|(n, v)| ((*n).to_owned(), vec![((*n).to_owned(), *v)])).collect(),
    };
    let cool_down = (rule.cool_down.as_secs() / 60) as i64;
    state.fired.retain(|subject, at| look - *at < cool_down || state.firing.contains(subject));
    let mut changes = Vec::new();
    for (subject, breached) in &wanted {
        if changes.len() >= limits::ALERT_CHANGES {
            break;
        }
        let cooling = state.fired.get(subject).is_some_and(|at| look - at < cool_down);
        if !cooling && state.firing.insert(subject.clone()) {
            if cool_down > 0 {
                state.fired.insert(subject.clone(), look);
            }
            changes.push(Change::Fired { subject: subject.clone(), breached: breached.clone() });
        }
    }
    let over: Vec<String> = state.firing.iter().filter(|s| !wanted.contains_key(*s)).cloned().collect();
    for subject in over.into_iter().take(limits::ALERT_CHANGES) {
        state.firing.remove(&subject);
        changes.push(Change::Recovered { subject });
    }
    let counts_on = matches!(rule.condition, Condition::Failures { .. });
    state.subjects.retain(|_, s| s.marks != 0 || counts_on && s.value != 0.0);
    changes
}

/// Takes the readings in: a mark for each subject, also for those of whom nothing was seen.
fn remember(rule: &Rule, state: &mut RuleState, readings: &[Reading]) {
    let mask = if rule.of_looks >= 64 { u64::MAX } else { (1u64 << rule.of_looks) - 1 };
    let seen: BTreeSet<&str> = readings.iter().map(|r| r.subject.as_str()).collect();
    let holds = rule.condition.holds_while_unseen();
    for (name, subject) in &mut state.subjects {
        if !seen.contains(name.as_str()) {
            let mark = u64::from(holds && subject.marks & 1 == 1);
            subject.marks = (subject.marks << 1 | mark) & mask;
            if !holds {
                subject.value = 0.0;
            }
        }
    }
    for reading in readings {
        if state.subjects.len() >= limits::ALERT_SUBJECTS && !state.subjects.contains_key(&reading.subject) {
            continue;
        }
        let subject = state.subjects.entry(reading.subject.clone()).or_default();
        subject.marks = (subject.marks << 1 | u64::from(reading.breached)) & mask;
        subject.value = reading.value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Over, Target};
    use proptest::prelude::*;
    use std::time::Duration;

    fn rule() -> Rule {
        Rule::new(Condition::Failures { of: Target::each(Over::Kinds), in_a_row: 1 })
    }

    fn seen(subject: &str, breached: bool) -> Reading {
        Reading { subject: subject.into(), value: f64::from(u8::from(breached)), breached }
    }

    fn fired(changes: &[Change]) -> Vec<String> {
        let words = changes.iter().map(|c| match c {
            Change::Fired { subject, .. } => format!("+{subject}"),
            Change::Recovered { subject } => format!("-{subject}"),
        });
        words.collect()
    }

    /// What fires at each look of one subject: `+` fired, `-` recovered, `.` nothing.
    fn run(rule: &Rule, marks: &str) -> String {
        let mut state = RuleState::default();
        let look = |(at, mark): (usize, char)| {
            let readings: Vec<Reading> = (mark != '_').then(|| seen("a", mark == 'x')).into_iter().collect();
            let changes = judge(rule, &mut state, &readings, at as i64);
            assert!(changes.len() <= 1);
            fired(&changes).first().map_or('.', |c| c.chars().next().unwrap())
        };
        marks.chars().enumerate().map(look).collect()
    }

    #[test]
    fn an_alert_fires_once_and_recovers_once() {
        assert_eq!(run(&rule(), "..xxx..x."), "..+..-.+-");
    }

    #[test]
    fn n_of_m_looks_must_be_breached() {
        let two_of_three = Rule { breaches: 2, of_looks: 3, ..rule() };
        assert_eq!(run(&two_of_three, "x..x.x..x."), ".....+-...");
        let three_of_three = Rule { breaches: 3, of_looks: 3, ..rule() };
        assert_eq!(run(&three_of_three, "xx.xxx.x"), ".....+-.");
    }

    #[test]
    fn nothing_seen_holds_what_was_or_says_that_all_is_well() {
        assert_eq!(run(&rule(), "x__.__"), "+..-..");
        let of = Target::each(Over::Kinds);
        let rate = Condition::FailureRate { of, above: 1.0, over: Duration::from_secs(60), at_least: 1 };
        assert_eq!(run(&Rule::new(rate), "x__.__"), "+-....");
    }

    #[test]
    fn what_cools_down_does_not_fire_again_too_soon() {
        let cool = Rule { cool_down: Duration::from_secs(300), ..rule() };
        // Fired at 0: not again before 5, though it was breached at 2 and 3.
        assert_eq!(run(&cool, "x.xx.x.x"), "+-...+-.");
        assert_eq!(run(&cool, "x.xxxxxx"), "+-...+..");
    }

    #[test]
    fn together_one_alert_stands_for_all() {
        let together = Rule { together: true, ..rule() };
        let mut state = RuleState::default();
        let changes = judge(&together, &mut state, &[seen("a", true), seen("b", true)], 1);
        let breached = vec![("a".to_owned(), 1.0), ("b".to_owned(), 1.0)];
        assert_eq!(changes, [Change::Fired { subject: String::new(), breached }]);
        assert!(judge(&together, &mut state, &[seen("a", false)], 2).is_empty());
        assert!(judge(&together, &mut state, &[seen("a", true)], 3).is_empty());
        let over = judge(&together, &mut state, &[seen("a", false), seen("b", false)], 4);
        assert_eq!(fired(&over), ["-"]);
        assert_eq!(state, RuleState::default(), "nothing is left to remember");
    }

    proptest! {
        /// Fired and recovered take turns, what fires is breached, and the state stays small.
        #[test]
        fn whatever_is_seen_alerts_take_turns(
            m in 1u32..=8, n in 1u32..=8, cool in 0u64..20, together: bool,
            looks in prop::collection::vec(prop::collection::vec((0u8..4, any::<bool>()), 0..4), 1..80),
        ) {
            let (n, cool_down) = (n.min(m), Duration::from_secs(60 * cool));
            let rule = Rule { breaches: n, of_looks: m, cool_down, together, ..rule() };
            let mut state = RuleState::default();
            let mut open: BTreeMap<String, i64> = BTreeMap::new();
            let mut last: BTreeMap<String, i64> = BTreeMap::new();
            for (at, look) in looks.iter().enumerate() {
                let at = at as i64;
                let readings: BTreeMap<u8, bool> = look.iter().copied().collect();
                let readings: Vec<Reading> = readings.iter().map(|(s, b)| seen(&s.to_string(), *b)).collect();
                for change in judge(&rule, &mut state, &readings, at) {
                    match change {
                        Change::Fired { subject, breached } => {
                            prop_assert!(!breached.is_empty());
                            prop_assert!(open.insert(subject.clone(), at).is_none());
                            if let Some(before) = last.insert(subject, at) {
                                prop_assert!(at - before >= cool as i64);
                            }
                        }
                        Change::Recovered { subject } => prop_assert!(open.remove(&subject).is_some()),
                    }
                }
                prop_assert_eq!(open.keys().collect::<Vec<_>>(), state.firing.iter().collect::<Vec<_>>());
                prop_assert!(state.subjects.len() <= 4);
                let text = serde_json::to_string(&state).unwrap();
                prop_assert_eq!(serde_json::from_str::<RuleState>(&text).unwrap(), state.clone());
            }
            // When all is well for long enough nothing fires and nothing is remembered.
            for at in 0..30 {
                let well: Vec<Reading> = (0..4).map(|s| seen(&s.to_string(), false)).collect();
                judge(&rule, &mut state, &well, looks.len() as i64 + at);
            }
            prop_assert_eq!(state, RuleState::default());
        }
    }
}
