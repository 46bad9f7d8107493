//! What a run reads and writes is what `--plan` said, stage by stage, on samples of different shapes and ways.

use super::moved::sample;
use crate::common::Scratch;
use crate::common::series::{cell, stages_as_planned};
use std::fs::read_to_string;

/// The cell with everything that is drawn of it, and grey values.
#[test]
fn a_cell_with_maps_moves_the_bytes_of_its_plan() {
    let folder = Scratch::new("planned-cell");
    cell(&folder);
    let text = read_to_string(folder.0.join("cell.toml")).unwrap();
    let with = text.replace("maps = \"none\"\n", "grey-fill = 0\n");
    assert!(with != text);
    folder.write("cell.toml", with);
    // The network has learnt nothing: its classes are noise, which is what views are reckoned as.
    stages_as_planned(&folder.0, &["slices", "classes", "report", "page"], &["page"]);
}

/// Registration: volumes of one block, of many of which some are chosen, and of bodies that are flattened and closed. All of
/// the grid is kept, as what every scan sees is known when their motions are.
#[test]
fn scans_that_are_registered_move_the_bytes_of_their_plan() {
    let folder = Scratch::new("planned-moved");
    for (shape, more) in [
        ([96, 72], ""),
        ([128, 64], "block = 40\n"),
        ([112, 72], "bodies = \"low=0:56,high=56:112\"\nclosure = true\n"),
    ] {
        let _ = std::fs::remove_dir_all(&folder.0);
        std::fs::create_dir_all(&folder.0).unwrap();
        sample(&folder, shape);
        let text = read_to_string(folder.0.join("cell.toml")).unwrap();
        let text = text.replace("[register]\n", &format!("[register]\ncrop = \"fixed\"\n{more}"));
        folder.write("cell.toml", text.replace("maps = \"none\"\n", ""));
        stages_as_planned(&folder.0, &["slices", "volumes", "classes", "report"], &[]);
    }
}
