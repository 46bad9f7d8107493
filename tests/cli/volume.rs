//! `info`, `verify`, `peek`, `convert` on good volumes and on every kind of bad one.

use crate::common::{Scratch, expect, npy, npy_of, run, stderr, stdout, tomolith};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use tomolith::testing;

/// A foreign header of 4 x 3 x 2 voxels of u16 (48 bytes), with some lines replaced; an empty value drops the line.
fn mhd(changes: &[(&str, &str)]) -> String {
    let lines = [
        ("ObjectType", "Image"),
        ("NDims", "3"),
        ("BinaryData", "True"),
        ("BinaryDataByteOrderMSB", "False"),
        ("CompressedData", "False"),
        ("ElementSpacing", "1.5 1.5 1.5"),
        ("DimSize", "4 3 2"),
        ("ElementType", "MET_USHORT"),
        ("ElementDataFile", "v.raw"),
    ];
    let mut text = String::new();
    for (key, value) in lines {
        let value = changes.iter().find(|(k, _)| *k == key).map_or(value, |(_, v)| v);
        if !value.is_empty() {
            text += &format!("{key} = {value}\n");
        }
    }
    for (key, value) in changes.iter().filter(|(k, _)| !lines.iter().any(|(l, _)| l == k)) {
        // What is not replaced is new and goes first: the data file must stay the last line.
        text = format!("{key} = {value}\n{text}");
    }
    text
}

const RAW: [u8; 48] = [7; 48];

/// Name, header, voxels, exit code, and what the error says.
type Case<'a> = (&'a str, Option<String>, Option<&'a [u8]>, i32, &'a str);

#[test]
fn bad_volumes_are_refused_by_every_reader() {
    let folder = Scratch::new("volumes");
    folder.write("secret.raw", RAW);
    let sub = folder.0.join("sub");
    std::fs::create_dir(&sub).unwrap();
    // One folder per case, so that nothing of a neighbour helps.
    let case = |name: &str, header: Option<&str>, raw: Option<&[u8]>| {
        let place = sub.join(name);
        std::fs::create_dir(&place).unwrap();
        if let Some(text) = header {
            std::fs::write(place.join("v.mhd"), text).unwrap();
        }
        if let Some(bytes) = raw {
            std::fs::write(place.join("v.raw"), bytes).unwrap();
        }
        place.join("v.mhd")
    };
    let good = mhd(&[]);
    let long = [&RAW[..], &[0]].concat();
    let huge_key = format!("Comment = {}\n{good}", "x".repeat(70_000));
    let twice = format!("DimSize = 4 3 2\n{good}");
    let trailing = format!("{good}Comment = after the end\n");
    #[rustfmt::skip]
    let mut cases: Vec<Case> = vec![
        ("truncated", Some(good.clone()), Some(&RAW[..47]), 65, "47 bytes"),
        ("empty", Some(good.clone()), Some(&[]), 65, "0 bytes"),
        ("too long", Some(good.clone()), Some(&long), 65, "49 bytes"),
        ("no raw", Some(good.clone()), None, 66, "v.raw"),
        ("no header", None, Some(&RAW), 66, "v.mhd"),
        ("empty header", Some(String::new()), Some(&RAW), 65, "v.mhd"),
        ("no text", Some("\u{0}\u{1}".into()), Some(&RAW), 65, "v.mhd"),
        ("no key", Some("just words\n".into()), Some(&RAW), 65, "line 1"),
        ("huge header", Some(huge_key), Some(&RAW), 65, "v.mhd"),
        ("duplicate", Some(twice), Some(&RAW), 65, "DimSize"),
        ("trailing", Some(trailing), Some(&RAW), 65, "ElementDataFile"),
        ("compressed", Some(mhd(&[("CompressedData", "True")])), Some(&RAW), 65, "CompressedData"),
    ];
    for (name, value) in [
        ("zero", "4 0 2"),
        ("negative", "4 -3 2"),
        ("two of three", "4 3"),
        ("four of three", "4 3 2 1"),
        ("fraction", "4 3 2.5"),
        ("words", "four three two"),
        ("2 to the 32", "65536 65536 1"),
        ("2 to the 64", "4294967296 4294967296 1"),
        ("beyond 2 to the 64", "4294967296 4294967296 16"),
        ("2e6 cubed", "2000000 2000000 2000000"),
        ("300 digits", &"9".repeat(300)),
    ] {
        let says = if name.starts_with("2 to the 32") { "bytes" } else { "v.mhd" };
        cases.push((name, Some(mhd(&[("DimSize", value)])), Some(&RAW), 65, says));
    }
    for (name, value) in
        [("nan", "nan nan nan"), ("infinite", "inf 1 1"), ("no size", "0 0 0"), ("minus", "-1 1 1"), ("one", "1.5")]
    {
        cases.push((name, Some(mhd(&[("ElementSpacing", value)])), Some(&RAW), 65, "ElementSpacing"));
    }
    for (name, key, value) in [
        ("axes", "NDims", "4"),
        ("type", "ElementType", "MET_DOUBLE"),
        ("order", "BinaryDataByteOrderMSB", "perhaps"),
        ("channels", "ElementNumberOfChannels", "3"),
        ("matrix", "TransformMatrix", "0 1 0 1 0 0 0 0 1"),
        ("offset", "HeaderSize", "-2"),
        ("big offset", "HeaderSize", "99999999999999999999"),
        ("unknown own key", "TomolithFuture", "1"),
        ("no type", "ElementType", ""),
        ("no file", "ElementDataFile", ""),
        ("list", "ElementDataFile", "LIST"),
        ("local", "ElementDataFile", "LOCAL"),
        ("pattern", "ElementDataFile", "v%03d.raw 1 2 1"),
    ] {
        cases.push((name, Some(mhd(&[(key, value)])), Some(&RAW), 65, "v.mhd"));
    }
    for (name, value) in [
        ("parent", "../../secret.raw"),
        ("absolute", "/etc/passwd"),
        ("subfolder", "deep/v.raw"),
        ("dots", ".."),
        ("backslash", "..\\secret.raw"),
    ] {
        cases.push((name, Some(mhd(&[("ElementDataFile", value)])), Some(&RAW), 77, "beside"));
    }
    let mut paths: Vec<(String, std::path::PathBuf, i32, String)> = cases
        .iter()
        .map(|(name, header, raw, code, says)| {
            (name.to_string(), case(name, header.as_deref(), *raw), *code, says.to_string())
        })
        .collect();

    let linked = case("link out", Some(&good), None);
    symlink(folder.0.join("secret.raw"), linked.with_extension("raw")).unwrap();
    paths.push(("link out".into(), linked, 77, "link".into()));
    let dangling = case("dangling", Some(&good), None);
    symlink("nowhere.raw", dangling.with_extension("raw")).unwrap();
    paths.push(("dangling".into(), dangling, 66, "v.raw".into()));
    let directory = case("directory", Some(&good), None);
    std::fs::create_dir(directory.with_extension("raw")).unwrap();
    paths.push(("directory".into(), directory, 66, "v.raw".into()));
    let device = case("device", Some(&good), None);
    symlink("/dev/zero", device.with_extension("raw")).unwrap();
    paths.push(("device".into(), device, 77, "v.raw".into()));
    let fifo = case("fifo", Some(&good), None);
    let made = Command::new("mkfifo").arg(fifo.with_extension("raw")).status();
    if made.is_ok_and(|s| s.success()) {
        paths.push(("fifo".into(), fifo, 65, "pipe".into()));
    } else {
        println!("skipped: there is no mkfifo");
    }

    for (name, path, code, says) in &paths {
        let picture = folder.0.join("x.png");
        for (command, more) in
            [("info", vec![]), ("verify", vec![]), ("peek", vec!["-o".into(), picture.clone().into_os_string()])]
        {
            for io in ["mmap", "pread"] {
                let output =
                    tomolith(&folder.0).arg(command).arg(path).args(&more).args(["--io", io]).output().unwrap();
                expect(&output, *code, &[says], &format!("{command} --io {io} on '{name}'"));
                let err = stderr(&output);
                assert!(err.contains("v.mhd") || err.contains("v.raw"), "{command} on '{name}' names no file: {err}");
                assert!(!picture.exists(), "{command} on '{name}' left a picture");
            }
        }
    }
    assert!(paths.len() >= 45, "{} cases", paths.len());
}

#[test]
fn a_good_foreign_volume_is_read() {
    let folder = Scratch::new("good");
    folder.write("v.mhd", mhd(&[("DistanceUnits", "um")]));
    folder.write("v.raw", (0..24u16).flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    let output = run(&folder.0, "info v.mhd");
    expect(&output, 0, &["4 x 3 x 2 voxels", "u16", "1.5 x 1.5 x 1.5 um", "48 expected, 48 actual", "11.5"], "info");
    expect(&run(&folder.0, "verify v.mhd"), 66, &["v.mhd", "manifest"], "nothing to verify it with");
    let output = run(&folder.0, "info v.mhd --json");
    expect(&output, 0, &["\"max\": 23", "\"mean\": 11.5", "\"nan\": 0"], "info --json");
    assert!(output.stderr.is_empty(), "{}", stderr(&output));
}

#[test]
fn peek_cuts_and_refuses() {
    let folder = Scratch::new("peek");
    folder.write("v.npy", npy(&[2, 3, 4], &(0..24).map(|i| i as f32).collect::<Vec<_>>()));
    folder.write("nan.npy", npy(&[1, 2, 2], &[f32::NAN; 4]));
    folder.write("hot.npy", npy(&[1, 2, 2], &[1.0, f32::NAN, f32::INFINITY, 2.0]));
    folder.write("old.png", "mine");
    folder.write("plain.txt", "0 1 2");
    #[rustfmt::skip]
    let cases: &[(&str, i32, &[&str])] = &[
        ("peek v.npy -o a.png", 0, &["a.png 4x3", "black 12", "white 23"]),
        ("peek v.npy -o b.png --plane xz --slice 2 --window -1,30", 0, &["b.png 4x2", "black -1", "white 30"]),
        ("peek v.npy -o c.png --plane yz --slice 3", 0, &["c.png 3x2"]),
        ("peek hot.npy -o d.png", 0, &["2 pixels are not finite"]),
        ("peek v.npy -o old.png --overwrite", 0, &["old.png"]),
        ("peek v.npy -o a.png", 73, &["a.png", "already exists"]),
        ("peek v.npy -o e.jpg", 2, &["e.jpg", ".png"]),
        ("peek v.npy", 2, &["--output"]),
        ("peek -o e.png", 2, &["FILE"]),
        ("peek v.npy -o missing/e.png", 73, &["missing/e.png"]),
        ("peek v.npy -o e.png --slice 2", 2, &["--slice", "0 to 1"]),
        ("peek v.npy -o e.png --slice -1", 2, &["--slice", "'-1'"]),
        ("peek v.npy -o e.png --plane zx", 2, &["--plane", "known: xy, xz, yz"]),
        ("peek v.npy -o e.png --window 2,1", 2, &["--window"]),
        ("peek v.npy -o e.png --window wide", 2, &["--window"]),
        ("peek nan.npy -o e.png", 65, &["nan.npy", "finite"]),
        ("peek none.npy -o e.png", 66, &["none.npy"]),
        ("peek plain.txt -o e.png", 65, &["plain.txt"]),
        ("peek . -o e.png", 66, &["folder"]),
        ("info none.mhd", 66, &["none.mhd"]),
        ("info .", 66, &["folder"]),
        ("info v.npy nan.npy", 2, &["nan.npy"]),
        ("info nan.npy", 0, &["no finite value", "nan          4"]),
        ("verify .", 66, &["no volume"]),
        ("verify", 2, &["FILE|DIR"]),
        ("verify nowhere", 66, &["nowhere"]),
    ];
    for (words, code, says) in cases {
        expect(&run(&folder.0, words), *code, says, words);
    }
    let png = std::fs::read(folder.0.join("a.png")).unwrap();
    let mut image = zune_png::PngDecoder::new(zune_png::zune_core::bytestream::ZCursor::new(&png));
    image.decode_headers().unwrap();
    assert_eq!(image.dimensions(), Some((4, 3)));
    assert!(!folder.0.join("e.png").exists());
}

#[test]
fn convert_keeps_every_bit() {
    let folder = Scratch::new("convert");
    // Values that a careless copy changes: a negative zero, a subnormal, NaN with a payload, infinities.
    let awkward = [0x8000_0000u32, 1, 0x7fc0_1234, 0x7f80_0000, 0xff80_0000, 0x3f80_0001].map(f32::from_bits);
    let f32s: Vec<f32> = awkward.iter().cycle().take(24).copied().collect();
    folder.write("f32.npy", npy(&[2, 3, 4], &f32s));
    folder.write(
        "u16.npy",
        npy_of("<u2", &[2, 3, 4], &(0..24u16).flat_map(|v| (v * 2500).to_le_bytes()).collect::<Vec<_>>()),
    );
    folder.write("u8.npy", npy_of("|u1", &[2, 3, 4], &(0..24).map(|v| v * 10).collect::<Vec<u8>>()));
    folder.write("f64.npy", npy_of("<f8", &[1, 1, 1], &0.1f64.to_le_bytes()));
    for (name, size) in [("f32", 4), ("u16", 2), ("u8", 1)] {
        expect(&run(&folder.0, &format!("convert {name}.npy out/{name}.mhd")), 0, &["recorded as unknown"], name);
        expect(&run(&folder.0, &format!("verify out/{name}.mhd")), 0, &["ok"], name);
        expect(&run(&folder.0, &format!("info out/{name}.mhd")), 0, &["size unknown", name, "convert", "npy"], name);
        expect(&run(&folder.0, &format!("convert out/{name}.mhd {name}_back.npy")), 0, &[], name);
        let read = |file: &str| std::fs::read(folder.0.join(file)).unwrap();
        let there = read(&format!("{name}.npy"));
        assert_eq!(read(&format!("{name}_back.npy")), there, "{name}: there and back");
        assert_eq!(read(&format!("out/{name}.raw")), there[there.len() - 24 * size..], "{name}: the raw bytes");
    }
    expect(&run(&folder.0, "verify out"), 0, &["out/f32.", "out/u16.", "out/u8."], "a folder");
    #[rustfmt::skip]
    let cases: &[(&str, i32, &[&str])] = &[
        ("convert f32.npy out/known.mhd --pixel 1.33um", 0, &[]),
        ("info out/known.mhd", 0, &["1.33 x 1.33 x 1.33 um"]),
        ("convert f32.npy out/f32.mhd", 73, &["out/f32", "exists"]),
        ("convert f32.npy out/f32.mhd --overwrite --pixel 2um", 0, &[]),
        ("convert out/f32.mhd u8.npy", 73, &["u8.npy", "exists"]),
        ("convert f32.npy out/x.mhd --pixel 1.33", 2, &["--pixel", "1.33um"]),
        ("convert out/f32.mhd x.npy --pixel 1um", 2, &["--pixel"]),
        ("convert f64.npy out/x.mhd", 65, &["f64.npy", "float32"]),
        ("convert f32.npy out/x.raw", 2, &["out/x.mhd"]),
        ("convert f32.npy x.jpg", 2, &["'.npy' to '.jpg'"]),
        ("convert out/f32.mhd out/y.mhd", 2, &["nothing to convert"]),
        ("convert f32.npy out/x.mhd --along y", 2, &["--along", "--project"]),
        ("convert f32.npy", 2, &["OUT"]),
        ("convert none.npy out/x.mhd", 66, &["none.npy"]),
        ("convert out/none.mhd x.npy", 66, &["none.mhd"]),
    ];
    for (words, code, says) in cases {
        expect(&run(&folder.0, words), *code, says, words);
    }
    assert!(!folder.0.join("x.npy").exists() && !folder.0.join("out/x.raw").exists());
}

#[test]
fn verify_finds_a_flipped_bit() {
    let folder = Scratch::new("flip");
    folder.write("a.npy", npy(&[4, 8, 8], &(0..256).map(|i| i as f32).collect::<Vec<_>>()));
    for name in ["good", "bad", "cut"] {
        expect(&run(&folder.0, &format!("convert a.npy out/{name}.mhd -q")), 0, &[], name);
    }
    let raw = |name: &str| folder.0.join(format!("out/{name}.raw"));
    let mut bytes = std::fs::read(raw("bad")).unwrap();
    bytes[777] ^= 1;
    std::fs::write(raw("bad"), &bytes).unwrap();
    expect(&run(&folder.0, "verify out/good.mhd"), 0, &["ok", "out/good."], "good");
    expect(&run(&folder.0, "verify out/bad.mhd"), 3, &["bad.", "slab 0"], "bad");
    std::fs::write(raw("cut"), &bytes[..1000]).unwrap();
    expect(&run(&folder.0, "verify out/cut.mhd"), 3, &["cut.raw", "1000 bytes"], "cut");
    // All are looked at, and a difference decides the exit code.
    let output = run(&folder.0, "verify out");
    expect(&output, 3, &["ok", "FAIL", "2 faults"], "the folder");
    assert_eq!(stdout(&output).lines().count(), 3, "{}", stdout(&output));
    std::fs::remove_file(folder.0.join("out/good.mhd")).unwrap();
    let output = run(&folder.0, "verify out");
    assert!(stdout(&output).lines().any(|l| l.starts_with("FAIL") && l.contains("good.mhd")), "{}", stdout(&output));
}

#[test]
fn a_measured_scan_is_described() {
    if !cfg!(feature = "hdf5") {
        println!("skipped: this build reads no HDF5");
        return;
    }
    let Some(tooth) = testing::data("tooth.h5") else { return };
    let folder = Scratch::new("tooth");
    let output = tomolith(&folder.0).arg("info").arg(&tooth).output().unwrap();
    expect(&output, 0, &["640 columns x 2 rows x 181 projections", "181 angles, 0 to 179", "deg"], "info tooth.h5");
    let output = tomolith(&folder.0).arg("peek").arg(&tooth).args(["-o", "p.png"]).output().unwrap();
    expect(&output, 0, &["p.png 640x2"], "peek tooth.h5");
}

#[test]
fn an_interrupt_ends_in_order() {
    let folder = Scratch::new("interrupt");
    // 8 GiB of holes: nothing on the disk, and seconds of reading.
    folder.write("v.mhd", mhd(&[("DimSize", "1024 1024 4096")]));
    let raw = std::fs::File::create(folder.0.join("v.raw")).unwrap();
    if raw.set_len(8 << 30).is_err() {
        println!("skipped: the file system has no holes");
        return;
    }
    let child =
        tomolith(&folder.0).args(["info", "v.mhd"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(400));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.is_ok_and(|s| s.success()), "the program had ended already");
    let output = child.wait_with_output().unwrap();
    expect(&output, 75, &["interrupted", "again"], "info, interrupted");
    assert!(output.stdout.is_empty(), "{}", stdout(&output));
}

/// A file-size limit is met like a full disk, at many bytes of every kind of file: exit 74 with what is needed, nothing
/// half done, and what was there before stays.
#[test]
fn a_full_disk_leaves_every_kind_of_output_old_or_whole() {
    let folder = Scratch::new("full");
    let noise = tomolith::num::philox::Stream::new(1, 1);
    let values: Vec<f32> = (0..6 * 60 * 70).map(|i| noise.below(i, 1009) as f32).collect();
    folder.write("v.npy", npy(&[6, 60, 70], &values));
    expect(&run(&folder.0, "convert v.npy v.mhd -q"), 0, &[], "volume");
    let names = |folder: &Path| -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let cases = [
        ("convert v.mhd out/o.npy", "o.npy", 98),
        ("convert v.mhd out/o.tiff", "o.tiff", 98),
        ("convert v.mhd out/o_#.tiff", "o_00000.tiff", 16),
        ("convert v.npy out/o.mhd", "o.raw", 98),
        ("peek v.mhd -o out/p.png", "p.png", 3),
        ("info v.mhd --status out/s.json", "s.json", 0),
        ("convert v.npy out/o.mhd --status out/s.json", "s.json", 0),
    ];
    for (words, name, most) in cases {
        for limit in [0, 1, 3, most / 2, most].into_iter().filter(|&limit| limit <= most) {
            for old in [false, true] {
                let out = folder.0.join("out");
                let _ = std::fs::remove_dir_all(&out);
                std::fs::create_dir(&out).unwrap();
                if old {
                    std::fs::write(out.join(name), "precious").unwrap();
                }
                let before = names(&out);
                let overwrite = if old && !words.starts_with("info") { "--overwrite" } else { "" };
                let script =
                    format!("ulimit -f {limit}; exec {} {words} {overwrite} -q", env!("CARGO_BIN_EXE_tomolith"));
                let case = format!("{words} within {limit} KiB, old {old}");
                let output =
                    Command::new("bash").args(["-c", &script]).current_dir(&folder.0).stdin(Stdio::null()).output();
                expect(&output.unwrap(), 74, &["no space: the file needs", "bytes free"], &case);
                assert_eq!(names(&out), before, "{case}");
                if old {
                    assert_eq!(std::fs::read(out.join(name)).unwrap(), b"precious", "{case}");
                }
            }
        }
    }
    // Where the first of several files fits and the second does not, the same command goes on later.
    let one = "convert v.mhd out/o_#.tiff -q";
    expect(&run(&folder.0, one), 0, &[], one);
    let whole = std::fs::read(folder.0.join("out/o_00005.tiff")).unwrap();
    std::fs::remove_file(folder.0.join("out/o_00005.tiff")).unwrap();
    expect(&run(&folder.0, one), 0, &[], "again");
    assert_eq!(std::fs::read(folder.0.join("out/o_00005.tiff")).unwrap(), whole);
}
