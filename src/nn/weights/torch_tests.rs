//! PyTorch archives made here, byte by byte: what a reader must not believe.

use super::tests::{read_bytes, testdata};
use super::*;
use crate::error::Fault;
use crate::provenance::crc32;

/// A member of an archive, and how its records lie about it: bytes that are set in the local and in the central one.
struct Member<'a> {
    name: &'a str,
    data: Vec<u8>,
    local: &'a [(usize, u8)],
    central: &'a [(usize, u8)],
}

fn member(name: &str, data: impl Into<Vec<u8>>) -> Member<'_> {
    Member { name, data: data.into(), local: &[], central: &[] }
}

fn le(n: usize, bytes: usize) -> Vec<u8> {
    n.to_le_bytes()[..bytes].to_vec()
}

/// A zip archive without 64-bit records.
fn archive(members: &[Member]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for Member { name, data, local, central } in members {
        let crc = crc32(0, data).to_le_bytes();
        let lengths = [crc.to_vec(), le(data.len(), 4), le(data.len(), 4), le(name.len(), 2), vec![0; 2]].concat();
        let mut record =
            [b"PK\x01\x02".to_vec(), vec![0; 12], lengths.clone(), vec![0; 10], le(file.len(), 4)].concat();
        let mut head = [b"PK\x03\x04".to_vec(), vec![0; 10], lengths].concat();
        local.iter().for_each(|&(at, byte)| head[at] = byte);
        central.iter().for_each(|&(at, byte)| record[at] = byte);
        file.extend([&head, name.as_bytes(), data].concat());
        directory.extend([&record, name.as_bytes()].concat());
    }
    let count = le(members.len(), 2);
    let end =
        [b"PK\x05\x06\0\0\0\0".to_vec(), count.clone(), count, le(directory.len(), 4), le(file.len(), 4)].concat();
    [file, directory, end, vec![0; 2]].concat()
}

/// The usual archive: a pickle of this body, and storage 0 of eight f32.
fn checkpoint(body: &[u8]) -> Result<StateDict> {
    let pickle = [b"\x80\x02", body, b"."].concat();
    let storage: Vec<u8> = (0..8).flat_map(|i| (i as f32).to_le_bytes()).collect();
    read_bytes(&archive(&[member("r/data.pkl", pickle), member("r/data/0", storage)]))
}

fn text(text: &str) -> Vec<u8> {
    [&b"X"[..], &le(text.len(), 4), text.as_bytes()].concat()
}
fn ints(values: &[i64]) -> Vec<u8> {
    let each = values.iter().flat_map(|v| [&[0x8a, 8][..], &v.to_le_bytes()].concat()).collect();
    [b"(".to_vec(), each, b"t".to_vec()].concat()
}
fn storage(class: &str, key: &str, elements: i64) -> Vec<u8> {
    let class = format!("ctorch\n{class}\n").into_bytes();
    let elements = [&[0x8a, 8][..], &elements.to_le_bytes()].concat();
    [b"(".to_vec(), text("storage"), class, text(key), text("cpu"), elements, b"tQ".to_vec()].concat()
}
/// A tensor of size and stride in a storage.
fn in_storage(storage: &[u8], offset: i64, size: &[i64], stride: &[i64]) -> Vec<u8> {
    let offset = [&[0x8a, 8][..], &offset.to_le_bytes()].concat();
    let rest = [ints(size), ints(stride), b"\x89)tR".to_vec()].concat();
    [b"ctorch._utils\n_rebuild_tensor_v2\n(", storage, &offset, &rest].concat()
}
fn tensor(offset: i64, size: &[i64], stride: &[i64]) -> Vec<u8> {
    in_storage(&storage("FloatStorage", "0", 8), offset, size, stride)
}
fn dict(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items: Vec<u8> = pairs.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [&b"}("[..], &items, b"u"].concat()
}

fn refused(body: &[u8], why: &str) {
    let e = checkpoint(body).expect_err(why);
    assert!(e.what().contains(why) && e.advice().is_some() && e.fault() == Fault::Data, "{why}: {e}");
}

#[test]
fn tensors_lie_in_their_storage_as_they_say() {
    let body = dict(&[
        ("whole", tensor(0, &[2, 4], &[4, 1])),
        ("turned", tensor(0, &[4, 2], &[1, 4])),
        ("odd", tensor(1, &[4], &[2])),
        ("same", tensor(7, &[3], &[0])),
        ("one", tensor(7, &[1, 1], &[1 << 40, 1 << 50])),
        ("number", tensor(3, &[], &[])),
        ("none", tensor(99, &[3, 0], &[1, 1])),
    ]);
    let dict = checkpoint(&body).unwrap();
    let wanted: [(&str, &[f32]); 7] = [
        ("whole", &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
        ("turned", &[0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]),
        ("odd", &[1.0, 3.0, 5.0, 7.0]),
        ("same", &[7.0; 3]),
        ("one", &[7.0]),
        ("number", &[3.0]),
        ("none", &[]),
    ];
    for (name, values) in wanted {
        assert_eq!(dict.get(name).unwrap().f32s().unwrap(), values, "{name}");
    }
}

#[test]
fn a_strided_tensor_of_many_windows_is_gathered_whole() {
    // Three million f64 in a storage of two windows and a half, columns first.
    const N: usize = 1 << 19;
    let values: Vec<u8> = (0..5 * N as u64).flat_map(|i| (i as f64).to_le_bytes()).collect();
    let body = in_storage(&storage("DoubleStorage", "0", 5 * N as i64), 0, &[N as i64, 5], &[1, N as i64]);
    let pickle = [b"\x80\x02", &dict(&[("a", body)])[..], b"."].concat();
    let dict = read_bytes(&archive(&[member("r/data.pkl", pickle), member("r/data/0", values)])).unwrap();
    let data = dict.tensors[0].data.as_chunks::<8>().0;
    let right = (0..5 * N).all(|i| f64::from_le_bytes(data[i]) == (i % 5 * N + i / 5) as f64);
    assert!(right && data.len() == 5 * N);
}

#[test]
fn tensors_that_leave_their_storage_are_refused() {
    const MAX: i64 = i64::MAX;
    let table: [(i64, &[i64], &[i64], &str); 14] = [
        (0, &[9], &[1], "leave its storage"),
        (1, &[8], &[1], "leave its storage"),
        (8, &[], &[], "leave its storage"),
        (MAX, &[1], &[1], "leave its storage"),
        (0, &[2, 4], &[4, 2], "leave its storage"),
        (0, &[2, 2], &[MAX, MAX], "leave its storage"),
        (0, &[3], &[MAX], "leave its storage"),
        (7, &[2], &[-1], "at least 0"),
        (0, &[-1], &[1], "at least 0"),
        (-1, &[1], &[1], "at least 0"),
        (0, &[2, 2], &[1], "2 extents and 1"),
        (0, &[1; 65], &[1; 65], "65 extents"),
        (0, &[MAX, MAX], &[0, 0], "too large"),
        (0, &[1 << 40], &[0], "take more than"),
    ];
    for (offset, size, stride, why) in table {
        refused(&dict(&[("a", tensor(offset, size, stride))]), why);
    }
    let named = |class: &str, key: &str, n: i64| dict(&[("a", in_storage(&storage(class, key, n), 0, &[1], &[1]))]);
    refused(&named("FloatStorage", "0", 9), "has 32 bytes");
    refused(&named("FloatStorage", "0", 7), "has 32 bytes");
    refused(&named("FloatStorage", "0", 1 << 62), "has 32 bytes");
    refused(&named("FloatStorage", "1", 8), "no storage `1`");
    refused(&named("FloatStorage", "../data.pkl", 8), "no storage");
    refused(&named("FloatStorage", "/etc/passwd", 8), "no storage");
    refused(&named("QInt8Storage", "0", 8), "torch.QInt8Storage");
    refused(&dict(&[("a", in_storage(&text("storage"), 0, &[1], &[1]))]), "its storage is a text");
    refused(&dict(&[("a", in_storage(b"ctorch\nFloatStorage\n", 0, &[1], &[1]))]), "its storage is a class");
    // Many tensors of one storage: each may be whole, all together not.
    let many: Vec<Vec<u8>> = (0..30_000).map(|i| [text(&i.to_string()), b"h\0".to_vec()].concat()).collect();
    let all = [tensor(0, &[8], &[1]), b"q\x000}(".to_vec(), many.concat(), b"u".to_vec()].concat();
    refused(&all, "take more than");
}

#[test]
fn the_state_dict_is_found_or_missed_by_name() {
    let one = || dict(&[("a", tensor(0, &[1], &[1]))]);
    let wrapped = |name: &str| dict(&[("epoch", b"K\x01".to_vec()), (name, one()), ("rng", tensor(0, &[8], &[1]))]);
    for name in torch::PLACES {
        assert_eq!(checkpoint(&wrapped(name)).unwrap().tensors.len(), 1, "{name}");
    }
    refused(&wrapped("network"), "`epoch`: is the integer 1");
    refused(&dict(&[("network", one()), ("epoch", b"K\x01".to_vec())]), "[\"network\", \"epoch\"]");
    refused(&dict(&[("model", one()), ("state_dict", one())]), "two state dicts");
    refused(&dict(&[("a", tensor(0, &[1], &[1])), ("a", tensor(0, &[1], &[1]))]), "stands twice");
    refused(&[b"}(K\x01".to_vec(), tensor(0, &[1], &[1]), b"u".to_vec()].concat(), "the integer 1 for a name");
    refused(&[b"}(U\x01\xff".to_vec(), tensor(0, &[1], &[1]), b"u".to_vec()].concat(), "no name");
    refused(b"N", "is a value that is no tensor, not a state dict");
    refused(b"}", "holds no state dict");
    for (file, why) in [
        ("module.pt", "made by torch.nn.modules.conv.Conv2d"),
        ("legacy.pt", "before version 1.6"),
        ("script.pt", "TorchScript"),
        ("sparse.pt", "holds no state dict"),
        ("elsewhere.pt", "[\"epoch\", \"network\"]"),
    ] {
        let e = read(&testdata(file)).unwrap_err();
        assert!(e.what().contains(why) && e.advice().is_some(), "{file}: {e}");
    }
    assert_eq!(read(&testdata("without_crc.pt")).unwrap().tensors.len(), 2);
}

#[test]
fn nothing_is_called() {
    let run = |how: &[u8]| [b"cposix\nsystem\n", &text("touch /tmp/pwned")[..], how].concat();
    for how in [&b"\x85R"[..], b"\x85\x81", b"\x85}\x92", b"b", b"\x85RN\x85b"] {
        let beside = dict(&[("hyper_parameters", run(how)), ("model", dict(&[("a", tensor(0, &[1], &[1]))]))]);
        assert_eq!(checkpoint(&beside).unwrap().tensors.len(), 1);
        let inside = dict(&[("a", tensor(0, &[1], &[1])), ("b", run(how))]);
        refused(&inside, if how == b"b" { "a class" } else { "made by posix.system" });
        refused(&run(how), "not a state dict");
    }
    refused(&dict(&[("a", tensor(0, &[1], &[1])), ("b", b"(iposix\nsystem\n".to_vec())]), "`b`: is a value");
}

#[test]
fn values_may_hold_themselves_and_be_held_often() {
    let good = ("model", dict(&[("a", tensor(0, &[1], &[1]))]));
    let list = b"]q\x01h\x01a(h\x01h\x01e".to_vec();
    // A hundred lists of ten of the list before: a googol of members.
    let laughs: Vec<u8> =
        (1..100).flat_map(|i| [&b"]q"[..], &[i], b"(", &[b'h', i - 1].repeat(10), b"e"].concat()).collect();
    let laughs = [b"(]q\0".to_vec(), laughs, b"t".to_vec()].concat();
    let beside = dict(&[("loop", list), ("laughs", laughs), good.clone()]);
    assert_eq!(checkpoint(&beside).unwrap().tensors.len(), 1);
    let itself =
        [b"}q\x01(".to_vec(), text("model"), b"h\x01".to_vec(), text("a"), tensor(0, &[1], &[1]), b"u".to_vec()]
            .concat();
    refused(&itself, "`model`: is a dict");
    let tuple = [text("a"), b"]q\x02h\x02a\x85q\x03".to_vec()].concat();
    refused(&[b"}(".to_vec(), tuple, b"u".to_vec()].concat(), "holds no state dict");
    // A parameter of a parameter of …
    let mut parameter = tensor(0, &[1], &[1]);
    for _ in 0..50 {
        parameter = [b"ctorch._utils\n_rebuild_parameter\n(".to_vec(), parameter, b"\x89)tR".to_vec()].concat();
    }
    refused(&dict(&[("a", parameter), ("b", tensor(0, &[1], &[1]))]), "`a`: is an object made by torch._utils");
}

#[test]
fn malformed_pickles_are_refused() {
    let nested = |open: &[u8], n: usize| open.repeat(n);
    let table: [(Vec<u8>, &str); 20] = [
        (b"".to_vec(), "missing on the stack"),
        (b"R".to_vec(), "missing on the stack"),
        (b"N(R".to_vec(), "missing on the stack"),
        (b"N(NR".to_vec(), "missing on the stack"),
        (b"t".to_vec(), "mark is missing"),
        (b"1".to_vec(), "mark is missing"),
        (b"0".to_vec(), "mark is missing"),
        (b"NN".to_vec(), "more follows"),
        (b"N.".to_vec(), "more follows"),
        (b"(N".to_vec(), "more follows"),
        (b"h\x05".to_vec(), "no value 5"),
        (b"}(NNNu".to_vec(), "without a value"),
        (b"\x82\x01".to_vec(), "0x82"),
        (b"I1\n".to_vec(), "0x49"),
        (b"\x80\x02N".to_vec(), "protocol 2"),
        (b"X\xff\xff\xff\x7f".to_vec(), "ends inside an instruction"),
        (b"cposix".to_vec(), "ends inside a name"),
        (nested(b"(", 5000), "nested deeper"),
        (nested(b"N", 300_000), "on the stack"),
        (nested(b"]0", 1_000_000), "take more than"),
    ];
    for (body, why) in table {
        refused(&body, why);
    }
    for bomb in [&b"(NNNl0"[..], b"}(NNu0", b"]0\x8a\x01\x010", b"(NNt0", b"N\x94", b"](Ne0"] {
        refused(&nested(bomb, 1_000_000), "take more than");
    }
    refused(&nested(b"N0", 5 << 20), "`r/data.pkl` has");
    for (pickle, why) in [
        (&b""[..], "does not begin"),
        (b"(.", "does not begin"),
        (b"\x80", "ends inside"),
        (b"\x80\x06N.", "protocol 6"),
    ] {
        let e = read_bytes(&archive(&[member("r/data.pkl", pickle)])).unwrap_err();
        assert!(e.what().contains(why), "{why}: {e}");
    }
}

#[test]
fn archives_that_lie_are_refused() {
    let pickle = [b"\x80\x02", &dict(&[("a", tensor(0, &[8], &[1]))])[..], b"."].concat();
    let data = || member("r/data/0", vec![0; 32]);
    let start = || member("r/data.pkl", pickle.clone());
    assert_eq!(read_bytes(&archive(&[start(), data()])).unwrap().tensors.len(), 1);
    let lying = |local, central| Member { local, central, ..data() };
    let table = [
        (vec![start(), lying(&[], &[(10, 8)])], "compressed"),
        (vec![start(), lying(&[(8, 8)], &[])], "not what the directory says"),
        (vec![start(), lying(&[(0, 0)], &[])], "not what the directory says"),
        (vec![start(), lying(&[(26, 7)], &[])], "not what the directory says"),
        (vec![start(), lying(&[(28, 255)], &[])], "reaches into the directory"),
        (vec![start(), lying(&[], &[(8, 1)])], "encrypted"),
        (vec![start(), lying(&[], &[(16, 1)])], "CRC-32"),
        (vec![start(), lying(&[], &[(24, 33)])], "compressed"),
        (vec![start(), lying(&[], &[(20, 255), (24, 255)])], "reaches into the directory"),
        (vec![start(), lying(&[], &[(45, 0x7f)])], "behind the directory"),
        (vec![start(), lying(&[], &[(28, 255)])], "readable name"),
        (vec![start(), lying(&[], &[(30, 255)])], "readable name"),
        (vec![start(), lying(&[], &[(0, 0)])], "no record"),
        (vec![start(), data(), data()], "two members"),
        (vec![start(), data(), member("q/data.pkl", pickle.clone())], "with 2 data.pkl"),
        (vec![data()], "with 0 data.pkl"),
        (vec![start(), data(), member("r/byteorder", "big")], "`big`"),
        (vec![start(), data(), member("r/byteorder", vec![b'x'; 17])], "17 bytes"),
        (vec![start(), data(), member("r/constants.pkl", "")], "TorchScript"),
    ];
    for (members, why) in table {
        let e = read_bytes(&archive(&members)).expect_err(why);
        assert!(e.what().contains(why) && e.advice().is_some(), "{why}: {e}");
    }
    // Names of a directory that are too many; the end's own fields; what follows the end.
    let names: Vec<String> = (0..20_000).map(|i| format!("{i:010}")).collect();
    let many: Vec<Member> = names.iter().map(|name| member(name, "")).collect();
    assert!(read_bytes(&archive(&many)).unwrap_err().what().contains("at most"));
    let good = archive(&[start(), data()]);
    for (from_end, byte, why) in [
        (12, 9, "says"),
        (14, 9, "several"),
        (10, 1, "does not end at"),
        (6, 1, "does not end at"),
        (18, 1, "several"),
        (2, 1, "does not end as one"),
    ] {
        let mut bad = good.clone();
        let at = bad.len() - from_end;
        bad[at] = byte;
        // Both counts are the same.
        if from_end == 12 {
            bad[at - 2] = byte;
        }
        let e = read_bytes(&bad).unwrap_err();
        assert!(e.what().contains(why), "{from_end}: {e}");
    }
    assert!(read_bytes(&[&good[..], b"x"].concat()).is_err());
    let mut commented = [&good[..], b"a comment"].concat();
    let at = good.len() - 2;
    commented[at] = 9;
    assert_eq!(read_bytes(&commented).unwrap().tensors.len(), 1);
}
