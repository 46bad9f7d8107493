//! The axis from opposite views: P(θ + 180°) is P(θ) mirrored about the axis.
//!
//! ```text
//! B(x) = P(θ + 180°)(n − 1 − x)          A(x) = P(θ)(x) = B(x + n − 1 − 2c)
//! ncc(d) = Σ (A(x) − Ā)(B(x + d) − B̄) / √(Σ (A − Ā)² Σ (B − B̄)²)      over the x that both have, all rows
//! c = (n − 1 − d) / 2 at the greatest ncc, between pixels by a parabola through three values
//! ```
//!
//! Means are those of the overlap. Several pairs are averaged: their median counts. The search covers all axes for which
//! at least an eighth of the columns overlap, so that it finds the axis of a half acquisition near the detector's edge,
//! too. For n columns and r rows a pair costs about r n² products.

use crate::error::{Error, Result};
use rayon::prelude::*;

/// Least part of the columns that opposite views share.
const LEAST_OVERLAP: usize = 8;
/// Correlation below this is chance.
const BELIEVABLE: f64 = 0.5;

/// Two opposite views, `[row][column]`.
pub struct Pair<'a> {
    /// P(θ).
    pub front: &'a [f32],
    /// P(θ + 180°).
    pub back: &'a [f32],
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Correlated {
    /// The axis as a pixel index.
    pub axis: f64,
    /// Its correlation.
    pub quality: f64,
    /// Half of the distance between the quartiles of the pairs, pixels.
    pub spread: f64,
}

/// Finds the axis from `pairs` of absorption, of `columns` columns.
///
/// # Errors
/// Data: no pair, no believable correlation, or a best one at the end of the search.
pub fn correlate(pairs: &[Pair], columns: usize) -> Result<Correlated> {
    const GIVE: &str = "use --center vo, or give the axis with --center PIXELS";
    let found: Vec<Option<(f64, f64)>> = pairs.par_iter().map(|pair| one(pair, columns)).collect();
    let mut found: Vec<(f64, f64)> = found.into_iter().flatten().collect();
    if found.is_empty() {
        return Err(Error::data("no pair of opposite views tells the rotation axis").help(GIVE));
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let at = |part: f64| found[((found.len() - 1) as f64 * part).round() as usize];
    let (axis, quality) = at(0.5);
    if quality < BELIEVABLE {
        return Err(
            Error::data(format!("opposite views are alike by {quality:.2} only, at an axis of {axis:.2}")).help(GIVE)
        );
    }
    Ok(Correlated { axis, quality, spread: 0.5 * (at(0.75).0 - at(0.25).0) })
}

/// Axis and correlation of one pair; `None` where the best is at the end of the search, or nothing varies.
fn one(pair: &Pair, columns: usize) -> Option<(f64, f64)> {
    let n = columns as isize;
    let reach = n - (n / LEAST_OVERLAP as isize).max(2);
    let values: Vec<f64> = (-reach..=reach).map(|d| ncc(pair, columns, d)).collect();
    let best = (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b]).then(b.cmp(&a)))?;
    if best == 0 || best + 1 == values.len() || values[best].is_nan() || values[best] <= 0.0 {
        return None;
    }
    let [left, peak, right] = [values[best - 1], values[best], values[best + 1]];
    let bend = left - 2.0 * peak + right;
    let fraction = if bend < 0.0 { 0.5 * (left - right) / bend } else { 0.0 };
    let d = best as f64 - reach as f64 + fraction;
    Some(((columns as f64 - 1.0 - d) / 2.0, peak))
}

/// The correlation at the shift `d`.
fn ncc(pair: &Pair, columns: usize, d: isize) -> f64 {
    let from = (-d).max(0) as usize;
    let to = (columns as isize - d.max(0)) as usize;
    let (mut a1, mut b1, mut aa, mut bb, mut ab, mut count) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
    for (front, back) in pair.front.chunks_exact(columns).zip(pair.back.chunks_exact(columns)) {
        for (x, &a) in front.iter().enumerate().take(to).skip(from) {
            let a = f64::from(a);
            let b = f64::from(back[columns - 1 - (x as isize + d) as usize]);
            (a1, b1, aa, bb, ab) = (a1 + a, b1 + b, aa + a * a, bb + b * b, ab + a * b);
        }
        count += (to - from) as f64;
    }
    let (va, vb) = (aa - a1 * a1 / count, bb - b1 * b1 / count);
    let product = va * vb;
    if product > 0.0 && va > 0.0 { (ab - a1 * b1 / count) / product.sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::philox::Stream;
    use crate::phantom::discs::{Disc, Sampling, sinogram};

    fn views(columns: usize, axis: f64, noise: f64) -> Vec<f32> {
        let discs = [
            Disc { x: 12.0, y: -7.0, radius: 9.0, mu: 0.01 },
            Disc { x: -20.0, y: 15.0, radius: 6.0, mu: 0.02 },
            Disc { x: 3.0, y: 24.0, radius: 4.0, mu: 0.03 },
        ];
        let angles: Vec<f64> = [0.3, 1.1, 2.0].iter().flat_map(|&t| [t, t + std::f64::consts::PI]).collect();
        let random = Stream::new(4, 4);
        sinogram(&discs, &angles, columns, axis, Sampling::Pixel)
            .iter()
            .enumerate()
            .map(|(i, v)| (v + noise * random.normal(i as u64)) as f32)
            .collect()
    }

    fn find(columns: usize, axis: f64, noise: f64) -> Result<Correlated> {
        let all = views(columns, axis, noise);
        let rows: Vec<&[f32]> = all.chunks_exact(columns).collect();
        let pairs: Vec<Pair> = rows.chunks_exact(2).map(|p| Pair { front: p[0], back: p[1] }).collect();
        correlate(&pairs, columns)
    }

    #[test]
    fn opposite_views_tell_the_axis_to_a_tenth_of_a_pixel() {
        for axis in [63.5, 60.2, 70.75, 55.0] {
            for noise in [0.0, 0.005] {
                let found = find(128, axis, noise).unwrap();
                assert!((found.axis - axis).abs() < 0.1, "{found:?} for {axis}");
            }
        }
        // Half acquisition: the axis 30 columns from the edge.
        let found = find(128, 30.4, 0.0).unwrap();
        assert!((found.axis - 30.4).abs() < 0.15, "{found:?}");
    }

    #[test]
    fn nothing_is_not_an_axis() {
        let noise: Vec<f32> = (0..256u64).map(|i| Stream::new(9, 9).normal(i) as f32).collect();
        let pair = || Pair { front: &noise[..128], back: &noise[128..] };
        assert!(correlate(&[pair()], 128).is_err());
        assert!(correlate(&[Pair { front: &[0.0; 64], back: &[0.0; 64] }], 64).is_err());
        assert!(correlate(&[], 64).is_err());
    }
}
