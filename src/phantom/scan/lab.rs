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

use super::motion::Pose;
use crate::error::{Error, Result};
use crate::num::elementary::sincos;
use crate::num::lanes::{F32x16, Isa, Kernel, LANES, Lane};
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
        Ok(Lab { geometry, offset, sampler: Sampler::new(specimen, pose, xs, geometry.surround), optical })
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
/// 1.5 · 2²³: added to a small f32 it rounds to a whole number (ties to even), which its last bits then are.
const ROUND: f32 = 12_582_912.0;

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
        let [base, plating] = [&pose.stripping, &pose.plating].map(|body| body.back().0.map(|row| row[0]));
        Sampler {
            voxels: &specimen.voxels,
            pose,
            places: [place(nx, 1, surround), place(ny, nx, false), place(nz, nx * ny, surround)],
            reach,
            turns: turns.collect(),
            xs: xs.iter().map(|&x| x as f32).collect(),
            slopes: [base.map(|v| v as f32), from_fn(|i| (plating[i] - base[i]) as f32)],
        }
    }

    /// Looks at (xs\[i\], y, z\[lane\]) for the `columns` i.
    pub(super) fn row(&self, isa: Isa, y: f64, z: [f64; LANES], columns: Range<usize>, look: impl Look) {
        let [(a, b), (c, d)] = [&self.pose.stripping, &self.pose.plating].map(|body| body.back());
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
        let whole = (rounded.to_bits() as usize).wrapping_sub(ROUND.to_bits() as usize);
        self.places[k].get(whole.wrapping_add(self.reach + more)).copied().unwrap_or(NOWHERE)
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
        (0..3).for_each(|k| place[k].add(V::splat(ROUND)).store(&mut rounded[k]));
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
            let low = place[k].sub(half).add(V::splat(ROUND));
            let over = place[k].add(half).sub(low.sub(V::splat(ROUND)).add(V::splat(0.5)));
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
mod tests {
    use super::super::motion::MotionSettings;
    use super::*;
    use crate::num::philox::Stream;
    use crate::phantom::matter::{FILLS, LABELS, Optical};

    /// A specimen of random voxels in blocks of 4³, the bodies in the outer thirds of y.
    fn specimen(dims: Dims) -> Specimen {
        let random = Stream::new(1, 1);
        let voxel = |i: usize| {
            let (x, y, z) = (i % dims.nx, i / dims.nx % dims.ny, i / dims.slice());
            let block = (x / 4 + 1000 * (y / 4) + 1_000_000 * (z / 4)) as u64;
            let [fill, label, level, _] = random.u32x4(block);
            Voxel::new(FILLS[fill as usize % 7], LABELS[label as usize % 7], level as u16 % 256).0
        };
        Specimen {
            dims,
            voxels: (0..dims.voxels()).map(voxel).collect(),
            plating_until: dims.ny as f64 / 3.0,
            stripping_from: dims.ny as f64 * 2.0 / 3.0,
            markers: Vec::new(),
            layers: Vec::new(),
        }
    }

    fn pose(s: &Specimen, settings: &MotionSettings) -> Pose {
        Pose::draw(settings, s.dims, [s.plating_until, s.stripping_from], 5, 3).unwrap()
    }

    const SMALL: Dims = Dims { nz: 20, ny: 40, nx: 26 };
    /// Small enough for a volume of 40 voxels.
    const MOVING: MotionSettings = MotionSettings {
        translation: 2.0,
        rotation_deg: 0.5,
        drift: 0.5,
        tilt_deg: [1.0, 3.0],
        relative_translation: 0.3,
        relative_rotation_deg: 0.1,
        warp: [0.5, 0.8],
        within_scan: [0.0; 3],
    };

    /// The code seen at a point of the scan by the definition, and whether rounding in f32 might change it.
    fn seen(s: &Specimen, pose: &Pose, surround: bool, p: [f64; 3]) -> (u16, bool) {
        let q = pose.to_cell(p);
        let close = q.iter().any(|v| ((v - v.floor()) - 0.5).abs() < 1e-3);
        (code_at(s, surround, q.map(|v| (v + 0.5).floor() as i64)), close)
    }

    /// The code of a voxel, mirrored at the faces in x and z where the specimen goes on.
    fn code_at(s: &Specimen, surround: bool, mut index: [i64; 3]) -> u16 {
        let n = [s.dims.nx, s.dims.ny, s.dims.nz].map(|n| n as i64);
        for k in [0, 2] {
            while surround && !(0..n[k]).contains(&index[k]) {
                index[k] = if index[k] < 0 { -1 - index[k] } else { 2 * n[k] - 1 - index[k] };
            }
        }
        let inside = (0..3).all(|k| (0..n[k]).contains(&index[k]));
        let place = || ((index[2] * n[1] + index[1]) * n[0] + index[0]) as usize;
        if inside { s.voxels[place()] } else { 0 }
    }

    fn filled(lab: &Lab, isa: Isa, rows: Range<usize>) -> (Vec<Lane>, Vec<Lane>) {
        let cells = lab.geometry.cells() * lab.geometry.cells();
        let poison = vec![Lane([f32::NAN; LANES]); cells];
        let (mut mu, mut delta) = (poison.clone(), poison);
        lab.fill(isa, rows, &mut mu, Some(&mut delta));
        (mu, delta)
    }

    /// The mean over the box of half a voxel about the point of the cell seen at p, by the definition.
    fn mean(s: &Specimen, pose: &Pose, surround: bool, p: [f64; 3], table: &[Optical]) -> [f64; 2] {
        let q = pose.to_cell(p);
        // Along each axis the voxels that share the box, and how much of it.
        let shares: [Vec<(i64, f64)>; 3] = q.map(|q| {
            let (low, high) = (q - 0.25, q + 0.25);
            let first = (low + 0.5).floor() as i64;
            let share = |i: i64| (high.min(i as f64 + 0.5) - low.max(i as f64 - 0.5)).max(0.0) / 0.5;
            [first, first + 1].map(|i| (i, share(i))).to_vec()
        });
        let mut sum = [0.0; 2];
        for &(z, wz) in &shares[2] {
            for &(y, wy) in &shares[1] {
                for &(x, wx) in &shares[0] {
                    let optical = table[usize::from(code_at(s, surround, [x, y, z]))];
                    sum[0] += wx * wy * wz * optical.mu * 1.33e-4;
                    sum[1] += wx * wy * wz * optical.delta;
                }
            }
        }
        sum
    }

    #[test]
    fn every_cell_shows_the_mean_that_the_pose_says() {
        let specimen = specimen(SMALL);
        let table = optical_table();
        for (settings, surround) in [(MOVING, true), (MOVING, false), (MotionSettings::STILL, true)] {
            let pose = pose(&specimen, &settings);
            let geometry = LabGeometry { columns: 48, oversampling: 2, first_row: -3, surround };
            let lab = Lab::new(&specimen, &pose, geometry).unwrap();
            let (mu, delta) = filled(&lab, Isa::detect(), 16..32);
            let ([ox, oy], n, mut mixed) = (geometry.offset(SMALL), geometry.cells(), 0);
            for (i, (mu, delta)) in mu.iter().zip(&delta).enumerate() {
                let (column, row) = ((i % n) as f64 / 2.0 - 0.25, (i / n) as f64 / 2.0 - 0.25);
                let round = (column - 24.0).powi(2) + (row - 23.0).powi(2) <= 24.0 * 24.0;
                for lane in 0..LANES {
                    let z = -3.0 + (16 + lane) as f64 / 2.0 - 0.25;
                    let p = [column - ox as f64, row - oy as f64, z];
                    let want = if round { mean(&specimen, &pose, surround, p, &table) } else { [0.0; 2] };
                    // Places are known to 10⁻³ voxel, so three shares of half a voxel to 6·10⁻³.
                    let slack = if settings == MotionSettings::STILL { 1e-6 } else { 6e-3 };
                    for (got, want, largest) in [(mu, want[0], 5.1e-4), (delta, want[1], 1.1e-6)] {
                        let got = f64::from(got.0[lane]);
                        assert!((got - want).abs() <= slack * largest, "cell {i} lane {lane}: {got} for {want}");
                    }
                    mixed +=
                        usize::from(round && table.iter().all(|o| (mu.0[lane] - (o.mu * 1.33e-4) as f32).abs() > 1e-8));
                }
            }
            assert_eq!(mixed > n * n * LANES / 10, settings != MotionSettings::STILL, "{mixed} cells of two voxels");
        }
    }

    #[test]
    fn cells_have_the_same_bits_on_any_machine() {
        let specimen = specimen(SMALL);
        let pose = pose(&specimen, &MOVING);
        let geometry = LabGeometry { columns: 42, oversampling: 3, first_row: 0, surround: true };
        let lab = Lab::new(&specimen, &pose, geometry).unwrap();
        let want = filled(&lab, Isa::scalar(), 3..19);
        for isa in Isa::available() {
            for threads in [1, 2, 7] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                assert!(pool.install(|| filled(&lab, isa, 3..19)) == want, "{} {threads}", isa.name());
            }
        }
        // A row has the same bits in another lane, and without δ.
        let (mut mu, other) = (want.0.clone(), filled(&lab, Isa::detect(), 4..20).0);
        lab.fill(Isa::detect(), 3..19, &mut mu, None);
        assert!(mu == want.0 && mu.iter().zip(&other).all(|(a, b)| a.0[1..] == b.0[..15]));
    }

    #[test]
    fn the_box_is_a_plain_crop_and_the_axis_where_it_is_said_to_be() {
        for (dims, columns) in
            [(SMALL, 48), (Dims { nz: 5, ny: 33, nx: 21 }, 40), (Dims { nz: 16, ny: 40, nx: 25 }, 40)]
        {
            let specimen = specimen(dims);
            let pose = pose(&specimen, &MotionSettings::STILL);
            let geometry = LabGeometry { columns, oversampling: 1, first_row: 0, surround: false };
            let lab = Lab::new(&specimen, &pose, geometry).unwrap();
            let ([ox, oy], [ax, ay]) = (geometry.offset(dims), geometry.axis_cell());
            assert_eq!([ax, ay], [columns as f64 / 2.0, columns as f64 / 2.0 - 1.0]);
            assert_eq!(axis(dims), [ax - ox as f64, ay - oy as f64]);
            let mu = filled(&lab, Isa::detect(), 0..16).0;
            for z in 0..dims.nz.min(16) {
                for y in 0..dims.ny {
                    for x in 0..dims.nx {
                        let code = specimen.voxels[(z * dims.ny + y) * dims.nx + x];
                        let want = (optical_table_entry(code) * 1.33e-4) as f32;
                        let inside = (x as f64 + ox as f64 - ax).hypot(y as f64 + oy as f64 - ay) <= ax;
                        let got = mu[(y + oy) * columns + x + ox].0[z];
                        assert_eq!(got, if inside { want } else { 0.0 }, "{x} {y} {z}");
                    }
                }
            }
        }
        assert_eq!(LabGeometry { columns: 8, oversampling: 2, first_row: 0, surround: true }.axis_cell(), [8.5, 6.5]);
        let (specimen, bad) = (specimen(SMALL), |columns, oversampling| LabGeometry {
            columns,
            oversampling,
            first_row: 0,
            surround: true,
        });
        let pose = pose(&specimen, &MotionSettings::STILL);
        for geometry in [bad(49, 2), bad(38, 2), bad(48, 0)] {
            assert_eq!(Lab::new(&specimen, &pose, geometry).err().unwrap().fault().exit_code(), 2);
        }
    }

    fn optical_table_entry(code: u16) -> f64 {
        thread_local!(static TABLE: Vec<f64> = optical_table().iter().map(|o| o.mu).collect());
        TABLE.with(|t| t[usize::from(code)])
    }

    #[test]
    fn labels_are_those_of_the_nearest_voxel_in_any_slab() {
        let specimen = specimen(SMALL);
        let pose = pose(&specimen, &MOVING);
        let slice = SMALL.slice();
        let mut all = vec![9; 20 * slice];
        labels(&specimen, &pose, true, Isa::detect(), 0..20, &mut all);
        for (i, &label) in all.iter().enumerate() {
            let p = [i % SMALL.nx, i / SMALL.nx % SMALL.ny, i / slice].map(|v| v as f64);
            let (code, close) = seen(&specimen, &pose, true, p);
            assert!(label == Voxel(code).label() || close, "{p:?}");
        }
        let mut part = vec![9; 17 * slice];
        labels(&specimen, &pose, true, Isa::scalar(), 2..19, &mut part);
        assert!(part == all[2 * slice..19 * slice]);
        // Nothing moved: the specimen's own.
        labels(
            &specimen,
            &super::tests::pose(&specimen, &MotionSettings::STILL),
            false,
            Isa::detect(),
            0..20,
            &mut all,
        );
        assert!(all.iter().zip(&specimen.voxels).all(|(&l, &v)| l == Voxel(v).label()));
    }

    /// Time of whole grids on one thread; run with `--ignored --nocapture`.
    #[test]
    #[ignore = "measures time"]
    fn time_of_whole_grids() {
        let shapes = [(Dims { nz: 48, ny: 288, nx: 64 }, 320), (Dims { nz: 256, ny: 320, nx: 256 }, 448)];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        for (dims, columns) in shapes {
            let specimen = specimen(dims);
            let pose = pose(&specimen, &MotionSettings::default());
            let geometry = LabGeometry { columns, oversampling: 2, first_row: 0, surround: true };
            let lab = Lab::new(&specimen, &pose, geometry).unwrap();
            let cells = geometry.cells() * geometry.cells();
            let (mut mu, mut delta) = (vec![Lane::ZERO; cells], vec![Lane::ZERO; cells]);
            let begin = std::time::Instant::now();
            for first in (0..2 * dims.nz).step_by(LANES) {
                pool.install(|| lab.fill(Isa::detect(), first..first + LANES, &mut mu, Some(&mut delta)));
            }
            let seconds = begin.elapsed().as_secs_f64();
            let points = (cells * 2 * dims.nz) as f64;
            println!("{dims:?}, {columns} columns: {seconds:.2} s, {:.2} ns a cell", seconds / points * 1e9);
        }
    }
}
