//! A line through the axes of many rows: where the axis is, how it is tilted, and how well both are known.
//!
//! ```text
//! c(row) = c₀ + t (row − row₀)          row₀ the mean of the rows that count
//! ```
//!
//! The slope starts as the median of all slopes between two rows (Theil, Sen), the position as the median of what is left;
//! rows farther off than 3.5 deviations (1.4826 medians of the absolute residual, or a quarter of a pixel, whichever is
//! more) do not count; least squares over the others. With σ² = Σ r² / (k − 2), not less than that of a step of a quarter
//! pixel, σ² = 1/192, the standard errors are σ/√k of c₀ and σ/√(Σ (row − row₀)²) of t.

use crate::num::sum::median;

/// The line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// row₀.
    pub row: f64,
    /// c₀, pixels.
    pub position: f64,
    /// t, pixels per row.
    pub tilt: f64,
    /// Standard errors of position and tilt.
    pub errors: [f64; 2],
    /// σ, pixels.
    pub scatter: f64,
    /// Which of the rows count.
    pub used: Vec<bool>,
}

impl Line {
    /// c(row).
    pub fn at(&self, row: f64) -> f64 {
        self.position + self.tilt * (row - self.row)
    }
}

/// Deviations beyond which a row does not count.
const FAR: f64 = 3.5;
/// Least deviation, pixels.
const LEAST: f64 = 0.25;
/// Median absolute residual of a normal distribution, inverted.
const MAD: f64 = 1.4826;
/// Variance of a value that is a multiple of a quarter.
const STEP_VARIANCE: f64 = 1.0 / 192.0;

/// Fits (row, axis) pairs. `None` if fewer than three of them agree.
pub fn fit(points: &[(f64, f64)]) -> Option<Line> {
    let slopes: Vec<f64> = points
        .iter()
        .enumerate()
        .flat_map(|(i, a)| points[..i].iter().filter(|b| b.0 != a.0).map(|b| (a.1 - b.1) / (a.0 - b.0)))
        .collect();
    if points.len() < 3 || slopes.is_empty() {
        return None;
    }
    let slope = median(slopes);
    let start = median(points.iter().map(|p| p.1 - slope * p.0).collect());
    let residual = |p: &(f64, f64)| (p.1 - start - slope * p.0).abs();
    let deviation = (MAD * median(points.iter().map(residual).collect())).max(LEAST);
    let used: Vec<bool> = points.iter().map(|p| residual(p) <= FAR * deviation).collect();
    let kept: Vec<&(f64, f64)> = points.iter().zip(&used).filter(|(_, u)| **u).map(|(p, _)| p).collect();
    let k = kept.len() as f64;
    // Most rows tell one axis, or nothing is known.
    if kept.len() < 3 || 2 * kept.len() <= points.len() {
        return None;
    }
    let row = kept.iter().map(|p| p.0).sum::<f64>() / k;
    let position = kept.iter().map(|p| p.1).sum::<f64>() / k;
    let spread: f64 = kept.iter().map(|p| (p.0 - row) * (p.0 - row)).sum();
    let tilt = kept.iter().map(|p| (p.0 - row) * (p.1 - position)).sum::<f64>() / spread;
    let off = |p: &(f64, f64)| p.1 - position - tilt * (p.0 - row);
    let squares: f64 = kept.iter().map(|p| off(p) * off(p)).sum();
    let scatter = (squares / (k - 2.0)).max(STEP_VARIANCE).sqrt();
    let errors = [scatter / k.sqrt(), scatter / spread.sqrt()];
    Some(Line { row, position, tilt, errors, scatter, used })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::philox::Stream;

    #[test]
    fn outliers_do_not_count_and_the_truth_lies_within_the_errors() {
        let random = Stream::new(2, 2);
        let mut covered = 0;
        for trial in 0..200u64 {
            let points: Vec<(f64, f64)> = (0..9u64)
                .map(|i| {
                    let row = 20.0 * i as f64;
                    let noise = 0.2 * random.normal(trial * 16 + i);
                    (row, if i == 4 { 27.0 } else { 85.5 + 0.003 * row + noise })
                })
                .collect();
            let line = fit(&points).unwrap();
            assert!(!line.used[4] && line.used.iter().filter(|u| !**u).count() <= 2, "{line:?}");
            let truth = 85.5 + 0.003 * line.row;
            let within = |off: f64, error: f64| off.abs() < 2.4 * error;
            covered +=
                u32::from(within(line.position - truth, line.errors[0]) && within(line.tilt - 0.003, line.errors[1]));
        }
        // Two t-distributed values with six degrees of freedom, 2.4 errors each: 90 % of the cases.
        assert!(covered > 160, "{covered} of 200");
    }

    #[test]
    fn rows_that_disagree_tell_nothing() {
        assert_eq!(fit(&[(0.0, 1.0), (1.0, 1.0)]), None);
        assert_eq!(fit(&[(5.0, 1.0); 4]), None);
        let exact = fit(&[(0.0, 10.0), (10.0, 11.0), (20.0, 12.0), (30.0, 13.0)]).unwrap();
        assert!((exact.tilt - 0.1).abs() < 1e-12 && (exact.at(0.0) - 10.0).abs() < 1e-12);
    }
}
