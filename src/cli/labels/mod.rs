//! `tomolith labels …`: what somebody said a voxel is.

use crate::cli::options::{Opt, Settings, Takes};
use crate::cli::{Context, values};
use crate::error::Result;
use crate::provenance::InputFile;
use crate::segment::classes::{Classes, Mapping};
use crate::volume::Dims;
use crate::volume::manifest::Manifest;
use crate::volume::reader::with_suffix;
use std::path::Path;

pub mod export;
pub mod import;
pub mod inspect;

/// The table of classes.
pub const CLASSES: Opt = Opt::new(
    "classes",
    Takes::Value("TABLE"),
    "Classes: network, cell, or a .toml file with [[class]] id, name, colour",
)
.default("network");
/// Labels of a volume.
pub const LABELS: Opt = Opt::new("labels", Takes::Argument("LABELS"), "Class volume of a ledger: .mhd, u8");
/// Replaces an output.
pub const OVERWRITE: Opt = Opt::new("overwrite", Takes::Switch, "Replace an existing output");
/// Where to write.
pub const OUTPUT: Opt = Opt::new("output", Takes::Value("DIR/NAME"), "Where to write, without extension").short('o');
/// What the values of a file mean.
pub const MAP: Opt = Opt::new(
    "map",
    Takes::Value("NAME|RULES"),
    "What values mean: dragonfly, fiji, napari, webknossos (0 unlabelled, classes from 1), from-0, from-1, paper, \
     cell-to-network, or value=class,… with - for unlabelled",
);

/// The table that [`CLASSES`] names.
pub fn classes(settings: &Settings) -> Result<(Classes, Option<InputFile>)> {
    settings.parsed("classes", Classes::open)
}

/// The mapping of an option; without one that of native volumes.
pub fn mapping(settings: &Settings, name: &str, classes: &Classes) -> Result<Option<Mapping>> {
    settings.parse(name, |text| Mapping::parse(text, classes))
}

/// Whole numbers with commas.
pub fn indices(text: &str) -> Result<Vec<usize>> {
    text.split(',').map(|n| values::index(n.trim())).collect()
}

/// One line about a volume of labels.
pub fn written(context: &Context, base: &Path, manifest: &Manifest) -> Result<()> {
    let Dims { nz, ny, nx } = manifest.layout().dims;
    let path = with_suffix(base, ".mhd");
    context.out.line(format!("{}  {nx} x {ny} x {nz} u8 class  {}", path.display(), manifest.digest().hex()))
}

/// Counts of a manifest, one line each.
pub fn counts(context: &Context, manifest: &Manifest) -> Result<()> {
    let counts = manifest.json().get("results").and_then(|r| r.get("counts")).and_then(|c| c.as_obj());
    for (name, n) in counts.into_iter().flatten() {
        context.out.line(format!("{name:40} {}", n.to_line()))?;
    }
    Ok(())
}
