//! `tomolith labels export`: labels for another program.

use super::{CLASSES, LABELS, MAP, OVERWRITE};
use crate::cli::open::extension;
use crate::cli::options::{Opt, Takes};
use crate::cli::progress::Progress;
use crate::cli::{Command, Context};
use crate::error::{Error, Result};
use crate::exchange::npy::NpyWriter;
use crate::exchange::tiff::write::TiffWriter;
use crate::segment::ledger::{Ledger, to_u8};
use crate::segment::orient::{Axes, Turned, each_slice};
use crate::volume::{Dtype, Sink, Source};

/// The command.
pub const COMMAND: Command = Command {
    path: &["labels", "export"],
    about: "Write labels as .npy or TIFF for Dragonfly, Fiji, napari or webKnossos",
    details: "Written is u8, which all of them read. --map says which values: napari, fiji, dragonfly and webknossos keep 0 for \
              what nobody painted, so class 0 becomes 1; from-0 writes classes as they are and 255. --axes is the order in the \
              file: xyz is what webKnossos' Python library takes. OUT.tiff holds all slices. With --what origin the \
              ledger's origins are written as they are.",
    examples: "  tomolith labels export labels/scan_07.mhd painted.npy --map napari\n  \
               tomolith labels export labels/scan_07.mhd painted.tiff --map fiji\n  \
               tomolith labels export labels/scan_07.mhd for_wk.npy --map webknossos --axes xyz",
    groups: &[(
        "",
        &[
            LABELS,
            Opt::new("out", Takes::Argument("OUT"), "What to write: .npy or .tiff"),
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
    let view = Turned::new(source, s.parsed("axes", Axes::parse)?.inverse())?;
    let (dims, overwrite) = (view.dims(), s.is_on("overwrite")?);
    let mut sink = match extension(&out).as_str() {
        "npy" => Out::Npy(NpyWriter::create(&out, dims, Dtype::U8, overwrite)?),
        "tif" | "tiff" => {
            let pixel = source.spacing().map(|[x, _, _]| x);
            let description = format!("tomolith {} labels", env!("CARGO_PKG_VERSION"));
            Out::Tiff(TiffWriter::create(&out, dims, Dtype::U8, pixel, &description, overwrite)?)
        }
        other => return Err(Error::usage(format!("cannot write '.{other}'")).help("OUT is .npy or .tiff")),
    };
    let progress = Progress::new(&c.talk, "export", "slices");
    let (mut labels, mut written) = (vec![0u8; dims.slice()], vec![0f32; dims.slice()]);
    each_slice(&view, 0..dims.nz, BAND, |z, slice| {
        to_u8(slice, &mut labels).map_err(|_| Error::bug("a u8 volume with other values"))?;
        for (i, (&l, w)) in labels.iter().zip(&mut written).enumerate() {
            *w = values[usize::from(l)].ok_or_else(|| {
                let place = format!("row {}, column {} of image {z}", i / dims.nx, i % dims.nx);
                Error::data(format!("the label {l} ({}) at {place} has no value in the mapping", classes.name(l)))
                    .help("name it: --map 0=-,1=background,…")
            })?;
        }
        progress.update(z as u64 + 1, dims.nz as u64, ((z + 1) * dims.slice()) as u64);
        sink.write(&written)
    })?;
    progress.finish();
    sink.finish()?;
    c.out.line(format!("{}  {} x {} x {} u8", out.display(), dims.nz, dims.ny, dims.nx))
}

/// A file on its way.
enum Out {
    Npy(NpyWriter),
    Tiff(TiffWriter),
}

impl Out {
    fn write(&mut self, slice: &[f32]) -> Result<()> {
        match self {
            Out::Npy(w) => w.write(slice),
            Out::Tiff(w) => w.write(slice),
        }
    }
    fn finish(self) -> Result<()> {
        match self {
            Out::Npy(w) => w.finish(),
            Out::Tiff(w) => w.finish(),
        }
    }
}
