//! `tomolith orient`: the rotation that brings the faces of a layered sample across y.

use crate::cli::options::{Opt, Settings, Takes};
use crate::cli::picture::Picture;
use crate::cli::register::sealed;
use crate::cli::stitch::with_role;
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::exchange;
use crate::exchange::npy::write_array;
use crate::json::Json;
use crate::provenance::InputFile;
use crate::register::orient::{CELL, Face, angles, common, face, level};
use crate::units::{Degree, Radian};
use crate::volume::Source;
use crate::volume::reader::with_suffix;
use std::ops::Range;
use std::path::Path;

/// The command.
pub const COMMAND: Command = Command {
    path: &["orient"],
    about: "Find how a layered sample leans, from its faces, and write the transform that levels it",
    details: "Through each face a plane is laid that pits and dendrites do not pull; the volume is to be turned in x-y, then \
              in y-z, so that the faces lie across y. Written are NAME.transform.json, which `resample --transform` and \
              `register --orient` take, and for each face its waviness, what the plane leaves, as NAME.face1.npy (voxels, a \
              number for 4 x 4 columns) and NAME.face1.png. Where no plane holds half of the columns there is no face, and \
              nothing is written.",
    examples: "  tomolith orient last.mhd --faces 205:260,420:480 -o level\n  \
               tomolith orient last.mhd --angles 1.2,-0.4 -o level\n  \
               tomolith resample last.mhd --transform level.transform.json --like last.mhd -o out/last",
    groups: &[(
        "",
        &[
            Opt::new("volume", Takes::Argument("VOLUME"), "The volume"),
            Opt::new(
                "faces",
                Takes::Value("A:B,.."),
                "Depths y between which one face lies each [default: all, one face]",
            ),
            Opt::new("angles", Takes::Value("XY,YZ"), "Degrees by which it leans in x-y and in y-z, instead of faces"),
            Opt::new("output", Takes::Value("DIR/NAME"), "Where to write, without extension").short('o'),
            Opt::new("overwrite", Takes::Switch, "Replace existing files"),
        ],
    )],
    run,
};

/// Version of the stage in transforms.
const VERSION: u32 = 1;

/// `A:B,…` within n voxels.
fn depths(options: &Settings, n: usize) -> Result<Vec<Range<usize>>> {
    let Some(text) = options.text("faces")? else { return Ok(std::iter::once(0..n).collect()) };
    text.split(',').map(|part| values::range(part, n).map_err(|e| options.blame("faces", e))).collect()
}

fn run(context: &Context) -> Result<()> {
    let options = &context.settings;
    let path = options.required_path("volume")?;
    let base = options.required_path("output")?;
    let overwrite = options.is_on("overwrite")?;
    let source = exchange::open_stack(&path, context.io)?;
    let dims = source.dims();
    let typed = options.parse("angles", values::numbers)?;
    if typed.is_some() && options.is_given("faces")? {
        return Err(Error::usage("--faces and --angles are two ways to say the same").help("give one of them"));
    }
    let (depths, typed) = match typed.as_deref() {
        Some([xy, yz]) => (Vec::new(), Some([Degree(*xy), Degree(*yz)])),
        Some(other) => {
            let what = format!("{} angles", other.len());
            return Err(options.blame("angles", Error::usage(what).help("give two, in x-y and in y-z")));
        }
        None => (depths(options, dims.ny)?, None),
    };
    let transform = with_suffix(&base, ".transform.json");
    let file = |k: usize, extension: &str| with_suffix(&base, &format!(".face{}.{extension}", k + 1));
    let pictures = (0..depths.len()).flat_map(|k| [file(k, "npy"), file(k, "png")]);
    for path in pictures.chain([transform.clone()]) {
        if path.exists() && !overwrite {
            return Err(Error::cannot_create("already exists").help("replace it with --overwrite").at(path));
        }
    }
    let faces = depths.into_iter().map(|d| face(source.as_ref(), d)).collect::<Result<Vec<Face>>>();
    let faces = faces.map_err(|e| e.at(&path))?;
    let [xy, yz] = match typed {
        Some(typed) => typed,
        None => angles(common(&faces).ok_or_else(|| Error::bug("faces without slopes"))?),
    };
    if let Some(parent) = base.parent() {
        std::fs::create_dir_all(parent).map_err(|e| Error::writing(parent, &e))?;
    }
    for (k, face) in faces.iter().enumerate() {
        draw(face, &file(k, "npy"), &file(k, "png"), overwrite)?;
        let [a, b, c] = face.plane;
        let lean = angles([a, b]);
        context.out.line(format!(
            "face {} at y {c:.2}: leans {:.4} deg in x-y, {:.4} deg in y-z, +- {:.4} and {:.4}; waviness {:.2} voxels, {:.0} % of \
             the columns",
            k + 1,
            lean[0].0,
            lean[1].0,
            sigma(face, 0).0,
            sigma(face, 1).0,
            face.deviation,
            100.0 * face.held
        ))?;
    }
    exchange::write_text(&transform, &text(source.as_ref(), [xy, yz], &faces)?, overwrite)?;
    context.out.line(format!("{}  turn {:.4} deg in x-y, then {:.4} deg in y-z", transform.display(), xy.0, yz.0))
}

/// The text of the transform that levels a volume.
///
/// # Errors
/// What hashing its files says.
pub fn text(source: &dyn Source, [xy, yz]: [Degree; 2], faces: &[Face]) -> Result<String> {
    let motion = level(source.dims(), [xy, yz]);
    let inputs = with_role(source.inputs()?, "volume");
    let members = vec![
        ("matrix", motion.matrix().into()),
        ("centre", Json::from(motion.centre)),
        ("leans_deg", Json::obj([("xy", xy.0.into()), ("yz", yz.0.into())])),
        ("faces", Json::Arr(faces.iter().map(face_json).collect())),
        ("volume", Json::Arr(inputs.iter().map(InputFile::to_json).collect())),
    ];
    sealed(VERSION, members)
}

/// Standard deviation of a slope as an angle: small angles.
fn sigma(face: &Face, k: usize) -> Degree {
    Degree::from(Radian(face.covariance[k][k].sqrt()))
}

fn face_json(face: &Face) -> Json {
    Json::obj([
        ("depths", Json::Arr(vec![face.depths.start.into(), face.depths.end.into()])),
        ("plane", Json::from(face.plane)),
        ("covariance", Json::from(face.covariance)),
        ("rises", Json::Bool(face.rises)),
        ("held", face.held.into()),
        ("deviation_voxels", face.deviation.into()),
    ])
}

/// The waviness as numbers and as a picture, x to the right and z downwards.
fn draw(face: &Face, numbers: &Path, picture: &Path, overwrite: bool) -> Result<()> {
    let [nz, nx] = face.shape;
    write_array(numbers, &[nz, nx], &face.waviness, overwrite)?;
    // A picture has no colour for what is not known: on the plane.
    let known: Vec<f32> = face.waviness.iter().map(|v| if v.is_finite() { *v } else { 0.0 }).collect();
    let caption = format!("WAVINESS, VOXELS ALONG Y, {CELL} x {CELL} COLUMNS");
    Picture::linear(&known, nx, &caption)?.write(picture, overwrite)
}
