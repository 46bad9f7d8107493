//! Files made here by hand, and a few made by tifffile.

use super::write::TiffWriter;
use crate::error::Fault;
use crate::exchange::{IoMode, open_stack, put};
use crate::testing::{self, Scratch};
use crate::units::Micrometre;
use crate::volume::{Dims, Dtype, Sink, Source};
use std::path::Path;

/// Tag, type and value of an entry.
type Field = (u16, u16, u32);

fn read(path: &Path) -> crate::error::Result<Vec<f32>> {
    let source = open_stack(path, IoMode::Pread)?;
    let d = source.dims();
    let mut whole = vec![f32::NAN; d.voxels()];
    source.read(0..d.nz, 0..d.ny, &mut whole)?;
    // Any rows of any image are the same part of the whole.
    for (z, y) in [(0..1, d.ny / 2..d.ny), (d.nz - 1..d.nz, 0..1)] {
        let mut part = vec![f32::NAN; y.len() * d.nx];
        source.read(z.clone(), y.clone(), &mut part)?;
        assert_eq!(part, whole[(z.start * d.ny + y.start) * d.nx..][..part.len()]);
    }
    Ok(whole)
}

/// A classic file of one image: entries (tag, kind, value), the pieces behind one another.
fn file(big_endian: bool, entries: &[Field], pieces: &[Vec<u8>]) -> Vec<u8> {
    let w16 = |v: u16| if big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
    let w32 = |v: u32| if big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
    let (offsets, lengths) = if entries.iter().any(|e| e.0 == 322) { (324, 325) } else { (273, 279) };
    let directory = 2 + 12 * (entries.len() + 2) + 4;
    let tables = 8 + directory;
    let mut place = (tables + 8 * pieces.len()) as u32;
    let places: Vec<u32> = pieces
        .iter()
        .map(|p| {
            place += p.len() as u32;
            place - p.len() as u32
        })
        .collect();
    let mut out = if big_endian { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
    out.extend(w32(8));
    out.extend(w16(entries.len() as u16 + 2));
    let n = pieces.len() as u32;
    let table = |values: &[u32], at: usize| if n == 1 { values[0] } else { at as u32 };
    let sizes: Vec<u32> = pieces.iter().map(|p| p.len() as u32).collect();
    let mut all: Vec<(u16, u16, u32, u32)> = entries.iter().map(|&(t, k, v)| (t, k, 1, v)).collect();
    all.push((offsets, 4, n, table(&places, tables)));
    all.push((lengths, 4, n, table(&sizes, tables + 4 * pieces.len())));
    all.sort();
    for (tag, kind, count, value) in all {
        out.extend(w16(tag));
        out.extend(w16(kind));
        out.extend(w32(count));
        match kind {
            3 => out.extend([w16(value as u16), [0, 0]].concat()),
            _ => out.extend(w32(value)),
        }
    }
    out.extend(w32(0));
    places.iter().chain(&sizes).for_each(|&v| out.extend(w32(v)));
    pieces.iter().for_each(|p| out.extend(p));
    out
}

const GREY_U16: [Field; 4] = [(256, 4, 3), (257, 4, 2), (258, 3, 16), (262, 3, 1)];

fn u16s(values: &[u16], big_endian: bool) -> Vec<u8> {
    values.iter().flat_map(|v| if big_endian { v.to_be_bytes() } else { v.to_le_bytes() }).collect()
}

#[test]
fn strips_and_tiles_in_either_byte_order() {
    let dir = Scratch::new("tiff");
    let want = [1.0, 2.0, 3.0, 400.0, 500.0, 65_535.0];
    for big in [false, true] {
        let rows = [u16s(&[1, 2, 3], big), u16s(&[400, 500, 65_535], big)];
        let one = file(big, &GREY_U16, &[rows.concat()]);
        assert_eq!(read(&put(&dir, "one.tif", &one)).unwrap(), want);
        let strips = [&GREY_U16[..], &[(278, 3, 1)]].concat();
        assert_eq!(read(&put(&dir, "two.tif", &file(big, &strips, &rows))).unwrap(), want);
        // Strips in the other order are no contiguous rows.
        let mut swapped = file(big, &strips, &[rows[1].clone(), rows[0].clone()]);
        let at = swapped.len() - 12 - 16;
        let (a, b) = (swapped[at..at + 4].to_vec(), swapped[at + 4..at + 8].to_vec());
        swapped[at..at + 4].copy_from_slice(&b);
        swapped[at + 4..at + 8].copy_from_slice(&a);
        assert_eq!(read(&put(&dir, "swapped.tif", &swapped)).unwrap(), want);
        let tiles = [&GREY_U16[..], &[(322, 3, 2), (323, 3, 2)]].concat();
        let pieces = [u16s(&[1, 2, 400, 500], big), u16s(&[3, 9, 65_535, 9], big)];
        assert_eq!(read(&put(&dir, "tiles.tif", &file(big, &tiles, &pieces))).unwrap(), want);
        // Predictor 2 under PackBits: literal runs.
        let differences = u16s(&[1, 1, 1, 400, 100, 65_035], big);
        let packed = [vec![differences.len() as u8 - 1], differences].concat();
        let entries = [&GREY_U16[..], &[(259, 3, 32_773), (317, 3, 2)]].concat();
        assert_eq!(read(&put(&dir, "packed.tif", &file(big, &entries, &[packed]))).unwrap(), want);
    }
}

/// Bytes that `tifffile.imwrite(io, image, compression=…, predictor=…)` makes of strips: the images are
/// `(numpy.arange(12) ** 2).reshape(3, 4)` as u16 (LZW, predictor 2) and `numpy.arange(12).reshape(3, 4) / 7` as f32
/// (deflate, predictor 3); the pieces alone.
#[test]
fn what_others_compress_is_read() {
    let dir = Scratch::new("tiff-others");
    let lzw: &[u8] = &LZW_SQUARES;
    let entries = [(256, 4, 4), (257, 4, 3), (258, 3, 16), (259, 3, 5), (262, 3, 1), (317, 3, 2)];
    let want: Vec<f32> = (0..12).map(|i| (i * i) as f32).collect();
    assert_eq!(read(&put(&dir, "lzw.tif", &file(false, &entries, &[lzw.to_vec()]))).unwrap(), want);
    let entries = [(256, 4, 4), (257, 4, 3), (258, 3, 32), (259, 3, 8), (262, 3, 1), (317, 3, 3), (339, 3, 3)];
    let want: Vec<f32> = (0..12).map(|i| i as f32 / 7.0).collect();
    assert_eq!(read(&put(&dir, "deflate.tif", &file(false, &entries, &[DEFLATE_SEVENTHS.to_vec()]))).unwrap(), want);
}

const LZW_SQUARES: [u8; 30] =
    [128, 0, 0, 0, 16, 0, 12, 0, 5, 0, 4, 0, 0, 144, 0, 44, 0, 13, 0, 16, 0, 1, 16, 0, 76, 0, 21, 0, 64, 64];
const DEFLATE_SEVENTHS: [u8; 53] = [
    120, 156, 99, 176, 99, 96, 56, 36, 212, 224, 169, 234, 201, 160, 50, 89, 149, 97, 146, 61, 3, 3, 195, 101, 21, 85,
    213, 147, 147, 38, 77, 86, 245, 244, 244, 4, 241, 131, 133, 132, 132, 27, 128, 108, 70, 21, 85, 21, 0, 28, 75, 11,
    74,
];

#[test]
fn what_is_written_is_read_in_pages() {
    let dir = Scratch::new("tiff-write");
    for (dtype, scale) in [(Dtype::U8, 1.0), (Dtype::U16, 300.0), (Dtype::F32, 0.3)] {
        let dims = Dims::new(3, 5, 7).unwrap();
        let values: Vec<f32> = (0..dims.voxels()).map(|i| i as f32 * scale).collect();
        let path = dir.join(dtype.name());
        let pixel = Some(Micrometre(1.33));
        let mut writer = TiffWriter::create(&path, dims, dtype, pixel, "unit 1/cm", false).unwrap();
        writer.write(&values[..35]).unwrap();
        assert_eq!(writer.next_slice(), 1);
        assert!(!path.exists(), "no name before it is whole");
        writer.write(&values[35..]).unwrap();
        writer.finish().unwrap();
        let source = open_stack(&path, IoMode::Pread).unwrap();
        assert_eq!((source.dims(), source.dtype()), (dims, dtype));
        assert_eq!(read(&path).unwrap(), values);
        assert!(TiffWriter::create(&path, dims, dtype, None, "", false).is_err());
    }
    // What exceeds 4 GiB, in small.
    let dims = Dims::new(3, 5, 7).unwrap();
    let values: Vec<f32> = (0..dims.voxels()).map(|i| i as f32 * 0.3).collect();
    let part = super::super::part::PartFile::create(&dir.join("big"), false, 0).unwrap();
    let mut writer = TiffWriter::start(part, dims, Dtype::F32, Some(Micrometre(1.33)), "big", true).unwrap();
    writer.write(&values).unwrap();
    writer.finish().unwrap();
    assert_eq!(std::fs::read(dir.join("big")).unwrap()[..4], *b"II+\0");
    assert_eq!(read(&dir.join("big")).unwrap(), values);
    let dims = Dims::new(1, 1, 1).unwrap();
    let mut writer = TiffWriter::create(&dir.join("x"), dims, Dtype::U8, None, "", false).unwrap();
    assert!(writer.write(&[0.5]).is_err());
    assert!(writer.finish().is_err());
    assert!(!dir.join("x").exists());
}

#[test]
fn a_folder_is_a_stack_in_the_order_of_its_numbers() {
    let dir = Scratch::new("tiff-folder");
    for (name, value) in [("raw_10.tif", 10), ("raw_2.TIFF", 2), ("dark_1.tif", 99), ("notes.txt", 0)] {
        let image = file(false, &GREY_U16, &[u16s(&[value; 6], false)]);
        put(&dir, name, &image);
    }
    assert_eq!(read(&dir.join("raw_*")).unwrap(), [[2.0; 6], [10.0; 6]].concat());
    assert_eq!(read(dir.path()).unwrap()[..6], [99.0; 6]);
    let inputs = open_stack(&dir.join("raw_*"), IoMode::Pread).unwrap().inputs().unwrap();
    assert_eq!((inputs.len(), inputs[0].name.as_str()), (1, "raw_*"));
    put(&dir, "raw_3.tif", &file(false, &[(256, 4, 2), (257, 4, 2), (258, 3, 16)], &[u16s(&[0; 4], false)]));
    let error = read(&dir.join("raw_*")).unwrap_err();
    assert!(error.to_string().contains("raw_3.tif") && error.what().contains("2 x 2"), "{error}");
    assert_eq!(read(&dir.join("none_*.tif")).unwrap_err().fault(), Fault::Missing);
}

#[test]
fn what_is_not_read_is_named() {
    let dir = Scratch::new("tiff-refused");
    let base = &GREY_U16[..];
    let data = vec![u16s(&[0; 6], false)];
    let cases: [(&[Field], &str); 9] = [
        (&[(277, 3, 3)], "3 samples"),
        (&[(262, 3, 3)], "palette"),
        (&[(266, 3, 2)], "reverse order"),
        (&[(258, 3, 12)], "12 bits"),
        (&[(259, 3, 7)], "JPEG"),
        (&[(259, 3, 50_000)], "Zstandard"),
        (&[(257, 4, 0)], "0 pixels"),
        (&[(257, 4, 3)], "12 bytes, 18 are needed"),
        (&[(256, 4, 0xffff_ffff)], "pixels"),
    ];
    for (change, what) in cases {
        let mut entries: Vec<_> = base.iter().filter(|e| change[0].0 != e.0).copied().collect();
        entries.extend(change);
        let error = read(&put(&dir, "a.tif", &file(false, &entries, &data))).unwrap_err();
        assert_eq!(error.fault(), Fault::Data, "{what}");
        assert!(error.what().contains(what), "{error} for {what}");
    }
    // Small files that would unpack to much.
    let bomb = [(256, 4, 100_000), (257, 4, 100_000), (258, 3, 8), (259, 3, 8)];
    let error = read(&put(&dir, "a.tif", &file(false, &bomb, &[vec![0; 50]]))).unwrap_err();
    assert!(error.what().contains("cannot unpack"), "{error}");
}

/// As Fiji saves an image of 8 bits with a lookup table: indices for labels, and no grey values.
#[test]
fn a_palette_is_read_as_labels_alone() {
    let dir = Scratch::new("tiff-palette");
    let entries = |bits: u32, photometric: u32| [(256, 4, 3), (257, 4, 2), (258, 3, bits), (262, 3, photometric)];
    let indices = vec![0u8, 1, 2, 3, 0, 255];
    // Whoever opens it does not look at the colours, which are tag 320 and missing here.
    let path = put(&dir, "palette_1.tif", &file(false, &entries(8, 3), std::slice::from_ref(&indices)));
    let labels = super::TiffStack::open_labels(&path, "stack").unwrap();
    let mut values = vec![f32::NAN; 6];
    labels.read(0..1, 0..2, &mut values).unwrap();
    assert_eq!((values, labels.dtype()), (vec![0.0, 1.0, 2.0, 3.0, 0.0, 255.0], Dtype::U8));
    assert!(crate::exchange::open_labels(&dir.join("palette_*.tif"), IoMode::Pread).is_ok());
    let error = read(&path).unwrap_err();
    assert!(error.what().contains("palette") && error.fault() == Fault::Data, "{error}");
    assert!(read(&dir.join("palette_*.tif")).unwrap_err().what().contains("palette"));
    for (bits, photometric) in [(16, 3), (8, 2), (8, 6)] {
        let path = put(&dir, "other.tif", &file(false, &entries(bits, photometric), &[[&indices[..]; 2].concat()]));
        assert!(crate::exchange::open_labels(&path, IoMode::Pread).err().unwrap().what().contains("not grey"));
    }
}

/// Every truncation and every damaged byte of a small file: an error or an image, in no time and no memory.
#[test]
fn damage_is_harmless() {
    let dir = Scratch::new("tiff-damage");
    let strips = [&GREY_U16[..], &[(278, 3, 1)]].concat();
    let tiff = file(false, &strips, &[u16s(&[1, 2, 3], false), u16s(&[4, 5, 6], false)]);
    for cut in 0..tiff.len() {
        let got = read(&put(&dir, "cut.tif", &tiff[..cut]));
        assert!(got.is_err_and(|e| e.fault() == Fault::Data), "cut at {cut}");
    }
    for at in 0..tiff.len() {
        for byte in [0, 0xff, tiff[at] ^ 1] {
            let mut damaged = tiff.clone();
            damaged[at] = byte;
            if let Err(error) = read(&put(&dir, "bad.tif", &damaged)) {
                assert_eq!(error.fault(), Fault::Data, "byte {at} = {byte}: {error}");
            }
        }
    }
    // A directory that follows itself.
    let mut circle = tiff.clone();
    let end = 8 + 2 + 12 * 7;
    circle[end..end + 4].copy_from_slice(&8u32.to_le_bytes());
    assert!(read(&put(&dir, "circle.tif", &circle)).unwrap_err().what().contains("circle"));
}

#[test]
fn a_measured_scan_of_tiff_files() {
    let Some(folder) = testing::data("savu/image_test") else { return };
    let scan = open_stack(&folder.join("tiffs"), IoMode::Pread).unwrap();
    let d = scan.dims();
    assert_eq!(([d.nz, d.ny, d.nx], scan.dtype()), ([91, 135, 160], Dtype::U16));
    let flat = open_stack(&folder.join("flat_00001.tiff"), IoMode::Pread).unwrap();
    assert_eq!((flat.dims().nz, flat.dims().ny, flat.dtype()), (1, 135, Dtype::F32));
    assert!(scan.cost(0..91, 0..16) == 91 * 16 * 160 * 2);
}
