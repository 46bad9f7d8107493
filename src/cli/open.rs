//! Opens what a command is pointed at: a native volume by its extension, anything else by its content.

use crate::cli::Context;
use crate::error::{Error, Fault, Result};
use crate::exchange::{self, Scan};
use crate::volume::Source;
use crate::volume::reader::Reader;
use std::path::Path;

/// An opened input.
pub enum Input {
    /// A native volume.
    Native(Box<Reader>),
    /// A scan; of a `.npy` array or a stack of images there are only projections.
    Foreign(Box<Scan>),
}

impl Input {
    /// Opens `path`.
    pub fn open(path: &Path, context: &Context) -> Result<Input> {
        if is_native(path) {
            return Ok(Input::Native(Box::new(Reader::open(path, context.io)?)));
        }
        if path.is_dir() {
            // A folder may be a stack of images; if not, that is the commoner mistake.
            return exchange::open_scan(path, context.io).map(|scan| Input::Foreign(Box::new(scan))).map_err(
                |e| match e.fault() {
                    Fault::Missing => Error::missing("is a folder, and holds no stack of TIFF images")
                        .help("name a .mhd, .npy or .h5 file in it")
                        .at(path),
                    _ => e,
                },
            );
        }
        Ok(Input::Foreign(Box::new(exchange::open_scan(path, context.io)?)))
    }

    /// Its voxels; of a scan the projections.
    pub fn source(&self) -> &dyn Source {
        match self {
            Input::Native(reader) => reader.as_ref(),
            Input::Foreign(scan) => scan.projections.as_ref(),
        }
    }
}

/// The extension in lower case, empty when there is none.
pub fn extension(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// Whether a name is that of a native volume.
pub fn is_native(path: &Path) -> bool {
    matches!(extension(path).as_str(), "mhd" | "nhdr" | "raw")
}
