//! `tomolith trace register`: one block's climb, step by step, for teaching.

use crate::cli::options::{Opt, Settings as Options, Takes};
use crate::cli::picture::Picture;
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::exchange;
use crate::num::elementary::exp;
use crate::num::philox::Stream;
use crate::os;
use crate::register::body::{Region, block};
use crate::register::interpolate::Interpolation;
use crate::register::resample::{Grid, Plan, resample};
use crate::register::rigid::{Rigid, middle};
use crate::register::{Match, Settings, Step};
use crate::units::{Degree, Radian};
use crate::volume::{Collect, Dims, Memory, Source};
use std::array::from_fn;
use std::fmt::Write as _;
use std::path::PathBuf;

/// The command.
pub const COMMAND: Command = Command {
    path: &["trace", "register"],
    about: "Register one block and keep every step as picture and numbers",
    details: "Writes into DIR a picture for each step that was taken: the middle slice of the fixed block, the moving volume \
              through the motion of that step, and their difference; correlation.png, steps.csv and README.txt, which \
              explains them. Without volumes it takes two made on the spot, whose motion is known.",
    examples: "  tomolith trace register -o steps\n  \
               tomolith trace register --fixed last.mhd --moving first.mhd --at 200,300,128 --size 96 -o steps",
    groups: &[(
        "",
        &[
            Opt::new("fixed", Takes::Value("VOLUME"), "The volume that stays [default: made on the spot]"),
            Opt::new("moving", Takes::Value("VOLUME"), "The other"),
            Opt::new("at", Takes::Value("X,Y,Z"), "Middle of the block [default: that of the fixed volume]"),
            Opt::new("size", Takes::Number("N"), "Its sides, voxels").default("96"),
            Opt::new("output", Takes::Value("DIR"), "Folder to write to; it is created").short('o'),
            Opt::new("overwrite", Takes::Switch, "Replace existing files"),
        ],
    )],
    run,
};

/// Sides of the volumes that are made, their grains, and the noise as a part of what the grains vary by.
const SIDE: usize = 112;
const GRAINS: u64 = 500;
const NOISE: f64 = 0.3;
/// Columns between the three panels.
const BETWEEN: usize = 4;
/// The block is moved no farther than this.
const CAPTURE: f64 = 20.0;

/// The two volumes, and the motion between them where it is known.
struct Pair {
    fixed: Box<dyn Source>,
    moving: Box<dyn Source>,
    truth: Option<Rigid>,
}

/// Round grains, and the same grains moved, each with noise of its own.
fn made() -> Result<Pair> {
    let dims = Dims { nz: SIDE, ny: SIDE, nx: SIDE };
    let truth = Rigid::new([0.02, -0.015, 0.03], middle(dims), [4.3, -2.6, 3.4]);
    let volume = |motion: &Rigid, number: u32| {
        let (grains, noise) = (Stream::new(1, 0), Stream::new(1, number));
        let mut values = vec![0f64; dims.voxels()];
        for k in 0..GRAINS {
            let u = |i: u64| grains.uniform_f64(5 * k + i);
            let at = motion.apply(&from_fn(|i| SIDE as f64 * u(i as u64)));
            let (radius, height) = (2.0 + 3.0 * u(3), 2.0 * u(4) - 1.0);
            let near = |i: usize| {
                let clamp = |v: f64| v.clamp(0.0, SIDE as f64) as usize;
                clamp(at[i] - 4.0 * radius)..clamp(at[i] + 4.0 * radius + 1.0)
            };
            for z in near(2) {
                for y in near(1) {
                    for x in near(0) {
                        let p = [x, y, z];
                        let square = (0..3).fold(0.0, |s, i| s + (p[i] as f64 - at[i]) * (p[i] as f64 - at[i]));
                        values[(z * SIDE + y) * SIDE + x] += height * exp(-0.5 * square / (radius * radius));
                    }
                }
            }
        }
        let square = values.iter().fold(0.0, |s, v| s + v * v) / values.len() as f64;
        let sigma = NOISE * square.sqrt();
        Memory::new(dims, values.iter().enumerate().map(|(i, v)| (v + sigma * noise.normal(i as u64)) as f32).collect())
    };
    let (fixed, moving) = (volume(&Rigid::identity([0.0; 3]), 1)?, volume(&truth, 2)?);
    Ok(Pair { fixed: Box::new(fixed), moving: Box::new(moving), truth: Some(truth) })
}

fn pair(context: &Context) -> Result<Pair> {
    let options = &context.settings;
    match (options.path("fixed")?, options.path("moving")?) {
        (None, None) => made(),
        (Some(fixed), Some(moving)) => Ok(Pair {
            fixed: exchange::open_stack(&fixed, context.io)?,
            moving: exchange::open_stack(&moving, context.io)?,
            truth: None,
        }),
        _ => Err(Error::usage("one volume alone cannot be registered").help("give --fixed and --moving, or neither")),
    }
}

/// The block: a cube within the fixed volume.
fn region(options: &Options, dims: Dims) -> Result<Region> {
    let n = [dims.nx, dims.ny, dims.nz];
    let size = options.parsed("size", values::count)?;
    let at: [f64; 3] = match options.parse("at", values::numbers)? {
        None => middle(dims),
        Some(list) => list.try_into().map_err(|_| Error::usage("--at has three numbers: x, y, z"))?,
    };
    let half = size as f64 / 2.0;
    let region: Region = from_fn(|i| {
        let from = (at[i] - half + 0.5).max(0.0) as usize;
        from..(from + size).min(n[i])
    });
    if region.iter().any(std::ops::Range::is_empty) {
        return Err(Error::usage(format!("the block at {at:?} lies outside the volume of {n:?} voxels")));
    }
    Ok(region)
}

fn run(context: &Context) -> Result<()> {
    let options = &context.settings;
    let folder = options.required_path("output")?;
    let overwrite = options.is_on("overwrite")?;
    let pair = pair(context)?;
    let region = region(options, pair.fixed.dims())?;
    let readme = folder.join("README.txt");
    if readme.exists() && !overwrite {
        return Err(Error::writing(&readme, &std::io::ErrorKind::AlreadyExists.into()));
    }
    let start = Rigid::identity([0.0; 3]);
    let settings = Settings { capture: CAPTURE, ..Settings::default() };
    let found = block(context.isa, pair.fixed.as_ref(), pair.moving.as_ref(), &region, &start, &settings)?;
    std::fs::create_dir_all(&folder).map_err(|e| Error::writing(&folder, &e))?;
    let mut drawn: Vec<PathBuf> = Vec::new();
    for (k, step) in found.trace.iter().enumerate().filter(|(_, s)| s.taken) {
        os::check_interrupt()?;
        let path = folder.join(format!("step_{k:02}.png"));
        draw(context, &pair, &region, step, k)?.write(&path, overwrite)?;
        drawn.push(path);
    }
    let correlations: Vec<f32> = found.trace.iter().filter(|s| s.taken).map(|s| s.correlation as f32).collect();
    Picture::curve(&correlations, "CORRELATION, STEP BY STEP").write(&folder.join("correlation.png"), overwrite)?;
    exchange::write_text(&folder.join("steps.csv"), &table(&found, pair.truth.as_ref(), &region), overwrite)?;
    let text = explain(&found, pair.truth.as_ref(), &region);
    exchange::write_text(&readme, &text, overwrite)?;
    context.out.text(&text)?;
    context.talk.note(format!("{} pictures in {}", drawn.len(), folder.display()));
    Ok(())
}

/// Fixed, moving under the motion of a step, and the difference of the two, in the middle slice of the block.
fn draw(context: &Context, pair: &Pair, region: &Region, step: &Step, k: usize) -> Result<Picture> {
    let [nx, ny] = [region[0].len(), region[1].len()];
    let z = region[2].start + region[2].len() / 2;
    let grid = Grid { first: [region[0].start, region[1].start, z], dims: Dims { nz: 1, ny, nx } };
    let look = |source: &dyn Source, motion: Rigid| -> Result<Vec<f32>> {
        let plan = Plan { motion, grid, how: Interpolation::Cubic, memory: u64::MAX / 4 };
        let mut out = Collect::new(grid.dims);
        resample(context.isa, source, &plan, &mut out, None, &mut |_, _| ())?;
        Ok(out.values)
    };
    let fixed = look(pair.fixed.as_ref(), Rigid::identity([0.0; 3]))?;
    let moving = look(pair.moving.as_ref(), step.motion)?;
    let mean = fixed.iter().fold(0.0, |s, v| s + f64::from(*v)) / fixed.len() as f64;
    let width = 3 * nx + 2 * BETWEEN;
    let mut panels = vec![mean as f32; width * ny];
    for (i, (f, m)) in fixed.iter().zip(&moving).enumerate() {
        let at = i / nx * width + i % nx;
        panels[at] = *f;
        panels[at + nx + BETWEEN] = *m;
        panels[at + 2 * (nx + BETWEEN)] = m - f + mean as f32;
    }
    let caption = format!("STEP {k}, SCALE 1/{}, CORRELATION {:.4}", step.scale, step.correlation);
    Picture::linear(&panels, width, &caption)
}

/// Farthest that a motion is from the planted one at a corner of the block, voxels.
fn error(motion: &Rigid, truth: Option<&Rigid>, region: &Region) -> Option<f64> {
    let first = [0, 1, 2].map(|i| region[i].start as f64);
    let dims = Dims { nx: region[0].len(), ny: region[1].len(), nz: region[2].len() };
    truth.map(|truth| motion.corner_distance(truth, first, dims).1)
}

fn table(found: &Match, truth: Option<&Rigid>, region: &Region) -> String {
    let mut text = String::from(
        "step,scale,taken,correlation,step_voxels,damping,x_voxel,y_voxel,z_voxel,turn_x_deg,turn_y_deg,turn_z_deg,\
         error_voxels\n",
    );
    for (k, s) in found.trace.iter().enumerate() {
        let [x, y, z] = s.motion.about(found.motion.centre).translation;
        let [u, v, w] = s.motion.rotation_vector().map(|v| Degree::from(Radian(v)).0);
        let error = error(&s.motion, truth, region).map_or(String::new(), |v| format!("{v:.5}"));
        let _ = writeln!(
            text,
            "{k},{},{},{:.6},{:.6},{:e},{x:.6},{y:.6},{z:.6},{u:.6},{v:.6},{w:.6},{error}",
            s.scale,
            u8::from(s.taken),
            s.correlation,
            s.step,
            s.damping
        );
    }
    text
}

fn explain(found: &Match, truth: Option<&Rigid>, region: &Region) -> String {
    let mut text = format!(
        "One block, {region:?} (x, y, z) of the fixed volume, registered to the moving one.\n\n\
         A step moves the block's image by what the slope of the correlation and its curvature say (Gauss-Newton), first in\n\
         volumes binned 16 or 8 times, where a lattice of shifts is tried, then 4, 2 and 1 times. The last steps are taken\n\
         with voxels weighted by how well they fit. steps.csv has every step; step_NN.png those that were taken: the fixed\n\
         block, the moving volume through the motion so far, and their difference, which turns grey as edges meet.\n\n"
    );
    for (k, s) in found.trace.iter().enumerate().filter(|(_, s)| s.taken) {
        let off = error(&s.motion, truth, region).map_or(String::new(), |v| format!(", {v:8.4} voxels off"));
        let _ = writeln!(text, "step {k:2}  scale 1/{:<2}  correlation {:.4}{off}", s.scale, s.correlation);
    }
    let off = error(&found.motion, truth, region).map_or(String::new(), |v| format!(", which is {v:.4} off"));
    let _ = writeln!(
        text,
        "\nThe motion is known to {:.4} voxels at the worst corner{off}; correlation {:.4} before, {:.4} after.",
        found.corner_sigma, found.correlation[0], found.correlation[1]
    );
    text
}
