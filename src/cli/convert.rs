//! `tomolith convert`: between native volumes and `.npy`, voxel for voxel.

use crate::cli::open::{extension, is_native};
use crate::cli::options::{Opt, Takes};
use crate::cli::progress::Progress;
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::exchange::{self, npy::NpyWriter};
use crate::json::Json;
use crate::num::CONTRACT;
use crate::os::check_interrupt;
use crate::units::Micrometre;
use crate::volume::reader::Reader;
use crate::volume::writer::{Job, Writer};
use crate::volume::{Sink, Source};
use std::path::Path;

/// The command.
pub const COMMAND: Command = Command {
    path: &["convert"],
    about: "Convert between native volumes (.mhd) and NumPy arrays (.npy)",
    details: "The extensions say which way. The voxels keep their bits and their type. A .npy array knows no voxel \
              size: it is recorded as unknown, unless --pixel gives it.",
    examples: "  tomolith convert out/tooth.mhd tooth.npy\n  tomolith convert volume.npy out/volume.mhd --pixel 1.33um",
    groups: &[(
        "",
        &[
            Opt::new("in", Takes::Argument("IN"), "What to read: .mhd, .nhdr, .raw or .npy"),
            Opt::new("out", Takes::Argument("OUT"), "What to write: .mhd or .npy"),
            Opt::new("pixel", Takes::Number("LENGTH"), "Voxel size with its unit, such as 1.33um (for .npy to .mhd)"),
            Opt::new("overwrite", Takes::Switch, "Replace an existing output"),
        ],
    )],
    run,
};

/// Version of this stage in manifests.
const STAGE_VERSION: u32 = 1;
/// Voxels moved at a time, if a slice is not larger: 16 MiB.
const BLOCK: usize = 4 << 20;

fn run(context: &Context) -> Result<()> {
    let settings = &context.settings;
    let (from, to) = (settings.required_path("in")?, settings.required_path("out")?);
    let pixel = settings.parse("pixel", values::length)?;
    let overwrite = settings.is_on("overwrite")?;
    let known = "IN and OUT are .mhd and .npy, or .npy and .mhd";
    match (is_native(&from), extension(&from).as_str(), extension(&to).as_str()) {
        (true, _, "npy") => {
            if pixel.is_some() {
                return Err(Error::usage("--pixel: a .npy array has no place for a voxel size").help("leave it out"));
            }
            to_npy(context, &from, &to, overwrite)
        }
        (_, "npy", "mhd") => to_native(context, &from, &to, pixel, overwrite),
        (_, "npy", "raw" | "nhdr") => Err(Error::usage("OUT: name the primary header, .mhd; the others come with it")
            .help(format!("write {}", to.with_extension("mhd").display()))),
        (true, _, "mhd" | "nhdr" | "raw") => {
            Err(Error::usage("both are native volumes: there is nothing to convert").help(known))
        }
        (_, a, b) => Err(Error::usage(format!("cannot convert '.{a}' to '.{b}'")).help(known)),
    }
}

fn to_npy(context: &Context, from: &Path, to: &Path, overwrite: bool) -> Result<()> {
    let reader = Reader::open(from, context.io)?;
    let header = reader.header();
    if (header.slope, header.intercept) != (1.0, 0.0) {
        return Err(Error::data("has a slope and an intercept, which .npy cannot carry")
            .help("read NAME.raw directly and apply them: value = slope * stored + intercept")
            .at(from));
    }
    let mut writer = NpyWriter::create(to, reader.dims(), reader.dtype(), overwrite)?;
    copy(context, &reader, &mut writer)?;
    writer.finish()
}

fn to_native(context: &Context, from: &Path, to: &Path, pixel: Option<Micrometre>, overwrite: bool) -> Result<()> {
    let scan = exchange::open_scan(from, context.io)?;
    // The only thing that a reader of .npy notes is that its numbers do not fit into f32.
    if let Some(note) = scan.notes.first() {
        return Err(Error::data(format!("cannot keep its bits: {note}"))
            .help("save it as float32, uint16 or uint8 with NumPy's astype, where you see what is lost")
            .at(from));
    }
    let source = scan.projections.as_ref();
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
