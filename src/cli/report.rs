//! `tomolith report`: what `analyze` wrote, as one page.

use crate::cli::labels::OVERWRITE;
use crate::cli::options::{Opt, Takes};
use crate::cli::seg::read_text;
use crate::cli::{Command, Context};
use crate::error::{Error, Result};
use crate::exchange::{open_stack, write_text};
use crate::json::Json;
use crate::report::figures::MAPS;
use crate::report::map::Map;
use crate::report::page::{Sources, page};
use std::collections::BTreeMap;
use std::path::Path;

/// The command.
pub const COMMAND: Command = Command {
    path: &["report"],
    about: "Make one page of figures, maps and tables of what `analyze` wrote",
    details: "NUMBERS is the folder of `analyze`, or its results.json. The page is one file that needs no other and no network: \
              diagrams with 95 % intervals whose values show when one points at them, maps with their scales, all tables, \
              definitions, where each panel of the paper is, what was left out and why, parameters and digests. Made again from \
              the same numbers it has the same bytes.",
    examples: "  tomolith report out/numbers -o report.html",
    groups: &[(
        "",
        &[
            Opt::new("numbers", Takes::Argument("NUMBERS"), "Folder of `analyze`, or its results.json"),
            Opt::new("title", Takes::Value("TEXT"), "Heading").default("Operando tomography of a lithium-metal cell"),
            Opt::new("output", Takes::Value("FILE.html"), "Page to write").short('o'),
            OVERWRITE,
        ],
    )],
    run,
};

/// A map is no larger than this, pixels.
const LARGEST: usize = 1 << 28;

/// The maps of a folder: `step_SS.KIND.tif`.
fn maps(c: &Context, folder: &Path, pixel: f64) -> Result<BTreeMap<(String, usize), Map>> {
    let mut found = BTreeMap::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    for entry in std::fs::read_dir(folder).map_err(|e| Error::reading(folder, &e))? {
        let name = entry.map_err(|e| Error::reading(folder, &e))?.file_name().to_string_lossy().into_owned();
        let parts: Vec<&str> = name.split('.').collect();
        let [step, kind, "tif"] = parts[..] else { continue };
        let Some(step) = step.strip_prefix("step_").and_then(|s| s.parse::<usize>().ok()) else { continue };
        if !MAPS.iter().any(|m| m.kind == kind) {
            continue;
        }
        let path = folder.join(&name);
        let source = open_stack(&path, c.io)?;
        let d = source.dims();
        if d.nz != 1 || d.slice() > LARGEST {
            return Err(Error::data(format!("{} x {} x {} is no map", d.nx, d.ny, d.nz)).at(&path));
        }
        let mut values = vec![0.0; d.slice()];
        source.read(0..1, 0..d.ny, &mut values)?;
        found.insert((kind.to_string(), step), Map { title: format!("step {step}"), width: d.nx, values, pixel });
    }
    Ok(found)
}

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (given, output) = (s.required_path("numbers")?, s.required_path("output")?);
    super::net::check_output(&output, s.is_on("overwrite")?)?;
    let file = if given.is_dir() { given.join("results.json") } else { given };
    let folder = file.parent().unwrap_or(Path::new(""));
    let read = |path: &Path| Json::parse(&read_text(path)?).map_err(|e| Error::data(e.to_string()).at(path));
    let results = read(&file)?;
    if results.get("schema").and_then(Json::as_str) != Some(crate::analysis::quantity::SCHEMA) {
        return Err(Error::data("is not what `analyze` writes").at(&file));
    }
    let record = folder.join("analysis.json");
    let provenance = if record.is_file() { Some(read(&record)?) } else { None };
    let pixel = results.get("parameters").and_then(|p| p.get("voxel_um")?.as_arr()?.first()?.as_f64()).unwrap_or(1.0);
    let maps = maps(c, &folder.join("maps"), pixel)?;
    let count = maps.len();
    let text = page(s.text("title")?.unwrap_or_default(), &Sources { results, provenance, maps })?;
    write_text(&output, &text, s.is_on("overwrite")?)?;
    c.out.line(format!("{}: {count} maps, {} bytes", output.display(), text.len()))
}
