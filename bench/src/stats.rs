//! Medians, spreads and slopes. Pure functions.

use serde::Serialize;

/// Median and range of the samples of all rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// The middle sample, or the mean of the two middle ones.
    pub(crate) median: f64,
    /// The smallest sample.
    pub(crate) min: f64,
    /// The largest sample.
    pub(crate) max: f64,
}

impl Spread {
    /// Computes the spread of `samples`; `None` if there are none.
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, min, max })
    }
}

/// Computes the least-squares slope of `points` in y per x; `None` unless two of them differ in x.
pub(crate) fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = count(points.len());
    let mean_x = points.iter().map(|point| point.0).sum::<f64>() / count;
    let mean_y = points.iter().map(|point| point.1).sum::<f64>() / count;
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in points {
        above += (x - mean_x) * (y - mean_y);
        below += (x - mean_x).powi(2);
    }
    (below > 0.0).then(|| above / below)
}

/// Converts a count to `f64`.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(crate) fn count(things: impl TryInto<u64>) -> f64 {
    things.try_into().unwrap_or(u64::MAX) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: Option<f64>, wanted: f64) -> bool {
        found.is_some_and(|found| (found - wanted).abs() < 1e-9)
    }

    #[test]
    fn the_median_is_the_middle_however_the_rounds_came() {
        let spread = Spread::of(&[30.0, 10.0, 20.0]).expect("samples");
        assert_eq!(
            [spread.median, spread.min, spread.max].map(f64::to_bits),
            [20.0, 10.0, 30.0].map(f64::to_bits)
        );
        assert!(near(Spread::of(&[4.0, 1.0]).map(|spread| spread.median), 2.5));
        assert!(near(Spread::of(&[7.0]).map(|spread| spread.median), 7.0));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_slope_is_that_of_the_nearest_line() {
        assert!(near(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), 2.0));
        assert!(near(slope(&[(0.0, 5.0), (10.0, 5.0)]), 0.0));
        // by hand: means 1.5 and 2.5, 5 over 5
        assert!(near(
            slope(&[(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0)]),
            1.0
        ));
        assert!(near(slope(&[(0.0, 0.0), (1.0, 0.0), (2.0, 3.0)]), 1.5));
    }

    #[test]
    fn one_point_has_no_slope() {
        assert_eq!(slope(&[]), None);
        assert_eq!(slope(&[(1.0, 1.0)]), None);
        assert_eq!(slope(&[(1.0, 1.0), (1.0, 2.0)]), None);
    }
}
