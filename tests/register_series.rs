//! Radiographs to motions: all 25 scans of the synthetic cell, through `center`, `recon` and `register` as a user would
//! run them, held against the planted motions everywhere on each body.
//!
//!     cargo test --release --test register_series -- --ignored --nocapture
//!
//! About 25 minutes on two cores, and 9 GB. `TOMOLITH_TEST_SERIES=FOLDER` keeps what is made, and takes what is there.

#![allow(clippy::print_stdout)] // A line for each step and body is what it is for.

mod common;
use common::{Scratch, expect, json, run, stdout, tomolith};
use std::path::{Path, PathBuf};
use tomolith::json::Json;
use tomolith::num::linalg::{Matrix, product};
use tomolith::register::Rigid;
use tomolith::register::rigid::corners;
use tomolith::volume::Dims;

/// Step that the others are registered to.
const FIXED: usize = 24;
const STEPS: usize = 25;
/// Name and depths of the bodies in the slices of the fixed scan, markers included; columns are those in view.
const BODIES: [(&str, [usize; 2]); 2] = [("stripping", [269, 369]), ("plating", [40, 140])];
const COLUMNS: [usize; 2] = [96, 352];
/// Largest distance from where a corner of a body is, voxels.
const BOUND: f64 = 0.1;

fn three(json: &Json) -> [f64; 3] {
    let list: Vec<f64> = json.as_arr().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    list.try_into().unwrap()
}

fn matrix(json: &Json) -> Matrix<4> {
    let row = |i: usize| &json.as_arr().unwrap()[i];
    std::array::from_fn(|i| std::array::from_fn(|k| row(i).as_arr().unwrap()[k].as_f64().unwrap()))
}

fn shift(by: [f64; 3]) -> Matrix<4> {
    std::array::from_fn(|i| {
        std::array::from_fn(|k| {
            if i == k {
                1.0
            } else if k == 3 {
                by[i.min(2)]
            } else {
                0.0
            }
        })
    })
}

/// From a point of a body of the cell, as it was before anything grew, to where the slices of a scan show it.
fn planted(step: &Json, body: &str, at: [f64; 3]) -> Matrix<4> {
    let pose = matrix(step.need("pose").unwrap().need(body).unwrap().need("matrix").unwrap());
    let drift = three(step.need_arr("fields").unwrap()[0].need("apparent_shift").unwrap());
    // What grows between the electrodes pushes the plating side towards smaller y of the cell.
    let grown = step.need("step").unwrap().need_f64("plating_side_moved_voxels").unwrap();
    let grown = if body == "plating" { grown } else { 0.0 };
    let seen: [f64; 3] = std::array::from_fn(|i| drift[i] + at[i]);
    product(&product(&shift(seen), &pose), &shift([0.0, -grown, 0.0]))
}

fn inverse(m: &Matrix<4>) -> Matrix<4> {
    Rigid::from_matrix(m, [0.0; 3]).unwrap().inverse().matrix()
}

/// Radiographs, slices about one axis, and transforms in `folder`, as far as they are not there.
fn make(folder: &Path) {
    let of = |k: usize| format!("series/step_{k:02}");
    if !folder.join("series/series.json").exists() {
        let words = "phantom cell -q -o series --preset small --mode radiographs --warp 0";
        expect(&run(folder, words), 0, &[], words);
    }
    let scans: Vec<String> = (0..STEPS).map(|k| of(k) + "/scan.toml").collect();
    let words = format!("center -q {}", scans.join(" "));
    let output = run(folder, &words);
    expect(&output, 0, &["0 of 25 far off"], "center");
    let said = stdout(&output);
    let common = said.lines().last().unwrap().split_whitespace().nth(1).unwrap().to_string();
    println!("{said}");
    for k in 0..STEPS {
        let base = folder.join(of(k));
        if !base.join("slices.json").exists() {
            let words = format!("recon -q --config scan.toml --center {common} -o slices");
            let output = tomolith(&base).args(words.split_whitespace()).output().unwrap();
            expect(&output, 0, &[], &words);
        }
    }
    let moving: Vec<String> = (0..STEPS).filter(|&k| k != FIXED).map(|k| of(k) + "/slices.mhd").collect();
    let bodies: Vec<String> = BODIES.iter().map(|(name, [a, b])| format!("{name}={a}:{b}")).collect();
    let words = format!(
        "register -q --fixed {}/slices.mhd --moving {} --columns {}:{} --bodies {} --capture 40 --transform-only --overwrite \
         -o reg",
        of(FIXED),
        moving.join(","),
        COLUMNS[0],
        COLUMNS[1],
        bodies.join(",")
    );
    let output = run(folder, &words);
    println!("{}", stdout(&output));
    expect(&output, 0, &[], "register");
}

#[test]
#[ignore = "25 scans: 25 minutes and 9 GB"]
fn every_scan_of_a_series_is_registered_within_a_tenth_of_a_voxel() {
    let scratch = Scratch::new("register-series");
    let folder = std::env::var_os("TOMOLITH_TEST_SERIES").map_or(scratch.0.clone(), PathBuf::from);
    make(&folder);
    let truth = json(&folder.join("series/truth/truth.json"));
    let steps = truth.need_arr("steps").unwrap();
    let geometry = json(&folder.join("series/series.json"));
    let at = geometry.need("geometry").unwrap().need_arr("box_in_slice_column_row").unwrap();
    let at = [at[0].as_f64().unwrap(), at[1].as_f64().unwrap(), 0.0];
    let slices = json(&folder.join("series/step_24/slices.json"));
    let nz = slices.need("volume").unwrap().need("dims").unwrap().need_u64("nz").unwrap() as usize;
    let (mut worst, mut within, mut all) = (0.0f64, 0, 0);
    for k in (0..STEPS).filter(|&k| k != FIXED) {
        let transform = json(&folder.join(format!("reg/step_{k:02}.slices.transform.json")));
        for (found, (name, [from, to])) in transform.need_arr("bodies").unwrap().iter().zip(BODIES) {
            assert_eq!(found.need_str("name").unwrap(), name);
            let got = matrix(found.need("matrix").unwrap());
            let want = product(&planted(&steps[k], name, at), &inverse(&planted(&steps[FIXED], name, at)));
            let [got, want] = [got, want].map(|m| Rigid::from_matrix(&m, [0.0; 3]).unwrap());
            let dims = Dims { nz, ny: to - from, nx: COLUMNS[1] - COLUMNS[0] };
            let origin = [COLUMNS[0] as f64, from as f64, 0.0];
            let (_, off) = got.corner_distance(&want, origin, dims);
            let middle: [f64; 3] = std::array::from_fn(|i| {
                corners(origin, dims).iter().map(|p| got.apply(p)[i] - want.apply(p)[i]).sum::<f64>() / 8.0
            });
            let claimed = found.need_f64("corner_sigma_voxels").unwrap();
            println!(
                "step {k:2} {name:9}  worst corner {off:.3} voxel, claimed {claimed:.3}; on average off by ({:.3}, {:.3}, {:.3})",
                middle[0], middle[1], middle[2]
            );
            worst = worst.max(off);
            within += usize::from(off <= BOUND);
            all += 1;
        }
    }
    println!("{within} of {all} bodies within {BOUND} voxel, the worst {worst:.3}");
    assert_eq!(all, 2 * (STEPS - 1));
    assert!(worst <= BOUND, "{worst}");
}
