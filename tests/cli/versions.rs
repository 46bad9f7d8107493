//! A stage's version is raised when its bits change: what each stage makes of small inputs, by version and digest.
//!
//! The inputs are synthetic and the same everywhere, and so are the bits. A digest that differs says that the stage's result
//! is another: raise the stage's version and write down the new digest. Where only what it reads is another, because a stage
//! before it changed, its version stays.

use crate::common::series::{cell, seal};
use crate::common::{Scratch, expect, npy, run};
use std::path::Path;
use tomolith::cli::phantom::folder::STAGE_VERSION;
use tomolith::num::elementary::sin;
use tomolith::num::philox::Stream;
use tomolith::pipeline::record::Record;
use tomolith::pipeline::{VERSIONS, version};
use tomolith::provenance::Digest;

/// Stage, its version, the file of it that is looked at, and the first digits of its digest.
const KNOWN: [(&str, u32, &str, &str); 8] = [
    ("center", 1, "axis.txt", "9a89ebd5e675"),
    ("recon", 6, "slices/s01.mhd", "bb65f3809acd"),
    ("register", 6, "registered/moved.mhd", "3028321e41e9"),
    ("seg predict", 1, "classes/s01.mhd", "4a0b7a44ce54"),
    ("seg after", 1, "labels/s01.mhd", "c881e7372eb2"),
    ("series", 1, "series.toml", "3df278cb2f6a"),
    ("analyze", 11, "numbers/analysis.json", "8d2b154b244c"),
    ("report", 10, "report.html", "301ab87f30ae"),
];

/// Commands that write a volume and are no stage of a run: their words, the volume, its stage and version, and the first
/// digits of its digest.
const OTHERS: [(&str, &str, &str, u32, &str); 8] = [
    ("convert moved.npy made/moved.mhd --pixel 1um", "moved", "convert", 1, "0972cf8ca9a0"),
    (
        "resample moved.npy --transform registered/moved.transform.json --like fixed.npy -o made/back",
        "back",
        "resample",
        1,
        "77ffcec604a1",
    ),
    ("orient fixed.npy --angles 1,-0.5 -o made/level", "", "", 0, ""),
    (
        "resample moved.npy --transform made/level.transform.json --like fixed.npy -o made/level",
        "level",
        "resample",
        1,
        "f20d0493965b",
    ),
    (
        "stitch vertical low.npy high.npy --offset 18 --search 4 -o made/tall",
        "tall",
        "stitch vertical",
        3,
        "ae0da934e88e",
    ),
    ("stitch side left.npy right.npy -o made/wide", "wide", "stitch side", 2, "1e871bcde99e"),
    ("labels import painted.npy --map from-0 --like fixed.npy -o made/drawn", "drawn", "labels", 1, "d86cbd286dba"),
    ("labels export made/drawn.mhd made/plain.mhd --map from-0", "plain", "labels-export", 1, "d86cbd286dba"),
];

/// Files of `phantom discs`: projections and truth, together.
const DISCS: &str = "74fe2853b35f";

/// Scans of `phantom cell`, which no run makes: their version, how they are made, and the first digits of their digest.
const SCANS: (u32, [(&str, &str); 3]) = (
    4,
    [
        ("--mode radiographs-phase --projections 24", "29252b07f18c"),
        ("--mode radiographs-phase --projections 24 --fields 2", "56f00dc8566d"),
        ("--mode volume", "553e86d3ef93"),
    ],
);

/// Waves on a grid of 40 x 44 x 48, `shift` voxels along x.
fn waves(shift: f64) -> Vec<f32> {
    let stream = Stream::new(1, 0);
    let value = |i: usize| {
        let p = [(i % 48) as f64 + shift, (i / 48 % 44) as f64, (i / 48 / 44) as f64];
        let wave = |w: u64| {
            let phase: f64 = (0..3).map(|k| 0.25 * stream.normal(4 * w + k as u64) * p[k]).sum();
            sin(phase + 6.0 * stream.uniform_f64(4 * w + 3))
        };
        (0..24).map(wave).sum::<f64>() as f32
    };
    (0..40 * 44 * 48).map(value).collect()
}

/// What the commands read: two views of the waves, parts of one of them, and classes.
fn inputs(folder: &Scratch) {
    let [fixed, moved] = [waves(0.0), waves(1.5)];
    let slice = 44 * 48;
    folder.write("low.npy", npy(&[30, 44, 48], &fixed[..30 * slice]));
    folder.write("high.npy", npy(&[22, 44, 48], &fixed[18 * slice..]));
    for (name, columns) in [("left.npy", 0..32), ("right.npy", 20..48)] {
        let part = |row: &[f32]| row[columns.clone()].iter().map(|v| 0.6 + 0.01 * v).collect::<Vec<_>>();
        let values: Vec<f32> = fixed.chunks_exact(48).flat_map(part).collect();
        folder.write(name, npy(&[40, 44, columns.len()], &values));
    }
    let classes: Vec<f32> = fixed.iter().map(|&v| f32::from(u8::from(v > 0.0) + u8::from(v > 3.0))).collect();
    folder.write("painted.npy", npy(&[40, 44, 48], &classes));
    folder.write("fixed.npy", npy(&[40, 44, 48], &fixed));
    folder.write("moved.npy", npy(&[40, 44, 48], &moved));
}

/// Of [`OTHERS`] and [`DISCS`] what is not as it was.
fn others(there: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    for (words, name, stage, version, digits) in OTHERS {
        expect(&run(there, words), 0, &[], words);
        if name.is_empty() {
            continue;
        }
        let path = there.join(format!("made/{name}.json"));
        let json = tomolith::json::Json::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let told = (json.need_str("stage").unwrap().to_string(), json.need_u64("stage_version").unwrap());
        let found = digest_of(&path);
        if told != (stage.to_string(), u64::from(version)) || found[..12] != *digits {
            wrong.push(format!("(\"{words}\", \"{name}\", \"{}\", {}, \"{}\"),", told.0, told.1, &found[..12]));
        }
    }
    let words = "phantom discs -q -o discs --columns 64 --rows 4 --projections 16";
    expect(&run(there, words), 0, &[], words);
    let files = ["projections.npy", "flats.npy", "darks.npy", "truth.npy"].map(|f| there.join("discs").join(f));
    let found = Digest::root(&files.map(|f| Digest::of_file(&f).unwrap().0)).hex();
    if found[..12] != *DISCS {
        wrong.push(format!("DISCS \"{}\"", &found[..12]));
    }
    wrong
}

/// The digest of a volume's voxels, by its header.
fn digest_of(path: &Path) -> String {
    let text = std::fs::read_to_string(path.with_extension("json")).unwrap();
    let json = tomolith::json::Json::parse(&text).unwrap();
    json.need("volume").unwrap().need_str("digest").unwrap().to_string()
}

#[test]
fn a_stage_whose_bits_change_has_another_version() {
    let folder = Scratch::new("versions");
    let there = folder.0.as_path();
    cell(&folder);
    seal(there, "run cell.toml -o out");
    let record = Record::parse(&std::fs::read_to_string(there.join("out/run.json")).unwrap()).unwrap();
    inputs(&folder);
    let words = "register --fixed fixed.npy --moving moved.npy --capture 4 -o registered";
    expect(&run(there, words), 0, &[], words);
    let mut wrong = Vec::new();
    for (stage, known, file, digits) in KNOWN {
        let found = match stage {
            "register" => digest_of(&there.join(file)),
            _ if file.ends_with(".mhd") => digest_of(&there.join("out").join(file)),
            _ => record.digest_of(file).unwrap().to_string(),
        };
        if (known, digits) != (version(stage), &found[..digits.len()]) {
            wrong.push(format!("(\"{stage}\", {}, \"{file}\", \"{}\"),", version(stage), &found[..12]));
        }
    }
    wrong.extend(others(there));
    let (version, how) = SCANS;
    for (k, (how, digits)) in how.into_iter().enumerate() {
        let words = format!("phantom cell -q -o c{k} --preset tiny --only 16 --seed 3 {how}");
        expect(&run(there, &words), 0, &[], &words);
        let home = there.join(format!("c{k}/step_16"));
        let inside = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
        let mut names: Vec<_> =
            inside(&home).into_iter().flat_map(|p| if p.is_dir() { inside(&p) } else { vec![p] }).collect();
        names.retain(|p| p.extension().is_some_and(|e| e == "raw"));
        names.sort();
        let found = Digest::root(&names.iter().map(|p| Digest::of_file(p).unwrap().0).collect::<Vec<_>>()).hex();
        if names.is_empty() || found[..12] != *digits || version != STAGE_VERSION {
            wrong.push(format!("{STAGE_VERSION}, (\"{how}\", \"{}\"), of {} files", &found[..12], names.len()));
        }
    }
    assert!(wrong.is_empty(), "bits or versions changed:\n{}", wrong.join("\n"));
    assert!(VERSIONS.iter().all(|(stage, _)| KNOWN.iter().any(|k| k.0 == *stage)));
}
