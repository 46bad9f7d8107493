//! Reconstruction as a user runs it: real scans, other programs' results, interruption, full disks, bad scans.

use crate::common::{Scratch, expect, npy, run, stderr, tomolith};
use std::path::Path;
use std::process::Stdio;
use tomolith::testing::data;

/// The last word of `recon`'s line: the digest of the voxels.
#[cfg(feature = "hdf5")]
fn digest(output: &std::process::Output) -> String {
    crate::common::stdout(output).split_whitespace().last().unwrap_or_default().to_string()
}

fn f32s(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

#[cfg(feature = "hdf5")]
#[test]
fn the_tooth_is_reconstructed_with_nothing_but_defaults() {
    let Some(tooth) = data("tooth.h5") else { return };
    let folder = Scratch::new("tooth");
    let output = run(&folder.0, &format!("recon {} -o out/tooth", tooth.display()));
    expect(&output, 0, &["640 x 640 x 2"], "tooth");
    let manifest = std::fs::read_to_string(folder.0.join("out/tooth.json")).unwrap();
    let axis = manifest.lines().find(|l| l.contains("\"axis_pixel\"")).unwrap();
    let axis: f64 = axis.trim().trim_end_matches(',').split(": ").nth(1).unwrap().parse().unwrap();
    assert!((axis - 295.0).abs() <= 0.5, "{axis}");
    expect(&run(&folder.0, "verify out"), 0, &["ok"], "verify");
    assert!(std::fs::metadata(folder.0.join("out/tooth.png")).unwrap().len() > 10_000);

    // The same numbers as .npy, with flats, darks and angles beside them.
    let scan = tomolith::exchange::open_scan(&tooth, tomolith::volume::reader::IoMode::Pread).unwrap();
    let write = |name: &str, source: &dyn tomolith::volume::Source| {
        let d = source.dims();
        let mut values = vec![0.0; d.voxels()];
        source.read(0..d.nz, 0..d.ny, &mut values).unwrap();
        folder.write(name, npy(&[d.nz, d.ny, d.nx], &values));
    };
    write("p.npy", scan.projections.as_ref());
    write("f.npy", scan.flats.as_deref().unwrap());
    write("d.npy", scan.darks.as_deref().unwrap());
    let theta = scan.theta.unwrap();
    folder.write("theta.txt", theta.values.iter().map(|t| format!("{t}\n")).collect::<String>());
    let words = "recon p.npy -o npy --flats f.npy --darks d.npy --theta theta.txt --theta-unit deg";
    let other = run(&folder.0, words);
    expect(&other, 0, &[], words);
    assert_eq!(digest(&output), digest(&other));
}

/// Values of TomoPy's algorithm on this row, from an independent port of it in NumPy: axis 296, shepp, row 0.
#[cfg(feature = "hdf5")]
#[test]
fn compat_on_the_tooth_gives_the_numbers_of_an_independent_port() {
    let Some(tooth) = data("tooth.h5") else { return };
    let folder = Scratch::new("tooth-compat");
    let words = format!("recon {} -o c --algorithm gridrec-compat --center 296 --rows 0:1", tooth.display());
    expect(&run(&folder.0, &words), 0, &[], &words);
    let image = f32s(&folder.0.join("c.raw"));
    let at = |row: usize, column: usize| image[row * 640 + column];
    for (got, want) in [
        (at(319, 320), 0.005168),
        (at(320, 320), 0.003838),
        (at(200, 300), 0.000108),
        (image.iter().copied().fold(f32::MAX, f32::min), -0.005728),
        (image.iter().copied().fold(f32::MIN, f32::max), 0.014375),
    ] {
        // Printed to six decimals.
        assert!((got - want).abs() < 1.5e-6, "{got} {want}");
    }
}

#[test]
fn compat_is_tomopy_within_1e_5_of_the_maximum_for_every_filter() {
    let Some(fixtures) = data("tomopy-fixtures") else { return };
    let folder = Scratch::new("compat");
    let name = |f: &str| fixtures.join(f).display().to_string();
    for filter in ["none", "shepp", "cosine", "hann", "hamming", "ramlak", "parzen", "butterworth"] {
        let words = format!(
            "recon {} -o {filter} --input absorption --theta {} --theta-unit rad --center 24 --filter {filter} \
             --algorithm gridrec-compat",
            name("proj.npy"),
            name("angle.npy"),
        );
        expect(&run(&folder.0, &words), 0, &["48 x 48 x 8"], &words);
        let golden = fixtures.join(format!("gridrec_{filter}.npy"));
        let output = run(&folder.0, &format!("convert {} golden-{filter}.mhd", golden.display()));
        expect(&output, 0, &[], "golden");
        let (ours, theirs) =
            (f32s(&folder.0.join(format!("{filter}.raw"))), f32s(&folder.0.join(format!("golden-{filter}.raw"))));
        let max = theirs.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let error = ours.iter().zip(&theirs).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(max > 0.1 && error < 1e-5 * max, "{filter}: {error:.2e} of {max}");
    }
}

/// A scan of 8 projections of 40 rows and 33 columns of absorption, in half a turn.
fn small(name: &str) -> Scratch {
    let folder = Scratch::new(name);
    let values: Vec<f32> = (0..8 * 40 * 33).map(|i| ((i * 7919) % 1009) as f32 / 1009.0).collect();
    folder.write("p.npy", npy(&[8, 40, 33], &values));
    folder.write("theta.txt", (0..8).map(|i| format!("{}\n", 22.5 * f64::from(i))).collect::<String>());
    folder
}

const SMALL: &str = "recon p.npy --input absorption --theta theta.txt --theta-unit deg --center 16";

#[test]
fn a_nan_stays_in_its_slice_and_is_refused_by_default() {
    let folder = small("nan");
    let mut values: Vec<f32> = (0..8 * 40 * 33).map(|i| ((i * 7919) % 1009) as f32 / 1009.0).collect();
    values[(3 * 40 + 5) * 33 + 7] = f32::NAN;
    folder.write("bad.npy", npy(&[8, 40, 33], &values));
    let bad = SMALL.replace("p.npy", "bad.npy");
    let places = ["bad.npy", "projection 3, row 5, column 7", "--nonfinite"];
    let output = run(&folder.0, &format!("{bad} -o refused"));
    expect(&output, 65, &places, "refused");
    let left: Vec<_> = std::fs::read_dir(&folder.0)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("refused"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    for algorithm in ["gridrec", "gridrec-compat"] {
        let clean = format!("{SMALL} -o clean-{algorithm} --algorithm {algorithm}");
        expect(&run(&folder.0, &clean), 0, &[], &clean);
        let keep = format!("{bad} -o keep-{algorithm} --nonfinite keep --algorithm {algorithm}");
        expect(&run(&folder.0, &keep), 0, &[], &keep);
        let (clean, keep) = (
            f32s(&folder.0.join(format!("clean-{algorithm}.raw"))),
            f32s(&folder.0.join(format!("keep-{algorithm}.raw"))),
        );
        for (slice, (a, b)) in clean.chunks_exact(33 * 33).zip(keep.chunks_exact(33 * 33)).enumerate() {
            if slice == 5 {
                assert!(b.iter().all(|v| v.is_nan()), "{algorithm}: the spoiled slice");
            } else {
                assert_eq!(a, b, "{algorithm}: slice {slice}");
            }
        }
    }
    let zero = format!("{bad} -o zero --nonfinite zero");
    expect(&run(&folder.0, &zero), 0, &[], &zero);
    let manifest = std::fs::read_to_string(folder.0.join("zero.json")).unwrap();
    assert!(manifest.contains("\"absorption_not_finite\": 1"), "{manifest}");
}

#[test]
fn outputs_are_never_replaced_untold() {
    let folder = small("existing");
    expect(&run(&folder.0, &format!("{SMALL} -o a/b/out")), 0, &[], "first");
    let before = std::fs::read(folder.0.join("a/b/out.raw")).unwrap();
    expect(&run(&folder.0, &format!("{SMALL} -o a/b/out")), 73, &["exists", "--overwrite"], "second");
    expect(&run(&folder.0, &format!("{SMALL} -o a/b/out --filter hann")), 73, &["exists"], "another job");
    assert_eq!(std::fs::read(folder.0.join("a/b/out.raw")).unwrap(), before);
    expect(&run(&folder.0, &format!("{SMALL} -o a/b/out --filter hann --overwrite")), 0, &[], "told");
    assert_ne!(std::fs::read(folder.0.join("a/b/out.raw")).unwrap(), before);
    expect(&run(&folder.0, "verify a/b"), 0, &["ok"], "verify");
    // Somebody's picture of the same name.
    folder.write("mine.png", "a picture");
    expect(&run(&folder.0, &format!("{SMALL} -o mine")), 73, &["mine.png"], "picture");
    assert_eq!(std::fs::read(folder.0.join("mine.png")).unwrap(), b"a picture");
    // A folder of the name of a file that is to be written; before anything is computed, so nothing is left.
    std::fs::create_dir(folder.0.join("dir.json")).unwrap();
    expect(&run(&folder.0, &format!("{SMALL} -o dir --overwrite")), 73, &["dir.json", "folder"], "folder in the way");
    assert!(!folder.0.join("dir.raw.part").exists() && !folder.0.join("mine.raw.part").exists());
    // A file where a folder is needed.
    expect(&run(&folder.0, &format!("{SMALL} -o theta.txt/out")), 73, &["theta.txt"], "a file in the way");
}

/// A file-size limit is met like a full disk, wherever it lies: clean error with what is needed and what there is, nothing
/// with the final name, and a rerun completes.
#[test]
fn a_full_disk_is_one_error_and_nothing_is_lost() {
    let folder = small("full");
    expect(&run(&folder.0, &format!("{SMALL} -o whole")), 0, &[], "whole");
    let whole = std::fs::read(folder.0.join("whole.raw")).unwrap();
    // KiB: below, within and just short of the largest file, and within those that are written beside it.
    let kib = whole.len() / 1024;
    let limits = [0, 1, 2, 3, 5, 8, 13].into_iter().chain((0..16).map(|i| kib * i / 16)).chain([kib - 1]);
    for limit in limits {
        let script = format!("ulimit -f {limit}; exec {} {SMALL} -o cut", env!("CARGO_BIN_EXE_tomolith"));
        let output = std::process::Command::new("bash")
            .args(["-c", &script])
            .current_dir(&folder.0)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        expect(&output, 74, &["cut", "free"], &format!("limited to {limit} KiB"));
        assert!(!folder.0.join("cut.raw").exists() && !folder.0.join("cut.json").exists(), "{limit}");
    }
    expect(&run(&folder.0, &format!("{SMALL} -o cut")), 0, &[], "again");
    assert_eq!(std::fs::read(folder.0.join("cut.raw")).unwrap(), whole);
}

/// A larger scan, killed and interrupted at several moments, ends in the same bytes.
#[test]
fn killed_and_interrupted_runs_are_taken_up() {
    let folder = Scratch::new("kill");
    let (projections, rows, columns) = (60, 64, 300);
    let values: Vec<f32> = (0..projections * rows * columns).map(|i| ((i * 7919) % 1009) as f32 / 1009.0).collect();
    folder.write("p.npy", npy(&[projections, rows, columns], &values));
    folder.write("theta.txt", (0..projections).map(|i| format!("{}\n", 3 * i)).collect::<String>());
    let job = "recon p.npy --input absorption --theta theta.txt --theta-unit deg --center 150 --slab 1 --threads 1";
    expect(&run(&folder.0, &format!("{job} -o whole")), 0, &[], "whole");
    let (mut interrupted, mut killed) = (0, 0);
    for (i, signal) in ["-INT", "-KILL", "-TERM", "-KILL", "-INT"].into_iter().enumerate() {
        let mut child = tomolith(&folder.0)
            .args(format!("{job} -o cut").split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(40 + 30 * i as u64));
        // The child may have ended by itself on a fast machine; then there is nothing to signal.
        if child.try_wait().unwrap().is_none() {
            let pid = child.id().to_string();
            assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
        }
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            None => killed += 1,
            Some(75) => {
                interrupted += 1;
                assert!(stderr(&output).contains("run the same command again"), "{}", stderr(&output));
            }
            Some(0) => break,
            Some(other) => panic!("exit {other}: {}", stderr(&output)),
        }
        assert!(!folder.0.join("cut.json").exists(), "a finished name of an unfinished volume");
    }
    eprintln!("{interrupted} interrupted, {killed} killed");
    if !folder.0.join("cut.json").exists() {
        expect(&run(&folder.0, &format!("{job} -o cut")), 0, &[], "last");
    }
    assert_eq!(std::fs::read(folder.0.join("cut.raw")).unwrap(), std::fs::read(folder.0.join("whole.raw")).unwrap());
    expect(&run(&folder.0, "verify cut.json"), 0, &["ok"], "verify");
}

/// What reaches the computation and is refused there; files and flags are refused in the modules beside this one.
#[test]
fn scans_that_cannot_be_right_are_refused() {
    let folder = small("bad");
    folder.write("flat.npy", npy(&[2, 40, 33], &[100.0; 2 * 40 * 33]));
    folder.write("narrow.npy", npy(&[2, 40, 32], &[100.0; 2 * 40 * 32]));
    folder.write("one.npy", npy(&[8, 40, 1], &[1.0; 8 * 40]));
    folder.write("same.txt", "0\n".repeat(8));
    folder.write("flatline.npy", npy(&[8, 40, 33], &[1.0; 8 * 40 * 33]));
    let theta = "--theta theta.txt --theta-unit deg";
    let cases: &[(String, i32, &[&str])] = &[
        (
            format!("recon p.npy -o x {theta} --flats flat.npy --darks flat.npy --center 16"),
            65,
            &["p.npy", "not above the darks"],
        ),
        (format!("recon p.npy -o x {theta} --flats narrow.npy --darks flat.npy"), 65, &["narrow.npy"]),
        (format!("recon one.npy -o x {theta} --input absorption --center 0"), 65, &["1 columns"]),
        (
            "recon p.npy -o x --theta same.txt --theta-unit deg --input absorption --center 16".into(),
            2,
            &["--theta-unit"],
        ),
        (format!("{SMALL} -o x --center 33"), 2, &["outside the detector"]),
        (format!("{SMALL} -o x --filter shep"), 2, &["did you mean 'shepp'"]),
        (format!("{SMALL} -o x --filter custom --filter-par 1,2 --algorithm gridrec-compat"), 2, &["at least"]),
        (format!("{SMALL} -o x --gridding-error 1e-9"), 2, &["gridding"]),
        (format!("{SMALL} -o x --pixel 1e300m"), 2, &["--pixel"]),
        (format!("{SMALL} -o x --filter hanning"), 2, &["did you mean 'hann'"]),
        (format!("{SMALL} -o x --rows 39:41"), 2, &["0:40"]),
    ];
    for (words, code, says) in cases {
        // A later option of the same name would be a usage error of its own.
        let words =
            if words.matches("--center").count() > 1 { words.replacen("--center 16 ", "", 1) } else { words.clone() };
        let output = run(&folder.0, &words);
        expect(&output, *code, says, &words);
        for name in ["x.raw", "x.json", "x.mhd"] {
            assert!(!folder.0.join(name).exists(), "{words} left {name}");
        }
    }
}
