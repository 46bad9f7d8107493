//! L3. One pair of blocks: coarse start, pyramid, a last climb by the voxels that fit, and what the result is worth.
//!
//! **What changed.** Between two scans of an operando series lithium goes and comes. The correlation of all voxels has its
//! maximum where that change is fitted, too; so from there the climb goes on with voxels weighted by how they fit
//! ([`super::gauss_newton::settle`]), to where those that did not change have theirs.
//!
//! **Covariance.** At the maximum the slope b = Σ J~ r is zero, a sum of noise with a variance; a motion off by ξ has the
//! slope M ξ. The sandwich of the two is the covariance of the motion,
//!
//! ```text
//! Cov(ξ) = M⁻¹ B M⁻¹     B = C/(C − 6) Σ_cells b_c b_cᵀ     M = 0.828 a (sym Σ J~ K~ᵀ − (Σ J~ f~)(Σ K~ f~)ᵀ / ⟨f~, f~⟩)
//! ```
//!
//! - b_c is the part of b from cell c, a bar along x of a few rows and slices. Noise of CT is correlated over a few voxels,
//!   cells over none, so that B holds the correlations without a model of them: neither white noise (which would be
//!   too sure) nor a correlation volume κ (which asks that J does not change within it) is assumed.
//! - M has the slopes of f on one side and of g on the other: noise in both is independent and drops out of the product,
//!   while Σ J Jᵀ holds the energy of f's noise and would be too sure by a fifth at noise of 0.3.
//!
//! Sums have the weights of the last step; 0.828 is what they take from the slope of b for normal noise. ξ is about the
//! motion's centre; the covariance is given for (ω, t) of the motion, in radians and voxels. It holds what is
//! random; warps of the sample and artefacts of the detector are systematic, and show as scatter between blocks.

use super::gauss_newton::{CORE, ascend, block_corners, climb, curvature, settle, shared_curvature, slope, volume};
use super::level::{Level, Piece};
use super::pass::{Pass, Sums, glance};
use super::rigid::{Point, Rigid, length, sub};
use super::search::search;
use super::{Settings, Step, rival, streaks};
use crate::error::{Error, Result};
use crate::num::lanes::Isa;
use crate::num::linalg::{Matrix, inverse, product, symmetric_eigen, transpose};
use std::array::from_fn;

/// Fewest voxels of a block along each axis: fewer have too few cells for a covariance of six numbers.
pub const LEAST_BLOCK: usize = 24;

/// What is known about the motion of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// From the fixed volume to the moving one, about the middle of the fixed block.
    pub motion: Rigid,
    /// Of (ω, t), radians and voxels.
    pub covariance: Matrix<6>,
    /// Standard deviation of the worst corner of the block, voxels.
    pub corner_sigma: f64,
    /// Correlation at the guess and at the result.
    pub correlation: [f64; 2],
    /// Part of the fixed block that lies in the moving one.
    pub overlap: f64,
    /// Mean weight of the voxels in both: 0.915 if nothing changed but the noise, less where the sample did.
    pub fitting: f64,
    /// Least eigenvalue of the information by its greatest, rotations in units of the block's radius.
    pub condition: f64,
    /// Sum of the cells' shares of the correlation by the root of the sum of their squares: chance stays below 4 or 5.
    pub significance: f64,
    /// What was done.
    pub trace: Vec<Step>,
}

impl Match {
    /// Steps on all rungs.
    pub fn iterations(&self) -> usize {
        self.trace.iter().filter(|s| s.step > 0.0).count()
    }
}

/// Registers a pair of blocks: the motion that takes points of the fixed volume to points of the moving one, near `guess`.
///
/// # Errors
/// Data, with the reason and the numbers: blocks too small, constant, not finite, without overlap, not alike, with too
/// little structure for six parameters, or a motion beyond the capture of the settings.
pub fn register(isa: Isa, fixed: &Piece, moving: &Piece, guess: &Rigid, settings: &Settings) -> Result<Match> {
    let least = fixed.dims.nx.min(fixed.dims.ny).min(fixed.dims.nz);
    if least < LEAST_BLOCK {
        return Err(Error::data(format!("a block of {least} voxels along an axis is too small"))
            .help(format!("blocks have {LEAST_BLOCK} or more")));
    }
    let guess = guess.about(fixed.middle());
    let levels = Level::pyramid(isa, fixed, moving, COARSEST)?;
    let mut trace = Vec::new();
    let (mut motion, met) = search(isa, &levels, guess, settings, &mut trace)?;
    // The search has climbed the rung below the coarsest.
    let rest = levels.len().saturating_sub(2).max(1);
    for level in levels[1..rest].iter().rev() {
        motion = ascend(isa, level, motion, settings, &mut trace)?.0.motion;
    }
    let fine = &levels[0];
    // A quarter of the voxels tells a correlation.
    let voxels = fine.fixed.field.dims().voxels() / 4;
    let (before, _) = glance(isa, fine, &guess, voxels);
    let top = climb(isa, fine, motion, settings, &mut trace)?;
    let (motion, last) = settle(isa, fine, &top, settings, &mut trace)?;
    let (after, overlap) = glance(isa, fine, &motion, voxels);
    let fitting = last.total.n() / (overlap * volume(fine));
    let found = judge(fine, motion, &last)?;
    let found = Match { correlation: [before, after], overlap, fitting, trace, ..found };
    verdict(&found, &guess, settings)?;
    rival::refuse(isa, &levels, &top.motion, &met, found.corner_sigma, settings)?;
    streaks::refuse(isa, fixed, moving, &found.motion)?;
    Ok(found)
}

/// The coarsest rung, on which the search runs.
const COARSEST: usize = 16;

/// Covariance, condition and significance at the maximum.
fn judge(level: &Level, motion: Rigid, pass: &Pass) -> Result<Match> {
    // A residual's influence grows less than it where weights fall: by CORE, on average.
    let m = shared_curvature(pass).map(|row| row.map(|v| CORE * v));
    let radius = block_corners(level).iter().fold(0.0, |r: f64, p| r.max(length(&sub(p, &motion.centre))));
    let unit: [f64; 6] = from_fn(|i| if i < 3 { 1.0 / radius } else { 1.0 });
    let eigen = |m: &Matrix<6>| {
        let scaled: Matrix<6> = from_fn(|i| from_fn(|l| m[i][l] * unit[i] * unit[l]));
        symmetric_eigen(&scaled).ok_or_else(|| Error::bug("information that is not finite"))
    };
    let (values, vectors) = eigen(&m)?;
    let condition = values[0] / values[5];
    if condition < LEAST_CONDITION {
        let own = eigen(&curvature(pass))?.0;
        if own[0] > LEAST_CONDITION * own[5] {
            return Err(Error::data(format!(
                "the fixed block holds six parameters, but what both blocks show does not: correlation {:.4}",
                pass.total.correlation()
            ))
            .help("it may have changed, or hold bodies that moved apart: name them, each by its region"));
        }
        let weak = vectors[0].iter().zip(["turn x", "turn y", "turn z", "x", "y", "z"]);
        let weak: Vec<String> = weak.map(|(v, name)| format!("{v:.2} {name}")).collect();
        return Err(Error::data(format!(
            "the block has too little structure for six parameters: the information along ({}) is {condition:.1e} of the \
             greatest",
            weak.join(", ")
        ))
        .help("choose a block with edges in all directions"));
    }
    let Some(m_inverse) = inverse(&m) else { return Err(Error::bug("a good condition without an inverse")) };
    let cells: Vec<&Sums> = pass.cells.iter().filter(|cell| cell.n() > 0.0).collect();
    let Some(b) = scatter(pass) else {
        return Err(Error::data(format!("the blocks overlap in {} cells only", cells.len())).help("give larger blocks"));
    };
    let inner = product(&product(&m_inverse, &b), &m_inverse);
    // W ∘ Δ⁻¹ turns by −R ω and shifts by −R τ.
    let turn: Matrix<6> = from_fn(|i| from_fn(|l| if i / 3 == l / 3 { motion.rotation[i % 3][l % 3] } else { 0.0 }));
    let covariance = product(&product(&turn, &inner), &transpose(&turn));
    let corner_sigma =
        block_corners(level).iter().fold(0.0, |far: f64, p| far.max(point_sigma(&motion, &covariance, p)));
    Ok(Match {
        motion,
        covariance,
        corner_sigma,
        correlation: [0.0; 2],
        overlap: 0.0,
        fitting: 0.0,
        condition,
        significance: significance(pass),
        trace: Vec::new(),
    })
}

/// Sum of the cells' shares of the correlation by the root of the sum of their squares.
fn significance(pass: &Pass) -> f64 {
    let s = &pass.total;
    let (f_mean, g_mean) = (s.f() / s.n(), s.g() / s.n());
    let share = |c: &Sums| c.raw_fg() - f_mean * c.g() - g_mean * c.f() + c.n() * f_mean * g_mean;
    let (shares, squares) = pass.cells.iter().map(share).fold((0.0, 0.0), |(a, b), v| (a + v, b + v * v));
    if squares > 0.0 { shares / squares.sqrt() } else { 0.0 }
}

/// Whether two blocks are alike by more than chance.
pub fn are_alike(pass: &Pass) -> bool {
    let correlation = pass.total.correlation();
    correlation >= SURE || correlation > 0.0 && significance(pass) >= SIGNIFICANT
}

/// B: C/(C − 6) Σ b_c b_cᵀ over the C cells that have voxels; `None` if those are six or fewer.
pub fn scatter(pass: &Pass) -> Option<Matrix<6>> {
    let s = &pass.total;
    let (n, gain, j, whole) = (s.n(), s.ff() / s.fg(), s.j(), slope(s));
    let (f_mean, g_mean) = (s.f() / n, s.g() / n);
    let (mut b, mut count) = ([[0.0; 6]; 6], 0.0);
    for cell in pass.cells.iter().filter(|cell| cell.n() > 0.0) {
        let (cf, cg, cj) = (cell.f() - cell.n() * f_mean, cell.g() - cell.n() * g_mean, cell.j());
        let (cjf, cjg) = (cell.jf(), cell.jg());
        // Σ (J − J̄)(a g~ − f~) over the cell, less its share of b, which is not quite zero a step below the top.
        let own: [f64; 6] = from_fn(|i| {
            let raw = gain * (cjg[i] - g_mean * cj[i]) - (cjf[i] - f_mean * cj[i]);
            raw - j[i] / n * (gain * cg - cf) - whole[i] * cell.n() / n
        });
        (0..6).for_each(|i| (0..6).for_each(|l| b[i][l] += own[i] * own[l]));
        count += 1.0;
    }
    (count > 6.0).then(|| b.map(|row| row.map(|v| v * count / (count - 6.0))))
}

/// Standard deviation of where a point goes, voxels: the root of the trace of G Cov Gᵀ, G = (−[R (p − c)]×, 1).
pub fn point_sigma(motion: &Rigid, covariance: &Matrix<6>, p: &Point) -> f64 {
    point_variances(motion, covariance, p).iter().fold(0.0, |s, v| s + v).max(0.0).sqrt()
}

/// Variances of where a point goes along x, y, z, voxels²: the diagonal of G Cov Gᵀ.
pub fn point_variances(motion: &Rigid, covariance: &Matrix<6>, p: &Point) -> [f64; 3] {
    let [x, y, z] = sub(&sub(&motion.apply(p), &motion.centre), &motion.translation);
    let g = [[0.0, z, -y, 1.0, 0.0, 0.0], [-z, 0.0, x, 0.0, 1.0, 0.0], [y, -x, 0.0, 0.0, 0.0, 1.0]];
    g.map(|row| {
        let mut variance = 0.0;
        for i in 0..6 {
            for l in 0..6 {
                variance += row[i] * covariance[i][l] * row[l];
            }
        }
        variance
    })
}

/// Below this part of the greatest, information is rounding.
const LEAST_CONDITION: f64 = 1e-5;
/// A correlation above is believed however few cells it comes from; below, it must be significant.
pub const SURE: f64 = 0.5;
/// Least significance of a weak correlation.
const SIGNIFICANT: f64 = 6.0;
/// Voxels and degrees beyond the capture that a climb from its edge may end at.
const BEYOND: f64 = 5.0;
const BEYOND_TURN: f64 = 1.0;

/// Whether the result may be used.
fn verdict(found: &Match, guess: &Rigid, settings: &Settings) -> Result<()> {
    let after = found.correlation[1];
    if after < SURE && found.significance < SIGNIFICANT {
        return Err(Error::data(format!(
            "the blocks are alike by chance: correlation {after:.4}, significance {:.1} of at least {SIGNIFICANT}",
            found.significance
        ))
        .help("the motion may be beyond the capture, or the volumes show different things"));
    }
    if found.corner_sigma > settings.worst_sigma {
        return Err(Error::data(format!(
            "the block does not hold its motion: standard deviation {:.2} voxels at a corner, at most {}",
            found.corner_sigma, settings.worst_sigma
        ))
        .help("choose a larger block, or one with edges in all directions"));
    }
    let moved = guess.inverse().then(&found.motion);
    let shift = length(&sub(&found.motion.apply(&guess.centre), &guess.apply(&guess.centre)));
    // ± capture along each axis is √3 of it in a corner of the lattice.
    let most = settings.capture * 3f64.sqrt() + BEYOND;
    let turn = moved.angle().0;
    let most_turn = settings.capture_turn.0 * 3f64.sqrt() + BEYOND_TURN;
    if shift > most || turn > most_turn {
        return Err(Error::data(format!(
            "the motion is beyond the capture: {shift:.1} voxels and {turn:.2}° from the start, at most {most:.1} and \
             {most_turn:.2}°"
        ))
        .help("widen the search, or give a start nearer to the motion"));
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
