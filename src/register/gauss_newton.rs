//! L3. The fine stage on one rung: inverse-compositional Gauss–Newton on the zero-mean normalised correlation.
//!
//! With f~ = f − f̄, g~ = g − ḡ at W, J as in [`super::pass`] and J~ = J − J̄ (S. Baker, I. Matthews, Int. J. Computer
//! Vision 56, 221, 2004; B. Pan, K. Li, W. Tong, Exp. Mech. 53, 1277, 2013):
//!
//! ```text
//! a = ⟨f~, f~⟩ / ⟨f~, g~⟩          r = a g~ − f~          b = Σ J~ r
//! H = Σ J~ J~ᵀ − (Σ J~ f~)(Σ J~ f~)ᵀ / ⟨f~, f~⟩           (H + λ diag H) ξ = b,   ξ = (ω, τ)
//! W ← W ∘ Δ⁻¹,   Δ(x) = exp[ω]× (x − c) + c + τ
//! ```
//!
//! b is the slope of the correlation itself, so that its zero is a maximum of the correlation, whatever gain and offset lie
//! between the two. Slopes are those of the fixed block, where nothing is interpolated: noise of the moving block between
//! its voxels does not pull the motion to a phase. A step is taken if it raises the correlation; if not, λ grows (Levenberg)
//! and the step is tried again, shorter. The curvature stays what it was at the rung's first look.
//!
//! H holds the energy of the noise in ∇f besides that of the sample: steps by it are too short by that part, a fifth for
//! noise of 0.3 on a texture of 3 voxels, and nearly all of them where streaks of a reconstruction are steeper than the
//! sample. So a rung begins with M instead, which has the slopes of both blocks, whose noises drop out of the product
//! ([`shared_curvature`]); where the blocks are too far apart for M to be a curvature, H it is. What remains of the error
//! shrinks by a ratio ρ per step, and after a step s what is left is s ρ/(1 − ρ): the climb ends where that is below the
//! tolerance.

use super::Settings;
use super::level::Level;
use super::pass::{Pass, SLACK, Sums, Want, Weights, pass, weighted};
use super::rigid::{Point, Rigid, corners, length, sub};
use crate::error::{Error, Result};
use crate::num::lanes::Isa;
use crate::num::linalg::{Matrix, solve_positive, symmetric_eigen};
use std::array::from_fn;

/// What one step did: a line of the trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Voxels of the volume per voxel of the rung.
    pub scale: usize,
    /// The motion that was tried.
    pub motion: Rigid,
    /// The correlation there.
    pub correlation: f64,
    /// Farthest that the step moves a corner of the block, voxels; 0 for the first look.
    pub step: f64,
    /// λ.
    pub damping: f64,
    /// Whether it was taken.
    pub taken: bool,
}

/// λ after a first step that failed, and its factor from failure to failure.
const FIRST_DAMPING: f64 = 1e-3;
const DAMPING_FACTOR: f64 = 10.0;
/// Ratio of a step to the one before that is assumed for the first, and the slowest that is believed.
const UNKNOWN: f64 = 0.5;
const SLOWEST: f64 = 0.9;
/// How often voxels are chosen anew on a rung.
const CHOICES: usize = 8;

/// H: Σ J~ J~ᵀ less what gain and offset take, from the sample for all.
pub fn curvature(pass: &Pass) -> Matrix<6> {
    let sums = &pass.sample;
    let all = pass.total.n() / sums.n();
    let (j, jf, jj) = (sums.j(), centred(&sums.j(), &sums.jf(), sums.f(), sums.n()), sums.jj());
    from_fn(|i| from_fn(|k| all * (jj[i][k] - j[i] * j[k] / sums.n() - jf[i] * jf[k] / sums.ff())))
}

/// M = a sym(Σ J~ K~ᵀ − (Σ J~ f~)(Σ K~ f~)ᵀ / ⟨f~, f~⟩) from the sample for all: as H, with the slopes of f on one side and
/// those of a g on the other.
pub fn shared_curvature(pass: &Pass) -> Matrix<6> {
    let s = &pass.sample;
    let (n, j, k, jk) = (s.n(), s.j(), s.k(), s.jk());
    let (jf, kf) = (centred(&j, &s.jf(), s.f(), n), centred(&k, &s.kf(), s.f(), n));
    let m: Matrix<6> = from_fn(|i| from_fn(|l| jk[i][l] - j[i] * k[l] / n - jf[i] * kf[l] / s.ff()));
    let factor = 0.5 * pass.total.ff() / pass.total.fg() * pass.total.n() / n;
    from_fn(|i| from_fn(|l| factor * (m[i][l] + m[l][i])))
}

/// Whether M is a curvature: no direction with less than a thousandth of H's. It is none where the blocks are too far apart,
/// or nothing in them is the same.
pub fn is_shared(pass: &Pass) -> bool {
    const LEAST: f64 = 1e-3;
    let (m, h) = (shared_curvature(pass), curvature(pass));
    let part: Matrix<6> = from_fn(|i| from_fn(|l| m[i][l] / (h[i][i] * h[l][l]).sqrt()));
    symmetric_eigen(&part).is_some_and(|(values, _)| values[0] > LEAST)
}

/// M, if that is a curvature, else H.
fn best_curvature(pass: &Pass) -> Matrix<6> {
    if is_shared(pass) { shared_curvature(pass) } else { curvature(pass) }
}

/// Σ J~ f~ from Σ J, Σ J f, Σ f.
pub fn centred(j: &[f64; 6], jf: &[f64; 6], f: f64, n: f64) -> [f64; 6] {
    from_fn(|i| jf[i] - j[i] * f / n)
}

/// b: the slope.
pub fn slope(sums: &Sums) -> [f64; 6] {
    let gain = sums.ff() / sums.fg();
    let (jg, jf) =
        (centred(&sums.j(), &sums.jg(), sums.g(), sums.n()), centred(&sums.j(), &sums.jf(), sums.f(), sums.n()));
    from_fn(|i| gain * jg[i] - jf[i])
}

/// Corners of the fixed block, in the volume's indices.
pub fn block_corners(level: &Level) -> [Point; 8] {
    let own = corners([0.0; 3], level.fixed.field.dims());
    own.map(|p| from_fn(|i| level.fixed.origin[i] + level.scale as f64 * p[i]))
}

/// Where a climb ended.
pub struct Top {
    /// The motion at the maximum.
    pub motion: Rigid,
    /// The motion under which voxels were chosen (see [`pass`]).
    pub seen: Rigid,
    /// The first look, with everything, if the one step from there was within the tolerance.
    pub look: Option<Pass>,
}

/// Climbs to the maximum near `start`, and appends what was done to `trace`.
///
/// # Errors
/// Data: the blocks overlap too little, one does not vary, they are not alike, the structure leaves a motion open, or the
/// steps do not end within the settings' number.
pub fn climb(isa: Isa, level: &Level, start: Rigid, settings: &Settings, trace: &mut Vec<Step>) -> Result<Top> {
    match ascend(isa, level, start, settings, trace)? {
        (top, true) => Ok(top),
        _ => Err(no_maximum(level, settings, trace.last().map_or(0.0, |step| step.correlation))),
    }
}

/// Climbs, and says whether it arrived; where the steps do not end, as near as they came, from where another rung may go on.
///
/// # Errors
/// As [`climb`], but for steps that do not end.
pub fn ascend(
    isa: Isa,
    level: &Level,
    start: Rigid,
    settings: &Settings,
    trace: &mut Vec<Step>,
) -> Result<(Top, bool)> {
    let scale = level.scale as f64;
    let mut top = Top { motion: start, seen: start, look: None };
    for _ in 0..CHOICES {
        let (found, ended) = climb_on(isa, level, top.motion, settings, trace)?;
        let near = farthest(level, &top.motion.inverse().then(&found.motion)) <= SLACK * scale;
        top = found;
        if near || !ended {
            return Ok((top, ended));
        }
    }
    Ok((top, false))
}

/// What does not fit, a deviation of the residual: of a normal one, 4.685 keeps 95 % of what all voxels know.
const CUT: f64 = 4.685;
/// A face that moved by less than this is no change, voxels: a segment of current takes 0.9 off an electrode.
const FACE: f64 = 1.0;
/// Σ w r² / Σ w of a normal residual of variance 1, from its moments: (1 − 6/c² + 15/c⁴) / (1 − 2/c² + 3/c⁴).
pub const CORE: f64 = 0.8284;
/// Most steps with weights, and how many tolerances the last may still be long: weights that change make steps shrink
/// slowly.
const WEIGHTED: usize = 20;
const SLOW: f64 = 10.0;

/// From the maximum to where the voxels that fit have theirs: the part of the sample that changed between the scans (lithium
/// that went or came) must not pull at the motion. Biweights ([`Weights`]) of the residual at the step before, its deviation
/// that of the voxels as they are weighted; ends where a step moves no corner farther than the tolerance. Returns the
/// motion, and everything at the step before.
///
/// # Errors
/// Data: what fits has too little structure, or twenty steps do not end.
pub fn settle(isa: Isa, level: &Level, top: &Top, settings: &Settings, trace: &mut Vec<Step>) -> Result<(Rigid, Pass)> {
    let mut sums = match &top.look {
        Some(look) => look.total.clone(),
        None => pass(isa, level, &top.motion, &top.seen, Want::Correlation).total,
    };
    let (mut motion, mut core) = (top.motion, 1.0);
    for k in 1.. {
        let (gain, n) = (sums.ff() / sums.fg(), sums.n());
        let square = (gain * gain * sums.gg() - 2.0 * gain * sums.fg() + sums.ff()).max(0.0) / n / core;
        // Without noise there is nothing to weigh: rounding of an f32 next to the contrast.
        let cut = CUT * square.max(1e-12 * sums.ff() / n).sqrt();
        let weights = Weights { gain, means: [sums.f() / n, sums.g() / n], cut, slack: FACE };
        let look = weighted(isa, level, &motion, &top.seen, Some(weights), Want::Everything);
        let Some(xi) = solve_positive(&best_curvature(&look), &slope(&look.total)) else {
            return Err(Error::data("what is left of the block without what changed has too little structure")
                .help("choose a block that changes less"));
        };
        let delta = Rigid::new([xi[0], xi[1], xi[2]], motion.centre, [xi[3], xi[4], xi[5]]);
        let (step, correlation) = (farthest(level, &delta), look.total.correlation());
        trace.push(Step { scale: level.scale, motion, correlation, step, damping: 0.0, taken: true });
        motion = delta.inverse().then(&motion);
        if step < settings.tolerance || k == WEIGHTED && step < SLOW * settings.tolerance {
            return Ok((motion, look));
        }
        if k == WEIGHTED {
            return Err(no_maximum(level, settings, correlation));
        }
        (sums, core) = (look.total, CORE);
    }
    Err(Error::bug("an endless loop that ended"))
}

/// Farthest that a small motion takes a corner of the block, voxels.
fn farthest(level: &Level, motion: &Rigid) -> f64 {
    block_corners(level).iter().fold(0.0, |far: f64, p| far.max(length(&sub(&motion.apply(p), p))))
}

/// What is said where steps do not end.
pub fn no_maximum(level: &Level, settings: &Settings, correlation: f64) -> Error {
    Error::data(format!(
        "no maximum within {} steps at 1/{} of the resolution: correlation {correlation:.4}",
        settings.iterations, level.scale
    ))
    .help("give a start nearer to the motion, or a block with more structure")
}

/// As [`ascend`], with the voxels of `seen`, where it starts.
fn climb_on(isa: Isa, level: &Level, seen: Rigid, settings: &Settings, trace: &mut Vec<Step>) -> Result<(Top, bool)> {
    let scale = level.scale;
    let look = pass(isa, level, &seen, &seen, Want::Everything);
    check(level, &look.total, settings)?;
    let h = best_curvature(&look);
    let (mut motion, mut sums, mut damping, mut last) = (seen, look.total.clone(), 0.0, f64::INFINITY);
    let mut note = |motion: &Rigid, sums: &Sums, step: f64, damping: f64, taken: bool| {
        trace.push(Step { scale, motion: *motion, correlation: sums.correlation(), step, damping, taken });
    };
    note(&motion, &sums, 0.0, 0.0, true);
    let tolerance = settings.tolerance * scale as f64;
    for _ in 0..settings.iterations {
        let mut damped = h;
        (0..6).for_each(|i| damped[i][i] *= 1.0 + damping);
        let Some(xi) = solve_positive(&damped, &slope(&sums)) else {
            return Err(Error::data(format!(
                "the block has too little structure for six parameters at 1/{scale} of the resolution"
            ))
            .help("choose a block with edges in all directions"));
        };
        let delta = Rigid::new([xi[0], xi[1], xi[2]], motion.centre, [xi[3], xi[4], xi[5]]);
        let step = farthest(level, &delta);
        let next = delta.inverse().then(&motion);
        let ratio = if last.is_finite() { (step / last).min(SLOWEST) } else { UNKNOWN };
        if damping == 0.0 && step * ratio / (1.0 - ratio) < tolerance {
            let look = last.is_infinite().then_some(look);
            return Ok((Top { motion: next, seen, look }, true));
        }
        let found = pass(isa, level, &next, &seen, Want::Slope).total;
        let better = found.n() >= settings.least_overlap * volume(level) && found.correlation() > sums.correlation();
        note(&next, &found, step, damping, better);
        if better {
            (motion, sums, last) = (next, found, step);
            damping = if damping <= FIRST_DAMPING { 0.0 } else { damping / DAMPING_FACTOR };
        } else if step < tolerance {
            // No step that would matter helps: this is the top, to rounding.
            return Ok((Top { motion, seen, look: None }, true));
        } else {
            damping = if damping == 0.0 { FIRST_DAMPING } else { damping * DAMPING_FACTOR };
        }
    }
    Ok((Top { motion, seen, look: None }, false))
}

/// Voxels of the fixed block that a pass looks at when all of them lie in the moving block.
pub fn volume(level: &Level) -> f64 {
    let d = level.fixed.field.dims();
    [d.nx, d.ny, d.nz].iter().fold(1.0, |v, n| v * (n - 2 * level.margin) as f64)
}

/// Whether the sums say anything.
///
/// # Errors
/// As [`climb`].
pub fn check(level: &Level, sums: &Sums, settings: &Settings) -> Result<()> {
    let part = sums.n() / volume(level);
    if part < settings.least_overlap {
        return Err(Error::data(format!(
            "the blocks overlap by {:.1} %, less than {:.0} %",
            100.0 * part,
            100.0 * settings.least_overlap
        ))
        .help("give a start nearer to the motion, or larger blocks"));
    }
    for (name, square, mean) in [("fixed", sums.ff(), level.fixed.mean), ("moving", sums.gg(), level.moving.mean)] {
        /// A block is constant if it varies by less than the rounding of its f32.
        const ROUNDING: f64 = 1e-6;
        let deviation = (square.max(0.0) / sums.n()).sqrt();
        let size = f64::from(mean).abs();
        if deviation <= ROUNDING * size || deviation == 0.0 {
            return Err(Error::data(format!("the {name} block is constant: {size:.6e} within {deviation:.1e}"))
                .help("choose a block with structure"));
        }
    }
    if sums.correlation() <= 0.0 {
        return Err(Error::data(format!("the blocks are not alike: correlation {:.4}", sums.correlation()))
            .help("check that both show the same part of the sample, or give a start nearer to the motion"));
    }
    Ok(())
}
