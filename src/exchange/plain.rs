//! A row-major array that lies in one piece in a file: `.npy`, and contiguous data of HDF5.

use super::file::OpenFile;
use super::number::{Number, Target};
use crate::error::{Error, Result};
use crate::volume::Dims;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Elements that one task converts at a time: small enough for the second-level cache, large enough that a system
/// call costs little beside it.
const PIECE: usize = 64 * 1024;

/// Where the array lies.
pub(super) struct Plain {
    pub(super) file: Arc<OpenFile>,
    pub(super) offset: u64,
    pub(super) dims: Dims,
    pub(super) number: Number,
}

impl Plain {
    /// Reads the block `z` × `y` × all x into `out`. Beside `out` it needs one [`PIECE`] for each thread.
    pub(super) fn read<T: Target>(&self, z: Range<usize>, y: Range<usize>, out: &mut [T]) -> Result<()> {
        check_block(self.dims, &z, &y, out.len())?;
        let nx = self.dims.nx;
        let plane = y.len() * nx;
        if out.is_empty() {
            return Ok(());
        }
        let planes_per_task = PIECE.div_ceil(plane);
        let results: Vec<Result<()>> = out
            .par_chunks_mut(plane)
            .enumerate()
            .with_min_len(planes_per_task)
            .map_init(Vec::new, |bytes, (i, block)| {
                let first = ((z.start + i) * self.dims.ny + y.start) * nx;
                self.run(first, block, bytes)
            })
            .collect();
        // The first failure in the array's order, whichever thread met one first.
        results.into_iter().collect()
    }

    /// Reads `out.len()` elements from the element `first` on; `bytes` is scratch.
    pub(super) fn run<T: Target>(&self, first: usize, out: &mut [T], bytes: &mut Vec<u8>) -> Result<()> {
        let offset = self.offset + (first * self.number.size()) as u64;
        let (ny, nx) = (self.dims.ny, self.dims.nx);
        let place = |i: usize| [(first + i) / nx / ny, (first + i) / nx % ny, (first + i) % nx];
        read_run(&self.file, self.number, offset, out, bytes, place)
    }
}

/// Reads and converts `out.len()` elements that lie one after the other from byte `offset` on, a [`PIECE`] at a time
/// through the scratch `bytes`; `place` says where, as `[z, y, x]`, the i-th of them belongs.
pub(super) fn read_run<T: Target>(
    file: &OpenFile,
    number: Number,
    offset: u64,
    out: &mut [T],
    bytes: &mut Vec<u8>,
    place: impl Fn(usize) -> [usize; 3],
) -> Result<()> {
    let size = number.size();
    for (p, piece) in out.chunks_mut(PIECE).enumerate() {
        bytes.resize(piece.len() * size, 0);
        file.read_at(offset + (p * PIECE * size) as u64, bytes)?;
        number.decode(bytes, piece).map_err(|i| unfit::<T>(number, place(p * PIECE + i)).at(file.path()))?;
    }
    Ok(())
}

/// The error for a value at `[z, y, x]` that `T` cannot stand for.
pub(super) fn unfit<T: Target>(number: Number, [z, y, x]: [usize; 3]) -> Error {
    Error::data(format!("the {} value at z {z}, y {y}, x {x} is beyond the range of {}", number.name(), T::NAME))
        .help("scale the data or mark bad values as NaN before")
}

/// Refuses a block that is not inside the array: callers promise that it is.
pub(super) fn check_block(dims: Dims, z: &Range<usize>, y: &Range<usize>, len: usize) -> Result<()> {
    let inside = z.start <= z.end && z.end <= dims.nz && y.start <= y.end && y.end <= dims.ny;
    if inside && len == z.len() * y.len() * dims.nx {
        return Ok(());
    }
    Err(Error::bug(format!("block z {z:?}, y {y:?} into {len} values of an array {dims:?}")))
}
