//! The cell in the scan's frame: as a fine grid for the projector, and as the labels of the scan's own voxels.
//!
//! **Frame.** For N detector columns a slice has N x N pixels with the axis on column N/2 and row N/2 − 1
//! (X = column − N/2, Y = N/2 − 1 − row, see [`discs`](crate::phantom::discs)). The scan's voxel (x, y, z) is pixel
//!
//! ```text
//! column = x + (N − nx)/2,   row = y + (N − ny)/2,   slice z          (whole numbers, rounded down)
//! ```
//!
//! so the box of the specimen's shape is a plain crop of the reconstruction ([`LabGeometry::offset`]): the cell's x
//! runs with the columns, its y with the rows, downward, against Y.
//!
//! **Fine grid.** With an oversampling of s there are s N x s N cells `[y][x]` of 16 lanes along z; cell i has its
//! centre at column (i + ½)/s − ½ (rows alike), the axis at cell s N/2 + (s − 1)/2 along x and s less along y; fine row
//! r lies at z = `first_row` + (r + ½)/s − ½. A cell's value is the mean over the box of its size, edges along the
//! cell's own axes, about the point of the cell seen at its centre: what moves by any part of a voxel moves by as much.
//! (The value of the nearest voxel would move in halves.)
//!
//! **Outside.** In x and z the specimen goes on mirrored at its faces, or is void, by choice; in y it is void. Beyond
//! the circle of the field of view, N/2 about the axis, cells are 0: there the projector adds what it knows.

use super::motion::{Pose, back};
use crate::error::{Error, Result};
use crate::num::elementary::sincos;
use crate::num::lanes::{F32x16, Isa, Kernel, LANES, Lane, ROUNDER};
use crate::num::linalg::dot;
use crate::phantom::matter::{Voxel, optical_table};
use crate::phantom::specimen::Specimen;
use crate::units::Micrometre;
use crate::volume::Dims;
use rayon::prelude::*;
use std::array::from_fn;
use std::ops::Range;

/// Length of a voxel.
pub const VOXEL: Micrometre = Micrometre(1.33);

/// How the detector sees the cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabGeometry {
    /// N, even.
    pub columns: usize,
    /// s, cells per voxel along each axis.
    pub oversampling: usize,
    /// z of the detector's first row.
    pub first_row: i64,
    /// Whether the cell goes on outside its box in x and z.
    pub surround: bool,
}

impl LabGeometry {
    /// Column and row of the slice at which the specimen's voxel (0, 0) lies when nothing moves.
    pub fn offset(&self, dims: Dims) -> [usize; 2] {
        [(self.columns - dims.nx) / 2, (self.columns - dims.ny) / 2]
    }
    /// (x, y) of the axis in fine cells: the centre of cell (0, 0) is 0.
    pub fn axis_cell(&self) -> [f64; 2] {
        let s = self.oversampling as f64;
        [0.0, 1.0].map(|up| s * (self.columns as f64 / 2.0 - up) + (s - 1.0) / 2.0)
    }
    /// Fine cells along x and y.
    pub fn cells(&self) -> usize {
        self.columns * self.oversampling
    }
}

/// (x, y) of the rotation axis in the scan's voxels; the same for every N that holds the box.
pub fn axis(dims: Dims) -> [f64; 2] {
    [dims.nx.div_ceil(2) as f64, dims.ny.div_ceil(2) as f64 - 1.0]
}

/// The fine grid of one scan.
pub struct Lab<'a> {
    geometry: LabGeometry,
    offset: [usize; 2],
    sampler: Sampler<'a>,
    /// µ per voxel of path and δ, by voxel code.
    optical: Vec<[f32; 2]>,
}

impl<'a> Lab<'a> {
    /// Prepares the fine grid.
    ///
    /// # Errors
    /// If the columns are odd or too few to hold the specimen, or the oversampling is 0.
    pub fn new(specimen: &'a Specimen, pose: &'a Pose, geometry: LabGeometry) -> Result<Lab<'a>> {
        let (dims, n) = (specimen.dims, geometry.columns);
        if n % 2 == 1 || n < dims.nx.max(dims.ny) || geometry.oversampling == 0 {
            let s = geometry.oversampling;
            return Err(Error::usage(format!("{n} columns, {s} cells each, for {} x {} voxels", dims.nx, dims.ny))
                .help("take an even number of columns, no less than the specimen's width and depth"));
        }
        let offset = geometry.offset(dims);
        let xs = (0..geometry.cells()).map(|i| fine(i, geometry.oversampling) - offset[0] as f64);
        let optical = optical_table().iter().map(|o| [(o.mu * VOXEL.centimetres()) as f32, o.delta as f32]).collect();
        let sampler = Sampler::new(specimen, pose, xs, geometry.surround).for_means(specimen.dims);
        Ok(Lab { geometry, offset, sampler, optical })
    }

    /// Fills `mu[y][x]` (attenuation per voxel of path) and `delta[y][x]` (decrement of the refractive index) with
    /// the cells of 16 fine rows, a lane each. Cells are owned by their row: any threads, the same bits.
    ///
    /// # Panics
    /// If there are not 16 rows, or a slice has not `cells()`² lanes.
    pub fn fill(&self, isa: Isa, fine_rows: Range<usize>, mu: &mut [Lane], delta: Option<&mut [Lane]>) {
        let (n, s) = (self.geometry.cells(), self.geometry.oversampling);
        assert_eq!((fine_rows.len(), mu.len()), (LANES, n * n), "sixteen rows of {n} x {n} cells");
        assert!(delta.as_ref().is_none_or(|d| d.len() == n * n), "{n} x {n} cells");
        let z = from_fn(|lane| self.geometry.first_row as f64 + fine(fine_rows.start + lane, s));
        let deltas: Vec<Option<&mut [Lane]>> = match delta {
            Some(delta) => delta.chunks_mut(n).map(Some).collect(),
            None => (0..n).map(|_| None).collect(),
        };
        let rows = mu.par_chunks_mut(n).zip(deltas).enumerate();
        rows.for_each(|(j, (mu, mut delta))| {
            let inside = self.inside(j);
            for row in [Some(&mut *mu), delta.as_deref_mut()].into_iter().flatten() {
                row[..inside.start].fill(Lane::ZERO);
                row[inside.end..].fill(Lane::ZERO);
            }
            let (mu, delta) = (&mut mu[inside.clone()], delta.map(|d| &mut d[inside.clone()]));
            let mean = Mean::new(1.0 / s as f64, &self.optical, mu, delta);
            self.sampler.row(isa, fine(j, s) - self.offset[1] as f64, z, inside, mean);
        });
    }

    /// Cells of row j whose centres lie in the circle of the field of view.
    fn inside(&self, j: usize) -> Range<usize> {
        let [x, y] = self.geometry.axis_cell();
        let (radius, up, n) = (self.geometry.cells() as f64 / 2.0, j as f64 - y, self.geometry.cells());
        let half = radius * radius - up * up;
        if half < 0.0 {
            return 0..0;
        }
        (x - half.sqrt()).ceil().max(0.0) as usize..n.min((x + half.sqrt()).floor() as usize + 1)
    }
}

/// Centre of fine cell i in voxels, s cells to a voxel.
pub(super) fn fine(i: usize, s: usize) -> f64 {
    (i as f64 + 0.5) / s as f64 - 0.5
}

/// The labels `[z][y][x]` of the scan's voxels for some z: the truth in the scan's own frame, by the nearest voxel.
///
/// # Panics
/// If `out` has not the specimen's nx · ny numbers for each z.
pub fn labels(specimen: &Specimen, pose: &Pose, surround: bool, isa: Isa, z: Range<usize>, out: &mut [u8]) {
    let dims = specimen.dims;
    assert_eq!(out.len(), z.len() * dims.slice(), "labels of {} slices", z.len());
    let sampler = Sampler::new(specimen, pose, (0..dims.nx).map(|x| x as f64), surround);
    for (first, slab) in z.step_by(LANES).zip(out.chunks_mut(LANES * dims.slice())) {
        let zs = from_fn(|lane| (first + lane) as f64);
        let mut rows: Vec<Vec<&mut [u8]>> = (0..dims.ny).map(|_| Vec::new()).collect();
        slab.chunks_mut(dims.nx).enumerate().for_each(|(i, row)| rows[i % dims.ny].push(row));
        rows.into_par_iter().enumerate().for_each(|(y, mut lanes)| {
            let mut codes = vec![[0; LANES]; dims.nx];
            sampler.row(isa, y as f64, zs, 0..dims.nx, Nearest(&mut codes));
            for (lane, row) in lanes.iter_mut().enumerate() {
                row.iter_mut().zip(&codes).for_each(|(label, codes)| *label = Voxel(codes[lane]).label());
            }
        });
    }
}

/// What a place outside the voxels adds to their index: more than there can be voxels, and no overflow with three.
const NOWHERE: usize = 1 << 60;

/// The voxels seen by rows of points along x, sixteen z at a time. [`Pose::to_cell`] is the definition; here it runs
/// in f32 lanes (places to 10⁻³ voxel), every point by itself.
pub(super) struct Sampler<'a> {
    voxels: &'a [u16],
    pose: &'a Pose,
    /// What a whole coordinate adds to the index of a voxel, along x, y, z, from −reach on.
    places: [Vec<usize>; 3],
    reach: usize,
    xs: Vec<f32>,
    /// (cos, sin) of k_x x `[x][wave]`.
    turns: Vec<[f32; 2]>,
    /// How B_S, and B_P − B_S, change along x.
    slopes: [[f32; 3]; 2],
    /// A bit for each voxel: whether it and the seven others of the cube that begins with it are alike; empty where nobody asks.
    alike: Vec<u64>,
}

impl<'a> Sampler<'a> {
    pub(super) fn new(
        specimen: &'a Specimen,
        pose: &'a Pose,
        xs: impl Iterator<Item = f64>,
        surround: bool,
    ) -> Sampler<'a> {
        let Dims { nz, ny, nx } = specimen.dims;
        let xs: Vec<f64> = xs.collect();
        let reach = 4 * nx.max(ny).max(nz).max(xs.len());
        let place = |n: usize, stride: usize, mirrored: bool| {
            let one = |i: isize| {
                let turn = i.rem_euclid(2 * n as isize) as usize;
                let there = mirrored || (0..n as isize).contains(&i);
                if there { stride * turn.min(2 * n - 1 - turn) } else { NOWHERE }
            };
            (-(reach as isize)..(n + reach) as isize).map(one).collect()
        };
        let turns = xs.iter().flat_map(|x| {
            pose.waves.iter().map(move |w| {
                let (sin, cos) = sincos(w.vector[0] * x);
                [cos as f32, sin as f32]
            })
        });
        let [base, plating] = [&pose.stripping, &pose.plating].map(|body| back(body).0.map(|row| row[0]));
        Sampler {
            voxels: &specimen.voxels,
            pose,
            places: [place(nx, 1, surround), place(ny, nx, false), place(nz, nx * ny, surround)],
            reach,
            turns: turns.collect(),
            xs: xs.iter().map(|&x| x as f32).collect(),
            slopes: [base.map(|v| v as f32), from_fn(|i| (plating[i] - base[i]) as f32)],
            alike: Vec::new(),
        }
    }

    /// Knows where all voxels of a cube of eight are alike, so that their mean needs no looking at them.
    pub(super) fn for_means(mut self, dims: Dims) -> Self {
        let voxels = self.voxels;
        let is_alike = |i: usize| {
            let (x, y, z) = (i % dims.nx, i / dims.nx % dims.ny, i / dims.slice());
            let step = |there_is: bool, stride: usize| if there_is { stride } else { 0 };
            let (right, below) = (step(x + 1 < dims.nx, 1), step(y + 1 < dims.ny, dims.nx));
            let behind = step(z + 1 < dims.nz, dims.slice());
            let pair = |i: usize| voxels[i] == voxels[i + right];
            let four = |i: usize| pair(i) && pair(i + below) && voxels[i] == voxels[i + below];
            four(i) && four(i + behind) && voxels[i] == voxels[i + behind]
        };
        let word = |w: usize| {
            (0..64).fold(0, |word, bit| word | u64::from(w * 64 + bit < voxels.len() && is_alike(w * 64 + bit)) << bit)
        };
        self.alike = (0..voxels.len().div_ceil(64)).into_par_iter().map(word).collect();
        self
    }

    /// Looks at (xs\[i\], y, z\[lane\]) for the `columns` i.
    pub(super) fn row(&self, isa: Isa, y: f64, z: [f64; LANES], columns: Range<usize>, look: impl Look) {
        let [(a, b), (c, d)] = [&self.pose.stripping, &self.pose.plating].map(back);
        let at = |row: &[f64; 3], origin: f64, z: f64| row[1] * y + row[2] * z + origin;
        let start = Start {
            base: from_fn(|i| Lane(z.map(|z| at(&a[i], b[i], z) as f32))),
            apart: from_fn(|i| Lane(z.map(|z| (at(&c[i], d[i], z) - at(&a[i], b[i], z)) as f32))),
            waves: Vec::from_iter(self.pose.waves.iter().map(|w| {
                let turns = z.map(|z| sincos(dot(&w.vector, &[0.0, y, z]) + w.phase));
                [Lane(turns.map(|t| t.1 as f32)), Lane(turns.map(|t| t.0 as f32))]
            })),
        };
        isa.run(Row { sampler: self, start: &start, columns, look });
    }
}

/// A row's numbers at x = 0, a z in each lane.
struct Start {
    base: [Lane; 3],
    apart: [Lane; 3],
    /// cos and sin of k·(0, y, z) + φ.
    waves: Vec<[Lane; 2]>,
}

/// What is done with the places that a row sees.
pub(super) trait Look {
    /// Takes the places in the specimen, x, y, z of sixteen lanes, that the row's `cell`-th column sees.
    fn see<V: F32x16>(&mut self, sampler: &Sampler, cell: usize, place: [V; 3]);
}

struct Row<'a, L> {
    sampler: &'a Sampler<'a>,
    start: &'a Start,
    columns: Range<usize>,
    look: L,
}

impl<L: Look> Kernel for Row<'_, L> {
    type Out = ();
    /// Per cell: p = B_S(0) + x ∂B_S, then a_w cos(k_w·p + φ_w) added in the order of the waves, the cosine of the sum
    /// from those of its parts; E = B_P − B_S alike; u, g and p + g E by multiply-add.
    #[inline(always)]
    fn run<V: F32x16>(mut self) {
        let s = self.sampler;
        let [slope, bias] = s.pose.blend_line().map(|v| v as f32);
        let (zero, one) = (V::splat(0.0), V::splat(1.0));
        let waves = s.pose.waves.len();
        let amplitudes: Vec<[f32; 3]> = s.pose.waves.iter().map(|w| w.amplitude.map(|a| a as f32)).collect();
        for (cell, column) in self.columns.enumerate() {
            let x = V::splat(s.xs[column]);
            let (mut p, mut e) = ([zero; 3], [zero; 3]);
            for k in 0..3 {
                p[k] = x.mul_add(V::splat(s.slopes[0][k]), V::load(&self.start.base[k]));
                e[k] = x.mul_add(V::splat(s.slopes[1][k]), V::load(&self.start.apart[k]));
            }
            let turns = &s.turns[column * waves..][..waves];
            for ((wave, &[cos, sin]), amplitude) in self.start.waves.iter().zip(turns).zip(&amplitudes) {
                let across = V::load(&wave[1]).mul(V::splat(sin));
                let value = V::load(&wave[0]).mul(V::splat(cos)).sub(across);
                for k in 0..3 {
                    p[k] = value.mul_add(V::splat(amplitude[k]), p[k]);
                }
            }
            let middle = e[1].mul_add(V::splat(0.5), p[1]);
            let u = middle.mul_add(V::splat(slope), V::splat(bias));
            let u = u.select_less(zero, zero, u);
            let u = one.select_less(u, one, u);
            let g = u.mul(u).mul_add(u.mul_add(V::splat(2.0), V::splat(-3.0)), one);
            self.look.see(s, cell, [g.mul_add(e[0], p[0]), g.mul_add(e[1], p[1]), g.mul_add(e[2], p[2])]);
        }
    }
}

impl Sampler<'_> {
    /// What the whole number in the last bits of `rounded` adds to a voxel's index along axis k, `more` voxels on.
    #[inline(always)]
    fn place(&self, k: usize, rounded: f32, more: usize) -> usize {
        let whole = (rounded.to_bits() as usize).wrapping_sub(ROUNDER.to_bits() as usize);
        self.places[k].get(whole.wrapping_add(self.reach + more)).copied().unwrap_or(NOWHERE)
    }

    /// Whether the cube of eight voxels that begins at an index is known to be of one code.
    #[inline(always)]
    fn is_alike(&self, index: usize) -> bool {
        self.alike.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// The code at an index; 0, void, where there is no voxel.
    #[inline(always)]
    fn code(&self, index: usize) -> u16 {
        self.voxels.get(index).copied().unwrap_or(0)
    }
}

/// The codes of the nearest voxels.
struct Nearest<'a>(&'a mut [[u16; LANES]]);

impl Look for Nearest<'_> {
    #[inline(always)]
    fn see<V: F32x16>(&mut self, sampler: &Sampler, cell: usize, place: [V; 3]) {
        let mut rounded = [Lane::ZERO; 3];
        (0..3).for_each(|k| place[k].add(V::splat(ROUNDER)).store(&mut rounded[k]));
        for (lane, code) in self.0[cell].iter_mut().enumerate() {
            *code = sampler.code((0..3).map(|k| sampler.place(k, rounded[k].0[lane], 0)).sum());
        }
    }
}

/// Means over boxes of h voxels, at most one: along an axis a box about q meets the voxels i = round(q − h/2) and i + 1,
///
/// ```text
/// f = (q + h/2 − i − ½) / h, within 0 … 1, of it the second;   mean = v_i + f (v_{i+1} − v_i),   along x, y, z in turn
/// ```
pub(super) struct Mean<'a> {
    half: f32,
    per_voxel: f32,
    /// Both values by voxel code.
    values: &'a [[f32; 2]],
    first: &'a mut [Lane],
    second: Option<&'a mut [Lane]>,
}

impl<'a> Mean<'a> {
    pub(super) fn new(
        h: f64,
        values: &'a [[f32; 2]],
        first: &'a mut [Lane],
        second: Option<&'a mut [Lane]>,
    ) -> Mean<'a> {
        Mean { half: (0.5 * h) as f32, per_voxel: (1.0 / h) as f32, values, first, second }
    }
}

impl Look for Mean<'_> {
    #[inline(always)]
    fn see<V: F32x16>(&mut self, sampler: &Sampler, cell: usize, place: [V; 3]) {
        let (zero, one, half) = (V::splat(0.0), V::splat(1.0), V::splat(self.half));
        let (mut rounded, mut part) = ([Lane::ZERO; 3], [Lane::ZERO; 3]);
        for k in 0..3 {
            let low = place[k].sub(half).add(V::splat(ROUNDER));
            let over = place[k].add(half).sub(low.sub(V::splat(ROUNDER)).add(V::splat(0.5)));
            let f = over.mul(V::splat(self.per_voxel));
            let f = f.select_less(zero, zero, f);
            // The whole of the second voxel is the first one, one on.
            f.select_less(one, low, low.add(one)).store(&mut rounded[k]);
            f.select_less(one, f, zero).store(&mut part[k]);
        }
        for lane in 0..LANES {
            let f: [f32; 3] = from_fn(|k| part[k].0[lane]);
            let at: [[usize; 2]; 3] = from_fn(|k| {
                let first = sampler.place(k, rounded[k].0[lane], 0);
                [first, if f[k] > 0.0 { sampler.place(k, rounded[k].0[lane], 1) } else { first }]
            });
            let mix = |f: f32, a: [f32; 2], b: [f32; 2]| from_fn(|i| a[i] + f * (b[i] - a[i]));
            let voxel = |index: usize| self.values[usize::from(sampler.code(index))];
            // Most boxes lie in voxels that are alike, and the mean of equals is what they are, to the bit.
            let low = (0..3).fold(0, |sum, k| sum + at[k][0].min(at[k][1]));
            let is_inside = (0..3).fold(0, |sum, k| sum + at[k][0] + at[k][1]) < NOWHERE;
            if is_inside && sampler.is_alike(low) {
                let value = voxel(low);
                self.first[cell].0[lane] = value[0];
                if let Some(second) = &mut self.second {
                    second[cell].0[lane] = value[1];
                }
                continue;
            }
            let along_x = |rest: usize| -> [f32; 2] {
                let a = voxel(at[0][0] + rest);
                if f[0] > 0.0 { mix(f[0], a, voxel(at[0][1] + rest)) } else { a }
            };
            let along_y = |rest: usize| -> [f32; 2] {
                let a = along_x(at[1][0] + rest);
                if f[1] > 0.0 { mix(f[1], a, along_x(at[1][1] + rest)) } else { a }
            };
            let a = along_y(at[2][0]);
            let mean: [f32; 2] = if f[2] > 0.0 { mix(f[2], a, along_y(at[2][1])) } else { a };
            self.first[cell].0[lane] = mean[0];
            if let Some(second) = &mut self.second {
                second[cell].0[lane] = mean[1];
            }
        }
    }
}

#[cfg(test)]
mod tests;
