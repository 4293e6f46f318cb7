//! What is usual, and what is not: statistics that a few wild values do not move.
//!
//! - Quantiles by linear interpolation: type 7 of Hyndman and Fan, "Sample Quantiles in Statistical
//!   Packages", 1996.
//! - Robust z by median and median absolute deviation: Iglewicz and Hoaglin, "How to Detect and Handle
//!   Outliers", 1993: `0.6745 (x - median) / MAD`, unusual beyond 3.5. Where more than half of the values
//!   are the same the MAD is 0: then the distance of the quartiles is the measure, and where that is 0
//!   too, only how far the value lies from the median, against a change the caller calls too much.
//! - The EWMA chart: NIST/SEMATECH e-Handbook of Statistical Methods, 6.3.2.4.
//!
//! Values that are not finite are left out everywhere. The engine's rule on unusual durations counts
//! in buckets of a histogram and has its own few lines in the domain, which may not import this crate.

/// Robust z beyond which a value is unusual (Iglewicz and Hoaglin).
pub const UNUSUAL: f64 = 3.5;
/// The third quartile of the standard normal distribution: what makes a MAD a standard deviation.
const MAD_OF_NORMAL: f64 = 0.6745;
/// The distance of the quartiles of the standard normal distribution.
const IQR_OF_NORMAL: f64 = 1.349;

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The value below which a share of `of` (0 to 1) of the values lie, between two values by linear
/// interpolation. Nothing without values, or where `of` is no share.
///
/// ```
/// assert_eq!(mainspring_analytics::robust::quantile(&[4.0, 1.0, 3.0, 2.0], 0.25), Some(1.75));
/// ```
pub fn quantile(values: &[f64], of: f64) -> Option<f64> {
    quantile_of_sorted(&sorted(values), of)
}

fn quantile_of_sorted(values: &[f64], of: f64) -> Option<f64> {
    if !(0.0..=1.0).contains(&of) {
        return None;
    }
    let at = values.len().checked_sub(1)? as f64 * of;
    let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
    // Written so that two equal neighbours give exactly themselves.
    Some(if low == high { low } else { low * (1.0 - at.fract()) + high * at.fract() })
}

/// The value in the middle; the mean of the two in the middle where there are as many on both sides.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The median of the distances from the median, in the unit of the values.
pub fn mad(values: &[f64]) -> Option<f64> {
    let middle = median(values)?;
    median(&values.iter().map(|v| (v - middle).abs()).collect::<Vec<_>>())
}

/// What was usual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Baseline {
    /// The median, in the unit of the values.
    pub median: f64,
    /// What a distance from it is measured by.
    pub scale: Scale,
}

/// What a distance from the median is measured by, each with its value in the unit of the values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// The median absolute deviation.
    Mad(f64),
    /// The distance of the quartiles, where more than half of the values are the same.
    Iqr(f64),
    /// Nothing: nearly all values are the same, and only a change in their own unit tells.
    Change,
}

/// How far a value is from what was usual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// Robust standard deviations from the median; nothing where there is no scale.
    pub z: Option<f64>,
    /// From the median, in the unit of the values.
    pub change: f64,
    /// Beyond the limit.
    pub unusual: bool,
}

impl Baseline {
    /// What was usual among `values`; nothing without any.
    pub fn of(values: &[f64]) -> Option<Baseline> {
        let values = sorted(values);
        let middle = quantile_of_sorted(&values, 0.5)?;
        let mad = mad(&values)?;
        let iqr = quantile_of_sorted(&values, 0.75)? - quantile_of_sorted(&values, 0.25)?;
        let scale = match (mad, iqr) {
            (mad, _) if mad > 0.0 => Scale::Mad(mad),
            (_, iqr) if iqr > 0.0 => Scale::Iqr(iqr),
            _ => Scale::Change,
        };
        Some(Baseline { median: middle, scale })
    }

    /// How far `value` is from what was usual: unusual beyond a robust z of `limit` ([`UNUSUAL`] is the
    /// textbook's) or, where there is no scale, by a change of more than `most_change`, in the unit of
    /// the values.
    ///
    /// ```
    /// use mainspring_analytics::robust::{Baseline, UNUSUAL};
    ///
    /// let usual = Baseline::of(&[10.0, 11.0, 12.0, 13.0, 14.0]).unwrap(); // median 12, MAD 1
    /// assert!(!usual.judge(17.0, UNUSUAL, 0.0).unusual); // 0.6745 x 5 = 3.37
    /// assert!(usual.judge(18.0, UNUSUAL, 0.0).unusual); // 0.6745 x 6 = 4.05
    /// ```
    pub fn judge(&self, value: f64, limit: f64, most_change: f64) -> Judged {
        let change = value - self.median;
        let z = match self.scale {
            Scale::Mad(mad) => Some(MAD_OF_NORMAL * change / mad),
            Scale::Iqr(iqr) => Some(IQR_OF_NORMAL * change / iqr),
            Scale::Change => None,
        };
        let unusual = z.map_or(change.abs() > most_change, |z| z.abs() > limit);
        Judged { z, change, unusual }
    }
}

/// A chart of exponentially weighted means, which sees a slow drift that no single value shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ewma {
    /// The mean while all is well, in the unit of the values.
    pub target: f64,
    /// The standard deviation while all is well, in the unit of the values.
    pub deviation: f64,
    /// How much the newest value counts, above 0 and at most 1.
    pub lambda: f64,
    /// How many standard deviations of the weighted mean its limits are apart from the target.
    pub width: f64,
}

/// A point of a chart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EwmaPoint {
    /// The weighted mean up to here.
    pub mean: f64,
    /// The lower limit here.
    pub low: f64,
    /// The upper limit here.
    pub high: f64,
}

impl EwmaPoint {
    /// Outside of the limits.
    pub fn is_out(&self) -> bool {
        self.mean < self.low || self.mean > self.high
    }
}

impl Ewma {
    /// A chart with the usual weight of 0.2 and limits of 3 standard deviations.
    pub const fn around(target: f64, deviation: f64) -> Ewma {
        Ewma { target, deviation, lambda: 0.2, width: 3.0 }
    }

    /// A point for each finite value, the oldest first. The limits are those of so many values, not
    /// the wider ones of a chart that has run for ever, so that the first points count too.
    pub fn chart(&self, values: &[f64]) -> Vec<EwmaPoint> {
        let keep = 1.0 - self.lambda;
        let mut mean = self.target;
        let finite = values.iter().filter(|v| v.is_finite());
        let point = |(i, value): (usize, &f64)| {
            mean = self.lambda * value + keep * mean;
            let grown = 1.0 - keep.powf(2.0 * (i as f64 + 1.0));
            let apart = self.width * self.deviation * (self.lambda / (2.0 - self.lambda) * grown).sqrt();
            EwmaPoint { mean, low: self.target - apart, high: self.target + apart }
        };
        finite.enumerate().map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_are_those_of_hyndman_and_fan_type_7() {
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        for (of, value) in [(0.0, 1.0), (0.25, 3.25), (0.5, 5.5), (0.75, 7.75), (0.9, 9.1), (1.0, 10.0)] {
            assert!((quantile(&ten, of).unwrap() - value).abs() < 1e-12, "{of}");
        }
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[1.0], 1.1), None);
        assert_eq!(median(&[f64::NAN, 3.0, f64::INFINITY]), Some(3.0));
    }

    #[test]
    fn mad_is_the_median_of_the_distances() {
        // Median 2; distances 1 1 0 0 2 4 7, whose median is 1.
        assert_eq!(mad(&[1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0]), Some(1.0));
    }

    #[test]
    fn the_measure_falls_back_from_mad_to_quartiles_to_change() {
        let base = |values: &[f64]| Baseline::of(values).unwrap();
        assert_eq!(base(&[1.0, 2.0, 3.0]).scale, Scale::Mad(1.0));
        // Five of eight are the same, the upper quartile is 1.75 above.
        let mostly = base(&[5.0, 5.0, 5.0, 5.0, 5.0, 6.0, 9.0, 12.0]);
        assert_eq!((mostly.median, mostly.scale), (5.0, Scale::Iqr(1.75)));
        let judged = mostly.judge(10.0, UNUSUAL, 0.0);
        assert!((judged.z.unwrap() - 1.349 * 5.0 / 1.75).abs() < 1e-12 && judged.unusual);
        let same = base(&[7.0; 20]);
        assert_eq!(same.scale, Scale::Change);
        assert_eq!(same.judge(7.4, UNUSUAL, 0.5), Judged { z: None, change: 7.4 - 7.0, unusual: false });
        assert!(same.judge(6.0, UNUSUAL, 0.5).unusual);
    }

    /// The values, means and limits printed in the handbook.
    #[test]
    fn the_chart_is_that_of_the_nist_handbook() {
        let values = [
            52.0, 47.0, 53.0, 49.3, 50.1, 47.0, 51.0, 50.1, 51.2, 50.5, 49.6, 47.6, 49.9, 51.3, 47.8, 51.2,
            52.6, 52.4, 53.6, 52.1,
        ];
        let means = [
            50.60, 49.52, 50.56, 50.18, 50.16, 49.21, 49.75, 49.85, 50.26, 50.33, 50.11, 49.36, 49.52, 50.05,
            49.38, 49.92, 50.73, 51.23, 51.94, 51.99,
        ];
        let chart = Ewma { lambda: 0.3, ..Ewma::around(50.0, 2.0539) }.chart(&values);
        for (point, mean) in chart.iter().zip(means) {
            assert!((point.mean - mean).abs() < 0.006, "{} {mean}", point.mean);
            assert!(!point.is_out());
        }
        let last = chart.last().unwrap();
        assert!((last.high - 52.5884).abs() < 1e-3 && (last.low - 47.4115).abs() < 1e-3);
        // The first point's limits are narrower: 3 x 2.0539 x 0.3.
        assert!((chart[0].high - 51.84851).abs() < 1e-9);
    }

    #[test]
    fn a_slow_drift_leaves_the_chart_though_no_value_is_wild() {
        let drift: Vec<f64> = (0..30).map(|i| 10.0 + f64::from(i) * 0.07).collect();
        let usual = Baseline::of(&[9.0, 9.5, 10.0, 10.5, 11.0]).unwrap();
        assert!(drift.iter().all(|v| !usual.judge(*v, UNUSUAL, 0.0).unusual));
        assert!(Ewma::around(10.0, 1.0).chart(&drift).iter().any(EwmaPoint::is_out));
    }

    proptest! {
        #[test]
        fn less_than_half_of_wild_values_cannot_carry_the_median_away(
            mut values in prop::collection::vec(0.0..100.0f64, 3..40), wild in 0.0..0.49f64,
        ) {
            let n = (values.len() as f64 * wild) as usize;
            values[..n].fill(1e9);
            prop_assert!(median(&values).unwrap() <= 100.0);
        }

        #[test]
        fn quantiles_rise_and_stay_within(values in prop::collection::vec(-1e6..1e6f64, 1..40), a in 0.0..=1.0f64, b in 0.0..=1.0f64) {
            let (low, high) = (quantile(&values, a.min(b)).unwrap(), quantile(&values, a.max(b)).unwrap());
            prop_assert!(low <= high + 1e-6);
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(low >= least - 1e-6 && high <= most + 1e-6);
        }

        #[test]
        fn a_shift_and_a_stretch_change_no_judgement(values in prop::collection::vec(0i32..50, 5..30), x in 0i32..200) {
            // Whole numbers, and a stretch by a power of two: exact in floating point.
            let plain: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
            let moved: Vec<f64> = plain.iter().map(|v| v * 4.0 + 1024.0).collect();
            let here = Baseline::of(&plain).unwrap().judge(f64::from(x), UNUSUAL, 3.0);
            let there = Baseline::of(&moved).unwrap().judge(f64::from(x) * 4.0 + 1024.0, UNUSUAL, 12.0);
            prop_assert_eq!(here.unusual, there.unusual);
        }
    }
}
