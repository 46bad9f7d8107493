//! `tomolith info`: what is in a file.

use crate::cli::open::Input;
use crate::cli::options::{Opt, Takes};
use crate::cli::output::{bytes_for_people, printable};
use crate::cli::progress::Progress;
use crate::cli::stats::Stats;
use crate::cli::{Command, Context};
use crate::error::{Error, Result};
use crate::exchange::Scan;
use crate::json::Json;
use crate::volume::header::Offset;
use crate::volume::reader::Reader;
use crate::volume::{Source, Spacing};
use std::path::Path;

/// The command.
pub const COMMAND: Command = Command {
    path: &["info"],
    about: "Say what is in a volume, array or scan",
    details: "Prints shape, type, voxel size, expected and actual length, where a volume comes from, and minimum, \
              maximum, mean and the number of NaN of all its voxels; of a scan its projections, flats, darks and \
              angles. A bad header or a file of the wrong length is an error.",
    examples: "  tomolith info out/tooth.mhd\n  tomolith info tooth.h5 --json",
    groups: &[(
        "",
        &[
            Opt::new("file", Takes::Argument("FILE"), "The volume (.mhd, .nhdr), array (.npy) or scan (.h5)"),
            Opt::new("json", Takes::Switch, "Print one JSON object"),
        ],
    )],
    run,
};

/// Facts in the order in which they are shown: key for JSON, value, and how people read it.
struct Facts(Vec<(&'static str, Json, String)>);

impl Facts {
    fn add(&mut self, key: &'static str, value: Json, text: impl Into<String>) {
        self.0.push((key, value, text.into()));
    }
    fn text(&mut self, key: &'static str, text: impl Into<String>) {
        let text = text.into();
        self.add(key, Json::Str(text.clone()), text);
    }
    fn count(&mut self, key: &'static str, n: u64, unit: &str) {
        self.add(key, count(n), format!("{n}{unit}"));
    }
}

fn count(n: u64) -> Json {
    Json::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn run(context: &Context) -> Result<()> {
    let path = context.settings.required_path("file")?;
    let input = Input::open(&path, context)?;
    let mut facts = Facts(Vec::new());
    facts.text("file", path.to_string_lossy());
    match &input {
        Input::Native(reader) => native(&mut facts, reader)?,
        Input::Foreign(scan) => foreign(&mut facts, scan, &path)?,
    }
    let source = input.source();
    let progress =
        Progress::new(&context.talk, "reading", if matches!(input, Input::Native(_)) { "slices" } else { "images" });
    let stats = Stats::of(source, &progress).map_err(|e| e.at(&path))?;
    progress.finish();
    values(&mut facts, &stats);
    if context.settings.is_on("json")? {
        return context.out.text(&Json::obj(facts.0.into_iter().map(|(key, value, _)| (key, value))).to_canonical());
    }
    for (key, _, text) in facts.0 {
        context.out.line(format!("{:<12} {}", key.replace('_', " "), printable(&text)))?;
    }
    Ok(())
}

fn native(facts: &mut Facts, reader: &Reader) -> Result<()> {
    let header = reader.header();
    facts.text("kind", "native volume");
    shape(facts, reader, ["x", "y", "z"], |[x, y, z]| format!("{x} x {y} x {z} voxels (x, y, z)"));
    spacing(facts, "voxel", header.spacing);
    facts.text("unit", header.unit.as_str());
    if (header.slope, header.intercept) != (1.0, 0.0) {
        let text = format!("value = {} x stored + {}", header.slope, header.intercept);
        facts.add("scale", Json::Arr(vec![Json::Num(header.slope), Json::Num(header.intercept)]), text);
    }
    length(facts, reader)?;
    match reader.manifest() {
        None => facts.add("made_by", Json::Null, "unknown: there is no manifest"),
        Some(manifest) => provenance(facts, manifest),
    }
    Ok(())
}

fn foreign(facts: &mut Facts, scan: &Scan, path: &Path) -> Result<()> {
    facts.text("kind", "scan or array");
    shape(facts, scan.projections.as_ref(), ["columns", "rows", "projections"], |[columns, rows, projections]| {
        format!("{columns} columns x {rows} rows x {projections} projections")
    });
    spacing(facts, "pixel", scan.pixel.map(|p| [p; 3]));
    for (key, fields) in [("flats", &scan.flats), ("darks", &scan.darks)] {
        match fields {
            Some(fields) => facts.count(key, fields.dims().nz as u64, ""),
            None => facts.add(key, Json::Null, "none"),
        }
    }
    match &scan.theta {
        None => facts.add("theta", Json::Null, "none"),
        Some(theta) => {
            let unit = theta.unit.map_or("unknown unit", |u| u.name());
            let (first, last) = (theta.values.first(), theta.values.last());
            let ends = |v: Option<&f64>| v.copied().unwrap_or(f64::NAN);
            let json = Json::obj([
                ("count", count(theta.values.len() as u64)),
                ("first", Json::Num(ends(first))),
                ("last", Json::Num(ends(last))),
                ("unit", theta.unit.map_or(Json::Null, |u| Json::Str(u.name().into()))),
                ("origin", Json::Str(theta.origin.clone())),
            ]);
            let n = theta.values.len();
            facts.add(
                "theta",
                json,
                format!("{n} angles, {} to {} {unit}, from {}", ends(first), ends(last), theta.origin),
            );
        }
    }
    let notes: Vec<Json> = scan.notes.iter().map(|n| Json::Str(n.clone())).collect();
    if !notes.is_empty() {
        facts.add("notes", Json::Arr(notes), scan.notes.join("; "));
    }
    // A stack of many files, or one in a file, has no length of its own: that of its numbers.
    let bytes = match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => meta.len(),
        _ => scan.projections.cost(0..scan.projections.dims().nz, 0..scan.projections.dims().ny),
    };
    facts.add("bytes", count(bytes), bytes_for_people(bytes));
    Ok(())
}

/// Shape and type; `names` are the names of x, y and z.
fn shape(facts: &mut Facts, source: &dyn Source, names: [&str; 3], text: impl Fn([usize; 3]) -> String) {
    let d = source.dims();
    let extents = [d.nx, d.ny, d.nz];
    let json = names.iter().zip(extents).map(|(name, n)| (*name, count(n as u64)));
    facts.add("dims", Json::obj(json), text(extents));
    facts.text("type", source.dtype().name());
}

fn spacing(facts: &mut Facts, key: &'static str, spacing: Spacing) {
    match spacing {
        None => facts.add(key, Json::Null, "size unknown"),
        Some(s) => {
            let numbers = s.map(|v| v.0);
            let json = Json::Arr(numbers.iter().map(|&v| Json::Num(v)).collect());
            facts.add(key, json, format!("{} x {} x {} um", numbers[0], numbers[1], numbers[2]));
        }
    }
}

/// Expected and actual length of the voxels' file; opening has refused a volume in which they disagree.
fn length(facts: &mut Facts, reader: &Reader) -> Result<()> {
    let data = reader.raw_path();
    let voxels = reader.dims().bytes(reader.dtype());
    let actual = std::fs::metadata(data).map_err(|e| Error::reading(data, &e))?.len();
    // A foreign file may have something in front of its voxels.
    let expected = match reader.header().offset {
        Offset::Bytes(offset) => offset + voxels,
        Offset::FromEnd => actual,
    };
    let json = Json::obj([("expected", count(expected)), ("actual", count(actual))]);
    facts.add("bytes", json, format!("{expected} expected, {actual} actual ({})", bytes_for_people(actual)));
    Ok(())
}

/// What the manifest says, in short; the whole of it is a text file beside the volume.
fn provenance(facts: &mut Facts, manifest: &Json) {
    let at = |keys: &[&str]| keys.iter().try_fold(manifest, |json, key| json.get(key)).cloned().unwrap_or(Json::Null);
    let text = |json: &Json| match json {
        Json::Str(s) => s.clone(),
        other => other.to_line(),
    };
    let stage = (at(&["stage"]), at(&["stage_version"]), at(&["tool", "version"]), at(&["contract"]));
    let line = format!(
        "{} (version {}) of tomolith {}, contract {}",
        text(&stage.0),
        text(&stage.1),
        text(&stage.2),
        text(&stage.3)
    );
    let json =
        Json::obj([("stage", stage.0), ("stage_version", stage.1), ("tool_version", stage.2), ("contract", stage.3)]);
    facts.add("made_by", json, line);
    let inputs = at(&["inputs"]);
    let names: Vec<String> = inputs
        .as_arr()
        .unwrap_or_default()
        .iter()
        .map(|i| {
            format!("{} {}", i.get("role").map(text).unwrap_or_default(), i.get("name").map(text).unwrap_or_default())
        })
        .collect();
    facts.add("made_from", inputs, if names.is_empty() { "nothing".to_string() } else { names.join(", ") });
    let digest = at(&["volume", "digest"]);
    let line = text(&digest);
    facts.add("digest", digest, line);
}

fn values(facts: &mut Facts, stats: &Stats) {
    let number = |key, facts: &mut Facts, value: Option<f64>| match value {
        // People need no more digits than the voxels have.
        Some(v) => facts.add(key, Json::Num(v), (v as f32).to_string()),
        None => facts.add(key, Json::Null, "no finite value"),
    };
    let some = stats.finite > 0;
    // Printed as f32: the digits that were stored.
    for (key, value) in [("min", stats.min), ("max", stats.max)] {
        match some {
            true => facts.add(key, Json::Num(f64::from(value)), value.to_string()),
            false => facts.add(key, Json::Null, "no finite value"),
        }
    }
    number("mean", facts, stats.mean());
    facts.count("nan", stats.nan, "");
    facts.count("infinite", stats.infinite, "");
}
