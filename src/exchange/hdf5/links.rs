//! Links to other HDF5 files: followed into the folder of the file that was named, and nowhere else.
//!
//! A relative target is sought beside the file that holds the link; an absolute one where it says, and, if its folder is
//! not on this machine, by its last name beside that file, as the HDF5 library does. What is found must lie in the
//! folder of the file that the user named, symbolic links resolved. A link to nothing is a missing file: beamlines move
//! the master file and leave the images behind.

use super::super::file::OpenFile;
use super::tree::{Tree, clip};
use crate::error::{Error, Result};
use hdf5_reader::{ExternalLinkResolver, Hdf5File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Most links from file to file that one name may lead through.
const MOST_HOPS: usize = 8;
/// Most files that the links of one file lead to.
const MOST_FILES: usize = 64;

/// What one named file's links have led to.
#[derive(Default)]
pub(super) struct Followed {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    opened: Vec<(PathBuf, Arc<Tree>)>,
    /// The file that the last link of the current lookup led to.
    last: Option<Arc<Tree>>,
    hops: usize,
    trouble: Option<Error>,
    /// Names of all targets, for messages.
    names: Vec<String>,
}

impl Followed {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Begins a lookup.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        (state.last, state.hops, state.trouble) = (None, 0, None);
    }
    /// The file in which the lookup ended, if links left the first one.
    pub(super) fn home(&self) -> Option<Arc<Tree>> {
        self.state().last.clone()
    }
    /// Why the lookup found nothing, if a link is to blame.
    pub(super) fn trouble(&self) -> Option<Error> {
        self.state().trouble.take()
    }
    /// All targets so far.
    pub(super) fn names(&self) -> Vec<String> {
        self.state().names.clone()
    }
}

/// Follows the links of one file.
pub(super) struct Links {
    /// The folder that is not left.
    root: PathBuf,
    /// The folder of the file that holds the links.
    base: PathBuf,
    followed: Weak<Followed>,
}

impl Links {
    /// For the links of `file`; `root` is the folder of the file that the user named.
    pub(super) fn new(file: &OpenFile, root: Option<&Path>, followed: &Arc<Followed>) -> Result<Links> {
        let folder = file.path().parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let base = std::fs::canonicalize(folder).map_err(|e| Error::reading(folder, &e))?;
        Ok(Links {
            root: root.map_or_else(|| base.clone(), Path::to_path_buf),
            base,
            followed: Arc::downgrade(followed),
        })
    }

    fn target(&self, name: &str) -> Result<PathBuf> {
        let quoted = clip(name);
        let outside = || {
            Error::policy(format!("a link leads to another file, '{quoted}', outside this file's folder"))
                .help("copy the data into this file's folder and link by name, or into one file (h5copy)")
        };
        let given = Path::new(name);
        if name.is_empty() || name.contains('\0') {
            return Err(Error::data("a link to a file without a name").help("export the scan again"));
        }
        let mut tried = vec![self.base.join(given)];
        if given.is_absolute()
            && let Some(last) = given.file_name()
        {
            tried.push(self.base.join(last));
        }
        for path in &tried {
            match std::fs::canonicalize(path) {
                Ok(found) if found.starts_with(&self.root) => return Ok(found),
                Ok(_) => return Err(outside()),
                Err(_) => {}
            }
        }
        let escapes = given.components().any(|c| c == std::path::Component::ParentDir);
        if escapes {
            return Err(outside());
        }
        Err(Error::missing(format!("a link leads to another file, '{quoted}', which is not here"))
            .help("copy that file beside this one, and run again"))
    }

    fn follow(&self, followed: &Arc<Followed>, name: &str) -> Result<Arc<Tree>> {
        let path = self.target(name)?;
        if let Some((_, tree)) = followed.state().opened.iter().find(|(known, _)| *known == path) {
            return Ok(tree.clone());
        }
        if followed.state().opened.len() >= MOST_FILES {
            return Err(Error::data(format!("links to more than {MOST_FILES} files")).help("export the scan again"));
        }
        let tree = Arc::new(Tree::open_linked(Arc::new(OpenFile::open(&path)?), &self.root, followed)?);
        followed.state().opened.push((path, tree.clone()));
        Ok(tree)
    }
}

impl ExternalLinkResolver for Links {
    fn resolve_external_link(&self, filename: &str) -> hdf5_reader::error::Result<Option<Hdf5File>> {
        let Some(followed) = self.followed.upgrade() else { return Ok(None) };
        {
            let mut state = followed.state();
            state.hops += 1;
            if state.names.len() < MOST_FILES && !state.names.iter().any(|n| n == filename) {
                state.names.push(filename.to_string());
            }
            if state.hops > MOST_HOPS {
                state.trouble = Some(
                    Error::data(format!("links from file to file go in a circle, or through more than {MOST_HOPS}"))
                        .help("export the scan again"),
                );
                return Ok(None);
            }
        }
        match self.follow(&followed, filename) {
            Ok(tree) => {
                let hdf5 = tree.hdf5().clone();
                followed.state().last = Some(tree);
                Ok(Some(hdf5))
            }
            Err(e) => {
                followed.state().trouble = Some(e);
                Ok(None)
            }
        }
    }
}
