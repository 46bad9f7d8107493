//! L3. One look at a pair of blocks under a motion: all sums that the correlation, its slope and its curvature need.
//!
//! With f the fixed block and g the moving one at W(x), both through the B-spline window ([`super::level`]) and less a
//! constant near their mean, p = x − c, and n voxels that lie inside both:
//!
//! ```text
//! J = (p × ∇f, ∇f)                   what f changes by under a small motion (ω, τ) about c: six numbers
//! K = (p × ∇g, ∇g)                   the same of g ∘ W, ∇g = Rᵀ (∇m)(W(x))
//! Σ 1, f, g, f², g², f g;  Σ J;  Σ J f;  Σ J g;  Σ J Jᵀ;  Σ J Kᵀ;  Σ K;  Σ K f
//! ```
//!
//! c is the centre of the motion, lengths are voxels of the volume, whatever the rung. Values and slopes of f at voxel
//! centres are those of its B-spline: (1, 4, 1)/6 along an axis, (−1, 0, 1)/2 for the slope.
//!
//! **Order.** A row is summed in 16 lanes of f32, x ascending, folded 8-4-2-1; rows are added in f64, y ascending within
//! cells of a few rows, cells in order, slices in order. Threads take slices. Nothing depends on their number.

use super::interpolate::{self, Interpolation};
use super::level::Level;
use super::rigid::{Rigid, sub};
use crate::num::lanes::{F32x16, IOTA, Isa, Kernel, LANES};
use crate::num::linalg::{Matrix, transpose};
use crate::num::sum::fold;
use crate::volume::Dims;
use rayon::prelude::*;
use std::ops::Range;

/// Voxels that do not fit count less: Tukey's biweight of the residual r = a (g − ḡ) − (f − f̄),
///
/// ```text
/// w = (1 − (r/c)²)² for |r| < c, else 0
/// ```
///
/// with a, f̄, ḡ of the pass before, and c² = cut² + (slack |∇f|)². Means are of f and g as they are summed, less the constants
/// of the rung. Without the slack, edges would be the first to go: next to them what sampling and the interpolant leave is
/// above any noise, and the voxels that hold the motion would be called changed. (On a cell without noise this has moved a
/// result from 0.017 to 0.06 voxel off.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// a.
    pub gain: f64,
    /// f̄ and ḡ.
    pub means: [f64; 2],
    /// c where f is flat.
    pub cut: f64,
    /// A face that moved by less is no change, voxels of the rung.
    pub slack: f64,
}

/// What is wanted of a pass; each includes the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum Want {
    /// Sums of values, of the sample only.
    Glance,
    /// Sums of values.
    Correlation,
    /// Those with J.
    Slope,
    /// Σ J Jᵀ.
    Curvature,
    /// Those with K.
    Everything,
}

/// Sums with f, g and J, and all of them.
const SLOPES: usize = 24;
const ALL: usize = SLOPES + 21 + 36 + 12;

/// What a motion may differ from the one under which voxels were chosen, voxels of the rung.
pub const SLACK: f64 = 0.5;
/// Rows and slices of a cell: where there are enough voxels, cells are this wide, and never narrower than the least.
const CELL: usize = 16;
const LEAST_CELL: usize = 4;
/// Cells along y and z that a block should have at least.
const CELLS: usize = 12;

/// The sums of a pass, or of a cell of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums([f64; ALL]);

impl Sums {
    const NONE: Sums = Sums([0.0; ALL]);

    fn add(&mut self, other: &Sums) {
        (0..ALL).for_each(|i| self.0[i] += other.0[i]);
    }
    fn six(&self, at: usize) -> [f64; 6] {
        std::array::from_fn(|i| self.0[at + i])
    }
    /// Voxels in both blocks.
    pub fn n(&self) -> f64 {
        self.0[0]
    }
    /// Σ f.
    pub fn f(&self) -> f64 {
        self.0[1]
    }
    /// Σ g.
    pub fn g(&self) -> f64 {
        self.0[2]
    }
    /// Σ (f − f̄)².
    pub fn ff(&self) -> f64 {
        self.0[3] - self.0[1] * self.0[1] / self.0[0]
    }
    /// Σ (g − ḡ)².
    pub fn gg(&self) -> f64 {
        self.0[4] - self.0[2] * self.0[2] / self.0[0]
    }
    /// Σ (f − f̄)(g − ḡ).
    pub fn fg(&self) -> f64 {
        self.0[5] - self.0[1] * self.0[2] / self.0[0]
    }
    /// Σ f g.
    pub fn raw_fg(&self) -> f64 {
        self.0[5]
    }
    /// Σ (a (g − ḡ) − (f − f̄))² for a gain and means (f̄, ḡ) that need not be its own.
    pub fn misfit(&self, gain: f64, [f_mean, g_mean]: [f64; 2]) -> f64 {
        let [n, f, g, ff, gg, fg] = std::array::from_fn(|i| self.0[i]);
        let ff = ff - 2.0 * f_mean * f + n * f_mean * f_mean;
        let gg = gg - 2.0 * g_mean * g + n * g_mean * g_mean;
        let fg = fg - f_mean * g - g_mean * f + n * f_mean * g_mean;
        gain * gain * gg - 2.0 * gain * fg + ff
    }
    /// The zero-mean normalised correlation; 0 where one of the two does not vary.
    pub fn correlation(&self) -> f64 {
        let square = self.ff() * self.gg();
        // False for the NaN of no voxel at all.
        if self.ff() > 0.0 && self.gg() > 0.0 && square > 0.0 { self.fg() / square.sqrt() } else { 0.0 }
    }
    /// Σ J.
    pub fn j(&self) -> [f64; 6] {
        self.six(6)
    }
    /// Σ J f.
    pub fn jf(&self) -> [f64; 6] {
        self.six(12)
    }
    /// Σ J g.
    pub fn jg(&self) -> [f64; 6] {
        self.six(18)
    }
    /// Σ J Jᵀ.
    pub fn jj(&self) -> Matrix<6> {
        let mut m = [[0.0; 6]; 6];
        let mut at = SLOPES;
        for i in 0..6 {
            for k in i..6 {
                (m[i][k], m[k][i]) = (self.0[at], self.0[at]);
                at += 1;
            }
        }
        m
    }
    /// Σ J Kᵀ.
    pub fn jk(&self) -> Matrix<6> {
        std::array::from_fn(|i| self.six(SLOPES + 21 + 6 * i))
    }
    /// Σ K.
    pub fn k(&self) -> [f64; 6] {
        self.six(SLOPES + 57)
    }
    /// Σ K f.
    pub fn kf(&self) -> [f64; 6] {
        self.six(SLOPES + 63)
    }

    /// From sums of twice the slopes per voxel of the rung to slopes per voxel of the volume.
    fn scale(&mut self, scale: usize) {
        // K is a slope proper, J twice one.
        let (j, k) = (0.5 / scale as f64, 1.0 / scale as f64);
        let ranges = [(6..24, j), (24..45, j * j), (45..81, j * k), (81..93, k)];
        for (range, factor) in ranges {
            self.0[range].iter_mut().for_each(|v| *v *= factor);
        }
    }
}

/// Sums over a whole block and over its cells: bars along x of a few rows and slices.
pub struct Pass {
    /// Of the block.
    pub total: Sums,
    /// Of the cells, y first, then z.
    pub cells: Vec<Sums>,
    /// Of a sample of slices, the only ones with J Jᵀ and K: three more look-ups per voxel, for six by six numbers that
    /// need to be right within per cents.
    pub sample: Sums,
}

/// Every so many slices are the sample, in blocks of so many or more.
const SAMPLED: usize = 4;
const SAMPLED_FROM: usize = 96;

/// Rows of a cell in an extent of n.
fn cell_size(n: usize) -> usize {
    (n / CELLS).clamp(LEAST_CELL, CELL)
}

/// Sums of a pair under a motion about `motion.centre`, over the voxels that lie in the moving block under the motion
/// `seen` with [`SLACK`] to spare: while a motion is sought, the voxels stay the same, or the correlation would jump
/// whenever a face of the block comes in or goes.
pub fn pass(isa: Isa, level: &Level, motion: &Rigid, seen: &Rigid, want: Want) -> Pass {
    weighted(isa, level, motion, seen, None, want)
}

/// As [`pass`], every voxel with its weight: all sums are Σ w …, n is Σ w.
pub fn weighted(isa: Isa, level: &Level, motion: &Rigid, seen: &Rigid, weights: Option<Weights>, want: Want) -> Pass {
    let every = if level.fixed.field.dims().nz < SAMPLED_FROM { 1 } else { SAMPLED };
    pass_every(isa, level, View { motion, seen, weights }, want, every)
}

/// Under what a pair is looked at.
#[derive(Clone, Copy)]
struct View<'a> {
    motion: &'a Rigid,
    seen: &'a Rigid,
    weights: Option<Weights>,
}

/// The correlation under a motion and the part of the block that is seen, from about `voxels` voxels: every so many slices,
/// at least [`GLANCED`] of them.
pub fn glance(isa: Isa, level: &Level, motion: &Rigid, voxels: usize) -> (f64, f64) {
    let Dims { nz, ny, nx } = level.fixed.field.dims();
    let every = (nz * ny * nx / voxels).clamp(1, (nz / GLANCED).max(1));
    let sums = pass_every(isa, level, View { motion, seen: motion, weights: None }, Want::Glance, every).sample;
    let margin = level.margin;
    let slices = (margin..nz - margin).filter(|z| z.is_multiple_of(every)).count();
    (sums.correlation(), sums.n() / (slices * (ny - 2 * margin) * (nx - 2 * margin)) as f64)
}

/// Fewest slices of a glance, where there are as many.
const GLANCED: usize = 6;

/// As [`pass`], with a sample of every so many slices.
fn pass_every(isa: Isa, level: &Level, view: View, want: Want, every: usize) -> Pass {
    let (Dims { nz, ny, .. }, margin) = (level.fixed.field.dims(), level.margin);
    let (cell_y, cell_z) = (cell_size(ny), cell_size(nz));
    let sampled = |z: usize| z.is_multiple_of(every);
    let work = |z: usize| match want {
        Want::Curvature | Want::Everything if !sampled(z) => slice(isa, level, view, Want::Slope, z, cell_y),
        Want::Glance if !sampled(z) => Vec::new(),
        _ => slice(isa, level, view, want, z, cell_y),
    };
    let slices: Vec<Vec<Sums>> = (margin..nz - margin).into_par_iter().map(work).collect();
    let columns = ny.div_ceil(cell_y);
    let mut cells = vec![Sums::NONE; columns * nz.div_ceil(cell_z)];
    let (mut total, mut sample) = (Sums::NONE, Sums::NONE);
    for (z, slice) in slices.iter().enumerate() {
        for (column, sums) in slice.iter().enumerate() {
            cells[(z + margin) / cell_z * columns + column].add(sums);
            total.add(sums);
            if sampled(z + margin) {
                sample.add(sums);
            }
        }
    }
    total.scale(level.scale);
    sample.scale(level.scale);
    cells.iter_mut().for_each(|cell| cell.scale(level.scale));
    Pass { total, cells, sample }
}

/// Row buffers of a thread.
struct Buffers {
    /// g, and its slopes.
    moving: [Vec<f32>; 4],
    windows: [Vec<f32>; 3],
}

/// Sums of the cells of one slice.
fn slice(
    isa: Isa,
    level: &Level,
    View { motion, seen, weights }: View,
    want: Want,
    z: usize,
    cell: usize,
) -> Vec<Sums> {
    let (Dims { ny, nx, .. }, margin) = (level.fixed.field.dims(), level.margin);
    let moving = &level.moving.field;
    let row = |n: usize| vec![0f32; n];
    let wide = nx.next_multiple_of(LANES) + LANES;
    let mut b = Buffers { moving: [(); 4].map(|()| row(wide)), windows: [(); 3].map(|()| row(wide)) };
    let mut cells = vec![Sums::NONE; ny.div_ceil(cell)];
    for y in margin..ny - margin {
        let line = level.line(motion, y, z);
        let chosen = level.line(seen, y, z).inside(nx, moving.dims(), margin as f64 + SLACK);
        let valid = line.inside(nx, moving.dims(), margin as f64);
        let valid = valid.start.max(chosen.start).max(margin)..valid.end.min(chosen.end).min(nx - margin);
        if valid.start >= valid.end {
            continue;
        }
        if want == Want::Everything {
            let out = b.moving.each_mut().map(|row| &mut row[..nx]);
            interpolate::row_with_slopes(isa, moving, line, valid.clone(), out);
        } else {
            interpolate::row(isa, Interpolation::Cubic, moving, line, valid.clone(), &mut b.moving[0][..nx]);
        }
        let s = level.scale as f64;
        let from = [0.0, s * y as f64, s * z as f64];
        let p = std::array::from_fn(|i| level.fixed.origin[i] + from[i]);
        let row = Row {
            level,
            y,
            z,
            p: sub(&p, &motion.centre).map(|v| v as f32),
            turn: transpose(&motion.rotation).map(|row| row.map(|v| v as f32)),
            valid: valid.clone(),
            weights,
            buffers: &mut b,
        };
        let mut sums = match want {
            Want::Glance | Want::Correlation => isa.run(Wanted::<0>(row)),
            Want::Slope => isa.run(Wanted::<1>(row)),
            Want::Curvature => isa.run(Wanted::<2>(row)),
            Want::Everything => isa.run(Wanted::<3>(row)),
        };
        if weights.is_none() {
            sums.0[0] = valid.len() as f64;
        }
        cells[y / cell].add(&sums);
    }
    cells
}

struct Row<'a> {
    level: &'a Level,
    y: usize,
    z: usize,
    /// x − c of the row's first voxel.
    p: [f32; 3],
    /// Rᵀ.
    turn: [[f32; 3]; 3],
    valid: Range<usize>,
    weights: Option<Weights>,
    buffers: &'a mut Buffers,
}

/// A row with what is wanted as a constant: [`Want`] as a number.
struct Wanted<'a, const WANT: u8>(Row<'a>);

/// (a + c)/6 + b·4/6.
#[inline(always)]
fn window<V: F32x16>(a: V, b: V, c: V) -> V {
    a.add(c).mul_add(V::splat(1.0 / 6.0), b.mul(V::splat(4.0 / 6.0)))
}

/// Sixteen numbers from place i on, which there are.
#[inline(always)]
fn at<V: F32x16>(data: &[f32], i: usize) -> V {
    match data[i..].first_chunk::<LANES>() {
        Some(group) => V::load_array(group),
        None => V::splat(0.0),
    }
}

impl Row<'_> {
    /// Of the fixed block, over x from one before the first valid voxel: the window along y and z, twice the slope along y
    /// through the window along z, and the other way round.
    #[inline(always)]
    fn windows<V: F32x16>(&mut self) {
        let field = &self.level.fixed.field;
        let data = field.data();
        let (row, plane) = field.strides();
        let first = field.place(-1, self.y as isize - 1, self.z as isize - 1);
        let [s, dy, dz] = &mut self.buffers.windows;
        let begin = (self.valid.start - 1) / LANES * LANES;
        for x in (begin..self.valid.end + 2).step_by(LANES) {
            let mut smooth = [V::splat(0.0); 3];
            let mut slope = [V::splat(0.0); 3];
            for k in 0..3 {
                let base = first + k * plane + x;
                let (a, b, c) = (at::<V>(data, base), at::<V>(data, base + row), at::<V>(data, base + 2 * row));
                smooth[k] = window(a, b, c);
                slope[k] = c.sub(a);
            }
            put(window(smooth[0], smooth[1], smooth[2]), s, x);
            put(window(slope[0], slope[1], slope[2]), dy, x);
            put(smooth[2].sub(smooth[0]), dz, x);
        }
    }
}

/// Lanes to numbers.
#[inline(always)]
fn set_folded<V: F32x16>(lanes: &[V], out: &mut [f64]) {
    for (out, &lanes) in out.iter_mut().zip(lanes) {
        *out = f64::from(fold(lanes));
    }
}

#[inline(always)]
fn put<V: F32x16>(v: V, out: &mut [f32], x: usize) {
    if let Some(out) = out[x..].first_chunk_mut::<LANES>() {
        v.store_array(out);
    }
}

/// (p × d, d).
#[inline(always)]
fn six<V: F32x16>(p: &[V; 3], d: &[V; 3]) -> [V; 6] {
    [
        p[1].mul(d[2]).sub(p[2].mul(d[1])),
        p[2].mul(d[0]).sub(p[0].mul(d[2])),
        p[0].mul(d[1]).sub(p[1].mul(d[0])),
        d[0],
        d[1],
        d[2],
    ]
}

impl<const WANT: u8> Kernel for Wanted<'_, WANT> {
    type Out = Sums;
    #[inline(always)]
    fn run<V: F32x16>(self) -> Sums {
        let mut row = self.0;
        row.windows::<V>();
        let Row { level, valid, p, turn, weights, buffers, .. } = row;
        let [s, dy, dz] = &buffers.windows;
        let zero = V::splat(0.0);
        let mut values = [zero; 6];
        let mut slopes = [zero; 18];
        let mut curvature = [zero; 21];
        let mut everything = [zero; 48];
        let (f0, g0) = (V::splat(level.fixed.mean), V::splat(level.moving.mean));
        for x in (valid.start / LANES * LANES..valid.end).step_by(LANES) {
            // Place x of the windows is voxel x − 1.
            let (before, here, behind) = (x, x + 1, x + 2);
            let mut mask = [1f32; LANES];
            let whole = valid.start <= x && x + LANES <= valid.end;
            if !whole {
                for i in 0..LANES {
                    mask[i] = if valid.start <= x + i && x + i < valid.end { 1.0 } else { 0.0 };
                }
            }
            let mut w = V::load_array(&mask);
            let f = window(at::<V>(s, before), at(s, here), at(s, behind)).sub(f0);
            let g = at::<V>(&buffers.moving[0], x).sub(g0);
            let d = [
                at::<V>(s, behind).sub(at(s, before)),
                window(at(dy, before), at(dy, here), at(dy, behind)),
                window(at(dz, before), at(dz, here), at(dz, behind)),
            ];
            if let Some(Weights { gain, means, cut, slack }) = weights {
                let (f, g) = (f.sub(V::splat(means[0] as f32)), g.sub(V::splat(means[1] as f32)));
                let r = g.mul_add(V::splat(gain as f32), f.neg());
                // d is twice the slope.
                let steep = d[2].mul_add(d[2], d[1].mul_add(d[1], d[0].mul(d[0])));
                let square = steep.mul_add(V::splat((0.25 * slack * slack) as f32), V::splat((cut * cut) as f32));
                let u = V::splat(1.0).sub(r.mul(r).div(square));
                w = zero.select_less(u, u.mul(u).mul(w), zero);
                values[0] = values[0].add(w);
            }
            let (wf, wg) = (f.mul(w), g.mul(w));
            values[1] = values[1].add(wf);
            values[2] = values[2].add(wg);
            values[3] = wf.mul_add(f, values[3]);
            values[4] = wg.mul_add(g, values[4]);
            values[5] = wf.mul_add(g, values[5]);
            if WANT == 0 {
                continue;
            }
            let along =
                V::load_array(&IOTA).mul_add(V::splat(level.scale as f32), V::splat(p[0] + (x * level.scale) as f32));
            let point = [along, V::splat(p[1]), V::splat(p[2])];
            let j = six(&point, &d);
            let mut wj = j;
            for i in 0..6 {
                wj[i] = j[i].mul(w);
                slopes[i] = slopes[i].add(wj[i]);
                slopes[6 + i] = wj[i].mul_add(f, slopes[6 + i]);
                slopes[12 + i] = wj[i].mul_add(g, slopes[12 + i]);
            }
            if WANT >= 2 {
                let mut at = 0;
                for i in 0..6 {
                    for k in i..6 {
                        curvature[at] = wj[i].mul_add(j[k], curvature[at]);
                        at += 1;
                    }
                }
            }
            if WANT >= 3 {
                let [_, mx, my, mz] = &buffers.moving;
                let m: [V; 3] = [at(mx, x), at(my, x), at(mz, x)];
                let mut turned = [zero; 3];
                for i in 0..3 {
                    let [a, b, c] = turn[i];
                    turned[i] = m[2].mul_add(V::splat(c), m[1].mul_add(V::splat(b), m[0].mul(V::splat(a))));
                }
                let k = six(&point, &turned);
                for i in 0..6 {
                    for l in 0..6 {
                        everything[6 * i + l] = wj[i].mul_add(k[l], everything[6 * i + l]);
                    }
                    everything[36 + i] = w.mul_add(k[i], everything[36 + i]);
                    everything[42 + i] = wf.mul_add(k[i], everything[42 + i]);
                }
            }
        }
        let mut sums = Sums::NONE;
        set_folded(&values, &mut sums.0[..6]);
        if WANT >= 1 {
            set_folded(&slopes, &mut sums.0[6..SLOPES]);
        }
        if WANT >= 2 {
            set_folded(&curvature, &mut sums.0[SLOPES..SLOPES + 21]);
        }
        if WANT >= 3 {
            set_folded(&everything, &mut sums.0[SLOPES + 21..]);
        }
        sums
    }
}

#[cfg(test)]
mod tests;
