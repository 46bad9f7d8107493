//! The weights that are shipped: a small network that labels reconstructions of the cells `tiny` and `demo`.
//!
//!     cargo test --release --test demo_weights                                     # whether they label a cell they never saw
//!     TOMOLITH_TEST_DEMO=FOLDER cargo test --release --test demo_weights -- --ignored    # makes them again, bit for bit, and their errors
//!
//! `testdata/demo/cell.safetensors` is what `tomolith demo --train` makes: `src/cli/demo/train.rs` has the recipe, and the
//! cells that are shown.

#![allow(clippy::print_stdout)] // A table is what it is for.

mod common;
use common::{Scratch, axis_of, expect, json, npy_of, run, stdout};
use std::path::{Path, PathBuf};
use tomolith::json::Json;
use tomolith::pipeline::version;
use tomolith::provenance::Digest;

/// The demo's cell, which the weights do not know, and its steps.
const UNSEEN: (u32, [usize; 2]) = (77, [8, 16]);

/// What the demo records: how, voxels x, y, z, columns of the detector, and IoU at the least.
struct Kind {
    recorded: &'static str,
    size: [usize; 3],
    columns: usize,
    least: [(&'static str, f64); 5],
}

const KINDS: [Kind; 2] = [
    Kind {
        recorded: "--preset tiny --blind",
        size: [64, 288, 48],
        columns: 320,
        least: [("background", 0.95), ("dendrite", 0.46), ("pit", 0.63), ("deposited", 0.77), ("electrode", 0.97)],
    },
    Kind {
        recorded: "--preset demo --blind --warp 0.3",
        size: [96, 288, 72],
        columns: 304,
        least: [("background", 0.93), ("dendrite", 0.57), ("pit", 0.70), ("deposited", 0.68), ("electrode", 0.97)],
    },
];
/// The network's classes of the cell's.
const OF_CELL: [u8; 7] = [0, 1, 2, 3, 4, 3, 4];

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/demo/cell.safetensors")
}

/// What it does to numbers, as it is shipped.
fn errors(which: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/demo/{which}.json"))
}

/// Scans of a cell, reconstructed, and their truth on the grid of the slices: SCAN.mhd, SCAN.truth.npy.
fn scans(folder: &Path, kind: &Kind, cell: u32, steps: &[usize]) -> Vec<String> {
    let only = steps.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let recorded = kind.recorded;
    let words = format!("phantom cell -q -o c{cell} {recorded} --mode radiographs-phase --only {only} --seed {cell}");
    expect(&run(folder, &words), 0, &[], &words);
    let ([nx, ny, nz], n) = (kind.size, kind.columns);
    let scan = |step: &usize| {
        let at = format!("c{cell}/step_{step:02}");
        let axis = axis_of(&folder.join(format!("c{cell}")), *step);
        let words = format!("recon -q --config scan_phase.toml --padding edge --center {axis} -o slices");
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
fn shipped_weights_label_cells_that_they_never_saw() {
    for (kind, which) in KINDS.iter().zip(["still", "moving"]) {
        label(kind, &Scratch::new(&format!("demo-weights-{which}")).0);
    }
}

fn label(kind: &Kind, folder: &Path) {
    let (mut seen, mut truths) = (Vec::new(), Vec::new());
    for (i, at) in scans(folder, kind, UNSEEN.0, &UNSEEN.1).iter().enumerate() {
        let words = format!(
            "seg predict -q --weights {} --input {at}/slices.mhd --roi 128 --batch 4 -o seg_{i}",
            shipped().display()
        );
        let begun = std::time::Instant::now();
        expect(&run(folder, &words), 0, &[], "predict");
        println!("a scan in {:.2} s", begun.elapsed().as_secs_f64());
        seen.push(format!("seg_{i}.mhd"));
        truths.push(format!("{at}/truth.npy"));
    }
    let words = format!("seg eval --prediction {} --truth {} --draws 0 -o m.json", seen.join(","), truths.join(","));
    let output = run(folder, &words);
    expect(&output, 0, &[], "eval");
    println!("{}", stdout(&output));
    let figures = json(&folder.join("m.json"));
    for (class, least) in kind.least {
        let iou =
            figures.get("figures").and_then(|f| f.get(&format!("iou {class}"))?.get("value")).and_then(Json::as_f64);
        assert!(iou.is_some_and(|iou| iou >= least), "{class} {iou:?}, at least {least}\n{}", stdout(&output));
    }
}

/// Two fields of view joined, scans registered, classes and numbers beside the planted ones, and no thickness far from them.
#[test]
fn the_demo_of_a_moving_cell_joins_and_registers() {
    let folder = Scratch::new("demo-moving");
    let output = run(&folder.0, "demo --steps 2 -o demo");
    expect(&output, 0, &["um off in the mean of 4", "report: "], "demo");
    println!("{}", stdout(&output));
    let read = |name: &str| std::fs::read_to_string(folder.0.join(name)).unwrap();
    assert!(read("demo/cell/slices/s00.json").contains("nominal_offsets"));
    assert_eq!(read("demo/cell/registered/registration.csv").lines().count(), 2);
    // Another demo is not mixed into it.
    expect(&run(&folder.0, "demo --still --steps 2 -o demo"), 73, &["holds a demo of other scans"], "still");
    expect(&run(&folder.0, "demo --steps 1 -o one"), 2, &["nothing to register"], "one scan");
}

/// What is known of the network's errors is of this network, and of as many cells as it says.
#[test]
fn shipped_errors_are_those_of_the_shipped_weights() {
    let network = Digest::of_file(&shipped()).unwrap().0.hex();
    for (kind, which) in KINDS.iter().zip(["still", "moving"]) {
        let kept = json(&errors(which));
        assert_eq!(kept.need_str("network").unwrap(), network, "{which}: make them again: demo --evaluate");
        assert_eq!(kept.need_str("schema").unwrap(), "tomolith-evaluated-2", "{which}: make them again");
        assert_eq!(kept.need_u64("analyze").unwrap(), u64::from(version("analyze")), "{which}: make them again");
        let series = kept.need_arr("series").unwrap();
        assert_eq!(series.len(), 6, "{which}");
        for one in series {
            assert_eq!(one.need_arr("steps").unwrap().len(), 25, "{which}");
            let sides = one
                .need_arr("numbers")
                .unwrap()
                .iter()
                .filter(|n| n.need_str("definition").unwrap() == "thickness.side");
            let scans: Vec<_> = sides.map(|n| n.need_arr("of_scans").unwrap()).collect();
            assert!(scans.len() == 2 && scans.iter().all(|s| s.len() == 25 && !s.contains(&Json::Null)), "{which}");
        }
        let ny = kept.need("parameters").unwrap().need_arr("dims_zyx").unwrap()[1].as_u64();
        assert!(ny.is_some_and(|ny| (260..=kind.size[1] as u64).contains(&ny)), "{which}: {ny:?}");
    }
}

/// Six cells for each kind, recorded, labelled and measured beside their truth.
#[test]
#[ignore = "half an hour"]
fn shipped_errors_are_measured_again_digit_for_digit() {
    for (which, what) in [("still", " --still"), ("moving", "")] {
        let folder = Scratch::new(&format!("demo-errors-{which}"));
        let output = run(&folder.0, &format!("demo{what} --evaluate -o demo"));
        expect(&output, 0, &["each cell corrected by the others", "intervals of 95 %"], which);
        println!("{}", stdout(&output));
        let [made, known] =
            [folder.0.join("demo/evaluated/errors.json"), errors(which)].map(|p| std::fs::read(p).unwrap());
        assert!(made == known, "{which}: measured errors are not what is shipped");
    }
}

#[test]
#[ignore = "trains: half an hour, 5 GB"]
fn shipped_weights_are_made_again_bit_for_bit() {
    let scratch = Scratch::new("demo-training");
    let folder = std::env::var_os("TOMOLITH_TEST_DEMO").map_or(scratch.0.clone(), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    let output = run(&folder, "demo --still --train --steps 3 -o demo");
    expect(&output, 0, &["um off in the mean of 6"], "demo");
    println!("{}", stdout(&output));
    let made = std::fs::read(folder.join("demo/weights.safetensors")).unwrap();
    let same = std::fs::read(shipped()).is_ok_and(|shipped| shipped == made);
    assert!(same, "{} is not what is shipped", folder.join("demo/weights.safetensors").display());
}
