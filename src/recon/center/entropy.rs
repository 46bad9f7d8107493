//! The axis by the entropy of the slice (Donath, Beckmann and Schreyer, J. Opt. Soc. Am. A 23, 1048 (2006)): a wrong axis
//! smears edges, and the grey values spread over more bins.
//!
//! ```text
//! E(c) = − Σ_i h_i log₂ h_i,     h: histogram of the slice at axis c, inside 0.95 of its circle, 64 bins
//! ```
//!
//! The bins are the same for all axes: from the least to the greatest value of the slice at the start, a half of that range
//! more on either side; what lies outside counts in the outer bins. Sixteen axes are reconstructed at a time, one in each
//! lane. The search goes in steps of 2, then of 0.25 about the best, and ends between steps by a parabola.
//!
//! It needs absorption (transmission gives another answer: TomoPy's users met that), and a slice with edges; noise flattens
//! the minimum. Vo's method is the better first choice.

use super::super::geometry::Axis;
use super::super::scan::Plan;
use crate::error::{Error, Result};
use crate::num::elementary::ln;
use crate::num::lanes::{Isa, LANES};
use crate::os::check_interrupt;

/// Bins of the histogram.
const BINS: usize = 64;
/// Part of the circle that counts.
const INSIDE: f64 = 0.95;
/// Steps of the two searches, pixels.
const STEPS: [f64; 2] = [2.0, 0.25];
/// Half range of the fine search, in coarse steps.
const FINE: f64 = 1.0;

/// Finds the axis of `sinogram`, `[angle][column]` absorption, within `reach` pixels of `start`.
///
/// # Errors
/// Data: a best axis at an end of the search; a slice that is the same everywhere. [`crate::error::Fault::Again`] when
/// interrupted.
pub fn entropy(isa: Isa, plan: &Plan, sinogram: &[f32], start: f64, reach: f64) -> Result<f64> {
    let columns = plan.field().measured;
    let middle = slices(isa, plan, sinogram, &[start])?;
    let inside = circle(plan.field().image);
    let values = || inside.iter().map(|&i| middle[i]).filter(|v| v.is_finite());
    let (low, high) = values().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(v), h.max(v)));
    if !values().any(|v| v != low) {
        return Err(Error::data("the slice is the same everywhere: it does not tell the axis")
            .help("choose a row that shows the sample, or give --center PIXELS"));
    }
    let half = 0.5 * (high - low);
    let window = [low - half, high + half];
    let mut best = start;
    let mut reach = reach;
    for step in STEPS {
        let count = (reach / step).ceil() as i32;
        let candidates: Vec<f64> = (-count..=count)
            .map(|i| best + f64::from(i) * step)
            .filter(|c| (0.0..=(columns - 1) as f64).contains(c))
            .collect();
        let mut metric = Vec::with_capacity(candidates.len());
        for group in candidates.chunks(LANES) {
            check_interrupt()?;
            let images = slices(isa, plan, sinogram, group)?;
            let n = plan.field().image;
            metric.extend(images.chunks_exact(n * n).map(|image| of_slice(image, &inside, window)));
        }
        let at = (0..metric.len()).min_by(|&a, &b| metric[a].total_cmp(&metric[b])).unwrap_or(0);
        if at == 0 || at + 1 == metric.len() {
            return Err(Error::data(format!(
                "no rotation axis between columns {} and {}: the entropy is least at the end, {}",
                candidates[0],
                candidates[candidates.len() - 1],
                candidates[at]
            ))
            .help("widen --center-range, or use --center vo"));
        }
        let [a, b, c] = [metric[at - 1], metric[at], metric[at + 1]];
        let bend = a - 2.0 * b + c;
        best = candidates[at] + if bend > 0.0 && step == STEPS[1] { 0.5 * step * (a - c) / bend } else { 0.0 };
        reach = FINE * STEPS[0];
    }
    Ok(best)
}

/// Slices at some axes.
fn slices(isa: Isa, plan: &Plan, sinogram: &[f32], axes: &[f64]) -> Result<Vec<f32>> {
    let (columns, n) = (plan.field().measured, plan.field().image);
    // The same sinogram in every row, and every row has its own axis.
    let block: Vec<f32> = sinogram.chunks_exact(columns).flat_map(|line| line.repeat(axes.len())).collect();
    let mut images = vec![0.0f32; axes.len() * n * n];
    plan.slices(isa, &mut plan.workspace(), &Axis::PerRow(axes.to_vec()), 0, axes.len(), &block, &mut images);
    Ok(images)
}

/// Places inside the circle.
fn circle(n: usize) -> Vec<usize> {
    let middle = (n as f64 - 1.0) / 2.0;
    let radius = INSIDE * n as f64 / 2.0;
    (0..n * n)
        .filter(|i| {
            let (y, x) = ((i / n) as f64 - middle, (i % n) as f64 - middle);
            y * y + x * x < radius * radius
        })
        .collect()
}

fn of_slice(image: &[f32], inside: &[usize], [low, high]: [f32; 2]) -> f64 {
    let mut bins = [0u64; BINS];
    let scale = BINS as f32 / (high - low);
    for &i in inside {
        let bin = ((image[i] - low) * scale).clamp(0.0, (BINS - 1) as f32);
        // A NaN becomes 0 here: one bin, whatever the axis.
        bins[bin as usize] += 1;
    }
    let total = inside.len() as f64;
    -bins.iter().filter(|n| **n > 0).map(|&n| (n as f64 / total) * ln(n as f64 / total)).sum::<f64>() / ln(2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::philox::Stream;
    use crate::phantom::discs::{Disc, Sampling, sinogram};
    use crate::recon::field::Field;
    use crate::recon::filter::Filter;
    use crate::recon::geometry::Angles;
    use crate::recon::scan::Algorithm;

    #[test]
    fn the_sharpest_slice_has_the_planted_axis() {
        let discs = [
            Disc { x: 14.0, y: -9.0, radius: 10.0, mu: 0.02 },
            Disc { x: -20.0, y: 13.0, radius: 6.0, mu: 0.03 },
            Disc { x: 2.0, y: 22.0, radius: 4.0, mu: 0.04 },
        ];
        let (columns, angles) = (96, Angles::half_turn(140).unwrap());
        let plan =
            Plan::new(&Field::plain(columns), &angles, &Filter::default(), Algorithm::Gridrec(1e-3), None).unwrap();
        let random = Stream::new(3, 3);
        for (axis, noise) in [(46.2, 0.0), (50.0, 0.01)] {
            let rows: Vec<f32> = sinogram(&discs, angles.radians(), columns, axis, Sampling::Pixel)
                .iter()
                .enumerate()
                .map(|(i, v)| (v + noise * random.normal(i as u64)) as f32)
                .collect();
            let found = entropy(Isa::detect(), &plan, &rows, 47.5, 12.0).unwrap();
            assert!((found - axis).abs() < 0.5, "{found} for {axis}");
            assert!(entropy(Isa::detect(), &plan, &rows, 20.0, 6.0).is_err(), "out of range");
        }
        assert!(entropy(Isa::detect(), &plan, &vec![0.0; 140 * columns], 47.5, 6.0).is_err());
    }
}
