//! A score that adds up: what each part gave is kept beside the sum.
//!
//! Parts have weights. A part without data takes no part: the weights of the others are blown up so
//! that they fill the whole, and the share of the weight that had data is the **coverage**. So
//! missing data makes a score less certain and never worse.
//!
//! All is counted in thousandths of a point, as integers: what is shown adds up exactly to what is
//! shown as the sum (rests are dealt out to the largest ones, as seats are by Hamilton's method), and
//! the same facts give the same bits on every machine. This does not know what a part means; see
//! [`crate::health`] for one that does.

use serde::{Deserialize, Serialize};

/// A hundred points, in thousandths.
pub const FULL: i64 = 100_000;

/// What a part is worth before it is weighed.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its name: what two scores are compared by, so each name stands once.
    pub name: &'static str,
    /// Its weight among the others; 0 leaves it out.
    pub weight: u32,
    /// 0 to 100, or nothing where there is no data. What lies outside is cut; what is not a number
    /// is no data.
    pub points: Option<f64>,
}

/// A score with what it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// Thousandths of a point, 0 to [`FULL`]; exactly the sum of the contributions.
    pub raw: i64,
    /// The share of the weight that had data, in thousandths: 1,000 is all of it.
    pub coverage: u32,
    /// What each part gave, in the order of the parts, those without data too.
    pub contributions: Vec<Contribution>,
}

/// What one part gave to a score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contribution {
    /// The part.
    pub name: String,
    /// Its weight among the others, as it was given.
    pub weight: u32,
    /// Its own points in thousandths, 0 to [`FULL`]; nothing without data.
    pub points: Option<i64>,
    /// The thousandths of a point it gave to the sum.
    pub given: i64,
    /// The most it could have given.
    pub most: i64,
}

/// How much one part moved a score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The part.
    pub name: String,
    /// Thousandths of a point: what it gives now less what it gave before.
    pub change: i64,
    /// Why it gives more or less.
    pub because: Because,
}

/// Why a part gives more or less than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// Its own points moved.
    Points,
    /// Its points are the same, its share of the whole is not: other parts gained or lost their data.
    Share,
    /// It had no data before.
    Appeared,
    /// It has no data any more.
    Vanished,
}

/// Weighs the parts; nothing where none of them has data.
///
/// ```
/// use mainspring_analytics::score::{Part, weigh};
///
/// let part = |name, weight, points| Part { name, weight, points };
/// let score = weigh(&[part("bugs", 30, Some(50.0)), part("sla", 20, None), part("ci", 10, Some(80.0))]).unwrap();
/// assert_eq!(score.raw, 57_500); // 50 x 30/40 + 80 x 10/40
/// assert_eq!(score.coverage, 666); // 40 of 60
/// assert_eq!(score.contributions.iter().map(|c| c.given).collect::<Vec<_>>(), [37_500, 0, 20_000]);
/// ```
pub fn weigh(parts: &[Part]) -> Option<Score> {
    let all: i64 = parts.iter().map(|part| i64::from(part.weight)).sum();
    let points: Vec<Option<i64>> = parts.iter().map(thousandths).collect();
    let weight = |(part, points): (&Part, &Option<i64>)| points.map_or(0, |_| i64::from(part.weight));
    let weights: Vec<i64> = parts.iter().zip(&points).map(weight).collect();
    let whole: i64 = weights.iter().sum();
    if whole == 0 {
        return None;
    }
    let earned: Vec<i64> = points.iter().zip(&weights).map(|(p, w)| p.unwrap_or(0) * w).collect();
    let possible: Vec<i64> = weights.iter().map(|w| FULL * w).collect();
    let (given, most) = (deal_out(&earned, whole), deal_out(&possible, whole));
    let contribution = |(i, part): (usize, &Part)| Contribution {
        name: part.name.to_owned(),
        weight: part.weight,
        points: points[i],
        given: given[i],
        most: most[i],
    };
    Some(Score {
        raw: given.iter().sum(),
        coverage: (whole * 1_000 / all) as u32,
        contributions: parts.iter().enumerate().map(contribution).collect(),
    })
}

impl Score {
    /// Points as people read them, 0 to 100, rounded to one.
    pub fn value(&self) -> u8 {
        ((self.raw + 500) / 1_000).clamp(0, 100) as u8
    }

    /// Why this score is not what it was: the parts that moved it, the largest move first. The moves
    /// sum exactly to the difference of the two.
    pub fn moved_since(&self, before: &Score) -> Vec<Move> {
        let names = |score: &Score| score.contributions.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        let gone = names(before).into_iter().filter(|name| self.of(name).is_none());
        let mut moves: Vec<Move> =
            names(self).into_iter().chain(gone).filter_map(|name| self.moved(before, name)).collect();
        moves.sort_by_key(|m| std::cmp::Reverse(m.change.abs()));
        moves
    }

    fn moved(&self, before: &Score, name: String) -> Option<Move> {
        let (now, then) = (self.of(&name), before.of(&name));
        let change = now.map_or(0, |c| c.given) - then.map_or(0, |c| c.given);
        let points = |c: Option<&Contribution>| c.and_then(|c| c.points);
        let because = match (points(then), points(now)) {
            (None, Some(_)) => Because::Appeared,
            (Some(_), None) => Because::Vanished,
            (then, now) if then != now => Because::Points,
            _ => Because::Share,
        };
        (change != 0).then_some(Move { name, change, because })
    }

    fn of(&self, name: &str) -> Option<&Contribution> {
        self.contributions.iter().find(|c| c.name == name)
    }
}

fn thousandths(part: &Part) -> Option<i64> {
    let points = part.points.filter(|points| !points.is_nan())?;
    Some((points.clamp(0.0, 100.0) * 1_000.0).round() as i64)
}

/// `numerators / whole`, each rounded so that all of them sum to the rounded sum.
fn deal_out(numerators: &[i64], whole: i64) -> Vec<i64> {
    let sum = (numerators.iter().sum::<i64>() + whole / 2) / whole;
    let mut dealt: Vec<i64> = numerators.iter().map(|n| n / whole).collect();
    let short = sum - dealt.iter().sum::<i64>();
    let mut by_rest: Vec<usize> = (0..numerators.len()).collect();
    by_rest.sort_by_key(|i| std::cmp::Reverse(numerators[*i] % whole));
    for i in by_rest.into_iter().take(usize::try_from(short).unwrap_or(0)) {
        dealt[i] += 1;
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(name: &'static str, weight: u32, points: Option<f64>) -> Part {
        Part { name, weight, points }
    }

    #[test]
    fn thirds_add_up() {
        // 100/3 three times is 33,333 and a third: one of them gets the thousandth that is over.
        let thirds = [part("a", 1, Some(100.0)), part("b", 1, Some(100.0)), part("c", 1, Some(100.0))];
        let score = weigh(&thirds).unwrap();
        assert_eq!(score.raw, 100_000);
        assert_eq!(score.contributions.iter().map(|c| c.given).collect::<Vec<_>>(), [33_334, 33_333, 33_333]);
    }

    #[test]
    fn missing_data_lowers_the_coverage_and_not_the_score() {
        let full = weigh(&[part("a", 30, Some(80.0)), part("b", 70, Some(80.0))]).unwrap();
        let half = weigh(&[part("a", 30, Some(80.0)), part("b", 70, None)]).unwrap();
        assert_eq!((full.raw, full.coverage), (80_000, 1_000));
        assert_eq!((half.raw, half.coverage), (80_000, 300));
        assert_eq!(weigh(&[part("a", 30, None), part("b", 70, Some(f64::NAN))]), None);
        assert_eq!(weigh(&[]), None);
    }

    #[test]
    fn what_moved_it_is_named_the_largest_first() {
        let before = weigh(&[part("bugs", 50, Some(90.0)), part("ci", 50, Some(60.0))]).unwrap();
        let after = weigh(&[part("bugs", 50, Some(20.0)), part("ci", 50, Some(70.0))]).unwrap();
        let moves = after.moved_since(&before);
        let expected = [("bugs", -35_000, Because::Points), ("ci", 5_000, Because::Points)];
        assert_eq!(moves.iter().map(|m| (&*m.name, m.change, m.because)).collect::<Vec<_>>(), expected);

        let blind = weigh(&[part("bugs", 50, None), part("ci", 50, Some(60.0))]).unwrap();
        let moves = blind.moved_since(&before);
        let expected = [("bugs", -45_000, Because::Vanished), ("ci", 30_000, Because::Share)];
        assert_eq!(moves.iter().map(|m| (&*m.name, m.change, m.because)).collect::<Vec<_>>(), expected);
        assert_eq!(before.moved_since(&blind)[0].because, Because::Appeared);
    }

    fn parts() -> impl Strategy<Value = Vec<Part>> {
        const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
        let one = (0u32..100, prop::option::of(-10.0..110.0f64));
        prop::collection::vec(one, 1..6).prop_map(|of| {
            of.into_iter().zip(NAMES).map(|((weight, points), name)| part(name, weight, points)).collect()
        })
    }

    proptest! {
        #[test]
        fn contributions_sum_to_the_score(parts in parts()) {
            if let Some(score) = weigh(&parts) {
                prop_assert_eq!(score.contributions.iter().map(|c| c.given).sum::<i64>(), score.raw);
                prop_assert_eq!(score.contributions.iter().map(|c| c.most).sum::<i64>(), FULL);
                prop_assert!((0..=FULL).contains(&score.raw) && score.coverage <= 1_000);
                prop_assert!(score.contributions.iter().all(|c| c.given >= 0 && c.given <= c.most + 1));
                // The exact mean, to half a thousandth and what the points were rounded by.
                let with = |p: &&Part| p.points.is_some();
                let weight: f64 = parts.iter().filter(with).map(|p| f64::from(p.weight)).sum();
                let mean: f64 = parts.iter().filter(with)
                    .map(|p| f64::from(p.weight) * p.points.unwrap().clamp(0.0, 100.0) / weight).sum();
                prop_assert!((mean * 1_000.0 - score.raw as f64).abs() <= 1.001, "{} {}", mean, score.raw);
            }
        }

        #[test]
        fn moves_sum_to_the_difference(before in parts(), after in parts()) {
            if let (Some(before), Some(after)) = (weigh(&before), weigh(&after)) {
                let moves = after.moved_since(&before);
                prop_assert_eq!(moves.iter().map(|m| m.change).sum::<i64>(), after.raw - before.raw);
            }
        }
    }
}
