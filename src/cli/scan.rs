//! The options by which commands take a scan (`recon`, `trace gridrec`), their checks, and the opened scan.
//!
//! Two steps. [`ScanArgs::from_settings`] parses and checks what can be checked without a file; [`ScanArgs::open`]
//! opens the files and checks them against each other: one angle per projection, flats and darks of the detector's
//! shape, rows and axis on the detector, and an answer to "are these counts?" that is never guessed.

use crate::cli::Context;
use crate::cli::options::{Opt, Settings, Takes};
use crate::cli::prepare::{PrepareArgs, Prepared};
use crate::cli::values::{self, Center, Rows};
use crate::error::{Error, Result};
use crate::exchange::{self, Scan};
use crate::recon::filter::Filter;
use crate::recon::flat::Average;
use crate::recon::geometry::{Angles, Axis};
use crate::recon::normalize::{InputKind, NonFinite};
use crate::recon::scan::Algorithm;
use crate::units::{AngleUnit, Micrometre};
use crate::volume::Source;
use std::ops::Range;
use std::path::PathBuf;

/// Options that say what the scan is.
pub const SCAN_OPTIONS: &[Opt] = &[
    Opt::new(
        "input",
        Takes::Choice(&["counts", "transmission", "absorption"]),
        "What the projections hold: detector counts, I/I0, or -ln(I/I0) [default: counts if there are flats and darks]",
    ),
    Opt::new("flats", Takes::Value("FILE"), "Flat (white) fields: .npy or native; replaces those of the scan"),
    Opt::new("darks", Takes::Value("FILE"), "Dark fields: .npy or native; replaces those of the scan"),
    Opt::new("flat-average", Takes::Choice(&["mean", "median"]), "How flats and darks are averaged").default("mean"),
    Opt::new(
        "theta",
        Takes::Value("FILE"),
        "Projection angles, one per projection: .npy or text; replaces those of the scan",
    ),
    Opt::new(
        "theta-range",
        Takes::Number("A:B"),
        "Use the angles A to B of --theta, B not included: a list may hold flats' and darks' angles, too",
    ),
    Opt::new("theta-unit", Takes::Choice(&["deg", "rad"]), "Unit of the angles [default: what the file says]"),
    Opt::new(
        "center",
        Takes::Number("METHOD|PIXELS|FILE"),
        "Rotation axis: vo (Vo's method on the middle rows), auto (the same, else what bands of rows agree on), tilt (a line through the axes of all bands), correlation (opposite views), entropy (of the slice), a pixel index (first pixel 0), or a file with one per row",
    )
    .default("auto"),
    Opt::new("center-range", Takes::Number("A:B"), "Where vo and entropy look, in pixels from the middle [default: -50:50]"),
    Opt::new(
        "pixel",
        Takes::Number("LENGTH"),
        "Detector pixel size with its unit, such as 1.33um: the result is then in 1/cm",
    ),
    Opt::new(
        "nonfinite",
        Takes::Choice(&["error", "zero", "keep"]),
        "What to do where -ln gives no number (dead pixels): stop, set 0, or keep NaN",
    )
    .default("error"),
];

/// Options that say how to reconstruct.
pub const METHOD_OPTIONS: &[Opt] = &[
    Opt::new(
        "filter",
        Takes::Value("NAME"),
        "Filter: none, ramlak, shepp, cosine, hann, hamming, parzen, butterworth or custom",
    )
    .default("shepp"),
    Opt::new("filter-par", Takes::Number("A,B"), "Parameters of the filter: cutoff (cycles per pixel), order"),
    Opt::new(
        "filter-file",
        Takes::Value("FILE"),
        "Response of the filter 'custom', from frequency 0 to Nyquist: .npy or text",
    ),
    Opt::new("gridding-error", Takes::Number("E"), "Largest relative error that gridding may make at the field's edge")
        .default("1e-3"),
];

/// The resolved options of a scan and a method.
#[derive(Clone, Debug)]
pub struct ScanArgs {
    /// What the projections hold, if said.
    pub input: Option<InputKind>,
    /// Flats that replace the scan's own.
    pub flats: Option<PathBuf>,
    /// Darks that replace the scan's own.
    pub darks: Option<PathBuf>,
    /// How both are averaged.
    pub flat_average: Average,
    /// Angles that replace the scan's own.
    pub theta: Option<PathBuf>,
    /// Which of the angles of [`ScanArgs::theta`], if not all.
    pub theta_range: Option<Rows>,
    /// Unit of the angles, if said.
    pub theta_unit: Option<AngleUnit>,
    /// Rotation axis.
    pub center: Center,
    /// Where Vo's method looks, in pixels from the middle; its own range if `None`.
    pub center_range: Option<[f64; 2]>,
    /// Pixel size, if said.
    pub pixel: Option<Micrometre>,
    /// What happens to values that are no numbers.
    pub nonfinite: NonFinite,
    /// Method; of `gridrec` also its largest relative gridding error.
    pub algorithm: Algorithm,
    /// Filter with its parameters; `None` for one whose response is in [`ScanArgs::filter_file`].
    pub filter: Option<Filter>,
    /// File with the response of the filter `custom`.
    pub filter_file: Option<PathBuf>,
    /// What is done to the projections before.
    pub prepare: PrepareArgs,
}

/// A scan, opened and checked.
pub struct OpenScan {
    /// Projections with the flats and darks in force (none unless the input is counts), and the file's notes.
    pub scan: Scan,
    /// What the projections hold.
    pub kind: InputKind,
    /// Projection angles.
    pub angles: Angles,
    /// Detector rows to reconstruct.
    pub rows: Range<usize>,
    /// Rotation axis; `None` is to be found by Vo's method.
    pub axis: Option<Axis>,
    /// Pixel size, if known.
    pub pixel: Option<Micrometre>,
    /// Filter.
    pub filter: Filter,
    /// Role and path of the files that gave numbers besides the scan's own: for the manifest's list of inputs.
    pub side_files: Vec<(&'static str, PathBuf)>,
    /// What is done to the projections before, resolved.
    pub prepared: Prepared,
}

impl ScanArgs {
    /// Parses the options [`SCAN_OPTIONS`] and [`METHOD_OPTIONS`] for the method of a name.
    pub fn from_settings(settings: &Settings, algorithm: &str) -> Result<ScanArgs> {
        let gridding_error = settings.parsed("gridding-error", values::positive)?;
        let filter_file = settings.path("filter-file")?;
        let args = ScanArgs {
            input: settings.parse("input", InputKind::parse)?,
            flats: settings.path("flats")?,
            darks: settings.path("darks")?,
            flat_average: settings.parsed("flat-average", Average::parse)?,
            theta: settings.path("theta")?,
            theta_range: settings.parse("theta-range", Rows::parse)?,
            theta_unit: settings
                .parse("theta-unit", |w| Ok(if w == "rad" { AngleUnit::Radian } else { AngleUnit::Degree }))?,
            center: settings.parsed("center", Center::parse)?,
            center_range: match settings.parse("center-range", values::ranges)?.as_deref() {
                None => None,
                Some([range]) => Some(*range),
                Some(_) => return Err(Error::usage("--center-range: one range").help("write from:to, such as -50:50")),
            },
            pixel: settings.parse("pixel", values::length)?,
            nonfinite: settings.parsed("nonfinite", NonFinite::parse)?,
            algorithm: Algorithm::parse(algorithm, gridding_error)?,
            filter: match filter_file {
                Some(_) => None,
                None => Some(filter_of(settings)?),
            },
            filter_file,
            prepare: PrepareArgs::default(),
        };
        args.check(settings)?;
        Ok(args)
    }

    /// Options that contradict each other.
    fn check(&self, settings: &Settings) -> Result<()> {
        if self.filter_file.is_some() {
            if settings.text("filter")? != Some("custom") {
                return Err(Error::usage("--filter-file is the response of the filter 'custom'")
                    .help("add --filter custom, or leave --filter-file out"));
            }
            if settings.is_given("filter-par")? {
                return Err(Error::usage("--filter-file and --filter-par both give the custom response")
                    .help("give one of them"));
            }
        }
        if self.theta_range.is_some() && self.theta.is_none() {
            return Err(Error::usage("--theta-range without --theta").help("add --theta FILE, or leave it out"));
        }
        let fields = self.flats.is_some() || self.darks.is_some();
        if fields && matches!(self.input, Some(InputKind::Transmission | InputKind::Absorption)) {
            return Err(Error::usage("--flats and --darks belong to counts, and --input says these are none")
                .help("leave them out, or use --input counts"));
        }
        if !matches!(self.algorithm, Algorithm::Gridrec(_)) && settings.is_given("gridding-error")? {
            return Err(Error::usage(format!("--gridding-error has no meaning for {}", self.algorithm.name()))
                .help("leave it out, or use --algorithm gridrec"));
        }
        Ok(())
    }

    /// Opens the scan at `path` and checks it against the options. `rows` is a range of detector rows, all if `None`.
    pub fn open(&self, path: &std::path::Path, rows: Option<Rows>, context: &Context) -> Result<OpenScan> {
        let settings = &context.settings;
        let mut scan = exchange::open_scan(path, context.io)?;
        for note in &scan.notes {
            context.talk.note(note);
        }
        let dims = scan.projections.dims();
        let mut side_files = Vec::new();
        let mut positions = scan.flat_positions.take();

        let open_fields = |path: &PathBuf, name: &str| -> Result<Box<dyn Source>> {
            exchange::open_stack(path, context.io).map_err(|e| settings.blame(name, e))
        };
        if let Some(path) = &self.flats {
            (scan.flats, positions) = (Some(open_fields(path, "flats")?), None);
        }
        if let Some(path) = &self.darks {
            scan.darks = Some(open_fields(path, "darks")?);
        }
        if let Some(after) = self.prepare.flats_after() {
            let Some(before) = scan.flats.take() else {
                return Err(Error::usage("--flats-after without flats before the scan").help("give them with --flats"));
            };
            let after = exchange::open_stack(after, context.io).map_err(|e| settings.blame("flats-after", e))?;
            let (joined, known) =
                PrepareArgs::join_flats(before, after, dims.nz).map_err(|e| settings.blame("flats-after", e))?;
            (scan.flats, positions) = (Some(joined), Some(known));
        }
        let kind = self.kind(&scan).map_err(|e| e.at(path))?;
        self.prepare.check_kind(kind)?;
        if kind != InputKind::Counts {
            (scan.flats, scan.darks) = (None, None);
        }
        for (fields, name, given) in [(&scan.flats, "flats", &self.flats), (&scan.darks, "darks", &self.darks)] {
            let Some(fields) = fields else { continue };
            let have = fields.dims();
            if (have.ny, have.nx) != (dims.ny, dims.nx) {
                return Err(Error::data(format!(
                    "the {name} have {} x {} pixels, the projections {} x {}",
                    have.nx, have.ny, dims.nx, dims.ny
                ))
                .help("flats and darks come from the same detector window as the projections")
                .at(given.as_deref().unwrap_or(path)));
            }
        }

        let mut angles = self.angles(&scan, path, context, &mut side_files)?;
        angles.check_count(dims.nz).map_err(|e| e.at(self.theta.as_deref().unwrap_or(path)))?;

        let axis = match &self.center {
            Center::Auto | Center::Vo | Center::Correlation | Center::Entropy | Center::Tilt => None,
            Center::Pixel(pixel) => Some(Axis::Fixed(*pixel)),
            Center::File(file) => {
                let values = exchange::open_vector(file).map_err(|e| settings.blame("center", e))?;
                side_files.push(("center", file.clone()));
                Some(Axis::PerRow(values))
            }
        };
        if let Some(axis) = &axis {
            let blamed = |e: Error| settings.blame("center", e);
            axis.check(dims.ny, dims.nx).map_err(|e| match &self.center {
                Center::File(file) => blamed(e).at(file),
                _ => blamed(e),
            })?;
        }

        let filter = match (&self.filter, &self.filter_file) {
            (Some(filter), _) => filter.clone(),
            (None, Some(file)) => {
                let response = exchange::open_vector(file).map_err(|e| settings.blame("filter-file", e))?;
                side_files.push(("filter", file.clone()));
                Filter::parse("custom", &response).map_err(|e| settings.blame("filter-file", e.at(file)))?
            }
            (None, None) => Filter::default(),
        };
        let mut pixel = self.pixel.or(scan.pixel);
        if let (Some(said), Some(stored)) = (self.pixel, scan.pixel)
            && said != stored
        {
            context.talk.warn(format!("--pixel {} um replaces the file's {} um", said.0, stored.0));
        }
        let (prepared, axis) = self.prepare.apply(&mut scan, &mut angles, axis, positions, &mut pixel)?;
        let dims = scan.projections.dims();
        let rows = match rows {
            Some(rows) => rows.within(dims.ny).map_err(|e| settings.blame("rows", e))?,
            None => 0..dims.ny,
        };
        if let Some(axis) = &axis {
            axis.check(dims.ny, dims.nx).map_err(|e| settings.blame("center", e))?;
        }
        Ok(OpenScan { scan, kind, angles, rows, axis, pixel, filter, side_files, prepared })
    }

    /// What the projections hold: as said, or counts when flats and darks are there. Never guessed from the values.
    fn kind(&self, scan: &Scan) -> Result<InputKind> {
        let missing = match (&scan.flats, &scan.darks) {
            (Some(_), Some(_)) => None,
            (None, Some(_)) => Some("flats"),
            (Some(_), None) => Some("darks"),
            (None, None) => Some("flats and darks"),
        };
        match (self.input, missing) {
            (Some(InputKind::Counts), Some(what)) => {
                Err(Error::usage(format!("--input counts needs {what}, and the scan has none"))
                    .help("give --flats FILE --darks FILE"))
            }
            (Some(kind), _) => Ok(kind),
            (None, None) => Ok(InputKind::Counts),
            (None, Some(what)) => Err(Error::usage(format!("the scan has no {what}: are its projections counts?"))
                .help(
                    "counts: give --flats FILE --darks FILE; already divided by the flats: --input transmission; \
                 already -ln: --input absorption",
                )),
        }
    }

    fn angles(
        &self,
        scan: &Scan,
        path: &std::path::Path,
        context: &Context,
        side_files: &mut Vec<(&'static str, PathBuf)>,
    ) -> Result<Angles> {
        let (values, stored_unit, source) = match (&self.theta, &scan.theta) {
            (Some(file), _) => {
                let mut values = exchange::open_vector(file).map_err(|e| context.settings.blame("theta", e))?;
                if let Some(range) = self.theta_range {
                    let range = range.within(values.len()).map_err(|_| {
                        Error::usage(format!("--theta-range leaves the list of {} angles", values.len()))
                            .help(format!("the list has the angles 0:{}", values.len()))
                            .at(file)
                    })?;
                    values = values[range].to_vec();
                }
                side_files.push(("theta", file.clone()));
                (values, None, file.as_path())
            }
            (None, Some(theta)) => (theta.values.clone(), theta.unit, path),
            (None, None) => {
                return Err(Error::usage("the scan has no projection angles")
                    .help("give --theta FILE with one angle per projection and --theta-unit deg or rad")
                    .at(path));
            }
        };
        if let (Some(said), Some(stored)) = (self.theta_unit, stored_unit)
            && said != stored
        {
            context.talk.warn(format!("--theta-unit {} replaces the file's {}", said.name(), stored.name()));
        }
        let angles = Angles::new(&values, self.theta_unit.or(stored_unit)).map_err(|e| e.at(source))?;
        for note in angles.notes() {
            context.talk.note(note);
        }
        Ok(angles)
    }
}

fn filter_of(settings: &Settings) -> Result<Filter> {
    let par = settings.parse("filter-par", values::numbers)?.unwrap_or_default();
    settings.parsed("filter", |name| Filter::parse(name, &par))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_error_is_the_methods_own() {
        let option = METHOD_OPTIONS.iter().find(|o| o.name == "gridding-error").unwrap();
        assert_eq!(values::positive(option.default.unwrap()).unwrap(), crate::recon::gridrec::DEFAULT_ERROR);
    }
}
