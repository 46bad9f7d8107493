//! `tomolith resample`: one volume through a transform, onto the grid of another.

use crate::cli::options::{Opt, Takes};
use crate::cli::progress::Progress;
use crate::cli::reconstruct::summary;
use crate::cli::register::SCHEMA;
use crate::cli::stitch::{output, with_role};
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::exchange;
use crate::json::{Json, MAX_TEXT};
use crate::num::CONTRACT;
use crate::num::linalg::Matrix;
use crate::os;
use crate::provenance::InputFile;
use crate::register::Rigid;
use crate::register::block::point_variances;
use crate::register::interpolate::Interpolation;
use crate::register::resample::{Grid, Plan, resample};
use crate::units::{Degree, Radian};
use crate::volume::manifest::{Job, Manifest};
use crate::volume::reader::{Reader, with_suffix};
use crate::volume::writer::Writer;
use crate::volume::{Dtype, Source};
use std::io::Read as _;
use std::path::Path;

/// Between voxels.
pub const INTERPOLATION: Opt =
    Opt::new("interpolation", Takes::Choice(&Interpolation::NAMES), "Between voxels; nearest is for labels")
        .default("cubic");
/// Bytes that may be taken.
pub const MEMORY: Opt = Opt::new(
    "memory",
    Takes::Number("SIZE|auto"),
    "Stay within this much memory, such as 4GiB; the results are the same",
)
.default("auto");

/// The command.
pub const COMMAND: Command = Command {
    path: &["resample"],
    about: "Bring a volume onto another's grid through the transform that `register` found",
    details: "Every voxel of the grid of --like is looked up in VOLUME through the transform's matrix (from --like to VOLUME) \
              once: cubic B-spline through the values, trilinear, or the nearest voxel. Beside the volume NAME stands its mask \
              NAME.mask: 1 where VOLUME was seen, 0 where the value 0 means nothing.",
    examples: "  tomolith resample first.mhd --transform registered/first.transform.json --like last.mhd -o out/first\n  \
               tomolith resample labels.mhd --transform t.json --body plating --like last.mhd --interpolation nearest -o out/l",
    groups: &[(
        "",
        &[
            Opt::new("volume", Takes::Argument("VOLUME"), "The volume that moved"),
            Opt::new("transform", Takes::Value("FILE.json"), "What register wrote, or any JSON with a `matrix`"),
            Opt::new("body", Takes::Value("NAME"), "The body whose motion is taken [default: the first]"),
            Opt::new("like", Takes::Value("VOLUME"), "The volume whose grid is filled"),
            Opt::new("output", Takes::Value("DIR/NAME"), "Where to write, without extension").short('o'),
            INTERPOLATION,
            MEMORY,
            Opt::new("overwrite", Takes::Switch, "Replace an existing output"),
        ],
    )],
    run,
};

/// Version of the stage in manifests.
const VERSION: u32 = 1;

/// A volume that is written through a motion.
pub struct Written<'a> {
    /// Where it comes from.
    pub path: &'a Path,
    /// It.
    pub source: &'a dyn Source,
    /// From the fixed volume to it.
    pub motion: Rigid,
    /// Where the output lies in the fixed volume.
    pub grid: Grid,
    /// Between voxels.
    pub how: Interpolation,
    /// The stage in the manifest.
    pub stage: &'static str,
    /// Its version.
    pub version: u32,
}

fn run(context: &Context) -> Result<()> {
    let options = &context.settings;
    let (base, _) = output(context)?;
    let path = options.required_path("volume")?;
    let transform = options.required_path("transform")?;
    let like = exchange::open_stack(&options.required_path("like")?, context.io)?;
    let source = exchange::open_stack(&path, context.io)?;
    let motion = read_transform(&transform, options.text("body")?).map_err(|e| e.at(&transform))?;
    let written = Written {
        path: &path,
        source: source.as_ref(),
        motion,
        grid: Grid::whole(like.dims()),
        how: options.parsed("interpolation", Interpolation::parse)?,
        stage: "resample",
        version: VERSION,
    };
    let manifest = write(context, &base, &written, vec![InputFile::of("transform", &transform)?])?;
    context.out.line(summary(&base, &manifest)?)
}

/// Rows of numbers.
fn square<const N: usize>(from: &Json, key: &str) -> Result<Matrix<N>> {
    let wrong = || Error::data(format!("`{key}` is not {N} rows of {N} numbers"));
    let row = |values: &Json| {
        let values: Option<Vec<f64>> = values.as_arr()?.iter().map(Json::as_f64).collect();
        values?.try_into().ok()
    };
    let rows: Option<Vec<[f64; N]>> = from.need_arr(key)?.iter().map(row).collect();
    rows.and_then(|r| r.try_into().ok()).ok_or_else(wrong)
}

/// Standard deviation by which the depth (y) of a volume that was registered is uncertain, voxels: root mean square over
/// the corners of each body's region; of several bodies the largest. And how each moved.
///
/// # Errors
/// What reading says; data: no transform of `register`, or a covariance that is none.
pub fn depth_sigma(path: &Path) -> Result<(f64, Vec<Moved>)> {
    let json = read_json(path)?;
    Ok((depth_sigma_of(&json)?, moved(&json)?))
}

/// How a body moved, and what registration left of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// Its name.
    pub body: String,
    /// Of the middle of its region, along x, y, z: voxels and their standard errors.
    pub shift: [[f64; 2]; 3],
    /// The rotation vector: degrees and their standard errors.
    pub turn: [[f64; 2]; 3],
    /// Root mean square over its blocks, voxels, where it was written.
    pub residual: Option<f64>,
}

fn moved(json: &Json) -> Result<Vec<Moved>> {
    let one = |body: &Json| -> Result<Moved> {
        let (motion, covariance) = (motion_of(body)?, square::<6>(body, "covariance_rad_voxels")?);
        let sigma = |i: usize| covariance[i][i].max(0.0).sqrt();
        let (turn, degrees) = (motion.rotation_vector(), |v: f64| Degree::from(Radian(v)).0);
        Ok(Moved {
            body: body.get("name").and_then(Json::as_str).unwrap_or("body").to_string(),
            shift: std::array::from_fn(|i| [motion.translation[i], sigma(3 + i)]),
            turn: std::array::from_fn(|i| [degrees(turn[i]), degrees(sigma(i))]),
            residual: body.get("residual_rms_voxels").and_then(Json::as_f64),
        })
    };
    json.need_arr("bodies")?.iter().map(one).collect()
}

fn depth_sigma_of(json: &Json) -> Result<f64> {
    let mut most = 0.0f64;
    let bodies = json.need_arr("bodies")?;
    if bodies.is_empty() {
        return Err(Error::data("`bodies` is empty: no motion, and nothing known of its error")
            .help("give sigma instead of transform, or register the scan"));
    }
    for body in bodies {
        let (motion, covariance) = (motion_of(body)?, square::<6>(body, "covariance_rad_voxels")?);
        let region = body.need("region")?;
        let ends = |axis: &str| -> Result<[f64; 2]> {
            let ends = region.need_arr(axis)?.iter().map(Json::as_f64).collect::<Option<Vec<f64>>>();
            ends.and_then(|e| e.try_into().ok()).ok_or_else(|| Error::data(format!("`region` has no {axis}")))
        };
        let ends = [ends("x")?, ends("y")?, ends("z")?];
        let corner = |k: usize| std::array::from_fn(|axis| ends[axis][k >> axis & 1]);
        let mut sum = 0.0;
        for k in 0..8 {
            let variance = point_variances(&motion, &covariance, &corner(k))[1];
            // A turn's part may round to a little below.
            if !(variance >= -1e-12 && variance.is_finite()) {
                return Err(Error::data(format!("`covariance_rad_voxels` makes a variance of {variance} voxels²")));
            }
            sum += variance.max(0.0);
        }
        most = most.max((sum / 8.0).sqrt());
    }
    Ok(most)
}

fn read_json(path: &Path) -> Result<Json> {
    let mut text = String::new();
    let limit = MAX_TEXT as u64 + 1;
    os::open_regular(path)?.take(limit).read_to_string(&mut text).map_err(|e| Error::reading(path, &e))?;
    let json = Json::parse(&text)?;
    match json.get("schema").and_then(Json::as_str).is_some_and(|schema| schema != SCHEMA) {
        true => Err(Error::data(format!("not a transform: this version reads `{SCHEMA}`"))),
        false => Ok(json),
    }
}

/// The matrix of a transform, or of one of its bodies.
///
/// # Errors
/// What reading says; data: no transform; usage: no such body.
pub fn read_transform(path: &Path, body: Option<&str>) -> Result<Rigid> {
    let json = read_json(path)?;
    let from = match body {
        None => &json,
        Some(name) => {
            let bodies = json.need_arr("bodies")?;
            let named = |b: &&Json| b.get("name").and_then(Json::as_str) == Some(name);
            bodies.iter().find(named).ok_or_else(|| {
                let have: Vec<_> = bodies.iter().filter_map(|b| b.get("name").and_then(Json::as_str)).collect();
                Error::usage(format!("the transform has no body '{name}'")).help(format!("it has: {}", have.join(", ")))
            })?
        }
    };
    motion_of(from)
}

fn motion_of(from: &Json) -> Result<Rigid> {
    let list = |key: &str| -> Option<Vec<f64>> { from.get(key)?.as_arr()?.iter().map(Json::as_f64).collect() };
    let centre = list("centre").and_then(|c| c.try_into().ok()).unwrap_or([0.0; 3]);
    Rigid::from_matrix(&square(from, "matrix")?, centre)
}

/// Writes a volume through its motion, and its mask beside it.
pub fn write(context: &Context, base: &Path, w: &Written, more: Vec<InputFile>) -> Result<Manifest> {
    let options = &context.settings;
    let overwrite = options.is_on("overwrite")?;
    let auto = |text: &str| if text == "auto" { Ok(os::free_memory() / 2) } else { values::bytes(text) };
    let plan = Plan { motion: w.motion, grid: w.grid, how: w.how, memory: options.parsed("memory", auto)? };
    // A header of another program has no unit.
    let unit = Reader::open(w.path, context.io).map_or(String::new(), |r| r.header().unit.clone());
    let unit = if unit.is_empty() { "unknown".to_string() } else { unit };
    let mut inputs: Vec<InputFile> = with_role(w.source.inputs()?, "moving");
    inputs.extend(more);
    let params = Json::obj([
        ("matrix", w.motion.matrix().into()),
        ("centre", Json::from(w.motion.centre)),
        ("first_voxel_xyz", Json::from(w.grid.first)),
        ("interpolation", w.how.name().into()),
    ]);
    let labels = w.how == Interpolation::Nearest && w.source.dtype() == Dtype::U8;
    let job = |dtype: Dtype, value_unit: String| Job {
        dims: w.grid.dims,
        dtype,
        spacing: w.source.spacing(),
        slope: 1.0,
        intercept: 0.0,
        value_unit,
        stage: w.stage.into(),
        stage_version: w.version,
        params: params.clone(),
        inputs: inputs.clone(),
        contract: CONTRACT,
    };
    let mut out = Writer::create(base, job(if labels { Dtype::U8 } else { Dtype::F32 }, unit), overwrite)?;
    let mut mask = Writer::create(&with_suffix(base, ".mask"), job(Dtype::U8, "mask".into()), overwrite)?;
    let progress = Progress::new(&context.talk, w.stage, "slices");
    let slice = (w.grid.dims.slice() * Dtype::F32.size()) as u64;
    resample(context.isa, w.source, &plan, &mut out, Some(&mut mask), &mut |done, total| {
        progress.update(done as u64, total as u64, done as u64 * slice);
    })
    .map_err(|e| e.at(w.path))?;
    progress.finish();
    mask.finish(Json::obj::<&str>([]), context.run_record())?;
    out.finish(Json::obj::<&str>([]), context.run_record())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A transform of one body at rest about `centre`, with variances in the place of `diagonal`.
    fn at_rest(centre: [f64; 3], diagonal: [f64; 6]) -> Json {
        let one = |n: usize, value: &dyn Fn(usize) -> f64| {
            let row = |i: usize| Json::Arr((0..n).map(|k| Json::from(if i == k { value(i) } else { 0.0 })).collect());
            Json::Arr((0..n).map(row).collect())
        };
        let range = |a: f64, b: f64| Json::Arr([a, b].map(Json::from).to_vec());
        let region = Json::obj([("x", range(0.0, 8.0)), ("y", range(0.0, 6.0)), ("z", range(0.0, 20.0))]);
        let body = Json::obj([
            ("matrix", one(4, &|_| 1.0)),
            ("centre", Json::from(centre)),
            ("covariance_rad_voxels", one(6, &|i| diagonal[i])),
            ("region", region),
        ]);
        Json::obj([("bodies", Json::Arr(vec![body]))])
    }

    #[test]
    fn what_moved_is_read_with_its_errors() {
        let found = moved(&at_rest([4.0, 3.0, 10.0], [1e-4, 0.0, 4e-4, 0.25, 0.0, 1.0])).unwrap();
        let [one] = &found[..] else { panic!("{found:?}") };
        assert_eq!((one.shift, one.residual, &one.body[..]), ([[0.0, 0.5], [0.0, 0.0], [0.0, 1.0]], None, "body"));
        let expected = [0.01f64, 0.0, 0.02].map(f64::to_degrees);
        assert!(one.turn.iter().zip(expected).all(|([turn, sigma], e)| *turn == 0.0 && (sigma - e).abs() < 1e-12));
    }

    #[test]
    fn depth_sigma_by_hand() {
        // Along y alone; along x and z it is not depth; a turn about y moves no depth.
        let sigma = |diagonal| depth_sigma_of(&at_rest([4.0, 3.0, 10.0], diagonal)).unwrap();
        assert_eq!(sigma([0.0, 0.0, 0.0, 0.0, 0.25, 0.0]), 0.5);
        assert_eq!(sigma([0.0, 1.0, 0.0, 9.0, 0.0, 9.0]), 0.0);
        // A turn about x by 0.01 at a lever of 10 along z, one about z by 0.02 at a lever of 4 along x.
        assert!((sigma([1e-4, 0.0, 0.0, 0.0, 0.0, 0.0]) - 0.1).abs() < 1e-12);
        assert!((sigma([0.0, 0.0, 4e-4, 0.0, 0.0, 0.0]) - 0.08).abs() < 1e-12);
        // Levers of 0 and 20: the root of their mean square.
        let far = depth_sigma_of(&at_rest([4.0, 3.0, 0.0], [1e-4, 0.0, 0.0, 0.0, 0.0, 0.0])).unwrap();
        assert!((far - 0.02f64.sqrt()).abs() < 1e-12, "{far}");
        let bad = depth_sigma_of(&at_rest([0.0; 3], [0.0, 0.0, 0.0, 0.0, -0.25, 0.0])).unwrap_err();
        assert!(bad.to_string().contains("-0.25"), "{bad}");
        let none = depth_sigma_of(&Json::obj([("bodies", Json::Arr(Vec::new()))])).unwrap_err();
        assert!(none.to_string().contains("is empty"), "{none}");
    }
}
