//! The writer's file operations, each of them one step at which a process can die.
//!
//! In the program these are calls of `std` and [`os`]. In tests a [`Fuse`] ends the
//! "process" at the k-th step: that step fails, or is done by half, and no later one happens.

use crate::os;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The folders on the way to `path` that do not exist, outermost first.
pub(super) fn missing_folders(path: &Path) -> Vec<PathBuf> {
    let missing = |p: &&Path| !p.as_os_str().is_empty() && std::fs::symlink_metadata(p).is_err();
    let mut folders: Vec<PathBuf> = path.ancestors().take_while(missing).map(Path::to_path_buf).collect();
    folders.reverse();
    folders
}

/// Access to the file system.
#[derive(Clone, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub fuse: Option<std::sync::Arc<Fuse>>,
}

impl Disk {
    /// Passes, unless the fuse has blown.
    fn step(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(fuse) = &self.fuse {
            return fuse.step();
        }
        Ok(())
    }

    /// Creates a folder and the `missing` ones above it, which are synced too.
    pub fn create_folders(&self, path: &Path, missing: &[PathBuf]) -> io::Result<()> {
        if !missing.is_empty() {
            self.step()?;
        }
        std::fs::create_dir_all(path)?;
        missing.iter().try_for_each(|folder| self.sync_folder_of(folder))
    }

    pub fn create_new(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        os::create_new(path)
    }

    pub fn open_own(&self, path: &Path) -> io::Result<Option<File>> {
        self.step()?;
        os::open_own(path)
    }

    pub fn preallocate(&self, file: &File, length: u64) -> io::Result<()> {
        self.step()?;
        os::preallocate(file, length)?;
        file.set_len(length)
    }

    pub fn set_len(&self, file: &File, length: u64) -> io::Result<()> {
        self.step()?;
        file.set_len(length)
    }

    pub fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Some(fuse) = &self.fuse {
            return fuse.write_at(file, bytes, offset);
        }
        file.write_all_at(bytes, offset)
    }

    /// Contents on the disk (`fdatasync`).
    pub fn sync_data(&self, file: &File) -> io::Result<()> {
        self.step()?;
        if self.settled(file) { Ok(()) } else { file.sync_data() }
    }

    /// Contents and length on the disk (`fsync`).
    pub fn sync_all(&self, file: &File) -> io::Result<()> {
        self.step()?;
        if self.settled(file) { Ok(()) } else { file.sync_all() }
    }

    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        std::fs::rename(from, to)
    }

    pub fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        std::fs::remove_file(path)
    }

    pub fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        std::fs::remove_dir(path)
    }

    /// The folder that holds `path`, on the disk.
    pub fn sync_folder_of(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        os::fsync_dir(path.parent().unwrap_or(Path::new("")))
    }

    /// Puts a small file in place in one piece: `temporary`, fsync, rename.
    pub fn replace(&self, temporary: &Path, path: &Path, text: &str) -> io::Result<()> {
        self.step()?;
        // One that a killed run left behind is overwritten: whoever comes here holds the output's lock.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(temporary)?;
        self.write_at(&file, text.as_bytes(), 0)?;
        self.sync_all(&file)?;
        self.rename(temporary, path)
    }

    /// In a test with a fuse a sync is only noted, which makes thousands of them cheap.
    #[cfg(test)]
    fn settled(&self, file: &File) -> bool {
        self.fuse.as_ref().inspect(|fuse| fuse.settled(file)).is_some()
    }
    #[cfg(not(test))]
    fn settled(&self, _file: &File) -> bool {
        false
    }
}

/// How the process dies in a test.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// Before the step.
    Before,
    /// In the middle of the step if it writes: half the bytes arrive.
    Torn,
    /// As `Torn`, and what was written since the file's last sync is lost (read back as zeros).
    PowerLoss,
    /// Not at all: the step fails because the disk is full, those behind it work again.
    Full,
}

/// Lets `left` steps pass, then none.
#[cfg(test)]
pub(super) struct Fuse {
    death: Death,
    state: std::sync::Mutex<FuseState>,
}

#[cfg(test)]
struct FuseState {
    left: usize,
    blown: bool,
    /// Ranges written since the last sync: inode, a handle, first byte, length.
    unsynced: Vec<(u64, File, u64, usize)>,
}

#[cfg(test)]
impl Fuse {
    pub fn new(left: usize, death: Death) -> std::sync::Arc<Fuse> {
        let state = FuseState { left, blown: false, unsynced: Vec::new() };
        std::sync::Arc::new(Fuse { death, state: std::sync::Mutex::new(state) })
    }

    pub fn blown(&self) -> bool {
        self.state.lock().unwrap().blown
    }

    fn dead() -> io::Error {
        io::Error::other("the test ends the process here")
    }

    fn step(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.blown {
            return if self.death == Death::Full { Ok(()) } else { Err(Fuse::dead()) };
        }
        if state.left > 0 {
            state.left -= 1;
            return Ok(());
        }
        state.blown = true;
        if self.death == Death::PowerLoss {
            for (_, file, offset, length) in state.unsynced.drain(..) {
                file.write_all_at(&vec![0; length], offset).unwrap();
            }
        }
        Err(if self.death == Death::Full { io::ErrorKind::StorageFull.into() } else { Fuse::dead() })
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        let alive = !self.blown();
        let passed = self.step();
        if passed.is_err() && alive && self.death != Death::Before {
            file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
        }
        passed?;
        let entry = (file.metadata()?.ino(), file.try_clone()?, offset, bytes.len());
        self.state.lock().unwrap().unsynced.push(entry);
        file.write_all_at(bytes, offset)
    }

    fn settled(&self, file: &File) {
        use std::os::unix::fs::MetadataExt as _;
        let inode = file.metadata().unwrap().ino();
        self.state.lock().unwrap().unsynced.retain(|entry| entry.0 != inode);
    }
}
