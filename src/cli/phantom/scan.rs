//! Motion, detector and grey values of `tomolith phantom cell`: the options, and the scans themselves.

use super::cell::{Mode, Run};
use super::folder::{Output, by_slabs};
use super::given::within;
use super::radiographs::{self, Taking};
use crate::cli::options::{Opt, Settings, Takes};
use crate::cli::values;
use crate::error::{Error, Result};
use crate::exchange::png::write_grey8;
use crate::json::Json;
use crate::phantom::cell::Preset;
use crate::phantom::matter::ENERGY_KEV;
use crate::phantom::scan::detector::{MOST_QUANTA, Settings as CameraSettings};
use crate::phantom::scan::grey::{Grey, GreySettings};
use crate::phantom::scan::motion::{MotionSettings, Pose};
use crate::phantom::scan::wave::Propagation;
use crate::phantom::specimen::Specimen;
use crate::units::KiloElectronVolt;
use crate::volume::manifest::Manifest;
use crate::volume::{Dims, Dtype};

/// Its options.
pub const OPTIONS: &[Opt] = &[
    Opt::new("still", Takes::Switch, "Nothing moves between or within scans"),
    Opt::new(
        "shift",
        Takes::Number("VOXELS"),
        "Standard deviation of a scan's shift; the series drifts by 0.5 a scan, too",
    )
    .default("3"),
    Opt::new("turn", Takes::Number("DEG"), "Standard deviation of a scan's rotation about each axis").default("0.1"),
    Opt::new("tilt", Takes::Number("DEG"), "How far the sample leans, in all scans: half to three halves of it")
        .default("0"),
    Opt::new("relative", Takes::Number("VOXELS"), "Motion of the plating against the stripping side").default("0.3"),
    Opt::new("warp", Takes::Number("VOXELS"), "Smooth warp of each scan: a third to five thirds of it").default("3"),
    Opt::new("scan-drift", Takes::Number("VOXELS"), "Motion from the first to the last projection of a scan")
        .default("0.3"),
    Opt::new("motion-seed", Takes::Number("N"), "Seed of motions, and of where fields of view lie [default: --seed]"),
    Opt::new("untruncated", Takes::Switch, "The cell ends at its box: no cell outside the field of view"),
    Opt::new("columns", Takes::Number("N"), "Detector columns [default: the preset's]"),
    Opt::new("projections", Takes::Number("N"), "Projections over half a turn [default: the preset's]"),
    Opt::new("dose", Takes::Number("N"), "Quanta in a pixel of a frame [default: 1e8; radiographs-phase: 1e4]"),
    Opt::new("detector", Takes::Choice(&["real", "ideal"]), "ideal: photon noise and nothing else, axis in the middle")
        .default("real"),
    Opt::new("dead-pixels", Takes::Number("N"), "Dead and hot pixels of the camera").default("0"),
    Opt::new(
        "fields",
        Takes::Number("N"),
        "Fields of view, one above the other, overlapping by a tenth, and by 16 rows at the least",
    )
    .default("1"),
    Opt::new("distance", Takes::Number("LENGTH"), "--mode radiographs-phase: from the cell to the detector")
        .default("6cm"),
    Opt::new("propagation", Takes::Choice(&["fresnel", "tie"]), "The same: diffraction, or its first order")
        .default("fresnel"),
    Opt::new("bandwidth", Takes::Number("X"), "Relative width of the spectrum, for fresnel").default("0.01"),
    Opt::new("cnr", Takes::Number("X"), "--mode volume: contrast of lithium and electrolyte over the noise")
        .default("5"),
    Opt::new("rings", Takes::Number("X"), "--mode volume: rings, as a part of that contrast").default("0.05"),
    Opt::new("blur", Takes::Number("VOXELS"), "--mode volume: standard deviation of the blur").default("0.6"),
];

/// Stream of directions in which a scan drifts.
const DIRECTION: u32 = 0x6472_6966;

/// The resolved options.
pub struct ScanSettings {
    /// How the cell moves.
    pub motion: MotionSettings,
    /// Seed of its motions and of where fields of view lie.
    pub motion_seed: u64,
    /// Whether the cell goes on outside its box.
    pub surround: bool,
    /// Detector columns and projections.
    pub columns: usize,
    /// See `columns`.
    pub projections: usize,
    /// Grey values.
    pub grey: GreySettings,
    /// Radiographs.
    pub taking: Taking,
}

impl ScanSettings {
    /// Parses the options.
    ///
    /// # Errors
    /// Usage.
    pub fn from_settings(settings: &Settings, preset: &Preset, mode: Mode, seed: u64) -> Result<ScanSettings> {
        // Upper ends are a few times what any beamline does: beyond, the cell would leave its box.
        let number = |name: &str, low: f64, high: f64| within(settings, name, low, high);
        let still = settings.is_on("still")?;
        let motion_seed = settings.parse("motion-seed", values::seed)?.unwrap_or(seed);
        let [tilt, warp] = [number("tilt", 0.0, 10.0)?, number("warp", 0.0, 50.0)?];
        let [drift, relative] = [number("scan-drift", 0.0, 20.0)?, number("relative", 0.0, 20.0)?];
        let mut direction = crate::num::philox::Stream::new(motion_seed, DIRECTION)
            .u32x4(0)
            .map(|w| f64::from(w) / f64::from(u32::MAX) - 0.5);
        let length = direction[..3].iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-3);
        direction.iter_mut().for_each(|v| *v *= drift / length);
        let motion = MotionSettings {
            translation: number("shift", 0.0, 100.0)?,
            rotation_deg: number("turn", 0.0, 10.0)?,
            drift: 0.5,
            tilt_deg: [0.5 * tilt, 1.5 * tilt],
            relative_translation: relative,
            relative_rotation_deg: relative / 15.0,
            warp: [warp / 3.0, 5.0 * warp / 3.0],
            within_scan: [direction[0], direction[1], direction[2]],
        };
        let surround = !settings.is_on("untruncated")?;
        let columns = settings.parse("columns", values::count)?.unwrap_or(preset.columns);
        let [nx, ny, _] = preset.size;
        if columns % 2 == 1 || columns > 1 << 14 || (columns * columns) < nx * nx + ny * ny {
            return Err(Error::usage(format!("--columns: {columns} columns do not see the cell")).help(format!(
                "an even number, at least the diagonal of {nx} x {ny}; the preset has {}",
                preset.columns
            )));
        }
        let projections = settings.parse("projections", values::count)?.unwrap_or(preset.projections);
        let phase = mode == Mode::Phase;
        let quanta = match settings.is_given("dose")? {
            true => number("dose", 1.0, MOST_QUANTA)?,
            false if phase => 1e4,
            false => 1e8,
        };
        let ideal = settings.text("detector")? == Some("ideal");
        let distance = settings.parsed("distance", values::length)?;
        let camera =
            if ideal { CameraSettings::plain(quanta) } else { CameraSettings { quanta, ..CameraSettings::default() } };
        let taking = Taking {
            camera: CameraSettings { bad_pixels: settings.parsed("dead-pixels", values::index)?, ..camera },
            ideal,
            propagation: match (phase, settings.text("propagation")?) {
                (false, _) => Propagation::Contact,
                (_, Some("tie")) => Propagation::Transport { distance },
                _ => Propagation::Fresnel {
                    energy: KiloElectronVolt(ENERGY_KEV),
                    distance,
                    bandwidth: number("bandwidth", 0.0, 0.49)?,
                },
            },
            distance,
            fields: settings.parsed("fields", values::count)?,
        };
        radiographs::check(settings, &taking, preset, [columns, projections])?;
        let grey = GreySettings {
            cnr: number("cnr", 0.01, 1e6)?,
            blur: number("blur", 0.0, 20.0)?,
            rings: number("rings", 0.0, 10.0)?,
            surround,
        };
        grey.check()?;
        Ok(ScanSettings {
            motion: if still { MotionSettings::STILL } else { motion },
            motion_seed,
            surround,
            columns,
            projections,
            grey,
            taking,
        })
    }

    /// What decides a scan, for manifests.
    pub fn params(&self, mode: Mode) -> Json {
        if mode == Mode::Labels {
            return Json::Null;
        }
        let m = &self.motion;
        let mut members = vec![
            ("shift_voxels", m.translation.into()),
            ("turn_deg", m.rotation_deg.into()),
            ("drift_voxels_per_scan", m.drift.into()),
            ("tilt_deg", Json::from(m.tilt_deg)),
            ("relative_voxels", m.relative_translation.into()),
            ("relative_deg", m.relative_rotation_deg.into()),
            ("warp_voxels", Json::from(m.warp)),
            ("within_scan_voxels", Json::from(m.within_scan)),
            ("surround", self.surround.into()),
        ];
        match mode {
            Mode::Volume => members.extend([
                ("cnr", self.grey.cnr.into()),
                ("blur_voxels", self.grey.blur.into()),
                ("rings", self.grey.rings.into()),
            ]),
            _ => {
                let t = &self.taking;
                members.extend([
                    ("columns", self.columns.into()),
                    ("projections", self.projections.into()),
                    ("quanta", t.camera.quanta.into()),
                    ("ideal", t.ideal.into()),
                    ("dead_pixels", t.camera.bad_pixels.into()),
                    ("fields", t.fields.into()),
                ]);
                if mode == Mode::Phase {
                    let bandwidth = match t.propagation {
                        Propagation::Fresnel { bandwidth, .. } => Json::from(bandwidth),
                        _ => Json::Null,
                    };
                    let kind = if bandwidth == Json::Null { "tie" } else { "fresnel" };
                    members.extend([
                        ("distance_um", t.distance.0.into()),
                        ("propagation", kind.into()),
                        ("bandwidth", bandwidth),
                    ]);
                }
            }
        }
        Json::obj(members)
    }
}

/// The volumes of the scan of step k.
pub fn outputs(run: &Run, k: usize) -> Vec<Output> {
    match run.args.mode {
        Mode::Labels => Vec::new(),
        Mode::Volume => vec![run.scan_output(k, "grey", run.args.cell.preset.dims(), Dtype::F32, "1/cm")],
        Mode::Radiographs | Mode::Phase => radiographs::outputs(run, k, &run.args.scan.taking),
    }
}

/// Volumes by name, and what only the truth says of them.
pub type Scans = (Vec<(String, Manifest)>, Vec<(&'static str, Json)>);

/// Makes the scan of step k.
///
/// # Errors
/// Those of the scan and of the disk.
pub fn make(run: &Run, k: usize, specimen: &Specimen, pose: &Pose) -> Result<Scans> {
    match run.args.mode {
        Mode::Labels => Ok((Vec::new(), Vec::new())),
        Mode::Volume => grey(run, k, specimen, pose),
        Mode::Radiographs | Mode::Phase => radiographs::take(run, k, specimen, pose, &run.args.scan.taking),
    }
}

fn grey(run: &Run, k: usize, specimen: &Specimen, pose: &Pose) -> Result<Scans> {
    let args = run.args;
    let dims = args.cell.preset.dims();
    let grey = Grey::new(specimen, pose, args.scan.grey, run.folder.context.isa, args.cell.seed, k as u32)?;
    let output = &outputs(run, k)[0];
    let manifest = run.folder.make(output, "grey", &mut |sink, progress| {
        by_slabs(sink, dims, 16, progress, |z, out| {
            grey.run(z, out);
            Ok(())
        })
    })?;
    let mut slice = vec![0.0f32; dims.slice()];
    grey.run(dims.nz / 2..dims.nz / 2 + 1, &mut slice);
    picture(run, k, "grey.png", &slice, dims)?;
    Ok((vec![("grey".to_string(), manifest)], Vec::new()))
}

/// A slice for the eye: the paper's window of attenuation, −0.2 to 1.2 per cm.
fn picture(run: &Run, k: usize, name: &str, slice: &[f32], dims: Dims) -> Result<()> {
    const WINDOW: [f32; 2] = [-0.2, 1.2];
    let grey = |v: f32| ((v - WINDOW[0]) / (WINDOW[1] - WINDOW[0]) * 255.0).clamp(0.0, 255.0) as u8;
    let pixels: Vec<u8> = slice.iter().map(|&v| grey(v)).collect();
    write_grey8(&run.base(k, name), dims.nx, dims.ny, &pixels, true)
}
