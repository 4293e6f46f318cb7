//! How sure a count makes us: intervals for shares and rates, and many tests at once.
//!
//! - A share: the score interval of Wilson, "Probable Inference, the Law of Succession, and Statistical
//!   Inference", 1927, without correction for continuity.
//! - The difference of two shares: method 10 of Newcombe, "Interval Estimation for the Difference between
//!   Independent Proportions", 1998, made of two Wilson intervals.
//! - A count of rare events: the exact interval of Garwood, "Fiducial Limits for the Poisson
//!   Distribution", 1936, found by halving on the incomplete gamma function instead of by a table.
//! - Many tests at once: Benjamini and Hochberg, "Controlling the False Discovery Rate", 1995.
//!
//! A level is the probability that the interval holds the truth, for example 0.95. A level that is none
//! (not between 0 and 1) gives the interval of everything possible, never a panic.

/// The level of nearly every page.
pub const LEVEL: f64 = 0.95;

/// From where to where the truth may lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The Wilson interval of a share, 0 to 1, after `hits` of `of`; everything where nothing was tried.
/// More hits than tries count as all.
///
/// ```
/// let share = mainspring_analytics::intervals::wilson(81, 263, 0.95);
/// assert!((share.low - 0.2553).abs() < 5e-5 && (share.high - 0.3662).abs() < 5e-5);
/// ```
pub fn wilson(hits: u64, of: u64, level: f64) -> Interval {
    let Some(z) = deviations(level).filter(|_| of > 0) else { return Interval { low: 0.0, high: 1.0 } };
    let (hits, n) = (hits.min(of) as f64, of as f64);
    let share = hits / n;
    let middle = share + z * z / (2.0 * n);
    let apart = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + z * z / n;
    // The ends are exact there; rounding must not leave a share of -1e-17.
    let low = if hits == 0.0 { 0.0 } else { ((middle - apart) / whole).clamp(0.0, share) };
    let high = if hits == n { 1.0 } else { ((middle + apart) / whole).clamp(share, 1.0) };
    Interval { low, high }
}

/// The interval of how much larger the first share is than the second, -1 to 1, each as (hits, of).
///
/// ```
/// let more = mainspring_analytics::intervals::newcombe((56, 70), (48, 80), 0.95);
/// assert!((more.low - 0.0524).abs() < 5e-5 && (more.high - 0.3339).abs() < 5e-5);
/// ```
pub fn newcombe(first: (u64, u64), second: (u64, u64), level: f64) -> Interval {
    if first.1 == 0 || second.1 == 0 {
        return Interval { low: -1.0, high: 1.0 };
    }
    let share = |(hits, of): (u64, u64)| hits.min(of) as f64 / of as f64;
    let (a, b) = (share(first), share(second));
    let (of_a, of_b) = (wilson(first.0, first.1, level), wilson(second.0, second.1, level));
    let low = (a - of_a.low).hypot(of_b.high - b);
    let high = (of_a.high - a).hypot(b - of_b.low);
    Interval { low: (a - b - low).max(-1.0), high: (a - b + high).min(1.0) }
}

/// The exact interval of the mean number of events, where `events` were counted. It holds the truth at
/// least as often as the level says.
///
/// ```
/// let a_week = mainspring_analytics::intervals::poisson(10, 0.95);
/// assert!((a_week.low - 4.7954).abs() < 5e-5 && (a_week.high - 18.3904).abs() < 5e-5);
/// ```
pub fn poisson(events: u64, level: f64) -> Interval {
    if !(0.0..1.0).contains(&level) {
        return Interval { low: 0.0, high: f64::INFINITY };
    }
    let tail = (1.0 - level) / 2.0;
    let n = events as f64;
    // So many events or more have this probability where the mean is x: P(n, x), which rises in x.
    let low = if events == 0 { 0.0 } else { solve(tail, n + 1.0, |x| gamma_p(n, x)) };
    let high = solve(1.0 - tail, n + 1.0, |x| gamma_p(n + 1.0, x));
    Interval { low, high }
}

/// For each p-value its adjusted one, in the same order: the least rate of false discoveries at which
/// it would count as one. What is not a number counts as 1.
///
/// ```
/// use mainspring_analytics::intervals::benjamini_hochberg;
///
/// let adjusted = benjamini_hochberg(&[0.01, 0.04, 0.03, 0.005]);
/// assert_eq!(adjusted, [0.02, 0.04, 0.04, 0.02]);
/// ```
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let p: Vec<f64> = p.iter().map(|p| if p.is_nan() { 1.0 } else { p.clamp(0.0, 1.0) }).collect();
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*b].total_cmp(&p[*a]));
    let mut adjusted = vec![1.0; p.len()];
    let mut least = 1.0_f64;
    for (before, i) in order.into_iter().enumerate() {
        let rank = (p.len() - before) as f64;
        // Rounding must not leave an adjusted value below its own.
        least = least.min((p[i] * p.len() as f64 / rank).max(p[i]));
        adjusted[i] = least;
    }
    adjusted
}

/// The standard deviations of a normal distribution within which `level` of it lies.
fn deviations(level: f64) -> Option<f64> {
    // Within z lies P(1/2, z²/2) of it.
    (level > 0.0 && level < 1.0).then(|| solve(level, 1.0, |z| gamma_p(0.5, z * z / 2.0)))
}

/// The x at which a function that rises from 0 to 1 passes `target`, by doubling and halving.
fn solve(target: f64, start: f64, f: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, start);
    for _ in 0..1_000 {
        if f(high) >= target {
            break;
        }
        low = high;
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if f(middle) < target {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The regularised lower incomplete gamma function P(a, x), by its series below a + 1 and by its
/// continued fraction (after Lentz) above: Abramowitz and Stegun, 6.5.29 and 6.5.31.
fn gamma_p(a: f64, x: f64) -> f64 {
    // Both forms settle within some sqrt(a) steps.
    let steps = 200 + (20.0 * a.sqrt()) as usize;
    if x <= 0.0 {
        return 0.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for i in 1..steps {
            term *= x / (a + i as f64);
            sum += term;
            if term < sum * 1e-17 {
                break;
            }
        }
        return (front * sum).min(1.0);
    }
    let mut b = x + 1.0 - a;
    let mut c = f64::MAX;
    let mut d = 1.0 / b;
    let mut fraction = d;
    for i in 1..steps {
        let n = i as f64;
        let step = -n * (n - a);
        b += 2.0;
        d = 1.0 / (step * d + b);
        c = b + step / c;
        fraction *= c * d;
        if (c * d - 1.0).abs() < 1e-16 {
            break;
        }
    }
    (1.0 - front * fraction).clamp(0.0, 1.0)
}

/// The logarithm of the gamma function for x > 0, by Stirling's series (Abramowitz and Stegun, 6.1.41)
/// where that is exact enough, and by the recurrence below.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut product) = (x, 1.0);
    while x < 15.0 {
        product *= x;
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series = (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - f64::ln(product)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(found: Interval, low: f64, high: f64) {
        assert!(
            (found.low - low).abs() < 5.1e-5 && (found.high - high).abs() < 5.1e-5,
            "{found:?} {low} {high}"
        );
    }

    /// The examples of Newcombe's paper on a single proportion, method 3.
    #[test]
    fn wilson_gives_the_published_intervals() {
        close(wilson(81, 263, LEVEL), 0.2553, 0.3662);
        close(wilson(15, 148, LEVEL), 0.0624, 0.1605);
        close(wilson(0, 20, LEVEL), 0.0, 0.1611);
        close(wilson(1, 29, LEVEL), 0.0061, 0.1718);
        close(wilson(0, 0, LEVEL), 0.0, 1.0);
        close(wilson(9, 5, LEVEL), wilson(5, 5, LEVEL).low, 1.0);
        close(wilson(1, 2, 7.0), 0.0, 1.0);
    }

    /// The examples of Newcombe's paper on differences, method 10.
    #[test]
    fn newcombe_gives_the_published_intervals() {
        close(newcombe((56, 70), (48, 80), LEVEL), 0.0524, 0.3339);
        close(newcombe((9, 10), (3, 10), LEVEL), 0.1705, 0.8090);
        close(newcombe((6, 7), (2, 7), LEVEL), 0.0582, 0.8062);
        close(newcombe((5, 56), (0, 29), LEVEL), -0.0381, 0.1926);
        close(newcombe((0, 10), (0, 20), LEVEL), -0.1611, 0.2775);
        close(newcombe((0, 0), (1, 2), LEVEL), -1.0, 1.0);
    }

    /// Half the quantiles of chi-squared, as every table of Garwood's limits has them.
    #[test]
    fn poisson_gives_the_published_limits() {
        let known = [
            (0, 0.0, 3.6889),
            (1, 0.0253, 5.5716),
            (2, 0.2422, 7.2247),
            (3, 0.6187, 8.7673),
            (5, 1.6235, 11.6683),
            (10, 4.7954, 18.3904),
            (20, 12.2165, 30.8884),
            (100, 81.3640, 121.6268),
        ];
        for (n, low, high) in known {
            close(poisson(n, LEVEL), low, high);
        }
        // 0 events: the upper end is -ln(0.025), exactly.
        assert!((poisson(0, LEVEL).high + 0.025_f64.ln()).abs() < 1e-12);
        assert_eq!(poisson(3, 1.0), Interval { low: 0.0, high: f64::INFINITY });
    }

    /// The fifteen p-values of the paper's example: at 0.05 the four smallest are discoveries.
    #[test]
    fn benjamini_and_hochberg_find_the_four_of_their_example() {
        let p = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719,
            0.6528, 0.7590, 1.0,
        ];
        let found = benjamini_hochberg(&p);
        assert_eq!(found.iter().filter(|p| **p <= 0.05).count(), 4);
        assert!((found[3] - 0.0095 * 15.0 / 4.0).abs() < 1e-12);
        assert_eq!(benjamini_hochberg(&[f64::NAN]), [1.0]);
        assert_eq!(benjamini_hochberg(&[]), Vec::<f64>::new());
    }

    #[test]
    fn the_functions_beneath_are_those_of_the_tables() {
        for (level, z) in [(0.90, 1.644_853_627), (0.95, 1.959_963_985), (0.99, 2.575_829_304)] {
            assert!((deviations(level).unwrap() - z).abs() < 1e-8);
        }
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-13);
        assert!((ln_gamma(11.0) - 3_628_800_f64.ln()).abs() < 1e-12);
        assert!((gamma_p(1.0, 2.0) - (1.0 - (-2.0_f64).exp())).abs() < 1e-14);
        assert!((gamma_p(2.0, 9.0) - (1.0 - 10.0 * (-9.0_f64).exp())).abs() < 1e-14);
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_share_and_narrows_with_more_tries(hits in 0u64..1000, more in 0u64..1000) {
            let of = hits + more + 1;
            let (share, few, many) = (hits as f64 / of as f64, wilson(hits, of, LEVEL), wilson(hits * 10, of * 10, LEVEL));
            prop_assert!(0.0 <= few.low && few.low <= share && share <= few.high && few.high <= 1.0);
            prop_assert!(many.high - many.low < few.high - few.low);
            // What is hit seen from the other side.
            let missed = wilson(of - hits, of, LEVEL);
            prop_assert!((missed.low - (1.0 - few.high)).abs() < 1e-9);
        }

        #[test]
        fn a_difference_changes_its_sign_with_its_sides(a in 0u64..50, b in 0u64..50, n in 50u64..90, m in 50u64..90) {
            let (here, there) = (newcombe((a, n), (b, m), LEVEL), newcombe((b, m), (a, n), LEVEL));
            prop_assert!((here.low + there.high).abs() < 1e-12 && (here.high + there.low).abs() < 1e-12);
        }

        #[test]
        fn garwoods_ends_leave_each_tail_its_share(n in 1u64..3000, level in 0.5..0.999f64) {
            let found = poisson(n, level);
            // Summed term by term: at the lower end n or more, at the upper end n or fewer.
            let up_to = |k: u64, mean: f64| (0..=k).map(|i| {
                (i as f64 * mean.ln() - mean - ln_gamma(i as f64 + 1.0)).exp()
            }).sum::<f64>();
            let tail = (1.0 - level) / 2.0;
            prop_assert!((1.0 - up_to(n - 1, found.low) - tail).abs() < 1e-8);
            prop_assert!((up_to(n, found.high) - tail).abs() < 1e-8);
        }

        #[test]
        fn adjusted_values_keep_the_order_and_never_fall(p in prop::collection::vec(0.0..=1.0f64, 1..30)) {
            let adjusted = benjamini_hochberg(&p);
            for (i, a) in adjusted.iter().enumerate() {
                prop_assert!(*a >= p[i] && *a <= 1.0);
                prop_assert!(adjusted.iter().zip(&p).all(|(b, q)| q < &p[i] || b >= a));
            }
        }
    }
}
