//! The health of a project, 0 to 100: five questions about its facts, each answered by a line through
//! published points, weighed by [`crate::score`].
//!
//! | part | weight | asks |
//! |---|---|---|
//! | bugs | 30 | open critical and high ones, against what is usual here |
//! | sla | 20 | the share that was kept in time, 28 days |
//! | flow | 20 | the median time of a pull request, against what is usual here; pull requests gone stale |
//! | activity | 15 | days since the last commit; commits of a week, against what is usual here |
//! | ci | 15 | the share of runs on the default branch that succeeded, 14 days |
//!
//! A fact that is not known is left out: that lowers the coverage, never the score. The points and the
//! weights are our judgement, not science: they are published so that they can be argued with, and
//! [`MODEL`] changes with them, so that scores of two models are never compared. The bug line falls all
//! the way to ten times the usual, so that each bug that is fixed shows. It rates projects, never people.

use serde::{Deserialize, Serialize};

use crate::piecewise::Line;
use crate::score::{Part, Score, weigh};

/// The name and version of this model, to be stored with each score.
pub const MODEL: &str = "project-health/1";

/// Open bugs that count here, against the usual: 1 is as usual.
pub const BUGS: Line = Line::of(&[(0.0, 100.0), (1.0, 80.0), (2.0, 40.0), (4.0, 10.0), (10.0, 0.0)]);
/// The share kept in time.
pub const SLA: Line = Line::of(&[(0.5, 0.0), (0.8, 50.0), (0.95, 90.0), (1.0, 100.0)]);
/// The median time of a pull request, against the usual: 1 is as usual.
pub const CYCLE: Line = Line::of(&[(0.5, 100.0), (1.0, 85.0), (2.0, 40.0), (4.0, 0.0)]);
/// The share of open pull requests that went stale.
pub const STALE: Line = Line::of(&[(0.0, 100.0), (0.25, 60.0), (0.5, 20.0), (1.0, 0.0)]);
/// Days since the last commit.
pub const QUIET: Line = Line::of(&[(1.0, 100.0), (7.0, 80.0), (30.0, 30.0), (90.0, 0.0)]);
/// Commits of the last week, against the usual: 1 is as usual.
pub const COMMITS: Line = Line::of(&[(0.0, 0.0), (0.5, 60.0), (1.0, 100.0)]);
/// The share of runs on the default branch that succeeded.
pub const CI: Line = Line::of(&[(0.5, 0.0), (0.8, 50.0), (0.95, 90.0), (1.0, 100.0)]);

/// What is known of a project. Nothing where it is not known, which is something else than 0.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Facts {
    /// Open critical and high bugs, see [`bug_load`].
    pub bug_load: Option<f64>,
    /// The median of that over the last 90 days.
    pub usual_bug_load: Option<f64>,
    /// The share of service levels kept in time, 28 days, 0 to 1.
    pub sla_kept: Option<f64>,
    /// The median time from open to merged, in any unit, of the last weeks.
    pub cycle: Option<f64>,
    /// The same over 90 days, in the same unit.
    pub usual_cycle: Option<f64>,
    /// The share of open pull requests without activity for more than 14 days, 0 to 1.
    pub stale_pulls: Option<f64>,
    /// Days since the last commit on the default branch.
    pub days_quiet: Option<f64>,
    /// Commits of the last seven days.
    pub commits: Option<f64>,
    /// The median of weekly commits over the last 90 days.
    pub usual_commits: Option<f64>,
    /// The share of runs on the default branch that succeeded, 14 days, 0 to 1.
    pub ci_green: Option<f64>,
}

/// What open bugs weigh: a critical one as much as three that are high.
pub fn bug_load(critical: u32, high: u32) -> f64 {
    f64::from(critical) * 3.0 + f64::from(high)
}

/// How a project is, by its score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    /// 75 and more.
    Healthy,
    /// 50 and more.
    Warning,
    /// Less than 50.
    Critical,
}

impl Band {
    /// The band of a score: by its exact value, not by the rounded one that is shown.
    pub fn of(score: &Score) -> Band {
        match score.raw {
            75_000.. => Band::Healthy,
            50_000.. => Band::Warning,
            _ => Band::Critical,
        }
    }
}

/// The score of a project; nothing where nothing is known.
///
/// ```
/// use mainspring_analytics::health::{Band, Facts, health};
///
/// let facts = Facts { sla_kept: Some(0.8), ci_green: Some(1.0), ..Facts::default() };
/// let score = health(&facts).unwrap();
/// // 50 x 20/35 + 100 x 15/35, known of 35 of 100 points of weight
/// assert_eq!((score.raw, score.coverage, Band::of(&score)), (71_429, 350, Band::Warning));
/// ```
pub fn health(facts: &Facts) -> Option<Score> {
    let cycle = against(facts.cycle, facts.usual_cycle, 0.0).and_then(|x| CYCLE.at(x));
    let stale = facts.stale_pulls.and_then(|x| STALE.at(x));
    let quiet = facts.days_quiet.and_then(|x| QUIET.at(x));
    let commits = against(facts.commits, facts.usual_commits, 0.0).and_then(|x| COMMITS.at(x));
    let part = |name, weight, points| Part { name, weight, points };
    weigh(&[
        // A project that usually has none at all does not fall to 0 with its first bug.
        part("bugs", 30, against(facts.bug_load, facts.usual_bug_load, 1.0).and_then(|x| BUGS.at(x))),
        part("sla", 20, facts.sla_kept.and_then(|x| SLA.at(x))),
        part("flow", 20, both(&[part("cycle", 2, cycle), part("stale", 1, stale)])),
        part("activity", 15, both(&[part("quiet", 1, quiet), part("commits", 1, commits)])),
        part("ci", 15, facts.ci_green.and_then(|x| CI.at(x))),
    ])
}

/// How many times the usual; nothing where the usual is 0, of which there are no times.
fn against(now: Option<f64>, usual: Option<f64>, least: f64) -> Option<f64> {
    let usual = usual?.max(least);
    (usual > 0.0).then_some(now? / usual)
}

fn both(parts: &[Part]) -> Option<f64> {
    weigh(parts).map(|score| score.raw as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::Because;
    use proptest::prelude::*;

    fn well() -> Facts {
        Facts {
            bug_load: Some(bug_load(0, 2)),
            usual_bug_load: Some(2.0),
            sla_kept: Some(0.95),
            cycle: Some(20.0),
            usual_cycle: Some(20.0),
            stale_pulls: Some(0.0),
            days_quiet: Some(0.5),
            commits: Some(30.0),
            usual_commits: Some(25.0),
            ci_green: Some(0.95),
        }
    }

    #[test]
    fn a_project_as_usual_is_worked_out_by_hand() {
        let score = health(&well()).unwrap();
        // bugs 80; sla 90; flow (2 x 85 + 100) / 3 = 90; activity 100; ci 90
        let given: Vec<_> = score.contributions.iter().map(|c| (&*c.name, c.given)).collect();
        let by_hand =
            [("bugs", 24_000), ("sla", 18_000), ("flow", 18_000), ("activity", 15_000), ("ci", 13_500)];
        assert_eq!(given, by_hand);
        assert_eq!((score.raw, score.coverage, score.value()), (88_500, 1_000, 89));
        assert_eq!(Band::of(&score), Band::Healthy);
    }

    #[test]
    fn a_project_gone_bad_says_why() {
        let before = health(&well()).unwrap();
        let bad = Facts { bug_load: Some(bug_load(3, 3)), ci_green: Some(0.4), ..well() };
        let after = health(&bad).unwrap();
        // Six times the usual: 10 - 10 x 2/6 = 6.667 points, of which 30 % are 2.0; ci gives nothing.
        assert_eq!((after.raw, Band::of(&after)), (53_000, Band::Warning));
        let why: Vec<_> =
            after.moved_since(&before).into_iter().map(|m| (m.name, m.change, m.because)).collect();
        let expected = [("bugs".into(), -22_000, Because::Points), ("ci".into(), -13_500, Because::Points)];
        assert_eq!(why, expected);
    }

    #[test]
    fn a_project_that_never_had_a_bug_survives_its_first() {
        let first = Facts { bug_load: Some(1.0), usual_bug_load: Some(0.0), ..well() };
        assert_eq!(health(&first), health(&well()));
        let no_commits_usually = Facts { commits: Some(0.0), usual_commits: Some(0.0), ..well() };
        assert_eq!(health(&no_commits_usually).unwrap().contributions[3].points, Some(100_000));
        assert_eq!(health(&Facts::default()), None);
    }

    proptest! {
        #[test]
        fn each_bug_that_is_fixed_shows(load in 1u32..20) {
            let of = |load: u32| health(&Facts { bug_load: Some(f64::from(load)), ..well() }).unwrap().raw;
            prop_assert!(of(load - 1) > of(load));
        }

        #[test]
        fn less_knowledge_only_lowers_the_coverage(sla in 0.0..=1.0f64, ci in 0.0..=1.0f64) {
            let facts = Facts { sla_kept: Some(sla), ci_green: Some(ci), ..Facts::default() };
            let less = health(&Facts { ci_green: None, ..facts }).unwrap();
            let more = health(&facts).unwrap();
            prop_assert!(less.coverage < more.coverage);
            prop_assert_eq!(Some(less.raw), less.contributions[1].points);
        }
    }
}
