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
    ("report", 9, "report.html", "58e9665d2921"),
];

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
fn waves(shift: f64) -> Vec<u8> {
    let stream = Stream::new(1, 0);
    let value = |i: usize| {
        let p = [(i % 48) as f64 + shift, (i / 48 % 44) as f64, (i / 48 / 44) as f64];
        let wave = |w: u64| {
            let phase: f64 = (0..3).map(|k| 0.25 * stream.normal(4 * w + k as u64) * p[k]).sum();
            sin(phase + 6.0 * stream.uniform_f64(4 * w + 3))
        };
        (0..24).map(wave).sum::<f64>() as f32
    };
    npy(&[40, 44, 48], &(0..40 * 44 * 48).map(value).collect::<Vec<f32>>())
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
    folder.write("fixed.npy", waves(0.0));
    folder.write("moved.npy", waves(1.5));
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
