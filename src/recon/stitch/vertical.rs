//! Volumes above one another, the overlap of neighbours seen by both: the fields of view of one scan of a tall sample.
//!
//! ```text
//! field k begins at z_k = z_(k−1) + d_z;  its values are carried to field 0's scale by the gains and offsets on the way
//! V(z) = (1 − w) A(z) + w (g B(z − d) + o),    w from 0 to 1, linear across the overlap less [`EDGE`] at either end
//! ```
//!
//! d_z is searched among whole slices first, by the correlation of the two fields' slices in the overlap; then refined
//! with d_y and d_x ([`super::fit`]). Fields reconstructed in one frame (the axis on one pixel) differ in plane by the
//! stage's error only: shifts in plane below [`IN_PLANE`] are reported and not applied. A shift along z within
//! [`WHOLE`] of a whole number is that number: such a field keeps its bits but for gain and offset. Of sinograms see [`super::rows`].

use super::{BEFORE, BELIEVABLE, Block, Fit, TAPS, correlation, fit, interpolate, lanczos, shift_lines};
use crate::error::{Error, Result};
use crate::num::lanes::Isa;
use crate::num::sum::AddLines;
use crate::os::check_interrupt;
use crate::volume::{Dims, Sink, Source};
use rayon::prelude::*;
use std::ops::Range;

/// Slices at either end of the overlap that are not blended: the ends of a field are its worst slices.
const EDGE: usize = 2;
/// Shifts in plane below this are left, pixels.
pub(super) const IN_PLANE: f64 = 0.05;
/// A shift this near a whole number of slices is one.
const WHOLE: f64 = 0.02;
/// Slices compared when whole slices are searched.
pub(super) const SAMPLES: usize = 5;
/// Side and height of the block that is fitted, at most.
pub(super) const BLOCK: [usize; 3] = [40, 384, 384];
/// Slices written at a time.
pub(super) const CHUNK: usize = 8;

/// A stack of fields that has been fitted together.
pub struct Stacked<'a> {
    isa: Isa,
    fields: Vec<Placed<'a>>,
    dims: Dims,
}

struct Placed<'a> {
    source: &'a dyn Source,
    /// Where its slice 0 lies, and its shift in plane, in pixels of field 0.
    at: [f64; 3],
    /// Instead of that shift in plane, those of every line along x.
    lines: Vec<f64>,
    gain: f64,
    offset: f64,
}

/// What of two fields is compared: lines, columns of either, and along which axes (z, y, x) the second may move.
pub(super) struct View {
    pub lines: Vec<usize>,
    pub columns: [Range<usize>; 2],
    pub free: [bool; 3],
}

/// How a field lies to the one below it, and by what its lines are moved along x if they are moved one by one.
pub(super) type Found = (Fit, Vec<f64>);

/// Fits `fields`, each nominally `offsets[k]` slices above the one before it, give or take `search`.
///
/// # Errors
/// Data: fields of different slices, without overlap, or not alike where they should overlap.
pub fn place<'a>(
    isa: Isa,
    fields: &[&'a dyn Source],
    offsets: &[f64],
    search: usize,
) -> Result<(Stacked<'a>, Vec<Fit>)> {
    stack(isa, fields, offsets, |_, [a, b], nominal| {
        // The middle of the slices, where the sample is: the square in the circle that every projection sees. At its rim a
        // sample that goes on outside makes values tens of times its own, and beyond it they mean nothing.
        let (lines, columns) = (square(a.dims().ny, BLOCK[1]), square(a.dims().nx, BLOCK[2]));
        let view = View { lines: lines.collect(), columns: [columns.clone(), columns], free: [true; 3] };
        let (a, b, shift) = alike(a, b, nominal, search, &view)?;
        let mut fit = fit(isa, &a, &b, view.free)?;
        fit.shift[0] += shift as f64;
        Ok((fit, Vec::new()))
    })
}

/// Puts fields above one another as `find` finds each, with its number less one, on the one below it, from a nominal offset.
pub(super) fn stack<'a>(
    isa: Isa,
    fields: &[&'a dyn Source],
    offsets: &[f64],
    mut find: impl FnMut(usize, [&dyn Source; 2], f64) -> Result<Found>,
) -> Result<(Stacked<'a>, Vec<Fit>)> {
    let Some(first) = fields.first() else { return Err(Error::usage("no field to stitch")) };
    let d = first.dims();
    let mut placed = vec![Placed { source: *first, at: [0.0; 3], lines: Vec::new(), gain: 1.0, offset: 0.0 }];
    let mut fits = Vec::new();
    for (k, (pair, &nominal)) in fields.windows(2).zip(offsets).enumerate() {
        check_interrupt()?;
        let [a, b] = [pair[0], pair[1]];
        if (b.dims().ny, b.dims().nx) != (d.ny, d.nx) {
            return Err(Error::data(format!(
                "field {} has slices of {} x {}, field 0 of {} x {}",
                k + 1,
                b.dims().nx,
                b.dims().ny,
                d.nx,
                d.ny
            ))
            .help("reconstruct all fields with the same columns and bins"));
        }
        let of_pair = |e: Error| {
            let named = Error::new(e.fault(), format!("fields {k} and {}: {}", k + 1, e.what()));
            e.advice().map_or(named.clone(), |help| named.help(help))
        };
        let (fit, mut lines) = find(k, [a, b], nominal).map_err(of_pair)?;
        let last = &placed[k];
        lines.iter_mut().zip(&last.lines).for_each(|(line, below)| *line += below);
        let mut at = [0, 1, 2].map(|i| last.at[i] + fit.shift[i]);
        if (at[0] - at[0].round()).abs() < WHOLE {
            at[0] = at[0].round();
        }
        let top = |at: f64, source: &dyn Source| at + source.dims().nz as f64;
        if at[0] <= last.at[0] || top(at[0], b) < top(last.at[0], a) {
            return Err(of_pair(
                Error::data(format!(
                    "the second one, found {:.1} slices above, lies below or within the first",
                    fit.shift[0]
                ))
                .help("name the fields from the lowest up, and leave out what the others hold already"),
            ));
        }
        // B on A's scale, then on field 0's.
        let (gain, offset) = (last.gain * fit.gain, last.gain * fit.offset + last.offset);
        placed.push(Placed { source: b, at, lines, gain, offset });
        fits.push(fit);
    }
    let top = placed.iter().map(|p| p.at[0] + p.source.dims().nz as f64).fold(0.0, f64::max);
    let dims = Dims::new(top.floor() as usize, d.ny, d.nx)?;
    Ok((Stacked { isa, fields: placed, dims }, fits))
}

/// Bytes that digests, [`place`] and [`Stacked::write`] read of fields of these shapes, and about the shape of the whole.
///
/// # Errors
/// Usage: a whole of nothing.
pub fn cost(fields: &[Dims], offsets: &[f64], search: usize) -> Result<(u64, Dims)> {
    let last = fields.last().ok_or_else(|| Error::usage("no field to stitch"))?;
    let top = (offsets.iter().sum::<f64>() as usize).saturating_add(last.nz);
    let mut reads = 0;
    for (pair, offset) in fields.windows(2).zip(offsets) {
        let line = 4 * pair[0].nx * square(pair[0].ny, BLOCK[1]).len();
        let shared = (pair[0].nz as f64 - offset).max(0.0) as usize;
        let shifts = 2 * search.min(pair[0].nz + pair[1].nz) + 1;
        let found = SAMPLES * (1 + shifts) + 2 * shared.min(BLOCK[0]);
        reads += (line * found) as u64;
    }
    // Each for its digest and for its voxels, those above the first with the slices around that interpolation takes.
    let bytes = |d: &Dims| 4 * d.voxels() as u64;
    reads += fields.iter().map(|d| 2 * bytes(d)).sum::<u64>();
    reads += fields[1..].iter().map(|d| bytes(d) * TAPS as u64 / CHUNK as u64).sum::<u64>();
    Ok((reads, Dims::new(top, last.ny, last.nx)?))
}

/// The square in the circle that every projection sees.
fn square(n: usize, most: usize) -> Range<usize> {
    middle(n, most.min((2 * n).div_ceil(3)))
}

/// Slices `first …` of a field as a block, what of them is looked at.
fn block(source: &dyn Source, z: Range<usize>, lines: &[usize], columns: &Range<usize>) -> Result<Block> {
    let (Some(&from), Some(&last), nx) = (lines.first(), lines.last(), source.dims().nx) else {
        return Err(Error::bug("a view of no lines"));
    };
    let size = [z.len(), lines.len(), columns.len()];
    let mut values = Vec::with_capacity(size.iter().product());
    let mut all = vec![0.0f32; (last + 1 - from) * nx];
    for z in z {
        source.read(z..z + 1, from..last + 1, &mut all)?;
        for line in lines {
            values.extend_from_slice(&all[(line - from) * nx..][..nx][columns.clone()]);
        }
    }
    Ok(Block { size, values })
}

/// Blocks of A and B where they are most alike, and the whole slices by which B lies above A.
pub(super) fn alike(
    a: &dyn Source,
    b: &dyn Source,
    nominal: f64,
    search: usize,
    view: &View,
) -> Result<(Block, Block, isize)> {
    let (da, db) = (a.dims(), b.dims());
    let of = |which: usize, source: &dyn Source, z: Range<usize>| block(source, z, &view.lines, &view.columns[which]);
    let overlap = |shift: isize| -> Range<usize> {
        let first = shift.max(0) as usize;
        first..da.nz.min((shift + db.nz as isize).max(0) as usize)
    };
    let least = super::LEAST;
    // Beyond these nothing overlaps.
    let (lowest, highest) = (-(db.nz as f64), da.nz as f64);
    let nominal = nominal.clamp(lowest, highest);
    let from = (nominal - search as f64).floor().max(lowest) as isize;
    let to = (nominal + search as f64).ceil().min(highest) as isize;
    let core = overlap(nominal.round() as isize);
    if core.len() < least {
        return Err(Error::data(format!("an overlap of {} slices; {least} are needed", core.len()))
            .help("check the offset of the fields: it is counted in slices"));
    }
    let samples: Vec<usize> = (0..SAMPLES).map(|i| core.start + (2 * i + 1) * core.len() / (2 * SAMPLES)).collect();
    let of_a: Vec<Block> = samples.iter().map(|&z| of(0, a, z..z + 1)).collect::<Result<_>>()?;
    let mut best = (f64::NEG_INFINITY, 0isize);
    for shift in from..=to {
        check_interrupt()?;
        let (mut sum, mut count) = (0.0, 0.0);
        for (z, own) in samples.iter().zip(&of_a) {
            let other = *z as isize - shift;
            if (0..db.nz as isize).contains(&other) {
                let other = other as usize;
                sum += correlation(&own.values, &of(1, b, other..other + 1)?.values);
                count += 1.0;
            }
        }
        // Fewer slices than half of the samples tell nothing.
        let mean = if 2.0 * count > SAMPLES as f64 { sum / count } else { f64::NEG_INFINITY };
        if mean > best.0 {
            best = (mean, shift);
        }
    }
    let (alike, shift) = best;
    if alike.is_nan() || alike < BELIEVABLE || (search > 0 && (shift == from || shift == to)) {
        return Err(Error::data(format!(
            "no offset between {from} and {to} slices: the best, {shift}, has a correlation of {alike:.2}"
        ))
        .help("check the order of the fields and their nominal offset, or widen --search"));
    }
    let z = middle(overlap(shift).len(), BLOCK[0]);
    let first = overlap(shift).start + z.start;
    let other = (first as isize - shift) as usize;
    Ok((of(0, a, first..first + z.len())?, of(1, b, other..other + z.len())?, shift))
}

/// The middle of `n`, at most `most`.
pub(super) fn middle(n: usize, most: usize) -> Range<usize> {
    let held = n.min(most);
    (n - held) / 2..(n - held) / 2 + held
}

impl Stacked<'_> {
    /// Shape of the whole.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// Where the fields begin, their shifts in plane, and their gains and offsets to field 0's scale.
    pub fn places(&self) -> Vec<([f64; 3], f64, f64)> {
        self.fields.iter().map(|p| (p.at, p.gain, p.offset)).collect()
    }

    /// Writes the slices that the sink still wants.
    ///
    /// # Errors
    /// Those of the fields and the sink.
    pub fn write(&self, sink: &mut dyn Sink, progress: &mut dyn FnMut(usize, usize)) -> Result<()> {
        let d = self.dims;
        while sink.next_slice() < d.nz {
            check_interrupt()?;
            let z = sink.next_slice()..(sink.next_slice() + CHUNK).min(d.nz);
            let mut slices = vec![0.0f32; z.len() * d.slice()];
            let mut weights = vec![0.0f32; z.len()];
            for (k, field) in self.fields.iter().enumerate() {
                let wanted: Vec<(usize, f32)> =
                    z.clone().enumerate().map(|(i, z)| (i, self.weight(k, z))).filter(|(_, w)| *w > 0.0).collect();
                let (Some(&first), Some(&last)) = (wanted.first(), wanted.last()) else { continue };
                let part = field.read(self.isa, z.start + first.0..z.start + last.0 + 1, d)?;
                for (i, w) in wanted {
                    weights[i] += w;
                    let from = &part[(i - first.0) * d.slice()..][..d.slice()];
                    let to = &mut slices[i * d.slice()..][..d.slice()];
                    if w == 1.0 {
                        to.copy_from_slice(from);
                    } else {
                        self.isa.run(AddLines { terms: &[(w, from)], out: to });
                    }
                }
            }
            debug_assert!(weights.iter().all(|w| (w - 1.0).abs() < 1e-5), "{weights:?}");
            sink.write(&slices)?;
            progress(z.end, d.nz);
        }
        Ok(())
    }

    /// Weight of field k in slice z: its ramp up, and what the ramps of those above leave of it. They add to 1, however
    /// many fields lie over one another.
    fn weight(&self, k: usize, z: usize) -> f32 {
        let rise = |k: usize| -> f32 {
            let (below, here) = (&self.fields[k - 1], &self.fields[k]);
            let from = here.at[0].ceil() + EDGE as f64;
            let to = (below.at[0] + below.source.dims().nz as f64 - 1.0).floor() - EDGE as f64;
            (((z as f64 - from + 1.0) / (to - from + 2.0).max(1.0)).clamp(0.0, 1.0)) as f32
        };
        let up = if k == 0 { 1.0 } else { rise(k) };
        (k + 1..self.fields.len()).fold(up, |weight, above| weight * (1.0 - rise(above)))
    }
}

impl Placed<'_> {
    /// Its slices at `z` of the whole, on field 0's scale.
    fn read(&self, isa: Isa, z: Range<usize>, d: Dims) -> Result<Vec<f32>> {
        let nz = self.source.dims().nz as isize;
        // Position of the first slice in the field's own slices.
        let start = z.start as f64 - self.at[0];
        let (whole, fraction) = (start.floor() as isize, start - start.floor());
        let halo = if fraction > 0.0 { TAPS as isize / 2 } else { 0 };
        let held = (whole - halo).clamp(0, nz - 1) as usize..(whole + z.len() as isize + halo).clamp(1, nz) as usize;
        let mut own = vec![0.0f32; held.len() * d.slice()];
        self.source.read(held.clone(), 0..d.ny, &mut own)?;
        let weights = lanczos(fraction);
        let mut out = vec![0.0f32; z.len() * d.slice()];
        let (gain, offset) = (self.gain as f32, self.offset as f32);
        out.par_chunks_mut(d.nx).enumerate().for_each_init(
            || vec![0.0f32; d.nx],
            |scaled, (line, out)| {
                let (i, y) = (line / d.ny, line % d.ny);
                let at = whole + i as isize - held.start as isize;
                let line = |k: isize| &own[(k.clamp(0, held.len() as isize - 1) as usize * d.ny + y) * d.nx..][..d.nx];
                match fraction > 0.0 {
                    true => {
                        let lines = std::array::from_fn(|k| line(at + k as isize - BEFORE as isize));
                        interpolate(isa, &lines, &weights, out);
                    }
                    false => out.copy_from_slice(line(at)),
                }
                if (gain, offset) != (1.0, 0.0) {
                    scaled.copy_from_slice(out);
                    out.fill(offset);
                    isa.run(AddLines { terms: &[(gain, scaled)], out });
                }
            },
        );
        if !self.lines.is_empty() {
            return Ok(shift_lines(isa, &out, d.nx, &self.lines));
        }
        if self.at[1].abs() < IN_PLANE && self.at[2].abs() < IN_PLANE {
            return Ok(out);
        }
        let moved = Block { size: [z.len(), d.ny, d.nx], values: out };
        Ok(moved.shifted(isa, [0.0, self.at[1], self.at[2]], [false, true, true]).values)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::field;
    use super::*;
    use crate::num::philox::Stream;
    use crate::volume::{Collect, Memory};

    const NOISE: f64 = 0.1;

    /// A field whose slice 0 lies at `at` in the world, of another gain and offset, with noise of its own.
    fn volume(seed: u64, nz: usize, at: [f64; 3], gain: f64, offset: f64) -> Memory {
        let (ny, nx) = (40, 44);
        let random = Stream::new(seed, 3);
        let values = (0..nz * ny * nx)
            .map(|i| {
                let (z, y, x) = (i / (ny * nx), i / nx % ny, i % nx);
                let truth = field(5, z as f64 + at[0], y as f64 + at[1], x as f64 + at[2]);
                ((truth + NOISE * random.normal(i as u64) - offset) / gain) as f32
            })
            .collect();
        Memory::new(Dims::new(nz, ny, nx).unwrap(), values).unwrap()
    }

    fn statistics(values: &[f64]) -> [f64; 2] {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let square = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / values.len() as f64;
        [mean, square.sqrt()]
    }

    /// Three fields of 60 slices: offsets to 0.05 pixel, no step and no change of noise at the seams.
    #[test]
    fn three_fields_become_one_without_a_seam() {
        let places = [[0.0, 0.0, 0.0], [33.4, 0.3, -0.2], [66.15, 0.0, 0.1]];
        let scales = [(1.0, 0.0), (1.08, 0.03), (0.95, -0.02)];
        let fields: Vec<Memory> =
            (0..3).map(|k| volume(k as u64 + 1, 60, places[k], scales[k].0, scales[k].1)).collect();
        let sources: Vec<&dyn Source> = fields.iter().map(|f| f as &dyn Source).collect();
        let (stacked, fits) = place(Isa::detect(), &sources, &[32.0, 34.0], 6).unwrap();
        for (k, fit) in fits.iter().enumerate() {
            for axis in 0..3 {
                let truth = places[k + 1][axis] - places[k][axis];
                assert!((fit.shift[axis] - truth).abs() < 0.05, "{fit:?}");
                assert!(fit.errors[axis] < 0.05, "{fit:?}");
            }
        }
        let mut sink = Collect::new(stacked.dims());
        stacked.write(&mut sink, &mut |_, _| {}).unwrap();
        let d = stacked.dims();
        assert_eq!(d.nz, 126);
        let error = |z: usize| -> Vec<f64> {
            (8..32)
                .flat_map(|y| (8..36).map(move |x| (y, x)))
                .map(|(y, x)| {
                    let got = f64::from(sink.values[(z * d.ny + y) * d.nx + x]);
                    got - field(5, z as f64, y as f64, x as f64)
                })
                .collect()
        };
        // Ends apart, every slice is the truth but for noise; means of 672 pixels vary by NOISE / 26.
        for z in 4..d.nz - 6 {
            let [mean, deviation] = statistics(&error(z));
            assert!(mean.abs() < 5.0 * NOISE / 26.0, "slice {z}: {mean}");
            assert!(deviation < 1.15 * NOISE && deviation > 0.6 * NOISE, "slice {z}: {deviation}");
        }
    }

    /// Where three fields lie over one another, values stay what they are.
    #[test]
    fn fields_that_overlap_by_more_than_half_keep_their_values() {
        let fields = [0.0, 12.0, 24.0].map(|z| volume(1 + z as u64, 60, [z, 0.0, 0.0], 1.0, 5.0));
        let sources: Vec<&dyn Source> = fields.iter().map(|f| f as &dyn Source).collect();
        let (stacked, _) = place(Isa::detect(), &sources, &[12.0, 12.0], 4).unwrap();
        for z in 0..stacked.dims().nz {
            let sum: f32 = (0..3).map(|k| stacked.weight(k, z)).sum();
            assert!((sum - 1.0).abs() < 1e-6, "slice {z}: {sum}");
        }
    }

    #[test]
    fn whole_offsets_keep_the_bits_and_wrong_ones_are_refused() {
        let a = volume(1, 50, [0.0; 3], 1.0, 0.0);
        let part = |from: usize| {
            let d = a.dims();
            let values = a.values()[from * d.slice()..].to_vec();
            Memory::new(Dims::new(d.nz - from, d.ny, d.nx).unwrap(), values).unwrap()
        };
        let b = part(20);
        let (stacked, fits) = place(Isa::detect(), &[&a, &b], &[18.0], 5).unwrap();
        assert!((fits[0].shift[0] - 20.0).abs() < 1e-6 && (fits[0].gain - 1.0).abs() < 1e-6, "{fits:?}");
        let mut sink = Collect::new(stacked.dims());
        stacked.write(&mut sink, &mut |_, _| {}).unwrap();
        assert_eq!(sink.values[..20 * a.dims().slice()], a.values()[..20 * a.dims().slice()]);
        // The search ends before the truth; nothing overlaps; nothing is alike; other slices.
        assert!(place(Isa::detect(), &[&a, &b], &[10.0], 5).is_err());
        assert!(place(Isa::detect(), &[&a, &b], &[49.0], 5).is_err());
        let other = volume(9, 50, [500.0, 0.0, 0.0], 1.0, 0.0);
        assert!(place(Isa::detect(), &[&a, &other], &[20.0], 5).is_err());
        // Nothing new, or from the top down.
        assert!(place(Isa::detect(), &[&a, &a], &[1.0], 5).is_err());
        assert!(place(Isa::detect(), &[&b, &a], &[-20.0], 5).is_err());
        assert!(place(Isa::detect(), &[&a, &b], &[20.0], usize::MAX).is_ok());
        let small = Memory::new(Dims::new(50, 4, 4).unwrap(), vec![0.0; 800]).unwrap();
        assert!(place(Isa::detect(), &[&a, &small], &[20.0], 5).is_err());
    }
}
