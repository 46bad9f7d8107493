//! `tomolith demo --cell`: the whole way on a synthetic cell, and every number beside the planted one.
//!
//! A cell that the shipped weights never saw is scanned by the detector of `phantom cell` at the steps
//! that are asked for, with propagation; `run` retrieves the phase, reconstructs, labels and measures it; `analyze` measures the planted classes in the same way;
//! the table sets one beside the other. A cell that moves is wider, is clamped anew for every scan and seen in two fields of view:
//! `run` joins and registers them, too. Numbers are corrected, and their intervals are made, by what the network does to those of
//! other cells, which is shipped, too, or measured here.

use crate::analysis::quantity::{Value, quoted, values};
use crate::cli::analyze::evaluate::network_of;
use crate::cli::demo::DemoArgs;
use crate::cli::seg::{read_json, read_text};
use crate::cli::{Context, demo_train};
use crate::error::{Error, Result};
use crate::exchange::write_text;
use crate::json::Json;
use crate::provenance::Digest;
use demo_train::{Geometry, MOVING, STILL};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

/// The network that `testdata/demo/README.md` describes.
const WEIGHTS: &[u8] = include_bytes!("../../testdata/demo/cell.safetensors");
/// What it does to the numbers of cells of [`EVALUATED`], `testdata/demo/README.md`: still ones, and moving ones.
const ERRORS_STILL: &str = include_str!("../../testdata/demo/still.json");
const ERRORS_MOVING: &str = include_str!("../../testdata/demo/moving.json");
/// Seeds of cells on which its errors are measured: it never saw them.
const EVALUATED: [&str; 6] = ["2001", "2002", "2003", "2004", "2005", "2006"];
/// Definitions that are printed; the table has all.
const PRINTED: [&str; 12] = [
    "thickness.side",
    "thickness.lithium",
    "gap",
    "outer",
    "swelling.inner",
    "volume",
    "occupied",
    "ratio.per_area",
    "faraday.thickness",
    "remaining.volume",
    "dendrites",
    "void.area",
];
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
/// Scans that are reconstructed or labelled at a time, where there are as many threads: each is small.
const JOBS: usize = 4;
/// How far a side's thickness may be from the planted one, µm, in the mean over sides and scans.
const THICKNESS: f64 = 10.0;

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
}

/// Makes the cell, runs, compares.
pub fn run(c: &Context, args: &DemoArgs, asked: &Asked) -> Result<()> {
    let &Asked { seed, steps, moving, .. } = asked;
    if moving && steps < 2 {
        return Err(Error::usage("--moving --steps 1: there is nothing to register").help("take two scans, or more"));
    }
    if demo_train::knows(seed) || EVALUATED.contains(&seed.to_string().as_str()) {
        return Err(Error::usage(format!("--seed {seed}: the shipped weights, or their errors, know this cell"))
            .help("take another one: numbers of this one would seem better than they are"));
    }
    let folder = &args.output;
    std::fs::create_dir_all(folder).map_err(|e| Error::writing(folder, &e))?;
    let folder = &folder.canonicalize().map_err(|e| Error::reading(folder, &e))?;
    // Of this demo, or empty: nothing of somebody else's is replaced.
    let kind = if moving { "moving" } else { "still" };
    let (mark, what) = (folder.join("demo.txt"), format!("tomolith demo --cell: {kind}, seed {seed}, {steps} steps\n"));
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
    let trained = match asked.train {
        true => {
            let path = demo_train::weights(c, folder)?;
            Some(std::fs::read(&path).map_err(|e| Error::reading(&path, &e))?)
        }
        false => None,
    };
    let weights = trained.as_deref().unwrap_or(WEIGHTS);
    let errors = match asked.evaluate {
        true => Some(evaluate(c, folder, (steps, moving), weights)?),
        // Of another network they are not the errors.
        false => {
            let shipped = if moving { ERRORS_MOVING } else { ERRORS_STILL };
            let same = network_of(shipped)?.is_some_and(|network| network == Digest::of(weights).hex());
            same.then(|| shipped.to_string())
        }
    };
    measure(c, folder, &seed.to_string(), (steps, moving), (weights, errors.as_deref()))?;
    compare(c, folder, moving)
}

/// The network's errors: numbers of other cells, predicted and planted.
fn evaluate(c: &Context, folder: &Path, scans: (usize, bool), weights: &[u8]) -> Result<String> {
    let home = folder.join("evaluated");
    for seed in EVALUATED {
        let own = home.join(seed);
        std::fs::create_dir_all(&own).map_err(|e| Error::writing(&own, &e))?;
        measure(c, &own, seed, scans, (weights, None))?;
    }
    let list = |of: &str| EVALUATED.map(|seed| format!("{seed}/{of}/results.json")).join(",");
    let (predicted, truth) = (list("cell/numbers"), list("truth"));
    let network = format!("{}/weights.safetensors", EVALUATED[0]);
    let words =
        format!("evaluate --predicted {predicted} --truth {truth} --network {network} -o errors.json --overwrite");
    demo_train::step(c, &words, &home)?;
    read_text(&home.join("errors.json"))
}

/// Scans a cell, `run`s, and analyses what is planted in the same way.
fn measure(
    c: &Context,
    folder: &Path,
    seed: &str,
    (steps, moving): (usize, bool),
    (weights, errors): (&[u8], Option<&str>),
) -> Result<()> {
    let step = |words: &str| demo_train::step(c, words, folder);
    // Where it is whole it stays: a series is never overwritten.
    if !folder.join("scans/series.json").is_file() {
        let recorded =
            if moving { format!("{MOVING} --fields 2 --motion-seed {MOTIONS}") } else { format!("{STILL} --still") };
        step(&format!("phantom cell -o scans {recorded} --steps {steps} --seed {seed}"))?;
    }
    crate::exchange::part::write_whole(&folder.join("weights.safetensors"), true, weights)?;
    step("init scans --weights weights.safetensors -o cell.toml --overwrite")?;
    let file = folder.join("cell.toml");
    let Geometry { corner: [x, y], size: [nx, ny, _], .. } = Geometry::of(&folder.join("scans/series.json"))?;
    // The cell's first row, and what is looked at, in volumes that are measured.
    let (first, region) = match moving {
        false => (y, format!("x={BESIDE}:{},y={y}:{}", BESIDE + nx, y + ny)),
        true => (0, format!("x={}:{},z={}:{}", FILLED.start, FILLED.end, SLICES.start, SLICES.end)),
    };
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
    let evaluated = match errors {
        Some(errors) => {
            write_text(&folder.join("errors.json"), errors, true)?;
            "evaluated = \"errors.json\"\n"
        }
        None => "",
    };
    let text = read_text(&file)?
        .replace("/scan.toml\"", "/scan_phase.toml\"")
        .replace("[run]\n", &own)
        .replace("[recon]\n", &crop)
        .replace("[register]\n", if moving { &register } else { "[register]\n" })
        .replace("weights = \"weights.safetensors\"", "weights = \"weights.safetensors\"\nroi = \"128\"\nbatch = \"4\"")
        .replace("# rules", "rules")
        .replace("[analyze]\n", &format!("[analyze]\nregion = \"{region}\"\ncell-area = 0.5\n{evaluated}"));
    write_text(&file, &text, true)?;
    step(&format!("run cell.toml -o cell --jobs {}", c.threads.min(JOBS)))?;
    let same = if moving { format!(" --region {}", planted(folder)?) } else { String::new() };
    step(&format!("analyze scans --cell-area 0.5 --maps none{same} -o truth --overwrite")).map(drop)
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

/// Prints measured and planted side by side.
fn compare(c: &Context, folder: &Path, moving: bool) -> Result<()> {
    let read = |name: &str| read_json(&folder.join(name).join("results.json"));
    let (measured, truth) = (read("cell/numbers")?, read("truth")?);
    let (found, mut planted) = (values(&measured)?, values(&truth)?);
    // The phantom counts all voxels of the cell, not those that all scans see.
    let counted = if moving { BTreeMap::new() } else { counted(&folder.join("scans/truth/truth.json"))? };
    planted.sort_by_key(|v| (v.definition, v.of, v.step));
    let mut table =
        String::from("definition,of,step,measured,corrected,lo95,hi95,planted,unit,counted_by_the_phantom\n");
    c.out.line(format!(
        "{:18} {:20} {:>5} {:>12} {:>12} {:>12}  {:4} {}",
        "at the end", "of", "step", "measured", "corrected", "planted", "unit", "95 %"
    ))?;
    let last = planted.iter().filter_map(|v| v.step).max();
    let (mut sides, mut corrected) = (Off::default(), Off::default());
    // Intervals that hold what is planted, and all: of what is printed, and of everything.
    let mut held = [[0u32; 2]; 2];
    let text = |v: Option<f64>| v.map_or(String::new(), |v| v.to_string());
    for p in planted.iter().filter(|v| v.of != "background") {
        let (definition, of, unit) = (p.definition, p.of, p.unit);
        let same = |v: &&Value| (v.definition, v.of, v.step) == (definition, of, p.step);
        let Some(m) = found.iter().find(same) else { continue };
        let (Some(value), Some(truth)) = (m.value, p.value) else { continue };
        let step = p.step.map_or(String::new(), |k| k.to_string());
        let [low, high] = m.interval.map_or([None, None], |i| i.map(Some)).map(text);
        let own = text(p.step.and_then(|k| counted.get(&(definition, of.to_string(), k)).copied()));
        let (of_table, better) = (quoted(of), text(m.corrected));
        let _ = writeln!(table, "{definition},{of_table},{step},{value},{better},{low},{high},{truth},{unit},{own}");
        if definition == "thickness.side" {
            sides.add(value - truth);
            corrected.add(m.corrected.unwrap_or(value) - truth);
        }
        let is_printed = PRINTED.contains(&definition) && (p.step == last || p.step.is_none());
        // A band of what has nothing in common is no interval of the number.
        let inside = m.interval.filter(|_| m.from != "shifts").map(|[a, b]| (a..=b).contains(&truth));
        for (counts, _) in held.iter_mut().zip([true, is_printed]).filter(|(_, counts)| *counts) {
            *counts = [counts[0] + u32::from(inside == Some(true)), counts[1] + u32::from(inside.is_some())];
        }
        if is_printed {
            let inside = inside.map_or("", |inside| if inside { "holds it" } else { "misses it" });
            let better = m.corrected.map_or(String::new(), |v| format!("{v:.4}"));
            c.out.line(format!(
                "{definition:18} {of:20} {step:>5} {value:12.4} {better:>12} {truth:12.4}  {unit:4} {inside}"
            ))?;
        }
    }
    write_text(&folder.join("measured_and_planted.csv"), &table, true)?;
    let [[all_held, all], [few_held, few]] = held;
    c.out.line(format!("intervals of 95 %: {few_held} of {few} here hold what is planted, {all_held} of all {all}"))?;
    let mean = sides.mean();
    c.out.line(format!(
        "thickness of a side: {mean:.1} um off in the mean of {}, {:.1} at most",
        sides.count, sides.most
    ))?;
    if corrected != sides {
        c.out.line(format!("corrected: {:.1} um off in the mean, {:.1} at most", corrected.mean(), corrected.most))?;
    }
    c.out.line(format!("report: {}", folder.join("cell/report.html").display()))?;
    match mean <= THICKNESS {
        true => Ok(()),
        false => Err(Error::mismatch(format!("thicknesses are {mean:.1} um off in the mean, at most {THICKNESS}"))),
    }
}

/// How far numbers are off.
#[derive(Default, PartialEq)]
struct Off {
    sum: f64,
    most: f64,
    count: u32,
}

impl Off {
    fn add(&mut self, off: f64) {
        (self.sum, self.most, self.count) = (self.sum + off.abs(), self.most.max(off.abs()), self.count + 1);
    }

    /// Nothing compared is not right.
    fn mean(&self) -> f64 {
        if self.count > 0 { self.sum / f64::from(self.count) } else { f64::INFINITY }
    }
}

/// What the phantom counted of each class and step in its own voxels, by definition.
fn counted(path: &Path) -> Result<BTreeMap<(&'static str, String, usize), f64>> {
    let json = read_json(path)?;
    let mut found = BTreeMap::new();
    for step in json.need_arr("steps")? {
        let k = step.need("step")?.need_u64("step")? as usize;
        for (class, of) in step.need("counted")?.as_obj().into_iter().flatten() {
            for (definition, key) in [("voxels", "voxels"), ("thickness", "thickness_um"), ("occupied", "area")] {
                found.insert((definition, class.clone(), k), of.need_f64(key)?);
            }
        }
    }
    Ok(found)
}
