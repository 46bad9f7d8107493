//! Digest slabs: the pieces in which a raw file is hashed, journalled and checked, and their statistics.
//!
//! A slab is a whole number of slices, [`SLAB_BYTES`] at most unless one slice is larger. Its height depends on shape
//! and type alone, so that a manifest does not tell how the volume was computed.
//!
//! ```text
//! min, max, mean over the finite physical values; mean = sum / count
//! sum: blocks of 4096 voxels from the slab's first on; in a block 16 lanes (voxel i in lane i mod 16) in f64,
//!      folded 8-4-2-1; blocks added in order, then slabs in order
//! ```

use super::codec::Codec;
use super::{Dims, Dtype};
use crate::json::Json;
use crate::num::lanes::LANES;
use crate::num::sum::BLOCK;
use crate::provenance::{Digest, Hasher};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// Target size of a digest slab in bytes.
pub const SLAB_BYTES: u64 = 64 << 20;
/// Bytes that are read at once: a whole number of blocks of every type.
const CHUNK: usize = 1 << 20;

/// How a raw file is cut into digest slabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Shape of the volume.
    pub dims: Dims,
    /// Stored type.
    pub dtype: Dtype,
    /// Slices of every slab but the last, which may be lower.
    pub slab_slices: usize,
}

impl Layout {
    /// The layout of every output: max(1, 64 MiB / bytes of a slice) slices.
    pub fn new(dims: Dims, dtype: Dtype) -> Layout {
        Layout::with_slab_bytes(dims, dtype, SLAB_BYTES)
    }

    /// A layout of smaller slabs, for tests that need many.
    pub(super) fn with_slab_bytes(dims: Dims, dtype: Dtype, slab_bytes: u64) -> Layout {
        let slices = slab_bytes / (dims.slice() as u64 * dtype.size() as u64);
        Layout { dims, dtype, slab_slices: (slices as usize).clamp(1, dims.nz) }
    }

    /// Number of slabs.
    pub fn slabs(&self) -> usize {
        self.dims.nz.div_ceil(self.slab_slices)
    }
    /// Slices of a slab.
    pub fn slices(&self, slab: usize) -> Range<usize> {
        let first = slab * self.slab_slices;
        first..(first + self.slab_slices).min(self.dims.nz)
    }
    /// Bytes of one slice.
    pub fn slice_bytes(&self) -> u64 {
        self.dims.slice() as u64 * self.dtype.size() as u64
    }
    /// Position of a slab in the raw file.
    pub fn offset(&self, slab: usize) -> u64 {
        self.slices(slab).start as u64 * self.slice_bytes()
    }
    /// Length of a slab in bytes.
    pub fn length(&self, slab: usize) -> u64 {
        self.slices(slab).len() as u64 * self.slice_bytes()
    }
}

/// Extremes, sum and counts of physical values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// Least finite value; +∞ when there is none.
    pub min: f32,
    /// Greatest finite value; −∞ when there is none.
    pub max: f32,
    /// Sum of the finite values, in the [fixed order](self).
    pub sum: f64,
    /// How many values are finite.
    pub finite: u64,
    /// How many are NaN or infinite.
    pub nonfinite: u64,
}

impl Default for Statistics {
    fn default() -> Self {
        Statistics { min: f32::INFINITY, max: f32::NEG_INFINITY, sum: 0.0, finite: 0, nonfinite: 0 }
    }
}

impl Statistics {
    /// Mean of the finite values; `None` when there is none.
    pub fn mean(&self) -> Option<f64> {
        (self.finite > 0).then(|| self.sum / self.finite as f64)
    }

    /// Appends what follows in the order of the voxels.
    pub fn append(&mut self, next: &Statistics) {
        self.min = self.min.min(next.min);
        self.max = self.max.max(next.max);
        self.sum += next.sum;
        self.finite += next.finite;
        self.nonfinite += next.nonfinite;
    }

    /// Statistics of one block of at most [`BLOCK`] values.
    fn of_block(values: &[f32]) -> Statistics {
        let (mut min, mut max) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
        let (mut sum, mut finite) = ([0.0_f64; LANES], [0_u32; LANES]);
        for row in values.chunks(LANES) {
            for (lane, &v) in row.iter().enumerate() {
                let ok = v.is_finite();
                min[lane] = if ok && v < min[lane] { v } else { min[lane] };
                max[lane] = if ok && v > max[lane] { v } else { max[lane] };
                sum[lane] += if ok { f64::from(v) } else { 0.0 };
                finite[lane] += u32::from(ok);
            }
        }
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                sum[lane] += sum[lane + half];
            }
        }
        let finite: u64 = finite.iter().map(|&n| u64::from(n)).sum();
        Statistics {
            // + 0 turns −0 into 0: which of the two zeros comes first must not show.
            min: min.into_iter().fold(f32::INFINITY, f32::min) + 0.0,
            max: max.into_iter().fold(f32::NEG_INFINITY, f32::max) + 0.0,
            sum: sum[0],
            finite,
            nonfinite: values.len() as u64 - finite,
        }
    }

    /// For the manifest.
    pub fn to_json(&self) -> Json {
        let known = self.finite > 0;
        Json::obj([
            ("min", known.then_some(self.min).into()),
            ("max", known.then_some(self.max).into()),
            ("mean", self.mean().into()),
            ("nonfinite", self.nonfinite.into()),
        ])
    }
}

/// Digest and statistics of one slab.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SlabRecord {
    pub digest: Digest,
    pub statistics: Statistics,
}

/// Collects a [`SlabRecord`] from the slab's bytes, which come in pieces of whole blocks (the last one excepted).
struct Recorder {
    codec: Codec,
    hasher: Hasher,
    statistics: Statistics,
}

impl Recorder {
    fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        let size = self.codec.dtype.size();
        let mut values = [0.0; BLOCK];
        for block in bytes.chunks(BLOCK * size) {
            let values = &mut values[..block.len() / size];
            self.codec.decode(block, values);
            self.statistics.append(&Statistics::of_block(values));
        }
    }
}

impl SlabRecord {
    fn recorder(codec: Codec) -> Recorder {
        Recorder { codec, hasher: Hasher::new(), statistics: Statistics::default() }
    }

    /// The record of a slab in memory.
    pub fn of_bytes(codec: Codec, bytes: &[u8]) -> SlabRecord {
        let mut recorder = SlabRecord::recorder(codec);
        // In pieces that stay in the cache between hashing and summing.
        bytes.chunks(CHUNK).for_each(|piece| recorder.update(piece));
        SlabRecord { digest: recorder.hasher.finish(), statistics: recorder.statistics }
    }

    /// The record of `slab` in a raw file.
    pub fn of_file(codec: Codec, layout: &Layout, file: &File, slab: usize) -> io::Result<SlabRecord> {
        let mut recorder = SlabRecord::recorder(codec);
        scan(file, layout.offset(slab), layout.length(slab), |piece| recorder.update(piece))?;
        Ok(SlabRecord { digest: recorder.hasher.finish(), statistics: recorder.statistics })
    }
}

/// SHA-256 of a range of a file.
pub(super) fn digest_range(file: &File, offset: u64, length: u64) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    scan(file, offset, length, |piece| hasher.update(piece))?;
    Ok(hasher.finish())
}

/// Reads a range of a file in pieces of [`CHUNK`] bytes.
fn scan(file: &File, offset: u64, length: u64, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK.min(length as usize)];
    let mut done = 0;
    while done < length {
        let n = chunk.len().min((length - done) as usize);
        file.read_exact_at(&mut chunk[..n], offset + done)?;
        each(&chunk[..n]);
        done += n as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_depend_on_shape_and_type_alone_and_cover_every_slice_once() {
        let dims = Dims::new(1000, 2048, 2048).unwrap();
        assert_eq!(Layout::new(dims, Dtype::F32).slab_slices, 4);
        assert_eq!(Layout::new(dims, Dtype::U8).slab_slices, 16);
        assert_eq!(Layout::new(Dims::new(3, 1, 1).unwrap(), Dtype::U8).slab_slices, 3);
        assert_eq!(Layout::new(Dims::new(3, 1 << 14, 1 << 14).unwrap(), Dtype::F32).slab_slices, 1);
        let layout = Layout::with_slab_bytes(Dims::new(10, 2, 3).unwrap(), Dtype::U16, 40);
        assert_eq!((layout.slab_slices, layout.slabs(), layout.slices(3)), (3, 4, 9..10));
        assert_eq!((layout.offset(3), layout.length(3), layout.length(0)), (108, 12, 36));
    }

    #[test]
    fn statistics_do_not_depend_on_how_the_bytes_come() {
        let codec = Codec { dtype: Dtype::F32, big_endian: false, slope: 1.0, intercept: 0.0 };
        // Values of very different size, so that another order of the sum shows in its last bits.
        let values: Vec<f32> =
            (0..20_003u32).map(|i| (i.wrapping_mul(2_654_435_761) as f32) * 10f32.powi((i % 7) as i32 - 3)).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let whole = SlabRecord::of_bytes(codec, &bytes);
        let scratch = crate::testing::Scratch::new("volume");
        std::fs::write(scratch.join("raw"), &bytes).unwrap();
        let layout = Layout::new(Dims::new(1, 1, values.len()).unwrap(), Dtype::F32);
        let read = SlabRecord::of_file(codec, &layout, &File::open(scratch.join("raw")).unwrap(), 0).unwrap();
        assert_eq!(read, whole);
        assert_eq!(whole.digest, Digest::of(&bytes));

        // The definition, written down a second time.
        let mut sum = 0.0;
        for block in values.chunks(BLOCK) {
            let mut lanes = [0.0f64; 16];
            block.iter().enumerate().for_each(|(i, &v)| lanes[i % 16] += f64::from(v));
            for half in [8, 4, 2, 1] {
                (0..half).for_each(|i| lanes[i] += lanes[i + half]);
            }
            sum += lanes[0];
        }
        assert_eq!(whole.statistics.sum.to_bits(), f64::to_bits(sum));
    }

    #[test]
    fn what_is_not_finite_is_counted_and_left_out() {
        let statistics = Statistics::of_block(&[2.0, f32::NAN, -1.0, f32::INFINITY, f32::NEG_INFINITY, -0.0]);
        assert_eq!((statistics.min, statistics.max, statistics.sum), (-1.0, 2.0, 1.0));
        assert_eq!((statistics.finite, statistics.nonfinite), (3, 3));
        let none = Statistics::of_block(&[f32::NAN; 20]);
        assert_eq!(none.to_json().to_line(), r#"{"max":null,"mean":null,"min":null,"nonfinite":20}"#);
        assert_eq!(Statistics::of_block(&[-0.0]).min.to_bits(), 0);
    }
}
