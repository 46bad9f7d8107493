//! The whole of reading and writing, against files of the reference programs in `testdata/weights`; safetensors in
//! detail.

use super::*;
use crate::error::Fault;
use crate::testing::Scratch;
use std::path::PathBuf;

/// A file of the folder of the reference programs' files.
pub(super) fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/weights").join(name)
}

fn bytes_of(dict: &StateDict) -> Vec<u8> {
    let dir = Scratch::new("weights-bytes");
    write_safetensors(&dir.join("a.safetensors"), dict, false).unwrap();
    std::fs::read(dir.join("a.safetensors")).unwrap()
}

/// Reads bytes as a file.
pub(super) fn read_bytes(bytes: &[u8]) -> Result<StateDict> {
    let dir = Scratch::new("weights-read");
    std::fs::write(dir.join("w"), bytes).unwrap();
    read(&dir.join("w"))
}

#[test]
fn pytorch_files_become_the_bytes_that_the_reference_writes() {
    for (from, to) in [
        ("monai.pt", "monai.safetensors"),
        ("lightning.ckpt", "lightning.safetensors"),
        ("lightning5.ckpt", "lightning.safetensors"),
        ("strides.pt", "strides.safetensors"),
        ("monai.safetensors", "monai.safetensors"),
        ("strides.safetensors", "strides.safetensors"),
    ] {
        let mut dict = read(&testdata(from)).unwrap();
        let wanted = std::fs::read(testdata(to)).unwrap();
        dict.metadata = read_bytes(&wanted).unwrap().metadata;
        assert_eq!(bytes_of(&dict), wanted, "{from}");
    }
    let dict = read(&testdata("strides.safetensors")).unwrap();
    assert_eq!(dict.metadata, BTreeMap::from([("format".into(), "pt".into())]));
    // In the order of training, not of the alphabet.
    let names: Vec<String> = read(&testdata("strides.pt")).unwrap().tensors.into_iter().map(|t| t.name).collect();
    assert_eq!(names[..3], ["whole", "swapped", "part"]);
}

#[test]
fn numbers_become_f32_or_say_why_not() {
    let dict = read(&testdata("strides.pt")).unwrap();
    // −6 … 5 in three rows, transposed.
    let whole: Vec<f32> = (0..12).map(|i| (4 * (i % 3) + i / 3 - 6) as f32).collect();
    for name in ["f64", "f16", "bf16", "i64", "i32", "i16", "i8"] {
        let tensor = dict.get(name).unwrap();
        assert_eq!((tensor.shape.as_slice(), tensor.f32s().unwrap()), (&[4, 3][..], whole.clone()), "{name}");
    }
    let wrapped: Vec<f32> = whole.iter().map(|v| (v + 256.0) % 256.0).collect();
    assert_eq!(dict.get("u8").unwrap().f32s().unwrap(), wrapped);
    assert_eq!(dict.get("bool").unwrap().f32s().unwrap().iter().sum::<f32>(), 11.0);
    let one = |dtype, data: &[u8]| NamedTensor { name: "a".into(), dtype, shape: vec![], data: data.to_vec() }.f32s();
    assert_eq!(one(Dtype::I64, &((1i64 << 60) + 1).to_le_bytes()).unwrap_err().fault(), Fault::Data);
    assert_eq!(one(Dtype::I64, &i64::MIN.to_le_bytes()).unwrap(), [-(2f32.powi(63))]);
    assert!(one(Dtype::I64, &i64::MAX.to_le_bytes()).is_err());
    assert!(one(Dtype::F64, &1e300f64.to_le_bytes()).is_err());
    assert_eq!(one(Dtype::F64, &f64::INFINITY.to_le_bytes()).unwrap(), [f32::INFINITY]);
    assert!(one(Dtype::F64, &f64::NAN.to_le_bytes()).unwrap()[0].is_nan());
    assert!(one(Dtype::F32, &[0; 8]).unwrap_err().what().contains("8 bytes"));
}

#[test]
fn prefixes_go_and_what_has_none_is_named() {
    let dir = Scratch::new("weights-convert");
    let to = dir.join("a.safetensors");
    let from = testdata("lightning.ckpt");
    assert_eq!(convert(&from, &to, "model.", false).unwrap(), ["cross_entropy_loss.weight"]);
    let dict = read(&to).unwrap();
    assert_eq!(dict.tensors.len(), 8);
    assert_eq!(dict.get("0.weight").unwrap().shape, [2, 1, 3, 3]);
    let faults = [
        (convert(&from, &to, "model.", false), Fault::CannotCreate),
        (convert(&from, &to, "net.", true), Fault::Usage),
        (convert(&from, &dir.join("a.onnx"), "", true), Fault::Usage),
        (convert(&dir.join("none"), &to, "", true), Fault::Missing),
    ];
    for (result, fault) in faults {
        assert_eq!(result.unwrap_err().fault(), fault);
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// A safetensors file of a header and `n` bytes of data.
fn file_of(header: &str, n: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![1; n]].concat()
}

#[test]
fn what_the_format_allows_is_read() {
    let tensors = [
        NamedTensor::from_f32("b \"\\\n\u{b5}", &[2, 3], &[1.0, -0.0, f32::NAN, 4.0, 5.0, 6.0]),
        NamedTensor::from_f32("", &[], &[7.0]),
        NamedTensor::from_f32("empty", &[0, 9], &[]),
        NamedTensor::from_i64("steps", &[], &[-3]),
        NamedTensor { name: "flags".into(), dtype: Dtype::Bool, shape: vec![3], data: vec![0, 1, 1] },
    ];
    let metadata = BTreeMap::from([("a".into(), "1".into()), ("\u{1f50b}".into(), "\"".into())]);
    let dict = StateDict { tensors: tensors.to_vec(), metadata };
    let bytes = bytes_of(&dict);
    let mut back = read_bytes(&bytes).unwrap();
    let order: Vec<&str> = back.tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(order, ["steps", "", "b \"\\\n\u{b5}", "empty", "flags"]);
    assert_eq!(bytes_of(&back), bytes);
    // Bits, because NaN is not equal to itself.
    back.tensors.iter().for_each(|t| assert_eq!(dict.get(&t.name).unwrap().data, t.data));
    assert_eq!(back.metadata, dict.metadata);
    assert_eq!(read_bytes(&file_of("{}", 0)).unwrap(), StateDict::default());
    // Padding counts for nothing, however long.
    back = read_bytes(&file_of(&format!("{{}}{}", " ".repeat(3 << 20)), 0)).unwrap();
    assert_eq!(back, StateDict::default());
}

#[test]
fn everything_else_is_refused_and_says_where() {
    const A: &str = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    let with = |more: &str| format!("{{{A},{more}}}");
    let table: [(String, usize, &str); 30] = [
        (format!("{{{A}}}"), 7, "truncated"),
        (format!("{{{A}}}"), 9, "too many follow"),
        (with(A), 8, "stands twice"),
        (with(r#""b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}"#), 16, "hole"),
        (with(r#""b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#), 8, "overlaps"),
        (with(r#""b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#), 8, "overlaps"),
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#.into(), 8, "hole"),
        (
            with(
                r#""b":{"dtype":"U8","shape":[1],"data_offsets":[8,9]},"c":{"dtype":"F32","shape":[1],"data_offsets":[9,13]}"#,
            ),
            13,
            "misaligned",
        ),
        (with(r#""b":{"dtype":"F32","shape":[1],"data_offsets":[12,8]}"#), 8, "do not fit"),
        (with(r#""b":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[8,12]}"#), 12, "too large"),
        (with(r#""b":{"dtype":"F32","shape":[0,9223372036854775807,9],"data_offsets":[8,8]}"#), 8, "too large"),
        (with(r#""b":{"dtype":"F32","shape":[-1],"data_offsets":[8,12]}"#), 12, "`shape`"),
        (with(r#""b":{"dtype":"F32","shape":[1.0],"data_offsets":[8,12]}"#), 12, "`shape`"),
        (with(r#""b":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[8,12]}"#), 12, "64 bits"),
        (with(r#""b":{"dtype":"F32","shape":1,"data_offsets":[8,12]}"#), 12, "`shape`"),
        (with(r#""b":{"dtype":"F32","shape":[1],"data_offsets":[8]}"#), 12, "two numbers"),
        (with(r#""b":{"dtype":"F32","shape":[1]}"#), 12, "`data_offsets` is missing"),
        (with(r#""b":{"dtype":"F32","shape":[1],"data_offsets":[8,12],"more":1}"#), 12, "`more`"),
        (with(r#""b":{"dtype":"f32","shape":[1],"data_offsets":[8,12]}"#), 12, "`f32`"),
        (with(r#""b":{"dtype":"U16","shape":[1],"data_offsets":[8,10]}"#), 10, "`U16`"),
        (with(r#""b":{"dtype":4,"shape":[1],"data_offsets":[8,12]}"#), 12, "`dtype`"),
        (with(r#""b":[]"#), 8, "not an object"),
        (with(r#""__metadata__":{"a":1}"#), 8, "metadata `a`"),
        (with(r#""__metadata__":"a""#), 8, "__metadata__"),
        (with(r#""__metadata__":{"a":"1","a":"2"}"#), 8, "stands twice"),
        (with(r#""b":{"dtype":"F32","shape":[[[1]]],"data_offsets":[8,12]}"#), 12, "deeper than 3"),
        (format!("{{{A}}}x"), 8, "more text"),
        (format!("{{{A}"), 8, "expected"),
        (format!("{{\"__metadata__\":{{\"a\":\"{}\"}}}}", "x".repeat(2 << 20)), 0, "longer than"),
        ("[".repeat(40), 0, "neither"),
    ];
    for (header, n, why) in table {
        let e = read_bytes(&file_of(&header, n)).unwrap_err();
        assert!(e.what().contains(why) && e.advice().is_some() && e.fault() == Fault::Data, "{header:.200}: {e}");
    }
    for (n, why) in [(100_000_001u64, "allows"), (u64::MAX, "allows"), (100, "truncated"), (0, "JSON")] {
        let e = read_bytes(&[&n.to_le_bytes(), &b"{}"[..]].concat()).unwrap_err();
        assert!(e.what().contains(why), "{n}: {e}");
    }
    let e = read_bytes(&[&4u64.to_le_bytes(), &b"{\"\xff\""[..]].concat()).unwrap_err();
    assert!(e.what().contains("UTF-8 at byte 10"), "{e}");
    for (bytes, why) in
        [(&b""[..], "neither"), (b"\x89HDF\r\n\x1a\n", "HDF5"), (b"\x80\x02}.", "1.6"), (b"{\"a\": 1}", "neither")]
    {
        assert!(read_bytes(bytes).unwrap_err().what().contains(why), "{bytes:?}");
    }
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let dir = Scratch::new("weights-refused");
    let path = dir.join("a.safetensors");
    let tensor = |name: &str| NamedTensor::from_f32(name, &[1], &[1.0]);
    let cut = NamedTensor { data: vec![0; 3], ..tensor("a") };
    for tensors in [vec![tensor("a"), tensor("a")], vec![tensor("__metadata__")], vec![cut]] {
        let dict = StateDict { tensors, ..StateDict::default() };
        assert_eq!(write_safetensors(&path, &dict, false).unwrap_err().fault(), Fault::Data);
    }
    let metadata = BTreeMap::from([("a".into(), "x".repeat(2 << 20))]);
    assert!(write_safetensors(&path, &StateDict { metadata, ..StateDict::default() }, false).is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Cut anywhere a file is an error; with any byte changed it is an error or a dict, never a panic.
#[test]
fn damaged_files_are_errors() {
    let dir = Scratch::new("weights-damaged");
    let reading = |bytes: &[u8]| {
        // A new file each time: rewriting one waits for the disk.
        let path = dir.join("w");
        std::fs::write(&path, bytes).unwrap();
        let dict = read(&path);
        std::fs::remove_file(&path).unwrap();
        dict
    };
    for (name, step) in [("strides.pt", 1), ("strides.safetensors", 1), ("lightning5.ckpt", 3)] {
        let whole = std::fs::read(testdata(name)).unwrap();
        let good = reading(&whole).unwrap();
        let mut changed = 0;
        for at in (0..whole.len()).step_by(step) {
            assert!(reading(&whole[..at]).is_err(), "{name} cut at {at}");
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at / step % 8);
            match reading(&bytes) {
                Ok(dict) => changed += usize::from(dict != good),
                Err(e) => assert!(e.fault() == Fault::Data, "{name} at {at}: {e}"),
            }
        }
        // The archive's checksums tell; safetensors has none.
        assert_eq!(changed > 0, name.ends_with(".safetensors"), "{name}: {changed} changes went unseen");
    }
}
