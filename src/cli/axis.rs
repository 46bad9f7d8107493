//! The rotation axis of an opened scan, by one of several methods, and how it was found.
//!
//! `auto` is Vo's method on the rows in the middle of the detector; where these tell no axis, as at the surface of a
//! liquid, the axis on which most bands of rows over the whole detector agree. Of a sample wider than the detector Vo's
//! method can be wrong by many pixels, and all bands alike (a flat cell of which 0.4 mm of 8 mm are seen: by 15 of 448),
//! because what enters and leaves the field is not what a half turn mirrors. There opposite views, if they are alike,
//! have the last word: they see the same part of the sample. Also where both are near: of seven such scans Vo's axis was one
//! pixel off once and four to fifteen six times, so that being near is luck.

use crate::cli::Context;
use crate::cli::reconstruct::{keep_or_zero, quick_chain};
use crate::cli::scan::{OpenScan, ScanArgs};
use crate::cli::values::Center;
use crate::error::{Error, Fault, Result};
use crate::json::Json;
use crate::recon::center::correlation::{Correlated, Pair, correlate};
use crate::recon::center::entropy::entropy;
use crate::recon::center::rows::{self, Line};
use crate::recon::center::{self, Found, Options};
use crate::recon::field::Field;
use crate::recon::geometry::Axis;
use crate::recon::scan::Plan;
use crate::recon::truncation::{Edges, is_truncated};
use std::f64::consts::PI;
use std::ops::Range;

/// Rows on either side of the middle one of a band that are averaged, on detectors of more than
/// [`AXIS_MIN_HEIGHT`] rows (as TomoPy's `find_center_vo` does).
const AXIS_ROWS: usize = 5;
/// See [`AXIS_ROWS`].
const AXIS_MIN_HEIGHT: usize = 10;
/// A scan of less than this angle, in radians, is too far from the half turn that Vo's method needs (160°).
const SHORTEST_TURN: f64 = 160.0 / 180.0 * PI;
/// Of a scan of more than this (190°) the projections of the first half turn are taken.
const LONGEST_HALF_TURN: f64 = 190.0 / 180.0 * PI;
/// Bands of rows over the height of the detector.
pub const BANDS: usize = 15;
/// Where the entropy is looked at, in pixels from the middle.
const ENTROPY_RANGE: [f64; 2] = [-50.0, 50.0];
/// Opposite views that are compared, at most.
const PAIRS: usize = 9;
/// Rows of opposite views that are compared, at most.
const OPPOSITE_ROWS: usize = 96;
/// Axes of two methods that are farther apart than this, in pixels, are worth a look.
pub const APART: f64 = 2.0;
/// Views are opposite if their angles differ by half a turn but for this, in radians.
const OPPOSITE: f64 = 0.02;

/// The axis, as the options ask, and how it was found.
///
/// # Errors
/// Data: the scan does not tell it.
pub fn find(context: &Context, how: &ScanArgs, scan: &OpenScan) -> Result<(Axis, Json)> {
    let dims = scan.scan.projections.dims();
    match how.center {
        Center::Tilt => {
            let (line, _) = by_bands(context, how, scan)?;
            context.talk.note(format!("rotation axis: {}", describe(&line)));
            Ok((Axis::PerRow((0..dims.ny).map(|row| line.at(row as f64)).collect()), of_line("tilt", &line)))
        }
        Center::Correlation => {
            let found = opposite(context, how, scan)?;
            context
                .talk
                .note(format!("rotation axis at {:.2} (opposite views, correlation {:.4})", found.axis, found.quality));
            Ok((Axis::Fixed(found.axis), of_opposite(&found)))
        }
        Center::Entropy => {
            let pixel = by_entropy(context, how, scan)?;
            context.talk.note(format!("rotation axis at {pixel:.2} (entropy of the middle slice)"));
            let json = Json::obj([("method", Json::from("entropy")), ("pixel", pixel.into())]);
            Ok((Axis::Fixed(pixel), json))
        }
        Center::Auto => automatic(context, how, scan),
        _ => {
            let band = middle_band(dims.ny);
            vo(context, how, scan, band.clone()).map(|found| of_vo(context, &found, &band))
        }
    }
}

/// `auto`; see the module.
fn automatic(context: &Context, how: &ScanArgs, scan: &OpenScan) -> Result<(Axis, Json)> {
    let dims = scan.scan.projections.dims();
    let band = middle_band(dims.ny);
    let rows = format!("rows {}:{}", band.start, band.end);
    let sinogram = sinogram(context, how, scan, band.clone())?;
    let interior = is_truncated(&sinogram, dims.nx, Edges::Both);
    let found = told(vo_of(context, how, scan, sinogram))?;
    let opposite = if interior { told(opposite(context, how, scan))?.ok() } else { None };
    match (found, opposite) {
        (Ok(found), Some(other)) => {
            let what = format!(
                "the sample is wider than the detector, where Vo's method can fail: it says {:.1}, opposite views {:.2} \
                 (correlation {:.3}), which is taken",
                found.axis, other.axis, other.quality
            );
            match (found.axis - other.axis).abs() > APART {
                true => context.talk.warn(what + "; `tomolith center --sheet` shows slices at both"),
                false => context.talk.note(what),
            }
            Ok((Axis::Fixed(other.axis), of_opposite(&other)))
        }
        (Ok(found), None) => {
            if interior {
                context.talk.warn(
                    "the sample is wider than the detector, where Vo's method can be many pixels off, and no opposite views \
                     tell the axis: look at `tomolith center --sheet`",
                );
            }
            Ok(of_vo(context, &found, &band))
        }
        (Err(_), Some(other)) => {
            context.talk.warn(format!(
                "{rows} tell no axis by Vo's method; opposite views do: {:.2} (correlation {:.3})",
                other.axis, other.quality
            ));
            Ok((Axis::Fixed(other.axis), of_opposite(&other)))
        }
        (Err(e), None) => {
            let (line, _) = by_bands(context, how, scan).map_err(|_| e)?;
            context.talk.warn(format!("{rows} tell no axis; other bands of rows agree on {}", describe(&line)));
            Ok((Axis::Fixed(line.position), of_line("bands", &line)))
        }
    }
}

/// Whether the scan tells it: any other failure ends the search.
fn told<T>(found: Result<T>) -> Result<Result<T>> {
    match found {
        Err(e) if e.fault() != Fault::Data => Err(e),
        found => Ok(found),
    }
}

/// Vo's axis, and what is noted of it.
fn of_vo(context: &Context, found: &Found, band: &Range<usize>) -> (Axis, Json) {
    let pixel = found.axis;
    context.talk.note(format!("rotation axis at {pixel} (Vo's method, rows {}:{})", band.start, band.end));
    let json = Json::obj([
        ("method", Json::from("vo")),
        ("pixel", pixel.into()),
        ("coarse", found.coarse.into()),
        ("refined", found.refined().into()),
        ("first_row", band.start.into()),
        ("end_row", band.end.into()),
    ]);
    (Axis::Fixed(pixel), json)
}

fn of_opposite(found: &Correlated) -> Json {
    Json::obj([
        ("method", Json::from("correlation")),
        ("pixel", found.axis.into()),
        ("correlation", found.quality.into()),
        ("spread", found.spread.into()),
        ("means_removed", found.centred.into()),
    ])
}

/// What a line says to people.
pub fn describe(line: &Line) -> String {
    format!(
        "{:.3} +- {:.3} at row {:.0}, tilt {:.5} +- {:.5} px/row ({:.4} degrees), {} of {} bands",
        line.position,
        line.errors[0],
        line.row,
        line.tilt,
        line.errors[1],
        crate::num::elementary::atan2(line.tilt, 1.0) * 180.0 / PI,
        line.used.iter().filter(|u| **u).count(),
        line.used.len()
    )
}

fn of_line(method: &str, line: &Line) -> Json {
    Json::obj([
        ("method", Json::from(method)),
        ("pixel", line.position.into()),
        ("row", line.row.into()),
        ("tilt", line.tilt.into()),
        ("standard_error", line.errors[0].into()),
        ("tilt_standard_error", line.errors[1].into()),
        ("scatter", line.scatter.into()),
        ("bands", line.used.len().into()),
        ("bands_used", line.used.iter().filter(|u| **u).count().into()),
    ])
}

/// The rows in the middle.
pub fn middle_band(height: usize) -> Range<usize> {
    band_about(height / 2, height)
}

/// The rows about `middle` that are averaged.
fn band_about(middle: usize, height: usize) -> Range<usize> {
    match height > AXIS_MIN_HEIGHT {
        true => {
            let first = middle.saturating_sub(AXIS_ROWS).min(height - 2 * AXIS_ROWS);
            first..first + 2 * AXIS_ROWS
        }
        false => middle..middle + 1,
    }
}

/// The mean sinogram of some rows, absorption.
pub fn sinogram(context: &Context, how: &ScanArgs, scan: &OpenScan, rows: Range<usize>) -> Result<Vec<f32>> {
    let dims = scan.scan.projections.dims();
    let chain = quick_chain(how, scan, keep_or_zero(how.nonfinite), rows.clone())?;
    let width = rows.len() * dims.nx;
    let mut block = vec![0.0f32; chain.length(dims.nz, rows.len())];
    chain.read(0..dims.nz, rows.clone(), &mut block)?;
    chain.finish(context.isa, 0..dims.nz, rows.clone(), &mut block)?;
    let mut sinogram = vec![0.0f32; dims.nz * dims.nx];
    for (mean, values) in sinogram.chunks_exact_mut(dims.nx).zip(block.chunks_exact(width)) {
        for (column, mean) in mean.iter_mut().enumerate() {
            let sum: f32 = (0..rows.len()).map(|row| values[row * dims.nx + column]).sum();
            *mean = sum / rows.len() as f32;
        }
    }
    Ok(sinogram)
}

/// Vo's method on some rows.
pub fn vo(context: &Context, how: &ScanArgs, scan: &OpenScan, rows: Range<usize>) -> Result<Found> {
    vo_of(context, how, scan, sinogram(context, how, scan, rows)?)
}

/// Vo's method on a mean sinogram.
fn vo_of(context: &Context, how: &ScanArgs, scan: &OpenScan, mut sinogram: Vec<f32>) -> Result<Found> {
    let columns = scan.scan.projections.dims().nx;
    // The method wants the projections of one half turn, evenly spaced.
    let angles = scan.angles.radians();
    let start = angles.iter().copied().fold(f64::MAX, f64::min);
    let span = angles.iter().copied().fold(f64::MIN, f64::max) - start;
    if span < SHORTEST_TURN {
        return Err(Error::data(format!("no axis can be found in {:.0} degrees", span * 180.0 / PI))
            .help("Vo's method needs a half turn: give the axis with --center PIXELS"));
    }
    if span > LONGEST_HALF_TURN {
        let mut half = Vec::with_capacity(sinogram.len());
        for (line, angle) in sinogram.chunks_exact(columns).zip(angles) {
            if angle - start < PI {
                half.extend_from_slice(line);
            }
        }
        sinogram = half;
    }
    let options = match how.center_range {
        Some([smin, smax]) => Options { smin, smax, ..Options::default() },
        None => Options::default(),
    };
    center::vo(context.isa, &sinogram, sinogram.len() / columns, columns, &options)
}

/// A line through the axes of [`BANDS`] bands, and each band's middle row with its axis.
pub fn by_bands(context: &Context, how: &ScanArgs, scan: &OpenScan) -> Result<(Line, Vec<(f64, f64)>)> {
    let height = scan.scan.projections.dims().ny;
    let bands = BANDS.min(height);
    let mut points = Vec::new();
    for i in 0..bands {
        let rows = band_about((2 * i + 1) * height / (2 * bands), height);
        match vo(context, how, scan, rows.clone()) {
            Ok(found) => points.push((0.5 * (rows.start + rows.end - 1) as f64, found.refined())),
            // A band without an axis says nothing; anything else does.
            Err(e) if e.fault() == Fault::Data => {}
            Err(e) => return Err(e),
        }
    }
    let line = rows::fit(&points).ok_or_else(|| {
        Error::data(format!("{} of {bands} bands of rows tell an axis, and they do not agree on one", points.len()))
            .help("give the axis with --center PIXELS; `tomolith center --sheet` shows slices to choose from")
    })?;
    Ok((line, points))
}

/// The axis by the entropy of the slice of the middle rows.
pub fn by_entropy(context: &Context, how: &ScanArgs, scan: &OpenScan) -> Result<f64> {
    let dims = scan.scan.projections.dims();
    let plan = Plan::new(&Field::plain(dims.nx), &scan.angles, &scan.filter, how.algorithm, None)?;
    let rows = sinogram(context, how, scan, middle_band(dims.ny))?;
    let [from, to] = how.center_range.unwrap_or(ENTROPY_RANGE);
    let middle = (dims.nx as f64 - 1.0) / 2.0;
    entropy(context.isa, &plan, &rows, middle + 0.5 * (from + to), 0.5 * (to - from))
}

/// The axis from opposite views, of up to [`OPPOSITE_ROWS`] rows spread over the detector.
pub fn opposite(context: &Context, how: &ScanArgs, scan: &OpenScan) -> Result<Correlated> {
    let dims = scan.scan.projections.dims();
    let angles = scan.angles.radians();
    let mut pairs: Vec<(usize, usize, f64)> = Vec::new();
    for (i, a) in angles.iter().enumerate() {
        let far = |b: &f64| (b - a - PI).abs();
        let nearest = (0..angles.len()).min_by(|&x, &y| far(&angles[x]).total_cmp(&far(&angles[y])));
        if let Some(j) = nearest.filter(|&j| far(&angles[j]) < OPPOSITE) {
            pairs.push((i, j, angles[j] - a - PI));
        }
    }
    if pairs.is_empty() {
        return Err(Error::data("no two projections are opposite, half a turn apart").help("use --center vo"));
    }
    let step = pairs.len().div_ceil(PAIRS);
    let chosen: Vec<(usize, usize, f64)> = pairs.into_iter().step_by(step).collect();
    let every = dims.ny.div_ceil(OPPOSITE_ROWS);
    let chain = quick_chain(how, scan, keep_or_zero(how.nonfinite), 0..dims.ny)?;
    let view = |i: usize| -> Result<Vec<f32>> {
        let mut block = vec![0.0f32; chain.length(1, dims.ny)];
        chain.read(i..i + 1, 0..dims.ny, &mut block)?;
        chain.finish(context.isa, i..i + 1, 0..dims.ny, &mut block)?;
        Ok(block[..dims.ny * dims.nx].chunks_exact(dims.nx).step_by(every).flatten().copied().collect())
    };
    let views: Vec<[Vec<f32>; 2]> = chosen.iter().map(|&(i, j, _)| Ok([view(i)?, view(j)?])).collect::<Result<_>>()?;
    let pairs: Vec<Pair> =
        views.iter().zip(&chosen).map(|([front, back], &(_, _, miss))| Pair { front, back, miss }).collect();
    correlate(&pairs, dims.nx)
}
