//! From detector counts to absorption, the line integral that reconstruction inverts.
//!
//! ```text
//! T = (P − D) / (F − D)        transmission; P counts, D mean or median of the darks, F of the flats, per pixel
//! p = −ln T                    absorption
//! ```
//!
//! in f32. Nothing is clipped: noise around T = 1 stays symmetric, which weak absorbers such as lithium need. What has
//! no logarithm (T ≤ 0, NaN) is counted and located, and refused unless asked otherwise ([`NonFinite`]).

use crate::error::{Error, Result, nearest};
use crate::num::elementary::neg_ln_slice;
use crate::num::lanes::Isa;
use crate::os::check_interrupt;
use crate::volume::Source;
use rayon::prelude::*;
use std::ops::Range;

/// What the numbers of a projection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// Detector counts, to be divided by flats.
    Counts,
    /// Transmission T, 1 for air.
    Transmission,
    /// Absorption −ln T, 0 for air.
    Absorption,
}

/// How the frames of flats and of darks are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// The mean, summed in f64 in the order of the frames.
    Mean,
    /// The median; the mean of the middle two for an even number of frames.
    Median,
}

/// What is done with absorption values that are not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonFinite {
    /// The scan is refused, with their number and first place.
    Error,
    /// They become 0 (air) and are counted.
    Zero,
    /// They stay, and spoil their own slice only.
    Keep,
}

/// A name among known ones, or a usage error that suggests the nearest.
fn named<T: Copy>(what: &str, name: &str, known: &[(&str, T)]) -> Result<T> {
    if let Some((_, value)) = known.iter().find(|(n, _)| *n == name) {
        return Ok(*value);
    }
    let names: Vec<&str> = known.iter().map(|(n, _)| *n).collect();
    let hint = nearest(name, names.iter().copied()).map(|n| format!("did you mean '{n}'? ")).unwrap_or_default();
    Err(Error::usage(format!("unknown {what} '{name}'")).help(format!("{hint}known: {}", names.join(", "))))
}

impl InputKind {
    /// The kind of a name.
    pub fn parse(name: &str) -> Result<InputKind> {
        use InputKind::*;
        named("input", name, &[("counts", Counts), ("transmission", Transmission), ("absorption", Absorption)])
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            InputKind::Counts => "counts",
            InputKind::Transmission => "transmission",
            InputKind::Absorption => "absorption",
        }
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
    fn of(self, frames: &dyn Source, rows: &Range<usize>) -> Result<Vec<f32>> {
        let dims = frames.dims();
        let pixels = rows.len() * dims.nx;
        match self {
            Average::Mean => {
                let mut sum = vec![0.0f64; pixels];
                // Many frames at a time: a chunk of a compressed file may hold them all.
                let depth = (BLOCK / pixels).clamp(1, dims.nz);
                let mut block = vec![0.0f32; depth * pixels];
                for first in (0..dims.nz).step_by(depth) {
                    check_interrupt()?;
                    let some = first..(first + depth).min(dims.nz);
                    let block = &mut block[..some.len() * pixels];
                    frames.read(some, rows.clone(), block)?;
                    for frame in block.chunks_exact(pixels) {
                        sum.iter_mut().zip(frame).for_each(|(s, &f)| *s += f64::from(f));
                    }
                }
                Ok(sum.iter().map(|s| (s / dims.nz as f64) as f32).collect())
            }
            Average::Median => {
                let mut median = Vec::with_capacity(pixels);
                let mut values = vec![0.0f32; dims.nz];
                // Many rows at a time: a compressed frame is decoded as a whole, however little of it is wanted.
                let height = (BLOCK / (dims.nz * dims.nx)).max(1);
                for first in rows.clone().step_by(height) {
                    check_interrupt()?;
                    let some = first..(first + height).min(rows.end);
                    let plane = some.len() * dims.nx;
                    let mut block = vec![0.0f32; dims.nz * plane];
                    frames.read(0..dims.nz, some, &mut block)?;
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

impl NonFinite {
    /// The policy of a name.
    pub fn parse(name: &str) -> Result<NonFinite> {
        named(
            "policy for non-finite values",
            name,
            &[("error", NonFinite::Error), ("zero", NonFinite::Zero), ("keep", NonFinite::Keep)],
        )
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            NonFinite::Error => "error",
            NonFinite::Zero => "zero",
            NonFinite::Keep => "keep",
        }
    }
}

/// Dark and inverse gain of every pixel of some detector rows.
struct FlatField {
    dark: Vec<f32>,
    inverse_gain: Vec<f32>,
}

/// Projections and what is needed to turn them into absorption.
pub struct Input<'a> {
    projections: &'a dyn Source,
    kind: InputKind,
    non_finite: NonFinite,
    rows: Range<usize>,
    flat_field: Option<FlatField>,
}

impl<'a> Input<'a> {
    /// Prepares the detector rows `rows` of `projections` (angle, row, column). `frames` are (flats, darks), needed for
    /// counts and refused otherwise.
    ///
    /// # Errors
    /// Flats or darks missing, of another size, or not above one another in some pixel (unless non-finite values are
    /// accepted).
    pub fn new(
        projections: &'a dyn Source,
        kind: InputKind,
        frames: Option<(&dyn Source, &dyn Source)>,
        average: Average,
        non_finite: NonFinite,
        rows: Range<usize>,
    ) -> Result<Input<'a>> {
        let dims = projections.dims();
        if rows.is_empty() || rows.end > dims.ny {
            return Err(Error::usage(format!("rows {}:{} of a detector of {} rows", rows.start, rows.end, dims.ny))
                .help(format!("rows are counted from 0, the end is not included: at most --rows 0:{}", dims.ny)));
        }
        let flat_field = match (kind, frames) {
            (InputKind::Counts, None) => {
                return Err(Error::usage("counts need flats and darks")
                    .help("give --flats FILE and --darks FILE, or say --input transmission or absorption"));
            }
            (InputKind::Counts, Some((flats, darks))) => {
                for (name, frames) in [("flats", flats), ("darks", darks)] {
                    let d = frames.dims();
                    if (d.ny, d.nx) != (dims.ny, dims.nx) {
                        return Err(Error::data(format!(
                            "{name} of {} x {} pixels for projections of {} x {}",
                            d.nx, d.ny, dims.nx, dims.ny
                        ))
                        .help("give the flats and darks of this scan's detector and region"));
                    }
                }
                Some(FlatField::new(flats, darks, average, non_finite, &rows, dims.nx)?)
            }
            (_, Some(_)) => {
                return Err(Error::usage(format!("flats and darks given for {} values", kind.name()))
                    .help("say --input counts, or leave --flats and --darks out"));
            }
            (_, None) => None,
        };
        Ok(Input { projections, kind, non_finite, rows, flat_field })
    }

    /// Reads the detector rows `rows` of all projections as they are stored, `[angle][row][column]`, into `block`.
    pub fn read(&self, rows: Range<usize>, block: &mut [f32]) -> Result<()> {
        self.projections.read(0..self.projections.dims().nz, rows, block)
    }

    /// Turns a block from [`read`](Self::read) into absorption, in place, and applies the policy for what is not finite.
    /// Returns how many values of each row were not.
    ///
    /// # Errors
    /// With [`NonFinite::Error`], if there is one: how many there are and where the first lies, in order of angle, row
    /// and column.
    pub fn to_absorption(&self, isa: Isa, rows: Range<usize>, block: &mut [f32]) -> Result<Vec<u64>> {
        let columns = self.projections.dims().nx;
        let first_pixel = (rows.start - self.rows.start) * columns;
        let width = rows.len() * columns;
        let spoiled: Vec<Vec<u32>> = block
            .par_chunks_mut(width)
            .map_init(
                || vec![0.0f32; width],
                |transmission, values| {
                    if let Some(field) = &self.flat_field {
                        let dark = &field.dark[first_pixel..first_pixel + width];
                        let gain = &field.inverse_gain[first_pixel..first_pixel + width];
                        for (((t, &p), &d), &g) in transmission.iter_mut().zip(&*values).zip(dark).zip(gain) {
                            *t = (p - d) * g;
                        }
                        neg_ln_slice(isa, transmission, values);
                    } else if self.kind == InputKind::Transmission {
                        transmission.copy_from_slice(values);
                        neg_ln_slice(isa, transmission, values);
                    }
                    self.places_not_finite(values)
                },
            )
            .collect();
        let mut per_row = vec![0u64; rows.len()];
        for &place in spoiled.iter().flatten() {
            per_row[place as usize / columns] += 1;
        }
        let first = spoiled.iter().enumerate().find_map(|(angle, places)| places.first().map(|&p| (angle, p as usize)));
        match first {
            Some((angle, place)) if self.non_finite == NonFinite::Error => Err(Error::data(format!(
                "{} absorption value(s) in rows {}:{} are not finite; the first: projection {angle}, row {}, column {}",
                per_row.iter().sum::<u64>(),
                rows.start,
                rows.end,
                rows.start + place / columns,
                place % columns
            ))
            .help(
                "opaque or dead pixels have no logarithm: --nonfinite zero makes them air and counts them, \
                 --nonfinite keep spoils their slices",
            )),
            _ => Ok(per_row),
        }
    }

    /// Places in one projection's rows that are not finite, ascending; they become 0 if the policy says so.
    fn places_not_finite(&self, values: &mut [f32]) -> Vec<u32> {
        if values.iter().all(|v| v.is_finite()) {
            return Vec::new();
        }
        let mut places = Vec::new();
        for (place, value) in values.iter_mut().enumerate().filter(|(_, v)| !v.is_finite()) {
            places.push(place as u32);
            if self.non_finite == NonFinite::Zero {
                *value = 0.0;
            }
        }
        places
    }
}

impl FlatField {
    fn new(
        flats: &dyn Source,
        darks: &dyn Source,
        average: Average,
        non_finite: NonFinite,
        rows: &Range<usize>,
        columns: usize,
    ) -> Result<FlatField> {
        let dark = average.of(darks, rows)?;
        let mut inverse_gain = average.of(flats, rows)?;
        let (mut dead, mut first) = (0usize, None);
        for (i, (gain, &d)) in inverse_gain.iter_mut().zip(&dark).enumerate() {
            let difference = *gain - d;
            // The comparison is false for NaN.
            let lives = difference > 0.0 && difference.is_finite();
            if !lives {
                dead += 1;
                first.get_or_insert([rows.start + i / columns, i % columns]);
            }
            *gain = if lives { 1.0 / difference } else { f32::NAN };
        }
        match first {
            Some([row, column]) if non_finite == NonFinite::Error => Err(Error::data(format!(
                "the flats are not above the darks, or not numbers, in {dead} of {} pixels; the first: row {row}, column {column}",
                dark.len()
            ))
            .help("check that flats and darks are not swapped or equal; --nonfinite zero treats such pixels as air")),
            _ => Ok(FlatField { dark, inverse_gain }),
        }
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

    fn absorption(input: &Input, rows: Range<usize>, angles: usize, columns: usize) -> Result<Vec<f32>> {
        let mut block = vec![f32::NAN; angles * rows.len() * columns];
        input.read(rows.clone(), &mut block)?;
        input.to_absorption(Isa::detect(), rows, &mut block)?;
        Ok(block)
    }

    #[test]
    fn counts_become_line_integrals() {
        // Flats 10 and 30 above dark 5: mean 20, gain 15. Counts 5 + 15·e^(−pixel/4).
        let counts = stack(3, 2, 4, |_, i| 5.0 + 15.0 * (-(i as f32) / 4.0).exp());
        let flats = stack(2, 2, 4, |f, _| if f == 0 { 10.0 } else { 30.0 });
        let darks = stack(3, 2, 4, |_, _| 5.0);
        for average in [Average::Mean, Average::Median] {
            let frames: Option<(&dyn Source, &dyn Source)> = Some((&flats, &darks));
            let input = Input::new(&counts, InputKind::Counts, frames, average, NonFinite::Error, 0..2).unwrap();
            // One row alone and both rows give the same values.
            let both = absorption(&input, 0..2, 3, 4).unwrap();
            let second = absorption(&input, 1..2, 3, 4).unwrap();
            for angle in 0..3 {
                for i in 0..8 {
                    let got = both[angle * 8 + i];
                    assert!((got - i as f32 / 4.0).abs() < 1e-6, "{got}");
                }
                assert_eq!(both[angle * 8 + 4..angle * 8 + 8], second[angle * 4..angle * 4 + 4]);
            }
        }
    }

    #[test]
    fn medians_of_odd_and_even_numbers_of_frames() {
        let odd = stack(3, 1, 2, |f, _| [9.0, 1.0, 2.0][f]);
        let even = stack(4, 1, 2, |f, _| [9.0, 1.0, 2.0, 4.0][f]);
        assert_eq!(Average::Median.of(&odd, &(0..1)).unwrap(), [2.0, 2.0]);
        assert_eq!(Average::Median.of(&even, &(0..1)).unwrap(), [3.0, 3.0]);
        // Pixels stay in their places over several rows, and a frame that is not a number is not sorted away.
        let rows = stack(3, 4, 2, |f, i| if (f, i) == (1, 5) { f32::NAN } else { (10 * i + f) as f32 });
        let median = Average::Median.of(&rows, &(1..4)).unwrap();
        assert_eq!(median[..3], [21.0, 31.0, 41.0]);
        assert!(median[3].is_nan());
        assert_eq!(median[4..], [61.0, 71.0]);
    }

    #[test]
    fn what_has_no_logarithm_is_counted_located_and_refused() {
        let bad = stack(2, 2, 3, |f, i| if (f, i) == (1, 4) { -1.0 } else { 0.5 });
        let make = |policy| Input::new(&bad, InputKind::Transmission, None, Average::Mean, policy, 0..2).unwrap();
        let error = absorption(&make(NonFinite::Error), 0..2, 2, 3).unwrap_err();
        assert!(error.to_string().contains("projection 1, row 1, column 1"), "{error}");
        let zero = make(NonFinite::Zero);
        assert_eq!(absorption(&zero, 0..2, 2, 3).unwrap()[10], 0.0);
        let mut block = vec![0.0; 12];
        zero.read(0..2, &mut block).unwrap();
        assert_eq!(zero.to_absorption(Isa::detect(), 0..2, &mut block).unwrap(), [0, 1]);
        assert!(absorption(&make(NonFinite::Keep), 0..2, 2, 3).unwrap()[10].is_nan());
    }

    #[test]
    fn impossible_flats_are_refused() {
        let counts = stack(2, 1, 2, |_, _| 3.0);
        let equal = stack(1, 1, 2, |_, _| 5.0);
        let small = stack(1, 1, 3, |_, _| 5.0);
        let make = |flats: &dyn Source, darks: &dyn Source, kind| {
            Input::new(&counts, kind, Some((flats, darks)), Average::Mean, NonFinite::Error, 0..1).map(|_| ())
        };
        assert!(make(&equal, &equal, InputKind::Counts).unwrap_err().to_string().contains("in 2 of 2 pixels"));
        assert!(make(&small, &equal, InputKind::Counts).unwrap_err().to_string().contains("flats of 3 x 1"));
        assert_eq!(make(&equal, &equal, InputKind::Absorption).unwrap_err().fault().exit_code(), 2);
        let none = Input::new(&counts, InputKind::Counts, None, Average::Mean, NonFinite::Error, 0..1);
        assert_eq!(none.map(|_| ()).unwrap_err().fault().exit_code(), 2);
        let rows = Input::new(&counts, InputKind::Absorption, None, Average::Mean, NonFinite::Error, 0..2);
        assert!(rows.map(|_| ()).unwrap_err().to_string().contains("--rows 0:1"));
    }
}
