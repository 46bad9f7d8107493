//! A folder that a command owns while it is at work: two would write over one another.

use crate::error::{Error, Result};
use crate::os::{LockedFile, lock_exclusive};
use std::path::Path;

/// Takes the lock WORK.lock in a folder, without waiting.
///
/// # Errors
/// Again: somebody else holds it. What the system says.
pub fn own(folder: &Path, work: &str) -> Result<LockedFile> {
    let path = folder.join(format!("{work}.lock"));
    let file = std::fs::File::create(&path).map_err(|e| Error::writing(&path, &e))?;
    lock_exclusive(file).map_err(|e| Error::writing(&path, &e))?.ok_or_else(|| {
        Error::again(format!("another {work} works in this folder"))
            .help("wait for it, or name another folder")
            .at(folder)
    })
}
