//! L3. A volume on another's grid: one interpolation through the composed motion, slab by slab.
//!
//! ```text
//! out(x) = v(T(first + x))          T: from the fixed volume to this one, voxel-centre indices
//! mask(x) = 1 where T(first + x) lies between the outermost voxel centres, else 0, and there out is 0
//! ```
//!
//! Turn, tilt and shift are composed first, so that there is one blur and not three. The mask goes with the volume: a zero
//! from outside is not a void. The cubic B-spline runs through the values, overshoots at sharp edges by up to a few per
//! cent of the step and may be negative; nothing is clipped, because what is counted later must not be.
//!
//! **Slabs.** Slices of the output are made a few at a time from the slices that they look into, as many as fit the memory;
//! coefficients are a function of the volume and not of the slab ([`super::field`]), so the bits do not depend on it.

use super::field::{BORDER_HIGH, BORDER_LOW, Content, Field, Slices, needed};
use super::interpolate::{self, Interpolation, Line};
use super::rigid::{Point, Rigid};
use crate::error::{Error, Result};
use crate::num::lanes::Isa;
use crate::os;
use crate::volume::{Dims, Sink, Source};
use rayon::prelude::*;
use std::array::from_fn;
use std::ops::Range;

/// Where the output lies in the fixed volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Index (x, y, z) of its first voxel.
    pub first: [usize; 3],
    /// Its extents.
    pub dims: Dims,
}

impl Grid {
    /// All of a volume.
    pub fn whole(dims: Dims) -> Grid {
        Grid { first: [0; 3], dims }
    }

    /// The line of row (y, z) in the volume that is looked up.
    fn line(&self, motion: &Rigid, y: usize, z: usize) -> Line {
        let from = [0, y, z];
        let start = motion.apply(&from_fn(|i| (self.first[i] + from[i]) as f64));
        Line { start, step: from_fn(|i| motion.rotation[i][0]) }
    }

    /// The voxels of the fixed volume that all volumes of these shapes see under their motions: a box. Each face of a
    /// volume is moved in along the axis that it faces, until the corner that it cuts most is inside.
    ///
    /// # Errors
    /// Data: there is none.
    pub fn common(dims: Dims, seen: &[(Dims, Rigid)]) -> Result<Grid> {
        let mut low = [0.0; 3];
        let mut high = [dims.nx, dims.ny, dims.nz].map(|n| n as f64 - 1.0);
        for (own, motion) in seen {
            let last = [own.nx, own.ny, own.nz].map(|n| n as f64 - 1.0);
            let origin = motion.origin();
            for i in 0..3 {
                // Coordinate i there is row · p + origin_i, and lies between 0 and last_i.
                let row = motion.rotation[i];
                let j = (0..3).fold(0, |m, k| if row[k].abs() > row[m].abs() { k } else { m });
                let ends = |least: bool| {
                    (0..3).filter(|&k| k != j).fold(origin[i], |sum, k| {
                        let ends = [row[k] * low[k], row[k] * high[k]];
                        sum + if least { ends[0].min(ends[1]) } else { ends[0].max(ends[1]) }
                    })
                };
                let (a, b) = (-ends(true) / row[j], (last[i] - ends(false)) / row[j]);
                let (a, b) = (a.min(b), a.max(b));
                low[j] = f64::max(low[j], a);
                high[j] = f64::min(high[j], b);
            }
        }
        let (low, high) = (low.map(f64::ceil), high.map(f64::floor));
        if (0..3).any(|i| low[i] > high[i]) {
            return Err(Error::data(format!(
                "the volumes have no box in common: {low:?} to {high:?} of the fixed one"
            ))
            .help("leave out the volume that lies elsewhere"));
        }
        let n = |i: usize| (high[i] - low[i]) as usize + 1;
        Ok(Grid { first: low.map(|v| v as usize), dims: Dims::new(n(2), n(1), n(0))? })
    }

    /// What of it lies in a box of the fixed volume, ranges of x, y and z.
    ///
    /// # Errors
    /// Data: nothing.
    pub fn within(&self, kept: &[Range<usize>; 3]) -> Result<Grid> {
        let n = [self.dims.nx, self.dims.ny, self.dims.nz];
        let both: [Range<usize>; 3] =
            from_fn(|i| self.first[i].max(kept[i].start)..(self.first[i] + n[i]).min(kept[i].end));
        if both.iter().any(Range::is_empty) {
            let own: [Range<usize>; 3] = from_fn(|i| self.first[i]..self.first[i] + n[i]);
            return Err(Error::data(format!(
                "the box {kept:?} holds nothing of what all volumes see, {own:?} (x, y, z)"
            ))
            .help("take a box that does"));
        }
        let dims = Dims::new(both[2].len(), both[1].len(), both[0].len())?;
        Ok(Grid { first: from_fn(|i| both[i].start), dims })
    }
}

/// How a volume is resampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// From the fixed volume to this one.
    pub motion: Rigid,
    /// The output's grid.
    pub grid: Grid,
    /// Between voxels.
    pub how: Interpolation,
    /// Bytes that a slab may take, input, coefficients and output together.
    pub memory: u64,
}

impl Plan {
    fn content(&self) -> Content {
        if self.how == Interpolation::Cubic { Content::Coefficients } else { Content::Values }
    }

    /// Planes of coefficients that slices `z` of the output look into: none if they lie outside.
    fn planes(&self, dims: Dims, z: Range<usize>) -> Range<isize> {
        let g = &self.grid;
        let corner = |k: usize| {
            let at = |axis: usize, end: usize| (g.first[axis] + if k >> axis & 1 == 1 { end } else { 0 }) as f64;
            let z = (g.first[2] + if k >> 2 & 1 == 1 { z.end - 1 } else { z.start }) as f64;
            self.motion.apply(&[at(0, g.dims.nx - 1), at(1, g.dims.ny - 1), z])[2]
        };
        let (low, high) = (0..8).map(corner).fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
        // A point of the volume lies in cells −1 to nz − 1, whose taps begin one before and end three after.
        let (low, high) = (low.floor().max(-1.0), high.floor().min(dims.nz as f64 - 1.0) + 1.0);
        if low > high { 0..0 } else { (low as isize - 1).max(-(BORDER_LOW as isize))..high as isize + 4 }
    }

    /// Bytes of a slab of slices `z`.
    fn bytes(&self, dims: Dims, z: Range<usize>) -> u64 {
        let planes = self.planes(dims, z.clone());
        let slices = needed(planes.clone(), dims.nz, self.content()).len();
        let padded = (dims.nx + 40) * (dims.ny + BORDER_LOW + BORDER_HIGH);
        4 * (slices * dims.slice() + planes.len() * padded + 2 * z.len() * self.grid.dims.slice()) as u64
    }

    /// Slices of the output that are made at a time: as many as fit, at most all.
    ///
    /// # Errors
    /// Usage: not even one fits, with what it needs.
    pub fn slab(&self, dims: Dims) -> Result<usize> {
        let nz = self.grid.dims.nz;
        // What a slab takes is least at some place and most at another: looked at where it begins.
        let most = |h: usize| (0..nz).step_by(h).map(|z| self.bytes(dims, z..nz.min(z + h))).max().unwrap_or(0);
        if most(1) > self.memory {
            return Err(Error::usage(format!("one slice takes {} bytes, more than {}", most(1), self.memory))
                .help("allow more memory"));
        }
        let (mut fits, mut fails) = (1, nz + 1);
        while fails - fits > 1 {
            let h = fits.midpoint(fails);
            if most(h) <= self.memory { fits = h } else { fails = h }
        }
        Ok(fits)
    }
}

/// Resamples `source` into `out`, and where it is known into `mask`; both may have slices already. `progress` is told
/// slices done and slices in all.
///
/// # Errors
/// What reading and writing say; usage: too little memory; data: values that are not finite, which would spread.
pub fn resample(
    isa: Isa,
    source: &dyn Source,
    plan: &Plan,
    out: &mut dyn Sink,
    mut mask: Option<&mut dyn Sink>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<()> {
    let (dims, grid) = (source.dims(), &plan.grid);
    let height = plan.slab(dims)?;
    let nz = grid.dims.nz;
    let mut z = mask.as_ref().map_or(out.next_slice(), |mask| out.next_slice().min(mask.next_slice()));
    while z < nz {
        os::check_interrupt()?;
        let slab = z..nz.min(z + height);
        let (values, inside) = one_slab(isa, source, plan, slab.clone())?;
        put(out, grid.dims, slab.clone(), &values)?;
        if let Some(mask) = mask.as_deref_mut() {
            put(mask, grid.dims, slab.clone(), &inside)?;
        }
        z = slab.end;
        progress(z, nz);
    }
    Ok(())
}

/// Writes the slices that a sink does not have yet.
fn put(sink: &mut dyn Sink, dims: Dims, slab: Range<usize>, values: &[f32]) -> Result<()> {
    let skip = sink.next_slice().saturating_sub(slab.start).min(slab.len());
    sink.write(&values[skip * dims.slice()..])
}

/// Slices `z` of the output and of its mask.
fn one_slab(isa: Isa, source: &dyn Source, plan: &Plan, z: Range<usize>) -> Result<(Vec<f32>, Vec<f32>)> {
    let (dims, grid) = (source.dims(), &plan.grid);
    let slice = grid.dims.slice();
    let mut values = vec![0.0; z.len() * slice];
    let mut inside = vec![0.0; z.len() * slice];
    let planes = plan.planes(dims, z.clone());
    if planes.is_empty() {
        return Ok((values, inside));
    }
    let have = needed(planes.clone(), dims.nz, plan.content());
    let mut read = vec![0.0; have.len() * dims.slice()];
    source.read(have.clone(), 0..dims.ny, &mut read)?;
    let bad = read.par_chunks(dims.slice()).map(|s| s.iter().filter(|v| !v.is_finite()).count() as u64).sum::<u64>();
    if bad > 0 {
        return Err(Error::data(format!("{bad} voxels of the slices {have:?} are not finite numbers"))
            .help("replace them first: interpolation would spread them"));
    }
    let field = Field::planes(isa, plan.content(), Slices { dims, first: have.start, values: &read }, planes);
    let nx = grid.dims.nx;
    values.par_chunks_mut(nx).zip(inside.par_chunks_mut(nx)).enumerate().for_each(|(row, (out, inside))| {
        let line = grid.line(&plan.motion, row % grid.dims.ny, z.start + row / grid.dims.ny);
        let valid = line.inside(nx, dims, 0.0);
        inside[valid.clone()].fill(1.0);
        interpolate::row(isa, plan.how, &field, line, valid, out);
    });
    Ok((values, inside))
}

/// The definition: one voxel at a time, in f64, from a whole volume in memory; `None` outside.
pub fn definition(field: &Field, plan: &Plan, [x, y, z]: [usize; 3]) -> Option<f64> {
    let from: Point = [x, y, z].map(|v| v as f64);
    let p = plan.motion.apply(&from_fn(|i| plan.grid.first[i] as f64 + from[i]));
    let Dims { nz, ny, nx } = field.dims();
    let is_in = [nx, ny, nz].iter().zip(p).all(|(&n, v)| v >= 0.0 && v <= n as f64 - 1.0);
    is_in.then(|| interpolate::definition(plan.how, field, p))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::philox::Stream;
    use crate::volume::{Collect, Memory};

    const DIMS: Dims = Dims { nz: 41, ny: 29, nx: 50 };

    fn noise() -> Vec<f32> {
        let s = Stream::new(3, 3);
        (0..DIMS.voxels() as u64).map(|i| s.uniform_f32(i) - 0.5).collect()
    }

    fn plan(how: Interpolation, turn: Point, shift: Point) -> Plan {
        let motion = Rigid::new(turn, [24.5, 14.0, 20.0], shift);
        Plan { motion, grid: Grid { first: [3, 1, 2], dims: Dims { nz: 39, ny: 30, nx: 45 } }, how, memory: 1 << 30 }
    }

    fn run(plan: &Plan) -> (Vec<f32>, Vec<f32>) {
        let source = Memory::new(DIMS, noise()).unwrap();
        let (mut out, mut mask) = (Collect::new(plan.grid.dims), Collect::new(plan.grid.dims));
        resample(Isa::detect(), &source, plan, &mut out, Some(&mut mask), &mut |_, _| {}).unwrap();
        (out.values, mask.values)
    }

    const MOTIONS: [(Point, Point); 4] = [
        ([0.0; 3], [0.0; 3]),
        ([0.01, -0.02, 0.03], [1.3, -2.4, 3.7]),
        ([0.4, 0.3, -0.5], [0.0, 5.0, -9.0]),
        ([0.0, 0.1, 0.0], [0.0, 0.0, 100.0]),
    ];

    #[test]
    fn every_voxel_is_that_of_the_definition_and_the_mask_says_where() {
        for how in [Interpolation::Nearest, Interpolation::Linear, Interpolation::Cubic] {
            for (turn, shift) in MOTIONS {
                let plan = plan(how, turn, shift);
                let (values, mask) = run(&plan);
                let field = Field::new(Isa::detect(), plan.content(), DIMS, &noise());
                let Dims { ny, nx, .. } = plan.grid.dims;
                let mut inside = 0;
                for i in 0..values.len() {
                    let want = definition(&field, &plan, [i % nx, i / nx % ny, i / nx / ny]);
                    assert_eq!(mask[i], f32::from(u8::from(want.is_some())), "{i}");
                    let error = (f64::from(values[i]) - want.unwrap_or(0.0)).abs();
                    // As for rows; half-way between two voxels, the nearest one is either.
                    assert!(how == Interpolation::Nearest || error < 1e-5, "{how:?} {turn:?} {i}: {error:.2e}");
                    inside += usize::from(want.is_some());
                }
                assert!(inside > 10_000 || shift[2] == 100.0 && inside == 0, "{inside}");
            }
        }
    }

    #[test]
    fn standing_still_gives_the_volume_back() {
        let (values, mask) = run(&plan(Interpolation::Cubic, [0.0; 3], [0.0; 3]));
        let noise = noise();
        for (i, (&value, &inside)) in values.iter().zip(&mask).enumerate() {
            let (x, y, z) = (3 + i % 45, 1 + i / 45 % 30, 2 + i / 1350);
            if y < 29 {
                assert!(inside == 1.0 && (value - noise[(z * 29 + y) * 50 + x]).abs() < 1e-6);
            } else {
                assert!(inside == 0.0 && value == 0.0);
            }
        }
    }

    #[test]
    fn slabs_and_threads_do_not_show() {
        for (turn, shift) in MOTIONS {
            let whole = plan(Interpolation::Cubic, turn, shift);
            let want = run(&whole);
            for part in [0.35, 0.6] {
                let least = (0..39).map(|z| whole.bytes(DIMS, z..z + 1)).max().unwrap();
                let all = whole.bytes(DIMS, 0..39);
                let memory = least + (part * (all - least) as f64) as u64;
                let small = Plan { memory, ..whole };
                let height = small.slab(DIMS).unwrap();
                assert!(all == least || height < 39, "{height}");
                let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
                assert!(pool.install(|| run(&small)) == want, "{turn:?} slabs of {height}");
            }
            let none = Plan { memory: 1000, ..whole };
            assert!(none.slab(DIMS).unwrap_err().to_string().contains("more memory"));
        }
    }

    #[test]
    fn what_was_written_is_not_written_again() {
        let plan = plan(Interpolation::Linear, MOTIONS[1].0, MOTIONS[1].1);
        let (want, mask) = run(&plan);
        let source = Memory::new(DIMS, noise()).unwrap();
        let slice = plan.grid.dims.slice();
        let mut out = Collect::new(plan.grid.dims);
        out.values = want[..7 * slice].to_vec();
        let mut half = Collect::new(plan.grid.dims);
        half.values = mask[..20 * slice].to_vec();
        resample(Isa::detect(), &source, &plan, &mut out, Some(&mut half), &mut |_, _| {}).unwrap();
        assert!(out.values == want && half.values == mask);
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        let mut values = noise();
        values[(10 * 29 + 5) * 50 + 6] = f32::NAN;
        let source = Memory::new(DIMS, values).unwrap();
        let plan = plan(Interpolation::Linear, [0.0; 3], [0.0; 3]);
        let mut out = Collect::new(plan.grid.dims);
        let error = resample(Isa::detect(), &source, &plan, &mut out, None, &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("1 voxels"), "{error}");
    }

    #[test]
    fn the_common_box_lies_inside_all_and_cannot_grow_much() {
        let fixed = Dims { nz: 300, ny: 70, nx: 170 };
        let seen: Vec<(Dims, Rigid)> = (0..5)
            .map(|k| {
                let s = Stream::new(k, 1);
                let random = |at: u64, size: f64| from_fn(|i| size * (2.0 * s.uniform_f64(at + i as u64) - 1.0));
                (Dims { nz: 310, ny: 72, nx: 165 }, Rigid::new(random(0, 0.03), [80.0, 30.0, 150.0], random(3, 4.0)))
            })
            .collect();
        let grid = Grid::common(fixed, &seen).unwrap();
        let first = grid.first.map(|v| v as f64);
        let outside = |p: &Point| {
            seen.iter().any(|(d, motion)| {
                let q = motion.apply(p);
                [d.nx, d.ny, d.nz].iter().zip(q).any(|(&n, v)| v < -1e-9 || v > n as f64 - 1.0 + 1e-9)
            })
        };
        assert!(super::super::rigid::corners(first, grid.dims).iter().all(|p| !outside(p)));
        // A box that is larger by two voxels on all sides does not fit.
        let wider = Dims { nz: grid.dims.nz + 4, ny: grid.dims.ny + 4, nx: grid.dims.nx + 4 };
        assert!(super::super::rigid::corners(first.map(|v| v - 2.0), wider).iter().any(outside));
        assert!(grid.dims.ny > 50 && grid.dims.nx > 140 && grid.dims.nz > 280, "{grid:?}");
        let away = Rigid::new([0.0; 3], [0.0; 3], [500.0, 0.0, 0.0]);
        assert!(Grid::common(fixed, &[(fixed, away)]).is_err());
        assert_eq!(Grid::common(fixed, &[(fixed, Rigid::identity([0.0; 3]))]).unwrap(), Grid::whole(fixed));
    }
}
