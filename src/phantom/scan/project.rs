//! Parallel-beam line integrals of sixteen fine rows at once, with exact intersection lengths, and their adjoint.
//!
//! **Geometry.** A slice of n × n pixels is sampled by cells of half a pixel, `[y][x]`, 2n × 2n; one cell holds sixteen
//! fine rows along z. Cell (i, j) has its centre at slice row (i + ½)/2 − ½ and column (j + ½)/2 − ½, and pixel (row,
//! column) lies, as in [`super::super::discs`], at
//!
//! ```text
//! X = column − a_c,  Y = a_r − row,      a_c = ⌈n/2⌉,  a_r = n − 1 − a_c      voxels from the axis, Y upward
//! ray:  X cos θ + Y sin θ = s,           s_c = (c + ½ − C/2)/2                fine column c of C: the axis in the middle
//! ```
//!
//! **Lengths** (Siddon, Med. Phys. 12, 252, 1985). With edges u = 2(column + ½), v = 2(row + ½) a ray runs along
//! u cos θ − v sin θ = q. Where |cos θ| ≥ |sin θ|, it enters row i of cells at
//!
//! ```text
//! u_i = (q + i sin θ) / cos θ,  leaves it at u_i + t, t = tan θ, |t| ≤ 1, and is L = ½ / |cos θ| voxels long in it:
//! one cell k = ⌊min(u_i, u_i + t)⌋, or two:  length in k+1 = L (max(u_i, u_i + t) − k − 1)₊ / |t|,  the rest in k
//! ```
//!
//! so a row costs two multiply-adds and no branch. Steeper rays walk columns, in a turned copy. Where a ray lies is
//! computed in f64; lengths are rounded to f32; the sum is f32, by multiply-add, in ascending order of rows (or columns),
//! of a row's two cells k first.
//!
//! **Cost.** The cells of a band of [`BAND`] rows that [`RAYS`] rays meet, a quarter to half a MiB, stay in the second-level
//! cache while at most [`VIEWS`] angles pass through them; a crossing is found once for up to [`GRIDS`] grids, whose cells lie side by side.

use super::super::specimen::Layer;
use crate::num::elementary::sincos;
use crate::num::lanes::{F32x16, Isa, Kernel, Lane};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Cells along the edge of a voxel, rays across a detector pixel.
pub const FINE: usize = 2;
/// Rows of cells that a ray is followed through at a time.
const BAND: usize = 16;
/// Neighbouring rays (of G grids: one in G of them) and angles that share a band's cells while they are in cache.
const RAYS: usize = 256;
const VIEWS: usize = 64;
/// Angles for which a thread goes through the cells at the least.
const FEW_VIEWS: usize = 8;
/// Grids at a time; two where four of them, and their copies, would take more than half a GiB.
const GRIDS: usize = 4;
const LARGE: usize = 1 << 20;
/// Empty cells on either side of a row, so that no ray needs to ask whether it is still inside.
const MARGIN: usize = 2;

/// The rays of one angle: u = start + step·c + slope·i, in cells.
#[derive(Clone, Copy)]
struct View {
    /// Whether it walks columns instead of rows.
    turned: bool,
    start: f64,
    step: f64,
    slope: f64,
    /// Voxels in a row, and per cell of u.
    length: f64,
    per_cell: f64,
}

/// Where a ray meets a band: for each row the place of the first of two cells, and the lengths in both.
struct Crossings {
    place: [u32; BAND],
    lengths: [[f32; BAND]; 2],
}

/// Rays through slices of one size.
pub struct Projector {
    side: usize,
    columns: usize,
    axis: [f64; 2],
    /// Of the grids that are looked through, kept: their pages are new once.
    pub(super) padded: Mutex<Vec<Lane>>,
}

impl Projector {
    /// For slices of `n` × `n` pixels, seen by `columns` fine columns.
    pub fn new(n: usize, columns: usize) -> Projector {
        let column = n.div_ceil(2) as f64;
        let edge = |pixel: f64| FINE as f64 * (pixel + 0.5);
        let axis = [edge(column), edge(n as f64 - 1.0 - column)];
        Projector { side: FINE * n, columns, axis, padded: Mutex::default() }
    }

    /// The same slices seen by another number of fine columns, with the memory of this one.
    pub fn with_columns(self, columns: usize) -> Projector {
        Projector { columns, ..self }
    }

    /// Cells along an edge of the grid.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Grids that [`Projector::project`] goes through at a time: more at once are no faster.
    pub fn grids(&self) -> usize {
        if self.side * self.side > LARGE { GRIDS / 2 } else { GRIDS }
    }

    /// s of fine column `c`, voxels from the axis.
    pub fn s(&self, c: usize) -> f64 {
        (c as f64 + 0.5 - self.columns as f64 / 2.0) / FINE as f64
    }

    fn stride(&self) -> usize {
        (self.side + 2 * MARGIN) | 1 // odd, so that the cells of a column do not share a cache set
    }

    fn view(&self, theta: f64) -> View {
        let (sin, cos) = sincos(theta);
        // q of column 0; q grows by 1 from one fine column to the next.
        let q = FINE as f64 * self.s(0) + self.axis[0] * cos - self.axis[1] * sin;
        let turned = cos.abs() < sin.abs();
        let (start, step, slope) =
            if turned { (-q / sin, -1.0 / sin, cos / sin) } else { (q / cos, 1.0 / cos, sin / cos) };
        let length = step.abs() / FINE as f64;
        let per_cell = if slope == 0.0 { 0.0 } else { length / slope.abs() };
        View { turned, start, step, slope, length, per_cell }
    }

    /// The cells of row `i` that count: those whose centre is at most [`CIRCLE_MARGIN`] cells outside the circle of the
    /// field of view. What is farther out is nobody's: it belongs to the stack of layers that surrounds the field.
    fn within(&self, i: usize) -> Range<usize> {
        let radius = 0.5 * self.side as f64 + CIRCLE_MARGIN;
        let below = i as f64 + 0.5 - self.axis[1];
        if below.abs() > radius {
            return 0..0;
        }
        let half = (radius * radius - below * below).sqrt();
        let edge = |u: f64| u.clamp(0.0, self.side as f64) as usize;
        let (left, right) = ((self.axis[0] - half - 0.5).ceil(), (self.axis[0] + half - 0.5).floor() + 1.0);
        edge(left)..edge(right).max(edge(left))
    }

    /// Grids cell by cell, turned or not, and zeros beyond the circle and in the margins.
    fn pad<const G: usize>(&self, grids: [&[Lane]; G], turned: bool, padded: &mut [[Lane; G]]) {
        let side = self.side;
        let within: Vec<Range<usize>> = (0..side).map(|i| self.within(i)).collect();
        padded.par_chunks_mut(self.stride()).enumerate().for_each(|(i, row)| {
            row[..MARGIN].fill([Lane::ZERO; G]);
            row[MARGIN + side..].fill([Lane::ZERO; G]);
            for (j, cell) in row[MARGIN..MARGIN + side].iter_mut().enumerate() {
                let (y, x) = if turned { (j, i) } else { (i, j) };
                *cell = match within[y].contains(&x) {
                    true => grids.map(|cells| cells[y * side + x]),
                    false => [Lane::ZERO; G],
                };
            }
        });
    }

    /// Line integrals of some grids of cells (`[y][x]`, value per voxel of path; those beyond the circle
    /// of the field of view by more than two cells count as 0) at the angles `theta` (radians), to
    /// `out[angle][grid][fine column]`. All threads; the bits depend on neither their number nor the instruction set.
    ///
    /// 608 × 608 cells, 688 rays, 240 angles, four grids, one core with AVX2: 0.51 to 0.60 s, 7 to 8 ns for each row that a ray
    /// crosses; 0.3 s of it are multiply-adds, 0.1 s the crossings. Tiles of eight rows, or of the first-level cache, are no faster.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn project(&self, isa: Isa, grids: &[&[Lane]], theta: &[f64], out: &mut [Lane]) {
        let side = self.side;
        let one = grids.len() * self.columns;
        assert!(grids.iter().all(|g| g.len() == side * side), "grids of {side} x {side} cells");
        assert_eq!(out.len(), theta.len() * one, "one line integral per angle, grid and column");
        out.fill(Lane::ZERO);
        let views: Vec<View> = theta.iter().map(|&t| self.view(t)).collect();
        let most = self.grids();
        for (first, some) in grids.chunks(most).enumerate() {
            let to = most * first * self.columns..one;
            match *some {
                [a, b, c, d] => self.pass(isa, [a, b, c, d], &views, to, out),
                [a, b, c] => self.pass(isa, [a, b, c], &views, to, out),
                [a, b] => self.pass(isa, [a, b], &views, to, out),
                [a] => self.pass(isa, [a], &views, to, out),
                _ => {}
            }
        }
    }

    /// Grids at all angles; `to` says where their integrals begin and end in those of an angle.
    fn pass<const G: usize>(&self, isa: Isa, grids: [&[Lane]; G], views: &[View], to: Range<usize>, out: &mut [Lane]) {
        let mut memory = self.padded.lock().unwrap_or_else(PoisonError::into_inner);
        let length = G * self.side * self.stride();
        if memory.len() < length {
            *memory = Vec::new();
            *memory = vec![Lane::ZERO; length];
        }
        let padded = memory[..length].as_chunks_mut::<G>().0;
        for turned in [false, true] {
            if self.columns == 0 || !views.iter().any(|v| v.turned == turned) {
                continue;
            }
            self.pad(grids, turned, padded);
            let padded = &*padded;
            let mut walked: Vec<(&View, &mut [Lane])> =
                views.iter().zip(out.chunks_exact_mut(to.end)).filter(|(v, _)| v.turned == turned).collect();
            let share = walked.len().div_ceil(rayon::current_num_threads()).clamp(FEW_VIEWS, VIEWS);
            walked.par_chunks_mut(share).for_each(|walked| {
                for (rays, rows) in
                    blocks(self.columns, RAYS / G).flat_map(|r| blocks(self.side, BAND).map(move |b| (r.clone(), b)))
                {
                    for (view, out) in walked.iter_mut() {
                        let band = Band { projector: self, view, first: rows.start, rows: rows.len() };
                        let cells = &padded[rows.start * self.stride()..];
                        isa.run(Forward { band, rays: rays.clone(), cells, out: &mut out[to.clone()] });
                    }
                }
            });
        }
    }

    /// The adjoint: cells `[y][x]` from `projections[angle][fine column]`, with the lengths of [`Projector::project`].
    /// A cell sums over angles, then columns, first those that walk rows, then the others.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn back(&self, isa: Isa, projections: &[Lane], theta: &[f64], cells: &mut [Lane]) {
        let (side, stride) = (self.side, self.stride());
        assert_eq!((projections.len(), cells.len()), (theta.len() * self.columns, side * side), "sizes that fit");
        let [rows, columns] = [false, true].map(|turned| {
            let mut grid = vec![Lane::ZERO; side * stride];
            grid.par_chunks_mut(BAND * stride).enumerate().for_each(|(band, cells)| {
                let (first, rows) = (band * BAND, cells.len() / stride);
                for (&theta, projection) in theta.iter().zip(projections.chunks_exact(self.columns)) {
                    let view = self.view(theta);
                    if view.turned == turned {
                        let band = Band { projector: self, view: &view, first, rows };
                        isa.run(Back { band, projection, cells });
                    }
                }
            });
            grid
        });
        cells.par_chunks_mut(side).enumerate().for_each(|(i, row)| {
            let within = self.within(i);
            row[..within.start].fill(Lane::ZERO);
            row[within.end..].fill(Lane::ZERO);
            for (j, cell) in row.iter_mut().enumerate().take(within.end).skip(within.start) {
                let (a, b) = (&rows[i * stride + MARGIN + j], &columns[j * stride + MARGIN + i]);
                *cell = Lane(std::array::from_fn(|lane| a.0[lane] + b.0[lane]));
            }
        });
    }
}

/// 0 … n in pieces of `step`.
fn blocks(n: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(step).map(move |first| first..(first + step).min(n))
}

/// Rows `first … first + rows` of the grid, walked by the rays of one view.
#[derive(Clone, Copy)]
struct Band<'a> {
    projector: &'a Projector,
    view: &'a View,
    first: usize,
    rows: usize,
}

impl Band<'_> {
    /// Where ray `c` meets the band, places counted from the band's begin; false if it misses it.
    #[inline(always)]
    fn cross(&self, c: usize, met: &mut Crossings) -> bool {
        let (v, side) = (*self.view, self.projector.side as f64);
        let entry = v.start + v.step * c as f64 + v.slope * self.first as f64;
        let exit = entry + v.slope * self.rows as f64;
        if entry.min(exit) > side || entry.max(exit) < 0.0 || self.beyond(entry, exit) {
            return false;
        }
        let lowest = entry + v.slope.min(0.0) + MARGIN as f64;
        let (tilt, stride, last) = (v.slope.abs(), self.projector.stride() as u32, side + MARGIN as f64);
        for i in 0..BAND {
            let low = lowest + v.slope * i as f64;
            let cell = low.floor();
            // Exact: both are multiples of the last bit of `low`.
            let over = tilt - (cell + 1.0 - low);
            let second = (if over > 0.0 { over } else { 0.0 }) * v.per_cell;
            let second = if second < v.length { second } else { v.length };
            let cell = if cell > 0.0 { cell } else { 0.0 };
            let cell = if cell < last { cell } else { last };
            met.place[i] = (cell + WHOLE).to_bits() as u32 + i as u32 * stride;
            met.lengths[0][i] = (v.length - second) as f32;
            met.lengths[1][i] = second as f32;
        }
        true
    }
}

impl Band<'_> {
    /// Whether the way from `entry` to `exit` meets only cells that are zero, beyond the circle of the field of view:
    /// both ends lie there, and the point nearest to the axis is not between them.
    #[inline(always)]
    fn beyond(&self, entry: f64, exit: f64) -> bool {
        let [x, y] = self.projector.axis;
        let (along, across) = if self.view.turned { (y, x) } else { (x, y) };
        // A cell that a ray enters has its centre at most 0.71 from it.
        let radius = 0.5 * self.projector.side as f64 + CIRCLE_MARGIN + 0.75;
        let (near, far) = (self.first as f64 - across, (self.first + self.rows) as f64 - across);
        let (entry, exit) = (entry - along, exit - along);
        let outside = |u: f64, v: f64| u * u + v * v > radius * radius;
        let (du, dv) = (exit - entry, far - near);
        let passes = (entry * du + near * dv) * (exit * du + far * dv) < 0.0;
        outside(entry, near) && outside(exit, far) && !passes
    }
}

/// See [`Projector::within`]; cells.
const CIRCLE_MARGIN: f64 = 2.0;

/// 2⁵²: added to a whole number, it leaves that number in the low bits, which vectorises where `as` does not.
const WHOLE: f64 = 4_503_599_627_370_496.0;

struct Forward<'a, const G: usize> {
    band: Band<'a>,
    rays: Range<usize>,
    /// From the band's first row on.
    cells: &'a [[Lane; G]],
    /// `[grid][column]`.
    out: &'a mut [Lane],
}

impl<const G: usize> Kernel for Forward<'_, G> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let columns = self.band.projector.columns;
        let mut met = Crossings { place: [0; BAND], lengths: [[0.0; BAND]; 2] };
        for c in self.rays {
            if !self.band.cross(c, &mut met) {
                continue;
            }
            let mut sums: [V; G] = std::array::from_fn(|g| V::load(&self.out[g * columns + c]));
            for i in 0..self.band.rows.min(BAND) {
                let pair = &self.cells[met.place[i] as usize..][..2];
                let [first, second] = [V::splat(met.lengths[0][i]), V::splat(met.lengths[1][i])];
                for (g, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(&pair[1][g]).mul_add(second, V::load(&pair[0][g]).mul_add(first, *sum));
                }
            }
            sums.iter().enumerate().for_each(|(g, sum)| sum.store(&mut self.out[g * columns + c]));
        }
    }
}

struct Back<'a> {
    band: Band<'a>,
    projection: &'a [Lane],
    cells: &'a mut [Lane],
}

impl Kernel for Back<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let mut met = Crossings { place: [0; BAND], lengths: [[0.0; BAND]; 2] };
        for (c, value) in self.projection.iter().enumerate() {
            if !self.band.cross(c, &mut met) {
                continue;
            }
            let value = V::load(value);
            for i in 0..self.band.rows.min(BAND) {
                let pair = &mut self.cells[met.place[i] as usize..][..2];
                for which in 0..2 {
                    let sum = value.mul_add(V::splat(met.lengths[which][i]), V::load(&pair[which]));
                    sum.store(&mut pair[which]);
                }
            }
        }
    }
}

/// Where the stack of flat layers lies in a slice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// Where the stack's middle at y = 0 lies: voxels to the right of the axis, and below it (towards larger rows).
    pub origin: [f64; 2],
    /// By how much the stack is turned, from right to below, radians.
    pub turn: f64,
}

/// What a ray at angle `theta` (radians) and detector coordinate `s` meets of a stack outside the circle of `radius`
/// voxels about the axis: Σ value · voxels, for both values (µ and δ) of each layer, in the layers' order.
///
/// A layer is the rectangle of points (right, below) = origin + R(turn) (x, y) with |x| ≤ half width and y in its range.
/// The ray is P(t) = s (cos θ, −sin θ) + t (sin θ, cos θ): the t inside a rectangle are one interval, those inside the
/// circle another, and what counts is the first less their overlap.
pub fn layers(stack: &[Layer], values: &[[f64; 2]], placed: &Placement, theta: f64, s: f64, radius: f64) -> [f64; 2] {
    let ((sin, cos), (turn_sin, turn_cos)) = (sincos(theta), sincos(placed.turn));
    let back = |p: [f64; 2]| [turn_cos * p[0] + turn_sin * p[1], turn_cos * p[1] - turn_sin * p[0]];
    let start = back([s * cos - placed.origin[0], -s * sin - placed.origin[1]]);
    let along = back([sin, cos]);
    let half_chord = (radius * radius - s * s).max(0.0).sqrt();
    let mut sum = [0.0; 2];
    for (layer, value) in stack.iter().zip(values) {
        let (mut enter, mut leave) = (f64::MIN, f64::MAX);
        for (axis, [low, high]) in [[-layer.half_width, layer.half_width], layer.y].into_iter().enumerate() {
            if along[axis] == 0.0 {
                if start[axis] < low || start[axis] > high {
                    leave = f64::MIN;
                }
                continue;
            }
            let [a, b] = [low, high].map(|edge| (edge - start[axis]) / along[axis]);
            (enter, leave) = (enter.max(a.min(b)), leave.min(a.max(b)));
        }
        let inside = (leave.min(half_chord) - enter.max(-half_chord)).max(0.0);
        let length = if leave > enter { leave - enter - inside } else { 0.0 };
        (0..2).for_each(|i| sum[i] += value[i] * length);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::super::super::discs::{self, Disc, Sampling};
    use super::*;
    use crate::num::philox::Stream;
    use std::f64::consts::PI;

    /// Sixteen lanes of positive numbers.
    fn noise(stream: u32, n: usize) -> Vec<Lane> {
        let s = Stream::new(11, stream);
        (0..n).map(|i| Lane(std::array::from_fn(|lane| 0.1 + s.uniform_f32((i * 16 + lane) as u64)))).collect()
    }

    fn dot(a: &[Lane], b: &[Lane]) -> [f64; 16] {
        std::array::from_fn(|lane| a.iter().zip(b).map(|(a, b)| f64::from(a.0[lane]) * f64::from(b.0[lane])).sum())
    }

    /// Odd and even sizes, all octants, the diagonals and the axes.
    const THETA: [f64; 9] = [0.0, 0.3, PI / 4.0, 1.2, PI / 2.0, 2.0, 3.0 * PI / 4.0, PI, 4.0];

    #[test]
    fn projection_and_back_projection_are_adjoint() {
        for (n, columns) in [(1, 2), (7, 20), (20, 41), (33, 60)] {
            let p = Projector::new(n, columns);
            let (x, y) = (noise(0, p.side() * p.side()), noise(1, THETA.len() * columns));
            let mut ax = vec![Lane([f32::NAN; 16]); y.len()];
            let mut aty = vec![Lane([f32::NAN; 16]); x.len()];
            p.project(Isa::detect(), &[&x], &THETA, &mut ax);
            p.back(Isa::detect(), &y, &THETA, &mut aty);
            for (left, right) in dot(&ax, &y).into_iter().zip(dot(&x, &aty)) {
                assert!((left - right).abs() < 1e-6 * left, "{n}: {left} and {right}");
            }
        }
    }

    /// The definition: sorted crossings of all grid lines, midpoints looked up.
    #[test]
    fn lengths_are_those_between_the_lines_of_the_grid() {
        let (n, columns) = (9, 22);
        let p = Projector::new(n, columns);
        let x = noise(2, p.side() * p.side());
        let theta = [0.0, 0.1, 0.9, PI / 4.0 + 1e-9, 1.7, PI / 2.0, 3.0];
        let mut got = vec![Lane::ZERO; theta.len() * columns];
        p.project(Isa::detect(), &[&x], &theta, &mut got);
        for (a, &theta) in theta.iter().enumerate() {
            let (sin, cos) = (theta.sin(), theta.cos());
            for c in 0..columns {
                let s = p.s(c);
                // Edges in voxels to the right of the axis, and below it.
                let at = |t: f64| [s * cos + t * sin + p.axis[0] / 2.0, -s * sin + t * cos + p.axis[1] / 2.0];
                let mut cuts = vec![-40.0, 40.0];
                for edge in 0..=p.side() {
                    let e = edge as f64 / 2.0;
                    cuts.extend([(e - at(0.0)[0]) / sin, (e - at(0.0)[1]) / cos]);
                }
                cuts.retain(|t| t.abs() <= 40.0);
                cuts.sort_by(f64::total_cmp);
                let mut want = 0.0;
                for pair in cuts.windows(2) {
                    let [u, v] = at(0.5 * (pair[0] + pair[1])).map(|e| (2.0 * e).floor());
                    let inside = |e: f64| e >= 0.0 && e < p.side() as f64;
                    if inside(u) && inside(v) && p.within(v as usize).contains(&(u as usize)) {
                        want += (pair[1] - pair[0]) * f64::from(x[v as usize * p.side() + u as usize].0[3]);
                    }
                }
                let got = f64::from(got[a * columns + c].0[3]);
                // f32 sums of 18 rows.
                assert!((got - want).abs() < 1e-5, "theta {theta}, column {c}: {got}, not {want}");
            }
        }
    }

    /// A disc sampled by area lies between the discs whose radii differ by a cell's diagonal, 0.71 voxels.
    #[test]
    fn discs_lie_between_their_bounds() {
        let n = 64;
        let p = Projector::new(n, 2 * n);
        let disc = Disc { x: 7.3, y: -4.1, radius: 17.2, mu: 0.02 };
        // A grid of 2n × 2n pixels of half the size, its axis half a cell off ours in both directions.
        let moved = Disc { x: 2.0 * disc.x + 0.5, y: 2.0 * disc.y + 0.5, radius: 2.0 * disc.radius, mu: disc.mu };
        let cells: Vec<Lane> = discs::truth(&[moved], 2 * n, 8).into_iter().map(|v| Lane([v; 16])).collect();
        // Where our axis lies among those cells.
        assert_eq!(p.axis.map(|edge| edge - 0.5), [n as f64 + 0.5, n as f64 - 1.5]);
        let theta: Vec<f64> = (0..40).map(|i| f64::from(i) * PI / 40.0).collect();
        let mut got = vec![Lane::ZERO; theta.len() * 2 * n];
        p.project(Isa::detect(), &[&cells], &theta, &mut got);
        let (mut error, mut norm) = (0.0, 0.0);
        for (a, &t) in theta.iter().enumerate() {
            for c in 0..2 * n {
                // One pixel of the detector, centred on our ray.
                let closed =
                    |radius: f64| discs::sinogram(&[Disc { radius, ..disc }], &[t], 1, -p.s(c), Sampling::Point)[0];
                let [low, exact, high] = [-0.71, 0.0, 0.71].map(|d| closed(disc.radius + d));
                let value = f64::from(got[a * 2 * n + c].0[0]);
                assert!(value >= low - 1e-5 && value <= high + 1e-5, "{a} {c}: {low} {value} {high}");
                error += (value - exact).powi(2);
                norm += exact * exact;
            }
        }
        println!("relative error of a voxelised disc: {}", (error / norm).sqrt());
        // The rim's cells have the right area, not the right place: half a cell of 34 across, at random, in the few of
        // 64 rays that graze it.
        assert!((error / norm).sqrt() < 1e-2);
    }

    /// In a grid of ones a ray is as long as what it crosses of the circle, its edge a staircase of cells.
    #[test]
    fn only_the_circle_is_looked_at() {
        let (n, columns) = (60, 180);
        let p = Projector::new(n, columns);
        let ones = vec![Lane([1.0; 16]); p.side() * p.side()];
        let mut got = vec![Lane::ZERO; THETA.len() * columns];
        p.project(Isa::detect(), &[&ones], &THETA, &mut got);
        for (i, v) in got.iter().enumerate() {
            let s = p.s(i % columns);
            // The axis lies up to two voxels beside the middle, where the grid ends before the circle.
            let chord = |radius: f64| 2.0 * (radius * radius - s * s).max(0.0).sqrt();
            let (low, high) = (chord(30.0 + 1.0 - 0.5 - 2.0), chord(30.0 + 1.0 + 0.5));
            let v = f64::from(v.0[5]);
            assert!(v >= low - 1e-4 && v <= high + 1e-4, "angle {}, s {s}: {low} {v} {high}", i / columns);
        }
    }

    #[test]
    fn bits_depend_on_neither_threads_nor_instruction_set_nor_company() {
        let (n, columns) = (21, 50);
        let p = Projector::new(n, columns);
        let grids: Vec<Vec<Lane>> = (3..10).map(|i| noise(i, p.side() * p.side())).collect();
        let grids: Vec<&[Lane]> = grids.iter().map(|g| &g[..]).collect();
        let theta: Vec<f64> = (0..35).map(|i| f64::from(i) * 0.1).collect();
        let mut want: Vec<Lane> = Vec::new();
        for isa in Isa::available() {
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut out = vec![Lane::ZERO; 7 * theta.len() * columns];
                pool.install(|| p.project(isa, &grids, &theta, &mut out));
                want = if want.is_empty() { out.clone() } else { want };
                assert_eq!(out, want, "{} {threads}", isa.name());
            }
        }
        for n in 1..7 {
            let mut some = vec![Lane::ZERO; n * columns];
            p.project(Isa::detect(), &grids[..n], &theta[20..21], &mut some);
            assert_eq!(some, want[20 * 7 * columns..][..n * columns], "{n} grids");
        }
    }

    #[test]
    fn layers_outside_the_circle_are_what_steps_along_the_ray_find() {
        let layer = |y: [f64; 2], half_width| Layer { y, half_width, voxel: Default::default() };
        let stack = [layer([-12.0, -8.0], 70.0), layer([-8.0, 3.5], 30.0), layer([10.0, 40.0], 55.5)];
        let values = [[1.0, 10.0], [0.3, -2.0], [0.05, 4.0]];
        let placed = Placement { origin: [1.5, -2.0], turn: 0.07 };
        for (theta, s, radius) in [
            (0.0, 3.0, 20.0),
            (0.0, 25.0, 20.0),
            (1.5, -2.0, 20.0),
            (PI / 2.0 + 0.07, 4.0, 15.0),
            (PI / 2.0, -11.0, 0.0),
            (2.4, 19.9, 20.0),
        ] {
            let mut want = [0.0; 2];
            let step = 1e-3;
            for i in -120_000..120_000 {
                let t = (f64::from(i) + 0.5) * step;
                let (right, below) = (s * theta.cos() + t * theta.sin(), -s * theta.sin() + t * theta.cos());
                if right * right + below * below < radius * radius {
                    continue;
                }
                let (dx, dy) = (right - placed.origin[0], below - placed.origin[1]);
                let (sin, cos) = placed.turn.sin_cos();
                let (x, y) = (cos * dx + sin * dy, cos * dy - sin * dx);
                for (layer, value) in stack.iter().zip(values) {
                    if x.abs() <= layer.half_width && y >= layer.y[0] && y <= layer.y[1] {
                        (0..2).for_each(|i| want[i] += value[i] * step);
                    }
                }
            }
            let got = layers(&stack, &values, &placed, theta, s, radius);
            // Each of at most twelve ends is known to a step.
            let near =
                |i: usize| (got[i] - want[i]).abs() < 12.0 * step * values.iter().fold(0.0, |m, v| v[i].abs().max(m));
            assert!(near(0) && near(1), "theta {theta} s {s}: {got:?}, not {want:?}");
        }
    }
}
