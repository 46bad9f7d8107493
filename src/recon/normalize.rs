//! From detector counts to absorption, the line integral that reconstruction inverts.
//!
//! ```text
//! T = (P − D) / (F − D)        transmission; see `flat`
//! p = −ln T                    absorption
//! ```
//!
//! in f32. Nothing is clipped: noise around T = 1 stays symmetric, which weak absorbers such as lithium need. What has
//! no logarithm (T ≤ 0, NaN) is counted and located, and refused unless asked otherwise ([`NonFinite`]).
//!
//! A block is `[projection][row][column]`: any range of projections and of detector rows. Its values do not depend on
//! how a scan is cut into blocks.

use super::flat::{FlatField, Frames};
use crate::error::{Error, Result, nearest};
use crate::num::elementary::neg_ln_slice;
use crate::num::lanes::Isa;
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
pub(super) fn named<T: Copy>(what: &str, name: &str, known: &[(&str, T)]) -> Result<T> {
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

/// Projections and what is needed to turn them into absorption.
pub struct Input<'a> {
    projections: &'a dyn Source,
    kind: InputKind,
    non_finite: NonFinite,
    rows: Range<usize>,
    flat_field: Option<FlatField>,
}

/// Values of a chunk of −ln, which is not computed in place.
const CHUNK: usize = 1024;

impl<'a> Input<'a> {
    /// Prepares the detector rows `rows` of `projections` (angle, row, column). `frames` are needed for counts and
    /// refused otherwise.
    ///
    /// # Errors
    /// Flats or darks missing, of another size, or not above one another in some pixel (unless non-finite values are
    /// accepted).
    pub fn new(
        projections: &'a dyn Source,
        kind: InputKind,
        frames: Option<Frames>,
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
            (InputKind::Counts, Some(frames)) => {
                for (name, frames) in [("flats", frames.flats), ("darks", frames.darks)] {
                    let d = frames.dims();
                    if (d.ny, d.nx) != (dims.ny, dims.nx) {
                        return Err(Error::data(format!(
                            "{name} of {} x {} pixels for projections of {} x {}",
                            d.nx, d.ny, dims.nx, dims.ny
                        ))
                        .help("give the flats and darks of this scan's detector and region"));
                    }
                }
                Some(FlatField::new(&frames, non_finite, &rows, dims.nx)?)
            }
            (_, Some(_)) => {
                return Err(Error::usage(format!("flats and darks given for {} values", kind.name()))
                    .help("say --input counts, or leave --flats and --darks out"));
            }
            (_, None) => None,
        };
        Ok(Input { projections, kind, non_finite, rows, flat_field })
    }

    /// The projections as they are stored.
    pub fn source(&self) -> &'a dyn Source {
        self.projections
    }

    /// What the projections hold.
    pub fn kind(&self) -> InputKind {
        self.kind
    }

    /// The value of air before −ln.
    pub fn air(&self) -> f32 {
        if self.kind == InputKind::Absorption { 0.0 } else { 1.0 }
    }

    /// Whether what is not finite stays.
    pub fn keeps(&self) -> bool {
        self.non_finite == NonFinite::Keep
    }

    /// Bytes of the flat field.
    pub fn bytes(&self) -> usize {
        self.flat_field.as_ref().map_or(0, FlatField::bytes)
    }

    /// Turns a block of counts into transmission, in place; other kinds stay.
    pub fn flat_field(&self, which: Range<usize>, rows: Range<usize>, block: &mut [f32]) {
        let Some(field) = &self.flat_field else { return };
        let columns = self.projections.dims().nx;
        let first_pixel = (rows.start - self.rows.start) * columns;
        block
            .par_chunks_mut(rows.len() * columns)
            .zip(which)
            .for_each(|(values, projection)| field.apply(projection, first_pixel, values));
    }

    /// Turns a block of transmission into absorption, in place, and applies the policy for what is not finite.
    /// Returns how many values of each row were not.
    ///
    /// # Errors
    /// With [`NonFinite::Error`], if there is one: how many there are and where the first lies, in order of angle, row
    /// and column.
    pub fn to_absorption(
        &self,
        isa: Isa,
        which: Range<usize>,
        rows: Range<usize>,
        block: &mut [f32],
    ) -> Result<Vec<u64>> {
        if self.kind != InputKind::Absorption {
            block.par_chunks_mut(rows.len() * self.projections.dims().nx).for_each(|values| {
                let mut transmission = [0.0f32; CHUNK];
                for values in values.chunks_mut(CHUNK) {
                    let transmission = &mut transmission[..values.len()];
                    transmission.copy_from_slice(values);
                    neg_ln_slice(isa, transmission, values);
                }
            });
        }
        self.accept(which, rows, block, 0.0)
    }

    /// Applies the policy for what is not finite to a block: `air` is what it becomes with [`NonFinite::Zero`].
    /// Returns how many values of each row were not finite.
    ///
    /// # Errors
    /// As [`to_absorption`](Self::to_absorption).
    pub fn accept(&self, which: Range<usize>, rows: Range<usize>, block: &mut [f32], air: f32) -> Result<Vec<u64>> {
        let columns = self.projections.dims().nx;
        let replace = (self.non_finite == NonFinite::Zero).then_some(air);
        let spoiled: Vec<Vec<u32>> =
            block.par_chunks_mut(rows.len() * columns).map(|values| places_not_finite(values, replace)).collect();
        let mut per_row = vec![0u64; rows.len()];
        for &place in spoiled.iter().flatten() {
            per_row[place as usize / columns] += 1;
        }
        let first = spoiled.iter().zip(which).find_map(|(places, angle)| places.first().map(|&p| (angle, p as usize)));
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
}

/// Places in one projection's rows that are not finite, ascending; they become `replace` if it is given.
fn places_not_finite(values: &mut [f32], replace: Option<f32>) -> Vec<u32> {
    if values.iter().all(|v| v.is_finite()) {
        return Vec::new();
    }
    let mut places = Vec::new();
    for (place, value) in values.iter_mut().enumerate().filter(|(_, v)| !v.is_finite()) {
        places.push(place as u32);
        if let Some(air) = replace {
            *value = air;
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recon::flat::Average;
    use crate::volume::{Dims, Memory};

    fn stack(frames: usize, rows: usize, columns: usize, value: impl Fn(usize, usize) -> f32) -> Memory {
        let pixels = rows * columns;
        let values = (0..frames * pixels).map(|i| value(i / pixels, i % pixels)).collect();
        Memory::new(Dims::new(frames, rows, columns).unwrap(), values).unwrap()
    }

    fn absorption(input: &Input, rows: Range<usize>, angles: usize, columns: usize) -> Result<Vec<f32>> {
        let mut block = vec![f32::NAN; angles * rows.len() * columns];
        input.source().read(0..angles, rows.clone(), &mut block)?;
        input.flat_field(0..angles, rows.clone(), &mut block);
        input.to_absorption(Isa::detect(), 0..angles, rows, &mut block)?;
        Ok(block)
    }

    #[test]
    fn counts_become_line_integrals() {
        // Flats 10 and 30 above dark 5: mean 20, gain 15. Counts 5 + 15·e^(−pixel/4).
        let counts = stack(3, 2, 4, |_, i| 5.0 + 15.0 * (-(i as f32) / 4.0).exp());
        let flats = stack(2, 2, 4, |f, _| if f == 0 { 10.0 } else { 30.0 });
        let darks = stack(3, 2, 4, |_, _| 5.0);
        for average in [Average::Mean, Average::Median] {
            let frames = Frames::new(&flats, &darks, average);
            let input = Input::new(&counts, InputKind::Counts, Some(frames), NonFinite::Error, 0..2).unwrap();
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
    fn what_has_no_logarithm_is_counted_located_and_refused() {
        let bad = stack(2, 2, 3, |f, i| if (f, i) == (1, 4) { -1.0 } else { 0.5 });
        let make = |policy| Input::new(&bad, InputKind::Transmission, None, policy, 0..2).unwrap();
        let error = absorption(&make(NonFinite::Error), 0..2, 2, 3).unwrap_err();
        assert!(error.to_string().contains("projection 1, row 1, column 1"), "{error}");
        let zero = make(NonFinite::Zero);
        assert_eq!(absorption(&zero, 0..2, 2, 3).unwrap()[10], 0.0);
        let mut block = vec![0.0; 12];
        zero.source().read(0..2, 0..2, &mut block).unwrap();
        assert_eq!(zero.to_absorption(Isa::detect(), 0..2, 0..2, &mut block).unwrap(), [0, 1]);
        assert!(absorption(&make(NonFinite::Keep), 0..2, 2, 3).unwrap()[10].is_nan());
    }

    #[test]
    fn impossible_flats_are_refused() {
        let counts = stack(2, 1, 2, |_, _| 3.0);
        let equal = stack(1, 1, 2, |_, _| 5.0);
        let small = stack(1, 1, 3, |_, _| 5.0);
        let make = |flats: &dyn Source, darks: &dyn Source, kind| {
            Input::new(&counts, kind, Some(Frames::new(flats, darks, Average::Mean)), NonFinite::Error, 0..1)
                .map(|_| ())
        };
        assert!(make(&equal, &equal, InputKind::Counts).unwrap_err().to_string().contains("in 2 of 2 pixels"));
        assert!(make(&small, &equal, InputKind::Counts).unwrap_err().to_string().contains("flats of 3 x 1"));
        assert_eq!(make(&equal, &equal, InputKind::Absorption).unwrap_err().fault().exit_code(), 2);
        let none = Input::new(&counts, InputKind::Counts, None, NonFinite::Error, 0..1);
        assert_eq!(none.map(|_| ()).unwrap_err().fault().exit_code(), 2);
        let rows = Input::new(&counts, InputKind::Absorption, None, NonFinite::Error, 0..2);
        assert!(rows.map(|_| ()).unwrap_err().to_string().contains("--rows 0:1"));
    }
}
