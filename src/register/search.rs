//! L3. The coarse start: the normalised correlation itself, on a coarse rung, at all motions of a lattice.
//!
//! ```text
//! shifts   the integers of the rung's voxels within ± capture, along x, y, z
//! turns    about x, y, z by whole multiples of 2° that leave no turn within ± the capture farther than 1°
//! ```
//!
//! Every motion is scored by what the fine stage climbs ([`super::pass`]), on voxels that both blocks have: no window pulls
//! the maximum to zero shift as in a correlation by Fourier transform, no whitening asks how much of the spectrum is noise
//! (where phase correlation fails on smooth volumes), and a turned block needs no second thought. It costs few voxels: at
//! 1/16 of a block of 300³ and ± 20 voxels, 729 motions of 19³ voxels; on a finer rung every so many slices. The best of them are climbed on the next finer
//! rung, and the highest is the start.

use super::gauss_newton::{Top, ascend, no_maximum};
use super::level::Level;
use super::pass::{Want, glance, pass};
use super::rigid::{Point, Rigid};
use super::{Settings, Step};
use crate::error::{Error, Result};
use crate::num::lanes::Isa;
use crate::units::{Degree, Radian};
use rayon::prelude::*;

/// Between two turns of the lattice.
const TURN: Degree = Degree(2.0);
/// Voxels that a motion of the lattice is scored by, about.
const VOXELS: usize = 6000;
/// Most motions of the lattice: a gigabyte.
const MOST: f64 = 8e6;
/// Motions of the lattice that are climbed.
const CLIMBED: usize = 6;

/// As many multiples of `step` on either side leave nothing within ± `capture` farther than half a step.
fn multiples(capture: f64, step: f64) -> f64 {
    ((capture - 0.5 * step) / step).ceil().max(0.0)
}

/// Multiples of `step` within ± as many.
fn lattice(capture: f64, step: f64) -> Vec<f64> {
    let most = multiples(capture, step) as i64;
    (-most..=most).map(|k| k as f64 * step).collect()
}

/// The start near `guess`: searched on the coarsest rung, climbed on the next finer one (or the same if there is one
/// only), and the other maxima that were met. `levels` is the pyramid, finest first.
///
/// # Errors
/// Usage: a capture of too many motions. Data: no motion of the lattice makes the blocks overlap and alike, with the best that was found; or none of the best
/// can be climbed.
pub fn search(
    isa: Isa,
    levels: &[Level],
    guess: Rigid,
    settings: &Settings,
    trace: &mut Vec<Step>,
) -> Result<(Rigid, Vec<Rigid>)> {
    let Some(coarse) = levels.last() else { return Err(Error::bug("a pyramid without a rung")) };
    let fine = levels.len().checked_sub(2).map_or(coarse, |k| &levels[k]);
    let wide = [(settings.capture, coarse.scale as f64), (settings.capture_turn.0, TURN.0)];
    let cube = |n: f64| n * n * n;
    let count = wide.iter().fold(1.0, |n, &(capture, step)| n * cube(2.0 * multiples(capture, step) + 1.0));
    if count > MOST {
        return Err(Error::usage(format!(
            "a capture of {} voxels and {}° has {count:.1e} motions to look at, more than {MOST:.0e}",
            settings.capture, settings.capture_turn.0
        ))
        .help("narrow it, or take larger blocks, whose coarsest rung has fewer"));
    }
    let shifts = lattice(settings.capture, coarse.scale as f64);
    let turns = lattice(settings.capture_turn.0, TURN.0);
    let triple = |k: usize, of: &[f64]| -> Point {
        [of[k % of.len()], of[k / of.len() % of.len()], of[k / of.len() / of.len()]]
    };
    let motions: Vec<Rigid> = (0..turns.len().pow(3) * shifts.len().pow(3))
        .map(|k| {
            let turn = triple(k / shifts.len().pow(3), &turns).map(|v| Radian::from(Degree(v)).0);
            let shift = triple(k % shifts.len().pow(3), &shifts);
            guess.then(&Rigid::new(turn, guess.apply(&guess.centre), shift))
        })
        .collect();
    let scores: Vec<f64> = motions
        .par_iter()
        .map(|motion| {
            let (correlation, part) = glance(isa, coarse, motion, VOXELS);
            if part < settings.least_overlap { -1.0 } else { correlation }
        })
        .collect();
    let mut order: Vec<usize> = (0..motions.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a])); // stable: ties in the lattice's order
    if scores[order[0]] <= 0.0 {
        return Err(Error::data(format!(
            "none of {} motions within {} voxels and {}° makes the blocks alike: the best correlation is {:.4}",
            motions.len(),
            settings.capture,
            settings.capture_turn.0,
            scores[order[0]]
        ))
        .help("check that both show the same part of the sample, or widen the search"));
    }
    // Those that arrived; and of the others, where none did and another rung goes on, how near they came.
    let mut found: [Vec<(f64, Rigid, Vec<Step>)>; 2] = [Vec::new(), Vec::new()];
    let mut failure = None;
    for &k in order.iter().take(CLIMBED).filter(|&&k| scores[k] > 0.0) {
        let mut steps = Vec::new();
        match ascend(isa, fine, motions[k], settings, &mut steps) {
            Ok((Top { motion: top, seen, .. }, ended)) => {
                let score = pass(isa, fine, &top, &seen, Want::Correlation).total.correlation();
                found[usize::from(!ended)].push((score, top, steps));
            }
            Err(e) => failure = failure.or(Some(e)),
        }
    }
    let [ended, near] = found;
    if ended.is_empty() && !near.is_empty() && levels.len() <= 2 {
        return Err(no_maximum(fine, settings, near[0].0));
    }
    let met = if ended.is_empty() { near } else { ended };
    let motions = met.iter().map(|m| m.1).collect();
    // The first of the highest.
    match (met.into_iter().reduce(|best, other| if other.0 > best.0 { other } else { best }), failure) {
        (Some((_, motion, steps)), _) => {
            trace.extend(steps);
            Ok((motion, motions))
        }
        (None, Some(e)) => Err(e),
        (None, None) => Err(Error::bug("no motion was climbed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lattice_leaves_nothing_farther_than_half_a_step() {
        assert_eq!(lattice(3.0, 2.0), [-2.0, 0.0, 2.0]);
        assert_eq!(lattice(20.0, 16.0), [-16.0, 0.0, 16.0]);
        assert_eq!(lattice(0.0, 8.0), [0.0]);
        assert_eq!(lattice(20.0, 8.0).len(), 5);
        for capture in 0..60 {
            for step in [2.0, 4.0, 8.0, 16.0] {
                let last = lattice(f64::from(capture), step).pop().unwrap();
                assert!(f64::from(capture) - last <= 0.5 * step && last - f64::from(capture) < 0.5 * step + 1e-9);
            }
        }
    }
}
