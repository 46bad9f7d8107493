//! Reads a volume through its header, strictly: the raw file must lie beside the header, be a regular file, and have
//! exactly the length that the header promises.
//!
//! [`IoMode::Mmap`] copies out of a read-only map, [`IoMode::Pread`] uses positioned reads; both give the same bits.
//! A map is never handed out: were its file truncated, touching it would be a bus error, which
//! [`os::guard_map`] turns into one clear line.
#![allow(unsafe_code)]

use super::codec::Codec;
use super::header::{Header, Offset};
use super::manifest::Manifest;
use super::slabs::digest_range;
use super::{Dims, Dtype, Source, Spacing, header, journal};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::os;
use crate::provenance::{Digest, InputFile};
use rayon::prelude::*;
use std::ffi::OsString;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// How the raw file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoMode {
    /// Through a memory map.
    Mmap,
    /// With positioned reads: for file systems and memory limits on which maps fail.
    Pread,
}

impl IoMode {
    /// `mmap` or `pread`.
    ///
    /// # Errors
    /// [`Fault::Usage`](crate::error::Fault::Usage) for any other name.
    pub fn parse(name: &str) -> Result<IoMode> {
        match name {
            "mmap" => Ok(IoMode::Mmap),
            "pread" => Ok(IoMode::Pread),
            _ => Err(Error::usage(format!("`{name}` is not a way to read files")).help("mmap or pread")),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        ["mmap", "pread"][self as usize]
    }
}

/// Bytes that are read at once in [`IoMode::Pread`].
const CHUNK: usize = 256 << 10;

/// `base` with `.extension` appended; the base itself may contain dots.
pub fn with_suffix(base: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(base);
    path.push(suffix);
    PathBuf::from(path)
}

/// The base of a volume's files: `path` without `.mhd`, `.nhdr`, `.raw` or `.json`.
pub fn base_of(path: &Path) -> PathBuf {
    match path.extension().and_then(|e| e.to_str()) {
        Some("mhd" | "nhdr" | "raw" | "json") => path.with_extension(""),
        _ => path.to_path_buf(),
    }
}

/// An open volume.
pub struct Reader {
    header: Header,
    header_path: PathBuf,
    manifest: Option<(PathBuf, Manifest)>,
    raw_path: PathBuf,
    file: File,
    map: Option<Map>,
    /// First byte of the voxels.
    start: u64,
}

/// A map and its entry in the table of the SIGBUS handler, which must go first.
struct Map {
    _guard: os::MapGuard,
    bytes: memmap2::Mmap,
}

impl Reader {
    /// Opens the volume of `path`: its `.mhd` or `.nhdr`, or its `.raw`, `.json` or base, beside which a header lies.
    ///
    /// # Errors
    /// What [`header`] refuses; a raw file that is missing, elsewhere, not regular, too short or too
    /// long; a manifest that is damaged or contradicts the header; [`Fault::Again`](crate::error::Fault::Again) for
    /// an output whose last step was cut short.
    pub fn open(path: &Path, mode: IoMode) -> Result<Reader> {
        let base = base_of(path);
        let header_path = match path.extension().and_then(|e| e.to_str()) {
            Some("mhd" | "nhdr") => path.to_path_buf(),
            _ => {
                let found = [".mhd", ".nhdr"].into_iter().map(|s| with_suffix(&base, s)).find(|p| p.exists());
                found.ok_or_else(|| {
                    let what = if path.exists() { "has no header (.mhd or .nhdr) beside it" } else { "no such file" };
                    Error::missing(what).at(path).help("name the .mhd file of a volume")
                })?
            }
        };
        let header = Header::read(&header_path)?;
        let manifest = find_manifest(&base, &header)?;

        let raw_path = resolve(&header_path, &header.data_file)?;
        let file = os::open_regular(&raw_path)?;
        let actual = file.metadata().map_err(|e| Error::reading(&raw_path, &e))?.len();
        let start = check_length(header.dims, header.dtype, header.offset, actual).map_err(|e| e.at(&raw_path))?;
        let map = if mode == IoMode::Mmap { map(&file, &raw_path)? } else { None };
        Ok(Reader { header, header_path, manifest, raw_path, file, map, start })
    }

    /// What the header says.
    pub fn header(&self) -> &Header {
        &self.header
    }
    /// The header's path.
    pub fn header_path(&self) -> &Path {
        &self.header_path
    }
    /// The raw file's path.
    pub fn raw_path(&self) -> &Path {
        &self.raw_path
    }
    /// The manifest, which only volumes of tomolith have.
    pub fn manifest(&self) -> Option<&Json> {
        self.manifest.as_ref().map(|(_, m)| m.json())
    }

    /// Digest of the voxels as they lie on the disk, whatever the manifest says that it should be; of a volume without a
    /// manifest that of its raw file.
    ///
    /// # Errors
    /// What the disk says; [`Fault::Again`](crate::error::Fault::Again) when interrupted.
    pub fn digest(&self) -> Result<Digest> {
        let Some((_, manifest)) = &self.manifest else { return Ok(Digest::of_file(&self.raw_path)?.0) };
        let layout = manifest.layout();
        let slabs = (0..layout.slabs()).into_par_iter().map(|slab| {
            os::check_interrupt()?;
            digest_range(&self.file, layout.offset(slab), layout.length(slab))
                .map_err(|e| Error::reading(&self.raw_path, &e))
        });
        Ok(Digest::root(&slabs.collect::<Result<Vec<_>>>()?))
    }

    /// Bytes of the raw file from `at` on.
    fn exact(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        self.file.read_exact_at(bytes, at).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                Error::io("was truncated while it was read").at(&self.raw_path).help("restore the file, then run again")
            }
            _ => Error::reading(&self.raw_path, &e),
        })
    }

    /// Reads `out.len()` consecutive voxels from voxel `first` on.
    fn read_run(&self, first: usize, out: &mut [f32]) -> Result<()> {
        let codec = Codec::of(&self.header);
        let size = self.header.dtype.size();
        let at = self.start + first as u64 * size as u64;
        if let Some(map) = &self.map {
            // Inside the file: its length was checked against the shape, and offsets in a map fit usize.
            let at = at as usize;
            codec.decode(&map.bytes[at..at + out.len() * size], out);
            return Ok(());
        }
        let mut chunk = vec![0; CHUNK.min(out.len() * size)];
        for (i, part) in out.chunks_mut(CHUNK / size).enumerate() {
            let bytes = &mut chunk[..part.len() * size];
            self.exact(bytes, at + (i * CHUNK) as u64)?;
            codec.decode(bytes, part);
        }
        Ok(())
    }
}

impl Source for Reader {
    fn dims(&self) -> Dims {
        self.header.dims
    }
    fn dtype(&self) -> Dtype {
        self.header.dtype
    }
    fn spacing(&self) -> Spacing {
        self.header.spacing
    }

    fn read(&self, z: Range<usize>, y: Range<usize>, out: &mut [f32]) -> Result<()> {
        let Dims { nz, ny, nx } = self.header.dims;
        if z.start > z.end || z.end > nz || y.start > y.end || y.end > ny || out.len() != z.len() * y.len() * nx {
            return Err(Error::bug(format!(
                "block z {z:?}, y {y:?} of {} voxels asked from a volume of {nx} x {ny} x {nz}",
                out.len()
            )));
        }
        if y.len() == ny {
            return self.read_run(z.start * ny * nx, out);
        }
        for (i, block) in out.chunks_exact_mut((y.len() * nx).max(1)).enumerate() {
            self.read_run(((z.start + i) * ny + y.start) * nx, block)?;
        }
        Ok(())
    }

    fn read_bytes(&self, z: Range<usize>, out: &mut [u8]) -> Option<Result<()>> {
        let d = self.header.dims;
        if self.header.dtype != Dtype::U8 || !Codec::of(&self.header).identity() {
            return None;
        }
        if z.start > z.end || z.end > d.nz || out.len() != z.len() * d.slice() {
            return Some(Err(Error::bug(format!("slices {z:?} into {} bytes", out.len()))));
        }
        let at = self.start + (z.start * d.slice()) as u64;
        Some(match &self.map {
            Some(map) => {
                out.copy_from_slice(&map.bytes[at as usize..][..out.len()]);
                Ok(())
            }
            None => self.exact(out, at),
        })
    }

    fn will_read(&self, z: Range<usize>) {
        let slice = (self.header.dims.slice() * self.header.dtype.size()) as u64;
        os::will_read(&self.file, self.start + z.start as u64 * slice, z.len() as u64 * slice);
    }

    /// The raw file and what says how to read it: the manifest, or the header where there is none.
    fn inputs(&self) -> Result<Vec<InputFile>> {
        let said = match &self.manifest {
            Some((path, _)) => InputFile::of("manifest", path)?,
            None => InputFile::of("header", &self.header_path)?,
        };
        Ok(vec![InputFile::of("volume", &self.raw_path)?, said])
    }
}

/// The manifest beside a header. A foreign header may have some other program's `NAME.json` beside it, which is left
/// alone; with an own header the manifest must be whole and agree.
fn find_manifest(base: &Path, header: &Header) -> Result<Option<(PathBuf, Manifest)>> {
    let path = with_suffix(base, ".json");
    if header.native.is_none() {
        return Ok(None);
    }
    if !path.exists() {
        return check_committed(base, None).map(|()| None);
    }
    let manifest = Manifest::read(&path)
        .map_err(|e| e.help("restore the manifest from a copy: it was changed after it was written"))?;
    check_committed(base, Some(&manifest))?;
    manifest.check_header(header).map_err(|e| e.at(&path))?;
    Ok(Some((path, manifest)))
}

/// Refuses an output between the renaming of its raw file and its manifest: its journal is still there, its `.part`
/// is not, and the manifest is not yet the journal's job's.
pub(super) fn check_committed(base: &Path, manifest: Option<&Manifest>) -> Result<()> {
    let journal = with_suffix(base, journal::SUFFIX);
    if with_suffix(base, ".raw.part").exists() {
        return Ok(());
    }
    let Some(key) = journal::key_of(&journal) else { return Ok(()) };
    if manifest.is_some_and(|m| m.job_key().is_ok_and(|k| k == key)) {
        return Ok(());
    }
    Err(Error::again("the writing of this volume was cut short in its last step")
        .at(journal)
        .help("run the command that writes it again"))
}

/// The data file of a header: beside it, also after following links.
pub(super) fn resolve(header_path: &Path, name: &str) -> Result<PathBuf> {
    header::check_data_file(name).map_err(|e| e.at(header_path))?;
    let folder = match header_path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let path = folder.join(name);
    let link = std::fs::symlink_metadata(&path).map_err(|e| Error::reading(&path, &e))?.is_symlink();
    if !link {
        return Ok(path);
    }
    let target = path.canonicalize().map_err(|e| Error::reading(&path, &e))?;
    let folder = folder.canonicalize().map_err(|e| Error::reading(folder, &e))?;
    if target.parent() != Some(&folder) {
        return Err(Error::policy("is a link out of the header's folder")
            .at(&path)
            .help("put the file itself, or a header beside it, into one folder"));
    }
    Ok(target)
}

/// Where the voxels start in a raw file of `actual` bytes, whose length must be exact.
pub(super) fn check_length(dims: Dims, dtype: Dtype, offset: Offset, actual: u64) -> Result<u64> {
    let voxels = dims.bytes(dtype);
    let start = match offset {
        Offset::Bytes(n) => n,
        // What stands before the voxels is as bounded as a stated offset.
        Offset::FromEnd => actual.saturating_sub(voxels).min(header::MAX_OFFSET),
    };
    let expected = voxels + start;
    let Dims { nz, ny, nx } = dims;
    if actual != expected {
        let short = if actual < expected { "short" } else { "long" };
        let voxels = format!("{nx} x {ny} x {nz} voxels of {}", dtype.name());
        return Err(Error::data(format!("too {short}: {actual} bytes, but {voxels} need {expected}"))
            .help("copy the file again, or correct the header"));
    }
    Ok(start)
}

/// Maps a file; `None` when no more maps can be guarded, which is then read with positioned reads.
fn map(file: &File, path: &Path) -> Result<Option<Map>> {
    // SAFETY: the map is read-only and private to this module, which only copies out of it; a truncation by somebody
    // else ends the process in the SIGBUS handler, and a change of the contents shows as changed numbers.
    let bytes = unsafe { memmap2::Mmap::map(file) }.map_err(|e| {
        Error::io(format!("cannot be mapped into memory: {e}")).at(path).help("read it with `--io pread`")
    })?;
    Ok(os::guard_map(&bytes, path).map(|guard| Map { _guard: guard, bytes }))
}
