//! A small series for the tests of the whole way.

use super::{Scratch, expect, run, stdout};
use std::path::Path;

/// A series of three scans at which nothing moved, a network that has learnt nothing, and rules.
pub fn cell(folder: &Scratch) {
    let words = "phantom cell -o scans --preset tiny --mode radiographs --steps 3 --seed 5 --still --detector ideal --untruncated -q";
    expect(&run(&folder.0, words), 0, &[], words);
    expect(&run(&folder.0, "net init -o w.safetensors --channels 4,8 --classes 5"), 0, &[], "init");
    folder.write(
        "rules.toml",
        "axis = \"y\"\n[[split]]\nclass = \"plating electrode\"\nat = 160\nbecomes = \"stripping electrode\"\n",
    );
    expect(&run(&folder.0, "init scans --weights w.safetensors -o cell.toml"), 0, &["3 scans"], "init");
    let text = std::fs::read_to_string(folder.0.join("cell.toml")).unwrap();
    let text = text
        .replace("weights = \"w.safetensors\"", "weights = \"w.safetensors\"\ngrey = \"0,1.2\"\nroi = \"64\"")
        .replace("# rules", "rules")
        .replace("[run]\n", "[run]\nstill = true\n")
        .replace("[analyze]\n", "[analyze]\ncell-area = 0.5\nmaps = \"none\"\n");
    folder.write("cell.toml", text);
}

/// The seal that a run ends with.
#[track_caller]
pub fn seal(folder: &Path, words: &str) -> String {
    let output = run(folder, words);
    expect(&output, 0, &["run cell "], words);
    stdout(&output).trim().rsplit(' ').next().unwrap().to_string()
}
