//! L3. What a block of a body may claim to know: its covariance with the floor, and what of a difference that explains.

use super::block::{Match, point_sigma};
use super::body::{FLOOR, Report};
use super::rigid::{self, Point, Rigid, length, sub};
use crate::num::linalg::{Matrix, product, symmetric_eigen, transpose};
use std::array::from_fn;

/// A block's covariance in units of voxels: turns times its radius, which follows from the covariance itself, as a turn is
/// known as well as the ends are. And these units.
fn in_voxels(b: &Match) -> (Matrix<6>, [f64; 6]) {
    let ends = |at: usize| (0..3).fold(0.0, |sum, i| sum + b.covariance[at + i][at + i]);
    let radius = if ends(0) > 0.0 { (ends(3) / ends(0)).sqrt().max(1.0) } else { 1.0 };
    let unit = from_fn(|i| if i < 3 { radius } else { 1.0 });
    (from_fn(|i| from_fn(|l| b.covariance[i][l] * unit[i] * unit[l])), unit)
}

/// Least deviation that a covariance is believed in, parts of [`FLOOR`]: without noise it is rounding.
const BELIEVED: f64 = 0.1;

/// C_k: what it is at least where it is smallest, [`FLOOR`], and as many times larger everywhere.
pub fn known(b: &Match) -> Matrix<6> {
    let (c, unit) = in_voxels(b);
    let least = symmetric_eigen(&c).map_or(0.0, |(values, _)| values[0].max(0.0));
    let square = FLOOR * FLOOR;
    let factor = 1.0 + square / least.max(BELIEVED * BELIEVED * square);
    let rest = (square - factor * least).max(0.0);
    from_fn(|i| from_fn(|l| factor * b.covariance[i][l] + if i == l { rest / (unit[i] * unit[i]) } else { 0.0 }))
}

/// Standard deviation of where a block's centre goes, voxels, by a covariance about it.
pub fn place_sigma(c: &Matrix<6>) -> f64 {
    (0..3).fold(0.0, |sum, i| sum + c[3 + i][3 + i]).max(0.0).sqrt()
}

/// The largest e between two blocks that count, by `sigmas` deviations; 0 if there are none.
pub fn strain(blocks: &[Report], sigmas: f64) -> f64 {
    let used: Vec<(&Match, Matrix<6>)> =
        blocks.iter().filter(|b| b.used).filter_map(|b| b.found.as_ref().ok().map(|m| (m, known(m)))).collect();
    let mut most = 0.0f64;
    for (k, (one, c)) in used.iter().enumerate() {
        for (other, d) in &used[..k] {
            let [from, to] = [one, other].map(|m| m.motion.centre);
            let between: Point = from_fn(|i| 0.5 * (from[i] + to[i]));
            let off = length(&sub(&one.motion.apply(&between), &other.motion.apply(&between)));
            let sigma = point_sigma(&one.motion, c, &between) + point_sigma(&other.motion, d, &between);
            most = most.max((off - sigmas * sigma) / length(&sub(&from, &to)).max(1.0));
        }
    }
    most
}

/// A motion that differs from the block's own by what of the difference to `motion` its uncertainty does not explain: the
/// part along the eigenvectors of C_k that are off by more than `sigmas` deviations.
pub fn unexplained(motion: &Rigid, own: &Match, sigmas: f64) -> Rigid {
    let (c, unit) = in_voxels(&Match { covariance: known(own), ..own.clone() });
    let Some((values, vectors)) = symmetric_eigen(&c) else { return *motion };
    let centre = own.motion.centre;
    let turn = rigid::rotation_vector(&product(&motion.rotation, &transpose(&own.motion.rotation)));
    let shift = sub(&motion.apply(&centre), &own.motion.apply(&centre));
    let off: [f64; 6] = from_fn(|i| unit[i] * if i < 3 { turn[i] } else { shift[i - 3] });
    let mut left = [0.0; 6];
    for (value, vector) in values.iter().zip(&vectors) {
        let along = (0..6).fold(0.0, |sum, i| sum + vector[i] * off[i]);
        if along * along > sigmas * sigmas * value {
            (0..6).for_each(|i| left[i] += along * vector[i]);
        }
    }
    let left: [f64; 6] = from_fn(|i| left[i] / unit[i]);
    let by = Rigid::new([left[0], left[1], left[2]], own.motion.apply(&centre), [left[3], left[4], left[5]]);
    own.motion.then(&by)
}

/// The value with half of the weight on either side, on lines between values in the middles of their weights; the plain median
/// where weights are equal.
pub fn weighted_median(mut terms: Vec<(f64, f64)>) -> f64 {
    terms.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = 0.5 * terms.iter().fold(0.0, |sum, t| sum + t.1);
    let (mut below, mut last) = (0.0, None::<(f64, f64)>);
    for &(value, weight) in &terms {
        let at = below + 0.5 * weight;
        if at >= half {
            return match last {
                Some((before, from)) if at > from => before + (value - before) * (half - from) / (at - from),
                _ => value,
            };
        }
        (below, last) = (below + weight, Some((value, at)));
    }
    last.map_or(0.0, |l| l.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(deviations: [f64; 6]) -> Match {
        Match {
            motion: Rigid::identity([50.0; 3]),
            covariance: from_fn(|i| from_fn(|l| if i == l { deviations[i] * deviations[i] } else { 0.0 })),
            corner_sigma: 0.1,
            correlation: [0.1, 0.9],
            overlap: 1.0,
            fitting: 0.915,
            condition: 0.1,
            significance: 20.0,
            trace: Vec::new(),
        }
    }

    #[test]
    fn what_is_held_weakly_is_as_many_times_worse_as_the_best() {
        let sigma = |b: &Match, i: usize| known(b)[i][i].sqrt();
        // A radius of √(…) = 10 in voxels for turns of a tenth of the shifts.
        let weak = block([1e-4, 1e-4, 2e-2, 1e-3, 1e-3, 0.2]);
        let times = sigma(&weak, 3) / 1e-3;
        assert!((sigma(&weak, 2) / 2e-2 - times).abs() < 1e-9 && (sigma(&weak, 5) / 0.2 - times).abs() < 1e-9);
        assert!((5.0..5.3).contains(&times), "{times}");
        // Without noise deviations are rounding: the floor alone.
        let exact = block([1e-10, 1e-12, 1e-11, 1e-9, 1e-10, 1e-10]);
        assert!((3..6).all(|i| (sigma(&exact, i) - FLOOR).abs() < 1e-6));
        // What is worse than the floor stays.
        let poor = block([0.01, 0.01, 0.01, 0.5, 0.5, 0.5]);
        assert!((3..6).all(|i| (sigma(&poor, i) - 0.5).abs() < 1e-4));
    }

    #[test]
    fn only_what_is_held_can_surprise() {
        let own = block([1e-4, 1e-4, 2e-2, 1e-3, 1e-3, 1e-3]);
        let off = |turn: f64, shift: f64| Rigid::new([0.0, 0.0, turn], own.motion.centre, [shift, 0.0, 0.0]);
        let left = |m: &Rigid| {
            let left = unexplained(m, &own, 4.5);
            let turn = left.angle().0;
            (turn, length(&sub(&left.apply(&own.motion.centre), &own.motion.centre)))
        };
        assert_eq!(left(&off(0.03, 0.01)), (0.0, 0.0));
        let (turn, shift) = left(&off(0.03, 0.4));
        assert!(turn < 1e-9 && (shift - 0.4).abs() < 1e-9, "{turn} {shift}");
    }

    #[test]
    fn a_weighted_median_has_half_of_the_weight_on_either_side() {
        assert_eq!(weighted_median(vec![(3.0, 1.0), (1.0, 1.0), (2.0, 1.0)]), 2.0);
        assert_eq!(weighted_median(vec![(3.0, 2.0), (1.0, 2.0), (2.0, 2.0), (10.0, 2.0)]), 2.5);
        // Middles of the weights at 5, 10.5 and 11.5 of 12: from 1 a part of 1/5.5 on towards 8.
        assert!((weighted_median(vec![(1.0, 10.0), (9.0, 1.0), (8.0, 1.0)]) - (1.0 + 7.0 / 5.5)).abs() < 1e-12);
        assert_eq!(weighted_median(vec![(7.0, 0.5)]), 7.0);
    }
}
