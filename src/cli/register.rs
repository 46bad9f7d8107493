//! `tomolith register`: volumes of one sample at other times, onto one of them.

use crate::cli::options::{Opt, Settings as Options, Takes};
use crate::cli::progress::Progress;
use crate::cli::reconstruct::{refuse_outputs, summary};
use crate::cli::resample::{INTERPOLATION, MEMORY, Written, read_transform, write};
use crate::cli::stitch::with_role;
use crate::cli::{Command, Context, values};
use crate::error::{Error, Fault, Result};
use crate::exchange;
use crate::json::Json;
use crate::num::CONTRACT;
use crate::num::linalg::Matrix;
use crate::provenance::InputFile;
use crate::register::body::{self, Body, Cut, Region, Report};
use crate::register::closure::closure;
use crate::register::flatten::WINDOW;
use crate::register::interpolate::Interpolation;
use crate::register::resample::Grid;
use crate::register::{Match, Rigid, Settings};
use crate::units::{Degree, Micrometre};
use crate::volume::manifest::seal;
use crate::volume::reader::with_suffix;
use crate::volume::{Dims, Source, Spacing};
use std::ops::Range;
use std::path::{Path, PathBuf};

pub mod ahead;
mod axes;
mod given;
mod levelled;
mod sheet;

use given::{bases, bodies, kept, moving};

/// All scans of a run: the six numbers of every body as a table and as a picture.
const TABLE: &str = "registration.csv";
const SHEET: &str = "registration.png";

/// The command.
pub const COMMAND: Command = Command {
    path: &["register"],
    about: "Find how a sample moved from scan to scan, and bring every volume onto one grid",
    details: "Every volume of --moving is registered to --fixed by blocks: rigid motions, found to a few thousandths of a \
              voxel, with covariance and residuals. Written are, for each, NAME.transform.json (matrix: column vectors of \
              voxel-centre indices x, y, z, from fixed to moving) and the resampled volume NAME with its mask NAME.mask, \
              cropped to the box that all volumes see; and the fixed volume cropped alike, as `fixed`. \
              For the eye there are NAME.audit.png, squares of both volumes before and after with what is left at the \
              blocks, and registration.png, all scans' motions with bars of two standard deviations, which registration.csv \
              holds as numbers. Bodies that move against each \
              other, as the two electrodes of a cell, are named by their y ranges in the fixed volume; volumes go through \
              the motion of the first one. What cannot be registered is refused with the reason: no overlap, no \
              structure, too large a motion, blocks that are not one body.",
    examples: "  tomolith register --fixed last.mhd --moving first.mhd,second.mhd -o registered\n  \
               tomolith register --fixed s24.mhd --moving series/ --bodies stripping=420:698,plating=0:180 --closure \
               -o registered\n  \
               tomolith register --fixed a.mhd --moving b.mhd --capture 40 --transform-only -o out",
    groups: &[
        (
            "",
            &[
                Opt::new("fixed", Takes::Value("VOLUME"), "The volume that stays: the last scan, in the paper"),
                Opt::new(
                    "moving",
                    Takes::Value("VOLUME,..|DIR"),
                    "The others, or a folder of volumes (.mhd), or of folders with one",
                ),
                Opt::new("output", Takes::Value("DIR"), "Folder of the results; created").short('o'),
                Opt::new("bodies", Takes::Value("NAME=A:B,.."), "Rigid bodies as ranges of y in the fixed volume"),
                Opt::new("columns", Takes::Value("A:B"), "Look at these x of the fixed volume only: those that were in view"),
                Opt::new("slices", Takes::Value("A:B"), "Look at these z only"),
                Opt::new(
                    "orient",
                    Takes::Value("auto|FILE.json"),
                    "Results lie level, and are still interpolated once: by the faces of the bodies, or by what `orient` wrote \
                     for the fixed volume; without a face nothing is levelled, with a warning",
                ),
                Opt::new(
                    "closure",
                    Takes::Switch,
                    "Register each moving volume to the next one, too, and tell how far the three motions are from closing",
                ),
                Opt::new("transform-only", Takes::Switch, "Write transforms, no volumes"),
                Opt::new(
                    "crop",
                    Takes::Value("common|fixed|BOX"),
                    "Grid of the volumes: what all see, all, or of what all see the part within a box of the fixed volume, such as \
                     x=100:500,y=0:700",
                )
                .default("common"),
                INTERPOLATION,
                MEMORY,
                Opt::new("overwrite", Takes::Switch, "Replace existing outputs"),
            ],
        ),
        (
            "The search",
            &[
                Opt::new(
                    "block",
                    Takes::Number("N|auto"),
                    "Longest side of a block, voxels; auto: 300, and a third of a named body's longest side, from 64 on",
                )
                .default("auto"),
                Opt::new("blocks", Takes::Number("N"), "Blocks of a body, those that hold its motion best")
                    .default("8"),
                Opt::new(
                    "flatten",
                    Takes::Number("N|auto|none"),
                    "Look at voxels less the means of N along z and along x: rings and streaks of layers; auto: 31 for named \
                     bodies",
                )
                .default("auto"),
                Opt::new("capture", Takes::Number("N"), "Shifts along each axis to be found, voxels").default("20"),
                Opt::new("capture-turn", Takes::Number("DEG"), "Turns about each axis to be found, degrees")
                    .default("3"),
            ],
        ),
    ],
    run,
};

/// Longest side of a block, and the least of a named body's.
const BLOCK: usize = 300;
const SMALL_BLOCK: usize = 64;

/// A third of the region's longest side, so that several blocks hold its rotation and tell how well it is known.
fn auto_block(region: &Region) -> usize {
    region.iter().map(Range::len).fold(1, usize::max).div_ceil(3).clamp(SMALL_BLOCK, BLOCK)
}

/// Schema of a transform's file, and the member that seals it.
pub const SCHEMA: &str = "tomolith-transform-1";
/// See [`SCHEMA`].
const SEAL: &str = "transform_sha256";
/// Version of the stage in transforms and manifests.
pub const VERSION: u32 = 6;

/// A rigid body: its name and its y range in the fixed volume.
struct Named {
    name: String,
    region: Region,
}

/// What is registered, and how.
struct Work<'a> {
    context: &'a Context,
    fixed: Box<dyn Source>,
    bodies: Vec<(Named, Cut)>,
    settings: Settings,
}

fn run(context: &Context) -> Result<()> {
    let options = &context.settings;
    let fixed_path = options.required_path("fixed")?;
    let moving_paths = moving(options, &fixed_path)?;
    let folder = options.required_path("output")?;
    let overwrite = options.is_on("overwrite")?;
    let bases = bases(&folder, &moving_paths)?;
    let transforms_only = options.is_on("transform-only")?;
    let refuse = |path: PathBuf| match path.exists() && !overwrite {
        true => Err(Error::cannot_create("already exists")
            .help("choose another folder, or replace it with --overwrite")
            .at(path)),
        false => Ok(()),
    };
    refuse(folder.join(TABLE))?;
    refuse(folder.join(SHEET))?;
    refuse(folder.join(levelled::FILE))?;
    for base in &bases {
        refuse(with_suffix(base, ".transform.json"))?;
        refuse(with_suffix(base, ".audit.png"))?;
        if !transforms_only {
            refuse_outputs(base, overwrite)?;
            refuse_outputs(&with_suffix(base, ".mask"), overwrite)?;
        }
    }
    let fixed = exchange::open_stack(&fixed_path, context.io)?;
    let (bodies, settings) = how(options, fixed.dims())?;
    axes::check(context, &fixed_path, &moving_paths);
    let kept = kept(options.text("crop")?.unwrap_or("common"), fixed.dims()).map_err(|e| options.blame("crop", e))?;
    let level = match options.text("orient")? {
        Some("auto") => levelled::find(context, &fixed_path, bodies.iter().map(|(named, _)| named))?,
        Some(path) => {
            let path = Path::new(path);
            Some((read_transform(path, None).map_err(|e| e.at(path))?, String::new()))
        }
        None => None,
    };
    let work = Work { context, fixed, bodies, settings };
    std::fs::create_dir_all(&folder).map_err(|e| Error::writing(&folder, &e))?;
    if let Some((_, text)) = level.as_ref().filter(|(_, text)| !text.is_empty()) {
        exchange::write_text(&folder.join(levelled::FILE), text, overwrite)?;
    }
    let closes = options.is_on("closure")?;
    let mut seen: Vec<(Dims, Rigid)> = Vec::new();
    let mut scans: Vec<Registered> = Vec::new();
    let mut refused: Vec<String> = Vec::new();
    let mut before: Option<Box<dyn Source>> = None;
    for (path, base) in moving_paths.iter().zip(&bases) {
        let source = exchange::open_stack(path, context.io)?;
        same_spacing(work.fixed.spacing(), source.spacing()).map_err(|e| e.at(path))?;
        let found = match work.one(source.as_ref()) {
            // One that cannot be registered does not keep the others from it.
            Err(e) if e.fault() == Fault::Data && moving_paths.len() > 1 => {
                context.talk.warn(format!("{}: {}", path.display(), e.what()));
                refused.push(path.display().to_string());
                continue;
            }
            found => found.map_err(|e| e.at(path))?,
        };
        let closure = match (closes, &before, scans.last()) {
            (true, Some(a), Some(to_a)) => work.closure([a.as_ref(), source.as_ref()], [&to_a.bodies, &found])?,
            _ => vec![None; found.len()],
        };
        let text = work.transform(source.as_ref(), &found, &closure)?;
        exchange::write_text(&with_suffix(base, ".transform.json"), &text, overwrite)?;
        for (((named, _), body), closure) in work.bodies.iter().zip(&found).zip(&closure) {
            let closes = closure.map_or(String::new(), |v| format!(", closes within {v:.4}"));
            context.out.line(line(path, &named.name, body) + &closes)?;
            if !body.is_rigid {
                context.talk.warn(format!(
                    "{}: {} is deformed: {:.2} voxels are left after the rigid motion, and change by up to {:.2} % between \
                     its blocks (residual_voxels in the transform)",
                    path.display(),
                    named.name,
                    body.residual[1],
                    100.0 * body.strain
                ));
            }
        }
        let audit = with_suffix(base, ".audit.png");
        sheet::scan(&audit, context.isa, [work.fixed.as_ref(), source.as_ref()], &work.names(), &found, overwrite)?;
        seen.push((source.dims(), found[0].motion));
        let name = base.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        scans.push(Registered { name, bodies: found, closure });
        before = Some(source);
    }
    if !scans.is_empty() {
        exchange::write_text(&folder.join(TABLE), &sheet::table(&work.names(), &scans), overwrite)?;
        sheet::series(&folder.join(SHEET), &work.names(), &scans, overwrite)?;
    }
    if !refused.is_empty() {
        let what = format!("{} of {} volumes cannot be registered", refused.len(), moving_paths.len());
        let help = "the transforms of the others are written; leave these out, or name other bodies: ".to_string();
        return Err(Error::data(what).help(help + &refused.join(", ")));
    }
    if transforms_only {
        return Ok(());
    }
    let still = level.as_ref().map_or(Rigid::identity([0.0; 3]), |(motion, _)| *motion);
    seen.iter_mut().for_each(|(_, motion)| *motion = still.then(motion));
    if level.is_some() {
        seen.push((work.fixed.dims(), still));
    }
    let grid = match kept {
        None => Grid::whole(work.fixed.dims()),
        Some(kept) => Grid::common(work.fixed.dims(), &seen)?.within(&kept)?,
    };
    let how = options.parsed("interpolation", Interpolation::parse)?;
    // The fixed volume keeps its voxels, unless it is levelled.
    let fixed_base = &bases[moving_paths.len()];
    let own = if level.is_some() { how } else { Interpolation::Nearest };
    let all = moving_paths.iter().zip(&bases).zip(seen.iter().map(|s| (s.1, how)));
    let all = all.chain(std::iter::once(((&fixed_path, fixed_base), (still, own))));
    for ((path, base), (motion, how)) in all {
        let source = exchange::open_stack(path, context.io)?;
        let written = Written { path, source: source.as_ref(), motion, grid, how, stage: "register", version: VERSION };
        let manifest = write(context, base, &written, Vec::new())?;
        context.out.line(summary(base, &manifest)?)?;
    }
    Ok(())
}

/// The bodies of a volume of this shape, how each is cut, and how its blocks are registered.
fn how(options: &Options, dims: Dims) -> Result<(Vec<(Named, Cut)>, Settings)> {
    let is_named = options.text("bodies")?.is_some();
    let positive = |name: &str| options.parsed(name, values::positive);
    let settings = Settings {
        capture: positive("capture")?,
        capture_turn: Degree(positive("capture-turn")?),
        flatten: match (options.text("flatten")?, is_named) {
            (None | Some("auto"), true) => WINDOW,
            (None | Some("auto" | "none"), _) => 0,
            (Some(_), _) => options.parsed("flatten", values::count)?,
        },
        ..Settings::default()
    };
    let count = options.parsed("blocks", values::count)?;
    let size = match options.text("block")? {
        None | Some("auto") => None,
        Some(_) => Some(options.parsed("block", values::count)?),
    };
    let cut = |named: Named| {
        let size = size.unwrap_or(if is_named { auto_block(&named.region) } else { BLOCK });
        (named, Cut { size, count })
    };
    Ok((bodies(options, dims)?.into_iter().map(cut).collect(), settings))
}

/// What became of one volume.
pub struct Registered {
    /// Its name.
    pub name: String,
    /// The motion of every body.
    pub bodies: Vec<Body>,
    /// How far each is from closing with the volume before, voxels.
    pub closure: Vec<Option<f64>>,
}

/// A micrometre more per voxel would be taken for a motion.
fn same_spacing(fixed: Spacing, moving: Spacing) -> Result<()> {
    /// Part of a voxel's size that headers written by different programs may differ by.
    const DIGITS: f64 = 1e-6;
    let (Some(a), Some(b)) = (fixed, moving) else { return Ok(()) };
    if (0..3).all(|i| (a[i].0 - b[i].0).abs() <= DIGITS * a[i].0.abs()) {
        return Ok(());
    }
    let list = |s: [Micrometre; 3]| s.map(|Micrometre(v)| v);
    Err(Error::data(format!("voxels of {:?} um, and those of the fixed volume are {:?} um", list(b), list(a)))
        .help("a rigid motion does not scale: bring both to one voxel size first"))
}

impl Work<'_> {
    /// The motion of every body of one volume.
    fn one(&self, moving: &dyn Source) -> Result<Vec<Body>> {
        let progress = Progress::new(&self.context.talk, "register", "blocks");
        let mut done = 0;
        let guess = Rigid::identity([0.0; 3]);
        let mut found = Vec::new();
        for (k, (named, cut)) in self.bodies.iter().enumerate() {
            // How many blocks the bodies to come have is not known yet: as many as this one.
            let rest = (self.bodies.len() - k - 1) as u64;
            let mut blocks = 0;
            let body = body::register_body(
                self.context.isa,
                [self.fixed.as_ref(), moving],
                &named.region,
                *cut,
                &guess,
                &self.settings,
                &mut |ready, all| {
                    blocks = all as u64;
                    progress.update(done + ready as u64, done + (1 + rest) * blocks, 0);
                },
            );
            found.push(body.map_err(|e| {
                Error::new(e.fault(), format!("body {}: {}", named.name, e.what())).help(e.advice().unwrap_or_default())
            })?);
            done += blocks;
        }
        progress.finish();
        Ok(found)
    }

    fn names(&self) -> Vec<&str> {
        self.bodies.iter().map(|(named, _)| named.name.as_str()).collect()
    }

    /// How far each body's motions to two volumes and between them are from closing; `None` where there is no motion
    /// between them, with a warning.
    fn closure(&self, [a, b]: [&dyn Source; 2], [to_a, to_b]: [&[Body]; 2]) -> Result<Vec<Option<f64>>> {
        let one = |(k, (named, cut)): (usize, &(Named, Cut))| {
            let motions = [&to_a[k].motion, &to_b[k].motion];
            match closure(self.context.isa, [a, b], &named.region, motions, *cut, &self.settings) {
                Err(e) if e.fault() == Fault::Data => {
                    self.context.talk.warn(format!("{}: no motion from the volume before: {}", named.name, e.what()));
                    Ok(None)
                }
                found => found.map(Some),
            }
        };
        self.bodies.iter().enumerate().map(one).collect()
    }

    /// The text of `NAME.transform.json`.
    fn transform(&self, moving: &dyn Source, found: &[Body], closure: &[Option<f64>]) -> Result<String> {
        let inputs = |role: &str, source: &dyn Source| -> Result<Json> {
            Ok(Json::Arr(with_role(source.inputs()?, role).iter().map(InputFile::to_json).collect()))
        };
        let bodies = self
            .bodies
            .iter()
            .zip(found.iter().zip(closure))
            .map(|((named, cut), (body, closure))| body_json(&named.name, &named.region, *cut, body, *closure));
        let first = &found[0];
        let s = &self.settings;
        let members = vec![
            ("matrix", first.motion.matrix().into()),
            ("body", self.bodies[0].0.name.as_str().into()),
            ("bodies", Json::Arr(bodies.collect())),
            ("fixed", inputs("fixed", self.fixed.as_ref())?),
            ("moving", inputs("moving", moving)?),
            (
                "params",
                Json::obj([
                    ("capture_voxels", s.capture.into()),
                    ("capture_turn_deg", s.capture_turn.0.into()),
                    ("tolerance_voxels", s.tolerance.into()),
                    ("iterations", s.iterations.into()),
                    ("least_overlap", s.least_overlap.into()),
                    ("worst_sigma_voxels", s.worst_sigma.into()),
                    ("flatten_voxels", s.flatten.into()),
                ]),
            ),
        ];
        sealed(VERSION, members)
    }
}

/// The text of a transform: what all have in common, `own`, and the seal.
///
/// # Errors
/// None that a caller can cause.
pub fn sealed(stage_version: u32, own: Vec<(&'static str, Json)>) -> Result<String> {
    let common = [
        ("schema", SCHEMA.into()),
        ("tool", Json::obj([("name", "tomolith".into()), ("version", env!("CARGO_PKG_VERSION").into())])),
        ("contract", CONTRACT.into()),
        ("stage_version", stage_version.into()),
    ];
    match Json::obj(common.into_iter().chain(own)) {
        Json::Obj(members) => Ok(seal(members, SEAL)),
        _ => Err(Error::bug("an object that is none")),
    }
}

fn motion_json(motion: &Rigid, covariance: &Matrix<6>) -> Vec<(&'static str, Json)> {
    let sigma: [f64; 6] = std::array::from_fn(|i| covariance[i][i].max(0.0).sqrt());
    vec![
        ("matrix", motion.matrix().into()),
        ("rotation_vector_rad", Json::from(motion.rotation_vector())),
        ("angle_deg", motion.angle().0.into()),
        ("centre", Json::from(motion.centre)),
        ("translation", Json::from(motion.translation)),
        ("covariance_rad_voxels", Json::from(*covariance)),
        ("standard_errors_rad_voxels", Json::from(sigma)),
    ]
}

fn region_json(region: &Region) -> Json {
    let ends = |r: &Range<usize>| Json::Arr(vec![r.start.into(), r.end.into()]);
    Json::obj([("x", ends(&region[0])), ("y", ends(&region[1])), ("z", ends(&region[2]))])
}

fn body_json(name: &str, region: &Region, cut: Cut, body: &Body, closure: Option<f64>) -> Json {
    let mut members = motion_json(&body.motion, &body.covariance);
    members.extend([
        ("name", name.into()),
        ("region", region_json(region)),
        ("longest_block", cut.size.into()),
        ("most_blocks", cut.count.into()),
        ("corner_sigma_voxels", body.corner_sigma.into()),
        ("residual_rms_voxels", body.residual[0].into()),
        ("residual_max_voxels", body.residual[1].into()),
        ("largest_strain", body.strain.into()),
        ("is_rigid", Json::Bool(body.is_rigid)),
        ("closure_voxels", closure.map_or(Json::Null, Json::from)),
        ("leave_one_out_voxels", body.leave_one_out.map_or(Json::Null, Json::from)),
        ("blocks", Json::Arr(body.blocks.iter().map(block_json).collect())),
    ]);
    Json::obj(members)
}

fn block_json(report: &Report) -> Json {
    let status = match (&report.found, report.used) {
        (Err(reason), _) => format!("refused: {reason}"),
        (Ok(_), true) => "used".into(),
        (Ok(_), false) => "rejected: its residual is far above those of the others".into(),
    };
    let mut members = vec![("region", region_json(&report.tile)), ("status", status.as_str().into())];
    if let Ok(found) = &report.found {
        members.extend(motion_json(&found.motion, &found.covariance));
        members.extend([
            ("residual_voxels", Json::from(report.residual)),
            ("residual_turn_rad", report.turn.into()),
            ("corner_sigma_voxels", found.corner_sigma.into()),
            ("correlation_before", found.correlation[0].into()),
            ("correlation_after", found.correlation[1].into()),
            ("overlap", found.overlap.into()),
            ("fitting", found.fitting.into()),
            ("condition", found.condition.into()),
            ("significance", found.significance.into()),
            ("iterations", found.iterations().into()),
            ("trace", trace_json(found)),
        ]);
    }
    Json::obj(members)
}

fn trace_json(found: &Match) -> Json {
    let step = |s: &crate::register::Step| {
        Json::obj([
            ("scale", s.scale.into()),
            ("correlation", s.correlation.into()),
            ("step_voxels", s.step.into()),
            ("damping", s.damping.into()),
            ("taken", Json::Bool(s.taken)),
            ("rotation_vector_rad", Json::from(s.motion.rotation_vector())),
            ("translation", Json::from(s.motion.translation)),
        ])
    };
    Json::Arr(found.trace.iter().map(step).collect())
}

/// A body's line on stdout.
fn line(path: &Path, name: &str, body: &Body) -> String {
    let [x, y, z] = body.motion.translation;
    let used = body.blocks.iter().filter(|b| b.used);
    let correlation = used.clone().filter_map(|b| b.found.as_ref().ok()).map(|m| m.correlation[1]).fold(1.0, f64::min);
    format!(
        "{}  {name}: shift ({x:.4}, {y:.4}, {z:.4}) voxels, turn {:.5} deg, +- {:.4} voxels at a corner; {} of {} blocks, \
         residual {:.4} (at most {:.4}), least correlation {correlation:.4}",
        path.display(),
        body.motion.angle().0,
        body.corner_sigma,
        used.count(),
        body.blocks.len(),
        body.residual[0],
        body.residual[1],
    )
}
