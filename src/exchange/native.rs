//! Native volumes as projections, flats and darks.

use crate::error::Result;
pub use crate::volume::reader::IoMode;
use crate::volume::{Source, reader::Reader};
use std::path::Path;

/// Opens the native volume of the header `path`.
pub(super) fn open(path: &Path, io: IoMode) -> Result<Box<dyn Source>> {
    Ok(Box::new(Reader::open(path, io)?))
}
