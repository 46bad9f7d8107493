//! `tomolith convert`: between native volumes, `.npy`, TIFF and (in only) MRC, voxel for voxel.

use crate::analysis::map::{Projection, project};
use crate::cli::open::{Input, extension, is_native};
use crate::cli::options::{Opt, Takes};
use crate::cli::progress::Progress;
use crate::cli::{Command, Context, values};
use crate::error::{Error, Fault, Result};
use crate::exchange::npy::NpyWriter;
use crate::exchange::open_stack;
use crate::exchange::tiff::write::{TiffWriter, length};
use crate::json::Json;
use crate::num::CONTRACT;
use crate::os::{check_interrupt, free_space, no_space};
use crate::segment::orient::{Plane, Turned, each_slice};
use crate::units::Micrometre;
use crate::volume::writer::{Job, Writer};
use crate::volume::{Dims, Dtype, Sink, Source};
use std::path::{Path, PathBuf};

/// The command.
pub const COMMAND: Command = Command {
    path: &["convert"],
    about: "Convert between native volumes (.mhd), NumPy arrays (.npy), TIFF and MRC",
    details: "The extensions say which way. The voxels keep their bits and their type. IN may be a folder of TIFF \
              images, or a pattern in quotes such as 'raw_*.tiff'. OUT with a # in its name is one TIFF per slice, the # \
              replaced by five digits: the detector row, if the volume knows it, else the slice; the same command goes \
              on where it was interrupted. OUT.tiff without it holds all slices, as BigTIFF from 4 GiB on. .npy, TIFF and \
              MRC know no reliable voxel size: it is recorded as unknown, unless --pixel gives it.",
    examples: "  tomolith convert out/tooth.mhd tooth.npy\n  tomolith convert volume.npy out/volume.mhd --pixel 1.33um\n  \
               tomolith convert out/tooth.mhd 'tooth_rec/recon_#.tiff'\n  tomolith convert 'raw/*.tif' out/raw.mhd\n  \
               tomolith convert seg.mhd depth.tiff --project sum --along y",
    groups: &[(
        "",
        &[
            Opt::new(
                "in",
                Takes::Argument("IN"),
                "What to read: .mhd, .nhdr, .raw, .npy, .tiff, .mrc, a folder of .tiff",
            ),
            Opt::new("out", Takes::Argument("OUT"), "What to write: .mhd, .npy, .tiff, or NAME_#.tiff"),
            Opt::new("pixel", Takes::Number("LENGTH"), "Voxel size with its unit, such as 1.33um (to .mhd and .tiff)"),
            Opt::new("first-number", Takes::Number("N"), "Number of the first of several .tiff files"),
            Opt::new(
                "project",
                Takes::Choice(&["sum", "mean", "max", "min", "sd", "median"]),
                "One image instead: this of all voxels behind one another, f32, as Fiji's Z Project (to .npy and .tiff)",
            ),
            Opt::new("along", Takes::Choice(&["z", "y", "x"]), "--project: along which axis").default("z"),
            Opt::new("overwrite", Takes::Switch, "Replace an existing output"),
        ],
    )],
    run,
};

/// Version of this stage in manifests.
const STAGE_VERSION: u32 = 1;
/// Voxels moved at a time, if a slice is not larger: 16 MiB.
const BLOCK: usize = 4 << 20;
/// Stands for the number in the names of several files.
const NUMBER: char = '#';

fn run(context: &Context) -> Result<()> {
    let settings = &context.settings;
    let (from, to) = (settings.required_path("in")?, settings.required_path("out")?);
    let pixel = settings.parse("pixel", values::length)?;
    let overwrite = settings.is_on("overwrite")?;
    if let Some(how) = settings.parse("project", Projection::parse)? {
        return projected(context, (&from, &to), how, pixel, overwrite);
    }
    if settings.is_given("along")? {
        return Err(Error::usage("--along is the axis of --project, which is not given").help("give both, or neither"));
    }
    let known = "IN is .mhd, .npy, .tiff, .mrc or a folder of .tiff, OUT is .mhd, .npy or .tiff";
    let (a, b) = (extension(&from), extension(&to));
    match (is_native(&from), b.as_str()) {
        (true, "mhd" | "nhdr" | "raw") => {
            return Err(Error::usage("both are native volumes: there is nothing to convert").help(known));
        }
        (false, "raw" | "nhdr") => {
            return Err(Error::usage("OUT: name the primary header, .mhd; the others come with it")
                .help(format!("write {}", to.with_extension("mhd").display())));
        }
        (_, "npy") if pixel.is_some() => {
            return Err(Error::usage("--pixel: a .npy array has no place for a voxel size").help("leave it out"));
        }
        (false, "npy") if a == "npy" => {
            return Err(Error::usage("both are .npy arrays: there is nothing to convert").help(known));
        }
        (_, "mhd" | "npy" | "tif" | "tiff") if !matches!(a.as_str(), "h5" | "hdf" | "hdf5" | "nxs") => {}
        _ => return Err(Error::usage(format!("cannot convert '.{a}' to '.{b}'")).help(known)),
    }
    let input = Input::open(&from, context)?;
    check_bits(&input, &from)?;
    let source = input.source();
    let pixel = pixel.or(source.spacing().map(|[x, _, _]| x));
    match b.as_str() {
        "mhd" => to_native(context, source, &to, pixel, overwrite),
        "npy" => {
            let mut writer = NpyWriter::create(&to, source.dims(), source.dtype(), overwrite)?;
            copy(context, source, &mut writer)?;
            writer.finish()
        }
        _ if is_numbered(&to) => {
            let first = settings.parse("first-number", values::index)?.unwrap_or_else(|| first_row(&input));
            to_slices(context, source, (&to, first), pixel, overwrite, 0)
        }
        _ => {
            let description = description(source)?;
            let mut writer = TiffWriter::create(&to, source.dims(), source.dtype(), pixel, &description, overwrite)?;
            copy(context, source, &mut writer)?;
            writer.finish()
        }
    }
}

/// Writes what is seen along an axis.
fn projected(
    context: &Context,
    (from, to): (&Path, &Path),
    how: Projection,
    pixel: Option<Micrometre>,
    overwrite: bool,
) -> Result<()> {
    let source = open_stack(from, context.io)?;
    let along = context.settings.text("along")?.unwrap_or_default();
    let plane = match along {
        "y" => Plane::Xz,
        "x" => Plane::Yz,
        _ => Plane::Xy,
    };
    let view = Turned::slices(source.as_ref(), plane)?;
    let values = project(&view, how)?;
    let dims = Dims::new(1, view.dims().ny, view.dims().nx)?;
    let name = context.settings.text("project")?.unwrap_or_default();
    let description = format!("{}; {name} along {along}", description(source.as_ref())?);
    let pixel = pixel.or(view.spacing().map(|[x, _, _]| x));
    match extension(to).as_str() {
        "npy" => {
            let mut writer = NpyWriter::create(to, dims, Dtype::F32, overwrite)?;
            writer.write(&values)?;
            writer.finish()
        }
        "tif" | "tiff" => {
            let mut writer = TiffWriter::create(to, dims, Dtype::F32, pixel, &description, overwrite)?;
            writer.write(&values)?;
            writer.finish()
        }
        other => Err(Error::usage(format!("a projection as '.{other}'")).help("write it to .npy or .tiff")),
    }
}

/// Refuses what cannot keep its bits.
fn check_bits(input: &Input, from: &Path) -> Result<()> {
    match input {
        Input::Native(reader) => {
            let header = reader.header();
            if (header.slope, header.intercept) != (1.0, 0.0) {
                return Err(Error::data("has a slope and an intercept, which the other formats cannot carry")
                    .help("read NAME.raw directly and apply them: value = slope * stored + intercept")
                    .at(from));
            }
            Ok(())
        }
        // The only thing that a reader of a bare stack notes is that its numbers do not fit into f32.
        Input::Foreign(scan) => match scan.notes.first() {
            Some(note) => Err(Error::data(format!("cannot keep its bits: {note}"))
                .help("save it as float32, uint16 or uint8 with NumPy's astype, where you see what is lost")
                .at(from)),
            None => Ok(()),
        },
    }
}

/// The detector row of the first slice, 0 if nobody knows.
fn first_row(input: &Input) -> usize {
    let Input::Native(reader) = input else { return 0 };
    let rows = reader.manifest().and_then(|m| m.get("params")).and_then(|p| p.get("rows"));
    let first = rows.and_then(Json::as_arr).and_then(|rows| rows.first()).and_then(Json::as_u64);
    first.and_then(|row| usize::try_from(row).ok()).unwrap_or(0)
}

/// What a TIFF says of itself: where its numbers come from.
fn description(source: &dyn Source) -> Result<String> {
    let inputs = source.inputs()?;
    let lines: Vec<String> = inputs.iter().map(|i| format!("from {} sha256 {}", i.name, i.digest.hex())).collect();
    Ok(format!("tomolith {}; {}", env!("CARGO_PKG_VERSION"), lines.join("; ")))
}

/// Whether a name stands for one file per slice; a # in those of its folders means nothing.
pub(super) fn is_numbered(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(NUMBER))
}

/// One file per slice, the first with the number that stands behind the pattern; `band` bytes are read at once, a slice if
/// that is more.
pub(super) fn to_slices(
    context: &Context,
    source: &dyn Source,
    (pattern, first): (&Path, usize),
    pixel: Option<Micrometre>,
    overwrite: bool,
    band: u64,
) -> Result<()> {
    let d = source.dims();
    let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !name.contains(NUMBER) {
        return Err(Error::usage("the # that stands for the number belongs into the file's name").at(pattern));
    }
    let folder = pattern.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    if !folder.as_os_str().is_empty() {
        std::fs::create_dir_all(&folder).map_err(|e| Error::writing(&folder, &e))?;
    }
    let description = description(source)?;
    let progress = Progress::new(&context.talk, "convert", "slices");
    let path_of = |z: usize| folder.join(name.replacen(NUMBER, &format!("{:05}", first + z), 1));
    let missing = (0..d.nz).filter(|&z| !path_of(z).exists()).count();
    if missing > 0 {
        let needed = length(Dims::new(missing, d.ny, d.nx)?, source.dtype(), &description);
        if free_space(&folder).is_ok_and(|free| free < needed) {
            return Err(no_space(pattern, needed));
        }
    }
    each_slice(source, 0..d.nz, band, |z, slice| {
        check_interrupt()?;
        let path = path_of(z);
        let one = Dims::new(1, d.ny, d.nx)?;
        match TiffWriter::create(&path, one, source.dtype(), pixel, &description, overwrite) {
            Ok(mut writer) => {
                writer.write(slice)?;
                writer.finish()?;
            }
            // What an interrupted run of the same command left, stays.
            Err(e) if e.fault() == Fault::CannotCreate && holds(&path, slice, context) => {}
            Err(e) => return Err(e),
        }
        progress.update(z as u64 + 1, d.nz as u64, ((z + 1) * d.slice() * source.dtype().size()) as u64);
        Ok(())
    })?;
    progress.finish();
    Ok(())
}

/// Whether an image has these values.
fn holds(path: &Path, slice: &[f32], context: &Context) -> bool {
    let mut values = vec![0.0f32; slice.len()];
    crate::exchange::open_stack(path, context.io).is_ok_and(|there| {
        let d = there.dims();
        d.voxels() == slice.len()
            && there.read(0..d.nz, 0..d.ny, &mut values).is_ok()
            && values.iter().zip(slice).all(|(a, b)| a.to_bits() == b.to_bits())
    })
}

fn to_native(
    context: &Context,
    source: &dyn Source,
    to: &Path,
    pixel: Option<Micrometre>,
    overwrite: bool,
) -> Result<()> {
    let spacing = pixel.map(|p| [p; 3]);
    let inputs = source.inputs()?.into_iter().map(|mut input| {
        input.role = "volume".into();
        input
    });
    let job = Job {
        dims: source.dims(),
        dtype: source.dtype(),
        spacing,
        slope: 1.0,
        intercept: 0.0,
        value_unit: "unknown".into(),
        stage: "convert".into(),
        stage_version: STAGE_VERSION,
        params: Json::obj([("pixel_um", pixel.map_or(Json::Null, |p| Json::Num(p.0)))]),
        inputs: inputs.collect(),
        contract: CONTRACT,
    };
    let mut writer = Writer::create(&to.with_extension(""), job, overwrite)?;
    copy(context, source, &mut writer)?;
    writer.finish(Json::obj::<&str>([]), context.run_record())?;
    if spacing.is_none() {
        context.talk.note("the voxel size is recorded as unknown; --pixel LENGTH sets it");
    }
    Ok(())
}

/// Moves the slices that the sink still wants.
fn copy(context: &Context, source: &dyn Source, sink: &mut impl Sink) -> Result<()> {
    let d = source.dims();
    let slices = (BLOCK / d.slice()).clamp(1, d.nz);
    let progress = Progress::new(&context.talk, "convert", "slices");
    let mut block = Vec::new();
    while sink.next_slice() < d.nz {
        check_interrupt()?;
        let z = sink.next_slice()..(sink.next_slice() + slices).min(d.nz);
        block.resize(z.len() * d.slice(), 0.0);
        source.read(z.clone(), 0..d.ny, &mut block)?;
        sink.write(&block)?;
        progress.update(z.end as u64, d.nz as u64, (z.end * d.slice() * source.dtype().size()) as u64);
    }
    progress.finish();
    Ok(())
}
