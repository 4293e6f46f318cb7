//! A line through published points.
//!
//! Every part of a score is such a line: whoever wonders why 3 days without a commit cost so much
//! can be shown the points instead of a formula. Outside of its first and last point the line is
//! flat. It does not extrapolate, and it has no other shape on purpose.

/// A line through points, flat outside of them.
///
/// ```
/// use mainspring_analytics::piecewise::Line;
///
/// const SHARE_IN_TIME: Line = Line::of(&[(0.5, 0.0), (0.8, 50.0), (1.0, 100.0)]);
/// assert_eq!(SHARE_IN_TIME.at(0.9), Some(75.0));
/// assert_eq!(SHARE_IN_TIME.at(0.2), Some(0.0));
/// assert_eq!(SHARE_IN_TIME.at(f64::NAN), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    knots: &'static [(f64, f64)],
}

impl Line {
    /// A line through `knots`, (x, y) in rising order of x.
    ///
    /// # Panics
    /// When compiled (it is meant for constants): without a knot, or where x does not rise.
    pub const fn of(knots: &'static [(f64, f64)]) -> Line {
        assert!(!knots.is_empty(), "a line has at least one knot");
        let mut i = 1;
        while i < knots.len() {
            assert!(knots[i - 1].0 < knots[i].0, "the knots of a line rise in x");
            i += 1;
        }
        Line { knots }
    }

    /// The points, to be shown beside what was made with them.
    pub const fn knots(&self) -> &'static [(f64, f64)] {
        self.knots
    }

    /// The line's y at x; nothing where x is not a number.
    pub fn at(&self, x: f64) -> Option<f64> {
        if x.is_nan() {
            return None;
        }
        let next = self.knots.partition_point(|(knot, _)| *knot <= x);
        let y = match (next.checked_sub(1).map(|i| self.knots[i]), self.knots.get(next).copied()) {
            (None, Some((_, y))) | (Some((_, y)), None) => y,
            (Some((x0, y0)), Some((x1, y1))) => y0 + (y1 - y0) * ((x - x0) / (x1 - x0)),
            (None, None) => return None,
        };
        Some(y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FALLING: Line = Line::of(&[(0.0, 100.0), (1.0, 80.0), (2.0, 40.0), (4.0, 10.0), (10.0, 0.0)]);

    #[test]
    fn a_line_meets_its_knots_and_is_straight_between_them() {
        for (x, y) in FALLING.knots() {
            assert_eq!(FALLING.at(*x), Some(*y));
        }
        assert_eq!(FALLING.at(0.5), Some(90.0));
        assert_eq!(FALLING.at(3.0), Some(25.0));
        assert_eq!(FALLING.at(-1.0), Some(100.0));
        assert_eq!(FALLING.at(f64::INFINITY), Some(0.0));
        assert_eq!(Line::of(&[(3.0, 7.0)]).at(-9.0), Some(7.0));
    }

    proptest! {
        #[test]
        fn a_line_stays_between_its_knots_and_keeps_their_order(a in -20.0..20.0f64, b in -20.0..20.0f64) {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            let (left, right) = (FALLING.at(low).unwrap(), FALLING.at(high).unwrap());
            prop_assert!(left >= right, "falling knots, falling line");
            prop_assert!((0.0..=100.0).contains(&left) && (0.0..=100.0).contains(&right));
        }
    }
}
