//! The groups, datasets and attributes of an HDF5 file: the only module that talks with `hdf5-reader`'s parser.
//!
//! The file may be hostile or cut. Every byte that the parser sees comes through [`OpenFile`] with a bound on one
//! read; links to other files go through [`Links`]; and what `libhdf5` checks before the first byte is checked:
//! that the file is as long as its superblock says, and that no writer has it open.

use super::super::file::OpenFile;
use super::links::{Followed, Links};
use crate::error::{Error, Result};
use hdf5_reader::error::Error as Hdf5Error;
use hdf5_reader::group::Group;
use hdf5_reader::storage::RangeRequestStorage;
use hdf5_reader::{Hdf5File, OpenOptions};
use std::path::Path;
use std::sync::Arc;

pub(super) use hdf5_reader::Dataset;

/// Most bytes of structure that are read at a time: a heap or an index of a million frames is smaller.
const MAX_STRUCTURE: usize = 32 << 20;

/// Largest object header, in all its pieces. Real ones have a few KB.
const MAX_HEADER: usize = 1 << 20;

/// Longest text that an error or a note repeats from the file.
const MAX_QUOTE: usize = 80;

/// Most names that an error lists.
const MAX_LISTED: usize = 12;

/// An open HDF5 file.
pub(super) struct Tree {
    file: Arc<OpenFile>,
    hdf5: Hdf5File,
    followed: Arc<Followed>,
}

impl Tree {
    /// Opens the file and checks its superblock.
    pub(super) fn open(file: Arc<OpenFile>) -> Result<Tree> {
        let followed = Arc::new(Followed::default());
        let links = Links::new(&file, None, &followed)?;
        Tree::with(file, links, followed)
    }

    /// Opens a file that a link led to.
    pub(super) fn open_linked(file: Arc<OpenFile>, root: &Path, followed: &Arc<Followed>) -> Result<Tree> {
        let links = Links::new(&file, Some(root), followed)?;
        // It holds none of what it is held by.
        Tree::with(file, links, Arc::default())
    }

    fn with(file: Arc<OpenFile>, links: Links, followed: Arc<Followed>) -> Result<Tree> {
        let handle = file.clone();
        let storage = RangeRequestStorage::new(file.bytes(), move |offset, len| {
            if len > MAX_STRUCTURE {
                return Err(Hdf5Error::ResourceLimit(format!("a structure of {len} bytes at byte {offset}")));
            }
            let mut bytes = vec![0; len];
            handle.read_at(offset, &mut bytes).map_err(|e| Hdf5Error::Other(e.what().to_string()))?;
            Ok(bytes)
        });
        let options = OpenOptions::default()
            .with_chunk_cache_bytes(0)
            .with_max_chunk_bytes(MAX_STRUCTURE)
            .with_max_read_bytes(MAX_STRUCTURE)
            .with_max_object_header_bytes(MAX_HEADER)
            .with_external_link_resolver(Arc::new(links));
        let hdf5 =
            Hdf5File::from_storage_with_options(Arc::new(storage), options).map_err(|e| damaged(&e).at(file.path()))?;
        check_superblock(&hdf5, file.bytes()).map_err(|e| e.at(file.path()))?;
        Ok(Tree { file, hdf5, followed })
    }

    /// The file behind it.
    pub(super) fn file(&self) -> &Arc<OpenFile> {
        &self.file
    }

    /// The parser's view of the file.
    pub(super) fn hdf5(&self) -> &Hdf5File {
        &self.hdf5
    }

    /// The dataset at `path`; `None` where a part of the path is not there.
    pub(super) fn dataset(&self, path: &str) -> Result<Option<Dataset>> {
        self.followed.begin();
        match self.hdf5.dataset(path) {
            Ok(dataset) => Ok(Some(dataset)),
            Err(e) => match (self.followed.trouble(), absent(&e)) {
                (Some(trouble), _) => {
                    let named = Error::new(trouble.fault(), format!("{path}: {}", trouble.what()));
                    let named = trouble.path().map_or(named.clone(), |p| named.at(p));
                    Err(trouble.advice().map_or(named.clone(), |help| named.help(help)))
                }
                (None, true) => Ok(None),
                (None, false) => Err(damaged(&e)),
            },
        }
    }

    /// The file that holds the dataset found last, if links led out of this one.
    pub(super) fn home(&self) -> Option<Arc<Tree>> {
        self.followed.home()
    }

    /// The text of an attribute; `None` where there is none, or where it is no text.
    pub(super) fn text_attribute(&self, dataset: &Dataset, name: &str) -> Option<String> {
        let attribute = dataset.attribute(name).ok()?;
        let text = attribute.read_string().ok()?;
        Some(text.trim_end_matches('\0').trim().to_string())
    }

    /// The groups that say they are NXtomo, at most two deep.
    pub(super) fn nxtomo(&self) -> Result<Vec<String>> {
        self.followed.begin();
        let mut found = Vec::new();
        let last = |group: &Group| group.name().rsplit('/').next().unwrap_or_default().to_string();
        for entry in self.groups(&self.root()?)? {
            if is_nxtomo(&entry) {
                found.push(last(&entry));
            }
            for sub in self.groups(&entry)? {
                if is_nxtomo(&sub) {
                    found.push(format!("{}/{}", last(&entry), last(&sub)));
                }
            }
        }
        Ok(found)
    }

    /// What lies at the top of the file, for a message.
    pub(super) fn top(&self) -> Result<String> {
        let (groups, datasets) = self.root()?.member_names().map_err(|e| damaged(&e))?;
        let mut names: Vec<String> = groups.iter().map(|g| format!("{}/", clip(g))).collect();
        names.extend(datasets.iter().map(|d| clip(d)));
        names.extend(self.followed.names().iter().map(|n| format!("a link to the file '{}'", clip(n))));
        if names.is_empty() {
            return Ok("no groups and no datasets".to_string());
        }
        let more = names.len().saturating_sub(MAX_LISTED);
        names.truncate(MAX_LISTED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Ok(names.join(", ") + &more)
    }

    fn root(&self) -> Result<Group> {
        self.hdf5.root_group().map_err(|e| damaged(&e))
    }

    fn groups(&self, group: &Group) -> Result<Vec<Group>> {
        let (names, _) = group.member_names().map_err(|e| damaged(&e))?;
        Ok(names.iter().filter_map(|name| group.group(name).ok()).collect())
    }
}

fn is_nxtomo(group: &Group) -> bool {
    let text = group.dataset("definition").and_then(|d| match d.num_elements()? {
        1 => d.read_string(),
        _ => Ok(String::new()),
    });
    text.is_ok_and(|t| t.trim_end_matches('\0').trim() == "NXtomo")
}

/// What `libhdf5` checks when it opens a file.
fn check_superblock(hdf5: &Hdf5File, bytes: u64) -> Result<()> {
    /// Flag of superblock version 3: a writer has the file open, or died.
    const OPEN_FOR_WRITING: u32 = 1;
    let superblock = hdf5.superblock();
    if bytes < superblock.eof_address {
        return Err(Error::data(format!(
            "truncated: the file has {bytes} bytes, its superblock says {}",
            superblock.eof_address
        ))
        .help("copy the file again, or let its writer finish"));
    }
    if superblock.version >= 3 && superblock.consistency_flags & OPEN_FOR_WRITING != 0 {
        return Err(Error::data("is marked as being written: its writer has it open, or ended without closing it")
            .help("wait until the scan is closed; if the writer died, repair the file with h5clear -s"));
    }
    Ok(())
}

/// Whether the error says that a name is not there.
fn absent(e: &Hdf5Error) -> bool {
    match e {
        Hdf5Error::Context { source, .. } => absent(source),
        Hdf5Error::GroupNotFound(_) | Hdf5Error::DatasetNotFound(_) => true,
        _ => false,
    }
}

/// The project's error for one of the parser's.
pub(super) fn damaged(e: &Hdf5Error) -> Error {
    let text = clip(&e.to_string());
    match root_cause(e) {
        Hdf5Error::Io(io) => Error::io(format!("cannot read: {io}")).help("check the disk or the network mount"),
        Hdf5Error::ResourceLimit(_) => Error::data(format!("HDF5 structure beyond any sane size: {text}"))
            .help("the file is damaged: copy it again, or check it with h5dump -H"),
        Hdf5Error::UnsupportedLayoutClass(3) => {
            Error::data(format!("a virtual dataset, whose numbers lie in other files, is not read: {text}"))
                .help("copy its numbers into a file of their own: in Python, h5py.File(NEW, 'w')[PATH] = h5py.File(OLD)[PATH][()]")
        }
        Hdf5Error::UnsupportedFilter(_)
        | Hdf5Error::UnsupportedEncoding(_)
        | Hdf5Error::UnsupportedSuperblockVersion(_)
        | Hdf5Error::UnsupportedLayoutVersion(_)
        | Hdf5Error::UnsupportedLayoutClass(_) => {
            Error::data(format!("HDF5 feature that is not read: {text}")).help("rewrite the file with h5repack -f NONE")
        }
        _ => Error::data(format!("damaged HDF5: {text}")).help("copy the file again, or check it with h5dump -H"),
    }
}

fn root_cause(e: &Hdf5Error) -> &Hdf5Error {
    match e {
        Hdf5Error::Context { source, .. } => root_cause(source),
        e => e,
    }
}

/// At most [`MAX_QUOTE`] characters of a text from the file.
pub(super) fn clip(text: &str) -> String {
    text.chars().take(MAX_QUOTE).collect()
}
