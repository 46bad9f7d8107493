//! Writer, reader and verification together, on real files.

use super::reader::{IoMode, Reader, with_suffix};
use super::slabs::Layout;
use super::verify::{examine, verify};
use super::writer::{Job, Writer};
use super::{Dims, Dtype, Sink, Source};
use crate::error::{Error, Fault};
use crate::json::Json;
use crate::provenance::{Digest, InputFile};
use crate::testing::Scratch;
use crate::units::Micrometre;
use std::os::unix::fs::symlink;
use std::path::Path;

fn job(dtype: Dtype) -> Job {
    Job {
        dims: Dims::new(5, 3, 4).unwrap(),
        dtype,
        spacing: Some([Micrometre(1.33), Micrometre(1.33), Micrometre(2.0)]),
        slope: if dtype == Dtype::U16 { 0.25 } else { 1.0 },
        intercept: if dtype == Dtype::U16 { -3.0 } else { 0.0 },
        value_unit: "1/cm".into(),
        stage: "recon".into(),
        stage_version: 3,
        params: Json::obj([("filter", "shepp".into()), ("par", vec![0.1, 2.0].into())]),
        inputs: vec![InputFile { role: "projections".into(), name: "a.h5".into(), bytes: 7, digest: Digest::of(b"a") }],
        contract: "TL-F32-1",
    }
}

/// Values that each type can store exactly.
fn values(dtype: Dtype) -> Vec<f32> {
    let value = |i: u32| match dtype {
        Dtype::U8 => (i * 4) as f32,
        Dtype::U16 => (i * 1000) as f32 * 0.25 - 3.0,
        Dtype::F32 => (i as f32 - 20.0) * 0.1,
    };
    (0..60).map(value).collect()
}

/// Writes the sample volume `base` with two slices in a slab.
fn write(base: &Path, dtype: Dtype, heights: &[usize]) -> Digest {
    let job = job(dtype);
    let layout = Layout::with_slab_bytes(job.dims, dtype, 24 * dtype.size() as u64);
    assert_eq!(layout.slabs(), 3);
    let mut writer = Writer::create_on(Default::default(), base, job, layout, false).unwrap();
    let mut z = 0;
    for height in heights {
        writer.write(&values(dtype)[z * 12..(z + height) * 12]).unwrap();
        z += height;
        assert_eq!(writer.next_slice(), z);
    }
    writer.finish(Json::obj([("axis", 1.5.into())]), Json::obj([("host", "h".into())])).unwrap().digest()
}

#[test]
fn every_type_is_read_back_bit_for_bit_in_both_modes_and_by_blocks() {
    let scratch = Scratch::new("volume");
    for dtype in [Dtype::U8, Dtype::U16, Dtype::F32] {
        let base = scratch.join(dtype.name()).join("a.b");
        write(&base, dtype, &[5]);
        let expected = values(dtype);
        for suffix in [".mhd", ".nhdr", ".raw", ".json", ""] {
            for mode in [IoMode::Mmap, IoMode::Pread] {
                let reader = Reader::open(&with_suffix(&base, suffix), mode).unwrap();
                assert_eq!((reader.dims(), reader.dtype()), (Dims::new(5, 3, 4).unwrap(), dtype));
                assert_eq!(reader.spacing(), job(dtype).spacing);
                assert_eq!(reader.manifest().unwrap().need_str("stage").unwrap(), "recon");
                let mut all = vec![f32::NAN; 60];
                reader.read(0..5, 0..3, &mut all).unwrap();
                assert_eq!(all, expected);
                let mut block = vec![f32::NAN; 2 * 4 * 2];
                reader.read(3..5, 1..3, &mut block).unwrap();
                assert_eq!(block, [&expected[40..48], &expected[52..60]].concat());
                reader.read(2..2, 0..3, &mut []).unwrap();
                reader.read(2..4, 1..1, &mut []).unwrap();
                assert_eq!(reader.read(4..6, 0..3, &mut [0.0; 24]).unwrap_err().fault(), Fault::Bug);
                assert_eq!(reader.inputs().unwrap().len(), 2);
            }
        }
    }
}

#[test]
fn the_manifest_does_not_depend_on_how_the_slices_came() {
    let scratch = Scratch::new("volume");
    let mut seen = Vec::new();
    for heights in [&[5][..], &[1, 1, 1, 1, 1], &[2, 3], &[3, 2], &[4, 1]] {
        let base = scratch.join(format!("{}", seen.len())).join("v");
        write(&base, Dtype::F32, heights);
        seen.push(std::fs::read(with_suffix(&base, ".json")).unwrap());
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
    let manifest = Json::parse(std::str::from_utf8(&seen[0]).unwrap()).unwrap();
    let statistics = manifest.need("statistics").unwrap();
    let expected = values(Dtype::F32);
    assert_eq!(statistics.need_f64("min").unwrap() as f32, expected[0]);
    assert_eq!(statistics.need_f64("max").unwrap() as f32, expected[59]);
    assert_eq!(manifest.need("results").unwrap().need_f64("axis").unwrap(), 1.5);
}

#[test]
fn finished_outputs_foreign_parts_and_second_writers_are_safe() {
    let scratch = Scratch::new("volume");
    let base = scratch.join("new/folder/v");
    write(&base, Dtype::F32, &[5]);
    let fault = |overwrite, job: Job| Writer::create(&base, job, overwrite).err().map(|e| e.fault());
    let old = std::fs::read(with_suffix(&base, ".json")).unwrap();
    assert_eq!(fault(false, job(Dtype::F32)), Some(Fault::CannotCreate));
    assert!(!with_suffix(&base, ".raw.journal").exists());

    let mut first = Writer::create(&base, job(Dtype::U8), true).unwrap();
    assert_eq!(fault(true, job(Dtype::U8)), Some(Fault::Again));
    first.write(&values(Dtype::U8)[..12]).unwrap();
    drop(first);
    assert_eq!(std::fs::read(with_suffix(&base, ".json")).unwrap(), old, "the old output stays until the end");
    verify(&base).unwrap();
    let mut replaced = Writer::create(&base, job(Dtype::U8), true).unwrap();
    replaced.write(&values(Dtype::U8)).unwrap();
    replaced.finish(Json::obj::<&str>([]), Json::Null).unwrap();
    assert_eq!(verify(&base).unwrap().volumes[0].bytes, 60);

    let base = scratch.join("other");
    drop(Writer::create(&base, job(Dtype::F32), false).unwrap());
    let error = Writer::create(&base, job(Dtype::U8), false).err().unwrap();
    assert_eq!(error.fault(), Fault::CannotCreate);
    assert!(error.advice().unwrap().contains("--overwrite"), "{error}");
    let base = scratch.join("foreign");
    std::fs::write(with_suffix(&base, ".raw.part"), "somebody's").unwrap();
    assert_eq!(Writer::create(&base, job(Dtype::F32), false).err().unwrap().fault(), Fault::CannotCreate);
    assert_eq!(std::fs::read(with_suffix(&base, ".raw.part")).unwrap(), b"somebody's");
    let base = scratch.join("linked");
    symlink(scratch.join("target"), with_suffix(&base, ".raw.part")).unwrap();
    assert_eq!(Writer::create(&base, job(Dtype::F32), true).err().unwrap().fault(), Fault::Policy);
    assert!(!scratch.join("target").exists());
}

#[test]
fn what_cannot_fit_or_be_named_leaves_nothing_behind() {
    let scratch = Scratch::new("volume");
    // 2^50 bytes: more than any disk under test has free.
    let huge = Job { dims: Dims::new(1 << 10, 1 << 19, 1 << 19).unwrap(), ..job(Dtype::F32) };
    let error = Writer::create(&scratch.join("a/b/v"), huge, false).err().unwrap();
    assert_eq!(error.fault(), Fault::Io);
    assert!(error.what().contains("1125899906842624 bytes"), "{error}");
    let wrong: [fn(&mut Job); 7] = [
        |j| j.slope = 2.0,
        |j| j.slope = f64::NAN,
        |j| j.spacing = Some([Micrometre(0.0); 3]),
        |j| j.value_unit = "a\nb".into(),
        |j| j.stage.clear(),
        |j| j.params = Json::Null,
        |j| j.params = Json::obj([("text", "x".repeat(5 << 20).into())]),
    ];
    for wrong in wrong {
        let mut job = job(Dtype::F32);
        wrong(&mut job);
        assert_eq!(Writer::create(&scratch.join("a/v"), job, false).err().unwrap().fault(), Fault::Usage);
    }
    for name in ["a%d", " a", "LIST", "a\"b", "a\\b", "..", &"n".repeat(241)] {
        assert_eq!(Writer::create(&scratch.join(name), job(Dtype::F32), false).err().unwrap().fault(), Fault::Usage);
    }
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    std::fs::write(scratch.join("file"), "").unwrap();
    let error = Writer::create(&scratch.join("file/v"), job(Dtype::F32), false).err().unwrap();
    assert_eq!(error.fault(), Fault::CannotCreate, "{error}");
}

#[test]
fn misuse_and_values_that_cannot_be_stored_are_errors() {
    let scratch = Scratch::new("volume");
    let mut writer = Writer::create(&scratch.join("v"), job(Dtype::U8), false).unwrap();
    let mut slice = vec![1.0; 12];
    writer.write(&slice).unwrap();
    assert_eq!(writer.count(0, "n", 1).unwrap_err().fault(), Fault::Bug);
    slice[7] = 256.0;
    let error = writer.write(&slice).unwrap_err();
    assert_eq!(error.fault(), Fault::Data);
    assert!(error.what().contains("256 at x 3, y 1, z 1"), "{error}");
    // The output is not finished behind an error.
    assert_eq!(writer.write(&[1.0; 48]).unwrap_err().fault(), Fault::Data);
    assert_eq!(writer.finish(Json::obj::<&str>([]), Json::Null).unwrap_err().fault(), Fault::Data);
    // The interrupted output is taken up, as by the same command.
    let mut writer = Writer::create(&scratch.join("v"), job(Dtype::U8), false).unwrap();
    assert_eq!(writer.write(&[0.0; 13]).unwrap_err().fault(), Fault::Bug);
    drop(writer);
    let writer = Writer::create(&scratch.join("v"), job(Dtype::U8), false).unwrap();
    assert_eq!(writer.finish(Json::obj::<&str>([]), Json::Null).unwrap_err().fault(), Fault::Bug);
    assert!(!scratch.join("v.raw").exists() && !scratch.join("v.json").exists());
}

#[test]
fn not_finite_voxels_are_stored_and_counted() {
    let scratch = Scratch::new("volume");
    let mut writer = Writer::create(&scratch.join("v"), job(Dtype::F32), false).unwrap();
    let mut all = values(Dtype::F32);
    (all[3], all[50]) = (f32::NAN, f32::INFINITY);
    writer.write(&all).unwrap();
    let manifest = writer.finish(Json::obj::<&str>([]), Json::Null).unwrap();
    assert_eq!(manifest.json().need("statistics").unwrap().need_u64("nonfinite").unwrap(), 2);
    let mut back = vec![0.0; 60];
    Reader::open(&scratch.join("v.mhd"), IoMode::Mmap).unwrap().read(0..5, 0..3, &mut back).unwrap();
    assert!(back.iter().zip(&all).all(|(a, b)| a.to_bits() == b.to_bits()));
}

/// What is done to the files of a good volume, what is opened then, and the fault that follows.
type Damage = (&'static str, fn(&Path), &'static str, Fault);

#[test]
fn damaged_volumes_are_refused_in_both_modes() {
    fn edit(base: &Path, suffix: &str, from: &str, to: &str) {
        let path = with_suffix(base, suffix);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    }
    fn resize(base: &Path, length: u64) {
        let raw = std::fs::OpenOptions::new().write(true).open(with_suffix(base, ".raw")).unwrap();
        raw.set_len(length).unwrap();
    }
    fn replace_raw(base: &Path) -> std::path::PathBuf {
        let raw = with_suffix(base, ".raw");
        std::fs::remove_file(&raw).unwrap();
        raw
    }
    fn command(name: &str, args: &[&std::ffi::OsStr]) {
        assert!(std::process::Command::new(name).args(args).status().unwrap().success());
    }
    let cases: [Damage; 20] = [
        ("truncated", |b| resize(b, 239), ".mhd", Fault::Data),
        ("empty", |b| resize(b, 0), ".mhd", Fault::Data),
        ("too long", |b| resize(b, 241), ".nhdr", Fault::Data),
        ("missing", |b| drop(replace_raw(b)), ".mhd", Fault::Missing),
        ("folder", |b| std::fs::create_dir(replace_raw(b)).unwrap(), ".mhd", Fault::Missing),
        ("pipe", |b| command("mkfifo", &[replace_raw(b).as_os_str()]), ".mhd", Fault::Data),
        ("device", |b| symlink("/dev/zero", replace_raw(b)).unwrap(), ".mhd", Fault::Policy),
        ("link out", |b| symlink("/etc/passwd", replace_raw(b)).unwrap(), ".mhd", Fault::Policy),
        ("link to nowhere", |b| symlink("none", replace_raw(b)).unwrap(), ".mhd", Fault::Missing),
        ("parent folder", |b| edit(b, ".mhd", "= v.raw", "= ../v.raw"), ".mhd", Fault::Policy),
        ("absolute", |b| edit(b, ".nhdr", "data file: v.raw", "data file: /etc/passwd"), ".nhdr", Fault::Policy),
        ("another shape", |b| edit(b, ".mhd", "DimSize = 4 3 5", "DimSize = 3 4 5"), ".mhd", Fault::Data),
        ("another slope", |b| edit(b, ".mhd", "ScaleSlope = 1\n", "ScaleSlope = 2\n"), ".mhd", Fault::Data),
        ("changed manifest", |b| edit(b, ".json", "shepp", "cosine"), ".mhd", Fault::Data),
        (
            "header is a folder",
            |b| {
                std::fs::remove_file(with_suffix(b, ".mhd")).unwrap();
                std::fs::create_dir(with_suffix(b, ".mhd")).unwrap();
            },
            ".mhd",
            Fault::Missing,
        ),
        (
            "header is a pipe",
            |b| {
                std::fs::remove_file(with_suffix(b, ".mhd")).unwrap();
                command("mkfifo", &[with_suffix(b, ".mhd").as_os_str()]);
            },
            ".mhd",
            Fault::Data,
        ),
        (
            "header too long",
            |b| std::fs::write(with_suffix(b, ".mhd"), " ".repeat(65537)).unwrap(),
            ".mhd",
            Fault::Data,
        ),
        ("header not text", |b| std::fs::write(with_suffix(b, ".mhd"), b"a\xff").unwrap(), ".mhd", Fault::Data),
        ("header with NUL", |b| edit(b, ".mhd", "v.raw", "v.raw\0"), ".mhd", Fault::Data),
        (
            "no header",
            |b| {
                std::fs::remove_file(with_suffix(b, ".mhd")).unwrap();
                std::fs::remove_file(with_suffix(b, ".nhdr")).unwrap();
            },
            ".raw",
            Fault::Missing,
        ),
    ];
    for (what, damage, suffix, fault) in cases {
        let scratch = Scratch::new("volume");
        let base = scratch.join("v");
        write(&base, Dtype::F32, &[5]);
        damage(&base);
        for mode in [IoMode::Mmap, IoMode::Pread] {
            let error = Reader::open(&with_suffix(&base, suffix), mode).err().expect(what);
            assert_eq!(error.fault(), fault, "{what}: {error}");
            assert!(error.path().is_some() && error.advice().is_some(), "{what}: {error}");
        }
        assert!(verify(&base).is_err(), "{what}");
    }
    // A link that stays in the folder is fine.
    let scratch = Scratch::new("volume");
    let base = scratch.join("v");
    write(&base, Dtype::F32, &[5]);
    std::fs::rename(scratch.join("v.raw"), scratch.join("elsewhere.raw")).unwrap();
    symlink("elsewhere.raw", scratch.join("v.raw")).unwrap();
    assert!(Reader::open(&base, IoMode::Mmap).is_ok());
}

#[test]
fn a_file_that_shrinks_while_it_is_read_by_position_is_an_error() {
    let scratch = Scratch::new("volume");
    write(&scratch.join("v"), Dtype::F32, &[5]);
    let reader = Reader::open(&scratch.join("v"), IoMode::Pread).unwrap();
    std::fs::OpenOptions::new().write(true).open(scratch.join("v.raw")).unwrap().set_len(100).unwrap();
    let error = reader.read(0..5, 0..3, &mut [0.0; 60]).unwrap_err();
    assert_eq!((error.fault(), error.path()), (Fault::Io, Some(scratch.join("v.raw").as_path())));
    assert!(reader.read(0..2, 0..3, &mut [0.0; 24]).is_ok());
}

#[test]
fn foreign_volumes_with_offset_and_big_endian_are_read() {
    let scratch = Scratch::new("volume");
    let raw: Vec<u8> = [9u8; 10].into_iter().chain((0..6u16).flat_map(|v| (v * 300).to_be_bytes())).collect();
    std::fs::write(scratch.join("f.dat"), &raw).unwrap();
    std::fs::write(scratch.join("f.json"), "[1, 2]").unwrap();
    for skip in ["10", "-1"] {
        let text = format!(
            "NDims = 2\nDimSize = 3 2\nBinaryData = True\nBinaryDataByteOrderMSB = True\nHeaderSize = {skip}\n\
             ElementType = MET_USHORT\nElementDataFile = f.dat\n"
        );
        std::fs::write(scratch.join("f.mhd"), text).unwrap();
        for mode in [IoMode::Mmap, IoMode::Pread] {
            let reader = Reader::open(&scratch.join("f.mhd"), mode).unwrap();
            let mut out = [0.0; 6];
            reader.read(0..1, 0..2, &mut out).unwrap();
            assert_eq!(out, [0.0, 300.0, 600.0, 900.0, 1200.0, 1500.0]);
            assert!(reader.manifest().is_none() && reader.spacing().is_none());
        }
    }
}

#[test]
fn verify_takes_any_file_of_a_volume_or_its_folder() {
    let scratch = Scratch::new("volume");
    let digest = write(&scratch.join("a"), Dtype::F32, &[5]);
    write(&scratch.join("b"), Dtype::U16, &[5]);
    for name in ["a", "a.raw", "a.mhd", "a.nhdr", "a.json", "a.run.json"] {
        let report = verify(&scratch.join(name)).unwrap();
        assert_eq!((report.volumes.len(), report.volumes[0].digest, report.volumes[0].slabs), (1, digest, 3), "{name}");
    }
    drop(Writer::create(&scratch.join("c"), job(Dtype::F32), false).unwrap());
    std::fs::write(scratch.join("series.json"), "{}").unwrap();
    let report = verify(scratch.path()).unwrap();
    assert_eq!((report.volumes.len(), report.notes.len()), (2, 2), "{:?}", report.notes);
    assert_eq!(verify(&scratch.join("none")).unwrap_err().fault(), Fault::Missing);
    std::fs::create_dir(scratch.join("empty")).unwrap();
    assert_eq!(verify(&scratch.join("empty")).unwrap_err().fault(), Fault::Missing);

    // All failures are reported; the first names the file, the first bad slab and its slices.
    let flip = |name: &str, byte: usize| {
        let mut bytes = std::fs::read(scratch.join(name)).unwrap();
        bytes[byte] ^= 1;
        std::fs::write(scratch.join(name), bytes).unwrap();
    };
    flip("a.raw", 100);
    flip("a.raw", 239);
    flip("b.nhdr", 3);
    std::fs::remove_file(scratch.join("b.run.json")).unwrap();
    let report = examine(scratch.path()).unwrap();
    let seen: Vec<(Fault, &str)> = report
        .failures
        .iter()
        .map(|e: &Error| (e.fault(), e.path().unwrap().file_name().unwrap().to_str().unwrap()))
        .collect();
    assert_eq!(seen, [(Fault::Mismatch, "a.raw"), (Fault::Mismatch, "b.nhdr"), (Fault::Missing, "b.run.json")]);
    let error = verify(scratch.path()).unwrap_err();
    assert_eq!(error.fault().exit_code(), 3);
    assert!(error.what().contains("slab 1 (slices 2 to 3)") && error.what().contains("2 of 3 slabs"), "{error}");
    std::fs::remove_file(scratch.join("b.json")).unwrap();
    assert!(examine(scratch.path()).unwrap().failures.iter().any(|e| e.what().contains("no manifest")));
}

#[test]
fn one_flipped_bit_in_any_file_is_found() {
    let scratch = Scratch::new("volume");
    let base = scratch.join("v");
    write(&base, Dtype::F32, &[5]);
    let mut state = 20u64;
    let mut random = |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    for suffix in [".raw", ".mhd", ".nhdr", ".json", ".run.json"] {
        let path = with_suffix(&base, suffix);
        let good = std::fs::read(&path).unwrap();
        for _ in 0..60 {
            let (byte, bit) = (random(good.len()), random(8));
            let mut bad = good.clone();
            bad[byte] ^= 1 << bit;
            std::fs::write(&path, bad).unwrap();
            let error = verify(&base).expect_err(suffix);
            assert_eq!(error.fault(), Fault::Mismatch, "{suffix}, byte {byte}, bit {bit}: {error}");
            assert_eq!(error.path(), Some(path.as_path()), "{error}");
        }
        std::fs::write(&path, good).unwrap();
        verify(&base).unwrap();
    }
}
