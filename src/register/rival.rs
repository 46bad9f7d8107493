//! L3. Whether another motion explains a pair of blocks as well: then neither is known.
//!
//! A climb ends at the nearest maximum, and its covariance is that of this one. Where a block has several of nearly one
//! height, such as streaks of too few views, which fall onto each other at every turn by the step between views, a mesh, or
//! the same layer twice, the highest is a matter of noise. So the correlation is looked at along lines through the maximum,
//! at half the resolution,
//!
//! ```text
//! turns    about x, y, z by ± ½, 1 … 6° about the middle of the block
//! shifts   along x, y, z by 2, 4 … voxels of the rung within ± capture
//! ```
//!
//! and the highest other maxima of these lines with the motions beside them (a climb may step over a narrow maximum), and
//! those that the coarse search has met, are climbed. With the misfits
//! e = Σ r² of the two motions over a cell ([`super::pass`]), the rival's for as many voxels as the first has seen,
//!
//! ```text
//! d = e_rival − e          q = Σ e_rival / Σ e          t = Σ d / √(Σ d²)
//! ```
//!
//! t tells a difference from chance where cells are many, q where they are few. A rival that is farther away than the first
//! is uncertain, with q < 1.25 and t < 4, refuses both. Not seen: a rival that only a turn and a shift together lead to, and
//! an artefact that fits better than the sample does.

use super::Settings;
use super::gauss_newton::{block_corners, climb};
use super::level::Level;
use super::pass::{Pass, Want, glance, pass};
use super::rigid::{Point, Rigid, length, sub};
use crate::error::{Error, Result};
use crate::num::lanes::Isa;
use crate::units::{Degree, Radian};
use rayon::prelude::*;
use std::array::from_fn;

/// Between two turns of a line, and how far it goes.
const TURN: Degree = Degree(0.5);
const TURNS: i32 = 12;
/// Between two shifts, voxels of the rung.
const SHIFT: f64 = 2.0;
/// Voxels that a motion of a line is scored by, about.
const VOXELS: usize = 20_000;
/// Part of the first's correlation from which a maximum of a line is worth a climb, and most that are climbed.
const PROMISING: f64 = 0.3;
const CLIMBED: usize = 4;
/// Motions that take no corner farther apart than this are one, voxels of the rung; or deviations of the first's corner.
const ONE: f64 = 1.0;
const SIGMAS: f64 = 6.0;
/// Largest q and t of a rival; largest q with which one is followed to the full resolution.
const ALIKE: f64 = 1.25;
const CHANCE: f64 = 4.0;
const FOLLOWED: f64 = 2.0;

/// `motion` turned and shifted about the image of its centre.
fn moved(motion: &Rigid, turn: Point, shift: Point) -> Rigid {
    motion.then(&Rigid::new(turn, motion.apply(&motion.centre), shift))
}

/// The other maxima of the lines through a maximum, the highest first, each with what lies beside it on its line.
fn on_lines(isa: Isa, level: &Level, top: &Rigid, settings: &Settings) -> Vec<[Rigid; 3]> {
    let along = |axis: usize, v: f64| -> Point { from_fn(|i| if i == axis { v } else { 0.0 }) };
    let step = SHIFT * level.scale as f64;
    let shifts = (settings.capture / step).ceil() as i32;
    let lines: Vec<(usize, bool)> = (0..6).map(|k| (k % 3, k < 3)).collect();
    let at = |&(axis, turns): &(usize, bool), k: i32| match turns {
        true => moved(top, along(axis, f64::from(k) * Radian::from(TURN).0), [0.0; 3]),
        false => moved(top, [0.0; 3], along(axis, f64::from(k) * step)),
    };
    let score = |motion: &Rigid| {
        let (correlation, part) = glance(isa, level, motion, VOXELS);
        if part < settings.least_overlap { -1.0 } else { correlation }
    };
    let mut found: Vec<(f64, [Rigid; 3])> = Vec::new();
    for line in &lines {
        let most = if line.1 { TURNS } else { shifts };
        let places: Vec<i32> = (-most..=most).collect();
        let scores: Vec<f64> = places.par_iter().map(|&k| score(&at(line, k))).collect();
        let least = PROMISING * scores[most as usize];
        for (k, &place) in places.iter().enumerate().filter(|&(_, &place)| place.abs() > 1) {
            let beside = |other: Option<usize>| other.and_then(|i| scores.get(i)).is_none_or(|&s| scores[k] > s);
            if scores[k] > least && beside(k.checked_sub(1)) && beside(Some(k + 1)) {
                found.push((scores[k], [0, -1, 1].map(|off| at(line, place + off))));
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0)); // stable: ties in the order of the lines
    found.into_iter().map(|f| f.1).collect()
}

/// Farthest that two motions take a corner of the block apart, voxels.
fn apart(level: &Level, a: &Rigid, b: &Rigid) -> f64 {
    block_corners(level).iter().fold(0.0, |far: f64, p| far.max(length(&sub(&a.apply(p), &b.apply(p)))))
}

/// q and t.
fn compare(first: &Pass, rival: &Pass) -> (f64, f64) {
    let [a, b] = [first, rival].map(|p| {
        let s = &p.total;
        (s.ff() / s.fg(), [s.f() / s.n(), s.g() / s.n()])
    });
    let (mut own, mut other, mut sum, mut squares) = (0.0, 0.0, 0.0, 0.0f64);
    for (x, y) in first.cells.iter().zip(&rival.cells).filter(|(x, y)| x.n() > 0.0 && y.n() > 0.0) {
        let (e, f) = (x.misfit(a.0, a.1), y.misfit(b.0, b.1) * x.n() / y.n());
        (own, other, sum, squares) = (own + e, other + f, sum + f - e, squares + (f - e) * (f - e));
    }
    (other / own, if squares > 0.0 { sum / squares.sqrt() } else { 0.0 })
}

/// Refuses a maximum, at full resolution, that has a rival; `met` are maxima that the coarse search has found.
///
/// # Errors
/// Data: there is one, with the numbers.
pub fn refuse(isa: Isa, levels: &[Level], top: &Rigid, met: &[Rigid], sigma: f64, settings: &Settings) -> Result<()> {
    let fine = &levels[0];
    let half = levels.get(1).unwrap_or(fine);
    let one = |level: &Level| (ONE * level.scale as f64).max(SIGMAS * sigma);
    let look = |level: &Level, motion: &Rigid| pass(isa, level, motion, motion, Want::Correlation);
    let climbed = |level: &Level, from: &Rigid| climb(isa, level, *from, settings, &mut Vec::new()).ok();
    let mut starts: Vec<Rigid> = on_lines(isa, half, top, settings).into_iter().take(CLIMBED).flatten().collect();
    starts.extend(met.iter().map(|m| m.about(top.centre)).filter(|m| apart(half, m, top) > one(half)));
    let mut first: Option<(Pass, Pass)> = None;
    let mut rivals: Vec<Rigid> = Vec::new();
    for start in starts {
        let Some(rival) = climbed(half, &start).map(|top| top.motion) else { continue };
        let known = |other: &Rigid| apart(half, &rival, other) < one(half);
        if known(top) || rivals.iter().any(known) {
            continue;
        }
        rivals.push(rival);
        let (coarse, exact) = first.get_or_insert_with(|| {
            let own = climbed(half, top).map_or(*top, |t| t.motion);
            (look(half, &own), look(fine, top))
        });
        let other = look(half, &rival);
        if compare(coarse, &other).0 > FOLLOWED {
            continue;
        }
        // Where it has no top at full resolution, half of it must tell.
        let (own, other, rival) = match climbed(fine, &rival) {
            Some(other) => (&*exact, look(fine, &other.motion), other.motion),
            None => (&*coarse, other, rival),
        };
        let distance = apart(fine, &rival, top);
        let (q, t) = compare(own, &other);
        if distance > one(fine) && q < ALIKE && t < CHANCE {
            let off = top.inverse().then(&rival);
            return Err(Error::data(format!(
                "two motions explain the blocks as well: correlation {:.4}, and {:.4} with {:.2}° more of turn, {distance:.1} \
                 voxels away at a corner (misfit {q:.3} times the first's, {t:.1} deviations)",
                own.total.correlation(),
                other.total.correlation(),
                off.angle().0
            ))
            .help(
                "streaks of few views, or something periodic, may be stronger than the sample: name a region with structure \
                 of its own (--columns, --bodies, --slices), or narrow --capture and --capture-turn around what is known",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::block::tests::Texture;
    use super::super::rigid::middle;
    use super::super::{Match, Piece, register};
    use super::*;
    use crate::num::elementary::cos;
    use crate::num::philox::Stream;
    use crate::volume::Dims;
    use std::f64::consts::TAU;

    const DIMS: Dims = Dims { nz: 48, ny: 56, nx: 64 };

    /// A mesh, period 14 along x and of no period along y and z, `own` times something that has none at all, and noise.
    fn mesh(map: &Rigid, own: f64, seed: u64) -> Piece {
        let (layers, texture, noise) = (Texture::new(3.0, 5), Texture::new(3.0, 6), Stream::new(seed, 5));
        let value = |i: usize| {
            let p = map.apply(&[i % DIMS.nx, i / DIMS.nx % DIMS.ny, i / DIMS.slice()].map(|v| v as f64));
            let repeated = layers.at(&[20.0 * cos(TAU * p[0] / 14.0), p[1], p[2]]);
            (repeated + own * texture.at(&p) + 0.1 * noise.normal(i as u64)) as f32
        };
        Piece::whole(DIMS, (0..DIMS.voxels()).into_par_iter().map(value).collect()).unwrap()
    }

    fn found(own: f64, capture: f64) -> Result<(Match, Rigid)> {
        let truth = Rigid::new([0.005, -0.01, 0.004], middle(DIMS), [3.2, -1.1, 2.4]);
        let (fixed, moving) = (mesh(&Rigid::identity([0.0; 3]), own, 1), mesh(&truth.inverse(), own, 2));
        let settings = Settings { capture, capture_turn: Degree(1.0), ..Settings::default() };
        register(Isa::detect(), &fixed, &moving, &Rigid::identity([0.0; 3]), &settings).map(|found| (found, truth))
    }

    #[test]
    fn a_period_further_fits_as_well_and_is_refused() {
        let text = found(0.0, 16.0).unwrap_err().to_string();
        assert!(text.contains("two motions explain the blocks as well"), "{text}");
    }

    #[test]
    fn what_has_no_period_decides() {
        for (own, capture) in [(0.5, 16.0), (0.0, 4.0)] {
            let (found, truth) = found(own, capture).unwrap();
            let (_, worst) = found.motion.corner_distance(&truth, [0.0; 3], DIMS);
            assert!(worst < 0.1, "{own} {capture}: {worst}");
        }
    }
}
