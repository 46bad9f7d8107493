//! `tomolith labels lint`, `diff`, `stats`: looking at labels.

use super::{CLASSES, LABELS, OVERWRITE};
use crate::cli::options::{Opt, Takes};
use crate::cli::{Command, Context};
use crate::error::{Error, Result};
use crate::exchange::{open_stack, write_text};
use crate::json::Json;
use crate::segment::ledger::{Ledger, Origin};
use crate::segment::lint::{Census, Difference, Level, lint};
use crate::segment::orient::PLANES;

/// Writes the figures.
const JSON: Opt = Opt::new("output", Takes::Value("FILE.json"), "Write it as JSON, too").short('o');

/// `labels lint`.
pub const LINT: Command = Command {
    path: &["labels", "lint"],
    about: "Look for what is wrong with labels",
    details: "Unknown class ids with count and first place, no label at all, labels without origin; with --like another shape \
              (and the orders of axes that would fit) and grey values that are NaN or infinite: exit code 65. Classes without \
              a voxel are told and are no fault. With --like it warns where the labels fit the shape but would explain clearly \
              more of the grey values in another order or direction of the axes.",
    examples: "  tomolith labels lint labels/scan_07.mhd --like recon.mhd",
    groups: &[("", &[LABELS, Opt::new("like", Takes::Value("VOLUME"), "The volume that was labelled"), CLASSES])],
    run: run_lint,
};

/// `labels diff`.
pub const DIFF: Command = Command {
    path: &["labels", "diff"],
    about: "Say how two sets of labels differ",
    details: "Voxels of every pair of labels that differ, the first of them, and how many slices.",
    examples: "  tomolith labels diff round_1.mhd round_2.mhd",
    groups: &[("", &[LABELS, Opt::new("other", Takes::Argument("OTHER"), "Other labels"), CLASSES, JSON, OVERWRITE])],
    run: run_diff,
};

/// `labels stats`.
pub const STATS: Command = Command {
    path: &["labels", "stats"],
    about: "Say what labels hold",
    details: "Voxels of every class with the box they lie in, voxels by origin, and how many slices of each plane have labels.",
    examples: "  tomolith labels stats labels/scan_07.mhd -o stats.json",
    groups: &[("", &[LABELS, CLASSES, JSON, OVERWRITE])],
    run: run_stats,
};

fn run_lint(c: &Context) -> Result<()> {
    let s = &c.settings;
    let path = s.required_path("labels")?;
    let (classes, _) = super::classes(s)?;
    let ledger = Ledger::open(&path, c.io)?;
    let like = s.path("like")?.map(|path| open_stack(&path, c.io)).transpose()?;
    let found = lint(&Census::of(&ledger)?, &classes, like.as_deref())?;
    for finding in &found {
        let level = ["note", "warning", "bad"][finding.level as usize];
        c.out.line(format!("{level}: {}", finding.what))?;
    }
    let count = |level: Level| found.iter().filter(|f| f.level == level).count();
    match (count(Level::Bad), count(Level::Warning)) {
        (0, 0) => c.out.line("fine"),
        (0, n) => c.out.line(format!("{n} warnings, no faults")),
        (n, _) => Err(Error::data(format!("{n} faults")).help("they are listed above").at(&path)),
    }
}

fn run_diff(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (classes, _) = super::classes(s)?;
    let [a, b] = ["labels", "other"].map(|name| s.required_path(name).and_then(|path| Ledger::open(&path, c.io)));
    let difference = Difference::of(&a?, &b?)?;
    let pairs: Vec<_> = difference.pairs.iter().filter(|((a, b), _)| a != b).collect();
    for ((a, b), n) in &pairs {
        c.out.line(format!("{:24} -> {:24} {n:>12}", classes.name(*a), classes.name(*b)))?;
    }
    let total: u64 = difference.pairs.values().sum();
    let first = difference.first.map_or(String::new(), |[x, y, z]| format!(", first at x {x}, y {y}, z {z}"));
    c.out.line(format!("{} of {total} voxels in {} slices differ{first}", difference.voxels(), difference.slices))?;
    let pair = |((a, b), n): &(&(u8, u8), &u64)| {
        Json::obj([("from", classes.name(*a).into()), ("to", classes.name(*b).into()), ("voxels", (**n).into())])
    };
    let json = Json::obj([
        ("voxels", total.into()),
        ("differ", difference.voxels().into()),
        ("slices", difference.slices.into()),
        ("pairs", Json::Arr(pairs.iter().map(pair).collect())),
    ]);
    save(c, &json)
}

fn run_stats(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (classes, _) = super::classes(s)?;
    let census = Census::of(&Ledger::open(&s.required_path("labels")?, c.io)?)?;
    let total = census.dims.voxels() as f64;
    for (&label, count) in &census.labels {
        let [low, high] = count.bounds;
        c.out.line(format!(
            "{label:3} {:22} {:>14} {:8.4} %   x {}:{} y {}:{} z {}:{}",
            classes.name(label),
            count.voxels,
            100.0 * count.voxels as f64 / total,
            low[0],
            high[0] + 1,
            low[1],
            high[1] + 1,
            low[2],
            high[2] + 1
        ))?;
    }
    for (&origin, n) in &census.origins {
        c.out.line(format!("origin {:22} {n:>11}", Origin(origin).name()))?;
    }
    for (plane, counts) in PLANES.iter().zip(&census.slices) {
        let labelled = counts.iter().filter(|&&n| n > 0).count();
        c.out.line(format!("slices {:22} {labelled:>11} of {} have labels", plane.name(), counts.len()))?;
    }
    save(c, &census.to_json(&classes))
}

fn save(c: &Context, json: &Json) -> Result<()> {
    match c.settings.path("output")? {
        Some(path) => write_text(&path, &json.to_canonical(), c.settings.is_on("overwrite")?),
        None => Ok(()),
    }
}
