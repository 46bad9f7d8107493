//! The weights that are shipped: a small network that labels reconstructions of the `tiny` cell.
//!
//!     cargo test --release --test demo_weights                                     # whether they label a cell they never saw
//!     TOMOLITH_TEST_DEMO=FOLDER cargo test --release --test demo_weights -- --ignored    # makes them again, bit for bit
//!
//! `testdata/demo/tiny.safetensors` is what `tomolith demo --cell --train` makes: `src/cli/demo_train.rs` has the recipe, and the
//! cells that are shown.

#![allow(clippy::print_stdout)] // A table is what it is for.

mod common;
use common::{Scratch, axis_of, expect, json, npy_of, run, stdout};
use std::path::{Path, PathBuf};
use tomolith::json::Json;

/// The demo's cell, which the weights do not know, and its steps.
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
    let words =
        format!("phantom cell -q -o c{cell} --preset tiny --mode radiographs-phase --only {only} --seed {cell}");
    expect(&run(folder, &words), 0, &[], &words);
    let ([nx, ny, nz], n) = (SIZE, COLUMNS);
    let scan = |step: &usize| {
        let at = format!("c{cell}/step_{step:02}");
        let axis = axis_of(&folder.join(format!("c{cell}")), *step);
        let words = format!("recon -q --config scan_phase.toml --center {axis} -o slices");
        expect(&run(&folder.join(&at), &words), 0, &[], &at);
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
#[ignore = "trains: half an hour, 2 GB"]
fn shipped_weights_are_made_again_bit_for_bit() {
    let scratch = Scratch::new("demo-training");
    let folder = std::env::var_os("TOMOLITH_TEST_DEMO").map_or(scratch.0.clone(), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    let output = run(&folder, "demo --cell --train --steps 3 -o demo");
    expect(&output, 0, &["um off in the mean of 6"], "demo");
    println!("{}", stdout(&output));
    let made = std::fs::read(folder.join("demo/weights.safetensors")).unwrap();
    let same = std::fs::read(shipped()).is_ok_and(|shipped| shipped == made);
    assert!(same, "{} is not what is shipped", folder.join("demo/weights.safetensors").display());
}
