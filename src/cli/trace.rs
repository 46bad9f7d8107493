//! `tomolith trace gridrec`: every intermediate of one slice, for teaching.
//!
//! The numbers and their errors are [`recon::trace`](crate::recon::trace)'s; here they become files: [`picture`](crate::cli::picture) draws,
//! [`steps`] explains.

pub mod conv;
pub mod register;
pub mod step;
mod steps;

use crate::cli::options::{Opt, Settings, Takes};
use crate::cli::scan::{METHOD_OPTIONS, SCAN_OPTIONS, ScanArgs};
use crate::cli::values::{self, Rows};
use crate::cli::{Command, Context, axis, reconstruct};
use crate::error::{Error, Result};
use crate::exchange;
use crate::exchange::npy::write_array;
use crate::phantom::discs::{Disc, Sampling, sinogram};
use crate::recon::filter::Filter;
use crate::recon::geometry::Angles;
use crate::recon::scan::Algorithm;
use crate::recon::trace::{Subject, trace};
use crate::units::Micrometre;
use std::path::{Path, PathBuf};
use steps::{NAMES, README, Step};

/// Detector columns of the phantom.
const PHANTOM_COLUMNS: usize = 128;
/// Projections of the phantom, over half a turn.
const PHANTOM_ANGLES: usize = 180;
/// Axis of the phantom, in pixels: off the middle and between two pixels, as in a real scan.
const PHANTOM_AXIS: f64 = 64.25;
/// The phantom: a body, a dense and a thin part in it, and small things. Pixels, attenuation per pixel.
const PHANTOM: [Disc; 6] = [
    Disc { x: 0.0, y: 0.0, radius: 52.0, mu: 0.010 },
    Disc { x: -18.0, y: 12.0, radius: 14.0, mu: 0.010 },
    Disc { x: 20.0, y: -16.0, radius: 10.0, mu: -0.006 },
    Disc { x: 22.0, y: 20.0, radius: 5.0, mu: 0.015 },
    Disc { x: -10.0, y: -26.0, radius: 3.0, mu: 0.020 },
    Disc { x: 38.0, y: 2.0, radius: 2.0, mu: 0.030 },
];

/// The command.
pub const GRIDREC: Command = Command {
    path: &["trace", "gridrec"],
    about: "Reconstruct one slice by gridrec and keep every step as picture and array",
    details: "Writes into DIR the filter, a padded row, its spectrum, the gridding weights, the grid, its inverse and \
              the deapodised slice, each as .png and .npy, and prints the error of each step against its naive \
              definition. Without SCAN it takes a small phantom made on the spot.",
    examples: "  tomolith trace gridrec -o steps\n  tomolith trace gridrec tooth.h5 --row 1 --filter ramlak -o steps",
    groups: &[
        (
            "",
            &[
                Opt::new("scan", Takes::Argument("SCAN"), "The scan: .h5, .npy, .mhd [default: a phantom]"),
                Opt::new("output", Takes::Value("DIR"), "Folder to write to; it is created").short('o'),
                Opt::new("row", Takes::Number("K"), "Detector row, the first being 0 [default: the middle one]"),
                Opt::new("overwrite", Takes::Switch, "Replace existing files"),
            ],
        ),
        ("The scan", SCAN_OPTIONS),
        ("The method", METHOD_OPTIONS),
    ],
    run,
};

/// The resolved options of the command.
#[derive(Clone, Debug)]
pub struct TraceArgs {
    /// The scan, a phantom if `None`.
    pub scan: Option<PathBuf>,
    /// Folder of the output.
    pub output: PathBuf,
    /// Detector row, the middle one if `None`.
    pub row: Option<usize>,
    /// What the scan is and how to reconstruct it.
    pub how: ScanArgs,
    /// Whether existing files may be replaced.
    pub overwrite: bool,
}

impl TraceArgs {
    /// Parses the options; opens nothing.
    pub fn from_settings(settings: &Settings) -> Result<TraceArgs> {
        Ok(TraceArgs {
            scan: settings.path("scan")?,
            output: settings.required_path("output")?,
            row: settings.parse("row", values::index)?,
            how: ScanArgs::from_settings(settings, "gridrec")?,
            overwrite: settings.is_on("overwrite")?,
        })
    }
}

fn run(context: &Context) -> Result<()> {
    let args = TraceArgs::from_settings(&context.settings)?;
    let files = NAMES.iter().flat_map(|name| [file(&args.output, name, "png"), file(&args.output, name, "npy")]);
    for path in files.chain([args.output.join(README)]) {
        // Before any work: half a set of new files among old ones would mislead.
        if !args.overwrite && std::fs::symlink_metadata(&path).is_ok() {
            return Err(Error::writing(&path, &std::io::ErrorKind::AlreadyExists.into()));
        }
    }
    let slice = match &args.scan {
        Some(path) => Slice::of_scan(context, &args, path)?,
        None => Slice::of_phantom(context, &args)?,
    };
    std::fs::create_dir_all(&args.output).map_err(|e| Error::writing(&args.output, &e))?;
    let Algorithm::Gridrec(error) = args.how.algorithm else {
        return Err(Error::bug(format!("{} is not traced", args.how.algorithm.name())));
    };
    let Slice { sinogram, angles, center, filter, pixel, .. } = &slice;
    let subject = Subject { sinogram, angles, center: *center, filter, error, pixel: *pixel };
    let traced = trace(context.isa, &subject)?;
    for Step { name, shape, values, picture } in steps::all(&traced, sinogram)? {
        write_array(&file(&args.output, name, "npy"), &shape, &values, args.overwrite)?;
        picture.write(&file(&args.output, name, "png"), args.overwrite)?;
    }
    let table = steps::table(&traced);
    let text = steps::explain(&traced, &slice.what, *center, filter.name().as_str(), pixel.is_some()) + &table;
    exchange::write_text(&args.output.join(README), &text, args.overwrite)?;
    context.out.text(&table)?;
    context.talk.note(format!("{} explains the steps", args.output.join(README).display()));
    Ok(())
}

fn file(folder: &Path, name: &str, extension: &str) -> PathBuf {
    folder.join(format!("{name}.{extension}"))
}

/// What is traced, and where it comes from.
struct Slice {
    what: String,
    sinogram: Vec<f32>,
    angles: Angles,
    center: f64,
    filter: Filter,
    pixel: Option<Micrometre>,
}

impl Slice {
    /// One detector row of a scan, the middle one by default.
    fn of_scan(context: &Context, args: &TraceArgs, path: &Path) -> Result<Slice> {
        let rows = args.row.map(|row| Rows::parse(&format!("{row}:{}", row.saturating_add(1)))).transpose();
        let rows = rows.map_err(|e| context.settings.blame("row", e))?;
        let scan = args.how.open(path, rows, context)?;
        let row = scan.rows.start + scan.rows.len() / 2;
        let axis = match &scan.axis {
            Some(axis) => axis.clone(),
            None => axis::find(context, &args.how, &scan)?.0,
        };
        let chain = reconstruct::quick_chain(&args.how, &scan, args.how.nonfinite, row..row + 1)?;
        let dims = scan.scan.projections.dims();
        let mut sinogram = vec![0.0; chain.length(dims.nz, 1)];
        chain.read(0..dims.nz, row..row + 1, &mut sinogram)?;
        chain.finish(context.isa, 0..dims.nz, row..row + 1, &mut sinogram)?;
        sinogram.truncate(dims.nz * dims.nx);
        Ok(Slice {
            what: format!("row {row} of {}", path.display()),
            sinogram,
            center: axis.at(row),
            angles: scan.angles,
            filter: scan.filter,
            pixel: scan.pixel,
        })
    }

    /// Discs whose projections are known in closed form.
    fn of_phantom(context: &Context, args: &TraceArgs) -> Result<Slice> {
        let settings = &context.settings;
        for name in SCAN_OPTIONS.iter().map(|o| o.name).chain(["row"]) {
            if settings.is_given(name)? {
                let what = format!("--{name} says something about a scan, and there is none");
                return Err(Error::usage(what).help("name the scan, or leave the option out to trace the phantom"));
            }
        }
        let filter = match (&args.how.filter, &args.how.filter_file) {
            (Some(filter), _) => filter.clone(),
            (None, Some(file)) => {
                let response = exchange::open_vector(file).map_err(|e| settings.blame("filter-file", e))?;
                Filter::parse("custom", &response).map_err(|e| settings.blame("filter-file", e.at(file)))?
            }
            (None, None) => Filter::default(),
        };
        let angles = Angles::half_turn(PHANTOM_ANGLES)?;
        let exact = sinogram(&PHANTOM, angles.radians(), PHANTOM_COLUMNS, PHANTOM_AXIS, Sampling::Pixel);
        Ok(Slice {
            what: format!("a phantom of {} discs", PHANTOM.len()),
            sinogram: exact.into_iter().map(|v| v as f32).collect(),
            angles,
            center: PHANTOM_AXIS,
            filter,
            pixel: None,
        })
    }
}
