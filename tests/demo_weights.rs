//! The weights that are shipped: a small network that labels reconstructions of the `tiny` cell.
//!
//!     cargo test --release --test demo_weights                                     # whether they label a cell they never saw
//!     TOMOLITH_TEST_DEMO=FOLDER cargo test --release --test demo_weights -- --ignored    # makes them again, bit for bit
//!
//! `testdata/demo/tiny.safetensors` is FOLDER/refined/best.safetensors. Cells 1001 to 1008 are learnt from, 1009 validates: phase
//! scans with the errors of a detector, retrieved and reconstructed by the configuration beside them, five slices at a time, about the true axis, against
//! the truth of the scan. Other cells are never shown.

#![allow(clippy::print_stdout)] // A table is what it is for.

mod common;
use common::{Scratch, axis_of, expect, json, npy_of, run, stdout};
use std::path::{Path, PathBuf};
use tomolith::json::Json;

/// Cells, and steps of each.
const LEARN: [u32; 8] = [1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008];
const VALIDATE: u32 = 1009;
const STEPS: [usize; 5] = [4, 8, 12, 16, 20];
/// A cell that neither the weights nor the demo know, and its steps.
const UNSEEN: (u32, [usize; 2]) = (77, [8, 16]);
/// Voxels x, y, z of `tiny`, columns of its detector.
const SIZE: [usize; 3] = [64, 288, 48];
const COLUMNS: usize = 320;
/// The network's classes of the cell's.
const OF_CELL: [u8; 7] = [0, 1, 2, 3, 4, 3, 4];
/// IoU that unseen cells have at least: background, dendrite, pit, deposited, electrode.
const LEAST: [(&str, f64); 5] =
    [("background", 0.95), ("dendrite", 0.40), ("pit", 0.57), ("deposited", 0.75), ("electrode", 0.96)];

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/demo/tiny.safetensors")
}

/// Scans of a cell, reconstructed, and their truth on the grid of the slices: SCAN.mhd, SCAN.truth.npy.
fn scans(folder: &Path, cell: u32, steps: &[usize]) -> Vec<String> {
    let only = steps.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    if !folder.join(format!("c{cell}/series.json")).exists() {
        let words =
            format!("phantom cell -q -o c{cell} --preset tiny --mode radiographs-phase --only {only} --seed {cell}");
        expect(&run(folder, &words), 0, &[], &words);
    }
    let ([nx, ny, nz], n) = (SIZE, COLUMNS);
    let scan = |step: &usize| {
        let at = format!("c{cell}/step_{step:02}");
        if !folder.join(format!("{at}/slices.json")).exists() {
            let axis = axis_of(&folder.join(format!("c{cell}")), *step);
            let words = format!("recon -q --config scan_phase.toml --center {axis} -o slices");
            expect(&run(&folder.join(&at), &words), 0, &[], &at);
        }
        let classes = std::fs::read(folder.join(format!("c{cell}/truth/step_{step:02}/label_scan.raw"))).unwrap();
        let mut truth = vec![255u8; n * n * nz];
        for (i, &class) in classes.iter().enumerate() {
            let (x, y, z) = (i % nx, i / nx % ny, i / (nx * ny));
            truth[(z * n + y + (n - ny) / 2) * n + x + (n - nx) / 2] = OF_CELL[usize::from(class)];
        }
        std::fs::write(folder.join(format!("{at}/truth.npy")), npy_of("|u1", &[nz, n, n], &truth)).unwrap();
        at
    };
    steps.iter().map(scan).collect()
}

#[test]
fn shipped_weights_label_a_cell_that_they_never_saw() {
    let folder = Scratch::new("demo-weights");
    let (mut seen, mut truths) = (Vec::new(), Vec::new());
    for (i, at) in scans(&folder.0, UNSEEN.0, &UNSEEN.1).iter().enumerate() {
        let words = format!(
            "seg predict -q --weights {} --input {at}/slices.mhd --roi 128 --batch 4 -o seg_{i}",
            shipped().display()
        );
        let begun = std::time::Instant::now();
        expect(&run(&folder.0, &words), 0, &[], "predict");
        println!("a scan in {:.2} s", begun.elapsed().as_secs_f64());
        seen.push(format!("seg_{i}.mhd"));
        truths.push(format!("{at}/truth.npy"));
    }
    let words = format!("seg eval --prediction {} --truth {} --draws 0 -o m.json", seen.join(","), truths.join(","));
    let output = run(&folder.0, &words);
    expect(&output, 0, &[], "eval");
    println!("{}", stdout(&output));
    let figures = json(&folder.0.join("m.json"));
    for (class, least) in LEAST {
        let iou =
            figures.get("figures").and_then(|f| f.get(&format!("iou {class}"))?.get("value")).and_then(Json::as_f64);
        assert!(iou.is_some_and(|iou| iou >= least), "{class} {iou:?}, at least {least}\n{}", stdout(&output));
    }
}

#[test]
#[ignore = "trains: minutes"]
fn shipped_weights_are_made_again_bit_for_bit() {
    let scratch = Scratch::new("demo-training");
    let folder = std::env::var_os("TOMOLITH_TEST_DEMO").map_or(scratch.0.clone(), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    let (mut labels, mut data) = (Vec::new(), Vec::new());
    for cell in LEARN.into_iter().chain([VALIDATE]) {
        for at in scans(&folder, cell, &STEPS) {
            let words = format!(
                "labels import -q {at}/truth.npy --map from-0 --like {at}/slices.mhd --overwrite -o {at}/labels"
            );
            expect(&run(&folder, &words), 0, &[], &words);
            labels.push(format!("c{cell}:{at}={at}/labels.mhd"));
            data.push(format!("{at}={at}/slices.mhd,{at}/labels.mhd"));
        }
    }
    let patches = "--planes xy --slices 4::20 --size 128 --step 64 --least-labelled 0.4 --overwrite -o patches.json";
    expect(&run(&folder, &format!("seg patches -q {} {patches}", labels.join(" "))), 0, &[], "patches");
    let split = format!("seg split patches.json --by cell --validation c{VALIDATE} --overwrite -o split.json");
    expect(&run(&folder, &split), 0, &["trained on 0.00 %"], "split");
    // From scratch; then slowly, rare classes counting more.
    let network = "--channels 16,32,64,64 --context 2 --lr 2e-3 --epochs 26 -o run";
    let refined = "--weights run/best.safetensors --class-weights 1,3,3,2,1 --lr 4e-4 --epochs 12 -o refined";
    for (run_folder, how) in [("run", network), ("refined", refined)] {
        let done = folder.join(run_folder).join("done");
        if !done.exists() {
            let resume = if folder.join(run_folder).join("last.safetensors").exists() { "--resume" } else { "" };
            let train = format!(
                "seg train -q --patches patches.json --split split.json {} --grey -0.5,2.2 --dropout 0.1 --batch 8 \
                 --augment none,flip-columns=0.5,gain=0.1,offset=0.08,noise=0.03 {how} {resume}",
                data.join(" ")
            );
            let output = run(&folder, &train);
            expect(&output, 0, &["best epoch"], "training");
            println!("{}", stdout(&output));
            std::fs::write(done, "").unwrap();
        }
    }
    let made = std::fs::read(folder.join("refined/best.safetensors")).unwrap();
    let same = std::fs::read(shipped()).is_ok_and(|shipped| shipped == made);
    assert!(same, "{} is not what is shipped", folder.join("refined/best.safetensors").display());
}
