//! `tomolith demo`: the first thing to run. The whole way of a cell is [`cell`].
//!
//! With `--discs` a scan of discs is made on the spot as a detector would record it (counts with photon noise, uneven flats, darks,
//! an axis off the middle), reconstructed by the same code as any scan, and compared with the discs.

use crate::cli::device::DEVICE;
use crate::cli::options::{Opt, Settings, Takes};
use crate::cli::phantom::discs::{DiscScan, LAYER};
use crate::cli::prepare::PrepareArgs;
use crate::cli::recon::{ReconArgs, Role};
use crate::cli::scan::ScanArgs;
use crate::cli::values::Center;
use crate::cli::{Command, Context, reconstruct, values};
use crate::error::{Error, Result};
use crate::phantom::discs::{self, Disc};
use crate::recon::filter::Filter;
use crate::recon::flat::Average;
use crate::recon::gridrec::DEFAULT_ERROR;
use crate::recon::normalize::NonFinite;
use crate::recon::scan::Algorithm;
use crate::units::AngleUnit;
use crate::volume::reader::{IoMode, Reader, with_suffix};
use crate::volume::{Source, verify};
use std::path::{Path, PathBuf};

mod cell;
mod compare;
mod train;

/// The command.
pub const COMMAND: Command = Command {
    path: &["demo"],
    about: "Take a synthetic cell from radiographs to a report, and compare every number with its truth",
    details: "Needs no data, two to three minutes and half a gigabyte. A cell of 25 scans is recorded, clamped anew for every scan and in two \
              fields of view; they are joined, reconstructed, registered, labelled by the weights that are shipped and measured, and every \
              number stands beside the planted one; cell/report.html is the report. --train makes these weights first, the same bits: 90 scans of eighteen other cells, \
              5 GB and half an hour on two cores; --evaluate measures first what the weights do to the numbers of six cells more, by which \
              the numbers are corrected, and what becomes of each of these if the others correct it: six times as long as the demo. It goes on where it was \
              interrupted. --discs takes seconds instead: one scan of discs, its slices, and how far they are from what they were made of.",
    examples: "  tomolith demo\n  tomolith demo --still -o out/still\n  tomolith demo --discs -o /tmp/discs --overwrite",
    groups: &[(
        "",
        &[
            Opt::new("output", Takes::Value("DIR"), "Folder to write to; it is created").short('o').default("out/demo"),
            Opt::new("overwrite", Takes::Switch, "Replace existing files"),
            Opt::new("steps", Takes::Number("N"), "Scans, spread evenly over the 25").default("25"),
            Opt::new("seed", Takes::Number("N"), "Which cell").default("77"),
            Opt::new(
                "still",
                Takes::Switch,
                "A smaller cell that lies still, in one field of view: nothing is joined or registered",
            ),
            Opt::new("train", Takes::Switch, "Train the weights on other cells first, instead of those shipped"),
            Opt::new(
                "evaluate",
                Takes::Switch,
                "Measure what the weights do to the numbers of six other cells first, instead of what is shipped",
            ),
            DEVICE,
            Opt::new("discs", Takes::Switch, "A scan of discs instead, its slices beside their truth: seconds"),
        ],
    )],
    run,
};

/// The scan.
const SCAN: DiscScan = DiscScan::STANDARD;
const COLUMNS: usize = SCAN.columns;
const ROWS: usize = SCAN.rows;
const AXIS: f64 = SCAN.axis;
const RADIUS: f64 = SCAN.radius;
const MU: f64 = SCAN.mu;

/// The axis is found on a grid of a quarter pixel.
const AXIS_TOLERANCE: f64 = 0.25;
/// Photon noise leaves 0.1 % in the mean of a disc and less in the mean of all.
const DISC_TOLERANCE: f64 = 0.01;
const MEAN_TOLERANCE: f64 = 0.002;
const BACKGROUND_TOLERANCE: f64 = 0.002;

/// The resolved options of the command.
#[derive(Clone, Debug)]
pub struct DemoArgs {
    /// Folder of the output.
    pub output: PathBuf,
    /// Whether existing files may be replaced.
    pub overwrite: bool,
}

impl DemoArgs {
    /// Parses the options.
    pub fn from_settings(settings: &Settings) -> Result<DemoArgs> {
        Ok(DemoArgs { output: settings.required_path("output")?, overwrite: settings.is_on("overwrite")? })
    }
}

fn run(context: &Context) -> Result<()> {
    let args = DemoArgs::from_settings(&context.settings)?;
    let settings = &context.settings;
    if !settings.is_on("discs")? {
        let asked = cell::Asked {
            seed: settings.parsed("seed", values::seed)?,
            steps: settings.parsed("steps", values::count)?,
            moving: !settings.is_on("still")?,
            train: settings.is_on("train")?,
            evaluate: settings.is_on("evaluate")?,
            device: settings.parsed(DEVICE.name, |text| Ok(text.to_string()))?,
        };
        return cell::run(context, &args, &asked);
    }
    for name in ["seed", "steps", "still", "train", "evaluate", DEVICE.name] {
        if settings.is_given(name)? {
            return Err(Error::usage(format!("--{name} is of a cell")).help("leave out --discs, or this"));
        }
    }
    std::fs::create_dir_all(&args.output).map_err(|e| Error::writing(&args.output, &e))?;
    let is_empty = std::fs::read_dir(&args.output).map_err(|e| Error::reading(&args.output, &e))?.next().is_none();
    let is_ours = args.output.join("scan").exists();
    if !is_empty && !is_ours && !args.overwrite {
        return Err(Error::cannot_create("holds something, and no demo")
            .help("name another folder with -o")
            .at(&args.output));
    }
    context.talk.note("making the scan");
    let made = SCAN.make()?;
    let (layers, files) = (&made.layers, made.write(&args.output.join("scan"), args.overwrite)?);
    let recon = ReconArgs {
        scan: files.projections.clone(),
        output: args.output.join("slices"),
        how: ScanArgs {
            input: None,
            flats: Some(files.flats),
            darks: Some(files.darks),
            flat_average: Average::Mean,
            theta: Some(files.theta),
            theta_range: None,
            theta_unit: Some(AngleUnit::Degree),
            center: Center::Auto,
            center_range: None,
            pixel: None,
            nonfinite: NonFinite::Error,
            algorithm: Algorithm::Gridrec(DEFAULT_ERROR),
            filter: Some(Filter::default()),
            filter_file: None,
            prepare: PrepareArgs::default(),
        },
        rows: None,
        slab: None,
        memory: None,
        crop: None,
        keep: false,
        overwrite: args.overwrite,
        role: Role::Whole,
        joined: None,
    };
    let scan = recon.how.open(&recon.scan, None, context)?;
    let manifest = reconstruct::run(context, &recon, scan)?;
    context.out.line(reconstruct::summary(&recon.output, &manifest)?)?;
    verify::verify(&with_suffix(&recon.output, ".json"))?;
    let axis = manifest.json().need("params")?.need_f64("axis_pixel")?;
    compare(context, &args, layers, &recon.output, axis)
}

/// Compares the slices with the discs, writes pictures, prints a table, and fails if a number is out of tolerance.
fn compare(context: &Context, args: &DemoArgs, layers: &[Vec<Disc>], base: &Path, axis: f64) -> Result<()> {
    let reader = Reader::open(&with_suffix(base, ".mhd"), IoMode::Pread)?;
    let n = COLUMNS;
    let mut image = vec![0.0f32; n * n];
    let (mut sum, mut worst, mut discs_seen) = (0.0f64, 0.0f64, 0usize);
    let (mut background, mut background_pixels) = (0.0f64, 0u64);
    for row in 0..ROWS {
        reader.read(row..row + 1, 0..n, &mut image)?;
        let truth = discs::truth(&layers[row / LAYER], n, 8);
        for disc in &layers[row / LAYER] {
            // Away from the edge by the reach of the filter's side lobes.
            let mean =
                discs::mean_inside(&image, n, disc, RADIUS - 2.0).ok_or_else(|| Error::bug("a disc without pixels"))?;
            sum += mean / MU - 1.0;
            worst = worst.max((mean / MU - 1.0).abs());
            discs_seen += 1;
        }
        // The circle that every projection sees; the axis is off the middle, so it is smaller than the image.
        let field = AXIS.min(n as f64 - 1.0 - AXIS) - 2.0;
        let (axis_row, axis_column) = crate::recon::geometry::axis_pixel(n);
        for (i, (&value, &t)) in image.iter().zip(&truth).enumerate() {
            let (x, y) = ((i % n) as f64 - axis_column as f64, axis_row as f64 - (i / n) as f64);
            if t == 0.0 && x * x + y * y < field * field {
                background += f64::from(value);
                background_pixels += 1;
            }
        }
        if row == ROWS / 2 {
            reconstruct::write_picture(&args.output.join("truth.png"), &truth, n, args.overwrite)?;
            let difference: Vec<f32> = image.iter().zip(&truth).map(|(a, b)| a - b).collect();
            reconstruct::write_picture(&args.output.join("difference.png"), &difference, n, args.overwrite)?;
        }
    }
    let rows = [
        ("axis found, distance from the true one, pixels", (axis - AXIS).abs(), AXIS_TOLERANCE),
        ("mean of all discs, relative error", (sum / discs_seen as f64).abs(), MEAN_TOLERANCE),
        ("worst single disc, relative error", worst, DISC_TOLERANCE),
        ("background, relative to the discs", (background / background_pixels as f64 / MU).abs(), BACKGROUND_TOLERANCE),
    ];
    let mut failed = 0;
    for (what, value, tolerance) in rows {
        // The comparison is false for NaN.
        let good = value <= tolerance;
        failed += usize::from(!good);
        context
            .out
            .line(format!("{}  {what:<48} {value:>10.6}  (at most {tolerance})", if good { "ok  " } else { "FAIL" }))?;
    }
    let folder = args.output.display();
    context.out.line(format!("pictures: {folder}/slices.png {folder}/truth.png {folder}/difference.png"))?;
    if failed > 0 {
        return Err(Error::bug(format!("{failed} of {} checks of the demo failed", rows.len())));
    }
    Ok(())
}
