//! `tomolith center`: where the rotation axis is, by every method, and a sheet of slices to choose from.

use crate::cli::axis::{by_bands, by_entropy, describe, find, middle_band, opposite, sinogram, vo};
use crate::cli::options::{Opt, Takes};
use crate::cli::prepare::{PREPARE_OPTIONS, PrepareArgs};
use crate::cli::scan::{METHOD_OPTIONS, OpenScan, SCAN_OPTIONS, ScanArgs};
use crate::cli::values;
use crate::cli::{Command, Context};
use crate::error::{Error, Result};
use crate::exchange::window::{DEFAULT_PERCENTILES, Window, to_grey};
use crate::exchange::{font, png};
use crate::os::check_interrupt;
use crate::recon::field::Field;
use crate::recon::geometry::Axis;
use crate::recon::scan::Plan;
use std::path::Path;

mod series;

/// The command.
pub const COMMAND: Command = Command {
    path: &["center"],
    about: "Find the rotation axis, by several methods, and show slices at many axes on one sheet",
    details: "Prints one line per method: Vo's on the middle rows, opposite views, the entropy of the slice, and a line through the axes of bands \
              over the whole detector with the tilt and the standard errors. Axes are pixel indices of the stored \
              detector, as --center takes them. --sheet reconstructs one row at many axes; the one that auto finds has a \
              frame. Of several scans, which one detector took of a sample that went on and off the same stage, it prints \
              each one's axis by --center, its distance from the median, and the median: the axis to reconstruct all of \
              them about. An axis of its own moves what a reconstruction shows, and `register` would find that motion. A \
              scan may be named by its configuration (.toml), whose files lie beside it.",
    examples: "  tomolith center tooth.h5\n  tomolith center tooth.h5 --sheet axes.png --sheet-range 290:300:0.5 --row 1\n  \
               tomolith center scan_*.h5\n  tomolith center series/step_*/scan.toml",
    groups: &[
        (
            "",
            &[
                Opt::new(
                    "scan",
                    Takes::Arguments("SCAN"),
                    "The scan: .h5, .nxs, .tiff, .mrc, .npy, .mhd, or a .toml; or the scans of a series",
                ),
                Opt::new("sheet", Takes::Value("FILE.png"), "Write slices at many axes as one picture"),
                Opt::new(
                    "sheet-range",
                    Takes::Number("A:B:STEP"),
                    "Axes on the sheet [default: 5 pixels about the axis found, in steps of 0.5]",
                ),
                Opt::new("row", Takes::Number("N"), "Detector row of the sheet [default: the middle one]"),
                Opt::new("overwrite", Takes::Switch, "Replace an existing sheet"),
            ],
        ),
        ("The scan", SCAN_OPTIONS),
        ("Before", PREPARE_OPTIONS),
        ("The method", METHOD_OPTIONS),
    ],
    run,
};

/// Side of a tile: larger slices show their middle.
const TILE: usize = 256;
/// Most tiles.
const MOST_TILES: usize = 100;
/// Default half range and step, pixels.
const DEFAULT_RANGE: [f64; 2] = [5.0, 0.5];
/// Slices computed at a time.
const GROUP: usize = 16;
const FONT_SCALE: usize = 2;
const GAP: usize = 6;
const WHITE: u8 = 255;

fn run(context: &Context) -> Result<()> {
    let paths = context.settings.required_paths("scan")?;
    if paths.len() > 1 {
        return series::run(context, &paths);
    }
    let settings = &series::settings_of(&context.settings, &paths[0])?;
    let path = settings.required_path("scan")?;
    let sheet = settings.path("sheet")?;
    let range = settings.parse("sheet-range", axes)?;
    let how =
        ScanArgs { prepare: PrepareArgs::from_settings(settings)?, ..ScanArgs::from_settings(settings, "gridrec")? };
    if let Some(sheet) = sheet.as_ref().filter(|s| s.exists() && !settings.is_on("overwrite").unwrap_or(false)) {
        return Err(Error::cannot_create("already exists").help("choose another name, or --overwrite").at(sheet));
    }
    let scan = how.open(&path, None, context)?;
    let stored = |axis: f64| scan.prepared.stored_axis(axis, how.prepare.bin);
    let mut best = scan.axis.as_ref().map(|axis| axis.at(0));
    if best.is_none() {
        best = find(context, &how, &scan).ok().map(|(axis, _)| axis.at(0));
        for method in ["vo", "opposite", "entropy", "bands"] {
            let line = match method {
                "vo" => vo(context, &how, &scan, middle_band(scan.scan.projections.dims().ny)).map(|found| {
                    best.get_or_insert(found.axis);
                    format!("{:.2}", stored(found.axis))
                }),
                "opposite" => opposite(context, &how, &scan).map(|found| {
                    best.get_or_insert(found.axis);
                    format!("{:.2}  correlation {:.4}", stored(found.axis), found.quality)
                }),
                "entropy" => by_entropy(context, &how, &scan).map(|axis| {
                    best.get_or_insert(axis);
                    format!("{:.2}", stored(axis))
                }),
                _ => by_bands(context, &how, &scan).map(|(mut line, _)| {
                    best.get_or_insert(line.position);
                    (line.position, line.tilt) = (stored(line.position), line.tilt);
                    describe(&line)
                }),
            };
            match line {
                Ok(text) => context.out.line(format!("{method:<10} {text}"))?,
                Err(e) => context.out.line(format!("{method:<10} none: {}", e.what()))?,
            }
        }
    }
    let Some(sheet) = sheet else { return Ok(()) };
    let Some(best) = best else {
        return Err(Error::data("no method finds the axis")
            .help("say which axes with --sheet-range A:B:STEP")
            .at(path));
    };
    let candidates: Vec<f64> = match range {
        // As typed: on the stored detector.
        Some(list) => list.iter().map(|&c| scan.prepared.used_axis(c, how.prepare.bin)).collect(),
        None => {
            let [half, step] = DEFAULT_RANGE;
            let count = (half / step) as i32;
            (-count..=count).map(|i| best + f64::from(i) * step).collect()
        }
    };
    let row = match settings.parse("row", values::index)? {
        Some(row) if row < scan.scan.projections.dims().ny => row,
        Some(row) => {
            return Err(Error::usage(format!("--row {row} is not on the detector"))
                .help(format!("it has the rows 0:{}", scan.scan.projections.dims().ny)));
        }
        None => scan.scan.projections.dims().ny / 2,
    };
    write_sheet(context, &how, &scan, row, &candidates, best, &sheet)
}

/// Axes as `A:B:STEP`, both ends included.
fn axes(text: &str) -> Result<Vec<f64>> {
    let wrong =
        || Error::usage(format!("'{text}' is not a range of axes")).help("write from:to:step, such as 290:300:0.5");
    let parts: Vec<f64> = text.split(':').map(values::number).collect::<Result<_>>().map_err(|_| wrong())?;
    let [from, to, step] = *parts.as_slice() else { return Err(wrong()) };
    let count = (to - from) / step;
    if !(step > 0.0 && count >= 0.0) {
        return Err(wrong());
    }
    if count >= MOST_TILES as f64 {
        return Err(Error::usage(format!("more than {MOST_TILES} axes on one sheet")).help("use a larger step"));
    }
    Ok((0..=(count + 1e-9) as usize).map(|i| from + i as f64 * step).collect())
}

fn write_sheet(
    context: &Context,
    how: &ScanArgs,
    scan: &OpenScan,
    row: usize,
    candidates: &[f64],
    best: f64,
    path: &Path,
) -> Result<()> {
    let dims = scan.scan.projections.dims();
    let n = dims.nx;
    for &c in candidates {
        Axis::Fixed(c).check(1, n)?;
    }
    let plan = Plan::new(&Field::plain(n), &scan.angles, &scan.filter, how.algorithm, None)?;
    let one = sinogram(context, how, scan, row..row + 1)?;
    let (tile, first) = (TILE.min(n), (n - TILE.min(n)) / 2);
    let mut tiles: Vec<f32> = Vec::with_capacity(candidates.len() * tile * tile);
    let mut workspace = plan.workspace();
    for group in candidates.chunks(GROUP) {
        check_interrupt()?;
        // The same sinogram in every row, and every row has its own axis.
        let block: Vec<f32> = one.chunks_exact(n).flat_map(|line| line.repeat(group.len())).collect();
        let mut images = vec![0.0f32; group.len() * n * n];
        let axis = Axis::PerRow(group.to_vec());
        plan.slices(context.isa, &mut workspace, &axis, 0, group.len(), &block, &mut images);
        for image in images.chunks_exact(n * n) {
            for line in image.chunks_exact(n).skip(first).take(tile) {
                tiles.extend_from_slice(&line[first..first + tile]);
            }
        }
    }
    let (low, high) = DEFAULT_PERCENTILES;
    let window = match Window::of_percentiles(&tiles, low, high)? {
        Some(window) => window,
        None => Window::new(0.0, 1.0)?,
    };
    let grey = to_grey(&tiles, tile, tile * candidates.len(), window)?;
    let across = (1..).find(|k| k * k >= candidates.len()).unwrap_or(1);
    let down = candidates.len().div_ceil(across);
    let label = font::HEIGHT * FONT_SCALE + GAP;
    let (wide, high) = (tile + 2 * GAP, tile + label + 2 * GAP);
    let mut sheet = vec![0u8; across * wide * down * high];
    for (i, (&axis, image)) in candidates.iter().zip(grey.grey().chunks_exact(tile * tile)).enumerate() {
        let (x, y) = (i % across * wide + GAP, i / across * high + GAP);
        for (r, line) in image.chunks_exact(tile).enumerate() {
            sheet[(y + r) * across * wide + x..][..tile].copy_from_slice(line);
        }
        let text = format!("{:.2}", scan.prepared.stored_axis(axis, how.prepare.bin));
        font::draw(&mut sheet, across * wide, (x, y + tile + GAP / 2), &text, FONT_SCALE, WHITE);
        let nearest = candidates.iter().all(|c| (c - best).abs() >= (axis - best).abs());
        if nearest {
            for k in 0..tile + 4 {
                let mut dot = |dx: usize, dy: usize| sheet[(y + dy - 2) * across * wide + x + dx - 2] = WHITE;
                [(k, 0), (k, tile + 3), (0, k), (tile + 3, k)].into_iter().for_each(|(dx, dy)| dot(dx, dy));
            }
        }
    }
    png::write_grey8(path, across * wide, down * high, &sheet, context.settings.is_on("overwrite")?)?;
    context.talk.note(format!("{} shows row {row} at {} axes", path.display(), candidates.len()));
    Ok(())
}
