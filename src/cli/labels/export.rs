//! `tomolith labels export`: labels for another program.

use super::{CLASSES, LABELS, MAP, OVERWRITE};
use crate::cli::convert::{is_numbered, to_slices};
use crate::cli::open::extension;
use crate::cli::options::{Opt, Takes};
use crate::cli::progress::Progress;
use crate::cli::{Command, Context};
use crate::error::{Error, Result};
use crate::exchange::npy::NpyWriter;
use crate::exchange::tiff::write::TiffWriter;
use crate::json::Json;
use crate::num::CONTRACT;
use crate::provenance::InputFile;
use crate::segment::classes::Classes;
use crate::segment::ledger::{EXPORTED, Ledger, ORIGIN};
use crate::segment::orient::{Axes, Turned, each_slice};
use crate::volume::reader::{base_of, with_suffix};
use crate::volume::writer::{Job, Writer};
use crate::volume::{Dims, Dtype, Sink, Source, Spacing};
use std::ops::Range;
use std::path::Path;

/// The command.
pub const COMMAND: Command = Command {
    path: &["labels", "export"],
    about: "Write labels as .npy, TIFF or .mhd for Dragonfly, Fiji, napari, webKnossos or ITK-SNAP",
    details: "Written is u8, which all of them read. --map says which values: napari, fiji, dragonfly and webknossos keep 0 for \
              what nobody painted, so class 0 becomes 1; from-0 writes classes as they are and 255. --axes is the order in the \
              file: xyz is what webKnossos' Python library takes. OUT.tiff holds all slices; with a # in its name it is one TIFF per \
              slice, the # replaced by five digits. OUT.mhd is for programs that read MetaImage. With --what origin the \
              ledger's origins are written as they are.",
    examples: "  tomolith labels export labels/scan_07.mhd painted.npy --map napari\n  \
               tomolith labels export labels/scan_07.mhd painted.tiff --map fiji\n  \
               tomolith labels export labels/scan_07.mhd 'painted/slice_#.tiff' --map dragonfly\n  \
               tomolith labels export labels/scan_07.mhd for_wk.npy --map webknossos --axes xyz",
    groups: &[(
        "",
        &[
            LABELS,
            Opt::new("out", Takes::Argument("OUT"), "What to write: .npy, .tiff, NAME_#.tiff or .mhd"),
            MAP,
            Opt::new("axes", Takes::Number("ORDER"), "Axes of the file, slowest first; a minus runs backwards")
                .default("zyx"),
            Opt::new("what", Takes::Choice(&["class", "origin"]), "Classes, or who said them").default("class"),
            CLASSES,
            OVERWRITE,
        ],
    )],
    run,
};

/// Version of the stage in manifests.
const VERSION: u32 = 1;
/// Bytes that are read at once.
const BAND: u64 = 256 << 20;

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (path, out) = (s.required_path("labels")?, s.required_path("out")?);
    let (classes, _) = super::classes(s)?;
    let ledger = Ledger::open(&path, c.io)?;
    let origin = s.text("what")? == Some("origin");
    let source = match (&ledger.origins, origin) {
        (None, true) => return Err(Error::data("has no origins").at(&path)),
        (Some(origins), true) => origins,
        _ => &ledger.labels,
    };
    // What is written for each stored value.
    let mut values: Vec<Option<f32>> = (0..=255u8).map(|v| origin.then_some(f32::from(v))).collect();
    if !origin {
        let mapping = super::mapping(s, "map", &classes)?.ok_or_else(|| {
            Error::usage("--map is missing: which values are wanted?").help("such as --map napari, or --map from-0")
        })?;
        for (label, value) in values.iter_mut().enumerate() {
            let mapped = mapping.value(label as u8);
            *value = mapped.and_then(|v| u8::try_from(v).ok()).map(f32::from);
            if let (Some(v), None) = (mapped, *value) {
                return Err(Error::usage(format!("the mapping writes {v}, which is no u8")).help("values are 0 to 255"));
            }
        }
    }
    if extension(&out) == "mhd" {
        spare_ledgers(&path, &out)?;
    }
    let axes = s.parsed("axes", Axes::parse)?;
    let view = Mapped { view: Turned::new(source, axes.inverse())?, values, classes: &classes };
    let (dims, overwrite, pixel) = (view.dims(), s.is_on("overwrite")?, view.spacing().map(|[x, _, _]| x));
    let mut sink = match extension(&out).as_str() {
        "npy" => Out::Npy(NpyWriter::create(&out, dims, Dtype::U8, overwrite)?),
        "tif" | "tiff" if is_numbered(&out) => {
            to_slices(c, &view, (&out, 0), pixel, overwrite, BAND)?;
            return c.out.line(format!("{}  {} images of {} x {} u8", out.display(), dims.nz, dims.ny, dims.nx));
        }
        "tif" | "tiff" => {
            let description = format!("tomolith {} labels", env!("CARGO_PKG_VERSION"));
            Out::Tiff(TiffWriter::create(&out, dims, Dtype::U8, pixel, &description, overwrite)?)
        }
        "mhd" => {
            let map = if origin { Json::Null } else { s.text("map")?.map_or(Json::Null, Json::from) };
            let params =
                [("what", s.text("what")?.unwrap_or_default().into()), ("map", map), ("axes", axes.name().into())];
            let job = Job {
                dims,
                dtype: Dtype::U8,
                spacing: view.spacing(),
                slope: 1.0,
                intercept: 0.0,
                value_unit: if origin { "origin" } else { "label" }.into(),
                stage: EXPORTED.into(),
                stage_version: VERSION,
                params: Json::obj(params),
                inputs: view.inputs()?,
                contract: CONTRACT,
            };
            Out::Native(Box::new(Writer::create(&out.with_extension(""), job, overwrite)?))
        }
        other => {
            return Err(Error::usage(format!("cannot write '.{other}'"))
                .help("OUT is .npy, .tiff, .mhd, or NAME_#.tiff for one file per slice"));
        }
    };
    let progress = Progress::new(&c.talk, "export", "slices");
    each_slice(&view, sink.as_sink().next_slice()..dims.nz, BAND, |z, slice| {
        progress.update(z as u64 + 1, dims.nz as u64, ((z + 1) * dims.slice()) as u64);
        sink.as_sink().write(slice)
    })?;
    progress.finish();
    sink.finish(c)?;
    c.out.line(format!("{}  {} x {} x {} u8", out.display(), dims.nz, dims.ny, dims.nx))
}

/// Refuses to write over the labels that are read, and over any with a ledger: the other program's values are none.
fn spare_ledgers(labels: &Path, out: &Path) -> Result<()> {
    let real = |base: &Path| with_suffix(base, ".mhd").canonicalize().ok();
    let base = out.with_extension("");
    let help = "write it under a name of its own";
    if real(&base).is_some_and(|out| real(&base_of(labels)) == Some(out)) {
        return Err(Error::usage("OUT is LABELS itself").help(help).at(out));
    }
    // The name of the labels, where OUT is that of their origins.
    let name = base.to_string_lossy();
    let owner = Path::new(name.strip_suffix(ORIGIN).unwrap_or(&name));
    let origins = with_suffix(owner, &format!("{ORIGIN}.mhd"));
    if origins.exists() || owner != base && with_suffix(owner, ".mhd").exists() {
        return Err(Error::usage("OUT has the name of labels with a ledger").help(help).at(out));
    }
    Ok(())
}

/// Labels as the other program's values.
struct Mapped<'a> {
    view: Turned<'a>,
    /// What is written for each stored value.
    values: Vec<Option<f32>>,
    classes: &'a Classes,
}

impl Source for Mapped<'_> {
    fn dims(&self) -> Dims {
        self.view.dims()
    }
    fn dtype(&self) -> Dtype {
        Dtype::U8
    }
    fn spacing(&self) -> Spacing {
        self.view.spacing()
    }
    fn read(&self, z: Range<usize>, y: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.view.read(z.clone(), y.clone(), out)?;
        let nx = self.dims().nx;
        for (i, v) in out.iter_mut().enumerate() {
            let label = *v as u8;
            if f32::from(label) != *v {
                return Err(Error::bug("a u8 volume with other values"));
            }
            *v = self.values[usize::from(label)].ok_or_else(|| {
                let (image, row) = (z.start + i / nx / y.len(), y.start + i / nx % y.len());
                let what = format!("the label {label} ({})", self.classes.name(label));
                Error::data(format!(
                    "{what} at row {row}, column {} of image {image} has no value in the mapping",
                    i % nx
                ))
                .help("name it: --map 0=-,1=background,…")
            })?;
        }
        Ok(())
    }
    fn inputs(&self) -> Result<Vec<InputFile>> {
        self.view.inputs()
    }
}

/// A file on its way.
enum Out {
    Npy(NpyWriter),
    Tiff(TiffWriter),
    Native(Box<Writer>),
}

impl Out {
    fn as_sink(&mut self) -> &mut dyn Sink {
        match self {
            Out::Npy(w) => w,
            Out::Tiff(w) => w,
            Out::Native(w) => w.as_mut(),
        }
    }
    fn finish(self, c: &Context) -> Result<()> {
        match self {
            Out::Npy(w) => w.finish(),
            Out::Tiff(w) => w.finish(),
            Out::Native(w) => w.finish(Json::obj::<&str>([]), c.run_record()).map(|_| ()),
        }
    }
}
