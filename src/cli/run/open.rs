//! CELL.toml: which scans, which options for which stage; what cannot be run is refused before anything is.

use super::{RUN, Run};
use crate::cli::analyze::given::last_number;
use crate::cli::analyze::need_log;
use crate::cli::config::Config;
use crate::cli::device::DEVICE;
use crate::cli::options::{Settings, Takes};
use crate::cli::seg::read_text;
use crate::cli::values::length;
use crate::cli::{COMMANDS, Command, Context, GLOBAL, recon};
use crate::error::{Error, Result};
use crate::pipeline::Word;
use crate::pipeline::cell::{Cell, Scan, steps};
use crate::segment::classes::Classes;
use crate::units::Micrometre;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Options that `run` gives the stages itself.
pub(super) const WIRED: [(&str, &[&str]); 7] = [
    ("center", &["scan", "sheet", "overwrite"]),
    ("recon", &["scan", "output", "overwrite", "rows"]),
    ("register", &["fixed", "moving", "output", "overwrite", "transform-only"]),
    ("seg predict", &["input", "output", "overwrite"]),
    ("seg after", &["labels", "output", "overwrite"]),
    ("analyze", &["series", "labels", "grey", "output", "overwrite"]),
    ("report", &["numbers", "output", "overwrite", "volumes", "labels", "boards", "without"]),
];

/// Options on which no bit of a result depends; `device` is one, but with `fast`.
const FREE: [&str; 5] = ["memory", "slab", "batch", "keep-intermediate", DEVICE.name];

pub(super) fn command(stage: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|c| c.name() == stage)
}

/// The words of a command's table in CELL.toml, by option; files are those beside it.
fn options(path: &Path, folder: &Path, stage: &str, wired: &[&str]) -> Result<Vec<(&'static str, Vec<Word>)>> {
    let Some(command) = command(stage) else { return Ok(Vec::new()) };
    let config = Config::read(path, GLOBAL, COMMANDS, command)?;
    if let Some((name, entry)) = config.entries.iter().find(|(name, _)| GLOBAL.iter().any(|o| o.name == **name)) {
        return Err(Error::usage(format!("line {}: {name} is for the whole run and no part of it", entry.line))
            .help(format!("leave it out, and give it on the command line: --{name}"))
            .at(path));
    }
    let mut words = Vec::new();
    for option in command.options() {
        let Some(entry) = config.entries.get(option.name) else { continue };
        if wired.contains(&option.name) {
            return Err(Error::usage(format!("line {}: {} is given by `run`", entry.line, option.name))
                .help("leave it out")
                .at(path));
        }
        let flag = Word::text(format!("--{}", option.name));
        let (names_files, may_name_one) = match option.takes {
            Takes::Value(name) => (
                !name.contains('|') && ["FILE", "VOLUME", "SCAN"].iter().any(|w| name.contains(w)),
                ["FILE", "TABLE", "RULES"].iter().any(|w| name.contains(w)) || option.name == "center",
            ),
            _ => (false, false),
        };
        let mut own = Vec::new();
        match option.takes {
            Takes::Switch if entry.values == ["true"] => own.push(flag),
            Takes::Switch => (),
            _ if names_files => {
                for value in &entry.values {
                    let files: Vec<PathBuf> = value.split(',').map(|v| folder.join(v.trim())).collect();
                    if let Some(missing) = files.iter().find(|f| !f.exists()) {
                        return Err(
                            Error::missing(format!("line {}: {}: no such file", entry.line, option.name)).at(missing)
                        );
                    }
                    own.extend([flag.clone(), Word::Inputs(files)]);
                }
            }
            _ => {
                for value in &entry.values {
                    let file = folder.join(value);
                    let word =
                        if may_name_one && file.is_file() { Word::Inputs(vec![file]) } else { Word::text(value) };
                    own.extend([flag.clone(), word]);
                }
            }
        }
        let of_device = option.name == DEVICE.name && config.entries.get("fast").is_some_and(|e| e.values == ["true"]);
        if FREE.contains(&option.name) && !of_device {
            own = own.into_iter().map(|w| if let Word::Text(t) = w { Word::Free(t) } else { w }).collect();
        }
        words.push((option.name, own));
    }
    Ok(words)
}

/// Names in the order in which people count: text by text, number by number.
pub(super) fn counted(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let digits = rest[text..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |n| text + n);
        parts.push((rest[..text].to_string(), rest[text..digits].parse().unwrap_or(0)));
        rest = &rest[digits..];
    }
    parts
}

/// The scans that a text names: with commas, or a pattern with one star, in the order of their names.
fn scans(folder: &Path, text: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let Some((before, after)) = part.split_once('*') else {
            found.push(folder.join(part));
            continue;
        };
        // The star stands for a part of one name; what follows may go on in folders.
        let (parent, start) = before.rsplit_once('/').map_or(("", before), |(p, s)| (p, s));
        let (end, rest) = after.split_once('/').map_or((after, None), |(e, r)| (e, Some(r)));
        let place = folder.join(parent);
        let entries = std::fs::read_dir(&place).map_err(|e| Error::reading(&place, &e))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| Error::reading(&place, &e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end) {
                names.push(name);
            }
        }
        names.sort_by_key(|n| counted(n));
        for name in names {
            let path = rest.map_or(place.join(&name), |r| place.join(&name).join(r));
            // A number where the star is: other folders, such as what a run makes, are nobody's scan.
            let counts = name.get(start.len()..name.len() - end.len()).is_some_and(is_number);
            if counts && !path.exists() && place.join(&name).is_dir() {
                return Err(Error::missing(format!(
                    "'{name}' is named as a scan, and has none: the series is not whole"
                ))
                .help("bring it back, or list the scans that there are with commas")
                .at(&path));
            }
            found.extend(path.exists().then_some(path));
        }
    }
    if found.is_empty() {
        return Err(
            Error::missing(format!("no scan is named '{text}'")).help("[run] scans = \"scans/step_*/scan.toml\"")
        );
    }
    if let Some(missing) = found.iter().find(|p| !p.exists()) {
        return Err(Error::missing("no such scan").at(missing));
    }
    let whole = |p: &PathBuf| p.canonicalize().map_err(|e| Error::reading(p, &e));
    let found = found.iter().map(whole).collect::<Result<Vec<_>>>()?;
    match found.iter().enumerate().find(|(i, p)| found[..*i].contains(p)) {
        Some((_, twice)) => Err(Error::usage("the same scan twice").help("name each scan once").at(twice)),
        None => Ok(found),
    }
}

/// Whether it is a number.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// What seems to be missing where most numbers in the names of scans go up in equal steps; other numbers tell nothing.
pub(super) fn gap(names: &[String]) -> Option<String> {
    let numbers: Vec<usize> = names.iter().map(|n| last_number(n)).collect::<Option<_>>()?;
    let steps: Vec<usize> = numbers.windows(2).map(|w| w[1].checked_sub(w[0])).collect::<Option<_>>()?;
    let step = steps.iter().copied().min().filter(|s| *s > 0)?;
    let other = steps.iter().position(|s| *s != step)?;
    let usual = steps.iter().filter(|s| **s == step).count();
    (2 * usual > steps.len() && steps.iter().all(|s| s % step == 0))
        .then(|| format!("{} follows {}, and others are {step} apart", names[other + 1], names[other]))
}

/// Whether a scan is a configuration that names its files, and no file of projections itself.
fn is_configured(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "toml")
}

/// What a scan is called: its folder, if it is configured there, else its file.
fn name_of(path: &Path) -> String {
    let name = if is_configured(path) { path.parent().and_then(Path::file_name) } else { path.file_stem() };
    name.map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The files that a scan's configuration names.
fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    if !is_configured(path) {
        return Ok(Vec::new());
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let config = Config::read(path, GLOBAL, COMMANDS, &recon::COMMAND)?;
    let values = config.entries.values().flat_map(|e| &e.values).flat_map(|v| v.split(','));
    // Folders of images, too.
    Ok(values.filter(|v| !v.is_empty()).map(|v| folder.join(v)).filter(|p| p.exists()).collect())
}

/// Whether a scan's configuration names fields of view above it; one that cannot be read has been refused.
fn has_fields(path: &Path) -> bool {
    let config = is_configured(path).then(|| Config::read(path, GLOBAL, COMMANDS, &recon::COMMAND).ok()).flatten();
    config.is_some_and(|c| c.entries.contains_key("fields"))
}

/// The file that tells a scan from another: of a configured one the first of what `scan` names.
fn projections_of(path: &Path) -> Result<PathBuf> {
    if !is_configured(path) {
        return Ok(path.to_path_buf());
    }
    let config = Config::read(path, GLOBAL, COMMANDS, &recon::COMMAND)?;
    let named = config.entries.get("scan").and_then(|e| e.values.first());
    let folder = path.parent().unwrap_or(Path::new(""));
    let found = named.and_then(|name| scans(folder, name.split(":/").next()?).ok()?.into_iter().next());
    Ok(found.unwrap_or_else(|| path.to_path_buf()))
}

/// Rows of a table: step, minutes, second.
fn times(path: &Path, scans: usize) -> Result<Vec<[String; 3]>> {
    let text = read_text(path)?;
    let (mut rows, mut last) = (Vec::new(), None);
    for (number, line) in text.lines().enumerate().skip(1).filter(|(_, l)| !l.trim().is_empty()) {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        match cells[..] {
            [step, minutes, start]
                if step.parse::<u32>().is_ok_and(|s| last.is_none_or(|last| s > last))
                    && [minutes, start].iter().all(|v| v.parse::<f64>().is_ok_and(f64::is_finite)) =>
            {
                last = step.parse::<u32>().ok();
                // As TOML writes numbers.
                let number = |v: &str| format!("{:?}", v.parse::<f64>().unwrap_or(0.0));
                rows.push([last.unwrap_or(0).to_string(), number(minutes), number(start)]);
            }
            _ => {
                return Err(Error::data(format!("line {}: not step,minutes,start_s", number + 1))
                    .help("steps that grow, minutes of current before the scan, and the second at which it begins")
                    .at(path));
            }
        }
    }
    match rows.len() == scans {
        true => Ok(rows),
        false => Err(Error::data(format!("{} times for {scans} scans", rows.len())).at(path)),
    }
}

/// Takes the folder of figures out of the report's options: it lies in that of the run.
fn figures(options: &mut BTreeMap<&'static str, Vec<Word>>) -> Result<Option<String>> {
    let Some(words) = options.get_mut("report") else { return Ok(None) };
    let Some(at) = words.iter().position(|w| *w == Word::text("--figures")) else { return Ok(None) };
    match words.drain(at..at + 2).next_back() {
        Some(Word::Text(name))
            if name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !OWN.contains(&&name[..]) =>
        {
            Ok(Some(name))
        }
        _ => {
            Err(Error::usage("[report] figures is the name of a folder of the run, in small letters, of nothing else")
                .help("[report] figures = \"figures\""))
        }
    }
}

/// Puts the device of the whole run in place of what the network's own table names.
fn give_device(options: &mut BTreeMap<&'static str, Vec<Word>>, device: &str) -> Result<()> {
    let words = options.entry("seg predict").or_default();
    if words.contains(&Word::text("--fast")) {
        return Err(Error::usage(format!("--device {device}: with fast = true the numbers are the device's own"))
            .help(format!("name it where fast stands: [seg.predict] device = \"{device}\"")));
    }
    let flag = Word::Free(format!("--{}", DEVICE.name));
    if let Some(at) = words.iter().position(|w| *w == flag) {
        words.drain(at..at + 2);
    }
    words.extend([flag, Word::Free(device.into())]);
    Ok(())
}

/// Folders that the stages fill.
const OWN: [&str; 6] = ["", "slices", "registered", "classes", "labels", "numbers"];

/// Reads CELL.toml.
pub(super) fn open(c: &Context) -> Result<Run> {
    let path = c.settings.required_path("cell")?;
    // [run] holds for `status`, too.
    let config = Config::read(&path, GLOBAL, COMMANDS, &RUN)?;
    let settings: Settings = c.settings.of_scan(&config, &["times"]);
    let beside = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = beside.canonicalize().map_err(|e| Error::reading(beside, &e))?;
    let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or("run").to_string();
    let folder = settings.path("output")?.unwrap_or_else(|| beside.join(&name));
    let text = settings
        .text("scans")?
        .ok_or_else(|| Error::usage("no scans").help("[run] scans = \"scans/step_*/scan.toml\"").at(&path))?;
    let paths = scans(&beside, text)?;
    let count = paths.len();
    let fixed = settings.parse("fixed", crate::cli::values::index)?.unwrap_or(count - 1);
    if fixed >= count {
        return Err(Error::usage(format!("--fixed {fixed}: there are {count} scans, from 0")));
    }
    let times = settings.path("times")?.map(|t| times(&t, count)).transpose()?;
    let scan = |(k, path): (usize, PathBuf)| {
        let times = times.as_ref().map(|t| t[k].clone());
        Ok(Scan { files: files_of(&path)?, path, times })
    };
    let gap = gap(&paths.iter().map(|p| name_of(p)).collect::<Vec<_>>());
    if let (Some(gap), false) = (&gap, settings.is_on("gaps")?) {
        return Err(Error::data(format!("a scan is missing, as their numbers have it: {gap}"))
            .help("find it, or say that it is meant so: [run] gaps = true")
            .at(&path));
    }
    let until = settings.text("until")?.unwrap_or("report");
    let mut cell =
        Cell { scans: paths.into_iter().enumerate().map(scan).collect::<Result<_>>()?, fixed, gap, ..Cell::default() };
    let mut tables = BTreeMap::new();
    for (stage, wired) in WIRED {
        tables.insert(stage, options(&path, &beside, stage, wired)?);
    }
    // How a scan is to be read is said once, to `recon`.
    let known: Vec<&str> = command("center").map(Command::options).unwrap_or_default().iter().map(|o| o.name).collect();
    let own: Vec<&str> = tables["center"].iter().map(|o| o.0).collect();
    let shared =
        tables["recon"].iter().filter(|(name, _)| known.contains(name) && !own.contains(name) && *name != "center");
    let shared: Vec<_> = shared.cloned().collect();
    tables.entry("center").or_default().extend(shared);
    for (stage, words) in tables {
        cell.options.insert(stage, words.into_iter().flat_map(|(_, words)| words).collect());
    }
    // Only `run` computes.
    if settings.is_given(DEVICE.name).is_ok_and(|given| given) {
        give_device(&mut cell.options, settings.text(DEVICE.name)?.unwrap_or_default()).map_err(|e| e.at(&path))?;
    }
    cell.figures = figures(&mut cell.options).map_err(|e| e.at(&path))?;
    let has = |stage: &str, flag: &str| cell.options.get(stage).is_some_and(|o| o.contains(&Word::text(flag)));
    let (center, weights, rules) =
        (has("recon", "--center"), has("seg predict", "--weights"), has("seg after", "--rules"));
    // Fields of view have an axis each, which the stage has driven to anew.
    let of_fields = has("recon", "--fields") || cell.scans.iter().any(|s| has_fields(&s.path));
    cell.one_axis = count > 1 && !center && !of_fields;
    cell.registers = count > 1 && until != "slices" && !settings.is_on("still")?;
    cell.segments = weights && until != "slices" && until != "volumes";
    (cell.rules, cell.analyses) = (rules, until == "report");
    cell.reports = until == "report";
    if !weights && matches!(until, "classes" | "report") {
        c.talk.note("no [seg.predict] weights: no classes and no numbers; the report shows the volumes");
    }
    if until != "slices" && !has("recon", "--pixel") {
        check_pixels(&cell)?;
    }
    if cell.segments && cell.analyses {
        check_tables(&cell).map_err(|e| e.at(&path))?;
        if !has("analyze", "--log") {
            need_log(|option| has("analyze", &format!("--{option}"))).map_err(|e| e.at(&path))?;
        }
    }
    let scans = cell.scans.iter().map(|s| projections_of(&s.path)).collect::<Result<_>>()?;
    // Only `run` makes anything.
    let jobs = if settings.is_given("jobs").is_ok() { settings.parsed("jobs", crate::cli::values::count)? } else { 1 };
    Ok(Run { name, folder, scans, steps: steps(&cell), jobs: jobs.min(c.threads) })
}

/// Refuses scans of different pixels, as far as their configurations tell, before any is reconstructed.
fn check_pixels(cell: &Cell) -> Result<()> {
    let mut first: Option<(&Path, Micrometre)> = None;
    for path in cell.scans.iter().map(|s| s.path.as_path()).filter(|p| is_configured(p)) {
        let config = Config::read(path, GLOBAL, COMMANDS, &recon::COMMAND)?;
        let Some(said) = config.entries.get("pixel").and_then(|e| e.values.first()) else { continue };
        let pixel = length(said).map_err(|e| e.at(path))?;
        let (other, before) = *first.get_or_insert((path, pixel));
        if (pixel.0 / before.0 - 1.0).abs() > 1e-6 {
            return Err(Error::data(format!(
                "has pixels of {} um, and {} of {} um",
                pixel.0,
                other.display(),
                before.0
            ))
            .help("bring all scans to one voxel size first, such as by binning; --until slices makes slices of each")
            .at(path));
        }
    }
    Ok(())
}

/// Refuses numbers of other classes than those that are told apart, before hours are spent on them.
fn check_tables(cell: &Cell) -> Result<()> {
    let given = |stage: &str, flag: &str| {
        let words = cell.options.get(stage)?;
        match words.get(words.iter().position(|w| *w == Word::text(flag))? + 1)? {
            Word::Text(text) => Some(text.clone()),
            Word::Inputs(files) => Some(files.first()?.to_string_lossy().into_owned()),
            _ => None,
        }
    };
    let table = |stage: &str, default: &str| {
        Classes::open(given(stage, "--classes").as_deref().unwrap_or(default)).map(|found| found.0)
    };
    if given("analyze", "--map").is_some_and(|map| map != "from-0") {
        return Ok(());
    }
    let (stage, default) = if cell.rules { ("seg after", "cell") } else { ("seg predict", "network") };
    let names: Vec<String> = table(stage, default)?.list().iter().map(|c| c.name.clone()).collect();
    table("analyze", "cell")?.check_names(&names, &format!("what `{stage}` makes")).map_err(|e| {
        e.help("give [seg.after] rules that tell electrodes apart by depth, or [analyze] the same classes")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_in_which_people_count() {
        let mut names = ["scan_10", "scan_2", "scan_1", "a", "scan_2b"];
        names.sort_by_key(|n| counted(n));
        assert_eq!(names, ["a", "scan_1", "scan_2", "scan_2b", "scan_10"]);
    }

    #[test]
    fn a_gap_is_told_where_steps_are_equal() {
        let of = |list: &[usize]| gap(&list.iter().map(|n| format!("step_{n:02}")).collect::<Vec<_>>());
        assert_eq!(of(&[10, 11, 13, 14]).unwrap(), "step_13 follows step_11, and others are 1 apart");
        for whole in [&[0, 12, 24][..], &[0, 12, 36], &[1023, 1031, 1040], &[5], &[0, 2, 1, 3]] {
            assert_eq!(of(whole), None, "{whole:?}");
        }
    }
}
