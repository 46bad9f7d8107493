//! `tomolith demo --cell`: the whole way on a synthetic cell, and every number beside the planted one.
//!
//! A cell of seed [`SEED`], which the shipped weights never saw, is scanned by the detector of `phantom cell` at the steps
//! that are asked for, with propagation; `run` retrieves the phase, reconstructs, labels and measures it; `analyze` measures the planted classes in the same way;
//! the table sets one beside the other.

use crate::analysis::quantity::{Value, quoted, values};
use crate::cli::demo::DemoArgs;
use crate::cli::seg::read_text;
use crate::cli::{Context, demo_train};
use crate::error::{Error, Result};
use crate::exchange::write_text;
use crate::json::Json;
use demo_train::Geometry;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// The network that `testdata/demo/README.md` describes.
const WEIGHTS: &[u8] = include_bytes!("../../testdata/demo/tiny.safetensors");
/// A cell that it never saw.
const SEED: &str = "77";
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
/// Rules behind the network: which electrode is which, by depth; the middle of the slices lies in the electrolyte.
const RULES: &str = "axis = \"y\"\n\
    [[split]]\nclass = \"plating electrode\"\nat = 160\nbecomes = \"stripping electrode\"\n\
    [[split]]\nclass = \"deposited\"\nat = 160\nbecomes = \"redeposited\"\n";
/// Columns on either side of the cell's box that are kept: 128 with its own, one window of the network.
const BESIDE: usize = 32;
/// How far a side's thickness may be from the planted one, µm, in the mean over sides and scans.
const THICKNESS: f64 = 10.0;

/// Makes the cell, runs, compares. `steps` of 25 scans, evenly; with `train` the network is trained first.
pub fn run(c: &Context, args: &DemoArgs, steps: usize, train: bool) -> Result<()> {
    let folder = &args.output;
    std::fs::create_dir_all(folder).map_err(|e| Error::writing(folder, &e))?;
    let folder = &folder.canonicalize().map_err(|e| Error::reading(folder, &e))?;
    // Of this demo, or empty: nothing of somebody else's is replaced.
    let (mark, what) = (folder.join("demo.txt"), format!("tomolith demo --cell: tiny, seed {SEED}, {steps} steps\n"));
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
    let step = |words: &str| demo_train::step(c, words, folder);
    // Where it is whole it stays: a series is never overwritten.
    if !folder.join("scans/series.json").is_file() {
        step(&format!(
            "phantom cell -o scans --preset tiny --mode radiographs-phase --still --steps {steps} --seed {SEED}"
        ))?;
    }
    let trained = match train {
        true => {
            let path = demo_train::weights(c, folder)?;
            Some(std::fs::read(&path).map_err(|e| Error::reading(&path, &e))?)
        }
        false => None,
    };
    let weights = trained.as_deref().unwrap_or(WEIGHTS);
    crate::exchange::part::write_whole(&folder.join("weights.safetensors"), true, weights)?;
    write_text(&folder.join("rules.toml"), RULES, true)?;
    step("init scans --weights weights.safetensors -o cell.toml --overwrite")?;
    let file = folder.join("cell.toml");
    let Geometry { corner: [x, y], size: [nx, ny, _], .. } = Geometry::of(&folder.join("scans/series.json"))?;
    let text = read_text(&file)?
        .replace("/scan.toml\"", "/scan_phase.toml\"")
        .replace("[run]\n", "[run]\nstill = true\n")
        .replace("[recon]\n", &format!("[recon]\ncrop = \"x={}:{}\"\n", x - BESIDE, x + nx + BESIDE))
        .replace("weights = \"weights.safetensors\"", "weights = \"weights.safetensors\"\nroi = \"128\"\nbatch = \"4\"")
        .replace("# rules", "rules")
        .replace(
            "[analyze]\n",
            &format!("[analyze]\nregion = \"x={BESIDE}:{},y={y}:{}\"\ncell-area = 0.5\n", BESIDE + nx, y + ny),
        );
    write_text(&file, &text, true)?;
    step("run cell.toml -o cell")?;
    step("analyze scans --cell-area 0.5 --maps none -o truth --overwrite")?;
    compare(c, folder)
}

/// Prints measured and planted side by side.
fn compare(c: &Context, folder: &Path) -> Result<()> {
    let read = |name: &str| {
        let path = folder.join(name).join("results.json");
        Json::parse(&read_text(&path)?).map_err(|e| e.at(&path))
    };
    let (measured, truth) = (read("cell/numbers")?, read("truth")?);
    let (found, mut planted) = (values(&measured)?, values(&truth)?);
    let counted = counted(&folder.join("scans/truth/truth.json"))?;
    planted.sort_by_key(|v| (v.definition, v.of, v.step));
    let mut table = String::from("definition,of,step,measured,lo95,hi95,planted,unit,counted_by_the_phantom\n");
    c.out.line(format!(
        "{:18} {:20} {:>5} {:>12} {:>12}  {:4} {}",
        "at the end", "of", "step", "measured", "planted", "unit", "95 %"
    ))?;
    let last = planted.iter().filter_map(|v| v.step).max();
    let (mut worst, mut sum, mut count) = (0.0f64, 0.0f64, 0u32);
    for p in planted.iter().filter(|v| v.of != "background") {
        let (definition, of, unit) = (p.definition, p.of, p.unit);
        let same = |v: &&Value| (v.definition, v.of, v.step) == (definition, of, p.step);
        let Some(m) = found.iter().find(same) else { continue };
        let (Some(value), Some(truth)) = (m.value, p.value) else { continue };
        let step = p.step.map_or(String::new(), |k| k.to_string());
        let [low, high] = m.interval.map_or([String::new(), String::new()], |i| i.map(|v| v.to_string()));
        let own = p.step.and_then(|k| counted.get(&(definition, of.to_string(), k)));
        let own = own.map_or(String::new(), |v| v.to_string());
        let _ = writeln!(table, "{definition},{},{step},{value},{low},{high},{truth},{unit},{own}", quoted(of));
        if definition == "thickness.side" {
            let off = (value - truth).abs();
            (worst, sum, count) = (worst.max(off), sum + off, count + 1);
        }
        if PRINTED.contains(&definition) && (p.step == last || p.step.is_none()) {
            let holds = |[a, b]: [f64; 2]| if (a..=b).contains(&truth) { "holds it" } else { "misses it" };
            let inside = m.interval.map_or("", holds);
            c.out.line(format!("{definition:18} {of:20} {step:>5} {value:12.4} {truth:12.4}  {unit:4} {inside}"))?;
        }
    }
    write_text(&folder.join("measured_and_planted.csv"), &table, true)?;
    // Nothing compared is not right.
    let mean = if count > 0 { sum / f64::from(count) } else { f64::INFINITY };
    c.out.line(format!("thickness of a side: {mean:.1} um off in the mean of {count}, {worst:.1} at most"))?;
    c.out.line(format!("report: {}", folder.join("cell/report.html").display()))?;
    match mean <= THICKNESS {
        true => Ok(()),
        false => Err(Error::mismatch(format!("thicknesses are {mean:.1} um off in the mean, at most {THICKNESS}"))),
    }
}

/// What the phantom counted of each class and step in its own voxels, by definition.
fn counted(path: &Path) -> Result<BTreeMap<(&'static str, String, usize), f64>> {
    let json = Json::parse(&read_text(path)?).map_err(|e| e.at(path))?;
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
