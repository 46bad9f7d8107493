//! L2. Volumes: their shape, their files, and the two traits through which readers and stages stream slabs
//! without knowing each other.
//!
//! Axes are `[z][y][x]` in code, x fastest:
//!
//! ```text
//!        z  rotation axis, slices; detector rows of a scan
//!        |   y
//!        |  /          a tomographic slice is an x-y plane
//!        | /           a projection stack is (theta, row, column) = (z, y, x)
//!        +------ x
//! ```
//!
//! On disk a volume is `NAME.raw` (headerless, little-endian, exact length) with `NAME.mhd` (the primary header),
//! `NAME.nhdr` (a twin over the same bytes), `NAME.json` (the authoritative manifest, the commit point) and
//! `NAME.run.json` (what may differ between two runs).

use crate::error::{Error, Result};
use crate::provenance::InputFile;
use crate::units::Micrometre;
use std::ops::Range;

mod claim;
mod codec;
#[cfg(test)]
mod crash_tests;
mod disk;
pub mod header;
#[cfg(test)]
mod header_tests;
pub mod journal;
pub mod manifest;
mod nrrd;
pub mod reader;
pub mod slabs;
#[cfg(test)]
mod tests;
pub mod verify;
pub mod writer;

/// Shape of a 3-D volume; every extent is at least 1 and the number of voxels fits in `isize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Extent along z, the slowest axis.
    pub nz: usize,
    /// Extent along y.
    pub ny: usize,
    /// Extent along x, the fastest axis.
    pub nx: usize,
}

impl Dims {
    /// A checked shape: no zero extent, and the bytes of an f64 volume of it fit in `isize`.
    pub fn new(nz: usize, ny: usize, nx: usize) -> Result<Dims> {
        if nz == 0 || ny == 0 || nx == 0 {
            return Err(Error::data(format!("a volume of {nx} x {ny} x {nz} voxels has an empty axis")));
        }
        nx.checked_mul(ny)
            .and_then(|n| n.checked_mul(nz))
            .filter(|&n| n <= (isize::MAX / 8) as usize)
            .ok_or_else(|| Error::data(format!("a volume of {nx} x {ny} x {nz} voxels is too large to address")))?;
        Ok(Dims { nz, ny, nx })
    }
    /// Voxels of the volume.
    pub fn voxels(self) -> usize {
        self.nz * self.ny * self.nx
    }
    /// Voxels of one slice (fixed z).
    pub fn slice(self) -> usize {
        self.ny * self.nx
    }
    /// Length in bytes of a raw file of this shape.
    pub fn bytes(self, dtype: Dtype) -> u64 {
        self.voxels() as u64 * dtype.size() as u64
    }
}

/// Type of a stored voxel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// Labels.
    U8,
    /// Grey values with slope and intercept, or counts.
    U16,
    /// Measured or reconstructed values.
    F32,
}

impl Dtype {
    /// Bytes per voxel.
    pub fn size(self) -> usize {
        match self {
            Dtype::U8 => 1,
            Dtype::U16 => 2,
            Dtype::F32 => 4,
        }
    }
    /// `u8`, `u16` or `f32`.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::U8 => "u8",
            Dtype::U16 => "u16",
            Dtype::F32 => "f32",
        }
    }
}

/// Appends `values` as they are stored, little-endian.
///
/// # Errors
/// The index of the first value that the type cannot hold.
pub fn encode(dtype: Dtype, values: &[f32], out: &mut Vec<u8>) -> std::result::Result<(), usize> {
    codec::Codec { dtype, big_endian: false, slope: 1.0, intercept: 0.0 }.encode(values, out)
}

/// Size of a voxel along x, y, z in micrometres; `None` is *unknown*, which is recorded, never guessed.
pub type Spacing = Option<[Micrometre; 3]>;

/// A 3-D array that can be read in blocks: a projection stack (theta, row, column) or a volume (z, y, x).
///
/// Implementations are positioned readers: any block, any order, from any thread.
pub trait Source: Sync + Send {
    /// Shape of the whole array.
    fn dims(&self) -> Dims;
    /// Type in which it is stored.
    fn dtype(&self) -> Dtype;
    /// Voxel size; for projections the detector's pixel size along x and y (z is unused and repeats y).
    fn spacing(&self) -> Spacing {
        None
    }
    /// Reads the block `z` × `y` × all x into `out`, z slowest, x fastest, physical value as f32
    /// (slope and intercept applied). `out.len()` is `z.len() · y.len() · nx`; both ranges lie inside the shape.
    fn read(&self, z: Range<usize>, y: Range<usize>, out: &mut [f32]) -> Result<()>;
    /// Reads whole slices as they are stored, where they are bytes that stand for themselves; none where they are not.
    fn read_bytes(&self, z: Range<usize>, out: &mut [u8]) -> Option<Result<()>> {
        let _ = (z, out);
        None
    }
    /// Says that slices are read next, so that a disk may fetch them meanwhile. Only advice: what it does not help stays as it is.
    fn will_read(&self, z: Range<usize>) {
        let _ = z;
    }
    /// Bytes that [`read`](Self::read) of this block takes from the disk: more than the block holds where a compressed
    /// piece is decoded as a whole. For planning; 0 for what lies in memory.
    fn cost(&self, z: Range<usize>, y: Range<usize>) -> u64 {
        (z.len() * y.len() * self.dims().nx * self.dtype().size()) as u64
    }
    /// The file or files behind it, hashed, for the manifest.
    fn inputs(&self) -> Result<Vec<InputFile>>;
}

/// Takes a volume in whole slices, in ascending z, and nothing twice.
pub trait Sink: Send {
    /// Next slice that is wanted: 0 for a fresh output, later when resuming.
    fn next_slice(&self) -> usize;
    /// Appends `slices.len() / dims.slice()` whole slices of f32.
    fn write(&mut self, slices: &[f32]) -> Result<()>;
    /// Adds `n` to the count `name` of slice `z`, which is not written yet; for the manifest, if there is one.
    fn count(&mut self, z: usize, name: &str, n: u64) -> Result<()> {
        let _ = (z, name, n);
        Ok(())
    }
}

/// An array in memory, as [`Source`]: for tests and library users.
pub struct Memory {
    dims: Dims,
    values: Vec<f32>,
}

impl Memory {
    /// Wraps `values` of shape `dims`.
    pub fn new(dims: Dims, values: Vec<f32>) -> Result<Memory> {
        if values.len() != dims.voxels() {
            return Err(Error::usage(format!("{} values for a volume of {} voxels", values.len(), dims.voxels())));
        }
        Ok(Memory { dims, values })
    }
    /// The values, `[z][y][x]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

impl Source for Memory {
    fn dims(&self) -> Dims {
        self.dims
    }
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn read(&self, z: Range<usize>, y: Range<usize>, out: &mut [f32]) -> Result<()> {
        let nx = self.dims.nx;
        for (block, z) in out.chunks_exact_mut(y.len() * nx).zip(z) {
            let first = (z * self.dims.ny + y.start) * nx;
            block.copy_from_slice(&self.values[first..first + y.len() * nx]);
        }
        Ok(())
    }
    fn cost(&self, _: Range<usize>, _: Range<usize>) -> u64 {
        0
    }
    fn inputs(&self) -> Result<Vec<InputFile>> {
        Ok(Vec::new())
    }
}

/// Collects a volume in memory, as [`Sink`].
pub struct Collect {
    slice: usize,
    /// The slices so far, `[z][y][x]`.
    pub values: Vec<f32>,
}

impl Collect {
    /// An empty collection of slices of `dims`.
    pub fn new(dims: Dims) -> Collect {
        Collect { slice: dims.slice(), values: Vec::with_capacity(dims.voxels()) }
    }
}

impl Sink for Collect {
    fn next_slice(&self) -> usize {
        self.values.len() / self.slice
    }
    fn write(&mut self, slices: &[f32]) -> Result<()> {
        self.values.extend_from_slice(slices);
        Ok(())
    }
}
