//! Claiming an output: whose it is, what an earlier run left, and where to go on.
//!
//! The lock is on the journal, which is the first file to appear and the last to go; `.part` is locked as well.
//!
//! ```text
//! journal        .part   .raw      then
//! none           no      no        start
//! of this job    yes     -         go on behind the slabs that it names and whose bytes are right
//! of this job    no      right     go on with the headers: the run was cut short in its last step
//! of this job    no      -         start
//! of another     yes     -         refuse, or start over when overwriting
//! unreadable     yes     -         refuse, or start over when overwriting
//! ```
//!
//! Starting or going on where finished files stand needs `overwrite`; they stay until they are replaced.

use super::codec::Codec;
use super::disk::{Disk, missing_folders};
use super::journal::{self, Entry, Found, Journal};
use super::reader::{check_committed, with_suffix};
use super::slabs::{Layout, SlabRecord};
use crate::error::{Error, Result};
use crate::os::{self, LockedFile};
use crate::provenance::Digest;
use rayon::prelude::*;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The files of an output.
pub(super) struct Paths {
    pub base: PathBuf,
    pub part: PathBuf,
    pub journal: PathBuf,
    pub raw: PathBuf,
    pub mhd: PathBuf,
    pub nhdr: PathBuf,
    pub run: PathBuf,
    pub json: PathBuf,
}

impl Paths {
    pub fn of(base: &Path) -> Paths {
        let path = |suffix| with_suffix(base, suffix);
        Paths {
            base: base.to_path_buf(),
            part: path(".raw.part"),
            journal: path(journal::SUFFIX),
            raw: path(".raw"),
            mhd: path(".mhd"),
            nhdr: path(".nhdr"),
            run: path(".run.json"),
            json: path(".json"),
        }
    }

    /// The folder of the output.
    pub fn folder(&self) -> &Path {
        self.base.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    fn finished(&self) -> Option<&Path> {
        [&self.raw, &self.json, &self.mhd, &self.nhdr, &self.run].into_iter().find(|p| present(p)).map(PathBuf::as_path)
    }
}

/// An output that is ours to write.
pub(super) struct Claim {
    /// `NAME.raw.part`, or `NAME.raw` when `renamed`.
    pub raw: LockedFile,
    pub journal: Journal,
    /// The slabs that are done.
    pub done: Vec<(Entry, SlabRecord)>,
    /// All slabs are done and the raw file has its name already.
    pub renamed: bool,
}

/// What the output is for.
pub(super) struct Wanted<'a> {
    pub paths: &'a Paths,
    pub key: Digest,
    pub layout: Layout,
    pub codec: Codec,
    pub overwrite: bool,
}

/// Whether a path names anything, even a link to nowhere.
fn present(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

impl Wanted<'_> {
    /// Claims the output; see the [module](self).
    pub fn claim(&self, disk: &Disk) -> Result<Claim> {
        let paths = self.paths;
        if !present(&paths.journal) {
            // Looked at again under the lock; here, so that a refusal leaves no trace.
            self.refuse_finished()?;
            self.refuse_part(Found::Empty)?;
        }
        let folder = paths.folder();
        let made = missing_folders(folder);
        disk.create_folders(folder, &made)
            .map_err(|e| Error::writing(folder, &e))
            .and_then(|()| self.lock_journal(disk))
            .and_then(|(file, created)| self.take(disk, file, created))
            .inspect_err(|_| {
                // Only empty folders can be removed: nothing is left behind, and nothing of anybody's is lost.
                made.iter().rev().for_each(|folder| drop(disk.remove_folder(folder)));
            })
    }

    /// Opens or creates the journal and locks it.
    fn lock_journal(&self, disk: &Disk) -> Result<(LockedFile, bool)> {
        let path = &self.paths.journal;
        let failed = |e: io::Error| os::write_error(path, self.bytes(), &e);
        loop {
            let (file, created) = match disk.open_own(path).map_err(|e| not_own(path, &e))? {
                Some(file) => (file, false),
                None => match disk.create_new(path) {
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                    other => (other.map_err(failed)?, true),
                },
            };
            let file = lock(file, path)?;
            // Between opening and locking, whoever held the lock may have finished and removed the file.
            if same_file(&file, path) {
                return Ok((file, created));
            }
        }
    }

    /// Decides by what the locked journal says.
    fn take(&self, disk: &Disk, file: LockedFile, created: bool) -> Result<Claim> {
        let path = &self.paths.journal;
        let found = journal::read(&file, &self.layout).map_err(|e| Error::reading(path, &e))?;
        let nothing_claimed = found == Found::Empty;
        let claim = match found {
            Found::Job { key, entries, ends } if key == self.key => match self.go_on(disk, entries)? {
                Some((raw, done, renamed)) => {
                    let journal = Journal::resume(disk, file, ends[done.len()]);
                    return Ok(Claim {
                        raw,
                        journal: journal.map_err(|e| os::write_error(path, self.bytes(), &e))?,
                        done,
                        renamed,
                    });
                }
                None => self.refuse_finished(),
            },
            other => self.refuse_part(other).and_then(|()| self.refuse_finished()),
        };
        match claim.and_then(|()| self.check_space()).and_then(|()| self.remove_old_part(disk)) {
            Ok(()) => self.start(disk, file),
            Err(refused) => {
                if created || nothing_claimed {
                    let _ = disk.remove(path);
                }
                Err(refused)
            }
        }
    }

    /// What this job's earlier run left: the raw file, its slabs that are right, and whether it has its name.
    #[allow(clippy::type_complexity)]
    fn go_on(&self, disk: &Disk, entries: Vec<Entry>) -> Result<Option<(LockedFile, Vec<(Entry, SlabRecord)>, bool)>> {
        let Paths { part, raw, .. } = self.paths;
        if let Some(file) = disk.open_own(part).map_err(|e| not_own(part, &e))? {
            self.refuse_finished()?;
            let file = lock(file, part)?;
            let done = self.right(&file, entries)?;
            self.preallocate(disk, &file)?;
            return Ok(Some((file, done, false)));
        }
        let slabs = self.layout.slabs();
        let bytes = self.layout.dims.bytes(self.layout.dtype);
        if entries.len() < slabs || !raw.metadata().is_ok_and(|m| m.is_file() && m.len() == bytes) {
            return Ok(None);
        }
        let Some(file) = disk.open_own(raw).map_err(|e| not_own(raw, &e))? else { return Ok(None) };
        let file = lock(file, raw)?;
        let done = self.right(&file, entries)?;
        Ok((done.len() == slabs).then_some((file, done, true)))
    }

    /// The slabs up to the first whose bytes are not what the journal says.
    fn right(&self, file: &File, entries: Vec<Entry>) -> Result<Vec<(Entry, SlabRecord)>> {
        let records: Vec<Option<SlabRecord>> = (0..entries.len())
            .into_par_iter()
            .map(|slab| {
                os::check_interrupt()?;
                Ok(SlabRecord::of_file(self.codec, &self.layout, file, slab).ok())
            })
            .collect::<Result<_>>()?;
        let pairs = entries.into_iter().zip(records).map_while(|(entry, record)| Some((entry, record?)));
        Ok(pairs.take_while(|(entry, record)| entry.digest == record.digest).collect())
    }

    /// Starts from nothing: journal with its first line, then `.part` with all its space.
    fn start(&self, disk: &Disk, file: LockedFile) -> Result<Claim> {
        let Paths { part, journal, .. } = self.paths;
        let begun = || -> Result<Claim> {
            let failed = |e: io::Error| os::write_error(journal, self.bytes(), &e);
            let journal = Journal::start(disk, file, self.key).map_err(failed)?;
            disk.sync_folder_of(part).map_err(failed)?;
            let raw = lock(disk.create_new(part).map_err(|e| Error::writing(part, &e))?, part)?;
            self.preallocate(disk, &raw)?;
            disk.sync_folder_of(part).map_err(|e| Error::writing(part, &e))?;
            Ok(Claim { raw, journal, done: Vec::new(), renamed: false })
        };
        begun().inspect_err(|_| {
            let _ = disk.remove(part);
            let _ = disk.remove(journal);
        })
    }

    /// Removes the `.part` of another job, unless another process writes it.
    fn remove_old_part(&self, disk: &Disk) -> Result<()> {
        let part = &self.paths.part;
        if let Some(old) = disk.open_own(part).map_err(|e| not_own(part, &e))? {
            let _held = lock(old, part)?;
            disk.remove(part).map_err(|e| Error::writing(part, &e))?;
        }
        Ok(())
    }

    /// Bytes of the volume.
    fn bytes(&self) -> u64 {
        self.layout.dims.bytes(self.layout.dtype)
    }

    fn preallocate(&self, disk: &Disk, file: &File) -> Result<()> {
        let bytes = self.bytes();
        disk.preallocate(file, bytes).map_err(|e| os::write_error(&self.paths.part, bytes, &e))
    }

    /// Refuses before any work what cannot fit. Reserving the space would find it too, but only after filling the
    /// disk for everybody else.
    fn check_space(&self) -> Result<()> {
        let needed = self.bytes();
        // What another job's `.part` occupies becomes free.
        let old = self.paths.part.metadata().map_or(0, |m| m.len());
        match os::free_space(self.paths.folder()) {
            Ok(free) if free.saturating_add(old) < needed => Err(os::no_space(&self.paths.part, needed)),
            _ => Ok(()),
        }
    }

    fn refuse_finished(&self) -> Result<()> {
        match self.paths.finished().filter(|_| !self.overwrite) {
            None => Ok(()),
            Some(path) => Err(Error::cannot_create("the output exists already")
                .at(path)
                .help("choose another name, or replace it with `--overwrite`")),
        }
    }

    /// Refuses to touch the unfinished output of another job, or of another program.
    fn refuse_part(&self, found: Found) -> Result<()> {
        if self.overwrite {
            return Ok(());
        }
        let Paths { part, journal, base, .. } = self.paths;
        let (path, what) = match found {
            Found::Foreign => (journal, "exists and is not a journal of tomolith"),
            _ if present(part) => (part, "an unfinished output of another job has this name"),
            Found::Job { .. } if present(&self.paths.raw) && check_committed(base, None).is_err() => {
                (journal, "an output of another job was cut short in its last step")
            }
            _ => return Ok(()),
        };
        Err(Error::cannot_create(what)
            .at(path)
            .help("choose another name, finish it with its own command, or replace it with `--overwrite`"))
    }
}

fn not_own(path: &Path, e: &io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory => {}
        _ if e.raw_os_error() == Some(libc::ELOOP) => {}
        _ => return Error::writing(path, e),
    }
    Error::policy("is a link or a special file, through which nothing is written")
        .at(path)
        .help("remove it, or choose another name")
}

fn lock(file: File, path: &Path) -> Result<LockedFile> {
    os::lock_exclusive(file).map_err(|e| Error::writing(path, &e))?.ok_or_else(|| {
        Error::again("another process is writing this output")
            .at(path)
            .help("wait for it to end, then run the same command again")
    })
}

fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
        _ => false,
    }
}
