//! Writes TIFF and BigTIFF: grey, uncompressed, little-endian, one strip per image.
//!
//! Resolution and its unit come from the voxel size, the description from the caller; no time and no program's name beside
//! the version, so that the same volume makes the same bytes. A file that may exceed 4 GiB is a BigTIFF.

use super::super::part::PartFile;
use crate::error::{Error, Result};
use crate::units::Micrometre;
use crate::volume::{Dims, Dtype, Sink, encode};
use std::path::Path;

/// From here on offsets of 32 bits may not do.
const CLASSIC: u64 = 0xf000_0000;

/// Bytes that a file takes at most.
pub fn length(dims: Dims, dtype: Dtype, description: &str) -> u64 {
    dims.bytes(dtype).saturating_add(dims.nz as u64 * (1024 + description.len() as u64))
}

/// A multi-page file on its way.
pub struct TiffWriter {
    part: PartFile,
    dims: Dims,
    dtype: Dtype,
    pixel: Option<Micrometre>,
    description: String,
    big: bool,
    place: u64,
    done: usize,
}

impl TiffWriter {
    /// Starts the file `path` of `dims.nz` images.
    ///
    /// # Errors
    /// As [`crate::exchange::write_text`].
    pub fn create(
        path: &Path,
        dims: Dims,
        dtype: Dtype,
        pixel: Option<Micrometre>,
        description: &str,
        overwrite: bool,
    ) -> Result<TiffWriter> {
        let whole = length(dims, dtype, description);
        let part = PartFile::create(path, overwrite, whole)?;
        TiffWriter::start(part, dims, dtype, pixel, description, whole > CLASSIC)
    }

    /// As [`TiffWriter::create`], classic or `big` as told.
    pub(super) fn start(
        mut part: PartFile,
        dims: Dims,
        dtype: Dtype,
        pixel: Option<Micrometre>,
        description: &str,
        big: bool,
    ) -> Result<TiffWriter> {
        let head: Vec<u8> = match big {
            true => [b"II+\0\x08\0\0\0".as_slice(), &16u64.to_le_bytes()].concat(),
            false => [b"II*\0".as_slice(), &8u32.to_le_bytes()].concat(),
        };
        part.write(&head)?;
        let place = head.len() as u64;
        let description = description.to_string();
        Ok(TiffWriter { part, dims, dtype, pixel, description, big, place, done: 0 })
    }

    /// The directory of the next image, whose pixels follow it.
    fn directory(&self, last: bool) -> Vec<u8> {
        let (bits, format) = match self.dtype {
            Dtype::U8 => (8, 1),
            Dtype::U16 => (16, 1),
            Dtype::F32 => (32, 3),
        };
        let pixels = self.dims.slice() as u64 * self.dtype.size() as u64;
        let mut text = self.description.as_bytes().to_vec();
        text.push(0);
        text.resize(text.len().next_multiple_of(8), 0);
        // Pixels per centimetre as a fraction of micrometres: 10⁴ / pixel.
        let resolution = self.pixel.map(|p| [10_000_000u32, (p.0 * 1000.0).round().clamp(1.0, 4e9) as u32]);
        let mut entries: Vec<(u16, u16, u64, Option<u64>)> = vec![
            (256, 4, 1, Some(self.dims.nx as u64)),
            (257, 4, 1, Some(self.dims.ny as u64)),
            (258, 3, 1, Some(bits)),
            (259, 3, 1, Some(1)),
            (262, 3, 1, Some(1)),
            (270, 2, text.len() as u64, None),
            (273, if self.big { 16 } else { 4 }, 1, None),
            (277, 3, 1, Some(1)),
            (278, 4, 1, Some(self.dims.ny as u64)),
            (279, if self.big { 16 } else { 4 }, 1, Some(pixels)),
        ];
        if resolution.is_some() {
            entries.extend([(282, 5, 1, None), (283, 5, 1, None), (296, 3, 1, Some(3))]);
        }
        entries.push((339, 3, 1, Some(format)));
        let (count_size, entry_size, word) = if self.big { (8, 20, 8) } else { (2, 12, 4) };
        let table = (count_size + entries.len() * entry_size + word) as u64;
        let table = (self.place + table).next_multiple_of(8) - self.place;
        let text_at = self.place + table;
        let fraction_at = text_at + text.len() as u64;
        let pixels_at = fraction_at + if resolution.is_some() { 8 } else { 0 };
        let mut out = Vec::new();
        let put = |out: &mut Vec<u8>, value: u64, bytes: usize| out.extend_from_slice(&value.to_le_bytes()[..bytes]);
        put(&mut out, entries.len() as u64, count_size);
        for (tag, kind, count, value) in entries {
            put(&mut out, u64::from(tag), 2);
            put(&mut out, u64::from(kind), 2);
            put(&mut out, count, word);
            let value = match tag {
                270 => text_at,
                273 => pixels_at,
                // In a BigTIFF a fraction of two words fits into the entry.
                282 | 283 if self.big => {
                    let [a, b] = resolution.unwrap_or([1, 1]);
                    u64::from(a) | u64::from(b) << 32
                }
                282 | 283 => fraction_at,
                _ => value.unwrap_or(0),
            };
            put(&mut out, value, word);
        }
        let next = if last { 0 } else { (pixels_at + pixels).next_multiple_of(8) };
        put(&mut out, next, word);
        out.resize(table as usize, 0);
        out.extend_from_slice(&text);
        if let Some(fraction) = resolution {
            fraction.iter().for_each(|&v| put(&mut out, u64::from(v), 4));
        }
        out
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// If images are missing, or what the disk says.
    pub fn finish(self) -> Result<()> {
        if self.done != self.dims.nz {
            return Err(Error::bug(format!("{} of {} images written", self.done, self.dims.nz)).at(self.part.path()));
        }
        self.part.finish()
    }
}

impl Sink for TiffWriter {
    fn next_slice(&self) -> usize {
        self.done
    }
    fn write(&mut self, slices: &[f32]) -> Result<()> {
        for slice in slices.chunks_exact(self.dims.slice()) {
            let last = self.done + 1 == self.dims.nz;
            let mut bytes = self.directory(last);
            encode(self.dtype, slice, &mut bytes).map_err(|i| {
                Error::data(format!("value {} does not fit {}", slice[i], self.dtype.name())).at(self.part.path())
            })?;
            let end = self.place + bytes.len() as u64;
            bytes.resize(bytes.len() + (end.next_multiple_of(8) - end) as usize, 0);
            self.part.write(&bytes)?;
            self.place += bytes.len() as u64;
            self.done += 1;
        }
        Ok(())
    }
}
