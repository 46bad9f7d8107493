//! The seam to the native volumes of [`crate::volume`].

use crate::error::{Error, Result};
use crate::volume::Source;
use std::path::Path;

/// How the blocks of a native volume are read; the values are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoMode {
    /// Through a memory map.
    Mmap,
    /// By positioned reads.
    Pread,
}

/// Opens the native volume of the header `path`.
pub(super) fn open(path: &Path, _io: IoMode) -> Result<Box<dyn Source>> {
    Err(Error::device("native volumes are not read by this build").at(path))
}
