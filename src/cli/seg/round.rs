//! `tomolith seg round` and `seg replay`: the commands of a round, and the same once more to compare.

use super::{inputs, read_text};
use crate::cli::options::{Opt, Takes};
use crate::cli::{Command, Context, child};
use crate::error::{Error, Fault, Result};
use crate::exchange::write_text;
use crate::os::check_interrupt;
use crate::provenance::Digest;
use crate::segment::round::{RECORD, ROUND, Record, Round, Step, written};
use crate::volume::reader::{Reader, base_of};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The round.
pub const RUN: Command = Command {
    path: &["seg", "round"],
    about: "Run the commands of a round and record what they make",
    details: "ROUND.toml has a name, the names of the rounds that it builds on, and steps: commands of `seg`, `labels` and `net`, \
              whose paths are from the round's folder, with the files that they make; a word with blanks stands in quotes. The folder is DIR/NAME; rounds lie beside one \
              another in DIR. Digests stand in round.json, which is written after every step, beside those of what the step read: after Ctrl-C, a crash or a \
              full disk the same command goes on at the step, and in a training within it. A round is refused whose description \
              changed, or a file that it made or read, or one that a parent made: digests are those of the bytes as they lie \
              there. What a parent made and no step reads may be removed. Of rounds a step reads its own files and, as \
              ../PARENT/FILE, those of parents.",
    examples: "  tomolith seg round r0.toml -o rounds\n  tomolith seg round r1.toml -o rounds",
    groups: &[(
        "",
        &[
            Opt::new("round", Takes::Argument("ROUND.toml"), "The round"),
            Opt::new("output", Takes::Value("DIR"), "Folder of the rounds").short('o'),
        ],
    )],
    run: run_round,
};

/// The same again.
pub const REPLAY: Command = Command {
    path: &["seg", "replay"],
    about: "Run a round and all that it builds on again, and compare the digests",
    details: "The rounds are made again in DIR.replay, which lies beside DIR so that relative paths mean the same, from the \
              descriptions that they were made with; the same command goes on where it was stopped, and DIR.replay is removed to \
              begin anew. --verify compares every file that a step makes with the record, and first what it reads, and ends with \
              3 if one differs.",
    examples: "  tomolith seg replay rounds/r1 --verify",
    groups: &[(
        "",
        &[
            Opt::new("round", Takes::Argument("DIR/NAME"), "The round"),
            Opt::new("verify", Takes::Switch, "Compare what is made with the records"),
        ],
    )],
    run: replay,
};

/// The description in a file.
fn description(path: &Path) -> Result<(Round, String)> {
    let text = read_text(path)?;
    Ok((Round::parse(&text).map_err(|e| e.at(path))?, text))
}

fn record(folder: &Path) -> Result<Record> {
    let path = folder.join(RECORD);
    Record::parse(&read_text(&path)?).map_err(|e| e.at(&path))
}

/// Digests of the parents' records, which are complete, and whose files are what the records say; one that no step reads may
/// have been removed.
fn parents(c: &Context, rounds: &Path, round: &Round) -> Result<BTreeMap<String, String>> {
    let own = rounds.join(&round.name);
    let reads = |file: &Path| {
        let mut names = round.steps.iter().flat_map(|step| inputs::named(c, &own, round, step));
        names.any(|name| {
            let place = inputs::place(&round.name, &name);
            inputs::covers(&place, file) || base_of(&place) == base_of(file)
        })
    };
    let of_parent = |name: &String| {
        let folder = rounds.join(name);
        let record = record(&folder)?;
        if !record.complete {
            return Err(Error::data(format!("the round '{name}' is not complete"))
                .help("run it to its end")
                .at(folder));
        }
        for (file, recorded) in (0..record.steps.len()).flat_map(|step| record.lasting(step)) {
            let path = folder.join(&file);
            match unchanged(c, &path, &recorded, &format!("the round '{name}' made it")) {
                // Of a volume the voxels alone may be gone.
                Err(e) if e.fault() == Fault::Missing && !e.path().unwrap_or(&path).exists() => {
                    if reads(&inputs::place(name, &file)) {
                        let what = format!("is no longer there, and a step of the round '{}' reads it", round.name);
                        let help = format!("bring it back, or do the round '{name}' again in a new folder");
                        return Err(Error::missing(what).help(help).at(path));
                    }
                    c.talk.note(format!("{} is no longer there; no step of '{}' reads it", path.display(), round.name));
                }
                known => known?,
            }
        }
        lineage(rounds, name, &record)?;
        Ok((name.clone(), record.digest()))
    };
    round.parents.iter().map(of_parent).collect()
}

/// Refuses a round one of whose ancestors is another than when it was made; those that were taken away cannot be asked.
fn lineage(rounds: &Path, name: &str, of: &Record) -> Result<()> {
    for (parent, digest) in &of.parents {
        let folder = rounds.join(parent);
        if !folder.join(RECORD).exists() {
            continue;
        }
        let now = record(&folder)?;
        if now.digest() != *digest {
            return Err(Error::data(format!("the round '{parent}' has changed since '{name}' was made of it"))
                .help(format!("do the round '{name}' again in a new folder"))
                .at(folder));
        }
        lineage(rounds, parent, &now)?;
    }
    Ok(())
}

/// Refuses a file that is not what a record says that it was.
fn unchanged(c: &Context, path: &Path, recorded: &str, since: &str) -> Result<()> {
    if digest(c, path)? == recorded {
        return Ok(());
    }
    Err(Error::data(format!("has changed since {since}")).help("do the round again in a new folder").at(path))
}

/// Digest of a file that was made; of a volume, that of its voxels as they lie there.
fn digest(c: &Context, path: &Path) -> Result<String> {
    let found = if path.extension().is_some_and(|e| e == "mhd") {
        Reader::open(path, c.io)?.digest()?
    } else {
        Digest::of_file(path)?.0
    };
    Ok(found.hex())
}

/// Refuses what a step read, and what is no longer that.
fn unchanged_inputs(c: &Context, folder: &Path, files: &BTreeMap<String, String>) -> Result<()> {
    for (name, recorded) in files {
        let path = folder.join(name);
        match inputs::digest(c, &path)? {
            None => return Err(Error::missing("is no longer there, and the round read it").at(path)),
            Some(found) if found.hex() != *recorded => {
                return Err(Error::data("has changed since the round read it")
                    .help("do the round again in a new folder")
                    .at(path));
            }
            Some(_) => (),
        }
    }
    Ok(())
}

fn run_round(c: &Context) -> Result<()> {
    let path = c.settings.required_path("round")?;
    let (round, text) = description(&path)?;
    let rounds = c.settings.required_path("output")?;
    let made = make(c, [&rounds, &rounds], &round, &text)?;
    c.out.line(format!("round {} {}", round.name, made.digest()))
}

/// Makes a round, or what is missing of it, in the first of two folders of rounds; in the second it was made before.
fn make(c: &Context, homes: [&Path; 2], round: &Round, text: &str) -> Result<Record> {
    let rounds = homes[0];
    let folder = rounds.join(&round.name);
    let parents = parents(c, rounds, round)?;
    std::fs::create_dir_all(&folder).map_err(|e| Error::writing(&folder, &e))?;
    let mut made = if folder.join(RECORD).exists() {
        let made = record(&folder)?;
        made.check(round, &parents).map_err(|e| e.at(&folder))?;
        made
    } else {
        write_text(&folder.join(ROUND), text, true)?;
        let made = Record::new(round, parents);
        write_text(&folder.join(RECORD), &made.text(), true)?;
        made
    };
    for (number, step) in round.steps.iter().enumerate() {
        check_interrupt()?;
        let what = format!("step {} of {}: {}", number + 1, round.steps.len(), written(&step.run));
        if number < made.steps.len() {
            for (file, recorded) in made.lasting(number) {
                unchanged(c, &folder.join(file), &recorded, "the round made it")?;
            }
            unchanged_inputs(c, &folder, made.inputs.get(number).unwrap_or(&BTreeMap::new()))?;
            c.talk.note(format!("{what}: done"));
            continue;
        }
        c.talk.note(&what);
        // Before the step, which may change what it finds.
        let read = inputs::of_step(c, homes, &folder, round, step)?;
        run_step(c, &folder, step)?;
        let files = step.makes.iter().map(|name| {
            let found = digest(c, &folder.join(name)).map_err(|e| match e.fault() {
                Fault::Missing => Error::data(format!("was not made by step {}", number + 1))
                    .help("name what the step makes")
                    .at(folder.join(name)),
                _ => e,
            })?;
            Ok((name.clone(), found))
        });
        made.steps.push(files.collect::<Result<_>>()?);
        made.inputs.resize(number, BTreeMap::new());
        made.inputs.push(read);
        made.complete = made.steps.len() == round.steps.len();
        write_text(&folder.join(RECORD), &made.text(), true)?;
    }
    Ok(made)
}

/// Runs one command in the folder of the round. What an interrupted run of it left is taken up or replaced.
fn run_step(c: &Context, folder: &Path, step: &Step) -> Result<()> {
    let options = inputs::command_of(step).map(Command::options).unwrap_or_default();
    let takes = |name: &str| options.iter().any(|o| o.name == name) && !step.run.contains(&format!("--{name}"));
    let mut words = step.run.clone();
    // A training, or one of several seeds.
    let begun = |out: &str| {
        let out = folder.join(out);
        let below = std::fs::read_dir(&out).into_iter().flatten().flatten().map(|entry| entry.path());
        below.chain([out.clone()]).any(|folder| folder.join("last.safetensors").exists())
    };
    if takes("resume") && output_of(&step.run).is_some_and(begun) {
        words.push("--resume".into());
    }
    if takes("overwrite") {
        words.push("--overwrite".into());
    }
    child::run(c, &words, Some(folder)).map(drop)
}

/// What stands behind -o or --output.
fn output_of(words: &[String]) -> Option<&str> {
    let at = words.iter().position(|w| w == "-o" || w == "--output");
    let joined = || words.iter().find_map(|w| w.strip_prefix("--output="));
    at.map_or_else(joined, |at| words.get(at + 1).map(String::as_str))
}

fn replay(c: &Context) -> Result<()> {
    let folder = c.settings.required_path("round")?;
    let name = folder.file_name().and_then(|n| n.to_str()).map(String::from);
    let name = name.ok_or_else(|| Error::usage("a round has a name").help("write DIR/NAME").at(&folder))?;
    let rounds = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let rounds = rounds.canonicalize().map_err(|e| Error::reading(rounds, &e))?;
    let again = PathBuf::from(format!("{}.replay", rounds.display()));
    let order = ancestors(&rounds, &name)?;
    let there = again.join(&name);
    if there.join(RECORD).exists() && record(&there)?.complete {
        return Err(Error::cannot_create("was made again before").help("remove it, to make it anew").at(there));
    }
    let (mut differ, verify) = (Vec::new(), c.settings.is_on("verify")?);
    for name in &order {
        let (round, text) = description(&rounds.join(name).join(ROUND))?;
        let before = record(&rounds.join(name))?;
        if verify {
            for (step, file) in changed(c, &again.join(name), name, &before)? {
                c.out.line(format!("{name} step {step} input {file} CHANGED"))?;
                differ.push(format!("{name}, which reads {file}"));
            }
        }
        let made = make(c, [&again, &rounds], &round, &text)?;
        if !verify {
            c.out.line(format!("round {name} {}", made.digest()))?;
            continue;
        }
        for (number, (old, new)) in before.steps.iter().zip(&made.steps).enumerate() {
            for (file, digest) in old {
                let same = new.get(file) == Some(digest);
                let text = if same { "same" } else { "DIFFERENT" };
                c.out.line(format!("{name} step {} {file} {text}", number + 1))?;
                if !same {
                    differ.push(format!("{name}/{file}"));
                }
            }
        }
        if before.steps.len() != made.steps.len() {
            differ.push(format!("{name}: {} of {} steps were recorded", before.steps.len(), made.steps.len()));
        }
    }
    match differ.first() {
        None => c.out.line(format!("{} rounds made again in {}", order.len(), again.display())),
        Some(first) => Err(Error::mismatch(format!("{} files differ, the first is {first}", differ.len()))),
    }
}

/// What a round reads that is not its own and no longer what it was: the step, the first is 1, and the file.
fn changed(c: &Context, folder: &Path, round: &str, before: &Record) -> Result<Vec<(usize, String)>> {
    // Paths lead out of the folder, which has to be there.
    std::fs::create_dir_all(folder).map_err(|e| Error::writing(folder, &e))?;
    let mut all = Vec::new();
    for (number, files) in before.inputs.iter().enumerate() {
        for (name, recorded) in files.iter().filter(|(name, _)| inputs::is_from_outside(round, name)) {
            if inputs::digest(c, &folder.join(name))?.is_none_or(|found| found.hex() != *recorded) {
                all.push((number + 1, name.clone()));
            }
        }
    }
    Ok(all)
}

/// A round and all that it builds on, each after its parents.
fn ancestors(rounds: &Path, name: &str) -> Result<Vec<String>> {
    let (mut order, mut open) = (Vec::new(), vec![(name.to_string(), false)]);
    let mut path: Vec<String> = Vec::new();
    while let Some((name, done)) = open.pop() {
        if done {
            path.pop();
            order.push(name);
            continue;
        }
        if order.contains(&name) {
            continue;
        }
        if path.contains(&name) {
            return Err(Error::data(format!("the round '{name}' builds on itself")));
        }
        let (round, _) = description(&rounds.join(&name).join(ROUND))?;
        path.push(name.clone());
        open.push((name, true));
        open.extend(round.parents.into_iter().rev().map(|parent| (parent, false)));
    }
    Ok(order)
}
