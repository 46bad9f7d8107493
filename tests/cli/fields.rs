//! Fields of view of one tall sample, each with its own axis, as one volume: slices joined, or, where the phase is retrieved,
//! transmissions before.

use crate::common::{Scratch, expect, json, npy, run, stderr, tomolith};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tomolith::json::Json;
use tomolith::num::elementary::exp;
use tomolith::num::philox::Stream;
use tomolith::phantom::discs::{Disc, Sampling, sinogram};
use tomolith::provenance::Digest;

fn manifest(folder: &Path, name: &str) -> Json {
    json(&folder.join(format!("{name}.json")))
}

/// Slice z of a volume of slices of `side` x `side`.
fn slice(folder: &Path, name: &str, side: usize, z: usize) -> Vec<f32> {
    let bytes = std::fs::read(folder.join(format!("{name}.raw"))).unwrap();
    let (own, pixels) = (bytes.as_chunks::<4>().0, side * side);
    own[z * pixels..(z + 1) * pixels].iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Projections of discs that wander along z, one field of a tall sample: rows at z₀, z₀ + 1 …; absorption in f32.
fn tall(z0: f64, [angles, rows, columns]: [usize; 3], axis: f64, noise: f64, seed: u64) -> Vec<f32> {
    let theta: Vec<f64> = (0..angles).map(|i| i as f64 * std::f64::consts::PI / angles as f64).collect();
    let random = Stream::new(seed, 4);
    let mut values = vec![0.0f32; angles * rows * columns];
    for row in 0..rows {
        let z = z0 + row as f64;
        let discs = [
            Disc { x: 9.0 * (0.06 * z).sin(), y: 7.0 * (0.05 * z).cos(), radius: 10.0, mu: 0.02 },
            Disc { x: -12.0 + 0.1 * z, y: 11.0 * (0.05 * z).sin(), radius: 5.0 + 1.5 * (0.1 * z).sin(), mu: 0.03 },
        ];
        for (angle, line) in sinogram(&discs, &theta, columns, axis, Sampling::Pixel).chunks_exact(columns).enumerate()
        {
            for (x, p) in line.iter().enumerate() {
                let at = (angle * rows + row) * columns + x;
                values[at] = (p + noise * random.normal(at as u64)) as f32;
            }
        }
    }
    values
}

/// Of fields whose phase is retrieved the transmissions are joined: what comes out is the reconstruction of one tall scan, whether
/// or not the work is killed in between.
#[test]
fn fields_are_joined_before_their_phase_is_retrieved() {
    let folder = Scratch::new("fields-phase");
    let (size, rows) = ([90, 40, 64], 96);
    let places = [(0.0, 31.5), (28.4, 30.2), (56.0, 32.75)];
    let light = |values: Vec<f32>| values.into_iter().map(|p| exp(-f64::from(p)) as f32).collect::<Vec<f32>>();
    for (k, (z, axis)) in places.iter().enumerate() {
        folder.write(&format!("s{k}.npy"), npy(&size, &light(tall(*z, size, *axis, 0.01, k as u64))));
    }
    let whole = [90, rows, 64];
    folder.write("whole.npy", npy(&whole, &light(tall(0.0, whole, 31.5, 0.01, 9))));
    let angles = |from: f64| (0..90).map(|i| format!("{}\n", from + 2.0 * f64::from(i))).collect::<String>();
    folder.write("t.txt", angles(0.0));
    folder.write("late.txt", angles(0.2));
    let options = "--input transmission --theta t.txt --theta-unit deg --padding none --pixel 2um --energy 20keV \
                   --distance 1cm --delta-beta 300 -q";
    let place = "--offset 30,26 --search 6 --center 31.5,30.2,32.75";
    let one = format!("recon s0.npy --fields s1.npy,s2.npy {options} {place}");
    let at_once = format!("{one} -o once/all");
    expect(&run(&folder.0, &at_once), 0, &[], &at_once);
    let killed = format!("{one} -o out/all");
    assert!(until_done(&folder.0, &killed, Duration::from_millis(15)) > 0);
    for suffix in ["raw", "mhd", "nhdr", "json", "png"] {
        let [a, b] = ["once", "out"].map(|at| std::fs::read(folder.0.join(at).join(format!("all.{suffix}"))).unwrap());
        assert!(a == b, "all.{suffix} differs");
    }
    // Killed between its end and the removal of what lies between, that stays until the next one that is not.
    expect(&run(&folder.0, &format!("{killed} --overwrite")), 0, &[], &killed);
    let left = std::fs::read_dir(folder.0.join("out")).unwrap().count();
    assert_eq!(left, 6, "nothing lies between any more");
    let m = manifest(&folder.0.join("out"), "all");
    let roles: Vec<&str> = m.need_arr("inputs").unwrap().iter().filter_map(|f| f.get("role")?.as_str()).collect();
    assert!(["field 0 projections", "field 1 projections", "field 2 projections"].iter().all(|r| roles.contains(r)));
    for (k, fit) in m.need("results").unwrap().need("fields").unwrap().need_arr("fits").unwrap().iter().enumerate() {
        let shift: Vec<f64> = fit.need_arr("shift_zyx").unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let truth = [places[k + 1].0 - places[k].0, 0.0, 0.0];
        assert!((0..3).all(|axis| (shift[axis] - truth[axis]).abs() < 0.05), "{shift:?} for {truth:?}, {fit:?}");
    }
    let words = format!("recon whole.npy {options} --center 31.5 -o out/whole");
    expect(&run(&folder.0, &words), 0, &[], &words);
    let d = m.need("volume").unwrap().need("dims").unwrap().need_u64("nz").unwrap();
    assert_eq!(d as usize, rows);
    // Everywhere in the square that all projections see, seams not excepted, they differ as two scans do.
    let apart = |z: usize| differences(&folder.0.join("out"), ["all", "whole"], z);
    let noise = apart(14)[1];
    for z in 2..rows - 2 {
        let [mean, deviation] = apart(z);
        assert!(mean.abs() < 0.2 * noise, "slice {z}: a step of {mean:e}, noise {noise:e}");
        // Retrieval leaves so little noise that 0.03 of a pixel show at the discs' rims.
        assert!(deviation < 1.6 * noise, "slice {z}: {deviation:e}, noise {noise:e}");
    }
    // Of other angles no projections can be joined: slices are, and what that costs is said.
    let late = at_once.replace("t.txt", "t.txt,late.txt,t.txt").replace("once/all", "late/all").replace("-q", "");
    let output = run(&folder.0, &late);
    expect(&output, 0, &[], &late);
    for said in ["fields were taken at other angles", "of which phase retrieval spoils"] {
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
    assert_eq!(manifest(&folder.0.join("late"), "all").need_str("stage").unwrap(), "stitch vertical");
    // A part of the slices, and what lies between kept.
    let part = at_once.replace("once/all", "part/all --crop x=10:50 --keep-intermediate --stripe ti");
    expect(&run(&folder.0, &part), 0, &[], &part);
    let between =
        ["all.field0.sinograms.mhd", "all.field2.sinograms.mhd", "all.joined.mhd", "all.retrieved.mhd", "all.mhd"];
    assert!(between.iter().all(|name| folder.0.join("part").join(name).is_file()));
    let dims = manifest(&folder.0.join("part"), "all").need("volume").unwrap().need("dims").unwrap().clone();
    assert_eq!((dims.need_u64("nx").unwrap(), dims.need_u64("ny").unwrap()), (40, 64));
    expect(
        &run(&folder.0, &at_once.replacen("recon", "plan", 1)),
        0,
        &["the whole", "joined", "retrieved", "slices of 64 x 64 x 96"],
        "plan",
    );
    // What does not fit shows before any work.
    for (spoilt, code) in [
        (at_once.replace("30,26", "36,26"), 65),
        (at_once.replace("s2.npy", "s3.npy"), 66),
        (format!("{at_once} --crop x=0:99"), 2),
        (format!("{at_once} --memory 13MiB"), 2),
    ] {
        let output = run(&folder.0, &spoilt.replace("once/all", "none/all"));
        assert_eq!(output.status.code(), Some(code), "{spoilt}: {output:?}");
    }
    assert!(!folder.0.join("none").exists());
}

/// Mean and standard deviation of what slice z of one volume is more than that of the other, in the square that all projections see.
fn differences(folder: &Path, names: [&str; 2], z: usize) -> [f64; 2] {
    let [got, want] = names.map(|name| slice(folder, name, 64, z));
    let inside = (0..64 * 64usize).filter(|i| (i / 64).abs_diff(31) < 20 && (i % 64).abs_diff(31) < 20);
    let off: Vec<f64> = inside.map(|i| f64::from(got[i] - want[i])).collect();
    let mean = off.iter().sum::<f64>() / off.len() as f64;
    [mean, (off.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / off.len() as f64).sqrt()]
}

/// Runs a command with an output out/all, killing it later and later, until it is done; how often it was killed.
fn until_done(folder: &Path, words: &str, longer: Duration) -> u32 {
    let (mut alone, mut deaths) = (longer, 0);
    // Between its manifest and the end of its journal, a volume is there and not yet done: the next start does the rest.
    while !folder.join("out/all.json").exists() || folder.join("out/all.raw.journal").exists() {
        let mut child = tomolith(folder).args(words.split_whitespace()).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(alone);
        let _ = child.kill();
        let status = child.wait().unwrap();
        assert!(status.code().is_none_or(|code| code == 0), "{words} ends by itself with {status}");
        deaths += u32::from(!status.success());
        alone += longer;
    }
    deaths
}

/// The paper's case: three fields of view of one tall sample, each with its own axis, reconstructed and stitched.
#[test]
fn three_fields_of_a_tall_sample_become_one_volume() {
    let folder = Scratch::new("fields");
    let size = [90, 44, 64];
    let places = [(0.0, 31.5), (29.4, 30.2), (59.0, 32.75)];
    let theta: String = (0..90).map(|i| format!("{}\n", 2 * i)).collect();
    folder.write("t.txt", theta);
    let options = "--input absorption --theta t.txt --theta-unit deg --padding none -q";
    for (k, (z, axis)) in places.iter().enumerate() {
        folder.write(&format!("s{k}.npy"), npy(&size, &tall(*z, size, *axis, 0.01, k as u64)));
        let words = format!("recon s{k}.npy {options} --center {axis} -o apart/all.field{k}");
        expect(&run(&folder.0, &words), 0, &[], &words);
    }
    let place = "--offset 31,28 --search 6";
    let words =
        format!("stitch vertical apart/all.field0.mhd apart/all.field1.mhd apart/all.field2.mhd {place} -o apart/all");
    expect(&run(&folder.0, &words), 0, &["correlation"], &words);
    // One command: the same bytes, and nothing lies between any more.
    let one = format!("recon s0.npy --fields s1.npy,s2.npy {options} {place} --center 31.5,30.2,32.75 -o out/all");
    for spoilt in [
        one.replace("s2.npy", "s3.npy"),
        one.replace("31,28", "31,28,4"),
        one.replace("--offset 31,28", "--step 1mm"),
        one.replace("--fields s1.npy,s2.npy", ""),
    ] {
        let output = run(&folder.0, &spoilt);
        assert!(matches!(output.status.code(), Some(2 | 66)), "{spoilt}: {output:?}");
    }
    assert!(!folder.0.join("out").exists(), "what is wrong shows before any work");
    let plan = one.replace("recon", "plan");
    expect(&run(&folder.0, &plan), 0, &["field 2 of 3: s2.npy", "joined: 64 x 64 x 103, about"], &plan);
    // Interrupted in every part of the work, it goes on.
    assert!(until_done(&folder.0, &one, Duration::from_millis(20)) > 0);
    expect(&run(&folder.0, &one), 73, &["already exists"], &one);
    for suffix in ["raw", "mhd", "nhdr", "json"] {
        let [a, b] = ["apart", "out"].map(|at| std::fs::read(folder.0.join(at).join(format!("all.{suffix}"))).unwrap());
        assert!(a == b, "all.{suffix} differs");
    }
    expect(&run(&folder.0, &format!("{one} --overwrite")), 0, &[], &one);
    assert_eq!(std::fs::read_dir(folder.0.join("out")).unwrap().count(), 5);
    let m = manifest(&folder.0.join("out"), "all");
    for (k, fit) in m.need("results").unwrap().need_arr("fits").unwrap().iter().enumerate() {
        let shift: Vec<f64> = fit.need_arr("shift_zyx").unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let truth = [places[k + 1].0 - places[k].0, 0.0, 0.0];
        for axis in 0..3 {
            assert!((shift[axis] - truth[axis]).abs() < 0.05, "{shift:?} for {truth:?}");
        }
    }
    // The same sample in one field, without noise.
    let rows = m.need("volume").unwrap().need("dims").unwrap().need_u64("nz").unwrap() as usize;
    folder.write("whole.npy", npy(&[90, rows, 64], &tall(0.0, [90, rows, 64], 31.5, 0.0, 9)));
    let words = format!("recon whole.npy {options} --center 31.5 -o out/truth");
    expect(&run(&folder.0, &words), 0, &[], &words);
    let statistics = |z: usize| differences(&folder.0.join("out"), ["all", "truth"], z);
    let noise = statistics(15)[1];
    for z in 4..rows - 6 {
        let [mean, deviation] = statistics(z);
        // 1521 pixels, and the noise of neighbours is not independent: a seam of a fifth of the noise would show.
        assert!(mean.abs() < 0.2 * noise, "slice {z}: a step of {mean:e}, noise {noise:e}");
        assert!(deviation < 1.3 * noise && deviation > 0.55 * noise, "slice {z}: {deviation:e}, noise {noise:e}");
    }
}

/// However a cell has grown, it is moved, and seen, as another one.
#[test]
fn cells_of_one_motion_are_moved_alike() {
    let s = Scratch::new("phantom-motion");
    let of = |folder: &str, words: &str| {
        let how = "--only 7 --mode radiographs --projections 6 --columns 296 --fields 2";
        expect(&run(&s.0, &format!("phantom cell -q -o {folder} {how} --seed {words}")), 0, &[], words);
        let step = json(&s.0.join(folder).join("truth/truth.json")).need_arr("steps").unwrap()[0].clone();
        let of = |keys: &[&str]| keys.iter().fold(&step, |json, key| json.need(key).unwrap()).to_line();
        let grown = Digest::of_file(&s.0.join(folder).join("truth/step_07/label.raw")).unwrap().0.hex();
        [grown, of(&["fields"]), of(&["pose", "stripping"])]
    };
    let [a, b, c] = [("a", "3"), ("b", "4 --motion-seed 3"), ("c", "4")].map(|(folder, words)| of(folder, words));
    assert!(a[0] != b[0] && a[1..] == b[1..] && b[0] == c[0] && b[1] != c[1] && b[2] != c[2], "{a:?} {b:?} {c:?}");
}
