//! `tomolith demo`: the first thing to run.
//!
//! A scan of discs is made on the spot as a detector would record it (counts with photon noise, uneven flats, darks,
//! an axis off the middle), reconstructed by the same code as any scan, and compared with the discs.

use crate::cli::options::{Opt, Settings, Takes};
use crate::cli::prepare::PrepareArgs;
use crate::cli::recon::ReconArgs;
use crate::cli::scan::ScanArgs;
use crate::cli::values::Center;
use crate::cli::{Command, Context, reconstruct};
use crate::error::{Error, Result};
use crate::exchange::npy::write_array;
use crate::num::elementary::exp;
use crate::num::philox::Stream;
use crate::phantom::discs::{self, Disc, Sampling};
use crate::recon::filter::Filter;
use crate::recon::flat::Average;
use crate::recon::geometry::Angles;
use crate::recon::gridrec::DEFAULT_ERROR;
use crate::recon::normalize::NonFinite;
use crate::recon::scan::Algorithm;
use crate::units::AngleUnit;
use crate::volume::reader::{IoMode, Reader, with_suffix};
use crate::volume::{Source, verify};
use std::path::{Path, PathBuf};

/// The command.
pub const COMMAND: Command = Command {
    path: &["demo"],
    about: "Make a synthetic scan, reconstruct it, and check it against its own truth",
    details: "Needs no data and a few seconds. Writes the scan, the slices, their manifest and pictures into DIR, and \
              says how far the slices are from the truth they were made of.",
    examples: "  tomolith demo\n  tomolith demo -o /tmp/demo --overwrite",
    groups: &[(
        "",
        &[
            Opt::new("output", Takes::Value("DIR"), "Folder to write to; it is created").short('o').default("out/demo"),
            Opt::new("overwrite", Takes::Switch, "Replace existing files"),
        ],
    )],
    run,
};

/// Detector columns and rows, projections, and frames of flats and of darks.
const COLUMNS: usize = 384;
const ROWS: usize = 16;
const PROJECTIONS: usize = 600;
const FRAMES: usize = 10;
/// The rotation axis, off the middle (191.5).
const AXIS: f64 = 196.25;
/// Photons per pixel and frame, and counts without beam.
const PHOTONS: f64 = 40_000.0;
const DARK: f64 = 100.0;
/// Pixels see between 1 − and 1 + this part of the beam.
const UNEVEN: f64 = 0.2;
/// Discs of a slice, their radius and attenuation per pixel; slices of one layer of four rows are alike.
const DISCS: usize = 24;
const RADIUS: f64 = 12.0;
const MU: f64 = 0.01;
const LAYER: usize = 4;
const SEED: u64 = 1;
/// Streams of random numbers.
const STREAM_GAIN: u32 = 1;
const STREAM_NOISE: u32 = 2;

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
    std::fs::create_dir_all(&args.output).map_err(|e| Error::writing(&args.output, &e))?;
    let layers: Vec<Vec<Disc>> = (0..ROWS / LAYER)
        .map(|layer| discs::random(SEED + layer as u64, DISCS, RADIUS, MU, 0.45 * COLUMNS as f64, 4.0))
        .collect::<Result<_>>()?;
    let angles = Angles::half_turn(PROJECTIONS)?;
    context.talk.note("making the scan");
    let files = write_scan(&args, &layers, &angles)?;
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
        keep: false,
        overwrite: args.overwrite,
        is_part: false,
    };
    let scan = recon.how.open(&recon.scan, None, context)?;
    let manifest = reconstruct::run(context, &recon, scan)?;
    context.out.line(reconstruct::summary(&recon.output, &manifest)?)?;
    verify::verify(&with_suffix(&recon.output, ".json"))?;
    let axis = manifest.json().need("params")?.need_f64("axis_pixel")?;
    compare(context, &args, &layers, &recon.output, axis)
}

/// The scan's files.
struct Files {
    projections: PathBuf,
    flats: PathBuf,
    darks: PathBuf,
    theta: PathBuf,
}

/// Writes the scan as a detector would record it: Poisson counts of `PHOTONS · gain · e^(−p) + DARK`.
fn write_scan(args: &DemoArgs, layers: &[Vec<Disc>], angles: &Angles) -> Result<Files> {
    let folder = args.output.join("scan");
    std::fs::create_dir_all(&folder).map_err(|e| Error::writing(&folder, &e))?;
    let pixels = ROWS * COLUMNS;
    let gains = Stream::new(SEED, STREAM_GAIN);
    let gain: Vec<f64> = (0..pixels).map(|i| 1.0 + UNEVEN * (2.0 * gains.uniform_f64(i as u64) - 1.0)).collect();
    let noise = Stream::new(SEED, STREAM_NOISE);
    let mut index = 0;
    let mut count = |mean: f64| {
        index += 1;
        noise.poisson(index, mean) as f32
    };
    let sinograms: Vec<Vec<f64>> =
        layers.iter().map(|layer| discs::sinogram(layer, angles.radians(), COLUMNS, AXIS, Sampling::Pixel)).collect();
    let mut projections = Vec::with_capacity(PROJECTIONS * pixels);
    for angle in 0..PROJECTIONS {
        for (pixel, gain) in gain.iter().enumerate() {
            let (row, column) = (pixel / COLUMNS, pixel % COLUMNS);
            let p = sinograms[row / LAYER][angle * COLUMNS + column];
            projections.push(count(DARK + PHOTONS * gain * exp(-p)));
        }
    }
    let flats: Vec<f32> = (0..FRAMES * pixels).map(|i| count(DARK + PHOTONS * gain[i % pixels])).collect();
    let darks: Vec<f32> = (0..FRAMES * pixels).map(|_| count(DARK)).collect();
    let files = Files {
        projections: folder.join("projections.npy"),
        flats: folder.join("flats.npy"),
        darks: folder.join("darks.npy"),
        theta: folder.join("theta_degrees.npy"),
    };
    write_array(&files.projections, &[PROJECTIONS, ROWS, COLUMNS], &projections, args.overwrite)?;
    write_array(&files.flats, &[FRAMES, ROWS, COLUMNS], &flats, args.overwrite)?;
    write_array(&files.darks, &[FRAMES, ROWS, COLUMNS], &darks, args.overwrite)?;
    let degrees: Vec<f32> = (0..PROJECTIONS).map(|i| (i as f64 * 180.0 / PROJECTIONS as f64) as f32).collect();
    write_array(&files.theta, &[PROJECTIONS], &degrees, args.overwrite)?;
    Ok(files)
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
