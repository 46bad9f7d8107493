//! Intervals of figures: slices are drawn again, with replacement, and every figure is computed anew.
//!
//! ```text
//! unit      B neighbouring slices of one scan that have labels; the last of a scan may be shorter
//! draw b    as many units as there are, unit j the ⌊u·n⌋-th, u of Philox (seed, stream, b·n + j)
//! interval  the α/2 and 1 − α/2 quantiles of the figures of all draws in which they are known, between two values
//!           linearly (NumPy's default)
//! ```
//!
//! Neighbouring slices are alike, so one slice as the unit makes intervals too narrow; a unit of as many slices as a
//! structure is thick is honest. Counts are integers and draws addressed by number: the same bits in any order.
//!
//! Source: Efron, Tibshirani, "An Introduction to the Bootstrap", 1993.

use super::evaluate::Counts;
use crate::num::philox::Stream;
use rayon::prelude::*;

/// Stream of the draws.
const STREAM: u32 = 0x626f_6f74;

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draws {
    /// How often.
    pub count: usize,
    /// Seed.
    pub seed: u64,
    /// Part that lies outside of the interval, both sides together.
    pub alpha: f64,
}

/// A figure's interval.
pub type Interval = Option<[f64; 2]>;

/// Units of `slices` neighbouring slices, those without a voxel left out.
pub fn units<'a>(scans: impl Iterator<Item = &'a [Counts]>, slices: usize) -> Vec<Counts> {
    let mut units = Vec::new();
    for scan in scans {
        let labelled: Vec<&Counts> = scan.iter().filter(|c| c.confusion.total() > 0).collect();
        units.extend(labelled.chunks(slices.max(1)).map(|block| block[0].nothing().and(block.iter().copied())));
    }
    units
}

/// Intervals of the figures that `list` takes, in its order; none without two units.
pub fn intervals(
    units: &[Counts],
    draws: Draws,
    list: impl Fn(&Counts) -> Vec<Option<f64>> + Sync,
) -> Option<Vec<Interval>> {
    let n = units.len();
    if n < 2 || draws.count == 0 {
        return None;
    }
    let stream = Stream::new(draws.seed, STREAM);
    let of_draw = |b: usize| {
        let mut times = vec![0u64; n];
        (0..n).for_each(|j| times[stream.below((b * n + j) as u64, n as u32) as usize] += 1);
        let mut sum = units[0].nothing();
        units.iter().zip(times).filter(|(_, t)| *t > 0).for_each(|(unit, t)| sum.add_times(unit, t));
        list(&sum)
    };
    let all: Vec<Vec<Option<f64>>> = (0..draws.count).into_par_iter().map(of_draw).collect();
    let figures = all.first().map_or(0, Vec::len);
    let interval = |f: usize| {
        let mut known: Vec<f64> = all.iter().filter_map(|draw| draw[f]).collect();
        known.sort_by(f64::total_cmp);
        (!known.is_empty()).then(|| [quantile(&known, draws.alpha / 2.0), quantile(&known, 1.0 - draws.alpha / 2.0)])
    };
    Some((0..figures).map(interval).collect())
}

/// The q-quantile of sorted values.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let below = at.floor();
    let i = below as usize;
    let (a, b) = (sorted[i], sorted[(i + 1).min(sorted.len() - 1)]);
    a + (at - below) * (b - a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(right: usize, wrong: usize) -> Counts {
        let mut c = Counts::new(2, true);
        let (truth, prediction) = (vec![1; right + wrong], [vec![1; right], vec![0; wrong]].concat());
        c.confusion.add(&truth, &prediction).unwrap();
        c.calibration.as_mut().unwrap().add(&truth, &prediction, &vec![0.5; right + wrong]).unwrap();
        c
    }

    #[test]
    fn quantiles_are_numpys() {
        // numpy.quantile([1, 2, 4, 8], [0, .025, .5, .975, 1])
        let v = [1.0, 2.0, 4.0, 8.0];
        let q = [0.0, 0.025, 0.5, 0.975, 1.0].map(|q| quantile(&v, q));
        for (got, want) in q.iter().zip([1.0, 1.075, 3.0, 7.7, 8.0]) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
        assert_eq!(quantile(&[5.0], 0.3), 5.0);
    }

    #[test]
    fn units_are_neighbours_of_one_scan() {
        let empty = Counts::new(2, true);
        let scans = [vec![unit(1, 0), empty.clone(), unit(2, 0), unit(3, 0)], vec![empty, unit(4, 0)]];
        let of = |n| {
            let units = units(scans.iter().map(Vec::as_slice), n);
            units.iter().map(|u| u.confusion.total()).collect::<Vec<_>>()
        };
        assert_eq!((of(1), of(2), of(9)), (vec![1, 2, 3, 4], vec![3, 3, 4], vec![6, 4]));
    }

    #[test]
    fn the_interval_of_a_proportion_is_its_own() {
        // 400 units of one voxel, 300 of them right: the standard error of 0.75 is 0.02165.
        let units: Vec<Counts> = (0..400).map(|i| unit(usize::from(i % 4 > 0), usize::from(i % 4 == 0))).collect();
        let draws = Draws { count: 4000, seed: 3, alpha: 0.05 };
        let accuracy = |c: &Counts| vec![c.confusion.figures().accuracy, c.confusion.figures().iou[0]];
        let [low, high] = intervals(&units, draws, accuracy).unwrap()[0].unwrap();
        // Quantiles of 4000 draws are known to about 2.5 % of the width, and a voxel is 0.0025.
        assert!(
            (low - (0.75 - 1.96 * 0.02165)).abs() < 0.004 && (high - (0.75 + 1.96 * 0.02165)).abs() < 0.004,
            "{low} {high}"
        );
        // All are in one bin of the calibration: its error is accuracy - 0.5.
        let errors = intervals(&units, draws, |c| vec![c.errors().map(|e| e.expected)]).unwrap()[0].unwrap();
        assert!((errors[0] - (low - 0.5)).abs() < 1e-12 && (errors[1] - (high - 0.5)).abs() < 1e-12, "{errors:?}");
        assert_eq!(intervals(&units[..1], draws, accuracy), None);
        let again = |seed| intervals(&units, Draws { seed, count: 50, ..draws }, accuracy);
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(|| again(1));
        assert_eq!(one, again(1));
        assert_ne!(again(2), again(1));
    }
}
