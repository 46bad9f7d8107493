//! L3. A volume made ready for interpolation: B-spline coefficients or the values themselves, with a border.
//!
//! **Prefilter.** The cubic B-spline β with coefficients c runs through the values s, Σ_k c_k β(x − k) = s(x) at every
//! voxel centre, if c is s filtered along each axis by the inverse of (1/6, 4/6, 1/6). With the pole z = √3 − 2:
//!
//! ```text
//! c_k = Σ_j h_j s_{k+j}       h_j = √3 z^|j|       (M. Unser, IEEE Signal Processing Magazine 16(6), 22, 1999, box 2)
//! ```
//!
//! It is usually run as a recursion in both directions, whose bits depend on where it begins. Here the sum itself is
//! computed, ended at |j| = 13: what is cut is Σ_{|j|>13} |h_j| = 6e-8 of the largest value, the rounding of an f32. So a
//! coefficient is a function of 27³ voxels, the same in any slab and for any thread, and one pass of 27 multiply-adds
//! from the cache is no slower than two dependent ones. Order: h_0 s_k, then + h_j (s_{k−j} + s_{k+j}), j ascending; axes
//! z, y, x.
//!
//! **Border.** Values go on mirrored about the outermost voxel centres, s_{−i} = s_i, as in ITK, and coefficients with
//! them. The border is wide enough for sixteen neighbours and their taps, so that no look-up asks where it is.

use crate::num::lanes::{F32x16, Isa, Kernel, LANES};
use crate::volume::Dims;
use rayon::prelude::*;
use std::ops::Range;

/// Taps of the prefilter on either side.
pub const REACH: usize = 13;
/// h_0 … h_13: √3 (√3 − 2)^j.
const PREFILTER: [f32; REACH + 1] = prefilter();
/// Columns before the first voxel of a row and behind the last: fifteen neighbours in a group of sixteen, and their taps.
const BORDER_X: usize = 20;
/// Rows before the first and behind the last; planes likewise.
pub const BORDER_LOW: usize = 2;
/// See [`BORDER_LOW`].
pub const BORDER_HIGH: usize = 4;
/// Planes that a thread filters at a time: of what it reads, 26 planes are not its own.
const CHUNK: usize = 32;
/// Rows of these planes that stay in the cache meanwhile.
const TILE: usize = 8;

const fn prefilter() -> [f32; REACH + 1] {
    const ROOT_3: f64 = 1.732_050_807_568_877_2;
    let (mut h, mut value, mut j) = ([0.0; REACH + 1], ROOT_3, 0);
    while j <= REACH {
        h[j] = value as f32;
        value *= ROOT_3 - 2.0;
        j += 1;
    }
    h
}

/// What a [`Field`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The values.
    Values,
    /// Coefficients of the cubic B-spline through the values.
    Coefficients,
}

/// Consecutive slices of a volume.
#[derive(Clone, Copy)]
pub struct Slices<'a> {
    /// Shape of the whole volume.
    pub dims: Dims,
    /// z of the first slice here.
    pub first: usize,
    /// `[z][y][x]`.
    pub values: &'a [f32],
}

impl<'a> Slices<'a> {
    /// A whole volume.
    pub fn whole(dims: Dims, values: &'a [f32]) -> Slices<'a> {
        Slices { dims, first: 0, values }
    }
    /// Row (z, y), both mirrored into the volume.
    fn row(&self, z: isize, y: isize) -> &'a [f32] {
        let Dims { nz, ny, nx } = self.dims;
        let (z, y) = (mirror(z, nz) - self.first, mirror(y, ny));
        &self.values[(z * ny + y) * nx..][..nx]
    }
}

/// The index inside 0 … n − 1 that i is mirrored to: period 2 (n − 1).
pub fn mirror(i: isize, n: usize) -> usize {
    if n == 1 {
        return 0;
    }
    let period = 2 * (n as isize - 1);
    let i = i.rem_euclid(period);
    i.min(period - i) as usize
}

/// Slices that planes `z` of a field need; `nz` slices there are.
pub fn needed(z: Range<isize>, nz: usize, content: Content) -> Range<usize> {
    let reach = if content == Content::Coefficients { REACH as isize } else { 0 };
    let all = (z.start - reach..z.end + reach).map(|z| mirror(z, nz));
    let (low, high) = all.fold((nz, 0), |(low, high), z| (low.min(z), high.max(z + 1)));
    low.min(high)..high
}

/// A volume, or planes of it, with a border; see the [module](self).
pub struct Field {
    dims: Dims,
    /// z of the first plane, which may lie in the border.
    first: isize,
    row: usize,
    plane: usize,
    data: Vec<f32>,
}

impl Field {
    /// A whole volume.
    pub fn new(isa: Isa, content: Content, dims: Dims, values: &[f32]) -> Field {
        let planes = -(BORDER_LOW as isize)..(dims.nz + BORDER_HIGH) as isize;
        Field::planes(isa, content, Slices::whole(dims, values), planes)
    }

    /// Planes `z` of a volume, border included, from the slices that they [need](needed).
    pub fn planes(isa: Isa, content: Content, from: Slices, z: Range<isize>) -> Field {
        let Dims { ny, nx, .. } = from.dims;
        let row = nx + 2 * BORDER_X;
        let plane = row * (ny + BORDER_LOW + BORDER_HIGH);
        let mut data = vec![0.0; plane * z.len()];
        crate::os::advise_huge_pages(&mut data);
        let first = z.start;
        data.par_chunks_mut(CHUNK * plane).enumerate().for_each(|(chunk, planes)| {
            let z = first + (chunk * CHUNK) as isize;
            fill_planes(isa, content, from, z, row, planes);
        });
        Field { dims: from.dims, first, row, plane, data }
    }

    /// Shape of the volume.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// Where voxel (x, y, z) lies in [`Field::data`]; it may lie in the border.
    #[inline(always)]
    pub fn place(&self, x: isize, y: isize, z: isize) -> usize {
        let (y, z) = (y + BORDER_LOW as isize, z - self.first);
        (z * self.plane as isize + y * self.row as isize + x + BORDER_X as isize) as usize
    }

    /// Elements from a row to the next one, and from a plane to the next one.
    #[inline(always)]
    pub fn strides(&self) -> (usize, usize) {
        (self.row, self.plane)
    }

    /// Everything, border included.
    #[inline(always)]
    pub fn data(&self) -> &[f32] {
        &self.data
    }
}

/// Planes z, z + 1 … of one chunk: along z tile by tile, then along y and x plane by plane.
fn fill_planes(isa: Isa, content: Content, from: Slices, z: isize, row: usize, planes: &mut [f32]) {
    let Dims { ny, nx, .. } = from.dims;
    let plane = row * (ny + BORDER_LOW + BORDER_HIGH);
    let own = |y: usize| (y + BORDER_LOW) * row + BORDER_X;
    for tile in (0..ny).step_by(TILE) {
        for (i, out) in planes.chunks_exact_mut(plane).enumerate() {
            let z = z + i as isize;
            for y in tile..ny.min(tile + TILE) {
                let out = &mut out[own(y)..][..nx];
                match content {
                    Content::Values => out.copy_from_slice(from.row(z, y as isize)),
                    Content::Coefficients => isa.run(Filter { at: &|j| from.row(z + j, y as isize), out }),
                }
            }
        }
    }
    let mut copy = vec![0.0; ny * nx];
    let mut long = vec![0.0; nx + 2 * REACH];
    for plane in planes.chunks_exact_mut(plane) {
        if content == Content::Coefficients {
            for (y, copy) in copy.chunks_exact_mut(nx).enumerate() {
                copy.copy_from_slice(&plane[own(y)..][..nx]);
            }
            for y in 0..ny {
                let out = &mut plane[own(y)..][..nx];
                isa.run(Filter { at: &|j| &copy[mirror(y as isize + j, ny) * nx..][..nx], out });
                long[REACH..REACH + nx].copy_from_slice(out);
                for j in 0..REACH {
                    long[j] = out[mirror(j as isize - REACH as isize, nx)];
                    long[REACH + nx + j] = out[mirror((nx + j) as isize, nx)];
                }
                isa.run(Filter { at: &|j| &long[(REACH as isize + j) as usize..][..nx], out });
            }
        }
        for y in 0..ny {
            for i in 0..BORDER_X {
                plane[own(y) - BORDER_X + i] = plane[own(y) + mirror(i as isize - BORDER_X as isize, nx)];
                plane[own(y) + nx + i] = plane[own(y) + mirror((nx + i) as isize, nx)];
            }
        }
        let outside = (0..BORDER_LOW).chain(ny + BORDER_LOW..ny + BORDER_LOW + BORDER_HIGH);
        for y in outside {
            let like = mirror(y as isize - BORDER_LOW as isize, ny) + BORDER_LOW;
            plane.copy_within(like * row..(like + 1) * row, y * row);
        }
    }
}

/// out = h_0 · at(0) + Σ_j h_j (at(−j) + at(j)).
struct Filter<'a> {
    at: &'a dyn Fn(isize) -> &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Filter<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let n = self.out.len();
        let middle = &(self.at)(0)[..n];
        let mut sides = [(middle, middle); REACH];
        for j in 1..=REACH {
            sides[j - 1] = (&(self.at)(-(j as isize))[..n], &(self.at)(j as isize)[..n]);
        }
        let whole = n / LANES * LANES;
        for x in (0..whole).step_by(LANES) {
            let mut sum = lanes::<V>(middle, x).mul(V::splat(PREFILTER[0]));
            for j in 0..REACH {
                let (low, high) = sides[j];
                sum = lanes::<V>(low, x).add(lanes::<V>(high, x)).mul_add(V::splat(PREFILTER[j + 1]), sum);
            }
            if let Some(out) = self.out[x..].first_chunk_mut::<LANES>() {
                sum.store_array(out);
            }
        }
        for x in whole..n {
            let mut sum = middle[x] * PREFILTER[0];
            for j in 0..REACH {
                let (low, high) = sides[j];
                sum = (low[x] + high[x]).mul_add(PREFILTER[j + 1], sum);
            }
            self.out[x] = sum;
        }
    }
}

/// Sixteen numbers from place x on, which there are.
#[inline(always)]
fn lanes<V: F32x16>(row: &[f32], x: usize) -> V {
    match row[x..].first_chunk::<LANES>() {
        Some(group) => V::load_array(group),
        None => V::splat(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::philox::Stream;

    fn noise(dims: Dims) -> Vec<f32> {
        let s = Stream::new(11, 0);
        (0..dims.voxels() as u64).map(|i| s.uniform_f32(i) - 0.3).collect()
    }

    /// Shapes of one voxel, odd ones, shorter than the prefilter, longer than a group and than a chunk.
    const SHAPES: [[usize; 3]; 6] = [[1, 1, 1], [2, 3, 5], [1, 40, 17], [70, 9, 16], [5, 33, 33], [20, 1, 50]];

    #[test]
    fn the_spline_runs_through_the_values() {
        for [nz, ny, nx] in SHAPES {
            let dims = Dims { nz, ny, nx };
            let values = noise(dims);
            let field = Field::new(Isa::detect(), Content::Coefficients, dims, &values);
            let tap = [1.0 / 6.0, 4.0 / 6.0, 1.0 / 6.0];
            for (i, &value) in values.iter().enumerate() {
                let (x, y, z) = ((i % nx) as isize, (i / nx % ny) as isize, (i / nx / ny) as isize);
                let mut sum = 0.0;
                for k in 0..27 {
                    let at = field.place(x + k % 3 - 1, y + k / 3 % 3 - 1, z + k / 9 - 1);
                    sum += tap[k as usize % 3]
                        * tap[k as usize / 3 % 3]
                        * tap[k as usize / 9]
                        * f64::from(field.data()[at]);
                }
                // Cut 6e-8 and roundings of 27 terms up to √3 per axis, on values up to 0.7.
                assert!((sum - f64::from(value)).abs() < 2e-6, "{dims:?} {x} {y} {z}: {sum} for {value}");
            }
        }
    }

    #[test]
    fn every_instruction_set_and_every_slab_has_the_same_bits() {
        for [nz, ny, nx] in SHAPES {
            let dims = Dims { nz, ny, nx };
            let values = noise(dims);
            for content in [Content::Values, Content::Coefficients] {
                let field = Field::new(Isa::scalar(), content, dims, &values);
                for isa in Isa::available() {
                    assert!(Field::new(isa, content, dims, &values).data() == field.data(), "{}", isa.name());
                }
                for z in [-2..1, 0..3.min(nz as isize), nz as isize - 1..nz as isize + 4] {
                    let have = needed(z.clone(), nz, content);
                    let from =
                        Slices { dims, first: have.start, values: &values[have.start * ny * nx..have.end * ny * nx] };
                    let part = Field::planes(Isa::detect(), content, from, z.clone());
                    let at = field.place(-(BORDER_X as isize), -(BORDER_LOW as isize), z.start);
                    assert!(part.data() == &field.data()[at..at + part.data().len()], "{dims:?} {z:?}");
                }
            }
        }
    }

    #[test]
    fn the_border_is_a_mirror() {
        let dims = Dims { nz: 3, ny: 4, nx: 5 };
        let values = noise(dims);
        let at = |x: usize, y: usize, z: usize| values[(z * 4 + y) * 5 + x];
        let field = Field::new(Isa::detect(), Content::Values, dims, &values);
        let get = |x, y, z| field.data()[field.place(x, y, z)];
        assert_eq!((get(-1, 0, 0), get(5, 3, 2), get(-8, 0, 0)), (at(1, 0, 0), at(3, 3, 2), at(0, 0, 0)));
        assert_eq!((get(2, -2, 0), get(2, 4, 0), get(2, 7, 0)), (at(2, 2, 0), at(2, 2, 0), at(2, 1, 0)));
        assert_eq!((get(2, 1, -1), get(2, 1, 3), get(2, 1, 6)), (at(2, 1, 1), at(2, 1, 1), at(2, 1, 2)));
        assert_eq!((mirror(-7, 1), mirror(9, 2), mirror(-3, 3)), (0, 1, 1));
    }
}
