//! `tomolith seg …`: from labels to segmented scans.

use crate::error::{Error, Result};
use crate::json::{Json, MAX_TEXT};
use crate::os::open_regular;
use crate::provenance::Digest;
use crate::volume::reader::Reader;
use std::io::Read as _;
use std::path::Path;

pub mod after;
mod cost;
pub mod eval;
pub mod inputs;
pub mod merge;
pub mod patches;
pub mod predict;
pub mod propose;
pub mod round;
pub mod sheet;
pub mod split;
pub mod train;

/// A text of at most what JSON may hold.
pub fn read_text(path: &Path) -> Result<String> {
    let mut text = String::new();
    let limit = MAX_TEXT as u64 + 1;
    open_regular(path)?.take(limit).read_to_string(&mut text).map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidData => Error::data("is not UTF-8 text").at(path),
        _ => Error::reading(path, &e),
    })?;
    Ok(text)
}

/// The JSON of a file.
pub fn read_json(path: &Path) -> Result<Json> {
    Json::parse(&read_text(path)?).map_err(|e| e.at(path))
}

/// Digest of a volume's numbers: its manifest's, where it has one, which says what they were when they were written.
pub fn digest_of(volume: &Reader) -> Result<Digest> {
    let said = volume.manifest().and_then(|m| m.get("volume")?.get("digest")?.as_str());
    said.map_or_else(|| Ok(Digest::of_file(volume.raw_path())?.0), Digest::parse)
}

/// What helps where labels or weights are of other classes than the table.
pub const OTHER_TABLE: &str = "give the table that belongs to them with --classes";
