//! PNG pictures: grey of 8 and 16 bits, RGB of 8 bits, written by hand on `miniz_oxide`'s deflate.
//!
//! A row is stored with the filter, of none, Sub (difference to the left neighbour) and Up (to the row above), whose
//! bytes, read as signed, have the smallest sum of magnitudes: PNG's own rule of thumb. The same picture gives the
//! same file everywhere: no time, no names, one compression level.
//!
//! Left out: palettes, alpha, interlacing, reading.
//!
//! Source: PNG (Portable Network Graphics) Specification, ISO/IEC 15948:2003.

use super::part::write_whole;
use crate::error::{Error, Result};
use crate::provenance::crc32;
use std::path::Path;

/// Compression level of deflate, 0 to 10: beyond 6 pictures shrink by a few percent in several times the time.
const LEVEL: u8 = 6;

/// The format's bound on width and height.
const MAX_EXTENT: usize = i32::MAX as usize;

/// What a pixel is: the format's colour type and bit depth.
#[derive(Clone, Copy)]
enum Pixel {
    Grey8,
    Grey16,
    Rgb8,
}

impl Pixel {
    fn colour_type(self) -> u8 {
        match self {
            Pixel::Grey8 | Pixel::Grey16 => 0,
            Pixel::Rgb8 => 2,
        }
    }
    fn bit_depth(self) -> u8 {
        match self {
            Pixel::Grey8 | Pixel::Rgb8 => 8,
            Pixel::Grey16 => 16,
        }
    }
    fn bytes(self) -> usize {
        match self {
            Pixel::Grey8 => 1,
            Pixel::Grey16 => 2,
            Pixel::Rgb8 => 3,
        }
    }
}

/// A grey picture of 8 bits as the bytes of a PNG file; `pixels` is `[row][column]`.
///
/// # Errors
/// [`Fault::Bug`](crate::error::Fault::Bug) where the number of pixels is not `width · height`, or one is 0.
pub fn encode_grey8(width: usize, height: usize, pixels: &[u8]) -> Result<Vec<u8>> {
    encode(width, height, Pixel::Grey8, pixels)
}

/// A grey picture of 16 bits as the bytes of a PNG file; as [`encode_grey8`].
pub fn encode_grey16(width: usize, height: usize, pixels: &[u16]) -> Result<Vec<u8>> {
    let bytes: Vec<u8> = pixels.iter().flat_map(|p| p.to_be_bytes()).collect();
    encode(width, height, Pixel::Grey16, &bytes)
}

/// A colour picture as the bytes of a PNG file; `pixels` is `[row][column][red, green, blue]`; as [`encode_grey8`].
pub fn encode_rgb8(width: usize, height: usize, pixels: &[u8]) -> Result<Vec<u8>> {
    encode(width, height, Pixel::Rgb8, pixels)
}

/// Writes [`encode_grey8`] as the file `path`.
///
/// # Errors
/// [`Fault::CannotCreate`](crate::error::Fault::CannotCreate) where it exists and `overwrite` is not set, or its
/// folder cannot be written.
pub fn write_grey8(path: &Path, width: usize, height: usize, pixels: &[u8], overwrite: bool) -> Result<()> {
    write_whole(path, overwrite, &encode_grey8(width, height, pixels).map_err(|e| e.at(path))?)
}

/// Writes [`encode_grey16`] as the file `path`; errors as [`write_grey8`].
pub fn write_grey16(path: &Path, width: usize, height: usize, pixels: &[u16], overwrite: bool) -> Result<()> {
    write_whole(path, overwrite, &encode_grey16(width, height, pixels).map_err(|e| e.at(path))?)
}

/// Writes [`encode_rgb8`] as the file `path`; errors as [`write_grey8`].
pub fn write_rgb8(path: &Path, width: usize, height: usize, pixels: &[u8], overwrite: bool) -> Result<()> {
    write_whole(path, overwrite, &encode_rgb8(width, height, pixels).map_err(|e| e.at(path))?)
}

fn encode(width: usize, height: usize, pixel: Pixel, bytes: &[u8]) -> Result<Vec<u8>> {
    let fits = (1..=MAX_EXTENT).contains(&width) && (1..=MAX_EXTENT).contains(&height);
    if !fits || width.checked_mul(height).and_then(|n| n.checked_mul(pixel.bytes())) != Some(bytes.len()) {
        return Err(Error::bug(format!("{} bytes for a picture of {width} x {height}", bytes.len())));
    }
    let mut header = Vec::new();
    header.extend((width as u32).to_be_bytes());
    header.extend((height as u32).to_be_bytes());
    // Compression 0 is deflate, filter method 0 the five filters, interlace 0 none.
    header.extend([pixel.bit_depth(), pixel.colour_type(), 0, 0, 0]);
    let rows = filter_rows(width * pixel.bytes(), pixel.bytes(), bytes);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, b"IHDR", &header);
    for piece in miniz_oxide::deflate::compress_to_vec_zlib(&rows, LEVEL).chunks(MAX_EXTENT) {
        chunk(&mut file, b"IDAT", piece);
    }
    chunk(&mut file, b"IEND", &[]);
    Ok(file)
}

/// Each row behind the number of its filter.
fn filter_rows(row_bytes: usize, pixel_bytes: usize, bytes: &[u8]) -> Vec<u8> {
    let mut filtered = Vec::with_capacity(bytes.len() + bytes.len() / row_bytes);
    let mut above = vec![0; row_bytes];
    for row in bytes.chunks_exact(row_bytes) {
        let left = || std::iter::repeat_n(&0, pixel_bytes).chain(row);
        let sub = || row.iter().zip(left()).map(|(v, l)| v.wrapping_sub(*l));
        let up = || row.iter().zip(&above).map(|(v, a)| v.wrapping_sub(*a));
        let none_cost = cost(row.iter().copied());
        let (sub_cost, up_cost) = (cost(sub()), cost(up()));
        if none_cost <= sub_cost && none_cost <= up_cost {
            filtered.push(0);
            filtered.extend(row);
        } else if sub_cost <= up_cost {
            filtered.push(1);
            filtered.extend(sub());
        } else {
            filtered.push(2);
            filtered.extend(up());
        }
        above.copy_from_slice(row);
    }
    filtered
}

/// Sum of the magnitudes of bytes read as signed.
fn cost(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.map(|b| u64::from((b as i8).unsigned_abs())).sum()
}

/// Appends a chunk: length, name, data, CRC-32 of name and data.
fn chunk(file: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) {
    file.extend((data.len() as u32).to_be_bytes());
    file.extend(name);
    file.extend(data);
    file.extend(crc32(crc32(0, name), data).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;
    use zune_png::PngDecoder;
    use zune_png::zune_core::bytestream::ZCursor;
    use zune_png::zune_core::colorspace::ColorSpace;
    use zune_png::zune_core::options::DecoderOptions;
    use zune_png::zune_core::result::DecodingResult;

    /// Decodes with another's decoder, which checks every CRC and the Adler sum: size, channels and samples.
    fn decode(bytes: &[u8]) -> ((usize, usize), ColorSpace, DecodingResult) {
        let strict =
            DecoderOptions::default().set_strict_mode(true).png_set_confirm_crc(true).inflate_set_confirm_adler(true);
        let mut decoder = PngDecoder::new_with_options(ZCursor::new(bytes), strict);
        let samples = decoder.decode().unwrap();
        (decoder.dimensions().unwrap(), decoder.colorspace().unwrap(), samples)
    }

    /// A ramp, noise and flat parts, so that each filter is chosen somewhere.
    fn pattern(n: usize) -> Vec<u8> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..n).map(|i| if i % 97 < 30 { next() } else { (i / 7) as u8 }).collect()
    }

    #[test]
    fn another_decoder_reads_every_kind_and_size() {
        for (w, h) in [(1, 1), (1, 7), (7, 1), (33, 20), (640, 3)] {
            let grey = pattern(w * h);
            let (size, channels, samples) = decode(&encode_grey8(w, h, &grey).unwrap());
            assert_eq!((size, channels), ((w, h), ColorSpace::Luma));
            assert_eq!(samples.u8(), Some(grey));
            let deep: Vec<u16> = pattern(2 * w * h).as_chunks().0.iter().map(|b| u16::from_le_bytes(*b)).collect();
            let (size, channels, samples) = decode(&encode_grey16(w, h, &deep).unwrap());
            assert_eq!((size, channels), ((w, h), ColorSpace::Luma));
            assert_eq!(samples.u16(), Some(deep));
            let colour = pattern(3 * w * h);
            let (size, channels, samples) = decode(&encode_rgb8(w, h, &colour).unwrap());
            assert_eq!((size, channels), ((w, h), ColorSpace::RGB));
            assert_eq!(samples.u8(), Some(colour));
        }
    }

    #[test]
    fn each_filter_is_used_where_it_helps() {
        let noise = pattern(30);
        let ramp: Vec<u8> = (0..30).map(|i| 100 + i).collect();
        let rows = [vec![1; 30], ramp, noise.clone(), noise].concat();
        let filters: Vec<u8> = filter_rows(30, 1, &rows).chunks(31).map(|row| row[0]).collect();
        assert_eq!(filters[1], 1, "a ramp is a small difference to the left");
        assert_eq!(filters[3], 2, "a repeated row is no difference to the one above");
        assert_eq!(filter_rows(3, 1, &[0, 1, 0])[0], 0);
    }

    #[test]
    fn files_are_written_whole_and_bad_shapes_are_our_bug() {
        let dir = Scratch::new("png");
        let path = dir.join("a.png");
        write_grey8(&path, 2, 2, &[0, 1, 2, 3], false).unwrap();
        assert_eq!(decode(&std::fs::read(&path).unwrap()).2.u8(), Some(vec![0, 1, 2, 3]));
        assert!(write_rgb8(&path, 1, 1, &[1, 2, 3], false).is_err());
        write_grey16(&path, 1, 1, &[0x0102], true).unwrap();
        assert_eq!(decode(&std::fs::read(&path).unwrap()).2.u16(), Some(vec![0x0102]));
        for bad in [encode_grey8(2, 2, &[0; 3]), encode_grey8(0, 2, &[]), encode_rgb8(usize::MAX, 2, &[])] {
            assert_eq!(bad.unwrap_err().fault(), crate::error::Fault::Bug);
        }
    }
}
