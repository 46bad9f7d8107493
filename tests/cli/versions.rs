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
    ("analyze", 10, "numbers/analysis.json", "2e880dcd49fc"),
    ("report", 9, "report.html", "824f9607d02f"),
];

/// What the small run does not ask of its stages: stage, its version, the words, the folder that they write, and the first digits
/// of the digest of what lies there.
const MORE: [(&str, u32, &str, &str, &str); 9] = [
    ("center", 1, "center c0/step_16/scan.toml --center tilt --sheet axes/sheet.png", "axes", "-"),
    (
        "recon",
        6,
        "recon c0/step_16/projections.mhd FILES --delta-beta 500 --energy 25keV --distance 6cm --stripe sf --zinger 3000 --padding edge \
         --rows 8:24 --crop x=8:60,y=20:60 -o phase/s",
        "phase",
        "-",
    ),
    (
        "recon",
        6,
        "recon c0/step_16/projections.mhd FILES --algorithm gridrec-compat --stripe vo --bin 2 -o compat/s",
        "compat",
        "-",
    ),
    (
        "register",
        6,
        "register --fixed fixed.npy --moving moved.npy --capture 4 --bodies all=4:40 --interpolation linear -o bodies",
        "bodies",
        "-",
    ),
    (
        "seg predict",
        1,
        "seg predict --weights w.safetensors --input c2/step_16/grey.mhd --grey 0,1.2 --roi 64 --plane xy,zy --entropy --margin \
         --confidence --overlap 0.5 --blend gaussian -o maps/s",
        "maps",
        "-",
    ),
    (
        "seg predict",
        1,
        "seg predict --weights w.safetensors --input c2/step_16/grey.mhd --grey 0,1.2 --roi 64 --passes 2 --mutual -o passes/s",
        "passes",
        "-",
    ),
    ("seg after", 1, "seg after cell/truth/step_12/label.mhd --rules all.toml -o after/s", "after", "-"),
    (
        "analyze",
        11,
        "analyze cell --grey truth/step_#/li_frac.mhd --grey-lithium 1 --grey-fill 0 --mesh dendrite --tile 8 --draws 40 --shifts 19 \
         --turn 12 -o all",
        "all",
        "-",
    ),
    ("report", 9, "report all --title Everything --figures page/figures -o page/report.html", "page", "-"),
];
/// Files of a scan.
const FILES: &str = "--flats c0/step_16/flats.mhd --flats-after c0/step_16/flats_after.mhd --darks c0/step_16/darks.mhd \
                     --theta c0/step_16/theta.txt --theta-unit deg --pixel 1.33um --nonfinite zero";

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

/// The digest of all files of a folder but those that tell what made them.
fn digest_of_all(folder: &Path) -> String {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            let is_told = path.extension().is_some_and(|e| ["json", "mhd", "nhdr"].iter().any(|told| e == *told));
            if path.is_dir() {
                folders.push(path)
            } else if !is_told {
                files.push(path)
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    Digest::root(&files.iter().map(|f| Digest::of_file(f).unwrap().0).collect::<Vec<_>>()).hex()
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
        let found = digest_of_all(&home);
        if found[..12] != *digits || version != STAGE_VERSION {
            wrong.push(format!("{STAGE_VERSION}, (\"{how}\", \"{}\")", &found[..12]));
        }
    }
    let words = "phantom cell -q -o cell --preset tiny --mode labels --steps 3 --seed 4";
    expect(&run(there, words), 0, &[], words);
    folder.write(
        "all.toml",
        "axis = \"y\"\n[[edge]]\naxis = \"x\"\nwidth = 3\nbecomes = \"unlabelled\"\n[[window]]\nclass = \"dendrite\"\nfrom = 60\n\
         to = 120\nbecomes = \"background\"\n[[split]]\nclass = \"deposited\"\nat = 70\nbecomes = \"redeposited\"\n",
    );
    for (stage, known, words, made, digits) in MORE {
        std::fs::create_dir_all(there.join(made)).unwrap();
        expect(&run(there, &format!("{} --overwrite -q", words.replace("FILES", FILES))), 0, &[], words);
        let (found, version) = (digest_of_all(&there.join(made)), tomolith::pipeline::version(stage));
        if (known, digits) != (version, &found[..12]) {
            wrong.push(format!("(\"{stage}\", {version}, …, \"{made}\", \"{}\")", &found[..12]));
        }
    }
    assert!(wrong.is_empty(), "bits or versions changed:\n{}", wrong.join("\n"));
    assert!(VERSIONS.iter().all(|(stage, _)| KNOWN.iter().any(|k| k.0 == *stage)));
}
