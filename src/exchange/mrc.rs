//! MRC (electron microscopy's format, 2014), in: a header of 1024 bytes, an extended header, the numbers.
//!
//! ```text
//! word 0…2    columns, rows, sections (i32)          word 3    mode
//! word 23     bytes of the extended header           byte 208  "MAP "    byte 212  44 44 little-endian, 11 11 big
//! mode        0 i8 · 1 i16 · 2 f32 · 6 u16 · 12 f16
//! ```
//!
//! Sections are projections or slices, rows in the order of the file (IMOD draws the first at the bottom). Mode 0 is
//! unsigned where IMOD says so: stamp 1146047817 in word 38 and bit 0 of word 39 clear. Cell sizes are in Å and are left
//! unread: tomography files carry anything there. Source: ccpem.ac.uk MRC2014; bio3d.colorado.edu IMOD MRC.

use super::file::OpenFile;
use super::number::{Kind, Number};
use super::plain::Plain;
use crate::error::{Error, Result};
use crate::provenance::InputFile;
use crate::volume::{Dims, Dtype, Source};
use std::ops::Range;
use std::sync::Arc;

const HEADER: usize = 1024;
/// Where the magic stands.
pub(super) const MAGIC_AT: usize = 208;
/// The magic.
pub(super) const MAGIC: &[u8] = b"MAP ";
/// IMOD's stamp.
const IMOD: u32 = 1_146_047_817;

/// An MRC file as a stack.
pub struct MrcSource {
    array: Plain,
    role: String,
}

impl MrcSource {
    pub(super) fn from_file(file: Arc<OpenFile>, role: &str) -> Result<MrcSource> {
        let path = file.path().to_path_buf();
        let array = open(file).map_err(|e| e.at(path))?;
        Ok(MrcSource { array, role: role.to_string() })
    }
}

fn open(file: Arc<OpenFile>) -> Result<Plain> {
    let head = file.head(HEADER)?;
    if head.len() < HEADER {
        return Err(Error::data(format!("truncated: {} bytes, an MRC header has {HEADER}", head.len())));
    }
    let big_endian = match head[MAGIC_AT + 4] {
        0x44 => false,
        0x11 => true,
        other => return Err(Error::data(format!("an MRC machine stamp of {other:#x}, neither 0x44 nor 0x11"))),
    };
    let word = |i: usize| {
        let bytes = [head[4 * i], head[4 * i + 1], head[4 * i + 2], head[4 * i + 3]];
        if big_endian { i32::from_be_bytes(bytes) } else { i32::from_le_bytes(bytes) }
    };
    let kind = match word(3) {
        0 if word(38) as u32 == IMOD && word(39) & 1 == 0 => Kind::U8,
        0 => Kind::I8,
        1 => Kind::I16,
        2 => Kind::F32,
        6 => Kind::U16,
        12 => Kind::F16,
        mode => {
            return Err(Error::data(format!("MRC mode {mode}")).help("modes 0, 1, 2, 6 and 12 are read: convert it"));
        }
    };
    let extent = |i: usize| {
        usize::try_from(word(i)).ok().filter(|&n| n > 0).ok_or_else(|| Error::data(format!("an extent of {}", word(i))))
    };
    let dims = Dims::new(extent(2)?, extent(1)?, extent(0)?)?;
    let number = Number { kind, big_endian };
    let extended = u64::try_from(word(23)).map_err(|_| Error::data(format!("an extended header of {}", word(23))))?;
    let offset = HEADER as u64 + extended;
    let expected = dims.voxels() as u64 * number.size() as u64 + offset;
    if file.bytes() != expected {
        return Err(Error::data(format!(
            "{} bytes, but {} x {} x {} {} after a header of {offset} make {expected}",
            file.bytes(),
            dims.nx,
            dims.ny,
            dims.nz,
            number.name()
        ))
        .help("copy or save the file again"));
    }
    Ok(Plain { file, offset, dims, number })
}

impl Source for MrcSource {
    fn dims(&self) -> Dims {
        self.array.dims
    }
    fn dtype(&self) -> Dtype {
        self.array.number.dtype()
    }
    fn read(&self, z: Range<usize>, y: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.array.read(z, y, out)
    }
    fn cost(&self, z: Range<usize>, y: Range<usize>) -> u64 {
        (z.len() * y.len() * self.array.dims.nx * self.array.number.size()) as u64
    }
    fn inputs(&self) -> Result<Vec<InputFile>> {
        Ok(vec![self.array.file.input(&self.role)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{IoMode, open_stack, put};
    use crate::testing::Scratch;

    fn header(mode: i32, dims: [i32; 3], extended: i32, big: bool) -> Vec<u8> {
        let mut head = vec![0u8; HEADER];
        let mut set = |i: usize, v: i32| {
            head[4 * i..4 * i + 4].copy_from_slice(&if big { v.to_be_bytes() } else { v.to_le_bytes() });
        };
        (0..3).for_each(|i| set(i, dims[i]));
        set(3, mode);
        set(23, extended);
        head[MAGIC_AT..MAGIC_AT + 4].copy_from_slice(MAGIC);
        head[MAGIC_AT + 4] = if big { 0x11 } else { 0x44 };
        head
    }

    fn read(dir: &Scratch, bytes: &[u8]) -> Result<Vec<f32>> {
        let source = open_stack(&put(dir, "a.mrc", bytes), IoMode::Pread)?;
        let d = source.dims();
        let mut values = vec![0.0; d.voxels()];
        source.read(0..d.nz, 0..d.ny, &mut values)?;
        Ok(values)
    }

    #[test]
    fn every_mode_and_byte_order() {
        let dir = Scratch::new("mrc");
        for big in [false, true] {
            let word = |v: u16| if big { v.to_be_bytes() } else { v.to_le_bytes() };
            let cases: [(i32, Vec<u8>, [f32; 2]); 5] = [
                (0, vec![0xff, 3], [-1.0, 3.0]),
                (1, [word(0xfffe), word(5)].concat(), [-2.0, 5.0]),
                (
                    2,
                    [1.5f32, -3.0].iter().flat_map(|v| if big { v.to_be_bytes() } else { v.to_le_bytes() }).collect(),
                    [1.5, -3.0],
                ),
                (6, [word(65_535), word(7)].concat(), [65_535.0, 7.0]),
                // Half floats 1.5 and −2.
                (12, [word(0x3e00), word(0xc000)].concat(), [1.5, -2.0]),
            ];
            for (mode, data, want) in cases {
                let mut bytes = header(mode, [2, 1, 1], 16, big);
                bytes.resize(HEADER + 16, 9);
                bytes.extend(data);
                assert_eq!(read(&dir, &bytes).unwrap(), want, "mode {mode}");
            }
        }
        let mut unsigned = header(0, [1, 1, 1], 0, false);
        unsigned[152..156].copy_from_slice(&IMOD.to_le_bytes());
        unsigned.push(0xff);
        assert_eq!(read(&dir, &unsigned).unwrap(), [255.0]);
    }

    #[test]
    fn damaged_files_are_refused() {
        let dir = Scratch::new("mrc-bad");
        let good = || {
            let mut bytes = header(2, [2, 2, 2], 0, false);
            bytes.resize(HEADER + 32, 0);
            bytes
        };
        assert!(read(&dir, &good()).is_ok());
        let mut bad: Vec<Vec<u8>> = vec![good()[..1000].to_vec(), good()[..1040].to_vec(), [good(), vec![0]].concat()];
        for (mode, dims, extended) in
            [(3, [2, 2, 2], 0), (2, [0, 2, 2], 0), (2, [-1, 2, 2], 0), (2, [2, 2, 2], -1), (2, [i32::MAX; 3], 0)]
        {
            let mut bytes = header(mode, dims, extended, false);
            bytes.resize(HEADER + 32, 0);
            bad.push(bytes);
        }
        let mut stamp = good();
        stamp[MAGIC_AT + 4] = 0;
        bad.push(stamp);
        for bytes in bad {
            assert_eq!(read(&dir, &bytes).unwrap_err().fault().exit_code(), 65);
        }
    }
}
