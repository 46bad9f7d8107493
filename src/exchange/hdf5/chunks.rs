//! Chunked data: the array is cut into boxes of one shape, each stored whole somewhere in the file, perhaps
//! compressed; boxes at the upper edges stick out of the array.
//!
//! The index is read once, when the dataset is opened, and checked: every box of the grid is there, once, inside the
//! file. A box that is missing would be read as zeros by a general reader; here it is an error.
//!
//! A block of rows reads, of boxes that are stored as they are, the asked rows only. Compressed boxes are unpacked
//! whole, one per thread at a time, and not kept: a scan compressed in whole frames costs its full decompression for
//! each slab of rows. Layers of boxes along z are read in parallel.

use super::super::file::OpenFile;
use super::super::number::{Number, Target};
use super::super::plain::{check_block, read_run, unfit};
use super::array::{extent, never_written};
use super::tree::{Dataset, Tree, clip, damaged};
use crate::error::{Error, Result};
use crate::volume::Dims;
use hdf5_reader::btree_v1::{BTreeV1Key, collect_btree_v1_leaves_storage};
use hdf5_reader::chunk_index::{
    ChunkEntry, collect_implicit_chunk_entries, collect_v2_chunk_entries_storage, single_chunk_entry,
};
use hdf5_reader::extensible_array::collect_extensible_array_chunk_entries_storage;
use hdf5_reader::filters::{self, apply_pipeline_with_limit};
use hdf5_reader::fixed_array::collect_fixed_array_chunk_entries_storage;
use hdf5_reader::io::Cursor;
use hdf5_reader::messages::filter_pipeline::FilterDescription;
use hdf5_reader::messages::layout::ChunkIndexing;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Most boxes of a dataset: their index takes some 50 MB while it is read.
const MAX_CHUNKS: usize = 1 << 19;

/// Largest box that is unpacked in memory. Writers keep them at a few MB, detectors at one frame.
const MAX_UNPACKED: usize = 256 << 20;

/// Room for what filters add to a small box.
const PAGE: u64 = 4096;

/// Most filters of a pipeline: the format's filter mask has a bit for each.
const MAX_FILTERS: usize = 32;

/// One stored box.
#[derive(Clone, Copy)]
struct Stored {
    /// Its place in the file, not in the HDF5 address space.
    offset: u64,
    /// Stored length in bytes.
    size: u64,
    /// Bit i is set where filter i was not applied.
    skipped: u32,
}

/// A chunked dataset.
pub(super) struct Chunks {
    file: Arc<OpenFile>,
    dims: Dims,
    number: Number,
    /// Shape of a box, z y x.
    shape: [usize; 3],
    /// Boxes along y and x.
    grid: [usize; 2],
    /// All boxes, `[z][y][x]`.
    stored: Vec<Stored>,
    filters: Vec<FilterDescription>,
}

impl Chunks {
    /// Reads the index at `(address, box shape, kind)` of `dataset`.
    pub(super) fn open(
        tree: &Tree,
        dataset: &Dataset,
        dims: Dims,
        number: Number,
        (address, shape, kind): (u64, &[u32], Option<&ChunkIndexing>),
        filters: Vec<FilterDescription>,
    ) -> Result<Chunks> {
        let rank = dataset.ndim();
        // Old layouts list the element's size as one more axis.
        let shape = shape.get(..rank).filter(|_| shape.len() <= rank + 1);
        let Some(shape) = shape.filter(|s| s.iter().all(|&n| n > 0)) else {
            return Err(Error::data("damaged HDF5: its chunks have not the array's axes"));
        };
        let mut boxes = [1usize; 3];
        boxes[3 - rank..].iter_mut().zip(shape).for_each(|(b, &n)| *b = n as usize);
        let grid = [dims.nz.div_ceil(boxes[0]), dims.ny.div_ceil(boxes[1]), dims.nx.div_ceil(boxes[2])];
        let count = grid.iter().try_fold(1usize, |n, &g| n.checked_mul(g)).filter(|&n| n <= MAX_CHUNKS);
        let Some(count) = count else {
            return Err(Error::data(format!("it lies in {grid:?} chunks; at most {MAX_CHUNKS} are read"))
                .help("rewrite it in larger chunks (h5repack -l CHUNK=...)"));
        };
        let bytes = boxes.iter().try_fold(number.size(), |n, &b| n.checked_mul(b)).filter(|&b| b <= u32::MAX as usize);
        let Some(bytes) = bytes else {
            return Err(Error::data(format!("damaged HDF5: its chunks have {boxes:?} elements")));
        };
        check_filters(&filters, bytes)?;
        if Cursor::is_undefined_offset(address, tree.hdf5().superblock().offset_size) {
            return Err(never_written("the data were never written"));
        }
        let entries = index(tree, dataset, address, shape, kind, number.size()).map_err(|e| damaged(&e))?;
        let mut chunks = Chunks {
            file: tree.file().clone(),
            dims,
            number,
            shape: boxes,
            grid: [grid[1], grid[2]],
            stored: Vec::new(),
            filters,
        };
        chunks.stored = chunks.place(tree, entries, count, bytes)?;
        Ok(chunks)
    }

    /// The index as a complete grid.
    fn place(&self, tree: &Tree, entries: Vec<ChunkEntry>, count: usize, bytes: usize) -> Result<Vec<Stored>> {
        let malformed = |what: &str| Error::data(format!("damaged HDF5: the index of its chunks {what}"));
        let extents = [self.dims.nz, self.dims.ny, self.dims.nx];
        let mut stored: Vec<Option<Stored>> = vec![None; count];
        for entry in entries {
            let mut corner = [0u64; 3];
            let leading = 3usize.checked_sub(entry.offsets.len()).ok_or_else(|| malformed("has too many axes"))?;
            corner[leading..].copy_from_slice(&entry.offsets);
            if (0..3).any(|d| corner[d] % self.shape[d] as u64 != 0) {
                return Err(malformed("has a chunk off its grid"));
            }
            // Boxes beyond the array are left-overs of a larger one; what the file does not hold is missing below.
            let outside = (0..3).any(|d| corner[d] >= extents[d] as u64);
            if outside || Cursor::is_undefined_offset(entry.address, tree.hdf5().superblock().offset_size) {
                continue;
            }
            let [z, y, x] = [0, 1, 2].map(|d| corner[d] as usize / self.shape[d]);
            let plain = self.unfiltered(entry.filter_mask);
            let size = if entry.size == 0 && plain { bytes as u64 } else { entry.size };
            // A filter that finds nothing to save adds a little; twice the length is no real box.
            if size == 0 || plain && size != bytes as u64 || size / 2 > bytes as u64 + PAGE {
                return Err(malformed("has a chunk of a wrong length"));
            }
            let offset = extent(tree, entry.address, size)?;
            let place = &mut stored[(z * self.grid[0] + y) * self.grid[1] + x];
            if place.replace(Stored { offset, size, skipped: entry.filter_mask }).is_some() {
                return Err(malformed("has a chunk twice"));
            }
        }
        let missing = stored.iter().filter(|s| s.is_none()).count();
        if let Some(first) = stored.iter().position(Option::is_none) {
            let z = first / (self.grid[0] * self.grid[1]) * self.shape[0];
            return Err(never_written(&format!(
                "{missing} of its {count} chunks were never written; the first of them begins at image {z}"
            )));
        }
        Ok(stored.into_iter().flatten().collect())
    }

    /// Bytes that reading a block takes from the disk: of compressed boxes all, of others the rows.
    pub(super) fn cost(&self, z: Range<usize>, y: Range<usize>) -> u64 {
        if z.is_empty() || y.is_empty() {
            return 0;
        }
        let [cz, cy, cx] = self.shape;
        let mut bytes = 0;
        for bz in z.start / cz..z.end.div_ceil(cz) {
            let images = z.end.min((bz + 1) * cz) - z.start.max(bz * cz);
            for by in y.start / cy..y.end.div_ceil(cy) {
                let rows = y.end.min((by + 1) * cy) - y.start.max(by * cy);
                for bx in 0..self.grid[1] {
                    let stored = self.stored[(bz * self.grid[0] + by) * self.grid[1] + bx];
                    bytes += match self.unfiltered(stored.skipped) {
                        true => (images * rows * cx.min(self.dims.nx - bx * cx) * self.number.size()) as u64,
                        false => stored.size,
                    };
                }
            }
        }
        bytes
    }

    /// Whether a box with this mask is stored as it is.
    fn unfiltered(&self, skipped: u32) -> bool {
        (0..self.filters.len()).all(|i| skipped >> i & 1 == 1)
    }

    /// Reads the block `z` × `y` × all x into `out`.
    pub(super) fn read<T: Target>(&self, z: Range<usize>, y: Range<usize>, out: &mut [T]) -> Result<()> {
        check_block(self.dims, &z, &y, out.len())?;
        if out.is_empty() {
            return Ok(());
        }
        let plane = y.len() * self.dims.nx;
        let (mut layers, mut rest, mut start) = (Vec::new(), out, z.start);
        while start < z.end {
            let end = z.end.min((start / self.shape[0] + 1) * self.shape[0]);
            let (layer, tail) = rest.split_at_mut((end - start) * plane);
            layers.push((start..end, layer));
            (rest, start) = (tail, end);
        }
        let results: Vec<Result<()>> = layers
            .into_par_iter()
            .map_init(Vec::new, |bytes, (z, layer)| self.read_layer(z, y.clone(), layer, bytes))
            .collect();
        results.into_iter().collect()
    }

    /// Reads images `z`, all of one layer of boxes.
    fn read_layer<T: Target>(
        &self,
        z: Range<usize>,
        y: Range<usize>,
        out: &mut [T],
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        let [cz, cy, cx] = self.shape;
        for by in y.start / cy..y.end.div_ceil(cy) {
            let ys = y.start.max(by * cy)..y.end.min((by + 1) * cy);
            for bx in 0..self.grid[1] {
                let xs = bx * cx..self.dims.nx.min((bx + 1) * cx);
                let stored = self.stored[(z.start / cz * self.grid[0] + by) * self.grid[1] + bx];
                let unpacked = match self.unfiltered(stored.skipped) {
                    true => None,
                    false => Some(self.unpack(stored, bytes)?),
                };
                // A box as wide as the array has its rows one after the other there as here.
                let rows = if xs.len() == self.dims.nx && xs.len() == cx { ys.len() } else { 1 };
                for z_at in z.clone() {
                    for y_at in ys.clone().step_by(rows) {
                        let inside = ((z_at % cz) * cy + y_at % cy) * cx * self.number.size();
                        let outside = ((z_at - z.start) * y.len() + y_at - y.start) * self.dims.nx + xs.start;
                        let row = &mut out[outside..outside + rows * xs.len()];
                        let place = |i: usize| [z_at, y_at + i / xs.len(), xs.start + i % xs.len()];
                        match &unpacked {
                            None => {
                                let offset = stored.offset + inside as u64;
                                read_run(&self.file, self.number, offset, row, bytes, place)?;
                            }
                            Some(unpacked) => {
                                let part = &unpacked[inside..inside + row.len() * self.number.size()];
                                let decoded = self.number.decode(part, row);
                                decoded.map_err(|i| unfit::<T>(self.number, place(i)).at(self.file.path()))?;
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The bytes of a compressed box.
    fn unpack(&self, stored: Stored, bytes: &mut Vec<u8>) -> Result<Vec<u8>> {
        let expected = self.shape.iter().product::<usize>() * self.number.size();
        bytes.resize(stored.size as usize, 0);
        self.file.read_at(stored.offset, bytes)?;
        let size = self.number.size();
        let unpacked = apply_pipeline_with_limit(bytes, &self.filters, stored.skipped, size, None, Some(expected + 1))
            .map_err(|e| damaged(&e).at(self.file.path()))?;
        if unpacked.len() == expected {
            return Ok(unpacked);
        }
        Err(Error::data(format!(
            "damaged HDF5: the chunk at byte {} unpacks to {} bytes instead of {expected}",
            stored.offset,
            unpacked.len()
        ))
        .help("copy the file again")
        .at(self.file.path()))
    }
}

/// All entries of an index.
fn index(
    tree: &Tree,
    dataset: &Dataset,
    address: u64,
    chunk: &[u32],
    kind: Option<&ChunkIndexing>,
    element: usize,
) -> hdf5_reader::error::Result<Vec<ChunkEntry>> {
    let (storage, superblock) = (tree.hdf5().storage(), tree.hdf5().superblock());
    let (offset_size, length_size) = (superblock.offset_size, superblock.length_size);
    let (shape, rank) = (dataset.shape(), dataset.ndim());
    match kind {
        None => {
            let axes = Some(rank as u32);
            let leaves =
                collect_btree_v1_leaves_storage(storage, address, offset_size, length_size, axes, chunk, None)?;
            let entry = |(key, address): (BTreeV1Key, u64)| match key {
                BTreeV1Key::RawData { chunk_size, filter_mask, offsets } if offsets.len() >= rank => Ok(ChunkEntry {
                    address,
                    size: u64::from(chunk_size),
                    filter_mask,
                    offsets: offsets[..rank].to_vec(),
                }),
                _ => Err(hdf5_reader::error::Error::InvalidData("a chunk index of another kind".into())),
            };
            leaves.into_iter().map(entry).collect()
        }
        Some(ChunkIndexing::SingleChunk { filtered_size, filters }) => {
            Ok(vec![single_chunk_entry(address, *filtered_size, *filters, rank)])
        }
        Some(ChunkIndexing::Implicit) => {
            collect_implicit_chunk_entries(address, shape, chunk, element, None, storage.len())
        }
        Some(ChunkIndexing::FixedArray { .. }) => {
            collect_fixed_array_chunk_entries_storage(storage, address, offset_size, length_size, shape, chunk, None)
        }
        Some(ChunkIndexing::ExtensibleArray { .. }) => collect_extensible_array_chunk_entries_storage(
            storage,
            address,
            offset_size,
            length_size,
            shape,
            dataset.max_dims(),
            chunk,
            None,
        ),
        Some(ChunkIndexing::BTreeV2) => {
            let axes = rank as u32;
            collect_v2_chunk_entries_storage(storage, address, offset_size, length_size, axes, chunk, None)
        }
    }
}

/// Refuses filters that are not read, by name.
fn check_filters(filters: &[FilterDescription], unpacked: usize) -> Result<()> {
    /// Filters of HDF5 itself, and LZ4 of the registered ones.
    const READ: [u16; 7] = [
        filters::FILTER_DEFLATE,
        filters::FILTER_SHUFFLE,
        filters::FILTER_FLETCHER32,
        filters::FILTER_SZIP,
        filters::FILTER_NBIT,
        filters::FILTER_SCALEOFFSET,
        filters::FILTER_LZ4,
    ];
    /// Registered filters that detectors use.
    const KNOWN: [(u16, &str); 7] = [
        (307, "bzip2"),
        (32000, "LZF"),
        (32001, "Blosc"),
        (32008, "bitshuffle"),
        (32013, "ZFP"),
        (32015, "Zstandard"),
        (32019, "JPEG"),
    ];
    if let Some(filter) = filters.iter().find(|f| !READ.contains(&f.id)) {
        let name = match (KNOWN.iter().find(|(id, _)| *id == filter.id), &filter.name) {
            (Some((_, name)), _) => (*name).to_string(),
            (None, Some(name)) => format!("'{}', number {},", clip(name), filter.id),
            (None, None) => format!("number {}", filter.id),
        };
        return Err(Error::data(format!("it is compressed by the filter {name} that is not read"))
            .help("rewrite the file with h5repack -f GZIP=1"));
    }
    if filters.len() > MAX_FILTERS {
        return Err(Error::data(format!("damaged HDF5: {} filters", filters.len())));
    }
    if !filters.is_empty() && unpacked > MAX_UNPACKED {
        return Err(Error::data(format!(
            "its compressed chunks have {unpacked} bytes; at most {MAX_UNPACKED} are read"
        ))
        .help("rewrite it in smaller chunks (h5repack -l CHUNK=...)"));
    }
    Ok(())
}
