//! From what the detector wrote to line integrals: flat field and −ln.
//!
//! ```text
//! transmission  T = (P − D) / (F − D)      P counts, D dark field, F flat field, per pixel
//! absorption    A = −ln T                  = ∫ µ ds along the ray
//! ```
//!
//! Nothing is clipped and nothing is replaced unasked. What has no finite absorption (T = 0, T < 0, a number that is
//! not one) is counted, located and, by default, refused ([`NonFinite`]).
//!
//! Fields are the mean of their frames (f64 sum in frame order, rounded once to f32) or the median; T is two
//! subtractions and one division in f32, A is [`neg_ln_slice`], at most 0.75 ulp off. Every value has one order of
//! operations, whatever the number of threads, the instruction set and the block it is read in.
//!
//! Left out: flats that change during the scan, exposure ratios, zingers, cut-offs.

use crate::error::{Error, Result, nearest};
use crate::json::Json;
use crate::num::elementary::neg_ln_slice;
use crate::num::lanes::Isa;
use crate::volume::{Dims, Source};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;

/// What the values of the projections are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// Detector counts: flat field and −ln are still to do.
    Counts,
    /// Transmission: −ln is still to do.
    Transmission,
    /// Absorption (line integrals): nothing to do.
    Absorption,
}

impl InputKind {
    /// Names as `--input` takes them, in the order of the variants.
    pub const NAMES: [&'static str; 3] = ["counts", "transmission", "absorption"];

    /// The kind of a name; a usage error suggests the nearest one.
    pub fn parse(name: &str) -> Result<InputKind> {
        let kinds = [InputKind::Counts, InputKind::Transmission, InputKind::Absorption];
        Ok(kinds[position("input", name, &Self::NAMES)?])
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// How the frames of a flat or dark field become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Average {
    /// The mean: least noise.
    #[default]
    Mean,
    /// The median: blind to a few frames with zingers.
    Median,
}

impl Average {
    /// Names, in the order of the variants.
    pub const NAMES: [&'static str; 2] = ["mean", "median"];

    /// The average of a name; a usage error suggests the nearest one.
    pub fn parse(name: &str) -> Result<Average> {
        Ok([Average::Mean, Average::Median][position("average", name, &Self::NAMES)?])
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// What to do with values that have no finite absorption. They are counted whichever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// Refuse the scan.
    #[default]
    Error,
    /// Their absorption becomes 0, as if the ray had met nothing.
    Zero,
    /// They stay, and spoil their slice (and only that one).
    Keep,
}

impl NonFinite {
    /// Names as `--nonfinite` takes them, in the order of the variants.
    pub const NAMES: [&'static str; 3] = ["error", "zero", "keep"];

    /// The policy of a name; a usage error suggests the nearest one.
    pub fn parse(name: &str) -> Result<NonFinite> {
        let policies = [NonFinite::Error, NonFinite::Zero, NonFinite::Keep];
        Ok(policies[position("treatment of non-finite values", name, &Self::NAMES)?])
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// Place of a name among those known.
fn position(what: &str, name: &str, known: &[&str]) -> Result<usize> {
    known.iter().position(|&k| k == name).ok_or_else(|| {
        let hint = nearest(name, known.iter().copied()).map_or(String::new(), |n| format!("did you mean '{n}'? "));
        Error::usage(format!("unknown {what} '{name}'")).help(format!("{hint}known: {}", known.join(", ")))
    })
}

/// Flat and dark field of some detector rows.
pub struct Fields {
    rows: Range<usize>,
    columns: usize,
    /// D, `[row][column]`.
    dark: Vec<f32>,
    /// F − D; NaN where it is not positive (such pixels measure nothing).
    span: Vec<f32>,
    dead: u64,
}

impl Fields {
    /// Reads the fields of detector `rows` of a scan whose projections have shape `projections`.
    ///
    /// `darks` of `None` means a detector without dark signal, D = 0: the caller must have been told so.
    /// A pixel with F − D ≤ 0 (or not a number) measures nothing. With [`NonFinite::Error`] one is enough to refuse
    /// the scan (bad data); otherwise all its transmissions are not a number, and are counted with the others.
    pub fn load(
        flats: &dyn Source,
        darks: Option<&dyn Source>,
        projections: Dims,
        rows: Range<usize>,
        average: Average,
        policy: NonFinite,
    ) -> Result<Fields> {
        for (name, field) in [("flats", Some(flats)), ("darks", darks)] {
            if let Some(dims) = field.map(Source::dims)
                && (dims.ny, dims.nx) != (projections.ny, projections.nx)
            {
                return Err(Error::data(format!(
                    "the {name} have {} x {} pixels, the projections {} x {}",
                    dims.nx, dims.ny, projections.nx, projections.ny
                ))
                .help(format!("give {name} of the same detector, binning and region as the projections")));
            }
        }
        let columns = projections.nx;
        let flat = average_frames(flats, rows.clone(), average)?;
        let dark = match darks {
            Some(darks) => average_frames(darks, rows.clone(), average)?,
            None => vec![0.0; flat.len()],
        };
        let mut span: Vec<f32> = flat.iter().zip(&dark).map(|(f, d)| f - d).collect();
        let is_dead = |s: f32| s <= 0.0 || !s.is_finite();
        let dead = span.iter().filter(|&&s| is_dead(s)).count() as u64;
        if policy == NonFinite::Error
            && let Some(i) = span.iter().position(|&s| is_dead(s))
        {
            return Err(Error::data(format!(
                "flat field not above dark field at {dead} of {} pixels of rows {} to {}; first at row {}, column {} \
                 (flat {}, dark {})",
                span.len(),
                rows.start,
                rows.end - 1,
                rows.start + i / columns,
                i % columns,
                flat[i],
                dark[i]
            ))
            .help("check that flats and darks are not swapped or the same file; --nonfinite zero or keep goes on"));
        }
        span.iter_mut().filter(|s| is_dead(**s)).for_each(|s| *s = f32::NAN);
        Ok(Fields { rows, columns, dark, span, dead })
    }

    /// Pixels of these rows whose flat field is not above the dark field.
    pub fn dead_pixels(&self) -> u64 {
        self.dead
    }

    /// D and F − D of a detector row.
    fn row(&self, row: usize) -> (&[f32], &[f32]) {
        let at = (row - self.rows.start) * self.columns;
        (&self.dark[at..at + self.columns], &self.span[at..at + self.columns])
    }
}

/// Mean or median over the frames, `[row][column]`.
fn average_frames(frames: &dyn Source, rows: Range<usize>, average: Average) -> Result<Vec<f32>> {
    /// Numbers read at a time for medians: 64 MiB.
    const BLOCK: usize = 1 << 24;
    let dims = frames.dims();
    let pixels = rows.len() * dims.nx;
    match average {
        Average::Mean => {
            let (mut sum, mut frame) = (vec![0.0f64; pixels], vec![0.0f32; pixels]);
            for z in 0..dims.nz {
                frames.read(z..z + 1, rows.clone(), &mut frame)?;
                sum.iter_mut().zip(&frame).for_each(|(s, &v)| *s += f64::from(v));
            }
            Ok(sum.into_iter().map(|s| (s / dims.nz as f64) as f32).collect())
        }
        Average::Median => {
            let mut result = Vec::with_capacity(pixels);
            let height = (BLOCK / (dims.nz * dims.nx)).max(1);
            for first in rows.clone().step_by(height) {
                let some = first..(first + height).min(rows.end);
                let plane = some.len() * dims.nx;
                let mut block = vec![0.0; dims.nz * plane];
                frames.read(0..dims.nz, some, &mut block)?;
                let mut values = vec![0.0; dims.nz];
                for pixel in 0..plane {
                    values.iter_mut().enumerate().for_each(|(z, v)| *v = block[z * plane + pixel]);
                    result.push(median(&mut values));
                }
            }
            Ok(result)
        }
    }
}

/// The median of at least one number (of an even count, the mean of the two in the middle); NaN if one is NaN.
fn median(values: &mut [f32]) -> f32 {
    if values.iter().any(|v| v.is_nan()) {
        return f32::NAN;
    }
    values.sort_unstable_by(f32::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { 0.5 * (values[half - 1] + values[half]) }
}

/// A value without finite absorption.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    /// Index of the projection.
    pub projection: usize,
    /// Detector row.
    pub row: usize,
    /// Detector column.
    pub column: usize,
    /// The transmission found there (the absorption, if that was the input).
    pub value: f32,
}

/// Values without finite absorption, of all blocks so far.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Transmission exactly 0: no photon came through.
    pub zero: u64,
    /// Transmission below 0: less than the dark field.
    pub negative: u64,
    /// Not a number or infinite already before −ln, or a pixel whose flat field is not above the dark field.
    pub not_finite: u64,
    /// Count by detector row; rows without are absent.
    pub per_row: BTreeMap<usize, u64>,
    /// The first [`Report::SPOTS`] in the order (row, projection, column), if blocks come in ascending rows.
    pub first: Vec<Spot>,
}

impl Report {
    /// How many places are kept.
    pub const SPOTS: usize = 8;

    /// All of them.
    pub fn total(&self) -> u64 {
        self.zero + self.negative + self.not_finite
    }

    /// For the manifest: counts by cause and by row, and the first places.
    pub fn to_json(&self) -> Json {
        let rows = self.per_row.iter().map(|(row, &n)| (row.to_string(), Json::from(n)));
        let spot = |s: &Spot| {
            Json::obj([
                ("projection", Json::from(s.projection as u64)),
                ("row", Json::from(s.row as u64)),
                ("column", Json::from(s.column as u64)),
                // NaN and infinity are not numbers of JSON.
                ("value", Json::from(s.value.to_string())),
            ])
        };
        Json::obj([
            ("total", Json::from(self.total())),
            ("transmission_zero", Json::from(self.zero)),
            ("transmission_negative", Json::from(self.negative)),
            ("input_not_finite", Json::from(self.not_finite)),
            ("per_row", Json::obj(rows)),
            ("first", Json::Arr(self.first.iter().map(spot).collect())),
        ])
    }

    fn add(&mut self, spot: Spot) {
        match spot.value {
            v if !v.is_finite() => self.not_finite += 1,
            v if v < 0.0 => self.negative += 1,
            _ => self.zero += 1,
        }
        *self.per_row.entry(spot.row).or_default() += 1;
    }
}

/// Turns a block of projections into absorption, in place.
///
/// `block` is `[projection][row][column]`, all projections from the first on, of detector `rows`; `fields` must cover
/// these rows and are needed for [`InputKind::Counts`] only. What has no finite absorption is added to `report`.
///
/// # Errors
/// Bad data: non-finite values under [`NonFinite::Error`], with their count by cause and the first place.
/// A caller's bug: a block, or fields, of another shape.
pub fn to_absorption(
    isa: Isa,
    kind: InputKind,
    fields: Option<&Fields>,
    columns: usize,
    rows: Range<usize>,
    policy: NonFinite,
    block: &mut [f32],
    report: &mut Report,
) -> Result<()> {
    let plane = rows.len() * columns;
    if plane == 0 || !block.len().is_multiple_of(plane) {
        return Err(Error::bug(format!("a block of {} values for planes of {plane}", block.len())));
    }
    let fields = match (kind, fields) {
        (InputKind::Counts, None) => return Err(Error::bug("counts without flat field")),
        (InputKind::Counts, Some(f)) if f.columns != columns || f.rows.start > rows.start || f.rows.end < rows.end => {
            return Err(Error::bug(format!("fields of rows {:?} for rows {rows:?}", f.rows)));
        }
        (InputKind::Counts, fields) => fields,
        _ => None,
    };

    // Places per projection: (row, column, value), in that order.
    let found: Vec<Vec<Spot>> = block
        .par_chunks_mut(plane)
        .enumerate()
        .map(|(projection, plane)| {
            let mut spots = Vec::new();
            let mut before = vec![0.0; columns];
            for (values, row) in plane.chunks_exact_mut(columns).zip(rows.clone()) {
                match fields.map(|f| f.row(row)) {
                    Some((dark, span)) => {
                        for j in 0..columns {
                            before[j] = (values[j] - dark[j]) / span[j];
                        }
                    }
                    None => before.copy_from_slice(values),
                }
                match kind {
                    InputKind::Absorption => {}
                    _ => neg_ln_slice(isa, &before, values),
                }
                if values.iter().any(|v| !v.is_finite()) {
                    for column in 0..columns {
                        if !values[column].is_finite() {
                            spots.push(Spot { projection, row, column, value: before[column] });
                            if policy == NonFinite::Zero {
                                values[column] = 0.0;
                            }
                        }
                    }
                }
            }
            spots
        })
        .collect();

    let mut here = Report::default();
    let mut spots: Vec<Spot> = found.into_iter().flatten().collect();
    spots.iter().for_each(|&s| here.add(s));
    spots.sort_by_key(|s| (s.row, s.projection, s.column));
    spots.truncate(Report::SPOTS);
    if policy == NonFinite::Error
        && let Some(first) = spots.first()
    {
        let what = match kind {
            InputKind::Absorption => "absorption",
            _ => "transmission",
        };
        return Err(Error::data(format!(
            "{} values of detector rows {} to {} have no finite absorption: transmission 0 at {}, below 0 at {}, \
             not a finite number at {}; first at projection {}, row {}, column {} ({what} {})",
            here.total(),
            rows.start,
            rows.end - 1,
            here.zero,
            here.negative,
            here.not_finite,
            first.projection,
            first.row,
            first.column,
            first.value
        ))
        .help("check flats, darks and --input; --nonfinite zero sets them to 0, --nonfinite keep leaves them"));
    }
    report.zero += here.zero;
    report.negative += here.negative;
    report.not_finite += here.not_finite;
    here.per_row.into_iter().for_each(|(row, n)| *report.per_row.entry(row).or_default() += n);
    let room = Report::SPOTS.saturating_sub(report.first.len());
    report.first.extend(spots.into_iter().take(room));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;
    use crate::num::elementary::ln;
    use crate::volume::Memory;

    fn stack(nz: usize, ny: usize, nx: usize, value: impl Fn(usize, usize, usize) -> f32) -> Memory {
        let values = (0..nz * ny * nx).map(|i| value(i / (ny * nx), i / nx % ny, i % nx)).collect();
        Memory::new(Dims::new(nz, ny, nx).unwrap(), values).unwrap()
    }

    const ROWS: usize = 5;
    const COLUMNS: usize = 37;

    fn counts() -> (Memory, Memory, Memory) {
        let flat = stack(4, ROWS, COLUMNS, |z, y, x| 1000.0 + (10 * y + x) as f32 + [0.0, 3.0, 40.0, 1.0][z]);
        let dark = stack(3, ROWS, COLUMNS, |z, y, _| 90.0 + y as f32 + [4.0, -1.0, 0.0][z]);
        let scan = stack(6, ROWS, COLUMNS, |z, y, x| 200.0 + (37 * z + 11 * y + 7 * x) as f32);
        (flat, dark, scan)
    }

    fn run(policy: NonFinite, height: usize, scan: &Memory, isa: Isa) -> Result<(Vec<f32>, Report)> {
        let (flat, dark, _) = counts();
        let dims = scan.dims();
        let mut all = vec![0.0; dims.voxels()];
        let mut report = Report::default();
        for first in (0..ROWS).step_by(height) {
            let rows = first..(first + height).min(ROWS);
            let fields = Fields::load(&flat, Some(&dark), dims, rows.clone(), Average::Mean, policy)?;
            let mut block = vec![0.0; dims.nz * rows.len() * COLUMNS];
            scan.read(0..dims.nz, rows.clone(), &mut block)?;
            to_absorption(
                isa,
                InputKind::Counts,
                Some(&fields),
                COLUMNS,
                rows.clone(),
                policy,
                &mut block,
                &mut report,
            )?;
            for (z, plane) in block.chunks_exact(rows.len() * COLUMNS).enumerate() {
                let at = (z * ROWS + rows.start) * COLUMNS;
                all[at..at + plane.len()].copy_from_slice(plane);
            }
        }
        Ok((all, report))
    }

    #[test]
    fn counts_become_line_integrals_with_the_same_bits_in_any_block() {
        let (_, _, scan) = counts();
        let (whole, report) = run(NonFinite::Error, ROWS, &scan, Isa::detect()).unwrap();
        assert_eq!(report.total(), 0);
        for (i, &got) in whole.iter().enumerate() {
            let (y, x) = (i / COLUMNS % ROWS, i % COLUMNS);
            let (f, d) = (1011.0 + (10 * y + x) as f64, 91.0 + y as f64);
            let want = -ln((f64::from(scan.values()[i]) - d) / (f - d));
            // T carries the rounding of a division, A of a logarithm: 2 ulp of 1, the size of A here.
            assert!((f64::from(got) - want).abs() < 2.5e-7, "{i}: {got} {want}");
        }
        for height in [1, 2, 3] {
            for isa in Isa::available() {
                let (part, _) = run(NonFinite::Error, height, &scan, isa).unwrap();
                assert!(part.iter().zip(&whole).all(|(a, b)| a.to_bits() == b.to_bits()), "{height} {}", isa.name());
            }
        }
    }

    #[test]
    fn the_median_ignores_a_zinger_and_the_mean_does_not() {
        let (flat, dark, scan) = counts();
        let load = |average| Fields::load(&flat, Some(&dark), scan.dims(), 1..3, average, NonFinite::Error).unwrap();
        // Flat frames differ by 0, 3, 40, 1 and darks by 4, −1, 0: medians 2 and 0, means 11 and 1.
        assert_eq!(load(Average::Median).row(2).1[5], 1025.0 + 2.0 - 92.0);
        assert_eq!(load(Average::Median).row(2).0[5], 92.0);
        assert_eq!(load(Average::Mean).row(1).1[0], 1010.0 + 11.0 - 92.0);
        assert!(median(&mut [1.0, f32::NAN, 2.0]).is_nan());
        assert_eq!(median(&mut [f32::INFINITY, 1.0, 2.0]), 2.0);
    }

    /// Projections with a zero, a negative and a non-finite transmission.
    fn spoilt() -> Memory {
        let (_, _, scan) = counts();
        let mut values = scan.values().to_vec();
        let at = |z: usize, y: usize, x: usize| (z * ROWS + y) * COLUMNS + x;
        values[at(3, 1, 20)] = 92.0;
        values[at(2, 4, 36)] = 10.0;
        values[at(5, 1, 0)] = f32::NAN;
        values[at(0, 4, 1)] = f32::INFINITY;
        Memory::new(scan.dims(), values).unwrap()
    }

    #[test]
    fn values_without_absorption_are_refused_counted_and_located() {
        let scan = spoilt();
        let error = run(NonFinite::Error, ROWS, &scan, Isa::detect()).unwrap_err();
        assert_eq!(error.fault(), Fault::Data);
        let text = error.to_string();
        assert!(text.starts_with("4 values of detector rows 0 to 4"), "{text}");
        assert!(
            text.contains("0 at 1, below 0 at 1, not a finite number at 2; first at projection 3, row 1, column 20")
        );

        let (clean, _) = run(NonFinite::Error, ROWS, &counts().2, Isa::detect()).unwrap();
        for (policy, height) in [(NonFinite::Zero, 5), (NonFinite::Zero, 2), (NonFinite::Keep, 5), (NonFinite::Keep, 1)]
        {
            let (values, report) = run(policy, height, &scan, Isa::detect()).unwrap();
            assert_eq!((report.zero, report.negative, report.not_finite), (1, 1, 2));
            assert_eq!(report.per_row, BTreeMap::from([(1, 2), (4, 2)]));
            let places: Vec<_> = report.first.iter().map(|s| (s.row, s.projection, s.column)).collect();
            assert_eq!(places, [(1, 3, 20), (1, 5, 0), (4, 0, 1), (4, 2, 36)]);
            let changed: Vec<usize> =
                (0..values.len()).filter(|&i| values[i].to_bits() != clean[i].to_bits()).collect();
            assert_eq!(changed.len(), 4);
            for i in changed {
                assert_eq!(values[i] == 0.0, policy == NonFinite::Zero);
                assert_eq!(values[i].is_finite(), policy == NonFinite::Zero);
            }
            let json = report.to_json().to_canonical();
            assert!(json.contains("\"input_not_finite\": 2") && json.contains("\"4\": 2"), "{json}");
        }
    }

    #[test]
    fn pixels_without_light_are_refused_or_counted() {
        let (flat, _, scan) = counts();
        let load = |policy| Fields::load(&flat, Some(&flat), scan.dims(), 2..4, Average::Mean, policy);
        let error = load(NonFinite::Error).err().unwrap();
        assert_eq!(error.fault(), Fault::Data);
        assert!(error.to_string().contains("at 74 of 74 pixels of rows 2 to 3; first at row 2, column 0"), "{error}");
        // A span below 0 would turn counts below the dark field into a fine-looking transmission.
        let bright = stack(1, ROWS, COLUMNS, |_, y, x| if (y, x) == (3, 4) { 5000.0 } else { 90.0 });
        let fields = Fields::load(&flat, Some(&bright), scan.dims(), 2..4, Average::Mean, NonFinite::Keep).unwrap();
        assert_eq!(fields.dead_pixels(), 1);
        let mut block = vec![300.0; 6 * 2 * COLUMNS];
        let mut report = Report::default();
        let (isa, counts) = (Isa::detect(), InputKind::Counts);
        to_absorption(isa, counts, Some(&fields), COLUMNS, 2..4, NonFinite::Keep, &mut block, &mut report).unwrap();
        assert_eq!((report.not_finite, report.per_row.get(&3)), (6, Some(&6)));
        assert!(block[COLUMNS + 4].is_nan() && block[COLUMNS + 3].is_finite());
    }

    #[test]
    fn transmission_and_absorption_skip_what_is_done() {
        let mut transmission = vec![1.0, 0.5, 0.0, -1.0];
        let mut report = Report::default();
        let mut go = |kind, block: &mut Vec<f32>, policy| {
            to_absorption(Isa::detect(), kind, None, 2, 7..8, policy, block, &mut report)
        };
        go(InputKind::Transmission, &mut transmission, NonFinite::Keep).unwrap();
        assert_eq!(transmission[..3], [0.0, std::f32::consts::LN_2, f32::INFINITY]);
        assert!(transmission[3].is_nan());
        let mut absorption = vec![-0.5, 0.0, f32::NAN, 3.0];
        assert!(go(InputKind::Absorption, &mut absorption.clone(), NonFinite::Error).is_err());
        go(InputKind::Absorption, &mut absorption, NonFinite::Zero).unwrap();
        assert_eq!(absorption, [-0.5, 0.0, 0.0, 3.0]);
        assert_eq!(go(InputKind::Counts, &mut absorption, NonFinite::Zero).unwrap_err().fault(), Fault::Bug);
        assert_eq!((report.zero, report.negative, report.not_finite), (1, 1, 1));
    }

    #[test]
    fn shapes_and_names_are_checked() {
        let (flat, _, scan) = counts();
        let narrow = stack(1, ROWS, COLUMNS - 1, |_, _, _| 1.0);
        let error = Fields::load(&flat, Some(&narrow), scan.dims(), 0..1, Average::Mean, NonFinite::Error);
        assert!(error.err().unwrap().to_string().contains("the darks have 36 x 5 pixels, the projections 37 x 5"));
        for (i, name) in InputKind::NAMES.iter().enumerate() {
            assert_eq!(InputKind::parse(name).unwrap() as usize, i);
            assert_eq!(NonFinite::parse(NonFinite::NAMES[i]).unwrap().name(), NonFinite::NAMES[i]);
        }
        assert!(InputKind::parse("count").unwrap_err().to_string().contains("did you mean 'counts'"));
        assert_eq!(Average::parse("median").unwrap(), Average::Median);
        assert_eq!(NonFinite::parse("ignore").unwrap_err().fault(), Fault::Usage);
    }

    #[test]
    fn it_agrees_with_tomopys_normalize() {
        let Some(folder) = crate::testing::data("tomopy-fixtures") else { return };
        // A .npy of format 1.0: magic, header length, header, then the numbers.
        let numbers = |name: &str| -> Vec<f32> {
            let bytes = std::fs::read(folder.join(name)).unwrap();
            let start = 10 + u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
            let header = String::from_utf8_lossy(&bytes[10..start]).to_string();
            let words = bytes[start..].chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
            match (header.contains("'<i4'"), header.contains("'<f4'")) {
                (true, _) => words.map(|b| i32::from_le_bytes(b) as f32).collect(),
                (_, true) => words.map(f32::from_le_bytes).collect(),
                _ => panic!("{name}: {header}"),
            }
        };
        let (scan, flat, dark, want) =
            (numbers("tomo.npy"), numbers("flat.npy"), numbers("dark.npy"), numbers("normalize.npy"));
        let dims = Dims::new(SHAPE.0, SHAPE.1, SHAPE.2).unwrap();
        let field = |v: Vec<f32>| Memory::new(Dims::new(v.len() / dims.slice(), dims.ny, dims.nx).unwrap(), v).unwrap();
        let fields =
            Fields::load(&field(flat), Some(&field(dark)), dims, 0..dims.ny, Average::Mean, NonFinite::Error).unwrap();
        for (i, &p) in scan.iter().enumerate() {
            let (dark, span) = fields.row(i / dims.nx % dims.ny);
            let t = (p - dark[i % dims.nx]) / span[i % dims.nx];
            // TomoPy sums frames in f32: an ulp or two.
            assert!((t - want[i]).abs() <= 1e-6 * want[i].abs().max(1.0), "{i}: {t} {}", want[i]);
        }
    }

    /// Shape of TomoPy's fixture `tomo.npy`.
    const SHAPE: (usize, usize, usize) = (16, 8, 46);
}
