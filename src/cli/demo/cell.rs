//! `tomolith demo`: the whole way on a synthetic cell, and every number beside the planted one.
//!
//! A cell that the shipped weights never saw is scanned by the detector of `phantom cell` at the steps
//! that are asked for, with propagation; `run` retrieves the phase, reconstructs, labels and measures it; `analyze` measures the planted classes in the same way;
//! the table sets one beside the other. A cell that moves is wider, is clamped anew for every scan and seen in two fields of view:
//! `run` joins and registers them, too. Numbers are corrected, and their intervals are made, by what the network does to those of
//! other cells, which is shipped, too, or measured here, with what becomes of each of those cells if it is corrected by the
//! others. What lithium any of these cells loses is drawn, and `run` is not told.

use super::DemoArgs;
use super::compare::{self, Scores};
use super::train::{self, Geometry, MOVING, STILL};
use crate::cli::Context;
use crate::cli::analyze::evaluate::network_of;
use crate::cli::seg::{read_json, read_text};
use crate::error::{Error, Result};
use crate::exchange::write_text;
use crate::json::Json;
use crate::provenance::Digest;
use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

/// The network that `testdata/demo/README.md` describes.
const WEIGHTS: &[u8] = include_bytes!("../../../testdata/demo/cell.safetensors");
/// What it does to the numbers of cells of [`EVALUATED`], `testdata/demo/README.md`: still ones, and moving ones.
const ERRORS_STILL: &str = include_str!("../../../testdata/demo/still.json");
const ERRORS_MOVING: &str = include_str!("../../../testdata/demo/moving.json");
/// Seeds of cells on which its errors are measured: it never saw them.
const EVALUATED: [u64; 6] = [2001, 2002, 2003, 2004, 2005, 2006];
/// Row of the cell in its electrolyte.
const MIDDLE: usize = 144;
/// Columns on either side of the cell's box that are kept: 128 with its own, one window of the network, and what moves aside.
const BESIDE: usize = 32;
/// Of registered volumes, the columns that a cell which moved by up to ten voxels fills in all scans.
const FILLED: Range<usize> = 26..102;
/// And their slices: of all cells the same number, or their numbers could not be compared.
const SLICES: Range<usize> = 2..54;
/// The motions that [`FILLED`], [`SLICES`] and the rows below are for: however a cell has grown, it is moved like this.
const MOTIONS: &str = "77";
/// What of the stripping electrode of the last scan is never stripped and has structure, its far face and what lies beyond, rows from the
/// cell's first one: blocks nearer to the electrolyte hold smooth lithium, and where their one face changes they are half a voxel off and more;
/// how far the cell is moved down there; and the rows that are kept, to a little beyond that electrode: farther down is the rim of the field.
const STRIPPING: Range<usize> = 254..294;
const DOWN: usize = 10;
const KEPT: usize = 272;
/// Area of a cell, cm².
const CELL_AREA: f64 = 0.5;
/// What its potentiostat wrote.
const LOG: &str = "scans/potentiostat.csv";
/// Scans that are reconstructed or labelled at a time, where there are as many threads: each is small.
const JOBS: usize = 4;

/// What is asked for.
pub struct Asked {
    /// Seed of the cell.
    pub seed: u64,
    /// Scans, evenly of 25.
    pub steps: usize,
    /// Whether the cell is moved between scans.
    pub moving: bool,
    /// Whether the network is trained first.
    pub train: bool,
    /// Whether its errors are measured first.
    pub evaluate: bool,
    /// What the network is run on.
    pub device: String,
}

/// Makes the cell, runs, compares.
pub fn run(c: &Context, args: &DemoArgs, asked: &Asked) -> Result<()> {
    let &Asked { seed, steps, moving, ref device, .. } = asked;
    if moving && steps < 2 {
        return Err(Error::usage("--steps 1: there is nothing to register").help("take two scans, or more, or --still"));
    }
    if train::knows(seed) || EVALUATED.contains(&seed) {
        return Err(Error::usage(format!("--seed {seed}: the shipped weights, or their errors, know this cell"))
            .help("take another one: numbers of this one would seem better than they are"));
    }
    let folder = &args.output;
    std::fs::create_dir_all(folder).map_err(|e| Error::writing(folder, &e))?;
    let folder = &folder.canonicalize().map_err(|e| Error::reading(folder, &e))?;
    // Of this demo, or empty: nothing of somebody else's is replaced.
    let kind = if moving { "moving" } else { "still" };
    let scans = recorded(moving, steps, seed);
    let what = format!("tomolith demo: {kind}, seed {seed}, {steps} steps\nphantom cell {scans}\n");
    let mark = folder.join("demo.txt");
    let is_empty = std::fs::read_dir(folder).map_err(|e| Error::reading(folder, &e))?.next().is_none();
    if mark.is_file() && read_text(&mark)? != what {
        return Err(Error::cannot_create("holds a demo of other scans").help("name another folder with -o").at(folder));
    }
    if !mark.is_file() && !is_empty && !args.overwrite {
        return Err(Error::cannot_create("holds something, and no demo")
            .help("name another folder with -o, or replace files of the same names with --overwrite")
            .at(folder));
    }
    write_text(&mark, &what, true)?;
    let weights = match asked.train {
        true => {
            let path = train::weights(c, folder, device)?;
            Cow::Owned(std::fs::read(&path).map_err(|e| Error::reading(&path, &e))?)
        }
        false => Cow::Borrowed(WEIGHTS),
    };
    let demo = Demo { c, steps, moving, device, weights: &weights };
    let errors = match asked.evaluate {
        true => Some(demo.evaluate(&folder.join("evaluated"))?),
        // Of another network they are not the errors.
        false => {
            let shipped = if moving { ERRORS_MOVING } else { ERRORS_STILL };
            let same = network_of(shipped)?.is_some_and(|network| network == Digest::of(demo.weights).hex());
            same.then(|| shipped.to_string())
        }
    };
    demo.measure(folder, seed, errors.as_deref())?;
    // The phantom counts all voxels of the cell, not those that all scans see.
    compare::print(c, folder, !moving)
}

/// How the scans of a cell are made.
fn recorded(moving: bool, steps: usize, seed: u64) -> String {
    let how = if moving { format!("{MOVING} --fields 2 --motion-seed {MOTIONS}") } else { format!("{STILL} --still") };
    format!("{how} --steps {steps} --seed {seed}")
}

/// What all cells of a demo have in common.
struct Demo<'a> {
    c: &'a Context,
    steps: usize,
    moving: bool,
    device: &'a str,
    weights: &'a [u8],
}

impl Demo<'_> {
    /// The network's errors: numbers of other cells, predicted and planted. What becomes of each of them if the others correct it
    /// is printed, and written beside.
    fn evaluate(&self, home: &Path) -> Result<String> {
        for seed in EVALUATED {
            let own = home.join(seed.to_string());
            std::fs::create_dir_all(&own).map_err(|e| Error::writing(&own, &e))?;
            self.measure(&own, seed, None)?;
        }
        let errors = |of: &[u64], to: &str| -> Result<()> {
            let list =
                |of_what: &str| of.iter().map(|s| format!("{s}/{of_what}/results.json")).collect::<Vec<_>>().join(",");
            let (predicted, truth) = (list("cell/numbers"), list("truth"));
            let network = format!("{}/weights.safetensors", EVALUATED[0]);
            let words =
                format!("evaluate --predicted {predicted} --truth {truth} --network {network} -o {to} --overwrite");
            train::step(self.c, &words, home).map(drop)
        };
        errors(&EVALUATED, "errors.json")?;
        let mut scores = Scores::default();
        for own in EVALUATED {
            let others: Vec<u64> = EVALUATED.into_iter().filter(|&s| s != own).collect();
            let known = format!("errors_without_{own}.json");
            errors(&others, &known)?;
            let folder = home.join(own.to_string());
            let (region, clock) = (self.region(&geometry(&folder)?), clock(&folder)?);
            let words = format!(
                "analyze cell/series.toml --region {region} --cell-area {CELL_AREA} --log {LOG} --clock-offset={clock} --maps none \
                 --evaluated ../{known} -o left_out --overwrite"
            );
            train::step(self.c, &words, &folder)?;
            scores.add(own, &folder)?;
        }
        write_text(&home.join("left_out.csv"), &scores.table(), true)?;
        scores.lines().into_iter().try_for_each(|line| self.c.out.line(line))?;
        read_text(&home.join("errors.json"))
    }

    /// What of the volumes that are measured is looked at.
    fn region(&self, &Geometry { corner: [_, y], size: [nx, ny, _], .. }: &Geometry) -> String {
        match self.moving {
            false => format!("x={BESIDE}:{},y={y}:{}", BESIDE + nx, y + ny),
            true => format!("x={}:{},z={}:{}", FILLED.start, FILLED.end, SLICES.start, SLICES.end),
        }
    }

    /// Scans a cell, `run`s, and analyses what is planted in the same way.
    fn measure(&self, folder: &Path, seed: u64, errors: Option<&str>) -> Result<()> {
        let &Demo { c, steps, moving, device, weights } = self;
        let step = |words: &str| train::step(c, words, folder);
        // Where it is whole it stays: a series is never overwritten.
        if !folder.join("scans/series.json").is_file() {
            step(&format!("phantom cell -o scans {}", recorded(moving, steps, seed)))?;
        }
        crate::exchange::part::write_whole(&folder.join("weights.safetensors"), true, weights)?;
        step("init scans --weights weights.safetensors -o cell.toml --overwrite")?;
        let file = folder.join("cell.toml");
        let geometry = geometry(folder)?;
        let (region, clock) = (self.region(&geometry), clock(folder)?);
        let Geometry { corner: [x, y], size: [nx, ..], .. } = geometry;
        // The cell's first row in volumes that are measured.
        let first = if moving { 0 } else { y };
        // Which electrode is which the network does not tell: by depth, from the middle of the electrolyte.
        let split = |class: &str, becomes: &str| {
            format!("[[split]]\nclass = \"{class}\"\nat = {}\nbecomes = \"{becomes}\"\n", first + MIDDLE)
        };
        let rules = [split("plating electrode", "stripping electrode"), split("deposited", "redeposited")].concat();
        write_text(&folder.join("rules.toml"), &format!("axis = \"y\"\n{rules}"), true)?;
        let own = match moving {
            false => "[run]\nstill = true\n".to_string(),
            true => "[run]\n".to_string(),
        };
        let body = STRIPPING.start + y..STRIPPING.end + y;
        let register = format!(
            "[register]\nbodies = \"stripping={}:{}\"\ncolumns = \"16:{}\"\nflatten = 15\nblock = 40\ncapture = 14\n\
             capture-turn = 1\ncrop = \"x=16:{},y={}:{}\"\n",
            body.start,
            body.end,
            16 + nx + BESIDE,
            16 + nx + BESIDE,
            y + DOWN,
            y + DOWN + KEPT
        );
        let crop = format!("[recon]\npadding = \"edge\"\ncrop = \"x={}:{}\"\n", x - BESIDE, x + nx + BESIDE);
        let known = folder.join("errors.json");
        let evaluated = match errors {
            Some(errors) => {
                write_text(&known, errors, true)?;
                "evaluated = \"errors.json\"\n"
            }
            // Those of an earlier run are not looked at, and would seem to be.
            None if known.is_file() => {
                std::fs::remove_file(&known).map_err(|e| Error::writing(&known, &e))?;
                ""
            }
            None => "",
        };
        let text = read_text(&file)?
            .replace("/scan.toml\"", "/scan_phase.toml\"")
            .replace("[run]\n", &own)
            .replace("[recon]\n", &crop)
            .replace("[register]\n", if moving { &register } else { "[register]\n" })
            .replace(
                "weights = \"weights.safetensors\"",
                "weights = \"weights.safetensors\"\nroi = \"128\"\nbatch = \"4\"",
            )
            .replace("# rules", "rules")
            .replace(
                "[analyze]\n",
                &format!(
                    "[analyze]\nregion = \"{region}\"\ncell-area = {CELL_AREA}\nclock-offset = {clock:?}\n{evaluated}"
                ),
            );
        write_text(&file, &text, true)?;
        step(&format!("run cell.toml -o cell --jobs {} --device {device}", c.threads.min(JOBS)))?;
        let same = if moving { format!(" --region {}", planted(folder)?) } else { String::new() };
        step(&format!(
            "analyze scans --cell-area {CELL_AREA} --clock-offset={clock} --maps none{same} -o truth --overwrite"
        ))
        .map(drop)
    }
}

/// Where the cell lies in its slices.
fn geometry(folder: &Path) -> Result<Geometry> {
    Geometry::of(&folder.join("scans/series.json"))
}

/// Seconds by which the clock of the scans is ahead of the potentiostat's: who scans the demo's cell has set both, though a blind series does
/// not tell.
fn clock(folder: &Path) -> Result<f64> {
    read_json(&folder.join("scans/truth/truth.json"))?.need_f64("clock_offset_s")
}

/// The voxels of the cell that were looked at, to the nearest: the last scan stays where it is, moved by its pose.
fn planted(folder: &Path) -> Result<String> {
    let numbers = |json: &Json, key: &str| -> Result<Vec<f64>> {
        Ok(json.need_arr(key)?.iter().filter_map(Json::as_f64).collect())
    };
    let (fixed, truth) =
        (read_json(&folder.join("cell/registered/fixed.json"))?, read_json(&folder.join("scans/truth/truth.json"))?);
    let [cut_x, _, cut_z] = numbers(fixed.need("params")?, "first_voxel_xyz")?[..] else {
        return Err(Error::bug("a volume that begins nowhere"));
    };
    let last = truth.need_arr("steps")?.last().ok_or_else(|| Error::bug("no scan"))?;
    let moved = numbers(last.need("pose")?.need("stripping")?, "translation")?;
    let field = last.need_arr("fields")?.first().ok_or_else(|| Error::bug("a scan without fields"))?;
    let (first_row, apparent) = (field.need_f64("first_row")?, numbers(field, "apparent_shift")?);
    let ([across, down, up], [right, below, ..]) = (&moved[..], &apparent[..]) else {
        return Err(Error::bug("a pose of other axes"));
    };
    if (down + below - DOWN as f64).abs() > 1.0 {
        return Err(Error::bug(format!("the cell lies {} rows down in its last scan", down + below)));
    }
    let x = |column: usize| column as f64 + cut_x - BESIDE as f64 - (across + right);
    let z = |row: usize| row as f64 + cut_z + first_row - up;
    let (z, x) = (z(SLICES.start).round(), x(FILLED.start).round());
    let ends = [x + FILLED.len() as f64, z + SLICES.len() as f64];
    Ok(format!("x={x}:{},y=0:{KEPT},z={z}:{}", ends[0], ends[1]))
}
