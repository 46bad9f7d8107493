//! L3. A pair of blocks at one scale: the pyramid's rungs.
//!
//! Rung s = 1, 2, 4, 8 … holds means of s³ voxels. Voxel X of it lies at first + s X + (s − 1)/2 in the indices of its
//! volume; extents are ⌊n / s⌋, and what is left over at the far end is not used.
//!
//! **No prefilter here.** Values, not coefficients, weigh the cubic B-spline: both volumes are seen through the same
//! B-spline window, g(p) = Σ_k m_k β(p − k). Interpolation leaves a false copy of each frequency ν at 1 − ν, weaker than
//! the true one by (ν/(1 − ν))⁴ with or without a prefilter, which multiplies both; without it frequencies near ½, where
//! the two are alike and where the noise is, count less. Bias and noise of the motion are smaller, and the passes of the
//! filter are saved; the window (σ = 0.58 voxel) is symmetric and moves nothing. What is *written* is interpolated through
//! the values ([`super::resample`]).

use super::field::{Content, Field};
use super::flatten::flatten;
use super::interpolate::Line;
use super::rigid::{Point, Rigid, corners};
use crate::error::{Error, Result};
use crate::num::lanes::Isa;
use crate::num::sum;
use crate::volume::{Dims, Source};
use rayon::prelude::*;
use std::array::from_fn;
use std::ops::Range;

/// A box cut from a volume.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The volume's index (x, y, z) of the first voxel.
    pub first: [usize; 3],
    /// Extents.
    pub dims: Dims,
    /// `[z][y][x]`.
    pub values: Vec<f32>,
}

impl Piece {
    /// A whole volume in memory.
    ///
    /// # Errors
    /// Usage: another number of values.
    pub fn whole(dims: Dims, values: Vec<f32>) -> Result<Piece> {
        if values.len() != dims.voxels() {
            return Err(Error::usage(format!("{} values for a volume of {} voxels", values.len(), dims.voxels())));
        }
        Ok(Piece { first: [0; 3], dims, values })
    }

    /// Reads the voxels `x`, `y`, `z` of a volume, which has them.
    ///
    /// # Errors
    /// What reading says.
    pub fn read(source: &dyn Source, [x, y, z]: [Range<usize>; 3]) -> Result<Piece> {
        let dims = Dims::new(z.len(), y.len(), x.len())?;
        let width = source.dims().nx;
        let mut values = Vec::with_capacity(dims.voxels());
        let mut slice = vec![0.0; y.len() * width];
        for k in z.clone() {
            source.read(k..k + 1, y.clone(), &mut slice)?;
            slice.chunks_exact(width).for_each(|row| values.extend_from_slice(&row[x.clone()]));
        }
        Ok(Piece { first: [x.start, y.start, z.start], dims, values })
    }

    /// As [`Piece::read`], each voxel less its surroundings' mean ([`super::flatten`]) over `window` voxels, none if that
    /// is 0. The same voxel gets the same value from any piece.
    ///
    /// # Errors
    /// What reading says.
    pub fn read_flat(source: &dyn Source, region: [Range<usize>; 3], window: usize) -> Result<Piece> {
        if window == 0 {
            return Piece::read(source, region);
        }
        let (half, d) = (window / 2, source.dims());
        let [x, y, z] = region;
        let wide = |r: &Range<usize>, n: usize| r.start.saturating_sub(half)..(r.end + half).min(n);
        let (wide_x, wide_z) = (wide(&x, d.nx), wide(&z, d.nz));
        let own = |r: &Range<usize>, wide: &Range<usize>| r.start - wide.start..r.end - wide.start;
        let here = [own(&x, &wide_x), 0..y.len(), own(&z, &wide_z)];
        let mut piece = Piece::read(source, [wide_x, y, wide_z])?;
        flatten(piece.dims, &mut piece.values, window);
        Ok(piece.crop(&here))
    }

    /// A part of it, `[x, y, z]` counted from its own first voxel, which it has.
    pub fn crop(&self, [x, y, z]: &[Range<usize>; 3]) -> Piece {
        let dims = Dims { nz: z.len(), ny: y.len(), nx: x.len() };
        let mut values = Vec::with_capacity(dims.voxels());
        for k in z.clone() {
            for j in y.clone() {
                values.extend_from_slice(&self.values[(k * self.dims.ny + j) * self.dims.nx..][x.clone()]);
            }
        }
        Piece { first: from_fn(|i| self.first[i] + [x.start, y.start, z.start][i]), dims, values }
    }

    /// The box of a volume of `dims` that its corners fall into under a motion, with `reach` voxels around; empty along an
    /// axis where they leave the volume.
    pub fn image(&self, motion: &Rigid, reach: f64, dims: Dims) -> [Range<usize>; 3] {
        let images = corners(self.origin(), self.dims).map(|p| motion.apply(&p));
        let n = [dims.nx, dims.ny, dims.nz];
        from_fn(|i| {
            let (low, high) = images.iter().fold((f64::MAX, f64::MIN), |(a, b), p| (a.min(p[i]), b.max(p[i])));
            let clamp = |v: f64| v.clamp(0.0, n[i] as f64) as usize;
            clamp((low - reach).floor())..clamp((high + reach).ceil() + 1.0)
        })
    }

    /// The mean of its values, in f64: slices by [`sum::sum_wide`], added in order.
    ///
    /// # Errors
    /// Data: values that are not finite, with their number; a block whose values are all the same.
    pub fn mean(&self, name: &str) -> Result<f64> {
        let slices: Vec<f64> = self.values.par_chunks(self.dims.slice()).map(sum::sum_wide).collect();
        let total = slices.iter().fold(0.0, |total, slice| total + slice);
        if total.is_finite() {
            if self.values.iter().all(|&v| v == self.values[0]) {
                return Err(Error::data(format!("the {name} block is constant: every voxel is {:e}", self.values[0]))
                    .help("choose a block with structure"));
            }
            return Ok(total / self.dims.voxels() as f64);
        }
        let (bad, n) = (self.values.iter().filter(|v| !v.is_finite()).count(), self.dims.voxels());
        Err(Error::data(format!("{bad} of {n} voxels of the {name} block are not finite numbers"))
            .help("register a block without them, or replace them first"))
    }

    /// The middle, in the volume's indices.
    pub fn middle(&self) -> Point {
        let n = [self.dims.nx, self.dims.ny, self.dims.nz];
        from_fn(|axis| self.first[axis] as f64 + (n[axis] as f64 - 1.0) / 2.0)
    }

    /// The index of the first voxel as a point.
    pub fn origin(&self) -> Point {
        self.first.map(|v| v as f64)
    }
}

/// Means of 2 × 2 × 2 voxels: ((a + b) + (c + d)) of the rows y, y + 1 of the slices z, z + 1, then of x, x + 1.
fn halve(dims: Dims, values: &[f32]) -> (Dims, Vec<f32>) {
    let half = Dims { nz: dims.nz / 2, ny: dims.ny / 2, nx: dims.nx / 2 };
    let mut out = vec![0.0; half.voxels()];
    out.par_chunks_mut(half.slice().max(1)).enumerate().for_each(|(z, out)| {
        let mut sums = vec![0f32; dims.nx];
        for (y, out) in out.chunks_exact_mut(half.nx).enumerate() {
            let row = |k: usize| &values[((2 * z + k / 2) * dims.ny + 2 * y + k % 2) * dims.nx..][..dims.nx];
            let (a, b, c, d) = (row(0), row(1), row(2), row(3));
            for x in 0..dims.nx {
                sums[x] = (a[x] + b[x]) + (c[x] + d[x]);
            }
            for (out, pair) in out.iter_mut().zip(sums.as_chunks::<2>().0) {
                *out = 0.125 * (pair[0] + pair[1]);
            }
        }
    });
    (half, out)
}

/// (1, 2, 1)/4 along each axis, values beyond the border those at the border: 0.7 voxel of blur on both sides. What a sharp
/// edge has above the Nyquist frequency comes back as another texture at each phase; it is 0.3 before and 0.1 after, and the
/// error of a motion goes with it (0.026 to 0.013 voxel for faces as sharp as voxels can have).
fn smooth(dims: Dims, values: &[f32]) -> Vec<f32> {
    let Dims { nz, ny, nx } = dims;
    let mut out = vec![0f32; values.len()];
    out.par_chunks_mut(dims.slice()).enumerate().for_each(|(z, out)| {
        let three = |k: usize, n: usize| [k.saturating_sub(1), k, (k + 1).min(n - 1)];
        let mean = |a: f32, b: f32, c: f32| 0.25 * (a + c) + 0.5 * b;
        let planes = three(z, nz).map(|z| &values[z * dims.slice()..][..dims.slice()]);
        let along_z: Vec<f32> = (0..dims.slice()).map(|i| mean(planes[0][i], planes[1][i], planes[2][i])).collect();
        let mut row = vec![0f32; nx];
        for (y, out) in out.chunks_exact_mut(nx).enumerate() {
            let [a, b, c] = three(y, ny).map(|y| &along_z[y * nx..][..nx]);
            (0..nx).for_each(|x| row[x] = mean(a[x], b[x], c[x]));
            for (x, out) in out.iter_mut().enumerate() {
                let [a, b, c] = three(x, nx);
                *out = mean(row[a], row[b], row[c]);
            }
        }
    });
    out
}

/// One side of a rung.
pub struct Side {
    /// Its voxels.
    pub field: Field,
    /// Where its voxel (0, 0, 0) lies in the volume.
    pub origin: Point,
    /// The mean that is taken from every value, so that sums of squares do not cancel.
    pub mean: f32,
}

/// Both blocks at one scale.
pub struct Level {
    /// s: voxels of the volume per voxel here, along each axis.
    pub scale: usize,
    /// The block that stays.
    pub fixed: Side,
    /// The block that is looked up.
    pub moving: Side,
    /// Voxels at the border of a block that are not used: windows would reach beyond it.
    pub margin: usize,
}

/// Fewest voxels of a block along an axis of a rung.
pub const LEAST: usize = 10;

impl Level {
    /// All rungs of a pair, the finest first: s = 1, 2, 4 … up to `coarsest`, as long as both blocks have [`LEAST`]
    /// voxels along each axis.
    ///
    /// # Errors
    /// Data: a block that is too small, constant, or holds what is not finite.
    pub fn pyramid(isa: Isa, fixed: &Piece, moving: &Piece, coarsest: usize) -> Result<Vec<Level>> {
        let least = |dims: Dims| dims.nx.min(dims.ny).min(dims.nz);
        for (piece, name) in [(fixed, "fixed"), (moving, "moving")] {
            if least(piece.dims) < LEAST {
                let Dims { nz, ny, nx } = piece.dims;
                return Err(Error::data(format!("the {name} block of {nx} x {ny} x {nz} voxels is too small"))
                    .help(format!("a block has {LEAST} or more voxels along each axis")));
            }
        }
        let means = [fixed.mean("fixed")? as f32, moving.mean("moving")? as f32];
        let side = |piece: &Piece, mean: f32, scale: usize, dims: Dims, values: &[f32]| Side {
            field: Field::new(isa, Content::Values, dims, values),
            origin: piece.origin().map(|v| v + (scale as f64 - 1.0) / 2.0),
            mean,
        };
        let mut levels = vec![Level {
            scale: 1,
            fixed: side(fixed, means[0], 1, fixed.dims, &smooth(fixed.dims, &fixed.values)),
            moving: side(moving, means[1], 1, moving.dims, &smooth(moving.dims, &moving.values)),
            margin: 2,
        }];
        let mut halves: Option<[(Dims, Vec<f32>); 2]> = None;
        let mut scale = 2;
        while scale <= coarsest {
            let next = match &halves {
                None => [halve(fixed.dims, &fixed.values), halve(moving.dims, &moving.values)],
                Some([f, m]) => [halve(f.0, &f.1), halve(m.0, &m.1)],
            };
            if least(next[0].0).min(least(next[1].0)) < LEAST {
                break;
            }
            let [f, m] = &next;
            levels.push(Level {
                scale,
                fixed: side(fixed, means[0], scale, f.0, &f.1),
                moving: side(moving, means[1], scale, m.0, &m.1),
                margin: 1,
            });
            halves = Some(next);
            scale *= 2;
        }
        Ok(levels)
    }

    /// Where row (y, z) of the fixed side falls on the moving side under a motion of the volumes, in the voxels of both.
    pub fn line(&self, motion: &Rigid, y: usize, z: usize) -> Line {
        let s = self.scale as f64;
        let from = [0.0, s * y as f64, s * z as f64];
        let at = motion.apply(&from_fn(|i| self.fixed.origin[i] + from[i]));
        // R in voxels of the rung is R: both sides have one scale.
        Line { start: from_fn(|i| (at[i] - self.moving.origin[i]) / s), step: from_fn(|i| motion.rotation[i][0]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_hold_means_and_know_where_they_lie() {
        let dims = Dims { nz: 27, ny: 50, nx: 49 };
        // A linear function: the mean of a box is its value in the middle of the box.
        let f = |p: Point| p[0] + 0.25 * p[1] - 0.5 * p[2];
        let first = [5, 6, 7];
        let values = (0..dims.voxels()).map(|i| {
            let p = [5 + i % 49, 6 + i / 49 % 50, 7 + i / 49 / 50].map(|v| v as f64);
            f(p) as f32
        });
        let piece = Piece { first, dims, values: values.collect() };
        let levels = Level::pyramid(Isa::detect(), &piece, &piece, 8).unwrap();
        assert_eq!(levels.iter().map(|l| l.scale).collect::<Vec<_>>(), [1, 2], "27 / 4 is below ten");
        for level in &levels {
            let field = &level.fixed.field;
            let n = field.dims();
            for (x, y, z) in [(1, 1, 1), (3, 2, 1), (n.nx - 2, n.ny - 2, n.nz - 2)] {
                let at = field.place(x as isize, y as isize, z as isize);
                let s = level.scale as f64;
                let p = from_fn(|i| level.fixed.origin[i] + s * [x, y, z][i] as f64);
                assert!((f64::from(field.data()[at]) - f(p)).abs() < 1e-5);
            }
            // A motion of the volumes is the same motion on every rung.
            let motion = Rigid::new([0.01, 0.02, -0.03], [9.0, 8.0, 7.0], [1.0, 2.0, 3.0]);
            let line = level.line(&motion, 4, 5);
            let s = level.scale as f64;
            let from = [7.0, 4.0, 5.0];
            let want = motion.apply(&from_fn(|i| level.fixed.origin[i] + s * from[i]));
            for i in 0..3 {
                let got = level.moving.origin[i] + s * (line.start[i] + 7.0 * line.step[i]);
                assert!((got - want[i]).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn blocks_that_cannot_be_registered_are_refused() {
        let dims = Dims { nz: 12, ny: 12, nx: 12 };
        let mut good = Piece::whole(dims, vec![1.0; dims.voxels()]).unwrap();
        assert!(Level::pyramid(Isa::detect(), &good, &good, 1).err().unwrap().to_string().contains("constant"));
        good.values[5] = 2.0;
        let mut bad = good.clone();
        (bad.values[7], bad.values[9]) = (f32::NAN, f32::INFINITY);
        let text = Level::pyramid(Isa::detect(), &good, &bad, 1).err().unwrap().to_string();
        assert!(text.contains("2 of 1728 voxels of the moving block"), "{text}");
        let thin = Piece::whole(Dims { nz: 9, ..dims }, vec![1.0; 9 * 144]).unwrap();
        assert!(Level::pyramid(Isa::detect(), &thin, &good, 1).err().unwrap().to_string().contains("too small"));
        assert!(Piece::whole(dims, vec![0.0; 5]).is_err());
    }
}
