//! L3. The value of a volume between its voxels, along a row of sixteen neighbours at a time, and its slope.
//!
//! ```text
//! v(p) = Σ_k Σ_j Σ_i w_k(z) w_j(y) w_i(x) c[k][j][i]            p = (x, y, z), cells k, j, i around it
//! ∂v/∂x: the same with w_i' for w_i
//! ```
//!
//! | kernel | taps per axis | t = the part of a voxel beyond the first middle tap | c |
//! |---|---|---|---|
//! | nearest | 1 | w = 1 for the nearest voxel, half upwards | values |
//! | linear | 2 | 1 − t, t | values |
//! | cubic | 4 | (1−t)³/6, ⅔ − t²(1 − t/2), the same of 1 − t, t³/6 | B-spline coefficients |
//!
//! Order of the sums: x innermost, then y, then z, each ascending; the first term of each is a product, the others fused.
//!
//! **Lanes.** Sixteen neighbours of a fixed row look up points on a line, p = start + x · step, whose step is nearly
//! (1, 0, 0) for small rotations. Their cells then lie side by side but for a jump by one along some axis, and they share
//! loads: five taps instead of four along that axis, with a weight of zero at the one that is not theirs, which adds
//! nothing. Where they lie further apart, each lane fetches its own; bits are the same either way, and in any company.
//! Within a group of sixteen, positions are f32 relative to the cell of its first (error below 2e-6 voxel).

use super::field::Field;
use crate::num::lanes::{F32x16, IOTA, Isa, Kernel, LANES, ROUNDER};
use crate::volume::Dims;
use std::array::from_fn;
use std::marker::PhantomData;
use std::ops::Range;

/// Most taps of a kernel and one.
const TAPS: usize = 5;

/// How a volume is looked up between its voxels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The nearest voxel: for labels.
    Nearest,
    /// Trilinear: for a preview; it blurs by a different amount at every phase.
    Linear,
    /// Cubic B-spline.
    Cubic,
}

impl Interpolation {
    /// Names accepted by [`Interpolation::parse`].
    pub const NAMES: [&'static str; 3] = ["nearest", "linear", "cubic"];

    /// The method of a name.
    ///
    /// # Errors
    /// Usage: any other name.
    pub fn parse(name: &str) -> crate::error::Result<Interpolation> {
        match name {
            "nearest" => Ok(Interpolation::Nearest),
            "linear" => Ok(Interpolation::Linear),
            "cubic" => Ok(Interpolation::Cubic),
            _ => {
                Err(crate::error::Error::usage(format!("`{name}` is no interpolation"))
                    .help("nearest, linear or cubic"))
            }
        }
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// A kernel along one axis.
trait Taps {
    /// Taps that are not zero.
    const COUNT: usize;
    /// Cell of the first tap, from the cell of the point.
    const FIRST: isize;
    /// Added to a position before it is cut into cell and part.
    const SHIFT: f64;
    /// Weights of the taps; the rest is not used.
    fn weights<V: F32x16>(t: V) -> [V; TAPS];
    /// Their derivatives.
    fn slopes<V: F32x16>(t: V) -> [V; TAPS];
}

struct Nearest;
struct Linear;
struct Cubic;

impl Taps for Nearest {
    const COUNT: usize = 1;
    const FIRST: isize = 0;
    const SHIFT: f64 = 0.5;
    #[inline(always)]
    fn weights<V: F32x16>(_: V) -> [V; TAPS] {
        let mut w = [V::splat(0.0); TAPS];
        w[0] = V::splat(1.0);
        w
    }
    #[inline(always)]
    fn slopes<V: F32x16>(_: V) -> [V; TAPS] {
        [V::splat(0.0); TAPS]
    }
}

impl Taps for Linear {
    const COUNT: usize = 2;
    const FIRST: isize = 0;
    const SHIFT: f64 = 0.0;
    #[inline(always)]
    fn weights<V: F32x16>(t: V) -> [V; TAPS] {
        let zero = V::splat(0.0);
        [V::splat(1.0).sub(t), t, zero, zero, zero]
    }
    #[inline(always)]
    fn slopes<V: F32x16>(_: V) -> [V; TAPS] {
        let zero = V::splat(0.0);
        [V::splat(-1.0), V::splat(1.0), zero, zero, zero]
    }
}

impl Taps for Cubic {
    const COUNT: usize = 4;
    const FIRST: isize = -1;
    const SHIFT: f64 = 0.0;
    #[inline(always)]
    fn weights<V: F32x16>(t: V) -> [V; TAPS] {
        let (half, one) = (V::splat(0.5), V::splat(1.0));
        let u = one.sub(t);
        let (tt, uu) = (t.mul(t), u.mul(u));
        let sixth = V::splat(1.0 / 6.0);
        let two_thirds = V::splat(2.0 / 3.0);
        // ⅔ − t²(1 − t/2) = t²(t/2 − 1) + ⅔.
        let inner = tt.mul_add(t.mul_add(half, one.neg()), two_thirds);
        let outer = uu.mul_add(u.mul_add(half, one.neg()), two_thirds);
        [uu.mul(u).mul(sixth), inner, outer, tt.mul(t).mul(sixth), V::splat(0.0)]
    }
    #[inline(always)]
    fn slopes<V: F32x16>(t: V) -> [V; TAPS] {
        let (half, two) = (V::splat(0.5), V::splat(2.0));
        let u = V::splat(1.0).sub(t);
        let three_halves = V::splat(1.5);
        let inner = t.mul(t.mul_add(three_halves, two.neg()));
        let outer = u.mul(u.mul_add(three_halves, two.neg()));
        [u.mul(u).mul(half).neg(), inner, outer.neg(), t.mul(t).mul(half), V::splat(0.0)]
    }
}

/// Points `start + x · step`, x = 0, 1, …: voxel-centre indices (x, y, z) of the volume that is looked up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// The point of x = 0.
    pub start: [f64; 3],
    /// From each to the next.
    pub step: [f64; 3],
}

impl Line {
    /// Coordinate of point x along an axis: one product and one sum, so that it is monotonic in x.
    #[inline(always)]
    fn at(&self, axis: usize, x: usize) -> f64 {
        self.start[axis] + self.step[axis] * x as f64
    }

    /// Those of `n` points that lie `margin` or more voxels inside the outermost voxel centres of a volume: an interval.
    pub fn inside(&self, n: usize, dims: Dims, margin: f64) -> Range<usize> {
        // Coordinates are monotonic, so the ends speak for all between them; most lines of a block lie inside as a whole.
        let extents = [dims.nx, dims.ny, dims.nz];
        let is_whole = |axis: usize| {
            let (a, b) = (self.at(axis, 0), self.at(axis, n.max(1) - 1));
            a.min(b) >= margin && a.max(b) <= extents[axis] as f64 - 1.0 - margin
        };
        if is_whole(0) && is_whole(1) && is_whole(2) {
            return 0..n;
        }
        let mut found = 0..n;
        for (axis, extent) in extents.into_iter().enumerate() {
            let (low, high) = (margin, extent as f64 - 1.0 - margin);
            let is_in = |x: usize| (low..=high).contains(&self.at(axis, x));
            // The ends by division, then to the voxel by the definition itself.
            let (a, b) = ((low - self.start[axis]) / self.step[axis], (high - self.start[axis]) / self.step[axis]);
            let (a, b) = (a.min(b), a.max(b));
            if self.step[axis] == 0.0 || !(a.is_finite() && b.is_finite()) {
                if !is_in(0) {
                    return 0..0;
                }
                continue;
            }
            let clamp = |v: f64| v.clamp(0.0, n as f64) as usize;
            let (mut first, mut end) = (clamp(a.floor() - 1.0), clamp(b.ceil() + 2.0));
            while first < end && !is_in(first) {
                first += 1;
            }
            while first < end && !is_in(end - 1) {
                end -= 1;
            }
            found = found.start.max(first)..found.end.min(end);
        }
        if found.start < found.end { found } else { 0..0 }
    }
}

/// Looks up the points `valid` of a line, which lie [inside](Line::inside) the field; all others are 0.
pub fn row(isa: Isa, how: Interpolation, field: &Field, line: Line, valid: Range<usize>, out: &mut [f32]) {
    match how {
        Interpolation::Nearest => isa.run(Row::<Nearest, 1> { field, line, valid, out: [out], kernel: PhantomData }),
        Interpolation::Linear => isa.run(Row::<Linear, 1> { field, line, valid, out: [out], kernel: PhantomData }),
        Interpolation::Cubic => isa.run(Row::<Cubic, 1> { field, line, valid, out: [out], kernel: PhantomData }),
    }
}

/// As [`row`] by the cubic kernel, with the same bits, and the derivatives along x, y, z of the volume that is looked up, per voxel:
/// taps are loaded once for all four.
pub fn row_with_slopes(isa: Isa, field: &Field, line: Line, valid: Range<usize>, out: [&mut [f32]; 4]) {
    isa.run(Row::<Cubic, 4> { field, line, valid, out, kernel: PhantomData });
}

/// N = 1: values; 4: values and slopes.
struct Row<'a, T, const N: usize> {
    field: &'a Field,
    line: Line,
    valid: Range<usize>,
    out: [&'a mut [f32]; N],
    kernel: PhantomData<T>,
}

/// One axis of a group of sixteen.
#[derive(Clone, Copy)]
struct Axis<V> {
    /// Cell of the group; the cell of lane i is this plus `cells[i]` (and plus i along x).
    cell: isize,
    cells: [f32; LANES],
    weights: [V; TAPS],
    slopes: [V; TAPS],
}

impl<T: Taps, const N: usize> Row<'_, T, N> {
    /// Cells and weights along an axis for lanes x, x + 1, ….
    #[inline(always)]
    fn axis<V: F32x16>(&self, axis: usize, x: usize) -> Axis<V> {
        let start = self.line.at(axis, x) + T::SHIFT;
        let cell = start.floor();
        // Along x the cell goes on with the lanes.
        let drift = self.line.step[axis] - if axis == 0 { 1.0 } else { 0.0 };
        let v = V::load_array(&IOTA).mul_add(V::splat(drift as f32), V::splat((start - cell) as f32));
        let nearest = v.add(V::splat(ROUNDER)).sub(V::splat(ROUNDER));
        let below = v.select_less(nearest, nearest.sub(V::splat(1.0)), nearest);
        let mut cells = [0.0; LANES];
        below.store_array(&mut cells);
        let t = v.sub(below);
        let slopes = if N > 1 { T::slopes(t) } else { [V::splat(0.0); TAPS] };
        Axis { cell: cell as isize + T::FIRST, cells, weights: T::weights(t), slopes }
    }

    /// The sixteen from x on, of which `valid` count: value, and slopes along x, y, z.
    #[inline(always)]
    fn group<V: F32x16>(&self, x: usize, valid: Range<usize>) -> [V; 4] {
        let mut axes = [self.axis::<V>(0, x), self.axis::<V>(1, x), self.axis::<V>(2, x)];
        // Monotonic along the lanes: the ends are the extremes.
        let mut low = [0.0; 3];
        let mut spread = [0.0; 3];
        for axis in 0..3 {
            let (a, b) = (axes[axis].cells[valid.start], axes[axis].cells[valid.end - 1]);
            low[axis] = if a < b { a } else { b };
            spread[axis] = (a - b).abs();
        }
        if spread[0] > 1.0 || spread[1] > 1.0 || spread[2] > 1.0 {
            let mut found = [V::splat(0.0); 4];
            for ask in 0..N {
                let mut w = [axes[0].weights, axes[1].weights, axes[2].weights];
                if ask > 0 {
                    w[ask - 1] = axes[ask - 1].slopes;
                }
                found[ask] = self.gather(&axes, &w, valid.clone());
            }
            return found;
        }
        let mut counts = [T::COUNT; 3];
        for axis in 0..3 {
            if spread[axis] > 0.0 {
                counts[axis] += 1;
                share(&axes[axis].cells, &mut axes[axis].weights, low[axis]);
                if N > 1 {
                    share(&axes[axis].cells, &mut axes[axis].slopes, low[axis]);
                }
            }
        }
        let cell = |axis: usize| axes[axis].cell + low[axis] as isize;
        let first = self.field.place(cell(0), cell(1), cell(2));
        let (data, strides) = (self.field.data(), self.field.strides());
        if counts[0] > T::COUNT {
            together::<V, T, N, 1>(data, first, strides, &axes, counts)
        } else {
            together::<V, T, N, 0>(data, first, strides, &axes, counts)
        }
    }

    /// As [`together`], each lane from its own cell. Lanes that do not count take the first one that does.
    #[inline(always)]
    fn gather<V: F32x16>(&self, axes: &[Axis<V>; 3], w: &[[V; TAPS]; 3], valid: Range<usize>) -> V {
        let mut first = [0; LANES];
        for i in 0..LANES {
            let i_valid = if valid.contains(&i) { i } else { valid.start };
            let cell = |axis: usize| axes[axis].cell + axes[axis].cells[i_valid] as isize;
            first[i] = self.field.place(cell(0) + i_valid as isize, cell(1), cell(2));
        }
        let (row, plane) = self.field.strides();
        let data = self.field.data();
        let mut volume = V::splat(0.0);
        for k in 0..T::COUNT {
            let mut slice = V::splat(0.0);
            for j in 0..T::COUNT {
                let mut line = V::splat(0.0);
                for i in 0..T::COUNT {
                    let mut taps = [0.0; LANES];
                    for lane in 0..LANES {
                        taps[lane] = data[first[lane] + k * plane + j * row + i];
                    }
                    line = fused(i, w[0][i], V::load_array(&taps), line);
                }
                slice = fused(j, w[1][j], line, slice);
            }
            volume = fused(k, w[2][k], slice, volume);
        }
        volume.add(V::splat(0.0))
    }
}

/// The first term of a sum is a product.
#[inline(always)]
fn fused<V: F32x16>(k: usize, a: V, b: V, sum: V) -> V {
    if k == 0 { a.mul(b) } else { a.mul_add(b, sum) }
}

/// Lanes in the cell `low` keep their weights, those in the next one have theirs one tap further on.
#[inline(always)]
fn share<V: F32x16>(cells: &[f32; LANES], weights: &mut [V; TAPS], low: f32) {
    let cells = V::load_array(cells);
    let between = V::splat(low + 0.5);
    let old = *weights;
    for i in 0..TAPS {
        let moved = if i == 0 { V::splat(0.0) } else { old[i - 1] };
        weights[i] = cells.select_less(between, old[i], moved);
    }
}

/// The sums of the taps that sixteen lanes share; `MORE` taps along x beyond those of the kernel. A zero at the end makes
/// −0 to 0, so that a tap of weight zero leaves no trace.
#[inline(always)]
fn together<V: F32x16, T: Taps, const N: usize, const MORE: usize>(
    data: &[f32],
    first: usize,
    (row, plane): (usize, usize),
    [x, y, z]: &[Axis<V>; 3],
    counts: [usize; 3],
) -> [V; 4] {
    let zero = V::splat(0.0);
    let mut volume = [zero; 4];
    for k in 0..counts[2] {
        let mut slice = [zero; 3];
        for j in 0..counts[1] {
            let at = first + k * plane + j * row;
            let taps: &[f32; LANES + TAPS] = match data[at..].first_chunk() {
                Some(taps) => taps,
                None => return [zero; 4],
            };
            let mut line = [zero; 2];
            for i in 0..T::COUNT + MORE {
                if let Some(group) = taps[i..].first_chunk::<LANES>() {
                    let group = V::load_array(group);
                    line[0] = fused(i, x.weights[i], group, line[0]);
                    if N > 1 {
                        line[1] = fused(i, x.slopes[i], group, line[1]);
                    }
                }
            }
            slice[0] = fused(j, y.weights[j], line[0], slice[0]);
            if N > 1 {
                slice[1] = fused(j, y.weights[j], line[1], slice[1]);
                slice[2] = fused(j, y.slopes[j], line[0], slice[2]);
            }
        }
        volume[0] = fused(k, z.weights[k], slice[0], volume[0]);
        if N > 1 {
            volume[1] = fused(k, z.weights[k], slice[1], volume[1]);
            volume[2] = fused(k, z.weights[k], slice[2], volume[2]);
            volume[3] = fused(k, z.slopes[k], slice[0], volume[3]);
        }
    }
    for sum in &mut volume {
        *sum = sum.add(zero);
    }
    volume
}

impl<T: Taps, const N: usize> Kernel for Row<'_, T, N> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(mut self) {
        let n = self.out[0].len();
        for x in (0..n).step_by(LANES) {
            let (low, high) = (self.valid.start.max(x), self.valid.end.min(x + LANES).min(n));
            let mut groups = [[0.0; LANES]; 4];
            if low < high {
                let found = self.group::<V>(x, low - x..high - x);
                for of in 0..N {
                    found[of].store_array(&mut groups[of]);
                    groups[of][..low - x].fill(0.0);
                    groups[of][high - x..].fill(0.0);
                }
            }
            let width = LANES.min(n - x);
            for (out, group) in self.out.iter_mut().zip(&groups) {
                out[x..x + width].copy_from_slice(&group[..width]);
            }
        }
    }
}

/// The definition, in f64, at one point.
pub fn definition(how: Interpolation, field: &Field, p: [f64; 3]) -> f64 {
    let (count, first, shift) = match how {
        Interpolation::Nearest => (Nearest::COUNT, Nearest::FIRST, Nearest::SHIFT),
        Interpolation::Linear => (Linear::COUNT, Linear::FIRST, Linear::SHIFT),
        Interpolation::Cubic => (Cubic::COUNT, Cubic::FIRST, Cubic::SHIFT),
    };
    let cell: [f64; 3] = from_fn(|axis| (p[axis] + shift).floor());
    let weight = |axis: usize, i: usize| {
        let t = p[axis] + shift - cell[axis];
        // β(d) = ⅔ − d² + d³/2 within 1, (2 − d)³/6 within 2, of the distance d to the tap.
        let d = (t - (first + i as isize) as f64).abs();
        match how {
            Interpolation::Nearest => 1.0,
            Interpolation::Linear => 1.0 - d,
            Interpolation::Cubic if d < 1.0 => 2.0 / 3.0 - d * d + d * d * d / 2.0,
            Interpolation::Cubic => (2.0 - d) * (2.0 - d) * (2.0 - d) / 6.0,
        }
    };
    let mut sum = 0.0;
    for k in 0..count {
        for j in 0..count {
            for i in 0..count {
                let at = |axis: usize, i: usize| cell[axis] as isize + first + i as isize;
                let c = field.data()[field.place(at(0, i), at(1, j), at(2, k))];
                sum += weight(0, i) * weight(1, j) * weight(2, k) * f64::from(c);
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests;
