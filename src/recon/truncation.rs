//! Is the sample wider than the detector?
//!
//! ```text
//! e = 90th percentile over the projections of the mean of the outer columns (1/64 of all), the larger of both sides
//! s = 90th percentile of all absorption of the row
//! truncated where e > s / 10 in one row of those that are looked at
//! ```
//!
//! A truncated row has no absolute scale: what lies outside adds an unknown smooth offset to what is inside. Rows whose s
//! is not above the noise of air, measured as the half width of their lower half, tell nothing.

/// Part of the columns that is the edge.
const EDGE: usize = 64;
/// Part of the projections, and of the values, that is below the percentile.
const PERCENTILE: f64 = 0.9;
/// e above this part of s is sample.
const SHARE: f32 = 0.1;

/// Which edges of the detector matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edges {
    /// Both.
    Both,
    /// The one farther from the axis: half acquisition cuts the sample at the other.
    Left,
    /// Likewise.
    Right,
}

/// Whether an absorption sinogram `[angle][column]` is cut by the detector's edges.
pub fn is_truncated(sinogram: &[f32], columns: usize, edges: Edges) -> bool {
    let width = (columns / EDGE).max(1);
    let side = |first: usize| -> f32 {
        let means = sinogram
            .chunks_exact(columns)
            .map(|row| row[first..first + width].iter().sum::<f32>() / width as f32)
            .collect();
        percentile(means, PERCENTILE)
    };
    let [left, right] = [side(0), side(columns - width)];
    let edge = match edges {
        Edges::Both => left.max(right),
        Edges::Left => left,
        Edges::Right => right,
    };
    let values: Vec<f32> = sinogram.iter().copied().filter(|v| v.is_finite()).collect();
    if values.is_empty() {
        return false;
    }
    let [low, middle, high] = [0.05, 0.5, PERCENTILE].map(|p| percentile(values.clone(), p));
    // Noise of air: a row of nothing but air has all percentiles within it.
    high > 2.0 * (middle - low).min(middle.abs() + high) * f32::from(u8::from(low < 0.0)) && edge > SHARE * high
}

/// The value below which a part `p` of the values lies.
fn percentile(mut values: Vec<f32>, p: f64) -> f32 {
    let place = ((values.len() - 1) as f64 * p) as usize;
    *values.select_nth_unstable_by(place, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::philox::Stream;

    /// A disc of radius `r` about the middle, in noise.
    fn row(columns: usize, r: f64, noise: f64) -> Vec<f32> {
        let random = Stream::new(1, 1);
        (0..60 * columns)
            .map(|i| {
                let s = (i % columns) as f64 - columns as f64 / 2.0;
                let chord = 2.0 * (r * r - s * s).max(0.0).sqrt();
                (0.005 * chord + noise * random.normal(i as u64)) as f32
            })
            .collect()
    }

    #[test]
    fn a_wide_sample_is_told_from_a_narrow_one() {
        for noise in [0.0, 0.02] {
            for columns in [40, 200, 640] {
                let n = columns as f64;
                assert!(!is_truncated(&row(columns, 0.45 * n, noise), columns, Edges::Both), "{columns} {noise}");
                assert!(is_truncated(&row(columns, 0.7 * n, noise), columns, Edges::Both), "{columns} {noise}");
            }
        }
        assert!(!is_truncated(&row(100, 0.0, 0.02), 100, Edges::Both), "nothing but air");
        assert!(!is_truncated(&[f32::NAN; 100], 10, Edges::Both));
        assert!(!is_truncated(&[0.0; 3], 1, Edges::Both));
    }

    #[test]
    fn one_side_may_be_asked() {
        let columns = 120;
        let shifted: Vec<f32> = (0..50 * columns).map(|i| if i % columns > 60 { 1.0 } else { 0.0 }).collect();
        assert!(is_truncated(&shifted, columns, Edges::Right) && !is_truncated(&shifted, columns, Edges::Left));
    }
}
