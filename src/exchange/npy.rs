//! NumPy's `.npy`: one array, C order, versions 1 to 3 of the format.
//!
//! ```text
//! 93 'N' 'U' 'M' 'P' 'Y'  major minor   length of the header: u16 (version 1) or u32 (2, 3), little-endian
//! {'descr': '<f4', 'fortran_order': False, 'shape': (181, 2, 640), }  spaces, newline
//! the elements, row-major
//! ```
//!
//! The reader ([`header`](super::npy_header)) takes exactly this and nothing else; the file must end with the last
//! element. Axes of a stack are (theta, row, column); a 2-D array is the stack of a one-row detector, (theta, column).
//! Written are `<f4`, `<u2` and `|u1` in version 1.0. Left out: records, complex numbers, booleans, dates, objects, `.npz`.
//!
//! Source: numpy.lib.format, "NPY format".

use super::IoMode;
use super::file::OpenFile;
use super::npy_header::{self, Header, PREFIX};
use super::part::PartFile;
use super::plain::Plain;
use crate::error::{Error, Result};
use crate::provenance::InputFile;
use crate::volume::{Dims, Dtype, Sink, Source};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// A `.npy` file of two or three axes, as a stack.
pub struct NpySource {
    array: Plain,
    role: String,
}

impl NpySource {
    /// Opens the stack in `path`; `role` names it among the inputs of a result (`projections`, `flats`, `volume` …).
    ///
    /// Blocks are read by positioned reads in both modes of `_io`: rows of a block lie far apart, and the bytes are
    /// converted on the way in any case.
    ///
    /// # Errors
    /// [`Fault::Data`](crate::error::Fault::Data) where the file is not such an array, with the way out;
    /// [`Fault::Missing`](crate::error::Fault::Missing) where it cannot be read.
    pub fn open(path: &Path, role: &str, _io: IoMode) -> Result<NpySource> {
        Self::from_file(Arc::new(OpenFile::open(path)?), role)
    }

    pub(super) fn from_file(file: Arc<OpenFile>, role: &str) -> Result<NpySource> {
        let (header, offset) = read_header(&file)?;
        let shape = &header.shape;
        let dims = match *shape.as_slice() {
            [nz, ny, nx] => Dims::new(nz, ny, nx),
            [nz, nx] => Dims::new(nz, 1, nx),
            _ => Err(Error::data(format!("an array of {} axes, {shape:?}, is not a stack", shape.len()))
                .help("save a stack of shape (theta, row, column), or (theta, column) of a one-row detector")),
        };
        let dims = dims.map_err(|e| e.at(file.path()))?;
        Ok(NpySource { array: Plain { file, offset, dims, number: header.number }, role: role.to_string() })
    }

    /// What a user should know about it.
    pub(super) fn notes(&self, what: &str) -> Vec<String> {
        self.array.number.rounding_note(what).into_iter().collect()
    }
}

impl Source for NpySource {
    fn dims(&self) -> Dims {
        self.array.dims
    }
    fn dtype(&self) -> Dtype {
        self.array.number.dtype()
    }
    fn read(&self, z: Range<usize>, y: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.array.read(z, y, out)
    }
    fn inputs(&self) -> Result<Vec<InputFile>> {
        Ok(vec![self.array.file.input(&self.role)?])
    }
}

/// Reads a whole 1-D array as f64; angles and axes come this way.
pub(super) fn read_vector(file: &Arc<OpenFile>, max_len: usize) -> Result<Vec<f64>> {
    let (header, offset) = read_header(file)?;
    let [n] = *header.shape.as_slice() else {
        return Err(Error::data(format!("an array of shape {:?} is not a list of numbers", header.shape))
            .help("save a 1-D array (numpy: a.ravel())")
            .at(file.path()));
    };
    if n == 0 || n > max_len {
        return Err(Error::data(format!("{n} numbers; a list has 1 to {max_len}")).at(file.path()));
    }
    let mut values = vec![0f64; n];
    let array = Plain { file: file.clone(), offset, dims: Dims::new(1, 1, n)?, number: header.number };
    array.run(0, &mut values, &mut Vec::new())?;
    Ok(values)
}

/// Reads a whole array of any number of axes: its shape and its elements, row-major. It takes at most four times the
/// file's length.
///
/// # Errors
/// As [`NpySource::open`]; a number that f32 does not hold is rounded.
pub fn read_array(path: &Path) -> Result<(Vec<usize>, Vec<f32>)> {
    let file = Arc::new(OpenFile::open(path)?);
    let (header, offset) = read_header(&file)?;
    let n = header.shape.iter().product::<usize>();
    let mut values = vec![0f32; n];
    if n > 0 {
        let array = Plain { file, offset, dims: Dims::new(1, 1, n).map_err(|e| e.at(path))?, number: header.number };
        array.run(0, &mut values, &mut Vec::new())?;
    }
    Ok((header.shape, values))
}

/// The header, and where the elements start; the file's length agrees with both.
fn read_header(file: &OpenFile) -> Result<(Header, u64)> {
    let check = || -> Result<(Header, u64)> {
        let prefix = file.head(PREFIX)?;
        let (start, length) = npy_header::extent(&prefix)?;
        let end = start + length;
        if file.bytes() < end {
            return Err(truncated(file.bytes(), &format!("its header ends at byte {end}")));
        }
        let mut text = vec![0; length as usize];
        file.read_at(start, &mut text)?;
        let header = npy_header::parse(&text)?;
        let bytes = header.bytes()?;
        let expected = end.checked_add(bytes).ok_or_else(|| Error::data("its shape is too large to address"))?;
        let what = format!(
            "{} of {} take {bytes} bytes after a header of {end}",
            shape_text(&header.shape),
            header.number.name()
        );
        match file.bytes().cmp(&expected) {
            std::cmp::Ordering::Less => Err(truncated(file.bytes(), &what)),
            std::cmp::Ordering::Greater => {
                Err(Error::data(format!("{} bytes too long: {what}", file.bytes() - expected))
                    .help("save the array again, alone in its file"))
            }
            std::cmp::Ordering::Equal => Ok((header, end)),
        }
    };
    check().map_err(|e| e.at(file.path()))
}

fn truncated(bytes: u64, what: &str) -> Error {
    Error::data(format!("truncated: the file has {bytes} bytes, but {what}")).help("copy or save the file again")
}

fn shape_text(shape: &[usize]) -> String {
    let extents: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("{} elements", extents.join(" x "))
}

/// Writes a volume as `.npy`, slice by slice, shape (z, y, x).
pub struct NpyWriter {
    part: PartFile,
    dims: Dims,
    dtype: Dtype,
    next: usize,
}

impl NpyWriter {
    /// Starts the file `path` of numbers of `dtype` (`|u1`, `<u2` or `<f4`), which exists only after
    /// [`NpyWriter::finish`].
    ///
    /// # Errors
    /// [`Fault::CannotCreate`](crate::error::Fault::CannotCreate) where it exists and `overwrite` is not set, or its
    /// folder cannot be written; [`Fault::Again`](crate::error::Fault::Again) where another process is writing it.
    pub fn create(path: &Path, dims: Dims, dtype: Dtype, overwrite: bool) -> Result<NpyWriter> {
        let head = npy_header::write(&[dims.nz, dims.ny, dims.nx], dtype);
        let mut part = PartFile::create(path, overwrite, head.len() as u64 + dims.bytes(dtype))?;
        part.write(&head)?;
        Ok(NpyWriter { part, dims, dtype, next: 0 })
    }

    /// Syncs the file and gives it its name. All slices must have been written.
    pub fn finish(self) -> Result<()> {
        if self.next != self.dims.nz {
            let what = format!("{} of {} slices were written", self.next, self.dims.nz);
            return Err(Error::bug(what).at(self.part.path()));
        }
        self.part.finish()
    }
}

impl Sink for NpyWriter {
    fn next_slice(&self) -> usize {
        self.next
    }
    fn write(&mut self, slices: &[f32]) -> Result<()> {
        let count = slices.len() / self.dims.slice();
        if count * self.dims.slice() != slices.len() || self.next + count > self.dims.nz {
            let what = format!("{} values at slice {} of {:?}", slices.len(), self.next, self.dims);
            return Err(Error::bug(what).at(self.part.path()));
        }
        write_values(&mut self.part, self.dtype, slices)?;
        self.next += count;
        Ok(())
    }
}

/// Writes `values` of shape `shape` (any number of axes) as the file `path`, `<f4`.
///
/// # Errors
/// As [`NpyWriter::create`]; [`Fault::Bug`](crate::error::Fault::Bug) where shape and values disagree.
pub fn write_array(path: &Path, shape: &[usize], values: &[f32], overwrite: bool) -> Result<()> {
    if shape.iter().product::<usize>() != values.len() {
        return Err(Error::bug(format!("{} values of shape {shape:?}", values.len())).at(path));
    }
    let head = npy_header::write(shape, Dtype::F32);
    let mut part = PartFile::create(path, overwrite, (head.len() + size_of_val(values)) as u64)?;
    part.write(&head)?;
    write_values(&mut part, Dtype::F32, values)?;
    part.finish()
}

/// Appends values of `dtype`; one that the type does not hold is an error, not a rounding.
fn write_values(part: &mut PartFile, dtype: Dtype, values: &[f32]) -> Result<()> {
    /// Values that are converted at a time.
    const PIECE: usize = 64 * 1024;
    let mut bytes = Vec::with_capacity(PIECE.min(values.len()) * dtype.size());
    for piece in values.chunks(PIECE) {
        bytes.clear();
        let foreign = match dtype {
            Dtype::U8 => piece.iter().find(|&&v| f32::from(v as u8) != v),
            Dtype::U16 => piece.iter().find(|&&v| f32::from(v as u16) != v),
            Dtype::F32 => None,
        };
        if let Some(v) = foreign {
            return Err(Error::data(format!("the value {v} is not one of {}", dtype.name()))
                .help("write the values as f32")
                .at(part.path()));
        }
        match dtype {
            Dtype::U8 => bytes.extend(piece.iter().map(|&v| v as u8)),
            Dtype::U16 => bytes.extend(piece.iter().flat_map(|&v| (v as u16).to_le_bytes())),
            Dtype::F32 => bytes.extend(piece.iter().flat_map(|v| v.to_le_bytes())),
        }
        part.write(&bytes)?;
    }
    Ok(())
}

/// The header of a file of numbers, for tests of readers.
#[cfg(test)]
pub(super) fn bytes_of(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.bytes());
    bytes.extend(data);
    bytes
}

#[cfg(test)]
mod tests;
