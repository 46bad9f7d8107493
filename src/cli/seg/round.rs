//! `tomolith seg round` and `seg replay`: the commands of a round, and the same once more to compare.

use super::{digest_of, read_text};
use crate::cli::options::{Opt, Takes};
use crate::cli::{COMMANDS, Command, Context, child};
use crate::error::{Error, Fault, Result};
use crate::exchange::write_text;
use crate::os::check_interrupt;
use crate::provenance::Digest;
use crate::segment::round::{RECORD, ROUND, Record, Round, Step};
use crate::volume::reader::Reader;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The round.
pub const RUN: Command = Command {
    path: &["seg", "round"],
    about: "Run the commands of a round and record what they make",
    details: "ROUND.toml has a name, the names of the rounds that it builds on, and steps: commands of `seg`, `labels` and `net`, \
              whose paths are from the round's folder, with the files that they make. The folder is DIR/NAME; rounds lie beside one \
              another in DIR. Digests stand in round.json, which is written after every step: after Ctrl-C, a crash or a full disk \
              the same command goes on at the step, and in a training within it. A round whose parent or description changed is \
              refused.",
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
              descriptions that they were made with. --verify compares every file that a step makes with the record and ends with \
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

/// Digests of the parents' records, which are complete.
fn parents(folder: &Path, round: &Round) -> Result<BTreeMap<String, String>> {
    let digest = |name: &String| {
        let folder = folder.join(name);
        let record = record(&folder)?;
        match record.complete {
            true => Ok((name.clone(), record.digest())),
            false => {
                Err(Error::data(format!("the round '{name}' is not complete")).help("run it to its end").at(folder))
            }
        }
    };
    round.parents.iter().map(digest).collect()
}

/// Digest of a file; of a volume, that of its numbers.
fn digest(c: &Context, path: &Path) -> Result<String> {
    let found = if path.extension().is_some_and(|e| e == "mhd") {
        digest_of(&Reader::open(path, c.io)?)?
    } else {
        Digest::of_file(path)?.0
    };
    Ok(found.hex())
}

fn run_round(c: &Context) -> Result<()> {
    let path = c.settings.required_path("round")?;
    let (round, text) = description(&path)?;
    let rounds = c.settings.required_path("output")?;
    let made = make(c, &rounds, &round, &text)?;
    c.out.line(format!("round {} {}", round.name, made.digest()))
}

/// Makes a round, or what is missing of it.
fn make(c: &Context, rounds: &Path, round: &Round, text: &str) -> Result<Record> {
    let folder = rounds.join(&round.name);
    let parents = parents(rounds, round)?;
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
        let what = format!("step {} of {}: {}", number + 1, round.steps.len(), step.run.join(" "));
        if let Some(files) = made.steps.get(number) {
            for (name, recorded) in files {
                if digest(c, &folder.join(name))? != *recorded {
                    return Err(Error::data("has changed since the round made it")
                        .help("do the round again in a new folder")
                        .at(folder.join(name)));
                }
            }
            c.talk.note(format!("{what}: done"));
            continue;
        }
        c.talk.note(&what);
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
        made.complete = made.steps.len() == round.steps.len();
        write_text(&folder.join(RECORD), &made.text(), true)?;
    }
    Ok(made)
}

/// Runs one command in the folder of the round. What an interrupted run of it left is taken up or replaced.
fn run_step(c: &Context, folder: &Path, step: &Step) -> Result<()> {
    let command = COMMANDS
        .iter()
        .filter(|known| known.path.iter().eq(step.run.iter().take(known.path.len())))
        .max_by_key(|known| known.path.len());
    let options = command.map(Command::options).unwrap_or_default();
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
    let at = words.iter().position(|w| w == "-o" || w == "--output")?;
    words.get(at + 1).map(String::as_str)
}

fn replay(c: &Context) -> Result<()> {
    let folder = c.settings.required_path("round")?;
    let name = folder.file_name().and_then(|n| n.to_str()).map(String::from);
    let name = name.ok_or_else(|| Error::usage("a round has a name").help("write DIR/NAME").at(&folder))?;
    let rounds = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let rounds = rounds.canonicalize().map_err(|e| Error::reading(rounds, &e))?;
    let again = PathBuf::from(format!("{}.replay", rounds.display()));
    let order = ancestors(&rounds, &name)?;
    for name in &order {
        let there = again.join(name);
        if there.join(RECORD).exists() && record(&there)?.complete {
            return Err(Error::cannot_create("was made again before").help("remove it, to make it anew").at(there));
        }
    }
    let mut differ = Vec::new();
    for name in &order {
        let (round, text) = description(&rounds.join(name).join(ROUND))?;
        let before = record(&rounds.join(name))?;
        let made = make(c, &again, &round, &text)?;
        if !c.settings.is_on("verify")? {
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
