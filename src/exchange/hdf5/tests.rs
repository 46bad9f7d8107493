use super::fixture::{Data, Fate, Node, exchange, file, file_behind, float, integer};
use super::*;
use crate::error::Fault;
use crate::exchange::{IoMode, open_scan, put};
use crate::testing::{self, Scratch};
use std::path::Path;

fn open(path: &Path) -> Result<Scan> {
    open_scan(path, IoMode::Pread)
}

fn refused(path: &Path) -> Error {
    open(path).err().unwrap_or_else(|| panic!("{} was read", path.display()))
}

fn whole(source: &dyn Source) -> Vec<f32> {
    let d = source.dims();
    let mut out = vec![f32::NAN; d.voxels()];
    source.read(0..d.nz, 0..d.ny, &mut out).unwrap();
    out
}

/// Any block is what the whole array has there.
fn assert_blocks(source: &dyn Source, all: &[f32]) {
    let Dims { nz, ny, nx } = source.dims();
    let cuts = |n: usize| [0..n, 0..1, n - 1..n, n / 3..n, 0..n.div_ceil(2), n / 2..n / 2];
    for z in cuts(nz) {
        for y in cuts(ny) {
            let mut block = vec![f32::NAN; z.len() * y.len() * nx];
            source.read(z.clone(), y.clone(), &mut block).unwrap();
            let expected = z.clone().flat_map(|z| all[(z * ny + y.start) * nx..(z * ny + y.end) * nx].iter().copied());
            assert!(block.iter().map(|v| v.to_bits()).eq(expected.map(f32::to_bits)), "z {z:?}, y {y:?}");
        }
    }
}

/// u16 numbers of a small scan, all different.
fn counts(n: usize) -> Vec<u16> {
    (0..n as u16).map(|i| i.wrapping_mul(40503)).collect()
}

fn u16_data(shape: &[u64], big_endian: bool) -> Data {
    let values = counts(shape.iter().product::<u64>() as usize);
    let bytes = values.iter().flat_map(|v| if big_endian { v.to_be_bytes() } else { v.to_le_bytes() });
    Data::new(shape, integer(2, false, big_endian, 16), bytes.collect())
}

fn written(_: usize) -> Fate {
    Fate::Written
}

#[test]
fn the_real_scan_is_read() {
    let Some(path) = testing::data("tooth.h5") else { return };
    let scan = open(&path).unwrap();
    assert_eq!(scan.projections.dims(), Dims::new(181, 2, 640).unwrap());
    assert_eq!(scan.projections.dtype(), Dtype::F32);
    let all = whole(&*scan.projections);
    assert_blocks(&*scan.projections, &all);
    // Another reader of the same bytes.
    let other = hdf5_reader::Hdf5File::open(&path).unwrap().dataset("/exchange/data").unwrap();
    assert!(other.read_array::<f32>().unwrap().iter().map(|v| v.to_bits()).eq(all.iter().map(|v| v.to_bits())));
    for images in [scan.flats.unwrap(), scan.darks.unwrap()] {
        assert_eq!(images.dims(), Dims::new(10, 2, 640).unwrap());
        assert!(whole(&*images).iter().all(|v| v.is_finite()));
    }
    let theta = scan.theta.unwrap();
    assert_eq!(
        (theta.values.len(), theta.unit, theta.origin.as_str()),
        (181, Some(AngleUnit::Degree), "exchange/theta")
    );
    assert_eq!(theta.values[0], 0.0);
    assert!((theta.values[180] - 179.0055).abs() < 1e-3, "{}", theta.values[180]);
    assert_eq!(scan.pixel, None);
    let input = &scan.projections.inputs().unwrap()[0];
    assert!(input.digest.hex().starts_with("ab1d9bd0"), "{}", input.digest);
    assert_eq!((input.role.as_str(), input.bytes), ("projections", 1_043_312));
}

#[test]
fn other_real_files_are_named() {
    if let Some(path) = testing::data("savu/24888.nxs") {
        let e = refused(&path);
        // The images lie on a beamline's disk.
        assert_eq!(e.fault(), Fault::Missing);
        assert!(e.what().contains("tomo_entry") && e.what().contains("pco1-24888.hdf"), "{e}");
        assert!(e.advice().unwrap().contains("beside this one"), "{e}");
    }
    if let Some(path) = testing::data("savu/pc2_projections.hdf") {
        let e = refused(&path);
        assert!(e.what().contains("neither Data Exchange nor NXtomo") && e.what().contains("entry/"), "{e}");
    }
}

#[test]
fn chunks_of_any_shape_hold_the_same_scan() {
    let dir = Scratch::new("h5-chunks");
    let shape = [5u64, 7, 9];
    let expected: Vec<f32> = counts(5 * 7 * 9).into_iter().map(f32::from).collect();
    let open_data = |data: Data| {
        let path = put(&dir, "a.h5", &exchange(vec![("data", data.node())]));
        open(&path).unwrap().projections
    };
    for big_endian in [false, true] {
        let contiguous = open_data(u16_data(&shape, big_endian));
        assert_eq!((contiguous.dims(), contiguous.dtype()), (Dims::new(5, 7, 9).unwrap(), Dtype::U16));
        assert_eq!(whole(&*contiguous), expected);
        assert_blocks(&*contiguous, &expected);
        for chunk in [[1, 7, 9], [2, 3, 4], [5, 1, 9], [1, 1, 1], [8, 8, 16], [1, 3, 9], [3, 7, 2]] {
            for filters in [false, true] {
                let chunked = open_data(u16_data(&shape, big_endian).chunked(&chunk, filters, written));
                assert_eq!(whole(&*chunked), expected, "{chunk:?} {filters}");
                assert_blocks(&*chunked, &expected);
            }
        }
    }
    // Writers leave chunks that do not shrink as they are, and say so in the mask.
    let some = |i: usize| if i.is_multiple_of(2) { Fate::Unfiltered } else { Fate::Written };
    assert_eq!(whole(&*open_data(u16_data(&shape, false).chunked(&[2, 3, 4], true, some))), expected);
    // Addresses count from the superblock, which a user block moves.
    let data = u16_data(&shape, false).chunked(&[2, 3, 4], true, written);
    let bytes = file_behind(1024, vec![("exchange", Node::Group(vec![("data", data.node())]))]);
    assert_eq!(whole(&*open(&put(&dir, "b.h5", &bytes)).unwrap().projections), expected);
}

#[test]
fn only_the_chunks_of_a_block_are_read() {
    let dir = Scratch::new("h5-only");
    let damaged = |i: usize| if i == 3 { Fate::Damaged } else { Fate::Written };
    let data = u16_data(&[5, 4, 6], false).chunked(&[1, 4, 6], true, damaged);
    let projections = open(&put(&dir, "a.h5", &exchange(vec![("data", data.node())]))).unwrap().projections;
    projections.read(0..3, 0..4, &mut [0.0; 72]).unwrap();
    projections.read(4..5, 0..4, &mut [0.0; 24]).unwrap();
    let e = projections.read(0..5, 1..2, &mut [0.0; 30]).unwrap_err();
    assert_eq!(e.fault(), Fault::Data);
    // Contiguous data after the first image are cut off behind the reader's back.
    let bytes = file(vec![("exchange", Node::Group(vec![("data", u16_data(&[5, 4, 6], false).node())]))]);
    let path = put(&dir, "b.h5", &bytes);
    let projections = open(&path).unwrap().projections;
    put(&dir, "b.h5", &bytes[..48 + 60]);
    projections.read(0..1, 0..4, &mut [0.0; 24]).unwrap();
    assert_eq!(projections.read(0..5, 0..1, &mut [0.0; 30]).unwrap_err().fault(), Fault::Io);
}

#[test]
fn what_was_never_written_is_not_zero() {
    let dir = Scratch::new("h5-missing");
    let data = || u16_data(&[5, 4, 6], false);
    let some = |i: usize| if i == 2 || i == 4 { Fate::Missing } else { Fate::Written };
    let table = [
        (data().never_written(), "never written"),
        (data().chunked_never_written(&[1, 4, 6]), "never written"),
        (
            data().chunked(&[1, 4, 6], false, some),
            "2 of its 5 chunks were never written; the first of them begins at image 2",
        ),
        (data().chunked(&[1, 4, 6], true, some), "2 of its 5 chunks"),
        (data().chunked(&[1, 4, 6], false, |_| Fate::Missing), "5 of its 5 chunks"),
        (data().chunked(&[1, 4, 6], true, |i| if i == 1 { Fate::Twice } else { Fate::Written }), "twice"),
    ];
    for (data, why) in table {
        let e = refused(&put(&dir, "a.h5", &exchange(vec![("data", data.node())])));
        assert_eq!(e.fault(), Fault::Data);
        assert!(e.what().contains(why) && e.what().contains("exchange/data") && e.advice().is_some(), "{why}: {e}");
    }
}

#[test]
fn every_number_is_read_and_odd_ones_are_refused() {
    let dir = Scratch::new("h5-numbers");
    let with = |dtype: Vec<u8>, bytes: Vec<u8>| {
        let data = Data::new(&[1, 1, 2], dtype, bytes);
        open(&put(&dir, "a.h5", &exchange(vec![("data", data.node())])))
    };
    let good = [
        (integer(1, false, false, 8), vec![1, 255], [1.0, 255.0], Dtype::U8),
        (integer(2, true, true, 16), vec![0xff, 0xfe, 1, 2], [-2.0, 258.0], Dtype::F32),
        (integer(4, true, false, 32), vec![1, 0, 0, 0, 255, 255, 255, 255], [1.0, -1.0], Dtype::F32),
        (float(2, false), vec![0, 0x3c, 0, 0xc0], [1.0, -2.0], Dtype::F32),
        (float(8, true), [0.1f64.to_be_bytes(), 2f64.to_be_bytes()].concat(), [0.1, 2.0], Dtype::F32),
    ];
    for (dtype, bytes, values, kind) in good {
        let scan = with(dtype, bytes).unwrap();
        assert_eq!((whole(&*scan.projections).as_slice(), scan.projections.dtype()), (&values[..], kind));
    }
    let wide = with(float(8, false), vec![0; 16]).unwrap();
    assert!(wide.notes.iter().any(|n| n.contains("exchange/data is stored as f64")), "{:?}", wide.notes);
    let mut other_bias = float(4, false);
    other_bias[16] = 128;
    let mut vax = float(4, false);
    vax[1] |= 1 << 6;
    for (dtype, size, why) in [
        (integer(2, false, false, 12), 4, "unused bits"),
        (other_bias, 8, "unusual float"),
        (vax, 8, "unusual float"),
        (integer(3, false, false, 24), 6, "3 bytes"),
    ] {
        let e = with(dtype, vec![0; size]).err().unwrap();
        assert!(e.fault() == Fault::Data && e.what().contains(why), "{e}");
    }
    let text = exchange(vec![("data", Data::text("no numbers").node())]);
    assert!(refused(&put(&dir, "a.h5", &text)).what().contains("axes"));
}

#[test]
fn links_are_followed_inside_the_folder_and_nowhere_else() {
    let dir = Scratch::new("h5-links");
    let inner = dir.join("scan");
    std::fs::create_dir(&inner).unwrap();
    let place = |name: &str, bytes: &[u8]| {
        let path = inner.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let images = file(vec![("raw", u16_data(&[2, 1, 3], false).node()), ("again", Node::External("a.h5", "/deep"))]);
    place("images.h5", &images);
    put(&dir, "up.h5", &images);
    std::os::unix::fs::symlink(dir.join("up.h5"), inner.join("way_out.h5")).unwrap();
    let open_with = |target: &'static str, path: &'static str| {
        open(&place("a.h5", &exchange(vec![("data", Node::External(target, path))])))
    };
    // Beside the file, and by an absolute path whose folder is elsewhere, by its last name.
    for target in ["images.h5", "./images.h5", "/dls/i13/data/2014/raw/images.h5"] {
        let scan = open_with(target, "/raw").unwrap();
        assert_eq!(scan.projections.dims().nx, 3);
        let input = &scan.projections.inputs().unwrap()[0];
        assert_eq!((input.name.as_str(), input.role.as_str()), ("images.h5", "projections"));
    }
    for target in ["/etc/passwd", "../up.h5", "../../etc/passwd", "../gone.h5", "way_out.h5"] {
        let e = open_with(target, "/raw").err().unwrap();
        assert_eq!(e.fault(), Fault::Policy, "{e}");
        assert!(e.what().contains(target) && e.what().contains("outside"), "{e}");
    }
    for target in ["gone.h5", "/dls/i13/data/raw/gone.h5"] {
        let e = open_with(target, "/raw").err().unwrap();
        assert_eq!(e.fault(), Fault::Missing, "{e}");
        assert!(e.what().contains(target) && e.advice().unwrap().contains("beside"), "{e}");
    }
    // A path that is not in the other file, a file that is no HDF5, links that go in a circle.
    assert!(open_with("images.h5", "/nothing").is_err());
    place("text.h5", b"hello");
    assert_eq!(open_with("text.h5", "/raw").err().unwrap().fault(), Fault::Data);
    let circle = file(vec![("exchange", Node::Group(vec![("data", Node::External("b.h5", "/exchange/data"))]))]);
    place("a.h5", &circle);
    let back = file(vec![("exchange", Node::Group(vec![("data", Node::External("a.h5", "/exchange/data"))]))]);
    place("b.h5", &back);
    let e = refused(&inner.join("a.h5"));
    assert!(e.fault() == Fault::Data && (e.what().contains("circle") || e.what().contains("cycle")), "{e}");
    let soft = file(vec![
        ("raw", u16_data(&[2, 1, 3], false).node()),
        ("exchange", Node::Group(vec![("data", Node::Soft("/raw"))])),
    ]);
    assert_eq!(open(&put(&dir, "a.h5", &soft)).unwrap().projections.dims().nx, 3);
    let circle = exchange(vec![("data", Node::Soft("/exchange/data"))]);
    assert_eq!(refused(&put(&dir, "a.h5", &circle)).fault(), Fault::Data);
}

/// An NXtomo file of seven frames of one pixel, whose value is their number.
fn nxtomo(keys: &[f64], angles: usize, frames: u64) -> Vec<u8> {
    let frame = Data::f32s(&[frames, 1, 1], (0..frames).map(|i| i as f32)).node();
    let detector = vec![
        ("data", frame),
        ("image_key", Data::f64s(&[keys.len() as u64], keys.iter().copied()).node()),
        ("x_pixel_size", Data::f64s(&[1], [1.25e-6]).attribute("units", "m").node()),
    ];
    let angle = Data::f64s(&[angles as u64], (0..angles).map(|i| 10.0 * i as f64)).attribute("units", "deg");
    file(vec![(
        "entry1",
        Node::Group(vec![(
            "tomo_entry",
            Node::Group(vec![
                ("definition", Data::text("NXtomo").node()),
                ("instrument", Node::Group(vec![("detector", Node::Group(detector))])),
                ("sample", Node::Group(vec![("rotation_angle", angle.node())])),
            ]),
        )]),
    )])
}

#[test]
fn nxtomo_frames_are_told_apart_by_their_keys() {
    let dir = Scratch::new("h5-nx");
    let scan = open(&put(&dir, "a.nxs", &nxtomo(&[1.0, 2.0, 0.0, 3.0, 0.0, 0.0, 1.0], 7, 7))).unwrap();
    let all = |source: &dyn Source| {
        let d = source.dims();
        let mut values = vec![f32::NAN; d.voxels()];
        source.read(0..d.nz, 0..1, &mut values).unwrap();
        values
    };
    assert_eq!(all(&*scan.projections), [2.0, 4.0, 5.0]);
    assert_eq!(all(&**scan.flats.as_ref().unwrap()), [0.0, 6.0]);
    assert_eq!(all(&**scan.darks.as_ref().unwrap()), [1.0]);
    assert_eq!(scan.flat_positions, Some(vec![0.0, 3.0]));
    let theta = scan.theta.unwrap();
    assert_eq!((theta.values, theta.unit), (vec![20.0, 40.0, 50.0], Some(AngleUnit::Degree)));
    assert!((scan.pixel.unwrap().0 - 1.25).abs() < 1e-12);
    assert_eq!(scan.flats.unwrap().inputs().unwrap()[0].role, "flats");
    let mut middle = [0.0];
    scan.projections.read(1..2, 0..1, &mut middle).unwrap();
    assert_eq!((middle, scan.projections.cost(0..3, 0..1)), ([4.0], 12));
    for (keys, angles, frames, what) in [
        (&[0.0; 6][..], 7, 7, "6 keys for 7 frames"),
        (&[0.0; 7], 5, 7, "5 angles for 7 frames"),
        (&[0.0, 4.0, 0.0], 3, 3, "is 4 for frame 1"),
        (&[0.0, f64::NAN, 0.0], 3, 3, "is NaN for frame 1"),
        (&[1.0, 2.0, 3.0], 3, 3, "no frame is a projection"),
    ] {
        let e = refused(&put(&dir, "b.nxs", &nxtomo(keys, angles, frames)));
        assert!(e.fault() == Fault::Data && e.what().contains(what), "{e}");
    }
}

#[test]
fn one_stack_is_named_by_its_path_in_the_file() {
    let dir = Scratch::new("h5-inside");
    let path = put(&dir, "a.h5", &exchange(vec![("data", u16_data(&[2, 1, 3], false).node())]));
    let name = |inner: &str| std::path::PathBuf::from(format!("{}:{inner}", path.display()));
    let stack = crate::exchange::open_stack(&name("/exchange/data"), IoMode::Pread).unwrap();
    assert_eq!((stack.dims().nz, stack.dims().nx), (2, 3));
    let e = crate::exchange::open_stack(&name("/exchange/none"), IoMode::Pread).err().unwrap();
    assert!(e.fault() == Fault::Data && e.what().contains("exchange/none"), "{e}");
}

#[test]
fn shapes_that_disagree_are_refused_and_odd_ones_understood() {
    let dir = Scratch::new("h5-shapes");
    let data = || ("data", u16_data(&[4, 2, 3], false).node());
    let with = |name, other: Data| open(&put(&dir, "a.h5", &exchange(vec![data(), (name, other.node())])));
    let scan = with("data_white", u16_data(&[2, 3], false)).unwrap();
    assert_eq!(scan.flats.unwrap().dims(), Dims::new(1, 2, 3).unwrap());
    assert!(scan.darks.is_none() && scan.notes.iter().any(|n| n.contains("data_dark")), "{:?}", scan.notes);
    let scan = with("data_white", u16_data(&[0, 2, 3], false)).unwrap();
    assert!(scan.flats.is_none() && scan.notes.iter().any(|n| n.contains("data_white is empty")));
    for shape in [&[2u64, 3, 3][..], &[2, 2, 4], &[6], &[1, 1, 2, 3]] {
        let e = with("data_white", u16_data(shape, false)).err().unwrap();
        assert!(e.what().contains("data_white"), "{e}");
    }
    let e = with("theta", Data::f64s(&[2, 2], [0.0; 4])).err().unwrap();
    assert!(e.what().contains("theta has the shape [2, 2]"), "{e}");
    assert_eq!(with("theta", Data::f64s(&[4, 1], [0.0; 4])).unwrap().theta.unwrap().values.len(), 4);
    let turned = u16_data(&[4, 2, 3], false).attribute("axes", "y:theta:x");
    let e = refused(&put(&dir, "a.h5", &exchange(vec![("data", turned.node())])));
    assert!(e.what().contains("'y:theta:x'"), "{e}");
    for shape in [&[4u64, 6][..], &[0, 2, 3], &[1, 1, 2, 3]] {
        assert_eq!(
            refused(&put(&dir, "a.h5", &exchange(vec![("data", u16_data(shape, false).node())]))).fault(),
            Fault::Data
        );
    }
}

#[test]
fn the_unit_of_the_angles_is_what_the_file_says() {
    let dir = Scratch::new("h5-theta");
    let degree = Some(AngleUnit::Degree);
    let table = [
        (Some("degrees"), degree, "in deg"),
        (Some("deg"), degree, "in deg"),
        (Some("rad"), Some(AngleUnit::Radian), "in rad"),
        (Some("mrad"), None, "'mrad'"),
        (None, None, "no unit"),
    ];
    for (text, unit, note) in table {
        // In f32, as beamline software writes it.
        let mut theta = Data::f32s(&[4], [0.0, 0.5, 1.0, 1.5]).chunked(&[3], true, written);
        if let Some(text) = text {
            theta = theta.attribute("units", text);
        }
        let members = vec![("data", u16_data(&[4, 2, 3], false).node()), ("theta", theta.node())];
        let scan = open(&put(&dir, "a.h5", &exchange(members))).unwrap();
        assert!(scan.notes.iter().any(|n| n.contains(note)), "{note}: {:?}", scan.notes);
        assert_eq!(
            scan.theta.unwrap(),
            Theta { values: vec![0.0, 0.5, 1.0, 1.5], unit, origin: "exchange/theta".into() }
        );
    }
}

#[test]
fn the_pixel_size_is_known_only_where_it_is() {
    let dir = Scratch::new("h5-pixel");
    let one = |value: f64| Data::f64s(&[1], [value]);
    type Row = (Vec<(&'static str, Data)>, Option<f64>, &'static str);
    let table: Vec<Row> = vec![
        (vec![("resolution", one(1.18).attribute("units", "microns"))], Some(1.18), "objective/resolution"),
        (vec![("resolution", one(1.33))], Some(1.33), "1.33 um"),
        (vec![("resolution", one(0.5e-6).attribute("units", "m"))], Some(0.5), "0.5 um"),
        (vec![("resolution", one(1.33e-6))], None, "cannot be"),
        (vec![("resolution", one(3.0).attribute("units", "furlong"))], None, "known unit"),
        (vec![("resolution", one(f64::NAN))], None, "not a length"),
        (vec![("resolution", Data::text("1.33"))], None, "not one number"),
        (vec![("pixel_size", one(6.5)), ("magnification", one(5.0))], Some(1.3), "divided by the magnification 5"),
        (vec![("pixel_size", one(6.5))], None, "stays unknown"),
        (vec![("magnification", one(5.0))], None, ""),
    ];
    for (members, pixel, note) in table {
        let (mut objective, mut detector) = (Vec::new(), Vec::new());
        for (name, data) in members {
            if name == "pixel_size" { detector.push((name, data.node())) } else { objective.push((name, data.node())) }
        }
        let system = Node::Group(vec![("objective", Node::Group(objective))]);
        let instrument = Node::Group(vec![("detection_system", system), ("detector", Node::Group(detector))]);
        let bytes = file(vec![
            ("exchange", Node::Group(vec![("data", u16_data(&[2, 1, 3], false).node())])),
            ("measurement", Node::Group(vec![("instrument", instrument)])),
        ]);
        let scan = open(&put(&dir, "a.h5", &bytes)).unwrap();
        assert_eq!(scan.pixel.map(|p| (p.0 * 1e9).round() / 1e9), pixel, "{:?}", scan.notes);
        assert!(note.is_empty() || scan.notes.iter().any(|n| n.contains(note)), "{note}: {:?}", scan.notes);
    }
}

#[test]
fn files_that_are_no_scans_say_what_they_are() {
    let dir = Scratch::new("h5-other");
    let e = refused(&put(&dir, "a.h5", &file(vec![])));
    assert!(e.what().contains("no groups and no datasets"), "{e}");
    let groups =
        vec![("images", Node::Group(vec![])), ("log", Data::text("x").node()), ("out", Node::External("b.h5", "/"))];
    let e = refused(&put(&dir, "a.h5", &file(groups)));
    assert!(e.what().contains("images/, log, a link to the file 'b.h5'"), "{e}");
    let nx = vec![("definition", Data::text("NXtomo").node())];
    let e = refused(&put(&dir, "a.h5", &file(vec![("entry", Node::Group(nx))])));
    assert!(e.what().contains("NXtomo without entry/instrument/detector/data"), "{e}");
    let mut writing = exchange(vec![("data", u16_data(&[2, 1, 3], false).node())]);
    (writing[8], writing[11]) = (3, 5);
    let sum = hdf5_reader::checksum::jenkins_lookup3(&writing[..44]);
    writing[44..48].copy_from_slice(&sum.to_le_bytes());
    let e = refused(&put(&dir, "a.h5", &writing));
    assert!(e.what().contains("being written"), "{e}");
}

/// What the fuzzing wants of any file: a scan of finite shape whose blocks read or fail cleanly, or a clean error.
fn survives(path: &Path, what: &str) -> bool {
    let scan = match open(path) {
        Ok(scan) => scan,
        Err(e) => {
            assert_ne!(e.fault(), Fault::Bug, "{what}: {e}");
            assert!(e.path().is_some() && e.advice().is_some(), "{what}: {e}");
            return false;
        }
    };
    for source in [Some(scan.projections), scan.flats, scan.darks].into_iter().flatten() {
        let d = source.dims();
        let bytes = std::fs::metadata(path).unwrap().len() as usize;
        assert!(d.voxels() <= bytes * 2000, "{what}: {d:?} in a file of {bytes} bytes");
        let mut block = vec![0f32; d.slice()];
        for z in [0, d.nz - 1] {
            if let Err(e) = source.read(z..z + 1, 0..d.ny, &mut block) {
                assert_ne!(e.fault(), Fault::Bug, "{what}: {e}");
            }
        }
    }
    true
}

/// Flips one bit after the other, `flips` of them over the first `span` bytes, and cuts at `cuts` places.
fn fuzz(bytes: &[u8], span: usize, flips: usize, cuts: usize) {
    let dir = Scratch::new("h5-fuzz");
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut read = 0;
    for _ in 0..flips {
        let (byte, bit) = (next(span), next(8));
        let mut flipped = bytes.to_vec();
        flipped[byte] ^= 1 << bit;
        read += usize::from(survives(&put(&dir, "a.h5", &flipped), &format!("bit {bit} of byte {byte}")));
    }
    assert!(read < flips, "no flip was noticed: the fuzzing looks at the wrong bytes");
    for i in 0..cuts {
        let length = if i % 2 == 0 { next(span) } else { next(bytes.len()) };
        let read = survives(&put(&dir, "a.h5", &bytes[..length]), &format!("cut at {length}"));
        assert!(!read, "a file cut at {length} of {} was read", bytes.len());
    }
}

#[test]
fn flipped_bits_and_cuts_of_the_real_scan_are_errors_or_a_scan() {
    let Some(path) = testing::data("tooth.h5") else { return };
    fuzz(&std::fs::read(path).unwrap(), 20_000, 300, 60);
}

#[test]
fn flipped_bits_of_a_compressed_scan_are_errors_or_a_scan() {
    let members = vec![
        ("data", u16_data(&[6, 4, 5], false).chunked(&[2, 3, 5], true, written).node()),
        ("data_white", u16_data(&[2, 4, 5], false).chunked(&[1, 4, 5], false, written).node()),
        ("theta", Data::f64s(&[6], (0..6).map(f64::from)).attribute("units", "degrees").node()),
    ];
    let bytes = exchange(members);
    fuzz(&bytes, bytes.len(), 600, 60);
}
