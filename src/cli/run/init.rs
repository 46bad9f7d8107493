//! `tomolith init`: a first CELL.toml, from what lies there.

use super::open::{counted, gap, is_number};
use crate::cli::labels::OVERWRITE;
use crate::cli::options::{Opt, Takes};
use crate::cli::seg::read_json;
use crate::cli::{Command, Context};
use crate::error::{Error, Result};
use crate::exchange::write_text;
use crate::json::Json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The command.
pub const COMMAND: Command = Command {
    path: &["init"],
    about: "Write a configuration for `run` from a folder of scans",
    details: "FOLDER holds scans: files (.h5, .nxs, .hdf5), or folders that hold a configuration scan.toml each, as `phantom cell` \
              writes them, in the order of their names. Written are CELL.toml, to be looked at and completed, and where the folder \
              tells times, CELL.times.csv.",
    examples: "  tomolith init scans -o cell.toml\n  tomolith init scans --weights model.safetensors -o cell.toml",
    groups: &[(
        "",
        &[
            Opt::new("folder", Takes::Argument("FOLDER"), "Folder of the scans"),
            Opt::new("output", Takes::Value("CELL.toml"), "Configuration to write").short('o').default("cell.toml"),
            Opt::new("weights", Takes::Value("FILE"), "Weights of the network, for [seg.predict]"),
            OVERWRITE,
        ],
    )],
    run,
};

/// Endings of scans in one file.
const ENDINGS: [&str; 4] = ["h5", "hdf5", "nxs", "hdf"];

/// Scans of a folder by their names, and the pattern that stands for them.
fn found(folder: &Path) -> Result<(Vec<String>, Option<String>)> {
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::reading(folder, &e))? {
        let entry = entry.map_err(|e| Error::reading(folder, &e))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort_by_key(|n| counted(n));
    let configured: Vec<String> =
        names.iter().filter(|n| folder.join(n).join("scan.toml").is_file()).cloned().collect();
    if !configured.is_empty() {
        let start = common(&configured);
        // The beginning and a number: what a run makes is called otherwise.
        let like = |n: &String| start.and_then(|p| n.strip_prefix(p)).is_some_and(is_number);
        let bare = |n: &&String| like(n) && !configured.contains(n) && folder.join(n).is_dir();
        if let Some(name) = names.iter().find(bare) {
            return Err(Error::missing("has no scan.toml, and is named like the scans: the series is not whole")
                .help("bring it back, or take the folder away")
                .at(folder.join(name)));
        }
        let pattern = start.map(|p| format!("{p}*/scan.toml"));
        return Ok((configured.iter().map(|n| format!("{n}/scan.toml")).collect(), pattern));
    }
    let is_scan =
        |n: &String| Path::new(n).extension().is_some_and(|e| ENDINGS.iter().any(|k| e.eq_ignore_ascii_case(k)));
    Ok((names.into_iter().filter(is_scan).collect(), None))
}

/// What all names begin with, if it is something.
fn common(names: &[String]) -> Option<&str> {
    let first = names.first()?;
    let length = names.iter().map(|n| first.bytes().zip(n.bytes()).take_while(|(a, b)| a == b).count()).min()?;
    let head = first.get(..length)?.trim_end_matches(|c: char| c.is_ascii_digit());
    (!head.is_empty()).then_some(head)
}

/// Minutes and seconds of a synthetic series.
fn times(folder: &Path, scans: usize) -> Result<Option<(String, Json)>> {
    let path = folder.join("series.json");
    if !path.is_file() {
        return Ok(None);
    }
    let json = read_json(&path)?;
    let mut text = String::from("step,minutes,start_s\n");
    let steps = json.need_arr("steps")?;
    for step in steps {
        let (k, minutes) = (step.need_u64("step")?, step.need_f64("current_minutes")?);
        let _ = writeln!(text, "{k},{minutes},{}", step.need_f64("scan_start_scanner_s")?);
    }
    if steps.len() != scans {
        return Err(Error::data(format!(
            "tells of {} scans, and {scans} lie here: the series is not whole",
            steps.len()
        ))
        .help("bring the scans back, or take the file away and give times yourself: [run] times")
        .at(&path));
    }
    Ok(Some((text, json)))
}

/// A path as seen from the folder of the configuration.
fn from(base: &Path, path: &Path) -> Result<String> {
    let whole = |p: &Path| p.canonicalize().map_err(|e| Error::reading(p, &e));
    let (base, path) = (whole(base)?, whole(path)?);
    Ok(path.strip_prefix(&base).map_or(path.clone(), Path::to_path_buf).to_string_lossy().into_owned())
}

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (folder, output, overwrite) = (s.required_path("folder")?, s.required_path("output")?, s.is_on("overwrite")?);
    let base = output.parent().filter(|p| !p.as_os_str().is_empty()).map_or(PathBuf::from("."), Path::to_path_buf);
    let (scans, pattern) = found(&folder)?;
    if scans.is_empty() {
        return Err(Error::missing("no scans: no .h5, .hdf5, .nxs, and no folder with a scan.toml").at(&folder));
    }
    let place = from(&base, &folder)?;
    let named = |n: &str| if place.is_empty() { n.to_string() } else { format!("{place}/{n}") };
    if let Some(name) = [place.as_str()]
        .into_iter()
        .chain(scans.iter().map(String::as_str))
        .find(|n| n.contains([',', '*', '"', '\\', '\n']))
    {
        return Err(Error::data(format!("'{name}' cannot be written into a list of scans"))
            .help("rename it: no comma, star, quote or backslash")
            .at(&folder));
    }
    let of_folder = |n: &String| n.trim_end_matches("/scan.toml").to_string();
    if let Some(gap) = gap(&scans.iter().map(of_folder).collect::<Vec<_>>()) {
        c.talk.warn(format!("a scan may be missing: {gap}; `run` refuses such a series without gaps = true in [run]"));
    }
    let list = pattern.map_or_else(|| scans.iter().map(|n| named(n)).collect::<Vec<_>>().join(","), |p| named(&p));
    let mut text = format!(
        "# {} scans. Each table holds options of its command: `tomolith recon --help` names them.\n\n[run]\nscans = \"{list}\"\n",
        scans.len()
    );
    let times = times(&folder, scans.len())?;
    if let Some((table, _)) = &times {
        let file = output.with_extension("times.csv");
        write_text(&file, table, overwrite)?;
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let _ = writeln!(text, "times = \"{name}\"");
    }
    text += "\n[recon]\n# center = 512.25      # without it: the axis that all scans have in common\n";
    text += "\n[register]\n# bodies = \"plating=0:180,stripping=420:698\"\n";
    text += "\n[seg.predict]\n";
    match s.path("weights")? {
        Some(weights) => {
            let _ = writeln!(text, "weights = \"{}\"", from(&base, &weights)?);
        }
        None => {
            text +=
                "# weights = \"model.safetensors\"      # without them: slices and volumes on one grid, no classes\n"
        }
    }
    text += "\n[seg.after]\n# rules = \"rules.toml\"      # tell the two electrodes apart by depth: `seg after --fit`\n\n\
             [analyze]\n# evaluated = \"errors.json\"      # what the network does to every number: `evaluate`\n";
    let log = folder.join("potentiostat.csv");
    match log.is_file() {
        true => {
            let _ = writeln!(text, "log = \"{}\"", from(&base, &log)?);
        }
        false => text += "# log = \"cell.mpt\"\n",
    }
    if let Some(offset) = times.as_ref().and_then(|(_, json)| json.get("clock_offset_s")?.as_f64()) {
        let _ = writeln!(text, "clock-offset = {offset}");
    }
    text += "\n[report]\n# figures = \"figures\"      # diagrams, maps and sections as SVG and PNG, in that folder of the run\n\
             # curves, maps, headlines = [\"volumes\"], panels = \"none\": other figures than the classes' parts call for\n";
    write_text(&output, &text, overwrite)?;
    if s.path("weights")?.is_some() {
        c.talk.note("a network tells one electrode: numbers take [seg.after] rules, made by `seg after --fit` of classes that `run --until classes` makes");
    }
    c.out.line(format!("{} scans; next: tomolith run {}", scans.len(), output.display()))
}
