//! The elements of a dataset: where they lie, and of what type they are.
//!
//! | layout | read |
//! |---|---|
//! | contiguous | the asked rows, in place |
//! | chunked ([`chunks`](super::chunks)) | the asked rows in place; of compressed chunks, those that the block touches |
//! | compact (in the header) | from memory |
//!
//! Data that were never written, or lie beyond the end of the file, are an error when the dataset is opened.

use super::super::number::{Kind, Number, Target};
use super::super::plain::{Plain, check_block, unfit};
use super::chunks::Chunks;
use super::tree::{Dataset, Tree, damaged};
use crate::error::{Error, Result};
use crate::volume::Dims;
use hdf5_reader::Datatype;
use hdf5_reader::error::ByteOrder;
use hdf5_reader::io::Cursor;
use hdf5_reader::messages::HdfMessage;
use hdf5_reader::messages::layout::DataLayout;
use std::ops::Range;

/// A dataset of at most three axes, seen with three: missing ones lead, with extent 1.
pub(super) struct Array {
    dims: Dims,
    number: Number,
    layout: Layout,
}

enum Layout {
    Contiguous(Plain),
    Chunked(Chunks),
    Compact(Vec<u8>),
}

impl Array {
    /// Finds the elements of `dataset`, which lies at `path`.
    pub(super) fn open(tree: &Tree, dataset: &Dataset, path: &str) -> Result<Array> {
        Self::locate(tree, dataset).map_err(|e| {
            let named = Error::new(e.fault(), format!("{path}: {}", e.what()));
            match e.advice() {
                Some(help) => named.help(help),
                None => named.help("export the scan again, or convert it to .npy"),
            }
        })
    }

    fn locate(tree: &Tree, dataset: &Dataset) -> Result<Array> {
        let dims = dims_of(dataset.shape())?;
        let number = number_of(dataset)?;
        let header = tree.hdf5().get_or_parse_header(dataset.address()).map_err(|e| damaged(&e))?;
        let (mut layout, mut filters) = (None, Vec::new());
        for message in &header.messages {
            match message {
                HdfMessage::DataLayout(m) => layout = Some(&m.layout),
                HdfMessage::FilterPipeline(m) => filters.clone_from(&m.filters),
                HdfMessage::ExternalFiles(_) => {
                    return Err(Error::policy("its data lie in other files; only data inside the named file are read")
                        .help("copy the data into one file (h5copy), or convert them to .npy"));
                }
                _ => {}
            }
        }
        let expected = dims.voxels() as u64 * number.size() as u64;
        let layout = match layout {
            None => return Err(Error::data("damaged HDF5: a dataset without a layout")),
            Some(DataLayout::Compact { data }) if data.len() as u64 == expected => Layout::Compact(data.clone()),
            Some(DataLayout::Compact { data }) => return Err(wrong_length(data.len() as u64, expected)),
            Some(DataLayout::Contiguous { address, size }) => {
                if Cursor::is_undefined_offset(*address, tree.hdf5().superblock().offset_size) {
                    return Err(never_written("the data were never written"));
                }
                if *size != expected || !filters.is_empty() {
                    return Err(wrong_length(*size, expected));
                }
                let offset = extent(tree, *address, *size)?;
                Layout::Contiguous(Plain { file: tree.file().clone(), offset, dims, number })
            }
            Some(DataLayout::Chunked { address, dims: chunk, chunk_indexing, .. }) => {
                let index = (*address, chunk.as_slice(), chunk_indexing.as_ref());
                Layout::Chunked(Chunks::open(tree, dataset, dims, number, index, filters)?)
            }
        };
        Ok(Array { dims, number, layout })
    }

    /// Its shape.
    pub(super) fn dims(&self) -> Dims {
        self.dims
    }
    /// Type of its elements.
    pub(super) fn number(&self) -> Number {
        self.number
    }

    /// Bytes that reading a block takes from the disk.
    pub(super) fn cost(&self, z: Range<usize>, y: Range<usize>) -> u64 {
        match &self.layout {
            Layout::Chunked(chunks) => chunks.cost(z, y),
            _ => (z.len() * y.len() * self.dims.nx * self.number.size()) as u64,
        }
    }

    /// Reads the block `z` × `y` × all x into `out`.
    pub(super) fn read<T: Target>(&self, z: Range<usize>, y: Range<usize>, out: &mut [T]) -> Result<()> {
        match &self.layout {
            Layout::Contiguous(plain) => plain.read(z, y, out),
            Layout::Chunked(chunks) => chunks.read(z, y, out),
            Layout::Compact(bytes) => {
                check_block(self.dims, &z, &y, out.len())?;
                let (nx, size) = (self.dims.nx, self.number.size());
                let rows = z.flat_map(|z| y.clone().map(move |y| (z, y)));
                for ((z, y), row) in rows.zip(out.chunks_exact_mut(nx)) {
                    let first = (z * self.dims.ny + y) * nx * size;
                    let bytes = &bytes[first..first + nx * size];
                    self.number.decode(bytes, row).map_err(|x| unfit::<T>(self.number, [z, y, x]))?;
                }
                Ok(())
            }
        }
    }
}

/// The shape with three axes.
fn dims_of(shape: &[u64]) -> Result<Dims> {
    let mut extents = [1usize; 3];
    let leading = 3usize.checked_sub(shape.len()).ok_or_else(|| Error::data(format!("it has {} axes", shape.len())))?;
    for (extent, &n) in extents[leading..].iter_mut().zip(shape) {
        *extent =
            usize::try_from(n).map_err(|_| Error::data(format!("its shape {shape:?} is too large to address")))?;
    }
    Dims::new(extents[0], extents[1], extents[2])
}

/// Where in the file the bytes `address .. address + size` of the HDF5 address space begin; they lie inside it.
pub(super) fn extent(tree: &Tree, address: u64, size: u64) -> Result<u64> {
    let offset = tree.hdf5().superblock().base_address.checked_add(address);
    match offset.and_then(|o| Some((o, o.checked_add(size)?))) {
        Some((offset, end)) if end <= tree.file().bytes() => Ok(offset),
        _ => Err(Error::data(format!(
            "damaged HDF5: {size} bytes of data at address {address} in a file of {} bytes",
            tree.file().bytes()
        ))
        .help("the file is truncated or damaged: copy it again")),
    }
}

fn wrong_length(found: u64, expected: u64) -> Error {
    Error::data(format!("damaged HDF5: its data take {found} bytes, its shape and type {expected}"))
}

/// The error for data that a general reader would take for zeros.
pub(super) fn never_written(what: &str) -> Error {
    Error::data(what).help("the scan was stopped or lost data: export the part that was measured, or measure again")
}

/// The element type of a dataset: integers and IEEE floats that fill their bytes.
pub(super) fn number_of(dataset: &Dataset) -> Result<Number> {
    let refuse = |what: String| {
        Error::data(format!("its elements are {what}; read are integers and IEEE floats of 8 to 64 bits"))
            .help("convert the data to u16 or f32")
    };
    let (kind, order) = match dataset.dtype() {
        Datatype::FixedPoint { size, signed, byte_order } => match (size, signed) {
            (1, false) => (Kind::U8, byte_order),
            (1, true) => (Kind::I8, byte_order),
            (2, false) => (Kind::U16, byte_order),
            (2, true) => (Kind::I16, byte_order),
            (4, false) => (Kind::U32, byte_order),
            (4, true) => (Kind::I32, byte_order),
            (8, false) => (Kind::U64, byte_order),
            (8, true) => (Kind::I64, byte_order),
            _ => return Err(refuse(format!("integers of {size} bytes"))),
        },
        Datatype::FloatingPoint { size, byte_order } => match size {
            2 => (Kind::F16, byte_order),
            4 => (Kind::F32, byte_order),
            8 => (Kind::F64, byte_order),
            _ => return Err(refuse(format!("floats of {size} bytes"))),
        },
        Datatype::String { .. } => return Err(refuse("texts".to_string())),
        Datatype::Compound { .. } => return Err(refuse("records (complex numbers?)".to_string())),
        Datatype::Enum { .. } => return Err(refuse("names (an enumeration, booleans?)".to_string())),
        _ => return Err(refuse("no numbers".to_string())),
    };
    let number = Number { kind, big_endian: *order == ByteOrder::BigEndian };
    let raw = dataset.raw_datatype().map_err(|e| damaged(&e))?;
    if is_plain(number, &raw) {
        Ok(number)
    } else {
        Err(refuse(format!("{}s with unused bits or an unusual float format", number.name())))
    }
}

/// Whether the stored description of the type is that of a plain machine number. The parser keeps size, sign and
/// byte order only, so a 12-bit integer in 2 bytes, or a float with another exponent, would pass for what it is not.
///
/// The description is class and version (1 byte), class bits (3), size (4), then for integers the bit offset and
/// the precision (2 bytes each), for floats also exponent's place and size, mantissa's place and size (1 byte each)
/// and exponent bias (4).
fn is_plain(number: Number, raw: &[u8]) -> bool {
    let u16_at = |at: usize| raw.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let bits = number.size() as u16 * 8;
    if u16_at(8) != Some(0) || u16_at(10) != Some(bits) {
        return false;
    }
    /// Class bits 4–5 with this value: the mantissa's leading 1 is implied.
    const IMPLIED: u8 = 2;
    /// Class bit 6: the byte order is VAX's.
    const VAX: u8 = 1 << 6;
    let float = |[place, size, mantissa]: [u8; 3], bias: u32| {
        raw[1] >> 4 & 3 == IMPLIED
            && raw[1] & VAX == 0
            && u16::from(raw[2]) == bits - 1
            && raw.get(12..16) == Some(&[place, size, 0, mantissa])
            && raw.get(16..20) == Some(&bias.to_le_bytes())
    };
    match number.kind {
        Kind::F16 => float([10, 5, 10], 15),
        Kind::F32 => float([23, 8, 23], 127),
        Kind::F64 => float([52, 11, 52], 1023),
        _ => true,
    }
}
