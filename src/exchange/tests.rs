use super::*;
use crate::error::Fault;
use crate::testing::{self, Scratch};
use crate::volume::Dims;

fn scan_error(path: &Path) -> Error {
    open_scan(path, IoMode::Pread).err().unwrap_or_else(|| panic!("{} was read", path.display()))
}

#[test]
fn the_first_bytes_decide_not_the_name() {
    let dir = Scratch::new("sniff");
    let npy = npy::bytes_of("<f4", "(2, 1, 3)", &[0; 24]);
    let scan = open_scan(&put(&dir, "scan.h5", &npy), IoMode::Mmap).unwrap();
    assert_eq!(scan.projections.dims(), Dims::new(2, 1, 3).unwrap());
    assert_eq!(scan.projections.inputs().unwrap()[0].role, "projections");
    assert!(scan.flats.is_none() && scan.darks.is_none() && scan.theta.is_none() && scan.pixel.is_none());
    assert_eq!(open_stack(&put(&dir, "b", &npy), IoMode::Pread).unwrap().dims().nx, 3);
    let wide = npy::bytes_of("<f8", "(2, 1, 3)", &[0; 48]);
    assert_eq!(open_scan(&put(&dir, "c", &wide), IoMode::Pread).unwrap().notes.len(), 1);
}

#[test]
fn other_formats_are_named_and_nothing_is_guessed() {
    let dir = Scratch::new("sniff-bad");
    let table: [(&[u8], &str); 7] = [
        (b"II*\0 and so on", "truncated"),
        (b"MM\0*", "truncated"),
        (b"PK\x03\x04", "zip"),
        (b"\x1f\x8b", "gzip"),
        (b"\xd0\xcf\x11\xe0", "OLE"),
        (b"", "not a format"),
        (&[0; 5000], "not a format"),
    ];
    for (bytes, what) in table {
        let path = put(&dir, "a.npy", bytes);
        for e in [scan_error(&path), open_stack(&path, IoMode::Pread).err().unwrap()] {
            assert_eq!((e.fault(), e.path()), (Fault::Data, Some(&*path)));
            assert!(e.what().contains(what) && e.advice().is_some(), "{e}");
        }
    }
    assert_eq!(scan_error(&dir.join("none")).fault(), Fault::Missing);
    assert_eq!(scan_error(dir.path()).fault(), Fault::Missing);
    // Behind a user block, at byte 512 or 1024, an HDF5 file is still one.
    for place in [512, 1024] {
        let path = put(&dir, "user-block", &[&vec![1; place], HDF5_SIGNATURE].concat());
        let file = OpenFile::open(&path).unwrap();
        assert_eq!(Format::of(&file).unwrap(), Format::Hdf5);
    }
    let path = put(&dir, "b.h5", HDF5_SIGNATURE);
    assert_eq!(open_stack(&path, IoMode::Pread).err().unwrap().fault(), Fault::Data);
    let expected = if cfg!(feature = "hdf5") { Fault::Data } else { Fault::Device };
    assert_eq!(scan_error(&path).fault(), expected);
}

#[test]
fn native_volumes_are_scans_whichever_of_their_files_is_named() {
    let dir = Scratch::new("native");
    let text = "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n\
                DimSize = 3 1 2\nElementType = MET_USHORT\nDistanceUnits = um\nElementSpacing = 1.3 1.3 1.3\n\
                ElementDataFile = a.raw\n";
    let header = put(&dir, "a.mhd", text.as_bytes());
    // The first bytes of these counts are gzip's: a .raw has no magic, so they are not looked at.
    let raw = put(&dir, "a.raw", &[0x1f, 0x8b, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]);
    for path in [&header, &raw] {
        for io in [IoMode::Mmap, IoMode::Pread] {
            let scan = open_scan(path, io).unwrap();
            assert_eq!(scan.pixel, Some(crate::units::Micrometre(1.3)));
            let mut out = [0f32; 6];
            scan.projections.read(0..2, 0..1, &mut out).unwrap();
            assert_eq!(out, [35615.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
            assert_eq!(open_stack(path, io).unwrap().dims(), Dims::new(2, 1, 3).unwrap());
        }
    }
    let lonely = put(&dir, "b.raw", &[0; 12]);
    assert_eq!(scan_error(&lonely).fault(), Fault::Missing);
    assert_eq!(scan_error(&put(&dir, "c.mhd", b"")).fault(), Fault::Data);
}

#[test]
fn files_of_other_programs_are_read() {
    if let Some(dir) = testing::data("tomopy-fixtures") {
        let dims = |name: &str| open_stack(&dir.join(name), IoMode::Pread).unwrap().dims();
        assert_eq!(dims("proj.npy"), Dims::new(16, 8, 48).unwrap());
        assert_eq!(dims("gridrec_shepp.npy"), Dims::new(8, 48, 48).unwrap());
        let angles = open_vector(&dir.join("angle.npy")).unwrap();
        assert_eq!(angles.len(), 16);
        assert!(angles.iter().all(|a| (0.0..=std::f64::consts::PI).contains(a)), "{angles:?}");
        assert!(open_vector(&dir.join("proj.npy")).unwrap_err().what().contains("[16, 8, 48]"));
    }
    if let Some(path) = testing::data("savu/image_test/angles.txt") {
        let angles = open_vector(&path).unwrap();
        // Ten flats and darks at each end repeat the end's angle.
        assert_eq!((angles.len(), angles[0], angles[9]), (111, angles[9], angles[0]));
        assert!((angles[110] - angles[0] - 180.0).abs() < 0.01, "{} to {}", angles[0], angles[110]);
    }
    if let Some(path) = testing::data("savu/image_test/flat_00001.tiff") {
        assert_eq!(open_scan(&path, IoMode::Pread).unwrap().projections.dims().ny, 135);
    }
}
