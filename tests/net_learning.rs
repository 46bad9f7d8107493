//! A small network learns to label the synthetic cell, and is tried on another cell; the same bits every time.

mod common;
use common::{Scratch, expect, run, stdout};

/// Cells to learn from, and one to try on.
const CELLS: [u32; 4] = [1, 2, 3, 4];
const STEPS: [u32; 2] = [8, 14];
/// Weights at the end, on every machine. What makes the cell, the labels or the arithmetic another also makes this another.
const DIGEST: &str = "2f4a293e09d72ff00706960ba6e53f660ebdf86a653c94cf4da9f9bcf4d13ee8";

#[test]
fn a_small_network_labels_a_cell_that_it_never_saw() {
    let folder = Scratch::new("learning");
    for cell in CELLS {
        let words = "phantom cell --preset tiny --mode volume --annotate dense --boundary 0 --confusion 0 --only 8,14";
        expect(&run(&folder.0, &format!("{words} --seed {cell} -o cell{cell}")), 0, &[], "cell");
        for step in STEPS {
            for what in ["grey", "drawn"] {
                let words = format!("convert cell{cell}/step_{step:02}/{what}.mhd {what}{cell}_{step}.npy");
                expect(&run(&folder.0, &words), 0, &[], &words);
            }
        }
    }
    let files = |what: &str, cells: &[u32]| -> String {
        let names = cells.iter().flat_map(|c| STEPS.map(|s| format!("{what}{c}_{s}.npy")));
        names.collect::<Vec<_>>().join(",")
    };
    let (learn, try_on) = CELLS.split_at(3);
    let words = format!(
        "net train --input {} --labels {} --validation-input {} --validation-labels {} --unlabelled 255 \
         --channels 16,32,64,64 --batch 8 --lr 3e-3 --dropout 0 --epochs 6 -o run",
        files("grey", learn),
        files("drawn", learn),
        files("grey", try_on),
        files("drawn", try_on)
    );
    let output = run(&folder.0, &words);
    expect(&output, 0, &["epochs 6, 216 steps"], "training");
    let text = stdout(&output);
    let table = std::fs::read_to_string(folder.0.join("run/epochs.csv")).unwrap();
    let last: Vec<f64> = table.lines().last().unwrap().split(',').map(|v| v.parse().unwrap()).collect();
    // Background, dendrite, pit, deposited lithium, electrode; the cell's dendrites are a voxel thick.
    let iou = &last[7..];
    let mean = iou.iter().sum::<f64>() / 5.0;
    println!("IoU {iou:.3?}, mean {mean:.3}\n{text}");
    assert!(iou.len() == 5 && iou[0] > 0.9 && iou[4] > 0.95 && iou[2] > 0.5 && iou[3] > 0.5 && mean > 0.6, "{table}");
    assert!(text.contains(DIGEST), "{text}");
}
