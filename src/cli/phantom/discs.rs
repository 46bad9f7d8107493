//! `tomolith phantom discs`: a scan whose projections and slices are known in closed form.

use super::folder::check_space;
use super::memory;
use super::radiographs::enough;
use crate::cli::options::{Opt, Takes};
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::exchange::npy::write_array;
use crate::exchange::write_text;
use crate::json::Json;
use crate::num::elementary::exp;
use crate::num::philox::Stream;
use crate::os::check_interrupt;
use crate::phantom::discs::{Disc, Sampling, random, sinogram, truth};
use crate::recon::geometry::Angles;
use std::path::{Path, PathBuf};

/// The command.
pub const COMMAND: Command = Command {
    path: &["phantom", "discs"],
    about: "Make a scan of discs whose attenuation is known exactly",
    details: "Writes projections.npy, flats.npy, darks.npy and theta_degrees.npy as a detector would record them \
              (Poisson counts, uneven flats, an axis off the middle), truth.npy with the slices that a perfect \
              reconstruction returns (attenuation per pixel), and discs.json, which says where everything is.",
    examples: "  tomolith phantom discs -o out/discs\n  \
               tomolith phantom discs -o out/big --columns 2048 --projections 3000 --rows 4",
    groups: &[(
        "",
        &[
            Opt::new("output", Takes::Value("DIR"), "Folder to write to; it must not exist").short('o'),
            Opt::new("columns", Takes::Number("N"), "Detector columns").default("384"),
            Opt::new("rows", Takes::Number("N"), "Detector rows; four at a time are alike").default("16"),
            Opt::new("projections", Takes::Number("N"), "Projections over half a turn").default("600"),
            Opt::new("discs", Takes::Number("N"), "Discs in a slice").default("24"),
            Opt::new("dose", Takes::Number("N"), "Quanta in a pixel of a frame").default("40000"),
            Opt::new("seed", Takes::Number("N"), "Another seed is another phantom").default("1"),
        ],
    )],
    run,
};

/// Slices of one layer are alike.
pub const LAYER: usize = 4;
/// Frames of flats and of darks, and counts without beam.
const FRAMES: usize = 10;
const DARK: f64 = 100.0;
/// Most columns, rows or projections, and most discs: a limit below which their products are numbers.
const MOST: usize = 1 << 16;
const MOST_DISCS: usize = 10_000;
/// Points along the edge of a pixel of the truth.
const OVERSAMPLING: usize = 8;
/// What is written, for whoever must take it away again.
const FILES: [&str; 6] = ["projections.npy", "flats.npy", "darks.npy", "theta_degrees.npy", "truth.npy", "discs.json"];
/// Pixels see between 1 − and 1 + this part of the beam.
const UNEVEN: f64 = 0.2;
/// Streams of random numbers.
const STREAM_GAIN: u32 = 1;
const STREAM_NOISE: u32 = 2;

/// A scan of discs.
#[derive(Clone, Copy, Debug)]
pub struct DiscScan {
    /// Detector.
    pub columns: usize,
    /// See `columns`.
    pub rows: usize,
    /// Angles.
    pub projections: usize,
    /// The rotation axis, pixels.
    pub axis: f64,
    /// Quanta per pixel and frame.
    pub quanta: f64,
    /// Discs in a slice, their radius and attenuation per pixel.
    pub discs: usize,
    /// See `discs`.
    pub radius: f64,
    /// See `discs`.
    pub mu: f64,
    /// Seed.
    pub seed: u64,
}

/// A scan that is made, and not written yet.
pub struct Made {
    scan: DiscScan,
    /// The discs of each layer of [`LAYER`] slices.
    pub layers: Vec<Vec<Disc>>,
}

/// The scan's files.
pub struct Files {
    /// Counts `[theta][row][column]`.
    pub projections: PathBuf,
    /// Frames.
    pub flats: PathBuf,
    /// Frames.
    pub darks: PathBuf,
    /// Degrees.
    pub theta: PathBuf,
}

impl DiscScan {
    /// The scan of the demo.
    pub const STANDARD: DiscScan = DiscScan {
        columns: 384,
        rows: 16,
        projections: 600,
        axis: 196.25,
        quanta: 40_000.0,
        discs: 24,
        radius: 12.0,
        mu: 0.01,
        seed: 1,
    };

    /// Bytes of memory at the peak, and bytes of the files: with L layers, N columns, R rows, A projections
    ///
    /// ```text
    /// memory    8 L A N  sinograms  +  (8 + 4 (A + 2 · 10)) R N  gains and counts,   or   (4 R + 12) N²  the truth
    /// disk      4 (A + 2 · 10) R N + 4 R N² + 4 A, and headers
    /// ```
    ///
    /// Sizes are at most [`MOST`]: no product leaves a u64.
    fn bytes(&self) -> [u64; 2] {
        let [n, rows, views] = [self.columns, self.rows, self.projections].map(|n| n as u64);
        let layers = rows.div_ceil(LAYER as u64);
        let frames = (views + 2 * FRAMES as u64) * rows * n;
        let memory = (8 * layers * views * n + 8 * rows * n + 4 * frames).max((4 * rows + 12) * n * n);
        [memory, 4 * (frames + rows * n * n + views) + (1 << 20)]
    }

    /// Places the discs.
    ///
    /// # Errors
    /// Usage: they do not fit. [`crate::error::Fault::Again`] when interrupted.
    pub fn make(self) -> Result<Made> {
        let field = 0.45 * self.columns as f64;
        let layers = (0..self.rows.div_ceil(LAYER) as u64)
            .map(|layer| random(self.seed.wrapping_add(layer), self.discs, self.radius, self.mu, field, 4.0))
            .collect::<Result<_>>()?;
        Ok(Made { scan: self, layers })
    }
}

impl Made {
    /// Writes the scan as a detector would record it: Poisson counts of quanta · gain · e^(−p) + dark.
    ///
    /// # Errors
    /// What the disk says; files that exist, unless `overwrite`. [`crate::error::Fault::Again`] when interrupted, before
    /// anything is written.
    pub fn write(&self, folder: &Path, overwrite: bool) -> Result<Files> {
        let DiscScan { columns, rows, projections, axis, quanta, seed, .. } = self.scan;
        let angles = Angles::half_turn(projections)?;
        let pixels = rows * columns;
        let gains = Stream::new(seed, STREAM_GAIN);
        let gain: Vec<f64> = (0..pixels).map(|i| 1.0 + UNEVEN * (2.0 * gains.uniform_f64(i as u64) - 1.0)).collect();
        let noise = Stream::new(seed, STREAM_NOISE);
        let mut index = 0;
        let mut count = |mean: f64| {
            index += 1;
            noise.poisson(index, mean) as f32
        };
        let mut sinograms: Vec<Vec<f64>> = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            check_interrupt()?;
            sinograms.push(sinogram(layer, angles.radians(), columns, axis, Sampling::Pixel));
        }
        let mut counts = Vec::with_capacity(projections * pixels);
        for angle in 0..projections {
            check_interrupt()?;
            for (pixel, gain) in gain.iter().enumerate() {
                let (row, column) = (pixel / columns, pixel % columns);
                let p = sinograms[row / LAYER][angle * columns + column];
                counts.push(count(DARK + quanta * gain * exp(-p)));
            }
        }
        let flats: Vec<f32> = (0..FRAMES * pixels).map(|i| count(DARK + quanta * gain[i % pixels])).collect();
        let darks: Vec<f32> = (0..FRAMES * pixels).map(|_| count(DARK)).collect();
        check_interrupt()?;
        std::fs::create_dir_all(folder).map_err(|e| Error::writing(folder, &e))?;
        let files = Files {
            projections: folder.join("projections.npy"),
            flats: folder.join("flats.npy"),
            darks: folder.join("darks.npy"),
            theta: folder.join("theta_degrees.npy"),
        };
        write_array(&files.projections, &[projections, rows, columns], &counts, overwrite)?;
        write_array(&files.flats, &[FRAMES, rows, columns], &flats, overwrite)?;
        write_array(&files.darks, &[FRAMES, rows, columns], &darks, overwrite)?;
        let degrees: Vec<f32> = (0..projections).map(|i| (i as f64 * 180.0 / projections as f64) as f32).collect();
        write_array(&files.theta, &[projections], &degrees, overwrite)?;
        Ok(files)
    }
}

fn run(context: &Context) -> Result<()> {
    let settings = &context.settings;
    let folder = settings.required_path("output")?;
    let at_most = |name: &str, most: usize| -> Result<usize> {
        let n = settings.parsed(name, values::count)?;
        let many = || settings.blame(name, Error::usage(format!("{n} is too many")).help(format!("at most {most}")));
        if n <= most { Ok(n) } else { Err(many()) }
    };
    let number = |name: &str| at_most(name, MOST);
    let columns = number("columns")?;
    let scan = DiscScan {
        columns,
        rows: number("rows")?,
        projections: number("projections")?,
        // As far off the middle as in the demo.
        axis: (columns as f64 - 1.0) / 2.0 + 4.75,
        quanta: settings.parsed("dose", values::positive)?,
        discs: at_most("discs", MOST_DISCS)?,
        radius: columns as f64 / 32.0,
        mu: 0.01 * 384.0 / columns as f64,
        seed: settings.parsed("seed", values::index)? as u64,
    };
    if scan.quanta > 1e6 {
        return Err(Error::usage("--dose: at most 1e6 quanta per pixel").help("counts are stored as f32"));
    }
    if folder.exists() {
        return Err(Error::cannot_create("already exists").help("choose another folder").at(&folder));
    }
    enough(settings, scan.projections)?;
    let [memory, disk] = scan.bytes();
    check_space("the scan", disk, &folder, "free some space, choose another folder, or make a smaller scan")?;
    memory::check("the scan", memory)?;
    let made = scan.make()?;
    let written = write_all(&made, &folder);
    if written.is_err() {
        // The folder is ours: it was not there. Half a scan is of no use.
        FILES.iter().for_each(|name| drop(std::fs::remove_file(folder.join(name))));
        let _ = std::fs::remove_dir(&folder);
    }
    context.out.line(format!("{}: axis {}", written?.projections.display(), scan.axis))
}

/// The scan, its truth, and what it is.
fn write_all(made: &Made, folder: &Path) -> Result<Files> {
    let scan = &made.scan;
    let columns = scan.columns;
    let files = made.write(folder, false)?;
    let mut slices = Vec::with_capacity(scan.rows * columns * columns);
    for row in 0..scan.rows {
        check_interrupt()?;
        match row % LAYER {
            0 => slices.extend(truth(&made.layers[row / LAYER], columns, OVERSAMPLING)),
            _ => slices.extend_from_within((row - 1) * columns * columns..),
        }
    }
    write_array(&folder.join("truth.npy"), &[scan.rows, columns, columns], &slices, false)?;
    let layers = made.layers.iter().map(|discs| {
        let list = discs.iter().map(|d| Json::from([d.x, d.y, d.radius, d.mu])).collect::<Vec<_>>();
        Json::Arr(list)
    });
    let json = Json::obj([
        ("axis_pixel", scan.axis.into()),
        ("quanta", scan.quanta.into()),
        ("seed", scan.seed.into()),
        ("slices_per_layer", LAYER.into()),
        ("discs_x_y_radius_mu", Json::Arr(layers.collect())),
    ]);
    write_text(&folder.join("discs.json"), &json.to_canonical(), false)?;
    Ok(files)
}
