//! Compressed strips and tiles: LZW, deflate, PackBits, and the predictors.

use crate::error::{Error, Result};
use crate::exchange::number::{Kind, Number};

/// How a piece is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    method: Method,
    predictor: Predictor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Plain,
    Lzw,
    Deflate,
    PackBits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Predictor {
    None,
    /// Each number less the one on its left.
    Horizontal,
    /// The bytes of a row's numbers plane by plane, most significant first, each less the one before.
    Float,
}

impl Packing {
    /// Of the tags Compression and Predictor.
    pub fn of(compression: u64, predictor: u64, number: Number) -> Result<Packing> {
        let method = match compression {
            1 => Method::Plain,
            5 => Method::Lzw,
            8 | 32946 => Method::Deflate,
            32773 => Method::PackBits,
            other => {
                let name = match other {
                    2..=4 => "fax",
                    6 | 7 => "JPEG",
                    33003 | 33005 | 34712 => "JPEG 2000",
                    34925 => "LZMA",
                    50000 => "Zstandard",
                    34887 => "LERC",
                    _ => "unknown",
                };
                return Err(Error::data(format!("compressed by method {other} ({name})"))
                    .help("save it uncompressed, or with LZW or deflate"));
            }
        };
        let floats = matches!(number.kind, Kind::F16 | Kind::F32 | Kind::F64);
        let predictor = match predictor {
            1 => Predictor::None,
            _ if method == Method::Plain => Predictor::None,
            2 if !floats => Predictor::Horizontal,
            3 if floats => Predictor::Float,
            other => return Err(Error::data(format!("predictor {other} on {} numbers", number.name()))),
        };
        Ok(Packing { method, predictor })
    }

    /// Whether the bytes are the numbers.
    pub fn is_plain(self) -> bool {
        self.method == Method::Plain
    }

    /// Whether `stored` bytes can unpack to `unpacked`: each method has a highest ratio (deflate 1032, LZW a string of
    /// 4096 bytes in 12 bits, PackBits 128 bytes in 2).
    pub fn can_hold(self, stored: u64, unpacked: u64) -> bool {
        let ratio = match self.method {
            Method::Plain => 1,
            Method::Deflate => 1032,
            Method::Lzw => 2731,
            Method::PackBits => 64,
        };
        unpacked <= stored.saturating_mul(ratio)
    }

    /// Unpacks a piece to `unpacked` bytes, in rows of `width` numbers.
    pub fn unpack(self, stored: &[u8], unpacked: usize, width: usize, number: Number) -> Result<Vec<u8>> {
        let mut bytes = match self.method {
            Method::Plain => stored[..unpacked.min(stored.len())].to_vec(),
            Method::Deflate => {
                miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(stored, unpacked).or_else(|e| {
                    match e.status {
                        // More than a piece holds: the rest is none of the image.
                        miniz_oxide::inflate::TINFLStatus::HasMoreOutput => Ok(e.output),
                        _ => Err(Error::data("a damaged deflate stream")),
                    }
                })?
            }
            Method::Lzw => lzw(stored, unpacked)?,
            Method::PackBits => pack_bits(stored, unpacked)?,
        };
        if bytes.len() < unpacked {
            return Err(Error::data(format!("a piece unpacks to {} bytes, not {unpacked}", bytes.len())));
        }
        bytes.truncate(unpacked);
        let size = number.size();
        for row in bytes.chunks_exact_mut(width * size) {
            match self.predictor {
                Predictor::None => {}
                Predictor::Horizontal => accumulate(row, size, number.big_endian),
                Predictor::Float => unshuffle(row, size, number.big_endian),
            }
        }
        Ok(bytes)
    }
}

/// Undoes [`Predictor::Horizontal`].
fn accumulate(row: &mut [u8], size: usize, big_endian: bool) {
    let value = |bytes: &[u8]| -> u64 {
        match big_endian {
            true => bytes.iter().fold(0, |v, &b| v << 8 | u64::from(b)),
            false => bytes.iter().rev().fold(0, |v, &b| v << 8 | u64::from(b)),
        }
    };
    let mut sum = 0u64;
    for bytes in row.chunks_exact_mut(size) {
        sum = sum.wrapping_add(value(bytes));
        match big_endian {
            true => bytes.copy_from_slice(&sum.to_be_bytes()[8 - size..]),
            false => bytes.copy_from_slice(&sum.to_le_bytes()[..size]),
        }
    }
}

/// Undoes [`Predictor::Float`].
fn unshuffle(row: &mut [u8], size: usize, big_endian: bool) {
    for i in 1..row.len() {
        row[i] = row[i].wrapping_add(row[i - 1]);
    }
    let planes = row.to_vec();
    let count = row.len() / size;
    for (i, bytes) in row.chunks_exact_mut(size).enumerate() {
        for (b, byte) in bytes.iter_mut().enumerate() {
            let plane = if big_endian { b } else { size - 1 - b };
            *byte = planes[plane * count + i];
        }
    }
}

/// TIFF's LZW: codes of 9 to 12 bits, most significant bit first, widened one code early.
fn lzw(stored: &[u8], limit: usize) -> Result<Vec<u8>> {
    const CLEAR: usize = 256;
    const END: usize = 257;
    const MOST: usize = 4096;
    let damaged = || Error::data("a damaged LZW stream");
    let mut out: Vec<u8> = Vec::with_capacity(limit.min(1 << 26));
    // Every code is a piece of what is out already: its begin and length.
    let mut strings: Vec<(usize, usize)> = Vec::with_capacity(MOST);
    let (mut bits, mut held, mut width) = (0u32, 0u32, 9u32);
    let mut last: Option<(usize, usize)> = None;
    let mut input = stored.iter();
    while out.len() < limit {
        while held < width {
            let Some(&byte) = input.next() else { return Ok(out) };
            bits = bits << 8 | u32::from(byte);
            held += 8;
        }
        held -= width;
        let code = (bits >> held) as usize & ((1 << width) - 1);
        match code {
            CLEAR => {
                strings.clear();
                (width, last) = (9, None);
                continue;
            }
            END => return Ok(out),
            _ => {}
        }
        let begin = out.len();
        match (code, last) {
            (0..=255, _) => out.push(code as u8),
            (_, None) => return Err(damaged()),
            (_, Some((from, length))) => {
                let known = strings.get(code - END - 1).copied();
                // The code that is being defined: the last string and its first byte.
                let (from, length) = match known {
                    Some(string) => string,
                    None if code - END - 1 == strings.len() => (from, length + 1),
                    None => return Err(damaged()),
                };
                for i in 0..length {
                    let byte = out[from + i];
                    out.push(byte);
                }
            }
        }
        let length = out.len() - begin;
        if let Some((from, length)) = last.filter(|_| strings.len() + END + 1 < MOST) {
            strings.push((from, length + 1));
        }
        last = Some((begin, length));
        // One code early: with the codes to 510 known, the next one is of 10 bits.
        width = match strings.len() + END + 1 {
            0..=510 => 9,
            511..=1022 => 10,
            1023..=2046 => 11,
            _ => 12,
        };
    }
    out.truncate(limit);
    Ok(out)
}

/// Runs and literals.
fn pack_bits(stored: &[u8], limit: usize) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(limit.min(1 << 26));
    let mut at = 0;
    while out.len() < limit && at < stored.len() {
        let n = stored[at] as i8;
        at += 1;
        match n {
            0.. => {
                let end = (at + n as usize + 1).min(stored.len());
                out.extend_from_slice(&stored[at..end]);
                at = end;
            }
            -128 => {}
            _ => {
                let Some(&byte) = stored.get(at) else { return Err(Error::data("a damaged PackBits stream")) };
                out.resize(out.len() + 1 + n.unsigned_abs() as usize, byte);
                at += 1;
            }
        }
    }
    out.truncate(limit);
    Ok(out)
}
