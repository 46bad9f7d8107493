//! The scans of `tomolith phantom cell`: projections, flats and darks as counts, angles, and the configuration with which
//! `tomolith recon` reads them.

use super::cell::{CellArgs, Mode, Run};
use super::folder::Output;
use super::scan::{ScanSettings, Scans};
use crate::cli::options::Settings as CliSettings;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::num::elementary::atan2;
use crate::num::lanes::{Isa, Lane};
use crate::num::philox::Stream;
use crate::optics::wavelength;
use crate::os;
use crate::phantom::cell::{Preset, VOXEL};
use crate::phantom::matter::{ENERGY_KEV, Fill, LITHIUM, optical_table};
use crate::phantom::scan::detector::{Camera, Field, Frame, Settings};
use crate::phantom::scan::lab::{Lab, LabGeometry};
use crate::phantom::scan::motion::Pose;
use crate::phantom::scan::project::{FINE, Placement, Projector, layers};
use crate::phantom::scan::radiograph::{Object, Scan, fine_rows, picture};
use crate::phantom::scan::wave::{Propagation, Waves};
use crate::phantom::specimen::{Layer, Specimen};
use crate::recon::geometry::Angles;
use crate::units::{KiloElectronVolt, Micrometre};
use crate::volume::{Dims, Dtype};
use rayon::prelude::*;
use std::f64::consts::PI;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::PoisonError;

/// Stream of what is wrong with the stage: offset of the axis, errors of the fields of view.
const STAGE: u32 = 0x7374_6167;
/// Slices of the object above and below the detector's rows at the least: shifts and tilts look there.
const MARGIN: usize = 8;
/// What the stage and a field's tilt move what is seen by along z at the most, rows, and rows per column.
const OFF: [f64; 2] = [3.0, 0.0013];
/// Overlap of neighbouring fields of view, a part of their rows, and the rows that it has at the least, if there are as many:
/// the stage is off by three in each, and of fewer than eight nobody finds where a field lies.
const OVERLAP: f64 = 0.1;
const LEAST_OVERLAP: usize = 16;
/// Rows from one field to the next at the least.
const APART: usize = 8;
/// Of the memory that is free, line integrals take this part.
const MEMORY_SHARE: u64 = 3;
/// The share of Δδ/Δβ that retrieval is told. 15 voxels and more from every face along y of `small`, step 4, the contrast of
/// electrolyte and the two electrodes is, of the planted one: with the whole 0.90 and 0.94, with 0.8 of it 0.92 and 0.98,
/// with 0.6 of it 0.95 and 1.02; with the electrolyte's own δ/β, 1.3 of it, 0.84 and 0.88.
const SEEN_OF_EDGES: f64 = 0.75;

/// How radiographs are taken.
#[derive(Clone, Debug)]
pub struct Taking {
    /// Camera and beam.
    pub camera: Settings,
    /// Whether axis and fields of view are off.
    pub ideal: bool,
    /// Free space behind the cell.
    pub propagation: Propagation,
    /// Its length.
    pub distance: Micrometre,
    /// Fields of view, one above the other.
    pub fields: usize,
}

/// The cell as the projector sees it, with what lies outside the field of view.
struct Seen<'a> {
    lab: Lab<'a>,
    columns: usize,
    slices: usize,
    stack: &'a [Layer],
    /// µ per voxel of path and δ of each layer.
    values: Vec<[f64; 2]>,
    placement: Placement,
}

impl Object for Seen<'_> {
    fn columns(&self) -> usize {
        self.columns
    }
    fn fine_rows(&self) -> usize {
        fine_rows(self.slices)
    }
    fn fill(&self, isa: Isa, rows: Range<usize>, mu: &mut [Lane], delta: Option<&mut [Lane]>) -> Result<()> {
        // Sixteen rows are made, fewer may be wanted.
        self.lab.fill(isa, rows.start..rows.start + crate::num::lanes::LANES, mu, delta);
        Ok(())
    }
    fn around(&self, theta: f64, s: f64) -> [f64; 2] {
        layers(self.stack, &self.values, &self.placement, theta, s, self.columns as f64 / 2.0)
    }
}

/// Rows of each field of view and the first row of each, nominally.
pub fn field_rows(nz: usize, fields: usize) -> (usize, Vec<usize>) {
    if fields == 1 {
        return (nz, vec![0]);
    }
    let others = fields - 1;
    let rows = (nz as f64 / (fields as f64 - OVERLAP * others as f64)).ceil() as usize;
    let rows = rows.max((nz + others * LEAST_OVERLAP).div_ceil(fields)).min(nz);
    (rows, (0..fields).map(|f| f * (nz - rows) / (fields - 1)).collect())
}

/// Folder of a field of view in the step's folder.
fn folder(fields: usize, field: usize, name: &str) -> String {
    if fields == 1 { name.to_string() } else { format!("field_{field}/{name}") }
}

/// Names, frames and shapes of what one field of view writes.
const PARTS: [&str; 4] = ["projections", "flats", "flats_after", "darks"];

/// The volumes of the scan of step k, field by field.
pub fn outputs(run: &Run, k: usize, taking: &Taking) -> Vec<Output> {
    let scan = &run.args.scan;
    let (rows, firsts) = field_rows(run.args.cell.preset.size[2], taking.fields);
    let frames = [scan.projections, taking.camera.references, taking.camera.references, 2 * taking.camera.references];
    let mut outputs = Vec::new();
    for field in 0..firsts.len() {
        for (part, n) in PARTS.iter().zip(frames) {
            let dims = Dims { nz: n, ny: rows, nx: scan.columns };
            outputs.push(run.scan_output(k, &folder(taking.fields, field, part), dims, Dtype::U16, "counts"));
        }
    }
    outputs
}

/// Slices of the object above and below the detector's rows.
fn margin(scan: &ScanSettings) -> usize {
    let drift = 0.5 * scan.taking.fields as f64 * scan.motion.within_scan[2].abs();
    MARGIN.max((drift + OFF[0] + OFF[1] * scan.columns as f64).ceil() as usize)
}

/// What is wrong with the stage in one field of view.
fn field_of(preset: &Preset, scan: &ScanSettings, field: usize, stage: Stream, k: usize) -> Field {
    let ([nx, ny, nz], taking, columns) = (preset.size, &scan.taking, scan.columns);
    let (rows, firsts) = field_rows(nz, taking.fields);
    let middle = columns as f64 / 2.0;
    let ideal = Field { first_row: (firsts[field] + margin(scan)) as f64, ..Field::new(rows, columns, middle) };
    if taking.ideal {
        return ideal;
    }
    // The axis of the series: 5 to 20 pixels off, as far as the cell stays in view.
    let room = middle - 0.5 * ((nx * nx + ny * ny) as f64).sqrt() - 1.0;
    let side = if stage.uniform_f64(0) < 0.5 { -1.0 } else { 1.0 };
    let offset = side * (5.0 + 15.0 * stage.uniform_f64(1)).min(room.max(1.0));
    let tilt = 0.05 * (2.0 * stage.uniform_f64(2) - 1.0);
    let mut field_of = Field {
        center: middle + offset,
        axis_drift: 0.5 * (2.0 * stage.uniform_f64(3 + 8 * k as u64) - 1.0),
        tilt: tilt * PI / 180.0,
        ..ideal
    };
    if taking.fields > 1 {
        // Each field of view has been driven to anew: 1 to 3 pixels, 0.02 degrees, 1 % of the beam.
        let at = 1000 + 100 * k as u64 + 8 * field as u64;
        let off = |i: u64| {
            let v = 2.0 * stage.uniform_f64(at + i) - 1.0;
            (1.0 + 2.0 * v.abs()).copysign(v)
        };
        field_of.center += off(0);
        field_of.first_row += off(1);
        field_of.tilt += 0.02 * PI / 180.0 * (2.0 * stage.uniform_f64(at + 2) - 1.0);
        field_of.gain = 1.0 + 0.01 * (2.0 * stage.uniform_f64(at + 3) - 1.0);
    }
    field_of
}

/// Takes the radiographs of step k.
pub fn take(run: &Run, k: usize, specimen: &Specimen, pose: &Pose, taking: &Taking) -> Result<Scans> {
    let (args, isa) = (run.args, run.folder.context.isa);
    let (preset, scan) = (&args.cell.preset, &args.scan);
    let [nx, _, nz] = preset.size;
    let table = optical_table();
    let values = specimen.layers.iter().map(|l| {
        let o = table[usize::from(l.voxel.0)];
        [o.mu * Micrometre(VOXEL).centimetres(), o.delta]
    });
    let values: Vec<[f64; 2]> = values.collect();
    let none: &[Layer] = &[];
    let angles = Angles::half_turn(scan.projections)?;
    let outputs = outputs(run, k, taking);
    let [fixed, _] = bytes(run, k, run.folder.context.threads)?;
    // What the scan before was made in serves this one, too.
    let mut work = std::mem::take(&mut *run.work.lock().unwrap_or_else(PoisonError::into_inner));
    let free = os::free_memory() + work.bytes();
    let memory = free.saturating_sub(fixed + run.ahead) / MEMORY_SHARE;
    let memory = usize::try_from(memory).unwrap_or(usize::MAX);
    let margin = margin(scan);
    let geometry =
        LabGeometry { columns: scan.columns, oversampling: FINE, first_row: -(margin as i64), surround: scan.surround };
    let [column, row] = geometry.offset(specimen.dims);
    let middle = pose.stripping.apply(&[(nx as f64 - 1.0) / 2.0, 0.0, (nz as f64 - 1.0) / 2.0]);
    let r = &pose.stripping.rotation;
    let seen = Seen {
        lab: Lab::new(specimen, pose, geometry)?,
        columns: scan.columns,
        slices: nz + 2 * margin,
        stack: if scan.surround { &specimen.layers } else { none },
        values,
        placement: Placement {
            origin: [
                column as f64 + middle[0] - scan.columns as f64 / 2.0,
                row as f64 + middle[1] - (scan.columns as f64 / 2.0 - 1.0),
            ],
            turn: atan2(r[1][0], r[0][0]),
        },
    };
    let views: Vec<Field> = (0..taking.fields).map(|field| view(run, k, field, pose.within_scan)).collect();
    let cameras = views
        .iter()
        .zip(0..)
        .map(|(view, field)| Camera::new(&taking.camera, view, scan.projections, [args.cell.seed, k as u64, field]));
    let cameras = cameras.collect::<Result<Vec<Camera>>>()?;
    let mut made = Vec::new();
    for (field, (camera, outputs)) in cameras.iter().zip(outputs.chunks(PARTS.len())).enumerate() {
        let n = taking.camera.references;
        let frames = [
            ("flats", Frame::Flat as fn(usize) -> Frame, 0),
            ("flats after", Frame::Flat, n),
            ("darks", Frame::Dark, 0),
        ];
        for (output, (what, frame, first)) in outputs[1..].iter().zip(frames) {
            made.push(run.folder.make(output, what, &mut |sink, progress| {
                super::folder::by_slabs(sink, output.dims, rayon::current_num_threads(), progress, |z, out| {
                    out.par_chunks_mut(output.dims.slice()).zip(z).for_each(|(out, i)| {
                        out.copy_from_slice(&camera.counts(isa, frame(first + i), &[]));
                    });
                    Ok(())
                })
            })?);
        }
        companions(run, k, taking, field)?;
    }
    let projections: Vec<&Output> = outputs.iter().step_by(PARTS.len()).collect();
    made.extend(run.folder.make_all(&projections, "projections", &mut |sinks, progress| {
        let scan = Scan {
            object: &seen,
            cameras: &cameras,
            theta: angles.radians(),
            voxel: Micrometre(VOXEL),
            propagation: taking.propagation,
        };
        scan.projections(isa, memory, &mut work, sinks, progress)
    })?);
    *run.work.lock().unwrap_or_else(PoisonError::into_inner) = work;
    let truths = views.iter().enumerate().map(|(field, view)| {
        Json::obj([
            ("field", field.into()),
            ("axis_pixel", view.center.into()),
            ("axis_tilt_rad", view.tilt.into()),
            ("axis_drift_pixels", view.axis_drift.into()),
            ("first_row", (view.first_row - margin as f64).into()),
            ("gain", view.gain.into()),
            ("apparent_shift", Json::from(view.apparent_shift(angles.radians()))),
            ("moved_by_drift", Json::Arr(moved(taking, field, pose.within_scan).map(Json::from).to_vec())),
        ])
    });
    let truths = truths.collect();
    let order = outputs_in_order(&outputs);
    let names = made.into_iter().zip(&order).map(|(manifest, output)| {
        let name = output.base.strip_prefix(run.base(k, "")).unwrap_or(&output.base);
        (name.to_string_lossy().into_owned(), manifest)
    });
    Ok((names.collect(), vec![("fields", Json::Arr(truths))]))
}

/// The outputs in the order in which they are made: flats and darks first.
fn outputs_in_order(outputs: &[Output]) -> Vec<&Output> {
    let of = |is_last: bool| outputs.iter().enumerate().filter(move |(i, _)| (i % PARTS.len() == 0) == is_last);
    of(false).chain(of(true)).map(|(_, output)| output).collect()
}

/// What the cell has moved by, x, y, z, in the middle of a field's scan: one is taken after the other, and the cell drifts on.
fn moved(taking: &Taking, field: usize, within_scan: [f64; 3]) -> [f64; 3] {
    within_scan.map(|v| (field as f64 - 0.5 * (taking.fields as f64 - 1.0)) * v)
}

/// Angles, and configurations for `recon`.
fn companions(run: &Run, k: usize, taking: &Taking, field: usize) -> Result<()> {
    let scan = &run.args.scan;
    let mut theta = String::new();
    for i in 0..scan.projections {
        let _ = writeln!(theta, "{}", i as f64 * 180.0 / scan.projections as f64);
    }
    let name = |file: &str| format!("{}/{}", Run::name(k), folder(taking.fields, field, file));
    run.folder.text(&name("theta.txt"), &theta)?;
    configurations(run, taking, &name(""), 0..1, "")?;
    // And of all fields, joined.
    match taking.fields > 1 && field + 1 == taking.fields {
        true => configurations(run, taking, &format!("{}/", Run::name(k)), 0..taking.fields, "field_#/"),
        false => Ok(()),
    }
}

/// Configurations for `recon` in `there`, of fields that lie in `own`, # their number.
fn configurations(run: &Run, taking: &Taking, there: &str, fields: Range<usize>, own: &str) -> Result<()> {
    let of = |file: &str| {
        let each: Vec<String> = fields.clone().map(|f| own.replace('#', &f.to_string()) + file).collect();
        each.join(",")
    };
    let projections = of("projections.mhd");
    let (first, above) = projections.split_once(',').unwrap_or((&projections, ""));
    let mut recon = format!(
        "# tomolith recon --config scan.toml -o slices     (in this folder)\n[recon]\nscan = \"{first}\"\n\
         flats = \"{}\"\nflats-after = \"{}\"\ndarks = \"{}\"\ntheta = \"{}\"\n\
         theta-unit = \"deg\"\npixel = \"{VOXEL}um\"\nfilter = \"ramlak\"\n",
        of("flats.mhd"),
        of("flats_after.mhd"),
        of("darks.mhd"),
        of("theta.txt")
    );
    if !above.is_empty() {
        let (_, firsts) = field_rows(run.args.cell.preset.size[2], taking.fields);
        let offsets: Vec<String> = firsts.windows(2).map(|f| (f[1] - f[0]).to_string()).collect();
        let _ = writeln!(recon, "fields = \"{above}\"\noffset = \"{}\"\nsearch = 8", offsets.join(","));
    }
    if !taking.ideal {
        // Well above the photon noise, and not above what a zinger is.
        let camera = &taking.camera;
        let noise = (camera.level - camera.offset) / camera.quanta.sqrt();
        let _ = writeln!(recon, "zinger = {:.0}\nstripe = \"fw\"", (8.0 * noise).max(3000.0));
        // The foil seen edge-on passes 4 in 1000: less than the mean dark with a zinger in it, at a low dose nothing at
        // all, and what stripe removal takes off may leave less than nothing.
        let _ = writeln!(recon, "flat-average = \"median\"\nnonfinite = \"zero\"");
    }
    run.folder.text(&format!("{there}scan.toml"), &recon)?;
    if run.args.mode == Mode::Phase {
        // Three quarters of Δδ/Δβ of electrolyte and lithium, β = µ λ / 4π. Rays along a face that is seen edge-on over
        // millimetres bend by many pixels, so edges are fainter in the scan than the equation of the retrieval has them, and
        // with the whole it would take too much off: see SEEN_OF_EDGES.
        let (electrolyte, lithium) = (Fill::Electrolyte.optical(), LITHIUM);
        let beta = (electrolyte.mu - lithium.mu) * 1e-4 * wavelength(KiloElectronVolt(ENERGY_KEV)).0 / (4.0 * PI);
        let phase = format!(
            "{recon}energy = \"{ENERGY_KEV}keV\"\ndistance = \"{}um\"\ndelta-beta = {:.0}\n",
            taking.distance.0,
            SEEN_OF_EDGES * (electrolyte.delta - lithium.delta) / beta
        );
        let phase = phase.replace("scan.toml -o slices", "scan_phase.toml -o phase");
        run.folder.text(&format!("{there}scan_phase.toml"), &phase)?;
    }
    Ok(())
}

/// What one field of view sees at step k, the drift of the cell included: Y runs upward, the cell's y downward.
fn view(run: &Run, k: usize, field: usize, within_scan: [f64; 3]) -> Field {
    let CellArgs { cell, scan, .. } = run.args;
    let stage = Stream::new(scan.motion_seed, STAGE);
    let view = field_of(&cell.preset, scan, field, stage, k);
    let up = |[x, y, z]: [f64; 3]| [x, -y, z];
    Field { drift: up(within_scan), moved: up(moved(&scan.taking, field, within_scan)), ..view }
}

/// Bytes that a scan of step k holds beside the specimen: whatever the memory, and for each projection whose line integrals
/// are kept at a time, of which there must be one; see [`super::memory`].
///
/// # Errors
/// Those of free space.
pub fn bytes(run: &Run, k: usize, threads: usize) -> Result<[u64; 2]> {
    let CellArgs { cell, scan, .. } = run.args;
    let views: Vec<Field> = (0..scan.taking.fields).map(|field| view(run, k, field, scan.motion.within_scan)).collect();
    let (rows, width) = picture(views.iter(), fine_rows(cell.preset.size[2] + 2 * margin(scan)));
    let waves = Waves::new(rows.len(), width, Micrometre(VOXEL), &scan.taking.propagation)?;
    let (pixels, quantities) = ((rows.len() * width) as u64, 1 + u64::from(waves.refracts()));
    let frames: u64 = views.iter().map(|view| 8 * (view.rows * view.columns) as u64).sum();
    let side = (FINE * scan.columns) as u64;
    let grids = Projector::new(scan.columns, width).grids() as u64;
    let cells = 2 * grids * size_of::<Lane>() as u64 * side * side;
    let works = threads as u64 * (waves.bytes() as u64 + 12 * pixels + frames);
    // Of an angle also its lines of four grids, and what lies around.
    let one = 4 * quantities * pixels + ((4 * size_of::<Lane>() + size_of::<[f64; 2]>()) * width) as u64;
    Ok([cells + works, one])
}

/// Refuses a scan of which no slice can be made.
pub fn enough(settings: &CliSettings, projections: usize) -> Result<()> {
    if projections < 2 {
        return Err(settings.blame("projections", Error::usage("one is no tomogram").help("at least 2")));
    }
    Ok(())
}

/// Refuses what cannot be taken.
pub fn check(
    settings: &CliSettings,
    taking: &Taking,
    preset: &Preset,
    [columns, projections]: [usize; 2],
) -> Result<()> {
    let (rows, firsts) = field_rows(preset.size[2], taking.fields);
    if let Some(apart) = firsts.windows(2).map(|f| f[1] - f[0]).min().filter(|&n| n < APART) {
        return Err(Error::usage(format!("--fields: {} fields {apart} rows apart", taking.fields)).help(format!(
            "take fewer, or a higher cell: {APART} rows and more, as the stage is off by three in each"
        )));
    }
    if taking.fields > 8 || rows < 16 && taking.fields > 1 {
        return Err(Error::usage(format!("--fields: {} fields of {rows} rows", taking.fields))
            .help("at least 16 rows each, and at most 8 fields"));
    }
    if projections > 1 << 16 {
        return Err(Error::usage(format!("--projections: {projections} are more than 65536")).help("take fewer"));
    }
    enough(settings, projections)?;
    if taking.camera.bad_pixels > rows * columns {
        let bad = Error::usage(format!("{} dead pixels", taking.camera.bad_pixels))
            .help(format!("the camera has {rows} x {columns}"));
        return Err(settings.blame("dead-pixels", bad));
    }
    Waves::new(2, 2, Micrometre(VOXEL), &taking.propagation).map_err(|e| settings.blame("distance", e))?;
    // The camera's own checks, before anything is written.
    let camera = Settings { bad_pixels: 0, ..taking.camera.clone() };
    Camera::new(&camera, &Field::new(rows, 2, 0.5), projections, [0; 3]).map(drop)
}
