//! `tomolith run`, `status` and `diff`: the whole way from scans to a report, done where something has changed.

use crate::cli::analyze::evaluate::network_of;
use crate::cli::analyze::folder;
use crate::cli::device::DEVICE;
use crate::cli::options::{Opt, Takes};
use crate::cli::own::own;
use crate::cli::reconstruct::RELATIVE;
use crate::cli::seg::{digest_of, read_json, read_text};
use crate::cli::{Command, Context, child, report};
use crate::error::{Error, Fault, Result};
use crate::exchange::write_text;
use crate::os::{check_interrupt, free_memory};
use crate::pipeline::record::{Done, RECORD, Record};
use crate::pipeline::{Does, Step, Word};
use crate::provenance::Digest;
use crate::volume::Source;
use crate::volume::reader::Reader;
use crate::volume::verify::verify;
use open::{command, open};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

mod again;
mod ahead;
pub mod diff;
pub mod init;
mod open;

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
const GAPS: Opt = Opt::new(
    "gaps",
    Takes::Switch,
    "Numbers of the scans may have gaps: what seems to be missing is not there to be found",
);
const UNTIL: Opt = Opt::new(
    "until",
    Takes::Choice(&["slices", "volumes", "classes", "report"]),
    "How far: slices, volumes on one grid, classes, or all",
)
.default("report");

const AGAIN: Opt = Opt::new(
    "again",
    Takes::Number("N"),
    "Of a finished run: make N of its steps again beside it, drawn by --seed, of a scan a few of its slices, and compare bit by bit; with as many as there are, \
     everything",
);
const PLAN: Opt = Opt::new(
    "plan",
    Takes::Switch,
    "Say what is not done yet, and what it will read and write; nothing is written, but inputs are read for their keys, and scans as `plan` does",
);
const JOBS: Opt = Opt::new(
    "jobs",
    Takes::Number("N"),
    "Steps of one stage that are made at a time, each with its part of threads and memory: for scans too small to keep all threads \
     busy",
)
.default("1");
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
    groups: &[("", &[CELL, FOLDER, SCANS, FIXED, TIMES, STILL, GAPS, UNTIL, JOBS, DEVICE, PLAN, AGAIN, SEED])],
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
    groups: &[("", &[CELL, FOLDER, SCANS, FIXED, TIMES, STILL, GAPS, UNTIL])],
    run: status,
};

/// Where the run is, and what it is.
struct Run {
    name: String,
    folder: PathBuf,
    /// The file of each scan that makes it another: its projections.
    scans: Vec<PathBuf>,
    steps: Vec<Step>,
    /// Steps that are made at a time.
    jobs: usize,
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
        // And so is what a list of figures names.
        if path.file_name().is_some_and(|n| n == report::FIGURES) {
            report::check_figures(path)?;
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
        let whole = step.makes.iter().all(|file| done.made.contains_key(file));
        if whole && done.made.iter().all(same) { State::Done } else { State::Damaged }
    }

    /// The words of a step as they are typed; it writes into `to`, as one of `jobs` that share memory.
    fn words(&self, step: &Step, to: &Path, jobs: usize) -> Result<Vec<String>> {
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
        let takes = |name| command(step.stage).is_some_and(|c| c.options().iter().any(|o| o.name == name));
        if takes("overwrite") && step.stage != "center" {
            words.push("--overwrite".into());
        }
        // No number hangs on it.
        if jobs > 1 && takes("memory") && !words.iter().any(|w| w == "--memory") {
            let share = free_memory() / 5 * 4 / jobs as u64;
            words.extend(["--memory".into(), format!("{}MiB", (share >> 20).max(1))]);
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

    /// Refuses a region that holds nothing of a volume, or reaches out of it, before the volume is labelled.
    fn check_region(&self, c: &Context, step: &Step) -> Result<()> {
        let numbers = self.steps.iter().find(|s| s.stage == "analyze");
        let (Some(numbers), Some(Word::Made(name))) = (numbers, ahead::after(step, "--input")) else { return Ok(()) };
        let volume = Reader::open(&self.folder.join(name), c.io)?;
        ahead::looked_at(numbers, volume.dims()).map(drop).map_err(|e| of_step(&numbers.name, e))
    }

    /// Refuses errors of a segmentation that are of another network, or kept by another version of this program, before hours are spent.
    fn check_evaluated(&self, c: &Context, digests: &mut Digests) -> Result<()> {
        let of = |stage: &str, flag: &str| match ahead::after(self.steps.iter().find(|s| s.stage == stage)?, flag)? {
            Word::Inputs(files) => Some(&files[..]),
            _ => None,
        };
        // Of several files, results of series, no network is known.
        let Some([kept]) = of("analyze", "--evaluated") else { return Ok(()) };
        let Some(network) = network_of(&read_text(kept)?).map_err(|e| e.at(kept))? else { return Ok(()) };
        let weights = of("seg predict", "--weights").unwrap_or(&[]);
        let known = weights.iter().map(|w| Ok(digests.outside(c, w)?.hex())).collect::<Result<Vec<_>>>()?;
        match &known[..] {
            [] => Ok(()),
            [own] if *own == network => Ok(()),
            _ => Err(Error::data("are errors of another file of weights than [seg.predict] names")
                .help("name the file that they were measured with, measure those of this one (`tomolith evaluate --network`), or leave [analyze] evaluated out")
                .at(kept)),
        }
    }

    /// Warns of slices of which some are of a sample that was found wider than the detector, and others not: their grey values
    /// differ by more than the sample does.
    fn check_scale(&self, c: &Context) -> Result<()> {
        let (mut wide, mut narrow) = (Vec::new(), Vec::new());
        for step in self.steps.iter().filter(|s| s.stage == "recon") {
            let path = self.folder.join(&step.makes[0]).with_extension("json");
            let json = read_json(&path)?;
            let list =
                if json.need("volume")?.need_str("unit")?.starts_with(RELATIVE) { &mut wide } else { &mut narrow };
            list.push(step.name.trim_start_matches("recon "));
        }
        if !wide.is_empty() && !narrow.is_empty() {
            c.talk.warn(format!(
                "the sample was found wider than the detector in {} of {} scans ({}), whose values are relative, and not in the \
                 others: grey values of the series cannot be compared; give one for all, [recon] padding = \"edge\" or \"none\"",
                wide.len(),
                wide.len() + narrow.len(),
                wide.join(", ")
            ));
        }
        Ok(())
    }

    /// Does a step, into the folder `to`, as one of `jobs`.
    fn execute(&self, c: &Context, step: &Step, to: &Path, jobs: usize) -> Result<()> {
        let share = child::Share { of: jobs, name: &step.name };
        let first = || to.join(&step.makes[0]);
        for file in &step.makes {
            if let Some(folder) = to.join(file).parent() {
                std::fs::create_dir_all(folder).map_err(|e| Error::writing(folder, &e))?;
            }
        }
        match &step.does {
            Does::Command(_, folder) => {
                child::share(c, &share, &self.words(step, to, jobs)?, folder.as_deref()).map(drop)
            }
            Does::Says(_, keep) => {
                let said = child::share(c, &share, &self.words(step, to, jobs)?, None)?;
                let kept = keep(&said).ok_or_else(|| Error::bug(format!("{} said nothing of use", step.name)))?;
                write_text(&first(), &(kept + "\n"), true)
            }
            Does::Text(text) => write_text(&first(), text, true),
        }
    }

    /// Does steps at a time, and records what they made; where one fails, what the others made.
    fn execute_all(&self, c: &Context, steps: Vec<(&Step, String)>, record: &mut Record) -> Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        let jobs = steps.len();
        let done: Vec<Result<()>> = std::thread::scope(|scope| {
            let of = |step| scope.spawn(move || self.execute(c, step, &self.folder, jobs));
            let running: Vec<_> = steps.iter().map(|(step, _)| of(step)).collect();
            running.into_iter().map(|one| one.join().unwrap_or_else(|_| Err(Error::bug("panicked")))).collect()
        });
        let mut failed = Ok(());
        for ((step, key), done) in steps.into_iter().zip(done) {
            let file = |name: &String| {
                let found = digest_of_made(c, &self.folder.join(name)).map_err(|e| match e.fault() {
                    Fault::Missing => Error::bug(format!("{} made no {name}", step.name)),
                    _ => e,
                })?;
                Ok((name.clone(), found))
            };
            let made = done.map_err(|e| of_step(&step.name, e)).and_then(|()| step.makes.iter().map(file).collect());
            match made {
                Ok(made) => drop(record.steps.insert(step.name.clone(), Done { key, made })),
                Err(e) if failed.is_ok() => failed = Err(e),
                Err(e) => c.talk.warn(format!("{}: {}", step.name, e.what())),
            }
        }
        failed.and(write_text(&self.folder.join(RECORD), &record.text(), true))
    }
}

fn run(c: &Context) -> Result<()> {
    let mut run = open(c)?;
    // A lock alone is what a run leaves that was killed at its first moment.
    let strange = |folder: &Path| -> std::io::Result<bool> {
        Ok(folder.exists() && std::fs::read_dir(folder)?.any(|e| e.is_ok_and(|e| e.file_name() != "run.lock")))
    };
    let record = run.record()?;
    let mut digests = Digests::default();
    run.check_evaluated(c, &mut digests)?;
    if c.settings.is_on("plan")? {
        return ahead::print(c, &run, &record.unwrap_or_default());
    }
    if record.is_none() && strange(&run.folder).map_err(|e| Error::reading(&run.folder, &e))? {
        return Err(Error::cannot_create("the folder holds something, and no run")
            .help("name another folder with -o")
            .at(&run.folder));
    }
    let scans = run.scans.iter().map(|path| Ok(digests.outside(c, path)?.hex())).collect::<Result<Vec<_>>>()?;
    if record.as_ref().is_some_and(|record| record.is_of_others(&scans)) {
        return Err(Error::cannot_create("holds a run of other scans, of the same name")
            .help("name another folder with -o, or remove this one")
            .at(&run.folder));
    }
    std::fs::create_dir_all(&run.folder).map_err(|e| Error::writing(&run.folder, &e))?;
    run.folder = run.folder.canonicalize().map_err(|e| Error::reading(&run.folder, &e))?;
    let _lock = own(&run.folder, "run")?;
    let mut record = record.unwrap_or(Record { name: run.name.clone(), ..Record::default() });
    record.scans = scans;
    // Steps that are no part of the way now may be again: they stay, unless what they made is made by another.
    let made_by = |file: &String| run.steps.iter().find(|s| s.makes.contains(file)).map(|s| s.name.clone());
    record.steps.retain(|name, done| done.made.keys().all(|file| made_by(file).is_none_or(|step| step == *name)));
    write_text(&run.folder.join(RECORD), &record.text(), true)?;
    let mut sound = BTreeSet::new();
    let count = run.steps.len();
    let last_recon = run.steps.iter().rposition(|s| s.stage == "recon");
    let mut together: Vec<(&Step, String)> = Vec::new();
    for (number, step) in run.steps.iter().enumerate() {
        check_interrupt()?;
        // Steps of one stage take nothing from each other.
        if together.len() == run.jobs || together.last().is_some_and(|(last, _)| last.stage != step.stage) {
            run.execute_all(c, std::mem::take(&mut together), &mut record)?;
        }
        if last_recon.is_some_and(|last| number == last + 1) {
            run.check_scale(c)?;
        }
        let key = match run.key(c, step, &record, &mut digests) {
            Ok(key) => key.ok_or_else(|| Error::bug(format!("{} comes before what it needs", step.name)))?,
            Err(e) => return run.execute_all(c, together, &mut record).and(Err(e)),
        };
        let what = format!("{} of {count}: {}", number + 1, step.name);
        if run.state(c, step, Some(&key), &record) == State::Done {
            c.talk.note(format!("{what}: done"));
            continue;
        }
        c.talk.note(&what);
        record.steps.remove(&step.name);
        let sound = run.check_inputs(step, &mut sound).map_err(|e| of_step(&step.name, e));
        let looked_at = if step.stage == "seg predict" { run.check_region(c, step) } else { Ok(()) };
        if let Err(e) = sound.and(looked_at) {
            return run.execute_all(c, together, &mut record).and(Err(e));
        }
        together.push((step, key));
    }
    run.execute_all(c, together, &mut record)?;
    if last_recon.is_some_and(|last| last + 1 == count) {
        run.check_scale(c)?;
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
    use super::open::WIRED;
    use super::*;
    use crate::pipeline::version;
    use crate::recon::gridrec::DEFAULT_ERROR;
    use crate::recon::scan::Algorithm;

    #[test]
    fn stages_have_the_versions_of_their_commands() {
        // Slices are made by one, and several fields joined by the others.
        let joined = crate::cli::stitch::VERTICAL_VERSION + crate::cli::fields::transmissions::ROWS_VERSION;
        assert_eq!(version("recon"), Algorithm::Gridrec(DEFAULT_ERROR).version() + joined);
        assert_eq!(version("register"), crate::cli::register::VERSION);
        assert_eq!(version("seg predict"), crate::cli::seg::predict::VERSION);
        assert_eq!(version("seg after"), crate::segment::ledger::VERSION);
        assert_eq!(version("analyze"), crate::cli::analyze::VERSION);
        // What has no version has no key of its own.
        assert!(WIRED.iter().all(|(stage, _)| version(stage) > 0 && command(stage).is_some()));
    }
}
