//! The axis from opposite views: P(θ + 180°) is P(θ) mirrored about the axis.
//!
//! ```text
//! B(x) = P(θ + 180°)(n − 1 − x)          A(x) = P(θ)(x) = B(x + n − 1 − 2c)
//! ncc(d) = Σ (A(x) − Ā)(B(x + d) − B̄) / √(Σ (A − Ā)² Σ (B − B̄)²)      over the x that both have, all rows
//! c = (n − 1 − d) / 2 at the greatest ncc, between pixels by a parabola through three values
//! ```
//!
//! A few columns are alike by chance where many are not: the axis is looked for where atanh(ncc) √(columns shared), Fisher's
//! measure of what a correlation is worth, is greatest, and then at the next maximum of ncc. Means are those of the overlap.
//! The search covers all axes for which at least an eighth of the columns overlap, so that
//! it finds the axis of a half acquisition near the detector's edge, too. For n columns and r rows a pair costs about
//! r n² products.
//!
//! **What stands still.** Column errors and bands of the beam are alike in both views and are not mirrored: they hide the
//! sample where it absorbs little. From views of some rows the means of every column and of every row are taken first,
//! P(x, y) − P̄(x) − P̄(y) + P̄. If what is left is not alike, as of a sample that is the same in all rows, they stay.
//!
//! **Views that are not quite opposite.** The last view of a half turn is one step δ short of it, so that a detail at
//! depth t along the beam appears moved by δ t. Pairs of several δ are fitted by c(δ) = c + g δ, weighted by
//! q² / (1 − q²) with the correlation q; c is the axis. Where all δ are alike, the median of the pairs counts.

use crate::error::{Error, Result};
use crate::num::elementary::ln;
use rayon::prelude::*;

/// Least part of the columns that opposite views share.
const LEAST_OVERLAP: usize = 8;
/// Correlation below this is chance.
const BELIEVABLE: f64 = 0.5;
/// Correlations are not told apart beyond this.
const SURE: f64 = 0.999_999;
/// δ below this, radians, is rounding of angles.
const LEAST_MISS: f64 = 1e-4;
/// Rows from which on the columns' means say what stands still.
const LEAST_ROWS: usize = 8;

/// Two opposite views, `[row][column]`.
pub struct Pair<'a> {
    /// P(θ).
    pub front: &'a [f32],
    /// P(θ + 180°).
    pub back: &'a [f32],
    /// Angle by which the views miss the half turn, radians.
    pub miss: f64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Correlated {
    /// The axis as a pixel index.
    pub axis: f64,
    /// Its correlation: the median of the pairs.
    pub quality: f64,
    /// Half of the distance between the quartiles of the pairs, pixels.
    pub spread: f64,
    /// Whether rows and columns were taken off their means.
    pub centred: bool,
}

/// Finds the axis from `pairs` of absorption, of `columns` columns.
///
/// # Errors
/// Data: no pair, no believable correlation, or a best one at the end of the search.
pub fn correlate(pairs: &[Pair], columns: usize) -> Result<Correlated> {
    const GIVE: &str = "use --center vo, or give the axis with --center PIXELS";
    let centred: Vec<[Vec<f32>; 2]> =
        pairs.par_iter().map(|p| [p.front, p.back].map(|view| without_means(view, columns))).collect();
    let centred: Vec<Pair> = pairs
        .iter()
        .zip(&centred)
        .filter(|(pair, _)| pair.front.len() >= LEAST_ROWS * columns)
        .map(|(pair, [front, back])| Pair { front, back, miss: pair.miss })
        .collect();
    let found = match combine(&centred, columns, true) {
        Some(found) if found.quality >= BELIEVABLE => Some(found),
        _ => combine(pairs, columns, false),
    };
    match found {
        None => Err(Error::data("no pair of opposite views tells the rotation axis").help(GIVE)),
        Some(Correlated { axis, quality, .. }) if quality < BELIEVABLE => {
            Err(Error::data(format!("opposite views are alike by {quality:.2} only, at an axis of {axis:.2}"))
                .help(GIVE))
        }
        Some(found) => Ok(found),
    }
}

/// The axis on which pairs agree; `None` if none tells one.
fn combine(pairs: &[Pair], columns: usize, centred: bool) -> Option<Correlated> {
    let mut found: Vec<(f64, f64, f64)> =
        pairs.par_iter().filter_map(|p| one(p, columns).map(|(axis, quality)| (axis, quality, p.miss))).collect();
    if found.is_empty() {
        return None;
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let at = |part: f64| found[((found.len() - 1) as f64 * part).round() as usize];
    let mut qualities: Vec<f64> = found.iter().map(|f| f.1).collect();
    qualities.sort_by(f64::total_cmp);
    let quality = qualities[qualities.len() / 2];
    let axis = intercept(&found).unwrap_or(at(0.5).0);
    Some(Correlated { axis, quality, spread: 0.5 * (at(0.75).0 - at(0.25).0), centred })
}

/// c of the line through (δ, axis); `None` if there is nothing to fit: too few pairs, or all δ alike.
fn intercept(found: &[(f64, f64, f64)]) -> Option<f64> {
    let (mut w0, mut w1, mut w2, mut y0, mut y1) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
    for &(axis, quality, miss) in found {
        let q2 = (quality * quality).min(0.999_999);
        let w = q2 / (1.0 - q2);
        (w0, w1, w2) = (w0 + w, w1 + w * miss, w2 + w * miss * miss);
        (y0, y1) = (y0 + w * axis, y1 + w * miss * axis);
    }
    let spread = w2 - w1 * w1 / w0;
    // They must differ by about half a step at the least.
    let least = found.iter().map(|f| f.2.abs()).fold(f64::MAX, f64::min);
    if found.len() < 3 || least < LEAST_MISS || spread <= 0.25 * least * least * w0 {
        return None;
    }
    let slope = (y1 - w1 * y0 / w0) / spread;
    Some((y0 - slope * w1) / w0)
}

/// A view less the means of its rows and columns; values that are not finite become 0.
fn without_means(view: &[f32], columns: usize) -> Vec<f32> {
    let mut out: Vec<f32> = view.iter().map(|&v| if v.is_finite() { v } else { 0.0 }).collect();
    for row in out.chunks_exact_mut(columns) {
        let mean = (row.iter().map(|&v| f64::from(v)).sum::<f64>() / columns as f64) as f32;
        row.iter_mut().for_each(|v| *v -= mean);
    }
    let rows = out.len() / columns;
    for x in 0..columns {
        let mean = ((0..rows).map(|y| f64::from(out[y * columns + x])).sum::<f64>() / rows as f64) as f32;
        (0..rows).for_each(|y| out[y * columns + x] -= mean);
    }
    out
}

/// Axis and correlation of one pair; `None` where the best is at the end of the search, or nothing varies.
fn one(pair: &Pair, columns: usize) -> Option<(f64, f64)> {
    let n = columns as isize;
    let reach = n - (n / LEAST_OVERLAP as isize).max(2);
    let values: Vec<f64> = (-reach..=reach).map(|d| ncc(pair, columns, d)).collect();
    let worth = |i: usize| {
        let q = values[i].clamp(-SURE, SURE);
        ln((1.0 + q) / (1.0 - q)) * ((n - (i as isize - reach).abs()) as f64).sqrt()
    };
    let mut best = (0..values.len()).max_by(|&a, &b| worth(a).total_cmp(&worth(b)).then(b.cmp(&a)))?;
    // The maximum of the correlation is beside that of its worth.
    while let Some(next) =
        [best.wrapping_sub(1), best + 1].into_iter().find(|&i| values.get(i).is_some_and(|v| *v > values[best]))
    {
        best = next;
    }
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
        let pairs: Vec<Pair> = rows.chunks_exact(2).map(|p| Pair { front: p[0], back: p[1], miss: 0.0 }).collect();
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

    /// Rows of different discs behind columns and bands that stand still and are ten times as strong, the second view
    /// one, two, three steps of half a degree short of half a turn.
    #[test]
    fn neither_what_stands_still_nor_a_step_short_of_half_a_turn_moves_the_axis() {
        let (columns, rows, axis) = (160, 40, 74.3);
        let random = Stream::new(5, 4);
        let step = 0.5f64.to_radians();
        let view = |theta: f64| -> Vec<f32> {
            (0..rows as u64)
                .flat_map(|y| {
                    // All on one side of the axis along the beam: a turn moves all of them the same way.
                    let disc = Disc {
                        x: 50.0 * (random.uniform_f64(2 * y) - 0.5),
                        y: 20.0 + 20.0 * random.uniform_f64(2 * y + 1),
                        radius: 6.0,
                        mu: 0.01,
                    };
                    let line = sinogram(&[disc], &[theta], columns, axis, Sampling::Pixel);
                    let still = |x: usize| random.normal(1000 + x as u64) + random.normal(2000 + y);
                    line.into_iter().enumerate().map(move |(x, v)| (v + still(x)) as f32).collect::<Vec<_>>()
                })
                .collect()
        };
        let front = view(0.0);
        let backs: Vec<(f64, Vec<f32>)> =
            (1..=4).map(|i| (-step * f64::from(i), view(std::f64::consts::PI - step * f64::from(i)))).collect();
        let pairs: Vec<Pair> = backs.iter().map(|(miss, back)| Pair { front: &front, back, miss: *miss }).collect();
        let raw = combine(&pairs, columns, false).unwrap();
        assert!(raw.quality < BELIEVABLE || (raw.axis - axis).abs() > 1.0, "{raw:?}");
        let found = correlate(&pairs, columns).unwrap();
        assert!(found.centred && (found.axis - axis).abs() < 0.1, "{found:?}");
        // The nearest pair alone is off by half of 30 pixels times half a degree.
        let nearest = correlate(&pairs[..1], columns).unwrap();
        assert!((nearest.axis - axis).abs() > 0.1, "{nearest:?}");
    }

    /// Views of a wide sample, of which a few columns at the edges are flat but for one bright line each: there they are alike
    /// almost perfectly, at an axis that is none.
    #[test]
    fn a_few_columns_that_are_alike_by_chance_are_no_axis() {
        let (columns, axis) = (160usize, 74.0f64);
        let random = Stream::new(8, 2);
        let sample: Vec<f64> = (0..400u64).map(|i| random.normal(i)).collect();
        // The back view is the front view mirrored about the axis, with noise; both end in the same bright line.
        let line = |x: usize| if x == 10 { 10.0 } else { 0.0 };
        let edge = |x: usize, v: f64| if x < 22 { line(x) + 0.4 * v } else { 3.0 * v };
        let front: Vec<f32> = (0..columns).map(|x| edge(x, sample[100 + x]) as f32).collect();
        let back: Vec<f32> = (0..columns)
            .map(|x| {
                let mirrored = (100.0 + 2.0 * axis - x as f64) as usize;
                edge(x, sample[mirrored] + 0.5 * random.normal(1000 + x as u64)) as f32
            })
            .collect();
        let pair = Pair { front: &front, back: &back, miss: 0.0 };
        // The line lies on itself at an axis of 10.
        let (found, quality) = one(&pair, columns).unwrap();
        assert!(ncc(&pair, columns, columns as isize - 1 - 20) > quality + 0.05);
        assert!((found - axis).abs() < 0.3 && quality > 0.5, "{found} {quality}");
    }

    #[test]
    fn nothing_is_not_an_axis() {
        let noise: Vec<f32> = (0..256u64).map(|i| Stream::new(9, 9).normal(i) as f32).collect();
        let pair = || Pair { front: &noise[..128], back: &noise[128..], miss: 0.0 };
        assert!(correlate(&[pair()], 128).is_err());
        assert!(correlate(&[Pair { front: &[0.0; 64], back: &[0.0; 64], miss: 0.0 }], 64).is_err());
        assert!(correlate(&[], 64).is_err());
    }
}
