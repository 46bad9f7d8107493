//! A file that has its name only when it is complete: written as `NAME.part`, synced, renamed, its folder synced.

use crate::error::{Error, Result};
use crate::os::{self, LockedFile};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An output on its way.
pub(crate) struct PartFile {
    file: LockedFile,
    part: PathBuf,
    path: PathBuf,
    overwrite: bool,
    /// Bytes of the whole, reserved.
    whole: u64,
    written: u64,
    done: bool,
}

impl PartFile {
    /// Starts `path`, a file of about `whole` bytes, for which there must be space. What lies there is kept until
    /// [`PartFile::finish`]; without `overwrite` it is an error.
    pub(crate) fn create(path: &Path, overwrite: bool, whole: u64) -> Result<PartFile> {
        refuse_existing(path, overwrite)?;
        let Some(name) = path.file_name() else {
            return Err(Error::cannot_create("is not the name of a file")
                .help("end the path with a file name")
                .at(path));
        };
        let mut part_name = name.to_os_string();
        part_name.push(".part");
        let part = path.with_file_name(part_name);
        let file = claim(&part)?;
        file.set_len(0).map_err(|e| Error::writing(&part, &e))?;
        let part = PartFile { file, part, path: path.to_path_buf(), overwrite, whole, written: 0, done: false };
        // Reserving would tell, too, but only after filling the disk for everybody else.
        if os::free_space(&part.part).is_ok_and(|free| free < whole) {
            return Err(os::no_space(&part.part, whole));
        }
        os::preallocate(&part.file, whole).map_err(|e| part.failed(&e))?;
        Ok(part)
    }

    /// Where the file will be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        (&*self.file).write_all(bytes).map_err(|e| self.failed(&e))
    }

    fn failed(&self, error: &io::Error) -> Error {
        os::write_error(&self.part, self.whole.max(self.written), error)
    }

    /// Gives the file its name.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.file.set_len(self.written).and_then(|()| self.file.sync_all()).map_err(|e| self.failed(&e))?;
        refuse_existing(&self.path, self.overwrite)?;
        std::fs::rename(&self.part, &self.path).map_err(|e| Error::writing(&self.path, &e))?;
        self.done = true;
        let folder = self.path.parent().unwrap_or(Path::new(""));
        os::fsync_dir(folder).map_err(|e| Error::writing(folder, &e))
    }
}

impl Drop for PartFile {
    /// An output that failed leaves nothing behind. A failure to remove it has no one to tell: the name says what it is.
    fn drop(&mut self) {
        if !self.done {
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

/// Creates `part`, or takes it over from a run that was killed: the lock tells the two from the work of a living one.
fn claim(part: &Path) -> Result<LockedFile> {
    let writing = |e: io::Error| Error::writing(part, &e);
    let file = match os::create_new(part) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => os::open_own(part).map_err(writing)?,
        other => Some(other.map_err(writing)?),
    };
    let busy = || Error::again("another process is writing it").help("wait until it has ended").at(part);
    let file = file.ok_or_else(busy)?;
    let file = os::lock_exclusive(file).map_err(writing)?.ok_or_else(busy)?;
    // Before the lock was ours its holder may have finished and given this very file its final name.
    let id = |m: std::fs::Metadata| (m.dev(), m.ino());
    let named = std::fs::symlink_metadata(part).ok().map(id);
    if named != Some(id(file.metadata().map_err(writing)?)) {
        return Err(busy());
    }
    Ok(file)
}

fn refuse_existing(path: &Path, overwrite: bool) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Err(Error::cannot_create("is a folder").help("name a file").at(path)),
        Ok(meta) if overwrite && !meta.is_file() => {
            Err(Error::cannot_create("is not a regular file, so it is not replaced")
                .help("choose another name")
                .at(path))
        }
        Ok(_) if !overwrite => Err(Error::writing(path, &std::io::ErrorKind::AlreadyExists.into())),
        _ => Ok(()),
    }
}

/// Writes `bytes` as the file `path`.
pub(crate) fn write_whole(path: &Path, overwrite: bool, bytes: &[u8]) -> Result<()> {
    let mut part = PartFile::create(path, overwrite, bytes.len() as u64)?;
    part.write(bytes)?;
    part.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;
    use crate::testing::Scratch;

    #[test]
    fn the_name_appears_only_when_complete_and_nothing_is_overwritten_untold() {
        let dir = Scratch::new("part");
        let path = dir.join("a.bin");
        let mut part = PartFile::create(&path, false, 3).unwrap();
        part.write(b"one").unwrap();
        assert!(!path.exists() && dir.join("a.bin.part").exists());
        part.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        let e = write_whole(&path, false, b"two").unwrap_err();
        assert_eq!(e.fault(), Fault::CannotCreate);
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        write_whole(&path, true, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_abandoned_output_leaves_nothing_and_a_left_over_is_reused() {
        let dir = Scratch::new("part-left-over");
        let path = dir.join("a");
        drop(PartFile::create(&path, false, 3).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        std::fs::write(dir.join("a.part"), b"of a killed run, longer than the new one").unwrap();
        write_whole(&path, false, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_link_in_the_place_of_the_part_is_not_followed() {
        let dir = Scratch::new("part-link");
        std::fs::write(dir.join("precious"), b"mine").unwrap();
        std::os::unix::fs::symlink(dir.join("precious"), dir.join("a.part")).unwrap();
        assert!(write_whole(&dir.join("a"), true, b"new").is_err());
        assert_eq!(std::fs::read(dir.join("precious")).unwrap(), b"mine");
    }

    #[test]
    fn two_writers_of_one_name_and_bad_places_are_told() {
        let dir = Scratch::new("part-two");
        let path = dir.join("a");
        let first = PartFile::create(&path, false, 3).unwrap();
        assert_eq!(PartFile::create(&path, false, 3).err().unwrap().fault(), Fault::Again);
        drop(first);
        let fault = |p: &Path| PartFile::create(p, true, 3).err().unwrap().fault();
        assert_eq!(fault(dir.path()), Fault::CannotCreate);
        assert_eq!(fault(&dir.join("none/a")), Fault::CannotCreate);
    }
}
