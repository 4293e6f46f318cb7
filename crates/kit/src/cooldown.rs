//! Cooldowns: who is due, and in which order.
//!
//! A schedule fans out over sources: [`due`] is a pure function that picks the stale ones by a [`Rule`];
//! [`Kit::fan_out`] reads the candidates, asks it, and enqueues one job for each of them that has none
//! living, a bounded number in a pass. What a pass leaves, the next one finds again: nothing is marked.

use crate::source::SourceState;
use crate::subject::SubjectState;
use crate::{Kit, Result};
use jiff::Timestamp;
use mainspring_core::job::{NewJob, Unique, UniqueStates};
use mainspring_core::tables::At;
use mainspring_core::time;
use serde::Deserialize;
use std::time::Duration;

/// The wait after the first failure; it doubles with each further one, up to the cooldown itself.
pub const FIRST_WAIT: Duration = Duration::from_secs(15 * 60);
/// The most jobs of one pass.
pub const PASS: usize = 1000;
/// Candidates that one read brings.
const PAGE: u32 = 2000;

/// A source that may be due.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Candidate {
    /// The source's number.
    pub source: i64,
    /// Its subject.
    pub subject: i64,
    /// What of the subject it brings.
    pub section: String,
    /// How much the subject matters.
    pub rank: i64,
    /// Failures in a row.
    pub failures: u32,
    /// When it was last tried.
    pub last_try: Option<At>,
    /// When it last went well.
    pub last_success: Option<At>,
}

/// How long after a success a source is left alone; None: for ever.
pub trait Rule {
    /// The cooldown of a candidate.
    fn cooldown(&self, candidate: &Candidate) -> Option<Duration>;
}

/// The same for all.
#[derive(Clone, Copy, Debug)]
pub struct Every(pub Duration);

impl Rule for Every {
    fn cooldown(&self, _: &Candidate) -> Option<Duration> {
        Some(self.0)
    }
}

/// By the subject's rank: the first line whose rank is not above the subject's counts, so the lines stand
/// from the highest rank to the lowest. Below the last line: never.
#[derive(Clone, Debug)]
pub struct ByRank(pub Vec<(i64, Duration)>);

impl Rule for ByRank {
    fn cooldown(&self, candidate: &Candidate) -> Option<Duration> {
        self.0.iter().find(|(rank, _)| candidate.rank >= *rank).map(|(_, cooldown)| *cooldown)
    }
}

/// By the source's section. A section without a line: never.
#[derive(Clone, Debug)]
pub struct BySection(pub Vec<(&'static str, Duration)>);

impl Rule for BySection {
    fn cooldown(&self, candidate: &Candidate) -> Option<Duration> {
        self.0.iter().find(|(section, _)| candidate.section == *section).map(|(_, cooldown)| *cooldown)
    }
}

/// From when on a candidate is due; None: never.
///
/// After a success its cooldown must pass. After failures it waits min(cooldown, 15 min x 2^(n - 1)) from
/// the last try: a failing source is neither asked at every pass nor forgotten.
pub fn due_at(rule: &dyn Rule, candidate: &Candidate) -> Option<Timestamp> {
    let cooldown = rule.cooldown(candidate)?;
    let rested = candidate.last_success.map_or(Timestamp::MIN, |at| time::plus(at.0, cooldown));
    if candidate.failures == 0 {
        return Some(rested);
    }
    let wait = FIRST_WAIT.saturating_mul(1 << (candidate.failures - 1).min(20)).min(cooldown);
    Some(candidate.last_try.map_or(rested, |at| time::plus(at.0, wait)))
}

/// Those that are due, in order: the higher rank first, then who waits longest, then by number.
pub fn due(
    now: Timestamp,
    rule: &dyn Rule,
    candidates: impl IntoIterator<Item = Candidate>,
) -> Vec<Candidate> {
    let mut due: Vec<(i64, Timestamp, Candidate)> = candidates
        .into_iter()
        .filter_map(|c| {
            let at = due_at(rule, &c).filter(|at| *at <= now)?;
            Some((-c.rank, at, c))
        })
        .collect();
    due.sort_by_key(|(rank, at, c)| (*rank, *at, c.source));
    due.into_iter().map(|(.., c)| c).collect()
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FanOut {
    /// Jobs that were made.
    pub enqueued: usize,
    /// Due, but with a job that lives already.
    pub living: usize,
    /// Due, and left to a later pass.
    pub left: usize,
    /// Not due yet.
    pub resting: usize,
}

impl Kit {
    /// Enqueues a job for each due source of subjects of `kind`, at most `most` (1,000) in this pass. `job`
    /// makes it; its unique key is set here, so that a source has at most one living job of a kind.
    pub async fn fan_out(
        &self,
        kind: &str,
        rule: &dyn Rule,
        most: usize,
        job: impl Fn(&Candidate) -> NewJob,
    ) -> Result<FanOut> {
        let (mut candidates, mut after) = (Vec::new(), 0);
        loop {
            let page = self.candidates(kind, after).await?;
            let full = page.len() == PAGE as usize;
            after = page.last().map_or(after, |c| c.source);
            candidates.extend(page);
            if !full {
                break;
            }
        }
        let all = candidates.len();
        let due = due(self.now(), rule, candidates);
        let mut done = FanOut { resting: all - due.len(), ..FanOut::default() };
        let most = most.min(PASS);
        let mut rest = due.as_slice();
        // Those that have a living job make no room for others until it ends, so a pass looks on.
        while done.enqueued < most && !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(most - done.enqueued));
            let jobs = now.iter().map(|c| {
                let mut job = job(c);
                let key = format!("{}/{}/{}", self.pack(), job.kind, c.source);
                job.unique = Some(Unique { key, period: None, states: UniqueStates::LIVE });
                job
            });
            for made in self.client().enqueue_many(jobs.collect()).await? {
                if made.duplicate { done.living += 1 } else { done.enqueued += 1 }
            }
            rest = later;
        }
        done.left = rest.len();
        Ok(done)
    }

    async fn candidates(&self, kind: &str, after: i64) -> Result<Vec<Candidate>> {
        let statement = self.own(
            "SELECT o.id AS source, o.subject, o.section, s.rank, o.failures, o.last_try, o.last_success
             FROM kit_sources o JOIN kit_subjects s ON s.id = o.subject
             WHERE o.project = ?1 AND o.pack = ?2 AND s.kind = ?3 AND o.id > ?4
                 AND s.state = ?5 AND o.state IN (?6, ?7)
             ORDER BY o.id LIMIT ?8",
        );
        let statement = statement.bind(kind).bind(after).bind(SubjectState::Active.as_str());
        let statement = statement.bind(SourceState::Active.as_str()).bind(SourceState::Backoff.as_str());
        Ok(self.read(statement.bind(PAGE)).await?.into_typed()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minutes * 60).unwrap()
    }

    fn candidate(
        source: i64,
        rank: i64,
        success: Option<i64>,
        failures: u32,
        tried: Option<i64>,
    ) -> Candidate {
        let (last_success, last_try) = (success.map(|m| At(at(m))), tried.map(|m| At(at(m))));
        Candidate { source, subject: source, section: "a".into(), rank, failures, last_try, last_success }
    }

    #[test]
    fn who_was_never_read_is_due_at_once_and_who_was_read_rests() {
        let rule = Every(HOUR);
        assert_eq!(due_at(&rule, &candidate(1, 0, None, 0, None)), Some(Timestamp::MIN));
        assert_eq!(due_at(&rule, &candidate(1, 0, Some(5), 0, Some(5))), Some(at(65)));
    }

    #[test]
    fn failures_wait_longer_each_time_and_never_longer_than_the_cooldown() {
        let rule = Every(HOUR);
        let after = |failures| due_at(&rule, &candidate(1, 0, None, failures, Some(0)));
        assert_eq!(
            [after(1), after(2), after(3), after(4), after(60)],
            [Some(at(15)), Some(at(30)), Some(at(60)), Some(at(60)), Some(at(60))]
        );
    }

    #[test]
    fn ranks_and_sections_have_their_own_cooldowns() {
        let by_rank = ByRank(vec![(10, HOUR), (5, HOUR * 24)]);
        let of = |rank| by_rank.cooldown(&candidate(1, rank, None, 0, None));
        assert_eq!((of(10), of(9), of(5), of(4)), (Some(HOUR), Some(HOUR * 24), Some(HOUR * 24), None));
        let by_section = BySection(vec![("a", HOUR)]);
        let mut other = candidate(1, 0, None, 0, None);
        assert_eq!(by_section.cooldown(&other), Some(HOUR));
        other.section = "b".into();
        assert_eq!((by_section.cooldown(&other), due_at(&by_section, &other)), (None, None));
    }

    #[test]
    fn the_higher_rank_goes_first_then_who_waits_longest() {
        let all = [
            candidate(1, 0, Some(0), 0, Some(0)),
            candidate(2, 9, Some(30), 0, Some(30)),
            candidate(3, 9, Some(10), 0, Some(10)),
            candidate(4, 0, None, 0, None),
            candidate(5, 9, Some(200), 0, Some(200)),
        ];
        let order: Vec<i64> = due(at(240), &Every(HOUR), all).iter().map(|c| c.source).collect();
        assert_eq!(order, [3, 2, 4, 1]);
    }

    proptest! {
        #[test]
        fn nobody_is_due_within_the_wait_after_a_try(
            success in proptest::option::of(0i64..10_000), failures in 0u32..80, later in 0i64..10_000, cooldown in 1u64..10_000,
        ) {
            let tried = success.unwrap_or(0) + later;
            let rule = Every(Duration::from_secs(cooldown * 60));
            let c = candidate(1, 0, success, failures, Some(tried));
            let due = due_at(&rule, &c).unwrap();
            if failures > 0 {
                let least = 15i64.min(cooldown as i64);
                prop_assert!(due >= at(tried + least), "{due} after a try at {}", at(tried));
                prop_assert!(due <= at(tried + cooldown as i64));
            } else if let Some(success) = success {
                prop_assert_eq!(due, at(success + cooldown as i64));
            }
        }
    }
}
