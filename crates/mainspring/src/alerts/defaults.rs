//! The rules a new project begins with: what everybody would have wanted to be told. They are told in
//! the dashboard alone until somebody gives them channels, and can be changed and deleted like others.

use super::records::RuleSpec;
use crate::notify::Severity;
use mainspring_core::alert::{Condition, Over, Rule, Target};
use mainspring_core::ids::ProjectId;
use std::time::Duration;

/// Names and rules. Nodes belong to no project; the first one tells of them.
pub(super) fn rules(project: ProjectId) -> Vec<(&'static str, RuleSpec)> {
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let of = Target::each(Over::Schedules);
    let mut rules = vec![
        (
            "A schedule keeps failing",
            RuleSpec {
                severity: Severity::Critical,
                ..RuleSpec::new(Rule::new(Condition::Failures { of, in_a_row: 3 }))
            },
        ),
        (
            "A schedule did not start",
            RuleSpec {
                severity: Severity::Critical,
                ..RuleSpec::new(Rule::new(Condition::Late { schedule: None, by: minutes(10) }))
            },
        ),
        (
            "Jobs wait too long",
            RuleSpec::new(Rule {
                breaches: 2,
                of_looks: 2,
                ..Rule::new(Condition::Waiting { queue: None, longer_than: minutes(15) })
            }),
        ),
        (
            "A heartbeat is silent",
            RuleSpec {
                severity: Severity::Critical,
                ..RuleSpec::new(Rule::new(Condition::Silent { heartbeat: None }))
            },
        ),
    ];
    if project == ProjectId::DEFAULT {
        let lost = Rule::new(Condition::NodeLost { node: None });
        rules.push(("A node went silent", RuleSpec::new(lost)));
    }
    rules
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_first_rules_can_be_used() {
        let rules = super::rules(mainspring_core::ProjectId::DEFAULT);
        for (name, spec) in &rules {
            super::super::records::check_name(name).unwrap();
            assert_eq!(spec.check(), Ok(()), "{name}");
        }
        assert_eq!(rules.len(), 5);
        assert_eq!(super::rules(mainspring_core::ProjectId(2)).len(), 4);
    }
}
