//! Malformed files of every format, made here, through every command that reads them: refused with the right exit code,
//! in two seconds at most, in little memory; and a mutational fuzzer over every parser of the library.

mod common;
use common::{Scratch, npy, npy_of, stderr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tomolith::cli::{COMMANDS, GLOBAL, config::Config};
use tomolith::exchange::{IoMode, open_scan, open_stack, open_vector};
use tomolith::num::philox::Stream;
use tomolith::testing;
use tomolith::volume::reader::Reader;

/// A classic TIFF of one 4 × 3 image of u16.
fn tiff() -> Vec<u8> {
    let mut out = b"II*\0\x08\0\0\0".to_vec();
    let entries: [(u16, u16, u32, u32); 8] = [
        (256, 4, 1, 4),
        (257, 4, 1, 3),
        (258, 3, 1, 16),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 110),
        (278, 4, 1, 3),
        (279, 4, 1, 24),
    ];
    out.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        out.extend(tag.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(count.to_le_bytes());
        out.extend(value.to_le_bytes());
    }
    out.extend([0; 4]);
    out.resize(110 + 24, 7);
    out
}

fn mrc() -> Vec<u8> {
    let mut out = vec![0u8; 1024 + 48];
    for (i, v) in [4i32, 3, 2, 6].iter().enumerate() {
        out[4 * i..4 * i + 4].copy_from_slice(&v.to_le_bytes());
    }
    out[208..212].copy_from_slice(b"MAP ");
    out[212] = 0x44;
    out
}

fn mhd(change: (&str, &str)) -> String {
    let lines = [
        ("ObjectType", "Image"),
        ("NDims", "3"),
        ("BinaryData", "True"),
        ("BinaryDataByteOrderMSB", "False"),
        ("DimSize", "4 3 2"),
        ("ElementType", "MET_USHORT"),
        ("ElementSpacing", "1 1 1"),
        ("ElementDataFile", "v.raw"),
    ];
    lines.iter().map(|(k, v)| format!("{k} = {}\n", if *k == change.0 { change.1 } else { v })).collect()
}

/// Name, content: files that no command may accept.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |name: String, bytes: Vec<u8>| files.push((name, bytes));
    let (tiff, mrc) = (tiff(), mrc());
    let array = npy_of("<u2", &[2, 3, 4], &[0; 48]);
    for (kind, whole) in [("tif", &tiff), ("mrc", &mrc), ("npy", &array)] {
        for i in 0..32 {
            add(format!("cut{i}.{kind}"), whole[..whole.len() * i / 32].to_vec());
        }
    }
    for (at, bytes) in [
        (4, vec![0; 4]),
        (4, vec![0xff; 4]),
        (8, vec![0xff, 0xff]),
        (8, vec![0, 0]),
        (18, vec![0xff; 4]),
        (18, vec![0; 4]),
        (30, vec![0; 4]),
        (30, vec![0xff; 4]),
        (42, vec![12]),
        (54, vec![7]),
        (54, vec![5]),
        (54, vec![8]),
        (66, vec![3]),
        (78, vec![0xff; 4]),
        (90, vec![0; 4]),
        (102, vec![1]),
        (106, vec![8]),
        (74, vec![0xff; 4]),
        (16, vec![0x63]),
        (12, vec![9]),
    ] {
        let mut bad = tiff.clone();
        bad[at..at + bytes.len()].copy_from_slice(&bytes);
        add(format!("field{at}_{}.tif", bytes[0]), bad);
    }
    for (word, value) in
        [(0, 0), (0, -1), (1, i32::MAX), (2, i32::MIN), (3, 4), (3, 99), (3, -1), (23, -5), (23, i32::MAX)]
    {
        let mut bad = mrc.clone();
        bad[4 * word..4 * word + 4].copy_from_slice(&value.to_le_bytes());
        add(format!("word{word}_{value}.mrc"), bad);
    }
    for (i, descr) in ["<i3", "|O", "<c8", "|V4", "<f4'", "", ">b", "<U3", "[('a','<f4')]"].iter().enumerate() {
        add(format!("type{i}.npy"), npy_of(descr, &[2, 3, 4], &[0; 96]));
    }
    for (i, shape) in
        [&[0usize, 3, 4][..], &[1 << 40, 1 << 30, 4], &[usize::MAX], &[2, 3, 5], &[1; 9]].iter().enumerate()
    {
        add(format!("shape{i}.npy"), npy_of("<u2", shape, &[0; 48]));
    }
    for (key, values) in [
        (
            "DimSize",
            &[
                "0 3 2",
                "-4 3 2",
                "4 3",
                "4 3 2 1",
                "2000000 2000000 2000000",
                "1e3 3 2",
                "99999999999999999999 1 1",
                "",
                "4 3 3",
                "4 3 1",
            ][..],
        ),
        (
            "ElementDataFile",
            &["/etc/passwd", "../v.raw", "LIST", "v%d.raw", "gone.raw", "", "v.raw extra", "/dev/zero"],
        ),
        ("ElementSpacing", &["0 1 1", "-1 1 1", "nan 1 1", "inf 1 1", "1 1", "a b c"]),
        ("ElementType", &["MET_DOUBLE_ARRAY", "", "USHORT"]),
        ("NDims", &["4", "0", "-3", "x"]),
        ("BinaryData", &["False", "maybe"]),
        ("BinaryDataByteOrderMSB", &["maybe"]),
        ("ObjectType", &["Mesh"]),
    ] {
        for (i, value) in values.iter().enumerate() {
            add(format!("{key}{i}.mhd"), mhd((key, value)).into_bytes());
        }
    }
    add("twice.mhd".into(), (mhd(("", "")) + "DimSize = 1 1 1\n").into_bytes());
    add("long.mhd".into(), (mhd(("", "")) + &"Comment = x\n".repeat(20_000)).into_bytes());
    add("nul.mhd".into(), mhd(("ElementDataFile", "v\0.raw")).into_bytes());
    for (i, line) in [
        "type: double\ndimension: 3\nsizes: 4 3 2",
        "type: ushort\ndimension: 2000\nsizes: 4 3 2",
        "type: ushort\ndimension: 3\nsizes: 0 3 2",
        "type: ushort\ndimension: 3\nsizes: 4 3 2\nencoding: gzip",
        "type: ushort\ndimension: 3\nsizes: 4 3 2\nencoding: raw\nendian: little\ndata file: ../v.raw",
        "type: ushort\ndimension: 3\nsizes: 4 3 2\nencoding: raw\nendian: little\ndata file: LIST",
        "type: ushort\ndimension: 3\nsizes: 4 3 2\nencoding: raw\nendian: middle\ndata file: v.raw",
        "",
    ]
    .iter()
    .enumerate()
    {
        add(format!("nrrd{i}.nhdr"), format!("NRRD0004\n{line}\n").into_bytes());
    }
    let hdf5 = b"\x89HDF\r\n\x1a\n";
    for version in 0..5u8 {
        for fill in [0u8, 0xff] {
            let mut bytes = hdf5.to_vec();
            bytes.push(version);
            bytes.resize(96 + 8 * usize::from(version), fill);
            add(format!("super{version}_{fill}.h5"), bytes);
        }
    }
    for (i, magic) in [
        &b"PK\x03\x04"[..],
        b"\x1f\x8b",
        b"\xd0\xcf\x11\xe0",
        b"BM",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"SIMPLE  =",
    ]
    .iter()
    .enumerate()
    {
        add(format!("other{i}"), [magic, &[0u8; 100][..]].concat());
    }
    for (i, text) in ["", "{", "[[[[[[[[[[", "{\"schema\": 1}", "null", "\u{feff}{}"].iter().enumerate() {
        add(format!("manifest{i}.json"), text.as_bytes().to_vec());
    }
    files
}

/// Runs under a limit of address space: what a command maps at its start, and 64 MiB for data beside it.
fn limited(folder: &Path, words: &[String]) -> (Option<i32>, Duration, String) {
    const ADDRESS_SPACE_KIB: u64 = (64 << 10) + (320 << 10);
    let script = format!("ulimit -v {ADDRESS_SPACE_KIB}; exec \"$0\" \"$@\"");
    let start = Instant::now();
    let output = Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg(env!("CARGO_BIN_EXE_tomolith"))
        .args(words)
        .env("MALLOC_ARENA_MAX", "1")
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.code(), start.elapsed(), stderr(&output))
}

#[test]
fn every_malformed_file_is_refused_in_every_command() {
    let folder = Scratch::new("hostile");
    folder.write("v.raw", [0u8; 48]);
    folder.write("good.mhd", mhd(("", "")));
    folder.write("good.tif", tiff());
    folder.write("good.mrc", mrc());
    folder.write("flat.npy", npy(&[1, 3, 4], &[9.0; 12]));
    folder.write("t.txt", "0\n90\n");
    let words = |command: &str, file: &str| -> Vec<String> {
        let text = match command {
            "info" => format!("info {file}"),
            "convert" => format!(
                "convert {file} out/c.{}",
                if file.ends_with("hdr") || file.ends_with("mhd") { "npy" } else { "mhd" }
            ),
            "peek" => format!("peek {file} -o out/p.png"),
            "verify" => format!("verify {file}"),
            "recon" => format!("recon {file} --input absorption --theta t.txt --theta-unit deg --center 1 -o out/r"),
            "center" => format!("center {file} --input absorption --theta t.txt --theta-unit deg"),
            "stitch" => format!("stitch vertical {file} {file} --offset 1 -o out/s"),
            _ => format!("recon good.mhd --flats {file} --darks flat.npy --theta t.txt --theta-unit deg -o out/f"),
        };
        (text + " --threads 1").split_whitespace().map(String::from).collect()
    };
    // What is right passes under the same limit.
    for file in ["good.mhd", "good.tif", "good.mrc"] {
        let (code, _, text) = limited(&folder.0, &words("info", file));
        assert_eq!(code, Some(0), "{file}: {text}");
    }
    let corpus = corpus();
    assert!(corpus.len() >= 200, "{} files", corpus.len());
    let mut cases = 0;
    for (i, (name, bytes)) in corpus.iter().enumerate() {
        folder.write(name, bytes);
        let commands = ["info", "convert", "peek", "recon", "center", "stitch", "flats"];
        // Every file meets `info`, and each of the other commands in turn.
        let mut chosen = vec![commands[0], commands[1 + i % (commands.len() - 1)]];
        if name.ends_with(".json") || name.ends_with("mhd") {
            chosen.push("verify");
        }
        for command in chosen {
            let (code, time, text) = limited(&folder.0, &words(command, name));
            let right = match code {
                Some(65 | 66 | 77) => true,
                // An unknown extension is the caller's mistake.
                Some(2) => command == "convert" || command == "verify",
                Some(3) => command == "verify",
                _ => false,
            };
            assert!(right, "{command} {name}: exit {code:?}: {text}");
            assert!(text.lines().filter(|l| l.starts_with("error: ")).count() <= 1, "{command} {name}: {text}");
            assert!(time < Duration::from_secs(2), "{command} {name} took {time:?}");
            cases += 1;
        }
        std::fs::remove_file(folder.0.join(name)).unwrap();
    }
    assert!(cases >= 400, "{cases} cases");
    assert!(!folder.0.join("out").exists(), "a refused file leaves nothing behind");
}

/// Everything the library makes of a file; only that it comes back matters here.
fn swallow(path: &Path) {
    let read = |source: &dyn tomolith::volume::Source| {
        let d = source.dims();
        if d.voxels() < 1 << 16 {
            let mut values = vec![0.0; d.voxels()];
            let _ = source.read(0..d.nz, 0..d.ny, &mut values);
        }
        let _ = source.cost(0..1, 0..1);
    };
    if let Ok(scan) = open_scan(path, IoMode::Pread) {
        read(scan.projections.as_ref());
        [&scan.flats, &scan.darks].into_iter().flatten().for_each(|s| read(s.as_ref()));
    }
    if let Ok(stack) = open_stack(path, IoMode::Pread) {
        read(stack.as_ref());
    }
    let _ = open_vector(path);
    if let Ok(reader) = Reader::open(path, IoMode::Mmap) {
        read(&reader);
    }
    let _ = tomolith::volume::manifest::Manifest::read(path);
    let _ = tomolith::nn::weights::read(path);
    let _ = Config::read(path, GLOBAL, COMMANDS, &COMMANDS[0]);
    let _ = tomolith::json::Json::parse(&String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()));
}

/// Mutations of good files, from a counter: flipped bits, copied, cut, repeated and interesting bytes.
#[test]
fn mutated_files_never_panic_or_hang() {
    let folder = Scratch::new("fuzz");
    folder.write("v.raw", [0u8; 48]);
    let mut seeds: Vec<(&str, Vec<u8>)> = vec![
        ("s.tif", tiff()),
        ("s.mrc", mrc()),
        ("s.npy", npy_of("<u2", &[2, 3, 4], &[0; 48])),
        ("s.mhd", mhd(("", "")).into_bytes()),
        (
            "s.nhdr",
            b"NRRD0004\ntype: ushort\ndimension: 3\nsizes: 4 3 2\nencoding: raw\nendian: little\ndata file: v.raw\n"
                .to_vec(),
        ),
        ("s.txt", b"0 1.5\n3 # theta\n4e1\n".to_vec()),
        ("s.toml", b"threads = 2\n[recon]\nscan = 'a.h5'\nfilter-par = [0.4, 2]\noverwrite = true\n".to_vec()),
        ("s.json", b"{\"a\": [1, 2.5, true, null, \"\\u00b5\"], \"b\": {\"c\": -3e-4}}".to_vec()),
    ];
    // Its checksums are switched off, so that changes reach the pickle.
    for name in ["without_crc.pt", "strides.safetensors"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/weights").join(name);
        seeds.push((name, std::fs::read(path).unwrap()));
    }
    if let Some(path) = testing::data("savu/pco2_darks_00000.hdf") {
        seeds.push(("s.h5", std::fs::read(path).unwrap()));
    }
    const INTERESTING: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b' ', b'\n', b'-'];
    let random = Stream::new(2026, 5);
    let mut slowest = Duration::ZERO;
    for round in 0..6000u64 {
        let (name, seed) = &seeds[round as usize % seeds.len()];
        let draw = |i: u64, n: usize| random.below(round * 64 + i, n.max(1) as u32) as usize;
        let mut bytes = seed.clone();
        // The structure of a large file lies at its begin.
        let reach = bytes.len().min(4096);
        for k in 0..=draw(0, 5) as u64 {
            let (at, length) = (draw(4 * k + 1, reach).min(bytes.len().saturating_sub(1)), 1 + draw(4 * k + 2, 8));
            let end = (at + length).min(bytes.len());
            match draw(4 * k + 3, 6) {
                0 => bytes[at..end].iter_mut().for_each(|b| *b ^= 1 << draw(4 * k + 4, 8)),
                1 => bytes[at..end].fill(INTERESTING[draw(4 * k + 4, 8)]),
                2 => drop(bytes.drain(at..end)),
                3 => bytes.truncate(at),
                4 => {
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let from = draw(4 * k + 4, bytes.len().saturating_sub(length));
                    let piece = bytes[from..(from + length).min(bytes.len())].to_vec();
                    let end = (at + piece.len()).min(bytes.len());
                    bytes[at..end].copy_from_slice(&piece[..end - at]);
                }
            }
            if bytes.is_empty() {
                break;
            }
        }
        let path = folder.write(name, &bytes);
        let start = Instant::now();
        swallow(&path);
        slowest = slowest.max(start.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}
