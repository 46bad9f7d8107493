use super::*;
use crate::error::Fault;
use crate::exchange::put;
use crate::testing::Scratch;

fn open(path: &Path) -> Result<NpySource> {
    NpySource::open(path, "projections", IoMode::Pread)
}

fn read_all(source: &dyn Source) -> Vec<f32> {
    let d = source.dims();
    let mut out = vec![f32::NAN; d.voxels()];
    source.read(0..d.nz, 0..d.ny, &mut out).unwrap();
    out
}

#[test]
fn written_volumes_come_back_to_the_bit_in_any_grouping() {
    let dir = Scratch::new("npy-round");
    // Larger than a piece of the converter, odd everywhere, with the values that text formats lose.
    let dims = Dims::new(5, 37, 449).unwrap();
    let mut values: Vec<f32> = (0..dims.voxels()).map(|i| (i as f32 * 0.37 - 1000.0) * 1e-3).collect();
    values[..5].copy_from_slice(&[f32::NAN, f32::INFINITY, -0.0, 1e-45, f32::MAX]);
    let mut files = Vec::new();
    for (name, group) in [("one.npy", 1), ("three.npy", 3), ("all.npy", 5)] {
        let path = dir.join(name);
        let mut writer = NpyWriter::create(&path, dims, Dtype::F32, false).unwrap();
        for slices in values.chunks(group * dims.slice()) {
            writer.write(slices).unwrap();
        }
        assert!(!path.exists());
        writer.finish().unwrap();
        files.push(std::fs::read(&path).unwrap());
        let back = read_all(&open(&path).unwrap());
        assert!(back.iter().zip(&values).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
    assert!(files.iter().all(|f| *f == files[0]));
    let path = dir.join("array.npy");
    write_array(&path, &[5, 37, 449], &values, false).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), files[0]);
}

#[test]
fn blocks_are_what_the_whole_is() {
    let dir = Scratch::new("npy-blocks");
    let dims = Dims::new(7, 5, 3).unwrap();
    let data: Vec<u8> = (0..dims.voxels() as u16).flat_map(|v| (v * 301).to_be_bytes()).collect();
    let path = put(&dir, "a.npy", &bytes_of(">u2", "(7, 5, 3)", &data));
    let source = open(&path).unwrap();
    assert_eq!((source.dims(), source.dtype()), (dims, Dtype::U16));
    let all = read_all(&source);
    assert_eq!(all[4], 4.0 * 301.0);
    for z in [0..7, 2..3, 3..7, 4..4] {
        for y in [0..5, 4..5, 1..4, 2..2] {
            let mut block = vec![f32::NAN; z.len() * y.len() * 3];
            source.read(z.clone(), y.clone(), &mut block).unwrap();
            let expected = z.clone().flat_map(|z| all[(z * 5 + y.start) * 3..(z * 5 + y.end) * 3].to_vec());
            assert_eq!(block, expected.collect::<Vec<f32>>());
        }
    }
    assert_eq!(source.read(0..8, 0..5, &mut vec![0.0; 120]).unwrap_err().fault(), Fault::Bug);
    assert_eq!(source.read(0..7, 0..5, &mut [0.0; 104]).unwrap_err().fault(), Fault::Bug);
}

#[test]
fn two_axes_are_theta_and_column() {
    let dir = Scratch::new("npy-2d");
    let path = put(&dir, "a.npy", &bytes_of("|i1", "(4, 3)", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 255, 10, 11]));
    let source = open(&path).unwrap();
    assert_eq!((source.dims(), source.dtype()), (Dims::new(4, 1, 3).unwrap(), Dtype::F32));
    assert_eq!(read_all(&source)[9], -1.0);
    let inputs = source.inputs().unwrap();
    assert_eq!((inputs.len(), inputs[0].role.as_str(), inputs[0].name.as_str()), (1, "projections", "a.npy"));
}

#[test]
fn wrong_lengths_shapes_and_values_are_refused() {
    let dir = Scratch::new("npy-bad");
    let good = bytes_of("<f4", "(2, 1, 3)", &[0; 24]);
    let table: [(&str, Vec<u8>, &str); 7] = [
        ("short", good[..good.len() - 1].to_vec(), "truncated"),
        ("long", [&good[..], &[0]].concat(), "1 bytes too long"),
        ("in the header", good[..40].to_vec(), "truncated"),
        ("1-D", bytes_of("<f4", "(6,)", &[0; 24]), "not a stack"),
        ("4-D", bytes_of("<f4", "(1, 1, 2, 3)", &[0; 24]), "not a stack"),
        ("empty axis", bytes_of("<f4", "(0, 1, 3)", &[]), "empty axis"),
        ("huge", bytes_of("<f4", "(4294967296, 4294967296, 3)", &[]), "too large"),
    ];
    for (name, bytes, why) in table {
        let path = put(&dir, "bad.npy", &bytes);
        let e = open(&path).err().unwrap_or_else(|| panic!("{name} was read"));
        assert_eq!(e.fault(), Fault::Data, "{name}");
        assert!(e.what().contains(why) && e.path() == Some(&*path), "{name}: {e}");
    }
    let data: Vec<u8> = [1.0, 2.0, -1e39].iter().flat_map(|v: &f64| v.to_le_bytes()).collect();
    let path = put(&dir, "range.npy", &bytes_of("<f8", "(3, 1, 1)", &data));
    let source = open(&path).unwrap();
    assert_eq!(source.notes("the stack").len(), 1);
    source.read(0..2, 0..1, &mut [0.0; 2]).unwrap();
    let e = source.read(0..3, 0..1, &mut [0.0; 3]).unwrap_err();
    assert!(e.what().contains("z 2, y 0, x 0"), "{e}");
}

#[test]
fn a_writer_wants_all_slices_and_whole_ones() {
    let dir = Scratch::new("npy-writer");
    let path = dir.join("a.npy");
    let dims = Dims::new(2, 2, 2).unwrap();
    let mut writer = NpyWriter::create(&path, dims, Dtype::F32, false).unwrap();
    assert_eq!(writer.write(&[0.0; 3]).unwrap_err().fault(), Fault::Bug);
    writer.write(&[0.0; 4]).unwrap();
    assert_eq!(writer.next_slice(), 1);
    assert_eq!(writer.write(&[0.0; 8]).unwrap_err().fault(), Fault::Bug);
    assert_eq!(writer.finish().unwrap_err().fault(), Fault::Bug);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    put(&dir, "a.npy", b"mine");
    assert_eq!(NpyWriter::create(&path, dims, Dtype::F32, false).err().unwrap().fault(), Fault::CannotCreate);
    assert_eq!(write_array(&path, &[2], &[0.0; 2], false).unwrap_err().fault(), Fault::CannotCreate);
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
}

#[test]
fn whole_numbers_keep_their_type_and_refuse_what_they_are_not() {
    let dir = Scratch::new("npy-types");
    let dims = Dims::new(1, 1, 3).unwrap();
    for (dtype, values, wrong) in
        [(Dtype::U8, [0.0, 7.0, 255.0], 256.0), (Dtype::U16, [0.0, 300.0, 65535.0], -1.0), (Dtype::U16, [1.0; 3], 0.5)]
    {
        let path = dir.join(format!("{}_{wrong}.npy", dtype.name()));
        let mut writer = NpyWriter::create(&path, dims, dtype, false).unwrap();
        writer.write(&values).unwrap();
        writer.finish().unwrap();
        let source = open(&path).unwrap();
        assert_eq!((source.dtype(), read_all(&source)), (dtype, values.to_vec()));
        let mut writer = NpyWriter::create(&path, dims, dtype, true).unwrap();
        assert_eq!(writer.write(&[wrong; 3]).unwrap_err().fault(), Fault::Data);
    }
}
