//! L3. Foreign formats, in and out: a scan comes in as [`Scan`], whatever file it lay in; arrays and pictures go out
//! as `.npy` and PNG.
//!
//! | what | in | out |
//! |---|---|---|
//! | HDF5: Data Exchange, NXtomo ([`hdf5`], a feature) | [`open_scan`] | |
//! | one stack in an HDF5 file, `FILE.h5:/path` | [`open_scan`], [`open_stack`] | |
//! | TIFF, BigTIFF: files, folders, patterns ([`tiff`]) | [`open_scan`], [`open_stack`] | [`tiff::write::TiffWriter`] |
//! | MRC ([`mrc`]) | [`open_scan`], [`open_stack`] | |
//! | NumPy `.npy` ([`npy`]) | [`open_scan`], [`open_stack`], [`open_vector`] | [`npy::NpyWriter`], [`npy::write_array`] |
//! | native volumes (`.mhd`, `.nhdr`) | [`open_scan`], [`open_stack`] | [`volume::writer`](crate::volume::writer) |
//! | text | [`open_vector`] | |
//! | PNG ([`png`], [`window`], labels by [`font`]) | | [`window::Picture`] |
//!
//! What a file is, its first bytes decide, not its name; where they say nothing, as those of a `.raw`, the name of a
//! native volume's file leads to its header. Nothing is guessed: a unit or a pixel size that a file does
//! not state stays unknown, and what the user should know about the reading stands in [`Scan::notes`].
//!
//! Left out: Xradia, EDF, netCDF; the first is named in the error.

use crate::error::{Error, Result};
use crate::units::Micrometre;
use crate::volume::Source;
use file::OpenFile;
use std::path::Path;
use std::sync::Arc;

pub(crate) mod file;
pub mod font;
#[cfg(feature = "hdf5")]
pub mod hdf5;
pub mod mrc;
mod native;
pub mod npy;
mod npy_header;
mod number;
pub(crate) mod part;
mod plain;
pub mod png;
mod theta;
pub mod tiff;
pub mod window;

pub use native::IoMode;
pub use theta::{Theta, open_theta, open_vector};

/// Writes a text as the file `path`, which appears only when complete.
///
/// # Errors
/// [`Fault::CannotCreate`](crate::error::Fault::CannotCreate) where it exists and `overwrite` is not set, or its
/// folder cannot be written.
pub fn write_text(path: &Path, text: &str, overwrite: bool) -> Result<()> {
    part::write_whole(path, overwrite, text.as_bytes())
}

/// A measured scan as its file holds it: nothing is corrected, nothing is checked against anything else.
pub struct Scan {
    /// The projections, (theta, row, column).
    pub projections: Box<dyn Source>,
    /// Images of the beam without the sample, (n, row, column), of the projections' rows and columns.
    pub flats: Option<Box<dyn Source>>,
    /// Images without beam, of the projections' rows and columns.
    pub darks: Option<Box<dyn Source>>,
    /// For each flat how many projections were taken before it, where the file tells.
    pub flat_positions: Option<Vec<f64>>,
    /// The angles, if the file has them.
    pub theta: Option<Theta>,
    /// Pixel size at the sample, if the file has it.
    pub pixel: Option<Micrometre>,
    /// What was found, missing or converted, each in one sentence for the user.
    pub notes: Vec<String>,
}

/// What the first bytes of a file say that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Hdf5,
    Npy,
    Native,
    Tiff,
    Mrc,
    /// A format that is known by name only, and how to come from it to one that is read.
    Unread(&'static str, &'static str),
    Unknown,
}

/// Signature of HDF5, at byte 0, 512, 1024, 2048 … of the file.
const HDF5_SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";

/// First place of the HDF5 signature after byte 0; each next one is twice as far.
const HDF5_USER_BLOCK: u64 = 512;

impl Format {
    fn of(file: &OpenFile) -> Result<Format> {
        /// Enough for every magic below, and for the first words of a native header.
        const HEAD: usize = 256;
        const AS_NPY: &str = "convert the images to one .npy of shape (theta, row, column)";
        let extension = file.path().extension().and_then(|e| e.to_str()).unwrap_or_default();
        if extension == "raw" {
            return Ok(Format::Native);
        }
        let head = file.head(HEAD)?;
        let magics: [(&[u8], Format); 10] = [
            (HDF5_SIGNATURE, Format::Hdf5),
            (npy_header::MAGIC, Format::Npy),
            (b"NRRD000", Format::Native),
            (b"II*\0", Format::Tiff),
            (b"MM\0*", Format::Tiff),
            (b"II+\0", Format::Tiff),
            (b"MM\0+", Format::Tiff),
            (b"PK\x03\x04", Format::Unread("a zip archive (.npz?)", "save one array with numpy.save")),
            (b"\x1f\x8b", Format::Unread("a gzip file", "unpack it first")),
            (b"\xd0\xcf\x11\xe0", Format::Unread("an OLE file (Xradia .txrm?)", AS_NPY)),
        ];
        if let Some((_, format)) = magics.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Ok(*format);
        }
        if head.get(mrc::MAGIC_AT..mrc::MAGIC_AT + mrc::MAGIC.len()) == Some(mrc::MAGIC) {
            return Ok(Format::Mrc);
        }
        // Headers of .mhd files begin with one of these keys, whatever the order of the others.
        let text = String::from_utf8_lossy(&head);
        let first_key = text.trim_start().split(['=', '\n']).next().unwrap_or_default().trim();
        if ["ObjectType", "NDims", "DimSize", "Comment"].contains(&first_key) {
            return Ok(Format::Native);
        }
        let mut place = HDF5_USER_BLOCK;
        let mut signature = [0; HDF5_SIGNATURE.len()];
        while place + signature.len() as u64 <= file.bytes() {
            file.read_at(place, &mut signature)?;
            if signature == HDF5_SIGNATURE {
                return Ok(Format::Hdf5);
            }
            place *= 2;
        }
        Ok(if ["mhd", "nhdr", "json"].contains(&extension) { Format::Native } else { Format::Unknown })
    }
}

/// Opens a scan: HDF5 (Data Exchange, NXtomo), TIFF (a file, a folder, a pattern such as `dir/raw_*.tiff`), MRC, `.npy` or native
/// projections.
///
/// All but the first hold projections only. `io` chooses how native volumes are read; the values are the same.
///
/// # Errors
/// [`Fault::Data`](crate::error::Fault::Data) where the file is damaged or not a scan, with what it is instead;
/// [`Fault::Missing`](crate::error::Fault::Missing) where it is not there;
/// [`Fault::Policy`](crate::error::Fault::Policy) where it leads to another file out of its folder;
/// [`Fault::Device`](crate::error::Fault::Device) for HDF5 in a build without the feature `hdf5`.
pub fn open_scan(path: &Path, io: IoMode) -> Result<Scan> {
    if tiff::is_stack(path) {
        return tiff_scan(path);
    }
    if let Some((file, dataset)) = inside(path) {
        return Ok(projections_only(open_dataset(&file, dataset)?));
    }
    let file = Arc::new(OpenFile::open(path)?);
    match Format::of(&file)? {
        Format::Hdf5 => open_hdf5(file),
        Format::Npy => {
            let source = npy::NpySource::from_file(file, "projections")?;
            let notes = source.notes("the stack of projections");
            Ok(Scan { notes, ..projections_only(Box::new(source)) })
        }
        Format::Tiff => tiff_scan(path),
        Format::Mrc => Ok(projections_only(Box::new(mrc::MrcSource::from_file(file, "projections")?))),
        Format::Native => {
            let source = native::open(path, io)?;
            let pixel = source.spacing().map(|[x, _, _]| x);
            Ok(Scan { pixel, ..projections_only(source) })
        }
        other => Err(unread(path, other)),
    }
}

/// Opens one stack, TIFF, MRC, `.npy` or native: projections, flats, darks or a volume. Among the inputs of a result its role
/// is `stack`; who opens it knows better.
///
/// # Errors
/// As [`open_scan`]; an HDF5 file holds several stacks and is refused.
pub fn open_stack(path: &Path, io: IoMode) -> Result<Box<dyn Source>> {
    if tiff::is_stack(path) {
        return Ok(Box::new(tiff::TiffStack::open(path, "stack")?));
    }
    if let Some((file, dataset)) = inside(path) {
        return open_dataset(&file, dataset);
    }
    let file = Arc::new(OpenFile::open(path)?);
    match Format::of(&file)? {
        Format::Npy => Ok(Box::new(npy::NpySource::from_file(file, "stack")?)),
        Format::Native => native::open(path, io),
        Format::Tiff => Ok(Box::new(tiff::TiffStack::open(path, "stack")?)),
        Format::Mrc => Ok(Box::new(mrc::MrcSource::from_file(file, "stack")?)),
        Format::Hdf5 => Err(Error::data("an HDF5 file is read as a whole scan, not as one stack")
            .help("name the stack in it as FILE.h5:/path/to/data, or give it as .npy or native volume (.mhd)")
            .at(path)),
        other => Err(unread(path, other)),
    }
}

/// The same for labels, of which images may be indices of a palette.
///
/// # Errors
/// As [`open_stack`].
pub fn open_labels(path: &Path, io: IoMode) -> Result<Box<dyn Source>> {
    let stack = tiff::is_stack(path);
    if stack || inside(path).is_none() && Format::of(&OpenFile::open(path)?)? == Format::Tiff {
        return Ok(Box::new(tiff::TiffStack::open_labels(path, "stack")?));
    }
    open_stack(path, io)
}

fn tiff_scan(path: &Path) -> Result<Scan> {
    let source = tiff::TiffStack::open(path, "projections")?;
    let notes = source.notes("the stack of projections");
    Ok(Scan { notes, ..projections_only(Box::new(source)) })
}

fn projections_only(projections: Box<dyn Source>) -> Scan {
    Scan { projections, flats: None, darks: None, flat_positions: None, theta: None, pixel: None, notes: Vec::new() }
}

/// `FILE:/path/to/data` as a file that is there and a path in it.
fn inside(path: &Path) -> Option<(std::path::PathBuf, &str)> {
    let text = path.to_str()?;
    let (file, dataset) = text.rsplit_once(":/")?;
    (!path.exists() && Path::new(file).is_file()).then(|| (file.into(), dataset))
}

#[cfg(feature = "hdf5")]
fn open_dataset(path: &Path, dataset: &str) -> Result<Box<dyn Source>> {
    hdf5::open_dataset(Arc::new(OpenFile::open(path)?), dataset)
}

#[cfg(not(feature = "hdf5"))]
fn open_dataset(path: &Path, _: &str) -> Result<Box<dyn Source>> {
    open_hdf5(Arc::new(OpenFile::open(path)?)).map(|scan| scan.projections)
}

#[cfg(feature = "hdf5")]
fn open_hdf5(file: Arc<OpenFile>) -> Result<Scan> {
    hdf5::open(file)
}

#[cfg(not(feature = "hdf5"))]
fn open_hdf5(file: Arc<OpenFile>) -> Result<Scan> {
    Err(Error::device("is an HDF5 file, and this program was built without hdf5")
        .help("build with the feature hdf5 (it is a default one), or convert the data to .npy")
        .at(file.path()))
}

fn unread(path: &Path, format: Format) -> Error {
    match format {
        Format::Unread(what, way_out) => {
            Error::data(format!("is {what}, which is not read by this version")).help(way_out)
        }
        _ => Error::data("is not a format that is read (HDF5, TIFF, MRC, .npy, .mhd, .nhdr)")
            .help("name the scan's file, or the header of a native volume rather than its .raw"),
    }
    .at(path)
}

/// Writes a file into a folder of a test.
#[cfg(test)]
fn put(dir: &crate::testing::Scratch, name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[cfg(test)]
mod tests;
