//! L3. Several blocks of one rigid body: which, and what they say together.
//!
//! **Start.** The region as a whole, binned to 256 voxels along its longest side, is registered to the moving volume; under
//! that motion blocks are chosen ([`super::choice`]), and from there each is registered by itself.
//!
//! **Fit.** Block k gives ξ_k = (ω, τ) against a common start T₀, with the covariance C_k ([`super::block`]). The motion of
//! the body is the least-squares one,
//!
//! ```text
//! N = Σ P_kᵀ C_k⁻¹ P_k        N ξ = Σ P_kᵀ C_k⁻¹ ξ_k        P_k ξ = (ω, τ + ω × (T₀ c_k − T₀ c))
//! T = exp ξ ∘ T₀              Cov(ξ) = f N⁻¹ Σ P_kᵀ C_k⁻¹ (C_k + s D) C_k⁻¹ P_k N⁻¹
//! f = max(1, χ²/(6 n − 6)),  χ² by C_k + D
//! ```
//!
//! T₀ is [`rigid::fit`]. C_k is a block's own times 1 + (FLOOR/σ)², σ the deviation of what it holds best: what is the same
//! in many of its cells (streaks, the interpolant, drift within a scan) is not in its own, and pulls along what is held weakly
//! as much farther as noise does. Markers in a row hold the turn about it by their streaks alone: off by 1.1 to 1.9 voxels
//! with 0.2 to 0.35 claimed, which this factor makes 0.5 to 0.8. D = (δ_ω² 1, δ_τ² 1) is what blocks differ by beyond that,
//! because the body is not quite rigid ([`spread_of`]): its motion is no better known then than its parts differ. Blocks weigh
//! by C_k alone: where half of them are worse than they claim, weights by C_k + D would let them pull (half a voxel on
//! truncated scans).
//!
//! D is an estimate by a median, which is worth 0.6 of its numbers: of 3 n turns, and of 3 n shifts, those that the fit leaves,
//! as the traces of P_k N⁻¹ P_kᵀ C_k⁻¹ tell them apart (shifts far from one another hold the body's turn, too). A normal
//! interval around it holds less than it says, and s = (t/z)² of Student's t for 95 % mends that ([`student`]; J. Hartung, G.
//! Knapp, Statistics in Medicine 20, 1771, 2001, do so for means), for turns and shifts apart. That blocks overlap makes the interval too narrow, that together they are most
//! of the body makes it too wide: neither is reckoned with.
//!
//! A block need not hold a motion by itself: what it leaves open has a large C_k and no weight.
//!
//! **Rejection.** d_k = |T p − T_k p| at the corner p of block k where it is largest; of that, e_k is what its uncertainty
//! does not explain: the part along the eigenvectors of C_k that are off by more than 4.5 of their deviations. A block is left
//! out if d_k is above 4.5 medians (three deviations of a normal) and [`SMALL`], and e_k above one median and [`SMALL`]. The
//! farthest beyond goes first, while more than half of the blocks stay; then the rest is fitted again. So a block may be far
//! off in what it hardly holds, but not in what it holds, which a second body would be.
//!
//! **Deformation.** What is left at the centres, r_k = T c_k − T_k c_k, is told per block; where it exceeds [`RIGID`], the
//! body is deformed, or it is two. Of the point m midway between the centres of blocks i and k the two say, in voxels per
//! voxel of their distance,
//!
//! ```text
//! e_ik = (|T_i m − T_k m| − 4.5 (σ_i + σ_k)) / |c_i − c_k|        σ at m, by C_i and C_k
//! ```
//!
//! A sample that bends or swells changes by some per cent; two bodies 39 µm apart at a distance of 300 voxels by ten. Beyond
//! [`STRAIN`], where half of the blocks would be left out, or where two that are left out moved alike (blocks that are wrong
//! are each wrong in its own way), they are not one body: refused. So they are if
//! one of the two steepest tiles that share nothing under the start can be registered by itself, and moved otherwise: a
//! second body must not be left out as if it had changed.

use super::Settings;
use super::block::{LEAST_BLOCK, Match, SURE, point_sigma, register};
use super::choice::{self, Overview, binned, choose};
use super::claim::{known, place_sigma, strain, unexplained, weighted_median};
use super::flatten::{flatten, whole};
use super::level::Piece;
use super::rigid::{self, Block, Point, Rigid, add, carry, length, sub};
use crate::error::{Error, Fault, Result};
use crate::num::lanes::Isa;
use crate::num::linalg::{Matrix, apply, dot, inverse, product, transpose};
use crate::os::check_interrupt;
use crate::volume::{Dims, Source};
use rayon::prelude::*;
use std::array::from_fn;
use std::ops::Range;

/// A box of a volume: ranges of x, y, z.
pub type Region = [Range<usize>; 3];

/// Standard deviation that a block has besides its own where it knows its motion best, voxels.
pub const FLOOR: f64 = 0.005;
/// A residual that is never rejected, voxels.
pub const SMALL: f64 = 0.05;
/// A residual of more is rejected, in medians.
const FAR: f64 = 4.5;
/// Largest residual at the centre of a block with which a body is called rigid, voxels.
pub const RIGID: f64 = 0.5;
/// Most that displacements of one body change per voxel of distance.
pub const STRAIN: f64 = 0.05;
/// Longest side of the binned region from which blocks get their start.
const OVERVIEW: usize = 256;

/// The middle of a region.
fn middle(region: &Region) -> Point {
    from_fn(|i| (region[i].start as f64 + region[i].end as f64 - 1.0) / 2.0)
}

/// What one block said, and what became of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its place in the fixed volume.
    pub tile: Region,
    /// Its motion, or why it has none.
    pub found: std::result::Result<Match, String>,
    /// T c − T_k c, voxels: where the body's motion takes its centre less where its own does.
    pub residual: Point,
    /// Angle between the two rotations, radians.
    pub turn: f64,
    /// Whether it counts.
    pub used: bool,
}

/// The motion of a body.
#[derive(Clone, Debug)]
pub struct Body {
    /// From the fixed volume to the moving one.
    pub motion: Rigid,
    /// Of (ω, t) about the motion's centre, radians and voxels.
    pub covariance: Matrix<6>,
    /// The blocks, in the order of their choice.
    pub blocks: Vec<Report>,
    /// Root of the mean square and largest of the residuals of the blocks that count, voxels.
    pub residual: [f64; 2],
    /// The largest e between two of them: see the module's "Deformation".
    pub strain: f64,
    /// Whether no residual exceeds [`RIGID`] by more than its own uncertainty.
    pub is_rigid: bool,
    /// Farthest that leaving out one block moves a corner of the region, voxels; `None` with fewer than three.
    pub leave_one_out: Option<f64>,
    /// Standard deviation of the worst corner of the region, voxels.
    pub corner_sigma: f64,
}

/// How a region is cut into blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// Longest side of a block, voxels.
    pub size: usize,
    /// Most blocks.
    pub count: usize,
}

/// Registers blocks of one body, the voxels `region` of the fixed volume, and fits its motion near `guess`. `told` hears
/// of each block that is done, and of how many there are.
///
/// # Errors
/// What reading says; data: no block can be registered (with the first reason), or the blocks do not move as one body.
pub fn register_body(
    isa: Isa,
    [fixed, moving]: [&dyn Source; 2],
    region: &Region,
    cut: Cut,
    guess: &Rigid,
    settings: &Settings,
    told: &mut dyn FnMut(usize, usize),
) -> Result<Body> {
    let seen = flat(region, fixed.dims(), settings)?;
    let (tiles, strangers, start) = if choice::tiles(&seen, cut.size).len() > 1 {
        let (view, start) = overview(isa, fixed, moving, &seen, guess, settings)?;
        let choice = choose(isa, &view, &seen, cut.size, cut.count)?;
        (choice.tiles, choice.strangers, start)
    } else {
        (vec![seen], Vec::new(), *guess)
    };
    let mut blocks = Vec::new();
    let several = Settings { worst_sigma: ROUGH * settings.worst_sigma, ..*settings };
    for some in tiles.chunks(at_a_time(&tiles, settings)) {
        check_interrupt()?;
        let settings = if tiles.len() > 1 { &several } else { settings };
        let found: Vec<_> = some.par_iter().map(|tile| block(isa, fixed, moving, tile, &start, settings)).collect();
        for (tile, found) in some.iter().zip(found) {
            let found = match found {
                Err(e) if e.fault() != Fault::Data || tiles.len() == 1 => return Err(e),
                other => other.map_err(|e| e.what().to_string()),
            };
            let used = found.is_ok();
            blocks.push(Report { tile: tile.clone(), found, residual: [0.0; 3], turn: 0.0, used });
            told(blocks.len(), tiles.len());
        }
    }
    // A few of many may have changed; where half have nothing to say, the rest are no witnesses for the body.
    let (good, all) = (blocks.iter().filter(|b| b.used).count(), blocks.len());
    if let (true, Some(Err(reason))) = (2 * good <= all, blocks.iter().map(|b| &b.found).find(|f| f.is_err())) {
        return Err(Error::data(format!(
            "only {good} of {all} blocks can be registered; the first that cannot: {reason}"
        ))
        .help("choose another region (one for each body), a wider search, or a nearer start"));
    }
    let body = join(region, blocks)?;
    for tile in strangers.iter().take(STRANGERS) {
        check_interrupt()?;
        match block(isa, fixed, moving, tile, &start, settings) {
            Err(e) if e.fault() != Fault::Data => return Err(e),
            Ok(found) if found.correlation[1] > SURE => {
                let c = found.motion.centre;
                let off = sub(&found.motion.apply(&c), &body.motion.apply(&c));
                if length(&off)
                    > RIGID + FAR * (place_sigma(&found.covariance) + body.corner_sigma) + STRAIN * nearest(&body, &c)
                {
                    let used: Vec<Point> = body.blocks.iter().filter(|b| b.used).map(|b| b.residual).collect();
                    return Err(apart(&[used, vec![off.map(|v| -v)]].concat()));
                }
            }
            _ => (),
        }
    }
    // What a body deforms by is in its uncertainty, and told.
    if body.corner_sigma > settings.worst_sigma && body.is_rigid {
        return Err(Error::data(format!(
            "{} of {} blocks do not hold the motion: standard deviation {:.2} voxels at a corner, at most {}",
            body.blocks.iter().filter(|b| b.used).count(),
            body.blocks.len(),
            body.corner_sigma,
            settings.worst_sigma
        ))
        .help("choose a larger region, more or larger blocks, or one with edges in all directions"));
    }
    Ok(body)
}

/// Voxels of the moving volume around the blocks that are in work at a time: about a quarter of a GiB with their pyramids.
const IN_WORK: f64 = 1.6e7;

/// Blocks that are registered at a time. The looks at a small one are too short to be shared out among threads; large ones, whose looks
/// are not, are registered one after the other.
fn at_a_time(tiles: &[Region], settings: &Settings) -> usize {
    let around = |tile: &Region| {
        let reach = reach(tile, settings) + settings.flatten as f64 / 2.0;
        tile.iter().fold(1.0, |voxels, side| voxels * (side.len() as f64 + 2.0 * reach))
    };
    (IN_WORK / tiles.iter().map(around).fold(1.0, f64::max)).max(1.0) as usize
}

/// Voxels beyond a block on each side of it that the search may reach.
fn reach(tile: &Region, settings: &Settings) -> f64 {
    /// Voxels for the window and its margin.
    const MORE: f64 = 4.0;
    let turned =
        tile.iter().map(Range::len).fold(0, usize::max) as f64 * crate::units::Radian::from(settings.capture_turn).0;
    settings.capture + turned + MORE
}

/// The part of a region that is flattened by whole windows.
fn flat(region: &Region, dims: Dims, settings: &Settings) -> Result<Region> {
    let window = settings.flatten;
    if window == 0 {
        return Ok(region.clone());
    }
    let [x, y, z] = region;
    let seen = [whole(x, window, dims.nx), y.clone(), whole(z, window, dims.nz)];
    match [0, 2].iter().all(|&i| seen[i].len() >= LEAST_BLOCK.min(region[i].len())) {
        true => Ok(seen),
        false => Err(Error::data(format!(
            "means of {window} voxels leave {} x {} x {} of the region {region:?}: within {} of a face of the volume they have \
             one side only",
            seen[0].len(),
            seen[1].len(),
            seen[2].len(),
            window / 2
        ))
        .help("take a narrower --flatten, or none")),
    }
}

/// A start, or one of several blocks, need not be known as a result must: so many times worse.
const ROUGH: f64 = 8.0;
/// Tiles that share nothing that are looked at.
const STRANGERS: usize = 2;

/// Distance to the nearest block that counts, voxels.
fn nearest(body: &Body, p: &Point) -> f64 {
    let centres = body.blocks.iter().filter(|b| b.used).filter_map(|b| b.found.as_ref().ok());
    centres.map(|m| length(&sub(&m.motion.centre, p))).fold(f64::MAX, f64::min)
}

/// Registers one tile with as much of the moving volume around it as the search may reach.
///
/// # Errors
/// What reading says, and [`register`].
pub fn block(
    isa: Isa,
    fixed: &dyn Source,
    moving: &dyn Source,
    tile: &Region,
    guess: &Rigid,
    settings: &Settings,
) -> Result<Match> {
    let piece = Piece::read_flat(fixed, tile.clone(), settings.flatten)?;
    let mut seen = piece.image(guess, reach(tile, settings), moving.dims());
    if settings.flatten > 0 {
        let d = moving.dims();
        seen = [whole(&seen[0], settings.flatten, d.nx), seen[1].clone(), whole(&seen[2], settings.flatten, d.nz)];
    }
    if seen.iter().any(Range::is_empty) {
        return Err(Error::data(format!("the block at {tile:?} has no counterpart in the moving volume: no overlap"))
            .help("give a start nearer to the motion"));
    }
    register(isa, &piece, &Piece::read_flat(moving, seen, settings.flatten)?, guess, settings)
}

/// Voxels that [`register_body`] reads of two volumes that lie alike, about: those of the overview, and of as many tiles as
/// there may be blocks; of which tiles is not known before, so that each counts as a mean one. Rows are read whole.
///
/// ```text
/// tile    n_x · y · (z + w) of the fixed volume, N_x (y + 2r)(z + 2r + w) of the moving one, within their faces
/// ```
///
/// r is how far the search [reaches](reach), w the window that flattens.
///
/// # Errors
/// Data: nothing is left of the region when it is flattened.
pub fn voxels_read([fixed, moving]: [Dims; 2], region: &Region, cut: Cut, settings: &Settings) -> Result<f64> {
    let along =
        |r: &Range<usize>, more: f64, n: usize| (r.end as f64 + more).min(n as f64) - (r.start as f64 - more).max(0.0);
    let half = settings.flatten as f64 / 2.0;
    let rows =
        |[_, y, z]: &Region, d: Dims, more: f64| d.nx as f64 * along(y, more, d.ny) * along(z, more + half, d.nz);
    let seen = flat(region, fixed, settings)?;
    let tiles = choice::tiles(&seen, cut.size);
    let all = tiles.iter().fold(0.0, |sum, t| sum + rows(t, fixed, 0.0) + rows(t, moving, reach(t, settings)));
    let overview = (fixed.nx * seen[1].len() * seen[2].len() + moving.voxels()) as f64;
    let blocks = cut.count.min(tiles.len()) as f64;
    Ok(all * blocks / tiles.len() as f64 + if tiles.len() > 1 { overview } else { 0.0 })
}

/// A start for all blocks of a region: the region as a whole, binned; and the same in voxels of the volumes.
fn overview(
    isa: Isa,
    fixed: &dyn Source,
    moving: &dyn Source,
    region: &Region,
    guess: &Rigid,
    settings: &Settings,
) -> Result<(Overview, Rigid)> {
    let longest = region.iter().map(Range::len).fold(1, usize::max);
    let s = longest.div_ceil(OVERVIEW);
    let d = moving.dims();
    let (mut f, mut m) = (binned(fixed, region, s)?, binned(moving, &[0..d.nx, 0..d.ny, 0..d.nz], s)?);
    if settings.flatten > 0 {
        for piece in [&mut f, &mut m] {
            flatten(piece.dims, &mut piece.values, settings.flatten.div_ceil(s));
        }
    }
    let scale = s as f64;
    // Voxel X of a binned box lies at first + s X + (s − 1)/2.
    let half = (scale - 1.0) / 2.0;
    let origin: Point = region.each_ref().map(|r| r.start as f64 + half);
    let centre = f.middle();
    let there = guess.apply(&from_fn(|i| origin[i] + scale * centre[i]));
    let small =
        Rigid { rotation: guess.rotation, centre, translation: from_fn(|i| (there[i] - half) / scale - centre[i]) };
    let coarse = Settings { capture: settings.capture / scale, worst_sigma: ROUGH * settings.worst_sigma, ..*settings };
    let motion = register(isa, &f, &m, &small, &coarse)?.motion;
    let image = motion.apply(&centre);
    let from: Point = from_fn(|i| origin[i] + scale * centre[i]);
    let start =
        Rigid { rotation: motion.rotation, centre: from, translation: from_fn(|i| scale * image[i] + half - from[i]) };
    Ok((Overview { scale: s, fixed: f, moving: m, motion }, start))
}

/// (t/z)² for 95 %, with ν numbers, two at least: Fisher's expansion of t about z in 1/ν, to the third order.
fn student(nu: f64) -> f64 {
    // (z² + 1)/4, (5 z⁴ + 16 z² + 3)/96, (3 z⁶ + 19 z⁴ + 17 z² − 15)/384 for z = 1.96.
    const TERMS: [f64; 3] = [1.2104, 1.4401, 1.3040];
    let v = 1.0 / nu.max(2.0);
    let ratio = 1.0 + v * (TERMS[0] + v * (TERMS[1] + v * TERMS[2]));
    ratio * ratio
}

/// Least-squares motion of some blocks and its covariance.
fn least_squares(blocks: &[&Match], centre: &Point) -> Option<(Rigid, Matrix<6>)> {
    let closed: Vec<Block> = blocks.iter().map(|b| weighted(b)).collect();
    let start = rigid::fit(&closed)?.about(*centre);
    let there = start.apply(centre);
    let own: Vec<Own> = blocks
        .iter()
        .map(|b| {
            // What the block's motion adds to the start: T_k = (ω, τ about its image) ∘ T₀.
            let c = b.motion.centre;
            let turn = rigid::rotation_vector(&product(&b.motion.rotation, &transpose(&start.rotation)));
            let shift = sub(&b.motion.apply(&c), &start.apply(&c));
            let xi = from_fn(|i| if i < 3 { turn[i] } else { shift[i - 3] });
            (xi, carry(&sub(&start.apply(&c), &there)), known(b))
        })
        .collect();
    let (mut n, mut right) = ([[0.0; 6]; 6], [0.0; 6]);
    let mut pulls = Vec::with_capacity(own.len());
    for (xi, p, c) in &own {
        let pw = product(&transpose(p), &inverse(c)?);
        let (part, pull) = (product(&pw, p), apply(&pw, xi));
        (0..6).for_each(|i| (0..6).for_each(|l| n[i][l] += part[i][l]));
        (0..6).for_each(|i| right[i] += pull[i]);
        pulls.push(pw);
    }
    let n_inverse = inverse(&n)?;
    let xi = apply(&n_inverse, &right);
    let off: Vec<[f64; 6]> = own
        .iter()
        .map(|(own, p, _)| {
            let model = apply(p, &xi);
            from_fn(|i| own[i] - model[i])
        })
        .collect();
    // What the fit takes of the turns' and of the shifts' numbers: the traces of P N⁻¹ Pᵀ C⁻¹, six together.
    let mut taken = [0.0; 2];
    for (pw, (_, p, _)) in pulls.iter().zip(&own) {
        let hat = product(&product(p, &n_inverse), pw);
        (0..6).for_each(|i| taken[i / 3] += hat[i][i]);
    }
    let left = taken.map(|taken| 3.0 * own.len() as f64 - taken);
    let spread = [0, 3].map(|at| spread_of(at, &off, &own, left[at / 3]));
    let wider = left.map(|left| student(MEDIAN_WORTH * left));
    let (mut square, mut middle) = (0.0, [[0.0; 6]; 6]);
    for (off, ((_, _, c), pw)) in off.iter().zip(own.iter().zip(&pulls)) {
        let with = |s: [f64; 2]| -> Matrix<6> {
            from_fn(|i| from_fn(|l| c[i][l] + if i == l { s[i / 3] * spread[i / 3] } else { 0.0 }))
        };
        square += dot(off, &apply(&inverse(&with([1.0; 2]))?, off));
        let part = product(&product(pw, &with(wider)), &transpose(pw));
        (0..6).for_each(|i| (0..6).for_each(|l| middle[i][l] += part[i][l]));
    }
    let freedom = 6.0 * (own.len() as f64 - 1.0);
    let factor = if freedom > 0.0 { (square / freedom).max(1.0) } else { 1.0 };
    let covariance = product(&product(&n_inverse, &middle), &n_inverse).map(|row| row.map(|v| factor * v));
    let step = Rigid::new([xi[0], xi[1], xi[2]], there, [xi[3], xi[4], xi[5]]);
    Some((start.then(&step), covariance))
}

/// A block's (ξ_k, P_k, C_k).
type Own = ([f64; 6], Matrix<6>, Matrix<6>);
/// Median of χ²/3 with three degrees of freedom; and what a median is worth beside a mean.
const MEDIAN_SQUARE: f64 = 0.7887;
const MEDIAN_WORTH: f64 = 0.6;

/// δ² of turns (`at` 0) or shifts (3): the variance with which the median of 3 n/ν |ξ_k − P_k ξ|² / 3 (δ² + c_k) is that
/// of χ²/3 with three degrees of freedom, c_k the mean variance of a block and ν the numbers that the fit leaves of 3 n; 0 if
/// blocks differ by no more than the c_k say.
/// A mean would take a few blocks that are worse than they claim for a body that bends (R. C. Paule, J. Mandel, J. Res. NBS
/// 87, 377, 1982, have the mean). Blocks count by 1/(δ² + c_k): one that hardly holds the motion cannot tell a small δ.
fn spread_of(at: usize, off: &[[f64; 6]], own: &[Own], left: f64) -> f64 {
    let terms: Vec<(f64, f64)> = off
        .iter()
        .zip(own)
        .map(|(off, (_, _, c))| {
            let mean = |of: &dyn Fn(usize) -> f64| (at..at + 3).fold(0.0, |sum, i| sum + of(i)) / 3.0;
            (mean(&|i| off[i] * off[i]), mean(&|i| c[i][i]))
        })
        .collect();
    let n = terms.len() as f64;
    let excess = |d: f64| {
        let median = weighted_median(terms.iter().map(|(square, c)| (square / (d + c), 1.0 / (d + c))).collect());
        3.0 * n * median - left * MEDIAN_SQUARE
    };
    let (mut low, mut high) = (0.0, terms.iter().fold(0.0, |most: f64, t| most.max(t.0)) * terms.len() as f64);
    if excess(low) <= 0.0 {
        return 0.0;
    }
    for _ in 0..f64::MANTISSA_DIGITS {
        let middle = 0.5 * (low + high);
        if excess(middle) > 0.0 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// A block for the closed form: |R − R_k|² is twice the square of the angle between.
fn weighted(b: &Match) -> Block {
    let c = known(b);
    let mean = |at: usize| (0..3).fold(0.0, |sum, i| sum + c[at + i][at + i]) / 3.0;
    Block { motion: b.motion, weight: 1.0 / mean(3), turn_weight: 0.5 / mean(0) }
}

/// Joins what the blocks of one body say.
///
/// # Errors
/// As [`register_body`].
pub fn join(region: &Region, mut blocks: Vec<Report>) -> Result<Body> {
    let good = blocks.iter().filter(|b| b.used).count();
    let Some(first) = blocks.iter().find_map(|b| b.found.as_ref().ok()).cloned() else {
        let reason = blocks.iter().find_map(|b| b.found.as_ref().err()).cloned().unwrap_or_default();
        return Err(Error::data(format!("none of {} blocks can be registered; the first: {reason}", blocks.len()))
            .help("choose another region, a wider search, or a nearer start"));
    };
    let centre = middle(region);
    let mut common: Option<Vec<Point>> = None;
    let (motion, covariance) = loop {
        let used: Vec<&Match> = blocks.iter().filter(|b| b.used).filter_map(|b| b.found.as_ref().ok()).collect();
        let fitted = if used.len() == 1 {
            carried(&first, &used, &centre)
        } else {
            least_squares(&used, &centre).ok_or_else(|| Error::data("the blocks do not determine a motion"))?
        };
        let left = used.len();
        measure(&mut blocks, &fitted.0);
        let common =
            common.get_or_insert_with(|| blocks.iter().filter(|b| b.found.is_ok()).map(|b| b.residual).collect());
        let far = |b: &Report| b.found.as_ref().map_or(0.0, |m| farthest(&fitted.0, m, &b.tile));
        let mut sizes: Vec<f64> = blocks.iter().filter(|b| b.used).map(far).collect();
        sizes.sort_by(f64::total_cmp);
        let median = sizes[(sizes.len() - 1) / 2];
        // How far beyond the others' distances, if its own uncertainty does not explain it.
        let beyond = |b: &Report| {
            let surprise = b.found.as_ref().map_or(0.0, |m| farthest(&unexplained(&fitted.0, m, FAR), m, &b.tile));
            if surprise > SMALL.max(median) { far(b) - SMALL.max(FAR * median) } else { f64::MIN }
        };
        let used = (0..blocks.len()).filter(|&k| blocks[k].used);
        let (worst, most) =
            used.map(|k| (k, beyond(&blocks[k]))).fold((0, f64::MIN), |m, k| if k.1 > m.1 { k } else { m });
        if most <= 0.0 {
            break fitted;
        }
        if 2 * (left - 1) <= good || left <= 2 {
            return Err(apart(common));
        }
        blocks[worst].used = false;
    };
    // Blocks that were left out and agree: a second body.
    let out: Vec<(&Report, f64)> = blocks
        .iter()
        .filter(|b| !b.used && length(&b.residual) > RIGID)
        .filter_map(|b| b.found.as_ref().ok().map(|m| (b, place_sigma(&m.covariance))))
        .collect();
    let agree = |(a, sa): &(&Report, f64), (b, sb): &(&Report, f64)| {
        length(&sub(&a.residual, &b.residual)) < SMALL.max(FAR * (sa + sb)).min(0.5 * length(&a.residual))
    };
    if out.iter().enumerate().any(|(k, a)| out[k + 1..].iter().any(|b| agree(a, b))) {
        return Err(apart(&common.unwrap_or_default()));
    }
    let strain = strain(&blocks, FAR);
    let exceeds =
        |b: &Report| b.found.as_ref().is_ok_and(|m| length(&b.residual) > RIGID + FAR * place_sigma(&known(m)));
    let is_rigid = !blocks.iter().any(|b| b.used && exceeds(b));
    if strain > STRAIN && !is_rigid {
        return Err(apart(&common.unwrap_or_default()));
    }
    let used: Vec<&Match> = blocks.iter().filter(|b| b.used).filter_map(|b| b.found.as_ref().ok()).collect();
    let sizes: Vec<f64> = blocks.iter().filter(|b| b.used).map(|b| length(&b.residual)).collect();
    let mean_square = sizes.iter().fold(0.0, |sum, d| sum + d * d) / sizes.len() as f64;
    let dims = Dims::new(region[2].len(), region[1].len(), region[0].len())?;
    let origin: Point = region.each_ref().map(|r| r.start as f64);
    let leave_one_out = (used.len() >= 3).then(|| {
        (0..used.len()).fold(0.0, |far: f64, k| {
            let rest: Vec<&Match> = used.iter().enumerate().filter(|&(i, _)| i != k).map(|(_, m)| *m).collect();
            least_squares(&rest, &centre)
                .map_or(far, |(other, _)| far.max(motion.corner_distance(&other, origin, dims).1))
        })
    });
    let corner_sigma =
        rigid::corners(origin, dims).iter().fold(0.0, |far: f64, p| far.max(point_sigma(&motion, &covariance, p)));
    let residual = [mean_square.sqrt(), sizes.iter().fold(0.0, |a: f64, &b| a.max(b))];
    Ok(Body { motion, covariance, residual, strain, is_rigid, leave_one_out, corner_sigma, blocks })
}

/// What a motion leaves at every block.
fn measure(blocks: &mut [Report], motion: &Rigid) {
    for b in blocks {
        if let Ok(m) = &b.found {
            b.residual = sub(&motion.apply(&m.motion.centre), &m.motion.apply(&m.motion.centre));
            b.turn = length(&rigid::rotation_vector(&product(&motion.rotation, &transpose(&m.motion.rotation))));
        }
    }
}

/// Farthest that a motion takes a corner of a block from where its own does, voxels.
fn farthest(motion: &Rigid, own: &Match, tile: &Region) -> f64 {
    let dims = Dims { nz: tile[2].len(), ny: tile[1].len(), nx: tile[0].len() };
    motion.corner_distance(&own.motion, tile.each_ref().map(|r| r.start as f64), dims).1
}

/// The motion of the one block that counts, about the body's centre.
fn carried(first: &Match, used: &[&Match], centre: &Point) -> (Rigid, Matrix<6>) {
    let m = used.first().copied().unwrap_or(first);
    let p = carry(&sub(&m.motion.apply(centre), &m.motion.apply(&m.motion.centre)));
    (m.motion.about(*centre), product(&product(&p, &known(m)), &transpose(&p)))
}

/// Why blocks are not one body, from their residuals of a common motion: the two groups that they fall into, before and
/// behind that motion along the direction of the largest.
fn apart(residuals: &[Point]) -> Error {
    let far = residuals.iter().fold([0.0; 3], |far: Point, d| if length(d) > length(&far) { *d } else { far });
    let side = |sign: f64| -> (usize, Point) {
        let on: Vec<&Point> = residuals.iter().filter(|d| sign * dot(d, &far) > 0.0).collect();
        let sum = on.iter().fold([0.0; 3], |sum, d| add(&sum, d));
        (on.len(), sum.map(|v| v / on.len().max(1) as f64))
    };
    let ((n, a), (m, b)) = (side(1.0), side(-1.0));
    let [x, y, z] = sub(&a, &b);
    Error::data(format!(
        "the blocks do not move as one body: {n} of them and {m} others moved against each other by ({x:.2}, {y:.2}, {z:.2}) \
         voxels; the largest residual of a common motion is {:.2}",
        length(&far)
    ))
    .help("name the bodies apart, such as one region for each electrode")
}

#[cfg(test)]
mod tests;
