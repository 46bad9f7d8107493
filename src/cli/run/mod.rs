//! `tomolith run`, `status` and `diff`: the whole way from scans to a report, done where something has changed.

use crate::cli::analyze::folder;
use crate::cli::config::Config;
use crate::cli::options::{Opt, Settings, Takes};
use crate::cli::own::own;
use crate::cli::seg::{digest_of, read_text};
use crate::cli::{COMMANDS, Command, Context, GLOBAL, child, recon};
use crate::error::{Error, Fault, Result};
use crate::exchange::write_text;
use crate::os::check_interrupt;
use crate::pipeline::cell::{Cell, Scan, steps};
use crate::pipeline::record::{Done, RECORD, Record};
use crate::pipeline::{Does, Step, Word};
use crate::provenance::Digest;
use crate::volume::reader::Reader;
use crate::volume::verify::verify;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

mod again;
mod ahead;
pub mod diff;
pub mod init;

const CELL: Opt = Opt::new("cell", Takes::Argument("CELL.toml"), "What is to be done");
const FOLDER: Opt =
    Opt::new("output", Takes::Value("DIR"), "Folder of the run [default: CELL beside CELL.toml]").short('o');
const SCANS: Opt = Opt::new(
    "scans",
    Takes::Value("SCAN,…"),
    "Scans in the order of time, or a pattern with one *: what `recon` takes, or configurations (.toml) beside their files",
);
const FIXED: Opt =
    Opt::new("fixed", Takes::Number("K"), "Scan that the others are brought onto, from 0 [default: the last]");
const TIMES: Opt =
    Opt::new("times", Takes::Value("FILE.csv"), "Minutes of current before each scan and second of its begin");
const STILL: Opt = Opt::new("still", Takes::Switch, "Nothing moved between the scans: they are not registered");
const UNTIL: Opt = Opt::new(
    "until",
    Takes::Choice(&["slices", "volumes", "classes", "report"]),
    "How far: slices, volumes on one grid, classes, or all",
)
.default("report");

const AGAIN: Opt = Opt::new(
    "again",
    Takes::Number("N"),
    "Of a finished run: make N of its steps again beside it, drawn by --seed, of a scan a few of its slices, and compare bit by bit",
);
const PLAN: Opt = Opt::new(
    "plan",
    Takes::Switch,
    "Say what is not done yet, and what it will read and write; nothing is written, but inputs are read for their keys, and scans as `plan` does",
);
const SEED: Opt = Opt::new("seed", Takes::Number("N"), "Which steps --again draws").default("0");

/// `run`.
pub const RUN: Command = Command {
    path: &["run"],
    about: "From scans to a report: do what is not done yet",
    details: "CELL.toml has a table [run] with the scans, and a table for each command on the way, with its options: [recon], \
              [center], [register], [seg.predict] (no classes without weights), [seg.after], [analyze], [report]. Paths in it are \
              from its own folder. Everything is kept in DIR: a step is done again only when a file that it reads, an option or \
              the program's version of it changed; run.json records what was made from what, sealed. Without [recon] center all \
              scans are reconstructed about the axis that they have in common. After Ctrl-C, a crash or a full disk the same \
              command goes on, and ends with the same bytes.",
    examples: "  tomolith init scans -o cell.toml\n  tomolith run cell.toml -o cell\n  tomolith status cell.toml -o cell",
    groups: &[("", &[CELL, FOLDER, SCANS, FIXED, TIMES, STILL, UNTIL, PLAN, AGAIN, SEED])],
    run,
};

/// `status`.
pub const STATUS: Command = Command {
    path: &["status"],
    about: "Say which steps of a run are done, and which are not",
    details: "One line per step of CELL.toml: done; changed, where what it was made from is another now; damaged, where a file \
              of it is missing or another; or open. Volumes are taken by their manifests' word: `verify DIR` reads every byte. \
              Nothing is written.",
    examples: "  tomolith status cell.toml -o cell",
    groups: &[("", &[CELL, FOLDER, SCANS, FIXED, TIMES, STILL, UNTIL])],
    run: status,
};

/// Options that `run` gives the stages itself.
const WIRED: [(&str, &[&str]); 7] = [
    ("center", &["scan", "sheet", "overwrite"]),
    ("recon", &["scan", "output", "overwrite", "rows"]),
    ("register", &["fixed", "moving", "output", "overwrite", "transform-only"]),
    ("seg predict", &["input", "output", "overwrite"]),
    ("seg after", &["labels", "output", "overwrite"]),
    ("analyze", &["series", "labels", "output", "overwrite"]),
    ("report", &["numbers", "output", "overwrite", "volumes", "without"]),
];

/// Options on which no bit of a result depends.
const FREE: [&str; 4] = ["memory", "slab", "batch", "keep-intermediate"];

/// Where the run is, and what it is.
struct Run {
    name: String,
    folder: PathBuf,
    steps: Vec<Step>,
}

fn command(stage: &str) -> Option<&'static Command> {
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
        if FREE.contains(&option.name) {
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
        let paths = names.into_iter().map(|n| rest.map_or(place.join(&n), |r| place.join(&n).join(r)));
        found.extend(paths.filter(|p| p.exists()));
    }
    if found.is_empty() {
        return Err(
            Error::missing(format!("no scan is named '{text}'")).help("[run] scans = \"scans/step_*/scan.toml\"")
        );
    }
    match found.iter().find(|p| !p.exists()) {
        Some(missing) => Err(Error::missing("no such scan").at(missing)),
        None => found.iter().map(|p| p.canonicalize().map_err(|e| Error::reading(p, &e))).collect(),
    }
}

/// The files that a scan's configuration names.
fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    if path.extension().is_none_or(|e| e != "toml") {
        return Ok(Vec::new());
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let config = Config::read(path, GLOBAL, COMMANDS, &recon::COMMAND)?;
    let values = config.entries.values().flat_map(|e| &e.values).flat_map(|v| v.split(','));
    // Folders of images, too.
    Ok(values.filter(|v| !v.is_empty()).map(|v| folder.join(v)).filter(|p| p.exists()).collect())
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

/// Reads CELL.toml.
fn open(c: &Context) -> Result<Run> {
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
    let until = settings.text("until")?.unwrap_or("report");
    let mut cell =
        Cell { scans: paths.into_iter().enumerate().map(scan).collect::<Result<_>>()?, fixed, ..Cell::default() };
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
    let has = |stage: &str, flag: &str| cell.options.get(stage).is_some_and(|o| o.contains(&Word::text(flag)));
    let (center, weights, rules) =
        (has("recon", "--center"), has("seg predict", "--weights"), has("seg after", "--rules"));
    cell.one_axis = count > 1 && !center;
    cell.registers = count > 1 && until != "slices" && !settings.is_on("still")?;
    cell.segments = weights && until != "slices" && until != "volumes";
    (cell.rules, cell.analyses) = (rules, until == "report");
    cell.reports = until == "report";
    if !weights && matches!(until, "classes" | "report") {
        c.talk.note("no [seg.predict] weights: no classes and no numbers; the report shows the volumes");
    }
    Ok(Run { name, folder, steps: steps(&cell) })
}

/// Digests of files, each taken once.
#[derive(Default)]
struct Digests {
    known: BTreeMap<PathBuf, Digest>,
    /// Bytes that were read for them.
    read: u64,
}

impl Digests {
    /// Digest of a file from outside; of a volume, that of its numbers; of a folder, that of all its files.
    fn outside(&mut self, c: &Context, path: &Path) -> Result<Digest> {
        if let Some(known) = self.known.get(path) {
            return Ok(*known);
        }
        check_interrupt()?;
        let mut of_file = |path: &Path| -> Result<Digest> {
            let (digest, bytes) = Digest::of_file(path)?;
            self.read += bytes;
            Ok(digest)
        };
        let found = if path.extension().is_some_and(|e| e == "mhd") {
            let volume = Reader::open(path, c.io)?;
            // The bytes themselves: a manifest only says what they were.
            Digest::root(&[of_file(path)?, of_file(volume.raw_path())?])
        } else if path.is_dir() {
            let mut files: Vec<PathBuf> = std::fs::read_dir(path)
                .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect())
                .map_err(|e| Error::reading(path, &e))?;
            files.sort();
            files.retain(|p| p.is_file());
            Digest::root(&files.iter().map(|p| of_file(p)).collect::<Result<Vec<_>>>()?)
        } else {
            of_file(path)?
        };
        self.known.insert(path.to_path_buf(), found);
        Ok(found)
    }
}

/// The record in a run folder.
///
/// # Errors
/// Missing: there is none; data: changed after it was written.
pub fn record_of(folder: &Path) -> Result<Record> {
    let path = folder.join(RECORD);
    Record::parse(&read_text(&path)?).map_err(|e| {
        e.help("bring it back from a copy, or name another folder with -o: without it nobody knows what lies here is whole")
            .at(&path)
    })
}

/// Digest of a file of the run, as its record has it; of a volume, that of its header, which holds voxel size and units,
/// and that of its numbers, as the manifest tells it.
///
/// # Errors
/// What reading says.
pub fn digest_of_made(c: &Context, path: &Path) -> Result<String> {
    let found = if path.extension().is_some_and(|e| e == "mhd") {
        Digest::root(&[Digest::of_file(path)?.0, digest_of(&Reader::open(path, c.io)?)?])
    } else {
        // What an analysis wrote beside its record is part of it.
        if let Some(checked) = folder::verify(path) {
            checked?;
        }
        Digest::of_file(path)?.0
    };
    Ok(found.hex())
}

/// An error with the name of its step.
fn of_step(name: &str, e: Error) -> Error {
    let named = Error::new(e.fault(), format!("{name}: {}", e.what())).help(e.advice().unwrap_or_default());
    match e.path() {
        Some(path) => named.at(path),
        None => named,
    }
}

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Done,
    Changed,
    Damaged,
    Open,
}

impl Run {
    fn record(&self) -> Result<Option<Record>> {
        if !self.folder.join(RECORD).exists() {
            return Ok(None);
        }
        let record = record_of(&self.folder)?;
        if record.name != self.name {
            return Err(Error::data(format!("holds the run '{}', not '{}'", record.name, self.name))
                .help("name another folder with -o")
                .at(&self.folder));
        }
        Ok(Some(record))
    }

    /// A step's key; none where something that it needs is not made.
    fn key(&self, c: &Context, step: &Step, record: &Record, digests: &mut Digests) -> Result<Option<String>> {
        step.key(&mut |path| digests.outside(c, path), &|file| record.digest_of(file))
    }

    fn state(&self, c: &Context, step: &Step, key: Option<&String>, record: &Record) -> State {
        let Some(done) = record.steps.get(&step.name) else { return State::Open };
        if Some(&done.key) != key {
            return State::Changed;
        }
        let same =
            |(file, digest): (&String, &String)| digest_of_made(c, &self.folder.join(file)).is_ok_and(|d| d == *digest);
        if done.made.iter().all(same) { State::Done } else { State::Damaged }
    }

    /// The words of a step as they are typed; it writes into `to`.
    fn words(&self, step: &Step, to: &Path) -> Result<Vec<String>> {
        let there = |name: &String| self.folder.join(name).to_string_lossy().into_owned();
        let mut words = Vec::new();
        for word in step.words() {
            words.push(match word {
                Word::Text(text) | Word::Free(text) => text.clone(),
                Word::Inputs(paths) => paths.iter().map(|p| p.to_string_lossy()).collect::<Vec<_>>().join(","),
                Word::Made(name) => there(name),
                Word::Output(name) => to.join(name).to_string_lossy().into_owned(),
                Word::Value(name) => read_text(&self.folder.join(name))?.trim().to_string(),
                Word::List(names) => names.iter().map(there).collect::<Vec<_>>().join(","),
            });
        }
        if command(step.stage).is_some_and(|c| c.options().iter().any(|o| o.name == "overwrite"))
            && step.stage != "center"
        {
            words.push("--overwrite".into());
        }
        Ok(words)
    }

    /// Refuses volumes whose bytes are not those that their step wrote; each is looked at once.
    fn check_inputs(&self, step: &Step, sound: &mut BTreeSet<String>) -> Result<()> {
        for name in step.needs().filter(|n| n.ends_with(".mhd")) {
            if sound.insert(name.clone()) {
                verify(&self.folder.join(name)).map_err(|e| e.help("remove it: the same command makes it again"))?;
            }
        }
        Ok(())
    }

    /// Does a step, into the folder `to`.
    fn execute(&self, c: &Context, step: &Step, to: &Path) -> Result<()> {
        let first = || to.join(&step.makes[0]);
        for file in &step.makes {
            if let Some(folder) = to.join(file).parent() {
                std::fs::create_dir_all(folder).map_err(|e| Error::writing(folder, &e))?;
            }
        }
        match &step.does {
            Does::Command(_, folder) => child::run(c, &self.words(step, to)?, folder.as_deref()).map(drop),
            Does::Says(_, keep) => {
                let said = child::run(c, &self.words(step, to)?, None)?;
                let kept = keep(&said).ok_or_else(|| Error::bug(format!("{} said nothing of use", step.name)))?;
                write_text(&first(), &(kept + "\n"), true)
            }
            Does::Text(text) => write_text(&first(), text, true),
        }
    }
}

fn run(c: &Context) -> Result<()> {
    let mut run = open(c)?;
    // A lock alone is what a run leaves that was killed at its first moment.
    let strange = |folder: &Path| -> std::io::Result<bool> {
        Ok(folder.exists() && std::fs::read_dir(folder)?.any(|e| e.is_ok_and(|e| e.file_name() != "run.lock")))
    };
    let record = run.record()?;
    if c.settings.is_on("plan")? {
        return ahead::print(c, &run, &record.unwrap_or_default());
    }
    if record.is_none() && strange(&run.folder).map_err(|e| Error::reading(&run.folder, &e))? {
        return Err(Error::cannot_create("the folder holds something, and no run")
            .help("name another folder with -o")
            .at(&run.folder));
    }
    std::fs::create_dir_all(&run.folder).map_err(|e| Error::writing(&run.folder, &e))?;
    run.folder = run.folder.canonicalize().map_err(|e| Error::reading(&run.folder, &e))?;
    let _lock = own(&run.folder, "run")?;
    let mut record = record.unwrap_or(Record { name: run.name.clone(), ..Record::default() });
    // Steps that are no part of the way now may be again: they stay, unless what they made is made by another.
    let made_by = |file: &String| run.steps.iter().find(|s| s.makes.contains(file)).map(|s| s.name.clone());
    record.steps.retain(|name, done| done.made.keys().all(|file| made_by(file).is_none_or(|step| step == *name)));
    write_text(&run.folder.join(RECORD), &record.text(), true)?;
    let mut sound = BTreeSet::new();
    let (mut digests, count) = (Digests::default(), run.steps.len());
    for (number, step) in run.steps.iter().enumerate() {
        check_interrupt()?;
        let key = run.key(c, step, &record, &mut digests)?;
        let key = key.ok_or_else(|| Error::bug(format!("{} comes before what it needs", step.name)))?;
        let what = format!("{} of {count}: {}", number + 1, step.name);
        if run.state(c, step, Some(&key), &record) == State::Done {
            c.talk.note(format!("{what}: done"));
            continue;
        }
        c.talk.note(&what);
        record.steps.remove(&step.name);
        run.check_inputs(step, &mut sound).map_err(|e| of_step(&step.name, e))?;
        run.execute(c, step, &run.folder).map_err(|e| of_step(&step.name, e))?;
        let file = |name: &String| {
            let found = digest_of_made(c, &run.folder.join(name)).map_err(|e| match e.fault() {
                Fault::Missing => Error::bug(format!("{} made no {name}", step.name)),
                _ => e,
            })?;
            Ok((name.clone(), found))
        };
        let made = step.makes.iter().map(file).collect::<Result<_>>()?;
        record.steps.insert(step.name.clone(), Done { key, made });
        write_text(&run.folder.join(RECORD), &record.text(), true)?;
    }
    if let Some(count) = c.settings.parse("again", crate::cli::values::count)? {
        again::check(c, &run, &record, count)?;
    }
    // The seal is that of the way.
    record.steps.retain(|name, _| run.steps.iter().any(|s| s.name == *name));
    c.out.line(format!("run {} {}", run.name, record.seal()))
}

fn status(c: &Context) -> Result<()> {
    let run = open(c)?;
    let record = run.record()?.unwrap_or_default();
    let (mut digests, mut open) = (Digests::default(), 0);
    let mut behind = false;
    for step in &run.steps {
        let key = run.key(c, step, &record, &mut digests)?;
        let state = run.state(c, step, key.as_ref(), &record);
        let text = match state {
            State::Done if behind => "done, if what comes before does not change it",
            State::Done => "done",
            State::Changed => "changed",
            State::Damaged => "damaged",
            State::Open => "open",
        };
        behind |= state != State::Done;
        open += usize::from(state != State::Done);
        c.out.line(format!("{:16} {text}", step.name))?;
    }
    c.out.line(format!("{} of {} steps done", run.steps.len() - open, run.steps.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::version;
    use crate::recon::gridrec::DEFAULT_ERROR;
    use crate::recon::scan::Algorithm;

    #[test]
    fn stages_have_the_versions_of_their_commands() {
        assert_eq!(version("recon"), Algorithm::Gridrec(DEFAULT_ERROR).version());
        assert_eq!(version("register"), crate::cli::register::VERSION);
        assert_eq!(version("seg predict"), crate::cli::seg::predict::VERSION);
        assert_eq!(version("seg after"), crate::cli::seg::after::VERSION);
        assert_eq!(version("analyze"), crate::cli::analyze::VERSION);
        // What has no version has no key of its own.
        assert!(WIRED.iter().all(|(stage, _)| version(stage) > 0 && command(stage).is_some()));
    }

    #[test]
    fn names_are_in_the_order_in_which_people_count() {
        let mut names = ["scan_10", "scan_2", "scan_1", "a", "scan_2b"];
        names.sort_by_key(|n| counted(n));
        assert_eq!(names, ["a", "scan_1", "scan_2", "scan_2b", "scan_10"]);
    }
}
