//! The synthetic cell through the program: the same bits however it is made, faults, secrets, and what a reconstruction
//! of its radiographs shows.

mod common;
use common::{Scratch, expect, json, run, stderr, stdout, tomolith};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tomolith::json::Json;
use tomolith::provenance::Digest;

/// Runs `tomolith phantom cell -o DIR` with further words, which must succeed.
#[track_caller]
fn cell(scratch: &Scratch, folder: &str, words: &str) {
    let output = run(&scratch.0, &format!("phantom cell -q -o {folder} {words}"));
    expect(&output, 0, &[], words);
}

/// Digests of the volumes of a step by name.
fn digests(series: &Json, step: usize) -> BTreeMap<String, String> {
    let steps = series.need_arr("steps").unwrap();
    let of = steps.iter().find(|s| s.need_u64("step").unwrap() as usize == step).unwrap();
    let Json::Obj(volumes) = of.need("volume_sha256").unwrap() else { panic!("no volumes in {of:?}") };
    volumes.iter().map(|(name, digest)| (name.clone(), format!("{digest:?}"))).collect()
}

/// A volume: extents x, y, z and values.
fn volume<T>(base: &Path, value: impl Fn(&[u8]) -> T, size: usize) -> ([usize; 3], Vec<T>) {
    let header = std::fs::read_to_string(base.with_extension("mhd")).unwrap();
    let line = header.lines().find(|l| l.starts_with("DimSize")).unwrap();
    let dims: Vec<usize> = line.split('=').nth(1).unwrap().split_whitespace().map(|n| n.parse().unwrap()).collect();
    let bytes = std::fs::read(base.with_extension("raw")).unwrap();
    assert_eq!(bytes.len(), size * dims.iter().product::<usize>());
    ([dims[0], dims[1], dims[2]], bytes.chunks_exact(size).map(value).collect())
}

fn slices(base: &Path) -> ([usize; 3], Vec<f32>) {
    volume(base, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]), 4)
}

fn labels(base: &Path) -> ([usize; 3], Vec<u8>) {
    volume(base, |b| b[0], 1)
}

#[test]
fn a_step_is_the_same_alone_in_the_series_and_whoever_computes_it() {
    let s = Scratch::new("phantom-bits");
    cell(&s, "all", "--steps 5 --mode volume --annotate dense");
    let all = json(&s.0.join("all/series.json"));
    let steps: Vec<usize> =
        all.need_arr("steps").unwrap().iter().map(|s| s.need_u64("step").unwrap() as usize).collect();
    assert_eq!(steps, [0, 6, 12, 18, 24]);
    cell(&s, "one", "--only 18 --mode volume --annotate dense --threads 1 --isa scalar");
    let (one, same) = (json(&s.0.join("one/series.json")), digests(&all, 18));
    assert_eq!(digests(&one, 18), same);
    assert!(same.len() == 5 && same.contains_key("grey") && same.contains_key("drawn"), "{same:?}");
    // Another seed is another cell; nothing else is alike.
    cell(&s, "other", "--only 18 --mode volume --annotate dense --seed 2");
    let other = digests(&json(&s.0.join("other/series.json")), 18);
    assert!(other.iter().all(|(name, digest)| same[name] != *digest), "{other:?}");
    // Scans: threads, instruction set, and fields of view.
    for mode in ["radiographs", "radiographs-phase"] {
        let words = format!("--only 7 --mode {mode} --projections 6 --columns 296");
        cell(&s, &format!("{mode}-1"), &format!("{words} --threads 1 --isa scalar"));
        cell(&s, &format!("{mode}-3"), &format!("{words} --threads 3"));
        let [a, b] = ["1", "3"].map(|t| digests(&json(&s.0.join(format!("{mode}-{t}/series.json"))), 7));
        assert!(a.len() == 7 && a == b, "{a:?} {b:?}");
    }
    // Every byte is proven by `verify`.
    expect(&run(&s.0, "verify all/truth/step_18 all/step_18"), 0, &["ok"], "verify");
}

#[test]
fn an_interrupted_series_is_taken_up_and_nothing_is_overwritten() {
    let s = Scratch::new("phantom-interrupt");
    let words = "phantom cell -o cut --mode volume --only 3,9,15 --seed 4";
    let mut child =
        tomolith(&s.0).args(words.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begin = Instant::now();
    while !s.0.join("cut/step_03").exists() {
        assert!(begin.elapsed() < Duration::from_secs(120) && child.try_wait().unwrap().is_none(), "no step made");
        std::thread::sleep(Duration::from_millis(5));
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    assert!(!s.0.join("cut/series.json").exists());
    // Another command does not take it up.
    let other = run(&s.0, "phantom cell -o cut --mode volume --only 3,9,15 --seed 5");
    expect(&other, 73, &["something else"], "another seed");
    expect(&run(&s.0, words), 0, &[], "again");
    cell(&s, "whole", "--mode volume --only 3,9,15 --seed 4");
    let [cut, whole] = ["cut", "whole"].map(|f| json(&s.0.join(f).join("series.json")));
    for step in [3, 9, 15] {
        assert_eq!(digests(&cut, step), digests(&whole, step));
    }
    // Finished: never overwritten.
    let before = std::fs::metadata(s.0.join("cut/series.json")).unwrap().modified().unwrap();
    expect(&run(&s.0, words), 73, &["never overwritten"], "finished");
    assert_eq!(std::fs::metadata(s.0.join("cut/series.json")).unwrap().modified().unwrap(), before);
}

/// Fields of view come of one picture; one that is missing is made again by itself.
#[test]
fn a_field_of_view_that_is_missing_is_made_again_and_the_other_is_left() {
    let s = Scratch::new("phantom-fields");
    let words = "--only 3,7 --mode radiographs-phase --projections 6 --columns 296 --fields 2";
    cell(&s, "a", words);
    let series = s.0.join("a/series.json");
    let whole = digests(&json(&series), 7);
    let projections = |field: usize| s.0.join(format!("a/step_07/field_{field}/projections.raw"));
    let changed = |field: usize| std::fs::metadata(projections(field)).unwrap().modified().unwrap();
    assert_ne!(whole["field_0/projections"], whole["field_1/projections"]);
    for field in [0, 1] {
        let other = changed(1 - field);
        std::fs::remove_file(projections(field)).unwrap();
        std::fs::remove_file(&series).unwrap();
        cell(&s, "a", words);
        assert_eq!(digests(&json(&series), 7), whole, "field {field}");
        assert_eq!(changed(1 - field), other, "the other of field {field}");
    }
    expect(&run(&s.0, "verify a/step_07/field_0 a/step_07/field_1"), 0, &["ok"], "verify");
}

#[test]
fn a_volume_whose_bytes_were_taken_away_is_made_again() {
    let s = Scratch::new("phantom-lost");
    cell(&s, "a", "--only 3,5");
    let raw = s.0.join("a/truth/step_05/label.raw");
    let bytes = std::fs::read(&raw).unwrap();
    for cut in [None, Some(1000)] {
        std::fs::remove_file(s.0.join("a/series.json")).unwrap();
        match cut {
            None => std::fs::remove_file(&raw).unwrap(),
            Some(n) => std::fs::write(&raw, &bytes[..n]).unwrap(),
        }
        cell(&s, "a", "--only 3,5");
        assert!(std::fs::read(&raw).unwrap() == bytes);
    }
    expect(&run(&s.0, "verify a/truth/step_05"), 0, &["ok"], "verify");
}

#[test]
fn the_truth_says_what_is_planned_counted_and_cut() {
    let s = Scratch::new("phantom-counted");
    cell(&s, "v", "--only 24 --mode volume");
    let truth = json(&s.0.join("v/truth/truth.json")).need_arr("steps").unwrap()[0].clone();
    let [counted, in_scan] = ["counted", "counted_in_scan"].map(|name| truth.need(name).unwrap());
    let names =
        ["background", "dendrite", "pit", "deposited", "plating electrode", "redeposited", "stripping electrode"];
    let ([nx, ny, nz], label) = labels(&s.0.join("v/truth/step_24/label"));
    let (_, seen) = labels(&s.0.join("v/truth/step_24/label_scan"));
    for (class, name) in names.iter().enumerate() {
        let of = |labels: &[u8]| labels.iter().filter(|&&l| usize::from(l) == class).count() as u64;
        let c = counted.need(name).unwrap();
        assert_eq!((c.need_u64("voxels").unwrap(), in_scan.need_u64(name).unwrap()), (of(&label), of(&seen)), "{name}");
        let covered = |c: usize| (0..ny).any(|y| usize::from(label[(c / nx * ny + y) * nx + c % nx]) == class);
        let area = (0..nx * nz).filter(|&c| covered(c)).count() as f64 / (nx * nz) as f64;
        assert!((c.need_f64("area").unwrap() - area).abs() < 1e-9, "{name}");
    }
    // Pits are half filled again at the end, which the plan does not say.
    let pits = counted.need("pit").unwrap().need_f64("area").unwrap();
    let planned = truth.need("step").unwrap().need("planned").unwrap().need_f64("pit_area").unwrap();
    assert!((pits - 0.539).abs() < 2e-3 && (planned - 0.6).abs() < 0.02, "{pits} {planned}");
    // The box cuts the plating side.
    let plating = counted.need("plating electrode").unwrap().need_u64("voxels").unwrap();
    assert!(in_scan.need_u64("plating electrode").unwrap() < plating);
    let readme = std::fs::read_to_string(s.0.join("v/README.txt")).unwrap();
    assert!(readme.contains("counted_in_scan") && readme.contains("(or step_24)"), "{readme}");
    // Labels alone: markers in the cell, and no folder that is not there.
    cell(&s, "l", "--only 24");
    let truth = json(&s.0.join("l/truth/truth.json")).need_arr("steps").unwrap()[0].clone();
    assert!(truth.need_arr("markers").unwrap().len() >= 6, "{truth:?}");
    let series = json(&s.0.join("l/series.json"));
    assert_eq!(*series.need_arr("steps").unwrap()[0].need("folder").unwrap(), Json::Null);
    assert!(!std::fs::read_to_string(s.0.join("l/README.txt")).unwrap().contains("(or"));
}

/// Every file below a folder, but those under truth/.
fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if path.file_name().unwrap() == "truth" => {}
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

#[test]
fn blind_values_are_in_the_truth_alone() {
    let s = Scratch::new("phantom-blind");
    let output = run(&s.0, "phantom cell -o b --blind --seed 987654321 --only 12 --mode volume --annotate strokes");
    expect(&output, 0, &[], "blind");
    let truth = json(&s.0.join("b/truth/truth.json"));
    let values = truth.need("parameters").unwrap();
    let mut secrets = vec!["987654321".to_string()];
    for name in ["efficiency", "side_reaction", "dead_um", "pit_correlation"] {
        let value = values.need_f64(name).unwrap();
        assert!(value.is_finite() && ![0.0, 1.0, 1.612].contains(&value), "{name} was not drawn: {value}");
        secrets.push(format!("{value}"));
    }
    let mut all = Vec::new();
    files(&s.0.join("b"), &mut all);
    assert!(all.len() > 8, "{all:?}");
    for path in all {
        let bytes = std::fs::read(&path).unwrap();
        for secret in &secrets {
            let told = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!told, "{} tells {secret}", path.display());
        }
    }
    let said = format!("{}{}", stdout(&output), stderr(&output));
    assert!(secrets.iter().all(|secret| !said.contains(secret)), "{said}");
    // The same secret again, and another with another seed.
    for (seed, same) in [("987654321", true), ("987654322", false)] {
        let _ = std::fs::remove_dir_all(s.0.join("c"));
        cell(&s, "c", &format!("--blind --seed {seed} --only 12"));
        let again = json(&s.0.join("c/truth/truth.json"));
        let dead = |t: &Json| t.need("parameters").unwrap().need_f64("dead_um").unwrap();
        assert_eq!(dead(&again) == dead(&truth), same);
    }
    // What is published is the digest of the parameters with their salt, and does not tell the clocks.
    let series = json(&s.0.join("b/series.json"));
    let sealed = series.need("phantom").unwrap().need_str("sealed_sha256").unwrap();
    assert_eq!(sealed, Digest::of(values.to_canonical().as_bytes()).hex());
    assert_eq!(values.need_str("salt").unwrap().len(), 64);
    let begin = series.need_arr("steps").unwrap()[0].need_f64("scan_start_scanner_s").unwrap();
    let of_step = truth.need_arr("steps").unwrap()[0].need("step").unwrap();
    let offset = truth.need_f64("clock_offset_s").unwrap();
    let own = of_step.need_f64("scan_start_potentiostat_s").unwrap();
    assert!((own + offset - begin).abs() < 1e-9 && (own / 60.0).fract() != 0.0, "{own} {offset} {begin}");
    assert_eq!(*series.need("clock_offset_s").unwrap(), Json::Null);
}

#[test]
fn a_blind_series_without_a_seed_draws_one_and_can_be_taken_up() {
    let s = Scratch::new("phantom-drawn");
    let seed = |folder: &str| {
        let truth = json(&s.0.join(folder).join("truth/truth.json"));
        truth.need("parameters").unwrap().need_u64("seed").unwrap()
    };
    cell(&s, "a", "--blind --only 3");
    cell(&s, "b", "--blind --only 3");
    let first = seed("a");
    assert!(first != seed("b") && first != 1 && seed("b") > 1 << 32);
    std::fs::remove_file(s.0.join("a/series.json")).unwrap();
    std::fs::remove_file(s.0.join("a/truth/truth.json")).unwrap();
    cell(&s, "a", "--blind --only 3");
    assert_eq!(seed("a"), first);
}

#[test]
fn discs_are_reconstructed_as_their_truth_says() {
    let s = Scratch::new("phantom-discs");
    expect(&run(&s.0, "phantom discs -o d --columns 128 --projections 200 --rows 4"), 0, &[], "discs");
    expect(&run(&s.0, "phantom discs -o d"), 73, &[], "again");
    expect(&run(&s.0, "phantom discs -o e --dose 0"), 2, &["dose"], "dose");
    let words = "recon projections.npy --flats flats.npy --darks darks.npy --theta theta_degrees.npy \
                 --theta-unit deg -q -o slices";
    let output = tomolith(&s.0.join("d")).args(words.split_whitespace()).output().unwrap();
    expect(&output, 0, &[], "recon");
    let (dims, got) = slices(&s.0.join("d/slices"));
    let truth = std::fs::read(s.0.join("d/truth.npy")).unwrap();
    let data = &truth[truth.len() - 4 * got.len()..];
    let truth: Vec<f32> = data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    assert_eq!(dims, [128, 128, 4]);
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let alike = dot(&got, &truth) / (dot(&got, &got) * dot(&truth, &truth)).sqrt();
    let scale = dot(&got, &truth) / dot(&truth, &truth);
    assert!(alike > 0.9 && (scale - 1.0).abs() < 0.05, "alike by {alike}, scale {scale}");
}

/// A scan, reconstructed by the configuration beside it.
struct Seen {
    /// Columns and rows of a slice, slices.
    size: [usize; 3],
    values: Vec<f32>,
    /// Column and row at which the box of the labels begins, and its extents.
    at: [usize; 2],
    box_size: [usize; 3],
    /// Classes in the frame of the scan.
    labels: Vec<u8>,
    truth: Json,
    manifest: Json,
    said: String,
}

impl Seen {
    /// A step of the cell of `words`; on the axis of the truth, or on the one that is found.
    fn new(s: &Scratch, folder: &str, step: usize, words: &str, axis_known: bool) -> Seen {
        cell(s, folder, &format!("--only {step} {words}"));
        let base = s.0.join(folder);
        let truth = json(&base.join("truth/truth.json")).need_arr("steps").unwrap()[0].clone();
        let mut command = tomolith(&base.join(format!("step_{step:02}")));
        command.args(["recon", "--config", "scan.toml", "-o", "slices"]);
        if axis_known {
            command.args(["--center", &planted_axis(&truth).to_string()]);
        }
        let output = command.output().unwrap();
        expect(&output, 0, &[], folder);
        Seen::read(&base, step, stderr(&output))
    }

    /// What lies in a series' folder.
    fn read(base: &Path, step: usize, said: String) -> Seen {
        let name = format!("step_{step:02}");
        let truth = json(&base.join("truth/truth.json")).need_arr("steps").unwrap()[0].clone();
        let (size, values) = slices(&base.join(&name).join("slices"));
        let series = json(&base.join("series.json"));
        let at = series.need("geometry").unwrap().need_arr("box_in_slice_column_row").unwrap();
        let [Json::Int(column), Json::Int(row)] = at[..] else { panic!("{at:?}") };
        let (box_size, labels) = labels(&base.join("truth").join(&name).join("label_scan"));
        let manifest = json(&base.join(&name).join("slices.json"));
        Seen { size, values, at: [column as usize, row as usize], box_size, labels, truth, manifest, said }
    }

    fn value(&self, [x, y, z]: [usize; 3]) -> f64 {
        f64::from(self.values[(z * self.size[1] + y + self.at[1]) * self.size[0] + x + self.at[0]])
    }

    fn label(&self, [x, y, z]: [usize; 3]) -> u8 {
        self.labels[(z * self.box_size[1] + y) * self.box_size[0] + x]
    }

    /// Places that are this class and have nothing else within `reach` voxels along any axis.
    fn inner(&self, class: u8, reach: usize) -> Vec<[usize; 3]> {
        let [nx, ny, nz] = self.box_size;
        let mut found = Vec::new();
        for z in reach..nz - reach {
            for y in reach..ny - reach {
                for x in reach..nx - reach {
                    let all = (0..3).all(|k| {
                        (0..=2 * reach).all(|i| {
                            let mut p = [x, y, z];
                            p[k] = p[k] + i - reach;
                            self.label(p) == class
                        })
                    });
                    if all {
                        found.push([x, y, z]);
                    }
                }
            }
        }
        found
    }

    /// Electrolyte: background with lithium on both sides along y, four voxels off.
    fn electrolyte(&self) -> Vec<[usize; 3]> {
        let [nx, ny, nz] = self.box_size;
        let mut found = Vec::new();
        for z in 4..nz - 4 {
            for x in 4..nx - 4 {
                let first = (0..ny).find(|&y| self.label([x, y, z]) == 4);
                let last = (0..ny).rev().find(|&y| self.label([x, y, z]) == 6);
                let (Some(first), Some(last)) = (first, last) else { continue };
                let free = |y: usize| (y - 4..=y + 4).all(|y| self.label([x, y, z]) == 0);
                found.extend((first + 4..last - 4).filter(|&y| free(y)).map(|y| [x, y, z]));
            }
        }
        found
    }

    fn mean(&self, places: &[[usize; 3]]) -> f64 {
        assert!(places.len() > 100, "{} places", places.len());
        places.iter().map(|&p| self.value(p)).sum::<f64>() / places.len() as f64
    }

    fn median(&self, places: &[[usize; 3]]) -> f64 {
        assert!(places.len() > 100, "{} places", places.len());
        let mut values: Vec<f64> = places.iter().map(|&p| self.value(p)).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }
}

/// The axis that the scan was made with, in pixels of the detector.
fn planted_axis(truth: &Json) -> f64 {
    truth.need_arr("fields").unwrap()[0].need_f64("axis_pixel").unwrap()
}

const LITHIUM: f64 = 0.0896;
const ELECTROLYTE: f64 = 0.629;

#[test]
fn absorption_of_a_whole_cell_is_within_a_hundredth() {
    let s = Scratch::new("phantom-whole");
    let seen = Seen::new(&s, "u", 6, "--mode radiographs --untruncated --detector ideal", false);
    assert!(!seen.said.contains("wider"), "{}", seen.said);
    for class in [4, 6] {
        let mean = seen.mean(&seen.inner(class, 4));
        assert!((mean - LITHIUM).abs() < 0.01, "class {class}: {mean}");
    }
    // Deposited: what the truth says is solid.
    let (_, fraction) = labels(&s.0.join("u/truth/step_06/li_frac"));
    let (_, class) = labels(&s.0.join("u/truth/step_06/label"));
    let (sum, n) = fraction
        .iter()
        .zip(&class)
        .filter(|(_, c)| **c == 3)
        .fold((0.0, 0.0), |(sum, n), (&f, _)| (sum + f64::from(f) / 255.0, n + 1.0));
    let deposited = seen.mean(&seen.inner(3, 3));
    assert!((deposited - LITHIUM * sum / n).abs() < 0.01, "{deposited} for {}", LITHIUM * sum / n);
    let electrolyte = seen.median(&seen.electrolyte());
    assert!((electrolyte / ELECTROLYTE - 1.0).abs() < 0.05, "{electrolyte}");
    // Pits are as empty as air.
    let pits = seen.mean(&seen.inner(2, 1));
    assert!(pits.abs() < 0.02, "{pits}");
}

#[test]
fn a_truncated_scan_says_so_and_keeps_its_axis_and_its_contrast() {
    let s = Scratch::new("phantom-truncated");
    let seen = Seen::new(&s, "t", 6, "--mode radiographs", false);
    assert!(seen.said.contains("the sample is wider than the detector"), "{}", seen.said);
    let text = seen.manifest.to_canonical();
    assert!(text.contains("relative 1/cm"), "{text}");
    let at = text.find("\"pixel\":").unwrap() + 8;
    let pixel: f64 = text[at..].split([',', '}']).next().unwrap().trim().parse().unwrap();
    let axis = planted_axis(&seen.truth);
    assert!((pixel - axis).abs() < 0.5 && (axis - 159.5).abs() > 4.0, "{pixel}, planted {axis}");
    let mut lithium = seen.inner(4, 4);
    lithium.extend(seen.inner(6, 4));
    let contrast = seen.median(&seen.electrolyte()) - seen.mean(&lithium);
    assert!((contrast / (ELECTROLYTE - LITHIUM) - 1.0).abs() < 0.1, "contrast {contrast}");
}

/// Retrieved from a propagated, truncated, warped scan of the real detector: the contrast of electrolyte and each electrode,
/// as far from every face along y as the retrieval smooths (√(λ z δ / 4π β) is some ten voxels).
#[test]
fn a_phase_scan_keeps_its_contrast_when_it_is_retrieved() {
    let s = Scratch::new("phantom-phase");
    let words = "--preset small --mode radiographs-phase --projections 361 --only 4";
    cell(&s, "p", words);
    let step = s.0.join("p/step_04");
    let output = tomolith(&step).args(["recon", "--config", "scan_phase.toml", "-q", "-o", "slices"]).output().unwrap();
    expect(&output, 0, &[], "recon");
    let seen = Seen::read(&s.0.join("p"), 4, String::new());
    let inner = |class: u8| -> Vec<[usize; 3]> {
        let [nx, ny, nz] = seen.box_size;
        let mut places = Vec::new();
        for (z, x) in (0..nz).flat_map(|z| (0..nx).map(move |x| (z, x))) {
            let first = (0..ny).find(|&y| seen.label([x, y, z]) == 4);
            let end = (0..ny).rev().find(|&y| seen.label([x, y, z]) == 6);
            let (Some(first), Some(end)) = (first, end) else { continue };
            // Background between the electrodes is electrolyte, beyond them it is the pouch.
            let mut run = 0;
            for y in first..=end {
                run = if seen.label([x, y, z]) == class { run + 1 } else { 0 };
                if run > 30 {
                    places.push([x, y - 15, z]);
                }
            }
        }
        places
    };
    let electrolyte = seen.mean(&inner(0));
    for class in [4, 6] {
        let contrast = (electrolyte - seen.mean(&inner(class))) / (ELECTROLYTE - LITHIUM);
        println!("electrolyte and class {class}: {contrast:.3} of the planted contrast");
        assert!((contrast - 1.0).abs() < 0.1, "class {class}: {contrast}");
    }
}

/// Surroundings that differ by more are two.
const HALF_CONTRAST: f64 = 0.5 * ELECTROLYTE;

/// The centre of mass of a marker, of what is above its surroundings, along x, y, z less `centre`. Its surroundings are
/// those of the same y: what lies beyond the detector draws streaks along the layers.
fn off_centre(seen: &Seen, centre: [f64; 3], radii: [f64; 3], in_membrane: bool) -> Option<[f64; 3]> {
    let around = |k: usize| {
        let [low, high] = [centre[k] - radii[k] - 4.0, centre[k] + radii[k] + 4.0];
        (low >= 0.0 && high < seen.box_size[k] as f64 - 1.0).then(|| low.floor() as usize..=high.ceil() as usize)
    };
    let [xs, ys, zs] = [around(0)?, around(1)?, around(2)?];
    let size = |p: [f64; 3], axes: &[usize]| axes.iter().map(|&k| ((p[k] - centre[k]) / radii[k]).powi(2)).sum::<f64>();
    let mut above = Vec::new();
    for y in ys {
        let (mut line, mut ring) = (Vec::new(), Vec::new());
        for z in zs.clone() {
            for x in xs.clone() {
                let (p, value) = ([x, y, z].map(|v| v as f64), seen.value([x, y, z]));
                let beside = (size(p, &[0, 2]).sqrt() - 1.0) * 0.5 * (radii[0] + radii[2]);
                if (1.5..4.0).contains(&beside) {
                    ring.push(value);
                }
                line.push((p, value));
            }
        }
        ring.sort_by(f64::total_cmp);
        let background = ring[ring.len() / 2];
        // Beside the opening of the seam a marker has two surroundings, and no centre above them.
        let tenth = ring.len() / 10;
        if in_membrane && ring[ring.len() - 1 - tenth] - ring[tenth] > HALF_CONTRAST {
            return None;
        }
        above.extend(line.into_iter().map(|(p, value)| (p, size(p, &[0, 1, 2]).sqrt(), value - background)));
    }
    let core: Vec<f64> = above.iter().filter(|v| v.1 < 0.6).map(|v| v.2).collect();
    let height = core.iter().sum::<f64>() / core.len() as f64;
    let (mut weight, mut sum) = (0.0, [0.0; 3]);
    for (p, size, value) in above {
        let near = (size - 1.0) * radii.iter().sum::<f64>() / 3.0 < 2.0;
        let w = if near { (value / height).clamp(0.0, 1.0) } else { 0.0 };
        weight += w;
        (0..3).for_each(|k| sum[k] += w * (p[k] - centre[k]));
    }
    Some(sum.map(|v| v / weight))
}

#[test]
fn markers_lie_where_the_series_says() {
    let s = Scratch::new("phantom-markers");
    let words = "--preset small --mode radiographs --projections 360 --detector ideal";
    let seen = Seen::new(&s, "m", 2, words, true);
    let three = |m: &Json, name: &str| -> [f64; 3] {
        let list = m.need_arr(name).unwrap();
        std::array::from_fn(|k| list[k].as_f64().unwrap())
    };
    let (mut seen_markers, mut moved) = (BTreeMap::<String, usize>::new(), 0.0f64);
    for marker in seen.truth.need("pose").unwrap().need_arr("markers").unwrap() {
        let (cell, scan, radii) = (three(marker, "cell"), three(marker, "scan_centre_of_mass"), three(marker, "radii"));
        let body = marker.need_str("body").unwrap();
        // Those in the packaging lie in gap and film, of which only alumina makes light.
        if body != "membrane" && marker.need_str("fill").unwrap() != "alumina" {
            continue;
        }
        let Some(off) = off_centre(&seen, scan, radii, body == "membrane") else { continue };
        println!("{body} at {scan:?}: {off:?}");
        assert!(off.iter().all(|v| v.abs() < 0.1), "{body} marker at {scan:?} is off by {off:?}");
        moved = (0..3).fold(moved, |m, k| m.max((scan[k] - cell[k]).abs()));
        *seen_markers.entry(body.to_string()).or_insert(0) += 1;
    }
    assert!(
        seen_markers.values().all(|&n| n >= 3) && seen_markers.len() == 3 && moved > 2.0,
        "{seen_markers:?} {moved}"
    );
}

/// Contrast to noise of every pair of materials against dose: |m_a − m_b| / √((σ_a² + σ_b²) / 2), from voxels that have
/// nothing else within two. Printed for the README's record; some minutes.
#[test]
#[ignore = "prints a table for the record"]
fn table_of_contrast_to_noise() {
    let s = Scratch::new("phantom-cnr");
    let names = ["electrolyte", "dendrite", "pit", "deposited", "electrode"];
    for (mode, doses) in [("radiographs", ["1e6", "1e8"].as_slice()), ("radiographs-phase", &["1e3", "1e4", "1e5"])] {
        for dose in doses {
            let folder = format!("{mode}-{dose}");
            let words = format!("--preset small --only 12 --mode {mode} --dose {dose}");
            cell(&s, &folder, &words);
            let step = s.0.join(&folder).join("step_12");
            let configurations: &[&str] = if mode == "radiographs" { &["scan"] } else { &["scan", "scan_phase"] };
            for configuration in configurations {
                let config = format!("{configuration}.toml");
                let words = ["recon", "--config", &config, "-q", "--overwrite", "-o", "slices"];
                let output = tomolith(&step).args(words).output().unwrap();
                if output.status.code() != Some(0) {
                    println!("{mode} {dose} {configuration}: {}", stderr(&output).lines().next().unwrap_or_default());
                    continue;
                }
                let seen = Seen::read(&s.0.join(&folder), 12, String::new());
                let mut electrodes = seen.inner(4, 2);
                electrodes.extend(seen.inner(6, 2));
                let materials = [seen.electrolyte(), seen.inner(1, 2), seen.inner(2, 2), seen.inner(3, 2), electrodes];
                let moments = materials.map(|places| {
                    let mean = seen.mean(&places);
                    let square = places.iter().map(|&p| (seen.value(p) - mean).powi(2)).sum::<f64>();
                    (mean, square / places.len() as f64)
                });
                println!("{mode} {dose} {configuration}");
                for a in 0..names.len() {
                    for b in a + 1..names.len() {
                        let ((ma, va), (mb, vb)) = (moments[a], moments[b]);
                        let cnr = (ma - mb).abs() / (0.5 * (va + vb)).sqrt();
                        println!("  {:>11} - {:<11} {:8.4} {cnr:8.3}", names[a], names[b], ma - mb);
                    }
                }
            }
        }
    }
}
