//! The flat field: what the beam and the detector do without a sample, per pixel and per projection.
//!
//! ```text
//! T = (P − D) / (F − D) · r        r: exposure of the flats / exposure of the projections
//! ```
//!
//! D is the average of all darks. F is the average of all flats, or, where it is known when each flat was taken,
//! interpolated: flats taken between the same two projections are one group, with the number of projections before it
//! as its position t_g (0 before the scan, n after it), and projection i, at i + ½, sees
//!
//! ```text
//! F_i = F_g + (i + ½ − t_g) / (t_(g+1) − t_g) · (F_(g+1) − F_g)       before the first and behind the last: the nearest
//! ```
//!
//! A beam that drifts evenly through a scan leaves no trace then. Averages are summed in f64 in the order of the
//! frames; the rest is f32.

use super::normalize::{NonFinite, named};
use crate::error::{Error, Result};
use crate::os::check_interrupt;
use crate::volume::Source;
use std::ops::Range;

/// How the frames of flats and of darks are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// The mean, summed in f64 in the order of the frames.
    Mean,
    /// The median; the mean of the middle two for an even number of frames.
    Median,
}

/// How flats of several times are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blend {
    /// One average of all.
    Mean,
    /// Interpolated between the groups before and after a projection.
    Linear,
    /// The nearest group, as TomoPy's `normalize_nf`; of two equally near the earlier.
    Nearest,
}

impl Blend {
    /// The blend of a name.
    pub fn parse(name: &str) -> Result<Blend> {
        named("blend of flats", name, &[("mean", Blend::Mean), ("linear", Blend::Linear), ("nearest", Blend::Nearest)])
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Blend::Mean => "mean",
            Blend::Linear => "linear",
            Blend::Nearest => "nearest",
        }
    }
}

/// Flats and darks, and how they are used.
#[derive(Clone, Copy)]
pub struct Frames<'a> {
    /// Images of the beam without the sample.
    pub flats: &'a dyn Source,
    /// Images without beam.
    pub darks: &'a dyn Source,
    /// For each flat how many projections were taken before it, ascending; `None` is unknown.
    pub positions: Option<&'a [f64]>,
    /// How frames are averaged.
    pub average: Average,
    /// How groups of flats are used; without positions there is one group.
    pub blend: Blend,
    /// Exposure of the flats over exposure of the projections.
    pub exposure_ratio: f64,
}

impl<'a> Frames<'a> {
    /// Frames whose times are unknown, averaged, of the projections' exposure.
    pub fn new(flats: &'a dyn Source, darks: &'a dyn Source, average: Average) -> Frames<'a> {
        Frames { flats, darks, positions: None, average, blend: Blend::Mean, exposure_ratio: 1.0 }
    }

    /// Position and frames of every group.
    fn groups(&self) -> Result<Vec<(f64, Range<usize>)>> {
        let all = 0..self.flats.dims().nz;
        let positions = match self.positions {
            Some(positions) if self.blend != Blend::Mean => positions,
            _ => return Ok(vec![(0.0, all)]),
        };
        if positions.len() != all.end || !positions.is_sorted() || positions.iter().any(|p| !p.is_finite()) {
            return Err(Error::data(format!("{} times for {} flats, or not in order", positions.len(), all.end))
                .help("average all flats with --flat-blend mean"));
        }
        let mut groups: Vec<(f64, Range<usize>)> = Vec::new();
        for (frame, &position) in positions.iter().enumerate() {
            match groups.last_mut() {
                Some((same, frames)) if *same == position => frames.end = frame + 1,
                _ => groups.push((position, frame..frame + 1)),
            }
        }
        Ok(groups)
    }
}

impl Average {
    /// The average of a name.
    pub fn parse(name: &str) -> Result<Average> {
        named("average", name, &[("mean", Average::Mean), ("median", Average::Median)])
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Average::Mean => "mean",
            Average::Median => "median",
        }
    }
    /// Averages `frames` for each of their pixels in `rows` × all columns.
    pub(super) fn of(self, frames: &dyn Source, which: Range<usize>, rows: &Range<usize>) -> Result<Vec<f32>> {
        let (dims, count) = (frames.dims(), which.len());
        let pixels = rows.len() * dims.nx;
        match self {
            Average::Mean => {
                let mut sum = vec![0.0f64; pixels];
                // Many frames at a time: a chunk of a compressed file may hold them all.
                let depth = (BLOCK / pixels).clamp(1, count);
                let mut block = vec![0.0f32; depth * pixels];
                for first in which.clone().step_by(depth) {
                    check_interrupt()?;
                    let some = first..(first + depth).min(which.end);
                    let block = &mut block[..some.len() * pixels];
                    frames.read(some, rows.clone(), block)?;
                    for frame in block.chunks_exact(pixels) {
                        sum.iter_mut().zip(frame).for_each(|(s, &f)| *s += f64::from(f));
                    }
                }
                Ok(sum.iter().map(|s| (s / count as f64) as f32).collect())
            }
            Average::Median => {
                let mut median = Vec::with_capacity(pixels);
                let mut values = vec![0.0f32; count];
                // Many rows at a time: a compressed frame is decoded as a whole, however little of it is wanted.
                let height = (BLOCK / (count * dims.nx)).max(1);
                for first in rows.clone().step_by(height) {
                    check_interrupt()?;
                    let some = first..(first + height).min(rows.end);
                    let plane = some.len() * dims.nx;
                    let mut block = vec![0.0f32; count * plane];
                    frames.read(which.clone(), some, &mut block)?;
                    for pixel in 0..plane {
                        for (value, frame) in values.iter_mut().zip(block.chunks_exact(plane)) {
                            *value = frame[pixel];
                        }
                        median.push(median_of(&mut values));
                    }
                }
                Ok(median)
            }
        }
    }
}

/// Numbers of flats or darks held at a time: 64 MiB.
const BLOCK: usize = 1 << 24;

/// The median; NaN if one value is, for sorting would only move it out of the middle.
fn median_of(values: &mut [f32]) -> f32 {
    if values.iter().any(|v| v.is_nan()) {
        return f32::NAN;
    }
    values.sort_unstable_by(f32::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { 0.5 * values[middle - 1] + 0.5 * values[middle] }
}

/// Dark and flats of every pixel of some detector rows.
pub(super) struct FlatField {
    dark: Vec<f32>,
    /// Position and F − D of every group; with one group r/(F − D) in place of it.
    groups: Vec<(f64, Vec<f32>)>,
    blend: Blend,
    ratio: f32,
}

impl FlatField {
    /// Averages the frames in `rows` of a detector of `columns` columns.
    pub fn new(frames: &Frames, non_finite: NonFinite, rows: &Range<usize>, columns: usize) -> Result<FlatField> {
        if !(frames.exposure_ratio > 0.0 && frames.exposure_ratio.is_finite()) {
            return Err(Error::usage(format!("an exposure ratio of {}", frames.exposure_ratio))
                .help("give the exposure time of the flats divided by that of the projections"));
        }
        let dark = frames.average.of(frames.darks, 0..frames.darks.dims().nz, rows)?;
        let spans = frames.groups()?;
        let single = spans.len() == 1;
        let ratio = frames.exposure_ratio as f32;
        let mut groups = Vec::with_capacity(spans.len());
        let (mut dead, mut first) = (0usize, None);
        for (position, span) in spans {
            let mut gain = frames.average.of(frames.flats, span, rows)?;
            for (i, (gain, &d)) in gain.iter_mut().zip(&dark).enumerate() {
                let difference = *gain - d;
                // The comparison is false for NaN.
                let lives = difference > 0.0 && difference.is_finite();
                if !lives {
                    dead += 1;
                    first.get_or_insert([rows.start + i / columns, i % columns]);
                }
                *gain = match (lives, single) {
                    (false, _) => f32::NAN,
                    (true, true) => ratio / difference,
                    (true, false) => difference,
                };
            }
            groups.push((position, gain));
        }
        match first {
            Some([row, column]) if non_finite == NonFinite::Error => Err(Error::data(format!(
                "the flats are not above the darks, or not numbers, in {dead} of {} pixels; the first: row {row}, column {column}",
                dark.len() * groups.len()
            ))
            .help("check that flats and darks are not swapped or equal; --nonfinite zero treats such pixels as air")),
            _ => Ok(FlatField { dark, groups, blend: frames.blend, ratio }),
        }
    }

    /// Bytes of the tables.
    pub fn bytes(&self) -> usize {
        (1 + self.groups.len()) * self.dark.len() * size_of::<f32>()
    }

    /// Counts of projection `projection` to transmission, from the pixel `first` of the tables on, in place.
    pub fn apply(&self, projection: usize, first: usize, values: &mut [f32]) {
        let dark = &self.dark[first..first + values.len()];
        let pixels = first..first + values.len();
        let part = |group: usize| &self.groups[group].1[pixels.clone()];
        if self.groups.len() == 1 {
            for ((value, &d), &gain) in values.iter_mut().zip(dark).zip(part(0)) {
                *value = (*value - d) * gain;
            }
            return;
        }
        let (group, weight) = self.place(projection as f64 + 0.5);
        let (a, b) = (part(group), part((group + 1).min(self.groups.len() - 1)));
        for (((value, &d), &a), &b) in values.iter_mut().zip(dark).zip(a).zip(b) {
            *value = (*value - d) * self.ratio / weight.mul_add(b - a, a);
        }
    }

    /// The group at or before `time`, and the weight of the next one.
    fn place(&self, time: f64) -> (usize, f32) {
        let after = self.groups.partition_point(|(position, _)| *position <= time);
        if after == 0 || after == self.groups.len() {
            return (after.saturating_sub(1), 0.0);
        }
        let (before, next) = (self.groups[after - 1].0, self.groups[after].0);
        let weight = (time - before) / (next - before);
        let weight = if self.blend == Blend::Nearest { f64::from(u8::from(weight > 0.5)) } else { weight };
        (after - 1, weight as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::{Dims, Memory};

    fn stack(frames: usize, rows: usize, columns: usize, value: impl Fn(usize, usize) -> f32) -> Memory {
        let pixels = rows * columns;
        let values = (0..frames * pixels).map(|i| value(i / pixels, i % pixels)).collect();
        Memory::new(Dims::new(frames, rows, columns).unwrap(), values).unwrap()
    }

    #[test]
    fn medians_of_odd_and_even_numbers_of_frames() {
        let odd = stack(3, 1, 2, |f, _| [9.0, 1.0, 2.0][f]);
        let even = stack(4, 1, 2, |f, _| [9.0, 1.0, 2.0, 4.0][f]);
        assert_eq!(Average::Median.of(&odd, 0..3, &(0..1)).unwrap(), [2.0, 2.0]);
        assert_eq!(Average::Median.of(&even, 0..4, &(0..1)).unwrap(), [3.0, 3.0]);
        // Pixels stay in their places over several rows, and a frame that is not a number is not sorted away.
        let rows = stack(3, 4, 2, |f, i| if (f, i) == (1, 5) { f32::NAN } else { (10 * i + f) as f32 });
        let median = Average::Median.of(&rows, 0..3, &(1..4)).unwrap();
        assert_eq!(median[..3], [21.0, 31.0, 41.0]);
        assert!(median[3].is_nan());
        assert_eq!(median[4..], [61.0, 71.0]);
    }

    /// TomoPy's tests of `normalize` and `normalize_nf`: (16, 8, 46) counts, darks of 10, flats of 1000, or pairs of flats
    /// taken before projections 0, 4, 8, 12 and after 16, of which the nearest counts.
    #[test]
    fn tomopys_fixtures_are_matched() {
        let names = ["tomo.npy", "flat.npy", "dark.npy", "flat_1.npy", "normalize.npy", "normalize_nf.npy"];
        let all: Vec<_> = names.iter().filter_map(|name| crate::testing::fixture(name)).collect();
        let [tomo, flat, dark, nearest, want, want_nearest] = all.as_slice() else { return };
        let (rows, columns) = (8, 46);
        let memory = |values: &Vec<f32>| {
            let dims = Dims::new(values.len() / (rows * columns), rows, columns).unwrap();
            Memory::new(dims, values.clone()).unwrap()
        };
        let (flats, darks, nearest) = (memory(flat), memory(dark), memory(nearest));
        let positions: Vec<f64> = [0.0, 4.0, 8.0, 12.0, 16.0].iter().flat_map(|&p| [p, p]).collect();
        let plain = Frames::new(&flats, &darks, Average::Mean);
        let of_times = Frames {
            flats: &nearest,
            positions: Some(&positions),
            average: Average::Median,
            blend: Blend::Nearest,
            ..plain
        };
        for (frames, want) in [(plain, want), (of_times, want_nearest)] {
            let field = FlatField::new(&frames, NonFinite::Error, &(0..rows), columns).unwrap();
            let mut got = tomo.clone();
            got.chunks_exact_mut(rows * columns).enumerate().for_each(|(i, values)| field.apply(i, 0, values));
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() <= 1e-7 * (1.0 + want.abs()), "{got} {want}");
            }
        }
    }

    #[test]
    fn a_beam_that_drifts_evenly_leaves_no_trace() {
        // Ten projections; flats before the first, after the fourth and after the last, of a beam of 100 + 10 t.
        let (darks, beam) = (stack(1, 1, 3, |_, i| i as f32), |t: f64, i: usize| i as f32 + (100.0 + 10.0 * t) as f32);
        let positions = [0.0, 0.0, 4.0, 10.0, 10.0];
        let flats = stack(5, 1, 3, |f, i| beam(positions[f], i) + [1.0, -1.0, 0.0, 2.0, -2.0][f]);
        let frames = Frames {
            positions: Some(&positions),
            blend: Blend::Linear,
            exposure_ratio: 2.0,
            ..Frames::new(&flats, &darks, Average::Mean)
        };
        let field = FlatField::new(&frames, NonFinite::Error, &(0..1), 3).unwrap();
        for projection in 0..10 {
            // Half of the beam, exposed half as long as the flats.
            let mut counts: Vec<f32> =
                (0..3).map(|i| i as f32 + 0.25 * (beam(projection as f64 + 0.5, i) - i as f32)).collect();
            field.apply(projection, 0, &mut counts);
            assert!(counts.iter().all(|t| (t - 0.5).abs() < 1e-6), "{projection}: {counts:?}");
        }
        let nearest =
            FlatField::new(&Frames { blend: Blend::Nearest, ..frames }, NonFinite::Error, &(0..1), 3).unwrap();
        let place = |projection: usize| nearest.place(projection as f64 + 0.5);
        assert_eq!([place(0), place(1), place(2), place(9)], [(0, 0.0), (0, 0.0), (0, 1.0), (1, 1.0)]);
        let wrong = Frames { positions: Some(&positions[..4]), ..frames };
        assert!(FlatField::new(&wrong, NonFinite::Error, &(0..1), 3).is_err());
        let wrong = Frames { exposure_ratio: f64::NAN, ..frames };
        assert!(FlatField::new(&wrong, NonFinite::Error, &(0..1), 3).is_err());
    }
}
